"""Checks of solutions/ch04_path_patching/chapter.py, version ef27817b994a.

Written by `python -m mechinterp_course.authoring ch04_path_patching`: edit the source instead.
"""

from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import circuits, heads, lens, metrics, patching, path_patching
from mechinterp_course.checking import expect, expect_close, expect_raises

Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]
Head = tuple[int, int]  # (layer, head)
LOGITS = {
    "dims": "batch pos d_vocab",
    "atol": 2e-4,
}  # how results are compared: by these axes, up to rounding
BY_HEAD = {"dims": "batch layer head", "atol": 2e-4}
BY_PLACE = {"dims": "layer pos", "atol": 2e-4}
BY_PAIR = {"dims": "layer head later_layer later_head", "atol": 1e-5}


def two_pairs(d_vocab: int, batch: int, bos: int, seed: int, gap: int = 3) -> tuple[Tensor, ...]:
    """Rows `BOS A B … C D … A`, the same with A and C of the first part exchanged, and the words B and D.

    `gap` other words stand in each place of the dots, and no word but A comes twice. In the second rows, the
    word before the last A is another one as well.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(d_vocab, generator=generator)[: 5 + 2 * gap] for _ in range(batch)])
    (a, b, c, d, other), filler = drawn[:, :5].T, drawn[:, 5:].T

    def rows(first, second, last):
        words = [torch.full((batch,), bos), first, b, *filler[:gap], second, d, *filler[gap:-1], last, a]
        return torch.stack(words, dim=1)

    return rows(a, c, filler[-1]), rows(c, a, other), b, d


def logit_difference(logits: Logits, right: Int[Tensor, " batch"], wrong: Int[Tensor, " batch"]) -> Tensor:
    """The logit of the right word minus that of the wrong one at the last position, for each row."""
    row = torch.arange(len(logits), device=logits.device)
    return logits[row, -1, right] - logits[row, -1, wrong]


def replace_heads(name: str, values: Tensor, chosen: list[int]) -> tuple:
    """A hook for the place `name` that gives the chosen heads these values; axes [batch, pos, head, d_head]."""

    def replace(current, hook):
        current = current.clone()
        current[:, :, chosen] = values[:, :, chosen]
        return current

    return name, replace


def hold(cache, names: list[str]) -> list[tuple]:
    """Hooks that keep each of these activations at its value in the cache, whatever happens before it."""
    return [(name, lambda current, hook, held=cache[name]: held) for name in names]


def prompts(draw, model, batch=3, longest=3):
    """Clean and corrupted rows and their right and wrong words, with a gap of 1 to `longest` words."""
    start, gap = model.tokenizer.bos_token_id, draw.integer(1, longest)
    rows = two_pairs(model.cfg.d_vocab, batch, start, draw.seed(), gap)
    return tuple(each.to(model.cfg.device) for each in rows)


def left_behind(function, model, *arguments):
    """Calls `function(model, *arguments)`; returns the tensors among the arguments, and the model's logits, after it."""
    function(model, *arguments)
    return [each for each in arguments if isinstance(each, Tensor)], model(arguments[0])


def expect_nothing_left(student, function, model, *arguments):
    """Pass if a call leaves its tensors as they were, and the model to compute what it did before."""
    before = [each.clone() for each in arguments if isinstance(each, Tensor)]
    intact = model(arguments[0]).clone()
    after, logits = student.run(left_behind, function, model, *arguments)
    for known, each in zip(before, after, strict=True):
        expect_close(each, known, dims="batch pos" if known.dim() == 2 else "batch")
    expect_close(logits, intact, **LOGITS)


def a_path(draw, model, above=1):
    """Prompts, the head of layer 0 that looks back most, and all heads but one of the layer `above`."""
    clean, corrupted, _, _ = prompts(draw, model)
    _, cache = model.run_with_cache(clean, names_filter="blocks.0.attn.hook_pattern")
    score = heads.previous_token_score(cache["blocks.0.attn.hook_pattern"])
    left_out = draw.integer(0, model.cfg.n_heads - 1)
    receivers = [(above, head) for head in range(model.cfg.n_heads) if head != left_out]
    return clean, corrupted, (0, score.argmax().item()), receivers


def with_known_weights(function, model, places, into):
    """Calls `function(model, into)` on a model in which two heads read and write known directions of the stream.

    `places` says for six matrices at which direction their d_head ones begin: the sender's W_V and W_O, the
    receiver's W_Q, W_K, W_V and W_O. The sender is head 0 of layer 0, the receiver head 1 of layer 1. The
    weights are put back.
    """
    first, second = model.blocks[0].attn, model.blocks[1].attn
    weights = [first.W_V[0], first.W_O[0], second.W_Q[1], second.W_K[1], second.W_V[1], second.W_O[1]]
    kept, size = [each.clone() for each in weights], model.cfg.d_head
    try:
        for weight, place in zip(weights, places, strict=True):
            ones = torch.eye(model.cfg.d_model, device=weight.device)[place : place + size]
            weight.copy_(ones if weight.shape == ones.shape else ones.T)
        return function(model, into)
    finally:
        for weight, before in zip(weights, kept, strict=True):
            weight.copy_(before)


from mechinterp_course import attribution_patching, faithfulness, refutation
from mechinterp_course.checking import expect_equal
from mechinterp_course.worlds import planted


def two_texts(draw, model):
    """Two batches of random tokens, of one drawn shape."""
    shape = draw.integer(2, 4), draw.integer(5, 9), model.cfg.d_vocab
    return draw.tokens(*shape), draw.tokens(*shape)


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
    expect_close(gap, refutation.break_circuit(*case)[2], rtol=1e-4, atol=1e-3)
    expect(set(knockout) <= set(case[5]), "The knockout is not a part of the circuit.")
    expect(0 <= prompt < len(case[1]), "There is no such prompt.")
    expect_close(gap_at(case, knockout, prompt), gap, rtol=1e-4, atol=2e-3)


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


def head_logit_attribution__agrees_with_the_reference(student, draw):
    """head_logit_attribution agrees with the reference on prompts you have not seen, in a relabelled model"""
    model = draw.language_model("course-attn-2l")
    for batch in (draw.integer(2, 5), 1):
        tokens, _, right, wrong = prompts(draw, model, batch)
        expected = lens.head_logit_attribution(model, tokens, right, wrong)
        expect_close(student.head_logit_attribution(model, tokens, right, wrong), expected, **BY_HEAD)
    expect_nothing_left(student, student.head_logit_attribution, model, tokens, right, wrong)


def head_logit_attribution__adds_up(student, draw):
    """with what embedding, MLPs and biases add, the heads' shares make up each row's logit difference"""
    model = draw.language_model()
    tokens, _, right, wrong = prompts(draw, model)
    shares = student.head_logit_attribution(model, tokens, right, wrong)
    logits, cache = model.run_with_cache(tokens)
    layers = range(model.cfg.n_layers)
    rest = cache["blocks.0.hook_resid_pre"] + sum(cache[f"blocks.{layer}.hook_mlp_out"] for layer in layers)
    rest = (rest[:, -1] + sum(block.attn.b_O for block in model.blocks)) / cache["ln_final.hook_scale"][:, -1]
    rest = logit_difference((rest @ model.W_U + model.b_U)[:, None], right, wrong)
    expect(
        isinstance(shares, Tensor) and shares.dim() == 3, "The result has not the axes [batch, layer, head]."
    )
    expect_close(
        shares.flatten(1).sum(1), logit_difference(logits, right, wrong) - rest, dims="batch", atol=2e-4
    )
    expect_close(student.head_logit_attribution(model, tokens, wrong, right), -shares, **BY_HEAD)


def patch_residual__agrees_with_the_reference(student, draw):
    """patch_residual agrees with the reference on prompts you have not seen, and leaves no hook behind"""
    model = draw.language_model("course-attn-2l")
    cases = [prompts(draw, model, batch, longest=2) for batch in (1, 2)]
    expected = [patching.patch_residual(model, *texts) for texts in cases]
    for texts in cases:
        expect_close(student.patch_residual(model, *texts), expected.pop(0), **BY_PLACE)
    expect_nothing_left(student, student.patch_residual, model, *texts)


def patch_residual__knows_where_a_single_difference_is(student, draw):
    """where the texts differ at one place, only this place of layer 0 restores anything, and all; and what comes before it, nothing"""
    model = draw.language_model("course-attn-2l")
    clean, _, right, wrong = prompts(draw, model, batch=2, longest=1)
    place = draw.choice([1, clean.shape[1] - 1])
    corrupted = clean.clone()
    corrupted[:, place] = wrong
    expected = patching.patch_residual(model, clean, corrupted, right, wrong)
    shares = student.patch_residual(model, clean, corrupted, right, wrong)
    expect_close(shares, expected, **BY_PLACE)
    known = torch.zeros(clean.shape[1])
    known[place] = 1.0
    expect_close(shares[0], known, dims="pos", atol=5e-4)
    expect_close(shares[:, :place], torch.zeros(model.cfg.n_layers, place), **BY_PLACE)


def patch_head_input__agrees_with_the_reference(student, draw):
    """patch_head_input agrees with the reference for each part of heads in every layer of a relabelled model"""
    model = draw.language_model("course-attn-2l")
    cases, last = [], model.cfg.n_heads - 1
    for layer in (0, 1):
        texts = prompts(draw, model)[:2]
        cases += [(*texts, layer, draw.integer(0, last), part) for part in ("k", "q", "v", "pattern")]
    expected = [patching.patch_head_input(model, *case) for case in cases]
    for case in cases:
        expect_close(student.patch_head_input(model, *case), expected.pop(0), **LOGITS)


def patch_head_input__refuses_what_is_no_input(student, draw):
    """a part that is no input of a head, such as "z", raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    for part in ("z", draw.choice(["Q", "resid_pre", "result", ""])):
        refused = f"part={part!r} should be refused."
        call = partial(student.patch_head_input, model, clean, corrupted, 1, 0, part)
        expect_raises("ValueError", call, refused)


def patch_head_input__obeys_its_limits(student, draw):
    """a run patched from itself stays as it is, no logit changes before the texts differ, and no hook is left"""
    model = draw.language_model("course-attn-2l")
    clean, _, _, _ = prompts(draw, model)
    split, layer = clean.shape[1] - 3, draw.integer(0, 1)
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    intact, part = model(corrupted), draw.choice(["k", "v", "pattern"])
    expected = patching.patch_head_input(model, clean, corrupted, layer, 0, part)
    logits = student.patch_head_input(model, clean, corrupted, layer, 0, part)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    expect_close(student.patch_head_input(model, corrupted, corrupted, layer, 0, part), intact, **LOGITS)
    expect_nothing_left(student, student.patch_head_input, model, clean, corrupted, layer, 0, part)


def path_logits__follows_the_direct_path(student, draw):
    """with heads and MLPs frozen, path_logits agrees with the reference for q, k and v, in two relabelled models"""
    small, large = draw.language_model("course-attn-2l"), draw.language_model()
    cases = [(small, *a_path(draw, small), through) for through in "kqv"]
    cases.append((large, *a_path(draw, large, above=2), "k"))
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS)


def path_logits__refuses_what_is_no_path(student, draw):
    """another input than q, k or v, another thing to freeze, or a receiver that is not above the sender raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    layer, word = draw.integer(0, 1), draw.choice(["z", "pattern", "K"])
    cases = [
        ((0, 1), [(1, 0)], word, ("heads",)),
        ((0, 1), [(1, 0)], "k", ("heads", draw.choice(["mlp", "layer_norm"]))),
        ((layer, 1), [(1, 2), (layer, 0)] if layer == 0 else [(1, 0)], "k", ("heads", "mlps")),
    ]
    for case in cases:
        refused = (
            f"sender={case[0]}, receivers={case[1]}, through={case[2]!r}, frozen={case[3]} should be refused."
        )
        expect_raises("ValueError", partial(student.path_logits, model, clean, corrupted, *case), refused)


def path_logits__freezes_what_it_is_told_to(student, draw):
    """with MLPs free, with heads free, or with all free, path_logits agrees with the reference"""
    model = draw.language_model()
    clean, corrupted, sender, receivers = a_path(draw, model, above=2)
    receivers = [*receivers, (3, draw.integer(0, 5))]
    inputs = (("heads",), "k"), (("mlps",), draw.choice(["k", "v"])), ((), "k"), (("heads",), "q")
    cases = [(model, clean, corrupted, sender, receivers, through, frozen) for frozen, through in inputs]
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS)


def path_logits__obeys_its_limits(student, draw):
    """from a later layer, for a run patched from itself, and before the texts differ, it does what it should; no hook is left"""
    model = draw.language_model()
    clean, _, _, _ = prompts(draw, model)
    split = clean.shape[1] - 3
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    sender, receivers, through = (
        (1, draw.integer(0, 5)),
        [(3, 0), (2, 1), (2, 4), (3, 5)],
        draw.choice(["q", "k"]),
    )
    intact = model(corrupted)
    expected = path_patching.path_logits(model, clean, corrupted, sender, receivers, through)
    logits = student.path_logits(model, clean, corrupted, sender, receivers, through)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    same = student.path_logits(model, corrupted, corrupted, sender, receivers, through)
    expect_close(same, intact, **LOGITS)
    expect_nothing_left(student, student.path_logits, model, clean, corrupted, sender, receivers)


def composition_scores__agrees_with_the_reference(student, draw):
    """composition_scores agrees with the reference for q, k and v in relabelled models of two and of four layers"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        for into in ("q", "k", "v"):
            scores = student.composition_scores(model, into)
            expect_close(scores, circuits.composition_scores(model, into), **BY_PAIR)


def composition_scores__counts_the_directions_that_two_heads_share(student, draw):
    """a head that reads s of the d directions that another writes scores √s / d, by the input that reads them and no other"""
    model = draw.language_model("course-attn-2l")
    size, shared = model.cfg.d_head, {into: draw.integer(4, 28) for into in "kv"}
    starts = [
        draw.integer(0, 60),
        0,
        2 * size + 20,
        size - shared["k"],
        size - shared["v"],
        draw.integer(0, 60),
    ]
    shared["q"] = 0
    for into in draw.choice(["kvq", "vqk", "qkv"]):
        scores = student.run(with_known_weights, student.composition_scores, model, starts, into)
        expect(isinstance(scores, Tensor) and scores.dim() == 4, "The result has not four axes.")
        expect_close(scores[0, 0, 1, 1], torch.tensor(shared[into] ** 0.5 / size), dims="", atol=1e-5)


def composition_scores__refuses_other_inputs(student, draw):
    """`into` is "q", "k" or "v"; anything else raises ValueError"""
    model, into = draw.language_model("course-attn-2l"), draw.choice(["o", "K", "qk", "z", ""])
    refused = f"into={into!r} should be refused."
    expect_raises("ValueError", lambda: student.composition_scores(model, into), refused)


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
    _, after = student.run(left_behind, student.run_circuit, model, tokens, [head], "resample", other)
    expect_close(after, intact, **LOGITS)
    expect_untouched(student, student.run_circuit, model, tokens, [head], "resample", other)


def faithfulness_by_size__agrees_with_the_reference(student, draw):
    """the curve agrees with the reference for every kind, on orders of heads that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "mean", "zero"):
        order = in_drawn_order(draw, model)
        case = model, *prompts(draw, model), order[: draw.integer(2, 3)], kind
        expected = faithfulness.faithfulness_by_size(*case)
        expect_close(student.faithfulness_by_size(*case), expected, dims="size", rtol=2e-4, atol=2e-4)


def faithfulness_by_size__runs_from_nothing_to_everything(student, draw):
    """no head keeps 0, all heads keep 1, a longer order only adds entries, and swapped answers give the same shares"""
    model = draw.language_model("course-attn-2l")
    order = in_drawn_order(draw, model)
    case = model, tokens, other, right, wrong = model, *prompts(draw, model)
    whole, none = student.faithfulness_by_size(*case, order), student.faithfulness_by_size(*case, [])
    expect_close(none, torch.zeros(1, device=draw.device), dims="size")
    expected = faithfulness.faithfulness_by_size(*case, order)
    expect_close(whole, expected, dims="size", rtol=2e-4, atol=2e-4)
    expect_close(whole[-1:], torch.ones(1, device=draw.device), dims="size", atol=2e-4)
    part = student.faithfulness_by_size(model, tokens, other, wrong, right, order[:2])
    expect_close(part, expected[:3], dims="size", rtol=2e-4, atol=2e-4)
    expect_untouched(student, student.faithfulness_by_size, *case, order[:1])


def attribute_heads__agrees_with_the_reference(student, draw):
    """the estimates agree with the reference on relabelled models and prompts that you have not seen"""
    for name in ("course-attn-2l", "course-positional"):
        model = draw.language_model(name)
        case = model, *prompts(draw, model, draw.integer(2, 4))
        expected = attribution_patching.attribute_heads(*case)
        scale = expected.abs().max().item()
        expect_close(student.attribute_heads(*case), expected, dims="layer head", atol=2e-5 + 2e-4 * scale)


def attribute_heads__obeys_its_limits(student, draw):
    """equal prompts give zero, swapped answers the opposite, and for equal rows the estimate is that of one row"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, right, wrong = prompts(draw, model)
    nothing = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=draw.device)
    near = {"dims": "layer head", "atol": 1e-3}
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
    expect_close(after, intact, **LOGITS)
    expect_untouched(student, student.attribute_heads, model, clean, *rest)


def break_circuit__finds_the_worst_case(student, draw):
    """no knockout and no prompt is worse than the one found, for claims about relabelled models that you have not seen"""
    model = draw.language_model("course-attn-2l")
    for kind in ("resample", "zero"):
        claim = in_drawn_order(draw, model)[:2]
        case = model, *prompts(draw, model), claim, kind
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
    """in four new models of two layers, circuit and evidence are right"""
    for _ in range(4):
        expect_found(student, draw, "pair")


def find_circuit__finds_and_proves_backups_and_deep_circuits(student, draw):
    """in four new models, circuit and evidence are right, whether they have two layers or four, and a backup or none"""
    for family in ("backup", "pair", "deep", "backup"):
        expect_found(student, draw, family)
