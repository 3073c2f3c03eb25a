"""`recitative matrix`: a grid of experiments through DVC's queue, waited for, and one report of all.

The work is DVC's own: ``dvc exp run --queue -S pretrain.arch=scae,cpc`` and ``dvc queue start``. This
adds what a person would do by hand: wait and say how far it is, clear away what a killed worker
left, and at the end bring the first experiment into the workspace and judge and report anew, with
every run of the grid in MLflow. Files under version control that were edited meanwhile are never
touched: then the experiment stays where it is, and the command that brings it is printed. Killed at
any moment and started again it goes on: DVC's cache knows the stages that are done, and a stage that
was cut goes on from its last checkpoint.
"""

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from filelock import FileLock, Timeout

from recitative.errors import UserError
from recitative.experiment.places import DATA, EVALUATE, REPORT
from recitative.experiment.repository import dvc as _dvc
from recitative.experiment.repository import require_known
from recitative.files import read_json, sha256, write_json

POLL = 10.0  # s
FINISHED = ("Success", "Failed")


@dataclass(frozen=True)
class Task:
    """One line of `dvc queue status`."""

    id: str
    name: str
    status: str


@dataclass(frozen=True)
class Status:
    """What `dvc queue status` says."""

    tasks: tuple[Task, ...]
    workers: int  # that are alive

    def of(self, name: str) -> list[Task]:
        """The grid's own tasks."""
        return [task for task in self.tasks if _is_of(name, task.name)]


def _is_of(name: str, experiment: str) -> bool:
    """Whether it is the grid's: ``name-1``, ``name-2``, …; a grid of one is ``name``."""
    return bool(re.fullmatch(rf"{re.escape(name)}(-\d+)?", experiment))


def run(name: str, overrides: Sequence[str], wait: Callable[[float], None] = time.sleep) -> None:
    """Run every combination of the overrides, one after another, and report on all of them.

    They are called ``name-1``, ``name-2``, …; the overrides are as for ``dvc exp run -S``, values with
    commas make the grid. `wait` is called with seconds between two looks at the queue.

    Raises:
        UserError: another `recitative matrix` runs in this project, DVC refuses an override, or an
            experiment failed.
    """
    path = Path(".recitative") / "matrix.lock"
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        why = "another `recitative matrix` runs here; wait for it, or end it first"
        raise UserError(f"{path}: {why}") from error
    with lock:
        queued_from = path.with_name(f"matrix-{name}.json")
        names = _wait(_start(name, overrides, queued_from), name, wait)
        if edited := _edited(queued_from):
            _report_as_it_is(names[0], edited)
        else:
            click.echo(f"{names[0]} into the workspace; then the report of all {len(names)}")
            _dvc("exp", "apply", names[0])
            _dvc("repro", "--force", "--single-item", "claims", "report", shown=True)
        queued_from.unlink(missing_ok=True)
    click.echo(f"{REPORT}/index.html")


def _tracked() -> dict[str, str]:
    """Digests of the files under version control; of one that was deleted, nothing."""
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    paths = [Path(name) for name in done.stdout.split("\0") if name]
    return {str(path): sha256(path) for path in paths if path.is_file()}


def _edited(queued_from: Path) -> list[str]:
    """What `dvc exp apply` would revert: files that are not as they were when the grid was queued."""
    before, now = read_json(queued_from), _tracked()
    edited = sorted(name for name in before | now if before.get(name) != now.get(name))
    try:
        require_known(DATA)
    except UserError as error:
        edited.append(str(error).partition(":")[0])
    return edited


def _report_as_it_is(first: str, edited: Sequence[str]) -> None:
    """Report on the grid beside what the workspace holds, where an edit keeps its own out of it."""
    shown = ", ".join(edited[:5]) + (", …" if len(edited) > 5 else "")
    click.echo(
        f"note: edited while the grid ran: {shown}. {first} would revert that, so it is not brought "
        f"into the workspace. Commit or copy your edits, then: dvc exp apply {first} && "
        "dvc repro --force --single-item claims report"
    )
    if not (EVALUATE / "summary.csv").exists():
        raise UserError(f"{EVALUATE}: no results in this workspace to report beside; see above")
    for stage in ("claims", "report"):
        subprocess.run(["recitative", stage], check=True)


def _start(name: str, overrides: Sequence[str], queued_from: Path) -> set[str]:
    """The ids of the grid's tasks, queued anew unless a living worker is at them."""
    before = read_status(_dvc("queue", "status"))
    mine = before.of(name)
    pending = [task for task in mine if task.status not in FINISHED]
    if pending and before.workers:
        if not queued_from.exists():
            write_json(queued_from, _tracked())
        names = ", ".join(task.name for task in pending)
        click.echo(f"going on with {names}, already in the queue")
        return {task.id for task in mine}
    for task in pending:
        if task.status == "Running":  # its worker is dead
            _dvc("queue", "kill", "--force", task.id)
    if mine:
        _dvc("queue", "remove", *(task.id for task in mine))
    settings = [part for override in overrides for part in ("-S", override)]
    # Not by --force, which would also train everything anew.
    there = _dvc("exp", "list", "--name-only").split()
    if old := [experiment for experiment in there if _is_of(name, experiment)]:
        _dvc("exp", "remove", *old)
    write_json(queued_from, _tracked())
    _dvc("exp", "run", "--queue", "--name", name, *settings)
    queued = {task.id for task in read_status(_dvc("queue", "status")).of(name)}
    # The workers inherit what they are given, so a pipe would stay open until the last is done.
    subprocess.run(
        ["dvc", "queue", "start", "--jobs", "1"],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return queued


def _wait(ids: set[str], name: str, wait: Callable[[float], None]) -> list[str]:
    """Say how far the queue is until none of the tasks is left; their names, in order."""
    said: dict[str, str] = {}
    started = time.monotonic()
    while True:
        status = read_status(_dvc("queue", "status"))
        tasks = [task for task in status.of(name) if task.id in ids]
        for task in tasks:
            log = _dvc("queue", "logs", task.id) if task.status == "Running" else ""
            now = last_stage(log) or task.status
            if said.get(task.id) != now:
                said[task.id] = now
                done = sum(one.status in FINISHED for one in tasks)
                clock = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - started))
                click.echo(f"{clock}  {done} of {len(tasks)} done  {task.name}: {now}")
        if all(task.status in FINISHED for task in tasks):
            break
        running = [task.name for task in tasks if task.status == "Running"]
        if running and not status.workers:
            raise UserError(f"{', '.join(running)}: its worker died; start again, and it goes on")
        wait(POLL)
    if failed := [task for task in tasks if task.status == "Failed"]:
        raise UserError(
            f"{', '.join(task.name for task in failed)} failed; `dvc queue logs {failed[0].id}` says "
            "why; mend it and start again: what is done is not done twice"
        )
    return sorted({task.name for task in tasks}, key=lambda one: (len(one), one))


def read_status(text: str) -> Status:
    """What `dvc queue status` printed."""
    tasks, workers = [], 0
    for line in text.splitlines():
        words = line.split()
        if line.startswith("Worker status:"):
            workers = int(words[2]) + int(words[4])
        elif len(words) >= 3 and words[-1] in ("Queued", "Running", *FINISHED):
            tasks.append(Task(words[0], words[1], words[-1]))
    return Status(tuple(tasks), workers)


def last_stage(log: str) -> str | None:
    """The stage that an experiment is at, from its output; None before the first."""
    stages = re.findall("Running stage '([^']*)'", log)
    return stages[-1] if stages else None
