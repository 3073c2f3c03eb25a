"""A stage ends with the dvc that started it, its workers too, and leaves nothing behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from recitative.experiment import lifeline
from recitative.experiment.lifeline import free_dead_locks

STAGE = """
import os, sys, tempfile, time
from pathlib import Path
from joblib import Parallel, delayed
from recitative.experiment.lifeline import stage_process

def work(place):
    file = tempfile.NamedTemporaryFile()
    os.write(1, f"{os.getpid()} {file.name}\\n".encode())  # whole, beside the other
    time.sleep(600)

if __name__ == "__main__":
    with stage_process():
        os.write(1, f"{os.getpid()}\\n".encode())
        Parallel(n_jobs=2, backend="loky")(delayed(work)(i) for i in range(2))
"""
SHELL = ["bash", "-c", '"$0" stage.py; true', sys.executable]  # which does not replace itself
DVC = [sys.executable, "-c", f"import subprocess; subprocess.run({SHELL})"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE, "utf-8")
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


def left(folder: Path, pids: list[int]) -> list[Path]:
    ours = {str(pid) for pid in pids}
    names = {path: set(re.split(r"\D+", path.name)) for path in lifeline.SHARED.glob("*")}
    shared = [path for path, numbers in names.items() if numbers & ours]
    kept = folder / ".recitative" / "tmp"
    return [*shared, *(kept.iterdir() if kept.exists() else ())]


@contextlib.contextmanager
def started(words: list[str], project: Path, **environment: str) -> Iterator[tuple[Any, list[Any]]]:
    """A process, and what the stage and its two workers print; none of them outlives the test."""
    with subprocess.Popen(
        words, cwd=project, env=os.environ | {"DVC_ROOT": str(project)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            yield process, [process.stdout.readline().split() for _ in range(3)]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("starter", [SHELL, DVC], ids=["shell", "dvc and its shell"])
def test_it_ends_with_what_started_it(starter: list[str], project: Path) -> None:
    temporary = project / "t"
    temporary.mkdir()
    place = {"DVC_STAGE": "transfer@eng-eng", "TMPDIR": str(temporary)}
    with started(starter, project, **place) as (process, lines):
        others = {"pid": os.getpid(), "cmd": "another"}
        mine = {"pid": process.pid, "cmd": "dvc repro"}
        lock = project / ".dvc" / "tmp" / "rwlock"
        lock.write_text(json.dumps({"write": {"x": mine}, "read": {"y": [mine, others]}}))
        tree = [psutil.Process(int(line[0])) for line in lines]
        tree += tree[0].children(recursive=True)
        process.kill()  # and nobody asks for its exit code yet: it is a zombie
        assert not psutil.wait_procs(tree, timeout=60)[1]
        said = process.stderr.read()
    assert "the dvc that started this stage is gone" in said
    assert "Traceback" not in said
    assert "leaked" not in said
    assert json.loads(lock.read_text()) == {"write": {}, "read": {"y": [others]}}
    assert not left(project, [process.pid for process in tree])
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_what_a_killed_one_left_is_cleared_by_the_next(project: Path) -> None:
    with started([sys.executable, "stage.py"], project) as (process, lines):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    files = [Path(line[1]) for line in lines[1:]]
    assert all(file.exists() for file in files)
    again = "from recitative.experiment.lifeline import *\nwith stage_process(): pass"
    subprocess.run(
        [sys.executable, "-c", again], cwd=project, check=True,
        env=os.environ | {"DVC_ROOT": str(project)},
    )  # fmt: skip
    assert not any(file.exists() for file in files)
    assert not left(project, [int(line[0]) for line in lines])


def test_a_list_of_locks_that_a_killed_dvc_left_half_written_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC writes it in place; with half of one it refuses to start."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".dvc" / "tmp"
    folder.mkdir(parents=True)
    for text in ("", '{"write": {"build/ind'):
        (folder / "rwlock").write_text(text)
        assert free_dead_locks()
        assert json.loads((folder / "rwlock").read_text()) == {"write": {}, "read": {}}
    held = {"write": {}, "read": {"data": [{"pid": os.getpid(), "cmd": "dvc repro"}]}}
    (folder / "rwlock").write_text(json.dumps(held))
    assert not free_dead_locks()
    assert json.loads((folder / "rwlock").read_text()) == held
