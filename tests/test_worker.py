"""A submission's code in its own process: what it returns arrives, what it does stays there."""

import pytest
import torch

from autograder import proxy
from autograder.cells import read_source
from autograder.manifest import Exercise, Manifest
from autograder.proxy import Clock, Desk, Remote, Student
from autograder.room import RoomBroken
from autograder.submission import Source
from mechinterp_course.checking.comparison import expect_close
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.feature_cases import Dictionary
from mechinterp_course.checking.verdict import CheckFailed, NotWritten, StudentFault
from mechinterp_course.layout import PACKAGE
from mechinterp_course.models import load_language_model

GIVEN = """
import torch
from mechinterp_course import heads

def twice(function, x):
    return function(function(x))
"""
EXERCISE = Exercise(
    "induction_score", "", 1, 1, (), "heads.induction_score", ("induction_score",), 1, {}, "", (), ()
)
MANIFEST = Manifest("ch00_test", "", "", "", (GIVEN,), (EXERCISE,))

SUBMISSION = """
# %%
import os

def double(x):
    return x * 2

def first_pattern(model, tokens):
    return model.run_with_cache(tokens)[1]["blocks.0.attn.hook_pattern"]

def logits(model, images):
    return model(images)

def three_numbers(generator):
    return torch.randint(0, 1000, (3,), generator=generator)

def encoded(dictionary, x):
    return dictionary.encode(x)

def leave_a_hook(model):
    model.layer3[1].bn2.register_forward_hook(lambda module, inputs, output: 0 * output)

def train(model):
    model.train()

def know(model):
    return [name for name in vars(model) if "spec" in name or "order" in name or "seed" in name]

def needs_double(x):
    return double(x) + 1

def leave(status):
    os._exit(status)

def loop():
    while True:
        pass

def library_answer(pattern):
    return heads.induction_score(pattern, 3)

def read(path):
    with open(path) as file:
        return file.read()

def write(path):
    with open(path, "w") as file:
        file.write("x")

def allocate(size):
    return torch.zeros(size).sum()

def crash():
    import ctypes
    ctypes.string_at(0)

def shout(size):
    print("x" * size)
    return size

def connect():
    import socket
    socket.create_connection(("127.0.0.1", 80))

def spawn():
    import subprocess
    return subprocess.run(["true"]).returncode

def environment():
    return dict(os.environ)

def descriptors():
    found = []
    for handle in range(3, 64):
        try:
            os.fstat(handle)
            found.append(handle)
        except OSError:
            pass
    return len(found)

def change(x):
    x.add_(1)
    return x

class Counter:
    def __init__(self, start):
        self.count = start

    def up(self, by):
        self.count += by
        return self.count

def evaluate(text):
    return eval(text)

def complain():
    raise ValueError(f"{object()} in {heads.__file__}")

def lie():
    raise NotImplementedError("a custom text")

# %%
def broken(:
    return 1
# %%
while True:
    pass
def after_the_loop():
    return 1
# %%
def before_the_error():
    return 1
raise ValueError("on the top level")
# %%
def last():
    return 1
def last():
    return 2
last = None
"""


@pytest.fixture(scope="module")
def room(zygote):
    room = zygote.open_room(EXERCISE.withhold, ["heads", "models"])
    yield room
    room.close()


@pytest.fixture(scope="module")
def student(room):
    cells = read_source(Source("chapter.py", SUBMISSION.encode())).cells
    desk = Desk(room, MANIFEST, EXERCISE, cells, {}, "cpu", seconds_per_cell=3.0, seconds_per_call=3.0)
    student = Student(desk)
    student.begin(0)
    yield student
    student.close()


def test_tensors_go_and_come_by_value(student):
    x = torch.arange(3.0)
    assert torch.equal(student.double(x), 2 * x) and student.last.mutated == ()


def test_a_model_is_loaded_there_from_its_spec(student):
    model = load_language_model("course-positional", head_order=[[2, 0, 3, 1]])
    tokens = torch.arange(12)[None]
    _, cache = model.run_with_cache(tokens)
    torch.testing.assert_close(student.first_pattern(model, tokens), cache["blocks.0.attn.hook_pattern"])


def test_a_vision_model_with_moved_channels_is_loaded_there_and_does_not_tell_how_they_moved(student):
    model, images = Draw(5).vision_model(), Draw(6).images(2)
    torch.testing.assert_close(student.logits(model, images), model(images), rtol=1e-4, atol=1e-4)
    assert student.know(model) == []


def test_what_is_done_to_a_vision_model_there_is_seen_and_stays_there_until_the_next_check(student):
    model, images = Draw(5).vision_model(), Draw(6).images(2)
    student.train(model)
    assert student.last.training_changed
    student.leave_a_hook(model)
    assert student.last.hooks_left == 1
    assert not torch.allclose(student.logits(model, images), model(images), atol=0.1)
    student.begin(0)
    torch.testing.assert_close(student.logits(model, images), model(images), rtol=1e-4, atol=1e-4)


def test_a_generator_arrives_as_it_was_seeded(student):
    generator = torch.Generator().manual_seed(7)
    expected = torch.randint(0, 1000, (3,), generator=generator)
    assert student.three_numbers(generator).tolist() == expected.tolist()


def test_a_case_of_the_checking_library_is_made_there_from_its_parts(student):
    dictionary = Dictionary(*(torch.randn(*shape) for shape in ((4, 6), (6,), (6, 4), (4,))))
    x = torch.randn(3, 4)
    assert torch.allclose(student.encoded(dictionary, x), dictionary.encode(x))
    with pytest.raises(TypeError, match="can't pass a object"):
        student.encoded(object(), x)


def test_a_change_to_an_argument_is_reported_and_stays_there(student):
    x = torch.zeros(2)
    student.change(x)
    assert x.tolist() == [0, 0]
    assert student.last.mutated and student.last.aliased


FAULTS = {
    "crashed": lambda s: s.leave(0),
    "timeout": lambda s: s.loop(),
    "withheld": lambda s: s.library_answer(torch.rand(1, 1, 7, 7)),
    "memory": lambda s: s.allocate(10**11),
    "output": lambda s: s.shout(100_000_000),
    "raised": lambda s: s.double(),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_way_to_fail_has_its_kind_and_the_next_call_works(student, kind):
    with pytest.raises(StudentFault) as fault:
        FAULTS[kind](student)
    assert fault.value.kind == kind
    assert student.double(2) == 4


def test_a_segmentation_fault_costs_one_call(student):
    with pytest.raises(StudentFault, match="segmentation fault"):
        student.crash()
    assert student.double(2) == 4


def test_a_megabyte_of_print_costs_nothing(student):
    assert student.shout(1_000_000) == 1_000_000


def test_a_not_implemented_error_of_ones_own_is_an_error_not_a_stub(student):
    with pytest.raises(StudentFault) as fault:
        student.lie()
    assert fault.value.kind == "raised" and not isinstance(fault.value, NotWritten)


def test_an_error_names_the_line_of_the_students_code(student):
    with pytest.raises(StudentFault) as fault:
        student.read("/nonexistent/file")
    assert "with open(path) as file:" in fault.value.where


CELL_FAULTS = {
    "broken": "syntax_error",
    "after_the_loop": "timeout",
    "nowhere": "missing",
}


@pytest.mark.parametrize("name, kind", CELL_FAULTS.items())
def test_a_cell_that_fails_costs_what_it_defines(student, name, kind):
    with pytest.raises(StudentFault) as fault:
        getattr(student, name)()
    assert fault.value.kind == kind


def test_what_a_cell_defined_before_it_raised_is_kept(student):
    assert student.before_the_error() == 1


def test_the_last_definition_is_the_answer_whatever_is_assigned_later(student):
    assert student.last.__class__.__name__ == "Observation"  # `last` is the protocol's own word
    assert student.call({"k": "answer", "name": "last"}, (), {}, "last") == 2


def test_objects_stay_there_and_answer_by_reference(student):
    counter = student.Counter(3)
    assert isinstance(counter, Remote) and counter.up(2) == 5 and counter.count == 5
    for forbidden in (bool, lambda c: c == counter, hash):
        with pytest.raises(TypeError):
            forbidden(counter)


def test_a_kept_tensor_stays_there_until_it_is_fetched(student):
    kept = student.keep.double(torch.ones(2))
    assert isinstance(kept, Remote)
    assert student.double(kept).tolist() == [4, 4] and student.fetch(kept).tolist() == [2, 2]


def test_a_given_function_runs_beside_the_students(student):
    def twice(function, x): ...

    assert student.run(twice, student.double, torch.ones(1)).tolist() == [4]


def test_the_reference_can_stand_in_for_a_function_that_others_need(room):
    source = b"""
# %%
def previous_token_score(p):
    return 7
# %%
def uses_it(p):
    return previous_token_score(p)
"""
    cells = read_source(Source("chapter.py", source)).cells
    desk = Desk(room, MANIFEST, EXERCISE, cells, {}, "cpu", 3.0, 3.0)
    desk.substitute["previous_token_score"] = "heads.previous_token_score"
    student = Student(desk)
    pattern = torch.eye(4)[None, None]
    assert student.uses_it(pattern).tolist() == [0]
    student.close()


needs_t2 = pytest.mark.skipif(
    "not __import__('autograder.sandbox').sandbox.probe().strong", reason="no T2 here"
)

PRIVATE = {
    "the library's source": PACKAGE / "heads.py",
    "the grader's source": PACKAGE.parent / "autograder" / "grade.py",
    "the checks": PACKAGE.parent / "autograder" / "checks" / "ch03_induction_heads.py",
    "the password file": "/etc/passwd",
    "the process's memory map": "/proc/self/maps",
    "the process's first environment": "/proc/self/environ",
}


@needs_t2
@pytest.mark.parametrize("path", PRIVATE.values(), ids=PRIVATE)
def test_private_files_cannot_be_read(student, path):
    with pytest.raises(StudentFault, match=r"PermissionError|FileNotFoundError"):
        student.read(str(path))


FORBIDDEN = {"connect": (), "spawn": (), "write": ("/tmp/mechinterp_was_here",)}


@needs_t2
@pytest.mark.parametrize("name, arguments", FORBIDDEN.items())
def test_forbidden_deeds_fail(student, name, arguments):
    with pytest.raises(StudentFault, match="PermissionError"):
        getattr(student, name)(*arguments)


def test_nothing_is_inherited_but_the_channel_and_a_bare_environment(student):
    assert student.descriptors() == 1
    names = set(student.environment())
    assert names <= {
        "HOME",
        "TMPDIR",
        "MPLCONFIGDIR",
        "HF_HUB_OFFLINE",
        "OMP_NUM_THREADS",
        "MPLBACKEND",
        "LC_CTYPE",
    }


def test_generators_start_from_the_seed_of_the_check(room):
    cells = read_source(Source("chapter.py", b"# %%\ndef noise():\n    return torch.rand(3)\n")).cells
    draws = []
    for _ in range(2):
        student = Student(Desk(room, MANIFEST, EXERCISE, cells, {}, "cpu", 3.0, 3.0))
        student.begin(11)
        draws.append(student.noise())
        student.close()
    assert torch.equal(*draws)


def test_annotations_of_the_future_stay_unread(room):
    source = b"# %%\nfrom __future__ import annotations\n# %%\ndef f(x: NotDefinedAnywhere):\n    return x\n"
    student = Student(
        Desk(room, MANIFEST, EXERCISE, read_source(Source("a.py", source)).cells, {}, "cpu", 3.0, 3.0)
    )
    assert student.f(3) == 3
    student.close()


FORGED = {
    "a cell's message again": {"op": "cell", "index": 0},
    "a cell that isn't there": {"op": "cell", "index": -5},
    "ready with nonsense": {"op": "ready", "defined": 5},
    "a value": {"op": "value", "value": {"k": "plain", "v": 1}},
    "a fault of ours": {"op": "broken", "message": "x"},
    "nothing known": {},
}
FORGER = """
# %%
def f():
    return 1
# %%
import json, os, struct

def is_open(handle):
    try:
        return bool(os.fstat(handle))
    except OSError:
        return False

header = json.dumps({{"message": {message}, "buffers": []}}).encode()
handle = next(h for h in range(3, 64) if is_open(h))
os.write(handle, struct.pack("<IQ", len(header), 0) + header)
"""


@pytest.mark.parametrize("message", FORGED.values(), ids=FORGED)
def test_a_message_forged_while_cells_run_costs_its_cell_and_the_worker_goes_on(room, message):
    source = FORGER.format(message=message).encode()
    student = Student(
        Desk(room, MANIFEST, EXERCISE, read_source(Source("a.py", source)).cells, {}, "cpu", 3.0, 3.0)
    )
    assert student.f() == 1
    student.close()


def test_an_answer_passed_as_an_argument_has_the_fault_of_its_cell(room):
    def twice(function, x): ...

    source = b"# %%\ndef f(:\n    return 1\n"
    student = Student(
        Desk(room, MANIFEST, EXERCISE, read_source(Source("a.py", source)).cells, {}, "cpu", 3.0, 3.0)
    )
    with pytest.raises(NotWritten) as fault:
        student.run(twice, student.f, 1)
    assert fault.value.kind == "syntax_error"
    student.close()


def test_a_noisy_call_does_not_silence_the_next(student):
    with pytest.raises(StudentFault):
        student.shout(100_000_000)
    assert student.shout(1000) == 1000


def test_the_words_of_an_error_are_the_same_in_every_run(student):
    with pytest.raises(StudentFault) as fault:
        student.complain()
    assert " at 0x" not in fault.value.message and "room-" not in fault.value.message


def test_a_room_that_died_is_the_graders_error_and_ending_its_worker_twice_is_quiet(zygote):
    room = zygote.open_room((), ["heads"])
    cells = read_source(Source("a.py", b"# %%\ndef f():\n    return 1\n")).cells
    student = Student(Desk(room, MANIFEST, EXERCISE, cells, {}, "cpu", 3.0, 3.0))
    student.f()
    room.channel.close()
    with pytest.raises(RoomBroken):
        student.close()
    student.close()


def test_what_stayed_there_is_named_by_its_own_type(student):
    with pytest.raises(CheckFailed, match="got a Counter"):
        expect_close(student.Counter(3), torch.ones(2), dims="head")


def test_a_syntax_error_that_a_call_meets_is_an_error_of_the_call(student):
    with pytest.raises(StudentFault) as fault:
        student.evaluate("return 1")
    assert fault.value.kind == "raised" and not isinstance(fault.value, NotWritten)


def one_student(room, source: str, **options) -> Student:
    cells = read_source(Source("a.py", f"# %%\n{source}".encode())).cells
    return Student(Desk(room, MANIFEST, EXERCISE, cells, {}, "cpu", 10.0, 10.0, **options))


def test_an_exercise_has_so_much_time_in_all(room):
    slow = "import time\ndef nap():\n    time.sleep(0.4)\n    return 1\n"
    student = one_student(room, slow, clock=Clock(30.0))
    assert student.nap() == 1
    student._desk.clock.left = 0.2
    with pytest.raises(StudentFault, match="did not return within") as fault:
        student.nap()
    with pytest.raises(StudentFault, match="had used up its time") as again:
        student.nap()
    assert fault.value.kind == again.value.kind == "timeout"
    student.close()


def test_a_check_can_return_so_many_bytes_in_all(room, monkeypatch):
    monkeypatch.setattr(proxy, "MB_PER_CHECK", 1)
    student = one_student(room, "import torch\ndef large():\n    return torch.zeros(150_000)\n")
    student.begin(0)
    assert student.large().numel() == 150_000
    with pytest.raises(StudentFault, match="it returned more than 1 MB in one check") as fault:
        student.large()
    student.begin(0)
    assert fault.value.kind == "output" and student.large().numel() == 150_000
    student.close()


def test_a_cell_that_closes_its_output_harms_no_other(room):
    student = one_student(room, "import os\nos.close(1)\n# %%\ndef f():\n    return 1\n")
    assert student.f() == 1 and student._desk.deadly == {}
    student.close()


MESSAGES = {
    "a cell that is not to run": [{"op": "cell", "index": 7}],
    "a cell that has begun already": [{"op": "cell", "index": 0}],
    "ready too early": [{"op": "ready", "defined": ["f"]}],
    "a number without end": [{"op": "cell", "index": 10**40}],
    "another cell's failure": [{"op": "cell_failed", "index": 1, "kind": "not_written"}],
}
FORGING = """
import json, os, stat, struct
def forge(message):
    header = json.dumps({"message": message, "buffers": []}).encode()
    for handle in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(handle).st_mode):
                os.write(handle, struct.pack("<IQ", len(header), 0) + header)
        except OSError:
            pass
"""


@pytest.mark.parametrize("forged", MESSAGES.values(), ids=MESSAGES)
def test_a_forged_message_costs_the_cell_that_sent_it(room, forged):
    student = one_student(
        room, f"{FORGING}\nfor message in {forged!r}:\n    forge(message)\n# %%\ndef f():\n    return 1\n"
    )
    assert student.f() == 1
    assert set(student._desk.deadly) == {0} and student._desk.deadly[0].kind == "crashed"
    student.close()
