"""`make share`, and the colleague who clones, pulls and runs no stage; a killed push is pushed again."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import boto3
import pytest
from projects import ROOT, Project, make_project
from services import until

from conftest import Server

pytestmark = pytest.mark.integration
BUCKET = "shared"
BEFORE_THE_KILL = 5  # objects, of about 150


@pytest.fixture
def place(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, which DVC and boto3 find by what AWS's tools read."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.url)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/group"


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A member's clone, with the pipeline up to the features."""
    project = make_project(tmp_path_factory.mktemp("ada") / "ada", tracked=True)
    shutil.copyfile(ROOT / "Makefile", project.root / "Makefile")
    project.shell("dvc", "repro", "featurize")
    return project


def objects() -> int:
    return int(boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("KeyCount", 0))


def share(place: str) -> list[str]:
    """The command; what it needs is installed here already."""
    return ["make", "--old-file", "setup", "share", f"REMOTE={place}"]


def test_a_colleague_runs_no_stage_and_a_killed_push_loses_nothing(
    place: str, ada: Project, tmp_path: Path
) -> None:
    with subprocess.Popen(
        share(place), cwd=ada.root, env=ada.environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as pushing:  # fmt: skip
        until(lambda: objects() > BEFORE_THE_KILL or pushing.poll() is not None, "objects")
        os.killpg(pushing.pid, signal.SIGKILL)
    assert pushing.returncode == -signal.SIGKILL, "it was killed in the middle"
    before = objects()
    told = ada.shell(*share(place)).stdout
    assert objects() > before
    assert "mer-eng has no champion to publish" in told
    ada.shell("git", "add", ".dvc/config", "dvc.lock", "data.dvc")
    ada.shell("git", "commit", "-qm", "Shared")

    bob = Project(tmp_path / "bob")
    ada.shell("git", "clone", "-q", str(ada.root), str(bob.root))
    bob.shell("dvc", "pull", "--with-deps", "featurize")
    again = bob.shell("dvc", "repro", "featurize").stdout
    assert "Running stage" not in again
    for path in sorted((ada.root / "build" / "features").rglob("*")):
        if path.is_file():
            assert (bob.root / path.relative_to(ada.root)).read_bytes() == path.read_bytes()


def test_a_place_that_refuses_is_no_remote(ada: Project, place: str) -> None:
    """`make share` stops at the first thing that does not work, before it changes anything."""
    config = (ada.root / ".dvc" / "config").read_bytes()
    refused = ada.shell(*share("s3://nobodys/group"), check=False)
    assert refused.returncode != 0
    assert "nobodys" in refused.stderr
    assert (ada.root / ".dvc" / "config").read_bytes() == config
