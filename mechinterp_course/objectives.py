"""What a picture is made to raise: an algebra of objectives, each one number for every picture of a batch.

    channel("layer3.1.conv2", 17) - 0.1 * diversity("layer4.0")

`feature_visualization.render` climbs an objective. An objective only says which layers it reads and what it
makes of their activations; it holds no model (Olah et al. 2017, "Feature Visualization"; lucid, lucent).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mechinterp_course.errors import CourseError

Images = Float[Tensor, "picture 3 row column"]
Activations = Mapping[str, Float[Tensor, "picture channel ..."]]
PerPicture = Float[Tensor, " picture"]


@dataclass(frozen=True)
class Seen:
    """What an objective is evaluated on.

    `activations` are those of the pictures as the model saw them, by the layer's name as the objective spells
    it. `pixels` are the pictures before they were moved. `originals[k]` are the activations of the
    objective's k-th image, moved exactly as each picture was.
    """

    activations: Activations
    pixels: Images
    originals: Sequence[Activations] = ()


@dataclass(frozen=True, eq=False)
class Term:
    """One measure of pictures, and what it needs to be known: layers, an image, a number of pictures."""

    name: str
    measure: Callable[[Seen, Activations | None], PerPicture]
    layers: tuple[str, ...] = ()
    image: Float[Tensor, "3 row column"] | None = None
    pictures: int | None = None


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of terms. Objectives add, subtract, and multiply with numbers; more is better."""

    terms: tuple[tuple[float, Term], ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that must be read, each once."""
        return tuple(dict.fromkeys(layer for _, term in self.terms for layer in term.layers))

    @property
    def images(self) -> list[Float[Tensor, "3 row column"]]:
        """The images that must be read beside the pictures."""
        return [term.image for _, term in self.terms if term.image is not None]

    @property
    def pictures(self) -> int | None:
        """How many pictures a batch must hold, or None when any number will do."""
        counts = {term.pictures for _, term in self.terms} - {None}
        if len(counts) > 1:
            raise CourseError(f"one batch can't hold {' and '.join(map(str, sorted(counts)))} pictures")
        return counts.pop() if counts else None

    def values(self, seen: Seen) -> PerPicture:
        """Return the objective of each picture."""
        originals = iter(seen.originals)
        total = seen.pixels.new_zeros(len(seen.pixels))
        for weight, term in self.terms:
            total = total + weight * term.measure(seen, None if term.image is None else next(originals))
        return total

    def __add__(self, other: "Objective | int") -> "Objective":
        if other == 0:  # where `sum` begins
            return self
        return Objective(self.terms + other.terms) if isinstance(other, Objective) else NotImplemented

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Objective":
        if not isinstance(factor, int | float):
            return NotImplemented
        return Objective(tuple((weight * factor, term) for weight, term in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Objective":
        return self * (1 / divisor)

    def __neg__(self) -> "Objective":
        return self * -1

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other if isinstance(other, Objective) else NotImplemented

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {term.name}" for weight, term in self.terms) or "nothing"


def channel(layer: str, index: int) -> Objective:
    """A channel's activation, averaged over all places (a class logit, `channel("fc", 3)`, has one place)."""
    return _of_layer(f"channel({layer!r}, {index})", layer, lambda a: _over_places(_of(a, layer, index)))


def channels(layer: str, indices: Sequence[int], below_zero: float = 1.0) -> Objective:
    """Another channel for each picture: `indices[i]` for picture i. Places below 0 count `below_zero`."""
    chosen = list(indices)

    def measure(seen: Seen, _: None) -> PerPicture:
        activation = seen.activations[layer]
        _expect_channel(activation, layer, max(chosen))
        rows = torch.arange(len(chosen), device=activation.device)
        own = activation[rows, torch.tensor(chosen, device=activation.device)]
        return _over_places(torch.where(own < 0, below_zero * own, own))

    return _alone(Term(f"channels({layer!r}, {chosen})", measure, (layer,), pictures=len(chosen)))


def neuron(layer: str, index: int, row: int | None = None, column: int | None = None) -> Objective:
    """A channel's activation at one place; unless given, the middle (of an even number, the one after it)."""

    def measure(activation: Tensor) -> PerPicture:
        height, width = activation.shape[2:]
        at = height // 2 if row is None else row, width // 2 if column is None else column
        if not (at[0] < height and at[1] < width):
            raise CourseError(f"{layer} has {height} rows and {width} columns: there is no place {at}")
        return _of(activation, layer, index)[:, at[0], at[1]]

    return _of_layer(f"neuron({layer!r}, {index}, {row}, {column})", layer, measure)


def direction(layer: str, vector: Float[Tensor, " channel"], cosine_power: float = 0.0) -> Objective:
    """The activation along a vector of channels, averaged over places: that of one channel is `channel`.

    A long activation that only grazes the vector counts too; with `cosine_power` p each place is weighed by
    max(cosine, 0.1)^p (Olah et al. 2017).
    """

    def measure(activation: Tensor) -> PerPicture:
        if activation.shape[1] != len(vector):
            raise CourseError(
                f"{layer} has {activation.shape[1]} channels, but the direction has {len(vector)}"
            )
        along = vector.to(activation)
        dot = torch.einsum("bc...,c->b...", activation, along)
        if cosine_power:
            length = activation.norm(dim=1) * along.norm()
            dot = dot * (dot / length.clamp(min=1e-6)).clamp(min=0.1) ** cosine_power
        return _over_places(dot)

    return _of_layer(f"direction({layer!r}, …)", layer, measure)


def between(first: Objective, second: Objective, count: int) -> list[Objective]:
    """`count` objectives from the first to the second, in equal steps: to be rendered as one batch."""
    shares = torch.linspace(0, 1, count).tolist()
    return [(1 - share) * first + share * second for share in shares]


def diversity(layer: str) -> Objective:
    """How alike a batch is: subtract it to get pictures that differ. 0 for a picture alone.

    Of each picture, the mean over the others of the cosine between their Gram matrices (channel by channel).
    """

    def measure(activation: Tensor) -> PerPicture:
        flat = activation.flatten(2)
        grams = functional.normalize((flat @ flat.mT).flatten(1), dim=1)
        alike = grams @ grams.T
        return (alike.sum(dim=1) - alike.diagonal()) / max(1, len(alike) - 1)

    return _of_layer(f"diversity({layer!r})", layer, measure)


def caricature(layer: str, image: Float[Tensor, "3 row column"], cosine_power: float = 1.0) -> Objective:
    """How strongly a picture shows what a layer sees in `image`, place by place: more of it than it has.

    With t the activation of the image, moved as the picture is, and a that of the picture it is
    (a · t) / (t · t) · cosine(a, t)^p: 1 for the image itself, 2 for twice its activation.
    """

    def measure(seen: Seen, original: Activations) -> PerPicture:
        ours, theirs = seen.activations[layer].flatten(1), original[layer].flatten(1)
        dot = (ours * theirs).sum(dim=1)
        cosine = functional.cosine_similarity(ours, theirs, dim=1)
        return dot / theirs.square().sum(dim=1) * cosine.clamp(min=0.1) ** cosine_power

    return _alone(Term(f"caricature({layer!r}, …)", measure, (layer,), image))


def total_variation() -> Objective:
    """How rough a picture is: the mean absolute difference of pixels beside and below each other."""

    def measure(pixels: Images) -> PerPicture:
        across, along = pixels.diff(dim=3), pixels.diff(dim=2)
        return across.abs().mean(dim=(1, 2, 3)) + along.abs().mean(dim=(1, 2, 3))

    return _of_picture("total_variation()", measure)


def l1(level: float = 0.5) -> Objective:
    """How far a picture is from an even gray: the mean absolute difference of pixels from `level`."""
    return _of_picture(f"l1({level:g})", lambda pixels: (pixels - level).abs().mean(dim=(1, 2, 3)))


def blur() -> Objective:
    """How much blurring would change a picture: the mean squared difference from its mean over 3 x 3 pixels.

    The blurred picture is held still, so that descending moves the picture towards it (Nguyen et al. 2015).
    """

    def measure(pixels: Images) -> PerPicture:
        blurred = functional.avg_pool2d(pixels.detach(), 3, stride=1, padding=1, count_include_pad=False)
        return (pixels - blurred).square().mean(dim=(1, 2, 3))

    return _of_picture("blur()", measure)


def _alone(term: Term) -> Objective:
    return Objective(((1.0, term),))


def _of_layer(name: str, layer: str, measure: Callable[[Tensor], PerPicture]) -> Objective:
    return _alone(Term(name, lambda seen, _: measure(seen.activations[layer]), (layer,)))


def _of_picture(name: str, measure: Callable[[Images], PerPicture]) -> Objective:
    return _alone(Term(name, lambda seen, _: measure(seen.pixels)))


def _over_places(activation: Float[Tensor, "picture ..."]) -> PerPicture:
    return activation.reshape(len(activation), -1).mean(dim=1)


def _of(activation: Tensor, layer: str, index: int) -> Float[Tensor, "picture ..."]:
    _expect_channel(activation, layer, index)
    return activation[:, index]


def _expect_channel(activation: Tensor, layer: str, index: int) -> None:
    if index >= activation.shape[1]:
        raise CourseError(f"{layer} has {activation.shape[1]} channels: there is no {index}, 0 is the first")
