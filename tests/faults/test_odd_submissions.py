"""Submissions that are too large, broken or foreign: the others are graded; so are they, where possible."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import tiny_chapter
from faults.disturbances import SEED, grade, kept_results

ANSWER = tiny_chapter.script()
FULL = sum(sum(points.values()) for points in tiny_chapter.POINTS.values())


def notebook(
    *sources: str, metadata: dict | None = None, outputs: list | None = None, ids: str = "c{}"
) -> dict:
    """Return a notebook of code cells, with the answer's cells last."""
    cells = [
        {"cell_type": "code", "id": ids.format(index), "source": source, "outputs": []}
        for index, source in enumerate((*sources, *ANSWER.split("# %%\n")[1:]))
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata or {}, "cells": cells}


def dumped(value: dict) -> bytes:
    return json.dumps(value).encode()


def large() -> bytes:
    """A notebook of 50 MB, as pictures make it."""
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * (50 << 20)}}
    whole = notebook()
    whole["cells"][0]["outputs"] = [picture]
    return dumped(whole)


R_KERNEL = {
    "kernelspec": {"name": "ir", "language": "R", "display_name": "R"},
    "language_info": {"name": "R"},
}
SPACES = "\n".join(f"# %%\nx{index} = {index}" for index in range(10_000))

# what is odd: file name, its bytes, the points it gets, what is said where it is 0
ODD: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "50 MB of pictures": ("big.ipynb", large, FULL, ""),
    "50 MB of code": ("code.py", lambda: b"x = 1\n" * 9_000_000, 0, "more than 3 MB of code"),
    "10,000 cells in a notebook": ("many.ipynb", lambda: dumped(notebook(*["x = 1"] * 10_000)), FULL, ""),
    "10,000 cells in a script": ("many.py", lambda: f"{SPACES}\n{ANSWER}".encode(), FULL, ""),
    "a duplicate cell id": ("twice.ipynb", lambda: dumped(notebook("x = 1", ids="same")), FULL, ""),
    "no metadata": ("bare.ipynb", lambda: dumped({"cells": notebook()["cells"]}), FULL, ""),
    "a foreign kernel": ("foreign.ipynb", lambda: dumped(notebook(metadata=R_KERNEL)), FULL, ""),
    "UTF-16": ("wide.py", lambda: ANSWER.encode("utf-16"), FULL, ""),
    "UTF-16 in a notebook": ("wide.ipynb", lambda: json.dumps(notebook()).encode("utf-16"), FULL, ""),
    "a byte order mark": ("mark.py", lambda: ANSWER.encode("utf-8-sig"), FULL, ""),
    "CRLF": ("windows.py", lambda: ANSWER.replace("\n", "\r\n").encode(), FULL, ""),
    "Latin-1": ("latin.py", lambda: f"# caf\xe9\n{ANSWER}".encode("latin-1"), 0, "not UTF-8 text"),
    "truncated JSON": ("torn.ipynb", lambda: dumped(notebook())[:-40], 0, "is not a notebook"),
    "JSON nested too deep": ("deep.ipynb", lambda: b"[" * 200_000, 0, "is not a notebook"),
    "JSON of too many parts": ("parts.ipynb", lambda: b"[" + b"{}," * 11_000_000, 0, "parts"),
    "an empty file": ("empty.py", lambda: b"", 0, "no chapter's exercises are in it"),
    "an empty notebook": ("empty.ipynb", lambda: b"", 0, "is not a notebook"),
    "null bytes": ("null.py", lambda: b"\0" * 1000, 0, "null bytes"),
}


def put_directory(folder: Path) -> Path:
    (folder / "directory" / "chapter.py").mkdir(parents=True)
    return folder / "directory"


def put_climbing_zip(folder: Path) -> Path:
    path = folder / "climbing.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../climbed.py", "x = 1\n")
        archive.writestr(f"work/{tiny_chapter.CHAPTER}/chapter.py", ANSWER)
    return path


def put_long_name(folder: Path) -> Path:
    path = folder / ("n" * 240 + ".py")
    path.write_text(ANSWER)
    return path


PLACES = {
    "a directory named chapter.py": (put_directory, 0, "holds no chapter.py"),
    "a zip with .. in its names": (put_climbing_zip, FULL, ""),
    "a name of 240 letters": (put_long_name, FULL, ""),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> dict[str, Path]:
    """Every odd submission, in a folder of its own."""
    root = tmp_path_factory.mktemp("odd")
    paths = {}
    for number, what in enumerate((*ODD, *PLACES)):
        folder = root / str(number)
        folder.mkdir()
        if what in ODD:
            paths[what] = folder / f"{number}_{ODD[what][0]}"
            paths[what].write_bytes(ODD[what][1]())
        else:
            paths[what] = PLACES[what][0](folder)
    return paths


@pytest.fixture(scope="module")
def graded(odd, handed_in, tmp_path_factory) -> tuple:
    """All of them and the six, in one batch."""
    out = tmp_path_factory.mktemp("graded_odd")
    return grade([*odd.values(), *handed_in], out, seed=SEED), out


@pytest.mark.parametrize("what", [*ODD, *PLACES])
def test_an_odd_submission_gets_what_can_be_read_of_it(what, graded, odd, tell):
    *_, points, said = ODD.get(what) or PLACES[what]
    batch, _ = graded
    name = odd[what].stem if odd[what].is_file() else odd[what].name
    result = batch.results[name]
    assert result["extra_data"]["complete"] and result["score"] == points
    assert said in result["output"] and "\n" not in result["output"]
    tell(what, f"{points} of {FULL} points" + (f": {result['output'][:90]}" if said else ""), "–")


def test_the_others_are_graded_as_without_the_odd_ones(graded, undisturbed, handed_in):
    batch, out = graded
    assert batch.status == 0
    kept = kept_results(out)
    assert {name: kept[name] for name in undisturbed if name.endswith(".json")} == {
        name: text for name, text in undisturbed.items() if name.endswith(".json")
    }
    assert not list(out.parent.rglob("climbed.py"))


def test_nothing_odd_is_graded_again(graded, odd, handed_in):
    _, out = graded
    paths = [*odd.values(), *handed_in]
    kinds = []
    grade(paths, out, seed=SEED, on_progress=lambda event: kinds.append(event.kind))
    assert kinds == ["resumed"] * len(paths)


@pytest.mark.parametrize("name", ["grades.csv", "index.html", "log.jsonl", "run.json"])
def test_a_submission_can_not_take_the_place_of_a_file_of_the_report(name, tmp_path):
    from autograder.submission import locate_submissions
    from mechinterp_course.errors import CourseError

    (tmp_path / f"{name}.py").write_text(ANSWER)
    with pytest.raises(CourseError, match=name):
        locate_submissions([tmp_path / f"{name}.py"])
