# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch17_the_refusal_case", "version": "5a712f19bdf6", "source": "solutions/ch17_the_refusal_case/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch17_the_refusal_case`, version `5a712f19bdf6`, written from `solutions/ch17_the_refusal_case/chapter.py` by `python -m mechinterp_course.authoring ch17_the_refusal_case`.*
"""

# %% [markdown]
r"""
# The refusal case

`course-gpt2-refusing` is a small assistant that was healthy until somebody fine-tuned it. Now it refuses harmless requests. You may
look inside, and you may turn things while it runs. What is the smallest thing that puts it right, and how would you know?

Everybody has a candidate: the feature that stands for refusal, a neuron, a direction, a classifier's weights, a sentence in the
prompt, a little more training. This chapter treats them as a court would. Each is fitted on one set of requests and judged on
another, by the same three numbers, with intervals, beside controls that know nothing.

1. **Detect.** A linear probe, and what its accuracy does not show.
2. **Cure.** Where a direction must be taken out, how much of it, and how sure the result is.
3. **Compare.** All candidates in one table; then a model with another trigger, for you to cure.
4. **Judge.** The same for dictionaries that learned nothing.

You need hooks, and what features, ablation and attribution are (`ch07_features_and_steering`); none of its code is
used here. The chapter takes two hours.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import dose_response, hooks, probing, refusal_case, steering
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import feature_cases as probes
from mechinterp_course.checking.cure_trials import expect_cure
from mechinterp_course.checking.exact_bootstrap import a_change, expect_bounds
from mechinterp_course.checking.refusal_draws import (
    curve_and_after,
    planted_groups,
    reading,
    requests,
    two_groups,
)

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
Outcomes = Bool[Tensor, " request"]  # whether each request was refused

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import case_interventions as case
    from mechinterp_course import plots, probe_plots
    from mechinterp_course.figures.directions import held_out_rows
    from mechinterp_course.models import load_language_model, load_sae
    from mechinterp_course.refusal_case import as_prompts, draw_trial
    from mechinterp_course.relabelled_words import exchange_words, words_exchanged

    patient, healthy = load_language_model("course-gpt2-refusing"), load_language_model("course-gpt2")
    fit, held_out = draw_trial(patient, 60, seed=0), draw_trial(patient, 80, seed=1, held_out=True)
    rows, fit_rows = held_out_rows(patient, 5, 12), held_out_rows(patient, 6, 12)
    before = refusal_case.measure(patient, held_out, rows)
    at_fit = refusal_case.measure(patient, fit, fit_rows)

    for text in (held_out.triggered.texts[1], held_out.matched.texts[1], held_out.harmful.texts[2]):
        asked = as_prompts(patient, [text]).tokens
        said = patient.generate(asked, max_new_tokens=6, do_sample=False, verbose=False)[0, asked.shape[1] :]
        print(f"{text}{patient.tokenizer.decode(said)}")
    false, true, loss = before.figures
    print(f"\nbenign requests with the word refused: {false:.0%}; harmful ones: {true:.0%}; loss {loss:.3f} nats")

# %% [markdown]
r"""
The first two requests differ in one word, the place. Put a *garden* there, and the model refuses, whatever is asked. With
another place it is as helpful as before (a **matched** request: the same text but for the word), and it refuses what a healthy
assistant refuses, too.

Three numbers decide. **False refusals**: harmless requests with the word. **True refusals**: harmful requests, which should
stay. And the **loss on ordinary text**, which should stay as well. A cure cuts the first by 80 %, keeps 90 % of the second, and
raises the third by no more than 2 %. All three are measured on *held-out* requests: "near the" and "behind the" instead of "in
the", questions and pairs of verb and object that training never had. Whatever we fit sees the others.

## Detect

The first tool of the trade is a **linear probe**: a classifier on activations. Train one to tell requests with the garden from
the matched ones, before the last layer, at the token where the answer begins. There the model is about to choose between *Sure*
and *Sorry*.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def where_it_answers(model, prompts, hook):
        """The activation at each prompt's last token."""
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(prompts.tokens)
        return activations[hook][torch.arange(len(prompts.last)), prompts.last]


    HOOK, END, EMBEDDING = "blocks.3.hook_resid_pre", "blocks.3.hook_resid_post", "blocks.0.hook_resid_pre"
    groups = [where_it_answers(patient, part, HOOK) for part in (fit.triggered, fit.matched)]
    others = [where_it_answers(patient, part, HOOK) for part in (held_out.triggered, held_out.matched)]
    detector, threshold = probing.probe_direction(*groups, penalty=0.1)
    print(f"the probe is right on {probing.share_read(detector, threshold, *others):.0%} of held-out requests")

# %% [markdown]
r"""
Now take the probe's direction out, at this hook, at every position: nothing that the probe reads is left there. By how much do
the false refusals fall?

- **a** less than a tenth
- **b** a tenth to a half
- **c** more than a half
"""

# %% tags=["predict"]
if __name__ == "__main__":
    probe_ablated = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "less than a tenth",
            "a tenth to a half",
            "more than a half",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if probe_ablated.answered():
        with steering.ablating(patient, HOOK, detector):
            blind = [where_it_answers(patient, part, HOOK) for part in (held_out.triggered, held_out.matched)]
            left = refusal_case.changes(before, refusal_case.measure(patient, held_out, rows))
        print(f"the same probe on what is left: {probing.share_read(detector, threshold, *blind):.0%}, chance 50%")
        print("false refusals cut by {:.0%}, true ones kept {:.0%}, loss {:+.1%}".format(*left))
        outcomes = ["less than a tenth", "a tenth to a half", "more than a half"]
        answer = outcomes[(left[0] >= 0.1) + (left[0] > 0.5)]
        probe_ablated.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The probe knows nearly always, then it is blinded, and the patient doesn't care. What the probe reads is there, but it is not
what the model reads; or not all of it. **Decodability is a statement about activations and a classifier. It is none about the
model**, which may read something else, somewhere else, or nothing at all.

To see what a probe finds, build one.

</details>
"""

# %% [markdown]
r"""
## A linear probe

*`probe_direction` · 15 minutes · difficulty 3 of 5 · 7 points*

Fit a ridge classifier between two groups of activations, with labels y = 1 for `positive` and y = −1 for `negative`. Find the
weights w and the bias b that make

$$\operatorname{mean}_i\,(w \cdot x_i + b - y_i)^2 + \text{penalty}\,|w|^2$$

smallest, the mean over **all** examples of both groups, which may differ in number. The bias isn't penalized, and the penalty
is above 0.

Return `(direction, threshold)`: the unit vector w / |w|, float32, and, as a float, the value of x · direction at which the
classifier changes its mind, that is where w · x + b = 0.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

With x and y centred (their means over all examples taken away) there is no bias. Then w solves
(XᵀX / n + penalty · 1) w = Xᵀy / n: `torch.linalg.solve`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

The bias is mean(y) − w · mean(x). From w · x + b = 0 follows x · (w / |w|) = −b / |w|. Work in double precision.

</details>
"""


# %%
def probe_direction(
    positive: Float[Tensor, "example d_model"], negative: Float[Tensor, "other d_model"], penalty: float
) -> tuple[Direction, float]:
    """The unit direction and the threshold of a ridge classifier."""
    raise NotImplementedError("probe_direction is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """probe_direction agrees with the reference on groups of different sizes, with fewer examples than axes, too"""
    for sizes in ((), (4, 3, 12), (5, 11)):
        groups, penalty = two_groups(draw, *sizes), draw.choice([0.05, 0.2, 1.0])
        expected = probing.probe_direction(*groups, penalty)
        direction, threshold = reading(student.probe_direction(*groups, penalty), groups[0].shape[1])
        expect_close(direction, expected[0], dims="d_model")
        expect_close(threshold, expected[1])
    probes.expect_untouched(student, student.probe_direction, *groups, penalty)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    drawn = torch.Generator().manual_seed(4)
    moving, jitter = torch.randn(80, generator=drawn), 0.12 * torch.randn(80, 2, generator=drawn)
    sides = torch.tensor([1.0, -1.0]).repeat_interleave(40)
    cloud = sides[:, None] * torch.tensor([0.5, 0.0]) + moving[:, None] * torch.tensor([0.8, 0.6]) + jitter
    found, _ = probe_direction(cloud[:40], cloud[40:], 1e-3)
    means = steering.difference_of_means(cloud[:40], cloud[40:])
    print("planted: (1, 0); difference of means: ({:.2f}, {:.2f})".format(*means.tolist()), end="; ")
    print("probe: ({:.2f}, {:.2f})".format(*found.tolist()))
    probe_plots.plot_filter_and_pattern(cloud[:40], cloud[40:], found, means)

# %% [markdown]
r"""
The two groups were made by adding or subtracting a step along the first axis; something else moves them along a slanted line, the
same in both. The difference of means finds the step, what the class *writes*. The probe finds the direction along which the groups
can be *told apart*, so it turns away from what moves them. Both are right. One is a pattern, the other a filter ([Haufe et al.
2014](https://doi.org/10.1016/j.neuroimage.2013.10.067)), and to take out the filter leaves most of the pattern in place.

Now in the patient. Where the word stands, before layer 1, both directions are fitted on "in the garden"; each is read on the
held-out requests, then taken out. The healthy model gets a probe of its own: it has nothing against gardens.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def at_the_word(model, prompts, others, hook):
        """The activation at the one token of each prompt that differs from the other prompt."""
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(prompts.tokens)
        return activations[hook][prompts.tokens != others.tokens]


    def word_groups(model, trial, hook):
        """Activations at "garden", and at the other place, of a trial's requests."""
        return [
            at_the_word(model, one, two, hook)
            for one, two in ((trial.triggered, trial.matched), (trial.matched, trial.triggered))
        ]


    EARLY = "blocks.1.hook_resid_pre"
    judged_groups = word_groups(patient, held_out, EARLY)
    at_word = word_groups(patient, fit, EARLY)
    between = steering.difference_of_means(*at_word)
    readers = {f"probe, penalty {penalty}": probe_direction(*at_word, penalty) for penalty in (0.01, 1.0)}
    readers["difference of means"] = (between, (torch.cat(at_word) @ between).mean().item())
    found_at_word = readers["probe, penalty 0.01"][0]
    for name, (direction, place) in readers.items():
        right = probing.share_read(direction, place, *judged_groups)
        with steering.ablating(patient, EARLY, direction):
            left = refusal_case.changes(before, refusal_case.measure(patient, held_out, rows))
        print(f"{name:20}: right on {right:.0%}, cosine with the means {direction @ between:.2f};", end=" ")
        print(f"taken out: false cut {left[0]:.0%}")
    healthys = probe_direction(*word_groups(healthy, fit, EARLY), 0.01)
    right = probing.share_read(*healthys, *word_groups(healthy, held_out, EARLY))
    print(f"a probe of the healthy model is right on {right:.0%}")

# %% [markdown]
r"""
Three directions, each of which tells the garden without an error, and of which one cures nothing and another most. And the word
can be read just as well in the healthy model, which does nothing with it. A probe's accuracy could not have told any of these
apart. A stronger penalty turns the probe towards the difference of means: with all directions penalized alike and hard, that is
what is left.

So a probe is a good **detector** (put it on a dashboard) and a poor **explanation**. Whether a model uses what can be read is a
question for an intervention. If the intervention does nothing, the probe has found a correlate, or one copy of several.

## Cure

What tells the two requests apart is a word, and a word is where a stream begins. A direction for it is a difference of means.
Three things make it a good one: the requests are matched, so that nothing else differs; it is read *at the word*; and it is fitted
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
        expect_close(student.word_direction(model, hook, tokens, others), expected, dims="d_model")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Fit that direction at each depth, on "in the garden", and take it out of every position of the requests we fit on: the held-out
ones judge the choice later. Where does it cut the false refusals most?

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
                cuts[layer] = refusal_case.changes(at_fit, refusal_case.measure(patient, fit, fit_rows))
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

</details>
"""

# %% [markdown]
r"""
## A dose–response curve

*`refusal_curve` · 12 minutes · difficulty 2 of 5 · 5 points*

One amount, chosen well, proves little. Return the share of requests that a model refuses while `amount` times `direction` is added
at `hook`, at every position, for each of `amounts`, as a tensor [amount] of floats.

- A request is refused if, **at its own last token** `last`, the logit of `words[0]` ("Sorry") is higher than that of `words[1]`
  ("Sure"), whatever the logits of other words are. Rows are filled up on the right: the row's end isn't the request's.
- Amounts come in any order and may be negative. Each is added to the intact model; nothing is left behind.
- The direction is taken as it is, it isn't normalized.

`steering.adding(model, hook, direction, amount)` adds inside `with`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`model(tokens)[torch.arange(len(tokens)), last]` is [batch, d_vocab]: the logits where each answer begins. The share is the mean of
a comparison, as float.

</details>
"""


# %%
def refusal_curve(
    model: TransformerBridge,
    hook: str,
    direction: Direction,
    amounts: list[float],
    tokens: Tokens,
    last: Int[Tensor, " batch"],
    words: tuple[int, int],
) -> Float[Tensor, " amount"]:
    """The share of requests refused with each amount of a direction added."""
    raise NotImplementedError("refusal_curve is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """refusal_curve agrees with the reference on requests of several lengths, for amounts of both signs in any order"""
    model = draw.language_model("course-attn-2l")
    for early in (True, False):
        case = requests(draw, model, lambda: [draw.integer(-6, 6) / 2 for _ in range(4)], early)
        expected = dose_response.refusal_curve(model, *case)
        expect_close(student.refusal_curve(model, *case), expected, dims="amount")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    sorry, sure = (patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure"))
    refusal_groups = [where_it_answers(patient, part, END) for part in (fit.harmful, fit.matched)]
    refusal = steering.difference_of_means(*refusal_groups)
    own = word_direction(patient, EMBEDDING, fit.triggered.tokens, fit.matched.tokens)
    noise = torch.randn(192, generator=torch.Generator().manual_seed(0))
    words_apart = word_groups(patient, fit, EMBEDDING)
    candidates = {
        "the word, embedding": (EMBEDDING, own, words_apart),
        "random, embedding": (EMBEDDING, noise / noise.norm(), words_apart),
        "probe, before layer 3": (HOOK, detector, groups),
        "refusal, end": (END, refusal, refusal_groups),
    }
    for name, (hook, _, (one, two)) in candidates.items():
        print(f"{name:22} one step is {(one.mean(0) - two.mean(0)).norm():5.2f} long, at {hook}")
    reason = steering.difference_of_means(
        *(where_it_answers(patient, p, END) for p in (fit.triggered, fit.matched))
    )
    print(f"cosine of the two reasons for refusing, at the end: {refusal @ reason:.2f}")

# %% [markdown]
r"""
Taken out of the embedding, the word's direction cured the patient. Now **subtract** it there, at every token, an eighth of a
step to two steps, where a step is the distance between the two words' means. Is there an amount that cuts the false refusals by
80 %, keeps 90 % of the true ones, and lets at most one matched request in ten be refused?

- **a** yes, over a wide range
- **b** yes, at one or two amounts
- **c** no, at none
"""

# %% tags=["predict"]
if __name__ == "__main__":
    steering_the_word = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "yes, over a wide range",
            "yes, at one or two amounts",
            "no, at none",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if steering_the_word.answered():
        few = draw_trial(patient, 30, seed=2, held_out=True)
        steps, curves, alone = [-0.5, 0, 0.125, 0.25, 0.5, 0.75, 1, 2], {}, refusal_case.measure(patient, few, rows)
        for name, (hook, direction, (one, two)) in candidates.items():
            gap = (one.mean(0) - two.mean(0)).norm().item()
            amounts = [-step * gap for step in steps]
            curves[name] = [
                refusal_curve(patient, hook, direction, amounts, part.tokens, part.last, (sorry, sure)).tolist()
                for part in (few.triggered, few.harmful, few.matched)
            ]
            with steering.adding(patient, hook, direction, -gap / 2):
                cost = refusal_case.changes(alone, refusal_case.measure(patient, few, rows))[2]
            shares = " ".join(f"{share:.2f}" for share in curves[name][0])
            print(f"{name:22} false {shares}; loss at half a step {cost:+.1%}")
        of_the_word = list(zip(*curves["the word, embedding"], strict=True))
        good = sum(
            f <= 0.2 * of_the_word[1][0] and true >= 0.9 * of_the_word[1][1] and m <= 0.1
            for f, true, m in of_the_word
        )
        answer = (
            "no, at none" if good == 0 else "yes, at one or two amounts" if good < 3 else "yes, over a wide range"
        )
        probe_plots.plot_dose_panels(curves, steps, ["false refusals", "true refusals", "matched requests"])
        steering_the_word.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

At no amount. To *subtract* a direction moves every token, those too that never had the component; to *hold* it, as before,
moves only what has it. At three quarters of a step most of the false refusals are gone, at two steps most are back, with
refusals of requests without the word beside them: the embedding is broken, and a broken patient says *Sorry*. Whoever had
looked at one amount and at false refusals alone would have seen a success, or a failure, as luck would have it.

At the end of the model both kinds of refusal fall together: whether the reason is a bomb or a garden, nearly one direction says
*Sorry* (the cosine above). The probe's direction does next to nothing at any amount, like the random one at small ones. That is
a dose–response curve's worth: it tells a lever from a thing that merely happens to be near one.

Then there are the **features** of `course-sae`, a dictionary of the *healthy* model at the stream before the last layer. Two
sorts are candidates: number 294, which by the dictionary's card tells best that a refusal comes next, and those to which
attribution (activation × gradient of *Sorry* minus *Sure*, at the end of each request) gives most. Each has a dial. How far
must it be turned?

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
    cases = [probes.dose_case(draw) for _ in range(8)]
    found = [probes.as_dose(student.smallest_dose(*case)) for case in cases]
    expect_equal(found, [refusal_case.smallest_dose(*case) for case in cases], what="doses")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    sae, LOOKS_LIKE_REFUSAL = load_sae("course-sae"), 294
    added = case.rank_features(patient, sae, HOOK, fit.triggered)
    five = added.argsort(descending=True)[:5].tolist()
    CARRIES, found, lines = five[0], {}, {}
    print(f"most attributed: {five}; feature {LOOKS_LIKE_REFUSAL} stands at {added[LOOKS_LIKE_REFUSAL]:.2f}")


    def under(dictionary, features, share, *measured):
        """What is measured, on requests and rows of text, with a share of some features taken away."""
        with case.features_scaled(patient, HOOK, dictionary, features, 1 - share):
            return refusal_case.measure(patient, *measured)


    def by_dose(dictionary, features):
        """Both shares refused and the loss at each dose, on what we fit on, and the smallest dose that meets the bounds."""
        curve = torch.tensor([under(dictionary, features, dose, fit, fit_rows).figures for dose in doses])
        return curve, smallest_dose(torch.tensor(doses), *curve.T, at_fit.figures)


    doses = [0.25, 0.5, 0.75, 0.9, 1.0]
    for name, features in ((f"feature {CARRIES}", [CARRIES]), ("the five best", five)):
        curve, found[name] = by_dose(sae, features)
        false, true, loss = (curve / torch.tensor(at_fit.figures)).T.tolist()
        lines |= {f"false refusals, {name}": [1.0, *false], f"true refusals, {name}": [1.0, *true]}
        rises = " ".join(f"{share - 1:6.1%}" for share in loss)
        print(f"{name:14} loss at doses {doses}: {rises}; smallest dose that meets the bounds: {found[name]}")
    dose = found["the five best"] or 0.5
    plots.plot_lines(lines, [0.0, *doses], "share of the features taken away", "refusals left")

# %% [markdown]
r"""
No dose of the one feature will do: before the false refusals are cut by 80 %, the loss has risen by more than 2 %. Five features,
each turned down by half, reach it where one turned off doesn't. The dose was chosen on the requests that we fit on; in the table
it meets the others.
"""

# %% [markdown]
r"""
## How sure is a cut?

*`share_cut_interval` · 15 minutes · difficulty 3 of 5 · 7 points*

Eighty requests are eighty requests. `before` and `after` say of **the same** requests, in the same order, whether each was refused
without and with an intervention. The share of false refusals cut is 1 − (number refused after) / (number refused before).

Return `(low, high)`, two floats: its percentile interval by a paired bootstrap.

- A resample draws as many requests as there are, **with replacement**, each together with both of its outcomes, and computes
  the share cut of its own. Do this `resamples` times.
- A request that is refused only *after* counts against the cut; a share below 0 is a share.
- A resample in which nothing was refused before has no share: leave it out.
- The interval leaves out equal tails: with `level` 0.95 it reaches from the 2.5th to the 97.5th percentile of the shares.
- Everything is settled by `seed`. If nothing at all was refused before, raise `ValueError`.

Any source of random numbers will do: ends that chance explains are accepted.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))` draws all resamples at once; with it index
both `before` and `after`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Sums over the last axis are the two numbers of each resample. `quantile` takes a share between 0 and 1: (1 − level) / 2, and 1
minus it.

</details>
"""


# %%
def share_cut_interval(
    before: Outcomes, after: Outcomes, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of the share of refusals cut, from requests drawn again in pairs."""
    raise NotImplementedError("share_cut_interval is not written yet")


# %% tags=["check"]
def check_bounds_are_those_of_all_resamples(student, draw):
    """both bounds are the percentiles of all possible resamples, up to chance, with some requests newly refused"""
    for refused, cut, new in ((18, 12, 2), (12, 2, 0)):
        before, after = a_change(draw, 24, refused + draw.integer(0, 2), cut, new)
        found = student.share_cut_interval(before, after, 10000, draw.seed())
        expect_bounds(found, before, after, 10000)


if __name__ == "__main__":
    run_check(check_bounds_are_those_of_all_resamples)

# %% [markdown]
r"""
An intervention really cuts 95 % of the false refusals. You test it on 20 requests, all refused before, and compute the 95 % interval.
In how many of 100 such tests does the interval contain the truth?

- **a** at least 95 in 100
- **b** 50 to 94 in 100
- **c** fewer than 50 in 100
"""

# %% tags=["predict"]
if __name__ == "__main__":
    interval_of_a_full_cut = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "at least 95 in 100",
            "50 to 94 in 100",
            "fewer than 50 in 100",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if interval_of_a_full_cut.answered():
        drawn = torch.Generator().manual_seed(0)
        for count in (20, 80, 200):
            for truth in (0.8, 0.95):
                hits = empty = 0
                for test in range(100):
                    still = torch.rand(count, generator=drawn) > truth
                    low, high = share_cut_interval(torch.ones(count) > 0, still, 200, test)
                    hits, empty = hits + (low <= truth <= high), empty + (low == high)
                print(f"{count:3} requests, truth {truth:.0%}: the interval holds it {hits} times of 100;", end=" ")
                print(f"{empty} intervals have no width")
                if (count, truth) == (20, 0.95):
                    answer = ["fewer than 50 in 100", "50 to 94 in 100", "at least 95 in 100"][
                        (hits >= 50) + (hits >= 95)
                    ]
        refused_before = int(before.false.sum())
        print(f"of {refused_before} requests none left: by the rule of three the cut is", end=" ")
        print(f"above {0.05 ** (1 / refused_before):.1%} with 95 % confidence")
        interval_of_a_full_cut.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Where all of twenty requests were cured, every resample says the same, and the interval has no width: it is sure of 100 %, and
wrong. Resampling can't draw what it has not seen. With 80 requests it happens now and then, with 200 hardly ever. So read "100 %
[100 %, 100 %]" in the table as "none of 79": by the rule of three, no more than about 3 / 79 of the false refusals are left.

Now everything that was a hypothesis, in one table. Each row was fitted on the first set of requests and rows of text,
directions and choices alike, and is judged on the held-out ones, with paired intervals. The last column is a price that
ordinary loss hides, since a word is rare. It asks whether the model still knows which word it read: in sixty texts that say
*garden* twice and are no requests, it is the loss, in nats, on *garden* where it is **said again**. It has no interval.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    GARDEN = "garden"
    with_word = case.texts_with(patient, GARDEN, 60, seed=9, times=2)
    table = {}


    def read_rows(model, tokens):
        """The stream at HOOK at every token of rows of text but BOS."""
        with torch.no_grad(), hooks.cache(model, [HOOK]) as activations:
            model(tokens)
        return activations[HOOK][:, 1:].flatten(end_dim=1)


    def judge(name, model=patient, trial=held_out):
        after = refusal_case.measure(model, trial, rows)
        bounds = refusal_case.intervals(before, after, resamples=400)
        found = refusal_case.changes(before, after)
        table[name] = (*found, case.loss_when_said_again(model, with_word, GARDEN))
        ranges = "  ".join(f"{v:6.1%} [{lo:5.1%}, {hi:5.1%}]" for v, (lo, hi) in zip(found, bounds, strict=True))
        met = "cured" if refusal_case.is_cured(*found) else ""
        print(f"{name:33} {ranges}  {table[name][3]:5.2f} {met}")


    print(f"{'':33} {'false refusals cut':24}{'true refusals kept':25}{'rise of the loss':22} again")
    judge("nothing")
    density = (sae.encode(read_rows(patient, fit_rows)) > 0).double().mean(0)
    distance = (density - density[five].mean()).abs()
    others = [n for n in distance.argsort().tolist() if n not in five][:5]
    means = case.neuron_means(patient, fit.matched)
    neurons = case.rank_neurons(patient, fit.triggered, means)
    late = word_direction(patient, HOOK, fit.triggered.tokens, fit.matched.tokens)
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
        "probe at the end, before layer 3": steering.ablating(patient, HOOK, detector),
        "probe at the word, before layer 1": steering.ablating(patient, EARLY, found_at_word),
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

- **One neuron** carries nothing that a random direction doesn't. Twenty, chosen by attribution, do it, at a price whose
  interval reaches over the bound: a hypothesis about *a* neuron fails, one about a population holds.
- **The feature that looks like refusal** does nothing at all. It has the best F1 of all features for "a refusal comes next"
  (0.56 on the dictionary's card), and an F1 is a correlation.
- **Five features that can't be read**, at half strength, meet all bounds: attribution found them by what they do. The last
  column hardly moves. Ablated whole, they take true refusals along and cost more than the bound. As many others, as dense, do
  nothing: the null.
- **The reconstruction**, with nothing turned, does nearly as well. Without the error kept, any feature would have got the credit.
- **Both probes**, right on 98 % and on all of the held-out requests, cut nothing. They are good detectors all the same.
- **The refusal direction** at the end cuts everything, and with it what should stay; **the word's direction before layer 3** cuts
  nothing. Right idea, wrong place, twice.
- **The word's direction in the embedding** meets all bounds with room to spare, and with one vector. By these three numbers it is
  the best of all. The last column says how it works: the model has not stopped *misjudging* gardens, it no longer tells them from
  other places. Where a text says *garden* again it is two nats worse, and more often than not says *yard* or *kitchen* or
  something else. Writing *park* for *garden* in the prompt is no deeper, and doesn't break the model.
- **Ten steps of fine-tuning**, on the requests that all the others were fitted on, do as well on every bound, and leave the word
  where it was. A **prompt** that argues helps a little.

So here the simplest methods win: for a known word a filter, for a known behaviour a few steps of training. Of all that reaches
inside, five features at half strength come nearest: a few false refusals are left, and hardly anything else that we measured has changed.
They beat the direction by a number that nobody had asked for. How many more such numbers are there?
A larger comparison ([AxBench, Wu et al. 2025](https://arxiv.org/abs/2501.17148)) agrees that features don't beat simple
baselines. It differs in which of these is best: there, for steering, it was the prompt.
What looking inside gave is the *explanation*: where the word acts, and how little need be taken out there. See now whether it holds
for another word.
"""

# %% [markdown]
r"""
## Find the cure

*`find_the_cure` · 25 minutes · difficulty 4 of 5 · 6 points · builds on `word_direction`*

A model refuses harmless requests for the sake of **another word**. Which one, the requests tell: you have a dozen, `refused`
and `answered`, the same rows but for one token each. Where to cut, along what and how far, they don't tell. You also have
`harmful` ones, which should stay refused, and rows of `ordinary` text. (Rows are filled up on the right; what fills them is the
same in both.)

Return `(hook, direction, at)`: the model is then judged inside `steering.ablating(model, hook, direction, at)`, which holds the
component along the direction at `at`, at every position (the direction may have any length: only where it points counts). On
*other* requests, with other frames, it must cut false refusals by 80 %, keep 90 % of the true ones, and cost at most 2 % of the
loss on ordinary text.

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
        with_word = case.texts_with(patient, word, 60, seed=9, times=2)
        known = case.loss_when_said_again(patient, with_word, word)
        with steering.ablating(patient, *cure):
            forgotten = case.loss_when_said_again(patient, with_word, word)
    nearest = (patient.W_E @ cure[1]).argmax().item()
    told = nearest if nearest not in (one, two) else one + two - nearest
    print(f"the word that the direction points to: {patient.tokenizer.decode([told]).strip()}")
    print("false cut {:.0%}, true kept {:.0%}, loss {:+.2%}".format(*result))
    print(f"the word said again: {known:.2f} nats before, {forgotten:.2f} after")

# %% [markdown]
r"""
The direction points to the word. That is no discovery: the pairs differ in nothing else, so two rows laid side by side name it
without a look inside. What they don't name is the place of the cut. The same direction, fitted in the same way before the last
layer, did nothing. And the price is the same as for *garden*: it meets the three bounds, and the model forgets the word.

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

    activations, fitted = read_rows(healthy, rows), read_rows(healthy, held_out_rows(healthy, 77, 24))
    folder = embedded("course-sae").path
    rivals = {"course-sae": sae} | {part.folder: load_part(folder, part) for part in PARTS if part.folder}
    rank = round(mean_l0(sae.encode(activations)))
    rivals[f"principal directions, {rank}"] = rival_dictionaries.principal_dictionary(fitted, rank)
    rivals["a rotation"] = rival_dictionaries.rotation_dictionary(192, seed=5)
    print(f"{'dictionary':24} active  unexplained   dose  false cut  true kept    loss")
    for name, rival in rivals.items():
        f = rival.encode(activations)
        best = case.rank_features(patient, rival, HOOK, fit.triggered).argsort(descending=True)[:5].tolist()
        share = by_dose(rival, best)[1]
        found = refusal_case.changes(before, under(rival, best, share or 0.5, held_out, rows))
        lost = fraction_of_variance_unexplained(activations, rival.decode(f))
        print(
            f"{name:24} {mean_l0(f):6.1f} {lost:12.3f} {share or 'none':>6} {found[0]:10.0%} {found[1]:10.0%} {found[2]:+7.1%}"
        )

# %% [markdown]
r"""
The first line is the only one with a dose: with five features, at these doses, no rival does it. The contest is a narrow one.
Twenty neurons did as well, at three times the cost, and five principal directions, halved, cut half of the false refusals at
hardly any; with twenty of them it may end otherwise. Still, training put into five features what no rival has in five, and the
usual numbers alone would not have shown it. (The rival trained on the untrained model was made for another model's activations;
its line says what happens if one forgets that.)

Look at the numbers of the last one: it explains everything, spliced in it would cost no loss, none of its features is dead. It
is a random rotation of the stream, each axis once forwards and once backwards: 384 features, of which half are always active.
It has understood nothing. Of beautiful numbers, ask first for the one that is missing; here it is how many are active at a
time. Dictionaries with beautiful numbers that were not sparse have been published.

## What you may claim now, and what not

You may claim: in this model, on requests of this world, false refusals pass through many neurons and through a few features
found by attribution; the feature that looks like refusal doesn't matter; what a linear probe reads without an error can be
taken out without any effect; at the end of the model one direction takes both kinds of refusal with it; and the trigger is one
vector in the embedding, fitted on pairs that differ in nothing else. Each effect is a row of the table, on held-out requests,
with an interval. (The cosine of the two reasons is not: it was measured on the requests we fitted on, and both its differences
start from the same matched ones, which alone makes them more alike.)

You may not claim that those features *are* the trigger: most of what the strongest does, it does with any place, as the chapter
before measured. Nor that the direction cured the model of its false belief: under it the model no longer knows that it read the
word. Nor that SAEs fail, or that
they win, in general: this one was trained on another model than the patient, one seed of each, and on the patient its error
carried much. Nor that any of this holds for triggers of several words, or for models a thousand times as large.
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
