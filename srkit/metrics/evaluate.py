"""Measures a method on a set of pictures; the table says how its numbers were made.

The colour channel, the border and the rounding alone move a network's PSNR by tenths of a decibel,
so a protocol (`srkit.metrics.protocols`) names them, and is printed with every table.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from inspect import isroutine
from typing import Any

import torch
from torch import Tensor, nn

from srkit.checks import expanded
from srkit.datasets.catalog import CATALOG, Pair, pairs
from srkit.devices import find_device, in_bfloat16
from srkit.files import json_text
from srkit.image.colour import to_y
from srkit.image.degrade import make_lr
from srkit.image.folder import find_pictures
from srkit.image.io import read_image, read_picture
from srkit.image.resize import imresize
from srkit.image.tensors import check_floats, modcrop, round_8bit
from srkit.inference import borrowed, place_for, upscale
from srkit.metrics.lpips import lpips as lpips_of
from srkit.metrics.lpips import lpips_parts
from srkit.metrics.protocols import PROTOCOLS, Protocol
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import TAPS, ssim
from srkit.models.counting import Count, count
from srkit.models.network import Network, check_network
from srkit.progress import bar
from srkit.viz import tables

DIGITS = {"psnr": 3, "ssim": 4, "lpips": 4, "seconds": 2}


@dataclass(frozen=True)
class Scores:
    """What `evaluate` found: a row for each picture, and how the numbers were made."""

    method: str
    data: str
    scale: int
    protocol: Protocol
    lr: str  # where the LR pictures come from
    precision: str  # "float32" or "bfloat16"
    device: str
    # image, psnr (dB), ssim, perhaps lpips (AlexNet's; else lpips-squeeze, lpips-vgg), seconds
    rows: list[dict[str, Any]]
    network: Network | None = field(default=None, repr=False)
    # of a folder: what could not be measured, and why
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def counts(self) -> Count | None:
        """Cost of the network for LR 256x256, counted when first asked for: it takes a second."""
        return count(self.network) if self.network is not None else None

    @property
    def means(self) -> dict[str, float]:
        """The mean of each column over the pictures."""
        keys = [key for key in self.rows[0] if key != "image"]
        return {key: sum(row[key] for row in self.rows) / len(self.rows) for key in keys}

    def to_json(self) -> str:
        """All of it, and the means, as one JSON object; an infinite PSNR is null there."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "network"}
        facts["protocol"] = asdict(self.protocol)
        facts["counts"] = asdict(self.counts) if self.counts else None
        return json_text(facts | {"means": self.means})

    def __str__(self) -> str:
        return "\n".join([*self._caption(), tables.text(self._cells())])

    def _repr_html_(self) -> str:
        return tables.html(self._cells(), self._caption())

    def _caption(self) -> list[str]:
        where = "" if self.device == "cpu" else f" on {self.device}"
        lines = [
            f"{self.method} on {self.data}, x{self.scale}, {self.precision}{where}",
            f"protocol {self.protocol.name}: {self.protocol.text}",
            f"LR: {self.lr}",
        ]
        lines += [f"left out {name}: {why}" for name, why in self.left_out.items()]
        return lines + ([str(self.counts)] if self.counts else [])

    def _cells(self) -> list[list[str]]:
        means: dict[str, Any] = {"image": f"mean of {len(self.rows)}"} | self.means
        cells = [list(means)]
        for row in (*self.rows, means):
            numbers = {
                k: f"{v:.{DIGITS[k.split('-')[0]]}f}" for k, v in row.items() if k != "image"
            }
            cells.append([row["image"], *numbers.values()])
        return cells


def evaluate(
    model: Network | str | Callable[[Tensor], Tensor],
    data: str | os.PathLike | Sequence[Pair],
    *,
    protocol: str = "classic",
    scale: int | None = None,
    root: str | os.PathLike | None = None,
    limit: int | None = None,
    lpips: str | None = None,
    precision: str = "float32",
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> Scores:
    """PSNR and SSIM of a method on each picture of a data set, with the protocol they belong to.

    model: a network; "bicubic"; or a function, LR (3, h, w) to SR (3, rh, rw) in [0, 1]. The last
        two need `scale`. Under "yplane" functions get (1, h, w), networks are refused.
    data: a name of the catalog, a folder of HR pictures, an HR picture, or a list of
        `Pair(name, hr, lr)`. Where there is no LR file, it is `imresize(modcrop(hr, scale),
        1 / scale)` in 8 bits. Of a folder, pictures that cannot be read, or are too small, are left
        out, and named in the result; of a set they are an error, because its mean would not be the
        set's.
    protocol: one of PROTOCOLS. root: where the data set of that name is, see `catalog.pairs`.
    limit: only the first so many pictures.
    lpips: a column of LPIPS on whole pictures by this network: "alex" (the usual one to report),
        "squeeze" or "vgg". None leaves it out.
    precision: of a network, as in `srkit.upscale`; all else computes in float32.
    device: where the method and LPIPS compute. None is where the network is; else the CPU.
    progress: a bar over the pictures; None shows it in a terminal and in a notebook at work.

    Raises TypeError for a module that is no `Network` (see `srkit.as_model`) and for results that
    are no float tensors; ValueError for what does not fit together; FileNotFoundError for pictures
    or LPIPS weights that are not at hand.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    rule = PROTOCOLS[protocol]
    if limit is not None and not (isinstance(limit, int) and limit >= 1):
        raise ValueError(f"limit={limit!r}: at least 1 picture; leave it out to take all")
    network = check_network(model) if isinstance(model, nn.Module) else None
    name, scale, method = _method(network or model, scale, precision)
    if rule.plane and network is not None:
        raise ValueError(f"protocol {protocol} enlarges one plane, {name} takes RGB: use classic")

    rows, left_out = [], {}
    if network is None:
        where = nullcontext(find_device(device or "cpu"))
    else:
        where = borrowed(network, device)
    with where as place:
        bf16 = in_bfloat16(precision, place) and network is not None
        if lpips is not None:
            lpips_parts(lpips, place)
        title, chosen, of_folder = _pairs(data, scale, root)
        if limit is not None and limit < len(chosen):
            title, chosen = f"the first {limit} of {title}", chosen[:limit]
        for pair in bar(chosen, desc=f"{name} on {title}", unit="picture", progress=progress):
            try:
                lr, hr = _load_plane(pair, scale) if rule.plane else load_pair(pair, scale)
                _check_inside(pair, hr, rule.shave * scale)
            except (ValueError, PermissionError) as error:
                if not of_folder:
                    raise
                left_out[pair.hr.name] = str(error)
                continue
            lr = lr.to(place)
            start = time.perf_counter()
            sr = method(lr)
            check_floats(sr, f"{pair.name}: the result of {name}")
            sr = sr.cpu()
            seconds = time.perf_counter() - start
            if sr.shape != hr.shape:
                raise ValueError(
                    f"{pair.name}: the result is {tuple(sr.shape)}, the HR picture "
                    f"{tuple(hr.shape)}; is {name} a method for x{scale}?"
                )
            sr, hr = (round_8bit(x).expand(3, -1, -1) for x in (sr, hr))
            row: dict[str, Any] = {"image": pair.name}
            row["psnr"] = psnr(sr, hr, on=rule.on, shave=rule.shave * scale)
            row["ssim"] = ssim(sr, hr, on=rule.on, shave=rule.shave * scale)
            if lpips is not None:
                column = "lpips" if lpips == "alex" else f"lpips-{lpips}"
                row[column] = lpips_of(sr.to(place), hr.to(place), net=lpips)
            rows.append(row | {"seconds": seconds})
        if network is not None:
            place = place_for(network, place)  # the CPU, if it had to take over

    if not rows:
        raise ValueError(f"{title}: none of {len(chosen)} pictures can be measured: {left_out}")
    if rule.plane:
        source = "made from HR by imresize in float"
    elif all(pair.lr for pair in chosen):
        source = "files"
    else:
        source = "made from HR by imresize (cubic, antialiased, edge repeated), in 8 bits"
    return Scores(
        method=name,
        data=title,
        scale=scale,
        protocol=rule,
        lr=source,
        precision="bfloat16" if bf16 else "float32",
        device=str(place),
        rows=rows,
        network=network,
        left_out=left_out,
    )


def _method(
    model: Network | str | Callable[[Tensor], Tensor], scale: int | None, precision: str
) -> tuple[str, int, Callable[[Tensor], Tensor]]:
    """Name, scale, and the function from LR to SR."""
    if isinstance(model, Network):
        if scale not in (None, model.scale):
            raise ValueError(f"scale={scale}, but the network's is {model.scale}")
        return (
            model.name,
            model.scale,
            lambda lr: upscale(model, lr, precision=precision, progress=False),
        )
    if isinstance(model, str):
        name = model
    else:
        name = model.__name__ if isroutine(model) else type(model).__name__
    if scale is None:
        raise ValueError(f"{name} has no scale of its own: say scale=2, 3, 4 ...")
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale={scale!r}: a whole number from 1")
    if name == "bicubic":
        return name, scale, lambda lr: imresize(lr, scale)
    if isinstance(model, str):
        raise ValueError(f"{name!r}: only 'bicubic' goes by its name; networks by create_model")
    if not callable(model):
        raise TypeError(f"a network or a function is expected, not a {name}")
    return name, scale, model


def _pairs(
    data: str | os.PathLike | Sequence[Pair], scale: int, root: str | os.PathLike | None
) -> tuple[str, list[Pair], bool]:
    """What to call the data, its pictures, and whether they are of a folder."""
    if not isinstance(data, (str, os.PathLike)):
        if not isinstance(data, Sequence) or not all(isinstance(p, Pair) for p in data):
            raise TypeError(
                f"data is {data!r:.60}: a name, a folder, a picture, or a list of "
                "Pair(name, hr, lr) is expected"
            )
        if not data:
            raise ValueError("data is an empty list: give at least one Pair(name, hr, lr)")
        return f"{len(data)} pictures", list(data), False
    path = expanded(data)
    if str(data) in CATALOG:
        if path.is_dir() and root is None:
            message = f"{data} is the catalogue's set here: write ./{data} for the folder"
            warnings.warn(message, stacklevel=3)
        return str(data), pairs(str(data), scale, root=root), False
    if path.is_dir():
        found = find_pictures(path).tell()
        return str(data), [Pair(picture.stem, picture, None) for picture in found], True
    if path.is_file():
        return str(data), [Pair(path.stem, path, None)], False
    return str(data), pairs(str(data), scale, root=root), False


def captions(hr: Tensor, pictures: Mapping[str, Tensor], *, scale: int) -> dict[str, str]:
    """What to write under results (3, H, W) of one picture: "30.12 dB, SSIM 0.871, LPIPS 0.198".

    PSNR and SSIM by the protocol "classic", of the rounded result; LPIPS (AlexNet) of the whole
    picture, left out where its weights are not at hand.

    Raises what `psnr` and `ssim` raise.
    """
    found = {}
    for name, sr in pictures.items():
        sr = round_8bit(sr)
        how = {"on": "y", "shave": scale}
        found[name] = f"{psnr(sr, hr, **how):.2f} dB, SSIM {ssim(sr, hr, **how):.3f}"
        with suppress(FileNotFoundError):
            found[name] += f", LPIPS {lpips_of(sr, hr):.3f}"
    return found


def load_pair(pair: Pair, scale: int) -> tuple[Tensor, Tensor]:
    """LR and HR as 8-bit RGB pictures in [0, 1]: (3, h, w), (3, rh, rw).

    Raises what `read_image` and `modcrop` raise.
    """
    hr = modcrop(read_image(pair.hr), scale)
    return (make_lr(hr, scale) if pair.lr is None else read_image(pair.lr)), hr


def _check_inside(pair: Pair, hr: Tensor, border: int) -> None:
    """Refuse a picture of which the border leaves too little to measure, by its name."""
    height, width = hr.shape[-2:]
    if min(height, width) - 2 * border < TAPS:
        raise ValueError(
            f"{pair.name} has {height} x {width} pixels; without a border of {border} fewer than "
            f"SSIM's {TAPS} a side are left: use a larger picture"
        )


def _load_plane(pair: Pair, scale: int) -> tuple[Tensor, Tensor]:
    """HR's 8-bit Y plane and its float bicubic reduction: (1, h, w), (1, rh, rw)."""
    picture = read_picture(pair.hr)
    rgb = modcrop(picture.rgb, scale)
    hr = round_8bit(rgb[:1] if picture.grey else to_y(rgb))
    return imresize(hr, 1 / scale), hr
