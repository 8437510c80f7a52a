"""Sparse autoencoders as sae-lens loads them: the embedded one and a public release."""

from pathlib import Path
from typing import TYPE_CHECKING

from mechinterp_course import catalogue, hub
from mechinterp_course.catalogue import ModelSpec, PublicModel
from mechinterp_course.downloads import Purpose
from mechinterp_course.errors import CourseError
from mechinterp_course.quiet_loading import without_traces

if TYPE_CHECKING:
    from sae_lens import SAE


def load_sae(name: str = "course-sae", hook: str | None = None, device: str = "cpu") -> "SAE":
    """Return a sparse autoencoder as a sae-lens SAE: fp32, in eval mode, its weights frozen.

    "course-sae" is embedded and has one hook; "gpt2-small-res-jb" is a release with a dictionary for each
    of its hooks, downloaded if it is not in the cache. `sae.cfg.metadata.hook_name` says which activation of
    the model the dictionary reads: [..., d_in], encoded to [..., d_sae]. `sae.course_spec` says how to load
    the same one again.

    Raises CourseError when the name or hook is none, or the hub can't be reached.
    """
    entry = catalogue.expect_kind(name, "dictionary")
    if entry is None:
        raise CourseError(f"no dictionary is called {name!r}: {catalogue.instead('dictionary')}")
    if isinstance(entry, PublicModel):
        _expect_hook(hook or "", entry.hooks, name)
        folder = hub.dictionary_folder(entry.repo_id, hook) or fetch_sae(name, hook)
        sae = _released(name, hook, folder, device)
    else:
        sae = _embedded(entry.path, device)
    _expect_hook(hook, (sae.cfg.metadata.hook_name,), name)
    sae.course_spec = ModelSpec(name, hook=hook)
    return sae.requires_grad_(False).eval()


def fetch_sae(name: str, hook: str | None) -> Path:
    """Return the folder of a public dictionary after downloading what is missing and verifying all of it.

    Raises CourseError when the hook is none of the release's or it can't be had; see `hub.fetch`.
    """
    entry = catalogue.expect_kind(name, "dictionary")
    _expect_hook(hook or "", entry.hooks, name)
    purpose = Purpose(f"mechinterp models fetch {name} --hook {hook}", catalogue.instead("dictionary"))
    here = hub.dictionary_folder(entry.repo_id, hook)
    return hub.fetch(entry.repo_id, hub.dictionary_files(hook), purpose, here)


def _embedded(path: Path, device: str) -> "SAE":
    if not (path / "sae_weights.safetensors").is_file():
        raise CourseError(f"no weights in {path}: make them with `mechinterp models train {path.name}`")
    from sae_lens import SAE

    with without_traces():
        return SAE.load_from_disk(path, device=device, dtype="float32")


def _released(name: str, hook: str, folder: Path, device: str) -> "SAE":
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader

    def from_cache(repo_id, folder_name, device, force_download, cfg_overrides):
        """Read the release's files where they lie: sae-lens would ask the hub for each of them again."""
        return (*sae_lens_disk_loader(folder, device, cfg_overrides), None)

    with without_traces():
        return SAE.from_pretrained(name, hook, device=device, converter=from_cache)


def _expect_hook(hook: str | None, hooks: tuple[str, ...], name: str) -> None:
    if hook is not None and hook not in hooks:
        called = f"{hook!r} is not" if hook else "say which hook is meant,"
        raise CourseError(f"{name!r}: {called} one of {', '.join(hooks)}")
