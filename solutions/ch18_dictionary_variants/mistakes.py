"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import itertools

import torch

from mechinterp_course.metrics import loss_per_token

# inference_threshold --------------------------------------------------------------------------------------


def inference_threshold__smallest_of_all_batches(batches, k):
    """The smallest over all batches is taken, not the mean of each batch's smallest.

    One quiet batch decides for all.
    """
    return min(_smallest(batches, k))


def inference_threshold__largest_of_all_batches(batches, k):
    """The largest of the batches' smallest activations is taken, not their mean.

    One loud batch decides for all.
    """
    return max(_smallest(batches, k))


def inference_threshold__batches_joined(batches, k):
    """All batches are joined to one before the largest are taken.

    A loud batch takes the places of the others.
    """
    return _smallest([torch.cat(list(batches))], k)[0]


def inference_threshold__by_token(batches, k):
    """Each token keeps its own k largest, as TopK does, not the batch k times the number of tokens.

    The threshold is lower, by what the quietest token keeps.
    """
    kept = [batch.topk(k, dim=-1).values for batch in batches]
    return _mean([each[each > 0].min().item() for each in kept if (each > 0).any()])


def inference_threshold__k_of_the_whole_batch(batches, k):
    """k values stay in the whole batch, not k times the number of tokens.

    The more tokens in a batch, the higher the threshold.
    """
    kept = [batch.flatten().topk(k).values for batch in batches]
    return _mean([each[each > 0].min().item() for each in kept if (each > 0).any()])


def inference_threshold__mean_of_what_stays(batches, k):
    """The mean of what stays is taken, not the smallest.

    About half of what BatchTopK keeps would fall below it.
    """
    kept = [_kept(batch, k) for batch in batches]
    return _mean([each.mean().item() for each in kept if len(each)])


def inference_threshold__silent_batches_count_as_zero(batches, k):
    """A batch in which nothing is positive counts with a threshold of zero.

    Leaving such a batch out raises the threshold.
    """
    kept = [_kept(batch, k) for batch in batches]
    return _mean([each.min().item() if len(each) else 0.0 for each in kept])


def inference_threshold__negative_values_stay(batches, k):
    """The smallest of the k largest is taken also where it is negative: the ReLU is forgotten.

    In a quiet batch the threshold is below zero.
    """
    return _mean([batch.flatten().topk(k * len(batch)).values[-1].item() for batch in batches])


def inference_threshold__largest_that_goes(batches, k):
    """The largest value that does not stay is taken, not the smallest that does.

    It is one place further down in the sorted values.
    """
    found = []
    for batch in batches:
        values = batch.flatten().sort(descending=True).values
        place = min(k * len(batch), len(values) - 1)
        if values[0] > 0:
            found.append(values[place].clamp(min=0).item())
    return _mean(found)


def inference_threshold__weighted_by_tokens(batches, k):
    """Batches count by their tokens, not alike.

    A long batch pulls the threshold towards its own.
    """
    kept = [(_kept(batch, k), len(batch)) for batch in batches]
    kept = [(each.min().item(), tokens) for each, tokens in kept if len(each)]
    return sum(value * tokens for value, tokens in kept) / sum(tokens for _, tokens in kept)


# jumprelu -------------------------------------------------------------------------------------------------


def jumprelu__shifted(pre_activations, threshold, bandwidth):
    """What exceeds the threshold is returned, z − θ, not z whole: a ReLU with a bias.

    Every active feature is too small by its threshold.
    """
    return _gated(pre_activations, threshold, bandwidth, shift=1.0)


def jumprelu__no_gradient_to_the_threshold(pre_activations, threshold, bandwidth):
    """The step's own derivative is used, which is zero: thresholds get no gradient.

    Values are right, and no threshold ever moves.
    """
    active = (pre_activations > threshold).float()
    return pre_activations * active, active


def jumprelu__gradient_of_the_wrong_sign(pre_activations, threshold, bandwidth):
    """The threshold's gradient has the wrong sign: a higher threshold is taken to let more through.

    A penalty on L0 lowers the thresholds.
    """
    return _gated(pre_activations, threshold, bandwidth, sign=-1.0)


def jumprelu__window_twice_as_wide(pre_activations, threshold, bandwidth):
    """The window reaches a whole bandwidth to either side, not half of one.

    Twice as many tokens pull at each threshold.
    """
    return _gated(pre_activations, threshold, bandwidth, half=1.0)


def jumprelu__not_divided_by_the_bandwidth(pre_activations, threshold, bandwidth):
    """The window is not divided by the bandwidth.

    A wide window pulls harder than a narrow one, instead of as hard on average.
    """
    return _gated(pre_activations, threshold, bandwidth, over=1.0)


def jumprelu__activations_without_their_height(pre_activations, threshold, bandwidth):
    """The gradient of the activations leaves out θ, the height of the jump.

    Both results have the same gradient, whatever the threshold.
    """
    return _gated(pre_activations, threshold, bandwidth, height=torch.ones_like(threshold))


def jumprelu__height_is_the_pre_activation(pre_activations, threshold, bandwidth):
    """The height of the jump is taken to be z, not θ.

    Tokens above the threshold pull harder than those below.
    """
    return _gated(pre_activations, threshold, bandwidth, height=pre_activations.detach())


def jumprelu__above_the_threshold_only(pre_activations, threshold, bandwidth):
    """Only tokens above the threshold pull at it, those just below do not.

    The threshold can't learn that it is too high.
    """
    active = (pre_activations > threshold).float()
    return _gated(pre_activations, threshold, bandwidth, where=active.detach())


def jumprelu__also_to_the_pre_activations(pre_activations, threshold, bandwidth):
    """The made-up gradient goes to the pre-activations as well, with the opposite sign.

    It is another method (sae-lens' `jumprelu_ste_to_input`); here the encoder learns through active features only.
    """
    return _gated(pre_activations, threshold, bandwidth, to_input=1.0)


def jumprelu__sigmoid_gate(pre_activations, threshold, bandwidth):
    """The step is replaced by a steep sigmoid, which has a gradient and is no step.

    Near the threshold activations are neither off nor whole.
    """
    gate = torch.sigmoid((pre_activations - threshold) / bandwidth)
    return pre_activations * gate, gate


def jumprelu__gate_learns_the_encoder(pre_activations, threshold, bandwidth):
    """The gradient of the activations through z is passed on also where the feature is off.

    A silent feature's encoder learns as if it were active.
    """
    acts, active = _gated(pre_activations, threshold, bandwidth)
    return acts + (1 - active.detach()) * (pre_activations - pre_activations.detach()), active


# auxiliary_loss -------------------------------------------------------------------------------------------


def auxiliary_loss__error_not_detached(error, pre_activations, dead, W_dec, k_aux):
    """The error is left in the graph, so that gradients reach the living through it.

    The living learn to leave errors that the dead can explain.
    """
    return _auxiliary(error, pre_activations, dead, W_dec, k_aux)


def auxiliary_loss__all_features(error, pre_activations, dead, W_dec, k_aux):
    """The largest of all features are taken, not of the dead.

    What the living say changes the loss, and the dead get no gradient.
    """
    return _auxiliary(error.detach(), pre_activations, torch.ones_like(dead), W_dec, k_aux) * dead.any()


def auxiliary_loss__the_living(error, pre_activations, dead, W_dec, k_aux):
    """The mask is the wrong way round: the living rebuild the error.

    The dead get no gradient.
    """
    return _auxiliary(error.detach(), pre_activations, ~dead, W_dec, k_aux)


def auxiliary_loss__all_of_the_dead(error, pre_activations, dead, W_dec, k_aux):
    """All of the dead rebuild the error, not the `k_aux` largest on each token.

    `k_aux` makes no difference.
    """
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, len(dead))


def auxiliary_loss__negative_values_cut_off(error, pre_activations, dead, W_dec, k_aux):
    """Pre-activations pass a ReLU first, so that a feature that is silent everywhere gets no gradient.

    Where all dead pre-activations are negative the loss is that of saying nothing.
    """
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux, torch.relu)


def auxiliary_loss__by_absolute_value(error, pre_activations, dead, W_dec, k_aux):
    """The dead features with the largest absolute pre-activations are taken.

    A strongly negative one takes the place of a positive one.
    """
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux, by=torch.abs)


def auxiliary_loss__averaged_over_inputs(error, pre_activations, dead, W_dec, k_aux):
    """The squared distance is averaged over inputs, not summed.

    It is d_in times too small.
    """
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux) / error.shape[1]


def auxiliary_loss__summed_over_tokens(error, pre_activations, dead, W_dec, k_aux):
    """The squared distance is summed over tokens, not averaged.

    Saying every token twice doubles it.
    """
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux) * len(error)


def auxiliary_loss__same_features_for_all_tokens(error, pre_activations, dead, W_dec, k_aux):
    """The dead features are chosen once for the batch, by their mean, not for each token.

    A token's own largest may be left out.
    """
    mean = pre_activations.detach().mean(0, keepdim=True).expand_as(pre_activations)
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux, by=lambda _: mean)


def auxiliary_loss__nothing_learns(error, pre_activations, dead, W_dec, k_aux):
    """All is computed without gradients.

    The value is right, and no dead feature is ever revived by it.
    """
    return _auxiliary(error, pre_activations, dead, W_dec, k_aux).detach()


def auxiliary_loss__not_a_number_without_dead(error, pre_activations, dead, W_dec, k_aux):
    """Where no feature is dead, the loss is that of saying nothing: the squared error.

    It should be 0, else all features are pulled at when none is dead.
    """
    if not dead.any():
        return error.detach().square().sum(-1).mean()
    return _auxiliary(error.detach(), pre_activations, dead, W_dec, k_aux)


# resample_dead --------------------------------------------------------------------------------------------


def resample_dead__uniform(activations, reconstruction, dead, weights, moments, seed):
    """Tokens are drawn with equal chances, not by how badly they are reconstructed.

    Tokens that are explained already are drawn as often as others.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, power=0)


def resample_dead__by_the_error(activations, reconstruction, dead, weights, moments, seed):
    """Chances are proportional to the squared error, not to its square.

    Tokens that are a little wrong are drawn too often.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, power=1)


def resample_dead__always_the_worst(activations, reconstruction, dead, weights, moments, seed):
    """All dead features are pointed at the worst token: nothing is drawn.

    They end as copies of each other.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, power=80)


def resample_dead__rows_not_normalized(activations, reconstruction, dead, weights, moments, seed):
    """Decoder rows become the vectors to the tokens, at whatever length these have.

    They have not length 1, though all others are held there.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, unit=False)


def resample_dead__not_centred(activations, reconstruction, dead, weights, moments, seed):
    """Rows point at the activation itself, not from `b_dec` to it.

    What all activations share is in every new row.
    """
    bare = weights | {"b_dec": torch.zeros_like(weights["b_dec"])}
    made, kept = _resampled(activations, reconstruction, dead, bare, moments, seed)
    return made | {"b_dec": weights["b_dec"].clone()}, kept


def resample_dead__towards_the_error(activations, reconstruction, dead, weights, moments, seed):
    """Rows point along the error of the token, not from `b_dec` to the token.

    It may be a good idea, and it is not what was asked for.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, along_error=True)


def resample_dead__moments_kept(activations, reconstruction, dead, weights, moments, seed):
    """The optimizer's state is not reset.

    Adam's first steps follow the gradients of the dead feature.
    """
    made, _ = _resampled(activations, reconstruction, dead, weights, moments, seed)
    return made, {name: each.clone() for name, each in moments.items()}


def resample_dead__all_moments_forgotten(activations, reconstruction, dead, weights, moments, seed):
    """The optimizer forgets everything, also of the living.

    All features start over whenever one is resampled.
    """
    made, _ = _resampled(activations, reconstruction, dead, weights, moments, seed)
    return made, {name: torch.zeros_like(each) for name, each in moments.items()}


def resample_dead__encoder_at_full_length(activations, reconstruction, dead, weights, moments, seed):
    """The encoder's column has the mean length of the living ones, not a fifth of it.

    A new feature is as loud as the old ones before it has learned anything.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, share=1.0)


def resample_dead__mean_over_all_features(activations, reconstruction, dead, weights, moments, seed):
    """The mean length is taken over all encoder columns, those of the dead among them.

    The length of a dead feature's column changes what it is given.
    """
    return _resampled(activations, reconstruction, dead, weights, moments, seed, of_all=True)


def resample_dead__encoder_bias_kept(activations, reconstruction, dead, weights, moments, seed):
    """The encoder's bias stays as it was, and with it what kept the feature silent.

    A dead feature often died of its bias.
    """
    made, kept = _resampled(activations, reconstruction, dead, weights, moments, seed)
    return made | {"b_enc": weights["b_enc"].clone()}, kept


def resample_dead__encoder_kept(activations, reconstruction, dead, weights, moments, seed):
    """Only the decoder is resampled; the encoder reads what it read before.

    The new direction is written when the old one is read, which is never.
    """
    made, kept = _resampled(activations, reconstruction, dead, weights, moments, seed)
    return made | {"W_enc": weights["W_enc"].clone()}, kept


def resample_dead__the_living(activations, reconstruction, dead, weights, moments, seed):
    """The mask is the wrong way round: living features are resampled.

    What was learned is lost, and the dead stay dead.
    """
    if not dead.any():
        return _resampled(activations, reconstruction, dead, weights, moments, seed)
    return _resampled(activations, reconstruction, ~dead, weights, moments, seed)


def resample_dead__in_place(activations, reconstruction, dead, weights, moments, seed):
    """The arguments themselves are changed.

    The caller's tensors are other ones after the call.
    """
    made, kept = _resampled(activations, reconstruction, dead, weights, moments, seed)
    for held, new in ((weights, made), (moments, kept)):
        for name, value in new.items():
            held[name].copy_(value)
    return weights, moments


# absorption_rate ------------------------------------------------------------------------------------------


def absorption_rate__partners_forgotten(feature_acts, true_acts, partner, parent, children):
    """Found features are indexed by the numbers of the true ones, without `partner`.

    Other features are asked, unless the matching is the identity.
    """
    return _absorption(feature_acts, true_acts, torch.arange(len(partner)), parent, children)


def absorption_rate__precision(feature_acts, true_acts, partner, parent, children):
    """Precision is returned in the place of recall: of the partner's firings, where the parent is there.

    A feature that fires once, rightly, has all of it.
    """
    fires, there = feature_acts[:, partner[parent]] > 0, true_acts[:, parent] > 0
    _, absorbed = _absorption(feature_acts, true_acts, partner, parent, children)
    return (fires & there).sum().item() / max(fires.sum().item(), 1), absorbed


def absorption_rate__recall_over_all_tokens(feature_acts, true_acts, partner, parent, children):
    """Recall is divided by all tokens, not by those on which the parent is there.

    More tokens without the parent lower it.
    """
    recall, absorbed = _absorption(feature_acts, true_acts, partner, parent, children)
    return recall * (true_acts[:, parent] > 0).double().mean().item(), absorbed


def absorption_rate__absorbed_of_the_parents_tokens(feature_acts, true_acts, partner, parent, children):
    """Absorbed is divided by the parent's tokens, not by those with a child.

    Tokens on which the parent is alone lower it.
    """
    recall, absorbed = _absorption(feature_acts, true_acts, partner, parent, children)
    with_child = (true_acts[:, list(children)] > 0).any(dim=1).sum()
    return recall, absorbed * with_child.item() / (true_acts[:, parent] > 0).sum().item()


def absorption_rate__every_miss(feature_acts, true_acts, partner, parent, children):
    """Every token with a child on which the parent's partner is silent counts as absorbed.

    Where the child's partner is silent too, nobody has taken anything over.
    """
    recall, _ = _absorption(feature_acts, true_acts, partner, parent, children)
    with_child = (true_acts[:, list(children)] > 0).any(dim=1)
    return recall, (feature_acts[with_child][:, partner[parent]] <= 0).double().mean().item()


def absorption_rate__any_childs_partner(feature_acts, true_acts, partner, parent, children):
    """The partner of any child may fire, also of one that is not there.

    A feature that fires wrongly is taken to speak for the parent.
    """
    recall, _ = _absorption(feature_acts, true_acts, partner, parent, children)
    with_child = (true_acts[:, list(children)] > 0).any(dim=1)
    speaks = (feature_acts[:, partner[list(children)]] > 0).any(dim=1)
    silent = feature_acts[:, partner[parent]] <= 0
    return recall, (speaks & silent)[with_child].double().mean().item()


def absorption_rate__children_counted_apart(feature_acts, true_acts, partner, parent, children):
    """Each pair of a token and a child counts, so that a token with two children counts twice.

    The mean over children is not that over tokens.
    """
    recall, _ = _absorption(feature_acts, true_acts, partner, parent, children)
    there = true_acts[:, list(children)] > 0
    taken = (feature_acts[:, partner[list(children)]] > 0) & (feature_acts[:, partner[parent]] <= 0)[:, None]
    return recall, (taken & there).sum().item() / there.sum().item()


def absorption_rate__parent_speaks_too(feature_acts, true_acts, partner, parent, children):
    """A child's partner that fires counts as absorption also where the parent's partner fires.

    Both speak, as they should, and it is called absorbed.
    """
    recall, _ = _absorption(feature_acts, true_acts, partner, parent, children)
    there = true_acts[:, list(children)] > 0
    taken = (there & (feature_acts[:, partner[list(children)]] > 0)).any(dim=1)
    return recall, taken[there.any(dim=1)].double().mean().item()


def absorption_rate__missed_for_recall(feature_acts, true_acts, partner, parent, children):
    """What is missed is returned in the place of recall.

    A partner that always speaks has a recall of 0.
    """
    recall, absorbed = _absorption(feature_acts, true_acts, partner, parent, children)
    return 1 - recall, absorbed


# split_features -------------------------------------------------------------------------------------------


def _pieces(narrow_acts, wide_acts, inside):
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    return (narrow.T @ wide >= inside * wide.sum(0)) & (wide.sum(0) > 0)


def _covered(narrow_acts, wide_acts, pieces):
    told = ((wide_acts > 0).double() @ pieces.double().T > 0) & (narrow_acts > 0)
    return (told.sum(0) / (narrow_acts > 0).sum(0).clamp(min=1)).to(narrow_acts)


def split_features__of_the_narrow_ones_tokens(narrow_acts, wide_acts, inside):
    """The share is taken of the narrow feature's tokens, not of the wide one's.

    A small piece that lies wholly within its narrow feature is no piece then.
    """
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    pieces = (narrow.T @ wide >= inside * narrow.sum(0)[:, None]) & (wide.sum(0) > 0)
    return pieces, _covered(narrow_acts, wide_acts, pieces)


def split_features__dead_ones_too(narrow_acts, wide_acts, inside):
    """A wide feature that never fires is a piece of every narrow one: none of its no tokens lies outside.

    It is nobody's piece.
    """
    pieces = _pieces(narrow_acts, wide_acts, inside) | ~(wide_acts > 0).any(0)
    return pieces, _covered(narrow_acts, wide_acts, pieces)


def split_features__more_than_inside(narrow_acts, wide_acts, inside):
    """A share of exactly `inside` is not enough.

    With `inside` at 1 nothing is a piece.
    """
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    pieces = narrow.T @ wide > inside * wide.sum(0)
    return pieces, _covered(narrow_acts, wide_acts, pieces)


def split_features__covered_by_anybody(narrow_acts, wide_acts, inside):
    """A token counts as covered if any wide feature fires there, whether it is a piece or not.

    Only the narrow feature's own pieces can stand in its place.
    """
    told = (wide_acts > 0).any(1)[:, None] & (narrow_acts > 0)
    covered = told.sum(0) / (narrow_acts > 0).sum(0).clamp(min=1)
    return _pieces(narrow_acts, wide_acts, inside), covered.to(narrow_acts)


def split_features__covers_added_up(narrow_acts, wide_acts, inside):
    """What each piece covers is added up, so that a token on which two pieces fire counts twice.

    A share above 1 gives it away.
    """
    pieces = _pieces(narrow_acts, wide_acts, inside)
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    each = (narrow.T @ wide) * pieces / narrow.sum(0).clamp(min=1)[:, None]
    return pieces, each.sum(1).to(narrow_acts)


def split_features__by_the_largest_piece(narrow_acts, wide_acts, inside):
    """Covered is what the largest piece covers alone.

    That tells how far a feature was split, not how much of it the pieces are together.
    """
    pieces = _pieces(narrow_acts, wide_acts, inside)
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    each = (narrow.T @ wide) * pieces / narrow.sum(0).clamp(min=1)[:, None]
    return pieces, each.amax(1).to(narrow_acts)


def split_features__covered_of_all_tokens(narrow_acts, wide_acts, inside):
    """Covered is divided by all tokens, not by those on which the narrow feature fires.

    A rare feature is never covered then.
    """
    pieces = _pieces(narrow_acts, wide_acts, inside)
    share = (narrow_acts > 0).to(narrow_acts).mean(0)
    return pieces, _covered(narrow_acts, wide_acts, pieces) * share


def split_features__pieces_outside_count(narrow_acts, wide_acts, inside):
    """Tokens on which a piece fires and the narrow feature does not are counted as covered.

    There is nothing to cover there.
    """
    pieces = _pieces(narrow_acts, wide_acts, inside)
    told = (wide_acts > 0).double() @ pieces.double().T > 0
    return pieces, (told.sum(0) / (narrow_acts > 0).sum(0).clamp(min=1)).to(narrow_acts)


# matryoshka_loss ------------------------------------------------------------------------------------------


def matryoshka_loss__blocks_instead_of_prefixes(activations, feature_acts, W_dec, b_dec, widths):
    """Each reconstruction uses the features between two widths, not all from the first on.

    The parts are not nested: later ones have to explain everything alone.
    """
    bounds = [0, *sorted(widths)]
    parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    return sum(_left(activations, feature_acts[:, p] @ W_dec[p] + b_dec) for p in parts)


def matryoshka_loss__averaged_over_widths(activations, feature_acts, W_dec, b_dec, widths):
    """The errors are averaged over widths, not added up.

    A width said twice changes nothing where it should count twice.
    """
    return _nested(activations, feature_acts, W_dec, b_dec, widths) / len(widths)


def matryoshka_loss__whole_only(activations, feature_acts, W_dec, b_dec, widths):
    """Only the largest prefix has to rebuild: the plain loss.

    With more than one width the loss is too small.
    """
    return _nested(activations, feature_acts, W_dec, b_dec, [max(widths)])


def matryoshka_loss__without_the_whole(activations, feature_acts, W_dec, b_dec, widths):
    """The largest prefix is left out.

    With one width the loss is zero.
    """
    inner = sorted(widths)[:-1]
    return _nested(activations, feature_acts, W_dec, b_dec, inner) if inner else 0 * feature_acts.sum()


def matryoshka_loss__bias_once(activations, feature_acts, W_dec, b_dec, widths):
    """Only the whole has the bias; the inner prefixes rebuild without it.

    Inner errors hold the whole mean of the activations.
    """
    last = max(widths)
    return sum(_prefix(activations, feature_acts, W_dec, b_dec * (w == last), w) for w in widths)


def matryoshka_loss__no_bias(activations, feature_acts, W_dec, b_dec, widths):
    """No reconstruction has the decoder's bias.

    The bias gets no gradient.
    """
    return _nested(activations, feature_acts, W_dec, 0 * b_dec, widths)


def matryoshka_loss__averaged_over_inputs(activations, feature_acts, W_dec, b_dec, widths):
    """The squared error is averaged over inputs, as by mse_loss, not summed.

    It is d_in times too small.
    """
    return _nested(activations, feature_acts, W_dec, b_dec, widths) / activations.shape[1]


def matryoshka_loss__summed_over_tokens(activations, feature_acts, W_dec, b_dec, widths):
    """The error is summed over tokens, not averaged.

    Saying every token twice doubles it.
    """
    return _nested(activations, feature_acts, W_dec, b_dec, widths) * len(activations)


def matryoshka_loss__largest_features(activations, feature_acts, W_dec, b_dec, widths):
    """The prefix is made of each token's largest activations, not of the first features.

    No feature belongs to the small dictionary.
    """
    total = 0.0
    for width in widths:
        values, places = feature_acts.topk(width, dim=-1)
        kept = torch.zeros_like(feature_acts).scatter(-1, places, values)
        total = total + _left(activations, kept @ W_dec + b_dec)
    return total


def matryoshka_loss__off_by_one(activations, feature_acts, W_dec, b_dec, widths):
    """Each prefix is one feature short.

    The last feature of each prefix gets no gradient from it.
    """
    return _nested(activations, feature_acts, W_dec, b_dec, [width - 1 for width in widths])


def matryoshka_loss__residuals(activations, feature_acts, W_dec, b_dec, widths):
    """What a smaller prefix has rebuilt is taken as fixed, so that gradients reach only the newest features.

    The value is right, and the first features learn from their own prefix alone.
    """
    loss, rebuilt, done = 0.0, b_dec, 0
    for width in sorted(widths):
        rebuilt = rebuilt + feature_acts[:, done:width] @ W_dec[done:width]
        loss, done = loss + _left(activations, rebuilt), width
        rebuilt = rebuilt.detach()
    return loss


# transcoder_recovered -------------------------------------------------------------------------------------


def transcoder_recovered__fed_the_output(model, tokens, layer, transcode):
    """The transcoder is given what the MLP writes, as an SAE would be, not what it reads.

    The MLP itself in its own place does not give 1.
    """
    return _spliced(model, tokens, layer, transcode, f"blocks.{layer}.hook_mlp_out")


def transcoder_recovered__fed_the_residual_stream(model, tokens, layer, transcode):
    """The transcoder is given the residual stream before LayerNorm.

    The MLP never sees it at that scale.
    """
    return _spliced(model, tokens, layer, transcode, f"blocks.{layer}.hook_resid_mid")


def transcoder_recovered__fed_what_attention_reads(model, tokens, layer, transcode):
    """The transcoder is given what the layer's attention reads: the wrong LayerNorm.

    What attention adds in this layer is missing.
    """
    return _spliced(model, tokens, layer, transcode, f"blocks.{layer}.ln1.hook_normalized")


def transcoder_recovered__added_to_the_mlp(model, tokens, layer, transcode):
    """What the transcoder writes is added to what the MLP writes, which stays.

    The MLP itself in its own place would write everything twice.
    """
    return _spliced(model, tokens, layer, transcode, added=True)


def transcoder_recovered__in_the_place_of_the_stream(model, tokens, layer, transcode):
    """The transcoder's output replaces the whole residual stream after the layer.

    All that earlier layers wrote is lost.
    """
    return _spliced(model, tokens, layer, transcode, writes=f"blocks.{layer}.hook_resid_post")


def transcoder_recovered__zero_ablation(model, tokens, layer, transcode):
    """Ablation puts zeros in the place of what the MLP writes, not the mean.

    The model is used to the mean, so the two ablations are not the same rival.
    """
    return _spliced(model, tokens, layer, transcode, ablate=torch.zeros_like)


def transcoder_recovered__mean_by_position(model, tokens, layer, transcode):
    """The mean is taken for each position apart, over the rows alone.

    It keeps what the MLP knows of positions.
    """
    return _spliced(
        model, tokens, layer, transcode, ablate=lambda each: each.mean(0, keepdim=True).expand_as(each)
    )


def transcoder_recovered__last_position_only(model, tokens, layer, transcode):
    """The transcoder speaks at the last position alone.

    The last position predicts a token that is not there, so nothing seems lost.
    """
    return _spliced(model, tokens, layer, transcode, positions=slice(-1, None))


def transcoder_recovered__bos_left_alone(model, tokens, layer, transcode):
    """The transcoder does not speak at the first position.

    What the MLP writes at BOS is of its own kind, and it is where much is lost.
    """
    return _spliced(model, tokens, layer, transcode, positions=slice(1, None))


def transcoder_recovered__loss_lost(model, tokens, layer, transcode):
    """The share of the loss that is lost is returned, not the share that is recovered.

    The MLP itself gives 0.
    """
    return 1 - _spliced(model, tokens, layer, transcode)


def transcoder_recovered__hooks_left_behind(model, tokens, layer, transcode):
    """The hooks are added with add_hook and never taken away.

    The next run of the model still carries them.
    """
    value = _spliced(model, tokens, layer, transcode)
    model.hook_dict[f"blocks.{layer}.hook_mlp_out"].add_hook(lambda activation, hook: activation)
    return value


# what they share ------------------------------------------------------------------------------------------


def _kept(batch, k):
    values = batch.flatten().topk(k * len(batch)).values
    return values[values > 0]


def _smallest(batches, k):
    return [kept.min().item() for kept in (_kept(batch, k) for batch in batches) if len(kept)]


def _mean(values):
    return sum(values) / len(values)


def _gated(
    z, threshold, bandwidth, shift=0.0, sign=1.0, half=0.5, over=None, height=None, where=1.0, to_input=0.0
):
    """JumpReLU and its gate, with the gradient that is asked for."""
    fixed = threshold.detach()
    near = ((z - fixed).abs() < half * bandwidth).float() / (bandwidth if over is None else over)
    nothing = sign * where * near.detach() * (threshold - fixed - to_input * (z - z.detach()))
    step = (z > fixed).float()
    height = fixed if height is None else height
    return (z - shift * fixed) * step - height * nothing, step - nothing


def _auxiliary(error, pre_activations, dead, W_dec, k_aux, said=lambda each: each, by=lambda each: each):
    count = min(k_aux, int(dead.sum()))
    if count == 0:
        return torch.zeros((), device=error.device)
    places = by(pre_activations).masked_fill(~dead, -torch.inf).topk(count, dim=-1).indices
    acts = torch.zeros_like(pre_activations).scatter(-1, places, said(pre_activations).gather(-1, places))
    return (acts @ W_dec - error).square().sum(-1).mean()


def _resampled(
    activations,
    reconstruction,
    dead,
    weights,
    moments,
    seed,
    power=2,
    unit=True,
    share=0.2,
    of_all=False,
    along_error=False,
):
    weights, moments = ({name: each.clone() for name, each in held.items()} for held in (weights, moments))
    if not dead.any():
        return weights, moments
    error = activations - reconstruction
    chances = error.square().sum(-1).double()
    chances = (chances / chances.max()) ** power
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(chances.cpu(), int(dead.sum()), replacement=True, generator=generator)
    rows = error[drawn] if along_error else activations[drawn] - weights["b_dec"]
    directions = rows / rows.norm(dim=-1, keepdim=True)
    columns = weights["W_enc"] if of_all else weights["W_enc"][:, ~dead]
    length = share * columns.norm(dim=0).mean()
    weights["W_dec"][dead], weights["b_enc"][dead] = directions if unit else rows, 0.0
    weights["W_enc"][:, dead] = length * directions.T
    moments["W_dec"][dead], moments["b_enc"][dead] = 0.0, 0.0
    moments["W_enc"][:, dead] = 0.0
    return weights, moments


def _absorption(feature_acts, true_acts, partner, parent, children):
    fires, there = feature_acts > 0, true_acts > 0
    speaks, children = fires[:, partner[parent]], list(children)
    taken = (there[:, children] & fires[:, partner[children]]).any(dim=1) & ~speaks
    recall = speaks[there[:, parent]].double().mean().item()
    return recall, taken[there[:, children].any(dim=1)].double().mean().item()


def _left(activations, rebuilt):
    return (rebuilt - activations).square().sum(-1).mean()


def _prefix(activations, feature_acts, W_dec, b_dec, width):
    return _left(activations, feature_acts[:, :width] @ W_dec[:width] + b_dec)


def _nested(activations, feature_acts, W_dec, b_dec, widths):
    return sum(_prefix(activations, feature_acts, W_dec, b_dec, width) for width in widths)


def _spliced(
    model, tokens, layer, transcode, reads=None, writes=None, ablate=None, added=False, positions=slice(None)
):
    reads, own = reads or f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        clean = loss_per_token(logits, tokens).mean().item()

        def loss(written, at):
            def put(activation, hook):
                edited = activation.clone()
                edited[:, positions if at == "spliced" else slice(None)] = written[
                    :, positions if at == "spliced" else slice(None)
                ]
                return edited + activation * (added and at == "spliced")

            place = (writes or own) if at == "spliced" else own
            with model.hooks(fwd_hooks=[(place, put)]):
                return loss_per_token(model(tokens), tokens).mean().item()

        mean = (ablate or (lambda each: each.mean(dim=(0, 1)).expand_as(each)))(cache[own])
        ablated = loss(mean, "ablated")
        return (ablated - loss(transcode(cache[reads]), "spliced")) / (ablated - clean)
