"""Runs of a model that a slip does not change are remembered, and none is taken for another."""

import pytest

from mechinterp_course.checking import quiet
from mechinterp_course.checking.quiet import QuietModel


class Counted:
    """A model that counts its runs."""

    def __init__(self):
        self.runs = 0

    def __call__(self, tokens):
        self.runs += 1
        return tokens + 1

    def run_with_cache(self, tokens, names_filter=None):
        self.runs += 1
        return tokens, names_filter(tokens) if names_filter else None


@pytest.fixture
def model():
    quiet.forget()
    yield QuietModel(Counted())
    quiet.forget()


def test_the_same_run_is_made_once(model):
    assert [model.run_with_cache(3), model.run_with_cache(3), model(3), model(3)] == [(3, None)] * 2 + [4] * 2
    assert model.runs == 2


def test_a_function_made_for_one_call_is_not_taken_for_that_of_another(model):
    results = [model.run_with_cache(3, names_filter=lambda x, k=k: x * k) for k in range(50)]
    assert results == [(3, 3 * k) for k in range(50)]


def test_two_models_are_told_apart():
    one, other = QuietModel(Counted()), QuietModel(Counted())
    one(3), other(3)
    assert one.runs == other.runs == 1
    quiet.forget()
