"""The student as checks see it: names that call into a worker, and references to what stays there.

A worker that dies or stalls costs the check it was working on; the next check hires another.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autograder.cells import Cell
from autograder.channel import ChannelClosed, DeadlinePassed
from autograder.codec import NotAValue, decode, encode
from autograder.manifest import Exercise, Manifest
from autograder.room import Room, RoomBroken, Worker
from mechinterp_course.checking.verdict import NOT_WRITTEN_KINDS, NotWritten, Observation, StudentFault

SECONDS_PER_CELL = SECONDS_PER_CALL = 10.0  # on a machine of usual speed

PLAIN_WORDS = {
    "memory": "it asked for more memory than a submission may use",
    "output": "it printed or wrote more than a submission may",
}


@dataclass
class Desk:
    """What a worker is hired for: one exercise of one submission.

    `deadly` remembers cells that stalled or killed a worker, by index, so that they cost one worker
    and not every exercise; it is shared by the desks of a submission.
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

    def _job(self) -> dict:
        runnable = [
            {"index": index, "label": cell.label, "source": cell.source}
            for index, cell in enumerate(self.cells)
            if cell.fault is None and index not in self.deadly
        ]
        given = list(self.manifest.given)
        return {"cells": runnable, "given": given, "substitute": self.substitute, "device": self.device}

    def _watch_cells(self, worker: Worker) -> StudentFault | None:
        """Follow the cells until the worker is ready; a fault is remembered and the worker let go."""
        current, last = -1, (-1, False)
        while True:
            try:
                message, _ = worker.channel.receive(self.seconds_per_cell)
                step = (self._index(message), message.get("op") == "cell_failed")
                if message.get("op") == "ready" and isinstance(message.get("defined"), list):
                    self.defined = frozenset(map(str, message["defined"]))
                    return None
                if step <= last:  # at most two messages for a cell, in order: the rest is not ours
                    raise ChannelClosed("messages of its own")
            except DeadlinePassed:
                worker.end()
                text = f"this cell did not finish within {SECONDS_PER_CELL:g} s"
                return self._deadly(current, StudentFault("timeout", text, self._label(current)))
            except ChannelClosed:
                text = f"while this cell ran, {worker.end()}"
                return self._deadly(current, StudentFault("crashed", text, self._label(current)))
            current, last = step[0], step
            if step[1]:
                self.failed[current] = fault_from(message)

    def _deadly(self, index: int, fault: StudentFault) -> StudentFault:
        if index in self.deadly or index < 0:
            raise RoomBroken(f"the worker ended before it ran a cell: {fault.message}")
        self.deadly[index] = fault
        return fault

    def _index(self, message: dict) -> int:
        index = message.get("index")
        return index if type(index) is int and 0 <= index < len(self.cells) else -1

    def _label(self, index: int) -> str | None:
        return self.cells[index].label if index >= 0 else None


class Student:
    """A submission's functions, as attributes; `checking.local` has the same in process."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._worker: Worker | None = None
        self.last = Observation()
        self.transcript: list[tuple[str, Any]] = []

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
        """Run a function of a `given` cell beside the student's objects."""
        return self.call(self.refer(function), args, kwargs, function.__name__)

    def begin(self, seed: int) -> None:
        """Start a check: fresh objects and fresh generators on the other side."""
        self.transcript.clear()
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
            "args": [encode(value, raw, self.refer) for value in args],
            "kwargs": [[key, encode(value, raw, self.refer)] for key, value in kwargs.items()],
        }  # fmt: skip
        try:
            value = self._exchange(request, raw)
        except StudentFault as fault:
            self.transcript.append((name, fault))
            raise
        self.transcript.append((name, value))
        return value

    def refer(self, value: Any) -> dict:
        """Describe an argument that isn't copied: an answer, a reference, a given function, a model."""
        if isinstance(value, Answer):
            return {"k": "answer", "name": value.name}
        if isinstance(value, Remote):
            return {"k": "remote", "id": value.id}
        if isinstance(value, types.FunctionType):
            return {"k": "given", "name": value.__name__}
        if hasattr(value, "course_spec"):
            return {"k": "model", "name": value.course_spec.name, "head_order": value.course_spec.head_order}
        raise TypeError(f"a check can't pass a {type(value).__name__} to a student")

    def close(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _hire(self) -> Worker:
        if self._worker is None:
            self._worker = self._desk.hire()
        return self._worker

    def _exchange(self, request: dict, raw: list[bytes]) -> Any:
        worker = self._hire()
        try:
            worker.channel.send(request, raw)
            message, buffers = worker.channel.receive(self._desk.seconds_per_call)
        except DeadlinePassed:
            self.close()
            raise StudentFault("timeout", f"the call did not return within {SECONDS_PER_CALL:g} s") from None
        except ChannelClosed:
            ending = worker.end()
            self._worker = None
            raise StudentFault("crashed", f"during the call, {ending}") from None
        return self._value(message, buffers)

    def _value(self, message: dict, buffers: list[bytearray]) -> Any:
        if message.get("op") == "seeded":
            return None
        if message.get("op") == "broken":
            raise RoomBroken(str(message.get("message"))[:300])
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
        return Remote(self, data["id"], str(data["type"]))


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
    kind, type_name = str(message.get("kind")), str(message.get("type", ""))[:80]
    text, where = str(message.get("message", ""))[:600], message.get("where")
    where = where[:300] if isinstance(where, str) else None
    if kind in NOT_WRITTEN_KINDS:
        return NotWritten(kind, text, where)
    if kind in PLAIN_WORDS:
        return StudentFault(kind, PLAIN_WORDS[kind], where, exception=type_name)
    if kind not in ("withheld", "not_a_value"):
        kind = "raised"
    line = f"{type_name}: {text}" if kind == "raised" and text else text or type_name
    return StudentFault(kind, line, where, exception=type_name)


def _observation(seen: dict) -> Observation:
    return Observation(
        mutated=tuple(map(str, seen.get("mutated", ()))),
        aliased=tuple(map(str, seen.get("aliased", ()))),
        hooks_left=int(seen.get("hooks_left", 0)),
        training_changed=seen.get("training_changed") is True,
    )
