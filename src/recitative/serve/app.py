"""The API, and the files of the page. All that can fail is answered as problem+json."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated

import click
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from recitative import __version__
from recitative.errors import UserError
from recitative.predict import Prediction, Predictor
from recitative.serve.decoding import Decoder, DecodingError
from recitative.serve.models import Model, Models
from recitative.serve.problems import Limits, Problem, Refused, problem
from recitative.serve.songs import Song
from recitative.tracking.store import readable_store

PAGE = Path(__file__).with_name("page")
NO_SOUND = ("application/json", "multipart/", "text/", "image/")  # types that are refused unread
LOCAL = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{}'; "
    "img-src 'self'; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Answer(Prediction):
    """What `recitative predict --json` writes of a file."""

    model: str  # mer-eng/3


@dataclass(frozen=True)
class Health:
    """That the server answers, and what it takes."""

    status: str
    version: str
    limits: Limits


def make_app(
    songs: Mapping[str, tuple[Song, Path]], player: Path, limits: Limits,
    hosts: tuple[str, ...] = LOCAL,
) -> FastAPI:  # fmt: skip
    """The server. Of the disk it reads `songs`, by id, and the page's files; `player` is one of them.

    `hosts` are its own names: a browser that was sent here under another one, or by the page of
    another site, is refused.
    """
    idle: asyncio.Queue[Decoder] = asyncio.Queue()
    models = Models()
    inside = 0

    @asynccontextmanager
    async def decoders(_: FastAPI) -> AsyncIterator[None]:
        made = [
            Decoder(limits.decoding_seconds, limits.decoding_megabytes)
            for _ in range(limits.workers)
        ]
        for one in made:
            await one.start()
            idle.put_nowait(one)
        yield
        for one in made:
            await one.stop()

    body = {"application/problem+json": {"schema": TypeAdapter(Problem).json_schema()}}
    refusal = {"description": "A problem", "content": body}
    app = FastAPI(
        title="Recitative", version=__version__, lifespan=decoders,
        responses={"4XX": refusal, "5XX": refusal},
        docs_url=None, redoc_url=None,  # they load scripts from other hosts
        description="The emotion of music over time. Every error is a Problem (RFC 9457).",
    )  # fmt: skip
    _explain_errors(app)
    count = _metrics(app)

    @app.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        nonce = request.state.nonce = secrets.token_urlsafe(16)
        host = request.headers.get("host", "")
        origin = request.headers.get("origin", f"http://{host}").partition("://")[2]
        if host.rpartition(":")[0] not in hosts and host not in hosts:
            response: Response = problem(403, f"{host[:100]}: not a name of this server")
        elif origin != host:
            response = problem(403, f"{origin[:100]}: pages of other sites may not ask")
        else:
            response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers[name] = value.replace("{}", nonce)
        return response

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and its limits."""
        return Health("ok", __version__, limits)

    @app.get("/models")
    def list_models() -> list[Model]:
        """The registered models."""
        with _store():
            return models.list()

    @app.get("/songs")
    async def list_songs() -> list[Song]:
        """The songs of the project, with what their listeners said."""
        return [song for song, _ in songs.values()]

    @app.get("/audio", response_class=FileResponse)
    async def audio(song: str) -> FileResponse:
        """One of these songs as it lies on the disk."""
        if song not in songs:
            raise Refused(404, f"{song[:100]}: no such song; GET /songs lists them")
        path = songs[song][1]
        if not path.is_file():
            raise Refused(404, f"{song}: its file is gone from data/; run `dvc checkout`")
        return FileResponse(path)

    def load(address: str) -> tuple[str, Predictor]:
        with _store():
            return models.load(address)

    @app.post("/predict", openapi_extra=_AUDIO_BODY)
    async def predict(
        request: Request,
        model: Annotated[str, Query(max_length=250)] = "mer-eng",
        name: Annotated[str, Query(max_length=250)] = "song",
    ) -> Answer:
        """The emotion of the audio file that is the body.

        `model` is `mer-eng`, `mer-eng/3` or `mer-eng@champion`; `name` is only repeated.
        """
        nonlocal inside
        if inside >= limits.workers + limits.waiting:
            raise Refused(503, "too many requests at once; try again in a moment")
        inside += 1
        try:
            with tempfile.NamedTemporaryFile(prefix="recitative-upload-") as file:
                await _receive(request, file, limits)
                decoder = await idle.get()
                try:
                    version, predictor = await asyncio.to_thread(load, model)
                    seconds, frames = await decoder.frames(
                        Path(file.name), predictor.features, limits.seconds
                    )
                    heard = await asyncio.to_thread(predictor.hear, name, seconds, frames)
                finally:
                    idle.put_nowait(decoder)
        except DecodingError as error:
            raise Refused(error.status, f"{name}: {error.reason}") from error
        finally:
            inside -= 1
        count(heard.seconds)
        return Answer(**vars(heard), model=version)

    _serve_page(app, player)
    return app


@contextmanager
def _store() -> Iterator[None]:
    """Ask MLflow; Refused where its store cannot be used."""
    try:
        with readable_store():
            yield
    except UserError as error:
        raise Refused(
            503, "the MLflow store cannot be used; the log of the server says why"
        ) from error


async def _receive(request: Request, file: IO[bytes], limits: Limits) -> None:
    """Write the body into `file`, as far as it is taken.

    Raises:
        Refused: it is too large, comes too slowly, is empty or of a type that is no sound.
    """
    kind = request.headers.get("content-type", "")
    if kind.startswith(NO_SOUND):
        raise Refused(415, f"{kind[:100]}: send the audio file itself as the body")
    largest = limits.megabytes * 10**6
    too_large = Refused(413, f"the file is too large; at most {limits.megabytes} MB are taken")
    if int(request.headers.get("content-length", 0)) > largest:
        raise too_large
    size = 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                if (size := size + len(chunk)) > largest:
                    raise too_large
                file.write(chunk)
    except TimeoutError as error:
        raise Refused(
            408, f"the file took longer than {limits.upload_seconds} s to come"
        ) from error
    if not size:
        raise Refused(422, "the body is empty; send the audio file itself as the body")
    file.flush()


def _explain_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        if isinstance(error.__cause__, UserError):
            click.echo(f"error: {error.__cause__}", err=True)
        return problem(error.status, error.detail)

    @app.exception_handler(UserError)
    async def not_usable(_: Request, error: UserError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return problem(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        return problem(
            error.status_code, f"{request.method} {request.url.path[:100]}: {error.detail}"
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return problem(400, "the body ended too early")

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return problem(500, "the server failed; its log says how")


def _serve_page(app: FastAPI, player: Path) -> None:
    files = {path.name: path for path in PAGE.iterdir() if path.suffix != ".html"}
    files["wavesurfer.js"] = player

    def serve(path: Path) -> Callable[[], Awaitable[FileResponse]]:
        async def answer() -> FileResponse:
            return FileResponse(path)

        return answer

    for name, path in files.items():
        app.get(f"/{name}", include_in_schema=False)(serve(path))

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        text = (PAGE / "index.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace("{{nonce}}", request.state.nonce))


def _metrics(app: FastAPI) -> Callable[[float], None]:
    """`GET /metrics` where prometheus_client is installed; gives what counts an answered song."""
    if not find_spec("prometheus_client"):
        return lambda seconds: None
    import time

    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

    own = CollectorRegistry()
    asked = Counter("recitative_requests", "Requests.", ["path", "status"], registry=own)
    took = Histogram("recitative_predict_seconds", "Time of POST /predict.", registry=own)
    heard = Counter("recitative_audio_seconds", "Seconds of sound that were heard.", registry=own)

    @app.middleware("http")
    async def measure(request: Request, call_next: Next) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "other")  # no label by a client
        asked.labels(route, str(response.status_code)).inc()
        if route == "/predict":
            took.observe(time.perf_counter() - began)
        return response

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(own), media_type="text/plain; version=0.0.4")

    return lambda seconds: heard.inc(seconds)


_AUDIO_BODY = {
    "requestBody": {
        "required": True,
        "description": "An audio file: wav, flac, mp3, ogg.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/octet-stream", "audio/*")
        },
    }
}
