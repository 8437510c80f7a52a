"""What a learner sees in a notebook: one line or one short block, and what happens around each call."""

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch import nn

from mechinterp_course.checking import recognition, run_check
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import CheckFailed, NotWritten, StudentFault

CHECK = '''
import torch
from mechinterp_course.checking import expect_close, run_check

def check_counts_queries(student, draw):
    """attention_received sums the attention that
    each key gets"""
    for pattern in draw.attention_patterns():
        expect_close(student.attention_received(pattern), pattern.sum(-2), dims="batch head key")
'''
RIGHT = "def attention_received(pattern):\n    return pattern.sum(dim=-2)\n"
WRONG = "def attention_received(pattern):\n    return -pattern.sum(dim=-2)\n"
STUB = """
def attention_received(pattern):
    raise NotImplementedError("attention_received is not written yet")
"""
BROKEN = "def attention_received(pattern):\n    return pattern.sums(dim=-2)\n"


def run_with(answer: str):
    namespace = {"__name__": "chapter"}
    exec(CHECK + answer, namespace)
    return run_check(namespace["check_counts_queries"])


def test_a_claim_that_holds_is_printed_on_one_line_and_nothing_returned(capsys):
    assert run_with(RIGHT) is None
    printed = capsys.readouterr()
    assert printed.out == "✓ attention_received sums the attention that each key gets\n"
    assert printed.err == ""


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (WRONG, "sign", "The sign is the opposite everywhere."),
        (STUB, "not_written", "attention_received is not written yet"),
        ("", "missing", "`attention_received` is missing: has its cell been run?"),
        (BROKEN, "raised", "AttributeError: 'Tensor' object has no attribute 'sums'"),
        ("def attention_received(x):\n    raise SystemExit", "raised", "SystemExit"),
        ("def attention_received():\n    return 1", "raised", "TypeError"),
    ],
    ids=["wrong", "stub", "missing", "broken", "exits", "other signature"],
)
def test_a_claim_that_does_not_hold_raises_with_the_reason(answer, kind, words):
    with pytest.raises(CheckFailed) as failure:
        run_with(answer)
    assert failure.value.diagnosis.kind == kind
    assert words in str(failure.value)
    assert str(failure.value).startswith("✗ attention_received sums the attention that each key gets\n")


def test_another_seed_draws_other_inputs():
    namespace = {"__name__": "chapter", "seen": []}
    exec(
        CHECK + "def attention_received(pattern):\n    seen.append(pattern)\n    return pattern.sum(-2)\n",
        namespace,
    )
    for seed in (0, 0, 1):
        run_check(namespace["check_counts_queries"], seed=seed)
    first, again, other = namespace["seen"][0], namespace["seen"][3], namespace["seen"][6]
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_known_mistake_is_named_where_the_solutions_are_installed(tmp_path, monkeypatch):
    chapter = tmp_path / "solutions" / "ch99_demo"
    chapter.mkdir(parents=True)
    (chapter / "mistakes.py").write_text(
        "def attention_received__by_query(pattern):\n"
        '    """The sum runs over keys: every query gives away exactly one."""\n'
        "    return pattern.sum(dim=-1)\n"
    )
    monkeypatch.setattr(recognition, "course_root", lambda: tmp_path)
    with pytest.raises(CheckFailed) as failure:
        run_with("def attention_received(pattern):\n    return torch.einsum('bhqk->bhq', pattern)\n")
    assert failure.value.diagnosis.mistake == "by_query"
    assert "every query gives away exactly one" in str(failure.value)
    assert "by query" in str(failure.value).splitlines()[-1]


def test_a_notebook_shows_the_block_without_a_traceback():
    cells = [CHECK + source + "\nrun_check(check_counts_queries)" for source in (RIGHT, WRONG, STUB)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    right, wrong, stub = (cell.outputs for cell in notebook.cells)
    assert [(output.output_type, output.get("name")) for output in right] == [("stream", "stdout")]
    assert [output.output_type for output in wrong + stub] == ["error", "error"]
    shown = "\n".join(wrong[0].traceback)
    assert shown.splitlines()[1] == "  The sign is the opposite everywhere."
    assert "Traceback" not in shown
    assert "run_check" not in shown
    assert stub[0].traceback[1] == "  attention_received is not written yet"


def spoil(pattern, scores):
    pattern[0] = 0
    return scores


def test_arguments_are_copied_and_what_a_call_changes_is_observed():
    student = LocalStudent({"spoil": spoil})
    pattern, scores = torch.ones(2, 2), torch.ones(3)
    result = student.spoil(pattern, scores=scores)
    assert student.last.mutated == ("pattern",)
    assert student.last.aliased == ("scores",)
    assert torch.equal(pattern, torch.ones(2, 2))
    result[0] = 5
    assert torch.equal(scores, torch.ones(3))


def test_a_pure_call_is_observed_as_pure():
    student = LocalStudent({"double": lambda values, options: [2 * each for each in values]})
    student.double([torch.ones(2), torch.tensor(torch.nan)], {"a": [1]})
    assert student.last == type(student.last)()


def leave_a_hook(model):
    model[0].register_forward_hook(lambda *_: None)
    model[1].register_forward_pre_hook(lambda *_: None)
    model.train()


def test_hooks_that_transformers_keeps_for_itself_are_not_counted():
    def of_a_library(*_):
        return None

    of_a_library.__module__ = "transformers.utils.output_capturing"
    model = nn.Sequential(nn.Linear(2, 2))
    student = LocalStudent({"warm_up": lambda model: model[0].register_forward_hook(of_a_library) and None})
    student.warm_up(model)
    assert student.last.hooks_left == 0


def test_hooks_and_training_flags_left_on_a_model_are_observed():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    student = LocalStudent({"leave_a_hook": leave_a_hook, "look": lambda model: model(torch.ones(2))})
    student.leave_a_hook(model)
    assert (student.last.hooks_left, student.last.training_changed) == (2, True)
    student.look(model)
    assert (student.last.hooks_left, student.last.training_changed) == (0, False)


def test_a_students_function_can_be_an_argument_of_a_given_one():
    def apply_twice(function, value):
        return function(function(value))

    student = LocalStudent({"double": lambda value: 2 * value})
    assert student.run(apply_twice, student.double, 3) == 12
    assert student.transcript == [("apply_twice", 12)]


def test_the_transcript_keeps_results_and_faults():
    student = LocalStudent({"half": lambda value: value / 2, "fails": lambda: {}["x"]})
    student.half(3)
    with pytest.raises(StudentFault) as fault:
        student.fails()
    with pytest.raises(NotWritten):
        student.absent()
    names, results = zip(*student.transcript, strict=True)
    assert names == ("half", "fails", "absent")
    assert results[0] == 1.5
    assert (fault.value.exception, fault.value.message) == ("KeyError", "KeyError: 'x'")
    assert results[1] is fault.value
    assert results[2].kind == "missing"


def test_a_fault_names_the_innermost_line_of_the_students_own_code():
    source = (
        "import torch\ndef inner(x):\n    return x\ndef outer(x):\n    y = inner(x)\n    return torch.cat(y)"
    )
    namespace = {}
    exec(compile(source, "answer.py", "exec"), namespace)
    with pytest.raises(StudentFault) as fault:
        LocalStudent(namespace).outer(1)
    assert fault.value.where == "outer, line 6"


def test_another_answer_can_stand_in_for_one_name():
    student = LocalStudent({"score": lambda: 1, "other": lambda: 2})
    changed = student.with_answer("score", lambda: 10)
    assert (changed.score(), changed.other(), student.score()) == (10, 2, 1)
