"""Checks of solutions/ch18_dictionary_variants/chapter.py, version 39c23a6855d3.

Written by `python -m mechinterp_course.authoring ch18_dictionary_variants`: edit the source instead.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import dictionary_variants, revival, sae_training, transcoders
from mechinterp_course.checking import expect, expect_close, expect_equal

Acts = Float[Tensor, "token d_sae"]


def tensors_in(argument):
    """The tensors in an argument, in lists and in dictionaries."""
    if isinstance(argument, dict):
        argument = list(argument.values())
    parts = argument if isinstance(argument, list | tuple) else [argument]
    return [each for part in parts for each in (tensors_in(part) if part is not argument else [part])]


def changes(function, *arguments):
    """Whether a call of `function` changes a tensor among the arguments, or in a list or dictionary there."""
    held = [each for each in tensors_in(arguments) if isinstance(each, Tensor)]
    before = [each.detach().clone() for each in held]
    function(*arguments)
    return not all(torch.equal(a, b) for a, b in zip(before, held, strict=True))


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    changed = student.run(changes, function, *arguments)
    expect(changed is False, "The call changes what it was given in place: work on copies (`clone`).")


def expect_parts(value, count):
    """Pass if the value is a tuple (or list) of so many parts."""
    several = isinstance(value, tuple | list) and len(value) == count
    expect(several, f"The result is not a tuple of {count} parts.")


def expect_floats(value, count):
    """Pass if the value is a tuple of so many floats."""
    expect_parts(value, count)
    expect(all(isinstance(each, float) for each in value), "The results are not floats.")


def slopes(function, arguments, pulls=None):
    """The gradients, with respect to every float tensor among the arguments, of the result.

    A result of several parts is multiplied by `pulls`, part by part, and added up. Zeros where none arrives.
    """
    leaves = [
        each.clone().requires_grad_() if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in arguments
    ]
    result = function(*leaves)
    parts = result if pulls is not None else [result]
    pulls = pulls if pulls is not None else [1.0]
    total = sum((part * pull).sum() for part, pull in zip(parts, pulls, strict=True))
    learning = [each for each in leaves if isinstance(each, Tensor) and each.requires_grad]
    if not total.requires_grad:
        return [torch.zeros_like(each) for each in learning]
    found = torch.autograd.grad(total, learning, allow_unused=True)
    return [torch.zeros_like(a) if b is None else b for a, b in zip(learning, found, strict=True)]


def some_pre_activations(draw, d_sae):
    """Batches of unequal size and loudness, and one in which little is positive."""
    sizes = draw.integer(3, 5), draw.integer(8, 12), draw.integer(5, 7)
    return [
        scale * draw.normal(tokens, d_sae) + shift
        for tokens, scale, shift in zip(sizes, (1.0, 3.0, 1.0), (0.5, 0.0, -1.3), strict=True)
    ]


def some_crossings(draw, *shape):
    """Pre-activations around positive thresholds, and what is to pull at the two results."""
    threshold = 0.4 + 0.3 * draw.normal(shape[-1]).abs()
    pre_activations = threshold + draw.normal(*shape)
    return pre_activations, threshold, [draw.normal(*shape), draw.normal(*shape)]


def some_dead(draw, count, tokens=6, d_in=7, d_sae=13):
    """(error, pre-activations, dead, W_dec): `count` features are dead, at places you can't foresee."""
    dead = torch.zeros(d_sae, dtype=torch.bool)
    dead[draw.normal(d_sae).argsort()[:count].cpu()] = True
    values = draw.normal(tokens, d_sae), draw.normal(d_sae, d_in)
    return draw.normal(tokens, d_in), values[0] - 0.3, dead.to(draw.device), values[1]


SIZES = {"W_enc": "d_in d_sae", "b_enc": "d_sae", "W_dec": "d_sae d_in", "b_dec": "d_in"}


def some_optimizer(draw, d_in, d_sae):
    """Weights, and an average of each that an optimizer may hold."""
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    weights = {name: draw.normal(*shape) for name, shape in shapes.items()}
    return weights, {name: 1 + draw.normal(*shape).abs() for name, shape in shapes.items()}


def expect_weights(result, expected):
    """Pass if weights and moments are the expected ones, name by name."""
    expect_parts(result, 2)
    for found, known in zip(result, expected, strict=True):
        same = isinstance(found, dict) and set(found) == set(SIZES)
        expect(same, "The results are not two dictionaries with the keys of `weights`.")
        for name, dims in SIZES.items():
            expect_close(found[name], known[name], dims=dims)


def four_tokens(draw, count):
    """Tokens along four axes with squared errors of 0, 1, 2 and 4, and `count` dead features beside a living one."""
    activations = torch.eye(4, device=draw.device)
    reconstruction = activations.clone()
    reconstruction[1:, 0] += torch.tensor([1.0, 2.0, 4.0], device=draw.device).sqrt()
    weights, moments = some_optimizer(draw, 4, count + 1)
    weights["b_dec"] = torch.zeros(4, device=draw.device)
    dead = torch.arange(count + 1, device=draw.device) < count
    return activations, reconstruction, dead, weights, moments, draw.seed()


def some_family(draw, tokens, features, d_sae):
    """(feature_acts, true_acts, partner, parent, children): a family among strangers, matched in any order."""
    family = draw.normal(features).argsort()[:4].tolist()
    parent, children = family[0], family[1:]
    there = draw.normal(tokens, features) > 0.6
    there[:, parent] = (draw.normal(tokens) > 0.5) | there[:, children].any(dim=1)
    partner = draw.normal(d_sae).argsort()[:features]
    fires = draw.normal(tokens, d_sae) > 0.2
    sizes = draw.normal(tokens, d_sae).abs() + 0.05, draw.normal(tokens, features).abs() + 0.05
    return fires * sizes[0], there * sizes[1], partner, parent, children


def of_digits(rows):
    """A row of activations for each word of digits."""
    return torch.tensor([[float(digit) for digit in row] for row in rows.split()])


def some_pieces(draw, tokens, narrow, wide):
    """(narrow_acts, wide_acts): most wide features lie within a narrow one, some with a spill; one is dead."""
    whole = draw.normal(tokens, narrow) > 0.3
    owner = torch.tensor([draw.integer(0, narrow - 1) for _ in range(wide)], device=draw.device)
    within = whole[:, owner] & (draw.normal(tokens, wide) > 0.2)
    spilt = draw.normal(tokens, wide) > 1.2 + draw.normal(wide).abs()
    part = within | spilt
    part[:, draw.integer(0, wide - 1)] = False
    whole[:, draw.integer(0, narrow - 1)] = False
    sizes = draw.normal(tokens, narrow).abs() + 0.05, draw.normal(tokens, wide).abs() + 0.05
    return whole * sizes[0], part * sizes[1]


def pairs(matrix):
    """The places (row, column) at which a bool matrix is true."""
    return [tuple(place) for place in matrix.nonzero().tolist()]


def expect_pieces(result, pieces, covered):
    """Pass if the result is (pieces, covered): these pairs, exactly, and how much they cover."""
    expect_parts(result, 2)
    right = isinstance(result[0], Tensor) and result[0].dtype == torch.bool
    expect(right and result[0].shape == pieces.shape, "`pieces` is not a bool tensor [narrow, wide].")
    expect_equal(pairs(result[0]), pairs(pieces), "pairs of a narrow feature and a piece")
    expect_close(result[1], covered, "narrow")


def some_dictionary(draw, tokens, d_in, d_sae):
    """Activations, sparse feature activations, a decoder and a bias."""
    feature_acts = (draw.normal(tokens, d_sae) - 0.4).clamp(min=0)
    return draw.normal(tokens, d_in), feature_acts, draw.normal(d_sae, d_in), draw.normal(d_in)


def half_of_it(activation):
    """The first half of the inputs, doubled; zeros in the place of the others: no good transcoder."""
    first = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return 2 * activation * first


def nothing_of_it(activation):
    """Nothing at all is written."""
    return torch.zeros_like(activation)


def some_text(draw, model, rows):
    """BOS and eight tokens said twice, in each row: a model that copies has something to lose."""
    start = torch.full((rows, 1), model.tokenizer.bos_token_id, device=draw.device)
    return torch.cat([start, draw.tokens(rows, 8, model.cfg.d_vocab).repeat(1, 2)], dim=1)


def with_its_own_mlp(function, model, tokens, layer):
    """The result for a transcoder that computes what the layer's MLP does, from its weights."""
    W_in, b_in, W_out, b_out = (
        weights[layer] for weights in (model.W_in, model.b_in, model.W_out, model.b_out)
    )

    def mlp(reads):
        return torch.nn.functional.gelu(reads @ W_in + b_in, approximate="tanh") @ W_out + b_out

    return function(model, tokens, layer, mlp)


def hooks_left(function, model, *arguments):
    """How many hook points of the model carry more hooks after a call of the function than before."""
    points = list(model.hook_dict.values())
    before = [len(point.fwd_hooks) for point in points]
    function(model, *arguments)
    return sum(len(point.fwd_hooks) > count for point, count in zip(points, before, strict=True))


def inference_threshold__agrees_with_the_reference(student, draw):
    """the threshold agrees with the reference on batches of unequal size and loudness"""
    for k in (1, draw.integer(2, 3)):
        batches = some_pre_activations(draw, draw.integer(9, 12))
        expect_close(
            student.inference_threshold(batches, k), dictionary_variants.inference_threshold(batches, k)
        )
    expect_untouched(student, student.inference_threshold, batches, k)


def inference_threshold__knows_simple_batches(student, draw):
    """three batches by hand: one full, one with few positive values, one with none; the order does not matter"""
    full = torch.tensor([[5.0, 4.0, -1.0], [3.0, 2.0, 1.0]]).to(draw.device)
    few, none = torch.tensor([[-2.0, 0.5, -3.0]]).to(draw.device), -torch.ones(2, 3).to(draw.device)
    alone = student.inference_threshold([full], 1)
    expect(isinstance(alone, float), "The result is not a float.")
    expect_close(alone, 4.0)
    for batches in ([full, few, none], [none, few, full]):
        expect_close(student.inference_threshold(batches, 2), (2.0 + 0.5) / 2)
    expect_close(student.inference_threshold([full, 10 * full, full], 1), 16.0)


def jumprelu__agrees_with_the_reference(student, draw):
    """activations and gate agree with the reference for any axes, and are what they are without a gradient"""
    for axes, dims in (((draw.integer(5, 8),), "token d_sae"), ((2, draw.integer(3, 5)), "batch pos d_sae")):
        pre_activations, threshold, _ = some_crossings(draw, *axes, draw.integer(9, 12))
        result = student.jumprelu(pre_activations, threshold, 0.5)
        expect_parts(result, 2)
        expected = dictionary_variants.jumprelu(pre_activations, threshold, 0.5)
        for actual, known in zip(result, expected, strict=True):
            expect_close(actual, known, dims=dims)
    expect_untouched(student, student.jumprelu, pre_activations, threshold, 0.5)


def jumprelu__gives_thresholds_a_gradient(student, draw):
    """through each of the two results the right gradient reaches pre-activations and thresholds"""
    for shape, dims in (((12, 7), "token d_sae"), ((3, 4, 6), "batch pos d_sae")):
        pre_activations, threshold, pulls = some_crossings(draw, *shape)
        bandwidth = draw.choice([0.4, 0.9, 1.6])
        for weights in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
            pulled = [weight * pull for weight, pull in zip(weights, pulls, strict=True)]
            arguments = [pre_activations, threshold, bandwidth]
            found = student.run(slopes, student.jumprelu, arguments, pulled)
            known = slopes(dictionary_variants.jumprelu, arguments, pulled)
            expect_parts(found, 2)
            expect_close(found[0], known[0], dims=dims)
            expect_close(found[1], known[1], dims="d_sae")


def jumprelu__knows_one_feature(student, draw):
    """three tokens by hand, one on each side of the threshold and one far away; a negative one never stays"""
    z = torch.tensor([[0.9], [1.2], [3.0], [-2.0]]).to(draw.device)
    theta = torch.tensor([1.0]).to(draw.device)
    result = student.jumprelu(z, theta, 0.5)
    expect_parts(result, 2)
    expect_close(result[0].cpu(), torch.tensor([[0.0], [1.2], [3.0], [0.0]]), dims="token d_sae")
    expect_close(result[1].cpu(), torch.tensor([[0.0], [1.0], [1.0], [0.0]]), dims="token d_sae")
    pull = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]).to(draw.device)
    for pulls, at_z, at_theta in (
        ([pull, 0 * pull], [0.0, 10.0, 100.0, 0.0], -2.0 * 11),
        ([0 * pull, pull], [0.0] * 4, -2.0 * 11),
        ([0 * pull, pull / 10], [0.0] * 4, -2.0 * 1.1),
    ):
        found = student.run(slopes, student.jumprelu, [z, theta, 0.5], pulls)
        expect_close(found[0].cpu(), torch.tensor(at_z)[:, None], dims="token d_sae")
        expect_close(found[1].cpu(), torch.tensor([at_theta]), dims="d_sae")
    found = student.run(slopes, student.jumprelu, [3 * z, 3 * theta, 1.5], [pull, 0 * pull])
    expect_close(found[1].cpu(), torch.tensor([-22.0]), dims="d_sae")
    found = student.run(slopes, student.jumprelu, [z, theta, 0.1], [pull, pull])
    expect_close(found[1].cpu(), torch.tensor([0.0]), dims="d_sae")


def auxiliary_loss__agrees_with_the_reference(student, draw):
    """the loss agrees with the reference for few, many and as many dead features as may speak"""
    for count, k_aux in ((9, 3), (9, 9), (draw.integer(2, 3), 5), (13, draw.integer(2, 4))):
        case = some_dead(draw, count, draw.integer(4, 6), draw.integer(7, 8))
        expected = sae_training.auxiliary_loss(*case, k_aux)
        expect_close(student.auxiliary_loss(*case, k_aux), expected, dims="")
    expect_untouched(student, student.auxiliary_loss, *case, k_aux)


def auxiliary_loss__sends_gradients_where_they_belong(student, draw):
    """gradients reach the dead features that speak, their rows, and nobody else: not the error, not the living"""
    for count, k_aux in ((8, 3), (3, 6)):
        arguments = [*some_dead(draw, count), k_aux]
        found = student.run(slopes, student.auxiliary_loss, arguments)
        known = slopes(sae_training.auxiliary_loss, arguments)
        expect_parts(found, 3)
        for actual, expected, dims in zip(
            found, known, ("token d_in", "token d_sae", "d_sae d_in"), strict=True
        ):
            expect_close(actual, expected, dims=dims)


def auxiliary_loss__knows_simple_errors(student, draw):
    """none dead gives 0, what the living say changes nothing, twice the tokens neither; a case by hand"""
    error, pre_activations, dead, W_dec = some_dead(draw, 5)
    nobody = error, pre_activations, dead & False, W_dec, 3
    expect_close(student.auxiliary_loss(*nobody), torch.zeros((), device=draw.device), dims="")
    expect_untouched(student, student.auxiliary_loss, *nobody)
    known = sae_training.auxiliary_loss(error, pre_activations, dead, W_dec, 3).item()
    louder = pre_activations + 9.0 * ~dead
    expect_close(student.auxiliary_loss(error, louder, dead, W_dec, 3), known)
    twice = error.repeat(2, 1), pre_activations.repeat(2, 1), dead, W_dec, 3
    expect_close(student.auxiliary_loss(*twice), known)
    error, W_dec = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0], [0, 1.0], [1.0, 1.0]])
    said = torch.tensor([[2.0, 5.0, 1.0], [-1.0, 5.0, -3.0]])
    dead = torch.tensor([True, False, True])
    case = [each.to(draw.device) for each in (error, said, dead, W_dec)]
    expect_close(student.auxiliary_loss(*case, 1), (1.0 + 2.0) / 2)  # (3, 0) − (2, 0), (0, 1) + (1, 0)
    expect_close(student.auxiliary_loss(*case, 4), (0.0 + 1.0 + 16.0 + 16.0) / 2)


def resample_dead__agrees_where_nothing_is_left_to_chance(student, draw):
    """with one bad token, weights and moments agree with the reference, for any number of dead features"""
    for count in (1, draw.integer(3, 5), 0):
        d_in, d_sae, tokens = draw.integer(5, 6), draw.integer(8, 10), draw.integer(12, 14)
        activations = draw.normal(tokens, d_in)
        reconstruction = activations.clone()
        reconstruction[draw.integer(0, tokens - 1)] += 0.5
        dead = torch.zeros(d_sae, dtype=torch.bool)
        dead[draw.normal(d_sae).argsort()[:count].cpu()] = True
        dead = dead.to(draw.device)
        if count == 0:
            reconstruction = activations + 0.1
        case = [activations, reconstruction, dead, *some_optimizer(draw, d_in, d_sae), draw.seed()]
        expect_weights(student.resample_dead(*case), revival.resample_dead(*case))
    expect_untouched(student, student.resample_dead, *case)


def resample_dead__draws_tokens_by_their_squared_loss(student, draw):
    """squared errors of 1, 2 and 4 are drawn as 1 to 4 to 16, one of 0 never, each feature for itself"""
    result = student.resample_dead(*four_tokens(draw, 1200))
    expect_parts(result, 2)
    drawn = result[0]["W_dec"][:1200] > 0.9
    expect(bool(drawn.any(dim=1).all()), "Not every revived feature points at a token.")
    shares = drawn.double().mean(dim=0).tolist()
    for share, chance in zip(shares, (0.0, 1 / 21, 4 / 21, 16 / 21), strict=True):
        near = abs(share - chance) < 0.055 if chance else share == 0
        expect(near, f"A token with a chance of {chance:.2f} was drawn with one of {share:.2f}.")


def resample_dead__repeats_itself(student, draw):
    """the same seed gives the same weights and another seed others; what changes in place is a copy"""
    activations, bad = draw.normal(30, 5), draw.normal(30, 5)
    dead = torch.arange(12, device=draw.device) < 7
    weights, moments = some_optimizer(draw, 5, 12)
    case = [activations, bad, dead, weights, moments]
    one, same, other = (student.resample_dead(*case, seed) for seed in (3, 3, 4))
    for result in (one, same, other):
        expect_parts(result, 2)
    expect(torch.equal(one[0]["W_dec"], same[0]["W_dec"]), "The same seed gave other rows the second time.")
    expect(not torch.equal(one[0]["W_dec"], other[0]["W_dec"]), "Another seed gave the same rows.")
    expect_untouched(student, student.resample_dead, *case, 3)
    lengths = one[0]["W_enc"][:, :7].norm(dim=0)
    fifth = 0.2 * weights["W_enc"][:, 7:].norm(dim=0).mean()
    expect_close(lengths, fifth.expand(7).clone(), dims="d_sae")


def absorption_rate__agrees_with_the_reference(student, draw):
    """both numbers agree with the reference, whatever the order of features and partners"""
    for tokens in (draw.integer(60, 80), draw.integer(90, 110)):
        case = some_family(draw, tokens, draw.integer(6, 8), draw.integer(10, 13))
        result = student.absorption_rate(*case)
        expect_floats(result, 2)
        recall, absorbed = dictionary_variants.absorption_rate(*case)
        expect_close(result[0], recall)
        expect_close(result[1], absorbed)
    expect_untouched(student, student.absorption_rate, *case)


def absorption_rate__tells_absorbed_from_missed(student, draw):
    """nine tokens by hand: spoken, missed, absorbed, two children at once; strangers and sizes change nothing"""
    # columns: parent, child, child, stranger; and found: stranger, child, parent, child, nobody's
    true_acts = of_digits("1000 1001 1100 1010 1100 1110 1011 1010 0001")
    fires = of_digits("00100 10001 00010 00011 00110 00010 10001 00011 11101")
    partner = torch.tensor([2, 3, 1, 0])
    case = [each.to(draw.device) for each in (fires, true_acts, partner)]
    for factor in (1.0, 7.0):
        result = student.absorption_rate(factor * case[0], case[1], case[2], 0, [1, 2])
        expect_floats(result, 2)
        expect_close(result[0], 2 / 8)
        expect_close(result[1], 2 / 6)
    result = student.absorption_rate(*case, 0, [2])
    expect_parts(result, 2)
    expect_close(result[1], 0.0)


def split_features__agrees_with_the_reference(student, draw):
    """both tensors agree with the reference, wherever the line is drawn"""
    for share in (0.5, 0.7, 0.9):
        inside = share + 0.00037  # no count of tokens lies on the line
        case = some_pieces(draw, draw.integer(60, 90), draw.integer(5, 7), draw.integer(9, 12))
        expect_pieces(
            student.split_features(*case, inside), *dictionary_variants.split_features(*case, inside)
        )
    expect_untouched(student, student.split_features, *case, inside)


def split_features__knows_eight_tokens(student, draw):
    """by hand: pieces, one that spills over, one of two owners, a dead one, pieces that fire together"""
    # columns: the narrow ones; and the wide ones: two pieces of the first, one that spills, a dead one
    narrow_acts = of_digits("100 100 100 100 110 010 010 000").to(draw.device)
    wide_acts = of_digits("1000 1100 0100 0010 0010 0010 0010 0000").to(draw.device)
    within = [[True, True, False, False], [False, False, False, False], [False, False, False, False]]
    half = [[True, True, True, False], [False, False, True, False], [False, False, False, False]]
    three = [[True, True, False, False], [False, False, True, False], [False, False, False, False]]
    told = {1.0: (within, [3 / 5, 0, 0]), 0.5: (half, [1, 1, 0]), 0.75: (three, [3 / 5, 1, 0])}
    for factor in (1.0, 9.0):
        for inside, (pieces, covered) in told.items():
            result = student.split_features(factor * narrow_acts, wide_acts / factor, inside)
            expected = torch.tensor(pieces), torch.tensor(covered, dtype=torch.float32)
            expect_pieces(result, *(each.to(draw.device) for each in expected))


def split_features__follows_its_laws(student, draw):
    """held against itself each feature is its own piece; another order of tokens changes nothing"""
    narrow_acts, wide_acts = some_pieces(draw, 50, draw.integer(4, 6), draw.integer(7, 9))
    alive = (wide_acts > 0).any(dim=0)
    result = student.split_features(wide_acts, wide_acts, 1.0)
    pieces, _ = dictionary_variants.split_features(wide_acts, wide_acts, 1.0)
    expect_pieces(result, pieces, alive.to(wide_acts.dtype))
    order = draw.normal(50).argsort()
    expect_pieces(
        student.split_features(narrow_acts[order], wide_acts[order], 0.80037),
        *dictionary_variants.split_features(narrow_acts, wide_acts, 0.80037),
    )


def matryoshka_loss__agrees_with_the_reference(student, draw):
    """the loss agrees with the reference for one, two and many widths, also where the last is not the whole"""
    for widths in ([12], [3, 12], [2, 5, 9, 12], [draw.integer(1, 3), draw.integer(5, 8)]):
        case = some_dictionary(draw, draw.integer(4, 6), draw.integer(7, 8), 12)
        expected = dictionary_variants.matryoshka_loss(*case, widths)
        expect_close(student.matryoshka_loss(*case, widths), expected, dims="")
    expect_untouched(student, student.matryoshka_loss, *case, widths)


def matryoshka_loss__follows_its_laws(student, draw):
    """one width is a plain error, a width said twice counts twice, saying tokens twice changes nothing; by hand"""
    x, acts, W_dec, b_dec = some_dictionary(draw, 5, 6, 10)
    plain = (acts @ W_dec + b_dec - x).square().sum(dim=1).mean().item()
    expect_close(student.matryoshka_loss(x, acts, W_dec, b_dec, [10]), plain)
    expect_close(student.matryoshka_loss(x, acts, W_dec, b_dec, [10, 10]), 2 * plain)
    expect_close(student.matryoshka_loss(x.repeat(3, 1), acts.repeat(3, 1), W_dec, b_dec, [10]), plain)
    acts = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]).to(draw.device)
    W_dec = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).to(draw.device)
    x = torch.tensor([[4.0, 2.0], [1.0, 3.0]]).to(draw.device)
    bias = torch.tensor([1.0, 0.0]).to(draw.device)
    expect_close(student.matryoshka_loss(x, acts, W_dec, bias, [3]), (1 + 0) / 2)
    expect_close(student.matryoshka_loss(x, acts, W_dec, bias, [1, 3]), (1 + 0) / 2 + (5 + 9) / 2)


def matryoshka_loss__gradients_reach_every_prefix(student, draw):
    """gradients reach activations of features, decoder and bias through every prefix"""
    arguments = [*some_dictionary(draw, 4, 6, 9), [2, 5, 9]]
    found = student.run(slopes, student.matryoshka_loss, arguments)
    known = slopes(dictionary_variants.matryoshka_loss, arguments)
    expect_parts(found, 4)
    for actual, expected, dims in zip(
        found, known, ("token d_in", "token d_sae", "d_sae d_in", "d_in"), strict=True
    ):
        expect_close(actual, expected, dims=dims)


def transcoder_recovered__agrees_with_the_reference(student, draw):
    """transcoder_recovered agrees with the reference in the first and the last layer, and leaves no hook"""
    model = draw.language_model()
    tokens = some_text(draw, model, 3)
    for layer, transcode in ((0, half_of_it), (3, half_of_it), (3, nothing_of_it)):
        expected = transcoders.transcoder_recovered(model, tokens, layer, transcode)
        found = student.transcoder_recovered(model, tokens, layer, transcode)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)
    expect_untouched(student, student.transcoder_recovered, model, tokens, 0, half_of_it)
    left = student.run(hooks_left, student.transcoder_recovered, model, tokens, 1, half_of_it)
    expect_equal(left, 0, what="hook points with a hook left")


def transcoder_recovered__knows_the_mlp_itself(student, draw):
    """the MLP in its own place gives 1 in the first and the last layer; it agrees with the reference on another text"""
    model = draw.language_model()
    tokens = some_text(draw, model, 2)
    for layer in (0, 3):
        found = student.run(with_its_own_mlp, student.transcoder_recovered, model, tokens, layer)
        expect_close(found, 1.0)
    expected = transcoders.transcoder_recovered(model, tokens, 3, half_of_it)
    expect_close(student.transcoder_recovered(model, tokens, 3, half_of_it), expected)
