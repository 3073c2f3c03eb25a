"""Majority, soft or reliable labels: the same cells learned from each, compared on the same songs.

The present kind lies in build/; the others are found in MLflow, of experiments that differ in
nothing else that a score depends on: split, protocol, size, head, architecture.
"""

from collections import defaultdict
from typing import Any, get_args

import pandas as pd

from recitative.evaluation.comparisons import CellKey, compare_labels
from recitative.evaluation.metrics import check_predictions
from recitative.learning.config import LabelKind
from recitative.params import Params
from recitative.stages.workspace import PAIRINGS, SPLITS, TRANSFER, file_digest
from recitative.tracking.predictions import predictions_of

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
    cells: Tables = {}
    for pairing in PAIRINGS:
        path = TRANSFER / pairing / "predictions.csv"
        if path.exists():
            for mode, table in pd.read_csv(path).groupby("transfer_mode", sort=False):
                cells[CellKey(str(mode), pairing)] = table
    return cells


def _earlier(params: Params, kind: str) -> Tables:
    hashes = {music: file_digest(SPLITS / f"music-{music}.csv") for music in ("eng", "man")}
    same = {"size": params.size, "transfer.head": params.transfer.head}
    parts: dict[CellKey, list[pd.DataFrame]] = defaultdict(list)
    for found in predictions_of(hashes, params.protocol, kind, same):
        if found.arch == params.pretrain.arch and found.pairing in PAIRINGS:
            check_predictions(found.table, f"MLflow run {found.run_id}: predictions.csv")
            parts[CellKey(found.mode, found.pairing)].append(found.table)
    return {key: pd.concat(tables, ignore_index=True) for key, tables in parts.items()}
