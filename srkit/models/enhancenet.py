"""EnhanceNet (Sajjadi et al., ICCV 2017): the generator, and the discriminator of its adversarial
loss.

"Architecture" -> EnhanceNet; supplement, Table 1 -> Discriminator. It enlarges features by nearest
neighbours and convolutions: transposed convolutions would leave a checkerboard.
Reference code: msmsajjadi/EnhanceNet-Code (CC BY-NC-ND 4.0, weights too); read, not copied. Only
the x4 network trained with all losses (PAT) was published, as a TensorFlow 1 checkpoint.
Differs: the authors' bicubic is TensorFlow 1's, which is shifted. Their network has learnt to undo
the shift, so their weights need `skip="tensorflow1"`. With MATLAB's bicubic, the default for new
trainings, they lose 3 dB.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import check_input, check_judged, conv, discriminator_body, he_init
from srkit.models.network import Network

MEAN = (0.47614917, 0.45001204, 0.40904046)  # RGB, of the authors' training pictures
SKIPS = ("bicubic", "tensorflow1")


def tensorflow1_bicubic(x: Tensor, scale: int) -> Tensor:
    """(B, C, h, w) -> (B, C, rh, rw) as TensorFlow 1's `resize_bicubic`: for its weights only.

    Output pixel k is taken at input position k/r, which shifts the picture by (r-1)/2 output
    pixels. The cubic kernel has a = -3/4, edge pixels are repeated.
    """
    # t: the r places between two pixels; float64, which is not on every device
    t = torch.arange(scale, dtype=torch.float64, device="cpu")[:, None] / scale
    d = (torch.arange(-1, 3, device="cpu") - t).abs()  # (r, 4) distances to the four pixels around
    a = -0.75
    near = ((a + 2) * d - (a + 3)) * d**2 + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    rows = torch.where(d <= 1, near, far)
    kernels = torch.einsum("iy,jx->ijyx", rows, rows).reshape(-1, 1, 4, 4)  # (r^2, 1, 4, 4)
    b, c, h, w = x.shape
    planes = F.pad(x.reshape(b * c, 1, h, w), (1, 2, 1, 2), mode="replicate")
    planes = F.pixel_shuffle(F.conv2d(planes, kernels.to(x)), scale)  # (BC, 1, rh, rw)
    return planes.reshape(b, c, scale * h, scale * w)


class ResBlock(nn.Module):
    """x + conv(relu(conv(x))), nothing after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))  # (B, C, h, w)


class EnhanceNet(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    conv -> `blocks` residual blocks -> (nearest x2, conv) for each doubling -> conv -> conv to RGB,
    added to the enlarged picture. skip: how that is enlarged, "bicubic" or "tensorflow1".

    | variant           | channels | blocks | skip        | scales  |
    |-------------------|----------|--------|-------------|---------|
    | ENet              | 64       | 10     | bicubic     | 2, 4, 8 |
    | released ENet-PAT | 64       | 10     | tensorflow1 | 4       |
    | ENet-small        | 32       | 4      | bicubic     | 4       |

    Raises ValueError for another scale or skip.
    """

    mean: Tensor

    def __init__(
        self, scale: int = 4, *, channels: int = 64, blocks: int = 10, skip: str = "bicubic"
    ):
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"scale {scale}: EnhanceNet doubles, it is for 2, 4 and 8")
        if skip not in SKIPS:
            raise ValueError(f"skip {skip!r}: choose one of {', '.join(SKIPS)}")
        self.name, self.scale, self.skip = "enhancenet", scale, skip
        # not (1, 3, 1, 1): in channels_last DDP's broadcast could not write to its strides
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.head = conv(3, channels)
        self.blocks = nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))
        doublings = scale.bit_length() - 1
        self.up = nn.ModuleList(conv(channels, channels) for _ in range(doublings))
        self.tail = nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, 3))

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f = self.blocks(F.relu(self.head(lr - self.mean)))  # (B, 3, h, w) -> (B, C, h, w)
        for layer in self.up:
            f = F.relu(layer(F.interpolate(f, scale_factor=2, mode="nearest")))  # (B, C, 2h, 2w)
        enlarge = imresize if self.skip == "bicubic" else tensorflow1_bicubic
        return enlarge(lr, self.scale) + self.tail(f)  # (B, 3, rh, rw)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """generator/Conv{,_1..._24}/{weights,biases}, in forward order, by our names.

        TensorFlow keeps kernels as (kh, kw, in, out).
        """
        names = ["head", *(f"blocks.{i}.conv{j}" for i in range(10) for j in (1, 2))]
        names += ["up.0", "up.1", "tail.0", "tail.2"]
        ours = {}
        for name, tensor in state.items():
            found = re.fullmatch(r"generator/Conv(?:_(\d+))?/(weight|bias)(?:s|es)", name)
            if found and int(found[1] or 0) < len(names):
                name = f"{names[int(found[1] or 0)]}.{found[2]}"
                tensor = tensor.permute(3, 2, 0, 1) if found[2] == "weight" else tensor
            ours[name] = tensor
        return ours


class Discriminator(nn.Module):
    """Pictures (B, 3, size, size) in [0, 1] -> logits (B, 1), large if it takes them for HR.

    For each of `channels` two 3x3 convolutions, the second of stride 2; then 1024 and 1 units.
    LeakyReLU 0.2, no batch norm. The paper: size 128, widths 32 to 512. Weights start as He et
    al.'s, because PyTorch's own would let a ten-thousandth of the signal through so many layers,
    and the discriminator would take very long to learn.

    Raises ValueError for a size that cannot be halved so often.
    """

    def __init__(self, size: int = 128, channels: tuple[int, ...] = (32, 64, 128, 256, 512)):
        super().__init__()
        grid, rest = divmod(size, 2 ** len(channels))
        if rest or not grid:
            raise ValueError(
                f"size {size}: {len(channels)} halvings need a multiple of {2 ** len(channels)}"
            )
        self.size = size
        self.features = discriminator_body(3, channels, norm=False)
        units = channels[-1] * grid**2
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(units, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1)
        )
        he_init(self, slope=0.2)

    def forward(self, image: Tensor) -> Tensor:
        check_judged(image, "EnhanceNet's discriminator", size=self.size)
        return self.classifier(self.features(image))  # (B, 3, H, W) -> (B, 1)
