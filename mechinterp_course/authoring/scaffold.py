"""Begin a chapter of one's own: a small one that works, to be rewritten bit by bit."""

from pathlib import Path

from mechinterp_course.authoring.chapter import SLUG, chapter_slugs
from mechinterp_course.authoring.refresh import refresh
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

TEMPLATE = Path(__file__).with_name("new_chapter")
HANDWRITTEN = ("chapter.py", "mistakes.py", "variants.py")


def new_chapter(slug: str, root: Path | None = None) -> list[Path]:
    """Write `solutions/<slug>/` with one exercise and the proof of its checks; refresh the views.

    Returns the three handwritten files. Raises CourseError for a slug that can't name a chapter,
    whose number is taken, or when the course is not a checkout.
    """
    root = root or course_root()
    if not SLUG.fullmatch(slug):
        raise CourseError(f"`{slug}` can't name a chapter; run `mechinterp chapter new ch20_my_subject`")
    number = slug.split("_")[0]
    taken = [other for other in chapter_slugs(root) if other.split("_")[0] == number]
    if taken:
        free = next(n for n in range(20, 100) if not list(root.glob(f"solutions/ch{n}_*")))
        raise CourseError(f"`{taken[0]}` has this number; run `mechinterp chapter new ch{free}{slug[4:]}`")
    if not (root / "autograder").is_dir():
        raise CourseError(
            "a chapter is written in a checkout, not in an installed package; run `git clone` first"
        )
    folder = root / "solutions" / slug
    folder.mkdir(parents=True)
    title = slug[5:].replace("_", " ").capitalize()
    for name in HANDWRITTEN:
        text = (TEMPLATE / f"{name}.txt").read_text(encoding="utf-8").replace("A new chapter", title)
        (folder / name).write_text(text, encoding="utf-8")
    refresh(root, [slug])
    return [folder / name for name in HANDWRITTEN]
