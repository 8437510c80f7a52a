"""Certificates on a tiny invented chapter: what is wrong with its checks is found, and named."""

import ast
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from autograder.certification import keys
from autograder.certification.certificate import FILE, out_of_date, read_certificate, summary
from autograder.certification.certify import certify, check_certificates
from autograder.certification.equivalence import _passes
from autograder.certification.giveaways import _by_standing_in
from autograder.certification.journal import Journal
from autograder.certification.mutants import mutants
from autograder.certification.operators import OPERATORS
from autograder.certification.sections import (
    RESTS_ON,
    SECTIONS,
    Effort,
    Measurement,
    chosen_mutants,
    reachable,
)
from autograder.certification.subject import Checks, find_subjects
from autograder.certification.tolerances import Comparison, compared, derivation, margin
from autograder.certification.trials import comparable
from autograder.withhold import write_library
from mechinterp_course.authoring.refresh import refresh, stale
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.recognition import same_transcript
from mechinterp_course.checking.verdict import StudentFault
from mechinterp_course.cli import run
from mechinterp_course.errors import CourseError

SLUG = "ch41_tiny"
EFFORT = Effort(seeds=12, answers=1, draws=30, most=24)
HEADER = '''# %% [markdown]
r"""# Tiny"""

# %% tags=["given"]
import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course import heads
from mechinterp_course.checking import expect, expect_close


def after_call(function, pattern, length):
    """The pattern, as a call of `function` leaves it."""
    function(pattern, length)
    return pattern

'''
EXERCISE = '''
# %% [markdown] exercise="{name}" minutes=5 difficulty=1 reference="{reference}" withhold={withhold}
r"""## {name}

Mean attention from the second copy to the same token in the first."""


# %%
def {name}(pattern: Float[Tensor, "batch head query key"], length: int) -> Float[Tensor, " head"]:
    """One number for each head."""
    # BEGIN SOLUTION
    same_token = pattern.diagonal(offset=-length, dim1=-2, dim2=-1)
    return same_token[:, :, 1:].mean(dim=(0, 2))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees(student, draw):
    """it agrees with the reference"""
    for pattern, length in draw.repeat_patterns(count=3):
        expected = heads.duplicate_token_score(pattern, length)
        {checks}
'''
REFERENCE = "heads.duplicate_token_score"
SOUND = """expect_close(student.{name}(pattern, length), expected, dims="head")
        after = student.run(after_call, student.{name}, pattern, length)
        expect_close(after, pattern, dims="batch head query key")"""
BLIND_TO_SIGN = SOUND.replace(
    "student.{name}(pattern, length), expected", "student.{name}(pattern, length).abs(), expected"
)
ANY_SCALE = """found = student.{name}(pattern, length)
        expect_close(found / found.norm(), expected / expected.norm(), dims="head")
        after = student.run(after_call, student.{name}, pattern, length)
        expect_close(after, pattern, dims="batch head query key")"""
TRIAL = """
from mechinterp_course import heads
from mechinterp_course.checking import expect_close


def any_scale__trial(student, draw):
    for pattern, length in draw.repeat_patterns(count=1):
        found, expected = student.any_scale(pattern, length), heads.duplicate_token_score(pattern, length)
        expect_close(found / found.norm(), expected / expected.norm(), dims="head")
"""
FLAKY = SOUND + '\n        expect(draw.integer(0, 4) > 0, "An unlucky draw.")'
PROOFS = {
    "mistakes": '''
def {name}__counts_the_last_query_of_the_first_copy(pattern, length):
    """The query at position `length` counts."""
    return pattern.diagonal(-length, -2, -1).mean((0, 2))


def {name}__per_row(pattern, length):
    """The scores keep the batch axis."""
    return pattern.diagonal(-length, -2, -1)[:, :, 1:].mean(2)
''',
    "variants": """
import torch


def {name}__by_index(pattern, length):
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - length].mean((0, 2))
""",
}


def write(root: Path, exercises: dict[str, tuple[str, list[str]]]) -> Path:
    """Write a chapter whose exercises are named with what their check does and what is withheld."""
    folder = root / "solutions" / SLUG
    folder.mkdir(parents=True, exist_ok=True)
    (root / "autograder").mkdir(exist_ok=True)
    cells = [
        EXERCISE.replace("{checks}", checks).format(
            name=name, reference=REFERENCE, withhold=json.dumps(withheld)
        )
        for name, (checks, withheld) in exercises.items()
    ]
    (folder / "chapter.py").write_text(HEADER + "".join(cells), encoding="utf-8")
    for kind, text in PROOFS.items():
        whole = "".join(text.format(name=name) for name in exercises)
        (folder / f"{kind}.py").write_text(whole, encoding="utf-8")
    return root


WITHHELD = ["duplicate_token_score"]
FOUR = {
    "sound": (SOUND, WITHHELD),
    "blind": (BLIND_TO_SIGN, WITHHELD),
    "open_door": (SOUND, ["open_door"]),
    "any_scale": (ANY_SCALE, WITHHELD),
}
DOUBLE = """

def double(pattern, length):
    return pattern.diagonal(-length, -2, -1)[:, :, 1:].mean((0, 2))
"""


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    root = write(tmp_path_factory.mktemp("course"), FOUR)
    (root / "solutions" / SLUG / "domain.py").write_text(TRIAL, encoding="utf-8")

    def with_a_double(folder, withheld):
        write_library(folder, withheld)
        if "open_door" in withheld:
            heads = folder / "mechinterp_course" / "heads.py"
            heads.write_text(heads.read_text(encoding="utf-8") + DOUBLE, encoding="utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autograder.room.write_library", with_a_double)
        found = certify(root, (), root / "out", effort=EFFORT)
    return root, {each.exercise: each for each in found}


@pytest.fixture
def course(tmp_path):
    return write(tmp_path, {"sound": (SOUND, WITHHELD), "flaky": (FLAKY, WITHHELD)})


def measurement(course: Path, name: str, effort: Effort = EFFORT) -> Measurement:
    (subject,) = find_subjects(course, [name])
    checks = Checks.of(subject)
    journal = Journal(course / "out" / f"{name}.jsonl")

    def no_room():
        raise AssertionError("no room is needed for this")

    return Measurement(subject, checks, keys.parts(subject, checks), 0, effort, journal, no_room)


# --- operators ------------------------------------------------------------------------------------

FUNCTION = '''def f(
    model, tokens: Int[Tensor, "b p"], other: Int[Tensor, "b p"], n: int, kind: str = "zero"
) -> {returns}:
    """Says "mean" in its docstring."""
    {body}
'''
TENSOR = 'Float[Tensor, " head"]'
CASES = {
    "axis": ("return z.mean(dim=(0, 2))", {"z.mean(dim=(1, 2))", "z.mean(dim=0)", "z.mean(dim=2)"}),
    "axis of a shape": ("return z.shape[1]", {"z.shape[0]", "z.shape[2]"}),
    "axis of einops": ('return reduce(z, "b h q -> b h", "mean")', {'reduce(z, "b h q -> h b", "mean")'}),
    "sign": ("return a - b", {"a + b", "b - a", "return -(a - b)"}),
    "off_by_one": ("return torch.arange(n + 1)", {"2", "0"}),
    "dropped_term": ("return 2 * a + b", {"(2 * a)", "b", "a"}),
    "wrong_reduction": ("return z.mean(dim=0)", {"z.sum(dim=0)", "z.amax(dim=0)"}),
    "missing_step": ("return z.detach().softmax(-1)", {"z.detach()", "z"}),
    "missing_step of where": ("return torch.where(mask, z, 0)", {"z", "0"}),
    "constant": ("return g(0.5, True)", {"1.0", "0.0", "False"}),
    "comparison": ("return a >= b and c", {"a > b", "a <= b", "a >= b or c"}),
    "dtype": ("return z", {"return (z).double()", "return (z).half()"}),
    "dtype on the way": ("return z.to(torch.int64)", {"torch.int32", "torch.float32"}),
    "edited_input": ("return z", {"return (z, tokens.zero_())[0]", "return (z, other.zero_())[0]"}),
    "swapped_arguments": ("return z[a, b]", {"z[b, a]"}),
    "slice_bounds": ("return z[:n]", {":", ":n + 1", ":n - 1", "n:"}),
    "other_parameter": ("return g(tokens)", {"other"}),
    "ignored_parameter": ("return g(kind, n)", {'"zero"', "1"}),
    "wrong_hook": ('return cache[f"blocks.{n}.attn.hook_z"]', {'f"blocks.{n}.attn.hook_v"'}),
    "first_only": ("return [g(x) for x in xs]", {" for x in list(xs)[:1]"}),
    "dropped_statement": ("z[:, 0] = 0\n    return z", {"pass"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operator_makes_the_changes_it_says(case):
    body, expected = CASES[case]
    made = mutants(FUNCTION.replace("{body}", body).replace("{returns}", TENSOR), "f", None)
    operator = case.partition(" ")[0]
    after = {mutant.after.strip() for mutant in made if mutant.operator == operator}
    assert {text.strip() for text in expected} <= after
    for mutant in made:
        ast.parse(mutant.source)


def test_every_operator_has_a_case_and_a_sentence():
    assert {case.partition(" ")[0] for case in CASES} == set(OPERATORS)
    assert all(apply.__doc__.split("\n")[0].endswith(".") for apply in OPERATORS.values())


def test_docstrings_signatures_and_error_messages_are_left_alone():
    source = FUNCTION.replace("{returns}", "float").replace(
        "{body}", 'if n:\n        raise ValueError("mean")\n    return n'
    )
    for mutant in mutants(source, "f", None):
        changed = ast.parse(mutant.source).body[0]
        assert ast.unparse(changed.args) == ast.unparse(ast.parse(source).body[0].args)
        assert ast.get_docstring(changed) == 'Says "mean" in its docstring.'


def test_mutants_are_chosen_the_same_way_every_time_and_from_every_operator():
    source = FUNCTION.replace("{returns}", TENSOR).replace(
        "{body}", "z = tokens[:, 1 : n + 1] - other[:, :n]\n    return z.mean(dim=(0, 1)) * n + z.sum(dim=1)"
    )
    everything, some = mutants(source, "f", None), mutants(source, "f", 20)
    assert len(some) == 20 < len(everything)
    assert some == mutants(source, "f", 20)
    assert {each.operator for each in some} == {each.operator for each in everything}
    assert len({each.source for each in everything}) == len(everything)


# --- tolerances -----------------------------------------------------------------------------------


def test_distances_are_counted_in_tolerances():
    from torch import tensor

    right, wrong = compared(tensor([1.0]), tensor([1.0]), None, None), compared(1.001, 1.0, 0.0, 1e-4)
    assert right.distance == 0
    assert wrong.distance == pytest.approx(10, rel=1e-3)
    assert margin("failed", [right, wrong]) == wrong.distance
    assert margin("failed", [right]) == float("inf"), "rejected by something else than numbers"
    assert margin("passed", [right]) == 0


@pytest.mark.parametrize(
    ("distance", "default", "problem"),
    [(0.2, 3.0, None), (0.5, 3.0, "right answers come within"), (0.001, 3.0, "wider than needed"),
     (0.001, 0.01, "torch.testing's tolerance would do")],
)  # fmt: skip
def test_a_tolerance_is_derived_from_the_gap_between_right_answers(distance, default, problem):
    (row,) = derivation([Comparison(0.0, 5e-3, distance, default, 1e-4)])
    assert row["by"] == "4 × gap"
    assert (row["problem"] is None) if problem is None else (problem in row["problem"])


# --- sections -------------------------------------------------------------------------------------


def test_a_flaky_check_is_caught_with_the_seeds_at_which_it_fails(course):
    flaky = SECTIONS["seeds"](measurement(course, "flaky"))["flaky"]
    assert flaky
    assert all("An unlucky draw." in why for why in flaky.values())
    assert SECTIONS["seeds"](measurement(course, "sound"))["flaky"] == {}


def test_mistakes_are_rejected_by_a_margin_and_taken_for_themselves(course):
    found = SECTIONS["mistakes"](measurement(course, "sound"))
    assert {name: told["taken_for"] for name, told in found.items()} == {name: name for name in found}
    assert not any(told["accepted"] for told in found.values())
    assert found["counts_the_last_query_of_the_first_copy"]["margin"] > 10
    assert found["per_row"]["margin"] is None, "its shape is wrong"


def test_what_is_kept_of_a_run_holds_no_network_and_compares_as_before():
    network = torch.nn.Linear(2, 2)
    transcript = [("f", [network, {"values": torch.ones(2), "count": 3}]), ("g", None)]
    kept = comparable(transcript)
    assert str(network) not in str(kept)
    assert same_transcript(kept, transcript) and same_transcript(transcript, kept)
    assert not same_transcript(comparable([("f", [network, {}]), ("g", None)]), transcript)


def test_a_fault_is_kept_without_the_frames_in_which_it_arose():
    try:
        raise StudentFault("raised", "ValueError: no", exception="ValueError") from ValueError("no")
    except StudentFault as fault:
        kept = comparable(fault)
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
    again = StudentFault("raised", "ValueError: no", exception="ValueError")
    assert same_transcript([("f", kept)], [("f", again)])


def test_a_right_answer_that_is_rejected_is_named(course):
    variants = course / "solutions" / SLUG / "variants.py"
    variants.write_text(variants.read_text() + "\n\ndef sound__wrong(pattern, length):\n    return pattern\n")
    rejected = SECTIONS["right"](measurement(course, "sound"))["rejected"]
    assert list(rejected) == ["wrong, seed 0"]


def test_a_stopped_run_goes_on_where_it_stood(course):
    stopped = measurement(course, "sound", replace(EFFORT, seeds=30))
    done = []

    def stop_at_the_third(doing: str) -> None:
        done.append(doing)
        if len(done) == 3:
            raise KeyboardInterrupt

    stopped.tell = stop_at_the_third
    with pytest.raises(KeyboardInterrupt):
        SECTIONS["seeds"](stopped)
    lines = stopped.journal.path.read_text().splitlines()
    assert len(lines) == 2
    stopped.journal.path.write_text("\n".join(lines) + '\n{"unit": "half a li')
    SECTIONS["seeds"](measurement(course, "sound", replace(EFFORT, seeds=30)))
    assert stopped.journal.path.read_text().count('"seeds 0 to 9"') == 1


# --- keys -----------------------------------------------------------------------------------------

EDITS = {
    "solution": ("chapter.py", "same_token[:, :, 1:]", "same_token[..., 1:]", {"solution"}),
    "check": ("chapter.py", "draw.repeat_patterns(count=3)", "draw.repeat_patterns(count=4)", {"checks"}),
    "given": ("chapter.py", "function(pattern, length)\n", "function(pattern, 2)\n", {"checks"}),
    "reference": ("chapter.py", REFERENCE, "heads.induction_score", {"checks", "library", "room"}),
    "withheld anyway": ("chapter.py", 'withhold=["duplicate_token_score"]', "withhold=[]", set()),
    "forbidden": ("chapter.py", "minutes=5", 'minutes=5 forbid=["torch.tril"]', {"room"}),
    "mistake": ("mistakes.py", "mean((0, 2))", "mean((0, -1))", {"mistakes"}),
    "variant": ("variants.py", "length + 1", "1 + length", {"variants"}),
    "prose": ("chapter.py", "Mean attention from", "The mean attention from", set()),
    "a comment": ("mistakes.py", "return", "# so:\n    return", set()),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_the_hashes_notice_each_kind_of_change_and_no_other(course, edit):
    file, old, new, expected = EDITS[edit]
    before = measurement(course, "sound").parts
    path = course / "solutions" / SLUG / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    after = measurement(course, "sound").parts
    assert {part for part in before if before[part] != after[part]} == expected


def test_of_given_cells_only_what_an_exercise_uses_counts(course):
    before = measurement(course, "sound").parts
    path = course / "solutions" / SLUG / "chapter.py"
    other = 'from torch import nn, Tensor\n\n\ndef unused():\n    """Nobody calls it."""\n    return nn\n\n'
    text = path.read_text().replace("from torch import Tensor\n", other)
    path.write_text(text)
    assert measurement(course, "sound").parts == before
    path.write_text(text.replace("    function(pattern, length)\n", "    function(pattern, length + 0)\n"))
    assert measurement(course, "sound").parts["checks"] != before["checks"]
    path.write_text(text.replace("def unused", "torch.set_num_threads(1)\n\n\ndef unused"))
    assert measurement(course, "sound").parts["checks"] != before["checks"]


def test_the_mistakes_of_another_exercise_change_nothing(course):
    before = measurement(course, "sound").parts
    path = course / "solutions" / SLUG / "mistakes.py"
    path.write_text(path.read_text().replace("def flaky__per_row", "def flaky__by_row"))
    assert measurement(course, "sound").parts == before


def test_a_domain_for_one_exercise_leaves_its_neighbours_as_they_are(course):
    before = {name: measurement(course, name).parts for name in ("sound", "flaky")}
    path = course / "solutions" / SLUG / "domain.py"
    text = "def _size(draw):\n    return 3\n\n\ndef flaky(draw):\n    return (_size(draw),)\n"
    path.write_text(text)
    assert measurement(course, "sound").parts == before["sound"]
    with_a_domain = measurement(course, "flaky").parts
    path.write_text(text.replace("return 3", "return 4"))
    after = measurement(course, "flaky").parts
    assert len({before["flaky"]["domain"], with_a_domain["domain"], after["domain"]}) == 3


def test_of_a_class_only_private_methods_and_those_called_by_name_count():
    """So that a new way to draw leaves the certificates of exercises that never use it as they are."""
    code = keys._said(Draw, {"integer", "draw"})
    assert "def integer" in code and "def _generator" in code and "def __init__" in code
    assert "def attention_patterns" not in code and "def language_model" not in code


def test_another_draw_in_a_check_counts_as_another_library(course):
    before = measurement(course, "sound").parts
    path = course / "solutions" / SLUG / "chapter.py"
    path.write_text(path.read_text().replace("draw.repeat_patterns(count=3)", "[draw.normal(2, 3)]"))
    after = measurement(course, "sound").parts
    assert {part for part in before if before[part] != after[part]} == {"checks", "library"}


def test_a_changed_domain_makes_only_the_mutants_out_of_date(course):
    m = measurement(course, "sound")
    entry = {"sections": {name: {"key": m.key(name), "effort": asdict(EFFORT)} for name in SECTIONS}}
    (course / "solutions" / SLUG / "domain.py").write_text("def sound(draw):\n    return ()\n")
    again = {name: measurement(course, "sound").key(name) for name in SECTIONS}
    assert out_of_date(entry, again, asdict(EFFORT)) == ["mutants"]
    assert set(out_of_date(entry, again, {"seeds": 1})) == set(again)
    assert set(out_of_date(None, again, asdict(EFFORT))) == set(again)


def test_only_modules_with_other_names_than_before_are_called_again(course):
    m = measurement(course, "sound")  # opens no room
    m.earlier = {"modules": dict(m.library), "found": ["heads.double(0, 1)", "gone.answer(0)"]}
    assert reachable(m) == {"modules": m.library, "found": ["heads.double(0, 1)"]}
    entry = {"sections": {name: {"key": m.key(name), "effort": asdict(EFFORT)} for name in SECTIONS}}
    entry["sections"]["giveaways"]["facts"] = m.earlier
    keys_now = {name: m.key(name) for name in SECTIONS}
    assert out_of_date(entry, keys_now, asdict(EFFORT), m.library) == []
    assert out_of_date(entry, keys_now, asdict(EFFORT), m.library | {"heads": "other"}) == ["giveaways"]


def test_a_trial_that_breaks_is_no_proof_of_anything(course):
    (subject,) = find_subjects(course, ["sound"])
    with pytest.raises(CourseError, match=r"sound__trial in domain.py breaks: .*KeyError"):
        _passes(subject, lambda student, draw: {}["missing"], seed=0)


def test_an_object_is_judged_by_what_it_does_in_the_answer_s_place(course):
    """Where results can't be compared, a function gives the answer away if it passes the checks."""
    (subject,) = find_subjects(course, ["sound"])
    asked = []

    def try_source(source, seed):
        asked.append(source)
        return [SimpleNamespace(verdict="passed" if "import double" in source else "failed")]

    functions = [
        ["mechinterp_course.heads", *row] for row in (("double", 2, 2), ("half", 1, 3), ("one", 3, 3))
    ]
    bench = SimpleNamespace(subject=subject, try_source=try_source)
    assert _by_standing_in(bench, functions, seed=0) == ["heads.double(0, 1)"]
    assert len(asked) == 2 and asked[1] == "from mechinterp_course.heads import half as sound"


# --- whole certificates ---------------------------------------------------------------------------


@pytest.mark.proof
def test_a_sound_exercise_is_trusted_and_its_survivors_are_the_solution_in_other_words(certified):
    _, found = certified
    assert found["sound"].problems == ()
    assert found["sound"].score == 1
    assert found["sound"].equivalent, "the order of the axes of a mean makes no difference"
    assert found["sound"].margin >= 10
    assert found["sound"].named == 1
    assert found["sound"].seconds > 0


@pytest.mark.proof
def test_a_hole_in_a_check_is_reported_as_a_survivor(certified):
    _, found = certified
    assert any("→ return -(" in hole for hole in found["blind"].holes)
    assert any("no check kills sign_" in problem for problem in found["blind"].problems)
    assert found["blind"].score < 1


@pytest.mark.proof
def test_where_many_answers_are_right_a_survivor_undergoes_trials(certified):
    """A sum in the place of the mean is a multiple of the solution, not equal to it, and right here."""
    _, found = certified
    assert found["any_scale"].holes == ()
    assert any("mean(dim=(0, 2)) → " in told and "sum(" in told for told in found["any_scale"].equivalent)
    assert not any("sum(" in told for told in found["sound"].equivalent)


def test_a_short_solution_gets_mutants_of_variants_that_pass_in_a_room(course, monkeypatch):
    m = measurement(course, "sound")
    assert not m.solution_is_short
    assert m.key("mutants") == keys.combined(m.parts, RESTS_ON["mutants"])
    monkeypatch.setattr("autograder.certification.sections.LEAST", 33)
    short = measurement(course, "sound")
    assert short.solution_is_short
    assert short.key("mutants") != m.key("mutants") and short.key("seeds") == m.key("seeds")
    short.bench = lambda: Passing()
    chosen = chosen_mutants(short, 40)
    assert len(chosen) == len({each.name for each in chosen}) == 33
    assert sum(each.name.startswith("by_index.") for each in chosen) > 0
    assert all("def sound(" in each.source and "import torch" in each.source for each in chosen[-1:])


class Passing:
    """A bench on which every answer passes."""

    def try_source(self, source, seed):
        return []


@pytest.mark.proof
def test_a_library_function_that_returns_the_answer_is_caught(certified):
    _, found = certified
    assert found["open_door"].giveaways == ("heads.double(0, 1)",)
    assert found["sound"].giveaways == ()


@pytest.mark.proof
def test_certificates_lie_beside_the_solutions_and_make_a_page_of_the_book(certified):
    root, _ = certified
    assert set(read_certificate(root / "solutions" / SLUG)) == set(FOUR)
    refresh(root)
    page = (root / "book" / "certificate.md").read_text(encoding="utf-8")
    assert "| `sound` | 0 of 2 | 0 of 3 |" in page
    assert "**hole**" in page
    assert "certificate" in (root / "book" / "_toc.yml").read_text()


@pytest.mark.proof
def test_checking_tries_a_sample_finds_what_changed_and_sees_through_an_edited_certificate(certified):
    root, _ = certified
    refresh(root)
    path = root / "solutions" / SLUG / FILE
    data = json.loads(path.read_text())
    for name in FOUR:  # as if certified with full effort
        for section in data["exercises"][name]["sections"].values():
            section["effort"] = asdict(Effort())
    data["exercises"]["blind"]["summary"]["holes"] = []
    del data["exercises"]["open_door"]
    path.write_text(json.dumps(data))
    assert stale(root) == ["book/certificate.md"]
    variants = path.with_name("variants.py")
    variants.write_text(variants.read_text().replace("def blind__by_index", "def blind__indexed"))
    found = {each.exercise: each for each in check_certificates(root, FOUR, root / "out", seed=5)}
    assert found["sound"].problems == found["sound"].stale == ()
    assert len(found["sound"].tried) == 5
    assert found["blind"].stale == ("right",)
    assert any("edited the certificate" in problem for problem in found["blind"].problems)
    assert any("has no certificate" in problem for problem in found["open_door"].problems)
    unnamed = {each.exercise: each for each in check_certificates(root, (), root / "out", seed=5)}
    assert unnamed["open_door"].problems == unnamed["open_door"].tried == ()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def told(certified, monkeypatch):
    """Let the command find summaries instead of measuring."""
    _, found = certified

    def of(*names):
        monkeypatch.setattr(
            "autograder.certification.certify.certify", lambda *_, **__: [found[name] for name in names]
        )

    return of


@pytest.mark.proof
@pytest.mark.parametrize(("names", "status"), [(["sound"], 0), (["sound", "blind"], 1)])
def test_the_status_is_1_when_a_verdict_cant_be_trusted(told, capsys, names, status):
    told(*names)
    assert run(["certify", *names]) == status
    assert ("✗ no check kills" in capsys.readouterr().out) == bool(status)
    assert run(["certify", "--json", *names]) == status
    assert [each["exercise"] for each in json.loads(capsys.readouterr().out)] == names


@pytest.mark.parametrize("arguments", [["no_such_exercise"], ["--seed", "-1"], ["--frob"]])
def test_bad_arguments_are_one_line_and_status_2(capsys, tmp_path, arguments):
    assert run(["certify", "--out", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mechinterp: ")
    assert error.count("\n") == 1


def test_an_output_folder_that_cant_be_written_is_one_line_and_status_2(course):
    (course / "file").write_text("")
    with pytest.raises(CourseError, match="choose another --out"):
        Journal(course / "file" / "x.jsonl")


def test_ctrl_c_is_status_130_and_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autograder.certification.certify.certify", interrupted)
    assert run(["certify"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_broken_certificate_is_refused_with_the_next_command(course):
    folder = course / "solutions" / SLUG
    (folder / FILE).write_text("{")
    with pytest.raises(CourseError, match="delete it and run `mechinterp certify ch41_tiny`"):
        read_certificate(folder)


@pytest.mark.proof
def test_a_summary_counts_a_stub_that_passes_as_a_false_accept(certified):
    root, _ = certified
    path = root / "solutions" / SLUG / FILE
    sections = json.loads(path.read_text())["exercises"]["sound"]["sections"]
    sections["graded"]["facts"]["verdicts"]["stub"]["agrees"] = "passed"
    assert summary("sound", sections).problems == ("accepts the stub, agrees",)
