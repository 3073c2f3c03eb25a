"""How sure a score is: intervals, correction, and what `contrasts` is built of.

Everything works on songs, the unit that was sampled: segments of one song are no new evidence. A
cell was trained several times, and another training would give another figure, so intervals
resample songs *and* repeats. Macro F is over all K classes, absent ones included, as in `metrics`.

Shapes: S songs, R repeats, K classes, D draws. Decisions are integer codes in 0..K-1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recitative.errors import UserError
from recitative.evaluation.metrics import Floats, macro_f1_from_confusion

Resampled = Literal["songs and repeats", "songs"]

DRAWS = 2000
CHUNK = 4_000_000  # numbers held at once by a draw-by-song array: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A macro F with its 95 % interval, each in [0, 1]."""

    value: float  # mean over the repeats
    low: float
    high: float
    resampled: Resampled  # "songs" where there was one repeat only


def bootstrap_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> Estimate:
    """95 % percentile interval of one cell's macro F, songs and repeats resampled.

    A draw takes songs with replacement, the same for every repeat, and repeats with replacement
    (Davison and Hinkley 1997, section 3.8). Of R repeats R - 1 are drawn, which makes the variance
    between them unbiased (Rao and Wu 1988): with R of 4 it would be a quarter too small. One repeat
    says nothing about repeats: then only songs are drawn.

    Codes are (S,) true and (R, S) predicted ones; `draws` at least 100.

    Raises:
        UserError: shapes or codes do not fit, or there are too few draws.
    """
    cell = Decisions.of(true, predicted, classes)
    f1 = np.concatenate(
        [cell.macro_f1(weights) for weights in song_draws(len(cell.hits), cell.width, draws, rng)]
    )
    both = cell.repeats > 1
    if both:
        chosen = rng.integers(cell.repeats, size=(draws, cell.repeats - 1))
        f1 = np.take_along_axis(f1, chosen, axis=1)
    low, high = interval(f1.mean(axis=1), 0.025)
    return Estimate(cell.observed(), low, high, "songs and repeats" if both else "songs")


def holm(p_values: ArrayLike) -> Floats:
    """Holm's correction over one family of (M,) p-values, by statsmodels, in the same order.

    Raises:
        UserError: a value is no probability.
    """
    from statsmodels.stats.multitest import multipletests  # 1 s to import

    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"p-values {values.tolist()}: each must lie in [0, 1]; leave out missing")
    if values.size == 0:
        return values
    return np.asarray(multipletests(values, method="holm")[1], dtype=np.float64)


def songs_needed(low: float, high: float, songs: int, target: float) -> int | None:
    """How many test songs would decide what these could not; None where no number does.

    A half-width shrinks with the square root of the songs. The part that comes from the repeats
    does not, so this is the least number; more repeats may be needed as well. `target` is the
    half-width that decides, in the interval's unit: |effect| to tell a difference from 0,
    margin - |effect| to call two cells similar.

    Raises:
        UserError: the interval is reversed or no number, or there is no song.
    """
    if not low <= high or songs < 1:
        raise UserError(
            f"interval [{low}, {high}] of {songs} songs: not an interval; evaluate anew"
        )
    if not target > 0:
        return None
    return max(1, math.ceil(songs * math.pow((high - low) / 2 / target, 2)))


@dataclass(frozen=True)
class Decisions:
    """One cell's decisions as what a weighted count of songs needs: a one-hot (true, predicted).

    `hits` is (S, R·K·K); weights (D, S) @ hits are the D draws' confusion matrices of all repeats,
    exact in float64, by one matrix product instead of D × R counts.
    """

    hits: Floats
    repeats: int
    classes: int

    @classmethod
    def of(cls, true: ArrayLike, predicted: ArrayLike, classes: int) -> "Decisions":
        """From (S,) true and (R, S) predicted codes; UserError where they do not fit."""
        truth, decided = np.asarray(true), np.asarray(predicted)
        if truth.ndim != 1 or decided.ndim != 2 or decided.shape[1:] != truth.shape:
            raise UserError(
                f"true {truth.shape} and predicted {decided.shape}: expected (songs,) and "
                "(repeats, songs) over the same songs"
            )
        if not truth.size or not decided.size:
            raise UserError(f"{truth.size} songs in {len(decided)} repeats: nothing to evaluate")
        for name, codes in (("true", truth), ("predicted", decided)):
            if not np.isin(codes, np.arange(classes)).all():
                raise UserError(f"{name}: a code outside 0..{classes - 1}, or a NaN; evaluate anew")
        pairs = (truth * classes + decided).astype(np.int64)
        hits = np.eye(classes * classes)[pairs.T].reshape(truth.size, -1)
        return cls(hits, len(decided), classes)

    @property
    def width(self) -> int:
        """R·K·K."""
        return self.repeats * self.classes**2

    def f1_of_counts(self, counts: Floats) -> Floats:
        """(D, R·K·K) counts to the macro F of every draw and repeat, (D, R)."""
        return macro_f1_from_confusion(counts.reshape(len(counts), -1, self.classes, self.classes))

    def macro_f1(self, weights: Floats) -> Floats:
        """Macro F of every draw and repeat, (D, R), of weights (D, S)."""
        return self.f1_of_counts(weights @ self.hits)

    def by_repeat(self) -> Floats:
        """Macro F of the songs as they are, (1, R)."""
        return self.macro_f1(np.ones((1, len(self.hits))))

    def observed(self) -> float:
        """Macro F of the songs as they are, the mean over the repeats."""
        return float(self.by_repeat().mean())

    def tiled(self, repeats: int) -> Floats:
        """`hits` with the repeats over and over, up to `repeats` of them."""
        return np.tile(self.hits, repeats // self.repeats)


def song_draws(songs: int, width: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each song is in each draw, (≤ D, S) at a time, together D."""
    if draws < 100:
        raise UserError(f"{draws} bootstrap draws: too few for a 95 % interval; 2000 is usual")
    chunk = max(1, CHUNK // max(songs, width))
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        chosen = rng.integers(songs, size=(count, songs))
        flat = chosen + songs * np.arange(count)[:, None]
        counts = np.bincount(flat.ravel(), minlength=count * songs)
        yield counts.reshape(count, songs).astype(np.float64)


def interval(values: Floats, tail: float) -> tuple[float, float]:
    """The order statistics that leave `tail` on either side.

    Chosen so that a bound of 0 lies outside exactly when `tail_p` is at most `tail`: interval and
    p-value never contradict each other.
    """
    ordered = np.sort(values)
    k = max(1, math.floor(tail * (len(ordered) + 1) + 1e-9))
    return float(ordered[k - 1]), float(ordered[-k])


def tail_p(beyond: NDArray[np.bool_]) -> float:
    """The share of draws that are `beyond`, never 0 (Davison and Hinkley 1997, section 4.2)."""
    return float((np.count_nonzero(beyond) + 1) / (len(beyond) + 1))
