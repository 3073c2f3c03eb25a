"""Versions and aliases, against a real store: nothing twice, and never more than one champion."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file

from recitative.commands import predict as listen
from recitative.errors import UserError
from recitative.files import sha256
from recitative.models.storage import weights_path
from recitative.tracking import registry
from recitative.tracking import store as store_module
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
    with pytest.raises(
        UserError, match="no such model in the registry; there is none yet: `make demo`"
    ):
        listen.run([Path("song.wav")], None, None, None)


def test_to_look_for_a_model_outside_a_project_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    client.cache_clear()
    for model in (None, "mer-eng", "mer-eng/3", "models:/mer-man@champion"):
        with pytest.raises(UserError, match="no model is registered here"):
            listen.run([Path("song.wav")], model, None, None)
    client.cache_clear()
    assert list(tmp_path.iterdir()) == []


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
    registry.set_alias(two, CHALLENGER)  # only another champion takes its place
    assert (holder("alias", CHAMPION), holder("alias", CHALLENGER)) == ("2", None)


@pytest.mark.parametrize(
    "address",
    ["models:/mer-eng@", "models:/mer-eng/", "models:/", "s3:/x", "models:/known/latest", "", "..",
     "models:/known/-1", "models:/a b@c d", "models:/@champion", "a/b/c", "known/1\n"],
)  # fmt: skip
def test_what_is_no_address_is_told(address: str, store: Path) -> None:
    with pytest.raises(UserError, match="no model's name; write mer-eng, mer-eng/3"):
        registry.resolve(address)


@pytest.fixture(scope="module")
def known(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a challenger, version 2, and no champion."""
    folder = tmp_path_factory.mktemp("known")
    for value in (5, 6):
        version = registry.register("known", bundle(folder / str(value), value), a_run(), {})
    registry.set_alias(version, CHALLENGER)
    return "known/1, known/2 (challenger)"


@pytest.mark.parametrize(
    "address", ["models:/nobody@champion", "nobody", "nobody/1", "models:/known@nobody", "known/7",
                "models:/known@champion", "models:/known/0"],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_there_is(address: str, known: str) -> None:
    with pytest.raises(UserError) as refused:
        registry.resolve(address)
    assert str(refused.value).startswith(f"{address}: no such model in the registry; there are ")
    assert known in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_alone_is_its_champion_or_else_its_challenger_and_says_so(
    known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for address in ("known", "models:/known"):
        assert registry.resolve(address).short == "known/2"
        assert "known has no champion; this is its challenger" in capsys.readouterr().err
    for address in ("known/2", "models:/known/2", "known@challenger", "models:/known@challenger"):
        assert registry.resolve(address).number == "2"
    assert capsys.readouterr().err == ""


def ensemble(folder: Path, *values: float) -> Path:
    """A description with members, whose weights differ by their values."""
    folder.mkdir()
    members = []
    for repeat, value in enumerate(values):
        path = weights_path(folder / "model.json", repeat, 0)
        save_file({"w": torch.full((3,), value)}, path)
        members.append({"repeat": repeat, "fold": 0, "sha256": sha256(path), "validation": {}})
    (folder / "model.json").write_text(json.dumps({"members": members}))
    return folder


def test_an_ensemble_is_one_version_known_by_all_its_files(store: Path, tmp_path: Path) -> None:
    first = registry.register("many", ensemble(tmp_path / "a", 1, 2), a_run(), {})
    again = registry.register("many", ensemble(tmp_path / "b", 1, 2), a_run(), {})
    other = registry.register("many", ensemble(tmp_path / "c", 1, 3), a_run(), {})
    assert (first.number, again.number, other.number) == ("1", "1", "2")
    assert {path.name for path in registry.bundle_of(first).iterdir()} == {
        "model.json", "model-0-0.safetensors", "model-1-0.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model.json", "model-1-0.safetensors"])
def test_files_that_were_changed_in_the_store_are_found(
    name: str, store: Path, tmp_path: Path
) -> None:
    model = f"changed-{name[:7].strip('.-')}-{len(name)}"
    files = ensemble(tmp_path / "a", 1, 2)
    version = registry.register(model, files, a_run(), {})
    path = registry.bundle_of(version) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if name != "model.json" else path.read_bytes() + b" ")
    with pytest.raises(UserError, match="sha256 differs"):
        registry.bundle_of(version)
    with pytest.raises(UserError, match="sha256 differs"):
        listen.run([Path("song.wav")], f"{model}/1", None, None)
    registry.register(model, files, a_run(), {})  # heals it
    assert path.read_bytes() == (files / name).read_bytes()


def test_versions_and_models_are_described(store: Path, tmp_path: Path) -> None:
    version = registry.register("told", bundle(tmp_path / "a", 1), a_run(), {})
    registry.describe(version, {"decision": "champion"}, "what it is", "what they are")
    assert client().get_model_version("told", "1").description == "what it is"
    assert client().get_registered_model("told").description == "what they are"
    assert registry.resolve("told/1").tags["decision"] == "champion"


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


def test_to_ask_a_server_for_a_model_leaves_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server, or what answers like one: to read from it needs no lock of this machine."""

    class Server:
        def get_experiment_by_name(self, name: str) -> object:
            return object()

    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(store_module, "answers", lambda: True)
    monkeypatch.setattr(mlflow, "MlflowClient", Server)
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    client.cache_clear()
    client()
    client.cache_clear()
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)
    assert list(tmp_path.iterdir()) == []
