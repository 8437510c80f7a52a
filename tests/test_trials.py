"""The trials of tasks with many right answers: they pass the solution, and tell mistakes from it."""

import pytest

from autograder.certification.equivalence import Equivalence, equivalence
from autograder.certification.subject import Checks, find_subjects
from autograder.certification.trials import KeptModels, bench
from mechinterp_course.checking.draw import seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.layout import course_root

SEEDS = range(3)
SUBJECTS = [subject for subject in find_subjects(course_root()) if subject.trial()]
pytestmark = pytest.mark.proof


def verdict(subject, names, seed):
    with seeded_generators(seed):
        outcome = evaluate(subject.trial(), LocalStudent(names), KeptModels(seed, {}))
    return outcome.verdict, outcome.diagnosis and outcome.diagnosis.message


@pytest.mark.parametrize("subject", SUBJECTS, ids=[subject.name for subject in SUBJECTS])
def test_a_trial_passes_right_answers_and_fails_most_mistakes(subject):
    """A mutant that no check rejects counts as the solution in other words if it passes trials."""
    solved, name = subject.solved(), subject.name
    assert [verdict(subject, solved, seed) for seed in SEEDS] == [("passed", None)] * len(SEEDS)
    for answer in subject.proofs("variants").values():
        assert verdict(subject, solved | {name: answer}, seed=0) == ("passed", None)
    wrong = subject.proofs("mistakes")
    failed = [
        mistake
        for mistake, answer in wrong.items()
        if "failed" in {verdict(subject, solved | {name: answer}, seed)[0] for seed in SEEDS}
    ]
    assert 2 * len(failed) > len(wrong), f"of {list(wrong)} only {failed} fail"


@pytest.mark.parametrize("subject", SUBJECTS, ids=[subject.name for subject in SUBJECTS])
def test_a_trial_asks_for_nothing_that_a_room_has_not(subject, zygote):
    """Mutants undergo trials in rooms, where a function of domain.py is unknown."""
    with bench(subject, Checks.of(subject), zygote, slowness=10) as room:
        assert equivalence(room, subject.solution, seed=0, draws=1) == Equivalence(1, None)
