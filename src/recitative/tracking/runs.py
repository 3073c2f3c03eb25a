"""Runs: one for each pretraining, transfer repeat and control, with what tells them apart.

A run is opened by id, so that a killed stage resumes its run and a worker process can log to it.
"""

import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

from recitative.files import atomic_path
from recitative.processes import lives
from recitative.tracking.outbox import Outbox, send_left_over
from recitative.tracking.store import (
    answers,
    client,
    experiment_id,
    is_server,
    tracking_uri,
    wait_for_server,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ELSEWHERE = "trained_elsewhere"  # tag: the id that a run has in the store of whoever trained it
HOST, PID, BORN = "recitative.host", "recitative.pid", "recitative.process_started"


@dataclass(frozen=True)
class Input:
    """A dataset that a run read: a role's features, and which version of them."""

    name: str
    digest: str
    source: str
    context: str  # training, evaluation


@dataclass(frozen=True)
class Run:
    """An open run."""

    id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step (an epoch)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        if not is_server():
            client().log_batch(self.id, metrics=batch)
            return
        outbox = Outbox(self.id)
        outbox.add(batch)
        outbox.send()

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        wait_for_server()
        client().log_batch(self.id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a copy of a file."""
        wait_for_server()
        client().log_artifact(self.id, str(path), folder)

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Store a figure as an image."""
        wait_for_server()
        client().log_figure(self.id, figure, name)

    def end(self, status: str) -> None:
        """Send what is still on disk, and say how it ended."""
        wait_for_server()
        if is_server():
            Outbox(self.id).close()
        client().set_terminated(self.id, status)


@contextmanager
def open_run(
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    inputs: Sequence[Input] = (),
    parent: str | None = None,
    resume: Path | None = None,
    measure: bool = True,
) -> Iterator[Run]:
    """Open a run; it ends FINISHED, or FAILED with the error, or KILLED on an interrupt.

    Of each param the first 500 characters are logged; to the tags come those that say where this
    process runs. `parent` is the id of the run that groups it. `resume` is a small file that remembers
    the run's id until it ends: a stage that was killed and is started again goes on in the same run.
    With `measure` CPU, memory and GPU are sampled into it; a run that only groups others need not.
    """
    opened = _open(name, params, tags, inputs, parent, resume)
    monitor = _system_metrics(opened.id) if measure else None
    try:
        yield opened
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        if answers():  # else the next stage finds the run without its process
            if not interrupted:
                opened.set_tags({"error": str(error)[:500]})
            opened.end("KILLED" if interrupted else "FAILED")
        raise
    finally:
        if monitor:
            monitor.finish()
    opened.end("FINISHED")
    if resume:
        resume.unlink(missing_ok=True)


def _open(
    name: str, params: Mapping[str, Any], tags: Mapping[str, Any], inputs: Sequence[Input],
    parent: str | None, resume: Path | None,
) -> Run:  # fmt: skip
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    wait_for_server()
    mine = {
        HOST: platform.node(),
        PID: os.getpid(),
        BORN: psutil.Process().create_time(),
        "mlflow.source.name": "recitative",
        "mlflow.user": os.environ.get("USER", "unknown"),
    }
    if resume and resume.exists() and (known := _existing(resume.read_text().strip())):
        client().update_run(known, status="RUNNING")
        opened = Run(known)
        opened.set_tags({**mine, "resumed": "true"})
        if "error" in client().get_run(known).data.tags:  # what it failed on before is mended
            client().delete_tag(known, "error")
        return opened
    # Whose it is comes with the run itself: one killed right after it is reaped, too.
    first_tags = {**mine, **tags} | ({"mlflow.parentRunId": parent} if parent else {})
    made = client().create_run(
        experiment_id(), run_name=name, tags={key: str(tag) for key, tag in first_tags.items()}
    )
    opened = Run(made.info.run_id)
    written = [Param(key, str(value)[:500]) for key, value in params.items()]
    for first in range(0, len(written), 100):
        client().log_batch(opened.id, params=written[first : first + 100])
    if inputs:
        datasets = [
            DatasetInput(
                Dataset(data.name, data.digest[:36], "local", data.source, profile="{}"),
                [InputTag("mlflow.data.context", data.context)],
            )
            for data in inputs
        ]
        client().log_inputs(opened.id, datasets)
    if resume:
        with atomic_path(resume) as temporary:
            temporary.write_text(opened.id)
    return opened


def _existing(run_id: str) -> str | None:
    """The id, if the store still has that run and lets this member write to it."""
    from mlflow.exceptions import MlflowException

    try:
        found = client().get_run(run_id)
    except MlflowException:
        return None
    return run_id if found.info.lifecycle_stage == "active" and _is_mine(found) else None


def _is_mine(found: Any) -> bool:
    """Whether a run is this member's; a store without members is its owner's."""
    member = os.environ.get("MLFLOW_TRACKING_USERNAME") if is_server() else None
    return member is None or found.data.tags.get("mlflow.user") == member


def run_here_or_new(run_id: str, name: str, tags: Mapping[str, Any]) -> str:
    """The id of a run of this store that a model trained by `run_id` can be registered under.

    That run itself where it is in this store and one's own. Else (somebody else trained it, or
    mlflow.db was removed) a new one with `name` and `tags`, whose tag `trained_elsewhere` is the
    original id; the next call finds it again.
    """
    if _existing(run_id):
        return run_id
    where = f"tags.{ELSEWHERE} = '{run_id}' AND attributes.status = 'FINISHED'"
    for found in client().search_runs([experiment_id()], where):
        if _is_mine(found):
            return str(found.info.run_id)
    click.echo(f"{name}: run {run_id} is not yours in this MLflow store; a new run stands for it")
    with open_run(name, {}, {**tags, ELSEWHERE: run_id}, measure=False) as made:
        return made.id


def elsewhere(run_ids: Iterable[str]) -> set[str]:
    """Those of the runs that this store does not have."""
    wanted = sorted(set(run_ids))
    found = set()
    for first in range(0, len(wanted), 100):
        some = ", ".join(f"'{run_id}'" for run_id in wanted[first : first + 100])
        runs = client().search_runs([experiment_id()], f"attributes.run_id IN ({some})")
        found |= {run.info.run_id for run in runs}
    return set(wanted) - found


def _system_metrics(run_id: str) -> Any:
    """Start sampling CPU, memory and GPU of this machine once a second into the run."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    for chatty in ("mlflow.system_metrics", "mlflow.system_metrics.system_metrics_monitor"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    monitor = SystemMetricsMonitor(
        run_id, sampling_interval=1, samples_before_logging=5, tracking_uri=tracking_uri()
    )
    monitor.start()
    return monitor


def parent_run_id() -> str | None:
    """The run that `mlflow run` made for this process, taken out of the environment.

    A stage that inherited it would join that one run, and the next stage's params would clash.
    """
    if given := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ["RECITATIVE_PARENT_RUN"] = given  # for whoever asks next, and for its processes
    return os.environ.get("RECITATIVE_PARENT_RUN")


def reap() -> list[str]:
    """Mark as KILLED every RUNNING run whose process on this machine is gone; return their ids."""
    wait_for_server()
    send_left_over()
    gone = []
    for found in client().search_runs([experiment_id()], "attributes.status = 'RUNNING'"):
        tags = found.data.tags
        here = tags.get(HOST) == platform.node() and PID in tags
        if here and _is_mine(found) and not lives(int(tags[PID]), float(tags.get(BORN, 0))):
            client().set_terminated(found.info.run_id, "KILLED")
            gone.append(str(found.info.run_id))
    return gone
