"""Compressed weights stay within half a step of their row, and vectors and whole numbers as they were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechinterp_course.compression import SCALE, compress, decompress, load_weights, save_compressed

SHAPES = {"linear": (7, 5), "convolution": (6, 3, 3, 3), "one row": (1, 9), "one column": (9, 1)}


def weights(shape, seed=0):
    """Rows of very different size, as in trained networks."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-7, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return spread * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_weight_moves_by_more_than_half_a_step_of_its_row(shape, bits):
    weight = weights(shape)
    restored = decompress(compress({"w": weight}, bits))["w"]
    step = weight.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)
    assert ((restored - weight).abs().flatten(1).amax(1) <= step * 0.50001).all()
    assert restored.dtype == torch.float32 and restored.shape == weight.shape


@settings(deadline=None)  # the first example pays for torch's first call
@given(st.integers(0, 2**20))
def test_compressing_again_changes_nothing(seed):
    once = decompress(compress({"w": weights((5, 4), seed)}))
    torch.testing.assert_close(decompress(compress(once)), once, rtol=1e-6, atol=0)


def test_vectors_and_whole_numbers_are_kept_bit_for_bit():
    state = {"bias": torch.randn(5), "steps": torch.tensor(7), "mask": torch.ones(3, 3, dtype=torch.bool)}
    restored = decompress(compress(state))
    assert all(torch.equal(restored[name], value) for name, value in state.items())
    assert {name: t.dtype for name, t in restored.items()} == {name: t.dtype for name, t in state.items()}


def test_a_row_of_zeros_stays_zero():
    assert not decompress(compress({"w": torch.zeros(3, 4)}))["w"].any()


def test_a_half_precision_checkpoint_passes_through_as_fp32():
    half = {"w": torch.randn(3, 4).half()}
    assert torch.equal(decompress(half)["w"], half["w"].float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        compress({"w": torch.tensor([[1.0, bad]])})


@pytest.mark.parametrize("bits", [1, 9])
def test_a_width_that_does_not_fit_a_byte_is_refused(bits):
    with pytest.raises(ValueError, match="bits"):
        compress({}, bits)


def test_a_file_holds_a_byte_a_weight_and_reads_back_the_same(tmp_path):
    state = {"w": torch.randn(256, 512), "b": torch.randn(256)}
    path = tmp_path / "model.safetensors"
    save_compressed(state, path)
    assert path.stat().st_size < 256 * 512 + 2 * 4 * 256 + 500
    torch.testing.assert_close(load_weights(path), decompress(compress(state)), rtol=0, atol=0)
    assert set(load_weights(path)) == {"w", "b"} and not any(SCALE in name for name in load_weights(path))
