"""Checkpoints: the whole state of a training, written whole, verified when read, a few kept."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from srkit.files import write_whole

DIGEST = hashlib.sha256().digest_size


def save(folder: Path, step: int, state: Mapping, keep: int = 2) -> Path:
    """`state` as checkpoint-STEP.pt, its SHA-256 behind it; only the newest `keep` stay.

    Raises TypeError, at the first one, for a state that `load_latest` could not read.

    The older ones go after the new one is on the disk, so that a full disk, or a kill at any
    moment, leaves a whole one.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    if not found(folder):  # the first one: what goes in must come out again
        _read_back(buffer)
    path = folder / f"checkpoint-{step:08d}.pt"
    with write_whole(path) as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())
    for old in found(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _read_back(buffer: io.BytesIO) -> None:
    buffer.seek(0)
    try:
        torch.load(buffer, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TypeError(
            f"the state of this training could not be read back ({str(error).splitlines()[0]}): "
            "optimizers and what `validate` returns may hold tensors, numbers and texts only"
        ) from error


def load_latest(folder: Path) -> dict | None:
    """The newest whole checkpoint of `folder`; None where there is none.

    One that is cut off or altered is passed over with a warning, and the one before it taken.
    Nothing in the file is run (`weights_only`).

    Raises ValueError for one that is as it was written and still cannot be read: to begin anew
    would cost what was learned.
    """
    paths = found(folder)
    for number, path in reversed(list(enumerate(paths))):
        data = path.read_bytes()
        if len(data) > DIGEST and hashlib.sha256(data[:-DIGEST]).digest() == data[-DIGEST:]:
            return _state(path, data[:-DIGEST])
        what = "the checkpoint before it is used" if number else "the training begins anew"
        warnings.warn(f"{path} is cut off or altered: {what}", stacklevel=2)
    return None


def _state(path: Path, data: bytes) -> dict:
    why = "it holds no dictionary"
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if isinstance(state, dict):
            return state
    except MemoryError:
        raise
    except Exception as error:  # what is no checkpoint shows as any of a dozen kinds
        why = str(error).splitlines()[0]
    raise ValueError(
        f"{path} cannot be read by this version of PyTorch ({why}): take the version that wrote "
        "it, or move the file away, and the checkpoint before it is used."
    )


def found(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first; no copies under other names."""
    paths = (p for p in folder.glob("checkpoint-*.pt") if p.stem.split("-", 1)[1].isdecimal())
    return sorted(paths, key=step_of)


def step_of(path: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(path.stem.split("-")[1])
