"""Draw a part of the groups so that every class comes near its share.

Groups are whole: all clips of a speaker or an artist go one way, and so do groups that hold the
same audio under two names.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from recitative.corpora.balance import total_seconds
from recitative.corpora.base import MUSIC_ROLES, IndexedClip
from recitative.errors import UserError
from recitative.vocabulary import QUADRANTS

CANDIDATES = 64  # drawn at random for every part
SLACK = 0.005  # the first candidate this near to the best one is taken: seeds keep their say
UNCOVERED = 1e3  # loss of a class that is missing from a part: above any deviation of shares


@dataclass(frozen=True)
class Unit:
    """Clips that must stay together, and what they weigh in each class."""

    ids: tuple[str, ...]
    weight: np.ndarray  # (classes,): clips a quadrant (music), or seconds in one class (speech)


def group_units(
    role: str, clips: Sequence[IndexedClip], group_by: Literal["group", "clip"]
) -> list[Unit]:
    """The groups (or single clips) of a role, merged where they share the same audio.

    In the order of their first ids, so that a draw does not depend on the order of `clips`.
    """
    ordered = sorted(clips, key=lambda clip: clip.id)
    together = DisjointSet(range(len(ordered)))
    first: dict[tuple[str, str], int] = {}
    for i, clip in enumerate(ordered):
        keys = [("audio", clip.digest)]
        if group_by == "group":
            keys.append(("group", clip.group))
        for key in keys:
            together.merge(i, first.setdefault(key, i))
    members: dict[int, list[IndexedClip]] = defaultdict(list)
    for i, clip in enumerate(ordered):
        members[together[i]].append(clip)
    return [Unit(tuple(clip.id for clip in unit), _weight(role, unit)) for unit in members.values()]


def _weight(role: str, clips: Sequence[IndexedClip]) -> np.ndarray:
    if role not in MUSIC_ROLES:
        return np.array([total_seconds(clips)])
    return np.array([sum(clip.quadrant == q for clip in clips) for q in QUADRANTS], dtype=float)


def draw(
    role: str,
    units: Sequence[Unit],
    share: float,
    rng: np.random.Generator,
    least: int = 1,
    leave: int = 1,
) -> tuple[list[Unit], list[Unit]]:
    """Draw `share` of the units, class by class, and give them and the rest.

    Many random orders are walked through side by side; each takes a unit where that brings the
    weight of the classes nearer to `share` of theirs. The draw is the first that is about as near
    as the best: the very best would be the same for every seed where groups are few. At least
    `least` units of each class are drawn, and `leave` are left, one for each part still to be drawn.

    Raises:
        UserError: a class has too few units, or they mix the classes so that no draw was found.
    """
    weight = np.stack([unit.weight for unit in units])  # (units, classes)
    weight = weight[:, weight.sum(0) > 0]
    holds = weight > 0
    check_groups(role, units, least + leave)
    shares = weight / weight.sum(0)
    shares = np.column_stack([shares, weight.sum(1) / weight.sum()])  # and of the whole
    orders = rng.permuted(np.tile(np.arange(len(units)), (CANDIDATES, 1)), axis=1)
    taken = np.zeros((CANDIDATES, len(units)), dtype=bool)
    drawn = np.zeros((CANDIDATES, shares.shape[1]))  # share of each class drawn so far
    counts = np.zeros((CANDIDATES, weight.shape[1]), dtype=int)  # units of each class drawn so far
    each = np.arange(CANDIDATES)

    def loss(drawn: np.ndarray, counts: np.ndarray) -> np.ndarray:
        missing = np.maximum(least - counts, 0).sum(1)
        return np.asarray(((drawn - share) ** 2).sum(1) + UNCOVERED * missing)

    now = loss(drawn, counts)
    for unit in orders.T:  # (candidates,): the next unit of every candidate
        more, held = drawn + shares[unit], counts + holds[unit]
        then = loss(more, held)
        enough = ((holds.sum(0) - held >= leave) | ~holds[unit]).all(1)
        take = enough & (then < now)
        drawn, counts = np.where(take[:, None], more, drawn), np.where(take[:, None], held, counts)
        now = np.where(take, then, now)
        taken[each, unit] = take
    if now.min() >= UNCOVERED:
        raise UserError(
            f"index/{role}.csv: its groups mix the classes so that no draw puts every class into "
            "every part; add groups, or set split.group_by: clip"
        )
    picked = taken[int((np.sqrt(now) <= np.sqrt(now.min()) + SLACK).argmax())]
    return (
        [unit for unit, there in zip(units, picked, strict=True) if there],
        [unit for unit, there in zip(units, picked, strict=True) if not there],
    )


def check_groups(role: str, units: Sequence[Unit], needed: int) -> None:
    """Raise UserError where a class has fewer groups than the parts `needed` of them."""
    counts = (np.stack([unit.weight for unit in units]) > 0).sum(0)
    for number, count in enumerate(counts.tolist()):
        if 0 < count < needed:
            music = role in MUSIC_ROLES
            what = f"class {QUADRANTS[number]}" if music else "the role"
            fewer = "lower split.folds, or " if music and needed > 3 else ""
            raise UserError(
                f"index/{role}.csv: {what} has {count} group(s), fewer than the {needed} that its "
                f"parts need; {fewer}add clips by other {'artists' if music else 'speakers'}"
            )
