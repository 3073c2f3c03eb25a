"""Balance by measured duration: as many hours of every corpus as the experiment asks for.

The paper compares corpora of equal size ("3 h of each of the five sets", ICASSP 2021, section 3),
so what counts is seconds of audio as measured, never a number of files.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from recitative.config import Section
from recitative.corpora.base import IndexedClip
from recitative.seeding import derive_rng


class BalanceConfig(Section):
    """Hours of audio a role; None takes all there is."""

    speech_hours: float | None = Field(gt=0)  # h, of each speech role, the mix included
    music_hours: float | None = Field(gt=0)  # h, of each music role


def total_seconds(clips: Sequence[IndexedClip]) -> float:
    """Duration of all `clips` together, in seconds."""
    return float(sum(clip.seconds for clip in clips))


def balance(
    role: str, clips: Sequence[IndexedClip], hours: float | None, tolerance: float, seed: int
) -> tuple[list[IndexedClip], list[str]]:
    """Choose clips of one role that last `hours` together; None takes every clip.

    Returns:
        The chosen clips sorted by id, and a note where `hours` is missed by more than `tolerance`,
        which is relative to them.
    """
    ordered = sorted(clips, key=lambda clip: clip.id)
    if hours is None:
        return ordered, []
    wanted, there = hours * 3600, total_seconds(ordered)
    if there <= wanted * (1 + tolerance):
        short = there < wanted * (1 - tolerance)
        note = f"{role}: {hours:.4g} h asked, {there / 3600:.4g} h measured: every clip is used"
        return ordered, [note] if short else []
    chosen = choose_seconds(ordered, wanted, derive_rng(seed, "balance", role))
    got = total_seconds(chosen)
    if abs(got - wanted) <= wanted * tolerance:
        return chosen, []
    return chosen, [
        f"{role}: {hours:.4g} h asked, {got / 3600:.4g} h chosen: its clips are too long to come "
        f"within {tolerance:.2%}"
    ]


def choose_seconds(
    clips: Sequence[IndexedClip], seconds: float, rng: np.random.Generator
) -> list[IndexedClip]:
    """Choose clips that last `seconds` together, as nearly as one last exchange of clips allows.

    The quadrants keep their shares of the duration, and within a quadrant every group gives one
    clip before any group gives a second one, so that speakers and artists stay many. The draw
    follows the order of `clips`, which must not depend on the machine.

    Returns:
        The chosen clips in the order of `clips`; at least one, all where they last less.
    """
    order = _proportional_order(clips, rng)
    lengths = np.array([clips[i].seconds for i in order])
    n = int(np.searchsorted(np.cumsum(lengths), seconds, side="right"))
    if n < len(order):
        leaves, enters = _last_exchange(lengths[:n], lengths[n:], seconds - lengths[:n].sum())
        chosen = [order[i] for i in range(n) if i != leaves]
        if enters is not None:
            chosen.append(order[n + enters])
        order = chosen
    return [clips[i] for i in sorted(order)]


def _proportional_order(clips: Sequence[IndexedClip], rng: np.random.Generator) -> list[int]:
    """An order whose every beginning holds the quadrants in their shares and the groups evenly."""
    turn = rng.permutation(len(clips))
    queues: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in turn:
        queues[clips[i].quadrant or ""][clips[i].group].append(int(i))
    placed: list[tuple[float, str, int]] = []
    for quadrant, groups in sorted(queues.items()):
        rounds = sorted(
            (nth, g, i) for g, queue in enumerate(groups.values()) for nth, i in enumerate(queue)
        )
        length = np.array([clips[i].seconds for _, _, i in rounds])
        middle = (np.cumsum(length) - length / 2) / length.sum()  # share of the quadrant before it
        placed += [(float(m), quadrant, i) for m, (_, _, i) in zip(middle, rounds, strict=True)]
    return [i for _, _, i in sorted(placed)]


def _last_exchange(
    inside: np.ndarray, outside: np.ndarray, gap: float
) -> tuple[int | None, int | None]:
    """Which clip to take out and which to put in, so that `gap` seconds more come nearest to 0."""
    rank = np.argsort(outside, kind="stable")
    ascending = outside[rank]
    leaving = np.append(inside, 0.0)  # the last one stands for: nothing is taken out
    right = np.searchsorted(ascending, leaving + gap)
    alone = abs(gap) if len(inside) else np.inf  # at least one clip is chosen
    best: tuple[float, int | None, int | None] = (float(alone), None, None)
    for neighbour in (right - 1, right):
        entering = np.clip(neighbour, 0, len(ascending) - 1)
        miss = np.abs(gap + leaving - ascending[entering])
        k = int(miss.argmin())
        if miss[k] < best[0]:
            best = (float(miss[k]), k if k < len(inside) else None, int(rank[entering[k]]))
    return best[1], best[2]
