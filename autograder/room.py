"""The grader's side of the process tree: start the zygote, open a room per exercise, hire workers."""

import os
import shutil
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
from autograder.sandbox import Limits, Tier
from autograder.withhold import write_library
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import PACKAGE

SECONDS_TO_IMPORT = 240.0
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
    """The process that has torch imported. Use it as a context manager; it may serve several threads."""

    tier: Tier
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)

    def __enter__(self) -> "Zygote":
        self._folder = tempfile.TemporaryDirectory(prefix="mechinterp-", ignore_cleanup_errors=True)
        self._turn = threading.Lock()
        self._channel, other = channel_pair()
        handle = other.socket.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "autograder.zygote", str(handle)],
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            env=_environment(self._folder.name),
            cwd=self._folder.name,
        )
        other.close()
        self._ready = False
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def stop(self) -> None:
        """Kill the process; its rooms and workers die with it."""
        self._process.kill()

    def open_room(self, withheld: Iterable[str], modules: Iterable[str]) -> "Room":
        """Return a room whose library lacks the `withheld` functions and has imported `modules`."""
        with self._turn:
            if not self._ready:
                self._expect("ready", SECONDS_TO_IMPORT)
                self._ready = True
            folder = Path(tempfile.mkdtemp(prefix="room-", dir=self._folder.name))
            write_library(folder, withheld)
            ours, theirs = channel_pair()
            setup = {
                "folder": str(folder.resolve()),
                "modules": [f"mechinterp_course.{name}" for name in modules],
                "readable": [str(path) for path in readable_paths(folder)],
                "devices": [] if self.device == "cpu" else list(map(str, Path("/dev").glob("nvidia*"))),
                "tier": self.tier.name,
                "limits": asdict(self.limits if self.device == "cpu" else replace(self.limits, memory=None)),
            }
            self._channel.send(setup, handles=[theirs.socket.fileno()])
            theirs.close()
            self._expect("room", 30.0)
        return Room(ours, folder).wait_until_ready()

    def _expect(self, op: str, seconds: float) -> None:
        try:
            message, _ = self._channel.receive(seconds)
        except (ChannelClosed, DeadlinePassed) as error:
            raise CourseError(
                "the grader's worker process did not start; run `mechinterp doctor` to see what is missing",
                status=3,
            ) from error
        if message["op"] != op:
            raise RoomBroken(f"expected {op!r}, got {message['op']!r}")


@dataclass
class Room:
    """One exercise's process, which forks workers."""

    channel: Channel
    folder: Path

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
        answer = self.ask(job | {"op": "hire", "scratch": str(scratch)}, [theirs.socket.fileno()])
        theirs.close()
        return Worker(ours, self, answer["pid"], scratch)

    def ask(self, request: dict, handles: Sequence[int] = ()) -> dict:
        """Send a request and return the room's answer."""
        try:
            self.channel.send(request, handles=handles)
            return self.channel.receive(60.0)[0]
        except (ChannelClosed, DeadlinePassed) as error:
            raise RoomBroken("the room's process went away") from error

    def close(self) -> None:
        """End the room and delete its library."""
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Worker:
    """One forked process that runs a student's code."""

    channel: Channel
    room: Room
    pid: int
    scratch: Path
    ended: str | None = None

    def end(self) -> str:
        """Kill the process if it still runs; return in words how it ended."""
        if self.ended is None:
            self.ended = "it ended with its room"
            self.channel.close()
            self.ended = _ending(self.room.ask({"op": "reap", "pid": self.pid})["status"])
            shutil.rmtree(self.scratch, ignore_errors=True)
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
    allowed = [path for root in sorted(roots) for path in _all_but_ours(Path(root).resolve())]
    return [*allowed, library / "mechinterp_course", PACKAGE / "data"]


def _all_but_ours(path: Path) -> Iterable[Path]:
    """Yield paths that cover everything under `path` but our own packages."""
    if path in OURS or not path.exists():
        return
    if any(path in ours.parents for ours in OURS):
        for child in path.iterdir():
            yield from _all_but_ours(child)
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
