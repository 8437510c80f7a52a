"""The monitor at work: one thread that takes prompts from a queue, and all who listen to what it sees."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mechinterp_course.errors import CourseError
from mechinterp_course.monitor.generation import ADD, HOLD, Control, Controls, Settings, Step, Watcher
from mechinterp_course.monitor.rates import RollingRates
from mechinterp_course.monitor.store import Store
from mechinterp_course.monitor.watchlist import Watchlist

Event = dict[str, Any]
Listener = Callable[[Event], None]
LONGEST = 20_000  # characters of a prompt
MOST_WAITING = 10_000  # prompts


@dataclass(frozen=True)
class Job:
    """A prompt to be run; `typed` ones may be put aside for the next one."""

    prompt: str
    settings: Settings
    typed: bool = True


@dataclass
class Monitor:
    """Runs prompts one after the other, keeps what is seen in the store, and tells listeners.

    Methods may be called from any thread. Controls hold for whatever runs, from the next token on. `running`
    is the number of the run at hand, or None; `errors` says of each prompt that failed why.
    """

    watcher: Watcher
    watchlist: Watchlist
    store: Store
    rates: RollingRates = field(init=False)
    controls: Controls = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    running: int | None = None

    def __post_init__(self) -> None:
        self.rates = RollingRates(self.watchlist)
        self.waiting: queue.Queue[tuple[int, Job] | None] = queue.Queue()  # with how many stops came before
        self.changing, self.stopping, self.stops = threading.RLock(), threading.Event(), 0
        self.typed: Job | None = None  # the newest typed one
        self.current: Job | None = None
        self.thread = threading.Thread(target=self._work, name="generation", daemon=True)
        self.thread.start()

    def submit(self, prompt: str, settings: Settings, typed: bool = True) -> None:
        """Run a prompt; a typed one takes the place of the typed one before it, if that is not done yet.

        Raises CourseError for a prompt without text, one too long, or too many waiting.
        """
        if not prompt.strip():
            raise CourseError("the prompt is empty: type some text")
        if len(prompt) > LONGEST:
            raise CourseError(f"the prompt has {len(prompt):,} characters, more than {LONGEST:,}")
        if self.waiting.qsize() >= MOST_WAITING:
            raise CourseError(f"{MOST_WAITING:,} prompts are waiting already: stop, or try again later")
        job = Job(prompt, settings, typed)
        with self.changing:
            if typed:
                self.typed = job
                if self.current is not None and self.current.typed:
                    self.stopping.set()
            self.waiting.put((self.stops, job))

    def stop(self) -> None:
        """Stop what runs and forget what waits."""
        with self.changing:
            self.stops += 1  # a job that the thread has taken, and not begun, came before this stop
            with contextlib.suppress(queue.Empty):
                while True:
                    self.waiting.get_nowait()
            self.stopping.set()
        self._tell({"type": "stop", "running": self.running})

    def set_control(self, feature: int, mode: str, value: float = 0.0) -> None:
        """Hold a feature at a value, add to its direction, or leave it alone ("off").

        Raises CourseError for a feature that is not watched, another mode, or a value that is no number.
        """
        if feature not in self.watcher.features:
            raise CourseError(f"feature {feature} is not watched: add it to the watchlist")
        if mode not in (HOLD, ADD, "off"):
            raise CourseError(f"mode is {HOLD}, {ADD} or off, not {mode!r}")
        if not abs(value) < 1e6:
            raise CourseError(f"value = {value} is no activation")
        with self.changing:
            others = {number: control for number, control in self.controls.items() if number != feature}
            self.controls = others if mode == "off" else others | {feature: Control(mode, value)}
        self._tell({"type": "controls", "controls": self.controls_now()})

    def controls_now(self) -> dict[str, dict]:
        """Return the controls as plain values."""
        return {str(feature): vars(control) for feature, control in self.controls.items()}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Let a function hear every event from now on, and return the one that ends it."""
        with self.changing:
            self.listeners = [*self.listeners, listener]
        return lambda: self._forget(listener)

    def finish(self) -> None:
        """Wait until every prompt has been run, and end the thread."""
        self.waiting.put(None)
        self.thread.join()

    def close(self) -> None:
        """End the thread after the token at hand."""
        self.stop()
        self.waiting.put(None)
        self.thread.join(timeout=10)

    def _forget(self, listener: Listener) -> None:
        with self.changing:
            self.listeners = [other for other in self.listeners if other is not listener]

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _work(self) -> None:
        while (taken := self.waiting.get()) is not None:
            stops, job = taken
            with self.changing:
                if stops != self.stops or (job.typed and job is not self.typed):
                    continue  # stopped, or another one was typed, since
                self.current = job
                self.stopping.clear()
            try:
                self._run(job)
            except Exception as error:  # the thread must outlive a run that fails
                self.errors.append(f"{job.prompt[:60]!r}: {type(error).__name__}: {error}")
                self._tell({"type": "error", "message": self.errors[-1], "waiting": self.waiting.qsize()})
            self.current = None

    def _run(self, job: Job) -> None:
        self.running = run = self.store.begin(job.prompt, job.settings, self.controls)
        self._tell({"type": "run", "run": run, "prompt": job.prompt, "controls": self.controls_now()})
        how = "failed"
        try:
            how = self._follow(run, self.watcher.generate(job.prompt, job.settings, lambda: self.controls))
        finally:
            try:
                self.store.end(run, how)
            finally:
                self.running = None
                self._tell({"type": "end", "run": run, "how": how, "waiting": self.waiting.qsize()})

    def _follow(self, run: int, steps: Iterable[Step]) -> str:
        """Keep and tell each token as it comes; return how the run ended."""
        began, said = None, 0
        for step in steps:
            controls = self.controls
            alerts = self.rates.add(step.activations)
            rates = self.rates.rates()
            self.store.add(run, step, self.watcher.features, rates, alerts, controls)
            said += step.generated
            began = began or (time.perf_counter() if step.generated else None)
            passed = time.perf_counter() - began if began else 0.0
            speed = (said - 1) / passed if said > 1 and passed else None
            token = {"type": "token", "run": run, "speed": speed, "rates": rates}
            self._tell(token | vars(step))
            for alert in alerts:
                where = {"run": run, "position": step.position, "text": step.text, "at": time.time()}
                self._tell({"type": "alert"} | where | vars(alert))
            if self.stopping.is_set():
                return "stopped"
        return "done"
