"""Wrong answers to `copying_gain`, written from its statement and stub alone (see README.md)."""

import torch


def copying_gain__second_minus_first(loss, length):
    """The difference is taken the other way round.
    axis: sign
    """
    first, second = loss[:, 1:length], loss[:, length + 1 :]
    return (second.mean() - first.mean()).item()


def copying_gain__first_tokens_counted(loss, length):
    """The first token of each copy is left in.
    axis: first token
    """
    first, second = loss.split(length, dim=1)
    return first.mean().item() - second.mean().item()


def copying_gain__first_token_of_second_copy_counted(loss, length):
    """The first token is dropped from the first copy only.
    axis: first token, second copy
    """
    return (loss[:, 1:length].mean() - loss[:, length:].mean()).item()


def copying_gain__no_shift(loss, length):
    """The columns are taken for positions, so everything sits one to the right.
    axis: shift, first token
    """
    first = loss[:, 2 : length + 1].mean()
    second = loss[:, length + 2 :].mean()
    return float(first - second)


def copying_gain__last_tokens_dropped(loss, length):
    """The last token of each copy is left out instead of the first.
    axis: first token, last token
    """
    first = loss[:, : length - 1]
    second = loss[:, length : 2 * length - 1]
    return (first.mean() - second.mean()).item()


def copying_gain__summed_over_tokens(loss, length):
    """The losses of a row are summed, so the gain is per row and not per token.
    axis: sum, mean
    """
    first = loss[:, 1:length].sum(dim=1)
    second = loss[:, length + 1 :].sum(dim=1)
    return (first - second).mean().item()


def copying_gain__summed_over_rows(loss, length):
    """The gains of the rows are added up.
    axis: sum, batch
    """
    total = 0.0
    for row in loss:
        total += row[1:length].mean().item() - row[length + 1 :].mean().item()
    return total


def copying_gain__ratio(loss, length):
    """The two means are divided instead of subtracted.
    axis: ratio, difference
    """
    return (loss[:, 1:length].mean() / loss[:, length + 1 :].mean()).item()


def copying_gain__share_of_the_first(loss, length):
    """The difference is divided by the loss of the first copy.
    axis: ratio, difference
    """
    first = loss[:, 1:length].mean()
    second = loss[:, length + 1 : 2 * length].mean()
    return ((first - second) / first).item()


def copying_gain__still_a_tensor(loss, length):
    """The result is a tensor, not a Python float.
    axis: float, tensor
    """
    return loss[:, 1:length].mean() - loss[:, length + 1 :].mean()


def copying_gain__one_number_per_row(loss, length):
    """The batch is not averaged: one gain for each row comes back.
    axis: batch, mean
    """
    return loss[:, 1:length].mean(dim=1) - loss[:, length + 1 :].mean(dim=1)


def copying_gain__median(loss, length):
    """The median stands in for the mean.
    axis: median, mean
    """
    return (loss[:, 1:length].median() - loss[:, length + 1 :].median()).item()


def copying_gain__first_row_only(loss, length):
    """Only the first row of the batch is looked at.
    axis: batch, row
    """
    row = loss[0]
    halves = row.reshape(2, length)[:, 1:].mean(dim=1)
    return (halves[0] - halves[1]).item()


def copying_gain__divided_by_length(loss, length):
    """The sums over length - 1 tokens are divided by length.
    axis: factor, mean
    """
    batch = loss.shape[0]
    first = loss[:, 1:length].sum() / (batch * length)
    second = loss[:, length + 1 :].sum() / (batch * length)
    return (first - second).item()


def copying_gain__never_negative(loss, length):
    """A negative gain is cut off at zero.
    axis: negative
    """
    gain = loss[:, 1:length].mean() - loss[:, length + 1 :].mean()
    return max(0.0, gain.item())


def copying_gain__absolute(loss, length):
    """The size of the difference is returned without its sign.
    axis: sign, negative
    """
    return torch.abs(loss[:, 1:length].mean() - loss[:, length + 1 :].mean()).item()


def copying_gain__halves_of_the_batch(loss, length):
    """The losses are split along the batch instead of along the positions.
    axis: batch, position
    """
    first, second = loss[:length], loss[length:]
    return (first[:, 1:].mean() - second[:, 1:].mean()).item()
