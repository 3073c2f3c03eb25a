"""From an audio file to emotion over time.

A `Predictor` is a classifier with the description that rebuilds it and the features it was trained
on; nothing of params.yaml and no MLflow is needed.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recitative.audio import load_audio
from recitative.errors import UserError
from recitative.features.mel import FeatureConfig, log_mel
from recitative.files import read_json
from recitative.learning.compute import Compute
from recitative.learning.config import ComputeConfig
from recitative.learning.transfer import EVALUATION_BATCH, probabilities
from recitative.models.classifier import EmotionClassifier
from recitative.models.storage import Description, build_classifier, build_encoder, load_weights
from recitative.vocabulary import QUADRANTS

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


@dataclass(frozen=True)
class Emotion:
    """What was heard between `start` and `end`."""

    start: float  # s
    end: float  # s
    quadrant: str  # the most probable
    probabilities: dict[str, float]  # a quadrant each, sum 1
    arousal: float  # probability that it is positive, 0..1
    valence: float  # probability that it is positive, 0..1


@dataclass(frozen=True)
class Prediction:
    """A file's emotion over time, and for the whole: the mean of its segments' probabilities."""

    file: str
    seconds: float
    whole: Emotion
    timeline: list[Emotion]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Predictor:
    """A trained classifier, ready to hear files."""

    model: EmotionClassifier
    description: Description
    compute: Compute

    @staticmethod
    def load(folder: Path, compute: Compute | None = None) -> "Predictor":
        """Rebuild the model that lies in `folder` (model.json, model.safetensors).

        Raises:
            UserError: there is no model, or its files do not fit together.
        """
        if not (folder / DESCRIPTION).exists():
            raise UserError(f"{folder}: no {DESCRIPTION} here; name a folder that holds a model")
        try:
            description = read_json(folder / DESCRIPTION)
            FeatureConfig.model_validate(description["features"])
            model = build_classifier(description, build_encoder(description))
        except (ValueError, KeyError, TypeError) as error:  # no JSON, a section missing or wrong
            raise UserError(
                f"{folder / DESCRIPTION}: no description of a model "
                f"({' '.join(str(error).split())}); run the stage that wrote it again"
            ) from error
        load_weights(folder / WEIGHTS, model)
        compute = compute or Compute.decide(ComputeConfig())
        compute.place(model)
        return Predictor(model.eval(), description, compute)

    def predict(self, path: Path) -> Prediction:
        """Read a file of any rate and channel count, at least one segment long.

        Raises:
            UserError: the file cannot be read, is silent, or is shorter than one segment.
        """
        features = FeatureConfig.model_validate(self.description["features"])
        samples = load_audio(path, features.sample_rate)
        seconds = len(samples) / features.sample_rate
        frames = log_mel(samples, features)
        span, hop = features.segment_frames, features.segment_hop
        if len(frames) < span:
            needed = (span - 1) * features.hop_length / features.sample_rate
            raise UserError(
                f"{path}: {seconds:.2f} s is too short; at least {needed:.2f} s are needed"
            )
        starts = np.arange(0, len(frames) - span + 1, hop)
        table = np.concatenate(list(self._probabilities(frames, starts, span)))
        rate = features.hop_length / features.sample_rate
        timeline = [
            emotion(row, start * rate, min((start + span) * rate, seconds))
            for start, row in zip(starts.tolist(), table, strict=True)
        ]
        return Prediction(str(path), seconds, emotion(table.mean(0), 0.0, seconds), timeline)

    @torch.no_grad()
    def _probabilities(
        self, frames: np.ndarray, starts: np.ndarray, span: int
    ) -> Iterator[np.ndarray]:
        for first in range(0, len(starts), EVALUATION_BATCH):
            batch = np.stack(
                [frames[s : s + span].T for s in starts[first : first + EVALUATION_BATCH]]
            )
            x = {"x": torch.from_numpy(batch)[:, None]}
            yield probabilities(self.model, self.compute.batch(x), self.compute)


def emotion(row: np.ndarray, start: float, end: float) -> Emotion:
    """Six probabilities (Q1..Q4, arousal, valence) as an Emotion."""
    return Emotion(
        round(start, 3),
        round(end, 3),
        QUADRANTS[int(row[:4].argmax())],
        {name: round(float(p), 4) for name, p in zip(QUADRANTS, row, strict=False)},
        round(float(row[4]), 4),
        round(float(row[5]), 4),
    )
