"""Small models and small feature stores: everything that a training needs, in milliseconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recitative.config import Section
from recitative.features.store import FeatureStore, write_store
from recitative.learning.compute import Compute
from recitative.learning.segments import LabelledSegments
from recitative.models import build_model
from recitative.models.classifier import TASKS
from recitative.models.config import CPCConfig, EmotionConfig, EncoderConfig, SCAEConfig
from recitative.vocabulary import QUADRANTS

BANDS, FRAMES, HOP = 16, 5, 2
ENCODER = EncoderConfig(filters=(4, 4, 8), pools=(2, 2, 2), last_pool=2)
CONFIGS: dict[str, Section] = {
    "scae": SCAEConfig(),
    "cpc": CPCConfig(projection=8, context=8, stride=1),
    "emotion": EmotionConfig(trunk=(8,)),
    "shuffled_emotions": EmotionConfig(trunk=(8,)),
}
CPU = Compute(torch.device("cpu"), bf16=False)


def pretraining_model(arch: str, seed: int = 0, encoder: EncoderConfig = ENCODER) -> nn.Module:
    """A tiny model of the architecture, freshly drawn."""
    torch.manual_seed(seed)
    return build_model(arch, encoder, CONFIGS[arch], BANDS, FRAMES)


def store(folder: Path, lengths: dict[str, int], seed: int = 0, bands: int = BANDS) -> FeatureStore:
    """A store of noise, clip by clip of these lengths."""
    rng = np.random.default_rng(seed)
    clips = [
        (clip, rng.standard_normal((frames, bands)).astype(np.float32))
        for clip, frames in lengths.items()
    ]
    write_store(folder, clips)
    return FeatureStore.open(folder)


@dataclass(frozen=True)
class Song:
    """A labelled clip."""

    id: str
    group: str
    quadrant: str | None


def music(folder: Path, quadrants: list[int], frames: int = 13, seed: int = 0) -> LabelledSegments:
    """One song a quadrant code, of `frames` frames each: five segments of 5 frames, hop 2."""
    songs = [Song(f"song/{i:02}", f"artist{i}", QUADRANTS[q]) for i, q in enumerate(quadrants)]
    opened = store(folder, {song.id: frames for song in songs}, seed)
    return LabelledSegments.load(opened, songs, FRAMES, HOP)


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """The names whose tensors are not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def example_batch(arch: str, rows: int, seed: int = 0, clips: int = 0) -> dict[str, Tensor]:
    """A batch of noise for an architecture; `clips` utterances in turn, else one a row."""
    config: Any = CONFIGS[arch]
    steps = len(config.offsets(FRAMES, HOP))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, steps, BANDS, FRAMES, generator=generator)
    labels = {task: torch.arange(rows) % classes for task, classes in TASKS.items()}
    return {"x": x, "clip": torch.arange(rows) % (clips or rows), **labels}
