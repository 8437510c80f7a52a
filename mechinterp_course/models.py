"""The course's models by name, embedded and public alike: one function for each kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mechinterp_course import catalogue
from mechinterp_course.catalogue import EmbeddedModel, ModelSpec
from mechinterp_course.dictionaries import fetch_sae, load_sae
from mechinterp_course.errors import CourseError
from mechinterp_course.language_models import (
    checkpoints,
    fetch_language_model,
    load_folder,
    load_language_model,
)
from mechinterp_course.quiet_loading import PROCESS_STATE
from mechinterp_course.vision_models import cifar10, fetch_cifar10, fetch_resnet18, load_vision_model

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "PROCESS_STATE",
    "ModelSpec",
    "checkpoints",
    "cifar10",
    "fetch",
    "load_again",
    "load_folder",
    "load_language_model",
    "load_sae",
    "load_vision_model",
    "model_card",
]


def load_again(
    name: str,
    head_order: Sequence[Sequence[int]] | None = None,
    step: int | None = None,
    hook: str | None = None,
    channel_seed: int | None = None,
    device: str = "cpu",
) -> "nn.Module":
    """Return the model that a `course_spec` describes, whatever its kind: `load_again(**asdict(spec))`.

    Raises CourseError as the loading function of its kind does.
    """
    entry = catalogue.find(name)
    kind = entry.kind if entry else "language"
    if kind == "vision":
        return load_vision_model(name, device, channel_seed)
    if kind == "dictionary":
        return load_sae(name, hook, device)
    return load_language_model(name, device, head_order, step)


def fetch(name: str, hook: str | None = None) -> Path:
    """Return the folder or file of a public model or data set after downloading and verifying all of it.

    What was downloaded before is verified, and downloaded again only if it is damaged. `hook` says which
    dictionary of a release is meant.

    Raises CourseError when `name` is embedded or unknown, or can't be had.
    """
    entry = catalogue.find(name)
    if isinstance(entry, EmbeddedModel):
        raise CourseError(f"{name!r} is embedded, nothing needs fetching: see `mechinterp models list`")
    kind = entry.kind if entry else "language"
    if kind == "vision":
        return fetch_resnet18()
    if kind == "data set":
        return fetch_cifar10()
    return fetch_sae(name, hook) if kind == "dictionary" else fetch_language_model(name)


def model_card(name: str) -> str:
    """Return the card of an embedded model, in Markdown.

    Raises CourseError when `name` is not embedded or has not been made yet.
    """
    card = catalogue.embedded(name).path / "README.md"
    if not card.is_file():
        raise CourseError(f"{name!r} has no card yet: `mechinterp models train {name}` makes model and card")
    return card.read_text(encoding="utf-8")
