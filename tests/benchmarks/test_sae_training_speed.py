"""Our training loop beside a bare one of the same arithmetic, and all of the training in chapter 6.

OMP_NUM_THREADS=1 pytest tests/benchmarks/test_sae_training_speed.py -m benchmark -n 0 -s
"""

import time
from statistics import median

import pytest
import torch

from mechinterp_course.authoring.chapter import load_chapter
from mechinterp_course.known_features import draw_known_features
from mechinterp_course.layout import course_root
from mechinterp_course.sae import SparseAutoencoder
from mechinterp_course.sae_training import Schedule, train

pytestmark = pytest.mark.benchmark
STEPS, BATCH, ROUNDS = 200, 256, 9
CHAPTER = "ch06_sparse_autoencoders"


@pytest.fixture(autouse=True)
def one_core():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bare_loop(activations, d_sae):
    """Nothing but the arithmetic: draw, encode, decode, loss, backward, project, step, normalize."""
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.randn(d_sae, activations.shape[1], generator=generator)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    weights = [W_dec.T.clone(), torch.zeros(d_sae), W_dec, activations.mean(0)]
    W_enc, b_enc, W_dec, b_dec = (weight.requires_grad_() for weight in weights)
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    for _ in range(STEPS):
        x = activations[torch.randint(len(activations), (BATCH,), generator=generator)]
        acts = ((x - b_dec) @ W_enc + b_enc).relu()
        y = acts @ W_dec + b_dec
        loss = ((y - x).square().sum(1) + 0.15 * (acts * W_dec.norm(dim=1)).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec
            optimizer.step()
            W_dec /= W_dec.norm(dim=1, keepdim=True)


def seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@pytest.mark.parametrize(("d_in", "d_sae"), [(32, 48), (192, 512)])
def test_our_loop_reaches_most_of_the_speed_of_a_bare_one(d_in, d_sae):
    activations = draw_known_features(d_in, d_sae, 0.02, tokens=5000).activations
    schedule = Schedule(STEPS, BATCH, 0.02, l1_coefficient=0.15)
    pairs = [
        (
            seconds(lambda: bare_loop(activations, d_sae)),
            seconds(lambda: train(SparseAutoencoder(d_in, d_sae), activations, schedule)),
        )
        for _ in range(ROUNDS)
    ]
    tokens, share = STEPS * BATCH, median(bare / ours for bare, ours in pairs)
    bare, ours = (median(times) for times in zip(*pairs, strict=True))
    print(f"{d_in} to {d_sae}: {tokens / ours:,.0f} tokens/s, bare {tokens / bare:,.0f}; share {share:.2f}")
    assert share >= 0.8


def test_the_chapter_trains_in_less_than_two_minutes(monkeypatch):
    """All demos of the chapter run; what is counted is the time inside the two functions that train."""
    from mechinterp_course import sae_comparison, sae_lens_training, sae_training

    spent = []

    def counted(function):
        def run(*arguments, **named):
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent.append(time.perf_counter() - started)

        return run

    for module, name in (
        (sae_comparison, "train"),
        (sae_training, "train"),
        (sae_lens_training, "train_with_sae_lens"),
    ):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    names: dict[str, object] = {}
    whole = seconds(
        lambda: [
            exec(compile(cell.text, f"line {cell.line}", "exec"), names)
            for cell in load_chapter(course_root(), CHAPTER).cells
            if cell.role in ("given", "solution", "demo")
        ]
    )
    print(f"{len(spent)} trainings in {sum(spent):.0f} s; all demos in {whole:.0f} s")
    assert sum(spent) <= 120 and whole <= 300
