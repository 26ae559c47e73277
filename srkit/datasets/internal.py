"""Fathers and sons: training pairs from one picture alone, the one to be enlarged (ZSSR).

pairs = Internal([picture], (2, 2), Shrinking(kernel))
father = pairs.father(rng)                           # a crop of the picture, turned and warped
son = pairs.son(father, rng)                         # and as the camera would have made it smaller
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from srkit.datasets.references import symmetry, view
from srkit.image.degrade import add_noise, blur
from srkit.image.resize import imresize
from srkit.image.tensors import to_8bit


@dataclass(frozen=True)
class Shrinking:
    """How a picture became small: blur, reduction, noise, as in `srkit.image.degrade.make_lr`.

    kernel: (k, k), k odd, in pixels of the larger picture; one off its centre shifts the picture,
        and who learns from such pairs shifts it back. None: no blur.
    antialias: whether bicubic reduction follows, widened as always. False where the kernel is all
        there was, and every r-th pixel was taken: what estimators of kernels mean by one.
    noise: deviation, in 1/255.
    """

    kernel: Tensor | None = None
    antialias: bool = True
    noise: float = 0.0

    def __call__(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """x (..., 3, H, W) made (..., 3, *size), without the noise."""
        if self.kernel is not None:
            x = blur(x, self.kernel)
        return imresize(x, size=tuple(size), antialias=self.antialias)

    def symmetric(self) -> bool:
        """Whether the picture could be turned or mirrored first, and nobody would know."""
        k = self.kernel
        return k is None or all(
            same.shape == k.shape and torch.allclose(same, k, atol=1e-6)
            for same in (k.flip(0), k.flip(1), k.T)
        )


class Internal:
    """Pairs of a father, cut from one of the sources, and its son, smaller by `factor`.

    sources: the picture, then what it was enlarged to so far, pictures (3, H, W) in [0, 1] in order
        of size. factor: of height and of width, fractions like 1.5 too.
    crop: the father's side, or what the picture has; less where `factor` does not divide it.
    turns: whether fathers are turned and mirrored.
    spread, shear: deviations of zoom between the axes, and of shear. smallest: the least zoom.

    Half of the fathers are crops; the other half are also zoomed by s ~ U(smallest, the largest
    source's), turned by any angle and sheared, cubic, with reflected borders. A father of zoom s is
    cut from the smallest source that is not smaller than s. The numbers are the authors'; they fill
    what lies outside with black.
    """

    def __init__(
        self,
        sources: Sequence[Tensor],
        factor: tuple[float, float],
        shrinking: Shrinking | None = None,
        *,
        crop: int = 128,
        turns: bool = True,
        spread: float = 0.25,
        shear: float = 0.1,
        smallest: float = 0.5,
    ):
        self.shrinking = shrinking or Shrinking()
        self.factor = [Fraction(f).limit_denominator(16) for f in factor]
        if min(self.factor) < 1:
            raise ValueError(
                f"factor {tuple(factor)}: sons are smaller than fathers, give 1 or more"
            )
        self.sources = [to_8bit(source) for source in sources]
        first = math.prod(self.sources[0].shape[1:])
        self.zooms = [math.sqrt(math.prod(s.shape[1:]) / first) for s in self.sources]
        sides = self.sources[0].shape[1:]
        unit = math.lcm(*(f.numerator for f in self.factor))
        self.crop = min(crop, *sides) // unit * unit
        if self.crop < 2 * unit:
            raise ValueError(f"a picture of {tuple(sides)} pixels is too small to learn from")
        self.turns, self.spread, self.shear, self.smallest = turns, spread, shear, smallest

    def father(self, rng: torch.Generator) -> Tensor:
        """(3, crop, crop) in [0, 1]."""
        chance, which, turn, mirror, u, v = torch.rand(6, generator=rng).tolist()
        d, *shears = torch.randn(3, generator=rng).tolist()
        zoom = self.smallest + which * (self.zooms[-1] - self.smallest)
        k = next(k for k, size in enumerate(self.zooms) if size >= zoom - 1e-9)
        source, zoom = self.sources[k], zoom / self.zooms[k]
        if chance < 0.5:
            plain = chance < 0.05 or not self.turns
            seen, back = torch.ones(2), symmetry(0 if plain else int(turn * 8))
        else:
            difference = self.spread * d / 2
            zooms = torch.tensor([zoom + difference, zoom - difference]).clamp_min(zoom / 2)
            angle = torch.tensor(2 * math.pi * turn)
            turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
            if not self.turns:
                turned = torch.eye(2)
            elif mirror < 0.5:
                turned = turned @ symmetry(1)
            sheared = torch.tensor([[1, self.shear * shears[0]], [self.shear * shears[1], 1]])
            # father's pixel p shows the source's at back p, counted from the middle of both
            seen, back = 1 / zooms, (sheared @ turned @ zooms.diag()).inverse()
        corner = []
        for side, share, ratio in zip(source.shape[1:], (u, v), seen.tolist(), strict=True):
            window = self.crop * ratio  # of the source, in its pixels
            first = share * (side - window) if window < side else (side - window) / 2
            corner.append((math.floor(first) if ratio == 1 else first) + (window - self.crop) / 2)
        return view(source, (corner[0], corner[1]), back, self.crop).clamp(0, 1)

    def son(self, father: Tensor, rng: torch.Generator) -> Tensor:
        """(3, crop / factor), noise included, in [0, 1]."""
        small = self.smaller(father).clamp(0, 1)
        noise = self.shrinking.noise
        return add_noise(small, noise, rng) if noise else small

    def smaller(self, x: Tensor) -> Tensor:
        """A picture by 1 / factor, without noise."""
        size = [math.ceil(n / f) for n, f in zip(x.shape[-2:], self.factor, strict=True)]
        return self.shrinking(x, size)

    def larger(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """A picture by factor, or of another size, bicubic: what the network starts from."""
        size = size or [math.ceil(n * f) for n, f in zip(x.shape[-2:], self.factor, strict=True)]
        return imresize(x, size=tuple(size), border="mirror")
