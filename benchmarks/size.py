"""Cost against size: an epoch of SCAE on 0.5 to 4 hours of speech in 1, 2 or 4 processes.

Each process is its own, trains one model on all of the speech, single-threaded, and says what it
cost; so 2 processes do twice the work of 1. `share` of the hours' segments is really trained.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HOURS, PROCESSES = (0.5, 1.0, 2.0, 4.0), (1, 2, 4)
LENGTH = 391  # frames of an utterance of 12.5 s
BATCH = 64  # so that a tenth of the smallest epoch is still several batches


def train(folder: Path, share: float) -> None:
    """One epoch, in this process; prints its cost as JSON."""
    import resource

    import torch

    from recitative.features.store import FeatureStore
    from recitative.learning.allocation import keep_freed_memory
    from recitative.learning.compute import Compute
    from recitative.learning.config import ComputeConfig, PretrainConfig
    from recitative.learning.pretraining import Speech, at_most, prepare
    from recitative.learning.training import fit
    from recitative.models.config import EncoderConfig, SCAEConfig

    torch.set_num_threads(1)
    keep_freed_memory()
    store = FeatureStore.open(folder)
    ids = store.clip_ids
    parts = {"train": ids[: -len(ids) // 7], "validation": ids[-len(ids) // 7 :]}
    speech = Speech(store, parts, 31, 15)
    config = PretrainConfig(arch="scae", epochs=1, batch_size=BATCH, learning_rate=1e-3)
    made = prepare(speech, config, EncoderConfig(), SCAEConfig(), seed=0)
    rng = np.random.default_rng(0)
    batches = [at_most(b, round(share * b.count), rng) for b in (made.train, made.validation)]
    compute = Compute.decide(ComputeConfig(device="cpu"))
    cpu = time.process_time()
    list(fit(made.model, batches[0], batches[1], made.config, compute, 0))
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    segments = batches[0].count + batches[1].count
    print(json.dumps({"cpu": cpu, "peak": peak, "segments": segments}))


def measure(share: float) -> list[dict[str, float]]:
    """A row a size and number of processes."""
    from recitative.features.store import write_store

    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for hours in HOURS:
            folder = Path(name) / f"{hours:g}"
            clips = round(hours * 288)
            noise = (rng.standard_normal((LENGTH, 128)).astype(np.float32) for _ in range(clips))
            write_store(folder, ((str(i), frames) for i, frames in enumerate(noise)))
            for processes in PROCESSES:
                command = [sys.executable, "-m", "benchmarks.size", str(folder), str(share)]
                began = time.perf_counter()
                running = [
                    subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                    for _ in range(processes)
                ]
                told = [one.communicate()[0] for one in running]
                if failed := [one.returncode for one in running if one.returncode]:
                    raise SystemExit(
                        f"{' '.join(command)}: ended with {failed[0]}; is memory short?"
                    )
                answers = [json.loads(text) for text in told]
                wall = time.perf_counter() - began
                rows.append(
                    {
                        "hours": hours,
                        "processes": processes,
                        "segments": sum(a["segments"] for a in answers),
                        "cpu_seconds": sum(a["cpu"] for a in answers),
                        "wall_seconds": wall,
                        "peak_megabytes_a_process": max(a["peak"] for a in answers) / 1e6,
                    }
                )
    return rows


def slopes(rows: list[dict[str, float]]) -> dict[str, float]:
    """Straight lines through the sizes: CPU seconds and megabytes an hour of speech; and the power.

    The power is the slope of log CPU time over log hours: 1 where cost grows as size does.
    """
    found = {}
    for processes in PROCESSES:
        some = [row for row in rows if row["processes"] == processes]
        hours = np.array([row["hours"] for row in some])
        seconds = np.array([row["cpu_seconds"] / processes for row in some])
        memory = np.array([row["peak_megabytes_a_process"] for row in some])
        of = f"{processes} process{'es' if processes > 1 else ''}"
        found[f"CPU s an hour of speech, {of}"] = float(np.polyfit(hours, seconds, 1)[0])
        power = np.polyfit(np.log(hours), np.log(seconds), 1)[0]
        found[f"power of CPU time over hours, {of}"] = float(power)
        found[f"MB more an hour of speech, {of}"] = float(np.polyfit(hours, memory, 1)[0])
    return found


if __name__ == "__main__":
    train(Path(sys.argv[1]), float(sys.argv[2]))
