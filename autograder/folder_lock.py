"""Folders that belong to one process: a batch's, whose second grader is told so, and temporary ones."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autograder.scratch import remove_tree
from mechinterp_course.errors import CourseError

try:
    import fcntl
except ImportError:  # Windows: no locks, so nothing is taken for left behind
    fcntl = None

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if need be) for one grader inside `with`; the lock goes when the process does.

    Raises CourseError (status 2) when another grader holds it, OSError when the folder can't be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if not _take(handle):
            raise CourseError(
                f"another `mechinterp grade` is writing to {folder}: wait for it, or choose another --out"
            )
        yield
    finally:
        os.close(handle)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder that goes in the end; those that killed processes left behind go first."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/{LOCK_FILE}"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    handle = os.open(folder / f"{LOCK_FILE}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _take(handle)
    os.rename(folder / f"{LOCK_FILE}.new", folder / LOCK_FILE)  # from now on it says that we are alive
    try:
        yield folder
    finally:
        remove_tree(folder)
        os.close(handle)


def _remove_if_left(lock: Path) -> None:
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(handle).st_uid == os.getuid() and _take(handle):
                remove_tree(lock.parent)
        finally:
            os.close(handle)


def _take(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
