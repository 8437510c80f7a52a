"""What a model's card says beside what was measured now."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mechinterp_course.catalogue import EmbeddedModel
from mechinterp_course.errors import CourseError
from mechinterp_course.figures.figure import Figure, from_records

TOLERANCE = 0.02


@dataclass(frozen=True)
class Comparison:
    """One figure of one model: `holds` its target, and `agrees` with the card within `TOLERANCE`."""

    model: str
    name: str
    target: str
    card: float | None
    measured: float | None
    holds: bool
    agrees: bool

    @property
    def right(self) -> bool:
        return self.holds and self.agrees

    @property
    def words(self) -> str:
        """What is wrong with the figure, in words; "" if nothing is."""
        short = [] if self.holds else ["falls short"]
        return ", ".join(short + ([] if self.agrees else ["not what the card says"]))


def recorded_figures(model: EmbeddedModel) -> list[Figure]:
    """Return the figures that `training.json` holds; raises CourseError when it holds none."""
    try:
        record = json.loads((model.path / "training.json").read_text(encoding="utf-8"))
        return from_records(record["figures"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{model.name} has no figures on record: `mechinterp models train {model.name}` measures them"
        ) from error


def compare(model: str, card: Sequence[Figure], measured: Sequence[Figure]) -> list[Comparison]:
    """Return one comparison for each figure that the card or the measurement has.

    The targets are those of today's measurement, so that a card can't lower them.
    """
    said, found = ({figure.name: figure for figure in figures} for figures in (card, measured))
    return [_comparison(model, name, said.get(name), found.get(name)) for name in {**found, **said}]


def _comparison(model: str, name: str, said: Figure | None, found: Figure | None) -> Comparison:
    return Comparison(
        model,
        name,
        (found or said).target,
        said.value if said else None,
        found.value if found else None,
        holds=found is not None and found.holds,
        agrees=said is not None and found is not None and _close(said.value, found.value),
    )


def _close(said: float, found: float) -> bool:
    """Return whether two numbers differ by at most `TOLERANCE`, absolute or relative; NaN never does."""
    return abs(found - said) <= TOLERANCE * max(1.0, abs(said))
