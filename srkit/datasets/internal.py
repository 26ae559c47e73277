"""Training pairs from a single picture, the one to be enlarged (ZSSR).

The paper calls the HR crop a father and its LR version a son.

pairs = Internal([picture], (2, 2), Shrinking(kernel))
father = pairs.father(rng)                           # a crop of the picture, turned and warped
son = pairs.son(father, rng)                         # the father, reduced as the camera does it
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
    """How a picture is made small: blur, reduction and noise, as in `srkit.image.degrade.make_lr`.

    kernel: the blur, (k, k) with k odd, in pixels of the large picture; None for no blur. If it is
        off its centre it shifts the picture, and a network that learns from the pairs undoes that.
    antialias: whether the bicubic kernel that follows the blur is widened, as usual. False is as if
        every r-th pixel were taken: programs that estimate kernels assume that.
    noise: its standard deviation, in 1/255.
    """

    kernel: Tensor | None = None
    antialias: bool = True
    noise: float = 0.0

    def __call__(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Blur and reduce x (..., 3, H, W) to (..., 3, *size). No noise is added."""
        if self.kernel is not None:
            x = blur(x, self.kernel)
        height, width = size
        return imresize(x, size=(height, width), antialias=self.antialias)

    def symmetric(self) -> bool:
        """Whether to turn or mirror a picture before shrinking it has the same effect as after."""
        k = self.kernel
        return k is None or all(
            same.shape == k.shape and torch.allclose(same, k, atol=1e-6)
            for same in (k.flip(0), k.flip(1), k.T)
        )


class Internal:
    """Pairs of a father, cut from one of the sources, and its son, the father reduced by `factor`.

    sources: pictures (3, H, W) in [0, 1] in order of size: the picture, then its enlargements.
    factor: (of the height, of the width), each at least 1; fractions such as 1.5 are allowed.
    crop: the side of a father in pixels. It is less if the picture is smaller, or to be a multiple
        of `factor`.
    turns: whether fathers are turned and mirrored.
    spread, shear: standard deviations of the zoom's difference between the axes, and of the shear.
    smallest: the least zoom.

    Half of the fathers are plain crops. The others are also zoomed by s, drawn evenly from
    `smallest` to the largest source's zoom, turned by any angle and sheared, with cubic
    interpolation and reflected borders. Each is cut from the smallest source whose zoom is at least
    s. The numbers are the authors', who fill what lies outside the picture with black.

    Raises ValueError for a factor below 1, or too small a picture.
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
            raise ValueError(f"factor {factor}: sons are smaller than fathers, give 1 or more")
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
        """A random father, (3, crop, crop) in [0, 1]."""
        chance, which, turn, mirror, u, v = torch.rand(6, generator=rng, device="cpu").tolist()
        d, *shears = torch.randn(3, generator=rng, device="cpu").tolist()
        zoom = self.smallest + which * (self.zooms[-1] - self.smallest)
        k = next(k for k, size in enumerate(self.zooms) if size >= zoom - 1e-9)
        source, zoom = self.sources[k], zoom / self.zooms[k]
        if chance < 0.5:
            plain = chance < 0.05 or not self.turns
            seen, back = torch.ones(2, device="cpu"), symmetry(0 if plain else int(turn * 8))
        else:
            difference = self.spread * d / 2
            zooms = torch.tensor([zoom + difference, zoom - difference], device="cpu")
            zooms = zooms.clamp_min(zoom / 2)
            angle = torch.tensor(2 * math.pi * turn, device="cpu")
            turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
            if not self.turns:
                turned = torch.eye(2, device="cpu")
            elif mirror < 0.5:
                turned = turned @ symmetry(1)
            a, b = (self.shear * s for s in shears)
            sheared = torch.tensor([[1, a], [b, 1]], device="cpu")
            # pixel p of the father is the source at back p, both counted from the middle
            seen, back = 1 / zooms, (sheared @ turned @ zooms.diag()).inverse()
        corner = []
        for side, share, ratio in zip(source.shape[1:], (u, v), seen.tolist(), strict=True):
            window = self.crop * ratio  # the part of the source that is seen, in its pixels
            first = share * (side - window) if window < side else (side - window) / 2
            corner.append((math.floor(first) if ratio == 1 else first) + (window - self.crop) / 2)
        return view(source, (corner[0], corner[1]), back, self.crop).clamp(0, 1)

    def son(self, father: Tensor, rng: torch.Generator) -> Tensor:
        """The father made small, with noise: (3, crop / factor, crop / factor) in [0, 1]."""
        small = self.smaller(father).clamp(0, 1)
        noise = self.shrinking.noise
        return add_noise(small, noise, rng) if noise else small

    def smaller(self, x: Tensor) -> Tensor:
        """A picture (..., 3, H, W) reduced by `factor`, without noise."""
        size = [math.ceil(n / f) for n, f in zip(x.shape[-2:], self.factor, strict=True)]
        return self.shrinking(x, size)

    def larger(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """A picture enlarged by `factor`, or to a size, by bicubic: the input of the network."""
        size = size or [math.ceil(n * f) for n, f in zip(x.shape[-2:], self.factor, strict=True)]
        height, width = size
        return imresize(x, size=(height, width), border="mirror")
