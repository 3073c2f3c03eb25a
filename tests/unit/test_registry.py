"""Versions and aliases, against a real store: nothing twice, and never more than one champion."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file

from recitative.commands import predict as listen
from recitative.errors import UserError
from recitative.tracking import registry
from recitative.tracking.local import local_bundle
from recitative.tracking.registry import CHALLENGER, CHAMPION
from recitative.tracking.store import client, experiment_id

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store of its own, for this process and its children."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client.cache_clear()
        yield root
    client.cache_clear()


def a_run() -> str:
    run_id: str = client().create_run(experiment_id()).info.run_id
    return run_id


def bundle(folder: Path, value: float) -> Path:
    """Weights that differ by `value`."""
    folder.mkdir(exist_ok=True)
    save_file({"w": torch.full((3,), value)}, folder / "model.safetensors")
    (folder / "model.json").write_text("{}")
    return folder


def versions(name: str) -> list[str]:
    return [str(version.version) for version in client().search_model_versions(f"name = '{name}'")]


def holder(name: str, alias: str) -> str | None:
    found = registry.by_alias(name, alias)
    return found.number if found else None


def test_there_is_no_model_at_first(store: Path) -> None:
    assert registry.by_alias("nobody", CHAMPION) is None
    with pytest.raises(UserError, match="no model mer-eng is registered yet: run `make demo`"):
        listen.run([Path("song.wav")], None, None, None)


def test_the_same_weights_are_one_version_with_the_newest_tags(store: Path, tmp_path: Path) -> None:
    run_id, files = a_run(), bundle(tmp_path / "a", 1)
    first = registry.register("same", files, run_id, {"protocol": "paper", "long": "x" * 9000})
    again = registry.register("same", bundle(tmp_path / "b", 1), a_run(), {"protocol": "corrected"})
    other = registry.register("same", bundle(tmp_path / "c", 2), run_id, {})
    assert (first.number, again.number, other.number) == ("1", "1", "2")
    assert first.uri == "models:/same/1"
    tags = registry.resolve("models:/same/1").tags
    assert tags["protocol"] == "corrected"
    assert len(tags["long"]) == 5000
    assert (registry.bundle_of(first) / "model.safetensors").read_bytes() == (
        files / "model.safetensors"
    ).read_bytes()


def test_a_version_is_champion_or_challenger_never_both(store: Path, tmp_path: Path) -> None:
    run_id = a_run()
    one, two = (
        registry.register("alias", bundle(tmp_path / f"{i}", i), run_id, {}) for i in (1, 2)
    )
    registry.set_alias(one, CHAMPION)
    registry.set_alias(two, CHALLENGER)
    assert (holder("alias", CHAMPION), holder("alias", CHALLENGER)) == ("1", "2")
    registry.set_alias(two, CHAMPION)
    assert (holder("alias", CHAMPION), holder("alias", CHALLENGER)) == ("2", None)
    registry.set_alias(two, CHALLENGER)
    assert (holder("alias", CHAMPION), holder("alias", CHALLENGER)) == (None, "2")


@pytest.mark.parametrize(
    "uri",
    ["mer-eng", "models:/mer-eng", "models:/mer-eng@", "models:/mer-eng/", "models:/", "s3:/x"],
)
def test_what_is_no_address_is_told(uri: str, store: Path) -> None:
    with pytest.raises(UserError, match="no address of a model; write models:/mer-eng@champion"):
        registry.resolve(uri)


@pytest.mark.parametrize(
    "uri",
    ["models:/nobody@champion", "models:/nobody/1", "models:/known@nobody", "models:/known/7",
     "models:/known/latest", "models:/known/-1", "models:/a b@c d", "models:/@champion"],
)  # fmt: skip
def test_what_is_not_there_is_told(uri: str, store: Path, tmp_path: Path) -> None:
    registry.register("known", bundle(tmp_path / "a", 5), a_run(), {})
    with pytest.raises(UserError, match="no such model in the registry; `make demo`"):
        registry.resolve(uri)


def test_a_store_that_fails_is_not_a_store_without_a_champion(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: str) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(client(), "get_model_version_by_alias", broken)
    with pytest.raises(MlflowException, match="locked"):
        registry.by_alias("any", CHAMPION)
    with pytest.raises(MlflowException, match="locked"):
        registry.resolve("models:/any@champion")


def in_a_process(work: Callable[..., None], *arguments: object) -> int | None:
    process = SPAWN.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def killed_before_the_alias(files: Path, run_id: str) -> None:
    with registry.registering():
        registry.register("killed", files, run_id, {})
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_kill_before_the_alias_is_healed_by_the_next_time(store: Path, tmp_path: Path) -> None:
    """No lock stays held, no second version comes, and the alias is given."""
    run_id, files = a_run(), bundle(tmp_path / "a", 3)
    assert in_a_process(killed_before_the_alias, files, run_id) == -signal.SIGKILL
    assert versions("killed") == ["1"]
    assert holder("killed", CHAMPION) is None
    with registry.registering():
        version = registry.register("killed", files, run_id, {})
        registry.set_alias(version, CHAMPION)
    assert versions("killed") == ["1"]
    assert holder("killed", CHAMPION) == "1"


def promote_where_there_is_none(files: Path, run_id: str, together: Any) -> None:
    with registry.registering():
        champion = registry.by_alias("race", CHAMPION)
        # Without the lock both meet here, and both have seen no champion.
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(5)
        version = registry.register("race", files, run_id, {})
        registry.set_alias(version, CHALLENGER if champion else CHAMPION)


@pytest.mark.slow
def test_two_processes_at_once_make_one_champion(store: Path, tmp_path: Path) -> None:
    """Both would be champion, were there no lock around the question and the answer."""
    run_id = a_run()
    together = SPAWN.Barrier(2)
    processes = [
        SPAWN.Process(
            target=promote_where_there_is_none,
            args=(bundle(tmp_path / str(i), i), run_id, together),
        )
        for i in (1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(versions("race")) == ["1", "2"]
    assert (holder("race", CHAMPION), holder("race", CHALLENGER)) == ("1", "2")


def test_a_local_model_is_found_without_mlflow_and_is_the_same(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1.0, 2.0):
        version = registry.register("near", bundle(tmp_path / f"{value}", value), a_run(), {})
        registry.set_alias(version, CHAMPION if value == 1.0 else CHALLENGER)
    for which in (CHAMPION, CHALLENGER, "1", "2"):
        uri = f"models:/near/{which}" if which.isdigit() else f"models:/near@{which}"
        found = local_bundle("near", which)
        assert found
        asked = registry.bundle_of(registry.resolve(uri))
        for name in ("model.safetensors", "model.json"):
            assert (found / name).read_bytes() == (asked / name).read_bytes()
    for which in ("3", "nobody", ""):
        assert local_bundle("near", which) is None
    assert local_bundle("far", CHAMPION) is None
    client().delete_model_version("near", "1")
    assert local_bundle("near", "1") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert local_bundle("near", "2") is None
    (tmp_path / "other.db").write_bytes(b"no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    assert local_bundle("near", "2") is None
