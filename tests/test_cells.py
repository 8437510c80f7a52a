"""A chapter's file falls into cells that fail alone."""

import json

import pytest

from autograder.cells import read_source
from autograder.submission import Source, Unreadable


def script(text: str):
    return read_source(Source("chapter.py", text.encode()))


def notebook(*cells: dict, **metadata):
    content = {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return read_source(Source("chapter.ipynb", json.dumps(content).encode()))


def code(source, **metadata):
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": []}


def test_cells_of_the_percent_format_are_split_and_prose_is_left_out():
    reading = script('# %% [markdown]\nr"""\ntext\n"""\n# %%\ndef f(): return 1\n# %%\ndef g(): return 2\n')
    assert [sorted(cell.defines) for cell in reading.cells] == [["f"], ["g"]]


def test_a_cell_that_does_not_parse_costs_only_what_it_defines():
    reading = script("# %%\ndef f(): return 1\n# %%\ndef g(: return 2\n# %%\ndef h(): return 3\n")
    assert [cell.fault is None for cell in reading.cells] == [True, False, True]
    assert reading.cells[1].mentions == {"g"} and "line 4" in reading.cells[1].fault.where


def test_an_unclosed_string_ends_with_its_cell():
    reading = script('# %%\ndef f():\n    """never closed\n# %%\ndef g(): return 2\n')
    assert reading.cells[0].fault.kind == "syntax_error" and reading.cells[1].defines == {"g"}


def test_a_plain_file_that_does_not_parse_is_cut_before_each_definition():
    reading = script(
        "import torch\n\ndef f():\n    return 1\n\n@torch.no_grad()\n"
        "def g():\n    return (\n\ndef h():\n    return 3\n"
    )
    assert {name for cell in reading.cells if not cell.fault for name in cell.defines} == {"f", "h"}
    assert {name for cell in reading.cells if cell.fault for name in cell.mentions} == {"g"}


def test_line_numbers_are_those_of_the_file():
    reading = script("# a header\n# %%\nx = 1\n# %%\ndef f():\n    return 2\n")
    assert reading.cells[-1].source.splitlines().index("def f():") == 4


@pytest.mark.parametrize("tag", ["check", "demo", "given", "predict"])
def test_cells_that_are_not_the_students_are_left_out(tag):
    assert script(f'# %% tags=["{tag}"]\ndef f(): return 1\n').cells == ()
    assert notebook(code("def f(): return 1", tags=[tag])).cells == ()


def test_magics_and_shell_lines_are_removed():
    reading = notebook(code("%load_ext autoreload\n!ls\ndef f(x):\n    return x % 3\n?f"))
    assert reading.cells[0].fault is None and "x % 3" in reading.cells[0].source


def test_a_cell_magic_does_not_hide_a_definition():
    assert notebook(code("%%time\ndef f():\n    return 1")).cells[0].defines == {"f"}


STUBS = {
    "stub": ('def f(x):\n    """Doc."""\n    raise NotImplementedError("f is not written yet")', True),
    "stub without docstring": ("def f(x):\n    raise NotImplementedError", True),
    "written": ("def f(x):\n    return x", False),
    "partly written": ('def f(x):\n    y = x\n    raise NotImplementedError("f is not written yet")', False),
    "class of stubs": ("class f:\n    def g(self):\n        raise NotImplementedError('no')", True),
    "class partly written": (
        "class f:\n    def g(self):\n        raise NotImplementedError\n    def h(self): return 1",
        False,
    ),
}


@pytest.mark.parametrize("source, stub", STUBS.values(), ids=STUBS)
def test_an_untouched_stub_is_told_from_an_attempt(source, stub):
    assert (script(source).cells[0].stubs == {"f"}) is stub


def test_a_notebook_names_its_chapter_and_version():
    reading = notebook(code("x = 1"), mechinterp_course={"chapter": "ch03_x", "version": "abc"})
    assert (reading.chapter, reading.version) == ("ch03_x", "abc")


def test_a_script_names_its_chapter_and_version_in_its_header():
    header = '# ---\n#   mechinterp_course: {"chapter": "ch03_x", "version": "abc"}\n# ---\n# %%\nx = 1\n'
    assert (script(header).chapter, script(header).version) == ("ch03_x", "abc")
    assert script(header.replace("{", "{{")).chapter is None


UNREADABLE = {
    "not JSON": b"{",
    "a list": b"[]",
    "no cells": b"{}",
    "cells not a list": b'{"cells": 3}',
    "bytes that aren't text": b"\xff\xfe\x00",
    "null bytes": b"a\0b",
    "nested too deep": b"[" * 200_000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_a_broken_notebook_is_unreadable_in_one_line(data):
    with pytest.raises(Unreadable) as error:
        read_source(Source("chapter.ipynb", data))
    assert "\n" not in str(error.value)


ODD_CELLS = [
    None,
    3,
    {"cell_type": "code"},
    {"cell_type": "code", "source": 5},
    code("x = 1", tags="demo"),
    {"cell_type": "code", "source": "y = 2", "metadata": None},
]


def test_odd_cells_never_stop_the_reading():
    reading = notebook(*ODD_CELLS, code("def f(): return 1"))
    assert any("f" in cell.defines for cell in reading.cells)


def test_metadata_of_any_kind_never_stops_the_reading():
    assert notebook({**code("x = 1"), "metadata": "text"}, code("def f(): return 1")).cells[1].defines == {
        "f"
    }
    assert script("# %% tags=[" + "[" * 100_000 + "]\ndef f(): return 1\n").cells[0].defines == {"f"}


def test_an_endless_expression_in_a_raise_is_no_stub_and_no_error():
    deep = "x" + ".a" * 1500
    assert script(f"def f():\n    raise NotImplementedError({deep})\n").cells[0].mentions == {"f"}


def test_a_plain_file_is_cut_around_its_definitions_so_that_a_loop_between_them_costs_none():
    reading = script("def f():\n    return 1\n\nwhile True:\n    pass\n\n@property\ndef g():\n    return 2\n")
    assert [sorted(cell.defines) for cell in reading.cells] == [["f"], [], ["g"]]


TOO_MUCH = {
    "cells": "# %%\nx = 1\n" * 20_001,
    "code in one cell": "x = 1\n" * 600_000,
    "code that grows as JSON": "# %%\nx = '" + "\U0001f600" * 300_000 + "'\n",
}


@pytest.mark.parametrize("text", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_code_is_unreadable(text):
    with pytest.raises(Unreadable, match="more than"):
        script(text)


def test_ten_thousand_cells_take_no_more_room_than_their_text():
    text = "".join(f"# %%\ndef f{number}():\n    return {number}\n" for number in range(10_000))
    reading = script(text)
    assert len(reading.cells) == 10_000 and sum(len(cell.source) for cell in reading.cells) <= len(text)
    assert reading.cells[-1].label == "code cell 10001"  # the first is what stands before the first marker


def test_utf_16_is_read_where_it_says_so():
    reading = read_source(Source("wide.py", "# %%\ndef f(): return 'é'\n".encode("utf-16")))
    assert reading.cells[0].defines == {"f"}


MAGICS = {
    "a percent that continues a line": "%matplotlib inline\ndef f(a, b):\n    return (a\n    % b)",
    "a question": "def f():\n    return 1\nf?",
    "a shell line that is assigned": "names = !ls\ndef f():\n    return 1",
    "a shell line in a block": "if True:\n    x = 1\n    !ls\ndef f():\n    return 1",
}


@pytest.mark.parametrize("source", MAGICS.values(), ids=MAGICS)
def test_what_only_notebooks_understand_costs_nothing(source):
    assert notebook(code(source)).cells[0].defines == {"f"}
