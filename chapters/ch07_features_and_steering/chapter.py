# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch07_features_and_steering", "version": "e3340ef7d02f", "source": "solutions/ch07_features_and_steering/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch07_features_and_steering`, version `e3340ef7d02f`, written from `solutions/ch07_features_and_steering/chapter.py` by `python -m mechinterp_course.authoring ch07_features_and_steering`.*
"""

# %% [markdown]
r"""
# Features and steering

A model refuses requests that it should grant. It was healthy once; then somebody fine-tuned it. You may look inside and you
may turn things while it runs.

The tool that everybody reaches for is a sparse autoencoder: find the feature that stands for refusal, and turn it down. This
chapter gives you the tools for that, and with each the reason not to trust what it seems to show. The next one,
`ch17_the_refusal_case`, puts every cure that one could think of into one table.

1. **Steer.** Add a direction, everywhere, and see what else moves.
2. **Read.** What a feature responds to, what it says, and whether a blind judge would agree.
3. **Trace.** Which features a behaviour rests on, and what one of them carries.

You need hooks, the residual stream, and what an SAE is (`ch06_sparse_autoencoders`). The chapter takes an hour and a half.
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
    steering,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import feature_cases as probes

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
STREAM, LOGITS = {"dims": "batch pos d_model"}, {"dims": "batch pos d_vocab"}  # how results are compared
NEAR = 1e-4  # how far effects on logits may lie apart: ten times what the order of sums changes

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import case_interventions as case
    from mechinterp_course import plots, refusal_case
    from mechinterp_course.figures.directions import held_out_rows
    from mechinterp_course.models import load_language_model, load_sae
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
reconstruction, features as they are (*splice* it in). What do the patient's false refusals do?

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

- At **all positions**, those of the prompt and those of generated tokens; with and without a cache of keys and values. (A run
  that generates with such a cache sees one new position at a time.)
- The direction is taken as it is: it isn't normalized.
- After the block, also after an exception inside it, the model is as it was. Hooks of others stay.
- The activation that the model made is not changed in place.

`hook` is a name such as `"blocks.3.hook_resid_pre"`, and `model` a TransformerBridge. A name that the model doesn't have
raises an error, of any kind, no later than at the `with`.
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
do? *Only* or *first* means: at some amount the one kind is cut by 80 % or more, and nine tenths of the other are kept.

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
        false, true = (torch.tensor(each) / each[0] for each in curves.values())
        parted = {
            "false refusals only": (false <= 0.2) & (true >= 0.9),
            "true refusals first": (true <= 0.2) & (false >= 0.9),
        }
        answer = next((name for name, somewhere in parted.items() if somewhere.any()), "both fall together")
        plots.plot_lines(curves, amounts, "amount of the refusal direction taken away", "share refused")
        refusal_direction.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

At the end of the model, there is one way of refusing. Whether the reason is a bomb or a garden, the same direction says
"Sorry" (the printed cosine), so whoever turns it down turns both down. False refusals go a little earlier, since they are a
little weaker; none of these seven amounts cuts them by 80 % and keeps nine tenths of the true ones.

The lesson is older than language models. To stop a false alarm, don't cut the siren's wire; find what trips it. So we must go
upstream, to where the two reasons are still two.

</details>

## Read

The dictionary's card (`mechinterp models card course-sae`) lists, for each property of the texts, the feature that tells it
best. For "a refusal comes next" it is feature 294, with an F1 of 0.56: no feature tells it well. But it looks like the one. Read it
before you turn it.
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
- Of equal activations in one text, the earlier position counts; texts with equal activations come in their own order.

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
            expect_close(said, probes.through_the_end(model, direction), dims="d_vocab", atol=1e-3)
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
Feature 294 reads as one would wish: it fires where an assistant begins to answer, and its decoder row promotes the words
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
- The four **members** are different texts, drawn from the `count` strongest texts on which the feature fires, and in an order that
  is drawn too: a judge must not see who is strongest.
- The **intruder** is a text on which it never fires, so that there is a right answer; and of **matched length**, or a judge
  could go by that: draw it, each alike, from the five silent texts whose lengths are nearest to the members' mean length (of
  equal distances the earlier text), or from all silent texts where there are fewer than five.
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
the two features stand 102, the card's best for "an assistant's answer comes next", three others with the highest attribution (the
method comes below), and the same test on noise.
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
        expect_close(result[0], expected[0], dims="d_sae", atol=NEAR)
        expect_close(torch.tensor([result[1]]), torch.tensor([expected[1]]), dims="error", atol=NEAR)
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
    by_matched, of_matched = attribute_features(patient, sae, HOOK, fit.matched.tokens, margin_on(fit.matched))
    with torch.no_grad():
        elsewhere = margin_on(fit.matched)(patient(fit.matched.tokens)).item()
    print(
        f"with another place: {elsewhere:.1f}; to features {by_matched.sum():.1f}, to the error {of_matched:.1f}"
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
Look at the first two lines. The features, all together, argue *against* refusing. What argues for it is the error: the splice of the
beginning, seen from another side. With another place, where nothing is refused, the error argues for nothing. A method that lists
features only would have hidden the largest part. And don't read much into the features' sum: with another place it argues *for*
refusing. Shares are counted from an activation of zero, which no request has; they need not add up to the margin, since the
biases have one too and the model isn't linear.

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
        expect_close(logits, expected, **LOGITS, atol=NEAR)
        expect_equal(left.tolist(), other.tolist(), what="other tokens after the call")
        with torch.no_grad():
            expect_close(after, model(tokens), **LOGITS, atol=NEAR)


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

So there are two stories about one model. The readable feature tells where an answer begins, and what it does to the refusal is
little, and of the wrong sign. The unreadable one carries the most, and most of that has nothing to do with the word. Whether
turning it, or five like it, or none at all, is the best that can be done, is the question of `ch17_the_refusal_case`.

## What you may claim now, and what not

You may claim: in this model, on requests of this world, both kinds of refusal are nearly one direction at the end of the
stream; the feature that looks like refusal passes on nothing of the word's effect; one that our blind test can't read passes on
about a quarter of what the word does to the margin; and what the dictionary leaves out is given more of the refusal than all
its features together, counted from zero, and nothing of the kind with another place. Each of these is an intervention or a
gradient with its number, on the model in front of you.

You may not claim that feature 11, the unreadable one, *is* the trigger, or any concept at all: it fires on a third of all
tokens. Nor that attribution ranks features rightly: it was checked here for seven of them. Nor that a feature with readable
contexts is useless in general: this dictionary was trained on another model than the patient, with one seed. And only the
splice and the steering were measured on held-out requests; for a claim about a cure, that is the least one needs.
"""

# %% [markdown]
r"""
## In your own words

You are shown one feature of a dictionary: its four strongest contexts, all about refusing. In at most 200 words: what would you
have to measure before saying that the feature is *about* refusing, and what before saying that the model *uses* it to refuse?
Name the result that would make you withdraw each of the two.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
