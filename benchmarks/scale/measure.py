"""All steps at one size."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.scale.corpus import UTTERANCES, make, make_frames
from benchmarks.scale.steps import ROLE, STEPS

ROOT = Path(__file__).parents[2]
Costs = dict[str, dict[str, float]]


def measure(
    folder: Path,
    hours: float,
    seconds_a_clip: tuple[float, float] = UTTERANCES,
    shard_hours: float = 100,
    *,
    one_file: bool = False,
) -> Costs:
    """What each step costs, by name; `make` says how many clips there are.

    `one_file`: see `make_frames`.
    """
    began = time.perf_counter()
    clips = make(folder, hours, seconds_a_clip, shard_hours)
    costs: Costs = {"make": {"clips": clips, "seconds": time.perf_counter() - began}}
    for name in STEPS:
        if name == "sampling":
            _make_frames(folder, one_file)
        costs[name] = _run(folder, name)
    return costs


def _make_frames(folder: Path, one_file: bool) -> None:
    """In this process, which is not measured."""
    from recitative.experiment.places import FEATURES
    from recitative.params import load_params
    from recitative.stages import featurize

    with contextlib.chdir(folder):
        config = load_params().features
        make_frames(FEATURES / ROLE, featurize.plan()[ROLE], config, one_file=one_file)


def _run(folder: Path, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale.steps", name]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    costs: dict[str, float] = json.loads(done.stdout)
    return costs
