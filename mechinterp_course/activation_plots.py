"""Figures of activations as they are: where in a picture the channels of several layers answer."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from einops import reduce
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechinterp_course.plots import WIDTH, course_style


def plot_strongest_maps(
    pictures: Float[Tensor, "picture 3 height width"],
    maps: Mapping[str, Float[Tensor, "picture channel row column"]],
    titles: Sequence[str],
) -> Figure:
    """Each picture (a row) beside the map of one channel of each named layer, darkest where strongest.

    The channel is the one whose mean answer to the picture lies furthest above its mean over all pictures, in
    its standard deviations over them; its number stands over the map.
    """
    with course_style():
        size = (WIDTH, len(pictures) * (WIDTH / (len(maps) + 1) + 0.2))
        figure, grid = plt.subplots(
            len(pictures), len(maps) + 1, figsize=size, squeeze=False, layout="constrained"
        )
        for row, picture, title in zip(grid, pictures, titles, strict=True):
            row[0].imshow(picture.detach().cpu().permute(1, 2, 0).clamp(0, 1), interpolation="nearest")
            row[0].set_title(title, fontsize=8.5)
        for column, (name, activation) in enumerate(maps.items(), start=1):
            for line, channel in enumerate(_most_particular(activation)):
                axes = grid[line][column]
                axes.imshow(activation[line, channel].detach().cpu(), cmap="Blues", interpolation="nearest")
                axes.set_title(f"{name}, {channel}", fontsize=8.5)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        plt.close(figure)
    return figure


def _most_particular(activation: Float[Tensor, "picture channel row column"]) -> list[int]:
    """Return for each picture the channel that answers more to it than to the others, in its deviations."""
    mean = reduce(activation, "picture channel row column -> picture channel", "mean")
    return ((mean - mean.mean(0)) / (mean.std(0) + 1e-3)).argmax(1).tolist()
