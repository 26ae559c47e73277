"""Pictures drawn by code: as many as needed, under no licence, the same for the same seed.

Each function takes a size (a side, or (H, W)) and a seed, and returns a float32 RGB picture
(3, H, W) in [0, 1]. It is drawn at twice the size and halved by `imresize`, which makes its edges
as smooth as a camera's. All raise ValueError for a side of less than 8 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from srkit.image.resize import imresize

Size = int | tuple[int, int]
Seed = int | Sequence[int]

# The axes along which natural colours vary: most in brightness, less between yellow and blue, least
# between red and green (Ruderman, Cronin and Chiao, JOSA A 1998).
COLOUR_AXES = np.array([[1, 1, 1], [0.5, 0.5, -1], [1, -1, 0]]) / np.sqrt([[3], [1.5], [2]])
COLOUR_SPREAD = np.array([1.6, 0.5, 0.2])


def dead_leaves(size: Size, seed: Seed = 0, *, smallest: float = 2.0) -> Tensor:
    """Discs that partly cover one another, with the sizes, colours and shading of natural scenes.

    The radii follow p(r) ~ r^-3 between `smallest` pixels and twice the longer side. With this law
    a picture has the same statistics at every scale, as natural ones do (Lee, Mumford and Huang,
    IJCV 2001). With smallest=2 the power spectrum falls as f^-2.2, as that of BSDS photographs
    does. Networks trained on such pictures come close to those trained on photographs (Achddou,
    Gousseau and Ladjal, SSVM 2021).
    """
    rng, (height, width) = _start(size, seed)
    low, high = 2.0 * smallest, 2.0 * max(height, width)
    # The mean area of a leaf, and so many leaves that one pixel in exp(6) = 400 is not covered.
    area = 2 * math.pi * low**2 * math.log(high / low) / (1 - (low / high) ** 2)
    count = math.ceil(6 * (height + low) * (width + low) / area)
    radius = (low**-2 - rng.random(count) * (low**-2 - high**-2)) ** -0.5
    # Centres may lie outside by a radius, else fewer leaves would cover the corners.
    y = rng.uniform(-radius, height + radius)
    x = rng.uniform(-radius, width + radius)
    which = Image.new("I", (width, height))
    draw = ImageDraw.Draw(which)
    boxes = np.stack([x - radius, y - radius, x + radius, y + radius], 1)
    for leaf, box in enumerate(boxes.tolist()):
        draw.ellipse(box, fill=leaf)
    which = np.asarray(which)  # (2H, 2W), the leaf seen at each pixel

    # The light falls off linearly across a leaf, each leaf's at its own rate and in its direction.
    slope = rng.normal(0, 0.25, (2, count)) / radius
    row, column = np.ogrid[:height, :width]
    shade = slope[0][which] * (row - y[which]) + slope[1][which] * (column - x[which])
    log_odds = _log_odds(rng, count)[which] + shade[..., None]  # (2H, 2W, 3)
    return _finish(1 / (1 + np.exp(-log_odds)))


def gratings(size: Size, seed: Seed = 0) -> Tensor:
    """Panes of smooth or sharp stripes, the finest as fine as the pixels can show."""
    rng, (height, width) = _start(size, seed)
    picture = np.empty((height, width, 3))
    for top, bottom in _cuts(rng, height):
        for left, right in _cuts(rng, width):
            angle, phase = rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
            frequency = 0.25 * 2 ** rng.uniform(-4.5, -0.2)  # cycles a pixel, before halving
            y, x = np.mgrid[top:bottom, left:right]
            wave = np.sin(2 * math.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            if rng.random() < 0.5:
                wave = np.sign(wave)
            dark, light = _colours(rng, 2)
            mix = (0.5 + 0.5 * wave)[..., None]
            picture[top:bottom, left:right] = dark * (1 - mix) + light * mix
    return _finish(picture)


def text(size: Size, seed: Seed = 0) -> Tensor:
    """Lines of random words in random sizes, in Pillow's own font."""
    rng, (height, width) = _start(size, seed)
    paper, *inks = _contrasting(rng, 4)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
    top = 0.0
    while top < height:
        points = 2 * 8 * 2 ** rng.uniform(0, 2)
        words = ("".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(1 + width // 40))
        font = ImageFont.load_default(points)
        draw.text((rng.uniform(-points, points), top), " ".join(words), inks[rng.integers(3)], font)
        top += points * rng.uniform(1.1, 1.5)
    return _finish(np.asarray(picture) / 255)


def facades(size: Size, seed: Seed = 0) -> Tensor:
    """A wall with rows and columns of windows, each a little lighter or darker."""
    rng, (height, width) = _start(size, seed)
    wall, frame, glass = _contrasting(rng, 3)
    picture = Image.new("RGB", (width, height), wall)
    draw = ImageDraw.Draw(picture)
    storey, bay = rng.uniform(20, 90, 2)  # in pixels of the doubled picture
    h, w = storey * rng.uniform(0.4, 0.8), bay * rng.uniform(0.4, 0.8)
    bars = rng.integers(1, 4, 2)
    border = rng.uniform(0.03, 0.1) * min(h, w)
    offset = rng.uniform(-1, 0, 2)
    for i in range(math.ceil(height / storey) + 1):
        top = (i + offset[0]) * storey
        draw.rectangle((0, top - border, width, top), frame)  # the ledge between two storeys
        for j in range(math.ceil(width / bay) + 1):
            y, x = top + (storey - h) / 2, (j + offset[1]) * bay + (bay - w) / 2
            draw.rectangle((x - border, y - border, x + w + border, y + h + border), frame)
            light = rng.uniform(0.7, 1.3)
            pane = tuple(min(255, round(light * channel)) for channel in glass)
            for k in range(bars[0]):
                for m in range(bars[1]):
                    y0, x0 = y + k * h / bars[0], x + m * w / bars[1]
                    y1, x1 = y0 + h / bars[0] - border, x0 + w / bars[1] - border
                    draw.rectangle((x0, y0, x1, y1), pane)
    return _finish(np.asarray(picture) / 255)


# The kinds that `pictures` draws in turn: half of them natural scenes, half made by people.
MIXTURE: tuple[Callable[[Size, Seed], Tensor], ...] = (
    dead_leaves, facades, dead_leaves, gratings, dead_leaves, text,
)  # fmt: skip


def pictures(count: int, size: Size, seed: int = 0) -> list[Tensor]:
    """`count` different pictures. The k-th one is the same for every count."""
    return [MIXTURE[i % len(MIXTURE)](size, (seed, i)) for i in range(count)]


def _start(size: Size, seed: Seed) -> tuple[np.random.Generator, tuple[int, int]]:
    """The random generator, and the height and width of the doubled picture."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 8:
        raise ValueError(f"size is {size}: expected at least 8 pixels a side.")
    return np.random.default_rng(seed), (2 * height, 2 * width)


def _finish(picture: np.ndarray) -> Tensor:
    image = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)
    return imresize(image, 0.5).clamp(0, 1)  # (2H, 2W, 3) -> (3, H, W)


def _log_odds(rng: np.random.Generator, count: int) -> np.ndarray:
    """The colours of one scene, (count, 3), as log(c / (1 - c)) for c in (0, 1)."""
    light = rng.normal(0, 0.5) * COLOUR_AXES[0] + rng.normal(0, 0.2) * COLOUR_AXES[1]
    return light + rng.normal(0, COLOUR_SPREAD, (count, 3)) @ COLOUR_AXES


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1 / (1 + np.exp(-_log_odds(rng, count)))


def _contrasting(rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """8-bit colours; the first is lighter or darker than the others by at least 0.25 of 1."""
    while True:
        colours = _colours(rng, count)
        if np.abs(colours[1:].mean(1) - colours[0].mean()).min() > 0.25:
            return [tuple(colour) for colour in (255 * colours).round().astype(int).tolist()]


def _cuts(rng: np.random.Generator, length: int) -> list[tuple[int, int]]:
    """Cut the length into one to three stretches, each as (start, stop)."""
    cuts = [0, *sorted(rng.integers(1, length, rng.integers(0, 3)).tolist()), length]
    return [(a, b) for a, b in pairwise(cuts) if a < b]
