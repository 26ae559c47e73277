"""Where two pictures differ, and what a loss would change in one: maps, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srkit.image.colour import to_y
from srkit.image.io import as_image
from srkit.viz.figure import Figure, chart, check_alt
from srkit.viz.plots import drawing


def difference(
    a: Any,
    b: Any,
    *,
    alt: str,
    vmax: float | None = None,
    signed: bool = False,
    caption: str = "",
) -> Figure:
    """A map of |a - b|, or of a - b where signed, mean over RGB, in levels of 1/255.

    vmax: level at the end of the scale; None takes the largest one in the map. Compare two maps
    at one vmax. The mean above the map is that of the map, whatever vmax.
    """
    check_alt(alt)
    a, b = as_image(a), as_image(b)
    if a.shape != b.shape:
        raise ValueError(f"a is {_size(a)}, b is {_size(b)} (width x height): they must be equal")
    levels = 255 * (a - b).detach().cpu()  # (3, H, W)
    levels = levels.mean(0) if signed else levels.abs().mean(0)  # (H, W)
    vmax = vmax or float(levels.abs().max()) or 1.0
    cmap, vmin, label = ("RdBu_r", -vmax, "a - b") if signed else ("inferno", 0, "|a - b|")
    with drawing(1, 1, (5.6, 4.6 * levels.shape[0] / levels.shape[1] + 0.4)) as (figure, (axes,)):
        shown = axes.imshow(levels.numpy(), cmap=cmap, vmin=vmin, vmax=vmax)
        axes.set_title(f"mean {float(levels.mean()):.3g}/255")
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, label=f"{label}, in 1/255")
        return chart(figure, alt=alt, caption=caption)


def map_grid(
    maps: Mapping[str, Tensor],
    *,
    alt: str,
    columns: int | None = None,
    percentile: float = 99.0,
    caption: str = "",
) -> Figure:
    """Maps (H, W) of any sizes side by side, `columns` a row, each on a scale of its own.

    Each map is divided by its own `percentile` for display, so that shapes can be compared though
    magnitudes differ by orders; its raw mean stands above it.
    """
    check_alt(alt)
    if not maps:
        raise ValueError("map_grid got no maps: give {'conv1_1': map, ...}")
    for name, values in maps.items():
        if values.ndim != 2:
            raise ValueError(f"{name!r} has shape {tuple(values.shape)}, a map is (H, W)")
    columns = columns or len(maps)
    rows = math.ceil(len(maps) / columns)
    height, width = next(iter(maps.values())).shape
    side = 6.6 / max(columns, 2)  # inches
    with drawing(rows, columns, (side * columns + 0.9, rows * (side * height / width + 0.55))) as (
        figure,
        grid,
    ):
        for axes in grid:
            axes.set_axis_off()
        for axes, (name, values) in zip(grid, maps.items(), strict=False):
            values = values.detach().float().cpu()
            top = float(torch.quantile(values, percentile / 100)) or 1.0
            shown = axes.imshow((values / top).numpy(), cmap="inferno", vmin=0, vmax=1)
            axes.set_title(f"{name}\nmean {float(values.mean()):.3g}")
        figure.colorbar(shown, ax=grid, label=f"share of the {percentile:g}th percentile")
        return chart(figure, alt=alt, caption=caption)


def wish(loss: Any, sr: Tensor, hr: Tensor, **inputs: Any) -> Tensor:
    """What a loss would change: -d loss(sr, hr) / d sr, (3, H, W).

    loss: a term of `srkit.losses` or a sum of them. sr, hr: (3, H, W).
    inputs: what the loss needs besides, as it takes it: batched, such as negative=bicubic[None].
    """
    x = sr.detach()[None].clone().requires_grad_()  # (1, 3, H, W)
    (gradient,) = torch.autograd.grad(loss(x, hr[None], **inputs), x)
    return -gradient[0]


def wishes(
    losses: Mapping[str, Any],
    sr: Tensor,
    hr: Tensor,
    *,
    alt: str,
    columns: int = 3,
    caption: str = "Wishes. Red: brighter, blue: darker, white: as it is.",
    **inputs: Any,
) -> Figure:
    """The `wish` of each loss, mean over RGB, on a scale of its own up to the 99th percentile.

    Above it stands its cosine with hr - sr: 1 asks for the truth, 0 has nothing to do with it.
    inputs: as for `wish`; each loss gets those that it needs. Raises ValueError for one that none
    needs.
    """
    check_alt(alt)
    if not losses:
        raise ValueError("wishes got no losses: give {'L1': L1(), ...}")
    if unused := set(inputs) - {name for loss in losses.values() for name in loss.needs}:
        raise ValueError(f"none of these losses needs {sorted(unused)}")
    rows = math.ceil(len(losses) / columns)
    height, width = sr.shape[-2:]
    size = (2.4 * columns, rows * (2.25 * height / width + 0.6))
    with drawing(rows, columns, size) as (figure, grid):
        for axes in grid:
            axes.set_axis_off()
        for axes, (name, loss) in zip(grid, losses.items(), strict=False):
            needed = {key: inputs[key] for key in loss.needs if key in inputs}
            asked = wish(loss, sr, hr, **needed)
            cosine = F.cosine_similarity(asked.flatten(), (hr - sr).flatten(), 0)
            levels = asked.mean(0)  # (H, W)
            levels = levels / (levels.abs().quantile(0.99) or 1)
            levels = (6 * levels).round() / 6  # few colours: a small file
            axes.imshow(levels.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
            axes.set_title(f"{name}\ntowards HR: {round(float(cosine), 2) + 0.0:.2f}")  # no -0.00
        return chart(figure, alt=alt, caption=caption)


def invert(loss: Any, hr: Tensor, *, steps: int = 200, rate: float = 0.05, seed: int = 0) -> Tensor:
    """A picture (3, H, W) in [0, 1] that a loss takes for `hr`: grey noise, moved down the loss.

    What it has of hr is what the loss sees; where it is still noise, the loss does not care.
    Adam on the pixels, its rate falling from `rate` to 0. For losses of features this is the
    inversion of Mahendran and Vedaldi (CVPR 2015); add total variation for a calmer picture.
    """
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(seed))
    x = (0.5 + 0.1 * noise)[None].to(hr).requires_grad_()  # (1, 3, H, W)
    adam = torch.optim.Adam([x])
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        (x.grad,) = torch.autograd.grad(loss(x, hr[None]), x)
        adam.step()
        x.data.clamp_(0, 1)
    return x.detach()[0]


def edge_overlap(values: Tensor, picture: Any) -> float:
    """Pearson's r of a map (H', W') and |grad luma| of the picture, averaged onto the map's grid.

    1: the map is the edges; 0: it has nothing to do with them. A number for the claim of RLFN
    (Kong et al., CVPRW 2022) that shallow features keep edges.
    """
    if values.ndim != 2:
        raise ValueError(f"the map has shape {tuple(values.shape)}, expected (H, W)")
    luma = to_y(as_image(picture).detach().cpu())[0]  # (H, W)
    edges = torch.hypot(*torch.gradient(luma))
    edges = F.adaptive_avg_pool2d(edges[None], values.shape)[0]  # (H, W) -> (H', W')
    pair = torch.stack([values.detach().cpu().double().flatten(), edges.double().flatten()])
    for what, flat in zip(("map", "picture"), pair.std(1) == 0, strict=True):
        if flat:
            raise ValueError(f"the {what} is constant: a correlation with it has no value")
    return float(torch.corrcoef(pair)[0, 1])


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]}"
