"""Predictions of earlier runs in MLflow: those of the present split, the latest training of each."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from recitative.tracking import store
from recitative.tracking.past_runs import predictions_of, pretraining_runs
from recitative.tracking.runs import Run

HASHES = {"eng": "split-1", "man": "split-2"}


def copy_store(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as there, sqlite3.connect(target) as here:
        there.backup(here)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An MLflow store with the experiment and no run; making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        store.client.cache_clear()
        store.client()
        store.client.cache_clear()
    return folder / "mlflow.db"


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """A project without a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    store.client.cache_clear()
    yield tmp_path
    store.client.cache_clear()


@pytest.fixture
def fresh(empty_folder, template):
    """A project whose store has no run yet."""
    copy_store(template, empty_folder / "mlflow.db")
    return empty_folder


def log(folder: Path, pairing="eng2eng", status="FINISHED", table=True, **changes) -> str:
    """A transfer run as the stages log them; returns its id."""
    tags = {
        "experiment": "demo", "arch": "scae", "transfer_mode": "full", "pairing": pairing,
        "repeat": "0", "protocol": "corrected", "labels": "majority", "mlflow.parentRunId": "p",
        "music_language": pairing[-3:], f"split_hash.music-{pairing[-3:]}": HASHES[pairing[-3:]],
    }  # fmt: skip
    parameters = changes.pop("params", {"balance.speech_hours": "0.1", "size": "demo"})
    tags |= changes
    made = store.client().create_run(store.experiment_id(), tags=tags)
    for name, value in parameters.items():
        store.client().log_param(made.info.run_id, name, value)
    if table:
        path = folder / "predictions.csv"
        pd.DataFrame({"clip": [made.info.run_id]}).to_csv(path, index=False)
        store.client().log_artifact(made.info.run_id, str(path))
    store.client().set_terminated(made.info.run_id, status)
    return str(made.info.run_id)


def ids(**more) -> set[str]:
    return {one.run_id for one in predictions_of(HASHES, "corrected", "majority", **more)}


def test_only_finished_runs_on_the_present_split_of_this_protocol_and_labels(fresh):
    wanted = {log(fresh), log(fresh, "man2man"), log(fresh, repeat="1")}
    log(fresh, "mix2eng", **{"split_hash.music-eng": "another"})
    log(fresh, "man2eng", protocol="released")
    log(fresh, "man2eng", labels="soft")
    log(fresh, "man2eng", status="FAILED")
    log(fresh, "man2eng", table=False)
    log(fresh, repeat="all", transfer_mode="parent")
    found = {one.run_id: one for one in predictions_of(HASHES, "corrected", "majority")}
    assert set(found) == wanted
    for run_id in wanted:
        assert found[run_id].table["clip"].tolist() == [run_id]
        assert found[run_id].speech_hours == 0.1


def test_the_latest_training_counts_and_two_are_never_mixed(fresh):
    for repeat in "0123":
        log(fresh, repeat=repeat, **{"mlflow.parentRunId": "old"})
    latest = {log(fresh, repeat=repeat, **{"mlflow.parentRunId": "new"}) for repeat in "01"}
    assert ids() == latest


def test_params_that_must_be_equal(fresh):
    same = log(fresh, params={"transfer.head": "flatten"})
    log(fresh, "mix2eng", params={"transfer.head": "pooled"})
    control = log(fresh, "none2eng", params={})  # knows no head
    assert ids(same={"transfer.head": "flatten"}) == {same, control}


def test_pretrainings_and_their_best_epoch(fresh):
    for language, losses in (("eng", (3, 1, 2)), ("man", ())):
        tags = {"transfer_mode": "pretrain", "protocol": "corrected", "experiment": "1"}
        tags |= {"arch": "cpc", "speech_language": language}
        made = store.client().create_run(store.experiment_id(), tags=tags).info.run_id
        for name, value in {"seed": 7, "cpc.past": 4, "cpc.future": 2}.items():
            store.client().log_param(made, name, value)
        for epoch, loss in enumerate(losses):
            Run(made).log_metrics({"validation_loss": loss}, epoch)
        Run(made).log_metrics({"final_validation_accuracy": 0.75})
        store.client().set_terminated(made, "FINISHED")
    (found,) = pretraining_runs("corrected")  # without a history there is nothing to say
    assert (found.language, found.seed, found.past, found.future) == ("eng", 7, 4, 2)
    assert (found.epochs_to_best, found.epochs, found.accuracy) == (2, 3, 0.75)
    assert pretraining_runs("paper") == []


def test_an_empty_store_has_nothing(empty_folder):
    (empty_folder / "mlflow.db").touch()
    assert ids() == set()
