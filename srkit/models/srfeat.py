"""SRFeat (Park et al., "SRFeat: Single Image Super-Resolution with Feature Discrimination",
ECCV 2018).

The generator -> SRFeat; the two discriminators -> ImageDiscriminator and FeatureDiscriminator.
Reference code: HyeongseokSon1/SRFeat (TensorFlow, AGPL-3.0), weights included; read, not copied.
Paper and code describe long skips from all blocks; the code makes that of the last block and does
not use it. It is left out here.
Differs: strided convolutions pad on both sides, where TensorFlow pads even sizes below and on the
right only. (The discriminators' maps have the same size, shifted by a pixel.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import check_input, check_judged, conv, discriminator_body
from srkit.models.network import Network


class ResBlock(nn.Module):
    """x + bn(conv(lrelu(bn(conv(x)))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(F.leaky_relu(self.bn1(self.conv1(x)), 0.2)))


class SRFeat(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, 4h, 4w), not clipped; [-1, 1] inside.

    Each block's output goes to the next block and, by a 1x1 convolution (a long skip), to the end
    of the trunk, where all are added. long_skips: False leaves them out, an ablation.

    Raises ValueError for another scale than 4.
    """

    def __init__(
        self, scale: int = 4, *, channels: int = 128, blocks: int = 16, long_skips: bool = True
    ):
        super().__init__()
        if scale != 4:
            raise ValueError(f"scale {scale}: SRFeat has 4 only")
        self.name, self.scale = "srfeat", scale
        self.conv_in = conv(3, channels, 9)
        self.blocks = nn.ModuleList(ResBlock(channels) for _ in range(blocks))
        skips = blocks - 1 if long_skips else 0
        self.skips = nn.ModuleList(conv(channels, channels, 1, bias=False) for _ in range(skips))
        self.up1 = conv(channels, 4 * channels)
        self.up2 = conv(channels, 4 * channels)
        self.conv_out = conv(channels, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.conv_in(2 * lr - 1)  # (B, 3, h, w) -> (B, C, h, w)
        skipped = 0
        for k, block in enumerate(self.blocks):
            f = block(f)
            if k < len(self.skips):
                skipped = skipped + self.skips[k](f)
        f = f + skipped
        for up in (self.up1, self.up2):
            f = F.leaky_relu(F.pixel_shuffle(up(f), 2), 0.2)  # (B, C, h, w) -> (B, C, 2h, 2w)
        return (self.conv_out(f) + 1) / 2  # (B, C, 4h, 4w) -> (B, 3, 4h, 4w)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The arrays of the authors' .npz, which are only numbered, by our names."""
        if "0" not in state or state["0"].shape[:2] != (9, 9):
            return state
        return from_tensorlayer([state[str(i)] for i in range(len(state))])


class FeatureDiscriminator(nn.Module):
    """Feature maps (B, channels_in, size, size) -> logits (B, 1), large if it takes them for HR's.

    `stages` pairs of 3x3 convolutions, of widths `channels`, 2 `channels`, ..., see
    `discriminator_body`; then two dense layers. With `size=None` these are 3x3 convolutions, for
    maps of any size, and each place is judged: logits (B, 1, s, s), the authors' alternative, which
    they found as good. The paper's maps are VGG-19's relu5_4, divided by 12.75: (B, 512, 19, 19)
    for 296 pixels, with pooling that rounds up.
    """

    def __init__(
        self,
        channels_in: int = 512,
        size: int | None = 19,
        *,
        channels: int = 64,
        stages: int = 4,
        hidden: int = 1024,
    ):
        super().__init__()
        self.channels_in, self.size = channels_in, size
        widths = [channels * 2**i for i in range(stages)]
        self.features = discriminator_body(channels_in, widths, norm=True)
        if size is None:
            first, last = conv(widths[-1], hidden), conv(hidden, 1)
        else:
            side = -(-size // 2**stages)  # halvings round up
            first, last = nn.Linear(widths[-1] * side**2, hidden), nn.Linear(hidden, 1)
        self.score = nn.Sequential(first, nn.LeakyReLU(0.2), last)

    def forward(self, x: Tensor) -> Tensor:
        name = f"SRFeat's {type(self).__name__}"
        check_judged(x, name, channels=self.channels_in, size=self.size)
        f = self.features(x)  # (B, K, S, S) -> (B, 8C, S/16, S/16)
        return self.score(f.flatten(1) if self.size else f)


class ImageDiscriminator(FeatureDiscriminator):
    """Pictures (B, 3, size, size) in [0, 1] -> logits: `FeatureDiscriminator` of [-1, 1]."""

    def __init__(
        self, size: int | None = 296, *, channels: int = 64, stages: int = 4, hidden: int = 1024
    ):
        super().__init__(3, size, channels=channels, stages=stages, hidden=hidden)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)


def from_tensorlayer(arrays: Sequence[Tensor]) -> dict[str, Tensor]:
    """SRFeat's state dict from the authors' arrays (`params` of their .npz), in their order.

    Kernels are stored (kh, kw, in, out), beta before gamma, and TensorFlow's depth_to_space groups
    channels by place where pixel_shuffle groups places by channel.

    Raises ValueError for a number of arrays that no SRFeat has.
    """
    blocks, rest = divmod(len(arrays) - 7, 11)
    if blocks < 1 or rest:
        raise ValueError(f"{len(arrays)} arrays are no SRFeat: the paper's has 183, 7 + 11 a block")
    norm = ("bias", "weight", "running_mean", "running_var")
    names = ["conv_in.weight", "conv_in.bias"]
    for i in range(blocks):
        for k in (1, 2):
            names.append(f"blocks.{i}.conv{k}.weight")
            names += [f"blocks.{i}.bn{k}.{part}" for part in norm]
    names += [f"skips.{i}.weight" for i in range(blocks - 1)]
    names += [f"{up}.{part}" for up in ("up1", "up2", "conv_out") for part in ("weight", "bias")]
    state = {}
    for name, array in zip(names, arrays, strict=True):
        tensor = array.permute(3, 2, 0, 1) if array.dim() == 4 else array
        if name.startswith("up"):
            tensor = tensor.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)
        state[name] = tensor.contiguous()
    for i in range(blocks):  # counts batches; the authors' moving average doesn't need it
        never = torch.tensor(0, device="cpu")
        state |= {f"blocks.{i}.bn{k}.num_batches_tracked": never.clone() for k in (1, 2)}
    return state
