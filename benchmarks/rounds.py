"""Two or more sides measured in turns in one run, so that a busy machine is busy for all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cost:
    """Of one piece of work: CPU seconds of its process, and wall seconds."""

    cpu: float
    wall: float


def timed(work: Callable[[], Any]) -> Cost:
    """What one call costs in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


Costs = dict[str, list[Cost]]


def interleave(sides: Mapping[str, Callable[[], Cost]], rounds: int) -> Costs:
    """Every side once to warm up, then all of them `rounds` times, each round in another order."""
    names = list(sides)
    for name in names:
        sides[name]()
    costs: Costs = {name: [] for name in names}
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            costs[name].append(sides[name]())
    return costs


@dataclass(frozen=True)
class Row:
    """One comparison. Costs are CPU milliseconds a unit; the ratio is the median over rounds."""

    what: str
    against: str
    unit: str
    ours: float
    peer: float
    ratio: float
    low: float  # quartiles of the ratio over rounds
    high: float
    wall_ratio: float
    target: float
    rounds: int

    def as_json(self) -> dict[str, Any]:
        """With 4 digits."""
        return {
            k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(self).items()
        }


def compare(
    costs: Costs, ours: str, peer: str, units: int, what: str, against: str, unit: str,
    target: float, units_of_peer: int = 0,
) -> Row:  # fmt: skip
    """A row from the rounds of two sides that did `units` units of work (the peer others, if said)."""
    peers = units_of_peer or units
    cpu, wall = (
        (np.array([getattr(c, kind) for c in costs[peer]]) / peers)
        / (np.array([getattr(c, kind) for c in costs[ours]]) / units)
        for kind in ("cpu", "wall")
    )
    low, middle, high = np.percentile(cpu, [25, 50, 75])
    return Row(
        what,
        against,
        unit,
        milliseconds(costs[ours], units),
        milliseconds(costs[peer], peers),
        middle,
        low,
        high,
        float(np.median(wall)),
        target,
        len(cpu),
    )


def milliseconds(costs: list[Cost], units: int) -> float:
    """Median CPU milliseconds a unit."""
    return float(np.median([cost.cpu for cost in costs])) / units * 1e3
