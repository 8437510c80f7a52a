"""The embedded models: what their cards claim holds on fresh tokens, and loading leaves no trace."""

import json
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest
import torch

from mechinterp_course import heads, metrics, models, patching
from mechinterp_course.catalogue import EMBEDDED
from mechinterp_course.errors import CourseError
from mechinterp_course.figures import induction as figures
from mechinterp_course.layout import embedded_data
from mechinterp_course.models import ModelSpec, load_language_model, model_card
from mechinterp_course.worlds.tokens import repeated_tokens

NAMES = [model.name for model in EMBEDDED if model.kind == "language" and model.weights]
SEED = 31_415  # not the seed of the cards


def tokens_of(model, length, batch=24):
    return repeated_tokens(model.cfg.d_vocab, length, batch, model.tokenizer.bos_token_id, SEED + length)


def copying(model, length):
    """(first, second): mean loss on the two copies, in nats."""
    tokens = tokens_of(model, length)
    loss = metrics.loss_per_token(model(tokens), tokens)
    second = patching.second_copy_loss(model(tokens), tokens)
    return second + metrics.copying_gain(loss, length), second


def scores(model, length):
    measured = figures.head_scores(model, tokens_of(model, length))
    return {name: torch.tensor(values) for name, values in measured.items()}


@pytest.fixture(scope="module")
def gpt2():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def positional():
    return load_language_model("course-positional")


@pytest.mark.parametrize("length", [20, 30, 40])
def test_course_gpt2_copies_random_tokens(gpt2, length):
    first, second = copying(gpt2, length)
    assert first > 6 and second < 0.4


@pytest.mark.parametrize("length", [20, 30, 40])
def test_course_gpt2_has_a_previous_token_head_below_a_layer_with_clean_induction_heads(gpt2, length):
    measured = scores(gpt2, length)
    found = (measured["induction"] >= 0.7).nonzero().tolist()
    layer = found[0][0]
    assert len(found) >= 2 and {row for row, _ in found} == {layer}
    others = measured["induction"][layer][measured["induction"][layer] < 0.7]
    assert len(others) >= 1 and others.max() < 0.3
    assert measured["previous_token"][:layer].max() >= 0.7


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_ablating_the_previous_token_head_at_least_halves_the_induction_scores(gpt2, kind):
    tokens = tokens_of(gpt2, 30)
    intact = scores(gpt2, 30)
    previous = divmod(intact["previous_token"].argmax().item(), gpt2.cfg.n_heads)
    ablated = torch.tensor(figures.ablation(gpt2, tokens, [previous])[kind]["induction"])
    strong = intact["induction"] >= 0.7
    assert (ablated[strong] <= intact["induction"][strong] / 2).all()


def test_the_induction_heads_of_course_gpt2_pass_at_every_length(gpt2):
    for layer, head in heads.find_induction_heads(gpt2, tokens_of(gpt2, 30), threshold=0.7):
        assert heads.is_induction_head(gpt2, layer, head, bos=gpt2.tokenizer.bos_token_id)


def test_course_positional_copies_at_length_16_only(positional):
    first, second = copying(positional, 16)
    assert first > 5 and second < 0.3
    for length in (8, 12, 24, 32, 40):
        first, second = copying(positional, length)
        assert first - second < 0.6


def test_the_heads_of_course_positional_score_at_length_16_only(positional):
    assert scores(positional, 16)["induction"].max() >= 0.7
    for length in (8, 12, 24, 32, 40):
        assert scores(positional, length)["induction"].max() < 0.1
    bos = positional.tokenizer.bos_token_id
    assert any(heads.is_induction_head(positional, 0, head, bos, lengths=(16,)) for head in range(4))
    assert not any(heads.is_induction_head(positional, 0, head, bos) for head in range(4))


@pytest.mark.parametrize("name", NAMES)
def test_reordered_heads_are_the_same_function_under_other_labels(name):
    plain = load_language_model(name)
    generator = torch.Generator().manual_seed(SEED)
    order = [
        torch.randperm(plain.cfg.n_heads, generator=generator).tolist() for _ in range(plain.cfg.n_layers)
    ]
    moved = load_language_model(name, head_order=order)
    tokens = tokens_of(plain, 12, batch=4)
    torch.testing.assert_close(moved(tokens), plain(tokens), rtol=1e-4, atol=1e-4)
    _, cache = plain.run_with_cache(tokens)
    _, moved_cache = moved.run_with_cache(tokens)
    for layer, heads_of_layer in enumerate(order):
        at = heads.pattern_name(layer)
        torch.testing.assert_close(moved_cache[at], cache[at][:, heads_of_layer], rtol=1e-4, atol=1e-4)
    assert moved.course_spec == ModelSpec(name, tuple(map(tuple, order)))
    json.dumps(asdict(moved.course_spec))


@pytest.mark.parametrize(
    "order", [[[0, 1]], [[0, 1, 2, 2]], [[0, 1, 2, 3]] * 2], ids=["short", "twice", "layers"]
)
def test_a_head_order_that_is_no_permutation_is_refused_in_one_line(order):
    with pytest.raises(CourseError, match="one for each layer") as refused:
        load_language_model("course-positional", head_order=order)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_is_frozen_fp32_and_in_eval_mode(name):
    model = load_language_model(name)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.tokenizer.bos_token_id == model.tokenizer.eos_token_id
    assert model.to_str_tokens("Mara lost the hat.") == [
        "<|endoftext|>",
        " Mara",
        " lost",
        " the",
        " hat",
        ".",
    ]


def test_loading_keeps_torchs_random_state():
    before = torch.random.get_rng_state()
    load_language_model("course-positional")
    assert torch.equal(before, torch.random.get_rng_state())


LOADING = """
import os, sys, threading
from mechinterp_course.models import load_language_model
import torch, transformer_lens
from transformer_lens.model_bridge import TransformerBridge
torch.set_num_threads(1)
tasks = lambda: len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
before = threading.active_count(), tasks()
for name in sys.argv[1:]:
    load_language_model(name).to_tokens(["Mara lost the hat.", "The geese sing."])
assert (threading.active_count(), tasks()) == before, (before, threading.enumerate(), tasks())
"""


def test_loading_prints_nothing_and_leaves_no_thread_behind():
    run = subprocess.run([sys.executable, "-c", LOADING, *NAMES], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.fixture
def no_hub(monkeypatch):
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)


@pytest.mark.parametrize("name", ["gpt2", "course-gpt3", "no/such/thing", "not a name"])
def test_a_model_out_of_reach_is_refused_in_one_line_that_names_the_embedded_one(no_hub, name):
    threads = threading.active_count()
    with pytest.raises(CourseError, match="course-gpt2") as refused:
        load_language_model(name)
    assert name in str(refused.value) and "\n" not in str(refused.value)
    assert threading.active_count() == threads


def test_a_folder_without_weights_names_the_command_that_makes_them(tmp_path):
    with pytest.raises(CourseError, match="mechinterp models train"):
        models.load_folder(tmp_path / "course-gpt2")


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_the_recorded_figures_and_the_files_are_small(name):
    record = json.loads((embedded_data(name) / "training.json").read_text())
    for length, loss in record["induction"]["second_copy"].items():
        assert f"| {length} | {loss['first']} | {loss['second']} |" in model_card(name)
    assert record["parameters"] <= 3_000_000
    assert sum(path.stat().st_size for path in embedded_data(name).iterdir()) < 6_000_000


def test_there_is_no_card_for_what_is_not_embedded():
    with pytest.raises(CourseError, match="mechinterp models list"):
        model_card("gpt2")
