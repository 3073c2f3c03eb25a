"""How fast this machine trains: each kind of work timed on a little noise, as the stages do it.

The numbers of the features do not matter to how long a network takes, so frames of noise stand in.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from recitative.features.store import FeatureStore, write_store
from recitative.learning.compute import Compute
from recitative.learning.config import (
    TRANSFER_MODES,
    ArchConfig,
    FitConfig,
    PretrainConfig,
    TransferConfig,
)
from recitative.learning.pretraining import Speech, prepare
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import fit
from recitative.learning.transfer import Parts, encode, fit_mode, predict_segments
from recitative.models.config import EncoderConfig
from recitative.models.storage import Description, build_classifier, build_encoder
from recitative.vocabulary import QUADRANTS

CLIP_FRAMES = 400  # about 13 s
SPEECH_CLIPS, SONGS = 14, 14
PARTS = (0.595, 0.105)  # of music: training and validation; the rest is tested


@dataclass(frozen=True)
class Rates:
    """Seconds of one process, with as many beside it as will be.

    Attributes:
        pretrain: an epoch, for an hour of speech, its validation included.
        encode: the codes of an hour of music.
        frozen: an epoch of the heads on cached codes, for an hour of music.
        finetune: an epoch of everything, for an hour of music.
        predict: the test part of an hour of music.
        memory: bytes that the process came to hold.
    """

    pretrain: float
    encode: float
    frozen: float
    finetune: float
    predict: float
    memory: float


@dataclass(frozen=True)
class _Song:
    id: str
    group: str
    quadrant: str


def measure(
    pretrain: PretrainConfig,
    encoder: EncoderConfig,
    arch: ArchConfig,
    transfer: TransferConfig,
    description: Description,
    hop: int,
    frame_seconds: float,
    compute: Compute,
    folder: Path,
) -> Rates:
    """Time every kind of work once, after a first time that does not count.

    Args:
        pretrain: parameters of the pretraining.
        encoder: of the encoder.
        arch: of the architecture.
        transfer: parameters of transfer.
        description: of the classifier.
        hop: frames from one segment to the next.
        frame_seconds: from one frame to the next.
        compute: device and precision.
        folder: an empty one, for the noise.
    """
    frames, bands = description["frames"], description["n_mels"]
    rng = np.random.default_rng(0)
    speech = _noise(folder / "speech", SPEECH_CLIPS, bands, rng)
    cut = round(0.85 * SPEECH_CLIPS)
    ids = list(speech.clip_ids)
    parts = {"train": ids[:cut], "validation": ids[cut:]}
    made = prepare(Speech(speech, parts, frames, hop), pretrain, encoder, arch, 0)
    hours = SPEECH_CLIPS * CLIP_FRAMES * frame_seconds / 3600
    of_speech = _last_epoch(
        list(fit(made.model, made.train, made.validation, _short(made.config), compute, 0))
    )

    songs = _noise(folder / "music", SONGS, bands, rng)
    labelled = [
        _Song(name, name, QUADRANTS[place % 4]) for place, name in enumerate(songs.clip_ids)
    ]
    segments = LabelledSegments.load(songs, labelled, frames, hop)
    split = _parts(len(segments.start))
    model = build_classifier(description, build_encoder(description))
    encode_seconds = _seconds(lambda: encode(model.encoder, segments, compute, folder / "c.npy"))
    codes = np.load(folder / "c.npy", mmap_mode="r")
    brief = transfer.model_copy(
        update={"frozen": _short(transfer.frozen), "finetune": _short(transfer.finetune)}
    )
    epochs = {}
    for name in ("feature_extraction", "full"):
        epochs[name] = _last_epoch(
            list(fit_mode(TRANSFER_MODES[name], model, segments, split, codes, brief, compute, 0))
        )
    predict = _seconds(lambda: predict_segments(model, segments, split.test, compute))
    of_music = SONGS * CLIP_FRAMES * frame_seconds / 3600
    return Rates(
        of_speech / hours,
        encode_seconds / of_music,
        epochs["feature_extraction"] / of_music,
        epochs["full"] / of_music,
        predict / of_music,
        float(psutil.Process().memory_info().rss),
    )


def _noise(folder: Path, clips: int, bands: int, rng: np.random.Generator) -> FeatureStore:
    write_store(
        folder,
        (
            (f"clip/{n:02}", rng.standard_normal((CLIP_FRAMES, bands)).astype(np.float32))
            for n in range(clips)
        ),
    )
    return FeatureStore.open(folder)


def _parts(segments: int) -> Parts:
    order = np.arange(segments)
    first, second = (round(share * segments) for share in (PARTS[0], sum(PARTS)))
    return Parts(order[:first], order[first:second], order[second:])


def _short(config: FitConfig) -> FitConfig:
    """Two epochs: the first one warms up."""
    return config.model_copy(update={"epochs": 2, "patience": 0})


def _last_epoch(epochs: list) -> float:  # type: ignore[type-arg]
    return float(epochs[-1].seconds)


def _seconds(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
