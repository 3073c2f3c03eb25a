"""Differences between cells: of one pair, or the mean over several that a claim is about.

A contrast is the mean over music sets of the mean over pairs of cells of F(a) - F(b), in points of
song-level macro F. Pairs on one music set share their songs, and one cell may stand in several
pairs (a control against every pairing), so they are resampled together; music sets are independent.

An interval draws songs for all cells alike, and adds the chance of training by its own variance
(`statistics.spreads`), so that the chance of a song in one repeat, which the songs' draws have already,
does not count twice, as it would if repeats were drawn as they are (Owen 2007, the pigeonhole
bootstrap). A cell with one repeat (a control that knows no chance) is taken as it stands.
docs/statistics.md has the formulas, and how often the interval holds the truth in simulations.

Shapes: S songs of a set, R repeats, D draws, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation.metrics import Codes, Floats
from recitative.evaluation.statistics import (
    CHUNK,
    DRAWS,
    EDGE,
    Decisions,
    Resampled,
    Spread,
    interval,
    song_draws,
    tail_p,
    training_noise,
    widening,
)
from recitative.evaluation.statistics import spreads as pool

MARGIN = 3.0  # points of macro F within which two cells count as similar
POINTS = 100.0  # points of macro F in 1.0


@dataclass(frozen=True)
class SongSet:
    """The cells of a contrast that were tested on the same songs."""

    true: Codes  # (S,) codes
    predicted: Mapping[Any, Codes]  # (R, S) codes of each cell, by any name
    pairs: Sequence[tuple[Any, Any]]  # names (a, b); the contrast is their mean difference

    def weights(self) -> dict[Any, float]:
        """What each cell's F counts in the mean over pairs."""
        found: dict[Any, float] = {}
        for a, b in self.pairs:
            found[a] = found.get(a, 0.0) + 1 / len(self.pairs)
            found[b] = found.get(b, 0.0) - 1 / len(self.pairs)
        return found


@dataclass(frozen=True)
class Contrast:
    """An effect in points of macro F with its 95 % interval, and the draws that it comes from."""

    value: float
    low: float
    high: float
    songs: int  # of all sets together
    resampled: Resampled
    draws: Floats  # (D,) over songs and repeats, each in (-100, 100)

    @property
    def p_repeats(self) -> float:
        """Two-sided p of a difference from 0 under chance among songs and repeats."""
        return min(1.0, 2 * min(tail_p(self.draws <= 0), tail_p(self.draws >= 0)))

    def p_similar(self, margin: float, expected: float = 0.0) -> float:
        """TOST: p of |effect - expected| < margin; below 0.05 the 90 % interval lies inside."""
        off = self.draws - expected
        return max(tail_p(off <= -margin), tail_p(off >= margin))

    def p_apart(self, margin: float, expected: float = 0.0) -> float:
        """Two-sided p of |effect - expected| > margin; below 0.05 the 95 % interval lies outside."""
        off = self.draws - expected
        return min(1.0, 2 * min(tail_p(off <= margin), tail_p(off >= -margin)))


def pair(true: ArrayLike, a: ArrayLike, b: ArrayLike) -> list[SongSet]:
    """The sets of a contrast of one pair: (S,) true codes, (Ra, S) and (Rb, S) decided ones."""
    return [SongSet(np.asarray(true), {"a": np.asarray(a), "b": np.asarray(b)}, [("a", "b")])]


def contrast(
    sets: Sequence[SongSet],
    classes: int,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    spreads: Mapping[Any, Spread] | None = None,
) -> Contrast:
    """The mean difference with its interval, in at least 100 draws over songs and trainings.

    On the scale of Fisher's z: songs drawn, widened for few songs, plus the chance of training.
    `spreads` has each cell's by its name; without it, all cells here count as of one kind.

    Raises:
        UserError: there is no pair, or shapes or codes do not fit.
    """
    if not sets or not all(one.pairs for one in sets):
        raise UserError("a contrast without a pair of cells: evaluate more cells first")
    cells = {
        (at, name): Decisions.of(one.true, one.predicted[name], classes)
        for at, one in enumerate(sets)
        for name in one.weights()
    }
    pooled = pool(cells, lambda _: "all") if spreads is None else None
    by_songs, value, trainings = np.zeros(draws), 0.0, []
    for at, one in enumerate(sets):
        weights = {name: weight / len(sets) for name, weight in one.weights().items()}
        width = max(cells[at, name].width for name in weights)
        drawn: dict[Any, list[Floats]] = {name: [] for name in weights}
        for counts in song_draws(len(one.true), width, draws, rng):
            for name, found in drawn.items():
                found.append(cells[at, name].macro_f1(counts).mean(axis=1))
        for name, weight in weights.items():
            cell = cells[at, name]
            by_songs += weight * np.concatenate(drawn[name])
            value += weight * cell.observed()
            spread = pooled[at, name] if pooled is not None else (spreads or {})[name]
            if cell.repeats > 1:
                trainings.append((spread, weight**2 / cell.repeats))
    songs = sum(len(one.true) for one in sets)
    z, centre = (np.arctanh(np.clip(d, EDGE - 1, 1 - EDGE)) for d in (by_songs, np.array(value)))
    noise = training_noise(trainings, draws, rng) * np.cosh(centre) ** 2
    points = POINTS * np.tanh(centre + widening(songs, len(sets)) * (z - centre) + noise)
    low, high = interval(points, 0.025)
    resampled: Resampled = "songs and repeats" if trainings else "songs"
    return Contrast(POINTS * value, low, high, songs, resampled, points)


def permutation_p(
    sets: Sequence[SongSet], classes: int, rng: np.random.Generator, *, draws: int = DRAWS
) -> float:
    """Two-sided p of exchanging, song by song, what stands under a with what stands under b.

    By itself it asks about these trainings only: where trainings vary by 2 to 4 points it finds a
    difference between two equal methods in 18 to 40 % of simulations. So a difference counts only
    where the larger of this and `Contrast.p_repeats` is small.

    A song is exchanged in all its pairs at once, since decisions on one song are no independent
    evidence. Unequal numbers of repeats are tiled to their least common multiple, which leaves both
    means as they are. scipy does the shuffling.
    """
    moves, starts, offset = [], [], 0
    for one in sets:
        cells = {
            name: Decisions.of(one.true, one.predicted[name], classes)
            for pair in one.pairs
            for name in pair
        }
        for a, b in one.pairs:
            repeats = math.lcm(cells[a].repeats, cells[b].repeats)
            hits_a, hits_b = cells[a].tiled(repeats), cells[b].tiled(repeats)
            songs = slice(offset, offset + len(one.true))
            weight = 1 / len(one.pairs) / len(sets)
            moves.append((songs, hits_b - hits_a, cells[a], weight))
            starts.append((hits_a.sum(axis=0), hits_b.sum(axis=0)))
        offset += len(one.true)

    def effect(source: NDArray[Any], _: NDArray[Any], axis: int) -> Floats:
        # source: 0 where a song's own decisions stand under a, 1 where those of b do
        exchanged = np.atleast_2d(np.moveaxis(source, axis, -1))
        total = np.zeros(len(exchanged))
        for (songs, change, cell, weight), (a, b) in zip(moves, starts, strict=True):
            moved = exchanged[:, songs] @ change
            f1 = cell.f1_of_counts(a + moved) - cell.f1_of_counts(b - moved)
            total += weight * f1.mean(axis=1)
        return total.reshape(source.shape[:-1])

    widest = max(change.shape[1] for _, change, _, _ in moves)
    result = stats.permutation_test(
        (np.zeros(offset), np.ones(offset)),
        effect,
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        batch=max(1, CHUNK // max(offset, widest)),
        rng=rng,
    )
    return float(result.pvalue)
