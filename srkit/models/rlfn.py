"""RLFN, Residual Local Feature Network (Kong et al., CVPRW 2022; NTIRE 2022 efficient SR, runtime
track winner).

Sec. 3.1 -> RLFB and RLFN; Sec. 4 ablation -> RFDBR, the steps from RFDN's block to RLFB.
Reference code: bytedance/RLFN (Apache-2.0), weights included; read, not copied. Its training code
was never published. The released networks work in 0..255, which is inside (`rgb_range`).
Differs: the released NTIRE network was pruned from 48 to 46 channels; here it simply has 46.
"""

from __future__ import annotations

from torch import Tensor, nn

from srkit.models.layers import ESA, check_input, conv
from srkit.models.network import Network

lrelu = nn.LeakyReLU(0.05)


class RLFB(nn.Module):
    """Residual local feature block: three convolutions, one shortcut, 1x1, slim ESA (Fig. 2b).

    Nothing is split off or joined, which is the paper's point. C channels in and out, M = `mid`
    between, E = `esa` inside the attention.
    """

    def __init__(self, channels: int, mid: int, esa: int):
        super().__init__()
        self.c1_r = conv(channels, mid)
        self.c2_r = conv(mid, mid)
        self.c3_r = conv(mid, channels)
        self.c5 = conv(channels, channels, 1)
        self.esa = ESA(channels, esa, slim=True)

    def forward(self, x: Tensor) -> Tensor:
        y = lrelu(self.c1_r(x))  # (B, C, h, w) -> (B, M, h, w)
        y = lrelu(self.c2_r(y))
        y = lrelu(self.c3_r(y)) + x  # (B, M, h, w) -> (B, C, h, w); added after the activation
        return self.esa(self.c5(y))


class RFDBR(nn.Module):
    """RFDN's block without its distillation branches: a step between RFDB and RLFB (Sec. 4).

    It keeps the shortcuts around each of the three convolutions, and the full ESA. With 48 channels
    the paper calls it RFDBR48, with 52 RFDBR52.

    Raises ValueError if mid is not `channels`.
    """

    def __init__(self, channels: int, mid: int, esa: int):
        super().__init__()
        if mid != channels:
            raise ValueError(
                f"mid={mid}: the inner shortcuts of RFDBR need mid = channels = {channels}"
            )
        self.c1_r = conv(channels, channels)
        self.c2_r = conv(channels, channels)
        self.c3_r = conv(channels, channels)
        self.c5 = conv(channels, channels, 1)
        self.esa = ESA(channels, esa)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = lrelu(layer(y) + y)  # (B, C, h, w)
        return self.esa(self.c5(y + x))


BLOCKS = {"RLFB": RLFB, "RFDBR": RFDBR}


class RLFN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    conv -> `blocks` blocks -> conv, added to the first features -> conv and pixel shuffle. Nothing
    is added to a bicubic picture. block: "RLFB", or "RFDBR" for the ablation.

    | variant     | channels | mid | blocks | esa | scales |
    |-------------|----------|-----|--------|-----|--------|
    | RLFN        | 52       | 52  | 6      | 16  | 2, 4   |
    | RLFN-S      | 48       | 48  | 6      | 16  | 2, 4   |
    | RLFN-NTIRE  | 46       | 48  | 4      | 16  | 4      |

    Raises ValueError for another block.
    """

    tiling = "approximate"
    min_size = ESA.MIN_SIZE

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 52,
        mid: int | None = None,
        blocks: int = 6,
        esa: int = 16,
        block: str = "RLFB",
        rgb_range: float = 255.0,
    ):
        super().__init__()
        if block not in BLOCKS:
            raise ValueError(f"block {block!r}: choose one of {', '.join(BLOCKS)}")
        self.name, self.scale, self.blocks, self.rgb_range = "rlfn", scale, blocks, rgb_range
        self.conv_1 = conv(3, channels)
        for i in range(1, blocks + 1):
            self.add_module(f"block_{i}", BLOCKS[block](channels, mid or channels, esa))
        self.conv_2 = conv(channels, channels)
        self.upsampler = nn.Sequential(conv(channels, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name, min_size=self.min_size)
        f0 = self.conv_1(lr * self.rgb_range)  # (B, 3, h, w) -> (B, C, h, w)
        f = f0
        for i in range(1, self.blocks + 1):
            f = self.get_submodule(f"block_{i}")(f)
        f = self.conv_2(f) + f0
        return self.upsampler(f) / self.rgb_range  # (B, 3 r^2, h, w) -> (B, 3, rh, rw)
