"""SCAE: the sparse (over-complete) convolutional denoising autoencoder.

Gómez-Cañón et al. (ICASSP 2021), Section 3.2. The encoder's 128x2x31 latent is larger than its
1x128x31 input, hence "sparse"; Gaussian noise on the input keeps it from learning the identity.

    x      (B, 1, M, T)    log-mel segment
    latent (B, 128, 2, T)  encoder(x + noise)
    xhat   (B, 1, M, T)    decoder(latent): the encoder mirrored, the noise-free x is its target
"""

from torch import Tensor, nn, randn_like

from recitative.models.config import EncoderConfig, SCAEConfig
from recitative.models.dropout import Dropout
from recitative.models.encoder import ConvEncoder, convolution
from recitative.models.upsampling import UpsampledConv2d


class SCAE(nn.Module):
    """Encoder and mirrored decoder; the loss is the mean squared error of the denoised segment."""

    def __init__(self, encoder: EncoderConfig, config: SCAEConfig, n_mels: int, frames: int):
        super().__init__()
        self.noise = config.noise
        self.encoder = ConvEncoder(encoder, n_mels, frames)
        layers: list[nn.Module] = []
        inner = (1, *encoder.filters[:-1])  # what each double layer of the encoder takes in
        factor = encoder.last_pool  # two upsamplings without a layer between are one
        for filters, pool, out in zip(
            encoder.filters[::-1], encoder.pools[::-1], inner[::-1], strict=True
        ):
            upsampled = UpsampledConv2d(filters, filters, factor * pool)
            layers += convolution(upsampled, encoder.batch_norm, frames)
            factor = 1
            if out > 1:
                convolved = nn.Conv2d(filters, out, 3, padding=1)
                layers += convolution(convolved, encoder.batch_norm, frames)
                layers.append(Dropout(encoder.dropout))
        self.decoder = nn.Sequential(*layers, nn.Conv2d(encoder.filters[0], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, M, T) standardised -> its reconstruction, (B, 1, M, T)."""
        reconstruction: Tensor = self.decoder(self.encoder.latent(x))
        return reconstruction

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`: mean squared error against the clean segment, in squared units of its input."""
        x = self.encoder.standardize(batch["x"])
        noisy = x + self.noise * randn_like(x) if self.training else x
        return {"loss": (self(noisy).float() - x).square().mean()}
