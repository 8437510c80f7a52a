"""Check a learner's files as they write: the grader stays warm, so that an answer takes a moment."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from autograder.cells import Reading, read_source
from autograder.manifest import Exercise, load_manifest
from autograder.room import Zygote, machine_slowness
from autograder.sandbox import probe
from autograder.submission import Source, Unreadable
from mechinterp_course.cli.findings import exercise_facts, print_findings
from mechinterp_course.cli.learner_folder import LearnerFolder
from mechinterp_course.cli.terminal import busy, show_json
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from autograder.examiner import Finding

Scope = list[tuple[str, str | None]]


def pause_between_looks() -> None:
    """Wait a moment that a person does not notice."""
    time.sleep(0.2)


class CheckingSession:
    """A warm grader for one learner. Use it as a context manager.

    `scope` lists chapters, each with the one exercise to check or None for all. Inputs are drawn once per
    session: while a learner mends an answer, the numbers in its explanation stay comparable.
    """

    def __init__(self, folder: LearnerFolder, scope: Scope):
        self.folder, self.scope = folder, scope
        self._seed = secrets.randbits(63)
        self._texts: dict[tuple[str, str], str] = {}

    def __enter__(self) -> "CheckingSession":
        self._zygote = Zygote(probe()).__enter__()  # it imports torch while this process does the same
        from autograder.examiner import Examiner

        self._examiner = Examiner(self._zygote, self._seed, slowness=machine_slowness(), hurried=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._examiner.close()
        self._zygote.__exit__(*exception)

    def check_once(self, as_json: bool = False) -> int:
        """Check everything in scope and print what was found; 0 if all is right, 1 if not, 3 if we erred."""
        verdicts, facts = set(), []
        for chapter, name in self.scope:
            path, reading = self._read(chapter)
            for exercise in _in_scope(chapter, name):
                findings = self._examine(chapter, exercise, reading)
                verdicts |= {finding.outcome.verdict for finding in findings}
                facts.append(exercise_facts(chapter, exercise, findings))
                if not as_json:
                    print_findings(exercise, findings, path)
        if as_json:
            show_json(facts)
        return 3 if "grader_error" in verdicts else int(bool(verdicts - {"passed"}))

    def watch(self, pause: Callable[[], None] = pause_between_looks) -> NoReturn:
        """Check what is in scope, then whatever changes, until Ctrl-C; `pause` comes between two looks."""
        seen: dict[tuple[str, str | None], tuple[Path, int]] = {}
        while True:
            for chapter, name in self.scope:
                path = self.folder.file_of(chapter)
                state = (path, path.stat().st_mtime_ns)
                if seen.get((chapter, name)) != state:
                    seen[chapter, name] = state
                    self._check_changes(chapter, name)
            pause()

    def _check_changes(self, chapter: str, name: str | None) -> None:
        started = time.perf_counter()
        try:
            path, reading = self._read(chapter)
        except CourseError as error:  # half-saved, or no notebook at the moment
            print(error)
            return
        changed = [
            exercise for exercise in _in_scope(chapter, name) if self._is_new(chapter, exercise, reading)
        ]
        for exercise in changed:
            print_findings(exercise, self._examine(chapter, exercise, reading), path)
        if changed:
            print(
                f"— {time.perf_counter() - started:.1f} s; waiting for changes, Ctrl-C ends —\n", flush=True
            )

    def _is_new(self, chapter: str, exercise: Exercise, reading: Reading) -> bool:
        """Whether the code behind an exercise changed since the last call; remembers it."""
        others = {e.name for e in load_manifest(chapter).exercises} - {exercise.name, *exercise.needs}
        behind = (
            cell.source.strip() for cell in reading.cells if not cell.mentions or cell.mentions - others
        )
        text = "\0".join(behind)
        before, self._texts[chapter, exercise.name] = self._texts.get((chapter, exercise.name)), text
        return text != before

    def _read(self, chapter: str) -> tuple[Path, Reading]:
        path = self.folder.file_of(chapter)
        try:
            return path, read_source(Source(path.name, path.read_bytes()))
        except (Unreadable, OSError) as error:
            raise CourseError(f"{path} can't be read: {error}") from error

    def _examine(self, chapter: str, exercise: Exercise, reading: Reading) -> list["Finding"]:
        """Return the findings on one exercise, and note them for `mechinterp progress`."""
        with busy(f"checking {exercise.name}"):
            findings = self._examiner.examine(load_manifest(chapter), reading, only=exercise.name)
        notes, facts = self.folder.notes(), exercise_facts(chapter, exercise, findings)
        notes["exercises"][f"{chapter}.{exercise.name}"] = {key: facts[key] for key in ("state", "score")}
        self.folder.note(notes)
        return findings


def _in_scope(chapter: str, name: str | None) -> tuple[Exercise, ...]:
    manifest = load_manifest(chapter)
    return (manifest.exercise(name),) if name else manifest.exercises
