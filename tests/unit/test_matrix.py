"""The whole matrix: comparisons as each experiment has them, printed figures under their true task."""

import json
from dataclasses import astuple
from urllib.parse import parse_qs, unquote

import pytest
from test_claims import simulate

from recitative.errors import UserError
from recitative.evaluation import EvaluateConfig
from recitative.evaluation.claims import CellName
from recitative.evaluation.comparisons import CellKey, compare
from recitative.evaluation.summary import (
    MATRIX_COLUMNS,
    MATRIX_TEST_COLUMNS,
    matrix_rows,
    summarise,
)
from recitative.reports.matrix import (
    COLUMNS,
    CSV_COLUMNS,
    by_setting,
    csv_rows,
    paper_tables,
    series_keys,
)
from recitative.reports.page import MlflowLinks
from recitative.reports.results import read_cells
from recitative.reports.tables import latex_matrix
from recitative.stages.evaluate import metrics

CONFIG = EvaluateConfig(draws=100)
NAMES = [
    CellName("demo", arch, mode, pairing)
    for arch in ("scae", "cpc")
    for mode, pairings in {
        "feature_extraction": ("eng2man", "man2man", "eng2eng"),
        "full": ("eng2man", "man2man"),
        "random_encoder": ("none2man", "none2eng"),
        "scratch": ("none2man",),
        "majority": ("none2man",),
    }.items()
    for pairing in pairings
]


RUNS = {astuple(name): [f"run-{place}-{r}" for r in range(2)] for place, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def whole():
    cells = simulate(NAMES, 3, songs=40, repeats=2)
    return cells, *matrix_rows(cells, CONFIG, 1)


def as_text(rows):
    return [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]


def tables_of(rows, stands_for):
    known = {"stands_for": stands_for, "speech_hours": {"demo": 0.1}}
    return paper_tables(read_cells(as_text(rows), runs=RUNS), known)


def test_each_part_is_what_the_experiment_itself_reports(whole):
    cells, rows, tests = whole
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(MATRIX_COLUMNS))}
    assert {tuple(sorted(row)) for row in tests} == {tuple(sorted(MATRIX_TEST_COLUMNS))}
    alone = {
        CellKey(name.mode, name.pairing): cells[name]
        for name in sorted(NAMES)
        if name.arch == "cpc"
    }
    mine = [row for row in rows if row["arch"] == "cpc"]
    for row, other in zip(mine, summarise(alone, CONFIG, 1), strict=True):
        assert row == {"experiment": "demo"} | other
    here = [row for row in tests if row["arch"] == "cpc"]
    own = compare(alone, CONFIG, 1)
    for row, other in zip(here, own, strict=True):
        assert row == {"experiment": "demo"} | other  # another architecture changes no p


def test_cells_on_other_songs_are_refused(whole):
    cells, _, _ = whole
    name = CellName("demo", "scae", "full", "man2man")
    other = cells | {name: cells[name][cells[name]["clip"] != cells[name]["clip"].iloc[0]]}
    with pytest.raises(UserError, match="song"):
        matrix_rows(other, CONFIG, 1)


def test_the_printed_stand_under_what_they_truly_are(whole):
    """SCAE, frozen, man2man of Table 1: .80 is printed under valence and is arousal (C10)."""
    first, second = tables_of(whole[1], {"1": "demo", "2": "demo"})
    line = next(line for line in first.sections["arousal"] if line.name == "man2man")
    assert line.entries[0].printed.f1 == 0.80
    line = next(line for line in first.sections["quadrant"] if line.name == "man2man")
    assert line.entries[0].printed.f1 == 0.51
    assert (first.experiment, first.speech_hours) == ("demo", 0.1)
    # One amount of speech stands beside one table alone.
    assert second.experiment is None
    assert all(entry.ours is None for line in second.sections["quadrant"] for entry in line.entries)
    assert all(
        len([ln for ln in t.sections["valence"] if not ln.control]) == 6 for t in (first, second)
    )


def test_a_cell_that_was_not_run_is_a_gap_and_controls_stand_with_their_mode(whole):
    first, _ = tables_of(whole[1], {"1": "demo", "2": "2"})
    lines = {line.name: line for line in first.sections["quadrant"]}
    assert [entry.ours is not None for entry in lines["mix2man"].entries] == [False] * 4
    assert [entry.ours is not None for entry in lines["eng2eng"].entries] == [True, False] * 2
    none = lines["none2man: no speech"]
    assert [entry.ours.mode for entry in none.entries] == ["random_encoder", "scratch"] * 2
    assert [e.ours.mode for e in lines["none2man: majority class"].entries] == ["majority"] * 4
    assert none.control
    assert none.entries[0].printed is None


def test_the_table_for_latex_has_a_line_a_pairing_and_task(whole):
    first, _ = tables_of(whole[1], {"1": "demo", "2": "2"})
    text = latex_matrix(first, synthetic=True)
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.startswith("eng2man")]
    assert [row.count("&") for row in rows] == [8] * 3


def test_the_csv_has_a_line_a_place(whole):
    first, _ = tables_of(whole[1], {"1": "demo", "2": "2"})
    rows = list(csv_rows(first))
    assert {key for row in rows for key in row} <= set(CSV_COLUMNS)
    assert len(rows) == sum(len(lines) for lines in first.sections.values()) * len(COLUMNS)
    row = next(
        r for r in rows if (r["task"], r["row"], r["arch"]) == ("quadrant", "man2man", "cpc")
    )
    cell = next(
        r for r in whole[1]
        if (r["arch"], r["pairing"], r["task"], r["average"])
        == ("cpc", "man2man", "quadrant", "macro")
    )  # fmt: skip
    assert row["macro_f1"] == pytest.approx(cell["f1"], abs=5e-5)
    assert (row["printed_f1"], row["transfer_mode"]) == (0.35, "feature_extraction")


def test_settings_are_in_order_and_each_mode_has_its_control(whole):
    panels = by_setting(read_cells(as_text(whole[1])))
    assert list(panels) == [
        ("eng", "feature_extraction"), ("man", "feature_extraction"), ("man", "full"),
    ]  # fmt: skip
    points = panels["man", "full"]["cpc", "demo"]
    assert [point.setting for point in points] == ["none", "cross", "intra"]
    assert [point.mode for point in points] == ["scratch", "full", "full"]
    assert series_keys(panels) == [("scae", "demo"), ("cpc", "demo")]


def test_metrics_are_means_by_task_and_setting(whole):
    mine = [row for row in whole[1] if row["arch"] == "scae"]
    found = metrics(mine)
    assert set(found) == {"quadrant", "arousal", "valence"}
    macro = {
        (r["transfer_mode"], r["pairing"]): r["f1"]
        for r in mine
        if (r["task"], r["average"]) == ("quadrant", "macro")
    }
    cross = (macro["feature_extraction", "eng2man"] + macro["full", "eng2man"]) / 2
    assert found["quadrant"]["cross"] == pytest.approx(cross, abs=5e-5)
    none = [f1 for (mode, _), f1 in macro.items() if mode in ("random_encoder", "scratch")]
    assert found["quadrant"]["none"] == pytest.approx(sum(none) / 3, abs=5e-5)  # not the majority


# --- around it ------------------------------------------------------------------------------------


def test_links_open_exactly_these_runs():
    links = MlflowLinks("http://127.0.0.1:5000/", "3")
    address, query = links.compare(["a1", "b2"]).split("?")
    assert address == "http://127.0.0.1:5000/#/compare-runs"
    asked = parse_qs(unquote(query))
    assert json.loads(asked["runs"][0]) == ["a1", "b2"]
    assert json.loads(asked["experiments"][0]) == ["3"]
    assert links.compare(["a1"]) == "http://127.0.0.1:5000/#/experiments/3/runs/a1"
