"""RDN, Residual Dense Network (Zhang et al., CVPR 2018).

Sec. 3.2 "Residual dense block" -> RDB; 3.1 and 3.3 "Dense feature fusion" -> RDN; the ablation of
Sec. 5 -> `contiguous` (CM), `local_residual` (LRL), `global_fusion` (GFF).
Reference code: yulunzhang/RDN (Torch7, no licence stated), and the port of EDSR-PyTorch (MIT),
whose tensor names are used here; both read, not copied. The authors' weights are on cloud drives
only. Pictures are in 0..255 inside (`rgb_range`). Files of yjn870's port, [0, 1], are converted.
IdealoRDN is the network of idealo/image-super-resolution (Apache-2.0), with trained weights.
Differs: no mean shift, as in the ports; the authors' Torch7 network subtracts DIV2K's mean.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

from srkit.models.layers import Upsampler, check_input, conv
from srkit.models.network import Network


class RDB(nn.Module):
    """Residual dense block: x + LFF([x, y_1, ..., y_C]), y_c = relu(conv([x, y_1, ..., y_{c-1}])).

    Each 3x3 convolution reads the block's input and all earlier outputs (contiguous memory), and
    adds `growth` channels; a 1x1 convolution, the local feature fusion, brings them back to G0.
    With `contiguous=False` each reads the output before it alone, and LFF the last one.
    """

    def __init__(
        self, channels: int, growth: int, layers: int, contiguous: bool, local_residual: bool
    ):
        super().__init__()
        self.contiguous, self.local_residual = contiguous, local_residual
        self.convs = nn.ModuleList()
        seen = channels
        for _ in range(layers):
            layer = nn.Sequential(conv(seen, growth), nn.ReLU(inplace=True))
            self.convs.append(nn.Sequential(OrderedDict(conv=layer)))  # named as the port names it
            seen = seen + growth if contiguous else growth
        self.LFF = conv(seen, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = x
        for layer in self.convs:
            y = layer(f)  # (B, G0 + (c-1)G, h, w) -> (B, G, h, w)
            f = torch.cat([f, y], 1) if self.contiguous else y
        f = self.LFF(f)  # (B, G0 + CG, h, w) -> (B, G0, h, w)
        return x + f if self.local_residual else f


class RDN(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; r = 2, 3 or 4.

    Two convolutions -> D blocks in a row, all their outputs joined by 1x1 and 3x3 convolutions
    (global feature fusion), added to the FIRST features -> upsampler, convolution.

    | variant        | G0 `channels` | G `growth` | D `blocks` | C `layers` |
    |----------------|---------------|------------|------------|------------|
    | RDN (config B) | 64            | 64         | 16         | 8          |
    | RDN-A          | 64            | 32         | 20         | 6          |
    | RDN-tiny       | 32            | 16         | 4          | 3          |

    - up: channels after the upsampler. None is G0, as in the paper; EDSR-PyTorch's port takes G,
      which makes RDN-A a smaller network.
    - contiguous, local_residual, global_fusion: False leaves them out, for ablations.

    Raises ValueError for a scale that `Upsampler` has not.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        growth: int = 64,
        blocks: int = 16,
        layers: int = 8,
        up: int | None = None,
        contiguous: bool = True,
        local_residual: bool = True,
        global_fusion: bool = True,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        up = up or channels
        self.name, self.scale, self.rgb_range = "rdn", scale, rgb_range
        self.global_fusion = global_fusion
        self.SFENet1 = conv(3, channels)
        self.SFENet2 = conv(channels, channels)
        self.RDBs = nn.ModuleList(
            RDB(channels, growth, layers, contiguous, local_residual) for _ in range(blocks)
        )
        fused = blocks * channels if global_fusion else channels
        self.GFF = nn.Sequential(conv(fused, channels, 1), conv(channels, channels))
        self.UPNet = nn.Sequential(*Upsampler(scale, up), conv(up, 3))
        self.UPNet[0] = conv(channels, (9 if scale == 3 else 4) * up)

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        f0 = self.SFENet1(lr * self.rgb_range)  # (B, 3, h, w) -> (B, G0, h, w)
        f, outputs = self.SFENet2(f0), []
        for block in self.RDBs:
            f = block(f)
            outputs.append(f)
        if self.global_fusion:
            f = torch.cat(outputs, 1)  # (B, D G0, h, w)
        f = self.GFF(f) + f0  # -> (B, G0, h, w)
        return self.UPNet(f) / self.rgb_range  # (B, G0, h, w) -> (B, 3, rh, rw)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Tensors of yjn870's port, which computes in [0, 1], by our names and for 0..255.

        The network without biases passes a factor of the picture on, so only biases need it.
        """
        if "sfe1.weight" not in state:
            return state
        last = 4 if "upscale.2.weight" in state else 2  # of the file, which may be of another scale

        def ours(name: str) -> str:
            name = re.sub(r"^sfe(\d)", r"SFENet\1", name)
            name = re.sub(r"^rdbs\.(\d+)\.layers\.(\d+)\.conv", r"RDBs.\1.convs.\2.conv.0", name)
            name = re.sub(r"^rdbs\.(\d+)\.lff", r"RDBs.\1.LFF", name)
            name = re.sub(r"^upscale", "UPNet", re.sub(r"^gff", "GFF", name))
            return re.sub(r"^output", f"UPNet.{last}", name)

        return {ours(n): t * 255 if n.endswith("bias") else t for n, t in state.items()}


class IdealoRDN(RDN):
    """idealo's RDN: the paper's trunk, then another way up. [0, 1] in, inside and out.

    At the size of LR: 5x5 to 64 channels and ReLU, 3x3 to 32 and ReLU, 3x3 to 3 r^2. The pixels of
    these maps are repeated r times, and a 3x3 convolution makes the picture. Defaults: the network
    that idealo calls "psnr-small".

    Raises ValueError for a scale that `Upsampler` has not.
    """

    def __init__(
        self,
        scale: int = 2,
        *,
        channels: int = 64,
        growth: int = 64,
        blocks: int = 10,
        layers: int = 3,
    ):
        super().__init__(
            scale, channels=channels, growth=growth, blocks=blocks, layers=layers, rgb_range=1.0
        )
        self.name = "rdn_small"
        self.UPNet = nn.Sequential(
            conv(channels, 64, 5),
            nn.ReLU(),
            conv(64, 32),
            nn.ReLU(),
            conv(32, 3 * scale**2),
            nn.Upsample(scale_factor=scale),  # nearest
            conv(3 * scale**2, 3),
        )

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Tensors by the names of idealo's Keras layers (F_m1/kernel, ...) by our names.

        Kernels must have been turned to PyTorch's (out, in, height, width).
        """
        layers = {"F_m1": "SFENet1", "F_0": "SFENet2", "GFF_1": "GFF.0", "GFF_2": "GFF.1"}
        layers |= {"UPN1": "UPNet.0", "UPN2": "UPNet.2", "UPN3": "UPNet.4", "SR": "UPNet.6"}

        def ours(name: str) -> str:
            layer, _, part = name.partition("/")
            kind, *numbers = layer.split("_")
            if layer in layers:
                layer = layers[layer]
            elif kind == "F":  # F_d_c: block d, convolution c, both from 1
                layer = "RDBs.{}.convs.{}.conv.0".format(*(int(n) - 1 for n in numbers))
            elif kind == "LFF":
                layer = f"RDBs.{int(numbers[0]) - 1}.LFF"
            return f"{layer}.{'weight' if part == 'kernel' else part}"

        return {ours(n): t for n, t in state.items()} if "F_m1/kernel" in state else state
