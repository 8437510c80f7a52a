"""What `mechinterp models list` says: sizes, memory, where a model is, and whether it fits this machine."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mechinterp_course import hub, machine
from mechinterp_course.catalogue import EMBEDDED, PUBLIC, EmbeddedModel, PublicModel, memory_needed

RESNET18_FILE = "resnet18-f37072fd.pth"
CIFAR10_FOLDER = "cifar-10-batches-py"


def facts(memory: int | None, gpu: int | None) -> list[dict[str, Any]]:
    """Return what there is to say about each model, embedded ones first; sizes and memory in bytes.

    `memory` and `gpu` are the free bytes it has to fit into.
    """
    return [_facts(model, memory, gpu) for model in (*EMBEDDED, *PUBLIC)]


def rows(listed: Iterable[Mapping[str, Any]]) -> list[tuple]:
    """Return the facts as the cells of a table; sizes and memory in MB."""
    return [
        (
            fact["name"],
            fact["where"],
            _megabytes(fact["bytes"]),
            "–" if fact["parameters"] is None else f"{fact['parameters']:,}",
            *(_megabytes(fact["memory"].get(dtype)) for dtype in ("fp32", "fp16")),
            _in_words(fact["fits"], fact["fits_gpu"]),
            fact["summary"],
        )
        for fact in listed
    ]


def footnote(memory: int | None, gpu: int | None) -> str:
    """Return the lines below the table: what its numbers count and what this machine has free."""
    free = "unknown" if memory is None else f"{memory / 1e9:.1f} GB"
    on_gpu = "" if gpu is None else f", GPU {gpu / 1e9:.1f} GB"
    return (
        "Sizes in MB; fp32, fp16 and bf16 are for the weights alone, without activations.\n"
        f"A model fits if {machine.AT_ITS_PEAK} times its fp32 weights do, which loading may take; "
        f"free: {free}{on_gpu}.\n"
        "`mechinterp models train NAME` makes an embedded model, `mechinterp models fetch NAME` a public one."
    )


def location(model: EmbeddedModel | PublicModel) -> str:
    """Return "embedded" or "not here"; of a public model "in the cache", "on the hub" or "on the net"."""
    if isinstance(model, EmbeddedModel):
        return "embedded" if model.weights else "not here"
    if _is_cached(model):
        return "in the cache"
    return "on the hub" if model.repo_id else "on the net"


def torch_home() -> Path:
    """Return the folder that torch keeps downloads in, by the rules of `torch.hub`, without importing it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))).expanduser()


def _facts(model: EmbeddedModel | PublicModel, memory: int | None, gpu: int | None) -> dict[str, Any]:
    embedded, parameters = isinstance(model, EmbeddedModel), model.parameters
    return {
        "name": model.name,
        "kind": model.kind,
        "where": location(model),
        "bytes": _size(model.path) if embedded else model.download_bytes,
        "parameters": parameters,
        "memory": {} if parameters is None else memory_needed(parameters),
        "fits": None if parameters is None else machine.fits(parameters, memory),
        "fits_gpu": None if parameters is None else machine.fits(parameters, gpu),
        "public": model.public if embedded else None,
        "embedded": None if embedded else model.embedded,
        "hooks": [] if embedded else list(model.hooks),
        "summary": model.summary,
    }


def _is_cached(model: PublicModel) -> bool:
    if model.kind == "vision":
        return (torch_home() / "hub" / "checkpoints" / RESNET18_FILE).is_file()
    if model.kind == "data set":
        return (torch_home() / "datasets" / CIFAR10_FOLDER).is_dir()
    if model.kind == "dictionary":
        return any(hub.dictionary_folder(model.repo_id, hook) for hook in model.hooks)
    return hub.language_model_folder(model.repo_id) is not None


def _in_words(fits: bool | None, fits_gpu: bool | None) -> str:
    words = {True: "yes", False: "no", None: "–"}[fits]
    return f"{words}, not on the GPU" if fits_gpu is False else words


def _size(folder: Path) -> int | None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) if files else None


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.1f}"
