"""A tiny chapter for all tests of faults, and the table of what each fault did."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults import tiny_chapter

ROWS = "fault"


@pytest.fixture(scope="package", autouse=True)
def tiny(tmp_path_factory) -> Iterator[None]:
    """The tiny chapter, known to the grader."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_chapter.install(tmp_path_factory.mktemp("checks"), patch)
        yield


@pytest.fixture(scope="package")
def handed_in(tmp_path_factory) -> list[Path]:
    """Six submissions of mixed quality."""
    return tiny_chapter.class_of(6, tmp_path_factory.mktemp("handed_in"))


@pytest.fixture(scope="package")
def undisturbed(tmp_path_factory, handed_in) -> dict[str, bytes]:
    """What grading the six gives when nothing goes wrong, apart from times."""
    from faults.disturbances import SEED, grade, kept_results

    out = tmp_path_factory.mktemp("undisturbed")
    assert grade(handed_in, out, seed=SEED).status == 0
    return kept_results(out)


@pytest.fixture
def unreadable(tmp_path) -> list[Path]:
    """Three submissions that need no worker."""
    paths = [tmp_path / f"{name}.ipynb" for name in ("ada", "ben", "cleo")]
    for path in paths:
        path.write_text("{")
    return paths


@pytest.fixture
def tell(record_property) -> Callable[[str, str, str], None]:
    """Add a row to the fault table: the fault, what happened, what a re-run did."""
    return lambda *row: record_property(ROWS, row)


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the fault table below the results."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    rows = [
        value
        for report in reports
        for key, value in getattr(report, "user_properties", ())
        if key == ROWS and report.when == "call"
    ]
    if rows:
        terminalreporter.section("faults")
        for fault, happened, rerun in rows:
            terminalreporter.write_line(f"{fault} | {happened} | {rerun}".replace(os.linesep, " "))
