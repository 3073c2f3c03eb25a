"""The Bayesian search: a study of trials that survives the death of any of its workers.

The only module that imports Optuna. It knows no path but the study's storage and no tracker; what a
trial trains is the `objective` that it is given.

Total. `work` runs trials until the study holds `total` finished ones (complete or pruned), whoever
ran them. A worker keeps a trial only if fewer than `total` trials with a lower number are not
failed at that moment. Numbers are given in order of creation and a finished trial never fails
later, so the highest-numbered of `total + 1` finished trials would have had to see `total` others
before it: no number of workers, on any storage, can overshoot.

Death. A worker on a journal holds a kernel lock on a file beside it for as long as it lives; the
kernel frees it with the process, even after `kill -9`, and no process id can be mistaken for
another. Trials are claimed under a second such lock, by which a running trial that names no worker
is known to be a dead one's. On a database Optuna's heartbeat takes that place. The trial of a dead
worker fails and its values are queued again.

Sampling. Each trial has a sampler of its own, seeded by the trial's number: the next suggestion is
a function of the study's history, and a restarted search goes on rather than starting again.
"""

import json
import math
import os
import platform
import re
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import (
    BaseStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
    fail_stale_trials,
)
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recitative.errors import UserError
from recitative.files import atomic_path
from recitative.learning.space import Dimension
from recitative.seeding import derive_seed

Pruned = optuna.TrialPruned
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_SPACE, _FAMILY = "space", "family"  # attributes of a study
_REASON, _WORKER, _WITHDRAWN = "reason", "worker", "withdrawn"  # of a trial
_RETRIES = 3  # of one trial whose workers die: after that it is taken to be what kills them
_UNOWNED = 10  # heartbeats after which a running trial that names no worker is a dead one's

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)


@dataclass(frozen=True)
class Plan:
    """A study: where it is kept, what it searches and how. Goes to each worker process as it is.

    Attributes:
        storage: a journal file's path, or a database's SQLAlchemy URL.
        name: of the study; the same name means comparable trials.
        family: studies of one family differ in their space alone.
        space: the searched parameters.
        maximize: whether a higher objective is better.
        epochs: reports that a trial makes when it is not pruned.
        seed: root of the samplers' streams.
        sampler: `gp`, `tpe` or `random`.
        startup: random trials before the sampler has a model, and before the median prunes.
        pruner: `hyperband`, `median` or `none`.
        heartbeat: seconds between signs of life, on a database.
    """

    storage: str
    name: str
    family: str
    space: Mapping[str, Dimension]
    maximize: bool
    epochs: int
    seed: int
    sampler: str = "gp"
    startup: int = 10
    pruner: str = "hyperband"
    heartbeat: int = 30

    @property
    def is_database(self) -> bool:
        """Whether the storage is a database rather than a journal file."""
        return "://" in self.storage

    @property
    def shown(self) -> str:
        """The storage without its password."""
        return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", self.storage)


@dataclass(frozen=True)
class Trial:
    """What an objective sees of its trial.

    Attributes:
        number: in the study, from 0.
        values: of the searched parameters.
        retry_of: number of the trial of a dead worker that this one repeats, or None.
        report: takes the epoch (from 1) and the objective after it; raises `Pruned`.
        note: keeps a name and a JSON-able value with the trial.
    """

    number: int
    values: dict[str, Any]
    retry_of: int | None
    report: Callable[[int, float], None]
    note: Callable[[str, Any], None]


Objective = Callable[[Trial], float]


@dataclass(frozen=True)
class Progress:
    """How far a study is. `reasons`: of the trials that failed by themselves, oldest first."""

    finished: int
    running: int
    reasons: list[str] = field(default_factory=list)

    def hopeless(self, total: int) -> bool:
        """As many failed as were asked for, and more than finished."""
        return len(self.reasons) >= max(total, self.finished + 1)


class _Withdrawn(Exception):
    """The study has its total already: this trial is one too many."""


class _JournalLock:
    """Appends one at a time. The kernel frees the lock of a killed writer, whose half line is cut.

    Optuna's own locks are files: a killed writer's would hold everybody up for 30 s.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self.lock = FileLock(f"{journal}.append.lock")

    def acquire(self) -> bool:
        self.lock.acquire()
        _cut_half_line(self.journal)
        return True

    def release(self) -> None:
        self.lock.release()


def _cut_half_line(journal: Path) -> None:
    """Drop what follows the last line end: an operation that no writer saw succeed."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        kept = end
        while kept:
            start = max(0, kept - 65536)
            file.seek(start)
            newline = file.read(kept - start).rfind(b"\n")
            if newline >= 0:
                kept = start + newline + 1
                break
            kept = start
        if kept < end:
            file.truncate(kept)


def _journal(path: Path) -> JournalStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _JournalLock(path)
    lock.acquire()  # mends the end
    try:
        _check_lines(path)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _check_lines(journal: Path) -> None:
    """Every line of a journal is an operation; Optuna would read past a damaged last one."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line)["op_code"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{journal}:{number}: the study's journal is damaged here; put a good copy in "
                    "its place, cut it before that line, or move it away to start anew"
                ) from error


def _database(plan: Plan) -> RDBStorage:
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    def connect() -> RDBStorage:
        return RDBStorage(
            plan.storage,
            heartbeat_interval=plan.heartbeat,
            heartbeat_stale_trial_callback=_retry,
        )

    file = plan.storage.partition(":///")[2] if plan.storage.startswith("sqlite") else ""
    creation = FileLock(f"{file}.create.lock") if file and Path(file).parent.is_dir() else None
    try:
        with creation or nullcontext():
            try:
                return connect()
            except SQLAlchemyError:
                return connect()  # another process made the tables at the same time
    except ImportError as error:
        raise UserError(
            f"search.storage: {plan.shown}: the database's driver is missing ({error}); install it"
        ) from error
    except ArgumentError as error:
        raise UserError(f"search.storage: {plan.shown}: no database's URL ({error})") from error
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(
            f"search.storage: {plan.shown}: the database cannot be reached ({why}); is it running, "
            "and is the address right?"
        ) from error


def open_study(plan: Plan, *, create: bool = True, kept: Path | None = None) -> Study:
    """The study of a plan, with the plan's sampler and pruner.

    Args:
        plan: which study.
        create: make it where it is not there; else it must be there.
        kept: a file that `keep_copy` wrote: where the storage lacks the study, it goes on from there.

    Raises:
        UserError: the storage cannot be read or reached, there is no such study, or it, or one like
            it, searched another space.
    """
    with _claim_lock(plan):
        storage = _database(plan) if plan.is_database else _journal(Path(plan.storage))
        studies = {study.study_name: study.user_attrs for study in _summaries(storage)}
        if plan.name not in studies:
            if not create:
                raise UserError(
                    f"{plan.shown}: no study {plan.name} (there: {', '.join(studies) or 'none'}); "
                    "start `recitative search` there first, with the same params.yaml and features"
                )
            if kept and kept.is_file():
                _restore(plan, storage, kept)
        sampler = _OneATrial(plan)
        study = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            direction="maximize" if plan.maximize else "minimize",
            load_if_exists=True,
            sampler=sampler,
            pruner=_pruner(plan),
        )
        sampler.study = study
        here = {name: str(dimension) for name, dimension in sorted(plan.space.items())}
        if _SPACE in study.user_attrs:
            _refuse_another(plan, plan.name, study.user_attrs[_SPACE], here)
        else:
            for name, attributes in studies.items():
                if (
                    attributes.get(_FAMILY) == plan.family
                    and attributes[_SPACE].keys() != here.keys()
                ):
                    optuna.delete_study(study_name=plan.name, storage=storage)
                    _refuse_another(plan, name, attributes[_SPACE], here)
            study.set_user_attr(_FAMILY, plan.family)
            study.set_user_attr(_SPACE, here)
    return study


def _refuse_another(plan: Plan, name: str, there: dict[str, str], here: dict[str, str]) -> None:
    changed = [
        f"{key} was {there.get(key, 'not searched')}, is {here.get(key, 'not searched')}"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if changed:
        raise UserError(
            f"{plan.shown}: the study {name} searched another space ({'; '.join(changed)}); put "
            "the old space back, or start a new study with `-S search.study=NAME`"
        )


def _summaries(storage: BaseStorage) -> list[Any]:
    return list(optuna.get_all_study_summaries(storage, include_best_trial=False))


def _restore(plan: Plan, storage: BaseStorage, kept: Path) -> None:
    _check_lines(kept)
    source = JournalStorage(JournalFileBackend(str(kept)))
    if plan.name in [study.study_name for study in _summaries(source)]:
        optuna.copy_study(from_study_name=plan.name, from_storage=source, to_storage=storage)


def keep_copy(plan: Plan, path: Path) -> None:
    """Write the study as a journal file of its own, for `open_study` to go on from elsewhere."""
    study = open_study(plan, create=False)
    with atomic_path(path) as temporary:
        target = JournalStorage(JournalFileBackend(str(temporary)))
        optuna.copy_study(from_study_name=plan.name, from_storage=study._storage, to_storage=target)


class _OneATrial(BaseSampler):  # type: ignore[misc]
    """A fresh sampler for each trial, seeded by its number: no state but the study's history.

    The history that a sampler sees is the whole study's: under Hyperband Optuna would show it the
    trials of one bracket alone, and a Gaussian process none of the pruned.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.study: Study | None = None  # set once it is open

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
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
        found: dict[str, BaseDistribution]
        found = self.sampler.infer_relative_search_space(self.history, self.trial)
        return found

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn: dict[str, Any] = self.sampler.sample_relative(self.history, self.trial, search_space)
        return drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(self.history, self.trial, name, distribution)


def _for_a_process(study: Study, mine: FrozenTrial) -> Study:
    """The trials before one, as a Gaussian process can use them, in memory; the one is the last.

    A Gaussian process knows of complete trials alone, and a diverged training's value would make
    all others look alike. Here a pruned trial is complete with its last value, and what lies
    beyond Tukey's fence (1.5 interquartile ranges above the upper quartile) lies on it.
    """
    view = optuna.create_study(direction=study.direction)
    trials = [t for t in study.get_trials() if t.number != mine.number]
    finished = [trial for trial in trials if trial.state in FINISHED and trial.value is not None]
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


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=plan.epochs)
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=plan.startup)
    return optuna.pruners.NopPruner()


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if dimension.kind == "categorical":
        return trial.suggest_categorical(name, dimension.values)
    low, high = dimension.bounds
    if dimension.kind == "int":
        return trial.suggest_int(name, int(low), int(high))
    return trial.suggest_float(name, low, high, log=dimension.kind == "log_uniform")


def progress(study: Study, since: int = 0) -> Progress:
    """Count a study's trials; failures only of those numbered `since` or higher."""
    trials = study.get_trials(deepcopy=False)
    return Progress(
        sum(trial.state in FINISHED for trial in trials),
        sum(trial.state == TrialState.RUNNING for trial in trials),
        [
            str(trial.user_attrs[_REASON])
            for trial in trials
            if trial.state == TrialState.FAIL
            and trial.number >= since
            and _REASON in trial.user_attrs
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
    claim = _claim_lock(plan)
    with _alive(plan) as worker:
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
                        _retry(study, runner.trial())
                    raise
            told(runner.trial())


def claimable(plan: Plan, study: Study, total: int, since: int = 0) -> bool:
    """Whether there is a trial to run; the trials of dead workers are among them."""
    with _claim_lock(plan):
        return _claimable(plan, study, total, since)


def _claimable(plan: Plan, study: Study, total: int, since: int) -> bool:
    _fail_dead(plan, study)
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
                trial.set_user_attr(_REASON, str(error)[:500] or type(error).__name__)
            raise

    def _run(self, trial: optuna.Trial) -> float:
        values = {name: _suggest(trial, name, d) for name, d in self.plan.space.items()}
        if self.plan.is_database:  # before it is named: who is named has a heart
            self.study._storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(_WORKER, self.worker)
        self.claim.release()
        *before, mine = self.study.get_trials(deepcopy=False)[: trial.number + 1]
        if sum(other.state != TrialState.FAIL for other in before) >= self.total:
            trial.set_user_attr(_WITHDRAWN, True)
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


@contextmanager
def _alive(plan: Plan) -> Iterator[str]:
    """A worker's name, and (beside a journal) a file that stays locked while the process lives."""
    worker = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if plan.is_database:
        yield worker
        return
    path = _life(plan, worker)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield worker
    path.unlink(missing_ok=True)


def _life(plan: Plan, worker: str) -> Path:
    return Path(f"{plan.storage}.workers") / worker


def _lives(plan: Plan, worker: str) -> bool:
    """Whether the worker's process still holds its file."""
    path = _life(plan, worker)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink()
    except Timeout:
        return True
    return False


def _claim_lock(plan: Plan) -> Any:
    """One claim at a time on a journal; on a database there is no lock, and none is needed."""
    if plan.is_database:
        return _NoLock()
    Path(plan.storage).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{plan.storage}.claim.lock")


class _NoLock(nullcontext[None]):
    def release(self) -> None: ...


def _fail_dead(plan: Plan, study: Study) -> None:
    """Fail the running trials of dead workers and queue their values again."""
    if plan.is_database:
        fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(_WORKER)
        if plan.is_database:  # the heartbeat sees to those that name a worker
            age = datetime.now() - (trial.datetime_start or datetime.now())
            dead = worker is None and age > timedelta(seconds=_UNOWNED * plan.heartbeat)
        else:
            dead = worker is None or not _lives(plan, worker)
        if dead:
            with suppress(ValueError, UpdateFinishedTrialError):  # another worker was faster
                study.tell(trial.number, state=TrialState.FAIL)
                _retry(study, trial)


def _retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial's values again; whose it was, and its notes, stay with the first one."""
    again = copy(trial)
    again.user_attrs = {}
    RetryHeartbeatStaleTrialCallback(_RETRIES)(study, again)


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
            "state": "withdrawn" if notes.get(_WITHDRAWN) else trial.state.name.lower(),
            "value": trial.value,
            "epochs": len(trial.intermediate_values),
            **{name: trial.params.get(name) for name in names},
            "reason": notes.get(_REASON),
            "retry_of": RetryHeartbeatStaleTrialCallback.retried_trial_number(trial),
            "run_id": notes.get("run_id"),
        }
        if trial.state == TrialState.FAIL and _REASON not in notes and not notes.get(_WITHDRAWN):
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
