# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch14_what_heads_write", "version": "97f5e2418f50", "source": "solutions/ch14_what_heads_write/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch14_what_heads_write`, version `97f5e2418f50`, written from `solutions/ch14_what_heads_write/chapter.py` by `python -m mechinterp_course.authoring ch14_what_heads_write`.*
"""

# %% [markdown]
r"""
# What heads write

In *Induction heads* (`ch03_induction_heads`) you found the heads that look at the right place. Looking is half of it. A head
moves something from the place where it looks to the place where it stands, and what it moves is another question than where
it looks, with other methods.

Here is a model's whole talent, in a line: after `A B A B A` comes `B`. A child does that by seeing the pattern. Does the
model see a pattern? Is there a part in it that knows the *period*, or are these the same induction heads, which know nothing
of periods and find, each time anew, what came after the last `A`? This chapter asks that question until it has an answer:

1. **What does it do?** Cycles of every period, and what is left of them without the induction heads.
2. **Where do its heads look?** A score for cycles, and two reasons to distrust it.
3. **Which of two theories is true?** You write down both, and the text on which they disagree.
4. **What is said, and when?** The stream read at each depth, and taken apart into who wrote what.
5. **What would a head write?** Its OV circuit, and how weights alone mislead.

You need `induction_score` (`ch03_induction_heads`) and ablation (`ch19_what_a_head_does`). The chapter takes about two hours.
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

from mechinterp_course import circuits, heads, lens, metrics, periodicity
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises, period_probes
from mechinterp_course.worlds import tokens as token_world

Tokens = Int[Tensor, "batch pos"]
Head = tuple[int, int]  # (layer, head)
LENS = {"dims": "layer batch d_vocab", "atol": 2e-4}  # how results are compared: by axes, up to rounding


def tensors_after(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor)]


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    left = student.run(tensors_after, function, *arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(
        isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(left, tensors, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


def is_batch_of_rows(value):
    """Whether a value is a tensor of whole numbers with two axes."""
    return isinstance(value, Tensor) and value.dim() == 2 and not value.is_floating_point()


# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import faithfulness, interactive_attention, plots
    from mechinterp_course.models import load_language_model

    course_model = load_language_model("course-gpt2")
    bos, cfg = course_model.tokenizer.bos_token_id, course_model.cfg


    def words(ids):
        return [course_model.tokenizer.decode([token]).strip() for token in ids]


    def named(places):
        return ", ".join(f"L{layer}H{head}" for layer, head in places)


    vocabulary = [course_model.tokenizer.decode([token]) for token in range(cfg.d_vocab)]
    readable = [
        n for n, text in enumerate(vocabulary) if text[:1] == " " and text[3:].isalpha() and text.islower()
    ]


    def some_readable(count, seed):
        """Different tokens that begin a word, drawn."""
        order = torch.randperm(len(readable), generator=torch.Generator().manual_seed(seed))
        return torch.tensor(readable)[order[:count]]


    three = some_readable(3, seed=53)
    for form in ("ABABABABA", "ABCABCABCABC", "ABACABACABA"):
        text = torch.stack([three["ABC".index(letter)] for letter in form])
        said = course_model(torch.cat([torch.tensor([bos]), text])[None])[0, -1].argmax()
        print(f"{form:13}", *words(text), "→", *words([said]))

# %% [markdown]
r"""
Three texts of words drawn at random (the seed was picked). The first two are continued as anyone would. The third is
hardly more difficult: every other word is the same, and the two words between take turns. The model has heard nearly three
rounds of it, and says the wrong one of the two.

By the first two lines one would say that it sees patterns. The third proves nothing yet: one prompt, picked. But we shall
look for texts of its kind, on which two stories about the model say different things.
"""

# %% [markdown]
r"""
## Cycles of any period

*`cyclic_tokens` · 8 minutes · difficulty 1 of 5 · 5 points*

Return `batch` rows of BOS followed by `length` tokens of a cycle that comes back every `period` tokens:

| position | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
|---|---|---|---|---|---|---|---|---|
| token (period 3, length 7) | BOS | A | B | C | A | B | C | A |

- The `period` tokens of a row's cycle are **different from each other**. Any ids of `0 … d_vocab - 1`, in any order, are equally
  likely, and each row has a cycle of its own.
- `length` need not be a multiple of `period`, and may be smaller.
- If `d_vocab` ids are too few for `period` different ones, raise `ValueError`.
- The tokens come from a `torch.Generator` seeded with `seed`; torch's global random state is left alone. The result is
  int64 and lies on the CPU.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`torch.randint` may draw the same id twice. `torch.randperm(n, generator=…)` holds each id below n once, in random order:
its first `period` entries are a cycle. One call for each row. The text is `cycle[torch.arange(length) % period]`.

</details>
"""


# %%
def cyclic_tokens(
    d_vocab: int, period: int, length: int, batch: int, bos: int, seed: int
) -> Int[Tensor, "batch pos"]:
    """Rows of BOS and `length` tokens of a cycle of `period` different tokens."""
    raise NotImplementedError("cyclic_tokens is not written yet")


# %% tags=["check"]
def check_is_bos_and_a_cycle(student, draw):
    """each row is BOS and a cycle of different tokens, in int64, of any period and length"""
    cases = [(draw.integer(2, 5), draw.integer(11, 19)) for _ in range(3)] + [(draw.integer(6, 9), 4), (1, 3)]
    for period, length in cases:
        d_vocab, batch = draw.integer(30, 900), draw.integer(2, 6)
        start = draw.integer(0, d_vocab - 1)
        rows = student.cyclic_tokens(d_vocab, period, length, batch, start, draw.seed())
        expect(is_batch_of_rows(rows), "The result is not a tensor of ids, of shape [batch, pos].")
        expect_equal(tuple(rows.shape), (batch, 1 + length), what="sizes")
        body = rows[:, 1:].to(torch.int64)
        places = torch.arange(length) % period
        expected = torch.cat([torch.full((batch, 1), start), body[:, :period][:, places]], dim=1)
        expect_close(rows, expected, dims="batch pos")
        cycles = body[:, : min(period, length)].sort(dim=1).values
        expect(bool((cycles.diff(dim=1) > 0).all()), "A token comes twice in one round of a cycle.")


if __name__ == "__main__":
    run_check(check_is_bos_and_a_cycle)


# %% tags=["given"]
def drawn_after(function, seed, *arguments):
    """Four numbers from torch's global generator, which is seeded before a call of `function`."""
    torch.manual_seed(seed)
    function(*arguments)
    return torch.rand(4)


# %% tags=["check"]
def check_depends_on_the_seed_alone(student, draw):
    """the same seed gives the same rows, another seed others, and torch's global random state is left alone"""
    seed = draw.integer(0, 10_000)
    again, *rows = (student.cyclic_tokens(500, 5, 12, 3, 0, seed + step) for step in (0, 0, 1, 2))
    expect(all(map(is_batch_of_rows, (again, *rows))), "The result is not a tensor of shape [batch, pos].")
    expect(torch.equal(again, rows[0]), "The same seed gave other tokens the second time.")
    expect(len(torch.stack(rows).unique(dim=0)) == 3, "Another seed gave the same tokens.")
    numbers = student.run(drawn_after, student.cyclic_tokens, seed + 3, 500, 5, 12, 3, 0, seed)
    untouched = torch.rand(4, generator=torch.Generator().manual_seed(seed + 3))
    still = isinstance(numbers, Tensor) and torch.equal(numbers, untouched)
    expect(still, "The call has moved torch's global random state.")


if __name__ == "__main__":
    run_check(check_depends_on_the_seed_alone)

# %% tags=["demo"]
if __name__ == "__main__":
    def probability_of_next(logits: Tensor, tokens: Tokens) -> Tensor:
        """The mean probability of each token that comes, by the number of tokens before it (BOS not counted)."""
        return (-metrics.loss_per_token(logits, tokens)).exp().mean(dim=0)


    def without(tokens: Tokens, removed: list[Head], kind: str = "zero") -> Tensor:
        """Logits with the z of all `removed` heads replaced at once, by zeros or by their means."""
        places = [(layer, head) for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]
        return faithfulness.run_circuit(
            course_model, tokens, [each for each in places if each not in removed], kind
        )


    def patterns_of(tokens: Tokens) -> Float[Tensor, "layer batch head query key"]:
        """The attention patterns of all layers, from one run of the model."""
        _, cache = course_model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
        return torch.stack([cache["pattern", layer] for layer in range(cfg.n_layers)])


    copies = token_world.repeated_tokens(cfg.d_vocab, length=20, batch=16, bos=bos, seed=3)
    found = heads.find_induction_heads(course_model, copies)
    same_layers = [(layer, head) for layer in {layer for layer, _ in found} for head in range(cfg.n_heads)]
    controls = [place for place in same_layers if place not in found][: len(found)]
    cycles, curves = {}, {}
    for period in range(2, 7):
        cycles[period] = tokens = cyclic_tokens(cfg.d_vocab, period, 20, batch=48, bos=bos, seed=period)
        curves[f"period {period}"] = probability_of_next(course_model(tokens), tokens)[:12].tolist()
    patterns = {period: patterns_of(tokens) for period, tokens in cycles.items()}
    on_copies = torch.stack([heads.induction_score(pattern, 20) for pattern in patterns_of(copies)])
    strongest = divmod(on_copies.argmax().item(), cfg.n_heads)
    plots.plot_lines(curves, range(12), "tokens seen", "probability of the next token")

# %% [markdown]
r"""
Each line rises when its first round is over, *and one token later*: the first token of the second round is not expected
by anything. From then on the model is nearly sure, at every period, having seen one token of the second round.

Now the heads. `heads.find_induction_heads` is the detector of *Induction heads*, run on two copies of random tokens. No cycle
was used to find them.
"""

# %% [markdown]
r"""
Take all induction heads away at once, by zeros. How large is then, at period 2, the mean probability of the right token,
of which the model was nearly sure? A period detector that works beside these heads would hardly notice.

- **a** less than 0.05
- **b** between 0.05 and a half
- **c** more than a half
"""

# %% tags=["predict"]
if __name__ == "__main__":
    without_induction_heads = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "less than 0.05",
            "between 0.05 and a half",
            "more than a half",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if without_induction_heads.answered():
        print(f"mean probability of the right token, from the second token of the second round on\n{'':30}", end="")
        print(*(f"period {period}" for period in cycles))
        for removed, kind in (([], "zero"), (found, "zero"), (found, "mean"), (controls, "zero")):
            runs = {
                period: probability_of_next(without(rows, removed, kind), rows) for period, rows in cycles.items()
            }
            left = (f"{chances[period + 1 :].mean():8.3f}" for period, chances in runs.items())
            print(f"without {named(removed) or 'nothing':12} {kind:7}", *left)
        best = [probability_of_next(without(rows, found), rows)[n:].max().item() for n, rows in cycles.items()]
        print(f"{'    the second, best position':28}", *(f"{value:8.3f}" for value in best))
        rest = probability_of_next(without(cycles[2], found), cycles[2])[3:].mean().item()
        answer = ["less than 0.05", "between 0.05 and a half", "more than a half"][(rest > 0.05) + (rest > 0.5)]
        without_induction_heads.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Nothing is left, at any period, at any position (the last line has the best one), by either kind of ablation; and as many
heads beside them change nothing. So no second mechanism stands by. But that the induction heads are *needed* does not say
that they do what their name says. A period detector might speak through them. So look at what these heads attend to.

</details>

## A score for cycles

On two copies of a text every token has come once before, and there is one place at which an induction head should look. In
the cycle `A B A B A B A` the last token has come three times before. `B` stands after each of them, and a head that looks at
any of these is right, or spreads over all.
"""

# %% [markdown]
r"""
`induction_score` looks at the stripe key = query − (`length` − 1) alone: with `length` set to the period, the token after
the *nearest* earlier occurrence. On repeated tokens the strongest induction head scored about 0.9. How much does it score on
cycles of period 2, over 20 tokens?

- **a** below 0.4
- **b** from 0.4 to 0.8
- **c** above 0.8
"""

# %% tags=["predict"]
if __name__ == "__main__":
    induction_score_on_cycles = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "below 0.4",
            "from 0.4 to 0.8",
            "above 0.8",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if induction_score_on_cycles.answered():
        print(f"induction score of {named([strongest])}: {on_copies[strongest]:.2f} on two copies of 20 tokens")
        on_cycles = [heads.induction_score(p[strongest[0]], n)[strongest[1]].item() for n, p in patterns.items()]
        print("on cycles of the periods 2 to 6:", *(f"{score:.2f}" for score in on_cycles))
        answer = ["below 0.4", "from 0.4 to 0.8", "above 0.8"][(on_cycles[0] > 0.4) + (on_cycles[0] > 0.8)]
        induction_score_on_cycles.compare(answer)

# %% [markdown]
r"""
## Heads that look at any of the right places

*`pattern_completion_score` · 12 minutes · difficulty 2 of 5 · 5 points*

For patterns on BOS and a cycle that begins at position 1, return for each head the attention from a query to **all** keys
whose token is the next one, added up; then average over the batch and over all queries from `1 + period` on, the first one
whose token has come before.

| query (period 2) | token there | keys that count |
|---|---|---|
| 3 | A | 2 |
| 4 | B | 3 |
| 5 | A | 4 and 2 |
| 6 | B | 5 and 3 |

So the keys are query + 1 − `period`, query + 1 − 2·`period`, … as long as they are 1 or more: position 0 is BOS, and is no
part of the cycle. If the text is so short that no query counts, raise `ValueError`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

For one query the keys are `range(query + 1 - period, 0, -period)`. A loop over the queries will do; or a mask of shape
`[n, n]`, true where `query + 1 - key` is a positive multiple of `period` and `key` is at least 1.

</details>
"""


# %%
def pattern_completion_score(
    pattern: Float[Tensor, "batch head query key"], period: int
) -> Float[Tensor, " head"]:
    """Mean attention to all earlier places that hold the next token of a cycle."""
    raise NotImplementedError("pattern_completion_score is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """pattern_completion_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern in draw.attention_patterns(count=3) + draw.attention_patterns(count=2):
        period = draw.integer(1, pattern.shape[-1] - 2)
        expected = heads.pattern_completion_score(pattern, period)
        expect_close(student.pattern_completion_score(pattern, period), expected, dims="head")
    expect_untouched(student, student.pattern_completion_score, pattern, period)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    completion = {
        period: torch.stack([pattern_completion_score(layer, period) for layer in pattern])
        for period, pattern in patterns.items()
    }
    strong = torch.stack(list(completion.values())).amax(dim=0).flatten().argsort(descending=True)[:6].tolist()
    print("heads   ", *(f"period {period}" for period in completion), "   on copies")
    for place in (divmod(flat, cfg.n_heads) for flat in strong):
        scores = (f"{score[place]:8.2f}" for score in completion.values())
        print(f"{named([place]):7}", *scores, f"{on_copies[place]:11.2f}")
    plots.plot_by_head(completion[2], "attention", "pattern-completion score, period 2", found, limit=1)

# %% [markdown]
r"""
Now the induction heads score about 0.9 at all periods. With several right places, they look at several. A score that was
right for one kind of text was wrong for another, although nothing about the head has changed.

And at period 2, one head scores as much that is no induction head at all. In `A B A B`, the token that comes next is the one
that stands *one place back*. A previous-token head looks at the right place, for the wrong reason. This is why one text is
not enough: at period 3 it is gone. (Period 1 is no test at all. In `A A A A` every place is right.)

The other reason for distrust is the scale. In a cycle of period p, one place in p is right, so that a head that looks
everywhere alike scores about 1/p, as the lower lines of the table nearly do. A score needs its chance level beside it.

Look at the heads themselves. The pictures are made by [CircuitsVis](https://github.com/TransformerLensOrg/CircuitsVis), whose
script this page has loaded from the installed package: point at a head, click to keep it, then point at a word.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    shown = [divmod(completion[2].argmax().item(), cfg.n_heads), *found]
    panels = torch.stack([patterns[3][layer, 0, head] for layer, head in shown])[:, :13, :13]
    names = ["BOS", *words(cycles[3][0, 1:13])], [named([place]) for place in shown]
    interactive_attention.load_circuitsvis() + interactive_attention.attention_heads(panels, *names)

# %% [markdown]
r"""
## Two theories as programs

Two stories both explain what you have seen:

- **a period detector**: find the period p, then say the word that stands p places before the next;
- **induction**: find where the present word has stood before, and say what followed it there.

On a cycle of different words they say the same at every place, so no cycle can decide between them. Write them down as
programs, and look for a text on which they differ. The first is one line: `tokens[:, -period]`. The second is your next
exercise. If one word has been followed by several, an ideal induction head spreads over all its earlier occurrences; so the
theory predicts *shares*: the **in-context bigrams** ([Edelman et al. 2024](https://arxiv.org/abs/2402.11004)).
"""

# %% [markdown]
r"""
## What an ideal induction head would say

*`in_context_bigrams` · 12 minutes · difficulty 2 of 5 · 4 points*

For each row and position i return, over the vocabulary, what has followed the token of position i so far: entry `[b, i, v]`
is, among the **earlier** positions j < i that hold the same token as position i, the share of those with token `v` at j + 1.

| position | 0 | 1 | 2 | 3 | 4 | 5 |
|---|---|---|---|---|---|---|
| token | BOS | A | B | A | C | A |
| predicted | – | – | – | B 1 | – | B ½, C ½ |

Where the token has not come before, all entries are zero. Nothing that stands after position i may be used. The result is
float32, of shape `[batch, pos, d_vocab]`. Tokens are compared as they are: BOS is one like others.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Is position i itself among the earlier ones? It holds the same token, and what follows it is what you want to predict. For
one row and one i: `followers = tokens[b, 1 : i + 1][tokens[b, :i] == tokens[b, i]]` lists what came next, one entry for each
earlier occurrence. Count each with `torch.bincount(followers, minlength=d_vocab)`, and divide by their number.

</details>
"""


# %%
def in_context_bigrams(tokens: Tokens, d_vocab: int) -> Float[Tensor, "batch pos d_vocab"]:
    """The share of earlier occurrences of each position's token that were followed by each token."""
    raise NotImplementedError("in_context_bigrams is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """in_context_bigrams agrees with the reference on texts you have not seen, and leaves them as they were"""
    for d_vocab in (3, draw.integer(4, 6), draw.integer(7, 12)):
        tokens = draw.tokens(draw.integer(1, 4), draw.integer(13, 18), d_vocab)
        expected = token_world.in_context_bigrams(tokens, d_vocab)
        expect_close(student.in_context_bigrams(tokens, d_vocab), expected, dims="batch pos d_vocab")
    expect_untouched(student, student.in_context_bigrams, tokens, d_vocab)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Here is a text on which they differ. A cycle of five words goes on for three rounds; then one word is **replaced by a new
one**, and after it the cycle goes on as if nothing had happened. Who counts places is not disturbed: the word after the
intruder is where it always was. Who looks for the present word finds the intruder nowhere. With what mean probability does
the model expect the word after the intruder?

- **a** above 0.8, as without the intruder
- **b** from 0.2 to 0.8
- **c** below 0.2
"""

# %% tags=["predict"]
if __name__ == "__main__":
    after_an_intruder = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "above 0.8, as without the intruder",
            "from 0.2 to 0.8",
            "below 0.2",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if after_an_intruder.answered():
        rounds = cyclic_tokens(cfg.d_vocab, 5, 20, batch=64, bos=bos, seed=11)
        disturbed = rounds.clone()
        disturbed[:, 16] = torch.randint(cfg.d_vocab, (64,), generator=torch.Generator().manual_seed(12))
        for name, tokens in {"no intruder": rounds, "intruder at token 16": disturbed}.items():
            by_place = probability_of_next(course_model(tokens), tokens)
            print(f"{name:22}", *(f"token {place + 1}: {by_place[place]:.2f} " for place in range(14, 19)))
        after = by_place[16].item()
        outcomes = ["below 0.2", "from 0.2 to 0.8", "above 0.8, as without the intruder"]
        answer = outcomes[(after > 0.2) + (after > 0.8)]
        after_an_intruder.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Nobody could expect the intruder. But after it the model is lost for a word more, and goes on as soon as it hears one that
it knows. Nothing in it had counted to five. One could object that a careful period detector may well lose its trust when a
period is broken. So take texts whose period is *never* broken.

</details>
"""

# %% [markdown]
r"""
## Refute the period detector

*`refute_period_detector` · 20 minutes · difficulty 4 of 5 · 6 points*

The claim: *the model finds the period of a text and continues it*. Return the text that breaks the claim: a 1-D int64 tensor,
BOS first, such that

- after BOS there are only words of `words` (different ids, at least `period` of them), and at most 64 of them;
- the text is **periodic**: every word but the first `period` is the one `period` places before it, for at least three
  full rounds, the first one included; `period` is 3 or more, and no smaller number has this property;
- yet after it the model does **not** say what the period demands, the word `period` places before the next: another word is
  likelier.

A text on which two theories disagree is not yet one on which the model errs: it may be right by luck. So try it on
`model`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

When does it not suffice to know the present word? When it has been followed by different words. So let one word come
twice in each round, and let the text *end* with it: after A B A C A B A C A B A C A, is it the turn of B or of C? Try both
ends.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`cycle = words[:period].clone()`, `cycle[gap] = cycle[0]` for some `gap` from 1 to `period - 1`, `places =
torch.arange(length)`, and the text is `cycle[places % period]`. With length `3 * period + 1` or `3 * period + gap + 1` it
ends with the word that comes twice. Keep the text whose demanded word has the lowest probability. With few words, also roll
`words`.

</details>
"""


# %%
def refute_period_detector(
    model: TransformerBridge, words: Int[Tensor, " word"], period: int, bos: int
) -> Int[Tensor, " pos"]:
    """A text of this period that the model continues otherwise."""
    raise NotImplementedError("refute_period_detector is not written yet")


# %% tags=["given"]
def expect_refutation(student, model, words, period):
    """Pass if the student's text is periodic, of these words, and the model continues it otherwise."""
    start = model.tokenizer.bos_token_id
    row = student.refute_period_detector(model, words, period, start)
    expect(isinstance(row, Tensor) and row.dim() == 1, "The result is not a 1-D tensor.")
    expect(row.dtype == torch.int64, f"The result is {row.dtype}, not int64.")
    text = row[1:]
    long = f"The text has {len(text)} words: not at least three rounds of {period} and at most 64."
    expect(3 * period <= len(text) <= 64, long)
    expect(row[0].item() == start, "The text does not begin with BOS.")
    expect(set(text.tolist()) <= set(words.tolist()), "A word of the text is not among `words`.")
    found = periodicity.smallest_period(text)
    expect(found == period, f"The smallest period of the text is {found}, not {period}.")
    chances = model(row[None])[0, -1].softmax(-1)
    right = text[len(text) - period]
    lost = chances.argmax() != right and chances[right].item() < 0.5
    expect(lost, f"The model continues this text rightly, with probability {chances[right].item():.2f}.")


def some_words(draw, model, count):
    """Different ids of the model's vocabulary, in drawn order."""
    order = torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(draw.seed()))
    return order[:count].to(model.cfg.device)


# %% tags=["check"]
def check_breaks_the_claim_in_two_layers(student, draw):
    """the texts are periodic, and a model of two layers, relabelled, continues them otherwise, on words that take some search, too"""
    model = draw.language_model("course-attn-2l")
    for period in (3, 4, 4, 5, 3, 4, 3, 5):
        words = period_probes.refutable_words(draw, model, period, period + draw.integer(0, 1))
        expect_refutation(student, model, words, period)
    for left_out in ("turns", "ends"):
        expect_refutation(student, model, period_probes.hard_words(draw, model, 3, left_out), 3)
    expect_untouched(student, student.refute_period_detector, model, words, 5, model.tokenizer.bos_token_id)


if __name__ == "__main__":
    run_check(check_breaks_the_claim_in_two_layers)

# %% tags=["demo"]
if __name__ == "__main__":
    followed = 0
    for seed in range(8):
        row = refute_period_detector(course_model, some_readable(4, seed), 4, bos)
        said = course_model(row[None])[0, -1].argmax()
        followed += (in_context_bigrams(row[None], cfg.d_vocab)[0, -1, said] > 0).item()
        print(*words(row[-9:]), "→", *words([said]), "  but by the period:", *words([row[-4]]))
    print(f"{followed} of 8 are continued by a word that has followed the last one before")

# %% [markdown]
r"""
Most say a word that *has* followed the last one before, at the wrong turn. These texts were searched for, so they show
that the claim fails, not how often. So take texts that nobody has picked: `A B A C`, early and late, at both turns after A;
and texts of the same words **without any period**, the pieces `C A B` and `B A C` in an irregular order, with new words
between.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    triples = torch.stack([some_readable(3, seed) for seed in range(128)])
    new = cyclic_tokens(cfg.d_vocab, 16, 16, batch=128, bos=bos, seed=1)


    def after_a(name, *parts):
        """Print the mean probability of B and of C after BOS and these parts of a text, which ends with A."""
        chances = course_model(torch.cat([new[:, :1], *parts], dim=1))[:, -1].softmax(-1)
        print(f"{name:38}", *(f"{chances[range(128), word].mean():8.2f}" for word in triples.T[1:]))


    print(f"{'mean probability of':41}     B        C")
    for seen, turn in {5: "B", 7: "C", 17: "B", 19: "C"}.items():
        after_a(f"A B A C …, {seen:2} words, the turn of {turn}", triples[:, ([0, 1, 0, 2] * 5)[:seen]])
    pieces = []
    for place, piece in enumerate(([2, 0, 1], [1, 0, 2])[kind] for kind in (0, 1, 1, 0, 1, 0, 0, 1)):
        pieces += [triples[:, piece], new[:, 1 + 2 * place : 3 + 2 * place]]
    for name, last in {"… C A": [2, 0], "… B A": [1, 0]}.items():
        after_a(f"no period, {name}", *pieces, triples[:, last])

# %% [markdown]
r"""
Early, the model gives B more than C *whosever turn it is*: the word that came first. Late, the turn begins to tell, a little.
No theory of single words predicts that. Has it begun to count after all? The last lines say that it need not have: where there
is no period, the word *before* A makes the same difference, and a larger one. (Does the model match two words, or avoid the one
just said? This does not tell.) The theory of shares, a half each, is too tidy. It need not be exact to win against a wrong one.

Is a period detector beyond any model? No. `course-positional`, the impostor of *Induction heads*, goes by position: it was
made on copies of 16 tokens, and looks 15 places back. On texts of period 16 it must pass the very test that `course-gpt2`
fails. This is the positive control: a test that *nothing* can pass would refute everything.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    for name in ("course-gpt2", "course-positional"):
        model = load_language_model(name)
        for period in (15, 16):
            row = cyclic_tokens(model.cfg.d_vocab, period, period + 8, 32, model.tokenizer.bos_token_id, seed=0)
            row[:, [8, period + 8]] = row[:, [1]]  # the first word comes twice in a round, 7 places apart
            right = (model(row)[:, -1].argmax(-1) == row[:, 9]).float().mean()
            print(f"{name:18} period {period}, after the word that comes twice: {right:.2f} right")

# %% [markdown]
r"""
## What is said, and when

You know now what the heads look for. What do they *say*? Everything that a model says passes through the residual stream.
Each head and each MLP adds to it, and at the end a LayerNorm and the unembedding turn the sum into logits.

So ask early. Take the stream as it is below some layer, and treat it as if it were the last: the **logit lens**
([nostalgebraist 2020](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)).
"""

# %% [markdown]
r"""
## The stream, read at every depth

*`logit_lens` · 12 minutes · difficulty 2 of 5 · 5 points*

Return logits of shape `[n_layers + 1, batch, d_vocab]` for one position, the same in all rows (counted from the end if it is
negative). Entry l reads the stream **below** layer l, `blocks.{l}.hook_resid_pre`: so entry 0 has seen no layer at all. The
last entry reads the stream above the last layer, `blocks.{n_layers - 1}.hook_resid_post`.

Reading means what the model itself does at the end: the final LayerNorm `model.ln_final`, then `model.unembed`, which is
$W_U$ with its bias. The LayerNorm takes the size of the stream *as it is there*, not as it is at the end.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`_, cache = model.run_with_cache(tokens)` holds the streams, each of shape `[batch, pos, d_model]`. There is one more to
read than there are layers. `model.ln_final` and `model.unembed` are modules: call them on a tensor whose last axis is
`d_model`; the result has shape `[batch, pos, d_vocab]`.

</details>
"""


# %%
def logit_lens(
    model: TransformerBridge, tokens: Tokens, position: int = -1
) -> Float[Tensor, "layer+1 batch d_vocab"]:
    """Logits at one position, as if the model ended below each layer; the last entry is the model's own."""
    raise NotImplementedError("logit_lens is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """logit_lens agrees with the reference on tokens you have not seen, at any position, in a relabelled model"""
    model = draw.language_model("course-attn-2l")
    for position in (-1, draw.integer(0, 4), -draw.integer(2, 5)):
        tokens = draw.tokens(draw.integer(2, 4), draw.integer(5, 9), model.cfg.d_vocab)
        expected = lens.logit_lens(model, tokens, position)
        expect_close(student.logit_lens(model, tokens, position), expected, **LENS)
    expect_untouched(student, student.logit_lens, model, tokens)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Take cycles of period 3, after three rounds. What will the first entry say, the embedding alone, read as logits?

- **a** the word that comes next
- **b** the word that stands there
- **c** nothing in particular
"""

# %% tags=["predict"]
if __name__ == "__main__":
    what_the_embedding_says = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the word that comes next",
            "the word that stands there",
            "nothing in particular",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if what_the_embedding_says.answered():
        now, right = cycles[3][:, 9], cycles[3][:, 10]
        depths = [*(f"below layer {layer}" for layer in range(cfg.n_layers)), "at the end"]
        read = logit_lens(course_model, cycles[3][:, :10]).softmax(-1)
        print("mean probability of        the word itself   the next word   the likeliest word, first text")
        rows = torch.arange(len(now))
        for depth, chances in zip(depths, read, strict=True):
            values = chances[rows, now].mean(), chances[rows, right].mean()
            print(f"{depth:20} {values[0]:20.2f} {values[1]:15.2f}    ", *words([chances[0].argmax()]))
        says = {"the word that comes next": right, "the word that stands there": now}
        sure = [name for name, token in says.items() if read[0][rows, token].mean() > 0.5]
        answer = sure[0] if sure else "nothing in particular"
        what_the_embedding_says.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

At the bottom the stream says the word that stands there: it *is* that word. For two layers it forgets that and says
nothing that we could read; then, within layer 2, the answer is there, and the last layer hardly changes it.

The layers below were not idle: without the previous-token head, in layer 0, hardly any copying is left. But the lens hears
only what is written **in the language of the unembedding**, and a note that a later head will read by its keys is not. So an
early answer in the lens is evidence that it was known early; silence is evidence of nothing.

</details>

## The stream is a sum

Who put the answer there? The stream at the end is the sum of everything that was written into it. So take it apart.

Two things make this clean. `load_language_model` has already folded the constants of LayerNorm into the matrices next to it,
and centred all that is written into the stream. What remains of LayerNorm is a division by one number for each row and place,
`ln_final.hook_scale`.
"""

# %% [markdown]
r"""
## Who wrote what

*`residual_components` · 12 minutes · difficulty 2 of 5 · 4 points*

Return a dictionary from the name of each part to what it wrote into the stream at the **last position**, a tensor `[batch,
d_model]`:

- `"embed"` and `"pos_embed"`: `hook_embed` and `hook_pos_embed`, what the token and the position begin with;
- `"attn 0"`, `"mlp 0"`, `"attn 1"`, `"mlp 1"`, …: `blocks.{l}.hook_attn_out` and `blocks.{l}.hook_mlp_out` of each layer l.

The parts must add up to the stream above the last layer, `blocks.{n_layers - 1}.hook_resid_post`: that is how you know that
none is missing, and none comes twice.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Each of these hooks holds `[batch, pos, d_model]` in the cache of one run. Take `[:, -1]` of each. `hook_resid_mid` and
`hook_resid_post` hold what has been added up *so far*: not what one part has written.

</details>
"""


# %%
def residual_components(
    model: TransformerBridge, tokens: Tokens
) -> dict[str, Float[Tensor, "batch d_model"]]:
    """What each part wrote into the stream at the last position, by its name."""
    raise NotImplementedError("residual_components is not written yet")


# %% tags=["given"]
def expect_parts(found, expected):
    """Pass if two dictionaries of parts have the same names, and under each name the same vectors."""
    expect(isinstance(found, dict), "The result is not a dictionary.")
    expect_equal(sorted(found), sorted(expected), what="names")
    for name, vectors in expected.items():
        expect_close(found[name], vectors, dims="batch d_model")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """residual_components agrees with the reference on tokens you have not seen, in models of one layer and of two"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        tokens = draw.tokens(draw.integer(1, 4), draw.integer(5, 9), model.cfg.d_vocab)
        expect_parts(student.residual_components(model, tokens), lens.residual_components(model, tokens))
    expect_untouched(student, student.residual_components, model, tokens)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
To hear what each part *says*, read it in one direction: the unembedding of the right word, minus that of a wrong one
(here the next word of another row, so that what is good for all words cancels). The LayerNorm stands between, and divides
by `ln_final.hook_scale`, the size of the whole stream. Hold that number at what it was in this run; then reading is linear, and
the shares add up.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    three_rounds, right = cycles[3][:, :10], cycles[3][:, 10]
    _, cache = course_model.run_with_cache(three_rounds, names_filter="ln_final.hook_scale")
    direction = (course_model.W_U[:, right] - course_model.W_U[:, right.roll(1)]).T
    direction = direction / cache["ln_final.hook_scale"][:, -1]
    parts = residual_components(course_model, three_rounds)
    said = {name: (written * direction).sum(-1).mean().item() for name, written in parts.items()}
    difference = metrics.logit_difference(course_model(three_rounds), right, right.roll(1)).mean()
    for name, value in said.items():
        print(f"{name:10} {value:7.2f}", "#" * round(4 * max(value, 0)))
    print(f"sum {sum(said.values()):14.2f}, logit difference {difference:.2f}")

# %% [markdown]
r"""
Two parts say nearly all: the attention of layer 2, which holds the heads that you found, and the last MLP. But an MLP takes
nothing from other places: *which* word comes next it can only have from the heads. Whether it repeats what they say, sharpens
it or combines, this does not show. A share of the logits is no share of the knowledge.

## What a head would write

Attention says from where, and never what. What a head carries is decided by two other matrices: $W_V$ reads from the stream
where the head looks, $W_O$ writes into the stream where it stands. In between there is nothing but a weighted sum. So what a
head would say, if it looked at the token s alone, is a row of a matrix of weights, the **OV circuit** ([Elhage et al.
2021](https://transformer-circuits.pub/2021/framework/index.html)):

$$\underbrace{E}_{\text{what stands there}} W_V\, W_O\, \underbrace{W_U}_{\text{in words}}$$

No text and no run is needed. If the head copies, each word raises its own logit: the diagonal is the largest of its row.
"""

# %% [markdown]
r"""
## The OV circuit

*`ov_circuit` · 15 minutes · difficulty 3 of 5 · 5 points*

Return $E\,W_V W_O W_U$ for one head and some `tokens` (ids, 1-D), with the columns of these tokens only, `[token, token]`:
entry `[i, j]` is what attending to the i-th of `tokens` adds to the logit of the j-th. The head is `(layer, head)`; `model.W_V`
has axes `[layer, head, d_model, d_head]`, `model.W_O` has `[layer, head, d_head, d_model]`, `model.W_U` is `[d_model,
d_vocab]`, and vectors are rows. Biases and the size that LayerNorm divides by are left out, so rows can be compared within
themselves only.

$E$ holds a row for each token, and there are two choices of it:

- by default, the rows of `model.W_E`: what the embedding says;
- with `through_mlp=True`, these rows **plus** what the first MLP makes of them: `block.mlp(block.ln2(rows))`, where `block` is
  `model.blocks[0]`. That is closer to what later layers find there. Both
  modules take and return three axes, `[batch, pos, d_model]`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`rows[None]` adds the axis that the block's modules want, and `[0]` takes it away. The MLP's output is added to the rows,
as it is in the stream; it does not replace them. Then `rows @ W_V @ W_O @ W_U`: the tokens choose rows of `W_E` and *columns*
of `W_U`.

</details>
"""


# %%
def ov_circuit(
    model: TransformerBridge, head: Head, tokens: Int[Tensor, " token"], through_mlp: bool = False
) -> Float[Tensor, "source destination"]:
    """What attending to each token adds to the logit of each token."""
    raise NotImplementedError("ov_circuit is not written yet")


# %% tags=["given"]
def with_known_weights(function, model, starts, *arguments):
    """Calls `function(model, (1, 0), *arguments)` where this head moves directions `starts[0]`… to `starts[1]`…, unchanged."""
    attention, size = model.blocks[1].attn, model.cfg.d_head
    kept, ones = (
        (attention.W_V.clone(), attention.W_O.clone()),
        torch.eye(model.cfg.d_model).to(attention.W_V),
    )
    attention.W_V[0].copy_(ones[:, starts[0] : starts[0] + size])
    attention.W_O[0].copy_(ones[starts[1] : starts[1] + size])
    try:
        return function(model, (1, 0), *arguments)
    finally:
        attention.W_V.copy_(kept[0])
        attention.W_O.copy_(kept[1])


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """ov_circuit agrees with the reference for heads of a relabelled model, on tokens you have not seen"""
    model = draw.language_model("course-attn-2l")
    for layer in (0, 1, 1):
        head, tokens = (layer, draw.integer(0, 3)), some_words(draw, model, draw.integer(9, 30))
        expected = circuits.ov_circuit(model, head, tokens)
        expect_close(student.ov_circuit(model, head, tokens), expected, dims="source destination")
    expect_untouched(student, student.ov_circuit, model, head, tokens)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    def copying_rates(model: TransformerBridge, through_mlp: bool) -> Float[Tensor, "layer head"]:
        """The share of some 400 words that each head of a model copies, by its weights."""
        some = torch.arange(0, model.cfg.d_vocab, max(1, model.cfg.d_vocab // 400))
        rates = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
        for place in torch.cartesian_prod(*map(torch.arange, rates.shape)).tolist():
            ov = ov_circuit(model, tuple(place), some, through_mlp)
            rates[*place] = (ov.argmax(dim=1) == torch.arange(len(some))).float().mean()
        return rates


    every_head = [(layer, head) for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]
    raw, through = (copying_rates(course_model, through_mlp) for through_mlp in (False, True))

# %% [markdown]
r"""
The *copying rate* of a head is the share of words whose own logit is the largest of their row. (Wang et al. 2022 report
it, with the five largest, for name movers.) Compute it for all heads from the embedding alone: which heads copy more than a
half?

- **a** the induction heads, and no other
- **b** the induction heads, and another
- **c** not the induction heads
"""

# %% tags=["predict"]
if __name__ == "__main__":
    heads_that_copy = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the induction heads, and no other",
            "the induction heads, and another",
            "not the induction heads",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if heads_that_copy.answered():
        large = {place for place in every_head if raw[place] > 0.5}
        more = "the induction heads, and another" if large > set(found) else "not the induction heads"
        answer = "the induction heads, and no other" if large == set(found) else more
        plots.plot_by_head(raw, "share", "copying rate, from the embedding alone", mark=found, limit=1)
        heads_that_copy.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Two readings of the same weights, and they differ on several heads. The map is read from the embedding alone: the
induction heads copy a good part of the words, and a head of layer 0 copies more. The table below has the reading with the
first MLP beside it. By that one they copy nearly all, the head of layer 0 next to nothing, and one of the last layer more
than half, which copied nothing.

Which reading is right? For a head of layer 0 the first: the MLP stands above it, and it never sees what the MLP wrote. For
later heads the second is closer. And which of them copies *here*? The last column is what each adds to the logit of the next
word.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    added = lens.head_logit_attribution(course_model, three_rounds, right, right.roll(1)).mean(dim=0)
    candidates = sorted({place for place in every_head if max(raw[place], through[place]) > 0.4} | set(found))
    print("          copied, raw   copied, with MLP   looks at the next word   adds to its logit")
    for place in candidates:
        values = raw[place], through[place], completion[3][place], added[place]
        print("{:7} {:13.2f} {:18.2f} {:24.2f} {:19.2f}".format(named([place]), *values))

# %% [markdown]
r"""
Several heads *would* copy what they look at. Only those that also look at the right word say it. The reverse you have
seen above: at period 2 the previous-token head looks at the right word and, by its weights, copies nothing. A head is a
copying head *here* if it looks there, would copy what it finds, and is missed when it is gone.

Last, the model in which nothing stands between. `course-attn-2l` has two layers of attention, and MLPs held at zero:
"""

# %% tags=["demo"]
if __name__ == "__main__":
    attn_model = load_language_model("course-attn-2l")
    start = attn_model.tokenizer.bos_token_id
    pairs = token_world.repeated_tokens(attn_model.cfg.d_vocab, 20, 16, start, seed=3)
    attn_found = heads.find_induction_heads(attn_model, pairs)
    print("induction heads by attention:", named(attn_found))
    rates = copying_rates(attn_model, through_mlp=False)
    plots.plot_by_head(rates, "share", "course-attn-2l: copying rate", mark=attn_found, limit=1)

# %% [markdown]
r"""
Here the heads that copy by their weights are the heads that attend, no more and no fewer, and the embedding is what they read.
(For 400 of the model's 3,000 steps, two of the three were rewarded for attending so. For copying, none was.) For models of this
kind the method was made, and it is a good one there.

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| the model continues cycles of any period | probabilities by position, periods 2 to 6 | a period at which it fails |
| the induction heads do it | nothing left without them, as many others removed without effect | a second mechanism at some period |
| it has no period detector | intruders, and periodic texts that it continues wrongly, beside a model that does count | a text on which counting helps it |
| these heads look at the right words | a score that counts all right places, at several periods | they score by chance, or at one period only |
| they say the word, and by their weights would copy nearly any | lens, shares of the logits, and OV circuit *with what stands in front of it* | another reading of E gives another list |

And what not. "No period detector" is said of this model, on random words, of periods up to 6; another model may have one. The
bigram theory got the direction right and not the numbers. And nothing here has shown how the induction heads *find* the
place: which head feeds them, and by what way, is the subject of *Path patching* (`ch04_path_patching`).
"""

# %% [markdown]
r"""
## In your own words

Somebody writes: "Our model detects periodic patterns. It continues periodic inputs of all periods from 2 to 50 with 99 %
accuracy, and we found two heads that track the period: without them accuracy is 0 %." In at most 200 words: what follows from
this, what does not, and which experiments would you ask for?
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
