"""Crops a second under random degradations: python benchmarks/degrade.py [--count 32] [--json FILE]

`DegradedPatches(pictures, real(4))` against the pipeline that is usual for Real-ESRGAN, written
down here after the paper's description and the ranges of its settings, an image at a time: decode a
PNG, crop 400 pixels, draw the kernels with NumPy, blur by a grouped convolution, interpolate, add
Gaussian or Poisson noise, JPEG (torchvision's encoder, which is cheaper than a differentiable one
made of tensors), a second round, rings, then cut LR crops of 64 pixels. Both do the same steps with
the same chances, on one thread; processor seconds, medians of five rounds, ratios of one round.
Goal: 4 times. Needs pictures from SRKIT_HOME (train/hires).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from scipy import special
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import decode_jpeg, encode_jpeg

from srkit import files
from srkit.datasets.patches import DegradedPatches
from srkit.image.degrade import real
from srkit.image.io import read_image, write_image
from srkit.image.tensors import to_8bit

SCALE, PATCH, CUT = 4, 64, 400
KINDS = ("iso", "aniso", "general iso", "general aniso", "plateau iso", "plateau aniso")
CHANCES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)


def mixed_kernel(widest: float) -> np.ndarray:
    """A random blur kernel, 7 to 21 pixels a side, in a frame of 21."""
    side = random.choice(range(7, 23, 2))
    grid = np.arange(side) - side // 2
    x, y = np.meshgrid(grid, grid)
    if random.random() < 0.1:
        return framed(sinc_kernel(random.uniform(np.pi / 4, np.pi), side))
    kind = random.choices(KINDS, CHANCES)[0]
    a = random.uniform(0.2, widest)
    b, turn = a, 0.0
    if kind.endswith("aniso"):
        b, turn = random.uniform(0.2, widest), random.uniform(-np.pi, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    inverse = np.linalg.inv(rotation @ np.diag([a**2, b**2]) @ rotation.T)
    points = np.stack([x, y], -1)
    q = np.sum(points @ inverse * points, 2)
    if kind.startswith("plateau"):
        kernel = 1 / (1 + q ** random.uniform(1, 2))
    else:
        kernel = np.exp(-0.5 * q ** (random.uniform(0.5, 4) if "general" in kind else 1))
    return framed(kernel / kernel.sum())


def sinc_kernel(cutoff: float, side: int) -> np.ndarray:
    grid = np.arange(side) - side // 2
    r = np.hypot(*np.meshgrid(grid, grid))
    with np.errstate(all="ignore"):
        kernel = cutoff * special.j1(cutoff * r) / (2 * np.pi * r)
    kernel[side // 2, side // 2] = cutoff**2 / (4 * np.pi)
    return kernel / kernel.sum()


def framed(kernel: np.ndarray) -> np.ndarray:
    return np.pad(kernel, (21 - len(kernel)) // 2)


def filtered(x: Tensor, kernel: np.ndarray) -> Tensor:
    """x (1, 3, H, W) under a kernel of 21, mirrored borders."""
    weight = torch.from_numpy(kernel).float().expand(3, 1, 21, 21)
    return F.conv2d(F.pad(x, (10,) * 4, mode="reflect"), weight, groups=3)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    mode = random.choice(("area", "bilinear", "bicubic"))
    return F.interpolate(x, size, mode=mode)  # as usual


def noisy(x: Tensor, sigma: float, times: float) -> Tensor:
    grey = random.random() < 0.4
    if random.random() < 0.5:
        noise = torch.randn(1, 1 if grey else 3, *x.shape[-2:])
        return (x + noise * random.uniform(1, sigma) / 255).clamp(0, 1)
    light = (x * 255).round().clamp(0, 255) / 255
    if grey:
        light = (light * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True)
    levels = 2 ** math.ceil(math.log2(len(torch.unique(light))))
    noise = torch.poisson(light * levels) / levels - light
    return (x + random.uniform(0.05, times) * noise).clamp(0, 1)


def jpeg(x: Tensor) -> Tensor:
    pixels = (x[0] * 255).round().clamp(0, 255).byte()
    return decode_jpeg(encode_jpeg(pixels, random.randint(30, 95)))[None] / 255


def two_rounds(hr: Tensor) -> Tensor:
    """LR (1, 3, h, w) of HR (1, 3, H, W)."""
    height, width = hr.shape[-2:]
    x = filtered(hr, mixed_kernel(3.0))
    way = random.choices(("up", "down", "keep"), (0.2, 0.7, 0.1))[0]
    by = {"up": random.uniform(1, 1.5), "down": random.uniform(0.15, 1), "keep": 1}[way]
    x = noisy(resized(x, (int(by * height), int(by * width))), 30, 3.0)
    x = jpeg(x)
    if random.random() < 0.8:
        x = filtered(x, mixed_kernel(1.5))
    way = random.choices(("up", "down", "keep"), (0.3, 0.4, 0.3))[0]
    by = {"up": random.uniform(1, 1.2), "down": random.uniform(0.3, 1), "keep": 1}[way] / SCALE
    x = noisy(resized(x, (int(by * height), int(by * width))), 25, 2.5)
    rings = random.random() < 0.8
    ring = framed(sinc_kernel(random.uniform(np.pi / 3, np.pi), 21))
    size = (height // SCALE, width // SCALE)
    if random.random() < 0.5:
        x = resized(x, size)
        x = jpeg(filtered(x, ring) if rings else x)
    else:
        x = resized(jpeg(x), size)
        x = filtered(x, ring) if rings else x
    return (x * 255).round().clamp(0, 255) / 255


def usual(paths: list[Path], count: int) -> tuple[Tensor, Tensor]:
    """A batch as the usual loader makes it: an image at a time, from its file."""
    pairs = []
    for _ in range(count):
        picture = np.asarray(Image.open(random.choice(paths)))
        top, left = (random.randint(0, n - CUT) for n in picture.shape[:2])
        crop = picture[top : top + CUT, left : left + CUT]
        flips = [random.random() < 0.5 for _ in range(3)]
        crop = crop[::-1] if flips[0] else crop
        crop = crop[:, ::-1] if flips[1] else crop
        crop = crop.transpose(1, 0, 2) if flips[2] else crop
        hr = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float()[None] / 255
        lr = two_rounds(hr)
        y, x = (random.randint(0, CUT // SCALE - PATCH) for _ in range(2))
        side = SCALE * PATCH
        hr = hr[0, :, SCALE * y : SCALE * y + side, SCALE * x : SCALE * x + side]
        pairs.append((lr[0, :, y : y + PATCH, x : x + PATCH], hr))
    lr, hr = zip(*pairs, strict=True)
    return torch.stack(lr), torch.stack(hr)


def main(count: int, to: Path | None) -> None:
    found = files.find("train/hires/GT")
    if found is None:
        sys.exit("needs train/hires under SRKIT_HOME")
    with tempfile.TemporaryDirectory() as work:
        for number, path in enumerate(sorted(found.iterdir())[:3]):
            write_image(read_image(path), Path(work) / f"{number}.png")
        paths = sorted(Path(work).iterdir())
        patches = DegradedPatches([to_8bit(read_image(path)) for path in paths], real(SCALE))
        rng = torch.Generator().manual_seed(0)
        random.seed(0)
        torch.manual_seed(0)
        rates = []
        for _ in range(5):
            start = time.process_time()
            usual(paths, count)
            middle = time.process_time()
            patches.batch(count, PATCH, rng)
            rates.append((count / (middle - start), count / (time.process_time() - middle)))
    row = {
        "usual": median(theirs for theirs, _ in rates),
        "DegradedPatches": median(ours for _, ours in rates),
        "ratio": median(ours / theirs for theirs, ours in rates),
    }
    print("crops a second      usual  DegradedPatches  ratio")
    print("real, 4x, LR 64".ljust(16) + "{:9.1f}{:17.1f}{:6.1f}x".format(*row.values()))
    if to is not None:
        to.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=32, help="crops a round")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    chosen = parser.parse_args()
    main(chosen.count, chosen.json)
