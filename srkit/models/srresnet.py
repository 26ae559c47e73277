"""SRResNet and SRGAN (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a
Generative Adversarial Network", CVPR 2017).

Sec. 2.1 and Fig. 4 -> SRResNet, which is also SRGAN's generator, and Discriminator. MSRResNet is
BasicSR's variant without batch norm, which papers after ESRGAN call SRResNet. Reference code: none
by the authors; XPixelGroup/BasicSR (Apache-2.0) for MSRResNet, with its tensor names; read, not
copied. SRGANPort is the generator of a public port with trained weights, leftthomas/SRGAN (MIT).
Differs: the paper doesn't say whether PReLU has one slope or one a channel, nor whether
convolutions before batch norm have a bias (which batch norm cancels); here one slope, and biases,
unless `channel_slopes` and `trunk_bias` say otherwise.
"""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import check_input, check_judged, conv, discriminator_body, he_init
from srkit.models.network import Network


class ResBlock(nn.Module):
    """x + bn(conv(prelu(bn(conv(x))))), nothing after the sum."""

    def __init__(self, channels: int, *, slopes: int = 1, bias: bool = True):
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, bias=bias),
            nn.BatchNorm2d(channels),
            nn.PReLU(slopes),
            conv(channels, channels, bias=bias),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # (B, C, h, w)


class SRResNet(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    The paper's HR is in [-1, 1]; the way back to [0, 1] is inside. Its squared errors are therefore
    four times those here. The paper has scale 4; 2 and 8 take one doubling less or more.

    - channel_slopes: each PReLU has a slope for each channel, instead of one for all.
    - trunk_bias: False leaves out the biases of the convolutions before batch norm.

    Raises ValueError for another scale.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 16,
        channel_slopes: bool = False,
        trunk_bias: bool = True,
    ):
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"scale {scale}: SRResNet doubles, so 2, 4 (the paper's) or 8")
        self.name, self.scale = "srresnet", scale
        slopes = channels if channel_slopes else 1
        self.head = nn.Sequential(conv(3, channels, 9), nn.PReLU(slopes))
        self.body = nn.Sequential(
            *(ResBlock(channels, slopes=slopes, bias=trunk_bias) for _ in range(blocks)),
            conv(channels, channels, bias=trunk_bias),
            nn.BatchNorm2d(channels),
        )
        double = [
            (conv(channels, 4 * channels), nn.PixelShuffle(2), nn.PReLU(slopes))
            for _ in range(scale.bit_length() - 1)
        ]
        self.tail = nn.Sequential(*(layer for step in double for layer in step))
        self.tail.append(conv(channels, 3, 9))

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.head(lr)  # (B, 3, h, w) -> (B, C, h, w)
        f = self.body(f) + f
        return (self.tail(f) + 1) / 2  # (B, C, h, w) -> (B, 3, rh, rw)


class SRGANPort(SRResNet):
    """The generator of leftthomas/SRGAN: SRResNet with 5 blocks and two other layers.

    The trunk ends in a PReLU instead of batch norm, and a tanh keeps the picture inside [-1, 1],
    so that what comes out is inside [0, 1].
    """

    def __init__(self, scale: int = 4, *, channels: int = 64, blocks: int = 5):
        super().__init__(scale, channels=channels, blocks=blocks)
        self.name = "srgan_port"
        self.body[-1] = nn.PReLU()
        self.tail.append(nn.Tanh())

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The port's tensors (block1 head, block2 ... trunk, the last two its end) by our names."""
        numbers = [int(n[1]) for name in state if (n := re.match(r"block(\d+)\.", name))]
        if not numbers:
            return state
        parts = {"conv1": 0, "bn1": 1, "prelu": 2, "conv2": 3, "bn2": 4}

        def ours(name: str) -> str:
            block, _, rest = name.partition(".")
            k = int(block.removeprefix("block"))
            layer, _, tensor = rest.partition(".")
            if k == 1:
                return f"head.{rest}"
            if k == max(numbers):  # upsampling steps of convolution, shuffle, PReLU; a convolution
                part, _, last = tensor.rpartition(".")
                return f"tail.{3 * int(layer) + 2 * (part == 'prelu')}.{last}"
            if k == max(numbers) - 1:
                return f"body.{k - 2 + int(layer)}.{tensor}"
            return f"body.{k - 2}.body.{parts[layer]}.{tensor}"

        return {ours(name): tensor for name, tensor in state.items()}


lrelu = nn.LeakyReLU(0.1)


class PlainBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class MSRResNet(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; scales 2, 3, 4.

    No batch norm, no 9x9, no shortcut around the trunk: the network adds detail to the bilinearly
    enlarged picture. All weights start at a tenth of He's, so it starts near that picture.

    Raises ValueError for another scale.
    """

    def __init__(self, scale: int = 4, *, channels: int = 64, blocks: int = 16):
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"scale {scale}: MSRResNet has 2, 3 and 4")
        self.name, self.scale = "msrresnet", scale
        self.steps = (2, 2) if scale == 4 else (scale,)
        self.conv_first = conv(3, channels)
        self.body = nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))
        for i, s in enumerate(self.steps, 1):
            self.add_module(f"upconv{i}", conv(channels, s * s * channels))
        self.conv_hr = conv(channels, channels)
        self.conv_last = conv(channels, 3)
        he_init(self, times=0.1)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.body(lrelu(self.conv_first(lr)))  # (B, 3, h, w) -> (B, C, h, w)
        for i, s in enumerate(self.steps, 1):
            y = self.get_submodule(f"upconv{i}")(f)  # (B, C, h, w) -> (B, s^2 C, h, w)
            f = lrelu(F.pixel_shuffle(y, s))
        base = F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.conv_last(lrelu(self.conv_hr(f))) + base  # (B, C, H, W) -> (B, 3, H, W)


class Discriminator(nn.Module):
    """Pictures (B, 3, size, size) in [0, 1] -> logits (B, 1), large if it takes them for HR.

    Eight 3x3 convolutions of widths C, 2C, 4C, 8C, see `discriminator_body`; then two dense layers.
    The paper's sigmoid is left to the losses, which are more exact on logits.
    """

    def __init__(self, size: int = 96, *, channels: int = 64, hidden: int = 1024):
        super().__init__()
        self.size = size
        widths = [channels, 2 * channels, 4 * channels, 8 * channels]
        self.features = discriminator_body(3, widths, norm=True)
        side = -(-size // 16)  # four halvings, rounded up
        self.score = nn.Sequential(
            nn.Linear(widths[-1] * side**2, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        check_judged(image, "SRGAN's discriminator", size=self.size)
        f = self.features(2 * image - 1)  # (B, 3, S, S) -> (B, 8C, S/16, S/16)
        return self.score(f.flatten(1))  # -> (B, 1)
