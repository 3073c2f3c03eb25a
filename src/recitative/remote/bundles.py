"""Models on S3 as bundles that never change: files first, their manifest last, each written once.

    <prefix>/<model>/<version>/model.safetensors, model.json, …
    <prefix>/<model>/<version>/manifest.json     size and sha256 of each; without it there is no bundle

The version is the first twelve digits of the hash of all files, so the same model published twice is
one bundle, and a publishing that was killed goes on where it was: what is there is not sent again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recitative.errors import UserError
from recitative.files import atomic_folder
from recitative.remote.s3 import Address, S3Client, connect, one_line, put_once

MANIFEST = "manifest.json"
_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class Published:
    """Where a bundle is, and whether this call put it there."""

    address: Address
    new: bool
    sent: int  # files


def publish(
    folder: Path,
    model: str,
    address: str,
    about: Mapping[str, str],
    endpoint_url: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Published:
    """Put the files of a folder below ``address/model/version``.

    Args:
        folder: a model's files; those in it and nothing below.
        model: name, e.g. ``mer-eng``.
        address: ``s3://bucket/prefix``.
        about: what the manifest says besides.
        endpoint_url: of a server that is not Amazon's.
        tell: is told each file that is sent.

    Raises:
        UserError: there is nothing to publish, the server fails, or another file is where one of
            this bundle should be.
    """
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    if not files:
        raise UserError(f"{folder}: no file to publish")
    facts = {
        name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in files.items()
    }
    version = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    place = Address.of(address) / model / version
    client, sent = connect(endpoint_url), 0
    for name, path in files.items():
        with path.open("rb") as body:
            known = {"Metadata": {"sha256": str(facts[name]["sha256"])}}
            if put_once(client, place / name, body, **known):
                tell(name)
                sent += 1
            else:
                _require_same(client, place / name, str(facts[name]["sha256"]))
    manifest = {"model": model, "version": version, "files": facts, "about": dict(about)}
    text = json.dumps(manifest, indent=2, sort_keys=True).encode()
    return Published(place, put_once(client, place / MANIFEST, text), sent)


def fetch(address: str, cache: Path, endpoint_url: str | None = None) -> Path:
    """A bundle's files in a folder of the cache, each verified by its hash.

    Args:
        address: ``s3://bucket/prefix/model/version``.
        cache: holds bundles by their version; one that is there is verified, not sent again.
        endpoint_url: of a server that is not Amazon's.

    Raises:
        UserError: there is no whole bundle, the server fails, or a file is not what was published.
    """
    place = Address.of(address)
    client = connect(endpoint_url)
    manifest = _manifest(client, place)
    folder = cache / str(manifest["version"])
    if folder.is_dir():
        _verify(folder, manifest["files"], str(folder))
        return folder
    with atomic_folder(folder) as incoming:
        for name in manifest["files"]:
            if Path(name).name != name:
                raise UserError(f"{place / MANIFEST}: {name!r} is no file's name; do not use it")
            with one_line(place / name):
                client.download_file(place.bucket, (place / name).prefix, str(incoming / name))
        _verify(incoming, manifest["files"], str(place))
    return folder


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(client: S3Client, place: Address) -> dict:  # type: ignore[type-arg]
    from botocore.exceptions import ClientError

    at = place / MANIFEST
    with one_line(at):
        try:
            text = client.get_object(Bucket=at.bucket, Key=at.prefix)["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("NoSuchKey", "404"):
                raise
            raise UserError(f"{place}: no whole bundle here; {_others(client, place)}") from error
    try:
        manifest = json.loads(text)
        manifest["version"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{at}: no manifest of a bundle ({error}); publish it again") from error
    if place.prefix.rsplit("/", 1)[-1] != manifest["version"]:
        raise UserError(
            f"{at}: says version {manifest['version']}; the bundle was moved or changed"
        )
    return dict(manifest)


def _others(client: S3Client, place: Address) -> str:
    """The versions that are there, beside or below the address."""
    found = client.list_objects_v2(Bucket=place.bucket, Prefix=place.prefix.rsplit("/", 1)[0])
    whole = sorted(
        f"s3://{place.bucket}/{item['Key'].removesuffix(f'/{MANIFEST}')}"
        for item in found.get("Contents", ())
        if item["Key"].endswith(f"/{MANIFEST}")
    )
    return f"there: {', '.join(whole)}" if whole else "publish one with `recitative publish`"


def _verify(folder: Path, files: Mapping[str, Mapping[str, object]], place: str) -> None:
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != facts["sha256"]:
            raise UserError(
                f"{place}: {name} is not the file that was published (its sha256 differs); "
                "do not use it: delete it there and publish the model again"
            )


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
