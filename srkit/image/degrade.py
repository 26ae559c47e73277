"""How a low-resolution picture comes to be: blur, reduce, noise, JPEG.

    lr = jpeg(noise(reduce(blur(hr, k), 1/r), sigma), quality)

Nearly every paper of this book uses the reduction alone, MATLAB's bicubic. The other steps make
what cameras and the web make; a network trained without them has never seen their traces.

Below the single steps stand degradations as values: `bicubic`, `blind` and `real`, or your own
steps in any order with random strengths, as a `Degradation`.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.checks import at_least, below, check_folder, expanded, finite
from srkit.image.colour import to_y
from srkit.image.folder import find_pictures, reasons
from srkit.image.io import as_image, read_image, write_image
from srkit.image.resize import KERNELS, imresize
from srkit.image.tensors import check_floats, check_image, modcrop, round_8bit, to_8bit


def gaussian_kernel(sigma: float, *, sigma_y: float | None = None, angle: float = 0.0) -> Tensor:
    """A Gaussian blur kernel (k, k) of sum 1, k = 2 ceil(3 max(sigma)) + 1.

    `sigma` and `sigma_y` are in pixels along the kernel's own axes, which are turned by `angle`
    degrees.

    Raises ValueError when a sigma is not positive.
    """
    sigma_y = sigma if sigma_y is None else sigma_y
    if not (sigma > 0 and sigma_y > 0):
        raise ValueError(f"sigma {sigma}, {sigma_y}: a Gaussian needs a positive width in pixels")
    return Gaussian(sigma, sigma_y, angle).make()


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of a (3, H, W) or (B, 3, H, W) image under one (k, k) kernel, k odd.

    The border is the edge pixel repeated, the size stays.

    Raises ValueError for another kernel, and what `check_image` raises.
    """
    _check_kernel(kernel, "the kernel")
    check_image(image)
    x = image.reshape(-1, 1, *image.shape[-2:])  # (B, 3, H, W) -> (3B, 1, H, W)
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    x = F.pad(x, (left, left, top, top), mode="replicate")
    return F.conv2d(x, kernel.flip(0, 1).to(x)[None, None]).view(image.shape)


def _check_kernel(kernel: Tensor, what: str) -> None:
    if kernel.dim() != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"{what} is {tuple(kernel.shape)}: expected (k, k) with odd k")


def add_noise(image: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """The image with white Gaussian noise, clipped to [0, 1].

    sigma: the noise's standard deviation in grey levels of 255, as denoising papers give it.

    Raises TypeError for what is no float tensor.
    """
    check_floats(image)
    noise = torch.randn(image.shape, generator=generator, dtype=image.dtype, device="cpu")
    return (image + sigma / 255 * noise.to(image.device)).clamp(0, 1)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """A (3, H, W) image after JPEG at `quality` 1 to 95 (Pillow's scale, 4:2:0 colour).

    Raises ValueError for another quality, and what `check_image` raises.
    """
    from PIL import Image

    check_image(image, batch=False)
    if not 1 <= quality <= 95:
        raise ValueError(f"quality {quality}: JPEG's useful range is 1 to 95")
    pixels = to_8bit(image).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return as_image(Image.open(buffer)).to(image.device)


def make_lr(
    hr: Tensor,
    scale: int,
    *,
    kernel: Tensor | None = None,
    noise: float = 0.0,
    quality: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The low-resolution picture of `hr` (3, H, W): 8-bit values in [0, 1], (3, H // r, W // r).

    Cut to a multiple of the scale, blurred by `kernel`, reduced by MATLAB's bicubic, made noisy,
    JPEG-coded; a step that is not asked for is left out. With none of them the result is, bit for
    bit, what the benchmarks' published LR pictures are.

    Raises what `check_image`, `modcrop`, `blur` and `jpeg` raise.
    """
    check_image(hr)
    x = modcrop(hr, scale)
    if kernel is not None:
        x = blur(x, kernel)
    x = imresize(to_8bit(x), 1 / scale).float() / 255
    if noise:
        x = round_8bit(add_noise(x, noise, generator))
    return x if quality is None else jpeg(x, quality)


# ------------------------------------------------------------------ degradations as values


Number = float | tuple[float, float]  # a number, or (low, high): drawn evenly from there
Drawn = torch.Generator | None


class Step(Protocol):
    """One thing that happens to a picture. Its text is an equation, x before and after it."""

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        """x (3, H, W) after the step. size: (h, w) of the LR picture that is to come out."""
        ...


class Kernel(Protocol):
    """A blur kernel, or a family of which one is drawn."""

    def make(self, rng: Drawn) -> Tensor:
        """The kernel (k, k), k odd, of sum 1."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian kernel, or one of its kin: exp(-q^shape / 2), q = (u/sigma)² + (v/sigma_y)².

    u and v are the pixel's coordinates, turned by `angle` degrees. sigma_y: None is as sigma, then
    the kernel is isotropic. shape: 1 is the Gaussian. plateau: 1 / (1 + q^shape) instead, flat in
    the middle. side: of the kernel, a range draws an odd one; None is 2 ceil(3 max(sigma)) + 1.

    Raises ValueError for widths and shapes that are not above 0, and for an even side.
    """

    sigma: Number
    sigma_y: Number | None = None
    angle: Number = 0.0
    shape: Number = 1.0
    plateau: bool = False
    side: int | tuple[int, int] | None = None

    def __post_init__(self):
        _above(0, sigma=self.sigma, sigma_y=self.sigma_y, shape=self.shape)
        _number(angle=self.angle)
        _odd(self.side)

    def make(self, rng: Drawn = None) -> Tensor:
        sigma = _drawn(self.sigma, rng)
        sigma_y = sigma if self.sigma_y is None else _drawn(self.sigma_y, rng)
        angle, shape = math.radians(_drawn(self.angle, rng)), _drawn(self.shape, rng)
        side = _drawn_side(self.side, rng) or 2 * math.ceil(3 * max(sigma, sigma_y)) + 1
        y, x = _grid(side)
        u = x * math.cos(angle) + y * math.sin(angle)
        v = y * math.cos(angle) - x * math.sin(angle)
        q = ((u / sigma) ** 2 + (v / sigma_y) ** 2) ** shape
        return _unit(1 / (1 + q) if self.plateau else torch.exp(-q / 2))

    def __str__(self) -> str:
        name = "a plateau" if self.plateau else "Gaussian" if self.shape == 1 else "Gaussian-like"
        said = [f"{name}, sigma {_said(self.sigma)}"]
        if self.sigma_y is not None:
            said.append(f"{_said(self.sigma_y)} across, turned by {_said(self.angle)} degrees")
        if self.shape != 1:
            said.append(f"shape {_said(self.shape)}")
        return ", ".join(said)


@dataclass(frozen=True)
class Motion:
    """The kernel of a camera that moves in a straight line, `length` pixels at `angle` degrees.

    0 degrees is along a row, 90 down a column.

    Raises ValueError for a length that is not above 0.
    """

    length: Number
    angle: Number = (0.0, 180.0)

    def __post_init__(self):
        _above(0, length=self.length)
        _number(angle=self.angle)

    def make(self, rng: Drawn = None) -> Tensor:
        length, angle = _drawn(self.length, rng), math.radians(_drawn(self.angle, rng))
        y, x = _grid(2 * math.ceil(length / 2 + 1) + 1)
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        beyond = (along.abs() - length / 2).clamp_min(0)  # pixels past the end of the line
        return _unit((1 - torch.hypot(beyond, across)).clamp_min(0))

    def __str__(self) -> str:
        return f"a line of {_said(self.length)} px at {_said(self.angle)} degrees"


@dataclass(frozen=True)
class Sinc:
    """The kernel of an ideal low-pass filter, which makes rings beside edges (Real-ESRGAN).

    k(r) = c J1(c r) / (2 pi r), c: `cutoff` in radians a pixel, pi at most. side: as of `Gaussian`.

    Raises ValueError for a cutoff outside (0, pi], and for an even side.
    """

    cutoff: Number
    side: int | tuple[int, int] = 21

    def __post_init__(self):
        _above(0, cutoff=self.cutoff)
        if max(_ends(self.cutoff)) > math.pi + 1e-9:
            raise ValueError(f"cutoff={self.cutoff}: pi radians a pixel is the most there is")
        _odd(self.side)

    def make(self, rng: Drawn = None) -> Tensor:
        c, side = _drawn(self.cutoff, rng), _drawn_side(self.side, rng)
        r = torch.hypot(*_grid(side or 21))
        k = c * torch.special.bessel_j1(c * r) / (2 * math.pi * r)
        k[r == 0] = c**2 / (4 * math.pi)
        return _unit(k)

    def __str__(self) -> str:
        return f"an ideal low-pass, cutoff {_said(self.cutoff)}"


@dataclass(frozen=True)
class KernelFile:
    """A kernel from a file: a NumPy array (.npy) or a grey picture, divided by its sum.

    Raises FileNotFoundError where there is none; ValueError for what is no kernel of odd sides.
    """

    path: str

    def __post_init__(self):
        self.make()

    def make(self, rng: Drawn = None) -> Tensor:
        path = expanded(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no kernel file {path} (looked from {Path.cwd()})")
        return _kernel_of(path, path.stat().st_mtime_ns)

    def __str__(self) -> str:
        return f"of {self.path}"


@lru_cache(maxsize=16)
def _kernel_of(path: Path, changed: int) -> Tensor:
    if path.suffix == ".npy":
        try:
            kernel = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float64))
        except (ValueError, TypeError, EOFError) as error:
            raise ValueError(f"{path} is no NumPy array of numbers ({error})") from error
    else:
        kernel = read_image(path).double().mean(0)
    _check_kernel(kernel, str(path))
    if not (kernel.isfinite().all() and kernel.sum() > 1e-6):
        raise ValueError(f"{path} is no blur kernel: its numbers must be finite, their sum above 0")
    return _unit(kernel)


@dataclass(frozen=True)
class OneOf:
    """One of several steps, or of several kernels, drawn by `chances`.

    Raises ValueError unless there is a chance above 0 for each.
    """

    chances: tuple[float, ...]
    of: tuple[Any, ...]

    def __post_init__(self):
        if len(self.chances) != len(self.of) or not self.of:
            raise ValueError(f"{len(self.chances)} chances for {len(self.of)} to choose: one each")
        for chance in self.chances:
            finite(chance=chance)

    def _one(self, rng: Drawn) -> Any:
        limits = list(accumulate(self.chances))
        return self.of[bisect(limits, _chance(rng) * limits[-1], hi=len(self.of) - 1)]

    def make(self, rng: Drawn = None) -> Tensor:
        return self._one(rng).make(rng)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        return self._one(rng).apply(x, rng, size)

    def __str__(self) -> str:
        total = sum(self.chances)
        each = zip(self.chances, self.of, strict=True)
        return "one of " + "; ".join(f"({chance / total:.0%}) {one}" for chance, one in each)


@dataclass(frozen=True)
class Maybe:
    """A step that is taken with the probability `chance`.

    Raises ValueError for a chance outside [0, 1].
    """

    chance: float
    step: Step

    def __post_init__(self):
        _share(chance=self.chance)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        return self.step.apply(x, rng, size) if _chance(rng) < self.chance else x

    def __str__(self) -> str:
        return f"({self.chance:.0%}) {self.step}"


@dataclass(frozen=True)
class Chain:
    """Steps one after another, as one step."""

    steps: tuple[Step, ...]

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        for step in self.steps:
            x = step.apply(x, rng, size)
        return x

    def __str__(self) -> str:
        return ", then ".join(map(str, self.steps))


@dataclass(frozen=True)
class Shuffled:
    """Steps in a random order (BSRGAN). ordered: those, by number from 0, that keep theirs.

    Raises ValueError for a number that no step has.
    """

    steps: tuple[Step, ...]
    ordered: tuple[int, ...] = ()

    def __post_init__(self):
        if set(self.ordered) - set(range(len(self.steps))):
            raise ValueError(
                f"ordered={self.ordered}: the steps have the numbers 0 to {len(self.steps) - 1}"
            )

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        order = torch.randperm(len(self.steps), generator=rng, device="cpu").tolist()
        kept = iter(sorted(k for k in order if k in self.ordered))
        for k in order:
            x = self.steps[next(kept) if k in self.ordered else k].apply(x, rng, size)
        return x

    def __str__(self) -> str:
        first = f" (numbers {', '.join(map(str, self.ordered))} in that order)" * bool(self.ordered)
        each = "; ".join(f"{k}: {step}" for k, step in enumerate(self.steps))
        return f"in any order{first} {each}"


@dataclass(frozen=True)
class Blur:
    """x = x * k: every channel under a kernel, the edge pixel repeated."""

    kernel: Kernel

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        return _convolved(x, self.kernel.make(rng))

    def __str__(self) -> str:
        return f"x = x * k, k {self.kernel}"


@dataclass(frozen=True)
class Resize:
    """Both sides times `by`, whatever the scale; kernel: of `imresize`, of several one is drawn.

    times_lr: True counts from the size of the LR picture to come, not from the picture's own.
    antialias: see `imresize`.

    Raises ValueError for a factor that is not above 0, and for an unknown kernel.
    """

    by: Number
    kernel: str | tuple[str, ...] = "cubic"
    times_lr: bool = False
    antialias: bool = True

    def __post_init__(self):
        _above(0, by=self.by)
        _check_names(self.kernel)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        by, kernel = _drawn(self.by, rng), _drawn_name(self.kernel, rng)
        sides = size if self.times_lr else x.shape[-2:]
        to = [max(1, round(by * side)) for side in sides]
        if to == list(x.shape[-2:]):
            return x
        return imresize(x, size=to, kernel=kernel, antialias=self.antialias).clamp_(0, 1)

    def __str__(self) -> str:
        of = "LR's size" if self.times_lr else "its size"
        return f"x = x resized to {_said(self.by)} times {of}, {_said_name(self.kernel)}"


@dataclass(frozen=True)
class Shrink:
    """The picture brought to the size of LR, (H / scale, W / scale), in 8 bits; one is needed.

    kernel: of `imresize`, of several one is drawn; "cubic" is MATLAB's bicubic.

    Raises ValueError for an unknown kernel.
    """

    kernel: str | tuple[str, ...] = "cubic"

    def __post_init__(self):
        _check_names(self.kernel)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        kernel = _drawn_name(self.kernel, rng)
        return imresize(to_8bit(x), size=size, kernel=kernel).to(x.dtype) / 255

    def __str__(self) -> str:
        return f"x = x resized to LR's size, {_said_name(self.kernel)}, 8 bits"


@dataclass(frozen=True)
class Noise:
    """x = x + n, n normal with the deviation `sigma` in grey levels of 255.

    grey: the probability that the three channels get the same noise.

    Raises ValueError for a sigma below 0, and for grey outside [0, 1].
    """

    sigma: Number
    grey: float = 0.0

    def __post_init__(self):
        _from(0, sigma=self.sigma)
        _share(grey=self.grey)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        sigma = _drawn(self.sigma, rng) / 255
        grey = bool(self.grey) and _chance(rng) < self.grey
        shape = (1 if grey else 3, *x.shape[-2:])
        noise = torch.randn(shape, generator=rng, dtype=x.dtype, device="cpu").to(x.device)
        return noise.mul_(sigma).add(x).clamp_(0, 1)

    def __str__(self) -> str:
        grey = f", grey in {self.grey:.0%}" if self.grey else ""
        return f"x = x + n, n ~ N(0, (sigma/255)²), sigma {_said(self.sigma)}{grey}"


@dataclass(frozen=True)
class Poisson:
    """x = x + times (P(photons x) / photons - x): the noise of light, P Poisson's distribution.

    photons: a white pixel's mean number. times: stretches the noise. grey: as of `Noise`.

    Raises ValueError for photons that are not above 0, times below 0, and grey outside [0, 1].
    """

    photons: Number
    times: Number = 1.0
    grey: float = 0.0

    def __post_init__(self):
        _above(0, photons=self.photons)
        _from(0, times=self.times)
        _share(grey=self.grey)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        photons, times = _drawn(self.photons, rng), _drawn(self.times, rng)
        grey = bool(self.grey) and _chance(rng) < self.grey
        light = (to_y(x, full=True) if grey else x).clamp(0, 1).cpu()
        seen = torch.poisson(photons * light, generator=rng) / photons
        return (x + times * (seen - light).to(x.device)).clamp_(0, 1)

    def __str__(self) -> str:
        times = "" if self.times == 1 else f" times {_said(self.times)}"
        grey = f", grey in {self.grey:.0%}" if self.grey else ""
        return f"x = x + Poisson noise of {_said(self.photons)} photons{times}{grey}"


@dataclass(frozen=True)
class NoiseFrom:
    """x = x + n, n cut from smooth places of real pictures, less their mean (RealSR).

    folder: of pictures. Their squares of `patch` pixels whose variance is at most `most` (grey
    levels of 255, squared) are taken for nothing but noise. A picture gets as many as cover it.

    Raises FileNotFoundError for a folder without pictures; ValueError if no square is so smooth.
    (Ji et al., CVPRW 2020, Real-World Super-Resolution via Kernel Estimation and Noise Injection.)
    """

    folder: str
    patch: int = 32
    most: float = 20.0

    def __post_init__(self):
        at_least(2, patch=self.patch)
        finite(most=self.most)
        self._patches()

    def _patches(self) -> Tensor:
        files = find_pictures(self.folder).pictures
        dated = tuple((path, path.stat().st_mtime_ns) for path in files)
        return _smooth_patches(dated, self.patch, self.most)

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        patches, side = self._patches(), self.patch
        rows, columns = (-(-n // side) for n in x.shape[-2:])
        chosen = torch.randint(len(patches), (rows * columns,), generator=rng, device="cpu")
        noise = patches[chosen].view(rows, columns, 3, side, side)
        noise = noise.permute(2, 0, 3, 1, 4).reshape(3, rows * side, columns * side)
        return (x + noise[:, : x.shape[-2], : x.shape[-1]].to(x)).clamp_(0, 1)

    def __str__(self) -> str:
        return (
            f"x = x + n, n from {self.folder}, squares of {self.patch}, variance <= {self.most:g}"
        )


@lru_cache(maxsize=4)
def _smooth_patches(files: tuple[tuple[Path, int], ...], side: int, most: float) -> Tensor:
    """The noise (N, 3, side, side) of all smooth squares of the pictures."""
    found = []
    for path, _ in files:
        picture = read_image(path)
        squares = F.unfold(picture[None], side, stride=side)[0].T.reshape(-1, 3, side * side)
        mean = squares.mean(-1, keepdim=True)
        smooth = ((squares - mean) * 255).square().mean((1, 2)) <= most
        inside = ((mean[..., 0] > 0.04) & (mean[..., 0] < 0.96)).all(1)  # clipped noise is none
        found.append((squares - mean)[smooth & inside].view(-1, 3, side, side))
    patches = torch.cat(found)
    if not len(patches):
        raise ValueError(
            f"no square of {side} pixels in {files[0][0].parent} is as smooth as most={most:g}: "
            "raise most, lower patch, or give pictures with plain walls or sky"
        )
    return patches


@dataclass(frozen=True)
class Jpeg:
    """x after JPEG at `quality` 1 to 95 (Pillow's scale, 4:2:0 colour); of a range a whole one.

    Raises ValueError for another quality.
    """

    quality: int | tuple[int, int]

    def __post_init__(self):
        at_least(1, **{"quality": min(_ends(self.quality))})
        below(96, **{"quality": max(_ends(self.quality))})

    def apply(self, x: Tensor, rng: Drawn, size: tuple[int, int]) -> Tensor:
        quality = self.quality
        if isinstance(quality, tuple):
            quality = quality[0] + int(_chance(rng) * (quality[1] - quality[0] + 1))
        return jpeg(x, quality)

    def __str__(self) -> str:
        return f"x = JPEG(x), quality {_said(self.quality)}"


@dataclass(frozen=True)
class Degradation:
    """How LR comes to be from HR, as a value: steps one after another, then 8 bits.

        degrade = Degradation(4, (Blur(Gaussian((0.2, 3))), Shrink(), Noise((1, 30)), Jpeg(60)))
        print(degrade)                                       # its equation
        lr = degrade(hr, torch.Generator().manual_seed(0))   # same seed, same picture

    The same object makes a picture, a training set (`srkit.datasets.patches.DegradedPatches`) and a
    test set (`degrade_folder`). Steps: `Blur`, `Resize`, `Shrink`, `Noise`, `Poisson`, `NoiseFrom`,
    `Jpeg`, in any order, and `OneOf`, `Maybe`, `Chain`, `Shuffled` of them. Where a step takes a
    number it also takes a range (low, high), from which each picture draws its own.

    Raises ValueError for a scale that is no whole number from 1, and for no steps.
    """

    scale: int
    steps: tuple[Step, ...]

    def __post_init__(self):
        at_least(1, scale=self.scale)
        for step in self.steps:
            if not callable(getattr(step, "apply", None)):
                raise TypeError(f"{step!r} is no step: Blur(...), Shrink() and their like are")
        if not self.steps:
            raise ValueError("a degradation without steps: (Shrink(),) is the bicubic one")

    def __call__(self, hr: Tensor, generator: Drawn = None) -> Tensor:
        """LR (3, H // scale, W // scale), 8-bit values in [0, 1], of hr (3, H, W), cut to fit.

        Of a batch (B, 3, H, W) each picture draws for itself. generator: None takes torch's own.

        Raises ValueError where the steps end at another size, and what `check_image` and `modcrop`
        raise.
        """
        check_image(hr)
        if hr.ndim == 4:
            return torch.stack([self(each, generator) for each in hr])
        x = modcrop(hr, self.scale)
        size = x.shape[-2] // self.scale, x.shape[-1] // self.scale
        for step in self.steps:
            x = step.apply(x, generator, size)
        if tuple(x.shape[-2:]) != size:
            raise ValueError(
                f"the steps end at {tuple(x.shape[-2:])}, LR is {size}: the last step that changes "
                "the size must be Shrink()"
            )
        return round_8bit(x)

    def __str__(self) -> str:
        return "\n".join(["x = hr", *map(str, self.steps), f"lr = x, of 1/{self.scale} the sides"])


def bicubic(scale: int) -> Degradation:
    """MATLAB's bicubic and nothing else: the benchmarks' LR pictures, bit for bit."""
    return Degradation(scale, (Shrink(),))


def blind(scale: int) -> Degradation:
    """Blur twice, shrink, noise and JPEG in random order, then JPEG (after BSRGAN).

    Zhang et al., ICCV 2021, Designing a Practical Degradation Model for Deep Blind Image Super-
    Resolution. Differs: no model of a camera's processing; noise is the same in all channels, or
    independent; kernels are not shifted by the reduction.
    """
    wide = 2.0 if scale == 2 else 4.0
    kernel = OneOf(
        (1, 1), (Gaussian((0.1, wide / 2)), Gaussian((0.5, wide), (0.5, wide), (0, 180)))
    )
    between = Resize((1 / (2 * scale), 1.0), ("linear", "cubic", "box"))
    noise = OneOf((4, 1), (Noise((2, 25), grey=0.4), Poisson((100, 10_000), grey=0.5)))
    shuffle = (
        Blur(kernel),
        Blur(kernel),
        Maybe(0.75, between),
        Shrink(("linear", "cubic", "box")),
        noise,
        Maybe(0.9, Jpeg((30, 95))),
    )
    return Degradation(scale, (Shuffled(shuffle, ordered=(2, 3)), Jpeg((30, 95))))


def real(scale: int) -> Degradation:
    """Blur, resize, noise and JPEG in two rounds, with rings (Real-ESRGAN).

    Wang et al., ICCVW 2021, Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
    Synthetic Data; the ranges are those of the authors' settings. Differs: interpolation is
    `imresize`'s, with antialiasing.
    """
    ways = ("box", "linear", "cubic")

    def blurred(widest: float, sinc: float) -> Blur:
        how: dict[str, Any] = {"sigma": (0.2, widest), "side": (7, 21)}
        turned = how | {"sigma_y": (0.2, widest), "angle": (-180, 180)}
        kinds = (
            Gaussian(**how), Gaussian(**turned),
            Gaussian(**how, shape=(0.5, 4)), Gaussian(**turned, shape=(0.5, 4)),
            Gaussian(**how, shape=(1, 2), plateau=True),
            Gaussian(**turned, shape=(1, 2), plateau=True),
        )  # fmt: skip
        plain = OneOf((0.45, 0.25, 0.12, 0.03, 0.12, 0.03), kinds)
        return Blur(OneOf((sinc, 1 - sinc), (Sinc((math.pi / 4, math.pi), (7, 21)), plain)))

    def resized(up: float, down: float, low: float, high: float, *, times_lr: bool) -> OneOf:
        keep = round(1 - up - down, 6)
        return OneOf(
            (up, down, keep), tuple(Resize(by, ways, times_lr) for by in ((1, high), (low, 1), 1))
        )

    def noisy(sigma: float, times: float) -> OneOf:
        return OneOf((1, 1), (Noise((1, sigma), 0.4), Poisson(256, (0.05, times), 0.4)))

    rings = Maybe(0.8, Blur(Sinc((math.pi / 3, math.pi), 21)))
    last = Jpeg((30, 95))
    return Degradation(
        scale,
        (
            blurred(3.0, 0.1),
            resized(0.2, 0.7, 0.15, 1.5, times_lr=False),
            noisy(30, 3.0),
            last,
            Maybe(0.8, blurred(1.5, 0.1)),
            resized(0.3, 0.4, 0.3, 1.2, times_lr=True),
            noisy(25, 2.5),
            OneOf((1, 1), (Chain((Shrink(ways), rings, last)), Chain((last, Shrink(ways), rings)))),
        ),
    )


PRESETS: dict[str, Callable[[int], Degradation]] = {
    "bicubic": bicubic, "blind": blind, "real": real,
}  # fmt: skip


def preset(name: str, scale: int) -> Degradation:
    """The degradation of PRESETS with that name. Raises ValueError for another name."""
    if name not in PRESETS:
        raise ValueError(f"there is no degradation {name!r}: one of {', '.join(PRESETS)}")
    return PRESETS[name](scale)


def files_of(value: Any) -> list[Path]:
    """The files that a degradation, or a step, draws from: kernels, and pictures with noise."""
    if isinstance(value, KernelFile):
        return [Path(value.path).expanduser()]
    if isinstance(value, NoiseFrom):
        return find_pictures(value.folder).pictures
    if isinstance(value, tuple):
        return [path for each in value for path in files_of(each)]
    if is_dataclass(value):
        return [path for f in fields(value) for path in files_of(getattr(value, f.name))]
    return []


@dataclass
class DegradedFolder:
    """What `degrade_folder` did: the LR file of each HR file, and what was left out and why."""

    done: dict[Path, Path]
    left_out: dict[Path, str]

    def __str__(self) -> str:
        said = f"{len(self.done)} pictures degraded"
        return f"{said}; {reasons(self.left_out)}" if self.left_out else said


def degrade_folder(
    degrade: Degradation,
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    seed: int = 0,
    overwrite: bool = False,
) -> DegradedFolder:
    """Write the LR picture of every picture in a folder, as NAME.png, each whole or not at all.

    The seed and the file's name decide what is drawn, so that a picture more changes no other.
    Pictures that cannot be read, or are smaller than the scale, are left out and named.

    Raises, before any is written, FileNotFoundError for a folder without pictures; FileExistsError
    for an LR file that is there, unless `overwrite`; ValueError for two pictures of one name, for
    source and target the same, and for a seed below 0; what `check_folder` raises.
    """
    at_least(0, seed=seed)
    found, target = find_pictures(source), expanded(target)
    check_folder(target)
    if target.exists() and target.samefile(found.folder):
        raise ValueError(f"{target} holds the HR pictures: write the LR ones to another folder")
    places: dict[Path, Path] = {}
    for path in found.pictures:
        place = target / f"{path.stem}.png"
        if place in places.values():
            raise ValueError(f"{found.folder} has two pictures named {path.stem}: rename one")
        if place.exists() and not overwrite:
            raise FileExistsError(f"{place} exists: --overwrite replaces it")
        places[path] = place
    report = DegradedFolder({}, dict(found.left_out))
    for path, place in places.items():
        try:
            hr = read_image(path)
        except (ValueError, PermissionError) as error:
            report.left_out[path] = str(error)
            continue
        if min(hr.shape[1:]) < degrade.scale:
            report.left_out[path] = f"smaller than the scale {degrade.scale}"
            continue
        write_image(degrade(hr, generator_of(seed, path.name)), place)
        report.done[path] = place
    return report


def generator_of(seed: int, name: str = "") -> torch.Generator:
    """The random numbers of one picture: decided by a seed and its name."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """`blur` by the Fourier transform where the kernel is large: ten times as fast at 21x21."""
    if max(kernel.shape) <= 7:
        return blur(x, kernel)
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(x[None], (left, left, top, top), mode="replicate")[0].float()
    seen = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel.to(padded), padded.shape[-2:])
    whole = torch.fft.irfft2(seen, padded.shape[-2:])
    return whole[:, 2 * top :, 2 * left :].clamp_(0, 1).to(x.dtype)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    t = torch.arange(-(side // 2), side // 2 + 1, dtype=torch.float64, device="cpu")
    y, x = torch.meshgrid(t, t, indexing="ij")
    return y, x


def _unit(kernel: Tensor) -> Tensor:
    return (kernel / kernel.sum()).float()


def _ends(value: Number) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)


def _range(**numbers: Number | None) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each number as its range. Raises ValueError for what is neither a number nor a range."""
    for name, value in numbers.items():
        if value is None:
            continue
        ends = value if isinstance(value, tuple) else (value, value)
        sound = len(ends) == 2 and all(
            isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
            for end in ends
        )
        if not sound or ends[0] > ends[1]:
            raise ValueError(f"{name}={value!r}: expected a number, or a range (low, high)")
        yield name, ends


def _number(**numbers: Number | None) -> None:
    for _ in _range(**numbers):
        pass


def _above(limit: float, **numbers: Number | None) -> None:
    for name, (low, _) in _range(**numbers):
        if not low > limit:
            raise ValueError(
                f"{name}={numbers[name]!r}: expected a number above {limit:g}, or a "
                "range (low, high) of such"
            )


def _from(limit: float, **numbers: Number | None) -> None:
    for name, (low, _) in _range(**numbers):
        if not low >= limit:
            raise ValueError(
                f"{name}={numbers[name]!r}: expected a number from {limit:g}, or a "
                "range (low, high) of such"
            )


def _share(**numbers: float) -> None:
    at_least(0.0, **numbers)
    for name, value in numbers.items():
        if value > 1:
            raise ValueError(f"{name}={value!r}: expected a probability, 0 to 1")


def _odd(side: int | tuple[int, int] | None) -> None:
    for end in () if side is None else side if isinstance(side, tuple) else (side,):
        at_least(1, side=end)
        if end % 2 == 0:
            raise ValueError(f"side={side!r}: a kernel has odd sides, as 21 or (7, 21)")


def _check_names(kernel: str | tuple[str, ...]) -> None:
    for name in kernel if isinstance(kernel, tuple) else (kernel,):
        if name not in KERNELS:
            raise ValueError(f"kernel={name!r}: one of {', '.join(KERNELS)}")


def _chance(rng: Drawn) -> float:
    return torch.rand((), generator=rng, dtype=torch.float64, device="cpu").item()


def _drawn(value: Number, rng: Drawn) -> float:
    if not isinstance(value, tuple):
        return value
    return value[0] + _chance(rng) * (value[1] - value[0])


def _drawn_side(side: int | tuple[int, int] | None, rng: Drawn) -> int | None:
    if not isinstance(side, tuple):
        return side
    return side[0] + 2 * int(_chance(rng) * ((side[1] - side[0]) // 2 + 1))


def _drawn_name(kernel: str | tuple[str, ...], rng: Drawn) -> str:
    return kernel[int(_chance(rng) * len(kernel))] if isinstance(kernel, tuple) else kernel


def _said(value: Number) -> str:
    return "in [{:g}, {:g}]".format(*value) if isinstance(value, tuple) else f"{value:g}"


def _said_name(kernel: str | tuple[str, ...]) -> str:
    return " or ".join(kernel) if isinstance(kernel, tuple) else kernel
