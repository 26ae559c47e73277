"""Damages files: what bad disks, broken transfers, wrong tools and crafted headers do to bytes.

Everything is drawn from the generator that is passed in, so that a seed repeats a file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from random import Random

# Where files say how long something is: a mark, and how far from its start the number may be.
LENGTHS = (
    (rb"IHDR|PLTE|tRNS|IDAT|IEND|iCCP|eXIf|pHYs", (-4, 4, 8)),  # chunks of a PNG
    (rb"\xff[\xc0-\xc2\xc4\xda-\xdd\xe0-\xe2]", (2, 4, 5, 7)),  # segments of a JPEG
    (rb"RIFF|VP8[ LX]|ALPH|ICCP|EXIF|XMP ", (4, 8, 11, 14)),  # chunks of a WebP
    (rb"PK\x03\x04|PK\x01\x02|PK\x05\x06|PK\x06\x06", (10, 16, 18, 20, 22, 26, 28, 30, 42)),  # zip
    (rb"[\x00-\x03][\x01-\x50]\x00[\x03\x04]\x00\x00\x00", (4, 8)),  # a TIFF's tags
    (rb"data_offsets\":\[|\"shape\":\[", (0, 8)),  # safetensors
)
VALUES = (0, 1, 2, 3, 7, 255, 256, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1)


def _range(data: bytearray, rng: Random) -> tuple[int, int]:
    """A range of the data: often a few bytes, sometimes most of it."""
    at = rng.randrange(len(data))
    return at, min(len(data), at + 1 + int(len(data) ** rng.random()))


def flip_bits(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 3))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def cut(data: bytearray, rng: Random) -> None:
    """The end is missing."""
    del data[rng.choice((rng.randrange(len(data)), max(0, len(data) - rng.randrange(1, 40)))) :]


def take_out(data: bytearray, rng: Random) -> None:
    start, stop = _range(data, rng)
    del data[start:stop]


def insert(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 13, 512)))


def duplicate(data: bytearray, rng: Random) -> None:
    start, stop = _range(data, rng)
    data[stop:stop] = data[start:stop]


def zero(data: bytearray, rng: Random) -> None:
    start, stop = _range(data, rng)
    data[start:stop] = bytes(stop - start)


def swap(data: bytearray, rng: Random) -> None:
    """Two blocks of equal length change places."""
    size = rng.choice((1, 4, 16, 64, 512))
    if len(data) < 2 * size:
        return
    a, b = sorted(rng.randrange(len(data) - size + 1) for _ in range(2))
    if a + size <= b:
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def change_length(data: bytearray, rng: Random) -> None:
    """A number of 2, 4 or 8 bytes, where the format keeps a length, a size or an offset."""
    places = [
        found.start() + offset
        for marks, offsets in LENGTHS
        for found in re.finditer(marks, bytes(data))
        for offset in offsets
    ]
    at = rng.choice(places) if places and rng.random() < 0.8 else rng.randrange(min(64, len(data)))
    size, order = rng.choice((2, 4, 4, 8)), rng.choice(("little", "big"))
    if not 0 <= at <= len(data) - size:
        return
    before = int.from_bytes(data[at : at + size], order)
    value = rng.choice((*VALUES, before + 1, before - 1, 2 * before, before // 2, len(data)))
    data[at : at + size] = (value % 256**size).to_bytes(size, order)


IN_PLACE = (flip_bits, set_bytes, zero, swap, change_length)
ALL = (flip_bits, flip_bits, set_bytes, cut, cut, take_out, insert, duplicate, zero, swap,
       change_length, change_length)  # fmt: skip


def mutated(
    data: bytes, rng: Random, others: Sequence[bytes] = (), *, most: int = 3
) -> tuple[bytes, tuple[str, ...]]:
    """The data damaged in one to `most` ways, and their names; never the data as it was.

    others: files that may be joined to it, in front or behind.
    """
    while True:
        made, done = bytearray(data), []
        for _ in range(rng.choice((1, 1, 1, most))):
            if others and rng.random() < 0.06:
                other = rng.choice(others)
                made = rng.choice((made + other, bytearray(other) + made))
                done.append("joined")
            elif made:
                how = rng.choice(ALL)
                how(made, rng)
                done.append(how.__name__)
        if bytes(made) != data:
            return bytes(made), tuple(done)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each chunk of a whole PNG."""
    chunks, at = [], 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def png_file(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        parts += [struct.pack(">I", len(body)), kind, body]
        parts.append(struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def resealed(data: bytes, rng: Random) -> tuple[bytes, tuple[str, ...]]:
    """A PNG of whole chunks with right checksums: its pixels' chunks missing, doubled or swapped,
    or its header says that there are more rows or fewer."""
    chunks = png_chunks(data)
    pixels = [k for k, (kind, _) in enumerate(chunks) if kind == b"IDAT"]
    how = rng.choice(("taken out", "doubled", "swapped", "other rows"))
    at = rng.choice(pixels)
    if how == "taken out":
        del chunks[at]
    elif how == "doubled":
        chunks.insert(at, chunks[at])
    elif how == "swapped":
        other = rng.choice(pixels)
        chunks[at], chunks[other] = chunks[other], chunks[at]
    else:
        kind, body = chunks[0]
        (rows,) = struct.unpack_from(">I", body, 4)
        new = rng.choice((rows + 1, rows - 1, rows // 2, 2 * rows, 2000, 2**31 - 1))
        chunks[0] = kind, body[:4] + struct.pack(">I", new) + body[8:]
    return png_file(chunks), (f"chunks {how}",)
