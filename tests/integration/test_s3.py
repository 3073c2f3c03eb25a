"""S3 against real servers on loopback: what works is proved, a failure is one line, nothing is half."""

import json
import multiprocessing
import os
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from click.testing import CliRunner

from conftest import KEY, Server, free_port
from recitative.cli import cli
from recitative.errors import UserError
from recitative.remote import check, s3
from recitative.remote.bundles import fetch, publish

pytestmark = pytest.mark.integration
ABOUT = {"arch": "scae"}


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def bucket(server: Server, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own."""
    name = "b-" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    client = client_of(server)
    client.create_bucket(Bucket=name)
    return name


def client_of(server: Server) -> Any:
    return boto3.client("s3", endpoint_url=server.url, config=Config(signature_version="s3v4"))


def keys(server: Server, bucket: str) -> list[str]:
    found = client_of(server).list_objects_v2(Bucket=bucket)
    return sorted(item["Key"] for item in found.get("Contents", ()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(300_000))
    (folder / "model.json").write_text(json.dumps({"arch": "scae"}))
    (folder / "README.md").write_text("# a model\n")
    return folder


# --- recitative remote check ------------------------------------------------------------------------


def test_every_ability_is_tried_and_nothing_is_left(moto_server: Server) -> None:
    client_of(moto_server).create_bucket(Bucket="shared")
    client_of(moto_server).put_object(Bucket="shared", Key="team/ours", Body=b"kept")
    found = list(check.check("s3://shared/team", moto_server.url))
    assert [ability.name for ability in found] == [
        "credentials", "bucket", "listing", "conditional write", "multipart upload", "delete",
    ]  # fmt: skip
    assert KEY[:4] in found[0].detail
    assert KEY not in found[0].detail
    assert keys(moto_server, "shared") == ["team/ours"]


def test_a_server_without_conditional_writes_is_found_out(rclone_server: Server) -> None:
    """The second write goes through: two who publish at once would overwrite each other."""
    client_of(rclone_server).create_bucket(Bucket="careless")
    with pytest.raises(UserError, match=r"conditional write: .*went over the first"):
        list(check.check("s3://careless/x", rclone_server.url))
    assert keys(rclone_server, "careless") == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "WRONG", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "(AWS_SECRET_ACCESS_KEY|may not do that here)"),
    ],
)
def test_a_wrong_key_is_one_line(
    name: str, value: str, says: str, rclone_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = f"locked-{value.lower()}-{len(name)}"
    client_of(rclone_server).create_bucket(Bucket=locked)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(UserError, match=says) as refused:
        list(check.check(f"s3://{locked}/x", rclone_server.url))
    assert "\n" not in str(refused.value)


def test_no_credentials_is_one_line(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        list(check.check("s3://any/x", moto_server.url))


def test_a_missing_bucket_is_one_line(server: Server) -> None:
    with pytest.raises(UserError, match="bucket: s3://nowhere-at-all: .*no such bucket"):
        list(check.check("s3://nowhere-at-all/x", server.url))


@pytest.mark.parametrize("address", ["", "shared/team", "s3://", "https://x/y"])
def test_what_is_no_address_is_one_line(address: str) -> None:
    with pytest.raises(UserError, match="write s3://bucket/prefix"):
        list(check.check(address))


def test_a_refusing_and_a_silent_server_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ_SECONDS", 0.2)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    with pytest.raises(UserError, match="cannot be reached"):
        list(check.check("s3://any/x", f"http://127.0.0.1:{free_port()}"))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match="cannot be reached"):
            list(check.check("s3://any/x", url))


# --- bundles ----------------------------------------------------------------------------------------


def test_a_bundle_comes_back_as_it_was_and_is_published_once(
    server: Server, bucket: str, model: Path, tmp_path: Path
) -> None:
    first = publish(model, "mer-eng", f"s3://{bucket}/models", ABOUT, server.url)
    assert (first.new, first.sent) == (True, 3)
    again = publish(model, "mer-eng", f"s3://{bucket}/models", ABOUT, server.url)
    assert (again.address, again.new, again.sent) == (first.address, False, 0)
    folder = fetch(str(first.address), tmp_path / "cache", server.url)
    for path in model.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    (model / "model.json").write_text("{}")
    other = publish(model, "mer-eng", f"s3://{bucket}/models", ABOUT, server.url)
    assert other.new
    assert other.address != first.address
    assert len([key for key in keys(server, bucket) if key.endswith("manifest.json")]) == 2


def _publish_until_killed(model: Path, address: str, url: str, after: int) -> None:
    """Killed (-9) after so many files."""
    sent = 0

    def tell(_: str) -> None:
        nonlocal sent
        sent += 1
        if sent == after:
            os.kill(os.getpid(), signal.SIGKILL)

    publish(model, "mer-eng", address, ABOUT, url, tell)


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_publishing_leaves_no_bundle_and_goes_on(
    after: int, server: Server, bucket: str, model: Path, tmp_path: Path
) -> None:
    address = f"s3://{bucket}/models"
    killed = multiprocessing.get_context("spawn").Process(
        target=_publish_until_killed, args=(model, address, server.url, after)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    there = keys(server, bucket)
    assert len(there) == after
    half = f"s3://{bucket}/{there[0].rsplit('/', 1)[0]}"
    with pytest.raises(UserError, match="no whole bundle here; publish one"):
        fetch(half, tmp_path / "cache", server.url)
    done = publish(model, "mer-eng", address, ABOUT, server.url)
    assert (done.new, done.sent) == (True, 3 - after)
    assert fetch(str(done.address), tmp_path / "cache", server.url).is_dir()


def test_eight_who_publish_at_once_make_one_bundle(
    moto_server: Server, model: Path, tmp_path: Path
) -> None:
    """On a server with conditional writes, which `recitative remote check` asks for."""
    client_of(moto_server).create_bucket(Bucket="crowded")
    found = []

    def go() -> None:
        found.append(publish(model, "mer-eng", "s3://crowded/m", ABOUT, moto_server.url))

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(one.address) for one in found}) == 1
    assert sum(one.new for one in found) == 1
    assert sum(one.sent for one in found) == 3
    assert len(found) == 8
    fetch(str(found[0].address), tmp_path / "cache", moto_server.url)


def test_a_damaged_object_is_never_used(
    server: Server, bucket: str, model: Path, tmp_path: Path
) -> None:
    done = publish(model, "mer-eng", f"s3://{bucket}/m", ABOUT, server.url)
    at = done.address / "model.safetensors"
    whole = (model / "model.safetensors").read_bytes()
    damaged = bytes([whole[0] ^ 1]) + whole[1:]
    client_of(server).put_object(Bucket=bucket, Key=at.prefix, Body=damaged)
    with pytest.raises(UserError, match=r"model\.safetensors is not the file that was published"):
        fetch(str(done.address), tmp_path / "cache", server.url)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    with pytest.raises(UserError, match="another file is here than this bundle's"):
        publish(model, "mer-eng", f"s3://{bucket}/m", ABOUT, server.url)


def test_a_damaged_cache_is_never_used(moto_server: Server, model: Path, tmp_path: Path) -> None:
    client_of(moto_server).create_bucket(Bucket="cached")
    done = publish(model, "mer-eng", "s3://cached/m", ABOUT, moto_server.url)
    folder = fetch(str(done.address), tmp_path / "cache", moto_server.url)
    (folder / "model.json").write_text("changed")
    with pytest.raises(UserError, match="its files are those of version"):
        fetch(str(done.address), tmp_path / "cache", moto_server.url)


def test_predict_cannot_be_led_to_the_projects_own_folder(
    moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`predict --model s3://evil/q/..` deleted .recitative/: its manifest says version `..`."""
    client = client_of(moto_server)
    client.create_bucket(Bucket="evil")
    kept = tmp_path / ".recitative" / "work" / "checkpoint"
    kept.parent.mkdir(parents=True)
    kept.write_text("precious")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.url)
    facts = {"evil.py": {"sha256": "0" * 64, "bytes": 1}}
    text = json.dumps({"model": "m", "version": "..", "files": facts})
    for key in ("q/../manifest.json", "manifest.json", "q/manifest.json"):
        client.put_object(Bucket="evil", Key=key, Body=text)
    done = CliRunner().invoke(cli, ["predict", "song.wav", "--model", "s3://evil/q/.."])
    assert isinstance(done.exception, UserError)
    assert kept.read_text() == "precious"


def test_a_wrong_version_lists_those_there_are(
    moto_server: Server, model: Path, tmp_path: Path
) -> None:
    client_of(moto_server).create_bucket(Bucket="listed")
    done = publish(model, "mer-eng", "s3://listed/m", ABOUT, moto_server.url)
    for wrong in ("wrong", "0123456789ab"):
        with pytest.raises(UserError, match=f"; there: {done.address}"):
            fetch(f"s3://listed/m/mer-eng/{wrong}", tmp_path / "cache", moto_server.url)
