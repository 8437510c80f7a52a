"""Write every view of the chapters, or say which are stale."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from mechinterp_course.authoring.book import page, table_of_contents
from mechinterp_course.authoring.certificates import PAGE, certificate_page, certificates
from mechinterp_course.authoring.chapter import Chapter, chapter_slugs, load_chapter
from mechinterp_course.authoring.checks import check_module
from mechinterp_course.authoring.manifest import manifest_json
from mechinterp_course.authoring.source import refresh_command
from mechinterp_course.authoring.views import notebook_text, student_notebook, student_script
from mechinterp_course.errors import CourseError


def views(chapter: Chapter) -> dict[str, str]:
    """Return every view of a chapter: path relative to the course's root -> text."""
    return {
        f"chapters/{chapter.slug}/chapter.py": student_script(chapter),
        f"chapters/{chapter.slug}/chapter.ipynb": notebook_text(student_notebook(chapter)),
        f"autograder/checks/{chapter.slug}.py": check_module(chapter),
        f"autograder/checks/{chapter.slug}.json": manifest_json(chapter),
        f"book/{chapter.slug}.md": page(chapter),
    }


def course_views(root: Path, slugs: Sequence[str] = ()) -> dict[str, str]:
    """Return the views of some chapters (default: all), the book's table of contents and its certificates.

    Raises CourseError for a slip in a source, and when two chapters share a number.
    """
    known = chapter_slugs(root)
    for one, other in pairwise(sorted(known)):
        if one.split("_")[0] == other.split("_")[0]:
            raise CourseError(f"`{one}` and `{other}` have one number; rename a folder in solutions/")
    certified = certificates(root, known)
    made = {"book/_toc.yml": table_of_contents([*known, *(["certificate"] if certified else [])])}
    exercises = {slug: [each.name for each in load_chapter(root, slug).exercises] for slug in certified}
    made |= {PAGE: certificate_page(certified, exercises)} if certified else {}
    for slug in slugs or known:
        made |= views(load_chapter(root, slug))
    return made


def refresh(root: Path, slugs: Sequence[str] = ()) -> list[str]:
    """Write the views that differ from what the sources say now; return their paths."""
    if not (root / "autograder").is_dir():
        raise CourseError(
            "views are written in a checkout, not in an installed package; run `git clone` first"
        )
    written = stale(root, slugs)
    texts = course_views(root, slugs)
    for path in written:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(texts[path].encode())
    return written


def stale(root: Path, slugs: Sequence[str] = ()) -> list[str]:
    """Return the paths of views that are missing or no longer what their source says."""
    return [path for path, text in course_views(root, slugs).items() if _bytes(root / path) != text.encode()]


def explain_stale(paths: Sequence[str], slugs: Sequence[str]) -> str:
    """Return one line that names stale views and the command that refreshes them."""
    names = ", ".join(paths)
    return f"stale: {names}; run `{refresh_command(' '.join(slugs)).strip()}`"


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
