"""Tasks side by side, each in a single-threaded process: what DVC, one stage at a time, does not do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import psutil
from joblib import Parallel, delayed
from joblib.externals.loky import process_executor

from recitative.experiment import cluster
from recitative.experiment.places import workers
from recitative.learning.config import ComputeConfig

T = TypeVar("T")
_elsewhere = False  # whether this process is a cluster's


def in_parallel(
    work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], compute: ComputeConfig
) -> list[T]:
    """Do `work` on each task's arguments; what each gives, in the tasks' order.

    One task, or one worker, needs no other process: it is done in this one.
    """
    if not tasks:
        return []
    if compute.backend != "loky":
        with cluster.backend(compute) as count:
            site = cluster.Site.here()
            work_there = partial(_there, site, compute.threads, work)
            return list(
                Parallel(n_jobs=min(count, len(tasks)), batch_size=1)(
                    delayed(work_there)(*task) for task in tasks
                )
            )
    results = Parallel(n_jobs=min(workers(compute), len(tasks)), backend="loky")(
        delayed(_alone)(compute.threads, work, *task) for task in tasks
    )
    return list(results)


def stop_without(stage: int) -> None:
    """End this worker, which outlives it, where the process of the stage that waits was killed.

    On a cluster the backend does that, and a process's number says nothing on another node.
    """
    if not _elsewhere and not psutil.pid_exists(stage):
        raise SystemExit("the stage that waited for this work was killed")


def _there(site: cluster.Site, threads: int, work: Callable[..., T], *task: Any) -> T:
    global _elsewhere
    _elsewhere = True
    site.enter()
    return _alone(threads, work, *task)


def _alone(threads: int, work: Callable[..., T], *task: Any) -> T:
    # A worker that has trained one network holds more than when it was born: loky takes 300 MB more
    # for a leak and starts another process, seconds of imports for nothing.
    import torch

    from recitative.learning.allocation import keep_freed_memory

    keep_freed_memory()
    process_executor._MAX_MEMORY_LEAK_SIZE = 2**40
    torch.set_num_threads(threads)
    return work(*task)
