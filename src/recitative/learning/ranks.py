"""Several processes, each with a device, that train one model: torch's own DistributedDataParallel.

Each takes its share of every batch, so that the batch is what it would be in one process; gradients
are averaged by torch, losses summed over all. Batch norm takes its statistics over the whole batch on
GPUs (torch's SyncBatchNorm), over each process's share on CPUs, where torch has none.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recitative.errors import UserError

T = TypeVar("T")
Step = Callable[[dict[str, Tensor]], dict[str, Tensor]]
RESTARTS = 3  # of all processes, after one of them died
LEAST = 2  # examples of a process: batch norm and CPC's negatives need as many


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this is; the one and only where nothing else is said."""

    rank: int = 0
    count: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    def step(self, model: nn.Module, losses: Step) -> Step:
        """`losses`, after whose backward pass every process has the same gradients."""
        if self.alone:
            return losses
        cuda = next(model.parameters()).is_cuda
        device = [torch.cuda.current_device()] if cuda else None
        return cast(Step, nn.parallel.DistributedDataParallel(_Losses(model, losses), device))

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all of them."""
        if self.alone:
            return make()
        box = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0)
        return cast(T, box[0])


class _Losses(nn.Module):
    """A model whose forward pass is its losses: what DistributedDataParallel watches."""

    def __init__(self, model: nn.Module, losses: Step):
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.losses(batch)


def launch(work: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run ``work(ranks, *arguments)`` in `count` processes; where one dies, all start again.

    `work` is a function of a module that goes on from its checkpoint.

    Raises:
        UserError: `work` raised one, or the processes died again and again.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"recitative-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=RESTARTS,
        monitor_interval=0.2,
        start_method="spawn",
    )
    try:
        said = elastic_launch(config, _rank)(work, arguments)
    except ChildFailedError as error:
        first = error.get_first_failure()[1]
        raise UserError(
            f"compute.strategy: ddp: a process died {RESTARTS + 1} times, the last with exit code "
            f"{first.exitcode}; see above; what was trained is kept: run again"
        ) from error
    if told := [text for text in said.values() if text]:
        raise UserError(told[0])


def _rank(work: Callable[..., None], arguments: tuple[Any, ...]) -> str | None:
    """One process; what a user can mend is its answer, since another start would not help."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(
        "nccl" if cuda else "gloo", store=_meeting_place(), rank=rank, world_size=count
    )
    try:
        work(Ranks(rank, count), *arguments)
    except UserError as error:
        return str(error)
    finally:
        dist.destroy_process_group()
    return None


def _meeting_place() -> Any:
    """Where the processes of this start find each other.

    All starts share the launcher's store: without a prefix the second one would find the addresses of
    the first one's processes, which are dead, and try to connect to them.
    """
    port = int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(os.environ["MASTER_ADDR"], port, is_master=False)  # type: ignore[attr-defined]
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    return dist.PrefixStore(f"start {attempt}", store)  # type: ignore[attr-defined]
