"""What is transferred to music, and how: the modes of the paper and the controls beside them.

Gómez-Cañón et al. (ICASSP 2021), Section 3.3. Adding a mode is one entry in `TRANSFER_MODES`.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.config import TransferConfig, TransferMode
from recitative.learning.segments import LabelledSegments, task_targets
from recitative.learning.training import Batches, Epoch, fit
from recitative.models.classifier import TASKS, EmotionClassifier, class_weights
from recitative.models.encoder import ConvEncoder
from recitative.seeding import derive_rng

EVALUATION_BATCH = 128  # segments: at 256 the maps of the first layers leave the cache


@dataclass(frozen=True)
class Parts:
    """Segments of the three parts, as indices."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def encode(
    encoder: ConvEncoder, segments: LabelledSegments, compute: Compute, out: Path
) -> np.ndarray:
    """The codes of all N segments under a frozen encoder, computed once: (N, D, T) float32.

    They are written to `out` and memory-mapped, so that every repeat's process shares them.
    """
    encoder = copy.deepcopy(encoder).eval()
    compute.place(encoder)
    shape = (len(segments.start), *encoder.code_shape)
    out.parent.mkdir(parents=True, exist_ok=True)
    codes = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32, shape=shape)
    with torch.no_grad():
        for first in range(0, len(codes), EVALUATION_BATCH):
            part = np.arange(first, min(first + EVALUATION_BATCH, len(codes)))
            x = segments.x(part).to(compute.device, memory_format=torch.channels_last)
            with compute.autocast():
                codes[part] = encoder(x).float().cpu().numpy()
    codes.flush()
    mapped: np.ndarray = np.load(out, mmap_mode="r")
    return mapped


@torch.no_grad()
def calibrate(
    encoder: ConvEncoder, segments: LabelledSegments, part: np.ndarray, compute: Compute
) -> None:
    """Give a random encoder the batch-norm statistics of the segments that it will be trained on.

    A pretrained encoder brings its own. Without this a frozen random one would normalise by mean 0
    and variance 1, which are those of nothing, and lose for that reason alone.
    """
    compute.place(encoder)
    encoder.eval()  # no dropout
    norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    # Equal parts: a short last one would count as much as a whole one, and one segment has no variance.
    for rows in np.array_split(part, -(-len(part) // EVALUATION_BATCH)):
        x = segments.x(rows)
        encoder(x.to(compute.device, memory_format=torch.channels_last))
    for norm in norms:
        norm.momentum = 0.1
    encoder.eval()


def _batches(segments: LabelledSegments, part: np.ndarray, codes: np.ndarray | None) -> Batches:
    targets = {task: torch.from_numpy(y) for task, y in segments.targets(part).items()}

    def take(rows: np.ndarray) -> dict[str, Tensor]:
        labels = {task: target[rows] for task, target in targets.items()}
        if codes is not None:
            return {"code": torch.from_numpy(codes[part[rows]]), **labels}
        x = segments.x(part[rows]).contiguous(memory_format=torch.channels_last)
        return {"x": x, **labels}

    return Batches(len(part), take)


def fit_mode(
    mode: TransferMode,
    model: EmotionClassifier,
    segments: LabelledSegments,
    parts: Parts,
    codes: np.ndarray | None,
    config: TransferConfig,
    compute: Compute,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Epoch]:
    """Train `model` on music in one mode, yielding epochs as `fit` does; the test part is never read.

    `model` has the encoder, and for a mode `after` another that one's weights. `codes` are those of
    `encode`, which the frozen phase needs. The `seed` is of this cell, repeat and mode.
    """
    frozen = mode.phase == "frozen"
    if frozen and codes is None:  # the encoder itself would run in train mode (C19)
        raise ValueError("the frozen phase is trained on codes: see encode")
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(not frozen)
    if mode.shuffled:
        rng = derive_rng(seed, "shuffled_labels")
        segments = segments.shuffled([parts.train, parts.validation], rng)
    if config.class_weights:
        targets = task_targets(segments.quadrant[parts.train])
        model.set_class_weights(
            {task: class_weights(torch.from_numpy(targets[task]), k) for task, k in TASKS.items()}
        )
    cached = codes if frozen else None
    yield from fit(
        model,
        _batches(segments, parts.train, cached),
        _batches(segments, parts.validation, cached),
        config.frozen if frozen else config.finetune,
        compute,
        seed,
        checkpoint,
    )


@torch.no_grad()
def predict_segments(
    model: EmotionClassifier,
    segments: LabelledSegments,
    part: np.ndarray,
    compute: Compute,
    codes: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities of each segment of `part`, (B, 6): Q1..Q4, positive arousal, positive valence."""
    model.eval()
    compute.place(model)
    batches = _batches(segments, part, codes).epoch(EVALUATION_BATCH)
    return np.concatenate([probabilities(model, compute.batch(b), compute) for b in batches])


def probabilities(
    model: EmotionClassifier, batch: dict[str, Tensor], compute: Compute
) -> np.ndarray:
    """Softmax of one batch's logits, (B, 6), float32; the softmax itself is never in bfloat16."""
    with compute.autocast():
        logits = model.heads(batch["code"]) if "code" in batch else model(batch["x"])
    soft = {task: logits[task].float().softmax(1).cpu().numpy() for task in TASKS}
    return np.column_stack([soft["quadrant"], soft["arousal"][:, 1], soft["valence"][:, 1]])
