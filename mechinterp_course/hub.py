"""Repositories of the Hugging Face hub, fetched file by file into the hub's own cache, resumed and verified.

The hub's client starts a broken download from the beginning and checks only its size. So the bytes come
through `downloads`, into the place where the client keeps them; then the client takes over, and everything
that reads its cache (transformers, sae-lens) finds them. A file's etag there is its hash. `HF_ENDPOINT` names
another hub, `HF_HOME` another place for the cache.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mechinterp_course.downloads import Checksum, Purpose, download
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

Choose = Callable[[Sequence[str]], list[str]]
SECONDS = 5  # loading would try for half a minute
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


class Unreachable(CourseError):
    """The hub didn't answer."""


def language_model_folder(repo_id: str) -> Path | None:
    """Return the folder of a language model that is wholly in the cache, else None; no network is touched."""
    config = _cached(repo_id, "config.json")
    if config is None:
        return None
    files = [path.name for path in config.parent.iterdir() if path.exists()]
    whole = _has_all_weights(config.parent, files) and any(name in files for name in TOKENIZERS)
    return config.parent if whole else None


def language_model_files(files: Sequence[str]) -> list[str]:
    """Return the files of a repository that loading needs: config and tokenizer first, safetensors last.

    Weights in other formats are left out: they would have to be unpickled.
    """
    top = [file for file in files if "/" not in file]
    small = [file for file in top if file.endswith((".json", ".txt", "tokenizer.model"))]
    return small + [file for file in top if file.startswith("model") and file.endswith(".safetensors")]


def dictionary_folder(repo_id: str, hook: str) -> Path | None:
    """Return the folder of one of a release's dictionaries if it is in the cache, else None."""
    weights = _cached(repo_id, f"{hook}/sae_weights.safetensors")
    return weights.parent if weights and _cached(repo_id, f"{hook}/cfg.json") else None


def dictionary_files(hook: str) -> Choose:
    """Return a function that picks the files of the dictionary at `hook` from a release's."""
    return lambda files: [file for file in files if file.startswith(f"{hook}/")]


def fetch(repo_id: str, choose: Choose, purpose: Purpose, here: Path | None) -> Path:
    """Return the folder that the chosen files lie in after making sure that they are there and verified.

    `here` is the folder if all of them are in the cache: without a network, it is verified and returned.

    Raises CourseError, one line each, when there is no such repository, the hub can't be reached, the
    repository lacks what is needed, or a download fails (see `downloads.download`).
    """
    from huggingface_hub import model_info

    try:
        with _in_one_line(repo_id, purpose):
            listing = model_info(repo_id, timeout=SECONDS)
    except Unreachable:
        if here is not None and all(map(_is_undamaged, here.iterdir())):
            return here
        raise
    chosen = choose([sibling.rfilename for sibling in listing.siblings or []])
    if not any(file.endswith(".safetensors") for file in chosen):
        raise CourseError(f"{repo_id!r} has no weights as safetensors on the hub: {purpose.instead}")
    return [_fetch_file(repo_id, file, listing.sha, purpose) for file in chosen][-1].parent


def _fetch_file(repo_id: str, file: str, commit: str, purpose: Purpose) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    with _in_one_line(repo_id, purpose, file):
        metadata = get_hf_file_metadata(hf_hub_url(repo_id, file, revision=commit), timeout=SECONDS)
    if not metadata.etag:
        raise CourseError(f"the hub doesn't say which hash {file} of {repo_id!r} has: {purpose.instead}")
    checksum, cached = _checksum(metadata.etag), _cached(repo_id, file, commit)
    if cached is None or not checksum.fits(cached):
        if cached is not None:
            cached.unlink()
        download(metadata.location, _blob(repo_id, metadata), checksum, purpose, _headers(metadata.location))
    with _in_one_line(repo_id, purpose, file):
        return Path(hf_hub_download(repo_id, file))


def _is_undamaged(path: Path) -> bool:
    """Return whether a cached file has the hash that its stored copy is named by, where it is named so."""
    etag = path.resolve().name
    return path.is_dir() or len(etag) not in (40, 64) or _checksum(etag).fits(path)


def _checksum(etag: str) -> Checksum:
    """Return what the hub says of a file: large files go by their SHA-256, small ones by their git id."""
    return Checksum("sha256" if len(etag) == 64 else "git", etag)


def _blob(repo_id: str, metadata: "HfFileMetadata") -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repo_id, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / folder / "blobs" / metadata.etag


def _headers(location: str) -> dict[str, str]:
    """Return the client's headers; its token stays with the hub and isn't sent to where files are stored."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    return build_hf_headers(token=None if location.startswith(constants.ENDPOINT + "/") else False)


def _cached(repo_id: str, file: str, commit: str | None = None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo_id, file, revision=commit)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _has_all_weights(folder: Path, files: Sequence[str]) -> bool:
    if "model.safetensors.index.json" in files:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return set(index["weight_map"].values()) <= set(files)
    return "model.safetensors" in files


@contextmanager
def _in_one_line(repo_id: str, purpose: Purpose, file: str | None = None) -> Iterator[None]:
    """Turn whatever the hub's client raises into a CourseError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise CourseError(
            f"{repo_id!r} asks for consent: accept on the hub, `hf auth login`, then `{purpose.command}`"
        ) from error
    except (errors.HFValidationError, errors.RepositoryNotFoundError):
        raise CourseError(f"no model is called {repo_id!r}, here or on the hub: {purpose.instead}") from None
    except errors.RemoteEntryNotFoundError as error:
        raise CourseError(f"the hub has no {file} of {repo_id!r}: {purpose.instead}") from error
    except Exception as error:  # which class depends on the HTTP library that the hub's client uses
        raise Unreachable(
            f"{repo_id!r} is not here, whole, and the hub can't be reached; with a network, "
            f"`{purpose.command}`; without, {purpose.instead}"
        ) from error
