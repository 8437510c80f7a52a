"""Known mistakes replayed in checks, each once for an exercise: what several tests of one exercise share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.recognition import Replay, replayed


@dataclass
class Replays:
    """Replays of one exercise's mistakes; the next exercise starts anew, since transcripts are large."""

    exercise: str = ""
    found: dict[tuple[int, str, str], Replay] = field(default_factory=dict)

    def once(self, exercise: str, mistake: Callable, check: Callable, transcript: list, draw: Draw) -> Replay:
        """Replay a mistake in a check; what does not depend on the transcript is remembered."""
        if exercise != self.exercise:
            self.exercise, self.found = exercise, {}
        key = draw.origin, check.__name__, mistake.__name__
        replay = self.found.get(key) or replayed(exercise, mistake, check, transcript, draw)
        if replay.alone:
            self.found[key] = replay
        return replay
