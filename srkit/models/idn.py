"""IDN, Information Distillation Network (Hui et al., CVPR 2018).

"Enhancement unit" -> EnhancementUnit; with the "compression unit" -> DBlock; feature extraction and
reconstruction -> IDN.
Reference code: Zheng222/IDN-Caffe (no licence stated), weights included (.caffemodel); read, not
copied. The authors' later TensorFlow network, RGB with a sub-pixel output, is another one.
Works on Y. RGB gets its Cb and Cr by bicubic interpolation, as in the authors' pictures.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import LumaNetwork, check_input, conv

lrelu = nn.LeakyReLU(0.05)


class EnhancementUnit(nn.Module):
    """Three convolutions, then three more on a part of the result; the other part is kept.

    p = W3 W2 W1 x; the output is W6 W5 W4 p[keep:] + [x, p[:keep]], with a LeakyReLU after each W.
    C channels in, C + keep out. With D = `step` the widths are C -> C-D -> C-2D -> C and then
    C-keep -> C -> C-D -> C+keep; W2 and W5 have `groups`. With keep=0 it is a plain residual block.
    """

    def __init__(self, channels: int, keep: int, step: int, groups: int):
        super().__init__()
        self.keep = keep
        c, d = channels, step
        self.conv1 = conv(c, c - d)
        self.conv2 = nn.Conv2d(c - d, c - 2 * d, 3, padding=1, groups=groups)
        self.conv3 = conv(c - 2 * d, c)
        self.conv4 = conv(c - keep, c)
        self.conv5 = nn.Conv2d(c, c - d, 3, padding=1, groups=groups)
        self.conv6 = conv(c - d, c + keep)

    def forward(self, x: Tensor) -> Tensor:
        p = lrelu(self.conv2(lrelu(self.conv1(x))))  # (B, C, h, w) -> (B, C-2D, h, w)
        p = lrelu(self.conv3(p))  # (B, C, h, w)
        kept, rest = p[:, : self.keep], p[:, self.keep :]
        y = lrelu(self.conv5(lrelu(self.conv4(rest))))  # (B, C-keep, h, w) -> (B, C-D, h, w)
        return lrelu(self.conv6(y)) + torch.cat((x, kept), 1)  # (B, C+keep, h, w)


class DBlock(nn.Module):
    """Information distillation block: an enhancement unit, then a 1x1 convolution back to C."""

    def __init__(self, channels: int, keep: int, step: int, groups: int):
        super().__init__()
        self.enhance = EnhancementUnit(channels, keep, step, groups)
        self.down = conv(channels + keep, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return lrelu(self.down(self.enhance(x)))  # (B, C, h, w)


class IDN(LumaNetwork):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    It works on Y: RGB goes through `to_y` and `with_y`, see `LumaNetwork`. Two convolutions ->
    `blocks` blocks -> a 17x17 transposed convolution of stride r, added to the bicubic picture or,
    with `bicubic=False`, in its place.

    | variant   | channels | keep | step | blocks | groups | scales  |
    |-----------|----------|------|------|--------|--------|---------|
    | IDN       | 64       | 16   | 16   | 4      | 4      | 2, 3, 4 |
    | IDN-small | 32       | 8    | 8    | 3      | 4      |         |

    Raises ValueError for another scale.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        keep: int = 16,
        step: int = 16,
        blocks: int = 4,
        groups: int = 4,
        bicubic: bool = True,
    ):
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"scale {scale}: IDN is for 2, 3 and 4")
        self.name, self.scale, self.bicubic = "idn", scale, bicubic
        self.conv1 = conv(1, channels)
        self.conv2 = conv(channels, channels)
        self.blocks = nn.Sequential(*(DBlock(channels, keep, step, groups) for _ in range(blocks)))
        self.upsample = nn.ConvTranspose2d(channels, 1, 17, stride=scale, padding=8)
        for parameter in self.parameters():
            if parameter.ndim == 4:  # Caffe's "msra" with the mean of fan-in and fan-out
                nn.init.xavier_normal_(parameter, gain=2**0.5)
            else:
                nn.init.zeros_(parameter)

    def luma(self, y: Tensor) -> Tensor:
        check_input(y, self.name, channels=1)
        f = self.blocks(lrelu(self.conv2(lrelu(self.conv1(y)))))  # (B, 1, h, w) -> (B, C, h, w)
        residual = self.upsample(f)  # (B, C, h, w) -> (B, 1, r(h-1)+1, r(w-1)+1)
        # the residual begins at row and column r-1 of the picture
        before = (self.scale - 1, 0, self.scale - 1, 0)
        if not self.bicubic:
            return F.pad(residual, before, mode="replicate")
        return imresize(y, self.scale) + F.pad(residual, before)  # (B, 1, rh, rw)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Tensors by the authors' names, conv3_1 ... conv6_6 and down1 ... down4, by ours."""

        def ours(name: str) -> str:
            if m := re.fullmatch(r"conv(\d)_(\d\..+)", name):
                return f"blocks.{int(m[1]) - 3}.enhance.conv{m[2]}"
            if m := re.fullmatch(r"(down)(\d)(\..+)", name):
                return f"blocks.{int(m[2]) - 1}.{m[1]}{m[3]}"
            return name

        return {ours(name): tensor for name, tensor in state.items()}
