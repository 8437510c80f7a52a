# %% [markdown]
r"""# Path patching

*What a head does* (`ch19_what_a_head_does`) ended with three heads and no wire between them. One head looks at the previous
token. Two others look at what followed last time, and copy it. Spoil any of the three and the copying suffers. That the first
writes a note, and that the two *read this note*, is the story told about them. It is a good story. But nobody has seen the
wire.

A circuit is a claim about wires. In this chapter you cut every wire of this one, and mend it again:

1. **Where is the information?** Patching the residual stream, layer by layer and place by place.
2. **Through which input?** A head has queries, keys and values. Only some of them carry the news.
3. **Along which arrow?** Path patching: from this head into that input of that head, with everything else held still.
4. **Do the weights say so too?** What could pass from one head to another, and what does.

Whether the few parts that you find do the work alone, and whether others stand by, is a question of its own: the chapter
*Evidence for a circuit* (`ch13_circuit_evidence`) takes it up where this one ends.

You need hooks, `hook_z`, and what *denoising* and *noising* mean. The chapter takes about an hour and a half."""

# %% tags=["given"]
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import circuits, heads, lens, metrics, patching, path_patching
from mechinterp_course.checking import expect, expect_close, expect_raises
from mechinterp_course.metrics import logit_difference
from mechinterp_course.minimal_pairs import two_pairs

Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]
Words = Int[Tensor, " batch"]
Head = tuple[int, int]  # (layer, head)
LOGITS = {"dims": "batch pos d_vocab"}  # how results are compared: by these axes, up to rounding
BY_HEAD = {"dims": "batch layer head", "atol": 2e-4}
BY_PLACE = {"dims": "layer pos"}
BY_PAIR = {"dims": "layer head later_layer later_head", "atol": 1e-5}


def replace_heads(name: str, values: Tensor, chosen: list[int]) -> tuple:
    """A hook for the place `name` that gives the chosen heads these values; axes [batch, pos, head, d_head]."""

    def replace(current, hook):
        current = current.clone()
        current[:, :, chosen] = values[:, :, chosen]
        return current

    return name, replace


def hold(cache, names: list[str]) -> list[tuple]:
    """Hooks that keep each of these activations at its value in the cache, whatever happens before it."""
    return [(name, lambda current, hook, held=cache[name]: held) for name in names]


# %% tags=["given"]
def prompts(draw, model, batch=3, longest=3):
    """Clean and corrupted rows and their right and wrong words, with a gap of 1 to `longest` words."""
    start, gap = model.tokenizer.bos_token_id, draw.integer(1, longest)
    rows = two_pairs(model.cfg.d_vocab, batch, start, draw.seed(), gap)
    return tuple(each.to(model.cfg.device) for each in rows)


def left_behind(function, model, *arguments):
    """Calls `function(model, *arguments)`; returns the tensors among the arguments, and the model's logits, after it."""
    function(model, *arguments)
    return [each for each in arguments if isinstance(each, Tensor)], model(arguments[0])


def expect_nothing_left(student, function, model, *arguments):
    """Pass if a call leaves its tensors as they were, and the model to compute what it did before."""
    before = [each.clone() for each in arguments if isinstance(each, Tensor)]
    intact = model(arguments[0]).clone()
    after, logits = student.run(left_behind, function, model, *arguments)
    for known, each in zip(before, after, strict=True):
        expect_close(each, known, dims="batch pos" if known.dim() == 2 else "batch")
    expect_close(logits, intact, **LOGITS)


# %% tags=["demo"]
from mechinterp_course import plots
from mechinterp_course.models import load_language_model

course_model = load_language_model("course-gpt2")
bos, cfg = course_model.tokenizer.bos_token_id, course_model.cfg


def words(ids):
    return [course_model.tokenizer.decode([token]).strip() for token in ids]


one, other, [answer_one], [answer_other] = two_pairs(cfg.d_vocab, batch=1, bos=bos, seed=97209)
for text in (one, other):
    print(*words(text[0, 1:]), "→", *words([course_model(text)[0, -1].argmax()]))

# %% [markdown]
r"""Two texts, drawn at random, seeded for words that are pleasant to read. Each ends with a question: this word has come
before; what came after it?

Compare them word by word. The first has *must port … bears chairs*, the second *bears port … must chairs*: two words have
changed places. *port* and *chairs*, the two possible answers, stand in the same places in both. So does the question. (The
word before the question differs too. It has no business in this, and is there as a control: whatever method you use had
better find that it does not matter.)

Now operate. Run the second text. Just before some layer, take the residual stream at two places, and put in the vectors
that the *first* text has there. All else is left to itself. Which two vectors make the model change its answer?"""

# %% [markdown] tags=["predict"] name="which_two_places" choices=["the two that differ (must, bears)", "the two answers (port, chairs)", "the question and the word before it", "none of these pairs"]
r"""Suppose the operation is done just before layer 2, the third of the four. Moving which pair of vectors makes the
model answer *port* where it said *chairs*?"""

# %% tags=["demo"]
pairs_of_places = {
    "the two that differ (must, bears)": [1, 6],
    "the two answers (port, chairs)": [2, 7],
    "the question and the word before it": [-2, -1],
}
_, cache = course_model.run_with_cache(one)


def transplant(resid_pre, hook, places):
    resid_pre = resid_pre.clone()
    resid_pre[:, places] = cache[hook.name][:, places]
    return resid_pre


changed = []
for layer in range(cfg.n_layers):
    print(f"before layer {layer}:")
    for name, places in pairs_of_places.items():
        hook = (f"blocks.{layer}.hook_resid_pre", partial(transplant, places=places))
        said = course_model.run_with_hooks(other, fwd_hooks=[hook])[0, -1].argmax()
        print(f"    {name:38}", *words([said]))
        changed += [name] if layer == 2 and said == answer_one else []
answer = changed[0] if len(changed) == 1 else "none of these pairs"

# %% [markdown]
r"""Read it from top to bottom, for it is a film. Before layer 0 the difference lies where the texts differ. One layer later
those two vectors can be exchanged at will, and nothing happens: the difference has moved on, to *port* and *chairs*,
words that are **the same in both texts**. Their vectors have come to know which word stood before them. Before the last
layer the difference is gone from there too, and is found in the last place, where the answer is spoken.

So information makes two steps: one place to the right in layer 0, and from the answers to the question in layer 2. Heads
are the only thing in a transformer that moves information between places. The film shows no heads, but it says in which
layers to look for them, and what they have to carry. The rest of the chapter is about how to make such films, down to
single wires, and what may be concluded from them.

## Who says the answer

Begin at the end, where the answer is spoken. You know from *What heads write* (`ch14_what_heads_write`) that the stream at the
last place is a sum of what the embedding, each head and each MLP has written. With the LayerNorm's division held at what it
was in this run, each summand makes its own contribution to each logit, and the contributions add up. And a stream that is only
half built can be read by the logit lens, as if the model ended there:"""

# %% tags=["demo"]
clean, corrupted, right, wrong = two_pairs(cfg.d_vocab, batch=32, bos=bos, seed=0)
print("right minus wrong logit, mean of 32 prompts")
for layer, logits in enumerate(lens.logit_lens(course_model, clean)):
    gap = logit_difference(logits[:, None], right, wrong).mean()
    print(f"    {'before layer ' + str(layer) if layer < cfg.n_layers else 'at the end':15} {gap:6.2f}")

# %% [markdown]
r"""Our measure is the **logit difference**, right word minus wrong word: zero means undecided, and the corrupted text, for
which the roles of the two words are exchanged, should give about the opposite. Until layer 2 the last place knows nothing.
One layer later it knows nearly everything. Which heads told it?"""

# %% [markdown] exercise="head_logit_attribution" minutes=12 difficulty=2 reference="lens.head_logit_attribution" withhold=["component_logit_attribution", "residual_components"]
r"""## What each head says

Return, for each row, each layer and each head, how much the head adds at the **last position** to the logit of `right`
minus the logit of `wrong`:

$$\frac{z\,W_O}{s}\cdot\left(W_U[:, \text{right}] - W_U[:, \text{wrong}]\right)$$

where $z$ is the head's row of `blocks.{layer}.attn.hook_z` at the last position, $W_O$ the head's own output matrix and
$s$ the row's `ln_final.hook_scale` there. Keep the rows apart: shape `[batch, layer, head]`.

| | shape |
|---|---|
| `cache["z", layer]` | `[batch, pos, head, d_head]` |
| `cache["ln_final.hook_scale"]` | `[batch, pos, 1]` |
| `model.W_O[layer]` | `[head, d_head, d_model]` |
| `model.W_U` | `[d_model, d_vocab]` |"""

# %% [markdown] tags=["hint"]
r"""Build the direction first: `model.W_U[:, right] - model.W_U[:, wrong]`, of shape `[d_model, batch]`, divided by the row's
scale. A head's contribution is a dot product of what it writes with its row's direction."""

# %% [markdown] tags=["hint"]
r"""For one layer: `einsum(z[:, -1], W_O, "batch head d_head, head d_head d_model -> batch head d_model")`. Stack the
layers with `torch.stack(…, dim=1)`."""


# %%
def head_logit_attribution(
    model: TransformerBridge, tokens: Tokens, right: Words, wrong: Words
) -> Float[Tensor, "batch layer head"]:
    """What each head adds, at the last position, to the logit of the right word minus that of the wrong one."""
    # BEGIN SOLUTION
    _, cache = model.run_with_cache(tokens)
    scale = cache["ln_final.hook_scale"][:, -1]
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T / scale
    z = torch.stack([cache["z", layer][:, -1] for layer in range(model.cfg.n_layers)], dim=1)
    axes = "batch layer head d_head, layer head d_head d_model, batch d_model -> batch layer head"
    return einsum(z, model.W_O, direction, axes)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """head_logit_attribution agrees with the reference on prompts you have not seen, in a relabelled model"""
    model = draw.language_model("course-attn-2l")
    for batch in (draw.integer(2, 5), 1):
        tokens, _, right, wrong = prompts(draw, model, batch)
        expected = lens.head_logit_attribution(model, tokens, right, wrong)
        expect_close(student.head_logit_attribution(model, tokens, right, wrong), expected, **BY_HEAD)
    expect_nothing_left(student, student.head_logit_attribution, model, tokens, right, wrong)


# %% tags=["check", "hidden"] points=3
def check_adds_up(student, draw):
    """with what embedding, MLPs and biases add, the heads' shares make up each row's logit difference"""
    model = draw.language_model()
    tokens, _, right, wrong = prompts(draw, model)
    shares = student.head_logit_attribution(model, tokens, right, wrong)
    logits, cache = model.run_with_cache(tokens)
    layers = range(model.cfg.n_layers)
    rest = cache["blocks.0.hook_resid_pre"] + sum(cache[f"blocks.{layer}.hook_mlp_out"] for layer in layers)
    rest = (rest[:, -1] + sum(block.attn.b_O for block in model.blocks)) / cache["ln_final.hook_scale"][:, -1]
    rest = logit_difference((rest @ model.W_U + model.b_U)[:, None], right, wrong)
    whole = isinstance(shares, Tensor) and shares.dim() == 3
    expect(whole, "The result has not the axes [batch, layer, head].")
    said = logit_difference(logits, right, wrong) - rest
    expect_close(shares.flatten(1).sum(1), said, dims="batch", atol=2e-4)
    expect_close(student.head_logit_attribution(model, tokens, wrong, right), -shares, **BY_HEAD)


# %% [markdown] tags=["predict"] name="what_the_writer_says" choices=["more than either induction head", "less than these, but more than a tenth of the whole", "less than a tenth of the whole"]
r"""Without the previous-token head there is no copying: that was the strongest result of *What a head does*. How much of the
logit difference does this head contribute directly?"""

# %% tags=["demo"]
shares = head_logit_attribution(course_model, clean, right, wrong).mean(dim=0)
_, cache = course_model.run_with_cache(clean)
previous = torch.stack([heads.previous_token_score(cache["pattern", layer]) for layer in range(cfg.n_layers)])
biggest, said = shares.max().item(), shares[divmod(previous.argmax().item(), cfg.n_heads)].abs().item()
whole = logit_difference(course_model(clean), right, wrong).mean().item()
mlps = lens.component_logit_attribution(course_model, clean, right, wrong)
print(f"logit difference {whole:.2f}, previous-token head {said:.2f}, all heads {shares.sum():.2f}")
for layer in range(cfg.n_layers):
    print(f"MLP {layer} {mlps[f'mlp {layer}'].mean():17.2f}")
outcomes = ["less than a tenth of the whole", "less than these, but more than a tenth of the whole"]
answer = "more than either induction head" if said > biggest else outcomes[said > 0.1 * whole]
plots.plot_by_head(shares, label="logits", title="direct contribution to the logit difference")

# %% [markdown]
r"""Nothing. The head on which everything rests has nothing to say in the end. Direct attribution hears only who *speaks to
the logits*. Two heads of layer 2 do. Then the last MLP says more than either of them. It hears nothing from other places, so
*which* word stood there it can only have from the heads. Whether it repeats, sharpens or combines, this does not show.

And did the lens not say that nearly all was there *before* layer 3? It did. It divides by the size of the stream at that
point. Attribution divides by the size at the end, when the last MLP has made the stream larger and all that was said
before counts for less. Two right sums, with two divisors. So a large share is no proof that a component *knows* anything,
and a share of zero is no proof that it does not matter.

## Where the information is

Back to the film. *Activation patching* puts an activation of one run into another and asks what comes of it. You did it
with a whole head; here it is done with the stream, at one place at a time. First worked out for a single patch:"""


# %% tags=["demo"]
def patched_logits(layer: int, position: int) -> Logits:
    """Logits of the corrupted run with `resid_pre` of one layer, at one position, from the clean run."""
    name = f"blocks.{layer}.hook_resid_pre"
    _, cache = course_model.run_with_cache(clean, names_filter=name)

    def patch(resid_pre, hook):
        resid_pre = resid_pre.clone()
        resid_pre[:, position] = cache[name][:, position]
        return resid_pre

    return course_model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def share(logits: Logits, model: TransformerBridge = course_model) -> float:
    """How far the mean logit difference has come from the corrupted run (0) to the clean one (1)."""
    runs = logits, model(corrupted), model(clean)
    patched, bad, good = (logit_difference(each, right, wrong).mean().item() for each in runs)
    return (patched - bad) / (good - bad)


for name, logits in {"clean": course_model(clean), "corrupted": course_model(corrupted)}.items():
    print(f"{name:10} {logit_difference(logits, right, wrong).mean():6.2f}   share {share(logits):5.2f}")
last = patched_logits(layer=3, position=-1)
print(f"patched    {logit_difference(last, right, wrong).mean():6.2f}   share {share(last):5.2f}")

# %% [markdown] exercise="patch_residual" minutes=12 difficulty=2 reference="patching.patch_residual" withhold=["patch", "patch_once"]
r"""## The film, frame by frame

For every layer and every position: run `corrupted` with `blocks.{layer}.hook_resid_pre` at this one position, in each
row, taken from the same row's run on `clean`. Return by how much it has come back, shape `[layer, pos]`:

$$\frac{m_\text{patched} - m_\text{corrupted}}{m_\text{clean} - m_\text{corrupted}}$$

where $m$ is the logit difference (`logit_difference`) averaged over the rows. So 0 is the corrupted run, and 1 the
clean one; average first, then divide. Each patch stands alone: none may be left when the next one is made."""

# %% [markdown] tags=["hint"]
r"""Three runs come before the loop: one on `clean` with a cache, and the two whose metric you divide by. Then two nested
loops, with a run inside."""

# %% [markdown] tags=["hint"]
r"""`run_with_hooks` removes its hooks by itself. A hook made in a loop sees the loop's *current* variables: as long as it is
used before the loop goes on, all is well."""


# %%
def patch_residual(
    model: TransformerBridge, clean: Tokens, corrupted: Tokens, right: Words, wrong: Words
) -> Float[Tensor, "layer pos"]:
    """Share of the logit difference that each position of each layer's resid_pre, taken from clean, restores."""

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    # BEGIN SOLUTION
    logits, cache = model.run_with_cache(clean)
    good, bad = metric(logits), metric(model(corrupted))

    def take_clean(resid_pre, hook, position):
        chosen = torch.arange(clean.shape[1], device=clean.device) == position
        return torch.where(chosen[:, None], cache[hook.name], resid_pre)

    shares = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        for position in range(clean.shape[1]):
            hook = (name, partial(take_clean, position=position))
            shares[layer, position] = metric(model.run_with_hooks(corrupted, fwd_hooks=[hook]))
    return (shares - bad) / (good - bad)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """patch_residual agrees with the reference on prompts you have not seen, and leaves no hook behind"""
    model = draw.language_model("course-attn-2l")
    cases = [prompts(draw, model, batch, longest=2) for batch in (1, 2)]
    expected = [patching.patch_residual(model, *texts) for texts in cases]
    for texts in cases:
        expect_close(student.patch_residual(model, *texts), expected.pop(0), **BY_PLACE)
    expect_nothing_left(student, student.patch_residual, model, *texts)


# %% tags=["check", "hidden"] points=3
def check_knows_where_a_single_difference_is(student, draw):
    """where the texts differ at one place, only this place of layer 0 restores anything, and all; and what comes before it, nothing"""
    model = draw.language_model("course-attn-2l")
    clean, _, right, wrong = prompts(draw, model, batch=2, longest=1)
    place = draw.choice([1, clean.shape[1] - 1])
    corrupted = clean.clone()
    corrupted[:, place] = wrong
    expected = patching.patch_residual(model, clean, corrupted, right, wrong)
    shares = student.patch_residual(model, clean, corrupted, right, wrong)
    expect_close(shares, expected, **BY_PLACE)
    known = torch.zeros(clean.shape[1])
    known[place] = 1.0
    expect_close(shares[0], known, dims="pos")
    expect_close(shares[:, :place], torch.zeros(model.cfg.n_layers, place), **BY_PLACE)


# %% tags=["demo"]
film = patch_residual(course_model, clean, corrupted, right, wrong)
places = ["BOS", "A", "B", "·", "·", "·", "C", "D", "·", "·", "·", "A"]
plots.plot_by_position(film, places, label="share restored", title="resid_pre from the clean run")

# %% [markdown]
r"""The film of one pair of texts was no accident: over 32 pairs it is the same, and its frames have numbers. The last dot is
the control, where the texts differ too. It stays empty.

In the middle frames *two* places share the effect. The one at B should hold the note "A came before me", which draws the
last place to B. The one at D should say "C came before me"; as long as it says "A", it draws the last place to D. Give back
one of the two notes, and the model stands between two offers.

### What to measure

We might have measured something else: the *probability* of the right word, or the *KL divergence* from the clean run's
distribution over all words. Take the two notes, before layer 2. Each can be mended in the corrupted run (denoising), or
spoiled in the clean one (noising)."""

# %% [markdown] tags=["predict"] name="note_by_probability" choices=["about half of it", "about a quarter", "less than a tenth"]
r"""By logit difference, each of the two notes is worth about half. Now look at the note at D, in the corrupted run, and
measure the probability of the right word instead. Which share of the way from the corrupted to the clean probability does
mending this note go?"""

# %% tags=["demo"]
intact = course_model(clean)
measures = {
    "logit difference": metrics.LogitDifference(right, wrong),
    "probability": metrics.Probability(right),
    "KL divergence": metrics.KLDivergence(intact),
}
print("note at                  B: mended  spoiled      D: mended  spoiled")
for name, measure in measures.items():
    good, bad, row = measure(intact), measure(course_model(corrupted)), []
    for position in (2, 7):
        mended = patching.patch_once(course_model, clean, corrupted, "resid_pre", 2, position=position)
        spoiled = patching.patch_once(course_model, corrupted, clean, "resid_pre", 2, position=position)
        row += [(measure(mended) - bad) / (good - bad), (measure(spoiled) - good) / (bad - good)]
    by_name = dict(zip(["B mended", "B spoiled", "D mended", "D spoiled"], map(float, row), strict=True))
    print(f"{name:20}", "   ".join(f"{value:10.2f}" for value in row))
    if name == "probability":
        moved = by_name["D mended"]
answer = "less than a tenth" if moved < 0.1 else "about a quarter" if moved < 0.38 else "about half of it"

# %% [markdown]
r"""One and the same patch, and three verdicts. By probability, mending the note at D is worth nothing, and spoiling the note
at B is worth everything. Both are artefacts of the softmax, which is flat at its ends: far below the other word, several
logits more don't show; and once the right word has lost, losing it further costs nothing. The logit difference is linear
in the stream at the end (for a held LayerNorm), so what is written there adds up. That is why it is the usual choice. What
bends earlier, such as an attention softmax, stays bent: half a note need not have half an effect.

It has its own blindness. It sees two words. A patch that breaks the model, so that it says a third word, may leave the
difference as it was. KL divergence looks at all words, but it is never negative: it can tell that something changed, and
not in which direction. So: logit difference to find things, a look at the probability to see whether the model still
answers at all.

Mended and spoiled differ as well. *Denoising* shows what **suffices**, given all that is still corrupted. *Noising* shows
what is **needed**, given all that is still intact. If two things are needed together, each alone suffices for nothing; if
either would do, neither is needed. Whoever reports one number should say which it is ([Heimersheim & Nanda
2024](https://arxiv.org/abs/2404.15255), [Zhang & Nanda 2024](https://arxiv.org/abs/2309.16042)).

## Through which input

In layer 2 the news moves from the answers to the question. Something there reads notes. A head reads in three ways: with
its **query** it says what it is looking for, with its **keys** it sees what each place offers, and its **values** are what
it carries away. Query and keys meet in the attention pattern. All four can be exchanged one by one.

Each has its hook: `blocks.{layer}.attn.hook_q`, `hook_k`, `hook_v`, with axes `[batch, pos, head, d_head]`, and
`hook_pattern` with axes `[batch, head, query, key]`. Mind where the head stands in the last."""

# %% [markdown] exercise="patch_head_input" minutes=12 difficulty=3 reference="patching.patch_head_input" withhold=["patch", "patch_once"]
r"""## One input of one head

Return the logits of the **corrupted** run in which one `part` of one head, at all positions, is what it is in the
**clean** run. `part` is `"q"`, `"k"`, `"v"` or `"pattern"`; anything else raises `ValueError`, as `"z"` would be an output.
The head's other parts are computed as usual (from a patched `k`, say, follows another pattern). Other heads are not
touched. Leave no hook behind."""

# %% [markdown] tags=["hint"]
r"""As with `patch_head_output` of `ch19_what_a_head_does`, but the place is `f"blocks.{layer}.attn.hook_{part}"`, and for one of the
four parts the head is on another axis."""

# %% [markdown] tags=["hint"]
r"""`index = (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)`, then
`current[index] = cache[name][index]` on a clone."""


# %%
def patch_head_input(
    model: TransformerBridge, clean: Tokens, corrupted: Tokens, layer: int, head: int, part: str
) -> Logits:
    """Logits of the corrupted run with one head's q, k, v or pattern taken from the clean run."""
    # BEGIN SOLUTION
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"no input of a head is called {part}")
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean)
    axis = 1 if part == "pattern" else 2

    def patch(current, hook):
        chosen = torch.tensor([head], device=current.device)
        return current.index_copy(axis, chosen, cache[name].index_select(axis, chosen))

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """patch_head_input agrees with the reference for each part of heads in every layer of a relabelled model"""
    model = draw.language_model("course-attn-2l")
    cases, last = [], model.cfg.n_heads - 1
    for layer in (0, 1):
        texts = prompts(draw, model)[:2]
        cases += [(*texts, layer, draw.integer(0, last), part) for part in ("k", "q", "v", "pattern")]
    expected = [patching.patch_head_input(model, *case) for case in cases]
    for case in cases:
        expect_close(student.patch_head_input(model, *case), expected.pop(0), **LOGITS)


# %% tags=["check"] points=1
def check_refuses_what_is_no_input(student, draw):
    """a part that is no input of a head, such as "z", raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    for part in ("z", draw.choice(["Q", "resid_pre", "result", ""])):
        refused = f"part={part!r} should be refused."
        call = partial(student.patch_head_input, model, clean, corrupted, 1, 0, part)
        expect_raises("ValueError", call, refused)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_limits(student, draw):
    """a run patched from itself stays as it is, no logit changes before the texts differ, and no hook is left"""
    model = draw.language_model("course-attn-2l")
    clean, _, _, _ = prompts(draw, model)
    split, layer = clean.shape[1] - 3, draw.integer(0, 1)
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    intact, part = model(corrupted), draw.choice(["k", "v", "pattern"])
    expected = patching.patch_head_input(model, clean, corrupted, layer, 0, part)
    logits = student.patch_head_input(model, clean, corrupted, layer, 0, part)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    expect_close(student.patch_head_input(model, corrupted, corrupted, layer, 0, part), intact, **LOGITS)
    expect_nothing_left(student, student.patch_head_input, model, clean, corrupted, layer, 0, part)


# %% tags=["demo"]
def named(places):
    return ", ".join(f"L{layer}H{head}" for layer, head in places)


def previous_token_head(model, tokens):
    """The head with the highest previous-token score."""
    _, cache = model.run_with_cache(tokens)
    layers = range(model.cfg.n_layers)
    scores = torch.stack([heads.previous_token_score(cache["pattern", layer]) for layer in layers])
    return divmod(scores.argmax().item(), model.cfg.n_heads)


def speakers(model, tokens, least=0.1):
    """Heads whose direct contribution is at least this part of the largest one, in order."""
    shares = lens.head_logit_attribution(model, tokens, right, wrong).mean(dim=0)
    return [tuple(place) for place in (shares > least * shares.max()).nonzero().tolist()]


writer, readers = previous_token_head(course_model, clean), speakers(course_model, clean)
print(f"previous-token head {named([writer])}; heads that say the answer {named(readers)}")

# %% [markdown] tags=["predict"] name="which_input" choices=["the query", "the keys", "the values", "none of these"]
r"""Take the head that says the answer loudest. Which of its inputs, taken alone from the clean run, brings back most of
what the whole head brings back? Before you answer, consider what each input knows: the query stands at the question, which is the
same in both texts; the values are read at *port* and *chairs*, the same in both texts; and so are the keys."""

# %% tags=["demo"]
whole_head = partial(patching.patch_head_output, course_model, clean, corrupted)
loudest = max(readers, key=lambda place: share(whole_head(*place)))
mended = {}
print("share restored         q      k      v  pattern     z")
for place in readers:
    row = [share(patch_head_input(course_model, clean, corrupted, *place, part)) for part in ("q", "k", "v")]
    mended[place] = dict(zip(["the query", "the keys", "the values"], row, strict=True))
    row.append(share(patch_head_input(course_model, clean, corrupted, *place, "pattern")))
    row.append(share(whole_head(*place)))
    print(f"{named([place]):16}", *(f"{value:6.2f}" for value in row))
best = max(mended[loudest], key=mended[loudest].get)
answer = best if mended[loudest][best] > 0.1 else "none of these"

# %% [markdown]
r"""The keys, and nothing but the keys: what they restore is as much as the pattern restores, and the whole head. The values
carry nothing, though the *answer* is a value. There is no contradiction. *port* can be read at its place in both texts.
What the texts disagree about is which place to read, and this is settled where the keys meet the query.

It is a finding about these two texts as well as about the head. Had we exchanged B and D instead, the news would have had to
come through the values (try it). A patch only ever shows what carries **the difference between the two runs**; what is the same in
both can't be seen, however much it matters. When somebody says "attention heads of this kind work through their keys", ask
for the other text."""

# %% [markdown]
r"""## From this head into that one

Now the wire. The notes that make the keys right: are they those of the previous-token head? Patching it as a whole does
not tell. Its output goes everywhere, to other heads, to MLPs, to the end. We want its effect along one arrow only: *what
would the reader's keys be, had only the writer seen the other text?*

**Path patching** answers in two steps ([Goldowsky-Dill et al. 2023](https://arxiv.org/abs/2304.05969); [Wang et al.
2023](https://arxiv.org/abs/2211.00593)):

1. *What arrives.* Run the corrupted text with the sender's $z$ from the clean run, and with everything that could pass
   the news on **frozen**, that is, held at its corrupted value. Note the receiver's keys.
2. *What follows.* Run the corrupted text once more, untouched but for the receiver's keys, which are those noted.

What is frozen decides what the arrow means. If all heads and MLPs in between are frozen, the news takes the **direct**
path: the sender writes into the stream, the receiver reads it there. If MLPs are left to react, the arrow includes every
way through MLPs.

### A worked example: the arrow from a head to the logits

The receiver may be the end of the model. Then the first step is the last: freeze what comes after the sender, and look at
the logits. In `course-attn-2l`, a model of two layers without MLPs, this is quickly done for the heads of layer 1, since
nothing comes after them; and for those of layer 0, layer 1 has to be frozen:"""

# %% tags=["demo"]
attn_model = load_language_model("course-attn-2l")
second_layer = [f"blocks.{layer}.attn.hook_z" for layer in range(1, attn_model.cfg.n_layers)]
_, clean_cache = attn_model.run_with_cache(clean)
_, corrupted_cache = attn_model.run_with_cache(corrupted)
print("share of the logit difference restored by each head's z")
for layer, frozen in ((0, second_layer), (0, []), (1, [])):
    z, row = f"blocks.{layer}.attn.hook_z", []
    for head in range(attn_model.cfg.n_heads):
        hooks = [replace_heads(z, clean_cache[z], [head]), *hold(corrupted_cache, frozen)]
        row.append(share(attn_model.run_with_hooks(corrupted, fwd_hooks=hooks), attn_model))
    print(f"layer {layer}, layer 1 {'frozen' if frozen else 'free':7}", *(f"{value:7.2f}" for value in row))

# %% [markdown]
r"""One head of layer 0 brings back nearly everything, and nothing of it goes straight to the logits: freeze layer 1, and
the effect is gone. So it takes the way through layer 1. Through which heads, and which of their inputs? That is the
exercise. The helpers `replace_heads` and `hold`, in the folded cell at the top, make the hooks."""

# %% [markdown] exercise="path_logits" minutes=25 difficulty=4 reference="path_patching.path_logits" withhold=["path_patch", "patch_path"]
r"""## Path patching

Return the logits of the **corrupted** run, in which each receiver's `through` (`"q"`, `"k"` or `"v"`) is what it would be
had the sender's `z` been that of the **clean** run.

1. Run `corrupted` with the sender's `z`, at all positions, from `clean`. Hold what is named in `frozen`, a collection of strings,
   at its value in the corrupted run:
   - `"heads"`: the `hook_z` of every head in the layers **above** the sender's;
   - `"mlps"`: the `hook_mlp_out` of every MLP **after** the sender, the one in its own layer included.

   LayerNorm is never frozen. From this run, take the `hook_{through}` of each receiver.
2. Run `corrupted` once more with nothing frozen and nothing patched, except that each receiver has its `through` from
   step 1, all receivers at once.

`sender` is `(layer, head)`; `receivers` is a list of these, perhaps in several layers. `ValueError` is raised if
`through` is another word, if `frozen` names anything else, or if a receiver is not in a layer above the sender's."""

# %% [markdown] tags=["hint"]
r"""Three caches: the clean run's for the sender, the corrupted run's for what is frozen, and that of step 1 for the receivers.
For step 1, use `with model.hooks(fwd_hooks=[…]):` around `model.run_with_cache(corrupted)`."""

# %% [markdown] tags=["hint"]
r"""The frozen names: `f"blocks.{layer}.attn.hook_z"` for the layers from `sender[0] + 1` on, and
`f"blocks.{layer}.hook_mlp_out"` for the layers from `sender[0]` on. `hold(corrupted_cache, names)` makes the hooks."""

# %% [markdown] tags=["hint"]
r"""Step 2: for each layer with receivers,
`replace_heads(name, arrived[name], [head for where, head in receivers if where == layer])` with
`name = f"blocks.{layer}.attn.hook_{through}"`."""


# %%
def path_logits(
    model: TransformerBridge,
    clean: Tokens,
    corrupted: Tokens,
    sender: Head,
    receivers: list[Head],
    through: str = "k",
    frozen: tuple[str, ...] = ("heads", "mlps"),
) -> Logits:
    """Corrupted logits where the receivers' q, k or v is what it would be with the sender's clean z."""
    # BEGIN SOLUTION
    if through not in ("q", "k", "v") or any(name not in ("heads", "mlps") for name in frozen):
        raise ValueError(f"no path goes through {through!r} with {frozen!r} frozen")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError(f"a receiver is not above {sender}")
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)

    above = range(sender[0] + 1, model.cfg.n_layers)
    names = [f"blocks.{layer}.attn.hook_z" for layer in above if "heads" in frozen]
    names += [f"blocks.{layer}.hook_mlp_out" for layer in (sender[0], *above) if "mlps" in frozen]
    z = f"blocks.{sender[0]}.attn.hook_z"
    first = [replace_heads(z, clean_cache[z], [sender[1]]), *hold(corrupted_cache, names)]
    with model.hooks(fwd_hooks=first):
        _, arrived = model.run_with_cache(corrupted)

    hooks = []
    for layer, head in receivers:
        name = f"blocks.{layer}.attn.hook_{through}"
        hooks.append(replace_heads(name, arrived[name], [head]))
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)
    # END SOLUTION


# %% tags=["given"]
def a_path(draw, model, above=1):
    """Prompts, the head of layer 0 that looks back most, and all heads but one of the layer `above`."""
    clean, corrupted, _, _ = prompts(draw, model)
    _, cache = model.run_with_cache(clean, names_filter="blocks.0.attn.hook_pattern")
    score = heads.previous_token_score(cache["blocks.0.attn.hook_pattern"])
    left_out = draw.integer(0, model.cfg.n_heads - 1)
    receivers = [(above, head) for head in range(model.cfg.n_heads) if head != left_out]
    return clean, corrupted, (0, score.argmax().item()), receivers


# %% tags=["check"] points=3
def check_follows_the_direct_path(student, draw):
    """with heads and MLPs frozen, path_logits agrees with the reference for q, k and v, in two relabelled models"""
    small, large = draw.language_model("course-attn-2l"), draw.language_model()
    cases = [(small, *a_path(draw, small), through) for through in "kqv"]
    cases.append((large, *a_path(draw, large, above=2), "k"))
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS, atol=3e-5)


# %% tags=["check"] points=1
def check_refuses_what_is_no_path(student, draw):
    """another input than q, k or v, another thing to freeze, or a receiver that is not above the sender raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    layer, word = draw.integer(0, 1), draw.choice(["z", "pattern", "K"])
    cases = [
        ((0, 1), [(1, 0)], word, ("heads",)),
        ((0, 1), [(1, 0)], "k", ("heads", draw.choice(["mlp", "layer_norm"]))),
        ((layer, 1), [(1, 2), (layer, 0)] if layer == 0 else [(1, 0)], "k", ("heads", "mlps")),
    ]
    for case in cases:
        told = dict(zip(("sender", "receivers", "through", "frozen"), case, strict=True))
        refused = f"{told} should be refused."
        expect_raises("ValueError", partial(student.path_logits, model, clean, corrupted, *case), refused)


# %% tags=["check", "hidden"] points=3
def check_freezes_what_it_is_told_to(student, draw):
    """with MLPs free, with heads free, or with all free, path_logits agrees with the reference"""
    model = draw.language_model()
    clean, corrupted, sender, receivers = a_path(draw, model, above=2)
    receivers = [*receivers, (3, draw.integer(0, 5))]
    inputs = (("heads",), "k"), (("mlps",), draw.choice(["k", "v"])), ((), "k"), (("heads",), "q")
    cases = [(model, clean, corrupted, sender, receivers, through, frozen) for frozen, through in inputs]
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_limits(student, draw):
    """from a later layer, for a run patched from itself, and before the texts differ, it does what it should; no hook is left"""
    model = draw.language_model()
    clean, _, _, _ = prompts(draw, model)
    split = clean.shape[1] - 3
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    sender, receivers = (1, draw.integer(0, 5)), [(3, 0), (2, 1), (2, 4), (3, 5)]
    through = draw.choice(["q", "k"])
    intact = model(corrupted)
    expected = path_patching.path_logits(model, clean, corrupted, sender, receivers, through)
    logits = student.path_logits(model, clean, corrupted, sender, receivers, through)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    same = student.path_logits(model, corrupted, corrupted, sender, receivers, through)
    expect_close(same, intact, **LOGITS)
    expect_nothing_left(student, student.path_logits, model, clean, corrupted, sender, receivers)


# %% tags=["demo"]
attn_writer, attn_readers = previous_token_head(attn_model, clean), speakers(attn_model, clean)
print(f"{named([attn_writer])} into {named(attn_readers)} of course-attn-2l, heads frozen, no MLPs there")
print("            mended     cut")
for through in "qkv":
    mended = path_logits(attn_model, clean, corrupted, attn_writer, attn_readers, through)
    cut = path_logits(attn_model, corrupted, clean, attn_writer, attn_readers, through)
    print(f"through {through} {share(mended, attn_model):9.2f} {1 - share(cut, attn_model):7.2f}")
for head in range(attn_model.cfg.n_heads):
    logits = path_logits(attn_model, clean, corrupted, (0, head), attn_readers, "k")
    print(f"L0H{head} through k, mended {share(logits, attn_model):6.2f}")

# %% [markdown]
r"""There is the wire. Mend this one arrow in the corrupted run, and nearly all of the behaviour is back. Cut it in the clean
run, and nearly all is gone. It runs from one head of layer 0 into the **keys** of the three that speak. This is called
K-composition ([Elhage et al. 2021](https://transformer-circuits.pub/2021/framework/index.html)).

Look at the zeros too. The query side does not need the writer. It *could* have used it: the word before the question
differs between the texts, so there was news to carry. Nor do the values. And no other head of layer 0 feeds these keys.
An arrow is worth as much as the arrows beside it that were tried and found empty.

(`course-attn-2l` had help with it, as `course-gpt2` had: for 400 of its 3,000 steps the head of layer 0 and two of the three
readers were rewarded for looking where they look. What passes between them was not.)

In `course-gpt2` there is an MLP between any two layers of heads. Does the wire still run straight?"""

# %% [markdown] tags=["predict"] name="still_direct" choices=["nearly all of it, as before", "about half", "less than a quarter"]
r"""The same arrow in `course-gpt2`: previous-token head → keys of the induction heads. How much of the logit difference
does it restore when heads *and MLPs* are frozen?"""

# %% tags=["demo"]
print(f"{named([writer])} into {named(readers)}: share restored")
print("frozen                q      k      v")
by_keys = {}
for frozen in (("heads", "mlps"), ("heads",), ()):
    arrow = partial(path_logits, course_model, clean, corrupted, writer, readers, frozen=frozen)
    row = [share(arrow(through)) for through in "qkv"]
    by_keys[frozen] = row[1]
    print(f"{' and '.join(frozen) or 'nothing':14}", *(f"{value:6.2f}" for value in row))
outcomes = ["less than a quarter", "about half", "nearly all of it, as before"]
direct = by_keys["heads", "mlps"]
answer = outcomes[(direct > 0.25) + (direct > 0.75)]

# %% [markdown]
r"""The arrow is there, with nearly its full effect, and only a small part of it is straight. Most of the news passes through
MLPs. Had you frozen them, as is often done without a word, you would have found a feeble wire, and had you frozen nothing,
you could not have told. Both numbers are right. They belong to different arrows, so a path effect that does not say what
was frozen says nothing.

Which MLP is it? There are two before layer 2. Leave one of them free, and freeze all else:"""

# %% tags=["demo"]
_, clean_cache = course_model.run_with_cache(clean)
_, corrupted_cache = course_model.run_with_cache(corrupted)
z, keys = f"blocks.{writer[0]}.attn.hook_z", f"blocks.{readers[0][0]}.attn.hook_k"
chosen = [head for _, head in readers]
for free in ((), (0,), (1,), (0, 1)):
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(writer[0] + 1, cfg.n_layers)]
    names += [f"blocks.{layer}.hook_mlp_out" for layer in range(cfg.n_layers) if layer not in free]
    hooks = [replace_heads(z, clean_cache[z], [writer[1]]), *hold(corrupted_cache, names)]
    with course_model.hooks(fwd_hooks=hooks):
        _, arrived = course_model.run_with_cache(corrupted)
    logits = course_model.run_with_hooks(corrupted, fwd_hooks=[replace_heads(keys, arrived[keys], chosen)])
    print(f"free MLPs {free!s:8} share restored {share(logits):5.2f}")

# %% [markdown]
r"""MLP 0, alone. It stands right after the writer. It reads the place where both "I am *port*" and "*must* came before me" now
stand, and what it writes there is what the keys of layer 2 read. The circuit of this model has a third kind
of member, which a drawing of heads and arrows between heads would leave out.

## What the weights say

Path patching takes runs, prompts, and a choice of what to freeze. Weights take none of it. Whatever head $h$ of layer $l$
writes goes through its $W_{OV} = W_V W_O$, and the keys of head $g$ of layer $m$ depend on the stream through $W_{QK} = W_Q
W_K^\top$. If the one writes into directions that the other does not read, the product of the two is small. Elhage et al.
(2021) measure it against the size of its factors."""

# %% [markdown] exercise="composition_scores" minutes=15 difficulty=3 reference="circuits.composition_scores"
r"""## Composition scores

Return a tensor `[layer, head, layer, head]`, sender first. Entry `[l, h, m, g]` is

$$\frac{\lVert W_{OV}^{lh} M \rVert}{\lVert W_{OV}^{lh} \rVert\,\lVert M \rVert}
\qquad\text{with}\quad M = \begin{cases} W_{QK}^{mg} & \text{for "q"}\\ (W_{QK}^{mg})^\top & \text{for "k"}\\
W_{OV}^{mg} & \text{for "v"}\end{cases}$$

in Frobenius norms, where `into` is `"q"`, `"k"` or `"v"`. An entry is zero where the sender is not in an earlier layer ($l \ge
m$). Any other `into` raises `ValueError`. Vectors are rows here: $W_{OV} = W_V W_O$ and $W_{QK} = W_Q W_K^\top$, both of
shape `[d_model, d_model]`; `model.W_Q`, `W_K`, `W_V` have axes `[layer, head, d_model, d_head]`, and `model.W_O` has
`[layer, head, d_head, d_model]`."""

# %% [markdown] tags=["hint"]
r"""`model.W_V @ model.W_O` multiplies the last two axes for all layers and heads at once. `.mT` transposes these two, and
`torch.linalg.matrix_norm` takes their Frobenius norm."""

# %% [markdown] tags=["hint"]
r"""A loop over senders keeps the products small: `W_OV[l, h] @ M` has shape `[layer, head, d_model, d_model]`, one product for
each receiver. Fill only `scores[l, h, l + 1 :]`."""


# %%
def composition_scores(model: TransformerBridge, into: str) -> Float[Tensor, "layer head layer head"]:
    """How much of what each head can write each head of a later layer can read by its q, k or v."""
    # BEGIN SOLUTION
    W_OV, W_QK = model.W_V @ model.W_O, model.W_Q @ model.W_K.mT
    reading = {"q": W_QK, "k": W_QK.mT, "v": W_OV}
    if into not in reading:
        raise ValueError(f"a head has no input {into}")
    M, norm = reading[into], torch.linalg.matrix_norm
    scores = torch.zeros(*W_OV.shape[:2], *W_OV.shape[:2], device=W_OV.device)
    for place in [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]:
        later = M[place[0] + 1 :]
        scores[place][place[0] + 1 :] = norm(W_OV[place] @ later) / (norm(W_OV[place]) * norm(later))
    return scores
    # END SOLUTION


# %% tags=["given"]
def with_known_weights(function, model, places, into):
    """Calls `function(model, into)` on a model in which two heads read and write known directions of the stream.

    `places` says for six matrices at which direction their d_head ones begin: the sender's W_V and W_O, the
    receiver's W_Q, W_K, W_V and W_O. The sender is head 0 of layer 0, the receiver head 1 of layer 1. The
    weights are put back.
    """
    first, second = model.blocks[0].attn, model.blocks[1].attn
    weights = [first.W_V[0], first.W_O[0], second.W_Q[1], second.W_K[1], second.W_V[1], second.W_O[1]]
    kept, size = [each.clone() for each in weights], model.cfg.d_head
    try:
        for weight, place in zip(weights, places, strict=True):
            ones = torch.eye(model.cfg.d_model, device=weight.device)[place : place + size]
            weight.copy_(ones if weight.shape == ones.shape else ones.T)
        return function(model, into)
    finally:
        for weight, before in zip(weights, kept, strict=True):
            weight.copy_(before)


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """composition_scores agrees with the reference for q, k and v in relabelled models of two and of four layers"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        for into in ("q", "k", "v"):
            scores = student.composition_scores(model, into)
            expect_close(scores, circuits.composition_scores(model, into), **BY_PAIR)


# %% tags=["check", "hidden"] points=2
def check_counts_the_directions_that_two_heads_share(student, draw):
    """a head that reads s of the d directions that another writes scores √s / d, by the input that reads them and no other"""
    model = draw.language_model("course-attn-2l")
    size, shared = model.cfg.d_head, {into: draw.integer(4, 28) for into in "kv"}
    before = [size - shared["k"], size - shared["v"]]
    starts = [draw.integer(0, 60), 0, 2 * size + 20, *before, draw.integer(0, 60)]
    shared["q"] = 0
    for into in draw.choice(["kvq", "vqk", "qkv"]):
        scores = student.run(with_known_weights, student.composition_scores, model, starts, into)
        expect(isinstance(scores, Tensor) and scores.dim() == 4, "The result has not four axes.")
        expect_close(scores[0, 0, 1, 1], torch.tensor(shared[into] ** 0.5 / size), dims="", atol=1e-5)


# %% tags=["check", "hidden"] points=1
def check_refuses_other_inputs(student, draw):
    """`into` is "q", "k" or "v"; anything else raises ValueError"""
    model, into = draw.language_model("course-attn-2l"), draw.choice(["o", "K", "qk", "z", ""])
    refused = f"into={into!r} should be refused."
    expect_raises("ValueError", lambda: student.composition_scores(model, into), refused)


# %% [markdown] tags=["predict"] name="rank_by_weights" choices=["first in both models", "first in course-attn-2l only", "first in course-gpt2 only", "first in neither"]
r"""Take the keys of the heads that say the answer. All heads of the layers below are candidates for feeding them. Rank the
candidates by K-composition score. At which rank does the previous-token head, the one that *does* feed them, stand?"""

# %% tags=["demo"]
first_in = {}
for name, model, sender, receivers in (
    ("course-attn-2l", attn_model, attn_writer, attn_readers),
    ("course-gpt2", course_model, writer, readers),
):
    scores = torch.stack([composition_scores(model, "k")[:, :, *place] for place in receivers]).mean(dim=0)
    scores = scores[: min(layer for layer, _ in receivers)]
    ranked = [divmod(flat, model.cfg.n_heads) for flat in scores.flatten().argsort(descending=True).tolist()]
    first_in[name] = ranked[0] == sender
    print(f"{name}: into the keys of {named(receivers)}; two random heads {model.cfg.d_model**-0.5:.2f}")
    for place in ranked[:4]:
        restored = share(path_logits(model, clean, corrupted, place, receivers, "k", ("heads",)), model)
        print(f"    {named([place])}  score {scores[place]:.2f}   path patching {restored:5.2f}")
    print(f"    {named([sender])} has rank {ranked.index(sender) + 1} of {len(ranked)}")
both = {(True, True): "first in both models", (False, False): "first in neither"}
one = {(True, False): "first in course-attn-2l only", (False, True): "first in course-gpt2 only"}
answer = (both | one)[tuple(first_in.values())]

# %% [markdown]
r"""In the model without MLPs, the weights point at the right head. In `course-gpt2` they rank heads first that feed these
keys with nothing. Nobody has made a mistake. The score asks what *could* pass straight from one head to another, if it
were ever written. It does not know what is written, and it does not know the way through MLP 0, on which nearly all of
it travels.

The same trap lay in *What heads write*, where one asks what a head copies. By the raw weights the induction heads copy a good
part of the vocabulary; by what MLP 0 makes of a word, nearly all of it. Weights are a fast way to have an idea, and the
embedding is not what later layers see.

## What you may claim so far

| claim | what you have | what would overturn it |
|---|---|---|
| here the information lies, layer by layer | patched streams, place by place, with a control place | as much at the control place |
| these heads say the answer | their shares of the logit difference | another divisor; an MLP that speaks last has the news from others |
| they find it by their keys | each input alone, for these two texts | it holds for no other pair of texts |
| this head feeds those keys | the arrow mended and cut, with what was frozen | a control head, or another input, does the same |
| MLP 0 stands in between | one MLP freed at a time | the arrow arrives with MLP 0 frozen |
| the weights point at the sender | composition scores: *in one model of two* | one patch |

One node that writes, two that read, an arrow between them, mended and cut, the input where it ends, the MLP on its way, and a
list of arrows that were tried and are empty: this is a circuit. Is it *the* circuit? All of it was found by touching one thing
in a model that was otherwise whole. In the next chapter, *Evidence for a circuit* (`ch13_circuit_evidence`), it has to do
the work alone, and to stand up to whoever wants to break it."""

# %% [markdown] tags=["interview"] name="what_was_frozen"
r"""A paper reports: "the direct effect of head A on head B is 0.1 of the total, so A and B are hardly connected." What do you
want to know before you agree?

A strong answer: what was frozen, MLPs above all; through which input of B; which way the patch went (mended in the
corrupted run or cut in the clean one) and between which texts, since only their difference can be carried; the metric, and
whether it saturates; the effect with MLPs recomputed, and through which MLP; the same for control heads; and whether
several paths of the same sender add up, cancel, or stand in for each other."""
