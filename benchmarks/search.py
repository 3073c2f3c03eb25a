"""Is the search worth its name? Regret of gp, tpe and random at equal trials, and what pruning saves.

A synthetic "training" with a known optimum: the loss after epoch e is ``best(x) + fall * slow(x)**e``,
where ``best`` is a tilted bowl over log learning rate and log decay, with a cliff where training
diverges, and ``slow`` is how a low learning rate learns. The optimum is 0.

    python benchmarks/search.py            20 seeds, 40 trials, about 5 CPU minutes
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from recitative.learning import search
from recitative.learning.space import Dimension

SPACE = {
    "learning_rate": Dimension(kind="log_uniform", values=(1e-5, 1.0)),
    "decay": Dimension(kind="log_uniform", values=(1e-7, 1e-1)),
}
OPTIMUM = (-2.7, -5.2)  # log10


def loss(learning_rate: float, decay: float, epoch: int) -> float:
    """Loss after an epoch, from 1; 0 at best and after many."""
    u, v = math.log10(learning_rate) - OPTIMUM[0], math.log10(decay) - OPTIMUM[1]
    best = 0.4 * u**2 + 0.15 * v**2 + 0.2 * u * v + (100 ** (u - 1) - 1 if u > 1 else 0)
    slow = 0.35 if u > 0 else min(0.35 - 0.15 * u, 0.9)
    return best + 2 * slow**epoch


def study(
    seed: int, sampler: str, pruner: str, trials: int, epochs: int
) -> list[tuple[float, int]]:
    """The best complete value so far and the epochs spent so far, trial by trial."""

    def objective(trial: search.Trial) -> float:
        value = 0.0
        for epoch in range(1, epochs + 1):
            value = loss(**trial.values, epoch=epoch)
            trial.report(epoch, value)
        return value

    with tempfile.TemporaryDirectory() as folder:
        plan = search.Plan(
            str(Path(folder) / "journal.log"), f"seed-{seed}", "bench", SPACE, False, epochs, seed,
            sampler, 10, pruner,
        )  # fmt: skip
        opened = search.open_study(plan)
        search.work(plan, objective, trials)
        rows = search.table(opened, [])
    told, best, spent = [], math.inf, 0
    for row in rows:
        spent += row["epochs"]
        if row["state"] == "complete":
            best = min(best, row["value"])
        told.append((best, spent))
    return told


def main() -> None:
    """Print both tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    given = parser.parse_args()
    seeds, epochs = range(given.seeds), 3
    regret = {}
    for sampler in ("random", "tpe", "gp"):
        lowest = loss(10 ** OPTIMUM[0], 10 ** OPTIMUM[1], epochs)
        found = [study(seed, sampler, "none", given.trials, epochs)[-1][0] for seed in seeds]
        regret[sampler] = np.array(found) - lowest
    print(f"Regret after {given.trials} trials of {epochs} epochs, {given.seeds} seeds:\n")
    print(
        "| sampler | median | quartiles | better than random | p (Wilcoxon) |\n|---|---|---|---|---|"
    )
    for sampler, values in regret.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        against = "| | |"
        if sampler != "random":
            wins = int((values < regret["random"]).sum())
            p = wilcoxon(values, regret["random"], alternative="less").pvalue
            against = f"| {wins} of {given.seeds} | {p:.2g} |"
        print(f"| {sampler} | {median:.4f} | {low:.4f} to {high:.4f} {against}")

    epochs = 9
    print(
        f"\nEpochs until the value that {given.trials} unpruned trials of {epochs} epochs reach:\n"
    )
    print("| sampler | pruner | epochs, median | share of the unpruned, median | mean |")
    print("|---|---|---|---|---|")
    for sampler in ("random", "tpe"):
        unpruned = [study(seed, sampler, "none", given.trials, epochs) for seed in seeds]
        for pruner in ("median", "hyperband"):
            needed, share = [], []
            for seed, reference in zip(seeds, unpruned, strict=True):
                target = reference[-1][0]
                whole = next(spent for best, spent in reference if best <= target)
                pruned = study(seed, sampler, pruner, 4 * given.trials, epochs)
                spent = next((s for best, s in pruned if best <= target), math.inf)
                needed.append(spent)
                share.append(spent / whole)
            print(
                f"| {sampler} | {pruner} | {np.median(needed):.0f} | {np.median(share):.0%} "
                f"| {np.mean(share):.0%} |"
            )


if __name__ == "__main__":
    main()
