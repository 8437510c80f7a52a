"""A picture of two groups in a plane, of what a probe finds in them, and of the difference of their means."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import BLUE, GREY, ORANGE, SERIES, course_style


def plot_filter_and_pattern(
    positive: Float[Tensor, "example 2"],
    negative: Float[Tensor, "other 2"],
    probe: Float[Tensor, " 2"],
    means: Float[Tensor, " 2"],
) -> Figure:
    """Two groups of points with both directions from the middle; beside it what each direction reads."""
    directions = {"difference of means": (means, SERIES[3]), "probe": (probe, SERIES[4])}
    groups = {"positive": (positive, BLUE), "negative": (negative, ORANGE)}
    with course_style():
        figure, (plane, *panels) = plt.subplots(
            1, 3, figsize=(7.2, 2.6), layout="constrained", gridspec_kw={"width_ratios": [1.3, 1, 1]}
        )
        for name, (points, colour) in groups.items():
            plane.scatter(*points.T, s=9, color=colour, alpha=0.7, linewidth=0, label=name)
        for direction, colour in directions.values():
            plane.annotate(
                "", 1.6 * direction, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2}
            )
        plane.set(aspect="equal", title="both directions")
        plane.legend(loc="lower right", fontsize=7.5, handletextpad=0.1)
        for axes, (name, (direction, colour)) in zip(panels, directions.items(), strict=True):
            for points, shade in groups.values():
                axes.hist((points @ direction).tolist(), bins=14, color=shade, alpha=0.6)
            axes.set_title(name, color=colour)
            axes.set(xlabel="component along it", yticks=[])
            axes.axvline(0, color=GREY, linewidth=0.8)
        plt.close(figure)
    return figure


def plot_dose_panels(
    curves: dict[str, Sequence[Sequence[float]]], doses: Sequence[float], lines: Sequence[str]
) -> Figure:
    """One panel for each intervention: the share refused over the dose, the same lines in every panel."""
    with course_style():
        figure, panels = plt.subplots(1, len(curves), figsize=(7.6, 2.5), layout="constrained", sharey=True)
        for axes, (name, values) in zip(panels, curves.items(), strict=True):
            for line, shares, colour in zip(lines, values, SERIES, strict=False):
                axes.plot(doses, shares, marker="o", markersize=3.5, color=colour, linewidth=1.5, label=line)
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
            axes.set_title(name, fontsize=8.5)
            axes.set(xlabel="steps subtracted", ylim=(-0.04, 1.04))
        panels[0].set_ylabel("share refused")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(lines))
        plt.close(figure)
    return figure
