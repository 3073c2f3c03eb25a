"""What all figures share: colours that any colour vision tells apart, and confusion matrices."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

# Okabe and Ito's palette.
INK, BLUE, ORANGE, GREEN, PURPLE, GREY = (
    "#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999",
)  # fmt: skip


def row_shares(counts: ArrayLike) -> np.ndarray:
    """(K, K) counts to the share of each row."""
    whole = np.asarray(counts, dtype=np.float64)
    shares: np.ndarray = whole / whole.sum(1, keepdims=True).clip(1)
    return shares


def confusion_panel(
    axes: Axes, shares: np.ndarray, labels: Sequence[str], counts: ArrayLike | None = None
) -> None:
    """A matrix shaded by its shares, written as percent or, where given, as counts.

    Both are (K, K), rows true; shares in [0, 1], NaN is grey.
    """
    axes.imshow(shares, cmap=mpl.colormaps["Blues"].with_extremes(bad="#d9d9d9"), vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{100 * share:.0f}"
        if counts is not None:
            text = str(int(np.asarray(counts)[row, column]))
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5,
                  color="white" if share > 0.5 else INK)  # fmt: skip
    axes.set_xticks(range(len(labels)), labels, fontsize=7.5)
    axes.set_yticks(range(len(labels)), labels, fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def confusions_figure(
    panels: Mapping[str, np.ndarray],
    labels: Sequence[str],
    names: tuple[str, str],
    width: float = 7.0,
    most: int = 4,
) -> Figure:
    """Small confusion matrices, in percent of a row: (K, K) shares by title, `most` on a line.

    `names` are of the columns and of the rows; `width` is in inches.
    """
    columns = min(most, len(panels))
    lines = -(-len(panels) // columns)
    height = 0.5 + lines * (min(width / columns, 2.3) + 0.15)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, (title, shares) in zip(grid.flat, panels.items(), strict=False):
        confusion_panel(axes, shares, labels)
        axes.set_title(title, fontsize=7)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel(names[0], fontsize=8)
    figure.supylabel(names[1], fontsize=8)
    return figure
