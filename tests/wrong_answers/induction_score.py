"""Wrong answers to `induction_score`, written from its statement and stub alone (see README.md)."""

import torch
from einops import reduce


def induction_score__duplicate_stripe(pattern, length):
    """The key is `length` back: the same token, not the one after it.
    axis: duplicate token, off by one
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - length].mean(dim=(0, -1))


def induction_score__one_key_too_far(pattern, length):
    """The key is two after the previous occurrence.
    axis: key, off by one
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return reduce(pattern[:, :, query, query - length + 2], "batch head query -> head", "mean")


def induction_score__token_before(pattern, length):
    """The sign of the one is wrong: the key is the token before the previous occurrence.
    axis: key, before
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - (length + 1)].mean(dim=(0, -1))


def induction_score__whole_diagonal(pattern, length):
    """The whole diagonal is averaged, queries of the first copy included.
    axis: first copy, diagonal
    """
    return pattern.diagonal(-(length - 1), dim1=-2, dim2=-1).mean(dim=(0, -1))


def induction_score__query_and_key_swapped(pattern, length):
    """Query and key are swapped.
    axis: query, key
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query - length + 1, query].mean((0, 2))


def induction_score__last_query_dropped(pattern, length):
    """The range stops before the last query.
    axis: last query
    """
    query = torch.arange(length + 1, 2 * length)
    return pattern[:, :, query, query - length + 1].mean(dim=(0, -1))


def induction_score__bos_forgotten(pattern, length):
    """The copies are taken to begin at position 0, so the queries are one too early.
    axis: BOS, queries
    """
    total = 0
    for i in range(length):
        total = total + pattern[:, :, length + i, i + 1].mean(dim=0)
    return total / length


def induction_score__first_of_second_copy_left_out(pattern, length):
    """The first query of the second copy is left out, as in the losses.
    axis: first query, second copy
    """
    query = torch.arange(length + 2, 2 * length + 1)
    return reduce(pattern[:, :, query, query - (length - 1)], "b h q -> h", "mean")


def induction_score__summed_over_queries(pattern, length):
    """The queries are summed, so longer copies score higher.
    axis: sum, mean
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return reduce(pattern[:, :, query, query - (length - 1)], "b h q -> b h", "sum").mean(0)


def induction_score__divided_by_all_positions(pattern, length):
    """The stripe is masked out and averaged over all positions, not over those of the second copy.
    axis: factor, mean
    """
    n = pattern.shape[-1]
    query, key = torch.arange(n)[:, None], torch.arange(n)[None, :]
    mask = (key == query - (length - 1)) & (query > length)
    return (pattern * mask).sum(dim=-1).mean(dim=(0, -1))


def induction_score__batch_kept(pattern, length):
    """The batch is not averaged.
    axis: batch
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - (length - 1)].mean(dim=-1)


def induction_score__heads_averaged(pattern, length):
    """The head axis is averaged away and the batch kept.
    axis: head, batch
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - (length - 1)].mean(dim=(1, 2))


def induction_score__block_instead_of_stripe(pattern, length):
    """All attention from the second copy to the first is averaged, not the stripe.
    axis: stripe, indexing
    """
    return pattern[:, :, length + 1 :, 2 : length + 2].mean(dim=(0, 2, 3))


def induction_score__first_copy_as_queries(pattern, length):
    """The queries are those of the first copy, which have no previous occurrence.
    axis: first copy, queries
    """
    query = torch.arange(1, length + 1)
    return pattern[:, :, query, query - (length - 1)].mean(dim=(0, -1))


def induction_score__share_of_hits(pattern, length):
    """It is counted how often the right key gets the most attention.
    axis: argmax, mean
    """
    rows = pattern[:, :, length + 1 :]
    wanted = torch.arange(2, length + 2)
    return (rows.argmax(-1) == wanted).float().mean(dim=(0, 2))


def induction_score__without_bos(pattern, length):
    """The attention is first renormalised so that BOS does not count.
    axis: BOS, normalised
    """
    query = torch.arange(length + 1, 2 * length + 1)
    rest = pattern / pattern[..., 1:].sum(dim=-1, keepdim=True).clamp(min=1e-9)
    return rest[:, :, query, query - length + 1].mean(dim=(0, -1))
