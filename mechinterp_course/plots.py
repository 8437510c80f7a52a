"""The course's pictures, in one quiet style: each function draws data it is given and returns the Figure."""

from collections.abc import Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import torch
from einops import reduce
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8F98"  # Okabe & Ito 2008: told apart by every eye
SERIES = (BLUE, ORANGE, GREY, "#009E73", "#CC79A7")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#B8BCC4",
    "axes.labelcolor": "#3B3F46",
    "axes.linewidth": 0.8,
    "text.color": "#23262B",
    "xtick.color": "#6B7079",
    "ytick.color": "#6B7079",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "svg.hashsalt": "mechinterp-course",
}
WIDTH = 7.2  # inches: the text column of the book


@contextmanager
def course_style():
    """The course's matplotlib settings, for as long as the block runs; the user's own come back after it."""
    with plt.rc_context(STYLE):
        yield


def plot_attention(
    pattern: Float[Tensor, "head query key"],
    titles: Sequence[str],
    mark: int | None = None,
    length: int | None = None,
) -> Figure:
    """One heat map per head of where each query (row) looks; all on one colour scale from 0 to 1.

    `mark` outlines the keys at that distance behind the query, so that a stripe can be told from its
    neighbours; `length` draws where the second copy of `repeated_tokens` begins.
    """
    with course_style():
        columns = len(titles) if len(titles) <= 4 else 3
        rows = -(-len(titles) // columns)
        size = (WIDTH, rows * (0.9 * WIDTH / columns + 0.35))
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat[len(titles) :]:
            axes.set_visible(False)
        for axes, one, title in zip(grid.flat, pattern, titles, strict=False):
            image = axes.imshow(one.detach().cpu(), vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
            axes.set_title(title, fontsize=8.5)
            axes.set(xlabel="key position", ylabel="query position")
            axes.locator_params(integer=True)
            axes.label_outer()
            axes.spines[:].set_visible(False)
            _mark_distance(axes, one.shape[-1], mark)
            _mark_second_copy(axes, length)
        figure.colorbar(image, ax=grid, label="attention", fraction=0.02, aspect=16 * rows, ticks=[0, 0.5, 1])
        plt.close(figure)
    return figure


def plot_loss_by_position(
    loss: Float[Tensor, "batch pos-1"] | dict[str, Float[Tensor, "batch pos-1"]], length: int
) -> Figure:
    """Mean loss of each predicted token by its position, with the two copies shaded; one line per named loss.

    Each line carries a band of two standard errors over the batch.
    """
    named = loss if isinstance(loss, dict) else {"loss": loss}
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
        for (name, values), colour in zip(named.items(), SERIES, strict=False):
            _draw_mean_and_error(axes, values.detach().cpu(), name, colour)
        _shade_copies(axes, length)
        axes.set(xlabel="position of the predicted token", ylabel="loss (nats)", ylim=(0, None))
        if len(named) > 1:
            axes.legend(loc="lower left")
        plt.close(figure)
    return figure


def plot_by_head(
    values: Float[Tensor, "layer head"],
    label: str,
    title: str = "",
    mark: Sequence[tuple[int, int]] = (),
    limit: float | None = None,
) -> Figure:
    """Heat map of one number per head, a score or an effect: layers down, heads across.

    Blue is above zero and orange below; the scale ends at `limit`, or at the largest value. The value stands
    in every cell, and the heads in `mark` are outlined.
    """
    with course_style():
        layers, heads = values.shape
        figure, axes = plt.subplots(figsize=(0.72 * heads + 1.9, 0.5 * layers + 1.1), layout="constrained")
        limit = limit or max(values.abs().max().item(), 1e-6)
        scale = {"cmap": diverging(), "vmin": -limit, "vmax": limit}
        image = axes.imshow(values.detach().cpu(), aspect="auto", **scale)
        _write_values(axes, values, limit)
        outline_heads(axes, mark)
        axes.set(xlabel="head", ylabel="layer", title=title, xticks=range(heads), yticks=range(layers))
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, label=label, shrink=0.85)
        bar.ax.set_ylim(min(0.0, values.min().item()), limit)
        plt.close(figure)
    return figure


def plot_by_position(
    values: Float[Tensor, "layer pos"], words: Sequence[str], label: str, title: str = ""
) -> Figure:
    """Heat map of one number for each layer and position: layers down, the words that stand there across."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.42 * len(values) + 1.0), layout="constrained")
        image = draw_panel(axes, values.detach().cpu(), 0.0, max(values.abs().max().item(), 1e-6))
        axes.set(ylabel="layer", title=title, yticks=range(len(values)))
        axes.set_xticks(range(len(words)), words)
        figure.colorbar(image, ax=axes, label=label, shrink=0.85)
        plt.close(figure)
    return figure


def plot_by_length(
    scores: dict[str, Sequence[float]], lengths: Sequence[int], label: str, threshold: float | None = None
) -> Figure:
    """One line per named head over the length of the repeated copy, beside the threshold if there is one."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
        for (name, values), colour in zip(scores.items(), SERIES, strict=False):
            axes.plot(lengths, values, marker="o", markersize=4, linewidth=1.6, color=colour, label=name)
        if threshold is not None:
            axes.axhline(threshold, color=GREY, linewidth=1, linestyle="--", label=f"threshold {threshold:g}")
        axes.set(xlabel="length of the repeated copy (tokens)", ylabel=label, xticks=list(lengths))
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        axes.legend(loc="lower right")
        plt.close(figure)
    return figure


def outline_heads(axes: Axes, heads: Sequence[tuple[int, int]]) -> None:
    """Draw a frame round the cells of these heads, (layer, head), in a heat map of layers by heads."""
    for layer, head in heads:
        corner = (head - 0.46, layer - 0.46)
        axes.add_patch(plt.Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#23262B", linewidth=1.6))


def plot_lines(
    curves: dict[str, Sequence[float]],
    x: Sequence[float],
    xlabel: str,
    ylabel: str,
    beside: dict[str, Sequence[Sequence[float]]] | None = None,
) -> Figure:
    """One line per named curve over `x`; in `beside`, curves to compare it with, thin and of its colour."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
        for (name, values), colour in zip(curves.items(), SERIES, strict=False):
            axes.plot(x, values, marker="o", markersize=4, linewidth=1.6, color=colour, label=name)
            for other in (beside or {}).get(name, ()):
                axes.plot(x, other, linewidth=0.8, alpha=0.6, color=colour)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(loc="best")
        plt.close(figure)
    return figure


def draw_panel(axes: Axes, values: Float[Tensor, "row column"], middle: float, limit: float) -> AxesImage:
    """One heat map, orange below `middle` and blue above, with the values in its cells where they fit."""
    scale = {"cmap": diverging(), "vmin": middle - limit, "vmax": middle + limit}
    image = axes.imshow(values.numpy(), aspect="auto", interpolation="nearest", **scale)
    axes.spines[:].set_visible(False)
    axes.set(yticks=range(len(values)), xticks=range(0, values.shape[1], 1 + values.shape[1] // 16))
    if values.shape[1] <= 16:
        for row, column in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
            value = values[row, column].item()
            colour = "white" if abs(value - middle) > 0.6 * limit else "#3B3F46"
            axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=7, color=colour)
    return image


def _draw_mean_and_error(axes: Axes, loss: Float[Tensor, "batch pos-1"], name: str, colour: str) -> None:
    positions = torch.arange(1, loss.shape[1] + 1)
    mean = reduce(loss, "batch pos -> pos", "mean")
    error = 2 * loss.std(dim=0) / loss.shape[0] ** 0.5 if len(loss) > 1 else torch.zeros_like(mean)
    axes.plot(positions, mean, color=colour, linewidth=1.6, label=name)
    axes.fill_between(positions, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0)


def _shade_copies(axes: Axes, length: int) -> None:
    for start, name, shade in ((1, "first copy", "#F2F3F5"), (length + 1, "second copy", "#E3EDF5")):
        axes.axvspan(start - 0.5, start + length - 0.5, color=shade, zorder=0, linewidth=0)
        axes.annotate(
            name,
            (start + length / 2 - 0.5, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            color="#6B7079",
        )
    axes.set_xlim(0.5, 2 * length + 0.5)


def _mark_distance(axes: Axes, positions: int, distance: int | None) -> None:
    if distance is None:
        return
    for query in range(distance, positions):
        axes.add_patch(
            plt.Rectangle(
                (query - distance - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=0.7
            )
        )


def _mark_second_copy(axes: Axes, length: int | None) -> None:
    if length is None:
        return
    axes.axhline(length + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.axvline(length + 0.5, color=GREY, linewidth=0.8, linestyle=":")


def _write_values(axes: Axes, values: Float[Tensor, "layer head"], limit: float) -> None:
    for layer, row in enumerate(values.tolist()):
        for head, value in enumerate(row):
            colour = "white" if abs(value) > 0.6 * limit else "#3B3F46"
            axes.text(head, layer, f"{value:z.2f}", ha="center", va="center", fontsize=8, color=colour)


def diverging() -> Colormap:
    """Orange below the middle of the scale, blue above it."""
    return LinearSegmentedColormap.from_list("course_diverging", [ORANGE, "#FAFAFA", BLUE])
