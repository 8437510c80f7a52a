"""course-attn-2l: with no MLP between, the previous-token head reaches the induction heads' keys directly."""

import json

import pytest
import torch

from mechinterp_course.figures.language import bare_circuit, copying, induction_circuit
from mechinterp_course.layout import embedded_data
from mechinterp_course.models import load_language_model

SEED = 27_182  # not the seed of the card
NAME = "course-attn-2l"


@pytest.fixture(scope="module")
def model():
    return load_language_model(NAME)


@pytest.mark.parametrize("part", [copying, induction_circuit, bare_circuit])
def test_its_figures_hold_on_another_seed(model, part):
    figures = list(part(model, SEED))
    assert len(figures) >= 4
    assert [f"{figure.name}: {figure.value}" for figure in figures if not figure.holds] == []


def test_nothing_but_attention_writes(model):
    tokens = torch.randint(model.cfg.d_vocab, (2, 30), generator=torch.Generator().manual_seed(0))
    _, cache = model.run_with_cache(tokens)
    for layer in range(model.cfg.n_layers):
        assert not cache[f"blocks.{layer}.hook_mlp_out"].any()
        assert cache[f"blocks.{layer}.hook_attn_out"].any()


def test_it_is_small_and_its_card_says_what_was_measured():
    folder = embedded_data(NAME)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    record, card = json.loads((folder / "training.json").read_text()), (folder / "README.md").read_text()
    assert all(f"| {figure['name']} |" in card for figure in record["figures"])
