"""Services on loopback, on free ports, started and stopped by whoever needs one."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BINARIES = Path(sys.executable).parent
DATABASE_PASSWORD = "never-to-be-seen"  # PostgreSQL trusts whoever is on this machine
DEADLINE = 120.0  # s until a service must be ready
_NEVER = threading.Event()


def until(ready: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Ask again and again until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        _NEVER.wait(0.05)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process; it and all of its children are gone at the end."""
    with log.open("ab") as out:
        started = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=cwd,
            start_new_session=True, user=user,
        )  # fmt: skip
    try:
        yield started
    finally:
        kill(started)


def kill(started: subprocess.Popen[bytes]) -> None:
    """The process and its children, at once (-9)."""
    with contextlib.suppress(ProcessLookupError):  # it is gone already, with its children
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def environment(**more: str) -> dict[str, str]:
    """This process's, with the tests' own programs first."""
    path = f"{BINARIES}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own below a folder in /tmp; the URL of its database `mlflow`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no /usr/lib/postgresql/*/bin/initdb: apt install postgresql")
    programs, user, port = found[-1].parent, _unprivileged(), free_port()
    uid = user.pw_uid if user else None
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "recitative", "-A", "trust", "-E", "UTF8"],
        check=True, capture_output=True, cwd=folder, user=uid,
    )  # fmt: skip
    command = [
        programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder,
        "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
    ]  # fmt: skip
    log = folder / "log"
    with process(command, log, cwd=folder, user=uid) as server:

        def made() -> bool:
            assert server.poll() is None, log.read_text()
            create = ["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "recitative", "mlflow"]
            done = subprocess.run(
                [programs / create[0], *create[1:]], capture_output=True, check=False, cwd=folder
            )
            return done.returncode == 0

        until(made, "postgres")
        yield f"postgresql://recitative:{DATABASE_PASSWORD}@127.0.0.1:{port}/mlflow"


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom PostgreSQL, which refuses to be root, runs as; None where we are not root ourselves."""
    if os.getuid():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
