"""Values as JSON plus raw bytes, so that nothing from a student is ever unpickled.

A value is a JSON object with its kind under `"k"`; tensors and arrays put their bytes in a list of
buffers and keep the index. Plain tensors, numbers, strings, None and containers of these are copied;
what is neither stays where it is, and `refer` gives it a reference instead.
"""

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
ARRAY_KINDS = "fiub"  # NumPy: floats, signed and unsigned integers, booleans
MAX_DEPTH, MAX_AXES = 20, 32
MAX_KEYS = 10_000  # of a dict or set: keys can be chosen so that each collides with all before it
LONGEST_NAME = 80

Buffers = list[bytes]


class NotAValue(Exception):
    """The object can't be copied across, or what arrived isn't a value."""


class Record(SimpleNamespace):
    """A dataclass from the other side: its fields as attributes, its class's name as `type_name`."""


def encode(value: Any, buffers: Buffers, refer: Callable[[Any], dict], depth: int = 0) -> dict:
    """Return `value` as JSON, appending bytes to `buffers`; `refer` encodes what can't be copied."""
    if depth > MAX_DEPTH:
        raise NotAValue(f"containers nested deeper than {MAX_DEPTH}")
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return {"k": "plain", "v": value}
    if kind is int:
        return {"k": "int", "v": str(value)} if abs(value) >= 2**63 else {"k": "plain", "v": value}
    if isinstance(value, torch.Tensor) and _is_plain_tensor(value):
        return _encode_tensor(value, buffers)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in ARRAY_KINDS:
        return _encode_array(value, buffers)
    if isinstance(value, list | tuple | set | frozenset):
        name = next(name for name, base in _CONTAINERS.items() if isinstance(value, base))
        return {"k": name, "v": [encode(item, buffers, refer, depth + 1) for item in value]}
    if isinstance(value, dict):
        pairs = [[encode(part, buffers, refer, depth + 1) for part in pair] for pair in value.items()]
        return {"k": "dict", "v": pairs}
    if kind in (torch.dtype, torch.device, slice, type(...)):
        return _encode_index(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        fields = [[name, encode(getattr(value, name), buffers, refer, depth + 1)] for name in names]
        return {"k": "record", "type": kind.__name__, "v": fields}
    if kind is Record:
        parts = [(name, part) for name, part in vars(value).items() if name != "type_name"]
        fields = [[name, encode(part, buffers, refer, depth + 1)] for name, part in parts]
        return {"k": "record", "type": value.type_name, "v": fields}
    return refer(value)


def decode(data: dict, buffers: list[bytearray], resolve: Callable[[dict], Any], device: str = "cpu") -> Any:
    """Return the value that `encode` described; `resolve` looks references up.

    Tensors that were on an accelerator are put on `device`. Raises NotAValue on anything malformed.
    """
    try:
        return _decode(data, buffers, resolve, device, 0)
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise NotAValue(f"malformed value ({type(error).__name__})") from error


def _decode(data: dict, buffers: list[bytearray], resolve: Callable, device: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotAValue(f"containers nested deeper than {MAX_DEPTH}")

    def inner(part: dict) -> Any:
        return _decode(part, buffers, resolve, device, depth + 1)

    kind = data["k"]
    if kind in _FROM_JSON:
        return _FROM_JSON[kind](data["v"])
    if kind in _CONTAINERS:
        _refuse_many_keys(kind, data["v"])
        return _CONTAINERS[kind](map(inner, data["v"]))
    match kind:
        case "tensor":
            return _decode_tensor(data, buffers, device)
        case "array":
            return _decode_array(data, buffers)
        case "dict":
            _refuse_many_keys(kind, data["v"])
            return {inner(key): inner(value) for key, value in data["v"]}
        case "record":
            fields = {str(name): inner(value) for name, value in data["v"]}
            return Record(**fields | {"type_name": type_name(data["type"])})
        case _:
            return resolve(data)


def type_name(text: Any) -> str:
    """Return what the other side calls a type as a short name of one word, never empty."""
    return "".join(str(text)[:LONGEST_NAME].split()) or "object"


def _refuse_many_keys(kind: str, parts: list) -> None:
    if kind in ("dict", "set", "frozenset") and len(parts) > MAX_KEYS:
        raise NotAValue(f"a {kind} of more than {MAX_KEYS} elements")


def _take(buffers: list[bytearray], place: int) -> bytearray:
    """Return a buffer and leave an empty one: two values may not share their memory."""
    raw, buffers[place] = buffers[place], bytearray()
    return raw


def _plain(value: Any) -> Any:
    if not isinstance(value, type(None) | bool | int | float | str):
        raise NotAValue("malformed value")
    return value


def _whole(value: Any) -> int | None:
    if not isinstance(value, type(None) | int):
        raise NotAValue("malformed value")
    return value


_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_FROM_JSON = {
    "plain": _plain,
    "int": int,
    "dtype": DTYPES.__getitem__,
    "device": torch.device,
    "slice": lambda parts: slice(*map(_whole, parts)),
    "ellipsis": lambda _: ...,
}


def _is_plain_tensor(value: torch.Tensor) -> bool:
    """A strided tensor of a known dtype, not of a subclass that could behave otherwise."""
    named = type(value) in (torch.Tensor, torch.nn.Parameter)
    return named and value.layout is torch.strided and str(value.dtype).removeprefix("torch.") in DTYPES


def _encode_tensor(value: torch.Tensor, buffers: Buffers) -> dict:
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    raw = flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy()  # one value may have any stride
    buffers.append(raw.tobytes())
    return {
        "k": "tensor",
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": list(value.shape),
        "device": value.device.type,
        "grad": bool(value.requires_grad),
        "blob": len(buffers) - 1,
    }


def _decode_tensor(data: dict, buffers: list[bytearray], device: str) -> torch.Tensor:
    dtype, shape, raw = (
        DTYPES[data["dtype"]],
        [int(size) for size in data["shape"]],
        _take(buffers, data["blob"]),
    )
    if len(shape) > MAX_AXES or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
        raise NotAValue("a tensor whose bytes don't match its shape")
    flat = torch.frombuffer(raw, dtype=dtype) if len(raw) else torch.empty(0, dtype=dtype)
    value = flat.reshape(shape)
    if data["device"] != "cpu":
        value = value.to(device)
    return value.requires_grad_(data["grad"] is True) if value.is_floating_point() else value


def _encode_array(value: np.ndarray | np.generic, buffers: Buffers) -> dict:
    array = np.asarray(value)
    buffers.append(np.ascontiguousarray(array).tobytes())
    scalar = isinstance(value, np.generic)
    return {
        "k": "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "scalar": scalar,
        "blob": len(buffers) - 1,
    }


def _decode_array(data: dict, buffers: list[bytearray]) -> np.ndarray | np.generic:
    dtype = np.dtype(data["dtype"])
    if dtype.kind not in ARRAY_KINDS:
        raise NotAValue(f"an array of {dtype}")
    array = np.frombuffer(_take(buffers, data["blob"]), dtype=dtype).reshape(data["shape"])
    return array[()] if data["scalar"] else array


def _encode_index(value: Any) -> dict:
    """Encode what stands in an index or a signature: a dtype, a device, a slice of integers, an ellipsis."""
    if isinstance(value, torch.dtype):
        return {"k": "dtype", "v": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"k": "device", "v": str(value)}
    if isinstance(value, slice):
        return {"k": "slice", "v": [value.start, value.stop, value.step]}
    return {"k": "ellipsis", "v": None}
