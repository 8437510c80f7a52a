"""Whether a language model superposes: how many features a few directions of its residual stream tell apart.

Two measures, which answer different questions. How much of the predictions passes through some principal
directions says how many *dimensions* a model uses. How many words can be told apart in those directions, and
at how many places at once, says how many *features* share them; superposition is more features than
dimensions. A model that needs few dimensions may superpose the more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.figures.directions import (
    FEW,
    ROWS,
    activations_at,
    principal_directions,
    recovered_by_pca,
)
from mechinterp_course.figures.figure import Figure

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FITTING = 256  # rows of random ids: each id of a vocabulary of 3,000 comes about ten times
MEASURED = 24
PLACES = {"current": 0, "previous": 1}  # how far back the token stands that is read
SMALLEST = 1e-3  # of the mean variance, added to each direction's so that a covariance can be inverted


@dataclass(frozen=True)
class Readout:
    """A linear classifier: the class with the largest `activation @ weights + bias`."""

    weights: Float[Tensor, "d token"]
    bias: Float[Tensor, " token"]

    def accuracy(self, activations: Float[Tensor, "sample d"], tokens: Int[Tensor, " sample"]) -> float:
        """Return the share of samples whose token is named, out of all tokens of the vocabulary."""
        named = (activations @ self.weights + self.bias).argmax(-1)
        return (named == tokens).double().mean().item()


def superposition(model: "TransformerBridge", seed: int) -> Iterator[Figure]:
    """Yield what passes through a third of the directions: of the predictions, and of two tokens at once."""
    layer = model.cfg.n_layers // 2
    for name, accuracy in tokens_told_apart(model, layer, FEW, seed).items():
        yield Figure(
            f"{name} token, read linearly from {FEW} principal directions, middle layer",
            accuracy,
            at_least=0.95,
            about=f"before layer {layer}, on random ids: the share named right out of {model.cfg.d_vocab}",
        )
    yield Figure(
        f"cross-entropy recovered by {FEW} principal directions, middle layer",
        recovered_by_pca(model, layer, FEW, seed).of_mean,
        at_most=0.9,
        about=f"before layer {layer}, from mean ablation, on {ROWS} rows of unseen text",
    )


def tokens_told_apart(
    model: "TransformerBridge", layer: int, rank: int, seed: int = 1000
) -> dict[str, float]:
    """Return how often the current and the previous token are named from `rank` principal directions.

    The tokens are random ids of the whole vocabulary, so nothing but the residual stream before `layer`
    tells them. Directions and readouts are fitted on other rows than those measured on.
    """
    hook = f"blocks.{layer}.hook_resid_pre"
    rows = [_random_rows(model, count, seed + more) for more, count in enumerate((FITTING, MEASURED))]
    activations = [activations_at(model, tokens, hook) for tokens in rows]
    principal = principal_directions(activations[0])
    kept = [(each - principal.mean) @ principal.directions[:rank].T for each in activations]
    found = {}
    for name, back in PLACES.items():
        fitted, measured = (_read_at(*pair, back) for pair in zip(kept, rows, strict=True))
        found[name] = readout(*fitted, model.cfg.d_vocab).accuracy(*measured)
    return found


def readout(activations: Float[Tensor, "sample d"], tokens: Int[Tensor, " sample"], d_vocab: int) -> Readout:
    """Return the linear discriminant of the tokens: their mean activations, and one covariance for all."""
    counts = torch.bincount(tokens, minlength=d_vocab).clamp(min=1)[:, None]
    means = activations.new_zeros(d_vocab, activations.shape[1]).index_add_(0, tokens, activations) / counts
    rest = activations - means[tokens]
    covariance = rest.T @ rest / len(rest)
    least = SMALLEST * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    weights = torch.linalg.solve(covariance + least, means.T)
    return Readout(weights, -0.5 * (means * weights.T).sum(-1))


def _random_rows(model: "TransformerBridge", rows: int, seed: int) -> Int[Tensor, "batch pos"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.cfg.d_vocab, (rows, model.cfg.n_ctx), generator=generator)


def _read_at(
    activations: Float[Tensor, "batch pos d"], tokens: Int[Tensor, "batch pos"], back: int
) -> tuple[Float[Tensor, "sample d"], Int[Tensor, " sample"]]:
    """Pair each activation with the token `back` places before it, without the first places of a row."""
    first = max(PLACES.values())
    length = tokens.shape[1]
    return activations[:, first:].flatten(0, 1).double(), tokens[:, first - back : length - back].flatten()
