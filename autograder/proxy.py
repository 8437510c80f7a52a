"""The student as checks see it: names that call into a worker, and references to what stays there.

A worker that dies or stalls costs the check it was working on; the next check hires another.
"""

import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from autograder.cells import Cell
from autograder.channel import ChannelClosed, DeadlinePassed, FrameTooLarge
from autograder.codec import NotAValue, decode, encode, type_name
from autograder.manifest import Exercise, Manifest
from autograder.room import Room, RoomBroken, Worker
from autograder.scratch import TooMuch, Watch
from mechinterp_course.checking.verdict import NOT_WRITTEN_KINDS, NotWritten, Observation, StudentFault

SECONDS_PER_CELL = SECONDS_PER_CALL = 10.0  # on a machine of usual speed
SECONDS_PER_EXERCISE = 120.0  # in cells and calls together, so that many slow ones can't hold up a batch
MB_PER_CHECK = 128  # of tensors returned: the grader's memory is shared by every submission
LONGEST_MESSAGE, LONGEST_WHERE = 600, 300
CHECKING = "mechinterp_course.checking."

PLAIN_WORDS = {
    "memory": "it asked for more memory than a submission may use",
    "output": "it printed or wrote more than a submission may",
}


@dataclass
class Clock:
    """The seconds that one exercise of a submission has waited for the student's code."""

    left: float

    @contextmanager
    def running(self, seconds: float) -> Iterator[float]:
        """Yield how long the next step may take, and count what it took."""
        if self.left <= 0:
            raise StudentFault("timeout", "this exercise had used up its time in the calls before")
        started = time.monotonic()
        try:
            yield min(seconds, self.left)
        finally:
            self.left -= time.monotonic() - started


@dataclass
class Desk:
    """What a worker is hired for: one exercise of one submission.

    `deadly` remembers cells that stalled or killed a worker, by index, so that they cost one worker
    and not every exercise; it is shared by the desks of a submission. `killed` notes what workers were doing
    when SIGKILL ended them: a machine short of memory does that to innocents, so once is forgiven.
    """

    room: Room
    manifest: Manifest
    exercise: Exercise
    cells: tuple[Cell, ...]
    deadly: dict[int, StudentFault]
    device: str
    seconds_per_cell: float
    seconds_per_call: float
    substitute: dict[str, str] = field(default_factory=dict)
    failed: dict[int, StudentFault] = field(default_factory=dict)
    defined: frozenset[str] = frozenset()
    killed: list[str] = field(default_factory=list)
    clock: Clock | None = None

    def __post_init__(self) -> None:
        slowness = self.seconds_per_call / SECONDS_PER_CALL
        self.clock = self.clock or Clock(SECONDS_PER_EXERCISE * max(1.0, slowness))

    def hire(self) -> Worker:
        """Return a worker that has run the cells, skipping the deadly ones."""
        while True:
            worker = self.room.hire(self._job())
            try:
                fault = self._watch_cells(worker)
            except BaseException:
                worker.end()
                raise
            if fault is None:
                return worker

    def fault_of(self, name: str) -> StudentFault | None:
        """Return why there is no `name` to call, None when there is one."""
        if name in self.defined:
            return None
        for index, cell in enumerate(self.cells):
            fault = cell.fault or self.deadly.get(index) or self.failed.get(index)
            if name in cell.mentions and fault is not None:
                return fault
        return NotWritten("missing", f"there is no function or class named {name}")

    def _runnable(self) -> list[int]:
        return [
            index for index, cell in enumerate(self.cells) if cell.fault is None and index not in self.deadly
        ]

    def _job(self) -> dict:
        runnable = [
            {"index": index, "label": self.cells[index].label, "source": self.cells[index].source}
            for index in self._runnable()
        ]
        given = list(self.manifest.given)
        return {"cells": runnable, "given": given, "substitute": self.substitute, "device": self.device}

    def _watch_cells(self, worker: Worker) -> StudentFault | None:
        """Follow the cells until the worker is ready; a fault is remembered and the worker let go.

        What a worker says is accepted only in the order in which it must come: the student's code can write
        to the channel too.
        """
        current, coming, watch = None, self._runnable(), Watch(worker.pid, worker.scratch)
        while True:
            try:
                with self.clock.running(self.seconds_per_cell) as seconds:
                    message, _ = worker.channel.receive(seconds, watch)
                match message:
                    case {"op": "ready", "defined": list(names)} if not coming:
                        self.defined = frozenset(map(str, names))
                        return None
                    case {"op": "cell", "index": int(index)} if coming and index == coming[0]:
                        current = coming.pop(0)
                    case {"op": "cell_failed", "index": int(index)} if index == current:
                        self.failed[current] = fault_from(message)
                    case _:
                        raise ChannelClosed("messages of its own")
            except DeadlinePassed:
                worker.end()
                if self.clock.left <= 0:
                    raise StudentFault("timeout", "the cells take longer than an exercise may") from None
                return self._deadly(
                    current, "timeout", f"this cell did not finish within {SECONDS_PER_CELL:g} s"
                )
            except TooMuch as excess:
                worker.end()
                return self._deadly(current, excess.kind, f"while this cell ran, {excess}")
            except ChannelClosed:
                message = f"while this cell ran, {worker.end()}"
                if worker.killed and f"cell {current}" not in self.killed:
                    self.killed.append(f"cell {current}")
                    return StudentFault("crashed", message)
                return self._deadly(current, "crashed", message)

    def _deadly(self, index: int | None, kind: str, message: str) -> StudentFault:
        if index is None:
            raise RoomBroken(f"the worker ended before it ran a cell: {message}")
        self.deadly[index] = StudentFault(kind, message, self.cells[index].label)
        return self.deadly[index]


class Student:
    """A submission's functions, as attributes; `checking.local` has the same in process."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._worker: Worker | None = None
        self.last = Observation()
        self.transcript: list[tuple[str, Any]] = []
        self._bytes_left = MB_PER_CHECK << 20
        self._watch: Watch | None = None

    def __getattr__(self, name: str) -> "Answer":
        if name.startswith("__"):
            raise AttributeError(name)
        return Answer(self, name)

    @property
    def keep(self) -> "Keeper":
        """Call through this to leave even tensors on the other side."""
        return Keeper(self)

    def fetch(self, remote: "Remote") -> Any:
        """Copy what a reference refers to."""
        return self._exchange({"op": "fetch", "id": remote.id}, [])

    def run(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Run a function of a `given` cell, or of `checking`, beside the student's objects."""
        return self.call(self.refer(function), args, kwargs, function.__name__)

    def begin(self, seed: int) -> None:
        """Start a check: fresh objects and fresh generators on the other side."""
        self.transcript.clear()
        self._bytes_left = MB_PER_CHECK << 20
        self.last = Observation()
        self._exchange({"op": "seed", "seed": seed}, [])

    def call(self, target: dict, args: tuple, kwargs: dict, name: str, keep: bool = False) -> Any:
        """Call what `target` describes and return its value; note it in the transcript."""
        raw: list[bytes] = []
        self._hire()
        wanted = [part.name for part in (*args, *kwargs.values()) if isinstance(part, Answer)]
        wanted += [target["name"]] if target["k"] == "answer" else []
        for fault in filter(None, map(self._desk.fault_of, wanted)):
            self.transcript.append((name, fault))
            raise fault
        request = {
            "op": "call", "target": target, "keep": keep,
            "args": [self._encode(value, raw) for value in args],
            "kwargs": [[key, self._encode(value, raw)] for key, value in kwargs.items()],
        }  # fmt: skip
        try:
            value = self._exchange(request, raw)
        except StudentFault as fault:
            self.transcript.append((name, fault))
            raise
        self.transcript.append((name, value))
        return value

    def _encode(self, value: Any, raw: list[bytes]) -> dict:
        return encode(value, raw, lambda part: self.refer(part, raw))

    def refer(self, value: Any, raw: list[bytes] | None = None) -> dict:
        """Describe an argument that isn't copied: an answer, a reference, a model, a function known there.

        An object of the checking library that names its parts in `made_of` is made there again. A generator
        arrives as it was when it was seeded; what the student draws doesn't move it here.
        """
        if isinstance(value, Answer):
            return {"k": "answer", "name": value.name}
        if isinstance(value, Remote):
            return {"k": "remote", "id": value.id}
        if isinstance(value, types.FunctionType) and value.__module__.startswith(CHECKING):
            return {"k": "library", "name": _path(value)}
        if type(value).__module__.startswith(CHECKING) and hasattr(value, "made_of") and raw is not None:
            parts = [self._encode(part, raw) for part in value.made_of]
            return {"k": "made", "name": _path(type(value)), "parts": parts}
        if isinstance(value, types.FunctionType):
            return {"k": "given", "name": value.__name__}
        if hasattr(value, "course_spec"):
            return {"k": "model", "spec": asdict(value.course_spec)}
        if isinstance(value, torch.Generator):
            return {"k": "generator", "seed": value.initial_seed()}
        raise TypeError(f"a check can't pass a {type(value).__name__} to a student")

    def close(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _hire(self) -> Worker:
        if self._worker is None:
            self._worker = self._desk.hire()
            self._watch = Watch(self._worker.pid, self._worker.scratch)
        return self._worker

    def _exchange(self, request: dict, raw: list[bytes]) -> Any:
        worker = self._hire()
        try:
            with self._desk.clock.running(self._desk.seconds_per_call) as seconds:
                worker.channel.send(request, raw)
                message, buffers = worker.channel.receive(seconds, self._watch, self._bytes_left)
        except DeadlinePassed:
            self.close()
            raise StudentFault("timeout", f"the call did not return within {SECONDS_PER_CALL:g} s") from None
        except TooMuch as excess:
            self.close()
            raise StudentFault(excess.kind, f"during the call, {excess}") from None
        except FrameTooLarge:
            self.close()
            raise StudentFault("output", f"it returned more than {MB_PER_CHECK} MB in one check") from None
        except ChannelClosed:
            ending = worker.end()
            self._worker = None
            self._desk.killed += ["call"] * worker.killed
            raise StudentFault("crashed", f"during the call, {ending}") from None
        self._bytes_left -= sum(map(len, buffers))
        return self._value(message, buffers)

    def _value(self, message: dict, buffers: list[bytearray]) -> Any:
        if message.get("op") == "seeded":
            return None
        if message.get("op") != "value":
            raise fault_from(message)
        try:
            self.last = _observation(message.get("seen") or {})
            return decode(message["value"], buffers, self._resolve, self._desk.device)
        except NotAValue as error:
            raise StudentFault("not_a_value", f"what came back is not a value: {error}") from error
        except Exception as error:  # the message is the student's to forge
            raise StudentFault("not_a_value", "what came back is not a value") from error

    def _resolve(self, data: dict) -> "Remote":
        if data["k"] != "remote" or type(data["id"]) is not int:
            raise NotAValue("an unknown kind of value")
        return Remote(self, data["id"], type_name(data["type"]))


class Answer:
    """One of the student's functions: call it, or pass it to another."""

    def __init__(self, student: Student, name: str, keep: bool = False):
        self.student, self.name, self.keep = student, name, keep

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.student.call({"k": "answer", "name": self.name}, args, kwargs, self.name, self.keep)


class Keeper:
    """The student's functions, with results that stay on the other side."""

    def __init__(self, student: Student):
        self._student = student

    def __getattr__(self, name: str) -> Answer:
        return Answer(self._student, name, keep=True)


class Remote:
    """An object on the student's side: callable, indexable, with attributes; no truth value, no equality."""

    def __init__(self, student: Student, number: int, type_name: str):
        self.__dict__.update(student=student, id=number, type_name=type_name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.student.call({"k": "remote", "id": self.id}, args, kwargs, self.type_name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.student._exchange({"op": "look", "id": self.id, "name": name}, [])

    def __getitem__(self, key: Any) -> Any:
        raw: list[bytes] = []
        request = {"op": "look", "id": self.id, "key": encode(key, raw, self.student.refer)}
        return self.student._exchange(request, raw)

    def __bool__(self) -> bool:
        raise TypeError("a reference has no truth value: fetch it, or ask the student's side for a value")

    def __eq__(self, other: object) -> bool:
        raise TypeError("a reference can't be compared: fetch it first")

    def __repr__(self) -> str:
        return f"<{self.type_name}>"

    __hash__ = None


def fault_from(message: dict) -> StudentFault:
    """Return what a worker reported as an exception of the checking side; nothing in it is trusted."""
    kind, raised = str(message.get("kind")), type_name(message.get("type", ""))
    text, where = visible(message.get("message", ""), LONGEST_MESSAGE), message.get("where")
    where = visible(where, LONGEST_WHERE) if isinstance(where, str) else None
    if kind in NOT_WRITTEN_KINDS:
        return NotWritten(kind, text, where)
    if kind in PLAIN_WORDS:
        return StudentFault(kind, PLAIN_WORDS[kind], where, exception=raised)
    if kind not in ("withheld", "not_a_value"):
        kind = "raised"
    line = f"{raised}: {text}" if kind == "raised" and text else text or raised
    return StudentFault(kind, line, where, exception=raised)


def visible(text: object, longest: int) -> str:
    """Return a student's text in which nothing steers a terminal or reorders a line, cut to `longest`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:longest])


def _observation(seen: dict) -> Observation:
    return Observation(
        mutated=tuple(map(str, seen.get("mutated", ()))),
        aliased=tuple(map(str, seen.get("aliased", ()))),
        hooks_left=int(seen.get("hooks_left", 0)),
        training_changed=seen.get("training_changed") is True,
    )


def _path(thing: Any) -> str:
    """Return a function or class of the library as a room looks it up."""
    return f"{thing.__module__.partition('.')[2]}.{thing.__name__}"
