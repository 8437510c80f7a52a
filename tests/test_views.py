"""The views of every chapter in solutions/: fresh, valid, alike, and without a secret."""

import ast
import json

import jupytext
import nbformat
import pytest

from mechinterp_course.authoring.cell_ids import LONGEST
from mechinterp_course.authoring.chapter import chapter_slugs, load_chapter
from mechinterp_course.authoring.exercises import bound_names, free_names
from mechinterp_course.authoring.refresh import explain_stale, stale
from mechinterp_course.authoring.stub import solution_lines
from mechinterp_course.authoring.views import script_source
from mechinterp_course.layout import course_root

ROOT = course_root()
SLUGS = chapter_slugs(ROOT)
TOO_COMMON = 25
"""A shorter line may stand in a stub or a demo by chance."""

each_chapter = pytest.mark.parametrize("slug", SLUGS)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def notebook(slug: str):
    return nbformat.reads(read(f"chapters/{slug}/chapter.ipynb"), as_version=4)


def student_text(slug: str) -> str:
    """Return all that a student can read in the two views, each cell's text unescaped."""
    cells = "\n".join(cell.source for cell in notebook(slug).cells)
    return read(f"chapters/{slug}/chapter.py") + "\n" + cells


def manifest(slug: str) -> dict:
    return json.loads(read(f"autograder/checks/{slug}.json"))


def test_there_is_a_chapter():
    assert SLUGS


def test_every_view_is_fresh():
    paths = stale(ROOT)
    assert not paths, explain_stale(paths, [])


@each_chapter
def test_the_students_file_compiles_and_importing_it_would_run_no_check_and_no_demo(slug):
    tree = ast.parse(read(f"chapters/{slug}/chapter.py"))
    quiet = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign
    loud = [n for n in tree.body if not isinstance(n, quiet) and not _is_text(n) and not _is_guard(n)]
    assert [ast.unparse(node) for node in loud] == []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


@each_chapter
def test_every_code_cell_of_the_notebook_compiles(slug):
    for cell in notebook(slug).cells:
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")


@each_chapter
def test_the_notebook_and_the_file_carry_the_same_cells(slug):
    file = jupytext.reads(read(f"chapters/{slug}/chapter.py"), fmt="py:percent")
    made = notebook(slug)
    expected = [script_source(c) if c.cell_type == "code" else c.source for c in made.cells]
    assert [cell.source for cell in file.cells] == expected
    assert file.metadata["mechinterp_course"] == made.metadata["mechinterp_course"]


@each_chapter
def test_the_notebook_is_valid_and_has_no_output(slug):
    made = notebook(slug)
    nbformat.validate(made)
    assert not any(cell.get("outputs") for cell in made.cells)


@each_chapter
def test_the_notebook_folds_what_only_the_checks_need_and_nothing_else(slug):
    for cell in notebook(slug).cells:
        given = "given" in cell.metadata.get("tags", [])
        assert cell.metadata.get("jupyter", {}) == ({"source_hidden": True} if given else {}), cell.id


def test_ids_of_cells_are_unique_in_the_course_and_short_enough():
    ids = [cell.id for slug in SLUGS for cell in notebook(slug).cells]
    ids += [c["id"] for s in SLUGS for e in manifest(s)["exercises"] for c in e["checks"] if c["hidden"]]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= LONGEST


@each_chapter
def test_student_views_hold_no_line_of_a_solution(slug):
    chapter = load_chapter(ROOT, slug)
    lines = {line for e in chapter.exercises for line in solution_lines(slug, e.solution)}
    shown = "\n".join(cell.text for cell in chapter.cells if cell.role not in ("solution", "check"))
    secret = {line for line in lines if len(line) >= TOO_COMMON and line not in shown}
    text = student_text(slug)
    assert secret, "solutions have lines of their own"
    assert [line for line in secret if line in text] == []


@each_chapter
def test_student_views_and_the_book_hold_no_hidden_check(slug):
    chapter = load_chapter(ROOT, slug)
    checks = [check for exercise in chapter.exercises for check in exercise.checks if check.hidden]
    shown = "\n".join(cell.text for cell in chapter.cells if not cell.hidden)
    secret = {line.strip() for check in checks for line in check.source.split("\n")}
    secret = {line for line in secret if len(line) >= TOO_COMMON and line not in shown}
    secret |= {check.claim for check in checks} | {f"check_{check.name}" for check in checks}
    text = student_text(slug) + read(f"book/{slug}.md")
    assert [line for line in secret if line in text] == []


@each_chapter
def test_student_views_and_the_book_hold_no_level_and_no_interview_question(slug):
    made = manifest(slug)
    secret = [level for rubric in made["rubrics"] for level in rubric["levels"]]
    secret += [line for question in made["interview"] for line in question["text"].split("\n") if line]
    text = " ".join((student_text(slug) + read(f"book/{slug}.md")).split())
    assert [line for line in secret if " ".join(line.split()) in text] == []


@each_chapter
def test_no_view_holds_the_sentence_of_a_mistake(slug):
    tree = ast.parse(read(f"solutions/{slug}/mistakes.py"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and "__" in node.name]
    sentences = [" ".join((ast.get_docstring(function) or "").split()) for function in functions]
    views = student_text(slug) + read(f"book/{slug}.md") + read(f"autograder/checks/{slug}.py")
    text = " ".join(views.split())
    assert sentences and [sentence for sentence in sentences if not sentence or sentence in text] == []


@each_chapter
def test_every_exercise_is_announced_with_a_stub_that_says_it_is_not_written(slug):
    text = read(f"chapters/{slug}/chapter.py")
    for exercise in manifest(slug)["exercises"]:
        assert f'raise NotImplementedError("{exercise["name"]} is not written yet")' in text
        assert exercise["stub"] in text and exercise["title"] in text


@each_chapter
def test_every_exercise_has_hints_and_a_check_that_a_learner_sees(slug):
    for exercise in manifest(slug)["exercises"]:
        assert 1 <= len(exercise["hints"]) <= 3, exercise["name"]
        assert any(not check["hidden"] for check in exercise["checks"]), exercise["name"]


@each_chapter
def test_the_graders_checks_are_the_manifests_and_stand_beside_no_answer(slug):
    text = read(f"autograder/checks/{slug}.py")
    functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    listed = {c["function"] for e in manifest(slug)["exercises"] for c in e["checks"]}
    assert listed <= functions
    chapter = load_chapter(ROOT, slug)
    allowed = "\n".join(c.text for c in chapter.cells if c.role in ("given", "check"))
    answers = {line for e in chapter.exercises for line in solution_lines(slug, e.solution)}
    assert [
        line for line in answers if line not in allowed and len(line) >= TOO_COMMON and line in text
    ] == []


@each_chapter
def test_the_book_page_folds_every_solution(slug):
    page = read(f"book/{slug}.md")
    assert page.count('tags: ["hide-input", "solution"]') == len(manifest(slug)["exercises"])
    assert "NotImplementedError" not in page and "BEGIN SOLUTION" not in page


@each_chapter
def test_no_later_cell_needs_what_only_a_demo_behind_a_prediction_binds(slug):
    chapter = load_chapter(ROOT, slug)
    free: set[str] = set()
    held_back: dict[str, str] = {}
    for cell in chapter.cells:
        if cell.role not in ("code", "given", "demo", "solution", "check"):
            continue
        needed = (free_names(cell.text) - free) & set(held_back)
        assert not needed, f"line {cell.line} needs {needed} of the demos {[held_back[n] for n in needed]}"
        if chapter.predicted_by(cell):
            held_back |= dict.fromkeys(bound_names(cell.text), cell.id)
        else:
            free |= bound_names(cell.text)
