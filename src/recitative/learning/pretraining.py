"""Self-supervised pretraining on unlabelled speech: which segments a model sees together."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from recitative.features.store import FeatureStore
from recitative.learning.training import Batches, FitConfig


class PretrainConfig(FitConfig):
    """Parameters of pretraining. `batch_size` counts segments, whatever the architecture."""

    arch: str


class ArchConfig(Protocol):
    """An architecture's section: how its training examples lie in an utterance."""

    @property
    def stride(self) -> int:
        """Segments from one example's start to the next's."""

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Its values."""

    def offsets(self, frames: int, hop: int) -> list[int]:
        """Start of each segment of an example from the example's start, in frames."""


def speech_batches(
    store: FeatureStore, clip_ids: Sequence[str], config: ArchConfig, frames: int, hop: int
) -> Batches:
    """Examples `x` (B, K, M, T) of K segments of one utterance, and its `clip` (B,).

    Utterances shorter than one example give none.
    """
    offsets = np.array(config.offsets(frames, hop))
    anchors = store.anchors(clip_ids, int(offsets[-1]) + frames, hop * config.stride)

    def take(rows: np.ndarray) -> dict[str, Tensor]:
        starts = anchors.start[rows][:, None] + offsets
        x = store.gather(starts.ravel(), frames)
        return {
            "x": torch.from_numpy(x.reshape(*starts.shape, *x.shape[1:])),
            "clip": torch.from_numpy(anchors.clip[rows].astype(np.int64)),
        }

    return Batches(len(anchors.start), take)


def fit_config(config: PretrainConfig, segments_per_example: int) -> FitConfig:
    """The same parameters with the batch counted in examples (at least two: CPC contrasts them)."""
    values = config.model_dump(exclude={"arch"})
    values["batch_size"] = max(2, config.batch_size // segments_per_example)
    return FitConfig.model_validate(values)
