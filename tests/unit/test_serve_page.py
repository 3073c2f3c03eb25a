"""The page in headless Chromium: a song plays, the point moves with it, nothing is complained of."""

import queue
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse
from serving import project, serving  # noqa: F401

from recitative.commands.serve import find_player
from recitative.serve.app import PAGE
from recitative.serve.problems import Limits

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: chromium)"),
    pytest.mark.skipif(find_spec("wavesurf") is None, reason="the extra `serve` is not installed"),
]
SCRIPT = "<script defer src="


def looked_at(project: Path, folder: Path, *options: str) -> dict[str, Any]:  # noqa: F811
    """What probe.js saw."""
    answers: queue.Queue[dict[str, Any]] = queue.Queue()

    def add(app: FastAPI) -> None:
        @app.get("/probe")
        async def probe(request: Request) -> HTMLResponse:
            text = (PAGE / "index.html").read_text(encoding="utf-8")
            text = text.replace("{{nonce}}", request.state.nonce)
            return HTMLResponse(text.replace(SCRIPT, f'{SCRIPT}"probe.js"></script>{SCRIPT}', 1))

        @app.get("/probe.js")
        async def script() -> FileResponse:
            return FileResponse(Path(__file__).with_name("probe.js"))

        @app.post("/told")
        async def told(request: Request) -> None:
            answers.put(await request.json())

    with serving(project, Limits(), find_player(), add) as server:
        assert CHROMIUM
        browser = subprocess.Popen(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", f"--user-data-dir={folder}",
                "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0",
                *options, f"http://{server}/probe",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return answers.get(timeout=120)
        finally:
            browser.terminate()
            browser.wait()


@pytest.mark.parametrize("width", [1600, 360])
def test_a_song_is_heard_and_seen(width: int, project: Path, tmp_path: Path) -> None:  # noqa: F811
    told = looked_at(project, tmp_path, f"--window-size={width},900")
    assert told["complaints"] == []
    assert told["elsewhere"] == []
    assert told["wide"] <= 0, "the page is wider than the window"
    assert told["song"] == "one.wav, Q2, <b>Anna</b>"
    assert told["summary"] == told["spoken"]
    for words in ("heard by mer-eng/1: Q", "Of 4 listeners, 75\u00a0% rated arousal as high"):
        assert words in told["summary"]
    assert told["listeners"] == 3  # two curves, and the plane
    assert min(told["bands"]) > 3
    assert max(told["lags"]) < 0.1  # s
    assert len(set(told["points"])) > 5
    assert told["trail"].count(",") > 1
    assert abs(told["pausedAt"]) < 0.1
    assert told["said"].startswith("At 0:0")
    assert told["quarter"] == pytest.approx([0.25, 0.25], abs=0.01)
    assert (told["left"], told["right"]) == (0, pytest.approx(3, abs=0.05))  # by 5 s
    assert told["slid"][:2] == pytest.approx([1.5, 1.5], abs=0.01)
    assert told["slid"][2].startswith("0:01 of 0:03, Q")
    assert told["models"] == ["mer-eng/1", "mer-eng/2"]
    assert told["together"] == pytest.approx([2, 2], abs=0.01)
    assert told["lengths"] == pytest.approx([3, 4], abs=0.05)
    assert told["problem"] == [
        "text.mp3: unreadable: not an audio file that libsndfile reads",
        True,
    ]
    assert told["left_over"] == 1


def test_who_wants_no_motion_sees_steps(project: Path, tmp_path: Path) -> None:  # noqa: F811
    told = looked_at(project, tmp_path, "--force-prefers-reduced-motion")
    assert told["complaints"] == []
    assert told["trail"] == ""
    assert len(set(told["points"])) <= 4
