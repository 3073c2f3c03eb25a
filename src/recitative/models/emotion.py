"""Supervised pretraining on emotional speech: the shared encoder learns to tell emotions.

What the paper recommends next (Gómez-Cañón et al., ICASSP 2021, Section 5). The encoder is SCAE's, so
that what is transferred has the same shape; the heads are the classifier's pooled ones, and are
dropped afterwards.

    x       (B, 1, M, T)  log-mel segment
    code    (B, D, T)     encoder(x)
    logits  quadrant (B, 4), arousal (B, 2), valence (B, 2)

A label is -1 where it is not known: a corpus has ratings and no category, or the reverse. Such a
segment takes no part in that head's loss.
"""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from recitative.models.classifier import TASKS, Heads
from recitative.models.config import ClassifierConfig, EmotionConfig, EncoderConfig
from recitative.models.encoder import ConvEncoder

UNKNOWN = -1  # label


class Emotion(nn.Module):
    """Encoder and heads; the loss is the sum of the cross-entropies of what is known."""

    def __init__(self, encoder: EncoderConfig, config: EmotionConfig, n_mels: int, frames: int):
        super().__init__()
        self.encoder = ConvEncoder(encoder, n_mels, frames)
        sizes = ClassifierConfig(
            pooled_trunk=config.trunk, pooled_block=(), dropout=encoder.dropout
        )
        self.heads = Heads("pooled", sizes, self.encoder.code_shape)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 1, M, T) -> logits a task."""
        logits: dict[str, Tensor] = self.heads(self.encoder(x))
        return logits

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, in nats; each task's; `accuracy` of the quadrant. Labels are (B,), -1 unknown."""
        logits = self(batch["x"])
        losses = {}
        for task in TASKS:
            label = batch[task]
            entropy = cross_entropy(
                logits[task].float(), label, ignore_index=UNKNOWN, reduction="sum"
            )
            losses[f"{task}_loss"] = entropy / (label != UNKNOWN).sum().clamp_min(1)
        known = batch["quadrant"] != UNKNOWN
        right = (logits["quadrant"].argmax(1) == batch["quadrant"]) & known
        accuracy = right.sum() / known.sum().clamp_min(1)
        return {
            "loss": sum(losses.values(), accuracy.new_zeros(())),
            **losses,
            "accuracy": accuracy,
        }
