"""A learner's folder, as `mechinterp new` makes it: chapters, and notes of what was checked and hinted."""

import json
from dataclasses import dataclass
from pathlib import Path

from mechinterp_course.errors import CourseError

VIEWS = ("chapter.py", "chapter.ipynb")
NOTES = ".mechinterp.json"


@dataclass(frozen=True)
class LearnerFolder:
    """The folder that holds `chNN_slug/chapter.{py,ipynb}`."""

    root: Path

    def file_of(self, chapter: str) -> Path:
        """Return the chapter's file that was changed last: the learner writes in one of the two."""
        files = [path for view in VIEWS if (path := self.root / chapter / view).is_file()]
        if not files:
            raise CourseError(
                f"{self.root} has no {chapter}; `mechinterp new DIR` makes a folder with all chapters"
            )
        return max(files, key=lambda path: path.stat().st_mtime)

    @property
    def chapters(self) -> list[str]:
        """Return the slugs of the chapters that lie here, in order."""
        return sorted({path.parent.name for view in VIEWS for path in self.root.glob(f"ch[0-9]*_*/{view}")})

    def notes(self) -> dict:
        """Return what earlier commands noted; empty when there is nothing readable."""
        try:
            notes = json.loads((self.root / NOTES).read_text("utf-8"))
        except (OSError, ValueError):
            notes = {}
        return {"exercises": {}, "hints": {}} | (notes if isinstance(notes, dict) else {})

    def note(self, notes: dict) -> None:
        """Keep notes for the next command."""
        (self.root / NOTES).write_text(json.dumps(notes, indent=1, sort_keys=True), "utf-8")


def find_learner_folder(start: Path) -> LearnerFolder:
    """Return the learner's folder at `start` or above it; raises `CourseError` when there is none."""
    for folder in (start, *start.parents):
        found = LearnerFolder(folder)
        if found.chapters:
            return found
    raise CourseError("no chapters in this folder: run `mechinterp new DIR` and `cd` into it")
