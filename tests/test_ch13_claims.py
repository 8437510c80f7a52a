"""What the prose of ch13_circuit_evidence says about course-gpt2 is what it does, with some margin."""

import pytest
import torch

from mechinterp_course.attribution_patching import attribute_heads
from mechinterp_course.faithfulness import (
    elimination_order,
    faithfulness,
    faithfulness_by_size,
    run_circuit,
)
from mechinterp_course.heads import find_induction_heads, previous_token_score
from mechinterp_course.metrics import LogitDifference, Probability
from mechinterp_course.minimal_pairs import two_pairs
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import patch
from mechinterp_course.refutation import break_circuit
from mechinterp_course.worlds.tokens import repeated_tokens

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
KINDS = ("resample", "mean", "zero")


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def texts(model):
    """Clean and corrupted prompts, right and wrong words."""
    return two_pairs(model.cfg.d_vocab, 16, model.tokenizer.bos_token_id, seed=0)


@pytest.fixture(scope="module")
def circuit(model):
    """The previous-token head, then the induction heads."""
    tokens = repeated_tokens(model.cfg.d_vocab, 16, 8, model.tokenizer.bos_token_id, seed=3)
    _, cache = model.run_with_cache(tokens)
    scores = torch.stack([previous_token_score(cache["pattern", n]) for n in range(model.cfg.n_layers)])
    return [divmod(scores.argmax().item(), model.cfg.n_heads), *find_induction_heads(model, tokens)]


@pytest.fixture(scope="module")
def noised(model, texts):
    """What noising each head adds to the mean logit difference."""
    clean, corrupted, *answers = texts
    sweep = patch(model, corrupted, clean, LogitDifference(*answers), sites="z")
    return sweep.values - sweep.corrupted


@pytest.fixture(scope="module")
def order(model, texts):
    """All heads, the one missed most first, by removal under resampling."""
    few = [each[:8] for each in texts]
    return elimination_order(model, *few[:2], LogitDifference(*few[2:]))


def test_the_three_heads_cost_most_alone_and_all_single_costs_exceed_the_whole(model, texts, circuit, noised):
    metric = LogitDifference(*texts[2:])
    whole = (metric(model(texts[0])) - metric(model(texts[1]))).item()
    three = (-noised).flatten().argsort(descending=True)[:3].tolist()
    assert sorted(divmod(place, model.cfg.n_heads) for place in three) == sorted(circuit)
    total, drawn = -noised.sum().item(), -sum(noised[head].item() for head in circuit)
    assert total > 1.3 * whole and total - drawn < 0.2 * whole


def test_at_most_a_fifth_of_the_heads_keep_85_percent_resampled_and_random_ones_keep_little(
    model, texts, order
):
    curve = faithfulness_by_size(model, *texts, order[:6])
    smallest = (curve >= 0.85).nonzero()[0].item()
    print(f"{smallest} of {len(order)} heads keep {curve[smallest]:.2f}: {sorted(order[:smallest])}")
    assert smallest <= 0.2 * len(order)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        some = [order[i] for i in torch.randperm(len(order), generator=generator)[:smallest].tolist()]
        assert faithfulness(model, *texts[:2], LogitDifference(*texts[2:]), some) < 0.3


def test_the_smallest_circuit_is_the_three_each_is_missed_and_the_probability_agrees(
    model, texts, circuit, order
):
    curve = faithfulness_by_size(model, *texts, order[:6])
    assert sorted(order[: (curve >= 0.85).nonzero()[0].item()]) == sorted(circuit)
    metric = LogitDifference(*texts[2:])
    without = {
        head: faithfulness(model, *texts[:2], metric, [each for each in circuit if each != head])
        for head in circuit
    }
    assert abs(without[circuit[0]]) < 0.1 and max(without.values()) < 0.5
    probability = Probability(texts[2])
    none, three, every = (
        probability(run_circuit(model, texts[0], kept, "resample", texts[1])).item()
        for kept in ([], circuit, order)
    )
    assert none < 0.05 and three > 0.75 * every


def test_what_the_circuit_keeps_depends_on_the_ablation(model, texts, circuit):
    metric = LogitDifference(*texts[2:])
    kept = {kind: faithfulness(model, *texts[:2], metric, circuit, kind) for kind in KINDS}
    unrelated = torch.cat([texts[1][1:], texts[1][:1]])
    kept["unrelated"] = faithfulness(model, texts[0], unrelated, metric, circuit)
    print(kept)
    assert max(kept, key=kept.get) == "zero" and kept["zero"] > 0.9
    assert max(kept["mean"], kept["unrelated"]) < kept["resample"] - 0.1
    assert min(kept.values()) > 0.4


def test_within_ten_heads_every_curve_reaches_85_percent(model, texts, order):
    few = [each[:8] for each in texts]
    assert all((faithfulness_by_size(model, *few, order[:10], kind) >= 0.85).any() for kind in KINDS)


def test_the_straight_line_takes_the_previous_token_head_for_nothing_and_the_induction_heads_for_too_little(
    model, texts, circuit, noised
):
    clean, corrupted, *answers = texts
    estimated = attribute_heads(model, corrupted, clean, *answers)
    writer, *readers = circuit
    assert noised.argmin().item() == writer[0] * model.cfg.n_heads + writer[1]
    assert noised[writer] < -20 and estimated[writer] > 0.1 * noised[writer]
    for head in readers:
        assert 1.1 * noised[head] < 0 and noised[head] < estimated[head] < 0.4 * noised[head]


def test_on_clean_prompts_the_induction_heads_are_nearly_saturated(model, texts, circuit):
    _, cache = model.run_with_cache(texts[0])
    for layer, head in circuit[1:]:
        assert cache["pattern", layer][:, head, -1, 2].mean() > 0.8


def test_the_claim_about_the_trained_circuit_breaks_by_a_good_part_of_its_effect(model, texts, circuit):
    gap = break_circuit(model, *(each[:8] for each in texts), circuit)[2]
    metric = LogitDifference(*texts[2:])
    assert gap > 0.2 * (metric(model(texts[0])) - metric(model(texts[1]))).item()


def test_outside_the_circuit_no_head_matters_much_on_average_and_one_does_on_a_lucky_prompt(
    model, texts, circuit, noised
):
    others = [divmod(i, model.cfg.n_heads) for i in range(noised.numel())]
    others = [head for head in others if head not in circuit]
    usual = min(-noised[head].item() for head in circuit[1:])
    assert max(-noised[head].item() for head in others) < 0.2 * usual
    clean, corrupted, *answers = two_pairs(model.cfg.d_vocab, 32, model.tokenizer.bos_token_id, seed=0)
    largest = 0.0
    for row in range(32):
        one = [each[row : row + 1] for each in (corrupted, clean)]
        sweep = patch(model, *one, LogitDifference(*(each[row : row + 1] for each in answers)), sites="z")
        largest = max(largest, *((sweep.corrupted - sweep.values[head]).item() for head in others))
    print(f"{largest:.2f} against {usual:.2f}")
    assert largest > 0.2 * usual
