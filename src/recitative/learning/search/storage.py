"""Where studies are kept: a journal file with locks that a killed writer frees, or a database."""

import json
import os
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from recitative.errors import UserError
from recitative.learning.search.plan import Plan

RETRIES = 3  # of one trial whose workers die: after that it is taken to be what kills them


class JournalLock:
    """Appends one at a time. The kernel frees the lock of a killed writer, whose half line is cut.

    Optuna's own locks are files: a killed writer's would hold everybody up for 30 s.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self.lock = FileLock(f"{journal}.append.lock")

    def acquire(self) -> bool:
        """Wait for the lock; the journal ends with a whole line from then on."""
        self.lock.acquire()
        _cut_half_line(self.journal)
        return True

    def release(self) -> None:
        """Free the lock."""
        self.lock.release()


def _cut_half_line(journal: Path) -> None:
    """Drop what follows the last line end: an operation that no writer saw succeed."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        kept = end
        while kept:
            start = max(0, kept - 65536)
            file.seek(start)
            newline = file.read(kept - start).rfind(b"\n")
            if newline >= 0:
                kept = start + newline + 1
                break
            kept = start
        if kept < end:
            file.truncate(kept)


def journal(path: Path) -> JournalStorage:
    """The storage in a journal file, made where it is not there.

    Raises:
        UserError: a line of it is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalLock(path)
    lock.acquire()  # mends the end
    try:
        check_lines(path)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def check_lines(journal: Path) -> None:
    """Every line of a journal is an operation; Optuna would read past a damaged last one."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line)["op_code"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{journal}:{number}: the study's journal is damaged here; put a good copy in "
                    "its place, cut it before that line, or move it away to start anew"
                ) from error


def database(plan: Plan) -> RDBStorage:
    """The storage at a database's URL.

    Raises:
        UserError: no URL, no driver, or nobody answers there.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    def connect() -> RDBStorage:
        return RDBStorage(
            plan.storage,
            heartbeat_interval=plan.heartbeat,
            heartbeat_stale_trial_callback=retry,
        )

    file = plan.storage.partition(":///")[2] if plan.storage.startswith("sqlite") else ""
    creation = FileLock(f"{file}.create.lock") if file and Path(file).parent.is_dir() else None
    try:
        with creation or nullcontext():
            try:
                return connect()
            except SQLAlchemyError:
                return connect()  # another process made the tables at the same time
    except ImportError as error:
        raise UserError(
            f"search.storage: {plan.shown}: the database's driver is missing ({error}); install it"
        ) from error
    except ArgumentError as error:
        raise UserError(f"search.storage: {plan.shown}: no database's URL ({error})") from error
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(
            f"search.storage: {plan.shown}: the database cannot be reached ({why}); is it running, "
            "and is the address right?"
        ) from error


def claim_lock(plan: Plan) -> Any:
    """One claim at a time on a journal; on a database there is no lock, and none is needed."""
    if plan.is_database:
        return _NoLock()
    Path(plan.storage).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{plan.storage}.claim.lock")


class _NoLock(nullcontext[None]):
    def release(self) -> None: ...


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial's values again; whose it was, and its notes, stay with the first one."""
    again = copy(trial)
    again.user_attrs = {}
    RetryHeartbeatStaleTrialCallback(RETRIES)(study, again)
