"""The data audit against planted faults."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import trees
from recitative.corpora.audit_data import Decoded, RoleAudit, audit_data, decode, format_audit
from recitative.corpora.base import parse_dataset_config
from recitative.corpora.indexing import RoleIndex, index_role


def indices(data: Path, sections: dict[str, dict[str, Any]]) -> list[RoleIndex]:
    return [
        index_role(role, parse_dataset_config(role, section), data, workers=1)
        for role, section in sections.items()
    ]


def audit(
    data: Path, sections: dict[str, dict[str, Any]], min_seconds: float = 0.1
) -> list[RoleAudit]:
    return audit_data(indices(data, sections), data, min_seconds, workers=2)


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


def test_planted_faults(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    good = trees.write_tone(folder / "good.wav", seconds=1)
    (folder / "copy of good.wav").write_bytes(good.read_bytes())
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    spoiled = trees.tone("nan", 1)
    spoiled[8000] = np.nan
    soundfile.write(folder / "nan.wav", spoiled, 16000, subtype="FLOAT")
    trees.write_tone(folder / "short.wav", seconds=0.2)
    (folder / "empty.wav").touch()
    for name in ("half.flac", "half.mp3", "half.wav"):
        path = trees.write_tone(folder / name, seconds=1)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    trees.write_tone(folder / "other rate.wav", seconds=1, sample_rate=44100)
    names = sorted(path.name for path in folder.iterdir())
    columns = ("path", "group", "language", "quadrant")
    trees.write_rows(folder / "clips.csv", columns, [(name, name, "eng", "Q1") for name in names])
    section = {"adapter": "table", "folder": "own", "language": "eng"}
    [row] = audit(tmp_path, {"music-eng": section}, min_seconds=0.25)

    assert row.clips == len(names) - 1  # the empty file has no header
    assert row.sample_rates == {16000: len(names) - 2, 44100: 1}
    assert row.shares == {"Q1": 1, "Q2": 0, "Q3": 0, "Q4": 0}
    assert row.duplicates == [("own/copy of good.wav", "own/good.wav")]
    assert row.faults == {
        "unreadable": 2,
        "not finite": 1,
        "silent": 1,
        "cut off": 2,
        "too short": 1,
    }
    reasons = {problem.path.removeprefix("own/"): problem.reason for problem in row.problems}
    assert reasons["empty.wav"] == "unreadable: the file is empty"
    assert reasons["half.flac"].startswith("unreadable: ")
    assert "lost sync" in reasons["half.flac"]
    assert reasons["half.mp3"].startswith("cut off: 0.")
    assert reasons["half.wav"].startswith("cut off: ")
    assert reasons["nan.wav"] == "not finite: NaN or infinity at 0.50 s"
    assert reasons["silent.wav"] == "silent: every sample is 0"
    assert reasons["short.wav"] == "too short: 0.20 s, less than 0.25 s"
    assert len(row.problems) == 7
    # Measured: what is there, not what the headers state.
    cut = soundfile.read(folder / "half.mp3")[0]
    assert row.hours * 3600 == pytest.approx(5 + 0.2 + 0.5 + len(cut) / 16000, abs=0.01)


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


def test_a_long_mp3_has_the_length_that_its_header_states(tmp_path: Path) -> None:
    path = trees.write_tone(tmp_path / "long.mp3", seconds=6, sample_rate=44100)
    assert decode(path, 1) == Decoded(6.0, None, "")


def test_text(tmp_path: Path) -> None:
    sections = trees.grow(tmp_path)
    (tmp_path / "CH818/ch818_mp3/3.mp3").unlink()
    found = indices(tmp_path, sections)
    text = format_audit(audit_data(found, tmp_path, 0.1, 1))
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
    rows = audit_data([found, replace(found, role="speech-man")], tmp_path, 0.1, 1)
    assert len(format_audit(rows).splitlines()) == 3


@pytest.mark.real
def test_real_speech_has_no_fault(real_data: Path) -> None:
    section = {"adapter": "aishell", "folder": "data_aishell", "language": "man"}
    [row] = audit(real_data, {"speech-man": section}, min_seconds=1)
    assert row.hours * 60 == pytest.approx(21.1, abs=0.05)
    assert not row.problems
    assert not row.duplicates
