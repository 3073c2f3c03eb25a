"""The MLflow store: made whole or not at all, found wherever the project lies, refused in one line."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from recitative.errors import UserError
from recitative.tracking import registry, store
from recitative.tracking.runs import Run, open_run

FORK = multiprocessing.get_context("fork")  # mlflow is imported already: seconds a process
STATEMENTS = 1500  # about as many as it takes to make a store
AWKWARD = "what? a#b+c %20 ü"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, its only store the one beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", store.PATIENCE):
        monkeypatch.delenv(name, raising=False)
    store.client.cache_clear()
    yield tmp_path
    store.client.cache_clear()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run, its artifact and a model, as a project leaves them."""
    root = tmp_path_factory.mktemp("template") / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(root)
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        store.client.cache_clear()
        (root / "bundle").mkdir()
        for name in ("model.safetensors", "model.json"):
            (root / "bundle" / name).write_text("{}")
        with open_run("trained", {}, {}, measure=False) as made:
            made.log_artifact(root / "bundle" / "model.json")
        version = registry.register("mer-eng", root / "bundle", made.id, {})
        registry.set_alias(version, registry.CHAMPION)
        store.client.cache_clear()
    return root


def at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on in that folder, as another process would."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow sets it
    monkeypatch.chdir(root)
    store.client.cache_clear()
    _artifact_repos_cache.clear()  # by run id, which copies of a project share


def in_a_process(work: Callable[..., None], *arguments: Any) -> int | None:
    process = FORK.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


# Made whole, or not at all.


def make_and_die(count: int) -> None:
    """Make a store, and die right before the nth thing that is said to the database."""
    said = itertools.count(1)

    def deadly(*_: Any) -> None:
        if next(said) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", deadly)
    store.client()


def check_kills(folder: Path, counts: list[int]) -> None:
    store.client.cache_clear()
    for count in counts:
        assert in_a_process(make_and_die, count) == -signal.SIGKILL
        assert not (folder / "mlflow.db").exists()
    with open_run("at last", {}, {}, measure=False) as made:
        pass
    assert store.client().get_run(made.id).info.status == "FINISHED"
    kept = {path.name for path in folder.iterdir()}
    assert kept <= {".recitative", "mlflow.db", "mlflow.db-shm", "mlflow.db-wal"}
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_kill_while_it_is_made_needs_no_repair(folder: Path) -> None:
    check_kills(folder, [1, 40, 700, STATEMENTS])


@pytest.mark.slow
def test_fifty_kills_while_it_is_made_need_no_repair(folder: Path) -> None:
    check_kills(folder, [random.Random(7).randint(1, STATEMENTS) for _ in range(50)])


def test_an_empty_file_is_made_a_store(folder: Path) -> None:
    (folder / "mlflow.db").touch()
    assert store.experiment_id()


def test_the_log_of_a_store_that_was_deleted_is_not_applied_to_the_next(
    folder: Path, template: Path
) -> None:
    """As `rm mlflow.db` leaves it after a kill."""
    shutil.copyfile(template / "mlflow.db", folder / "copy.db")
    with closing(sqlite3.connect(folder / "copy.db")) as writer, writer:
        writer.execute("CREATE TABLE foreign_words (word TEXT)")
        writer.commit()
        shutil.copyfile(folder / "copy.db-wal", folder / "mlflow.db-wal")
    with open_run("new", {}, {}, measure=False) as made:
        pass
    assert store.client().get_run(made.id).info.run_name == "new"
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert not database.execute("PRAGMA table_info(foreign_words)").fetchall()


# Wherever the project lies.


@pytest.mark.parametrize("name", [AWKWARD, "100%25", "with spaces"])
def test_no_name_of_a_folder_redirects_it(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder / name / "project"
    root.mkdir(parents=True)
    at(root, monkeypatch)
    (root / "song.txt").write_text("la")
    with open_run("sung", {}, {}, measure=False) as made:
        made.log_artifact(root / "song.txt", "a folder")
    assert (root / "mlartifacts" / made.id / "artifacts" / "a folder" / "song.txt").exists()
    assert {path.name for path in folder.iterdir()} == {name}
    assert {path.name for path in (folder / name).iterdir()} == {"project"}
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("sung",)]
    store.client.cache_clear()  # a child inherits the address that mlflow puts into the environment
    assert store.store_file() == root / "mlflow.db"
    assert store.client().get_run(made.id).info.run_name == "sung"


@pytest.mark.parametrize("name", ["renamed", AWKWARD])
def test_a_project_that_was_moved_finds_its_artifacts(
    name: str, folder: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template, folder / "first")
    at(folder / "first", monkeypatch)
    store.client()
    (folder / "first").rename(folder / name)
    at(folder / name, monkeypatch)
    version = registry.by_alias("mer-eng", registry.CHAMPION)
    assert version
    assert registry.bundle_of(version).is_relative_to(folder / name)
    [trained] = store.client().search_runs([store.experiment_id()])
    assert "model.json" in {a.path for a in store.client().list_artifacts(trained.info.run_id)}
    with open_run("next", {}, {}, measure=False) as made:
        made.log_artifact(folder / name / "bundle" / "model.json")
    assert (folder / name / "mlartifacts" / made.id).exists()
    assert not (folder / "first").exists()


def test_a_copy_never_writes_into_the_original(
    folder: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(template.rglob("mlartifacts/**/*"))
    shutil.copytree(template, folder / "copy")
    at(folder / "copy", monkeypatch)
    [trained] = store.client().search_runs([store.experiment_id()])
    Run(trained.info.run_id).log_artifact(folder / "copy" / "bundle" / "model.safetensors")
    assert sorted(template.rglob("mlartifacts/**/*")) == before
    version = registry.by_alias("mer-eng", registry.CHAMPION)
    assert version
    assert registry.bundle_of(version).is_relative_to(folder / "copy")


def test_a_store_of_another_place_keeps_its_own_artifacts(
    folder: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several projects may share one file; it is none of theirs alone."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{template / 'mlflow.db'}")
    [trained] = store.client().search_runs([store.experiment_id()])
    assert str(template) in trained.info.artifact_uri


# Refused in one line, with what to do.


def refused(match: str) -> str:
    with pytest.raises(UserError, match=match) as caught, store.readable_store():
        store.client()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(template: Path, folder: Path) -> Path:
    shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
    return folder / "mlflow.db"


def test_half_a_store_of_an_older_version(folder: Path, template: Path) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    assert "delete it and run again" in refused("was killed")
    file = copied(template, folder)
    with closing(sqlite3.connect(file)) as database, database:
        # Killed between a step and the note that it was done.
        database.execute("DROP TABLE webhooks")
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert "delete it and run again" in refused("was killed")


def test_a_store_of_a_newer_version(folder: Path, template: Path) -> None:
    with closing(sqlite3.connect(copied(template, folder))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    refused("another version of MLflow")


def test_what_is_no_store(folder: Path) -> None:
    (folder / "mlflow.db").write_bytes(b"no database " * 100)
    refused(r"mlflow\.db: move it away")


def test_a_truncated_store(folder: Path, template: Path) -> None:
    file = copied(template, folder)
    with file.open("r+b") as content:
        content.truncate(file.stat().st_size // 2)
    refused(r"mlflow\.db: it is damaged")


def test_a_folder_in_its_place(folder: Path) -> None:
    (folder / "mlflow.db").mkdir()
    refused("cannot be opened")


def test_a_locked_store(folder: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_BUSY", 0)
    with closing(sqlite3.connect(copied(template, folder))) as other:
        other.execute("BEGIN IMMEDIATE")
        refused("another program writes to it")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(30, "Read-only file system"), "cannot be written"),
        (PermissionError(13, "Permission denied"), "cannot be written"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
    ],
)
def test_a_disk_that_takes_nothing(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(store, "_create", fail)
    refused(said)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("foo://x", "no address of a store"),
        ("http://", "names no server"),
        ("http://:5000", "names no server"),
        ("http://user:secret@host:abc", "names no server"),
    ],
)
def test_an_address_that_is_none(uri: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "secret" not in refused(said)


@pytest.mark.parametrize("given", ["abc", "-1", "nan"])
def test_a_patience_that_is_no_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.PATIENCE, given)
    with pytest.raises(UserError, match=f"RECITATIVE_SERVER_PATIENCE={given}: give seconds"):
        store.wait_for_server()


def test_a_dvc_root_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/no/such folder")
    with pytest.raises(UserError, match="DVC_ROOT=/no/such folder: no such folder; unset it"):
        store.client()


def test_an_error_of_the_program_is_not_explained_away() -> None:
    assert store.explained(ValueError("locked")) is None
    assert store.explained(sqlite3.OperationalError('near "SELEC": syntax error')) is None
