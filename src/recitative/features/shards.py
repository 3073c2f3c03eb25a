"""A role's frames on disk as one run of frames 0 … T-1, whether they lie in one file or in many.

    frames.npy                        (T, n_mels) float32, where all fit into one shard
    frames-00000.npy, -00001.npy, …   else; no clip lies in two of them

One file is mapped into memory: a batch costs the pages that it touches. Many are larger than memory,
where a map is no good: the disk would be asked for one window after another, with what lies around each,
and the process be charged with all of it (docs/scale.md has it measured). So a batch's windows are
asked for together, and copied.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.errors import UserError
from recitative.features import Frames

ONE = "frames.npy"
ADVISES = hasattr(os, "posix_fadvise")  # macOS has none


def shard_name(number: int) -> str:
    """The file of one of many shards, counted from 0."""
    return f"frames-{number:05}.npy"


def open_frames(folder: Path) -> "MappedFrames | ShardedFrames":
    """A role's frames.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file is not whole.
    """
    if (folder / ONE).exists():
        # A plain array over the map: numpy's memmap subclass is slow to index.
        return MappedFrames(np.asarray(np.load(folder / ONE, mmap_mode="r")))
    paths = sorted(folder.glob("frames-*.npy"))
    if not paths:
        raise FileNotFoundError(f"neither {ONE} nor {shard_name(0)}")
    return ShardedFrames(paths)


class MappedFrames:
    """The T frames of one array (T, n_mels), mapped from its file."""

    def __init__(self, array: Frames) -> None:
        self.array = array
        self.n_mels = int(array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def run(self, start: int, frames: int) -> Frames:
        """Frames `start` and on, (frames, n_mels): a view."""
        return self.array[start : start + frames]

    def gather(self, starts: npt.NDArray[np.int64], frames: int) -> Frames:
        """Copy the windows that begin at `starts` (B,): (B, frames, n_mels)."""
        # A window is one run of frames · n_mels numbers on disk, so each is copied as a whole.
        size = frames * self.n_mels
        runs = np.lib.stride_tricks.sliding_window_view(self.array.reshape(-1), size)
        return runs[:: self.n_mels][starts].reshape(-1, frames, self.n_mels)


class ShardedFrames:
    """T frames in many files, opened for a batch: thousands at once are more than a process may have.

    Attributes:
        first: (shards + 1,) int64: the number of each shard's first frame, and T.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        lengths, self._offset, bands = np.array([_header(path) for path in paths]).T
        self.first = np.cumsum([0, *lengths], dtype=np.int64)
        self.n_mels = int(bands[0])
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return int(self.first[-1])

    def run(self, start: int, frames: int) -> Frames:
        """Frames `start` and on, (frames, n_mels), of one shard: a copy."""
        copied: Frames = self.gather(np.array([start]), frames)[0]
        return copied

    def gather(self, starts: npt.NDArray[np.int64], frames: int) -> Frames:
        """Copy the windows that begin at `starts` (B,), none in two shards: (B, frames, n_mels)."""
        row = self.n_mels * 4
        batch = np.empty((len(starts), frames, self.n_mels), np.float32)
        shards = np.searchsorted(self.first, starts, side="right") - 1
        begins = (starts - self.first[shards]) * row + self._offset[shards]
        with ExitStack() as stack:
            open_of = {
                s: stack.enter_context(_opened(self._paths[s])) for s in set(shards.tolist())
            }
            files = [open_of[shard] for shard in shards.tolist()]
            places = list(zip(files, begins.tolist(), strict=True))
            for file, begin in places if ADVISES else ():  # the disk fetches them side by side
                os.posix_fadvise(file.fileno(), begin, frames * row, os.POSIX_FADV_WILLNEED)
            for (file, begin), window in zip(places, batch, strict=True):
                if os.preadv(file.fileno(), [window.data], begin) < frames * row:
                    raise UserError(
                        f"{file.name}: ends before a clip does; run `recitative featurize` again"
                    )
        return batch


def _header(path: Path) -> tuple[int, int, int]:
    """Frames, bytes before frame 0, and mel bands of a file."""
    array = np.load(path, mmap_mode="r")
    return len(array), array.offset, array.shape[1]


def _opened(path: Path) -> FileIO:
    file = FileIO(path)
    if ADVISES:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    return file
