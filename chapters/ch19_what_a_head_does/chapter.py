# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch19_what_a_head_does", "version": "05cda0a1af4c", "source": "solutions/ch19_what_a_head_does/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch19_what_a_head_does`, version `05cda0a1af4c`, written from `solutions/ch19_what_a_head_does/chapter.py` by `python -m mechinterp_course.authoring ch19_what_a_head_does`.*
"""

# %% [markdown]
r"""
# What a head does

In *Induction heads* (`ch03_induction_heads`) you found heads that look at the right place. This chapter asks what would break
without them. Begin with the plainest answer there is: take one away, and listen.

1. **Take it away.** Ablation, of which there are kinds, and they disagree.
2. **Put it elsewhere.** Patching: what one head's output can carry, and what it can't.
3. **Ask them all.** A ranking by effect, beside the ranking by stripes.
4. **When nothing seems to be lost.** A loss near zero hides what a head adds. You find the experiment that shows it.
5. **A detector** that asks for the stripe and for the effect.

You need the scores of the chapter before; from here on the library's stand in for yours. It takes about two hours.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import faithfulness, heads, patching, redundancy
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises, head_probes
from mechinterp_course.heads import find_induction_heads, induction_score, previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.worlds import planted
from mechinterp_course.worlds import tokens as token_world
from mechinterp_course.worlds.tokens import cyclic_tokens, repeated_tokens

Head = tuple[int, int]  # (layer, head)
LOGITS = {"dims": "batch pos d_vocab", "atol": 2e-4}  # how logits are compared: by these axes, up to rounding


def repeats(draw, model, longest=16, batch=4):
    """Repeated tokens over a model's vocabulary, of a length drawn from 8 to `longest`."""
    length, start = draw.integer(8, longest), model.tokenizer.bos_token_id
    return token_world.repeated_tokens(model.cfg.d_vocab, length, batch, start, draw.seed()).to(draw.device)


def afterwards(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor)]


def expect_unchanged(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    left = student.run(afterwards, function, *arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(
        isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(left, tensors, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on a copy (`clone`).")


# %% [markdown]
r"""
The next cell loads the model and scores its heads as you did. It names four of them: the induction heads `found`, the one
with the strongest stripe, `reader`, the previous-token head, `writer`, and a `bystander` beside the reader. `without(model,
tokens, removed)` runs a model with these heads silenced; how that is done, you write yourself in a moment.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import plots
    from mechinterp_course.models import load_language_model

    course_model = load_language_model("course-gpt2")
    bos, cfg = course_model.tokenizer.bos_token_id, course_model.cfg
    tokens = repeated_tokens(cfg.d_vocab, length=20, batch=16, bos=bos, seed=3)
    _, cache = course_model.run_with_cache(tokens)
    patterns = [cache["pattern", layer] for layer in range(cfg.n_layers)]
    induction = torch.stack([induction_score(pattern, 20) for pattern in patterns])
    previous = torch.stack([previous_token_score(pattern) for pattern in patterns])
    current = torch.stack([pattern.diagonal(dim1=-2, dim2=-1).mean((0, 2)) for pattern in patterns])
    found = find_induction_heads(course_model, tokens)
    writer, reader = (divmod(score.argmax().item(), cfg.n_heads) for score in (previous, induction))
    bystander = (reader[0], induction[reader[0]].argmin().item())
    chosen = {"previous token": writer, "strongest induction": reader, "weakest, same layer": bystander}


    def named(places):
        return ", ".join(f"L{layer}H{head}" for layer, head in places)


    def without(model, tokens, removed):
        """Logits with all `removed` heads zero-ablated at once."""
        places = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
        return faithfulness.run_circuit(model, tokens, [each for each in places if each not in removed], "zero")


    print("induction heads:", named(found), "  previous-token head:", named([writer]))

# %% [markdown]
r"""
The model reads twelve random tokens, gets the first three again as a cue, and recites the other nine, as at the beginning of
the chapter before. Now the head with the *strongest* stripe is silenced throughout: zeros stand in the place of what it
gathers. How many of the nine does the model still say rightly?

- **a** 0 to 3 of 9
- **b** 4 to 6 of 9
- **c** 7 to 9 of 9
"""

# %% tags=["predict"]
if __name__ == "__main__":
    recite_without_one = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "0 to 3 of 9",
            "4 to 6 of 9",
            "7 to 9 of 9",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if recite_without_one.answered():
        line = torch.randint(cfg.d_vocab, (12,), generator=torch.Generator().manual_seed(26227))


        def recited(removed):
            """The nine tokens that the model recites with these heads silenced."""
            text = torch.cat([torch.tensor([bos]), line, line[:3]])
            for _ in range(9):
                text = torch.cat([text, without(course_model, text[None], removed)[0, -1].argmax()[None]])
            return text[16:]


        stripeless = [(reader[0], head) for head in range(cfg.n_heads) if (reader[0], head) not in found][:2]
        for places in ([], *([place] for place in found), found, stripeless, [writer]):
            right = (recited(places) == line[3:]).sum()
            print(
                f"{named(places) or 'nothing':12} silenced: {right} of 9 ",
                course_model.tokenizer.decode(recited(places)),
            )
        right = (recited([reader]) == line[3:]).sum().item()
        answer = ["0 to 3 of 9", "4 to 6 of 9", "7 to 9 of 9"][(right > 3) + (right > 6)]
        recite_without_one.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

All nine, and nine again without the other. Whoever silences heads one at a time and counts right answers finds that neither
induction head is needed. Silence both, and not a word is right. The control, as many heads of the same layer without the
stripe, changes nothing.

So counting words is too blunt for one head at a time, and one head at a time may be the wrong question. What to measure, what
to put in the place of a head, and what to remove with it: these three choices make the answer. This chapter takes them in
turn.

</details>
"""

# %% [markdown]
r"""
## What is causal

Attention patterns tell you where heads *read*. They don't tell you what a head does with what it reads, or whether anything
downstream listens. To claim that a head matters, take it away.

The output of an attention layer is a sum over its heads:

$$\text{attn\_out} = \sum_h z_h W_O^h + b_O, \qquad z_h = A_h V_h .$$

$z_h$ is what the head has gathered through its pattern $A_h$, of shape `[batch, pos, d_head]`. TransformerLens keeps
all of them under `blocks.{layer}.attn.hook_z`, with axes `[batch, pos, head, d_head]`. Since the sum is all that the
rest of the model ever sees, replacing `z[:, :, head]` replaces exactly that head.

Replacing it *by what* is a choice, and the answer depends on it. **Zero ablation** writes zeros: simple, and a value
the rest of the model has perhaps never met. **Mean ablation** writes the head's own average: it removes what the head
says about *this* position and leaves what it always says. We name the kind next to every number.

### A worked example: taking away an MLP

A *hook* is a function that receives an activation during a run and may return another in its place.
`run_with_hooks` attaches it for one run only.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def logits_without_mlp(
        model: TransformerBridge, tokens: Int[Tensor, "batch pos"], layer: int, kind: str
    ) -> Tensor:
        """Logits with the output of one MLP replaced by zeros, or by its mean over batch and positions."""

        def replace(mlp_out, hook):
            mean = mlp_out.mean(dim=(0, 1), keepdim=True).expand_as(mlp_out)
            return mean if kind == "mean" else torch.zeros_like(mlp_out)

        return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.hook_mlp_out", replace)])


    def second_copy(logits, tokens):
        """Mean loss on tokens 2..length of the second copy, in nats."""
        return loss_per_token(logits, tokens)[:, tokens.shape[1] // 2 + 1 :].mean().item()


    print(f"second-copy loss, intact  {second_copy(course_model(tokens), tokens):6.2f} nats")
    for layer in range(cfg.n_layers):
        losses = [
            second_copy(logits_without_mlp(course_model, tokens, layer, kind), tokens)
            for kind in ("zero", "mean")
        ]
        print(f"without MLP {layer}: zero ablation {losses[0]:5.2f}, mean ablation {losses[1]:5.2f}")

# %% [markdown]
r"""
Look at the last MLP. By zero ablation it hardly matters for copying; by mean ablation it matters a great deal. Nothing
is wrong with either number. They answer different questions: how the rest gets along without this MLP, and how it gets
along with an MLP that says the same thing everywhere, which can be worse than silence. There is no such thing as *the*
effect of a component, only the effect of replacing it by something ([Miller et al.
2024](https://arxiv.org/abs/2407.08734)).
"""

# %% [markdown]
r"""
## Take one head away

*`ablate_head` · 15 minutes · difficulty 3 of 5 · 6 points*

Return the logits of the model on `tokens` with the `z` of one head replaced, at every position of every row:

- `kind="zero"`: by zeros;
- `kind="mean"`: by that head's own mean over **batch and positions** of these tokens, one vector of size `d_head`;
- any other kind raises `ValueError`.

The other heads of the layer keep their `z`. No hook may be left on the model afterwards: a forgotten hook silently
spoils every later measurement, and is among the commonest bugs in this kind of work.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Take the worked example, with `blocks.{layer}.attn.hook_z` as the place. The hook now changes one slice of what it
receives instead of all of it.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

The axes of z are `[batch, pos, head, d_head]`, so the head is `z[:, :, head]`, and its mean over batch and positions
is `z[:, :, head].mean(dim=(0, 1))`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 3</summary>

Look at `kind` before the model runs. In the hook: `z = z.clone()`, set `z[:, :, head]`, `return z`. Then
`return model.run_with_hooks(tokens, fwd_hooks=[(name, hook_function)])`.

</details>
"""


# %%
def ablate_head(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], layer: int, head: int, kind: str = "zero"
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits with one head's z replaced by zeros, or by its mean over batch and positions."""
    raise NotImplementedError("ablate_head is not written yet")


# %% tags=["given"]
def left_behind(function, model, tokens, *arguments):
    """Calls `function(model, tokens, *arguments)`; returns the tokens and the model's logits after the call."""
    function(model, tokens, *arguments)
    return tokens, model(tokens)


def one_head_of_each_layer(draw, model, inputs=1):
    """For every layer, as many batches of random tokens as there are `inputs`, the layer, and one of its heads."""
    cases = []
    for layer in range(model.cfg.n_layers):
        batch, pos, head = draw.integer(2, 4), draw.integer(5, 14), draw.integer(0, model.cfg.n_heads - 1)
        cases.append((*(draw.tokens(batch, pos, model.cfg.d_vocab) for _ in range(inputs)), layer, head))
    return cases


# %% tags=["check"]
def check_zero_ablation_agrees_with_the_reference(student, draw):
    """zero ablation agrees with the reference in every layer of a relabelled model"""
    model = draw.language_model()
    cases = one_head_of_each_layer(draw, model)
    expected = [patching.ablate_head(model, *case) for case in cases]
    for case in cases:
        expect_close(student.ablate_head(model, *case), expected.pop(0), **LOGITS)


if __name__ == "__main__":
    run_check(check_zero_ablation_agrees_with_the_reference)


# %% tags=["check"]
def check_leaves_nothing_behind(student, draw):
    """after the call the model computes what it did before, and the tokens are unchanged"""
    model = draw.language_model()
    tokens, layer = draw.tokens(2, 8, model.cfg.d_vocab), draw.integer(0, model.cfg.n_layers - 1)
    before, intact = tokens.clone(), model(tokens).clone()
    after, logits = student.run(left_behind, student.ablate_head, model, tokens, layer, 1)
    expect_close(after, before, dims="batch pos")
    expect_close(logits, intact, **LOGITS)


if __name__ == "__main__":
    run_check(check_leaves_nothing_behind)

# %% tags=["demo"]
if __name__ == "__main__":
    def rise_without(model, tokens, removed):
        """Rise of the second-copy loss with all `removed` heads zero-ablated at once."""
        return second_copy(without(model, tokens, removed), tokens) - second_copy(model(tokens), tokens)

# %% [markdown]
r"""
Back to the two induction heads, and measured in nats. Next you remove each induction head alone, then all of
them, and as a control heads of the same layers without the stripe. Zero-ablate the head with the *strongest* stripe,
and nothing else: by what share of the copying gain does the loss on the second copy rise?

- **a** less than a tenth
- **b** between a tenth and a half
- **c** more than half
"""

# %% tags=["predict"]
if __name__ == "__main__":
    one_of_several = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "less than a tenth",
            "between a tenth and a half",
            "more than half",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if one_of_several.answered():
        gain = copying_gain(loss_per_token(course_model(tokens), tokens), 20)
        places = [(layer, head) for layer in {layer for layer, _ in found} for head in range(cfg.n_heads)]
        controls = [place for place in places if place not in found][: len(found)]
        rises = {place: rise_without(course_model, tokens, [place]) for place in found}
        for place, nats in rises.items():
            print(f"{named([place]):28} {nats:6.2f} nats, of a gain of {gain:.2f}")
        print(f"{'sum of these':28} {sum(rises.values()):6.2f}")
        for name, together in {"all of them at once": found, f"control: {named(controls)}": controls}.items():
            print(f"{name:28} {rise_without(course_model, tokens, together):6.2f}")
        share = rises[reader] / gain
        answer = ["less than a tenth", "between a tenth and a half", "more than half"][(share > 0.1) + (share > 0.5)]
        one_of_several.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Each head alone takes away a good part of the gain, and the control does nothing. But compare the sum of the single
effects with the joint one. The joint effect is larger. Two readings fit. Either each head covers for the other, and looks
less needed than it is *because the other is still there*. Or their parts simply add up in the logits, and $-\log p$, flat
at first, hides a good deal of the one that is lost first. A loss can't tell the two apart; the section *When nothing seems
to be lost* can. The opposite happens as well: where part of the work needs *both*, each gets the blame for all of that
part, and the sum exceeds the whole. A single ablation is a statement about a part in the company it keeps.

For the MLPs, the kind of ablation decided the answer. Does it for these heads?

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    print("rise of the second-copy loss, nats   zero    mean")
    for name, place in chosen.items():
        losses = [
            second_copy(ablate_head(course_model, tokens, *place, kind), tokens) for kind in ("zero", "mean")
        ]
        rises = [f"{loss - second_copy(course_model(tokens), tokens):7.3f}" for loss in losses]
        print(f"L{place[0]}H{place[1]}  {name:26}", *rises)

# %% [markdown]
r"""
For the previous-token head the two kinds agree, which makes the claim stronger: in its place, neither zeros nor an
average will do. (Both end near the loss of a guess, where there is little room to differ.) For the induction head they
don't agree. An average in its place costs more than silence; why, this does not show. That it matters holds under both.
*How much* it matters has no answer without the kind.
"""

# %% [markdown]
r"""
## Transplant a head's output

*`patch_head_output` · 15 minutes · difficulty 3 of 5 · 4 points*

Ablation asks what is lost. *Activation patching* asks what one activation can carry. Two runs differ in one respect:
say, in the **clean** one the text repeats, in the **corrupted** one the first copy has been replaced by other
tokens. Take the `z` of one head from one run and put it into the other.

Return the logits of the **corrupted** run in which the `z` of this one head, at every position, is replaced by the `z`
that it has in the **clean** run. The two inputs have the same shape. Leave no hook behind.

This direction is called *denoising*: can this head alone bring the behaviour back? With the two inputs swapped it is
*noising*: does spoiling this head alone destroy it?
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`_, cache = model.run_with_cache(clean)` and then `cache["blocks.{layer}.attn.hook_z"]` (as an f-string) holds the
outputs of all heads of the layer, with axes `[batch, pos, head, d_head]`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

The hook runs on the corrupted tokens: `z = z.clone()`, `z[:, :, head] = clean_z[:, :, head]`, `return z`.

</details>
"""


# %%
def patch_head_output(
    model: TransformerBridge,
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one head's z taken from the clean run."""
    raise NotImplementedError("patch_head_output is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """patch_head_output agrees with the reference in every layer of a relabelled model, and leaves the tokens as they were"""
    model = draw.language_model()
    cases = one_head_of_each_layer(draw, model, inputs=2)
    expected = [patching.patch_head_output(model, *case) for case in cases]
    for case in cases:
        expect_close(student.patch_head_output(model, *case), expected.pop(0), **LOGITS)
    expect_unchanged(student, student.patch_head_output, model, *case)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Take the previous-token head. *Noising*: put its output from the corrupted run, where the first copy holds other
tokens, into the clean run. What share of the gain is lost? *Denoising*: put its clean output into the corrupted run.
What share is restored? ("Large" shall mean more than half.)

- **a** both large
- **b** only noising large
- **c** only denoising large
- **d** both small
"""

# %% tags=["predict"]
if __name__ == "__main__":
    denoise_or_noise = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "both large",
            "only noising large",
            "only denoising large",
            "both small",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if denoise_or_noise.answered():
        def restored_and_destroyed(model, clean, corrupted, layer, head):
            """The shares of the gap in second-copy loss that denoising closes and that noising opens."""
            good, bad = second_copy(model(clean), clean), second_copy(model(corrupted), corrupted)
            denoised = second_copy(patch_head_output(model, clean, corrupted, layer, head), corrupted)
            noised = second_copy(patch_head_output(model, corrupted, clean, layer, head), clean)
            return (bad - denoised) / (bad - good), (noised - good) / (bad - good)


        others = repeated_tokens(cfg.d_vocab, 20, 16, bos, seed=5)
        corrupted = torch.cat([others[:, :21], tokens[:, 21:]], dim=1)
        print("           denoising restores   noising destroys")
        for name, place in chosen.items():
            shares = restored_and_destroyed(course_model, tokens, corrupted, *place)
            print(f"L{place[0]}H{place[1]}", *(f"{share:18.0%}" for share in shares), f"  {name}")
        restored, destroyed = restored_and_destroyed(course_model, tokens, corrupted, *writer)
        outcomes = [["both small", "only noising large"], ["only denoising large", "both large"]]
        answer = outcomes[restored > 0.5][destroyed > 0.5]
        denoise_or_noise.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The two directions ask different questions, and the previous-token head shows how different. What it writes is a
note, "*fern* came before me". Spoil the notes, and the induction heads find nothing. But put right notes into a first
copy of *wrong tokens*, and the induction heads are led faithfully to the wrong tokens: the share restored is negative.
The head is **necessary** here, and by itself it is not **sufficient**. Whoever denoises only might have called it
harmful ([Heimersheim & Nanda 2024](https://arxiv.org/abs/2404.15255)).

</details>
"""

# %% [markdown]
r"""
## Ask every head

*`rank_heads_by_effect` · 12 minutes · difficulty 3 of 5 · 5 points · builds on `ablate_head`*

Selecting heads by pattern and then ablating those has a blind spot: heads that matter without having the stripe. So
ask all of them. For `tokens` made by `repeated_tokens`, return `(layer, head, effect)` for **every** head of the model,
largest effect first. The effect is

the mean loss on tokens $2 \dots$ `length` of the **second** copy with the head **zero-ablated**, minus the same without
ablation, in nats, as a Python float.

A positive effect means that the head helps. Effects may be negative; don't take absolute values.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

You have `ablate_head` and `loss_per_token`. The intact loss is the same for all heads: compute it once.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Collect `(layer, head, effect)` in two nested loops over `model.cfg.n_layers` and `model.cfg.n_heads`, then
`sorted(rows, key=lambda row: row[2], reverse=True)`.

</details>
"""


# %%
def rank_heads_by_effect(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"]
) -> list[tuple[int, int, float]]:
    """(layer, head, rise of the second-copy loss on zero ablation) for every head, largest first."""
    raise NotImplementedError("rank_heads_by_effect is not written yet")


# %% tags=["given"]
def is_ranking(value):
    """Whether a value is a list of (layer, head, effect): two ints and a float."""
    rows = value if isinstance(value, list) else [None]
    return {tuple(map(type, row)) if isinstance(row, tuple | list) else None for row in rows} == {
        (int, int, float)
    }


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """the effect of every head agrees with the reference on a relabelled model, and the tokens stay as they were"""
    model = draw.language_model()
    tokens = repeats(draw, model, longest=10, batch=2)
    expected = sorted(patching.rank_heads_by_effect(model, tokens))
    ranking = student.rank_heads_by_effect(model, tokens)
    expect(is_ranking(ranking), "The result is not a list of (layer, head, effect), with effects as floats.")
    ranking = sorted(ranking)
    expect_equal([row[:2] for row in ranking], [row[:2] for row in expected], what="heads")
    effects, known = (torch.tensor([row[2] for row in rows]) for rows in (ranking, expected))
    by_head = (model.cfg.n_layers, model.cfg.n_heads)
    expect_close(effects.view(by_head), known.view(by_head), dims="layer head")
    expect_unchanged(student, student.rank_heads_by_effect, model, tokens[:1])


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Which kind of head will stand at the top: whose zero ablation, alone, hurts the second copy most?

- **a** an induction head
- **b** the previous-token head
- **c** some other head
"""

# %% tags=["predict"]
if __name__ == "__main__":
    top_of_the_ranking = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "an induction head",
            "the previous-token head",
            "some other head",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if top_of_the_ranking.answered():
        ranking = rank_heads_by_effect(course_model, tokens)
        top = ranking[0][:2]
        kinds = {**dict.fromkeys(found, "an induction head"), writer: "the previous-token head"}
        answer = kinds.get(top, "some other head")
        print("      effect   induction  previous  current")
        for *place, effect in ranking[:6]:
            scores = (score[tuple(place)].item() for score in (induction, previous, current))
            print(f"{named([place])}  {effect:6.3f}", *(f"{score:9.2f}" for score in scores))
        effects = torch.tensor([effect for _, _, effect in sorted(ranking)]).view(cfg.n_layers, cfg.n_heads)
        plots.plot_by_head(effects, "nats", "rise of the second-copy loss on zero ablation", mark=found)
        top_of_the_ranking.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Pattern and effect give two rankings, and the places where they part are the interesting ones. At the top stands a head
without an induction stripe: the previous-token head, on whose notes everything rests. Of the induction heads, the one
with the slightly clearer stripe is not the one that costs more. And then comes nearly nothing.

So three heads are *necessary*. Are they enough? That is another question, and it has its own experiment: take away
all the others.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def loss_with_only(kept, kind):
        """The second-copy loss with every head ablated that is not among `kept`."""
        return second_copy(faithfulness.run_circuit(course_model, tokens, kept, kind), tokens)


    circuit = [writer, *found]
    left_out = [place[:2] for place in rank_heads_by_effect(course_model, tokens) if place[:2] not in circuit]
    fourth, strangers = left_out[0], left_out[: len(circuit)]
    groups = {
        "none": [],
        "these three": circuit,
        "and the fourth": [*circuit, fourth],
        "the next three": strangers,
    }
    print(f"second-copy loss, intact {second_copy(course_model(tokens), tokens):.2f} nats; with only\n")
    print(f"{'heads kept':50}  others zero   others mean")
    for name, kept in groups.items():
        losses = [loss_with_only(kept, kind) for kind in ("zero", "mean")]
        print(f"{name:16}{named(kept):34}", *(f"{loss:12.2f}" for loss in losses))

# %% [markdown]
r"""
Three heads of twenty-four, with all the rest of the attention gone, do nearly all of the copying; the next three of the
ranking do none of it. By mean ablation a gap is left, and the fourth head closes most of it. You met that one in the
chapter before, where it looked more than any other at the token it stands on. Taken away alone, it hardly mattered. Under
zeros it is hardly missed even now; only under means. That may be as much the means' doing as the head's.

"Enough" has its own small print. All MLPs stayed, and you have seen what happens without the first. And nothing says yet
what passes between the three.

Keep the limits in mind. All this is one model, trained once, measured on random tokens. And `course-gpt2` had help:
in the first part of its training, one head of layer 0 and two of layer 2 were rewarded for looking where you have
found them to look (`mechinterp models card course-gpt2` says how). That the model needs hardly any other head was
nobody's idea. Induction heads also form unaided, in models of two layers as in large ones ([Olsson et al.
2022](https://arxiv.org/abs/2209.11895)). But that there are two of them *here*, and in which layer, is no discovery
about nature.
"""

# %% [markdown]
r"""
## In your own words

Choose one head of `course-gpt2` and write, in at most 200 words, for a colleague who wants to rely on it: what you claim
that it does; the evidence for it, with numbers, and the kind of ablation or patch behind each; the control beside each
number; and one result that, had it come out otherwise, would have made you drop the claim.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""

# %% [markdown]
r"""
## When nothing seems to be lost

A head's effect on the loss was near nothing, so the head does nothing: you have just read such a ranking from top to bottom.
Two very different heads *can* stand in the lower part of such a ranking. One is **idle**, or replaced the moment it falls
silent. The other says its part in a choir so loud that the loss, a softmax away, can't hear one voice less.

What heads write is *added* to the logits, up to the LayerNorm and what later layers make of it. The loss is not: with the logit of
the right token far above the rest, $-\log p$ is flat. So measure beside the loss how far the right token is ahead of the
average token,

$$\text{lead} = \text{logit}_\text{right} - \frac{1}{d_\text{vocab}} \sum_v \text{logit}_v .$$

It is a logit difference, with the mean of all tokens as the other side. Every head can be asked for its part of it.

`course-attn-2l` is the place to look: two layers of attention, no MLPs, and three heads that copy. (It had help as well: for
400 of its 3,000 steps, one head of layer 0 and two of layer 1 were rewarded for their stripes.) Its texts are lines of eight
random tokens, recited four times and a half; what counts is the next token, in 64 rows. Below, *resampled* means that the head
says what it says in another row.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    choir_model = load_language_model("course-attn-2l")
    lines = cyclic_tokens(choir_model.cfg.d_vocab, 8, 37, 64, choir_model.tokenizer.bos_token_id, seed=0)
    texts, following = lines[:, :-1], lines[:, -1]
    intact_loss, intact_lead = redundancy.loss_and_lead(choir_model, texts, following, [])
    choir = find_induction_heads(choir_model, repeated_tokens(choir_model.cfg.d_vocab, 20, 32, 0, 0))
    every_head = [(layer, head) for layer in range(2) for head in range(choir_model.cfg.n_heads)]


    def rise_and_fall(logits):
        """The rise of the loss, the fall of the lead, and the share of rows whose likeliest token is right."""
        last = logits[:, -1]
        right = last.gather(1, following[:, None])[:, 0]
        rise = (last.logsumexp(1) - right).mean().item() - intact_loss
        fall = intact_lead - (right - last.mean(1)).mean().item()
        return rise, fall, (last.argmax(1) == following).float().mean().item()


    alone = {place: rise_and_fall(ablate_head(choir_model, texts, *place)) for place in choir}
    quiet = min(choir, key=lambda place: alone[place][0])
    together = rise_and_fall(without(choir_model, texts, choir))
    share_of_loss, share_of_lead = (alone[quiet][i] / together[i] for i in (0, 1))
    print(f"intact: loss {intact_loss:.3f} nats, lead {intact_lead:.2f} logits; heads that copy: {named(choir)}")
    print(
        f"{named([quiet])} silenced costs {share_of_loss:.1%} of the loss that silencing all {len(choir)} costs"
    )

# %% [markdown]
r"""
The last line is about the quietest of the heads that copy. A colleague reads it and concludes that the head is *redundant*: the
others do the work. Zero ablation, measured as loss. Of the *lead* that all of them together make, what share goes when this
head is silenced?

- **a** about the same share
- **b** two to four times that share
- **c** more than four times that share
"""

# %% tags=["predict"]
if __name__ == "__main__":
    share_of_the_lead = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "about the same share",
            "two to four times that share",
            "more than four times that share",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if share_of_the_lead.answered():
        print(f"share of the loss {share_of_loss:.1%}, share of the lead {share_of_lead:.1%}\n")
        ratio = share_of_lead / share_of_loss
        outcomes = ["about the same share", "two to four times that share", "more than four times that share"]
        answer = outcomes[(ratio > 2) + (ratio > 4)]
        print("         rise of the loss, nats       fall of the lead, logits     next token right")
        print("            zero    mean  resampled     zero    mean  resampled     zero  resampled")
        for place in every_head:
            runs = [ablate_head(choir_model, texts, *place, kind) for kind in ("zero", "mean")]
            runs.append(patch_head_output(choir_model, texts.roll(1, 0), texts, *place))  # from the row before
            rises, falls, rights = zip(*map(rise_and_fall, runs), strict=True)
            numbers = *(f"{each:7.2f}" for each in rises), "  ", *(f"{each:7.2f}" for each in falls)
            numbers += tuple(f"{rights[i]:9.2f}" for i in (0, 2))
            print(f"{named([place])} {'*' if place in choir else ' '}", *numbers)
        print("\ncourse-gpt2, tokens of the cells above: rise of the loss, fall of the lead")
        ends = tokens[:, :-1], tokens[:, -1]
        loss, lead = redundancy.loss_and_lead(course_model, *ends, [])
        changes = []
        for gone in (*([place] for place in found), found):
            less = redundancy.loss_and_lead(course_model, *ends, gone)
            changes.append(torch.tensor([less[0] - loss, lead - less[1]]))
        for name, change in zip([*(named([place]) for place in found), "together"], changes, strict=True):
            print("{:10} {:7.2f} nats {:7.2f} of {:.2f} logits".format(name, *change, lead))
        print("{:10} {:7.2f} nats {:7.2f} logits".format("sum", *sum(changes[:-1])))
        share_of_the_lead.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The stars mark the heads that copy. The quiet one among them costs little loss and next to no right answers, and takes a good part
of the lead with it, under every kind of ablation. (It is also the one of the three that nobody rewarded.) Of the others, one is
the previous-token head, and the rest cost next to nothing by either measure: here the two agree. They agree as well on the two
heads of `course-gpt2`, which cost much by both. Only counting right words was deaf to those.

The last lines settle what was left open above. In nats the two heads cost more together than one by one. In the lead it is the
other way round: together they cost *less* than the sum of both. If they covered for each other, each would be missed less than its
part, and the sum would fall short. So that surplus of the joint loss was no sign of covering. It was the flat part of the curve.

That the loss is flat can be seen by turning the whole choir down, a little at a time.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    turned = [step / 10 for step in range(11)]


    def turned_down(part):
        """Rise and fall with this part of what each head of the choir gathers taken away."""

        def edit(z, hook):
            here = [head for layer, head in choir if layer == hook.layer()]
            z[:, :, here] = (1 - part) * z[:, :, here]
            return z

        hooks = [(f"blocks.{layer}.attn.hook_z", edit) for layer in {layer for layer, _ in choir}]
        return rise_and_fall(choir_model.run_with_hooks(texts, fwd_hooks=hooks))[:2]


    steps = torch.tensor([turned_down(part) for part in turned])
    shares = (steps / steps[-1]).T.tolist()
    print(f"at {turned[3]:.0%}: {shares[0][3]:.1%} of the loss and {shares[1][3]:.1%} of the lead")
    plots.plot_lines(
        {"rise of the loss": shares[0], "fall of the lead": shares[1]}, turned,
        "part of what the copying heads say that is taken away", "share of the whole change",
    )  # fmt: skip

# %% [markdown]
r"""
The lead goes down step by step, from the first step on. The loss waits.

So how do you make a loss hear it? Move the model to where its loss can hear. Silence *others* first, few
enough that it still copies, and then the head in question.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    loud = [place for place in choir if place != quiet]
    idle = next(place for place in every_head if place[0] == quiet[0] and place not in choir)
    print(f"{'silenced':16} lead left   {named([quiet])} too: nats, logits   {named([idle])} too: nats, logits")
    for company in ([], *([place] for place in loud), loud):
        loss, lead = redundancy.loss_and_lead(choir_model, texts, following, company)
        print(f"{named(company) or 'nobody':16} {lead:9.2f}", end="")
        for place in (quiet, idle):
            then = redundancy.loss_and_lead(choir_model, texts, following, [*company, place])
            print(f" {then[0] - loss:18.2f} {lead - then[1]:8.2f}   ", end="")
        print()

# %% [markdown]
r"""
In the logits the quiet head's part is of the same order in any company. In the loss it is nearly nothing in full company, and
more than the loss of the intact model many times over when one loud head is gone. The idle head beside it, the control, stays
far below it in both columns as long as the model still copies (look at the lead that is left).

Large numbers after *all* loud heads are silenced are a weaker argument: hardly any lead is left then, and in a broken model
anything may matter.
"""

# %% [markdown]
r"""
## Refute the redundancy

*`refute_redundancy` · 25 minutes · difficulty 4 of 5 · 5 points*

The claim: *head (`layer`, `head`) is redundant; silence it, and the others do its work*. `answers[row]` is the right token after
row `row` of `tokens`. Loss and lead are those of the answers, at the last position, as means over the rows. Silencing means
zero ablation of `hook_z`, at all positions.

- If silencing the head lowers the lead by **less than 0.75 logits**, the claim is true. Return `None`.
- If it lowers the lead by more, the claim is false. Return a company in which the loss hears it as well: a list of **at most two
  other** heads `(layer, head)` such that, with the company silenced, at least **half** of the intact model's lead is left, and
  silencing the head *too* raises the loss by at least **1 nat**.

Any such company is right; it may be empty, where the loss alone tells. For every false claim that you are asked about there is
one. `redundancy.loss_and_lead`, as used above, may be used here. Leave no hook behind.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Write a function `measure(silenced)` that returns loss and lead with a list of heads silenced. Everything else compares what it
returns. Which comparison decides about `None`, and which about the company?

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

With `logits` of the last position and `right = logits.gather(1, answers[:, None])[:, 0]`, the loss is
`(logits.logsumexp(1) - right).mean()` and the lead `(right - logits.mean(1)).mean()`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 3</summary>

`itertools.combinations(others, size)` for sizes 0, 1 and 2, in this order. A company counts only if `measure(company)` has half
the intact lead. The rise is `measure([*company, head])` minus `measure(company)`: not minus the intact loss.

</details>
"""


# %%
def refute_redundancy(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    answers: Int[Tensor, " batch"],
    layer: int,
    head: int,
) -> list[Head] | None:
    """The company in which the head's silence costs loss, or None if the head is redundant."""

    raise NotImplementedError("refute_redundancy is not written yet")


# %% tags=["check"]
def check_refutes_the_claim_where_the_loss_is_silent(student, draw):
    """of a head whose silence lowers the lead and hardly raises the loss, the company that makes it heard is found, whatever its number"""
    for case, head in head_probes.hardly_heard(draw, "course-attn-2l"):
        head_probes.expect_verdict(student.refute_redundancy(*case, *head), head, case)
    expect_unchanged(student, student.refute_redundancy, *case, *head)


if __name__ == "__main__":
    run_check(check_refutes_the_claim_where_the_loss_is_silent)


# %% tags=["check"]
def check_leaves_idle_heads_alone(student, draw):
    """a head that costs neither loss nor lead is called redundant, and one that costs much of both is not"""
    case = head_probes.lines_to_recite(draw, draw.language_model("course-attn-2l"))
    clear = head_probes.clear_heads(case)
    idle = [row[2] for row in clear if row[1] < 0.5]
    for head in (draw.choice(idle), clear[-1][2]):
        head_probes.expect_verdict(student.refute_redundancy(*case, *head), head, case)


if __name__ == "__main__":
    run_check(check_leaves_idle_heads_alone)

# %% tags=["demo"]
if __name__ == "__main__":
    case = choir_model, texts, following
    for place in every_head:
        company = refute_redundancy(*case, *place)
        verdict = "redundant" if company is None else f"not redundant: silence {named(company) or 'nobody'} first"
        print(f"course-attn-2l {named([place])}  {verdict}")
    puzzle, truth = planted.plant(seed=5, family="backup")
    samples = puzzle.samples(seed=0, count=16)
    case = puzzle.load(), samples.tokens, samples.answers
    for role, place in vars(truth.circuit).items():
        leads = [redundancy.loss_and_lead(*case, gone)[1] for gone in ([], [place])]
        verdict = "redundant" if refute_redundancy(*case, *place) is None else "not redundant"
        print(f"planted {role:9} lead {leads[0]:6.2f}, silenced {leads[1]:6.2f}  {verdict}")

# %% [markdown]
r"""
In the planted model two heads can do the same work, and one is silent while the other speaks. Silence either, and the lead stays
within a tenth or so: that is redundancy, in the loss and in the logits. It also shows why a rise of the loss in *some* company
is no proof by itself. Silence both, and the work is undone, yet each alone is redundant. The fall of the lead, with nobody else
silenced, is what refutes; the company only makes it audible.

The lead is no last word either. It is a difference to an average, and a head may move the average. What later layers make of a
missing head is in it, self-repair included ([McGrath et al. 2023](https://arxiv.org/abs/2307.15771)). And 0.75 logits is a
line that somebody drew.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    suspect = load_language_model("course-positional")
    suspects = [(0, head) for head in range(suspect.cfg.n_heads)]
    for length in (16, 12):
        rows = repeated_tokens(suspect.cfg.d_vocab, length, 16, suspect.tokenizer.bos_token_id, seed=6)
        gain = copying_gain(loss_per_token(suspect(rows), rows), length)
        rises = [
            f"{rise_without(suspect, rows, gone):.2f}" for gone in (*([place] for place in suspects), suspects)
        ]
        print(
            f"length {length}: gain {gain:.2f} nats; rise without each head",
            *rises[:-1],
            " without all",
            rises[-1],
        )
        if length == 16:
            gone = [[], *([place] for place in suspects), suspects]
            leads = [redundancy.loss_and_lead(suspect, rows[:, :-1], rows[:, -1], each)[1] for each in gone]
            falls = [f"{leads[0] - left:.2f}" for left in leads[1:]]
            print(f"    of a lead of {leads[0]:.2f} each takes", *falls[:-1], " all", falls[-1])

# %% [markdown]
r"""
And this is the impostor of the chapter before, `course-positional`, whose heads go by position. On copies of 16 tokens it passes
for the real thing, by stripes, by gain and by joint ablation. (Zeroed alone, each costs little loss. That does not say whether
they stand in for one another. By the lead none is redundant: each takes its part, though all together take more than the sum.)
At 12 the same heads do harm. An intervention, too, tells what matters **on the inputs on which it is made**.
"""

# %% [markdown]
r"""
## A detector that is harder to fool

*`is_induction_head` · 20 minutes · difficulty 4 of 5 · 6 points · builds on `ablate_head`*

Return `True` if the head passes **both** tests at **every** length in `lengths`, else `False`. At each length, draw
`repeated_tokens` with a batch of 32 rows from `seed`, over the model's whole vocabulary (`model.cfg.d_vocab`), and put
them on its device (`model.cfg.device`); then

1. *it looks*: its induction score is at least `threshold`;
2. *it matters*: zero-ablating it raises the mean loss on tokens $2 \dots$ `length` of the second copy by at least
   0.05 nats.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

In a loop over `lengths`: draw the tokens, `return False` if test 1 fails, compute both losses over the columns
`length + 1` on, `return False` if the difference is below 0.05. After the loop, `return True`.

</details>
"""


# %%
def is_induction_head(
    model: TransformerBridge,
    layer: int,
    head: int,
    bos: int,
    lengths: tuple[int, ...] = (8, 12, 16, 24),
    threshold: float = 0.4,
    seed: int = 0,
) -> bool:
    """Whether the head has the stripe, and matters for copying, at every one of the lengths."""

    raise NotImplementedError("is_induction_head is not written yet")


# %% tags=["check"]
def check_tells_induction_from_position(student, draw):
    """a real induction head passes, and a head that only looks a fixed distance back does not"""
    questions = []
    for name, most in {"course-gpt2": 1, "course-attn-2l": 3, "course-positional": 2}.items():
        model = draw.language_model(name)
        start, (found, _) = model.tokenizer.bos_token_id, head_probes.by_effect(model, length=16)
        questions += [(model, *place, start, (3, 4)) for place in found[:most]]
    questions += [row[:4] for row in questions[-2:]]
    expect_equal(head_probes.verdicts_on(student, draw, questions), [True] * 4 + [False] * 4, what="verdicts")


if __name__ == "__main__":
    run_check(check_tells_induction_from_position)

# %% tags=["demo"]
if __name__ == "__main__":
    for name, model in {"course-gpt2": course_model, "course-positional": suspect}.items():
        places = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
        start = model.tokenizer.bos_token_id
        print(f"{name:18}", named(place for place in places if is_induction_head(model, *place, start)) or "none")

# %% [markdown]
r"""
## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| copying depends on these heads | single and joint ablation, zero and mean, against control heads | control heads matter as much |
| a previous-token head feeds them | noising it destroys the gain | *nothing here shows the path between the two* |
| a head that costs no loss still adds its part | a fall of the lead, and a rise of the loss in other company | the lead stays (then it *is* redundant) |
| a head passes for an induction head (what it *writes*: next chapter) | stripe and effect, at every length | one length at which either is missing |

The second line is the honest gap: that one head writes the note and another reads it is a claim about a *path*, and you have
only touched whole heads (`ch04_path_patching` goes on there). What such a head writes is the next chapter, *What heads write*
(`ch14_what_heads_write`). And all of it is about a few small models, on text made to show one mechanism.
"""
