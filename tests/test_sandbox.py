"""The isolation tier is found by trying, and reported as it is."""

import os
import subprocess
import sys
import textwrap

import pytest

from autograder import sandbox
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
}


@needs_t2
@pytest.mark.parametrize("code, error", REFUSED.items())
def test_a_confined_process_is_refused(code, error, tmp_path):
    assert confined(code, tmp_path) == error


SYSTEM_CALLS = {
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "process_vm_readv": (310, 270),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "pidfd_open": (434, 434),
}


@needs_t2
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_a_system_call_by_its_number_is_refused_too(name, tmp_path):
    number = SYSTEM_CALLS[name][os.uname().machine == "aarch64"]
    code = f"(ctypes.CDLL(None, use_errno=True).syscall({number}, 0, 0, 0, 0, 0, 0), ctypes.get_errno())"
    assert confined(code, tmp_path).startswith("did (-1,")


ALLOWED = {
    "(scratch / 'note').write_text('x')": "did 1",
    "[t := threading.Thread(target=lambda: None), t.start(), t.join()][-1]": "did None",
    "open('/dev/null', 'w').write('x')": "did 1",
    "__import__('fractions').Fraction(1, 2)": "did 1/2",
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
    monkeypatch.setitem(sandbox._FORBIDDEN, "read the clock", lambda: None)
    tier = sandbox.probe()
    assert tier.name == "T1" and "read the clock" in tier.reasons[0]


@needs_t2
def test_a_confinement_that_fails_is_reported_as_weaker(monkeypatch):
    def refuse(*arguments):
        raise OSError(1, "not today")

    monkeypatch.setattr(sandbox, "_filter_system_calls", refuse)
    assert sandbox.probe().name == "T1" and "not today" in sandbox.probe().reasons[0]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_every_listed_call_and_allows_the_rest(machine, monkeypatch):
    monkeypatch.setattr(sandbox.platform, "machine", lambda: machine)
    column, architecture = sandbox._ARCHITECTURES[machine]
    program = sandbox._filter_program()
    listed = {numbers[column] for numbers in sandbox._REFUSED.values()} - {None}
    results = {number: run_filter(program, number, architecture) for number in range(460)}
    refused = {number for number, result in results.items() if result != sandbox._ALLOW}
    assert refused == listed | {sandbox._CLONE[column], sandbox._CLONE3[column], sandbox._TGKILL[column]}
    assert run_filter(program, sandbox._TGKILL[column], architecture, os.getpid()) == sandbox._ALLOW
    assert run_filter(program, sandbox._CLONE[column], architecture, sandbox._CLONE_THREAD) == sandbox._ALLOW
    assert run_filter(program, 0, architecture ^ 1) == sandbox._KILL_PROCESS


def run_filter(program, number: int, architecture: int, first_argument: int = 0) -> int:
    """Interpret the BPF program for one system call and return its verdict."""
    data = {
        sandbox._NUMBER: number,
        sandbox._ARCHITECTURE: architecture,
        sandbox._FIRST_ARGUMENT: first_argument,
    }
    position = accumulator = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == sandbox._RETURN:
            return value
        if code == sandbox._LOAD:
            accumulator = data[value]
            continue
        tests = {
            sandbox._JUMP_EQUAL: accumulator == value,
            sandbox._JUMP_GREATER_OR_EQUAL: accumulator >= value,
            sandbox._JUMP_BITS: bool(accumulator & value),
        }
        position += if_true if tests[code] else if_false
