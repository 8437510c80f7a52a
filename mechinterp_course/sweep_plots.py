"""Pictures of patching sweeps and of circuits, in the style of `plots`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import BLUE, GREY, ORANGE, WIDTH, course_style, draw_panel, outline_heads

if TYPE_CHECKING:
    from mechinterp_course.faithfulness import Curve
    from mechinterp_course.patch_sweeps import Sweep


def plot_sweep(sweep: "Sweep", title: str = "", mark: Sequence[tuple[int, int]] = ()) -> Figure:
    """Heat maps of a patching sweep: layers down, heads or positions across, one map per site or position.

    Colours are distances from the corrupted run (blue above it, orange below), on one scale; the values stand
    in the cells where they fit. `mark` outlines heads, (layer, head).
    """
    with course_style():
        panels = _panels(sweep)
        rows, columns = next(iter(panels.values())).shape
        width, height = max(0.62 * columns, 2.5), 0.42 * rows + 0.9
        shape = (width * len(panels) + 1.2, height) if len(panels) <= 3 else (WIDTH, height * len(panels))
        grid = (1, len(panels)) if len(panels) <= 3 else (len(panels), 1)
        figure, axes = plt.subplots(*grid, figsize=shape, squeeze=False, layout="constrained")
        effects = (sweep.values - sweep.corrupted).abs().nan_to_num(0.0)
        limit = max(effects.max().item(), 1e-6)
        for one, (name, values) in zip(axes.flat, panels.items(), strict=True):
            image = draw_panel(one, values, sweep.corrupted, limit)
            one.set(xlabel=sweep.dims[-1], ylabel=sweep.dims[-2] if len(sweep.dims) > 1 else "", title=name)
            if sweep.dims[-1] == "head":
                outline_heads(one, mark)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        figure.colorbar(image, ax=axes, label="metric", shrink=0.85)
        plt.close(figure)
    return figure


def plot_faithfulness(curve: "Curve", title: str = "", keep: float | None = None) -> Figure:
    """A panel for each ablation: faithfulness by circuit size, random circuits of the same size behind it."""
    with course_style():
        figure, grid = plt.subplots(
            1, len(curve.values), figsize=(WIDTH, 2.7), sharey=True, squeeze=False, layout="constrained"
        )
        for axes, (kind, values) in zip(grid.flat, curve.values.items(), strict=True):
            for drawn in curve.random[kind].tolist():
                axes.plot(curve.sizes, drawn, color=GREY, linewidth=0.6, alpha=0.5)
            axes.plot(curve.sizes, values.tolist(), color=BLUE, linewidth=1.8, marker="o", markersize=3)
            if keep is not None:
                axes.axhline(keep, color=ORANGE, linewidth=1, linestyle="--")
            axes.set(title=f"{kind} ablation", xlabel=f"heads kept, of {curve.n_heads}", ylim=(-0.5, 1.5))
        grid[0, 0].set_ylabel("faithfulness")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        plt.close(figure)
    return figure


def _panels(sweep: "Sweep") -> dict[str, Float[Tensor, "row column"]]:
    """The two-dimensional maps of a sweep, by their titles."""
    if sweep.values.ndim <= 2:
        return {"": sweep.values.reshape(-1, sweep.values.shape[-1])}
    leading = sweep.dims[:-2]
    flat = sweep.values.flatten(0, -3)
    shape = sweep.values.shape[:-2]
    places = torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist()
    titles = [
        ", ".join(
            sweep.sites[index] if name == "site" else f"{name} {index}"
            for name, index in zip(leading, place, strict=True)
        )
        for place in places
    ]
    return dict(zip(titles, flat, strict=True))
