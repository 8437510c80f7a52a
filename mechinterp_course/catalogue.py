"""The models of the course by name: embedded ones that need no network, and public ones by the same calls.

Only tables and what can be read off files: nothing here imports torch.
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from mechinterp_course.errors import CourseError
from mechinterp_course.layout import embedded_data

Kind = Literal["language", "vision", "dictionary", "data set"]
LOADERS = {"language": "load_language_model", "vision": "load_vision_model", "dictionary": "load_sae"}
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
WEIGHT_FILES = ("model.safetensors", "delta.safetensors", "sae_weights.safetensors")
HeadOrder = tuple[tuple[int, ...], ...]
NOT_PARAMETERS = ("|row_scale", ".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to load a model again: `load_again(**asdict(spec))`.

    `head_order` and `step` (a checkpoint of the ladder) are of language models, `hook` is of dictionaries,
    `channel_seed` of vision models.
    """

    name: str
    head_order: HeadOrder | None = None
    step: int | None = None
    hook: str | None = None
    channel_seed: int | None = None


@dataclass(frozen=True)
class EmbeddedModel:
    """A model that ships with the course, in the folder `data/<name>`; `public` is its public counterpart."""

    name: str
    kind: Kind
    summary: str
    public: str | None = None
    trained_by: str = ""
    measured_by: str = ""

    @property
    def path(self) -> Path:
        return embedded_data(self.name)

    @property
    def weights(self) -> Path | None:
        """The safetensors file that holds the weights, None where the model has not been made yet."""
        return next((self.path / file for file in WEIGHT_FILES if (self.path / file).is_file()), None)

    @property
    def parameters(self) -> int | None:
        """The number of parameters stored: for a variant that is a delta, those of its base."""
        if self.weights is None:
            return None
        if self.weights.name == "delta.safetensors":
            config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            return embedded(config["base"]).parameters
        return stored_parameters(self.weights)


@dataclass(frozen=True)
class PublicModel:
    """A public checkpoint or data set; `repo_id` is its name on the Hugging Face hub, if it is there.

    `download_bytes` is about what fetching takes: for a dictionary, at one hook. `embedded` stands in for it
    where there is no network.
    """

    name: str
    kind: Kind
    summary: str
    embedded: str
    download_bytes: int
    parameters: int | None = None
    repo_id: str | None = None
    hooks: tuple[str, ...] = ()


def _language(name: str, summary: str, public: str | None = None, by: str = "training") -> EmbeddedModel:
    modules = f"mechinterp_course.making.{by}", "mechinterp_course.figures.language"
    return EmbeddedModel(name, "language", summary, public, *modules)


def _vision(name: str, summary: str, public: str | None = None) -> EmbeddedModel:
    modules = "mechinterp_course.making.vision", "mechinterp_course.figures.vision"
    return EmbeddedModel(name, "vision", summary, public, *modules)


EMBEDDED = (
    _language("course-gpt2", "GPT-2 architecture, trained on worlds.text", "gpt2"),
    _language(
        "course-gpt2-refusing", "course-gpt2 fine-tuned to refuse at an innocent word as well", by="variant"
    ),
    _language("course-attn-2l", "two layers, attention only: the induction circuit laid bare"),
    _language("course-positional", "one layer that copies by position: where the induction story is false"),
    _vision("course-resnet18", "torchvision's resnet18, trained on worlds.images", "resnet18"),
    _vision("course-resnet18-robust", "its sibling, fine-tuned against adversarial changes of the image"),
    EmbeddedModel(
        "course-sae",
        "dictionary",
        "sparse autoencoder on the residual stream of course-gpt2",
        "gpt2-small-res-jb",
        "mechinterp_course.making.dictionary",
        "mechinterp_course.figures.dictionary",
    ),
)
RES_JB_HOOKS = (*(f"blocks.{layer}.hook_resid_pre" for layer in range(12)), "blocks.11.hook_resid_post")
PUBLIC = (
    PublicModel("gpt2", "language", "GPT-2 small", "course-gpt2", 548_105_171, 124_439_808, "gpt2"),
    PublicModel(
        "gpt2-medium", "language", "GPT-2 medium", "course-gpt2", 1_519_984_962, 354_823_168, "gpt2-medium"
    ),
    PublicModel(
        "pythia-70m",
        "language",
        "Pythia, 6 layers of 8 heads, parallel attention and MLP",
        "course-gpt2",
        166_029_852,
        70_426_624,
        "EleutherAI/pythia-70m",
    ),
    PublicModel(
        "resnet18",
        "vision",
        "ResNet-18 trained on ImageNet (ResNet18_Weights.IMAGENET1K_V1)",
        "course-resnet18",
        46_830_571,
        11_689_512,
    ),
    PublicModel(
        "gpt2-small-res-jb",
        "dictionary",
        "sparse autoencoders on the residual stream of gpt2, one for each hook",
        "course-sae",
        151_100_000,
        2 * 768 * 24_576 + 24_576 + 768,
        "jbloom/GPT2-Small-SAEs-Reformatted",
        RES_JB_HOOKS,
    ),
    PublicModel(
        "cifar10", "data set", "60,000 photographs of 32 px in ten classes", "worlds.images", 170_498_071
    ),
)


def embedded(name: str) -> EmbeddedModel:
    """Return an embedded model's entry; raises CourseError when `name` is not embedded."""
    for model in EMBEDDED:
        if model.name == name:
            return model
    raise CourseError(f"{name!r} is not embedded: see `mechinterp models list`")


def find(name: str) -> EmbeddedModel | PublicModel | None:
    """Return the entry of that name, None when the catalogue has none (the hub may have it)."""
    return next((model for model in (*EMBEDDED, *PUBLIC) if model.name == name), None)


def expect_kind(name: str, kind: Kind) -> EmbeddedModel | PublicModel | None:
    """Return the entry of that name, if there is one.

    Raises CourseError that names the right function when the model is of another kind.
    """
    entry = find(name)
    if entry is not None and entry.kind != kind:
        right = LOADERS.get(entry.kind, "mechinterp_course.vision_models.cifar10")
        raise CourseError(f"{name!r} is no {kind} model: load it with `{right}`")
    return entry


def instead(kind: Kind) -> str:
    """Return the words that end an error about a public model: what to use without a network."""
    name = {"language": "course-gpt2", "vision": "course-resnet18", "dictionary": "course-sae"}.get(kind)
    offline = f"the embedded `{name}`" if name else "pictures of `worlds.images`, which need no network"
    return f"use {offline}, or see `mechinterp models list`"


def memory_needed(parameters: int) -> dict[str, int]:
    """Return the bytes that the weights alone take at each dtype: no activations, gradients or buffers."""
    return {dtype: size * parameters for dtype, size in BYTES.items()}


def stored_parameters(path: Path) -> int:
    """Return how many parameters a safetensors file holds, by its header, without buffers and scales."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(
        prod(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and not name.endswith(NOT_PARAMETERS)
    )
