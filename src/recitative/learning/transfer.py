"""What is transferred to music, and how: the modes of the paper and the controls beside them.

Gómez-Cañón et al. (ICASSP 2021), Section 3.3. Adding a mode is one entry in `TRANSFER_MODES`.
"""

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.config import TransferConfig, TransferMode
from recitative.learning.segments import LabelledSegments, task_targets
from recitative.learning.training import Batches, Epoch, fit, validate
from recitative.models.classifier import TASKS, EmotionClassifier, class_weights
from recitative.models.encoder import ConvEncoder
from recitative.seeding import derive_rng

EVALUATION_BATCH = 128  # segments: at 256 the maps of the first layers leave the cache
STATISTICS = 2048  # segments, at most, that an encoder is run on for the statistics of its codes


@dataclass(frozen=True)
class Parts:
    """Segments of the three parts, as indices."""

    train: np.ndarray
    validation: np.ndarray | None  # None: nothing is chosen by it
    test: np.ndarray

    @property
    def refit(self) -> "Parts":
        """The same with the validation part in the training part: nothing is chosen any more."""
        return Parts(self.learned, None, self.test)

    @property
    def learned(self) -> np.ndarray:
        """All but the test part."""
        if self.validation is None:
            return self.train
        return np.sort(np.concatenate([self.train, self.validation]))


def encode(
    model: EmotionClassifier, segments: LabelledSegments, compute: Compute, out: Path
) -> np.ndarray:
    """What the heads read of the codes of all N segments, the encoder frozen: (N, F) float32.

    It is computed once, written to `out` and memory-mapped, so that every repeat's process shares it.
    """
    encoder = copy.deepcopy(model.encoder).eval()
    compute.place(encoder)
    out.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(segments.start), model.heads.inputs)
    codes = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32, shape=shape)
    for part, summary in _summaries(encoder, model, segments, np.arange(len(codes)), compute):
        codes[part] = summary
    codes.flush()
    mapped: np.ndarray = np.load(out, mmap_mode="r")
    return mapped


@torch.no_grad()
def _summaries(
    encoder: ConvEncoder, model: EmotionClassifier, segments: LabelledSegments, rows: np.ndarray,
    compute: Compute,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Some segments at a time, and what the heads of `model` read of their codes, (B, F)."""
    for first in range(0, len(rows), EVALUATION_BATCH):
        part = rows[first : first + EVALUATION_BATCH]
        x = segments.x(part).to(compute.device, memory_format=torch.channels_last)
        with compute.autocast():
            code = encoder(x)
        yield part, model.heads.summary(code.float()).cpu().numpy()


def spread(part: np.ndarray) -> np.ndarray:
    """At most `STATISTICS` segments of a part, evenly spread."""
    some: np.ndarray = part[:: -(-len(part) // STATISTICS)]
    return some


def standardize_heads(
    model: EmotionClassifier, segments: LabelledSegments, part: np.ndarray,
    codes: np.ndarray | None, compute: Compute,
) -> None:  # fmt: skip
    """Give heads that standardise the mean and deviation of what they read of a training part.

    They stay fixed. Batch norm in their place would see the dropout of the encoder while it trains
    and not when it predicts. Without `codes` at most `STATISTICS` segments, evenly spread, are
    encoded: an encoder that will be trained itself moves on anyway, and its own batch norm holds
    what it gives near these statistics.
    """
    if model.heads.standardize is None:
        return
    blocks: Iterable[np.ndarray]
    if codes is not None:
        blocks = (codes[rows] for rows in np.array_split(part, -(-len(part) // STATISTICS)))
    else:
        some = spread(part)
        compute.place(model).eval()
        blocks = (one for _, one in _summaries(model.encoder, model, segments, some, compute))
    count, total, squares = 0, np.zeros(model.heads.inputs), np.zeros(model.heads.inputs)
    for block in blocks:
        count += len(block)
        total += block.sum(0, dtype=np.float64)
        squares += np.square(block, dtype=np.float64).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(0, squares / count - mean**2))
    model.heads.standardize.set(torch.from_numpy(mean), torch.from_numpy(deviation))


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
    `encode`, which the frozen phase needs. The `seed` is of this cell, repeat and mode. Without a
    validation part all epochs are trained and the last one's weights stay.
    """
    frozen = mode.phase == "frozen"
    if frozen and codes is None:  # the encoder itself would run in train mode (C19)
        raise ValueError("the frozen phase is trained on codes: see encode")
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(not frozen)
    if mode.shuffled:
        rng = derive_rng(seed, "shuffled_labels")
        segments = segments.shuffled([parts.learned], rng)
    if config.class_weights:
        targets = task_targets(segments.quadrant[parts.train])
        model.set_class_weights(
            {task: class_weights(torch.from_numpy(targets[task]), k) for task, k in TASKS.items()}
        )
    cached = codes if frozen else None
    train = _batches(segments, parts.train, cached)
    validation = None if parts.validation is None else _batches(segments, parts.validation, cached)
    if config.head == "song" and cached is not None:
        yield _fit_songs(model, segments, parts, cached, train, validation, compute, seed)
        return
    if mode.after is None:  # else they are that mode's
        standardize_heads(model, segments, parts.train, cached, compute)
    yield from fit(
        model,
        train,
        validation,
        config.of(mode),
        compute,
        seed,
        checkpoint,
    )


def _fit_songs(
    model: EmotionClassifier, segments: LabelledSegments, parts: Parts, codes: np.ndarray,
    train: Batches, validation: Batches | None, compute: Compute, seed: int,
) -> Epoch:  # fmt: skip
    """The song head's whole training, as one epoch."""
    from recitative.learning.song_head import fit_songs  # scikit-learn takes half a second

    started = time.perf_counter()
    weights = {task: model.get_buffer(f"{task}_weights").cpu().numpy() for task in TASKS}
    fit_songs(model, segments, parts.train, codes, weights)
    compute.place(model)
    learned, scored = (
        {} if part is None else validate(model, part, EVALUATION_BATCH, compute, seed)
        for part in (train, validation)
    )
    return Epoch(0, 0.0, learned, scored, True, time.perf_counter() - started)


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
