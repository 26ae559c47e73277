"""`show`: a picture, or several, in a notebook; in a terminal one line about them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from srkit.image.io import ImageLike, Picture, as_image
from srkit.image.sheet import contact_sheet
from srkit.viz.figure import Figure, check_alt, encode, frame, img, pixels

SMALL = 256  # CSS pixels that a small picture is enlarged to, by whole numbers, with square pixels

Shown = ImageLike | Picture


def show(what: Shown | Sequence[Shown] | Mapping[str, Shown], *, alt: str | None = None) -> Figure:
    """A picture as it is, pixel by pixel; several as a sheet of small ones with their names.

    what: a path, a tensor (3, H, W) or (B, 3, H, W) in [0, 1], an array, a PIL image or a Picture;
        a list of these, or a dictionary by name. Transparency is not shown.
    alt: what it shows, for readers who cannot see it; unless given, its name and size.

    Raises ValueError for no pictures and an empty alt, and what `as_image` raises.
    """
    if alt is not None:
        check_alt(alt)
    if isinstance(what, Tensor) and what.ndim == 4:
        what = list(what)
    if isinstance(what, Sequence) and not isinstance(what, str):
        names = [_name(one) or str(k) for k, one in enumerate(what)]
        again = len(set(names)) < len(names)
        names = [f"{k} {name}" for k, name in enumerate(names)] if again else names
        what = dict(zip(names, what, strict=True))
    if isinstance(what, Mapping):
        sheet = contact_sheet({name: _image(one) for name, one in what.items()})
        alt = alt or f"{len(what)} pictures: {', '.join(what)}"
        data = encode(sheet, "jpeg")
        return Figure(frame(img(data, alt, width=sheet.width, smooth=True)), data, alt)
    image = as_image(_image(what))
    height, width = image.shape[-2:]
    name = _name(what)
    alt = alt or f"{name or 'a picture'}, {width} x {height} pixels"
    return pixels(image, alt=alt, zoom=max(1, SMALL // max(height, width)), caption=name)


def _image(one: Shown) -> ImageLike:
    return one.rgb if isinstance(one, Picture) else one


def _name(one: Shown) -> str:
    path = one.path if isinstance(one, Picture) else one
    return Path(path).name if isinstance(path, str | os.PathLike) else ""
