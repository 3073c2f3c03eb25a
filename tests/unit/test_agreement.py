"""Krippendorff's alpha against the PyPI package, its intervals, and what a music set agrees on."""

import subprocess
import sys
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import f1_score

from recitative.agreement import alpha as agreement
from recitative.agreement.alpha import (
    LEVELS,
    RESAMPLED,
    alpha_from_long,
    alpha_interval,
    bootstrap_alphas,
    pairwise_agreement,
    percentile_interval,
)
from recitative.agreement.consensus import (
    Classes,
    agreement_rows,
    ceiling,
    confusion_between_raters,
    label_shares,
    majority_share,
    pair_agreement,
    set_agreement,
    sign_codes,
    task_classes,
)
from recitative.agreement.ratings import Ratings


def oracle(table, level):
    """The package's alpha; None where it is undefined, which it says in three ways."""
    paired = table[:, np.count_nonzero(~np.isnan(table), axis=0) > 1]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return None
    return krippendorff.alpha(table, level_of_measurement=level)


def test_the_ratio_level_is_the_same_by_a_dense_table_and_by_a_sparse_one(monkeypatch):
    table = draw_table(np.random.default_rng(3), 12, 40, 9)
    dense = alpha_of(table, "ratio")
    monkeypatch.setattr(agreement, "_FILLED", 0)
    assert alpha_of(table, "ratio") == pytest.approx(dense, abs=1e-13)
    assert dense == pytest.approx(oracle(table, "ratio"), abs=1e-12)


def melt(table):
    rater, unit = np.nonzero(~np.isnan(table))
    return rater, unit, table[rater, unit]


def alpha_of(table, level):
    return alpha_from_long(*melt(np.asarray(table)), level)


def draw_table(rng, raters, units, values=5, missing=0.4):
    table = rng.integers(1, values + 1, (raters, units)).astype(float)
    table[rng.random(table.shape) < missing] = np.nan
    return table


SHAPE = st.tuples(st.integers(2, 7), st.integers(1, 8))
LIKERT = st.sampled_from([np.nan, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
CONTINUOUS = st.one_of(st.just(np.nan), st.floats(0, 1e6, width=32))


@pytest.mark.parametrize("level", LEVELS)
@given(
    table=st.one_of(
        arrays.arrays(np.float64, SHAPE, elements=LIKERT),
        arrays.arrays(np.float64, SHAPE, elements=CONTINUOUS),
    )
)
@settings(max_examples=150, deadline=None)
def test_alpha_is_the_oracle_s(level, table):
    expected = oracle(table, level)
    alpha = alpha_of(table, level)
    assert alpha == expected if expected is None else alpha == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_is_the_oracle_s_on_many_values(level):
    # More values than are counted one by one, and a value that the first rows do not hold.
    rng = np.random.default_rng(3)
    for table in (draw_table(rng, 30, 40, values=400), draw_table(rng, 300, 9)):
        table[-1, 0] = 77.0
        alpha = alpha_of(table, level)
        assert alpha == pytest.approx(oracle(table, level), abs=1e-12)


def test_krippendorff_s_own_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example C.
    nan = np.nan
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    printed = {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849, "ratio": 0.797}
    for level, alpha in printed.items():
        assert alpha_of(table, level) == pytest.approx(alpha, abs=0.0005)


@given(table=arrays.arrays(np.float64, SHAPE, elements=LIKERT), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_names_and_order_do_not_matter(table, seed):
    rater, unit, value = melt(table)
    order = np.random.default_rng(seed).permutation(len(value))
    named = np.array([f"clip {n}" for n in unit], dtype=str)[order]
    alpha = alpha_from_long(rater[order] + 1000, named, value[order], "ordinal")
    assert alpha == pytest.approx(alpha_of(table, "ordinal"), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e150])
def test_the_interval_level_is_blind_to_scale_and_shift(scale):
    table = draw_table(np.random.default_rng(0), 5, 20)
    assert alpha_of(table * scale, "interval") == pytest.approx(
        alpha_of(table + 3, "interval"), abs=1e-12
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "table",
    [
        np.full((4, 5), 0.1),  # no variation; 0.1 has no exact mean
        np.full((3, 3), np.nan),
        np.empty((0, 0)),
        [[1.0, 2.0, 3.0]],  # one rater
        [[1.0, np.nan], [np.nan, 2.0]],  # nobody shares a unit
        [[2.0, np.nan, 5.0], [2.0, 4.0, np.nan]],  # varies only where nobody shares a unit
    ],
)
def test_undefined_is_none(level, table):
    assert alpha_of(table, level) is None
    rater, unit, value = melt(np.asarray(table))
    assert alpha_from_long(rater, unit, value, level) is None
    draws = bootstrap_alphas(
        rater, unit, value, level, resampled="both", rng=np.random.default_rng(0), draws=10
    )
    assert np.all(np.isnan(draws))
    assert percentile_interval(draws) is None


def test_faults_are_refused():
    with pytest.raises(ValueError, match="rated a unit twice"):
        alpha_from_long(["a", "a", "b"], [1, 1, 1], [1.0, 2.0, 3.0], "nominal")
    with pytest.raises(ValueError, match="-1 is negative"):
        alpha_of([[1.0, -1.0], [1.0, 2.0]], "ratio")
    with pytest.raises(ValueError, match="infinite"):
        alpha_of([[1.0, np.inf], [1.0, 2.0]], "interval")
    with pytest.raises(ValueError, match="unknown level 'ordinary'"):
        alpha_of([[1.0, 2.0], [1.0, 2.0]], "ordinary")


def test_ten_thousand_by_ten_thousand_sparse():
    # A dense table would hold 1e8 ratings and a coincidence matrix 4e10 numbers.
    rng = np.random.default_rng(0)
    rater, unit = np.divmod(np.unique(rng.integers(0, 10**8, 200_000)), 10_000)
    quality = rng.normal(size=10_000)
    value = quality[unit] + rng.normal(size=len(unit))
    alpha = alpha_from_long(rater, unit, value, "interval")
    assert alpha == pytest.approx(0.5, abs=0.02)  # half of the variance is the unit's


# --- intervals


@pytest.mark.parametrize("level", LEVELS)
def test_a_resample_of_units_is_the_alpha_of_the_copied_table(level):
    table = draw_table(np.random.default_rng(5), 6, 12)
    rater, unit, value = melt(table)
    drawn = bootstrap_alphas(
        rater, unit, value, level, resampled="units", rng=np.random.default_rng(7), draws=8
    )
    pairable = np.flatnonzero(np.count_nonzero(~np.isnan(table), axis=0) > 1)
    stream = np.random.default_rng(7).spawn(1)[0]
    weights = stream.multinomial(len(pairable), np.full(len(pairable), 1 / len(pairable)), 8)
    for alpha, weight in zip(drawn, weights, strict=True):
        copied = table[:, np.repeat(pairable, weight)]
        assert alpha == pytest.approx(oracle(copied, level), abs=1e-12)


def test_a_resample_of_raters_pairs_nobody_with_their_own_copy():
    # The textbook definition, pair by pair, with the draw's weights.
    table = draw_table(np.random.default_rng(5), 6, 12, missing=0.3)
    rater, unit, value = melt(table)
    drawn = bootstrap_alphas(
        rater, unit, value, "interval", resampled="raters", rng=np.random.default_rng(7), draws=5
    )
    weights = np.random.default_rng(7).spawn(1)[0].multinomial(6, np.full(6, 1 / 6), 5)
    for alpha, weight in zip(drawn, weights, strict=True):
        observed, kept, mass = 0.0, [], []
        for column in table.T:
            who = np.flatnonzero(~np.isnan(column) & (weight > 0))
            if len(who) < 2:
                continue
            pairs = [(i, j) for i in who for j in who if i != j]
            apart = sum(weight[i] * weight[j] * (column[i] - column[j]) ** 2 for i, j in pairs)
            size = weight[who].sum()
            observed += size * apart / sum(weight[i] * weight[j] for i, j in pairs)
            kept += [column[i] for i in who]
            mass += [weight[i] for i in who]
        kept, mass = np.array(kept), np.array(mass)
        total = mass.sum()
        expected = np.sum(np.outer(mass, mass) * (kept[:, None] - kept) ** 2) / (total - 1)
        assert alpha == pytest.approx(1 - observed / expected, abs=1e-12)


def test_raters_of_no_use_stay_at_chance_when_resampled():
    # With copies paired, five raters who answer at random would seem to agree.
    rng = np.random.default_rng(0)
    rater, unit, value = melt(draw_table(rng, 5, 300, missing=0))
    drawn = bootstrap_alphas(rater, unit, value, "nominal", resampled="raters", rng=rng, draws=200)
    assert np.nanmean(drawn) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("resampled", RESAMPLED)
def test_any_number_of_workers_gives_the_same_draws(resampled):
    rater, unit, value = melt(draw_table(np.random.default_rng(0), 10, 15))

    def draws(jobs, seed=1):
        rng = np.random.default_rng(seed)
        options = {"resampled": resampled, "rng": rng, "draws": 130, "jobs": jobs}
        return bootstrap_alphas(rater, unit, value, "ordinal", **options)

    assert draws(1).tobytes() == draws(3).tobytes()
    assert len(draws(1)) == 130
    assert draws(1).tobytes() != draws(1, seed=2).tobytes()


def test_the_interval_covers_what_is_resampled():
    # Few units and many raters: units matter more, and both together are the widest.
    rng = np.random.default_rng(0)
    quality = rng.normal(size=12)
    table = quality + rng.normal(size=(80, 12))
    rater, unit, value = melt(table)
    width = {}
    for resampled in RESAMPLED:
        low, high = alpha_interval(
            rater, unit, value, "interval", resampled=resampled, rng=rng, draws=400
        )
        alpha = alpha_from_long(rater, unit, value, "interval")
        assert low < alpha < high or resampled == "units"
        width[resampled] = high - low
    assert width["raters"] < width["units"] < 1.1 * width["both"]


def test_there_is_no_interval_over_two_raters_or_one_unit():
    table = draw_table(np.random.default_rng(0), 2, 30, missing=0)
    long = melt(table)
    options = {"rng": np.random.default_rng(0), "draws": 100}
    assert alpha_interval(*long, "ordinal", resampled="raters", **options) is None
    assert alpha_interval(*long, "ordinal", resampled="both", **options) is None
    assert alpha_interval(*long, "ordinal", resampled="units", **options) is not None
    one_unit = ([0, 1, 2, 3], [0, 0, 0, 0], [1.0, 2.0, 2.0, 5.0])
    assert alpha_interval(*one_unit, "ordinal", resampled="units", **options) is None


def test_percentile_interval_leaves_undefined_draws_out():
    draws = np.append(np.linspace(0, 1, 101), [np.nan] * 50)
    assert percentile_interval(draws) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.append(draws, [np.nan] * 60)) is None


# --- pairs of raters


@pytest.mark.parametrize("level", LEVELS)
def test_pairwise_agreement_averages_to_alpha_where_nothing_is_missing(level):
    table = draw_table(np.random.default_rng(0), 6, 15, missing=0)
    matrix = pairwise_agreement(*melt(table), level)
    assert np.array_equal(matrix, matrix.T, equal_nan=True) or np.allclose(
        matrix, matrix.T, equal_nan=True
    )
    assert np.all(np.isnan(np.diag(matrix)))
    assert np.nanmean(matrix) == pytest.approx(alpha_of(table, level), abs=1e-12)


def test_raters_who_share_nothing_have_no_agreement():
    table = np.array([[1.0, 2, np.nan, np.nan], [1, 3, 2, np.nan], [np.nan, np.nan, 2, 1]])
    matrix = pairwise_agreement(*melt(table), "interval")
    assert np.isnan(matrix[0, 2])
    assert matrix[1, 2] == 1


# --- music sets


def music(arousal, valence):
    """Ratings of a full table of raters by clips."""
    arousal, valence = np.asarray(arousal, float), np.asarray(valence, float)
    raters, units = arousal.shape
    rater, unit = np.divmod(np.arange(arousal.size), units)
    return Ratings(
        rater=rater,
        unit=unit,
        values={"arousal": arousal.ravel(), "valence": valence.ravel()},
        raters=tuple(f"r{n}" for n in range(raters)),
        units=tuple(f"c{n}" for n in range(units)),
        group=np.zeros(len(rater), dtype=int),
        groups=("all",),
    )


def classes_of(table):
    """Classes of a (raters, clips) table of codes; -1 is no class, None no answer."""
    cells = [
        (rater, clip, code)
        for rater, row in enumerate(table)
        for clip, code in enumerate(row)
        if code is not None
    ]
    rater, clip, code = (np.array(column) for column in zip(*cells, strict=True))
    return Classes(rater, clip, code, ("Q1", "Q2", "Q3", "Q4"))


def test_signs_and_quadrants():
    ratings = music([[3, 3, -3, -3, 0, np.nan]], [[1, -1, -1, 1, 1, 1]])
    quadrants = task_classes(ratings, "quadrant")
    assert quadrants.code.tolist() == [0, 1, 2, 3, -1]  # Q1 A+V+, Q2 A+V-, Q3 A-V-, Q4 A-V+
    assert task_classes(ratings, "arousal").code.tolist() == [1, 1, 0, 0, -1]
    assert task_classes(ratings, "valence").code.tolist() == [1, 0, 0, 1, 1, 1]
    assert sign_codes(np.array([2.0, 3.0, 4.0, np.nan]), midpoint=3).tolist() == [0, -1, 1, -1]


def test_a_majority_is_more_than_half_of_all_the_clip_s_raters():
    share = majority_share(
        classes_of(
            [
                # agreed, two of four, two of three, a vote on the midpoint, lone rater
                [0, 1, 2, 0, 3],
                [0, 1, 2, -1, None],
                [0, 2, 3, -1, None],
                [0, 3, None, 1, None],
            ]
        )
    )
    assert share == 2 / 4  # the first and the third of the four clips with company
    assert majority_share(classes_of([[0, 1]])) is None


def test_pair_agreement_weighs_clips_alike_and_drops_the_midpoint():
    table = [[1, 0, 1], [1, 1, -1], [1, None, -1]]
    assert pair_agreement(classes_of(table)) == (1 + 0) / 2
    assert pair_agreement(classes_of([[1], [-1]])) is None


def test_confusion_between_raters_is_the_coincidence_matrix():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (5, 30))
    counts = np.stack([(codes == k).sum(axis=0) for k in range(4)], axis=1)
    expected = sum((np.outer(n, n) - np.diag(n)) / (n.sum() - 1) for n in counts)
    expected = expected / expected.sum(axis=1, keepdims=True)
    assert confusion_between_raters(classes_of(codes)) == pytest.approx(expected)


def test_the_ceiling_is_the_f_of_each_rater_against_the_others_majority():
    # Three who always say the same, and one who errs: no ties, so scikit-learn is the oracle.
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 60)
    other = np.where(rng.random(60) < 0.3, rng.integers(0, 4, 60), truth)
    codes = np.stack([truth, truth, truth, other])
    found = ceiling(classes_of(codes), rng=np.random.default_rng(1), draws=200)
    f1 = f1_score(truth, other, average="macro")
    assert found.by_rater == pytest.approx([1, 1, 1, f1])
    assert found.macro_f1 == pytest.approx((3 + f1) / 4)
    assert found.low < found.macro_f1 < found.high <= 1
    again = ceiling(classes_of(codes), rng=np.random.default_rng(1), draws=200)
    assert (again.low, again.high) == (found.low, found.high)


def test_a_tie_among_the_others_is_worth_its_average():
    # The others split between 0 and 1 on every clip; the rater always says 0: right half the time.
    codes = np.array([[0] * 10, [0] * 10, [1] * 10])
    found = ceiling(classes_of(codes), rng=np.random.default_rng(0), draws=20)
    confusion = np.array([[5, 0], [5, 0]])  # rows true
    f1 = 2 * confusion[0, 0] / (confusion.sum(axis=0)[0] + confusion.sum(axis=1)[0])
    assert found.by_rater[0] == pytest.approx(f1 / 4)  # macro over four quadrants


def test_there_is_no_ceiling_without_company():
    nothing = classes_of([[0, None, -1], [None, 1, 2]])
    assert ceiling(nothing, rng=np.random.default_rng(0), draws=10) is None


def test_the_ceiling_leaves_out_a_rater_without_company():
    found = ceiling(
        classes_of([[0, 1, None], [0, 1, None], [None, None, 2]]),
        rng=np.random.default_rng(0),
        draws=50,
    )
    assert np.isnan(found.by_rater[2])
    assert found.macro_f1 == pytest.approx(0.5)  # two of four quadrants occur, both right


def test_agreement_rows_and_summary_tell_a_noisy_set_from_a_clear_one():
    rng = np.random.default_rng(0)
    truth = rng.choice([-6.0, 6.0], (2, 40))
    clear, noisy = (
        music(*(truth[:, None, :] + rng.normal(0, noise, (2, 6, 40)))) for noise in (2, 12)
    )
    tables = {
        name: agreement_rows(ratings, name, seed=1, draws=100)
        for name, ratings in (("eng", clear), ("man", noisy))
    }
    assert [row["resampled"] for row in tables["eng"]] == list(RESAMPLED) * 3
    for row, other in zip(tables["eng"], tables["man"], strict=True):
        assert row["low"] <= row["alpha"] <= row["high"] or row["resampled"] != "raters"
        assert row["alpha"] > other["alpha"]
        assert (row["raters"], row["units"], row["ratings"]) == (6, 40, 240)
    assert tables["eng"] == agreement_rows(clear, "eng", seed=1, draws=100, jobs=2)
    first, second = (set_agreement(ratings, seed=1, draws=50) for ratings in (clear, noisy))
    assert first["majority_share"] > second["majority_share"]
    assert first["ceiling"]["quadrant"]["macro_f1"] > second["ceiling"]["quadrant"]["macro_f1"]
    assert first["sign_agreement"]["arousal"] > second["sign_agreement"]["arousal"]


def test_undefined_rows_of_a_music_set_are_none():
    flat = music(np.full((3, 4), 2.0), np.full((3, 4), 2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = agreement_rows(flat, "eng", seed=1, draws=10)
        summary = set_agreement(flat, seed=1, draws=10)
    assert {(row["alpha"], row["low"], row["high"]) for row in rows} == {(None, None, None)}
    assert summary["majority_share"] == 1
    assert summary["confusion"][1] == [None] * 4


def test_label_shares():
    ratings = music([[1, 1, 0], [1, -1, 0], [1, -1, 0]], [[1, 1, 1], [1, -1, 1], [0, -1, 1]])
    found = list(label_shares(ratings))
    assert [clip for clip, _, _ in found] == ["c0", "c1"]  # nobody chose a quadrant for c2
    assert found[0][1].tolist() == [1, 0, 0, 0]
    assert found[0][2] == pytest.approx(2 / 3)
    assert found[1][1] == pytest.approx([1 / 3, 0, 2 / 3, 0])


def test_alpha_imports_without_heavy_libraries():
    code = (
        "import sys, recitative.agreement.alpha;"
        "print([n for n in ('torch', 'statsmodels', 'pandas', 'sklearn') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
