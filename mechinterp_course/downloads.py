"""Download one file so that it is whole or not there: resumed where it broke off, kept if its hash is right.

While a download is under way its bytes lie in `<file>.part`; that is what the next attempt goes on from.
"""

import errno
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mechinterp_course.errors import CourseError

MIRROR = "MECHINTERP_MIRROR"
CHUNK = 1 << 20
SECONDS = 20  # without a byte
CONNECTION_LOST = (http.client.HTTPException, ConnectionError, TimeoutError)
Show = Callable[[int], None]


@dataclass(frozen=True)
class Checksum:
    """The hash a file must have: "sha256", "md5" or "git" (a blob's id); `digits` may be the first few."""

    kind: str
    digits: str

    def fits(self, path: Path) -> bool:
        """Return whether the file is there and has this hash."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return self._digest(file, path.stat().st_size).startswith(self.digits)

    def _digest(self, file, size: int) -> str:
        kind = "sha1" if self.kind == "git" else self.kind
        digest = hashlib.new(kind, usedforsecurity=False)
        if self.kind == "git":
            digest.update(b"blob %d\0" % size)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


@dataclass(frozen=True)
class Purpose:
    """What a download is for: the command that repeats it, and what to use instead when nothing helps."""

    command: str
    instead: str


def download(
    url: str, to: Path, checksum: Checksum, purpose: Purpose, headers: Mapping[str, str] | None = None
) -> Path:
    """Return `to` after making sure that it is there with the right hash.

    What is there already is verified and downloaded anew if it is damaged. An interrupted download is gone
    on with from its `.part`; on a terminal a bar shows the bytes.

    Raises CourseError, one line each, when the host can't be reached or lacks the file, the connection
    breaks, the disk is full, or the hash is wrong (then nothing is kept).
    """
    if checksum.fits(to):
        return to
    to.unlink(missing_ok=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    file = Path(urlsplit(url).path).name
    with _in_one_line(file, urlsplit(url).hostname or url, purpose):
        _receive(url, part, dict(headers or {}), file, purpose)
    if not checksum.fits(part):
        part.unlink()
        raise CourseError(
            f"{file} was removed because its {checksum.kind} hash is wrong; `{purpose.command}` tries again"
        )
    os.replace(part, to)
    return to


def mirrored(url: str) -> str:
    """Return where to look for a file: on the host that MECHINTERP_MIRROR names, if it is set.

    A classroom without a network serves copies under the same paths; hashes are checked all the same.
    """
    mirror = os.environ.get(MIRROR)
    return mirror.rstrip("/") + urlsplit(url).path if mirror else url


def _receive(url: str, part: Path, headers: dict[str, str], file: str, purpose: Purpose) -> None:
    """Append to `part` what is missing of the file behind `url`."""
    done = part.stat().st_size if part.exists() else 0
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing is missing: the hash will tell whether it is the file
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as stored:
        total = stored.tell() + int(response.headers.get("Content-Length") or 0)
        _expect_space(part.parent, total - stored.tell(), file)
        with _bar(file, total, stored.tell()) as show, suppress(*CONNECTION_LOST):
            while chunk := response.read(CHUNK):
                stored.write(chunk)
                show(stored.tell())
        if stored.tell() < total:
            raise CourseError(
                f"{file} broke off at {stored.tell() / 1e6:.1f} of {total / 1e6:.1f} MB; "
                f"`{purpose.command}` goes on from there"
            )


def _expect_space(folder: Path, missing: int, file: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise CourseError(
            f"{file} needs {missing / 1e6:.0f} MB and {folder} has {free / 1e6:.0f} MB free: make room, or "
            "move the caches with HF_HOME and TORCH_HOME"
        )


@contextmanager
def _in_one_line(file: str, host: str, purpose: Purpose) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        said = "has no such file" if error.code in (404, 410) else f"answers {error.code} {error.reason}"
        raise CourseError(f"{file} can't be fetched, {host} {said}: {purpose.instead}") from error
    except (urllib.error.URLError, *CONNECTION_LOST) as error:
        raise CourseError(
            f"{file} is not here and {host} can't be reached; with a network, `{purpose.command}`; "
            f"without, {purpose.instead}"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise CourseError(f"no space is left for {file}: make room, then `{purpose.command}`") from error


@contextmanager
def _bar(file: str, total: int, done: int) -> Iterator[Show]:
    """Yield a function that shows how many bytes are here; without a terminal it does nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(file, total=total or None, completed=done)
        yield lambda here: progress.update(task, completed=here)
