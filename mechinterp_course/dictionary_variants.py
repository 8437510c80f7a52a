"""Variants of the sparse autoencoder: who may be active, what each part has to explain.

JumpReLU (Rajamanoharan et al. 2024), the threshold that replaces BatchTopK once it has been trained (Bussmann
et al. 2024), nested dictionaries (Bussmann et al. 2025); and what one loses of a feature, or has in pieces:
absorption (Chanin et al. 2024) and splitting (Bricken et al. 2023).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.sparse_activations import topk


class _StraightThrough(torch.autograd.Function):
    """z·H(z − θ) and H(z − θ), with a rectangle of width ε in the place of the step's derivative."""

    @staticmethod
    def forward(ctx, pre_activations, threshold, bandwidth):
        active = (pre_activations > threshold).to(pre_activations.dtype)
        ctx.save_for_backward(pre_activations, threshold, active)
        ctx.bandwidth = bandwidth
        return pre_activations * active, active

    @staticmethod
    def backward(ctx, to_acts, to_active):
        pre_activations, threshold, active = ctx.saved_tensors
        near = ((pre_activations - threshold).abs() < ctx.bandwidth / 2) / ctx.bandwidth
        to_threshold = -(near * (threshold * to_acts + to_active))
        to_threshold = to_threshold.reshape(-1, len(threshold)).sum(dim=0)
        return active * to_acts, to_threshold, None


def jumprelu(
    pre_activations: Float[Tensor, "... d_sae"], threshold: Float[Tensor, " d_sae"], bandwidth: float
) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_sae"]]:
    """Return (activations, active): z where z > θ and 0 elsewhere; 1 where z > θ and 0 elsewhere.

    Neither has a useful gradient to θ, so θ is given a made-up one: −θ/ε and −1/ε times the gradient that
    arrives, where |z − θ| < ε/2, summed over tokens (Rajamanoharan et al. 2024, section 3). The
    gradient to z is the true one: 1 where active, through the activations only.
    """
    return _StraightThrough.apply(pre_activations, threshold, bandwidth)


@torch.no_grad()
def inference_threshold(batches: Sequence[Float[Tensor, "token d_sae"]], k: int) -> float:
    """Return the mean, over batches of pre-activations, of the smallest activation that BatchTopK keeps.

    A batch that keeps nothing has no smallest; it is left out. With this threshold a token's activations are
    a function of the token (Bussmann et al. 2024).
    """
    kept = (topk(batch, k, across_batch=True) for batch in batches)
    smallest = [acts[acts > 0].min() for acts in kept if (acts > 0).any()]
    return torch.stack(smallest).double().mean().item()


def matryoshka_loss(
    activations: Float[Tensor, "token d_in"],
    feature_acts: Float[Tensor, "token d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
    widths: Sequence[int],
) -> Float[Tensor, ""]:
    """Return Σ over widths of the squared error of what the first `width` features rebuild.

    Squared errors are summed over inputs and averaged over tokens; each prefix has the whole bias (Bussmann
    et al. 2025, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders").
    """
    prefixes = (feature_acts[:, :width] @ W_dec[:width] + b_dec for width in widths)
    return sum((rebuilt - activations).square().sum(dim=-1).mean() for rebuilt in prefixes)


def absorption_rate(
    feature_acts: Float[Tensor, "token d_sae"],
    true_acts: Float[Tensor, "token feature"],
    partner: Int[Tensor, " feature"],
    parent: int,
    children: Sequence[int],
) -> tuple[float, float]:
    """Return (recall, absorbed) of a parent feature, told by the found feature that is its partner.

    Recall is the share of the parent's tokens on which its partner is active. Absorbed is the share of tokens
    with a child on which the parent's partner is silent while the partner of a child that is there is active:
    the child's feature speaks for both (after Chanin et al. 2024). The parent is there wherever a child is.
    """
    fires, there = feature_acts > 0, true_acts > 0
    speaks = fires[:, partner[parent]]
    of_children = list(children)
    present = there[:, of_children]
    taken = (present & fires[:, partner[of_children]]).any(dim=1) & ~speaks
    recall = speaks[there[:, parent]].double().mean().item()
    return recall, taken[present.any(dim=1)].double().mean().item()


def split_features(
    narrow_acts: Float[Tensor, "token narrow"], wide_acts: Float[Tensor, "token wide"], inside: float
) -> tuple[Bool[Tensor, "narrow wide"], Float[Tensor, " narrow"]]:
    """Return (pieces, covered): what a wide dictionary has in the place of each narrow one's feature.

    A wide feature is a piece of a narrow one if at least the share `inside` of its tokens are tokens of the
    narrow one; one that never fires is nobody's. `covered` is the share of a narrow feature's tokens on which
    one of its pieces fires, 0 where it never fires (after Bricken et al. 2023, on feature splitting).
    """
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    fires = wide.sum(dim=0)
    pieces = (narrow.T @ wide >= inside * fires) & (fires > 0)
    told = (wide @ pieces.double().T > 0) & (narrow > 0)
    covered = told.sum(dim=0) / narrow.sum(dim=0).clamp(min=1)
    return pieces, covered.to(narrow_acts.dtype)
