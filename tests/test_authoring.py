"""Authoring: one source becomes all views, and a slip in the source is named with its line."""

import ast
import json
import shutil
import subprocess
import sys

import jupytext
import nbformat
import pytest

from mechinterp_course.authoring.cell_ids import LONGEST, cell_id
from mechinterp_course.authoring.certificates import certificate_page, certificates
from mechinterp_course.authoring.chapter import chapter_slugs, load_chapter, read_chapter
from mechinterp_course.authoring.manifest import manifest
from mechinterp_course.authoring.refresh import course_views, explain_stale, refresh, stale, views
from mechinterp_course.authoring.scaffold import TEMPLATE
from mechinterp_course.authoring.stub import guarded
from mechinterp_course.authoring.views import student_notebook, student_script
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

SLUG = "ch20_same_tokens"
SOURCE = (TEMPLATE / "chapter.py.txt").read_text(encoding="utf-8")
CLAIM = (
    "duplicate_token_score agrees with the reference on patterns you have not seen, "
    "and leaves them as they were"
)


@pytest.fixture(scope="module")
def chapter():
    return read_chapter(SLUG, SOURCE)


@pytest.fixture
def course(tmp_path):
    (tmp_path / "autograder").mkdir()
    (tmp_path / "solutions" / SLUG).mkdir(parents=True)
    (tmp_path / "solutions" / SLUG / "chapter.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def changed(old: str, new: str) -> str:
    assert SOURCE.count(old) >= 1, f"the source no longer has {old!r}"
    return SOURCE.replace(old, new, 1)


def line_of(text: str, source: str) -> int:
    return source[: source.index(text)].count("\n") + 1


STATEMENT = '# %% [markdown] exercise="duplicate_token_score"'
SLIPS = {
    "unknown tag": ('tags=["hint"]', 'tags=["hnt"]', "unknown tag `hnt`", 'tags=["hnt"]'),
    "two roles": ('tags=["demo"]', 'tags=["demo", "given"]', "one role", 'tags=["demo", "given"]'),
    "code tag on text": (
        '[markdown] tags=["hint"]',
        '[markdown] tags=["demo"]',
        "can't have",
        'tags=["demo"]',
    ),
    "hidden alone": ('["check", "hidden"]', '["hidden"]', "needs the tag `check`", '["hidden"]'),
    "unknown option": ("difficulty=2", "difficulty=2 hardness=3", "takes no `hardness`", "hardness"),
    "no points": ('tags=["check"] points=2', 'tags=["check"]', "`points`", 'tags=["check"]\n'),
    "half a point": ("points=2", "points=0.5", "a whole number", "points=0.5"),
    "no minutes": ("minutes=10 ", "", "`minutes`", STATEMENT),
    "difficulty out of range": ("difficulty=2", "difficulty=9", "from 1 to 5", "difficulty=9"),
    "unknown need": ("needs=[]", 'needs=["ablate"]', "no exercise above it", 'needs=["ablate"]'),
    "no reference": (' reference="heads.duplicate_token_score"', "", "lacks its reference", STATEMENT),
    "wrong reference": ('"heads.dup', '"heads.doop', "no `heads.doop", '"heads.doop'),
    "no heading": ("## Who looks", "Who looks", "begins with a heading", STATEMENT),
    "after in a later cell": (
        '# %% tags=["given"]',
        '# %% [markdown] after="ch01_x"\n"""Then."""\n\n# %% tags=["given"]',
        "only a chapter's first cell",
        "# %% [markdown] after",
    ),
    "no title": ("# A new chapter", "A new chapter", "begins with a markdown cell", "# %% [markdown]"),
    "function misnamed": ("def duplicate_token_score(", "def other(", "no solution cell", STATEMENT),
    "no begin": ("    # BEGIN SOLUTION\n", "", "without BEGIN", "    # END SOLUTION"),
    "no end": ("    # END SOLUTION\n", "", "without END", "    # BEGIN SOLUTION"),
    "begin with more on its line": (
        "# BEGIN SOLUTION",
        "# BEGIN SOLUTION here",
        "alone on its line",
        "# BEGIN",
    ),
    "no docstring": (f'    """{CLAIM}"""\n', "", "lacks the docstring", "def check_agrees"),
    "check misnamed": ("def check_agrees", "def agrees", "begins with `check_`", "def agrees"),
    "check without draw": (
        "check_agrees_with_the_reference(student, draw)",
        "check_agrees_with_the_reference(student)",
        "(student, draw)",
        "def check_agrees",
    ),
    "name that the grader lacks": ("torch.eye", "numpy.eye", "uses `numpy`", 'tags=["check", "hidden"]'),
    "calls the student's function": (
        "expect_close(student.dup",
        "expect_close(dup",
        "uses `duplicate_token_score`",
        'tags=["check"]',
    ),
    "one choice": (
        'choices=["0", "between 0 and 1/length", "1/length or more"]',
        'choices=["0"]',
        "at least two",
        'choices=["0"]',
    ),
    "demo without answer": ('answer = "0" if', 'found = "0" if', "computes `answer", 'tags=["predict"]'),
    "rubric without levels": ("Levels:\n", "", "`Levels:`", 'tags=["rubric"]'),
    "rubric without name": (' name="what_a_score_shows"', "", "needs `name=", 'tags=["rubric"]'),
    "level left out": ("- 1: Says", "- 3: Says", "`Levels:`", 'tags=["rubric"]'),
    "python does not parse": (
        "visible = torch.ones(21, 21)",
        "visible = = 1",
        "not valid Python",
        "visible =",
    ),
    "text before the first marker": (
        "# %% [markdown]\n",
        "x = 1\n# %% [markdown]\n",
        "first `# %%`",
        "x = 1",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_source_is_refused_with_its_line_and_the_next_command(slip):
    old, new, message, place = SLIPS[slip]
    source = changed(old, new)
    with pytest.raises(CourseError) as refused:
        read_chapter(SLUG, source)
    assert message in str(refused.value)
    assert f"solutions/{SLUG}/chapter.py, line {line_of(place, source)}: " in str(refused.value)
    assert f"run `python -m mechinterp_course.authoring {SLUG}`" in str(refused.value)
    assert "\n" not in str(refused.value)


def cell_of(marker: str) -> str:
    """The source's cell that begins with `marker`, up to the next marker."""
    start = SOURCE.index(marker)
    end = SOURCE.find("\n# %%", start + 1)
    return SOURCE[start : end + 1 if end > 0 else None]


def test_a_check_before_any_statement_is_refused():
    check = cell_of('# %% tags=["check"] points=2')
    with pytest.raises(CourseError, match="a check cell before the first statement"):
        read_chapter(SLUG, changed(check, "").replace(STATEMENT, check + STATEMENT))


def test_a_cell_with_two_checks_is_refused():
    check = cell_of('# %% tags=["check"] points=2')
    second = check.split("\n", 1)[1].replace("check_agrees_with_the_reference", "check_again")
    with pytest.raises(CourseError, match="exactly one function, this one has 2"):
        read_chapter(SLUG, changed(check, check + second))


def test_two_checks_of_one_name_are_refused():
    check = cell_of('# %% tags=["check"] points=2')
    with pytest.raises(CourseError, match="another cell has the id"):
        read_chapter(SLUG, changed(check, check + check))


def test_a_function_without_solution_markers_is_refused():
    source = changed("    # BEGIN SOLUTION\n", "").replace("    # END SOLUTION\n", "")
    with pytest.raises(CourseError, match="lacks `# BEGIN SOLUTION`"):
        read_chapter(SLUG, source)


def test_a_fourth_hint_is_refused():
    hint = cell_of('# %% [markdown] tags=["hint"]')
    with pytest.raises(CourseError, match="more than 3 hints"):
        read_chapter(SLUG, changed(hint, hint * 3))


@pytest.mark.parametrize("slug", ["same_tokens", "ch3_x", "ch03_X", "ch03", "../ch03_x"])
def test_a_slug_that_cannot_name_a_chapter_is_refused(slug):
    with pytest.raises(CourseError, match="can't name a chapter"):
        read_chapter(slug, SOURCE)


def test_markers_inside_strings_do_not_begin_cells():
    source = changed('r"""\nOn text that repeats', 'r"""\n# %% tags=["nonsense"]\nOn text that repeats')
    assert len(read_chapter(SLUG, source).cells) == len(read_chapter(SLUG, SOURCE).cells)


def test_windows_line_endings_make_the_same_chapter(chapter):
    assert read_chapter(SLUG, SOURCE.replace("\n", "\r\n")) == chapter


def test_the_stub_keeps_signature_and_docstring_and_says_what_is_missing(chapter):
    function = ast.parse(chapter.exercises[0].stub).body[0]
    assert ast.unparse(function.args) == "pattern: Float[Tensor, 'batch head query key'], length: int"
    assert ast.get_docstring(function).startswith("Mean attention")
    assert ast.unparse(function.body[1:]) == (
        "raise NotImplementedError('duplicate_token_score is not written yet')"
    )


def test_a_half_filled_function_keeps_the_lines_around_its_regions():
    source = changed("    # END SOLUTION\n", "    # END SOLUTION\n    return second_copy\n")
    stub = read_chapter(SLUG, source).exercises[0].stub
    assert stub.endswith('is not written yet")\n    return second_copy')


METHOD_CELL = '''# %%
class Score:
    """Scores heads."""

    def __init__(self, length):
        self.length = length

    def score(self, pattern):
        """One number per head."""
        # BEGIN SOLUTION
        return heads.duplicate_token_score(pattern, self.length)
        # END SOLUTION
'''


def test_an_exercise_can_be_a_method_of_a_class(monkeypatch):
    monkeypatch.setattr(
        "mechinterp_course.authoring.exercises._reference", lambda slug, cell: "heads.Score.score"
    )
    source = SOURCE.replace(cell_of("# %%\ndef duplicate"), METHOD_CELL)
    source = source.replace('exercise="duplicate_token_score"', 'exercise="Score.score"')
    exercise = read_chapter(SLUG, source).exercises[0]
    assert 'raise NotImplementedError("Score.score is not written yet")' in exercise.stub
    assert "self.length = length" in exercise.stub
    assert exercise.checks[0].function == "Score_score__agrees_with_the_reference"
    assert exercise.solution.id == "ch20-Score_score-solution"


def test_both_student_views_carry_the_same_cells(chapter):
    script = jupytext.reads(student_script(chapter), fmt="py:percent")
    made = student_notebook(chapter)
    assert [c.cell_type for c in script.cells] == [c.cell_type for c in made.cells]
    texts = [
        (a.source, b.source)
        for a, b in zip(script.cells, made.cells, strict=True)
        if a.cell_type == "markdown"
    ]
    assert all(a == b for a, b in texts)


def test_both_student_views_say_where_they_come_from(chapter):
    script = jupytext.reads(student_script(chapter), fmt="py:percent")
    expected = {"chapter": SLUG, "version": chapter.version, "source": f"solutions/{SLUG}/chapter.py"}
    assert script.metadata["mechinterp_course"] == expected
    assert student_notebook(chapter).metadata["mechinterp_course"] == expected
    for first in (script.cells[0], student_notebook(chapter).cells[0]):
        assert expected["source"] in first.source and expected["version"] in first.source


def test_views_do_not_depend_on_when_or_how_often_they_are_made(chapter):
    assert views(chapter) == views(read_chapter(SLUG, SOURCE))


SECRETS = (
    "same_token = pattern.diagonal",
    "second_copy.mean",
    "perfect_head",
    "Takes attention for cause",
    "On text that repeats",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("view", [f"chapters/{SLUG}/chapter.py", f"chapters/{SLUG}/chapter.ipynb"])
def test_student_views_hold_no_solution_hidden_check_level_or_interview_question(chapter, secret, view):
    assert secret in SOURCE
    assert secret not in views(chapter)[view]


@pytest.mark.parametrize("secret", SECRETS[2:])
def test_the_book_page_holds_no_hidden_check_level_or_interview_question(chapter, secret):
    assert secret not in views(chapter)[f"book/{SLUG}.md"]


def test_a_check_cell_of_the_notebook_runs_its_check(chapter):
    cells = [c for c in student_notebook(chapter).cells if "check" in c.metadata.get("tags", [])]
    assert [c.source.split("\n")[-1] for c in cells] == ["run_check(check_agrees_with_the_reference)"]


def test_hints_are_folded_and_predictions_come_before_their_folded_result(chapter):
    texts = [cell.source for cell in student_notebook(chapter).cells]
    hints = [text for text in texts if "Hint" in text]
    assert (
        all(text.startswith("<details>") and text.endswith("</details>") for text in hints)
        and len(hints) == 2
    )
    asked = next(i for i, text in enumerate(texts) if "uniform_head = predict(" in text)
    assert texts[asked + 1].startswith("if uniform_head.answered():\n    visible")
    assert texts[asked + 1].endswith("uniform_head.compare(answer)")


def test_what_is_said_about_a_predicted_result_is_folded_until_the_next_heading():
    said = 'r"""\nMost of it goes to BOS.\n\n## A new section\n\nNow for heads.\n"""\n\n'
    source = changed(
        '# %% [markdown] tags=["rubric"]', f'# %% [markdown]\n{said}# %% [markdown] tags=["rubric"]'
    )
    made = read_chapter(SLUG, source)
    text = next(c.source for c in student_notebook(made).cells if "Most of it goes" in c.source)
    assert text.startswith("<details>\n<summary>Seen it?")
    assert text.index("Most of it") < text.index("</details>") < text.index("## A new section")
    page = views(made)[f"book/{SLUG}.md"]
    assert (
        page.index("{dropdown} Seen it?") < page.index("Most of it") < page.index("```\n\n## A new section")
    )


def test_the_book_folds_solutions_hints_and_predicted_results(chapter):
    page = views(chapter)[f"book/{SLUG}.md"]
    assert 'tags: ["hide-input", "solution"]\nmystnb:\n  code_prompt_show: "Solution"' in page
    assert "```{dropdown} Hint 1" in page and "```{dropdown} Hint 2" in page
    assert 'tags: ["hide-cell", "predicted"]' in page
    assert "BEGIN SOLUTION" not in page and "run_check(check_agrees" in page


def test_the_graders_module_compiles_and_holds_every_check_under_its_exercise(chapter):
    text = views(chapter)[f"autograder/checks/{SLUG}.py"]
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert names.pop(0) == "afterwards", "which is given"
    listed = [c["function"] for e in manifest(chapter)["exercises"] for c in e["checks"]]
    assert (
        names
        == listed
        == [
            "duplicate_token_score__agrees_with_the_reference",
            "duplicate_token_score__a_perfect_head_scores_one",
        ]
    )
    assert "second_copy" not in text, "the grader's module holds no answer"


def test_the_manifest_lists_points_hints_levels_and_predictions(chapter):
    made = manifest(chapter)
    exercise = made["exercises"][0]
    assert (exercise["points"], [c["points"] for c in exercise["checks"]]) == (3, [2, 1])
    assert [c["hidden"] for c in exercise["checks"]] == [False, True]
    assert exercise["checks"][0]["claim"] == CLAIM
    assert exercise["withhold"] == ["duplicate_token_score"] and len(exercise["hints"]) == 2
    assert [len(r["levels"]) for r in made["rubrics"]] == [3]
    assert made["predict"][0]["choices"][0] == "0" and "duplicate-token head" in made["interview"][0]["text"]
    assert json.loads(views(chapter)[f"autograder/checks/{SLUG}.json"]) == made


def test_notebooks_validate_and_their_ids_come_from_exercise_and_role(chapter):
    made = nbformat.reads(views(chapter)[f"chapters/{SLUG}/chapter.ipynb"], as_version=4)
    nbformat.validate(made)
    ids = [cell.id for cell in made.cells]
    assert "ch20-duplicate_token_score-hint2" in ids
    assert "ch20-duplicate_token_score-check-agrees_with_the_reference" in ids
    assert len(set(ids)) == len(ids) and max(map(len, ids)) <= LONGEST


def test_ids_do_not_move_when_a_cell_is_added_above():
    added = changed(STATEMENT, "# %% [markdown]\n# A new paragraph.\n\n" + STATEMENT)
    before = {cell.id for cell in read_chapter(SLUG, SOURCE).cells}
    after = {cell.id for cell in read_chapter(SLUG, added).cells}
    assert before < after and len(after - before) == 1


def test_a_long_id_is_shortened_and_stays_its_own():
    one, other = (cell_id(SLUG, "a" * 70, role) for role in ("solution", "statement"))
    assert len(one) == len(other) == LONGEST and one != other


GUARDED = '''text = """
first
  second
"""
for line in text.split():
    print(f"""{line}
tail""")'''


def test_guarding_code_leaves_the_text_inside_strings_alone(capsys):
    exec(guarded(GUARDED, "True"), {})
    assert capsys.readouterr().out == "first\ntail\nsecond\ntail\n"


def test_refreshing_writes_only_what_changed_and_the_check_names_the_command(course):
    assert len(refresh(course)) == 6
    assert refresh(course) == [] and stale(course) == []
    path = course / "chapters" / SLUG / "chapter.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert stale(course) == [f"chapters/{SLUG}/chapter.py"]
    assert explain_stale(stale(course), []) == (
        f"stale: chapters/{SLUG}/chapter.py; run `python -m mechinterp_course.authoring`"
    )


def test_every_view_is_stale_after_an_edit_of_the_source(course):
    refresh(course)
    source = course / "solutions" / SLUG / "chapter.py"
    source.write_text(SOURCE.replace("Some heads", "A few heads"), encoding="utf-8")
    assert set(stale(course)) == set(course_views(course)) - {"book/_toc.yml"}


def test_two_chapters_of_one_number_are_refused(course):
    shutil.copytree(course / "solutions" / SLUG, course / "solutions" / "ch20_other")
    with pytest.raises(CourseError, match="have one number"):
        refresh(course)


def test_a_chapter_stands_behind_the_one_that_it_comes_after(tmp_path):
    firsts = {
        "ch02_b": "",
        "ch04_d": "",
        "ch05_e": "",
        "ch12_l": ' after="ch13_m"',
        "ch13_m": ' after="ch04_d"',
        "ch14_n": ' after="ch09_x"',
    }
    for slug, option in firsts.items():
        (tmp_path / "solutions" / slug).mkdir(parents=True)
        source = f"# %% [markdown]{option}\n# # A title\n"
        (tmp_path / "solutions" / slug / "chapter.py").write_text(source, encoding="utf-8")
    assert chapter_slugs(tmp_path) == ["ch02_b", "ch04_d", "ch13_m", "ch12_l", "ch05_e", "ch14_n"]


def test_chapters_that_come_after_each_other_are_kept_all_the_same(tmp_path):
    for slug, after in {"ch01_a": "ch02_b", "ch02_b": "ch01_a", "ch03_c": "ch04_d"}.items():
        (tmp_path / "solutions" / slug).mkdir(parents=True)
        source = f'# %% [markdown] after="{after}"\n# # A title\n'
        (tmp_path / "solutions" / slug / "chapter.py").write_text(source, encoding="utf-8")
    assert chapter_slugs(tmp_path) == ["ch03_c", "ch01_a", "ch02_b"]


def test_a_chapter_that_does_not_exist_is_refused_with_the_ones_that_do(course):
    with pytest.raises(CourseError, match=f"no chapter `ch09_x` .chapters: {SLUG}."):
        load_chapter(course, "ch09_x")


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--check"], 0), (["--check", "ch99_none"], 2)])
def test_the_command_says_by_its_status_whether_views_are_fresh(course, monkeypatch, arguments, status):
    from mechinterp_course.authoring import __main__ as command

    refresh(course)
    monkeypatch.setattr(command, "course_root", lambda: course)
    assert command.main(arguments) == status


def test_the_command_fails_and_names_a_stale_view(course, monkeypatch, capsys):
    from mechinterp_course.authoring import __main__ as command

    monkeypatch.setattr(command, "course_root", lambda: course)
    assert command.main(["--check"]) == 1
    assert "run `python -m mechinterp_course.authoring`" in capsys.readouterr().err


def test_authoring_does_not_import_torch():
    program = (
        "import sys, mechinterp_course.authoring.__main__, mechinterp_course.authoring.scaffold, "
        "mechinterp_course.authoring.book_build, jupytext; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_hints_are_numbered_also_where_a_long_name_shortens_their_ids():
    source = SOURCE.replace("def duplicate_token_score(", f"def {'long' * 20}(")
    source = source.replace('exercise="duplicate_token_score"', f'exercise="{"long" * 20}"')
    made = read_chapter(SLUG, source)
    assert [made.hint_number(hint) for hint in made.exercises[0].hints] == [1, 2]
    assert "<summary>Hint 2</summary>" in student_script(made)


def test_the_page_of_certificates_names_the_exercises_that_have_none():
    certified = certificates(course_root(), ["ch03_induction_heads"])
    told = {slug: list(certificate["exercises"]) for slug, certificate in certified.items()}
    assert "Not certified" not in certificate_page(certified, told)
    page = certificate_page(certified, {slug: [*names, "still_to_come"] for slug, names in told.items()})
    assert "Not certified yet, so nothing is claimed of them: `still_to_come`." in page
