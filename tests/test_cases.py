"""The calls that checks make: only those that an answer in another process can be asked to repeat."""

import pytest
import torch
from torch import nn

from mechinterp_course.checking.cases import can_travel, cases_of
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.hook_probes import on_winding, turned
from mechinterp_course.checking.probes import forget_hooks
from mechinterp_course.hooks import read_activation


def with_a_spec():
    model = nn.Linear(1, 1)
    model.course_spec = "spec"
    return model


ARGUMENTS = {
    "a tensor": (torch.zeros(2), True),
    "names": (["bn1", "fc"], True),
    "a function of the library": ([turned], True),
    "a function without a name": (lambda x: x, False),
    "a model of the course": (with_a_spec(), True),
    "another module": ((1, nn.Linear(1, 1)), False),
    "functions in a dictionary": ({"fc": lambda x: x}, False),
}


@pytest.mark.parametrize(("value", "travels"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_what_travels_is_plain_or_can_be_found_there(value, travels):
    assert can_travel(value) == travels


def test_calls_with_a_network_made_beside_the_answer_are_left_out():
    def check(student, draw):
        """it reads"""
        student.run(on_winding, student.read_activation, 1, "first")

    assert cases_of("read_activation", read_activation, [(check, [], Draw(0))]) == []


def test_hooks_of_any_module_are_forgotten_between_calls():
    module = nn.Sequential(nn.ReLU())
    module[0].register_forward_hook(lambda *_: torch.zeros(1))
    forget_hooks([module, 3])
    assert module(torch.ones(1)) == 1
