"""Krippendorff's alpha against the package `krippendorff` (GPL: an oracle for tests), in one run.

1,000 raters by 10,000 units, half of the ratings missing, one thread; medians over rounds that
take turns. The peak of memory is that of a process that does nothing else, above its imports.

    python benchmarks/agreement.py            about 2 CPU minutes
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import krippendorff
import numpy as np
from threadpoolctl import threadpool_limits

from recitative.agreement.alpha import LEVELS, krippendorff_alpha


def ratings(values: int, raters: int, units: int) -> np.ndarray:
    """A table with a true order among the units, and half of it missing."""
    rng = np.random.default_rng(values)
    truth = rng.uniform(0, values - 1, units)
    given = np.rint(np.clip(truth + rng.normal(0, values / 4, (raters, units)), 0, values - 1))
    given[rng.random(given.shape) < 0.5] = np.nan
    return given


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _peak(file: str, level: str, answer: multiprocessing.Queue) -> None:
    table = np.load(file)
    before = _highest()
    krippendorff_alpha(table, level)
    answer.put(_highest() - before)


def _highest() -> float:
    """The most memory this program has held, MB (getrusage would count its parent's, too)."""
    [line] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return int(line.split()[1]) / 1024


def peak(table: np.ndarray, level: str) -> float:
    """MB that alpha takes above its table, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, table)
        process = spawn.Process(target=_peak, args=(file.name, level, answer))
        process.start()
        found = answer.get()
        process.join()
    return float(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raters", type=int, default=1000)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    size = (given.raters, given.units)
    threadpool_limits(1)
    print("| values | level | ours, s | oracle, s | ratio [min, max] | ours above the table, MB |")
    print("|---|---|---|---|---|---|")
    for values in (5, 11, 101):
        table = ratings(values, *size)
        for level in LEVELS:
            ours, theirs = [], []
            mine = partial(krippendorff_alpha, table, level)
            oracle = partial(krippendorff.alpha, table, level_of_measurement=level)
            same = mine() - oracle()
            for _ in range(given.rounds):
                ours.append(seconds(mine))
                theirs.append(seconds(oracle))
            if abs(same) > 1e-10:
                raise SystemExit(f"{values} values, {level}: differ by {same:g}")
            ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
            print(
                f"| {values} | {level} | {statistics.median(ours):.3f} "
                f"| {statistics.median(theirs):.2f} | {statistics.median(ratios):.0f} "
                f"[{ratios[0]:.0f}, {ratios[-1]:.0f}] | {peak(table, level):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
