"""Where runs live: one MLflow store for the checkout and for every temporary copy that DVC makes.

MLFLOW_TRACKING_URI where it is set; else an SQLite file in the original repository's root
(DVC_ROOT, which DVC sets also under `--temp` and `--queue`). That file is made under another name
and renamed when it is whole. Its artifacts lie in mlartifacts/ beside it, also after the project was
moved or copied.
"""

import glob
import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import click
from filelock import FileLock

from recitative.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recitative"
SQLITE = "sqlite:///"
_ABOUT = {
    "mlflow.note.content": Path(__file__).with_name("experiment.txt").read_text(encoding="utf-8")
}
_QUOTED = "sqlite+pysqlite:///"  # the same, with a path that is quoted
PATIENCE = "RECITATIVE_SERVER_PATIENCE"  # s that a server may be away
_PAUSE = 0.5  # s between two tries
_CONNECT = 2.0  # s until a server that does not answer is away
_BUSY = 20.0  # s that another program may hold the SQLite file, as MLflow has it
_PLACES = (  # where MLflow keeps the full addresses of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_HALF = (
    "a process that made it was killed, so it holds no run: delete it and run again (if it does "
    "hold runs, another version of MLflow wrote it)"
)
_REMEDIES = {  # words of SQLite, SQLAlchemy, Alembic, MLflow or the system: what to do
    r"database (table )?is locked": "another program writes to it; wait for it or end it, then run "
    "again",
    r"disk is full|no space left|disk i/o error": "the disk is full; free some space and run again",
    r"read-?only|permission denied": "it cannot be written; mend that, or name another with "
    "MLFLOW_TRACKING_URI",
    r"unable to open|is a directory": "it cannot be opened; mend that, or name another with "
    "MLFLOW_TRACKING_URI",
    r"table \S+ already exists|duplicate column|no such table": _HALF,
    r"database schema|locate revision": "another version of MLflow wrote it; install that version, or "
    "give a store of its own with MLFLOW_TRACKING_URI",
    r"not a database": "move it away and run `dvc repro -f` to make it anew, or set "
    "MLFLOW_TRACKING_URI",
    r"image is malformed": "it is damaged: put a backup in its place, or move it away and run "
    "`dvc repro -f` to make it anew",
    "unsupported uri": "no address of a store; unset MLFLOW_TRACKING_URI, or write "
    "http://HOST:PORT or sqlite:///FILE",
}


def project_root() -> Path:
    """The repository that the user works in.

    Raises:
        UserError: DVC_ROOT names no folder.
    """
    given = os.environ.get("DVC_ROOT")
    root = Path(given or Path.cwd()).resolve()
    if not root.is_dir():
        raise UserError(f"DVC_ROOT={given}: no such folder; unset it (DVC sets it for its stages)")
    return root


def store_file() -> Path | None:
    """The SQLite file that holds the runs; None where another kind of store is named.

    A relative path, as `mlflow run` exports it, is one below the user's repository: DVC's temporary
    copies would each have a store of their own, gone with the copy.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if given.startswith(_QUOTED):
        return Path(unquote(given.removeprefix(_QUOTED)))
    if not given.startswith(SQLITE):
        return None
    return project_root() / given.removeprefix(SQLITE)


def tracking_uri() -> str:
    """The store's address without name and password; UserError where it names no host."""
    if file := store_file():
        return _address(file)
    return _without_password(os.environ["MLFLOW_TRACKING_URI"])


def _address(file: Path) -> str:
    """An SQLite file as SQLAlchemy reads it: it unquotes, and takes what follows a ? for options."""
    path = str(file)
    return f"{_QUOTED}{quote(path)}" if "?" in path or "%" in path else f"{SQLITE}{path}"


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


def wait_for_server() -> None:
    """Come back when the server answers; at once where it does, or where there is none.

    A training is worth more than a server, which may be away for a while.

    Raises:
        UserError: it was away for longer than RECITATIVE_SERVER_PATIENCE (1800 s).
    """
    given = os.environ.get(PATIENCE) or "1800"
    try:
        patience = float(given)
    except ValueError:
        patience = -1.0
    if not patience >= 0:
        raise UserError(f"{PATIENCE}={given}: give seconds, for example 1800")
    if answers():
        return
    click.echo(f"{tracking_uri()} does not answer; waiting for it, nothing is lost", err=True)
    end = time.monotonic() + patience
    while not answers():
        if time.monotonic() > end:
            raise UserError(
                f"{tracking_uri()}: no answer for {patience:g} s; what was trained is kept: start the "
                f"server and run again, or raise {PATIENCE}"
            )
        time.sleep(_PAUSE)


def _without_password(uri: str) -> str:
    """The address alone: name and password go to where MLflow looks for them.

    So neither stands in a report, a message or a run, whoever shows the address.
    """
    found = urlsplit(uri)
    shown = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    if found.scheme in ("http", "https"):
        try:
            host, _ = found.hostname, found.port
        except ValueError:
            host = None
        if not host:
            raise UserError(f"MLFLOW_TRACKING_URI={shown}: names no server; write http://HOST:PORT")
    if not found.username:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(found.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(found.password or "")
    return shown


def explained(error: BaseException, *more: type[Exception]) -> UserError | None:
    """One line for what keeps the store from being used; None where that is not what happened.

    Errors of other libraries than MLflow and those that it uses are none of the store's, but for
    the types in `more`.
    """
    library = type(error).__module__.partition(".")[0]
    known = library in ("mlflow", "sqlalchemy", "alembic", "sqlite3")
    if not known and not isinstance(error, more):
        return None
    reason, file = " ".join(str(error).split()), store_file()
    for words, remedy in _REMEDIES.items():
        if (file or words == "unsupported uri") and re.search(words, reason, re.IGNORECASE):
            return UserError(f"{file or tracking_uri()}: {remedy} ({reason[:200]})")
    return None


@contextmanager
def readable_store(*more: type[Exception]) -> Iterator[None]:
    """Turn what keeps the store from being used, `explained`, into one line.

    Raises:
        UserError: it is incomplete, locked, damaged, of another version, cannot be written, or is no
            store.
    """
    try:
        yield
    except Exception as error:
        if known := explained(error, *more):
            raise known from error
        raise


@cache
def client() -> "MlflowClient":
    """The client of this process; the store is made first, under a lock, where it is not there yet.

    Raises:
        UserError: the store cannot be used, or the server does not answer or does not let you in.
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
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # each error twice
    file, folder = store_file(), project_root() / ".recitative"
    with readable_store(OSError):
        if file:
            folder.mkdir(exist_ok=True)
        with FileLock(folder / "mlflow.lock") if file else nullcontext():  # a server has its own
            if file:
                _prepare(file)
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            made = mlflow.MlflowClient()
            _require_experiment(made)
    return made


def _prepare(file: Path) -> None:
    """See to it that the store is there, whole, and knows where its artifacts are."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.partial*"):  # of a killed process
        left.unlink(missing_ok=True)
    if not file.exists() or not file.stat().st_size:
        _create(file)
    with closing(sqlite3.connect(file, _BUSY)) as database, database:
        # MLflow tries a file that it cannot read again for minutes, and completes half a one.
        database.execute("BEGIN IMMEDIATE")
        database.execute("SELECT version_num FROM alembic_version").fetchone()
        if file == project_root() / "mlflow.db":
            _point_here(database)


def _create(file: Path) -> None:
    """Make the store under another name; a kill at any moment leaves none, or a whole one."""
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
    store = SqlAlchemyStore(_address(temporary), _artifacts())
    try:
        store.create_experiment(
            EXPERIMENT, _artifacts(), [ExperimentTag(*tag) for tag in _ABOUT.items()]
        )
    finally:
        store._dispose_engine()
        store._engine_map.pop(store.db_uri, None)
    with closing(sqlite3.connect(temporary)) as database:
        database.execute("PRAGMA journal_mode=WAL")  # readers beside four writers
    for kind in ("wal", "shm", "journal"):  # of a store that was deleted: SQLite would apply it
        file.with_name(f"{file.name}-{kind}").unlink(missing_ok=True)
    temporary.replace(file)


def _artifacts() -> str:
    return (project_root() / "mlartifacts").as_uri()


def _point_here(database: sqlite3.Connection) -> None:
    """Let the artifacts' addresses, which MLflow stores in full, be those of this project.

    So a project that was moved finds its own, and a copy never writes into the original.
    """
    found = database.execute(
        "SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
    ).fetchone()
    before, here = found[0] if found else "", _artifacts()
    if before == here or not before.endswith("/mlartifacts"):
        return
    for table, column in _PLACES:
        database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
        )


def _require_experiment(made: "MlflowClient") -> None:
    """Make the experiment where it is missing; in a store of others somebody may do so meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        if made.get_experiment_by_name(EXPERIMENT) is None:
            made.create_experiment(EXPERIMENT, _artifacts() if store_file() else None, _ABOUT)
    except MlflowException as error:
        if error.get_http_status_code() in (401, 403):
            raise UserError(
                f"{tracking_uri()}: the server does not let you in; name yourself: "
                "MLFLOW_TRACKING_URI=http://NAME:PASSWORD@HOST:PORT"
            ) from error
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def experiment_id() -> str:
    """The id of the experiment `recitative`."""
    if (found := client().get_experiment_by_name(EXPERIMENT)) is None:
        raise RuntimeError(f"the experiment {EXPERIMENT} was deleted from {tracking_uri()}")
    return str(found.experiment_id)
