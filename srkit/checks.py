"""What can be refused before any work: numbers out of range, and places where nothing can be put.

One sentence a refusal. Pictures have more to ask: `srkit.image.target`.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path


def at_least(smallest: float, **numbers: float | None) -> None:
    """Refuse a number below `smallest`, or one that is none. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    whole = isinstance(smallest, int)
    expected = f"a whole number from {smallest}" if whole else f"a number from {smallest:g}"
    for name, value in numbers.items():
        if value is None:
            continue
        kinds = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= smallest:
            raise ValueError(f"{name}={value!r}: expected {expected}")


def finite(**numbers: float | None) -> None:
    """Refuse what is not a positive, finite number. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r}: expected a number above 0")
        if not (0 < value < math.inf):
            raise ValueError(f"{name}={value!r}: expected a finite number above 0")


def below(limit: float, **numbers: float | None) -> None:
    """Refuse a number that is not below `limit`. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    for name, value in numbers.items():
        if value is not None and not value < limit:
            raise ValueError(f"{name}={value!r}: expected a number below {limit:g}")


def expanded(path: str | os.PathLike) -> Path:
    """The path, with the home folder in place of a "~" at its start.

    A file that is named "~draft.png" keeps its name: no user is called so.
    """
    return Path(os.path.expanduser(path))


def resolved(path: str | os.PathLike) -> Path:
    """The path that is meant where `path` is a link, or leads through links.

    Raises ValueError for a link that leads back to itself.
    """
    found = Path(os.path.realpath(expanded(path)))
    if found.is_symlink():
        raise ValueError(f"{path} is a link that leads back to itself: remove it, or name another.")
    return found


def check_place(path: str | os.PathLike, size: int = 0, what: str = "the file") -> None:
    """Refuse a place where no file of at least `size` bytes can be written.

    The folder may be missing as long as it can be made. what: what is to be written, for the words.

    Raises ValueError for a folder, a device, a link to itself, and a path that leads through a
    file; PermissionError where this user may not write; OSError where there is not room enough.
    """
    path = expanded(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file, as in {path / f'name{path.suffix}'}.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a plain file: choose another name to write to.")
    path = resolved(path)  # a link is followed, as by `write_whole`
    folder = check_folder(path.parent, f"{path}")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only: choose another name, or allow it (chmod u+w).")
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(
            f"{path}: {folder} has {free / 2**20:.1f} MiB free, {what} takes "
            f"{size / 2**20:.1f} at least: make room, or choose another place."
        )


def check_folder(folder: str | os.PathLike, path: str = "") -> Path:
    """Refuse a folder in which this user can make no file; return the part of it that is there.

    path: the file that is to be made, for the words.

    Raises ValueError where a file is in the way, PermissionError where nothing may be written.
    """
    folder = resolved(folder)
    path, folder = path or str(folder), next(p for p in (folder, *folder.parents) if p.exists())
    if not folder.is_dir():
        raise ValueError(f"{path}: {folder} is a file, no folder: choose another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {folder} is read-only for this user.")
    return folder


def check_free(path: str | os.PathLike, overwrite: bool) -> None:
    """Refuse to replace the file at `path`, unless `overwrite`. Raises FileExistsError."""
    if expanded(path).is_file() and not overwrite:
        raise FileExistsError(f"{path} exists: --overwrite replaces it")
