"""Fan-out on two nodes of Ray and two workers of Dask, on this machine: the same bytes as loky's."""

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marked
import psutil
import pytest
from projects import Project, grown_project
from services import DEADLINE, answers, environment, free_port, process, until

from recitative.errors import UserError
from recitative.experiment.parallel import in_parallel
from recitative.learning.config import ComputeConfig

pytestmark = pytest.mark.integration
HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent / "pipeline")])


@dataclass
class Cluster:
    """Two nodes; `kill` ends the one that a process works on, at once."""

    backend: str
    address: str
    kill: Callable[[int], None]

    @property
    def compute(self) -> ComputeConfig:
        return ComputeConfig(backend=self.backend, cluster=self.address, workers=2)


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray as library

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        found = cluster_utils.Cluster(initialize_head=True, head_node_args=small)
        other = found.add_node(num_cpus=1, object_store_memory=80_000_000)

        def kill(_: int) -> None:
            found.remove_node(other, allow_graceful=False)

        try:
            yield Cluster("ray", found.address, kill)
        finally:
            library.shutdown()
            found.shutdown()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    distributed = pytest.importorskip("distributed")
    folder, port = tmp_path_factory.mktemp("dask"), free_port()
    address = f"tcp://127.0.0.1:{port}"
    env = environment(PYTHONPATH=PATHS, DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING="False")
    with ExitStack() as stack:

        def start(*command: str) -> None:
            stack.enter_context(process(["dask", *command], folder / "log", env, folder))

        start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        until(lambda: answers(port), "the scheduler")
        for number in (1, 2):
            # Without its nurse: a worker that dies stays dead, as a node that dies.
            start(
                "worker", address, "--nthreads", "1", "--nworkers", "1", "--no-nanny",
                "--no-dashboard", "--name", str(number),
            )  # fmt: skip
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=DEADLINE)
        yield Cluster("dask", address, lambda pid: os.kill(pid, signal.SIGKILL))


@pytest.fixture(params=["ray", "dask"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    found: Cluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project up to its splits."""
    made = grown_project(tmp_path_factory.mktemp("fanned"), "index", "split")
    few = {"controls.names": ["majority", "random_encoder"], "search.trials": 3, "search.epochs": 2}
    return made.set(**{"compute.ahead": False, **few})


def bytes_of(project: Project) -> dict[str, str]:
    """The hash of everything that was computed, but for what names runs and says how long they took."""
    return {
        str(path.relative_to(project.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("features", "search", "pretrain", "transfer", "controls")
        for path in sorted((project.root / "build" / part).rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".html", ".log")
    }


def train(project: Project) -> dict[str, str]:
    """Everything that is fanned out."""
    for stage in (
        ("featurize",),
        ("search",),
        ("pretrain", "eng"),
        ("transfer", "eng2eng"),
        ("controls", "eng"),
    ):
        project.run(*stage)
    return bytes_of(project)


@pytest.fixture(scope="module")
def on_loky(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    copy = project.copy(tmp_path_factory.mktemp("loky") / "project").set(**{"compute.workers": 2})
    return train(copy)


def test_a_cluster_gives_the_same_bytes(
    cluster: Cluster, project: Project, on_loky: dict[str, str], tmp_path: Path
) -> None:
    copy = project.copy(tmp_path / "project").set(
        **{
            "compute.backend": cluster.backend,
            "compute.cluster": cluster.address,
            "compute.workers": 2,
        }
    )
    wanted = {f"build/{n}/predictions.csv" for n in ("transfer/eng2eng", "controls/eng")}
    assert wanted | {"build/search/best.yaml", "build/search/trials.csv"} <= set(on_loky)
    assert train(copy) == on_loky


def test_a_task_runs_where_it_would_here(
    cluster: Cluster, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECITATIVE_TEST", "told")
    found = in_parallel(marked.where, [(number,) for number in range(4)], cluster.compute)
    assert {(folder, told) for _, folder, told in found} == {(str(tmp_path), "told")}
    assert os.getpid() not in {pid for pid, _, _ in found}


def test_what_a_user_can_mend_comes_back_as_one_line(cluster: Cluster) -> None:
    with pytest.raises(UserError, match="clip 1: silent; take it out"):
        in_parallel(marked.refuses, [(1,), (1,)], cluster.compute)


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_cluster_that_is_not_there(backend: str) -> None:
    if backend == "ray":
        pytest.importorskip("ray").shutdown()  # a process is at one cluster at a time
    address = f"127.0.0.1:{free_port()}"
    compute = ComputeConfig(
        backend=backend, cluster=f"tcp://{address}" if backend == "dask" else address
    )
    with pytest.raises(UserError, match=f"compute.cluster: .*{address} does not answer; start it"):
        in_parallel(marked.where, [(1,), (2,)], compute)


def test_gpus_that_are_not_there(cluster: Cluster) -> None:
    compute = cluster.compute.model_copy(update={"gpus_per_task": 0.25})
    with pytest.raises(UserError, match=r"gpus_per_task: 0\.25, but the cluster has 0 GPUs"):
        in_parallel(marked.where, [(1,), (2,)], compute)


def test_a_node_that_dies_costs_no_result(cluster: Cluster, tmp_path: Path) -> None:
    """Its task runs again on the other one. The last test: afterwards the cluster has one node."""

    def kill_one() -> None:
        begun = until(lambda: len(list(tmp_path.glob("*.*"))) == 2 and list(tmp_path.glob("*.*")),
                      "both nodes at work")  # fmt: skip
        pids = [int(mark.suffix[1:]) for mark in begun]
        if cluster.backend == "dask":
            cluster.kill(pids[0])
        else:
            cluster.kill(0)
        until(lambda: not all(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
                              for pid in pids), "the death")  # fmt: skip
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = in_parallel(marked.waits, [(tmp_path, number) for number in range(4)], cluster.compute)
    killer.join()
    assert found == [0, 1, 4, 9]
    marks = [mark.stem for mark in tmp_path.glob("*.*")]
    assert sorted(set(marks)) == ["0", "1", "2", "3"]
    assert len(marks) == 5, "the killed node's task ran again, and no other"
