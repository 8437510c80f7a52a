"""Vision models as torchvision modules: embedded ResNets, ImageNet's ResNet-18, and CIFAR-10 to look at."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mechinterp_course import catalogue
from mechinterp_course.catalogue import ModelSpec
from mechinterp_course.downloads import Checksum, Purpose, download, mirrored
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from torchvision.datasets import CIFAR10
    from torchvision.models import ResNet

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_vision_model(
    name: str = "course-resnet18", device: str = "cpu", channel_seed: int | None = None
) -> "ResNet":
    """Return torchvision's ResNet-18 with the weights of that name: fp32, in eval mode, frozen.

    "course-resnet18" and "course-resnet18-robust" are embedded; "resnet18" is ImageNet's, downloaded if it
    is not in torch's cache. Images are [batch, 3, height, width] in [0, 1], less `model.mean` and divided by
    `model.std` for each channel; `model.classes` names the logits. With a `channel_seed`, hidden channels
    have other numbers, drawn from it (`channel_order.channel_orders`); the function stays the same.
    `model.course_spec` says how to load the same model again.

    Raises CourseError when there is no such vision model or its weights can't be had.
    """
    entry = catalogue.expect_kind(name, "vision")
    if entry is None:
        raise CourseError(f"no vision model is called {name!r}: {catalogue.instead('vision')}")
    if isinstance(entry, catalogue.EmbeddedModel):
        model = load_vision_folder(entry.path)
    else:
        model = _imagenet_resnet18()
    if channel_seed is not None:
        from mechinterp_course.channel_order import reorder_channels

        reorder_channels(model, channel_seed)
    model.course_spec = ModelSpec(name, channel_seed=channel_seed)
    return model.to(device)


def load_vision_folder(path: Path) -> "ResNet":
    """Return the ResNet that `path` holds (config, safetensors), as `load_vision_model` does.

    Raises CourseError when the folder holds no trained model or one of another architecture.
    """
    from mechinterp_course.compression import load_weights

    if not (path / "model.safetensors").is_file():
        raise CourseError(f"no weights in {path}: make them with `mechinterp models train {path.name}`")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    model = resnet18_from_weights(load_weights(path / "model.safetensors"), config["num_classes"])
    return described(model, config["classes"], config["mean"], config["std"])


def resnet18_from_weights(weights: dict[str, "Tensor"], num_classes: int) -> "ResNet":
    """Return torchvision's resnet18 that holds these tensors.

    Raises CourseError when they are not those of a ResNet-18 with that many classes.
    """
    import torch
    from torchvision.models import resnet18

    with torch.device("meta"):  # no random weights that would be thrown away
        model = resnet18(num_classes=num_classes)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CourseError(f"these are not the weights of a ResNet-18 with {num_classes} classes") from error
    return model


def described(
    model: "ResNet", classes: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> "ResNet":
    """Return the network frozen and in eval mode, with `classes` and what its images are normalized by."""
    model.classes, model.mean, model.std = tuple(classes), tuple(mean), tuple(std)
    return model.requires_grad_(False).eval()


def probabilities(
    model: "ResNet", images: "Float[Tensor, 'batch 3 height width']"
) -> "Float[Tensor, 'batch class']":
    """Return the probability of each of `model.classes` for images in [0, 1], which are normalized first."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return model((images - mean) / std).softmax(-1)


def fetch_resnet18() -> Path:
    """Return torchvision's weight file after downloading what is missing of it and checking its hash.

    The hash is the one in the file's name, as torchvision's `check_hash` reads it.

    Raises CourseError when it can't be had; see `downloads.download`.
    """
    import torch
    from torchvision.models import ResNet18_Weights

    url = ResNet18_Weights.IMAGENET1K_V1.url
    file = Path(url).name
    purpose = Purpose("mechinterp models fetch resnet18", catalogue.instead("vision"))
    checksum = Checksum("sha256", re.search(r"-([a-f0-9]{8,})\.", file)[1])
    return download(mirrored(url), Path(torch.hub.get_dir(), "checkpoints", file), checksum, purpose)


def cifar10(split: Literal["train", "test"] = "test", transform: object = None) -> "CIFAR10":
    """Return torchvision's CIFAR-10: (image, label) pairs, 50,000 or 10,000 of them, from torch's cache.

    Images are PIL images of 32 px unless `transform` makes something else of them.

    Raises CourseError when it is not here, or damaged.
    """
    from torchvision.datasets import CIFAR10

    try:
        return CIFAR10(_datasets(), train=split == "train", transform=transform)
    except RuntimeError as error:
        raise CourseError(
            "CIFAR-10 is not here, or damaged: `mechinterp models fetch cifar10` brings it; "
            f"without a network, {catalogue.instead('data set')}"
        ) from error


def fetch_cifar10() -> Path:
    """Return the folder of CIFAR-10 after downloading what is missing, checking its hash and unpacking it.

    Raises CourseError when it can't be had; see `downloads.download`.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import extract_archive

    purpose = Purpose("mechinterp models fetch cifar10", catalogue.instead("data set"))
    archive = _datasets() / CIFAR10.filename
    download(mirrored(CIFAR10.url), archive, Checksum("md5", CIFAR10.tgz_md5), purpose)
    try:
        cifar10()
    except CourseError:
        extract_archive(str(archive))
        cifar10()
    return archive.parent / CIFAR10.base_folder


def _imagenet_resnet18() -> "ResNet":
    import torch
    from torchvision.models import ResNet18_Weights, resnet18

    fetch_resnet18()  # verifies the hash, which torchvision does only while it downloads
    weights = ResNet18_Weights.IMAGENET1K_V1
    with torch.random.fork_rng(devices=[]):
        model = resnet18(weights=weights)
    return described(model, weights.meta["categories"], IMAGENET_MEAN, IMAGENET_STD)


def _datasets() -> Path:
    import torch

    return Path(torch.hub.get_dir()).parent / "datasets"
