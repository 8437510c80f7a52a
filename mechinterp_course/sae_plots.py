"""Pictures of what autoencoders found: numbers that disagree, and cosines with what is there."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import SERIES, WIDTH, course_style, draw_panel
from mechinterp_course.sae_comparison import Outcome

MARKS = "os^DvP"


def plot_recovery(outcomes: dict[str, Sequence[Outcome]]) -> Figure:
    """One mark per run: what it leaves unexplained across, how much it has found up."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
        for number, (name, runs) in enumerate(outcomes.items()):
            axes.scatter(
                [run.unexplained for run in runs],
                [run.recovery.mean_cosine for run in runs],
                s=34,
                marker=MARKS[number % len(MARKS)],
                color=SERIES[number % len(SERIES)],
                alpha=0.85,
                linewidth=0,
                label=f"{name}, L0 {sum(run.l0 for run in runs) / len(runs):.1f}",
            )
        axes.set(xlabel="variance unexplained", ylabel="mean matched cosine", ylim=(0, 1.05))
        axes.set_xlim(left=-0.02)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        plt.close(figure)
    return figure


def plot_cosines(values: Float[Tensor, "row column"], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Heat map of cosines, found directions down and true ones across, with the values in the cells."""
    with course_style():
        size = (1.0 * len(columns) + 2.6, 0.42 * len(rows) + 0.7)
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        image = draw_panel(axes, values.detach().cpu(), 0.0, 1.0)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        figure.colorbar(image, ax=axes, label="cosine", ticks=[-1, 0, 1])
        plt.close(figure)
    return figure


def plot_by_world(outcomes: dict[str, Sequence[Outcome]], label: str = "mean matched cosine") -> Figure:
    """What each kind has found, kinds down; the runs in one world are joined by a line."""
    with course_style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.36 * len(outcomes) + 0.9), layout="constrained")
        names = list(outcomes)
        for world, runs in enumerate(zip(*outcomes.values(), strict=True)):
            found = [run.recovery.mean_cosine for run in runs]
            style = {"color": SERIES[world % len(SERIES)], "marker": MARKS[world % len(MARKS)]}
            axes.plot(found, range(len(names)), linewidth=0.9, markersize=6, label=f"world {world}", **style)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=label)
        axes.grid(axis="x", linewidth=0.5, alpha=0.5)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        plt.close(figure)
    return figure
