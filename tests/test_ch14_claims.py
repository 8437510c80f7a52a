"""What the prose of ch14_what_heads_write says about the embedded models is what they do, with a margin."""

import pytest
import torch

from mechinterp_course import circuits, heads, lens, metrics
from mechinterp_course.faithfulness import run_circuit
from mechinterp_course.models import load_language_model
from mechinterp_course.periodicity import refute_period_detector, smallest_period
from mechinterp_course.worlds.tokens import cyclic_tokens, in_context_bigrams, repeated_tokens

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
PERIODS = (2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def cycles(model):
    bos = model.tokenizer.bos_token_id
    return {period: cyclic_tokens(model.cfg.d_vocab, period, 20, 24, bos, seed=period) for period in PERIODS}


@pytest.fixture(scope="module")
def found(model):
    copies = repeated_tokens(model.cfg.d_vocab, 20, 16, model.tokenizer.bos_token_id, seed=3)
    return heads.find_induction_heads(model, copies)


@pytest.fixture(scope="module")
def completion(model, cycles):
    """Of each period, the pattern-completion score of every head; and the induction score."""
    scores = {}
    for period, tokens in cycles.items():
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
        patterns = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
        scores[period] = tuple(
            torch.stack([score(pattern, period) for pattern in patterns])
            for score in (heads.pattern_completion_score, heads.induction_score)
        )
    return scores


@pytest.fixture(scope="module")
def three_rounds(cycles):
    """Cycles of period 3 after three rounds and a word that is no more in the text: the next."""
    return cycles[3][:, :10], cycles[3][:, 10]


def every_head(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def probability(logits, tokens):
    """The mean probability of each token that comes, by the number of tokens seen."""
    return (-metrics.loss_per_token(logits, tokens)).exp().mean(0)


def without(model, tokens, removed, kind="zero"):
    return run_circuit(model, tokens, [head for head in every_head(model) if head not in removed], kind)


@pytest.mark.parametrize("period", PERIODS)
def test_the_model_is_sure_as_soon_as_one_token_of_the_second_round_has_come(model, cycles, period):
    chances = probability(model(cycles[period]), cycles[period])
    assert chances[: period + 1].max() < 0.05 and chances[period + 1 :].min() > 0.85


@pytest.mark.parametrize("period", PERIODS)
def test_without_the_induction_heads_nothing_is_left_at_any_position(model, cycles, found, period):
    tokens = cycles[period]
    controls = [
        (layer, head) for layer, head in every_head(model) if layer == 2 and (layer, head) not in found
    ]
    for kind in ("zero", "mean"):
        assert probability(without(model, tokens, found, kind), tokens)[period:].max() < 0.02
    control = probability(without(model, tokens, controls[: len(found)]), tokens)
    assert control[period + 1 :].mean() > 0.9


def test_a_score_made_for_repeats_misleads_on_cycles_and_another_does_not(completion, found):
    for completed, induction in completion.values():
        assert all(completed[place] > 0.85 for place in found)
        assert all(induction[place] < completed[place] - 0.25 for place in found)
    assert all(completion[2][1][place] < 0.35 for place in found)


def test_at_period_2_and_there_alone_the_previous_token_head_passes_for_one_that_completes(
    model, completion, found
):
    top = divmod(completion[2][0].argmax().item(), model.cfg.n_heads)
    assert top not in found and top[0] < min(layer for layer, _ in found)
    assert completion[2][0][top] > 0.9 and all(completion[n][0][top] < 0.1 for n in (3, 4, 5, 6))
    for period in (3, 4, 5, 6):
        two = completion[period][0].flatten().argsort(descending=True)[: len(found)].tolist()
        assert sorted(divmod(place, model.cfg.n_heads) for place in two) == sorted(found)


def test_some_other_head_scores_what_an_even_look_would(completion, found):
    head = (2, 5)
    assert head not in found
    for period, (completed, _) in completion.items():
        assert abs(completed[head].item() - 1 / period) < 0.06


def test_a_new_word_in_a_cycle_costs_one_prediction_and_no_more(model):
    bos = model.tokenizer.bos_token_id
    tokens = cyclic_tokens(model.cfg.d_vocab, 5, 20, 64, bos, seed=11)
    tokens[:, 16] = torch.randint(model.cfg.d_vocab, (64,), generator=torch.Generator().manual_seed(12))
    chances = probability(model(tokens), tokens)
    assert chances[16] < 0.05 and chances[17] > 0.9 and chances[14] > 0.9


def test_most_texts_found_are_continued_by_a_word_that_followed_before(model):
    generator, followed = torch.Generator().manual_seed(0), 0
    for _ in range(8):
        words = torch.randperm(model.cfg.d_vocab, generator=generator)[:4]
        row = refute_period_detector(model, words, 4, model.tokenizer.bos_token_id)
        chances = model(row[None])[0, -1].softmax(-1)
        assert smallest_period(row[1:]) == 4 and chances.argmax() != row[-4] and chances[row[-4]] < 0.1
        followed += (in_context_bigrams(row[None], model.cfg.d_vocab)[0, -1, chances.argmax()] > 0).item()
    assert followed >= 5


def test_the_turn_tells_little_and_no_period_is_needed_for_that(model):
    """After A in A B A C: B, the first follower, wins early; late the turn tells, as the word before does."""
    generator = torch.Generator().manual_seed(1)
    words = torch.stack([torch.randperm(model.cfg.d_vocab, generator=generator)[:3] for _ in range(128)])
    new = cyclic_tokens(model.cfg.d_vocab, 16, 16, 128, model.tokenizer.bos_token_id, seed=2)

    def lead(*parts):
        """By how much B is likelier than C."""
        chances = model(torch.cat([new[:, :1], *parts], dim=1))[:, -1].softmax(-1)
        first, second = (chances[torch.arange(128), word].mean().item() for word in words.T[1:])
        return first - second

    turns = {seen: lead(words[:, ([0, 1, 0, 2] * 5)[:seen]]) for seen in (5, 7, 17, 19)}
    pieces = []
    for place, piece in enumerate(([2, 0, 1], [1, 0, 2])[kind] for kind in (0, 1, 1, 0, 1, 0, 0, 1)):
        pieces += [words[:, piece], new[:, 1 + 2 * place : 3 + 2 * place]]
    after_c, after_b = (lead(*pieces, words[:, last]) for last in ([2, 0], [1, 0]))
    print(turns, after_c, after_b)
    assert min(turns[5], turns[7]) > 0.15 and turns[19] < turns[17] - 0.05
    assert after_c - after_b > turns[17] - turns[19] + 0.05


def test_a_model_that_counts_passes_the_test_that_the_other_fails(model):
    right = {}
    for name, each in {
        "course-gpt2": model,
        "course-positional": load_language_model("course-positional"),
    }.items():
        for period in (15, 16):
            bos = each.tokenizer.bos_token_id
            rows = cyclic_tokens(each.cfg.d_vocab, period, period + 8, 32, bos, seed=0)
            rows[:, [8, period + 8]] = rows[:, [1]]
            right[name, period] = (each(rows)[:, -1].argmax(-1) == rows[:, 9]).float().mean().item()
    assert right["course-positional", 16] > 0.95 and right["course-positional", 15] < 0.05
    assert max(right["course-gpt2", 15], right["course-gpt2", 16]) < 0.3


def test_the_lens_hears_the_word_itself_then_nothing_then_the_answer(model, three_rounds):
    tokens, right = three_rounds
    chances = lens.logit_lens(model, tokens).softmax(-1)
    rows = torch.arange(len(tokens))
    itself, answer = (chances[:, rows, token].mean(1) for token in (tokens[:, -1], right))
    assert itself[0] > 0.9 and itself[1:].max() < 0.1
    assert answer[:3].max() < 0.02 and answer[3] > 0.85 and abs(answer[4] - answer[3]) < 0.1


def test_the_attention_of_layer_2_and_the_last_mlp_say_nearly_all(model, three_rounds):
    tokens, right = three_rounds
    parts = lens.component_logit_attribution(model, tokens, right, right.roll(1))
    shares = {name: values.mean().item() for name, values in parts.items()}
    top = sorted(shares, key=shares.get, reverse=True)[:2]
    assert sorted(top) == ["attn 2", "mlp 3"]
    assert shares["attn 2"] + shares["mlp 3"] > 0.85 * sum(shares.values())


def test_two_readings_of_the_same_weights_name_other_heads(model, found):
    some = torch.arange(0, model.cfg.d_vocab, 8)
    raw, through = (
        {head: circuits.copying_rate(model, head, some, through_mlp=by_mlp) for head in every_head(model)}
        for by_mlp in (False, True)
    )
    print(raw, through)
    low = [head for head, rate in raw.items() if rate > 0.5 and head not in found]
    assert len(low) == 1 and low[0][0] == 0 and through[low[0]] < 0.2
    assert all(0.4 < raw[head] < raw[low[0]] and through[head] > 0.9 for head in found)
    late = [head for head, rate in through.items() if rate > 0.45 and raw[head] < 0.02]
    assert [layer for layer, _ in late] == [model.cfg.n_layers - 1]


def test_of_the_heads_that_would_copy_only_those_that_look_there_say_the_word(model, found, three_rounds):
    tokens, right = three_rounds
    added = lens.head_logit_attribution(model, tokens, right, right.roll(1)).mean(0)
    others = [added[head].item() for head in every_head(model) if head not in found]
    assert min(added[head] for head in found) > 4 and max(others) < 1


def test_in_the_model_without_mlps_the_heads_that_copy_by_weights_are_those_that_attend():
    model = load_language_model("course-attn-2l")
    copies = repeated_tokens(model.cfg.d_vocab, 20, 16, model.tokenizer.bos_token_id, seed=3)
    some = torch.arange(0, model.cfg.d_vocab, 8)
    rates = {head: circuits.copying_rate(model, head, some) for head in every_head(model)}
    copying = [head for head, rate in rates.items() if rate > 0.5]
    assert copying == heads.find_induction_heads(model, copies)
    assert max(rate for head, rate in rates.items() if head not in copying) < 0.2
