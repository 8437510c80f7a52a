"""How fast a class is graded: by us, by `nbgrader autograde`, by a process per submission, and bare.

All of it runs on this machine in one go, torch included everywhere. Processor time is shown beside the time
on the wall: it does not depend on what else the machine is doing.

    MECHINTERP_STUDENTS=100 MECHINTERP_NBGRADER=5 MECHINTERP_SYNTHETIC=1000,10000 \
        python -m pytest -m benchmark -n 0 -s tests/benchmarks/test_grading_speed.py
"""

import contextlib
import csv
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from faults import tiny_chapter
from faults.disturbances import grade, in_a_child
from mixed_class import write_class

from autograder.cells import read_source
from autograder.manifest import load_manifest
from autograder.submission import Source
from mechinterp_course.checking.draw import Draw, check_seed
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import evaluate

pytestmark = pytest.mark.benchmark
CHAPTER = "ch03_induction_heads"
STUDENTS = int(os.environ.get("MECHINTERP_STUDENTS", "100"))
BY_NBGRADER = int(os.environ.get("MECHINTERP_NBGRADER", "5"))  # the rest by linear extrapolation
COLD = int(os.environ.get("MECHINTERP_COLD", "3"))
SYNTHETIC = [int(n) for n in os.environ.get("MECHINTERP_SYNTHETIC", "1000,2000,5000,10000").split(",")]
WRITTEN = int(os.environ.get("MECHINTERP_WRITTEN", "50"))  # one in so many is written, and needs workers
SEED = 5
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Cost:
    """Seconds for some submissions: on the wall, and of processors, children included."""

    submissions: int
    wall: float
    cpu: float

    def each(self) -> "Cost":
        """Seconds for one."""
        return Cost(1, self.wall / self.submissions, self.cpu / self.submissions)

    def __str__(self) -> str:
        each = self.each()
        return f"{each.wall:7.2f} s on the wall, {each.cpu:6.2f} s of processors each, of {self.submissions}"


def command(*arguments: str, folder: Path | None = None) -> float:
    """Run Python with these arguments; return the processor time that it and its children used."""
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": scripts}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=settings, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cost(submissions: int, *arguments: str, folder: Path | None = None) -> Cost:
    """Measure a command that handles some submissions."""
    started = time.perf_counter()
    cpu = command(*arguments, folder=folder)
    return Cost(submissions, time.perf_counter() - started, cpu)


def our_command(paths: list[Path], out: Path, jobs: int) -> list[str]:
    """Return the arguments that grade notebooks named after their folders."""
    options = ["--out", str(out), "--seed", str(SEED), "--jobs", str(jobs), "--device", "cpu"]
    return ["-c", "from mechinterp_course.cli import main; main()", "grade", *map(str, paths), *options]


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course folder of nbgrader's with a class's notebooks handed in."""
    pytest.importorskip("nbgrader", reason="needs the extra `classroom`")
    from autograder.classroom.nbgrader import write_course

    folder = tmp_path_factory.mktemp("course")
    write_course(folder, [CHAPTER])
    source = nbformat.read(folder / "source" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    write_class(source, STUDENTS, folder / "class")
    command("-m", "nbgrader", "generate_assignment", CHAPTER, "--quiet", folder=folder)
    return folder


@pytest.fixture(scope="module")
def class_folders(course) -> list[Path]:
    """Every student's folder, laid out like `chapters/`."""
    for path in sorted((course / "class").glob("*/*.ipynb")):
        home = path.parent / CHAPTER
        home.mkdir()
        path.rename(home / "chapter.ipynb")
    return sorted((course / "class").iterdir())


def bare_seconds(folder: Path) -> float:
    """Return the processor time of a submission's checks alone: its code and they in one warm process."""
    manifest = load_manifest(CHAPTER)
    reading = read_source(Source("chapter.ipynb", (folder / CHAPTER / "chapter.ipynb").read_bytes()))
    names: dict = {"__name__": "submission"}
    for source in (*manifest.given, *(cell.source for cell in reading.cells if cell.fault is None)):
        with contextlib.suppress(Exception):  # as in a worker, a cell that raises costs what it defines
            exec(compile(source, "<cell>", "exec"), names)
    started = time.process_time()
    for exercise in manifest.exercises:
        for check in exercise.checks:
            seed = check_seed(SEED, f"{CHAPTER}.{exercise.name}.{check.name}")
            evaluate(manifest.check_function(check), LocalStudent(names), Draw(seed))
    return time.process_time() - started


def hand_in(course: Path, folders: list[Path]) -> None:
    """Put notebooks where nbgrader collects them."""
    for folder in folders:
        target = course / "submitted" / folder.name / CHAPTER
        target.mkdir(parents=True)
        shutil.copy(folder / CHAPTER / "chapter.ipynb", target / f"{CHAPTER}.ipynb")


def test_a_class_of_the_induction_chapter(course, class_folders, tmp_path):
    """Ours against nbgrader, a cold process each, and the bare checks."""
    out, every = tmp_path / "ours", STUDENTS // BY_NBGRADER
    some = class_folders[::every][:BY_NBGRADER]
    ours = cost(STUDENTS, *our_command(class_folders, out, CORES))
    hand_in(course, some)
    theirs = cost(len(some), "-m", "nbgrader", "autograde", CHAPTER, "--quiet", folder=course)
    cold = [cost(1, *our_command([folder], tmp_path / f"cold_{folder.name}", 1)) for folder in some[:COLD]]
    cold = Cost(len(cold), sum(each.wall for each in cold), sum(each.cpu for each in cold))
    bare_seconds(some[0])  # the first run imports
    bare = sum(map(bare_seconds, some)) / len(some)
    scores = [float(row["score"]) for row in csv.DictReader((out / "grades.csv").open())]

    print(
        f"\n{STUDENTS} submissions of {CHAPTER}, scores {min(scores):g} to {max(scores):g}, {CORES} core(s)"
    )
    print(f"ours      {ours}")
    print(f"nbgrader  {theirs}; {STUDENTS} would take {theirs.each().wall * STUDENTS:.0f} s")
    print(f"cold      {cold}; {STUDENTS} would take {cold.each().wall * STUDENTS:.0f} s")
    print(f"bare      {bare:.2f} s of a processor each, of {len(some)}")
    for name, other in (("nbgrader", theirs), ("a cold process each", cold)):
        wall, cpu = (getattr(other.each(), kind) / getattr(ours.each(), kind) for kind in ("wall", "cpu"))
        print(f"against {name}: {wall:.1f} times the throughput, {cpu:.1f} times less of processors")
    assert len(scores) == STUDENTS
    assert ours.each().cpu <= 1.5 * bare + 0.1 * 2 * len(load_manifest(CHAPTER).exercises)


def graded_in_a_child(number: int, folder: Path, jobs: int) -> tuple[float, float, int, int]:
    """Grade tiny submissions; return wall and processor seconds, and both sides' peak memory in MB."""
    paths = tiny_chapter.class_of(number, folder, WRITTEN)
    facts = folder.parent / f"{number}.txt"

    def grading() -> None:
        started, cpu = time.perf_counter(), sum(os.times()[:4])
        assert grade(paths, folder.parent / f"out_{number}", seed=SEED, jobs=jobs).status == 0
        peaks = [
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        measured = time.perf_counter() - started, sum(os.times()[:4]) - cpu, *peaks
        facts.write_text(" ".join(map(str, measured)))

    assert in_a_child(grading) == 0
    wall, cpu, own, children = map(float, facts.read_text().split())
    return wall, cpu, int(own) >> 10, int(children) >> 10


def test_a_batch_of_any_size_takes_bounded_memory_and_linear_time(tmp_path, monkeypatch):
    """Tiny submissions, no two alike, most not written yet: what a batch costs by its size alone."""
    (tmp_path / "checks").mkdir()
    tiny_chapter.install(tmp_path / "checks", monkeypatch)
    rows = []
    for number in SYNTHETIC:
        folder = tmp_path / str(number) / "handed_in"
        folder.mkdir(parents=True)
        rows.append((number, *graded_in_a_child(number, folder, CORES)))
        number, wall, cpu, own, children = rows[-1]
        each = f"{1000 * cpu / number:.1f} ms of processors each"
        print(f"\n{number:6} submissions: {wall:.1f} s, {each}, grader {own} MB, largest child {children} MB")
    (first, *_, least, _), (last, *_, most, _) = rows[0], rows[-1]
    assert most - least < 64 + (last - first) / 50  # MB: names, hashes and the index page are kept
    assert rows[-1][2] / last < 1.3 * rows[0][2] / first
