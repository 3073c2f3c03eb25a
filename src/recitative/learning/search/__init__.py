"""The Bayesian search: a study of trials that survives the death of any of its workers.

The only folder that imports Optuna. It knows no path but the study's storage and no tracker; what a
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

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning

from recitative.learning.search.plan import Objective, Plan, Progress, Pruned, Trial
from recitative.learning.search.results import Best, best, figures, table
from recitative.learning.search.study import keep_copy, open_study
from recitative.learning.search.workers import claimable, progress, work

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)

__all__ = [
    "Best", "Objective", "Plan", "Progress", "Pruned", "Trial", "best", "claimable", "figures",
    "keep_copy", "open_study", "progress", "table", "work",
]  # fmt: skip
