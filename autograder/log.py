"""The tamper-evident log of a batch: `log.jsonl`, one hash-chained entry per line.

Each entry names what happened and the SHA-256 of the files that were written by then; its own hash covers
the hash before it. So nobody can edit, reorder or drop an entry, or change a listed file, without `verify`
noticing. Two things a chain cannot see by itself: that its tail was cut off, and that all of it was
written anew. Both show when the head (the last hash, printed by `grade`) was kept somewhere else.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mechinterp_course.errors import CourseError

LOG_NAME = "log.jsonl"
GENESIS = "0" * 64
CHUNK = 1 << 16  # bytes read at once from the end of a log
FIELDS = {"sequence", "previous", "event", "payload", "files", "hash"}


def append(folder: Path, event: str, payload: dict | None = None, files: Iterable[Path] = ()) -> str:
    """Add one entry to the batch's log and return the new head, 64 hexadecimal digits.

    `files` lie in `folder`; their hashes are sealed by the entry, and a later entry may seal them anew.
    A log that exists is continued: a last line that a crash left half-written is dropped first.
    Raises `CourseError` when the last entry is damaged.
    """
    path = folder / LOG_NAME
    last, end = _last_entry(path)
    entry = {
        "sequence": last["sequence"] + 1 if last else 0,
        "previous": last["hash"] if last else GENESIS,
        "event": event,
        "payload": payload or {},
        "files": {file.relative_to(folder).as_posix(): file_sha256(file) for file in files},
    }
    entry["hash"] = _entry_hash(entry)
    with path.open("ab") as stream:
        stream.truncate(end)
        stream.write(canonical(entry) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return entry["hash"]


def read_head(folder: Path) -> str:
    """Return the hash of the log's last entry, or 64 zeros when nothing was logged yet."""
    last, _ = _last_entry(folder / LOG_NAME)
    return last["hash"] if last else GENESIS


def verify(folder: Path, head: str | None = None) -> list[str]:
    """Return what was edited in a batch's folder since it was graded, one sentence each; empty if nothing.

    Checks the chain of `log.jsonl`, every file it seals, and that no result stands beside the log.
    With `head`, also that the chain ends there: without it a cut tail or a rewritten log goes unseen.
    """
    path = folder / LOG_NAME
    if not path.is_file():
        return [f"{LOG_NAME} is missing: nothing in this folder can be verified"]
    try:
        entries = list(_chain(path.read_bytes()))
    except _BrokenChain as broken:
        return [str(broken)]
    return [*_head_problems(entries, head), *_file_problems(folder, entries)]


def canonical(value: object) -> bytes:
    """Return the only JSON text that stands for a value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _BrokenChain(Exception):
    """The first thing that is wrong with a chain; what follows it can't be judged."""


def _entry_hash(entry: dict) -> str:
    return hashlib.sha256(canonical({key: entry[key] for key in FIELDS - {"hash"}})).hexdigest()


def _parse(line: bytes) -> dict:
    """Return the entry on a line; raise `ValueError` unless it is, byte for byte, what `append` wrote."""
    entry = json.loads(line)
    if not isinstance(entry, dict) or entry.keys() != FIELDS or canonical(entry) != line:
        raise ValueError("not an entry")
    if not isinstance(entry["payload"], dict) or not isinstance(entry["files"], dict):
        raise ValueError("not an entry")
    if entry["hash"] != _entry_hash(entry):
        raise ValueError("its hash does not match")
    return entry


def _chain(text: bytes) -> Iterator[dict]:
    *lines, rest = text.split(b"\n")
    previous = GENESIS
    for number, line in enumerate(lines, start=1):
        try:
            entry = _parse(line)
        except (ValueError, TypeError, RecursionError):
            raise _BrokenChain(f"{LOG_NAME} line {number} was edited") from None
        if entry["sequence"] != number - 1 or entry["previous"] != previous:
            raise _BrokenChain(f"{LOG_NAME} line {number} does not follow the line before it")
        previous = entry["hash"]
        yield entry
    if rest or not lines:
        raise _BrokenChain(f"{LOG_NAME} breaks off in line {len(lines) + 1}")


def _head_problems(entries: list[dict], head: str | None) -> list[str]:
    if head is None or entries[-1]["hash"] == head:
        return []
    known = [entry["sequence"] for entry in entries if entry["hash"] == head]
    if known:
        later = len(entries) - 1 - known[0]
        return [f"{LOG_NAME} goes on for {later} more after this head: if a run was resumed, use its head"]
    return [f"{LOG_NAME} does not contain this head: its tail was cut or the whole log was rewritten"]


def graded_path(folder: Path, name: str) -> str | None:
    """Return where a submission lay when it was graded last, None when the log does not say."""
    entries = reversed(list(_chain(_whole_lines(folder / LOG_NAME))))
    found = (entry["payload"] for entry in entries if entry["payload"].get("name") == name)
    return next(found, {}).get("path")


def finished_rounds(folder: Path) -> int:
    """Return how often a batch in this folder was graded to its end, 0 unless the chain is sound."""
    try:
        text = _whole_lines(folder / LOG_NAME)
        return sum(entry["payload"].get("finished") is True for entry in _chain(text))
    except (OSError, _BrokenChain):
        return 0


def sealed_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 that the log last sealed for each file; empty unless the chain is sound.

    Of a log whose last line a crash left half-written, the whole lines count.
    """
    try:
        return _sealed(_chain(_whole_lines(folder / LOG_NAME)))
    except (OSError, _BrokenChain):
        return {}


def _sealed(entries: Iterable[dict]) -> dict[str, str]:
    """Return the last sealed hash of every file that the log names."""
    return {name: sha256 for entry in entries for name, sha256 in entry["files"].items()}


def _file_problems(folder: Path, entries: list[dict]) -> Iterator[str]:
    sealed = _sealed(entries)
    for name, sha256 in sorted(sealed.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif file_sha256(path) != sha256:
            yield f"{name} was edited after grading"
    for path in sorted(folder.glob("*/results.json")):
        name = path.relative_to(folder).as_posix()
        if name not in sealed:
            yield f"{name} was not written by this batch"


def _whole_lines(path: Path) -> bytes:
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1]


def _last_entry(path: Path) -> tuple[dict | None, int]:
    """Return the entry on the last whole line, None if there is none, and the offset where that line ends."""
    line, end = _last_line(path)
    if not end:
        return None, 0
    try:
        return _parse(line), end
    except (ValueError, TypeError, RecursionError):
        raise CourseError(f"{path} was edited and can't be resumed: grade into a new --out folder") from None


def _last_line(path: Path) -> tuple[bytes, int]:
    """Return the last line that ends in a line break, without it, and the offset behind that.

    The file is read from its end, so that a long log costs no more than a short one.
    """
    tail = b""
    with path.open("rb") if path.is_file() else io.BytesIO() as stream:
        start = size = stream.seek(0, os.SEEK_END)
        while start and tail.count(b"\n") < 2:
            end, start = start, max(0, start - CHUNK)
            stream.seek(start)
            tail = stream.read(end - start) + tail
    *lines, rest = tail.split(b"\n")
    return (lines[-1], size - len(rest)) if lines else (b"", 0)
