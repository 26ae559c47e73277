"""Reads JPEG files of 8 bits, sequential and progressive, by ITU-T T.81 and T.871 (JFIF).

A decoder fills what is missing with grey; here a file that lacks a part of its pixels is refused.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from srkit.image.metadata import resolution, sound_icc
from srkit.image.picture import Picture, Refusal, check_size, from_inks, make_picture, opened

_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended, progressive; arithmetic
_TABLES = (0xC4, 0xCC, 0xDB, 0xDD)
_SCAN, _RESTARTS, _END = 0xDA, 0xDD, 0xD9
_MOST_SCANS = 64
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def read_jpeg(data: bytes, lost: list[str]) -> Picture:
    """The Picture of a JPEG file: grey, YCbCr, RGB or CMYK, 8 bits a sample."""
    kept, scans, frame, start, end, at = [b"\xff\xd8"], [], None, 0, 0, 2
    exif, xmp, dpi, profile = b"", None, None, {}
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            end = found.start()
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if (scans and marker < 0xC0) or marker == 0xD8 or length < 2:
            raise ValueError(f"there is a marker {marker:02X} where none can be")
        segment, at = data[at - 2 : at + length], at + length
        if at > len(data):
            break
        body = segment[4:]
        if marker == _SCAN:
            scans.append(body)
            start = start or at - len(segment)
        elif scans:  # from the first scan on all is kept
            pass
        elif marker in _TABLES or (marker == 0xEE and body.startswith(b"Adobe") and body[11:]):
            kept.append(segment)
        elif 0xC0 <= marker <= 0xCF and marker != 0xC8:
            frame = marker, *_components(marker, body)
            kept.append(segment)
        elif marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            kept.append(b"\xff\xe0\0\x10" + body[:12] + b"\0\0")  # without its thumbnail
            unit, x, y = struct.unpack(">BHH", body[7:12])
            dpi = resolution(x, y, {1: 1, 2: 2.54}.get(unit), lost)
        elif marker == 0xE1 and body.startswith(b"Exif\0"):
            exif += body[6:]
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = body
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body
    if not scans or frame is None or not end:
        raise ValueError("its end is missing" if scans else "it ends before its pixels")
    if len(scans) > _MOST_SCANS:  # each one goes over all pixels
        raise Refusal(f"a JPEG of {len(scans)} scans, and ten do; save it again.")
    if frame[0] < 0xC9 and 8 * (end - start) < frame[2]:  # Huffman's code has no shorter word
        raise ValueError(
            f"it holds {end - start} bytes of pixels and its header promises {frame[2]} blocks"
        )
    _check_scans(*frame[:2], scans)

    # Bytes put in before the end marker change nothing in a whole scan, and the picture if the scan
    # was cut. A single scan without restarts needs that only if its last pixel is grey. (An
    # arithmetic coder leaves zeros at its end out.)
    file = b"".join(kept) + data[start:end]
    pixels, mode = _decoded(file + b"\xff\xd9")
    grey = (np.abs(pixels[-1, -1].astype(int) - 128) <= 1).all()
    restarts = any(segment[1] == _RESTARTS for segment in kept)
    if frame[0] < 0xC9 and (grey or restarts or len(scans) > 1):
        again, _ = _decoded(file + bytes((0xF5, 0xA7, 0x3B)) * 20 + b"\xff\xd9")
        if not np.array_equal(pixels, again):
            raise ValueError("its scan ends before the last row")

    icc = None
    if profile:
        parts = [profile.get(i + 1, b"") for i in range(next(iter(profile.values()))[13])]
        icc = sound_icc(b"".join(part[14:] for part in parts) if all(parts) else b"", lost)
    if mode == "CMYK":
        pixels, icc = from_inks(pixels, icc, lost), None
    return make_picture(pixels, lost, icc=icc, exif=exif, xmp=xmp, dpi=dpi)


def _components(marker: int, body: bytes) -> tuple[list[int], int]:
    """The numbers of the colour channels that a frame header names, and how many blocks of 8x8
    pixels there are of the largest; T.81, B.2.2."""
    if marker not in _FRAMES:
        kind = "lossless" if marker in (0xC3, 0xCB) else "hierarchical"
        raise Refusal(f"a {kind} JPEG (SOF{marker - 0xC0}); save it as PNG.")
    bits, height, width, count = struct.unpack_from(">BHHB", body)
    if bits != 8:
        raise Refusal(
            f"its samples are unsigned, {bits} bits a channel; save it with 8, or 16 as PNG."
        )
    if count not in (1, 3, 4) or not height:
        what = f"{count} channels" if height else "its height behind the pixels (DNL)"
        raise Refusal(f"a JPEG with {what}; save it as PNG.")
    check_size(width, height)
    return list(body[6 : 6 + 3 * count : 3]), -(-width // 8) * -(-height // 8)


def _check_scans(marker: int, components: list[int], scans: list[bytes]) -> None:
    """Every coefficient of every component must be there, in a progressive file to its last bit."""
    missing = {(c, k) for c in components for k in (range(64) if marker in (0xC2, 0xCA) else [0])}
    for scan in scans:
        first, last, bits = scan[1 + 2 * scan[0] :][:3]
        if bits & 15 == 0:
            named = scan[1 : 1 + 2 * scan[0] : 2]
            missing -= {(c, k) for c in named for k in range(first, last + 1)}
    if missing:
        raise ValueError("scans are missing at its end")


def _decoded(data: bytes) -> tuple[np.ndarray, str]:
    with opened(data, "JPEG") as image:
        return np.array(image), image.mode
