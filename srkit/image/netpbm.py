"""Reads binary Netpbm files, PGM ("P5") and PPM ("P6"), of 8 or 16 bits."""

from __future__ import annotations

import re

import numpy as np

from srkit.image.picture import Picture, Refusal, check_size, make_picture

# Four words, with blanks or comments between them, and one blank before the pixels.
_HEADER = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")


def read_netpbm(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a PGM or PPM file; of several in a row, none."""
    found = _HEADER.match(data)
    if found is None:
        raise Refusal("plain or of one bit, or its header is damaged; save it as PNG.")
    channels = 1 if found[1] == b"5" else 3
    width, height, peak = map(int, found.groups()[1:])
    check_size(width, height)
    if not 0 < peak < 65536:
        raise ValueError(f"its header says that white is {peak}")
    kind = np.dtype(np.uint8 if peak < 256 else ">u2")
    size = width * height * channels * kind.itemsize
    rest = data[found.end() :]
    if len(rest) < size:
        raise ValueError(f"it holds {len(rest)} bytes of pixels and its header promises {size}")
    if rest[size:].strip():
        raise Refusal("more than one picture in a file; save the one you want by itself.")
    pixels = np.frombuffer(rest, kind, width * height * channels).astype(kind.newbyteorder("="))
    if pixels.max() > peak:
        raise ValueError(f"a sample is {pixels.max()}, above its white, {peak}")
    whole = np.iinfo(pixels.dtype).max  # white need not be 255 or 65535
    if peak != whole:
        pixels = ((pixels.astype(np.uint64) * whole + peak // 2) // peak).astype(pixels.dtype)
    return make_picture(pixels.reshape(height, width, channels), lost)
