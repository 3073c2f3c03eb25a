"""An appendix: one mixed model over every transferred cell, on which no verdict depends.

The claims compare cells; this asks of all of them together how much the setting (intra, cross, mix),
the architecture and the transfer mode change whether a song is recognised.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation.claims import FE, FULL, CellName
from recitative.evaluation.metrics import song_decisions
from recitative.evaluation.statistics import EDGE
from recitative.vocabulary import setting_of

FACTORS = {"setting": "intra", "arch": "scae", "transfer_mode": "feature_extraction"}  # baselines


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


def overall_effects(cells: Mapping[CellName, pd.DataFrame]) -> MixedModel:
    """Effects in percentage points of songs whose quadrant is recognised (`mixed_model`).

    Controls among the cells are left out.

    Raises:
        UserError: there is no transferred cell, or a table cannot be scored.
    """
    rows = [_song_rows(name, table) for name, table in cells.items() if name.mode in (FE, FULL)]
    empty = pd.DataFrame(columns=["correct", *FACTORS, "song", "repeat"])
    return mixed_model(pd.concat(rows, ignore_index=True) if rows else empty)


def _song_rows(name: CellName, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a song and repeat. Repeats of two cells are different trainings: named apart."""
    decided = song_decisions(predictions, "quadrant")
    repeats, songs = decided.predicted.shape
    return pd.DataFrame(
        {
            "correct": (decided.predicted == decided.true).ravel().astype(np.int64),
            "setting": setting_of(name.pairing),
            "arch": name.arch,
            "transfer_mode": name.mode,
            "song": [f"{name.music}/{song}" for song in decided.songs] * repeats,
            "repeat": np.repeat(
                [f"{name.experiment}-{name.music}-{r}" for r in range(repeats)], songs
            ),
        }
    )


def format_effects(model: MixedModel) -> str:
    """The effects as lines for the screen."""
    lines = [
        f"{c.term} {c.level} against {c.baseline}: {c.estimate:+.1f} points of songs recognised "
        f"[{c.low:+.1f}, {c.high:+.1f}], p {c.p:.3f}"
        for c in model.coefficients
    ]
    return "\n".join([*lines, *model.statements])


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
    names = list(fitted.model.exog_names)
    estimates = np.clip(np.asarray(fitted.params)[: len(names)], EDGE - 1, 1 - EDGE)
    z = np.arctanh(estimates)  # Fisher's: bounds stay in ±100
    errors = np.asarray(fitted.bse)[: len(names)] * np.cosh(z) ** 2
    coefficients = []
    for factor, baseline in factors.items():
        for level in sorted(set(data[factor]) - {baseline}):
            at = names.index(f"C({factor}, Treatment({baseline!r}))[T.{level}]")
            half = stats.norm.ppf(0.975) * errors[at]
            low, high = (float(100 * np.tanh(end)) for end in (z[at] - half, z[at] + half))
            p = float(2 * stats.norm.sf(abs(z[at]) / errors[at]))
            estimate = float(100 * estimates[at])
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
