"""Faults planted in corpora, paths and parameters, seen from the stages: one clear line each."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from projects import Project, grow, make_project

import trees
from recitative.corpora.certificate import audit_splits
from recitative.errors import UserError
from recitative.files import read_csv, read_json

RATE = trees.SAMPLE_RATE


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with corpora of its own to spoil."""
    project = make_project(tmp_path / "project")
    grow(project.root / "data")
    return project.set(**{"features.max_problem_share": 0.9})


def problems(project: Project, role: str) -> dict[str, str]:
    """Reason by file name, from index and features."""
    return {
        Path(row["path"]).name: row["reason"]
        for path in (f"index/{role}.problems.csv", f"features/{role}/problems.csv")
        for row in read_csv(project.root / "build" / path)
    }


def refusal(project: Project, *stage: str) -> str:
    error = project.invoke(*stage).exception
    assert isinstance(error, UserError), repr(error)
    assert "\n" not in str(error)
    return str(error)


def songs(project: Project) -> list[Path]:
    return sorted(project.root.glob("data/MER_audio_taffc_dataset/Q*/*.mp3"))


def prepare(project: Project) -> None:
    for stage in ("index", "split", "featurize"):
        project.run(stage)


def test_every_kind_of_bad_file_is_left_out_with_its_reason(project: Project) -> None:
    """And what is only odd is used: many channels, high rates, another format than the name says."""
    good = trees.tone("x", 2)
    bad = dict(zip(
        ("empty", "text", "truncated", "silent", "nan", "short"),
        sorted(project.root.glob("data/data_aishell/wav/*/*/*.wav"))[1::2],
        strict=False,
    ))  # fmt: skip
    bad["empty"].write_bytes(b"")
    bad["text"].write_text("not sound")
    bad["truncated"].write_bytes(bad["truncated"].read_bytes()[:20_000])
    soundfile.write(bad["silent"], np.zeros(2 * RATE), RATE)
    soundfile.write(bad["nan"], np.where(np.arange(2 * RATE) == 9, np.nan, 0.1), RATE, "FLOAT")
    soundfile.write(bad["short"], good[: RATE // 2], RATE)
    odd = sorted(project.root.glob("data/LibriSpeech/*/*/*/*.flac"))
    soundfile.write(odd[0], np.tile(trees.tone("a", 3)[:, None], 8), RATE, format="FLAC")
    soundfile.write(odd[1], trees.tone("b", 3, 192_000), 192_000, format="FLAC")
    soundfile.write(odd[2], trees.tone("c", 3), RATE, format="WAV")

    prepare(project)
    told = problems(project, "speech-man")
    assert set(told) == {path.name for path in bad.values()}
    for kind, reason in {
        "empty": "empty", "text": "not an audio file", "truncated": "truncated",
        "silent": "silent", "nan": "NaN", "short": "too short",
    }.items():  # fmt: skip
        assert reason.lower() in told[bad[kind].name].lower(), kind
    assert problems(project, "speech-eng") == {}
    kept = {row["id"] for row in read_csv(project.root / "build/features/speech-eng/clips.csv")}
    assert {f"librispeech/{path.stem}" for path in odd[:3]} <= kept
    used = {row["id"] for row in read_csv(project.root / "build/features/speech-man/clips.csv")}
    assert not used & {f"aishell/{path.stem}" for path in bad.values()}
    for part in ("speech-mix", "speech-man", "speech-eng"):
        frames = np.load(project.root / f"build/features/{part}/frames.npy")
        assert np.isfinite(frames).all()

    project.set(**{"features.max_problem_share": 0.02})
    before = (project.root / "build/features/speech-man/clips.csv").read_bytes()
    assert "max_problem_share" in refusal(project, "featurize")
    assert (project.root / "build/features/speech-man/clips.csv").read_bytes() == before


def test_a_pipe_in_a_corpus_is_left_out_and_never_waited_for(project: Project) -> None:
    path = sorted(project.root.glob("data/data_aishell/wav/*/*/*.wav"))[0]
    path.unlink()
    os.mkfifo(path)
    project.run("index")
    [row] = read_csv(project.root / "build/index/speech-man.problems.csv")
    reason = "unreadable: a pipe, socket or device, not a file"
    assert (Path(row["path"]).name, row["reason"]) == (path.name, reason)
    assert f"{row['path']}: {reason} (left out)" in project.run("audit", "data")


def test_the_same_song_under_two_names_stays_in_one_part(project: Project) -> None:
    """A copy in another quadrant's folder and another artist's name leaks nothing."""
    original, *_ = songs(project)
    copies = [path for path in songs(project) if path.stem[:6] != original.stem[:6]][::5]
    for copy in copies:
        shutil.copyfile(original, copy)
    prepare(project)
    with project.here():
        assert audit_splits(Path("build/index"), Path("build/splits")) == []
    split = {
        row["id"]: row["split"] for row in read_csv(project.root / "build/splits/music-eng.csv")
    }
    of = {split.get(f"emotion_4q/{path.stem}") for path in (original, *copies)} - {None}
    assert len(of) == 1
    assert original.name in project.run("audit", "data")


def test_rows_without_audio_and_audio_without_rows(project: Project) -> None:
    lost, extra = songs(project)[0], songs(project)[1].with_name("MT9999999999.mp3")
    shutil.copyfile(songs(project)[1], extra)
    lost.unlink()
    prepare(project)
    told = problems(project, "music-eng")
    assert set(told) == {"panda_dataset_taffc_annotations.csv", extra.name}
    assert f"{lost.stem} has no audio" in told["panda_dataset_taffc_annotations.csv"]


def test_a_class_with_too_few_artists_is_named(project: Project) -> None:
    """All of Q3 by one artist: it cannot stand in three parts."""
    root = project.root / "data/MER_audio_taffc_dataset"
    path = root / "panda_dataset_taffc_metadata.csv"
    rows = read_csv(path)
    for row in rows:
        if row["Quadrant"] == "Q3":
            row["Artist"] = "One and only"
    trees.write_rows(path, list(rows[0]), [tuple(row.values()) for row in rows])
    project.run("index")
    told = refusal(project, "split")
    assert "music-eng" in told
    assert "Q3" in told
    assert not (project.root / "build/splits").exists()


@pytest.mark.parametrize("missing", ["data", "CH818", "LibriSpeech"])
def test_a_missing_or_empty_corpus_names_its_layout_and_the_way_out(
    missing: str, project: Project
) -> None:
    folder = project.root / ("data" if missing == "data" else f"data/{missing}")
    shutil.rmtree(folder)
    absent = refusal(project, "index")
    folder.mkdir()
    empty = refusal(project, "index")
    for told in (absent, empty):
        assert "data" in told
        assert "dvc repro" in told or "use-data" in told
    assert not (project.root / "build/index").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features.hop_length": 2048}, "hop_length"),
        ({"transfer.repeats": 0}, "transfer.repeats"),
        ({"pretrain.learning_rate": "fast"}, "pretrain.learning_rate"),
        ({"pretrain.epoch": 3}, "pretrain.epoch"),
        ({"pretrain.arch": "transformer"}, "transformer"),
        ({"controls.names": ["magic"]}, "magic"),
        ({"transfer.modes": []}, "transfer.modes"),
        ({"compute.device": "cuda:7"}, "compute.device"),
    ],
)
def test_a_wrong_parameter_stops_every_stage_before_it_begins(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project").set(**changes)
    for stage in (("corpus",), ("index",), ("pretrain", "eng"), ("register",)):
        told = refusal(project, *stage)
        assert told.startswith("params.yaml: ")
        assert said in told
    assert not (project.root / "build").exists()


@pytest.mark.slow
def test_a_project_whose_path_has_spaces_and_other_scripts(
    featurized: Project, tmp_path: Path
) -> None:
    """From features to a model that is registered and heard; quotes, percent and hash signs, too."""
    root = tmp_path / "mein Pröjekt 50% #1 'мой' 歌"
    project = featurized.copy(root).set(
        **{"transfer.repeats": 1, "pretrain.epochs": 1, "transfer.frozen.epochs": 1}
    )
    project.set(**{"controls.names": ["majority", "random_encoder"]})
    for language in ("eng", "man", "mix"):
        project.run("pretrain", language)
    for pairing in ("eng2eng", "man2eng", "mix2eng", "eng2man", "man2man", "mix2man"):
        project.run("transfer", pairing)
    for stage in (("controls", "eng"), ("controls", "man"), ("evaluate",), ("register",)):
        project.run(*stage)
    assert {run.info.status for run in project.runs()} == {"FINISHED"}
    song = trees.write_tone(root / "mon été.wav", 2)
    answer = root / "réponse.json"
    project.run("predict", str(song), "--json", str(answer), "--plot", str(root / "plöt.png"))
    assert read_json(answer)[0]["file"] == str(song)
    assert (root / "plöt.png").stat().st_size > 1000
