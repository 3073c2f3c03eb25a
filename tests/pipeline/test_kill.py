"""kill -9 in the middle: the next time ends in the same bytes, trains nothing twice, leaves no run."""

import contextlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import TINY, Project

from recitative.tracking.runs import PID

RESULTS = ("predictions.csv", "metrics.json", "*.safetensors")
SAVED = "recitative.learning.checkpoint:Checkpoint:save"
ONE_CELL = sorted(["feature_extraction", "full"] * TINY["transfer.repeats"] + ["parent"])
SLOWER = {
    "pretrain.epochs": 4,
    "transfer.frozen.epochs": 4,
    "transfer.finetune.epochs": 3,
    "compute.ahead": False,
}

pytestmark = pytest.mark.slow


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in folder.glob(pattern)
    }
    assert found
    return found


def check_left(project: Project) -> None:
    """Of all work the last stage's result alone is kept, until DVC must have it in its cache."""
    work = project.root / ".recitative" / "work"
    [last] = [path for path in work.iterdir() if path.is_dir()]
    assert {path.name for path in last.iterdir()} == {"about.json", "published", "result"}


def status(project: Project) -> list[str]:
    return sorted(run.info.status for run in project.runs())


def epochs(project: Project, mode: str) -> dict[str, list[int]]:
    """Of each run of a mode, the epochs that were logged, without those told again."""
    from recitative.tracking.store import client

    logged = {}
    for run in project.runs(f"tags.transfer_mode = '{mode}'"):
        with project.here():
            history = client().get_metric_history(run.info.run_id, "train_loss")
        logged[run.info.run_id] = sorted({point.step for point in history})
    return logged


@pytest.fixture(scope="module")
def undisturbed(
    featurized: Project, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Project]:
    """A project in which one architecture was pretrained and transferred in peace."""
    made: dict[str, Project] = {}

    def make(arch: str) -> Project:
        if arch not in made:
            project = featurized.copy(tmp_path_factory.mktemp("peace") / arch)
            project.set(**SLOWER, **{"pretrain.arch": arch}).run("pretrain", "eng")
            made[arch] = project
        return made[arch]

    return make


@pytest.mark.parametrize("arch", ["scae", "cpc"])
def test_pretraining_goes_on_to_the_same_weights(
    arch: str, featurized: Project, undisturbed: Callable[[str], Project], tmp_path: Path
) -> None:
    project = featurized.copy(tmp_path / "project").set(**SLOWER, **{"pretrain.arch": arch})
    project.kill(SAVED, "after", 2, "pretrain", "eng")
    assert not (project.root / "build/pretrain/eng").exists()
    assert status(project) == ["RUNNING"]
    [begun] = project.runs()

    project.run("pretrain", "eng")
    patterns = ("model.safetensors", "history.csv", "metrics.json", "model.json")
    assert contents(project.root / "build/pretrain/eng", *patterns) == contents(
        undisturbed(arch).root / "build/pretrain/eng", *patterns
    )
    [run] = project.runs()
    assert run.info.run_id == begun.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["resumed"] == "true"
    assert epochs(project, "pretrain") == {run.info.run_id: [0, 1, 2, 3]}
    assert not list(project.root.rglob("*.partial*"))


@pytest.mark.parametrize(
    ("function", "when", "count"),
    [
        (SAVED, "after", 1),  # in the first mode's training
        (SAVED, "before", 4),  # with no checkpoint of the second mode yet
        ("recitative.models.storage::save_weights", "after", 1),  # trained, but not told
        (
            "recitative.experiment.repeats::log_predictions",
            "before",
            1,
        ),  # told, but the run not ended
        ("recitative.experiment.repeats::write_json", "after", 1),  # but for the run's last word
        (
            "recitative.experiment.repeats::_write_weights",
            "before",
            1,
        ),  # while the output is written
    ],
)
def test_transfer_goes_on_to_the_same_predictions(
    function: str,
    when: str,
    count: int,
    undisturbed: Callable[[str], Project],
    tmp_path: Path,
) -> None:
    peace = undisturbed("scae")
    out = Path("build/transfer/eng2man")
    if not (peace.root / out).exists():
        peace.run("transfer", "eng2man")
    project = peace.copy(tmp_path / "project")
    shutil.rmtree(project.root / out)
    before = {run.info.run_id for run in project.runs()}
    project.kill(function, when, count, "transfer", "eng2man")
    assert not (project.root / out).exists()
    assert "RUNNING" in status(project)

    project.run("transfer", "eng2man")
    assert contents(project.root / out, *RESULTS) == contents(peace.root / out, *RESULTS)
    assert set(status(project)) == {"FINISHED"}
    runs = {
        run.info.run_id: run.data.tags["transfer_mode"]
        for run in project.runs()
        if run.info.run_id not in before
    }
    assert sorted(runs.values()) == ONE_CELL  # none begun twice
    for mode, count in (("feature_extraction", 4), ("full", 3)):
        for run_id, steps in epochs(project, mode).items():
            assert run_id in before or steps == list(range(count))
    assert not list((project.root / "build").rglob("*.partial*"))


def test_controls_that_are_no_networks_are_fitted_once(trained: Project, tmp_path: Path) -> None:
    """Killed after one of them: it is read, not fitted and tracked again."""
    project = trained.copy(tmp_path / "project").set(**{"compute.ahead": False, "seed": 7})
    before = {run.info.run_id for run in project.runs()}
    project.kill("recitative.stages.controls::write_json", "after", 2, "controls", "eng")
    project.run("controls", "eng")
    runs = [run for run in project.runs() if run.info.run_id not in before]
    assert {run.info.status for run in runs} == {"FINISHED"}
    fitted = Counter((run.data.tags["transfer_mode"], run.data.tags["repeat"]) for run in runs)
    assert {("majority", "0"), ("stratified", "1"), ("mfcc_svm", "0")} < set(fitted)
    assert set(fitted.values()) == {1}


def test_work_done_ahead_is_found_after_a_kill(
    undisturbed: Callable[[str], Project], tmp_path: Path
) -> None:
    """Killed while another pairing is trained ahead; then both stages are run, that one first."""
    peace = undisturbed("scae")
    folders = {pairing: f"build/transfer/{pairing}" for pairing in ("eng2eng", "eng2man")}
    project = peace.copy(tmp_path / "project").set(**{"compute.ahead": True})
    for pairing, folder in folders.items():
        if not (peace.root / folder).exists():
            peace.run("transfer", pairing)
        shutil.rmtree(project.root / folder, ignore_errors=True)
    before = {run.info.run_id for run in project.runs()}
    project.kill("recitative.models.storage::save_weights", "after", 6, "transfer", "eng2eng")
    for pairing in ("eng2man", "eng2eng"):
        project.run("transfer", pairing)
    for folder in folders.values():
        assert contents(project.root / folder, *RESULTS) == contents(peace.root / folder, *RESULTS)
    runs = [run for run in project.runs() if run.info.run_id not in before]
    assert {run.info.status for run in runs} == {"FINISHED"}
    cells = Counter(
        (run.data.tags["pairing"], run.data.tags["transfer_mode"], run.data.tags["repeat"])
        for run in runs
    )
    assert set(cells.values()) == {1}
    assert len(cells) == 2 * (2 * TINY["transfer.repeats"] + 1)
    check_left(project)


def test_pretrainings_done_ahead_are_found_after_a_kill(
    featurized: Project, undisturbed: Callable[[str], Project], tmp_path: Path
) -> None:
    """Killed in the second of three languages; then each is run, the one trained ahead first."""
    peace = undisturbed("scae")
    project = featurized.copy(tmp_path / "project").set(**{**SLOWER, "compute.ahead": True})
    project.kill(SAVED, "after", 5, "pretrain", "eng")
    for language in ("man", "eng", "mix"):
        project.run("pretrain", language)
    patterns = ("model.safetensors", "history.csv", "metrics.json", "model.json")
    assert contents(project.root / "build/pretrain/eng", *patterns) == contents(
        peace.root / "build/pretrain/eng", *patterns
    )
    runs = project.runs()
    assert sorted(run.data.tags["speech_language"] for run in runs) == ["eng", "man", "mix"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(steps == [0, 1, 2, 3] for steps in epochs(project, "pretrain").values())
    check_left(project)


def test_the_next_stage_reaps_what_another_left(featurized: Project, tmp_path: Path) -> None:
    """The killed stage is not run again: another one is, and says that the first is dead."""
    project = featurized.copy(tmp_path / "project").set(**{"compute.ahead": False})
    project.kill("recitative.learning.checkpoint:Checkpoint:due", "before", 1, "pretrain", "eng")
    [left] = project.runs()
    assert left.info.status == "RUNNING"
    assert int(left.data.tags[PID])
    project.run("pretrain", "man")
    assert {run.data.tags["speech_language"]: run.info.status for run in project.runs()} == {
        "eng": "KILLED",
        "man": "FINISHED",
    }


def test_workers_that_outlive_their_stage_train_nothing_twice(
    undisturbed: Callable[[str], Project], tmp_path: Path
) -> None:
    """Only the stage is killed, with its workers at work; it is started again at once."""
    peace = undisturbed("scae")
    if not (peace.root / "build/transfer/eng2eng").exists():
        peace.run("transfer", "eng2eng")
    project = peace.copy(tmp_path / "project").set(**{"compute.workers": 2})
    shutil.rmtree(project.root / "build/transfer/eng2eng")
    before = {run.info.run_id for run in project.runs()}
    stage = subprocess.Popen(
        [sys.executable, "-m", "recitative.cli", "transfer", "eng2eng"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    work = project.root / ".recitative" / "work"
    while not list(work.glob("transfer-eng2eng-*/*.checkpoint")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            stage.wait(0.1)
            pytest.fail("the stage ended before it could be killed")
    stage.kill()
    stage.wait()
    project.shell("recitative", "transfer", "eng2eng")
    out = "build/transfer/eng2eng"
    assert contents(project.root / out, *RESULTS) == contents(peace.root / out, *RESULTS)
    modes = [
        run.data.tags["transfer_mode"] for run in project.runs() if run.info.run_id not in before
    ]
    assert sorted(modes) == ONE_CELL
    assert set(status(project)) == {"FINISHED"}


@pytest.mark.parametrize(
    ("function", "when"),
    [
        ("recitative.tracking.registry::_upload", "before"),  # nothing is registered yet
        ("recitative.tracking.registry::_upload", "after"),  # files, but no version
        ("recitative.tracking.registry::set_alias", "before"),  # a version, but no alias
        ("recitative.tracking.registry::set_alias", "after"),  # one language of two
        ("recitative.stages.register::write_json", "after"),
    ],
)
def test_register_is_healed_by_the_next_time(
    function: str, when: str, trained: Project, tmp_path: Path
) -> None:
    from recitative.tracking import registry

    project = trained.copy(tmp_path / "project")
    project.kill(function, when, 1, "register")
    assert not (project.root / "build/registry").exists()
    project.run("register")
    for name in ("mer-eng", "mer-man"):
        with project.here():
            [version] = registry.client().search_model_versions(f"name = '{name}'")
            aliases = [registry.by_alias(name, alias) for alias in ("champion", "challenger")]
            [found] = [alias for alias in aliases if alias]
            assert found.number == str(version.version) == "1"
            assert (registry.bundle_of(found) / "model-0-0.safetensors").stat().st_size
    assert status(project) == status(trained)
