"""TTSR, texture transformer (Yang et al., CVPR 2020): textures come from a reference picture.

Sec. 3.1 -> LTE, hard_attention (from the relevance of patches), transfer (textures by the hard
attention), soft_attention, which weighs them in MainNet; Sec. 3.2 -> CSFI2, CSFI3, MainNet.
Discriminator: SRNTT's (Zhang et al., CVPR 2019) without batch norm.
Reference code: researchmm/TTSR (MIT); read, not copied. Weights: links to the authors' drive only.
Q, K and V are LTE's features of three pictures: the enlarged LR picture, the reference blurred in
the same way, the reference. They lie on a grid of cells, one for each LR pixel; a patch is 3x3
cells.
Differs: the authors unfold all patches and multiply them. Here Q and K are multiplied cell by cell,
which takes nine times fewer products, and the products are summed over 3x3 neighbours, in bands of
rows: the same numbers in little memory. Pictures are resized without rounding to 8 bits. The copy
of the LTE that the authors keep for the loss is not a part of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.layers import check_input, check_judged, conv, he_init
from srkit.models.network import Network

# Features are resized by torch's bicubic (a = -3/4), with which the authors' weights were trained.
up2 = nn.Upsample(scale_factor=2, mode="bicubic")
up4 = nn.Upsample(scale_factor=4, mode="bicubic")

VARIANTS = ("base", "hard", "soft", "full")
LIMIT = 2**26  # relevances held at once: 256 MiB in float32, about three times that at the peak


class LTE(nn.Module):
    """Learnable texture extractor: picture (B, 3, H, W) in [0, 1] -> features at 1, 1/2 and 1/4.

    It is VGG-19 up to relu3_1, whose weights it should begin with: the numbers in names are those
    of torchvision's `features`. The normalisation is frozen; as with the authors, it counts among
    the parameters.
    """

    def __init__(self, channels: tuple[int, int, int] = (64, 128, 256)):
        super().__init__()
        c1, c2, c3 = channels
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.sub_mean = conv(3, 3, 1).requires_grad_(False)
        normal = {"weight": torch.diag(1 / std).view(3, 3, 1, 1), "bias": -mean / std}
        self.sub_mean.load_state_dict(normal)
        vgg = nn.Sequential(
            *(conv(3, c1), nn.ReLU(), conv(c1, c1), nn.ReLU(), nn.MaxPool2d(2)),
            *(conv(c1, c2), nn.ReLU(), conv(c2, c2), nn.ReLU(), nn.MaxPool2d(2)),
            *(conv(c2, c3), nn.ReLU()),
        )
        self.slice1, self.slice2, self.slice3 = vgg[:2], vgg[2:7], vgg[7:]  # numbers go on

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lv1 = self.slice1(self.sub_mean(x))  # (B, 3, H, W) -> (B, 64, H, W)
        lv2 = self.slice2(lv1)  # (B, 128, H/2, W/2)
        return lv1, lv2, self.slice3(lv2)  # (B, 256, H/4, W/4)


@torch.no_grad()
def hard_attention(q: Tensor, k: Tensor, *, limit: int = LIMIT) -> Tensor:
    """For each patch of Q (B, C, h, w) the most relevant patch of K (B, C, h', w'): (B, h, w).

    It is argmax_j <q_i, k_j> / (|q_i| |k_j|), the number of that patch's centre, counted row by
    row from 0 to h'w' - 1. In float32 at least: rounded to bfloat16, other patches win.
    limit: how many relevances are held at once.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k = q.to(dtype), k.to(dtype)
    (b, _, h, w), (_, _, kh, kw) = q.shape, k.shape
    # all is black: nothing to find (not asked on a GPU, which would have to be waited for)
    if k.device.type == "cpu" and not (torch.compiler.is_compiling() or k.any()):
        return torch.zeros(b, h, w, dtype=torch.long, device=q.device)
    length = F.avg_pool2d(k.square().sum(1, keepdim=True), 3, 1, 1).sqrt().clamp_min(1e-12)
    q, k = F.pad(q, (1, 1, 1, 1)), F.pad(k, (1, 1, 1, 1))
    best = q.new_full((b, h, w), -torch.inf)
    index = torch.zeros_like(best, dtype=torch.long)
    rows = max(1, isqrt(limit // (b * (w + 2) * (kw + 2))) - 2)  # of Q and of K, without overlap
    for top in range(0, h, rows):
        some_q = q[:, :, top : top + rows + 2].flatten(2).mT
        here = slice(top, min(top + rows, h))
        for first in range(0, kh, rows):
            some_k = k[:, :, first : first + rows + 2].flatten(2)
            with torch.autocast(q.device.type, enabled=False):
                r = some_q @ some_k
            # r: products of cells, by rows and columns of Q and of K; sums over 3x3 make it patches
            r = r.view(b, -1, w + 2, some_k.shape[2] // (kw + 2), kw + 2)
            r = r[:, :-2, :, :-2] + r[:, 1:-1, :, 1:-1] + r[:, 2:, :, 2:]
            r = r[:, :, :-2, :, :-2] + r[:, :, 1:-1, :, 1:-1] + r[:, :, 2:, :, 2:]
            r /= length[:, None, None, 0, first : first + rows]
            value, at = r.flatten(3).max(3)  # (B, rows, w)
            better = value > best[:, here]
            best[:, here] = torch.where(better, value, best[:, here])
            index[:, here] = torch.where(better, at + first * kw, index[:, here])
    return index


def around(cells: Tensor, hard: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """The nine cells around each match: (row offset, column offset, (B, C, h, w)), 0 outside."""
    b, c, _, w = cells.shape
    table = F.pad(cells, (1, 1, 1, 1)).flatten(2)
    centre = (hard // w + 1) * (w + 2) + hard % w + 1
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = (centre + dy * (w + 2) + dx).view(b, 1, -1).expand(-1, c, -1)
            yield dy, dx, table.gather(2, at).view(b, c, *hard.shape[1:])


def soft_attention(q: Tensor, k: Tensor, hard: Tensor) -> Tensor:
    """The cosine of each patch of Q and its match in K by the hard attention: (B, 1, h, w)."""
    matches = torch.stack([cell for *_, cell in around(k, hard)], 2).flatten(1, 2)
    patches = F.unfold(q, 3, padding=1).view_as(matches)
    return F.cosine_similarity(patches, matches, dim=1, eps=1e-12).unsqueeze(1)


def transfer(v: Tensor, hard: Tensor, s: int, *, even_borders: bool = False) -> Tensor:
    """Textures of V (B, C, s h', s w') by the hard attention: (B, C, s h, s w), s = 1, 2 or 4.

    A cell of s x s pixels is the sum of the nine patches that cover it, divided by nine. At borders
    fewer cover it. The authors' weights expect nine there too; with `even_borders` it is divided by
    their number.
    """
    cells = F.pixel_unshuffle(v, s)  # (B, C, s h', s w') -> (B, s^2 C, h', w')
    h, w = hard.shape[1:]
    total = cells.new_zeros(*cells.shape[:2], h + 2, w + 2)
    for dy, dx, cell in around(cells, hard):
        total[:, :, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] += cell
    mean = total[:, :, 1:-1, 1:-1] / 9
    if even_borders:
        mean = mean / transfer(torch.ones_like(cells[:, :1]), hard, 1)
    return F.pixel_shuffle(mean, s)


class ResBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, c: int):
        super().__init__()
        self.conv1, self.conv2 = conv(c, c), conv(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def res_blocks(n: int, c: int) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(c) for _ in range(n)))


def down(c: int) -> nn.Conv2d:
    return nn.Conv2d(c, c, 3, stride=2, padding=1)


def fuse(layer: nn.Module, *features: Tensor) -> Tensor:
    return F.relu(layer(torch.cat(features, 1)))


class SFE(nn.Module):
    """Shallow features of the LR picture: (B, 3, h, w) -> (B, C, h, w)."""

    def __init__(self, blocks: int, c: int):
        super().__init__()
        self.conv_head, self.RBs, self.conv_tail = conv(3, c), res_blocks(blocks, c), conv(c, c)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv_head(x))
        return x + self.conv_tail(self.RBs(x))


class CSFI2(nn.Module):
    """Cross-scale feature integration: h x w and 2h x 2w exchange what they have (Sec. 3.2)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv12, self.conv21 = conv(c, c, 1), down(c)
        self.conv_merge1, self.conv_merge2 = conv(2 * c, c), conv(2 * c, c)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        x12 = F.relu(self.conv12(up2(x1)))
        x21 = F.relu(self.conv21(x2))
        return fuse(self.conv_merge1, x1, x21), fuse(self.conv_merge2, x2, x12)


class CSFI3(nn.Module):
    """The same for three scales: h x w, 2h x 2w and 4h x 4w."""

    def __init__(self, c: int):
        super().__init__()
        self.conv12, self.conv13, self.conv23 = (conv(c, c, 1) for _ in range(3))
        self.conv21, self.conv31_1, self.conv31_2, self.conv32 = (down(c) for _ in range(4))
        self.conv_merge1, self.conv_merge2, self.conv_merge3 = (conv(3 * c, c) for _ in range(3))

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x12 = F.relu(self.conv12(up2(x1)))
        x13 = F.relu(self.conv13(up4(x1)))
        x21 = F.relu(self.conv21(x2))
        x23 = F.relu(self.conv23(up2(x2)))
        x31 = F.relu(self.conv31_2(F.relu(self.conv31_1(x3))))
        x32 = F.relu(self.conv32(x3))
        return (
            fuse(self.conv_merge1, x1, x21, x31),
            fuse(self.conv_merge2, x2, x12, x32),
            fuse(self.conv_merge3, x3, x13, x23),
        )


class MergeTail(nn.Module):
    """Three scales -> RGB (B, 3, 4h, 4w), clipped to [-1, 1]."""

    def __init__(self, c: int):
        super().__init__()
        self.conv13, self.conv23 = conv(c, c, 1), conv(c, c, 1)
        self.conv_merge = conv(3 * c, c)
        self.conv_tail1, self.conv_tail2 = conv(c, c // 2), conv(c // 2, 3, 1)

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        x13 = F.relu(self.conv13(up4(x1)))
        x23 = F.relu(self.conv23(up2(x2)))
        x = fuse(self.conv_merge, x3, x13, x23)
        return self.conv_tail2(self.conv_tail1(x)).clamp(-1, 1)


class MainNet(nn.Module):
    """LR (B, 3, h, w) in [-1, 1], S and T at three scales -> SR (B, 3, 4h, 4w) in [-1, 1].

    Two digits in a name are the stage, 1 to 3, and the branch: its scale is 1, 2 or 4.
    """

    def __init__(self, c: int, blocks: Sequence[int], textures: Sequence[int]):
        super().__init__()
        n0, n1, n2, n3 = blocks
        t1, t2, t3 = textures
        self.SFE = SFE(n0, c)
        self.conv11_head = conv(t3 + c, c)
        self.RB11, self.conv11_tail = res_blocks(n1, c), conv(c, c)
        self.conv12 = conv(c, 4 * c)
        self.conv22_head = conv(t2 + c, c)
        self.ex12 = CSFI2(c)
        self.RB21, self.RB22 = res_blocks(n2, c), res_blocks(n2, c)
        self.conv21_tail, self.conv22_tail = conv(c, c), conv(c, c)
        self.conv23 = conv(c, 4 * c)
        self.conv33_head = conv(t1 + c, c)
        self.ex123 = CSFI3(c)
        self.RB31, self.RB32, self.RB33 = (res_blocks(n3, c) for _ in range(3))
        self.conv31_tail, self.conv32_tail, self.conv33_tail = (conv(c, c) for _ in range(3))
        self.merge_tail = MergeTail(c)

    def forward(self, x: Tensor, s: Tensor, t3: Tensor, t2: Tensor, t1: Tensor) -> Tensor:
        x1 = self.SFE(x)  # (B, C, h, w)
        x1 = x1 + s * self.conv11_head(torch.cat((x1, t3), 1))  # soft attention
        x1 = x1 + self.conv11_tail(self.RB11(x1))

        x2 = F.relu(F.pixel_shuffle(self.conv12(x1), 2))  # (B, C, 2h, 2w)
        x2 = x2 + up2(s) * self.conv22_head(torch.cat((x2, t2), 1))
        y1, y2 = self.ex12(x1, x2)
        x1 = x1 + self.conv21_tail(self.RB21(y1))
        x2 = x2 + self.conv22_tail(self.RB22(y2))

        x3 = F.relu(F.pixel_shuffle(self.conv23(x2), 2))  # (B, C, 4h, 4w)
        x3 = x3 + up4(s) * self.conv33_head(torch.cat((x3, t1), 1))
        y1, y2, y3 = self.ex123(x1, x2, x3)
        x1 = x1 + self.conv31_tail(self.RB31(y1))
        x2 = x2 + self.conv32_tail(self.RB32(y2))
        x3 = x3 + self.conv33_tail(self.RB33(y3))
        return self.merge_tail(x1, x2, x3)


class PlainNet(nn.Module):
    """MainNet with one branch, without cross-scale integration: for the ablation.

    Texture enters once, at 2h x 2w, with `texture` channels; 0 for none.
    """

    def __init__(self, c: int, blocks: Sequence[int], texture: int):
        super().__init__()
        n0, n1, n2, n3 = blocks
        self.SFE = SFE(n0, c)
        self.RB11, self.RB22, self.RB33 = (res_blocks(n, c) for n in (n1, n2, n3))
        self.conv11_tail, self.conv22_tail, self.conv33_tail = (conv(c, c) for _ in range(3))
        self.conv12, self.conv23 = conv(c, 4 * c), conv(c, 4 * c)
        if texture:
            self.conv22_head = conv(texture + c, c)
        self.conv_tail1, self.conv_tail2 = conv(c, c // 2), conv(c // 2, 3, 1)

    def forward(self, x: Tensor, s: Tensor | None = None, *textures: Tensor) -> Tensor:
        x = self.SFE(x)  # (B, C, h, w)
        x = x + self.conv11_tail(self.RB11(x))
        x = F.relu(F.pixel_shuffle(self.conv12(x), 2))  # (B, C, 2h, 2w)
        if s is not None:
            _, t2, _ = textures
            x = x + up2(s) * self.conv22_head(torch.cat((x, t2), 1))
        x = x + self.conv22_tail(self.RB22(x))
        x = F.relu(F.pixel_shuffle(self.conv23(x), 2))  # (B, C, 4h, 4w)
        x = x + self.conv33_tail(self.RB33(x))
        return self.conv_tail2(self.conv_tail1(x)).clamp(-1, 1)


class Attention(NamedTuple):
    """What TTSR found in the reference for each LR pixel.

    hard: (B, h, w), the number of the matching cell of 4x4 reference pixels, see `hard_attention`.
    soft: (B, 1, h, w), how well it matches, 0 to 1, see `soft_attention`.
    t3, t2, t1: the transferred textures (B, 256, h, w), (B, 128, 2h, 2w), (B, 64, 4h, 4w).
    """

    hard: Tensor
    soft: Tensor
    t3: Tensor
    t2: Tensor
    t1: Tensor


def enlarged(x: Tensor) -> Tensor:
    """x four times as large, by bicubic, in [0, 1]."""
    return imresize(x, 4).clamp(0, 1)


class TTSR(Network):
    """LR (B, 3, h, w), reference (B, 3, H', W') in [0, 1] -> SR (B, 3, 4h, 4w), clipped.

    The reference may have any size; rows and columns beyond a multiple of 4 are left out. `stitch`
    makes one of several. Without a reference the picture is its own, as in the paper for Urban100.

    | `variant` | in the paper's ablation                    | network  |
    |-----------|--------------------------------------------|----------|
    | "base"    | Base: no reference                         | PlainNet |
    | "hard"    | + HA: textures as they are found           | PlainNet |
    | "soft"    | + SA: times how well they match            | PlainNet |
    | "full"    | + CSFI: the scales exchange what they have | MainNet  |

    (The paper's step "+ LTE" is to train the LTE, rather than to keep VGG's weights.)

    even_borders: see `transfer`. Raises ValueError for another scale or variant.
    """

    tiling = "approximate"  # a tile without a reference finds its textures only in itself

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        blocks: tuple[int, int, int, int] = (16, 16, 8, 4),
        textures: tuple[int, int, int] = (64, 128, 256),
        even_borders: bool = False,
        variant: str = "full",
    ):
        super().__init__()
        if scale != 4:
            raise ValueError(f"scale {scale}: TTSR is a network for scale 4 only")
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r}: choose one of {', '.join(VARIANTS)}")
        self.name, self.scale, self.variant = "ttsr", scale, variant
        self.even_borders = even_borders
        if variant == "full":
            self.MainNet = MainNet(channels, blocks, textures)
        else:
            self.MainNet = PlainNet(channels, blocks, 0 if variant == "base" else textures[1])
        if variant != "base":
            self.LTE = LTE(textures)

    def attend(self, lr_up: Tensor, ref: Tensor, ref_blurred: Tensor) -> Attention:
        """The attention of pictures for Q, V and K, in [0, 1] and with sides of multiples of 4."""
        q, k = self.LTE(lr_up)[2], self.LTE(ref_blurred)[2]
        hard = hard_attention(q, k)
        soft = soft_attention(q, k, hard)
        textures = zip(self.LTE(ref), (4, 2, 1), strict=True)
        t1, t2, t3 = (transfer(v, hard, s, even_borders=self.even_borders) for v, s in textures)
        return Attention(hard, soft, t3, t2, t1)

    def forward(
        self, lr: Tensor, ref: Tensor | None = None, *, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Attention]:
        """return_attention: return (SR, Attention).

        Raises ValueError unless there is one reference for each picture, and for a reference or
        attention of the variant "base", which has none.
        """
        check_input(lr, self.name)
        if self.variant == "base":
            if ref is not None or return_attention:
                raise ValueError("TTSR's variant 'base' takes no reference and has no attention")
            return (self.MainNet(2 * lr - 1) + 1) / 2  # (B, 3, h, w) -> (B, 3, 4h, 4w)
        lr_up = enlarged(lr)
        if ref is None:
            ref = lr_up
        check_input(ref, f"{self.name}'s reference", min_size=4)
        if len(ref) != len(lr):
            raise ValueError(
                f"{self.name} needs a reference for each picture: got {len(lr)} pictures and "
                f"{len(ref)} references. For several references of one picture use stitch."
            )
        ref = ref[..., : ref.shape[-2] // 4 * 4, : ref.shape[-1] // 4 * 4]
        ref_blurred = enlarged(imresize(ref, 1 / 4).clamp(0, 1))
        attention = self.attend(lr_up, ref, ref_blurred)
        _, soft, *textures = attention
        if self.variant == "hard":
            soft = torch.ones_like(soft)
        sr = (self.MainNet(2 * lr - 1, soft, *textures) + 1) / 2  # -> (B, 3, 4h, 4w)
        return (sr, attention) if return_attention else sr


def stitch(references: Sequence[Tensor]) -> Tensor:
    """Several references (B, 3, H_i, W_i) as one, side by side on black, as for CUFED5's."""
    height = max(r.shape[-2] for r in references)
    height += -height % 4
    return torch.cat(
        [F.pad(r, (0, -r.shape[-1] % 4, 0, height - r.shape[-2])) for r in references], -1
    )


class Discriminator(nn.Module):
    """Pictures (B, 3, size, size) in [0, 1] -> logits (B, 1), for WGAN-GP: without batch norm.

    Ten 3x3 convolutions, every second of stride 2, and two linear layers; LeakyReLU 0.2; [-1, 1]
    inside. Weights start as He et al.'s, because PyTorch's own would let a millionth of a picture
    through.

    Raises ValueError for a size that is no multiple of 32.
    """

    def __init__(self, *, size: int = 160, width: int = 32):
        super().__init__()
        if size < 32 or size % 32:
            raise ValueError(f"size {size}: the discriminator halves five times, use 32, 64, ...")
        self.size = size
        cin = 3
        for n in range(10):
            cout = width * 2 ** (n // 2)  # 32, 32, 64, 64, ... 512, 512
            self.add_module(f"conv{n + 1}", nn.Conv2d(cin, cout, 3, 1 + n % 2, padding=1))
            cin = cout
        self.fc1 = nn.Linear(cin * (size // 32) ** 2, 1024)
        self.fc2 = nn.Linear(1024, 1)
        he_init(self, slope=0.2)

    def forward(self, x: Tensor) -> Tensor:
        check_judged(x, "TTSR's discriminator", size=self.size)
        f = 2 * x - 1
        for n in range(1, 11):
            f = F.leaky_relu(self.get_submodule(f"conv{n}")(f), 0.2)
        return self.fc2(F.leaky_relu(self.fc1(f.flatten(1)), 0.2))  # (B, 512 * 5 * 5) -> (B, 1)
