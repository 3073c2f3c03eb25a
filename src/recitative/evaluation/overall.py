"""The overall effect of language: one mixed model over every transferred cell.

The claims compare cells; this asks of all of them together how much the setting (intra, cross, mix),
the architecture and the transfer mode change whether a song is recognised.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recitative.evaluation.claims import FE, FULL, CellName
from recitative.evaluation.metrics import song_decisions
from recitative.evaluation.statistics import MixedModel, mixed_model


def overall_effects(cells: Mapping[CellName, pd.DataFrame]) -> MixedModel:
    """Effects in percentage points of songs whose quadrant is recognised (`statistics.mixed_model`).

    Args:
        cells: test predictions of each cell, controls too, which are left out.

    Raises:
        UserError: there is no transferred cell, or a table cannot be scored.
    """
    rows = [_correctness(name, table) for name, table in cells.items() if name.mode in (FE, FULL)]
    columns = ("correct", "setting", "arch", "transfer_mode", "song", "repeat")
    return mixed_model(
        pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)
    )


def _correctness(name: CellName, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a song and repeat. Repeats of two cells are different trainings: named apart."""
    decided = song_decisions(predictions, "quadrant")
    repeats, songs = decided.predicted.shape
    speech = name.pairing.split("2")[0]
    setting = "intra" if speech == name.music else "mix" if speech == "mix" else "cross"
    return pd.DataFrame(
        {
            "correct": (decided.predicted == decided.true).ravel().astype(np.int64),
            "setting": setting,
            "arch": name.arch,
            "transfer_mode": name.mode,
            "song": [f"{name.music}/{song}" for song in decided.songs] * repeats,
            "repeat": np.repeat(
                [f"{name.experiment}-{name.music}-{r}" for r in range(repeats)], songs
            ),
        }
    )


def format_effects(model: MixedModel) -> str:
    """The effects as lines for the screen."""
    lines = [
        f"{c.term} {c.level} against {c.baseline}: {c.estimate:+.1f} points of songs recognised "
        f"[{c.low:+.1f}, {c.high:+.1f}], p {c.p:.3f}"
        for c in model.coefficients
    ]
    return "\n".join([*lines, *model.statements])
