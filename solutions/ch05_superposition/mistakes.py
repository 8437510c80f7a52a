"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import torch

from mechinterp_course import superposition as toy
from mechinterp_course import superposition_geometry as geometry
from mechinterp_course import superposition_neurons

# toy_output -----------------------------------------------------------------------------------------------


def toy_output__no_bias(features, W, b):
    """The bias is left out.

    Where all features are 0, the output is 0 instead of ReLU(b).
    """
    return toy.toy_output(features, W, torch.zeros_like(b))


def toy_output__relu_before_the_bias(features, W, b):
    """The ReLU comes before the bias: a negative bias makes negative outputs, instead of cutting noise off.

    The smallest output is below 0.
    """
    return toy.toy_output(features, W, torch.zeros_like(b)) + b


def toy_output__no_relu(features, W, b):
    """There is no ReLU: the model is linear, and can't cut interference off.

    Some outputs are negative.
    """
    return _back(_hidden(features, W), W) + b


def toy_output__relu_in_the_hidden_layer(features, W, b):
    """The hidden layer has a ReLU as well.

    Turning the hidden dimensions changes the output.
    """
    return (_back(_hidden(features, W).relu(), W) + b).relu()


def toy_output__relu_in_the_hidden_layer_only(features, W, b):
    """The ReLU sits on the hidden layer instead of the output.

    Some outputs are negative.
    """
    return _back(_hidden(features, W).relu(), W) + b


def toy_output__weights_transposed(features, W, b):
    """W is taken for [instance, hidden, feature], as it stands in other code.

    The product of matrices does not fit, and raises.
    """
    hidden = torch.einsum("bif,ihf->bih", features, W)
    return (torch.einsum("bih,ihf->bif", hidden, W) + b).relu()


def toy_output__one_model_for_all(features, W, b):
    """All instances use W and b of the first one.

    Instances after the first give something else alone than among others.
    """
    return toy.toy_output(features, W[:1].expand_as(W), b[:1].expand_as(b))


def toy_output__unit_directions(features, W, b):
    """Directions are scaled to norm 1 before they are used, so that W's norms mean nothing.

    A feature that is not represented comes back as if it were.
    """
    return toy.toy_output(features, W / W.norm(dim=-1, keepdim=True).clamp(min=1e-6), b)


def toy_output__instances_mixed(features, W, b):
    """The sum over features runs over instances too: every instance reads what all have written.

    An instance alone gives something else than among others.
    """
    hidden = torch.einsum("bjf,jfh->bh", features, W)
    return (torch.einsum("bh,ifh->bif", hidden, W) + b).relu()


def toy_output__bias_subtracted(features, W, b):
    """The bias is subtracted.

    Where all features are 0, the output is ReLU(-b).
    """
    return toy.toy_output(features, W, -b)


# toy_loss -------------------------------------------------------------------------------------------------


def toy_loss__mean_over_features(output, features, importance):
    """The loss is averaged over features instead of summed.

    With twice as many features it is not twice as large.
    """
    return toy.toy_loss(output, features, importance) / importance.shape[1]


def toy_loss__sum_over_the_batch(output, features, importance):
    """The loss is summed over the batch instead of averaged.

    The batch twice over costs twice as much.
    """
    return toy.toy_loss(output, features, importance) * len(output)


def toy_loss__importance_left_out(output, features, importance):
    """All features count alike: the importance is not used.

    An error on a feature of importance 0 costs something.
    """
    return toy.toy_loss(output, features, torch.ones_like(importance))


def toy_loss__importance_squared(output, features, importance):
    """The error is weighted before it is squared, so that the importance is squared too.

    A feature of importance 1/2 counts a quarter.
    """
    return toy.toy_loss(output, features, importance**2)


def toy_loss__root_of_importance(output, features, importance):
    """The root of the importance is used as the weight of the square.

    A feature of importance 1/4 counts half.
    """
    return toy.toy_loss(output, features, importance.sqrt())


def toy_loss__instances_averaged(output, features, importance):
    """One loss for all: instances are averaged too.

    The result has no axis.
    """
    return toy.toy_loss(output, features, importance).mean()


def toy_loss__instances_summed(output, features, importance):
    """One loss for all: the sum over instances, which is right for `backward()` and wrong as a result.

    The result has no axis.
    """
    return toy.toy_loss(output, features, importance).sum()


def toy_loss__importance_of_the_first_instance(output, features, importance):
    """The first instance's importances serve for all.

    Instances after the first cost something else alone than among others.
    """
    return toy.toy_loss(output, features, importance[:1].expand_as(importance))


def toy_loss__absolute_error(output, features, importance):
    """The error is not squared.

    An error of 3 costs 3 instead of 9.
    """
    return (importance * (output - features).abs()).sum(-1).mean(0)


def toy_loss__normalized_importance(output, features, importance):
    """Importances are divided by their sum.

    A model with twice the features costs the same.
    """
    return toy.toy_loss(output, features, importance) / importance.sum(1)


# sparse_features ------------------------------------------------------------------------------------------


def sparse_features__probability_is_sparsity(probability, batch, seed, pairs="independent"):
    """The argument is taken for the sparsity: features are present with 1 − probability.

    Rare features are nearly always there.
    """
    return toy.sparse_features(1 - probability, batch, seed, pairs)


def sparse_features__one_probability_for_all_instances(probability, batch, seed, pairs="independent"):
    """The probabilities of the first instance serve for all.

    Instances of other probabilities have the same rates.
    """
    return toy.sparse_features(probability[:1].expand_as(probability), batch, seed, pairs)


def sparse_features__one_probability_for_all_features(probability, batch, seed, pairs="independent"):
    """The probability of the first feature serves for all features of an instance.

    All features have the same rate.
    """
    return toy.sparse_features(probability[:, :1].expand_as(probability), batch, seed, pairs)


def sparse_features__normal_values(probability, batch, seed, pairs="independent"):
    """Values are normal, not uniform.

    Some are negative, some above 1.
    """
    generator = torch.Generator(probability.device).manual_seed(seed + 2**32)
    present = toy.sparse_features(probability, batch, seed, pairs) != 0
    return torch.randn(present.shape, generator=generator, device=generator.device) * present


def sparse_features__values_from_minus_one(probability, batch, seed, pairs="independent"):
    """Values are uniform in [-1, 1].

    Half of them are negative.
    """
    x = toy.sparse_features(probability, batch, seed, pairs)
    return torch.where(x != 0, 2 * x - 1, x)


def sparse_features__presence_without_values(probability, batch, seed, pairs="independent"):
    """Features that are present are all 1.

    There are only zeros and ones.
    """
    return (toy.sparse_features(probability, batch, seed, pairs) != 0).to(probability.dtype)


def sparse_features__scaled_not_absent(probability, batch, seed, pairs="independent"):
    """Values are multiplied by the probability instead of being left out: small always, 0 never.

    Every feature is present in every example.
    """
    generator = torch.Generator(probability.device).manual_seed(seed + 2**32)
    return torch.rand(batch, *probability.shape, generator=generator, device=generator.device) * probability


def sparse_features__whole_examples_absent(probability, batch, seed, pairs="independent"):
    """One uniform number decides for all features of an example: they come and go together.

    Presence of different features is correlated.
    """
    generator = torch.Generator(probability.device).manual_seed(seed + 2**32)
    chance = torch.rand(batch, 1, 1, generator=generator, device=generator.device)
    return torch.rand(batch, *probability.shape, generator=generator, device=generator.device) * (
        chance < probability
    )


def sparse_features__the_same_in_every_instance(probability, batch, seed, pairs="independent"):
    """All instances get the same draws.

    Features of different instances are correlated.
    """
    return torch.cat([toy.sparse_features(one[None], batch, seed, pairs) for one in probability], dim=1)


def sparse_features__presence_decides_the_value(probability, batch, seed, pairs="independent"):
    """The number that decided on presence is used as the value: only values below the probability occur.

    The largest value of a feature is its probability.
    """
    generator = torch.Generator(probability.device).manual_seed(seed + 2**32)
    x = torch.rand(batch, *probability.shape, generator=generator, device=generator.device)
    if pairs == "correlated":
        x[..., 1::2] = x[..., ::2]
    return x * (x < probability)


def sparse_features__pairs_share_the_value(probability, batch, seed, pairs="independent"):
    """Correlated features share their value, not only their presence.

    The second of a pair is a copy of the first.
    """
    x = toy.sparse_features(probability, batch, seed, pairs)
    if pairs == "correlated":
        x[..., 1::2] = x[..., ::2]
    return x


def sparse_features__the_second_struck_out(probability, batch, seed, pairs="independent"):
    """Where both of an anticorrelated pair came up, the second is struck out, and so it is too rare.

    Its rate is p₁ (1 − p₀).
    """
    if pairs != "anticorrelated":
        return toy.sparse_features(probability, batch, seed, pairs)
    x = toy.sparse_features(probability, batch, seed)
    x[..., 1::2] *= x[..., ::2] == 0
    return x


def sparse_features__a_coin_between_the_two(probability, batch, seed, pairs="independent"):
    """An anticorrelated pair is present with the first probability, and a coin says which: each has half its rate.

    Both are present half as often as they should be, if their probabilities are equal.
    """
    generator = torch.Generator(probability.device).manual_seed(seed + 2**32)
    if pairs != "anticorrelated":
        return toy.sparse_features(probability, batch, seed, pairs)
    x = toy.sparse_features(probability, batch, seed, "correlated")
    coin = torch.rand(x[..., ::2].shape, generator=generator, device=generator.device) < 0.5
    return x * torch.stack([coin, ~coin], dim=-1).flatten(-2)


def sparse_features__pairs_ignored(probability, batch, seed, pairs="independent"):
    """`pairs` is not used: all features are independent.

    Correlated features are present one without the other.
    """
    return toy.sparse_features(probability, batch, seed)


def sparse_features__halves_are_pairs(probability, batch, seed, pairs="independent"):
    """Features are paired across halves (0 with 2, 1 with 3, of four) instead of neighbours.

    Features 0 and 1 come independently.
    """
    if pairs == "independent":
        return toy.sparse_features(probability, batch, seed)
    order = torch.arange(probability.shape[1]).view(2, -1).T.flatten()
    return toy.sparse_features(probability[:, order], batch, seed, pairs)[..., order.argsort()]


def sparse_features__seed_not_used(probability, batch, seed, pairs="independent"):
    """The seed is not used: numbers come from torch's global generator as it stands.

    Two calls with equal seeds differ.
    """
    return toy.features_from(torch.default_generator, probability.cpu(), batch, pairs).to(probability)


# train_toy ------------------------------------------------------------------------------------------------


def train_toy__starts_at_zero(probability, importance, hidden, seed, steps=300):
    """W starts at zero, where its gradient is zero too: nothing is ever represented.

    W is 0 after training.
    """
    return _trained(probability, importance, hidden, seed, steps, scale=0.0)


def train_toy__gradients_pile_up(probability, importance, hidden, seed, steps=300):
    """Gradients are never set to zero, so that each step follows the sum of all gradients so far.

    The loss goes up and down and does not settle.
    """
    return _trained(probability, importance, hidden, seed, steps, clear=False)


def train_toy__bias_not_trained(probability, importance, hidden, seed, steps=300):
    """The bias is not among the optimizer's parameters and stays 0.

    Interference is not cut off, and features that are left out are predicted as 0.
    """
    return _trained(probability, importance, hidden, seed, steps, bias=False)


def train_toy__importance_ignored(probability, importance, hidden, seed, steps=300):
    """All features count alike in the loss.

    With dense features the two that matter are not among those kept.
    """
    return _trained(probability, torch.ones_like(importance), hidden, seed, steps)


def train_toy__one_probability_for_all(probability, importance, hidden, seed, steps=300):
    """All instances are trained on data of the last one's probabilities.

    Instances with dense features, beside one with rare ones, lose much.
    """
    return _trained(probability[-1:].expand_as(probability), importance, hidden, seed, steps)


def train_toy__gradient_of_all_instances(probability, importance, hidden, seed, steps=300):
    """All instances take the mean of their gradients: each is trained with the others' tasks.

    Instances of different tasks end with the same figure.
    """
    return _trained(probability, importance, hidden, seed, steps, shared=True)


def train_toy__one_run_for_all(probability, importance, hidden, seed, steps=300):
    """One model is trained, on the first instance's task, and returned for every instance.

    All instances have the same weights.
    """
    W, b = _trained(probability[:1], importance[:1], hidden, seed, steps)
    return W.repeat(len(probability), 1, 1), b.repeat(len(probability), 1)


def train_toy__not_trained(probability, importance, hidden, seed, steps=300):
    """The weights are returned as they were drawn: the optimizer steps other tensors (copies, or none).

    The loss is that of the start.
    """
    return _trained(probability, importance, hidden, seed, 0)


def train_toy__climbs(probability, importance, hidden, seed, steps=300):
    """The loss is raised, not lowered.

    Weights grow without end.
    """
    return _trained(probability, importance, hidden, seed, steps, sign=-1)


def train_toy__one_small_batch(probability, importance, hidden, seed, steps=300):
    """The same batch of a few examples serves for all steps, and is learned by heart.

    The loss on that batch is small, on new data large.
    """
    return _trained(probability, importance, hidden, seed, steps, fixed=16)


def train_toy__with_gradients_attached(probability, importance, hidden, seed, steps=300):
    """The parameters themselves are returned, still asking for gradients.

    `W.requires_grad` is True.
    """
    W, b = _trained(probability, importance, hidden, seed, steps)
    return W.requires_grad_(), b.requires_grad_()


def train_toy__seed_ignored(probability, importance, hidden, seed, steps=300):
    """The seed is not used: whatever it is, the same models come out.

    Seeds 0 and 1 give the same weights.
    """
    return _trained(probability, importance, hidden, 0, steps)


# interference ---------------------------------------------------------------------------------------------


def interference__itself_included(W):
    """The sum runs over j = i as well: a feature interferes with itself.

    Orthogonal features have their own square instead of 0.
    """
    return geometry.interference(W) + W.square().sum(-1)


def interference__both_normalized(W):
    """Both features are scaled to norm 1: the squared cosines are summed.

    A faint feature disturbs as much as a loud one.
    """
    return geometry.interference(_unit(W))


def interference__not_normalized(W):
    """No feature is scaled: squares of W_i · W_j are summed.

    With all weights twice as large, it grows sixteen times instead of four.
    """
    return geometry.interference(W) * W.square().sum(-1)


def interference__the_wrong_one_normalized(W):
    """The sum runs over the wrong axis: how much each feature lies along the directions of the others.

    In a pair of a loud and a faint feature, the values are swapped.
    """
    heard = (_unit(W) @ W.mT).square()
    return heard.sum(-2) - heard.diagonal(dim1=1, dim2=2)


def interference__not_squared(W):
    """Overlaps are summed without being squared: what is on either side cancels.

    Half of an antipodal pair has a negative value.
    """
    heard = _unit(W) @ W.mT
    return heard.sum(-1) - heard.diagonal(dim1=1, dim2=2)


def interference__absolute_overlaps(W):
    """Absolute values of the overlaps are summed, not squares.

    With all weights twice as large, it doubles.
    """
    heard = (_unit(W) @ W.mT).abs()
    return heard.sum(-1) - heard.diagonal(dim1=1, dim2=2)


def interference__square_of_the_sum(W):
    """The overlaps are summed first, and the sum is squared.

    Two neighbours on opposite sides cancel.
    """
    heard = _unit(W) @ W.mT
    return (heard.sum(-1) - heard.diagonal(dim1=1, dim2=2)).square()


def interference__nan_without_a_norm(W):
    """Directions are divided by the norm as it is, 0 included: NaN for a feature without one.

    The result has NaN wherever a feature is left out.
    """
    heard = ((W / W.norm(dim=-1, keepdim=True)) @ W.mT).square()
    return heard.sum(-1) - heard.diagonal(dim1=1, dim2=2)


def interference__mean_over_the_others(W):
    """The mean over the other features is returned, not the sum.

    Features that are silent make it smaller.
    """
    return geometry.interference(W) / max(W.shape[1] - 1, 1)


# feature_dimensionality -----------------------------------------------------------------------------------


def feature_dimensionality__own_norm_left_out(W):
    """The numerator is 1, or the direction is not scaled to norm 1: one square of the own norm is missing.

    Scaling all weights changes the result.
    """
    shared = (_unit(W) @ W.mT).square().sum(-1)
    return torch.where(shared > 0, 1 / shared.clamp(min=1e-30), 0.0)


def feature_dimensionality__normalized_twice(W):
    """All features are scaled to norm 1, or the sum runs over the directions of the others: norms don't count.

    A long feature and a short one opposite to it get 1/2 each.
    """
    return geometry.feature_dimensionality(_unit(W))


def feature_dimensionality__without_itself(W):
    """The feature itself is left out of the sum.

    Half of a pair gets 1, and a feature of its own dimension divides by 0.
    """
    others = geometry.interference(W)
    return W.square().sum(-1) / others


def feature_dimensionality__norm_not_squared(W):
    """The numerator is the norm, not its square.

    Scaling all weights changes the result.
    """
    shared = (_unit(W) @ W.mT).square().sum(-1)
    return torch.where(shared > 0, W.norm(dim=-1) / shared.clamp(min=1e-30), 0.0)


def feature_dimensionality__overlaps_not_squared(W):
    """Overlaps are not squared: their absolute values are summed.

    A tetrahedron has 1/2 instead of 3/4.
    """
    shared = (_unit(W) @ W.mT).abs().sum(-1)
    return torch.where(shared > 0, W.norm(dim=-1) / shared.clamp(min=1e-30), 0.0)


def feature_dimensionality__nan_without_a_norm(W):
    """0 is divided by 0 for a feature without a norm.

    The result has NaN wherever a feature is left out.
    """
    return W.square().sum(-1) / ((W / W.norm(dim=-1, keepdim=True)) @ W.mT).square().sum(-1)


def feature_dimensionality__one_without_a_norm(W):
    """A small number is added above and below the fraction line: a feature without a norm gets 1.

    Features that are left out seem to have a dimension to themselves.
    """
    found = geometry.feature_dimensionality(W)
    return torch.where(W.square().sum(-1) > 0, found, 1.0)


def feature_dimensionality__of_the_axes(W):
    """The sum runs over hidden dimensions in place of features: W is used as its transpose.

    There is one number for each dimension, not for each feature.
    """
    return geometry.feature_dimensionality(W.mT)


def feature_dimensionality__a_mean_of_squares(W):
    """The denominator is a mean over features, not a sum.

    A feature of its own dimension has as many dimensions as there are features.
    """
    return geometry.feature_dimensionality(W) * W.shape[1]


# feature_groups -------------------------------------------------------------------------------------------


def feature_groups__no_chains(W, least=0.5, threshold=0.15):
    """Only direct neighbours of the first feature join its figure: chains are not followed.

    A fan of directions falls into pieces.
    """
    norms, near = W.norm(dim=1), (_unit(W) @ _unit(W).T).abs() > threshold
    left, found = [f for f in range(len(W)) if norms[f] >= least], []
    while left:
        group = [f for f in left if f == left[0] or near[left[0], f]]
        left = [f for f in left if f not in group]
        found.append((group, _rank(W[group], threshold)))
    return found


def feature_groups__two_links_at_most(W, least=0.5, threshold=0.15):
    """Chains are followed for two links only: neighbours, and neighbours of neighbours.

    A long chain falls into pieces.
    """
    norms, near = W.norm(dim=1), (_unit(W) @ _unit(W).T).abs() > threshold
    left, found = [f for f in range(len(W)) if norms[f] >= least], []
    while left:
        near_first = [f for f in left if near[left[0], f]]
        group = [f for f in left if near[near_first, f].any()]
        left = [f for f in left if f not in group]
        found.append((group, _rank(W[group], threshold)))
    return found


def feature_groups__antipodes_missed(W, least=0.5, threshold=0.15):
    """The cosine is compared without its absolute value: opposite features don't meet.

    A digon is two figures.
    """
    return _melted(W, least, threshold, _unit(W) @ _unit(W).T > threshold)


def feature_groups__dot_products(W, least=0.5, threshold=0.15):
    """Dot products are compared, not cosines: long features overlap more.

    With all weights ten times as large, everything is one figure.
    """
    return _melted(W, least, threshold, (W @ W.T).abs() > threshold)


def feature_groups__dropped_features_counted(W, least=0.5, threshold=0.15):
    """Features that are not represented form figures as well.

    Each is a figure of its own, or joins others by chance.
    """
    return geometry.feature_groups(W, 0.0, threshold)


def feature_groups__all_hidden_dimensions(W, least=0.5, threshold=0.15):
    """Dimensions are those of the hidden layer, not those that the figure spans.

    A digon in five dimensions is said to span five.
    """
    return [(group, W.shape[1]) for group, _ in geometry.feature_groups(W, least, threshold)]


def feature_groups__one_dimension_for_each_feature(W, least=0.5, threshold=0.15):
    """Dimensions are counted by singular values above 0, and noise is above 0.

    A digon with a little noise spans two dimensions.
    """
    groups = geometry.feature_groups(W, least, threshold)
    return [(group, min(len(group), W.shape[1])) for group, _ in groups]


def feature_groups__in_any_order(W, least=0.5, threshold=0.15):
    """Figures are ordered by size, not by their first feature.

    The largest comes first.
    """
    return sorted(geometry.feature_groups(W, least, threshold), key=lambda found: -len(found[0]))


def feature_groups__lone_features_left_out(W, least=0.5, threshold=0.15):
    """Features with a dimension to themselves are not returned.

    Where nothing is superposed the list is empty.
    """
    return [found for found in geometry.feature_groups(W, least, threshold) if len(found[0]) > 1]


def feature_groups__thresholds_of_its_own(W, least=0.5, threshold=0.15):
    """`least` and `threshold` are not used: 0.5 and 0.15 stand in the code.

    Other thresholds give the same figures.
    """
    return geometry.feature_groups(W)


def feature_groups__numerical_rank(W, least=0.5, threshold=0.15):
    """Dimensions are the numerical rank: every singular value above rounding counts, however small.

    With a little noise a pair spans two dimensions.
    """
    found = geometry.feature_groups(W, least, threshold)
    return [(group, int(torch.linalg.matrix_rank(W[group]))) for group, _ in found]


# phase_losses ---------------------------------------------------------------------------------------------


def phase_losses__left_out_means_zero(probability, importance):
    """A feature that is left out is answered by 0, not by its mean: the bias is missing.

    With a feature that is always there, its loss is 1/3 instead of 1/12.
    """
    return _phases(importance, probability / 3, probability**2 / 6)


def phase_losses__variance_of_a_present_feature(probability, importance):
    """The variance is that of a uniform number, times the probability: absence does not vary it.

    A feature that is there half of the time loses 1/24 instead of 5/48.
    """
    return _phases(importance, probability / 12, probability**2 / 6)


def phase_losses__mean_square_from_p_squared(probability, importance):
    """The mean square is taken as p²/3, as if the probability scaled the values.

    A rare feature loses next to nothing.
    """
    return _phases(importance, probability**2 / 12, probability**2 / 6)


def phase_losses__importances_swapped(probability, importance):
    """The loss of keeping a feature is weighted by that feature's importance, not by that of the one left out.

    The more the second feature matters, the better it is to leave it out.
    """
    return _phases(importance, _variance(probability), probability**2 / 6)[[1, 0, 2]]


def phase_losses__one_of_the_pair_is_lost(probability, importance):
    """In a collision only one feature is said to be wrong, not both.

    The pair's loss is without (1 + importance).
    """
    found = _phases(importance, _variance(probability), probability**2 / 6)
    return torch.stack([found[0], found[1], found[2] / (1 + importance)])


def phase_losses__collision_probability_not_squared(probability, importance):
    """The pair is said to fail whenever a feature is present: p instead of p².

    However rare the features, superposition does not pay.
    """
    return _phases(importance, _variance(probability), probability / 6)


def phase_losses__square_of_the_mean_minimum(probability, importance):
    """E[min]² = 1/9 is used for E[min²] = 1/6.

    Collisions seem cheaper than they are.
    """
    return _phases(importance, _variance(probability), probability**2 / 9)


def phase_losses__products_collide(probability, importance):
    """The error in a collision is taken to be the product's, E[x₀² x₁²] = 1/9 … or that each loses the other: 1/3.

    Both features seem to be wrong by the other's whole value.
    """
    return _phases(importance, _variance(probability), probability**2 / 3)


def phase_losses__sparsity_for_probability(probability, importance):
    """The argument is taken for the sparsity, 1 − probability.

    Losses are 0 when features are always there.
    """
    return _phases(importance, _variance(1 - probability), (1 - probability) ** 2 / 6)


def phase_losses__importance_squared(probability, importance):
    """The importance is squared.

    With an importance of 1/2, the second feature counts a quarter.
    """
    return _phases(importance**2, _variance(probability), probability**2 / 6)


def phase_losses__case_first(probability, importance):
    """The result is [case, phase].

    With as many cases as phases, the matrix is transposed.
    """
    return _phases(importance, _variance(probability), probability**2 / 6).T


# basis_p_value --------------------------------------------------------------------------------------------


def basis_p_value__own_not_counted(W, rotations):
    """W itself is not counted: p is 0 when no rotation reaches it.

    Features on axes have p = 0.
    """
    return _reached(W, rotations) / len(rotations)


def basis_p_value__counted_above_only(W, rotations):
    """W is counted above the line and not below.

    What no rotation changes has p above 1.
    """
    return (1 + _reached(W, rotations)) / len(rotations)


def basis_p_value__the_other_tail(W, rotations):
    """The rotations that keep to neurons *less* are counted.

    Features on axes have p = 1.
    """
    return (1 + _reached(W, rotations, turned=-1)) / (1 + len(rotations))


def basis_p_value__ties_left_out(W, rotations):
    """Only rotations that are above W's own value count, not those that equal it.

    What no rotation changes has the least p there is.
    """
    own, chance = _values(W, rotations)
    return (1 + int((chance > own * (1 + 1e-5)).sum())) / (1 + len(rotations))


def basis_p_value__every_feature_alike(W, rotations):
    """Features are scaled to norm 1 first, so that silent ones speak as loudly as the others.

    One loud feature on an axis, among faint ones beside it, goes unnoticed.
    """
    return superposition_neurons.basis_p_value(_unit(W), rotations)


def basis_p_value__features_rotated(W, rotations):
    """Rotations are applied from the left, to features instead of neurons.

    The shapes don't fit, or p says something of features.
    """
    own, _ = _values(W, rotations)
    chance = superposition_neurons.concentration(rotations @ W)
    return (1 + int((chance >= own * (1 - 1e-5)).sum())) / (1 + len(rotations))


def basis_p_value__answers_for_one_neuron(W, rotations):
    """With one neuron it returns 1 instead of refusing: the question has no meaning there.

    No ValueError is raised for W of shape [4, 1].
    """
    if W.shape[1] < 2:
        return 1.0
    return superposition_neurons.basis_p_value(W, rotations)


def basis_p_value__nan_without_features(W, rotations):
    """W of zeros is not refused: 0 over 0 is NaN, which is at least nothing, and p is the least there is.

    No ValueError is raised for W of zeros.
    """
    if not W.any():
        return 1 / (1 + len(rotations))
    return superposition_neurons.basis_p_value(W, rotations)


def basis_p_value__largest_weight(W, rotations):
    """The largest square over all weights is compared, not the sum of fourth powers.

    One feature on an axis hides all that are beside it.
    """
    own, chance = W.square().max(), (W @ rotations).square().amax((-1, -2))
    return (1 + int((chance >= own * (1 - 1e-5)).sum())) / (1 + len(rotations))


# absolute_value_weights -----------------------------------------------------------------------------------


def absolute_value_weights__three_features_only(features):
    """Two neurons are given to each of three features, and none to the others.

    Features after the third come out as 0.
    """
    W_in, W_out = torch.zeros(features, 6), torch.zeros(6, features)
    for n in range(min(features, 3)):
        W_in[n, n], W_in[n, n + 3] = 1.0, -1.0
        W_out[n, n] = W_out[n + 3, n] = 1.0
    return W_in, W_out


def absolute_value_weights__two_neurons_for_each(features):
    """Each feature gets two neurons of its own: 2 n in all, not six.

    W_in has twice as many columns as features.
    """
    eye = torch.eye(features)
    return torch.cat([eye, -eye], dim=1), torch.cat([eye, eye])


def absolute_value_weights__negative_values_lost(features):
    """All six neurons see positive values: −x gives 0, as ReLU(x) does.

    Negative features come out as 0.
    """
    W_in, W_out = superposition_neurons.absolute_value_weights(features)
    return W_in.abs(), W_out / 2


def absolute_value_weights__signed(features):
    """The negative half is read with a minus: the network returns ReLU(x), not |x|.

    Negative features come out as 0.
    """
    W_in, W_out = superposition_neurons.absolute_value_weights(features)
    return W_in, torch.cat([W_out[:3], -W_out[3:]])


def absolute_value_weights__neighbours_heard(features):
    """Features are read by the directions that they are written in: neighbours are heard too.

    One feature alone makes all outputs positive.
    """
    W_in, _ = superposition_neurons.absolute_value_weights(features)
    return W_in, W_in.abs().T / W_in.square().sum(1)[: len(W_in)] * 2


def absolute_value_weights__wrong_size(features):
    """Directions are cut apart rightly, but v · u is not brought to 1.

    All outputs are a common factor off.
    """
    W_in, W_out = superposition_neurons.absolute_value_weights(features)
    return W_in, 0.5 * W_out


def absolute_value_weights__random_directions(features):
    """Random directions and their pseudo-inverse: least squares spread the error over all outputs.

    With more features than neurons, one feature alone wakes several outputs.
    """
    u = torch.rand(features, 3, generator=torch.Generator().manual_seed(0))
    W_in = torch.cat([u, -u], dim=1)
    v = torch.linalg.pinv(u)
    return W_in, torch.cat([v, v])


def _hidden(features, W):
    return torch.einsum("bif,ifh->bih", features, W)


def _back(hidden, W):
    return torch.einsum("bih,ifh->bif", hidden, W)


def _trained(
    probability,
    importance,
    hidden,
    seed,
    steps,
    scale=0.5,
    clear=True,
    bias=True,
    shared=False,
    sign=1,
    fixed=0,
):
    generator = torch.Generator(probability.device).manual_seed(seed)
    start = scale * torch.randn(*probability.shape, hidden, generator=generator, device=generator.device)
    W, b = start.to(probability).requires_grad_(), torch.zeros_like(probability).requires_grad_()
    optimizer = torch.optim.Adam([W, b] if bias else [W], lr=0.03)
    batch = toy.features_from(generator, probability, fixed) if fixed else None
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        x = toy.features_from(generator, probability, 200) if batch is None else batch
        loss = sign * toy.toy_loss(toy.toy_output(x, W, b), x, importance).sum()
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if shared:
            W.grad = W.grad.mean(0, keepdim=True).expand_as(W).clone()
        optimizer.step()
    return W.detach(), b.detach()


def _unit(W):
    return W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _rank(rows, threshold):
    values = torch.linalg.svdvals(rows)
    return int((values > threshold * values[0]).sum())


def _melted(W, least, threshold, near):
    groups = []
    for feature in range(len(W)):
        if W[feature].norm() >= least:
            met = [group for group in groups if any(near[feature, other] for other in group)]
            groups = [group for group in groups if group not in met] + [sorted(sum(met, [feature]))]
    return [(group, _rank(W[group], threshold)) for group in sorted(groups)]


def _variance(probability):
    return probability / 3 - probability**2 / 4


def _phases(importance, left_out, collision):
    return torch.stack([importance * left_out, left_out, (1 + importance) * collision])


def _values(W, rotations):
    superposition_neurons.basis_p_value(W, rotations)  # refuses what has no answer
    return superposition_neurons.concentration(W), superposition_neurons.concentration(W @ rotations)


def _reached(W, rotations, turned=1):
    own, chance = _values(W, rotations)
    return int((turned * chance >= turned * own * (1 - turned * 1e-5)).sum())
