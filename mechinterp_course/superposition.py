"""Toy models of superposition: many small autoencoders side by side, and how their features share dimensions.

The ReLU output model of Elhage et al. 2022 (https://transformer-circuits.pub/2022/toy_model): n features are
squeezed into m < n hidden dimensions by W and read out by its transpose, x' = ReLU(x W Wᵀ + b). Every tensor
has an axis of instances: models that differ in seed, sparsity or importance, and never touch each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.errors import CourseError

Features = Float[Tensor, "batch instance feature"]
Weights = Float[Tensor, "instance feature hidden"]
PerFeature = Float[Tensor, "instance feature"]
Pairs = Literal["independent", "correlated", "anticorrelated"]

PAIRS = ("independent", "correlated", "anticorrelated")
STEPS_AT_ONCE = 16  # of data, drawn together for each instance
WARMING = 0.05  # of the steps


@dataclass(frozen=True)
class ToyModels:
    """Toy models side by side: `W` [instance, feature, hidden] and `b` [instance, feature]."""

    W: Weights
    b: PerFeature
    hidden_relu: bool = False

    def output(self, features: Features) -> Features:
        """Return what the models make of the features, through a hidden ReLU if they have one."""
        if self.hidden_relu:
            return _through_neurons(features, self.W, self.b)
        return toy_output(features, self.W, self.b)


@dataclass(frozen=True)
class Step:
    """Where a training stands: steps done, of how many, and each instance's loss on its last batch."""

    done: int
    steps: int
    loss: Float[Tensor, " instance"]
    models: ToyModels


def toy_output(features: Features, W: Weights, b: PerFeature) -> Features:
    """Return ReLU(x W Wᵀ + b), for each instance with its own W and b (Elhage et al. 2022).

    >>> toy_output(torch.ones(7, 3, 5), torch.zeros(3, 5, 2), torch.ones(3, 5)).shape
    torch.Size([7, 3, 5])
    """
    hidden = torch.einsum("bif,ifh->ibh", features, W)
    return (hidden @ W.mT + b[:, None]).relu().movedim(0, 1)


def toy_loss(output: Features, features: Features, importance: PerFeature) -> Float[Tensor, " instance"]:
    """Return each instance's squared errors times importance: summed over features, mean over the batch."""
    return (importance * (output - features).square()).sum(-1).mean(0)


def sparse_features(probability: PerFeature, batch: int, seed: int, pairs: Pairs = "independent") -> Features:
    """Return features that are present with their `probability`, then uniform in [0, 1], and else 0.

    Features 0 and 1, 2 and 3, … are pairs. "correlated" pairs are present together or not at all (with the
    probability of the first), "anticorrelated" ones never together (each with its own; the two must not sum
    to more than 1). Values are independent always.
    """
    generator = torch.Generator(probability.device).manual_seed(seed)
    return features_from(generator, probability, batch, pairs)


def features_from(
    generator: torch.Generator, probability: PerFeature, batch: int, pairs: Pairs = "independent"
) -> Features:
    """Return the next `sparse_features` that a generator gives."""
    if pairs not in PAIRS:
        raise CourseError(f"pairs are one of {', '.join(PAIRS)}, not {pairs!r}")
    if pairs != "independent" and probability.shape[1] % 2:
        raise CourseError("pairs need an even number of features")
    drawn = torch.rand(2, batch, *probability.shape, generator=generator, device=generator.device)
    chance, value = drawn.to(probability)
    present = chance < probability
    if pairs != "independent":
        first, second = chance[..., ::2], probability[..., 1::2]
        together = present[..., ::2] if pairs == "correlated" else first >= 1 - second
        present = torch.stack([present[..., ::2], together], dim=-1).flatten(-2)
    return value * present


def train_models(
    probability: PerFeature,
    importance: PerFeature,
    hidden: int,
    seed: int | Sequence[int],
    steps: int = 800,
    batch: int = 256,
    rate: float = 0.03,
    pairs: Pairs = "independent",
    hidden_relu: bool = False,
) -> ToyModels:
    """Return models trained by Adam, each on data of its own, all in one batch.

    `seed` is one for each instance, or a number to which the instance's place is added. An instance depends
    on nothing but its seed, probabilities and importances: alone or among others it comes out the same, up to
    rounding. `training` is the same, step by step.
    """
    options = {"batch": batch, "rate": rate, "pairs": pairs, "hidden_relu": hidden_relu}
    for step in training(probability, importance, hidden, seed, steps, **options):
        models = step.models
    return models


def train_toy(
    probability: PerFeature, importance: PerFeature, hidden: int, seed: int, steps: int = 300
) -> tuple[Weights, PerFeature]:
    """Return W and b of models trained on independent features: `train_models` in a hurry."""
    models = train_models(probability, importance, hidden, seed, steps, rate=0.05)
    return models.W, models.b


def training(
    probability: PerFeature,
    importance: PerFeature,
    hidden: int,
    seed: int | Sequence[int],
    steps: int = 800,
    batch: int = 256,
    rate: float = 0.03,
    pairs: Pairs = "independent",
    hidden_relu: bool = False,
) -> Iterator[Step]:
    """Yield the state of `train_models` after every `STEPS_AT_ONCE` steps, for progress bars and films."""
    instances = len(probability)
    seeds = range(seed, seed + instances) if isinstance(seed, int) else seed
    generators = [torch.Generator().manual_seed(each) for each in seeds]
    models = first_models(probability, hidden, generators, hidden_relu)
    parameters = [models.W.requires_grad_(), models.b.requires_grad_()]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for done in range(0, steps, STEPS_AT_ONCE):
        count = min(STEPS_AT_ONCE, steps - done)
        for number, features in enumerate(_batches(probability, generators, count, batch, pairs), done):
            optimizer.param_groups[0]["lr"] = rate * rate_at(number, steps)
            loss = toy_loss(models.output(features), features, importance)
            optimizer.zero_grad()
            loss.sum().backward()  # the sum: no instance's gradient depends on how many there are
            optimizer.step()
        yield Step(done + count, steps, loss.detach(), _detached(models))


def rate_at(step: int, steps: int) -> float:
    """Return the part of the learning rate for a step: up for the first twentieth, then down evenly."""
    return min(1.0, (step + 1) / (WARMING * steps), (steps - step) / (steps * (1 - WARMING)))


def first_models(
    probability: PerFeature, hidden: int, generators: Sequence[torch.Generator], hidden_relu: bool = False
) -> ToyModels:
    """Return models before training: Xavier normal W, and no bias; one generator for each instance."""
    features = probability.shape[1]
    drawn = [torch.randn(features, hidden, generator=each) for each in generators]
    W = torch.stack(drawn) * (2 / (features + hidden)) ** 0.5
    W = W.abs() if hidden_relu else W  # a neuron that starts below zero for all would never learn
    return ToyModels(W.to(probability), torch.zeros_like(probability), hidden_relu)


def loss_on_new_data(
    models: ToyModels,
    probability: PerFeature,
    importance: PerFeature,
    seed: int,
    batch: int = 8192,
    pairs: Pairs = "independent",
) -> Float[Tensor, " instance"]:
    """Return each instance's loss on new data, the same for instances of equal probabilities."""
    generators = [torch.Generator().manual_seed(2**40 + seed) for _ in probability]
    (features,) = _batches(probability, generators, 1, batch, pairs)
    return toy_loss(models.output(features), features, importance)


def _batches(
    probability: PerFeature, generators: Sequence[torch.Generator], steps: int, batch: int, pairs: Pairs
) -> Iterator[Features]:
    """Draw the batches of a few steps, each instance from its own generator."""
    drawn = [
        features_from(generator, one[None], steps * batch, pairs)
        for one, generator in zip(probability, generators, strict=True)
    ]
    yield from torch.cat(drawn, dim=1).split(batch)


def _through_neurons(features: Features, W: Weights, b: PerFeature) -> Features:
    hidden = torch.einsum("bif,ifh->ibh", features, W).relu()
    return (hidden @ W.mT + b[:, None]).relu().movedim(0, 1)


def _detached(models: ToyModels) -> ToyModels:
    return ToyModels(models.W.detach().clone(), models.b.detach().clone(), models.hidden_relu)
