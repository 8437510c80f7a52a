"""Checks of solutions/ch14_what_heads_write/chapter.py, version 97f5e2418f50.

Written by `python -m mechinterp_course.authoring ch14_what_heads_write`: edit the source instead.
"""

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


def drawn_after(function, seed, *arguments):
    """Four numbers from torch's global generator, which is seeded before a call of `function`."""
    torch.manual_seed(seed)
    function(*arguments)
    return torch.rand(4)


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


def expect_parts(found, expected):
    """Pass if two dictionaries of parts have the same names, and under each name the same vectors."""
    expect(isinstance(found, dict), "The result is not a dictionary.")
    expect_equal(sorted(found), sorted(expected), what="names")
    for name, vectors in expected.items():
        expect_close(found[name], vectors, dims="batch d_model")


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


def cyclic_tokens__is_bos_and_a_cycle(student, draw):
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


def cyclic_tokens__depends_on_the_seed_alone(student, draw):
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


def cyclic_tokens__every_cycle_is_equally_likely(student, draw):
    """every order of every choice of tokens comes equally often, rows differ, and too few tokens raise ValueError"""
    seed = draw.seed()
    rows = student.cyclic_tokens(4, 3, 5, 600, 0, seed)
    expect(is_batch_of_rows(rows) and rows.shape == (600, 6), "The result has not the shape [600, 6].")
    cycles = rows[:, 1:4].long()
    expect(bool(((cycles >= 0) & (cycles < 4)).all()), "Some ids lie outside 0 … 3.")
    kinds, counts = (cycles * torch.tensor([16, 4, 1])).sum(1).unique(return_counts=True)
    expect(len(kinds) == 24, f"{len(kinds)} different cycles came, of 24 that are possible.")
    expect(bool((counts < 55).all()), "Some cycles come much more often than others.")
    every = student.cyclic_tokens(4, 4, 4, 1, 0, seed)
    expect_equal(sorted(every.flatten().tolist()), [0, 0, 1, 2, 3], what="tokens")
    refused = "4 ids are too few for a cycle of 5."
    expect_raises("ValueError", lambda: student.cyclic_tokens(4, 5, 9, 2, 0, seed), refused)


def pattern_completion_score__agrees_with_the_reference(student, draw):
    """pattern_completion_score agrees with the reference on patterns you have not seen, and leaves them as they were"""
    for pattern in draw.attention_patterns(count=3) + draw.attention_patterns(count=2):
        period = draw.integer(1, pattern.shape[-1] - 2)
        expected = heads.pattern_completion_score(pattern, period)
        expect_close(student.pattern_completion_score(pattern, period), expected, dims="head")
    expect_untouched(student, student.pattern_completion_score, pattern, period)


def pattern_completion_score__knows_simple_heads(student, draw):
    """any choice of right places scores 1; the same token, another phase and BOS score 0; too short a text is refused"""
    for period in (draw.integer(3, 4), 5):
        n = 4 * period + draw.integer(1, 3)
        query, rows = torch.arange(n), torch.eye(n)
        nearest = rows[(query + 1 - period).clamp(min=0)]
        oldest = rows[torch.where(query > period, (query % period) + 1, 0)]
        same_token = rows[(query - period).clamp(min=0)]
        panels = [nearest, oldest, (nearest + oldest) / 2, same_token, rows, rows[query * 0]]
        pattern = torch.stack(panels).expand(draw.integer(1, 4), -1, -1, -1)
        expected = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        expect_close(student.pattern_completion_score(pattern, period), expected, dims="head")
        short = pattern[:, :, : 1 + period, : 1 + period]
        least = pattern[:, :, : 2 + period, : 2 + period]
        expect_close(student.pattern_completion_score(least, period), expected, dims="head")
    refused = f"In {period} tokens after BOS nothing of a cycle of {period} comes back."
    expect_raises("ValueError", lambda: student.pattern_completion_score(short, period), refused)


def in_context_bigrams__agrees_with_the_reference(student, draw):
    """in_context_bigrams agrees with the reference on texts you have not seen, and leaves them as they were"""
    for d_vocab in (3, draw.integer(4, 6), draw.integer(7, 12)):
        tokens = draw.tokens(draw.integer(1, 4), draw.integer(13, 18), d_vocab)
        expected = token_world.in_context_bigrams(tokens, d_vocab)
        expect_close(student.in_context_bigrams(tokens, d_vocab), expected, dims="batch pos d_vocab")
    expect_untouched(student, student.in_context_bigrams, tokens, d_vocab)


def in_context_bigrams__knows_simple_texts(student, draw):
    """on a cycle it is sure of the next token once the token has come before, and A B A C A gives B and C a half each"""
    period, d_vocab = draw.integer(2, 5), draw.integer(8, 14)
    ids = torch.stack([draw.tokens(1, 200, d_vocab)[0].unique()[:6] for _ in range(2)])
    cycle = ids[:, :period][:, torch.arange(3 * period) % period]
    sure = torch.nn.functional.one_hot(cycle.roll(-1, dims=1), d_vocab).float()
    sure[:, :period] = 0.0
    expect_close(student.in_context_bigrams(cycle, d_vocab), sure, dims="batch pos d_vocab")
    a, b, c = draw.choice([(0, 1, 2), (3, 5, 4), (7, 2, 6)])
    row = torch.tensor([[a, b, a, c, a, b, b, a]])
    expected = torch.zeros(1, 8, d_vocab)
    expected[0, 2, b] = 1.0
    expected[0, 4, [b, c]] = 0.5
    expected[0, 5, a] = 1.0
    expected[0, 6, [a, b]] = 0.5
    expected[0, 7, b], expected[0, 7, c] = 2 / 3, 1 / 3
    expect_close(student.in_context_bigrams(row, d_vocab), expected, dims="batch pos d_vocab")


def refute_period_detector__breaks_the_claim_in_two_layers(student, draw):
    """the texts are periodic, and a model of two layers, relabelled, continues them otherwise, on words that take some search, too"""
    model = draw.language_model("course-attn-2l")
    for period in (3, 4, 4, 5, 3, 4, 3, 5):
        words = period_probes.refutable_words(draw, model, period, period + draw.integer(0, 1))
        expect_refutation(student, model, words, period)
    for left_out in ("turns", "ends"):
        expect_refutation(student, model, period_probes.hard_words(draw, model, 3, left_out), 3)
    expect_untouched(student, student.refute_period_detector, model, words, 5, model.tokenizer.bos_token_id)


def refute_period_detector__breaks_the_claim_in_four_layers(student, draw):
    """so does a model of four layers"""
    model = draw.language_model()
    for period in (3, 4, 5):
        words = period_probes.refutable_words(draw, model, period, period)
        expect_refutation(student, model, words, period)


def logit_lens__agrees_with_the_reference(student, draw):
    """logit_lens agrees with the reference on tokens you have not seen, at any position, in a relabelled model"""
    model = draw.language_model("course-attn-2l")
    for position in (-1, draw.integer(0, 4), -draw.integer(2, 5)):
        tokens = draw.tokens(draw.integer(2, 4), draw.integer(5, 9), model.cfg.d_vocab)
        expected = lens.logit_lens(model, tokens, position)
        expect_close(student.logit_lens(model, tokens, position), expected, **LENS)
    expect_untouched(student, student.logit_lens, model, tokens)


def logit_lens__begins_with_the_embedding_and_ends_with_the_model(student, draw):
    """the last entry is what the model says, and the first depends on the token and its position alone"""
    model = draw.language_model()
    tokens, position = draw.tokens(3, draw.integer(6, 9), model.cfg.d_vocab), draw.integer(2, 4)
    intact = model(tokens)
    logits = student.logit_lens(model, tokens, position)
    whole = isinstance(logits, Tensor) and logits.shape == (model.cfg.n_layers + 1, 3, model.cfg.d_vocab)
    expect(whole, "The result has not the shape [n_layers + 1, batch, d_vocab].")
    expect_close(logits[-1], intact[:, position], dims="batch d_vocab", atol=2e-4)
    other = tokens.roll(1, dims=1)
    other[:, position] = tokens[:, position]
    first = student.logit_lens(model, other, position)[0]
    expect_close(first, logits[0], dims="batch d_vocab", atol=2e-4)
    expect_close(logits, lens.logit_lens(model, tokens, position), **LENS)


def residual_components__agrees_with_the_reference(student, draw):
    """residual_components agrees with the reference on tokens you have not seen, in models of one layer and of two"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        tokens = draw.tokens(draw.integer(1, 4), draw.integer(5, 9), model.cfg.d_vocab)
        expect_parts(student.residual_components(model, tokens), lens.residual_components(model, tokens))
    expect_untouched(student, student.residual_components, model, tokens)


def residual_components__adds_up_to_the_stream(student, draw):
    """the parts add up to the stream above the last layer, in a model of four layers"""
    model = draw.language_model()
    tokens = draw.tokens(3, draw.integer(5, 9), model.cfg.d_vocab)
    _, cache = model.run_with_cache(tokens)
    parts = student.residual_components(model, tokens)
    expect_parts(parts, lens.residual_components(model, tokens))
    stream = cache["resid_post", model.cfg.n_layers - 1][:, -1]
    expect_close(sum(parts.values()), stream, dims="batch d_model")


def ov_circuit__agrees_with_the_reference(student, draw):
    """ov_circuit agrees with the reference for heads of a relabelled model, on tokens you have not seen"""
    model = draw.language_model("course-attn-2l")
    for layer in (0, 1, 1):
        head, tokens = (layer, draw.integer(0, 3)), some_words(draw, model, draw.integer(9, 30))
        expected = circuits.ov_circuit(model, head, tokens)
        expect_close(student.ov_circuit(model, head, tokens), expected, dims="source destination")
    expect_untouched(student, student.ov_circuit, model, head, tokens)


def ov_circuit__adds_the_first_mlp(student, draw):
    """with `through_mlp` the rows hold the embedding and what the first MLP makes of it, and without it they don't"""
    one_layer, model = draw.language_model("course-positional"), draw.language_model()
    for network, layer, through_mlp in ((one_layer, 0, True), (one_layer, 0, False), (model, 2, True)):
        words = some_words(draw, network, draw.integer(9, 30))
        case = network, (layer, draw.integer(0, 3)), words, through_mlp
        expected = circuits.ov_circuit(*case)
        expect_close(student.ov_circuit(*case), expected, dims="source destination", atol=1e-4)


def ov_circuit__reads_and_writes_where_the_weights_say(student, draw):
    """a head that moves some directions of the stream to others is read so: embedding of the one, unembedding of the other"""
    model = draw.language_model("course-attn-2l")
    size, tokens = model.cfg.d_head, some_words(draw, model, draw.integer(9, 20))
    starts = [draw.integer(0, 40), draw.integer(50, 90)]
    found = student.run(with_known_weights, student.ov_circuit, model, starts, tokens)
    reads, writes = (slice(start, start + size) for start in starts)
    expected = model.W_E[tokens][:, reads] @ model.W_U[writes][:, tokens]
    expect_close(found, expected, dims="source destination")
