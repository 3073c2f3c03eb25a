"""The feature store: what is written is read, and windows are cut where naive slicing cuts them."""

import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UserError
from recitative.features import store as store_module
from recitative.features.mel import Frames
from recitative.features.store import FeatureStore, band_statistics, write_store

BANDS = 4


def clips(*lengths: int) -> list[tuple[str, Frames]]:
    rng = np.random.default_rng(len(lengths))
    return [
        (f"clip/{i} 声", rng.standard_normal((length, BANDS)).astype(np.float32))
        for i, length in enumerate(lengths)
    ]


def test_round_trip(tmp_path: Path) -> None:
    written = clips(5, 31, 1, 400)
    problems = [{"id": "lost", "path": "lost.wav", "reason": "silent, all of it"}]
    write_store(tmp_path / "role", iter(written), problems)
    store = FeatureStore.open(tmp_path / "role")
    assert store.clip_ids == tuple(clip_id for clip_id, _ in written)
    assert (store.n_mels, len(store.frames)) == (4, 437)
    for clip_id, frames in written:
        np.testing.assert_array_equal(store.frames_of(clip_id), frames)
    assert (tmp_path / "role" / "problems.csv").read_text() == (
        'id,path,reason\nlost,lost.wav,"silent, all of it"\n'
    )
    # A plain .npy, that anything reads.
    expected = np.concatenate([frames for _, frames in written])
    np.testing.assert_array_equal(np.load(tmp_path / "role" / "frames.npy"), expected)


def test_the_frames_are_mapped_and_read_only(tmp_path: Path) -> None:
    write_store(tmp_path / "role", clips(40))
    store = FeatureStore.open(tmp_path / "role")
    assert isinstance(store.frames.array.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.frames_of(store.clip_ids[0])[0] = 0


@pytest.mark.parametrize(("seconds", "expected"), [(12, 24), (30, 61)])
def test_segments_of_a_clip_at_16_khz(tmp_path: Path, seconds: int, expected: int) -> None:
    frames = 1 + seconds * 16000 // 512
    write_store(tmp_path / "role", clips(frames))
    store = FeatureStore.open(tmp_path / "role")
    segments = store.segments(store.clip_ids)
    assert len(segments) == expected
    assert np.all(np.diff(segments.start) == 15)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_windows_equal_naive_slicing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    span = data.draw(st.integers(1, 20))
    hop = data.draw(st.integers(1, 20))
    written = dict(clips(*lengths))
    folder = tmp_path_factory.mktemp("store") / "role"
    shards = data.draw(st.integers(1, 120))  # frames of a shard: of one clip each to all in one
    write_store(folder, written.items(), shard_frames=shards)
    store = FeatureStore.open(folder)
    ids = data.draw(st.permutations(store.clip_ids))[: data.draw(st.integers(0, len(lengths)))]
    naive = [
        (index, written[clip_id][start : start + span].T)
        for index, clip_id in enumerate(ids)
        for start in range(0, len(written[clip_id]) - span + 1, hop)
    ]
    anchors = store.segments(ids, span, hop)
    assert anchors.clip.tolist() == [index for index, _ in naive]
    if naive:
        batch = store.gather(anchors.start, span)
        assert batch.dtype == np.float32
        np.testing.assert_array_equal(batch, np.stack([window for _, window in naive]))
        batch[:] = 0  # a copy: the store is not touched
        np.testing.assert_array_equal(store.frames_of(ids[0]), written[ids[0]])


def test_shards_hold_whole_clips_and_as_many_as_fit(tmp_path: Path) -> None:
    lengths = (30, 20, 10, 90, 1, 40, 9)
    write_store(tmp_path / "one", clips(*lengths))
    write_store(tmp_path / "many", clips(*lengths), shard_frames=50)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "clips.csv", "frames.npy", "problems.csv",
    ]  # fmt: skip
    files = sorted((tmp_path / "many").glob("*.npy"))
    assert [path.name for path in files] == [f"frames-0000{n}.npy" for n in range(4)]
    assert [len(np.load(path)) for path in files] == [50, 10, 90, 50]
    whole = np.load(tmp_path / "one" / "frames.npy")
    np.testing.assert_array_equal(np.concatenate([np.load(path) for path in files]), whole)
    for name in ("clips.csv", "problems.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    # One that is just full is one file, by its usual name.
    write_store(tmp_path / "full", clips(*lengths), shard_frames=sum(lengths))
    assert (tmp_path / "full" / "frames.npy").read_bytes() == (
        tmp_path / "one" / "frames.npy"
    ).read_bytes()


def test_one_shard_or_many_give_the_same(tmp_path: Path) -> None:
    lengths = (300, 5, 31, 60, 700, 90)
    write_store(tmp_path / "one", clips(*lengths))
    write_store(tmp_path / "many", clips(*lengths), shard_frames=100)
    one, many = (FeatureStore.open(tmp_path / name) for name in ("one", "many"))
    assert len(list((tmp_path / "many").glob("*.npy"))) == 4
    starts = one.segments(one.clip_ids).start
    np.testing.assert_array_equal(starts, many.segments(many.clip_ids).start)
    mixed = np.random.default_rng(0).permutation(starts)
    for rows in (mixed[:1], mixed[:7], mixed, mixed[:0]):
        np.testing.assert_array_equal(one.gather(rows, 31), many.gather(rows, 31))
    for first, second in zip(
        band_statistics(one, one.clip_ids), band_statistics(many, one.clip_ids), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_a_lost_shard_is_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "role"
    write_store(folder, clips(30, 30, 30), shard_frames=30)
    (folder / "frames-00001.npy").unlink()
    with pytest.raises(UserError, match=r"counts 90 frames, .* have 60; run `recitative featurize"):
        FeatureStore.open(folder)
    for path in folder.glob("*.npy"):
        path.unlink()
    with pytest.raises(UserError, match="neither frames.npy nor frames-00000.npy"):
        FeatureStore.open(folder)


def test_band_statistics_equal_numpys(tmp_path: Path) -> None:
    written = clips(5, 300, 20)
    write_store(tmp_path / "role", written)
    store = FeatureStore.open(tmp_path / "role")
    ids = store.clip_ids[:2]
    pooled = np.concatenate([frames for _, frames in written[:2]]).astype(np.float64)
    mean, std = band_statistics(store, ids)
    np.testing.assert_allclose(mean, pooled.mean(0), atol=1e-12)
    np.testing.assert_allclose(std, pooled.std(0), rtol=1e-12)
    with pytest.raises(UserError, match="no frames"):
        band_statistics(store, [])


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no feature store.*recitative featurize"):
        FeatureStore.open(tmp_path / "role")
    with pytest.raises(UserError, match="no clip is left"):
        write_store(tmp_path / "role", [])
    with pytest.raises(UserError, match="comes twice"):
        write_store(tmp_path / "role", clips(3) + clips(4))
    assert list(tmp_path.iterdir()) == []
    write_store(tmp_path / "role", clips(40))
    with pytest.raises(UserError, match="no features of clip 'stranger'"):
        FeatureStore.open(tmp_path / "role").segments(["stranger"])
    (tmp_path / "role" / "clips.csv").write_text("id,start,frames\na,0,39\n")
    with pytest.raises(UserError, match="counts 39 frames"):
        FeatureStore.open(tmp_path / "role")
    content = (tmp_path / "role" / "frames.npy").read_bytes()
    (tmp_path / "role" / "frames.npy").write_bytes(content[:-8])
    with pytest.raises(UserError, match="recitative featurize"):
        FeatureStore.open(tmp_path / "role")


def test_a_failure_leaves_the_old_store(tmp_path: Path) -> None:
    folder = tmp_path / "role"
    write_store(folder, clips(40))

    def interrupted() -> Iterator[tuple[str, Frames]]:
        yield from clips(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(folder, interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["role"]
    assert len(FeatureStore.open(folder).frames) == 40


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        """An open file that takes the header, then no more."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "FullDisk":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: Any) -> int:
            if len(content) != 128:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self.file.write(content))

    def open_on_full_disk(path: Path, mode: str = "r", **options: Any) -> Any:
        file = open(path, mode, **options)  # noqa: SIM115
        return FullDisk(file) if path.name.startswith("frames") else file

    monkeypatch.setattr(store_module.Path, "open", open_on_full_disk)
    with pytest.raises(UserError, match="role: the disk is full; free some space"):
        write_store(tmp_path / "role", clips(100, 100))
    assert list(tmp_path.iterdir()) == []


def test_there_may_be_more_shards_than_a_process_may_have_files(tmp_path: Path) -> None:
    write_store(tmp_path / "many", clips(*[40] * 120), shard_frames=40)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = psutil.Process().num_fds() + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most[1]))
    try:
        store = FeatureStore.open(tmp_path / "many")
        batches = [store.gather(np.array([first, first + 40]), 31) for first in range(0, 4760, 40)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert len(batches) == 119
