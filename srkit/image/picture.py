"""A picture in memory, and what the readers of all formats share.

Each format has a module with one reader: a function of the bytes of a file, and of a list to which
it adds, in words, what of the file is lost. Pixels and tags are read apart: a reader takes the file
to pieces, makes sure that all pixels are there, and gives Pillow a file of nothing but those.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile
from PIL.ExifTags import Base as Tag
from torch import Tensor

from srkit.image.metadata import resolution, tidy_exif
from srkit.image.tensors import to_pixels

MAX_ICC = 64 << 20  # bytes; real ones have up to a few million

_GREY = ("1", "L", "LA")  # Pillow's pixel modes of at most 8 bits
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


@dataclass
class Picture:
    """An image and what its file says beside the colours.

    rgb: (3, H, W) in [0, 1], upright. alpha: (1, H, W) in [0, 1], or None where all is opaque; the
    colours are not multiplied by it. bits: 8 or 16 a channel. grey: the file has no colours, the
    three channels are equal. icc, exif: the file's own; of EXIF without the orientation, which is
    already applied. dpi: resolution, pixels an inch across and down, or None where it is not given.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    path: Path | None = None
    dpi: tuple[float, float] | None = None

    def __repr__(self) -> str:
        height, width = self.rgb.shape[-2:]
        what = "grey" if self.grey else "RGB"
        facts = [f"{width} x {height}", f"{what}{' and alpha' if self.alpha is not None else ''}"]
        facts += (
            [f"{self.bits} bits"] + ["ICC profile"] * bool(self.icc) + ["EXIF"] * bool(self.exif)
        )
        return f"<Picture {', '.join(facts)}{f', {self.path.name}' if self.path else ''}>"

    def _repr_png_(self) -> bytes:
        """What a notebook shows: 8 bits, with alpha."""
        planes = [self.rgb] + ([] if self.alpha is None else [self.alpha])
        file = BytesIO()
        Image.fromarray(to_pixels(torch.cat(planes), np.uint8)).save(file, "PNG")
        return file.getvalue()


class Refusal(ValueError):
    """A picture that is whole, of a kind that is not taken."""


def refuse_frames(count: int | str) -> None:
    raise Refusal(f"{count} frames or pages; save the one you want by itself.")


def check_size(width: int, height: int) -> None:
    """Pillow's limit, before anything of that size is made."""
    if width < 1 or height < 1:
        raise ValueError(f"its header says {width} x {height} pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > 2 * limit:
        raise Image.DecompressionBombError(f"{width * height} pixels, limit {2 * limit}")


def inflate(data: bytes, size: int, most: int) -> tuple[bytes, bool]:
    """The first `size` bytes, or fewer, of a zlib stream, and whether it goes on behind them.

    Raises zlib.error unless the stream ends as it should, with its checksum, after `most` bytes at
    most: little data can unpack to a thousand times as much.
    """
    stream = zlib.decompressobj()
    out = stream.decompress(data, size)
    if len(out) < size:
        return out, False
    more = stream.decompress(stream.unconsumed_tail, max(0, most - size) + 1)
    if not stream.eof:
        raise zlib.error(f"{size} bytes are expected, and its packed data does not end there")
    return out, bool(more)


def opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """A file in memory, opened by Pillow as the format `kind` and as no other."""
    return Image.open(BytesIO(data), formats=(kind,))


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """Pixels (H, W) or (H, W, C), uint8, or uint16 for 16-bit grey; palette and CMYK as RGB."""
    if 0 in image.size:
        raise Refusal(f"the image has {image.width} x {image.height} pixels: there is none in it.")
    if image.mode.startswith("I;16"):
        return np.array(image)
    if image.mode == "CMYK":
        return from_inks(np.array(image), image.info.get("icc_profile"), [])
    if image.mode not in _GREY + _COLOUR:
        raise Refusal(f"pixel mode {image.mode} is not taken; convert it to RGB or grey.")
    mode = "L" if image.mode in _GREY else "RGB"
    return np.array(image.convert(mode + "A" if image.has_transparency_data else mode))


def from_inks(pixels: np.ndarray, icc: bytes | None, lost: list[str]) -> np.ndarray:
    """(H, W, 4 or 5) CMYK, with alpha -> RGB: through a profile of CMYK, or (1 - C) (1 - K)."""
    peak, inks = int(np.iinfo(pixels.dtype).max), pixels[..., :4]
    light = peak - inks.astype(np.uint64)
    rgb = ((light[..., :3] * light[..., 3:] + peak // 2) // peak).astype(pixels.dtype)
    if icc and icc[16:20] != b"CMYK":
        lost.append("its ICC profile is not of CMYK and was left out")
    elif icc and peak > 255:
        raise Refusal(
            "its samples are CMYK with an ICC profile, unsigned, 16 bits a channel; "
            "convert it to RGB, or save it with 8 bits."
        )
    elif icc:
        image = Image.fromarray(np.ascontiguousarray(inks), "CMYK")
        srgb = ImageCms.createProfile("sRGB")
        try:
            converted = ImageCms.profileToProfile(image, BytesIO(icc), srgb, outputMode="RGB")
            rgb = np.array(converted)
        except (ImageCms.PyCMSError, OSError):
            lost.append("its ICC profile is damaged and was left out")
    return np.concatenate([rgb, pixels[..., 4:]], -1)


def make_picture(
    pixels: np.ndarray,
    lost: list[str],
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    orientation: int | None = None,
) -> Picture:
    """The Picture of pixels (H, W) or (H, W, C), uint8 or uint16, and of what goes with them.

    orientation: of the file; None: that of EXIF, or of XMP.
    """
    exif, found = tidy_exif(exif, lost) if exif else (None, {})
    turn = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp or b"")
    if orientation is None:
        orientation = int(found.get(Tag.Orientation) or (turn[1] if turn else 1))
    x, y = found.get(Tag.XResolution), found.get(Tag.YResolution)
    if dpi is None and x and y:
        dpi = resolution(x, y, {2: 1, 3: 2.54}.get(int(found.get(Tag.ResolutionUnit, 1))), lost)
    if dpi and orientation in (5, 6, 7, 8):
        dpi = dpi[1], dpi[0]
    depth = np.iinfo(pixels.dtype)
    planes = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)  # (C, H, W), C = 1 to 4
    planes = _upright(planes, orientation)
    colours, size = 3 if len(planes) > 2 else 1, planes.shape[1:]

    def floats(count: int, part: Tensor) -> Tensor:
        # no second copy of floats
        return torch.empty(count, *size, device=part.device).copy_(part).div_(depth.max)

    return Picture(
        rgb=floats(3, planes[:colours]),
        alpha=floats(1, planes[-1:]) if len(planes) > colours else None,
        bits=depth.bits,
        grey=colours == 1,
        icc=icc,
        exif=exif,
        dpi=dpi,
    )


def _upright(x: Tensor, orientation: int) -> Tensor:
    """EXIF orientation undone: 5 to 8 swap the axes, then flips."""
    if orientation in (5, 6, 7, 8):
        x = x.transpose(-2, -1)
    flips = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}
    return x.flip(flips.get(orientation, []))
