"""A wrong tensor beside the right one, and when their agreement in some respect can hardly be chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor

Values = Float[Tensor, "..."]
Found = tuple[str, str] | None  # the kind and the message of a relation that holds

RESOLUTION = 1e-3  # values closer than this part of the largest one count as one when evidence is weighed
BITS = 20  # evidence asked of whole numbers, where agreement by chance is likely
SAMPLE = 4096  # values, spread evenly: enough to turn most relations down, and to weigh evidence


@dataclass(frozen=True)
class Pair:
    """Two float64 tensors that differ, the names of the expected one's axes, and how close a fit must be."""

    actual: Values
    expected: Values
    names: tuple[str, ...]
    rtol: float = 1e-5

    def fits(self, candidate: Values, target: Values | None = None) -> bool:
        """Whether all values agree, up to `rtol` of each value and of the largest one."""
        target = self.expected if target is None else target
        if candidate.shape != target.shape:
            return False
        close = partial(torch.allclose, rtol=self.rtol, atol=self.rtol * self._largest(target))
        return close(sample(candidate), sample(target)) and close(candidate, target)

    def flat(self, values: Values) -> bool:
        """Whether the values are too alike to read a factor, an offset or an order from them."""
        finite = values[values.isfinite()]
        if finite.numel() < 2:
            return True
        return (finite.max() - finite.min()).item() <= 100 * self.rtol * largest(finite)

    def telling(self, values: Values) -> bool:
        """Whether agreement on all these values can hardly be chance."""
        values = sample(values)
        scale = largest(values)
        if scale == 0:
            return False
        whole = bool((values == values.round()).all())
        _, counts = (values if whole else (values / scale / RESOLUTION).round()).unique(return_counts=True)
        if not whole:
            return len(counts) >= (3 if self.rtol <= 1e-4 else 12)
        shares = counts / values.numel()
        return -(shares * shares.log2()).sum().item() * values.numel() >= BITS

    @cached_property
    def _scale(self) -> float:
        return largest(self.expected)

    def _largest(self, target: Values) -> float:
        return self._scale if target is self.expected else largest(target)

    @cached_property
    def tells(self) -> bool:
        """Whether agreement with the whole expected value can hardly be chance."""
        return self.telling(self.expected)

    def axes(self, smallest: int = 2) -> Iterator[tuple[int, str, int]]:
        """Yield (axis, name, size) of the expected axes with at least `smallest` entries, the last first."""
        for axis, name in reversed(list(enumerate(self.names))):
            if self.expected.shape[axis] >= smallest:
                yield axis, name, self.expected.shape[axis]


def sample(values: Values) -> Values:
    """At most about twice `SAMPLE` of the values, evenly spread, flat."""
    return values.flatten()[:: max(1, values.numel() // SAMPLE)]


def largest(values: Values) -> float:
    """The largest finite magnitude, 0 if there is none."""
    finite = values[values.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def measured(values: Values) -> bool:
    """Whether any value has decimals: evidence enough for a relation in which nothing can be chosen."""
    return bool((values != values.round()).any())


def number(value: float) -> str:
    """A value to six significant digits."""
    return f"{value + 0.0:.6g}"  # without the sign of a negative zero
