"""Is the search worth its name? Regret of gp, tpe and random at equal trials, and what pruning saves.

A synthetic "training" with a known optimum: the loss after epoch e is ``best(x) + fall * slow(x)**e``,
where ``best`` is a tilted bowl over log learning rate and log decay, with a cliff where training
diverges, and ``slow`` is how a low learning rate learns. The optimum is 0.

    python benchmarks/search.py            20 seeds, 40 trials, about 10 CPU minutes
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
SAME = 0.005  # difference of losses that is none


def loss(learning_rate: float, decay: float, epoch: int) -> float:
    """Loss after an epoch, from 1; 0 at best and after many."""
    u, v = math.log10(learning_rate) - OPTIMUM[0], math.log10(decay) - OPTIMUM[1]
    best = 0.4 * u**2 + 0.15 * v**2 + 0.2 * u * v + (100 ** (u - 1) - 1 if u > 1 else 0)
    slow = 0.35 if u > 0 else min(0.35 - 0.15 * u, 0.9)
    return best + 2 * slow**epoch


def study(
    seed: int, sampler: str, pruner: str, trials: int, epochs: int, target: float = -math.inf
) -> list[tuple[float, int]]:
    """The best complete value and the epochs spent so far, trial by trial, until the target."""
    best, spent, told = math.inf, 0, []

    def objective(trial: search.Trial) -> float:
        nonlocal best, spent
        value = 0.0
        try:
            for epoch in range(1, epochs + 1):
                value = loss(**trial.values, epoch=epoch)
                spent += 1
                trial.report(epoch, value)
            best = min(best, value)
        finally:
            told.append((best, spent))
        return value

    with tempfile.TemporaryDirectory() as folder:
        plan = search.Plan(
            str(Path(folder) / "journal.log"), f"seed-{seed}", "bench", SPACE, False, epochs, seed,
            sampler, 10, pruner,
        )  # fmt: skip
        search.open_study(plan)
        search.work(plan, objective, trials, go_on=lambda: best > target)
    return told


def main() -> None:
    """Print both tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "gp"])
    parser.add_argument("--only", choices=["regret", "pruning"])
    given = parser.parse_args()
    if given.only != "pruning":
        compare_samplers(range(given.seeds), given.trials)
    if given.only != "regret":
        compare_pruners(range(given.seeds), given.trials, given.samplers)


def compare_samplers(seeds: range, trials: int) -> None:
    """How far from the optimum each sampler ends, at equal trials."""
    epochs = 3
    regret = {}
    for sampler in ("random", "tpe", "gp"):
        lowest = loss(10 ** OPTIMUM[0], 10 ** OPTIMUM[1], epochs)
        found = [study(seed, sampler, "none", trials, epochs)[-1][0] for seed in seeds]
        regret[sampler] = np.array(found) - lowest
    print(f"Regret after {trials} trials of {epochs} epochs, {len(seeds)} seeds:\n")
    print(
        "| sampler | median | quartiles | better than random | p (Wilcoxon) |\n|---|---|---|---|---|"
    )
    for sampler, values in regret.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        against = "| | |"
        if sampler != "random":
            wins = int((values < regret["random"]).sum())
            p = wilcoxon(values, regret["random"], alternative="less").pvalue
            against = f"| {wins} of {len(seeds)} | {p:.2g} |"
        print(f"| {sampler} | {median:.4f} | {low:.4f} to {high:.4f} {against}")


def compare_pruners(seeds: range, trials: int, samplers: list[str]) -> None:
    """What the best value of an unpruned search costs in epochs, with pruning and without."""
    epochs = 9
    print(
        f"\nEpochs until the best value of {trials} unpruned trials of {epochs} epochs, to "
        f"{SAME}, is reached:\n\n| sampler | pruner | without, median | with, median | share, median |"
        "\n|---|---|---|---|---|"
    )
    for sampler in samplers:
        unpruned = [study(seed, sampler, "none", trials, epochs) for seed in seeds]
        targets = [told[-1][0] + SAME for told in unpruned]
        without = [
            next(spent for best, spent in told if best <= target)
            for told, target in zip(unpruned, targets, strict=True)
        ]
        for pruner in ("median", "hyperband", "halving"):
            with_it = []
            for seed, target in zip(seeds, targets, strict=True):
                best, spent = study(seed, sampler, pruner, 4 * trials, epochs, target)[-1]
                with_it.append(spent if best <= target else math.inf)
            share = np.median(np.array(with_it) / np.array(without))
            print(
                f"| {sampler} | {pruner} | {np.median(without):.0f} | {np.median(with_it):.0f} "
                f"| {share:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
