"""From a role's audio files to its feature store: in parallel, and nothing computed twice.

The cache holds one .npy a clip under ``<cache>/<settings>/<digest[:2]>/<digest>.npy``. Settings are
a hash of everything the frames depend on, the digest is the clip's content; so another corpus,
another split or a killed run computes only the clips that were never seen with these settings.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import joblib
import numpy as np
from tqdm import tqdm

from recitative.audio import TRUNCATED, AudioError, load_audio, require_length
from recitative.errors import UserError
from recitative.features import Frames
from recitative.features.mel import FeatureConfig, log_mel
from recitative.features.store import write_frames, write_store
from recitative.files import atomic_path

FEATURE_VERSION = 1  # raise it when the same settings and audio give other frames
RESAMPLER = "soxr HQ"  # other resamplers differ by up to 0.1 on the log-mel

# What decides which clips are kept and how segments are cut, but no frame's value.
_NOT_OF_FRAMES = {
    "max_problem_share", "min_seconds", "segment_frames", "segment_hop", "shard_hours",
}  # fmt: skip
ROUND_HOURS = 4.0  # of audio that workers may be ahead of the disk, 0.2 GB of frames


class IndexedClip(Protocol):
    """A row of the index, as far as features need it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> Path | str: ...  # noqa: D102  (below the data folder)
    @property
    def digest(self) -> str: ...  # noqa: D102  (of the file's content, hexadecimal)
    @property
    def seconds(self) -> float: ...  # noqa: D102  (by the header)


@dataclass(frozen=True)
class ClipProblem:
    """A clip that is not in the store, and why; a row of problems.csv."""

    id: str
    path: str
    reason: str


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did."""

    clips: int  # number in the store
    hours: float  # of audio in the store
    computed: int  # clips whose frames were computed now
    cached: int  # clips whose frames were found in the cache
    problems: tuple[ClipProblem, ...]  # the clips left out
    seconds: float  # wall time taken
    feature_hash: str  # of the settings and of the stored clips' digests in order

    def __str__(self) -> str:
        return (
            f"{self.clips} clips, {self.hours:.2f} h ({self.computed} computed, {self.cached} "
            f"cached), {len(self.problems)} left out; {self.seconds:.1f} s, "
            f"{self.hours / self.seconds:.2g} h of audio a second"
        )


def feature_key(config: FeatureConfig) -> str:
    """A hash, 16 hexadecimal digits, of everything but the audio that frames depend on."""
    settings = config.model_dump(exclude=_NOT_OF_FRAMES)
    settings |= {"version": FEATURE_VERSION, "resampler": RESAMPLER}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def expected_bytes(clips: Iterable[IndexedClip], config: FeatureConfig) -> int:
    """What the clips' frames will take, by their measured lengths."""
    rate = config.sample_rate / config.hop_length
    return sum(1 + int(clip.seconds * rate) for clip in clips) * config.n_mels * 4


def least_seconds(config: FeatureConfig) -> float:
    """What a clip must have, s, by its header: `min_seconds`, and the frames of one segment."""
    samples = (config.segment_frames - 1) * config.hop_length
    samples += 0 if config.center else config.n_fft
    return max(config.min_seconds, samples / (1 - TRUNCATED) / config.sample_rate)


def extract(
    clips: Sequence[IndexedClip],
    data_root: Path,
    config: FeatureConfig,
    folder: Path,
    cache: Path | None = None,
    workers: int = 1,
) -> ExtractionReport:
    """Write the feature store of one role's clips.

    A clip that is unreadable, silent, damaged or too short goes to problems.csv; the others are in
    the order of `clips`, whose paths are below `data_root`. The store, `folder`, is written whole or
    not at all; what was computed before an interruption stays in the `cache` (None: there is none).
    There are as many processes as `workers`, each on one thread; -1 for one a core.

    Raises:
        UserError: more than `config.max_problem_share` of the clips are lost, no clip is left, or
            the disk is full.
    """
    began = time.perf_counter()
    kept: list[IndexedClip] = []
    problems: list[ClipProblem] = []
    computed = 0

    def frames_of_kept() -> Iterator[tuple[str, Frames]]:
        nonlocal computed
        for clip, result in zip(clips, results, strict=True):
            if isinstance(result, str):
                problems.append(ClipProblem(clip.id, str(clip.path), result))
                continue
            frames, is_new = result
            kept.append(clip)
            computed += is_new
            yield clip.id, frames
        if len(problems) > config.max_problem_share * len(clips):
            first = problems[0]
            raise UserError(
                f"{folder.name}: {len(problems)} of {len(clips)} clips cannot be used, the first "
                f"{data_root / first.path}: {first.reason}; mend or remove them (`recitative audit "
                "data` lists all), or raise features.max_problem_share "
                f"({config.max_problem_share:g})"
            )

    with closing(_results(clips, data_root, config, cache, workers, folder)) as results:
        write_store(folder, frames_of_kept(), map(vars, problems), config.shard_frames)
    versions = [feature_key(config), *(clip.digest for clip in kept)]
    return ExtractionReport(
        clips=len(kept),
        hours=sum(clip.seconds for clip in kept) / 3600,
        computed=computed,
        cached=len(kept) - computed,
        problems=tuple(problems),
        seconds=time.perf_counter() - began,
        feature_hash=hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16],
    )


def cache_frames(
    clips: Sequence[IndexedClip], data_root: Path, config: FeatureConfig, cache: Path
) -> None:
    """Compute the frames of those clips that the cache does not have; `extract` finds them there."""
    for clip in clips:
        _clip_frames(data_root / clip.path, clip.digest, clip.seconds, config, cache)


def _results(
    clips: Sequence[IndexedClip],
    data_root: Path,
    config: FeatureConfig,
    cache: Path | None,
    workers: int,
    folder: Path,
) -> Generator[tuple[Frames, bool] | str, None, None]:
    """Yield the results of `_clip_frames` in order, as they get ready."""
    work = joblib.delayed(_clip_frames)
    bar = tqdm(desc=folder.name, total=len(clips), unit="clip", disable=None)
    with bar, joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        for some in _rounds(clips):
            results = joblib.Parallel(n_jobs=workers, return_as="generator")(
                work(data_root / clip.path, clip.digest, clip.seconds, config, cache)
                for clip in some
            )
            try:
                for result in results:
                    bar.update()
                    yield result
            finally:
                with warnings.catch_warnings():  # joblib's of unused results hides the real error
                    warnings.simplefilter("ignore")
                    results.close()


def _rounds(clips: Sequence[IndexedClip]) -> Iterator[Sequence[IndexedClip]]:
    """Runs of clips of about `ROUND_HOURS`: joblib computes all it is given, however slow the disk."""
    first, seconds = 0, 0.0
    for number, clip in enumerate(clips):
        if seconds + clip.seconds > ROUND_HOURS * 3600 and number > first:
            yield clips[first:number]
            first, seconds = number, 0.0
        seconds += clip.seconds
    yield clips[first:]


def _clip_frames(
    path: Path, digest: str, seconds: float, config: FeatureConfig, cache: Path | None
) -> tuple[Frames, bool] | str:
    """Frames and whether they were computed now, not found in the cache; or why there are none."""
    entry = cache and cache / feature_key(config) / digest[:2] / f"{digest}.npy"
    frames = found = _read_entry(entry, config) if entry else None
    try:
        if frames is None:
            frames = log_mel(load_audio(path, config.sample_rate), config)
            if entry:
                with atomic_path(entry) as temporary:
                    write_frames(temporary, [frames])
        require_length(path, seconds, least_seconds(config))
    except AudioError as error:
        return error.reason
    return frames, found is None


def _read_entry(entry: Path, config: FeatureConfig) -> Frames | None:
    """A cache entry's frames; None where there is none, or none that is whole."""
    try:
        frames = np.load(entry)
    except (OSError, ValueError, EOFError):
        return None
    whole = frames.ndim == 2 and frames.shape[1] == config.n_mels and frames.dtype == np.float32
    return frames if whole else None
