"""SRCNN (Dong et al., ECCV 2014; TPAMI 2016): the first convolutional network for the task.

Three convolutions on the bicubic enlargement: they extract patches, map them, make the picture.
Works on Y. RGB gets its Cb and Cr by bicubic interpolation.
Differs: borders are padded with zeros, where the authors' output shrinks; weights start as
PyTorch's own.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import LumaNetwork, check_input, conv


class SRCNN(LumaNetwork):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    It works on Y: RGB goes through `to_y` and `with_y`, see `LumaNetwork`.
    kernels: (9, 5, 5) in the tables of later papers, (9, 1, 5) in the first version.
    """

    def __init__(self, scale: int = 2, *, kernels: tuple[int, int, int] = (9, 5, 5)):
        super().__init__()
        self.name, self.scale = "srcnn", scale
        self.conv1 = conv(1, 64, kernels[0])
        self.conv2 = conv(64, 32, kernels[1])
        self.conv3 = conv(32, 1, kernels[2])

    def luma(self, y: Tensor) -> Tensor:
        check_input(y, self.name, channels=1)
        up = imresize(y, self.scale)  # (B, 1, h, w) -> (B, 1, rh, rw)
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(up)))))
