"""Differences over several pairs of cells at once: the one effect that a claim is about.

A contrast is the mean over music sets of the mean over pairs of cells of F(a) - F(b), in points of
song-level macro F. Pairs on one music set share their songs, and one cell may stand in several
pairs (a control against every pairing), so they are resampled together; music sets are independent.
With one pair on one set everything here is `statistics.paired_difference` and `equivalence`.

Shapes: S songs of a set, R repeats, D draws, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation.metrics import Codes, Floats
from recitative.evaluation.statistics import (
    _CHUNK,
    DRAWS,
    POINTS,
    Resampled,
    _Cell,
    _interval,
    _song_draws,
    _squares,
    _tail,
)


@dataclass(frozen=True)
class SongSet:
    """The cells of a contrast that were tested on the same songs.

    Attributes:
        true: (S,) codes.
        predicted: (R, S) codes of each cell, by any name.
        pairs: names (a, b); the contrast is their mean difference.
    """

    true: Codes
    predicted: Mapping[Any, Codes]
    pairs: Sequence[tuple[Any, Any]]

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
    draws: Floats  # (D,) bootstrap over songs and repeats

    @property
    def p_repeats(self) -> float:
        """Two-sided p of a difference from 0 under chance among songs and repeats."""
        return min(1.0, 2 * min(_tail(self.draws <= 0), _tail(self.draws >= 0)))

    def p_similar(self, margin: float, expected: float = 0.0) -> float:
        """TOST: p of |effect - expected| < margin; below 0.05 the 90 % interval lies inside."""
        off = self.draws - expected
        return max(_tail(off <= -margin), _tail(off >= margin))

    def p_apart(self, margin: float, expected: float = 0.0) -> float:
        """Two-sided p of |effect - expected| > margin; below 0.05 the 95 % interval lies outside."""
        off = self.draws - expected
        return min(1.0, 2 * min(_tail(off <= margin), _tail(off >= -margin)))


def contrast(
    sets: Sequence[SongSet], classes: int, rng: np.random.Generator, *, draws: int = DRAWS
) -> Contrast:
    """The mean difference with its interval, songs and repeats resampled (`_paired_draws`).

    The variance between repeats is pooled over all cells with several repeats; a cell with one
    repeat is taken as it stands.

    Args:
        sets: one for each set of songs, each with pairs.
        classes: K.
        rng: the only source of chance.
        draws: D, at least 100.

    Raises:
        UserError: there is no pair, or shapes or codes do not fit.
    """
    if not sets or not all(one.pairs for one in sets):
        raise UserError("a contrast without a pair of cells: evaluate more cells first")
    by_songs, value = np.zeros(draws), 0.0
    between, noise, freedom, leverage = 0.0, 0.0, 0, 0.0
    for one in sets:
        weights = one.weights()
        cells = {name: _Cell.of(one.true, one.predicted[name], classes) for name in weights}
        width = max(cell.width for cell in cells.values())
        drawn: dict[Any, list[Floats]] = {name: [] for name in cells}
        for counts in _song_draws(len(one.true), width, draws, rng):
            for name, cell in cells.items():
                drawn[name].append(cell.macro_f1(counts))
        for name, cell in cells.items():
            weight, f1 = weights[name] / len(sets), np.concatenate(drawn[name])
            by_songs += weight * f1.mean(axis=1)
            value += weight * cell.observed()
            if cell.repeats > 1:
                between += float(_squares(cell.by_repeat())[0])
                noise += float(_squares(f1).mean())
                freedom += cell.repeats - 1
                leverage += weight**2 / cell.repeats
    if freedom:
        observed = between / freedom
        variance = max(0.0, observed - (noise / freedom - observed) / 2)
        by_songs = by_songs + math.sqrt(variance * leverage) * rng.standard_t(freedom, size=draws)
    points = np.asarray(POINTS * by_songs)
    low, high = _interval(points, 0.025)
    songs = sum(len(one.true) for one in sets)
    resampled: Resampled = "songs and repeats" if freedom else "songs"
    return Contrast(POINTS * value, low, high, songs, resampled, points)


def permutation_p(
    sets: Sequence[SongSet], classes: int, rng: np.random.Generator, *, draws: int = DRAWS
) -> float:
    """Two-sided p of exchanging, song by song, what stands under a with what stands under b.

    A song is exchanged in all its pairs at once, since decisions on one song are no independent
    evidence. scipy does the shuffling.
    """
    moves, starts, offset = [], [], 0
    for one in sets:
        cells = {
            name: _Cell.of(one.true, one.predicted[name], classes)
            for pair in one.pairs
            for name in pair
        }
        for a, b in one.pairs:
            repeats = math.lcm(cells[a].repeats, cells[b].repeats)
            hits_a, hits_b = cells[a].tiled(repeats), cells[b].tiled(repeats)
            moves.append(
                (
                    slice(offset, offset + len(one.true)),
                    hits_b - hits_a,
                    cells[a],
                    1 / len(one.pairs) / len(sets),
                )
            )
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
        batch=max(1, _CHUNK // max(offset, widest)),
        rng=rng,
    )
    return float(result.pvalue)
