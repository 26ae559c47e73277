"""Crops with references, for networks that take both: TTSR (Yang et al., CVPR 2020).

References(pictures, level="L1").batch(9, 40, rng)   # {"lr", "hr", "ref", "scale"}

found = groups("CUFED5")                             # inputs with references of their own
References([g.hr for g in found], [g.references[0] for g in found])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.datasets.patches import Draw, Patches, Source
from srkit.image.io import FORMATS, read_image
from srkit.image.resize import imresize
from srkit.image.tensors import to_8bit


@dataclass(frozen=True)
class Level:
    """Where a reference is taken from, and how far its view may be from the crop's.

    where: about the crop's own place ("here"), "elsewhere" in its picture, in the "other" picture,
    or "nowhere": the LR crop itself, enlarged.
    shift: in sides of the crop, along either axis; turn: degrees; zoom: a factor, each axis has its
    own; light: of contrast and of brightness. The largest that are drawn, in either direction.
    """

    where: str
    shift: float = 0.0
    turn: float = 0.0
    zoom: float = 1.0
    light: float = 0.0


# Four degrees of likeness, as CUFED5 has them, from any pictures; and no reference at all.
LEVELS = {
    "L1": Level("here", shift=0.25, turn=5, zoom=1.05, light=0.1),
    "L2": Level("here", shift=0.5, turn=20, zoom=1.25, light=0.2),
    "L3": Level("elsewhere"),
    "L4": Level("other"),
    "LR": Level("nowhere"),
}
GIVEN = Level("given")


class References:
    """The crops of `Patches`, and to each a reference "ref" of the HR crop's size.

    pictures, scale: as for `Patches`.
    given: a reference for each picture, of any size. It is cut where the HR crop is, in shares of
        the sides; beyond its border it is reflected.
    level: without `given`, one of LEVELS, from much alike to not at all. The LR and HR crops are
        the same at all levels, for the same `rng`. L3 does not overlap the HR crop, or as little
        as the picture allows.
    turned: references are flipped and turned by a symmetry of their own, as the authors of TTSR do
        in training; otherwise by the crop's, so that what is upright in it is upright in them.
    """

    def __init__(
        self,
        pictures: Sequence[Source],
        given: Sequence[Source] | None = None,
        *,
        scale: int = 4,
        level: str = "L1",
        turned: bool = True,
    ):
        if level not in LEVELS:
            raise ValueError(f"level {level!r}: one of {', '.join(LEVELS)}")
        if level == "L4" and len(pictures) < 2:
            raise ValueError("level 'L4' takes references from another picture: give two or more")
        if given is not None and len(given) != len(pictures):
            raise ValueError(f"{len(given)} references for {len(pictures)} pictures: one for each")
        self.patches, self.scale = Patches(pictures, scale), scale
        self.level = LEVELS[level] if given is None else GIVEN
        self.turned = turned
        self.given = [
            source if isinstance(source, Tensor) else to_8bit(read_image(source))
            for source in given or ()
        ]

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Tensor | int]:
        """`count` crops: "lr" (B, 3, size, size); "hr" and "ref", `scale` times that; in [0, 1]."""
        _, draws = self.patches.draw(count, size, rng, part)
        i, n = part
        chances = torch.rand(count, 9, generator=rng)[i::n].tolist()
        data = self.patches.cut(draws, size, self.scale)
        if self.level.where == "nowhere":
            data["ref"] = imresize(data["lr"], self.scale).clamp(0, 1)
        else:
            side = size * self.scale
            refs = [self._reference(*each, side) for each in zip(draws, chances, strict=True)]
            data["ref"] = torch.stack(refs)
        return data

    def _reference(self, draw: Draw, chances: Sequence[float], side: int) -> Tensor:
        """(3, side, side), decided by nine numbers in [0, 1)."""
        u, v, turn, which, *rest = chances
        angle, zoom_y, zoom_x, contrast, brightness = (2 * x - 1 for x in rest)
        level, k = self.level, draw.picture
        picture = self.patches.picture(k)
        top, left = draw.top * self.scale, draw.left * self.scale
        if level.where == "here":
            top += level.shift * side * (2 * u - 1)
            left += level.shift * side * (2 * v - 1)
        elif level.where == "elsewhere":
            top, left = elsewhere(top, left, *picture.shape[1:], side, u, v)
        elif level.where == "other":
            others = len(self.patches.hr) - 1
            picture = self.patches.picture((k + 1 + int(which * others)) % (others + 1))
            top = int(u * (picture.shape[1] - side + 1))
            left = int(v * (picture.shape[2] - side + 1))
        else:
            (height, width), picture = picture.shape[1:], self.given[k]
            top = round(top / max(height - side, 1) * (picture.shape[1] - side))
            left = round(left / max(width - side, 1) * (picture.shape[2] - side))
        a = torch.tensor(angle * level.turn).deg2rad()
        turned = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()]).view(2, 2)
        zoomed = torch.tensor([level.zoom**zoom_y, level.zoom**zoom_x])
        own = symmetry(int(turn * 8) if self.turned else draw.symmetry)
        ref = view(picture, (top, left), turned * zoomed @ own, side)
        return (ref * (1 + level.light * contrast) + level.light * brightness / 2).clamp(0, 1)


def view(picture: Tensor, corner: tuple[float, float], matrix: Tensor, side: int) -> Tensor:
    """What a square window of a uint8 picture (3, H, W) shows, (3, side, side) in [0, 1].

    Pixel p of the view, counted from its middle, is the picture's at corner + (side - 1) / 2 +
    matrix p, rows first; between pixels cubic, beyond the border reflected.
    """
    n = torch.arange(side) - (side - 1) / 2
    steps = torch.stack(torch.meshgrid(n, n, indexing="ij"), -1)  # (side, side, 2)
    at = torch.tensor(corner) + (side - 1) / 2 + steps @ matrix.T
    # only what is seen is made floats, and 2 pixels around it for the cubic
    limits = torch.tensor(picture.shape[1:]) - 1
    low = (at.amin((0, 1)).floor() - 2).minimum(limits - 1).clamp_min(0).long()
    high = (at.amax((0, 1)).ceil() + 2).minimum(limits).maximum(low + 1).long()
    seen = picture[:, low[0] : high[0] + 1, low[1] : high[1] + 1] / 255
    grid = 2 * (at - low) / (high - low) - 1  # (row, column) in [-1, 1]
    return F.grid_sample(
        seen[None], grid.flip(-1)[None], "bicubic", "reflection", align_corners=True
    )[0]


def symmetry(number: int) -> Tensor:
    """One of the square's 8 symmetries, as in `patches.Draw`, for (row, column)."""
    y, x = (-1.0 if number & bit else 1.0 for bit in (1, 2))
    return torch.tensor([[0, y], [x, 0]] if number & 4 else [[y, 0], [0, x]])


def elsewhere(
    top: int, left: int, height: int, width: int, side: int, u: float, v: float
) -> tuple[int, int]:
    """A place for a crop that does not overlap the one at (top, left), decided by u and v.

    Apart along the axis where there is more room; with none, the corner that is farthest.
    """
    last = height - side, width - side
    rows, columns = (
        [*range(at - side + 1), *range(at + side, end + 1)]
        for at, end in zip((top, left), last, strict=True)
    )
    if rows and len(rows) >= len(columns):
        return rows[int(u * len(rows))], int(v * (last[1] + 1))
    if columns:
        return int(v * (last[0] + 1)), columns[int(u * len(columns))]
    return (0 if 2 * top > last[0] else last[0]), (0 if 2 * left > last[1] else last[1])


@dataclass(frozen=True)
class Group:
    """A picture and its references, the most alike first."""

    name: str
    hr: Path
    references: tuple[Path, ...]


def groups(folder: str | os.PathLike) -> list[Group]:
    """The groups in a folder laid out as CUFED5's, ordered by name.

    Its test pictures are NAME_0 with the references NAME_1, NAME_2 and so on; its training pairs
    have one name in `input` and in `ref`.

    Raises FileNotFoundError for a folder with neither, ValueError for a picture without reference.
    """
    folder = Path(folder)
    if (folder / "input").is_dir():
        found = [
            Group(hr.stem, hr, tuple(_pictures(folder / "ref", f"{escape(hr.stem)}.*")))
            for hr in _pictures(folder / "input", "*")
        ]
    else:
        found = [
            Group(hr.stem[:-2], hr, tuple(_pictures(folder, f"{escape(hr.stem[:-2])}_[1-9].*")))
            for hr in _pictures(folder, "*_0.*")
        ]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no pictures NAME_0 with references NAME_1, NAME_2 ..., and no folders "
            "input and ref with pictures of the same names"
        )
    if alone := [group.name for group in found if not group.references]:
        raise ValueError(f"{folder} lacks the references of {', '.join(alone)}")
    return found


def _pictures(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in FORMATS)
