"""Which chapters a submission answers, and with what cells."""

from pathlib import PurePosixPath

from autograder.cells import Reading, read_source
from autograder.manifest import chapters, load_manifest
from autograder.submission import Source, Submission, Unreadable


def readings_by_chapter(submission: Submission, chapter: str | None) -> dict[str, Reading]:
    """Return the submission's chapters with what was read of each; raises Unreadable when there is none."""
    if submission.problem:
        raise Unreadable(submission.problem)
    found: dict[str, Reading] = {}
    for source in submission.sources:
        reading = read_source(source)
        slug = chapter or _chapter_of(source, reading)
        if slug and (slug not in found or _more_written(reading, found[slug])):
            found[slug] = reading
    if not found:
        raise Unreadable("no chapter's exercises are in it; name the chapter with --chapter")
    return dict(sorted(found.items()))


def _chapter_of(source: Source, reading: Reading) -> str | None:
    """Return the chapter from the view's metadata, else from the folder's name, else from the exercises."""
    known = chapters()
    for name in (reading.chapter, *PurePosixPath(source.path).parts):
        if name in known:
            return name
    overlap = {slug: sum(e.name in reading.names for e in load_manifest(slug).exercises) for slug in known}
    best = max(overlap, key=overlap.__getitem__, default=None)
    return best if best and overlap[best] else None


def _more_written(reading: Reading, other: Reading) -> bool:
    """Whether more of `reading` is written than of `other`, when a folder holds both views of a chapter."""
    written = [
        frozenset().union(*(cell.mentions - cell.stubs for cell in one.cells)) for one in (reading, other)
    ]
    return len(written[0]) > len(written[1])


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
