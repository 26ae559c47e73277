"""RCAN, Residual Channel Attention Network (Zhang et al., ECCV 2018).

Sec. 3.2 "Residual in residual" -> Group and RCAN; 3.3 "Channel attention" -> ChannelAttention; 3.4
"Residual channel attention block" -> RCAB; the ablation of Sec. 4 -> `long_skip`, `short_skip` and
`attention`. Reference code: yulunzhang/RCAN (no licence stated); read, not copied. Its weights are
on cloud drives only. They want 0..255, which is inside (`rgb_range`).
Differs: the mean shift is frozen; the authors' optimiser could move it.
"""

from __future__ import annotations

from torch import Tensor, nn

from srkit.models.layers import MeanShift, Upsampler, check_input, conv
from srkit.models.network import Network


class ChannelAttention(nn.Module):
    """x * g, with one gate a channel, g = sigmoid(W2 relu(W1 mean(x))) in (0, 1).

    Squeeze and excitation (Hu et al., CVPR 2018) with 1x1 convolutions. The mean is over the whole
    picture, so tiles never give exactly what the whole picture gives.

    Raises ValueError for a reduction that leaves no channel.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"reduction={reduction}: choose 1 to {channels}, the number of channels"
            )
        mid = channels // reduction
        self.conv_du = nn.Sequential(
            conv(channels, mid, 1), nn.ReLU(inplace=True), conv(mid, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))  # gates (B, C, 1, 1)


class RCAB(nn.Module):
    """Residual channel attention block: x + attention(conv(relu(conv(x)))), nothing after the sum.

    Without attention it is EDSR's block, whose branch is twice as strong at first: gates start near
    1/2.
    """

    def __init__(self, channels: int, reduction: int, attention: bool):
        super().__init__()
        layers = [conv(channels, channels), nn.ReLU(inplace=True), conv(channels, channels)]
        if attention:
            layers.append(ChannelAttention(channels, reduction))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # (B, C, h, w)


class Group(nn.Module):
    """`blocks` RCABs and a convolution, with the short skip around them."""

    def __init__(self, channels: int, blocks: int, reduction: int, attention: bool, skip: bool):
        super().__init__()
        self.skip = skip
        rcabs = (RCAB(channels, reduction, attention) for _ in range(blocks))
        self.body = nn.Sequential(*rcabs, conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)  # (B, C, h, w)
        return x + y if self.skip else y


class RCAN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 2, 3, 4 or 8.

    conv -> `groups` groups of `blocks` RCABs and a conv, with the long skip around them ->
    upsampler, conv. The skips carry low frequencies, so that the trunk need not learn them.

    | variant   | channels | groups | blocks | reduction | for                        |
    |-----------|----------|--------|--------|-----------|----------------------------|
    | RCAN      | 64       | 10     | 20     | 16        | the paper                  |
    | RCAN-tiny | 32       | 2      | 4      | 8         | minutes on a laptop        |
    | RCAN-thin | 16       | 5      | 6      | 4         | the ablation of the skips  |

    Raises ValueError for a scale that `Upsampler` has not, and a reduction above `channels`.
    """

    tiling = "approximate"

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        groups: int = 10,
        blocks: int = 20,
        reduction: int = 16,
        attention: bool = True,
        short_skip: bool = True,
        long_skip: bool = True,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        self.name, self.scale, self.rgb_range, self.long_skip = "rcan", scale, rgb_range, long_skip
        self.sub_mean = MeanShift(rgb_range, -1)
        self.head = nn.Sequential(conv(3, channels))
        trunk = (Group(channels, blocks, reduction, attention, short_skip) for _ in range(groups))
        self.body = nn.Sequential(*trunk, conv(channels, channels))
        self.tail = nn.Sequential(Upsampler(scale, channels), conv(channels, 3))
        self.add_mean = MeanShift(rgb_range, +1)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f0 = self.head(self.sub_mean(lr * self.rgb_range))  # (B, 3, h, w) -> (B, C, h, w)
        f = self.body(f0)
        if self.long_skip:
            f = f + f0
        return self.add_mean(self.tail(f)) / self.rgb_range  # (B, C, h, w) -> (B, 3, rh, rw)
