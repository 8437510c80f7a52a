"""Circuits run with all other heads ablated, and what is said about them."""

import pytest
import torch
from test_patch_sweeps import DIFFERENCE, HEADS, LAYERS, bridge, gpt2, llama, prompts

from mechinterp_course.faithfulness import (
    KINDS,
    completeness,
    elimination_order,
    faithfulness,
    faithfulness_curve,
    greedy_circuit,
    minimality,
    run_circuit,
)
from mechinterp_course.patching import ablate_head, patch_head_output
from mechinterp_course.worlds import planted

EVERY = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]


@pytest.fixture(scope="module")
def model():
    return bridge(gpt2)


def without(head):
    return [other for other in EVERY if other != head]


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_a_circuit_of_all_heads_but_one_is_that_head_ablated(model, kind):
    tokens = prompts()[0]
    ablated = run_circuit(model, tokens, without((1, 2)), kind)
    torch.testing.assert_close(ablated, ablate_head(model, tokens, 1, 2, kind), atol=1e-4, rtol=1e-4)


def test_resampling_one_head_is_patching_its_output_from_the_other_run(model):
    clean, corrupted = prompts()
    resampled = run_circuit(model, clean, without((0, 1)), "resample", corrupted)
    expected = patch_head_output(model, corrupted, clean, 0, 1)
    torch.testing.assert_close(resampled, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_heads_are_the_model_and_no_head_is_a_model_whose_z_are_all_replaced(model, kind):
    clean, corrupted = prompts()
    torch.testing.assert_close(run_circuit(model, clean, EVERY, kind, corrupted), model(clean))
    _, cache = model.run_with_cache(corrupted)

    def replace(z, hook):
        there = cache[hook.name] if hook.name in cache else cache[f"blocks.{hook.layer()}.attn.hook_z"]
        return {"resample": there, "mean": there.mean((0, 1)).expand_as(z), "zero": z * 0}[kind]

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace) for layer in range(LAYERS)]):
        expected = model(clean)
    nothing = run_circuit(model, clean, [], kind, corrupted)
    torch.testing.assert_close(nothing, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_faithfulness_goes_from_no_head_to_all_heads(model, kind):
    clean, corrupted = prompts()
    ask = (model, clean, corrupted, DIFFERENCE)
    assert faithfulness(*ask, [], kind) == pytest.approx(0, abs=1e-4)
    assert faithfulness(*ask, EVERY, kind) == pytest.approx(1, abs=1e-4)
    ends = [DIFFERENCE(run_circuit(model, clean, end, kind, corrupted)).item() for end in ([], EVERY)]
    part = EVERY[::2]
    value = DIFFERENCE(run_circuit(model, clean, part, kind, corrupted)).item()
    expected = (value - ends[0]) / (ends[1] - ends[0])
    assert faithfulness(*ask, part, kind) == pytest.approx(expected, abs=1e-3)


def test_a_head_s_share_in_minimality_is_what_its_removal_costs_and_completeness_is_the_complement(model):
    ask = (model, *prompts(), DIFFERENCE)
    circuit = [(0, 1), (1, 3), (2, 0)]
    lost = minimality(*ask, circuit)
    assert list(lost) == circuit
    rest = faithfulness(*ask, [(0, 1), (2, 0)])
    assert lost[1, 3] == pytest.approx(faithfulness(*ask, circuit) - rest, abs=1e-4)
    others = [head for head in EVERY if head not in circuit]
    assert completeness(*ask, circuit) == pytest.approx(1 - faithfulness(*ask, others), abs=1e-4)


def test_the_curve_holds_each_size_of_each_ablation_and_the_same_random_circuits_again(model):
    ask = (model, *prompts(), DIFFERENCE)
    order = elimination_order(*ask)
    assert sorted(order) == EVERY
    curve, again = (faithfulness_curve(*ask, order, random=3, seed=5, sizes=(0, 4, 12)) for _ in range(2))
    assert set(curve.values) == set(KINDS) and curve.random["mean"].shape == (3, 3)
    for kind in KINDS:
        assert curve.values[kind][1].item() == pytest.approx(faithfulness(*ask, order[:4], kind), abs=1e-3)
        torch.testing.assert_close(curve.random[kind][:, [0, 2]], torch.tensor([[0.0, 1.0]] * 3))
        assert torch.equal(curve.random[kind], again.random[kind])
    assert len(curve.plot("Circuits", keep=0.85).axes) == 3


@pytest.mark.parametrize("at_once", [0.0, 0.25, 0.4])
def test_the_greedy_circuit_keeps_what_was_asked_and_no_head_that_it_can_spare(model, at_once):
    ask = (model, *prompts(), DIFFERENCE)
    circuit = greedy_circuit(*ask, keep=0.8, at_once=at_once)
    assert faithfulness(*ask, circuit) >= 0.8 - 1e-4 and len(circuit) < len(EVERY)
    kept = [faithfulness(*ask, [one for one in circuit if one != out]) for out in circuit]
    assert max(kept) < 0.8 + 1e-4


def test_the_greedy_circuit_of_a_planted_model_is_the_one_that_was_planted():
    puzzle, truth = planted.plant(0)
    model, samples = puzzle.load(), puzzle.samples(0, 16)
    rows = torch.arange(16)

    def metric(logits):
        return logits[rows, -1].log_softmax(-1)[rows, samples.answers].mean()

    found = greedy_circuit(model, samples.tokens, samples.counterfactuals, metric, keep=0.9)
    assert set(found) == {truth.circuit.copying, truth.circuit.matching}


def test_a_circuit_runs_on_a_model_with_shared_keys():
    model, (clean, corrupted) = bridge(llama), prompts()
    assert faithfulness(model, clean, corrupted, DIFFERENCE, EVERY) == pytest.approx(1)


def test_what_can_not_be_run_is_refused_and_no_hook_stays(model):
    clean, corrupted = prompts()
    before = model(clean)
    for circuit, kind, other, message in [
        ([], "median", None, "kind is resample, mean, zero"),
        ([], "resample", None, "needs `other`"),
        ([], "resample", corrupted[:, 1:], "same shape"),
        ([(3, 0)], "zero", None, "no head 3.0"),
        ([(0, -1)], "zero", None, "no head 0.-1"),
    ]:
        with pytest.raises(ValueError, match=message):
            run_circuit(model, clean, circuit, kind, other)
    with pytest.raises(ValueError, match="nothing to keep"):
        faithfulness(model, clean, clean, DIFFERENCE, [], "resample")
    assert torch.equal(model(clean), before)
