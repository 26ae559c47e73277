"""Maps of a picture: where another one differs, what a loss would change, how it follows edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srkit.image.colour import to_y
from srkit.image.io import ImageLike, as_image
from srkit.viz.figure import Figure, chart, check_alt
from srkit.viz.plots import drawing


def difference(
    a: ImageLike,
    b: ImageLike,
    *,
    alt: str,
    vmax: float | None = None,
    signed: bool = False,
    caption: str = "",
) -> Figure:
    """A map of |a - b|, or with `signed` of a - b, the mean over RGB, in levels of 1/255.

    vmax: the level at the end of the colour scale; None takes the largest of the map. Maps can be
    compared only at the same vmax. Above the map stands its mean.

    Raises ValueError for an empty alt or pictures of two sizes, and what `as_image` raises.
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
    """Maps (H, W) of any sizes, `columns` of them in a row, each on its own colour scale.

    A scale ends at the map's own `percentile`, so that maps of very different magnitudes can be
    compared in shape. Above each map stands its mean.

    Raises ValueError for an empty alt, no maps, or a map that is not (H, W).
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
            axes.imshow((values / top).numpy(), cmap="inferno", vmin=0, vmax=1)
            axes.set_title(f"{name}\nmean {float(values.mean()):.3g}")
        label = f"share of the {percentile:g}th percentile"
        figure.colorbar(grid[0].images[0], ax=grid, label=label)
        return chart(figure, alt=alt, caption=caption)


def wish(loss: Callable[..., Tensor], sr: Tensor, hr: Tensor, **inputs: Any) -> Tensor:
    """How a loss would change sr: -d loss(sr, hr) / d sr, (3, H, W).

    loss: a term of `srkit.losses` or a sum of terms. sr, hr: (3, H, W).
    inputs: what else the loss needs, with a batch dimension, such as negative=bicubic[None].
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
    """The `wish` of each loss, the mean over RGB, each on its own scale up to the 99th percentile.

    Above each stands its cosine with hr - sr: 1 points straight to hr, 0 is unrelated to it.
    losses: {name: a term of `srkit.losses` or a sum of terms}.
    inputs: as for `wish`; each loss gets those that it needs.

    Raises ValueError for an empty alt, no losses, or an input that no loss needs.
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
            levels = (6 * levels).round() / 6  # few colours make a small file
            axes.imshow(levels.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
            axes.set_title(f"{name}\ntowards HR: {round(float(cosine), 2) + 0.0:.2f}")  # no -0.00
        return chart(figure, alt=alt, caption=caption)


def invert(
    loss: Callable[..., Tensor], hr: Tensor, *, steps: int = 200, rate: float = 0.05, seed: int = 0
) -> Tensor:
    """A picture (3, H, W) in [0, 1] that a loss cannot tell from `hr`.

    It starts as grey noise; Adam changes its pixels to lower the loss, with a learning rate that
    falls from `rate` to 0. What it shares with hr is what the loss sees; what stays noise is what
    the loss ignores. For losses of features this is the inversion of Mahendran and Vedaldi (CVPR
    2015); with total variation added the picture is calmer.
    """
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(seed), device="cpu")
    x = (0.5 + 0.1 * noise)[None].to(hr).requires_grad_()  # (1, 3, H, W)
    adam = torch.optim.Adam([x])
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        (x.grad,) = torch.autograd.grad(loss(x, hr[None]), x)
        adam.step()
        x.data.clamp_(0, 1)
    return x.detach()[0]


def edge_overlap(values: Tensor, picture: ImageLike) -> float:
    """Pearson's r of a map (H', W') and |grad luma| of the picture, averaged onto the map's grid.

    1 means that the map shows the edges, 0 that it is unrelated to them. It tests a claim of RLFN
    (Kong et al., CVPRW 2022): shallow features keep edges.

    Raises ValueError for a map that is not (H', W'), or a constant map or picture.
    """
    if values.ndim != 2:
        raise ValueError(f"the map has shape {tuple(values.shape)}, expected (H, W)")
    luma = to_y(as_image(picture).detach().cpu())[0]  # (H, W)
    edges = torch.hypot(*torch.gradient(luma))
    height, width = values.shape
    edges = F.adaptive_avg_pool2d(edges[None], (height, width))[0]  # (H, W) -> (H', W')
    pair = torch.stack([values.detach().cpu().double().flatten(), edges.double().flatten()])
    for what, flat in zip(("map", "picture"), pair.std(1) == 0, strict=True):
        if flat:
            raise ValueError(f"the {what} is constant: a correlation with it has no value")
    return float(torch.corrcoef(pair)[0, 1])


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]}"
