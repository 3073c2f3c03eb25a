"""How sure a score is: intervals, correction, and what `contrasts` is built of (docs/statistics.md).

Everything works on songs, the unit that was sampled: segments of one song are no new evidence. A
cell was trained several times, and another training would give another figure. Macro F is over all K
classes, absent ones included, as in `metrics`.

An interval draws songs, the mean over the repeats, and adds the chance of training by its own
variance, which `spreads` estimates from all cells of one kind. Both happen on a scale without ends
(the logit of F, Fisher's z of a difference), so that no interval leaves the possible range.

Shapes: S songs, R repeats, K classes, D draws. Decisions are integer codes in 0..K-1.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from recitative.errors import UserError
from recitative.evaluation.metrics import Floats, macro_f1_from_confusion

Resampled = Literal["songs and repeats", "songs"]
Name = TypeVar("Name", bound=Hashable)

DRAWS = 2000
CHUNK = 4_000_000  # numbers held at once by a draw-by-song array: 32 MB
LEVEL = 0.05  # a difference counts at a corrected p of at most this
MOST_VALUES = 13  # 8,191 subsets
EDGE = 1e-9  # a drawn F or difference stays this far from the ends, whose logit is infinite


@dataclass(frozen=True)
class Estimate:
    """A macro F with its 95 % interval, each in [0, 1]."""

    value: float  # mean over the repeats
    low: float
    high: float
    resampled: Resampled  # "songs" where there was one repeat only


@dataclass(frozen=True)
class Spread:
    """How much the trainings of one kind of cell vary, what the choice of songs adds taken off."""

    kind: Hashable
    variance: float  # of one training's macro F, at least 0
    freedom: int  # degrees of freedom behind it; 0: one repeat, nothing is known

    def __post_init__(self) -> None:
        if not self.freedom and self.variance:
            raise UserError(f"{self.kind}: a variance of trainings without repeats; evaluate anew")


def spreads(
    cells: Mapping[Name, "Decisions"], kind: Callable[[Name], Hashable]
) -> dict[Name, Spread]:
    """The spread of each cell's kind, pooled over all cells of the kind: more than a pair's own.

    Two repeats of one cell say next to nothing about the variance between trainings (one degree of
    freedom); R repeats of C cells have C (R - 1).
    """
    groups: dict[Hashable, list[Name]] = defaultdict(list)
    for name in cells:
        groups[kind(name)].append(name)
    found: dict[Name, Spread] = {}
    for group, names in groups.items():
        freedom = sum(cells[name].repeats - 1 for name in names)
        left = sum((cells[name].repeats - 1) * cells[name].between() for name in names)
        spread = Spread(group, max(0.0, left / freedom) if freedom else 0.0, freedom)
        found |= dict.fromkeys(names, spread)
    return found


def training_noise(
    parts: Iterable[tuple[Spread, float]], draws: int, rng: np.random.Generator
) -> Floats | float:
    """What the chance of training adds to each of (D,) draws; 0 where no cell has repeats.

    `parts` has each cell's spread and its weight² / R. Student's t, with Satterthwaite's (1946)
    degrees of freedom over the kinds.
    """
    by_kind: dict[Spread, float] = defaultdict(float)
    for spread, share in parts:
        by_kind[spread] += spread.variance * share
    total = sum(by_kind.values())
    if not total:
        return 0.0
    freedom = total**2 / sum(v**2 / one.freedom for one, v in by_kind.items() if v)
    return np.asarray(math.sqrt(total) * rng.standard_t(freedom, size=draws))


def widening(songs: int, sets: int = 1) -> float:
    """By how much the percentiles of a bootstrap over few songs are too close (Hesterberg 2015)."""
    freedom = songs - sets
    if freedom < 1:
        return 1.0
    student = float(stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975))
    return math.sqrt(songs / freedom) * student


def bootstrap_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    spread: Spread | None = None,
) -> Estimate:
    """95 % interval of one cell's macro F over songs and trainings, inside [0, 1].

    On the logit scale: the draws over songs, widened for few songs, plus the chance of training. Macro F
    of few songs is too low on average, and more so where a class is missing in a draw: the upper end
    has that taken off. The lower one keeps it, since a class of one song says nothing. Where every
    decision is right, or every one wrong, no draw differs: the interval is then the exact binomial
    one of the songs. Codes are (S,) true and (R, S) predicted ones; `draws` at least 100; `spread` that
    of the cell's kind, else from its own repeats. One repeat says nothing about trainings.

    Raises:
        UserError: shapes or codes do not fit, or there are too few draws.
    """
    cell = Decisions.of(true, predicted, classes)
    f1 = np.concatenate(
        [
            cell.macro_f1(weights).mean(axis=1)
            for weights in song_draws(len(cell.hits), cell.width, draws, rng)
        ]
    )
    known = spread or spreads({"": cell}, lambda name: name)[""]
    both = cell.repeats > 1 and known.freedom > 0
    resampled: Resampled = "songs and repeats" if both else "songs"
    value, songs = cell.observed(), len(cell.hits)
    if not EDGE < value < 1 - EDGE:
        end = 0.025 ** (1 / songs)
        low, high = (0.0, 1 - end) if value < EDGE else (end, 1.0)
        return Estimate(value, low, high, resampled)
    centre, width = special.logit(value), widening(songs)
    logits = centre + width * (special.logit(f1.clip(EDGE, 1 - EDGE)) - centre)
    if both:
        noise = training_noise([(known, 1 / cell.repeats)], draws, rng)
        logits = logits + noise / (value * (1 - value))
    low, high = interval(logits, 0.025)
    high += width * max(0.0, centre - special.logit(f1.mean()))
    return Estimate(value, float(special.expit(low)), float(special.expit(high)), resampled)


def bonferroni(p: float, family: int) -> float:
    """A p corrected for a family of stated size: it depends on nothing else that was tested.

    Raises:
        UserError: `p` is no probability.
    """
    if not 0 <= p <= 1:
        raise UserError(f"p-value {p}: must lie in [0, 1]; evaluate anew")
    return min(1.0, family * p)


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

    def influence(self) -> Floats:
        """How each song moves each repeat's macro F, (S, R): S - 1 times what F loses without it."""
        without = self.f1_of_counts(self.hits.sum(axis=0) - self.hits)
        return (len(self.hits) - 1) * (self.by_repeat() - without)

    def song_noise(self) -> float:
        """S times the variance between repeats that the songs alone make: each repeat errs on others.

        The jackknife's (Efron and Stein 1981); it comes out too large by about K songs of S, measured in
        `benchmarks/coverage.py`, and is made smaller by that. 0 with one repeat.
        """
        songs = len(self.hits)
        if self.repeats < 2 or songs <= self.classes:
            return 0.0
        variance = self.influence().var(axis=1, ddof=1).sum() / (songs - 1)
        return float(variance * (1 - self.classes / songs))

    def between(self) -> float:
        """Variance between repeats less what the songs make of it; may be below 0. 0 with one repeat."""
        if self.repeats < 2:
            return 0.0
        return float(self.by_repeat().var(ddof=1)) - self.song_noise() / len(self.hits)

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


def subset_means(values: Floats) -> Floats:
    """The means of all nonempty subsets of (N,) values; of 9,999 by chance where N is above 13.

    The middle of the values lies equally likely between any two neighbours of them (Hartigan 1969).
    """
    if len(values) > MOST_VALUES:
        chosen = np.random.default_rng(0).random((9999, len(values))) < 0.5
        chosen = chosen[chosen.any(axis=1)]
    else:
        masks = np.arange(1, 2 ** len(values))[:, None]
        chosen = (masks >> np.arange(len(values)) & 1).astype(bool)
    return np.asarray(chosen @ values / chosen.sum(axis=1))


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
