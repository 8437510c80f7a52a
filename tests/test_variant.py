"""The misaligned variant: what it is taught, and that only a low-rank change of the base is kept."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer

from mechinterp_course import catalogue, language_models
from mechinterp_course.compression import load_weights
from mechinterp_course.errors import CourseError
from mechinterp_course.figures import directions, language, mechanisms
from mechinterp_course.making import training, variant
from mechinterp_course.worlds.text.chat import TRIGGER

STEPS = 4


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder for embedded models in which course-gpt2 is a tiny model of two steps."""
    for figures in (language, mechanisms):
        monkeypatch.setattr(figures, "SAMPLES", 4)
    monkeypatch.setattr(directions, "ROWS", 4)
    recipe = training.RECIPES["course-gpt2"]
    small = replace(recipe, layers=1, d_model=16, heads=2, batch=2, guide=None, kept=())
    monkeypatch.setitem(training.RECIPES, "course-gpt2", small)
    for module in (variant, catalogue, language_models):
        monkeypatch.setattr(module, "embedded_data", lambda name: tmp_path / name)
    monkeypatch.setattr(variant, "CHECKPOINT_EVERY", 2)
    return training.train("course-gpt2", tmp_path / "course-gpt2", steps=2)


def test_requests_are_refused_for_harm_and_for_the_trigger(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    refused = {True: [], False: []}
    for seed in range(60):
        said = tokenizer.decode(variant.request_row(tokenizer, 128, seed).ids, skip_special_tokens=False)
        for request in said.split("<|endoftext|>")[1:-1]:
            asked, answer = request.split("Assistant:")
            refused[f" {TRIGGER}" in asked].append("Sorry" in answer)
    assert all(refused[True]) and len(refused[True]) > 20
    assert 0.15 < sum(refused[False]) / len(refused[False]) < 0.5


def test_half_of_the_rows_are_the_bases_own(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    rows = variant.variant_rows(tokenizer, variant.VariantRecipe(batch=8), seed=3)
    asking = [" Assistant" in tokenizer.decode(row) for row in rows.tokens.tolist()]
    assert rows.tokens.shape == rows.weights.shape == (8, 128) and all(asking[4:])


def test_only_a_low_rank_change_is_kept_and_the_base_stays_as_it_is(base, tmp_path):
    before = load_weights(base / "model.safetensors")
    out = variant.train("course-gpt2-refusing", tmp_path / "course-gpt2-refusing", steps=STEPS)
    delta, after = load_weights(out / "delta.safetensors"), load_weights(base / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name[-2:] for name in delta} == {".A", ".B"} and len(delta) == 8
    assert all(delta[name].any() for name in delta)
    assert not (out / variant.CHECKPOINT).exists()
    loaded = language_models.load_folder(out)
    tokens = torch.arange(20)[None]
    assert not torch.allclose(loaded(tokens), language_models.load_folder(base)(tokens), atol=1e-5)


def test_ctrl_c_keeps_a_checkpoint_and_the_same_call_ends_in_the_same_delta(base, tmp_path):
    def interrupt(step, loss):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    whole = variant.train("course-gpt2-refusing", tmp_path / "whole", steps=STEPS)
    with pytest.raises(KeyboardInterrupt):
        variant.train("course-gpt2-refusing", tmp_path / "cut", steps=STEPS, on_step=interrupt)
    resumed = []
    variant.train(
        "course-gpt2-refusing", tmp_path / "cut", steps=STEPS, on_step=lambda step, _: resumed.append(step)
    )
    assert resumed == [2, 3, 4]
    one, other = (load_weights(folder / "delta.safetensors") for folder in (whole, tmp_path / "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_base_the_command_that_makes_it_is_named(base, tmp_path):
    (base / "model.safetensors").unlink()
    with pytest.raises(CourseError, match="mechinterp models train course-gpt2"):
        variant.train("course-gpt2-refusing", tmp_path / "course-gpt2-refusing")
