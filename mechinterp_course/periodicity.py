"""Texts that repeat with a period, on which counting places and matching tokens predict different things."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROUNDS = 3


def smallest_period(tokens: Int[Tensor, " pos"]) -> int:
    """The smallest p such that every token but the first p equals the one p places before it."""
    return next(p for p in range(1, len(tokens) + 1) if torch.equal(tokens[p:], tokens[: len(tokens) - p]))


def refute_period_detector(
    model: "TransformerBridge", words: Int[Tensor, " word"], period: int, bos: int
) -> Int[Tensor, " pos"]:
    """BOS and a text of that smallest period, made of `words`, after which the model says another word.

    Whoever detects the period says the word `period` places before the next. In the texts tried here one word
    comes twice in each round, with different followers, and the text ends with it: what has followed this
    word does not decide whose turn it is. Of all such texts of three rounds and a part, it is the one after
    which the model gives the right word the lowest probability. `words` are at least `period` different
    tokens, and the period is 3 or more.
    """
    hardest, lowest = words, torch.inf
    for gap in range(1, period):
        for end in (1, gap + 1):
            texts, right = _candidates(words, period, gap, ROUNDS * period + end)
            rows = torch.cat([torch.full_like(texts[:, :1], bos), texts], dim=1)
            probability = _probability(model, rows, right)
            if probability.min().item() < lowest:
                hardest, lowest = rows[probability.argmin()], probability.min().item()
    return hardest


def _candidates(
    words: Int[Tensor, " word"], period: int, gap: int, length: int
) -> tuple[Int[Tensor, "text pos"], Int[Tensor, " text"]]:
    """A text for each word that can come twice, in places 0 and `gap` of the cycle; and what comes next."""
    texts = []
    for turn in range(len(words)):
        cycle = words.roll(turn)[:period].clone()
        cycle[gap] = cycle[0]
        texts.append(cycle[torch.arange(length + 1, device=words.device) % period])
    rows = torch.stack(texts)
    return rows[:, :-1], rows[:, -1]


def _probability(
    model: "TransformerBridge", rows: Int[Tensor, "text pos"], right: Int[Tensor, " text"]
) -> Float[Tensor, " text"]:
    with torch.no_grad():
        return model(rows)[:, -1].softmax(-1).gather(-1, right[:, None]).squeeze(-1)
