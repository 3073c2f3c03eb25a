"""What a trial's values are drawn by, and what stops a trial early."""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recitative.learning.search.plan import FINISHED, Plan
from recitative.learning.space import Dimension
from recitative.seeding import derive_seed


class OneATrial(BaseSampler):  # type: ignore[misc]
    """A fresh sampler for each trial, seeded by its number: no state but the study's history.

    The history that a sampler sees is the whole study's: under Hyperband Optuna would show it the
    trials of one bracket alone, and a Gaussian process none of the pruned.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.study: Study | None = None  # set once it is open

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the trial's own sampler, and the history that it sees."""
        plan = self.plan
        seed = derive_seed(plan.seed, "search", plan.name, trial.number) % 2**32
        self.sampler: BaseSampler = RandomSampler(seed=seed)
        if plan.sampler == "gp":
            self.sampler = GPSampler(seed=seed, n_startup_trials=plan.startup)
        elif plan.sampler == "tpe":
            self.sampler = TPESampler(
                seed=seed, n_startup_trials=plan.startup, constant_liar=True, multivariate=True
            )
        self.history, self.trial = self.study or study, trial
        if plan.sampler == "gp":
            self.history = _for_a_process(self.history, trial)
            self.trial = self.history.trials[-1]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is drawn together."""
        found: dict[str, BaseDistribution]
        found = self.sampler.infer_relative_search_space(self.history, self.trial)
        return found

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw that."""
        drawn: dict[str, Any] = self.sampler.sample_relative(self.history, self.trial, search_space)
        return drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Draw one value by itself, while there is no model yet."""
        return self.sampler.sample_independent(self.history, self.trial, name, distribution)


def _for_a_process(study: Study, mine: FrozenTrial) -> Study:
    """The trials before one, as a Gaussian process can use them, in memory; the one is the last.

    A Gaussian process knows of complete trials alone, and a diverged training's value would make
    all others look alike. Here a pruned trial is complete with the value that it would have come to
    had it gone on as the complete ones did, and what lies beyond Tukey's fence (1.5 interquartile
    ranges above the upper quartile) lies on it.
    """
    view = optuna.create_study(direction=study.direction)
    trials = [t for t in study.get_trials() if t.number != mine.number]
    finished = [trial for trial in trials if trial.state in FINISHED and trial.value is not None]
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    for trial in finished:
        if trial.state == TrialState.PRUNED:
            trial.value += _rest(complete, max(trial.intermediate_values))
    if finished:
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        low, high = np.percentile([sign * trial.value for trial in finished], [25, 75])
        fence = high + 1.5 * (high - low)
        for trial in finished:
            trial.state = TrialState.COMPLETE
            trial.value = sign * min(sign * trial.value, fence)
    view.add_trials(finished)
    view.add_trials([t for t in trials if t.state == TrialState.RUNNING and t.params])
    view.add_trial(mine)
    return view


def _rest(complete: list[FrozenTrial], epoch: int) -> float:
    """How a complete trial's value changed after an epoch: the median; 0 where none tells."""
    changes = [
        trial.value - trial.intermediate_values[epoch]
        for trial in complete
        if epoch in trial.intermediate_values
    ]
    return float(np.median(changes)) if changes else 0.0


def pruner_of(plan: Plan) -> optuna.pruners.BasePruner:
    """The plan's pruner."""
    if plan.pruner == "halving":
        # One bracket of Hyperband's, the one that stops earliest: a Gaussian process, which proposes
        # little that is bad, gains most from it (benchmarks/search.py).
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if plan.pruner == "hyperband":
        # Optuna's factor of 3 saved a Gaussian process a fifth of the epochs, 4 nearly half, to the
        # same best value (benchmarks/search.py): what it proposes is rarely bad enough for 3.
        return optuna.pruners.HyperbandPruner(max_resource=plan.epochs, reduction_factor=4)
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=plan.startup)
    return optuna.pruners.NopPruner()


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """A trial's value of one dimension."""
    if dimension.kind == "categorical":
        return trial.suggest_categorical(name, dimension.values)
    low, high = dimension.bounds
    if dimension.kind == "int":
        return trial.suggest_int(name, int(low), int(high))
    return trial.suggest_float(name, low, high, log=dimension.kind == "log_uniform")
