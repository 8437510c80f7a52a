"""A measured number beside its target, so that a model's card, `models check` and the tests say the same."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One number measured on an embedded model, and the bounds it has to keep.

    `about` says what was measured, on what and how, so that a reader could measure it again. `unit` is
    "nats", "MB", …; an empty unit is a share or a count. Bounds are inclusive; a figure without bounds is
    there to compare with (a baseline, an honest shortfall).
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    about: str = ""
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the number keeps its bounds; NaN keeps none."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most) and self.value == self.value

    @property
    def target(self) -> str:
        """The bounds in words: "≥ 0.95", "0.2 to 0.9", or "–" where there are none."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "–" if self.at_most is None else f"≤ {self.at_most:g}"


def to_records(figures: Iterable[Figure]) -> list[dict]:
    """Return the figures as plain dictionaries for `training.json`, values rounded to four digits."""
    return [asdict(figure) | {"value": round(float(figure.value), 4)} for figure in figures]


def from_records(records: Iterable[Mapping]) -> list[Figure]:
    """Return the figures that `to_records` wrote."""
    return [Figure(**record) for record in records]
