"""Models on S3 as bundles that never change: files first, their manifest last, each written once.

    <prefix>/<model>/<version>/model.json, model-0-0.safetensors, …
    <prefix>/<model>/<version>/manifest.json     size and sha256 of each; without it there is no bundle

The version is the first twelve digits of the hash of all files, so the same model published twice is
one bundle, and a publishing that was killed goes on where it was: what is there is not sent again.
What is fetched is believed in nothing: the version is computed again from the files that came, and no
name becomes a path that is not a plain file name.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from recitative.errors import UserError
from recitative.files import atomic_folder, sha256
from recitative.remote.s3 import ABSENT, Address, S3Client, code_of, connect, one_line, put_once

MANIFEST = "manifest.json"
MANIFEST_BYTES = 2**20
FILES = 1000  # of one bundle
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # of a model, of a file
_VERSION = re.compile(r"[0-9a-f]{12}")
_CHUNK = 2**20  # bytes


class File(BaseModel, frozen=True):
    """One file of a bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)

    @staticmethod
    def of(path: Path) -> "File":
        """What a file is."""
        return File(sha256=sha256(path), bytes=path.stat().st_size)


class Manifest(BaseModel, frozen=True):
    """What lies in a bundle. `model` and `about` are words for a reader."""

    model: str
    version: str
    files: dict[Annotated[str, Field(pattern=_NAME)], File] = Field(min_length=1, max_length=FILES)
    about: dict[str, str] = {}


@dataclass(frozen=True)
class Published:
    """Where a bundle is, and whether this call put it there."""

    address: Address
    new: bool
    sent: int  # files


def version_of(files: Mapping[str, File]) -> str:
    """Twelve lower-case hex digits that name these files."""
    facts = {name: file.model_dump() for name, file in files.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def publish(
    folder: Path,
    model: str,
    address: str,
    about: Mapping[str, str],
    endpoint_url: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Published:
    """Put the files of a folder, and nothing below it, under ``address/model/version``.

    `about` is what the manifest says besides; `tell` is told each file that is sent.

    Raises:
        UserError: there is nothing to publish, a name is none, the server fails, or another file is
            where one of this bundle should be.
    """
    paths = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    if not paths:
        raise UserError(f"{folder}: no file to publish")
    for name in (model, *paths):
        if not re.match(_NAME, name) or name == MANIFEST:
            raise UserError(
                f"{name!r}: no name to publish under; use letters, digits, '.', '-', '_'"
            )
    files = {name: File.of(path) for name, path in paths.items()}
    version = version_of(files)
    place = Address.of(address) / model / version
    client, sent = connect(endpoint_url), 0
    for name, path in paths.items():
        with path.open("rb") as body:
            known = {"Metadata": {"sha256": files[name].sha256}}
            if put_once(client, place / name, body, **known):
                tell(name)
                sent += 1
            else:
                _require_same(client, place / name, files[name].sha256)
    manifest = Manifest(model=model, version=version, files=files, about=dict(about))
    text = json.dumps(manifest.model_dump(), indent=2, sort_keys=True).encode()
    return Published(place, put_once(client, place / MANIFEST, text), sent)


def fetch(address: str, cache: Path, endpoint_url: str | None = None) -> Path:
    """A bundle's files in a folder of the cache, verified.

    `cache` holds bundles by their version; one that is there is verified, not sent again.

    Raises:
        UserError: there is no whole bundle, the server fails, or a file is not what was published.
    """
    place = Address.of(address)
    version = place.prefix.rpartition("/")[2]
    client = connect(endpoint_url)
    if not _VERSION.fullmatch(version):
        raise UserError(
            f"{place}: no bundle's address: it ends in a version of twelve digits 0-9a-f; "
            f"{_others(client, place)}"
        )
    folder = cache / version
    if folder.exists() or folder.is_symlink():
        _require_version(folder, version, folder)
        return folder
    files = _manifest(client, place).files
    with atomic_folder(folder) as incoming:
        for name, file in files.items():
            at = place / name
            with one_line(at):
                found = client.head_object(Bucket=at.bucket, Key=at.prefix)["ContentLength"]
                if found != file.bytes:
                    raise _changed(place, f"{name} has {found} bytes instead of {file.bytes}")
                client.download_file(at.bucket, at.prefix, str(incoming / name))
            if File.of(incoming / name) != file:
                what = "is not the file that was published (its sha256 differs)"
                raise _changed(place, f"{name} {what}")
        _require_version(incoming, version, place)
    return folder


def _require_version(folder: Path, version: str, place: Address | Path) -> None:
    """The files of a folder are those that the version was made of, and nothing else is there."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    if not paths or not all(path.is_file() for path in paths) or len(paths) > FILES:
        raise _changed(place, "this is no folder of files")
    found = version_of({path.name: File.of(path) for path in paths})
    if found != version:
        raise _changed(place, f"its files are those of version {found}")


def _changed(place: Address | Path, what: str) -> UserError:
    return UserError(
        f"{place}: {what}; it was changed or damaged: do not use it, delete it there and publish or "
        "fetch the model again"
    )


def _manifest(client: S3Client, place: Address) -> Manifest:
    from botocore.exceptions import ClientError

    at = place / MANIFEST
    with one_line(at):
        try:
            body = client.get_object(Bucket=at.bucket, Key=at.prefix)["Body"]
            text = body.read(MANIFEST_BYTES + 1)
        except ClientError as error:
            if code_of(error) not in ABSENT:
                raise
            raise UserError(f"{place}: no whole bundle here; {_others(client, place)}") from error
    try:
        if len(text) > MANIFEST_BYTES:
            raise ValueError(f"more than {MANIFEST_BYTES} bytes")
        manifest = Manifest.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        reason = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(repr(part)[:60] for part in first['loc'])}: {first['msg']}"
        raise UserError(
            f"{at}: no manifest of a bundle ({reason[:200]}); publish it again"
        ) from error
    if not place.prefix.endswith(f"/{(version := version_of(manifest.files))}"):
        raise _changed(at, f"the files that it names are version {version}")
    return manifest


def _others(client: S3Client, place: Address) -> str:
    """The versions that are there, at the address or next to it."""
    prefix = place.prefix.rpartition("/")[0]
    with one_line(place):
        found = client.list_objects_v2(Bucket=place.bucket, Prefix=prefix)
    whole = sorted(
        f"s3://{place.bucket}/{key.removesuffix(f'/{MANIFEST}')}"
        for key in (item["Key"] for item in found.get("Contents", ()))
        if re.fullmatch(rf"([\w.-]+/)*{_VERSION.pattern}/{MANIFEST}", key)
    )
    return f"there: {', '.join(whole)}" if whole else "publish one with `recitative publish`"


def _require_same(client: S3Client, at: Address, expected: str) -> None:
    """What stands at a file's place must be that file: the version is made of the files' hashes."""
    digest = hashlib.sha256()
    with one_line(at):
        for chunk in client.get_object(Bucket=at.bucket, Key=at.prefix)["Body"].iter_chunks(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise UserError(
            f"{at}: another file is here than this bundle's; it was changed or damaged: delete it, "
            "then publish again"
        )
