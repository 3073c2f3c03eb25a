"""Pretraining on emotional speech, from the adapter to the transfer."""

from pathlib import Path

import pandas as pd
import pytest
from projects import Project, grow, make_project

import trees
from recitative.files import read_csv, read_json

ESD = {"adapter": "esd", "folder": "ESD"}
READY = ("index", "split", "featurize", "search")


def emotional(folder: Path) -> Project:
    project = make_project(folder / "project")
    grow(folder / "data")
    trees.esd(folder / "data", seconds=2)
    (project.root / "data").symlink_to(folder / "data")
    return project.set(**{"pretrain.arch": "emotion", "transfer.repeats": 1})


@pytest.mark.slow
def test_emotional_speech_from_the_corpus_to_music(tmp_path: Path) -> None:
    project = emotional(tmp_path)
    for stage in READY:
        project.run(stage)
    certificate = read_json(project.root / "build/splits/certificate.json")
    assert {"emotion-eng", "emotion-man", "emotion-mix"} <= set(certificate["roles"])
    said = project.run("pretrain", "eng")
    assert "its task: label prior 0." in said
    out = project.root / "build/pretrain/eng"
    assert read_json(out / "model.json")["arch"] == "emotion"
    assert read_json(out / "metrics.json").keys() == {
        "validation_loss", "validation_accuracy", "epochs",
    }  # fmt: skip
    assert read_json(out / "pretext.json").keys() == {"label_prior", "mean_log_mel_alone"}
    for stage in (("pretrain", "mix"), ("transfer", "eng2eng"), ("controls", "eng")):
        project.run(*stage)
    predictions = pd.read_csv(project.root / "build/transfer/eng2eng/predictions.csv")
    assert set(predictions["arch"]) == {"emotion"}
    [run] = project.runs("tags.transfer_mode = 'pretrain' and tags.speech_language = 'eng'")
    assert "split_hash.emotion-eng" in run.data.tags

    project.set(**{"pretrain.arch": "shuffled_emotions"}).run("pretrain", "eng")
    shuffled = read_csv(out / "history.csv")
    assert read_json(out / "model.json")["arch"] == "shuffled_emotions"
    assert shuffled[0]["train_loss"] != ""


@pytest.mark.slow
def test_actors_who_speak_are_a_control_for_actors_who_sing(tmp_path: Path) -> None:
    project = emotional(tmp_path)
    ravdess = trees.ravdess(tmp_path / "data", actors=12, seconds=2)
    music = ravdess | {"channel": "song", "actors": list(range(5, 13))}
    project.set(**{
        "datasets.emotion-eng": ravdess | {"actors": [1, 2, 3, 4, 5]},
        "datasets.music-eng": music,
    })  # fmt: skip
    project.run("index")
    assert "LEAK: group ravdess/05 is in emotion-eng and in music-eng" in project.run("split")
    project.set(**{"datasets.emotion-eng": ravdess | {"actors": [1, 2, 3, 4]}})
    for stage in READY:
        project.run(stage)
    assert read_json(project.root / "build/splits/certificate.json")["leaks"] == []
    project.run("pretrain", "eng")
    project.run("transfer", "eng2eng")
    predictions = pd.read_csv(project.root / "build/transfer/eng2eng/predictions.csv")
    assert set(predictions["quadrant"]) == {"Q1", "Q2", "Q3", "Q4"}
    assert all(clip.split("-")[1] == "02" for clip in predictions["clip"])


@pytest.mark.slow
def test_emotional_speech_that_is_not_there_is_one_line(
    featurized: Project, tmp_path: Path
) -> None:
    project = featurized.copy(tmp_path / "project")  # its data/ has no ESD
    assert "emotion-eng: left out, data/ESD is not there" in project.run("index")
    project.set(**{"pretrain.arch": "emotion"})
    line = str(project.invoke("pretrain", "eng").exception)
    assert line.startswith("params.yaml: datasets.emotion-eng: data/ESD is not there")
    assert "pretrain.arch: scae or cpc" in line
    assert "\n" not in line
