"""The loop on real files: a slice of the small real corpora, taken as a user's own data."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from projects import Project, make_project

from recitative.files import read_csv, read_json

pytestmark = [pytest.mark.slow, pytest.mark.real]
CELLS = (("feature_extraction", "eng2eng"), ("full", "man2man"), ("scratch", "none2man"))


def take(real: Path, target: Path, files: Iterable[Path]) -> None:
    """Copy (never link: the originals stay as they are)."""
    for path in files:
        copy = target / path.relative_to(real)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


@pytest.fixture(scope="module")
def corpora(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight speakers of English, both of Mandarin, a tenth of the songs, the whole tables."""
    target = tmp_path_factory.mktemp("real")
    speakers = sorted((real_data / "LibriSpeech" / "test-other").iterdir())[:8]
    take(real_data, target, (path for s in speakers for path in sorted(s.rglob("*.flac"))[:3]))
    for speaker in sorted((real_data / "data_aishell").glob("wav/*/*")):
        take(real_data, target, sorted(speaker.glob("*.wav"))[:12])
    for quadrant in ("Q1", "Q2", "Q3", "Q4"):
        folder = real_data / "MER_audio_taffc_dataset" / quadrant
        take(real_data, target, sorted(folder.glob("*.mp3"))[::10])
    take(real_data, target, sorted(real_data.glob("MER_audio_taffc_dataset/*.csv")))
    table = pd.read_csv(real_data / "CH818" / "CH818_AV.csv")
    table["class"] = (table["Arousal"] > 0).astype(str) + (table["Valence"] > 0).astype(str)
    for name in table.drop_duplicates("Artist").groupby("class").head(4)["Songs"]:
        take(real_data, target, [real_data / "CH818" / "ch818_mp3" / Path(name).name])
    take(real_data, target, [real_data / "CH818" / "CH818_AV.csv"])
    return target


def test_the_loop_on_real_files_with_both_architectures(corpora: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tracked=True).set(
        **{"transfer.repeats": 1, "pretrain.epochs": 1, "transfer.frozen.epochs": 1}
    )
    project.set(**{"balance.speech_hours": 0.02})
    project.set(**{"controls.names": ["majority", "random_encoder", "scratch", "mfcc_svm"]})
    project.run("use-data", str(corpora))
    for stage in ("index", "split", "featurize"):
        project.run(stage)
    for role in ("speech-eng", "speech-man", "music-eng"):
        assert read_csv(project.root / f"build/features/{role}/problems.csv") == []
    assert read_json(project.root / "build/splits/certificate.json")["leaks"] == []
    scores = {}
    for arch in ("scae", "cpc"):
        project.set(**{"pretrain.arch": arch}).train()
        project.run("evaluate")
        results = pd.read_csv(project.root / "build/evaluate/results.csv")
        assert set(results["arch"]) == {arch}
        cells = set(zip(results["transfer_mode"], results["pairing"], strict=True))
        assert set(CELLS) <= cells
        assert len(cells) == 6 * 2 + 4 * 2
        controls = results[results["transfer_mode"] == "mfcc_svm"]
        scores[arch] = controls["f1"].tolist()
    assert scores["scae"] == scores["cpc"]  # it has no network: the architecture changes nothing
    project.run("register")
    decisions = read_json(project.root / "build/registry/decision.json")
    assert [decision["model"] for decision in decisions] == ["mer-eng", "mer-man"]
    song = next(corpora.rglob("*.mp3"))
    assert "arousal" in project.run("predict", str(song), "--model", _named(project, decisions))


def _named(project: Project, decisions: list[dict[str, str]]) -> str:
    return f"models:/{decisions[0]['model']}@{decisions[0]['alias']}"
