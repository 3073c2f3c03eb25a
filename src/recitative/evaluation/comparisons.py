"""Paired comparisons between cells on the same test songs: the rows of tests.csv.

The family is fixed before any score is seen: on each music set and in each mode, every pairing
against every other, and against the control that differs from it only by the pretraining. That is
`FAMILY` comparisons of one experiment and architecture, whether all of them were run or not: a
corrected p depends on its own comparison alone (Bonferroni, docs/statistics.md).
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from recitative.evaluation import EvaluateConfig
from recitative.evaluation.contrasts import contrast, pair, permutation_p
from recitative.evaluation.metrics import LABELS, SongDecisions, require_same_songs, song_decisions
from recitative.evaluation.statistics import Decisions, Name, Spread, bonferroni, spreads
from recitative.seeding import derive_rng
from recitative.vocabulary import MUSIC, SPEECH

# The control that a mode differs from by nothing but the pretraining.
NO_PRETRAINING = {"feature_extraction": "random_encoder", "full": "scratch"}
TEST_COLUMNS = (
    "music_language", "arch", "task", "a_mode", "a_pairing", "b_mode", "b_pairing", "songs",
    "difference", "low", "high", "p_songs", "p_repeats", "p_corrected",
)  # fmt: skip

LABEL_COLUMNS = (
    "music_language", "mode", "pairing", "a_labels", "b_labels", "songs",
    "difference", "low", "high", "p_songs", "p_repeats", "p_corrected",
)  # fmt: skip

_CELLS = len(MUSIC) * len(NO_PRETRAINING) * len(SPEECH)  # pretrained, of one experiment and encoder
FAMILY = 2 * _CELLS  # of three pairings: as many pairs among them as pairs with their control
LABEL_FAMILY = 3 * _CELLS  # pairs of majority, soft and reliable labels, in each cell


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
    `p_corrected` the larger of the two, corrected for the family. The variance between trainings is
    pooled over the cells of a mode.
    """
    decisions = {key: song_decisions(table, "quadrant") for key, table in cells.items()}
    known = spreads_of(decisions, lambda key: key.mode)
    rows: list[dict[str, Any]] = []
    for a, b in family(cells):
        rng = derive_rng(seed, "compare", a.mode, a.pairing, b.mode, b.pairing)
        arch = str(cells[a]["arch"].iloc[0])
        rows.append(
            {
                "music_language": a.music, "arch": arch, "task": "quadrant",
                "a_mode": a.mode, "a_pairing": a.pairing, "b_mode": b.mode, "b_pairing": b.pairing,
            }
            | _measured(decisions[a], decisions[b], config, rng, FAMILY, (known[a], known[b]))
        )  # fmt: skip
    return rows


def compare_labels(
    kinds: Mapping[Any, Cells], config: EvaluateConfig, seed: int
) -> list[dict[str, Any]]:
    """What learning from other labels does: each kind against each, cell by cell, on the same songs.

    The test songs keep the set's own annotation under every kind, so that only the training
    differs. The family is every cell under each pair of the three kinds of `transfer.labels`
    (`LABEL_FAMILY`). A cell that one of them lacks is left out for it.
    """
    decisions = {
        (kind, key): song_decisions(table, "quadrant")
        for kind, cells in kinds.items()
        for key, table in cells.items()
    }
    known = spreads_of(decisions, lambda name: (name[0], name[1].mode))
    rows: list[dict[str, Any]] = []
    for a_labels, b_labels in combinations(kinds, 2):
        for key in kinds[a_labels]:
            a, b = (a_labels, key), (b_labels, key)
            if b not in decisions:
                continue
            rng = derive_rng(seed, "labels", a_labels, b_labels, key.mode, key.pairing)
            rows.append(
                {
                    "music_language": key.music, "mode": key.mode, "pairing": key.pairing,
                    "a_labels": a_labels, "b_labels": b_labels,
                }
                | _measured(
                    decisions[a], decisions[b], config, rng, LABEL_FAMILY, (known[a], known[b])
                )
            )  # fmt: skip
    return rows


def spreads_of(
    decisions: Mapping[Name, SongDecisions], kind: Callable[[Name], Hashable]
) -> dict[Name, Spread]:
    """How much the trainings of each cell's kind vary (`statistics.spreads`)."""
    cells = {
        name: Decisions.of(one.true, one.predicted, len(LABELS[one.task]))
        for name, one in decisions.items()
    }
    return spreads(cells, kind)


def _measured(
    left: SongDecisions,
    right: SongDecisions,
    config: EvaluateConfig,
    rng: np.random.Generator,
    size: int,
    known: tuple[Spread, Spread],
) -> dict[str, Any]:
    """How many songs, the difference in points with its interval, and the p-values."""
    require_same_songs(left, right)
    sets = pair(left.true, left.predicted, right.predicted)
    found = contrast(sets, 4, rng, draws=config.draws, spreads=dict(zip("ab", known, strict=True)))
    p_songs = permutation_p(sets, 4, rng, draws=config.draws)
    return {
        "songs": len(left.songs), "difference": found.value, "low": found.low, "high": found.high,
        "p_songs": p_songs, "p_repeats": found.p_repeats,
        "p_corrected": bonferroni(max(p_songs, found.p_repeats), size),
    }  # fmt: skip
