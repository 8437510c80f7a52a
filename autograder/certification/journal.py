"""What is measured already: one line a unit, so that a run which was stopped goes on where it stood."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mechinterp_course.errors import CourseError


@dataclass
class Journal:
    """The units of one exercise's certificate that are done, each under the hash of what it depends on."""

    path: Path

    def __post_init__(self) -> None:
        self._done: dict[tuple[str, str], object] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise CourseError(f"can't write to {self.path.parent}: {reason}; choose another --out") from error
        for line in lines:
            self._remember(line)

    def measured(self, unit: str, key: str, measure: Callable[[], object]) -> object:
        """Return what `measure()` gave for this unit and key, now or in an earlier run: plain JSON."""
        if (unit, key) not in self._done:
            facts = measure()
            line = json.dumps({"unit": unit, "key": key, "facts": facts})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            self._remember(line)
        return self._done[unit, key]

    def _remember(self, line: str) -> None:
        """Take over one line; half a line, from a run that was killed, is nothing."""
        try:
            entry = json.loads(line)
            self._done[entry["unit"], entry["key"]] = entry["facts"]
        except (ValueError, KeyError, TypeError):
            return
