"""What a worker may not do: limits, Landlock and seccomp, and an honest name for what this machine allows.

Isolation is a recorded tier, found by trying it at start-up:

- T1: a separate process with resource limits (any system with `fork`);
- T2: T1, plus no privileges, Landlock (only listed paths readable) and seccomp (no network, no new
  processes, no tracing; `system_calls` lists what else).

What T2 leaves: a worker can ask whether a path or a process of some number exists (`stat`), not read it.

Only system calls made through `ctypes`; nothing to install and no privilege needed.
"""

import contextlib
import ctypes
import errno
import importlib
import os
import platform
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder import system_calls

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one worker may use, in bytes and seconds.

    `memory` is on top of what the room already maps; None, for an accelerator, whose driver reserves more
    addresses than there is memory.
    """

    memory: int | None = 3072 * MIB
    cpu_seconds: int = 120
    file_bytes: int = 8 * MIB
    open_files: int = 64


@dataclass(frozen=True)
class Tier:
    """The isolation this machine gives, and why it isn't more."""

    name: str
    reasons: tuple[str, ...] = ()

    @property
    def strong(self) -> bool:
        """Whether hostile code is contained (T2)."""
        return self.name == "T2"


def confine(
    readable: Sequence[Path], scratch: Path, limits: Limits, tier: Tier, devices: Sequence[Path] = ()
) -> None:
    """Restrict this process for good: it can't be undone, and children inherit it.

    `readable` are the files and folders it may read, `scratch` the one folder it may write to, `devices` the
    accelerator's files.
    """
    _limit_resources(limits)
    if tier.strong:
        _drop_capabilities()
        _restrict_files(readable, scratch, devices)
        system_calls.install(_libc())


def probe() -> Tier:
    """Find the tier by confining a child process and letting it try what must fail."""
    if not hasattr(os, "fork"):
        return Tier("T1", ("this system has no fork",))
    if sys.platform != "linux":
        return Tier("T1", ("Landlock and seccomp exist on Linux only",))
    if platform.machine() not in system_calls.ARCHITECTURES:
        return Tier("T1", (f"no table of system calls for {platform.machine()}",))
    if landlock_version() < 1:
        return Tier("T1", ("this kernel has no Landlock",))
    leaks = _leaks_of_a_confined_child()
    return Tier("T1", leaks) if leaks else Tier("T2")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent goes (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


# --- resource limits ---------------------------------------------------------------------------


def _limit_resources(limits: Limits) -> None:
    import resource

    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if sys.platform == "linux" and limits.memory is not None:
        wanted[resource.RLIMIT_AS] = _mapped_bytes() + limits.memory
    for name, value in wanted.items():
        # a limit the platform refuses (macOS and RLIMIT_NOFILE) leaves the others in force
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(name, (value, value + (name == resource.RLIMIT_CPU)))


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


# --- privileges, where the grader is root ---------------------------------------------------------

_CAPSET = (126, 91)
_CAPABILITY_VERSION, _READ_ANYWHERE = 0x20080522, 1 << 2  # CAP_DAC_READ_SEARCH: Landlock still decides


def _drop_capabilities() -> None:
    """Give up root's powers and any way to new ones.

    What stays lets root's worker read a library that lies in somebody's private folder.
    """
    version, itself, kept = _CAPABILITY_VERSION, 0, _READ_ANYWHERE if os.geteuid() == 0 else 0
    header, sets = struct.pack("Ii", version, itself), struct.pack("6I", kept, kept, 0, 0, 0, 0)
    _call(_CAPSET[system_calls.column()], header, sets)
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "new privileges can't be ruled out")


# --- Landlock: an allow-list of paths -------------------------------------------------------------

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 38, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_FIRST_VERSION = (1 << 13) - 1
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3


def landlock_version() -> int:
    """Return the kernel's Landlock ABI version, 0 where there is none."""
    return max(0, _libc().syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def _restrict_files(readable: Sequence[Path], scratch: Path, devices: Sequence[Path]) -> None:
    version = landlock_version()
    rights = _ALL_FIRST_VERSION
    rights |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rights |= _IOCTL_DEV if version >= 5 else 0
    attributes = struct.pack("QQQ", rights, _TCP_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_LANDLOCK_CREATE_RULESET, attributes[:size], ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path in readable:
        _allow(ruleset, path, (_EXECUTE | _READ_FILE | _READ_DIR) & rights)
    for path in (Path("/dev/null"), *devices):
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & rights)
    _allow(ruleset, scratch, rights & ~_EXECUTE)
    _call(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what isn't there can't be read either
    if not path.is_dir():
        rights &= _ON_FILES
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
    try:
        _call(_LANDLOCK_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(handle)


# --- the self-probe ------------------------------------------------------------------------------


def _leaks_of_a_confined_child() -> tuple[str, ...]:
    """Confine a child to an empty folder and return what it could still do, or could no longer."""
    importlib.import_module("fcntl")  # the child could not read it any more
    with tempfile.TemporaryDirectory() as name:
        scratch, private = Path(name) / "scratch", Path(name) / "private"
        scratch.mkdir()
        for path in (private, private.with_name("other")):
            path.write_text("not for a worker")
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _report_leaks(scratch, private, write_end)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
    if status or not said.startswith("done"):
        return (f"the probe did not finish: {said.strip() or status}",)
    return tuple(line for line in said.splitlines()[1:] if line)


def _report_leaks(scratch: Path, private: Path, pipe: int) -> None:
    lines = ["done"]
    try:
        limits = Limits(memory=256 * MIB, file_bytes=MIB)
        os.chdir(scratch)
        confine([], scratch, limits, Tier("T2"))
        lines += [
            f"a worker could {deed}" for deed, attempt in FORBIDDEN.items() if _succeeds(attempt, private)
        ]
        lines += [
            f"a worker couldn't {deed}" for deed, work in NEEDED.items() if not _succeeds(work, private)
        ]
    except BaseException as error:
        lines = [f"confinement failed: {error}"]
    finally:
        os.write(pipe, "\n".join(lines).encode())
        os._exit(0)  # nothing of the parent's may run in its fork


def _succeeds(attempt: Callable[[Path], object], private: Path) -> bool:
    try:
        attempt(private)
    except (OSError, MemoryError, ValueError):
        return False
    return True


def _listed(name: str) -> Callable[[Path], object]:
    """Return an attempt at a refused call that the kernel would answer otherwise than with EPERM."""

    def attempt(_: Path) -> None:
        try:
            _call(system_calls.REFUSED[name][system_calls.column()], -1, 0, 0, 0, 0)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise

    return attempt


def _signal_as_owner(_: Path) -> None:
    import fcntl

    ours, _theirs = socket.socketpair()
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getppid())


# what must fail in a confined child whose one folder is empty, and what must work there
FORBIDDEN: dict[str, Callable[[Path], object]] = {
    "read files": lambda path: path.read_text(),
    "read the grader": lambda _: Path(__file__).read_bytes(),
    "write files": lambda path: path.write_text("changed"),
    "cut files off": lambda path: os.truncate(path, 0),
    "open a file and cut it off": lambda path: os.open(path, os.O_RDONLY | os.O_TRUNC),
    "make files elsewhere": lambda path: path.with_name("new").touch(),
    "link to files": lambda path: os.link(path, "linked"),
    "remove files": lambda path: os.unlink(path.with_name("other")),
    "change who may read files": lambda path: os.chmod(path, 0),
    "change the times of files": lambda path: os.utime(path, (0, 0)),
    "move files": lambda path: os.rename(path, "here"),
    "see processes": lambda _: os.listdir("/proc"),
    "read its parent's memory": lambda _: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    "see its parent's files": lambda _: os.readlink(f"/proc/{os.getppid()}/cwd"),
    "open a socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "send to sockets on the disk": lambda _: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "signal its parent": lambda _: os.kill(os.getppid(), 0),
    "signal its parent's thread": lambda _: _call(
        _TGKILL[system_calls.column()], os.getppid(), os.getppid(), 0
    ),
    "have its parent signalled": _signal_as_owner,
    "slow its parent down": lambda _: os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(0, 0)),
    "move its parent to another core": lambda _: os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0)),
    "start a process": lambda _: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
    "take more memory": lambda _: bytearray(512 * MIB),
    "write long files": lambda _: Path("long").write_bytes(bytes(2 * MIB)),
    **{
        f"call {name}": _listed(name)
        for name in ("ptrace", "unshare", "bpf", "io_uring_setup", "shmget", "keyctl")
    },
}
NEEDED: dict[str, Callable[[Path], object]] = {
    "write in its own folder": lambda _: Path("note").write_text("x"),
    "read what it wrote": lambda _: Path("note").read_text(),
    "start a thread": lambda _: threading.Thread(target=int).start(),
}
_TGKILL = (234, 131)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = _libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
