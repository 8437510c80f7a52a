"""What an exercise forbids raises under every name, cannot be read again, and leaves the rest usable."""

from pathlib import Path

import pytest
import torch

from autograder.cells import read_source
from autograder.forbid import without
from autograder.manifest import Exercise, Manifest
from autograder.proxy import Desk, Student
from autograder.room import RoomBroken
from autograder.sandbox import probe
from autograder.submission import Source
from mechinterp_course.checking.verdict import StudentFault

FORBIDDEN = (
    "einops.reduce",
    "torch.nn.functional.cross_entropy",
    "torch.cumsum",
    "transformer_lens.head_detector",
)
EXERCISE = Exercise("f", "", 1, 1, (), "heads.induction_score", (), 1, {}, "", (), (), FORBIDDEN)
SUBMISSION = b"""
# %%
import importlib, sys
import einops, torch
from pathlib import Path

def by_name(x):
    return einops.reduce(x, "a b -> b", "mean")

def by_alias(x):
    from einops import reduce as helper
    return helper(x, "a b -> b", "mean")

def by_its_own_module(x):
    return sys.modules["einops.einops"].reduce(x, "a b -> b", "mean")

def by_another_module(x):
    return sys.modules["mechinterp_course.heads"].reduce(x, "a b -> b", "mean")

def by_what_builds_on_it(x):
    return einops.rearrange(x, "a b -> b a")

def by_full_path(x):
    return torch.nn.functional.cross_entropy(x, torch.zeros(2, dtype=torch.long))

def by_layer(x):
    return torch.nn.CrossEntropyLoss()(x, torch.zeros(2, dtype=torch.long))

def compiled(x):
    return torch.cumsum(x, 0)

def a_module(x):
    from transformer_lens import head_detector
    return head_detector.detect_head(x)

def read_again(x):
    folder = importlib.util.find_spec("einops").submodule_search_locations[0]
    return exec(Path(folder, "einops.py").read_text())

def imported_again(x):
    for name in list(sys.modules):
        if name.startswith("einops"):
            del sys.modules[name]
    return importlib.import_module("einops").reduce(x, "a b -> b", "mean")

def others(x):
    return einops.parse_shape(x, "a b"), torch.nn.functional.softmax(x, -1), x.sum(0)
"""


@pytest.fixture(scope="module")
def student(zygote):
    room = zygote.open_room((), ["heads"], FORBIDDEN)
    cells = read_source(Source("chapter.py", SUBMISSION)).cells
    manifest = Manifest("ch00_test", "", "", "", (), (EXERCISE,))
    student = Student(Desk(room, manifest, EXERCISE, cells, {}, "cpu", 10.0, 10.0))
    student.begin(0)
    yield student
    student.close()
    room.close()


WAYS = (
    *(
        "by_name",
        "by_alias",
        "by_its_own_module",
        "by_another_module",
        "by_what_builds_on_it",
        "by_full_path",
    ),
    *("by_layer", "compiled", "a_module"),
)


def test_the_rest_of_a_library_stays_usable(student):
    x = torch.arange(6.0).view(2, 3)
    shape, soft, summed = student.others(x)
    assert shape == {"a": 2, "b": 3} and torch.equal(soft, x.softmax(-1)) and torch.equal(summed, x.sum(0))


@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_function_raises_under_every_name(student, way):
    with pytest.raises(StudentFault, match="is what this exercise asks you to do without") as fault:
        getattr(student, way)(torch.ones(2, 2))
    assert fault.value.kind == "withheld"


@pytest.mark.skipif(not probe().strong, reason="files are kept from a worker at tier T2 only")
@pytest.mark.parametrize("way", ["read_again", "imported_again"])
def test_a_forbidden_function_cannot_be_read_from_disk_again(student, way):
    with pytest.raises(
        StudentFault, match=r"PermissionError|ImportError|ModuleNotFoundError|FileNotFoundError"
    ):
        getattr(student, way)(torch.ones(2, 2))


def test_a_name_that_leads_to_nothing_is_the_graders_error_and_says_so(zygote):
    with pytest.raises(RoomBroken, match=r"`forbid` names torch\.no_such_thing, which does not exist"):
        zygote.open_room((), ["heads"], ["torch.no_such_thing"])


def test_a_file_is_left_out_of_what_may_be_read(tmp_path):
    for name in ("a/x.py", "a/y.py", "b/z.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = without([tmp_path, Path("/elsewhere")], [tmp_path / "a" / "x.py"])
    assert sorted(found) == sorted([Path("/elsewhere"), tmp_path / "a" / "y.py", tmp_path / "b"])
