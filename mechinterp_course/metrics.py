"""What a model does, seen from outside: losses, and what a repetition saves."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def loss_per_token(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """Cross-entropy of every next-token prediction, in nats: entry i is -log p(token i+1 | tokens 0..i).

    The first token has no prediction, so there is one entry fewer than there are tokens.
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(dim=-1, index=tokens[:, 1:, None]).squeeze(-1)


def copying_gain(loss: Float[Tensor, "batch pos-1"], length: int) -> float:
    """How many nats per token the first copy saves on the second, for losses on `repeated_tokens`.

    The mean loss over tokens 2..length of the first copy, minus the mean over the same tokens of the second.
    The first token of a copy is left out on both sides, because nothing announces that a copy begins.
    """
    first, second = loss[:, 1:length], loss[:, length + 1 : 2 * length]
    return (first.mean() - second.mean()).item()


class Metric:
    """A number of a run that says which positions it reads, so that a sweep need not unembed the others.

    Called with logits [batch, pos, d_vocab] it is the mean over prompts, a tensor without dimensions;
    `per_prompt` keeps them apart. All are differentiable. Subclasses say which positions (`reads`) and what
    to make of the logits there (`of`).
    """

    position: int | Int[Tensor, " batch"] = -1

    def reads(self, batch: int, pos: int) -> Int[Tensor, "batch read"]:
        """The positions whose logits are used, from 0, in rows of `pos` tokens."""
        return positions_of(self.position, batch, pos)

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        """The metric of each prompt, from the logits at the positions that it reads."""
        raise NotImplementedError

    def per_prompt(self, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, " batch"]:
        """The metric of each prompt."""
        return self.of(at_positions(logits, self.reads(*logits.shape[:2])))

    def __call__(self, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
        return self.per_prompt(logits).mean()


@dataclass(frozen=True, eq=False)
class LogitDifference(Metric):
    """The logit of each prompt's right token minus that of its wrong one, at `position`.

    It moves with what is written to the residual stream, whatever happens to all other tokens; a probability
    saturates, and a loss is moved by every token (Wang et al. 2022; Heimersheim & Nanda 2024).
    """

    right: Int[Tensor, " batch"]
    wrong: Int[Tensor, " batch"]
    position: int | Int[Tensor, " batch"] = -1

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        last = logits[..., 0, :]
        return pick(last, self.right) - pick(last, self.wrong)


def logit_difference(
    logits: Float[Tensor, "batch pos d_vocab"], right: Int[Tensor, " batch"], wrong: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The logit of each row's right word minus that of its wrong one, at the last position."""
    return LogitDifference(right, wrong).per_prompt(logits)


@dataclass(frozen=True, eq=False)
class LogProbability(Metric):
    """The log-probability of each prompt's right token at `position`, in nats: at most 0."""

    right: Int[Tensor, " batch"]
    position: int | Int[Tensor, " batch"] = -1

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        return pick(logits[..., 0, :].log_softmax(-1), self.right)


@dataclass(frozen=True, eq=False)
class Probability(LogProbability):
    """The probability of each prompt's right token at `position`."""

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        return super().of(logits).exp()


@dataclass(frozen=True, eq=False)
class KLDivergence(Metric):
    """KL(intact ‖ patched) at `position`, in nats: 0 where the predictions are those of the intact run."""

    intact: Float[Tensor, "batch pos d_vocab"]
    position: int | Int[Tensor, " batch"] = -1

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        intact = at_positions(self.intact, self.reads(*self.intact.shape[:2])).log_softmax(-1)
        patched = logits.log_softmax(-1)
        return (intact.exp() * (intact - patched)).sum(-1).mean(-1)


@dataclass(frozen=True, eq=False)
class CopyLoss(Metric):
    """Mean loss, in nats, over tokens 2..length of the second copy of `repeated_tokens`: lower is better."""

    tokens: Int[Tensor, "batch pos"]

    def reads(self, batch: int, pos: int) -> Int[Tensor, "batch read"]:
        length = (pos - 1) // 2
        return torch.arange(length + 1, 2 * length).expand(batch, -1)

    def of(self, logits: Float[Tensor, "*runs batch read d_vocab"]) -> Float[Tensor, "*runs batch"]:
        length = (self.tokens.shape[1] - 1) // 2
        targets = self.tokens[:, length + 2 :].to(logits.device)
        return -pick(logits.log_softmax(-1), targets).mean(-1)


def positions_of(position: int | Int[Tensor, " batch"], batch: int, pos: int) -> Int[Tensor, "batch 1"]:
    """One position for all rows, or one for each, counted from 0 in rows of `pos` tokens."""
    chosen = torch.as_tensor(position).reshape(-1, 1).expand(batch, 1)
    return torch.where(chosen < 0, chosen + pos, chosen)


def at_positions(
    values: Float[Tensor, "batch pos d"], positions: Int[Tensor, "batch read"]
) -> Float[Tensor, "batch read d"]:
    """The vectors that each row has at its own positions."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, positions.to(values.device)]


def pick(values: Float[Tensor, "*runs d_vocab"], tokens: Int[Tensor, "*last"]) -> Float[Tensor, " *runs"]:
    """The value of one token in each row; `tokens` may lack the leading dimensions of `values`."""
    index = tokens.to(values.device).expand(values.shape[:-1])[..., None]
    return values.gather(-1, index).squeeze(-1)
