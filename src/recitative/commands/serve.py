"""`recitative serve`: hear emotion in the browser, and ask for it over HTTP."""

import socket
from importlib.util import find_spec
from pathlib import Path

import click

from recitative.errors import UserError
from recitative.experiment.places import DATA, INDEX
from recitative.params import load_params
from recitative.tracking import registry
from recitative.tracking.store import store_file

EXTRA = "pip install -c constraints.txt -e '.[serve]'"


def run(
    host: str, port: int, allowed_hosts: tuple[str, ...], megabytes: int, seconds: int,
    workers: int, params_file: Path,
) -> None:  # fmt: skip
    """Serve until Ctrl-C.

    Raises:
        UserError: the extra `serve` is not installed, no model is registered, or the port is taken.
    """
    player = find_player()
    file = store_file()
    if file and not file.is_file() or not registry.versions():  # to look for a model makes no store
        raise UserError(
            "no model is registered here; run `make demo` or `dvc repro` in the project, then serve"
        )
    import uvicorn

    from recitative.serve.app import LOCAL, make_app
    from recitative.serve.problems import Limits
    from recitative.serve.songs import list_songs

    songs = {}
    if INDEX.is_dir():
        songs = list_songs(INDEX, DATA, load_params(params_file).agreement.midpoint)
    limits = Limits(megabytes=megabytes, seconds=seconds, workers=workers)
    app = make_app(songs, player, limits, (*LOCAL, host, *allowed_hosts))
    listening = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    click.echo(f"http://{name}:{listening.getsockname()[1]}  (Ctrl-C ends it)")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listening])


def find_player() -> Path:
    """wavesurfer.js, in the package that ships it.

    Raises:
        UserError: the extra `serve` is not installed.
    """
    for module in ("fastapi", "uvicorn", "wavesurf"):
        found = find_spec(module)
        if found is None or found.origin is None:
            raise UserError(f"recitative serve needs {module}: {EXTRA}")
        player = Path(found.origin).with_name("wavesurfer.min.js")
    return player


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who comes before the server runs waits
    except OSError as error:
        listening.close()
        raise UserError(
            f"{host}:{port}: {(error.strerror or str(error)).lower()}; name another with --port or "
            "--host"
        ) from error
    return listening
