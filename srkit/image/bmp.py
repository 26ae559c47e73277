"""Reads BMP files, by Microsoft's BITMAPCOREHEADER to BITMAPV5HEADER.

The header is checked here, the pixels are Pillow's.
"""

from __future__ import annotations

import struct

from srkit.image.metadata import not_srgb, resolution, sound_icc
from srkit.image.picture import Picture, Refusal, check_size, make_picture, opened, pillow_pixels


def read_bmp(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a BMP file, with a palette or without."""
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = x = y = 0
    else:
        width, height, _, bits, packing, _, x, y = struct.unpack_from("<iiHHIIii", data, 18)
    if bits not in (1, 4, 8, 16, 24, 32) or packing > 3:
        raise Refusal(f"a BMP of {bits} bits a pixel, compression {packing}; save it as PNG.")
    check_size(width, abs(height))
    size = (width * bits + 31) // 32 * 4 * abs(height)
    if packing in (0, 3) and start + size > len(data):
        raise ValueError(f"it holds {len(data)} bytes and its header promises {start + size}")
    with opened(data, "BMP") as image:
        pixels = pillow_pixels(image)

    icc, space = None, data[70:74] if header >= 108 else b""
    if space == b"DEBM" and header >= 124:  # 'MBED', a profile in the file
        where, length = struct.unpack_from("<II", data, 126)
        icc = sound_icc(data[14 + where : 14 + where + length], lost)
    elif space == b"KNIL":  # 'LINK'
        lost.append("its ICC profile is in another file and was left out")
    elif space == bytes(4):
        gamma = struct.unpack_from("<3I", data, 110)[1] / 65536  # of green; 0: not given
        if gamma and abs(gamma / 2.2 - 1) > 0.05:
            not_srgb(f"header says gamma {gamma:.4g}, and sRGB is about 2.2", lost)
    return make_picture(pixels, lost, icc=icc, dpi=resolution(x, y, 0.0254, lost))
