"""Composition and copying scores, against whole matrices and against heads made by hand."""

import pytest
import torch

from mechinterp_course import circuits
from mechinterp_course.circuits import composition_scores, copying_scores
from mechinterp_course.models import load_language_model
from mechinterp_course.worlds import planted


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


def whole_matrices(model, layer: int, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """W_QK and W_OV as d_model x d_model matrices, in float64."""
    attention = model.blocks[layer].attn
    q, k, v, o = (getattr(attention, name)[head].double() for name in ("W_Q", "W_K", "W_V", "W_O"))
    return q @ k.T, v @ o


@pytest.mark.parametrize("into", ["q", "k", "v"])
def test_a_score_is_the_norm_of_the_product_over_the_product_of_the_norms(model, into):
    scores = composition_scores(model, into)
    for first, second in [((0, 0), (1, 2)), ((0, 5), (3, 1)), ((2, 3), (3, 0))]:
        _, written = whole_matrices(model, *first)
        w_qk, w_ov = whole_matrices(model, *second)
        read = {"q": w_qk, "k": w_qk.T, "v": w_ov}[into]
        expected = (written @ read).norm() / (written.norm() * read.norm())
        assert scores[*first, *second].item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("into", ["q", "k", "v"])
def test_all_scores_agree_with_transformer_lens(model, into):
    expected = model.all_composition_scores(into.upper()).scores
    torch.testing.assert_close(composition_scores(model, into), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("into", ["q", "k", "v"])
def test_nothing_composes_with_its_own_layer_or_an_earlier_one(model, into):
    scores = composition_scores(model, into)
    for first in range(model.cfg.n_layers):
        assert not scores[first, :, : first + 1].any() and scores[first, :, first + 1 :].gt(0).all()


def test_another_input_is_refused(model):
    with pytest.raises(ValueError, match='into is "q", "k" or "v"'):
        composition_scores(model, "z")


def test_a_planted_copying_head_composes_with_keys_and_neither_queries_nor_values():
    puzzle, truth = planted.plant(0)
    model = puzzle.load()
    pair = (*truth.circuit.copying, *truth.circuit.matching)
    chance = 1 / model.cfg.d_model**0.5
    assert composition_scores(model, "k")[pair] > 4 * chance
    assert composition_scores(model, "q")[pair] < chance and composition_scores(model, "v")[pair] < chance


def test_copying_scores_are_those_of_the_eigenvalues_of_the_whole_circuit(model):
    attention = model.blocks[1].attn
    whole = model.W_E.double() @ attention.W_V[2].double() @ attention.W_O[2].double() @ model.W_U.double()
    values = torch.linalg.eigvals(whole)
    expected = values.real.sum() / values.abs().sum()
    assert copying_scores(model)[1, 2].item() == pytest.approx(expected.item(), abs=1e-3)


def test_a_planted_matching_head_copies_and_its_unread_decoys_do_not():
    puzzle, truth = planted.plant(0)
    scores = copying_scores(puzzle.load())
    assert scores.shape == (2, 8) and scores.abs().max() <= 1
    assert scores[truth.circuit.matching] > 0.95
    assert all(abs(scores[d.head]) < 0.5 for d in truth.decoys if (d.role, d.kind) == ("matching", "unread"))


@pytest.fixture(scope="module")
def words(model):
    return torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(0))[:40]


def test_the_effective_embedding_is_what_layer_1_finds_when_attention_writes_nothing(model, words):
    def silence(value, hook):
        return torch.zeros_like(value)

    names = ["hook_pos_embed", "blocks.0.hook_attn_out"]
    with model.hooks(fwd_hooks=[(name, silence) for name in names]):
        _, cache = model.run_with_cache(words[:, None], names_filter="blocks.1.hook_resid_pre")
    found = cache["blocks.1.hook_resid_pre"][:, 0]
    torch.testing.assert_close(circuits.effective_embedding(model, words), found, atol=1e-4, rtol=1e-4)
    assert torch.equal(circuits.effective_embedding(model, words, through_mlp=False), model.W_E[words])


@pytest.mark.parametrize("through_mlp", [False, True])
def test_the_ov_circuit_is_what_the_head_adds_to_logits(model, words, through_mlp):
    embedding = circuits.effective_embedding(model, words, through_mlp)
    _, w_ov = whole_matrices(model, 2, 3)
    expected = embedding.double() @ w_ov @ model.W_U[:, words].double()
    actual = circuits.ov_circuit(model, (2, 3), words, through_mlp)
    torch.testing.assert_close(actual.double(), expected, atol=1e-3, rtol=1e-3)


def test_the_qk_circuit_scores_tokens_and_what_an_earlier_head_wrote_of_them(model, words):
    embedding = circuits.effective_embedding(model, words).double()
    w_qk, _ = whole_matrices(model, 2, 1)
    _, written = whole_matrices(model, 0, 3)
    for through, key in [(None, embedding), ((0, 3), embedding @ written)]:
        expected = embedding @ w_qk @ key.T / model.cfg.d_head**0.5
        actual = circuits.qk_circuit(model, (2, 1), words, through_mlp=True, key_through=through)
        torch.testing.assert_close(actual.double(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("top", [1, 3])
def test_the_copying_rate_counts_tokens_that_lead_their_own_row(model, words, top):
    matrix = circuits.ov_circuit(model, (2, 1), words, through_mlp=True)
    rank = (matrix > matrix.diagonal()[:, None]).sum(-1)
    expected = (rank < top).float().mean().item()
    assert circuits.copying_rate(model, (2, 1), words, top, through_mlp=True) == pytest.approx(expected)


def test_a_whole_vocabulary_is_counted_in_parts(model):
    matrix = circuits.ov_circuit(model, (2, 1))
    expected = (matrix.argmax(-1) == torch.arange(len(matrix))).float().mean().item()
    assert circuits.copying_rate(model, (2, 1)) == pytest.approx(expected)
