"""Figures, drawn without a display: learning curves, confusion matrices, scores with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recitative.drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, confusion_panel, row_shares
from recitative.reports.matrix import Panels, series_keys, series_name
from recitative.reports.results import (
    OTHER_CONTROLS,
    Cell,
    Comparison,
    grouped,
    majority,
    mode_name,
    music_name,
)
from recitative.vocabulary import SETTINGS

if TYPE_CHECKING:
    from recitative.evaluation.metrics import Score

SERIES = (BLUE, ORANGE, GREEN, PURPLE)
mpl.rcParams |= {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
}


def history_figure(*histories: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation loss by epoch, a line a fold; the best epoch is marked.

    A control that was trained on the validation songs as well has only the training loss.
    """
    figure = Figure(figsize=(6, 3.4))
    axes = figure.add_subplot()
    _draw_history(axes, histories)
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure


def _draw_history(axes: Axes, histories: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    for fold, history in enumerate(histories):
        epochs = [row["epoch"] for row in history]
        named = fold == 0
        train = [row["train_loss"] for row in history]
        axes.plot(epochs, train, color=GREY, label="training" if named else None)
        if not (best := [row for row in history if row["best"]]):
            continue
        validation = [row["validation_loss"] for row in history]
        axes.plot(epochs, validation, color=BLUE, label="validation" if named else None)
        axes.plot(best[-1]["epoch"], best[-1]["validation_loss"], "o", color=ORANGE,
                  label="best" if named else None)  # fmt: skip
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def confusion_figure(score: "Score", title: str) -> Figure:
    """One confusion matrix: counts, shaded by the share of the true class."""
    figure = Figure(figsize=(3.6, 3.4))
    axes = figure.add_subplot()
    confusion_panel(axes, row_shares(score.confusion), score.labels, score.confusion)
    axes.set(xlabel="predicted", ylabel="true", title=f"{title}, songs")
    return figure


def forest_figure(cells: Sequence[Cell], music: str, note: str = "") -> Figure:
    """Quadrant macro F of every cell of one music set with its interval; controls are hollow.

    A tick is one repeat; the dashed line is the majority class; `note` is written below.
    """
    groups = grouped(cells, music)
    rows = sum(len(group) + 1 for group in groups.values())
    figure = Figure(figsize=(7, 0.9 + 0.26 * rows))
    axes = figure.add_subplot()
    place = 0
    labels: list[tuple[int, str]] = []
    headings: list[int] = []
    for color, (name, group) in zip(SERIES * 2, groups.items(), strict=False):
        headings.append(len(labels))
        labels.append((place, name))
        for cell in group:
            place += 1
            labels.append((place, cell.name))
            _forest_row(axes, cell, place, INK if name == OTHER_CONTROLS else color)
        place += 1
    floor = majority(cells, music)
    if floor is not None:
        axes.axvline(floor, color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks([at for at, _ in labels], [label for _, label in labels])
    for index in headings:
        axes.get_yticklabels()[index].set_fontweight("bold")
    axes.set(xlim=(0, 1), ylim=(place, -0.7), title=music_name(music))
    axes.set_xlabel("quadrant macro F, songs; 95 % intervals")
    _name_rows(figure, axes, note)
    return figure


def _name_rows(figure: Figure, axes: Axes, note: str) -> None:
    """Names on the left without an axis, `note` below."""
    figure.supxlabel(note, fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _forest_row(axes: Axes, cell: Cell, place: int, color: str) -> None:
    figure = cell.quadrant
    if figure.low is not None and figure.high is not None:
        axes.plot([figure.low, figure.high], [place] * 2, color=color, linewidth=1.2)
    axes.plot(cell.by_repeat, [place + 0.22] * len(cell.by_repeat), "|", color=color, markersize=5)
    face = "white" if cell.control else color
    axes.plot(figure.f1, place, "D" if cell.control else "o", color=color, markerfacecolor=face,
              markersize=5)  # fmt: skip


def differences_figure(comparisons: Sequence[Comparison], title: str, note: str = "") -> Figure:
    """Differences in points of macro F with their 95 % intervals."""
    comparisons = sorted(comparisons, key=lambda one: (one.music, one.mode))
    figure = Figure(figsize=(8, 1.3 + 0.24 * len(comparisons)))
    axes = figure.add_subplot()
    for place, one in enumerate(comparisons):
        axes.plot([one.low, one.high], [place] * 2, color=BLUE, linewidth=1.2)
        axes.plot(one.difference, place, "o", color=BLUE, markersize=5)
    names = [
        f"{music_name(one.music)}, {mode_name(one.mode).lower()}: {' − '.join(one.sides)}"
        for one in comparisons
    ]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="points of quadrant macro F, songs")
    figure.suptitle(title, fontsize=10)
    _name_rows(figure, axes, note)
    return figure


def settings_figure(panels: Panels, cells: Sequence[Cell], note: str = "") -> Figure:
    """Quadrant macro F by setting, a panel a music set and mode, a colour an arch and experiment.

    `panels` are those of `matrix.by_setting`; `note` is written below.
    """
    keys = series_keys(panels)
    figure = Figure(figsize=(7, 5))
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, ((music, mode), series) in zip(grid.flat, panels.items(), strict=False):
        for key, points in series.items():
            place = keys.index(key)
            color = SERIES[place % 4]
            for cell in points:
                x = SETTINGS.index(cell.setting) + (place - (len(keys) - 1) / 2) * 0.18
                low, high = cell.quadrant.low, cell.quadrant.high
                if low is not None and high is not None:
                    axes.plot([x, x], [low, high], color=color, linewidth=1.2)
                axes.plot(x, cell.quadrant.f1, "o", color=color, markersize=5,
                          markerfacecolor="white" if cell.control else color)  # fmt: skip
        axes.set(ylim=(0, 1), xlim=(-0.6, len(SETTINGS) - 0.4))
        axes.set_title(f"{music_name(music)}, {mode_name(mode).lower()}", fontsize=9)
        names = ["no speech" if setting == "none" else setting for setting in SETTINGS]
        axes.set_xticks(range(len(SETTINGS)), names, fontsize=8)
    for place, key in enumerate(keys):
        grid.flat[0].plot([], [], "o", color=SERIES[place % 4],
                          label=series_name(*key, cells))  # fmt: skip
    grid.flat[0].legend(frameon=False, fontsize=8)
    figure.supylabel("quadrant macro F, songs", fontsize=9)
    figure.supxlabel(note, fontsize=7.5)
    return figure


def pretraining_figure(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], note: str = ""
) -> Figure:
    """Loss by epoch, a panel a language of speech; the kept epoch is marked, `note` is below."""
    figure = Figure(figsize=(7, 2.6))
    grid = figure.subplots(1, len(histories), sharey=True, squeeze=False)
    for axes, (title, history) in zip(grid.flat, histories.items(), strict=True):
        _draw_history(axes, [history])
        axes.set_title(title, fontsize=9)
    grid.flat[0].set_ylabel("loss")
    grid.flat[-1].legend(frameon=False, fontsize=8)
    figure.supxlabel(note, fontsize=7.5)
    return figure
