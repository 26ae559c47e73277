"""Perceptual extreme super-resolution, x16 (Jo et al. of CIPLab, "Investigating Loss Functions for
Extreme Super-Resolution", CVPRW 2020; NTIRE 2020: first in PI, second in LPIPS).

The generator, ESRGAN's trunk twice -> RRDBNetx4x4; the discriminator -> UNetDiscriminator. Most of
the paper is about losses. Reference code: kingsj0405/ciplab-NTIRE-2020; read, not copied.
Differs: each block of the authors' discriminator has, and saves, a second convolution, a second
batch norm and a 1x1 shortcut that are never used (12,823,810 parameters, of which 6,681,538 learn).
They are left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import RRDB, check_input, check_judged, conv, he_init
from srkit.models.network import Network

lrelu = nn.LeakyReLU(0.2)


class RRDBNetx4x4(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, 16h, 16w), not clipped.

    Two x4 stages in a row; the first hands features, not a picture, to the second. The second has
    16 times the pixels of the first, and costs 16 times as much.

    Raises ValueError for another scale than 16.
    """

    def __init__(self, scale: int = 16, *, channels: int = 64, blocks: int = 23, growth: int = 32):
        super().__init__()
        if scale != 16:
            raise ValueError(f"scale {scale}: this network has 16 only")
        self.name, self.scale = "ciplab", scale
        self.conv_first = conv(3, channels)
        self.RRDB_trunk = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.trunk_conv = conv(channels, channels)
        self.upconv1 = conv(channels, channels)
        self.upconv2 = conv(channels, channels)
        self.HRconv = conv(channels, channels)
        self.RRDB_trunk2 = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.trunk_conv2 = conv(channels, channels)
        self.upconv3 = conv(channels, channels)
        self.upconv4 = conv(channels, channels)
        self.HRconv2 = conv(channels, channels)
        self.conv_last = conv(channels, 3)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.conv_first(lr)  # (B, 3, h, w) -> (B, C, h, w)
        f = self.trunk_conv(self.RRDB_trunk(f)) + f
        for up in (self.upconv1, self.upconv2):
            f = lrelu(up(F.interpolate(f, scale_factor=2)))  # nearest; (B, C, h, w) -> 2h, 2w
        f = self.HRconv(f)  # (B, C, 4h, 4w), no activation
        f = self.trunk_conv2(self.RRDB_trunk2(f)) + f
        for up in (self.upconv3, self.upconv4):
            f = lrelu(up(F.interpolate(f, scale_factor=2)))
        return self.conv_last(lrelu(self.HRconv2(f)))  # (B, C, 16h, 16w) -> (B, 3, 16h, 16w)


class Block(nn.Module):
    """[LeakyReLU 0.1] -> [nearest x2] -> 3x3 convolution -> batch norm -> [mean of 2x2]."""

    def __init__(self, cin: int, cout: int, *, up: bool, first: bool = False):
        super().__init__()
        self.up, self.first = up, first
        self.conv1 = conv(cin, cout)
        self.bn1 = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.first else F.leaky_relu(x, 0.1)
        x = F.interpolate(x, scale_factor=2) if self.up else x
        y = self.bn1(self.conv1(x))
        return y if self.up else F.avg_pool2d(y, 2)


class Verdict(NamedTuple):
    """What a U-Net discriminator says of a picture: logits, large where it takes it for HR."""

    encoder: Tensor  # (B, 1, H/2^n, W/2^n) with n levels: a logit for each patch
    decoder: Tensor  # (B, 1, H, W): a logit for each pixel
    maps: list[Tensor]  # features: n of the encoder, then n of the decoder, before LeakyReLU


class UNetDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] -> Verdict. H and W must be multiples of 2^n, n levels.

    The encoder halves the size n times, with widths `channels`; the decoder doubles it n times, and
    also reads the encoder's maps of the same size.
    """

    def __init__(self, channels: Sequence[int] = (64, 128, 192, 256, 320, 384)):
        super().__init__()
        self.levels = len(channels)
        cin = 3
        for k, cout in enumerate(channels, 1):
            self.add_module(f"enc_b{k}", Block(cin, cout, up=False, first=k == 1))
            cin = cout
        self.enc_out = conv(cin, 1, 1)
        for k, cout in enumerate((*channels[-2::-1], channels[0] // 2), 1):
            joined = 0 if k == 1 else channels[-k]  # the encoder's, beside the decoder's own
            self.add_module(f"dec_b{k}", Block(cin + joined, cout, up=True))
            cin = cout
        self.dec_out = conv(cin, 1, 1)
        he_init(self)

    def forward(self, image: Tensor) -> Verdict:
        check_judged(image, "CIPLab's discriminator", multiple=2**self.levels)
        encoded, decoded, f = [], [], image
        for k in range(1, self.levels + 1):
            f = self.get_submodule(f"enc_b{k}")(f)  # (B, c_k, H/2^k, W/2^k)
            encoded.append(f)
        encoder = self.enc_out(F.leaky_relu(f, 0.1))
        for k in range(1, self.levels + 1):
            f = f if k == 1 else torch.cat((f, encoded[-k]), 1)
            f = self.get_submodule(f"dec_b{k}")(f)  # (B, ..., H/2^(n-k), W/2^(n-k))
            decoded.append(f)
        return Verdict(encoder, self.dec_out(F.leaky_relu(f, 0.1)), encoded + decoded)
