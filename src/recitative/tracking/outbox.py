"""Metrics on their way to a tracking server: on disk first, sent when it answers.

A file a run, `.recitative/unsent/<run id>.jsonl`, a metric a line. Sending a line twice does no harm:
the server keeps one of two equal values of one moment. So a line leaves the file only when the
server has it, and a process that was killed in between loses nothing.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from recitative.tracking.store import answers, client, is_server, project_root

if TYPE_CHECKING:
    from mlflow.entities import Metric

_TRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_BATCH = 1000  # metrics that the server takes at once


@dataclass(frozen=True)
class Outbox:
    """What one run has not yet sent."""

    run_id: str

    @property
    def path(self) -> Path:
        """The file."""
        return _folder() / f"{self.run_id}.jsonl"

    def add(self, metrics: Sequence["Metric"]) -> None:
        """Put metrics on disk."""
        lines = [json.dumps([m.key, m.value, m.timestamp, m.step]) + "\n" for m in metrics]
        with self._lock(), self.path.open("ab") as out:
            out.truncate(_whole(self.path))
            out.write("".join(lines).encode())

    def send(self) -> None:
        """Send what is on disk; it stays there where the server is away.

        Raises:
            MlflowException: the server answers, and refuses.
        """
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        with self._lock():
            if not self.path.exists() or not answers():
                return
            kept = self.path.read_bytes()[: _whole(self.path)]
            metrics = [Metric(*json.loads(line)) for line in kept.splitlines()]
            try:
                with _once():
                    for first in range(0, len(metrics), _BATCH):
                        client().log_batch(self.run_id, metrics=metrics[first : first + _BATCH])
            except MlflowException as error:
                if error.get_http_status_code() >= 500:
                    return  # it went away in the middle, or what stands before it answers alone
                raise
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Send what is left, and leave nothing on disk: the run has ended."""
        self.send()
        if not self.path.exists():
            self._lock_file.unlink(missing_ok=True)

    @property
    def _lock_file(self) -> Path:
        return self.path.with_suffix(".lock")

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._lock_file)


@contextmanager
def _once() -> Iterator[None]:
    """Without MLflow's own tries, minutes of them: what does not arrive is kept, and training goes on."""
    before = os.environ.get(_TRIES)
    os.environ[_TRIES] = "0"
    try:
        yield
    finally:
        del os.environ[_TRIES]
        if before is not None:
            os.environ[_TRIES] = before


def send_left_over() -> None:
    """Send what processes that were killed left on disk; a run that was deleted is let go of."""
    from mlflow.exceptions import MlflowException

    if not is_server():
        return
    for path in sorted(_folder().glob("*.jsonl")):
        try:
            Outbox(path.stem).close()
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            path.unlink()


def _folder() -> Path:
    return project_root() / ".recitative" / "unsent"


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line: a kill may have cut one off."""
    return path.read_bytes().rfind(b"\n") + 1
