"""A study: its trials in a journal file, the next values by Optuna's samplers, what was found.

The only module that imports Optuna. A journal is written by one process, the stage. A trial's values
are a function of the trials told before its generation, of those asked for before it in the same one,
and of its number, which seeds a sampler of its own: neither the count of workers nor a kill changes
them, and what a study becomes is a function of its plan.
"""

import json
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna import distributions
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from recitative.errors import UserError
from recitative.files import atomic_path
from recitative.learning.search.space import Dimension, SearchConfig
from recitative.seeding import derive_seed

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)

Study: TypeAlias = optuna.Study
Trial: TypeAlias = optuna.trial.FrozenTrial
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_GENERATION, _SIZE = "generation", "size"  # attributes of a trial
_ENOUGH = 8  # complete trials, below which a figure of a model misleads


@dataclass(frozen=True)
class Plan:
    """All that decides which trials a study holds, and what comes of them."""

    name: str  # the same name means comparable trials; seeds the samplers
    space: Mapping[str, Dimension]
    maximize: bool  # whether a higher objective is better
    seed: int
    config: SearchConfig  # how many trials, and how they are searched

    @property
    def sign(self) -> int:
        """What an objective is multiplied by, so that less is better."""
        return -1 if self.maximize else 1

    def size(self, finished: int) -> int:
        """Trials of the generation after `finished` ones."""
        return min(self.config.generation, self.config.trials - finished)


# --- the journal -----------------------------------------------------------------------------------


def open_study(path: Path, plan: Plan, earlier: Iterable[Path] = ()) -> Study:
    """The study in a journal file; where there is none, a new one.

    A new one begins with the trials that it would make alike, where one of the `earlier` journals
    has some: that of a study with fewer `trials`, say.

    Raises:
        UserError: a line of a journal is damaged.
    """
    if found := _load(path, plan.name):
        return found
    others = [found for other in earlier if (found := _load(other, plan.name))]
    longest = max(others, key=lambda other: len(_alike(plan, other)), default=None)
    with atomic_path(path) as temporary:
        way = ("minimize", "maximize")[plan.maximize]
        made = optuna.create_study(storage=_storage(temporary), study_name=plan.name, direction=way)
        if longest:
            made.add_trials(_alike(plan, longest))
            for name, value in longest.user_attrs.items():
                made.set_user_attr(name, value)
    return open_study(path, plan)


def _storage(path: Path) -> JournalStorage:
    # One process writes. Optuna's own locks are files: a killed writer's holds the next one up for 30 s.
    return JournalStorage(JournalFileBackend(str(path), lock_obj=threading.Lock()))


def _load(path: Path, name: str) -> Study | None:
    """The study, or None where there is no such journal, or no such study in it."""
    if not path.is_file():
        return None
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):  # the disk was full, or the power went
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(lines[:-1]))
        return _load(path, name)
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)["op_code"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{number}: the study's journal is damaged here; cut it before that line, or "
                "move it away to start anew"
            ) from error
    known = optuna.get_all_study_names(storage := _storage(path))
    return optuna.load_study(study_name=name, storage=storage) if name in known else None


def _alike(plan: Plan, study: Study) -> list[Trial]:
    """Its first generations, as far as this plan would ask for as many trials in each."""
    trials: list[Trial] = study.get_trials(deepcopy=False)
    taken = 0
    while taken < len(trials):
        size = trials[taken].user_attrs[_SIZE]
        members = trials[taken : taken + size]
        done = len(members) == size and all(trial.state.is_finished() for trial in members)
        if not done or size != plan.size(_count(trials[:taken])):
            break
        taken += size
    return trials[:taken]


# --- ask and tell ----------------------------------------------------------------------------------


def finished(study: Study) -> int:
    """How many trials are complete or pruned."""
    return _count(study.get_trials(deepcopy=False))


def _count(trials: Iterable[Trial], states: Sequence[TrialState] = FINISHED) -> int:
    return sum(trial.state in states for trial in trials)


def ask(study: Study, plan: Plan) -> list[Trial]:
    """The trials of the present generation: one that was not told to its end, or a new one.

    Raises:
        UserError: as many trials failed as were asked for, and more than finished.
    """
    trials = study.get_trials(deepcopy=False)
    last = trials[-1].user_attrs if trials else {_GENERATION: -1}
    generation, size = last[_GENERATION] + 1, plan.size(_count(trials))
    failed = [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]
    if _count(trials, [TrialState.RUNNING]):
        generation, size = last[_GENERATION], last[_SIZE]
    elif len(failed) >= max(plan.config.trials, _count(trials) + 1):
        raise UserError(
            f"study {plan.name}: {len(failed)} trials failed and {_count(trials)} finished, the last "
            f"failed because: {failed[-1]}; narrow search.space, or mend that"
        )
    while True:
        members = [trial for trial in trials if trial.user_attrs[_GENERATION] == generation]
        if len(members) == size:
            return members
        # Optuna writes a trial value by value: asked for in memory, it is in the journal at once.
        board = optuna.create_study(direction=study.direction, sampler=_sampler(plan, trials))
        board.add_trials(_shown(plan, trials))
        board.ask({name: _distribution(dimension) for name, dimension in plan.space.items()})
        asked = board.trials[-1]
        asked.user_attrs = {_GENERATION: generation, _SIZE: size}
        study.add_trial(asked)
        trials = study.get_trials(deepcopy=False)


def _sampler(plan: Plan, trials: Sequence[Trial]) -> BaseSampler:
    """A fresh one for the next trial: it has no state but the trials that it is shown."""
    seed = derive_seed(plan.seed, "search", plan.name, len(trials)) % 2**32
    if plan.config.sampler == "random" or _count(trials) < plan.config.startup:
        return RandomSampler(seed=seed)
    if plan.config.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=1)
    return TPESampler(seed=seed, n_startup_trials=1, constant_liar=True, multivariate=True)


def _shown(plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
    """The trials as a sampler sees them: each that was told is complete, with its best epoch's value.

    Optuna's samplers know nothing of a failed trial, and a Gaussian process nothing of a pruned one:
    they would propose the same again and again. And one huge loss would make all others look alike:
    what lies beyond the fence, and what failed, lies on it.
    """
    shown = deepcopy(list(trials))
    worth = [_signed(plan, trial) for trial in shown if trial.state in FINISHED]
    fence = _fence(worth) if worth else 0.0
    for trial in shown:
        if trial.state.is_finished():
            value = _signed(plan, trial) if trial.state in FINISHED else fence
            trial.state, trial.value = TrialState.COMPLETE, plan.sign * min(value, fence)
    return shown


def _fence(worth: Any) -> float:
    """Where outliers begin: twice as far beyond the median as the best quarter lies before it."""
    quarter, middle = np.percentile(worth, [25, 50])
    return float(middle + 2 * (middle - quarter))


def _signed(plan: Plan, trial: Trial) -> float:
    """The objective after a trial's best epoch; less is better."""
    return min((plan.sign * value for value in trial.intermediate_values.values()), default=inf)


def _distribution(dimension: Dimension) -> distributions.BaseDistribution:
    if dimension.kind == "categorical":
        return distributions.CategoricalDistribution(dimension.values)
    low, high = dimension.bounds
    if dimension.kind == "int":
        return distributions.IntDistribution(int(low), int(high))
    return distributions.FloatDistribution(low, high, log=dimension.kind == "log_uniform")


def tell(
    study: Study, plan: Plan, member: Trial, state: str, objectives: Iterable[float],
    notes: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write down what came of a trial of `ask`: its `state` (`complete`, `pruned` or `fail`).

    The value of a complete one is that of its best epoch; the `notes` say the `reason`, too.
    """
    trial, shown = optuna.Trial(study, member._trial_id), [o for o in objectives if isfinite(o)]
    for epoch, objective in enumerate(shown, start=1):
        if epoch not in member.intermediate_values:  # it may be there from before a kill
            trial.report(objective, epoch)
    for name, note in notes.items():
        trial.set_user_attr(name, note)
    best = plan.sign * min(plan.sign * o for o in shown) if state == "complete" else None
    study.tell(member.number, best, TrialState[state.upper()])


# --- what was found --------------------------------------------------------------------------------


def table(study: Study, plan: Plan) -> list[dict[str, Any]]:
    """A row a trial: number, generation, state, value, epochs, the searched values, reason."""
    return [
        {
            "trial": trial.number,
            "generation": trial.user_attrs[_GENERATION],
            "state": trial.state.name.lower(),
            "value": None if trial.state == TrialState.FAIL else plan.sign * _signed(plan, trial),
            "epochs": len(trial.intermediate_values),
            **{name: trial.params[name] for name in plan.space},
            "reason": trial.user_attrs["reason"],
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished()
    ]


def figures(study: Study, plan: Plan, objective: str) -> dict[str, Any]:
    """Interactive (plotly) figures by title; those that the trials are too few for are left out.

    An axis of objectives ends where outliers begin, so that one bad trial does not press all others
    together; a double click shows it.
    """
    show, names, label = optuna.visualization, list(plan.space), {"target_name": objective}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [trial.value for trial in complete]
    reported = [value for trial in study.trials for value in trial.intermediate_values.values()]
    drawn = {
        "Optimisation history": show.plot_optimization_history(study, **label),
        "Every trial, epoch by epoch": show.plot_intermediate_values(study),
        "Each parameter by itself": show.plot_slice(study, names, **label),
    }
    for figure, shown in zip(drawn.values(), (values, reported, values), strict=True):
        worth = plan.sign * np.array(shown)
        if worth.max() > (fence := _fence(worth)):
            ends = np.array([worth.min() - 0.05 * (fence - worth.min()), fence])
            figure.update_yaxes(range=sorted(plan.sign * ends))
    if len(complete) >= _ENOUGH and len(set(values)) > 1:
        rated = {"evaluator": optuna.importance.PedAnovaImportanceEvaluator(), **label}
        drawn["How much each parameter matters"] = show.plot_param_importances(study, **rated)
        drawn["All parameters together"] = show.plot_parallel_coordinate(study, names, **label)
        if len(names) > 1:
            drawn["Every two parameters"] = show.plot_contour(study, names, **label)
    return drawn
