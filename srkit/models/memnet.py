"""MemNet, a persistent memory network (Tai et al., ICCV 2017).

Sec. 3.1 -> head, out and the shortcut of MemNet; 3.2 "Memory block" -> MemoryBlock; 3.3
"Multi-supervised MemNet" -> `supervised`. The ablations MemNet-NL and MemNet-NS ->
`long_term=False` and `short_term=False`.
Reference code: tyshiwo/MemNet (Caffe, no licence stated), weights included; read, not copied.
Works on Y. RGB gets its Cb and Cr by bicubic interpolation.
Differs: the ensemble's weights start at 1/M; in Caffe they start at 1, which adds up M pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.colour import to_y, with_y
from srkit.image.resize import imresize
from srkit.models.layers import check_input, conv, he_init
from srkit.models.network import Network


class MemoryBlock(nn.Module):
    """A recursive unit, then a gate that mixes its states with the outputs of earlier blocks.

    H_0 = B_{m-1}; H_r = H_{r-1} + conv_b(relu(bn_b,r(conv_a(relu(bn_a,r(H_{r-1}))))));
    B_m = gate(relu(bn([B_0, ..., B_{m-1}, H_1, ..., H_R]))), gate a 1x1 convolution.
    The recursions share two convolutions (unless `shared=False`). Each has batch norms of its own,
    because their statistics differ.
    """

    def __init__(
        self, channels: int, recursions: int, memories: int, *, short_term: bool, shared: bool
    ):
        super().__init__()
        self.short_term = short_term
        own = 1 if shared else recursions
        self.conv_a = nn.ModuleList(conv(channels, channels) for _ in range(own))
        self.conv_b = nn.ModuleList(conv(channels, channels) for _ in range(own))
        self.bn_a = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(recursions))
        self.bn_b = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(recursions))
        joined = (memories + (recursions if short_term else 1)) * channels
        self.gate_bn = nn.BatchNorm2d(joined)
        self.gate = conv(joined, channels, 1)

    def forward(self, h: Tensor, long_term: list[Tensor]) -> Tensor:
        states = []
        for r, (bn_a, bn_b) in enumerate(zip(self.bn_a, self.bn_b, strict=True)):
            conv_a, conv_b = self.conv_a[r % len(self.conv_a)], self.conv_b[r % len(self.conv_b)]
            h = h + conv_b(F.relu(bn_b(conv_a(F.relu(bn_a(h))))))  # (B, C, H, W)
            states.append(h)
        joined = torch.cat([*long_term, *(states if self.short_term else states[-1:])], 1)
        return self.gate(F.relu(self.gate_bn(joined)))  # (B, (m+R)C, H, W) -> (B, C, H, W)


class MemNet(Network):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped; any whole r, same weights.

    It works on Y: RGB is enlarged by bicubic, its Y goes through `luma` at full size, by `to_y` and
    `with_y`, and Cb and Cr stay. Depth 1 + M(2R + 1) + 1.

    | variant     | C `channels` | M `blocks` | R `recursions` | depth |
    |-------------|--------------|------------|----------------|-------|
    | M6R6        | 64           | 6          | 6              | 80    |
    | M10R10      | 64           | 10         | 10             | 212   |
    | MemNet-tiny | 32           | 3          | 3              | 23    |

    - supervised: each block makes a picture, and the output is their weighted sum; False takes the
      picture of the last block alone.
    - long_term, short_term, shared: see `MemoryBlock`; False leaves out the outputs of earlier
      blocks, all states but the last, the sharing of convolutions.

    Raises ValueError for a scale that is no whole number from 2.
    """

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: int = 6,
        recursions: int = 6,
        supervised: bool = True,
        long_term: bool = True,
        short_term: bool = True,
        shared: bool = True,
    ):
        super().__init__()
        if not isinstance(scale, int) or scale < 2:
            raise ValueError(f"scale {scale!r}: MemNet enlarges by a whole number from 2")
        self.name, self.scale, self.long_term = "memnet", scale, long_term
        self.head_bn, self.head = nn.BatchNorm2d(1), conv(1, channels)
        self.blocks = nn.ModuleList(
            MemoryBlock(
                channels, recursions, m if long_term else 0, short_term=short_term, shared=shared
            )
            for m in range(1, blocks + 1)
        )
        pictures = blocks if supervised else 1
        self.out_bn = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(pictures))
        self.out = conv(channels, 1)  # the same for all pictures
        if supervised:
            self.ensemble = nn.Parameter(torch.full((blocks,), 1 / blocks))
        he_init(self)

    def luma(self, y: Tensor) -> list[Tensor]:
        """Enlarged Y (B, 1, H, W) -> [y_1, ..., y_M, their weighted sum], (B, 1, H, W) each.

        The last is the output. The paper's loss is the sum of all their squared errors. Without
        `supervised` there is [y_M] alone.
        """
        memories = [self.head(F.relu(self.head_bn(y)))]  # B_0 (B, C, H, W)
        for block in self.blocks:
            memories.append(block(memories[-1], memories if self.long_term else []))
        last = memories[-len(self.out_bn) :]
        pictures = [
            y + self.out(F.relu(bn(b))) for bn, b in zip(self.out_bn, last, strict=True)
        ]  # (B, C, H, W) -> (B, 1, H, W)
        if len(pictures) > 1:
            weighed = (w * p for w, p in zip(self.ensemble, pictures, strict=True))
            pictures.append(sum(weighed, torch.zeros(())))
        return pictures

    def forward(
        self, lr: Tensor, scale: int | None = None, *, return_pictures: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """scale: another r than `self.scale`. return_pictures: return what `luma` gives as well."""
        check_input(lr, self.name)
        up = imresize(lr, scale or self.scale)  # (B, 3, h, w) -> (B, 3, rh, rw)
        pictures = self.luma(to_y(up))
        sr = with_y(up, pictures[-1])
        return (sr, pictures) if return_pictures else sr

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Tensors of the authors' .caffemodel by our names.

        Caffe keeps a batch norm in two layers: `bn_` has sums of means and of variances, and what
        to divide them by, `scale_` has weight and bias. A shared convolution is stored once for
        each recursion.

        Raises ValueError if these copies of a convolution differ.
        """
        if "bn_conv1.weight" not in state:
            return state
        own = {}

        def norm(name: str, layer: str) -> None:
            sums = (state[f"bn_{layer}.{blob}"] for blob in ("weight", "bias"))
            mean, var = (total / state[f"bn_{layer}.2"] for total in sums)
            own[f"{name}.weight"] = state[f"scale_{layer}.weight"]
            own[f"{name}.bias"] = state[f"scale_{layer}.bias"]
            own[f"{name}.running_mean"], own[f"{name}.running_var"] = mean, var
            own[f"{name}.num_batches_tracked"] = torch.tensor(0, device="cpu")

        def shared(name: str, layers: list[str]) -> None:
            for part in ("weight", "bias"):
                own[f"{name}.{part}"], *others = (state[f"{layer}.{part}"] for layer in layers)
                if not all(torch.equal(other, own[f"{name}.{part}"]) for other in others):
                    raise ValueError(f"{layers[0]} and its recursions should share one {part}")

        norm("head_bn", "conv1")
        shared("head", ["conv1"])
        blocks = sum(name.startswith("conv_transition_") for name in state) // 2
        recursions = sum(name.startswith("conv01_") for name in state) // 4
        for m in range(blocks):
            for ab in "ab":
                layers = [f"conv{m + 1:02}_{r + 1:02}_{ab}" for r in range(recursions)]
                shared(f"blocks.{m}.conv_{ab}.0", layers)
                for r, layer in enumerate(layers):
                    norm(f"blocks.{m}.bn_{ab}.{r}", layer)
            norm(f"blocks.{m}.gate_bn", f"conv_transition_{m + 1:02}")
            shared(f"blocks.{m}.gate", [f"conv_transition_{m + 1:02}"])
            norm(f"out_bn.{m}", f"conv_end_{m + 1:02}")
        shared("out", [f"conv_end_{m + 1:02}" for m in range(blocks)])
        weights = [state[f"weight_output_end_{m + 1:02}.weight"] for m in range(blocks)]
        own["ensemble"] = torch.cat([weight.flatten() for weight in weights])
        return own
