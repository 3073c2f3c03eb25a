"""The convolutional encoder that SCAE and CPC share, and that is transferred to music.

Gómez-Cañón et al. (ICASSP 2021), Section 3.2: three double 3x3 convolution layers of 32, 64 and 128
filters, ReLU then batch norm, max-pooling over mel by 4, 4, 2, dropout 0.25 after each double layer.

Shapes: B segments, M mel bands (128), T frames (31), C channels, D features of the code.

    x     (B, 1, M, T)       log-mel segment
    conv  (B, 128, M/32, T)  after the three double layers
    code  (B, D, T)          what is transferred, time kept: D = 128 * M/64 = 256 after the last pool
          (B, D, 1)          or, with a projection (CPC in the release), D = 256 and no time axis
"""

from typing import Literal

import torch
from torch import Tensor, nn

from recitative.errors import UserError
from recitative.models.config import EncoderConfig
from recitative.models.dropout import Dropout


class Standardize(nn.Module):
    """(x - mean) / deviation per mel band; the identity until `set` is called.

    The statistics are buffers, so that a checkpoint cannot lose its normalisation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_mels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Take the statistics, each (M,), in the units of the input."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(1e-3))  # a band that never moves stays finite

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, M, T) -> (B, 1, M, T)."""
        return (x - self.mean[:, None]) / self.deviation[:, None]


class TimeBatchNorm(nn.Module):
    """Batch norm whose features are the T time steps: what Keras's axis -1 does channels first (C18)."""

    def __init__(self, frames: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(frames)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, M, T) -> (B, C, M, T)."""
        # Channels last, memory holds (B M, T, C): normed as it lies there. As (B, T, C, M) it would
        # be copied before and after, and its gradient too: 3 times the time.
        rows = x.permute(0, 2, 3, 1)
        normed: Tensor = self.norm(rows.reshape(-1, *rows.shape[2:], 1))
        return normed.view(rows.shape).permute(0, 3, 1, 2)


def convolution(layer: nn.Conv2d, batch_norm: str, frames: int) -> list[nn.Module]:
    """A convolution, ReLU and batch norm of what comes out, (B, C_out, M, T)."""
    channel = batch_norm == "channel"
    norm = nn.BatchNorm2d(layer.out_channels) if channel else TimeBatchNorm(frames)
    return [layer, nn.ReLU(), norm]


class ConvEncoder(nn.Module):
    """Input standardisation, three double layers, and the two ways out: the pooled map, a projection.

    The `projection` is 0 for none (SCAE), else the size of FC-BN-FC after the convolutions (CPC, C5).
    The code that is `transferred` is it, or the pooled convolutional map (`conv`), with which SCAE
    and CPC have the same capacity.

    Raises:
        UserError: the bands are no multiple of all pools together.
    """

    def __init__(
        self,
        config: EncoderConfig,
        n_mels: int,
        frames: int,
        projection: int = 0,
        transferred: Literal["conv", "projection"] = "conv",
    ):
        super().__init__()
        if n_mels % config.pooling:
            raise UserError(
                f"params.yaml: features.n_mels: {n_mels} bands cannot be pooled by "
                f"{config.pools} and {config.last_pool}; take a multiple of {config.pooling}, "
                "or change encoder.pools"
            )
        self.standardize = Standardize(n_mels)
        layers: list[nn.Module] = []
        channels, rows = 1, n_mels
        for filters, pool in zip(config.filters, config.pools, strict=True):
            for inputs in (channels, filters):
                layer = nn.Conv2d(inputs, filters, 3, padding=1)
                layers += convolution(layer, config.batch_norm, frames)
            layers += [nn.MaxPool2d((pool, 1)), Dropout(config.dropout)]
            channels, rows = filters, rows // pool
        self.conv = nn.Sequential(*layers)
        self.last_pool = nn.MaxPool2d((config.last_pool, 1))
        self.project: nn.Module = nn.Identity()
        if projection:
            self.project = nn.Sequential(
                nn.Flatten(),
                nn.Linear(channels * rows * frames, projection),
                nn.BatchNorm1d(projection),
                nn.Linear(projection, projection),
            )
        self.transferred = transferred if projection else "conv"
        self.latent_shape = (channels, rows // config.last_pool, frames)
        self.code_shape = (channels * self.latent_shape[1], frames)
        if self.transferred == "projection":
            self.code_shape = (projection, 1)

    def latent(self, x: Tensor) -> Tensor:
        """(B, 1, M, T) standardised -> (B, 128, 2, T): what SCAE's decoder starts from."""
        latent: Tensor = self.last_pool(self.conv(x))
        return latent

    def projected(self, x: Tensor) -> Tensor:
        """(B, 1, M, T) -> (B, projection): what CPC predicts."""
        projected: Tensor = self.project(self.conv(self.standardize(x)))
        return projected

    def forward(self, x: Tensor) -> Tensor:
        """The transferred code: (B, 1, M, T) -> (B, D, T), or (B, D, 1) from the projection."""
        if self.transferred == "projection":
            return self.projected(x)[:, :, None]
        return self.latent(self.standardize(x)).flatten(1, 2)
