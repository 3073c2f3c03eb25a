"""Results belong to their code: real `dvc repro`, the code edited in between, in a tiny project."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from projects import Project, make_project

pytestmark = pytest.mark.integration
LANGUAGES = ("eng", "man", "mix")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project with git and DVC, pretrained by its own copy of the code."""
    made = make_project(tmp_path_factory.mktemp("versions") / "project", tracked=True)
    made.set(**{"compute.workers": 2})
    made.shell("dvc", "repro", "pretrain")
    return made


@pytest.fixture
def ids(project: Project) -> dict[str, str]:
    """Which run each published pretraining is of."""
    return run_ids(project)


def run_ids(project: Project) -> dict[str, str]:
    folder = project.root / "build" / "pretrain"
    return {la: json.loads((folder / la / "run.json").read_text())["run_id"] for la in LANGUAGES}


def edit(project: Project, module: str) -> None:
    path = project.root / "src" / "recitative" / module
    path.write_text(path.read_text() + "\n_EDITED = True\n")


def stages(told: str) -> set[str]:
    """The stages that DVC ran."""
    return {line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")}


def test_an_edited_message_trains_nothing(project: Project, ids: dict[str, str]) -> None:
    for module in ("errors.py", "tracking/runs.py", "reports/figures.py", "commands/predict.py"):
        edit(project, module)
    assert stages(project.shell("dvc", "repro", "pretrain").stdout) == set()
    assert run_ids(project) == ids


def test_an_edited_model_trains_what_it_touches_and_no_more(
    project: Project, ids: dict[str, str]
) -> None:
    edit(project, "models/scae.py")
    told = project.shell("dvc", "repro", "pretrain").stdout
    assert stages(told) == {"search", *(f"pretrain@{language}" for language in LANGUAGES)}
    now = run_ids(project)
    assert not set(now.values()) & set(ids.values())
    # Once each, though the first stage trains for the others (side by side: unit/test_work.py).
    assert told.count("training examples") == len(LANGUAGES)


def test_another_precision_trains_again(project: Project, ids: dict[str, str]) -> None:
    project.set(**{"compute.precision": "bf16"})
    told = project.shell("dvc", "repro", "pretrain@eng").stdout
    assert stages(told) == {"search", "pretrain@eng"}
    assert run_ids(project)["eng"] != ids["eng"]


def test_what_the_faulty_code_finished_is_not_used(project: Project) -> None:
    """Killed with a repeat finished, the code mended: no run of the faulty code is gone on with."""
    project.set(**{"compute.ahead": False, "compute.workers": 1, "transfer.repeats": 3})
    stage = subprocess.Popen(
        ["dvc", "repro", "--single-item", "transfer@eng-eng"], cwd=project.root,
        env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    done = project.root / ".recitative" / "work"
    while not list(done.glob("transfer-eng2eng-*/feature_extraction-0.json")):
        assert stage.poll() is None, "the stage ended before it could be killed"
        try:
            stage.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(stage.pid, signal.SIGKILL)
    stage.wait()
    faulty = {run.info.run_id for run in project.runs("tags.pairing = 'eng2eng'")}
    assert faulty
    edit(project, "models/classifier.py")
    project.shell("dvc", "repro", "--single-item", "transfer@eng-eng")
    published = json.loads(Path(project.root, "build/transfer/eng2eng/run.json").read_text())
    used = {run for mode in ("feature_extraction", "full") for run in published[mode].values()}
    assert len(used) == 6
    assert not used & faulty


def test_an_experiment_in_a_copy_runs_the_copys_code(project: Project) -> None:
    """Edited after it was queued, an experiment runs the code that DVC hashed for it."""
    project.shell("git", "add", "-A")
    project.shell("git", "commit", "-qm", "as it is")
    cli = project.root / "src" / "recitative" / "stages" / "index.py"
    project.shell("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "demo.seed=2", "index")
    kept = cli.read_text()
    cli.write_text('raise SystemExit("the code of after the queue ran")\n')
    try:
        project.shell("dvc", "queue", "start")
        for _ in range(600):
            told = project.shell("dvc", "queue", "status").stdout
            if "Success" in told or "Failed" in told:
                break
    finally:
        cli.write_text(kept)
    assert "Success" in told, project.shell("dvc", "queue", "logs", "queued", check=False).stdout
