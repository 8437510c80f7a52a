"""The student protocol in the notebook's own process: calls get copied arguments and are observed.

The grader has the same protocol across processes; a check can't tell the two apart.
"""

import traceback
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from types import TracebackType

from mechinterp_course.checking.observation import copied, observed
from mechinterp_course.checking.verdict import NotWritten, Observation, StudentFault, one_line

NOT_WRITTEN = "is not written yet"  # how the message of every stub's NotImplementedError ends


class LocalStudent:
    """A student's names, looked up in `namespace` when they are called.

    `student.NAME(…)` calls; `student.NAME` can be passed on as an argument. `last` is the `Observation` of
    the last call, `transcript` the list of (name, result) of all calls; the result of a call that failed is
    its `StudentFault`. No exercise can be called `keep`, `fetch`, `run`, `find`, `with_answer`, `last` or
    `transcript`.
    """

    def __init__(self, namespace: Mapping[str, object]):
        self.last = Observation()
        self.transcript: list[tuple[str, object]] = []
        self._namespace = namespace

    def __getattr__(self, name: str) -> "LocalFunction":
        if name.startswith("__"):
            raise AttributeError(name)
        return LocalFunction(self, name)

    @property
    def keep(self) -> "LocalStudent":
        """The student itself: in one process there is nowhere else to leave a result."""
        return self

    def fetch(self, value: object) -> object:
        """Return a copy of a result that was kept."""
        return copied(value)

    def run(self, function: Callable, *args: object, **kwargs: object) -> object:
        """Call a function of a `given` cell with the student's objects among its arguments."""
        return self._observed(function.__name__, function, args, kwargs)

    def with_answer(self, name: str, answer: Callable) -> "LocalStudent":
        """Return a student with `answer` in the place of one name, and a transcript of its own."""
        return LocalStudent(ChainMap({name: answer}, self._namespace))

    def find(self, name: str) -> Callable:
        """Return what the student wrote under a name; `NotWritten` if there is nothing."""
        if name not in self._namespace:
            raise NotWritten("missing", f"`{name}` is missing: has its cell been run?")
        return self._namespace[name]

    def _observed(self, name: str, function: Callable, args: tuple, kwargs: dict) -> object:
        copies = [passed(each) for each in args], {key: passed(each) for key, each in kwargs.items()}

        @wraps(function)
        def guarded(*args: object, **kwargs: object) -> object:
            return call(function, args, kwargs)

        try:
            result, self.last = observed(guarded, *copies)
        except StudentFault as fault:
            self.transcript.append((name, fault))
            raise
        result = copied(result)
        self.transcript.append((name, result))
        return result


@dataclass(frozen=True)
class LocalFunction:
    """A name of the student's: callable, and a value that can be passed on."""

    student: LocalStudent
    name: str

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            function = self.student.find(self.name)
        except NotWritten as fault:
            self.student.transcript.append((self.name, fault))
            raise
        return self.student._observed(self.name, function, args, kwargs)


def call(function: Callable, args: Sequence, kwargs: dict) -> object:
    """Return the function's result; whatever it raises becomes a `StudentFault`."""
    try:
        return function(*args, **kwargs)
    except StudentFault:
        raise
    except (Exception, SystemExit) as error:
        where = student_line(error.__traceback__)
        if isinstance(error, NotImplementedError) and NOT_WRITTEN in str(error):
            raise NotWritten("not_written", str(error)) from None
        raise StudentFault("raised", one_line(error), where, type(error).__name__) from None


def student_line(trace: TracebackType | None) -> str | None:
    """Return the innermost line of the student's own code: "induction_score, line 3: return …"."""
    trace = trace and trace.tb_next
    if trace is None:
        return None
    theirs, found = trace.tb_frame.f_globals, trace
    while trace is not None:
        found = trace if trace.tb_frame.f_globals is theirs else found
        trace = trace.tb_next
    line = traceback.extract_tb(found, limit=1)[0]
    return f"{line.name}, line {line.lineno}" + (f": {line.line}" if line.line else "")


def passed(value: object) -> object:
    """Return what a call receives: names of the student's as functions, the rest copied."""
    return value.student.find(value.name) if isinstance(value, LocalFunction) else copied(value)
