"""Values cross between processes unchanged, and what isn't a value never gets through."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from autograder.codec import LONGEST_NAME, MAX_KEYS, NotAValue, decode, encode


def refuse(value):
    raise NotAValue(type(value).__name__)


def there_and_back(value):
    raw = []
    data = encode(value, raw, refuse)
    return decode(data, [bytearray(part) for part in raw], refuse)


PLAIN = [None, True, -3, 2**80, 0.1, "naïve \ud83d \0", [1, (2.5, "x")], {"a": [1]}, {1, 2}, frozenset({3})]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    result = there_and_back(value)
    assert result == value and type(result) is type(value)


TENSORS = [
    torch.randn(2, 3),
    torch.randn(3, 4).T,
    torch.tensor(1.5, dtype=torch.float64),
    torch.zeros(0, 5),
    torch.randn(4).to(torch.bfloat16),
    torch.randn(2, 2, dtype=torch.complex64).conj(),
    torch.tensor([[True, False]]),
    torch.arange(5, dtype=torch.int16)[::2],
    torch.arange(14).view(2, 7)[:1, 3],  # one value, whose stride is 7
    torch.nn.Parameter(torch.ones(2)),
]


@pytest.mark.parametrize("value", TENSORS, ids=lambda t: f"{t.dtype} {tuple(t.shape)}")
def test_tensors_keep_dtype_shape_values_and_requires_grad(value):
    result = there_and_back(value)
    assert type(result) is torch.Tensor
    assert (result.dtype, result.shape, result.requires_grad) == (
        value.dtype,
        value.shape,
        value.requires_grad,
    )
    assert torch.equal(result.detach(), value.detach().resolve_conj())


def test_nan_and_infinity_come_back_as_they_were():
    result = there_and_back([float("nan"), float("-inf"), torch.tensor([float("nan")])])
    assert result[0] != result[0] and result[1] == float("-inf") and result[2].isnan().all()


def test_numpy_arrays_and_scalars_stay_numpy():
    array, scalar = there_and_back([np.arange(6).reshape(2, 3)[:, ::2], np.float32(1.5)])
    assert array.tolist() == [[0, 2], [3, 5]] and type(scalar) is np.float32


def test_a_dataclass_arrives_as_a_record_of_its_fields():
    @dataclass
    class Point:
        x: int
        y: torch.Tensor

    record = there_and_back(Point(1, torch.ones(2)))
    assert record.type_name == "Point" and record.x == 1 and record.y.tolist() == [1, 1]


class Tricky(torch.Tensor):
    """A subclass that could redefine what equality means."""


NOT_VALUES = [
    object(),
    lambda: 0,
    Tricky([1.0]),
    torch.ones(2).to_sparse(),
    np.array([object()]),
    torch.nn.Linear(1, 1),
]


@pytest.mark.parametrize("value", NOT_VALUES, ids=lambda v: type(v).__name__)
def test_anything_else_is_handed_to_refer_and_never_serialized(value):
    referred = []
    encode([value], [], lambda v: referred.append(v) or {"k": "remote", "id": 0})
    assert referred == [value] if not isinstance(value, np.ndarray) else len(referred) == 1


def test_a_container_that_holds_itself_is_refused_not_followed_forever():
    loop = []
    loop.append(loop)
    with pytest.raises(NotAValue, match="nested"):
        encode(loop, [], refuse)


def tensor(**changes):
    return {
        "k": "tensor",
        "dtype": "float32",
        "shape": [2],
        "device": "cpu",
        "grad": False,
        "blob": 0,
    } | changes


MALFORMED = {
    "shape larger than the bytes": tensor(shape=[1000]),
    "negative shape": tensor(shape=[-2]),
    "two negative sizes": tensor(shape=[-1, -2]),
    "unknown dtype": tensor(dtype="float7"),
    "a dtype that runs code": tensor(dtype="__class__"),
    "missing buffer": tensor(blob=9),
    "buffer by name": tensor(blob="0"),
    "shape not a list": tensor(shape=None),
    "array of objects": {"k": "array", "dtype": "|O", "shape": [1], "scalar": False, "blob": 0},
    "plain that is a container": {"k": "plain", "v": {"a": 1}},
    "no kind": {},
    "unhashable key": {"k": "dict", "v": [[{"k": "list", "v": []}, {"k": "plain", "v": 1}]]},
    "huge integer": {"k": "int", "v": "9" * 10_000},
    "one buffer for two tensors": {"k": "list", "v": [tensor(), tensor()]},
    "a slice of containers": {"k": "slice", "v": [[1], {"a": 2}, None]},
    "more keys than can be hashed in time": {
        "k": "set",
        "v": [{"k": "plain", "v": n} for n in range(20_000)],
    },
    "unknown kind": {"k": "pickle", "v": "gASVAAAAAAAAAA=="},
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_values_are_refused_in_one_way(data):
    with pytest.raises(NotAValue):
        decode(data, [bytearray(8)], refuse)


def test_keys_that_all_collide_are_refused_before_they_are_compared():
    colliding = [{"k": "int", "v": str(n * (2**61 - 1))} for n in range(MAX_KEYS + 1)]
    with pytest.raises(NotAValue, match="more than"):
        decode({"k": "set", "v": colliding}, [], refuse)


NAMES = {"": "object", " \n": "object", "a b\nc": "abc", "x" * 500: "x" * LONGEST_NAME}


@pytest.mark.parametrize("name", NAMES, ids=["empty", "blank", "of several words", "endless"])
def test_what_the_other_side_calls_a_type_becomes_one_short_word(name):
    record = decode({"k": "record", "type": name, "v": []}, [], refuse)
    assert record.type_name == NAMES[name]


def test_a_record_can_be_passed_back():
    @dataclass
    class Point:
        x: int

    record = there_and_back(there_and_back(Point(3)))
    assert record.type_name == "Point" and record.x == 3
