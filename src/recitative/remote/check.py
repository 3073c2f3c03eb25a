"""Does a place on S3 give what sharing needs? Each ability is tried, not asked for."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from recitative.errors import UserError
from recitative.remote.s3 import Address, S3Client, connect, one_line, put_new, put_once

PART = 5 * 1024**2  # bytes: the smallest part that S3 takes, but for the last


@dataclass(frozen=True)
class Ability:
    """One thing that works there."""

    name: str
    detail: str


def check(address: str, endpoint_url: str | None = None) -> Iterator[Ability]:
    """Try one ability after another below a prefix of its own, which is emptied at the end.

    Raises:
        UserError: at the first that fails, with what to do.
    """
    place = Address.of(address)
    client = connect(endpoint_url)
    trial = place / f".recitative-check-{secrets.token_hex(6)}"
    yield Ability("credentials", _credentials(client, place))
    try:
        for name, attempt in TRIES.items():
            try:
                yield Ability(name, attempt(client, trial))
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
    finally:
        with suppress(UserError):  # what failed first is what must be said
            _clear(client, trial)


def _credentials(client: S3Client, place: Address) -> str:
    with one_line(place):
        found = client._request_signer._credentials
    if found is None:
        raise UserError(
            f"credentials: {place}: none; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "profile with `aws configure`"
        )
    return f"key {found.access_key[:4]}…, by {found.method}"


def _bucket(client: S3Client, trial: Address) -> str:
    with one_line(f"s3://{trial.bucket}"):
        client.head_bucket(Bucket=trial.bucket)
    return f"{trial.bucket} is there"


def _listing(client: S3Client, trial: Address) -> str:
    with one_line(trial):
        client.list_objects_v2(Bucket=trial.bucket, Prefix=trial.prefix, MaxKeys=1)
    return "allowed"


def _conditional(client: S3Client, trial: Address) -> str:
    at = trial / "once"
    if not put_once(client, at, b"first"):
        raise UserError(f"{at}: a new object was refused as if it were there; use another server")
    if put_new(client, at, b"second"):
        raise UserError(
            f"{at}: a second write went over the first although it must not (If-None-Match); two "
            "people who publish at once would lose a model: use a server with conditional writes"
        )
    with one_line(at):
        if client.get_object(Bucket=at.bucket, Key=at.prefix)["Body"].read() != b"first":
            raise UserError(f"{at}: what was read is not what was written; use another server")
    return "a second write is refused"


def _multipart(client: S3Client, trial: Address) -> str:
    at = trial / "parts"
    body, place = [b"a" * PART, b"the end"], {"Bucket": at.bucket, "Key": at.prefix}
    with one_line(at):
        place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
        parts = []
        for number, part in enumerate(body, 1):
            sent = client.upload_part(**place, PartNumber=number, Body=part)
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        size = client.head_object(Bucket=at.bucket, Key=at.prefix)["ContentLength"]
    if size != sum(map(len, body)):
        raise UserError(f"{at}: {size} bytes of {sum(map(len, body))} arrived; use another server")
    return f"{size / 1024**2:.0f} MB in {len(body)} parts"


def _delete(client: S3Client, trial: Address) -> str:
    count = _clear(client, trial)
    with one_line(trial):
        left = client.list_objects_v2(Bucket=trial.bucket, Prefix=trial.prefix).get("KeyCount", 0)
    if left:
        raise UserError(f"{trial}: {left} objects are left after they were deleted")
    return f"{count} objects, and they are gone"


def _clear(client: S3Client, trial: Address) -> int:
    with one_line(trial):
        found = client.list_objects_v2(Bucket=trial.bucket, Prefix=trial.prefix)
        for item in found.get("Contents", ()):
            client.delete_object(Bucket=trial.bucket, Key=item["Key"])
        return len(found.get("Contents", ()))


TRIES: dict[str, Callable[[S3Client, Address], str]] = {
    "bucket": _bucket,
    "listing": _listing,
    "conditional write": _conditional,
    "multipart upload": _multipart,
    "delete": _delete,
}
