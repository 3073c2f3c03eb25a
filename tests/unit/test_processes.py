"""A process that ended is gone, also while nobody has asked for its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from recitative.files import atomic_folder
from recitative.processes import lives


def ended() -> subprocess.Popen[bytes]:
    """A process that is killed and stays a zombie until somebody waits for it."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()
    return process


def test_this_process_lives_and_another_of_the_same_number_does_not() -> None:
    born = psutil.Process().create_time()
    assert lives(os.getpid())
    assert lives(os.getpid(), born)
    assert not lives(os.getpid(), born - 100)
    assert not lives(2**22 + 1)


def test_what_a_killed_process_left_half_written_goes_though_its_number_is_still_there(
    tmp_path: Path,
) -> None:
    zombie = ended()
    try:
        assert psutil.pid_exists(zombie.pid)
        assert not lives(zombie.pid)
        left = tmp_path / f".corpus.{zombie.pid}.partial"
        left.mkdir()
        with atomic_folder(tmp_path / "corpus"):
            pass
        assert not left.exists()
    finally:
        zombie.wait()
