"""What a model must show before it becomes champion, and what is only reported next to that.

The candidate is chosen on validation. This looks at its test songs, to decide whether it may be
called champion: only where it is better than the present one on the same songs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recitative.evaluation.contrasts import contrast, pair
from recitative.evaluation.metrics import LABELS, PROBABILITIES, TASKS, decide, score, to_song_level
from recitative.evaluation.statistics import Estimate, bootstrap_interval

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


def averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """An ensemble's predictions: the mean of one cell's probabilities, segment by segment.

    Under folds a song is tested in one fold only, so that no network has a say on a song that it was
    trained on. The columns stay; `repeat` is 0.
    """
    keys = [name for name in predictions.columns if name not in ("repeat", *PROBABILITIES)]
    each = predictions.groupby(keys, sort=False, dropna=False, as_index=False)
    mean = each[list(PROBABILITIES)].mean().assign(repeat=0)
    return mean[list(predictions.columns)]


def task_scores(
    predictions: pd.DataFrame, draws: int, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Macro F of each task at song level, of one model's predictions, with its interval."""
    songs = to_song_level(predictions)
    decided = {task: decide(songs, task) for task in TASKS}
    return {
        task: bootstrap_interval(true, predicted[None], len(LABELS[task]), rng, draws=draws)
        for task, (true, predicted) in decided.items()
    }


def gates(
    candidate: Songs, leaks: Sequence[str], min_recall: float, draws: int, rng: np.random.Generator
) -> list[Gate]:
    """The conditions that a candidate meets by itself, in order."""
    scored = score(candidate.true, candidate.predicted, "quadrant")
    interval = bootstrap_interval(
        candidate.true, candidate.predicted[None], CLASSES, rng, draws=draws
    )
    largest = np.full_like(candidate.true, np.bincount(candidate.true).argmax())
    majority = score(candidate.true, largest, "quadrant").macro.f1
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
    ]


def above_champion(
    candidate: Songs, champion: Songs | None, draws: int, rng: np.random.Generator
) -> Gate:
    """Whether the candidate is better than the champion on the songs that both were tested on."""
    name = "above_champion"
    if champion is None:
        return Gate(name, True, "there is no champion yet")
    known = set(champion.digests)
    shared = [digest for digest in candidate.digests if digest in known]
    if len(shared) < ENOUGH_SONGS:
        return Gate(
            name,
            False,
            f"the champion was tested on {len(shared)} of these songs; at least {ENOUGH_SONGS} are "
            "needed to compare",
        )
    true, ours = candidate.at(shared)
    _, theirs = champion.at(shared)
    found = contrast(pair(true, ours[None], theirs[None]), CLASSES, rng, draws=draws)
    scores = [float(score(true, one, "quadrant").macro.f1) for one in (ours, theirs)]
    return Gate(
        name,
        found.low > 0,
        f"macro F {scores[0]:.3f} against {scores[1]:.3f} of the champion on {len(shared)} shared test "
        f"songs: {found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] points, which must be above 0",
    )


def beside(
    candidate: Songs, control: Songs, name: str, draws: int, rng: np.random.Generator
) -> Gate:
    """Whether the candidate beats a control on the same songs: reported, never a condition."""
    _, theirs = control.at(candidate.digests)
    sets = pair(candidate.true, candidate.predicted[None], theirs[None])
    found = contrast(sets, CLASSES, rng, draws=draws)
    return Gate(
        f"beats_{name}",
        found.low > 0,
        f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] points of macro F against {name}",
    )
