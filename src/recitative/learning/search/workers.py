"""A worker: claims trials and runs them until the study has its total."""

import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from recitative.errors import UserError
from recitative.learning.search.liveness import alive, fail_dead
from recitative.learning.search.plan import (
    FINISHED,
    REASON,
    WITHDRAWN,
    WORKER,
    Objective,
    Plan,
    Progress,
    Pruned,
    Trial,
)
from recitative.learning.search.sampling import suggest
from recitative.learning.search.storage import claim_lock, retry
from recitative.learning.search.study import open_study


class _Withdrawn(Exception):
    """The study has its total already: this trial is one too many."""


def progress(study: Study, since: int = 0) -> Progress:
    """Count a study's trials; failures only of those numbered `since` or higher."""
    trials = study.get_trials(deepcopy=False)
    return Progress(
        sum(trial.state in FINISHED for trial in trials),
        sum(trial.state == TrialState.RUNNING for trial in trials),
        [
            str(trial.user_attrs[REASON])
            for trial in trials
            if trial.state == TrialState.FAIL
            and trial.number >= since
            and REASON in trial.user_attrs
        ],
    )


def work(
    plan: Plan,
    objective: Objective,
    total: int,
    since: int = 0,
    go_on: Callable[[], bool] = lambda: True,
    told: Callable[[FrozenTrial], None] = lambda trial: None,
) -> None:
    """Run trials until there is none left to claim.

    Args:
        plan: the study; it must be there.
        objective: trains with a trial's values and gives what is optimised. What it raises, or a
            value that is not finite, fails the trial; the study goes on.
        total: finished trials that the study shall hold.
        since: number of the first trial whose failure counts as one of this search.
        go_on: asked before each trial; False ends the work.
        told: called with each trial that ended here.
    """
    study = open_study(plan, create=False)
    claim = claim_lock(plan)
    with alive(plan) as worker:
        while go_on():
            runner = _Runner(plan, study, objective, total, worker, claim)
            with claim:
                if not _claimable(plan, study, total, since):
                    return
                try:
                    study.optimize(runner, n_trials=1, catch=(Exception,))
                except Exception:
                    if runner.number < 0 or not runner.trial().state.is_finished():
                        raise
                    continue  # taken for dead (a suspended machine): another worker retries it
                except BaseException:  # interrupted rather than failed: for another to finish
                    if runner.number >= 0:
                        retry(study, runner.trial())
                    raise
            told(runner.trial())


def claimable(plan: Plan, study: Study, total: int, since: int = 0) -> bool:
    """Whether there is a trial to run; the trials of dead workers are among them."""
    with claim_lock(plan):
        return _claimable(plan, study, total, since)


def _claimable(plan: Plan, study: Study, total: int, since: int) -> bool:
    fail_dead(plan, study)
    now = progress(study, since)
    return now.finished + now.running < total and not now.hopeless(total)


class _Runner:
    """Runs one trial; the claim is free as soon as the trial says whose it is."""

    def __init__(
        self,
        plan: Plan,
        study: Study,
        objective: Objective,
        total: int,
        worker: str,
        claim: Any,
    ):
        self.plan, self.study, self.objective = plan, study, objective
        self.total, self.worker, self.claim = total, worker, claim
        self.number = -1  # none yet

    def trial(self) -> FrozenTrial:
        """The trial as the storage has it."""
        return self.study.trials[self.number]

    def __call__(self, trial: optuna.Trial) -> float:
        self.number = trial.number
        try:
            return self._run(trial)
        except Exception as error:  # wherever it fell: a failure without a reason would not count
            if not isinstance(error, _Withdrawn):
                trial.set_user_attr(REASON, str(error)[:500] or type(error).__name__)
            raise

    def _run(self, trial: optuna.Trial) -> float:
        values = {name: suggest(trial, name, d) for name, d in self.plan.space.items()}
        if self.plan.is_database:  # before it is named: who is named has a heart
            self.study._storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(WORKER, self.worker)
        self.claim.release()
        *before, mine = self.study.get_trials(deepcopy=False)[: trial.number + 1]
        if sum(other.state != TrialState.FAIL for other in before) >= self.total:
            trial.set_user_attr(WITHDRAWN, True)
            raise _Withdrawn
        given = Trial(
            trial.number,
            values,
            RetryHeartbeatStaleTrialCallback.retried_trial_number(mine),
            self._reporter(trial),
            trial.set_user_attr,
        )
        return _finite(self.objective(given), "the objective")

    def _reporter(self, trial: optuna.Trial) -> Callable[[int, float], None]:
        def report(epoch: int, value: float) -> None:
            trial.report(_finite(value, f"the objective after epoch {epoch}"), epoch)
            if epoch < self.plan.epochs and trial.should_prune():
                raise Pruned(f"{self.plan.pruner}: {value:.6g} after epoch {epoch} fell behind")

        return report


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise UserError(f"{what} is {value}")
    return float(value)
