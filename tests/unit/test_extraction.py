"""Extraction: the cache, the problems, and what is left after a failure."""

import csv
import errno
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from recitative.audio import load_audio
from recitative.errors import UserError
from recitative.features import extraction
from recitative.features.extraction import extract
from recitative.features.mel import FeatureConfig, log_mel
from recitative.features.store import FeatureStore
from recitative.stages import featurize

CONFIG = FeatureConfig(n_mels=16, n_fft=1024)


@dataclass(frozen=True)
class Row:
    id: str
    path: str
    digest: str
    seconds: float


def add_clip(root: Path, name: str, seconds: float = 1.5, gain: float = 0.1) -> Row:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    samples = gain * np.random.default_rng(seed).standard_normal(round(seconds * 16000))
    soundfile.write(path, samples, 16000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Row(f"demo/{path.stem}", name, digest, seconds)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def rows(data: Path) -> list[Row]:
    return [add_clip(data, f"clips/{name}.wav", 1.5 + i) for i, name in enumerate("abc")]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in order (with one worker)."""
    calls: list[Path] = []

    def counted(path: Path, sample_rate: int) -> Any:
        calls.append(path)
        return load_audio(path, sample_rate)

    monkeypatch.setattr(extraction, "load_audio", counted)
    return calls


def problems_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "problems.csv").open(newline="") as text:
        return list(csv.DictReader(text))


def test_the_store_holds_each_clips_log_mel(tmp_path: Path, data: Path, rows: list[Row]) -> None:
    report = extract(rows, data, CONFIG, tmp_path / "out", tmp_path / "cache", workers=2)
    store = FeatureStore.open(tmp_path / "out")
    assert store.clip_ids == ("demo/a", "demo/b", "demo/c")
    for row in rows:
        expected = log_mel(load_audio(data / row.path), CONFIG)
        np.testing.assert_array_equal(store.frames_of(row.id), expected)
    assert problems_of(tmp_path / "out") == []
    assert (report.clips, report.computed, report.cached, report.problems) == (3, 3, 0, ())
    assert report.hours == pytest.approx(7.5 / 3600)
    assert "3 clips" in str(report)


def test_a_second_run_computes_nothing(
    tmp_path: Path, data: Path, rows: list[Row], decoded: list[Path]
) -> None:
    first = extract(rows, data, CONFIG, tmp_path / "one", tmp_path / "cache")
    assert len(decoded) == 3
    second = extract(rows, data, CONFIG, tmp_path / "two", tmp_path / "cache")
    assert len(decoded) == 3
    assert (second.computed, second.cached) == (0, 3)
    assert second.feature_hash == first.feature_hash
    one, two = tmp_path / "one", tmp_path / "two"
    for name in ("frames.npy", "clips.csv", "problems.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_only_what_is_new_is_computed(
    tmp_path: Path, data: Path, rows: list[Row], decoded: list[Path]
) -> None:
    cache = tmp_path / "cache"
    extract(rows, data, CONFIG, tmp_path / "out", cache)
    new = add_clip(data, "clips/d.wav")
    renamed = replace(rows[0], id="demo/renamed", path="elsewhere/a.wav")
    report = extract([new, renamed, *rows[1:]], data, CONFIG, tmp_path / "out", cache)
    assert decoded[3:] == [data / "clips/d.wav"]
    assert (report.computed, report.cached) == (1, 3)


@pytest.mark.parametrize(
    ("change", "recomputed"),
    [
        ({"power": 2}, True),
        ({"log_offset": 1e-5}, True),
        ({"peak_normalize": False}, True),
        ({"hop_length": 256}, True),
        ({"segment_hop": 10}, False),
        ({"max_problem_share": 0.5}, False),
        ({"min_seconds": 0.5}, False),
        ({"shard_hours": 0.001}, False),
    ],
)
def test_a_changed_parameter_recomputes_what_depends_on_it(
    tmp_path: Path,
    data: Path,
    rows: list[Row],
    decoded: list[Path],
    change: dict[str, Any],
    recomputed: bool,
) -> None:
    first = extract(rows, data, CONFIG, tmp_path / "out", tmp_path / "cache")
    changed = CONFIG.model_copy(update=change)
    second = extract(rows, data, changed, tmp_path / "out", tmp_path / "cache")
    assert len(decoded) == (6 if recomputed else 3)
    assert (second.feature_hash != first.feature_hash) == recomputed


def test_rounds_hold_every_clip_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "ROUND_HOURS", 10 / 3600)
    lengths = [4.0, 5.0, 1.0, 0.5, 30.0, 2.0, 2.0]
    clips = [Row(f"{i}", f"{i}", "", seconds) for i, seconds in enumerate(lengths)]
    rounds = [[clip.seconds for clip in some] for some in extraction._rounds(clips)]
    assert rounds == [[4, 5, 1], [0.5], [30], [2, 2]]


def test_rounds_and_shards_change_no_frame(
    tmp_path: Path, data: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are never more than a round ahead of the disk: joblib computes all it is given."""
    first = extract(rows, data, CONFIG, tmp_path / "one", workers=2)
    given: list[int] = []
    parallel = extraction.joblib.Parallel

    class Counted(parallel):
        def __call__(self, tasks: Any) -> Any:
            tasks = list(tasks)
            given.append(len(tasks))
            return super().__call__(tasks)

    monkeypatch.setattr(extraction, "ROUND_HOURS", 4 / 3600)
    monkeypatch.setattr(extraction.joblib, "Parallel", Counted)
    sharded = CONFIG.model_copy(update={"shard_hours": 3 / 3600})
    second = extract(rows, data, sharded, tmp_path / "many", workers=2)
    assert given == [2, 1]
    assert second.feature_hash == first.feature_hash
    files = sorted((tmp_path / "many").glob("*.npy"))
    assert [path.name for path in files] == [f"frames-0000{n}.npy" for n in range(3)]
    whole = np.load(tmp_path / "one" / "frames.npy")
    np.testing.assert_array_equal(np.concatenate([np.load(path) for path in files]), whole)


def test_the_feature_hash_follows_content_and_order(
    tmp_path: Path, data: Path, rows: list[Row]
) -> None:
    hashes = {
        extract(some, data, CONFIG, tmp_path / "out", tmp_path / "cache").feature_hash
        for some in (rows, rows[::-1], rows[:2])
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("damage", ["cut", "garbage", "other shape"])
def test_a_damaged_cache_entry_is_computed_again(
    tmp_path: Path, data: Path, rows: list[Row], decoded: list[Path], damage: str
) -> None:
    cache = tmp_path / "cache"
    extract(rows, data, CONFIG, tmp_path / "one", cache)
    entry = next(cache.glob(f"*/{rows[1].digest[:2]}/{rows[1].digest}.npy"))
    if damage == "cut":
        entry.write_bytes(entry.read_bytes()[:-10])
    elif damage == "garbage":
        entry.write_bytes(b"")
    else:
        np.save(entry, np.zeros((50, 3), np.float32))
    report = extract(rows, data, CONFIG, tmp_path / "two", cache)
    assert decoded[3:] == [data / rows[1].path]
    assert (report.computed, report.cached) == (1, 2)
    one, two = tmp_path / "one" / "frames.npy", tmp_path / "two" / "frames.npy"
    assert one.read_bytes() == two.read_bytes()


def test_problem_clips_are_listed_with_their_reason(
    tmp_path: Path, data: Path, rows: list[Row]
) -> None:
    (data / "text.wav").write_text("no audio")
    bad = [
        add_clip(data, "silent.wav", gain=0),
        add_clip(data, "short.wav", seconds=0.5),
        Row("demo/text", "text.wav", "1" * 64, 2.0),
        Row("demo/gone", "gone.wav", "2" * 64, 2.0),
    ]
    config = CONFIG.model_copy(update={"max_problem_share": 0.6})
    report = extract([*bad, *rows], data, config, tmp_path / "out", tmp_path / "cache")
    listed = problems_of(tmp_path / "out")
    assert [(row["id"], row["path"]) for row in listed] == [(row.id, row.path) for row in bad]
    for row, reason in zip(listed, ("silent", "too short", "not an audio", "no such"), strict=True):
        assert reason in row["reason"]
    assert len(report.problems) == 4
    assert "4 left out" in str(report)
    assert FeatureStore.open(tmp_path / "out").clip_ids == tuple(row.id for row in rows)


def test_a_clip_shorter_than_a_segment_is_a_problem_also_from_the_cache(
    tmp_path: Path, data: Path, rows: list[Row]
) -> None:
    config = CONFIG.model_copy(update={"max_problem_share": 0.5, "segment_frames": 60})
    for expected in (2, 0):  # computed, then all from the cache
        report = extract(rows, data, config, tmp_path / "out", tmp_path / "cache")
        assert [problem.id for problem in report.problems] == ["demo/a"]
        assert "1.50 s; 1.91 s are needed" in report.problems[0].reason
        assert report.computed == expected


def test_too_many_problems_stop_the_stage(tmp_path: Path, data: Path, rows: list[Row]) -> None:
    silent = add_clip(data, "silent.wav", gain=0)
    with pytest.raises(UserError) as caught:
        extract([*rows, silent], data, CONFIG, tmp_path / "music-eng")
    message = str(caught.value)
    assert "music-eng: 1 of 4 clips" in message
    assert f"{data / 'silent.wav'}: silent: its peak is 0" in message
    assert "features.max_problem_share (0.02)" in message
    assert not (tmp_path / "music-eng").exists()


@pytest.mark.filterwarnings("error")
def test_a_failure_while_workers_run_is_only_that_error(
    tmp_path: Path, data: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("recitative.features.store._write_header", full)
    with pytest.raises(UserError, match="the disk is full"):
        extract(rows * 10, data, CONFIG, tmp_path / "out", workers=2)


def test_an_unreadable_file_is_not_called_too_short(tmp_path: Path, data: Path) -> None:
    data.mkdir()
    (data / "text.wav").write_text("no audio")
    with pytest.raises(UserError, match="not an audio file"):
        extract([Row("demo/text", "text.wav", "1" * 64, 0.0)], data, CONFIG, tmp_path / "out")


def test_no_clips_is_a_clear_error(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match="no clip is left"):
        extract([], data, CONFIG, tmp_path / "out")


def test_an_interrupted_run_leaves_no_store_and_resumes(
    tmp_path: Path, data: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, sample_rate: int) -> Any:
        if path.name == "c.wav":
            raise KeyboardInterrupt
        return load_audio(path, sample_rate)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "load_audio", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(rows, data, CONFIG, tmp_path / "out", tmp_path / "cache")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "cache"}
    report = extract(rows, data, CONFIG, tmp_path / "out", tmp_path / "cache")
    assert (report.computed, report.cached) == (1, 2)


@pytest.mark.parametrize("cached", [True, False])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, data: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    written = np.lib.format.write_array_header_1_0
    calls = 0

    def full(out: Any, header: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(out, header)

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    cache = tmp_path / "cache" if cached else None
    with pytest.raises(UserError, match="the disk is full; free some space and run again"):
        extract(rows, data, CONFIG, tmp_path / "out", cache)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.partial*"))
    assert not list(tmp_path.rglob("*.npy"))


def test_frames_that_will_not_fit_are_refused_before_the_first_is_made(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = extraction.expected_bytes(rows, CONFIG)
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(featurize.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="the frames take .* are free; free some space"):
        featurize.require_space(rows, CONFIG)
    kept = tmp_path / "build/features/speech-eng/frames.npy"  # will be replaced
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"1")
    featurize.require_space(rows, CONFIG)
