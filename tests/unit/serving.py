"""A server with a tiny registered ensemble, in a thread of the test's process."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn
from test_predict import song, write_ensemble

from recitative.commands.serve import listen
from recitative.experiment.places import DATA
from recitative.files import write_csv
from recitative.models.storage import DESCRIPTION
from recitative.serve.app import make_app
from recitative.serve.problems import Limits
from recitative.serve.songs import list_songs
from recitative.tracking import registry
from recitative.tracking.store import client, experiment_id

TAGS = {"pairing": "man2eng", "arch": "scae", "members": 2, "synthetic": "true"}
COLUMNS = (
    "id", "path", "seconds", "group", "language", "quadrant", "arousal", "valence",
    "sample_rate", "channels", "digest",
)  # fmt: skip
RATED = {("r1", 3, -2), ("r2", 1, -1), ("r3", -4, 0), ("r4", 2, 5)}  # arousal .75, valence 1/3


def make_project(root: Path) -> None:
    """Two versions of mer-eng, the first champion, and one rated and one unrated song."""
    for seed, alias in ((0, registry.CHAMPION), (5, registry.CHALLENGER)):
        bundle = root / f"bundle-{seed}"
        write_ensemble(bundle / DESCRIPTION, seed, seed + 1)
        run_id = client().create_run(experiment_id()).info.run_id
        registry.set_alias(registry.register("mer-eng", bundle, run_id, TAGS), alias)
    index = root / "build" / "index"
    rows = []
    for place, name in enumerate(("one.wav", "two.wav")):
        path = root / DATA / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, song(3 + place, 16_000), 16_000)
        row = dict.fromkeys(COLUMNS) | {"id": f"my/{name}", "path": name, "seconds": 3.0 + place}
        row |= {"group": "<b>Anna</b>", "language": "eng", "quadrant": "Q2"}
        rows.append(row | {"sample_rate": 16_000, "channels": 1, "digest": "0"})
    write_csv(index / "music-eng.csv", COLUMNS, rows)
    ratings = [
        {"id": "my/one.wav", "rater": r, "arousal": a, "valence": v} for r, a, v in sorted(RATED)
    ]
    write_csv(index / "music-eng.ratings.csv", ("id", "rater", "arousal", "valence"), ratings)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client.cache_clear()
        make_project(root)
        yield root
    client.cache_clear()


@contextmanager
def serving(project: Path, limits: Limits, player: Path, add: Any = None) -> Iterator[str]:
    """HOST:PORT of a server; `add` may give the application more routes."""
    songs = list_songs(project / "build" / "index", project / DATA, 0.0)
    app = make_app(songs, player, limits)
    if add:
        add(app)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Told:
    """An answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.content = (
            response.status,
            response.headers,
            response.read(),
        )

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    def problem(self) -> str:
        """The detail of a problem+json that is whole."""
        assert self.headers["content-type"] == "application/problem+json"
        assert set(self.json) == {"type", "title", "status", "detail"}
        assert self.json["status"] == self.status
        detail: str = self.json["detail"]
        assert "\n" not in detail
        return detail


def ask(server: str, method: str, path: str, body: Any = None, **headers: str) -> Told:
    """One request on a connection of its own; one that is refused early is answered all the same."""
    connection = http.client.HTTPConnection(server, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body, sent, encode_chunked=not isinstance(body, bytes))
    try:
        return Told(connection.getresponse())
    finally:
        connection.close()


def wav(samples: np.ndarray, path: Path, rate: int = 16_000, **options: Any) -> bytes:
    """An audio file's bytes."""
    soundfile.write(path, samples, rate, **options)
    return path.read_bytes()
