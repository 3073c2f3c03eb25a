"""Tasks side by side, each in a single-threaded process: what DVC, one stage at a time, does not do."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psutil
from joblib import Parallel, delayed
from joblib.externals.loky import process_executor

from recitative.learning.config import ComputeConfig
from recitative.stages.workspace import workers

T = TypeVar("T")


def in_parallel(
    work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], compute: ComputeConfig
) -> list[T]:
    """Do `work` on each task's arguments; what each gives, in the tasks' order.

    One task, or one worker, needs no other process: it is done in this one.
    """
    if not tasks:
        return []
    results = Parallel(n_jobs=min(workers(compute), len(tasks)), backend="loky")(
        delayed(_alone)(compute.threads, work, *task) for task in tasks
    )
    return list(results)


def stop_without(stage: int) -> None:
    """End this worker, which outlives it, where the process of the stage that waits was killed."""
    if not psutil.pid_exists(stage):
        raise SystemExit("the stage that waited for this work was killed")


def _alone(threads: int, work: Callable[..., T], *task: Any) -> T:
    # A worker that has trained one network holds more than when it was born: loky takes 300 MB more
    # for a leak and starts another process, seconds of imports for nothing.
    import torch

    from recitative.learning.allocation import keep_freed_memory

    keep_freed_memory()
    process_executor._MAX_MEMORY_LEAK_SIZE = 2**40
    torch.set_num_threads(threads)
    return work(*task)
