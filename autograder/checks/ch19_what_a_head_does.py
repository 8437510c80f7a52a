"""Checks of solutions/ch19_what_a_head_does/chapter.py, version 05cda0a1af4c.

Written by `python -m mechinterp_course.authoring ch19_what_a_head_does`: edit the source instead.
"""

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


def is_ranking(value):
    """Whether a value is a list of (layer, head, effect): two ints and a float."""
    rows = value if isinstance(value, list) else [None]
    return {tuple(map(type, row)) if isinstance(row, tuple | list) else None for row in rows} == {
        (int, int, float)
    }


def ablate_head__zero_ablation_agrees_with_the_reference(student, draw):
    """zero ablation agrees with the reference in every layer of a relabelled model"""
    model = draw.language_model()
    cases = one_head_of_each_layer(draw, model)
    expected = [patching.ablate_head(model, *case) for case in cases]
    for case in cases:
        expect_close(student.ablate_head(model, *case), expected.pop(0), **LOGITS)


def ablate_head__leaves_nothing_behind(student, draw):
    """after the call the model computes what it did before, and the tokens are unchanged"""
    model = draw.language_model()
    tokens, layer = draw.tokens(2, 8, model.cfg.d_vocab), draw.integer(0, model.cfg.n_layers - 1)
    before, intact = tokens.clone(), model(tokens).clone()
    after, logits = student.run(left_behind, student.ablate_head, model, tokens, layer, 1)
    expect_close(after, before, dims="batch pos")
    expect_close(logits, intact, **LOGITS)


def ablate_head__mean_ablation_agrees_with_the_reference(student, draw):
    """mean ablation agrees with the reference in every layer of a relabelled model"""
    model = draw.language_model()
    cases = one_head_of_each_layer(draw, model)
    expected = [patching.ablate_head(model, *case, kind="mean") for case in cases]
    for case in cases:
        expect_close(student.ablate_head(model, *case, kind="mean"), expected.pop(0), **LOGITS)


def ablate_head__refuses_other_kinds(student, draw):
    """a kind that is neither "zero" nor "mean" raises ValueError"""
    model = draw.language_model()
    tokens, kind = draw.tokens(1, 4, model.cfg.d_vocab), draw.choice(["median", "Zero", "resample", ""])
    refused = f"kind={kind!r} should be refused."
    expect_raises("ValueError", lambda: student.ablate_head(model, tokens, 0, 0, kind=kind), refused)


def patch_head_output__agrees_with_the_reference(student, draw):
    """patch_head_output agrees with the reference in every layer of a relabelled model, and leaves the tokens as they were"""
    model = draw.language_model()
    cases = one_head_of_each_layer(draw, model, inputs=2)
    expected = [patching.patch_head_output(model, *case) for case in cases]
    for case in cases:
        expect_close(student.patch_head_output(model, *case), expected.pop(0), **LOGITS)
    expect_unchanged(student, student.patch_head_output, model, *case)


def patch_head_output__obeys_its_limits(student, draw):
    """patching a run with itself changes nothing, no logit changes before the first token that differs, and no hook stays"""
    model = draw.language_model()
    pos, layer = draw.integer(8, 14), draw.integer(0, model.cfg.n_layers - 1)
    corrupted, split = draw.tokens(2, pos, model.cfg.d_vocab), draw.integer(2, pos - 3)
    other = draw.tokens(2, pos - split - 1, model.cfg.d_vocab)
    clean = torch.cat([corrupted[:, :split], other, corrupted[:, -1:]], dim=1)  # the last token is the same
    intact, expected = model(corrupted), patching.patch_head_output(model, clean, corrupted, layer, 0)
    expect_close(student.patch_head_output(model, corrupted, corrupted, layer, 0), intact, **LOGITS)
    logits = student.patch_head_output(model, clean, corrupted, layer, 0)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    _, afterwards = student.run(left_behind, student.patch_head_output, model, corrupted, clean, layer, 0)
    expect_close(afterwards, intact, **LOGITS)


def rank_heads_by_effect__agrees_with_the_reference(student, draw):
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


def rank_heads_by_effect__puts_the_largest_effect_first(student, draw):
    """effects never rise along the list, and the head on top is the one that matters most"""
    model = draw.language_model("course-attn-2l")
    tokens = repeats(draw, model)
    ranking = student.rank_heads_by_effect(model, tokens)
    expect(is_ranking(ranking), "The result is not a list of (layer, head, effect), with effects as floats.")
    effects = [effect for _, _, effect in ranking]
    expect_equal(effects, sorted(effects, reverse=True), what="effects")
    top = patching.rank_heads_by_effect(model, tokens)[0][:2]
    expect_equal(ranking[0][:2], top, what="numbers of the top head")


def refute_redundancy__refutes_the_claim_where_the_loss_is_silent(student, draw):
    """of a head whose silence lowers the lead and hardly raises the loss, the company that makes it heard is found, whatever its number"""
    for case, head in head_probes.hardly_heard(draw, "course-attn-2l"):
        head_probes.expect_verdict(student.refute_redundancy(*case, *head), head, case)
    expect_unchanged(student, student.refute_redundancy, *case, *head)


def refute_redundancy__leaves_idle_heads_alone(student, draw):
    """a head that costs neither loss nor lead is called redundant, and one that costs much of both is not"""
    case = head_probes.lines_to_recite(draw, draw.language_model("course-attn-2l"))
    clear = head_probes.clear_heads(case)
    idle = [row[2] for row in clear if row[1] < 0.5]
    for head in (draw.choice(idle), clear[-1][2]):
        head_probes.expect_verdict(student.refute_redundancy(*case, *head), head, case)


def refute_redundancy__knows_true_redundancy(student, draw):
    """a planted head that a backup replaces is redundant, whatever its silence costs without the backup"""
    puzzle, truth = planted.plant(draw.seed(), "backup")
    parts = puzzle.weights, puzzle.bos, puzzle.offset
    samples, model = puzzle.samples(seed=0, count=8, length=12), puzzle.load()
    case = model, samples.tokens, samples.answers
    for head in (draw.choice([truth.circuit.matching, truth.circuit.backup]), truth.circuit.copying):
        answer, logits = student.run(head_probes.on_planted, student.refute_redundancy, *parts, *head)
        head_probes.expect_verdict(answer, head, case)
        expect_close(logits, model(samples.tokens), dims="batch pos d_vocab")


def is_induction_head__tells_induction_from_position(student, draw):
    """a real induction head passes, and a head that only looks a fixed distance back does not"""
    questions = []
    for name, most in {"course-gpt2": 1, "course-attn-2l": 3, "course-positional": 2}.items():
        model = draw.language_model(name)
        start, (found, _) = model.tokenizer.bos_token_id, head_probes.by_effect(model, length=16)
        questions += [(model, *place, start, (3, 4)) for place in found[:most]]
    questions += [row[:4] for row in questions[-2:]]
    expect_equal(head_probes.verdicts_on(student, draw, questions), [True] * 4 + [False] * 4, what="verdicts")


def is_induction_head__asks_at_every_length(student, draw):
    """one length at which the head fails decides, wherever in the list it stands"""
    model = draw.language_model("course-positional")
    (place, *_), _ = head_probes.by_effect(model, length=16)
    place = *place, model.tokenizer.bos_token_id
    alone, mixed = [(16,), (16,), (16, 16)], [(16, 6), (6, 16), (6,), (6, 5), (16, 16, 5)]
    questions = [(model, *place, lengths, 0.4, draw.seed()) for lengths in alone + mixed]
    expect_equal(head_probes.verdicts_on(student, draw, questions), [True] * 3 + [False] * 5, what="verdicts")


def is_induction_head__asks_for_the_stripe_and_the_effect(student, draw):
    """a head that matters without the stripe fails, and the threshold decides what counts as a stripe"""
    model, lengths = draw.language_model("course-attn-2l"), (3, 4)
    start = model.tokenizer.bos_token_id
    (real, *_), (writer, *_, harmful) = head_probes.by_effect(model, length=4)
    right = [(real, 0.4), (real, -1.0), (writer, -1.0), (writer, -0.5)]
    wrong = [(real, 0.999), (writer, 0.4), (harmful, -1.0), (harmful, 0.4)]
    questions = [(model, *place, start, lengths, least) for place, least in right + wrong]
    other = draw.language_model("course-positional")  # has a head that only zeros do without, not its mean
    _, (place, *_) = head_probes.by_effect(other, length=4)
    questions = [(other, *place, start, lengths, -1.0), *questions]
    expect_equal(head_probes.verdicts_on(student, draw, questions), [True] * 5 + [False] * 4, what="verdicts")


def is_induction_head__decides_close_cases(student, draw):
    """32 rows from `seed` decide, also close to 0.05 nats on tokens 2 … length of the second copy, and to the threshold"""
    model, cases = draw.language_model("course-attn-2l"), []
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    for length in (2, 3, 4, 5, 5, 6, 6, 7):
        seed = draw.seed()
        tokens = token_world.repeated_tokens(d_vocab, length, 32, start, seed).to(model.cfg.device)
        ranking = patching.rank_heads_by_effect(model, tokens)
        cases.append((length, seed, tokens, [row for row in ranking if abs(row[2] - 0.05) > 0.004]))
    above = min(cases, key=lambda case: min((row[2] for row in case[3] if row[2] > 0.05), default=9.0))
    below = max(cases, key=lambda case: max((row[2] for row in case[3] if row[2] < 0.05), default=-9.0))
    for length, seed, tokens, clear in (cases[0], above, below):
        _, cache = model.run_with_cache(tokens)
        layers = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
        scores = [heads.induction_score(pattern, length) for pattern in layers]
        striped = [row[:2] for row in clear if row[2] > 0.05 and scores[row[0]][row[1]] > 0.4]
        place = min(striped, key=lambda at: scores[at[0]][at[1]].item())  # others of its layer score more
        score = scores[place[0]][place[1]].item()
        closest = sorted(clear, key=lambda row: abs(row[2] - 0.05))[:4]
        asked = [(row[:2], -1.0) for row in closest] + [(place, score - 1e-4), (place, score + 1e-4)]
        questions = [(model, *at, start, (length,), least, seed) for at, least in asked]
        expected = [row[2] >= 0.05 for row in closest] + [True, False]
        expect_equal(head_probes.verdicts_on(student, draw, questions), expected, what="verdicts")
