"""The frames of one role, written once; segments and sequences are views cut from them.

    frames.npy  (T, n_mels) float32: every clip's frames, one clip after another
    clips.csv   id, start, frames: where a clip begins in frames.npy, and how many frames it has
    problems.csv  id, path, reason: the clips that are not in the store

Reading maps the file into memory: a batch costs the pages that it touches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recitative.errors import UserError
from recitative.features.mel import Frames
from recitative.files import atomic_folder, read_csv, write_csv

CLIP_COLUMNS = ("id", "start", "frames")
PROBLEM_COLUMNS = ("id", "path", "reason")


@dataclass(frozen=True)
class Segments:
    """Where N windows begin.

    Attributes:
        start: (N,) int64, offset in the store's frames.
        clip: (N,) int64, index into the ids that were asked for.
    """

    start: npt.NDArray[np.int64]
    clip: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class FeatureStore:
    """The frames of one role's clips.

    Attributes:
        folder: where it lies.
        frames: (T, n_mels) float32, mapped from disk, read-only.
        spans: id → (start, frames), in the order of the store.
    """

    folder: Path
    frames: Frames
    spans: Mapping[str, tuple[int, int]]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a store into memory.

        Raises:
            UserError: there is no store, or its two files do not fit together.
        """
        try:
            # A plain array over the map: numpy's memmap subclass is slow to index.
            frames = np.asarray(np.load(folder / "frames.npy", mmap_mode="r"))
            rows = read_csv(folder / "clips.csv")
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise UserError(
                f"{folder}: no feature store ({error}); run `recitative featurize`"
            ) from error
        spans = {row["id"]: (int(row["start"]), int(row["frames"])) for row in rows}
        total = sum(frames for _, frames in spans.values())
        if total != len(frames):
            raise UserError(
                f"{folder}: clips.csv counts {total} frames, frames.npy has {len(frames)}; "
                "run `recitative featurize` again"
            )
        return cls(folder, frames, spans)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The ids, in the order of the store."""
        return tuple(self.spans)

    @property
    def n_mels(self) -> int:
        """The number of mel bands."""
        return int(self.frames.shape[1])

    def frames_of(self, clip_id: str) -> Frames:
        """One clip's frames (T, n_mels), a read-only view."""
        start, frames = self._span(clip_id)
        return self.frames[start : start + frames]

    def segments(self, ids: Sequence[str], frames: int = 31, hop: int = 15) -> Segments:
        """Every segment of `frames` frames, one each `hop` frames, clip after clip."""
        return self.anchors(ids, frames, hop)

    def anchors(self, ids: Sequence[str], span_frames: int, hop_frames: int) -> Segments:
        """The places, one each `hop_frames`, where a window of `span_frames` fits into one clip.

        A clip shorter than the window has none; no window crosses into the next clip.

        Raises:
            UserError: an id is not in the store.
        """
        spans = np.array([self._span(clip_id) for clip_id in ids], np.int64).reshape(-1, 2)
        counts = np.maximum(0, 1 + (spans[:, 1] - span_frames) // hop_frames)
        clip = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
        return Segments(spans[clip, 0] + within * hop_frames, clip)

    def gather(self, starts: npt.NDArray[np.int64], frames: int) -> npt.NDArray[np.float32]:
        """Copy the windows that begin at `starts` (B,) into one batch (B, n_mels, frames)."""
        # A window is one run of frames · n_mels numbers on disk, so each is copied as a whole.
        size = frames * self.n_mels
        runs = np.lib.stride_tricks.sliding_window_view(self.frames.reshape(-1), size)
        batch = runs[:: self.n_mels][starts]
        return batch.reshape(-1, frames, self.n_mels).transpose(0, 2, 1)

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
) -> None:
    """Write a store whole or not at all, holding one clip at a time.

    Args:
        folder: of the store; what was there is replaced.
        clips: (id, frames (T, n_mels)); ids are unique.
        problems: rows for problems.csv, read after the last clip, so it may grow meanwhile.

    Raises:
        UserError: there is no clip, or the disk is full.
    """
    with atomic_folder(folder) as temporary:
        rows: dict[str, dict[str, Any]] = {}

        def blocks() -> Iterable[Frames]:
            start = 0
            for clip_id, frames in clips:
                if clip_id in rows:
                    raise UserError(f"{folder}: clip {clip_id!r} comes twice; ids must be unique")
                rows[clip_id] = {"id": clip_id, "start": start, "frames": len(frames)}
                start += len(frames)
                yield frames

        if not write_frames(temporary / "frames.npy", blocks()):
            raise UserError(f"{folder}: no clip is left to write; see that the role has clips")
        write_csv(temporary / "clips.csv", CLIP_COLUMNS, rows.values())
        write_csv(temporary / "problems.csv", PROBLEM_COLUMNS, problems)


def write_frames(path: Path, blocks: Iterable[Frames]) -> int:
    """Write blocks (T_i, n_mels) as one .npy file (T, n_mels) without holding them; return T.

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
    return total


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
    total = np.zeros(store.n_mels)
    squares = np.zeros(store.n_mels)
    for clip_id in ids:
        frames = store.frames_of(clip_id).astype(np.float64)
        count += len(frames)
        total += frames.sum(axis=0)
        squares += np.einsum("tb,tb->b", frames, frames)
    if not count:
        raise UserError(f"{store.folder}: no frames to take band statistics of")
    mean = total / count
    return mean, np.sqrt(np.maximum(0, squares / count - mean**2))
