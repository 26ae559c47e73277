"""LapSRN, Laplacian pyramid network (Lai et al., CVPR 2017); later papers compare with it.

Each level doubles the picture (by a learnt interpolation) and its features, and adds the detail
that it finds. Weights: the authors' x4, converted from their MatConvNet file.
Works on Y. RGB gets its Cb and Cr by bicubic interpolation.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from srkit.models.layers import LumaNetwork, check_input, conv

lrelu = nn.LeakyReLU(0.2)


class Level(nn.Module):
    """Doubles features and picture, and adds the detail that `depth` convolutions find."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.convs = nn.ModuleList(conv(channels, channels) for _ in range(depth))
        self.upconv = nn.ConvTranspose2d(channels, channels, 3, stride=2)
        self.residual_conv = conv(channels, 1)
        self.img_up = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)

    def forward(self, f: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.convs:
            f = lrelu(layer(f))  # (B, C, h, w)
        f = lrelu(self.upconv(f)[..., :-1, :-1])  # (B, C, 2h+1, 2w+1) -> (B, C, 2h, 2w)
        return f, self.img_up(image) + self.residual_conv(f)  # (B, 1, 2h, 2w)


class LapSRN(LumaNetwork):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    It works on Y: RGB goes through `to_y` and `with_y`, see `LumaNetwork`. The paper: 64 channels,
    depth 10 at each level. level1 is the finest.

    Raises ValueError for another scale than 2, 4 and 8.
    """

    def __init__(self, scale: int = 4, *, channels: int = 64, depth: int = 10):
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"scale {scale}: LapSRN doubles, it is for 2, 4 and 8")
        self.name, self.scale = "lapsrn", scale
        self.input_conv = conv(1, channels)
        for n in range(scale.bit_length() - 1, 0, -1):
            self.add_module(f"level{n}", Level(channels, depth))

    def pyramid(self, y: Tensor) -> list[Tensor]:
        """Y of BT.601 (B, 1, h, w) -> its enlargements [(B, 1, 2h, 2w), ..., (B, 1, rh, rw)]."""
        check_input(y, self.name, channels=1)
        f, image, images = lrelu(self.input_conv(y)), y, []
        for n in range(self.scale.bit_length() - 1, 0, -1):
            f, image = self.get_submodule(f"level{n}")(f, image)
            images.append(image)
        return images

    def luma(self, y: Tensor) -> Tensor:
        return self.pyramid(y)[-1]

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """00_input_conv, 01_level2_conv1 ... 26_level1_img_up, by our names."""

        def ours(name: str) -> str:
            name = re.sub(r"^\d\d_(level\d+_)?", lambda m: (m[1] or "").replace("_", "."), name)
            return re.sub(r"\.conv(\d+)", lambda m: f".convs.{int(m[1]) - 1}", name)

        return {ours(name): tensor for name, tensor in state.items()}
