"""The whole loop on tiny parameters: every cell, every run, the registry, and DVC around it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
import yaml
from projects import MUSIC, SPEECH, TINY, TRAINED, Project, make_project

import trees
from recitative.tracking import registry
from recitative.vocabulary import PAIRINGS

MODES = ("feature_extraction", "full")
CONTROLS = ("majority", "stratified", "random_encoder", "scratch", "shuffled_labels", "mfcc_svm")
ONCE = ("majority", "mfcc_svm")  # nothing in them depends on chance
Cells = dict[tuple[str, str], int]  # repeats by mode and pairing


def matrix(repeats: int, controls: tuple[str, ...]) -> Cells:
    """What params.yaml asks for."""
    cells = {(mode, pairing): repeats for mode in MODES for pairing in PAIRINGS}
    return cells | {
        (mode, f"none2{music}"): 1 if mode in ONCE else repeats
        for mode in controls
        for music in MUSIC
    }


CELLS = matrix(TINY["transfer.repeats"], CONTROLS)
LABELS = (
    "pairing", "setting", "speech_language", "music_language", "arch", "transfer_mode", "repeat",
    "protocol", "experiment", "device",
)  # fmt: skip
PROVENANCE = ("git_sha", "dvc_experiment", "dvc_stage", "certificate_hash")


def read(project: Project, *path: str) -> Any:
    return json.loads(project.root.joinpath("build", *path).read_text(encoding="utf-8"))


def run_ids(project: Project) -> dict[tuple[str, str, str], str]:
    """The run of each repeat, by pairing, mode and repeat, as run.json has them."""
    found = {}
    folders = {pairing: f"transfer/{pairing}" for pairing in PAIRINGS}
    folders |= {f"none2{music}": f"controls/{music}" for music in MUSIC}
    for pairing, folder in folders.items():
        for mode, repeats in read(project, folder, "run.json").items():
            if isinstance(repeats, dict):
                found |= {(pairing, mode, repeat): id for repeat, id in repeats.items()}
    return found


def check_results(project: Project, cells: Cells = CELLS, arch: str = "scae") -> None:
    """Every cell and control, each repeat, task, level and average once, with its own run."""
    results = pd.read_csv(project.root / "build/evaluate/results.csv")
    wanted = {
        (mode, pairing, repeat, task, level, average)
        for (mode, pairing), repeats in cells.items()
        for repeat in range(repeats)
        for task in ("quadrant", "arousal", "valence")
        for level in ("segment", "song")
        for average in ("macro", "weighted")
    }
    key = ["transfer_mode", "pairing", "repeat", "task", "level", "average"]
    found = list(results[key].itertuples(index=False, name=None))
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert set(results["arch"]) == {arch}
    assert results[["precision", "recall", "f1", "accuracy"]].stack().between(0, 1).all()
    settings = {row.pairing: row.setting for row in results[["pairing", "setting"]].itertuples()}
    assert settings == {
        "eng2eng": "intra", "man2man": "intra", "eng2man": "cross", "man2eng": "cross",
        "mix2eng": "mix", "mix2man": "mix", "none2eng": "none", "none2man": "none",
    }  # fmt: skip


@pytest.mark.slow
class TestTrained:
    """What the stages leave behind, run one after the other in this process."""

    def test_every_cell_is_there(self, trained: Project) -> None:
        check_results(trained)

    def test_every_cell_has_a_run_that_says_what_it_is(self, trained: Project) -> None:
        runs = {run.info.run_id: run for run in trained.runs()}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        results = pd.read_csv(trained.root / "build/evaluate/results.csv", dtype=str)
        key = ["pairing", "transfer_mode", "repeat"]
        cells, ids = results.drop_duplicates(key), run_ids(trained)
        assert len(cells) == len(set(ids.values())) == sum(CELLS.values())
        for row in cells.itertuples():
            run = runs[ids[row.pairing, row.transfer_mode, row.repeat]]
            for name in LABELS:
                assert run.data.params[name] == run.data.tags[name], name
            for name in ("pairing", "setting", "arch", "transfer_mode", "repeat", "experiment"):
                assert run.data.tags[name] == getattr(row, name), name
            assert all(run.data.tags.get(name) for name in PROVENANCE)
            assert run.data.tags[f"feature_hash.music-{row.music_language}"]
            assert run.inputs.dataset_inputs
            mine = (results[key] == [getattr(row, name) for name in key]).all(axis=1)
            song = results[mine & (results["level"] == "song")].set_index(["task", "average"])
            for task in ("quadrant", "arousal", "valence"):
                told = float(song.loc[(task, "macro"), "f1"])
                assert run.data.metrics[f"test_{task}_f1"] == pytest.approx(told, abs=1e-4), task

    def test_the_runs_are_grouped_and_counted(self, trained: Project) -> None:
        """One run a pretraining, cell's parent, repeat and control; none twice, none left over."""
        modes = Counter(run.data.tags["transfer_mode"] for run in trained.runs())
        wanted = Counter({"pretrain": 3, "parent": 8, "agreement": 1})
        for (mode, _), repeats in CELLS.items():
            wanted[mode] += repeats
        assert modes == wanted
        parents = {run.info.run_id for run in trained.runs("tags.transfer_mode = 'parent'")}
        children = trained.runs("tags.transfer_mode = 'full'")
        assert {run.data.tags["mlflow.parentRunId"] for run in children} < parents

    def test_a_run_has_its_figures_and_predictions(self, trained: Project) -> None:
        from recitative.tracking.store import client

        [run] = trained.runs(
            "tags.transfer_mode = 'full' AND tags.pairing = 'eng2man' AND tags.repeat = '1'"
        )
        with trained.here():
            names = {item.path for item in client().list_artifacts(run.info.run_id)}
            steps = client().get_metric_history(run.info.run_id, "validation_loss")
        assert {"history.png", "predictions.csv"} <= names
        assert {f"confusion_{task}.png" for task in ("quadrant", "arousal", "valence")} <= names
        assert [step.step for step in steps] == list(range(TINY["transfer.finetune.epochs"]))

    def test_a_cached_stage_leads_to_its_runs(self, trained: Project) -> None:
        known = {run.info.run_id for run in trained.runs()}
        for language in SPEECH:
            assert read(trained, "pretrain", language, "run.json")["run_id"] in known
        for folder in [*(f"transfer/{p}" for p in PAIRINGS), *(f"controls/{m}" for m in MUSIC)]:
            runs = read(trained, folder, "run.json")
            assert runs.pop("parent") in known
            cells = [repeats for repeats in runs.values() if isinstance(repeats, dict)]
            assert {id for repeats in cells for id in repeats.values()} <= known
            assert len(cells) == (len(MODES) if "transfer" in folder else len(CONTROLS))

    def test_no_half_written_file_and_no_work_is_left(self, trained: Project) -> None:
        assert not list(trained.root.rglob("*.partial*"))
        work = trained.root / ".recitative" / "work"
        [last] = [path for path in work.iterdir() if path.is_dir()]  # until DVC must have it
        assert {path.name for path in last.iterdir()} == {"about.json", "published", "result"}

    def test_no_pickle_anywhere(self, trained: Project) -> None:
        for suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib"):
            assert not list(trained.root.rglob(f"*{suffix}"))

    def test_both_models_are_registered_once_and_heard(
        self, trained: Project, tmp_path: Path
    ) -> None:
        project = trained.copy(tmp_path / "project")
        told = project.run("register")
        decisions = read(project, "registry", "decision.json")
        assert [decision["model"] for decision in decisions] == ["mer-eng", "mer-man"]
        for decision in decisions:
            passed = all(gate["passed"] for gate in decision["gates"])
            assert decision["alias"] == ("champion" if passed else "challenger")
            assert {gate["name"] for gate in decision["beside"]} == {
                "beats_random_encoder", "beats_scratch",
            }  # fmt: skip
            for gate in decision["gates"] + decision["beside"]:
                assert gate["reason"] in told
            with project.here():
                version = registry.by_alias(decision["model"], decision["alias"])
                assert version is not None
                assert version.number == decision["version"] == "1"
                for gate in decision["gates"]:
                    assert gate["reason"] in version.tags[f"gate.{gate['name']}"]
        best = max(
            read(project, "transfer", pairing, f"{mode}.json")["validation"]["quadrant_f1"]
            for pairing in ("eng2eng", "man2eng", "mix2eng")
            for mode in MODES
        )
        assert decisions[0]["candidate"]["validation_f1"] == best

        project.run("register")
        again = read(project, "registry", "decision.json")
        assert [d["version"] for d in again] == ["1", "1"]
        with project.here():
            assert len(registry.client().search_model_versions("name = 'mer-eng'")) == 1

        song = tmp_path / "my söng.wav"
        soundfile.write(song, trees.tone("song", 3), trees.SAMPLE_RATE)
        told = project.invoke("predict", str(song), "--json", str(tmp_path / "answer.json"))
        assert told.exit_code == 0, told.output
        noticed = "no champion; this is its challenger" in told.output
        assert noticed == (decisions[0]["alias"] == "challenger")
        assert json.loads((tmp_path / "answer.json").read_text("utf-8"))[0]["file"] == str(song)

    def test_a_champion_whose_files_are_lost_is_healed(
        self, trained: Project, tmp_path: Path
    ) -> None:
        project = trained.copy(tmp_path / "project")
        project.run("register")
        alias = read(project, "registry", "decision.json")[0]["alias"]
        with project.here():
            version = registry.by_alias("mer-eng", alias)
            assert version is not None
            weights = registry.bundle_of(version) / "model-0-0.safetensors"
            content = weights.read_bytes()
            for path in weights.parent.iterdir():
                path.unlink()
            weights.parent.rmdir()
        refused = project.invoke("predict", "song.wav", "--model", f"models:/mer-eng@{alias}")
        assert "dvc repro --force register" in str(refused.exception)
        project.run("register")
        assert weights.read_bytes() == content

    def test_a_leak_stops_every_later_stage(self, trained: Project, tmp_path: Path) -> None:
        project = trained.copy(tmp_path / "project")
        path = project.root / "build/splits/music-eng.csv"
        lines = path.read_text("utf-8").splitlines()
        tested = next(i for i, line in enumerate(lines) if ",test" in line)
        lines[tested] = lines[tested].replace(",test", ",train")
        path.write_text("\n".join(lines) + "\n", "utf-8")
        for stage in (*TRAINED, ("evaluate",), ("register",)):
            result = project.invoke(*stage)
            assert result.exit_code == 1, stage
            assert "music-eng" in str(result.exception) or "splits" in str(result.exception)
        assert project.invoke("audit", "splits").exit_code == 1

    def test_the_released_leak_is_certified_as_one(self, trained: Project, tmp_path: Path) -> None:
        """C11: asked for, it runs, to see what it is worth; but never to a champion."""
        project = trained.copy(tmp_path / "project").set(**{"split.leak": "released"})
        project.run("split")
        leaks = read(project, "splits", "certificate.json")["leaks"]
        assert any("music-eng" in leak for leak in leaks)
        assert project.invoke("audit", "splits").exit_code == 1
        project.run("transfer", "eng2eng")
        project.set(**{"split.leak": "none"})
        refused = project.invoke("transfer", "man2eng")
        assert "leak" in str(refused.exception)


@pytest.mark.slow
def test_dvc_runs_it_all_once_and_an_experiment_beside_it(tmp_path: Path) -> None:
    """The embedded corpus, `dvc repro` twice, then CPC as an experiment in a temporary copy."""
    controls = ("majority", "random_encoder", "scratch")
    cells = matrix(1, controls)
    project = make_project(tmp_path / "clone", tracked=True).set(
        **{"transfer.repeats": 1, "controls.names": list(controls), "search.trials": 2}
    )
    project.shell("git", "commit", "-qam", "tiny")
    project.shell("dvc", "repro")
    check_results(project, cells)
    stages = set(yaml.safe_load((project.root / "dvc.yaml").read_text("utf-8"))["stages"])
    locked = set(yaml.safe_load((project.root / "dvc.lock").read_text("utf-8"))["stages"])
    assert {name.split("@")[0] for name in locked} == stages
    runs = project.runs()
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "dvc_stage" in runs[0].data.tags

    again = project.shell("dvc", "repro").stdout
    assert "Running stage" not in again
    assert "Importing" not in again
    assert len(project.runs()) == len(runs)

    project.shell("git", "add", "-A")
    project.shell("git", "commit", "-qm", "scae")
    name = "cpc-beside"
    project.run("promote", "mer-eng/1")
    project.shell("dvc", "exp", "run", "--temp", "-n", name, "-S", "pretrain.arch=cpc")
    check_results(project, cells)  # the workspace is as it was
    with project.here():  # an experiment registers a version, and never moves the champion
        assert registry.resolve("mer-eng@champion").number == "1"
        assert registry.resolve("mer-eng@challenger").number == "2"
    added = project.runs(f"tags.dvc_experiment = '{name}'")
    assert {run.data.tags["arch"] for run in added} == {"cpc"}
    assert {run.info.status for run in added} == {"FINISHED"}
    modes = Counter(run.data.tags["transfer_mode"] for run in added)
    assert modes["pretrain"] == 3
    assert modes["full"] == len(PAIRINGS)
    shown = project.shell("dvc", "exp", "show", "--csv", "--drop", ".*md5.*").stdout
    assert name in shown
    table = [line for line in shown.splitlines() if name in line or "arch" in line]
    assert re.search(r"\bcpc\b", "\n".join(table))
