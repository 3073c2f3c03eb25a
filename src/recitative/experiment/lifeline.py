"""A stage's process: it ends with the `dvc` that started it, and leaves no temporary file behind."""

import atexit
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import psutil

from recitative.errors import UserError
from recitative.files import write_json
from recitative.processes import lives
from recitative.tracking.store import project_root

SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox")
SHARED = Path("/dev/shm")  # where joblib puts semaphores and large arrays
_SET = ("TMPDIR", "JOBLIB_TEMP_FOLDER", "RAY_TMPDIR", "PYTHONWARNINGS")
_POLL = 0.5  # s between two looks at dvc
_GRACE = 10.0  # s that the stage has to end by itself
_LONGEST = 60  # characters: the address of a socket in a temporary folder has at most 107


@contextmanager
def stage_process() -> Iterator[None]:
    """This process is a stage: a SIGTERM, or the end of `dvc`, ends it in order, with its workers."""
    mine = _scratch()
    kept = {name: os.environ.get(name) for name in _SET}
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())  # Ray's sockets have long names
    os.environ.update(TMPDIR=str(mine), JOBLIB_TEMP_FOLDER=str(mine))
    # Where a worker is killed, Python tells of each semaphore that it then removes.
    quiet = ("ignore:resource_tracker:UserWarning", os.environ.get("PYTHONWARNINGS"))
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, quiet))
    tempfile.tempdir = None  # to be looked up again
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _stop) if main else None
    if main and "DVC_STAGE" in os.environ:
        parents = psutil.Process().parents()
        shells = sum(parent.name() in SHELLS for parent in parents[:1])  # dvc starts some by one
        threading.Thread(target=_watch, args=(parents[: shells + 1],), daemon=True).start()
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        for name, text in kept.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        tempfile.tempdir = None


def _scratch() -> Path:
    """The folder for this process's temporary files; what killed ones left is cleared."""
    root = project_root() / ".recitative" / "tmp"
    if len(str(root)) > _LONGEST:
        key = hashlib.sha256(str(root).encode()).hexdigest()[:8]
        root = Path(tempfile.gettempdir()) / f"recitative-{key}"
    node = platform.node()
    for left in root.glob(f"{node}-*"):
        if not lives(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    for left in (*SHARED.glob("sem.loky-*"), *SHARED.glob("joblib_memmapping_folder_*")):
        words = left.name.replace("_", "-").split("-")
        with suppress(OSError):
            if not lives(next(int(word) for word in words if word.isdigit())):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    mine = root / f"{node}-{os.getpid()}"
    if not mine.exists():
        try:
            mine.mkdir(parents=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UserError(f"{mine}: cannot be made ({why}); mend that and run again") from error
        atexit.register(_clear, mine)
    return mine


def _clear(mine: Path) -> None:
    shutil.rmtree(mine, ignore_errors=True)
    with suppress(OSError):
        mine.parent.rmdir()  # where it was the last


def _stop(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _watch(starters: list[psutil.Process]) -> None:
    while all(lives(one.pid, one.create_time()) for one in starters):
        time.sleep(_POLL)
    with suppress(OSError):
        said = "the dvc that started this stage is gone: it ends, too; run again to go on"
        click.echo(said, err=True)
    with suppress(OSError):
        free_dead_locks()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(_GRACE)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def free_dead_locks(folder: Path = Path(".dvc") / "tmp") -> bool:
    """Take dead processes out of DVC's list of locks; whether the list was damaged.

    The next `dvc` would warn of each. A `dvc` that was killed while it wrote the list leaves half of
    one, and then refuses to start: nobody holds anything of what it said.
    """
    with (folder / "rwlock.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as DVC does; let go of by closing
        path, damaged = folder / "rwlock", False
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            held, damaged = {}, True
        read, write = held.get("read", {}), held.get("write", {})
        for name in read:
            read[name] = [one for one in read[name] if lives(one["pid"])]
        kept = {
            "write": {name: one for name, one in write.items() if lives(one["pid"])},
            "read": {name: readers for name, readers in read.items() if readers},
        }
        write_json(path, kept)
    return damaged
