"""A grid through DVC's real queue, killed whole in the middle: it completes, no cell trained twice."""

import contextlib
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from projects import Project, make_project

from recitative.vocabulary import PAIRINGS

GRID = ("recitative", "matrix", "--name", "grid", "pretrain.arch=scae,cpc")


def processes(root: Path) -> dict[int, str]:
    """Process ids and command lines of all that works below a folder, DVC's worker among them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(folder / "cwd")).is_relative_to(root):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode()
    return found


def kill_all(root: Path) -> None:
    """As if the machine went down: -9 to each, until nothing is left."""
    while alive := processes(root):
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def cells(project: Project) -> Counter[tuple[str, ...]]:
    """How often each cell's repeat, control and pretraining was trained to its end."""
    names = ("arch", "transfer_mode", "pairing", "speech_language", "repeat")
    return Counter(
        tuple(run.data.tags[name] for name in names)
        for run in project.runs("attributes.status = 'FINISHED'")
        if run.data.tags.get("transfer_mode") not in ("parent", "agreement", "report", "search")
        and all(name in run.data.tags for name in names)
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc to find the worker")
def test_a_grid_that_is_killed_whole_completes_and_trains_nothing_twice(tmp_path: Path) -> None:
    controls = ("majority", "random_encoder")
    project = make_project(tmp_path / "clone", tracked=True).set(
        **{"transfer.repeats": 1, "controls.names": list(controls)}
    )
    project.shell("git", "commit", "-qam", "tiny")
    with subprocess.Popen(
        GRID, cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        for line in first.stdout:
            if "transfer@" in line:
                break
        refused = project.shell(*GRID, check=False)
        assert "another `recitative matrix` runs here" in refused.stderr
        kill_all(project.root)
    done = cells(project)
    assert done
    assert sum(done.values()) < 20, "killed too late to prove anything"

    said = project.shell(*GRID).stdout
    assert "2 of 2 done" in said
    trained = cells(project)
    assert set(trained.values()) == {1}, [name for name, count in trained.items() if count > 1]
    a_language = 2 * len(PAIRINGS) + 2 * len(controls)
    assert len(trained) == 2 * (3 + a_language)
    assert (project.root / "build" / "report" / "index.html").exists()
    text = (project.root / "build" / "report" / "index.html").read_text("utf-8")
    assert "SCAE" in text
    assert "CPC" in text
    kill_all(project.root)  # the worker lingers for a while
