"""Patching sweeps beside TransformerLens' functions on one bridge of GPT-2 small's shape: equal, and faster.

    OMP_NUM_THREADS=2 pytest tests/benchmarks/test_patching_speed.py -m benchmark -n 0 -s

TransformerLens runs the whole model once for each patch, so a sample of its patches gives its time for all of
them; ours is timed whole, or on two layers whose mean is that of all. The floor is what the multiplications
that a sweep can't do without allow, if both ran equally many a second; patches of a batch may run faster.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
import torch
from transformer_lens import patching as one_at_a_time
from transformer_lens.tools.analysis.direct_path_patching import get_act_patch_direct_path
from transformers import GPT2Config, GPT2LMHeadModel

from mechinterp_course.language_models import bridge_from
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.patching import patch
from mechinterp_course.path_sweeps import sweep_paths
from mechinterp_course.worlds.planted.puzzle import word_tokenizer

pytestmark = pytest.mark.benchmark
BATCH, POS, SAMPLE = 2, 24, 8
METRIC = LogitDifference(torch.tensor([1, 2]), torch.tensor([3, 4]))  # at the last position
MIDDLE = (4, 7)  # layers that stand for all twelve
SETTERS = {
    "all": one_at_a_time.layer_head_vector_patch_setter,
    "by position": one_at_a_time.layer_pos_head_vector_patch_setter,
}


@dataclass(frozen=True)
class Shape:
    """What multiplications depend on."""

    layers: int
    heads: int
    width: int
    vocabulary: int
    pos: int = POS
    first: int = 0  # the first position where the prompts differ

    @property
    def whole(self) -> float:
        """Multiplications of a whole run of one prompt."""
        return self.pos * (self.layers * self.block() + self.width * self.vocabulary)

    def block(self) -> float:
        """Of one token in one block, attention to half of the positions included."""
        return 12 * self.width**2 + self.pos * self.width

    def above(self, layer: int, changed: int) -> float:
        """From a layer's residual stream on, where `changed` positions are not as in the intact run."""
        if layer >= self.layers:
            return self.width * self.vocabulary
        last = 2 * self.width**2 * changed + 10 * self.width**2 + self.width * self.vocabulary
        return (self.layers - 1 - layer) * changed * self.block() + last

    def of_head(self, layer: int, written: int, changed: int) -> float:
        """From a head that writes something else at `written` positions, the first of `changed`."""
        written = written if layer < self.layers - 1 else 1
        mlp = written * (8 * self.width**2 + self.width**2 // self.heads)
        return mlp + self.above(layer + 1, changed)

    def heads_all(self) -> float:
        """The mean over heads and layers of a patch of all positions."""
        changed = self.pos - self.first
        return sum(self.of_head(layer, changed, changed) for layer in range(self.layers)) / self.layers

    def heads_by_position(self) -> float:
        """The mean over heads, layers and positions of a patch of one position."""
        places = [(layer, pos) for layer in range(self.layers) for pos in range(self.first, self.pos)]
        costs = [self.of_head(layer, 1, self.pos - pos) for layer, pos in places]
        return sum(costs) / (self.layers * self.pos)

    def paths_from(self, sender: int) -> float:
        """The mean over receivers above a layer."""
        above, changed = range(sender + 1, self.layers), self.pos - self.first
        return sum(self.of_head(layer, changed, changed) for layer in above) / len(above)


GPT2 = Shape(12, 12, 768, 50257)


def random_bridge(shape: Shape):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=shape.vocabulary, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads
    )
    return bridge_from("random", GPT2LMHeadModel(config), word_tokenizer(shape.vocabulary, bos=0))


def pairs(shape: Shape):
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = torch.randint(shape.vocabulary, (2, BATCH, shape.pos), generator=generator)
    return clean, torch.cat([clean[:, : shape.first], corrupted[:, shape.first :]], dim=1)


@pytest.fixture(scope="module")
def gpt2():
    return random_bridge(GPT2)


@dataclass(frozen=True)
class Timed:
    """What a call returned, and the seconds of the clock and of the processor that it took."""

    value: Any
    clock: float
    processor: float


def timed(call: Callable[[], Any]) -> Timed:
    clock, processor = time.perf_counter(), time.process_time()
    value = call()
    return Timed(value, time.perf_counter() - clock, time.process_time() - processor)


def sample_one_at_a_time(model, pair, site, kind, layers=range(12)):
    """(places, Timed) of a few patches by TransformerLens' generic function, with its own setter."""
    names = ("layer", "head") if kind == "all" else ("layer", "pos", "head")
    sizes = {"layer": len(layers), "head": model.cfg.n_heads, "pos": pair[0].shape[1]}
    generator = torch.Generator().manual_seed(2)
    drawn = {name: torch.randint(sizes[name], (SAMPLE,), generator=generator).tolist() for name in names}
    drawn["layer"] = [layers[index] for index in drawn["layer"]]
    _, cache = model.run_with_cache(pair[0])
    arguments = {"patch_setter": SETTERS[kind], "activation_name": site, "index_df": pd.DataFrame(drawn)}
    patches = one_at_a_time.generic_activation_patch
    patches(model, pair[1], cache, METRIC, **arguments | {"index_df": pd.DataFrame(drawn)[:1]})
    return drawn, timed(lambda: patches(model, pair[1], cache, METRIC, **arguments))


def report(name: str, count: int, theirs: float, ours: Timed, each: Timed, floor: float) -> None:
    """One line; `theirs` scales the sample to `count` patches."""
    ratios = [theirs * getattr(each, kind) / getattr(ours, kind) for kind in ("clock", "processor")]
    print(
        f"\n{name}: {count} patches, {theirs * each.clock:.1f} s one at a time, {ours.clock:.1f} s here: "
        f"x{ratios[0]:.1f} by the clock, x{ratios[1]:.1f} by processor time; floor x{floor:.1f}, "
        f"of which {ratios[1] / floor:.0%}"
    )


@pytest.mark.parametrize("first", [0, 12])
@pytest.mark.parametrize(("kind", "layers"), [("all", tuple(range(12))), ("by position", MIDDLE)])
def test_heads_one_after_the_other(gpt2, kind, layers, first):
    shape = Shape(12, 12, 768, 50257, first=first)
    pair, by_position = pairs(shape), kind == "by position"
    places, each = sample_one_at_a_time(gpt2, pair, "z", kind, layers)
    ours = timed(lambda: patch(gpt2, *pair, METRIC, "z", by_position, layers=layers))
    found = [ours.value.values[place] for place in zip(*_in_our_order(places), strict=True)]
    torch.testing.assert_close(torch.stack(found), each.value.flatten(), atol=1e-4, rtol=0)
    count = len(layers) * 12 * (POS if by_position else 1)
    floor = shape.whole / (shape.heads_by_position() if by_position else shape.heads_all())
    report(f"z {kind}, prompts differ from {first} on", count, count / SAMPLE, ours, each, floor)


@pytest.mark.parametrize("site", ["q", "k", "v"])
def test_every_input_of_heads(gpt2, site):
    pair = pairs(GPT2)
    places, each = sample_one_at_a_time(gpt2, pair, site, "all", MIDDLE)
    ours = timed(lambda: patch(gpt2, *pair, METRIC, site, layers=MIDDLE))
    found = [ours.value.values[place] for place in zip(*_in_our_order(places), strict=True)]
    torch.testing.assert_close(torch.stack(found), each.value.flatten(), atol=1e-4, rtol=0)
    report(f"{site} all", 24, 24 / SAMPLE, ours, each, GPT2.whole / GPT2.heads_all())


@pytest.mark.parametrize("first", [0, 12])
def test_direct_paths(gpt2, first):
    shape = Shape(12, 12, 768, 50257, first=first)
    pair = pairs(shape)
    caches = [gpt2.run_with_cache(tokens)[1] for tokens in pair]
    each = timed(lambda: get_act_patch_direct_path(gpt2, pair[1], *caches, METRIC, 9, 3, "k", verbose=False))
    senders = [(layer, 3) for layer in range(0, 11, 2)] + [(9, 3)]
    ours = timed(lambda: sweep_paths(gpt2, *pair, METRIC, "k", senders, layer_norm="frozen"))
    torch.testing.assert_close(ours.value.values[9, 3, 10:], each.value[10:], atol=1e-4, rtol=0)
    counts = {layer: 12 * (11 - layer) for layer, _ in senders}
    needed = sum(count * shape.paths_from(layer) for layer, count in counts.items())
    count = sum(counts.values())
    name = f"paths from 7 heads to all above, prompts differ from {first} on"
    report(name, count, count / 24, ours, each, shape.whole * count / needed)


GROWTH = {
    "layers": [Shape(n, 4, 128, 1000) for n in (3, 6, 12)],
    "heads": [Shape(6, n, 128, 1000) for n in (4, 8, 16)],
    "length": [Shape(6, 4, 128, 1000, pos=n) for n in (16, 32, 64)],
}


@pytest.mark.parametrize("what", GROWTH)
def test_how_time_grows(what):
    for shape in GROWTH[what]:
        model, pair = random_bridge(shape), pairs(shape)
        for by_position in (False, True):
            ours = timed(lambda m=model, p=pair, by=by_position: patch(m, *p, METRIC, "z", by))
            count = ours.value.values.numel()
            print(
                f"\n{shape.layers} layers, {shape.heads} heads, {shape.pos} positions, "
                f"{'by position' if by_position else 'all'}: {count} patches, {ours.clock:.2f} s, "
                f"{1000 * ours.processor / count:.1f} ms of a processor each"
            )


def _in_our_order(places: dict[str, list[int]]) -> list[list[int]]:
    """Layer, head, position: TransformerLens puts the position second."""
    return [places[name] for name in ("layer", "head", "pos") if name in places]
