"""ZSSR, "Zero-Shot" Super-Resolution (Shocher et al., CVPR 2018): the network.

It is trained anew on each picture it enlarges: on the picture itself and smaller copies of it.
Reference code: assafshocher/ZSSR (Weizmann academic licence, non-commercial), for facts only. No
weights exist. Paper and code differ: eight hidden layers there, eight layers in all here, as in the
code.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import check_input, conv
from srkit.models.network import Network


class ZSSR(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; `refine` is the bare network.

    Eight 3x3 convolutions without bias work on the bicubic enlargement and add what is missing.

    | variant    | channels | depth |
    |------------|----------|-------|
    | ZSSR       | 64       | 8     |
    | ZSSR-small | 32       | 6     |
    """

    def __init__(self, scale: int = 2, *, channels: int = 64, depth: int = 8):
        super().__init__()
        self.name, self.scale = "zssr", scale
        widths = [3, *[channels] * (depth - 1), 3]
        self.convs = nn.ModuleList(conv(cin, cout, bias=False) for cin, cout in pairwise(widths))
        for layer in self.convs:  # small: at first the network hardly changes the bicubic picture
            fan_in = 9 * layer.in_channels
            nn.init.normal_(layer.weight, std=(0.1 / fan_in) ** 0.5)

    def refine(self, x: Tensor) -> Tensor:
        """x + f(x): an enlarged picture (B, 3, H, W), by whatever factor, sharpened."""
        check_input(x, self.name)
        *hidden, last = self.convs
        f = x
        for layer in hidden:
            f = F.relu(layer(f))  # (B, 3 or C, H, W) -> (B, C, H, W)
        return x + last(f)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        return self.refine(imresize(lr, self.scale, border="mirror"))
