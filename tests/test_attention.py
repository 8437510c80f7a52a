"""Attention by hand equals torch's own; directions obey their algebra."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from mechinterp_course.attention import attention_pattern, head_outputs
from mechinterp_course.directions import class_direction, remove_direction


def test_the_pattern_times_values_is_torchs_attention():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 5, 3, 8) for _ in range(3))
    z = torch.einsum("bhqk,bkhd->bqhd", attention_pattern(q, k), v)
    expected = scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v)), is_causal=True)
    torch.testing.assert_close(z.transpose(1, 2), expected)


def test_heads_sum_to_the_product_with_the_whole_matrix():
    torch.manual_seed(1)
    z, W_O = torch.randn(2, 4, 12), torch.randn(12, 7)
    written = head_outputs(z, W_O, 3)
    assert written.shape == (2, 4, 3, 7)
    torch.testing.assert_close(written.sum(2), z @ W_O)
    torch.testing.assert_close(written[:, :, 1], z[:, :, 4:8] @ W_O[4:8])


def test_nothing_along_a_removed_direction_is_left_on_any_axis():
    torch.manual_seed(2)
    for axis in (0, 1, 2, -1):
        activation = torch.randn(4, 5, 6)
        direction = 3 * torch.randn(activation.shape[axis])
        left = remove_direction(activation, direction, axis)
        along = left.movedim(axis, -1) @ direction
        torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-5)
        torch.testing.assert_close(remove_direction(left, direction, axis), left)


def test_a_class_direction_has_length_one_and_separates_the_means():
    torch.manual_seed(3)
    positive, negative = torch.randn(5, 6) + 1, torch.randn(8, 6)
    direction = class_direction(positive, negative)
    torch.testing.assert_close(direction.norm(), torch.tensor(1.0))
    assert (positive.mean(0) - negative.mean(0)) @ direction > 0
