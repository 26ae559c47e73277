"""Which files of a folder are pictures: one rule for every command."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from srkit.checks import expanded
from srkit.image.target import FORMATS

# What is read is told from a file's first bytes; its suffix only says that it is worth a look.
SUFFIXES = (*FORMATS, ".jfif", ".jpe", ".ppm", ".pgm")


@dataclass
class Found:
    """The pictures of a folder, sorted, and what else lies there: the reason, by file."""

    folder: Path
    pictures: list[Path]
    left_out: dict[Path, str] = field(default_factory=dict)

    def __str__(self) -> str:
        said = f"{self.folder}: {len(self.pictures)} pictures"
        return f"{said}; {reasons(self.left_out)}" if self.left_out else said

    def tell(self) -> list[Path]:
        """The pictures; a warning says what was left out."""
        if self.left_out:
            warnings.warn(str(self), stacklevel=3)
        return self.pictures


def find_pictures(folder: str | os.PathLike, *, deep: bool = False) -> Found:
    """The pictures of a folder. deep: those of its subfolders, too.

    Links are followed. Hidden files, those in hidden folders, and macOS's "._" twins are passed
    over without a word; other files, folders that are named as pictures, and links that lead
    nowhere are in `left_out`.

    Raises FileNotFoundError where there is no folder, or no picture in it.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} (looked from {Path.cwd()})")
    found = Found(folder, [])
    for path in sorted(inside(folder) if deep else folder.iterdir()):
        if _hidden(path.relative_to(folder)):
            continue
        if why := _no_picture(path):
            if path.suffix.lower() in SUFFIXES or not path.is_dir():
                found.left_out[path] = why
        else:
            found.pictures.append(path)
    if not found.pictures:
        said = f"no picture in {folder}, of {', '.join(SUFFIXES)}"
        below = sorted({p.parent.name for p in only_pictures(folder.glob("*/*"))})
        if below and not deep:
            said += f"; there are some in {', '.join(below[:3])} below it: name that folder"
        elif found.left_out:
            said += f"; {reasons(found.left_out)}"
        raise FileNotFoundError(said)
    return found


def only_pictures(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are picture files and not hidden, sorted."""
    return sorted(p for p in paths if not p.name.startswith(".") and _no_picture(p) is None)


def reasons(left_out: dict[Path, str]) -> str:
    """What was left out and why, in one line: at most three names a reason."""
    names: dict[str, list[str]] = {}
    for path, why in left_out.items():
        names.setdefault(why, []).append(path.name)
    parts = []
    for why, of in names.items():
        more = f" and {len(of) - 3} more" if len(of) > 3 else ""
        parts.append(f"{', '.join(of[:3])}{more} ({why})")
    return f"left out {len(left_out)}: {'; '.join(parts)}"


def inside(folder: Path) -> list[Path]:
    """All files below a folder, through links to folders, too, each folder once."""
    found, seen = [], set()
    for top, below, names in os.walk(folder, followlinks=True):
        where = os.stat(top)
        if (where.st_dev, where.st_ino) in seen:  # a link that leads back
            below.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        found += [Path(top, name) for name in [*names, *below]]
    return found


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def _no_picture(path: Path) -> str | None:
    """Why a path is no picture to take; None if it is one."""
    if path.is_dir():
        return "a folder"
    if path.suffix.lower() not in SUFFIXES:
        return "no picture format that srkit reads"
    if not path.exists():
        return "a link that leads nowhere"
    return None if path.is_file() else "not a plain file"
