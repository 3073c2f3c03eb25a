"""`recitative serve` under load: times, failures and memory, in a project with a registered model.

    python -m benchmarks.serve PROJECT [--requests 500] [--clients 4] [--model mer-eng]

The server runs on one core, the clients on the others. Then come uploads that are meant to fill its
memory. Prints the table of docs/serve.md.
"""

import argparse
import http.client
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from benchmarks.__main__ import machine
from benchmarks.features import SECONDS, song

HOST, PORT = "127.0.0.1", 8765
CORE = 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--model", default="mer-eng")
    given = parser.parse_args()
    file = io.BytesIO()
    soundfile.write(file, song(44_100, 2, 0), 44_100, format="MP3")
    body = file.getvalue()
    address = f"/predict?model={given.model}"
    with serving(given.project) as server, Peak(server) as peak:
        for _ in range(5):  # warm
            post(address, body)
        before, began = cpu_seconds(server), time.perf_counter()
        with ThreadPoolExecutor(given.clients) as clients:
            told = list(clients.map(lambda _: post(address, body), range(given.requests)))
        wall, cpu = time.perf_counter() - began, cpu_seconds(server) - before
        usual = peak.bytes
        statuses = {name: post(address, bomb)[0] for name, bomb in bombs()}
        after, _ = post(address, body)
    times = sorted(seconds for _, seconds in told)
    about = machine()
    print(f"{about['processor']}; load {about['load']}; {about['date']}; {given.model}\n")
    print("| | |\n|---|---|")
    print(f"| requests, clients | {given.requests}, {given.clients} |")
    print(f"| failures | {sum(status != 200 for status, _ in told)} |")
    for share in (50, 95, 100):
        print(f"| p{share} | {np.percentile(times, share):.2f} s |")
    print(f"| {SECONDS} s songs a second | {given.requests / wall:.1f} |")
    print(f"| CPU time a song | {cpu / given.requests:.3f} s |")
    print(f"| largest memory, all processes | {usual / 2**20:.0f} MB |")
    print(f"| the same with the uploads below | {peak.bytes / 2**20:.0f} MB |")
    for name, status in statuses.items():
        print(f"| {name} | {status} |")
    print(f"| a song after them | {after} |")


@contextmanager
def serving(project: Path) -> Iterator[psutil.Process]:
    """`recitative serve` on one core."""
    command = [sys.executable, "-m", "recitative.cli", "serve", "--port", str(PORT)]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    server = psutil.Process(process.pid)
    server.cpu_affinity([CORE])
    psutil.Process().cpu_affinity([c for c in range(os.cpu_count() or 1) if c != CORE] or [CORE])
    try:
        assert process.stdout
        if not process.stdout.readline():
            sys.exit(process.wait())
        yield server
    finally:
        process.terminate()
        process.wait()


def post(address: str, body: Any) -> tuple[int, float]:
    """The status, and the seconds from the connection to the last byte of the answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(HOST, PORT, timeout=600)
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", address, body, encode_chunked=not isinstance(body, bytes))
    try:
        response = connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - began
    except ConnectionError:
        return 0, time.perf_counter() - began
    finally:
        connection.close()


def bombs() -> Iterator[tuple[str, Any]]:
    """Small files that hold much, and a large one."""
    for name, seconds, kind, rate, channels in (
        ("a flac of 3 hours of silence", 3 * 3600, "FLAC", 8000, 1),
        ("an ogg of 64 channels, 9 minutes", 540, "OGG", 8000, 64),
        ("an mp3 of 9 minutes, stereo", 540, "MP3", 44_100, 2),
    ):
        file = io.BytesIO()
        with soundfile.SoundFile(file, "w", rate, channels, format=kind) as sound:
            for _ in range(0, seconds, 5):
                sound.write(np.zeros((5 * rate, channels), np.int16))
        yield f"{name} ({len(file.getvalue()) / 1e6:.1f} MB)", file.getvalue()
    yield "500 MB in chunks", (bytes(10**6) for _ in range(500))


def tree(server: psutil.Process) -> list[psutil.Process]:
    """The server and its decoders."""
    return [server, *server.children(recursive=True)]


def cpu_seconds(server: psutil.Process) -> float:
    """What they have used."""
    return float(sum(sum(one.cpu_times()[:2]) for one in tree(server)))


class Peak:
    """The largest sum of their resident memory, looked at 50 times a second."""

    def __init__(self, server: psutil.Process) -> None:
        self.server, self.bytes, self._stop = server, 0, threading.Event()

    def __enter__(self) -> "Peak":
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            with suppress(psutil.Error):
                self.bytes = max(
                    self.bytes, sum(one.memory_info().rss for one in tree(self.server))
                )


if __name__ == "__main__":
    main()
