"""IDN, Information Distillation Network (Hui et al., CVPR 2018).

"Enhancement unit" -> EnhancementUnit; with the "compression unit" -> DBlock; feature extraction and
reconstruction -> IDN.
Reference code: Zheng222/IDN-Caffe (no licence stated), weights included (.caffemodel); read, not
copied. The authors' later TensorFlow network, RGB with a sub-pixel output, is another one.
Differs: colour. The paper's network knows Y only; here a colour picture gets its Y from the
network, its Cb and Cr by bicubic interpolation, as the authors did for their pictures.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.colour import to_y, with_y
from srkit.image.resize import imresize
from srkit.models.layers import check_input, conv
from srkit.models.network import Network


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.05)


class EnhancementUnit(nn.Module):
    """Three convolutions, a part of their result set aside, three more for the rest.

    p = W3 W2 W1 x;  W6 W5 W4 p[keep:] + [x, p[:keep]], a LeakyReLU after each W: the long path plus
    the input and what the short path found. C channels in, C + keep out; with D = `step` the widths
    are C -> C-D -> C-2D -> C and C-keep -> C -> C-D -> C+keep; W2 and W5 in groups.
    keep=0 sets nothing aside: a plain residual block, for comparison.
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
    """Information distillation block: an enhancement unit, and a 1x1 convolution that squeezes."""

    def __init__(self, channels: int, keep: int, step: int, groups: int):
        super().__init__()
        self.enhance = EnhancementUnit(channels, keep, step, groups)
        self.down = conv(channels + keep, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return lrelu(self.down(self.enhance(x)))  # (B, C, h, w)


class IDN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; `luma` is the paper's network.

    Two convolutions -> `blocks` blocks -> a 17x17 transposed convolution of stride r, added to the
    bicubic picture or, with `bicubic=False`, in its place.

    | variant   | channels | keep | step | blocks | groups | scales  |
    |-----------|----------|------|------|--------|--------|---------|
    | IDN       | 64       | 16   | 16   | 4      | 4      | 2, 3, 4 |
    | IDN-small | 32       | 8    | 8    | 3      | 4      |         |
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
        for layer in self.modules():  # Caffe's "msra" with the mean of fan-in and fan-out
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_normal_(layer.weight, gain=2**0.5)
                nn.init.zeros_(layer.bias)

    def luma(self, y: Tensor) -> Tensor:
        """Y of BT.601 (B, 1, h, w), in [16/255, 235/255] -> (B, 1, rh, rw)."""
        check_input(y, self.name, channels=1)
        f = self.blocks(lrelu(self.conv2(lrelu(self.conv1(y)))))  # (B, 1, h, w) -> (B, C, h, w)
        residual = self.upsample(f)  # (B, C, h, w) -> (B, 1, r(h-1)+1, r(w-1)+1)
        # its first pixel belongs to row and column r-1 of the picture
        before = (self.scale - 1, 0, self.scale - 1, 0)
        if not self.bicubic:
            return F.pad(residual, before, mode="replicate")
        return imresize(y, self.scale) + F.pad(residual, before)  # (B, 1, rh, rw)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        up = imresize(lr, self.scale)  # (B, 3, h, w) -> (B, 3, rh, rw)
        return with_y(up, self.luma(to_y(lr)))

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
