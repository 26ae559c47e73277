"""Crops with a map of what each pixel shows, for networks that take such a map (SFTGAN).

`textures` draws pictures with their maps. The LR picture says little of which texture it was, the
map says it all.

made = [textures(128, (0, k)) for k in range(100)]   # each a picture and its labels
Priors(*zip(*made), classes=len(TEXTURES)).batch(8, 16, rng)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.datasets.patches import Patches, PictureOrPath
from srkit.datasets.procedural import Seed, Size
from srkit.image.resize import imresize

# The classes of `textures`: 0 has no texture, each other one is a wave of its own form.
TEXTURES = ("plain", "ripples", "stripes", "blades", "joints")
PERIODS = (9.0, 13.0)  # pixels
REGIONS = 3
PEAK = 0.2  # width of blades and joints, in periods


def profile(kind: str, phase: np.ndarray) -> np.ndarray:
    """The height of a wave at a phase in radians. Every kind has the mean 0 and the fundamental
    cos(phase); the kinds differ in their harmonics only.

    At the PERIODS of `textures` an x4 LR picture keeps the fundamental and little of the harmonics,
    which bicubic weakens and folds. That is not nothing: blades and joints still differ from
    ripples by a sixth of what they did, and in the sign of their skew. Stripes hardly differ.

    Raises ValueError for an unknown kind.
    """
    wave = np.cos(phase)
    if kind == "ripples":
        return wave
    if kind == "stripes":  # as wide as their gaps
        return np.pi / 4 * np.sign(wave)
    if kind not in ("blades", "joints"):
        raise ValueError(f"texture {kind!r}: one of {', '.join(TEXTURES[1:])}")
    sign = 1 if kind == "blades" else -1  # thin and light, or thin and dark
    pulse = (sign * wave > math.cos(math.pi * PEAK)) - PEAK
    return sign * pulse * np.pi / (2 * math.sin(math.pi * PEAK))


def textures(size: Size, seed: Seed = 0) -> tuple[Tensor, Tensor]:
    """A uint8 picture (3, H, W) of three regions, and the class of each pixel, (H, W), in TEXTURES.

    A region is what lies nearest to a random centre. Each has its own class, direction, period and
    colours. The picture is drawn at twice the size and halved by `imresize`.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(seed)
    y, x = np.indices((2 * height, 2 * width)) / 2
    centres = rng.uniform((0, 0), (height, width), (REGIONS, 2))
    nearest = np.stack([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres]).argmin(0)
    kinds = rng.permutation(len(TEXTURES))[:REGIONS]
    picture = np.empty((2 * height, 2 * width, 3))
    for region, kind in enumerate(kinds):
        inside = nearest == region
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        along = (x * np.cos(angle) + y * np.sin(angle))[inside]
        wave = 2 * np.pi / rng.uniform(*PERIODS) * along + phase
        height_of = profile(TEXTURES[kind], wave) if kind else np.zeros_like(wave)
        contrast = rng.uniform(0.08, 0.14) * rng.uniform(0.7, 1, 3)
        picture[inside] = rng.uniform(0.35, 0.65, 3) + height_of[:, None] * contrast
    image = torch.from_numpy(np.round(255 * picture.clip(0, 1)).astype(np.uint8)).permute(2, 0, 1)
    labels = torch.from_numpy(kinds[nearest[::2, ::2]].astype(np.uint8))
    return imresize(image, 0.5), labels  # (2H, 2W, 3) -> (3, H, W), and (H, W)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (..., H, W) as probabilities (..., classes, H, W): 1 for the label, 0 for the rest."""
    return F.one_hot(labels.long(), classes).movedim(-1, -3).float()


class Priors(Patches):
    """The crops of `Patches`, each with its "prior" and its "category".

    pictures, scale: as for `Patches`.
    labels: of each picture the class of each pixel, uint8 (H, W), less than `classes`.

    Raises ValueError for labels of another size than their picture, or of `classes` and above; and
    what `Patches` raises.
    """

    def __init__(
        self,
        pictures: Sequence[PictureOrPath],
        labels: Sequence[Tensor],
        *,
        classes: int,
        scale: int = 4,
    ):
        super().__init__(pictures, scale)
        self.classes, self.scale = classes, scale
        # labels have a store of their own, and are cut, flipped and turned as the pictures are
        self.labels = Patches([each.expand(3, -1, -1) for each in labels], scale)
        if self.hr != self.labels.hr:
            raise ValueError("labels (H, W) are needed for each picture, of its size")
        if (top := max(int(each.max()) for each in labels)) >= classes:
            raise ValueError(f"a label is {top}, and the classes are 0 to {classes - 1}")

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """A batch of `Patches`; "prior" (B, classes, rh, rw), the probability of each class at each
        HR pixel; and "category" (B,), the most frequent class of each crop."""
        _, draws = self.draw(count, size, rng, part)
        maps = self.labels.cut(draws, size, self.scale)["hr"][:, 0].mul(255).round().long()
        return self.cut(draws, size, self.scale) | {
            "prior": one_hot(maps, self.classes),
            "category": maps.flatten(1).mode().values,
        }
