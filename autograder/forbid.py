"""Functions of other libraries that an exercise forbids: in its room they raise, under every name they have.

`forbid=["torch.nn.functional.cross_entropy"]` in a statement names functions, classes or whole modules. What
is forbidden is made to raise before any student's code runs, and its source file can't be read. Compiled
functions are replaced wherever a module holds them; one that is reachable in another way
(`torch.Tensor.softmax` beside `torch.softmax`) has to be listed too. What a library builds on it goes as well
(`einops.rearrange` calls `einops.reduce`). A copy that a student pastes isn't seen.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

REFUSAL = """
def refuse(*args, **kwargs):
    from mechinterp_course.errors import WithheldAnswer
    raise WithheldAnswer({message!r})
"""


def forbid(names: Iterable[str]) -> list[Path]:
    """Make everything of these dotted names raise in this process, and return the files of their source.

    Raises ImportError for a name that leads to nothing.
    """
    files = []
    for name in names:
        owner, attribute, value = _resolve(name)
        files += _files_of(value)
        if isinstance(value, ModuleType):
            replacement = ModuleType(name)
            replacement.__getattr__ = _refusal(name)
            sys.modules[name] = replacement
        else:
            replacement = _refusal(name)
            _empty(value, replacement)
        setattr(owner, attribute, replacement)
        for module in list(sys.modules.values()):
            _replace(getattr(module, "__dict__", {}), value, replacement)
    return files


def without(paths: Sequence[Path], files: Iterable[Path]) -> list[Path]:
    """Return paths that cover what `paths` cover but for `files`."""
    found = list(paths)
    for file in files:
        found = [part for path in found for part in _around(path, file)]
    return found


def _around(path: Path, file: Path) -> list[Path]:
    if path == file:
        return []
    if path not in file.parents:
        return [path]
    return [part for child in path.iterdir() for part in _around(child, file)]


def _resolve(name: str) -> tuple[Any, str, Any]:
    """Return what holds the thing of a dotted name, what it is called there, and the thing."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        owner = sys.modules.get(".".join(parts[: length - 1]))
        try:
            for part in parts[length:]:
                owner, found = found, getattr(found, part)
        except AttributeError:
            break
        return owner, parts[-1], found
    raise ImportError(f"`forbid` names {name}, which does not exist")


def _refusal(name: str) -> Callable:
    message = f"{name} is what this exercise asks you to do without, so it is not to be had here"
    namespace: dict[str, Any] = {}
    exec(REFUSAL.format(message=message), namespace)
    return namespace["refuse"]


def _empty(value: Any, refusal: Callable) -> None:
    """Put the refusal's code into a Python function, so that it is found wherever the function went."""
    while isinstance(value, FunctionType):
        inner = getattr(value, "__wrapped__", None)
        if not value.__closure__:
            value.__code__ = refusal.__code__
        value = inner


def _replace(names: dict[str, Any], value: Any, replacement: Any) -> None:
    for name, held in list(names.items()):
        if held is value:
            names[name] = replacement


def _files_of(value: Any) -> list[Path]:
    """Return the source of a thing, or of a package all of it, and what Python compiled of it."""
    try:
        source = Path(inspect.getsourcefile(value)).resolve()
    except TypeError:
        return []  # compiled code has no source
    if isinstance(value, ModuleType) and source.name == "__init__.py":
        return [source.parent]
    return [source, Path(importlib.util.cache_from_source(str(source)))]
