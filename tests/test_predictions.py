"""Predictions: read as the learner means them, scored by Brier, in words when they can't be read."""

import pytest

from mechinterp_course.predictions import predict

CHOICES = ("it rises", "it falls", "it stays")


@pytest.mark.parametrize(
    ("answer", "confidence", "truth", "score"),
    [
        ("a", 1.0, "it rises", 0.0),
        ("a", 1.0, "it falls", 1.0),
        ("b", 0.8, "it falls", 0.04),
        ("b", 0.8, "it stays", 0.64),
        ("c", 0.5, "it stays", 0.25),
        ("c", 0.5, "it rises", 0.25),
    ],
)
def test_the_brier_score_is_the_squared_distance_from_what_happened(answer, confidence, truth, score):
    assert predict(answer, confidence, CHOICES).brier(truth) == pytest.approx(score)


@pytest.mark.parametrize(("answer", "right"), [(6.5, True), (7.0, True), (7.01, False), (6, True)])
def test_a_number_is_right_within_its_tolerance(answer, right):
    assert predict(answer, 0.9, tolerance=0.5).is_right(6.5) is right


def test_honest_confidence_is_the_best_policy():
    expected = {c: 0.7 * predict("a", c, CHOICES).brier("it rises") for c in (0.5, 0.6, 0.7, 0.8, 0.9)}
    expected = {c: gain + 0.3 * predict("a", c, CHOICES).brier("it falls") for c, gain in expected.items()}
    assert min(expected, key=expected.get) == 0.7


def test_an_open_prediction_holds_the_result_back_and_says_what_to_do(capsys):
    assert predict(choices=CHOICES).answered() is False
    assert "Fill in your prediction above" in capsys.readouterr().out


def test_a_made_prediction_lets_the_result_through_in_silence(capsys):
    assert predict("a", 0.6, CHOICES).answered() is True
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("answer", "confidence", "choices", "message"),
    [
        ("d", 0.5, CHOICES, "one of the letters a, b, c, in quotes"),
        ("ab", 0.5, CHOICES, "one of the letters"),
        ("", 0.5, CHOICES, "one of the letters"),
        (1, 0.5, CHOICES, "one of the letters"),
        ("a", None, CHOICES, "confidence is a number from 0 to 1"),
        ("a", 80, CHOICES, "confidence is a number from 0 to 1"),
        ("a", float("nan"), CHOICES, "confidence is a number from 0 to 1"),
        ("six", 0.5, (), "answer with a number"),
        (float("nan"), 0.5, (), "answer with a number"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused_in_the_learners_words(answer, confidence, choices, message):
    with pytest.raises(ValueError, match=message):
        predict(answer, confidence, choices, tolerance=0.1)


@pytest.mark.parametrize(
    ("made", "truth", "sentence"),
    [
        (
            predict("b", 0.8, CHOICES),
            "it falls",
            "You said: it falls (80% sure). It is: it falls. You were right.",
        ),
        (predict(4, 0.5, tolerance=1), 6.51, "You said: 4 (50% sure). It is: 6.51. You were wrong."),
    ],
)
def test_comparing_prints_the_answer_beside_the_truth(made, truth, sentence, capsys):
    made.compare(truth)
    assert capsys.readouterr().out.startswith(sentence)
