"""Pictures to train on, by name: a set of the catalogue, a folder, or "procedural"."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from srkit.datasets import catalog, procedural
from srkit.datasets.patches import Patches
from srkit.files import cache_folder
from srkit.image.tensors import to_8bit


def training_pictures(name: str) -> list[Tensor] | list[Path]:
    """The pictures that `name` means, as files or as uint8 tensors (3, H, W).

    name: a data set of the catalogue, a folder, or "procedural" (drawn by code, needs no file).
    Several sets and folders may be joined by "+", as in "BSDS400+General100".

    Raises ValueError for an unknown name, FileNotFoundError for pictures that are not at hand.
    """
    if name == "procedural":
        return [to_8bit(image) for image in procedural.pictures(8, 128, seed=0)]
    if Path(name).is_dir():
        return catalog.in_folder(name)
    if "+" in name:
        parts = [training_pictures(part) for part in name.split("+")]
        return [path for part in parts for path in part if isinstance(path, Path)]
    return catalog.pictures(name)


def patches(name: str, scale: int | tuple[int, ...], device: str | None) -> Patches:
    """Crops of the pictures that `name` means, read once a process.

    They live on the GPU that trains if they fit there, else in memory, else in a file of srkit's
    cache. A picture that was changed since is read again.
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
        if device != "cpu" and torch.cuda.is_available():
            own = os.environ.get("LOCAL_RANK")  # of several processes each has a GPU
            return Patches(pictures, scale, device=f"cuda:{own}" if own else device or "cuda")
    with suppress(MemoryError):
        return Patches(pictures, scale)
    store = cache_folder() / "crops" / f"{Path(name).name} x{scale}.pixels"
    return Patches(pictures, scale, store=store)
