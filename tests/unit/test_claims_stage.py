"""`recitative claims` on made-up predictions: build/ first, other experiments' runs from MLflow."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_claims import CONTROLS, FE, MATRIX, simulate

from recitative.cli import cli
from recitative.errors import UserError
from recitative.evaluation.claims import CellName
from recitative.evaluation.verdicts import Pretraining
from recitative.files import read_csv, read_json, write_csv, write_json
from recitative.params import load_params
from recitative.stages import claims
from recitative.tracking.past_runs import RunPredictions

CURVE = ((3.0, 2.5), (2.0, 2.0), (1.0, 2.25))  # losses of training and validation, by epoch


def renamed(names, experiment="demo"):
    return [CellName(experiment, n.arch, n.mode, n.pairing) for n in names]


@pytest.fixture
def project(tmp_path, monkeypatch, project_root):
    """A project with scae's cells in build/, two repeats of 24 songs, and nothing in MLflow."""
    shutil.copy(project_root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "require_clean", lambda *_, **__: None)
    monkeypatch.setattr(claims.past_runs, "predictions_of", lambda *_, **__: [])
    monkeypatch.setattr(claims.past_runs, "pretraining_runs", lambda _: [])
    monkeypatch.setattr(claims, "elsewhere", lambda _: set())
    names = renamed(n for n in MATRIX + CONTROLS if (n.experiment, n.arch) == ("1", "scae"))
    cells = simulate(names, 1, songs=24, repeats=2)
    for pairing in {name.pairing for name in names}:
        control = pairing.startswith("none2")
        folder = (
            Path("build/controls", pairing[-3:]) if control else Path("build/transfer", pairing)
        )
        folder.mkdir(parents=True)
        modes = {name.mode: cells[name] for name in names if name.pairing == pairing}
        for at, table in enumerate(modes.values()):
            table.to_csv(folder / "predictions.csv", mode="a", header=at == 0, index=False)
        runs = {mode: {str(r): f"{pairing}-{mode}-{r}" for r in range(2)} for mode in modes}
        write_json(folder / "run.json", {"parent": "p"} | runs)
    for music in ("eng", "man"):
        write_csv(Path(f"build/splits/music-{music}.csv"), ("id",), [])
    for place, language in enumerate(("eng", "man", "mix")):
        folder = Path("build/pretrain", language)
        losses = [3.0, 1.0, 2.0 if place else 0.5]
        rows = [{"epoch": e, "validation_loss": loss} for e, loss in enumerate(losses)]
        write_csv(folder / "history.csv", ("epoch", "validation_loss"), rows)
        write_json(folder / "model.json", {"arch": "scae"})
        write_json(folder / "run.json", {"run_id": f"pretrain-{language}"})
    return tmp_path


def fast(monkeypatch):
    """The project's parameters with few draws."""
    params = load_params()
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"draws": 199})})


def judged(params):
    claims.run(params)
    runs = read_json(Path("build/claims/run.json"))["claims"]
    told = read_json(Path("build/claims/claims.json"))
    assert not any("run_ids" in row for row in told)  # two clones with one seed: the same bytes
    return {row["claim"]: row | {"run_ids": runs[row["claim"]]} for row in told}


def test_one_architecture_is_judged_as_far_as_it_goes(project, monkeypatch, capsys):
    found = judged(fast(monkeypatch))
    assert len(found) == 19
    assert found["1"]["verdict"] != "not testable here"
    assert sorted(found["1"]["run_ids"])[:2] == [
        "eng2eng-feature_extraction-0",
        "eng2eng-feature_extraction-1",
    ]
    assert found["6a"]["command"] == "dvc exp run -S pretrain.arch=cpc"
    assert found["11"]["verdict"] == "not testable here"  # no listeners in this index
    assert found["14"]["command"] == "dvc exp run -S pretrain.arch=emotion"
    assert "two repeats say little about how much trainings vary" in found["1"]["notes"]
    rows = read_csv(Path("build/claims/power.csv"))
    assert [*rows[0]] == ["songs", "repeats", "points"]
    assert len(rows) == 40
    assert all(0 < float(row["points"]) <= 100 for row in rows)
    effects = read_json(Path("build/claims/overall.json"))
    assert {(c["term"], c["level"]) for c in effects["coefficients"]} == {
        ("setting", "cross"),
        ("setting", "mix"),
        ("transfer_mode", "full"),
    }
    assert "arch is scae throughout: left out" in effects["statements"]
    printed = capsys.readouterr().out
    assert "build/claims/claims.json" in printed
    answers = {one["id"]: one for one in read_json(Path("build/claims/answers.json"))}
    assert list(answers) == ["pretraining", "language", "encoder"]
    assert (found["10b"]["question"], found["2"]["question"]) == ("pretraining", None)
    for one in answers.values():
        assert f"{one['question']} {one['verdict']}\n" in printed
        assert {found[claim]["answer"] for claim in one["claims"]} == {one["verdict"]}
    assert "not testable here" in printed


def test_runs_of_another_experiment_add_what_is_missing(project, monkeypatch):
    cpc = renamed(n for n in MATRIX if (n.experiment, n.arch) == ("1", "cpc"))
    tables = simulate(cpc, 1, songs=24, repeats=2)
    asked = {}

    def left_behind(hashes, protocol, labels, same):
        asked.update(hashes=hashes, protocol=protocol, labels=labels, same=same)
        return [
            RunPredictions("demo", n.arch, n.mode, n.pairing, 0.1, f"mlflow-{n.pairing}-{r}", part)
            for n in cpc
            for r, part in tables[n].groupby("repeat")
        ]

    monkeypatch.setattr(claims.past_runs, "predictions_of", left_behind)
    trained = [
        Pretraining("demo", "cpc", language, 2021, 4, 2, 0.7, 1, 3, f"cpc-{language}", CURVE)
        for language in ("eng", "man", "mix")
    ]
    monkeypatch.setattr(claims.past_runs, "pretraining_runs", lambda _: trained)
    found = judged(fast(monkeypatch))
    assert asked["protocol"] == "corrected"
    assert asked["same"]["transfer.head"] == "pooled"
    assert set(asked["hashes"]) == {"eng", "man"}
    assert found["6a"]["verdict"] != "not testable here"
    assert any(run.startswith("mlflow-") for run in found["6a"]["run_ids"])
    assert found["9"]["effect"] == pytest.approx(np.mean([3, 2, 2]) - 1)
    assert found["8"]["verdict"] == "not testable here"
    matrix = read_csv(Path("build/claims/matrix.csv"))
    there = {(row["arch"], row["transfer_mode"], row["pairing"]) for row in matrix}
    assert {("scae", "full", "eng2man"), ("cpc", "full", "eng2man")} <= there
    tests = read_csv(Path("build/claims/matrix_tests.csv"))
    assert {row["arch"] for row in tests} == {"scae", "cpc"}
    curves = read_csv(Path("build/claims/curves.csv"))
    assert [float(row["validation_loss"]) for row in curves[:3]] == [loss for _, loss in CURVE]


def test_what_lies_in_build_comes_before_an_earlier_run_of_the_same_cell(project, monkeypatch):
    name = CellName("demo", "scae", FE, "eng2eng")
    table = simulate([name], 9, songs=24, repeats=1)[name]
    stale = RunPredictions("demo", "scae", FE, "eng2eng", 0.1, "stale", table)
    monkeypatch.setattr(claims.past_runs, "predictions_of", lambda *_, **__: [stale])
    assert "stale" not in judged(fast(monkeypatch))["1"]["run_ids"]


def test_another_split_under_the_same_name_is_refused(project, monkeypatch):
    name = CellName("demo", "cpc", FE, "eng2eng")
    cells = renamed(n for n in MATRIX if (n.experiment, n.arch) == ("1", "cpc"))
    tables = simulate(cells, 1, songs=23, repeats=1)
    found = [
        RunPredictions("demo", n.arch, n.mode, n.pairing, 0.1, str(n), tables[n]) for n in cells
    ]
    assert name in tables
    monkeypatch.setattr(claims.past_runs, "predictions_of", lambda *_, **__: found)
    with pytest.raises(UserError, match="different songs"):
        claims.run(fast(monkeypatch))
    assert not Path("build/claims").exists()


def test_a_missing_cell_is_said(project, monkeypatch, capsys):
    shutil.rmtree("build/transfer/mix2eng")
    found = judged(fast(monkeypatch))
    assert found["3"]["verdict"] == "not testable here"
    assert found["3"]["command"] == "dvc repro transfer"
    assert "build/transfer/mix2eng/predictions.csv: not there" in capsys.readouterr().out


def test_the_command_is_there():
    assert "claim" in CliRunner().invoke(cli, ["claims", "--help"]).output
