"""Training: a run that was interrupted ends in the same weights as one that was not."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mechinterp_course.compression import load_weights
from mechinterp_course.errors import CourseError
from mechinterp_course.figures import directions, language, mechanisms
from mechinterp_course.figures.figure import from_records
from mechinterp_course.making import training
from mechinterp_course.making.recipes import Guide
from mechinterp_course.models import load_folder

STEPS = 6


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The real recipes with a small model and few rows, so that a whole run takes a second."""
    for name, recipe in training.RECIPES.items():
        guide = recipe.guide and Guide((0, 0), ((0, 1),), steps=3)
        small = replace(recipe, layers=1, d_model=16, heads=2, batch=2, warmup=2, guide=guide)
        monkeypatch.setitem(training.RECIPES, name, small)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    for figures in (language, mechanisms):
        monkeypatch.setattr(figures, "SAMPLES", 4)
    monkeypatch.setattr(directions, "ROWS", 4)


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
    loss = record["induction"]["second_copy"]["30"]
    card = (out / "README.md").read_text()
    for figure in from_records(record["figures"]):
        assert f"| {figure.name} | {figure.value:.3g}" in card and figure.target in card
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


def test_the_ladder_holds_the_weights_of_the_steps_that_are_kept(tmp_path, monkeypatch):
    recipe = replace(training.RECIPES["course-gpt2"], kept=(2, 5))
    monkeypatch.setitem(training.RECIPES, "course-gpt2", recipe)
    out = training.train("course-gpt2", tmp_path, steps=STEPS)
    early, late = (load_weights(out / "ladder" / f"step-0000{step}.safetensors") for step in (2, 5))
    final = {name: weight.float() for name, weight in weights(out).items()}
    assert early.keys() == late.keys() == final.keys()
    key = "transformer.h.0.mlp.c_fc.weight"
    assert (early[key] - final[key]).norm() > (late[key] - final[key]).norm() > 0


def test_an_attention_only_model_keeps_its_mlps_at_zero(tmp_path, monkeypatch):
    recipe = replace(training.RECIPES["course-gpt2"], attention_only=True)
    monkeypatch.setitem(training.RECIPES, "course-gpt2", recipe)
    made = weights(training.train("course-gpt2", tmp_path, steps=2))
    assert not any(weight.any() for name, weight in made.items() if ".mlp." in name)
    assert all(weight.any() for name, weight in made.items() if name.endswith("attn.c_attn.weight"))


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


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_learning_rate_rises_stays_level_and_then_falls_to_zero(level):
    recipe = replace(training.RECIPES["course-gpt2"], warmup=10, learning_rate=1.0, level=level)
    rates = [recipe.rate(step, steps=100) for step in range(100)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) > 0.85 and rates[0] == 0.1 and rates[-1] < 0.02
    assert all(rate == 1.0 for rate in rates[10 : int(100 * level)])
