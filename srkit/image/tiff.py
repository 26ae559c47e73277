"""Reads TIFF and BigTIFF files of one page, by TIFF 6.0 and Adobe's technical notes on it.

Blocks of 8 and 16 bits a sample are put together here, in all colours and orders, since Pillow has
no 16-bit colours. What only libtiff knows, such as JPEG, fax and palettes, Pillow reads for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np
from PIL import ExifTags, Image

from srkit.image.metadata import TYPE_SIZES, WHOLE, check_primaries, resolution, sound_icc
from srkit.image.picture import (
    Picture,
    Refusal,
    check_size,
    from_inks,
    inflate,
    make_picture,
    opened,
    pillow_pixels,
    refuse_frames,
)

_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex float"}
_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # by PhotometricInterpretation
_OTHER_COLOURS = {
    4: "a mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a colour filter array (raw)",
    32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
_INFLATED = (8, 32946)  # Deflate
_LIBTIFF = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard: decoded by Pillow's libtiff
_JPEG = (6, 7)
# YCbCr as in JPEG, BT.601 over the full range: weights, and the levels of black and white.
_YCBCR = {529: (0.299, 0.587, 0.114), 532: (0, 255, 128, 255, 128, 255)}
# The tags that a decoder needs.
_PIXEL_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324),
    *(325, 332, 338, 339, 347, *range(512, 522), 529, 530, 532),
}


class _Tags:
    """A directory of a TIFF file. Values are read when they are asked for.

    following: offset of the next directory, 0 if there is none.
    """

    def __init__(self, data: bytes, at: int, order: str, big: bool):
        self.data, self.order, self.big = data, order, big  # order: of bytes, "<" or ">"
        counter, step, self.pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
        (count,) = struct.unpack_from(order + counter, data, at)
        at += struct.calcsize(counter)
        stop = at + step * count
        if stop > len(data):
            raise ValueError("the file ends inside its header")
        entries = [data[i : i + step] for i in range(at, stop, step)]
        self.entries = {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}
        following = data[stop : stop + struct.calcsize(self.pointer)]
        self.following = int.from_bytes(following, "little" if order == "<" else "big")

    def raw(self, tag: int) -> tuple[int, int, bytes]:
        """Type, count and bytes of a tag. Raises ValueError if they are not in the file."""
        _, kind, count = struct.unpack_from(f"{self.order}HH{self.pointer}", self.entries[tag])
        size = TYPE_SIZES.get(kind, 0) * count
        value = self.entries[tag][-struct.calcsize(self.pointer) :]
        if size > len(value):
            (at,) = struct.unpack(self.order + self.pointer, value)
            value = self.data[at : at + size]
        if not size or len(value) < size:
            raise ValueError(f"the value of its tag {tag} is missing")
        return kind, count, value[:size]

    def value(self, tag: int) -> bytes:
        return self.raw(tag)[2]

    def numbers(self, tag: int, default: Sequence[int] = ()) -> tuple[int, ...]:
        """Whole numbers. Raises ValueError for other values."""
        if tag not in self.entries:
            return tuple(default)
        kind, count, value = self.raw(tag)
        if kind not in WHOLE:
            raise ValueError(f"its tag {tag} holds no whole numbers")
        return struct.unpack(f"{self.order}{count}{WHOLE[kind]}", value)

    def number(self, tag: int, default: int = 0) -> int:
        return self.numbers(tag, [default])[0]

    def fractions(self, tag: int) -> list[float]:
        """Rational numbers. Raises ValueError for other values."""
        kind, count, value = self.raw(tag)
        pairs = struct.unpack(f"{self.order}{2 * count}I", value) if kind == 5 else ()
        if not pairs or 0 in pairs[1::2]:
            raise ValueError(f"its tag {tag} holds no fractions")
        return [top / bottom for top, bottom in zip(pairs[::2], pairs[1::2], strict=True)]


def read_tiff(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a TIFF file: grey, RGB, palette, CMYK or YCbCr."""
    order, big = "<" if data[:1] == b"I" else ">", 43 in data[2:4]
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    tags = _Tags(data, first, order, big)
    if tags.following not in (0, first):
        try:
            _Tags(data, tags.following, order, big)
        except (struct.error, ValueError):
            lost.append("a further page that it points to is not there")
        else:
            refuse_frames("at least 2")
    pixels = _pixels(tags, lost)

    def optional(read: Callable[[int], Sequence], tag: int) -> Sequence:
        """The value of a tag that the pixels do not need, empty if there is none to read."""
        try:
            return read(tag) if tag in tags.entries else b""
        except ValueError:
            lost.append(f"its {ExifTags.TAGS.get(tag, tag)} could not be read and was left out")
            return b""

    profile, xmp = bytes(optional(tags.value, 34675)), bytes(optional(tags.value, 700))
    icc = sound_icc(profile, lost) if profile else None
    if tags.number(262) == 5:
        pixels, icc = from_inks(pixels, icc, lost), None
    elif icc is None:
        colours = [*optional(tags.fractions, 318), *optional(tags.fractions, 319)]
        if len(colours) == 8:
            check_primaries("PrimaryChromaticities", colours, lost)
    if {34665, 34853} & tags.entries.keys():
        lost.append("its EXIF was left out, as it is of a TIFF")
    x, y = optional(tags.fractions, 282), optional(tags.fractions, 283)
    (unit,) = optional(tags.numbers, 296)[:1] or ((0,) if 296 in tags.entries else (2,))
    dpi = resolution(x[0], y[0], {2: 1, 3: 2.54}.get(unit), lost) if x and y else None
    (orientation,) = optional(tags.numbers, 274)[:1] or (None,)
    return make_picture(pixels, lost, icc=icc, xmp=xmp, dpi=dpi, orientation=orientation)


def _pixels(tags: _Tags, lost: list[str]) -> np.ndarray:
    """Pixels (H, W, C) as grey, RGB or CMYK, with alpha if there is one."""
    width, height = tags.number(256), tags.number(257)
    check_size(width, height)
    depths, formats = set(tags.numbers(258, [1])), set(tags.numbers(339, [1])) - {4}  # 4: unknown
    bits, coding, colours = max(depths), tags.number(259, 1), tags.number(262)
    if len(depths) > 1 or bits not in (1, 2, 4, 8, 16) or formats - {1}:
        names = " and ".join(_SAMPLE_FORMATS.get(f, "unknown") for f in sorted(formats or {1}))
        many = " and ".join(str(depth) for depth in sorted(depths))
        raise Refusal(
            f"its samples are {names}, {many} bits a channel; save it with 8 or 16, unsigned."
        )
    if colours not in _CHANNELS:
        what = _OTHER_COLOURS.get(colours, f"of PhotometricInterpretation {colours}")
        raise Refusal(f"its colours are {what}, {bits} bits a channel; save it as RGB or grey.")
    channels = tags.number(277, 3 if coding == 7 and colours == 6 else 1)
    if channels < _CHANNELS[colours] and coding not in _JPEG:
        raise ValueError(f"{channels} samples a pixel are too few for its colours")

    tiled, planes = 322 in tags.entries, channels if tags.number(284, 1) == 2 else 1
    block = width, min(tags.number(278, height), height)
    if tiled:
        block = tags.number(322), tags.number(323)
    if min(block) < 1 or planes > 64:
        raise ValueError(f"its blocks are of {block[0]} x {block[1]} pixels, {planes} planes")
    across, down = -(-width // block[0]), -(-height // block[1])
    row = (block[0] * (channels // planes) * bits + 7) // 8  # bytes
    rows = [block[1] if tiled else min(block[1], height - j * block[1])
            for j in range(down) for _ in range(across)] * planes  # fmt: skip
    offsets = tags.numbers(324 if tiled else 273)
    sizes = tags.numbers(325 if tiled else 279)
    # Cb and Cr are smaller than Y unless the file says otherwise; many writers forget to say it.
    full = [1] if coding == 1 and sum(sizes) >= 3 * width * height else [2]
    odd = colours == 6 and (set(tags.numbers(530, full)) != {1} or any(
        np.abs(np.subtract(tags.fractions(tag), values)).max() > 0.001
        for tag, values in _YCBCR.items() if tag in tags.entries))  # fmt: skip
    if coding == 1 and not odd:
        sizes = [row * n for n in rows]  # what the header promises, whatever the counts say
    elif not sizes and len(rows) == 1:
        sizes = [len(tags.data) - offset for offset in offsets]
    if min(len(offsets), len(sizes)) < len(rows):
        raise ValueError(f"it holds {min(len(offsets), len(sizes))} of {len(rows)} blocks of rows")
    places = list(zip(offsets, sizes, strict=False))[: len(rows)]
    if max(offset + size for offset, size in places) > len(tags.data):
        raise ValueError("it ends before its last block of rows")

    plain = coding in (1, *_INFLATED, *_LIBTIFF) and bits in (8, 16) and colours != 3
    plain = plain and tags.number(266, 1) == 1 and tags.number(317, 1) in (1, 2)
    if not plain or odd or (colours == 6 and bits == 16):
        if bits == 16 or (odd and coding not in _JPEG):
            what = "YCbCr, unsigned" if colours == 6 else "unsigned"
            raise Refusal(
                f"its samples are {what}, {bits} bits a channel, in a layout that is not taken "
                f"(compression {coding}); save it as plain RGB or grey."
            )
        return _by_pillow(tags)

    if sum(size for _, size in places) > 64 * len(tags.data):  # a few empty tiles may be one
        raise ValueError("it names the same blocks of rows again and again")
    pieces = (tags.data[offset : offset + size] for offset, size in places)
    if coding in _INFLATED:  # the last strip may be packed with all the rows of the others
        whole = row * block[1]
        pieces = (inflate(p, row * n, whole)[0] for p, n in zip(pieces, rows, strict=True))
    elif coding in _LIBTIFF:
        pieces = _by_libtiff(list(pieces), rows, across * down, row, coding)
    kind = np.dtype(f"{tags.order}u{bits // 8}")
    samples = np.empty(
        (planes, down * block[1], across * block[0], channels // planes), kind.newbyteorder("=")
    )
    for index, (piece, n) in enumerate(zip(pieces, rows, strict=True)):
        if len(piece) < row * n:
            raise ValueError(f"a block of {n} rows holds {len(piece)} of {row * n} bytes")
        values = np.frombuffer(piece, kind).reshape(n, block[0], -1)
        if tags.number(317, 1) == 2:  # each sample less its left neighbour
            values = np.cumsum(values, axis=1, dtype=samples.dtype)
        plane, place = divmod(index, across * down)
        top, left = place // across * block[1], place % across * block[0]
        samples[plane, top : top + n, left : left + block[0]] = values
    samples = np.concatenate(list(samples[:, :height, :width]), -1)  # (H, W, C)
    return _colours(samples, tags, colours, lost)


def _colours(samples: np.ndarray, tags: _Tags, colours: int, lost: list[str]) -> np.ndarray:
    """(H, W, C) samples -> grey, RGB or CMYK with alpha, if an extra sample is alpha."""
    peak, count = int(np.iinfo(samples.dtype).max), _CHANNELS[colours]
    x, more = samples[..., :count], samples.shape[-1] - count
    extras = tags.numbers(338) or (2,) * (more == 1)  # often forgotten; one more is alpha
    alphas = [i for i, kind in enumerate(extras[:more]) if kind in (1, 2, 999)]  # 999: Corel's
    if more > len(alphas[:1]):
        lost.append(f"{more - len(alphas[:1])} of its {samples.shape[-1]} channels were left out")
    if colours == 0:  # white is zero
        x = peak - x
    if colours == 6:
        x = np.array(Image.fromarray(np.ascontiguousarray(x), "YCbCr").convert("RGB"))
    if not alphas:
        return x
    alpha = samples[..., count + alphas[0], None]
    if extras[alphas[0]] == 1:  # the colours are multiplied by it
        wide, divisor = x.astype(np.uint64), np.maximum(alpha, 1).astype(np.uint64)
        x = np.minimum((wide * peak + divisor // 2) // divisor, peak).astype(x.dtype)
    return np.concatenate([x, alpha], -1)


def _by_libtiff(
    pieces: list[bytes], rows: list[int], plane: int, row: int, coding: int
) -> Iterator[bytes]:
    """Blocks of bytes, unpacked: each of `rows` times `row` bytes; plane: blocks of one plane.

    Pillow gets them as the strips of a grey picture of 8 bits, `row` pixels wide, many at a time,
    and gives them back as they are: what the bytes mean is not libtiff's business. Of such a
    picture only the last strip may be shorter, which is why planes are kept apart.
    """
    most = max(1, 2**26 // (row * rows[0]))
    for first in [i for p in range(0, len(pieces), plane) for i in range(p, p + plane, most)]:
        last = min(first + most, first - first % plane + plane)
        group, heights = pieces[first:last], rows[first:last]
        sizes, n = [len(piece) for piece in group], len(group)
        places = list(accumulate(sizes, initial=8))
        end = places.pop()
        entries = [
            (256, 1, row), (257, 1, sum(heights)), (258, 1, 8), (259, 1, coding), (262, 1, 1),
            (273, n, end if n > 1 else places[0]), (277, 1, 1), (278, 1, heights[0]),
            (279, n, end + 4 * n if n > 1 else sizes[0]),
        ]  # fmt: skip
        file = [struct.pack("<2sHI", b"II", 42, end + 8 * n), *group]
        file += [struct.pack(f"<{2 * n}I", *places, *sizes), struct.pack("<H", len(entries))]
        file += [struct.pack("<HHII", tag, 4, count, value) for tag, count, value in entries]
        with opened(b"".join([*file, bytes(4)]), "TIFF") as image:
            unpacked = np.array(image)
        yield from (part.tobytes() for part in np.split(unpacked, np.cumsum(heights)[:-1]))


def _by_pillow(tags: _Tags) -> np.ndarray:
    """Palettes, JPEG, fax and less than 8 bits: Pillow reads them, of the tags that say how."""
    kept = sorted(tags.entries.keys() & _PIXEL_TAGS)
    for tag in kept:
        tags.raw(tag)  # raises if the file ends before its value
    entries = [tags.entries[tag] for tag in kept]
    counter, at = ("Q", 8) if tags.big else ("H", 4)
    data = bytearray(tags.data)
    data += bytes(-len(data) % 8)
    struct.pack_into(tags.order + tags.pointer, data, at, len(data))
    data += struct.pack(tags.order + counter, len(entries)) + b"".join(entries) + bytes(8)
    with opened(bytes(data), "TIFF") as image:
        return np.array(image) if image.mode == "CMYK" else pillow_pixels(image)
