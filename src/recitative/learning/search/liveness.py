"""Which workers live: a kernel lock beside a journal, Optuna's heartbeat on a database."""

import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.study import Study
from optuna.trial import TrialState

from recitative.learning.search.plan import WORKER, Plan
from recitative.learning.search.storage import retry

_UNOWNED = 10  # heartbeats after which a running trial that names no worker is a dead one's


@contextmanager
def alive(plan: Plan) -> Iterator[str]:
    """A worker's name, and (beside a journal) a file that stays locked while the process lives."""
    worker = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if plan.is_database:
        yield worker
        return
    path = _life(plan, worker)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield worker
    path.unlink(missing_ok=True)


def _life(plan: Plan, worker: str) -> Path:
    return Path(f"{plan.storage}.workers") / worker


def _lives(plan: Plan, worker: str) -> bool:
    """Whether the worker's process still holds its file."""
    path = _life(plan, worker)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink()
    except Timeout:
        return True
    return False


def fail_dead(plan: Plan, study: Study) -> None:
    """Fail the running trials of dead workers and queue their values again."""
    if plan.is_database:
        fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if plan.is_database:  # the heartbeat sees to those that name a worker
            age = datetime.now() - (trial.datetime_start or datetime.now())
            dead = worker is None and age > timedelta(seconds=_UNOWNED * plan.heartbeat)
        else:
            dead = worker is None or not _lives(plan, worker)
        if dead:
            with suppress(ValueError, UpdateFinishedTrialError):  # another worker was faster
                study.tell(trial.number, state=TrialState.FAIL)
                retry(study, trial)
