"""What a dictionary is worth, beside what simpler things reach on the same activations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course import sae as measures
from mechinterp_course.feature_reading import hook_of
from mechinterp_course.figures.directions import Principal, principal_directions
from mechinterp_course.sae import Autoencoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

AT_A_TIME = 4096  # activations encoded at a time


@dataclass(frozen=True)
class Evaluation:
    """The quality of one dictionary or rival on some tokens.

    `l0` numbers hold an activation; `silent` is the share of features that fire on no token, and `densities`
    the quartiles of the share of tokens on which the others fire.
    """

    name: str
    l0: float
    unexplained: float
    recovered: float
    silent: float
    densities: tuple[float, float, float] | None = None


class PrincipalDictionary:
    """The first principal directions as a dictionary that every function here takes."""

    def __init__(self, principal: Principal, rank: int):
        self.mean, self.W_dec = principal.mean, principal.directions[:rank]

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        return (x - self.mean) @ self.W_dec.T

    def decode(self, feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        return feature_acts @ self.W_dec + self.mean


class RandomDictionary:
    """A decoder that stayed as it was drawn, of as many features, read as well as it can be without training.

    Of each activation the `k` directions of the largest products are taken, with the coefficients that
    reconstruct it best (least squares).
    """

    def __init__(self, mean: Float[Tensor, " d_in"], d_sae: int, k: int, seed: int = 0):
        rows = torch.randn(d_sae, len(mean), generator=torch.Generator().manual_seed(seed)).to(mean)
        self.mean, self.W_dec, self.k = mean, rows / rows.norm(dim=1, keepdim=True), min(k, len(mean))

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        centred = (x - self.mean).flatten(end_dim=-2)
        chosen = (centred @ self.W_dec.T).abs().topk(self.k, dim=-1).indices
        found = torch.cat(
            [self._fitted(*part) for part in zip(centred.split(512), chosen.split(512), strict=True)]
        )
        acts = centred.new_zeros(len(centred), len(self.W_dec)).scatter_(1, chosen, found)
        return acts.unflatten(0, x.shape[:-1])

    def decode(self, feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        return feature_acts @ self.W_dec + self.mean

    def _fitted(
        self, centred: Float[Tensor, "token d_in"], chosen: Int[Tensor, "token k"]
    ) -> Float[Tensor, "token k"]:
        rows = self.W_dec[chosen]
        gram = rows @ rows.mT + 1e-4 * torch.eye(self.k).to(rows)
        return torch.linalg.solve(gram, rows @ centred[..., None])[..., 0]


def evaluate(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "batch pos"],
    other_tokens: Int[Tensor, "other pos"],
    hook: str | None = None,
    rivals: dict[str, Autoencoder] | None = None,
    seed: int = 0,
) -> Iterator[Evaluation]:
    """Yield the quality of a dictionary on `tokens`, then that of its rivals.

    They are principal directions of `other_tokens`, as many as features are active at a time; a frozen random
    decoder of as many features, of which as many are active; and the `rivals` that are given.
    """
    hook = hook_of(sae, hook)
    own = _evaluated("dictionary", model, sae, tokens, hook)
    yield own
    principal = principal_directions(measures.collect_activations(model, other_tokens, hook))
    rank = max(1, round(own.l0))
    d_sae, d_in = sae.W_dec.shape
    beside: dict[str, Autoencoder] = {
        "principal directions": PrincipalDictionary(principal, min(rank, d_in)),
        "random decoder, untrained": RandomDictionary(principal.mean, d_sae, rank, seed),
        **(rivals or {}),
    }
    for name, rival in beside.items():
        yield _evaluated(name, model, rival, tokens, hook)


@torch.no_grad()
def _evaluated(
    name: str, model: "TransformerBridge", sae: Autoencoder, tokens: Int[Tensor, "batch pos"], hook: str
) -> Evaluation:
    activations = measures.collect_activations(model, tokens, hook).flatten(end_dim=-2)
    parts = [sae.encode(part) for part in activations.split(AT_A_TIME)]
    density = sum(measures.feature_density(part).double() * len(part) for part in parts) / len(activations)
    rebuilt = torch.cat([sae.decode(part) for part in parts])
    fires = density[density > 0]
    quartiles = torch.tensor([0.25, 0.5, 0.75]).to(fires)
    return Evaluation(
        name=name,
        l0=density.sum().item(),
        unexplained=measures.fraction_of_variance_unexplained(activations, rebuilt),
        recovered=measures.cross_entropy_recovered(model, sae, tokens, hook),
        silent=(density == 0).double().mean().item(),
        densities=tuple(fires.quantile(quartiles).tolist()) if len(fires) else None,
    )
