"""Figures of toy models: features as arrows in the plane, phases, dimensionalities, weights of neurons."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import Tensor

from mechinterp_course.plots import BLUE, GREY, ORANGE, SERIES, WIDTH, course_style, diverging
from mechinterp_course.superposition_geometry import REPRESENTED, feature_dimensionality, feature_groups
from mechinterp_course.superposition_phases import PhaseDiagram

INK = "#23262B"
PALE = "#E9EBEE"
PHASE_COLOURS = (PALE, "#E58A4B", "#5A9FCB")  # by the second feature: not represented, dedicated, superposed
FRACTIONS = {"1": 1.0, "3/4": 3 / 4, "2/3": 2 / 3, "1/2": 1 / 2, "2/5": 2 / 5, "1/4": 1 / 4}


def plot_directions(
    W: Float[Tensor, "instance feature 2"],
    titles: Sequence[str],
    importance: Float[Tensor, " feature"] | None = None,
    columns: int = 5,
) -> Figure:
    """One panel for each instance: its features as arrows in the plane of the hidden layer.

    Features of one figure (see `feature_groups`) have one colour and are joined at their tips in the order of
    their angles; the circle has radius 1. The most important one has its number in bold type.
    """
    rows, columns = -(-len(W) // columns), min(len(W), columns)
    side = WIDTH / max(columns, 4)
    with course_style():
        size = (side * columns, rows * (side + 0.3))
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, one, title in zip(grid.flat, W.detach().cpu(), titles, strict=False):
            _draw_plane(axes)
            _draw_figures(axes, one)
            _draw_tips(axes, one, importance)
            axes.set_title(title, fontsize=8.5, loc="center")
        plt.close(figure)
    return figure


def plot_phase_diagram(diagram: PhaseDiagram) -> Figure:
    """Trained models beside the formulas: what becomes of the second feature; the formulas' border on both.

    Probabilities fall to the right, so that sparsity grows; importances of the second feature grow upwards.
    """
    with course_style():
        figure, both = plt.subplots(
            1, 2, figsize=(WIDTH, 3.5), sharey=True, layout="constrained", subplot_kw={"box_aspect": 0.82}
        )
        kinds = {"trained models": diagram.trained, "least of three formulas": diagram.formula}
        for axes, (title, phases) in zip(both, kinds.items(), strict=True):
            image = _draw_phases(axes, diagram, phases)
            axes.set(title=title, xlabel="probability of a feature")
        both[0].set_ylabel("importance of the second feature\n(of the first: 1)")
        bar = figure.colorbar(
            image, ax=both, ticks=[0, 1, 2], orientation="horizontal", shrink=0.8, aspect=45
        )
        bar.ax.set_xticklabels(["second feature left out", "second feature alone", "both, in superposition"])
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)
        plt.close(figure)
    return figure


def plot_dimensionality(
    W: Float[Tensor, "instance feature hidden"], probability: Float[Tensor, " instance"]
) -> Figure:
    """Each feature's dimensionality, a dot, over the probability of its model; the line is their mean.

    Fractions that figures have are drawn as levels: 1/2 for an antipodal pair, 2/5 for a pentagon.
    """
    values = feature_dimensionality(W.detach().cpu())
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
        for name, level in FRACTIONS.items():
            axes.axhline(level, color=PALE, linewidth=1, zorder=0)
            axes.annotate(
                name, (1.01, level), xycoords=("axes fraction", "data"), va="center", color="#6B7079"
            )
        shift = torch.linspace(-0.025, 0.025, values.shape[1]).exp()
        for each, p in zip(values, probability.tolist(), strict=True):
            axes.scatter((p * shift).numpy(), each.numpy(), s=9, color=BLUE, alpha=0.55, linewidth=0)
        kept = W.detach().cpu().norm(dim=-1) >= REPRESENTED
        mean = (values * kept).sum(1) / kept.sum(1).clamp(min=1)
        axes.plot(
            probability.numpy(),
            mean.numpy(),
            color=ORANGE,
            linewidth=1.6,
            label="mean of features represented",
        )
        axes.set(xscale="log", ylim=(-0.04, 1.06), ylabel="dimensionality of a feature")
        _probability_axis(axes, probability.tolist())
        axes.legend(loc="upper right")
        plt.close(figure)
    return figure


def plot_over_probability(
    curves: Mapping[str, Sequence[float]],
    probability: Sequence[float],
    ylabel: str,
    level: float | None = None,
) -> Figure:
    """One line per named curve over the probability of a feature, sparser to the right; `level` is dashed."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
        for (name, values), colour in zip(curves.items(), SERIES, strict=False):
            axes.plot(probability, values, marker="o", markersize=4, linewidth=1.6, color=colour, label=name)
        if level is not None:
            axes.axhline(level, color=GREY, linewidth=1, linestyle="--")
        axes.set(xscale="log", ylabel=ylabel, ylim=(0, None))
        _probability_axis(axes, probability)
        axes.legend(loc="best")
        plt.close(figure)
    return figure


def plot_weights(W: Mapping[str, Float[Tensor, "feature hidden"]], xlabel: str = "neuron") -> Figure:
    """One heat map of weights per name, features down and neurons across; blue above zero, orange below."""
    with course_style():
        side = min(WIDTH / len(W), 2.4)
        figure, grid = plt.subplots(
            1, len(W), figsize=(side * len(W) + 0.6, side + 0.5), squeeze=False, layout="constrained"
        )
        limit = max(each.abs().max().item() for each in W.values())
        for axes, (name, each) in zip(grid.flat, W.items(), strict=True):
            image = axes.imshow(each.detach().cpu().numpy(), cmap=diverging(), vmin=-limit, vmax=limit)
            axes.set(xlabel=xlabel, ylabel="feature", title=name)
            axes.set(xticks=range(each.shape[1]), yticks=range(each.shape[0]))
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            axes.label_outer()
        figure.colorbar(image, ax=grid, label="weight", shrink=0.75, aspect=18)
        plt.close(figure)
    return figure


def _draw_plane(axes: Axes) -> None:
    axes.add_patch(
        plt.Circle((0, 0), 1, fill=False, edgecolor="#D4D7DC", linewidth=0.8, linestyle=(0, (3, 3)))
    )
    axes.plot([0], [0], marker="o", markersize=2, color=GREY)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")


def _draw_figures(axes: Axes, W: Float[Tensor, "feature 2"]) -> None:
    for (group, _), colour in zip(feature_groups(W), SERIES[:2] + SERIES[3:] + (GREY,), strict=False):
        ring = sorted(group, key=lambda feature: torch.atan2(W[feature, 1], W[feature, 0]).item())
        outline = W[[*ring, ring[0]]]
        axes.fill(*outline.T, color=colour, alpha=0.09, linewidth=0)
        axes.plot(*outline.T, color=colour, alpha=0.5, linewidth=1)
        for feature in group:
            axes.plot(*torch.stack([torch.zeros(2), W[feature]]).T, color=colour, linewidth=1.8, zorder=2)
            axes.plot(*W[feature], marker="o", markersize=5, color=colour, zorder=3)


def _draw_tips(
    axes: Axes, W: Float[Tensor, "feature 2"], importance: Float[Tensor, " feature"] | None
) -> None:
    shares = torch.ones(len(W)) if importance is None else importance / importance.max()
    for group in _tips_together(W):
        place = W[group].mean(0)
        if place.norm() < 0.5:
            axes.plot(*place, marker="o", markersize=3, color="#B8BCC4", zorder=1)
            continue
        share = shares[group].max().item()
        weight = "bold" if share > 0.99 and importance is not None else "normal"
        text = {"ha": "center", "va": "center", "fontsize": 7, "color": INK, "alpha": 0.5 + 0.5 * share}
        axes.text(
            *place * (1 + (0.14 + 0.08 * len(group)) / place.norm()),
            ", ".join(map(str, group)),
            weight=weight,
            **text,
        )


def _tips_together(W: Float[Tensor, "feature 2"]) -> list[list[int]]:
    """Return features whose tips nearly coincide, so that they can have one label."""
    groups: list[list[int]] = []
    for feature, tip in enumerate(W):
        near = next((group for group in groups if (W[group[0]] - tip).norm() < 0.15), None)
        if near is None or tip.norm() < 0.5:
            groups.append([feature])
        else:
            near.append(feature)
    return groups


def _draw_phases(axes: Axes, diagram: PhaseDiagram, phases: Int[Tensor, "row column"]) -> QuadMesh:
    colours = {"cmap": ListedColormap(PHASE_COLOURS), "norm": BoundaryNorm([-0.5, 0.5, 1.5, 2.5], 3)}
    sides = _edges(diagram.probability).numpy(), _edges(diagram.importance).numpy()
    image = axes.pcolormesh(*sides, phases.numpy(), edgecolor="white", linewidth=0.6, **colours)
    _draw_borders(axes, diagram)
    _log_axes(axes, diagram)
    return image


def _draw_borders(axes: Axes, diagram: PhaseDiagram) -> None:
    """Draw where the formulas tie: I·v = (1 + I)·s and v = (1 + I)·s, with v the variance and s = p²/6."""
    ends = diagram.probability.min().item(), diagram.probability.max().item()
    p = torch.logspace(*map(math.log10, ends), 200)
    pair, variance = p**2 / 6, p / 3 - p**2 / 4
    lower, upper = pair / (variance - pair), variance / pair - 1
    meeting = variance > 2 * pair
    line = {"color": INK, "linewidth": 1.2}
    axes.plot(p[meeting], lower[meeting], **line)
    axes.plot(p[meeting], upper[meeting], **line)
    last = p[meeting].max().item() if meeting.any() else 1.0
    axes.plot([last, ends[1]], [1, 1], **line)


def _log_axes(axes: Axes, diagram: PhaseDiagram) -> None:
    axes.set(xscale="log", yscale="log")
    _probability_axis(axes, diagram.probability.tolist())
    axes.set_xlim(_edges(diagram.probability)[[0, -1]].tolist())
    axes.yaxis.set_major_locator(FixedLocator([0.1, 0.3, 1, 3, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(_edges(diagram.importance)[[0, -1]].tolist())
    axes.spines[:].set_visible(False)


def _probability_axis(axes: Axes, probability: Sequence[float]) -> None:
    ends = min(probability) * 0.93, max(probability) * 1.08
    axes.xaxis.set_major_locator(FixedLocator([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(ends[1], ends[0])
    axes.set_xlabel("probability of a feature (sparser to the right)")


def _edges(values: Float[Tensor, " n"]) -> Float[Tensor, " n+1"]:
    """Return the borders of cells on a logarithmic axis."""
    logs = values.log()
    inner = (logs[1:] + logs[:-1]) / 2
    return torch.cat([2 * logs[:1] - inner[:1], inner, 2 * logs[-1:] - inner[-1:]]).exp()
