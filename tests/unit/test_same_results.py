"""What was made faster gives what it gave before: each shortcut beside the plain way."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from recitative.models import build_model
from recitative.models.config import CPCConfig, EncoderConfig, SCAEConfig
from recitative.models.encoder import TimeBatchNorm
from recitative.models.scae import SCAE
from recitative.models.upsampling import UpsampledConv2d

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def gradients(result: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Of a sum whose terms weigh differently, so that no two places can be exchanged."""
    weights = torch.arange(result.numel(), dtype=result.dtype).reshape(result.shape).cos()
    return torch.autograd.grad((result * weights).sum(), inputs)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_the_sub_pixel_form_is_upsampling_and_convolution(factor: int, layout: Any) -> None:
    layer = UpsampledConv2d(5, 7, factor).double()
    x = torch.randn(3, 5, 6, 9, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    plain = conv2d(interpolate(x, scale_factor=(factor, 1)), layer.weight, layer.bias, padding=1)
    assert layer.bias is not None
    ours = layer(x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    asked = (x, layer.weight, layer.bias)
    for mine, theirs in zip(gradients(ours, *asked), gradients(plain, *asked), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


def test_the_whole_decoder_is_the_mirrored_one() -> None:
    encoder = EncoderConfig(filters=(4, 6, 8), pools=(2, 3, 2), last_pool=2)
    decoder = SCAE(encoder, SCAEConfig(), 24, 5).decoder.double().eval()
    latent = torch.randn(2, 8, 1, 5, dtype=torch.float64)
    x = interpolate(latent, scale_factor=(2, 1))
    for layer in decoder:
        if isinstance(layer, UpsampledConv2d):
            pool = layer.factor // 2 if layer is decoder[0] else layer.factor
            x = interpolate(x, scale_factor=(pool, 1))
            x = conv2d(x, layer.weight, layer.bias, padding=1)
        else:
            x = layer(x)
    torch.testing.assert_close(decoder(latent), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_time_batch_norm_is_torchs_over_the_time_axis(layout: Any) -> None:
    ours, plain = TimeBatchNorm(9).double(), nn.BatchNorm2d(9).double()
    x = (torch.randn(4, 6, 5, 9, dtype=torch.float64) * 3 + 1).to(memory_format=layout)
    x.requires_grad_()
    expected = plain(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    normed = ours(x)
    torch.testing.assert_close(normed, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(normed, x), gradients(expected, x), rtol=0, atol=1e-11)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.norm.get_buffer(name), buffer)
    for module in (ours, plain):
        module.eval()
    expected = plain(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["channel", "time"])
@pytest.mark.parametrize("arch", ["scae", "cpc"])
def test_bfloat16_points_where_float32_does(arch: str, norm: Any) -> None:
    """The paper's own network: the loss to 1 %, the whole gradient's direction to a cosine of 0.95."""
    torch.manual_seed(0)
    config: Any = {"scae": SCAEConfig(noise=0), "cpc": CPCConfig()}[arch]
    encoder = EncoderConfig(batch_norm=norm, dropout=0)
    model: Any = build_model(arch, encoder, config, 128, 31).train()
    steps = len(config.offsets(31, 15))
    x = torch.randn(4, steps, 128, 31).cumsum(2) / 8  # neighbouring bands alike, as in speech
    batch = {"x": x, "clip": torch.arange(4)}
    losses, directions = [], []
    for bf16 in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model.losses(batch)["loss"]
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        directions.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[0] != losses[1], "bfloat16 was not used"
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)
    assert torch.cosine_similarity(*directions, dim=0) > 0.95
