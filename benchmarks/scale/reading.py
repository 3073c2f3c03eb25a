"""Random windows of files that are not in memory: as the shards are read, and through memory maps.

`python -m benchmarks.scale.reading SIDE FOLDER SEED` is one side in a process of its own, cold and then
warm; it prints microseconds a window, and the memory that the process is charged with.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.scale.steps import status
from recitative.features.shards import MappedFrames, ShardedFrames, shard_name

ROOT = Path(__file__).parents[2]
BANDS, FRAMES, BATCH, BATCHES = 128, 31, 256, 24
SHARDS, SHARD_FRAMES = 4, 2**21  # 1 GiB each
ROUNDS = 3


def measure() -> dict[str, dict[str, float]]:
    """The median of some rounds, each side in turn, every run on windows that no other has read."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        _write(Path(name))
        told: dict[str, list[dict[str, float]]] = {"shards": [], "maps": []}
        for seed in range(2 * ROUNDS):
            side = ("shards", "maps")[seed % 2]
            command = [sys.executable, "-m", "benchmarks.scale.reading", side, name, str(seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            told[side].append(json.loads(done.stdout))
    return {
        side: {key: float(np.median([one[key] for one in costs])) for key in costs[0]}
        for side, costs in told.items()
    }


def _write(folder: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2**17, BANDS)).astype(np.float32)
    for shard in range(SHARDS):
        with (folder / shard_name(shard)).open("wb") as out:
            header = {"descr": "<f4", "fortran_order": False, "shape": (SHARD_FRAMES, BANDS)}
            np.lib.format.write_array_header_1_0(out, header)
            for _ in range(SHARD_FRAMES // len(noise)):
                out.write(noise.data)
            out.flush()
            os.fsync(out.fileno())


class Maps:
    """The same shards through one memory map each."""

    def __init__(self, paths: list[Path]) -> None:
        self.arrays = [MappedFrames(np.asarray(np.load(path, mmap_mode="r"))) for path in paths]

    def gather(self, starts: np.ndarray, frames: int) -> np.ndarray:
        """As the shards give them."""
        batch = np.empty((len(starts), frames, BANDS), np.float32)
        shards = starts // SHARD_FRAMES
        for shard, array in enumerate(self.arrays):
            rows = np.flatnonzero(shards == shard)
            batch[rows] = array.gather(starts[rows] - shard * SHARD_FRAMES, frames)
        return batch


def read(side: str, folder: Path, seed: int) -> dict[str, float]:
    """One side, here."""
    paths = sorted(folder.glob("*.npy"))
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    frames = ShardedFrames(paths) if side == "shards" else Maps(paths)
    before = status("VmRSS")
    rng = np.random.default_rng(seed)
    batches = [
        np.sort(
            rng.integers(0, SHARDS, BATCH) * SHARD_FRAMES
            + rng.integers(0, SHARD_FRAMES - FRAMES, BATCH)
        )
        for _ in range(BATCHES)
    ]
    costs = {}
    for name in ("cold", "warm"):
        began = time.perf_counter()
        for starts in batches:
            frames.gather(starts, FRAMES)
        costs[f"{name}_microseconds"] = (time.perf_counter() - began) / BATCH / BATCHES * 1e6
    return costs | {"charged_mb": status("VmRSS") - before}


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3]))))
