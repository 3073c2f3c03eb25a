"""Verdicts on simulated cells: nothing is found where nothing is, what was planted is found."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation import claims, statistics, verdicts
from recitative.evaluation.claims import CellName
from recitative.evaluation.contrasts import SongSet, contrast, pair, permutation_p
from recitative.evaluation.metrics import QUADRANT_PROBABILITIES
from recitative.evaluation.overall import overall_effects
from recitative.evaluation.verdicts import Agreement, Evidence, Pretraining, judge

QUADRANTS = np.array(["Q1", "Q2", "Q3", "Q4"])
FE, FULL = "feature_extraction", "full"
MATRIX = [
    CellName(experiment, arch, mode, f"{speech}2{music}")
    for experiment, arch, mode, speech, music in itertools.product(
        ("1", "2"), ("scae", "cpc"), (FE, FULL), ("eng", "man", "mix"), ("eng", "man")
    )
]
CONTROLS = [
    CellName(experiment, arch, mode, f"none2{music}")
    for experiment, arch, mode, music in itertools.product(
        ("1", "2"), ("scae", "cpc"), ("random_encoder", "scratch"), ("eng", "man")
    )
]


def table(name: CellName, true: np.ndarray, decided: np.ndarray) -> pd.DataFrame:
    """Predictions of one segment a song; `decided` (R, S)."""
    repeats, songs = decided.shape
    answers = decided.ravel()
    probabilities = np.eye(4)[answers]
    clips = [f"{name.music}/{i:04}" for i in range(songs)] * repeats
    columns = {
        "arch": name.arch, "transfer_mode": name.mode, "repeat": np.repeat(range(repeats), songs),
        "clip": clips, "group": clips, "segment": 0,
        **{q: probabilities[:, i] for i, q in enumerate(QUADRANT_PROBABILITIES)},
        "arousal": np.isin(answers, (0, 1)).astype(float),
        "valence": np.isin(answers, (0, 3)).astype(float),
        "quadrant": np.tile(QUADRANTS[true], repeats),
    }  # fmt: skip
    return pd.DataFrame(columns)


def simulate(
    names: list[CellName],
    seed: int,
    easier: Mapping[CellName, float] | None = None,
    songs: int = 250,
    repeats: int = 4,
    song_noise: float = 0.4,
) -> dict[CellName, pd.DataFrame]:
    """Cells that are right where ability beats a song's difficulty, equal but for `easier`."""
    rng = np.random.default_rng(seed)
    sets = {m: (rng.integers(4, size=songs), rng.normal(0, 1, songs)) for m in ("eng", "man")}
    cells = {}
    for name in names:
        true, hard = sets[name.music]
        ability = (easier or {}).get(name, 0.0) + rng.normal(0, 0.03, (repeats, 1))
        right = ability + hard + rng.normal(0, song_noise, (repeats, songs)) > 0
        wrong = (true + rng.integers(1, 4, size=(repeats, songs))) % 4
        cells[name] = table(name, true, np.where(right, true, wrong))
    return cells


def verdict(found: list[verdicts.Verdict], claim: str) -> verdicts.Verdict:
    return next(one for one in found if one.claim == claim)


HOURS = {"1": 3.0, "2": 30.0}


def test_a_pair_is_the_contrast_of_one_set_with_one_pair():
    rng = np.random.default_rng
    true = rng(0).integers(4, size=120)
    a, b = (
        np.where(rng(s).random((r, 120)) < p, true, (true + 1) % 4)
        for s, r, p in ((1, 4, 0.6), (2, 3, 0.5))
    )
    named = SongSet(true, {"x": a, "y": b}, [("x", "y")])
    found, known = (contrast(s, 4, rng(5), draws=300) for s in ([named], pair(true, a, b)))
    assert found.value == pytest.approx(8.2318898)
    assert vars(found) | {"draws": 0} == vars(known) | {"draws": 0}
    swapped = contrast(pair(true, b, a), 4, rng(5), draws=300)
    assert swapped.value == pytest.approx(-found.value)
    p_songs = [permutation_p(s, 4, rng(6)) for s in ([named], pair(true, b, a))]
    assert p_songs[0] == pytest.approx(p_songs[1], abs=0.01)


def test_a_contrast_is_the_mean_over_sets_of_the_mean_over_pairs():
    rng = np.random.default_rng(1)
    sets, expected = [], []
    for songs, pairs in ((60, [("a", "c"), ("b", "c")]), (40, [("a", "b")])):
        true = rng.integers(4, size=songs)
        cells = {n: rng.integers(4, size=(2, songs)) for n in "abc"}
        sets.append(SongSet(true, cells, pairs))
        f1 = {
            n: statistics.bootstrap_interval(true, cells[n], 4, rng, draws=100).value for n in "abc"
        }
        expected.append(np.mean([f1[a] - f1[b] for a, b in pairs]))
    assert contrast(sets, 4, rng, draws=200).value == pytest.approx(100 * np.mean(expected))


def test_a_control_that_stands_in_several_pairs_is_not_counted_as_several():
    """One noisy control against three pairings: its own chance does not average out."""
    rng = np.random.default_rng(3)
    songs, misses, simulations = 250, 0, 60
    for _ in range(simulations):
        true, hard = rng.integers(4, size=songs), rng.normal(0, 1, songs)

        def cell(true=true, hard=hard):
            ability = rng.normal(0, 0.12, (4, 1))
            right = ability + hard + rng.normal(0, 0.4, (4, songs)) > 0
            return np.where(right, true, (true + rng.integers(1, 4, size=(4, songs))) % 4)

        cells = {name: cell() for name in "abcx"}
        one = SongSet(true, cells, [(name, "x") for name in "abc"])
        found = contrast([one], 4, rng, draws=200)
        misses += not found.low <= 0 <= found.high
    assert misses <= stats.binom.ppf(0.999, simulations, 0.05)


CALIBRATION = [
    name for name in MATRIX if (name.experiment, name.arch, name.mode) == ("1", "scae", FE)
]


@pytest.mark.slow
def test_without_a_true_difference_at_most_one_in_twenty_is_supported():
    names = CALIBRATION + [n for n in CONTROLS if (n.experiment, n.arch) == ("1", "scae")]
    wrong, simulations = 0, 200
    for seed in range(simulations):
        found = judge(Evidence(simulate(names, seed), HOURS), seed, draws=199)
        directional = [v for v in found if v.claim in ("1", "3", "10a")]
        assert all(v.verdict != "not testable here" for v in directional)
        wrong += any(v.verdict == "supported" for v in directional)
    assert wrong <= stats.binom.ppf(0.999, simulations, 0.05)


@pytest.mark.slow
def test_ten_points_are_found_on_250_songs():
    found, simulations = 0, 50
    for seed in range(simulations):
        easier = {n: 0.26 for n in CALIBRATION if n.pairing in ("eng2eng", "man2man")}
        cells = simulate(CALIBRATION, seed, easier)  # the next test: this is 10 points
        planted = judge(Evidence(cells, HOURS), seed, draws=199)
        found += verdict(planted, "1").verdict == "supported"
    assert found >= 0.8 * simulations


def test_the_planted_difference_is_ten_points_and_the_other_way_round_it_is_refuted():
    easier = {n: 0.26 for n in CALIBRATION if n.pairing in ("eng2man", "man2eng")}
    cells = simulate(CALIBRATION, 1, easier, songs=3000, repeats=4)
    one = verdict(judge(Evidence(cells, HOURS), 0, draws=199), "1")
    assert one.verdict == "refuted"
    assert one.effect == pytest.approx(-10, abs=2)
    assert one.high is not None
    assert one.high < 0


def test_planted_equality_is_found_equivalent_and_a_planted_difference_is_not():
    names = [n for n in MATRIX if (n.experiment, n.arch, n.mode) == ("1", "scae", FULL)]
    cells = simulate(names, 5, songs=2000, repeats=12, song_noise=0.1)
    one = verdict(judge(Evidence(cells, HOURS), 0, draws=199), "4a")
    assert one.verdict == "supported"
    assert len(one.parts) == 6
    assert all(abs(part.value) < 3 for part in one.parts)
    apart = simulate(names, 5, {names[0]: 0.4}, songs=2000, repeats=12, song_noise=0.1)
    assert verdict(judge(Evidence(apart, HOURS), 0, draws=199), "4a").verdict == "refuted"


def test_few_songs_leave_similarity_undecided():
    names = [n for n in MATRIX if (n.experiment, n.arch, n.mode) == ("1", "scae", FULL)]
    one = verdict(judge(Evidence(simulate(names, 2, songs=20), HOURS), 0, draws=199), "4a")
    assert one.verdict == "undecided"
    assert one.low is not None
    assert one.low < -3


def test_about_ten_points_is_a_claim_of_its_own():
    names = [n for n in MATRIX if n.experiment == "2" and n.mode == FE]
    by_arch = {n: 0.26 for n in names if n.arch == "scae"}
    ten = judge(Evidence(simulate(names, 1, by_arch, songs=2000, repeats=6), HOURS), 0, draws=199)
    assert verdict(ten, "6a").verdict == "supported"
    assert verdict(ten, "6b").verdict == "supported"
    by_arch = {n: 0.6 for n in names if n.arch == "scae"}
    more = judge(Evidence(simulate(names, 1, by_arch, songs=400, repeats=4), HOURS), 0, draws=199)
    assert verdict(more, "6a").verdict == "supported"
    assert verdict(more, "6b").verdict == "refuted"


def test_every_claim_is_there_once_whatever_is_missing():
    found = judge(Evidence({}, {}), 0)
    assert [one.claim for one in found] == [
        "1", "2", "3", "4a", "4b", "4c", "5", "6a", "6b", "7a", "7b", "8", "9", "10a", "10b",
        "11", "12a", "12b", "14",
    ]  # fmt: skip
    assert {one.verdict for one in found} == {"not testable here"}
    assert all(one.missing and one.command for one in found)


def test_with_all_cells_every_claim_of_the_matrix_is_tested_on_its_experiment():
    evidence = Evidence(
        simulate(MATRIX + CONTROLS, 1, songs=24, repeats=2),
        HOURS,
        {name: (f"run of {name}",) for name in MATRIX + CONTROLS},
    )
    found = judge(evidence, 0, draws=199)
    assert [v.claim for v in found if v.missing] == ["9", "11", "12a", "12b", "14"]
    for one in found:
        if one.missing:
            continue
        assert one.run_ids
        assert one.p_corrected is not None
        assert one.p is not None
        assert one.p_corrected == pytest.approx(min(1, 14 * one.p))
    assert all("experiment 1" in run for run in verdict(found, "3").run_ids)
    assert all("experiment 2" in run for run in verdict(found, "7a").run_ids)
    assert {run for run in verdict(found, "8").run_ids} >= {f"run of {MATRIX[0]}"}


def test_one_architecture_and_one_amount_say_what_they_cannot_tell():
    names = [
        CellName("demo", n.arch, n.mode, n.pairing)
        for n in MATRIX + CONTROLS
        if (n.experiment, n.arch) == ("1", "scae")
    ]
    found = judge(Evidence(simulate(names, 1, songs=24, repeats=2), {"demo": 0.1}), 0, draws=199)
    assert verdict(found, "6a").command == "dvc exp run -S pretrain.arch=cpc"
    assert verdict(found, "8").verdict == "not testable here"
    assert "claim 4a" in str(verdict(found, "4b").missing)  # the same cells are not tested twice
    assert "4 of 8 pairs of cells are not here" in verdict(found, "1").notes
    assert any("stands for" in note for note in verdict(found, "3").notes)


def test_the_least_and_the_most_speech_stand_for_experiments_1_and_2():
    evidence = Evidence(
        {CellName(e, "scae", FE, "eng2eng"): pd.DataFrame() for e in ("a", "b", "c")},
        {"a": 5.0, "b": 0.5, "c": 2.0},
    )
    assert evidence.labels() == {"1": "b", "2": "a"}


def test_cells_on_other_songs_are_refused():
    cells = simulate(CALIBRATION, 1, songs=24)
    cells[CALIBRATION[0]] = simulate(CALIBRATION, 1, songs=23)[CALIBRATION[0]]
    with pytest.raises(UserError, match="different songs .* one split"):
        judge(Evidence(cells, HOURS), 0, draws=199)


def test_a_repeat_with_nan_is_refused():
    cells = simulate(CALIBRATION, 1, songs=24)
    cells[CALIBRATION[2]].loc[3, "q1"] = float("nan")
    with pytest.raises(UserError, match="no probabilities"):
        judge(Evidence(cells, HOURS), 0, draws=199)


def test_one_repeat_says_that_intervals_are_over_songs_only():
    found = judge(Evidence(simulate(CALIBRATION, 1, songs=24, repeats=1), HOURS), 0, draws=199)
    assert "one repeat: the interval is over songs only" in verdict(found, "3").notes


def pretraining(arch, language, best, **changes):
    values = {"experiment": "1", "seed": 1, "past": 4, "future": 2, "accuracy": None}
    values |= {"epochs": 100, "run_id": f"{arch}-{language}"} | changes
    return Pretraining(arch=arch, language=language, epochs_to_best=best, **values)


def test_faster_is_judged_by_pairs_of_pretrainings():
    keys = [(e, language) for e in ("1", "2", "3") for language in ("eng", "man", "mix")]
    slow = [pretraining("scae", la, 60 + i, experiment=e) for i, (e, la) in enumerate(keys)]
    fast = [pretraining("cpc", la, 20, experiment=e) for e, la in keys]
    one = verdict(judge(Evidence({}, {}, pretrainings=slow + fast), 0), "9")
    assert one.verdict == "supported"
    assert one.effect == pytest.approx(44)
    assert one.p == pytest.approx(2 / 2**9)
    as_released = [pretraining("cpc", la, 100, experiment=e) for e, la in keys]
    late = verdict(judge(Evidence({}, {}, pretrainings=slow + as_released), 0), "9")
    assert late.verdict == "refuted"
    assert "9 of 18 were still improving" in late.notes[1]
    three = verdict(judge(Evidence({}, {}, pretrainings=slow[:3] + fast[:3]), 0), "9")
    assert three.verdict == "undecided"  # of three pairs no permutation is rare enough
    assert (three.low, three.high) == (-99, 99)  # nor is any number of epochs ruled out


def test_settings_of_cpc_are_compared_with_the_other_held():
    both = [
        pretraining("cpc", language, 5, seed=seed, future=future, accuracy=accuracy + seed / 1000)
        for seed in range(3)
        for language in ("eng", "man", "mix")
        for future, accuracy in ((2, 0.9), (4, 0.8))
    ]
    found = judge(Evidence({}, {}, pretrainings=both), 0)
    assert verdict(found, "12a").verdict == "supported"
    assert verdict(found, "12a").effect == pytest.approx(10)
    assert verdict(found, "12b").command == "dvc exp run -S pretrain.arch=cpc -S cpc.past=2"


def test_agreement_is_compared_between_the_sets():
    rng = np.random.default_rng(0)
    english = Agreement(0.6, 0.6 + 0.02 * rng.standard_normal(999), 200)
    mandarin = Agreement(0.4, 0.4 + 0.02 * rng.standard_normal(999), 200)
    less = judge(Evidence({}, {}, agreement={"eng": english, "man": mandarin}), 0)
    assert verdict(less, "11").verdict == "supported"
    more = judge(Evidence({}, {}, agreement={"eng": mandarin, "man": english}), 0)
    assert verdict(more, "11").verdict == "refuted"
    alone = verdict(judge(Evidence({}, {}, agreement={"eng": english}), 0), "11")
    assert "music-man" in str(alone.missing)


def test_the_screen_has_a_line_a_claim():
    found = judge(Evidence(simulate(CALIBRATION, 1, songs=24), HOURS), 0, draws=199)
    text = verdicts.format_verdicts(found)
    for claim in claims.CLAIMS:
        assert claim.sentence in text
    assert "`recitative power` says what could be seen" in text
    assert "classification 14" in text


# --- families -------------------------------------------------------------------------------------


def numbers(found):
    return {
        one.claim: (one.effect, one.low, one.high, one.p, one.p_corrected, one.verdict)
        for one in found
    }


def test_families_and_their_sizes_are_stated_in_the_table_of_claims():
    assert dict(claims.FAMILY_SIZE) == {
        "classification": 14, "convergence": 1, "listeners": 1, "CPC ladder": 2,
        "emotional speech": 1,
    }  # fmt: skip
    assert {claim for claim, family in claims.FAMILY.items() if family != "classification"} == {
        "9", "11", "12a", "12b", "14",
    }  # fmt: skip


def test_what_brings_a_claim_no_evidence_changes_no_number_of_it():
    """Emotional speech, listeners and pretrainings beside SCAE: claim 11 once went from .032 to .052."""
    scae = [n for n in MATRIX + CONTROLS if (n.experiment, n.arch) == ("1", "scae")]
    emotion = [CellName(n.experiment, "emotion", n.mode, n.pairing) for n in scae]
    elsewhere = [CellName("emotion", "emotion", n.mode, n.pairing) for n in scae]
    cells = simulate([*scae, *emotion, *elsewhere], 1, songs=24, repeats=3)
    rng = np.random.default_rng(0)
    heard = {m: Agreement(0.5, 0.5 + 0.05 * rng.standard_normal(999), 99) for m in ("eng", "man")}
    ladder = [
        pretraining("cpc", language, 5, future=future, accuracy=0.8 + 0.01 * i)
        for i, language in enumerate(("eng", "man", "mix"))
        for future in (2, 4)
    ]
    alone = numbers(judge(Evidence({n: cells[n] for n in scae}, HOURS), 0, draws=199))
    more = numbers(
        judge(
            Evidence(cells, HOURS | {"emotion": 0.1}, pretrainings=ladder, agreement=heard),
            0, draws=199,
        )
    )  # fmt: skip
    new = {claim for claim in more if more[claim] != alone[claim]}
    assert new == {"11", "12a", "14"}
    assert {alone[claim][-1] for claim in new} == {"not testable here"}
    listeners = numbers(judge(Evidence({}, {}, agreement=heard), 0, draws=199))
    assert listeners["11"] == more["11"]


def test_the_second_encoder_changes_no_number_of_a_claim_about_the_first():
    whole = [n for n in MATRIX + CONTROLS if n.experiment == "1"]
    cells = simulate(whole, 1, songs=24, repeats=2)
    scae = {n: cells[n] for n in whole if n.arch == "scae"}
    alone = numbers(judge(Evidence(scae, HOURS), 0, draws=199))
    more = numbers(judge(Evidence(cells, HOURS), 0, draws=199))
    assert {claim: more[claim] for claim in ("2", "3", "4a")} == {
        claim: alone[claim] for claim in ("2", "3", "4a")
    }
    assert alone["2"][-1] != "not testable here"


def test_emotional_speech_is_compared_with_neutral_speech_frozen_pairing_by_pairing():
    names = [
        CellName("1", arch, mode, n.pairing)
        for n in CALIBRATION
        for arch in ("scae", "emotion")
        for mode in (FE, FULL)
    ]
    better = {n: 0.5 for n in names if (n.arch, n.mode) == ("emotion", FE)}
    one = verdict(judge(Evidence(simulate(names, 2, better), HOURS), 0, draws=199), "14")
    assert one.verdict == "supported"
    assert one.p_corrected == one.p  # a family of its own
    part = next(c for c in claims.CLAIMS if c.id == "14").parts({"1": "1", "2": "1"})[0]
    assert len(part.pairs) == 6
    for a, b in part.pairs:
        assert (a.arch, b.arch, a.mode) == ("emotion", "scae", FE)
        assert (a.experiment, a.mode, a.pairing) == (b.experiment, b.mode, b.pairing)
    without = [n for n in names if n.arch == "scae"]
    for cells in ({}, simulate(without, 2, songs=24)):
        lacking = verdict(judge(Evidence(cells, HOURS), 0, draws=199), "14")
        assert lacking.verdict == "not testable here"
        assert lacking.command == "dvc exp run -S pretrain.arch=emotion"


def test_the_overall_effect_of_language_is_found_with_its_sign():
    names = [n for n in MATRIX if (n.experiment, n.arch) == ("1", "scae")]
    intra = {n: 0.5 for n in names if n.pairing in ("eng2eng", "man2man")}
    cells = simulate(names + CONTROLS, 3, intra, songs=60, repeats=2)
    found = {c.level: c for c in overall_effects(cells).coefficients}
    assert all(-100 <= c.low < c.high <= 100 for c in found.values())
    assert all((c.p <= 0.05) == (not c.low <= 0 <= c.high) for c in found.values())
    assert set(found) == {"cross", "mix", "full"}  # controls are no setting
    assert found["cross"].high < 0
    assert found["mix"].high < 0
    assert found["full"].low < 0 < found["full"].high
    with pytest.raises(UserError, match="no decisions"):
        overall_effects({})
