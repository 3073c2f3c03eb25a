"""The other end of the pipe to the Keras peer."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Self

from benchmarks.rounds import Cost


class KerasPeer:
    """A process with the released networks in Keras; it ends with the `with` block."""

    def __init__(self, threads: int):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.keras_process", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # TensorFlow's greetings; the message below says how to see it
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def side(self, do: str, model: str, norm: str, segments: int) -> Callable[[], Cost]:
        """One step of `train` or `test`; the first call builds and traces the model."""
        asked = json.dumps({"do": do, "model": model, "norm": norm, "segments": segments})

        def step() -> Cost:
            print(asked, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline() if self.process.stdout else ""
            if not answer:
                raise SystemExit(
                    "the Keras peer ended: python -m benchmarks.peers.keras_process 1 says why; "
                    "it needs pip install -e '.[bench]' -c constraints.txt"
                )
            return Cost(**json.loads(answer))

        return step
