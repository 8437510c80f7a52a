"""Figures of whole layers: where in a picture their units look, how they are tuned, what a report says."""

from collections.abc import Mapping, Sequence
from math import pi

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import GREY, SERIES, WIDTH, course_style


def plot_sensitivity(
    maps: Mapping[str, Mapping[str, Float[Tensor, "row column"]]],
    sides: Mapping[str, Mapping[str, int]],
    middle: tuple[int, int],
) -> Figure:
    """How much each pixel matters to the unit in the middle: a row for each network, a column for each layer.

    Each map is darkest at its own maximum. The frame is the square of side `sides[network][layer]` around
    `middle` (row, column).
    """
    columns = len(next(iter(maps.values())))
    with course_style():
        size = (WIDTH, len(maps) * (WIDTH / columns + 0.25))
        figure, grid = plt.subplots(len(maps), columns, figsize=size, squeeze=False, layout="constrained")
        for line, (network, layers) in zip(grid, maps.items(), strict=True):
            line[0].set_ylabel(network)
            for axes, (layer, weight) in zip(line, layers.items(), strict=True):
                axes.imshow(weight.detach().cpu().sqrt(), cmap="Blues", interpolation="nearest")
                side = sides[network][layer]
                corner = (middle[1] - side / 2, middle[0] - side / 2)
                axes.add_patch(plt.Rectangle(corner, side, side, fill=False, color=SERIES[1], linewidth=1.2))
                axes.set_title(f"{layer}: {side} px", fontsize=8.5)
                axes.set(xticks=[], yticks=[], xlim=(-0.5, len(weight) - 0.5), ylim=(len(weight) - 0.5, -0.5))
                axes.spines[:].set_visible(False)
        plt.close(figure)
    return figure


def plot_tuning(
    angle: Float[Tensor, " picture"],
    responses: Mapping[str, Float[Tensor, " picture"]],
    tuning: Mapping[str, tuple[float, float]],
) -> Figure:
    """Responses to stripes by their orientation, a panel for each channel, with the curve that was fitted.

    `tuning[name]` is the preferred orientation and the share of variance that the curve explains.
    """
    degrees = angle.remainder(pi) * 180 / pi
    grid = torch.linspace(0, pi, 91)
    with course_style():
        figure, panels = plt.subplots(
            1, len(responses), figsize=(WIDTH, 2.3), squeeze=False, layout="constrained", sharex=True
        )
        for axes, (name, values) in zip(panels[0], responses.items(), strict=True):
            preferred, share = tuning[name]
            wave, at = (2 * (angle - preferred)).cos(), (2 * (grid - preferred)).cos()
            height = ((values - values.mean()) @ (wave - wave.mean())) / (wave - wave.mean()).pow(2).sum()
            axes.scatter(degrees, values, s=6, color=GREY, linewidths=0)
            axes.plot(grid * 180 / pi, values.mean() + height * (at - wave.mean()), color=SERIES[0])
            axes.axvline(preferred * 180 / pi, color=SERIES[1], linewidth=0.9, linestyle=":")
            axes.set_title(f"{name}: {preferred * 180 / pi:.0f}°, {share:.2f}", fontsize=8.5)
            axes.set_xticks([0, 90, 180], ["0°", "90°", "180°"])
        panels[0][0].set_ylabel("response")
        plt.close(figure)
    return figure


def plot_report(reports: Mapping[str, Mapping[str, Mapping]], factors: Sequence[str]) -> Figure:
    """The mean share of variance that each factor explains, by layer: a panel a factor, a line a network."""
    with course_style():
        figure, panels = plt.subplots(
            1, len(factors), figsize=(WIDTH, 2.4), squeeze=False, layout="constrained", sharey=True
        )
        for axes, factor in zip(panels[0], factors, strict=True):
            for (network, report), colour in zip(reports.items(), (*SERIES[:2], GREY), strict=False):
                shares = [row[factor]["explained"] for row in report.values()]
                axes.plot(range(len(shares)), shares, marker="o", markersize=3.5, color=colour, label=network)
            axes.set_title(factor, fontsize=8.5)
            axes.set_xticks(range(len(report)), [layer.removeprefix("layer") for layer in report])
            axes.set_xlabel("layer")
        panels[0][0].set_ylim(bottom=0)  # all panels share it, so all must be drawn
        panels[0][0].set_ylabel("share of variance explained")
        panels[0][0].legend(loc="best", fontsize=8)
        plt.close(figure)
    return figure
