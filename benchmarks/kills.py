"""Does a pipeline that is killed again and again end as if nothing had happened?

A tiny project (synthetic corpus, tiny networks) is run with `dvc repro`, whose whole process group is
killed (-9) at random moments and started again by the same command until it ends well; then another
fresh one, until the asked number of kills is reached. The bytes that each wrote are compared with those
of a pipeline that nobody disturbed, and its runs in MLflow are counted.

    python benchmarks/kills.py                  200 kills, about half an hour on 2 cores
    python benchmarks/kills.py --kills 10 --seed 3
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / name) for name in ("", "pipeline")]
from projects import Project, make_project  # noqa: E402

REPRO = (sys.executable, "-m", "dvc", "repro")
SETTINGS = {"search.trials": 3, "search.epochs": 2, "compute.workers": 2}
# What holds random ids, times, or the address of a store: everything else has the same bytes.
DIFFERS = ("run.json", "study.log", "decision.json", ".html", ".png", ".pdf", ".svg")


def contents(project: Project) -> dict[str, bytes]:
    """Every file below build/ that has the same bytes each time."""
    return {
        str(path.relative_to(project.root)): path.read_bytes()
        for path in sorted((project.root / "build").rglob("*"))
        if path.is_file() and not path.name.endswith(DIFFERS)
    }


def log_of(project: Project) -> Path:
    """What every `dvc repro` of a project printed."""
    return project.root.parent / f"{project.root.name}.log"


def start(project: Project) -> subprocess.Popen[bytes]:
    """`dvc repro` in a process group of its own."""
    with log_of(project).open("ab") as log:
        return subprocess.Popen(
            REPRO, cwd=project.root, env=project.environment(), stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ended by itself in this time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@dataclass
class Outcome:
    """What came of one pipeline."""

    kills: int
    damaged: int  # times that a kill left a file of DVC's own damaged
    seconds: float
    exit_code: int
    differing: list[str]  # files with other bytes than the undisturbed pipeline's
    twice: int  # cells that were trained to their end more than once
    running: int  # runs that never ended


def disturb(
    project: Project, kills: int, longest: float, rng: random.Random
) -> tuple[int, int, int]:
    """Kill at most so often, start again each time, until it ends.

    A kill comes after 1 to `longest` seconds, as often in each octave: soon after a start, and also so
    late that a stage can end in between.

    Returns:
        Kills; how often one of them damaged a file of DVC's own; the exit code at the end.
    """
    done = damaged = 0
    while True:
        process = start(project)
        if done >= kills or wait(process, longest ** rng.random()):
            code = process.wait()
            # DVC writes .dvc/tmp/rwlock and dvc.lock in place: killed in between, it refuses to start.
            # `make demo` mends that by this command; it is typed by hand after a bare `dvc repro`.
            told = log_of(project).read_text()[-2000:]
            if code and ("RWLock-file" in told.splitlines()[-1] or "validation failed" in told):
                damaged += 1
                project.shell("recitative", "clean", "--locks")
                continue
            return done, damaged, code
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done += 1


def count_runs(project: Project) -> tuple[int, int]:
    """How many cells were trained to their end twice, and how many runs never ended."""
    cells: Counter[tuple[str | None, ...]] = Counter()
    running = 0
    for run in project.runs():
        running += run.info.status == "RUNNING"
        if run.info.status == "FINISHED" and "transfer_mode" in run.data.tags:
            names = ("mlflow.runName", "arch", "transfer_mode", "pairing", "repeat")
            cells[tuple(run.data.tags.get(name) for name in names)] += 1
    again = ("search", "agreement", "report", "claims", "register")  # minutes of nobody's time
    return sum(n > 1 for cell, n in cells.items() if cell[2] not in again), running


def main() -> None:
    """Print a row a pipeline, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=30, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        undisturbed = make_project(Path(folder) / "undisturbed", tracked=True).set(**SETTINGS)
        began = time.monotonic()
        if start(undisturbed).wait():
            sys.exit((Path(folder) / "undisturbed.log").read_text())
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        expected = contents(undisturbed)
        print(
            "| pipeline | kills | DVC's files | s | exit code | files that differ | twice | RUNNING |"
        )
        print("|---|---|---|---|---|---|---|---|")
        while (left := given.kills - sum(one.kills for one in outcomes)) > 0:
            number = len(outcomes) + 1
            project = make_project(Path(folder) / f"killed-{number}", tracked=True).set(**SETTINGS)
            project.set(**{"compute.workers": 1 + number % 2})  # in this process, or in others
            began = time.monotonic()
            kills, damaged, code = disturb(project, left, given.longest, rng)
            found = contents(project)
            differing = sorted(
                name for name in found | expected if found.get(name) != expected.get(name)
            )
            seconds = time.monotonic() - began
            outcomes.append(Outcome(kills, damaged, seconds, code, differing, *count_runs(project)))
            one = outcomes[-1]
            print(
                f"| {number} | {one.kills} | {one.damaged} | {one.seconds:.0f} | {one.exit_code} | "
                f"{len(one.differing)} of {len(expected)} {', '.join(one.differing[:3])} | "
                f"{one.twice} | {one.running} |",
                flush=True,
            )
            if code or differing:
                print((Path(folder) / f"killed-{number}.log").read_text()[-3000:], file=sys.stderr)
            shutil.rmtree(project.root)
    bad = [one for one in outcomes if one.exit_code or one.differing or one.twice or one.running]
    print(f"{sum(one.kills for one in outcomes)} kills, {len(outcomes)} pipelines, {len(bad)} bad")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
