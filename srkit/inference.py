"""Enlarges pictures with any network: whole or in tiles, one picture or a folder.

Picture and result stay on the CPU; only what is being computed goes to the device. Tiles carry an
overlap that is measured from the network at hand: see `receptive_field`.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from srkit.files import json_text, remove_stale, write_whole
from srkit.image.folder import find_pictures, reasons
from srkit.image.io import ImageLike, Picture, as_image, like, read_picture, write_picture
from srkit.image.resize import imresize
from srkit.image.target import FORMATS, check_target
from srkit.image.tensors import shave
from srkit.models.network import Network, check_network

SMALLEST_TILE = 16  # below it, nearly everything computed is overlap
# What is read under a suffix that is not written:
WRITTEN_AS = {".jfif": ".jpg", ".jpe": ".jpg", ".ppm": ".png", ".pgm": ".png"}
APPROXIMATE_OVERLAP = 32  # where no overlap is exact; more costs time and gains little

Kind = TypeVar("Kind", Tensor, np.ndarray, Image.Image, Picture)

# What `receptive_field` found, and for which tolerance and weights.
_measured: WeakKeyDictionary[Network, tuple[list[float], int | None]] = WeakKeyDictionary()
_told: WeakSet[Network] = WeakSet()  # networks already said to be approximate in tiles


@overload
def upscale(
    model: Network,
    image: str | os.PathLike,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> Image.Image: ...
@overload
def upscale(
    model: Network,
    image: Kind,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> Kind: ...
def upscale(
    model: Network,
    image: ImageLike | Picture,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> Tensor | np.ndarray | Image.Image | Picture:
    """The picture enlarged by `model.scale`, clipped to its range.

    image: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W) or (B, 3, H, W) in [0, 1], or
        a Picture (depth, grey and colour profile stay, transparency is enlarged by bicubic
        interpolation). The result is of the same kind; of a path, a PIL image.
    tile: side of the tiles in LR pixels. None takes the picture whole, and falls back to tiles when
        memory runs out; a tile that does not fit is halved, down to 16 pixels.
    overlap: LR pixels around a tile that are computed and dropped. None measures how many it takes
        for tiles to give what the whole picture gives. Networks with `tiling = "approximate"`
        never do: they warn once, with the measured difference.
    self_ensemble: the mean over the picture's eight flips and quarter turns (Timofte et al., CVPR
        2016, "Seven ways to improve example-based single image super resolution").
    precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 where `has_bfloat16`, and
        float32 for 16 bits (a Picture, an array of uint16). A tile that comes out not finite in
        bfloat16 is done again in float32.
    device: None is where the network is. The network itself comes back as it was.

    Raises TypeError for what is no `Network` (see `srkit.as_model`); ValueError for a setting or an
    image that cannot be, what `as_image` raises; RuntimeError when the smallest tiles still need
    too much memory, or values come out that are not finite.
    """
    _check(model, tile, overlap, precision, device)
    with borrowed(model, device) as place:
        bf16 = in_bfloat16("float32" if precision == "auto" and _deep(image) else precision, place)

        def run(window: Tensor) -> Tensor:
            if self_ensemble:
                return _eightfold(lambda x: _run(model, x, bf16), window)
            return _run(model, window, bf16)

        def enlarge(x: Tensor) -> Tensor:
            return _enlarge(model, x, run, tile, overlap).clamp_(0, 1)

        if isinstance(image, Picture):
            rgb = as_image(image.rgb)
            if image.alpha is None:
                return replace(image, rgb=enlarge(rgb))
            alpha = imresize(image.alpha, model.scale).clamp(0, 1)
            return replace(image, rgb=enlarge(_fill_hidden(rgb, image.alpha)), alpha=alpha)
        if isinstance(image, Tensor) and image.dim() == 4:
            return torch.stack([like(enlarge(as_image(x)), x) for x in image])
        return like(enlarge(as_image(image)), image)


def _deep(image: ImageLike | Picture) -> bool:
    """Whether the result is kept in more steps than bfloat16 has."""
    if isinstance(image, np.ndarray):
        return image.dtype == np.uint16
    return isinstance(image, Picture) and image.bits > 8


@dataclass
class FolderReport:
    """What `upscale_folder` did.

    done: the file written, by source file. skipped: source files whose result existed. failed: the
    reason, by source file. left_out: what else lies in the source folder, and why it was not tried.
    interrupted: Ctrl-C ended it.
    """

    done: dict[Path, Path] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    interrupted: bool = False

    def __str__(self) -> str:
        counts = f"{len(self.done)} done, {len(self.skipped)} skipped, {len(self.failed)} failed"
        lines = [counts + (", interrupted" if self.interrupted else "")]
        lines += [f"  {path.name}: {why}" for path, why in self.failed.items()]
        return "\n".join(lines + ([reasons(self.left_out)] if self.left_out else []))


def upscale_folder(
    model: Network,
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    overwrite: bool = False,
    suffix: str | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> FolderReport:
    """Every picture of `source` (subfolders not), enlarged into `target` under the same name.

    What exists is skipped unless `overwrite`; `suffix=".png"` changes the file format. A bad file
    is reported and the rest goes on; Ctrl-C leaves whole files only and ends with the report so
    far. The target's `.srkit.json` tells which network made what lies there. The other arguments
    are those of `upscale`.

    Raises what `upscale` raises for its settings; ValueError for a suffix that is no format, for a
    target that is the source or a file, and for one with results of another network;
    FileNotFoundError where there is no picture, PermissionError where nothing may be written.
    """
    from tqdm import tqdm

    _check(model, tile, overlap, precision, device)
    source, target = Path(source).expanduser(), Path(target).expanduser()
    found = find_pictures(source)
    if suffix is not None and suffix.lower() not in FORMATS:
        raise ValueError(f"suffix {suffix!r}: choose one of {', '.join(FORMATS)}")
    if target.is_file():
        raise ValueError(f"target {target} is a file: name a folder")
    if target.is_dir() and source.samefile(target):
        raise ValueError(f"source and target are both {source}: name another target folder")
    check_target(target / ("picture" + (suffix or ".png")), 1, 1)
    target.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    _sign(target, model, self_ensemble, overwrite)

    report, makers = FolderReport(left_out=found.left_out), {}
    with borrowed(model, device):  # moved to the device once, not for every file
        for path in tqdm(found.pictures, desc="upscale", unit="file", disable=None):
            out = target / (path.stem + suffix if suffix else path.name)
            if suffix is None and out.suffix.lower() not in FORMATS:
                out = out.with_suffix(WRITTEN_AS[out.suffix.lower()])
            maker = makers.setdefault(out, path)
            try:
                if maker != path:
                    raise ValueError(f"{out.name} is already made from {maker.name}")
                picture = read_picture(path)
                height, width = (model.scale * side for side in picture.rgb.shape[1:])
                if out.exists() and not overwrite:
                    _check_size(out, height, width)
                    report.skipped.append(path)
                    continue
                check_target(out, height, width, bits=picture.bits, alpha=picture.alpha is not None)
                picture = upscale(
                    model,
                    picture,
                    tile=tile,
                    overlap=overlap,
                    self_ensemble=self_ensemble,
                    precision=precision,
                    device=device,
                )
                write_picture(picture, out)
                report.done[path] = out
            except KeyboardInterrupt:
                report.interrupted = True
                break
            except Exception as error:  # whatever is wrong with this file, the others go on
                report.failed[path] = str(error)
    return report


def _sign(target: Path, model: Network, self_ensemble: bool, overwrite: bool) -> None:
    """Write down which network fills a folder; refuse one that another network has filled."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    mine = {"network": model.name, "scale": model.scale, "weights": digest.hexdigest()[:16]}
    mine["self_ensemble"] = self_ensemble
    path = target / ".srkit.json"
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError):
        there = mine
    if there != mine and not overwrite:
        raise ValueError(
            f"{target} holds results of {there.get('network')} (weights {there.get('weights')}, "
            f"self-ensemble {there.get('self_ensemble')}), and this is {mine['network']} (weights "
            f"{mine['weights']}, self-ensemble {self_ensemble}): name another folder, or overwrite."
        )
    with write_whole(path, "w") as file:
        file.write(json_text(mine) + "\n")


def _check_size(out: Path, height: int, width: int) -> None:
    """Whether a file that is there can be the result: that it has its size."""
    try:
        with Image.open(out) as image:
            size = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        size = None
    if size not in ((width, height), (height, width)):  # turned, by the EXIF of another program
        what = "is no picture" if size is None else f"has {size[0]} x {size[1]} pixels"
        raise ValueError(
            f"{out.name} is there and {what}, the result would have {width} x {height}: "
            "overwrite it, or name another folder"
        )


def receptive_field(model: Network, *, tolerance: float = 5e-6) -> int | None:
    """How far the network sees, in LR pixels: the smallest overlap that makes tiles exact.

    Measured the way tiles need it: 16x16 pixels, cut out of noise with a margin around them, have
    to become what they become in a wider picture, up to `tolerance` (float32's own noise is below
    it). In a deep network that is less than its layers add up to. None where no margin up to 128
    does: the network pools over the picture or on a grid, and tiles are approximate.

    Measured once a network, and again after its weights changed. On noise: strong edges of
    photographs can differ by more than the tolerance (idn_x4 by 1.6e-4), far below a grey level.

    Raises TypeError for what is no `Network`.
    """
    if check_network(model).tiling == "approximate":
        return None
    core, more = 16, 23  # odd, so that no grid of stride 2, 3 or 4 is met in step
    noise = torch.rand(3, 320, 320, generator=torch.Generator().manual_seed(0))

    def exact(margin: int) -> bool:
        side = core + 2 * (margin + more)
        wide = noise[:, :side, :side]
        whole = shave(_run(model, wide), model.scale * (margin + more))
        tile = shave(_run(model, shave(wide, more)), model.scale * margin)
        return bool((whole - tile).abs().max() <= tolerance)

    with borrowed(model, None):
        sums = (t.sum(dtype=torch.float64).item() for t in model.state_dict().values())
        state, reach = [tolerance, *sums], None
        if model in _measured and _measured[model][0] == state:
            return _measured[model][1]
        for low, high in ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128)):
            if exact(high):
                reach = bisect_left(range(high), True, lo=low, key=exact)
                break
    _measured[model] = state, reach
    return reach


def tiling_error(
    model: Network, image: ImageLike, *, tile: int, overlap: int
) -> tuple[float, float]:
    """Largest and mean difference between tiled and whole, in grey levels of 255.

    Raises what `upscale` raises.
    """
    _check(model, tile, overlap)
    x = as_image(image)
    with borrowed(model, None):
        tiled = _canvas(x, model.scale)
        _stitch(lambda window: _run(model, window), x, tiled, model.scale, tile, overlap)
        difference = 255 * (tiled - _run(model, x)).abs()
    return difference.max().item(), difference.mean().item()


def color_shift(lr: Tensor, sr: Tensor, alpha: Tensor | None = None) -> list[float]:
    """Mean change of R, G, B, in grey levels of 255, when `sr` is reduced to the size of `lr`.

    alpha: (1, h, w), of lr; what is transparent counts less, or not at all.
    """
    change = 255 * (imresize(sr, size=lr.shape[-2:]) - lr)
    if alpha is None:
        return change.mean((-2, -1)).tolist()
    return ((change * alpha).sum((-2, -1)) / alpha.sum().clamp_min(1e-9)).tolist()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        known = torch.cpu.get_capabilities()
    except AttributeError:  # the oldest supported torch has no such function
        return False
    return device.type == "cpu" and any(known.get(x) for x in ("amx_bf16", "avx512_bf16"))


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether "auto", "float32" or "bfloat16" means bfloat16 on this device.

    Raises ValueError for another word.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {precision!r}: choose auto, float32 or bfloat16")
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))


def find_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises ValueError for a name that torch does not know, and for a device that is not here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError):  # torch asserts that it was built with CUDA
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        known += ["mps"] if torch.backends.mps.is_available() else []
        message = f"device {str(device)!r} is not on this machine: choose {' or '.join(known)}"
        raise ValueError(message) from None
    return found


@contextmanager
def borrowed(model: Network, device: str | torch.device | None) -> Iterator[torch.device]:
    """The network on `device` (None: where it is) in eval mode; afterwards as it was.

    Its weights keep the layout that it is fastest in. Pictures alone do not decide on it: one with
    a single channel (VDSR's Y) has no layout.

    Raises what `find_device` raises.
    """
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    place = home if device is None else find_device(device)
    training = [module for module in model.modules() if module.training]
    try:
        model.eval().to(place).to(memory_format=model.memory_format)
        yield place
    finally:
        model.to(home)
        for module in training:
            module.training = True


def _check(
    model: Network,
    tile: int | None,
    overlap: int | None,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> None:
    """All settings of `upscale`, before any work."""
    check_network(model)
    if tile is not None and tile < 1:
        raise ValueError(f"tile={tile}: at least 1 pixel; leave it out to take the picture whole")
    if overlap is not None and overlap < 0:
        raise ValueError(f"overlap={overlap}: not negative; leave it out to have it measured")
    in_bfloat16(precision, find_device("cpu" if device is None else device))


def _run(model: Network, window: Tensor, bf16: bool = False) -> Tensor:
    """One window through the network, on its device: (3, h, w) -> (3, rh, rw), float32, CPU."""
    h, w = window.shape[-2:]
    least, r = model.min_size, model.scale
    weight = next(model.parameters(), window)
    x = F.pad(window[None], (0, max(0, least - w), 0, max(0, least - h)), mode="replicate")
    x = x.to(weight.device, weight.dtype).contiguous(memory_format=model.memory_format)
    with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        y = model(x)
    expected = (1, 3, r * x.shape[-2], r * x.shape[-1])
    if y.shape != expected:
        raise ValueError(
            f"{model.name} makes {tuple(y.shape)} of {tuple(x.shape)}, expected {expected}: "
            f"is {r} its scale?"
        )
    y = y[0, :, : r * h, : r * w].float().cpu()  # (1, 3, rh, rw) -> (3, rh, rw)
    if y.isfinite().all():
        return y
    if not bf16:
        raise RuntimeError(f"{model.name} gave values that are not finite: check its weights")
    warnings.warn("not finite in bfloat16: done again in float32", stacklevel=2)
    return _run(model, window)


def _eightfold(run: Callable[[Tensor], Tensor], window: Tensor) -> Tensor:
    """The mean of `run` over the eight symmetries of the square, each undone afterwards."""
    total = torch.zeros(())
    for turns in range(4):
        for mirror in ((), (-1,)):
            turned = torch.rot90(window, turns, (-2, -1)).flip(mirror)
            total = total + torch.rot90(run(turned).flip(mirror), -turns, (-2, -1))
    return total / 8


def _enlarge(
    model: Network,
    image: Tensor,
    run: Callable[[Tensor], Tensor],
    tile: int | None,
    overlap: int | None,
) -> Tensor:
    """`run` over the picture, in tiles of the given size or of the largest that memory holds."""
    whole = max(image.shape[-2:])
    size = min(tile or whole, whole)
    canvas = _canvas(image, model.scale)
    while True:
        try:
            if size < whole:
                overlap = _overlap(model, image, size, overlap)
            _stitch(run, image, canvas, model.scale, size, overlap or 0)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        else:
            if size < min(tile or whole, whole):
                warnings.warn(f"memory ran out: went on with tiles of {size} pixels", stacklevel=3)
            return canvas
        # Here, out of the handler, the tensors of the failed attempt are free.
        if size // 2 < SMALLEST_TILE:
            raise RuntimeError(
                f"out of memory with tiles of {size} pixels already; choose another device "
                "or a smaller network"
            )
        size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        phrase in words for phrase in ("out of memory", "not enough memory", "allocate memory")
    )


def _overlap(model: Network, image: Tensor, tile: int, overlap: int | None) -> int:
    """The overlap to take; says once a network that its tiles are approximate, and by how much."""
    approximate = model.tiling == "approximate"
    if overlap is None:
        reach = receptive_field(model)
        approximate = reach is None
        overlap = APPROXIMATE_OVERLAP if reach is None else reach
    if approximate and model not in _told:
        tile = min(tile, 128)  # smaller tiles are worse: at most this much
        side = tile + 2 * max(overlap, 16)  # more than a tile sees
        top, left = (max(0, n - side) // 2 for n in image.shape[-2:])
        sample = image[:, top : top + side, left : left + side]
        largest, mean = tiling_error(model, sample, tile=tile, overlap=overlap)
        _told.add(model)
        warnings.warn(
            f"{model.name} looks at the whole picture, so tiles are approximate: in its "
            f"middle, tiles of {tile} with overlap {overlap} change grey levels by {mean:.2f} of "
            f"255 on average, by {largest:.1f} at most",
            stacklevel=4,
        )
    return overlap


def _canvas(image: Tensor, r: int) -> Tensor:
    """Room for the result, on the CPU: (3, h, w) -> (3, rh, rw)."""
    h, w = (r * side for side in image.shape[-2:])
    try:
        return torch.empty(3, h, w)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        raise RuntimeError(
            f"out of memory: the result, {w} x {h} pixels, takes {12 * h * w / 2**30:.1f} GiB by "
            "itself, and no tile makes it smaller: cut the picture into parts"
        ) from None


def _stitch(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    canvas: Tensor,
    r: int,
    tile: int,
    overlap: int,
) -> None:
    """The picture tile by tile, each computed with `overlap` pixels around it that are dropped."""
    _, h, w = image.shape
    for top, bottom in _spans(h, tile):
        for left, right in _spans(w, tile):
            y, x = max(0, top - overlap), max(0, left - overlap)
            out = run(image[:, y : bottom + overlap, x : right + overlap])
            inner = out[:, r * (top - y) : r * (bottom - y), r * (left - x) : r * (right - x)]
            canvas[:, r * top : r * bottom, r * left : r * right] = inner


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """The fewest spans of at most `tile` that cover the length, all nearly equal."""
    count = -(-length // tile)
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


def _fill_hidden(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Colours where alpha is 0, taken from the visible pixels up to 32 pixels away.

    What lies under transparency is arbitrary, often black, and would darken the edges.
    """
    known = (alpha > 0).float()  # (1, h, w)
    for _ in range(32):
        if known.all():
            break
        near = F.avg_pool2d(torch.cat((rgb * known, known))[None], 3, 1, 1)[0]  # (4, h, w)
        rgb = torch.where(known > 0, rgb, near[:3] / near[3:].clamp_min(1e-6))
        known = (near[3:] > 0).float()
    return rgb
