"""Runs of a model that end at the deepest layer asked for: what comes after it is not computed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mechinterp_course.errors import CourseError
from mechinterp_course.half_precision import fast_products
from mechinterp_course.layer_names import layer_name
from mechinterp_course.vision_models import IMAGENET_MEAN, IMAGENET_STD

Images = Float[Tensor, "picture 3 row column"]
LEAK = 0.1
"""Where a layer that ends in a ReLU is silent, the gradient that reaches it counts this much instead of 0."""


RELUS = {functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class _Reached(Exception):
    """The last layer has been read: nothing after it needs to run."""


class _Relus(TorchFunctionMode):
    """Counts the ReLUs of a run, modules and functions alike, and keeps what some of them were given."""

    def __init__(self):
        super().__init__()
        self.count, self.output = 0, None
        self.wanted: set[int] = set()
        self.inputs: dict[int, Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function not in RELUS:
            return function(*args, **(kwargs or {}))
        self.count += 1
        if self.count in self.wanted:
            self.inputs[self.count] = (args[0] if args else kwargs["input"]).clone()
        self.output = function(*args, **(kwargs or {}))
        return self.output


@dataclass
class _Place:
    """One layer while a model runs: what it last returned, and the number of the ReLU that it ends in."""

    module: nn.Module
    output: Tensor | None = None
    relu: int | None = None


class Reading:
    """A model and the layers that are read whenever it runs; made by `reading`."""

    def __init__(self, model: nn.Module, places: Mapping[str, _Place]):
        self.model, self.places, self.relus = model, places, _Relus()
        self.calls = 0
        self.all_calls: int | None = None  # of all places in one run, once that is known

    def __call__(self, pixels: Images) -> dict[str, Float[Tensor, "picture channel ..."]]:
        """Return the activations of the layers for pictures in [0, 1]."""
        if not self.places:
            return {}
        if self.all_calls is None:
            self._count(pixels[:1])
        self._run(pixels)
        return {name: self._activation(place) for name, place in self.places.items()}

    def _count(self, pixels: Images) -> None:
        """Run all of the model on one picture, to know which call is the last that must be made."""
        try:
            with torch.no_grad():
                self._run(pixels)
        except Exception:  # a layer above may not fit the size: then what was read before it is all there is
            if any(place.output is None for place in self.places.values()):
                raise
        for name, place in self.places.items():
            if place.output is None:
                raise CourseError(f"{name} is a layer of the model that doesn't run: choose one inside it")
        self.all_calls = self.calls
        self.relus.wanted = {place.relu for place in self.places.values()} - {None}

    def _run(self, pixels: Images) -> None:
        self.calls = self.relus.count = 0
        on_cpu = pixels.device.type == "cpu"
        with suppress(_Reached), self.relus, fast_products() if on_cpu else nullcontext():
            self.model(normalized(self.model, pixels))

    def keep(self, place: _Place, output: Tensor) -> None:
        """Note what a layer returned; end the run when it is the last that is read."""
        self.calls += 1
        if self.all_calls is None:
            place.relu = self.relus.count if output is self.relus.output else None
        if self.calls == self.all_calls:
            place.output = output
            raise _Reached
        place.output = output.clone()  # a ReLU that follows may work in place

    def _activation(self, place: _Place) -> Tensor:
        """Return the output; if it is a ReLU's, with a gradient that does not vanish where it is 0."""
        if place.relu is None or not place.output.requires_grad:
            return place.output.float()
        leaky = functional.leaky_relu(self.relus.inputs[place.relu].float(), LEAK)
        return leaky + (place.output.detach().float() - leaky.detach())


@contextmanager
def reading(model: nn.Module, layers: Sequence[str]) -> Iterator[Reading]:
    """Yield a function that runs a model on pictures in [0, 1] and returns what `layers` computed, by name.

    Pictures are normalized by the model's `mean` and `std`, or ImageNet's. Of a layer that runs more than
    once, the last output counts; of a layer that ends in a ReLU the gradient leaks where it is silent, so
    that a silent channel can be woken. The run ends at the deepest of these layers. Inside the
    block the model is in eval mode; after it, also after an exception, it is as it was, without a hook.

    Raises CourseError for a layer that the model doesn't have.
    """
    places = {name: _Place(model.get_submodule(layer_name(model, name))) for name in layers}
    read = Reading(model, places)
    with _evaluating(model), ExitStack() as stack:
        for place in places.values():
            hook = place.module.register_forward_hook(
                lambda module, inputs, output, place=place: read.keep(place, output)
            )
            stack.callback(hook.remove)
        yield read


@torch.no_grad()
def activations(
    model: nn.Module, pixels: Images, layers: Sequence[str]
) -> dict[str, Float[Tensor, "picture channel ..."]]:
    """Return what each of `layers` computed on pictures in [0, 1], running the model no further."""
    with reading(model, layers) as read:
        chunks = [read(chunk) for chunk in pixels.split(64)]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in layers}


def normalized(model: nn.Module, pixels: Images) -> Images:
    """Return pictures in [0, 1] as the model wants them: less its `mean`, divided by its `std`."""
    statistics = getattr(model, "mean", IMAGENET_MEAN), getattr(model, "std", IMAGENET_STD)
    mean, std = (torch.as_tensor(values).to(pixels)[:, None, None] for values in statistics)
    return (pixels - mean) / std


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and every module of it back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
