"""What this machine has free for a model, asked of the system and not of torch."""

import os
import shutil
import subprocess
from pathlib import Path

SECONDS = 5
AT_ITS_PEAK = 5


def free_memory() -> int | None:
    """Return the bytes that a new program may take, within a container's limit; None if it can't be told."""
    known = [free for free in (_available(), _left_in_container()) if free is not None]
    return min(known, default=None)


def free_gpu_memory() -> int | None:
    """Return the free bytes of the emptiest NVIDIA GPU, None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    ask = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
        return max((int(line) << 20 for line in answer.split("\n") if line.strip()), default=None)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def fits(parameters: int, free: int | None) -> bool | None:
    """Return whether a model can be loaded in fp32, None if it can't be told.

    At its peak, loading GPT-2 small as a TransformerBridge took 4.3 times the memory of its weights, what
    stays 2.5 times; `AT_ITS_PEAK` is that, rounded up.
    """
    return None if free is None else AT_ITS_PEAK * 4 * parameters <= free


def _available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return _physical()


def _physical() -> int | None:
    """Return all memory of a machine that doesn't say what is free (macOS), None if it can't be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def _left_in_container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)
