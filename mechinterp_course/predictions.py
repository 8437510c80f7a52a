"""Predictions that a learner commits to before seeing a result, scored by Brier and never graded."""

import math
import string
from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True)
class Prediction:
    """An answer and the probability that it is right; both are None until the learner fills them in."""

    answer: str | float | None
    confidence: float | None
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0

    def answered(self) -> bool:
        """Return True once there is an answer; otherwise print how to give one and return False."""
        if self.answer is not None:
            return True
        print("Fill in your prediction above and run its cell: then this cell shows what happens.")
        return False

    def is_right(self, truth: str | float) -> bool:
        """Return True when the answer is the true choice, or within `tolerance` of the true number."""
        if self.choices:
            return self.chosen() == truth
        return math.isclose(float(self.answer), float(truth), rel_tol=0.0, abs_tol=self.tolerance)

    def chosen(self) -> str:
        """Return the text of the chosen choice."""
        return self.choices[string.ascii_lowercase.index(str(self.answer))]

    def brier(self, truth: str | float) -> float:
        """Return (confidence − 1)² for a right answer and confidence² for a wrong one.

        0 is sure and right, 1 is sure and wrong; answering 0.5 always scores 0.25 (Brier, 1950).
        """
        return (self.confidence - self.is_right(truth)) ** 2

    def compare(self, truth: str | float) -> None:
        """Print the answer beside the truth, with the Brier score."""
        mine = self.chosen() if self.choices else f"{self.answer:g}"
        shown = truth if self.choices else f"{truth:.3g}"
        verdict = "right" if self.is_right(truth) else "wrong"
        print(f"You said: {mine} ({self.confidence:.0%} sure). It is: {shown}. You were {verdict}.")
        print(f"Brier score {self.brier(truth):.2f} (0 sure and right, 0.25 undecided, 1 sure and wrong)")


def predict(
    answer: str | float | None = None,
    confidence: float | None = None,
    choices: tuple[str, ...] = (),
    tolerance: float = 0.0,
) -> Prediction:
    """Return the prediction, checked: a letter for `choices`, else a number; confidence from 0 to 1.

    Raises ValueError, in words meant for the learner, when either can't be read.

    >>> predict("b", confidence=0.8, choices=("it rises", "it falls")).brier("it falls")
    0.03999999999999998
    """
    if answer is None:
        return Prediction(None, None, choices, tolerance)
    letters = string.ascii_lowercase[: len(choices)]
    if choices and (not isinstance(answer, str) or answer not in letters or len(answer) != 1):
        raise ValueError(f"answer with one of the letters {', '.join(letters)}, in quotes")
    if not choices and (not isinstance(answer, Real) or not math.isfinite(answer)):
        raise ValueError("answer with a number")
    if not isinstance(confidence, Real) or not 0 <= confidence <= 1:
        raise ValueError("say how sure you are: confidence is a number from 0 to 1")
    return Prediction(answer, float(confidence), choices, tolerance)
