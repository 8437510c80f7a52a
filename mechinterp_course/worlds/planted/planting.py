"""Draw a circuit, make its weights: the same seed gives the same of both, neighbours share nothing."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from mechinterp_course.worlds.planted.circuit import Truth, draw_truth
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.weights import D_VOCAB, make_weights
from mechinterp_course.worlds.planted.wiring import wirings


def plant(seed: int, family: str = "pair") -> tuple[Puzzle, Truth]:
    """A model with a planted circuit and, beside it, the truth about it.

    Any integer is a seed, 128-bit secrets included. The same seed and family give the same truth everywhere
    and the same weights, to the bit, on the same machine; the seed itself is in neither of the two.

    Raises CourseError when `family` is not in `FAMILIES`.
    """
    truth = truth_of(seed, family)
    drawing = _generator(seed, family, "weights")
    token_ids = torch.randperm(D_VOCAB, generator=drawing).tolist()
    with _one_thread():
        weights = make_weights(wirings(truth, drawing), truth.n_layers, token_ids, drawing)
    return Puzzle(weights, bos=token_ids[-1], offset=truth.offset), truth


def truth_of(seed: int, family: str = "pair") -> Truth:
    """The truth that `plant` returns, without the weights: for whoever grades what was planted elsewhere."""
    return draw_truth(family, _generator(seed, family, "places"))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """How sums are split between threads decides their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _generator(*purpose: object) -> torch.Generator:
    """A generator for one purpose; hashing makes the streams of neighbouring seeds unrelated."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
