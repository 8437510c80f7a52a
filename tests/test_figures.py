"""Figures: a number beside its bounds, and what a model that is always right, or never, would get."""

import math
from types import SimpleNamespace

import pytest
import torch

from mechinterp_course.figures import behaviour
from mechinterp_course.figures.figure import Figure, from_records, to_records
from mechinterp_course.figures.language import gift_draws, other_draws
from mechinterp_course.worlds.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer()
DRAWS = {**gift_draws(), **other_draws()}


@pytest.mark.parametrize(
    ("value", "low", "high", "holds", "target"),
    [
        (0.95, 0.95, None, True, "≥ 0.95"),
        (0.94, 0.95, None, False, "≥ 0.95"),
        (0.02, None, 0.02, True, "≤ 0.02"),
        (0.03, None, 0.02, False, "≤ 0.02"),
        (5, 1, 4, False, "1 to 4"),
        (7.5, None, None, True, "–"),
        (math.nan, None, None, False, "–"),
        (math.nan, 0.1, 0.9, False, "0.1 to 0.9"),
    ],
)
def test_a_figure_holds_within_its_bounds_and_nan_never_does(value, low, high, holds, target):
    figure = Figure("share", value, at_least=low, at_most=high)
    assert (figure.holds, figure.target) == (holds, target)


def test_figures_survive_the_record():
    figures = [Figure("a", 0.123456, at_least=0.1, about="of 10", unit="nats"), Figure("b", 3, at_most=4)]
    back = from_records(to_records(figures))
    assert [figure.name for figure in back] == ["a", "b"] and back[0].value == 0.1235
    assert back[0].target == figures[0].target and back[1] == Figure("b", 3.0, at_most=4)


class Oracle:
    """Stands in for a model: says, after each of the prompts, the word it was told to."""

    cfg = SimpleNamespace(device="cpu")
    tokenizer = SimpleNamespace(backend_tokenizer=TOKENIZER, bos_token_id=0)

    def __init__(self, said):
        self.said = {(0, *TOKENIZER.encode(prompt).ids): word for prompt, word in said.items()}

    def __call__(self, tokens):
        logits = torch.zeros(*tokens.shape, TOKENIZER.get_vocab_size())
        for row, ids in enumerate(tokens.tolist()):
            for end in range(1, len(ids) + 1):
                word = self.said.get(tuple(ids[:end]))
                if word:
                    logits[row, end - 1, TOKENIZER.encode(f" {word}").ids[0]] = 3.0
        return logits


@pytest.mark.parametrize("name", DRAWS)
def test_a_model_that_says_the_answer_is_right_and_one_that_says_the_rival_is_wrong(name):
    samples = behaviour.draw_many(DRAWS[name], 20, seed=1)
    right = behaviour.outcome(Oracle({sample.prompt: sample.answer for sample in samples}), samples)
    wrong = behaviour.outcome(Oracle({sample.prompt: sample.rival for sample in samples}), samples)
    assert (right.prefers, right.says) == (1.0, 1.0) and right.difference == pytest.approx(3.0)
    assert (wrong.prefers, wrong.says) == (0.0, 0.0) and wrong.difference == pytest.approx(-3.0)


def test_samples_that_measure_are_settled_by_the_seed():
    draw = DRAWS["gift, unseen templates"]
    assert (
        behaviour.draw_many(draw, 5, 1) == behaviour.draw_many(draw, 5, 1) != behaviour.draw_many(draw, 5, 2)
    )
