"""VDSR, Very Deep Super-Resolution (Kim et al., CVPR 2016): a yardstick of the later papers.

Twenty 3x3 convolutions on the bicubic enlargement, which they correct; one network for all scales.
Weights: the authors' (Y only), converted from their MATLAB file.
Differs: a colour picture gets its Y from the network, its Cb and Cr by bicubic interpolation.
"""

from __future__ import annotations

import re
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.colour import to_y, with_y
from srkit.image.resize import imresize
from srkit.models.layers import check_input, conv, he_init
from srkit.models.network import Network


class VDSR(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; `luma` is the paper's network.

    The paper's: depth 20, 64 channels.
    """

    def __init__(self, scale: int = 2, *, channels: int = 64, depth: int = 20):
        super().__init__()
        self.name, self.scale = "vdsr", scale
        widths = [1, *[channels] * (depth - 1), 1]
        self.convs = nn.ModuleList(conv(cin, cout) for cin, cout in pairwise(widths))
        he_init(self)

    def luma(self, y: Tensor) -> Tensor:
        """Y of BT.601 (B, 1, h, w), in [16/255, 235/255] -> (B, 1, rh, rw)."""
        check_input(y, self.name, channels=1)
        up = imresize(y, self.scale)  # (B, 1, h, w) -> (B, 1, rh, rw)
        *hidden, last = self.convs
        f = up
        for layer in hidden:
            f = F.relu(layer(f))  # (B, C, rh, rw)
        return up + last(f)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        up = imresize(lr, self.scale)  # (B, 3, h, w) -> (B, 3, rh, rw)
        return with_y(up, self.luma(to_y(lr)))

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """00_conv ... 19_conv, by our names."""
        return {
            re.sub(r"^(\d\d)_conv", lambda m: f"convs.{int(m[1])}", name): tensor
            for name, tensor in state.items()
        }
