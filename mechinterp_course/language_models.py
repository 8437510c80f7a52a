"""Language models as TransformerBridges: embedded ones, their checkpoints and variants, and the hub's."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mechinterp_course import catalogue, hub
from mechinterp_course.catalogue import HeadOrder, ModelSpec
from mechinterp_course.downloads import Checksum, Purpose
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import embedded_data
from mechinterp_course.quiet_loading import without_traces

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import GPT2LMHeadModel, PreTrainedModel

TIED = {"lm_head.weight"}  # the embedding's weight, said twice


def load_language_model(
    name: str = "course-gpt2",
    device: str = "cpu",
    head_order: Sequence[Sequence[int]] | None = None,
    step: int | None = None,
) -> "TransformerBridge":
    """Return a model as a TransformerBridge in compatibility mode: fp32, in eval mode, its weights frozen.

    `name` is embedded (no network is touched), public in `mechinterp models list`, or any causal language
    model of the hub that has safetensors; what is not in the cache yet is downloaded. `step` is one of
    `checkpoints(name)`. `head_order` gives each layer's heads in a new order: head h of layer l is head
    `head_order[l][h]` of the stored model; the function stays the same, only the labels change.
    `model.course_spec` says how to load the same model again. Loading prints nothing and leaves no thread.

    Raises CourseError when the name, the step or the head order is none, or the hub can't be reached.
    """
    order = None if head_order is None else tuple(tuple(heads) for heads in head_order)
    entry = catalogue.expect_kind(name, "language")
    if isinstance(entry, catalogue.EmbeddedModel):
        model = load_folder(entry.path, device, order, step)
    elif step is not None:
        raise CourseError(f"{name!r} has no checkpoints here: `course-gpt2` has some")
    else:
        model = _from_hub(name, device, order)
    model.course_spec = ModelSpec(name, order, step)
    return model


def load_folder(
    path: Path, device: str = "cpu", head_order: HeadOrder | None = None, step: int | None = None
) -> "TransformerBridge":
    """Return the model that `path` holds (config, safetensors, tokenizer), as `load_language_model` does.

    A config `{"base": name, "base_sha256": digits}` makes it a variant of an embedded model:
    `delta.safetensors` holds what is added to the weights of the base, whose file has that hash.

    Raises CourseError when the folder holds no trained model, or a delta of other weights.
    """
    from transformers import AutoTokenizer, GPT2Config

    home = _home(path)
    weights = _weights(path, home, step)
    config = GPT2Config.from_json_file(home / "config.json")
    with without_traces():
        hf_model = gpt2_from_weights(config, weights)
        return bridge_from(str(path), hf_model, AutoTokenizer.from_pretrained(home), device, head_order)


def checkpoints(name: str = "course-gpt2") -> tuple[int, ...]:
    """Return the training steps at which an embedded model was kept, for `load_language_model(step=...)`.

    Raises CourseError when `name` is not embedded.
    """
    return _steps(catalogue.embedded(name).path)


def fetch_language_model(name: str) -> Path:
    """Return the folder of a public model after downloading what is missing and verifying all of it.

    Raises CourseError when it can't be had; see `hub.fetch`.
    """
    repo_id, purpose = _source(name)
    return hub.fetch(repo_id, hub.language_model_files, purpose, hub.language_model_folder(repo_id))


def gpt2_from_weights(config: object, weights: Mapping[str, "Tensor"]) -> "GPT2LMHeadModel":
    """Return a GPT-2 of that configuration with these weights, its attention patterns open to hooks.

    Raises CourseError when the weights are those of another configuration.
    """
    from transformers import GPT2LMHeadModel

    config._attn_implementation = "eager"  # the only one that lets hooks see attention patterns
    hf_model = GPT2LMHeadModel(config)
    left = hf_model.load_state_dict(dict(weights), strict=False)
    wrong = (set(left.missing_keys) - TIED) | set(left.unexpected_keys)
    if wrong:
        raise CourseError(f"these weights are not of this configuration: {min(wrong)} is missing or too much")
    hf_model.tie_weights()
    return hf_model


def bridge_from(
    name: str,
    hf_model: "PreTrainedModel",
    tokenizer: object,
    device: str = "cpu",
    head_order: HeadOrder | None = None,
    processed: bool = True,
) -> "TransformerBridge":
    """Return a transformers model as a TransformerBridge in compatibility mode, frozen and in eval mode.

    Processing keeps the function and makes weights easier to read: layer norms and value biases are folded
    into the matrices that follow, what is written to the residual stream is centred. Without it (`processed`
    False) hooks read the activations that the stored weights give.
    """
    from transformer_lens.model_bridge import TransformerBridge

    if head_order is not None:
        reorder_heads(hf_model, head_order)
    model = TransformerBridge.boot_transformers(name, hf_model=hf_model, tokenizer=tokenizer, device=device)
    model.enable_compatibility_mode(disable_warnings=True, no_processing=not processed)
    return model.requires_grad_(False).eval()


def reorder_heads(hf_model: "GPT2LMHeadModel", head_order: HeadOrder) -> None:
    """Reorder the heads of a GPT-2 in place: columns of c_attn and rows of c_proj move together.

    Raises CourseError unless `head_order` is one permutation of the heads for each layer of a GPT-2.
    """
    if hf_model.config.model_type != "gpt2":
        raise CourseError("head_order is for models of the GPT-2 architecture, such as `course-gpt2`")
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
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    repo_id, purpose = _source(name)
    folder = hub.language_model_folder(repo_id) or fetch_language_model(name)
    try:
        with without_traces():
            hf_model = AutoModelForCausalLM.from_pretrained(
                folder, attn_implementation="eager", dtype="float32", local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            return bridge_from(repo_id, hf_model, tokenizer, device, head_order)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(
            f"{name!r} can't be loaded ({reason}); `{purpose.command}` verifies it, or {purpose.instead}"
        ) from error


def _source(name: str) -> tuple[str, Purpose]:
    entry = catalogue.expect_kind(name, "language")
    repo_id = name if entry is None else entry.repo_id
    return repo_id, Purpose(f"mechinterp models fetch {name}", catalogue.instead("language"))


def _config(path: Path) -> dict:
    if not (path / "config.json").is_file():
        raise CourseError(f"no weights in {path}: make them with `mechinterp models train {path.name}`")
    return json.loads((path / "config.json").read_text(encoding="utf-8"))


def _home(path: Path) -> Path:
    """Return the folder of the base if `path` holds a variant, else `path`.

    Raises CourseError when the base was made anew since, so that the delta is of other weights.
    """
    config = _config(path)
    if "base" not in config:
        return path
    base = embedded_data(config["base"])
    if "base_sha256" in config and not Checksum("sha256", config["base_sha256"]).fits(_file(base, "model")):
        raise CourseError(
            f"{path.name} is a delta of other weights than those of {base.name} now: "
            f"`mechinterp models train {path.name}` makes it anew"
        )
    return base


def _file(path: Path, stem: str) -> Path:
    """Return a safetensors file of a model's folder; raises CourseError when it isn't there."""
    file = path / f"{stem}.safetensors"
    if not file.is_file():
        raise CourseError(f"no weights in {path}: make them with `mechinterp models train {path.name}`")
    return file


def _weights(path: Path, home: Path, step: int | None) -> dict[str, "Tensor"]:
    from mechinterp_course.compression import load_weights

    if step is not None:
        return load_weights(_checkpoint(path, step))
    weights = load_weights(_file(home, "model"))
    return weights if home == path else add_delta(weights, load_weights(_file(path, "delta")))


def add_delta(weights: Mapping[str, "Tensor"], delta: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return weights with a delta added to each that has one: `name.A @ name.B`, or the whole matrix `name`.

    Raises CourseError when the delta names a weight that isn't there.
    """
    changed = dict(weights)
    for key, value in delta.items():
        name = key.removesuffix(".A").removesuffix(".B")
        if name not in weights:
            raise CourseError(f"the delta changes {name}, which its base doesn't have")
        if not key.endswith(".B"):
            changed[name] = changed[name] + (value @ delta[f"{name}.B"] if key.endswith(".A") else value)
    return changed


def _checkpoint(path: Path, step: int) -> Path:
    if step not in _steps(path):
        kept = ", ".join(map(str, _steps(path))) or "none"
        raise CourseError(f"{path.name} was not kept at step {step}; `checkpoints` says where it was: {kept}")
    return path / "ladder" / f"step-{step:05d}.safetensors"


def _steps(path: Path) -> tuple[int, ...]:
    files = (path / "ladder").glob("step-*.safetensors")
    return tuple(sorted(int(re.sub(r"\D", "", file.stem)) for file in files))
