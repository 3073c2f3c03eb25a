"""Paired comparisons between cells on the same test songs: the rows of tests.csv.

The family is fixed before any score is seen: on each music set and in each mode, every pairing
against every other, and against the control that differs from it only by the pretraining. The
family is Holm-corrected as a whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from recitative.evaluation import EvaluateConfig
from recitative.evaluation.contrasts import paired_difference
from recitative.evaluation.metrics import SongDecisions, require_same_songs, song_decisions
from recitative.evaluation.statistics import holm
from recitative.seeding import derive_rng

# The control that a mode differs from by nothing but the pretraining.
NO_PRETRAINING = {"feature_extraction": "random_encoder", "full": "scratch"}
TEST_COLUMNS = (
    "music_language", "arch", "task", "a_mode", "a_pairing", "b_mode", "b_pairing", "songs",
    "difference", "low", "high", "p_songs", "p_repeats", "p_holm",
)  # fmt: skip

LABEL_COLUMNS = (
    "music_language", "mode", "pairing", "a_labels", "b_labels", "songs",
    "difference", "low", "high", "p_songs", "p_repeats", "p_holm",
)  # fmt: skip


@dataclass(frozen=True)
class CellKey:
    """What names a cell: its mode and its pairing."""

    mode: str
    pairing: str

    @property
    def music(self) -> str:
        """Language of the music."""
        return self.pairing.split("2")[1]


Cells = Mapping[CellKey, pd.DataFrame]


def split_cells(predictions: Mapping[str, pd.DataFrame]) -> dict[CellKey, pd.DataFrame]:
    """Predictions by pairing (controls: none2eng, none2man) as one table a cell."""
    return {
        CellKey(str(mode), pairing): table
        for pairing, whole in predictions.items()
        for mode, table in whole.groupby("transfer_mode", sort=False)
    }


def family(cells: Cells) -> Iterator[tuple[CellKey, CellKey]]:
    """Every comparison (a, b) that is made; the difference is a's score less b's."""
    transfer = [key for key in cells if key.mode in NO_PRETRAINING]
    for a, b in combinations(transfer, 2):
        if (a.mode, a.music) == (b.mode, b.music):
            yield a, b
    for a in transfer:
        control = CellKey(NO_PRETRAINING[a.mode], f"none2{a.music}")
        if control in cells:
            yield a, control


def compare(cells: Cells, config: EvaluateConfig, seed: int) -> list[dict[str, Any]]:
    """The rows of tests.csv: differences in points of song-level quadrant macro F.

    `p_songs` is the permutation test over songs; `p_repeats` the bootstrap over songs and repeats;
    `p_holm` corrects the larger of the two over the family.
    """
    decisions: dict[CellKey, SongDecisions] = {}
    rows: list[dict[str, Any]] = []
    for a, b in family(cells):
        for key in (a, b):
            decisions.setdefault(key, song_decisions(cells[key], "quadrant"))
        left, right = decisions[a], decisions[b]
        rng = derive_rng(seed, "compare", a.mode, a.pairing, b.mode, b.pairing)
        arch = str(cells[a]["arch"].iloc[0])
        rows.append(
            {
                "music_language": a.music, "arch": arch, "task": "quadrant",
                "a_mode": a.mode, "a_pairing": a.pairing, "b_mode": b.mode, "b_pairing": b.pairing,
            }
            | _measured(left, right, config, rng)
        )  # fmt: skip
    return corrected(rows)


def compare_labels(
    kinds: Mapping[Any, Cells], config: EvaluateConfig, seed: int
) -> list[dict[str, Any]]:
    """What learning from other labels does: each kind against each, cell by cell, on the same songs.

    The test songs keep the set's own annotation under every kind, so that only the training
    differs. The family, all rows together, is Holm-corrected. A cell that one of the `kinds` of
    `transfer.labels` lacks is left out for it.
    """
    rows: list[dict[str, Any]] = []
    for a_labels, b_labels in combinations(kinds, 2):
        for key in kinds[a_labels]:
            if key not in kinds[b_labels]:
                continue
            left, right = (
                song_decisions(kinds[kind][key], "quadrant") for kind in (a_labels, b_labels)
            )
            rng = derive_rng(seed, "labels", a_labels, b_labels, key.mode, key.pairing)
            rows.append(
                {
                    "music_language": key.music, "mode": key.mode, "pairing": key.pairing,
                    "a_labels": a_labels, "b_labels": b_labels,
                }
                | _measured(left, right, config, rng)
            )  # fmt: skip
    return corrected(rows)


def _measured(
    left: SongDecisions, right: SongDecisions, config: EvaluateConfig, rng: np.random.Generator
) -> dict[str, Any]:
    """How many songs, the difference in points with its interval, and both p-values."""
    require_same_songs(left, right)
    found = paired_difference(
        left.true, left.predicted, right.predicted, 4, rng, draws=config.draws
    )
    return {
        "songs": len(left.songs), "difference": found.value, "low": found.low, "high": found.high,
        "p_songs": found.p_songs, "p_repeats": found.p_repeats,
    }  # fmt: skip


def corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm`, over all of them."""
    if rows:
        p_values = holm([max(row["p_songs"], row["p_repeats"]) for row in rows])
        for row, p in zip(rows, p_values, strict=True):
            row["p_holm"] = float(p)
    return rows
