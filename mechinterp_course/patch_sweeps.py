"""Many patches, each measured: the named array that comes out, and the batches in which they are run."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.metrics import Metric, at_positions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = tuple[int | str, ...]
Logits = Float[Tensor, "batch pos d_vocab"]
PATIENCE = 2.0  # seconds until a bar is shown


@dataclass(frozen=True, eq=False)
class Sweep:
    """The metric of every patched run, by what was patched.

    `values` has one dimension for each name in `dims`, float32 on the CPU; `clean` and `corrupted` are the
    metric of the two intact runs, `what` says what was done. An entry that no run gave is NaN.
    """

    values: Float[Tensor, "..."]
    dims: tuple[str, ...]
    clean: float
    corrupted: float
    what: str
    sites: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every entry was measured: False where a Ctrl-C came first."""
        return not self.values.isnan().any().item()

    def normalized(self) -> "Sweep":
        """The same with 0 for the corrupted run and 1 for the clean one.

        Raises ValueError where the two have the same metric, so that there is nothing to restore.
        """
        whole = self.clean - self.corrupted
        if whole == 0:
            raise ValueError("the metric is the same on both intact runs: there is nothing to restore")
        return replace(self, values=(self.values - self.corrupted) / whole, clean=1.0, corrupted=0.0)

    def select(self, **where: int | str) -> float | Float[Tensor, "..."]:
        """The entry, or the entries, at the named coordinates: `select(layer=2, head=1)`.

        Raises ValueError for a name that is not in `dims`.
        """
        if not set(where) <= set(self.dims):
            raise ValueError(f"this sweep has {', '.join(self.dims)}, not {', '.join(where)}")
        index = tuple(self._number(name, where[name]) if name in where else slice(None) for name in self.dims)
        chosen = self.values[index]
        return chosen.item() if chosen.ndim == 0 else chosen

    def top(self, n: int = 5) -> list[tuple[Place, float]]:
        """The n entries that are farthest from the corrupted run, farthest first: (coordinates, value)."""
        effects = (self.values - self.corrupted).abs().nan_to_num(-1.0).flatten()
        found = effects.topk(min(n, len(effects))).indices
        places = torch.stack(torch.unravel_index(found, self.values.shape), dim=1).tolist()
        return [(self._place(place), self.values[tuple(place)].item()) for place in places]

    def plot(self, title: str = "", mark: Sequence[tuple[int, int]] = ()) -> "Figure":
        """Heat maps, one for each site or layer if there are more than two dimensions; `mark` outlines heads.

        Colours show the distance from the corrupted run, numbers the values.
        """
        from mechinterp_course.sweep_plots import plot_sweep

        return plot_sweep(self, title, mark)

    def _number(self, name: str, coordinate: int | str) -> int:
        return self.sites.index(coordinate) if name == "site" else int(coordinate)

    def _place(self, place: Sequence[int]) -> Place:
        named = zip(self.dims, place, strict=True)
        return tuple(self.sites[index] if name == "site" else index for name, index in named)


@dataclass(frozen=True, eq=False)
class Reading:
    """A metric as a sweep needs it: where it reads, and its value for each of several runs."""

    metric: Callable[[Logits], float | Tensor]
    positions: Tensor  # [batch, read]

    @classmethod
    def of(cls, metric: Callable[[Logits], float | Tensor], tokens: Tensor) -> "Reading":
        """A metric of this module's classes says where it reads; any other callable gets all positions."""
        batch, pos = tokens.shape
        if isinstance(metric, Metric):
            return cls(metric, metric.reads(batch, pos).to(tokens.device))
        return cls(metric, torch.arange(pos, device=tokens.device).expand(batch, pos))

    def values(self, logits: Float[Tensor, "run batch read d_vocab"]) -> Float[Tensor, " run"]:
        """The metric of each run, from the logits at `positions`."""
        if isinstance(self.metric, Metric):
            return self.metric.of(logits).mean(-1).float().cpu()
        return torch.tensor([float(self.metric(one)) for one in logits])

    def value(self, logits: Logits) -> float:
        """The metric of one whole run."""
        return self.values(at_positions(logits, self.positions)[None]).item()


def fill(
    values: Float[Tensor, "..."],
    batches: Iterable[tuple[list[tuple[int, ...]], Callable[[], Float[Tensor, " run"]]]],
    total: int,
    progress: bool | None = None,
) -> None:
    """Write what each batch returns into `values` at its indices; Ctrl-C ends it and keeps what is there."""
    done = 0
    try:
        with bar(total, progress) as advance:
            for indices, run in batches:
                for index, value in zip(indices, run().tolist(), strict=True):
                    values[index] = value
                done += len(indices)
                advance(len(indices))
    except KeyboardInterrupt:
        print(f"stopped: {done} of {total} patches are measured, the others are NaN", file=sys.stderr)


@contextmanager
def bar(total: int, wanted: bool | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more are done; past two seconds a terminal shows it.

    `wanted` False never shows one, True does so at once; without a terminal there is none.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = Progress(console=console, disable=wanted is False or not console.is_terminal, transient=True)
    task, begun = shown.add_task("patching", total=total), time.monotonic()

    def advance(count: int) -> None:
        if wanted or time.monotonic() - begun > PATIENCE:
            shown.start()
        shown.advance(task, count)

    try:
        yield advance
    finally:
        shown.stop()
