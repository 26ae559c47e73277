"""Pictures to train on, by name: a set of the catalogue, a folder, or "procedural"."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from srkit.checks import expanded
from srkit.datasets import catalog, procedural
from srkit.datasets.patches import Patches, Unreadable, faults
from srkit.devices import best_device
from srkit.files import cache_folder
from srkit.image.folder import find_pictures, reasons
from srkit.image.tensors import to_8bit


def training_pictures(name: str) -> list[Tensor] | list[Path]:
    """The pictures that `name` means, as files or as uint8 tensors (3, H, W).

    name: a data set of the catalogue, a folder, a picture, or "procedural" (drawn by code, needs no
    file). Several sets, folders and pictures may be joined by "+", as in "BSDS400 + my/photos". A
    name of the catalogue means its set; "./Set5" is a folder. Of a folder with HR/ and LR/ side by
    side only HR/ is taken.
    Warnings tell what of a folder was left out, and of pictures that networks are tested on.

    Raises ValueError for an unknown name, FileNotFoundError for pictures that are not at hand.
    """
    if name == "procedural":
        return [to_8bit(image) for image in procedural.pictures(8, 128, seed=0)]
    whole = expanded(name)
    parts = [name] if name.strip() and whole.exists() else [p.strip() for p in name.split("+")]
    found: dict[Path, None] = {}  # in their order, none twice
    for part in parts:
        found.update(dict.fromkeys(_files(part)))
    return list(found)


def _files(part: str) -> list[Path]:
    """The pictures of a set, a folder or a file."""
    if not part or part == "procedural":
        raise ValueError(
            f"data {part!r} is no set of files: name a set of the catalogue, a folder or a picture"
        )
    path = expanded(part)
    if part in catalog.CATALOG:
        if path.is_dir():
            message = f"{part} is the catalogue's set here: write ./{part} for the folder"
            warnings.warn(message, stacklevel=3)
        _tell_tests(part, catalog.CATALOG[part].folder)
        return catalog.pictures(part)
    if path.is_file():
        return [path]
    if not path.is_dir():
        if "/" in part or os.sep in part:  # a path, and no name of a set
            raise FileNotFoundError(f"there is no folder or picture {part} (from {Path.cwd()})")
        return catalog.pictures(part)  # which lists the names
    _tell_tests(part, path.resolve().as_posix())
    found = find_pictures(path, deep=True)
    twins = [p for p in found.pictures if _beside_hr(p.relative_to(path), path)]
    found.left_out |= dict.fromkeys(twins, "LR beside HR")
    found.pictures = [p for p in found.pictures if p not in set(twins)]
    return found.tell()


def _tell_tests(part: str, folder: str) -> None:
    if "benchmarks/" in f"{folder}/":
        message = f"{part} is a benchmark: what is trained on it must not be measured on it"
        warnings.warn(message, stacklevel=4)


def _beside_hr(relative: Path, root: Path) -> bool:
    """Whether a picture lies in a folder of LR pictures that has a folder of HR pictures beside."""
    parents = [root / p for p in relative.parents if p.name.lower().startswith("lr")]
    return any(
        twin.is_dir() and twin.name.lower().startswith("hr")
        for folder in parents
        for twin in folder.parent.iterdir()
    )


def patches(name: str, scale: int | tuple[int, ...], device: str | None) -> Patches:
    """Crops of the pictures that `name` means, read once a process.

    They live on the GPU that trains if they fit there, else in memory, else in a file of srkit's
    cache. A picture that was changed since is read again. Damaged ones, and those smaller than the
    scale, are left out, with a warning that names them.
    """
    files = () if name == "procedural" else training_pictures(name)
    dated = tuple((path, path.stat().st_mtime_ns) for path in files if isinstance(path, Path))
    return _patches(name, dated, scale, device)


@lru_cache(maxsize=4)
def _patches(
    name: str,
    files: tuple[tuple[Path, int], ...],
    scale: int | tuple[int, ...],
    device: str | None,
) -> Patches:
    pictures = [path for path, _ in files] or training_pictures(name)
    with suppress(MemoryError):
        kind = best_device().type
        if device != "cpu" and kind != "cpu":
            own = os.environ.get("LOCAL_RANK")  # of several processes each has a GPU
            return sound(pictures, scale, device=f"{kind}:{own}" if own else device or kind)
    with suppress(MemoryError):
        return sound(pictures, scale)
    store = cache_folder() / "crops" / f"{Path(name).name} x{scale}.pixels"
    return sound(pictures, scale, store=store)


def sound(
    pictures: Sequence[Tensor] | Sequence[Path],
    scale: int | tuple[int, ...],
    *,
    make: Callable[..., Patches] | None = None,
    **where: Any,
) -> Patches:
    """`Patches`, or what `make` gives, of pictures that can be taken; a warning names the others.

    Raises ValueError where none can be.
    """
    make = make or Patches
    try:
        return make(pictures, scale, **where)
    except Unreadable:  # the first one; a look at all is no slower than to begin after each
        left_out = faults(pictures, scale)
    kept = [p for p in pictures if not (isinstance(p, Path) and p in left_out)]
    if not kept:
        raise ValueError(f"none of {len(pictures)} pictures can be taken: {reasons(left_out)}")
    found = make(kept, scale, **where)
    warnings.warn(reasons(left_out), stacklevel=3)
    return found
