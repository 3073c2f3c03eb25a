"""Majority, soft or reliable labels: the same cells learned from each, compared on the same songs.

The present kind lies in build/; the others are found in MLflow, of experiments that differ in
nothing else that a score depends on: split, protocol, size, head, architecture.
"""

from collections import defaultdict
from typing import Any, get_args

import pandas as pd

from recitative.evaluation.comparisons import CellKey, compare_labels, split_cells
from recitative.experiment.earlier import earlier_predictions
from recitative.experiment.places import TRANSFER
from recitative.learning.config import LabelKind
from recitative.params import Params
from recitative.vocabulary import PAIRINGS

Tables = dict[CellKey, pd.DataFrame]


def compared_labels(params: Params) -> list[dict[str, Any]]:
    """Rows of `compare_labels`; none where only one kind has been trained on.

    Raises:
        UserError: the MLflow store cannot be read, or a table in it cannot be scored.
    """
    here = _here()
    if not here:
        return []
    kinds = {params.transfer.labels: here}
    for kind in get_args(LabelKind):
        if kind != params.transfer.labels and (cells := _earlier(params, kind)):
            kinds[kind] = cells
    return compare_labels(kinds, params.evaluate, params.seed)


def _here() -> Tables:
    paths = {pairing: TRANSFER / pairing / "predictions.csv" for pairing in PAIRINGS}
    return split_cells({name: pd.read_csv(path) for name, path in paths.items() if path.exists()})


def _earlier(params: Params, kind: str) -> Tables:
    parts: dict[CellKey, list[pd.DataFrame]] = defaultdict(list)
    for found in earlier_predictions(params, kind):
        if found.arch == params.pretrain.arch and found.pairing in PAIRINGS:
            parts[CellKey(found.mode, found.pairing)].append(found.table)
    return {key: pd.concat(tables, ignore_index=True) for key, tables in parts.items()}
