"""How a sparse autoencoder learns: its loss, a decoder of unit norm, features that died, and the loop."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.sae import SparseAutoencoder

FALLING = 0.3  # the last part of the steps, in which the learning rate falls to zero
AUXILIARY_WEIGHT = 1 / 32  # of the auxiliary loss (Gao et al. 2024, appendix B)
RESAMPLED_ENCODER = 0.2  # of the mean encoder norm of living features (Bricken et al. 2023)


def sae_loss(
    activations: Float[Tensor, "token d_in"],
    reconstruction: Float[Tensor, "token d_in"],
    feature_acts: Float[Tensor, "token d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    l1_coefficient: float,
) -> Float[Tensor, ""]:
    """Return Σ over inputs of the squared error + l1 · Σ over features of activation · decoder norm.

    Both sums are those of a token, averaged over tokens. With the norm in it, the loss can't be
    lowered by making activations small and decoder rows long (Conerly et al. 2024, "Update on how we
    train SAEs").
    """
    squared_error = (reconstruction - activations).square().sum(dim=-1)
    length = (feature_acts * W_dec.norm(dim=-1)).sum(dim=-1)
    return (squared_error + l1_coefficient * length).mean()


def constrain_decoder(
    W_dec: Float[Tensor, "d_sae d_in"], gradient: Float[Tensor, "d_sae d_in"]
) -> tuple[Float[Tensor, "d_sae d_in"], Float[Tensor, "d_sae d_in"]]:
    """Return decoder rows at unit length, and the gradient without what would change their lengths.

    Without the projection the step and the normalization work against each other, and Adam's moments fill
    with a gradient that is never followed (Bricken et al. 2023).
    """
    unit = W_dec / W_dec.norm(dim=-1, keepdim=True)
    return unit, gradient - (gradient * unit).sum(dim=-1, keepdim=True) * unit


def firing_statistics(
    batches: Sequence[Float[Tensor, "token d_sae"]],
) -> tuple[float, Float[Tensor, " d_sae"], Bool[Tensor, " d_sae"]]:
    """Return (mean L0, density of each feature, which features are dead) over all tokens of all batches.

    Density is the share of tokens on which a feature is above zero; dead is who is so on none. Batches may
    hold different numbers of tokens.
    """
    fired = sum((batch > 0).sum(dim=0) for batch in batches)
    density = fired.double() / sum(len(batch) for batch in batches)
    return density.sum().item(), density.float(), fired == 0


def auxiliary_loss(
    error: Float[Tensor, "token d_in"],
    pre_activations: Float[Tensor, "token d_sae"],
    dead: Bool[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    k_aux: int,
) -> Float[Tensor, ""]:
    """Return how far the dead features are from explaining the error: they are given a reason to live.

    On each token the `k_aux` dead features with the largest pre-activations (all of them, if fewer are dead)
    reconstruct the error, without bias; the loss is the squared distance, summed over inputs and averaged
    over tokens, 0 where none is dead. Pre-activations count as they are, also where negative, as in
    sae-lens, and no gradient reaches the error (Gao et al. 2024, appendix A.2).
    """
    count = min(k_aux, int(dead.sum()))
    if count == 0:
        return error.new_zeros(())
    values, places = pre_activations.masked_fill(~dead, -torch.inf).topk(count, dim=-1)
    acts = torch.zeros_like(pre_activations).scatter(-1, places, values)
    return (acts @ W_dec - error.detach()).square().sum(dim=-1).mean()


@torch.no_grad()
def resample_dead(
    sae: SparseAutoencoder,
    activations: Float[Tensor, "token d_in"],
    dead: Bool[Tensor, " d_sae"],
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Point dead features of `sae` at tokens that it reconstructs badly (Bricken et al. 2023), in place.

    Tokens are drawn with a chance proportional to their squared loss, that is, to the fourth power of the
    distance. A feature's decoder row becomes the unit vector to the token from the bias, its encoder the same
    at a fifth of the mean norm of living features, its encoder bias zero. What Adam remembers of all three is
    forgotten.
    """
    if not dead.any():
        return
    loss = (sae(activations) - activations).square().sum(dim=-1)
    drawn = torch.multinomial(loss.square().cpu(), int(dead.sum()), replacement=True, generator=generator)
    towards = activations[drawn] - sae.b_dec
    rows = towards / towards.norm(dim=-1, keepdim=True)
    if not sae.tied:
        norm = sae.W_enc[:, ~dead].norm(dim=0).mean() if not dead.all() else 1.0
        sae.encoder[:, dead] = RESAMPLED_ENCODER * norm * rows.T
    sae.W_dec[dead], sae.b_enc[dead] = rows, 0.0
    for weight in sae.parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state[weight] and weight is not sae.b_dec:
                of_feature = optimizer.state[weight][moment]
                (of_feature.T if weight is sae.encoder else of_feature)[dead] = 0.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: `steps` batches of `batch` tokens, and what keeps features few and alive.

    `revive` is None, "resample" or "auxiliary"; a feature counts as dead after `window` steps without firing,
    and dead ones are resampled every `window` steps in the first half.
    """

    steps: int = 600
    batch: int = 256
    learning_rate: float = 5e-3
    l1_coefficient: float = 0.0
    revive: str | None = None
    window: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Step:
    """What one step saw: its loss, its mean L0, how many features have not fired within the window."""

    number: int
    loss: float
    l0: float
    dead: int


def train(
    sae: SparseAutoencoder,
    activations: Float[Tensor, "token d_in"],
    schedule: Schedule,
    frozen_decoder: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> SparseAutoencoder:
    """Train `sae` in place on tokens drawn from `activations`, by Adam, and return it.

    `b_dec` begins at their mean. Decoder rows stay at unit norm; with `frozen_decoder` they stay as they are.
    `on_step` is told every tenth step.
    """
    with torch.no_grad():
        sae.b_dec.copy_(activations.mean(dim=0))
    sae.W_dec.requires_grad_(not frozen_decoder)
    optimizer = torch.optim.Adam([each for each in sae.parameters() if each.requires_grad])
    generator = torch.Generator().manual_seed(schedule.seed)
    idle = torch.zeros_like(sae.b_enc, dtype=torch.int64)  # steps since each feature fired
    for number, batch in enumerate(_batches(activations, schedule, generator)):
        _set_rate(optimizer, schedule, number)
        feature_acts, loss = _loss(sae, batch, schedule, idle)
        optimizer.zero_grad()
        loss.backward()
        _update(sae, optimizer)
        if schedule.revive:
            _count_idle(idle, feature_acts)
            _resample(sae, batch, idle, schedule, number, generator, optimizer)
        if on_step and number % 10 == 0:
            l0 = (feature_acts > 0).sum(dim=-1).double().mean().item()
            on_step(Step(number, loss.item(), l0, int((idle > schedule.window).sum())))
    return sae


def recover_features(
    activations: Float[Tensor, "token d_in"], d_sae: int, seed: int
) -> Float[Tensor, "d_sae d_in"]:
    """Return the decoder rows of an autoencoder trained with L1 on these activations, unit vectors.

    Made for worlds of a few dozen features of size 1: with others, the coefficient needs another value.
    """
    schedule = Schedule(steps=400, learning_rate=2e-2, l1_coefficient=0.2, seed=seed)
    sae = SparseAutoencoder(activations.shape[-1], d_sae, seed=seed)
    return train(sae, activations, schedule).W_dec.detach()


def _batches(
    activations: Float[Tensor, "token d_in"], schedule: Schedule, generator: torch.Generator
) -> Iterator[Float[Tensor, "batch d_in"]]:
    for _ in range(schedule.steps):
        yield activations[torch.randint(len(activations), (schedule.batch,), generator=generator)]


def _set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, number: int) -> None:
    left = (schedule.steps - number) / (FALLING * schedule.steps)
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rate * min(1.0, left)


def _loss(
    sae: SparseAutoencoder,
    batch: Float[Tensor, "token d_in"],
    schedule: Schedule,
    idle: Int[Tensor, " d_sae"],
) -> tuple[Float[Tensor, "token d_sae"], Float[Tensor, ""]]:
    pre_activations = sae.pre_activations(batch)
    feature_acts = sae.activate(pre_activations)
    reconstruction = sae.decode(feature_acts)
    loss = sae_loss(batch, reconstruction, feature_acts, sae.W_dec, schedule.l1_coefficient)
    if schedule.revive == "auxiliary" and (dead := idle > schedule.window).any():
        k_aux = max(1, batch.shape[-1] // 2)
        error = batch - reconstruction
        loss = loss + AUXILIARY_WEIGHT * auxiliary_loss(error, pre_activations, dead, sae.W_dec, k_aux)
    return feature_acts, loss


def _update(sae: SparseAutoencoder, optimizer: torch.optim.Optimizer) -> None:
    if not sae.W_dec.requires_grad:
        optimizer.step()
        return
    with torch.no_grad():
        rows = sae.W_dec  # of unit length before each step
        rows.grad -= (rows.grad * rows).sum(dim=-1, keepdim=True) * rows
        optimizer.step()
        sae.W_dec /= sae.W_dec.norm(dim=-1, keepdim=True)


def _count_idle(idle: Int[Tensor, " d_sae"], feature_acts: Float[Tensor, "token d_sae"]) -> None:
    idle += 1
    idle[(feature_acts > 0).any(dim=0)] = 0


def _resample(
    sae: SparseAutoencoder,
    batch: Float[Tensor, "token d_in"],
    idle: Int[Tensor, " d_sae"],
    schedule: Schedule,
    number: int,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> None:
    due = number and number % schedule.window == 0 and number <= schedule.steps // 2
    if schedule.revive == "resample" and due:
        dead = idle >= schedule.window
        resample_dead(sae, batch, dead, generator, optimizer)
        idle[dead] = 0
