"""Wrong answers to `previous_token_score`, written from its statement and stub alone (see README.md)."""

import torch
from einops import reduce


def previous_token_score__query_and_key_swapped(pattern):
    """Query and key are swapped, so each position is asked how much it is looked at from before.
    axis: query, key
    """
    query = torch.arange(1, pattern.shape[-1])
    return reduce(pattern[:, :, query - 1, query], "batch head query -> head", "mean")


def previous_token_score__query_zero_counted(pattern):
    """The sum over the stripe is divided by all queries, so query 0 counts as zero.
    axis: query 0, factor
    """
    n = pattern.shape[-1]
    query = torch.arange(1, n)
    return pattern[:, :, query, query - 1].mean(0).sum(-1) / n


def previous_token_score__query_zero_wraps(pattern):
    """Query 0 is left in and looks up key -1, the last one.
    axis: query 0, wrap
    """
    query = torch.arange(pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean(dim=(0, 2))


def previous_token_score__summed_over_queries(pattern):
    """The queries are summed instead of averaged.
    axis: sum, mean
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean(dim=0).sum(dim=-1)


def previous_token_score__batch_kept(pattern):
    """The batch is not averaged.
    axis: batch
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean(dim=-1)


def previous_token_score__heads_averaged(pattern):
    """The mean goes over the heads and keeps the batch.
    axis: head, batch
    """
    query = torch.arange(1, pattern.shape[-1])
    return reduce(pattern[:, :, query, query - 1], "b h q -> b", "mean")


def previous_token_score__one_number(pattern):
    """Everything is averaged, the heads too.
    axis: head, mean
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean()


def previous_token_score__own_position(pattern):
    """The key is the query itself: the main diagonal.
    axis: key, diagonal
    """
    query = torch.arange(1, pattern.shape[-1])
    on_stripe = pattern[:, :, query, query]
    return reduce(on_stripe, "batch head query -> head", "mean")


def previous_token_score__two_back(pattern):
    """The stripe lies two back.
    axis: key, diagonal
    """
    return pattern.diagonal(offset=-2, dim1=-2, dim2=-1).mean(dim=(0, -1))


def previous_token_score__block_instead_of_stripe(pattern):
    """Two slices pick a whole block of queries and keys, not the pairs on the stripe.
    axis: stripe, indexing
    """
    return pattern[:, :, 1:, :-1].mean(dim=(0, 2, 3))


def previous_token_score__bos_as_key_left_out(pattern):
    """Query 1 is dropped as well, because its key is BOS.
    axis: query 1, BOS
    """
    query = torch.arange(2, pattern.shape[-1])
    return reduce(pattern[:, :, query, query - 1], "batch head query -> head", "mean")


def previous_token_score__last_query_dropped(pattern):
    """The range stops one query too early.
    axis: last query
    """
    n = pattern.shape[-1]
    scores = [pattern[:, :, q, q - 1] for q in range(1, n - 1)]
    return torch.stack(scores).mean(dim=(0, 1))


def previous_token_score__softmax_again(pattern):
    """The pattern is taken for scores and put through softmax once more.
    axis: softmax
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern.softmax(dim=-1)[:, :, query, query - 1].mean(dim=(0, 2))


def previous_token_score__share_of_hits(pattern):
    """It is counted how often the previous token gets the most attention.
    axis: argmax, mean
    """
    n = pattern.shape[-1]
    hits = pattern[:, :, 1:].argmax(dim=-1) == torch.arange(n - 1)
    return hits.float().mean(dim=(0, 2))


def previous_token_score__best_row(pattern):
    """The largest value over the batch is taken, not the mean.
    axis: batch, maximum
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean(dim=-1).amax(dim=0)


def previous_token_score__first_row_only(pattern):
    """Only the first row of the batch is read.
    axis: batch, row
    """
    one = pattern[0]
    return torch.stack([head.diagonal(-1).mean() for head in one])
