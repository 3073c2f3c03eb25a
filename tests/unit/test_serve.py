"""The API: what predict answers, and one problem for all that is wrong, whoever sends it."""

import asyncio
import gzip
import importlib.util
import io
import json
import os
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import soundfile
from serving import Told, ask, project, serving  # noqa: F401
from test_predict import FEATURES, song

from recitative.audio import load_audio
from recitative.commands import predict as listen_to
from recitative.commands import serve as command
from recitative.errors import UserError
from recitative.features.mel import log_mel
from recitative.files import read_json
from recitative.serve.decoding import Decoder, DecodingError
from recitative.serve.problems import Limits
from recitative.tracking import registry

LIMITS = Limits(megabytes=2, seconds=60, decoding_megabytes=100)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:  # noqa: F811
    with serving(project, LIMITS, Path(__file__)) as address:
        yield address


def encoded(samples: np.ndarray, kind: str, rate: int = 16_000, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, **options)
    return file.getvalue()


GOOD = encoded(song(3, 16_000), "WAV")


def hear(server: str, body: Any, **query: str) -> Told:
    return ask(server, "POST", f"/predict?{urlencode(query)}", body)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_the_answer_is_that_of_predict_json(
    kind: str, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, answer = tmp_path / f"song.{kind.lower()}", tmp_path / "answer.json"
    path.write_bytes(encoded(song(4, 22_050, 2), kind, 22_050))
    assert listen_to.run([path], "mer-eng@champion", answer, None)
    [one] = read_json(answer)
    for model in ("mer-eng", "mer-eng/1", "models:/mer-eng@champion"):
        told = hear(server, path.read_bytes(), model=model, name=str(path))
        assert told.status == 200
        assert told.json == one
    other = hear(server, path.read_bytes(), model="mer-eng@challenger").json
    assert other["model"] == "mer-eng/2"
    assert other["whole"] != one["whole"]


def test_models_health_and_songs_are_listed(server: str) -> None:
    first, second = ask(server, "GET", "/models").json
    assert (first["model"], first["alias"], second["alias"]) == (
        "mer-eng/1", "champion", "challenger",
    )  # fmt: skip
    assert (first["language"], first["speech"], first["networks"], first["synthetic"]) == (
        "English", "Mandarin", "2", True,
    )  # fmt: skip
    health = ask(server, "GET", "/health").json
    assert health["status"] == "ok"
    assert health["limits"]["megabytes"] == 2
    one, two = ask(server, "GET", "/songs").json
    assert one["listeners"] == {"count": 4, "arousal": 0.75, "valence": 0.3333}
    assert two["listeners"] is None


def test_a_listed_song_is_played_and_nothing_else(server: str, project: Path) -> None:  # noqa: F811
    one, _ = ask(server, "GET", "/songs").json
    told = ask(server, "GET", f"/audio?song={quote(one['id'])}")
    assert told.content == (project / "data" / "one.wav").read_bytes()
    assert hear(server, told.content).status == 200
    for name in ("../mlflow.db", "one.wav", "/etc/passwd", str(project / "data" / "one.wav"),
                 "music-eng/my/../my/one.wav", "music-eng/../../data/one.wav", "%00", ""):  # fmt: skip
        told = ask(server, "GET", f"/audio?song={quote(name)}")
        assert told.status == 404
        assert "no such song" in told.problem()
    (project / "data" / "two.wav").rename(project / "data" / "away")
    told = ask(server, "GET", "/audio?song=music-eng/my/two.wav")
    assert "dvc checkout" in told.problem()
    assert str(project) not in told.problem()
    (project / "data" / "away").rename(project / "data" / "two.wav")


@pytest.mark.parametrize(
    "path",
    ["/../mlflow.db", "/page/../../app.py", "/%2e%2e/app.py", "//etc/passwd", "/app.py",
     "/index.html/../app.py", "/docs", "/redoc", "/static/page.js"],
)  # fmt: skip
def test_no_path_leads_to_a_file(path: str, server: str) -> None:
    told = ask(server, "GET", path)
    assert told.status == 404
    told.problem()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("mer-nobody", "no such model"),
        ("mer-eng/99", "no such model"),
        ("mer-eng@best", "there are mer-eng/1 (champion), mer-eng/2 (challenger)"),
        ("../bundle-0", "no model's name"),
        ("/etc", "no model's name"),
        ("s3://bucket/mer-eng/1", "no model's name"),
        ("", "no model's name"),
        ("x" * 240, "no model's name"),
    ],
)
def test_an_unknown_model_is_one_problem(model: str, said: str, server: str) -> None:
    told = hear(server, GOOD, model=model)
    assert told.status == 404
    assert said in told.problem()


@pytest.mark.parametrize("name", ["model.json", "model-1-0.safetensors"])
def test_a_model_that_was_changed_is_not_used(
    name: str, project: Path, capfd: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    [path] = registry.bundle_of(registry.resolve("mer-eng/2")).glob(name)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole + b" ")
        with serving(project, LIMITS, Path(__file__)) as server:
            told = hear(server, GOOD, model="mer-eng/2")
            assert told.status == 409
            assert "mer-eng/2: its files are lost, or not those that were registered" in (
                told.problem()
            )
            assert str(project) not in told.problem()
            assert hear(server, GOOD, model="mer-eng/1").status == 200
            path.write_bytes(whole)
            assert hear(server, GOOD, model="mer-eng/2").status == 200
    finally:
        path.write_bytes(whole)
    assert "sha256" in capfd.readouterr().err  # in the server's log, with the file


def riff(channels: int, rate: int, bits: int, declared: int, data: bytes, kind: int = 1) -> bytes:
    align = channels * bits // 8 % 65536
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, align, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", declared)
    return b"RIFF" + struct.pack("<I", min(2**32 - 1, 36 + declared)) + chunks + data


def silence(seconds: int, kind: str, rate: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format=kind) as sound:
        for _ in range(0, seconds, 5):  # libsndfile crashes where it encodes much at once
            sound.write(np.zeros((5 * rate, channels), np.int16))
    return file.getvalue()


def restated(flac: bytes, samples: int) -> bytes:
    """A flac whose header states another number of samples: 36 bits, in the bytes 21 to 25."""
    high = bytes([flac[21] & 0xF0 | samples >> 32]) + struct.pack(">I", samples % 2**32)
    return flac[:21] + high + flac[26:]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.wav", bytes(10**7))
    return file.getvalue()


SONG = song(3, 16_000)
FLAC, OGG, MP3, AIFF = (encoded(SONG, kind) for kind in ("FLAC", "OGG", "MP3", "AIFF"))
NOISE = np.random.default_rng(1).bytes(2**16)
TONE = GOOD[44:]
UNHEARD = [415, 422]  # no sound; or a broken one
Broken = Callable[[], bytes] | bytes
MALFORMED: dict[str, tuple[Broken, list[int]]] = {
    "empty": (b"", [422]),
    "a byte": (b"R", [415]),
    "text": (b"la la la " * 1000, [415]),
    "json": (b'{"path": "/etc/passwd"}', [415]),
    "html": (b"<!doctype html><script>alert(1)</script>", [415]),
    "a picture": (b"\x89PNG\r\n\x1a\n" + NOISE, [415]),
    "a zip bomb": (zipped, [415]),
    "a gzip bomb": (lambda: gzip.compress(bytes(10**7)), [415]),
    "a pdf": (b"%PDF-1.7\n" + NOISE, [415]),
    "a program": (b"\x7fELF\x02\x01\x01" + NOISE, [415]),
    "a path": (b"/etc/passwd", [415]),
    "noise": (NOISE, UNHEARD),
    "zeros": (bytes(2**16), UNHEARD),
    "an mp4 header": (b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(100), [415]),
    "half a RIFF": (GOOD[:20], [415]),
    "a wav without data": (GOOD[:36], [415]),
    "a wav of no samples": (GOOD[:44], UNHEARD),
    "half a wav": (GOOD[: len(GOOD) // 2], [422]),
    "a wav that states 3 hours": (riff(1, 16_000, 16, 3 * 3600 * 32_000, TONE), [422]),
    "a wav that states 4 GB": (riff(1, 16_000, 16, 2**32 - 1, TONE[:9000]), UNHEARD),
    "a wav of no channels": (riff(0, 16_000, 16, len(TONE), TONE), UNHEARD),
    "a wav of 65535 channels": (riff(65535, 16_000, 16, len(TONE), TONE), UNHEARD),
    "a wav at 0 Hz": (riff(1, 0, 16, len(TONE), TONE), UNHEARD),
    "a wav at 4 GHz": (riff(1, 2**32 - 1, 16, len(TONE), TONE), UNHEARD),
    "a wav at 1 Hz": (riff(1, 1, 16, len(TONE), TONE), [413]),
    "a wav of 0 bits": (riff(1, 16_000, 0, len(TONE), TONE), UNHEARD),
    "a wav of an unknown codec": (riff(1, 16_000, 16, len(TONE), TONE, 0x7777), UNHEARD),
    "not a number": (encoded(np.full(48_000, np.nan), "WAV", subtype="FLOAT"), [422]),
    "infinite": (encoded(np.full(48_000, np.inf), "WAV", subtype="FLOAT"), [422]),
    "silent": (lambda: silence(5, "WAV", 16_000), [422]),
    "half a second": (encoded(song(0.5, 16_000), "WAV"), [422]),
    "half a second of mp3": (encoded(song(0.5, 16_000), "MP3"), [422]),
    "half an aiff": (AIFF[: len(AIFF) // 2], [422]),
    "a flac header": (FLAC[:42], UNHEARD),
    "half a flac": (FLAC[: len(FLAC) // 2], [422]),
    "a damaged flac": (FLAC[:3000] + NOISE[:3000] + FLAC[6000:], [422]),
    "a flac of 3 hours": (lambda: silence(3 * 3600, "FLAC", 1000), [413]),
    "a flac that states 3 hours": (lambda: restated(FLAC, 3 * 3600 * 16_000), [413]),
    "a flac that states nothing": (lambda: restated(FLAC, 0), UNHEARD),
    "a flac of 3 hours that states 3 s": (
        lambda: restated(silence(3 * 3600, "FLAC", 1000), 3000), [422],
    ),
    "an ogg header": (OGG[:58], UNHEARD),
    "an ogg of 10 minutes": (lambda: silence(600, "OGG", 8000), [413]),
    "an ogg of 64 channels": (lambda: silence(55, "OGG", 8000, 64), [413]),
    "an mp3 of 10 minutes": (lambda: silence(600, "MP3", 8000), [413]),
    "an mp3's first frame": (MP3[:100], UNHEARD),
    "a tag that is all": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(500), UNHEARD),
    "3 MB": (bytes(3 * 10**6), [413]),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_upload_is_a_problem(name: str, server: str) -> None:
    made, statuses = MALFORMED[name]
    body = made if isinstance(made, bytes) else made()
    assert len(body) < 4 * 10**6, "a bomb is small"
    told = hear(server, body, name="my song")
    assert told.status in statuses, told.content
    assert "recitative-upload" not in told.problem()
    assert hear(server, GOOD).status == 200


def test_there_are_forty_and_more() -> None:
    assert len(MALFORMED) >= 40


def test_what_is_too_large_is_refused_before_it_is_read(server: str) -> None:
    host, port = server.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000000\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    told = hear(server, (bytes(10**5) for _ in range(25)))  # in chunks, without a length
    assert (told.status, told.problem()) == (413, "the file is too large; at most 2 MB are taken")


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data; boundary=x", "text/plain"]
)
def test_a_type_that_is_no_sound_is_refused(kind: str, server: str) -> None:
    told = ask(server, "POST", "/predict", GOOD, content_type=kind)
    assert told.status == 415
    assert "send the audio file itself" in told.problem()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/models", 405), ("GET", "/audio", 422),
     ("POST", f"/predict?model={'x' * 300}", 422), ("POST", f"/predict?name={'x' * 300}", 422)],
)  # fmt: skip
def test_a_wrong_request_is_a_problem(method: str, path: str, status: int, server: str) -> None:
    told = ask(server, method, path, GOOD if method == "POST" else None)
    assert told.status == status
    told.problem()


def test_pages_and_names_of_others_are_refused(server: str) -> None:
    for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"},
                    {"Origin": "https://evil.example"}, {"Origin": "null"}):  # fmt: skip
        told = ask(server, "POST", "/predict", GOOD, **headers)
        assert told.status == 403, headers
        told.problem()
    assert ask(server, "POST", "/predict", GOOD, Origin=f"http://{server}").status == 200
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert ask(server, "GET", "/health", Host=host).status == 200


def test_the_page_may_load_from_here_alone(server: str) -> None:
    first, second = ask(server, "GET", "/"), ask(server, "GET", "/")
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    for unsafe in ("unsafe", "*", "http:", "https:", "data:"):
        assert unsafe not in policy
    assert policy != second.headers["content-security-policy"]  # the nonce is new each time
    assert b"{{" not in first.content
    for name in ("page.css", "page.js", "icon.svg", "wavesurfer.js"):
        told = ask(server, "GET", f"/{name}")
        assert told.status == 200
        assert told.headers["x-content-type-options"] == "nosniff"
        assert b"https://" not in told.content or name == "wavesurfer.js"


def test_the_api_describes_itself(server: str) -> None:
    described = ask(server, "GET", "/openapi.json").json
    assert set(described["paths"]) == {"/health", "/models", "/songs", "/audio", "/predict"}
    predict = described["paths"]["/predict"]["post"]
    assert "audio/*" in predict["requestBody"]["content"]
    assert "application/problem+json" in predict["responses"]["4XX"]["content"]
    answer = described["components"]["schemas"]["Answer"]["properties"]
    assert set(answer) == {"file", "seconds", "whole", "timeline", "model"}


def test_metrics_are_there_where_prometheus_is(server: str) -> None:
    told = ask(server, "GET", "/metrics")
    if importlib.util.find_spec("prometheus_client") is None:
        assert told.status == 404
        return
    hear(server, GOOD)
    told = ask(server, "GET", "/metrics")
    assert b'recitative_requests_total{path="/predict",status="200"}' in told.content
    assert b"recitative_predict_seconds_count" in told.content


def test_more_than_can_wait_is_told_to_come_again(project: Path) -> None:  # noqa: F811
    with serving(project, Limits(workers=1, waiting=0), Path(__file__)) as server:
        host, port = server.split(":")
        with socket.create_connection((host, int(port))) as first:
            head = (
                f"POST /predict HTTP/1.1\r\nHost: {server}\r\nContent-Length: {len(GOOD)}\r\n\r\n"
            )
            first.sendall(head.encode() + GOOD[:100])
            statuses: list[int] = []
            while 503 not in statuses and len(statuses) < 50:  # until the first has been let in
                second = hear(server, GOOD)
                statuses.append(second.status)
            assert second.headers["retry-after"] == "1"
            assert "too many requests" in second.problem()
            first.sendall(GOOD[100:])
            assert first.recv(100).startswith(b"HTTP/1.1 200 ")
        assert hear(server, GOOD).status == 200


def test_a_body_that_does_not_come_is_a_problem(project: Path) -> None:  # noqa: F811
    with serving(project, Limits(upload_seconds=0), Path(__file__)) as server:
        host, port = server.split(":")
        with socket.create_connection((host, int(port))) as slow:
            head = (
                f"POST /predict HTTP/1.1\r\nHost: {server}\r\nContent-Length: {len(GOOD)}\r\n\r\n"
            )
            slow.sendall(head.encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_decoder_that_is_slow_or_dies_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(GOOD)

    async def use() -> tuple[float, np.ndarray]:
        decoder = Decoder(1e-9, 100)
        with pytest.raises(DecodingError, match="longer than 1e-09 s"):
            await decoder.frames(path, FEATURES, 60)
        decoder.seconds = 60
        with pytest.raises(DecodingError, match="crashed"):
            await decoder.frames(path, FEATURES, "no number")  # type: ignore[arg-type]
        worker = await decoder.start()
        worker.kill()
        await worker.wait()
        found = await decoder.frames(path, FEATURES, 60)
        await decoder.stop()
        return found

    seconds, frames = asyncio.run(use())
    assert seconds == 3
    assert np.array_equal(frames, log_mel(load_audio(path), FEATURES))


def test_what_keeps_serve_from_starting_is_one_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    taken = command.listen("127.0.0.1", 0)
    with pytest.raises(UserError, match=r"address already in use; name another with --port"):
        command.listen("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(UserError, match="not known; name another|name another with --port"):
        command.listen("no.such.host.invalid", 0)
    arguments = ("127.0.0.1", 0, (), 64, 600, 2, Path("params.yaml"))
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs fastapi: pip install .*\[serve\]"):
        command.run(*arguments)
    monkeypatch.setattr(command, "find_player", lambda: Path("player.js"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow sets
    with pytest.raises(UserError, match="no model is registered here"):
        command.run(*arguments)
    assert os.listdir(tmp_path) == []


def test_names_are_data(server: str) -> None:
    name = "<img src=x onerror=alert(1)>\u202e'\"\n"
    assert hear(server, GOOD, name=name).json["file"] == name
    told = hear(server, b"x", name=name)
    assert json.loads(told.content)["detail"].startswith("<img")
    assert told.headers["content-type"] == "application/problem+json"
