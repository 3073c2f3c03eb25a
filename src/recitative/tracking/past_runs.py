"""Past runs: what finished runs in MLflow scored and predicted, for claims and report to set beside.

A comparison needs the decisions song by song, not only scores. Every transfer and control run keeps
its test predictions as the artifact `predictions.csv`, and says by the tags ``split_hash.music-*``
which split they belong to.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from recitative.evaluation.verdicts import Pretraining
from recitative.tracking.store import client, experiment_id

METRIC = "test_quadrant_f1"  # macro F at song level
SCORED = ("experiment", "protocol", "arch", "pairing", "transfer_mode")
VERSION = ("dvc_experiment", "certificate_hash")  # only one version's repeats are averaged
ARTIFACT = "predictions.csv"
CELL = ("experiment", "arch", "transfer_mode", "pairing")


@dataclass(frozen=True)
class RunPredictions:
    """One repeat's test predictions, and whose they are."""

    experiment: str
    arch: str
    mode: str
    pairing: str
    speech_hours: float | None  # a language; None where it was not logged
    run_id: str
    table: pd.DataFrame


def earlier_results() -> list[dict[str, Any]]:
    """A row a cell and version of it, the newest version first.

    Of a repeat that was trained more than once under the same DVC experiment and on the same
    splits, the latest run counts.

    Returns:
        Dictionaries with the keys `SCORED` and `VERSION`; ``f1``, the mean over ``repeats``
        repeats of quadrant macro F at song level; ``run_ids``; ``devices`` and ``git_shas``, sorted
        and without doubles; ``start``, of the newest run, in ms since 1970.
    """
    latest: dict[tuple[str, ...], Any] = {}
    for found in _finished("tags.transfer_mode LIKE '%'"):
        tags = found.data.tags
        if METRIC in found.data.metrics and all(name in tags for name in (*SCORED, "repeat")):
            version = (tags.get(name, "unknown") for name in VERSION)
            key = (*(tags[name] for name in SCORED), *version, tags["repeat"])
            latest.setdefault(key, found)
    cells: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for key, found in latest.items():
        cells[key[:-1]].append(found)
    rows = [
        dict(zip((*SCORED, *VERSION), key, strict=True))
        | {
            "f1": mean(found.data.metrics[METRIC] for found in runs),
            "repeats": len(runs),
            "run_ids": [found.info.run_id for found in runs],
            "devices": sorted({found.data.tags.get("device", "unknown") for found in runs}),
            "git_shas": sorted({found.data.tags.get("git_sha", "unknown") for found in runs}),
            "start": max(found.info.start_time for found in runs),
        }
        for key, runs in cells.items()
    ]
    return sorted(rows, key=lambda row: -row["start"])


def predictions_of(
    split_hashes: Mapping[str, str],
    protocol: str,
    labels: str,
    same: Mapping[str, str] | None = None,
) -> list[RunPredictions]:
    """The test predictions of finished transfer and control runs on the present split.

    Of a cell (experiment, arch, mode, pairing) that was trained more than once, the repeats of the
    latest training count, never a mixture of two.
    Runs with another split of their music language, protocol, kind of labels, or logged value of
    what is named in `same` (strings, as MLflow has them) are left out.
    """
    where = (
        f"tags.transfer_mode LIKE '%' AND tags.protocol = '{protocol}' AND tags.labels = '{labels}'"
    )
    chosen: dict[tuple[str, str, str, str], dict[int, Any]] = {}
    parents: dict[tuple[str, str, str, str], str] = {}
    for found in _finished(where):
        tags, params = found.data.tags, found.data.params
        experiment, arch, mode, pairing = (tags.get(name, "") for name in CELL)
        music = tags.get("music_language", "")
        if (
            not tags.get("repeat", "").isdigit()
            or music not in split_hashes
            or tags.get(f"split_hash.music-{music}") != split_hashes[music]
            or any(params.get(name, value) != value for name, value in (same or {}).items())
        ):
            continue
        cell, parent = (experiment, arch, mode, pairing), tags.get("mlflow.parentRunId", "")
        if parents.setdefault(cell, parent) == parent:
            chosen.setdefault(cell, {}).setdefault(int(tags["repeat"]), found)
    return [
        RunPredictions(*cell, _number(found, "balance.speech_hours"), found.info.run_id, table)
        for cell, repeats in sorted(chosen.items())
        for _, found in sorted(repeats.items())
        if (table := _table(found.info.run_id)) is not None
    ]


def pretraining_runs(protocol: str) -> list[Pretraining]:
    """Every finished pretraining under `protocol`, sorted; of equal settings the latest."""
    where = f"tags.transfer_mode = 'pretrain' AND tags.protocol = '{protocol}'"
    latest: dict[tuple[Any, ...], Pretraining] = {}
    for found in _finished(where):
        tags = found.data.tags
        training, losses = (
            client().get_metric_history(found.info.run_id, f"{part}_loss")
            for part in ("train", "validation")
        )
        if not losses:
            continue
        by_epoch = {loss.step: loss.value for loss in training}
        losses = sorted(losses, key=lambda loss: loss.step)
        past, future = (_number(found, f"cpc.{name}", int) for name in ("past", "future"))
        seed = int(found.data.params.get("seed", 0))
        key = (tags["experiment"], tags["arch"], tags["speech_language"], seed, past, future)
        run = Pretraining(
            *key,
            found.data.metrics.get("final_validation_accuracy"),
            min(losses, key=lambda loss: loss.value).step + 1,  # the first of equals
            losses[-1].step + 1,
            found.info.run_id,
            tuple((by_epoch.get(loss.step, math.nan), loss.value) for loss in losses),
        )
        latest.setdefault(key, run)
    return [latest[key] for key in sorted(latest, key=str)]  # not by time: two clones agree


def _finished(where: str) -> list[Any]:
    """Every finished run that the filter lets through, newest first."""
    where, newest = f"attributes.status = 'FINISHED' AND {where}", ["attributes.start_time DESC"]
    page = client().search_runs([experiment_id()], where, order_by=newest, page_token=None)
    found = list(page)
    while token := page.token:
        page = client().search_runs([experiment_id()], where, order_by=newest, page_token=token)
        found += page
    return found


def _number(found: Any, name: str, kind: Callable[[str], Any] = float) -> Any:
    text = found.data.params.get(name)
    return None if text in (None, "None") else kind(text)


def _table(run_id: str) -> pd.DataFrame | None:
    """The artifact of a run; None where the run has none (its artifacts were deleted)."""
    if not any(item.path == ARTIFACT for item in client().list_artifacts(run_id)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_csv(Path(client().download_artifacts(run_id, ARTIFACT, folder)))
