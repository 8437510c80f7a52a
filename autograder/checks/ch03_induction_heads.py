"""Checks of solutions/ch03_induction_heads/chapter.py, version 2a138ef98faf.

Written by `python -m mechinterp_course.authoring ch03_induction_heads`: edit the source instead.
"""

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


def drawn_after(function, seed, *arguments):
    """Four numbers from torch's global generator, which is seeded before a call of `function`."""
    torch.manual_seed(seed)
    function(*arguments)
    return torch.rand(4)


def found_at_a_score(function, model, tokens):
    """What `function` finds where the threshold is exactly one head's score, and that head.

    With one row and a `length` of 1 a score is one entry of the pattern, so that nothing rounds.
    """
    layer, head = model.cfg.n_layers - 1, 0
    _, cache = model.run_with_cache(tokens)
    return function(model, tokens, cache["pattern", layer][0, head, 2, 2].item()), (layer, head)


def repeated_tokens__is_bos_and_two_equal_copies(student, draw):
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


def repeated_tokens__depends_on_the_seed_alone(student, draw):
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


def repeated_tokens__draws_uniformly_and_independently(student, draw):
    """every id from 0 to d_vocab - 1 is drawn equally often, repeats included, and rows differ"""
    d_vocab, length, batch = draw.integer(4, 9), 40, 60
    rows = student.repeated_tokens(d_vocab, length, batch, 0, draw.seed())
    expect(is_matrix(rows) and rows.shape[1] == 81, "The result is not a tensor of 81 columns for length 40.")
    copy = rows[:, 1 : length + 1].long()
    expect(bool(((copy >= 0) & (copy < d_vocab)).all()), f"Some ids lie outside 0 … {d_vocab - 1}.")
    share = torch.bincount(copy.flatten(), minlength=d_vocab) * d_vocab / copy.numel()
    expect(share.min().item() > 0, f"The id {share.argmin().item()} is never drawn, of {d_vocab} ids.")
    expect(bool(((share > 0.6) & (share < 1.4)).all()), "Some ids are drawn much more often than others.")
    expect(len(copy.unique(dim=0)) == batch, "Some rows of the batch hold the same tokens.")


def loss_per_token__agrees_with_the_reference(student, draw):
    """loss_per_token agrees with the reference on logits and tokens you have not seen, and leaves both as they were"""
    for dtype in (torch.float32, torch.float64, torch.float32):
        batch, pos, d_vocab = draw.integer(1, 4), draw.integer(3, 12), draw.integer(5, 40)
        logits, tokens = 3 * draw.normal(batch, pos, d_vocab).to(dtype), draw.tokens(batch, pos, d_vocab)
        loss = student.loss_per_token(logits, tokens)
        expect_close(loss, metrics.loss_per_token(logits, tokens), dims="batch pos")
    expect_unchanged(student, student.loss_per_token, logits, tokens)


def loss_per_token__prices_known_bets(student, draw):
    """a shrug costs log d_vocab nats, a bet of 3 to 1 costs log 4 or log 4/3, and impossible tokens a finite number"""
    d_vocab, size = draw.integer(3, 50), float(draw.integer(200, 900))
    even = torch.full((2, 5, d_vocab), draw.integer(-3, 3) / 2)
    shrug = student.loss_per_token(even, draw.tokens(2, 5, d_vocab))
    expect_close(shrug, torch.full((2, 4), float(d_vocab)).log(), dims="batch pos")
    bets = torch.tensor([[[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]]]).log()
    bet = student.loss_per_token(bets, torch.tensor([[1, 0, 0]]))
    expect_close(bet, torch.tensor([[4.0, 4 / 3]]).log(), dims="batch pos")
    sure = torch.tensor([[[0.0, 0.0, size], [0.0, size, 0.0], [0.0, 0.0, 0.0]]])
    impossible = student.loss_per_token(sure, torch.tensor([[2, 1, 1]]))
    expect_close(impossible, torch.tensor([[size, 0.0]]), dims="batch pos")


def copying_gain__agrees_with_the_reference(student, draw):
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


def copying_gain__knows_simple_gains(student, draw):
    """losses that fall by 1 nat a token give a gain of `length`, rising ones as much below 0; first tokens don't count"""
    length = draw.integer(3, 12)
    loss = torch.arange(100.0, 100 - 2 * length, -1).expand(draw.integer(1, 4), -1).clone()
    expect_close(student.copying_gain(loss, length), float(length))
    expect_close(student.copying_gain(loss.flip(1), length), -float(length))
    loss[:, 0], loss[:, length] = 50.0, 7.0
    expect_close(student.copying_gain(loss, length), float(length))


def previous_token_score__agrees_with_the_reference(student, draw):
    """previous_token_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern in draw.attention_patterns(count=3):
        expect_close(student.previous_token_score(pattern), heads.previous_token_score(pattern), dims="head")
    expect_unchanged(student, student.previous_token_score, pattern)


def previous_token_score__knows_simple_heads(student, draw):
    """a perfect previous-token head scores 1, one that looks at itself 0, and an even look back in between"""
    batch, n = draw.integer(1, 4), draw.integer(4, 30)
    even = torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]
    perfect = torch.eye(n)[(torch.arange(n) - 1).clamp(min=0)]
    pattern = torch.stack([perfect, torch.eye(n), even]).expand(batch, 3, n, n)
    expected = torch.tensor([1.0, 0.0, sum(1 / (query + 1) for query in range(1, n)) / (n - 1)])
    expect_close(student.previous_token_score(pattern), expected, dims="head")


def induction_score__agrees_with_the_reference(student, draw):
    """induction_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern, length in draw.repeat_patterns(count=3):
        score = student.induction_score(pattern, length)
        expect_close(score, heads.induction_score(pattern, length), dims="head")
    expect_unchanged(student, student.induction_score, pattern, length)


def induction_score__tells_induction_from_its_neighbours(student, draw):
    """a perfect induction head scores 1, wherever it looks in the first copy; its neighbours score 0"""
    batch, length = draw.integer(1, 4), draw.integer(4, 16)
    query, rows = torch.arange(2 * length + 1), torch.eye(2 * length + 1)
    induction, duplicate, previous = (rows[(query - back).clamp(min=0)] for back in (length - 1, length, 1))
    late = torch.cat([previous[: length + 1], induction[length + 1 :]])
    pattern = torch.stack([induction, late, duplicate, previous]).expand(batch, 4, -1, -1)
    expect_close(student.induction_score(pattern, length), torch.tensor([1.0, 1.0, 0.0, 0.0]), dims="head")


def find_induction_heads__finds_the_heads_of_a_relabelled_model(student, draw):
    """the heads are found in a copy of the model whose heads have been relabelled, and the tokens stay as they were"""
    model = draw.language_model()
    tokens = repeats(draw, model, longest=20, batch=6)
    expected = heads.find_induction_heads(model, tokens)
    found = student.find_induction_heads(model, tokens)
    expect_equal(found, expected, what="heads")
    expect(all(type(place) is tuple for place in found), "The heads are not tuples (layer, head).")
    expect_unchanged(student, student.find_induction_heads, model, tokens)


def find_induction_heads__obeys_the_threshold(student, draw):
    """a lower threshold lets more heads in, up to all of them, and one above 1 lets none in"""
    model = draw.language_model()
    tokens = repeats(draw, model)
    _, cache = model.run_with_cache(tokens)
    patterns, length = [cache["pattern", layer] for layer in range(model.cfg.n_layers)], tokens.shape[1] // 2
    scores = [heads.induction_score(pattern, length) for pattern in patterns]
    ranked = torch.cat(scores).sort(descending=True).values
    widest = (ranked[:-1] - ranked[1:]).topk(3).indices.tolist()
    between = [(ranked[i] + ranked[i + 1]).item() / 2 for i in widest]
    alone = torch.cat([heads.induction_score(pattern[:1], length) for pattern in patterns])  # of one row
    most = (alone - torch.cat(scores)).abs().argmax()
    between.append((alone + torch.cat(scores))[most].item() / 2)
    for threshold in [-1.0, 1.1, (1 + ranked[0].item()) / 2, *between]:
        expected = heads.find_induction_heads(model, tokens, threshold)
        expect_equal(student.find_induction_heads(model, tokens, threshold), expected, what="heads")
    row = token_world.repeated_tokens(model.cfg.d_vocab, 1, 1, model.tokenizer.bos_token_id, draw.seed())
    found, place = student.run(found_at_a_score, student.find_induction_heads, model, row.to(draw.device))
    expect(
        place in map(tuple, found),
        "A head whose score equals the threshold is left out: it should be at least that.",
    )
