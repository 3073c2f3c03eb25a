"""Is the search worth its name? What asking for a generation at once costs, and what halving saves.

A synthetic "training" with a known optimum: the loss after epoch e is ``best(x) + fall * slow(x)**e``,
where ``best`` is a tilted bowl over log learning rate and log decay, with a cliff where training
diverges, and ``slow`` is how a low learning rate learns. The optimum is 0.

    python benchmarks/search.py            20 seeds, 40 trials, some 10 CPU minutes
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from recitative.learning.search import generations
from recitative.learning.search import study as studies
from recitative.learning.search.generations import Outcome
from recitative.learning.search.space import Dimension, SearchConfig
from recitative.learning.search.study import Plan, Trial

SPACE = {
    "learning_rate": Dimension(kind="log_uniform", values=(1e-5, 1.0)),
    "decay": Dimension(kind="log_uniform", values=(1e-7, 1e-1)),
}
OPTIMUM = (-2.7, -5.2)  # log10
SAME = 0.005  # difference of losses that is none


def loss(learning_rate: float, decay: float, epoch: int) -> float:
    """Loss after an epoch, from 1; 0 at best and after many."""
    u, v = math.log10(learning_rate) - OPTIMUM[0], math.log10(decay) - OPTIMUM[1]
    best = 0.4 * u**2 + 0.15 * v**2 + 0.2 * u * v + (100 ** (u - 1) - 1 if u > 1 else 0)
    slow = 0.35 if u > 0 else min(0.35 - 0.15 * u, 0.9)
    return best + 2 * slow**epoch


def search(seed: int, **config: object) -> list[tuple[float, int]]:
    """The best complete value and the epochs spent so far, generation by generation."""

    def train(trials: Sequence[Trial], until: int) -> list[Outcome]:
        curves = [[loss(**t.params, epoch=e) for e in range(1, until + 1)] for t in trials]
        return [Outcome(curve, curve) for curve in curves]

    plan = Plan(f"seed-{seed}", SPACE, False, seed, SearchConfig(startup=10, **config))
    with tempfile.TemporaryDirectory() as folder:
        study = studies.open_study(Path(folder) / "journal.log", plan)
        generations.run(study, plan, train)
        rows = studies.table(study, plan)
    found: dict[int, tuple[float, int]] = {}
    for row in rows:
        best, spent = found.get(row["generation"], (math.inf, 0))
        value = row["value"] if row["state"] == "complete" else math.inf
        found[row["generation"]] = min(best, value), spent + row["epochs"]
    bests = accumulate((best for best, _ in found.values()), min)
    return list(zip(bests, accumulate(spent for _, spent in found.values()), strict=True))


def main() -> None:
    """Print both tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", choices=["regret", "halving"])
    given = parser.parse_args()
    if given.only != "halving":
        compare_generations(range(given.seeds), given.trials)
    if given.only != "regret":
        compare_halving(range(given.seeds), given.trials)


def compare_generations(seeds: range, trials: int, epochs: int = 3) -> None:
    """How far from the optimum the best is, at equal trials, and in how many rounds."""
    lowest = loss(10 ** OPTIMUM[0], 10 ** OPTIMUM[1], epochs)
    print(f"Regret after {trials} trials of {epochs} epochs, {len(seeds)} seeds:\n")
    print("| sampler | trials at once | pruner | median | quartiles | epochs | rounds | p |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    random = None
    for sampler, generation, pruner in (
        ("random", 4, "none"), ("tpe", 4, "none"), ("gp", 1, "none"), ("gp", 4, "none"),
        ("gp", 8, "none"), ("random", 4, "halving"), ("gp", 4, "halving"),
    ):  # fmt: skip
        config = {"sampler": sampler, "generation": generation, "pruner": pruner}
        runs = [search(seed, trials=trials, epochs=epochs, **config) for seed in seeds]
        values = np.array([run[-1][0] for run in runs]) - lowest
        random = values if random is None else random
        p = "" if values is random else f"{wilcoxon(values, random, alternative='less').pvalue:.2g}"
        low, median, high = np.percentile(values, [25, 50, 75])
        spent = np.median([run[-1][1] for run in runs])
        rounds = np.median([len(run) for run in runs])
        print(
            f"| {sampler} | {generation} | {pruner} | {median:.4f} | {low:.4f} to {high:.4f} "
            f"| {spent:.0f} | {rounds:.0f} | {p} |",
            flush=True,
        )


def compare_halving(seeds: range, trials: int, epochs: int = 9) -> None:
    """What the best value of a search without halving costs in epochs, with halving and without."""
    print(f"\nEpochs until the best of {trials} whole trials of {epochs} epochs, to {SAME}:\n")
    print("| sampler | without, median | with, median | share, median | not in twice the trials |")
    print("|---|---|---|---|---|", flush=True)
    for sampler in ("random", "gp"):
        spent: dict[str, list[float]] = {"none": [], "halving": []}
        for seed in seeds:
            config = {"sampler": sampler, "epochs": epochs}
            whole = search(seed, trials=trials, pruner="none", **config)
            halved = search(seed, trials=2 * trials, pruner="halving", **config)
            for pruner, run in (("none", whole), ("halving", halved)):
                there = [used for best, used in run if best <= whole[-1][0] + SAME]
                spent[pruner].append(min(there, default=math.inf))
        without, with_it = (np.array(values) for values in spent.values())
        print(
            f"| {sampler} | {np.median(without):.0f} | {np.median(with_it):.0f} "
            f"| {np.median(with_it / without):.0%} | {np.isinf(with_it).sum()} of {len(seeds)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
