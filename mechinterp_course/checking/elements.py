"""Why a list, a set, a number or a string is not the expected one: which elements, order or index."""

import math
from collections import Counter

from mechinterp_course.checking.verdict import Diagnosis

PAIR_PARTS = {"heads": ("layer", "head")}
RTOL, ATOL = 1.3e-6, 1e-5  # as for float32 tensors
LONGEST_LIST = 6


def explain_elements(actual: object, expected: object, what: str = "elements") -> Diagnosis | None:
    """Return why `actual` is not `expected`, None if they are equal.

    Lists and tuples count as the same; True is not 1, 1.0 is not 1; floats agree up to float32 rounding.
    """
    if same(actual, expected):
        return None
    if family(actual) != family(expected):
        return _wrong_type(actual, expected)
    kind, message = "wrong_value", "The value differs from the expected one."
    if isinstance(expected, tuple):
        kind, message = _explain_places(list(actual), list(expected), what)
    elif isinstance(expected, list | set | frozenset):
        kind, message = _explain_collection(list(actual), list(expected), what, isinstance(expected, list))
    elif isinstance(expected, dict):
        kind, message = _explain_dict(actual, expected, what)
    return Diagnosis(kind, message, expected=shortened(expected), actual=shortened(actual))


def same(actual: object, expected: object) -> bool:
    """Whether two plain values are equal, container by container."""
    if family(actual) != family(expected):
        return False
    if isinstance(expected, float):
        return math.isclose(actual, expected, rel_tol=RTOL, abs_tol=ATOL)
    if isinstance(expected, list | tuple):
        return len(actual) == len(expected) and all(map(same, actual, expected))
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(same(actual[key], expected[key]) for key in expected)
    return family(expected) is not None and bool(actual == expected)


def family(value: object) -> str | None:
    """Return what kind of plain value this is, None for anything else; lists and tuples are one kind."""
    if value is None:
        return "None"
    for name, types in (
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("str", str),
        ("list", list | tuple),
        ("set", set | frozenset),
        ("dict", dict),
    ):
        if isinstance(value, types):
            return name
    return None


def _wrong_type(actual: object, expected: object) -> Diagnosis:
    asked, found = family(expected), family(actual) or type(actual).__name__
    advice = ""
    if found == "Tensor":
        advice = " `.tolist()` or `.item()` turns a tensor into plain numbers."
    elif actual is None:
        advice = " Is a `return` missing?"
    message = f"Expected {_counted(asked)}, got {_counted(found)}.{advice}"
    return Diagnosis("wrong_type", message, expected=shortened(expected), actual=shortened(actual))


def _counted(name: str) -> str:
    if name == "None":
        return name
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _explain_collection(actual: list, expected: list, what: str, ordered: bool) -> tuple[str, str]:
    found, asked = [_key(each) for each in actual], [_key(each) for each in expected]
    if {family(each) for each in expected} == {"bool"} == {family(each) for each in actual}:
        return _explain_verdicts(actual, expected, what)
    if Counter(found) == Counter(asked) and ordered:
        return _explain_order(actual, expected, what)
    if odd := _odd_one(actual, expected):
        return odd
    if ordered and _by_place(expected):
        return _explain_places(actual, expected, what)
    parts = PAIR_PARTS.get(what, ("first number", "second number"))
    return (
        _swapped_pairs(found, asked, parts)
        or _shifted_index(actual, expected, what, parts)
        or _missing_and_extra(actual, expected, what)
    )


def _explain_verdicts(actual: list[bool], expected: list[bool], what: str) -> tuple[str, str]:
    """Truth values are told apart by their places; their order means nothing."""
    kind, message = _explain_places(actual, expected, what)
    if len(actual) == len(expected) and {True, False} == set(expected):
        if all(found != asked for found, asked in zip(actual, expected, strict=True)):
            return kind, f"Every one of the {len(expected)} {what} is the opposite of the expected one."
        if len(set(actual)) == 1:
            message += f" Every one of yours is {actual[0]}."
    return kind, message


def _key(value: object) -> tuple:
    """A hashable stand-in in which True is not 1, lists are tuples and floats are rounded."""
    kind = family(value)
    if kind == "list":
        return (kind, *map(_key, value))
    if kind == "float":
        return kind, f"{value:.3g}"
    return (kind, value) if kind in ("bool", "int", "str", "None") else (kind, repr(value))


def _explain_order(actual: list, expected: list, what: str) -> tuple[str, str]:
    found, asked = [_key(each) for each in actual], [_key(each) for each in expected]
    if found == asked:
        return _explain_places(actual, expected, what)
    if found[::-1] == asked:
        return "reversed", f"The right {what}, in reverse order."
    place = next(i for i, pair in enumerate(zip(found, asked, strict=True)) if pair[0] != pair[1])
    return "order", f"The right {what}, but in another order: they first differ at entry {place}."


def _by_place(expected: list) -> bool:
    """Whether elements mean something by their place only: truth values, measures, or one value repeated."""
    return any(family(each) in ("bool", "float") for each in expected) or (
        len(set(map(_key, expected))) < len(expected)
    )


def _explain_places(actual: list, expected: list, what: str) -> tuple[str, str]:
    if len(actual) != len(expected):
        return "wrong_value", f"Expected {len(expected)} {what}, got {len(actual)}."
    wrong = [place for place, pair in enumerate(zip(actual, expected, strict=True)) if not same(*pair)]
    place = wrong[0]
    if what == "sizes" and sorted(actual) == sorted(expected):
        return "axes_swapped", f"The right sizes in another order: {tuple(actual)}, not {tuple(expected)}."
    message = f"{len(wrong)} of {len(expected)} {what} are wrong; the first is entry {place}: "
    return "wrong_value", f"{message}expected {shortened(expected[place])}, got {shortened(actual[place])}."


def _odd_one(actual: list, expected: list) -> tuple[str, str] | None:
    kinds = {_kinds(each) for each in expected}
    for each in actual:
        if kinds and _kinds(each) not in kinds:
            advice = " Turn tensors into numbers with `.item()`." if "Tensor" in str(_kinds(each)) else ""
            return "wrong_type", f"{shortened(each)} is not of the form of {shortened(expected[0])}.{advice}"
    return None


def _kinds(value: object) -> object:
    kind = family(value)
    return tuple(map(_kinds, value)) if kind == "list" else kind or type(value).__name__


def _swapped_pairs(found: list[tuple], asked: list[tuple], parts: tuple[str, str]) -> tuple[str, str] | None:
    if not all(len(key) == 3 and key[0] == "list" for key in found + asked):
        return None
    if Counter((kind, second, first) for kind, first, second in found) != Counter(asked):
        return None
    first, second = parts
    return "pair_swapped", f"Pairs are ({second}, {first}) where ({first}, {second}) was asked."


def _shifted_index(actual: list, expected: list, what: str, parts: tuple[str, str]) -> tuple[str, str] | None:
    if len(actual) != len(expected) or len(actual) < 2:
        return None
    if _kinds(actual[0]) == "int":
        actual, expected, parts = [(each,) for each in actual], [(each,) for each in expected], (what,)
    if any(_kinds(each) != ("int",) * len(parts) for each in actual):
        return None
    for step, size in ((1, "small"), (-1, "large")):
        for places in [*((place,) for place in range(len(parts))), tuple(range(len(parts)))]:
            moved = [
                tuple(value + step * (place in places) for place, value in enumerate(each)) for each in actual
            ]
            if Counter(moved) == Counter(map(tuple, expected)):
                which = " and every ".join(parts[place] for place in places)
                subject = f"Every {which} is" if len(parts) > 1 else f"All {which} are"
                return "off_by_one", f"{subject} too {size} by 1."
    return None


def _missing_and_extra(actual: list, expected: list, what: str) -> tuple[str, str]:
    originals = {_key(each): each for each in [*actual, *expected]}
    found, asked = Counter(map(_key, actual)), Counter(map(_key, expected))
    if found.keys() == asked.keys():
        key = next(key for key in found if found[key] != asked[key])
        return "duplicates", f"{originals[key]} occurs {found[key]} times, expected {asked[key]}."
    missing = [originals[key] for key in asked if key not in found]
    extra = [originals[key] for key in found if key not in asked]
    said = []
    if missing:
        said.append(f"Missing {what}: {shortened(missing)[1:-1]}.{_missing_groups(missing, expected, what)}")
    if extra:
        said.append(f"{what.capitalize()} that should not be there: {shortened(extra)[1:-1]}.")
    kind = "missing_and_extra" if missing and extra else "missing_elements" if missing else "extra_elements"
    return kind, " ".join(said)


def _missing_groups(missing: list, expected: list, what: str) -> str:
    """Say of which values of the first part all pairs are missing, if that is all that is missing."""
    if what not in PAIR_PARTS or not all(_kinds(each) == ("int", "int") for each in expected):
        return ""
    groups = {each[0] for each in missing}
    if len(missing) < 3 or {each for each in map(tuple, expected) if each[0] in groups} != set(
        map(tuple, missing)
    ):
        return ""
    name = PAIR_PARTS[what][0]
    return f" That is all of {name} {', '.join(map(str, sorted(groups)))}."


def _explain_dict(actual: dict, expected: dict, what: str) -> tuple[str, str]:
    if actual.keys() != expected.keys():
        return _missing_and_extra(list(actual), list(expected), f"keys of {what}")
    key = next(key for key in expected if not same(actual[key], expected[key]))
    return (
        "wrong_value",
        f"The value at {key!r} is {shortened(actual[key])}, expected {shortened(expected[key])}.",
    )


def shortened(value: object, limit: int = 80) -> str:
    """Return a value as Python writes it, floats with seven digits, cut to `limit` characters."""
    value = _rounded(value)
    text = repr(value)
    if isinstance(value, list):
        begun = (_beginning(value, count) for count in range(min(len(value), LONGEST_LIST), 0, -1))
        text = next((each for each in begun if len(each) <= limit), text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _beginning(value: list, count: int) -> str:
    """Return the first elements of a list as text, and how many more there are."""
    if count == len(value):
        return repr(value)
    return f"[{', '.join(map(repr, value[:count]))}, … {len(value) - count} more]"


def _rounded(value: object) -> object:
    """Return a plain value with its floats as exact as float32 is: two that are not `same` still differ."""
    if type(value) is float:
        return float(f"{value:.7g}")
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(_rounded, value))
    if type(value) is dict:
        return {key: _rounded(each) for key, each in value.items()}
    return value
