"""Tasks side by side, each in a single-threaded process: what DVC, one stage at a time, does not do.

joblib runs them on this machine (loky) or on a cluster (Ray, Dask: docs/cluster.md). A cluster's nodes
share the project's folder and its environment; a task runs there as it would here.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from joblib import Parallel, delayed
from joblib.externals.loky import process_executor

from recitative.errors import UserError
from recitative.learning.config import ComputeConfig
from recitative.processes import lives
from recitative.tracking.store import project_root, tracking_uri

T = TypeVar("T")
RETRIES = 3  # of a task whose node died; a task that fails is not tried again
_CONNECT = 5  # s
_PATIENCE = 30  # s until a cluster that was just started has a worker
_CPUS = 0.5  # of a task, for Ray: where a node died there must be room on the others, or all wait
_PREFIXES = ("DVC_", "MLFLOW_", "OMP_", "OPENBLAS_", "MKL_", "RECITATIVE_", "DO_NOT_TRACK")
_elsewhere = False  # whether this process is a cluster's


@dataclass(frozen=True)
class Site:
    """Where a task finds what it reads and writes: on every node the same."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def here(cls) -> "Site":
        """This process's own."""
        tracking_uri()  # takes the password out of the address
        kept = {name: text for name, text in os.environ.items() if name.startswith(_PREFIXES)}
        return cls(Path.cwd(), kept | {"DVC_ROOT": str(project_root())})

    def enter(self) -> None:
        """Make this process one that works there.

        Raises:
            UserError: the node does not have the folder.
        """
        if not self.folder.is_dir():
            raise UserError(
                f"{self.folder}: no such folder on this node; a cluster's nodes share the project's "
                "(docs/cluster.md)"
            )
        os.environ |= self.environment
        os.chdir(self.folder)


def in_parallel(
    work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], compute: ComputeConfig
) -> list[T]:
    """Do `work` on each task's arguments; what each gives, in the tasks' order.

    One task, or one worker, needs no other process: it is done in this one.

    Raises:
        UserError: a worker process died.
    """
    if not tasks:
        return []
    if compute.backend != "loky":
        with _ray(compute) if compute.backend == "ray" else _dask(compute) as count:
            work_there = partial(_there, Site.here(), compute.threads, work)
            parallel = Parallel(n_jobs=min(count, len(tasks)), batch_size=1)
            return list(parallel(delayed(work_there)(*task) for task in tasks))
    parallel = Parallel(n_jobs=min(compute.processes, len(tasks)), backend="loky")
    try:
        return list(parallel(delayed(_alone)(compute.threads, work, *task) for task in tasks))
    except process_executor.TerminatedWorkerError as error:
        raise UserError(
            "a worker process was killed, or there was too little memory; what is finished is kept: "
            "run again, or lower compute.workers"
        ) from error


def stop_without(stage: int) -> None:
    """End this worker, which outlives it, where the process of the stage that waits was killed.

    On a cluster the backend does that, and a process's number says nothing on another node.
    """
    if not _elsewhere and not lives(stage):
        raise SystemExit("the stage that waited for this work was killed")


def _there(site: Site, threads: int, work: Callable[..., T], *task: Any) -> T:
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


@contextmanager
def _ray(compute: ComputeConfig) -> Iterator[int]:
    """Joblib runs on Ray; how many tasks fit there side by side.

    Raises:
        UserError: its package is not installed, no cluster answers, or it has not enough GPUs.
    """
    _require("ray", "ray")
    import ray
    from joblib import parallel_config
    from ray.util.joblib import register_ray

    if not ray.is_initialized():
        try:
            if at := compute.cluster:  # try to connect; Ray itself would try for minutes
                found = urlsplit(at if "://" in at else f"ray://{at}")
                address = found.hostname or "", found.port or 6379
                socket.create_connection(address, _CONNECT).close()
            ray.init(address=compute.cluster or None)
        except (OSError, ValueError) as error:
            raise UserError(_no_answer(compute, "ray start --head", error)) from error
    there = ray.cluster_resources()
    register_ray()
    # Restarts are counted; retries are not: each call that fails while a death is found out is one.
    arguments: dict[str, float] = {"max_restarts": RETRIES, "max_task_retries": -1}
    arguments["num_cpus"] = _CPUS
    if compute.gpus_per_task:
        arguments["num_gpus"] = compute.gpus_per_task
    with parallel_config(backend="ray", ray_remote_args=arguments):
        yield _fits(compute, there.get("CPU", 1), there.get("GPU", 0))


@contextmanager
def _dask(compute: ComputeConfig) -> Iterator[int]:
    """The same on Dask."""
    _require("distributed", "dask")
    from distributed import Client
    from joblib import parallel_config

    address = compute.cluster or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        raise UserError(
            "params.yaml: compute.backend: 'dask' needs a scheduler; start one (`dask scheduler`) "
            "and name it: compute.cluster: tcp://HOST:8786"
        )
    try:
        client = Client(address, timeout=10)
    except OSError as error:
        raise UserError(_no_answer(compute, "dask scheduler", error)) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            what = "a scheduler without workers; start some: `dask worker`"
            raise UserError(f"{address}: {what}") from error
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        cores = sum(worker["nthreads"] for worker in workers)
        gpus = sum(worker["resources"].get("GPU", 0) for worker in workers)
        resources = {"GPU": compute.gpus_per_task} if compute.gpus_per_task else None
        with parallel_config(backend="dask", resources=resources, retries=RETRIES):
            yield _fits(compute, cores, gpus)


def _fits(compute: ComputeConfig, cores: float, gpus: float) -> int:
    """How many tasks at once: as many as the parameters say, as cores and GPUs let."""
    count = compute.workers or int(cores)
    if not compute.gpus_per_task:
        return max(1, count)
    if gpus < compute.gpus_per_task:
        raise UserError(
            f"params.yaml: compute.gpus_per_task: {compute.gpus_per_task:g}, but the cluster has "
            f"{gpus:g} GPUs; use 0, or add nodes"
        )
    return min(max(1, count), int(gpus / compute.gpus_per_task))


def _require(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise UserError(
            f"params.yaml: compute.backend: {extra!r} needs a package that is not installed: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        )


def _no_answer(compute: ComputeConfig, start: str, error: Exception) -> str:
    where = compute.cluster or f"the {compute.backend} cluster"
    said = " ".join(str(error).split())[:150]
    return f"params.yaml: compute.cluster: {where} does not answer; start it: `{start}` ({said})"
