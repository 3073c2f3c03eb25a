"""Figures, drawn without a display: learning curves, confusion matrices, scores with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from recitative.evaluation.metrics import Score

# Okabe and Ito's palette: told apart with any colour vision.
INK, BLUE, ORANGE, GREEN, PURPLE, GREY = (
    "#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999",
)  # fmt: skip
mpl.rcParams |= {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
}


def history_figure(*histories: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation loss by epoch, a line a fold; the kept epoch is marked."""
    figure = Figure(figsize=(6, 3.4))
    axes = figure.add_subplot()
    for fold, history in enumerate(histories):
        epochs = [row["epoch"] for row in history]
        named = fold == 0
        train, validation = ([row[f"{p}_loss"] for row in history] for p in ("train", "validation"))
        axes.plot(epochs, train, color=GREY, label="training" if named else None)
        axes.plot(epochs, validation, color=BLUE, label="validation" if named else None)
        best = [row for row in history if row["best"]][-1]
        axes.plot(best["epoch"], best["validation_loss"], "o", color=ORANGE,
                  label="best" if named else None)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def confusion_figure(score: "Score", title: str) -> Figure:
    """One confusion matrix: counts, shaded by the share of the true class."""
    counts = score.confusion
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    figure = Figure(figsize=(3.6, 3.4))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in ((i, j) for i in range(len(counts)) for j in range(len(counts))):
        axes.text(column, row, str(int(counts[row, column])), ha="center", va="center",
                  color="white" if shares[row, column] > 0.5 else INK)  # fmt: skip
    ticks = range(len(counts))
    axes.set_xticks(ticks, score.labels)
    axes.set_yticks(ticks, score.labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"{title}, songs")
    axes.spines[:].set_visible(False)
    return figure
