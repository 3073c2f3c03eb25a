"""What a study found: the best trial, a row a trial, and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from recitative.errors import UserError
from recitative.learning.search.plan import REASON, WITHDRAWN


@dataclass(frozen=True)
class Best:
    """The best complete trial."""

    study: str
    trial: int
    value: float
    values: dict[str, Any]
    notes: dict[str, Any]


def best(study: Study) -> Best:
    """The best of the complete trials.

    Raises:
        UserError: no trial is complete.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise UserError(
            f"the study {study.study_name} has no complete trial, every one was pruned; raise "
            "search.trials"
        )
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    found = min(complete, key=lambda trial: (sign * trial.value, trial.number))
    return Best(study.study_name, found.number, found.value, found.params, found.user_attrs)


def table(study: Study, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a trial: number, state, value, epochs, the searched values, reason, retry_of, notes."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        notes = trial.user_attrs
        row = {
            "trial": trial.number,
            "state": "withdrawn" if notes.get(WITHDRAWN) else trial.state.name.lower(),
            "value": trial.value,
            "epochs": len(trial.intermediate_values),
            **{name: trial.params.get(name) for name in names},
            "reason": notes.get(REASON),
            "retry_of": RetryHeartbeatStaleTrialCallback.retried_trial_number(trial),
            "run_id": notes.get("run_id"),
        }
        if trial.state == TrialState.FAIL and REASON not in notes and not notes.get(WITHDRAWN):
            row["reason"] = "its worker died or was interrupted"
        rows.append(row)
    return rows


def figures(study: Study, objective: str) -> dict[str, Any]:
    """Interactive (plotly) figures by title; one that the trials do not allow yet is left out.

    Args:
        study: with at least one complete trial.
        objective: its name, for the axes.
    """
    show = optuna.visualization
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    names = list(complete[0].params) if complete else []
    drawn = {
        "Optimisation history": show.plot_optimization_history(study, target_name=objective),
        "Every trial, epoch by epoch": show.plot_intermediate_values(study),
        "Each parameter by itself": show.plot_slice(study, names, target_name=objective),
    }
    if len({trial.value for trial in complete}) > 1:
        drawn["How much each parameter matters"] = show.plot_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target_name=objective,
        )
        drawn["All parameters together"] = show.plot_parallel_coordinate(
            study, names, target_name=objective
        )
        if len(names) > 1:
            drawn["Every two parameters"] = show.plot_contour(study, names, target_name=objective)
    return drawn
