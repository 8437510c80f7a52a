"""Language models by name: embedded ones that need no network, and public checkpoints by the same call."""

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mechinterp_course.errors import CourseError
from mechinterp_course.layout import embedded_data

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import GPT2LMHeadModel

HeadOrder = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to load a model again: its name, and how its heads were reordered."""

    name: str
    head_order: HeadOrder | None = None


@dataclass(frozen=True)
class ModelInfo:
    """An embedded model, as `mechinterp models list` shows it."""

    name: str
    summary: str
    public_checkpoint: str | None

    @property
    def path(self) -> Path:
        return embedded_data(self.name)


MODELS = (
    ModelInfo("course-gpt2", "GPT-2 architecture, 4 layers of 6 heads, trained on worlds.text", "gpt2"),
    ModelInfo(
        "course-positional", "one layer that copies by position: where the induction story is false", None
    ),
)
PROCESS_STATE = threading.RLock()  # standard output and the global generators belong to the whole process
INSTEAD = "use the embedded `course-gpt2`, or see `mechinterp models list`"


def load_language_model(
    name: str = "course-gpt2", device: str = "cpu", head_order: Sequence[Sequence[int]] | None = None
) -> "TransformerBridge":
    """Return a model as a TransformerBridge in compatibility mode: fp32, in eval mode, its weights frozen.

    `name` is one of `MODELS` (no network is touched) or any causal language model of the hub ("gpt2").
    `head_order` gives each layer's heads in a new order: head h of layer l is head `head_order[l][h]` of
    the stored model. The function stays the same, only the labels change. `model.course_spec` says how to
    load the same model again. Nothing is printed and no thread is left behind.

    Raises CourseError when the name is unknown, the hub can't be reached or `head_order` is no permutation.
    """
    order = None if head_order is None else tuple(tuple(heads) for heads in head_order)
    embedded = any(info.name == name for info in MODELS)
    with PROCESS_STATE, _without_traces():
        model = (
            load_folder(embedded_data(name), device, order) if embedded else _from_hub(name, device, order)
        )
    model.course_spec = ModelSpec(name, order)
    return model


def load_folder(path: Path, device: str = "cpu", head_order: HeadOrder | None = None) -> "TransformerBridge":
    """Return the model that `path` holds (config, safetensors, tokenizer), as `load_language_model` does.

    Raises CourseError when the folder holds no trained model.
    """
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    if not (path / "model.safetensors").exists():
        raise CourseError(f"no weights in {path}: make them with `mechinterp models train {path.name}`")
    config = GPT2Config.from_json_file(path / "config.json")
    config._attn_implementation = "eager"  # the only one that lets hooks see attention patterns
    hf_model = GPT2LMHeadModel(config)
    stored = {key: weight.float() for key, weight in load_file(path / "model.safetensors").items()}
    hf_model.load_state_dict(stored, strict=False)
    hf_model.tie_weights()
    return _bridge(str(path), hf_model, AutoTokenizer.from_pretrained(path), device, head_order)


def reorder_heads(hf_model: "GPT2LMHeadModel", head_order: HeadOrder) -> None:
    """Reorder the heads of a GPT-2 in place: columns of c_attn and rows of c_proj move together.

    Raises CourseError unless `head_order` is one permutation of the heads for each layer.
    """
    blocks, n_heads = hf_model.transformer.h, hf_model.config.n_head
    if [sorted(heads) for heads in head_order] != [list(range(n_heads))] * len(blocks):
        raise CourseError(
            f"head_order needs {len(blocks)} permutations of the heads 0 to {n_heads - 1}, one for each layer"
        )
    for block, heads in zip(blocks, head_order, strict=True):
        _reorder(block.attn, list(heads), n_heads)


def _reorder(attention: "nn.Module", heads: list[int], n_heads: int) -> None:
    def moved(weight: "Tensor", axis: int, parts: int) -> "Tensor":
        shape = weight.shape
        split = weight.unflatten(axis, (parts, n_heads, -1))
        return split.index_select(axis % len(shape) + 1, weight.new_tensor(heads).long()).reshape(shape)

    c_attn, c_proj = attention.c_attn, attention.c_proj
    c_attn.weight.data = moved(c_attn.weight.data, axis=1, parts=3)
    c_attn.bias.data = moved(c_attn.bias.data, axis=0, parts=3)
    c_proj.weight.data = moved(c_proj.weight.data, axis=0, parts=1)


def _from_hub(name: str, device: str, head_order: HeadOrder | None) -> "TransformerBridge":
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        if try_to_load_from_cache(name, "config.json") is None:
            _ask_hub_for(name)
        hf_model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="eager", dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(name)
    except HFValidationError:
        raise CourseError(f"no model is called {name!r}, here or on the hub: {INSTEAD}") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(f"{name!r} can't be loaded ({reason}): {INSTEAD}") from error
    return _bridge(name, hf_model, tokenizer, device, head_order)


def _ask_hub_for(name: str) -> None:
    """Raise CourseError at once where loading would try for half a minute: no hub, or no such model."""
    from huggingface_hub import model_info
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        model_info(name, timeout=5)
    except HFValidationError:
        raise
    except RepositoryNotFoundError:
        raise CourseError(f"no model is called {name!r}, here or on the hub: {INSTEAD}") from None
    except Exception as error:  # which class depends on the HTTP library that the hub's client uses
        raise CourseError(f"{name!r} is not embedded and the hub can't be reached: {INSTEAD}") from error


def _bridge(
    name: str, hf_model: "GPT2LMHeadModel", tokenizer: object, device: str, head_order: HeadOrder | None
) -> "TransformerBridge":
    from transformer_lens.model_bridge import TransformerBridge

    if head_order is not None:
        reorder_heads(hf_model, head_order)
    model = TransformerBridge.boot_transformers(name, hf_model=hf_model, tokenizer=tokenizer, device=device)
    model.enable_compatibility_mode(disable_warnings=True)
    return model.requires_grad_(False).eval()


@contextlib.contextmanager
def _without_traces() -> Iterator[None]:
    """Silence progress bars and warnings, keep torch's random state, start no thread.

    A progress bar's monitor and the tokenizers' pool are threads that outlive their work, and a process
    with threads can't be forked safely.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    bars, disabled = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if bars:
            transformers_logging.enable_progress_bar()


def model_card(name: str) -> str:
    """Return the card of an embedded model, in Markdown; raises CourseError when `name` is not embedded."""
    info = next((info for info in MODELS if info.name == name), None)
    if info is None:
        raise CourseError(f"{name!r} is not embedded: see `mechinterp models list`")
    return (info.path / "README.md").read_text(encoding="utf-8")
