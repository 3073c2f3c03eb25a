"""No name that comes from outside becomes a path: bundles from a made-up S3 that may say anything."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from recitative.commands import share
from recitative.errors import UserError
from recitative.remote import bundles
from recitative.remote.bundles import FILES, MANIFEST_BYTES, File, fetch, publish, version_of


class FakeS3:
    """Objects of one bucket by their key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def _body(self, key: str) -> bytes:
        if key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return self.objects[key]

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self._body(Key))}

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"ContentLength": len(self._body(Key))}

    def download_file(self, Bucket: str, Key: str, path: str) -> None:
        Path(path).write_bytes(self._body(Key))

    def put_object(self, Bucket: str, Key: str, Body: Any, **_: Any) -> None:
        self.objects[Key] = Body if isinstance(Body, bytes) else Body.read()

    def list_objects_v2(self, Bucket: str, Prefix: str) -> dict[str, Any]:
        return {"Contents": [{"Key": key} for key in self.objects if key.startswith(Prefix)]}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    fake = FakeS3()
    monkeypatch.setattr(bundles, "connect", lambda _: fake)
    return fake


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose .recitative/ has what nothing may touch."""
    root = tmp_path / "project"
    (root / ".recitative" / "work").mkdir(parents=True)
    (root / ".recitative" / "work" / "checkpoint").write_text("precious")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(root)
    return root


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def published(s3: FakeS3, tmp_path: Path) -> str:
    source = tmp_path / "model"
    source.mkdir()
    (source / "model.json").write_text("{}")
    (source / "model-0-0.safetensors").write_bytes(b"weights")
    return str(publish(source, "mer-eng", "s3://bucket/q", {}).address)


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("s3://bucket/q/..", ".."),
        ("s3://bucket/q/../..", ".."),
        ("s3://bucket/..", ".."),
        ("s3://bucket/q/.", "."),
        ("s3://bucket/q/work", "work"),
        ("s3://bucket/q/ABCDEF012345", "ABCDEF012345"),
        ("s3://bucket/q/abcdef01234\n", "abcdef01234\n"),
        ("s3://bucket/q/abcdef0123456", "abcdef0123456"),
        ("s3://bucket", ""),
    ],
)
def test_an_address_never_leads_out_of_the_cache(
    address: str, version: str, s3: FakeS3, project: Path
) -> None:
    """`predict --model s3://bucket/q/..` deleted the project's .recitative/."""
    before = tree(project)
    text = json.dumps({"model": "m", "version": version, "files": {}})
    for key in (
        "q/../manifest.json",
        "q/manifest.json",
        "manifest.json",
        f"q/{version}/manifest.json",
    ):
        s3.objects[key] = text.encode()
    with pytest.raises(UserError) as refused:
        share.model_from(address)
    assert "\n" not in str(refused.value)
    assert tree(project) == before


def test_a_bundle_comes_back_and_only_its_own_folder_is_made(
    s3: FakeS3, project: Path, tmp_path: Path
) -> None:
    before = tree(project)
    folder = share.model_from(published(s3, tmp_path))
    assert tree(folder) == tree(tmp_path / "model")
    there = tree(project)
    assert {name: there[name] for name in before} == before
    assert len(there) == len(before) + 2


def test_outside_a_project_nothing_is_left(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = published(s3, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(elsewhere)
    assert share.model_from(address).is_dir()
    assert not list(elsewhere.iterdir())


def change(s3: FakeS3, address: str, how: Callable[[dict[str, Any]], Any]) -> None:
    key = address.removeprefix("s3://bucket/") + "/manifest.json"
    manifest = json.loads(s3.objects[key])
    s3.objects[key] = json.dumps(how(manifest) or manifest).encode()


EVIL: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a path": lambda m: m["files"].update({"../../evil.py": {"sha256": "0" * 64, "bytes": 1}}),
    "an absolute path": lambda m: m["files"].update({"/etc/x": {"sha256": "0" * 64, "bytes": 1}}),
    "a hidden file": lambda m: m["files"].update({".x": {"sha256": "0" * 64, "bytes": 1}}),
    "dots": lambda m: m["files"].update({"..": {"sha256": "0" * 64, "bytes": 1}}),
    "a line": lambda m: m["files"].update({"a\nb": {"sha256": "0" * 64, "bytes": 1}}),
    "no hash": lambda m: m["files"].update({"x": {"sha256": 5, "bytes": 1}}),
    "less than nothing": lambda m: m["files"].update({"x": {"sha256": "0" * 64, "bytes": -1}}),
    "no facts": lambda m: m["files"].update({"x": []}),
    "no files": lambda m: m.update(files={}),
    "a list": lambda m: m.update(files=[1]),
    "too many": lambda m: m.update(
        files={f"f{i}": {"sha256": "0" * 64, "bytes": 1} for i in range(FILES + 1)}
    ),
    "another file": lambda m: m["files"].update({"x": {"sha256": "0" * 64, "bytes": 1}}),
    "a number": lambda m: 1,
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_a_wrong_manifest_is_one_line_and_writes_nothing(
    name: str, s3: FakeS3, tmp_path: Path
) -> None:
    address = published(s3, tmp_path)
    change(s3, address, EVIL[name])
    with pytest.raises(UserError, match=r"manifest\.json: ") as refused:
        fetch(address, tmp_path / "cache")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * MANIFEST_BYTES + b"}", b"null"],
    ids=["empty", "cut", "no text", "deep", "huge", "null"],
)
def test_what_is_no_manifest_is_one_line(text: bytes, s3: FakeS3, tmp_path: Path) -> None:
    address = published(s3, tmp_path)
    s3.objects[address.removeprefix("s3://bucket/") + "/manifest.json"] = text
    with pytest.raises(UserError, match="no manifest of a bundle") as refused:
        fetch(address, tmp_path / "cache")
    assert "\n" not in str(refused.value)


def test_exchanged_weights_are_found_although_the_manifest_was_exchanged_with_them(
    s3: FakeS3, tmp_path: Path
) -> None:
    """Whoever may write there can change both; the version in the address tells."""
    address = published(s3, tmp_path)
    prefix = address.removeprefix("s3://bucket/")
    (tmp_path / "evil").write_bytes(b"WEIGHTS")
    s3.objects[f"{prefix}/model-0-0.safetensors"] = b"WEIGHTS"
    with pytest.raises(UserError, match="is not the file that was published"):
        fetch(address, tmp_path / "cache")
    evil = File.of(tmp_path / "evil").model_dump()
    change(s3, address, lambda m: m["files"].update({"model-0-0.safetensors": evil}))
    with pytest.raises(UserError, match="the files that it names are version"):
        fetch(address, tmp_path / "cache")
    s3.objects[f"{prefix}/model-0-0.safetensors"] = b"weights and more"
    with pytest.raises(UserError, match="the files that it names are version"):
        fetch(address, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("what", ["changed", "more", "less", "a folder", "a file"])
def test_a_cache_that_was_changed_is_refused_and_stays(
    what: str, s3: FakeS3, tmp_path: Path
) -> None:
    address = published(s3, tmp_path)
    folder = fetch(address, tmp_path / "cache")
    if what == "changed":
        (folder / "model.json").write_text("{ }")
    elif what == "more":
        (folder / "mine.txt").write_text("mine")
    elif what == "less":
        (folder / "model.json").unlink()
    elif what == "a folder":
        (folder / "mine").mkdir()
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.write_text("mine")
    before = tree(tmp_path / "cache")
    with pytest.raises(UserError, match="do not use it, delete it there"):
        fetch(address, tmp_path / "cache")
    assert tree(tmp_path / "cache") == before


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "mer eng", "x" * 200])
def test_a_models_name_is_checked_before_it_is_an_address(
    name: str, s3: FakeS3, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError, match="no name to publish under"):
        publish(tmp_path, name, "s3://bucket/q", {})
    assert s3.objects == {}


def test_the_version_is_the_one_of_bundles_that_were_published_before() -> None:
    files = {"model.json": File(sha256="0" * 64, bytes=2)}
    assert version_of(files) == "f1f2ed5eeeb4"
