"""What earlier runs predicted: the tables that other experiments left in MLflow, and their training.

A comparison needs the decisions song by song, not only scores. Every transfer and control run keeps
its test predictions as the artifact `predictions.csv`, and says by the tags ``split_hash.music-*``
which split they belong to; only runs on the present split are read.
"""

import math
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recitative.errors import UserError
from recitative.tracking.store import client, experiment_id, tracking_uri

ARTIFACT = "predictions.csv"
CELL = ("experiment", "arch", "transfer_mode", "pairing")
_PAGE = 1000  # runs a request


@dataclass(frozen=True)
class RunPredictions:
    """One repeat's test predictions, and whose they are."""

    experiment: str
    arch: str
    mode: str
    pairing: str
    repeat: int
    speech_hours: float | None  # a language; None where it was not logged
    run_id: str
    table: pd.DataFrame


@dataclass(frozen=True)
class PretrainingRun:
    """One finished pretraining: its settings and how it went."""

    experiment: str
    arch: str
    language: str
    seed: int
    past: int | None
    future: int | None
    accuracy: float | None  # on validation, of the kept epoch
    epochs_to_best: int  # epochs until the lowest validation loss, from 1
    epochs: int
    run_id: str
    losses: tuple[tuple[float, float], ...]  # of training and validation, by epoch


@contextmanager
def readable_store() -> Iterator[None]:
    """Turn whatever keeps the store from being read into one line.

    Raises:
        UserError: the store is locked, was written by a newer MLflow, or is no store.
    """
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error) as error:
        reason = " ".join(str(error).split())
        said = reason.lower()
        if "locked" in said:
            help_ = "another program writes to it; wait for it or end it, then run again"
        elif "schema" in said or "revision" in said:
            help_ = (
                "another version of MLflow wrote it; install that version, or give a store of its "
                "own with MLFLOW_TRACKING_URI"
            )
        else:
            help_ = (
                "move it away and run `dvc repro -f` to make it anew, or set MLFLOW_TRACKING_URI"
            )
        raise UserError(f"{tracking_uri()}: {help_} (MLflow: {reason[:200]})") from error


def predictions_of(
    split_hashes: Mapping[str, str],
    protocol: str,
    labels: str,
    same: Mapping[str, str] | None = None,
) -> list[RunPredictions]:
    """The test predictions of finished transfer and control runs on the present split.

    Of a cell (experiment, arch, mode, pairing) that was trained more than once, the repeats of the
    latest training count, never a mixture of two.

    Args:
        split_hashes: of each music language's split; runs with another one are left out.
        protocol: runs under another protocol are left out.
        labels: what was learned from (`transfer.labels`); others are left out.
        same: logged params that must be equal where a run has them, as MLflow has them: strings.

    Raises:
        UserError: the store cannot be read (see `readable_store`).
    """
    filters = (
        "attributes.status = 'FINISHED' AND tags.transfer_mode LIKE '%' "
        f"AND tags.protocol = '{protocol}' AND tags.labels = '{labels}'"
    )
    chosen: dict[tuple[str, str, str, str], dict[int, Any]] = {}
    parents: dict[tuple[str, str, str, str], str] = {}
    with readable_store():
        for found in _runs(filters):  # newest first
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
            RunPredictions(
                *cell, repeat, _number(found, "balance.speech_hours"), found.info.run_id, table
            )
            for cell, repeats in sorted(chosen.items())
            for repeat, found in sorted(repeats.items())
            if (table := _table(found.info.run_id)) is not None
        ]


def pretraining_runs(protocol: str) -> list[PretrainingRun]:
    """Every finished pretraining under `protocol`; of equal settings the latest.

    Raises:
        UserError: the store cannot be read.
    """
    filters = (
        "attributes.status = 'FINISHED' AND tags.transfer_mode = 'pretrain' "
        f"AND tags.protocol = '{protocol}'"
    )
    latest: dict[tuple[Any, ...], PretrainingRun] = {}
    with readable_store():
        for found in _runs(filters):
            tags = found.data.tags
            training, losses = (
                client().get_metric_history(found.info.run_id, f"{part}_loss")
                for part in ("train", "validation")
            )
            if not losses:
                continue
            by_epoch = {loss.step: loss.value for loss in training}
            past, future = (_number(found, f"cpc.{name}") for name in ("past", "future"))
            run = PretrainingRun(
                tags["experiment"],
                tags["arch"],
                tags["speech_language"],
                int(found.data.params.get("seed", 0)),
                None if past is None else int(past),
                None if future is None else int(future),
                found.data.metrics.get("final_validation_accuracy"),
                min(losses, key=lambda loss: (loss.value, loss.step)).step + 1,
                max(loss.step for loss in losses) + 1,
                found.info.run_id,
                tuple(
                    (by_epoch.get(loss.step, math.nan), loss.value)
                    for loss in sorted(losses, key=lambda loss: loss.step)
                ),
            )
            key = (run.experiment, run.arch, run.language, run.seed, run.past, run.future)
            latest.setdefault(key, run)
    return list(latest.values())


def _runs(filters: str) -> Iterator[Any]:
    token = None
    while True:
        page = client().search_runs(
            [experiment_id()],
            filters,
            max_results=_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _number(found: Any, name: str) -> float | None:
    text = found.data.params.get(name)
    return None if text in (None, "None") else float(text)


def _table(run_id: str) -> pd.DataFrame | None:
    """The artifact of a run; None where the run has none (its artifacts were deleted)."""
    if not any(item.path == ARTIFACT for item in client().list_artifacts(run_id)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_csv(Path(client().download_artifacts(run_id, ARTIFACT, folder)))
