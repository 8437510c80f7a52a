"""The grader's side of the process tree: start the zygote, open a room per exercise, hire workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from autograder.channel import Channel, ChannelClosed, DeadlinePassed, channel_pair
from autograder.folder_lock import temporary_folder
from autograder.sandbox import Limits, Tier
from autograder.scratch import remove_tree
from autograder.withhold import write_library
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import PACKAGE

SECONDS_TO_IMPORT = 240.0
PROGRAM = ("-P", "-m", "autograder.zygote")  # what a zygote runs; its channel's number follows
SECONDS_TO_END = 5.0
STARTS = 3  # of a zygote, one after another, before we say that it does not start
MOST_STOCKED = 8  # models that a room keeps for its workers
OURS = (PACKAGE, Path(__file__).resolve().parent)
SYSTEM_FOLDERS = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/dev/urandom",
)


class RoomBroken(Exception):
    """The grader's own machinery failed; never the student's doing."""


@dataclass
class Zygote:
    """The process that has torch imported. Use it as a context manager; it may serve several threads.

    One that was killed is started again when the next room is opened; its rooms died with it.
    """

    tier: Tier
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)

    def __enter__(self) -> "Zygote":
        if not hasattr(os, "fork"):
            raise CourseError("grading forks processes, which this system can't; use Linux, macOS or WSL 2")
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(temporary_folder("mechinterp-"))
        self._turn = threading.Lock()
        self._stopped = False
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        self.stop()
        self._process.wait()
        self._stack.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def stop(self) -> None:
        """Kill the process for good; its rooms and workers die with it."""
        self._stopped = True
        self._process.kill()

    def open_room(
        self, withheld: Iterable[str], modules: Iterable[str], forbidden: Iterable[str] = ()
    ) -> "Room":
        """Return a room whose library lacks the `withheld` functions and has imported `modules`.

        `forbidden` are dotted names in other libraries that raise there.
        Raises CourseError (status 3) when the process can't be started, RoomBroken when the room can't.
        """
        with self._turn:
            room = self._ask_again_for_room(tuple(withheld), tuple(modules), tuple(forbidden))
        return room.wait_until_ready()

    def _ask_again_for_room(self, *wanted: tuple[str, ...]) -> "Room":
        for _ in range(STARTS):
            if self._stopped:
                raise RoomBroken("the grader is stopping")
            try:
                return self._ask_for_room(*wanted)
            except (ChannelClosed, DeadlinePassed):
                if not self._stopped:
                    self._restart()
        raise CourseError(
            "the grader's worker process did not start; run `mechinterp doctor` to see what is missing",
            status=3,
        )

    def _restart(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._start()

    def _start(self) -> None:
        self._channel, other = channel_pair()
        handle = other.socket.fileno()
        self._process = subprocess.Popen(
            [sys.executable, *PROGRAM, str(handle)],
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            env=_environment(str(self._folder)),
            cwd=self._folder,
            process_group=0,  # a terminal's Ctrl-C is for the grader alone
        )
        other.close()
        self._ready = False

    def _ask_for_room(
        self, withheld: tuple[str, ...], modules: tuple[str, ...], forbidden: tuple[str, ...]
    ) -> "Room":
        if not self._ready:
            self._expect("ready", SECONDS_TO_IMPORT)
            self._ready = True
        folder = Path(tempfile.mkdtemp(prefix="room-", dir=self._folder))
        write_library(folder, withheld)
        ours, theirs = channel_pair()
        setup = {
            "folder": str(folder.resolve()),
            "modules": [f"mechinterp_course.{name}" for name in modules],
            "forbidden": list(forbidden),
            "readable": [str(path) for path in readable_paths(folder)],
            "devices": [] if self.device == "cpu" else list(map(str, Path("/dev").glob("nvidia*"))),
            "tier": self.tier.name,
            "limits": asdict(self.limits if self.device == "cpu" else replace(self.limits, memory=None)),
        }
        self._channel.send(setup, handles=[theirs.socket.fileno()])
        theirs.close()
        pid = self._expect("room", 30.0)["pid"]
        return Room(ours, folder, pid)

    def _expect(self, op: str, seconds: float) -> dict:
        message, _ = self._channel.receive(seconds)
        if message["op"] != op:
            raise RoomBroken(f"expected {op!r}, got {message['op']!r}")
        return message


@dataclass
class Room:
    """One exercise's process, which forks workers. It may serve several threads.

    `stocked` are the models that it has loaded for its workers to inherit, by their specs.
    """

    channel: Channel
    folder: Path
    pid: int = 0
    stocked: set[str] = field(default_factory=set)
    broken: bool = False

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    def wait_until_ready(self) -> "Room":
        """Return when the room has imported its library."""
        try:
            message, _ = self.channel.receive(SECONDS_TO_IMPORT)
        except (ChannelClosed, DeadlinePassed) as error:
            raise RoomBroken("the room did not answer") from error
        if message["op"] != "ready":
            raise RoomBroken(message.get("message", "the room did not start"))
        return self

    def hire(self, job: dict) -> "Worker":
        """Fork a worker for `job`."""
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        ours, theirs = channel_pair()
        try:
            answer = self.ask(job | {"op": "hire", "scratch": str(scratch)}, [theirs.socket.fileno()])
        finally:
            theirs.close()
        return Worker(ours, self, answer["pid"], scratch)

    def stock(self, specs: Iterable[dict], device: str) -> None:
        """Have the room load models that workers will ask for, so that they inherit them; at most a few."""
        for spec in specs:
            key = json.dumps(spec, sort_keys=True)
            if key not in self.stocked and len(self.stocked) < MOST_STOCKED:
                self.stocked.add(key)
                self.ask({"op": "stock", "spec": spec, "device": device})

    def is_alive(self) -> bool:
        """Whether the room still answers."""
        try:
            return self.ask({"op": "ping"})["op"] == "pong"
        except RoomBroken:
            return False

    def ask(self, request: dict, handles: Sequence[int] = ()) -> dict:
        """Send a request and return the room's answer; RoomBroken when there is none, now and ever after."""
        with self._turn:
            try:
                if self.broken:
                    raise ChannelClosed
                self.channel.send(request, handles=handles)
                return self.channel.receive(60.0)[0]
            except (ChannelClosed, DeadlinePassed) as error:
                self.broken = True
                raise RoomBroken("the room's process went away") from error

    def close(self) -> None:
        """End the room and delete its library."""
        self.broken = True
        self.channel.close()
        remove_tree(self.folder)


@dataclass
class Worker:
    """One forked process that runs a student's code.

    Once it has ended, `ended` says how in words, and `killed` whether it was by SIGKILL.
    """

    channel: Channel
    room: Room
    pid: int
    scratch: Path
    ended: str | None = None
    killed: bool = False

    def end(self) -> str:
        """Kill the process if it still runs; return in words how it ended."""
        if self.ended is None:
            self.ended = "it ended with its room"
            self.channel.close()
            status = self.room.ask({"op": "reap", "pid": self.pid})["status"]
            self.ended = _ending(status)
            self.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            remove_tree(self.scratch)
        return self.ended


def machine_slowness() -> float:
    """Return how many times slower than a 2020s laptop core this machine is now, at least 1.

    Time limits are multiplied by it, so that a loaded or old machine fails nobody.
    """
    started = time.perf_counter()
    total = 0
    for i in range(1_000_000):
        total += i * i
    return max(1.0, (time.perf_counter() - started) / 0.08)


def readable_paths(library: Path) -> list[Path]:
    """Return what a worker may read: Python and its packages except ours, the room's library, the weights."""
    python = sysconfig.get_paths()
    roots = {python[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")} | set(SYSTEM_FOLDERS)
    roots = sorted({Path(root).resolve() for root in roots})
    ours = {*OURS, *(copy for root in roots for copy in _copies(root))}
    allowed = [path for root in roots for path in _all_but(ours, root)]
    return [*allowed, library / "mechinterp_course", PACKAGE / "data"]


def _copies(root: Path) -> Iterable[Path]:
    """Yield installations of our packages under a library folder, such as another Python's."""
    for place in ("", "*-packages/", "python3*/", "python3*/*-packages/"):
        for package in OURS:
            yield from root.glob(f"{place}{package.name}")


def _all_but(ours: Iterable[Path], path: Path) -> Iterable[Path]:
    """Yield paths that cover everything under `path` but our own packages."""
    if path in ours or not path.exists():
        return
    if any(path in each.parents for each in ours):
        for child in path.iterdir():
            yield from _all_but(ours, child)
    else:
        yield path


def _environment(folder: str) -> dict[str, str]:
    """Return the few variables a zygote starts with: nothing of the grader's own."""
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES")
    fixed = {
        "HOME": folder,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONHASHSEED": "0",
    }
    return {name: os.environ[name] for name in kept if name in os.environ} | fixed


def _ending(status: int) -> str:
    """Say how a process ended, from its wait status."""
    if os.WIFEXITED(status):
        return f"the process ended itself with status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    names = {signal.SIGSEGV: "a segmentation fault", signal.SIGXCPU: "using up its processor time"}
    names |= {signal.SIGABRT: "an abort", signal.SIGKILL: "being killed", signal.SIGBUS: "a bus error"}
    return f"the process ended by {names.get(number, f'signal {number}')}"
