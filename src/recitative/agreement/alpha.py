"""Krippendorff's alpha, and how far it would move with other listeners or other clips.

    alpha = 1 - D_o / D_e

D_o is the mean disagreement of two raters on the same unit, D_e that of any two ratings at all, so
1 is perfect agreement, 0 is chance, and less than 0 is systematic disagreement
(Krippendorff, *Content Analysis*, 4th ed. 2019, chapter 12).

The textbook way goes through a coincidence matrix of values by values. Here only the counts
``m_uv`` of value v in unit u are kept ("cells"), since for three of the four levels the sum over
pairs has a closed form: with z the coordinate of a value,

    sum over pairs of (z_i - z_j)^2  =  2 m sum_i (z_i - mean z)^2

which is the interval metric for z = the value and the ordinal metric for z = the mid-rank of the
value among all ratings. Time and memory are linear in the number of ratings, however many values.
The ratio metric has no such form: it goes over pairs of values, in blocks.

Shapes: N ratings, R raters, U units, C cells, V distinct values, B bootstrap draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from scipy import sparse

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Resampled = Literal["raters", "units", "both"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")
RESAMPLED: tuple[Resampled, ...] = ("raters", "units", "both")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CHUNK = 50  # draws on one random stream: fixed, so that no number of workers changes a result
_FILLED = 4  # units by values a cell up to which a dense table is the faster one
_BLOCK = 4_000_000  # numbers held at once in a block, about 32 MB


def alpha_from_long(
    rater: npt.ArrayLike, unit: npt.ArrayLike, value: npt.ArrayLike, level: Level
) -> float | None:
    """Krippendorff's alpha of ratings given one by one: who, what, how much.

    Nothing of the size of raters by units is made, so 10,000 raters by 10,000 units cost what
    their ratings cost.

    Args:
        rater: (N,) names or numbers.
        unit: (N,) names or numbers.
        value: (N,) numbers (NaN is no rating) or, at the nominal level, texts.
        level: the level of measurement.

    Returns:
        alpha, at most 1; None where it is undefined: fewer than two ratings share a unit, or all
        paired ratings are equal.

    Raises:
        ValueError: a rater rated a unit twice; a value is infinite, or negative at the ratio level.
    """
    _, units, values = _long(rater, unit, value)
    cells = _cells(units, values, level)
    if len(cells.coordinate) < 2:
        return None
    count = cells.count[np.newaxis]
    size = _by_unit(cells, count)
    return float(_alphas(cells, count, size, np.ones_like(size), level)[0])


def bootstrap_alphas(
    rater: npt.ArrayLike,
    unit: npt.ArrayLike,
    value: npt.ArrayLike,
    level: Level,
    *,
    resampled: Resampled,
    rng: np.random.Generator,
    draws: int = 1000,
    jobs: int = 1,
) -> Floats:
    """(B,) alphas in `draws` resamples of the raters, of the units, or of both at once.

    The three answer different questions: how far alpha would move with *other listeners* on these
    clips (``raters``), with *other clips* for these listeners (``units``), with both (``both``, the
    widest). A unit drawn twice counts as two units. A rater drawn twice weighs double but is never
    paired with their own copy: such pairs agree by construction and would push alpha up, by a lot
    where raters are few. NaN where a resample leaves alpha undefined.

    Ratings are given as to `alpha_from_long`; the result does not depend on the threads `jobs`.
    """
    raters, units, values = _long(rater, unit, value)
    cells = _cells(units, values, level)
    if not len(cells.count):
        return np.full(draws, np.nan)
    names, code = np.unique(raters[cells.kept], return_inverse=True)
    incidence = sparse.csr_array(
        (np.ones(len(code)), (code, cells.of_rating)), (len(names), len(cells.count))
    )
    sizes = [min(_CHUNK, draws - start) for start in range(0, draws, _CHUNK)]
    chunks = Parallel(n_jobs=jobs, prefer="threads")(
        delayed(_resample)(cells, incidence, level, resampled, size, stream)
        for size, stream in zip(sizes, rng.spawn(len(sizes)), strict=True)
    )
    return np.concatenate(chunks)


def percentile_interval(draws: Floats) -> tuple[float, float] | None:
    """The middle 95 % of bootstrap draws; None where under half of them are defined."""
    defined = draws[~np.isnan(draws)]
    if len(defined) * 2 < len(draws) or not len(defined):
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def alpha_interval(
    rater: npt.ArrayLike,
    unit: npt.ArrayLike,
    value: npt.ArrayLike,
    level: Level,
    *,
    resampled: Resampled,
    rng: np.random.Generator,
    draws: int = 1000,
    jobs: int = 1,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of alpha (see `bootstrap_alphas`).

    Returns:
        (low, high); None without draws, or where there is nothing to resample: fewer than three
        raters when raters are drawn (of two, every usable resample is the sample itself), fewer
        than two units when units are drawn, or alpha undefined in most resamples.
    """
    present = _present(np.asarray(value))
    few_raters = len(np.unique(np.asarray(rater)[present])) < 3
    few_units = len(np.unique(np.asarray(unit)[present])) < 2
    if (few_raters and resampled != "units") or (few_units and resampled != "raters") or not draws:
        return None
    alphas = bootstrap_alphas(
        rater, unit, value, level, resampled=resampled, rng=rng, draws=draws, jobs=jobs
    )
    return percentile_interval(alphas)


def pairwise_agreement(
    rater: npt.ArrayLike, unit: npt.ArrayLike, value: npt.ArrayLike, level: Level
) -> Floats:
    """Agreement of every two raters, on alpha's scale: 1 - their disagreement / D_e of all ratings.

    With no rating missing, the mean over pairs of raters is alpha itself.

    Returns:
        (R, R) symmetric, raters in sorted order; NaN on the diagonal and where two raters share no
        unit. All NaN where alpha is undefined.
    """
    raters, units, values = _long(rater, unit, value)
    names = np.unique(np.asarray(rater))
    matrix = np.full((len(names), len(names)), np.nan)
    cells = _cells(units, values, level)
    if len(cells.coordinate) < 2:
        return matrix
    marginal: Floats = np.bincount(cells.value, cells.count)[np.newaxis].astype(np.float64)
    expected = _expected(cells, marginal, level)[0]
    row = np.searchsorted(names, raters[cells.kept])
    column, code = cells.unit[cells.of_rating], cells.value[cells.of_rating]
    shape = (len(names), len(cells.start))

    def product(left: Floats, right: Floats) -> Floats:
        """Sum over the units that two raters share of left (first rater) x right (second)."""
        first, second = (sparse.csr_array((x, (row, column)), shape) for x in (left, right))
        return np.asarray((first @ second.T).toarray(), dtype=np.float64)

    ones = np.ones(len(row))
    shared = product(ones, ones)
    if level in ("nominal", "ratio"):
        # Values few or sparse: pair value by value.
        total = np.zeros_like(shared)
        for index, at in enumerate(cells.coordinate):
            chosen = (code == index).astype(np.float64)
            distance = (
                1 - chosen
                if level == "nominal"
                else _ratio_distance(np.array([at]), cells.coordinate[code])[0]
            )
            total += product(chosen, distance)
    else:
        z = _coordinates(cells, marginal, level)[0][code]
        squares = product(z * z, ones)
        total = squares + squares.T - 2 * product(z, z)
    np.fill_diagonal(shared, 0)
    np.divide(total, shared * expected, out=matrix, where=shared > 0)
    return 1 - matrix


# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cells:
    """The distinct (unit, value) pairs among the pairable ratings, sorted by unit."""

    unit: Ints  # (C,) index of the cell's unit, 0 to U - 1
    value: Ints  # (C,) index of the cell's value, 0 to V - 1
    count: Floats  # (C,) ratings in the cell
    start: Ints  # (U,) first cell of each unit
    to_value: sparse.csr_array  # (C, V) 1 where a cell has a value: sums cells by value
    coordinate: Floats  # (V,) the value itself; at the interval level scaled to [0, 1]
    kept: npt.NDArray[np.bool_]  # (N,) whether the rating shares its unit with another
    of_rating: Ints  # (kept N,) each kept rating's cell


def _long(
    rater: npt.ArrayLike, unit: npt.ArrayLike, value: npt.ArrayLike
) -> tuple[npt.NDArray[Any], Ints, npt.NDArray[Any]]:
    """(N,) raters, codes of units and values, without the missing ratings."""
    values = np.asarray(value)
    present = _present(values)
    raters, units = (
        np.unique(np.asarray(names)[present], return_inverse=True)[1] for names in (rater, unit)
    )
    pair = np.sort(raters * (int(units.max(initial=0)) + 1) + units)
    if np.any(pair[1:] == pair[:-1]):
        raise ValueError("a rater rated a unit twice: keep one rating of each rater and unit")
    return np.asarray(rater)[present], units, values[present]


def _present(value: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return ~np.isnan(value) if value.dtype.kind == "f" else np.ones(len(value), dtype=np.bool_)


def _coordinate(values: npt.NDArray[Any], level: Level) -> Floats:
    """(V,) where the values lie, given in rising order."""
    if level in ("nominal", "ordinal"):
        return np.arange(len(values), dtype=np.float64)
    coordinate = values.astype(np.float64)
    if not np.all(np.isfinite(coordinate)):
        raise ValueError(f"a value is infinite: the {level} level needs finite numbers")
    if level == "ratio" and np.any(coordinate < 0):
        raise ValueError(f"value {coordinate.min():g} is negative: the ratio level starts at 0")
    if level == "interval" and len(coordinate) > 1:
        # Alpha is blind to scale; squares of tiny or huge numbers are not.
        low, high = coordinate.min(), coordinate.max()
        coordinate = (coordinate - low) / (high - low)
    return coordinate


def _cells(unit: Ints, rating: npt.NDArray[Any], level: Level) -> _Cells:
    """Count the values within each unit, from (N,) ratings one by one; lone ratings are left out."""
    import pandas as pd  # its hash tables count millions of ratings without sorting them

    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}; known: {', '.join(LEVELS)}")
    kept = np.bincount(unit, minlength=1)[unit] > 1
    code, values = pd.factorize(rating[kept], sort=True)
    stride = max(len(values), 1)
    of_rating, key = pd.factorize(unit[kept] * stride + code, sort=True)
    of_unit, value = np.divmod(key, stride)
    start = np.flatnonzero(np.diff(of_unit, prepend=-1))
    return _Cells(
        unit=np.repeat(np.arange(len(start)), np.diff(start, append=len(key))),
        value=value,
        count=np.bincount(of_rating, minlength=len(key)).astype(np.float64),
        start=start,
        to_value=sparse.csr_array(
            (np.ones(len(key)), value, np.arange(len(key) + 1)), (len(key), len(values))
        ),
        coordinate=_coordinate(values, level),
        kept=kept,
        of_rating=of_rating,
    )


def _by_unit(cells: _Cells, amount: Floats) -> Floats:
    """(B, C) summed to (B, U)."""
    return np.asarray(np.add.reduceat(amount, cells.start, axis=1), dtype=np.float64)


def _resample(
    cells: _Cells,
    incidence: sparse.csr_array,
    level: Level,
    resampled: Resampled,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Alphas of one chunk of draws; every draw is a vector of weights, nothing is copied."""
    raters, units = incidence.shape[0], len(cells.start)
    of_raters = np.ones((draws, raters))
    of_units = np.ones((draws, units))
    if resampled != "units":
        of_raters = rng.multinomial(raters, np.full(raters, 1 / raters), draws).astype(np.float64)
    if resampled != "raters":
        of_units = rng.multinomial(units, np.full(units, 1 / units), draws).astype(np.float64)
    batch = max(1, _BLOCK // len(cells.count))
    alphas = np.empty(draws)
    for part in (slice(at, at + batch) for at in range(0, draws, batch)):
        weights = of_raters[part]
        count = weights @ incidence
        # Of the ordered pairs within a unit, those of a rater with their own copy.
        own = _by_unit(cells, (weights * weights) @ incidence)
        alphas[part] = _alphas(cells, count, own, of_units[part], level)
    return alphas


def _alphas(cells: _Cells, count: Floats, own: Floats, copies: Floats, level: Level) -> Floats:
    """(B,) alphas, NaN where undefined.

    `count`, (B, C), weighs each cell; `own`, (B, U), has the ordered pairs of a rating with itself or
    its rater's copy, which are no pairs; `copies`, (B, U), how often each unit is drawn.
    """
    size = _by_unit(cells, count)
    pairs = size * size - own
    paired = pairs > 0
    copies = np.where(paired, copies, 0.0)
    # A unit weighs as many as it has ratings: m_u times the mean disagreement of its pairs.
    weight = copies * size / np.where(paired, pairs, 1.0)
    held = count * copies[:, cells.unit]
    marginal = held @ cells.to_value
    total = marginal.sum(axis=1)
    varied = np.count_nonzero(marginal, axis=1) > 1
    if level == "ratio":
        disagreement = _ratio_disagreement(cells, count, weight)
    else:
        disagreement = np.sum(
            weight * _unit_disagreement(cells, count, size, marginal, level), axis=1
        )
    expected = np.where(varied, _expected(cells, marginal, level), 1.0)
    observed = disagreement / np.where(varied, total, 1.0)
    return np.where(varied, 1 - observed / expected, np.nan)


def _coordinates(cells: _Cells, marginal: Floats, level: Level) -> Floats:
    """(B or 1, V) where each value lies: at the ordinal level, its mid-rank among the ratings."""
    if level == "ordinal":
        return np.cumsum(marginal, axis=1) - marginal / 2
    return cells.coordinate[np.newaxis]


def _unit_disagreement(
    cells: _Cells, count: Floats, size: Floats, marginal: Floats, level: Level
) -> Floats:
    """(B, U) the metric summed over the ordered pairs of ratings within each unit."""
    if level == "nominal":
        return size * size - _by_unit(cells, count * count)
    z = _coordinates(cells, marginal, level)[:, cells.value]
    divisor = np.where(size > 0, size, 1.0)
    mean = _by_unit(cells, count * z) / divisor
    deviation = z - mean[:, cells.unit]
    return 2 * size * _by_unit(cells, count * deviation * deviation)


def _expected(cells: _Cells, marginal: Floats, level: Level) -> Floats:
    """(B,) D_e: the mean metric over the ordered pairs of all ratings."""
    total = marginal.sum(axis=1)
    pairs = np.maximum(total * (total - 1), 1.0)
    if level == "nominal":
        return np.asarray((total * total - np.sum(marginal * marginal, axis=1)) / pairs)
    if level == "ratio":
        summed: Floats = np.zeros(len(marginal))
        for rows in _blocks(len(cells.coordinate)):
            distance = _ratio_distance(cells.coordinate[rows], cells.coordinate)
            summed += np.sum((marginal[:, rows] @ distance) * marginal, axis=1)
        return np.asarray(summed / pairs)
    z = _coordinates(cells, marginal, level)
    mean = np.sum(marginal * z, axis=1) / np.maximum(total, 1.0)
    deviation = z - mean[:, np.newaxis]
    return np.asarray(2 * total * np.sum(marginal * deviation * deviation, axis=1) / pairs)


def _ratio_disagreement(cells: _Cells, count: Floats, weight: Floats) -> Floats:
    """(B,) the weighted ratio metric over the pairs within units, by blocks of values."""
    shape = (len(cells.start), len(cells.coordinate))
    summed = np.zeros(len(count))
    if shape[0] * shape[1] <= _FILLED * len(cells.count):
        distance = _ratio_distance(cells.coordinate, cells.coordinate)
        dense = np.zeros(shape)
        for draw in range(len(count)):
            dense[cells.unit, cells.value] = count[draw]
            coincidence = dense.T @ (dense * weight[draw][:, np.newaxis])
            summed[draw] = float(np.sum(coincidence * distance))
        return summed
    for rows in _blocks(len(cells.coordinate)):
        distance = _ratio_distance(cells.coordinate[rows], cells.coordinate)
        for draw in range(len(count)):
            table = sparse.csr_array((count[draw], (cells.unit, cells.value)), shape).tocsc()
            weighted = table.multiply(weight[draw][:, np.newaxis]).tocsr()
            coincidence = (table[:, rows].T @ weighted).tocoo()
            near = distance[coincidence.row, coincidence.col]
            summed[draw] += float(np.sum(coincidence.data * near))
    return summed


def _ratio_distance(first: Floats, second: Floats) -> Floats:
    """(A, B) the squared difference over the squared sum; 0 between two zeros."""
    together = first[:, np.newaxis] + second
    apart = first[:, np.newaxis] - second
    share = np.divide(apart, together, out=np.zeros_like(apart), where=together > 0)
    return share * share


def _blocks(values: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(values, 1))
    return (slice(at, at + step) for at in range(0, values, step))
