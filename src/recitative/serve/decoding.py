"""An upload becomes log-mel frames in another process, which may run out of memory or time.

A file from anybody is read by libsndfile, which is C code, and a small file can hold hours. So a worker
process decodes it, `python -m recitative.serve.decoding`, under a limit of memory. A worker that takes
too long is killed; one that died is replaced.

    stdin   {"path": …, "features": …, "seconds": …}, a line a file
    stdout  {"seconds": …, "shape": [T, M]}, a line, and T x M float32; or {"status": …, "error": …}
"""

import asyncio
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recitative.audio import AudioError, load_audio, read_header
from recitative.features.mel import FeatureConfig, log_mel

TOO_LARGE, WRONG_TYPE, UNUSABLE = 413, 415, 422


class DecodingError(Exception):
    """A file that cannot be heard: the status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class Decoder:
    """One worker process, started when it is first needed."""

    def __init__(self, seconds: float, megabytes: int) -> None:
        """`seconds` a file, and `megabytes` beyond what the process has when it starts."""
        self.seconds, self.megabytes = seconds, megabytes
        self.worker: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """The worker; a new one where there is none, or it ended."""
        if self.worker is None or self.worker.returncode is not None:
            self.worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "recitative.serve.decoding", str(self.megabytes),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        return self.worker

    async def stop(self) -> None:
        """Kill the worker."""
        if self.worker is not None:
            with suppress(ProcessLookupError):
                self.worker.kill()
            await self.worker.wait()
            self.worker = None

    async def frames(
        self, path: Path, features: FeatureConfig, longest: float
    ) -> tuple[float, np.ndarray]:
        """A file's length, s, and log-mel frames (T, n_mels); at most `longest` seconds are decoded.

        Raises:
            DecodingError: it cannot be heard, or costs too much.
        """
        worker = await self.start()
        assert worker.stdin
        assert worker.stdout
        asked = {"path": str(path), "features": features.model_dump(), "seconds": longest}
        try:
            async with asyncio.timeout(self.seconds):
                worker.stdin.write(json.dumps(asked).encode() + b"\n")
                answer = json.loads(await worker.stdout.readline())
                if "error" in answer:
                    raise DecodingError(answer["status"], answer["error"])
                rows, bands = answer["shape"]
                content = await worker.stdout.readexactly(4 * rows * bands)
        except TimeoutError as error:
            await self.stop()
            reason = f"decoding it took longer than {self.seconds:g} s"
            raise DecodingError(UNUSABLE, reason) from error
        except (
            ValueError,
            OSError,
            EOFError,
        ) as error:  # it died: there is no line, or half of one
            await self.stop()
            raise DecodingError(UNUSABLE, "the decoder crashed on it") from error
        except asyncio.CancelledError:  # its answer would be the next one's
            await self.stop()
            raise
        return answer["seconds"], np.frombuffer(content, np.float32).reshape(rows, bands)


def main() -> None:
    """Decode file after file until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_memory(int(sys.argv[1]) * 2**20)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            _answer(answers, asked)
        except MemoryError:
            reason = "decoding it needs too much memory; use fewer channels or a shorter song"
            _write(answers, {"status": TOO_LARGE, "error": reason})
            return  # with whatever it holds
        except AudioError as error:
            status = WRONG_TYPE if error.fault == "unreadable" else UNUSABLE
            _write(answers, {"status": status, "error": error.reason})


def _answer(answers: BinaryIO, asked: dict[str, Any]) -> None:
    path, features = Path(asked["path"]), FeatureConfig.model_validate(asked["features"])
    header = read_header(path)
    if (seconds := header.frames / header.sample_rate) > asked["seconds"]:
        reason = f"too long: {seconds:.0f} s; at most {asked['seconds']:g} s are heard"
        return _write(answers, {"status": TOO_LARGE, "error": reason})
    samples = load_audio(path, features.sample_rate)
    frames = log_mel(samples, features)
    _write(answers, {"seconds": len(samples) / features.sample_rate, "shape": frames.shape}, frames)


def _write(answers: BinaryIO, head: dict[str, Any], frames: np.ndarray | None = None) -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    if frames is not None:
        answers.write(np.ascontiguousarray(frames, np.float32).data)
    answers.flush()


def _limit_memory(more: int) -> None:
    """Let this process take `more` bytes of address space, beyond what it has (Linux, macOS)."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # macOS has the call, and does not keep to it: the time limit remains
        return
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
