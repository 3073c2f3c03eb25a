"""How fast this core multiplies, and how many multiplications a segment needs."""

from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rounds import timed
from benchmarks.training import NORMS, batch, classifier, pretraining
from recitative.models.upsampling import UpsampledConv2d

SIZE = 2048  # of the square matrices
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def gflops() -> dict[str, float]:
    """Measured peak of one thread, GFLOP/s: the fastest of matrix product and 3x3 convolution."""
    torch.set_num_threads(1)
    peaks = {}
    for name, kind in TYPES.items():
        a, b = torch.randn(SIZE, SIZE).to(kind), torch.randn(SIZE, SIZE).to(kind)
        layer = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False).to(kind)
        maps = torch.randn(64, 128, 8, 31).to(kind).contiguous(memory_format=torch.channels_last)
        layer = layer.to(memory_format=torch.channels_last)
        works = {
            "product": (lambda a=a, b=b: a @ b, 2 * SIZE**3),
            "convolution": (lambda m=maps, f=layer: f(m), 2 * 9 * 128**2 * 64 * 8 * 31),
        }
        with torch.no_grad():
            rates = []
            for work, operations in works.values():
                work()
                rates.append(operations / min(timed(work).wall for _ in range(7)) / 1e9)
        peaks[f"peak GFLOP/s a core, {name}"] = max(rates)
    return peaks


def megaflops() -> dict[str, float]:
    """MFLOP a segment of a whole training step (convolutions and products, forward and back)."""
    counts = {}
    for arch in ("scae", "cpc"):
        model: Any = pretraining(arch, "channel")
        given = batch(arch, model)
        counts[f"{arch} pretraining step"] = _count(model, given, segments(given))
    released = classifier("scae", "channel", frozen=False)
    counts["scae finetune step"] = _count(released, batch("scae", released), 244)
    heads = classifier("scae", "channel", frozen=True)
    counts["heads step"] = _count(heads, batch("scae", heads, frozen=True), 244)
    saved = _saved_by_upsampling()
    counts["scae pretraining step as the paper writes it"] = counts["scae pretraining step"] + saved
    return {f"MFLOP a segment, {name}": count for name, count in counts.items()}


def segments(given: dict[str, torch.Tensor]) -> int:
    """How many segments a pretraining batch holds."""
    return given["x"].shape[0] * given["x"].shape[1]


def _count(model: Any, given: dict[str, torch.Tensor], units: int) -> float:
    model.train()
    with FlopCounterMode(display=False) as counter:
        model.losses(given)["loss"].backward()
    return counter.get_total_flops() / units / 1e6


def _saved_by_upsampling() -> float:
    """What the folded upsampling leaves out of a step, MFLOP a segment."""
    model: Any = pretraining("scae", NORMS[0])
    rows, saved = model.encoder.latent_shape[1], 0.0
    for layer in model.decoder:
        if isinstance(layer, UpsampledConv2d):
            taps = np.array([3 * layer.factor * rows, 4 * (rows + 1) + rows])
            whole, left = 2 * 3 * 31 * layer.in_channels * layer.out_channels * taps / 1e6
            saved += 3 * (whole - left)  # forward, gradient of the input, gradient of the weights
            rows *= layer.factor
    return float(saved)
