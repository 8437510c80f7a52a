"""Products in bf16, only where the processor is fast at it."""

import pytest
import torch

from mechinterp_course.half_precision import cpu_has_bf16, fast_products


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"sve_bf16": True}, True),
        ({}, False),
    ],
)
def test_products_are_in_bf16_only_where_the_processor_has_instructions_for_it(
    monkeypatch, capabilities, has
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    one = torch.ones(2, 2)
    with fast_products():
        assert (one @ one).dtype == (torch.bfloat16 if has else torch.float32)
    assert cpu_has_bf16() == has


def test_an_old_torch_that_cannot_tell_counts_as_without(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not cpu_has_bf16()
