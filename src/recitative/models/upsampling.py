"""Nearest upsampling over mel followed by a 3x3 convolution, without convolving equal rows twice.

After upsampling by P the rows of a 3x3 kernel see at most two different rows of the input: the first
of P output rows sees its own input row and the one above, the last its own and the one below, and
the P - 2 between them are all alike. So the kernel's rows are summed first, and 4 + 1 of them are
multiplied instead of 3P: 5 of 12 for P = 4. Exact but for the order of the sums.

    x        (B, C_in, M, T)
    edges    (B, 2 C_out, M + 1, T)  first rows (of the input row below) and last rows (above)
    between  (B, C_out, M, T)        all rows in the middle
    result   (B, C_out, P M, T)

The sub-pixel form of Shi et al. (CVPR 2016), for a nearest-neighbour upsampling.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class UpsampledConv2d(nn.Conv2d):
    """`Conv2d(.., 3, padding=1)` of `Upsample((factor, 1))`: (B, C_in, M, T) -> (B, C_out, P M, T).

    Weights and their initialisation are the convolution's.
    """

    def __init__(self, channels_in: int, channels_out: int, factor: int):
        super().__init__(channels_in, channels_out, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Convolve as if upsampled."""
        if self.factor == 1:
            return super().forward(x)
        above, middle, below = torch.tensor_split(self.weight, 3, dim=2)
        first = torch.cat([above, middle + below], 2)
        last = torch.cat([above + middle, below], 2)
        bias = self.bias
        both = None if bias is None else torch.cat([bias, bias])
        edges = conv2d(x, torch.cat([first, last]), both, padding=1)
        rows = [edges[:, : self.out_channels, :-1], edges[:, self.out_channels :, 1:]]
        if self.factor > 2:
            between = conv2d(x, above + middle + below, bias, padding=(0, 1))
            rows[1:1] = [between] * (self.factor - 2)
        # Stacked in the memory order of channels last, so that nothing is moved again.
        stacked = torch.stack([row.permute(0, 2, 3, 1) for row in rows], 2)
        return stacked.flatten(1, 2).permute(0, 3, 1, 2)
