"""VDSR, Very Deep Super-Resolution (Kim et al., CVPR 2016); later papers compare with it.

Twenty 3x3 convolutions correct the bicubic enlargement; one network serves all scales. Weights: the
authors', converted from their MATLAB file.
Works on Y. RGB gets its Cb and Cr by bicubic interpolation.
"""

from __future__ import annotations

import re
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import LumaNetwork, check_input, conv, he_init


class VDSR(LumaNetwork):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    It works on Y: RGB goes through `to_y` and `with_y`, see `LumaNetwork`. The paper: depth 20, 64
    channels.
    """

    def __init__(self, scale: int = 2, *, channels: int = 64, depth: int = 20):
        super().__init__()
        self.name, self.scale = "vdsr", scale
        widths = [1, *[channels] * (depth - 1), 1]
        self.convs = nn.ModuleList(conv(cin, cout) for cin, cout in pairwise(widths))
        he_init(self)

    def luma(self, y: Tensor) -> Tensor:
        check_input(y, self.name, channels=1)
        up = imresize(y, self.scale)  # (B, 1, h, w) -> (B, 1, rh, rw)
        *hidden, last = self.convs
        f = up
        for layer in hidden:
            f = F.relu(layer(f))  # (B, C, rh, rw)
        return up + last(f)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """00_conv ... 19_conv, by our names."""
        return {
            re.sub(r"^(\d\d)_conv", lambda m: f"convs.{int(m[1])}", name): tensor
            for name, tensor in state.items()
        }
