"""A dictionary by its name or its folder: what `sae train` wrote, or whatever sae-lens did."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mechinterp_course import catalogue
from mechinterp_course.dictionaries import load_sae
from mechinterp_course.errors import CourseError
from mechinterp_course.feature_reading import activations_read, hook_of
from mechinterp_course.quiet_loading import without_traces

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge


def load_dictionary(name: str, hook: str | None = None, device: str = "cpu") -> "SAE":
    """Return the dictionary of that name (`load_sae`), or the one that a folder holds in sae-lens' format.

    Raises CourseError when there is neither, the folder holds another kind of thing, or its dictionary reads
    another hook.
    """
    folder = Path(name)
    if catalogue.find(name) is not None or not folder.is_dir():
        return load_sae(name, hook, device)
    sae = _from_folder(folder, device)
    read = hook_of(sae)
    if hook not in (None, read):
        raise CourseError(f"the dictionary in {folder} reads {read}, not {hook}")
    return sae.requires_grad_(False).eval()


def beside(name: str, device: str = "cpu") -> dict[str, "SAE"]:
    """Return the rivals that lie in a dictionary's folder, by name: trained alike with a frozen decoder."""
    entry = catalogue.find(name)
    folder = entry.path if isinstance(entry, catalogue.EmbeddedModel) else Path(name)
    rival = folder / "frozen-decoder"
    if not rival.is_dir():
        return {}
    return {"frozen random decoder, trained": load_dictionary(str(rival), device=device)}


def model_of(sae: "SAE") -> str:
    """Return the name by which `load_language_model` knows the model that a dictionary was made for."""
    name = getattr(sae.cfg.metadata, "model_name", None) or "course-gpt2"
    return {"gpt2-small": "gpt2"}.get(name, name)  # TransformerLens' name, and the hub's


def expect_fits(model: "TransformerBridge", sae: "SAE") -> None:
    """Raise CourseError unless the model has the place that the dictionary reads, as wide as it was there."""
    hook = hook_of(sae)
    width = activations_read(model, torch.zeros(1, 1, dtype=torch.long), hook).shape[-1]
    if width != sae.cfg.d_in:
        raise CourseError(
            f"the dictionary reads {sae.cfg.d_in} numbers at {hook}, where this model has {width}: "
            f"it was made for {model_of(sae)}"
        )


def _from_folder(folder: Path, device: str) -> "SAE":
    from safetensors import SafetensorError

    if not (folder / "cfg.json").is_file() or not (folder / "sae_weights.safetensors").is_file():
        raise CourseError(f"{folder} holds no dictionary: cfg.json and sae_weights.safetensors are missing")
    from sae_lens import SAE

    try:
        with without_traces():
            return SAE.load_from_disk(folder, device=device, dtype="float32")
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CourseError(f"the dictionary in {folder} can't be read: {reason}") from error
