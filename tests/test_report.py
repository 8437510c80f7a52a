"""The report: it shows why each point was given or lost, and nothing a student wrote acts in it."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from autograder import report
from autograder.manifest import Check, Exercise, Manifest
from autograder.markup import contrast, prose, visible

CHAPTER = "ch03_induction_heads"
CLAIMS = {
    "induction_score": {"agrees": "scores agree with the reference", "one": "a perfect head scores 1"},
    "ablate_head": {"agrees": "the logits are those of the ablated model"},
}


def _exercise(name, claims):
    checks = tuple(Check(key, "", "", claim, 2.0, key == "one") for key, claim in claims.items())
    title = f"The {name.replace('_', ' ')} exercise"
    return Exercise(name, title, 5, 1, (), "", (), 2.0 * len(checks), {}, "", (), checks)


@pytest.fixture(autouse=True)
def chapter(monkeypatch):
    """A chapter of two exercises in place of the course's."""
    exercises = tuple(_exercise(name, claims) for name, claims in CLAIMS.items())
    manifest = Manifest(CHAPTER, "Induction heads", "0" * 12, "0" * 64, (), exercises)
    report._wording.cache_clear()
    monkeypatch.setattr(report, "load_manifest", lambda slug: manifest)
    yield
    report._wording.cache_clear()


def graded_check(exercise, check, verdict="passed", hidden=False, **diagnosis):
    """One entry of `tests[]`, as `results.json` has it."""
    values = {key: diagnosis.pop(key, None) for key in ("expected", "actual", "where")}
    told = {"kind": "claim", "mistake": None, "message": ""} | diagnosis if verdict != "passed" else None
    return {
        "name": f"{CHAPTER}.{exercise}.{check}",
        "score": 2.0 * (verdict == "passed"),
        "max_score": 2.0,
        "status": "passed" if verdict == "passed" else "failed",
        "output": "",
        "visibility": "hidden" if hidden else "visible",
        "extra_data": {
            "chapter": CHAPTER,
            "exercise": exercise,
            "check": check,
            "hidden": hidden,
            "verdict": verdict,
            "diagnosis": told,
        }
        | values,
    }


def write_result(folder, name, tests, output="", **extra):
    """Write one submission's `results.json`."""
    extra = {"complete": True, "isolation": "T2", "device": "cpu", "versions": {"torch": "2.15.0"}} | extra
    result = {"score": sum(test["score"] for test in tests), "max_score": 6.0, "execution_time": 0.1}
    (folder / name).mkdir()
    text = json.dumps(result | {"output": output, "tests": tests, "extra_data": {"schema": 1} | extra})
    (folder / name / "results.json").write_text(text)


def written(folder):
    """Write the pages and return their HTML by name."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in report.write_index(folder)}


def text_of(page):
    """Return what a reader sees of a page, on one line."""
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


ALL_RIGHT = [graded_check(exercise, check) for exercise, claims in CLAIMS.items() for check in claims]
WRONG = graded_check(
    "induction_score",
    "agrees",
    "failed",
    message="Equal to the expected value shifted by one `key`.",
    mistake="looks_at_the_same_token",
    expected="0.1532",
    actual="0.1987",
    where="head=2",
)


def test_a_wrong_answer_is_explained_with_claim_reason_misconception_and_both_values(tmp_path):
    write_result(tmp_path, "ben", [WRONG])
    for page in written(tmp_path).values():
        seen = text_of(page)
        for shown in (
            "The induction score exercise",
            "scores agree with the reference",
            "Equal to the expected value shifted by one key .",
            "Recognised misconception: looks at the same token",
            "Where head=2 Expected 0.1532 Got 0.1987",
        ):
            assert shown in seen


STATES = {
    "passed": (["passed", "passed"], "right"),
    "partial": (["passed", "failed"], "partly right"),
    "failed": (["failed", "not_run"], "wrong"),
    "not_run": (["not_run", "not_run"], "not written"),
    "grader_error": (["passed", "grader_error"], "the grader erred"),
}


@pytest.mark.parametrize("state", STATES)
def test_an_exercise_is_summed_up_in_a_square_with_a_name(tmp_path, state):
    verdicts, meaning = STATES[state]
    tests = [graded_check("induction_score", c, v) for c, v in zip(("agrees", "one"), verdicts, strict=True)]
    write_result(tmp_path, "ada", tests)
    index = written(tmp_path)["index.html"]
    assert f'title="The induction score exercise: {meaning}"' in index
    assert f'class="square {state}"' in index


def test_a_hidden_check_is_marked_and_the_page_says_for_whom_it_is(tmp_path):
    write_result(tmp_path, "ada", [graded_check("induction_score", "one", hidden=True)])
    seen = text_of(written(tmp_path)["ada/report.html"])
    assert "a perfect head scores 1 hidden check" in seen
    assert "not for students" in seen


HIDDEN_FAILURE = graded_check(
    *("induction_score", "one", "failed", True),
    message="Equal to the expected value shifted by one `key`.",
    mistake="looks_at_the_same_token",
    expected="0.1532",
    actual="0.1987",
    where="head=2",
)
# what a student may see of a hidden failure: shown, not shown
LEVELS = {
    "nothing": (["it passes a hidden check"], ["a perfect head", "shifted", "0.1532", "same token"]),
    "sentence": (["a perfect head scores 1"], ["it passes a hidden", "shifted", "0.1532", "same token"]),
    "diagnosis": (["a perfect head scores 1", "shifted by one", "0.1532", "looks at the same token"], []),
}


@pytest.mark.parametrize("level", LEVELS)
def test_the_students_page_tells_of_a_hidden_failure_what_it_may(level, tmp_path):
    write_result(tmp_path, "ben", [HIDDEN_FAILURE], hidden_feedback=level)
    pages = written(tmp_path)
    seen = text_of(pages["ben/feedback.html"])
    shown, kept_back = LEVELS[level]
    assert all(text in seen for text in shown) and not [text for text in kept_back if text in seen]
    assert "not for students" not in seen and "index.html" not in pages["ben/feedback.html"]
    assert "0.1532" in pages["ben/report.html"]


def test_the_students_page_explains_visible_failures_and_shows_the_conditions(tmp_path):
    write_result(tmp_path, "ben", [WRONG], hidden_feedback="nothing")
    seen = text_of(written(tmp_path)["ben/feedback.html"])
    assert "shifted by one key" in seen and "Expected 0.1532" in seen and "torch 2.15.0" in seen


def test_the_same_explanation_is_given_once_per_exercise(tmp_path):
    fault = {"message": "Stopped after 5 s."}
    tests = [graded_check("induction_score", check, "failed", **fault) for check in ("agrees", "one")]
    write_result(tmp_path, "cleo", tests)
    page = written(tmp_path)["cleo/report.html"]
    assert page.count("Stopped after 5 s.") == 1
    assert "For the same reason as above." in page


def test_a_check_that_passed_with_help_says_whose(tmp_path):
    helped = {"output": "✓ it holds\nright, given a right repeated_tokens"}
    tests = [graded_check("induction_score", check) | helped for check in ("agrees", "one")]
    write_result(tmp_path, "cleo", tests)
    assert written(tmp_path)["cleo/report.html"].count("right, given a right repeated_tokens") == 2


def test_the_batch_table_shows_scores_and_the_commonest_misconceptions(tmp_path):
    write_result(tmp_path, "ada", ALL_RIGHT)
    for name in ("ben", "bob"):
        write_result(tmp_path, name, [WRONG])
    seen = text_of(written(tmp_path)["index.html"])
    assert "3 submissions 1 with full marks 0% median score" in seen
    assert "looks at the same token ×2" in seen
    assert "6 / 6" in seen and "0 / 6" in seen


def test_conditions_of_the_verdict_stand_on_the_page_but_not_the_seed(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 987654321}')
    write_result(tmp_path, "ada", ALL_RIGHT, isolation="T1", complete=False)
    for page in written(tmp_path).values():
        for shown in ("T1, weak", "torch 2.15.0", "mechinterp verify", "weak isolation", "not complete"):
            assert shown in page
        assert "987654321" not in page


def test_a_note_of_the_grader_is_shown(tmp_path):
    write_result(tmp_path, "ada", ALL_RIGHT, notes=["written for version 1, graded against 2"])
    assert "written for version 1, graded against 2" in written(tmp_path)["ada/report.html"]


def test_an_unreadable_submission_says_why(tmp_path):
    write_result(tmp_path, "mallory", [], output="no chapter.py in it")
    pages = written(tmp_path)
    assert "no chapter.py in it" in pages["index.html"]
    assert "no chapter.py in it" in pages["mallory/report.html"]


def test_a_large_batch_keeps_its_index_light_and_links_the_reports(tmp_path):
    for i in range(300):
        write_result(tmp_path, f"s{i:03}", [WRONG, *ALL_RIGHT[1:]])
    index = written(tmp_path)["index.html"]
    assert len(index) < 400_000
    assert 'href="./s007/report.html"' in index
    assert "Equal to the expected value" not in index


def test_a_chapter_that_is_not_here_is_shown_by_its_names(tmp_path, monkeypatch):
    def missing(slug):
        raise report.CourseError("no chapter")

    monkeypatch.setattr(report, "load_manifest", missing)
    report._wording.cache_clear()
    write_result(tmp_path, "ada", ALL_RIGHT)
    assert "induction score" in text_of(written(tmp_path)["ada/report.html"])


def test_the_code_is_shown_with_its_lines_and_the_named_one_marked(tmp_path):
    where = "line 43 of the file: return pattern[0]"
    write_result(tmp_path, "ben", [WRONG, graded_check("ablate_head", "agrees", "failed", where=where)])
    cell = "\n" * 41 + "def ablate_head(model):\n    return '<b>'\n"
    report.write_index(tmp_path, {"ben": {(CHAPTER, "ablate_head"): cell}})
    page = (tmp_path / "ben" / "report.html").read_text()
    assert page.count("The answer as submitted") == 1
    assert (
        '<ol start="42"><li>def ablate_head(model):</li><li class="named">    return &#x27;&lt;b&gt;&#x27;'
        in page
    )


HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></li><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)' onfocus='alert(1)",
    "`<svg onload=alert(1)>`",
    "</title><style>*{display:none}</style>",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;script&gt; &#x3c;b&#x3e;",
    "<!-- --><base href=https://evil.example/>",
]


class Elements(HTMLParser):
    """Collects every element of a page with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


FORBIDDEN = {"script", "img", "link", "iframe", "object", "embed", "base", "form", "input", "use", "image"}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_student_wrote_stays_text(tmp_path, text):
    told = dict.fromkeys(("message", "mistake", "expected", "actual", "where"), text)
    name = re.sub(r"[/\0]", "∕", text)
    write_result(tmp_path, name, [graded_check("induction_score", "agrees", "failed", **told)])
    write_result(tmp_path, f"{name}2", [], output=text, device=text, isolation=text, versions={text: text})
    report.write_index(tmp_path, {name: {(CHAPTER, "induction_score"): text}})
    for page in (path.read_text() for path in tmp_path.rglob("*.html")):
        for element, attributes in Elements(page).found:
            assert element not in FORBIDDEN
            assert not any(key.startswith("on") or key in ("style", "src", "action") for key in attributes)
            assert re.match(r"(#|\./|\.\./index\.html)", attributes.get("href") or "#")
        assert html.escape(text, quote=True).replace("`", "") in page.replace("<code>", "").replace(
            "</code>", ""
        )


def test_pages_allow_no_script_and_name_no_remote_address(tmp_path):
    write_result(tmp_path, "ada", ALL_RIGHT)
    for page in written(tmp_path).values():
        assert re.search(r"default-src 'none'; style-src 'sha256-[\w+/]{43}='; base-uri 'none'", page)
        assert "unsafe" not in page
        assert not re.search(r"https?:|//\w|@import|url\(", page)


VISIBLE = {
    "override": ("a\u202eb", "U+202E"),
    "escape sequence": ("\x1b[31m", "U+001B"),
    "null": ("\0", "U+0000"),
    "zero width": ("x\u200by", "U+200B"),
    "lone surrogate": ("\udc80", "U+DC80"),
    "line separator": ("a\u2028b", "U+2028"),
}


@pytest.mark.parametrize(("text", "shown"), VISIBLE.values(), ids=VISIBLE)
def test_characters_that_hide_are_shown(text, shown):
    assert f'<span class="unseen">{shown}</span>' in visible(text)
    visible(text).encode()


def test_a_long_text_is_cut_and_says_so():
    assert visible("x" * 5000).endswith("… 1,000 more characters</em>")


def test_code_in_a_sentence_cannot_bring_markup():
    assert prose("a `b<c` d") == "a <code>b&lt;c</code> d"


CONTRASTS = [
    ("0.1532", "-0.1987", "0.1532", "-0.1987"),
    ("[1, 2, 3]", "[1, 3]", "[1, <mark>2, </mark>3]", "[1, 3]"),
    ("aa", "aaa", "aa", "aa<mark>a</mark>"),
    ("same", "same", "same", "same"),
    ("<", ">", "<mark>&lt;</mark>", "<mark>&gt;</mark>"),
]


@pytest.mark.parametrize(("expected", "actual", "left", "right"), CONTRASTS)
def test_two_values_are_marked_where_they_differ(expected, actual, left, right):
    assert contrast(expected, actual) == (left, right)
