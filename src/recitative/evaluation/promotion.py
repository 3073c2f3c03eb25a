"""What a model must show before it becomes champion, and what is only said beside it.

The choice among candidates is made on validation; this looks at the test songs of the one that was
chosen, to decide whether it may be called a champion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recitative.evaluation.contrasts import paired_difference
from recitative.evaluation.metrics import decide, score, to_song_level
from recitative.evaluation.statistics import bootstrap_interval, majority_macro_f1

CLASSES = 4
ENOUGH_SONGS = 10  # fewer shared test songs say nothing about which of two models is better


@dataclass(frozen=True)
class Gate:
    """One condition: whether it holds, and the numbers why."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Songs:
    """One model's song-level decisions, by the content hash of each song's file."""

    digests: tuple[str, ...]
    true: np.ndarray
    predicted: np.ndarray

    @staticmethod
    def of(predictions: pd.DataFrame, digests: Mapping[str, str]) -> "Songs":
        """From one repeat's segment predictions and each clip's hash."""
        songs = to_song_level(predictions)
        true, predicted = decide(songs, "quadrant")
        return Songs(tuple(digests[clip] for clip in songs["clip"]), true, predicted)

    def at(self, digests: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Truth and decisions of these songs, in this order."""
        row = {digest: index for index, digest in enumerate(self.digests)}
        rows = [row[digest] for digest in digests]
        return self.true[rows], self.predicted[rows]


def gates(
    candidate: Songs,
    champion: Songs | None,
    leaks: Sequence[str],
    min_recall: float,
    draws: int,
    rng: np.random.Generator,
) -> list[Gate]:
    """Every condition of a promotion, in order."""
    scored = score(candidate.true, candidate.predicted, "quadrant")
    interval = bootstrap_interval(
        candidate.true, candidate.predicted[None], CLASSES, rng, draws=draws
    )
    majority = majority_macro_f1(candidate.true, CLASSES)
    weakest = int(scored.recall.argmin())
    recall = float(scored.recall[weakest])
    return [
        Gate(
            "certificate",
            not leaks,
            "the leak certificate is clean" if not leaks else f"{len(leaks)} leaks: {leaks[0]}",
        ),
        Gate(
            "above_majority",
            interval.low > majority,
            f"macro F {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] on "
            f"{len(candidate.true)} songs; the majority class has {majority:.3f}",
        ),
        Gate(
            "min_recall",
            recall >= min_recall,
            f"lowest recall {recall:.3f} ({scored.labels[weakest]}); at least {min_recall:g} asked",
        ),
        _against_champion(candidate, champion, draws, rng),
    ]


def _against_champion(
    candidate: Songs, champion: Songs | None, draws: int, rng: np.random.Generator
) -> Gate:
    name = "not_below_champion"
    if champion is None:
        return Gate(name, True, "there is no champion yet")
    shared = [digest for digest in candidate.digests if digest in set(champion.digests)]
    if len(shared) < ENOUGH_SONGS:
        return Gate(
            name, True, f"not comparable: only {len(shared)} test songs are the champion's too"
        )
    true, ours = candidate.at(shared)
    _, theirs = champion.at(shared)
    found = paired_difference(true, ours[None], theirs[None], CLASSES, rng, draws=draws)
    return Gate(
        name,
        found.high >= 0,
        f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] points of macro F against the "
        f"champion on {len(shared)} shared test songs",
    )


def beside(
    candidate: Songs, control: Songs, name: str, draws: int, rng: np.random.Generator
) -> Gate:
    """Whether the candidate beats a control on the same songs: said beside it, never a gate."""
    _, theirs = control.at(candidate.digests)
    found = paired_difference(
        candidate.true, candidate.predicted[None], theirs[None], CLASSES, rng, draws=draws
    )
    return Gate(
        f"beats_{name}",
        found.low > 0,
        f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] points of macro F against {name}",
    )
