"""A chapter's structure: which exercise each cell belongs to, and what is asked and claimed there."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mechinterp_course.authoring.cell_ids import cell_id, digest, first_repeated
from mechinterp_course.authoring.exercises import Check, Exercise, read_check, read_exercise
from mechinterp_course.authoring.questions import Prediction, Rubric, read_prediction, read_rubric
from mechinterp_course.authoring.source import Cell, read_cells, refuse, source_label
from mechinterp_course.errors import CourseError

SLUG = re.compile(r"ch\d\d_[a-z0-9_]+")
AFTER = re.compile(rf'# %% \[markdown\].*\bafter="({SLUG.pattern})"')


@dataclass(frozen=True)
class Chapter:
    """One chapter as its author wrote it. `version` is the start of the source's SHA-256."""

    slug: str
    title: str
    version: str
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]
    predictions: tuple[Prediction, ...]
    rubrics: tuple[Rubric, ...]

    @property
    def source(self) -> str:
        """The path of the chapter's source relative to the course's root."""
        return source_label(self.slug)

    def exercise(self, name: str) -> Exercise:
        """Return the exercise of that name."""
        return next(e for e in self.exercises if e.name == name)

    def check(self, cell: Cell) -> Check:
        """Return the check that stands in a check cell."""
        return next(c for e in self.exercises for c in e.checks if c.id == cell.id)

    def hint_number(self, cell: Cell) -> int:
        """Return which of its exercise's hints a hint is, counted from 1."""
        return self.exercise(cell.exercise).hints.index(cell) + 1

    def predicted_by(self, demo: Cell) -> Prediction | None:
        """Return the prediction that a demo cell settles, or None."""
        return next((p for p in self.predictions if p.demo == demo.id), None)

    def discussion(self, text: Cell) -> tuple[str, str]:
        """Split text directly below a predicted result into what discusses it and the rest.

        The discussion ends at the first heading; it is empty for text that stands elsewhere.
        """
        place = self.cells.index(text)
        if place == 0 or self.predicted_by(self.cells[place - 1]) is None:
            return "", text.text
        heading = re.search(r"^#+ ", text.text, flags=re.MULTILINE)
        end = heading.start() if heading else len(text.text)
        return text.text[:end].strip(), text.text[end:]


def chapter_slugs(root: Path) -> list[str]:
    """Return the slugs of the chapters in `root/solutions`, in the order in which they are read.

    That is the order of their numbers, but a chapter whose first line says `after="ch04_path_patching"`
    directly follows that one, where it is there.
    """
    follows = {}
    for path in sorted(root.glob("solutions/*/chapter.py")):
        with path.open(encoding="utf-8") as source:
            after = AFTER.match(source.readline())
        follows[path.parent.name] = after[1] if after else None
    order = [slug for slug, after in follows.items() if after not in follows]
    left = [slug for slug in follows if slug not in order]
    while ready := [slug for slug in left if follows[slug] in order]:
        order.insert(order.index(follows[ready[0]]) + 1, ready[0])
        left.remove(ready[0])
    return order + left


def load_chapter(root: Path, slug: str) -> Chapter:
    """Read `root/solutions/<slug>/chapter.py`; raise CourseError when there is none or it has a slip."""
    path = root / source_label(slug)
    if not path.is_file():
        known = ", ".join(chapter_slugs(root)) or "none yet"
        raise CourseError(
            f"no chapter `{slug}` (chapters: {known}); run `mechinterp chapter new {slug}` to write one"
        )
    return read_chapter(slug, path.read_text(encoding="utf-8"))


def read_chapter(slug: str, text: str) -> Chapter:
    """Return the chapter that `text` spells out; raise CourseError at its first structural slip."""
    if not SLUG.fullmatch(slug):
        raise CourseError(
            f"`{slug}` can't name a chapter; run `mechinterp chapter new ch20_my_subject` "
            "(ch, two digits, small letters)"
        )
    text = text.replace("\r\n", "\n")
    cells = _identify(slug, _assign(slug, read_cells(slug, text)))
    for cell in cells[1:]:
        if "after" in cell.options:
            refuse(slug, cell.line, "only a chapter's first cell says which chapter it comes `after`")
    exercises = _exercises(slug, cells)
    return Chapter(
        slug=slug,
        title=_title(slug, cells),
        version=digest(text, 12),
        cells=cells,
        exercises=exercises,
        predictions=_predictions(slug, cells),
        rubrics=tuple(read_rubric(slug, c) for c in cells if c.role == "rubric"),
    )


def _title(slug: str, cells: tuple[Cell, ...]) -> str:
    first = cells[0] if cells else Cell("text", "", 1)
    if first.role != "text" or not first.text.startswith("# "):
        refuse(slug, first.line, "a chapter begins with a markdown cell whose first line is `# Its title`")
    return first.text.split("\n")[0].removeprefix("# ").strip()


def _assign(slug: str, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Give hints, solutions and checks the exercise whose statement stands last above them."""
    current = ""
    assigned = []
    for cell in cells:
        if cell.role == "statement":
            current = str(cell.options["exercise"])
        elif cell.role in ("hint", "solution", "check") and not current:
            refuse(slug, cell.line, f"a {cell.role} cell before the first statement")
        belongs = cell.role in ("statement", "hint", "solution", "check")
        assigned.append(replace(cell, exercise=current) if belongs else cell)
    return tuple(assigned)


def _identify(slug: str, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    hints: dict[str, int] = {}
    identified = []
    for cell in cells:
        if cell.role == "hint":
            hints[cell.exercise] = hints.get(cell.exercise, 0) + 1
        parts = _id_parts(slug, cell, hints.get(cell.exercise, 0))
        identified.append(replace(cell, id=cell_id(slug, *parts)))
        if first_repeated(c.id for c in identified):
            refuse(slug, cell.line, f"another cell has the id `{identified[-1].id}` (names must be unique)")
    return tuple(identified)


def _id_parts(slug: str, cell: Cell, hint: int) -> tuple[str, ...]:
    if cell.role == "hint":
        return cell.exercise, f"hint{hint}"
    if cell.role == "check":
        name = read_check(slug, cell).name
        return cell.exercise, *(("hidden", digest(name, 8)) if cell.hidden else ("check", name))
    if cell.exercise:
        return cell.exercise, cell.role
    return cell.role, str(cell.options.get("name", digest(cell.text, 10)))


def _exercises(slug: str, cells: tuple[Cell, ...]) -> tuple[Exercise, ...]:
    exercises: list[Exercise] = []
    for cell in cells:
        if cell.role == "statement":
            exercises.append(read_exercise(slug, cell, cells, known=[e.name for e in exercises]))
    if not exercises:
        refuse(slug, 1, 'a chapter has at least one exercise: a markdown cell with `exercise="name"`')
    return tuple(exercises)


def _predictions(slug: str, cells: tuple[Cell, ...]) -> tuple[Prediction, ...]:
    followers = (*cells[1:], None)
    return tuple(
        read_prediction(slug, cell, follower)
        for cell, follower in zip(cells, followers, strict=True)
        if cell.role == "predict"
    )
