"""The whole matrix in one table: every experiment's cells and controls on the same test songs.

What `summary.py` and `comparisons.py` do for one experiment and architecture, for all that there
are; the comparisons are one family, Holm-corrected as a whole.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

from recitative.evaluation import EvaluateConfig
from recitative.evaluation.claims import CellName
from recitative.evaluation.comparisons import TEST_COLUMNS, CellKey, compare, corrected
from recitative.evaluation.summary import SUMMARY_COLUMNS, summarise

MATRIX_COLUMNS = ("experiment", *SUMMARY_COLUMNS)
MATRIX_TEST_COLUMNS = ("experiment", *TEST_COLUMNS)


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
    return rows, corrected(tests)
