"""What a file says beside its pixels: EXIF, the ICC profile, resolution, what its colours mean.

Damaged parts are taken out, so that they neither stop the pixels nor reach the next file. EXIF is
read by Exif 2.32, whose fields are those of TIFF 6.0, profiles by ICC.1. Each function adds to the
list `lost` what the picture loses, in words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from PIL import ExifTags
from PIL.ExifTags import Base as Tag

# Types of values, TIFF 6.0 section 2 and BigTIFF: their bytes, and those that are whole numbers.
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_SIZES |= {16: 8, 17: 8, 18: 8}
WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # fields that point to others: Exif, GPS, Interoperability
_WIDTHS, _HEIGHTS = (0x100, 0xA002), (0x101, 0xA003)
# The types that a field may have, where readers rely on it.
_ALLOWED = dict.fromkeys((*_WIDTHS, *_HEIGHTS, Tag.Orientation, Tag.ResolutionUnit), (1, 3, 4))
_ALLOWED |= dict.fromkeys((Tag.XResolution, Tag.YResolution), (5,))
_ALLOWED |= dict.fromkeys(_DIRECTORIES, (4, 13))


def tidy_exif(
    exif: bytes, lost: list[str], size: tuple[int, int] | None = None
) -> tuple[bytes | None, dict[int, float]]:
    """EXIF without damaged fields and without thumbnail, and the numbers that it says.

    size: None, to take the orientation out, too; or width and height, to write into the fields for
    them. Nothing is moved, so that what makers keep at places of their own stays readable.
    """
    data = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None or len(data) < 8:
        lost.append("its EXIF is damaged and lost all of it")
        return None, {}
    new = dict.fromkeys(_WIDTHS, size[0]) | dict.fromkeys(_HEIGHTS, size[1]) if size else {}
    found: dict[int, float] = {}
    bad: dict[str, None] = {}  # names, in order
    done: set[int] = set()

    def tidy(at: int) -> bool:
        """Rewrite the directory there; whether anything is left of it."""
        if at in done or not 8 <= at <= len(data) - 2:
            return False
        done.add(at)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        first, room = at + 2, (len(data) - at - 2) // 12
        if count > room:
            bad["fields beyond its end"] = None
        stop = first + 12 * min(count, room)
        kept = []
        for entry in [bytes(data[i : i + 12]) for i in range(first, stop, 12)]:
            tag, kind, n, where = struct.unpack(f"{order}HHII", entry)
            length = TYPE_SIZES.get(kind, 0) * n
            value = entry[8:] if length <= 4 else bytes(data[where : where + length])
            fits = 0 < length <= len(value) and kind in _ALLOWED.get(tag, (kind,))
            if fits and tag in _ALLOWED:
                form = f"{order}II" if kind == 5 else f"{order}{WHOLE[kind]}"
                top, bottom = (*struct.unpack_from(form, value), 1)[:2]
                fits = n == 1 and bottom > 0 and (tag not in _DIRECTORIES or tidy(where))
                if fits:
                    found[tag] = top / bottom
            if not fits:
                bad[ExifTags.TAGS.get(tag, f"0x{tag:04X}")] = None
            elif tag in new:
                kept.append(struct.pack(f"{order}HHII", tag, 4, 1, new[tag]))
            elif size or tag != Tag.Orientation:
                kept.append(entry)
        struct.pack_into(f"{order}H", data, at, len(kept))
        end = min(stop + 4, len(data))  # the pointer to the thumbnail's directory goes, too
        data[first:end] = b"".join(kept).ljust(end - first, b"\0")
        return bool(kept)

    some = tidy(struct.unpack_from(f"{order}I", data, 4)[0])
    if bad:
        lost.append(f"its EXIF is damaged and lost {', '.join(bad)}")
    return (b"Exif\0\0" + bytes(data) if some else None), found


def sound_icc(icc: bytes, lost: list[str]) -> bytes | None:
    """The profile, or None if its header says it is none or that a part is missing. ICC.1, 7.2."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        lost.append("its ICC profile is damaged and was left out")
        return None
    return icc


def resolution(
    x: float, y: float, inch: float | None, lost: list[str]
) -> tuple[float, float] | None:
    """Pixels an inch; x, y: pixels a unit, of which `inch` make an inch, None: of no length."""
    if not (x > 0 and y > 0):
        return None
    if abs(x / y - 1) > 0.01:
        lost.append(f"its pixels are not square (resolution {x:g} x {y:g}) and are taken as square")
    if inch and max(x, y) * inch > 60_000:
        lost.append(f"its resolution is {x * inch:.3g} pixels an inch and was left out")
    elif inch:
        return x * inch, y * inch
    return None


def not_srgb(says: str, lost: list[str]) -> None:
    """says: which colours the file has, and which would be those of sRGB."""
    lost.append(f"its {says}: the pixels are taken as sRGB")


def check_primaries(name: str, values: Sequence[float], lost: list[str]) -> None:
    """Tell of primaries that are not those of sRGB. values: x, y of white, red, green, blue."""
    srgb = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    if max(abs(v - s) for v, s in zip(values, srgb, strict=True)) > 0.01:
        numbers = ", ".join(f"{v:.4g}" for v in values)
        not_srgb(f"{name} says other primaries than sRGB's ({numbers})", lost)
