"""The process that has imported torch, forks a room for each exercise, and the room that forks its workers.

    grader ── zygote ── room (one exercise: the library without its answer) ── worker (one submission)

The zygote never imports our library and never touches an accelerator; a room imports the library it was
handed, so no copy of the exercise's answer was ever in the worker's memory. Neither runs student code.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from autograder.channel import Channel, ChannelClosed
from autograder.forbid import forbid, without
from autograder.sandbox import Limits, Tier, confine, die_with_parent

PRELOADED = (
    "torch", "numpy", "einops", "jaxtyping", "safetensors.torch", "tokenizers", "matplotlib.pyplot",
    "transformers.models.gpt2.modeling_gpt2", "transformers.models.gpt2.tokenization_gpt2",
    "transformer_lens", "transformer_lens.model_bridge",
    "autograder.codec", "autograder.worker",
)  # fmt: skip
OUR_PACKAGE = "mechinterp_course"


def main(handle: int) -> None:
    """Serve the grader at the other end of descriptor `handle` until it hangs up."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the grader's to handle
    for name in PRELOADED:
        importlib.import_module(name)
    _warm_up()
    _keep_pages_shared()
    grader = Channel(socket.socket(fileno=handle))
    grader.send({"op": "ready"})
    for setup, handles in _requests(grader):
        pid = _fork(grader, lambda: serve_room(Channel(socket.socket(fileno=handles[0])), setup))  # noqa: B023
        os.close(handles[0])
        grader.send({"op": "room", "pid": pid})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)  # rooms end when the grader hangs up on them
    os._exit(0)  # what was imported has nothing to save, and much to say


def _warm_up() -> None:
    """Do what torch does on first use and a confined worker can't: look at the processor, pick kernels."""
    torch = sys.modules["torch"]
    torch.set_num_threads(1)  # a thread pool would not survive the fork
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        weight = torch.ones(8, 8, dtype=dtype).float().requires_grad_()
        torch.nn.functional.layer_norm(weight @ weight, (8,)).softmax(-1).sum().backward()


def serve_room(grader: Channel, setup: dict) -> None:
    """Import the library in `setup["folder"]`, then fork workers and tell how they ended."""
    try:
        _enter_library(Path(setup["folder"]), setup["modules"])
        readable = without(list(map(Path, setup["readable"])), forbid(setup["forbidden"]))
        setup["readable"] = list(map(str, readable))
    except Exception as error:
        grader.send({"op": "broken", "message": f"{type(error).__name__}: {error}"})
        return
    _keep_pages_shared()
    grader.send({"op": "ready"})
    stock: dict[str, Any] = {}  # models for workers to inherit
    for request, handles in _requests(grader):
        match request["op"]:
            case "reap":
                grader.send({"op": "reaped", "status": _reap(request["pid"])})
            case "stock":
                grader.send(_add_to_stock(stock, request))
            case "hire":
                pid = _fork(grader, lambda: _become_worker(handles[0], setup, request, stock))  # noqa: B023
                os.close(handles[0])
                grader.send({"op": "worker", "pid": pid})
            case "ping":
                grader.send({"op": "pong"})


def _add_to_stock(stock: dict[str, Any], request: dict) -> dict:
    """Load a model as a worker would; one that can't be loaded here is left to the workers to complain of."""
    from autograder import worker

    try:
        stock[worker.model_key(request["spec"])] = worker.load_model(request["spec"], request["device"])
    except Exception as error:
        return {"op": "not_stocked", "message": str(error)}
    _keep_pages_shared()
    return {"op": "stocked"}


def _keep_pages_shared() -> None:
    """Never collect what is there now: a look at every object would copy its page in every child."""
    gc.collect()
    gc.freeze()


def _requests(grader: Channel):
    """Yield the grader's messages with their descriptors until it hangs up."""
    while True:
        try:
            message, _, handles = grader.receive_with_handles()
        except ChannelClosed:
            return
        yield message, handles


def _fork(grader: Channel, child_main) -> int:
    """Fork; the child runs `child_main` and never returns. Returns the child's process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent()
        grader.close()
        child_main()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _enter_library(folder: Path, modules: list[str]) -> None:
    """Make `folder` the first place our library is looked for, and import it from there."""
    sys.path.insert(0, str(folder))
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    for name in modules:
        importlib.import_module(name)
    if Path(sys.modules[OUR_PACKAGE].__file__).parent.parent != folder:
        raise ImportError("the library came from elsewhere")


def _reap(pid: int) -> int:
    """Kill a worker if it still runs, wait for it, return its wait status."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return status


def _become_worker(handle: int, setup: dict, job: dict, stock: dict) -> None:
    from autograder import worker

    scratch = Path(job["scratch"])
    os.chdir(scratch)
    os.environ.clear()
    os.environ.update({name: str(scratch) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")})
    os.environ.update({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"})
    tempfile.tempdir = str(scratch)
    _redirect(scratch / "output.txt")
    _close_all_but(handle)
    readable, devices = ([Path(path) for path in setup[name]] for name in ("readable", "devices"))
    confine(readable, scratch, Limits(**setup["limits"]), Tier(setup["tier"]), devices)
    worker.serve(Channel(socket.socket(fileno=handle)), job, stock)


def _redirect(output: Path) -> None:
    """Give the process an empty standard input and send what it prints to a file of limited size."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.dup2(nothing, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)


def _close_all_but(handle: int) -> None:
    os.closerange(3, handle)
    os.closerange(handle + 1, os.sysconf("SC_OPEN_MAX") if sys.platform != "linux" else _highest_handle() + 1)


def _highest_handle() -> int:
    return max(map(int, os.listdir("/proc/self/fd")))


if __name__ == "__main__":
    main(int(sys.argv[1]))
