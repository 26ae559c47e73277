"""Crops with reference pictures, for networks that take both: TTSR (Yang et al., CVPR 2020).

References(pictures, level="L1").batch(9, 40, rng)   # {"lr", "hr", "ref", "scale"}

found = groups("CUFED5")                             # pictures that come with references
References([g.hr for g in found], [g.references[0] for g in found])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.datasets.patches import Draw, Patches, PictureOrPath
from srkit.image.folder import only_pictures
from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import to_8bit


@dataclass(frozen=True)
class Level:
    """Where a reference is taken from, and how much it may differ from the crop.

    where: "here", around the place of the crop; "elsewhere" in its picture; in an "other" picture;
    "given", in the picture that was given as a reference; or "nowhere", the enlarged LR crop.
    The rest are the largest random changes, in either direction. shift: along each axis, in sides
    of the crop. turn: in degrees. zoom: a factor, for each axis. light: of the contrast as a share,
    and half as much of the brightness.
    """

    where: str
    shift: float = 0.0
    turn: float = 0.0
    zoom: float = 1.0
    light: float = 0.0


# Four degrees of likeness, as in CUFED5, but from any pictures; "LR" is without a reference.
LEVELS = {
    "L1": Level("here", shift=0.25, turn=5, zoom=1.05, light=0.1),
    "L2": Level("here", shift=0.5, turn=20, zoom=1.25, light=0.2),
    "L3": Level("elsewhere"),
    "L4": Level("other"),
    "LR": Level("nowhere"),
}
GIVEN = Level("given")


class References(Patches):
    """The crops of `Patches`, each with a reference: "ref", of the HR crop's size.

    pictures, scale: as for `Patches`.
    given: a reference for each picture, of any size. Its crop lies where the HR crop does, in
        shares of the sides; beyond the border the reference is reflected.
    level: without `given`, one of LEVELS, from very similar to unrelated. For the same `rng` the LR
        and HR crops are the same at all levels. An L3 reference overlaps the HR crop only if the
        picture leaves no other place.
    turned: True flips and turns each reference in its own way, as TTSR's authors do in training;
        False in the same way as its crop, so that both stay upright together.

    Raises ValueError for an unknown level, L4 with fewer than two pictures, or a number of
    references other than that of pictures; and what `Patches` raises.
    """

    def __init__(
        self,
        pictures: Sequence[PictureOrPath],
        given: Sequence[PictureOrPath] | None = None,
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
        super().__init__(pictures, scale)
        self.scale = scale
        self.level = LEVELS[level] if given is None else GIVEN
        self.turned = turned
        self.given = [
            source if isinstance(source, Tensor) else to_8bit(read_image(source))
            for source in given or ()
        ]

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """A batch of `Patches`, and "ref", of the size of "hr", in [0, 1]."""
        _, draws = self.draw(count, size, rng, part)
        i, n = part
        chances = torch.rand(count, 9, generator=rng, device="cpu")[i::n].tolist()
        data = self.cut(draws, size, self.scale)
        if self.level.where == "nowhere":
            data["ref"] = imresize(data["lr"], self.scale).clamp(0, 1)
        else:
            side = size * self.scale
            pairs = zip(draws, chances, strict=True)
            refs = [self._reference(draw, nine, side) for draw, nine in pairs]
            data["ref"] = torch.stack(refs)
        return data

    def _reference(self, draw: Draw, chances: Sequence[float], side: int) -> Tensor:
        """The reference (3, side, side) of a crop; the nine random numbers in [0, 1) decide it."""
        u, v, turn, which, *rest = chances
        angle, zoom_y, zoom_x, contrast, brightness = (2 * x - 1 for x in rest)
        level, k = self.level, draw.picture
        picture = self.picture(k)
        height, width = picture.shape[1:]
        top, left = draw.top * self.scale, draw.left * self.scale
        if level.where == "here":
            top += level.shift * side * (2 * u - 1)
            left += level.shift * side * (2 * v - 1)
        elif level.where == "elsewhere":
            top, left = elsewhere(top, left, height, width, side, u, v)
        elif level.where == "other":
            others = len(self.hr) - 1
            picture = self.picture((k + 1 + int(which * others)) % (others + 1))
            top = int(u * (picture.shape[1] - side + 1))
            left = int(v * (picture.shape[2] - side + 1))
        else:
            picture = self.given[k]
            top = round(top / max(height - side, 1) * (picture.shape[1] - side))
            left = round(left / max(width - side, 1) * (picture.shape[2] - side))
        a = torch.tensor(angle * level.turn, device="cpu").deg2rad()
        turned = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()]).view(2, 2)
        zoomed = torch.tensor([level.zoom**zoom_y, level.zoom**zoom_x], device="cpu")
        own = symmetry(int(turn * 8) if self.turned else draw.symmetry)
        ref = view(picture, (top, left), turned * zoomed @ own, side)
        return (ref * (1 + level.light * contrast) + level.light * brightness / 2).clamp(0, 1)


def view(picture: Tensor, corner: tuple[float, float], matrix: Tensor, side: int) -> Tensor:
    """A square, possibly turned, zoomed and sheared, of a uint8 picture: (3, side, side) in [0, 1].

    With p counted from the middle of the square, its pixel p is the picture at
    corner + (side - 1) / 2 + matrix p, in (row, column). Values between pixels are cubic; beyond
    the border the picture is reflected.
    """
    n = torch.arange(side, device="cpu") - (side - 1) / 2
    steps = torch.stack(torch.meshgrid(n, n, indexing="ij"), -1)  # (side, side, 2)
    at = torch.tensor(corner, device="cpu") + (side - 1) / 2 + steps @ matrix.T
    # only the part that is seen becomes floats, with 2 pixels around it for the cubic kernel
    limits = torch.tensor(picture.shape[1:], device="cpu") - 1
    low = (at.amin((0, 1)).floor() - 2).minimum(limits - 1).clamp_min(0).long()
    high = (at.amax((0, 1)).ceil() + 2).minimum(limits).maximum(low + 1).long()
    seen = picture[:, low[0] : high[0] + 1, low[1] : high[1] + 1] / 255
    grid = 2 * (at - low) / (high - low) - 1  # (row, column) in [-1, 1]
    return F.grid_sample(
        seen[None], grid.flip(-1)[None], "bicubic", "reflection", align_corners=True
    )[0]


def symmetry(number: int) -> Tensor:
    """The matrix, for (row, column), of one of the square's 8 symmetries as `Draw` numbers them."""
    y, x = (-1.0 if number & bit else 1.0 for bit in (1, 2))
    return torch.tensor([[0, y], [x, 0]] if number & 4 else [[y, 0], [0, x]], device="cpu")


def elsewhere(
    top: int, left: int, height: int, width: int, side: int, u: float, v: float
) -> tuple[int, int]:
    """A place for a crop that does not overlap the one at (top, left); u and v in [0, 1) decide it.

    The two are apart along the axis that has more room. With no room it is the farthest corner.
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
    """A picture and its references, the most similar first."""

    name: str
    hr: Path
    references: tuple[Path, ...]


def groups(folder: str | os.PathLike) -> list[Group]:
    """The pictures with references in a folder laid out like CUFED5, ordered by name.

    Test pictures are NAME_0 with the references NAME_1, NAME_2 and so on. Training pairs have the
    same name in the folders `input` and `ref`.

    Raises FileNotFoundError for a folder with neither, ValueError for a picture without references.
    """
    folder = Path(folder)
    found = []
    if (folder / "input").is_dir():
        for hr in only_pictures((folder / "input").iterdir()):
            refs = only_pictures((folder / "ref").glob(f"{escape(hr.stem)}.*"))
            found.append(Group(hr.stem, hr, tuple(refs)))
    else:
        for hr in only_pictures(folder.glob("*_0.*")):
            name = hr.stem.removesuffix("_0")
            refs = only_pictures(folder.glob(f"{escape(name)}_[1-9].*"))
            found.append(Group(name, hr, tuple(refs)))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no pictures NAME_0 with references NAME_1, NAME_2 ..., and no folders "
            "input and ref with pictures of the same names"
        )
    if alone := [group.name for group in found if not group.references]:
        raise ValueError(f"{folder} lacks the references of {', '.join(alone)}")
    return found
