"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import math

import torch

from mechinterp_course.heads import find_induction_heads, induction_score, previous_token_score

# repeated_tokens ------------------------------------------------------------------------------------------


def repeated_tokens__no_bos(d_vocab, length, batch, bos, seed):
    """The rows are the two copies alone: no BOS stands in front of them.

    The result has 2 * length columns instead of 1 + 2 * length.
    """
    return _repeated(d_vocab, length, batch, bos, seed)[:, 1:]


def repeated_tokens__bos_before_each_copy(d_vocab, length, batch, bos, seed):
    """BOS stands in front of both copies: BOS, copy, BOS, copy.

    The result has 2 + 2 * length columns, and column length + 1 holds BOS.
    """
    rows = _repeated(d_vocab, length, batch, bos, seed)
    return torch.cat([rows[:, : length + 1], rows[:, : length + 1]], dim=1)


def repeated_tokens__second_copy_redrawn(d_vocab, length, batch, bos, seed):
    """The second copy is drawn anew, by a second call of randint on the same generator, instead of repeating the first.

    Columns 1 … length and length + 1 … 2 * length differ.
    """
    generator = torch.Generator().manual_seed(seed)
    copies = [torch.randint(d_vocab, (batch, length), generator=generator) for _ in range(2)]
    return torch.cat([torch.full((batch, 1), bos), *copies], dim=1)


def repeated_tokens__second_copy_reversed(d_vocab, length, batch, bos, seed):
    """The second copy holds the tokens of the first in reverse order.

    The row reads the same from both ends, BOS apart.
    """
    rows = _repeated(d_vocab, length, batch, bos, seed)
    return torch.cat([rows[:, : length + 1], rows[:, length + 1 :].flip(1)], dim=1)


def repeated_tokens__last_id_never_drawn(d_vocab, length, batch, bos, seed):
    """Ids are drawn by randint with d_vocab - 1 as its upper end, which is excluded: the id d_vocab - 1 never comes.

    With d_vocab = 2 every token is 0.
    """
    return _repeated(d_vocab - 1, length, batch, bos, seed)


def repeated_tokens__one_row_for_the_batch(d_vocab, length, batch, bos, seed):
    """Only one row is drawn, by one randint of `length` ids, and repeated for the whole batch.

    All rows of a batch are equal, so a batch measures no more than a single sequence.
    """
    return _repeated(d_vocab, length, 1, bos, seed).repeat(batch, 1)


def repeated_tokens__seed_ignored(d_vocab, length, batch, bos, seed):
    """The generator is always seeded with 0, whatever `seed` is.

    Two different seeds give the same rows.
    """
    return _repeated(d_vocab, length, batch, bos, 0)


def repeated_tokens__global_random_state(d_vocab, length, batch, bos, seed):
    """The right tokens are drawn from torch's global random state after torch.manual_seed(seed), not from a generator.

    `torch.get_rng_state()` is another after the call, so every later random number in the program changes.
    """
    torch.manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length))
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__without_replacement(d_vocab, length, batch, bos, seed):
    """No id comes twice in a copy: row by row, it is the first `length` ids of torch.randperm(d_vocab).

    A vocabulary smaller than `length` gives rows that are too short.
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.stack([torch.randperm(d_vocab, generator=generator)[:length] for _ in range(batch)])
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


# loss_per_token -------------------------------------------------------------------------------------------


def loss_per_token__not_shifted(logits, tokens):
    """The logits at position i are scored on token i, which the model has just read, not on token i + 1; the last is dropped.

    On repeated text the loss does not fall where copying begins.
    """
    return -_picked(logits.log_softmax(-1), tokens)[:, :-1]


def loss_per_token__shifted_backwards(logits, tokens):
    """The logits at position i + 1 are scored on token i: the shift goes the wrong way.

    The logits at position 0, which predict token 1, are never used.
    """
    return -_picked(logits[:, 1:].log_softmax(-1), tokens[:, :-1])


def loss_per_token__sign_kept(logits, tokens):
    """The log probability of the next token is returned without the minus sign.

    All values are negative, and better predictions give larger ones.
    """
    return _picked(logits[:, :-1].log_softmax(-1), tokens[:, 1:])


def loss_per_token__in_bits(logits, tokens):
    """The logarithm is to base 2, so the loss is in bits instead of nats.

    Even logits over d_vocab tokens give log2(d_vocab): every value is too large by the factor 1.4427.
    """
    return -_picked(logits[:, :-1].log_softmax(-1), tokens[:, 1:]) / math.log(2)


def loss_per_token__averaged(logits, tokens):
    """The losses are averaged over batch and positions into one tensor without axes.

    The shape is () instead of [batch, pos - 1].
    """
    return -_picked(logits[:, :-1].log_softmax(-1), tokens[:, 1:]).mean()


def loss_per_token__softmax_over_positions(logits, tokens):
    """The softmax runs over the positions (axis 1 of all the logits) instead of over the vocabulary.

    Even logits give log(pos) instead of log(d_vocab).
    """
    return -_picked(logits.log_softmax(1)[:, :-1], tokens[:, 1:])


def loss_per_token__logit_not_loss(logits, tokens):
    """The negative logit of the next token is returned, without any softmax.

    Adding a constant to all logits changes the result.
    """
    return -_picked(logits[:, :-1], tokens[:, 1:])


def loss_per_token__probability_not_log(logits, tokens):
    """One minus the probability of the next token is returned instead of the negative log of the probability.

    No value exceeds 1.
    """
    return 1 - _picked(logits[:, :-1].softmax(-1), tokens[:, 1:])


def loss_per_token__log_of_softmax(logits, tokens):
    """The softmax is computed first and its log afterwards, so that a probability too small for a float gives infinity.

    A token whose logit is some hundreds below the largest has an infinite loss.
    """
    return -_picked(logits[:, :-1].softmax(-1).log(), tokens[:, 1:])


# copying_gain ---------------------------------------------------------------------------------------------


def copying_gain__first_tokens_counted(loss, length):
    """The means run over all tokens of each copy, the first ones included.

    Changing the loss of the first token of a copy changes the gain.
    """
    return (loss[:, :length].mean() - loss[:, length : 2 * length].mean()).item()


def copying_gain__sign_swapped(loss, length):
    """The mean of the first copy is subtracted from that of the second, instead of the other way round.

    A model that copies has a negative gain.
    """
    return (loss[:, length + 1 : 2 * length].mean() - loss[:, 1:length].mean()).item()


def copying_gain__summed(loss, length):
    """The losses of tokens 2 … length are summed within each row and averaged over rows only, not over tokens.

    The gain is too large by the factor length - 1.
    """
    return (loss[:, 1:length] - loss[:, length + 1 : 2 * length]).sum(dim=1).mean().item()


def copying_gain__shift_forgotten(loss, length):
    """Column i is taken for the loss of the token at position i, so the columns 2 … length and length + 2 … are averaged.

    The loss of the first token of the second copy, column `length`, counts for the first.
    """
    return (loss[:, 2 : length + 1].mean() - loss[:, length + 2 : 2 * length + 1].mean()).item()


def copying_gain__ratio(loss, length):
    """The mean of the first copy is divided by that of the second, instead of subtracting.

    Equal losses give 1 instead of 0.
    """
    return (loss[:, 1:length].mean() / loss[:, length + 1 : 2 * length].mean()).item()


def copying_gain__last_token_only(loss, length):
    """Only the last token of each copy counts: its mean loss over the batch in the first minus that in the second.

    Losses in the middle of a copy make no difference.
    """
    return (loss[:, length - 1].mean() - loss[:, 2 * length - 1].mean()).item()


# previous_token_score -------------------------------------------------------------------------------------


def previous_token_score__first_query_counted(pattern):
    """Query 0, which has no previous token, counts as zero in the mean: the sum is divided by all queries.

    A perfect previous-token head over n positions scores (n - 1) / n.
    """
    return pattern.diagonal(-1, -2, -1).sum(-1).mean(0) / pattern.shape[-1]


def previous_token_score__current_token(pattern):
    """The attention of each query to its own position is averaged, over all queries.

    A head that looks at itself scores 1.
    """
    return pattern.diagonal(0, -2, -1).mean((0, -1))


def previous_token_score__query_and_key_swapped(pattern):
    """Query and key are swapped: the entries averaged are those with key = query + 1, which are masked.

    Every head scores 0.
    """
    return pattern.diagonal(1, -2, -1).mean((0, -1))


def previous_token_score__two_back(pattern):
    """The key two positions back is taken, key = query - 2, averaged over the queries 2, 3, …

    A perfect previous-token head scores about 0.
    """
    return pattern.diagonal(-2, -2, -1).mean((0, -1))


def previous_token_score__per_row(pattern):
    """The mean runs over the queries only, so the scores keep the batch axis: [batch, head].

    The shape has one axis too many.
    """
    return pattern.diagonal(-1, -2, -1).mean(-1)


def previous_token_score__largest(pattern):
    """The largest attention to the previous token, over the batch and the queries, is taken instead of the mean.

    A head that looks back only at query 1, where there is little choice, scores high.
    """
    return pattern.diagonal(-1, -2, -1).amax((0, -1))


def previous_token_score__share_of_argmax(pattern):
    """What is averaged over batch and queries 1, 2, … is whether the previous token has the query's largest attention, 1 or 0.

    The scores are multiples of 1 / (batch * (n - 1)).
    """
    query = torch.arange(1, pattern.shape[-1], device=pattern.device)
    return (pattern[:, :, 1:].argmax(-1) == query - 1).float().mean((0, -1))


# induction_score ------------------------------------------------------------------------------------------


def induction_score__previous_instance(pattern, length):
    """The key is the previous occurrence of the same token (key = query - length), not the token after it.

    A duplicate-token head scores 1 and a perfect induction head 0.
    """
    return pattern.diagonal(-length, -2, -1)[..., 1:].mean((0, -1))


def induction_score__whole_diagonal(pattern, length):
    """The mean runs over the whole diagonal key = query - (length - 1), from query length - 1 on, first copy included.

    Where the last two queries of the first copy look changes the score.
    """
    return pattern.diagonal(1 - length, -2, -1).mean((0, -1))


def induction_score__one_too_far(pattern, length):
    """The key is two tokens after the previous occurrence: key = query - (length - 2), for the queries of the second copy.

    A perfect induction head scores 0.
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - (length - 2)].mean((0, -1))


def induction_score__bos_forgotten(pattern, length):
    """The queries are length … 2 * length - 1, as if there were no BOS; the key is query - (length - 1) all the same.

    The last query of the first copy counts, and the last of the second does not.
    """
    query = torch.arange(length, 2 * length)
    return pattern[:, :, query, query - (length - 1)].mean((0, -1))


def induction_score__per_row(pattern, length):
    """The mean runs over the queries only, so the scores keep the batch axis: [batch, head].

    The shape has one axis too many.
    """
    return pattern.diagonal(1 - length, -2, -1)[..., 2:].mean(-1)


def induction_score__largest(pattern, length):
    """The largest value on the stripe, over the batch and the queries of the second copy, is taken instead of the mean.

    One lucky query makes an induction head.
    """
    return pattern.diagonal(1 - length, -2, -1)[..., 2:].amax((0, -1))


def induction_score__anywhere_in_the_first_copy(pattern, length):
    """The total attention from a query of the second copy to positions 1 … length is averaged, not that to one key.

    Every head that looks far back scores high, whatever it looks at there.
    """
    return pattern[:, :, length + 1 :, 1 : length + 1].sum(-1).mean((0, -1))


def induction_score__divided_by_all_queries(pattern, length):
    """The stripe's sum over the second copy is divided by the number of all positions, 2 * length + 1, then averaged over rows.

    A perfect induction head scores less than a half.
    """
    return pattern.diagonal(1 - length, -2, -1)[..., 2:].sum(-1).mean(0) / (2 * length + 1)


# find_induction_heads -------------------------------------------------------------------------------------


def find_induction_heads__best_of_each_layer(model, tokens, threshold=0.4):
    """Of each layer, only the head with the highest score is returned, provided that it reaches the threshold.

    A layer with three induction heads gives one.
    """
    best = [scores.argmax().item() for scores in _scores(model, tokens)]
    return [pair for pair in find_induction_heads(model, tokens, threshold) if pair in enumerate(best)]


def find_induction_heads__flat_indices(model, tokens, threshold=0.4):
    """Heads are numbered through the model: layer * n_heads + head, one number for each head found, sorted.

    The list holds integers instead of pairs.
    """
    return [
        layer * model.cfg.n_heads + head for layer, head in find_induction_heads(model, tokens, threshold)
    ]


def find_induction_heads__head_before_layer(model, tokens, threshold=0.4):
    """The pairs are (head, layer) instead of (layer, head), sorted as such.

    A pair may name a layer that the model does not have.
    """
    return sorted((head, layer) for layer, head in find_induction_heads(model, tokens, threshold))


def find_induction_heads__layers_from_one(model, tokens, threshold=0.4):
    """Layers are counted from 1 and heads from 0.

    Every layer number is too large by one.
    """
    return [(layer + 1, head) for layer, head in find_induction_heads(model, tokens, threshold)]


def find_induction_heads__bos_counted_into_the_length(model, tokens, threshold=0.4):
    """The length is taken as (pos + 1) / 2, too large by one, and induction_score is called with it.

    The stripe is then that of duplicate-token heads, and the induction heads are missed.
    """
    return _above(_scores(model, tokens, (tokens.shape[1] + 1) // 2), threshold)


def find_induction_heads__threshold_ignored(model, tokens, threshold=0.4):
    """The threshold is always 0.4, whatever is passed.

    A threshold above 1 still finds heads.
    """
    return find_induction_heads(model, tokens, 0.4)


def find_induction_heads__scores_before_softmax(model, tokens, threshold=0.4):
    """The induction score is computed on the attention scores before the softmax (hook_attn_scores), not on the pattern.

    Most heads of the model are "found", since a score of 0.4 before the softmax means nothing.
    """
    return _above(_scores(model, tokens, kind="attn_scores"), threshold)


def find_induction_heads__previous_token_heads(model, tokens, threshold=0.4):
    """The heads are chosen by previous_token_score instead of induction_score.

    What is found lies in an early layer.
    """
    _, cache = model.run_with_cache(tokens)
    patterns = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
    return _above([previous_token_score(pattern) for pattern in patterns], threshold)


def find_induction_heads__by_score(model, tokens, threshold=0.4):
    """The right heads are listed by falling induction score instead of by layer and head.

    The order depends on the tokens.
    """
    scores = _scores(model, tokens)
    found = find_induction_heads(model, tokens, threshold)
    return sorted(found, key=lambda place: scores[place[0]][place[1]].item(), reverse=True)


# what several of them share -------------------------------------------------------------------------------


def _repeated(d_vocab, length, batch, bos, seed):
    copy = torch.randint(d_vocab, (batch, length), generator=torch.Generator().manual_seed(seed))
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def _picked(values, tokens):
    return values.gather(-1, tokens[..., None]).squeeze(-1)


def _scores(model, tokens, length=None, kind="pattern"):
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2 if length is None else length
    return [
        induction_score(cache[f"blocks.{layer}.attn.hook_{kind}"], length)
        for layer in range(model.cfg.n_layers)
    ]


def _above(scores, threshold):
    return [
        (layer, head)
        for layer, row in enumerate(scores)
        for head in range(len(row))
        if row[head] >= threshold
    ]
