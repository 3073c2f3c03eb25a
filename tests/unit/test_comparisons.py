"""Which cells are compared, in which direction, how they are corrected; and the summary."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from recitative.errors import UserError
from recitative.evaluation import EvaluateConfig
from recitative.evaluation.comparisons import (
    FAMILY,
    LABEL_COLUMNS,
    LABEL_FAMILY,
    TEST_COLUMNS,
    CellKey,
    compare,
    compare_labels,
    family,
    split_cells,
)
from recitative.evaluation.metrics import PREDICTION_COLUMNS
from recitative.evaluation.summary import SUMMARY_COLUMNS, summarise

CONFIG = EvaluateConfig(draws=200)
PAIRINGS = ("eng2eng", "man2eng", "mix2eng", "eng2man", "man2man", "mix2man")
QUADRANTS = ("Q1", "Q2", "Q3", "Q4")
AROUSED, PLEASANT = {"Q1", "Q2"}, {"Q1", "Q4"}


def cell(mode: str, right: float, songs: int = 40, repeats: int = 2, seed: int = 0) -> pd.DataFrame:
    """Two segments a song; a share `right` of the songs is decided right in all three tasks."""
    rng = np.random.default_rng(seed)
    rows = []
    for repeat in range(repeats):
        for song in range(songs):
            truth = QUADRANTS[song % 4]
            good = rng.random() < right
            told = truth if good else QUADRANTS[(song + 1 + rng.integers(3)) % 4]
            probabilities = [0.7 if name == told else 0.1 for name in QUADRANTS]
            binary = [0.8 if told in positive else 0.2 for positive in (AROUSED, PLEASANT)]
            for segment in range(2):
                rows.append(
                    ("scae", mode, repeat, f"clip{song}", f"g{song}", segment,
                     *probabilities, *binary, truth)
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def matrix(rates: Mapping[tuple[str, str], float], repeats: int = 2) -> dict[str, pd.DataFrame]:
    """Predictions by pairing, from each (mode, pairing)'s share of right songs."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for number, ((mode, pairing), right) in enumerate(rates.items()):
        tables.setdefault(pairing, []).append(cell(mode, right, repeats=repeats, seed=number))
    return {pairing: pd.concat(parts) for pairing, parts in tables.items()}


ALL = {(mode, pairing): 0.6 for pairing in PAIRINGS for mode in ("feature_extraction", "full")} | {
    (mode, f"none2{music}"): 0.5
    for music in ("eng", "man")
    for mode in ("majority", "random_encoder", "scratch", "shuffled_labels")
}


def test_the_family_is_what_it_says_and_nothing_else() -> None:
    """Per music and mode the three pairings against each other, and each against its control."""
    wanted = set()
    for mode, control in (("feature_extraction", "random_encoder"), ("full", "scratch")):
        for music in ("eng", "man"):
            cells = [CellKey(mode, f"{speech}2{music}") for speech in ("eng", "man", "mix")]
            wanted |= {frozenset(pair) for pair in combinations(cells, 2)}
            wanted |= {frozenset((a, CellKey(control, f"none2{music}"))) for a in cells}
    found = list(family(split_cells(matrix(ALL))))
    assert len(found) == len(wanted) == 24
    assert {frozenset(pair) for pair in found} == wanted
    assert all(a.music == b.music for a, b in found)
    assert not any(a.pairing.startswith("none") for a, _ in found)  # controls are the second


def test_without_its_control_a_mode_is_compared_with_the_others_only() -> None:
    cells = split_cells(matrix({key: rate for key, rate in ALL.items() if key[0] != "scratch"}))
    assert len(list(family(cells))) == 18
    assert compare({}, CONFIG, 1) == []


def test_a_planted_better_pairing_is_the_only_difference_and_has_its_sign() -> None:
    """man2man is right far more often; whoever mixes up a and b, or two pairings, is seen."""
    rates = {
        key: rate for key, rate in ALL.items() if key[0] in ("feature_extraction", "random_encoder")
    }
    rates[("feature_extraction", "man2man")] = 0.98
    rows = compare(split_cells(matrix(rates, repeats=4)), EvaluateConfig(draws=1000), 1)
    assert [set(row) for row in rows] == [set(TEST_COLUMNS)] * len(rows)
    for row in rows:
        pair = (row["a_pairing"], row["b_pairing"])
        sign = {0: 1, 1: -1}[pair.index("man2man")] if "man2man" in pair else 0
        if sign:
            signs = [np.sign(row[name]) for name in ("difference", "low", "high")]
            assert signs == [sign] * 3, pair
            assert row["p_corrected"] < 0.05, pair
        else:
            assert row["p_corrected"] > 0.05, pair


def test_a_difference_is_the_mean_of_the_repeats_scores_in_points() -> None:
    cells = split_cells(matrix({("full", "eng2man"): 0.8, ("full", "man2man"): 0.5}))
    [row] = compare(cells, CONFIG, 1)

    def scored(key: CellKey) -> float:
        table = cells[key].drop_duplicates(["repeat", "clip"])
        told = table[["q1", "q2", "q3", "q4"]].to_numpy().argmax(1)
        table = table.assign(told=[QUADRANTS[code] for code in told])
        return float(
            np.mean([f1_score(t["quadrant"], t["told"], average="macro")
                     for _, t in table.groupby("repeat")])
        )  # fmt: skip

    a, b = (CellKey(row[f"{x}_mode"], row[f"{x}_pairing"]) for x in "ab")
    assert (a, b) == (CellKey("full", "eng2man"), CellKey("full", "man2man"))
    assert row["difference"] == pytest.approx(100 * (scored(a) - scored(b)))
    assert row["low"] < row["difference"] < row["high"]
    assert row["songs"] == 40


def test_the_larger_p_is_corrected_for_the_whole_family_whatever_was_run() -> None:
    rates = {key: 0.4 + 0.05 * i for i, key in enumerate(ALL) if key[0] != "majority"}
    rows = compare(split_cells(matrix(rates)), CONFIG, 1)
    assert len(rows) == FAMILY == 24
    assert LABEL_FAMILY == 36
    for row in rows:
        assert row["p_corrected"] == min(1, 24 * max(row["p_songs"], row["p_repeats"]))
    frozen = {
        k: v for k, v in split_cells(matrix(rates)).items() if k.mode not in ("full", "scratch")
    }
    assert compare(frozen, CONFIG, 1) == [row for row in rows if row["a_mode"] != "full"]


def test_the_order_of_the_files_changes_no_number() -> None:
    """Each comparison has a stream of its own; cells of its mode tell how much trainings vary."""
    rates = {("full", "eng2man"): 0.8, ("full", "man2man"): 0.5}
    tables = matrix(rates)
    [alone] = compare(split_cells(tables), CONFIG, 1)
    other = split_cells(tables) | {
        CellKey("feature_extraction", "mix2man"): cell("feature_extraction", 0.6, seed=9)
    }
    assert compare(other, CONFIG, 1) == [alone]
    same = split_cells(tables) | {CellKey("full", "mix2man"): cell("full", 0.6, seed=9)}
    beside = next(row for row in compare(same, CONFIG, 1) if "mix2man" not in row.values())
    shared = {"low", "high", "p_repeats", "p_corrected"}
    assert {k: v for k, v in alone.items() if k not in shared} == {
        k: v for k, v in beside.items() if k not in shared
    }


def test_cells_tested_on_other_songs_are_refused() -> None:
    tables = {"eng2man": cell("full", 0.6), "man2man": cell("full", 0.6, songs=36)}
    with pytest.raises(UserError):
        compare(split_cells(tables), CONFIG, 1)


def test_the_summary_has_each_cell_task_and_average_once() -> None:
    cells = split_cells(matrix(ALL))
    rows = summarise(cells, CONFIG, 1)
    assert [set(row) for row in rows] == [set(SUMMARY_COLUMNS)] * len(rows)
    named = [(r["transfer_mode"], r["pairing"], r["task"], r["average"]) for r in rows]
    assert len(set(named)) == len(named) == len(ALL) * 3 * 2
    for row in rows:
        assert row["music_language"] == row["pairing"][-3:]
        assert row["repeat_min"] <= row["f1"] <= row["repeat_max"]
        assert (row["low"] is None) == (row["average"] == "weighted")
        if row["low"] is not None:
            assert row["low"] <= row["f1"] <= row["high"]


def test_arousal_and_valence_are_not_swapped_in_the_summary() -> None:
    """Valence is always wrong, arousal always right: the two rows cannot be confused."""
    table = cell("full", 1.0)
    table["valence"] = 1 - table["valence"]
    rows = summarise({CellKey("full", "eng2man"): table}, CONFIG, 1)
    f1 = {row["task"]: row["f1"] for row in rows if row["average"] == "macro"}
    assert f1 == {"quadrant": 1.0, "arousal": 1.0, "valence": 0.0}


def test_macro_and_weighted_are_not_swapped_in_the_summary() -> None:
    """Always Q1 where Q1 is three quarters: weighted is high, macro is not."""
    table = cell("full", 1.0)
    table["quadrant"] = ["Q1" if i % 8 else "Q2" for i in range(len(table))]
    table = table[table["segment"] == 0]
    for quadrant in QUADRANTS:
        table[quadrant.lower()] = 1.0 if quadrant == "Q1" else 0.0
    truth = table[table["repeat"] == 0]["quadrant"]
    rows = summarise({CellKey("full", "eng2man"): table}, CONFIG, 1)
    f1 = {row["average"]: row["f1"] for row in rows if row["task"] == "quadrant"}
    told = ["Q1"] * len(truth)
    assert f1["weighted"] == pytest.approx(f1_score(truth, told, average="weighted"))
    assert f1["macro"] == pytest.approx(
        f1_score(truth, told, labels=QUADRANTS, average="macro", zero_division=0)
    )
    assert f1["weighted"] > f1["macro"] + 0.3


# --- kinds of labels ------------------------------------------------------------------------------


def test_kinds_of_labels_are_compared_cell_by_cell_on_the_same_songs() -> None:
    good, bad = CellKey("full", "eng2eng"), CellKey("full", "man2eng")
    kinds = {
        "majority": {good: cell("full", 0.3, seed=1), bad: cell("full", 0.5, seed=2)},
        "soft": {good: cell("full", 0.95, seed=3), bad: cell("full", 0.5, seed=2)},
        "reliable": {good: cell("full", 0.3, seed=1)},
    }
    rows = compare_labels(kinds, EvaluateConfig(draws=2000), seed=0)
    assert [set(row) for row in rows] == [set(LABEL_COLUMNS)] * 4
    found = {(row["a_labels"], row["b_labels"], row["pairing"]): row for row in rows}
    assert set(found) == {
        ("majority", "soft", "eng2eng"),
        ("majority", "soft", "man2eng"),
        ("majority", "reliable", "eng2eng"),
        ("soft", "reliable", "eng2eng"),
    }
    planted = found["majority", "soft", "eng2eng"]
    assert planted["high"] < 0
    assert planted["p_corrected"] < 0.05
    for same in (("majority", "soft", "man2eng"), ("majority", "reliable", "eng2eng")):
        assert found[same]["difference"] == 0
        assert found[same]["p_corrected"] > 0.5
    assert all(row["p_corrected"] >= max(row["p_songs"], row["p_repeats"]) for row in rows)
    assert compare_labels({"majority": kinds["majority"]}, CONFIG, seed=0) == []


def test_kinds_of_labels_tested_on_other_songs_are_refused() -> None:
    key = CellKey("full", "eng2eng")
    kinds = {"majority": {key: cell("full", 0.5)}, "soft": {key: cell("full", 0.5, songs=36)}}
    with pytest.raises(UserError, match="songs"):
        compare_labels(kinds, CONFIG, seed=0)
