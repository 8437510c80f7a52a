"""How often each watched feature fired among the last tokens, and when that is no longer ordinary."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mechinterp_course.monitor.watchlist import Watched, Watchlist


@dataclass(frozen=True)
class Alert:
    """A rolling rate that has left its band (`leaves` True) or has come back into it.

    It counts as back when it is halfway between the band's edge and the ordinary rate, so that a rate at the
    edge gives one alert and not twenty.
    """

    feature: int
    label: str
    rate: float
    low: float
    high: float
    leaves: bool


class RollingRates:
    """Rolling rates of the watched features, over the tokens of all texts one after the other.

    Until `window` tokens are seen, the ordinary rate stands in for those that are missing, so that the first
    tokens neither alarm nor hide anything.
    """

    def __init__(self, watchlist: Watchlist):
        self.watchlist = watchlist
        self.seen: deque[tuple[bool, ...]] = deque()
        self.counts = [0] * len(watchlist.features)
        self.sides = [0] * len(watchlist.features)  # 1 above the band, -1 below, 0 inside

    @property
    def outside(self) -> list[bool]:
        """Whether each rate is outside its band, and not yet back."""
        return [side != 0 for side in self.sides]

    def rates(self) -> list[float]:
        """Return the rolling rate of each watched feature now."""
        window = self.watchlist.window
        missing = window - len(self.seen)
        pairs = zip(self.counts, self.watchlist.features, strict=True)
        return [(count + missing * one.rate) / window for count, one in pairs]

    def add(self, activations: Sequence[float]) -> list[Alert]:
        """Count one more token, and return what has left its band, or come back, with it."""
        features = self.watchlist.features
        fires = tuple(value > one.threshold for value, one in zip(activations, features, strict=True))
        self.seen.append(fires)
        gone = self.seen.popleft() if len(self.seen) > self.watchlist.window else (False,) * len(fires)
        self.counts = [n + new - old for n, new, old in zip(self.counts, fires, gone, strict=True)]
        alerts = []
        for place, (one, rate) in enumerate(zip(features, self.rates(), strict=True)):
            side = _side(one, rate, self.sides[place])
            if bool(side) != bool(self.sides[place]):
                alerts.append(Alert(one.feature, one.label, rate, one.low, one.high, bool(side)))
            self.sides[place] = side
        return alerts


def _side(one: Watched, rate: float, before: int) -> int:
    """Return on which side of its band a rate is, or was and has not come halfway back."""
    high = (one.high + one.rate) / 2 if before > 0 else one.high
    low = (one.low + one.rate) / 2 if before < 0 else one.low
    return 1 if rate > high else -1 if rate < low else 0
