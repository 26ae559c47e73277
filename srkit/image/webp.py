"""Reads WebP files of one frame, by the container specification (RFC 9649, section 2).

Pillow decodes them, from a file without tags.
"""

from __future__ import annotations

import struct

import numpy as np

from srkit.image.metadata import sound_icc
from srkit.image.picture import Picture, make_picture, opened, refuse_frames


def read_webp(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a WebP file, with loss or without, with alpha or without."""
    chunks, kept, at, frames = {}, b"", 12, 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if kind in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"):
            if len(body) < length:
                raise ValueError(f"its pixels end after {len(body)} of {length} bytes")
            frames += kind == b"ANMF"
            if kind == b"VP8X":  # of its flags: animation, alpha
                body = bytes([body[0] & 0x12]) + body[1:]
            kept += struct.pack("<4sI", kind, length) + body + b"\0" * (length % 2)
        elif len(body) < length:
            lost.append(f"its {kind.decode('latin1').strip()} chunk is cut short and was left out")
        else:
            chunks.setdefault(kind, body)
    if frames > 1:
        refuse_frames(frames)
    if not lost and 8 + int.from_bytes(data[4:8], "little") > len(data) + 1:  # 1: padding
        lost.append("its end is cut off, and what follows the pixels is lost")
    with opened(struct.pack("<4sI4s", b"RIFF", 4 + len(kept), b"WEBP") + kept, "WEBP") as image:
        pixels = np.array(image)
    icc = sound_icc(chunks[b"ICCP"], lost) if b"ICCP" in chunks else None
    return make_picture(pixels, lost, icc=icc, exif=chunks.get(b"EXIF"), xmp=chunks.get(b"XMP "))
