"""An S3 client, addresses, and every failure as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recitative.errors import UserError

S3Client = Any  # boto3 makes its clients' classes while it runs

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 30, 4
# What a server answers, and what to do about it.
HELP = {
    "NoSuchBucket": "there is no such bucket; make it first, or mend its name",
    "InvalidAccessKeyId": "the server does not know this access key; see AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; see AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "these credentials may not do that here; ask for the right to it",
    "403": "these credentials may not do that here; see AWS_ACCESS_KEY_ID and the bucket's policy",
    "404": "there is no such bucket or object; mend the address",
    "NoSuchKey": "there is no such object; mend the address",
    "NotImplemented": "this server cannot do that; use one that can",
}
ABSENT = ("404", "NoSuchKey")
TAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict")


@dataclass(frozen=True)
class Address:
    """``s3://bucket/prefix``; the prefix has no slash at either end and may be empty."""

    bucket: str
    prefix: str

    @staticmethod
    def of(text: str) -> "Address":
        """Read an address; UserError where it is none."""
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        strange = {"", ".", ".."} & set(prefix.split("/")) if prefix else None
        if not text.startswith("s3://") or not bucket or strange or not text.isprintable():
            raise UserError(f"{text!r}: no S3 address; write s3://bucket/prefix")
        return Address(bucket, prefix)

    def __truediv__(self, name: str) -> "Address":
        return Address(self.bucket, f"{self.prefix}/{name}".strip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def connect(endpoint_url: str | None = None) -> S3Client:
    """A client with the user's own credentials, that gives up on a dead server after seconds.

    `endpoint_url` is that of a server that is not Amazon's; None: AWS_ENDPOINT_URL, or Amazon's.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        signature_version="s3v4",
    )
    with one_line(f"endpoint {endpoint_url or 'of AWS'}"):
        return boto3.client("s3", endpoint_url=endpoint_url, config=config)


@contextmanager
def one_line(what: Address | str) -> Iterator[None]:
    """Turn whatever boto3 raises into one line: what was asked of, what went wrong, what to do."""
    from botocore import exceptions as of

    try:
        yield
    except of.ClientError as error:
        code = code_of(error)
        said = HELP.get(code, error.response.get("Error", {}).get("Message", ""))
        raise UserError(f"{what}: {error.operation_name} failed ({code}): {said}") from error
    except (of.NoCredentialsError, of.PartialCredentialsError) as error:
        raise UserError(
            f"{what}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile "
            "with `aws configure`"
        ) from error
    except (of.ConnectionError, of.HTTPClientError) as error:
        raise UserError(
            f"{what}: the server cannot be reached ({error}); see --endpoint-url and the network"
        ) from error
    except (of.BotoCoreError, ValueError) as error:
        raise UserError(f"{what}: {' '.join(str(error).split())}") from error


def code_of(error: Any) -> str:
    """What a server answered to a request that failed, e.g. ``NoSuchKey``."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def put_new(client: S3Client, at: Address, body: Any, **more: Any) -> bool:
    """Write an object by a conditional write; whether the server let it, or one is there.

    Raises:
        UserError: the server cannot be reached, or refuses for another reason.
    """
    from botocore.exceptions import ClientError

    with one_line(at):
        try:
            client.put_object(Bucket=at.bucket, Key=at.prefix, Body=body, IfNoneMatch="*", **more)
        except ClientError as error:
            if code_of(error) in TAKEN:
                return False
            raise
    return True


def put_once(client: S3Client, at: Address, body: Any, **more: Any) -> bool:
    """Write an object unless it is there; whether it was written.

    It is asked for first, too: not every server knows conditional writes, and a large file need not
    be sent for nothing.

    Raises:
        UserError: as `put_new`.
    """
    from botocore.exceptions import ClientError

    with one_line(at):
        try:
            client.head_object(Bucket=at.bucket, Key=at.prefix)
        except ClientError as error:
            if code_of(error) not in ABSENT:
                raise
            return put_new(client, at, body, **more)
    return False
