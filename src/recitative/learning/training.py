"""One training loop, for pretraining and for transfer, driven from outside.

`fit` is a generator of epochs: the stage logs each one, a study may stop it, a test takes two. It
knows no path but its checkpoint's, no MLflow and no Optuna.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recitative.errors import UserError
from recitative.learning.checkpoint import Checkpoint, adam_tensors, restore_adam
from recitative.learning.compute import Compute
from recitative.learning.config import FitConfig
from recitative.learning.ranks import LEAST, Ranks, Step
from recitative.seeding import derive_rng, derive_seed

Batch = dict[str, Tensor]
ALONE = Ranks()
_SCHEDULES: dict[str, Callable[[float], float]] = {  # of the share of the updates that are done
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


class Diverged(UserError):
    """A loss is no longer finite."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Metrics are means over examples; `best`: so far, on validation loss.

    Without a validation part `validation` is empty, and no epoch is the best.
    """

    index: int
    learning_rate: float  # at its last update
    train: dict[str, float]
    validation: dict[str, float]
    best: bool
    seconds: float

    def metrics(self) -> dict[str, float]:
        """Everything numeric, flat, for a tracker."""
        flat = {f"train_{name}": value for name, value in self.train.items()}
        flat |= {f"validation_{name}": value for name, value in self.validation.items()}
        return flat | {"learning_rate": self.learning_rate, "epoch_seconds": self.seconds}

    def row(self) -> dict[str, float | int]:
        """One flat row of history.csv; without its wall time, so that a repeat has equal bytes."""
        metrics = self.metrics()
        del metrics["epoch_seconds"]
        return {"epoch": self.index, **metrics, "best": int(self.best)}


@dataclass(frozen=True)
class Batches:
    """Examples 0..count-1 that `take` turns into a batch of tensors on the CPU.

    An epoch visits every example once; the last batch is short rather than dropped (C20).
    """

    count: int
    take: Callable[[np.ndarray], Batch]

    def epoch(self, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Batches in a random order, or in order where `rng` is None."""
        for batch, _ in self.shares(batch_size, rng):
            yield batch

    def shares(
        self, batch_size: int, rng: np.random.Generator | None, ranks: Ranks = ALONE
    ) -> Iterator[tuple[Batch, float]]:
        """This process's share of each batch, and its weight in the mean over all processes."""
        order = np.arange(self.count) if rng is None else rng.permutation(self.count)
        least = 1 if rng is None else LEAST * ranks.count
        for part in np.split(order, self.cuts(batch_size, least)):
            mine = np.sort(part)[ranks.rank :: ranks.count]
            yield self.take(mine), len(mine) * ranks.count / len(part)

    def cuts(self, batch_size: int, least: int) -> list[int]:
        """Where one batch ends and the next begins.

        One example alone has no batch statistics: fewer than `least` join the batch before them.
        """
        cuts = list(range(batch_size, self.count, batch_size))
        return cuts[:-1] if cuts and self.count - cuts[-1] < least else cuts


class _Means:
    """Running means of named losses, weighted by examples."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.examples = 0

    def add(self, losses: dict[str, Tensor], examples: int) -> None:
        self.examples += examples
        for name, value in losses.items():
            term = value.detach().double() * examples
            self.sums[name] = self.sums[name] + term if name in self.sums else term

    def value(self, ranks: Ranks = ALONE) -> dict[str, float]:
        mine = torch.stack([*self.sums.values()])
        counted = torch.tensor([self.examples], dtype=mine.dtype, device=mine.device)
        *totals, examples = ranks.summed(torch.cat([mine, counted])).tolist()
        return {name: total / examples for name, total in zip(self.sums, totals, strict=True)}


def fit(
    model: nn.Module,
    train: Batches,
    validation: Batches | None,
    config: FitConfig,
    compute: Compute,
    seed: int,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Epoch]:
    """Train `model`, yielding each epoch; the chosen epoch's weights are loaded when it ends.

    `model.losses(batch)` gives `loss` and any other mean. Every epoch has its own random stream,
    so that a training resumed from `checkpoint` ends in the same weights as one never killed; the
    epochs before the checkpoint are yielded again first. Of several `ranks` each yields every epoch;
    the first validates, writes the checkpoints, and has the chosen weights. Without a `validation`
    part nothing is chosen: all epochs are trained, and the last one's weights stay.

    Raises:
        UserError: there is nothing to train or to validate on.
        Diverged: the loss is no longer finite.
    """
    checked = validation.count if validation else None
    if train.count < LEAST * ranks.count or checked == 0:
        raise UserError(
            f"{train.count} training and {checked or 0} validation examples: too few to train; "
            "raise balance.*_hours or give longer clips"
        )
    all_updates = config.epochs * (1 + len(train.cuts(config.batch_size, LEAST * ranks.count)))
    compute.place(model)
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=config.learning_rate, fused=True
    )
    losses_of: Step = model.losses  # type: ignore[assignment]
    step = ranks.step(model, torch.compile(losses_of) if compute.compiled else losses_of)
    best: dict[str, Tensor] = {}
    state: dict[str, Any]
    lowest, stale, updates, history = math.inf, 0, 0, []
    resumed = checkpoint.load() if checkpoint else None
    if resumed:
        tensors, state = resumed
        model.load_state_dict(tensors["model"])
        best = tensors.get("best", {})
        restore_adam(optimizer, tensors["adam"])
        lowest, stale, updates = state["lowest"], state["stale"], state["updates"]
        history = [Epoch(**epoch) for epoch in state["history"]]
        yield from history
    for index in range(len(history), config.epochs):
        if config.patience and stale >= config.patience:
            break
        started = time.perf_counter()
        torch.manual_seed(derive_seed(seed, "epoch", index, *([ranks.rank] if ranks.rank else [])))
        rng = derive_rng(seed, "order", index)
        model.train()
        means, rate = _Means(), config.learning_rate
        for batch, weight in train.shares(config.batch_size, rng, ranks):
            n = updates if config.decay_per == "update" else index
            rate = config.learning_rate / (1 + config.decay * n)
            rate *= _SCHEDULES[config.schedule](updates / all_updates)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with compute.autocast():
                losses = step(compute.batch(batch))
            optimizer.zero_grad(set_to_none=True)
            (losses["loss"] if ranks.alone else losses["loss"] * weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            means.add(losses, len(next(iter(batch.values()))))
            updates += 1
        trained = means.value(ranks)
        validated = ranks.from_first(
            lambda: (
                validate(model, validation, config.batch_size, compute, seed) if validation else {}
            )
        )
        for part, means_of in (("training", trained), ("validation", validated)):
            if not math.isfinite(loss := means_of.get("loss", 0.0)):
                raise Diverged(
                    f"the {part} loss is {loss} after epoch {index}: "
                    f"lower the learning rate ({config.learning_rate:g})"
                )
        loss = validated.get("loss", math.inf)
        improved, is_best = loss < lowest * (1 - config.min_improvement), loss < lowest
        stale = 0 if improved or not history or not validation else stale + 1
        if is_best:
            lowest = loss
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        seconds = time.perf_counter() - started
        history.append(Epoch(index, rate, trained, validated, is_best, seconds))
        if checkpoint and not ranks.rank and checkpoint.due() and index + 1 < config.epochs:
            state = {"lowest": lowest, "stale": stale, "updates": updates}
            state["history"] = [asdict(epoch) for epoch in history]
            checkpoint.save(
                {"model": model.state_dict(), "best": best, "adam": adam_tensors(optimizer)}, state
            )
        yield history[-1]
    if config.keep == "best" and validation:
        model.load_state_dict(best)
    model.eval()


@torch.no_grad()
def validate(
    model: nn.Module, batches: Batches, batch_size: int, compute: Compute, seed: int
) -> dict[str, float]:
    """Mean losses in eval mode over all examples, with the same random stream each time.

    The examples are mixed as in training, in one order for all epochs: a batch in the store's order
    holds one or two clips, too few for negatives of another clip, and classes to weigh.
    """
    model.eval()
    torch.manual_seed(derive_seed(seed, "validation"))
    means = _Means()
    for batch in batches.epoch(batch_size, derive_rng(seed, "validation order")):
        with compute.autocast():
            means.add(model.losses(compute.batch(batch)), len(next(iter(batch.values()))))  # type: ignore[operator]
    return means.value()
