"""Which music the embedded corpus has: every clip's quadrant, artist, arousal and valence."""

from dataclasses import dataclass

import numpy as np

from recitative.corpora.base import Language
from recitative.vocabulary import QUADRANTS, SIGNS

# 4Q-Emotion is balanced; CH-818's shares are the supports of its test set (protocol, C14).
SHARES = {"eng": (1, 1, 1, 1), "man": (118, 39, 64, 27)}


@dataclass(frozen=True)
class PlannedClip:
    """One piece of music to be composed."""

    index: int  # its place in the set, counted from 0
    quadrant: str
    artist: int
    arousal: float  # in [-1, 1]
    valence: float


def plan_clips(
    language: Language, clips: int, artists: int, rng: np.random.Generator
) -> list[PlannedClip]:
    """Draw the plan of a music set: `clips` pieces by index, in classes as SHARES has them.

    The artists take turns, quadrant after quadrant: each has clips in several quadrants, and a
    quadrant of n clips has min(n, artists) artists. The order in the set is shuffled.
    """
    counts = apportion(clips, SHARES[language])
    quadrants = [q for q, count in zip(QUADRANTS, counts, strict=True) for _ in range(count)]
    turns = rng.permutation(artists)
    places = rng.permutation(clips)
    plan = []
    for turn, (quadrant, place) in enumerate(zip(quadrants, places, strict=True)):
        extent = np.clip(rng.normal(0.5, 0.2, size=2), 0.12, 1)
        arousal, valence = (float(value) for value in extent * SIGNS[quadrant])
        plan.append(PlannedClip(int(place), quadrant, int(turns[turn % artists]), arousal, valence))
    return sorted(plan, key=lambda clip: clip.index)


def apportion(total: int, shares: tuple[int, ...]) -> list[int]:
    """Whole numbers that add up to `total`, in the proportion of `shares` (largest remainders)."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
