"""Whether a picture can be written: asked before it is computed."""

from __future__ import annotations

import os

from srkit.checks import check_place, expanded

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
DEEP = ("PNG", "TIFF")  # formats of 16 bits
OPAQUE = ("JPEG", "BMP")  # formats without transparency
LONGEST = {"JPEG": 65_535, "WEBP": 16_383}  # pixels a side; others have 2^31 - 1
LARGEST = 2**32 - 1  # bytes in BMP and TIFF, which count in 32 bits
# What a picture is packed into at best. Photographs take far more; this refuses what cannot be.
LEAST_PACKED = 1 / 50


def check_target(
    path: str | os.PathLike, height: int, width: int, *, bits: int = 8, alpha: bool = False
) -> str:
    """The format that a picture of this size, depth and transparency is written in at `path`.

    Raises ValueError for a folder or a device, for a suffix that is no format, and for a size,
    depth or transparency that the format does not take; PermissionError where nothing may be
    written; OSError where there is not room enough.
    """
    path = expanded(path)
    kind, suffixes = FORMATS.get(path.suffix.lower()), ", ".join(FORMATS)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file, as in {path / 'picture.png'}.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a plain file: choose another name to write to.")
    if kind is None:
        raise ValueError(f"{path}: the suffix must be one of {suffixes}.")
    if bits not in ((8, 16) if kind in DEEP else (8,)):
        raise ValueError(f"{path}: {bits} bits; {kind} has 8 here, PNG and TIFF 8 or 16.")
    if alpha and kind in OPAQUE:
        raise ValueError(
            f"{path}: {kind} has no transparency: write PNG, WebP or TIFF, or leave it out."
        )
    longest = LONGEST.get(kind, 2**31 - 1)
    if max(height, width) > longest:
        raise ValueError(
            f"{path}: {width} x {height} pixels; {kind} takes {longest} a side at most: write PNG "
            "or TIFF."
        )
    size = height * width * (4 if alpha else 3) * bits // 8
    if kind in ("BMP", "TIFF") and size > LARGEST:
        raise ValueError(f"{path}: {size / 2**30:.1f} GiB of pixels; {kind} takes 4: write PNG.")
    check_place(path, size if kind == "BMP" else int(size * LEAST_PACKED), "the picture")
    return kind
