"""Reads picture files as tensors, and writes tensors as picture files.

An image is a float32 RGB tensor in [0, 1], (3, H, W). A `Picture` is an image with what a file says
beside its colours: transparency, depth, whether it is grey, ICC profile, EXIF.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from srkit.files import write_whole
from srkit.image.colour import to_y
from srkit.image.tensors import check_image, to_pixels

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}


DEEP = ("PNG", "TIFF")  # formats of 16 bits


OPAQUE = ("JPEG", "BMP")  # formats without transparency


_GREY = ("1", "L", "LA")  # Pillow's pixel modes of at most 8 bits


_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


# Order of the two bytes in Pillow's raw modes, B(ig), L(ittle) or N(ative), and the other order.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


ImageLike = str | os.PathLike | Image.Image | np.ndarray | Tensor
Kind = TypeVar("Kind", Tensor, np.ndarray, Image.Image)


@dataclass
class Picture:
    """An image and what its file says beside the colours.

    rgb: (3, H, W) in [0, 1], upright. alpha: (1, H, W) in [0, 1], or None where all is opaque; the
    colours are not multiplied by it. bits: 8 or 16 a channel. grey: the file has no colours, the
    three channels are equal. icc, exif: the file's own, less EXIF's orientation, already applied.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    path: Path | None = None


def read_image(path: str | os.PathLike) -> Tensor:
    """The colours of a picture file: (3, H, W) float32 RGB in [0, 1], upright; alpha is dropped.

    Raises what `read_picture` raises.
    """
    return read_picture(path).rgb


def read_picture(path: str | os.PathLike) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF or BMP file; `write_picture` gives the same picture back.

    1-bit, grey, palette, RGB and CMYK, with or without transparency; 16 bits in PNG and TIFF at
    full precision. CMYK goes through its ICC profile, if it has one, to sRGB. Above 179 million
    pixels a file is refused; `PIL.Image.MAX_IMAGE_PIXELS` (half of that) moves the limit.

    Raises FileNotFoundError, or ValueError for what is no picture, damaged or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file (looked from {Path.cwd()}).")
    if not path.is_file():
        raise ValueError(f"{path} is not a file but a folder or device: pass one picture of it.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): fetch or copy it again.")
    try:
        with Image.open(path, formats=tuple(set(FORMATS.values()))) as image:
            frames, depth = getattr(image, "n_frames", 1), _depth(image, path)
            if frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG with its depth map
                raise _Refusal(f"{frames} frames or pages; save the one you want by itself.")
            if depth > 8 and depth != 16:
                raise _Refusal(f"{depth} bits a channel; save it with 8 or 16.")
            pixels = _pixels_16bit(image, path) if depth == 16 else _pixels(image)
            picture = _picture(image, pixels)
    except _Refusal as refusal:
        raise ValueError(f"{path}: {refusal}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} is too large, perhaps a decompression bomb ({error}): crop it, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not a picture that srkit reads, or its header is damaged: "
            "convert it to PNG, JPEG, WebP, TIFF or BMP."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged bytes
        raise ValueError(
            f"{path} cannot be decoded, it may be cut short or damaged ({error}): "
            "fetch or copy it again, or convert it to PNG."
        ) from error
    picture.path = path
    return picture


class _Refusal(ValueError):
    """A readable picture of a kind that is not taken."""


def _depth(image: ImageFile.ImageFile, path: Path) -> int:
    """Bits a channel in the file, which Pillow's pixel mode does not tell."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(Tag.BitsPerSample, (1,)))
    return 8


def _pixels_16bit(image: ImageFile.ImageFile, path: Path) -> np.ndarray:
    """Pixels (H, W) or (H, W, C), uint16, of a 16-bit file.

    Pillow keeps 8 bits of most such files, the high bytes. A second reading, told that the two
    bytes of a sample lie the other way round, gives the low ones.
    """
    rawmode = _tile_args(image.tile[0])[0]  # "RGB;16B", say
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    planar = tags.get(Tag.PlanarConfiguration) == 2
    if image.mode.startswith("I;16"):  # grey: here Pillow keeps all
        pixels = np.array(image)
        if tags.get(Tag.PhotometricInterpretation) == 0:
            pixels = 65535 - pixels  # white is zero
    elif rawmode == "LA;16B":  # grey with alpha: the same bytes as RGBA of 8 bits
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        pixels = np.array(image).view(">u2")  # (H, W, 4) -> (H, W, 2)
    elif rawmode[:-1] == f"{image.mode};16" and not planar:
        swapped = rawmode[:-1] + _SWAPPED[rawmode[-1]]
        with Image.open(path) as low:
            low.tile = [tile._replace(args=(swapped, *_tile_args(tile)[1:])) for tile in low.tile]
            pixels = np.array(image) * np.uint16(256) + np.array(low)
    else:
        raise _Refusal(
            f"16 bits a channel in a layout ({rawmode}{', planar' * planar}) that is not taken; "
            "save it as PNG, or as grey, RGB or RGBA with plain alpha."
        )
    if "transparency" in image.info:  # PNG's tRNS: the one colour that is see-through
        pixels = np.atleast_3d(pixels)
        seen = (pixels != np.array(image.info["transparency"])).any(-1, keepdims=True)
        pixels = np.concatenate([pixels, seen * np.uint16(65535)], -1)
    return pixels


def _tile_args(tile: tuple) -> tuple:
    """What Pillow's decoder is told, its raw mode first; PNG has nothing but that."""
    *_, args = tile
    return (args,) if isinstance(args, str) else args


def _pixels(image: Image.Image) -> np.ndarray:
    """Pixels (H, W) or (H, W, C), uint8, or uint16 for 16-bit grey; palette and CMYK as RGB."""
    if image.mode.startswith("I;16"):
        return np.array(image)
    if image.mode not in _GREY + _COLOUR:
        raise _Refusal(f"pixel mode {image.mode} is not taken; convert it to RGB or grey.")
    mode = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        mode += "A"
    if image.mode == "CMYK" and "icc_profile" in image.info:
        cmyk, srgb = BytesIO(image.info["icc_profile"]), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, cmyk, srgb, outputMode="RGB")
        image = converted or image  # None only for a change in place
    return np.array(image.convert(mode))


def _picture(image: Image.Image, pixels: np.ndarray) -> Picture:
    """The Picture of a loaded Pillow image. pixels: (H, W) or (H, W, C), uint8 or uint16."""
    depth, exif = np.iinfo(pixels.dtype), image.getexif()
    x = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / depth.max)
    x = x.permute(2, 0, 1)  # (H, W, C) -> (C, H, W), C = 1 to 4
    x = _upright(x, exif.pop(Tag.Orientation, 1))  # no more in a TIFF: loading has turned it
    return Picture(
        rgb=x[: 3 if len(x) > 2 else 1].expand(3, -1, -1).contiguous(),
        alpha=x[-1:].contiguous() if len(x) in (2, 4) else None,
        bits=depth.bits,
        grey=len(x) < 3,
        icc=None if image.mode == "CMYK" else image.info.get("icc_profile"),  # CMYK: now sRGB
        exif=exif.tobytes() if exif and image.format != "TIFF" else None,
    )


def _upright(x: Tensor, orientation: int) -> Tensor:
    """EXIF orientation undone: 5 to 8 swap the axes, then flips."""
    if orientation in (5, 6, 7, 8):
        x = x.transpose(-2, -1)
    flips = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}
    return x.flip(flips.get(orientation, []))


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
    what is written (grey or RGB) and BMP has none; EXIF goes to PNG, JPEG and WebP.

    Raises ValueError for a suffix, depth or transparency that the format does not take, TypeError
    or ValueError for what is no image (`check_image`).
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    rgb, alpha, bits = picture.rgb, picture.alpha, picture.bits
    if kind is None:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(FORMATS)}.")
    if bits not in ((8, 16) if kind in DEEP else (8,)):
        raise ValueError(f"{path}: {bits} bits; {kind} has 8 here, PNG and TIFF 8 or 16.")
    if alpha is not None and kind in OPAQUE:
        raise ValueError(f"{path}: {kind} has no transparency; write PNG, or set alpha=None.")
    check_image(rgb, f"image for {path}", batch=False)
    if alpha is not None:
        if alpha.shape != (1, *rgb.shape[1:]):
            raise ValueError(
                f"alpha for {path} has shape {tuple(alpha.shape)}, expected "
                f"{(1, *rgb.shape[1:])}: resize it with the picture."
            )
        check_image(alpha.expand(3, -1, -1), f"alpha for {path}", batch=False)

    # WebP has no grey, and Pillow opens no 16-bit TIFF of grey with alpha.
    colour_only = kind == "WEBP" or (kind == "TIFF" and bits == 16 and alpha is not None)
    grey = picture.grey and not colour_only
    planes = [to_y(rgb, full=True) if grey else rgb] + ([] if alpha is None else [alpha])
    pixels = to_pixels(torch.cat(planes), np.uint8 if bits == 8 else np.uint16)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    icc = picture.icc
    if icc and icc[16:20] != (b"GRAY" if grey else b"RGB "):  # the profile's colour space
        icc = None
    with write_whole(path) as file:
        if bits == 8:
            options = {
                "JPEG": {"quality": quality, "subsampling": 0},
                "WEBP": {"quality": quality, "lossless": quality == 100, "exact": True},
                "TIFF": {"compression": "tiff_adobe_deflate"},
            }.get(kind, {})
            if picture.exif and kind != "TIFF":
                options["exif"] = picture.exif
            Image.fromarray(pixels).save(file, kind, icc_profile=icc, **options)
        elif kind == "PNG":
            file.write(_png_16bit(pixels, icc, picture.exif))
        else:
            import tifffile

            tifffile.imwrite(
                file,
                pixels,
                photometric="minisblack" if grey else "rgb",
                extrasamples=None if alpha is None else ["unassalpha"],
                compression="zlib",
                iccprofile=icc,
                metadata=None,  # or it adds its own description of the array
            )


def _png_16bit(pixels: np.ndarray, icc: bytes | None, exif: bytes | None) -> bytes:
    """The bytes of a PNG file, sections 5 and 11 of its specification; Pillow writes 8 bits only.

    pixels: (H, W) or (H, W, C) uint16, C = 2 to 4.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    height, width, channels = np.atleast_3d(pixels).shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    rows = np.diff(rows, axis=0, prepend=np.uint8(0))  # filter 2: less the row above, modulo 256
    rows = np.insert(rows, 0, 2, axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
            chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc)) if icc else b"",
            chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b"",
            chunk(b"IDAT", zlib.compress(rows.tobytes())),
            chunk(b"IEND", b""),
        ]
    )


def as_image(x: ImageLike) -> Tensor:
    """The image, (3, H, W) float32 RGB in [0, 1], of whatever holds one; `like` leads back.

    x: a path; a Pillow image (turned upright, alpha dropped); a NumPy array, (H, W, 3), of uint8,
    uint16 or floats in [0, 1]; or a float tensor (3, H, W), which stays on its device.

    Raises what `read_image` and `check_image` raise, ValueError for an array of another shape.
    """
    if isinstance(x, str | os.PathLike):
        return read_image(x)
    if isinstance(x, Image.Image):
        x = x.copy()  # as reading takes the orientation out of its EXIF
        return _picture(x, _pixels(x)).rgb
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
