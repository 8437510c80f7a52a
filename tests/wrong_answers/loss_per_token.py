"""Wrong answers to `loss_per_token`, written from its statement and stub alone (see README.md)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, reduce


def loss_per_token__no_shift(logits, tokens):
    """The logits are compared with the token at their own position, not with the next one.
    axis: shift, next token
    """
    log_probs = logits.log_softmax(dim=-1)
    return -log_probs[:, :-1].gather(-1, tokens[:, :-1, None]).squeeze(-1)


def loss_per_token__shift_the_other_way(logits, tokens):
    """The logits lose their first entry and the tokens their last, so each predicts the token before it.
    axis: shift, previous token
    """
    log_probs = torch.log_softmax(logits[:, 1:], dim=-1)
    return -rearrange(log_probs.gather(-1, tokens[:, :-1].unsqueeze(-1)), "b p 1 -> b p")


def loss_per_token__wraps_around(logits, tokens):
    """The last position is kept and predicts the first token of the row.
    axis: last position, shape
    """
    targets = torch.roll(tokens, shifts=-1, dims=1)
    return -logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]


def loss_per_token__no_minus(logits, tokens):
    """The log probability is returned without its minus sign.
    axis: sign
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return log_probs.gather(-1, tokens[:, 1:, None])[..., 0]


def loss_per_token__averaged_over_the_batch(logits, tokens):
    """The losses are averaged over the batch.
    axis: batch, mean
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    picked = log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    return reduce(-picked, "batch pos -> pos", "mean")


def loss_per_token__one_number(logits, tokens):
    """The default reduction of cross_entropy is kept, so one mean comes back.
    axis: mean, shape
    """
    d_vocab = logits.shape[-1]
    return F.cross_entropy(logits[:, :-1].reshape(-1, d_vocab), tokens[:, 1:].reshape(-1))


def loss_per_token__log_of_softmax(logits, tokens):
    """The logarithm is taken after the softmax, which underflows to an infinite loss.
    axis: finite, log of softmax
    """
    probs = logits[:, :-1].softmax(dim=-1)
    return -probs.gather(-1, tokens[:, 1:, None])[..., 0].log()


def loss_per_token__epsilon_in_the_log(logits, tokens):
    """A small constant inside the logarithm keeps it finite, and caps every large loss.
    axis: small probabilities, capped
    """
    probs = logits.softmax(dim=-1)[:, :-1]
    return -(probs.gather(-1, tokens[:, 1:, None]).squeeze(-1) + 1e-9).log()


def loss_per_token__softmax_over_positions(logits, tokens):
    """The softmax normalises over the positions instead of the vocabulary.
    axis: softmax, vocabulary
    """
    log_probs = logits[:, :-1].log_softmax(dim=1)
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]


def loss_per_token__raw_logits(logits, tokens):
    """The logit itself is taken for a log probability.
    axis: softmax
    """
    batch, pos, _ = logits.shape
    loss = torch.empty(batch, pos - 1, dtype=logits.dtype)
    for b in range(batch):
        for i in range(pos - 1):
            loss[b, i] = -logits[b, i, tokens[b, i + 1]]
    return loss


def loss_per_token__bits(logits, tokens):
    """The loss is in bits, not in nats.
    axis: unit, factor
    """
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return nats / math.log(2)


def loss_per_token__one_minus_probability(logits, tokens):
    """The loss is one minus the probability instead of its negative logarithm.
    axis: logarithm
    """
    probs = torch.softmax(logits, dim=-1)[:, :-1]
    return 1 - torch.gather(probs, 2, tokens[:, 1:].unsqueeze(2)).squeeze(2)


def loss_per_token__float32_result(logits, tokens):
    """The result is float32 whatever the dtype of the logits.
    axis: dtype
    """
    log_probs = logits.float().log_softmax(dim=-1)
    return -log_probs[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def loss_per_token__likeliest_token(logits, tokens):
    """The loss is that of the model's favourite token, not of the one that came.
    axis: token, argmax
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.max(dim=-1).values


def loss_per_token__softmax_twice(logits, tokens):
    """Probabilities go into cross_entropy, which applies softmax once more.
    axis: softmax
    """
    probs = logits[:, :-1].softmax(dim=-1)
    return F.cross_entropy(rearrange(probs, "b p v -> b v p"), tokens[:, 1:], reduction="none")


def loss_per_token__unflattened_in_the_wrong_order(logits, tokens):
    """The flat losses are folded back as positions by batch, which scrambles the entries.
    axis: batch, position
    """
    batch, pos, d_vocab = logits.shape
    flat = F.cross_entropy(logits[:, :-1].reshape(-1, d_vocab), tokens[:, 1:].reshape(-1), reduction="none")
    return flat.view(pos - 1, batch).T


def loss_per_token__tokens_of_the_first_row(logits, tokens):
    """The tokens of row 0 are looked up in every row.
    axis: batch, row
    """
    log_probs = logits.log_softmax(dim=-1)
    columns = [-log_probs[:, i, tokens[0, i + 1]] for i in range(tokens.shape[1] - 1)]
    return torch.stack(columns, dim=1)


def loss_per_token__changes_the_logits(logits, tokens):
    """The logits are normalised in place, so the caller's tensor is changed.
    axis: in place, arguments
    """
    logits -= logits.logsumexp(dim=-1, keepdim=True)
    return -logits[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def loss_per_token__two_off(logits, tokens):
    """The shift is made twice, so each logit is compared with the token after the next.
    axis: shift, next token
    """
    log_probs = logits.log_softmax(-1)[:, :-2]
    return -log_probs.gather(-1, tokens[:, 2:, None]).squeeze(-1)


def loss_per_token__last_axis_kept(logits, tokens):
    """The axis of size one that gather leaves is not removed.
    axis: shape, axis of size one
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None])
