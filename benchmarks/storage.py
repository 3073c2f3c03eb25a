"""Random segments from one array of frames, beside HDF5 a file with overlapped copies, as released."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from benchmarks.rounds import Cost, Row, compare, interleave, timed
from recitative.features.store import FeatureStore, write_store

BANDS, FRAMES, HOP = 128, 31, 15
CLIPS, LENGTH = 288, 391  # an hour: utterances of 12.5 s
READS = 512


def measure(rounds: int, folder: Path) -> tuple[list[Row], dict[str, float]]:
    """Writing an hour, bytes on disk, and random reads, which must give the same segments."""
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((LENGTH, BANDS)).astype(np.float32) for _ in range(CLIPS)]
    hdf5, ours = folder / "hdf5", folder / "store"
    hdf5.mkdir()

    def write_copies() -> None:
        for number, frames in enumerate(clips):
            windows = np.lib.stride_tricks.sliding_window_view(frames, FRAMES, axis=0)[::HOP]
            with h5py.File(hdf5 / f"{number}.h5", "w") as file:
                file["segments"] = windows

    written = interleave(
        {
            "ours": lambda: timed(
                lambda: write_store(ours, ((str(i), c) for i, c in enumerate(clips)))
            ),
            "hdf5": lambda: timed(write_copies),
        },
        rounds,
    )
    store = FeatureStore.open(ours)
    segments = store.segments(store.clip_ids, FRAMES, HOP)
    first = np.searchsorted(segments.clip, segments.clip)
    chosen = rng.integers(len(segments), size=READS)
    found: dict[str, np.ndarray] = {}

    def views() -> None:
        found["ours"] = store.gather(segments.start[chosen], FRAMES)

    def copies() -> None:
        read = np.empty((READS, BANDS, FRAMES), np.float32)
        for place, segment in enumerate(chosen):
            with h5py.File(hdf5 / f"{segments.clip[segment]}.h5") as file:
                read[place] = file["segments"][segment - first[segment]]
        found["hdf5"] = read

    def side(work: Callable[[], None]) -> Callable[[], Cost]:
        return lambda: timed(lambda: [work() for _ in range(8 if work is views else 1)])

    read = interleave({"ours": side(views), "hdf5": side(copies)}, rounds)
    np.testing.assert_array_equal(found["ours"], found["hdf5"])
    sizes = {
        "ours": sum(path.stat().st_size for path in ours.iterdir()),
        "hdf5": sum(path.stat().st_size for path in hdf5.iterdir()),
    }
    against = "HDF5 a file, overlapped copies"
    what, units = "random segment read", 8 * READS
    reading = compare(read, "ours", "hdf5", units, what, against, "segment", 70, READS)
    what = "writing an hour of frames"
    writing = compare(written, "ours", "hdf5", 1, what, against, "hour", 0)
    return [reading, writing], {
        "megabytes an hour, frames": sizes["ours"] / 1e6,
        "megabytes an hour, HDF5": sizes["hdf5"] / 1e6,
        "bytes, share of HDF5": sizes["ours"] / sizes["hdf5"],
    }
