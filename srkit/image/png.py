"""Reads PNG files, by the PNG specification (W3C, third edition), and writes those of 16 bits.

The checksums of all chunks are compared and the rows counted; Pillow undoes the filters.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np
from PIL import UnidentifiedImageError

from srkit.image.metadata import check_primaries, not_srgb, resolution, sound_icc
from srkit.image.picture import (
    MAX_ICC,
    Picture,
    Refusal,
    check_size,
    inflate,
    make_picture,
    opened,
    refuse_frames,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type; 3 has a palette
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ROWS = 64  # filtered and packed at a time
# Adam7, section 8: first column and row, and the steps from there.
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip


def read_png(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a PNG file of any kind that the specification has, but of one frame."""
    chunks, packed = _chunks(data, lost)
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise UnidentifiedImageError
    width, height, bits, kind, *methods = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if bits not in _BITS.get(kind, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise ValueError(f"its header says {bits} bits, colour type {kind}, methods {methods}")
    check_size(width, height)
    if (frames := int.from_bytes(chunks.get(b"acTL", b"")[:4], "big")) > 1:
        refuse_frames(frames)

    size = 0  # of all rows, each with the byte that names its filter
    for x, y, dx, dy in _PASSES if methods[2] else [(0, 0, 1, 1)]:
        columns, rows = -((x - width) // dx), -((y - height) // dy)
        size += rows * (1 + (columns * bits * _CHANNELS[kind] + 7) // 8) if columns > 0 else 0
    raw, more = inflate(packed, size, 2 * size)
    if len(raw) < size:  # Pillow would leave the missing rows black
        raise ValueError(f"it holds {len(raw)} bytes of pixels and its header promises {size}")
    if more:
        lost.append("it holds more rows than its header says, and those were left out")
    packed = zlib.compress(raw, 0)
    del raw
    pixels = _pixels(chunks, packed, bits, kind)
    pixels = _colours(pixels, chunks, bits, kind, lost)

    icc = None
    if (profile := chunks.get(b"iCCP")) is not None:
        try:
            profile = inflate(profile.split(b"\0", 1)[1][1:], MAX_ICC, MAX_ICC)[0]
        except (IndexError, zlib.error):
            profile = b""
        icc = sound_icc(profile, lost)
    _check_colours(chunks, icc is not None, lost)
    dpi = None
    if len(density := chunks.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", density)
        dpi = resolution(x, y, 0.0254 if unit == 1 else None, lost)
    elif density:
        lost.append("its pHYs chunk is damaged and was left out")
    exif, xmp = chunks.get(b"eXIf"), chunks.get(b"XMP")
    return make_picture(pixels, lost, icc=icc, exif=exif, xmp=xmp, dpi=dpi)


def _chunks(data: bytes, lost: list[str]) -> tuple[dict[bytes, bytes], bytes]:
    """A file's chunks, the first of each kind, and all IDAT joined. Section 5.

    Raises ValueError for a critical chunk that is damaged or unknown; others are left out.
    """
    chunks, pixels, at = {}, [], len(SIGNATURE)
    while b"IEND" not in chunks and len(data) >= at + 12:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha() or end > len(data):
            break
        body, name = data[at + 8 : end - 4], kind.decode()
        at = end
        if zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") != data[end - 4 : end]:
            if kind[:1].isupper():
                raise ValueError(f"the checksum of its {name} chunk does not fit")
            lost.append(f"its {name} chunk is damaged and was left out")
        elif kind == b"IDAT":
            pixels.append(body)
        elif kind[:1].isupper() and kind not in (b"IHDR", b"PLTE", b"IEND"):
            raise Refusal(f"a PNG with the unknown critical chunk {name}; save it as plain PNG.")
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            chunks[b"XMP"] = body
        elif body.startswith(b"Raw profile type exif\0") and b"eXIf" not in chunks:
            lost.append("its EXIF, written as text by an old ImageMagick, was left out")
        else:
            chunks.setdefault(kind, body)
    if b"IEND" not in chunks and pixels:  # if pixels are missing, that is told instead
        lost.append("its end is cut off or damaged, and what follows the pixels is lost")
    return chunks, b"".join(pixels)


def _file(*chunks: tuple[bytes, bytes | None]) -> bytes:
    """A PNG file of these chunks; those that are None are left out."""
    parts = [_chunk(kind, body) for kind, body in chunks if body is not None]
    return b"".join([SIGNATURE, *parts, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", checksum)


def _pixels(chunks: dict[bytes, bytes], packed: bytes, bits: int, kind: int) -> np.ndarray:
    """Samples (H, W, C), uint8 or uint16; of a palette the numbers of its colours.

    Of 16-bit colours Pillow keeps the high bytes. A second reading, told that the two bytes of a
    sample lie the other way round, gives the low ones. 16-bit grey is read as 8 bits of twice the
    channels, which are the same bytes.
    """
    header, deep_grey = chunks[b"IHDR"], bits == 16 and kind in (0, 4)
    if deep_grey:
        header = header[:8] + bytes((8, {0: 4, 4: 6}[kind])) + header[10:]
    palette = chunks.get(b"PLTE") if kind == 3 else None
    plain = _file((b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed))
    with opened(plain, "PNG") as image:
        pixels = np.atleast_3d(np.array(image))
    if deep_grey:
        return pixels.view(">u2").astype(np.uint16)
    if bits == 16:
        with opened(plain, "PNG") as image:
            image.tile = [tile._replace(args=f"{image.mode};16L") for tile in image.tile]
            pixels = pixels * np.uint16(256)
            pixels += np.array(image)
            return pixels
    return pixels * np.uint8(255) if pixels.dtype == bool else pixels


def _colours(
    pixels: np.ndarray, chunks: dict[bytes, bytes], bits: int, kind: int, lost: list[str]
) -> np.ndarray:
    """The palette's colours, and an alpha channel if there is a tRNS chunk: one transparent colour,
    at the file's own depth, or an alpha for each colour of the palette."""
    tag = chunks.get(b"tRNS")
    if kind == 3:
        palette = chunks.get(b"PLTE", b"")
        colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
        index = pixels[..., 0]
        if index.max() >= len(colours):
            raise ValueError(f"it uses colour {index.max()} of a palette of {len(colours)}")
        if tag is not None:
            alpha = np.frombuffer(tag[: len(colours)].ljust(len(colours), b"\xff"), np.uint8)
            colours = np.concatenate([colours, alpha[:, None]], 1)
        return colours[index]
    if tag is None or kind in (4, 6):
        return pixels
    if len(tag) != 2 * pixels.shape[-1]:
        lost.append("its tRNS chunk is damaged and its transparency was left out")
        return pixels
    peak, top = np.iinfo(pixels.dtype).max, (1 << bits) - 1
    clear = (np.frombuffer(tag, ">u2") & top) * (peak // top)
    seen = (pixels != clear).any(-1, keepdims=True)
    return np.concatenate([pixels, (seen * peak).astype(pixels.dtype)], -1)


def _check_colours(chunks: dict[bytes, bytes], icc: bool, lost: list[str]) -> None:
    """Tell of colours that are not sRGB. A profile goes along; sRGB overrules gAMA and cHRM."""
    if len(cicp := chunks.get(b"cICP", b"")) == 4 and cicp != bytes((1, 13, 0, 1)):
        colours = "/".join(map(str, cicp))
        not_srgb(f"cICP chunk says colours {colours}, and sRGB is 1/13/0/1", lost)
    if icc or b"sRGB" in chunks:
        return
    if len(gamma := chunks.get(b"gAMA", b"")) == 4:
        value = int.from_bytes(gamma, "big") / 100_000
        if abs(value * 2.2 - 1) > 0.05:
            not_srgb(f"gAMA chunk says {value:g}, and sRGB is about 0.45455 (1/2.2)", lost)
    if len(chroma := chunks.get(b"cHRM", b"")) == 32:
        check_primaries("cHRM chunk", [v / 100_000 for v in struct.unpack(">8I", chroma)], lost)


def write_png_16bit(
    file: IO[bytes],
    pixels: np.ndarray,
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> None:
    """Write a PNG file of 16 bits, sections 5 and 11, strip by strip; Pillow writes 8 bits only.

    pixels: (H, W) or (H, W, C) uint16, C = 2 to 4.
    """
    height, width, channels = np.atleast_3d(pixels).shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    per_metre = struct.pack(">IIB", *(round(v / 0.0254) for v in dpi), 1) if dpi else None
    file.write(SIGNATURE)
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
        (b"iCCP", b"ICC\0\0" + zlib.compress(icc) if icc else None),
        (b"eXIf", exif.removeprefix(b"Exif\0\0") if exif else None),
        (b"pHYs", per_metre),
    ):
        if body is not None:
            file.write(_chunk(kind, body))
    packer, above = zlib.compressobj(), np.zeros((1, 2 * width * channels), np.uint8)
    for top in range(0, height, ROWS):
        rows = pixels[top : top + ROWS].astype(">u2").view(np.uint8).reshape(-1, above.size)
        less = np.diff(rows, axis=0, prepend=above)  # filter 2: less the row above, modulo 256
        above = rows[-1:]
        file.write(_chunk(b"IDAT", packer.compress(np.insert(less, 0, 2, axis=1).tobytes())))
    file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))
