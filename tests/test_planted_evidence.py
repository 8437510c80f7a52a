"""Evidence for a planted circuit: it can be repeated, and no other circuit can be proven by it."""

from functools import cache
from itertools import combinations

import pytest

from mechinterp_course.worlds import planted
from mechinterp_course.worlds.planted.evidence import missing_evidence, prove, shares_left

FAMILIES = list(planted.FAMILIES)


@cache
def example(family: str):
    return planted.plant(41, family)


def named(circuit) -> dict:
    return dict(vars(circuit))


def shadows(truth) -> dict:
    heads = {decoy.role: decoy.head for decoy in truth.decoys if decoy.kind == "shadow"}
    return {"copying": None, "matching": None, "backup": None} | heads


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_names_the_circuit_and_proves_it(family):
    puzzle, truth = example(family)
    circuit, evidence = planted.find_circuit(puzzle.weights, puzzle.bos, puzzle.offset)
    assert circuit == named(truth.circuit)
    assert missing_evidence(puzzle, circuit, evidence) is None
    assert len(evidence) == (6 if truth.circuit.backup else 4)


def test_a_number_that_was_not_measured_is_named():
    puzzle, truth = example("pair")
    made_up = [(heads, round(left)) for heads, left in prove(puzzle, truth.circuit)]
    said = missing_evidence(puzzle, named(truth.circuit), made_up)
    assert said.startswith("Silencing [") and "of the answer, not" in said


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_proves_nothing(wrong):
    puzzle, truth = example("pair")
    assert missing_evidence(puzzle, named(truth.circuit), [([], wrong)]) is not None


@pytest.mark.parametrize(
    ("left_out", "sentence"), [(0, "answer needs"), (1, "are enough"), (2, "answer needs")]
)
def test_every_experiment_of_the_proof_is_needed(left_out, sentence):
    puzzle, truth = example("pair")
    evidence = prove(puzzle, truth.circuit)
    del evidence[left_out]
    assert sentence in missing_evidence(puzzle, named(truth.circuit), evidence)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shadow_circuit_is_enough_and_can_not_be_proven(family):
    puzzle, truth = example(family)
    circuit = shadows(truth)
    heads = sorted(filter(None, circuit.values()))
    groups = [sorted(group) for size in range(len(heads) + 1) for group in combinations(heads, size)]
    groups.append([head for head in puzzle.heads if head not in heads])
    evidence = list(zip(groups, shares_left(puzzle, groups), strict=True))
    assert evidence[-1][1] > 0.8
    assert "alone show that the answer needs it" in missing_evidence(puzzle, circuit, evidence)


def test_silencing_the_eraser_too_does_not_make_the_shadow_circuit_needed():
    puzzle, truth = example("pair")
    circuit, eraser = shadows(truth), truth.eraser
    outside = [head for head in puzzle.heads if head not in circuit.values()]
    real = [truth.circuit.copying, truth.circuit.matching]
    groups = [outside, [eraser, *real]] + [
        sorted([eraser, *real, circuit[role]]) for role in ("copying", "matching")
    ]
    evidence = list(zip(map(sorted, groups), shares_left(puzzle, groups), strict=True))
    assert [left > 0.8 for _, left in evidence] == [True, True, False, False]
    assert "alone show that the answer needs it" in missing_evidence(puzzle, circuit, evidence)


@pytest.mark.parametrize("lacking", ["matching", "backup"])
def test_with_a_backup_half_of_the_pair_can_not_be_proven(lacking):
    puzzle, truth = example("backup")
    circuit = named(truth.circuit) | {lacking: None}
    heads = sorted(filter(None, circuit.values()))
    groups = [[], [heads[0]], [heads[1]], heads, [head for head in puzzle.heads if head not in heads]]
    evidence = list(zip(groups, shares_left(puzzle, groups), strict=True))
    assert f"{heads[1]} alone" in missing_evidence(puzzle, circuit, evidence)
