"""ESRGAN (Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
ECCVW 2018; winner of PIRM 2018, region 3).

Sec. 3.1 -> layers.RDB, layers.RRDB, RRDBNet; Sec. 3.4 -> weights.interpolate.
VGGDiscriminator is the discriminator of the authors' training code, UNetDiscriminator that of their
later Real-ESRGAN (ICCVW 2021); what they learn from is losses.objectives.RelativisticAverage.
Reference code: xinntao/ESRGAN (the tensor names here) and XPixelGroup/BasicSR (x1 and x2 too), both
Apache-2.0, weights included; read, not copied. The authors' files name tensors in three ways: see
KEYS. Real-ESRGAN's RRDB networks are read too.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm  # its tensor names are those of the authors' files

from srkit.models.layers import RRDB, check_input, check_judged, conv, he_init
from srkit.models.network import Network


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class RRDBNet(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 4, or 1 or 2.

    The paper's is x4. x2 and x1 are the same network on a smaller grid: 2x2 or 4x4 pixels are first
    folded into one of 12 or 48 channels (sides that don't divide are padded).

    No batch norm. What keeps a network of 351 convolutions trainable is the factor `scaling` of
    what is added at both levels of the blocks, and that their weights start at a tenth of He's.
    batch_norm puts one behind each convolution of the blocks, to see what the paper gained.

    | variant     | channels | blocks | growth |
    |-------------|----------|--------|--------|
    | ESRGAN      | 64       | 23     | 32     |
    | shallower   | 64       | 16     | 32     |
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 23,
        growth: int = 32,
        scaling: float = 0.2,
        batch_norm: bool = False,
    ):
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale {scale}: ESRGAN is for 4, and for 1 and 2 by folding pixels")
        self.name, self.scale, self.fold = "esrgan", scale, 4 // scale
        self.tiling = "exact" if scale == 4 else "approximate"  # a tile may cut through a fold
        self.conv_first = conv(3 * self.fold**2, channels)
        trunk = (RRDB(channels, growth, scaling, batch_norm=batch_norm) for _ in range(blocks))
        self.RRDB_trunk = nn.Sequential(*trunk)
        self.trunk_conv = conv(channels, channels)
        self.upconv1 = conv(channels, channels)
        self.upconv2 = conv(channels, channels)
        self.HRconv = conv(channels, channels)
        self.conv_last = conv(channels, 3)
        he_init(self.RRDB_trunk, times=0.1)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        h, w = lr.shape[-2:]
        x = F.pad(lr, (0, -w % self.fold, 0, -h % self.fold), mode="replicate")
        x = F.pixel_unshuffle(x, self.fold)  # (B, 3 q^2, h/q, w/q), q = 4/r
        f = self.conv_first(x)  # -> (B, C, h/q, w/q)
        f = self.trunk_conv(self.RRDB_trunk(f)) + f
        for up in (self.upconv1, self.upconv2):
            f = lrelu(up(F.interpolate(f, scale_factor=2)))  # nearest; twice as high and wide
        sr = self.conv_last(lrelu(self.HRconv(f)))  # (B, C, rh, rw) -> (B, 3, rh, rw)
        return sr[..., : self.scale * h, : self.scale * w]  # without the padding

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        return rename_keys(state)


class VGGDiscriminator(nn.Module):
    """Pictures (B, 3, size, size) in [0, 1] -> logits (B, 1); size 128 or 256 (any 4 * 2^n, n > 1).

    Each stage is a 3x3 convolution and a 4x4 one of stride 2, until 4x4 pixels are left: widths C,
    2C, 4C, then 8C. LeakyReLU 0.2 throughout, batch norm after all but the first.

    Raises ValueError for another size.
    """

    def __init__(self, size: int = 128, *, channels: int = 64):
        super().__init__()
        self.size, self.stages = size, size.bit_length() - 3
        if size != 4 << self.stages or self.stages < 2:
            raise ValueError(f"size {size}: the discriminator halves down to 4, so 16, 32, 64, ...")
        cin = 3
        for i in range(self.stages):
            cout = channels * min(2**i, 8)
            self.add_module(f"conv{i}_0", conv(cin, cout, bias=i == 0))
            if i > 0:
                self.add_module(f"bn{i}_0", nn.BatchNorm2d(cout))
            self.add_module(f"conv{i}_1", nn.Conv2d(cout, cout, 4, 2, padding=1, bias=False))
            self.add_module(f"bn{i}_1", nn.BatchNorm2d(cout))
            cin = cout
        self.linear1 = nn.Linear(16 * cin, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, image: Tensor) -> Tensor:
        check_judged(image, "ESRGAN's discriminator", size=self.size)
        layer = self.get_submodule
        f = lrelu(layer("conv0_0")(image))  # (B, 3, S, S) -> (B, C, S, S)
        f = lrelu(layer("bn0_1")(layer("conv0_1")(f)))
        for i in range(1, self.stages):
            f = lrelu(layer(f"bn{i}_0")(layer(f"conv{i}_0")(f)))
            f = lrelu(layer(f"bn{i}_1")(layer(f"conv{i}_1")(f)))  # (B, C 2^i, S/2^(i+1), ...)
        return self.linear2(lrelu(self.linear1(f.flatten(1))))  # (B, 8C, 4, 4) -> (B, 1)


class UNetDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] -> logits (B, 1, H, W), one a pixel. Sides: multiples of 8.

    Three halvings and three bilinear doublings, each doubling joined by a sum to the encoder's maps
    of its size. LeakyReLU 0.2; spectral norm on all layers but the first and the last.
    """

    def __init__(self, *, channels: int = 64):
        super().__init__()
        c = channels
        self.conv0 = conv(3, c)
        for i in (1, 2, 3):
            down = nn.Conv2d(c << i - 1, c << i, 4, 2, padding=1, bias=False)
            self.add_module(f"conv{i}", spectral_norm(down))
        for i, (cin, cout) in enumerate(((8, 4), (4, 2), (2, 1), (1, 1), (1, 1)), 4):
            self.add_module(f"conv{i}", spectral_norm(conv(cin * c, cout * c, bias=False)))
        self.conv9 = conv(c, 1)

    def forward(self, image: Tensor) -> Tensor:
        check_judged(image, "Real-ESRGAN's discriminator", multiple=8)
        layer = self.get_submodule
        maps = [lrelu(self.conv0(image))]  # (B, C, H, W)
        for i in (1, 2, 3):
            maps.append(lrelu(layer(f"conv{i}")(maps[-1])))  # (B, C 2^i, H/2^i, W/2^i)
        f = maps.pop()
        for i in (4, 5, 6):
            f = F.interpolate(f, scale_factor=2, mode="bilinear", align_corners=False)
            f = lrelu(layer(f"conv{i}")(f)) + maps.pop()  # up to (B, C, H, W)
        f = lrelu(layer("conv8")(lrelu(layer("conv7")(f))))
        return self.conv9(f)  # (B, C, H, W) -> (B, 1, H, W)


LAYOUTS = ("esrgan", "old", "basicsr", "ncnn")  # ncnn: numbered, as `foreign.read_ncnn` does
# fmt: off
KEYS = (  # of n blocks: i = 0..n-1, j = 1..3, k = 1..5; each has .weight and .bias
    # here and xinntao/ESRGAN        its older files                     BasicSR
    ("conv_first",                   "model.0",                          "conv_first"),
    ("RRDB_trunk.{i}.RDB{j}.conv{k}","model.1.sub.{i}.RDB{j}.conv{k}.0", "body.{i}.rdb{j}.conv{k}"),
    ("trunk_conv",                   "model.1.sub.{n}",                  "conv_body"),
    ("upconv1",                      "model.3",                          "conv_up1"),
    ("upconv2",                      "model.6",                          "conv_up2"),
    ("HRconv",                       "model.8",                          "conv_hr"),
    ("conv_last",                    "model.10",                         "conv_last"),
)
# fmt: on


def rename_keys(state: Mapping[str, Tensor], layout: str = "esrgan") -> dict[str, Tensor]:
    """The weights of an RRDBNet under the names of `layout`, whichever of LAYOUTS they have.

    Weights of another network come back as they are. Raises ValueError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    blocks = (len(state) // 2 - 6) // 15
    names = {other: _names(blocks, other) for other in LAYOUTS}
    source = next((n for n in names.values() if set(n) == state.keys()), None)
    if source is None:
        return dict(state)
    return {new: state[old] for old, new in zip(source, names[layout], strict=True)}


def sized(state: Mapping[str, Tensor]) -> RRDBNet | None:
    """A new RRDBNet of the size and the scale that weights of one show, by any names of LAYOUTS.

    None where they do not fit one.
    """
    named = rename_keys(state)
    first, dense = named.get("conv_first.weight"), named.get("RRDB_trunk.0.RDB1.conv1.weight")
    if first is None or dense is None or first.dim() != 4 or first.shape[1] not in (3, 12, 48):
        return None
    scale = {3: 4, 12: 2, 48: 1}[first.shape[1]]  # by the pixels that are folded into one
    blocks = (len(named) // 2 - 6) // 15
    model = RRDBNet(scale, channels=len(first), blocks=blocks, growth=len(dense))
    fits = {n: t.shape for n, t in named.items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    return model if fits else None


def _names(blocks: int, layout: str) -> list[str]:
    layers = []
    for row in KEYS:
        key = "" if layout == "ncnn" else row[LAYOUTS.index(layout)]
        block = [(i, j, k) for i in range(blocks) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
        for i, j, k in block if "{i}" in row[0] else [(0, 0, 0)]:
            layers.append(key.format(n=blocks, i=i, j=j, k=k) or str(len(layers)))
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
