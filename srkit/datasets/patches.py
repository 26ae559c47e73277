"""Crops for training, cut from pictures that live in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from srkit.images import modcrop
from srkit.resize import imresize


class Patches:
    """Aligned low- and high-resolution crops, flipped and turned at random.

    `pictures` are uint8 tensors (3, H, W). Each is cut to a multiple of `scale`, and its LR twin
    made once by `imresize` (8 bits, the border rule of the benchmark files). A batch is a handful
    of row copies into one uint8 buffer: no worker processes, no decoding in the loop.
    """

    def __init__(self, pictures: Sequence[Tensor], scale: int):
        self.scale = scale
        self.hr = [modcrop(p, scale).contiguous() for p in pictures]
        self.lr = [imresize(p, 1 / scale) for p in self.hr]
        self.smallest = min(min(p.shape[-2:]) for p in self.lr)

    def batch(self, count: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` crops, LR (B, 3, size, size) and HR r times that size, in [0, 1]."""
        if size > self.smallest:
            raise ValueError(
                f"crops of {size} px are larger than the smallest LR picture ({self.smallest} px): "
                "take smaller crops or larger pictures"
            )
        r = self.scale
        lr = torch.empty(count, 3, size, size, dtype=torch.uint8)
        hr = torch.empty(count, 3, size * r, size * r, dtype=torch.uint8)
        for i, (which, u, v, turn) in enumerate(torch.rand(count, 4, generator=rng).tolist()):
            low, high = (store[int(which * len(self.lr))] for store in (self.lr, self.hr))
            top = int(u * (low.shape[-2] - size + 1))
            left = int(v * (low.shape[-1] - size + 1))
            symmetry = int(turn * 8)
            lr[i] = dihedral(low[:, top : top + size, left : left + size], symmetry)
            top, left, side = top * r, left * r, size * r
            hr[i] = dihedral(high[:, top : top + side, left : left + side], symmetry)
        return lr.float() / 255, hr.float() / 255


def dihedral(x: Tensor, symmetry: int) -> Tensor:
    """One of the square's 8 symmetries; the bits of 0..7 flip rows, flip columns, transpose."""
    if symmetry & 1:
        x = x.flip(-2)
    if symmetry & 2:
        x = x.flip(-1)
    return x.transpose(-2, -1) if symmetry & 4 else x
