"""The search in a project: the same bytes whoever works and whoever is killed; only speech is opened."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from projects import Project

from recitative.errors import UserError
from recitative.experiment.parallel import in_parallel
from recitative.learning.config import ComputeConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

SMALL = {
    "search.trials": 3,
    "search.epochs": 2,
    "search.startup": 2,
    "search.generation": 2,
    "search.max_segments": 40,
}
OUTPUTS = ("best.yaml", "trials.csv")
WATCH = """
import os, sys
log = open(os.environ["OPENED"], "a", buffering=1)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        log.write(os.path.abspath(os.fsdecode(arguments[0])) + chr(10))
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def searched(featurized: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose SCAE was searched in peace."""
    project = featurized.copy(tmp_path_factory.mktemp("searched") / "project").set(**SMALL)
    project.run("search")
    return project


def best(project: Project) -> dict[str, Any]:
    return dict(yaml.safe_load((project.root / "build/search/best.yaml").read_text()))


def trials(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.root / "build/search/trials.csv")


def ids(project: Project) -> dict[str, Any]:
    return dict(json.loads((project.root / "build/search/run.json").read_text()))


def outputs(project: Project) -> list[bytes]:
    """What is scored: it names no run, no time and no machine."""
    return [(project.root / "build/search" / name).read_bytes() for name in OUTPUTS]


def finished(table: pd.DataFrame) -> int:
    return int(table["state"].isin(["complete", "pruned"]).sum())


def test_outputs_and_runs(searched: Project) -> None:
    table, found, known = trials(searched), best(searched), ids(searched)
    assert finished(table) == 3
    complete = table[table["state"] == "complete"]
    assert found["value"] == complete["value"].min()
    assert found["arch"] == "scae"
    assert set(found["values"]) == {"learning_rate", "decay", "noise", "dropout"}
    page = (searched.root / "build/search/search.html").read_text()
    assert page.count("plotly.js v") == 1

    runs = {run.info.run_id: run for run in searched.runs()}
    parent = runs.pop(known["run_id"])
    assert parent.data.tags["search_study"] == found["study"]
    assert set(known["trials"].values()) == set(runs)
    assert {run.info.status for run in [parent, *runs.values()]} <= {"FINISHED", "FAILED"}
    with searched.here():
        from recitative.tracking.store import client

        kept = {file.path for file in client().list_artifacts(parent.info.run_id)}
        assert {"best.yaml", "trials.csv", "search.html"} <= kept
        for row in table.itertuples():
            run = runs[known["trials"][str(row.trial)]]
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.tags["search_trial"] == str(row.trial)
            assert run.data.tags["search_state"] == row.state
            assert run.info.status == ("FAILED" if row.state == "fail" else "FINISHED")
            assert float(run.data.params["pretrain.learning_rate"]) == row.learning_rate
            assert float(run.data.params["scae.noise"]) == row.noise
            curve = client().get_metric_history(run.info.run_id, "objective")
            assert [point.step for point in curve] == list(range(row.epochs))
            if row.state != "fail":
                assert min(point.value for point in curve) == row.value
            if row.state != "complete":
                assert run.data.tags["search_reason"] == row.reason


@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_finds_the_same(
    workers: int, searched: Project, featurized: Project, tmp_path: Path
) -> None:
    """One worker found what is in `searched`."""
    project = featurized.copy(tmp_path / "project").set(**SMALL, **{"compute.workers": workers})
    project.shell(sys.executable, "-m", "recitative.cli", "search")  # processes of its own
    assert outputs(project) == outputs(searched)


KILLS = (
    ("recitative.learning.search.generations::ask", "after", 2),  # asked, not trained
    ("recitative.learning.checkpoint:Checkpoint:save", "after", 1),  # in the first trial
    ("recitative.stages.search:Trainings:train", "after", 3),  # one of a rung is done
    ("recitative.stages.search:Trainings:judged", "before", 2),  # one of two is told
    ("recitative.stages.search:Trainings:judged", "after", 3),  # its run is told, the study not
    ("recitative.stages.search::write_csv", "after", 1),  # outputs half written
)


@pytest.mark.parametrize(("function", "when", "count"), KILLS)
def test_killed_it_goes_on_to_the_same(
    function: str, when: str, count: int, searched: Project, featurized: Project, tmp_path: Path
) -> None:
    project = featurized.copy(tmp_path / "project").set(**SMALL)
    project.kill(function, when, count, "search")
    project.run("search")
    assert outputs(project) == outputs(searched)
    known = ids(project)
    runs = {run.info.run_id: run for run in project.runs()}
    assert set(runs) == {known["run_id"], *known["trials"].values()}  # none was trained twice
    assert "RUNNING" not in Counter(run.info.status for run in runs.values())
    with project.here():
        from recitative.tracking.store import client

        for row in trials(project).itertuples():
            curve = client().get_metric_history(known["trials"][str(row.trial)], "objective")
            assert [point.step for point in curve] == list(range(row.epochs))


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(UserError, match="a worker process was killed.*run again, or lower"):
        in_parallel(os._exit, [(1,), (1,)], ComputeConfig(workers=2))


def test_again_costs_nothing_and_more_trials_go_on(searched: Project, tmp_path: Path) -> None:
    project = searched.copy(tmp_path / "project")
    before, known = outputs(project), ids(project)
    runs = {run.info.run_id for run in project.runs()}
    for path in (project.root / "build/search").iterdir():
        path.unlink()  # as DVC does
    project.run("search")
    assert outputs(project) == before
    assert ids(project) == known
    assert {run.info.run_id for run in project.runs()} == runs

    project.set(**{"search.trials": 5}).run("search")
    after = trials(project)
    assert finished(after) == 5
    assert ids(project)["run_id"] == known["run_id"]  # one parent for the study's whole life
    first = {number: run for number, run in known["trials"].items() if number in ("0", "1")}
    assert first.items() <= ids(project)["trials"].items()
    project.set(**{"search.trials": 3}).run("search")
    assert outputs(project) == before


def test_the_other_architecture_has_a_study_of_its_own(searched: Project, tmp_path: Path) -> None:
    project = searched.copy(tmp_path / "project")
    scae = outputs(project)
    project.set(**{"pretrain.arch": "cpc"}).run("search")
    cpc = best(project)
    assert cpc["study"].startswith("cpc-speech-mix")
    assert set(cpc["values"]) == {"learning_rate", "decay", "gap", "context"}
    assert cpc["objective"] == "validation accuracy above 0.5"
    complete = trials(project).query("state == 'complete'")
    assert cpc["value"] == complete["value"].max()
    assert -0.5 <= cpc["value"] <= 0.5
    runs = len(project.runs())
    project.set(**{"pretrain.arch": "scae"}).run("search")
    assert outputs(project) == scae
    assert len(project.runs()) == runs


def test_a_fresh_clone_goes_on_from_the_copy_that_travels(
    searched: Project, tmp_path: Path
) -> None:
    project = searched.copy(tmp_path / "project")
    for path in (project.root / ".recitative/search").iterdir():
        path.unlink()
    known, runs = outputs(project), len(project.runs())
    project.run("search")
    assert outputs(project) == known
    assert len(project.runs()) == runs


def test_pretraining_uses_the_best_and_leads_to_its_trial(
    searched: Project, tmp_path: Path
) -> None:
    project = searched.copy(tmp_path / "project").set(**{"compute.ahead": False})
    found, known = best(project), ids(project)
    shown = project.run("pretrain", "eng")
    assert f"trial {found['trial']} of the study {found['study']}" in shown
    model = json.loads((project.root / "build/pretrain/eng/model.json").read_text())
    assert model["config"]["noise"] == found["values"]["noise"]
    assert model["encoder"]["dropout"] == found["values"]["dropout"]
    [run] = project.runs("tags.transfer_mode = 'pretrain'")
    assert float(run.data.params["pretrain.learning_rate"]) == found["values"]["learning_rate"]
    tags = run.data.tags
    assert (tags["values_from"], tags["search_study"]) == ("search", found["study"])
    assert tags["search_trial_run_id"] == known["trials"][str(found["trial"])]

    project.set(**{"search.trials": 0}).run("search")
    assert best(project) == {}
    project.run("pretrain", "eng")
    newest = project.runs("tags.transfer_mode = 'pretrain'")[0]
    assert newest.data.tags["values_from"] == "params.yaml"
    values = yaml.safe_load((project.root / "params.yaml").read_text())
    rate = values["pretrain"]["learning_rate"]
    assert float(newest.data.params["pretrain.learning_rate"]) == rate


def test_music_and_other_roles_are_never_opened(featurized: Project, tmp_path: Path) -> None:
    """Every open() of the stage and of its workers is written down."""
    project = featurized.copy(tmp_path / "project").set(**(SMALL | {"search.trials": 1}))
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "opened"
    environment = project.environment() | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "watch"), os.environ.get("PYTHONPATH", "")]),
        "OPENED": str(log),
    }
    done = subprocess.run(
        [sys.executable, "-m", "recitative.cli", "search"],
        cwd=project.root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = project.root.resolve()
    inside = [Path(line) for line in log.read_text().splitlines() if line.startswith(f"{root}/")]
    read = {path.relative_to(root) for path in inside}
    reached = {path for path in read if path.parts[0] in ("data", "build")}
    reached = {path for path in reached if path.parts[:2] != ("build", "search")}
    mine = Path("build/features/speech-mix")
    names = ("frames.npy", "clips.csv", "features.json", "problems.csv")  # the last for the key
    allowed = {mine / name for name in names}
    allowed |= {Path("build/splits/speech-mix.csv"), Path("build/splits/certificate.json")}
    assert mine / "frames.npy" in reached
    assert reached <= allowed, reached - allowed
    assert not any("music" in str(path) for path in read)


def test_it_searches_without_any_music(featurized: Project, tmp_path: Path) -> None:
    project = featurized.copy(tmp_path / "project").set(**(SMALL | {"search.trials": 1}))
    (project.root / "data").unlink()
    kept = ("speech-mix", "speech-mix.csv", "certificate.json")
    for folder in ("features", "splits", "index"):
        for path in (project.root / "build" / folder).iterdir():
            if path.name not in kept:
                path.rename(tmp_path / f"{folder}-{path.name}")
    project.run("search")
    assert finished(trials(project)) == 1


def test_every_trial_fails(featurized: Project, tmp_path: Path) -> None:
    project = featurized.copy(tmp_path / "project").set(**SMALL)
    rates = {"kind": "log_uniform", "values": [1e30, 1e35]}
    project.set(**{"search.space.scae.learning_rate": rates})
    result = project.invoke("search")
    said = str(result.exception)
    assert "4 trials failed and 0 finished" in said
    assert "loss is nan" in said
    assert not (project.root / "build/search/best.yaml").exists()
    assert sorted(run.info.status for run in project.runs()) == ["FAILED"] * 5
