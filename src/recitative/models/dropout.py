"""Dropout with masks cut from random words: eight to a word, where torch draws each by itself.

On a CPU torch's own masks take 7 % of a training step of the encoder and 17 % of one of the heads; these
take a quarter of that.
The share is rounded to 1/256 (the default of 0.25 is exact), and the scale fits the rounded share.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

LEVELS = 256  # of a byte


class Dropout(nn.Module):
    """Zero each value with probability `share` in train mode, and scale the others to the same mean.

    On other devices than the CPU this is torch's own.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same; the random words come from torch's global generator."""
        dropped = min(round(self.share * LEVELS), LEVELS - 1)  # something is always kept
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.share)
        if not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
            x = x.contiguous()
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        # In the memory order of x, channels last too: the product then reads both in order.
        byte = words.view(torch.uint8)[: x.numel()].as_strided(x.size(), x.stride())
        kept = (byte >= dropped).to(x.dtype)
        return x * (kept * (LEVELS / (LEVELS - dropped)))
