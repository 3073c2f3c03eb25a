"""The registry keeps the better model: against a champion, in an experiment, by hand, with lost files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from projects import Project

from recitative.errors import UserError
from recitative.evaluation import promotion
from recitative.evaluation.metrics import LABELS, PROBABILITIES, QUADRANT_CODES
from recitative.files import read_json, sha256, write_json
from recitative.tracking import registry
from recitative.tracking.registry import CHALLENGER, CHAMPION

pytestmark = pytest.mark.slow


class Experiment(Project):
    """The project as `dvc exp run` has its stages see it."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DVC_EXP_NAME": "cpc-tried"}


class InACopy(Project):
    """The project in another folder than DVC_ROOT, as `dvc exp run --temp` makes one."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DVC_ROOT": str(self.root.with_name("project"))}


def in_a_copy(project: Project) -> Project:
    copy = project.root.with_name("copy")
    copy.mkdir()
    for name in ("build", "data", "params.yaml"):
        (copy / name).symlink_to(project.root / name)
    return InACopy(copy)


@pytest.fixture
def project(trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Full transfer of English speech is the best cell, and right on every song."""
    monkeypatch.setattr(promotion, "ENOUGH_SONGS", 3)  # there are four
    copied = trained.copy(tmp_path / "project")
    make_best(copied, "full", 1.0)
    return copied


def make_best(project: Project, mode: str, right: float) -> None:
    """Let a cell be the best on validation, and decide this share of the test songs right."""
    folder = project.root / "build/transfer/eng2eng"
    for path in (folder / "full.json", folder / "feature_extraction.json"):
        described = read_json(path)
        described["validation"]["quadrant_f1"] = 2.0 if path.stem == mode else 0.0
        write_json(path, described)
    table = pd.read_csv(folder / "predictions.csv")
    mine = table["transfer_mode"] == mode
    songs = {clip: i for i, clip in enumerate(sorted(table["clip"].unique()))}
    position = table["clip"].map(songs).to_numpy()
    told = {}
    for task, labels in LABELS.items():
        true = table["quadrant"].map(QUADRANT_CODES[task]).to_numpy()
        told[task] = np.where(position < right * len(songs), true, (true + 1) % len(labels))
    values = np.column_stack([np.eye(4)[told["quadrant"]], told["arousal"], told["valence"]])
    table.loc[mine, list(PROBABILITIES)] = values[mine]
    table.to_csv(folder / "predictions.csv", index=False)


def decision(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = read_json(project.root / "build/registry/decision.json")[0]
    return found


def failed(project: Project) -> list[str]:
    return [gate["name"] for gate in decision(project)["gates"] if not gate["passed"]]


def aliases(project: Project) -> dict[str, str | None]:
    with project.here():
        found = {alias: registry.by_alias("mer-eng", alias) for alias in (CHAMPION, CHALLENGER)}
    return {alias: version.number if version else None for alias, version in found.items()}


def test_the_candidate_is_the_ensemble_of_the_best_cell_and_described(project: Project) -> None:
    project.run("register")
    found = decision(project)
    assert found["candidate"] == {
        "pairing": "eng2eng", "arch": "scae", "transfer_mode": "full", "members": 2,
        "validation_f1": found["candidate"]["validation_f1"],
    }  # fmt: skip
    assert found["alias"] == CHAMPION, failed(project)
    with project.here():
        version = registry.resolve("mer-eng")
        names = {path.name for path in registry.bundle_of(version).iterdir()}
        shown = registry.client().get_model_version("mer-eng", "1").description
        model = registry.client().get_registered_model("mer-eng").description
    assert names == {
        "model.json", "model-0-0.safetensors", "model-1-0.safetensors", "test_predictions.csv",
    }  # fmt: skip
    assert "The average of 2 networks (2 repeats, 1 fold): SCAE, full, eng2eng" in shown
    assert "Pretrained on English speech (" in shown
    assert "95 % interval: quadrant 1.000 [" in shown
    assert "Synthetic" not in shown  # these corpora are not the embedded one
    assert version.tags["synthetic"] == "false"
    assert model.startswith("Emotion in English music")


def test_a_synthetic_corpus_is_told(project: Project) -> None:
    table = project.root / "build/index/music-eng.csv"
    rows = pd.read_csv(table)
    rows["group"] = [f"Synthetic artist {name}" for name in rows["group"]]
    rows.to_csv(table, index=False)
    with project.here():
        from recitative.stages import register

        with pytest.MonkeyPatch.context() as patch:  # the index is another than was certified
            patch.setattr(register, "require_clean", lambda *_, **__: None)
            project.run("register")
        version = registry.client().get_model_version("mer-eng", "1")
    assert "**Synthetic**" in version.description
    assert version.tags["synthetic"] == "true"


def test_a_worse_candidate_becomes_challenger_and_the_output_says_why(project: Project) -> None:
    project.run("register")
    make_best(project, "feature_extraction", 0.7)
    told = project.run("register")
    assert (decision(project)["version"], decision(project)["champion_before"]) == ("2", "1")
    assert failed(project) == ["above_champion"]
    assert "no  above_champion: macro F 0." in told
    assert aliases(project) == {CHAMPION: "1", CHALLENGER: "2"}
    make_best(project, "full", 1.0)  # the champion is judged once more: it stays what it is
    project.run("register")
    assert decision(project)["alias"] == CHAMPION
    assert aliases(project) == {CHAMPION: "1", CHALLENGER: "2"}


def test_a_better_candidate_becomes_champion(project: Project) -> None:
    make_best(project, "full", 0.0)
    project.run("register")
    project.run("promote", "mer-eng/1")
    make_best(project, "feature_extraction", 1.0)
    project.run("register")
    assert failed(project) == []
    assert aliases(project)[CHAMPION] == "2"


@pytest.mark.parametrize("kind", ["by its name", "in a copy"])
def test_an_experiment_never_moves_the_champion(kind: str, project: Project) -> None:
    tried = Experiment(project.root) if kind == "by its name" else in_a_copy(project)
    told = tried.run("register")  # not even where there is none
    assert failed(tried) == ["no_experiment"]
    assert "an experiment never moves the champion; `recitative promote mer-eng/1` does" in told
    assert aliases(tried) == {CHAMPION: None, CHALLENGER: "1"}
    tried.run("promote", "mer-eng/1")
    make_best(project, "feature_extraction", 1.0)
    tried.run("register")
    assert aliases(tried) == {CHAMPION: "1", CHALLENGER: "2"}
    make_best(project, "full", 1.0)
    tried.run("register")  # nor does it take the alias from the champion itself
    assert aliases(tried) == {CHAMPION: "1", CHALLENGER: "2"}


def tree(project: Project) -> dict[str, str]:
    """Every file but those of the registry."""
    own = {"mlartifacts", ".recitative", "data", "mlflow.db", "mlflow.db-wal", "mlflow.db-shm"}
    return {
        str(path): sha256(path)
        for path in project.root.rglob("*")
        if path.is_file() and path.relative_to(project.root).parts[0] not in own
    }


def test_promotion_by_hand_shows_the_comparison_and_is_reverted(project: Project) -> None:
    project.run("register")
    make_best(project, "feature_extraction", 0.7)
    project.run("register")
    before = tree(project)
    told = project.run("promote", "mer-eng/2")
    assert "champion now: mer-eng/1: eng2eng scae full corrected" in told
    assert "shared test songs: -" in told
    assert (
        "mer-eng/2 is the champion of mer-eng now; `recitative promote mer-eng/1` reverts" in told
    )
    assert aliases(project) == {CHAMPION: "2", CHALLENGER: None}
    assert "shared test songs: +" in project.run("promote", "models:/mer-eng/1")
    assert aliases(project)[CHAMPION] == "1"
    assert "mer-eng/1 is the champion already" in project.run("promote", "mer-eng/1")
    assert tree(project) == before


@pytest.mark.parametrize("version", ["mer-eng/9", "mer-deu/1"])
def test_what_is_not_there_is_not_promoted(version: str, project: Project) -> None:
    project.run("register")
    refused = project.invoke("promote", version)
    assert isinstance(refused.exception, UserError)
    assert "there are mer-eng/1 (champion), mer-man/1 (" in str(refused.exception)


def test_a_champion_that_cannot_be_loaded_is_no_reason_to_promote(project: Project) -> None:
    project.run("register")
    with project.here():
        weights = registry.bundle_of(registry.resolve("mer-eng/1")) / "model-1-0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    make_best(project, "feature_extraction", 1.0)
    told = project.run("register")
    assert failed(project) == ["above_champion"]
    assert "the champion cannot be compared: " in told
    assert "`recitative promote mer-eng/2` puts this version in its place" in told
    assert aliases(project) == {CHAMPION: "1", CHALLENGER: "2"}
    told = project.run("promote", "mer-eng/2")
    assert "they cannot be compared" in told
    assert aliases(project)[CHAMPION] == "2"
    refused = project.invoke("promote", "mer-eng/1")
    assert "sha256 differs" in str(refused.exception)


def test_a_model_is_named_in_every_way_and_a_repeat_alone(project: Project, tmp_path: Path) -> None:
    project.run("register")
    song = next(path for path in (project.root / "data").rglob("*.wav"))
    cell = project.root / "build/transfer/eng2eng"
    named = {
        "mer-eng": "mer-eng/1", "mer-eng/1": "mer-eng/1", "models:/mer-eng@champion": "mer-eng/1",
        str(cell / "full.json"): str(cell / "full.json"),
        str(cell / "full-1-0.safetensors"): str(cell / "full-1-0.safetensors"),
    }  # fmt: skip
    answers = {}
    for model, name in named.items():
        answer = tmp_path / "answer.json"
        project.run("predict", str(song), "--model", model, "--json", str(answer))
        [answers[model]] = read_json(answer)
        assert answers[model].pop("model") == name
    together, alone = answers["mer-eng"], answers[str(cell / "full-1-0.safetensors")]
    assert all(answer == together for answer in list(answers.values())[:-1])
    assert alone["whole"] != together["whole"]
    with project.here():
        registry.client().delete_registered_model_alias("mer-eng", CHAMPION)
        registry.set_alias(registry.resolve("mer-eng/1"), CHALLENGER)
    refused = project.invoke("predict", str(song), "--model", "models:/mer-eng@champion")
    assert "mer-eng/1 (challenger)" in str(refused.exception)
