"""One submission's code, run cell by cell, and calls into it. Everything here is at the student's mercy.

What leaves this process is values and reports of what was seen, never verdicts: the grader compares.
"""

import __future__

import ast
import contextlib
import errno
import importlib
import linecache
import os
import random
import re
import traceback
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch

from autograder.channel import MAX_BUFFERS, MAX_HEADER, MOST_BUFFERS, Channel, ChannelClosed
from autograder.codec import NotAValue, decode, encode

MESSAGE_LENGTH = 600
VARYING = re.compile(r" at 0x[0-9a-f]+|/\S*/(?:room|scratch)-\w+/")  # of a message: addresses, our folders


class RoomFault(Exception):
    """Something of ours failed in the worker, which is not the student's doing."""


def serve(grader: Channel, job: dict, stock: dict[str, Any] | None = None) -> None:
    """Run the job's cells, then answer the grader's calls until it hangs up.

    `stock` holds models that the room loaded for its workers, each good for one check.
    """
    room = Workroom(grader, device=job["device"], stock=stock or {})
    room.run_given(job["given"])
    room.run_cells(job["cells"])
    room.substitute(job["substitute"])
    grader.send({"op": "ready", "defined": sorted(room.answers)})
    while True:
        try:
            request, buffers = grader.receive()
        except ChannelClosed:
            return
        reply, raw = room.answer(request, buffers)
        if len(repr(reply)) > MAX_HEADER // 2 or sum(map(len, raw)) > MAX_BUFFERS or len(raw) > MOST_BUFFERS:
            reply, raw = {"op": "raised", **_describe(NotAValue("more than can be copied"))}, []
        grader.send(reply, raw)


@dataclass
class Workroom:
    """The namespaces of one submission and the objects the grader holds references to."""

    grader: Channel
    device: str
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "submission"})
    given: dict[str, Any] = field(default_factory=lambda: {"__name__": "given"})
    answers: dict[str, Any] = field(default_factory=dict)
    remotes: list[Any] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    stock: dict[str, Any] = field(default_factory=dict)
    flags: int = 0

    def run_given(self, sources: list[str]) -> None:
        """Run the chapter's own helper cells, once for the student and once for the checks."""
        for source in sources:
            for namespace in (self.namespace, self.given):
                exec(compile(source, "<given>", "exec"), namespace)

    def run_cells(self, cells: list[dict]) -> None:
        """Run the student's cells in order; one that raises leaves what it had defined."""
        for cell in cells:
            self.grader.send({"op": "cell", "index": cell["index"]})
            _forget_output()
            try:
                self._run_cell(_remember_source(cell), cell["source"])
            except BaseException as error:
                self.grader.send({"op": "cell_failed", "index": cell["index"], **_describe(error)})
        self.namespace.update(self.answers)

    def _run_cell(self, file: str, source: str) -> None:
        """Run a cell statement by statement; the last top-level definition of a name is the answer."""
        for statement in ast.parse(source, file).body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                self.flags |= sum(getattr(__future__, part.name).compiler_flag for part in statement.names)
            module = ast.Module([statement], [])
            exec(compile(module, file, "exec", self.flags, dont_inherit=True), self.namespace)
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self.answers[statement.name] = self.namespace[statement.name]

    def substitute(self, references: dict[str, str]) -> None:
        """Put the reference in place of the student's function of that name."""
        for name, path in references.items():
            self.namespace[name] = self.answers[name] = _library(path)

    def answer(self, request: dict, buffers: list[bytearray]) -> tuple[dict, list[bytes]]:
        """Carry out one request; whatever the student's code raises is described, not raised."""
        raw: list[bytes] = []
        try:
            match request["op"]:
                case "seed":
                    return self._start_check(request["seed"]), raw
                case "call":
                    return self._call(request, buffers, raw), raw
                case "look":
                    return {
                        "op": "value",
                        "value": encode(self._look(request, buffers), raw, self._refer),
                    }, raw
                case "fetch":
                    return {"op": "value", "value": encode(self.remotes[request["id"]], raw, _refuse)}, raw
        except BaseException as error:
            return {"op": "raised", **_describe(error)}, []
        return {
            "op": "raised",
            "kind": "not_a_value",
            "type": "",
            "message": "unknown request",
            "where": None,
        }, []

    def _start_check(self, seed: int) -> dict:
        """Forget the objects of the check before and start every generator from `seed`."""
        self.remotes.clear()
        self.models.clear()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        return {"op": "seeded"}

    def _call(self, request: dict, buffers: list[bytearray], raw: list[bytes]) -> dict:
        _forget_output()
        function = self._value(request["target"], buffers)
        args = [self._value(part, buffers) for part in request["args"]]
        kwargs = {name: self._value(part, buffers) for name, part in request["kwargs"]}
        result, seen = _library("checking.observation.observed")(function, args, kwargs)
        value = self._refer(result) if request["keep"] else encode(result, raw, self._refer)
        return {"op": "value", "value": value, "seen": vars(seen)}

    def _look(self, request: dict, buffers: list[bytearray]) -> Any:
        owner = self.remotes[request["id"]]
        return (
            getattr(owner, request["name"])
            if "name" in request
            else owner[self._value(request["key"], buffers)]
        )

    def _value(self, data: dict, buffers: list[bytearray]) -> Any:
        return decode(data, buffers, lambda part: self._resolve(part, buffers), self.device)

    def _refer(self, value: Any) -> dict:
        self.remotes.append(value)
        return {"k": "remote", "id": len(self.remotes) - 1, "type": type(value).__name__}

    def _resolve(self, data: dict, buffers: list[bytearray]) -> Any:
        match data["k"]:
            case "answer":
                return self.answers[data["name"]]
            case "given":
                return self.given[data["name"]]
            case "remote":
                return self.remotes[data["id"]]
            case "library":
                return _library(data["name"])
            case "model":
                return self._model(data)
            case "made":
                return _library(data["name"])(*(self._value(part, buffers) for part in data["parts"]))
            case "generator":
                return torch.Generator(self.device).manual_seed(data["seed"])
        raise NotAValue(f"unknown kind {data['k']}")

    def _model(self, data: dict) -> Any:
        """Return the check's one object for a spec: one from the stock while it lasts, else loaded here."""
        key = model_key(data["spec"])
        if key not in self.models:
            inherited = self.stock.pop(key, None)
            self.models[key] = load_model(data["spec"], self.device) if inherited is None else inherited
        return self.models[key]


def model_key(spec: dict) -> str:
    """Return what a model's spec is filed under."""
    return repr(sorted(spec.items()))


def load_model(spec: dict, device: str) -> Any:
    """Return the model of a spec as a worker may have it; raises RoomFault when it can't be loaded."""
    try:
        model = _library("models.load_again")(**spec, device=device)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise RoomFault(f"{spec['name']} can't be loaded in a worker: {error}") from error
    del model.course_spec  # it would tell where each head was moved to
    return model


def _forget_output() -> None:
    """Empty the file that standard output goes to, so that one noisy cell does not silence the next."""
    with contextlib.suppress(OSError):  # a submission may have closed it
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)


def _library(path: str) -> Any:
    """Return `module.function` of the library this room was given."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"mechinterp_course.{module}"), name)


def _refuse(value: Any) -> dict:
    raise NotAValue(f"a {type(value).__name__} can't be copied to the checking side")


def _describe(error: BaseException) -> dict:
    """Say what was raised in one line, and where in the student's cells."""
    try:
        message = VARYING.sub("", " ".join(str(error).split()))[:MESSAGE_LENGTH]
    except BaseException:
        message = "(its message can't be shown)"
    return {
        "kind": _kind(error, message),
        "type": type(error).__name__,
        "message": message,
        "where": _where(error, error.__traceback__),
    }


def _kind(error: BaseException, message: str) -> str:
    if isinstance(error, NotImplementedError) and message.endswith("is not written yet"):
        return "not_written"
    if type(error).__name__ == "WithheldAnswer":
        return "withheld"
    if isinstance(error, MemoryError) or "can't allocate memory" in message or "not enough memory" in message:
        return "memory"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "output"
    if isinstance(error, SyntaxError) and error.filename in _LABELS:
        return "syntax_error"
    return "not_a_value" if isinstance(error, NotAValue) else "raised"


def _where(error: BaseException, trace: TracebackType | None) -> str | None:
    if isinstance(error, SyntaxError) and error.lineno and error.filename in _LABELS:
        return f"line {error.lineno} of {_LABELS[error.filename]}: {(error.text or '').strip()[:120]}"
    lines = [frame for frame in traceback.extract_tb(trace) if frame.filename in _LABELS]
    if not lines:
        return None
    return f"line {lines[-1].lineno} of {_LABELS[lines[-1].filename]}: {(lines[-1].line or '').strip()[:120]}"


_LABELS: dict[str, str] = {}  # by the file name a cell is compiled under


def _remember_source(cell: dict) -> str:
    """Let tracebacks show the lines of a cell; return the file name to compile it under."""
    file, source = f"<cell {cell['index']}>", cell["source"]
    _LABELS[file] = cell["label"]
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return file
