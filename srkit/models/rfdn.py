"""RFDN, Residual Feature Distillation Network (Liu et al., ECCVW 2020; won AIM 2020 efficient SR).

"Residual feature distillation block" -> RFDB with its SRBs (shallow residual blocks); "Framework"
-> RFDN.
Reference code: njulj/RFDN (MIT), weights included; read, not copied. The released network works in
0..255, which is inside (`rgb_range`).
Two networks have this name. The paper's has IMDN's attention (CCA, reduction 4) and a shortcut
around each block; its weights were never published. The released one, of the AIM 2020 challenge,
has ESA, no such shortcut, and 4 blocks of 50 channels, for x4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkit.models.layers import CCA, ESA, check_input, conv
from srkit.models.network import Network

lrelu = nn.LeakyReLU(0.05)


class RFDB(nn.Module):
    """Residual feature distillation block: 1x1 convolutions keep a part, 3x3 ones refine all.

    d_i = lrelu(1x1 r_{i-1}), half the channels; r_i = lrelu(3x3 r_{i-1} + r_{i-1}); i = 1, 2, 3.
    d_1, d_2, d_3 and a last 3x3 of r_3 are joined, mixed by a 1x1 convolution, and weighed by the
    attention. (Where this has 1x1 convolutions, IMDN splits off channels.)

    Raises ValueError for another attention than "cca" and "esa".
    """

    def __init__(self, channels: int, *, attention: str = "cca", shortcut: bool = True):
        super().__init__()
        if attention not in ("cca", "esa"):
            raise ValueError(f"attention {attention!r}: choose 'cca' or 'esa'")
        half = channels // 2
        self.shortcut = shortcut
        self.c1_d = conv(channels, half, 1)
        self.c1_r = conv(channels, channels)
        self.c2_d = conv(channels, half, 1)
        self.c2_r = conv(channels, channels)
        self.c3_d = conv(channels, half, 1)
        self.c3_r = conv(channels, channels)
        self.c4 = conv(channels, half)
        self.c5 = conv(4 * half, channels, 1)
        # the name is the released file's, for either attention
        self.esa = ESA(channels, channels // 4) if attention == "esa" else CCA(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        r, kept = x, []
        for keep, refine in (
            (self.c1_d, self.c1_r),
            (self.c2_d, self.c2_r),
            (self.c3_d, self.c3_r),
        ):
            kept.append(lrelu(keep(r)))  # (B, C, h, w) -> (B, C/2, h, w)
            r = lrelu(refine(r) + r)
        kept.append(lrelu(self.c4(r)))
        y = self.esa(self.c5(torch.cat(kept, 1)))  # (B, 2C, h, w) -> (B, C, h, w)
        return y + x if self.shortcut else y


class RFDN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    conv -> `blocks` blocks in a row, all their outputs joined by a 1x1 convolution -> conv, added
    to the first features -> conv and pixel shuffle.

    | variant          | channels | blocks | attention | shortcut | scales  |
    |------------------|----------|--------|-----------|----------|---------|
    | RFDN             | 48       | 6      | cca       | yes      | 2, 3, 4 |
    | RFDN-L           | 52       | 6      | cca       | yes      | 2, 3, 4 |
    | AIM 2020 release | 50       | 4      | esa       | no       | 4       |

    Raises ValueError for another attention.
    """

    tiling = "approximate"

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 48,
        blocks: int = 6,
        attention: str = "cca",
        shortcut: bool = True,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        self.name, self.scale, self.blocks, self.rgb_range = "rfdn", scale, blocks, rgb_range
        self.min_size = ESA.MIN_SIZE if attention == "esa" else 1
        self.fea_conv = conv(3, channels)
        for i in range(1, blocks + 1):
            self.add_module(f"B{i}", RFDB(channels, attention=attention, shortcut=shortcut))
        self.c = nn.Sequential(conv(blocks * channels, channels, 1), nn.LeakyReLU(0.05))
        self.LR_conv = conv(channels, channels)
        self.upsampler = nn.Sequential(conv(channels, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name, min_size=self.min_size)
        f0 = self.fea_conv(lr * self.rgb_range)  # (B, 3, h, w) -> (B, C, h, w)
        f, outputs = f0, []
        for i in range(1, self.blocks + 1):
            f = self.get_submodule(f"B{i}")(f)
            outputs.append(f)
        f = self.LR_conv(self.c(torch.cat(outputs, 1))) + f0  # (B, nC, h, w) -> (B, C, h, w)
        return self.upsampler(f) / self.rgb_range  # (B, 3 r^2, h, w) -> (B, 3, rh, rw)
