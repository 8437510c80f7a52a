# %% [markdown] after="ch04_path_patching"
r"""# Evidence for a circuit

The chapter before this one, *Path patching* (`ch04_path_patching`), ended with a drawing. The previous-token head, in layer 0,
notes at each place which word came before. MLP 0 makes of the note something that keys can read. Two induction heads, in
layer 2, find it by their keys, and say the word that stands there. Each arrow was cut and mended, and the arrows beside it
were found empty.

Whoever shows such a drawing claims more than its arrows: that these parts do the work, that the others may say what they
like, and that nothing stands by to do the same. No arrow says so. In this chapter the drawing goes on trial, and others
after it:

1. **Is it enough?** All other heads are made to say something else, at once.
2. **How much of it?** A curve over sizes instead of a number; and a fast guess, put to the test.
3. **Is it what the model does?** A claim that passes every test so far, and is false. You find the damage that breaks it.
4. **Can you find one?** Models that nobody has looked into: name the circuit, and prove it.

You need `hook_z`, the logit difference, and what *denoising* and *noising* mean. The chapter takes about two hours."""

# %% tags=["given"]
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import attribution_patching, faithfulness, metrics, patching, refutation
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.metrics import logit_difference
from mechinterp_course.minimal_pairs import two_pairs
from mechinterp_course.worlds import planted

Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]
Words = Int[Tensor, " batch"]
Head = tuple[int, int]  # (layer, head)
LOGITS = {"dims": "batch pos d_vocab", "atol": 1e-4}  # how results are compared: by axes, up to rounding
NEAR = 1e-4  # how far logit differences may lie apart: seven times what the order of sums changes


# %% tags=["demo"]
from mechinterp_course import plots
from mechinterp_course.models import load_language_model

course_model = load_language_model("course-gpt2")
bos, cfg = course_model.tokenizer.bos_token_id, course_model.cfg
every_head = [(layer, head) for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]


def words(ids):
    return [course_model.tokenizer.decode([token]).strip() for token in ids]


def named(places):
    return ", ".join(f"L{layer}H{head}" for layer, head in places)


for text in two_pairs(cfg.d_vocab, batch=1, bos=bos, seed=97209)[:2]:
    print(*words(text[0, 1:]), "→", *words([course_model(text)[0, -1].argmax()]))
clean, corrupted, right, wrong = two_pairs(cfg.d_vocab, batch=32, bos=bos, seed=0)
metric = metrics.LogitDifference(right, wrong)
intact = {"clean": metric(course_model(clean)).item(), "corrupted": metric(course_model(corrupted)).item()}
print("logit difference:", *(f"{name} {value:.2f}" for name, value in intact.items()))
single_cost = intact["clean"] - patching.patch(course_model, corrupted, clean, metric).values
largest = single_cost.flatten().argsort(descending=True)[:3].tolist()
writer, *readers = three = sorted(divmod(place, cfg.n_heads) for place in largest)
print(f"the three whose noising costs most: {named(three)}")

# %% [markdown]
r"""The two texts again, and what the model says after each. The last word has come before; what came after it then? In the
second text, two earlier words have changed places, and with them the answer. Under them, the mean logit difference of 32
such pairs, in both always the word that is right in the clean text minus the other.

Then *noising*: each head's `z` was put into the clean run from the corrupted one, one head at a time. The three heads that
cost most are those of the drawing. Noise all 24 at once, and the clean run must end where the corrupted one does: nothing but
heads can carry news to the last place, and the word that stands there is the same in both."""

# %% [markdown] tags=["predict"] name="sum_of_single_costs" choices=["less than the whole", "the whole, within a tenth", "more than the whole"]
r"""So noising all heads at once costs the *whole* way from the clean to the corrupted logit difference. Now add up what each of
the 24 costs when it alone is noised. How much is the sum?"""

# %% tags=["demo"]
whole, total = intact["clean"] - intact["corrupted"], single_cost.sum().item()
drawn = sum(single_cost[head].item() for head in three)
print(f"the whole way {whole:6.2f}")
print(f"single costs  {total:6.2f}, of which {total - drawn:.2f} for the {len(every_head) - 3} other heads")
outcomes = ["less than the whole", "the whole, within a tenth", "more than the whole"]
answer = outcomes[(total > 0.9 * whole) + (total > 1.1 * whole)]
plots.plot_by_head(single_cost, label="logits", title="what noising each head alone costs", mark=three)

# %% [markdown]
r"""One by one, more can be lost than there is. The three stand in one line: spoiling the note stops both readers, and stopping a
reader spoils the same thing once more. Where parts depend on each other, single costs don't add up.

Nor need they when they are small. Each of the other heads costs little. That they cost little *together* does not follow: two
of them may stand in for one another, and neither is missed as long as the other is there.

## Proof

Each arrow, and each head, was cut in a model that was otherwise whole. Such cuts say what is *needed*. A circuit is a bolder
claim: these few heads do the work, **and it does not matter what the others say**. Its test is as bold. Make all the others
say something else, at once, and see whether the behaviour stays."""

# %% [markdown] exercise="run_circuit" minutes=12 difficulty=3 reference="faithfulness.run_circuit"
r"""## Run a circuit alone

Return the logits of the model on `tokens` with the `z` of every head that is **not** in `circuit`, a list of
`(layer, head)`, replaced at all positions and in all layers at once:

- `kind="resample"`: by the `z` that the head has on `other`, row for row (`other` has the shape of `tokens`);
- `kind="mean"`: by the mean of the head's `z` over batch and positions of `other`, or of `tokens` if there is no `other`;
- `kind="zero"`: by zeros.

What is put in comes from an *intact* run, in which nothing else was replaced. Embeddings and MLPs run as they are. A
`kind` that is none of these raises `ValueError`, and so does resampling without `other`. Leave no hook behind."""

# %% [markdown] tags=["hint"]
r"""Two runs. The first is intact, on `other`, and only fills a cache. The second is on `tokens`, with a hook on
`blocks.{layer}.attn.hook_z` of every layer."""

# %% [markdown] tags=["hint"]
r"""In layer l, the heads to replace are `[head for head in range(model.cfg.n_heads) if (l, head) not in circuit]`. That list
indexes the third axis of z."""

# %% [markdown] tags=["hint"]
r"""A hook learns its layer from `hook.layer()`, so one function serves all: `z = z.clone()`, then
`z[:, :, outside] = source[:, :, outside]`, where `source` is made from `cache["z", layer]` by the kind. For the mean,
`.mean(dim=(0, 1), keepdim=True).expand_as(z)`."""


# %%
def run_circuit(
    model: TransformerBridge,
    tokens: Tokens,
    circuit: list[Head],
    kind: str = "resample",
    other: Tokens | None = None,
) -> Logits:
    """Logits with all heads outside the circuit ablated at once."""
    # BEGIN SOLUTION
    if kind not in {"resample", "mean", "zero"} or (kind == "resample" and other is None):
        raise ValueError(f"{kind!r} is no kind of ablation, or lacks the tokens to resample from")
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(tokens if other is None else other, names_filter=names)

    def keep_circuit(z, hook):
        layer = hook.layer()
        source = cache["z", layer]
        if kind != "resample":
            source = (0 if kind == "zero" else 1) * source.mean(dim=(0, 1), keepdim=True).expand_as(z)
        kept = torch.tensor([(layer, head) in circuit for head in range(z.shape[2])], device=z.device)
        return torch.where(kept[:, None], z, source)

    return model.run_with_hooks(tokens, fwd_hooks=[(name, keep_circuit) for name in names])
    # END SOLUTION


# %% tags=["given"]
def prompts(draw, model, batch=3, longest=3):
    """Clean and corrupted rows and their right and wrong words, with a gap of 1 to `longest` words."""
    start, gap = model.tokenizer.bos_token_id, draw.integer(1, longest)
    rows = two_pairs(model.cfg.d_vocab, batch, start, draw.seed(), gap)
    return tuple(each.to(model.cfg.device) for each in rows)


def two_texts(draw, model):
    """Two batches of random tokens, of one drawn shape."""
    shape = draw.integer(2, 4), draw.integer(5, 9), model.cfg.d_vocab
    return draw.tokens(*shape), draw.tokens(*shape)


def tensors_after(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor)]


def logits_after(function, model, *arguments):
    """The model's logits on the first of the arguments, after a call of `function` with the model and them."""
    function(model, *arguments)
    return model(arguments[0])


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    left = student.run(tensors_after, function, *arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(
        isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(left, tensors, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


def in_drawn_order(draw, model):
    """All heads of the model, in an order that is drawn."""
    heads = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    return [head for _, head in sorted((draw.seed(), head) for head in heads)]


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """run_circuit agrees with the reference for every kind, on circuits of relabelled models that you have not seen"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        tokens, other = two_texts(draw, model)
        order = in_drawn_order(draw, model)
        for kind in ("resample", "mean", "zero"):
            case = model, tokens, order[: draw.integer(1, len(order) - 1)], kind, other
            expect_close(student.run_circuit(*case), faithfulness.run_circuit(*case), **LOGITS)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_limits(student, draw):
    """all heads are the whole model, resampling from the same text changes nothing, and rows don't mix"""
    model = draw.language_model("course-attn-2l")
    tokens, other = two_texts(draw, model)
    order, size, intact = in_drawn_order(draw, model), draw.integer(2, 5), model(tokens)
    for kind in ("resample", "mean", "zero"):
        expect_close(student.run_circuit(model, tokens, order, kind, other), intact, **LOGITS)
    expect_close(student.run_circuit(model, tokens, order[:size], "resample", tokens), intact, **LOGITS)
    logits = student.run_circuit(model, tokens, order[:size], "resample", other)
    alone = student.run_circuit(model, tokens[1:2], order[:size], "resample", other[1:2])
    expect_close(alone, logits[1:2], **LOGITS)
    for circuit, kind in ((order[:1], "mean"), ([], "zero")):
        expected = faithfulness.run_circuit(model, tokens, circuit, kind)
        expect_close(student.run_circuit(model, tokens, circuit, kind), expected, **LOGITS)


# %% tags=["check", "hidden"] points=1
def check_refuses_and_leaves_nothing(student, draw):
    """other kinds, and resampling from nothing, raise ValueError; afterwards the model computes what it did before"""
    model = draw.language_model("course-attn-2l")
    tokens, other = two_texts(draw, model)
    head, kind = in_drawn_order(draw, model)[0], draw.choice(["median", "Mean", "", "corrupt"])
    refused = f"kind={kind!r} should be refused."
    expect_raises("ValueError", lambda: student.run_circuit(model, tokens, [head], kind, other), refused)
    refused = "There is nothing to resample from without `other`."
    expect_raises("ValueError", lambda: student.run_circuit(model, tokens, [head]), refused)
    intact = model(tokens)
    after = student.run(logits_after, student.run_circuit, model, tokens, [head], "resample", other)
    expect_close(after, intact, **LOGITS)
    expect_untouched(student, student.run_circuit, model, tokens, [head], "resample", other)


# %% tags=["demo"]
def kept_by(circuit, kind, other=corrupted):
    """What part of the logit difference is left: 0 with no head kept, 1 with all of them."""
    runs = (run_circuit(course_model, clean, kept, kind, other) for kept in ([], circuit, every_head))
    none, some, everything = (logit_difference(logits, right, wrong).mean().item() for logits in runs)
    return (some - none) / (everything - none)


# %% [markdown] tags=["predict"] name="three_heads_alone" choices=["zeros leave more", "resampling leaves more", "equal within 0.05"]
r"""Keep the previous-token head and the induction heads, and silence all others. *Zeros* tell the rest of the
model nothing at all; *resampling* from the corrupted prompts tells it, in a voice that it knows, something about another
text. Which leaves more of the logit difference?"""

# %% tags=["demo"]
unrelated = torch.cat([corrupted[1:], corrupted[:1]])
sources = {"zero": corrupted, "mean": corrupted, "resample": corrupted, "resample, unrelated": unrelated}
left = {name: kept_by(three, name.split(",")[0], source) for name, source in sources.items()}
for name, share in left.items():
    print(f"{name:20} {share:.2f} of the logit difference is left")
more = "zeros leave more" if left["zero"] > left["resample"] else "resampling leaves more"
answer = "equal within 0.05" if abs(left["zero"] - left["resample"]) < 0.05 else more

# %% [markdown]
r"""One circuit, one behaviour, one metric, and four numbers. None of them is *the* faithfulness of the circuit, because there
is no such thing; there is faithfulness under an ablation that has a name ([Miller et al.
2024](https://arxiv.org/abs/2407.08734)). They ask different questions. Zeros ask whether the three manage in silence. The
corrupted prompts ask whether they hold their own against all the heads that read the *other* answer, and are right about
everything else: where the words stand, and which occurs twice. An average, or somebody else's prompt, takes that away as
well. None of these is the fair one. Report several, and name each."""

# %% [markdown] exercise="faithfulness_by_size" minutes=12 difficulty=3 needs=["run_circuit"] reference="faithfulness.faithfulness_by_size" withhold=["faithfulness", "faithfulness_curve"]
r"""## A curve, not a number

"Three heads are enough" has a second hidden choice in it: the size. Whoever picks the size after seeing the numbers can
always call the result a circuit. So show all sizes. `order` lists heads, the most important first. Return a float32
tensor, on the device of `tokens`, with one entry for each $n = 0, 1, \dots,$ `len(order)`:

$$\frac{F(\text{the first } n \text{ heads}) - F(\text{no head})}{F(\text{all heads of the model}) - F(\text{no head})}$$

$F$ is what is left when these heads run alone (`run_circuit`, with `kind` and `other`): the logit of `right` minus the
logit of `wrong` at the last position (`logit_difference`), as a mean over the prompts. The ratio is taken of these means. `order`
need not name all heads."""

# %% [markdown] tags=["hint"]
r"""`order[:0]` is no head and `order[:n]` the first n. The first entry is 0 by construction; the last is 1 only if `order`
names every head."""

# %% [markdown] tags=["hint"]
r"""Write F as a function inside yours that takes a list of heads, of two lines. Call it once for all heads, and once for each n;
`torch.stack` makes one tensor of the means."""


# %%
def faithfulness_by_size(
    model: TransformerBridge,
    tokens: Tokens,
    other: Tokens,
    right: Words,
    wrong: Words,
    order: list[Head],
    kind: str = "resample",
) -> Float[Tensor, " size"]:
    """Entry n is the share of the model's logit difference that the first n heads keep."""
    # BEGIN SOLUTION

    def left_with(chosen):
        return logit_difference(run_circuit(model, tokens, chosen, kind, other), right, wrong).mean()

    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    left = torch.stack([left_with(order[:n]) for n in range(len(order) + 1)])
    return (left - left[0]) / (left_with(everything) - left[0])
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """the curve agrees with the reference for every kind, on orders of heads that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "mean", "zero"):
        order = in_drawn_order(draw, model)
        case = model, *prompts(draw, model), order[: draw.integer(2, 3)], kind
        expected = faithfulness.faithfulness_by_size(*case)
        expect_close(student.faithfulness_by_size(*case), expected, dims="size")


# %% tags=["check", "hidden"] points=2
def check_runs_from_nothing_to_everything(student, draw):
    """no head keeps 0, all heads keep 1, a longer order only adds entries, and swapped answers give the same shares"""
    model = draw.language_model("course-attn-2l")
    order = in_drawn_order(draw, model)
    case = model, tokens, other, right, wrong = model, *prompts(draw, model)
    whole, none = student.faithfulness_by_size(*case, order), student.faithfulness_by_size(*case, [])
    expect_close(none, torch.zeros(1, device=draw.device), dims="size")
    expected = faithfulness.faithfulness_by_size(*case, order)
    expect_close(whole, expected, dims="size")
    expect_close(whole[-1:], torch.ones(1, device=draw.device), dims="size")
    part = student.faithfulness_by_size(model, tokens, other, wrong, right, order[:2])
    expect_close(part, expected[:3], dims="size")
    expect_untouched(student, student.faithfulness_by_size, *case, order[:1])


# %% [markdown]
r"""An order of importance can't be read off single ablations, which are blind to heads that stand in for one another. A
slower way: start with all heads and take away, round by round, the quarter that is missed least, and one at a time when fewer
than eight are left (resampled from the corrupted prompts). Read backwards, the order of removal is an order of importance;
within a round the order means nothing."""

# %% tags=["demo"]
few = [each[:8] for each in (clean, corrupted, right, wrong)]
metric = metrics.LogitDifference(*few[2:])
order = faithfulness.elimination_order(course_model, *few[:2], metric, kind="resample")
print("last to go:", named(order[:6]))

# %% [markdown] tags=["predict"] name="smallest_circuit" unit="heads" tolerance=1
r"""How many of them, from the left, does it take to keep 85 % of the logit difference under that ablation?"""

# %% tags=["demo"]
generator = torch.Generator().manual_seed(0)
shuffles = [torch.randperm(len(every_head), generator=generator)[:10].tolist() for _ in range(4)]
curves, random_curves = {}, {}
for kind in ("resample", "mean", "zero"):
    curves[kind] = faithfulness_by_size(course_model, *few, order[:10], kind)
    random_curves[kind] = torch.stack(
        [
            faithfulness_by_size(course_model, *few, [every_head[i] for i in shuffle], kind)
            for shuffle in shuffles
        ]
    )
    size = (curves[kind] >= 0.85).nonzero()[0].item()
    best = random_curves[kind][:, size].max().item()
    print(
        f"{kind:9} {size} heads keep {curves[kind][size]:.2f}; the best of 4 random sets of {size} {best:.2f}"
    )
answer = (curves["resample"] >= 0.85).nonzero()[0].item()
plots.plot_lines(curves, range(11), "heads kept", "share of the logit difference", random_curves)

# %% [markdown]
r"""Read the three curves against each other. The order was found under resampling, and is judged under all. Where the curves
agree, a claim about size is a claim about the model; where they part, about the ablation. And the random circuits say what
the scale is worth: a metric by which any few heads keep much would make every circuit look good.

The smallest circuit is *minimal* if each of its heads is missed. So take them out one by one, under the same ablation:"""

# %% tags=["demo"]
by_size = faithfulness_by_size(course_model, *few, order[:10])
smallest = sorted(order[: (by_size >= 0.85).nonzero()[0].item()])
whole = kept_by(smallest, "resample")
print(f"{'all ' + str(len(smallest)):12} keep {whole:.2f}")
for head in smallest:
    rest = kept_by([other for other in smallest if other != head], "resample")
    print(f"without L{head[0]}H{head[1]} keep {rest:.2f}")
by_loss = [
    metrics.Probability(right)(run_circuit(course_model, clean, kept, "resample", corrupted)).item()
    for kept in ([], three, smallest, every_head)
]
print(
    "probability of the right token: no head {:.2f}, three {:.2f}, these {:.2f}, all {:.2f}".format(*by_loss)
)

# %% [markdown]
r"""These are the three of the drawing, and none can be left out at little cost: without the previous-token head nothing is left,
without either induction head less than half. So the set is minimal. (Had one gone at no cost, it would have been small, and
not minimal.) Here the probability agrees with the logit difference: it is near nothing without heads, and most of what it is
with all of them when these three run alone."""

# %% [markdown] exercise="attribute_heads" minutes=15 difficulty=4 reference="attribution_patching.attribute_heads" withhold=["attribution_patch"]
r"""## A fast guess

Patching asks one run for each question. A large model has thousands of heads, times positions, times parts, so it is tempting
to ask the gradient instead. If the metric were a straight line in what a head writes, one backward pass would answer for all
heads at once (*attribution patching*, [Nanda 2023](https://www.neelnanda.io/mechanistic-interpretability/attribution-patching);
[Syed et al. 2023](https://arxiv.org/abs/2310.10348)):

$$\Delta F \approx \sum_{\text{pos},\, d_\text{head}} \left(z^\text{clean} - z^\text{corrupted}\right) \cdot
\frac{\partial F}{\partial z}\bigg|_\text{corrupted}$$

Return this estimate as `[layer, head]`, float32: by how much $F$ would rise if the `z` of that head in the **corrupted** run
were replaced by its `z` in the **clean** run, in all prompts at once. $F$ is the mean over prompts of the logit of `right`
minus the logit of `wrong` at the last position. The result lies on the device of the texts and carries no gradient, and the
model is left as it was."""

# %% [markdown] tags=["hint"]
r"""Two runs and one backward pass. The clean run only fills a cache. In the corrupted run, a hook on every layer's z keeps the
tensor *itself*, not a copy or a detached one: `torch.autograd.grad(F, kept)` needs the tensors that F was computed from."""

# %% [markdown] tags=["hint"]
r"""The weights are frozen and tokens are whole numbers, so nothing asks for a gradient, and autograd records nothing. Say in
the hook `z.requires_grad_(True)` and return z: from there on all is recorded."""

# %% [markdown] tags=["hint"]
r"""`gradients = torch.autograd.grad(F, kept)` gives one tensor for each layer, of the shape of z. Then
`((clean_z - corrupted_z) * gradient).sum(dim=(0, 1, 3))` is one row of the result. F is a mean over prompts already, so
the sum over the batch is right."""


# %%
def attribute_heads(
    model: TransformerBridge,
    clean: Tokens,
    corrupted: Tokens,
    right: Words,
    wrong: Words,
) -> Float[Tensor, "layer head"]:
    """First-order estimate of the change when each head's clean z is put into the corrupted run."""
    # BEGIN SOLUTION
    _, cache = model.run_with_cache(clean)
    kept = []

    def keep(z, hook):
        kept.append(z.requires_grad_(True))
        return z

    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in names])
        gradients = torch.autograd.grad(logit_difference(logits, right, wrong).mean(), kept)
    steps = [cache[name] - z.detach() for name, z in zip(names, kept, strict=True)]
    return torch.stack([einsum(s, g, "b p h d, b p h d -> h") for s, g in zip(steps, gradients, strict=True)])
    # END SOLUTION


# %% tags=["check"] points=3
def check_agrees_with_the_reference(student, draw):
    """the estimates agree with the reference on relabelled models and prompts that you have not seen"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        case = model, *prompts(draw, model, draw.integer(2, 4))
        expected = attribution_patching.attribute_heads(*case)
        expect_close(student.attribute_heads(*case), expected, dims="layer head", atol=NEAR)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_limits(student, draw):
    """equal prompts give zero, swapped answers the opposite, and for equal rows the estimate is that of one row"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, right, wrong = prompts(draw, model)
    nothing = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=draw.device)
    near = {"dims": "layer head", "atol": NEAR}
    expect_close(student.attribute_heads(model, clean, clean, right, wrong), nothing, **near)
    one = student.attribute_heads(model, clean[:1], corrupted[:1], right[:1], wrong[:1])
    expected = attribution_patching.attribute_heads(model, clean[:1], corrupted[:1], right[:1], wrong[:1])
    expect_close(one, expected, **near)
    expect_close(
        student.attribute_heads(model, clean[:1], corrupted[:1], wrong[:1], right[:1]), -expected, **near
    )
    many = (each[:1].expand(3, *each.shape[1:]).clone() for each in (clean, corrupted, right, wrong))
    expect_close(student.attribute_heads(model, *many), expected, **near)


# %% tags=["given"]
def gradients_left(function, model, *arguments):
    """How many of the model's weights hold a gradient after a call, and the logits of a run then."""
    function(model, *arguments)
    return sum(weight.grad is not None for weight in model.parameters()), model(arguments[0])


# %% tags=["check", "hidden"] points=1
def check_leaves_nothing_behind(student, draw):
    """the result carries no gradient, no weight holds one, and the model computes what it did before"""
    model = draw.language_model("course-attn-2l")
    clean, *rest = prompts(draw, model)
    intact = model(clean)
    estimate = student.attribute_heads(model, clean, *rest)
    still = isinstance(estimate, Tensor) and not estimate.requires_grad
    expect(still, "The result still carries a gradient: `detach` what you return.")
    count, after = student.run(gradients_left, student.attribute_heads, model, clean, *rest)
    expect_equal(count, 0, what="weights with a gradient")
    expect_close(after, intact, dims="batch pos d_vocab")
    expect_untouched(student, student.attribute_heads, model, clean, *rest)


# %% [markdown] tags=["predict"] name="blind_spot" choices=["the previous-token head", "an induction head", "another head", "it misses none by half of the largest effect"]
r"""Now noise every head of `course-gpt2`: put its corrupted `z` into the clean run, once truly and once by the straight line
(that is `attribute_heads` with the two texts swapped). For which head is the estimate most wrong?"""

# %% tags=["demo"]
true = -single_cost
estimated = attribute_heads(course_model, corrupted, clean, right, wrong)
worst = divmod((true - estimated).abs().argmax().item(), cfg.n_heads)
print("noising        truly   estimated")
for layer, head in dict.fromkeys([writer, *readers, worst]):
    print(f"L{layer}H{head}      {true[layer, head]:10.2f} {estimated[layer, head]:10.2f}")
kinds_of_head = {**dict.fromkeys(readers, "an induction head"), writer: "the previous-token head"}
kind_of_worst = kinds_of_head.get(worst, "another head")
missed = (true - estimated)[worst].abs() > 0.5 * true.abs().max()
answer = kind_of_worst if missed else "it misses none by half of the largest effect"
plots.plot_by_head(true - estimated, "logits", "what the straight line misses", mark=[worst])

# %% [markdown]
r"""For the heads that speak, the estimate is too small, and still of use. The largest effect of all it takes for nothing. To see
why, don't step from the clean note to the corrupted one at once. Walk:"""

# %% tags=["demo"]
name, steps = f"blocks.{writer[0]}.attn.hook_z", torch.linspace(0, 1, 11)
_, clean_cache = course_model.run_with_cache(clean)
_, corrupted_cache = course_model.run_with_cache(corrupted)
walk = []


def take_step(z, hook, step):
    z = z.clone()
    z[:, :, writer[1]] = torch.lerp(clean_cache[name], corrupted_cache[name], step)[:, :, writer[1]]
    return z


for step in steps:
    logits = course_model.run_with_hooks(clean, fwd_hooks=[(name, partial(take_step, step=step))])
    walk.append(logit_difference(logits, right, wrong).mean().item())
slope = attribute_heads(course_model, corrupted, clean, right, wrong)[writer].item()
line = [walk[0] + step.item() * slope for step in steps]
for layer, head in readers:
    looks = clean_cache["pattern", layer][:, head, -1, 2].mean().item()
    print(f"L{layer}H{head} puts {looks:.3f} of its attention on the right word, in the clean run")
plots.plot_lines(
    {"the model": walk, "the straight line": line},
    steps.tolist(),
    "how far the note has gone from clean to corrupted",
    "logit difference",
)

# %% [markdown]
r"""In the clean run the induction heads are sure. Their attention is near one, where a softmax is flat: weaken the note a
little, and they look where they looked. So there is no slope to speak of, up to the edge of the cliff. A gradient is a
local fact, and a patch is a journey. (The average slope along the whole way is exact, by the fundamental theorem of
calculus. Averaging a few gradients from along the way is the cure in use: *integrated* gradients, [Hanna et al.
2024](https://arxiv.org/abs/2403.17806).) Use the estimate to choose what to patch, never to strike something off a list.

## Traps

Here is another model, made by hand (`mechinterp_course.worlds.planted`). Where a token has stood before, it predicts what
stood `offset` places after it. A colleague has found two heads in it. One looks `offset` places back, the other looks at the
answer. She has silenced *all the other heads*, with zeros and with means, and reports:"""

# %% tags=["demo"]
puzzle, truth = planted.plant(seed=7, family="pair")
planted_model, samples = puzzle.load(), puzzle.samples(seed=0, count=16)
claimed = sorted(decoy.head for decoy in truth.decoys if decoy.kind == "shadow")
another = samples.answers.roll(1)  # a wrong answer for every prompt: that of the prompt before


def answered(kept, kind):
    """The mean logit difference that these heads of the planted model keep."""
    logits = run_circuit(planted_model, samples.tokens, kept, kind, samples.counterfactuals)
    return logit_difference(logits, samples.answers, another).mean().item()


print(f"the whole model {answered(puzzle.heads, 'zero'):28.2f}")
for kind in ("zero", "mean"):
    print(f"{named(claimed)} alone, the others {kind:5} {answered(claimed, kind):8.2f}")
_, cache = planted_model.run_with_cache(samples.tokens[:1])
patterns = [cache["pattern", layer][0, head] for layer, head in claimed]
plots.plot_attention(torch.stack(patterns), [f"L{layer}H{head}" for layer, head in claimed])

# %% [markdown] tags=["predict"] name="without_the_pair" choices=["less than a tenth", "between", "more than nine tenths"]
r"""They look where they should, and two of sixteen heads do the whole task, under two kinds of ablation. Now leave all the
others as they are and silence *these two*. What part of the logit difference is left?"""

# %% tags=["demo"]
rest = [head for head in puzzle.heads if head not in claimed]
remains = answered(rest, "zero") / answered(puzzle.heads, "zero")
print(f"{remains:.2f} is left without them")
print(f"{answered(claimed, 'resample'):.2f} by these two alone, the others resampled")
answer = ["less than a tenth", "between", "more than nine tenths"][(remains > 0.1) + (remains > 0.9)]

# %% [markdown]
r"""Nothing needs them. They *could* do the task, and in this model they never get to: another head erases what they would
read. Ablation with zeros, or with an average, has silenced that head as well, and so made a model in which the claim is
true. Resampled, it goes on erasing, and the claim fails at once.

So "these heads are enough" is not "these heads do it". Two tests are missing. What is enough must also be *needed*, in the
model as it is. And a circuit that is needed may still be *incomplete*, if heads outside it can do part of the work and do so
only when the circuit is damaged. Both failures are caught by one question ([Wang et al.
2022](https://arxiv.org/abs/2211.00593), section 4): if nothing but the circuit matters, then a damage to the circuit must do
to the model what it does to the circuit alone."""

# %% [markdown] exercise="break_circuit" minutes=15 difficulty=4 needs=["run_circuit"] reference="refutation.break_circuit"
r"""## Break a claim

For every subset $K$ of `circuit` (the empty one and the whole included) and every prompt, compare two runs:

- the circuit without $K$: only the heads of `circuit` that are not in $K$ are kept;
- the model without $K$: all heads of the model are kept, but for those in $K$.

What is not kept is ablated by `kind` (`run_circuit`, with `other`). The gap of a prompt is the absolute difference between the
two runs' logit differences, `right` minus `wrong` at the last position. Return the worst case, `(knockout, prompt, gap)`:
the $K$ as a sorted list of heads, the row of the prompt as an int, and the gap as a float. It is the experiment to show to
whoever made the claim. If it is small, the claim has survived, for these prompts."""

# %% [markdown] tags=["hint"]
r"""A circuit of n heads has $2^n$ subsets. `itertools.combinations(circuit, size)` gives those of one size."""

# %% [markdown] tags=["hint"]
r"""For one K: `alone` and `model_too` are two tensors `[batch]` from `logit_difference`, and `(alone - model_too).abs()` has a
`max` and an `argmax`. Don't average over the prompts before that: one prompt on which the claim fails is enough."""


# %%
def break_circuit(
    model: TransformerBridge,
    tokens: Tokens,
    other: Tokens,
    right: Words,
    wrong: Words,
    circuit: list[Head],
    kind: str = "resample",
) -> tuple[list[Head], int, float]:
    """The part of the circuit, and the prompt, whose knockout tells the circuit from the model best; and the gap."""
    # BEGIN SOLUTION
    everything = {(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)}

    def left_with(kept):
        return logit_difference(run_circuit(model, tokens, list(kept), kind, other), right, wrong)

    found = []
    for number in range(2 ** len(circuit)):
        knockout = {head for place, head in enumerate(circuit) if number >> place & 1}
        gaps = (left_with(set(circuit) - knockout) - left_with(everything - knockout)).abs().tolist()
        found.append((max(gaps), gaps.index(max(gaps)), sorted(knockout)))
    gap, prompt, knockout = max(found)
    return knockout, prompt, gap
    # END SOLUTION


# %% tags=["given"]
def gap_at(case, knockout, prompt):
    """The gap between circuit and model at one knockout and prompt; `case` as for `break_circuit`."""
    model, tokens, other, right, wrong, circuit, *kind = case
    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    left = [
        logit_difference(faithfulness.run_circuit(model, tokens, kept, *kind, other=other), right, wrong)
        for kept in ([head for head in heads if head not in knockout] for heads in (circuit, everything))
    ]
    return (left[0] - left[1]).abs()[prompt].item()


def expect_worst_case(found, case):
    """Pass if what `break_circuit` found is the largest gap, and lies where it says."""
    whole = isinstance(found, tuple | list) and len(found) == 3 and isinstance(found[0], tuple | list)
    expect(
        whole and type(found[1]) is int, "The result is not (knockout, prompt, gap): a list, an int, a float."
    )
    knockout, prompt, gap = [tuple(head) for head in found[0]], *found[1:]
    expect_close(gap, refutation.break_circuit(*case)[2], atol=NEAR)
    expect(set(knockout) <= set(case[5]), "The knockout is not a part of the circuit.")
    expect(0 <= prompt < len(case[1]), "There is no such prompt.")
    expect_close(gap_at(case, knockout, prompt), gap, atol=NEAR)


def broken_inside(model, texts, heads, kind):
    """Two neighbours in a list of heads, such that the worst knockout takes the second one out, if any do."""
    for place in range(len(heads) - 1):
        claim = heads[place : place + 2]
        knockout, *_ = refutation.break_circuit(model, *texts, claim, kind)
        if knockout:
            break
    return sorted(claim, key=lambda head: head in knockout)


def planted_case(puzzle, circuit, kind):
    """A planted model, eight samples of its task, and a claim, as `break_circuit` takes them."""
    samples = puzzle.samples(seed=0, count=8, length=12)
    texts = samples.tokens, samples.counterfactuals, samples.answers, samples.answers.roll(1)
    return puzzle.load(), *texts, circuit, kind


def on_planted(function, weights, bos, offset, circuit, kind):
    """What `function` makes of `planted_case`."""
    return function(*planted_case(planted.Puzzle(weights, bos, offset), circuit, kind))


# %% tags=["check"] points=2
def check_finds_the_worst_case(student, draw):
    """no knockout and no prompt is worse than the one found, for claims about relabelled models that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "zero"):
        texts = prompts(draw, model)
        case = model, *texts, broken_inside(model, texts, in_drawn_order(draw, model), kind), kind
        for right, wrong in (texts[2:], texts[:1:-1]):  # the gap has one sign, and then the other
            case = *case[:3], right, wrong, *case[5:]
            expect_worst_case(student.break_circuit(*case), case)
    expect_untouched(student, student.break_circuit, *case[:5], case[5][:1], "zero")


# %% tags=["check", "hidden"] points=3
def check_breaks_false_claims_and_spares_true_ones(student, draw):
    """a pair of heads that is enough alone and idle in the model has a large gap, the planted circuit a small one"""
    puzzle, truth = planted.plant(draw.seed(), "pair")
    idle = sorted(decoy.head for decoy in truth.decoys if decoy.kind == "shadow")
    for claim in (idle, sorted([truth.circuit.copying, truth.circuit.matching])):
        kind, parts = draw.choice(["zero", "mean"]), (puzzle.weights, puzzle.bos, puzzle.offset)
        found = student.run(on_planted, student.break_circuit, *parts, claim, kind)
        expect_worst_case(found, planted_case(puzzle, claim, kind))


# %% tags=["demo"]
spare, spare_truth = planted.plant(seed=5, family="backup")
pair, spare_pair = (sorted([each.circuit.copying, each.circuit.matching]) for each in (truth, spare_truth))
claims = {
    "the idle pair": (puzzle, claimed, "zero"),
    "the planted pair": (puzzle, pair, "zero"),
    "a pair of another model": (spare, spare_pair, "zero"),
    "the same, resampled": (spare, spare_pair, "resample"),
}
print(f"{'claim':26} alone, worst gap (logits), and where")
for name, claim in claims.items():
    case = planted_case(*claim)
    model, tokens, other, one, wrong_one, circuit, kind = case
    alone = logit_difference(run_circuit(model, tokens, circuit, kind, other), one, wrong_one).mean()
    knockout, prompt, gap = break_circuit(*case)
    print(f"{name:26} {alone:5.2f} {gap:10.2f}   {named(knockout) or 'nothing'} knocked out")
knockout, prompt, gap = break_circuit(course_model, clean, corrupted, right, wrong, three)
print(
    f"{'course-gpt2, three heads':26} gap {gap:6.2f} logits, with {named(knockout) or 'nothing'} knocked out"
)
for name, heads_kept in {"the circuit": three, "the model": every_head}.items():
    rest = [head for head in heads_kept if head not in knockout]
    left = logit_difference(run_circuit(course_model, clean, rest, "resample", corrupted), right, wrong)
    print(f"    {name} then has {left[prompt]:6.2f} on that prompt, {left.mean():6.2f} on average")

# %% [markdown]
r"""In the other model something new happens. The two heads do the task alone, with zeros and resampled, and they are the ones
that do it in the intact model. But knock one of them out of the *model*, and the model goes on. It has a backup, silent
until that moment, and the claim knew nothing of it. Single ablation can't see such a head, and neither can faithfulness.

And a claim about a trained model seldom survives whole. The heads of `course-gpt2` that keep so much of the logit difference,
on average and undamaged, differ from the model by a good part of it at the worst place. A circuit that explains how a model is
right need not explain how it goes wrong.

A worst case over prompts is a stern judge. The opposite, one prompt chosen to convince, is more common."""

# %% [markdown] tags=["predict"] name="lucky_prompt" choices=["less than a tenth", "a tenth to a third", "more than a third"]
r"""Take the heads of `course-gpt2` that are *not* in the circuit, and noise each. On average over the prompts none does much. But
somebody may look for the head and the prompt with the largest effect, and show you these. How large is it, as a part of what
noising an induction head costs on average?"""

# %% tags=["demo"]
intact = logit_difference(course_model(clean), right, wrong)
cost = {
    head: intact
    - logit_difference(patching.patch_head_output(course_model, corrupted, clean, *head), right, wrong)
    for head in every_head
}
lucky = max((head for head in every_head if head not in three), key=lambda head: cost[head].max().item())
prompt = cost[lucky].argmax().item()
usual = min(cost[head].mean().item() for head in readers)
print(f"noising {named([lucky])} costs {cost[lucky][prompt]:.2f} logits on this prompt:")
print("   ", *words(clean[prompt, 1:]))
print(
    f"and {cost[lucky].mean():.2f} on average over {len(clean)}; an induction head costs {usual:.2f} on average"
)
part = cost[lucky][prompt].item() / usual
answer = ["less than a tenth", "a tenth to a third", "more than a third"][(part > 0.1) + (part > 1 / 3)]

# %% [markdown]
r"""Whoever shows you one example has seen others. Ask for the distribution, or look for the worst case yourself.

## Now alone

The last exercise gives you models that nobody has looked into, each with a circuit of its own, and look-alikes beside every
head of it. Each does the task that you know: where the present token has stood before, it predicts what stood `offset` places
after it. The heads that do it:

- **copying** writes at each position which token stood `offset` places back, in some layer;
- **matching**, in a later layer, finds where the present token was so copied to, and writes the token there as the answer;
- **backup**, in some models and in a later layer still, writes the same when matching does not, and is silent otherwise.

Put in a number that nobody else would take, and look around before you write the function:"""

# %% tags=["demo"]
mine = 20_000_101  # yours: a date, a telephone number
puzzle, _ = planted.plant(seed=mine, family="backup")
samples, my_model = puzzle.samples(seed=0, count=16), puzzle.load()
_, cache = my_model.run_with_cache(samples.tokens)
source = (samples.tokens == samples.answers[:, None]).float()
looks = torch.stack([cache["pattern", layer][:, :, -1] for layer in range(my_model.cfg.n_layers)])
looks = einsum(looks, source, "layer batch head key, batch key -> layer head") / len(source)
plots.plot_by_head(looks, "attention", "from the last token to the answer", limit=1)

# %% [markdown] exercise="find_circuit" minutes=30 difficulty=5 needs=["run_circuit"] reference="worlds.planted.evidence.find_circuit" withhold=["solve", "prove", "survey"]
r"""## Find the circuit, and prove it

`planted.Puzzle(weights, bos, offset)` is a model with its task: `.load()` gives the model, `.heads` lists its heads, and
`.samples(seed, count)` prompts with `.tokens`, `.answers`, and `.counterfactuals`, in which nothing points to the answer.
Models have two or four layers of eight heads. Return `(circuit, evidence)`.

`circuit` is `{"copying": head, "matching": head, "backup": head or None}`, each head a `(layer, head)`.

`evidence` is a list of at most 40 experiments `(silenced, left)`: a list of heads that are **zero-ablated** together, and the
part of the answer that this leaves, as a float. The answer is measured on `puzzle.samples(seed=0, count=16)`: the logit of
the right token at the last position, averaged over the prompts (logits are centred in these models: zero is average).
`left` is the answer with the heads silenced, divided by the answer with nothing silenced. All your experiments are repeated, so
report what you have measured. They must show two things:

- *enough*: with all heads outside the circuit silenced, at least 0.8 is left;
- *needed*: for **each** head of the circuit there are two experiments that silence no head outside the circuit and differ in
  that head alone: without it silenced at least 0.8 is left, with it at most 0.2. (The empty list is an experiment too.)

No other circuit can be proven so. A check gives its points only if circuit and evidence are right for all six of its models."""

# %% [markdown] tags=["hint"]
r"""Look-alikes attend as the real heads do, and some of them even have weights that compose and copy. What they lack is an effect.
To find what is enough, remove heads while the answer stands, one by one or by halves. But mind by what you ablate: silence the
wrong head with zeros, and an idle pair wakes up. Resampling from the counterfactuals keeps that head at its work."""

# %% [markdown] tags=["hint"]
r"""What is left after such a removal is one copying head, and one head that writes the answer. Is there another writer? Do the
same again with the first one silenced from the beginning. If nothing is enough then, there was no backup. Of two writers,
the one in the earlier layer is the matching head."""

# %% [markdown] tags=["hint"]
r"""Evidence: silence nothing; each head of the circuit alone; matching and backup together; and all heads outside. Removal
takes some dozens of runs, and four prompts of 12 tokens are enough to tell standing from gone: `puzzle.samples(1, 4, 12)`."""


# %%
def find_circuit(
    weights: dict[str, Tensor], bos: int, offset: int
) -> tuple[dict[str, Head | None], list[tuple[list[Head], float]]]:
    """The heads of a planted model's circuit by their roles, and the experiments that prove it."""
    # BEGIN SOLUTION
    puzzle = planted.Puzzle(weights, bos, offset)
    model, few, many = puzzle.load(), puzzle.samples(1, 4, 12), puzzle.samples(seed=0, count=16)

    def answer(kept, samples, kind):
        logits = run_circuit(model, samples.tokens, kept, kind, samples.counterfactuals)[:, -1]
        return logits.gather(1, samples.answers[:, None]).mean().item()

    def all_but(silenced):
        return [head for head in puzzle.heads if head not in silenced]

    stands = answer(puzzle.heads, few, "resample") / 2

    def thinned(kept, part):
        rest = [head for head in kept if head not in part]
        if answer(rest, few, "resample") > stands:
            return rest
        half = len(part) // 2
        return thinned(thinned(kept, part[:half]), part[half:]) if half else kept

    copying, writer = thinned(puzzle.heads, puzzle.heads)
    rest = all_but([writer])
    second = thinned(rest, rest) if answer(rest, few, "resample") > stands else []
    writers = sorted({writer, *second} - {copying})
    roles = {"copying": copying, "matching": writers[0], "backup": writers[1] if second else None}
    whole = answer(puzzle.heads, many, "zero")
    groups = [[], all_but([copying, *writers]), [copying], writers, *([head] for head in second and writers)]
    return roles, [(group, answer(all_but(group), many, "zero") / whole) for group in groups]
    # END SOLUTION


# %% tags=["given"]
def is_head(value, puzzle):
    """Whether a value is one of the model's heads, as a pair of ints."""
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(type(part) is int for part in value)
    return pair and tuple(value) in puzzle.heads


def is_finding(value, puzzle):
    """Whether a value has the form (circuit, evidence) that `find_circuit` returns."""
    if not (isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], dict)):
        return False
    circuit, evidence = value
    named_heads = [head for head in circuit.values() if head is not None]
    if set(circuit) != {"copying", "matching", "backup"} or not isinstance(evidence, list | tuple):
        return False
    pairs = [each for each in evidence if isinstance(each, tuple | list) and len(each) == 2]
    if len(pairs) != len(evidence) or not 1 <= len(pairs) <= 40:
        return False
    lists = all(isinstance(heads, list | tuple) and type(left) is float for heads, left in pairs)
    return lists and all(
        is_head(head, puzzle) for heads in ([named_heads] + [p[0] for p in pairs]) for head in heads
    )


def expect_found(student, draw, family):
    """Pass if the student finds the circuit of a new model, and the evidence proves it."""
    puzzle, truth = planted.plant(draw.seed() << 31 | draw.seed(), family)
    found = student.find_circuit(puzzle.weights, puzzle.bos, puzzle.offset)
    expect(
        is_finding(found, puzzle),
        "The result is not (circuit, evidence) in the form that the statement gives.",
    )
    circuit = {role: head and tuple(head) for role, head in found[0].items()}
    expect_equal(circuit, vars(truth.circuit), what="roles")
    evidence = [([tuple(head) for head in heads], left) for heads, left in found[1]]
    missing = planted.missing_evidence(puzzle, circuit, evidence)
    expect(missing is None, missing or "")


# %% tags=["check"] points=4
def check_finds_and_proves_pairs(student, draw):
    """in six new models of two layers, circuit and evidence are right"""
    for _ in range(6):
        expect_found(student, draw, "pair")


# %% tags=["check", "hidden"] points=6
def check_finds_and_proves_backups_and_deep_circuits(student, draw):
    """in six new models, circuit and evidence are right, whether they have two layers or four, and a backup or none"""
    for family in ("backup", "pair", "deep", "backup", "pair", "deep"):
        expect_found(student, draw, family)


# %% tags=["demo"]
for family in planted.FAMILIES:
    puzzle, truth = planted.plant(mine, family)
    circuit, evidence = find_circuit(puzzle.weights, puzzle.bos, puzzle.offset)
    print(family, circuit, "right" if circuit == vars(truth.circuit) else f"but planted was {truth.circuit}")
    for silenced, left in evidence:
        what = named(silenced) if len(silenced) < 4 else f"all {len(silenced)} others"
        print(f"    {what or 'nothing':24} silenced, {left:5.2f} left")

# %% [markdown]
r"""Compare what you did with what would have been enough to publish. Where heads look: among four that look alike, one is the
right one. What their weights could do: one of two. Single ablations: right, until a backup stands by. Only experiments that
differ in one thing, made in the company that matters, name every head, and they name it for anyone who repeats them.

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| this head feeds that input of that head | path patching (`ch04_path_patching`), with what was frozen | the same effect from a control head, or through another input |
| these heads are enough | a curve over sizes, three named ablations, random circuits | it holds under zeros only |
| each of them is needed | one knockout in the company that matters | nothing changes when it goes, in the model as it is |
| nothing else does this | no knockout on which circuit and model part | a backup that wakes |
| the gradient says it does not matter | *nothing* | one patch |

What you may not claim is as long. The circuit is a circuit of *these prompts*: two pairs, at these distances, with a control
word. MLPs were left running, and one of them turned out to be part of it. Heads are the grain at which you looked; a head may
do two things, and two heads one. And `course-gpt2` was helped to have these heads. On a model trained by nobody you know, all
the tests are the same, and the answers less clean."""

# %% [markdown] tags=["rubric"] name="state_a_circuit"
r"""## In your own words

State one circuit of this chapter as a claim, in at most 250 words, for a reader who will build on it and can't ask you: which
parts, on which prompts, by which measure; what shows that they are enough, that each is needed, and that nothing else does
the same, with a number, its ablation and its control for each; and which result would overturn the claim.

Levels:

- 0: names heads and what they do, by where they look, by their weights or by one prompt; no intervention has a number.
- 1: poor. One faithfulness number, at one size and under one ablation or one that is not named; what is enough alone is
  taken for what the model does.
- 2: fair. Every number has its metric, its prompts and its ablation; enough is a curve over sizes, or three ablations, beside
  random circuits of the same size; each head is needed by a knockout in the otherwise intact model.
- 3: excellent. As 2, and the worst knockout and prompt, circuit against model, with its gap beside the average; what was
  left running (MLPs, embeddings, positions) is named; joint knockouts have looked for backups; and a result is named
  that would overturn the claim."""

# %% [markdown] tags=["interview"] name="enough_and_needed"
r"""A paper names seven heads of a model, shows that with all others mean-ablated 92 % of the logit difference is left, and calls
them *the circuit*. What could be wrong, and which three experiments would you ask for?

A strong answer: the number holds under one ablation and one size (ask for a curve, other ablations by name, and random
circuits); the heads may be able without being used, since ablating all others may also silence what keeps them idle (ask
for knockouts of these heads in the otherwise intact model); the circuit may be incomplete, with backups that wake (ask for the
worst knockout, circuit against model); the average may hide prompts on which it fails; the logit difference may hold while the
probability does not, or the other way round; MLPs, embeddings and positions count as given."""
