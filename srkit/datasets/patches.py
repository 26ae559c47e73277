"""Random crops to train on, cut from pictures that are held in memory.

patches = Patches(pictures, 4)                       # uint8 tensors (3, H, W), or paths
patches.batch(16, 48, rng)                           # {"lr": (16, 3, 48, 48), "hr": ...}
Patches(pictures, (2, 3, 4))                         # each batch has one of these scales
Patches(paths, 4, store="div2k.pixels")              # more pictures than memory holds
DegradedPatches(pictures, real(4))                   # each crop degraded in its own way
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from srkit.checks import at_least, expanded
from srkit.devices import free_memory, sent
from srkit.files import Damaged, write_whole
from srkit.image.degrade import Degradation
from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop, to_8bit

PictureOrPath = Tensor | str | os.PathLike  # a uint8 tensor (3, H, W), or a picture file


class Unreadable(Damaged):
    """A picture file that cannot be taken: `path`. reason: why, in a few words."""

    def __init__(self, path: PictureOrPath, why: str, reason: str = "damaged or no picture"):
        super().__init__(why)
        self.path, self.reason = str(path), reason


class Plane(NamedTuple):
    """Where the pixels of a picture (3, height, width) begin in the store."""

    start: int
    height: int
    width: int


class Draw(NamedTuple):
    """Where one crop is taken: the picture, first row and column of the LR crop, the symmetry.

    symmetry: one of the square's 8. Bit 1 flips the rows, 2 the columns; 4 then transposes.
    """

    picture: int
    top: int
    left: int
    symmetry: int


class Patches:
    """Crops of LR and HR pictures of the same places, flipped and turned at random.

    The pixels of all pictures lie in one flat uint8 array of `nbytes` bytes, the store: each
    picture, then its LR picture for each scale r, made once from modcrop(picture, r) by `imresize`
    (8 bits, the border rule of the benchmark files). In any of the 8 symmetries a crop is a start
    and three strides in the store, so nothing is decoded while a network trains. NumPy copies the
    crops on a processor; on a GPU one indexing operation gathers them all.

    pictures: uint8 tensors (3, H, W), or files, which are read one at a time.
    scale: one or several. Of several, each batch has one, drawn at random.
    store: a file that holds the pixels, mapped into memory. It is made if it is missing or is of
        other pictures or scales. Of several processes one writes it, while the others wait
        (STORE.lock).
    device: where the pixels are held and the batches are made.

    Pictures that are smaller than a batch's crops are left out of that batch; a warning says so
    once.

    Raises MemoryError if there is no room for the store; ValueError for no pictures, for a scale
    that is no whole number from 1, for a picture smaller than the scale, and for a tensor that is
    not uint8 (3, H, W); `Unreadable`, a ValueError, for a file that is no picture.
    """

    def __init__(
        self,
        pictures: Sequence[PictureOrPath],
        scale: int | Sequence[int],
        *,
        store: str | os.PathLike | None = None,
        device: str | torch.device = "cpu",
    ):
        self.scales = tuple(scale) if isinstance(scale, Sequence) else (scale,)
        if not len(pictures) or not self.scales:
            raise ValueError(f"{len(pictures)} pictures, {len(self.scales)} scales: nothing to cut")
        for r in self.scales:
            at_least(1, scale=r)
        self.hr: list[Plane] = []
        self.lr: dict[int, list[Plane]] = {r: [] for r in self.scales}
        self.nbytes = 0
        self.names = [
            f"picture {k}" if isinstance(p, Tensor) else Path(p).name
            for k, p in enumerate(pictures)
        ]
        self._told: set[tuple[int, int]] = set()  # crop sizes that some pictures are too small for
        for source, name in zip(pictures, self.names, strict=True):
            height, width = _size_for(source, name, self.scales)
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
            pixels = self._kept(expanded(store), pictures)
        self.pixels = pixels if device.type == "cpu" else torch.from_numpy(pixels).to(device)

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """A random batch: "lr" (B, 3, size, size), "hr" r times that size, in [0, 1]; "scale", r.

        part: (i, n) returns the i-th of n equal shares of the `count` crops that `rng` draws.

        Raises ValueError for a count or a size below 1, a size larger than every LR picture, or a
        count that n does not divide.
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
        """Draw where the crops of a batch lie: the scale and the places, which `cut` takes.

        Arguments and errors are those of `batch`. scale: None draws one of the scales.
        """
        at_least(1, count=count, size=size)
        if scale is None and len(self.scales) == 1:
            scale = self.scales[0]
        elif scale is None:
            scale = self.scales[int(torch.rand((), generator=rng, device="cpu") * len(self.scales))]
        planes = self.lr[scale]
        chosen = range(len(planes))
        if size > self.smallest[scale]:
            chosen = self._large_enough(size, scale)
        draws = []
        drawn = torch.rand(count, 4, generator=rng, device="cpu").tolist()
        for which, u, v, turn in share(drawn, part):
            k = chosen[int(which * len(chosen))]
            _, height, width = planes[k]
            top, left = int(u * (height - size + 1)), int(v * (width - size + 1))
            draws.append(Draw(k, top, left, int(turn * 8)))
        return scale, draws

    def _large_enough(self, size: int, scale: int) -> list[int]:
        """The numbers of the pictures that hold a crop; a warning tells how many do not."""
        planes = self.lr[scale]
        chosen = [k for k, plane in enumerate(planes) if min(plane[1:]) >= size]
        if not chosen:
            largest = max(min(plane[1:]) for plane in planes)
            raise ValueError(
                f"crops of {size} px are larger than every LR picture (the largest is {largest} "
                "px on its short side): take smaller crops or larger pictures"
            )
        if (size, scale) not in self._told:
            self._told.add((size, scale))
            small = [self.names[k] for k in set(range(len(planes))) - set(chosen)]
            warnings.warn(
                f"left out {len(small)} of {len(planes)} pictures, whose LR is smaller than the "
                f"crops of {size} px: {', '.join(small[:3])}{' ...' if small[3:] else ''}",
                stacklevel=4,
            )
        return chosen

    def cut(self, draws: Sequence[Draw], size: int, scale: int) -> dict[str, Any]:
        """The crops at the places that `draw` returned, as `batch` returns them."""
        low, high, r, side = self.lr[scale], self.hr, scale, scale * size
        return {
            "lr": self._take([_crop(low[k], y, x, size, s) for k, y, x, s in draws], size),
            "hr": self._take([_crop(high[k], r * y, r * x, side, s) for k, y, x, s in draws], side),
            "scale": scale,
        }

    @property
    def pictures(self) -> list[Tensor]:
        """The HR pictures, uint8 (3, H, W), as they lie in the store."""
        return [self.picture(k) for k in range(len(self.hr))]

    def picture(self, k: int) -> Tensor:
        """The k-th picture, uint8 (3, H, W). It shares its memory with the store."""
        return self.view(self.hr[k])

    def view(self, plane: Plane) -> Tensor:
        """The picture that lies in a place of the store, uint8 (3, H, W)."""
        start, height, width = plane
        pixels = self.pixels[start : start + 3 * height * width]
        pixels = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
        return pixels.view(3, height, width)

    def _take(self, crops: Sequence[tuple[int, tuple[int, int, int]]], side: int) -> Tensor:
        """The crops as floats (B, 3, side, side); each comes as its start and three strides."""
        if isinstance(self.pixels, Tensor):
            device = self.pixels.device
            table = torch.tensor([(at, *strides) for at, strides in crops], device="cpu")
            places = sent(table, device)  # (B, 4)
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

    def _blocks(self, pictures: Sequence[PictureOrPath]) -> Iterator[np.ndarray]:
        """The contents of the store, piece by piece."""
        for number, source in enumerate(pictures):
            _, height, width = self.hr[number]
            picture = source if isinstance(source, Tensor) else _pixels(source, (height, width))
            yield picture.numpy().ravel()
            for r in self.scales:
                yield self.low(number, picture, r).numpy().ravel()

    def low(self, number: int, picture: Tensor, scale: int) -> Tensor:
        """The LR picture of the picture with that number, uint8 (3, H // scale, W // scale)."""
        return imresize(modcrop(picture, scale), 1 / scale)

    def key(self, pictures: Sequence[PictureOrPath]) -> bytes:
        """The SHA-256 of what the store is made from."""
        return _key(pictures, self.scales)

    def _kept(self, path: Path, pictures: Sequence[PictureOrPath]) -> np.ndarray:
        """The store as a file: the pixels, then the SHA-256 of what they were made from."""
        key = self.key(pictures)
        if not _ends_with(path, self.nbytes, key):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A lock, no barrier: a process that found room in memory never comes here, and
            # the others would wait for it until they time out.
            with FileLock(f"{path}.lock"):
                if not _ends_with(path, self.nbytes, key):  # another process may have made it
                    with write_whole(path) as file:
                        for block in self._blocks(pictures):
                            file.write(block.data)
                        file.write(key)
        # "c", copy on write: torch wants writable memory, and nothing can change the file
        return np.memmap(path, np.uint8, "c", shape=self.nbytes)


class DegradedPatches(Patches):
    """Crops of HR pictures, each degraded in its own way when it is drawn.

    degrade: makes LR of HR, and has the scale (`srkit.image.degrade`). A crop is degraded with a
    border of `margin` LR pixels around it, which is cut off then, so that it ends as in the middle
    of a picture; less where the picture has not so much. The generator of `batch` decides
    everything: the same seed gives the same crops.

    pictures, store: as of `Patches`. Pixels are in memory, not on a GPU, as JPEG is made there.
    (The bicubic LR pictures lie beside them, a share of 1 / scale², and are not used.)

    Raises TypeError for what is no `Degradation`, ValueError for a margin below 0, and what
    `Patches` raises.
    """

    def __init__(
        self,
        pictures: Sequence[PictureOrPath],
        degrade: Degradation,
        *,
        margin: int = 4,
        store: str | os.PathLike | None = None,
    ):
        if not isinstance(degrade, Degradation):
            raise TypeError(f"degrade is a {type(degrade).__name__}: a Degradation is expected")
        at_least(0, margin=margin)
        super().__init__(pictures, degrade.scale, store=store)
        self.degrade, self.margin = degrade, margin

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """A batch as of `Patches`; what each crop draws is decided by a number that `rng` gives."""
        scale, draws = self.draw(count, size, rng, part)
        numbers = torch.randint(2**62, (count,), generator=rng, device="cpu").tolist()
        pairs = [
            self._degraded(draw, size, number)
            for draw, number in zip(draws, share(numbers, part), strict=True)
        ]
        lr, hr = (torch.stack(each) for each in zip(*pairs, strict=True))
        return {"lr": lr, "hr": hr, "scale": scale}

    def _degraded(self, draw: Draw, size: int, number: int) -> tuple[Tensor, Tensor]:
        """The crop, LR (3, size, size) and HR; number: the seed of what is drawn."""
        r, (_, height, width) = self.degrade.scale, self.lr[self.degrade.scale][draw.picture]
        m = min(self.margin, (min(height, width) - size) // 2)
        top = min(max(draw.top - m, 0), height - size - 2 * m)
        left = min(max(draw.left - m, 0), width - size - 2 * m)
        side = r * (size + 2 * m)
        at = _crop(self.hr[draw.picture], r * top, r * left, side, draw.symmetry)
        hr = self._take([at], side)[0]
        lr = self.degrade(hr, torch.Generator().manual_seed(number))
        return lr[:, m : m + size, m : m + size], hr[:, r * m :, r * m :][
            ..., : r * size, : r * size
        ]


def share(drawn: Sequence, part: tuple[int, int]) -> Sequence:
    """The i-th of n equal shares of what was drawn; part is (i, n).

    Raises ValueError if n does not divide the number of items, and for an i outside 0 to n - 1.
    """
    i, n = part
    if not 0 <= i < n:
        raise ValueError(f"part={part}: expected (i, n), the i-th of n, with i from 0 to n - 1")
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


def picture_size(source: PictureOrPath) -> tuple[int, int]:
    """Height and width of a picture. Of a file only the header is read."""
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
            exif = Image.Image.getexif(image)  # a PNG's own method would decode the picture
            turn = exif.get(0x0112)
    except Exception:  # whatever it is, read_image says what is wrong with the file
        height, width = read_or_name(source).shape[1:]
        return height, width
    turned = isinstance(turn, int) and 5 <= turn <= 8  # by 90 degrees; text is no orientation
    return (width, height) if turned else (height, width)


def _size_for(source: PictureOrPath, name: str, scales: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a picture that is large enough for all scales."""
    height, width = picture_size(source)
    if min(height, width) < max(scales):
        why = f"{name} has {height} x {width} pixels, too few for x{max(scales)}: leave it out"
        if isinstance(source, Tensor):
            raise ValueError(why)
        raise Unreadable(source, why, "smaller than the scale")
    return height, width


def _pixels(source: str | os.PathLike, size: tuple[int, int]) -> Tensor:
    """The picture in a file, uint8 (3, H, W), of the size that its header says."""
    picture = to_8bit(read_or_name(source))
    if picture.shape[1:] != size:
        raise Unreadable(
            source,
            f"{source} is {tuple(picture.shape[1:])} and its header says {size}: save it again, "
            "upright",
        )
    return picture


def check_crops(pictures: Sequence[PictureOrPath], scale: int | Sequence[int], size: int) -> None:
    """Refuse crops of `size` LR pixels a side that no picture holds, by a look at the headers.

    Raises ValueError.
    """
    least, largest = (max(scale) if isinstance(scale, Sequence) else scale), 0
    for source in pictures:
        with suppress(Unreadable):  # it is left out, and named, when the pictures are read
            largest = max(largest, min(picture_size(source)) // least)
        if largest >= size:
            return
    raise ValueError(
        f"crops of {size} px are larger than every LR picture (the largest is {largest} "
        "px on its short side): take smaller crops or larger pictures"
    )


def faults(pictures: Sequence[PictureOrPath], scale: int | Sequence[int]) -> dict[Path, str]:
    """The files that `Patches` would not take, each with the reason, from one look at each."""
    scales = tuple(scale) if isinstance(scale, Sequence) else (scale,)
    found = {}
    for source in pictures:
        if not isinstance(source, Tensor):
            try:
                _pixels(source, _size_for(source, Path(source).name, scales))
            except Unreadable as error:
                found[Path(source)] = error.reason
    return found


def read_or_name(source: str | os.PathLike) -> Tensor:
    """The picture in a file, (3, H, W) in [0, 1]. Raises Unreadable, which says which file."""
    try:
        return read_image(source)
    except (ValueError, PermissionError) as error:
        raise Unreadable(source, str(error)) from error


def _check_room(nbytes: int, device: torch.device) -> None:
    """Raise MemoryError unless the store fits into free memory, and into half of a GPU's.

    Training needs the other half. Each of torchrun's processes on a machine fills its own store.
    """
    import psutil

    free = psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    rooms = [(free, "of memory are free", "give store=, a file to keep it in")]
    if (on_gpu := free_memory(device)) is not None:
        half = on_gpu // 2
        rooms += [(half, "are half of the GPU's free memory", 'leave it in memory, device="cpu"')]
    for room, what, advice in rooms:
        if nbytes > room:
            raise MemoryError(
                f"these pictures and their LR twins are {nbytes / 2**30:.1f} GiB, and "
                f"{room / 2**30:.1f} GiB {what}: {advice}, or take fewer"
            )


def _key(pictures: Sequence[PictureOrPath], scales: tuple[int, ...]) -> bytes:
    """SHA-256 of what the store is made from: pixels or files, their sizes, the scales."""
    digest = hashlib.sha256(f"patches 1, x{scales}".encode())
    for source in pictures:
        digest.update(str(picture_size(source)).encode())
        data = source.numpy().tobytes() if isinstance(source, Tensor) else Path(source).read_bytes()
        digest.update(data)
    return digest.digest()


def _ends_with(path: Path, nbytes: int, key: bytes) -> bool:
    """Whether a file is `nbytes` bytes and then the key."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(key)))
        return file.read() == key and file.tell() == nbytes + len(key)
