"""The search in a project: only speech is opened, kills change no count, pretraining uses the best."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from projects import Project

from recitative.learning import search
from recitative.learning.space import Dimension

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

SMALL = {
    "search.trials": 3,
    "search.epochs": 2,
    "search.startup": 2,
    "search.max_segments": 40,
    "search.workers": 2,
}
WATCH = """
import os, sys
log = open(os.environ["OPENED"], "a", buffering=1)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        log.write(os.path.abspath(os.fsdecode(arguments[0])) + chr(10))
sys.addaudithook(hook)
"""
DRIVER = """
import sys
from recitative.learning import search
from recitative.learning.space import Dimension

plan = search.Plan(
    sys.argv[1], "study", "family",
    {"x": Dimension(kind="uniform", values=(0, 1))},
    False, 4, 1, sampler="random", pruner="median", startup=5, heartbeat=1,
)
def objective(trial):
    for epoch in (1, 2, 3, 4):
        print(trial.number, epoch, flush=True)
        sys.stdin.readline()  # until the test says so; at once where it has hung up
        trial.report(epoch, trial.values["x"] / epoch)
    return trial.values["x"]
search.open_study(plan)
print("begun", flush=True)
search.work(plan, objective, int(sys.argv[2]))
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


def finished(table: pd.DataFrame) -> int:
    return int(table["state"].isin(["complete", "pruned"]).sum())


def test_outputs_and_runs(searched: Project) -> None:
    table, found = trials(searched), best(searched)
    assert finished(table) == len(table) == 3
    complete = table[table["state"] == "complete"]
    assert found["value"] == complete["value"].min()
    assert found["arch"] == "scae"
    assert set(found["values"]) == {"learning_rate", "decay", "noise", "dropout"}
    page = (searched.root / "build/search/search.html").read_text()
    assert page.count("plotly.js v") == 1

    runs = {run.info.run_id: run for run in searched.runs()}
    parent = runs.pop(found["run_id"])
    assert parent.data.tags["search_study"] == found["study"]
    assert set(table["run_id"]) == set(runs)
    assert {run.info.status for run in [parent, *runs.values()]} == {"FINISHED"}
    with searched.here():
        from recitative.tracking.store import client

        kept = {file.path for file in client().list_artifacts(parent.info.run_id)}
        assert {"best.yaml", "trials.csv", "search.html"} <= kept
        for row in table.itertuples():
            run = runs[row.run_id]
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.tags["search_trial"] == str(row.trial)
            assert run.data.tags["search_state"] == row.state
            assert float(run.data.params["pretrain.learning_rate"]) == row.learning_rate
            assert float(run.data.params["scae.noise"]) == row.noise
            curve = client().get_metric_history(run.info.run_id, "objective")
            assert [point.step for point in curve] == list(range(row.epochs))
            assert curve[-1].value == row.value
            if row.state == "pruned":
                assert run.data.tags["search_reason"] == row.reason


def test_again_costs_nothing_and_more_trials_go_on(searched: Project, tmp_path: Path) -> None:
    project = searched.copy(tmp_path / "project")
    before, known = trials(project), best(project)
    runs = {run.info.run_id for run in project.runs()}
    for path in (project.root / "build/search").iterdir():
        path.unlink()  # as DVC does
    project.run("search")
    assert best(project) == known
    pd.testing.assert_frame_equal(trials(project), before)
    assert {run.info.run_id for run in project.runs()} == runs

    project.set(**{"search.trials": 4}).run("search")
    after = trials(project)
    pd.testing.assert_frame_equal(after.head(3), before, check_dtype=False)
    assert finished(after) == 4
    assert best(project)["run_id"] == known["run_id"]  # one parent for the study's whole life
    assert len(project.runs()) == len(runs) + 1


def test_the_other_architecture_has_a_study_of_its_own(searched: Project, tmp_path: Path) -> None:
    project = searched.copy(tmp_path / "project")
    scae = best(project)
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
    assert best(project) == scae
    assert len(project.runs()) == runs


def test_a_fresh_clone_goes_on_from_the_copy_that_travels(
    searched: Project, tmp_path: Path
) -> None:
    project = searched.copy(tmp_path / "project")
    for path in (project.root / ".recitative/search").glob("journal.log*"):
        path.rename(tmp_path / path.name)
    known = best(project)
    project.run("search")
    assert best(project) == known


def test_pretraining_uses_the_best_and_leads_to_its_trial(
    searched: Project, tmp_path: Path
) -> None:
    project = searched.copy(tmp_path / "project").set(**{"compute.ahead": False})
    found = best(project)
    shown = project.run("pretrain", "eng")
    assert f"trial {found['trial']} of the study {found['study']}" in shown
    model = json.loads((project.root / "build/pretrain/eng/model.json").read_text())
    assert model["config"]["noise"] == found["values"]["noise"]
    assert model["encoder"]["dropout"] == found["values"]["dropout"]
    [run] = project.runs("tags.transfer_mode = 'pretrain'")
    assert float(run.data.params["pretrain.learning_rate"]) == found["values"]["learning_rate"]
    tags = run.data.tags
    assert (tags["values_from"], tags["search_study"]) == ("search", found["study"])
    assert tags["search_trial_run_id"] == found["trial_run_id"]

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
        "PYTHONPATH": str(tmp_path / "watch"),
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
    allowed = {mine / name for name in ("frames.npy", "clips.csv", "features.json")}
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


def stage(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recitative.cli", "search", *arguments],
        cwd=project.root, env=project.environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize("whom", ["a worker", "everybody"])
def test_killed_in_a_trial_it_ends_at_exactly_the_total(
    whom: str, featurized: Project, tmp_path: Path
) -> None:
    project = featurized.copy(tmp_path / "project").set(**(SMALL | {"search.pruner": "none"}))
    process = stage(project)
    lives = project.root / ".recitative/search/journal.log.workers"
    claimed = project.root / ".recitative/search/journal.log"
    while not (claimed.exists() and '"worker"' in claimed.read_text()):
        assert process.poll() is None, process.stdout and process.stdout.read()
    if whom == "everybody":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        worker = min(lives.iterdir()).name
        os.kill(int(worker.rsplit("-", 2)[1]), signal.SIGKILL)
    shown, _ = process.communicate()
    if whom == "everybody":
        shown = project.run("search")
    else:
        assert process.returncode == 0, shown
    table = trials(project)
    assert finished(table) == 3, shown
    dead = table[table["state"] == "failed"] if "failed" in set(table["state"]) else table.iloc[:0]
    dead = table[table["state"] == "fail"] if dead.empty else dead
    assert len(dead) >= 1
    for row in dead.itertuples():
        [again] = table[table["retry_of"] == row.trial].itertuples()
        assert again.learning_rate == row.learning_rate
    status = Counter(run.info.status for run in project.runs())
    assert status["FINISHED"] == 4  # three trials and the study
    assert not status["RUNNING"]


def test_another_machine_joins(featurized: Project, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    changes = SMALL | {"search.storage": storage, "search.workers": 1, "search.trials": 4}
    here = featurized.copy(tmp_path / "here").set(**changes)
    there = featurized.copy(tmp_path / "there").set(**changes)
    early = there.invoke("search", "--join")
    assert "no study" in str(early.exception)
    first = stage(here)
    assert first.stdout
    begun = [line for line in iter(first.stdout.readline, "") if "trial 0" in line][:1]
    second = stage(there, "--join")
    rest, _ = first.communicate()
    helped, _ = second.communicate()
    assert (first.returncode, second.returncode) == (0, 0), begun + [rest, helped]
    assert finished(trials(here)) == 4
    assert not (there.root / "build/search").exists()


def test_every_trial_fails(featurized: Project, tmp_path: Path) -> None:
    project = featurized.copy(tmp_path / "project").set(**(SMALL | {"search.workers": 1}))
    rates = {"kind": "log_uniform", "values": [1e30, 1e35]}
    project.set(**{"search.space.scae.learning_rate": rates})
    result = project.invoke("search")
    said = str(result.exception)
    assert "3 trials failed and 0 finished" in said
    assert "loss is nan" in said
    assert not (project.root / "build/search/best.yaml").exists()
    assert sorted(run.info.status for run in project.runs()) == ["FAILED"] * 4


PLAN = {"name": "study", "family": "family", "maximize": False, "epochs": 4, "seed": 1}


@pytest.mark.parametrize(("storage", "seed"), [("journal", 0), ("journal", 1), ("sqlite", 0)])
def test_workers_killed_at_random_moments(storage: str, seed: int, tmp_path: Path) -> None:
    """Kill until eight have died; at the end the total is exact and nothing was finished twice."""
    total, rng = 12, random.Random(seed)
    address = f"sqlite:///{tmp_path}/s.db" if storage == "sqlite" else str(tmp_path / "j.log")
    space = {"x": Dimension(kind="uniform", values=(0, 1))}
    plan = search.Plan(address, space=space, **PLAN, heartbeat=1)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    workers: list[subprocess.Popen[str]] = []
    killed = rounds = 0
    study: Any = None
    while study is None or search.progress(study).finished < total:
        rounds += 1
        assert rounds < 60
        while len(workers) < 3:
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", DRIVER, address, str(total)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )  # fmt: skip
            )
        if killed < 8:
            victim = workers.pop(rng.randrange(3))
            assert victim.stdout
            assert victim.stdin
            for _ in range(rng.randrange(1, 8)):  # so many epochs, and then no more
                if victim.stdout.readline()[:1].isdigit():
                    with contextlib.suppress(BrokenPipeError):
                        victim.stdin.write("\n")
                        victim.stdin.flush()
            victim.kill()
            victim.wait()
            killed += 1
        else:
            for worker in workers:
                worker.communicate()
            workers.clear()
        study = search.open_study(plan)
    for worker in workers:
        worker.communicate()
    rows = search.table(search.open_study(plan), ["x"])
    done = [row for row in rows if row["state"] in ("complete", "pruned")]
    assert len(done) == total
    assert any(row["state"] == "fail" for row in rows)  # some did die in a trial
    assert not any(row["state"] in ("running", "waiting") for row in rows)
    assert len({row["x"] for row in done}) == total  # none ran to its end twice
    chains = Counter(row["trial"] if row["retry_of"] is None else row["retry_of"] for row in done)
    assert set(chains.values()) == {1}
