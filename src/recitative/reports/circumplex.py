"""A song's path through Russell's valence-arousal plane, and over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from recitative.drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE
from recitative.vocabulary import SIGNS

if TYPE_CHECKING:
    from recitative.predict import Prediction

COLOURS = {"Q1": ORANGE, "Q2": PURPLE, "Q3": BLUE, "Q4": GREEN}


def path_figure(heard: Sequence["Prediction"]) -> Figure:
    """A row a file: left the path, right the quadrants' probabilities over time.

    Valence and arousal are 2 p - 1, from -1 (surely negative) to 1 (surely positive).
    """
    figure = Figure(figsize=(10, 4.4 * len(heard)))
    grid = figure.subplots(len(heard), 2, squeeze=False, width_ratios=[1, 1.35])
    for (plane, time), one in zip(grid, heard, strict=True):
        valence = np.array([2 * e.valence - 1 for e in one.timeline])
        arousal = np.array([2 * e.arousal - 1 for e in one.timeline])
        middle = np.array([(e.start + e.end) / 2 for e in one.timeline])
        plane.axhline(0, color=GREY, lw=0.8)
        plane.axvline(0, color=GREY, lw=0.8)
        plane.plot(valence, arousal, color=GREY, lw=0.8, alpha=0.7)
        dots = plane.scatter(valence, arousal, c=middle, cmap="viridis", s=22, zorder=3)
        plane.plot(2 * one.whole.valence - 1, 2 * one.whole.arousal - 1, "*", ms=16, mfc=ORANGE,
                   mec=INK, zorder=4, label="whole")  # fmt: skip
        for name, (y, x) in SIGNS.items():
            plane.text(0.97 * x, 0.97 * y, name, color=COLOURS[name], weight="bold",
                       ha="right" if x > 0 else "left", va="top" if y > 0 else "bottom")  # fmt: skip
        plane.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xlabel="valence",
                  ylabel="arousal", title=Path(one.file).name)  # fmt: skip
        plane.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0))
        figure.colorbar(dots, ax=plane, label="s", shrink=0.8)
        for name, colour in COLOURS.items():
            time.plot(
                middle, [e.probabilities[name] for e in one.timeline], color=colour, label=name
            )
        time.set(ylim=(0, 1), xlabel="s", ylabel="probability",
                 title=f"whole: {one.whole.quadrant}")  # fmt: skip
        time.legend(frameon=False, ncols=4, loc="upper right")
    return figure
