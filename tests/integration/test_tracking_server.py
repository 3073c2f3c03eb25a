"""A tracking server on PostgreSQL and S3: who may ask, who writes at once, what its death costs."""

import json
import multiprocessing
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from click.testing import CliRunner
from group import ADMIN, MEMBER, OTHER, Group
from projects import Project, grown_project
from safetensors.torch import save_file
from services import DATABASE_PASSWORD, environment, process, until

from conftest import Server
from recitative.cli import cli
from recitative.errors import UserError
from recitative.experiment.places import REPORT
from recitative.files import read_csv
from recitative.tracking import registry
from recitative.tracking.runs import ELSEWHERE, HOST, PID, open_run, reap
from recitative.tracking.store import client, experiment_id

pytestmark = pytest.mark.integration
SPAWN = multiprocessing.get_context("spawn")
SEARCH = "/api/2.0/mlflow/experiments/search"
WRITERS, STEPS, RACES = 8, 25, 10


@pytest.fixture
def member(group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """This process is a member's, on a machine without keys of the bucket."""
    become(group.uri, tmp_path)
    yield group
    client.cache_clear()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets is gone after it."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
                 "DVC_ROOT"):  # fmt: skip
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def become(uri: str, root: Path) -> None:
    """A machine of its own: a folder, and the address of the server, nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"MLFLOW_TRACKING_URI": uri, "DVC_ROOT": str(root)}
    client.cache_clear()


def test_only_who_has_a_password_and_knows_the_name_is_let_in(group: Group) -> None:
    assert group.ask(SEARCH) == 401
    assert group.ask(SEARCH, ("admin", "password1234")) == 401
    assert group.ask(SEARCH, ADMIN) == 200
    assert group.ask(SEARCH, MEMBER) == 200
    assert group.ask(SEARCH, MEMBER, "mlflow.example.org") == 200
    assert group.ask(SEARCH, MEMBER, "evil.example.org") == 403


def test_a_user_is_refused_in_one_line(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(uri: str, name: str, password: str) -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        refused = CliRunner().invoke(cli, ["server", "add-user", name, "--password", password])
        assert refused.exit_code == 1
        return str(refused.exception)

    assert "already exists" in add(group.admin_uri, MEMBER[0], "another long one")
    assert "eve: no such user was made" in add(group.admin_uri, "eve", "short")
    assert "eve: no such user was made" in add(group.uri, "eve", "ada is no administrator")
    assert "no server; set MLFLOW_TRACKING_URI" in add("", "eve", "there is no server")


def test_the_secrets_are_the_owners_alone(group: Group, project_root: Path) -> None:
    for name in ("secret", "basic_auth.ini"):
        assert (group.folder / ".recitative" / "server" / name).stat().st_mode & 0o077 == 0
    assert DATABASE_PASSWORD in group.database
    processes = [path for path in Path("/proc").glob("[0-9]*") if (path / "cmdline").exists()]
    shown = {path: (path / "cmdline").read_bytes().decode(errors="replace") for path in processes}
    servers = [path for path, text in shown.items() if "uvicorn" in text or group.artifacts in text]
    assert len(servers) >= 2, "the server's command lines are to be seen"
    assert not [text for text in shown.values() if DATABASE_PASSWORD in text]
    for path in servers:
        assert (path / "environ").stat().st_mode & 0o077 == 0
    given = f"DATABASE={group.database}"
    refused = subprocess.run(
        ["make", "-n", "tracking-server", given], cwd=project_root, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "export RECITATIVE_DATABASE" in refused.stderr
    assert DATABASE_PASSWORD not in refused.stderr
    started = CliRunner().invoke(
        cli, ["server", "start", "--artifacts", "s3://x/y", "--database", group.database]
    )
    assert "export RECITATIVE_DATABASE" in str(started.exception)
    assert DATABASE_PASSWORD not in str(started.exception)


# What a member may do, over both of MLflow's addresses.

ADDRESSES = ("/api/2.0", "/ajax-api/2.0")
OUTSIDE = (
    "file:///tmp/recitative-elsewhere", "/tmp/recitative-elsewhere", "s3://group/elsewhere",
    "mlflow-artifacts:/1", "mlflow-artifacts://127.0.0.1/1", "http://127.0.0.1/x",
)  # fmt: skip


class Caller:
    """A member, by one of the addresses."""

    def __init__(self, group: Group, who: tuple[str, str], address: str) -> None:
        self.group, self.who, self.address = group, who, address

    def __call__(self, what: str, body: Any = None, method: str = "POST") -> int:
        return self.full(what, body, method)[0]

    def full(self, what: str, body: Any = None, method: str = "POST") -> tuple[int, str]:
        path = what if what.startswith("/") else f"{self.address}/mlflow/{what}"
        return self.group.request(method, path, self.who, body)

    def make(self, what: str, body: Any) -> dict[str, Any]:
        status, text = self.full(what, body)
        assert status == 200, text
        return dict(json.loads(text))

    def run(self, **more: Any) -> tuple[str, str]:
        """A new run's id, and the address of its artifacts behind the server."""
        made = self.make("runs/create", {"experiment_id": experiment_id(), **more})["run"]
        place = made["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        return made["info"]["run_id"], f"{self.address}/mlflow-artifacts/artifacts/{place}"

    def owner(self, run_id: str) -> str:
        status, text = self.full(f"runs/get?run_id={run_id}", method="GET")
        assert status == 200, text
        tags = {tag["key"]: tag["value"] for tag in json.loads(text)["run"]["data"]["tags"]}
        return str(tags["mlflow.user"])


@pytest.fixture(params=ADDRESSES)
def two(member: Group, request: pytest.FixtureRequest) -> tuple[Caller, Caller]:
    """Ada and bob."""
    assert experiment_id()
    return Caller(member, MEMBER, request.param), Caller(member, OTHER, request.param)


@pytest.mark.parametrize("address", [*ADDRESSES, "/api/3.0", "/ajax-api/3.0"])
@pytest.mark.parametrize("who", [MEMBER, ADMIN], ids=["member", "admin"])
def test_nothing_is_kept_outside_the_artifact_root(
    member: Group, who: tuple[str, str], address: str
) -> None:
    ask = Caller(member, who, address)
    for place in OUTSIDE:
        for name in ("artifact_location", "artifactLocation"):
            body = {"name": "elsewhere", name: place}
            for sent in (body, json.dumps(body), [body]):
                assert ask("experiments/create", sent) in (400, 403, 404), (place, sent)
    found = ask("/api/2.0/mlflow/experiments/get-by-name?experiment_name=elsewhere", method="GET")
    assert found in (403, 404)
    run_id, place = Caller(member, who, "/api/2.0").run()
    assert Caller(member, who, "/api/2.0")("registered-models/create", {"name": "x"}) in (200, 400)
    inside = place.partition("/artifacts/")[2]
    for source in (*OUTSIDE, f"mlflow-artifacts:/{inside}/../../x", "file:///etc", None,
                   f"mlflow-artifacts:/{inside}/%2e%2e/x"):  # fmt: skip
        body = {"name": "x", "source": source, "run_id": run_id}
        assert ask("model-versions/create", body) in (400, 403, 404), source
    for path in ("../../x", "/tmp/x", "..%2f..%2fx", "%252e%252e/x"):
        upload = f"upload-artifact?run_uuid={run_id}&path={path}"
        assert ask(upload, b"text") in (400, 403, 404), path
        below = path.lstrip("/")  # an empty name between two slashes is none
        assert below != path or ask(f"{place}/{path}", b"text", "PUT") in (400, 403, 404), path
    assert not Path("/tmp/recitative-elsewhere").exists()


def test_a_run_is_its_makers(two: tuple[Caller, Caller]) -> None:
    ada, bob = two
    claimed = {"user_id": "bob", "tags": [{"key": "mlflow.user", "value": "bob"}]}
    run_id, place = ada.run(**claimed)
    mine = {"run_id": run_id}
    writes: list[tuple[str, dict[str, Any]]] = [
        ("runs/set-tag", {**mine, "key": "mlflow.user", "value": "bob"}),
        ("runs/set-tag", {**mine, "key": "a", "value": "b"}),
        ("runs/delete-tag", {**mine, "key": "a"}),
        ("runs/log-metric", {**mine, "key": "m", "value": 1, "timestamp": 1, "step": 0}),
        ("runs/log-parameter", {**mine, "key": "p", "value": "1"}),
        ("runs/log-batch", {**mine, **claimed, "metrics": [], "params": []}),
        ("runs/update", {**mine, "status": "FINISHED"}),
        ("runs/delete", mine),
        ("runs/restore", mine),
    ]
    upload = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path=by-page.txt"
    for what, body in writes:
        camel = {"runId": run_id} | {key: value for key, value in body.items() if key != "run_id"}
        old = {"run_uuid": run_id} | {key: value for key, value in body.items() if key != "run_id"}
        both = {**body, "run_uuid": bob.run()[0]}
        for sent in (body, camel, old, both, json.dumps(body)):
            assert bob(what, sent) in (400, 403), (what, sent)
    assert bob(f"{place}/own.txt", b"bob's", "PUT") == 403
    assert bob(f"{place}/../artifacts/own.txt", b"bob's", "PUT") in (400, 403)
    assert bob(upload, b"bob's") == 403
    for what, body in writes:
        status, text = ada.full(what, body)
        assert status == 200, (what, text)
    assert ada.owner(run_id) == "ada"
    assert ada("runs/delete-tag", {**mine, "key": "mlflow.user"}) == 403
    assert ada(f"{place}/own.txt", b"ada's", "PUT") == 200
    assert ada(upload, b"ada's") == 200
    for name in ("own.txt", "by-page.txt"):
        assert bob(f"{place}/{name}", method="DELETE") == 403
        assert bob.full(f"{place}/{name}", method="GET") == (200, "ada's"), "reading is free"
    assert ada(f"{place}/own.txt", method="DELETE") in (200, 204)
    admin = Caller(ada.group, ADMIN, ada.address)
    assert admin("runs/delete", mine) == 200
    gone = {"run_id": "0" * 32, "key": "a", "value": "b"}
    assert "RESOURCE_DOES_NOT_EXIST" in ada.full("runs/set-tag", gone)[1], "not: it is not yours"


def test_what_all_share_is_the_administrators(two: tuple[Caller, Caller]) -> None:
    ada, bob = two
    the = {"experiment_id": experiment_id()}
    name = f"shared{ada.address.replace('/', '-')}"
    ada.make("registered-models/create", {"name": name})
    run_id, place = ada.run()
    source = "mlflow-artifacts:/" + place.partition("/artifacts/")[2]
    tags = [{"key": "mlflow.user", "value": "bob"}, {"key": "sha256", "value": "0"}]
    for _ in range(2):
        ada.make("model-versions/create",
                 {"name": name, "source": source, "run_id": run_id, "tags": tags})  # fmt: skip
    one = {"name": name, "version": "1"}
    for caller in (bob, ada):  # who made the experiment or the model has no more rights
        for what, body, method in (
            ("experiments/update", {**the, "new_name": "mine"}, "POST"),
            ("experiments/delete", the, "POST"),
            ("experiments/set-experiment-tag", {**the, "key": "a", "value": "b"}, "POST"),
            ("registered-models/rename", {"name": name, "new_name": "mine"}, "POST"),
            ("registered-models/delete", {"name": name}, "DELETE"),
            ("model-versions/set-tag", {**one, "key": "sha256", "value": "1"}, "POST"),
            ("model-versions/set-tag", {**one, "key": "mlflow.user", "value": "eve"}, "POST"),
            ("model-versions/delete-tag", {**one, "key": "sha256"}, "DELETE"),
            ("artifacts/presigned-upload-url", {"run_id": run_id, "path": "x"}, "POST"),
            ("users/create", {"username": "eve", "password": "a long enough one"}, "POST"),
            ("users/update-admin", {"username": caller.who[0], "is_admin": True}, "PATCH"),
            ("users/update-password", {"username": "admin", "password": "x" * 20}, "PATCH"),
            ("users/delete", {"username": "bob"}, "DELETE"),
            ("webhooks", {"name": "w", "url": "http://127.0.0.1", "events": []}, "POST"),
            ("traces", {**the, "timestamp_ms": 1}, "POST"),
            ("logged-models", the, "POST"),
            ("/v1/traces", {}, "POST"),
            ("/api/3.0/mlflow/gateway/secrets/create", {"name": "x"}, "POST"),
            (f"{ada.address}/mlflow-artifacts/mpu/create/1/{run_id}/artifacts/search",
             {"path": "x", "num_parts": 1}, "POST"),
        ):  # fmt: skip
            status = caller(what, body, method)
            assert status in (401, 403, 404, 405), (caller.who[0], what, status)
    assert bob("model-versions/delete", one, "DELETE") == 403
    alias = {"name": name, "alias": "champion"}
    assert bob("registered-models/alias", {**alias, "version": "1"}) == 200
    assert bob("registered-models/alias", alias, "DELETE") == 200
    assert bob("model-versions/set-tag", {**one, "key": "note", "value": "good"}) == 200
    assert bob("model-versions/update", {**one, "description": "good"}, "PATCH") == 200
    assert bob("runs/search", {"experiment_ids": [experiment_id()]}) == 200
    assert bob("/", method="GET") == 200
    assert ada("model-versions/delete", one, "DELETE") == 200
    admin = Caller(ada.group, ADMIN, ada.address)
    assert admin("experiments/set-experiment-tag", {**the, "key": "a", "value": "b"}) == 200
    assert admin("registered-models/delete", {"name": name}, "DELETE") == 200


def write(uri: str, root: Path, number: int) -> None:
    """A writer: a run with metrics and an artifact."""
    become(uri, root)
    artifact = root / "numbers.txt"
    artifact.write_text(f"writer {number}")
    with open_run(
        f"writer {number}", {"number": number}, {"test": "writers"}, measure=False
    ) as one:
        for step in range(STEPS):
            one.log_metrics({"value": number * 1000 + step, "other": step}, step)
        one.log_artifact(artifact)


def side_by_side(work: Any, arguments: list[tuple[Any, ...]]) -> None:
    workers = [SPAWN.Process(target=work, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def test_eight_writers_at_once_lose_nothing(
    member: Group, tmp_path: Path, moto_server: Server
) -> None:
    """Each makes the experiment where it is not there yet: that, too, they do at once."""
    roots = [tmp_path / str(number) for number in range(WRITERS)]
    for root in roots:
        root.mkdir()
    side_by_side(write, [(member.uri, root, number) for number, root in enumerate(roots)])
    runs = client().search_runs([experiment_id()], "tags.test = 'writers'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(int(run.data.params["number"]) for run in runs) == list(range(WRITERS))
    for run in runs:
        number = int(run.data.params["number"])
        history = client().get_metric_history(run.info.run_id, "value")
        assert sorted((m.step, m.value) for m in history) == [
            (step, number * 1000 + step) for step in range(STEPS)
        ]
        path = client().download_artifacts(run.info.run_id, "numbers.txt", str(tmp_path))
        assert Path(path).read_text() == f"writer {number}"
    s3 = boto3.client(
        "s3", endpoint_url=moto_server.url, aws_access_key_id="any", aws_secret_access_key="any",
        region_name="us-east-1",
    )  # fmt: skip
    listed = s3.list_objects_v2(Bucket="group")["Contents"]
    assert sum(item["Key"].endswith("numbers.txt") for item in listed) == WRITERS
    assert not list(tmp_path.glob("*/.recitative/unsent/*")), "nor a lock"


def registered(name: str, bundle: Path, value: float) -> registry.Version:
    """A version with weights of its own."""
    bundle.mkdir(parents=True)
    save_file({"w": torch.full((3,), value)}, bundle / "model.safetensors")
    (bundle / "model.json").write_text("{}")
    run_id = client().create_run(experiment_id()).info.run_id
    return registry.register(name, bundle, run_id, {"value": value})


def promote(uri: str, root: Path, value: float, together: Any) -> None:
    """Register other weights and make them champion, at the same time as somebody else."""
    become(uri, root)
    together.wait(120)
    version = registered("race", root / "bundle", value)
    for _ in range(RACES):
        if value == 1:
            client().delete_registered_model_alias("race", registry.CHAMPION)
        together.wait(120)
        registry.set_alias(version, registry.CHAMPION)
        together.wait(120)


def test_two_promotions_at_once_leave_one_champion(member: Group, tmp_path: Path) -> None:
    together = SPAWN.Barrier(2)
    side_by_side(
        promote, [(member.uri, tmp_path / str(value), value, together) for value in (1.0, 2.0)]
    )
    versions = client().search_model_versions("name = 'race'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    aliases = client().get_registered_model("race").aliases
    assert list(aliases) == [registry.CHAMPION]
    champion = registry.by_alias("race", registry.CHAMPION)
    assert champion is not None
    assert (registry.bundle_of(champion) / "model.safetensors").exists()


def test_a_member_promotes_what_another_registered(member: Group, tmp_path: Path) -> None:
    """Ada's challenger becomes bob's champion: it is not a challenger any more."""
    assert registry.by_alias("both", registry.CHAMPION) is None
    version = registered("both", tmp_path / "bundle", 1.0)
    registry.set_alias(version, registry.CHALLENGER)
    become(member.uri_of("bob"), tmp_path)
    registry.set_alias(version, registry.CHAMPION)
    assert list(client().get_registered_model("both").aliases) == [registry.CHAMPION]
    with pytest.raises(UserError, match="no such model in the registry"):
        registry.resolve("models:/neither@champion")


def test_a_model_that_another_trained_is_registered_under_a_run_of_ones_own(
    member: Group, tmp_path: Path
) -> None:
    """And what another left running on the same machine stays as it is."""
    with open_run("training", {}, {}, measure=False) as training:
        pass
    made = client().create_run(experiment_id(), tags={HOST: platform.node(), PID: "4194305"})
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    save_file({"w": torch.full((3,), 7.0)}, bundle / "model.safetensors")
    (bundle / "model.json").write_text("{}")
    become(member.uri_of("bob"), tmp_path)
    assert made.info.run_id not in reap()
    version = registry.register("trained", bundle, training.id, {})
    run = client().get_run(client().get_model_version("trained", version.number).run_id)
    assert run.info.run_id != training.id
    assert run.data.tags["mlflow.user"] == "bob"
    assert run.data.tags[ELSEWHERE] == training.id
    assert registry.register("trained", bundle, training.id, {}).number == version.number
    become(member.uri, tmp_path)
    assert made.info.run_id in reap()


@pytest.fixture(scope="module")
def featurized(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project up to its features."""
    return grown_project(tmp_path_factory.mktemp("served"), "index", "split", "featurize")


def test_a_server_that_dies_costs_a_training_nothing(
    group: Group, featurized: Project, tmp_path: Path
) -> None:
    """It trains on; the metrics wait on disk; once the server is back, they are all there."""
    epochs = 200
    project = featurized.copy(tmp_path / "project").set(
        **{"pretrain.epochs": epochs, "pretrain.patience": 0, "compute.ahead": False}
    )
    more = {**project.environment(), "MLFLOW_TRACKING_URI": group.uri}
    log = tmp_path / "log"
    unsent = project.root / ".recitative" / "unsent"
    become(group.uri, project.root)
    command = ["recitative", "pretrain", "eng"]
    with process(command, log, environment(**more), project.root) as training:

        def sent() -> list[Any]:
            assert training.poll() is None, log.read_text()
            runs = client().search_runs([experiment_id()], "tags.transfer_mode = 'pretrain'")
            return [run for run in runs if run.data.metrics.get("train_loss")]

        [run] = until(sent, "the first epoch on the server")
        group.kill()
        until(lambda: len(lines(unsent)) > 12, "epochs that wait on disk")
        assert training.poll() is None
        group.start()
        assert training.wait(180) == 0, log.read_text()
    history = read_csv(project.root / "build" / "pretrain" / "eng" / "history.csv")
    assert len(history) == epochs
    found = client().get_metric_history(run.info.run_id, "train_loss")
    assert sorted((m.step, m.value) for m in found) == [
        (int(row["epoch"]), pytest.approx(float(row["train_loss"]))) for row in history
    ]
    assert client().get_run(run.info.run_id).info.status == "FINISHED"
    assert lines(unsent) == []


@dataclass(frozen=True)
class Member(Project):
    """A member's clone: what is tracked goes to the server."""

    uri: str

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MLFLOW_TRACKING_URI": self.uri}


def test_the_whole_loop_through_the_server(
    group: Group, featurized: Project, tmp_path: Path
) -> None:
    """Every stage to the report and a registered model; nothing is tracked on the member's disk."""
    controls = ["majority", "random_encoder", "scratch"]
    few = {"transfer.repeats": 1, "controls.names": controls}
    root = featurized.copy(tmp_path / "project").set(**few).root
    project = Member(root, group.uri)
    with project.here():
        before = {run.info.run_id for run in client().search_runs([experiment_id()])}
    project.train()
    for stage in ("evaluate", "agreement", "claims", "register", "report"):
        project.run(stage)
    assert not (root / "mlflow.db").exists()
    assert not (root / "mlartifacts").exists()
    with project.here():
        runs = [
            run
            for run in client().search_runs([experiment_id()], max_results=5000)
            if run.info.run_id not in before
        ]
        assert {run.info.status for run in runs} == {"FINISHED"}
        pairings = {run.data.tags.get("pairing") for run in runs}
        assert {"eng2eng", "man2eng", "mix2man", "none2eng"} <= pairings
        names = list(client().get_registered_model("mer-eng").aliases)
        assert names in ([registry.CHAMPION], [registry.CHALLENGER])
        found = registry.resolve(f"models:/mer-eng@{names[0]}")
        assert (registry.bundle_of(found) / "model-0-0.safetensors").exists()
        assert found.source.startswith("mlflow-artifacts:")
    song = next((root / "data").rglob("*.wav"))
    answer = project.run("predict", str(song), "--model", found.uri)
    assert "Q" in answer
    page = (root / REPORT / "index.html").read_text(encoding="utf-8")
    assert f"127.0.0.1:{group.port}" in page, "its links lead to the server"
    assert MEMBER[1] not in page
    assert "p%40ss" not in page


def lines(folder: Path) -> list[str]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_a_stranger_is_told_in_one_line(group: Group, tmp_path: Path) -> None:
    done = subprocess.run(
        ["recitative", "predict", "song.wav", "--model", "models:/mer-eng@champion"],
        env=environment(MLFLOW_TRACKING_URI=f"http://ada:wrong@127.0.0.1:{group.port}"),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "MLFLOW_TRACKING_URI" in done.stderr
    assert "wrong" not in done.stderr
