"""What a study is, what an objective sees of its trial, and how far the study is."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from recitative.learning.space import Dimension

Pruned = optuna.TrialPruned
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
REASON, WORKER, WITHDRAWN = "reason", "worker", "withdrawn"  # attributes of a trial


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
        pruner: `halving`, `hyperband`, `median` or `none`.
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
    pruner: str = "halving"
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
