"""A worker's private folder and threads: what it may hold of them, and removal whatever was put there.

Resource limits count each file, not all of them, and a user's threads, not a process's; so the grader looks
for itself, a few times a second while it waits for a worker.
"""

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

MIB = 1 << 20
MOST_BYTES, MOST_FILES, MOST_THREADS = 64 * MIB, 1000, 128
MOST_RESIDENT = 8192 * MIB  # matters beside an accelerator, where no limit on addresses can be set
SECONDS_BETWEEN_LOOKS = 0.25


class TooMuch(Exception):
    """A worker holds more than it may: `kind` is "memory" or "output", the message says of what."""

    def __init__(self, message: str, kind: str = "output"):
        super().__init__(message)
        self.kind = kind


@dataclass
class Watch:
    """Call it often: every quarter of a second it looks at the process and its folder, and raises TooMuch."""

    pid: int
    folder: Path
    looked: float = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self.looked >= SECONDS_BETWEEN_LOOKS:
            self.looked = now
            self.look()

    def look(self) -> None:
        """Raise TooMuch if the process has too many threads or too much memory, or its folder too much."""
        if _threads(self.pid) > MOST_THREADS:
            raise TooMuch(f"it started more than {MOST_THREADS} threads")
        if _resident(self.pid) > MOST_RESIDENT:
            raise TooMuch(f"it held more than {MOST_RESIDENT // MIB} MB of memory", "memory")
        files, size = _contents(self.folder)
        if files > MOST_FILES:
            raise TooMuch(f"it made more than {MOST_FILES} files")
        if size > MOST_BYTES:
            raise TooMuch(f"it wrote more than {MOST_BYTES // MIB} MB to disk")


def remove_tree(folder: Path) -> None:
    """Remove a folder however deeply folders are nested in it; what can't be removed is left.

    Each folder found inside is first moved beside the outermost one, so that no path grows long.
    """
    pending, names = [folder], (folder.with_name(f"{folder.name}-{number}") for number in count())
    emptied = []
    while pending:
        current = pending.pop()
        emptied.append(current)
        with contextlib.suppress(OSError):
            current.chmod(0o700)
            for entry in list(os.scandir(current)):
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        os.rename(entry.path, moved := next(names))
                        pending.append(moved)
                    else:
                        os.unlink(entry.path)
    for each in emptied:
        with contextlib.suppress(OSError):
            each.rmdir()


def _threads(pid: int) -> int:
    """Return how many threads a process has, 0 where the system doesn't say."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process holds, 0 where the system doesn't say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _contents(folder: Path) -> tuple[int, int]:
    """Return how many files and folders lie in a folder, at any depth, and their bytes on disk."""
    pending, files, size = [str(folder)], 0, 0
    while pending and files <= MOST_FILES:
        try:
            for entry in os.scandir(pending.pop()):
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                if files > MOST_FILES:
                    break
        except OSError as error:  # gone meanwhile, or nested deeper than a path can say
            files += MOST_FILES * (error.errno == errno.ENAMETOOLONG)
    return files, size
