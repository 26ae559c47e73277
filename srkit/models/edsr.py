"""EDSR, Enhanced Deep Super-Resolution (Lim et al., CVPRW 2017; NTIRE 2017 winner).

Sec. 3.1 -> ResBlock, Sec. 3.2 -> EDSR. Reference code: sanghyun-son/EDSR-PyTorch (MIT), read, not
copied. Many papers compare with EDSR-baseline, the authors' network of 16 blocks and 64 channels.
Differs: pictures are in [0, 1]; 0..255 is inside (`rgb_range`).
"""

from __future__ import annotations

from torch import Tensor, nn

from srkit.models.layers import MeanShift, Upsampler, check_input, conv
from srkit.models.network import Network


class ResBlock(nn.Module):
    """SRResNet's block without batch norm: x + s * conv(relu(conv(x))) (Fig. 2c)."""

    def __init__(self, channels: int, res_scale: float):
        super().__init__()
        self.res_scale = res_scale
        self.body = nn.Sequential(
            conv(channels, channels), nn.ReLU(inplace=True), conv(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.body(x)  # (B, C, h, w)


class EDSR(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    | variant       | channels | blocks | res_scale |
    |---------------|----------|--------|-----------|
    | EDSR-baseline | 64       | 16     | 1         |
    | EDSR          | 256      | 32     | 0.1       |

    Raises ValueError for a scale that `Upsampler` has not.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 16,
        res_scale: float = 1.0,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        self.name, self.scale, self.rgb_range = "edsr", scale, rgb_range
        self.sub_mean = MeanShift(rgb_range, -1)
        self.head = nn.Sequential(conv(3, channels))
        self.body = nn.Sequential(
            *(ResBlock(channels, res_scale) for _ in range(blocks)), conv(channels, channels)
        )
        self.tail = nn.Sequential(Upsampler(scale, channels), conv(channels, 3))
        self.add_mean = MeanShift(rgb_range, +1)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.head(self.sub_mean(lr * self.rgb_range))  # (B, 3, h, w) -> (B, C, h, w)
        f = self.body(f) + f
        return self.add_mean(self.tail(f)) / self.rgb_range  # (B, C, h, w) -> (B, 3, rh, rw)
