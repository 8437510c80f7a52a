"""What every submission of a batch needs alike is made once: models, expected values, mistakes replayed.

The seed of a batch fixes the inputs of a check, so the reference gives every submission the same values. They
are remembered by what they were called with, down to the weights and hooks of a model; what can't be told
apart that way is computed anew. Students' code runs elsewhere and reaches none of this.
"""

import contextlib
import hashlib
import importlib.util
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.observation import copied, count_hooks
from mechinterp_course.checking.recognition import Replay, replayed
from mechinterp_course.checking.verdict import StudentFault

WORTH_SECONDS = 0.005  # a call quicker than this is not worth remembering
LIBRARY = "mechinterp_course."
PLAIN = (type(None), bool, int, float, str)


class Unfit(Exception):
    """The value can't be told from others by its contents, or can't be kept."""


@dataclass
class Memory:
    """Values by key, as many as fit in `most_bytes`; those not asked for the longest go first."""

    most_bytes: int
    used_bytes: int = 0
    values: OrderedDict[str, tuple[int, Any]] = field(default_factory=OrderedDict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str) -> Any:
        """Return what was put under `key`, or None."""
        with self.turn:
            if key not in self.values:
                return None
            self.values.move_to_end(key)
            return self.values[key][1]

    def pop(self, key: str) -> Any:
        """Take what was put under `key` out, or return None."""
        with self.turn:
            size, value = self.values.pop(key, (0, None))
            self.used_bytes -= size
            return value

    def put(self, key: str, value: Any, size: int) -> None:
        """Keep a value of `size` bytes."""
        with self.turn:
            self.used_bytes += size - self.values.pop(key, (0, None))[0]
            self.values[key] = size, value
            while self.used_bytes > self.most_bytes:
                self.used_bytes -= self.values.popitem(last=False)[1][0]


@dataclass
class Reuse:
    """What the examiners of one batch share; it may serve several threads."""

    models: Memory = field(default_factory=lambda: Memory(768 << 20))
    expected: Memory = field(default_factory=lambda: Memory(128 << 20))
    replays: Memory = field(default_factory=lambda: Memory(256 << 20))
    modules: dict[str, ModuleType] = field(default_factory=dict)

    def check(self, function: FunctionType) -> FunctionType:
        """Return the same check, made to ask for remembered values of the library's functions."""
        name = function.__module__
        if name not in self.modules:
            self.modules[name] = _remembering_copy(name, self.expected)
        return getattr(self.modules[name], function.__name__)

    def replay(
        self, exercise: str, mistake: Callable, check: Callable, transcript: list, draw: Draw
    ) -> Replay:
        """Return what `recognition.replayed` does, remembered unless it depends on the transcript."""
        key = f"{draw.origin} {draw.device} {check.__module__}.{check.__name__} {exercise} {mistake.__name__}"
        known = self.replays.get(key)
        if known is None:
            known = replayed(exercise, mistake, check, transcript, draw)
            if known.alone:
                with contextlib.suppress(Unfit):
                    results = [
                        result for _, result in known.transcript if not isinstance(result, StudentFault)
                    ]
                    self.replays.put(key, known, 1000 + plain_size(results))
        return known


class WarmDraw(Draw):
    """A draw whose models come from a shelf. `give_back` them when the check is over."""

    def __init__(self, seed: int, device: str, shelf: Memory):
        super().__init__(seed, device)
        self._shelf, self._children, self._marks = shelf, [], {}

    def restart(self) -> "WarmDraw":
        return self._child(self.origin)

    def fork(self, name: str) -> "WarmDraw":
        return self._child(super().fork(name).origin)

    def _child(self, origin: int) -> "WarmDraw":
        child = WarmDraw(origin, self.device, self._shelf)
        self._children.append(child)
        return child

    def language_model(self, name: str = "course-gpt2") -> Any:
        return self._lent(name, self.head_order, super().language_model)

    def vision_model(self, name: str = "course-resnet18") -> Any:
        return self._lent(name, self.channel_seed, super().vision_model)

    def _lent(self, name: str, order: Callable[[str], object], load: Callable[[str], Any]) -> Any:
        """Return this draw's one model of that name, from the shelf if it is there in this draw's order."""
        if name not in self._models:
            key = f"{name} {self.device} {order(name)}"
            shelved = self._shelf.pop(key)
            if shelved is None:
                model = load(name)
                shelved = model, fingerprint(model)
            self._models[name], self._marks[name] = shelved[0], (key, shelved[1])
        return self._models[name]

    def specs(self) -> list[Any]:
        """Return how to load each model that was drawn."""
        own = [model.course_spec for model in self._models.values()]
        return own + [spec for child in self._children for spec in child.specs()]

    def give_back(self) -> None:
        """Put the models back on the shelf for whoever draws them next; changed ones are dropped."""
        for name, model in self._models.items():
            key, mark = self._marks[name]
            try:
                unchanged = fingerprint(model) == mark
            except Unfit:
                unchanged = False
            if unchanged:
                self._shelf.put(key, (model, mark), sum(p.nbytes for p in model.parameters()))
        self._models.clear()
        for child in self._children:
            child.give_back()
        self._children.clear()


def fingerprint(value: Any) -> str:
    """Return a text that equal values have in common and others don't; raises Unfit where there is none."""
    digest = hashlib.blake2b(digest_size=20)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    kind = type(value)
    if kind in PLAIN or isinstance(value, torch.dtype | torch.device):
        digest.update(f"{kind.__name__} {value!r}\0".encode())
    elif kind in (Tensor, nn.Parameter):
        digest.update(
            f"tensor {value.dtype} {tuple(value.shape)} {value.device} {value.requires_grad}\0".encode()
        )
        digest.update(_raw(value))
    elif kind in (list, tuple):
        digest.update(f"{kind.__name__} {len(value)}\0".encode())
        for item in value:
            _feed(digest, item)
    elif kind is dict:
        _feed(digest, [part for pair in value.items() for part in pair])
    elif isinstance(value, nn.Module):
        _feed_model(digest, value)
    else:
        raise Unfit(f"a {kind.__name__} has no contents to go by")


def _raw(value: Tensor) -> bytes:
    flat = value.detach().cpu().contiguous()
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().tobytes()


def _feed_model(digest: Any, model: nn.Module) -> None:
    """Feed a model's spec, modes, and the sums of its weights' bits along the first and last axes."""
    if not hasattr(model, "course_spec") or count_hooks(model):
        raise Unfit("a model with hooks, or of unknown origin")
    modes = bytes(module.training for module in model.modules())
    digest.update(f"model {model.course_spec}\0".encode() + modes)
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)} {weight.requires_grad}\0".encode())
        bits = weight.detach().contiguous()
        bits = bits.view(torch.int32) if bits.dtype == torch.float32 else bits
        bits = bits.flatten(1) if bits.dim() > 3 else bits  # a kernel's small axes would leave much to hash
        if bits.dim() < 2 or bits.numel() < 4096:
            digest.update(_raw(bits))
        else:
            digest.update(_raw(bits.sum(0)) + _raw(bits.sum(-1)))


def _remembering_copy(name: str, memory: Memory) -> ModuleType:
    """Return a second copy of a module of checks in which the library's modules remember their values."""
    original = importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, original.__file__)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    for key, value in list(vars(copy).items()):
        if isinstance(value, ModuleType) and _is_reference(value.__name__):
            setattr(copy, key, _Remembering(value, memory))
    return copy


def _is_reference(module: str) -> bool:
    return module.startswith(LIBRARY) and not module.startswith(f"{LIBRARY}checking")


class _Remembering:
    """A module of the library whose functions look their values up before they compute them."""

    def __init__(self, module: ModuleType, memory: Memory):
        self._module, self._memory = module, memory

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, FunctionType) and _is_reference(value.__module__):
            value = remembering(value, self._memory)
        setattr(self, name, value)
        return value


def remembering(function: Callable, memory: Memory) -> Callable:
    """Return `function` with its values remembered, where they follow from its arguments alone.

    Not remembered are values that aren't plain, and calls that are quick, raise, change an argument, or draw
    from a global generator.
    """

    @wraps(function)
    def remembered(*args: Any, **kwargs: Any) -> Any:
        try:
            asked = fingerprint([function.__module__, function.__qualname__, list(args), kwargs])
        except Unfit:
            return function(*args, **kwargs)
        known = memory.get(asked)
        if known is not None:
            return copied(known[0])
        before, started = _random_states(), time.perf_counter()
        value = function(*args, **kwargs)
        worth = time.perf_counter() - started > WORTH_SECONDS
        if worth and _random_states() == before:
            try:
                size = plain_size(value)
                unchanged = fingerprint([function.__module__, function.__qualname__, list(args), kwargs])
            except Unfit:
                return value
            if unchanged == asked:
                memory.put(asked, (copied(value),), size)
        return value

    return remembered


def _random_states() -> tuple:
    """Return the states of all global generators, to be compared."""
    tensors = [
        torch.get_rng_state(),
        *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()),
    ]
    _, keys, *rest = np.random.get_state()
    return random.getstate(), keys.tobytes(), *rest, *(bytes(state.numpy()) for state in tensors)


def plain_size(value: Any) -> int:
    """Return about how many bytes a plain value takes; raises Unfit for one that `copied` would not copy."""
    kind = type(value)
    if kind is Tensor:
        if value.grad_fn is not None:
            raise Unfit("it is part of a graph")
        return value.nbytes + 200
    if kind in PLAIN:
        return 60
    if kind in (list, tuple, set):
        return 60 + sum(map(plain_size, value))
    if kind is dict:
        return 60 + sum(plain_size(key) + plain_size(item) for key, item in value.items())
    raise Unfit(f"a {kind.__name__} is not plain")
