"""Metrics for a server: on disk before they are sent, and gone from there when they have arrived."""

import os
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException, RestException

from recitative.tracking import outbox
from recitative.tracking.outbox import Outbox, send_left_over
from recitative.tracking.store import tracking_uri


class Client:
    """A server that can go away, and refuse."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, float, int]] = []
        self.error: Exception | None = None

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        if self.error:
            raise self.error
        assert len(metrics) <= 1000
        # MLflow's own tries would hold up a training for minutes.
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        self.arrived += [(m.key, m.value, m.step) for m in metrics]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:pw@server.example.org:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    client = Client()
    monkeypatch.setattr(outbox, "client", lambda: client)
    monkeypatch.setattr(outbox, "answers", lambda: True)
    return client


def metrics(*steps: int) -> list[Metric]:
    return [Metric("loss", step / 2, 1000 + step, step) for step in steps]


def test_what_arrived_is_no_longer_on_disk(server: Client) -> None:
    box = Outbox("run")
    box.add(metrics(0, 1))
    assert len(box.path.read_text().splitlines()) == 2
    box.send()
    assert server.arrived == [("loss", 0.0, 0), ("loss", 0.5, 1)]
    assert not box.path.exists()
    box.send()
    assert len(server.arrived) == 2
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ, "other requests do try again"


def test_a_run_that_ended_leaves_nothing_on_disk(server: Client) -> None:
    box = Outbox("run")
    box.add(metrics(0, 1))
    box.close()
    assert len(server.arrived) == 2
    assert list(box.path.parent.iterdir()) == []


def test_while_the_server_is_away_everything_waits(
    server: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Outbox("run")
    monkeypatch.setattr(outbox, "answers", lambda: False)
    for step in range(3):
        box.add(metrics(step))
        box.send()
    assert server.arrived == []
    monkeypatch.setattr(outbox, "answers", lambda: True)
    box.send()
    assert [step for _, _, step in server.arrived] == [0, 1, 2]


@pytest.mark.parametrize("error", [
    MlflowException("API request failed with exception: connection refused"),
    RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "a proxy without a server"}),
])  # fmt: skip
def test_a_server_that_goes_away_in_the_middle_costs_nothing(
    error: Exception, server: Client
) -> None:
    box = Outbox("run")
    box.add(metrics(0))
    server.error = error
    box.send()
    server.error = None
    box.send()
    assert server.arrived == [("loss", 0.0, 0)]


def test_a_server_that_refuses_is_not_waited_for(server: Client) -> None:
    box = Outbox("run")
    box.add(metrics(0))
    server.error = RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"})
    with pytest.raises(RestException):
        box.send()


def test_a_line_that_a_kill_cut_off_spoils_no_other(server: Client) -> None:
    box = Outbox("run")
    box.add(metrics(0))
    with box.path.open("a") as out:
        out.write('["loss", 0.')
    box.add(metrics(1))
    with box.path.open("a") as out:
        out.write('["lo')
    box.send()
    assert [step for _, _, step in server.arrived] == [0, 1]


def test_what_a_killed_process_left_is_sent_by_the_next(server: Client) -> None:
    Outbox("first").add(metrics(0))
    Outbox("second").add(metrics(*range(1, 2600)))
    send_left_over()
    assert sorted(step for _, _, step in server.arrived) == list(range(2600))


def test_what_belongs_to_a_deleted_run_is_let_go_of(server: Client) -> None:
    box = Outbox("deleted")
    box.add(metrics(0))
    server.error = RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"})
    send_left_over()
    assert not box.path.exists()


def test_the_password_stands_in_no_address(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:p%40ss@server.example.org:5000/x")
    assert tracking_uri() == "https://server.example.org:5000/x"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ada"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss"
