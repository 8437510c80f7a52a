"""Planted circuits: they do what the docstring says, and interventions tell them from their look-alikes."""

import doctest
from collections import Counter
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise

import pytest
import torch

from mechinterp_course.circuits import composition_scores, copying_scores
from mechinterp_course.errors import CourseError
from mechinterp_course.heads import find_induction_heads, is_induction_head, previous_token_score
from mechinterp_course.patching import ablate_head, rank_heads_by_effect
from mechinterp_course.worlds import planted
from mechinterp_course.worlds.planted import __main__ as command
from mechinterp_course.worlds.planted.circuit import ROLES
from mechinterp_course.worlds.planted.codes import position_codes, token_codes, turn_back
from mechinterp_course.worlds.planted.solver import answer_logit, answers_without, run_without
from mechinterp_course.worlds.planted.survey import Rate, survey, wilson_interval
from mechinterp_course.worlds.planted.weights import LAYER_NORM
from mechinterp_course.worlds.tokens import repeated_tokens

FAMILIES = list(planted.FAMILIES)
CASES = [(family, offset) for family in FAMILIES for offset in (1, 2, 3)]


@cache
def example(family: str, offset: int = 1):
    """The first puzzle of a family with this offset, its truth, its model and samples of it."""
    seed = next(seed for seed in range(100) if planted.truth_of(seed, family).offset == offset)
    puzzle, truth = planted.plant(seed, family)
    return puzzle, truth, puzzle.load(), puzzle.samples(seed=1, count=32)


def decoys(truth, role: str, kind: str) -> list[planted.Head]:
    return [decoy.head for decoy in truth.decoys if (decoy.role, decoy.kind) == (role, kind)]


def roles(truth) -> list[str]:
    return [role for role in ROLES if getattr(truth.circuit, role)]


def kept(model, samples, *groups) -> list[float]:
    """What part of the answer's logit is left without each group of heads."""
    intact, *answers = answers_without(model, samples, [(), *groups])
    return [answer / intact for answer in answers]


# what is planted


def test_token_codes_overlap_by_nothing_or_a_quarter():
    code = token_codes()
    overlaps = (code @ code.T).abs()
    assert code.shape == (64, 16)
    torch.testing.assert_close(overlaps.diagonal(), torch.ones(64))
    off_diagonal = overlaps[~torch.eye(64, dtype=torch.bool)]
    assert ((off_diagonal < 1e-6) | ((off_diagonal - 0.25).abs() < 1e-6)).all()


def test_position_codes_overlap_by_a_sixth_at_most_and_depend_on_distance_alone():
    code = position_codes()
    overlaps = code @ code.T
    torch.testing.assert_close(overlaps[1:, 1:], overlaps[:-1, :-1])
    assert overlaps[0, 0].item() == pytest.approx(1) and overlaps[0, 1:].max() <= 1 / 6


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_turning_back_gives_a_position_the_code_of_an_earlier_one(steps):
    turned = position_codes() @ turn_back(steps)
    torch.testing.assert_close(turned, position_codes(turned_back=steps))
    torch.testing.assert_close(turned[steps:], position_codes()[: 64 - steps])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_role_has_two_unread_decoys_and_a_shadow_and_no_head_two_jobs(family):
    for seed in range(50):
        truth = planted.truth_of(seed, family)
        for role in roles(truth):
            assert len(decoys(truth, role, "unread")) == 2 and len(decoys(truth, role, "shadow")) == 1
        named = [*(head for role in roles(truth) for head in truth.look_alikes(role))]
        named += [truth.eraser, truth.idle_eraser]
        assert len(set(named)) == len(named) == 4 * len(roles(truth)) + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_all_look_alikes_of_a_role_lie_below_all_of_the_next(family):
    for seed in range(50):
        truth = planted.truth_of(seed, family)
        stages = [[layer for layer, _ in truth.look_alikes(role)] for role in roles(truth)]
        stages[0] += [truth.eraser[0], truth.idle_eraser[0]]
        for lower, upper in pairwise(stages):
            assert max(lower) < min(upper)
        assert max(stages[-1]) < truth.n_layers


def test_the_backup_family_has_a_backup_and_the_others_have_none():
    for family in FAMILIES:
        assert (planted.truth_of(0, family).circuit.backup is not None) == (family == "backup")


def test_an_unknown_family_is_one_clear_line():
    with pytest.raises(CourseError, match="no family is called 'triple': choose one of pair, deep, backup"):
        planted.truth_of(0, "triple")


# seeds


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_weights_to_the_bit_and_the_same_truth(family):
    (first, truth), (second, same_truth) = planted.plant(11, family), planted.plant(11, family)
    assert truth == same_truth == planted.truth_of(11, family) and first.bos == second.bos
    assert list(first.weights) == list(second.weights)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_number_of_threads_changes_no_bit_and_stays_what_it_was():
    threads = torch.get_num_threads()
    alone = planted.plant(11)[0].weights
    torch.set_num_threads(threads + 1)
    try:
        together = planted.plant(11)[0].weights
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_planting_and_loading_leave_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    planted.plant(0)[0].load()
    assert torch.equal(torch.rand(3), expected)


def test_a_secret_of_128_bits_is_a_seed_and_every_bit_counts():
    secret = 0xDEADBEEFDEADBEEFDEADBEEFDEADBEEF
    weights = [planted.plant(s)[0].weights["lm_head.weight"] for s in (secret, secret + 1, secret + 2**127)]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_weights_of_neighbouring_seeds_are_unrelated():
    name = "transformer.h.0.attn.c_attn.weight"
    a, b = (planted.plant(seed)[0].weights[name].flatten() for seed in (3, 4))
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 4 / len(a) ** 0.5


def test_places_are_spread_evenly_and_neighbours_share_no_more_than_chance():
    truths = [planted.truth_of(seed) for seed in range(400)]
    for role in ("copying", "matching"):
        places = [getattr(truth.circuit, role) for truth in truths]
        counts = Counter(places)
        assert len(counts) == 8 and all(abs(n - 50) < 4 * 50**0.5 for n in counts.values())
        shared = sum(a == b for a, b in pairwise(places))
        assert abs(shared - 50) < 4 * 50**0.5
    assert all(abs(n - 400 / 3) < 4 * 10 for n in Counter(truth.offset for truth in truths).values())


def test_in_four_layers_every_head_that_could_do_a_job_is_drawn_for_it():
    circuits = [planted.truth_of(seed, "deep").circuit for seed in range(400)]
    assert {circuit.copying for circuit in circuits} == {(n, h) for n in (0, 1, 2) for h in range(8)}
    assert {circuit.matching for circuit in circuits} == {(n, h) for n in (1, 2, 3) for h in range(8)}


# inputs


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("length", [6, 16, 64])
def test_a_row_repeats_one_token_and_the_answer_stands_offset_after_its_first_place(offset, length):
    puzzle = example("pair", offset)[0]
    samples = puzzle.samples(seed=0, count=40, length=length)
    assert samples.tokens.shape == samples.counterfactuals.shape == (40, length)
    for row, changed, answer in zip(samples.tokens, samples.counterfactuals, samples.answers, strict=True):
        words = row.tolist()
        assert words[0] == puzzle.bos and words.count(words[-1]) == 2 and len(set(words)) == length - 1
        source = words.index(words[-1])
        assert words[source + offset] == answer and source + offset < length - 1
        assert (row != changed).nonzero().tolist() == [[source]]
        assert changed[source] not in row


def test_samples_are_drawn_from_their_seed_alone():
    puzzle = example("pair")[0]
    first, again, other = (puzzle.samples(seed, 8).tokens for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("length", [5, 65])
def test_rows_that_the_model_or_the_task_has_no_room_for_are_refused(length):
    with pytest.raises(ValueError, match="length is 6 to 64"):
        example("pair")[0].samples(0, 1, length)


def test_a_puzzle_holds_weights_and_the_task_and_nothing_of_the_truth():
    puzzle, truth = planted.plant(0, "backup")
    assert {field.name for field in fields(puzzle)} == {"weights", "bos", "offset"}
    assert all(
        type(weight) is torch.Tensor and weight.dtype == torch.float32 for weight in puzzle.weights.values()
    )
    assert puzzle.heads == [(layer, head) for layer in range(truth.n_layers) for head in range(8)]


# the function


def logits_without_layer_norm(puzzle, tokens: torch.Tensor, ablated=()) -> torch.Tensor:
    """The model in float64 as the docstring writes it: where GPT-2 has LayerNorm, division by a constant."""
    w = {name.removeprefix("transformer."): weight.double() for name, weight in puzzle.weights.items()}
    batch, pos = tokens.shape
    resid = w["wte.weight"][tokens] + w["wpe.weight"][:pos]
    later = torch.ones(pos, pos, dtype=torch.bool).triu(1)
    for layer in range(len(puzzle.heads) // 8):
        qkv = resid / LAYER_NORM @ w[f"h.{layer}.attn.c_attn.weight"]
        q, k, v = qkv.view(batch, pos, 3, 8, 36).permute(2, 0, 3, 1, 4)
        z = (q @ k.mT / 6).masked_fill(later, -torch.inf).softmax(-1) @ v
        z[:, [head for where, head in ablated if where == layer]] = 0
        resid = resid + z.transpose(1, 2).reshape(batch, pos, -1) @ w[f"h.{layer}.attn.c_proj.weight"]
    return resid / LAYER_NORM @ w["lm_head.weight"].T


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ablate", [False, True], ids=["intact", "without its eraser"])
def test_layer_norm_is_a_constant_factor(family, ablate):
    puzzle, truth, model, samples = example(family, 2)
    heads = [truth.eraser] if ablate else []
    expected = logits_without_layer_norm(puzzle, samples.tokens, heads).log_softmax(-1)[:, -1]
    measured = run_without(model, samples, [heads])[0].double().log_softmax(-1)[:, -1]
    torch.testing.assert_close(measured, expected, atol=0.25, rtol=0)  # of an answer's logit of 12 or 24


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_norm_divides_all_positions_of_all_inputs_by_the_same_to_a_part_in_two_thousand(family):
    _, _, model, samples = example(family, 3)
    _, cache = model.run_with_cache(samples.tokens)
    scales = [cache[f"blocks.{layer}.ln1.hook_scale"] for layer in range(model.cfg.n_layers)]
    scales = torch.cat([*scales, cache["ln_final.hook_scale"]])
    torch.testing.assert_close(scales, torch.full_like(scales, LAYER_NORM), rtol=5e-4, atol=0)


@pytest.mark.parametrize(("family", "offset"), CASES)
def test_the_model_predicts_what_stood_offset_after_and_nothing_once_the_source_is_gone(family, offset):
    puzzle, _, model, _ = example(family, offset)
    samples = puzzle.samples(seed=2, count=200)
    logits = model(samples.tokens)
    assert (logits[:, -1].argmax(-1) == samples.answers).float().mean() >= 0.98
    assert answer_logit(logits, samples) == pytest.approx(11.5, abs=1.0)
    assert abs(answer_logit(model(samples.counterfactuals), samples)) < 1.0


@pytest.mark.parametrize(("family", "offset"), CASES)
def test_planted_heads_and_decoys_attend_alike(family, offset):
    _, truth, model, samples = example(family, offset)
    _, cache = model.run_with_cache(samples.tokens)
    source = (samples.tokens == samples.answers[:, None]).float()
    for layer, head in truth.look_alikes("copying"):
        assert cache["pattern", layer][:, head].diagonal(-offset, -2, -1)[:, 1:].mean() > 0.98
    for layer, head in truth.look_alikes("matching"):
        assert (cache["pattern", layer][:, head, -1] * source).sum(-1).mean() > 0.98
    for layer, head in truth.look_alikes("backup") if truth.circuit.backup else ():
        assert cache["pattern", layer][:, head, -1, 0].mean() > 0.95


# what interventions say


@pytest.mark.parametrize(("family", "offset"), CASES)
def test_the_answer_needs_the_circuit_and_no_decoy(family, offset):
    _, truth, model, samples = example(family, offset)
    circuit = truth.circuit
    needed = [circuit.copying] if circuit.backup else [circuit.copying, circuit.matching]
    assert all(part < 0.1 for part in kept(model, samples, *([head] for head in needed)))
    idle = [decoy.head for decoy in truth.decoys] + [truth.idle_eraser]
    assert all(0.9 < part < 1.1 for part in kept(model, samples, *([head] for head in idle), idle))


@pytest.mark.parametrize(("family", "offset"), CASES)
def test_ablating_the_eraser_puts_the_shadow_circuit_to_work(family, offset):
    _, truth, model, samples = example(family, offset)
    alone, with_shadow = kept(
        model, samples, [truth.eraser], [truth.eraser, *decoys(truth, "matching", "shadow")]
    )
    assert alone > 1.5
    assert with_shadow < 1.2 if truth.circuit.backup is None else with_shadow < alone + 0.1


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_either_of_matching_and_backup_can_go_and_not_both(offset):
    _, truth, model, samples = example("backup", offset)
    matching, backup = truth.circuit.matching, truth.circuit.backup
    without_one, without_other, without_both = kept(model, samples, [matching], [backup], [matching, backup])
    assert without_one > 0.9 and without_other > 0.9 and without_both < 0.1


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_the_backup_wakes_however_the_matching_head_is_ablated(kind):
    _, truth, model, samples = example("backup", 2)
    left = answer_logit(ablate_head(model, samples.tokens, *truth.circuit.matching, kind), samples)
    assert left > 0.9 * answer_logit(model(samples.tokens), samples)


def test_noise_heads_write_something_and_matter_little_together():
    puzzle, truth, model, samples = example("deep", 1)
    named = {head for role in roles(truth) for head in truth.look_alikes(role)}
    noise = [h for h in puzzle.heads if h not in named | {truth.eraser, truth.idle_eraser}]
    _, cache = model.run_with_cache(samples.tokens)
    for layer, head in noise:
        written = cache["z", layer][:, :, head] @ model.blocks[layer].attn.W_O[head]
        assert 0.02 < written.norm(dim=-1).mean() < 0.5
    assert 0.9 < kept(model, samples, noise)[0] < 1.1


# what it is used with


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(planted) == (0, 6)


def test_with_offset_one_the_course_finds_a_previous_token_head_and_an_induction_head():
    puzzle, truth, model, _ = example("pair", 1)
    tokens = repeated_tokens(model.cfg.d_vocab, 12, 32, puzzle.bos, seed=0)
    _, cache = model.run_with_cache(tokens)
    layer, head = truth.circuit.copying
    assert previous_token_score(cache["pattern", layer])[head] > 0.98
    assert find_induction_heads(model, tokens, 0.6) == list(truth.look_alikes("matching"))
    ranked = rank_heads_by_effect(model, tokens)
    assert {(layer, head) for layer, head, _ in ranked[:2]} == {truth.circuit.copying, truth.circuit.matching}
    assert ranked[1][2] > 10 * abs(ranked[2][2])


def test_is_induction_head_tells_the_planted_head_from_its_decoys():
    puzzle, truth, model, _ = example("pair", 1)
    induction = [h for h in truth.look_alikes("matching") if is_induction_head(model, *h, puzzle.bos)]
    assert induction == [truth.circuit.matching]


def test_with_a_backup_a_ranking_by_single_ablation_finds_the_copying_head_and_stops():
    puzzle, truth, model, _ = example("backup", 1)
    tokens = repeated_tokens(model.cfg.d_vocab, 12, 32, puzzle.bos, seed=0)
    (*first, largest), (*_, second) = rank_heads_by_effect(model, tokens)[:2]
    assert tuple(first) == truth.circuit.copying and second < 0.2 * largest


# what weights say


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shadow_circuit_composes_and_copies_as_the_planted_one_does(family):
    _, truth, model, _ = example(family, 1)
    composition, copies = composition_scores(model, "k"), copying_scores(model)
    (copying,), (matching,) = decoys(truth, "copying", "shadow"), decoys(truth, "matching", "shadow")
    real = composition[*truth.circuit.copying, *truth.circuit.matching].item()
    assert composition[*copying, *matching].item() == pytest.approx(real, rel=0.05)
    assert real > 3 * composition[*truth.circuit.copying].flatten().median()
    assert min(copies[truth.circuit.matching], copies[matching]) > 0.95
    assert max(copies[head].abs() for head in decoys(truth, "matching", "unread")) < 0.5


# who solves it


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_solver_names_the_planted_heads(family):
    for seed in range(200, 204):
        puzzle, truth = planted.plant(seed, family)
        assert planted.solve(puzzle, seed=seed) == truth.circuit


def test_the_reference_solver_names_no_circuit_where_there_is_none():
    puzzle, truth = planted.plant(0)
    layer, head = truth.circuit.copying
    name = f"transformer.h.{layer}.attn.c_proj.weight"
    weight = puzzle.weights[name].clone()
    weight[36 * head : 36 * (head + 1)] = 0
    with pytest.raises(ValueError, match="does not do the task"):
        planted.solve(replace(puzzle, weights=puzzle.weights | {name: weight}))


def test_attention_patterns_do_no_better_than_chance_among_look_alikes():
    for rate in survey("pair", "attention patterns", range(24)):
        print(rate, rate.interval)
        assert rate.interval[0] <= rate.chance


def test_single_ablations_find_a_pair_and_miss_a_backup():
    *_, pair = survey("pair", "single ablation", range(5))
    *_, backup = survey("backup", "single ablation", range(5))
    assert (pair.hits, backup.hits) == (5, 0)


def test_weights_name_one_of_the_two_circuits_whole():
    copying, matching, both = survey("pair", "weights", range(16))
    assert copying.hits == matching.hits == both.hits
    assert 2 <= both.hits <= 14


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (25, 100, 0.1755, 0.3430)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("method", "hits", "holds"),
    [
        ("interventions", 100, True),
        ("interventions", 99, False),
        ("attention patterns", 25, True),
        ("attention patterns", 33, True),
        ("attention patterns", 36, False),
        ("weights", 100, True),
    ],
)
def test_the_command_fails_when_a_rate_is_not_as_claimed(method, hits, holds):
    rate = Rate("pair", method, "copying", hits, seeds=100, chance=0.25)
    assert command.holds(rate) is holds
    assert ("NOT AS CLAIMED" in command.line(rate)) is not holds


def test_the_command_prints_a_rate_with_its_interval_for_every_role(capsys):
    assert command.main(["--seeds", "2", "--family", "backup", "--method", "interventions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["copying", "matching", "backup", "all"]
    assert all("2 of 2   95 % interval 0.34 to 1.00" in line for line in lines)


def test_the_command_refuses_to_count_nothing(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--seeds", "0"])
    assert "--seeds is at least 1" in capsys.readouterr().err
