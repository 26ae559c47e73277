"""Enlarges pictures with any network: whole or in tiles, one picture or a folder.

Picture and result stay on the CPU; only what is being computed goes to the device. Tiles carry an
overlap that is measured from the network at hand: see `receptive_field`. From file to file
(`upscale_file`, `upscale_folder`) a result is kept as the 8 or 16 bits that are written, tile by
tile: under 15 bytes for each pixel of the result, beside what the network holds for one tile.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from srkit.cards import card
from srkit.checks import expanded
from srkit.devices import (
    CPU,
    check_memory,
    find_device,
    give_back_memory,
    in_bfloat16,
    lacking,
    with_float64,
)
from srkit.files import Damaged, json_text, read_json, write_whole
from srkit.image.colour import to_y
from srkit.image.folder import find_pictures, reasons
from srkit.image.io import (
    ImageLike,
    Picture,
    as_image,
    channels_to_write,
    from_pillow,
    like,
    read_picture,
    to_pillow,
    write_pixels,
)
from srkit.image.resize import imresize
from srkit.image.target import FORMATS, check_target
from srkit.image.tensors import check_floats, check_image, levels, shave
from srkit.models.half import HALF
from srkit.models.network import Network, check_network
from srkit.progress import bar

SMALLEST_TILE = 16  # below it, nearly everything computed is overlap
# Without `tile`, a result of more than WHOLE pixels is made in tiles of TILE LR pixels a side, of
# TILE_RESULT result pixels at most: what the network holds does not grow with the picture.
WHOLE, TILE, TILE_RESULT = 2**22, 192, 768
BICUBIC_REACH = 4  # LR pixels around a strip that bicubic interpolation reads, and more
FILLED = 32  # pixels around the visible ones whose hidden colours are replaced
# What is read under a suffix that is not written:
WRITTEN_AS = {".jfif": ".jpg", ".jpe": ".jpg", ".ppm": ".png", ".pgm": ".png"}
SIGN = ".srkit.json"  # in a folder of results: which network made them
APPROXIMATE_OVERLAP = 32  # where no overlap is exact; more costs time and gains little

Kind = TypeVar("Kind", Tensor, np.ndarray, Image.Image, Picture)

# What `receptive_field` found, and for which tolerance and weights.
_measured: WeakKeyDictionary[Network, tuple[list[float], int | None]] = WeakKeyDictionary()
_told: WeakSet[Network] = WeakSet()  # networks already said to be approximate in tiles
# The kinds of device that have not all operators that a network needs.
_lacking: WeakKeyDictionary[Network, set[str]] = WeakKeyDictionary()


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
    progress: bool | None = None,
) -> Picture: ...
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
    progress: bool | None = None,
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
    progress: bool | None = None,
) -> Tensor | np.ndarray | Image.Image | Picture:
    """The picture enlarged by `model.scale`, clipped to its range.

    image: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W) or (B, 3, H, W) in [0, 1], or
        a Picture (depth, grey and colour profile stay, transparency is enlarged by bicubic
        interpolation). The result is of the same kind; of a path, a Picture, which `write_picture`
        writes and a notebook shows. A PIL image keeps transparency, and 16 bits of grey.
    tile: side of the tiles in LR pixels. None takes the picture whole where the result has up to 4
        megapixels (2^22), and a larger one in tiles of 192 (of 768 result pixels at most); a side
        as large as the picture takes any whole. A tile that memory does not hold is halved, down
        to 16 pixels.
    overlap: LR pixels around a tile that are computed and dropped. None measures how many it takes
        for tiles to give what the whole picture gives. Networks with `tiling = "approximate"`
        never do: they warn once, with the measured difference.
    self_ensemble: the mean over the picture's eight flips and quarter turns (Timofte et al., CVPR
        2016, "Seven ways to improve example-based single image super resolution").
    precision: "float32", "bfloat16" or "float16" (autocast), or "auto": bfloat16 where hardware has
        it, and float32 for 16 bits (a Picture, an array of uint16). float16 is for the networks of
        `srkit.models.half`, which stay finite in it. A tile that does not is done again in float32.
    device: None is where the network is. The network itself comes back as it was. If the device has
        not all operators that it needs, a warning says so, and the CPU computes.
    progress: a bar over the tiles, where there are several; None shows it in a terminal and in a
        notebook at work.

    Raises TypeError for what is no `Network` (see `srkit.as_model`); ValueError for a setting or an
    image that cannot be, what `as_image` raises; RuntimeError when the smallest tiles still need
    too much memory, or values come out that are not finite.
    """
    model = _check(model, tile, overlap, precision, device)
    given = read_picture(image) if isinstance(image, str | os.PathLike) else image
    held = from_pillow(given) if isinstance(given, Image.Image) else given
    with borrowed(model, device) as place:
        run = _runner(model, held, self_ensemble, precision, place)

        def enlarge(x: Tensor) -> Tensor:
            h, w = x.shape[-2:]
            canvas = _canvas(3, model.scale * h, model.scale * w)
            _enlarge(model, x, run, tile, overlap, canvas, progress)
            return canvas.clamp_(0, 1)

        if isinstance(held, Picture):
            rgb, alpha = as_image(held.rgb), held.alpha
            if alpha is not None:
                rgb = _fill_hidden(rgb.clone(), alpha)
                alpha = imresize(alpha, model.scale).clamp(0, 1)
            big = replace(held, rgb=enlarge(rgb), alpha=alpha)
            return to_pillow(big) if isinstance(image, Image.Image) else big
        assert not isinstance(held, str | os.PathLike)
        if isinstance(held, Tensor) and held.dim() == 4:
            check_image(held)
            return torch.stack([like(enlarge(as_image(x)), x) for x in held])
        return like(enlarge(as_image(held)), held)


def upscale_file(
    model: Network,
    source: str | os.PathLike | Picture,
    target: str | os.PathLike,
    *,
    check_color: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> list[float] | None:
    """Write the picture, enlarged by `model.scale`, into the file `target`; replaces what is there.

    As `write_picture(upscale(model, read_picture(source)), target)`, in less memory: each tile is
    rounded to the file's 8 or 16 bits when it is made. (Alpha, by bicubic interpolation in strips,
    can differ by float32's noise.) For each pixel of the result that takes less than 15 bytes, the
    encoder's included (WebP's takes most, about 14 of a smooth picture), and what the network holds
    while it makes one tile.

    source: a file, or a Picture that was read already; its colours where alpha is 0, which nobody
        sees, are overwritten. The other arguments are those of `upscale`.
    check_color: return the mean change of R, G, B as `color_shift` defines it, of the pixels as
        they are given to the encoder; otherwise None.

    Raises what `read_picture`, `check_target` and `upscale` raise.
    """
    model = _check(model, tile, overlap, precision, device)
    picture = source if isinstance(source, Picture) else read_picture(source)
    _give_back()
    rgb, alpha, r = as_image(picture.rgb).detach().contiguous(), picture.alpha, model.scale
    height, width = (r * side for side in rgb.shape[1:])
    kind = check_target(target, height, width, bits=picture.bits, alpha=alpha is not None)
    channels = channels_to_write(picture, kind)
    peak = 2**picture.bits - 1
    canvas = _canvas(channels, height, width, torch.uint8 if peak == 255 else torch.uint16)
    colours = canvas[: 1 if channels < 3 else 3]
    with borrowed(model, device) as place:
        run = _runner(model, picture, self_ensemble, precision, place)

        def rounded(window: Tensor) -> Tensor:
            sr = run(window)
            return levels(to_y(sr.clamp(0, 1), full=True) if len(colours) == 1 else sr, peak)

        filled = rgb if alpha is None else _fill_hidden(rgb, alpha)
        _enlarge(model, filled, rounded, tile, overlap, colours, progress)
    if alpha is not None:
        _stitch(
            lambda window: levels(imresize(window, r), peak),
            alpha, canvas[-1:], r, TILE, BICUBIC_REACH,
        )  # fmt: skip
    shift = color_shift(rgb, colours.expand(3, -1, -1), alpha) if check_color else None
    _give_back()
    write_pixels(canvas.permute(1, 2, 0).numpy(), picture, target)  # (C, H, W) -> (H, W, C)
    return shift


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
    interrupted: Ctrl-C ended it. shifts: what `upscale_file` returns, by source file, where it was
    asked to check the colours.
    """

    done: dict[Path, Path] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    interrupted: bool = False
    shifts: dict[Path, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = f"{len(self.done)} done, {len(self.skipped)} skipped, {len(self.failed)} failed"
        lines = [counts + (", interrupted" if self.interrupted else "")]
        lines += [f"  {path.name}: {why}" for path, why in self.failed.items()]
        return "\n".join(lines + ([reasons(self.left_out)] if self.left_out else []))

    def _repr_html_(self) -> str:
        title, *facts = str(self).split("\n")
        return card(title, {"failed or left out": "\n".join(fact.strip() for fact in facts)})


def upscale_folder(
    model: Network,
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    overwrite: bool = False,
    suffix: str | None = None,
    check_color: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> FolderReport:
    """Every picture of `source` (subfolders not), enlarged into `target` under the same name.

    What exists is skipped unless `overwrite`; `suffix=".png"` changes the file format. A bad file
    is reported and the rest goes on; Ctrl-C leaves whole files only and ends with the report so
    far. The target's `.srkit.json` tells which network made what lies there. The other arguments
    are those of `upscale_file`, which enlarges each.

    Raises what `upscale` raises for its settings; ValueError for a suffix that is no format, for a
    target that is the source or a file, and for one with results of another network or of two;
    FileNotFoundError where there is no picture, PermissionError where nothing may be written.
    """
    model = _check(model, tile, overlap, precision, device)
    source, target = expanded(source), expanded(target)
    found = find_pictures(source)
    if suffix is not None and suffix.lower() not in FORMATS:
        raise ValueError(f"suffix {suffix!r}: choose one of {', '.join(FORMATS)}")
    if target.is_file():
        raise ValueError(f"target {target} is a file: name a folder")
    if target.is_dir() and source.samefile(target):
        raise ValueError(f"source and target are both {source}: name another target folder")
    check_target(target / ("picture" + (suffix or ".png")), 1, 1)
    target.mkdir(parents=True, exist_ok=True)
    signed = _sign(target, model, self_ensemble, overwrite)

    report, makers = FolderReport(left_out=found.left_out), {}
    with borrowed(model, device):  # moved to the device once, not for every file
        for path in bar(found.pictures, desc="upscale", unit="file", progress=progress):
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
                shift = upscale_file(
                    model,
                    picture,
                    out,
                    check_color=check_color,
                    tile=tile,
                    overlap=overlap,
                    self_ensemble=self_ensemble,
                    precision=precision,
                    device=device,
                    progress=False,
                )
                report.done[path] = out
                if shift is not None:
                    report.shifts[path] = shift
            except KeyboardInterrupt:
                report.interrupted = True
                break
            except Exception as error:  # whatever is wrong with this file, the others go on
                report.failed[path] = str(error)
    if not (report.interrupted or report.failed):
        _write_sign(target, signed)  # of a folder that was overwritten, now it is true of all
    return report


def _sign(
    target: Path, model: Network, self_ensemble: bool, overwrite: bool
) -> dict[str, str | int | bool]:
    """Write down which network fills a folder, and return it; refuse what another has filled.

    While results of another network are overwritten, that is written down, too: a second run must
    not take those that are left for its own.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)  # NumPy has no bf16
        digest.update(name.encode() + plain.numpy().tobytes())
    mine: dict[str, str | int | bool] = {
        "network": model.name,
        "scale": model.scale,
        "weights": digest.hexdigest()[:16],
        "self_ensemble": self_ensemble,
    }
    there: dict | None = mine
    try:
        there = read_json(target / SIGN, dict)
    except FileNotFoundError:
        pass
    except Damaged:
        there = None
        if not overwrite:
            raise
    if there is not None and "replaces" in there and not overwrite:
        raise ValueError(
            f"{target} holds results of two networks, because replacing those of "
            f"{there['replaces']} was stopped or failed: overwrite, or name another folder."
        )
    if there is not None and there != mine and not overwrite:
        raise ValueError(
            f"{target} holds results of {there.get('network')} (weights {there.get('weights')}, "
            f"self-ensemble {there.get('self_ensemble')}), and this is {mine['network']} (weights "
            f"{mine['weights']}, self-ensemble {self_ensemble}): name another folder, or overwrite."
        )
    before = "another network" if there is None else there.get("network")
    _write_sign(target, mine if there == mine else mine | {"replaces": before})
    return mine


def _write_sign(target: Path, sign: Mapping[str, Any]) -> None:
    with write_whole(target / SIGN, "w") as file:
        file.write(json_text(sign) + "\n")


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
    model = check_network(model)
    if model.tiling == "approximate":
        return None
    core, more = 16, 23  # odd, so that no grid of stride 2, 3 or 4 is met in step
    noise = torch.rand(3, 320, 320, generator=torch.Generator().manual_seed(0), device=CPU)

    def exact(margin: int) -> bool:
        side = core + 2 * (margin + more)
        wide = noise[:, :side, :side]
        whole = shave(_run(model, wide), model.scale * (margin + more))
        tile = shave(_run(model, shave(wide, more)), model.scale * margin)
        return bool((whole - tile).abs().max() <= tolerance)

    with borrowed(model, None):
        weights = map(with_float64, model.state_dict().values())
        sums = (t.sum(dtype=torch.float64).item() for t in weights)
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
    model = _check(model, tile, overlap)
    x = as_image(image)
    with borrowed(model, None):
        tiled = _canvas(3, model.scale * x.shape[-2], model.scale * x.shape[-1])
        _stitch(lambda window: _run(model, window), x, tiled, model.scale, tile, overlap)
        difference = 255 * (tiled - _run(model, x)).abs()
    return difference.max().item(), difference.mean().item()


def color_shift(lr: Tensor, sr: Tensor, alpha: Tensor | None = None) -> list[float]:
    """Mean change of R, G, B, in grey levels of 255, when `sr` is reduced to the size of `lr`.

    lr: (3, h, w) in [0, 1]. sr: (3, rh, rw), r a whole number; also uint8 or uint16, as a file has
    it. alpha: (1, h, w), of lr; what is transparent counts less, or not at all.

    Raises ValueError where sr is not a whole number of times as large.
    """
    h, w = lr.shape[-2:]
    r = sr.shape[-1] // w
    if r < 1 or sr.shape[-2:] != (r * h, r * w):
        raise ValueError(
            f"color_shift: sr has {tuple(sr.shape[-2:])} pixels and lr {h, w}, expected a whole "
            "number of times as many on both sides: pass a picture and its enlargement"
        )
    peak = 1 if sr.is_floating_point() else 2 ** (8 * sr.element_size()) - 1
    total, visible = torch.zeros(3, dtype=torch.float64, device=CPU), 0.0
    # In strips of rows: all of sr as floats would take the most memory of all.
    for top, bottom, first, last in _windows(h, 32, BICUBIC_REACH):
        if top:
            _give_back()
        strip = sr[:, r * first : r * last].float().div(peak)
        strip = imresize(strip, size=(last - first, w))
        change = strip[:, top - first : bottom - first] - lr[:, top:bottom]
        weight = lr.new_ones(1, bottom - top, w) if alpha is None else alpha[:, top:bottom]
        total += (change * weight).sum((-2, -1), dtype=torch.float64).cpu()
        visible += weight.sum(dtype=torch.float64).item()
    return (255 * total / max(visible, 1e-9)).tolist()


def place_for(model: Network, device: str | torch.device | None) -> torch.device:
    """Where the network computes if `device` is asked for (None: where it is).

    That is the CPU, once it was found to need an operator that the device has not.

    Raises what `find_device` raises.
    """
    place = _home(model) if device is None else find_device(device)
    return CPU if place.type in _lacking.get(model, ()) else place


def _home(model: Network) -> torch.device:
    """The device that the network is on."""
    return next((p.device for p in model.parameters()), CPU)


@contextmanager
def borrowed(model: Network, device: str | torch.device | None) -> Iterator[torch.device]:
    """The network where `place_for` puts it, in eval mode; afterwards as it was.

    Its weights keep the layout that it is fastest in. Pictures alone do not decide on it: one with
    a single channel (VDSR's Y) has no layout.

    Raises what `find_device` raises.
    """
    home, place = _home(model), place_for(model, device)
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
) -> Network:
    """All settings of `upscale`, before any work; the network itself."""
    model = check_network(model)
    if tile is not None and not (isinstance(tile, int) and tile >= 1):
        raise ValueError(
            f"tile={tile!r}: at least 1 pixel, a whole number; leave it out to take the picture "
            "whole"
        )
    if overlap is not None and not (isinstance(overlap, int) and overlap >= 0):
        raise ValueError(
            f"overlap={overlap!r}: not negative, a whole number; leave it out to have it measured"
        )
    place = find_device("cpu" if device is None else device)
    if precision != "float16":
        in_bfloat16(precision, place)
    elif model.name not in HALF:
        raise ValueError(
            f"precision 'float16': whether {model.name} stays finite in it was not measured "
            "(srkit.models.half): choose auto, float32 or bfloat16"
        )
    return model


def _runner(
    model: Network,
    image: ImageLike | Picture,
    self_ensemble: bool,
    precision: str,
    place: torch.device,
) -> Callable[[Tensor], Tensor]:
    """The network as a function of one window of `image`, not clipped."""
    low = torch.float16 if precision == "float16" else None
    if low is None and not (precision == "auto" and _deep(image)):
        low = torch.bfloat16 if in_bfloat16(precision, place) else None

    def run(window: Tensor) -> Tensor:
        if self_ensemble:
            return _eightfold(lambda x: _run(model, x, low), window)
        return _run(model, window, low)

    return run


def _run(model: Network, window: Tensor, low: torch.dtype | None = None) -> Tensor:
    """One window through the network, on its device: (3, h, w) -> (3, rh, rw), float32, CPU.

    low: the type of 16 bits that autocast computes in, or None.
    """
    h, w = window.shape[-2:]
    least, r = model.min_size, model.scale
    weight = next(model.parameters(), window)
    x = F.pad(window[None], (0, max(0, least - w), 0, max(0, least - h)), mode="replicate")
    x = x.to(weight.device, weight.dtype).contiguous(memory_format=model.memory_format)
    try:
        with torch.inference_mode(), torch.autocast(x.device.type, low, enabled=low is not None):
            y = model(x)
    except NotImplementedError as error:
        operator = lacking(error)
        if operator is None or x.device.type == "cpu":
            raise
        warnings.warn(
            f"{x.device} has no {operator}, which {model.name} needs: the CPU takes over, slower",
            stacklevel=2,
        )
        _lacking.setdefault(model, set()).add(x.device.type)
        model.to(CPU)
        return _run(model, window, low)
    check_floats(y, f"the result of {model.name}")
    expected = (1, 3, r * x.shape[-2], r * x.shape[-1])
    if y.shape != expected:
        raise ValueError(
            f"{model.name} makes {tuple(y.shape)} of {tuple(x.shape)}, expected {expected}: "
            f"is {r} its scale?"
        )
    y = y[0, :, : r * h, : r * w].float().cpu()  # (1, 3, rh, rw) -> (3, rh, rw)
    if y.isfinite().all():
        return y
    if low is None:
        raise RuntimeError(f"{model.name} gave values that are not finite: check its weights")
    warnings.warn(f"not finite in {str(low)[6:]}: done again in float32", stacklevel=2)
    return _run(model, window)


def _eightfold(run: Callable[[Tensor], Tensor], window: Tensor) -> Tensor:
    """The mean of `run` over the eight symmetries of the square, each undone afterwards."""
    total = torch.zeros((), device=CPU)
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
    canvas: Tensor,
    progress: bool | None,
) -> None:
    """`run` over the picture into the canvas, in tiles of the given size, halved as memory asks."""
    whole = max(image.shape[-2:])
    if tile is None:
        large = canvas[0].numel() > WHOLE
        tile = min(TILE, max(SMALLEST_TILE, TILE_RESULT // model.scale)) if large else whole
    size = tile = min(tile, whole)
    while True:
        try:
            if size < whole:
                overlap = _overlap(model, image, size, overlap)
            _stitch(run, image, canvas, model.scale, size, overlap or 0, progress)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        else:
            if size < tile:
                warnings.warn(f"memory ran out: went on with tiles of {size} pixels", stacklevel=3)
            return
        # Here, out of the handler, the tensors of the failed attempt are free.
        if size // 2 < SMALLEST_TILE:
            raise RuntimeError(
                f"out of memory with tiles of {size} pixels already; choose another device "
                "or a smaller network"
            )
        size //= 2
        give_back_memory()


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


def _canvas(channels: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Room for the result, on the CPU: (channels, h, w); whole numbers lie as (h, w, channels)."""
    try:
        check_memory(dtype.itemsize * channels * h * w)
        if dtype.is_floating_point:
            return torch.empty(channels, h, w, dtype=dtype, device=CPU)
        return torch.empty(h, w, channels, dtype=dtype, device=CPU).permute(2, 0, 1)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        raise RuntimeError(
            f"out of memory: the result, {w} x {h} pixels, takes "
            f"{dtype.itemsize * channels * h * w / 2**30:.1f} GiB by itself, and no tile makes it "
            "smaller: cut the picture into parts"
        ) from None


def _stitch(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    canvas: Tensor,
    r: int,
    tile: int,
    overlap: int,
    progress: bool | None = False,
) -> None:
    """The picture tile by tile, each computed with `overlap` pixels around it that are dropped."""
    _, h, w = image.shape
    tiles = list(product(_windows(h, tile, overlap), _windows(w, tile, overlap)))
    shown = progress if len(tiles) > 1 else False
    for (top, bottom, y, below), (left, right, x, beside) in bar(
        tiles, desc="upscale", unit="tile", progress=shown
    ):
        if len(tiles) > 1:
            _give_back()
        out = run(image[:, y:below, x:beside])
        inner = out[:, r * (top - y) : r * (bottom - y), r * (left - x) : r * (right - x)]
        canvas[:, r * top : r * bottom, r * left : r * right] = inner


def _give_back() -> None:
    """Hand what was freed back to the system; glibc keeps it, in pieces that later fit nothing."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _windows(length: int, tile: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """As many tiles as cover the length: from, to, and from where to where each is computed.

    What is computed has `overlap` around the tile, up to the borders, and the same length for all:
    memory that one tile gave back fits the next, and does not grow by pieces that fit none.
    """
    count = -(-length // tile)
    side = 2 * overlap - (2 * overlap - length) // count
    if side >= length:
        return [(0, length, 0, length)]
    starts = [i * (length - side) // (count - 1) for i in range(count)]
    cuts = [(a + side + b) // 2 for a, b in pairwise(starts)]
    return [
        (low, high, start, start + side)
        for low, high, start in zip([0, *cuts], [*cuts, length], starts, strict=True)
    ]


def _fill_hidden(rgb: Tensor, alpha: Tensor) -> Tensor:
    """`rgb`, in which colours where alpha is 0 are replaced by visible ones up to FILLED away.

    What lies under transparency is arbitrary, often black, and would darken the edges.
    """
    for top, bottom, first, last in _windows(rgb.shape[1], 64, FILLED):
        strip = _spread(rgb[:, first:last], alpha[:, first:last])
        rgb[:, top:bottom] = strip[:, top - first : bottom - first]
    return rgb


def _spread(rgb: Tensor, alpha: Tensor) -> Tensor:
    known = (alpha > 0).float()  # (1, h, w); what is hidden is never read
    for _ in range(FILLED):
        if known.all():
            break
        near = F.avg_pool2d(torch.cat((rgb * known, known))[None], 3, 1, 1)[0]  # (4, h, w)
        rgb = torch.where(known > 0, rgb, near[:3] / near[3:].clamp_min(1e-6))
        known = (near[3:] > 0).float()
    return rgb
