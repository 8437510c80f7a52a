"""What a check can say: the verdicts, the closed list of diagnoses, and one check turned into an outcome.

Nothing here needs torch, so that the processes of the grader and the command line can share it.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

VERDICTS = ("passed", "failed", "not_run", "grader_error")

NOT_WRITTEN_KINDS = ("not_written", "missing", "syntax_error")
FAULT_KINDS = ("raised", "timeout", "crashed", "memory", "output", "withheld", "not_a_value")
FORM_KINDS = ("wrong_type", "wrong_shape", "wrong_dtype", "wrong_device", "not_finite")
RELATION_KINDS = (
    "axes_swapped",
    "reshaped",
    "not_reduced",
    "over_reduced",
    "wrong_length",
    "zeros",
    "constant",
    "sign",
    "factor",
    "offset",
    "cut_off",
    "rounded",
    "shifted",
    "reversed",
    "missing_softmax",
    "extra_softmax",
    "log_or_probability",
    "missing_mask",
    "missing_normalization",
    "one_slice",
    "order",
)
ELEMENT_KINDS = (
    "missing_elements",
    "extra_elements",
    "missing_and_extra",
    "duplicates",
    "pair_swapped",
    "off_by_one",
)
CLAIM_KINDS = ("wrong_value", "claim", "did_not_raise", "wrong_exception")

KINDS = (
    *NOT_WRITTEN_KINDS,
    *FAULT_KINDS,
    *FORM_KINDS,
    *RELATION_KINDS,
    *ELEMENT_KINDS,
    *CLAIM_KINDS,
    "grader_error",
)


@dataclass(frozen=True)
class Diagnosis:
    """Why a check did not pass.

    `kind` is one of `KINDS`; `message` one or two plain sentences in the words of the field; `expected` and
    `actual` the first values that differ, `where` their named index ("head=2, query=0") or the line of the
    student's code; `mistake` the name of a known mistake that behaves the same.
    """

    kind: str
    message: str
    mistake: str | None = None
    expected: str | None = None
    actual: str | None = None
    where: str | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not a kind of diagnosis: add it to verdict.KINDS")


@dataclass(frozen=True)
class Outcome:
    """The verdict of one check, one of `VERDICTS`, and the diagnosis of any but `passed`."""

    verdict: str
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Observation:
    """What was seen around one call of the student's code.

    `mutated`: parameters whose values the call changed in place; `aliased`: parameters whose memory the
    result shares; `hooks_left`: hooks that models among the arguments carry since the call;
    `training_changed`: whether such a model was switched between `train()` and `eval()`.
    """

    mutated: tuple[str, ...] = ()
    aliased: tuple[str, ...] = ()
    hooks_left: int = 0
    training_changed: bool = False


class CheckFailed(AssertionError):
    """A check's claim does not hold. IPython shows it as a short block without a traceback."""

    def __init__(self, diagnosis: Diagnosis, claim: str | None = None):
        super().__init__(diagnosis, claim)
        self.diagnosis = diagnosis
        self.claim = claim

    def __str__(self) -> str:
        return "\n".join(block_lines(self.diagnosis, self.claim))

    def _render_traceback_(self) -> list[str]:
        return block_lines(self.diagnosis, self.claim)


class StudentFault(Exception):
    """The student's code gave no value: `kind` is one of `FAULT_KINDS`.

    `message` is one line (for `raised`: "TypeError: …"), `where` the line of the student's code, and
    `exception` the name of the exception's type when one was raised.
    """

    def __init__(self, kind: str, message: str, where: str | None = None, exception: str | None = None):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.where = where
        self.exception = exception


class NotWritten(StudentFault):
    """There is nothing to check yet: `kind` is one of `NOT_WRITTEN_KINDS`."""


def block_lines(diagnosis: Diagnosis, claim: str | None = None) -> list[str]:
    """Return the lines in which a failed check is shown to a reader of plain text."""
    lines = [f"✗ {claim}"] if claim else []
    lines.append(f"  {diagnosis.message}")
    details = (
        ("where", diagnosis.where),
        ("expected", diagnosis.expected),
        ("got", diagnosis.actual),
        ("known mistake", diagnosis.mistake and diagnosis.mistake.replace("_", " ")),
    )
    return lines + [f"  {label + ':':<14} {text}" for label, text in details if text is not None]


def claim_of(check: Callable) -> str:
    """Return the sentence that a check claims: its docstring on one line, else its name in words."""
    words = check.__doc__ or check.__name__.removeprefix("check_").replace("_", " ")
    return " ".join(words.split())


def evaluate(check: Callable, student, draw) -> Outcome:
    """Run one check and return its outcome; an exception that is nobody's answer is the grader's error."""
    try:
        check(student, draw)
    except CheckFailed as failure:
        return Outcome("failed", failure.diagnosis)
    except NotWritten as fault:
        return Outcome("not_run", Diagnosis(fault.kind, fault.message, where=fault.where))
    except StudentFault as fault:
        return Outcome("failed", Diagnosis(fault.kind, fault.message, where=fault.where))
    except Exception as error:
        return Outcome("grader_error", _grader_error(error))
    return Outcome("passed")


def _grader_error(error: Exception) -> Diagnosis:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"The check itself could not finish: {one_line(error)}"
    return Diagnosis("grader_error", message, where=f"{frame.name}, line {frame.lineno}")


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return "TypeError: what it says" on one line of at most `limit` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= limit else text[: limit - 1] + "…"
