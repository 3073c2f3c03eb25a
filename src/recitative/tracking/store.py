"""Where runs live: one MLflow store for the checkout and for every temporary copy that DVC makes.

MLFLOW_TRACKING_URI where it is set; else an SQLite file in the original repository's root
(DVC_ROOT, which DVC sets also under `--temp` and `--queue`).
"""

import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from recitative.errors import UserError

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
_CONNECT = 2.0  # s until a server that does not answer is away


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
    return _without_password(given)


def is_server() -> bool:
    """Whether runs are tracked by a server."""
    return tracking_uri().startswith(("http://", "https://"))


def answers() -> bool:
    """Whether something listens where the server should be; a local store always answers."""
    if not is_server():
        return True
    found = urlsplit(tracking_uri())
    port = found.port or (443 if found.scheme == "https" else 80)
    try:
        socket.create_connection((found.hostname or "", port), _CONNECT).close()
    except OSError:
        return False
    return True


def _without_password(uri: str) -> str:
    """The address alone: name and password go to where MLflow looks for them.

    So neither stands in a report, a message or a run, whoever shows the address.
    """
    found = urlsplit(uri)
    if not found.username:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(found.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(found.password or "")
    return urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2]))


@cache
def client() -> "MlflowClient":
    """The client of this process; the store is made first, under a lock, where it is not there yet.

    Two processes that make a new SQLite store at the same time break it for good.

    Raises:
        UserError: the server does not answer, or does not let you in.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # files of this machine
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run
    uri = tracking_uri()
    if not answers():
        raise UserError(f"{uri}: no tracking server answers there; see MLFLOW_TRACKING_URI")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every version that it waits
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    folder = project_root() / ".recitative"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "mlflow.lock"):
        made = mlflow.MlflowClient()
        with _let_in(uri):
            found = made.get_experiment_by_name(EXPERIMENT)
        if found is None:
            about = {"mlflow.note.content": DESCRIPTION}
            if uri.startswith(SQLITE):
                with sqlite3.connect(uri.removeprefix(SQLITE)) as database:
                    database.execute("PRAGMA journal_mode=WAL")  # readers beside four writers
                made.create_experiment(EXPERIMENT, (project_root() / "mlartifacts").as_uri(), about)
            else:
                _create(made, about)
    return made


@contextmanager
def _let_in(uri: str) -> Iterator[None]:
    """Say in one line that a server refuses."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() not in (401, 403):
            raise
        raise UserError(
            f"{uri}: the server does not let you in; name yourself: "
            "MLFLOW_TRACKING_URI=http://NAME:PASSWORD@HOST:PORT"
        ) from error


def _create(made: "MlflowClient", about: dict[str, str]) -> None:
    """Make the experiment on a server, where somebody on another machine may have made it by now."""
    from mlflow.exceptions import MlflowException

    try:
        made.create_experiment(EXPERIMENT, tags=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def experiment_id() -> str:
    """The id of the experiment `recitative`."""
    found = client().get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise RuntimeError(f"the experiment {EXPERIMENT} was deleted from {tracking_uri()}")
    return str(found.experiment_id)
