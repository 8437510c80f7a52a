"""What is made once for a batch: never another value than computing it anew would give."""

import random

import numpy as np
import pytest
import torch

from autograder.reuse import Memory, Reuse, Unfit, WarmDraw, fingerprint, plain_size, remembering
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.recognition import replayed
from mechinterp_course.models import load_language_model


def model():
    return load_language_model("course-positional")


X = torch.arange(6.0).reshape(2, 3)
DIFFERENT = {
    "another value": (X, X + 1),
    "another shape": (X, X.reshape(3, 2)),
    "another dtype": (X, X.double()),
    "gradients": (X, X.clone().requires_grad_()),
    "an integer, a float": (1, 1.0),
    "one, true": (1, True),
    "list and tuple": ([1, 2], (1, 2)),
    "nested otherwise": ([[1], 2], [1, [2]]),
    "other keys": ({"a": 1}, {"b": 1}),
    "text and number": ("1", 1),
}


def test_one_value_of_any_stride_has_a_fingerprint():
    assert fingerprint(torch.arange(14).view(2, 7)[:1, 3]) == fingerprint(torch.tensor([3]))


@pytest.mark.parametrize("one, other", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_has_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


@pytest.mark.parametrize("value", [object(), lambda: 1, {1: object()}], ids=["object", "function", "inside"])
def test_what_has_no_contents_is_never_remembered(value):
    with pytest.raises(Unfit):
        fingerprint(value)


def add_to_one_weight(m):
    next(m.parameters()).data[0, 0] += 1e-3


def swap_two_columns(m):
    weight = max(m.parameters(), key=torch.numel).data
    weight[..., [0, 1]] = weight[..., [1, 0]]


CHANGES = {
    "one weight": add_to_one_weight,
    "two columns swapped": swap_two_columns,
    "train mode": lambda m: m.train(),
    "gradients": lambda m: m.requires_grad_(True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model_has_another_fingerprint(change):
    m = model()
    before = fingerprint(m)
    assert before == fingerprint(model())
    change(m)
    assert fingerprint(m) != before


def test_a_model_with_a_hook_is_never_remembered():
    m = model()
    add_a_hook(m)
    with pytest.raises(Unfit):
        fingerprint(m)


def calls_of(function, *calls, memory=None):
    """Call what remembers, several times; return the results and how often `function` ran."""
    ran = []

    def counted(*args):
        ran.append(args)
        return function(*args)

    remembered = remembering(counted, Memory(1 << 20) if memory is None else memory)
    return [remembered(*args) for args in calls], len(ran)


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch):
    monkeypatch.setattr("autograder.reuse.WORTH_SECONDS", -1.0)


def test_equal_arguments_give_the_remembered_value_and_others_their_own():
    results, ran = calls_of(lambda x: x + 1, (X,), (X.clone(),), (X + 1,))
    assert ran == 2 and torch.equal(results[0], results[1]) and torch.equal(results[2], X + 2)


def test_changing_a_result_does_not_change_what_is_remembered():
    memory = Memory(1 << 20)
    remembered = remembering(lambda x: [x + 1], memory)
    remembered(X)[0].zero_()
    assert torch.equal(remembered(X)[0], X + 1)


NOT_REMEMBERED = {
    "random": lambda x: torch.rand(2),
    "random by NumPy": lambda x: float(np.random.rand()),
    "random by Python": lambda x: random.random(),
    "its argument is changed": lambda x: x.add_(1),
    "not plain": lambda x: iter([x]),
    "part of a graph": lambda x: (x.requires_grad_() if x.is_leaf else x) * 2,
}


@pytest.mark.parametrize("function", NOT_REMEMBERED.values(), ids=NOT_REMEMBERED)
def test_what_does_not_follow_from_the_arguments_alone_is_computed_each_time(function):
    _, ran = calls_of(function, (X.clone(),), (X.clone(),))
    assert ran == 2


def test_a_function_that_raises_raises_each_time():
    remembered = remembering(lambda x: x / 0, Memory(1 << 20))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            remembered(1)


def test_memory_holds_no_more_than_it_may_and_forgets_the_longest_unused_first():
    memory = Memory(100)
    for key in "abc":
        memory.put(key, key, 40)
    assert memory.get("a") is None and memory.get("b") == "b" and memory.used_bytes <= 100
    memory.put("d", "d", 40)
    assert memory.get("b") == "b" and memory.get("c") is None
    assert memory.pop("b") == "b" and memory.used_bytes == 40
    memory.put("e", "e", 1000)
    assert memory.get("e") is None and memory.used_bytes <= 100


def test_a_warm_draw_draws_what_a_draw_does():
    warm, plain = WarmDraw(3, "cpu", Memory(1 << 30)), Draw(3)
    assert torch.equal(warm.normal(2, 3), plain.normal(2, 3)) and warm.student_seed == plain.student_seed
    assert warm.fork("x").integer(0, 10**9) == plain.fork("x").integer(0, 10**9)
    assert warm.language_model("course-positional").course_spec == (
        plain.language_model("course-positional").course_spec
    )
    assert warm.vision_model().course_spec == plain.vision_model().course_spec


def add_a_hook(m):
    m.blocks[0].hook_resid_pre.add_hook(lambda value, hook: value)


VISION = {
    "nothing": (lambda m: None, True),
    "one weight of a convolution": (lambda m: m.layer2[0].conv1.weight.data[3, 2, 1].add_(1e-3), False),
    "two channels swapped": (lambda m: swap_two_columns(m.layer1[0].conv2), False),
    "a running mean": (lambda m: m.bn1.running_mean.add_(1e-3), False),
    "a hook": (lambda m: m.layer1.register_forward_hook(lambda *_: None), False),
}


@pytest.mark.parametrize(("change", "lent"), VISION.values(), ids=VISION)
def test_a_vision_model_is_lent_again_unless_it_was_changed(change, lent):
    shelf, drawn = Memory(1 << 30), []
    for _ in range(2):
        draw = WarmDraw(3, "cpu", shelf)
        drawn.append(draw.vision_model())
        change(drawn[-1])
        draw.give_back()
    assert (drawn[0] is drawn[1]) == lent


@pytest.mark.parametrize("change", [add_to_one_weight, add_a_hook])
def test_a_model_is_lent_again_unless_it_was_changed(change):
    shelf = Memory(1 << 30)

    def drawn(change=lambda m: None):
        draw = WarmDraw(3, "cpu", shelf)
        m = draw.language_model("course-positional")
        change(m)
        draw.give_back()
        return m

    first = drawn()
    assert drawn(change) is first
    assert drawn() is not first


def check_doubles(student, draw):
    """x is doubled"""
    from mechinterp_course.checking import expect_close

    x = draw.normal(3)
    expect_close(student.double(x), 2 * x, dims="row")


def double__kept(x):
    """x is returned"""
    return x


def test_a_replay_is_remembered_and_equals_the_first():
    reuse, draw = Reuse(), Draw(1)
    first = reuse.replay("double", double__kept, check_doubles, [], draw)
    assert reuse.replay("double", double__kept, check_doubles, [], draw) is first
    again = replayed("double", double__kept, check_doubles, [], draw)
    assert first.failed and again.failed and torch.equal(first.transcript[0][1], again.transcript[0][1])


def test_only_plain_values_have_a_size():
    assert plain_size([X, {"a": 1}]) > X.nbytes
    with pytest.raises(Unfit):
        plain_size(object())
