"""CPC: contrastive predictive coding over segments, as the paper's binary task.

van den Oord et al. (2018); Gómez-Cañón et al. (ICASSP 2021), Section 3.2: from 4 past segments a GRU
predicts 2 future ones, and the network says whether the futures shown are the consecutive ones.

Shapes: B sequences, P past and F future segments, D = 256 features.

    x        (B, P+F, M, T)  log-mel segments of one utterance
    z        (B, P+F, D)     encoder(x), a vector a segment
    context  (B, D)          GRU over z[:, :P]: knows nothing of the future
    logit    (B,)            mean over F and D of predicted * shown future; > 0 says "consecutive"

Every sequence is shown twice, with its true futures and with negatives, so that the label prior is
exactly one half. What a negative is, is C4 of the protocol: see `negatives`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from recitative.models.config import CPCConfig, EncoderConfig
from recitative.models.encoder import ConvEncoder


class CPC(nn.Module):
    """Shared encoder with a projection, GRU context, one linear predictor a future step."""

    def __init__(self, encoder: EncoderConfig, config: CPCConfig, n_mels: int, frames: int):
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(encoder, n_mels, frames, config.projection, config.code)
        self.gru = nn.GRU(config.projection, config.context, batch_first=True)
        self.predictors = nn.ModuleList(
            nn.Linear(config.context, config.projection) for _ in range(config.future)
        )

    def encode(self, x: Tensor) -> Tensor:
        """(B, P+F, M, T) -> z (B, P+F, D)."""
        sequences, steps = x.shape[:2]
        return self.encoder.projected(x.flatten(0, 1)[:, None]).view(sequences, steps, -1)

    def context(self, past: Tensor) -> Tensor:
        """(B, P, D) -> (B, context): the state after the last past segment."""
        states, _ = self.gru(past)
        last: Tensor = states[:, -1]
        return last

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        """(B, P, D), (B, F, D) -> logits (B,): are these futures the consecutive ones?"""
        context = self.context(past)
        predicted = torch.stack([predict(context) for predict in self.predictors], dim=1)
        return (predicted * future).float().mean((1, 2))

    def negatives(self, future: Tensor, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Futures that do not follow: (B, F, D) and a mask (B,) of the rows that have one.

        `released`: the same futures in a random order, half of them unchanged. `derangement`: in
        an order that moves every one (F = 1 has none). `cross_utterance`: the futures of a
        sequence of another clip in the batch; a row whose batch holds only its own clip has none.
        """
        rows, steps = future.shape[:2]
        every = torch.ones(rows, dtype=torch.bool, device=future.device)
        if self.config.negatives == "released":
            order = torch.rand(rows, steps, device=future.device).argsort(1)
            return future.take_along_dim(order[:, :, None], 1), every
        if self.config.negatives == "derangement":
            if steps == 1:
                return future, ~every
            shift = torch.randint(1, steps, (rows, 1), device=future.device)
            order = (torch.arange(steps, device=future.device) + shift) % steps
            return future.take_along_dim(order[:, :, None], 1), every
        # Sorted by clip, a roll by the largest clip's size lands every row on another clip,
        # unless one clip fills more than half of the batch.
        by_clip = torch.argsort(clip, stable=True)
        largest = int(torch.unique(clip, return_counts=True)[1].max())
        partner = torch.empty_like(by_clip)
        partner[by_clip] = by_clip.roll(-largest)
        return future[partner], clip[partner] != clip

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`: binary cross-entropy in nats; `accuracy`: its prior is exactly one half."""
        z = self.encode(batch["x"])
        past, future = z[:, : self.config.past], z[:, self.config.past :]
        negative, usable = self.negatives(future, batch["clip"])
        positive_logit, negative_logit = self(past, future), self(past, negative)
        weight = usable.float()
        total = weight.sum().clamp_min(1)
        loss = sum(
            (binary_cross_entropy_with_logits(logit, target, reduction="none") * weight).sum()
            for logit, target in (
                (positive_logit, torch.ones_like(positive_logit)),
                (negative_logit, torch.zeros_like(negative_logit)),
            )
        ) / (2 * total)
        right = ((positive_logit > 0).float() + (negative_logit <= 0).float()) / 2
        return {"loss": loss, "accuracy": (right * weight).sum() / total}
