"""What a worker may not do: limits, Landlock and seccomp, and an honest name for what this machine allows.

Isolation is a recorded tier, found by trying it at start-up:

- T1: a separate process with resource limits (any system with `fork`);
- T2: T1, plus Landlock (only listed paths readable) and seccomp (no network, no new processes, no tracing).

Only system calls made through `ctypes`; nothing to install and no privilege needed.
"""

import contextlib
import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        _restrict_files(readable, scratch, devices)
        _filter_system_calls()


def probe() -> Tier:
    """Find the tier by confining a child process and letting it try what must fail."""
    if not hasattr(os, "fork"):
        return Tier("T1", ("this system has no fork",))
    if sys.platform != "linux":
        return Tier("T1", ("Landlock and seccomp exist on Linux only",))
    if platform.machine() not in _ARCHITECTURES:
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
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
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


# --- seccomp: system calls that are refused ----------------------------------------------------------

# name: (x86-64, aarch64); None where the architecture has no such call
_REFUSED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kcmp": (312, 272),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "setrlimit": (160, 164),
    "prlimit64": (302, 261),
}
_CLONE = (56, 220)
_TGKILL = (234, 131)
_CLONE3 = (435, 435)
_SECCOMP = (317, 277)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD, _X32_BIT = 0x10000, 0x40000000


def _filter_system_calls() -> None:
    program = b"".join(struct.pack("HBBI", *line) for line in _filter_program())
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filled = Program(len(program) // 8, ctypes.addressof(buffer))
    column, _ = _ARCHITECTURES[platform.machine()]
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    on_all_threads = 1
    _call(_SECCOMP[column], ctypes.c_uint(1), ctypes.c_uint(on_all_threads), ctypes.byref(filled))


def _filter_program() -> list[tuple[int, int, int, int]]:
    """Return the BPF program: foreign architectures die, listed calls fail with EPERM, threads may start."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    for numbers in _REFUSED.values():
        if numbers[column] is not None:
            lines += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _REFUSE | errno.EPERM)]
    # a thread may signal its own process (abort does), but no other
    lines += [
        (_JUMP_EQUAL, 0, 4, _TGKILL[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, os.getpid()),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    # glibc starts threads with clone3 and falls back to clone, whose flags a filter can read
    lines += [(_JUMP_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    lines += [
        (_JUMP_EQUAL, 0, 3, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return lines


# --- the self-probe ------------------------------------------------------------------------------


def _leaks_of_a_confined_child() -> tuple[str, ...]:
    """Confine a child to an empty folder and return what it could still do."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _report_leaks(Path(folder), write_end)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
    if status or not said.startswith("done"):
        return (f"the probe did not finish: {said.strip() or status}",)
    return tuple(line for line in said.splitlines()[1:] if line)


def _report_leaks(folder: Path, pipe: int) -> None:
    lines = ["done"]
    try:
        confine([], folder, Limits(), Tier("T2"))
        lines += [f"a worker could {deed}" for deed, attempt in _FORBIDDEN.items() if _succeeds(attempt)]
    except BaseException as error:
        lines = [f"confinement failed: {error}"]
    finally:
        os.write(pipe, "\n".join(lines).encode())
        os._exit(0)  # nothing of the parent's may run in its fork


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


_FORBIDDEN = {
    "read files": lambda: os.open(__file__, os.O_RDONLY),
    "see processes": lambda: os.listdir("/proc"),
    "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "signal its parent's thread": lambda: _call(_TGKILL[_column()], os.getppid(), os.getppid(), 0),
    "start a process": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
}


def _column() -> int:
    return _ARCHITECTURES[platform.machine()][0]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = _libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
