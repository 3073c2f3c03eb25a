"""Work for processes that train together, which import this file."""

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recitative.errors import UserError
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.config import FitConfig
from recitative.learning.ranks import Ranks
from recitative.learning.training import Batches, fit

CPU = Compute(torch.device("cpu"), bf16=False)
EXAMPLES, EPOCHS = 45, 12  # 5 batches of 8 and one of 5: shares of 3 and 2


class Regression(nn.Module):
    """No batch norm and no noise: two processes must do what one does, but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        error = self.layers(batch["x"])[:, 0] - batch["y"]
        return {"loss": (error**2).mean(), "absolute": error.abs().mean()}


def batches(count: int, seed: int) -> Batches:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 6)).astype(np.float32)
    y = np.sin(x.sum(1)).astype(np.float32)
    return Batches(
        count, lambda rows: {"x": torch.from_numpy(x[rows]), "y": torch.from_numpy(y[rows])}
    )


def regression(ranks: Ranks, folder: Path, die_at: int | None = None) -> None:
    """Train, write the curve; the second process dies once, after an epoch, where it is told to."""
    checkpoint = Checkpoint(folder / "checkpoint.safetensors")
    config = FitConfig(epochs=EPOCHS, batch_size=8, learning_rate=0.05)
    model, curve = Regression(), []
    for epoch in fit(
        model, batches(EXAMPLES, 0), batches(16, 1), config, CPU, 3, checkpoint, ranks
    ):
        curve.append([epoch.train["loss"], epoch.train["absolute"], epoch.validation["loss"]])
        died = folder / "died"
        if ranks.rank == 1 and epoch.index == die_at and not died.exists():
            died.touch()
            os._exit(9)
    weights = torch.cat([p.detach().ravel() for p in model.parameters()]).tolist()
    content = json.dumps({"curve": curve, "weights": weights})
    (folder / f"{ranks.rank}.json").write_text(content)


def refuses(ranks: Ranks, folder: Path) -> None:
    (folder / f"{ranks.rank}.{os.getpid()}").touch()
    raise UserError("the loss is nan: lower the learning rate")


def always_dies(ranks: Ranks, folder: Path) -> None:
    (folder / f"{ranks.rank}.{os.getpid()}").touch()
    dist.barrier()  # all are connected: it is the training that one of them leaves
    if ranks.rank:
        os._exit(9)
    dist.barrier()
