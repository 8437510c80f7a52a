"""Which chapters a submission answers, and with what cells."""

from pathlib import PurePosixPath

from autograder.cells import Reading, read_source
from autograder.manifest import chapters, load_manifest
from autograder.submission import Source, Submission, Unreadable

NO_CHAPTER = "no chapter's exercises are in it; name the chapter with --chapter"


def readings_by_chapter(submission: Submission, chapter: str | None) -> dict[str, Reading]:
    """Return the submission's chapters with what was read of each; raises Unreadable when there is none."""
    if submission.problem:
        raise Unreadable(submission.problem)
    found: dict[str, Reading] = {}
    problems = []
    for source in submission.sources:
        try:
            reading = _read(source)
        except Unreadable as problem:
            problems.append(str(problem))
            continue
        own = _chapter_of(source, reading)
        slug = own if chapter in (None, own) else None if own else chapter
        if slug and (slug not in found or _more_written(slug, reading, found[slug])):
            found[slug] = reading
    if not found:
        raise Unreadable("; ".join(problems) or NO_CHAPTER)
    return dict(sorted(found.items()))


def _read(source: Source) -> Reading:
    try:
        return read_source(source)
    except Unreadable:
        raise
    except Exception as error:  # the net under the reader: one odd file must not stop a batch
        raise Unreadable(f"{source.path} can't be read ({type(error).__name__})") from error


def _chapter_of(source: Source, reading: Reading) -> str | None:
    """Return the chapter from the view's metadata, else from the folder's name, else from the exercises."""
    known = chapters()
    for name in (reading.chapter, *PurePosixPath(source.path).parts):
        if name in known:
            return name
    overlap = {slug: sum(e.name in reading.names for e in load_manifest(slug).exercises) for slug in known}
    best = max(overlap, key=overlap.__getitem__, default=None)
    return best if best and overlap[best] else None


def _more_written(slug: str, reading: Reading, other: Reading) -> bool:
    """Whether `reading` has more of the chapter's exercises, when a folder holds both views of it."""
    exercises = {exercise.name for exercise in load_manifest(slug).exercises}
    mine, others = (
        {name for cell in one.cells for name in cell.mentions - cell.stubs} & exercises
        for one in (reading, other)
    )
    return len(mine) > len(others)


def answer_cells(submission: Submission, chapter: str | None) -> dict[tuple[str, str], str]:
    """Return the cell in which each exercise stands, by chapter and name; nothing of an unreadable one."""
    try:
        readings = readings_by_chapter(submission, chapter)
    except Unreadable:
        return {}
    return {
        (slug, name): cell.source
        for slug, reading in readings.items()
        for cell in reading.cells
        for name in cell.mentions
    }
