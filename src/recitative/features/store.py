"""The frames of one role, written once; segments and sequences are views cut from them.

    frames.npy  (T, n_mels) float32: every clip's frames, one clip after another
    clips.csv   id, start, frames: where a clip begins in frames.npy, and how many frames it has
    problems.csv  id, path, reason: the clips that are not in the store

What is more than one shard lies in frames-00000.npy and on, and `start` counts through all of them;
`shards.py` reads either.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recitative.errors import UserError
from recitative.features import Frames
from recitative.features.shards import ONE, MappedFrames, ShardedFrames, open_frames, shard_name
from recitative.files import atomic_folder, stream_csv, write_csv


@dataclass(frozen=True)
class Segments:
    """Where N windows begin."""

    start: npt.NDArray[np.int64]  # (N,) int64, offset in the store's frames
    clip: npt.NDArray[np.int64]  # (N,) int64, index into the ids that were asked for

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class FeatureStore:
    """The frames of one role's clips."""

    folder: Path  # where it lies
    frames: MappedFrames | ShardedFrames  # all of them, on disk, read-only
    spans: Mapping[str, tuple[int, int]]  # id → (start, frames), in the order of the store

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a store into memory.

        Raises:
            UserError: there is no store, or its files do not fit together.
        """
        try:
            stored = open_frames(folder)
            spans = {
                row["id"]: (int(row["start"]), int(row["frames"]))
                for row in stream_csv(folder / "clips.csv")
            }
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise UserError(
                f"{folder}: no feature store ({error}); run `recitative featurize`"
            ) from error
        total = sum(frames for _, frames in spans.values())
        if total != len(stored):
            raise UserError(
                f"{folder}: clips.csv counts {total} frames, the files of frames have {len(stored)}; "
                "run `recitative featurize` again"
            )
        return cls(folder, stored, spans)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The ids, in the order of the store."""
        return tuple(self.spans)

    @property
    def n_mels(self) -> int:
        """The number of mel bands."""
        return self.frames.n_mels

    def frames_of(self, clip_id: str) -> Frames:
        """One clip's frames (T, n_mels), a read-only view."""
        return self.frames.run(*self._span(clip_id))

    def segments(self, ids: Sequence[str], frames: int = 31, hop: int = 15) -> Segments:
        """The places, one each `hop` frames, where a window of `frames` fits, clip after clip.

        A clip shorter than the window has none; no window crosses into the next clip.

        Raises:
            UserError: an id is not in the store.
        """
        spans = np.array([self._span(clip_id) for clip_id in ids], np.int64).reshape(-1, 2)
        counts = np.maximum(0, 1 + (spans[:, 1] - frames) // hop)
        clip = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
        return Segments(spans[clip, 0] + within * hop, clip)

    def gather(self, starts: npt.NDArray[np.int64], frames: int) -> npt.NDArray[np.float32]:
        """Copy the windows that begin at `starts` (B,) into one batch (B, n_mels, frames)."""
        return self.frames.gather(starts, frames).transpose(0, 2, 1)

    def _span(self, clip_id: str) -> tuple[int, int]:
        try:
            return self.spans[clip_id]
        except KeyError:
            raise UserError(
                f"{self.folder}: no features of clip {clip_id!r}; its reason stands in "
                "problems.csv, or run `recitative featurize` again"
            ) from None


def write_store(
    folder: Path,
    clips: Iterable[tuple[str, Frames]],
    problems: Iterable[Mapping[str, Any]] = (),
    shard_frames: int = sys.maxsize,
) -> None:
    """Write a store whole or not at all, holding one clip at a time; what was there is replaced.

    `clips` are (id, frames (T, n_mels)), and ids are unique. The rows of `problems` are read after
    the last clip, so they may grow meanwhile. A file has at most `shard_frames`, or one longer clip.

    Raises:
        UserError: there is no clip, or the disk is full.
    """
    with atomic_folder(folder) as temporary:
        spans: dict[str, tuple[int, int]] = {}
        start = number = held = 0

        def placed(clip: tuple[str, Frames]) -> int:
            """Note where the clip lies; the number of its shard."""
            nonlocal start, number, held
            clip_id, frames = clip[0], len(clip[1])
            if clip_id in spans:
                raise UserError(f"{folder}: clip {clip_id!r} comes twice; ids must be unique")
            spans[clip_id] = start, frames
            start += frames
            if held and held + frames > shard_frames:
                number, held = number + 1, 0
            held += frames
            return number

        for shard, its_clips in groupby(clips, placed):
            write_frames(temporary / shard_name(shard), (frames for _, frames in its_clips))
        if not start:
            raise UserError(f"{folder}: no clip is left to write; see that the role has clips")
        if not number:
            (temporary / shard_name(0)).rename(temporary / ONE)
        rows = ({"id": i, "start": first, "frames": n} for i, (first, n) in spans.items())
        write_csv(temporary / "clips.csv", ("id", "start", "frames"), rows)
        write_csv(temporary / "problems.csv", ("id", "path", "reason"), problems)


def write_frames(path: Path, blocks: Iterable[Frames]) -> None:
    """Write blocks (T_i, n_mels) as one .npy file (T, n_mels) without holding them.

    The header goes first with T = 0 and is written again at the end: numpy pads it so that the
    first dimension may grow. `numpy.save` would need the whole array, and its error on a full disk
    does not say that the disk is full.
    """
    total = bands = 0
    with path.open("wb") as out:
        for block in blocks:
            if not bands:
                bands = block.shape[1]
                _write_header(out, 0, bands)
            out.write(np.ascontiguousarray(block, np.float32).data)
            total += len(block)
        out.seek(0)
        _write_header(out, total, bands)


def _write_header(out: Any, total: int, bands: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (total, bands)}
    np.lib.format.write_array_header_1_0(out, header)


def band_statistics(
    store: FeatureStore, ids: Iterable[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean and the (population) standard deviation of each band over the clips' frames.

    One pass, a clip at a time, in float64.

    Returns:
        mean (n_mels,), std (n_mels,).

    Raises:
        UserError: an id is not in the store, or there is none.
    """
    count = 0
    total, squares = np.zeros((2, store.n_mels))
    for clip_id in ids:
        frames = store.frames_of(clip_id).astype(np.float64)
        count += len(frames)
        total += frames.sum(axis=0)
        squares += np.einsum("tb,tb->b", frames, frames)
    if not count:
        raise UserError(f"{store.folder}: no frames to take band statistics of")
    mean = total / count
    return mean, np.sqrt(np.maximum(0, squares / count - mean**2))
