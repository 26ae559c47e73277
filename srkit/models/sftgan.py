"""SFTGAN, spatial feature transform (Wang, Yu, Dong and Loy, CVPR 2018): a map of what is where
decides on the texture.

Sec. 3.1 -> SFT; Sec. 3.2 -> SFTGAN and Discriminator. OutdoorSceneSeg makes the maps.
Reference code: xinntao/SFTGAN (no licence stated) for the networks, BasicSR's history of 2018 for
the discriminator; read, not copied. Weights: the authors' cloud drive only.
Two networks share the name, and 346 of 350 tensor names: the paper's, and the authors' later
re-training (`retrained=True`). SFTGAN says what differs.
Differs: the paper's gamma starts at 1 here. From PyTorch's own start, about 0, each of the 33
layers would multiply the features by nearly nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import check_input, check_judged, conv
from srkit.models.network import Network

# Channels of the prior, and outputs of OutdoorSceneSeg.
CLASSES = ("background", "sky", "water", "grass", "mountain", "building", "plant", "animal")
# Labels that the discriminator's class head was trained with: the same classes, another order.
DISCRIMINATOR_CLASSES = (
    "background", "building", "plant", "mountain", "water", "sky", "grass", "animal",
)  # fmt: skip


class SFT(nn.Module):
    """SFT(F | condition) = gamma * F + beta: scale and shift for each channel at each pixel.

    gamma and beta come from the K conditions by two 1x1 convolutions each, so that regions do not
    mix. The re-training learns gamma - 1 instead of gamma.
    """

    def __init__(self, channels: int, conditions: int, *, retrained: bool = False):
        super().__init__()
        self.slope, self.offset = (0.1, 1.0) if retrained else (0.01, 0.0)
        self.SFT_scale_conv0 = conv(conditions, conditions, 1)
        self.SFT_scale_conv1 = conv(conditions, channels, 1)
        self.SFT_shift_conv0 = conv(conditions, conditions, 1)
        self.SFT_shift_conv1 = conv(conditions, channels, 1)
        if not retrained:
            nn.init.ones_(self.SFT_scale_conv1.get_parameter("bias"))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gamma = F.leaky_relu(self.SFT_scale_conv0(condition), self.slope)
        gamma = self.SFT_scale_conv1(gamma) + self.offset  # (B, K, h, w) -> (B, C, h, w)
        beta = F.leaky_relu(self.SFT_shift_conv0(condition), self.slope)
        beta = self.SFT_shift_conv1(beta)
        return gamma * x + beta


class Unmodulated(nn.Module):
    """In place of SFT, for the ablation: the features as they are."""

    def forward(self, x: Tensor, condition: None) -> Tensor:
        return x


class ResBlock(nn.Module):
    """Two convolutions and a shortcut; before each convolution stands a layer made by `sft()`."""

    def __init__(self, channels: int, sft: Callable[[], nn.Module], *, retrained: bool):
        super().__init__()
        self.retrained = retrained
        self.sft0, self.conv0 = sft(), conv(channels, channels)
        self.sft1, self.conv1 = sft(), conv(channels, channels)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if self.retrained:
            y = F.relu(self.conv0(self.sft0(x, condition)))
            return self.conv1(self.sft1(y, condition)) + x
        y = self.conv0(F.relu(self.sft0(x, condition)))
        return self.conv1(F.relu(self.sft1(y, condition))) + x  # (B, C, h, w)


class SFTGAN(Network):
    """LR (B, 3, h, w) in [0, 1], prior (B, classes, 4h, 4w) -> SR (B, 3, 4h, 4w), not clipped.

    The prior is the probability of each of CLASSES at each SR pixel. Without one, all is
    background: what the authors give for anything that is not an outdoor scene.

    |               | the paper's                    | re-trained                      |
    |---------------|--------------------------------|---------------------------------|
    | SFT           | gamma F + beta, LeakyReLU 0.01 | (gamma + 1) F + beta, 0.1       |
    | block         | SFT, ReLU, conv, twice         | SFT, conv, ReLU, SFT, conv      |
    | upsampling    | nearest x2, conv, ReLU, twice  | conv, pixel shuffle, ReLU twice |

    How the prior enters, `by`, is the paper's ablation: "sft"; "film", the mean of its conditions
    over the picture, so gamma and beta are the same everywhere; "concat", as channels beside the LR
    picture's (means of 4x4), with no SFT layers.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 16,
        conditions: int = 32,
        width: int = 128,
        classes: int = len(CLASSES),
        retrained: bool = False,
        by: str = "sft",
    ):
        super().__init__()
        if scale != 4:
            raise ValueError(f"scale {scale}: SFTGAN is a network for scale 4 only")
        if by not in ("sft", "film", "concat"):
            raise ValueError(f"by={by!r}: the prior enters by 'sft', 'film' or 'concat'")
        self.name, self.scale, self.classes, self.by = "sftgan", scale, classes, by
        sft = partial(SFT, channels, conditions, retrained=retrained)
        if by == "concat":
            sft = Unmodulated
        self.conv0 = conv(3 + classes if by == "concat" else 3, channels)
        self.sft_branch = nn.ModuleList(
            [ResBlock(channels, sft, retrained=retrained) for _ in range(blocks)]
            + [sft(), conv(channels, channels)]
        )
        up: list[nn.Module] = []
        for _ in range(2):
            if retrained:
                up += [conv(channels, 4 * channels), nn.PixelShuffle(2), nn.ReLU(inplace=True)]
            else:
                up += [nn.Upsample(scale_factor=2), conv(channels, channels), nn.ReLU(inplace=True)]
        self.HR_branch = nn.Sequential(
            *up, conv(channels, channels), nn.ReLU(inplace=True), conv(channels, 3)
        )
        if by != "concat":
            layers: list[nn.Module] = [nn.Conv2d(classes, width, 4, stride=4)]  # SR's grid to LR's
            for cout in (width, width, width, conditions):  # 1x1 from here on
                layers += [nn.LeakyReLU(0.1, inplace=True), conv(width, cout, 1)]
            self.CondNet = nn.Sequential(*layers)

    def one_class(self, lr: Tensor, label: str | int = "background") -> Tensor:
        """The prior for `lr` that is sure of one class everywhere: 1 in its channel, else 0.

        Raises ValueError for an unknown class.
        """
        known = CLASSES[: self.classes]
        index = known.index(label) if label in known else label
        if not isinstance(index, int) or index not in range(self.classes):
            raise ValueError(
                f"no class {label!r}: choose one of {', '.join(known)}, or its number from 0"
            )
        b, _, h, w = lr.shape
        prior = lr.new_zeros(b, self.classes, 4 * h, 4 * w)
        prior[:, index] = 1
        return prior

    def forward(self, lr: Tensor, prior: Tensor | None = None) -> Tensor:
        check_input(lr, self.name)
        if prior is None:
            prior = self.one_class(lr)
        b, _, h, w = lr.shape
        expected = (b, self.classes, 4 * h, 4 * w)
        if prior.shape != expected:
            raise ValueError(
                f"{self.name}: the prior of this picture is a float tensor {expected}, a "
                f"probability for each class at each SR pixel, got {tuple(prior.shape)}. "
                "Crop or resize the maps with the picture; a map of labels becomes "
                "F.one_hot(labels, classes).movedim(-1, 1).float()."
            )
        x, condition = lr, None
        if self.by == "concat":
            x = torch.cat((lr, F.avg_pool2d(prior, 4)), 1)  # (B, 3 + 8, h, w)
        else:
            condition = self.CondNet(prior)  # (B, 8, 4h, 4w) -> (B, K, h, w), for all layers
            if self.by == "film":
                condition = condition.mean((2, 3), keepdim=True)  # (B, K, 1, 1)
        f = f0 = self.conv0(x)  # -> (B, C, h, w)
        for layer in self.sft_branch[:-1]:
            f = layer(f, condition)
        f = self.sft_branch[-1](f) + f0
        return self.HR_branch(f)  # (B, C, h, w) -> (B, 3, 4h, 4w)


class Discriminator(nn.Module):
    """Picture (B, 3, size, size) -> real or made (B, 1), class (B, classes), both logits.

    VGG-like, one trunk with two heads (BasicSR's ACD_VGG_BN_96, an auxiliary-classifier GAN after
    Odena et al., 2017). The classes are DISCRIMINATOR_CLASSES; 0, the background, is left out of
    the loss.
    """

    def __init__(
        self, *, size: int = 96, width: int = 64, classes: int = len(DISCRIMINATOR_CLASSES)
    ):
        super().__init__()
        if size < 16 or size % 16:
            raise ValueError(f"size {size}: the discriminator halves four times, use 16, 32, ...")
        self.size = size
        layers = [conv(3, width), nn.LeakyReLU(0.1, inplace=True), *self.stage(width, width, 4, 2)]
        for c in (width, 2 * width, 4 * width):
            layers += [*self.stage(c, 2 * c, 3, 1), *self.stage(2 * c, 2 * c, 4, 2)]
        self.feature = nn.Sequential(*layers)
        features = 8 * width * (size // 16) ** 2
        self.gan, self.cls = (
            nn.Sequential(nn.Linear(features, 100), nn.LeakyReLU(0.1), nn.Linear(100, n))
            for n in (1, classes)
        )

    @staticmethod
    def stage(cin: int, cout: int, kernel: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(cin, cout, kernel, stride, padding=1)
        return [convolution, nn.BatchNorm2d(cout), nn.LeakyReLU(0.1, inplace=True)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_judged(x, "SFTGAN's discriminator", size=self.size)
        f = self.feature(x).flatten(1)  # (B, 3, 96, 96) -> (B, 512 * 6 * 6)
        return self.gan(f), self.cls(f)


def conv_bn(
    cin: int, cout: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    pad = dilation * (kernel // 2)
    convolution = nn.Conv2d(cin, cout, kernel, stride, pad, dilation, bias=False)
    return [convolution, nn.BatchNorm2d(cout)]


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, 3x3 (here dilated) and 1x1 convolutions, with batch norm."""

    def __init__(self, cin: int, mid: int, cout: int, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.res = nn.Sequential(
            *conv_bn(cin, mid),
            nn.ReLU(inplace=True),
            *conv_bn(mid, mid, 3, stride=stride, dilation=dilation),
            nn.ReLU(inplace=True),
            *conv_bn(mid, cout),
        )
        same = cin == cout and stride == 1
        self.proj = nn.Identity() if same else nn.Sequential(*conv_bn(cin, cout, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.res(x) + self.proj(x))


class OutdoorSceneSeg(nn.Module):
    """Picture (B, 3, H, W) in [0, 1] -> probability of each of CLASSES (B, 8, H, W).

    A dilated ResNet-101 of stride 8; it makes SFTGAN's prior from the LR picture enlarged fourfold
    by bicubic interpolation, `imresize(lr, 4)`, for which it was trained.

    Each class's maps are made in squares of 8x8 pixels, at least one. Where H is no multiple of 8,
    the authors' network gives up to 5 rows more than the picture has, which are left out here, or 1
    or 2 less, which repeat the last one here; columns alike.
    """

    bgr: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("bgr", torch.tensor([103.939, 116.779, 123.68]), persistent=False)
        stem = ((3, 64, 2), (64, 64, 1), (64, 128, 1))
        stages = (
            (3, 64, 256, 1, 1),
            (4, 128, 512, 2, 1),
            (23, 256, 1024, 1, 2),
            (3, 512, 2048, 1, 4),
        )
        layers: list[nn.Module] = []
        for cin, cout, stride in stem:
            layers += [*conv_bn(cin, cout, 3, stride=stride), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(3, stride=2, ceil_mode=True)]
        cin = 128
        for blocks, mid, cout, stride, dilation in stages:
            layers += [Bottleneck(cin, mid, cout, stride=stride, dilation=dilation)]
            layers += [Bottleneck(cout, mid, cout, dilation=dilation) for _ in range(blocks - 1)]
            cin = cout
        layers += [*conv_bn(cin, 512, 3), nn.ReLU(inplace=True), nn.Dropout(0.1)]
        self.feature = nn.Sequential(*layers, nn.Conv2d(512, len(CLASSES), 1))
        n = len(CLASSES)
        self.deconv = nn.ConvTranspose2d(n, n, 16, stride=8, padding=4, groups=n, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, "OutdoorSceneSeg")
        h, w = x.shape[-2:]
        x = F.pad(x, (0, max(0, 3 - w), 0, max(0, 3 - h)), mode="replicate")  # the least it takes
        x = 255 * x.flip(1) - self.bgr.view(3, 1, 1)  # as Caffe: BGR, 0..255, minus the mean
        x = self.deconv(self.feature(x))  # (B, 3, H, W) -> (B, 8, H/8, W/8) -> (B, 8, H, W)
        x = x.softmax(1)[..., :h, :w]
        return F.pad(x, (0, w - x.shape[-1], 0, h - x.shape[-2]), mode="replicate")
