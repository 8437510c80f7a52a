"""One check of a graded submission run again, on the same draws, to settle an appeal."""

import json
from dataclasses import dataclass
from pathlib import Path

from autograder import log
from autograder.crew import Terms, seed_of_round, warm_zygote
from autograder.examiner import Examiner
from autograder.manifest import Exercise, Manifest, load_manifest
from autograder.readings import readings_by_chapter
from autograder.results import entry, versions
from autograder.sandbox import probe
from autograder.submission import Submission, locate_submissions
from mechinterp_course.errors import CourseError

JUDGED = ("verdict", "diagnosis", "expected", "actual", "where")


@dataclass(frozen=True)
class Replay:
    """What a check said when it was graded and says now, each as `extra_data` of its entry in results.json.

    `differences` names what else is not as it was when it was graded, such as the version of torch.
    """

    name: str
    recorded: dict
    again: dict
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether verdict and diagnosis are the recorded ones."""
        return all(self.recorded[key] == self.again[key] for key in JUDGED)


def replay(
    folder: Path, name: str, check: str, submission: Path | None = None, allow_weak_isolation: bool = False
) -> Replay:
    """Run a check of submission `name` in a graded folder again, with the seed of its round.

    `check` is its name in results.json, or the end of it if that is enough to tell it. `submission` is the
    file that was graded, if it lies elsewhere now. Raises CourseError when the results were edited, the
    submission or the checks are no longer those that were graded, or nothing is called that.
    """
    result = _sealed_result(folder, name)
    test = _test(result, check)
    extra, recorded = result["extra_data"], test["extra_data"]
    tier = probe()
    if not tier.strong and not allow_weak_isolation:
        raise CourseError(
            f"isolation here is only {tier.name}; add --allow-weak-isolation if you trust {name}"
        )
    manifest, exercise = _same_checks(extra, recorded)
    graded = _same_submission(folder, name, extra["submission_sha256"], submission)
    seed = seed_of_round(_seed(folder), extra.get("round", 0))
    terms = Terms(seed, manifest.chapter, extra["device"], tier)
    with warm_zygote(terms) as (zygote, slowness):
        examiner = Examiner(zygote, seed, extra["device"], slowness)
        try:
            reading = readings_by_chapter(graded, manifest.chapter)[manifest.chapter]
            found = examiner.examine(manifest, reading, only=exercise.name)
        finally:
            examiner.close()
    again = next(entry(manifest, each) for each in found if each.check.name == recorded["check"])
    return Replay(test["name"], recorded, again["extra_data"], _differences(extra, tier.name))


def _sealed_result(folder: Path, name: str) -> dict:
    path = folder / name / "results.json"
    if not path.is_file():
        known = sorted(each.parent.name for each in folder.glob("*/results.json"))
        raise CourseError(f"nothing named {name} was graded into {folder}; there is {_some(known)}")
    if not _is_sealed(folder, path):
        raise CourseError(
            f"{path} is not as it was graded; `mechinterp verify {folder}` says what was edited"
        )
    return json.loads(path.read_text(encoding="utf8"))


def _is_sealed(folder: Path, path: Path) -> bool:
    return log.sealed_hashes(folder).get(path.relative_to(folder).as_posix()) == log.file_sha256(path)


def _test(result: dict, check: str) -> dict:
    found = [test for test in result["tests"] if f".{test['name']}".endswith(f".{check}")]
    if len(found) != 1:
        names = [test["name"] for test in (found or result["tests"])]
        many = "more than one check is" if found else "no check is"
        raise CourseError(f"{many} called {check}; there is {_some(names)}")
    return found[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"


def _same_checks(extra: dict, recorded: dict) -> tuple[Manifest, Exercise]:
    manifest = load_manifest(recorded["chapter"])
    if manifest.sha256 != extra["manifest_sha256"].get(manifest.chapter):
        raise CourseError(
            f"the checks of {manifest.chapter} have changed since; replay with the version that graded"
        )
    return manifest, manifest.exercise(recorded["exercise"])


def _same_submission(folder: Path, name: str, sha256: str, given: Path | None) -> Submission:
    """Return the submission that was graded, from where it lay or from where it lies now."""
    path = given or Path(log.graded_path(folder, name) or "")
    if not path.name or not path.exists():
        where = f"at {path} " if path.name else ""
        raise CourseError(f"{name} is no longer {where}to be found; say with --submission where it is")
    [place] = locate_submissions([path])
    graded = place.read()
    if graded.sha256 != sha256:
        raise CourseError(f"{path} has changed since it was graded; give the one of then with --submission")
    return graded


def _seed(folder: Path) -> int:
    path = folder / "run.json"
    if not path.is_file() or not _is_sealed(folder, path):
        raise CourseError(f"{path} is not as grading left it, and the draws follow from it")
    return int(json.loads(path.read_text())["seed"])


def _differences(extra: dict, tier: str) -> tuple[str, ...]:
    now = versions() | {"isolation": tier}
    then = extra["versions"] | {"isolation": extra["isolation"]}
    return tuple(
        f"{name} was {then.get(name)}, is {now[name]}" for name in now if then.get(name) != now[name]
    )
