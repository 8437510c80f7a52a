"""Training: a run that was interrupted ends in the same weights as one that was not."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mechinterp_course import training
from mechinterp_course.errors import CourseError
from mechinterp_course.models import load_folder
from mechinterp_course.recipes import Guide

STEPS = 6


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The real recipes with a small model and few rows, so that a whole run takes a second."""
    for name, recipe in training.RECIPES.items():
        guide = recipe.guide and Guide((0, 0), ((0, 1),), steps=3)
        small = replace(recipe, layers=1, d_model=16, heads=2, batch=2, warmup=2, guide=guide)
        monkeypatch.setitem(training.RECIPES, name, small)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)


def weights(folder):
    return load_file(folder / "model.safetensors")


def interrupt_at(step):
    def on_step(done, loss):
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step


def test_a_run_writes_a_folder_that_loads_and_no_checkpoint(tmp_path, capsys):
    seen = []
    out = training.train("course-positional", tmp_path, steps=STEPS, on_step=lambda *step: seen.append(step))
    assert [done for done, _ in seen] == list(range(1, STEPS + 1))
    assert all(loss > 0 for _, loss in seen)
    assert not (out / training.CHECKPOINT).exists()
    for name in ("config.json", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).exists()
    assert load_folder(out).to_str_tokens("Mara sings.", prepend_bos=False) == [" Mara", " sings", "."]
    assert capsys.readouterr() == ("", "")


def test_the_card_and_the_record_tell_how_the_model_was_made(tmp_path):
    out = training.train("course-gpt2", tmp_path, seed=4, steps=2)
    record = json.loads((out / "training.json").read_text())
    assert (record["seed"], record["steps"], record["recipe"]["rows"]) == (4, 2, "mixed_rows")
    loss = record["figures"]["second_copy"]["30"]
    card = (out / "README.md").read_text()
    assert "mechinterp models train course-gpt2 --seed 4" in card
    assert f"| 30 | {loss['first']} | {loss['second']} |" in card


@pytest.mark.parametrize("step", [1, 4])
def test_ctrl_c_keeps_a_checkpoint_and_the_same_call_ends_in_the_same_weights(tmp_path, step):
    whole = weights(training.train("course-gpt2", tmp_path / "whole", steps=STEPS))
    with pytest.raises(KeyboardInterrupt):
        training.train("course-gpt2", tmp_path / "cut", steps=STEPS, on_step=interrupt_at(step))
    assert (tmp_path / "cut" / training.CHECKPOINT).exists()
    resumed_at = []
    training.train(
        "course-gpt2", tmp_path / "cut", steps=STEPS, on_step=lambda done, _: resumed_at.append(done)
    )
    assert resumed_at[0] == step + 1
    cut = weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_that_died_without_warning_goes_on_from_its_last_checkpoint(tmp_path):
    def die(done, loss):
        if done == 5:
            raise MemoryError

    whole = weights(training.train("course-positional", tmp_path / "whole", steps=STEPS))
    with pytest.raises(MemoryError):
        training.train("course-positional", tmp_path / "cut", steps=STEPS, on_step=die)
    resumed_at = []
    training.train(
        "course-positional", tmp_path / "cut", steps=STEPS, on_step=lambda done, _: resumed_at.append(done)
    )
    assert resumed_at == [5, 6]
    assert all(torch.equal(whole[name], weight) for name, weight in weights(tmp_path / "cut").items())


def test_another_seed_gives_another_model(tmp_path):
    first, second = (
        training.train("course-positional", tmp_path / str(seed), seed=seed, steps=1) for seed in (0, 1)
    )
    assert not torch.equal(
        weights(first)["transformer.wte.weight"], weights(second)["transformer.wte.weight"]
    )


def test_a_checkpoint_of_another_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        training.train("course-gpt2", tmp_path, steps=STEPS, on_step=interrupt_at(1))
    with pytest.raises(CourseError, match="belongs to another run") as refused:
        training.train("course-gpt2", tmp_path, seed=1, steps=STEPS)
    assert "\n" not in str(refused.value)


def test_an_unknown_recipe_is_refused_in_one_line(tmp_path):
    with pytest.raises(CourseError, match="mechinterp models list"):
        training.train("gpt2", tmp_path)


@pytest.mark.parametrize("guide", [None, Guide((0, 0), (), steps=40)])
def test_the_learning_rate_rises_and_then_falls_to_zero(guide):
    recipe = replace(training.RECIPES["course-gpt2"], warmup=10, learning_rate=1.0, guide=guide)
    rates = [recipe.rate(step, steps=100) for step in range(100)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) > 0.85 and rates[0] == 0.1 and rates[-1] < 0.02
