# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch03_induction_heads", "version": "2a138ef98faf", "source": "solutions/ch03_induction_heads/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch03_induction_heads`, version `2a138ef98faf`, written from `solutions/ch03_induction_heads/chapter.py` by `python -m mechinterp_course.authoring ch03_induction_heads`.*
"""

# %% [markdown]
r"""
# Induction heads

Read a language model a line of gibberish and it is lost: every next word takes it by surprise. Read it the same
line again and it recites.

No weight changed in between. Whatever the model learned about that line, it learned while reading, and it keeps it
in the one place it has: the activations of the text so far. Somewhere in there is a mechanism, made of a few
attention heads, that finds the last time this happened and copies what came next.

In this chapter you look for it, by two questions, the second of which needs more than the first:

1. **What does the model do?** Losses, measured on text in which nothing but copying can help.
2. **Where do its heads look?** Attention patterns, which are suggestive and cheap.

Then you take your functions to a second model, which also copies, and of which almost none of this is true. What *breaks*
without these heads is the question of the next chapter, *What a head does* (`ch19_what_a_head_does`).

You need PyTorch, and an idea of what attention does. The chapter takes about an hour and a quarter. Every exercise is one
function, and the cells below it say in a sentence what holds and what does not.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import heads, metrics
from mechinterp_course.checking import expect, expect_close, expect_equal
from mechinterp_course.worlds import tokens as token_world


def repeats(draw, model, longest=16, batch=4):
    """Repeated tokens over a model's vocabulary, of a length drawn from 8 to `longest`."""
    length, start = draw.integer(8, longest), model.tokenizer.bos_token_id
    return token_world.repeated_tokens(model.cfg.d_vocab, length, batch, start, draw.seed()).to(draw.device)


def is_matrix(value):
    """Whether a value is a tensor with two axes."""
    return isinstance(value, Tensor) and value.dim() == 2


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


# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import plots
    from mechinterp_course.models import load_language_model

    course_model = load_language_model("course-gpt2")
    bos = course_model.tokenizer.bos_token_id
    cfg = course_model.cfg
    print(f"{cfg.n_layers} layers, {cfg.n_heads} heads in each, d_model {cfg.d_model}, {cfg.d_vocab} tokens")

# %% [markdown]
r"""
`course-gpt2` has the architecture of GPT-2 and is small enough for a laptop. Everything below also runs on the real
one: put `load_language_model("gpt2")` in the cell above. The numbers change, and not all that is said of them will hold.

Start with the recital. Twelve tokens are drawn at random from the vocabulary (the seed was picked for words that are
pleasant to read), so no text had a reason to contain them in this order. The model reads them once, gets the first
three again as a cue, and goes on by itself.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    line = torch.randint(cfg.d_vocab, (12,), generator=torch.Generator().manual_seed(26227))
    text = torch.cat([torch.tensor([bos]), line, line[:3]])
    for _ in range(9):
        likeliest = course_model(text[None])[0, -1].argmax()
        text = torch.cat([text, likeliest[None]])
    recited = text[1 + len(line) :]
    for name, ids in {"read": line, "cue": line[:3], "recited": recited[3:]}.items():
        print(f"{name:8}", " ·".join(course_model.tokenizer.decode([token]) for token in ids))
    print(
        f"{(recited[3:] == line[3:]).sum()} of 9 tokens are right; a blind guess is right once in {cfg.d_vocab}"
    )

# %% [markdown]
r"""
## What copying looks like from outside

Getting better at a text by reading it is called *in-context learning*. Two very different things go by that name.
One is what you just saw: a passage recurs, and the model continues it. The other is few-shot learning: a prompt
shows some solved examples of a task, and the model solves the next one.

This chapter is about the first. It is tempting to let it stand for both, and for a while the field did. A comparison
over twelve language models found that few-shot accuracy rests mainly on another kind of head, *function-vector
heads*, which carry a summary of the task, and the more so the larger the model ([Yin & Steinhardt
2025](https://arxiv.org/abs/2502.14010)). Many of those began their training as induction heads. So: **induction is
one mechanism of in-context learning, and not all of it.**

To study it alone, we want text in which nothing else can help. Ordinary sentences won't do: in "the cat sat on the
…", grammar and habit predict as well as memory does. Random tokens will.
"""

# %% [markdown]
r"""
## A text in which only copying helps

*`repeated_tokens` · 8 minutes · difficulty 1 of 5 · 5 points*

Each row of the batch is BOS, then `length` random tokens, then the same tokens in the same order once more:

| position | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
|---|---|---|---|---|---|---|---|
| token | BOS | fern | ten | loud | fern | ten | loud |

So there are `1 + 2 * length` positions (here `length` is 3).

- The tokens are drawn uniformly and independently from all ids `0 … d_vocab - 1`, separately for each row.
- They come from a `torch.Generator` seeded with `seed`: the same seed gives the same rows, and torch's global random
  state is left alone. A measurement that nobody can repeat is an anecdote.
- The result is int64 and lies on the CPU.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

The second copy is not drawn. Draw once, use it twice.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`torch.Generator().manual_seed(seed)` returns a generator, and `torch.randint(high, size, generator=…)` draws ids below
`high`: the upper end is excluded.

</details>
"""


# %%
def repeated_tokens(d_vocab: int, length: int, batch: int, bos: int, seed: int) -> Int[Tensor, "batch pos"]:
    """Rows of BOS, `length` random tokens, and the same tokens again."""
    raise NotImplementedError("repeated_tokens is not written yet")


# %% tags=["check"]
def check_is_bos_and_two_equal_copies(student, draw):
    """each row is BOS and two equal copies, in int64, for several lengths and batches"""
    for _ in range(4):
        d_vocab, length, batch = draw.integer(30, 900), draw.integer(2, 24), draw.integer(2, 7)
        start = draw.integer(0, d_vocab - 1)
        rows = student.repeated_tokens(d_vocab, length, batch, start, draw.seed())
        expect(is_matrix(rows), "The result is not a tensor of shape [batch, pos].")
        expect_equal(tuple(rows.shape), (batch, 1 + 2 * length), what="sizes")
        copy = rows[:, 1 : length + 1]
        expected = torch.cat([torch.full((batch, 1), start), copy, copy], dim=1).to(torch.int64)
        expect_close(rows, expected, dims="batch pos")


if __name__ == "__main__":
    run_check(check_is_bos_and_two_equal_copies)


# %% tags=["given"]
def drawn_after(function, seed, *arguments):
    """Four numbers from torch's global generator, which is seeded before a call of `function`."""
    torch.manual_seed(seed)
    function(*arguments)
    return torch.rand(4)


# %% tags=["check"]
def check_depends_on_the_seed_alone(student, draw):
    """the same seed gives the same tokens, another seed others, and torch's global random state is left alone"""
    seed, length = draw.integer(0, 10_000), draw.integer(15, 25)
    again, *rows = (student.repeated_tokens(500, length, 3, 0, seed + step) for step in (0, 0, 1, 2))
    expect(all(map(is_matrix, (again, *rows))), "The result is not a tensor of shape [batch, pos].")
    expect(torch.equal(again, rows[0]), "The same seed gave other tokens the second time.")
    alike = [torch.equal(rows[one], rows[other]) for one, other in ((0, 1), (0, 2), (1, 2))]
    expect(not any(alike), "Another seed gave the same tokens.")
    numbers = student.run(drawn_after, student.repeated_tokens, seed + 3, 500, length, 3, 0, seed)
    untouched = torch.rand(4, generator=torch.Generator().manual_seed(seed + 3))
    still = isinstance(numbers, Tensor) and torch.equal(numbers, untouched)
    expect(still, "The call has moved torch's global random state.")


if __name__ == "__main__":
    run_check(check_depends_on_the_seed_alone)

# %% [markdown]
r"""
## How surprised is it by each token?

*`loss_per_token` · 10 minutes · difficulty 2 of 5 · 5 points*

At every position the model gives a score, the *logit*, to each token that might come next. Softmax makes them
probabilities, and the loss of a prediction is the negative logarithm of what the token that really came was given:

$$\ell_i = -\log p(t_{i+1} \mid t_0, \dots, t_i), \qquad p = \mathrm{softmax}(\text{logits}_i).$$

The logarithm is natural, so the unit is the *nat*. A loss of 0 is certainty, $\log 2 \approx 0.69$ an even bet
between two tokens, and $\log d_\text{vocab}$ a shrug over the whole vocabulary.

Return $\ell$ as `[batch, pos - 1]`, in the dtype of the logits: entry $i$ is the loss on token $i + 1$, predicted
from the tokens up to $i$. (Nothing predicts the first token, and nothing follows the last.) Losses must stay finite
where a probability is too small for a float.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`logits[:, i]` is an opinion about `tokens[:, i + 1]`. One of the two has to lose its first entry and the other its
last before they line up.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`logits.log_softmax(dim=-1)` stays finite where `softmax(…).log()` gives $-\infty$. To pick one entry per position:
`log_probs.gather(-1, tokens[:, 1:, None])` has shape `[batch, pos - 1, 1]`.

</details>
"""


# %%
def loss_per_token(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """Entry i is the negative log probability, in nats, of token i+1 given the tokens up to i."""
    raise NotImplementedError("loss_per_token is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """loss_per_token agrees with the reference on logits and tokens you have not seen, and leaves both as they were"""
    for dtype in (torch.float32, torch.float64, torch.float32):
        batch, pos, d_vocab = draw.integer(1, 4), draw.integer(3, 12), draw.integer(5, 40)
        logits, tokens = 3 * draw.normal(batch, pos, d_vocab).to(dtype), draw.tokens(batch, pos, d_vocab)
        loss = student.loss_per_token(logits, tokens)
        expect_close(loss, metrics.loss_per_token(logits, tokens), dims="batch pos")
    expect_unchanged(student, student.loss_per_token, logits, tokens)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
You are about to plot the loss at every position of repeated tokens. Begin with the first copy, where nothing can be
copied yet. A uniform guess over the vocabulary would cost $\log d_\text{vocab}$ nats a token. The model was trained on
simple English, in which a few words are very common, and on rows of random tokens that repeat. Where does its mean loss
on the first copy lie?

- **a** well below a uniform guess
- **b** within 5 % of a uniform guess
- **c** above a uniform guess
"""

# %% tags=["predict"]
if __name__ == "__main__":
    first_copy = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "well below a uniform guess",
            "within 5 % of a uniform guess",
            "above a uniform guess",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if first_copy.answered():
        tokens = repeated_tokens(cfg.d_vocab, length=25, batch=32, bos=bos, seed=0)
        loss = loss_per_token(course_model(tokens), tokens)
        first, guess = loss[:, 1:25].mean().item(), torch.tensor(float(cfg.d_vocab)).log().item()
        print(f"first copy {first:.2f} nats, uniform guess {guess:.2f}, second copy {loss[:, 26:].mean():.2f}")
        choices = ["well below a uniform guess", "within 5 % of a uniform guess", "above a uniform guess"]
        answer = choices[(first > 0.95 * guess) + (first > 1.05 * guess)]
        plots.plot_loss_by_position(loss, length=25)
        first_copy.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

That cliff is the phenomenon. Look at where it stands: not at the first token of the second copy, which nothing
announces, but at the one after it, as soon as there is something to match.

Look at the level before the cliff, too. On the first copy there is nothing to be known, and the best that anyone can do
is a uniform guess. A model that knows only English would do worse than that, by betting on common words; this one has
seen such rows. A loss means little without such a *baseline* beside it, so the number to quote is a difference.

</details>
"""

# %% [markdown]
r"""
## The gap as one number

*`copying_gain` · 8 minutes · difficulty 1 of 5 · 4 points*

Given losses on repeated tokens, return how many nats per token the second copy saves, as a Python float:

the mean loss on tokens $2 \dots$ `length` of the *first* copy, minus the mean loss on tokens $2 \dots$ `length` of
the *second*.

The first token of each copy is left out on both sides, since nothing announces that a copy begins. Mind the shift:
`loss[:, i]` belongs to the token at position $i + 1$, so the first token of the first copy is `loss[:, 0]`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Split the `2 * length` losses into two halves of equal length. Drop the first column of each half.

</details>
"""


# %%
def copying_gain(loss: Float[Tensor, "batch pos-1"], length: int) -> float:
    """Mean loss on tokens 2..length of the first copy minus the same of the second, in nats."""
    raise NotImplementedError("copying_gain is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """copying_gain agrees with the reference on losses you have not seen, and leaves them as they were"""
    for _ in range(3):
        length, batch = draw.integer(2, 15), draw.integer(1, 6)
        loss = draw.normal(batch, 2 * length).abs() + 1
        gain = student.copying_gain(loss, length)
        expect_close(gain, metrics.copying_gain(loss, length))
        expect(
            not isinstance(gain, Tensor), "The gain is a tensor, not a Python float (`item` makes it one)."
        )
    expect_unchanged(student, student.copying_gain, loss, length)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
A gain needs a control. If the second half were *new* random tokens, any gain would be an artefact of position. And
if it held the *same tokens in shuffled order*, what remained would be due to knowing which tokens are in play,
without knowing what follows what. How much of the gain survives shuffling?

- **a** most of it
- **b** some of it
- **c** about none of it
- **d** less than none: new tokens would be predicted better
"""

# %% tags=["predict"]
if __name__ == "__main__":
    shuffled_copy = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "most of it",
            "some of it",
            "about none of it",
            "less than none: new tokens would be predicted better",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if shuffled_copy.answered():
        generator = torch.Generator().manual_seed(9)
        copies = repeated_tokens(cfg.d_vocab, length=25, batch=64, bos=bos, seed=1)
        shuffle = torch.rand(64, 25, generator=generator).argsort(dim=1)
        shuffled = torch.cat([copies[:, :26], copies[:, 26:].gather(1, shuffle)], dim=1)
        fresh = torch.cat([copies[:, :26], repeated_tokens(cfg.d_vocab, 25, 64, bos, seed=2)[:, 1:26]], dim=1)
        three = {"same order": copies, "same tokens, shuffled": shuffled, "new tokens": fresh}
        losses = {name: loss_per_token(course_model(rows), rows) for name, rows in three.items()}
        gains = {name: copying_gain(loss, 25) for name, loss in losses.items()}
        for name, gain in gains.items():
            print(f"{name:22} gain {gain:6.2f} nats per token")
        kept = gains["same tokens, shuffled"] / gains["same order"]
        outcomes = [
            "less than none: new tokens would be predicted better",
            "about none of it",
            "some of it",
            "most of it",
        ]
        answer = outcomes[(kept > -0.1) + (kept > 0.1) + (kept > 0.5)]
        plots.plot_loss_by_position(losses, length=25)
        shuffled_copy.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The three curves say what the ability is. With new tokens nothing happens in the second half, so position alone is no
help. Shuffled, the gain does not shrink, it turns into a loss: the model is *worse* off than with tokens it has never
seen. It sees *fern* again, and bets nearly everything on the token that came after *fern* the first time. So it does
not merely keep a bag of recent words. It uses the order, "after this token came that one", and it trusts it blindly.

That is as far as these curves go. Many different machines would draw the first of them, among them one that you
will meet at the end of this chapter. Now we open the box.

</details>

## What attention patterns show

An attention head moves information from earlier positions to the current one. Its *attention pattern* says from
where: for each query position, a row of weights over the key positions up to it, which add up to one. TransformerLens
keeps it under `blocks.{layer}.attn.hook_pattern`, with axes `[batch, head, query, key]`.

On repeated tokens, some ways of looking leave stripes that can be told apart at a glance. These four are drawn, not
measured. Blue is where a perfect head of each kind puts its weight; dotted lines mark where the second copy begins:
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def perfect(distance: int, positions: int) -> Float[Tensor, "query key"]:
        """A head that always looks `distance` back, or at BOS while there is nothing so far back."""
        query = torch.arange(positions)
        return torch.eye(positions)[(query - distance).clamp(min=0)]


    kinds = {"current token": 0, "previous token": 1, "duplicate token": 6, "induction": 5}
    drawn = torch.stack([perfect(distance, 13) for distance in kinds.values()])
    plots.plot_attention(drawn, titles=list(kinds), length=6)

# %% [markdown]
r"""
Compare the last two, because they are confused more than any others. Both look back into the first copy, one column
apart. When the query is the second *fern* in "fern ten loud fern …",

- a **duplicate-token** head looks at the first *fern*: key = query − `length`;
- an **induction** head looks at *ten*, the token **after** the first *fern*: key = query − (`length` − 1). That is
  the token to predict next.

### A worked example: the current-token score

To compare heads, we want one number each: how much of its attention falls on the stripe. Here it is for the simplest
stripe, the main diagonal. The steps are always the same: pick the entries on the stripe, then average over the batch
and the queries that count, and keep the head axis.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    def current_token_score(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, " head"]:
        """Mean attention from each query to its own position."""
        query = torch.arange(pattern.shape[-1])
        on_stripe = pattern[:, :, query, query]  # [batch, head, query]: one entry for each query
        return reduce(on_stripe, "batch head query -> head", "mean")


    def patterns_of(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> list[Tensor]:
        """The attention pattern of each layer, [batch, head, query, key], from one run of the model."""
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("attn.hook_pattern"))
        return [cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)]


    tokens = repeated_tokens(cfg.d_vocab, length=20, batch=16, bos=bos, seed=3)
    scores = torch.stack([current_token_score(pattern) for pattern in patterns_of(course_model, tokens)])
    plots.plot_by_head(scores, label="attention", title="current-token score", limit=1)

# %% [markdown]
r"""
One head looks at its own token more than any other does. Remember it; it comes back in the next chapter.
"""

# %% [markdown]
r"""
## Heads that look one token back

*`previous_token_score` · 8 minutes · difficulty 2 of 5 · 4 points*

Return, for each head, the mean attention from a query to the key just before it (key = query − 1), over the batch and
over the queries 1, 2, … Query 0 has nothing before it: leave it out of the mean, rather than count it as zero.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

With `query = torch.arange(1, n)`, the entries on the stripe are `pattern[:, :, query, query - 1]`.

</details>
"""


# %%
def previous_token_score(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, " head"]:
    """Mean attention from each query but the first to the key just before it."""
    query = torch.arange(1, pattern.shape[-1])
    raise NotImplementedError("previous_token_score is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """previous_token_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern in draw.attention_patterns(count=3):
        expect_close(student.previous_token_score(pattern), heads.previous_token_score(pattern), dims="head")
    expect_unchanged(student, student.previous_token_score, pattern)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## Heads that look at what came next

*`induction_score` · 12 minutes · difficulty 2 of 5 · 4 points*

For patterns on repeated tokens (BOS and two copies of `length` tokens), return for each head the mean attention from
a query in the **second** copy to the token **after** its previous occurrence, over the batch and over all queries
`length + 1 … 2 * length`.

| query | token there | same token before | the key that counts |
|---|---|---|---|
| `length + 1` | first of the second copy | position 1 | 2 |
| `length + 2` | second of the second copy | position 2 | 3 |
| … | | | |
| `2 * length` | last of the second copy | position `length` | `length + 1` |

Only queries in the second copy count. Those of the first have no previous occurrence, so attention on the
continuation of the stripe there means nothing. (Some published code averages over the whole diagonal. On long
sequences the difference is small; it is still another number.)
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

The queries are `torch.arange(length + 1, 2 * length + 1)`. From the table: query `length + 1` goes with key 2. What
do you subtract?

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`pattern[:, :, query, query - (length - 1)]`, averaged over the first and the last of its three axes.

</details>
"""


# %%
def induction_score(pattern: Float[Tensor, "batch head query key"], length: int) -> Float[Tensor, " head"]:
    """Mean attention from the second copy to the token after the previous occurrence."""
    raise NotImplementedError("induction_score is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """induction_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern, length in draw.repeat_patterns(count=3):
        score = student.induction_score(pattern, length)
        expect_close(score, heads.induction_score(pattern, length), dims="head")
    expect_unchanged(student, student.induction_score, pattern, length)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Think about what an induction head has to know. At the second *fern* it must find the position of *ten*. What marks
*ten* as the right place is that it stands after *fern*, and that is not a property of the token *ten*: it must have
been written there by an earlier computation. In which layers do you expect heads with an induction score above 0.4?

- **a** in layer 0 only
- **b** in a later layer only
- **c** in layer 0 and in later ones
"""

# %% tags=["predict"]
if __name__ == "__main__":
    induction_layer = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "in layer 0 only",
            "in a later layer only",
            "in layer 0 and in later ones",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if induction_layer.answered():
        scores = torch.stack([induction_score(pattern, 20) for pattern in patterns_of(course_model, tokens)])
        layers = sorted({layer for layer, _ in (scores > 0.4).nonzero().tolist()})
        print(f"layers with a head above 0.4: {layers}")
        both = "in layer 0 and in later ones"
        answer = "in a later layer only" if 0 not in layers else "in layer 0 only" if layers == [0] else both
        plots.plot_by_head(scores, label="attention", title="induction score, length 20", limit=1)
        induction_layer.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The usual account has two steps ([Elhage et al. 2021](https://transformer-circuits.pub/2021/framework/index.html),
[Olsson et al. 2022](https://arxiv.org/abs/2209.11895)). In an early layer a **previous-token head** writes into each
position which token came before it. In a later layer the **induction head** uses that note as a key: at *fern* it asks
"which position says that it follows *fern*?", finds *ten*, and raises the probability of *ten*. One head looks where
another has written, which is why it can't be done in one layer, at least not in this way.

If the account is right, there must be a previous-token head in a layer *below* the induction heads. On `gpt2` this could
fail. On `course-gpt2` it hardly could: for 400 of its 10,000 steps, one head of layer 0 and two of layer 2 were rewarded
for looking so (`mechinterp models card course-gpt2`). What they write, and who reads it, was not rewarded.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    patterns = patterns_of(course_model, tokens)
    previous = torch.stack([previous_token_score(pattern) for pattern in patterns])
    induction = torch.stack([induction_score(pattern, 20) for pattern in patterns])
    current = torch.stack([current_token_score(pattern) for pattern in patterns])
    duplicate = torch.stack([heads.duplicate_token_score(pattern, 20) for pattern in patterns])
    writer, reader = (divmod(score.argmax().item(), cfg.n_heads) for score in (previous, induction))
    bystander = (reader[0], induction[reader[0]].argmin().item())
    chosen = {"previous token": writer, "strongest induction": reader, "weakest, same layer": bystander}
    print(" " * 27 + "previous  induction  duplicate")
    for name, place in chosen.items():
        scores = (score[place].item() for score in (previous, induction, duplicate))
        print(f"{name:20} L{place[0]}H{place[1]} ", *(f"{score:9.2f}" for score in scores))
    fresh = repeated_tokens(cfg.d_vocab, 20, 16, bos, seed=4)
    unrelated = torch.cat([tokens[:, :21], fresh[:, 1:21]], dim=1)
    control = induction_score(patterns_of(course_model, unrelated)[reader[0]], 20)[reader[1]]
    print(f"the same, unrelated tokens{control:20.2f}")
    panels = torch.stack([patterns[layer][0, head] for layer, head in chosen.values()])
    plots.plot_attention(
        panels, [f"L{layer}H{head}: {kind}" for kind, (layer, head) in chosen.items()], length=20
    )

# %% [markdown]
r"""
The third panel is the baseline: a head of the same layer, reading the same tokens, without the stripe. A second
baseline changes the tokens instead of the head: the last line is the strongest induction head on text that does *not*
repeat. If that were high, the stripe would never have been about repetition.
"""

# %% [markdown]
r"""
## A detector

*`find_induction_heads` · 12 minutes · difficulty 3 of 5 · 5 points · builds on `induction_score`*

Run the model on `tokens` (BOS and two equal copies, as `repeated_tokens` makes them; work out the length from the
shape) and return the heads whose induction score is at least `threshold`: a list of `(layer, head)`, counted from 0,
sorted.

`model.run_with_cache(tokens)` returns `(logits, cache)`, and `cache["blocks.1.attn.hook_pattern"]` is the pattern of
layer 1. The number of layers is `model.cfg.n_layers`.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

One run of the model is enough: the cache holds every layer. Loop over the layers, score all heads of one at once with
your `induction_score`, then loop over the heads.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`for layer in range(model.cfg.n_layers): for head, score in enumerate(induction_score(cache[…], length)): …`, and
append `(layer, head)` when `score >= threshold`. In that order the list is already sorted.

</details>
"""


# %%
def find_induction_heads(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], threshold: float = 0.4
) -> list[tuple[int, int]]:
    """(layer, head) of every head with an induction score of at least `threshold`, sorted."""
    raise NotImplementedError("find_induction_heads is not written yet")


# %% tags=["check"]
def check_finds_the_heads_of_a_relabelled_model(student, draw):
    """the heads are found in a copy of the model whose heads have been relabelled, and the tokens stay as they were"""
    model = draw.language_model()
    tokens = repeats(draw, model, longest=20, batch=6)
    expected = heads.find_induction_heads(model, tokens)
    found = student.find_induction_heads(model, tokens)
    expect_equal(found, expected, what="heads")
    expect(all(type(place) is tuple for place in found), "The heads are not tuples (layer, head).")
    expect_unchanged(student, student.find_induction_heads, model, tokens)


if __name__ == "__main__":
    run_check(check_finds_the_heads_of_a_relabelled_model)


# %% tags=["given"]
def found_at_a_score(function, model, tokens):
    """What `function` finds where the threshold is exactly one head's score, and that head.

    With one row and a `length` of 1 a score is one entry of the pattern, so that nothing rounds.
    """
    layer, head = model.cfg.n_layers - 1, 0
    _, cache = model.run_with_cache(tokens)
    return function(model, tokens, cache["pattern", layer][0, head, 2, 2].item()), (layer, head)


# %% tags=["demo"]
if __name__ == "__main__":
    found = find_induction_heads(course_model, tokens)
    print("induction heads:", ", ".join(f"L{layer}H{head}" for layer, head in found))

# %% [markdown]
r"""
## A model where the story is false

`course-positional` is another small transformer. It copies repeated tokens well. Put your own functions to work on
it, just as you did above, with copies of 16 tokens:
"""

# %% tags=["demo"]
if __name__ == "__main__":
    suspect = load_language_model("course-positional")
    sixteen = repeated_tokens(suspect.cfg.d_vocab, 16, batch=16, bos=suspect.tokenizer.bos_token_id, seed=6)
    suspects = find_induction_heads(suspect, sixteen)
    print(f"gain             {copying_gain(loss_per_token(suspect(sixteen), sixteen), 16):.2f} nats")
    print("induction heads ", ", ".join(f"L{layer}H{head}" for layer, head in suspects))
    titles = [f"L0H{head}" for head in range(suspect.cfg.n_heads)]
    plots.plot_attention(patterns_of(suspect, sixteen)[0][0], titles, length=16)

# %% [markdown]
r"""
A large gain and clean stripes. By every measure of this chapter so far, these are induction heads.

One thing should bother you. How many layers does this model have? The account above needed two: one head to write the
note, another to read it. Before you look: what will the gain be when the copy is 12 tokens long instead of 16?

- **a** about the same
- **b** smaller, but a gain
- **c** near zero
- **d** far below zero
"""

# %% tags=["predict"]
if __name__ == "__main__":
    another_length = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "about the same",
            "smaller, but a gain",
            "near zero",
            "far below zero",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if another_length.answered():
        lengths = [6, 8, 10, 12, 14, 15, 16, 17, 18, 20, 24, 28]
        gain_of = {"course-gpt2": [], "course-positional": []}
        for name, model in {"course-gpt2": course_model, "course-positional": suspect}.items():
            for length in lengths:
                rows = repeated_tokens(model.cfg.d_vocab, length, 32, model.tokenizer.bos_token_id, seed=7)
                gain_of[name].append(copying_gain(loss_per_token(model(rows), rows), length))
        ratio = gain_of["course-positional"][lengths.index(12)] / gain_of["course-positional"][lengths.index(16)]
        outcomes = ["far below zero", "near zero", "smaller, but a gain", "about the same"]
        answer = outcomes[(ratio > -0.1) + (ratio > 0.1) + (ratio > 0.75)]
        plots.plot_by_length(gain_of, lengths, "copying gain (nats per token)")
        another_length.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

It never did look for "the token after the previous occurrence". It goes by position, because in everything it was ever
trained on the copy was 16 long, and the right place 15 back. With copies about as long, it goes on reciting, with
confidence, what stands in the wrong place. On copies of 16 tokens, *looking for the continuation* and *looking 15 back*
are the same stripe, so no pattern score and no gain there can tell them apart. All the evidence was sound, and all of it was
gathered at a single point.

What tells two explanations apart is an input **on which they disagree**: another length, or the unrelated tokens that
you used as a control before and that were left out here. Make that a habit: state the rival explanation, then look for
the input that separates them.

</details>
"""

# %% [markdown]
r"""
## In your own words

A student shows you one picture: the pattern of a head of `course-gpt2` on repeated tokens, with a clean induction stripe.
Under it is written "the head that lets the model copy". Write them a review of at most 150 words: what the picture shows,
which two controls of this chapter you want beside it and what each would rule out, and what no pattern can show.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""

# %% [markdown]
r"""
## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| the model copies from context | a gain, with shuffled and new tokens as controls | the same gain on new tokens |
| some heads look where induction should | a score, against unrelated tokens and other heads | the stripe stays put when the length changes |
| copying depends on them | *nothing yet* | |

The last line is the next chapter's. A head can look at the right place and do nothing with what it sees.

Nor does any of this say how induction bears on other things the model does in context, which brings back the caution
of the beginning: it is one mechanism, measured on one model, on text made to show it.
"""
