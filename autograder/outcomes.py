"""Exercises judged by what an answer achieves: no check compares it with the library's answer.

There two right answers differ, as two trained models do. So neither the library's answer nor a slip of it
tells what a wrong one does: looking for a slip would only take time, a whole training for each.
"""

import dis
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from types import CodeType, FunctionType

from autograder.manifest import Exercise, Manifest
from mechinterp_course.checking.slips import library_function

HELPERS = ("autograder.checks", "mechinterp_course.checking")


def judged_by_outcome(manifest: Manifest, exercise: Exercise) -> bool:
    """Return whether none of an exercise's checks, nor a helper of theirs, calls its reference."""
    checks = [manifest.check_function(check) for check in exercise.checks]
    return not any(_names(function, exercise.reference) for function in _reached(checks))


def _reached(functions: Iterable[Callable]) -> Iterator[FunctionType]:
    """Yield checks and the helpers that they name, each once."""
    left, seen = list(functions), set()
    while left:
        function = left.pop()
        if function in seen:
            continue
        seen.add(function)
        yield function
        named = (function.__globals__.get(name) for code in _codes(function) for name in code.co_names)
        left += [each for each in named if isinstance(each, FunctionType) and _helps(each)]


def _helps(function: FunctionType) -> bool:
    return function.__module__.startswith(HELPERS)


def _names(function: FunctionType, reference: str) -> bool:
    """Whether a function calls "heads.induction_score", by that or another name of its module, or bare."""
    right, known = library_function(reference), function.__globals__
    for code in _codes(function):
        said = [str(each.argval) for each in dis.get_instructions(code) if each.opname != "EXTENDED_ARG"]
        bare = (known.get(name) for name in said)
        of_modules = (getattr(known.get(module), name, None) for module, name in pairwise(said))
        if any(each is right for each in chain(bare, of_modules)):
            return True
    return False


def _codes(function: FunctionType) -> Iterator[CodeType]:
    """Yield the code of a function and of those inside it."""
    left = [function.__code__]
    while left:
        code = left.pop()
        yield code
        left += [each for each in code.co_consts if isinstance(each, CodeType)]
