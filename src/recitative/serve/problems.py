"""What is refused, as problem+json (RFC 9457), and how much of anything is taken."""

from dataclasses import asdict, dataclass
from http import HTTPStatus

from fastapi.responses import JSONResponse


@dataclass(frozen=True)
class Limits:
    """What one request may cost."""

    megabytes: int = 64  # of a body
    seconds: int = 600  # of sound
    upload_seconds: int = 120  # until a body has come
    decoding_seconds: int = 20  # until a file is decoded
    decoding_megabytes: int = 400  # that a decoder may take beyond what it starts with
    workers: int = 2  # requests at work at a time, each with a decoder of its own
    waiting: int = 32  # requests that wait for one


@dataclass(frozen=True)
class Problem:
    """The body of every answer that is an error."""

    status: int
    title: str
    detail: str  # one line: what is wrong, what to do
    type: str = "about:blank"


class Refused(Exception):
    """A request that is answered with a Problem."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


def problem(status: int, detail: str) -> JSONResponse:
    """The answer."""
    body = asdict(Problem(status, HTTPStatus(status).phrase, detail))
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse(body, status, headers, "application/problem+json")
