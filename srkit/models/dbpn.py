"""DBPN, Deep Back-Projection Networks (Haris et al., CVPR 2018; won NTIRE 2018 x8).

Sec. 3.1 "Projection units" -> Unit; 3.2 "Dense projection units" -> its `maps`; 3.3 "Network
architecture" -> DBPN. The recurrent, residual variant is the extension's (arXiv 1904.05677, 2019).
Reference code: alterzero/DBPN-Pytorch (MIT) and DBPN-caffe; read, not copied. Their weights lie on
cloud drives only.
Differs: the residual variant adds MATLAB's bicubic inside the network, where the authors add
Pillow's outside (they differ at the border). Their PIRM discriminator is not here: its perceptual
terms trained nothing.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from srkit.image.colour import to_y, with_y
from srkit.image.resize import imresize
from srkit.models.layers import check_input, he_init
from srkit.models.network import Network

# Kernel, stride and padding by r. Transposed: (n - 1) stride - 2 padding + kernel = r n
GEOMETRY = {2: (6, 2, 2), 4: (8, 4, 2), 8: (12, 8, 2)}


def conv(cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution and a PReLU with one slope for all channels."""
    layer = nn.Conv2d(cin, cout, kernel, stride, padding)
    return nn.Sequential(OrderedDict(conv=layer, act=nn.PReLU()))


def deconv(cin: int, cout: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(cin, cout, kernel, stride, padding)
    return nn.Sequential(OrderedDict(deconv=layer, act=nn.PReLU()))


class Unit(nn.Module):
    """Projection unit: y + p'(e), with y = p(x) and e = q(y) - x, the error of going back.

    kind: "up", where p and p' enlarge r times and q shrinks, or "down", the other way round.
    maps: how many maps it reads; a 1x1 convolution first mixes them to one, x.
    feedback: False takes q(y) in place of e, in a unit of the same size: an ablation.
    """

    def __init__(self, kind: str, channels: int, scale: int, maps: int, feedback: bool):
        super().__init__()
        self.kind, self.maps, self.feedback = kind, maps, feedback
        if maps > 1:
            self.conv = conv(maps * channels, channels, 1)
        there, back = (deconv, conv) if kind == "up" else (conv, deconv)
        for i, layer in enumerate((there, back, there), 1):
            self.add_module(f"{kind}_conv{i}", layer(channels, channels, *GEOMETRY[scale]))

    def forward(self, *maps: Tensor) -> Tensor:
        p, q, p2 = (self.get_submodule(f"{self.kind}_conv{i}") for i in (1, 2, 3))
        x = torch.cat(maps, 1)  # k maps (B, C, h, w) -> (B, kC, h, w)
        if self.maps > 1:
            x = self.conv(x)  # -> (B, C, h, w)
        y = p(x)  # up: (B, C, h, w) -> (B, C, rh, rw); down: (B, C, rh, rw) -> (B, C, h, w)
        e = q(y) - x if self.feedback else q(y)
        return y + p2(e)


class DBPN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 2, 4 or 8.

    Two convolutions -> T up and T-1 down units in turn -> one convolution over all T maps of full
    size. dense: a unit reads all maps of the other size so far, the newest first.

    | variant         | n0 `features` | nR `channels` | T `stages` | other                       |
    |-----------------|---------------|---------------|------------|-----------------------------|
    | D-DBPN          | 256           | 64            | 7          |                             |
    | DBPN-LL         | 256           | 64            | 10         |                             |
    | DBPN-RES-MR64-3 | 256           | 64            | 7          | rounds=3, residual          |
    | DBPN-SS         | 64            | 18            | 2          | dense=False, colours=1      |
    | DBPN-S, -M, -L  | 128           | 32            | 2, 4, 6    | dense=False, colours=1      |
    | D-DBPN-L        | 128           | 32            | 6          | colours=1                   |

    - rounds: how many times all units run, each time on what the last down unit gave. With more
      than one, only the last map of each round is read at the end.
    - last_only: read the newest map of full size alone.
    - residual: add the bicubic picture.
    - colours: with 1 the network works on Y, its last convolution is 1x1, and RGB goes through
      `to_y` and `with_y`: Cb and Cr are enlarged by bicubic.
    - feedback: see `Unit`.
    - checkpointing: training keeps only the maps between units, and computes what is inside again
      in the backward pass. D-DBPN x8 then needs a third of the memory, and one more forward pass.

    Raises ValueError for another scale, other colours, and last_only with more than one round.
    """

    memory_format = torch.contiguous_format

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        features: int = 256,
        stages: int = 7,
        dense: bool = True,
        rounds: int = 1,
        last_only: bool = False,
        residual: bool = False,
        colours: int = 3,
        feedback: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        if scale not in GEOMETRY:
            raise ValueError(f"scale {scale}: DBPN is for {', '.join(map(str, GEOMETRY))}")
        if colours not in (1, 3):
            raise ValueError(f"colours={colours}: choose 3 (RGB) or 1 (Y)")
        if last_only and rounds > 1:
            raise ValueError(
                f"last_only reads one map, rounds={rounds} the last of each: choose one"
            )
        self.name, self.scale, self.stages, self.dense = "dbpn", scale, stages, dense
        self.rounds, self.residual, self.colours = rounds, residual, colours
        self.newest, self.checkpointing = last_only or rounds > 1, checkpointing
        self.feat0 = conv(colours, features, 3, 1, 1)
        self.feat1 = conv(features, channels, 1)
        for t in range(1, stages + 1):
            maps = t - 1 if dense else 1  # what up_t reads; down_t reads one more
            self.add_module(f"up{t}", Unit("up", channels, scale, maps, feedback))
            if t < stages:
                maps = t if dense else 1
                self.add_module(f"down{t}", Unit("down", channels, scale, maps, feedback))
        read = rounds if self.newest else stages  # maps
        kernel = 3 if colours == 3 else 1
        output = nn.Conv2d(read * channels, colours, kernel, padding=kernel // 2)
        self.output_conv = nn.Sequential(OrderedDict(conv=output))
        he_init(self)

    def project(self, low: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Runs all units: (B, C, h, w) -> the maps of full and of LR size, newest first."""
        highs, lows = [], [low]
        for t in range(1, self.stages + 1):
            highs.insert(0, self.unit(f"up{t}", lows))  # (B, C, rh, rw)
            if t < self.stages:
                low = self.unit(f"down{t}", highs)  # (B, C, h, w)
                lows = [low] if t == 1 else [low, *lows]  # up1 alone reads the first features
        return highs, lows

    def unit(self, name: str, maps: list[Tensor]) -> Tensor:
        unit, maps = self.get_submodule(name), maps if self.dense else maps[:1]
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(unit, *maps, use_reentrant=False)
        return unit(*maps)

    def network(self, x: Tensor) -> Tensor:
        """(B, 3 or 1, h, w) -> (B, 3 or 1, rh, rw), by `colours`; Y is BT.601's, [16, 235]/255."""
        low = self.feat1(self.feat0(x))  # -> (B, C, h, w)
        read = []
        for _ in range(self.rounds):
            highs, (low, *_) = self.project(low)
            read += highs[:1] if self.newest else highs
        y = self.output_conv(torch.cat(read, 1))  # from (B, TC, rh, rw)
        return y + imresize(x, self.scale) if self.residual else y

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        if self.colours == 3:
            return self.network(lr)
        up = imresize(lr, self.scale)  # (B, 3, h, w) -> (B, 3, rh, rw)
        return with_y(up, self.network(to_y(lr)))
