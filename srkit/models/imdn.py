"""IMDN, Information Multi-Distillation Network (Hui et al., ACM Multimedia 2019).

"Framework" -> IMDN; "Information multi-distillation block" -> IMDB; "Contrast-aware channel
attention layer" -> layers.CCA. "Adaptive cropping" (IMDN_AS, same size in and out) is not here.
Reference code: Zheng222/IMDN (no licence stated), weights included; read, not copied. Tensors have
the authors' names, without their `module.` prefix.
Differs: where a channel is constant, CCA's standard deviation has a finite gradient here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkit.models.layers import CCA, check_input, conv
from srkit.models.network import Network

lrelu = nn.LeakyReLU(0.05)


class IMDB(nn.Module):
    """Information multi-distillation block: three times it keeps a quarter and refines the rest.

    With C = 64, 16 channels of each convolution are kept and 48 go on to the next. The four
    sixteens are joined, weighed by CCA, mixed by a 1x1 convolution and added to the input.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.kept = channels // 4
        rest = channels - self.kept
        self.c1 = conv(channels, channels)
        self.c2 = conv(rest, channels)
        self.c3 = conv(rest, channels)
        self.c4 = conv(rest, self.kept)
        self.cca = CCA(channels, 16)
        self.c5 = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for layer in (self.c1, self.c2, self.c3):
            y = lrelu(layer(rest))  # (B, C or 3C/4, h, w) -> (B, C, h, w)
            done, rest = y.split([self.kept, y.shape[1] - self.kept], 1)
            kept.append(done)
        kept.append(self.c4(rest))  # (B, 3C/4, h, w) -> (B, C/4, h, w), no activation
        return self.c5(self.cca(torch.cat(kept, 1))) + x


class IMDN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    conv -> `blocks` blocks in a row, all their outputs joined by a 1x1 convolution -> conv, added
    to the first features -> conv and pixel shuffle. CCA looks at the whole picture, so tiles give
    only nearly what the whole picture gives.
    """

    tiling = "approximate"

    def __init__(
        self, scale: int = 4, *, channels: int = 64, blocks: int = 6, rgb_range: float = 1.0
    ):
        super().__init__()
        self.name, self.scale, self.blocks, self.rgb_range = "imdn", scale, blocks, rgb_range
        self.fea_conv = conv(3, channels)
        for i in range(1, blocks + 1):
            self.add_module(f"IMDB{i}", IMDB(channels))
        self.c = nn.Sequential(conv(blocks * channels, channels, 1), nn.LeakyReLU(0.05))
        self.LR_conv = conv(channels, channels)
        self.upsampler = nn.Sequential(conv(channels, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f0 = self.fea_conv(lr * self.rgb_range)  # (B, 3, h, w) -> (B, C, h, w)
        outputs, f = [], f0
        for i in range(1, self.blocks + 1):
            f = self.get_submodule(f"IMDB{i}")(f)
            outputs.append(f)
        f = self.LR_conv(self.c(torch.cat(outputs, 1))) + f0  # (B, 6C, h, w) -> (B, C, h, w)
        return self.upsampler(f) / self.rgb_range  # (B, 3 r^2, h, w) -> (B, 3, rh, rw)
