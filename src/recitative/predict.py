"""From an audio file to emotion over time.

A `Predictor` is one classifier or an ensemble, with the description that rebuilds it and the features
it was trained on; nothing of params.yaml and no MLflow is needed.
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
from recitative.learning.compute import Compute
from recitative.learning.config import ComputeConfig
from recitative.learning.transfer import EVALUATION_BATCH, probabilities
from recitative.models import storage
from recitative.models.classifier import EmotionClassifier
from recitative.vocabulary import QUADRANTS


@dataclass(frozen=True)
class Emotion:
    """What was heard between `start` and `end`."""

    start: float  # s
    end: float  # s
    quadrant: str  # the most probable
    probabilities: dict[str, float]  # a quadrant each, sum 1
    arousal: float  # probability that it is positive, 0..1
    valence: float  # probability that it is positive, 0..1
    arousal_range: tuple[float, float]  # the lowest and the highest answer of one network
    valence_range: tuple[float, float]  # both are the answer, where there is one network


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
    """One or more trained classifiers, whose probabilities are averaged, ready to hear files."""

    models: tuple[EmotionClassifier, ...]
    description: storage.Description
    compute: Compute

    @staticmethod
    def load(place: Path, compute: Compute | None = None) -> "Predictor":
        """Rebuild a model, once its files are verified.

        `place` is a folder with model.json; a description, such as build/transfer/eng2eng/full.json:
        the ensemble of all its repeats and folds; or the weights of one of them, such as
        build/transfer/eng2eng/full-1-0.safetensors.

        Raises:
            UserError: there is no model, its files do not fit together, or they were changed.
        """
        path, member = storage.locate(place)
        description = storage.read_description(path)
        try:
            features = FeatureConfig.model_validate(description["features"])
            size = description["n_mels"], description["frames"]
            if (features.n_mels, features.segment_frames) != size:
                raise ValueError("features and network differ in bands or frames")
            files = storage.weights_files(path, description, member)
            models = storage.load_classifiers(description, files)
        except (ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
            raise storage.not_described(path, error) from error
        compute = compute or Compute.decide(ComputeConfig())
        for model in models:
            compute.place(model)
        return Predictor(tuple(models), description, compute)

    def predict(self, path: Path) -> Prediction:
        """Read a file of any rate and channel count, at least one segment long.

        Raises:
            UserError: the file cannot be read, is silent, or is shorter than one segment; or the
                model answers with what is no number.
        """
        samples = load_audio(path, self.features.sample_rate)
        seconds = len(samples) / self.features.sample_rate
        return self.hear(str(path), seconds, log_mel(samples, self.features))

    @property
    def features(self) -> FeatureConfig:
        """What the networks were trained on."""
        return FeatureConfig.model_validate(self.description["features"])

    def hear(self, name: str, seconds: float, frames: np.ndarray) -> Prediction:
        """The same from the log-mel frames (T, n_mels) of a file that is called `name`.

        Raises:
            UserError: they are fewer than one segment; or the model answers with what is no number.
        """
        features = self.features
        span, hop = features.segment_frames, features.segment_hop
        if len(frames) < span:
            least = f"{(span - 1) * features.hop_length / features.sample_rate:.2f} s"
            raise UserError(f"{name}: {seconds:.2f} s is too short; at least {least} are needed")
        starts = np.arange(0, len(frames) - span + 1, hop)
        networks = np.concatenate(list(self._probabilities(frames, starts, span)), axis=1)
        if not np.isfinite(networks).all():
            raise UserError(
                f"{name}: the model's answer is no number (its weights are damaged, or its training "
                "diverged); use another model"
            )
        rate = features.hop_length / features.sample_rate
        timeline = [
            emotion(networks[:, i], start * rate, min((start + span) * rate, seconds))
            for i, start in enumerate(starts.tolist())
        ]
        return Prediction(name, seconds, emotion(networks.mean(1), 0.0, seconds), timeline)

    @torch.no_grad()
    def _probabilities(
        self, frames: np.ndarray, starts: np.ndarray, span: int
    ) -> Iterator[np.ndarray]:
        for first in range(0, len(starts), EVALUATION_BATCH):
            chosen = starts[first : first + EVALUATION_BATCH]
            batch = np.stack([frames[start : start + span].T for start in chosen])
            x = self.compute.batch({"x": torch.from_numpy(batch)[:, None]})
            yield np.stack([probabilities(model, x, self.compute) for model in self.models])


def emotion(networks: np.ndarray, start: float, end: float) -> Emotion:
    """The answers (K, 6) of K networks, each Q1..Q4, arousal, valence, as an Emotion: their mean."""
    row = networks.mean(0)
    *quadrants, arousal, valence = (round(float(p), 4) for p in row)
    each = dict(zip(QUADRANTS, quadrants, strict=True))
    top = QUADRANTS[int(row[:4].argmax())]
    lowest, highest = networks.min(0)[4:], networks.max(0)[4:]
    ranges = [
        (round(float(a), 4), round(float(b), 4)) for a, b in zip(lowest, highest, strict=True)
    ]
    return Emotion(round(start, 3), round(end, 3), top, each, arousal, valence, *ranges)
