"""What the grader says of wrong answers that were written blind: does it help, and is it true?

`wrong_answers/README.md` tells how the answers were made and how each explanation was judged. A new or
changed explanation has to be read and judged: `python tests/wrong_answers/explained.py` writes them down.
`pytest -m benchmark tests/test_wrong_answers.py` compares all, in some ten minutes; the proofs, a sample.
"""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "explained", Path(__file__).parent / "wrong_answers/explained.py"
)
explained = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(explained)

AT_LEAST_NAMED, FALSE_CLAIMS = 0.8, 0.01
ACCEPTED = {"strongest_contexts__ties_by_text"}  # right by the statement as it is now
WRONG = explained.wrong_answers()
FRESH = explained.answers("fresh")
IN_VIEW = explained.answers("third_for_development")
HELD_OUT = explained.answers("third_held_out")
RIGHT = explained.answers("right_but_unusual")
ELSEWHERE, LATER, THIRD, FOURTH, FIFTH = map(explained.names_elsewhere, explained.ELSEWHERE)
BLIND = [*ELSEWHERE, *LATER, *THIRD, *FOURTH, *FIFTH]
ALL = [*explained.answers_here(), *BLIND]
SLOW = ("rank_heads_by_effect", "is_induction_head")  # seconds for each answer
QUICK_CHAPTERS = ("ch05_superposition", "ch16_feature_hierarchy", "ch18_dictionary_variants")


def sample(names: list[str]) -> list[str]:
    """Return the answers that the proofs grade: every sixth, of the exercises that are quick to grade."""
    return [name for name in names if is_quick(name)][::6]


def is_quick(name: str) -> bool:
    """Whether an answer is explained in less than a second."""
    if name in BLIND:
        chapter = explained.chapter_of(name.partition("__")[0])
        return chapter in QUICK_CHAPTERS and not name.startswith(("train_toy", "transcoder_recovered"))
    return not name.startswith(SLOW)


def changed(names: list[str]) -> list[str]:
    """Return the answers of whom the grader now says something that nobody has judged."""
    known = explained.recorded()
    texts = {name: explained.explanation(name, explained.find_answer(name)) for name in names}
    return [
        name for name, text in texts.items() if explained.gist(text) != explained.gist(known[name]["text"])
    ]


@pytest.mark.proof
def test_every_answer_has_a_judgement():
    known = explained.recorded()
    assert known.keys() == {*ALL}
    assert [name for name, entry in known.items() if None in (entry["named"], entry["false_claim"])] == []
    assert len(WRONG) >= 110 and len(FRESH) == 30 and len(IN_VIEW) == 15 and len(HELD_OUT) == 25
    assert len(ELSEWHERE) >= 120
    assert [len(each) for each in (LATER, THIRD, FOURTH, FIFTH)] == [48, 104, 100, 171]
    assert len(RIGHT) >= 10


@pytest.mark.proof
@pytest.mark.parametrize(
    "answers",
    [WRONG, FRESH, IN_VIEW, HELD_OUT, BLIND],
    ids=["first", "fresh", "in view", "held out", "elsewhere"],
)
def test_four_explanations_of_five_name_the_misconception_or_its_axis(answers):
    known = explained.recorded()
    rejected = [name for name in answers if known[name]["text"]]
    silent = [name for name in rejected if not known[name]["named"]]
    assert len(silent) <= (1 - AT_LEAST_NAMED) * len(rejected), silent


@pytest.mark.proof
def test_hardly_an_explanation_claims_a_mistake_that_is_not_there():
    known = explained.recorded()
    false = [name for name, entry in known.items() if entry["false_claim"]]
    assert len(false) <= FALSE_CLAIMS * len(known), false


@pytest.mark.proof
def test_a_right_answer_is_accepted_however_unusual_and_no_other_than_the_known_holes():
    known = explained.recorded()
    assert {name for name, entry in known.items() if not entry["text"]} == ACCEPTED | RIGHT.keys()


@pytest.mark.proof
def test_a_sample_of_the_explanations_is_as_judged():
    assert changed(sample(list(ALL))) == []


@pytest.mark.benchmark
def test_all_explanations_are_as_judged():
    assert changed(list(ALL)) == []
