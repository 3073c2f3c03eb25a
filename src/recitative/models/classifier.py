"""The multi-task emotion classifier on top of a transferred encoder.

Gómez-Cañón et al. (ICASSP 2021), Section 3.3: drop the decoder, flatten, 3 x (FC 512 + dropout), then
a block of 2 x (FC + dropout) and a softmax for each task; the loss is the sum of the three
cross-entropies. `head: pooled` replaces flatten by mean and deviation over time and FC 128. `head: song`
is one linear layer a task on that mean and deviation, found by logistic regression on whole songs.

    code    (B, D, T)   from the encoder
    logits  quadrant (B, 4), arousal (B, 2), valence (B, 2)
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from recitative.models.config import ClassifierConfig, HeadKind
from recitative.models.dropout import Dropout
from recitative.models.encoder import ConvEncoder, Standardize

TASKS = {"quadrant": 4, "arousal": 2, "valence": 2}  # classes: Q1..Q4; negative, positive


def dense(inputs: int, sizes: tuple[int, ...], dropout: float) -> tuple[list[nn.Module], int]:
    """FC, ReLU and dropout for each size, and the width that comes out."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(inputs, size), nn.ReLU(), Dropout(dropout)]
        inputs = size
    return layers, inputs


class TimePooling(nn.Module):
    """Mean and deviation over time: (B, D, T) -> (B, 2D); with T = 1 there is only the mean, (B, D).

    What is pooled already passes.
    """

    def forward(self, code: Tensor) -> Tensor:
        """Pool."""
        if code.ndim == 2:
            return code
        code = code.float()  # the variance of what autocast left in bfloat16
        mean = code.mean(-1)
        if code.shape[-1] == 1:
            return mean
        return torch.cat([mean, code.var(-1, correction=0).add(1e-8).sqrt()], 1)


class StandardizeEach(Standardize):
    """(x - mean) / deviation of each of F numbers, by the statistics of the training part."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> (B, F)."""
        return super().forward(x[..., None])[..., 0]


class Heads(nn.Module):
    """Everything above the encoder: trunk, and a block a task.

    The trunk begins with the `summary` of a code, (B, D, T) -> (B, F), which has no weights: flattened
    or pooled. A frozen encoder's codes are kept as summaries, which a head reads as well.
    """

    def __init__(self, head: HeadKind, config: ClassifierConfig, code_shape: tuple[int, int]):
        super().__init__()
        features, frames = code_shape
        self.kind = head
        if head == "flatten":
            first: list[nn.Module] = [nn.Flatten()]
            width, sizes = features * frames, (config.trunk, config.block)
        else:
            first = [TimePooling()]
            width = features * (2 if frames > 1 else 1)
            sizes = (config.pooled_trunk, config.pooled_block) if head == "pooled" else ((), ())
        if config.standardize or head == "song":
            first.append(StandardizeEach(width))
        self.inputs = width  # F
        trunk_sizes, block_sizes = sizes
        trunk, width = dense(width, trunk_sizes, config.dropout)
        self.trunk = nn.Sequential(*first, *trunk)
        self.blocks = nn.ModuleDict()
        for task, classes in TASKS.items():
            block, block_width = dense(width, block_sizes, config.dropout)
            self.blocks[task] = nn.Sequential(*block, nn.Linear(block_width, classes))

    @property
    def summary(self) -> nn.Module:
        """What of a code is read, without weights: (B, D, T) -> (B, F)."""
        return self.trunk[0]

    @property
    def standardize(self) -> StandardizeEach | None:
        """The statistics by which a summary is standardised, where it is."""
        return next((part for part in self.trunk if isinstance(part, StandardizeEach)), None)

    def forward(self, code: Tensor) -> dict[str, Tensor]:
        """(B, D, T), or its summary (B, F) -> logits a task."""
        shared = self.trunk(code)
        return {task: block(shared) for task, block in self.blocks.items()}


def multitask_losses(
    logits: dict[str, Tensor], batch: dict[str, Tensor], weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`loss`, the sum of the three weighted cross-entropies in nats; each one; quadrant accuracy.

    A target is either class codes (B,) or a distribution over classes (B, K), for soft labels.
    A class's weight acts on its own head (C12: in the release none did).
    """
    losses = {
        f"{task}_loss": cross_entropy(logits[task].float(), batch[task], weights[task])
        for task in TASKS
    }
    target = batch["quadrant"]
    truth = target if target.ndim == 1 else target.argmax(1)
    accuracy = (logits["quadrant"].argmax(1) == truth).float().mean()
    total = torch.stack(list(losses.values())).sum()
    return {"loss": total, **losses, "quadrant_accuracy": accuracy}


class EmotionClassifier(nn.Module):
    """Encoder and heads. A frozen encoder is never run in train mode: its codes come ready (C19)."""

    def __init__(self, encoder: ConvEncoder, head: HeadKind, config: ClassifierConfig):
        super().__init__()
        self.encoder = encoder
        self.heads = Heads(head, config, encoder.code_shape)
        for task, classes in TASKS.items():
            self.register_buffer(f"{task}_weights", torch.ones(classes), persistent=False)

    def set_class_weights(self, weights: dict[str, Tensor]) -> None:
        """Weigh each class of each task, (K,), in the loss."""
        for task, weight in weights.items():
            self.get_buffer(f"{task}_weights").copy_(weight)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 1, M, T) -> logits a task."""
        logits: dict[str, Tensor] = self.heads(self.encoder(x))
        return logits

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The multi-task loss on segments `x`, or on `code`s computed before by a frozen encoder."""
        logits = self.heads(batch["code"]) if "code" in batch else self(batch["x"])
        weights = {task: self.get_buffer(f"{task}_weights") for task in TASKS}
        return multitask_losses(logits, batch, weights)


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weight n / (K n_k) of each class k, (K,); a class that never occurs weighs nothing."""
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp_min(1)), 0.0)
