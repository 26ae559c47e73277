"""Crops for training, cut from pictures that live in memory.

patches = Patches(pictures, 4)                       # uint8 tensors (3, H, W), or paths
patches.batch(16, 48, rng)                           # {"lr": (16, 3, 48, 48), "hr": ...}
Patches(pictures, (2, 3, 4))                         # one of these scales a batch
Patches(paths, 4, store="div2k.pixels")              # more pictures than memory holds
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from srkit.files import write_whole
from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop, to_8bit

Source = Tensor | str | os.PathLike


class Plane(NamedTuple):
    """Where a picture (3, height, width) begins in the store."""

    start: int
    height: int
    width: int


class Draw(NamedTuple):
    """Which picture, the LR crop's first row and column, and one of the square's 8 symmetries.

    The symmetry's bits: flip rows, flip columns, then transpose.
    """

    picture: int
    top: int
    left: int
    symmetry: int


class Patches:
    """Aligned low- and high-resolution crops, flipped and turned at random.

    The pixels of all pictures are one flat uint8 store of `nbytes` bytes: each picture as it is,
    then its LR twin for each scale r, made once from modcrop(picture, r) by `imresize` (8 bits, the
    border rule of the benchmark files). A crop in any of the 8 symmetries is a start and three
    strides in the store: copied by numpy on the processor, gathered at once on a GPU. No worker
    processes, no decoding in the loop.

    pictures: uint8 tensors (3, H, W), or files, of which one at a time is read.
    scale: one, or several: each batch then has one of them, drawn at random.
    store: a file to keep the pixels in, mapped into memory as they are needed. Written whole, of
        several processes by one, and the others wait (STORE.lock); one that holds the pixels of
        these very pictures is used as it is.
    device: where the store lives, and the batches come from.

    Raises MemoryError where there is no room for the store.
    """

    def __init__(
        self,
        pictures: Sequence[Source],
        scale: int | Sequence[int],
        *,
        store: str | os.PathLike | None = None,
        device: str | torch.device = "cpu",
    ):
        self.scales = (scale,) if isinstance(scale, int) else tuple(scale)
        self.hr: list[Plane] = []
        self.lr: dict[int, list[Plane]] = {r: [] for r in self.scales}
        self.nbytes = 0
        for height, width in map(_size, pictures):
            self.hr.append(self._plane(height, width))
            for r, planes in self.lr.items():
                planes.append(self._plane(height // r, width // r))
        self.smallest = {r: min(min(p[1:]) for p in planes) for r, planes in self.lr.items()}
        device = torch.device(device)
        if store is None:
            _check_room(self.nbytes, device)
            pixels = np.empty(self.nbytes, np.uint8)
            end = 0
            for block in self._blocks(pictures):
                start, end = end, end + block.size
                pixels[start:end] = block
        else:
            pixels = self._kept(Path(store), pictures)
        self.pixels = pixels if device.type == "cpu" else torch.from_numpy(pixels).to(device)

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Tensor | int]:
        """`count` crops: "lr" (B, 3, size, size) and "hr" r times that size in [0, 1], and "scale".

        `part` (i, n): of the crops that `rng` decides on, the i-th of n equal shares.
        """
        scale, draws = self.draw(count, size, rng, part)
        return self.cut(draws, size, scale)

    def draw(
        self,
        count: int,
        size: int,
        rng: torch.Generator,
        part: tuple[int, int] = (0, 1),
        *,
        scale: int | None = None,
    ) -> tuple[int, list[Draw]]:
        """The scale, drawn unless it is given, and the places of a batch."""
        if scale is None and len(self.scales) == 1:
            scale = self.scales[0]
        elif scale is None:
            scale = self.scales[int(torch.rand((), generator=rng) * len(self.scales))]
        planes = self.lr[scale]
        if size > self.smallest[scale]:
            raise ValueError(
                f"crops of {size} px are larger than the smallest LR picture "
                f"({self.smallest[scale]} px): "
                "take smaller crops or larger pictures"
            )
        draws = []
        for which, u, v, turn in share(torch.rand(count, 4, generator=rng).tolist(), part):
            k = int(which * len(planes))
            _, height, width = planes[k]
            top, left = int(u * (height - size + 1)), int(v * (width - size + 1))
            draws.append(Draw(k, top, left, int(turn * 8)))
        return scale, draws

    def cut(self, draws: Sequence[Draw], size: int, scale: int) -> dict[str, Tensor | int]:
        """The crops at these places."""
        low, high, r, side = self.lr[scale], self.hr, scale, scale * size
        return {
            "lr": self._take([_crop(low[k], y, x, size, s) for k, y, x, s in draws], size),
            "hr": self._take([_crop(high[k], r * y, r * x, side, s) for k, y, x, s in draws], side),
            "scale": scale,
        }

    def picture(self, k: int) -> Tensor:
        """The k-th picture, uint8 (3, H, W), as it lies in the store."""
        start, height, width = self.hr[k]
        pixels = torch.as_tensor(self.pixels[start : start + 3 * height * width])
        return pixels.view(3, height, width)

    def _take(self, crops: Sequence[tuple[int, tuple[int, int, int]]], side: int) -> Tensor:
        """Crops, each a start and the strides of channels, rows and columns, as floats."""
        if isinstance(self.pixels, Tensor):
            device = self.pixels.device
            places = torch.tensor([(start, *strides) for start, strides in crops])  # (B, 4)
            if device.type == "cuda":  # from pinned memory a copy is not waited for
                places = places.pin_memory().to(device, non_blocking=True)
            index, steps = places[:, 0].view(-1, 1, 1, 1), places[:, 1:]
            for axis, length in enumerate((3, side, side)):
                along = steps[:, axis, None] * torch.arange(length, device=device)  # (B, length)
                index = index + along.view(-1, *(length if d == axis else 1 for d in range(3)))
            return self.pixels[index] / 255  # (B, 3, side, side)
        cut = np.empty((len(crops), 3, side, side), np.float32)
        for crop, (start, strides) in zip(cut, crops, strict=True):
            crop[:] = np.ndarray(crop.shape, np.uint8, self.pixels, start, strides)
        return torch.from_numpy(cut).div_(255)

    def _plane(self, height: int, width: int) -> Plane:
        plane = Plane(self.nbytes, height, width)
        self.nbytes += 3 * height * width
        return plane

    def _blocks(self, pictures: Sequence[Source]) -> Iterator[np.ndarray]:
        """What is in the store, in its order."""
        for source, (_, height, width) in zip(pictures, self.hr, strict=True):
            picture = source if isinstance(source, Tensor) else to_8bit(read_image(source))
            if picture.shape[1:] != (height, width):
                raise ValueError(
                    f"{source} is {tuple(picture.shape[1:])} and its header says "
                    f"{(height, width)}: save it again, upright"
                )
            yield picture.numpy().ravel()
            for r in self.scales:
                yield imresize(modcrop(picture, r), 1 / r).numpy().ravel()

    def _kept(self, path: Path, pictures: Sequence[Source]) -> np.ndarray:
        """The store as a file: the pixels, then the SHA-256 of what they were made from."""
        key = _key(pictures, self.scales)
        if not _ends_with(path, self.nbytes, key):
            path.parent.mkdir(parents=True, exist_ok=True)
            # no barrier: not all may come here, for each looks for room; and a barrier times out
            with FileLock(f"{path}.lock"):
                if not _ends_with(path, self.nbytes, key):  # not made meanwhile
                    with write_whole(path) as file:
                        for block in self._blocks(pictures):
                            file.write(block.data)
                        file.write(key)
        # "c": pages of the file, of which a change would stay in memory; nothing changes them
        return np.memmap(path, np.uint8, "c", shape=self.nbytes)


def share(drawn: Sequence, part: tuple[int, int]) -> Sequence:
    """The i-th of n equal parts of what was drawn; part is (i, n)."""
    i, n = part
    if len(drawn) % n:
        raise ValueError(f"{len(drawn)} crops cannot be shared by {n}: take a multiple of {n}")
    return drawn[i::n]


def _crop(
    plane: Plane, top: int, left: int, side: int, symmetry: int
) -> tuple[int, tuple[int, int, int]]:
    """Where a square crop begins in the store, and its strides (channel, row, column)."""
    row, column = plane.width, 1
    start = plane.start + top * row + left
    if symmetry & 1:
        start, row = start + (side - 1) * row, -row
    if symmetry & 2:
        start, column = start + (side - 1) * column, -column
    if symmetry & 4:
        row, column = column, row
    return start, (plane.height * plane.width, row, column)


def _size(source: Source) -> tuple[int, int]:
    """Height and width, of a file without decoding it."""
    if isinstance(source, Tensor):
        if source.dtype != torch.uint8 or source.ndim != 3 or len(source) != 3:
            raise ValueError(
                f"a picture is {source.dtype} {tuple(source.shape)}, expected uint8 (3, H, W): "
                "srkit.image.tensors.to_8bit makes it of floats"
            )
        return source.shape[1], source.shape[2]
    from PIL import Image

    try:
        with Image.open(source) as image:
            width, height = image.size
            exif = Image.Image.getexif(image)  # PNG's own would decode the picture
    except Exception:  # of any kind: read_image says what is wrong
        height, width = read_image(source).shape[1:]
        return height, width
    lying = exif.get(0x0112, 1) >= 5  # orientations 5 to 8 are turned by 90 degrees
    return (width, height) if lying else (height, width)


def _check_room(nbytes: int, device: torch.device) -> None:
    """In memory, where the store is filled; on a GPU in a half, for training needs the rest.

    Processes of one machine (torchrun's) fill a store each.
    """
    import psutil

    free = psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    rooms = [(free, "of memory are free", "give store=, a file to keep it in")]
    if device.type == "cuda":
        half = torch.cuda.mem_get_info(device)[0] // 2
        rooms += [(half, "are half of the GPU's free memory", 'leave it in memory, device="cpu"')]
    for room, what, advice in rooms:
        if nbytes > room:
            raise MemoryError(
                f"these pictures and their LR twins are {nbytes / 2**30:.1f} GiB, and "
                f"{room / 2**30:.1f} GiB {what}: {advice}, or take fewer"
            )


def _key(pictures: Sequence[Source], scales: tuple[int, ...]) -> bytes:
    """SHA-256 of what decides the store: pixels or files, their shapes, the scales."""
    digest = hashlib.sha256(f"patches 1, x{scales}".encode())
    for source in pictures:
        digest.update(str(_size(source)).encode())
        data = source.numpy().tobytes() if isinstance(source, Tensor) else Path(source).read_bytes()
        digest.update(data)
    return digest.digest()


def _ends_with(path: Path, nbytes: int, key: bytes) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(key)))
        return file.read() == key and file.tell() == nbytes + len(key)
