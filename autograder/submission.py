"""Submissions: found and read, without running or unpacking anything.

A submission is a folder laid out like `chapters/`, one `chapter.py` or `chapter.ipynb`, or a zip of either.
"""

import hashlib
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mechinterp_course.errors import CourseError

SUFFIXES = (".py", ".ipynb")
VIEWS = ("chapter.py", "chapter.ipynb")
MAX_FILE, MAX_MEMBERS = 64 << 20, 2000
RESERVED = ("grades.csv", "index.html", "log.jsonl", "run.json")  # what grading itself writes


@dataclass(frozen=True)
class Source:
    """One file of a submission: its path there and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Submission:
    """What one person handed in."""

    name: str
    sources: tuple[Source, ...]
    problem: str | None = None

    @property
    def sha256(self) -> str:
        """A hash of every file's path and bytes."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(f"{source.path}\0{len(source.data)}\0".encode() + source.data)
        return digest.hexdigest()


class Unreadable(Exception):
    """The file can't be read as a chapter at all."""


@dataclass(frozen=True)
class Place:
    """Where a submission lies. It is read when its turn comes, so that a batch of any size fits in memory."""

    name: str
    path: Path

    def read(self) -> Submission:
        """Return the submission as it is now; whatever is wrong with its files is its `problem`."""
        return _read_submission(self.name, self.path)


def find_submissions(paths: Iterable[Path]) -> list[Submission]:
    """Return the submissions at `paths`, read; raises CourseError as `locate_submissions` does."""
    return [place.read() for place in locate_submissions(paths)]


def locate_submissions(paths: Iterable[Path]) -> list[Place]:
    """Return where the submissions at `paths` lie, without reading them.

    Raises CourseError for a missing path, two submissions of one name, or a name that grading needs itself.
    """
    paths = list(paths)
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise CourseError(
            f"no such submission: {', '.join(missing)}; give a folder, a .py, an .ipynb or a .zip"
        )
    names = Counter(map(submission_name, paths))
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise CourseError(
            f"two submissions are named {', '.join(twice)}; rename one, or grade them into two folders"
        )
    taken = sorted(set(names) & set(RESERVED))
    if taken:
        raise CourseError(
            f"a submission can't be named {', '.join(taken)}, as a file of the report is; rename it"
        )
    return [Place(submission_name(path), path) for path in paths]


def submission_name(path: Path) -> str:
    """Return the folder's name; for a file its stem, or its parent's name if the stem is `chapter`."""
    path = Path(os.path.abspath(path))  # a link keeps its own name
    if path.is_dir():
        return path.name
    return path.parent.name if path.stem == "chapter" else path.stem


def _read_submission(name: str, path: Path) -> Submission:
    try:
        if path.is_dir():
            sources = _folder_sources(path)
        elif path.suffix == ".zip":
            sources = _zip_sources(path)
        else:
            sources = [Source(path.name, _read_limited(path))]
    except Exception as error:  # whatever a damaged file makes a library raise is the file's problem
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Submission(name, (), f"{path.name} can't be read: {reason}")
    problem = None if sources else f"{path.name} holds no chapter.py or chapter.ipynb"
    return Submission(name, tuple(sorted(sources, key=lambda source: source.path)), problem)


def _folder_sources(folder: Path) -> list[Source]:
    """Return the chapter files of a folder, without following links out of it."""
    root, found = folder.resolve(), []
    for path in sorted(
        [folder / view for view in VIEWS] + [path for view in VIEWS for path in folder.glob(f"*/{view}")]
    ):
        if path.is_file() and path.resolve().is_relative_to(root):
            found.append(Source(str(PurePosixPath(path.relative_to(folder))), _read_limited(path)))
    return found


def _read_limited(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unreadable("not a regular file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise Unreadable(f"larger than {MAX_FILE >> 20} MB")
    return data


def _zip_sources(path: Path) -> list[Source]:
    """Return the chapter files in a zip, read in memory: nothing is ever unpacked to a path it names."""
    found, room_left = [], 2 * MAX_FILE
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise Unreadable(f"more than {MAX_MEMBERS} members")
        wanted = [member for member in members if PurePosixPath(member.filename).suffix in SUFFIXES]
        for member in wanted:
            parts = PurePosixPath(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16) or any(
                part.startswith((".", "__MACOSX")) for part in parts.parts
            ):
                continue
            with archive.open(member) as file:
                data = file.read(min(room_left, MAX_FILE) + 1)
            room_left -= len(data)
            if room_left < 0 or len(data) > MAX_FILE:
                raise Unreadable("it unpacks to too much")
            found.append(Source(member.filename, data))
    views = [source for source in found if PurePosixPath(source.path).name in VIEWS]
    return views or found
