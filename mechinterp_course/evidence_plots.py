"""Figures of channels on trial: rows of pictures with captions, and effects with their intervals."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import GREY, SERIES, WIDTH, course_style


def plot_pictures(
    rows: Mapping[str, Float[Tensor, "picture 3 height width"]],
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """One row of pictures, in [0, 1], for each name; under each picture its caption, if there is one."""
    captions = captions or {}
    columns = max(len(pictures) for pictures in rows.values())
    side = min(1.15, (WIDTH - 1.0) / columns)
    with course_style():
        size = (side * columns + 1.0, len(rows) * (side + 0.25 * bool(captions)))
        figure, grid = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat:
            axes.set_axis_off()
        for line, (name, pictures) in zip(grid, rows.items(), strict=True):
            line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8.5)
            for axes, picture in zip(line, pictures, strict=False):
                axes.imshow(picture.detach().cpu().permute(1, 2, 0).clamp(0, 1), interpolation="nearest")
            for axes, caption in zip(line, captions.get(name, ()), strict=False):
                axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7.5)
        plt.close(figure)
    return figure


def plot_effects(
    effects: Mapping[str, Float[Tensor, "bound edit"]], edits: Sequence[str], label: str = "effect (sd)"
) -> Figure:
    """The mean effect of each edit with its interval, one colour for each named channel or direction.

    Rows of each tensor are the mean, the low and the high end.
    """
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
        width = 0.7 / len(effects)
        for index, ((name, values), colour) in enumerate(zip(effects.items(), SERIES, strict=False)):
            mean, low, high = values.detach().cpu()
            place = [edit + (index - (len(effects) - 1) / 2) * width for edit in range(len(edits))]
            ends = (mean - low).numpy(), (high - mean).numpy()
            axes.bar(
                place, mean, width * 0.9, yerr=ends, color=colour, label=name, ecolor="#3B3F46", capsize=2
            )
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xticks(range(len(edits)), edits)
        axes.set_ylabel(label)
        if len(effects) > 1:
            axes.legend(loc="best")
        plt.close(figure)
    return figure
