"""docs/performance.md shows what benchmarks/results.json holds, and sums add up."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import experiment1, table


@pytest.fixture(scope="module")
def results(project_root: Path) -> Any:
    return json.loads((project_root / "benchmarks" / "results.json").read_text())


def test_the_tables_are_those_of_the_last_run(results: Any, project_root: Path) -> None:
    page = (project_root / "docs" / "performance.md").read_text()
    assert f"{table.BEGIN}\n{table.render(results)}\n{table.END}" in page


def test_experiment_1_is_what_its_parts_make_it() -> None:
    parts = {
        f"{arch} time {kind}": 0.0
        for arch in ("scae", "cpc")
        for kind in ("keras", "keras test", "keras frozen", "keras finetune",
                     "keras transfer test", "ours", "test", "encode", "heads", "heads test",
                     "finetune", "finetune test")
    }  # fmt: skip
    # A millisecond a segment of one phase alone: 3 languages of 3 h, 85 % of 6,840 segments an hour.
    alone = {**parts, "scae time keras": 1.0}
    assert experiment1.reference(alone, "time")["scae pretraining"] == pytest.approx(
        3 * 100 * 0.85 * 3 * 6840 / 3.6e6
    )
    # 6 pairings of 4 repeats; the reference has a frozen phase for each of the two modes.
    frozen = {**parts, "scae time keras frozen": 1.0, "scae time heads": 1.0}
    whole = 6 * 4 * 100 * 0.595 * 360 * 61 / 3.6e6
    assert experiment1.ours(frozen, "time")["scae frozen phase"] == pytest.approx(whole)
    assert experiment1.reference(frozen, "time")["scae frozen phase"] == pytest.approx(2 * whole)
