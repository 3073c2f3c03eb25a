"""Runs, against a real store: what is in them, how they end, and whose they are."""

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run as LoggedRun

from recitative.tracking.runs import (
    BORN,
    HOST,
    PID,
    Input,
    open_run,
    parent_run_id,
    reap,
    run_here_or_new,
)
from recitative.tracking.store import EXPERIMENT, client, experiment_id, project_root, tracking_uri

FORK = multiprocessing.get_context("fork")  # mlflow is imported already: seconds a process
CREATORS = 4


def in_a_process(work: Callable[..., None], *arguments: Any) -> Any:
    """Start `work` in a process with no client of its own yet."""

    def fresh() -> None:
        client.cache_clear()
        work(*arguments)

    process = FORK.Process(target=fresh)
    process.start()
    return process


def create_and_log(number: int, barrier: Any) -> None:
    barrier.wait()
    with open_run(f"creator {number}", {"number": number}, {}, measure=False) as opened:
        opened.log_metrics({"loss": number})


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int | None]]:
    """A project whose store four processes make at once; their exit codes."""
    root = tmp_path_factory.mktemp("project with spaces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        client.cache_clear()
        barrier = FORK.Barrier(CREATORS)
        creators = [in_a_process(create_and_log, n, barrier) for n in range(CREATORS)]
        for creator in creators:
            creator.join()
        yield [creator.exitcode for creator in creators]
    client.cache_clear()


def found(run_id: str) -> LoggedRun:
    return client().get_run(run_id)


def status(run_id: str) -> str:
    state: str = found(run_id).info.status
    return state


# The store.


def test_four_processes_may_make_the_store_at_once(store: list[int | None]) -> None:
    assert store == [0] * CREATORS
    runs = client().search_runs([experiment_id()], "tags.mlflow.runName LIKE 'creator %'")
    assert sorted(r.data.metrics["loss"] for r in runs) == [0, 1, 2, 3]
    assert {r.info.status for r in runs} == {"FINISHED"}
    named = [e.name for e in client().search_experiments()]
    assert named.count(EXPERIMENT) == 1


def test_the_store_lies_in_the_original_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # as in the copy that `dvc exp run --temp` works in
    root = Path(os.environ["DVC_ROOT"]).resolve()
    assert project_root() == root
    assert tracking_uri() == f"sqlite:///{root / 'mlflow.db'}"
    assert (root / "mlflow.db").is_file()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri() == "http://server:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")  # as `mlflow run` exports it
    assert tracking_uri() == f"sqlite:///{root / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/mine.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("DVC_ROOT")
    assert tracking_uri() == f"sqlite:///{tmp_path.resolve() / 'mlflow.db'}"


# What a run holds.


def test_a_run_holds_its_params_tags_metrics_inputs_and_files(tmp_path: Path) -> None:
    params = {f"p{i}": i for i in range(250)} | {"pairing": "eng2man", "long": "x" * 900}
    inputs = [
        Input("music-man", "d1", "build/features/music-man", "training, evaluation"),
        Input("speech-eng", "d2", "build/features/speech-eng", "training"),
    ]
    (tmp_path / "history.csv").write_text("epoch\n0\n")
    with open_run(
        "eng2man", params, {"pairing": "eng2man", "repeat": 0}, inputs, measure=False
    ) as it:
        assert status(it.id) == "RUNNING"
        for epoch in range(3):
            it.log_metrics({"train_loss": 1 / (epoch + 1)}, step=epoch)
        it.set_tags({"champion": True})
        it.log_artifact(tmp_path / "history.csv", "tables")
    logged = found(it.id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "eng2man"
    assert logged.data.params == {name: str(value)[:500] for name, value in params.items()}
    tags = logged.data.tags
    assert (tags["pairing"], tags["repeat"], tags["champion"]) == ("eng2man", "0", "True")
    assert tags[PID] == str(os.getpid())
    assert "mlflow.parentRunId" not in tags
    history = client().get_metric_history(it.id, "train_loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    read = {
        (data.dataset.name, data.dataset.digest, tag.value)
        for data in logged.inputs.dataset_inputs
        for tag in data.tags
    }
    # The store keeps one input a dataset.
    expected = {("music-man", "d1", "training, evaluation"), ("speech-eng", "d2", "training")}
    assert read == expected
    assert [file.path for file in client().list_artifacts(it.id, "tables")] == [
        "tables/history.csv"
    ]


def test_a_parent_groups_its_children() -> None:
    with (
        open_run("parent", {}, {}, measure=False) as parent,
        open_run("child", {}, {}, parent=parent.id, measure=False) as child,
    ):
        pass
    assert found(child.id).data.tags["mlflow.parentRunId"] == parent.id
    assert status(parent.id) == status(child.id) == "FINISHED"


def test_the_run_of_mlflow_run_is_a_parent_not_the_run_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RECITATIVE_PARENT_RUN", raising=False)
    assert parent_run_id() is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "made-by-mlflow-run")
    assert parent_run_id() == "made-by-mlflow-run"
    assert parent_run_id() == "made-by-mlflow-run"  # a second parent of the same process, too
    assert "MLFLOW_RUN_ID" not in os.environ  # whatever is started next would join that run
    monkeypatch.delenv("RECITATIVE_PARENT_RUN")
    with open_run("stage", {"x": 1}, {}, measure=False) as stage:
        assert stage.id != "made-by-mlflow-run"


# How it ends.


def test_an_error_fails_the_run_and_is_told(tmp_path: Path) -> None:
    remembered = tmp_path / "work" / "run_id"
    with (
        pytest.raises(ValueError, match="planted"),
        open_run("fails", {}, {}, resume=remembered, measure=False) as it,
    ):
        raise ValueError("planted " + "x" * 900)
    assert status(it.id) == "FAILED"
    assert found(it.id).data.tags["error"].startswith("planted xxx")
    assert remembered.read_text() == it.id

    # Started again, it goes on in the same run, and the error is no longer true.
    with open_run("fails", {}, {"other": 1}, resume=remembered, measure=False) as again:
        assert again.id == it.id
        assert status(it.id) == "RUNNING"
    assert status(it.id) == "FINISHED"
    tags = found(it.id).data.tags
    assert tags["resumed"] == "true"
    assert "error" not in tags
    assert not remembered.exists()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_failure(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt), open_run("stops", {}, {}, measure=False) as it:
        raise interrupt
    assert status(it.id) == "KILLED"
    assert "error" not in found(it.id).data.tags


@pytest.mark.parametrize("text", ["", "no-such-run", "deleted"])
def test_a_remembered_run_that_is_gone_starts_a_new_one(text: str, tmp_path: Path) -> None:
    remembered = tmp_path / "run_id"
    if text == "deleted":
        with open_run("to be deleted", {}, {}, measure=False) as deleted:
            pass
        client().delete_run(deleted.id)
        text = deleted.id
    remembered.write_text(text)
    with open_run("new", {}, {}, resume=remembered, measure=False) as it:
        assert it.id != text
        assert remembered.read_text() == it.id
    assert status(it.id) == "FINISHED"


# Runs of another's store.


def test_a_run_of_this_store_stands_for_itself_and_another_gets_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_run("trained", {}, {}, measure=False) as mine:
        pass
    assert run_here_or_new(mine.id, "mer-eng", {}) == mine.id
    assert capsys.readouterr().out == ""
    theirs = "0123456789abcdef0123456789abcdef"
    made = run_here_or_new(theirs, "mer-eng", {"pairing": "eng2eng"})
    assert theirs in capsys.readouterr().out
    assert status(made) == "FINISHED"
    tags = found(made).data.tags
    assert (tags["trained_elsewhere"], tags["pairing"]) == (theirs, "eng2eng")
    assert run_here_or_new(theirs, "mer-eng", {}) == made
    assert capsys.readouterr().out == ""


# Killed processes.


def be_killed(remembered: Path) -> None:
    with open_run("killed", {}, {}, resume=remembered, measure=False):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_processs_run_is_reaped_and_a_live_one_is_left(tmp_path: Path) -> None:
    remembered = tmp_path / "run_id"
    killed = in_a_process(be_killed, remembered)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    dead = remembered.read_text()
    assert status(dead) == "RUNNING"
    with (
        open_run("alive", {}, {}, measure=False) as alive,
        open_run("old", {}, {}, measure=False) as old,
    ):
        # The same pid as this live process, but a process of another time.
        old.set_tags({BORN: "1000.0"})
        others = client().create_run(experiment_id(), tags={HOST: "another machine", PID: "1"})
        unowned = client().create_run(experiment_id())
        assert set(reap()) == {dead, old.id}
        assert status(dead) == status(old.id) == "KILLED"
        assert status(alive.id) == "RUNNING"
        assert status(others.info.run_id) == status(unowned.info.run_id) == "RUNNING"
        assert reap() == []
    # The stage that is started again goes on in the reaped run.
    with open_run("killed", {}, {}, resume=remembered, measure=False) as again:
        assert again.id == dead
        assert reap() == []  # it is this process's now
    assert status(dead) == "FINISHED"


def documented_filters() -> list[str]:
    """Those of the table in docs/comparing.md."""
    text = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    return re.findall(r"^\|[^|]*\| `((?:tags|metrics)\.[^`]*)`", text, re.M)


@pytest.mark.parametrize("words", documented_filters())
def test_the_filters_of_the_documents_are_understood(words: str) -> None:
    with open_run(
        "one to find", {}, {"pairing": "eng2man", "music_language": "man"}, measure=False
    ):
        client().search_runs([experiment_id()], words)


def test_the_experiment_says_what_it_holds() -> None:
    about = client().get_experiment(experiment_id()).tags["mlflow.note.content"]
    assert "test_quadrant_f1" in about
