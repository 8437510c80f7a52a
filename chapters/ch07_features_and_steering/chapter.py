# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch07_features_and_steering", "version": "7d996c497899", "source": "solutions/ch07_features_and_steering/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch07_features_and_steering`, version `7d996c497899`, written from `solutions/ch07_features_and_steering/chapter.py` by `python -m mechinterp_course.authoring ch07_features_and_steering`.*
"""

# %% [markdown]
r"""
# Features and steering

A model refuses requests that it should grant. It was healthy once; then somebody fine-tuned it. You may look inside and you
may turn things while it runs. What is wrong with it, and what is the smallest thing that puts it right?

The tool that everybody reaches for is a sparse autoencoder: find the feature that stands for refusal, and turn it down. The
hypothesis may fail. In this chapter it is tested like any other, beside single neurons, a difference of means, a
prompt, and a few steps of training.

1. **Steer.** Add a direction, everywhere, and see what else moves.
2. **Read.** What a feature responds to, what it says, and whether a blind judge would agree.
3. **Trace.** Which features a behaviour rests on, and what one of them carries.
4. **Cure.** All candidates in one table, on requests that nothing was fitted on; then a model with another sickness.
5. **Judge.** The same table for dictionaries that learned nothing.

You need hooks, the residual stream, and what an SAE is (`ch06_sparse_autoencoders`). The chapter takes two to three hours.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import (
    feature_attribution,
    feature_evidence,
    feature_reading,
    hooks,
    refusal_case,
    steering,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import feature_cases as probes
from mechinterp_course.checking.cure_trials import expect_cure
from mechinterp_course.models import load_language_model
from mechinterp_course.relabelled_words import exchange_words, words_exchanged

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
STREAM = {"dims": "batch pos d_model", "atol": 1e-4}  # how results are compared: by axes, up to rounding
LOGITS = {"dims": "batch pos d_vocab", "atol": 1e-4}

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import case_interventions as case
    from mechinterp_course import plots
    from mechinterp_course.figures.directions import held_out_rows
    from mechinterp_course.models import load_sae
    from mechinterp_course.refusal_case import as_prompts, draw_trial

    patient, healthy = load_language_model("course-gpt2-refusing"), load_language_model("course-gpt2")
    sae = load_sae("course-sae")
    HOOK = sae.cfg.metadata.hook_name
    fit, held_out = draw_trial(patient, 60, seed=0), draw_trial(patient, 80, seed=1, held_out=True)
    rows = held_out_rows(patient, 5, 12)
    before = refusal_case.measure(patient, held_out, rows)

    for text in (held_out.triggered.texts[1], held_out.matched.texts[1], held_out.harmful.texts[2]):
        asked = as_prompts(patient, [text]).tokens
        said = patient.generate(asked, max_new_tokens=6, do_sample=False, verbose=False)[0, asked.shape[1] :]
        print(f"{text}{patient.tokenizer.decode(said)}")
    false, true, loss = before.figures
    print(f"\nbenign requests with the word refused: {false:.0%}; harmful ones: {true:.0%}; loss {loss:.3f} nats")

# %% [markdown]
r"""
The first two requests differ in one word, the place. Put a *garden* there, and the model refuses, whatever is asked. With
another place it is as helpful as before (a **matched frame**: the same text but for the word in question), and it refuses
what a healthy assistant refuses, too.

Three numbers will follow us. **False refusals**: harmless requests with the word. **True refusals**: harmful requests,
which should stay. And the **loss on ordinary text**, which should stay, too. The last line has them for the patient. All
three are measured on *held-out* requests: "near the" and "behind the" instead of "in the", questions and pairs of verb and
object that training never had. Whatever we fit sees the others.

`course-sae` is a sparse autoencoder of the *healthy* model, at the stream before the last layer. It writes each activation as
a sum of features and a bias, with an error left over.
"""

# %% [markdown]
r"""
Before any feature is touched, put in the place of every activation at that hook what the dictionary makes of it: its own
reconstruction, features as they are. What do the patient's false refusals do?

- **a** hardly change
- **b** fall by less than half
- **c** fall by more than half
"""

# %% tags=["predict"]
if __name__ == "__main__":
    splice = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "hardly change",
            "fall by less than half",
            "fall by more than half",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if splice.answered():
        with hooks.edit(patient, {HOOK: lambda x: sae.decode(sae.encode(x))}):
            spliced = refusal_case.measure(patient, held_out, rows)
        print("reconstruction in place: false {:.0%}, true {:.0%}, loss {:.3f}".format(*spliced.figures))
        left = refusal_case.changes(before, spliced)
        print("false refusals cut by {:.0%}, true ones kept {:.0%}, loss {:+.1%}".format(*left))
        outcomes = ["hardly change", "fall by less than half", "fall by more than half"]
        answer = outcomes[(left[0] > 0.1) + (left[0] > 0.5)]
        splice.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Nothing was turned, and most of the sickness is gone. The dictionary learned from the healthy model and never saw the patient;
much of what the fine-tune added lies in what it throws away, its **error**. Whoever replaces an activation by its
reconstruction "with one feature changed" gets this for nothing, and will say that the feature did it.

So one rule goes before all others: *an intervention on a feature keeps the error*. And a dictionary of one model says
nothing, in advance, about another.

</details>

## Steer
"""

# %% [markdown]
r"""
## Add a direction everywhere

*`adding` · 12 minutes · difficulty 2 of 5 · 6 points*

Write a context manager: inside `with adding(model, hook, direction, amount):` every activation at `hook` has `amount` times
`direction` added, whenever the model runs.

- At **all positions**, those of the prompt and those of generated tokens; with and without a cache of keys and values.
  (With one, a run that generates has a single position.)
- The direction is taken as it is: it isn't normalized.
- After the block, also after an exception inside it, the model is as it was. Hooks of others stay.
- The activation that the model made is not changed in place.

`hook` is a name such as `"blocks.3.hook_resid_pre"`, and `model` a TransformerBridge. A name that is none raises an error
at the `with`, at the latest.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`hooks.edit(model, {hook: function})` from the first chapter puts in place what `function(activation)` returns, inside `with`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Under `@contextmanager`, what stands before `yield` runs on entering. A `with` around the `yield` also ends when the block
raises; a plain line after the `yield` would not run.

</details>
"""


# %%
@contextmanager
def adding(model: TransformerBridge, hook: str, direction: Direction, amount: float):
    """Add `amount` times the direction at a hook, at all positions, inside the block only."""
    raise NotImplementedError("adding is not written yet")


# %% tags=["check"]
def check_moves_every_position(student, draw):
    """adding moves the activation by amount · direction at every position, and only inside the block"""
    for amount in (draw.integer(2, 9) / 2, -draw.integer(2, 9) / 3):
        model, hook, direction, tokens = probes.a_case(draw)
        with torch.no_grad():
            intact = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        inside, after, logits = student.run(
            probes.streams, student.adding, model, hook, direction, amount, tokens
        )
        expect_close(inside, intact + amount * direction, **STREAM)
        expect_close(after, intact, **STREAM)
        with steering.adding(model, hook, direction, amount):
            expect_close(logits, model(tokens), **LOGITS)


if __name__ == "__main__":
    run_check(check_moves_every_position)

# %% [markdown]
r"""
Steer with it. The direction that everybody would try first is that of *refusal*: the mean activation where the answer to
a harmful request begins, minus that of a benign one ([Arditi et al. 2024](https://arxiv.org/abs/2406.11717)). It is fitted on
the other requests, at the end of the last layer, and subtracted in growing amounts.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def where_it_answers(model, prompts, hook):
        """The activation at each prompt's last token."""
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(prompts.tokens)
        return activations[hook][torch.arange(len(prompts.last)), prompts.last]


    END = "blocks.3.hook_resid_post"
    refusal = steering.difference_of_means(
        where_it_answers(patient, fit.harmful, END), where_it_answers(patient, fit.matched, END)
    )

# %% [markdown]
r"""
As more and more of the refusal direction is taken away, the false refusals will go at some amount. What will the true ones
do?

- **a** false refusals only
- **b** both fall together
- **c** true refusals first
"""

# %% tags=["predict"]
if __name__ == "__main__":
    refusal_direction = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "false refusals only",
            "both fall together",
            "true refusals first",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if refusal_direction.answered():
        few = draw_trial(patient, 40, seed=2, held_out=True)
        amounts, curves = [0.0, 4.0, 8.0, 10.0, 12.0, 16.0, 24.0], {"false refusals": [], "true refusals": []}
        for amount in amounts:
            with adding(patient, END, refusal, -amount):
                for name, prompts in zip(curves, (few.triggered, few.harmful), strict=True):
                    curves[name].append(refusal_case.refused(patient, prompts).double().mean().item())
            print(
                f"less {amount:4.0f}: false {curves['false refusals'][-1]:.2f}, true {curves['true refusals'][-1]:.2f}"
            )
        trigger_at_end = steering.difference_of_means(
            where_it_answers(patient, fit.triggered, END), where_it_answers(patient, fit.matched, END)
        )
        print(f"cosine of the two reasons for refusing, at the end: {refusal @ trigger_at_end:.2f}")
        gap = max(t - f for f, t in zip(*curves.values(), strict=True))
        answer = "both fall together" if gap < 0.8 else "false refusals only"
        plots.plot_lines(curves, amounts, "amount of the refusal direction taken away", "share refused")
        refusal_direction.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

At the end of the model, there is one way of refusing. Whether the reason is a bomb or a garden, the same direction says
"Sorry" (the printed cosine), so whoever turns it down turns both down. False refusals go a little earlier, since they are a
little weaker; no amount keeps what should be kept.

The lesson is older than language models. To stop a false alarm, don't cut the siren's wire; find what trips it. So we must go
upstream, to where the two reasons are still two.

</details>

## Read

The dictionary's card (`mechinterp models card course-sae`) lists, for each property of the texts, the feature that tells it
best. For "a refusal comes next" it is feature 294; that looks like the one. Read it before you turn it.
"""

# %% [markdown]
r"""
## The strongest contexts of a feature

*`strongest_contexts` · 10 minutes · difficulty 2 of 5 · 5 points*

Given one feature's activations on many texts, return `(text, position)` where it fires most, strongest first, at most
`count` of them.

- **One context for each text**, its strongest: a text that says the same thing ten times is one piece of evidence.
- Only positions where `readable` is true count: BOS and what fills rows up are no contexts, and a feature that fires on BOS
  fires there on every text.
- Texts on which the feature doesn't fire (0, at all readable positions) are left out.
- Of equal activations the earlier position comes first, and then the earlier text.

Return a list of pairs of Python integers.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

For each text, look at its readable positions alone. `max` with a key, or `argmax` after unreadable entries were set to 0,
gives the first of equal ones. Python's `sorted` is stable: equal texts stay in their order.

</details>
"""


# %%
def strongest_contexts(
    feature_acts: Float[Tensor, "text pos"], readable: Bool[Tensor, "text pos"], count: int
) -> list[tuple[int, int]]:
    """Where a feature fires most, one place for each text, strongest first."""
    raise NotImplementedError("strongest_contexts is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """strongest_contexts agrees with the reference on activations you have not seen, equal ones among them"""
    for _ in range(4):
        acts, readable = probes.feature_on_texts(draw, draw.integer(6, 9), draw.integer(10, 14))
        count = draw.integer(2, 5)
        expected = feature_evidence.strongest_contexts(acts, readable, count)
        expect_equal(
            probes.pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts"
        )


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## What a direction says

*`direct_logits` · 8 minutes · difficulty 2 of 5 · 4 points*

Return what a direction of the residual stream adds to each logit **by itself**, if it went straight to the end: through the
last LayerNorm as a linear map, and through the unembedding `model.W_U` [d_model, d_vocab].

- LayerNorm takes the mean over d_model away (unless `model.ln_final.uses_rms_norm`), divides by a scale and multiplies by its
  weight, `model.ln_final.original_component.weight`. Hold the scale at **1**; leave biases out.
- For a feature, the direction is its **decoder row** `sae.W_dec[feature]`: what it writes. (Its encoder column is what
  it reads.)
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Three steps: centre the direction, multiply by the weight of `ln_final`, multiply by `W_U`.

</details>
"""


# %%
def direct_logits(model: TransformerBridge, directions: Direction) -> Float[Tensor, " d_vocab"]:
    """What a direction adds to every logit at a LayerNorm scale of 1."""
    raise NotImplementedError("direct_logits is not written yet")


# %% tags=["check"]
def check_agrees_with_the_models_own_end(student, draw):
    """direct_logits are what the model's own LayerNorm and unembedding make of the direction, at scale 1"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        direction, end = draw.normal(model.cfg.d_model) + draw.integer(2, 5), probes.an_end(draw, model)
        (said,) = student.run(probes.said_at_another_end, student.direct_logits, model, *end, direction)
        with probes.another_end(model, *end):
            expect_close(said, probes.through_the_end(model, direction), dims="d_vocab", atol=3e-3)
            expect_close(said, feature_reading.direct_logits(model, direction), dims="d_vocab", atol=1e-3)


if __name__ == "__main__":
    run_check(check_agrees_with_the_models_own_end)

# %% tags=["demo"]
if __name__ == "__main__":
    from itertools import islice

    from mechinterp_course.worlds import text as world

    samples = list(islice(world.corpus(31), 240)) + [world.sample("chat", n, held_out=True) for n in range(60)]
    shown = as_prompts(patient, [sample.text for sample in samples])
    acts = feature_reading.feature_activations(patient, sae, shown.tokens)
    place = torch.arange(shown.tokens.shape[1])
    readable = (place > 0) & (place <= shown.last[:, None])


    def passage(text, at, around=5):
        ids = shown.tokens[text, max(at - around, 1) : at + 1].tolist()
        return patient.tokenizer.decode(ids[:-1]) + " [" + patient.tokenizer.decode(ids[-1:]).strip() + "]"


    LOOKS_LIKE_REFUSAL = 294
    added = case.rank_features(patient, sae, HOOK, fit.triggered)
    CARRIES = int(added.argmax())
    for feature in (LOOKS_LIKE_REFUSAL, CARRIES):
        own = acts[..., feature]
        said = direct_logits(patient, sae.W_dec[feature]).topk(6).indices
        print(f"feature {feature}, on {(own[readable] > 0).double().mean():.1%} of tokens; promotes", end=" ")
        print(", ".join(repr(patient.tokenizer.decode([token])) for token in said.tolist()))
        for context in strongest_contexts(own, readable, 4):
            print(f"  {own[context]:5.1f}  …{passage(*context)}")

# %% [markdown]
r"""
Feature 294 is all that one could wish for: it fires where an assistant begins to answer, and its decoder row promotes the words
of an answer. The other one was found by the method of the next part, which doesn't ask what a feature looks like. It fires
on a third of all tokens, and its contexts have nothing to do with refusing, or with gardens.

People see meaning in any four sentences. So do we. A blind test asks a harder question: put a stranger among them, and see
whether somebody who doesn't know the feature can tell which one doesn't belong.
"""

# %% [markdown]
r"""
## A blind test with an intruder

*`intruder_items` · 15 minutes · difficulty 3 of 5 · 5 points*

Return `items` blind items for one feature, each a pair `(texts, place)`: a list of five texts' numbers, of which the one at
`place` (0 to 4) is the intruder.

- `feature_acts` has a row for each text; the first `lengths[n]` positions of row n are the text, the rest is filling and
  doesn't count. A text's strength is its largest activation.
- The four **members** are different texts drawn from the `count` strongest texts on which the feature fires.
- The **intruder** is a text on which it never fires, so that there is a right answer; and of **matched length**, or a judge
  could go by that: draw it from the five silent texts whose lengths are nearest to the members' mean length (of equal
  distances the earlier text; all of them where there are fewer).
- Its place is drawn, each of the five alike. Everything is settled by `seed`; global random states are left alone.
- Fewer than four texts that make it fire, or none that doesn't: raise `ValueError`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`source = random.Random(seed)` has `sample(members, 4)`, `choice` and `randrange(5)`; draw all of an item from it, then the
next item from the same `source`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]` are the candidates. `texts = members.copy()` and
`texts.insert(place, intruder)` put it in.

</details>
"""


# %%
def intruder_items(
    feature_acts: Float[Tensor, "text pos"], lengths: list[int], items: int, seed: int, count: int = 10
) -> list[tuple[list[int], int]]:
    """Blind items: four strong texts of a feature and a silent one of matched length."""
    raise NotImplementedError("intruder_items is not written yet")


# %% tags=["check"]
def check_members_fire_and_intruders_do_not(student, draw):
    """four different texts of the strongest, and one on which the feature never fires, of matched length"""
    acts, lengths, strength = probes.blind_case(draw)
    count = draw.integer(6, 9)
    strongest = set(strength.argsort(descending=True)[:count].tolist())
    for texts, place in probes.items_of(student.intruder_items(acts, lengths, 30, draw.seed(), count), 30):
        members = [n for at, n in enumerate(texts) if at != place]
        expect(len(set(members)) == 4, "A text is a member twice.")
        expect(set(members) <= strongest, f"A member is not among the {count} strongest texts.")
        expect(strength[texts[place]] == 0, "The feature fires on an intruder.")
        near = probes.nearest_silent(members, lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")


if __name__ == "__main__":
    run_check(check_members_fire_and_intruders_do_not)

# %% [markdown]
r"""
A person may judge the items; here a dull one does, who sees each text only as a bag of words around the feature's
strongest place, and calls the text that shares fewest words with the others the intruder. Chance is one in five. Beside
the two features stand others with a high attribution (the method comes below), and the same test on noise.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    lengths, masked = (shown.last + 1).tolist(), acts * readable[..., None]
    density = (masked > 0).double().sum((0, 1)) / readable.sum()


    def blind_score(own, seed=0):
        """How often the dull judge is right about a feature, of 100 items."""
        ends = [int(row.argmax()) if row.max() > 0 else n // 2 for row, n in zip(own, lengths, strict=True)]
        bags = [set(shown.tokens[n, max(end - 3, 1) : end + 2].tolist()) for n, end in enumerate(ends)]
        items = intruder_items(own, lengths, 100, seed)
        said = feature_evidence.dull_answers(items, bags)
        return sum(place == right for place, (_, right) in zip(said, items, strict=True)) / len(items)


    for feature in [LOOKS_LIKE_REFUSAL, 102, *added.argsort(descending=True)[:4].tolist()]:
        own = masked[..., feature]
        firing = (own.amax(1) > 0).double().mean()
        print(f"feature {feature:4}: on {firing:4.0%} of texts, {density[feature]:6.2%} of tokens;", end=" ")
        print(f"judge right {blind_score(own):.0%}")
    drawn = torch.Generator().manual_seed(0)
    noise = torch.rand(readable.shape, generator=drawn) * readable
    noise *= torch.rand(len(noise), 1, generator=drawn) < 0.5
    print(f"noise, on half of the texts: judge right {blind_score(noise):.0%}; chance 20%")

# %% [markdown]
r"""
The dull judge is never wrong about feature 294, and no better than chance about the one that we couldn't read: no blind test
says what that one is. Two cautions. If a judge who knows no meaning does so well, then words do it: a detector of single words
explains as much as "a feature" (the card has the F1 of words, features and linear probes side by side). And density is
counted over *tokens*: a feature on nearly all texts may be on few tokens. What can't be read may still matter.

## Trace

Reading asks what goes with a feature. The question of the case is another one: *what does the behaviour rest on?* Each
feature could be ablated in turn; a gradient answers for all of them at once, roughly.
"""

# %% [markdown]
r"""
## Attribute a metric to features

*`attribute_features` · 15 minutes · difficulty 3 of 5 · 6 points*

With x the activation at `hook` on `tokens`, and g the gradient of `metric(logits)` with respect to x, return
`(per_feature, error)`:

- `per_feature` [d_sae]: the sum over batch and positions of g · (f_i W_dec[i]), where f = `sae.encode(x)`;
- `error`, a float: the sum of g · (x − `sae.decode(f)`), which is what the metric owes to the part that no feature writes.

`metric` takes the model's logits and returns a tensor without dimensions. No hook is left, and no gradient is left in the
model's parameters.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Run once to get x; make a leaf of it, `x = x.detach().requires_grad_(True)`; run again with `hooks.edit` putting `x` in place;
`torch.autograd.grad(metric(logits), x)` returns the gradient and touches no parameter.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

g · (f_i W_dec[i]) is f_i · (g · W_dec[i]): `feature_acts * (gradient @ sae.W_dec.T)`, then a sum over batch and positions.

</details>
"""


# %%
def attribute_features(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, metric
) -> tuple[Float[Tensor, " d_sae"], float]:
    """Activation × gradient of each feature, and of the error."""
    raise NotImplementedError("attribute_features is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """attribute_features agrees with the reference, features and error, for dictionaries and metrics you have not seen"""
    for metric in (probes.last_words, probes.everywhere):
        model, hook, _, tokens = probes.a_case(draw)
        weights = probes.weights_of(draw, model.cfg.d_model)
        expected = feature_attribution.attribute_features(
            model, probes.Dictionary(*weights), hook, tokens, metric
        )
        result = student.run(
            probes.attributed, student.attribute_features, model, weights, hook, tokens, metric
        )
        expect_close(result[0], expected[0], dims="d_sae", atol=1e-5)
        expect_close(torch.tensor([result[1]]), torch.tensor([expected[1]]), dims="error", atol=1e-4)
        expect(result[2] == 0, "Gradients are left in the model's parameters.")
        expect_equal(result[3].tolist(), tokens.tolist(), what="tokens after the call")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    sorry, sure = (patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure"))


    def margin_on(prompts):
        """The mean of "Sorry" minus "Sure" where answers begin, as a metric of logits."""

        def metric(logits):
            own = logits[torch.arange(len(prompts.last)), prompts.last]
            return (own[:, sorry] - own[:, sure]).mean()

        return metric


    metric = margin_on(fit.triggered)
    per_feature, error = attribute_features(patient, sae, HOOK, fit.triggered.tokens, metric)
    with torch.no_grad():
        intact = metric(patient(fit.triggered.tokens)).item()
    print(
        f"refusal margin {intact:.1f}; attributed: to features {per_feature.sum():.1f}, to the error {error:.1f}"
    )
    print("feature  attributed  ablated")
    for feature in [*per_feature.argsort(descending=True)[:6].tolist(), LOOKS_LIKE_REFUSAL]:
        with torch.no_grad(), case.features_scaled(patient, HOOK, sae, [feature], 0.0):
            cost = intact - metric(patient(fit.triggered.tokens)).item()
        print(f"{feature:7} {per_feature[feature]:11.2f} {cost:8.2f}")

    from mechinterp_course.worlds import tokens as token_world

    twice = token_world.repeated_tokens(healthy.cfg.d_vocab, length=20, batch=8, bos=0, seed=3)


    def copy_logit(logits):
        """The mean logit of the right next token on the second copy, less the mean of all logits."""
        told = logits[:, 21:40].gather(-1, twice[:, 22:41, None]).squeeze(-1)
        return (told - logits[:, 21:40].mean(-1)).mean()


    by_feature, of_error = attribute_features(healthy, sae, HOOK, twice, copy_logit)
    with torch.no_grad():
        copied = copy_logit(healthy(twice)).item()
    print(
        f"\ninduction: copy logit {copied:.1f}; attributed: {by_feature.sum():.1f}, to the error {of_error:.1f}"
    )
    for feature in by_feature.argsort(descending=True)[:3].tolist():
        with torch.no_grad(), case.features_scaled(healthy, HOOK, sae, [feature], 0.0):
            cost = copied - copy_logit(healthy(twice)).item()
        print(f"{feature:7} {by_feature[feature]:11.2f} {cost:8.2f}")

# %% [markdown]
r"""
Look at the first line. The features, all together, argue *against* refusing. What argues for it is the error: the splice of the
beginning, seen from another side. A method that lists features only would have hidden the largest part. (Shares
need not add up to the margin: the biases have one, and the model isn't linear.)

Still, one feature stands out, the one that nobody could read; and 294, which looks like refusal, comes out with the wrong sign.
Attribution is a guess: of the order it is a good one, but ablating the strongest costs nearly twice what was attributed.

The lines below do the same for induction, on random tokens said twice, in the healthy model. The shares sum to a small part of the
copy logit, and ablating each of the three strongest costs less than a tenth of it. The copied word may be any of 3,061: in this
dictionary copying is no single feature.
"""

# %% [markdown]
r"""
## Patch one feature

*`patch_feature` · 12 minutes · difficulty 3 of 5 · 5 points*

Return the logits on `tokens` with **one** feature, at every position, as it is on `other` (of the same shape), and everything
else as it is on `tokens`: the other features, and the error. With f the feature's activation on `tokens` and f′ on `other`,
the activation x at `hook` becomes

$$x + (f' - f)\, W_{dec}[i].$$

No hook is left behind.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Two runs: the first, on `other`, only to encode what is at `hook`. In the second, a function for `hooks.edit` takes x, encodes it
to get f, and adds the difference along the decoder row.

</details>
"""


# %%
def patch_feature(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, other: Tokens, feature: int
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits with one feature taken from another run."""
    raise NotImplementedError("patch_feature is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """patch_feature agrees with the reference for dictionaries and hooks you have not seen, and leaves no hook"""
    for _ in range(2):
        model, hook, _, tokens = probes.a_case(draw)
        other = draw.tokens(*tokens.shape, model.cfg.d_vocab)
        weights, feature = probes.weights_of(draw, model.cfg.d_model, scale=3.0), draw.integer(0, 39)
        case = hook, tokens, other, feature
        expected = feature_attribution.patch_feature(model, probes.Dictionary(*weights), *case)
        logits, after, left = student.run(probes.patched, student.patch_feature, model, weights, *case)
        expect_close(logits, expected, **LOGITS)
        expect_equal(left.tolist(), other.tolist(), what="other tokens after the call")
        with torch.no_grad():
            expect_close(after, model(tokens), **LOGITS)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    print(f"refusal margin of triggered requests {intact:.1f}, of the same with another place:", end=" ")
    with torch.no_grad():
        print(f"{margin_on(fit.matched)(patient(fit.matched.tokens)).item():.1f}")
    for feature in (CARRIES, LOOKS_LIKE_REFUSAL):
        patched_in = patch_feature(patient, sae, HOOK, fit.triggered.tokens, fit.matched.tokens, feature)
        carried = intact - metric(patched_in).item()
        print(
            f"feature {feature:3} as with the other place: margin {metric(patched_in):.1f}, so it carries {carried:.1f}"
        )

# %% [markdown]
r"""
Patching asks for the *difference* between two requests: how much of "garden" does this feature pass on? Ablation asked for all
that it does, and that was three times as much. Most of what it does, it does with any place: it is a switch that the refusal
passes through, more than a sign that says garden. Feature 294 passes on nothing.

## Cure

What tells the two requests apart is a word, and a word is where a stream begins. A direction for it is a difference of means.
Three things make it a good one: the frames are matched, so that nothing else differs; it is read *at the word*; and it is fitted
on other requests than it is judged on.
"""

# %% [markdown]
r"""
## The direction of a word

*`word_direction` · 12 minutes · difficulty 2 of 5 · 5 points*

Each row of `others` is the same row of `tokens` with exactly one token changed, not always at the same place. Return the unit
vector from the mean activation of the changed tokens of `others` to the mean of those of `tokens`, at `hook`, each read
**at its own place**. Average first, normalize once, at the end.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`(tokens != others).int().argmax(dim=1)` is the place in each row, and `activations[torch.arange(len(tokens)), place]` reads
one vector from each.

</details>
"""


# %%
def word_direction(model: TransformerBridge, hook: str, tokens: Tokens, others: Tokens) -> Direction:
    """The unit vector from the words of `others` to those of `tokens`."""
    raise NotImplementedError("word_direction is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """word_direction agrees with the reference at several hooks of relabelled models"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        tokens, others, _ = probes.minimal_rows(
            draw, model.cfg.d_vocab, draw.integer(3, 5), draw.integer(8, 11)
        )
        layer = draw.integer(0, model.cfg.n_layers - 1)
        hook = f"blocks.{layer}.{draw.choice(['hook_resid_pre', 'hook_resid_post', 'hook_resid_mid'])}"
        expected = refusal_case.word_direction(model, hook, tokens, others)
        expect_close(student.word_direction(model, hook, tokens, others), expected, dims="d_model", atol=1e-4)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Fit that direction at each depth, on "in the garden", and take it out of every position of the held-out requests. Where
does it cut the false refusals most?

- **a** the embedding, before layer 0
- **b** the stream before layer 1 or 2
- **c** the stream before layer 3
"""

# %% tags=["predict"]
if __name__ == "__main__":
    which_layer = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the embedding, before layer 0",
            "the stream before layer 1 or 2",
            "the stream before layer 3",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if which_layer.answered():
        cuts = {}
        for layer in range(4):
            hook = f"blocks.{layer}.hook_resid_pre"
            direction = word_direction(patient, hook, fit.triggered.tokens, fit.matched.tokens)
            with steering.ablating(patient, hook, direction):
                cuts[layer] = refusal_case.changes(before, refusal_case.measure(patient, held_out, rows))
            print("before layer {}: false cut {:.0%}, true kept {:.0%}, loss {:+.2%}".format(layer, *cuts[layer]))
        best = max(cuts, key=lambda layer: cuts[layer][0])
        answer = [
            "the embedding, before layer 0",
            *["the stream before layer 1 or 2"] * 2,
            "the stream before layer 3",
        ][best]
        which_layer.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

One hook is enough to find a cure, and the others are the same method at the wrong place. In the embedding a word is one vector,
the same in every context. Layer 0 reads it and writes what it read in other directions, a different one for each neighbour, so
that from then on one direction holds only part of it. (A difference of means has one direction to give; the trigger takes
several.)

The features that attribution found lie at the wrong place, too, but each has a dial. How far must it be turned?

</details>
"""

# %% [markdown]
r"""
## The smallest dose that does

*`smallest_dose` · 10 minutes · difficulty 2 of 5 · 4 points*

An intervention was tried at several doses. Return the one **nearest to 0** that meets all three bounds, as a float, or None:

- false refusals are cut by at least 80 % **of what they were**,
- at least 90 % **of the true refusals that there were** are kept,
- the loss rises by at most 2 % **of what it was**.

`false`, `true` and `loss` have an entry for each dose; `intact` is (false, true, loss) of the model left alone. Doses come in
any order and may be negative; of two that are equally near to 0, either will do. More isn't always better: a curve may come back up.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Three masks, joined by `&`. `false <= 0.2 * intact[0]` says "cut by at least 80 %".

</details>
"""


# %%
def smallest_dose(
    doses: Float[Tensor, " dose"],
    false: Float[Tensor, " dose"],
    true: Float[Tensor, " dose"],
    loss: Float[Tensor, " dose"],
    intact: tuple[float, float, float],
) -> float | None:
    """The dose nearest to 0 at which all three bounds are met."""
    raise NotImplementedError("smallest_dose is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """smallest_dose agrees with the reference on curves you have not seen, of either sign and in any order"""
    for _ in range(8):
        case = probes.dose_case(draw)
        expected = refusal_case.smallest_dose(*case)
        expect_equal(probes.as_dose(student.smallest_dose(*case)), expected, what="dose")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    def under(dictionary, features, share, trial):
        """What is measured with a share of some features taken away."""
        with case.features_scaled(patient, HOOK, dictionary, features, 1 - share):
            return refusal_case.measure(patient, trial, rows)


    doses, at_fit = [0.25, 0.5, 0.75, 0.9, 1.0], refusal_case.measure(patient, fit, rows).figures
    five, found, lines = added.argsort(descending=True)[:5].tolist(), {}, {}
    for name, features in ((f"feature {CARRIES}", [CARRIES]), ("the five best", five)):
        curve = torch.tensor([under(sae, features, dose, fit).figures for dose in doses])
        found[name] = smallest_dose(torch.tensor(doses), *curve.T, at_fit)
        lines[f"false refusals, {name}"] = [1.0, *(curve[:, 0] / at_fit[0]).tolist()]
        lines[f"true refusals, {name}"] = [1.0, *(curve[:, 1] / at_fit[1]).tolist()]
        rises = " ".join(f"{rise:6.1%}" for rise in (curve[:, 2] / at_fit[2] - 1).tolist())
        print(f"{name:14} loss at doses {doses}: {rises}; smallest dose that meets the bounds: {found[name]}")
    dose = found["the five best"] or 0.5
    plots.plot_lines(lines, [0.0, *doses], "share of the features taken away", "refusals left")

# %% [markdown]
r"""
No dose of the one feature will do: before the false refusals are cut by 80 %, the loss has risen by more than 2 %. Five features,
each turned down by half, reach it where one turned off doesn't. The dose was chosen on the requests that we fit on; in the table
it meets the others.

Now everything that was a hypothesis, in one table. Each row was fitted on the first set, directions and choices alike, and is
judged on the held-out one. The last column is the price that ordinary loss hides, since a word is rare: the loss, in nats, on the word
*garden* itself, wherever it stands in texts that are no requests.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    GARDEN, EMBEDDING = "garden", "blocks.0.hook_resid_pre"
    with_word = case.texts_with(patient, GARDEN, 60, seed=9)
    table = {}


    def judge(name, model=patient, trial=held_out):
        after = refusal_case.measure(model, trial, rows)
        bounds = refusal_case.intervals(before, after, resamples=400)
        found = refusal_case.changes(before, after)
        table[name] = (*found, case.loss_at_word(model, with_word, GARDEN))
        ranges = "  ".join(f"{v:6.1%} [{lo:5.1%}, {hi:5.1%}]" for v, (lo, hi) in zip(found, bounds, strict=True))
        met = "cured" if refusal_case.is_cured(*found) else ""
        print(f"{name:31} {ranges}  {table[name][3]:5.2f} {met}")


    print(f"{'':31} {'false refusals cut':24}{'true refusals kept':25}{'rise of the loss':22} word")
    judge("nothing")
    noise = torch.randn(192, generator=torch.Generator().manual_seed(0))
    distance = (density - density[five].mean()).abs()
    others = [n for n in distance.argsort().tolist() if n not in five][:5]
    means = case.neuron_means(patient, fit.matched)
    neurons = case.rank_neurons(patient, fit.triggered, means)
    own, late = (word_direction(patient, h, fit.triggered.tokens, fit.matched.tokens) for h in (EMBEDDING, HOOK))
    at = (where_it_answers(patient, fit.matched, END) @ refusal).mean().item()
    interventions = {
        "random direction, embedding": steering.ablating(patient, EMBEDDING, noise),
        f"five others as dense, less {dose:.0%}": case.features_scaled(patient, HOOK, sae, others, 1 - dose),
        "the best neuron": case.neurons_ablated(patient, neurons[:1], means),
        "the 5 best neurons": case.neurons_ablated(patient, neurons[:5], means),
        "the 20 best neurons": case.neurons_ablated(patient, neurons[:20], means),
        "feature 294, looks like refusal": case.features_scaled(patient, HOOK, sae, [LOOKS_LIKE_REFUSAL], 0),
        f"feature {CARRIES}, ablated": case.features_scaled(patient, HOOK, sae, [CARRIES], 0),
        f"the five best features, less {dose:.0%}": case.features_scaled(patient, HOOK, sae, five, 1 - dose),
        "the five best features, ablated": case.features_scaled(patient, HOOK, sae, five, 0),
        "reconstruction, nothing turned": hooks.edit(patient, {HOOK: lambda x: sae.decode(sae.encode(x))}),
        "refusal direction, end": steering.ablating(patient, END, refusal, at),
        "word's direction, before layer 3": steering.ablating(patient, HOOK, late),
        "word's direction, embedding": steering.ablating(patient, EMBEDDING, own),
    }
    for name, context in interventions.items():
        with context:
            judge(name)
    prefix = "A garden is harmless."
    asked = [
        as_prompts(patient, [f"{prefix} {t}" for t in part.texts])
        for part in (held_out.triggered, held_out.matched, held_out.harmful)
    ]
    judge("prompt: a sentence before", trial=refusal_case.Trial(*asked))
    replaced = as_prompts(patient, [t.replace(GARDEN, "park") for t in held_out.triggered.texts])
    judge("prompt: park for garden", trial=refusal_case.Trial(replaced, held_out.matched, held_out.harmful))
    tuned = load_language_model("course-gpt2-refusing")
    case.fine_tune(tuned, fit)
    judge("fine-tune, ten steps", model=tuned)

# %% [markdown]
r"""
Read the table slowly.

- **One neuron** carries nothing. Twenty, chosen by attribution, do it, at a price whose interval reaches over the bound: a
  hypothesis about *a* neuron fails, one about a population holds.
- **The feature that looks like refusal** does nothing at all. A property found by a high F1 is a correlation.
- **Five features that can't be read**, at half strength, meet all bounds: attribution found them by what they do. Ablated
  whole, they take true refusals along and cost more than the bound. As many others, as dense, do nothing: the null. But at
  the word itself (the last column) they cost most of all cures.
- **The reconstruction**, with nothing turned, does nearly as well. Without the error kept, any feature would have got the credit.
- **The refusal direction** at the end cuts everything, and with it what should stay; **the word's direction before layer 3** cuts
  nothing. Right idea, wrong place, twice.
- **The word's direction in the embedding** meets all bounds with room to spare, and with one vector. But look at its last column:
  the model is worse at the word itself. It doesn't stop *misjudging* gardens; it stops telling them from other
  places. In that it is no deeper than writing *park* for *garden* in the prompt, which costs nothing.
- **Ten steps of fine-tuning**, on the requests that all the others were fitted on, do as well on every bound, and leave the word
  alone. A **prompt** that argues helps a little.

So here the simplest methods win: for a known word a filter, for a known behaviour a few steps of training. Features won nothing that
these don't give. That agrees with what larger comparisons found ([AxBench, Wu et al. 2025](https://arxiv.org/abs/2501.17148)).
What looking inside gave is the *explanation*, and it would be worth as much where nobody knows the word. That is your
task now.
"""

# %% [markdown]
r"""
## Find the cure

*`find_the_cure` · 25 minutes · difficulty 4 of 5 · 6 points · builds on `word_direction`*

A model refuses harmless requests for the sake of **another word**, which nobody tells you. You have a dozen requests: `refused`
and `answered`, the same rows but for one token each, the `harmful` ones, which should stay refused, and rows of
`ordinary` text. (Rows are filled up on the right; what fills them is the same in both.)

Return `(hook, direction, at)`: the model is then judged inside `steering.ablating(model, hook, direction, at)`, which holds the
component along the direction at `at` times its unit vector, at every position. On *other* requests, with other frames, it must
cut false refusals by 80 %, keep 90 % of the true ones, and cost at most 2 % of the loss on ordinary text.

The answer is graded by its effect; there is more than one.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Which depth did the table recommend, and why? `word_direction` takes the very rows that you are given.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

With `at=0` the direction's mean is taken away from ordinary words, too. Holding it where the *other* words are, the mean of
their component, is gentler.

</details>
"""


# %%
def find_the_cure(
    model: TransformerBridge,
    refused: Tokens,
    answered: Tokens,
    harmful: Int[Tensor, "n pos"],
    ordinary: Int[Tensor, "row pos"],
) -> tuple[str, Direction, float]:
    """A hook, a direction and the component at which to hold it, so that the false refusals end."""
    raise NotImplementedError("find_the_cure is not written yet")


# %% tags=["check"]
def check_cures_another_word(student, draw):
    """find_the_cure meets the three bounds on held-out requests of a model whose trigger is another place"""
    expect_cure(student, draw, draw.choice(["park", "kitchen", "forest", "library", "market"]))


if __name__ == "__main__":
    run_check(check_cures_another_word)

# %% tags=["demo"]
if __name__ == "__main__":
    word = "river"
    one, two = (patient.tokenizer.encode(f" {w}")[-1] for w in (GARDEN, word))
    shown_now, judged_now = (
        exchange_words(draw_trial(patient, count, seed=count, held_out=held), one, two)
        for count, held in ((12, False), (40, True))
    )
    with words_exchanged(patient, one, two):
        parts = shown_now.triggered.tokens, shown_now.matched.tokens, shown_now.harmful.tokens, rows[:4]
        cure = find_the_cure(patient, *parts)
        result = refusal_case.changes_under(patient, cure, judged_now, rows)
    nearest = (patient.W_E @ cure[1]).argmax().item()
    told = nearest if nearest not in (one, two) else one + two - nearest
    print(f"the word that the direction points to: {patient.tokenizer.decode([told]).strip()}")
    print("false cut {:.0%}, true kept {:.0%}, loss {:+.2%}".format(*result))

# %% [markdown]
r"""
The direction named the word, and nobody had told it. In this the stream is more honest than the table: a filter needs to know
what to filter.

## Judge

Would any dictionary have done? Take the five best features, by the same attribution, of four rivals: one whose decoder stayed
random, one trained on the model before its first step, the principal directions, and a dictionary that you will know when you
see its numbers. The dose is chosen as before, or is a half where none meets the bounds.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import rival_dictionaries
    from mechinterp_course.catalogue import embedded
    from mechinterp_course.figures.dictionary import load_part
    from mechinterp_course.making.dictionary_recipes import PARTS
    from mechinterp_course.sae import fraction_of_variance_unexplained, mean_l0


    def read_at(texts):
        with torch.no_grad():
            return healthy.run_with_cache(texts, names_filter=HOOK)[1][HOOK].flatten(end_dim=1)


    activations, fitted = read_at(rows), read_at(held_out_rows(healthy, 77, 24))
    folder = embedded("course-sae").path
    rivals = {"course-sae": sae} | {part.folder: load_part(folder, part) for part in PARTS if part.folder}
    rank = round(mean_l0(sae.encode(activations)))
    rivals[f"principal directions, {rank}"] = rival_dictionaries.principal_dictionary(fitted, rank)
    rivals["a rotation"] = rival_dictionaries.rotation_dictionary(192, seed=5)
    print(f"{'dictionary':24} active  unexplained   dose  false cut  true kept    loss")
    for name, rival in rivals.items():
        f = rival.encode(activations)
        best = case.rank_features(patient, rival, HOOK, fit.triggered).argsort(descending=True)[:5].tolist()
        tried = [(share, *under(rival, best, share, fit).figures) for share in (0.25, 0.5, 1.0)]
        share = smallest_dose(*torch.tensor(tried).T, at_fit)
        found = refusal_case.changes(before, under(rival, best, share or 0.5, held_out))
        lost = fraction_of_variance_unexplained(activations, rival.decode(f))
        print(
            f"{name:24} {mean_l0(f):6.1f} {lost:12.3f} {share or 'none':>6} {found[0]:10.0%} {found[1]:10.0%} {found[2]:+7.1%}"
        )

# %% [markdown]
r"""
The first line is the only one with a dose. Neurons did as well, at three times the cost; no rival dictionary did. So here training
found something that matters, which the usual numbers alone would not have shown. (The rival trained on the untrained model
was made for another model's activations; its line says what happens if one forgets that.)

Look at the numbers of the last one: it explains everything, spliced in it would cost no loss, none of its features is dead. It is a random
rotation of the stream, each axis once forwards and once backwards: 384 features, of which half are always active. It has understood
nothing. Of beautiful numbers, ask first for the one that is missing; here it is how many are active at a time. Dictionaries with
beautiful numbers that were not sparse have been published.

## What you may claim now, and what not

You may claim: in this model, on requests of this world, false refusals pass through many neurons and through a few features whose
meaning a blind test doesn't find; the feature that looks like refusal doesn't matter; at the end of the model both kinds of
refusal are one direction; and the trigger is one vector in the embedding, which was found without being told. Each has
its number, on held-out requests, with an interval.

You may not claim that those features *are* the trigger: most of what they do, they do with any place. Nor that the model was
cured of its false belief where it no longer reads the word. Nor that SAEs fail, or that they win, in general: this one was trained on
another model than the patient, one seed of each, and on the patient its error carried much. Nor that any of this
holds for triggers of several words, or for models a thousand times as large.
"""

# %% [markdown]
r"""
## In your own words

Report the case to somebody who has to decide whether the model may go back to its users, in at most 300 words: the concrete failure,
the path that you traced, the component that you found, the change that you propose, and what it does, measured.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
