"""A role's frames on disk, in one file or in many, as one run of frames mapped into memory.

    frames.npy                        (T, n_mels) float32, where all fit into one shard
    frames-00000.npy, -00001.npy, …   else; no clip lies in two of them

What is in many files is larger than memory, and is read that way: the pages of a batch are asked for
together, nothing around them, and given back before they fill the memory.
"""

import mmap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from recitative.features.mel import Frames

ONE = "frames.npy"
KEPT = 2**28  # bytes read before their pages are given back; the system's cache keeps them


def shard_name(number: int) -> str:
    """The file of one of many shards, counted from 0."""
    return f"frames-{number:05}.npy"


class Shards:
    """Frames 0 … T-1 of a role.

    Attributes:
        arrays: of each shard, (T_i, n_mels) float32, read-only where they are mapped.
        first: (shards + 1,) int64: the number of each shard's first frame, and T.
    """

    def __init__(self, arrays: Sequence[Frames], maps: Sequence[mmap.mmap] = ()) -> None:
        self.arrays = tuple(arrays)
        self.first = np.cumsum([0, *map(len, self.arrays)], dtype=np.int64)
        self._maps = tuple(maps)  # of arrays that are larger than memory
        self._read = 0  # bytes since pages were given back

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a role's files.

        Raises:
            FileNotFoundError: there are none.
            ValueError: one is not whole.
        """
        if (folder / ONE).exists():
            return cls([np.asarray(np.load(folder / ONE, mmap_mode="r"))])
        mapped = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("frames-*.npy"))]
        if not mapped:
            raise FileNotFoundError(f"neither {ONE} nor {shard_name(0)}")
        maps = [array._mmap for array in mapped]
        for pages in maps:
            pages.madvise(mmap.MADV_RANDOM)  # else 128 KB are read for each 16 KB
        # Plain arrays over the maps: numpy's memmap subclass is slow to index.
        return cls([np.asarray(array) for array in mapped], maps)

    def __len__(self) -> int:
        """T, the number of frames."""
        return int(self.first[-1])

    @cached_property
    def n_mels(self) -> int:
        """The number of mel bands."""
        return int(self.arrays[0].shape[1])

    def shard_of(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which shard each of some frames (N,) lies in, (N,)."""
        return np.searchsorted(self.first, frames, side="right") - 1

    def view(self, start: int, frames: int) -> Frames:
        """Frames `start` and on, (frames, n_mels), of one shard."""
        shard = int(self.shard_of(np.array(start)))
        within = start - int(self.first[shard])
        self._ask(shard, np.array([within]), frames)
        return self.arrays[shard][within : within + frames]

    def gather(self, starts: npt.NDArray[np.int64], frames: int) -> Frames:
        """Copy the windows that begin at `starts` (B,), none in two shards: (B, frames, n_mels)."""
        if len(self.arrays) == 1:
            return self._windows(0, starts, frames)
        batch = np.empty((len(starts), frames, self.n_mels), np.float32)
        shards = self.shard_of(starts)
        parts = [(shard, np.flatnonzero(shards == shard)) for shard in np.unique(shards).tolist()]
        for shard, rows in parts:
            self._ask(shard, starts[rows] - self.first[shard], frames)
        for shard, rows in parts:
            batch[rows] = self._windows(shard, starts[rows] - self.first[shard], frames)
        return batch

    def _windows(self, shard: int, starts: npt.NDArray[np.int64], frames: int) -> Frames:
        # A window is one run of frames · n_mels numbers on disk, so each is copied as a whole.
        size = frames * self.n_mels
        runs = np.lib.stride_tricks.sliding_window_view(self.arrays[shard].reshape(-1), size)
        return runs[:: self.n_mels][starts].reshape(-1, frames, self.n_mels)

    def _ask(self, shard: int, starts: npt.NDArray[np.int64], frames: int) -> None:
        """Have the disk fetch some windows of a mapped shard side by side."""
        if not self._maps:
            return
        pages, row = self._maps[shard], self.n_mels * 4
        header = len(pages) - len(self.arrays[shard]) * row  # bytes before frame 0
        for start in starts.tolist():
            begin = header + start * row
            page = begin - begin % mmap.PAGESIZE
            pages.madvise(mmap.MADV_WILLNEED, page, begin - page + frames * row)
        self._read += len(starts) * frames * row
        if self._read > KEPT:
            self._read = 0
            for pages in self._maps:
                pages.madvise(mmap.MADV_DONTNEED)
