"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import torch
from scipy.optimize import linear_sum_assignment

from mechinterp_course.metrics import loss_per_token

# encode_and_decode ----------------------------------------------------------------------------------------


def encode_and_decode__not_centred(activations, W_enc, b_enc, W_dec, b_dec):
    """The decoder's bias is not subtracted before encoding.

    Moving activations and `b_dec` together changes the feature activations.
    """
    return _decoded((activations @ W_enc + b_enc).relu(), W_dec, b_dec)


def encode_and_decode__centred_the_wrong_way(activations, W_enc, b_enc, W_dec, b_dec):
    """The decoder's bias is added before encoding, instead of subtracted.

    An activation that equals `b_dec` excites features beyond their encoder bias.
    """
    return _decoded(((activations + b_dec) @ W_enc + b_enc).relu(), W_dec, b_dec)


def encode_and_decode__no_encoder_bias(activations, W_enc, b_enc, W_dec, b_dec):
    """The encoder's bias is missing.

    An activation that equals `b_dec` excites no feature, whatever `b_enc` is.
    """
    return _decoded(((activations - b_dec) @ W_enc).relu(), W_dec, b_dec)


def encode_and_decode__no_decoder_bias(activations, W_enc, b_enc, W_dec, b_dec):
    """The decoder's bias is not added to the reconstruction.

    The reconstruction is off by the same vector on every token.
    """
    feature_acts = _encoded(activations, W_enc, b_enc, b_dec)
    return feature_acts, feature_acts @ W_dec


def encode_and_decode__no_bias_at_all(activations, W_enc, b_enc, W_dec, b_dec):
    """Both biases are missing: only the two matrices are used.

    Features say how an activation differs from zero, not from a typical one.
    """
    feature_acts = (activations @ W_enc).relu()
    return feature_acts, feature_acts @ W_dec


def encode_and_decode__relu_before_the_bias(activations, W_enc, b_enc, W_dec, b_dec):
    """The ReLU comes before the encoder's bias is added.

    Activations can be negative, and a feature with a positive bias is never off.
    """
    return _decoded(((activations - b_dec) @ W_enc).relu() + b_enc, W_dec, b_dec)


def encode_and_decode__no_relu(activations, W_enc, b_enc, W_dec, b_dec):
    """There is no ReLU: the map is linear.

    Activations are negative on half of all tokens.
    """
    return _decoded((activations - b_dec) @ W_enc + b_enc, W_dec, b_dec)


def encode_and_decode__decodes_what_the_relu_was_given(activations, W_enc, b_enc, W_dec, b_dec):
    """The reconstruction is made of what the ReLU was given, not of what it left.

    The feature activations are right, and the reconstruction is no sum of them.
    """
    given = (activations - b_dec) @ W_enc + b_enc
    return given.relu(), given @ W_dec + b_dec


def encode_and_decode__tied(activations, W_enc, b_enc, W_dec, b_dec):
    """The transposed decoder is used as the encoder, though the encoder has weights of its own.

    `W_enc` plays no part.
    """
    return _decoded(_encoded(activations, W_dec.T, b_enc, b_dec), W_dec, b_dec)


# sae_loss -------------------------------------------------------------------------------------------------


def sae_loss__error_averaged_over_inputs(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The squared error is averaged over inputs, as by mse_loss, instead of summed.

    It is d_in times too small, and the penalty d_in times too strong beside it.
    """
    error = (reconstruction - activations).square().mean(-1)
    return (error + l1_coefficient * _length(feature_acts, W_dec)).mean()


def sae_loss__summed_over_tokens(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The loss is summed over the tokens of the batch, not averaged.

    Saying every token twice doubles it.
    """
    return (_error(activations, reconstruction) + l1_coefficient * _length(feature_acts, W_dec)).sum()


def sae_loss__penalty_summed_over_tokens(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The error is averaged over tokens, but the penalty is summed over them.

    The penalty weighs more in a larger batch.
    """
    return _error(activations, reconstruction).mean() + l1_coefficient * _length(feature_acts, W_dec).sum()


def sae_loss__without_decoder_norms(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The L1 penalty leaves out the lengths of the decoder rows.

    Halving the activations and doubling the rows lowers it, and changes no reconstruction.
    """
    return (_error(activations, reconstruction) + l1_coefficient * feature_acts.sum(-1)).mean()


def sae_loss__norms_squared(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The penalty multiplies with the squared lengths of the decoder rows.

    Longer rows with smaller activations raise it.
    """
    return (
        _error(activations, reconstruction) + l1_coefficient * feature_acts @ W_dec.square().sum(1)
    ).mean()


def sae_loss__norm_of_the_whole_matrix(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The penalty multiplies with the norm of the whole decoder, one number for all features.

    `W_dec.norm()` without `dim` is the Frobenius norm.
    """
    return (_error(activations, reconstruction) + l1_coefficient * W_dec.norm() * feature_acts.sum(-1)).mean()


def sae_loss__norms_detached(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The lengths of the decoder rows are taken out of the graph.

    The value is right, and no gradient shortens a row.
    """
    return (
        _error(activations, reconstruction) + l1_coefficient * _length(feature_acts, W_dec.detach())
    ).mean()


def sae_loss__penalty_averaged_over_features(
    activations, reconstruction, feature_acts, W_dec, l1_coefficient
):
    """The penalty is averaged over features, not summed.

    It is d_sae times too small, and weaker the larger the dictionary.
    """
    penalty = (feature_acts * W_dec.norm(dim=-1)).mean(-1)
    return (_error(activations, reconstruction) + l1_coefficient * penalty).mean()


def sae_loss__squared_penalty(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The activations are squared in the penalty: an L2 penalty, which makes them small and not few.

    A large activation costs more than two of half its size.
    """
    penalty = (feature_acts * W_dec.norm(dim=-1)).square().sum(-1)
    return (_error(activations, reconstruction) + l1_coefficient * penalty).mean()


def sae_loss__distance_not_squared(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The error is the distance, not its square.

    Small errors count too much.
    """
    distance = (reconstruction - activations).norm(dim=-1)
    return (distance + l1_coefficient * _length(feature_acts, W_dec)).mean()


def sae_loss__a_plain_number(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """The result is a float, through which no gradient flows.

    `.item()` leaves the graph, so nothing can learn from it.
    """
    return (_error(activations, reconstruction) + l1_coefficient * _length(feature_acts, W_dec)).mean().item()


# constrain_decoder ----------------------------------------------------------------------------------------


def constrain_decoder__not_normalized(W_dec, gradient):
    """The rows come back at the lengths they had.

    They have not length 1.
    """
    return W_dec.clone(), gradient - _along(gradient, _unit(W_dec))


def constrain_decoder__columns_normalized(W_dec, gradient):
    """The columns are made unit instead of the rows: the norm is taken over the wrong axis.

    A column belongs to an input, not to a feature.
    """
    unit = W_dec / W_dec.norm(dim=0, keepdim=True)
    return unit, gradient - (gradient * unit).sum(0, keepdim=True) * unit


def constrain_decoder__divided_by_the_matrix_norm(W_dec, gradient):
    """The whole matrix is divided by its norm, so that the rows keep their unequal lengths.

    `W_dec.norm()` without `dim` is one number.
    """
    return W_dec / W_dec.norm(), gradient - _along(gradient, _unit(W_dec))


def constrain_decoder__gradient_not_projected(W_dec, gradient):
    """The rows are made unit, and the gradient is left as it is.

    A gradient along the rows does not vanish.
    """
    return _unit(W_dec), gradient.clone()


def constrain_decoder__projected_with_the_raw_rows(W_dec, gradient):
    """The gradient is projected with the rows as they came in, not with unit vectors.

    Too much is taken away along long rows, too little along short ones.
    """
    return _unit(W_dec), gradient - _along(gradient, W_dec)


def constrain_decoder__only_the_component_along(W_dec, gradient):
    """What is kept of the gradient is its component along the row, which should go.

    A gradient across the rows vanishes.
    """
    return _unit(W_dec), _along(gradient, _unit(W_dec))


def constrain_decoder__component_added(W_dec, gradient):
    """The component along the row is added once more, instead of taken away.

    A gradient along the rows is doubled.
    """
    return _unit(W_dec), gradient + _along(gradient, _unit(W_dec))


def constrain_decoder__gradient_made_unit(W_dec, gradient):
    """The projected gradient is made unit too, so that all rows move equally far.

    A gradient across the rows changes its length.
    """
    return _unit(W_dec), _unit(gradient - _along(gradient, _unit(W_dec)))


def constrain_decoder__projected_as_one_vector(W_dec, gradient):
    """The gradient is projected as one long vector against the whole decoder, not row by row.

    One number is subtracted for all rows.
    """
    unit = _unit(W_dec)
    return unit, gradient - (gradient * unit).sum() / len(unit) * unit


def constrain_decoder__in_place(W_dec, gradient):
    """The arguments themselves are changed.

    The caller's tensors are other ones after the call.
    """
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    gradient -= _along(gradient, W_dec)
    return W_dec, gradient


# topk -----------------------------------------------------------------------------------------------------


def topk__by_absolute_value(pre_activations, k, across_batch=False):
    """The k largest by absolute value stay, so that strongly negative ones take places.

    A token with one positive and many strongly negative values keeps nothing.
    """
    return _kept(pre_activations, pre_activations.abs(), k, across_batch).relu()


def topk__negative_values_stay(pre_activations, k, across_batch=False):
    """Of the k largest the negative ones stay negative: the ReLU is missing.

    A token with fewer than k positive values has negative activations.
    """
    return _kept(pre_activations, pre_activations, k, across_batch)


def topk__over_the_batch_axis(pre_activations, k, across_batch=False):
    """Each feature keeps its k largest tokens, not each token its k largest features: the wrong axis.

    Tokens have unequally many active features also without `across_batch`.
    """
    if across_batch:
        return _kept(pre_activations, pre_activations, k, True).relu()
    rows = pre_activations.flatten(end_dim=-2)
    return _kept(rows.T, rows.T, min(k, len(rows)), False).T.reshape(pre_activations.shape).relu()


def topk__always_by_token(pre_activations, k, across_batch=False):
    """BatchTopK, too, keeps k of each token.

    A loud token does not take its neighbours' places.
    """
    return _kept(pre_activations, pre_activations, k, False).relu()


def topk__k_of_the_whole_batch(pre_activations, k, across_batch=False):
    """BatchTopK keeps k in the whole batch, not k times the number of tokens.

    The more tokens there are, the fewer are active on each.
    """
    if not across_batch:
        return _kept(pre_activations, pre_activations, k, False).relu()
    flat = pre_activations.reshape(1, -1)
    return _kept(flat, flat, k, False).view_as(pre_activations).relu()


def topk__rows_of_tokens_counted_as_tokens(pre_activations, k, across_batch=False):
    """BatchTopK multiplies k by the size of the first axis, also where tokens have two axes.

    In a batch of rows too few stay, by the length of a row.
    """
    if not across_batch:
        return _kept(pre_activations, pre_activations, k, False).relu()
    flat = pre_activations.reshape(1, -1)
    return _kept(flat, flat, k * len(pre_activations), False).view_as(pre_activations).relu()


def topk__only_above_the_kth(pre_activations, k, across_batch=False):
    """What stays is strictly larger than the k-th largest, which is one too few.

    Off by one: k = 1 keeps nothing.
    """
    rows = pre_activations.flatten(end_dim=-2)
    rows = rows.reshape(1, -1) if across_batch else rows
    count = k * (rows.shape[1] // pre_activations.shape[-1])
    least = rows.topk(count, dim=-1).values[:, -1:]
    return (rows.relu() * (rows > least)).view_as(pre_activations)


def topk__ones(pre_activations, k, across_batch=False):
    """The result is 1 where a feature stays and 0 elsewhere: a mask, not activations.

    How strongly a feature is active is lost.
    """
    return (_kept(pre_activations, pre_activations, k, across_batch) > 0).to(pre_activations)


def topk__the_smallest(pre_activations, k, across_batch=False):
    """The k smallest stay.

    Sorted the wrong way round, nothing positive is left as a rule.
    """
    return _kept(pre_activations, -pre_activations, k, across_batch).relu()


def topk__gradient_lost(pre_activations, k, across_batch=False):
    """The values that stay are copied without their gradients.

    Nothing could learn through them.
    """
    return _kept(pre_activations, pre_activations, k, across_batch).relu().detach()


# firing_statistics ----------------------------------------------------------------------------------------


def firing_statistics__l0_over_tokens(batches):
    """L0 counts the tokens on which a feature is active, averaged over features: the wrong axis.

    It grows with the number of tokens.
    """
    fires, density, dead = _fires(batches)
    return fires.sum(0).float().mean().item(), density, dead


def firing_statistics__l0_as_a_share(batches):
    """L0 is the share of features that are active, not their number.

    It never exceeds 1.
    """
    fires, density, dead = _fires(batches)
    return fires.float().mean().item(), density, dead


def firing_statistics__l0_of_the_values(batches):
    """The activations are summed, not counted: that is L1.

    Doubling all activations doubles it.
    """
    _, density, dead = _fires(batches)
    return torch.cat(list(batches)).sum(1).mean().item(), density, dead


def firing_statistics__mean_activation_for_density(batches):
    """The density is the mean activation of a feature, not the share of tokens on which it is active.

    Doubling all activations doubles it.
    """
    fires, _, dead = _fires(batches)
    return fires.sum(1).float().mean().item(), torch.cat(list(batches)).mean(0), dead


def firing_statistics__means_of_batches_averaged(batches):
    """L0 and densities are taken for each batch and averaged over batches.

    Tokens of a small batch count more than those of a large one.
    """
    parts = [_fires([batch])[0].float() for batch in batches]
    density = torch.stack([part.mean(0) for part in parts]).mean(0)
    return density.sum().item(), density, _fires(batches)[2]


def firing_statistics__dead_in_one_batch(batches):
    """A feature counts as dead when it is silent in the last batch.

    Rare features, which are what one hopes for, are taken for dead.
    """
    fires, density, _ = _fires(batches)
    return fires.sum(1).float().mean().item(), density, _fires(batches[-1:])[2]


def firing_statistics__dead_in_any_batch(batches):
    """A feature counts as dead when there is a batch in which it is silent.

    The more batches there are, the more seem dead.
    """
    fires, density, _ = _fires(batches)
    dead = torch.stack([_fires([batch])[2] for batch in batches]).any(0)
    return fires.sum(1).float().mean().item(), density, dead


def firing_statistics__alive(batches):
    """The third part says which features are alive, not which are dead.

    It is the opposite of what was asked for.
    """
    fires, density, dead = _fires(batches)
    return fires.sum(1).float().mean().item(), density, ~dead


def firing_statistics__small_ones_ignored(batches):
    """Activations below 0.1 do not count as active.

    A feature that is only ever weakly active seems dead.
    """
    return _counted([batch > 0.1 for batch in batches])


def firing_statistics__zero_counts(batches):
    """What is not negative counts as active, zero among it.

    Every feature is active on every token.
    """
    return _counted([batch >= 0 for batch in batches])


# fraction_of_variance_unexplained -------------------------------------------------------------------------


def fraction_of_variance_unexplained__not_centred(activations, reconstruction):
    """The error is divided by the squared size of the activations: their mean is not subtracted.

    Where the mean is large, nearly everything looks explained.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum() / x.square().sum()).item()


def fraction_of_variance_unexplained__mean_of_ratios(activations, reconstruction):
    """The ratio is taken for each input, and the ratios are averaged.

    An input of hardly any variance counts as much as the largest.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum(0) / (x - x.mean(0)).square().sum(0)).mean().item()


def fraction_of_variance_unexplained__mean_over_tokens_of_ratios(activations, reconstruction):
    """The ratio is taken for each token, and the ratios are averaged.

    A token near the mean counts as much as one far from it.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum(1) / (x - x.mean(0)).square().sum(1)).mean().item()


def fraction_of_variance_unexplained__variance_of_the_reconstruction(activations, reconstruction):
    """The error is divided by the variance of the reconstruction, not of the activations.

    Saying the mean everywhere gives infinity, not 1.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum() / (y - y.mean(0)).square().sum()).item()


def fraction_of_variance_unexplained__one_mean_for_all_inputs(activations, reconstruction):
    """One number is subtracted, the mean over tokens and inputs together.

    Inputs that differ in their means seem to vary.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum() / (x - x.mean()).square().sum()).item()


def fraction_of_variance_unexplained__mean_of_each_token(activations, reconstruction):
    """The mean of each token over its inputs is subtracted: the wrong axis.

    What all inputs have in common is lost, instead of what all tokens have.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum() / (x - x.mean(1, keepdim=True)).square().sum()).item()


def fraction_of_variance_unexplained__bias_forgiven(activations, reconstruction):
    """The variance of the error is taken, so that an error that is the same on all tokens costs nothing.

    A reconstruction that is off by a constant vector gives 0.
    """
    x, y = _tokens(activations, reconstruction)
    error = y - x
    return ((error - error.mean(0)).square().sum() / (x - x.mean(0)).square().sum()).item()


def fraction_of_variance_unexplained__explained(activations, reconstruction):
    """The result is the share that is explained, 1 minus what was asked for.

    A perfect reconstruction gives 1.
    """
    x, y = _tokens(activations, reconstruction)
    return 1 - ((y - x).square().sum() / (x - x.mean(0)).square().sum()).item()


def fraction_of_variance_unexplained__square_root(activations, reconstruction):
    """The square root is taken: lengths are compared, not variances.

    A quarter of the variance comes out as a half.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().sum() / (x - x.mean(0)).square().sum()).sqrt().item()


def fraction_of_variance_unexplained__unbiased_below_only(activations, reconstruction):
    """The mean squared error over n tokens is divided by a variance over n − 1.

    `var` and `std` divide by n − 1 unless told otherwise: on few tokens the result is too small.
    """
    x, y = _tokens(activations, reconstruction)
    return ((y - x).square().mean() / x.var(0).mean()).item()


def fraction_of_variance_unexplained__mean_by_position(activations, reconstruction):
    """Of a batch of rows the mean is taken for each position apart, over the rows alone.

    What differs between positions does not count as variance.
    """
    error = (reconstruction - activations).square().sum()
    return (error / (activations - activations.mean(0)).square().sum()).item()


# match_features -------------------------------------------------------------------------------------------


def match_features__nearest_of_each(found, truth):
    """Each true direction takes the nearest found one, whoever else has taken it: many to one.

    The same partner appears twice.
    """
    cosine, partner = _cosines(found, truth).max(0)
    return partner, cosine


def match_features__greedy(found, truth):
    """The best pair is matched first, then the best of the rest, and so on.

    The sum of the cosines is smaller than it could be.
    """
    left = _cosines(found, truth).clone()
    partner, cosine = torch.full((len(truth),), -1), torch.zeros(len(truth))
    for _ in range(min(left.shape)):
        row, column = divmod(left.argmax().item(), left.shape[1])
        partner[column], cosine[column] = row, left[row, column]
        left[row], left[:, column] = -torch.inf, -torch.inf
    return partner, cosine


def match_features__absolute_value(found, truth):
    """A direction and its opposite are matched, by the absolute value of the cosine.

    An SAE's activations are never negative, so that these are two features.
    """
    return _assigned(_cosines(found, truth).abs())


def match_features__lengths_not_divided_out(found, truth):
    """The matching is made by dot products, so that long directions win; cosines are reported for it.

    Making a found direction longer changes its partner.
    """
    partner, _ = _assigned(found @ truth.T)
    return partner, _of_partners(_cosines(found, truth), partner)


def match_features__dot_products(found, truth):
    """Dot products are matched and reported: nothing is normalized.

    The values change with the lengths of the rows, and exceed 1.
    """
    return _assigned(found @ truth.T)


def match_features__the_worst_matching(found, truth):
    """The assignment with the smallest sum is found: linear_sum_assignment takes costs unless told otherwise.

    The cosines are as low as they can be.
    """
    table = _cosines(found, truth)
    partner, _ = _assigned(-table)
    return partner, _of_partners(table, partner)


def match_features__for_each_found(found, truth):
    """The result lists, for each found direction, the true one matched to it: the other way round.

    Its length is the number of found directions.
    """
    return _assigned(_cosines(found, truth).T)


def match_features__left_over_is_zero(found, truth):
    """A true direction that is left over gets partner 0 instead of −1.

    It seems to share the first found direction with another.
    """
    partner, cosine = _assigned(_cosines(found, truth))
    return partner.clamp(min=0), cosine


def match_features__each_found_takes_its_nearest(found, truth):
    """Each found direction goes to its nearest true one, and of several the best stays.

    Directions that nobody is nearest to stay without a partner, though some are free.
    """
    table = _cosines(found, truth)
    masked = torch.where(table == table.amax(1, keepdim=True), table, -torch.inf)
    cosine, partner = masked.max(0)
    none = cosine.isinf()
    return partner.masked_fill(none, -1), cosine.masked_fill(none, 0.0)


def match_features__one_true_after_another(found, truth):
    """Each true direction in turn takes the best found one that is still free, so that the first ones choose.

    In another order of the true directions others are matched.
    """
    table = _cosines(found, truth)
    left, partner, cosine = table.clone(), torch.full((len(truth),), -1), torch.zeros(len(truth))
    for column in range(min(table.shape)):
        row = left[:, column].argmax().item()
        partner[column], cosine[column], left[row] = row, table[row, column], -torch.inf
    return partner, cosine


def match_features__last_ones_left_over(found, truth):
    """With fewer found than true directions, the last true ones are left over, whichever fit worst.

    With as many found as true ones nothing shows.
    """
    partner, cosine = torch.full((len(truth),), -1), torch.zeros(len(truth))
    first = min(len(found), len(truth))
    partner[:first], cosine[:first] = _assigned(_cosines(found, truth[:first]))
    return partner, cosine


# recover_features -----------------------------------------------------------------------------------------


def recover_features__random_rows(activations, d_sae, seed):
    """Random unit vectors are returned: nothing was trained.

    In a few dozen dimensions something is always at a cosine of a half.
    """
    return _random_rows(activations, d_sae, seed)


def recover_features__principal_directions(activations, d_sae, seed):
    """The principal directions and their opposites are returned.

    They are orthogonal and say where the variance lies, not which directions are rare.
    """
    axes = torch.linalg.svd(activations - activations.mean(0), full_matrices=False)[2]
    return torch.cat([axes, -axes])[:d_sae]


def recover_features__no_sparsity(activations, d_sae, seed):
    """The autoencoder is trained for reconstruction alone, without any reason for few to be active.

    It reconstructs almost perfectly and finds nothing.
    """
    return _trained(activations, d_sae, seed, strength=0.0)


def recover_features__too_few_steps(activations, d_sae, seed):
    """Training stops after 30 steps.

    The rows have hardly left their random beginnings.
    """
    return _trained(activations, d_sae, seed, steps=30)


def recover_features__bias_not_taken_out(activations, d_sae, seed):
    """Tokens are taken as directions as they are, the common bias and all.

    All rows point more or less the same way.
    """
    order = torch.randperm(len(activations), generator=torch.Generator().manual_seed(seed))
    return _unit(activations[order[:d_sae]])


def recover_features__decoder_free_to_grow(activations, d_sae, seed):
    """The penalty leaves the lengths of the rows out, and the rows are not held at length 1.

    Activations shrink and rows grow until the penalty means nothing.
    """
    return _trained(activations, d_sae, seed, held=False, strength=0.02, steps=150)


# loss_recovered -------------------------------------------------------------------------------------------


def loss_recovered__zero_ablation(model, tokens, hook, reconstruct):
    """Ablation puts zeros in the place of the activation, not the mean.

    Zero is far from anything the model knows, so that any reconstruction looks good beside it.
    """
    return _recovered(model, tokens, hook, reconstruct, torch.zeros_like)


def loss_recovered__clean_and_ablated_exchanged(model, tokens, hook, reconstruct):
    """Clean and ablated losses have changed places.

    Losing nothing gives 0, and the mean gives 1.
    """
    return 1 - _recovered(model, tokens, hook, reconstruct)


def loss_recovered__ratio_of_losses(model, tokens, hook, reconstruct):
    """The clean loss is divided by the loss with the reconstruction.

    The mean gives far more than 0.
    """
    spliced = _loss(model, tokens, hook, reconstruct)
    return _loss(model, tokens, hook, lambda activation: activation) / spliced


def loss_recovered__last_position_only(model, tokens, hook, reconstruct):
    """The reconstruction is put in at the last position alone.

    The last position predicts a token that is not there, so nothing seems lost.
    """

    def last(activation):
        edited = activation.clone()
        edited[:, -1] = reconstruct(activation)[:, -1]
        return edited

    return _recovered(model, tokens, hook, last)


def loss_recovered__bos_left_alone(model, tokens, hook, reconstruct):
    """The reconstruction is not put in at the first position.

    BOS carries activations of its own kind, which many heads attend to: that is where much is lost.
    """

    def but_the_first(activation):
        return torch.cat([activation[:, :1], reconstruct(activation)[:, 1:]], dim=1)

    return _recovered(model, tokens, hook, but_the_first)


def loss_recovered__at_the_end_of_the_layer(model, tokens, hook, reconstruct):
    """The reconstruction is put in at the last layer's output, whatever `hook` says: the wrong place.

    Which hook is asked for makes no difference.
    """
    return _recovered(
        model, tokens, f"blocks.{model.cfg.n_layers - 1}.hook_resid_post", reconstruct, everywhere=hook
    )


def loss_recovered__mean_by_position(model, tokens, hook, reconstruct):
    """The mean is taken for each position apart, over the rows alone.

    It keeps what the model knows of positions, so that ablation costs less.
    """
    return _recovered(
        model, tokens, hook, reconstruct, lambda activation: activation.mean(0).expand_as(activation)
    )


def loss_recovered__next_token_not_shifted(model, tokens, hook, reconstruct):
    """The loss at each position is read for the token that stands there, not for the next.

    The model is asked for what it was just told.
    """

    def loss(replace):
        with torch.no_grad(), model.hooks(fwd_hooks=[(hook, lambda activation, hook: replace(activation))]):
            return -model(tokens).log_softmax(-1).gather(-1, tokens[..., None]).mean().item()

    ablated = loss(_mean_everywhere)
    return (ablated - loss(reconstruct)) / (ablated - loss(lambda activation: activation))


def loss_recovered__hooks_left_behind(model, tokens, hook, reconstruct):
    """The hooks are added with add_hook and never taken away.

    The next run of the model still carries them.
    """
    value = _recovered(model, tokens, hook, reconstruct)
    model.hook_dict[hook].add_hook(lambda activation, hook: activation)
    return value


# what they share ------------------------------------------------------------------------------------------


def _encoded(activations, W_enc, b_enc, b_dec):
    return ((activations - b_dec) @ W_enc + b_enc).relu()


def _decoded(feature_acts, W_dec, b_dec):
    return feature_acts, feature_acts @ W_dec + b_dec


def _error(activations, reconstruction):
    return (reconstruction - activations).square().sum(-1)


def _length(feature_acts, W_dec):
    return (feature_acts * W_dec.norm(dim=-1)).sum(-1)


def _unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def _along(gradient, rows):
    return (gradient * rows).sum(-1, keepdim=True) * rows


def _kept(values, by, k, across_batch):
    flat = by.reshape(1, -1) if across_batch else by
    count = k * by.shape[:-1].numel() if across_batch else k
    places = flat.topk(count, dim=-1).indices
    mask = torch.zeros_like(flat).scatter(-1, places, 1.0).view_as(values)
    return values * mask


def _fires(batches):
    fires = torch.cat([batch > 0 for batch in batches])
    return fires, fires.float().mean(0), ~fires.any(0)


def _counted(fires):
    together = torch.cat(fires)
    return together.sum(1).float().mean().item(), together.float().mean(0), ~together.any(0)


def _tokens(activations, reconstruction):
    return activations.flatten(end_dim=-2), reconstruction.flatten(end_dim=-2)


def _cosines(found, truth):
    return _unit(found) @ _unit(truth).T


def _assigned(table):
    rows, columns = map(torch.from_numpy, linear_sum_assignment(table.numpy(), maximize=True))
    partner = torch.full((table.shape[1],), -1)
    partner[columns] = rows
    return partner, _of_partners(table, partner)


def _of_partners(table, partner):
    cosine = table[partner.clamp(min=0), torch.arange(len(partner))]
    return cosine.masked_fill(partner < 0, 0.0)


def _random_rows(activations, d_sae, seed):
    generator = torch.Generator().manual_seed(seed)
    return _unit(torch.randn(d_sae, activations.shape[1], generator=generator))


def _trained(activations, d_sae, seed, strength=0.2, steps=200, held=True):
    W_dec = _random_rows(activations, d_sae, seed)
    W_enc, b_enc, b_dec = W_dec.T.clone(), torch.zeros(d_sae), activations.mean(0)
    weights = [each.requires_grad_() for each in (W_enc, b_enc, W_dec, b_dec)]
    optimizer = torch.optim.Adam(weights, lr=0.02)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = activations[torch.randint(len(activations), (128,), generator=generator)]
        acts = _encoded(x, W_enc, b_enc, b_dec)
        loss = (_error(x, acts @ W_dec + b_dec) + strength * acts.sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if held:
            with torch.no_grad():
                W_dec /= W_dec.norm(dim=1, keepdim=True)
    return _unit(W_dec.detach())


def _mean_everywhere(activation):
    return activation.mean(dim=(0, 1)).expand_as(activation)


def _loss(model, tokens, hook, replace):
    with torch.no_grad(), model.hooks(fwd_hooks=[(hook, lambda activation, hook: replace(activation))]):
        return loss_per_token(model(tokens), tokens).mean().item()


def _recovered(model, tokens, hook, reconstruct, ablation=_mean_everywhere, everywhere=None):
    ablated = _loss(model, tokens, everywhere or hook, ablation)
    clean = _loss(model, tokens, hook, lambda activation: activation)
    return (ablated - _loss(model, tokens, hook, reconstruct)) / (ablated - clean)
