"""What every training run shows and heeds: a bar on the terminal, Ctrl-C between steps, seeds of steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from rich.console import Console
from rich.progress import Progress

OnStep = Callable[[int, float], None]  # told (steps done, loss)


def batch_seed(seed: int, step: int) -> int:
    """Return the seed of a step's rows, so that step n can be made without the n before it."""
    return Random(f"rows {seed} {step}").getrandbits(48)


@contextmanager
def interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the step is done; yields a function that says whether it was pressed."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar(name: str, steps: int) -> Iterator[OnStep]:
    """Yield a function (step, loss) that moves a bar on the terminal; without a terminal it does nothing."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=steps)
        yield lambda step, loss: progress.update(
            task, completed=step, description=f"{name}  loss {loss:.2f} nats"
        )
