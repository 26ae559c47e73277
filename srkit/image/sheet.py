"""Several pictures on one sheet, small, with their names below."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from srkit.image.io import ImageLike, as_image
from srkit.image.tensors import to_8bit

SIDE, COLUMNS, LINE, GAP = 160, 5, 16, 8  # pixels, but for the columns


def contact_sheet(pictures: Mapping[str, ImageLike]) -> Image.Image:
    """Pictures by name, reduced to 160 pixels a side at most, five a row, on white.

    For looking at, not for measuring: they are reduced by Pillow.

    Raises ValueError for no pictures, and what `as_image` raises.
    """
    if not pictures:
        raise ValueError("no pictures: give at least one")
    cell, rows = SIDE + GAP, -(-len(pictures) // COLUMNS)
    size = (cell * min(len(pictures), COLUMNS) + GAP, (cell + LINE) * rows + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for k, (name, picture) in enumerate(pictures.items()):
        pixels = to_8bit(as_image(picture).detach().cpu()).permute(1, 2, 0).numpy()
        small = Image.fromarray(pixels)
        small.thumbnail((SIDE, SIDE))
        x, y = GAP + cell * (k % COLUMNS), GAP + (cell + LINE) * (k // COLUMNS)
        sheet.paste(small, (x, y + SIDE - small.height))
        draw.text((x, y + SIDE), name[:24], "black", font)
    return sheet
