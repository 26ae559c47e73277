"""ZSSR, "Zero-Shot" Super-Resolution (Shocher et al., CVPR 2018): the network.

It is trained anew for each picture: on that picture and smaller copies of it.
Reference code: assafshocher/ZSSR (Weizmann academic licence, non-commercial), for facts only. No
weights exist. The paper has eight hidden layers, its code eight layers in all, as here.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import check_input, conv
from srkit.models.network import Network


class ZSSR(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    `refine` adds what is missing to the bicubic enlargement, by eight 3x3 convolutions without
    bias.

    | variant    | channels | depth |
    |------------|----------|-------|
    | ZSSR       | 64       | 8     |
    | ZSSR-small | 32       | 6     |
    """

    def __init__(self, scale: int = 2, *, channels: int = 64, depth: int = 8):
        super().__init__()
        self.name, self.scale = "zssr", scale
        widths = [3, *[channels] * (depth - 1), 3]
        convs = [conv(cin, cout, bias=False) for cin, cout in pairwise(widths)]
        for layer in convs:  # small: at first the network hardly changes the bicubic picture
            fan_in = 9 * layer.in_channels
            nn.init.normal_(layer.weight, std=(0.1 / fan_in) ** 0.5)
        self.convs = nn.ModuleList(convs)

    def refine(self, x: Tensor) -> Tensor:
        """x + f(x): sharpens a picture (B, 3, H, W) that was enlarged by any factor."""
        check_input(x, self.name)
        *hidden, last = self.convs
        f = x
        for layer in hidden:
            f = F.relu(layer(f))  # (B, 3 or C, H, W) -> (B, C, H, W)
        return x + last(f)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        return self.refine(imresize(lr, self.scale, border="mirror"))
