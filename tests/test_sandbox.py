"""The isolation tier is found by trying, and reported as it is."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autograder import sandbox, system_calls
from autograder.sandbox import Tier, probe

needs_t2 = pytest.mark.skipif(
    not probe().strong, reason="no Landlock and seccomp here: nothing to confine with"
)


def confined(code: str, tmp_path) -> str:
    """Run `code` in a confined process whose one writable folder is `scratch`; return what it printed."""
    script = f"""
        import ctypes, os, signal, socket, sys, threading
        from pathlib import Path
        from autograder.sandbox import Limits, Tier, confine
        scratch = Path({str(tmp_path)!r})
        readable = [Path(entry) for entry in sys.path if entry] + [Path(sys.base_prefix) / "lib"]
        confine(readable, scratch, Limits(cpu_seconds=5, file_bytes=1 << 20, memory=512 << 20), Tier("T2"))
        try:
            print("did", {code})
        except BaseException as error:
            print(type(error).__name__)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


REFUSED = {
    "open('/etc/passwd')": "PermissionError",
    "os.listdir('/proc')": "PermissionError",
    "open('/proc/self/mem', 'rb')": "PermissionError",
    "open(f'/proc/{os.getppid()}/environ')": "PermissionError",
    "open('/tmp/outside', 'w')": "PermissionError",
    "os.symlink('/etc/passwd', '/tmp/outside-link')": "PermissionError",
    "socket.socket()": "PermissionError",
    "socket.socket(socket.AF_UNIX)": "PermissionError",
    "os.fork()": "PermissionError",
    "os.execv('/bin/true', ['true'])": "PermissionError",
    "os.kill(os.getppid(), signal.SIGTERM)": "PermissionError",
    "os.killpg(os.getpgid(os.getppid()), 0)": "PermissionError",
    "(scratch / 'large').write_bytes(bytes(2 << 20))": "OSError",
    "bytearray(4 << 30)": "MemoryError",
    "__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, (999, 999))": "ValueError",
    "os.chmod(sys.prefix, 0o700)": "PermissionError",
    "os.chown(sys.prefix, 0, 0)": "PermissionError",
    "os.utime(sys.prefix)": "PermissionError",
    "os.setxattr(sys.prefix, 'user.note', b'x')": "PermissionError",
    "os.truncate(os.__file__, 0)": "PermissionError",
    "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)": "PermissionError",
    "os.open(os.__file__, 3 | os.O_TRUNC)": "PermissionError",
    "os.setpriority(os.PRIO_USER, 0, 0)": "PermissionError",
    "os.sched_setaffinity(os.getppid(), {0})": "PermissionError",
    "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)": "PermissionError",
    "__import__('fcntl').fcntl(0, 8, os.getppid())": "PermissionError",
    "__import__('fcntl').fcntl(0, 10, 9)": "PermissionError",
    "__import__('fcntl').ioctl(0, 0x8901, b'\\1\\0\\0\\0')": "PermissionError",
    "os.setsid()": "PermissionError",
    "os.sync() or os.readlink(f'/proc/{os.getppid()}/exe')": "PermissionError",
    "os.setuid(0) if os.geteuid() else os.sethostname('mine')": ("PermissionError", "AttributeError"),
}


@needs_t2
@pytest.mark.parametrize("code, error", REFUSED.items())
def test_a_confined_process_is_refused(code, error, tmp_path):
    assert confined(code, tmp_path) in (error if isinstance(error, tuple) else (error,))


BY_NUMBER = (
    *("ptrace", "unshare", "process_vm_readv", "io_uring_setup", "userfaultfd", "bpf", "pidfd_open"),
    *("shmget", "msgget", "mq_open", "keyctl", "inotify_init1", "memfd_secret", "clock_settime", "reboot"),
)


@needs_t2
@pytest.mark.parametrize("name", BY_NUMBER)
def test_a_system_call_by_its_number_is_refused_too(name, tmp_path):
    number = system_calls.REFUSED[name][system_calls.column()]
    assert confined(by_number(number), tmp_path) == "did (-1, 1)"


@needs_t2
@pytest.mark.parametrize("number", [437, 451, 999], ids=["openat2", "newer than the list", "far newer"])
def test_a_call_that_a_filter_cannot_judge_is_answered_as_unknown(number, tmp_path):
    assert confined(by_number(number), tmp_path) == "did (-1, 38)"


@needs_t2
def test_a_worker_cannot_ask_to_outlive_the_room(tmp_path):
    code = "(ctypes.CDLL(None, use_errno=True).prctl(1, 0, 0, 0, 0), ctypes.get_errno())"
    assert confined(code, tmp_path) == "did (-1, 1)"


@needs_t2
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers to give up")
def test_root_gives_up_its_powers(tmp_path):
    powers = "[line for line in open('/proc/self/status') if line.startswith('CapEff')]"
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from autograder import sandbox
        sandbox._drop_capabilities()
        print({powers})
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    assert "0000000000000004" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def by_number(number: int) -> str:
    return f"(ctypes.CDLL(None, use_errno=True).syscall({number}, 0, 0, 0, 0, 0, 0), ctypes.get_errno())"


ALLOWED = {
    "(scratch / 'note').write_text('x')": "did 1",
    "[t := threading.Thread(target=lambda: None), t.start(), t.join()][-1]": "did None",
    "open('/dev/null', 'w').write('x')": "did 1",
    "__import__('fractions').Fraction(1, 2)": "did 1/2",
    "[a.sendall(b'x') or b.recv(1) for a, b in [socket.socketpair()]][0]": "did b'x'",
    "(scratch / 'list').open('w+').truncate(3)": "did 3",
}


@needs_t2
@pytest.mark.parametrize("code, printed", ALLOWED.items())
def test_a_confined_process_can_still_work(code, printed, tmp_path):
    assert confined(code, tmp_path) == printed


def test_a_kernel_without_landlock_is_reported_as_weaker(monkeypatch):
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 0)
    assert sandbox.probe() == Tier("T1", ("this kernel has no Landlock",))


@needs_t2
def test_a_confinement_that_leaks_is_reported_as_weaker(monkeypatch):
    monkeypatch.setitem(sandbox.FORBIDDEN, "read the clock", lambda _: None)
    tier = sandbox.probe()
    assert tier.name == "T1" and "read the clock" in tier.reasons[0]


@needs_t2
def test_a_confinement_that_fails_is_reported_as_weaker(monkeypatch):
    def refuse(*arguments):
        raise OSError(1, "not today")

    monkeypatch.setattr(system_calls, "install", refuse)
    assert sandbox.probe().name == "T1" and "not today" in sandbox.probe().reasons[0]


PARTIAL = {
    "a kernel that filters no system calls": (system_calls, "install"),
    "a kernel that restricts no files": (sandbox, "_restrict_files"),
    "a kernel that limits nothing": (sandbox, "_limit_resources"),
}


@needs_t2
@pytest.mark.parametrize("lie", PARTIAL)
def test_a_kernel_that_says_yes_and_does_nothing_is_reported_as_weaker(lie, monkeypatch):
    monkeypatch.setattr(*PARTIAL[lie], lambda *arguments: None)
    tier = sandbox.probe()
    assert (
        tier.name == "T1"
        and tier.reasons
        and all(reason.startswith("a worker could ") for reason in tier.reasons)
    )


@needs_t2
def test_a_confinement_that_leaves_no_room_to_work_is_reported_too(monkeypatch):
    def nothing_at_all(readable, scratch, devices):
        real(readable, Path("/dev/null"), devices)

    real = sandbox._restrict_files
    monkeypatch.setattr(sandbox, "_restrict_files", nothing_at_all)
    assert "a worker couldn't write in its own folder" in sandbox.probe().reasons


@needs_t2
def test_every_attempt_of_the_probe_succeeds_where_nothing_confines(monkeypatch):
    monkeypatch.setattr(sandbox, "confine", lambda *arguments: None)
    bites = {reason.removeprefix("a worker could ") for reason in sandbox.probe().reasons}
    refused_anyway = {"read its parent's memory", "see its parent's files", "call bpf"}  # to others than root
    assert set(sandbox.FORBIDDEN) - refused_anyway <= bites


@needs_t2
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_an_older_landlock_still_gives_the_full_tier(version, monkeypatch):
    monkeypatch.setattr(sandbox, "landlock_version", lambda: version)
    assert sandbox.probe() == Tier("T2")


MACHINES = ("x86_64", "aarch64")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_every_listed_call_and_allows_the_rest(machine, monkeypatch):
    monkeypatch.setattr(system_calls.platform, "machine", lambda: machine)
    column, architecture = system_calls.ARCHITECTURES[machine]
    program = system_calls.filter_program()
    listed = {numbers[column]: system_calls.DENIED for numbers in system_calls.REFUSED.values()}
    listed |= {numbers[column]: system_calls.UNKNOWN for numbers in system_calls.NOT_THERE.values()}
    judged = {numbers[column] for numbers, _ in system_calls.CONDITIONAL}
    for number in set(range(600)) - judged:
        newer = system_calls.UNKNOWN if number > system_calls.NEWEST else system_calls.ALLOW
        assert run_filter(program, number, architecture) == listed.get(number, newer), number
    assert run_filter(program, 0, architecture ^ 1) == system_calls.KILL_PROCESS
    assert run_filter(program, system_calls.X32_BIT, architecture) == system_calls.KILL_PROCESS


# a call by its numbers, arguments that are allowed, arguments that are refused
JUDGED = {
    "clone": ((56, 220), [(0x3D0F00,)], [(17,), (0x3D0F00 | 0x40000000,), (0x3D0F00 | 0x10000000,)]),
    "tgkill": ((234, 131), [(os.getpid(), 1, 6)], [(1, 1, 9), (os.getppid(), 1, 9)]),
    "socketpair": ((53, 199), [(1, 1), (1, 1 | 0x80800)], [(1, 2), (1, 2 | 0x80000), (1, 5)]),
    "openat": ((257, 56), [(0, 0, 0), (0, 0, 0o1101), (0, 0, 0o1102)], [(0, 0, 0o1000), (0, 0, 0o1003)]),
    "fcntl": ((72, 25), [(3, 1), (3, 4)], [(3, 8), (3, 10), (3, 15), (3, 1024)]),
    "ioctl": ((16, 29), [(1, 0x5401)], [(1, 0x8901), (1, 0x5412)]),
    "prctl": ((157, 167), [(15,), (38,)], [(1,)]),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", JUDGED)
def test_a_call_with_a_harmless_form_is_judged_by_its_argument(name, machine, monkeypatch):
    monkeypatch.setattr(system_calls.platform, "machine", lambda: machine)
    column, architecture = system_calls.ARCHITECTURES[machine]
    numbers, allowed, refused = JUDGED[name]
    program = system_calls.filter_program()
    for arguments in allowed:
        assert run_filter(program, numbers[column], architecture, arguments) == system_calls.ALLOW
    for arguments in refused:
        assert run_filter(program, numbers[column], architecture, arguments) == system_calls.DENIED


HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine):
    header = Path("/usr/include") / HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"no {header.name} of this kind here")
    found = re.findall(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in reversed(found)}
    column, _ = system_calls.ARCHITECTURES[machine]
    for name, listed in (system_calls.REFUSED | system_calls.NOT_THERE).items():
        assert listed[column] == numbers.get(name), name


def run_filter(program, number: int, architecture: int, arguments: tuple = ()) -> int:
    """Interpret the BPF program for one system call and return its verdict."""
    data = {system_calls.NUMBER: number, system_calls.ARCHITECTURE: architecture}
    data |= {system_calls.ARGUMENTS + 8 * place: value for place, value in enumerate(arguments)}
    position = accumulator = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == system_calls.RETURN:
            return value
        if code == system_calls.LOAD:
            accumulator = data.get(value, 0)
            continue
        if code == system_calls.AND:
            accumulator &= value
            continue
        tests = {
            system_calls.JUMP_EQUAL: accumulator == value,
            system_calls.JUMP_GREATER: accumulator > value,
            system_calls.JUMP_GREATER_OR_EQUAL: accumulator >= value,
            system_calls.JUMP_BITS: bool(accumulator & value),
        }
        position += if_true if tests[code] else if_false
