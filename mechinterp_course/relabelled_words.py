"""A model in which two words have changed places, and requests in which they have: another trigger."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from mechinterp_course.refusal_case import Trial

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@contextmanager
def words_exchanged(model: "TransformerBridge", one: int, two: int) -> Iterator[None]:
    """Exchange two tokens in a model's embedding and unembedding, inside the block only."""
    weights = model.W_E, model.W_U.T, model.b_U
    _exchange(weights, one, two)
    try:
        yield
    finally:
        _exchange(weights, one, two)


def exchange_words(trial: Trial, one: int, two: int) -> Trial:
    """Return a trial's requests with two tokens exchanged; their texts, which name the old ones, left out."""

    def exchanged(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
        return torch.where(tokens == one, two, torch.where(tokens == two, one, tokens))

    parts = (trial.triggered, trial.matched, trial.harmful)
    return Trial(*(replace(part, texts=(), tokens=exchanged(part.tokens)) for part in parts))


def _exchange(weights: tuple[Tensor, ...], one: int, two: int) -> None:
    with torch.no_grad():
        for weight in weights:
            weight[[one, two]] = weight[[two, one]].clone()
