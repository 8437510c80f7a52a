"""What is watched, and what is ordinary of it: a TOML file that people read and edit."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechinterp_course.errors import CourseError

SHORTEST = 8  # tokens of a window


@dataclass(frozen=True)
class Watched:
    """A feature that is watched. It fires on a token when its activation is above `threshold`.

    `rate` is the share of tokens on which it fires in ordinary use, and `low` to `high` the band within which
    its rolling rate stays there; `highest` its highest activation, the scale of charts and sliders. `note` is
    shown beside it: why it is watched.
    """

    feature: int
    label: str
    threshold: float
    rate: float
    low: float
    high: float
    highest: float
    note: str = ""


@dataclass(frozen=True)
class Watchlist:
    """The model, the dictionary and the watched features; rates are those of the last `window` tokens."""

    model: str
    sae: str
    hook: str
    window: int
    calibrated_on: str
    features: tuple[Watched, ...]
    examples: tuple[str, ...] = ()


def load_watchlist(path: Path) -> Watchlist:
    """Return what a watchlist file says; raises CourseError that says where it is wrong."""
    try:
        with path.open("rb") as file:
            said = tomllib.load(file)
    except OSError as error:
        raise CourseError(
            f"{path} can't be read: {error.strerror}; `mechinterp monitor calibrate --out {path}` writes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} is no TOML: {error}") from error
    return read_watchlist(said, str(path))


def read_watchlist(said: Mapping[str, Any], where: str) -> Watchlist:
    """Return a watchlist from what a TOML file holds; raises CourseError when something in it is wrong."""
    listed = _field(said, "feature", list, where)
    features = tuple(_watched(one, f"{where}, feature entry {n}") for n, one in enumerate(listed, 1))
    numbers = [one.feature for one in features]
    if not features:
        raise CourseError(f"{where}: no [[feature]] is watched")
    if len(set(numbers)) < len(numbers):
        twice = next(one for one in numbers if numbers.count(one) > 1)
        raise CourseError(f"{where}: feature {twice} is watched twice")
    window = _field(said, "window", int, where)
    if window < SHORTEST:
        raise CourseError(f"{where}: window = {window} is too short: at least {SHORTEST} tokens")
    examples = said.get("examples", [])
    if not isinstance(examples, list) or not all(isinstance(one, str) for one in examples):
        raise CourseError(f"{where}: examples is no list of texts")
    texts = {name: _field(said, name, str, where) for name in ("model", "sae", "hook")}
    about = str(said.get("calibrated_on", ""))
    return Watchlist(**texts, window=window, calibrated_on=about, features=features, examples=tuple(examples))


def write_watchlist(watchlist: Watchlist) -> str:
    """Return the watchlist as TOML."""
    lines = [
        "# What `mechinterp monitor` watches. A feature fires on a token when its activation is above",
        "# `threshold`; `rate` is the share of ordinary tokens on which it does. There is an alert when the",
        "# share among the last `window` tokens leaves `low` to `high`.",
        *(f"{name} = {_text(getattr(watchlist, name))}" for name in ("model", "sae", "hook")),
        f"window = {watchlist.window}",
        f"calibrated_on = {_text(watchlist.calibrated_on)}",
        "examples = [",
        *(f"  {_text(example)}," for example in watchlist.examples),
        "]",
    ]
    for one in watchlist.features:
        lines += ["", "[[feature]]", f"feature = {one.feature}", f"label = {_text(one.label)}"]
        lines += [f"note = {_text(one.note)}"] if one.note else []
        numbers = ("threshold", "rate", "low", "high", "highest")
        lines += [f"{name} = {float(getattr(one, name)):.6g}" for name in numbers]
    return "\n".join(lines) + "\n"


def expect_features(watchlist: Watchlist, d_sae: int, where: str) -> None:
    """Raise CourseError unless the dictionary has every watched feature."""
    for one in watchlist.features:
        if one.feature >= d_sae:
            raise CourseError(f"{where}: feature {one.feature}, but {watchlist.sae} has 0 to {d_sae - 1}")


def _watched(said: Any, where: str) -> Watched:
    if not isinstance(said, dict):
        raise CourseError(f"{where} is no table: write [[feature]]")
    feature = _field(said, "feature", int, where)
    numbers = {
        name: float(_field(said, name, (int, float), where))
        for name in ("threshold", "rate", "low", "high", "highest")
    }
    one = Watched(feature, str(said.get("label", "")), **numbers, note=str(said.get("note", "")))
    if feature < 0:
        raise CourseError(f"{where}: feature = {feature} is below 0")
    if not 0 <= one.low <= one.rate <= one.high <= 1:
        raise CourseError(f"{where}: 0 ≤ low ≤ rate ≤ high ≤ 1 doesn't hold")
    if not (0 <= one.threshold < float("inf") and 0 < one.highest < float("inf")):
        raise CourseError(f"{where}: threshold is below 0, or highest is not above it")
    return one


def _field(said: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    if name not in said:
        raise CourseError(f"{where}: {name} is missing")
    value = said[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CourseError(f"{where}: {name} = {value!r} is of the wrong kind")
    return value


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
