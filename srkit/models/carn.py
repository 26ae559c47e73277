"""CARN and CARN-M, Cascading Residual Network (Ahn et al., ECCV 2018), and PCARN(-M), by Ahn, Kang
and Sohn ("Efficient Deep Neural Network for Photo-realistic Image Super-Resolution", arXiv 2019).

"Cascading residual network" -> cascade and CARN; "Efficient CARN" -> `mobile=True`, where the three
blocks of a cascading block are one and the same residual-E block (grouped convolutions).
Reference code: nmhkahn/CARN-pytorch and nmhkahn/PCARN-pytorch (both MIT), weights included; read,
not copied.
Differs: the width is free, and a network for one scale has one head, named as in the network for
three scales.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.layers import MeanShift, check_input, conv
from srkit.models.network import Network


def grouped(cin: int, cout: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, padding=1, groups=groups)


def cascade(x: Tensor, blocks: Sequence[nn.Module], fuses: Sequence[nn.Module]) -> Tensor:
    """The last o_k of o_0 = x; b_k = block_k(o_{k-1}); o_k = fuse_k([x, b_1, ..., b_k]).

    Each fuse is a 1x1 convolution and a ReLU. It reads the blocks' outputs b, not the earlier o.
    Without fuses the blocks simply follow each other.
    """
    if not fuses:
        return nn.Sequential(*blocks)(x)
    out, outputs = x, [x]
    for block, fuse in zip(blocks, fuses, strict=True):
        outputs.append(block(out))  # (B, C, h, w)
        out = fuse(torch.cat(outputs, 1))  # (B, (k+1)C, h, w) -> (B, C, h, w)
    return out


class Body(nn.Module):
    """Layers in a row, named `body` as in the authors' files."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Residual(Body):
    """relu(x + body(x)): the activation comes after the sum."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def residual(channels: int) -> Residual:
    return Residual(conv(channels, channels), nn.ReLU(), conv(channels, channels))


def residual_e(channels: int, groups: int) -> Residual:
    """CARN-M's block: two grouped convolutions, then a 1x1 that mixes the groups."""
    return Residual(
        grouped(channels, channels, groups),
        nn.ReLU(),
        grouped(channels, channels, groups),
        nn.ReLU(),
        conv(channels, channels, 1),
    )


def fuse(parts: int, channels: int) -> Body:
    """CARN's 1x1 fusion of the maps of `parts` blocks, with a ReLU."""
    return Body(conv(parts * channels, channels, 1), nn.ReLU())


def fuse_linear(parts: int, channels: int) -> nn.Conv2d:
    """PCARN's fusion, without a ReLU."""
    return conv(parts * channels, channels, 1)


def head(scale: int, channels: int, groups: int) -> Body:
    """Sub-pixel upsampling, here with a ReLU between convolution and shuffle."""
    layers = []
    for s in [3] if scale == 3 else [2] * (scale // 2):
        layers += [grouped(channels, s * s * channels, groups), nn.ReLU(), nn.PixelShuffle(s)]
    return Body(*layers)


class CascadingBlock(nn.Module):
    """Three residual blocks in cascade; in CARN-M one block that is used three times."""

    def __init__(
        self,
        channels: int,
        groups: int,
        mobile: bool,
        cascading: bool,
        fuse: Callable[[int, int], Any] = fuse,
    ):
        super().__init__()
        if mobile:
            self.b1 = residual_e(channels, groups)
        else:
            self.b1, self.b2, self.b3 = (residual(channels) for _ in range(3))
        if cascading:
            self.c1, self.c2, self.c3 = (fuse(parts, channels) for parts in (2, 3, 4))
        self.mobile, self.cascading = mobile, cascading

    def forward(self, x: Tensor) -> Tensor:
        blocks = [self.b1] * 3 if self.mobile else [self.b1, self.b2, self.b3]
        return cascade(x, blocks, [self.c1, self.c2, self.c3] if self.cascading else [])


class CARN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    conv -> three cascading blocks, in cascade themselves -> the head of the scale -> conv.

    heads: the scales that one network serves, (2, 3, 4) in the paper; None: `scale` alone.
    local, across: for the ablation, False leaves out the cascades inside the blocks, or that of the
    blocks.

    | variant | channels | groups | mobile |
    |---------|----------|--------|--------|
    | CARN    | 64       | 1      | no     |
    | CARN-M  | 64       | 4      | yes    |

    Raises ValueError for a scale that is not among the heads, and for heads beside 2, 3 and 4.
    """

    tiling = "exact"  # all layers are local, so tiles give what the whole picture gives
    fuse = staticmethod(fuse)

    def __init__(
        self,
        scale: int = 4,
        *,
        heads: Sequence[int] | None = None,
        channels: int = 64,
        groups: int = 1,
        mobile: bool = False,
        local: bool = True,
        across: bool = True,
    ):
        super().__init__()
        heads = tuple(heads or (scale,))
        if scale not in heads or not {2, 3, 4}.issuperset(heads):
            raise ValueError(f"scale {scale} of heads {heads}: CARN has heads for 2, 3 and 4")
        self.name, self.scale, self.across = "carn", scale, across
        self.sub_mean = nn.Sequential(OrderedDict(shifter=MeanShift(1.0, -1)))
        self.add_mean = nn.Sequential(OrderedDict(shifter=MeanShift(1.0, +1)))
        self.entry = conv(3, channels)
        self.b1, self.b2, self.b3 = (
            CascadingBlock(channels, groups, mobile, local, self.fuse) for _ in range(3)
        )
        if across:
            self.c1, self.c2, self.c3 = (self.fuse(parts, channels) for parts in (2, 3, 4))
        self.upsample = nn.ModuleDict({f"up{s}": head(s, channels, groups) for s in heads})
        self.exit = conv(channels, 3)
        self.idle = len(heads) > 1  # a step gives the other heads no gradient

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        """scale: another scale than `self.scale`. Raises ValueError if there is no head for it."""
        check_input(lr, self.name)
        up = f"up{scale or self.scale}"
        if up not in self.upsample:
            raise ValueError(f"scale {scale}: this network has {', '.join(self.upsample)}")
        f = self.trunk(self.entry(self.sub_mean(lr)))  # (B, 3, h, w) -> (B, C, h, w)
        f = self.upsample[up](f)  # (B, C, h, w) -> (B, C, rh, rw)
        return self.add_mean(self.exit(f))  # (B, 3, rh, rw)

    def trunk(self, f: Tensor) -> Tensor:
        """The three cascading blocks: (B, C, h, w) -> (B, C, h, w)."""
        fuses = [self.c1, self.c2, self.c3] if self.across else []
        return cascade(f, [self.b1, self.b2, self.b3], fuses)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The authors' tensors by our names, without the heads of other scales.

        Their network for one scale calls its head `up`, without a number.
        """
        state = {
            name.replace("upsample.up.", f"upsample.up{scale}."): state[name] for name in state
        }
        other = tuple(f"upsample.up{s}." for s in (2, 3, 4) if s != scale)
        return {name: tensor for name, tensor in state.items() if not name.startswith(other)}


class PCARN(CARN):
    """CARN with two changes: no ReLU after the 1x1 fusions, and a skip from the entry to the head.

    Its authors train it for photo-realism, first by L1, then against a discriminator. PCARN-M is
    groups=4, mobile=True, as CARN-M is.
    """

    fuse = staticmethod(fuse_linear)

    def __init__(
        self,
        scale: int = 4,
        *,
        heads: Sequence[int] | None = None,
        channels: int = 64,
        groups: int = 1,
        mobile: bool = False,
    ):
        super().__init__(scale, heads=heads, channels=channels, groups=groups, mobile=mobile)
        self.name = "pcarn"

    def trunk(self, f: Tensor) -> Tensor:
        return super().trunk(f) + f

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The authors' tensors by our names, without the heads of other scales.

        The file of a mobile network holds its shared block three times, b1, b2 and b3 of each
        cascading block. Raises ValueError where the three are not equal.
        """
        state = CARN.from_authors(state, scale)
        if "b1.b1.pw.weight" in state:
            for block, other, name in product(("b1", "b2", "b3"), ("b2", "b3"), list(state)):
                if name.startswith(prefix := f"{block}.{other}."):
                    first = state.get(name.replace(prefix, f"{block}.b1."))
                    if first is None or not torch.equal(state.pop(name), first):
                        raise ValueError(f"{name} should be equal to that of {block}.b1")
        for theirs, ours in (("conv1", "body.0"), ("conv2", "body.2"), ("pw", "body.4")):
            state = {name.replace(f".{theirs}.", f".{ours}."): state[name] for name in state}
        return state
