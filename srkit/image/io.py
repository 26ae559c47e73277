"""Reads picture files as tensors, and writes tensors as picture files.

An image is a float32 RGB tensor in [0, 1], (3, H, W). A `Picture` is an image with what a file says
beside its colours: transparency, depth, whether it is grey, ICC profile, EXIF, resolution. How each
format is read is in the module of its name: `png`, `jpeg`, `webp`, `tiff`, `bmp`, `netpbm`.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.ExifTags import Base as Tag
from torch import Tensor

from srkit.checks import expanded
from srkit.files import Damaged, write_whole
from srkit.image.bmp import read_bmp
from srkit.image.colour import to_y
from srkit.image.jpeg import read_jpeg
from srkit.image.metadata import tidy_exif
from srkit.image.netpbm import read_netpbm
from srkit.image.picture import Picture, Refusal, make_picture, pillow_pixels
from srkit.image.png import read_png, write_png_16bit
from srkit.image.target import FORMATS, check_target
from srkit.image.tensors import check_image, to_pixels
from srkit.image.tiff import read_tiff
from srkit.image.webp import read_webp

# How a file begins, and what reads it.
_READERS = (
    (rb"\x89PNG\r\n\x1a\n", read_png),
    (rb"\xff\xd8\xff", read_jpeg),
    (rb"RIFF....WEBP", read_webp),
    (rb"II[*+]\0|MM\0[*+]", read_tiff),
    (rb"BM", read_bmp),
    (rb"P[1-7]\s", read_netpbm),
)

MOST_DPI = 65_535  # pixels an inch; JPEG counts them in 16 bits

ImageLike = str | os.PathLike | Image.Image | np.ndarray | Tensor
Kind = TypeVar("Kind", Tensor, np.ndarray, Image.Image)


def read_image(path: str | os.PathLike) -> Tensor:
    """The colours of a picture file: (3, H, W) float32 RGB in [0, 1], upright; alpha is dropped.

    Raises what `read_picture` raises.
    """
    return read_picture(path).rgb


def read_picture(path: str | os.PathLike) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, BMP, PGM or PPM file; `write_picture` gives the same picture.

    Samples are unsigned, of 1, 2, 4 or 8 bits, in PNG, TIFF, PGM and PPM also of 16: grey, RGB,
    palette, CMYK or 8-bit YCbCr. CMYK goes through its ICC profile to sRGB; without one of CMYK it
    is (1 - C) (1 - K). `PIL.Image.MAX_IMAGE_PIXELS` sets the limit: twice that, 179 million pixels.

    No tag can stop the pixels, and all of them must be there: checksums (PNG, TIFF's Deflate), the
    rows and the end of a scan are checked, whatever PIL.ImageFile.LOAD_TRUNCATED_IMAGES says.

    Kept are the ICC profile, EXIF and the resolution; EXIF's orientation is applied, its thumbnail
    left out. One warning a file tells what was lost: damaged tags, colours that are not sRGB (the
    numbers are taken as sRGB), pixels that are not square, the EXIF of a TIFF. Text, XMP and
    background colours are left out without a word.

    Raises FileNotFoundError, PermissionError, `srkit.files.Damaged` (a ValueError) for what is no
    picture, cut short, damaged or of another kind, and ValueError for a folder or a picture above
    the limit.
    """
    path = expanded(path)
    try:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file (looked from {Path.cwd()}).")
        if not path.is_file():
            raise ValueError(f"{path} is not a file but a folder or device: pass one picture.")
        data = path.read_bytes()
    except PermissionError:
        raise PermissionError(
            f"{path} may not be read by this user: allow it (chmod u+r), or copy the file."
        ) from None
    if not data:
        raise Damaged(f"{path} is empty (0 bytes): fetch or copy it again.")
    lost: list[str] = []
    try:
        with _strictly():
            read = next((r for start, r in _READERS if re.match(start, data, re.DOTALL)), None)
            if read is None:
                raise UnidentifiedImageError
            picture = read(data, lost)
    except Refusal as refusal:
        raise Damaged(f"{path}: {refusal}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} is too large, perhaps a decompression bomb ({error}): crop it, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from None
    except UnidentifiedImageError:
        raise Damaged(
            f"{path} is not a picture that srkit reads, or its header is damaged: "
            "convert it to PNG, JPEG, WebP, TIFF or BMP."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged bytes
        raise Damaged(
            f"{path} cannot be decoded, it may be cut short or damaged ({error}): "
            "fetch or copy it again, or convert it to PNG."
        ) from error
    _tell(path, lost)
    picture.path = path
    return picture


def _tell(path: Path, lost: list[str]) -> None:
    """One warning for all that a file loses."""
    if lost:
        warnings.warn(f"{path}: {'; '.join(dict.fromkeys(lost))}.", stacklevel=3)


_strict = threading.Lock()
_reading, _truncated_allowed = 0, False


@contextmanager
def _strictly() -> Iterator[None]:
    """Pillow's switch that lets cut files pass is off while any thread reads."""
    global _reading, _truncated_allowed
    with _strict:
        if not _reading:
            _truncated_allowed = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _reading += 1
    try:
        yield
    finally:
        with _strict:
            _reading -= 1
            if not _reading:
                ImageFile.LOAD_TRUNCATED_IMAGES = _truncated_allowed


def write_image(
    image: Tensor, path: str | os.PathLike, *, bits: int = 8, quality: int = 95
) -> None:
    """Write an image, (3, H, W) RGB in [0, 1], in the format that the suffix names.

    Values are clamped and rounded half up to 8 bits, or to 16 in PNG and TIFF. quality: of JPEG
    (always with full colour resolution) and WebP, whose 100 is lossless.

    Raises what `write_picture` raises.
    """
    write_picture(Picture(image, bits=bits), path, quality=quality)


def write_picture(picture: Picture, path: str | os.PathLike, *, quality: int = 95) -> None:
    """Write a picture with its alpha, depth, ICC profile and EXIF; see `write_image`.

    A grey picture is written with one channel, its luma. An ICC profile goes along where it fits
    what is written (grey or RGB); BMP takes none. EXIF goes to PNG, JPEG (up to 64 KiB) and WebP,
    with the new size in it. The resolution goes along, in whole numbers where the format has no
    others. A warning tells what cannot be written; a profile of sRGB is left out without one.

    Raises what `check_target` raises, ValueError for another quality than 0 to 100, and TypeError
    or ValueError for what is no image (`check_image`).
    """
    path = expanded(path)
    if not (isinstance(quality, int) and 0 <= quality <= 100):
        raise ValueError(f"quality={quality!r}: expected a whole number from 0 to 100")
    rgb, alpha, bits = picture.rgb, picture.alpha, picture.bits
    check_image(rgb, f"image for {path}", batch=False)
    height, width = rgb.shape[1:]
    kind = check_target(path, height, width, bits=bits, alpha=alpha is not None)
    if alpha is not None:
        if alpha.shape != (1, *rgb.shape[1:]):
            raise ValueError(
                f"alpha for {path} has shape {tuple(alpha.shape)}, expected "
                f"{(1, *rgb.shape[1:])}: resize it with the picture."
            )
        check_image(alpha.expand(3, -1, -1), f"alpha for {path}", batch=False)

    grey = channels_to_write(picture, kind) < 3
    planes = [to_y(rgb, full=True) if grey else rgb] + ([] if alpha is None else [alpha])
    pixels = to_pixels(torch.cat(planes), np.uint8 if bits == 8 else np.uint16)
    write_pixels(pixels, picture, path, quality=quality)


def channels_to_write(picture: Picture, kind: str) -> int:
    """How many channels a file of the format `kind` has of it: 1 or 3, and one more for alpha."""
    clear = picture.alpha is not None
    # WebP has no grey, and Pillow opens no 16-bit TIFF of grey with alpha.
    colour_only = kind == "WEBP" or (kind == "TIFF" and picture.bits == 16 and clear)
    return (1 if picture.grey and not colour_only else 3) + clear


def write_pixels(
    pixels: np.ndarray, picture: Picture, path: str | os.PathLike, *, quality: int = 95
) -> None:
    """Write pixels that are whole numbers already, with what `picture` says beside its colours.

    pixels: (H, W, C), uint8, or uint16 in PNG and TIFF; C is 1 or 3, and one more for alpha: see
    `channels_to_write`. Nothing is asked of the target: `check_target` did. See `write_picture`.
    """
    path = expanded(path)
    kind, bits = FORMATS[path.suffix.lower()], 8 * pixels.itemsize
    height, width, channels = pixels.shape
    grey = channels < 3
    lost: list[str] = []
    icc = picture.icc
    if icc and (kind == "BMP" or icc[16:20] != (b"GRAY" if grey else b"RGB ")):
        if b"sRGB" not in icc.replace(b"\0", b""):
            what = "a BMP" if kind == "BMP" else f"a {'grey' if grey else 'colour'} picture"
            lost.append(f"the ICC profile does not fit into {what} and was left out")
        icc = None
    dpi = picture.dpi
    if dpi and not all(0 < each <= MOST_DPI for each in dpi):
        lost.append(f"a resolution of {dpi[0]:g} x {dpi[1]:g} pixels an inch was left out")
        dpi = None
    exif = _exif_to_write(replace(picture, dpi=dpi), (width, height), kind, lost)
    _tell(path, lost)
    pixels = pixels[..., 0] if channels == 1 else pixels
    with write_whole(path) as file:
        if bits == 8:
            options = {
                "JPEG": {"quality": quality, "subsampling": 0},
                "WEBP": {"quality": quality, "lossless": quality == 100, "exact": True},
                "TIFF": {"compression": "tiff_adobe_deflate"},
            }.get(kind, {})
            if exif:
                options["exif"] = exif
            if dpi and kind != "WEBP":
                options["dpi"] = dpi
            # libtiff, given a file, writes past Python, and its errors would tell nothing
            into = BytesIO() if kind == "TIFF" else file
            Image.fromarray(pixels).save(into, kind, icc_profile=icc, **options)
            if isinstance(into, BytesIO):
                file.write(into.getbuffer())
        elif kind == "PNG":
            write_png_16bit(file, pixels, icc, exif, dpi)
        else:
            import tifffile

            tifffile.imwrite(
                file,
                pixels,
                photometric="minisblack" if grey else "rgb",
                extrasamples=["unassalpha"] if channels in (2, 4) else None,
                compression="zlib",
                iccprofile=icc,
                resolution=dpi,
                resolutionunit="INCH" if dpi else None,
                metadata=None,  # or it adds its own description of the array
            )


def _exif_to_write(
    picture: Picture, size: tuple[int, int], kind: str, lost: list[str]
) -> bytes | None:
    """The EXIF that goes into a file of that format and size (width, height)."""
    exif = picture.exif
    if exif and kind in ("TIFF", "BMP"):
        lost.append(f"EXIF is not written into a {kind} and was left out")
        return None
    if exif:
        exif, _ = tidy_exif(exif, lost, size)
    if exif and kind == "JPEG" and len(exif) > 65533:
        lost.append(f"the EXIF has {len(exif)} bytes, a JPEG takes 65533, and was left out")
        return None
    if picture.dpi and kind == "WEBP" and not exif:
        made = Image.Exif()
        made[Tag.XResolution], made[Tag.YResolution] = picture.dpi
        made[Tag.ResolutionUnit] = 2  # inch
        exif = made.tobytes()
    return exif


def as_image(x: ImageLike) -> Tensor:
    """The image, (3, H, W) float32 RGB in [0, 1], of whatever holds one; `like` leads back.

    x: a path; a Pillow image (turned upright, alpha dropped); a NumPy array, (H, W, 3), of uint8,
    uint16 or floats in [0, 1]; or a float tensor (3, H, W), which stays on its device.

    Raises what `read_image` and `check_image` raise, ValueError for an array of another shape.
    """
    if isinstance(x, str | os.PathLike):
        return read_image(x)
    if isinstance(x, Image.Image):
        return from_pillow(x).rgb
    if isinstance(x, np.ndarray):
        if x.ndim != 3 or x.shape[2] != 3:
            raise ValueError(
                f"array has shape {x.shape}, expected (H, W, 3): drop alpha with x[..., :3], "
                "repeat grey with np.stack([x] * 3, -1)."
            )
        if x.dtype in (np.uint8, np.uint16):
            x = x.astype(np.float32) / np.iinfo(x.dtype).max
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 0)))  # (3, H, W)
    check_image(x, batch=False)
    return x.float()


def from_pillow(image: Image.Image) -> Picture:
    """A Pillow image as a Picture, upright, with transparency and depth; `to_pillow` leads back.

    Raises ValueError for pixel modes other than 8 bits a channel and 16 bits of grey.
    """
    return make_picture(pillow_pixels(image), [], orientation=_orientation(image))


def to_pillow(picture: Picture) -> Image.Image:
    """A Picture as a Pillow image: RGB or RGBA of 8 bits, or 16 bits of grey without alpha.

    Pillow has no colours of 16 bits: those are rounded to 8.
    """
    if picture.bits == 16 and picture.grey and picture.alpha is None:
        return Image.fromarray(to_pixels(to_y(picture.rgb, full=True), np.uint16)[..., 0])
    planes = [picture.rgb] + ([] if picture.alpha is None else [picture.alpha])
    return Image.fromarray(to_pixels(torch.cat(planes), np.uint8))


def _orientation(image: Image.Image) -> int:
    """Of a Pillow image; 1, upright, also where Pillow cannot read its EXIF."""
    try:
        return image.getexif().get(Tag.Orientation, 1)
    except Exception:  # damaged EXIF raises anything
        return 1


@overload
def like(image: Tensor, x: str | os.PathLike) -> Image.Image: ...
@overload
def like(image: Tensor, x: Kind) -> Kind: ...
def like(image: Tensor, x: ImageLike) -> Tensor | np.ndarray | Image.Image:
    """The image as the kind that `x` was: `like(as_image(x), x)` is x again.

    A tensor comes back with x's type and device; an array with x's type, (H, W, 3); a Pillow image,
    or a path, as an 8-bit RGB Pillow image (`read_picture`, `write_picture` keep all of a file).

    Raises what `check_image` raises.
    """
    if isinstance(x, Tensor):
        return image.to(x)
    check_image(image, batch=False)
    if isinstance(x, np.ndarray):
        return to_pixels(image, x.dtype)
    return Image.fromarray(to_pixels(image, np.uint8))
