"""Checks of solutions/ch06_sparse_autoencoders/chapter.py, version b06de32c6bfa.

Written by `python -m mechinterp_course.authoring ch06_sparse_autoencoders`: edit the source instead.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import feature_matching, sae, sae_training, sparse_activations
from mechinterp_course.checking import expect, expect_close, expect_equal

Acts = Float[Tensor, "token d_sae"]


def tensors_in(arguments):
    """The tensors among the arguments, and in lists among them."""
    flat = [part for each in arguments for part in (each if isinstance(each, list) else [each])]
    return [each for each in flat if isinstance(each, Tensor)]


def tensors_after(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return tensors_in(arguments)


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    left, tensors = student.run(tensors_after, function, *arguments), tensors_in(arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(torch.equal(a, b) for a, b in zip(left, tensors, strict=True))
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


def expect_parts(value, count):
    """Pass if the value is a tuple (or list) of so many parts."""
    several = isinstance(value, tuple | list) and len(value) == count
    expect(several, f"The result is not a tuple of {count} parts.")


def slopes(function, inputs, *others):
    """The gradients of a number with respect to each of the inputs; zeros where none arrives."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    result = function(*leaves, *others)
    if not (isinstance(result, Tensor) and result.requires_grad):
        return [torch.zeros_like(each) for each in leaves]
    found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
    return [torch.zeros_like(a) if b is None else b for a, b in zip(leaves, found, strict=True)]


def some_weights(draw, d_in, d_sae):
    """W_enc, b_enc, W_dec, b_dec; biases as large as what they are added to."""
    shapes = (d_in, d_sae), (d_sae,), (d_sae, d_in), (d_in,)
    return [scale * draw.normal(*shape) for scale, shape in zip((0.5, 1, 0.5, 2), shapes, strict=True)]


def some_tokens(draw, tokens, d_in, d_sae):
    """Activations, a reconstruction that is not theirs, sparse feature activations, decoder rows of any length."""
    feature_acts = (draw.normal(tokens, d_sae) - 0.5).clamp(min=0)
    return draw.normal(tokens, d_in), 2 * draw.normal(tokens, d_in), feature_acts, draw.normal(d_sae, d_in)


def some_batches(draw, d_sae):
    """Batches of unequal size and unequal sparsity; the first feature never fires, the second in one batch only."""
    batches = []
    for number, tokens in enumerate((draw.integer(3, 6), draw.integer(20, 30), draw.integer(8, 12))):
        acts = (0.01 + draw.normal(tokens, d_sae).abs()) * (draw.normal(tokens, d_sae) > number - 0.8)
        acts[:, 0] = 0.0
        acts[:, 1] *= number == 1
        acts[-1, 1] = 0.3 if number == 1 else 0.0
        batches.append(acts)
    return batches


def some_reconstruction(draw, *shape):
    """Activations with a mean and unequal variances, and a reconstruction that is biased."""
    activations = draw.normal(*shape) * draw.normal(shape[-1]).exp() + 2 * draw.normal(shape[-1])
    return activations, 0.8 * activations + 0.3 * draw.normal(*shape) + 0.4


def tempting_directions(draw, count, d_in):
    """True directions, and found ones of any length, in any order, for which neither the nearest nor a greedy choice is best."""
    truth = torch.linalg.qr(draw.normal(d_in, count).cpu())[0].T.to(draw.device)
    found = truth + 0.3 * draw.normal(count, d_in) / d_in**0.5
    found[0], found[1] = truth[0] + 0.8 * truth[1], 0.7 * truth[0] - 0.9 * truth[1]
    found[2] = 0.8 * truth[2] - 1.1 * truth[3]
    order = draw.normal(count).argsort()
    return (found * draw.normal(count).exp()[:, None])[order], 3 * truth * draw.normal(count).exp()[:, None]


def some_world(draw, d_in, features):
    """(activations, directions): a few of the directions on each token, at sizes around 1, and a bias."""
    directions = torch.nn.functional.normalize(draw.normal(features, d_in), dim=1)
    sizes = (1 + 0.3 * draw.normal(4000, features)).clamp(min=0.1)
    acts = sizes * (draw.normal(4000, features) > 1.5)
    return acts @ directions + draw.normal(d_in), directions


def expect_found(rows, directions):
    """Pass if the rows, matched one to one with the directions, are near enough to them."""
    expect(
        isinstance(rows, Tensor) and rows.shape == directions.shape,
        "The result has not the shape [d_sae, d_in].",
    )
    expect(rows.is_floating_point() and bool(rows.isfinite().all()), "The result is not all finite floats.")
    reached = feature_matching.recovery(rows.to(directions.dtype), directions)
    short = f"The mean matched cosine is {reached.mean_cosine:.2f}, not at least 0.75."
    expect(reached.mean_cosine >= 0.75, short)
    few = f"{reached.recall:.0%} of the directions have a partner with a cosine of 0.9 or more, not 40 %."
    expect(reached.recall >= 0.4, few)


def as_it_is(activation):
    """A reconstruction that loses nothing."""
    return activation.clone()


def half_of_it(activation):
    """The first half of the inputs; zeros in the place of the others."""
    kept = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return activation * kept


def nothing_but_the_mean(activation):
    """The mean over all positions of all rows, everywhere."""
    return activation.mean(dim=(0, 1)).expand_as(activation).clone()


def some_text(draw, model, rows):
    """BOS and eight tokens said twice, in each row: a model that copies has something to lose."""
    start = torch.full((rows, 1), model.tokenizer.bos_token_id, device=draw.device)
    return torch.cat([start, draw.tokens(rows, 8, model.cfg.d_vocab).repeat(1, 2)], dim=1)


def hooks_left(function, model, *arguments):
    """How many hook points of the model carry more hooks after a call of the function than before."""
    points = list(model.hook_dict.values())
    before = [len(point.fwd_hooks) for point in points]
    function(model, *arguments)
    return sum(len(point.fwd_hooks) > count for point, count in zip(points, before, strict=True))


def encode_and_decode__agrees_with_the_reference(student, draw):
    """activations and reconstruction agree with the reference, for one token, many, and batches of rows"""
    for axes, dims in (((), ""), ((draw.integer(4, 6),), "token "), ((2, draw.integer(3, 5)), "batch pos ")):
        d_in = draw.integer(7, 9)
        weights = some_weights(draw, d_in, draw.integer(11, 15))
        activations = 2 * draw.normal(*axes, d_in)
        result = student.encode_and_decode(activations, *weights)
        expect_parts(result, 2)
        expected = sae.encode_and_decode(activations, *weights)
        expect_close(result[0], expected[0], dims=f"{dims}d_sae")
        expect_close(result[1], expected[1], dims=f"{dims}d_in")
    expect_untouched(student, student.encode_and_decode, activations, *weights)


def encode_and_decode__follows_the_decoder_bias(student, draw):
    """an activation that equals b_dec is told by b_enc alone, and moving both moves only the reconstruction"""
    W_enc, b_enc, W_dec, b_dec = weights = some_weights(draw, 5, 9)
    result = student.encode_and_decode(b_dec.expand(3, 5).clone(), *weights)
    expect_parts(result, 2)
    silent = b_enc.clamp(min=0).expand(3, 9)
    expect_close(result[0], silent, dims="token d_sae")
    expect_close(result[1], silent @ W_dec + b_dec, dims="token d_in")
    activations, shift = draw.normal(4, 5), draw.normal(5)
    moved = student.encode_and_decode(activations + shift, W_enc, b_enc, W_dec, b_dec + shift)
    expected = sae.encode_and_decode(activations, *weights)
    expect_close(moved[0], expected[0], dims="token d_sae")
    expect_close(moved[1], expected[1] + shift, dims="token d_in")


def sae_loss__agrees_with_the_reference(student, draw):
    """sae_loss agrees with the reference for any number of tokens, inputs and features, and for no penalty"""
    for strength in (0.0, 0.7, 3.0):
        case = some_tokens(draw, draw.integer(3, 6), draw.integer(7, 9), draw.integer(11, 14))
        expected = sae_training.sae_loss(*case, strength)
        expect_close(student.sae_loss(*case, strength), expected, dims="")
    expect_untouched(student, student.sae_loss, *case, strength)


def sae_loss__counts_tokens_and_lengths_rightly(student, draw):
    """saying every token twice changes nothing, nor do smaller activations with longer rows; a case by hand"""
    x, y, acts, W_dec = some_tokens(draw, 5, 6, 10)
    known = sae_training.sae_loss(x, y, acts, W_dec, 0.5).item()
    twice = [each.repeat(2, 1) for each in (x, y, acts)]
    expect_close(student.sae_loss(*twice, W_dec, 0.5), known)
    factor = draw.normal(10).exp()
    expect_close(student.sae_loss(x, y, acts / factor, factor[:, None] * W_dec, 0.5), known)
    x, y = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, -1.0]])
    acts, W_dec = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]])
    by_hand = ((9 + 0.1 * 10) + (1 + 0.1 * 8)) / 2
    expect_close(student.sae_loss(*(each.to(draw.device) for each in (x, y, acts, W_dec)), 0.1), by_hand)


def sae_loss__gradients_flow(student, draw):
    """gradients reach the reconstruction, the activations and the lengths of the decoder rows"""
    x, *rest = some_tokens(draw, 4, 6, 9)
    found = student.run(slopes, student.sae_loss, [x, *rest], 0.8)
    known = slopes(sae_training.sae_loss, [x, *rest], 0.8)
    expect_parts(found, 4)
    for actual, expected, dims in zip(
        found, known, ("token d_in", "token d_in", "token d_sae", "d_sae d_in"), strict=True
    ):
        expect_close(actual, expected, dims=dims)


def constrain_decoder__agrees_with_the_reference(student, draw):
    """constrain_decoder agrees with the reference, for rows of any length, and changes nothing in place"""
    for d_sae, d_in in ((draw.integer(9, 12), draw.integer(5, 8)), (4, draw.integer(6, 9))):
        W_dec, gradient = 2 * draw.normal(d_sae, d_in), draw.normal(d_sae, d_in)
        result = student.constrain_decoder(W_dec, gradient)
        expect_parts(result, 2)
        for actual, expected in zip(result, sae_training.constrain_decoder(W_dec, gradient), strict=True):
            expect_close(actual, expected, dims="d_sae d_in")
    expect_untouched(student, student.constrain_decoder, W_dec, gradient)


def constrain_decoder__leaves_what_turns_the_rows(student, draw):
    """a gradient along the rows vanishes, one across them stays, also the second time; a case by hand"""
    W_dec = draw.normal(7, 4)
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    across = draw.normal(7, 4)
    across -= (across * unit).sum(dim=1, keepdim=True) * unit
    for gradient, left in ((3 * W_dec, torch.zeros_like(W_dec)), (across, across), (across - W_dec, across)):
        result = student.constrain_decoder(W_dec, gradient)
        expect_parts(result, 2)
        expect_close(result[0], unit, dims="d_sae d_in")
        expect_close(result[1], left, dims="d_sae d_in")
    rows, gradient = torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([[1.0, 0.0], [5.0, 7.0]])
    result = student.constrain_decoder(rows.to(draw.device), gradient.to(draw.device))
    expect_close(result[0].cpu(), torch.tensor([[0.6, 0.8], [0.0, -1.0]]), dims="d_sae d_in")
    expect_close(result[1].cpu(), torch.tensor([[0.64, -0.48], [5.0, 0.0]]), dims="d_sae d_in")


def topk__agrees_with_the_reference(student, draw):
    """topk agrees with the reference, by token and across the batch, also in batches of rows of tokens"""
    for axes, dims in (((draw.integer(4, 7),), "token d_sae"), ((2, draw.integer(3, 5)), "batch pos d_sae")):
        values = draw.normal(*axes, draw.integer(9, 13)) + 0.3
        for across in (False, True):
            k = draw.integer(2, 3)
            expected = sparse_activations.topk(values, k, across)
            expect_close(student.topk(values, k, across), expected, dims=dims)
        expect_untouched(student, student.topk, values, k, across)


def topk__knows_simple_batches(student, draw):
    """negative values never stay, a loud token takes its neighbours' places, and gradients reach what stays"""
    quiet, loud = torch.tensor([0.1, -9.0, 0.2, 0.3]), torch.tensor([5.0, 7.0, -8.0, 6.0])
    shy = torch.tensor([-1.0, -2.0, 0.4, -3.0])
    values = torch.stack([quiet, loud, shy]).to(draw.device)
    by_token = torch.tensor([[0, 0, 0.2, 0.3], [0, 7.0, 0, 6.0], [0, 0, 0.4, 0]]).to(draw.device)
    together = torch.tensor([[0, 0, 0, 0], [5.0, 7.0, 0, 6.0], [0, 0, 0, 0]]).to(draw.device)
    expect_close(student.topk(values, 2), by_token, dims="token d_sae")
    expect_close(student.topk(values, 1, True), together, dims="token d_sae")
    expect_close(student.topk(-values.abs(), 2, True), 0 * values, dims="token d_sae")
    for k, across, known in ((2, False, by_token), (1, True, together)):
        found = student.run(slopes, student.topk, [values], k, across)
        expect_parts(found, 1)
        expect_close(found[0], (known > 0).float(), dims="token d_sae")


def firing_statistics__agrees_with_the_reference(student, draw):
    """L0, densities and dead features agree with the reference on batches of unequal size"""
    for _ in range(2):
        batches = some_batches(draw, draw.integer(14, 18))
        result = student.firing_statistics(batches)
        expect_parts(result, 3)
        l0, density, dead = sae_training.firing_statistics(batches)
        expect_close(result[0], l0)
        expect_close(result[1], density, dims="d_sae")
        expect_close(result[2], dead, dims="d_sae")
    expect_untouched(student, student.firing_statistics, batches)


def firing_statistics__counts_every_token_once(student, draw):
    """cutting the same tokens into other batches changes nothing, nor does doubling activations; a case by hand"""
    batches = some_batches(draw, 12)
    l0, density, dead = sae_training.firing_statistics(batches)
    whole = torch.cat(batches)
    for other in ([whole], [whole[:1], whole[1:]], [2 * batch for batch in batches], batches[::-1]):
        result = student.firing_statistics(other)
        expect_parts(result, 3)
        expect_close(result[0], l0)
        expect_close(result[1], density, dims="d_sae")
        expect_close(result[2], dead, dims="d_sae")
    first, second = (
        torch.tensor([[1.0, 0, 0, 0.001]]),
        torch.tensor([[0, 2.0, 0, 0], [4.0, 0, 0, 0], [9.0, 9, 0, 0]]),
    )
    result = student.firing_statistics([first.to(draw.device), second.to(draw.device)])
    expect(isinstance(result[0], float), "The mean L0 is not a float.")
    expect_close(result[0], 1.5)
    expect_close(result[1].cpu(), torch.tensor([0.75, 0.5, 0.0, 0.25]), dims="d_sae")
    expect_equal(result[2].tolist(), [False, False, True, False], what="features")


def fraction_of_variance_unexplained__agrees_with_the_reference(student, draw):
    """FVU agrees with the reference on tokens, and on batches of rows of tokens"""
    for axes in ((draw.integer(6, 9),), (draw.integer(2, 3), draw.integer(4, 5)), (draw.integer(30, 50),)):
        pair = some_reconstruction(draw, *axes, draw.integer(5, 11))
        expect_close(
            student.fraction_of_variance_unexplained(*pair), sae.fraction_of_variance_unexplained(*pair)
        )
    expect_untouched(student, student.fraction_of_variance_unexplained, *pair)


def fraction_of_variance_unexplained__knows_simple_reconstructions(student, draw):
    """itself gives 0, the mean 1, moving both by a vector changes nothing; a bias counts; a case by hand"""
    activations, guess = some_reconstruction(draw, 3, 4, 6)
    mean = activations.mean(dim=(0, 1))
    nothing_lost = student.fraction_of_variance_unexplained(activations, activations)
    expect(isinstance(nothing_lost, float), "The result is not a float.")
    expect_close(nothing_lost, 0.0)
    expect_close(student.fraction_of_variance_unexplained(activations, mean.expand(3, 4, 6).clone()), 1.0)
    known = sae.fraction_of_variance_unexplained(activations, guess)
    shift = 2 * draw.normal(6)
    moved = student.fraction_of_variance_unexplained(activations + shift, guess + shift)
    expect_close(moved, known)
    offset = sae.fraction_of_variance_unexplained(activations, activations + 0.5)
    expect_close(student.fraction_of_variance_unexplained(activations, activations + 0.5), offset)
    x = torch.tensor(
        [[1.0, 10.0], [3.0, 10.0], [1.0, 12.0], [3.0, 12.0]]
    )  # 8 of squared distance from (2, 11)
    y = x + torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    expect_close(student.fraction_of_variance_unexplained(x.to(draw.device), y.to(draw.device)), 0.25)


def match_features__agrees_with_the_reference(student, draw):
    """partners and cosines agree with the reference, also where found and true directions are not equally many"""
    count = draw.integer(6, 7)
    found, truth = tempting_directions(draw, count, 8)
    extra = draw.normal(2, 8)
    for some, others in (
        (found, truth),
        (torch.cat([extra, found]), truth),
        (found, torch.cat([extra, truth])),
    ):
        result = student.match_features(some, others)
        expect_parts(result, 2)
        partner, cosine = feature_matching.match_features(some, others)
        expect_close(result[0], partner, dims="true")
        expect_close(result[1], cosine, dims="true")
    expect_untouched(student, student.match_features, found, truth)


def match_features__finds_planted_partners(student, draw):
    """a shuffle is undone whatever the lengths, opposites are strangers, and a case by hand"""
    truth = draw.normal(6, 12)
    order = draw.normal(6).argsort()
    result = student.match_features((truth * draw.normal(6).exp()[:, None])[order], truth)
    expect_parts(result, 2)
    expect_close(result[0], order.argsort(), dims="true")
    expect_close(result[1], torch.ones_like(truth[:, 0]), dims="true")
    axes = torch.eye(3)
    found = torch.tensor([[0.0, -5.0, 0.0], [0.0, 0.6, 0.8], [0.0, 8.0, 6.0]])  # the last two are near both
    result = student.match_features(found.to(draw.device), axes.to(draw.device))
    expect_equal(result[0].tolist(), [0, 2, 1], what="partners")
    expect_close(result[1].cpu(), torch.tensor([0.0, 0.8, 0.8]), dims="true")
    result = student.match_features(found[1:2].to(draw.device), axes.to(draw.device))
    expect_equal(result[0].tolist(), [-1, -1, 0], what="partners")
    expect_close(result[1].cpu(), torch.tensor([0.0, 0.0, 0.8]), dims="true")


def recover_features__finds_what_is_there(student, draw):
    """it finds the directions of a world you have not seen, and the same seed gives the same rows"""
    activations, directions = some_world(draw, 16, 22)
    seed = draw.seed()
    rows = student.recover_features(activations, 22, seed)
    expect_found(rows, directions)
    again = student.recover_features(activations, 22, seed)
    expect(
        isinstance(again, Tensor) and torch.equal(again, rows),
        "The same seed gave other rows the second time.",
    )


def recover_features__finds_it_elsewhere(student, draw):
    """so it does in another world, of another size and with a larger bias, which it leaves as it was"""
    activations, directions = some_world(draw, 20, 26)
    case = activations + 2 * draw.normal(20), 26, draw.seed()
    expect_found(student.recover_features(*case), directions)
    expect_untouched(student, student.recover_features, *case)


def loss_recovered__agrees_with_the_reference(student, draw):
    """loss_recovered agrees with the reference at any layer, for coarse reconstructions, and leaves no hook"""
    model = draw.language_model("course-attn-2l")
    tokens = some_text(draw, model, 3)
    for hook, reconstruct in (
        ("blocks.0.hook_resid_pre", half_of_it),
        ("blocks.1.hook_resid_pre", half_of_it),
        ("blocks.1.hook_resid_post", half_of_it),
    ):
        expected = sae.loss_recovered(model, tokens, hook, reconstruct)
        found = student.loss_recovered(model, tokens, hook, reconstruct)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)
    expect_untouched(student, student.loss_recovered, model, tokens, hook, half_of_it)
    left = student.run(hooks_left, student.loss_recovered, model, tokens, hook, half_of_it)
    expect(left == 0, f"After the call {left} hook points of the model have a hook more than before.")


def loss_recovered__knows_its_ends(student, draw):
    """losing nothing gives 1, the mean gives 0, and in a deeper model it agrees with the reference"""
    model = draw.language_model()
    tokens = some_text(draw, model, 2)
    hook = f"blocks.{draw.integer(1, 3)}.hook_resid_pre"
    for reconstruct, expected in ((as_it_is, 1.0), (nothing_but_the_mean, 0.0)):
        expect_close(student.loss_recovered(model, tokens, hook, reconstruct), expected)
    expected = sae.loss_recovered(model, tokens, hook, half_of_it)
    expect_close(student.loss_recovered(model, tokens, hook, half_of_it), expected)
