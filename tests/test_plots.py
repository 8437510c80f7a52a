"""Pictures that the chapters draw: each takes plain data and returns a Figure that shows all of it."""

import torch

from mechinterp_course.plots import plot_by_position, plot_lines


def test_lines_and_those_beside_them_are_drawn_in_one_colour():
    figure = plot_lines({"a": [0, 1], "b": [1, 0]}, [0, 1], "x", "y", beside={"a": [[0.2, 0.3], [0.4, 0.1]]})
    first, *beside, second, zero = figure.axes[0].lines
    assert {line.get_color() for line in beside} == {first.get_color()} != {second.get_color()}
    assert len(beside) == 2 and zero.get_ydata() == [0, 0]


def test_a_map_by_position_names_the_words_and_writes_the_values():
    figure = plot_by_position(torch.tensor([[0.1, 0.9, 0.0]]), ["must", "port", "far"], "share")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["must", "port", "far"]
    assert [text.get_text() for text in axes.texts] == ["0.10", "0.90", "0.00"]
