"""Is a difference more than chance? Intervals, paired tests, equivalence, and a mixed model.

Everything works on songs, the unit that was sampled: segments of one song are no new evidence. A
cell was trained several times, and another training would give another figure, so intervals
resample songs *and* repeats. Macro F is over all K classes, absent ones included, as in `metrics`.

Shapes: S songs, R repeats, K classes, D draws. Decisions are integer codes in 0..K-1. Intervals of
one cell are in macro F, [0, 1]; differences between two cells are in points, 100 × macro F.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation.metrics import Floats, macro_f1_from_confusion

Alternative = Literal["two-sided", "greater", "less"]
Resampled = Literal["songs and repeats", "songs"]

DRAWS = 2000
MARGIN = 3.0  # points of macro F within which two cells count as similar
POINTS = 100.0  # points of macro F in 1.0
_CHUNK = 4_000_000  # numbers held at once by a draw-by-song array: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A macro F with its 95 % interval, each in [0, 1]."""

    value: float  # mean over the repeats
    low: float
    high: float
    resampled: Resampled  # "songs" where there was one repeat only, or where asked for


@dataclass(frozen=True)
class Difference:
    """Cell a minus cell b in points of macro F, with its 95 % interval and p-values."""

    value: float
    low: float
    high: float
    p_songs: float  # permutation: may chance among the songs alone explain it?
    p_repeats: float  # bootstrap: may chance among songs and repeats together?
    resampled: Resampled

    @property
    def p(self) -> float:
        """The larger of the two: a difference counts only when neither chance explains it."""
        return max(self.p_songs, self.p_repeats)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |a - b| < margin, in points of macro F."""

    value: float
    low: float  # 90 % interval
    high: float
    margin: float
    p: float  # the larger of the two one-sided
    equivalent: bool  # the 90 % interval lies inside ±margin, which is p <= 0.05
    resampled: Resampled


@dataclass(frozen=True)
class Coefficient:
    """One effect of the mixed model, in percentage points of songs recognised."""

    term: str  # setting, arch or transfer_mode
    level: str
    baseline: str  # the level that it is compared with
    estimate: float
    low: float  # 95 % interval
    high: float
    p: float


@dataclass(frozen=True)
class MixedModel:
    """Effects of setting, arch and transfer mode, and what the reader must know of the fit."""

    coefficients: tuple[Coefficient, ...]  # empty where nothing can be estimated
    statements: tuple[str, ...]  # what was left out or done otherwise, and why


def bootstrap_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    resample_repeats: bool = True,
) -> Estimate:
    """95 % percentile interval of one cell's macro F, songs and repeats resampled.

    A draw takes songs with replacement, the same for every repeat, and repeats with replacement
    (Davison and Hinkley 1997, section 3.8). Of R repeats R - 1 are drawn, which makes the variance
    between them unbiased (Rao and Wu 1988): with R of 4 it would be a quarter too small.

    Args:
        true: (S,) codes.
        predicted: (R, S) codes.
        classes: K.
        rng: the only source of chance.
        draws: D, at least 100.
        resample_repeats: False resamples songs only.

    Returns:
        The mean over repeats and its interval; `resampled` says what was resampled. One repeat
        says nothing about repeats: then only songs are.

    Raises:
        UserError: shapes or codes do not fit, or there are too few draws.
    """
    cell = _Cell.of(true, predicted, classes)
    f1 = np.concatenate(
        [cell.macro_f1(weights) for weights in _song_draws(cell.songs, cell.width, draws, rng)]
    )
    both = resample_repeats and cell.repeats > 1
    if both:
        chosen = rng.integers(cell.repeats, size=(draws, cell.repeats - 1))
        f1 = np.take_along_axis(f1, chosen, axis=1)
    low, high = _interval(f1.mean(axis=1), 0.025)
    return Estimate(cell.observed(), low, high, "songs and repeats" if both else "songs")


def paired_difference(
    true: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    classes: int,
    rng: np.random.Generator,
    *,
    alternative: Alternative = "two-sided",
    draws: int = DRAWS,
) -> Difference:
    """How much better a is than b on the same songs, with an interval and a test.

    The interval and `p_repeats` come from one bootstrap over songs and repeats (`_paired_draws`).
    `p_songs` is scipy's paired permutation test: a song's decisions are exchanged between a and b,
    those of all repeats together, since the repeats of one song are no independent evidence.
    Unequal numbers of repeats are tiled to their least common multiple, which leaves both means as
    they are. By itself it asks about these trainings only: where trainings vary by 2 to 4 points it
    finds a difference between two equal methods in 18 to 40 % of simulations.

    Args:
        true: (S,) codes.
        predicted_a: (Ra, S) codes.
        predicted_b: (Rb, S) codes, the same songs in the same order.
        classes: K.
        rng: the only source of chance.
        alternative: "greater" asks whether a is better than b.
        draws: D, of the bootstrap and of the permutations each, at least 100.

    Returns:
        The difference in points. Its `p` is the one to report and to correct.

    Raises:
        UserError: shapes or codes do not fit, or there are too few draws.
    """
    a, b = _Cell.of(true, predicted_a, classes), _Cell.of(true, predicted_b, classes)
    drawn = _paired_draws(a, b, rng, draws)
    low, high = _interval(drawn, 0.025)
    not_above, not_below = _tail(drawn <= 0), _tail(drawn >= 0)
    p_repeats = {
        "greater": not_above,
        "less": not_below,
        "two-sided": min(1.0, 2 * min(not_above, not_below)),
    }[alternative]
    return Difference(
        value=POINTS * (a.observed() - b.observed()),
        low=low,
        high=high,
        p_songs=_permutation_p(a, b, rng, alternative, draws),
        p_repeats=p_repeats,
        resampled=_resampled(a, b),
    )


def equivalence(
    true: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    classes: int,
    rng: np.random.Generator,
    *,
    margin: float = MARGIN,
    draws: int = DRAWS,
) -> Equivalence:
    """Are a and b similar? Two one-sided tests (TOST, Schuirmann 1987) on the paired bootstrap.

    "No significant difference" is not similarity: this asks for evidence that the difference,
    whatever it is, lies inside ±margin.

    Args:
        true: (S,) codes.
        predicted_a: (Ra, S) codes.
        predicted_b: (Rb, S) codes, the same songs in the same order.
        classes: K.
        rng: the only source of chance.
        margin: points of macro F, above 0.
        draws: D, at least 100.

    Returns:
        The verdict with the 90 % interval and p.

    Raises:
        UserError: shapes or codes do not fit, or the margin is not above 0.
    """
    if not margin > 0:
        raise UserError(f"margin {margin}: must be above 0 points; 3 is usual")
    a, b = _Cell.of(true, predicted_a, classes), _Cell.of(true, predicted_b, classes)
    drawn = _paired_draws(a, b, rng, draws)
    low, high = _interval(drawn, 0.05)
    return Equivalence(
        value=POINTS * (a.observed() - b.observed()),
        low=low,
        high=high,
        margin=margin,
        p=max(_tail(drawn <= -margin), _tail(drawn >= margin)),
        equivalent=-margin < low and high < margin,
        resampled=_resampled(a, b),
    )


def holm(p_values: ArrayLike) -> Floats:
    """Holm's correction over one family of comparisons, by statsmodels.

    Args:
        p_values: (M,) in [0, 1]; may be empty.

    Returns:
        (M,) corrected p-values in the same order, each at least as large as before.

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
    """How many test songs would decide what these could not.

    A half-width shrinks with the square root of the songs. The part that comes from the repeats
    does not, so this is the least number; more repeats may be needed as well.

    Args:
        low: lower end of the interval found.
        high: upper end.
        songs: S that gave it.
        target: the half-width that decides, in the interval's unit: |effect| to tell a difference
            from 0, margin - |effect| to call two cells similar.

    Returns:
        The number of songs, or None where no number decides (the target is not above 0).

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


def majority_macro_f1(true: ArrayLike, classes: int) -> float:
    """Macro F of always answering the most frequent class of `true`: 2s / (1 + s) / K of share s.

    Args:
        true: (N,) codes.
        classes: K.

    Returns:
        In [0, 1].

    Raises:
        UserError: there is no song, or a code is outside 0..K-1.
    """
    codes = np.asarray(true)
    if not codes.size or not np.isin(codes, np.arange(classes)).all():
        raise UserError(f"{codes.size} true codes: expected some, each in 0..{classes - 1}")
    support = np.bincount(codes.astype(np.int64), minlength=classes)
    confusion = np.zeros((classes, classes))
    confusion[:, support.argmax()] = support
    return float(macro_f1_from_confusion(confusion))


@dataclass(frozen=True)
class _Cell:
    """One cell's decisions as what a weighted count of songs needs: a one-hot (true, predicted).

    `hits` is (S, R·K·K); weights (D, S) @ hits are the D draws' confusion matrices of all repeats,
    exact in float64, by one matrix product instead of D × R counts.
    """

    hits: Floats
    repeats: int
    classes: int

    @classmethod
    def of(cls, true: ArrayLike, predicted: ArrayLike, classes: int) -> "_Cell":
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
    def songs(self) -> int:
        return len(self.hits)

    @property
    def width(self) -> int:
        return self.repeats * self.classes**2

    def f1_of_counts(self, counts: Floats) -> Floats:
        """(D, R·K·K) counts to the macro F of every draw and repeat, (D, R)."""
        return macro_f1_from_confusion(counts.reshape(len(counts), -1, self.classes, self.classes))

    def macro_f1(self, weights: Floats) -> Floats:
        """Macro F of every draw and repeat, (D, R), of weights (D, S)."""
        return self.f1_of_counts(weights @ self.hits)

    def by_repeat(self) -> Floats:
        """Macro F of the songs as they are, (1, R)."""
        return self.macro_f1(np.ones((1, self.songs)))

    def observed(self) -> float:
        """Macro F of the songs as they are, the mean over the repeats."""
        return float(self.by_repeat().mean())

    def tiled(self, repeats: int) -> Floats:
        """`hits` with the repeats over and over, up to `repeats` of them."""
        return np.tile(self.hits, repeats // self.repeats)


def _song_draws(songs: int, width: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each song is in each draw, (≤ D, S) at a time, together D."""
    if draws < 100:
        raise UserError(f"{draws} bootstrap draws: too few for a 95 % interval; 2000 is usual")
    chunk = max(1, _CHUNK // max(songs, width))
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        chosen = rng.integers(songs, size=(count, songs))
        flat = chosen + songs * np.arange(count)[:, None]
        counts = np.bincount(flat.ravel(), minlength=count * songs)
        yield counts.reshape(count, songs).astype(np.float64)


def _paired_draws(a: _Cell, b: _Cell, rng: np.random.Generator, draws: int) -> Floats:
    """Bootstrap distribution of a - b in points, (D,): songs drawn for both, repeats drawn anew.

    Drawing repeats as they are, as for one cell, would count the chance of a song in a repeat twice
    (Owen 2007, the pigeonhole bootstrap). There it hardly shows beside the songs' own difficulty;
    that cancels in a difference, and intervals come out up to twice too wide. So the effect of a
    repeat is drawn by its own variance: that between the repeats, less half of what songs alone
    add to it, with Student's t for the few repeats there are. Half: an unbiased estimate cut off at
    0 errs too often. In simulations of two equal cells of 4 repeats and 250 songs the 95 % interval
    misses 0 in 3 to 6 %, however much the trainings vary; with 2 repeats in 1 to 7 %.

    A side with one repeat (a control that knows no chance) is taken as it stands.
    """
    parts = [
        (a.macro_f1(weights), b.macro_f1(weights))
        for weights in _song_draws(a.songs, max(a.width, b.width), draws, rng)
    ]
    drawn_a, drawn_b = (np.concatenate(side) for side in zip(*parts, strict=True))
    by_songs = drawn_a.mean(axis=1) - drawn_b.mean(axis=1)
    freedom = a.repeats + b.repeats - 2
    if freedom == 0:
        return np.asarray(POINTS * by_songs)
    between = (_squares(a.by_repeat()) + _squares(b.by_repeat())).mean() / freedom
    noise = (_squares(drawn_a) + _squares(drawn_b)).mean() / freedom - between
    variance = max(0.0, between - noise / 2)
    spread = math.sqrt(variance * sum(1 / cell.repeats for cell in (a, b) if cell.repeats > 1))
    return np.asarray(POINTS * (by_songs + spread * rng.standard_t(freedom, size=draws)))


def _squares(f1: Floats) -> Floats:
    """Sum of squared deviations between repeats of every draw, (D, R) to (D,)."""
    return np.asarray(((f1 - f1.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))


def _permutation_p(
    a: _Cell, b: _Cell, rng: np.random.Generator, alternative: Alternative, draws: int
) -> float:
    """The p-value of exchanging whole songs between a and b, by `scipy.stats.permutation_test`."""
    repeats = math.lcm(a.repeats, b.repeats)
    hits_a, hits_b = a.tiled(repeats), b.tiled(repeats)
    counts_a, counts_b = hits_a.sum(axis=0), hits_b.sum(axis=0)
    change = hits_b - hits_a

    def difference(source: NDArray[Any], _: NDArray[Any], axis: int) -> Floats:
        # scipy shuffles, within each song, whose decisions stand under a: 0 its own, 1 those of b
        moved = np.atleast_2d(np.moveaxis(source, axis, -1)) @ change
        f1 = a.f1_of_counts(counts_a + moved) - a.f1_of_counts(counts_b - moved)
        return np.asarray(f1.mean(axis=1)).reshape(source.shape[:-1])

    own, others = np.zeros(a.songs), np.ones(a.songs)
    result = stats.permutation_test(
        (own, others),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        batch=max(1, _CHUNK // max(a.songs, change.shape[1])),
        alternative=alternative,
        rng=rng,
    )
    return float(result.pvalue)


def _interval(values: Floats, tail: float) -> tuple[float, float]:
    """The order statistics that leave `tail` on either side.

    Chosen so that a bound of 0 lies outside exactly when `_tail` is at most `tail`: interval and
    p-value never contradict each other.
    """
    ordered = np.sort(values)
    k = max(1, math.floor(tail * (len(ordered) + 1) + 1e-9))
    return float(ordered[k - 1]), float(ordered[-k])


def _tail(beyond: NDArray[np.bool_]) -> float:
    """The share of draws that are `beyond`, never 0 (Davison and Hinkley 1997, section 4.2)."""
    return float((np.count_nonzero(beyond) + 1) / (len(beyond) + 1))


def _resampled(a: _Cell, b: _Cell) -> Resampled:
    """What a pair resamples: with one repeat on both sides, songs only."""
    return "songs" if a.repeats == b.repeats == 1 else "songs and repeats"


FACTORS = {"setting": "intra", "arch": "scae", "transfer_mode": "feature_extraction"}  # baselines


def mixed_model(table: pd.DataFrame) -> MixedModel:
    """The overall effect of setting, arch and transfer mode on whether a song is recognised.

    A linear probability model, ``correct ~ setting + arch + transfer_mode``, with random
    intercepts for songs and for trainings (a repeat of one combination of the factors; repeat 0 of
    one is not repeat 0 of another), fitted by REML (statsmodels MixedLM). Linear, because its
    coefficients are percentage points as they stand, and REML converges where the variational
    BinomialBayesMixedGLM gives intervals that are too narrow. Each is against the factor's baseline
    (intra, scae, feature_extraction; where that is absent, the first level by name), the others
    held equal.

    Args:
        table: columns correct (0 or 1), setting, arch, transfer_mode, song, repeat; a row a song
            and training. Where the songs are of two music languages, name the repeats apart
            ("eng-0", "man-0"): they are different trainings.

    Returns:
        A coefficient for every level but the baselines, in percentage points. What cannot be
        estimated is left out and said in a statement: a factor with one level, one that another
        determines, a table that is all correct or all wrong. Where the mixed model does not
        converge, ordinary least squares with errors clustered by song stands in, and says so.

    Raises:
        UserError: a column is missing, the table is empty, `correct` is not 0 or 1, or a training
            has one song twice.
    """
    data = _correctness(table)
    factors, statements = _varying_factors(data)
    if data["correct"].nunique() == 1:
        word = "right" if data["correct"].iloc[0] else "wrong"
        return MixedModel((), (f"every song is decided {word}: there is no effect to estimate",))
    if not factors:
        return MixedModel((), (*statements, "no factor varies: there is no effect to estimate"))
    if data.groupby(list(factors))["correct"].nunique().max() == 1:
        sentence = f"{' and '.join(factors)} decide every song: no chance is left to test against"
        return MixedModel((), (*statements, sentence))
    if data["song"].nunique() < 2:
        return MixedModel((), ("there is one song: its effect cannot be told from the factors'",))
    repeated = data["training"].nunique() > len(data[list(FACTORS)].drop_duplicates())
    if not repeated:
        statements.append("one repeat: the chance of training is not in the intervals")
    formula = "correct ~ " + " + ".join(
        f"C({factor}, Treatment({baseline!r}))" for factor, baseline in factors.items()
    )
    fitted, complaint = _fit(formula, data, repeated)
    if complaint:
        statements.append(complaint)
    bounds = POINTS * np.asarray(fitted.conf_int(alpha=0.05))
    names = list(fitted.model.exog_names)
    coefficients = []
    for factor, baseline in factors.items():
        for level in sorted(set(data[factor]) - {baseline}):
            at = names.index(f"C({factor}, Treatment({baseline!r}))[T.{level}]")
            low, high = (float(value) for value in bounds[at])
            estimate = POINTS * float(np.asarray(fitted.params)[at])
            p = float(np.asarray(fitted.pvalues)[at])
            coefficients.append(Coefficient(factor, level, baseline, estimate, low, high, p))
    return MixedModel(tuple(coefficients), tuple(statements))


def _correctness(table: pd.DataFrame) -> pd.DataFrame:
    """The checked table with a column `training`."""
    keys = [*FACTORS, "repeat", "song"]
    missing = [name for name in ("correct", *keys) if name not in table.columns]
    if missing:
        raise UserError(f"mixed model: no column {', '.join(missing)}; evaluate anew")
    if table.empty:
        raise UserError("mixed model: no decisions; run `dvc repro evaluate` first")
    data = table[keys].astype(str)
    data["correct"] = table["correct"].astype(np.float64)
    if not data["correct"].isin((0.0, 1.0)).all():
        raise UserError("mixed model: `correct` must be 0 or 1, without NaN; evaluate anew")
    twice = data.duplicated(keys)
    if twice.any():
        row = data[twice].iloc[0]
        raise UserError(
            f"mixed model: song {row['song']} stands twice in {row['setting']} {row['arch']} "
            f"{row['transfer_mode']}, repeat {row['repeat']}; give each training its own repeat"
        )
    data["training"] = data[[*FACTORS, "repeat"]].agg(" ".join, axis=1)
    return data


def _varying_factors(data: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """The factors whose effect can be told, with their baselines; and why others are left out."""
    factors: dict[str, str] = {}
    statements = []
    design = np.ones((len(data), 1))
    for factor, usual in FACTORS.items():
        levels = sorted(set(data[factor]))
        if len(levels) == 1:
            statements.append(f"{factor} is {levels[0]} throughout: left out")
            continue
        dummies = pd.get_dummies(data[factor], drop_first=True).to_numpy(dtype=np.float64)
        wider = np.column_stack([design, dummies])
        if np.linalg.matrix_rank(wider) < wider.shape[1]:
            statements.append(f"{factor} goes hand in hand with {' and '.join(factors)}: left out")
            continue
        design = wider
        factors[factor] = usual if usual in levels else levels[0]
    return factors, statements


def _fit(formula: str, data: pd.DataFrame, repeated: bool) -> tuple[Any, str | None]:
    """The fitted model; and a statement where it is not the mixed one."""
    from statsmodels.formula import api  # 1 s to import

    if repeated:
        # Crossed random effects: one group that holds everything, a variance component each.
        # Sparse, because they are indicators: 8 s instead of 21 s for 12,000 rows of 250 songs.
        model = api.mixedlm(
            formula,
            data,
            groups=np.ones(len(data)),
            re_formula="0",
            vc_formula={"song": "0 + C(song)", "training": "0 + C(training)"},
            use_sparse=True,
        )
    else:
        model = api.mixedlm(formula, data, groups=data["song"])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # A variance of 0, the boundary, is a fair answer; what matters is checked below.
            warnings.simplefilter("ignore")
            fitted = model.fit(method=["lbfgs", "powell"], reml=True)
            bounds = np.asarray(fitted.conf_int())[: len(model.exog_names)]
        if fitted.converged and np.isfinite(bounds).all() and (bounds[:, 0] < bounds[:, 1]).all():
            return fitted, None
    except np.linalg.LinAlgError:
        pass
    songs = data["song"].astype("category").cat.codes
    fitted = api.ols(formula, data).fit(cov_type="cluster", cov_kwds={"groups": songs})
    return fitted, "the mixed model did not converge: least squares, errors clustered by song"
