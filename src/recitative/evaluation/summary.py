"""One row a cell and task, song level: mean over repeats with its interval, and the spread.

Of one experiment (summary.csv), or of all on the same test songs (matrix.csv): there, too, each
experiment and architecture is a family of its own, so that a further experiment changes no p.
"""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean as mean
from typing import Any

import pandas as pd

from recitative.evaluation import EvaluateConfig
from recitative.evaluation.claims import CellName
from recitative.evaluation.comparisons import TEST_COLUMNS, CellKey, Cells, compare, spreads_of
from recitative.evaluation.metrics import LABELS, TASKS, score, song_decisions
from recitative.evaluation.statistics import bootstrap_interval
from recitative.seeding import derive_rng

SUMMARY_COLUMNS = (
    "music_language", "arch", "transfer_mode", "pairing", "task", "average", "songs", "repeats",
    "precision", "recall", "f1", "low", "high", "repeat_min", "repeat_max",
)  # fmt: skip
MATRIX_COLUMNS = ("experiment", *SUMMARY_COLUMNS)
MATRIX_TEST_COLUMNS = ("experiment", *TEST_COLUMNS)


def summarise(cells: Cells, config: EvaluateConfig, seed: int) -> list[dict[str, Any]]:
    """The rows of summary.csv.

    The interval over songs and trainings is of the macro average; the weighted average,
    which the paper printed under macro's name (C9), has none.
    """
    decisions = {
        (key, task): song_decisions(table, task) for key, table in cells.items() for task in TASKS
    }
    known = spreads_of(decisions, lambda name: (name[0].mode, name[1]))
    rows = []
    for key, table in cells.items():
        for task in TASKS:
            decided = decisions[key, task]
            scored = [score(decided.true, repeat, task) for repeat in decided.predicted]
            rng = derive_rng(seed, "interval", key.mode, key.pairing, task)
            interval = bootstrap_interval(
                decided.true,
                decided.predicted,
                len(LABELS[task]),
                rng,
                draws=config.draws,
                spread=known[key, task],
            )
            for average in ("macro", "weighted"):
                found = [getattr(one, average) for one in scored]
                f1 = [one.f1 for one in found]
                bounds = (interval.low, interval.high) if average == "macro" else (None, None)
                rows.append(
                    {
                        "music_language": key.music, "arch": table["arch"].iloc[0],
                        "transfer_mode": key.mode, "pairing": key.pairing, "task": task,
                        "average": average, "songs": len(decided.songs), "repeats": len(scored),
                        "precision": mean(one.precision for one in found),
                        "recall": mean(one.recall for one in found),
                        "f1": mean(f1), "low": bounds[0], "high": bounds[1],
                        "repeat_min": min(f1), "repeat_max": max(f1),
                    }
                )  # fmt: skip
    return rows


def matrix_rows(
    cells: Mapping[CellName, pd.DataFrame], config: EvaluateConfig, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of matrix.csv and of matrix_tests.csv, from test predictions of all repeats.

    Raises:
        UserError: two cells of one music set were not tested on the same songs, or a table cannot
            be scored.
    """
    grouped: dict[tuple[str, str], dict[CellKey, pd.DataFrame]] = defaultdict(dict)
    for name in sorted(cells):
        grouped[name.experiment, name.arch][CellKey(name.mode, name.pairing)] = cells[name]
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for (experiment, _), there in grouped.items():
        rows += [{"experiment": experiment} | row for row in summarise(there, config, seed)]
        tests += [{"experiment": experiment} | row for row in compare(there, config, seed)]
    return rows, tests
