"""What the prose of ch19_what_a_head_does says about the embedded models is what they do, with a margin."""

import pytest
import torch

from mechinterp_course.faithfulness import run_circuit
from mechinterp_course.heads import induction_score, previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import (
    ablate_head,
    patch_head_output,
    rank_heads_by_effect,
    second_copy_loss,
    z_name,
)
from mechinterp_course.redundancy import loss_and_lead, refute_redundancy
from mechinterp_course.worlds import planted
from mechinterp_course.worlds.tokens import cyclic_tokens, repeated_tokens

pytestmark = pytest.mark.book  # measured again with the chapters that say it
LENGTH = 20
KINDS = ("zero", "mean")


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def tokens(model):
    return repeated_tokens(model.cfg.d_vocab, LENGTH, 16, model.tokenizer.bos_token_id, seed=3)


@pytest.fixture(scope="module")
def scores(model, tokens):
    _, cache = model.run_with_cache(tokens)
    patterns = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
    induction = torch.stack([induction_score(pattern, LENGTH) for pattern in patterns])
    return induction, torch.stack([previous_token_score(pattern) for pattern in patterns])


@pytest.fixture(scope="module")
def found(scores):
    return [tuple(place) for place in (scores[0] > 0.4).nonzero().tolist()]


@pytest.fixture(scope="module")
def writer(model, scores):
    return divmod(scores[1].argmax().item(), model.cfg.n_heads)


def current_token_head(model, tokens):
    _, cache = model.run_with_cache(tokens)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)])
    return divmod(patterns.diagonal(dim1=-2, dim2=-1).mean((1, 3)).argmax().item(), model.cfg.n_heads)


def gain(model, tokens, length=LENGTH):
    return copying_gain(loss_per_token(model(tokens), tokens), length)


def silence(head):
    def edit(z, hook):
        z[:, :, head] = 0

    return edit


def rise(model, tokens, removed):
    hooks = [(z_name(layer), silence(head)) for layer, head in removed]
    return second_copy_loss(model.run_with_hooks(tokens, fwd_hooks=hooks), tokens) - second_copy_loss(
        model(tokens), tokens
    )


def other_tokens(model, tokens, seed):
    fresh = repeated_tokens(model.cfg.d_vocab, LENGTH, len(tokens), model.tokenizer.bos_token_id, seed)
    return fresh[:, 1 : LENGTH + 1]


def test_each_induction_head_alone_costs_part_of_the_gain_and_together_they_cost_more_than_the_sum(
    model, tokens, found
):
    single, whole = [rise(model, tokens, [place]) for place in found], gain(model, tokens)
    assert 0.15 * whole < min(single) and max(single) < 0.6 * whole
    assert sum(single) < 0.9 * rise(model, tokens, found)


def test_zero_and_mean_ablation_agree_for_the_previous_token_head_and_not_for_the_clearest_stripe(
    model, tokens, scores, writer
):
    clearest = divmod(scores[0].argmax().item(), model.cfg.n_heads)
    intact = second_copy_loss(model(tokens), tokens)
    zero, mean = (
        [second_copy_loss(ablate_head(model, tokens, *place, kind), tokens) - intact for kind in KINDS]
        for place in (writer, clearest)
    )
    assert zero[1] == pytest.approx(zero[0], rel=0.05)
    assert mean[1] > 1.3 * mean[0] > 1.3 * 0.15 * gain(model, tokens)


def test_zero_and_mean_ablation_disagree_for_the_last_mlp(model, tokens):
    def without(replacement):
        hook = (f"blocks.{model.cfg.n_layers - 1}.hook_mlp_out", lambda out, hook: replacement(out))
        return second_copy_loss(model.run_with_hooks(tokens, fwd_hooks=[hook]), tokens)

    zero = without(torch.zeros_like) - second_copy_loss(model(tokens), tokens)
    mean = without(lambda out: out.mean((0, 1), keepdim=True).expand_as(out)) - second_copy_loss(
        model(tokens), tokens
    )
    assert zero < 0.4 and mean > 3 * max(zero, 0.2)


def test_noising_the_previous_token_head_destroys_the_gain_and_denoising_makes_it_worse(
    model, tokens, writer
):
    corrupted = torch.cat(
        [tokens[:, :1], other_tokens(model, tokens, seed=5), tokens[:, LENGTH + 1 :]], dim=1
    )
    good, bad = (second_copy_loss(model(rows), rows) for rows in (tokens, corrupted))
    noised = second_copy_loss(patch_head_output(model, corrupted, tokens, *writer), tokens)
    denoised = second_copy_loss(patch_head_output(model, tokens, corrupted, *writer), corrupted)
    assert (noised - good) / (bad - good) > 0.8
    assert (bad - denoised) / (bad - good) < -0.1


def loss_with_only(model, tokens, kept, kind):
    return second_copy_loss(run_circuit(model, tokens, kept, kind), tokens)


def test_the_previous_token_head_tops_the_ranking_then_the_induction_heads_and_then_comes_little(
    model, tokens, found, writer
):
    ranking = rank_heads_by_effect(model, tokens)
    assert ranking[0][:2] == writer and {row[:2] for row in ranking[1 : 1 + len(found)]} == {*found}
    assert ranking[1 + len(found)][2] < 0.05 * gain(model, tokens)


def test_the_induction_head_with_the_clearest_stripe_is_not_the_one_that_costs_most(
    model, tokens, scores, found
):
    clearest = divmod(scores[0].argmax().item(), model.cfg.n_heads)
    assert rise(model, tokens, [clearest]) < max(rise(model, tokens, [place]) for place in found)


def test_three_heads_copy_without_all_others_and_the_fourth_closes_what_gap_is_left(
    model, tokens, found, writer
):
    ranking = [row[:2] for row in rank_heads_by_effect(model, tokens)]
    circuit = [writer, *found]
    whole = gain(model, tokens)
    fourth = next(place for place in ranking if place not in circuit)
    assert len(circuit) == 3 and fourth == current_token_head(model, tokens)
    for kind in KINDS:
        assert loss_with_only(model, tokens, circuit, kind) < 0.1 * whole
        strangers = [place for place in ranking if place not in circuit][:3]
        assert loss_with_only(model, tokens, strangers, kind) > 0.9 * whole
    intact = second_copy_loss(model(tokens), tokens)
    gap = loss_with_only(model, tokens, circuit, "mean") - intact
    assert loss_with_only(model, tokens, [*circuit, fourth], "mean") - intact < 0.5 * gap
    zeros = [loss_with_only(model, tokens, kept, "zero") for kept in (circuit, [*circuit, fourth])]
    assert abs(zeros[0] - zeros[1]) < 0.03


def test_together_the_induction_heads_cost_more_loss_and_less_lead_than_the_sum_of_both(model, tokens, found):
    case = model, tokens[:, :-1], tokens[:, -1]
    (rises, falls) = zip(*(shares(case, heads) for heads in ([found[0]], [found[1]], found)), strict=True)
    assert rises[2] > 1.2 * sum(rises[:2]) and falls[2] < 0.9 * sum(falls[:2])


@pytest.fixture(scope="module")
def choir():
    """The model of two layers, lines that it recites and what follows them, as the chapter has them."""
    model = load_language_model("course-attn-2l")
    lines = cyclic_tokens(model.cfg.d_vocab, 8, 37, 64, model.tokenizer.bos_token_id, seed=0)
    return model, lines[:, :-1], lines[:, -1]


def shares(case, heads):
    """The rise of the loss and the fall of the lead when these heads are silenced."""
    (loss, lead), (after, left) = (loss_and_lead(*case, silenced) for silenced in ([], heads))
    return after - loss, lead - left


def test_the_quiet_head_takes_four_times_as_much_of_the_lead_as_of_the_loss(choir):
    rises, falls = zip(*(shares(choir, heads) for heads in ([(1, 3)], [(1, 0), (1, 2), (1, 3)])), strict=True)
    assert rises[0] < 0.25 and rises[0] / rises[1] < 0.03 and falls[0] / falls[1] > 0.09


def test_one_loud_head_less_and_the_quiet_one_is_heard_while_an_idle_one_is_not(choir):
    for loud in ((1, 0), (1, 2)):
        before, lead = loss_and_lead(*choir, [loud])
        assert lead > 0.65 * loss_and_lead(*choir, [])[1]
        assert loss_and_lead(*choir, [loud, (1, 3)])[0] - before > 1.1
        assert loss_and_lead(*choir, [loud, (1, 1)])[0] - before < 0.2


def test_nobody_stands_in_for_the_heads_that_copy_and_the_idle_ones_cost_nothing(choir):
    verdicts = {place: refute_redundancy(*choir, *place) for place in ((0, 0), (0, 3), (1, 1), (1, 3))}
    assert [place for place, company in verdicts.items() if company is not None] == [(1, 3)]


def test_a_planted_head_with_a_backup_is_redundant_though_both_are_not():
    puzzle, truth = planted.plant(seed=5, family="backup")
    samples = puzzle.samples(seed=0, count=16)
    case = puzzle.load(), samples.tokens, samples.answers
    spare = [truth.circuit.matching, truth.circuit.backup]
    assert all(abs(shares(case, [place])[1]) < 0.4 for place in spare)
    assert refute_redundancy(*case, *spare[0]) is None
    assert shares(case, spare)[0] > 3


def test_with_either_induction_head_silenced_the_line_is_recited_and_without_both_it_is_not(model, found):
    line = torch.randint(model.cfg.d_vocab, (12,), generator=torch.Generator().manual_seed(26227))
    text = torch.cat([torch.tensor([model.tokenizer.bos_token_id]), line, line])[None]

    def right(removed):
        hooks = [(z_name(layer), silence(head)) for layer, head in removed]
        said = model.run_with_hooks(text[:, :-1], fwd_hooks=hooks)[0, 15:].argmax(-1)
        return (said == text[0, 16:]).sum().item()

    assert [right([place]) for place in found] == [9] * len(found) and right(found) == 0


def test_the_positional_model_copies_at_sixteen_by_many_heads_of_which_none_is_redundant():
    model = load_language_model("course-positional")
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    rows = {length: repeated_tokens(d_vocab, length, 16, start, seed=6) for length in (12, 16)}
    assert gain(model, rows[16], 16) > 5
    heads = [(0, head) for head in range(model.cfg.n_heads)]
    single = [rise(model, rows[16], [place]) for place in heads]
    assert rise(model, rows[16], heads) > 5 * sum(single)
    assert rise(model, rows[12], heads) < 0
    case = model, rows[16][:, :-1], rows[16][:, -1]
    falls = [shares(case, [place])[1] for place in heads]
    assert min(falls) > 0.75 and shares(case, heads)[1] > 1.2 * sum(falls)
