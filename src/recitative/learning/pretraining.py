"""Pretraining on speech: which segments a model sees together, and their labels where it has any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from recitative.features.store import FeatureStore, band_statistics
from recitative.learning.config import FitConfig, PretrainConfig
from recitative.learning.emotions import Labels, label_array, permuted
from recitative.learning.training import Batches
from recitative.models import architecture, build_model, encoder_of
from recitative.models.classifier import TASKS
from recitative.models.config import ArchConfig, EncoderConfig
from recitative.seeding import derive_rng, seed_everything


def speech_batches(
    store: FeatureStore,
    clip_ids: Sequence[str],
    config: ArchConfig,
    frames: int,
    hop: int,
    labels: Labels | None = None,
) -> Batches:
    """Examples `x` (B, K, M, T) of K segments of one utterance, and its `clip` (B,).

    With `labels`, also the codes of `quadrant`, `arousal` and `valence`, each (B,), -1 where unknown.
    Utterances shorter than one example give none.
    """
    offsets = np.array(config.offsets(frames, hop))
    anchors = store.segments(clip_ids, int(offsets[-1]) + frames, hop * config.stride)
    codes = None if labels is None else label_array(labels, clip_ids)

    def take(rows: np.ndarray) -> dict[str, Tensor]:
        starts = anchors.start[rows][:, None] + offsets
        x = store.gather(starts.ravel(), frames)
        clip = anchors.clip[rows].astype(np.int64)
        known = {} if codes is None else dict(zip(TASKS, codes[clip].T, strict=True))
        return {
            "x": torch.from_numpy(x.reshape(*starts.shape, *x.shape[1:])),
            "clip": torch.from_numpy(clip),
            **{task: torch.from_numpy(column.copy()) for task, column in known.items()},
        }

    return Batches(len(anchors.start), take)


def fit_config(config: PretrainConfig, segments_per_example: int) -> FitConfig:
    """The same parameters with the batch counted in examples (at least two: CPC contrasts them)."""
    values = config.model_dump(exclude={"arch"})
    values["batch_size"] = max(2, config.batch_size // segments_per_example)
    return FitConfig.model_validate(values)


@dataclass(frozen=True)
class Speech:
    """The speech of one role, and how segments are cut from it."""

    store: FeatureStore  # its frames
    parts: Mapping[str, Sequence[str]]  # ids of the clips of `train` and of `validation`
    frames: int  # of a segment
    hop: int  # frames from one segment to the next
    labels: Labels = field(default_factory=dict)  # of emotional speech


@dataclass(frozen=True)
class Pretraining:
    """A fresh model and what it is trained on: the arguments of `fit`."""

    model: nn.Module
    train: Batches
    validation: Batches
    config: FitConfig


def prepare(
    speech: Speech,
    pretrain: PretrainConfig,
    encoder: EncoderConfig,
    arch: ArchConfig,
    seed: int,
    segments: int = 0,
    rng: np.random.Generator | None = None,
) -> Pretraining:
    """Draw a model from the stream of `seed`, standardised by the training part, and its batches.

    An architecture that reads emotional speech gets its labels, one that is `shuffled` permuted ones.
    With `rng`, examples of at most so many `segments` are drawn once of each part; 0: all.
    """
    seed_everything(seed)
    store, frames, hop = speech.store, speech.frames, speech.hop
    model = build_model(pretrain.arch, encoder, arch, store.n_mels, frames)
    if encoder.standardize == "band":
        statistics = band_statistics(store, speech.parts["train"])
        encoder_of(model).standardize.set(*(torch.from_numpy(s) for s in statistics))
    kind, labels = architecture(pretrain.arch), speech.labels
    if kind.shuffled:
        labels = permuted(labels, speech.parts["train"], derive_rng(seed, "labels"))
    train, validation = (
        speech_batches(
            store, speech.parts[part], arch, frames, hop, labels if kind.labelled else None
        )
        for part in ("train", "validation")
    )
    together = len(arch.offsets(frames, hop))
    if rng and segments:
        most = max(2, segments // together)
        train, validation = (at_most(part, most, rng) for part in (train, validation))
    config = fit_config(pretrain, together)
    return Pretraining(model, train, validation, config)


def at_most(batches: Batches, count: int, rng: np.random.Generator) -> Batches:
    """The same batches of `count` examples, drawn once; all of them where there are no more."""
    if batches.count <= count:
        return batches
    drawn = np.sort(rng.choice(batches.count, count, replace=False))
    return Batches(count, lambda rows: batches.take(drawn[rows]))


@dataclass(frozen=True)
class Criterion:
    """What a pretraining is judged by: a validation metric above what guessing gives."""

    metric: str
    prior: float
    maximize: bool

    @property
    def name(self) -> str:
        """As it is shown."""
        above = f" above {self.prior:g}" if self.prior else ""
        return f"validation {self.metric}{above}"


LOSS = Criterion("loss", 0.0, maximize=False)
CRITERIA = {"cpc": Criterion("accuracy", 0.5, maximize=True)}  # true and false equally often


def criterion_of(arch: str) -> Criterion:
    """Validation loss, where nothing else says more."""
    return CRITERIA.get(arch, LOSS)
