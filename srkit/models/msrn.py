"""MSRN, Multi-scale Residual Network (Li et al., ECCV 2018).

Sec. 3.1 "Multi-scale residual block" -> MSRB; 3.2 "Hierarchical feature fusion" and 3.3 "Image
reconstruction" -> the networks. There are two: MSRN is the authors' network of 2019 (RGB, 0..255,
weights published), MSRN2018 the paper's (Y, [0, 1]).
Reference code: MIVRC/MSRN-PyTorch (MIT), both networks; read, not copied. The weights of 2018 are a
pickled object, which is not safe to load.
Differs: the mean shift is frozen; the authors' optimiser could move it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import LumaNetwork, MeanShift, Upsampler, check_input, conv
from srkit.models.network import Network


class MSRB(nn.Module):
    """Multi-scale residual block: a 3x3 and a 5x5 path that see each other's features.

    S1 = relu(3x3 x), P1 = relu(5x5 x); S2 = relu(3x3 [S1, P1]), P2 = relu(5x5 [S1, P1]);
    the output is 1x1 [S2, P2] + x. wide: the larger kernel, 3 for an ablation. The 5x5 kernels hold
    72 % of the parameters.
    """

    def __init__(self, channels: int, wide: int = 5):
        super().__init__()
        self.conv_3_1 = conv(channels, channels, 3)
        self.conv_3_2 = conv(2 * channels, 2 * channels, 3)
        self.conv_5_1 = conv(channels, channels, wide)
        self.conv_5_2 = conv(2 * channels, 2 * channels, wide)
        self.confusion = conv(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(torch.cat([self.conv_3_1(x), self.conv_5_1(x)], 1))  # -> (B, 2C, h, w)
        y = F.relu(torch.cat([self.conv_3_2(y), self.conv_5_2(y)], 1))  # -> (B, 4C, h, w)
        return self.confusion(y) + x  # -> (B, C, h, w)


class MSRN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 2, 3, 4 or 8.

    conv -> `blocks` MSRBs in a row, all their outputs and, LAST, the first features joined by a 1x1
    convolution (`fusion=False`: of the last output alone) -> conv -> upsampler -> conv. The first
    features are not added again.

    Raises ValueError for a scale that `Upsampler` has not.
    """

    memory_format = torch.contiguous_format  # 5x5 convolutions are slower in channels_last

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 8,
        wide: int = 5,
        fusion: bool = True,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        self.name, self.scale, self.rgb_range, self.fusion = "msrn", scale, rgb_range, fusion
        self.sub_mean = MeanShift(rgb_range, -1)
        self.head = nn.Sequential(conv(3, channels))
        self.body = nn.ModuleList(MSRB(channels, wide) for _ in range(blocks))
        self.tail = nn.Sequential(
            conv((blocks + 1) * channels if fusion else channels, channels, 1),
            conv(channels, channels),
            Upsampler(scale, channels),
            conv(channels, 3),
        )
        self.add_mean = MeanShift(rgb_range, +1)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f0 = self.head(self.sub_mean(lr * self.rgb_range))  # (B, 3, h, w) -> (B, C, h, w)
        f, outputs = f0, []
        for block in self.body:
            f = block(f)
            outputs.append(f)
        if self.fusion:
            f = torch.cat([*outputs, f0], 1)  # (B, (N+1)C, h, w)
        return self.add_mean(self.tail(f)) / self.rgb_range  # -> (B, 3, rh, rw)


class MSRN2018(LumaNetwork):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 2, 3, 4 or 8.

    It works on Y: RGB goes through `to_y` and `with_y`, see `LumaNetwork`. In the fusion the first
    features come FIRST; one pixel shuffle enlarges at any scale.

    Raises ValueError for another scale.
    """

    memory_format = torch.contiguous_format  # see MSRN

    def __init__(self, scale: int = 4, *, channels: int = 64, blocks: int = 8):
        super().__init__()
        if scale not in (2, 3, 4, 8):
            raise ValueError(f"scale {scale}: MSRN is for 2, 3, 4 and 8")
        self.name, self.scale, self.blocks = "msrn2018", scale, blocks
        self.conv_input = conv(1, channels)
        for i in range(1, blocks + 1):
            self.add_module(f"residual{i}", nn.Sequential(MSRB(channels)))
        self.bottle = conv((blocks + 1) * channels, channels, 1)
        self.conv = conv(channels, channels * scale**2)
        self.conv_output = conv(channels, 1)

    def luma(self, y: Tensor) -> Tensor:
        outputs = [self.conv_input(y)]  # (B, 1, h, w) -> (B, C, h, w)
        for i in range(1, self.blocks + 1):
            outputs.append(self.get_submodule(f"residual{i}")(outputs[-1]))
        f = self.conv(self.bottle(torch.cat(outputs, 1)))  # (B, (N+1)C, h, w) -> (B, r^2 C, h, w)
        return self.conv_output(F.pixel_shuffle(f, self.scale))  # -> (B, 1, rh, rw)
