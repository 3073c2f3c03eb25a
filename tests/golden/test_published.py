"""The printed tables, the released runs and the supports say what docs/protocols.md says they do."""

import pytest
from click.testing import CliRunner

from recitative.cli import cli
from recitative.errors import UserError
from recitative.evaluation import published


def test_the_copies_are_the_reference_files(project_root):
    reference = project_root.parent / "shared" / "reference"
    if not reference.is_dir():
        pytest.skip("the reference files are not on this machine")
    for path in sorted(published.FOLDER.glob("*.csv")):
        assert path.read_bytes() == (reference / path.name).read_bytes()


def test_printed_cells_are_weighted_averages_of_one_run():
    finding = published.audit_published()[0]
    assert finding.numbers == {"cells": 432, "weighted": 428, "macro": 219}


def test_arousal_and_valence_are_swapped():
    accuracies, supports = (f for f in published.audit_published() if f.row == "C10")
    assert accuracies.numbers["arousal_rows_with_accuracy_of_valence"] == 52
    assert accuracies.numbers["valence_rows_with_accuracy_of_arousal"] == 53
    assert accuracies.numbers["arousal_rows_with_accuracy_of_arousal"] == 0
    assert accuracies.numbers["valence_rows_with_accuracy_of_valence"] == 0
    assert supports.numbers["rows"] == supports.numbers["other"] == 4
    assert supports.numbers["own"] == 0


def test_were_the_headings_right_the_audit_would_not_say_swapped(monkeypatch):
    runs = published.released_runs()
    heads = {"arousal": "valence", "valence": "arousal"}
    runs["task_as_printed"] = runs["task_as_printed"].replace(heads)
    monkeypatch.setattr(published, "released_runs", lambda: runs)
    numbers = published._swap()[0].numbers
    assert numbers["arousal_rows_with_accuracy_of_arousal"] == 53
    assert numbers["arousal_rows_with_accuracy_of_valence"] == 0


@pytest.mark.parametrize(
    ("music", "task", "accuracy", "macro"),
    [
        ("man", "quadrant", 0.476, 0.161),
        ("man", "arousal", 0.633, 0.388),
        ("man", "valence", 0.585, 0.369),
        ("eng", "quadrant", 0.253, 0.101),
        ("eng", "arousal", 0.504, 0.335),
        ("eng", "valence", 0.504, 0.335),
    ],
)
def test_majority_baselines_from_the_supports(music, task, accuracy, macro):
    found = published.majority_baseline(music, task)
    assert round(found["accuracy"], 3) == accuracy
    assert round(found["macro_f1"], 3) == macro
    if (music, task) == ("man", "quadrant"):
        assert round(found["weighted_f1"], 3) == 0.307


def test_an_unknown_set_is_one_line():
    with pytest.raises(UserError, match="give eng or man"):
        published.majority_baseline("fre", "quadrant")


def test_the_command_prints_every_finding():
    result = CliRunner().invoke(cli, ["audit", "published"])
    assert result.exit_code == 0
    assert "428 of 432" in result.output
    assert "219 its macro" in result.output
    assert result.output.count("\n") == len(published.audit_published())
