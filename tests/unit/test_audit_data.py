"""The data audit against planted faults."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import trees
from recitative.audio import FAULTS
from recitative.corpora import base
from recitative.corpora.audit_data import RoleAudit, audit_data, format_audit
from recitative.corpora.base import Clip, Dataset, DatasetConfig, parse_dataset_config
from recitative.corpora.indexing import RoleIndex, index_role
from recitative.features.extraction import extract, least_seconds
from recitative.features.mel import FeatureConfig

RATE = trees.SAMPLE_RATE


def indices(data: Path, sections: dict[str, dict[str, Any]]) -> list[RoleIndex]:
    return [
        index_role(role, parse_dataset_config(role, section), data, workers=1)
        for role, section in sections.items()
    ]


def audit(
    data: Path, sections: dict[str, dict[str, Any]], min_seconds: float = 0.1
) -> list[RoleAudit]:
    return audit_data(indices(data, sections), data, RATE, min_seconds, workers=2)


def test_clean_corpora(tmp_path: Path) -> None:
    rows = audit(tmp_path, trees.grow(tmp_path))
    assert [(row.role, row.clips, row.groups) for row in rows] == [
        ("speech-eng", 12, 4),
        ("speech-man", 12, 4),
        ("music-eng", 24, 8),
        ("music-man", 24, 8),
    ]
    for row in rows:
        assert row.hours == pytest.approx(row.clips * 0.3 / 3600)
        assert row.sample_rates == {16000: row.clips}
        assert not any(row.faults.values())
        assert not row.duplicates
        assert not row.problems
    assert rows[0].shares == {}
    assert rows[2].shares == {"Q1": 0.25, "Q2": 0.25, "Q3": 0.25, "Q4": 0.25}


def cut(path: Path, share: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def spoiled(folder: Path) -> dict[str, str]:
    """One file of each kind; how the reason of each begins, "" where it is good."""
    trees.write_tone(folder / "good.wav", 2)
    trees.write_tone(folder / "other rate.mp3", 2, 44100)
    (folder / "link.wav").symlink_to("good.wav")
    (folder / "broken link.wav").symlink_to("nowhere")
    (folder / "empty.wav").touch()
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "text.wav").write_text("no sound\n" * 99)
    (folder / "headerless.raw").write_bytes(bytes(64000))
    soundfile.write(folder / "no samples.wav", np.zeros(0), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(2 * RATE), RATE)
    for name, peak in (("too quiet", 5e-7), ("quiet", 5e-6)):
        samples = peak * trees.tone(name, 2) / np.abs(trees.tone(name, 2)).max()
        soundfile.write(folder / f"{name}.wav", samples, RATE, "FLOAT")
    both = trees.tone("both", 2)
    soundfile.write(folder / "cancelling.wav", np.stack([both, -both], 1), RATE, "FLOAT")
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        samples = trees.tone(name, 2)
        samples[RATE // 2] = value
        soundfile.write(folder / f"{name}.wav", samples, RATE, "FLOAT")
    for kind in ("wav", "aiff", "flac", "mp3", "ogg"):
        cut(trees.write_tone(folder / f"half.{kind}", 2))
    cut(trees.write_tone(folder / "almost.wav", 2), 0.995)
    trees.write_tone(folder / "short.wav", 0.5)
    trees.write_tone(folder / "a segment, too short.wav", 0.9)
    return {
        "good.wav": "", "other rate.mp3": "", "link.wav": "", "quiet.wav": "", "almost.wav": "",
        "broken link.wav": "unreadable: no such file",
        "empty.wav": "unreadable: an empty file",
        "folder.wav": "unreadable: a folder, not a file",
        "pipe.wav": "unreadable: a pipe, socket or device, not a file",
        "device.wav": "unreadable: a pipe, socket or device, not a file",
        "text.wav": "unreadable: not an audio file",
        "headerless.raw": "unreadable: not an audio file",
        "no samples.wav": "unreadable: no samples",
        "silent.wav": "silent: its peak is 0",
        "too quiet.wav": "silent: its peak is 5e-07, below 1e-06",
        "cancelling.wav": "silent: its peak is 0",
        "nan.wav": "not finite: NaN or infinite samples at 0.50 s",
        "infinite.wav": "not finite: NaN or infinite samples at 0.50 s",
        "half.wav": "truncated: ", "half.aiff": "truncated: ", "half.flac": "truncated: ",
        "half.mp3": "truncated: ", "half.ogg": "unreadable: no samples",
        "short.wav": "too short: 0.50 s; 0.97 s are needed",
        "a segment, too short.wav": "too short: 0.90 s; 0.97 s are needed",
    }  # fmt: skip


def test_index_audit_and_featurize_give_one_verdict_and_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the index cannot see, since it reads headers alone, it lets through; never the reverse."""
    expected = spoiled(tmp_path / "own")
    assert sorted(expected) == sorted(path.name for path in (tmp_path / "own").iterdir())
    clips = [Clip(f"own/{name}", tmp_path / "own" / name, name, "eng") for name in expected]
    monkeypatch.setitem(base._REGISTRY, "any", Dataset("any", DatasetConfig, lambda *_: clips))
    section = DatasetConfig(adapter="any", folder="own", language="eng")
    config = FeatureConfig(min_seconds=0.6, max_problem_share=1)
    found = index_role("speech-eng", section, tmp_path, 1)
    by_index = {problem.path.removeprefix("own/"): problem.reason for problem in found.problems}
    [row] = audit_data([found], tmp_path, config.sample_rate, least_seconds(config), 2)
    by_audit = {problem.path.removeprefix("own/"): problem.reason for problem in row.problems}

    # As if the index had passed every file: its verdict must not be needed.
    known = {clip.id: clip for clip in found.clips}
    rows = [
        known.get(clip.id) or replace(found.clips[0], id=clip.id, path=f"own/{clip.group}",
                                      digest=clip.id.encode().hex()) for clip in clips
    ]  # fmt: skip
    report = extract(rows, tmp_path, config, tmp_path / "out", tmp_path / "cache")
    by_featurize = {Path(problem.path).name: problem.reason for problem in report.problems}

    for name, reason in expected.items():
        assert by_audit.get(name, "").startswith(reason), name
        assert bool(by_audit.get(name)) == bool(reason), (name, by_audit.get(name))
    assert by_audit == by_featurize
    assert by_index.items() <= by_audit.items()
    assert {"pipe.wav", "empty.wav", "half.wav", "half.aiff"} <= by_index.keys()
    counts = {fault: sum(r.startswith(fault) for r in by_audit.values()) for fault in FAULTS}
    assert row.faults == counts
    assert row.hours * 3600 == pytest.approx(10, abs=0.1)
    assert row.duplicates == [("own/good.wav", "own/link.wav")]


def test_the_same_file_in_two_roles_is_listed_in_both(tmp_path: Path) -> None:
    sections = trees.grow(tmp_path)
    song = tmp_path / "CH818/ch818_mp3/3.mp3"
    twin = tmp_path / "MER_audio_taffc_dataset/Q1/MT0000000000.mp3"
    song.write_bytes(twin.read_bytes())
    rows = audit(tmp_path, sections)
    both = [("CH818/ch818_mp3/3.mp3", "MER_audio_taffc_dataset/Q1/MT0000000000.mp3")]
    assert [row.duplicates for row in rows] == [[], [], both, both]
    lines = format_audit(rows).splitlines()
    assert lines.count("  " + " = ".join(both[0])) == 2
    assert "music-man: the same file under several names" in lines


def test_text(tmp_path: Path) -> None:
    sections = trees.grow(tmp_path)
    (tmp_path / "CH818/ch818_mp3/3.mp3").unlink()
    found = indices(tmp_path, sections)
    text = format_audit(audit_data(found, tmp_path, RATE, 0.1, 1))
    header, *lines = text.splitlines()
    assert header.split()[:9] == ["role", "clips", "hours", "groups", "Q1", "Q2", "Q3", "Q4", "Hz"]
    assert [line.split()[:2] for line in lines[:4]] == [
        ["speech-eng", "12"],
        ["speech-man", "12"],
        ["music-eng", "24"],
        ["music-man", "23"],
    ]
    assert lines[0].split()[4:8] == ["-"] * 4
    assert lines[2].split()[4:8] == ["25%"] * 4
    assert lines[4:] == [
        "",
        "music-man: problems",
        "  CH818/CH818_AV.csv: row 4: 3.mp3 is not in ch818_mp3/ (left out)",
    ]


def test_text_without_problems_is_the_table_alone(tmp_path: Path) -> None:
    [found] = indices(tmp_path, {"speech-eng": trees.librispeech(tmp_path)})
    rows = audit_data([found, replace(found, role="speech-man")], tmp_path, RATE, 0.1, 1)
    assert len(format_audit(rows).splitlines()) == 3


@pytest.mark.real
def test_real_speech_has_no_fault(real_data: Path) -> None:
    section = {"adapter": "aishell", "folder": "data_aishell", "language": "man"}
    [row] = audit(real_data, {"speech-man": section}, min_seconds=1)
    assert row.hours * 60 == pytest.approx(21.1, abs=0.05)
    assert not row.problems
    assert not row.duplicates
