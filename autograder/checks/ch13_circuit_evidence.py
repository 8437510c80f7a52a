"""Checks of solutions/ch13_circuit_evidence/chapter.py, version 64f3322abfa1.

Written by `python -m mechinterp_course.authoring ch13_circuit_evidence`: edit the source instead.
"""

from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import attribution_patching, faithfulness, metrics, patching, refutation
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.metrics import logit_difference
from mechinterp_course.minimal_pairs import two_pairs
from mechinterp_course.worlds import planted

Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]
Words = Int[Tensor, " batch"]
Head = tuple[int, int]  # (layer, head)
LOGITS = {"dims": "batch pos d_vocab", "atol": 1e-4}  # how results are compared: by axes, up to rounding
NEAR = 1e-4  # how far logit differences may lie apart: seven times what the order of sums changes


def prompts(draw, model, batch=3, longest=3):
    """Clean and corrupted rows and their right and wrong words, with a gap of 1 to `longest` words."""
    start, gap = model.tokenizer.bos_token_id, draw.integer(1, longest)
    rows = two_pairs(model.cfg.d_vocab, batch, start, draw.seed(), gap)
    return tuple(each.to(model.cfg.device) for each in rows)


def two_texts(draw, model):
    """Two batches of random tokens, of one drawn shape."""
    shape = draw.integer(2, 4), draw.integer(5, 9), model.cfg.d_vocab
    return draw.tokens(*shape), draw.tokens(*shape)


def tensors_after(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor)]


def logits_after(function, model, *arguments):
    """The model's logits on the first of the arguments, after a call of `function` with the model and them."""
    function(model, *arguments)
    return model(arguments[0])


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    left = student.run(tensors_after, function, *arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(
        isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(left, tensors, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


def in_drawn_order(draw, model):
    """All heads of the model, in an order that is drawn."""
    heads = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    return [head for _, head in sorted((draw.seed(), head) for head in heads)]


def gradients_left(function, model, *arguments):
    """How many of the model's weights hold a gradient after a call, and the logits of a run then."""
    function(model, *arguments)
    return sum(weight.grad is not None for weight in model.parameters()), model(arguments[0])


def gap_at(case, knockout, prompt):
    """The gap between circuit and model at one knockout and prompt; `case` as for `break_circuit`."""
    model, tokens, other, right, wrong, circuit, *kind = case
    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    left = [
        logit_difference(faithfulness.run_circuit(model, tokens, kept, *kind, other=other), right, wrong)
        for kept in ([head for head in heads if head not in knockout] for heads in (circuit, everything))
    ]
    return (left[0] - left[1]).abs()[prompt].item()


def expect_worst_case(found, case):
    """Pass if what `break_circuit` found is the largest gap, and lies where it says."""
    whole = isinstance(found, tuple | list) and len(found) == 3 and isinstance(found[0], tuple | list)
    expect(
        whole and type(found[1]) is int, "The result is not (knockout, prompt, gap): a list, an int, a float."
    )
    knockout, prompt, gap = [tuple(head) for head in found[0]], *found[1:]
    expect_close(gap, refutation.break_circuit(*case)[2], atol=NEAR)
    expect(set(knockout) <= set(case[5]), "The knockout is not a part of the circuit.")
    expect(0 <= prompt < len(case[1]), "There is no such prompt.")
    expect_close(gap_at(case, knockout, prompt), gap, atol=NEAR)


def broken_inside(model, texts, heads, kind):
    """Two neighbours in a list of heads, such that the worst knockout takes the second one out, if any do."""
    for place in range(len(heads) - 1):
        claim = heads[place : place + 2]
        knockout, *_ = refutation.break_circuit(model, *texts, claim, kind)
        if knockout:
            break
    return sorted(claim, key=lambda head: head in knockout)


def planted_case(puzzle, circuit, kind):
    """A planted model, eight samples of its task, and a claim, as `break_circuit` takes them."""
    samples = puzzle.samples(seed=0, count=8, length=12)
    texts = samples.tokens, samples.counterfactuals, samples.answers, samples.answers.roll(1)
    return puzzle.load(), *texts, circuit, kind


def on_planted(function, weights, bos, offset, circuit, kind):
    """What `function` makes of `planted_case`."""
    return function(*planted_case(planted.Puzzle(weights, bos, offset), circuit, kind))


def is_head(value, puzzle):
    """Whether a value is one of the model's heads, as a pair of ints."""
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(type(part) is int for part in value)
    return pair and tuple(value) in puzzle.heads


def is_finding(value, puzzle):
    """Whether a value has the form (circuit, evidence) that `find_circuit` returns."""
    if not (isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], dict)):
        return False
    circuit, evidence = value
    named_heads = [head for head in circuit.values() if head is not None]
    if set(circuit) != {"copying", "matching", "backup"} or not isinstance(evidence, list | tuple):
        return False
    pairs = [each for each in evidence if isinstance(each, tuple | list) and len(each) == 2]
    if len(pairs) != len(evidence) or not 1 <= len(pairs) <= 40:
        return False
    lists = all(isinstance(heads, list | tuple) and type(left) is float for heads, left in pairs)
    return lists and all(
        is_head(head, puzzle) for heads in ([named_heads] + [p[0] for p in pairs]) for head in heads
    )


def expect_found(student, draw, family):
    """Pass if the student finds the circuit of a new model, and the evidence proves it."""
    puzzle, truth = planted.plant(draw.seed() << 31 | draw.seed(), family)
    found = student.find_circuit(puzzle.weights, puzzle.bos, puzzle.offset)
    expect(
        is_finding(found, puzzle),
        "The result is not (circuit, evidence) in the form that the statement gives.",
    )
    circuit = {role: head and tuple(head) for role, head in found[0].items()}
    expect_equal(circuit, vars(truth.circuit), what="roles")
    evidence = [([tuple(head) for head in heads], left) for heads, left in found[1]]
    missing = planted.missing_evidence(puzzle, circuit, evidence)
    expect(missing is None, missing or "")


def run_circuit__agrees_with_the_reference(student, draw):
    """run_circuit agrees with the reference for every kind, on circuits of relabelled models that you have not seen"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        tokens, other = two_texts(draw, model)
        order = in_drawn_order(draw, model)
        for kind in ("resample", "mean", "zero"):
            case = model, tokens, order[: draw.integer(1, len(order) - 1)], kind, other
            expect_close(student.run_circuit(*case), faithfulness.run_circuit(*case), **LOGITS)


def run_circuit__obeys_its_limits(student, draw):
    """all heads are the whole model, resampling from the same text changes nothing, and rows don't mix"""
    model = draw.language_model("course-attn-2l")
    tokens, other = two_texts(draw, model)
    order, size, intact = in_drawn_order(draw, model), draw.integer(2, 5), model(tokens)
    for kind in ("resample", "mean", "zero"):
        expect_close(student.run_circuit(model, tokens, order, kind, other), intact, **LOGITS)
    expect_close(student.run_circuit(model, tokens, order[:size], "resample", tokens), intact, **LOGITS)
    logits = student.run_circuit(model, tokens, order[:size], "resample", other)
    alone = student.run_circuit(model, tokens[1:2], order[:size], "resample", other[1:2])
    expect_close(alone, logits[1:2], **LOGITS)
    for circuit, kind in ((order[:1], "mean"), ([], "zero")):
        expected = faithfulness.run_circuit(model, tokens, circuit, kind)
        expect_close(student.run_circuit(model, tokens, circuit, kind), expected, **LOGITS)


def run_circuit__refuses_and_leaves_nothing(student, draw):
    """other kinds, and resampling from nothing, raise ValueError; afterwards the model computes what it did before"""
    model = draw.language_model("course-attn-2l")
    tokens, other = two_texts(draw, model)
    head, kind = in_drawn_order(draw, model)[0], draw.choice(["median", "Mean", "", "corrupt"])
    refused = f"kind={kind!r} should be refused."
    expect_raises("ValueError", lambda: student.run_circuit(model, tokens, [head], kind, other), refused)
    refused = "There is nothing to resample from without `other`."
    expect_raises("ValueError", lambda: student.run_circuit(model, tokens, [head]), refused)
    intact = model(tokens)
    after = student.run(logits_after, student.run_circuit, model, tokens, [head], "resample", other)
    expect_close(after, intact, **LOGITS)
    expect_untouched(student, student.run_circuit, model, tokens, [head], "resample", other)


def faithfulness_by_size__agrees_with_the_reference(student, draw):
    """the curve agrees with the reference for every kind, on orders of heads that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "mean", "zero"):
        order = in_drawn_order(draw, model)
        case = model, *prompts(draw, model), order[: draw.integer(2, 3)], kind
        expected = faithfulness.faithfulness_by_size(*case)
        expect_close(student.faithfulness_by_size(*case), expected, dims="size")


def faithfulness_by_size__runs_from_nothing_to_everything(student, draw):
    """no head keeps 0, all heads keep 1, a longer order only adds entries, and swapped answers give the same shares"""
    model = draw.language_model("course-attn-2l")
    order = in_drawn_order(draw, model)
    case = model, tokens, other, right, wrong = model, *prompts(draw, model)
    whole, none = student.faithfulness_by_size(*case, order), student.faithfulness_by_size(*case, [])
    expect_close(none, torch.zeros(1, device=draw.device), dims="size")
    expected = faithfulness.faithfulness_by_size(*case, order)
    expect_close(whole, expected, dims="size")
    expect_close(whole[-1:], torch.ones(1, device=draw.device), dims="size")
    part = student.faithfulness_by_size(model, tokens, other, wrong, right, order[:2])
    expect_close(part, expected[:3], dims="size")
    expect_untouched(student, student.faithfulness_by_size, *case, order[:1])


def attribute_heads__agrees_with_the_reference(student, draw):
    """the estimates agree with the reference on relabelled models and prompts that you have not seen"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        case = model, *prompts(draw, model, draw.integer(2, 4))
        expected = attribution_patching.attribute_heads(*case)
        expect_close(student.attribute_heads(*case), expected, dims="layer head", atol=NEAR)


def attribute_heads__obeys_its_limits(student, draw):
    """equal prompts give zero, swapped answers the opposite, and for equal rows the estimate is that of one row"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, right, wrong = prompts(draw, model)
    nothing = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=draw.device)
    near = {"dims": "layer head", "atol": NEAR}
    expect_close(student.attribute_heads(model, clean, clean, right, wrong), nothing, **near)
    one = student.attribute_heads(model, clean[:1], corrupted[:1], right[:1], wrong[:1])
    expected = attribution_patching.attribute_heads(model, clean[:1], corrupted[:1], right[:1], wrong[:1])
    expect_close(one, expected, **near)
    expect_close(
        student.attribute_heads(model, clean[:1], corrupted[:1], wrong[:1], right[:1]), -expected, **near
    )
    many = (each[:1].expand(3, *each.shape[1:]).clone() for each in (clean, corrupted, right, wrong))
    expect_close(student.attribute_heads(model, *many), expected, **near)


def attribute_heads__leaves_nothing_behind(student, draw):
    """the result carries no gradient, no weight holds one, and the model computes what it did before"""
    model = draw.language_model("course-attn-2l")
    clean, *rest = prompts(draw, model)
    intact = model(clean)
    estimate = student.attribute_heads(model, clean, *rest)
    still = isinstance(estimate, Tensor) and not estimate.requires_grad
    expect(still, "The result still carries a gradient: `detach` what you return.")
    count, after = student.run(gradients_left, student.attribute_heads, model, clean, *rest)
    expect_equal(count, 0, what="weights with a gradient")
    expect_close(after, intact, dims="batch pos d_vocab")
    expect_untouched(student, student.attribute_heads, model, clean, *rest)


def break_circuit__finds_the_worst_case(student, draw):
    """no knockout and no prompt is worse than the one found, for claims about relabelled models that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "zero"):
        texts = prompts(draw, model)
        case = model, *texts, broken_inside(model, texts, in_drawn_order(draw, model), kind), kind
        for right, wrong in (texts[2:], texts[:1:-1]):  # the gap has one sign, and then the other
            case = *case[:3], right, wrong, *case[5:]
            expect_worst_case(student.break_circuit(*case), case)
    expect_untouched(student, student.break_circuit, *case[:5], case[5][:1], "zero")


def break_circuit__breaks_false_claims_and_spares_true_ones(student, draw):
    """a pair of heads that is enough alone and idle in the model has a large gap, the planted circuit a small one"""
    puzzle, truth = planted.plant(draw.seed(), "pair")
    idle = sorted(decoy.head for decoy in truth.decoys if decoy.kind == "shadow")
    for claim in (idle, sorted([truth.circuit.copying, truth.circuit.matching])):
        kind, parts = draw.choice(["zero", "mean"]), (puzzle.weights, puzzle.bos, puzzle.offset)
        found = student.run(on_planted, student.break_circuit, *parts, claim, kind)
        expect_worst_case(found, planted_case(puzzle, claim, kind))


def find_circuit__finds_and_proves_pairs(student, draw):
    """in six new models of two layers, circuit and evidence are right"""
    for _ in range(6):
        expect_found(student, draw, "pair")


def find_circuit__finds_and_proves_backups_and_deep_circuits(student, draw):
    """in six new models, circuit and evidence are right, whether they have two layers or four, and a backup or none"""
    for family in ("backup", "pair", "deep", "backup", "pair", "deep"):
        expect_found(student, draw, family)
