"""A new chapter begins as a small one that works: its views are fresh and its checks are proven."""

import importlib.util
from pathlib import Path

import pytest

from mechinterp_course.authoring.chapter import load_chapter
from mechinterp_course.authoring.refresh import stale
from mechinterp_course.authoring.scaffold import new_chapter
from mechinterp_course.checking import Draw
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import recognise
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.errors import CourseError

SLUG = "ch31_own_work"
EXERCISE = "duplicate_token_score"
MISTAKES = ("next_token", "counts_bos", "query_and_key_swapped")
VARIANTS = ("loops", "indexing", "mask")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    (root / "autograder").mkdir()
    new_chapter(SLUG, root)
    return root


def loaded(path: Path) -> dict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def outcomes(course: Path, function) -> list[str]:
    """Return the verdict of each check of the scaffold's exercise on one function."""
    checks = loaded(course / "autograder" / "checks" / f"{SLUG}.py")
    names = [check.function for check in load_chapter(course, SLUG).exercises[0].checks]
    student = LocalStudent({EXERCISE: function})
    return [evaluate(checks[name], student, Draw(7)).verdict for name in names]


def test_a_new_chapter_is_fresh_and_has_its_title(course):
    assert stale(course) == []
    assert load_chapter(course, SLUG).title == "Own work"


def test_its_solution_earns_full_marks(course):
    solved = loaded(course / "solutions" / SLUG / "chapter.py")
    assert outcomes(course, solved[EXERCISE]) == ["passed", "passed"]


def test_its_stub_earns_nothing_and_is_not_run(course):
    stub = loaded(course / "chapters" / SLUG / "chapter.py")
    assert outcomes(course, stub[EXERCISE]) == ["not_run", "not_run"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_written_differently_earn_full_marks(course, variant):
    variants = loaded(course / "solutions" / SLUG / "variants.py")
    assert outcomes(course, variants[f"{EXERCISE}__{variant}"]) == ["passed", "passed"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_rejected_and_named(course, mistake):
    mistakes = loaded(course / "solutions" / SLUG / "mistakes.py")
    wrong = mistakes[f"{EXERCISE}__{mistake}"]
    assert "failed" in outcomes(course, wrong)
    check = loaded(course / "autograder" / "checks" / f"{SLUG}.py")[f"{EXERCISE}__agrees_with_the_reference"]
    student = LocalStudent({EXERCISE: wrong})
    assert evaluate(check, student, Draw(7)).verdict == "failed"
    known = {name: mistakes[f"{EXERCISE}__{name}"] for name in MISTAKES}
    assert recognise(check, EXERCISE, known, student.transcript, Draw(7)) == mistake


@pytest.mark.parametrize("slug", ["own", "ch1_x", "ch20-own", "ch20_Own", "../ch20_own"])
def test_a_name_that_no_chapter_can_have_is_refused(course, slug):
    with pytest.raises(CourseError, match="can't name a chapter; run `mechinterp chapter new"):
        new_chapter(slug, course)


def test_a_number_that_is_taken_is_refused_with_one_that_is_free(course):
    with pytest.raises(CourseError, match="run `mechinterp chapter new ch20_another`"):
        new_chapter("ch31_another", course)


def test_an_installed_package_is_not_written_to(tmp_path):
    with pytest.raises(CourseError, match="not in an installed package"):
        new_chapter(SLUG, tmp_path)
    assert not (tmp_path / "solutions").exists()
