"""Where runs live: one MLflow store for the checkout and for every temporary copy that DVC makes.

MLFLOW_TRACKING_URI where it is set; else an SQLite file in the original repository's root
(DVC_ROOT, which DVC sets also under `--temp` and `--queue`).
"""

import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recitative"
DESCRIPTION = """\
Does what a network learns from unlabelled speech in one language help it to recognise emotion in \
music sung in that language?

A run is a pretraining, a search trial, or one repeat of a transfer or control; a parent groups the \
repeats of a pairing. Worth filtering by (`tags.` or `params.`): `pairing`, `setting`, `arch`, \
`transfer_mode`, `protocol`, `experiment`, `dvc_experiment`, `certificate_hash`. The score is \
`test_quadrant_f1`: macro F at song level. Only runs with one `certificate_hash` were tested on the \
same songs.
"""
SQLITE = "sqlite:///"


def project_root() -> Path:
    """The repository that the user works in."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def tracking_uri() -> str:
    """The tracking server's address.

    A relative SQLite path, as `mlflow run` exports it, is one below the user's repository: DVC's
    temporary copies would each have a store of their own, gone with the copy.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if given.startswith(SQLITE):
        return f"{SQLITE}{project_root() / given.removeprefix(SQLITE)}"
    return given


@cache
def client() -> "MlflowClient":
    """The client of this process; the store is made first, under a lock, where it is not there yet.

    Two processes that make a new SQLite store at the same time break it for good.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # files of this machine
    import mlflow

    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    folder = project_root() / ".recitative"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "mlflow.lock"):
        made = mlflow.MlflowClient()
        if made.get_experiment_by_name(EXPERIMENT) is None:
            about = {"mlflow.note.content": DESCRIPTION}
            if uri.startswith(SQLITE):
                with sqlite3.connect(uri.removeprefix(SQLITE)) as database:
                    database.execute("PRAGMA journal_mode=WAL")  # readers beside four writers
                made.create_experiment(EXPERIMENT, (project_root() / "mlartifacts").as_uri(), about)
            else:
                made.create_experiment(EXPERIMENT, tags=about)
    return made


def experiment_id() -> str:
    """The id of the experiment `recitative`."""
    found = client().get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise RuntimeError(f"the experiment {EXPERIMENT} was deleted from {tracking_uri()}")
    return str(found.experiment_id)
