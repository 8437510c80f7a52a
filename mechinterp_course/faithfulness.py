"""Is a set of heads the circuit? Run the model with every other head ablated, and see what is left.

What is left depends on the ablation (Miller et al. 2024, "Transformer Circuit Faithfulness Metrics Are Not
Robust"), so every function names its own, and the curve shows three. Embeddings and MLPs run as they are.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.ablated_heads import KINDS, Head, Tokens, ablations, mask, stand_ins
from mechinterp_course.hooks import edit
from mechinterp_course.layers_above import Base, unembed_only
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.patch_sweeps import Reading
from mechinterp_course.patched_runs import Runner
from mechinterp_course.patching import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformer_lens.model_bridge import TransformerBridge


def run_circuit(
    model: "TransformerBridge",
    tokens: Tokens,
    circuit: Collection[Head],
    kind: str = "resample",
    other: Tokens | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits with the z of every head outside `circuit` replaced, all at once.

    kind="resample" puts the z that the head has on `other` there, row by row; "mean" its mean over batch and
    positions of `other` (without it, of `tokens`); "zero" puts zeros. Raises ValueError for another kind, for
    "resample" without `other`, and for a head that the model doesn't have.
    """
    stand_in = stand_ins(model, tokens, kind, other)
    keep = mask(model, [circuit])
    with torch.no_grad(), edit(model, ablations(stand_in, keep, len(tokens))):
        return model(tokens)


def faithfulness(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    circuit: Collection[Head],
    kind: str = "resample",
) -> float:
    """What part of the behaviour the circuit keeps: (F(circuit) - F(no head)) / (F(all heads) - F(no head)).

    F is the metric under `run_circuit`. 1 is the whole model; it can be more, or less than 0. Raises
    ValueError as `run_circuit` does, and where all heads and none have the same metric.
    """
    return Behaviour.of(model, tokens, other, metric, kind).kept([circuit])[0]


def faithfulness_by_size(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
    order: Sequence[Head],
    kind: str = "resample",
) -> Float[Tensor, " size"]:
    """`faithfulness` of order[:n] for n = 0 … len(order), by the mean logit difference at the end."""
    behaviour = Behaviour.of(model, tokens, other, LogitDifference(right, wrong), kind)
    kept = behaviour.kept([order[:size] for size in range(len(order) + 1)])
    return torch.tensor(kept, device=tokens.device)


def minimality(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    circuit: Collection[Head],
    kind: str = "resample",
) -> dict[Head, float]:
    """The faithfulness that is lost when one head alone leaves the circuit, for each of its heads.

    A head that loses nothing is not needed beside the others; two that do the same work both look so.
    """
    behaviour, members = Behaviour.of(model, tokens, other, metric, kind), sorted(circuit)
    without = [[head for head in members if head != left] for left in members]
    whole, *rest = behaviour.kept([members, *without])
    return {head: whole - one for head, one in zip(members, rest, strict=True)}


def completeness(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    circuit: Collection[Head],
    kind: str = "resample",
) -> float:
    """1 - the faithfulness of all other heads: near 1 where nothing outside the circuit can do its work."""
    behaviour = Behaviour.of(model, tokens, other, metric, kind)
    return 1 - behaviour.kept([set(behaviour.heads) - set(circuit)])[0]


def greedy_circuit(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    keep: float = 0.85,
    kind: str = "resample",
    at_once: float = 0.25,
) -> tuple[Head, ...]:
    """A small circuit, sorted, whose faithfulness is at least `keep`: perhaps not the smallest there is.

    From all heads, the one whose removal leaves most is removed, again and again, while `keep` holds. Removal
    finds heads that work only together, which adding one by one does not. A round removes the share `at_once`
    of the heads together while that keeps enough, else one; 0 is always one, and takes longest.
    """
    behaviour = Behaviour.of(model, tokens, other, metric, kind)
    left = behaviour.heads
    for remaining, kept in _eliminate(behaviour, at_once, keep):
        if kept < keep:
            break
        left = remaining
    return tuple(left)


def elimination_order(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    kind: str = "resample",
    at_once: float = 0.25,
) -> list[Head]:
    """All heads in the order of `greedy_circuit`, the last one removed first: an order for the curve."""
    behaviour = Behaviour.of(model, tokens, other, metric, kind)
    order, left = [], behaviour.heads
    for remaining, _ in _eliminate(behaviour, at_once):
        order += [head for head in left if head not in remaining]
        left = remaining
    return order[::-1]


@dataclass(frozen=True, eq=False)
class Behaviour:
    """The metric under ablation, between no head (0) and all heads (1), for many circuits at once."""

    runner: Runner
    reading: Reading
    stand_in: Mapping[int, Tensor]
    none: float
    all: float

    @classmethod
    def of(
        cls, model: "TransformerBridge", tokens: Tokens, other: Tokens, metric: Metric, kind: str
    ) -> "Behaviour":
        """Measure the two ends; raises ValueError where they are equal."""
        reading = Reading.of(metric, tokens)
        with torch.no_grad():
            runner = Runner(Base.run(model, tokens, reading.positions), 0)
        made = cls(runner, reading, stand_ins(model, tokens, kind, other), 0.0, 1.0)
        none, every = made.kept([[], made.heads])
        if none == every:
            raise ValueError("the metric is the same with all heads and with none: there is nothing to keep")
        return cls(runner, reading, made.stand_in, none, every)

    @property
    def heads(self) -> list[Head]:
        """All heads of the model."""
        cfg = self.runner.base.model.cfg
        return [(layer, head) for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]

    def kept(self, circuits: Sequence[Collection[Head]]) -> list[float]:
        """The faithfulness of each circuit."""
        base = self.runner.base
        size = self.runner.room(0, memory=1.0)
        found: list[float] = []
        for keep in mask(base.model, circuits).split(size):
            edits = ablations(self.stand_in, keep, len(base.tokens))
            reads = base.reads.repeat(len(keep), 1)
            with torch.no_grad(), unembed_only(base.model, reads), edit(base.model, edits):
                logits = base.model(base.tokens.repeat(len(keep), 1))
            found += self.reading.values(logits.unflatten(0, (len(keep), -1))).tolist()
        return [(value - self.none) / (self.all - self.none) for value in found]


@dataclass(frozen=True, eq=False)
class Curve:
    """Faithfulness of order[:size] by size and kind of ablation, beside circuits of random heads."""

    sizes: tuple[int, ...]
    values: dict[str, Float[Tensor, " size"]]
    random: dict[str, Float[Tensor, "draw size"]]
    n_heads: int

    def plot(self, title: str = "", keep: float | None = None) -> "Figure":
        """One panel for each ablation: the circuit's curve, the random ones behind it, `keep` as a line."""
        from mechinterp_course.sweep_plots import plot_faithfulness

        return plot_faithfulness(self, title, keep)


def faithfulness_curve(
    model: "TransformerBridge",
    tokens: Tokens,
    other: Tokens,
    metric: Metric,
    order: Sequence[Head],
    kinds: Sequence[str] = KINDS,
    random: int = 10,
    seed: int = 0,
    sizes: Sequence[int] | None = None,
) -> Curve:
    """The curve of circuits order[:size] under each kind of ablation, and of `random` shuffled orders.

    `sizes` are from 0 to the number of heads, all of them by default. `order` need not name all heads: sizes
    then end with it. The shuffled orders are drawn from `seed`, among all heads of the model.
    """
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    sizes = tuple(range(len(order) + 1)) if sizes is None else tuple(sizes)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [[every[i] for i in torch.randperm(len(every), generator=generator)] for _ in range(random)]
    values, beside = {}, {}
    for kind in kinds:
        behaviour = Behaviour.of(model, tokens, other, metric, kind)
        kept = behaviour.kept([one[:size] for one in (list(order), *shuffled) for size in sizes])
        values[kind], beside[kind] = _rows(kept, len(sizes))
    return Curve(sizes, values, beside, len(every))


def _rows(kept: list[float], width: int) -> tuple[Tensor, Tensor]:
    rows = torch.tensor(kept).reshape(-1, width)
    return rows[0], rows[1:]


def _eliminate(
    behaviour: Behaviour, at_once: float, keep: float = -torch.inf
) -> Iterator[tuple[list[Head], float]]:
    """The heads that remain after each round, and their faithfulness; ends with none."""
    left = behaviour.heads
    while left:
        kept = behaviour.kept([[head for head in left if head != out] for out in left])
        ranked = sorted(range(len(left)), key=lambda i: -kept[i])
        for count in dict.fromkeys((max(1, int(at_once * len(left))), 1)):
            out = {left[i] for i in ranked[:count]}
            remaining = [head for head in left if head not in out]
            after = kept[ranked[0]] if count == 1 else behaviour.kept([remaining])[0]
            if after >= keep:
                break
        left = remaining
        yield left, after
