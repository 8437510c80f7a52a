"""A wrong answer that behaves like a known mistake is named; anything else is not."""

import pytest
import torch

from mechinterp_course.checking import Draw, expect_close, expect_equal, recognition
from mechinterp_course.checking.draw import seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import (
    alike,
    load_mistakes,
    mistakes_of,
    named,
    recognise,
    without_advice,
)
from mechinterp_course.checking.verdict import Diagnosis, StudentFault, evaluate


def previous_token_score(pattern):
    return pattern.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=(0, -1))


def check_agrees(student, draw):
    """previous_token_score agrees with the reference"""
    for pattern in draw.attention_patterns():
        expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


def check_top_head(student, draw):
    """the head with the highest score is found from the scores"""
    pattern = draw.attention_patterns(count=1)[0]
    scores = student.previous_token_score(pattern)
    expect_equal(student.top_head(scores), int(previous_token_score(pattern).argmax()))


def current_token(pattern):
    """The diagonal itself is read: every query attends to itself.

    Seen from scores that are high for a head that looks at its own token.
    """
    return pattern.diagonal(dim1=-2, dim2=-1).mean(dim=(0, -1))


def all_queries(pattern):
    """The sum is divided by all queries."""
    return pattern.diagonal(offset=-1, dim1=-2, dim2=-1).sum(-1).mean(0) / pattern.shape[-1]


def harmless(pattern):
    """Not a mistake: the same as the reference."""
    return previous_token_score(pattern)


def raises(pattern):
    """The batch is forgotten."""
    raise IndexError("too many indices")


MISTAKES = {
    "harmless": harmless,
    "current_token": current_token,
    "all_queries": all_queries,
    "raises": raises,
}


def name_of(check, mistakes=MISTAKES, exercise="previous_token_score", **answers):
    student, draw = LocalStudent(answers), Draw(11)
    evaluate(check, student, draw)
    return recognise(check, exercise, mistakes, student.transcript, draw)


def current_token_in_a_loop(pattern):
    batch, heads, length, _ = pattern.shape
    totals = torch.zeros(heads, dtype=torch.float64)
    for row in range(batch):
        for head in range(heads):
            totals[head] += sum(pattern[row, head, place, place].item() for place in range(length))
    return (totals / (batch * length)).float()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (current_token, "current_token"),
        (current_token_in_a_loop, "current_token"),
        (lambda pattern: previous_token_score(pattern) * (1 - 1 / pattern.shape[-1]), "all_queries"),
        (lambda pattern: previous_token_score(pattern) * 0.9, None),
        (lambda pattern: current_token(pattern) + 1e-2, None),
        (lambda pattern: current_token(pattern).double(), None),
        (previous_token_score, None),
        (raises, "raises"),
    ],
    ids=[
        "itself",
        "in a loop",
        "other formula",
        "other factor",
        "not quite",
        "other dtype",
        "right",
        "raises",
    ],
)
def test_the_mistake_with_the_same_behaviour_is_named(answer, name):
    assert name_of(check_agrees, previous_token_score=answer) == name


def raises_for_another_reason(pattern):
    raise IndexError("list index out of range")


def raises_another_type(pattern):
    raise TypeError("too many indices")


@pytest.mark.parametrize("answer", [raises_for_another_reason, raises_another_type])
def test_an_exception_alone_names_a_mistake_only_if_it_says_the_same(answer):
    assert name_of(check_agrees, previous_token_score=answer) is None


def test_answers_of_other_exercises_are_replayed_as_they_were_given():
    def lowest(scores):
        return int(scores.argmin())

    assert name_of(
        check_top_head,
        {"lowest": lowest},
        "top_head",
        previous_token_score=lambda pattern: previous_token_score(pattern) ** 2,
        top_head=lambda scores: min(range(len(scores)), key=scores.__getitem__),
    ) == ("lowest")


def guesses(pattern):
    """The scores are drawn from the global generator."""
    return torch.rand(pattern.shape[1])


def test_a_mistake_that_draws_at_random_meets_the_generator_that_the_student_met():
    student, draw = (
        LocalStudent({"previous_token_score": lambda pattern: torch.rand(pattern.shape[1])}),
        Draw(11),
    )
    with seeded_generators(draw.student_seed):
        evaluate(check_agrees, student, draw)
    assert (
        recognise(check_agrees, "previous_token_score", {"guesses": guesses}, student.transcript, draw)
        == "guesses"
    )


def test_the_first_of_several_matching_mistakes_is_named():
    twice = {"first": current_token, "second": current_token}
    assert name_of(check_agrees, twice, previous_token_score=current_token) == "first"


def test_an_empty_transcript_names_nothing():
    assert recognise(check_agrees, "previous_token_score", MISTAKES, [], Draw(11)) is None


NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (torch.tensor([1.0, NAN]), torch.tensor([1.00001, NAN]), True),
        (torch.tensor([1.0]), torch.tensor([1.01]), False),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), False),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        ([(1, 0.5)], [[1, 0.500001]], True),
        ([1, 2], [1], False),
        (True, 1, False),
        (NAN, NAN, True),
        ({"a": 1.0}, {"a": 1.0}, True),
        (None, None, True),
        (None, 0, False),
        (
            StudentFault("raised", "a", exception="KeyError"),
            StudentFault("raised", "b", exception="KeyError"),
            True,
        ),
        (StudentFault("raised", "a", exception="KeyError"), StudentFault("timeout", "a"), False),
        (StudentFault("timeout", "a"), torch.ones(1), False),
        (torch.ones(1), [1.0], False),
        (object(), object(), True),
        (object(), torch.ones(1), False),
    ],
)
def test_results_are_alike_up_to_rounding_and_form(one, other, equal):
    assert alike(one, other) is equal
    assert alike(other, one) is equal


@pytest.fixture
def course(tmp_path, monkeypatch):
    chapter = tmp_path / "solutions" / "ch99_demo"
    chapter.mkdir(parents=True)
    (chapter / "mistakes.py").write_text(
        "import torch\n\n\ndef _zero(x):\n    return 0 * x\n\n\n"
        "def score__zeros(x):\n    return _zero(x)\n\n\ndef score__ones(x):\n    return x / x\n\n\n"
        "def find__all(model):\n    return []\n"
    )
    monkeypatch.setattr(recognition, "course_root", lambda: tmp_path)
    return tmp_path


def test_mistakes_are_loaded_by_exercise_in_the_order_of_the_file(course):
    loaded = load_mistakes("ch99_demo")
    assert {exercise: list(mistakes) for exercise, mistakes in loaded.items()} == {
        "score": ["zeros", "ones"],
        "find": ["all"],
    }
    assert loaded["score"]["zeros"](torch.ones(2)).tolist() == [0, 0]


def test_mistakes_are_found_by_exercise_alone(course):
    assert list(mistakes_of("find")) == ["all"]
    assert mistakes_of("fin") == {}


def test_a_course_without_solutions_has_no_mistakes(tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "course_root", lambda: tmp_path)
    assert load_mistakes("ch99_demo") == mistakes_of("score") == {}


def test_a_named_diagnosis_begins_with_the_misconception():
    diagnosis = named(Diagnosis("wrong_value", "5 of 5 values differ."), "current_token", current_token)
    assert diagnosis.mistake == "current_token"
    assert (
        diagnosis.message
        == "The diagonal itself is read: every query attends to itself. 5 of 5 values differ."
    )


@pytest.mark.parametrize(
    ("guessed", "left"),
    [
        ("These are the expected values rounded to 0 decimals.", ""),
        ("The right partners, in reverse order.", ""),
        ("5 of 5 values differ. That is nearly right: look at the precision.", "5 of 5 values differ."),
        ("Right, but cut off at 0: smaller values were expected.", "Right, but cut off at 0: smaller"),
    ],
)
def test_beside_a_named_mistake_nothing_is_guessed_from_a_few_values(guessed, left):
    message = named(Diagnosis("wrong_value", guessed), "current_token", current_token).message
    assert message.removeprefix("The diagonal itself is read: every query attends to itself.").startswith(
        f" {left}" if left else ""
    )
    assert bool(left) is not message.endswith("itself.")


@pytest.mark.parametrize(("results", "asked"), [([None, None], True), ([2.0, None], False), ([], True)])
def test_nobody_is_asked_for_a_return_whose_function_has_returned_something(results, asked):
    diagnosis = Diagnosis("wrong_type", "Expected a float, got None. Is a `return` missing?")
    found = without_advice(diagnosis, "dose", [[("dose", result)] for result in results])
    assert ("return" in found.message) == asked
