"""Whether a function of the library that a student can call returns the answer of the exercise.

Every function, and class, that a room's modules hold is called there, beside the student's code, on arguments
that the checks pass to the exercise's function: all of them, then fewer, then in another order, as far as its
parameters allow. What is withheld raises; what returns the reference's result on every call gives it away.
Where arguments can't be sent there, or results compared, as a context manager's, each function stands in the
answer's place, and gives it away if it passes all checks.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, permutations

from autograder.certification.subject import Checks, Subject
from autograder.certification.trials import Bench, is_opaque, try_here
from autograder.codec import encode
from autograder.proxy import Student
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import alike
from mechinterp_course.checking.verdict import StudentFault

CALLS = 3  # argument lists on which a function must agree
ORDERS = 12  # ways in which arguments are chosen and ordered, for one function
LEAST_SECONDS = 0.5  # of computing for one call; at least as long as the checks take with the reference
TELLING = 2  # how many different results the calls must have for agreement to tell anything
CONFIRMING = 24  # further argument lists: a yes or a no is right by chance each second time

FINDER = '''
def find_library(wanted):
    """Return [module, name, fewest arguments, most] of all that is defined in these modules."""
    import importlib, inspect, pkgutil
    import mechinterp_course
    found = {}
    parts = pkgutil.walk_packages(mechinterp_course.__path__, "mechinterp_course.", onerror=lambda name: None)
    for part in parts:
        if part.name.partition(".")[2] not in wanted:
            continue
        try:
            module = importlib.import_module(part.name)
        except BaseException:
            continue
        for name, value in list(vars(module).items()):
            home = str(getattr(value, "__module__", ""))
            imported = home != part.name and (inspect.isfunction(value) or inspect.isclass(value))
            ours = home.startswith("mechinterp_course") and not imported
            if not name.startswith("__") and callable(value) and ours and id(value) not in found:
                try:
                    plain = [p for p in inspect.signature(value).parameters.values() if p.kind in (0, 1, 2)]
                except (TypeError, ValueError):
                    continue
                least = sum(p.default is p.empty and p.kind != 2 for p in plain)
                most = 9 if any(p.kind == 2 for p in plain) else len(plain)
                found[id(value)] = [part.name, name, least, most]
    return list(found.values())


def stop_call(number, frame):
    raise TimeoutError("it computes too long for an answer")


def call_library(module, name, places, seconds, *arguments):
    """Return what a function returns for the arguments at these places, if it does not compute too long."""
    import importlib, signal
    function = getattr(importlib.import_module(module), name)
    signal.signal(signal.SIGPROF, stop_call)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return function(*(arguments[place] for place in places))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
'''


@dataclass(frozen=True)
class Known:
    """Arguments of the exercise's function, and what the reference returns for them."""

    arguments: tuple
    result: object


def giveaways(bench: Bench, seed: int, modules: Sequence[str], orders: int = ORDERS) -> list[str]:
    """Return what gives the answer of this exercise away, as `module.name(arguments by place)`.

    Everything that a student can reach in these modules of the library is called, in so many ways each.
    """
    started = time.process_time()
    known = known_calls(bench.subject, bench.checks, seed)
    limit = max(LEAST_SECONDS, time.process_time() - started)
    with bench.student(FINDER) as student:
        student.begin(seed)
        functions = student.find_library(list(modules))
        if all(_can_be_repeated(student, each) for each in known):
            more = cache(lambda: known_calls(bench.subject, bench.checks, seed + 1, CONFIRMING))
            return _by_calls(student, functions, known, more, limit, orders)
    return _by_standing_in(bench, functions, seed)


def _by_calls(
    student: Student,
    functions: Sequence[list],
    known: list[Known],
    more: Callable[[], list[Known]],
    limit: float,
    orders: int,
) -> list[str]:
    """Return the functions that return the answer on every known call, and on more of them."""
    found = []
    for module, name, least, most in functions:
        for places in islice(_orders(len(known[0].arguments), least, most), orders):
            answers = _returns(student, (module, name), places, known, limit)
            if answers:
                answers = _returns(student, (module, name), places, more(), limit)
            if answers is not False:
                found += [_call(module, name, places)] if answers else []
                break
    return found


def _by_standing_in(bench: Bench, functions: Sequence[list], seed: int) -> list[str]:
    """Return the functions that pass all checks in the answer's place."""
    name, count = bench.subject.name, len(inspect.signature(bench.subject.reference()).parameters)

    def passes(module: str, function: str) -> bool:
        runs = bench.try_source(f"from {module} import {function} as {name}", seed)
        return all(run.verdict == "passed" for run in runs)

    fitting = [(module, function) for module, function, least, most in functions if least <= count <= most]
    return [_call(*each, tuple(range(count))) for each in fitting if passes(*each)]


def _can_be_repeated(student: Student, call: Known) -> bool:
    """Whether a call can be made in a room, where not every argument can arrive, and its result compared."""
    raw: list[bytes] = []
    try:
        encode(call.arguments, raw, lambda part: student.refer(part, raw))
    except TypeError:
        return False
    return not is_opaque(call.result)


def known_calls(subject: Subject, checks: Checks, seed: int, count: int = CALLS) -> list[Known]:
    """Return `count` calls that the checks make, with results that are not all alike, if any can differ."""
    calls: list[Known] = []
    names = subject.solved()
    names[subject.name] = _noting(subject.reference(), calls)
    while len(calls) < count or _count_different(calls) < TELLING:
        before = len(calls)
        for check in checks.functions:
            try_here(subject, checks, names, check, seed)
        if len(calls) == before:
            raise ValueError(f"no check of {subject.name} calls it")
        seed += 1
        if all(is_opaque(each.result) for each in calls):
            break
    first = [calls[0], *(each for each in calls if not alike(each.result, calls[0].result))]
    return [*first[:TELLING], *calls][:count]


def _noting(function, calls: list[Known]):
    def noting(*args: object, **kwargs: object) -> object:
        arguments = (*args, *kwargs.values())
        result = function(*args, **kwargs)
        calls.append(Known(arguments, LocalStudent({}).fetch(result)))
        return result

    return noting


def _count_different(calls: Sequence[Known]) -> int:
    return 1 + any(not alike(each.result, calls[0].result) for each in calls[1:]) if calls else 0


def _orders(count: int, least: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yield choices of arguments, by place: as they stand first, then fewer, then in other orders."""
    sizes = range(min(count, most), max(least, 1) - 1, -1)
    straight = [tuple(range(size)) for size in sizes]
    yield from straight
    for size in sizes:
        yield from (order for order in permutations(range(count), size) if order not in straight)


def _returns(
    student: Student, function: tuple[str, str], places: tuple[int, ...], known: list[Known], limit: float
) -> bool | None:
    """Return whether a function gives the answer on every call; None if it computes too long to tell."""
    for each in known:
        try:
            result = student.call_library(*function, list(places), limit, *each.arguments)
        except StudentFault as fault:
            return None if fault.kind == "timeout" or fault.exception == "TimeoutError" else False
        if not alike(result, each.result):
            return False
    return True


def _call(module: str, name: str, places: tuple[int, ...]) -> str:
    return f"{module.removeprefix('mechinterp_course.')}.{name}({', '.join(map(str, places))})"
