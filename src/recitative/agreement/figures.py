"""Pictures of how far raters agree, each at the width of a column and of a page.

Each group has its own marker too, so that a picture survives a grey printer. A matrix
diverges from white at chance.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recitative.agreement.alpha import Floats, Level, pairwise_agreement
from recitative.agreement.consensus import Classes, confusion_between_raters
from recitative.agreement.ratings import Ratings
from recitative.drawing import BLUE, GREEN, ORANGE, PURPLE, confusions_figure
from recitative.errors import UserError
from recitative.evaluation.metrics import LABELS
from recitative.files import atomic_path

WIDTHS = {"column": 3.5, "page": 7.2}  # inches, as set in two columns
DPI = 200
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_RATERS = 150  # a matrix of more is a grey field; those with the most ratings are shown
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
}


def draw_agreement(
    ratings: Ratings,
    rows: Sequence[Mapping[str, Any]],
    level: Level,
    folder: Path,
    classes: Callable[[Ratings], Classes] | None = None,
) -> list[Path]:
    """Every picture that a table of ratings allows, from what `table.analyse` made of it.

    `classes` says how ratings become quadrants, e.g. `consensus.task_classes` at its midpoint or
    `study.quadrant_classes`; no confusion is drawn when None.

    Returns:
        The files written: ``alpha``, ``raters`` and ``confusion``, each ``-column`` and ``-page``.
    """
    written = plot_alpha(rows, folder) + plot_rater_matrix(ratings, level, folder)
    if classes:
        found = {group: classes(ratings.of_group(group)) for group in ratings.groups}
        matrices = {group: confusion_between_raters(part) for group, part in found.items()}
        written += plot_confusion(matrices, LABELS["quadrant"], folder)
    return written


def plot_alpha(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Alpha of each value and group with its interval, as `table.analyse` gives them: a line a group.

    Raises:
        UserError: no alpha is defined.
    """
    defined = [row for row in rows if row["alpha"] is not None]
    if not defined:
        raise UserError("no alpha is defined, so there is nothing to draw")
    groups = list(dict.fromkeys(row["language"] for row in defined))
    values = list(dict.fromkeys(row["emotion"] for row in defined))
    of_all = {row["emotion"]: row["alpha"] for row in defined if row["language"] == groups[-1]}
    values.sort(key=lambda value: of_all.get(value, -np.inf))

    def draw(axes: Axes) -> None:
        for place, group in enumerate(groups):
            chosen = [row for row in defined if row["language"] == group]
            # Groups stand one above the other within a value's band, first on top.
            offset = 0.7 * ((len(groups) - 1) / 2 - place) / max(len(groups), 2)
            height = np.array([values.index(row["emotion"]) for row in chosen]) + offset
            alpha = np.array([row["alpha"] for row in chosen])
            whole = group == "all"
            color = "#000000" if whole else COLOURS[place % len(COLOURS)]
            ends = np.array([(row["low"], row["high"]) for row in chosen], dtype=np.float64)
            axes.hlines(height, *ends.T, color=color, linewidth=1.8 if whole else 1.0,
                        alpha=0.9 if whole else 0.7)  # fmt: skip
            marker = "o" if whole else MARKERS[(place + 1) % len(MARKERS)]
            axes.plot(alpha, height, marker, color=color, ms=3.6, label=group, clip_on=False)
        axes.axvline(0, color="#666666", linewidth=0.6, linestyle=(0, (3, 2)))
        for edge in np.arange(0.5, len(values) - 1):
            axes.axhline(edge, color="#e5e5e5", linewidth=0.5, zorder=0)
        axes.set_yticks(range(len(values)), values)
        axes.set_ylim(-0.6, len(values) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Krippendorff's α (0: chance, 1: full agreement)")
        if len(groups) > 1:
            narrow = axes.figure.get_figwidth() <= WIDTHS["column"]  # type: ignore[union-attr]
            axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), handletextpad=0.2,
                        columnspacing=1.0, ncols=3 if narrow else len(groups))  # fmt: skip

    height = 0.7 + len(values) * (0.2 + 0.07 * len(groups))
    return _write("alpha", folder, lambda name: _drawn(name, height, draw))


def plot_rater_matrix(ratings: Ratings, level: Level, folder: Path) -> list[Path]:
    """Agreement of every two raters, mean over the values, raters sorted within their group.

    The scale is alpha's: 0 is chance, 1 full agreement; with no rating missing, the mean over the
    cells is alpha. Within a group the raters who agree most with all others come first.

    Returns:
        The files written: ``raters-column.png`` and ``raters-page.png``.
    """
    who, what, values = ratings.rater, ratings.unit, ratings.values
    label = np.asarray(ratings.groups)[ratings.group]
    names, first, count = np.unique(who, return_index=True, return_counts=True)
    if len(names) > MOST_RATERS:
        busiest = np.sort(np.argsort(-count, kind="stable")[:MOST_RATERS])
        shown = np.isin(who, names[busiest])
        who, what, label = who[shown], what[shown], label[shown]
        values = {name: value[shown] for name, value in values.items()}
        names, first = np.unique(who, return_index=True)
    total, seen = np.zeros((2, len(names), len(names)))
    for value in values.values():
        given = ~np.isnan(value)
        present = np.searchsorted(names, np.unique(who[given]))
        block = np.ix_(present, present)
        matrix = pairwise_agreement(who[given], what[given], value[given], level)
        total[block] += np.nan_to_num(matrix)
        seen[block] += ~np.isnan(matrix)
    mean: Floats = np.full_like(total, np.nan)
    np.divide(total, seen, out=mean, where=seen > 0)
    own = total.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    groups, of_rater = np.unique(label[first], return_inverse=True)
    order = np.lexsort((-own, of_rater))
    mean, of_rater = mean[np.ix_(order, order)], of_rater[order]
    edges = np.flatnonzero(np.diff(of_rater)) + 0.5
    centres = [float(np.mean(np.flatnonzero(of_rater == index))) for index in range(len(groups))]
    limit = max(0.2, float(np.nanquantile(np.abs(mean), 0.98))) if np.any(seen) else 1.0

    def draw(axes: Axes) -> None:
        colours = matplotlib.colormaps["RdBu"].with_extremes(bad="#d9d9d9")
        image = axes.imshow(mean, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
        for edge in edges:
            axes.axhline(edge, color="black", linewidth=0.6)
            axes.axvline(edge, color="black", linewidth=0.6)
        if len(groups) > 1:
            axes.set_xticks(centres, groups, rotation=30, ha="right", rotation_mode="anchor")
            axes.set_yticks(centres, groups)
        else:
            axes.set_xlabel("rater")
            axes.set_xticks([])
            axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{len(names)} raters; grey: no unit in common")
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03, extend="both")
        bar.set_label("agreement (0: chance)")
        bar.outline.set_visible(False)

    heights = {"column": 2.9, "page": 5.6}
    return _write("raters", folder, lambda name: _drawn(name, heights[name], draw))


def plot_confusion(
    confusions: Mapping[str, npt.ArrayLike], classes: Sequence[str], folder: Path
) -> list[Path]:
    """What other raters say of a clip, given what one rater says: one panel a set or group.

    The (K, K) matrices are those of `consensus.confusion_between_raters`.
    """
    shares = {f"{name}, %": np.asarray(matrix) for name, matrix in confusions.items()}
    names = "another rater", "one rater"
    return _write(
        "confusion",
        folder,
        lambda name: confusions_figure(
            shares, classes, names, WIDTHS[name], 2 if name == "column" else 4
        ),
    )


def _drawn(name: str, height: float, draw: Callable[[Axes], None]) -> Figure:
    figure = Figure(figsize=(WIDTHS[name], height), layout="constrained")
    draw(figure.subplots())
    return figure


def _write(stem: str, folder: Path, make: Callable[[str], Figure]) -> list[Path]:
    """Each width's figure as a file."""
    written = []
    for name in WIDTHS:
        with matplotlib.rc_context(STYLE), atomic_path(folder / f"{stem}-{name}.png") as temporary:
            make(name).savefig(temporary, dpi=DPI, metadata={"Software": None})
        written.append(folder / f"{stem}-{name}.png")
    return written
