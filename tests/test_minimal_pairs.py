"""Two texts of one question: where they differ, and that nothing else comes twice."""

import doctest

import pytest
import torch

from mechinterp_course import minimal_pairs
from mechinterp_course.minimal_pairs import two_pairs

BOS = 7


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_two_words_have_changed_places_and_one_control_word_is_another(gap):
    clean, corrupted, right, wrong = two_pairs(d_vocab=300, batch=4, bos=BOS, seed=gap, gap=gap)
    assert clean.shape == corrupted.shape == (4, 6 + 2 * gap)
    first, second, control = 1, 3 + gap, 4 + 2 * gap
    assert (clean != corrupted).nonzero()[:, 1].unique().tolist() == [first, second, control]
    assert torch.equal(clean[:, [first, second]], corrupted[:, [second, first]])
    assert torch.equal(clean[:, first + 1], right) and torch.equal(clean[:, second + 1], wrong)


def test_the_question_has_come_once_and_no_other_word_twice():
    for rows, place in zip(two_pairs(d_vocab=300, batch=4, bos=BOS, seed=0)[:2], (1, 6), strict=True):
        assert torch.equal(rows[:, -1], rows[:, place])
        assert all(len(set(row)) == len(row) for row in rows[:, 1:-1].tolist())


def test_the_seed_alone_decides():
    torch.manual_seed(1)
    one = two_pairs(d_vocab=50, batch=3, bos=BOS, seed=2)
    torch.manual_seed(3)
    assert all(map(torch.equal, one, two_pairs(d_vocab=50, batch=3, bos=BOS, seed=2)))
    assert not torch.equal(one[0], two_pairs(d_vocab=50, batch=3, bos=BOS, seed=3)[0])


def test_the_example_holds():
    assert doctest.testmod(minimal_pairs).failed == 0
