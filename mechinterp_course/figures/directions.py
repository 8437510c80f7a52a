"""How much of a language model's predictions is left when its residual stream has to pass a bottleneck.

The bottleneck stands at one hook and at every position: the mean, some principal directions, a dictionary.
Cross-entropy recovered is (ablated - bottleneck) / (ablated - clean), where each is the mean loss per token
and "ablated" puts the mean activation, or zero, in the place of every activation: 1 is as good as no
bottleneck, 0 as good as knowing nothing of the text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.figures.induction import HELD_OUT
from mechinterp_course.making.rows import text_row
from mechinterp_course.metrics import loss_per_token

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Replace = Callable[[Float[Tensor, "... d_model"]], Float[Tensor, "... d_model"]]
BATCH = 32
ROWS = 128
FEW = 64  # directions
FITTED_ON = 2**20  # rows before those that are measured on


@dataclass(frozen=True)
class Recovered:
    """Losses in nats per token: clean, with the bottleneck, and with the mean or zero in its place."""

    clean: float
    spliced: float
    mean_ablated: float
    zero_ablated: float

    @property
    def of_mean(self) -> float:
        """The share of cross-entropy recovered, measured from mean ablation."""
        return (self.mean_ablated - self.spliced) / (self.mean_ablated - self.clean)

    @property
    def of_zero(self) -> float:
        """The share of cross-entropy recovered, measured from zero ablation, which is easier to beat."""
        return (self.zero_ablated - self.spliced) / (self.zero_ablated - self.clean)


@dataclass(frozen=True)
class Principal:
    """The mean of activations and their principal directions, those of most variance first."""

    mean: Float[Tensor, " d_model"]
    directions: Float[Tensor, "component d_model"]

    def project(self, activations: Float[Tensor, "... d_model"], rank: int) -> Float[Tensor, "... d_model"]:
        """Return what the first `rank` directions hold of the activations, and the mean of the rest."""
        kept = self.directions[:rank]
        return self.mean + (activations - self.mean) @ kept.T @ kept


def held_out_rows(model: "TransformerBridge", seed: int, rows: int = ROWS) -> Int[Tensor, "batch pos"]:
    """Return rows of text of the world from seeds that no training draws."""
    tokenizer, start = model.tokenizer.backend_tokenizer, HELD_OUT + (seed << 24)
    return torch.tensor([text_row(tokenizer, model.cfg.n_ctx, start + row).ids for row in range(rows)])


def activations_at(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], hook: str
) -> Float[Tensor, "batch pos d_model"]:
    """Return the activations at one hook, on the CPU."""
    found, behind = [], int(hook.split(".")[1]) + 1
    for part in tokens.split(BATCH):
        _, cache = model.run_with_cache(part.to(model.cfg.device), names_filter=hook, stop_at_layer=behind)
        found.append(cache[hook].cpu())
    return torch.cat(found)


def principal_directions(activations: Float[Tensor, "... d_model"]) -> Principal:
    """Return the mean and all principal directions, unit vectors, of activations of any shape."""
    flat = activations.flatten(end_dim=-2).double()
    mean = flat.mean(dim=0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))
    return Principal(mean.float(), vectors.flip(-1).T.float())


def loss_through(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], hook: str, replace: Replace
) -> float:
    """Return the mean loss in nats per token with `replace` applied to the activations at `hook`."""

    def splice(activations: Float[Tensor, "batch pos d_model"], hook: object) -> Tensor:
        return replace(activations)

    losses = []
    for part in tokens.to(model.cfg.device).split(BATCH):
        with model.hooks(fwd_hooks=[(hook, splice)]):
            losses.append(loss_per_token(model(part), part))
    return torch.cat(losses).mean().item()


def recovered(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    hook: str,
    mean: Float[Tensor, " d_model"],
    replace: Replace,
) -> Recovered:
    """Return the losses on `tokens` with `replace` at `hook`, beside those that say how good that is."""
    return Recovered(
        clean=loss_through(model, tokens, hook, lambda activations: activations),
        spliced=loss_through(model, tokens, hook, replace),
        mean_ablated=loss_through(model, tokens, hook, lambda activations: mean.expand_as(activations)),
        zero_ablated=loss_through(model, tokens, hook, torch.zeros_like),
    )


def recovered_by_pca(model: "TransformerBridge", layer: int, rank: int, seed: int = 1000) -> Recovered:
    """Return the losses with only `rank` principal directions of the residual stream before `layer` left.

    The directions are those of other rows than the ones measured on, all of them unseen in training.
    """
    hook = f"blocks.{layer}.hook_resid_pre"
    fitted_on = held_out_rows(model, seed + FITTED_ON, ROWS)
    principal = principal_directions(activations_at(model, fitted_on, hook))
    return recovered(
        model,
        held_out_rows(model, seed, ROWS),
        hook,
        principal.mean,
        lambda activations: principal.project(activations, rank),
    )
