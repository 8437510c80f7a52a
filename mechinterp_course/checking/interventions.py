"""How what an answer's hooks do differs from what those of the reference do, in words."""

import re

from mechinterp_course.checking.hook_slips import AXES
from mechinterp_course.checking.hook_trace import ELSE

Edit = dict[str, object]
LAYER = re.compile(r"blocks\.(\d+)\.(.*)")
POINT, HOW = re.compile(r"[\w.]{0,80}"), re.compile(r"[\w .,{}+-]{0,160}")
AXES_OF_STREAM = ("batch", "pos", "d_model")


def differences(yours: list[Edit], right: list[Edit]) -> list[str]:
    """Return what is different in the changes that two calls made to the model's activations."""
    if not all(map(_is_sound, yours)):
        return []
    hooks, right_hooks = (sum(edit.get("hooks", 0) for edit in edits) for edits in (yours, right))
    if hooks and not right_hooks:
        return []  # the reference does it in another way
    yours, right = ([edit for edit in edits if edit["point"]] for edits in (yours, right))
    if not right:
        return ["Your hooks change activations, though none should be changed."] if yours else []
    if not yours:
        return (
            ["Your hooks leave every activation as it was: does each return what it made?"] if hooks else []
        )
    return _other_layers(yours, right) or _other_points(yours, right) or _same_points(yours, right)


def points_of(edits: list[Edit]) -> set[str]:
    """Return the hook points at which something was changed."""
    return {str(edit["point"]) for edit in edits if _is_sound(edit)} - {""}


def _is_sound(edit: object) -> bool:
    """Whether an edit is of the form in which `hook_trace` notes it: an answer can forge what comes back."""
    if not isinstance(edit, dict) or not {"point", "places", "sizes", "how"} <= edit.keys():
        return False
    names = POINT.fullmatch(str(edit["point"])) and POINT.fullmatch(_asked(edit))
    words = names and HOW.fullmatch(str(edit["how"]))
    numbers = [edit["sizes"], *edit["places"]] if isinstance(edit["places"], list) else [None]
    return bool(words) and all(
        isinstance(each, list) and all(type(n) is int for n in each) for each in numbers
    )


def _other_layers(yours: list[Edit], right: list[Edit]) -> list[str]:
    found, asked = (sorted({_layer(edit) for edit in edits}) for edits in (yours, right))
    if found == asked or -1 in found + asked:
        return []
    return [f"Your hooks change layer {_list(found)}, where it should be layer {_list(asked)}."]


def _other_points(yours: list[Edit], right: list[Edit]) -> list[str]:
    found, asked = ({_kind(edit): _asked(edit) for edit in edits} for edits in (yours, right))
    if found.keys() == asked.keys():
        return []
    return [f"Your hooks change {_names(found)}; what should change is {_names(asked)}."]


def _same_points(yours: list[Edit], right: list[Edit]) -> list[str]:
    by_point = {
        point: [edit for edit in right if edit["point"] == point] for point in {e["point"] for e in right}
    }
    for edit in yours:
        if edit["point"] not in by_point:
            return [f"Your hooks change {edit['point']}, which should stay."]
        known = [other for other in by_point[edit["point"]] if other["sizes"] == edit["sizes"]]
        if not known:
            continue  # of a run on other tokens
        if not any(_same_places(edit, other) for other in known):
            said = _other_places(edit, known[0])
            hows = {other["how"] for other in known}
            if len(hows) == 1 and (put := _other_values(edit, known[0])):
                said += put
            return said
    for edit in yours:
        same = [other for other in by_point[edit["point"]] if _same_places(edit, other)]
        if same and all(edit["how"] != other["how"] for other in same):
            return _other_values(edit, same[0]) or []
    return []


def _same_places(one: Edit, other: Edit) -> bool:
    return (one["places"], one["sizes"]) == (other["places"], other["sizes"])


def _other_places(edit: Edit, right: Edit) -> list[str]:
    axes = axes_of(edit)
    for axis, name in enumerate(axes):
        found, asked, size = edit["places"][axis], right["places"][axis], edit["sizes"][axis]
        if found != asked:
            yours, right = (_places(name, each, size) for each in (found, asked))
            return [f"Of {_short(edit)} you change {yours}, where it should be {right}."]
    return []


def _places(name: str, places: list[int], size: int) -> str:
    if len(places) == size:
        return f"every `{name}`"
    if len(places) == 1:
        return f"`{name}` {places[0]} only"
    if places == list(range(places[0], size)):
        return f"`{name}` {places[0]} to the last"
    if places == list(range(places[-1] + 1)):
        return f"the first {len(places)} of `{name}`"
    return f"`{name}` {_list(places)}" if len(places) <= 4 else f"{len(places)} places of `{name}`"


def _other_values(edit: Edit, right: Edit) -> list[str]:
    if edit["how"] == right["how"]:
        return []
    put, asked = (_worded(each) for each in (edit, right))
    if edit["how"] == ELSE:
        return (
            []
            if right["how"] == ELSE
            else [f"What you put in {_short(edit)} is not {asked}, as it should be."]
        )
    if right["how"] == ELSE:
        return [f"What you put in {_short(edit)} is {put}: it should be another value."]
    return [f"What you put in {_short(edit)} is {put}, where it should be {asked}."]


def _worded(edit: Edit) -> str:
    """Say how with the names of the axes: "its mean over `batch` and `pos`"."""
    axes = axes_of(edit)
    words = re.sub(r"\{(\d)\}", lambda found: f"`{axes[int(found[1])]}`", str(edit["how"]))
    return re.sub(r"along axis (\d)", lambda found: f"along `{axes[int(found[1])]}`", words)


def axes_of(edit: Edit) -> tuple[str, ...]:
    """Return the names of the axes at an edit's hook point, numbers where they are not known."""
    count = len(edit["sizes"])
    known = AXES.get(_asked(edit).rpartition(".")[2], AXES_OF_STREAM)
    return known if len(known) == count else tuple(f"axis {axis}" for axis in range(count))


def _layer(edit: Edit) -> int:
    found = LAYER.match(str(edit["point"]))
    return int(found[1]) if found else -1


def _kind(edit: Edit) -> str:
    found = LAYER.match(str(edit["point"]))
    return found[2] if found else str(edit["point"])


def _asked(edit: Edit) -> str:
    """Return the name by which a hook was set there; a point may have several."""
    return str(edit.get("asked", edit["point"]))


def _short(edit: Edit) -> str:
    return f"`{_asked(edit).rpartition('.')[2]}`"


def _names(points: dict[str, str]) -> str:
    names = {name.rpartition(".")[2] for name in points.values()}
    return " and ".join(f"`{name}`" for name in sorted(names)[:4])


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
