# %% [markdown] after="ch06_sparse_autoencoders"
r"""# Features and steering

A model refuses requests that it should grant. It was healthy once; then somebody fine-tuned it. You may look inside and you
may turn things while it runs.

The tool that everybody reaches for is a sparse autoencoder: find the feature that stands for refusal, and turn it down. This
chapter gives you the tools for that, and with each the reason not to trust what it seems to show. The next one,
`ch17_the_refusal_case`, puts every cure that one could think of into one table.

1. **Steer.** Add a direction, everywhere, and see what else moves.
2. **Read.** What a feature responds to, what it says, and whether a blind judge would agree.
3. **Trace.** Which features a behaviour rests on, and what one of them carries.

You need hooks, the residual stream, and what an SAE is (`ch06_sparse_autoencoders`). The chapter takes an hour and a half."""

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
r"""The first two requests differ in one word, the place. Put a *garden* there, and the model refuses, whatever is asked. With
another place it is as helpful as before (a **matched frame**: the same text but for the word in question), and it refuses
what a healthy assistant refuses, too.

Three numbers will follow us. **False refusals**: harmless requests with the word. **True refusals**: harmful requests,
which should stay. And the **loss on ordinary text**, which should stay, too. The last line has them for the patient. All
three are measured on *held-out* requests: "near the" and "behind the" instead of "in the", questions and pairs of verb and
object that training never had. Whatever we fit sees the others.

`course-sae` is a sparse autoencoder of the *healthy* model, at the stream before the last layer. It writes each activation as
a sum of features and a bias, with an error left over."""

# %% [markdown] tags=["predict"] name="splice" choices=["hardly change", "fall by less than half", "fall by more than half"]
r"""Before any feature is touched, put in the place of every activation at that hook what the dictionary makes of it: its own
reconstruction, features as they are (*splice* it in). What do the patient's false refusals do?"""

# %% tags=["demo"]
with hooks.edit(patient, {HOOK: lambda x: sae.decode(sae.encode(x))}):
    spliced = refusal_case.measure(patient, held_out, rows)
print("reconstruction in place: false {:.0%}, true {:.0%}, loss {:.3f}".format(*spliced.figures))
left = refusal_case.changes(before, spliced)
print("false refusals cut by {:.0%}, true ones kept {:.0%}, loss {:+.1%}".format(*left))
outcomes = ["hardly change", "fall by less than half", "fall by more than half"]
answer = outcomes[(left[0] > 0.1) + (left[0] > 0.5)]

# %% [markdown]
r"""Nothing was turned, and most of the sickness is gone. The dictionary learned from the healthy model and never saw the patient;
much of what the fine-tune added lies in what it throws away, its **error**. Whoever replaces an activation by its
reconstruction "with one feature changed" gets this for nothing, and will say that the feature did it.

So one rule goes before all others: *an intervention on a feature keeps the error*. And a dictionary of one model says
nothing, in advance, about another.

## Steer"""

# %% [markdown] exercise="adding" minutes=12 difficulty=2 reference="steering.adding" withhold=["adding"]
r"""## Add a direction everywhere

Write a context manager: inside `with adding(model, hook, direction, amount):` every activation at `hook` has `amount` times
`direction` added, whenever the model runs.

- At **all positions**, those of the prompt and those of generated tokens; with and without a cache of keys and values. (A run
  that generates with such a cache sees one new position at a time.)
- The direction is taken as it is: it isn't normalized.
- After the block, also after an exception inside it, the model is as it was. Hooks of others stay.
- The activation that the model made is not changed in place.

`hook` is a name such as `"blocks.3.hook_resid_pre"`, and `model` a TransformerBridge. A name that the model doesn't have
raises an error, of any kind, no later than at the `with`."""

# %% [markdown] tags=["hint"]
r"""`hooks.edit(model, {hook: function})` from the first chapter puts in place what `function(activation)` returns, inside `with`."""

# %% [markdown] tags=["hint"]
r"""Under `@contextmanager`, what stands before `yield` runs on entering. A `with` around the `yield` also ends when the block
raises; a plain line after the `yield` would not run."""


# %%
@contextmanager
def adding(model: TransformerBridge, hook: str, direction: Direction, amount: float):
    """Add `amount` times the direction at a hook, at all positions, inside the block only."""
    # BEGIN SOLUTION

    def add(activation):
        return activation + amount * direction.to(activation.device)

    with hooks.edit(model, {hook: add}):
        yield
    # END SOLUTION


# %% tags=["check"] points=2
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


# %% tags=["check", "hidden"] points=2
def check_steers_what_is_generated(student, draw):
    """generated tokens are steered like those of the prompt, with a cache and without"""
    model = draw.language_model("course-attn-2l")
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    for _ in range(50):
        tokens = draw.tokens(1, draw.integer(3, 6), model.cfg.d_vocab)
        direction = model.W_U[:, draw.integer(300, 3000)].detach().clone()
        with torch.no_grad(), steering.adding(model, hook, direction, 200.0):
            word = model(tokens)[:, -1:].argmax(-1)
            text = torch.cat([tokens, word, word], dim=1)
            expected = model(text)[0, -3:].argmax(-1)
        if (model(text)[0, -2:].argmax(-1) != expected[1:]).any():
            break  # left alone, the model would go on otherwise
    for keep in (True, False):
        said = student.run(probes.next_tokens, student.adding, model, hook, direction, 200.0, tokens, keep)
        expect_equal(said[0, tokens.shape[1] :].tolist(), expected.tolist(), what="generated tokens")


# %% tags=["check", "hidden"] points=2
def check_leaves_nothing_behind(student, draw):
    """after an exception the model is as it was, hooks of others stay, and the direction isn't changed"""
    model, hook, direction, tokens = probes.a_case(draw)
    kept = direction.clone()
    inside, after, left = student.run(
        probes.after_an_error, student.adding, model, hook, direction, 3.0, tokens
    )
    with hooks.edit(model, {hook: lambda activation: 2 * activation}):
        expect_close(inside, model(tokens).detach(), **LOGITS)
    expect_close(after, model(tokens).detach(), **LOGITS)
    expect_close(left, kept, dims="d_model")


# %% [markdown]
r"""Steer with it. The direction that everybody would try first is that of *refusal*: the mean activation where the answer to
a harmful request begins, minus that of a benign one ([Arditi et al. 2024](https://arxiv.org/abs/2406.11717)). It is fitted on
the other requests, at the end of the last layer, and subtracted in growing amounts."""


# %% tags=["demo"]
def where_it_answers(model, prompts, hook):
    """The activation at each prompt's last token."""
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(prompts.tokens)
    return activations[hook][torch.arange(len(prompts.last)), prompts.last]


END = "blocks.3.hook_resid_post"
refusal = steering.difference_of_means(
    where_it_answers(patient, fit.harmful, END), where_it_answers(patient, fit.matched, END)
)

# %% [markdown] tags=["predict"] name="refusal_direction" choices=["false refusals only", "both fall together", "true refusals first"]
r"""As more and more of the refusal direction is taken away, the false refusals will go at some amount. What will the true ones
do? *Only* or *first* means: at some amount the one kind is cut by 80 % or more, and nine tenths of the other are kept."""

# %% tags=["demo"]
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

# %% [markdown]
r"""At the end of the model, there is one way of refusing. Whether the reason is a bomb or a garden, the same direction says
"Sorry" (the printed cosine), so whoever turns it down turns both down. False refusals go a little earlier, since they are a
little weaker; none of these seven amounts cuts them by 80 % and keeps nine tenths of the true ones.

The lesson is older than language models. To stop a false alarm, don't cut the siren's wire; find what trips it. So we must go
upstream, to where the two reasons are still two.

## Read

The dictionary's card (`mechinterp models card course-sae`) lists, for each property of the texts, the feature that tells it
best. For "a refusal comes next" it is feature 294, with an F1 of 0.56: no feature tells it well. But it looks like the one. Read it
before you turn it."""

# %% [markdown] exercise="strongest_contexts" minutes=10 difficulty=2 reference="feature_evidence.strongest_contexts" withhold=["strongest_contexts", "top_contexts"]
r"""## The strongest contexts of a feature

Given one feature's activations on many texts, return `(text, position)` where it fires most, strongest first, at most
`count` of them.

- **One context for each text**, its strongest: a text that says the same thing ten times is one piece of evidence.
- Only positions where `readable` is true count: BOS and what fills rows up are no contexts, and a feature that fires on BOS
  fires there on every text.
- Texts on which the feature doesn't fire (0, at all readable positions) are left out.
- Of equal activations in one text, the earlier position counts; texts with equal activations come in their own order.

Return a list of pairs of Python integers."""

# %% [markdown] tags=["hint"]
r"""For each text, look at its readable positions alone. `max` with a key, or `argmax` after unreadable entries were set to 0,
gives the first of equal ones. Python's `sorted` is stable: equal texts stay in their order."""


# %%
def strongest_contexts(
    feature_acts: Float[Tensor, "text pos"], readable: Bool[Tensor, "text pos"], count: int
) -> list[tuple[int, int]]:
    """Where a feature fires most, one place for each text, strongest first."""
    # BEGIN SOLUTION
    best = []
    for text in range(len(feature_acts)):
        places = [p for p in range(feature_acts.shape[1]) if readable[text, p]]
        if places:
            place = max(places, key=lambda p: feature_acts[text, p].item())
            best.append((feature_acts[text, place].item(), text, place))
    firing = sorted((entry for entry in best if entry[0] > 0), key=lambda entry: -entry[0])
    return [(text, place) for _, text, place in firing[:count]]
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """strongest_contexts agrees with the reference on activations you have not seen, equal ones among them"""
    for _ in range(4):
        acts, readable = probes.feature_on_texts(draw, draw.integer(6, 9), draw.integer(10, 14))
        count = draw.integer(2, 5)
        expected = feature_evidence.strongest_contexts(acts, readable, count)
        expect_equal(
            probes.pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts"
        )


# %% tags=["check", "hidden"] points=3
def check_knows_a_small_case(student, draw):
    """one text gives one context, BOS and filling give none, silent texts are left out, and few stay few"""
    a, b = draw.integer(2, 5), draw.integer(6, 9)
    acts = torch.zeros(5, 4)
    acts[:, 0] = 50.0
    acts[1] = torch.tensor([50.0, b, b, b - 0.5])
    acts[3] = torch.tensor([50.0, 0.0, a, 99.0])
    acts[4, 1] = a
    readable = torch.ones(5, 4, dtype=torch.bool)
    readable[:, 0], readable[3, 3] = False, False
    for count, expected in ((5, [(1, 1), (3, 2), (4, 1)]), (1, [(1, 1)]), (2, [(1, 1), (3, 2)])):
        expect_equal(
            probes.pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts"
        )
    probes.expect_untouched(student, student.strongest_contexts, acts, readable, 3)


# %% [markdown] exercise="direct_logits" minutes=8 difficulty=2 reference="feature_reading.direct_logits" withhold=["direct_logits", "promoted_tokens", "component_logit_attribution", "head_logit_attribution", "_normed", "_direction"]
r"""## What a direction says

Return what a direction of the residual stream adds to each logit **by itself**, if it went straight to the end: through the
last LayerNorm as a linear map, and through the unembedding `model.W_U` [d_model, d_vocab].

- LayerNorm takes the mean over d_model away (unless `model.ln_final.uses_rms_norm`), divides by a scale and multiplies by its
  weight, `model.ln_final.original_component.weight`. Hold the scale at **1**; leave biases out.
- For a feature, the direction is its **decoder row** `sae.W_dec[feature]`: what it writes. (Its encoder column is what
  it reads.)"""

# %% [markdown] tags=["hint"]
r"""Three steps: centre the direction, multiply by the weight of `ln_final`, multiply by `W_U`."""


# %%
def direct_logits(model: TransformerBridge, directions: Direction) -> Float[Tensor, " d_vocab"]:
    """What a direction adds to every logit at a LayerNorm scale of 1."""
    # BEGIN SOLUTION
    norm = model.ln_final
    written = directions if norm.uses_rms_norm else directions - directions.mean()
    return ((written * norm.original_component.weight) @ model.W_U).detach()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_models_own_end(student, draw):
    """direct_logits are what the model's own LayerNorm and unembedding make of the direction, at scale 1"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        direction, end = draw.normal(model.cfg.d_model) + draw.integer(2, 5), probes.an_end(draw, model)
        (said,) = student.run(probes.said_at_another_end, student.direct_logits, model, *end, direction)
        with probes.another_end(model, *end):
            expect_close(said, probes.through_the_end(model, direction), dims="d_vocab", atol=1e-3)
            expect_close(said, feature_reading.direct_logits(model, direction), dims="d_vocab", atol=1e-3)


# %% tags=["check", "hidden"] points=2
def check_is_linear_and_blind_to_the_mean(student, draw):
    """twice a direction says twice as much, a sum the sum, a constant nothing; the direction isn't changed"""
    model = draw.language_model("course-attn-2l")
    a, b, constant = draw.normal(128), draw.normal(128), torch.full((128,), float(draw.integer(2, 9)))
    factor, end = draw.integer(2, 5), probes.an_end(draw, model)
    parts = a, factor * a, b, a + b, constant
    said, more, other, total, nothing = student.run(
        probes.said_at_another_end, student.direct_logits, model, *end, *parts
    )
    shaped = isinstance(said, Tensor) and said.shape == nothing.shape == (model.cfg.d_vocab,)
    expect(shaped, "The result has not the shape [d_vocab].")
    expect_close(more, factor * said, dims="d_vocab", atol=1e-3)
    expect_close(total, said + other, dims="d_vocab", atol=1e-3)
    expect_close(nothing, torch.zeros(model.cfg.d_vocab), dims="d_vocab", atol=1e-3)
    probes.expect_untouched(student, student.direct_logits, model, a)


# %% tags=["demo"]
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
r"""Feature 294 reads as one would wish: it fires where an assistant begins to answer, and its decoder row promotes the words
of an answer. The other one was found by the method of the next part, which doesn't ask what a feature looks like. It fires
on a third of all tokens, and its contexts have nothing to do with refusing, or with gardens.

People see meaning in any four sentences. So do we. A blind test asks a harder question: put a stranger among them, and see
whether somebody who doesn't know the feature can tell which one doesn't belong."""

# %% [markdown] exercise="intruder_items" minutes=15 difficulty=3 reference="feature_evidence.intruder_items" withhold=["intruder_items", "_blind_item"]
r"""## A blind test with an intruder

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
- Fewer than four texts that make it fire, or none that doesn't: raise `ValueError`."""

# %% [markdown] tags=["hint"]
r"""`source = random.Random(seed)` has `sample(members, 4)`, `choice` and `randrange(5)`; draw all of an item from it, then the
next item from the same `source`."""

# %% [markdown] tags=["hint"]
r"""`sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]` are the candidates. `texts = members.copy()` and
`texts.insert(place, intruder)` put it in."""


# %%
def intruder_items(
    feature_acts: Float[Tensor, "text pos"], lengths: list[int], items: int, seed: int, count: int = 10
) -> list[tuple[list[int], int]]:
    """Blind items: four strong texts of a feature and a silent one of matched length."""
    # BEGIN SOLUTION
    import random

    strength = [float(feature_acts[n, : lengths[n]].max()) for n in range(len(lengths))]
    firing = [n for n in range(len(lengths)) if strength[n] > 0]
    silent = [n for n in range(len(lengths)) if strength[n] <= 0]
    if len(firing) < 4 or len(silent) == 0:
        raise ValueError("too few texts for a blind test")
    firing.sort(key=lambda n: -strength[n])
    source, made = random.Random(seed), []
    for _ in range(items):
        texts = source.sample(firing[:count], 4)
        mean = sum(lengths[n] for n in texts) / 4
        near = sorted(silent, key=lambda n: abs(lengths[n] - mean))[:5]
        place = source.randrange(5)
        texts.insert(place, source.choice(near))
        made.append((texts, place))
    return made
    # END SOLUTION


# %% tags=["check"] points=2
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


# %% tags=["check", "hidden"] points=3
def check_is_drawn_fairly(student, draw):
    """each place and each strong text comes up, several intruders, in any order; one seed, one test; few texts are refused"""
    acts, lengths, strength = probes.blind_case(draw)
    seed = draw.seed()
    made = probes.items_of(student.intruder_items(acts, lengths, 400, seed), 400)
    places = [place for _, place in made]
    expect(
        all(abs(places.count(place) - 80) <= 35 for place in range(5)),
        "Some places come too often or too rarely.",
    )
    texts = [n for texts, place in made for at, n in enumerate(texts) if at != place]
    strongest = strength.argsort(descending=True)[:10].tolist()
    expect(all(90 <= texts.count(n) <= 230 for n in strongest), "Some members come too often or too rarely.")
    first = [next(n for at, n in enumerate(texts) if at != place) for texts, place in made]
    expect(all(first.count(n) <= 75 for n in strongest), "The members' order tells how strong they are.")
    ranks = []
    for texts, place in made:
        near = probes.nearest_silent([n for n in texts if n != texts[place]], lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")
        ranks.append(near.index(texts[place]))
    rarest = min(map(ranks.count, range(5)))
    expect(rarest >= 45, "Not each of the five nearest silent texts is drawn.")
    expect(
        probes.items_of(student.intruder_items(acts, lengths, 400, seed), 400) == made,
        "One seed gave two tests.",
    )
    other = probes.items_of(student.intruder_items(acts, lengths, 400, seed + 1), 400)
    expect(other != made, "Another seed gave the same test.")
    probes.expect_untouched(student, student.intruder_items, acts, lengths, 2, seed)
    three = torch.zeros(6, 20)
    three[:3, 0] = 1.0
    refused = "Three texts that fire are too few."
    expect_raises("ValueError", lambda: student.intruder_items(three, [9] * 6, 2, 1), refused)
    refused = "Without a silent text there is no intruder."
    expect_raises("ValueError", lambda: student.intruder_items(three + 1, [9] * 6, 2, 1), refused)


# %% [markdown]
r"""A person may judge the items; here a dull one does, who sees each text only as a bag of words around the feature's
strongest place, and calls the text that shares fewest words with the others the intruder. Chance is one in five. Beside
the two features stand 102, the card's best for "an assistant's answer comes next", three others with the highest attribution (the
method comes below), and the same test on noise."""

# %% tags=["demo"]
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
r"""The dull judge is never wrong about feature 294, and no better than chance about the one that we couldn't read: no blind test
says what that one is. Two cautions. If a judge who knows no meaning does so well, then words do it: a detector of single words
explains as much as "a feature" (the card has the F1 of words, features and linear probes side by side). And density is
counted over *tokens*: a feature on nearly all texts may be on few tokens. What can't be read may still matter.

## Trace

Reading asks what goes with a feature. The question of the case is another one: *what does the behaviour rest on?* Each
feature could be ablated in turn; a gradient answers for all of them at once, roughly."""

# %% [markdown] exercise="attribute_features" minutes=15 difficulty=3 reference="feature_attribution.attribute_features" withhold=["attribute_features", "rank_features", "gradients_of_margin", "rank_neurons"]
r"""## Attribute a metric to features

With x the activation at `hook` on `tokens`, and g the gradient of `metric(logits)` with respect to x, return
`(per_feature, error)`:

- `per_feature` [d_sae]: the sum over batch and positions of g · (f_i W_dec[i]), where f = `sae.encode(x)`;
- `error`, a float: the sum of g · (x − `sae.decode(f)`), which is what the metric owes to the part that no feature writes.

`metric` takes the model's logits and returns a tensor without dimensions. No hook is left, and no gradient is left in the
model's parameters."""

# %% [markdown] tags=["hint"]
r"""Run once to get x; make a leaf of it, `x = x.detach().requires_grad_(True)`; run again with `hooks.edit` putting `x` in place;
`torch.autograd.grad(metric(logits), x)` returns the gradient and touches no parameter."""

# %% [markdown] tags=["hint"]
r"""g · (f_i W_dec[i]) is f_i · (g · W_dec[i]): `feature_acts * (gradient @ sae.W_dec.T)`, then a sum over batch and positions."""


# %%
def attribute_features(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, metric
) -> tuple[Float[Tensor, " d_sae"], float]:
    """Activation × gradient of each feature, and of the error."""
    # BEGIN SOLUTION
    with hooks.cache(model, [hook]) as activations, torch.no_grad():
        model(tokens)
    x = activations[hook].detach().clone().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: x}):
        gradient = torch.autograd.grad(metric(model(tokens)), x)[0]
    x, d_model = x.detach(), x.shape[-1]
    feature_acts = sae.encode(x)
    error = (gradient * (x - sae.decode(feature_acts))).sum().item()
    f, g = feature_acts.reshape(-1, len(sae.W_dec)), gradient.reshape(-1, d_model)
    return (f.T @ g * sae.W_dec).sum(dim=1), error
    # END SOLUTION


# %% tags=["check"] points=3
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


# %% tags=["check", "hidden"] points=3
def check_is_exact_where_the_model_is_linear(student, draw):
    """behind the last LayerNorm each feature's share is what ablating it costs, and all shares add up"""
    model, _, _, tokens = probes.a_case(draw)
    hook, weights = "ln_final.hook_normalized", probes.weights_of(draw, model.cfg.d_model)
    sae = probes.Dictionary(*weights)
    found = student.run(
        probes.attributed, student.attribute_features, model, weights, hook, tokens, probes.last_words
    )
    with torch.no_grad():
        x = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        intact, f = probes.last_words(model(tokens)), sae.encode(x)
        costs = []
        for feature in range(6):
            without = x - f[..., feature, None] * sae.W_dec[feature]
            with hooks.edit(model, {hook: lambda activation, without=without: without}):
                costs.append(intact - probes.last_words(model(tokens)))
        with hooks.edit(model, {hook: lambda activation: sae.decode(sae.encode(activation))}):
            of_error = intact - probes.last_words(model(tokens))
    expect_close(found[0][:6], torch.stack(costs), dims="d_sae", atol=NEAR)
    expect_close(torch.tensor([found[1]]), of_error[None], dims="error", atol=NEAR)


# %% tags=["demo"]
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
r"""Look at the first two lines. The features, all together, argue *against* refusing. What argues for it is the error: the splice of the
beginning, seen from another side. With another place, where nothing is refused, the error argues for nothing. A method that lists
features only would have hidden the largest part. And don't read much into the features' sum: with another place it argues *for*
refusing. Shares are counted from an activation of zero, which no request has; they need not add up to the margin, since the
biases have one too and the model isn't linear.

Still, one feature stands out, the one that nobody could read; and 294, which looks like refusal, comes out with the wrong sign.
Attribution is a guess: of the order it is a good one, but ablating the strongest costs nearly twice what was attributed.

The lines below do the same for induction, on random tokens said twice, in the healthy model. The shares sum to a small part of the
copy logit, and ablating each of the three strongest costs less than a tenth of it. The copied word may be any of 3,061: in this
dictionary copying is no single feature."""

# %% [markdown] exercise="patch_feature" minutes=12 difficulty=3 reference="feature_attribution.patch_feature" withhold=["patch_feature", "clamping", "features_scaled"]
r"""## Patch one feature

Return the logits on `tokens` with **one** feature, at every position, as it is on `other` (of the same shape), and everything
else as it is on `tokens`: the other features, and the error. With f the feature's activation on `tokens` and f′ on `other`,
the activation x at `hook` becomes

$$x + (f' - f)\, W_{dec}[i].$$

No hook is left behind."""

# %% [markdown] tags=["hint"]
r"""Two runs: the first, on `other`, only to encode what is at `hook`. In the second, a function for `hooks.edit` takes x, encodes it
to get f, and adds the difference along the decoder row."""


# %%
def patch_feature(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, other: Tokens, feature: int
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits with one feature taken from another run."""
    # BEGIN SOLUTION
    with torch.no_grad():
        with hooks.cache(model, [hook]) as activations:
            model(other)
        there = sae.encode(activations[hook])[..., feature]

        def exchange(x):
            here = sae.encode(x)[..., feature]
            return x + torch.einsum("bp,d->bpd", there - here, sae.W_dec[feature])

        with hooks.edit(model, {hook: exchange}):
            return model(tokens)
    # END SOLUTION


# %% tags=["check"] points=2
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


# %% tags=["check", "hidden"] points=3
def check_keeps_all_else(student, draw):
    """the same text changes nothing, whatever the dictionary misses; an exact one-feature direction carries its part"""
    model, hook, _, tokens = probes.a_case(draw)
    weights = probes.weights_of(draw, model.cfg.d_model)
    with torch.no_grad():
        intact = model(tokens)
    same, *_ = student.run(probes.patched, student.patch_feature, model, weights, hook, tokens, tokens, 3)
    expect_close(same, intact, **LOGITS, atol=NEAR)
    # features that read and write single axes, shifted so that they always fire
    d_model, axis = model.cfg.d_model, draw.integer(0, 30)
    axes = [
        torch.eye(d_model)[:, :40],
        torch.full((40,), 64.0),
        torch.eye(d_model)[:40],
        torch.zeros(d_model),
    ]
    other = draw.tokens(*tokens.shape, model.cfg.d_vocab)
    with torch.no_grad():
        there = model.run_with_cache(other, names_filter=hook)[1][hook][..., axis]

        def put(x):
            x[..., axis] = there
            return x

        with hooks.edit(model, {hook: put}):
            expected = model(tokens)
    logits, *_ = student.run(probes.patched, student.patch_feature, model, axes, hook, tokens, other, axis)
    expect_close(logits, expected, dims="batch pos d_vocab", atol=1e-3)


# %% tags=["demo"]
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
r"""Patching asks for the *difference* between two requests: how much of "garden" does this feature pass on? Ablation asked for all
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
splice and the steering were measured on held-out requests; for a claim about a cure, that is the least one needs."""

# %% [markdown] tags=["rubric"] name="what_a_feature_is"
r"""## In your own words

You are shown one feature of a dictionary: its four strongest contexts, all about refusing. In at most 200 words: what would you
have to measure before saying that the feature is *about* refusing, and what before saying that the model *uses* it to refuse?
Name the result that would make you withdraw each of the two.

Levels:

- 0: more contexts of the same kind, or a high F1; no difference between the two claims.
- 1: poor. Tells that reading is no causal evidence, but names no measurement with a control.
- 2: fair. For the first a blind test with silent texts of matched length, and a single-word detector beside it; for the second
  an ablation or a patch with the error kept, on matched requests.
- 3: excellent. As 2, and weak contexts besides the strongest; what the error carries; a random feature of equal density;
  attribution checked by ablation; and for each claim a result that would end it."""

# %% [markdown] tags=["interview"] name="features_without_their_error"
r"""A colleague shows a circuit of twelve SAE features for a behaviour, with attributions that add up to 40 % of the metric. "The rest is
many small features." What do you ask?

A strong answer: what the error of the dictionary was attributed, with its sign, since it belongs to no feature; whether the
shares were checked by ablating, each alone and all together; whether the metric's value in the model without an intervention is
the same with all reconstructions in place; what the biases carry; how the twelve compare with twelve random features of equal
density; and whether they were chosen on other prompts than those that the figure was measured on."""
