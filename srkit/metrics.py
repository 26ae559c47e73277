"""PSNR, SSIM and LPIPS without a hidden convention.

Which channel is compared (`on`) and how many pixels are cut from each side (`shave`) have no
default: on one and the same picture they move PSNR by more than most papers do. Pictures are
compared as given; a result that will be a file is rounded first: `psnr(round_8bit(sr), hr, ...)`.

One picture (3, H, W) gives a float, a batch (B, 3, H, W) one value a picture, as a tensor (B,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import exp
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srkit import features, images, tables

CHANNELS = {
    "rgb": lambda x: x,
    "y": images.to_y,  # BT.601, studio range, not rounded: what MATLAB's rgb2ycbcr gives a double
    "y_rounded": lambda x: images.round_8bit(images.to_y(x)),  # what it gives a uint8
    "y_full": lambda x: images.to_y(x, full=True),  # JPEG's and OpenCV's Y
}
TAPS, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # SSIM's window and constants
WINDOW = [exp(-((i - TAPS // 2) ** 2) / (2 * SIGMA**2)) for i in range(TAPS)]
WINDOW = [weight / sum(WINDOW) for weight in WINDOW]
STRIP = 2**16  # pixels at a time, so that SSIM's maps stay in the processor's cache


def psnr(sr: Tensor, hr: Tensor, *, on: str, shave: int) -> float | Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / MSE), in float64; inf for equal pictures.

    on: "rgb" (one MSE over the three channels) | "y" | "y_rounded" | "y_full" (see CHANNELS).
    shave: pixels cut from each side; the classic tables cut as many as the scale.

    Raises ValueError for sizes that differ, values outside [0, 1], an unknown `on`.
    """
    a, b = (CHANNELS[on](x.double()) for x in _inside(sr, hr, on, shave))  # (..., C, h, w)
    return _answer(-10 * (a - b).square().mean(dim=(-3, -2, -1)).log10())


def ssim(
    sr: Tensor, hr: Tensor, *, on: str, shave: int, dtype: torch.dtype = torch.float64
) -> float | Tensor:
    """Structural similarity (Wang et al., TIP 2004), as the super-resolution tables have it.

    Gaussian window of 11 taps, sigma 1.5, only where it fits whole; K1 = 0.01, K2 = 0.03;
    variances of the population; no reduction in size beforehand. With on="rgb" the mean of three.
    scikit-image calls this gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    dtype: torch.float64, or torch.float32: about twice as fast, equal to 1e-6.

    Raises what `psnr` raises, and ValueError when less than 11 pixels are left.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype {dtype}: SSIM takes torch.float64 or torch.float32.")
    sr, hr = _inside(sr, hr, on, shave)
    rows, columns = (size - TAPS + 1 for size in sr.shape[-2:])
    if min(rows, columns) < 1:
        height, width = sr.shape[-2:]
        raise ValueError(
            f"SSIM's window is {TAPS}x{TAPS}, but {height}x{width} pixels are left after "
            f"shave={shave}: use a larger picture."
        )
    total = torch.zeros((), dtype=torch.float64, device=sr.device)
    height = max(TAPS, STRIP // columns)
    for top in range(0, rows, height):
        strip = slice(top, min(top + height, rows) + TAPS - 1)
        a, b = (CHANNELS[on](x[..., strip, :].to(dtype)) for x in (sr, hr))  # (..., C, h, w)
        total = total + _ssim_map(a, b).sum(dim=(-2, -1), dtype=torch.float64)  # (..., C)
    return _answer(total.mean(dim=-1) / (rows * columns))


def _ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM at each place of the window, (..., h, w) -> (..., h - 10, w - 10).

    From four blurred maps: s = a + b, d = a - b and their squares. 4 E[a] E[b] = E[s]² - E[d]² and
    2 (E[a]² + E[b]²) = E[s]² + E[d]², likewise for covariance and variances: equal pictures give
    exactly 1, and float32 keeps small differences.
    """
    pair = torch.stack([a + b - 1, a - b])  # s less 1: near zero E[s²] - E[s]² loses fewer digits
    s, d, ss, dd = _blur(_blur(torch.cat([pair, pair * pair]), dim=-2), dim=-1)
    d2 = d * d
    var_s, var_d = ss - s * s + 2 * K2**2, dd - d2
    s2 = (s + 1).square() + 2 * K1**2
    return (s2 - d2) * (var_s - var_d) / ((s2 + d2) * (var_s + var_d))


def _blur(x: Tensor, dim: int) -> Tensor:
    """The Gaussian along one axis as 11 shifted sums: many times faster on a CPU than conv2d."""
    size = x.shape[dim] - TAPS + 1
    out = x.narrow(dim, 0, size) * WINDOW[0]
    for i, weight in enumerate(WINDOW[1:], 1):
        out.add_(x.narrow(dim, i, size), alpha=weight)
    return out


LPIPS_LAYERS = {
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "squeeze": ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}


def lpips(sr: Tensor, hr: Tensor, net: str = "alex") -> float | Tensor:
    """Learned perceptual distance, version 0.1 (Zhang et al., CVPR 2018): 0 for equal, about 0..1.

    sum over layers of mean over pixels of w . (phi(sr) - phi(hr))², phi of unit length a pixel

    Pictures are RGB in [0, 1] (the authors' package wants [-1, 1]); a batch is differentiable.
    net: "alex" (the usual one to report) | "squeeze" | "vgg". The linear heads w come with the
    lpips package, the networks from `srkit.features`.

    Raises ValueError for values outside [0, 1], sizes that differ, an unknown net;
    FileNotFoundError, with the way to get it, where the network's weights are not at hand.
    """
    _check_pair(sr, hr)
    extractor, heads = _lpips_parts(net, sr.device)
    return _answer(lpips_distance(extractor(sr, heads), extractor(hr, heads), heads))


def lpips_distance(
    of_sr: Mapping[str, Tensor], of_hr: Mapping[str, Tensor], heads: Mapping[str, Tensor]
) -> Tensor:
    """LPIPS from features by layer: one value a picture. What the metric and the loss share."""
    total = 0
    for layer, head in heads.items():
        a, b = (F.normalize(f[layer], dim=-3, eps=1e-10) for f in (of_sr, of_hr))
        weighted = (head * (a - b).square()).sum(dim=-3)  # (..., C, h, w) -> (..., h, w)
        total = total + weighted.mean(dim=(-2, -1))
    return total


def lpips_network(net: str) -> tuple[features.Extractor, dict[str, Tensor]]:
    """LPIPS' trunk and, by layer, its linear heads (C, 1, 1)."""
    if net not in LPIPS_LAYERS:
        raise ValueError(f"net {net!r} is unknown: one of {', '.join(LPIPS_LAYERS)}.")
    build = {"alex": features.alexnet, "squeeze": features.squeezenet, "vgg": features.vgg16}[net]
    package = Path(find_spec("lpips").origin).parent  # its import would load half of SciPy
    heads = torch.load(package / f"weights/v0.1/{net}.pth", map_location="cpu", weights_only=True)
    return build(), {
        layer: heads[f"lin{i}.model.1.weight"][0] for i, layer in enumerate(LPIPS_LAYERS[net])
    }


@cache
def _lpips_parts(net: str, device: torch.device) -> tuple[features.Extractor, dict[str, Tensor]]:
    extractor, heads = lpips_network(net)
    return extractor.to(device), {layer: head.to(device) for layer, head in heads.items()}


VALUES = {
    "as given": lambda x: x,
    "rounded": images.round_8bit,
    "truncated": lambda x: (x.double() * 255 + 1e-4).floor() / 255,  # 1e-4: k/255 stays k
}
PROTOCOL_OF = {  # (on, border in units of the scale), of rounded values
    ("y", 1): "classic",
    ("y_rounded", 1): "classic_y8",
    ("rgb", 1): "ntire",
    ("rgb", 0): "rgb",
}


@dataclass(frozen=True)
class Explanation:
    """PSNR of one pair under every convention; prints as a table.

    rows: dicts of on, shave, values ("as given" | "rounded" | "truncated" to 8 bits), psnr (dB) and
    protocol (its name in `srkit.evaluate`, or None).
    """

    rows: list[dict[str, Any]]

    def _cells(self) -> list[list[str]]:
        """One line for each channel and border, one column for each treatment of the values."""
        lines: dict[tuple, list[str]] = {}
        for row in self.rows:
            key = (row["on"], row["shave"])
            lines.setdefault(key, [row["on"], str(row["shave"])]).append(f"{row['psnr']:.3f}")
        names = {(r["on"], r["shave"]): r["protocol"] for r in self.rows if r["protocol"]}
        heading = ["on", "shave", *VALUES, "protocol (rounded)"]
        return [heading] + [[*line, names.get(key, "")] for key, line in lines.items()]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if 0 < i < 5 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        )

    def _repr_html_(self) -> str:
        return tables.html(self._cells())


def explain_psnr(a: images.ImageLike, b: images.ImageLike, *, scale: int) -> Explanation:
    """Why two PSNRs differ: the result `a` against the reference `b` under every convention.

    a, b: paths, PIL pictures, arrays or tensors. The channel is one of CHANNELS, the border 0,
    `scale` or `scale + 6`, the result's values are as given, or rounded or truncated to 8 bits.
    """
    a, b = images.as_image(a), images.as_image(b)
    rows = [
        {
            "on": on,
            "shave": border,
            "values": values,
            "psnr": psnr(convert(a), b, on=on, shave=border),
            "protocol": PROTOCOL_OF.get((on, border / scale)) if values == "rounded" else None,
        }
        for on in CHANNELS
        for border in (0, scale, scale + 6)
        for values, convert in VALUES.items()
    ]
    return Explanation(rows)


def _inside(sr: Tensor, hr: Tensor, on: str, shave: int) -> tuple[Tensor, Tensor]:
    """Both pictures without the border, once everything is checked."""
    if on not in CHANNELS:
        raise ValueError(f"on={on!r} is unknown: one of {', '.join(CHANNELS)}.")
    _check_pair(sr, hr)
    return images.shave(sr, shave), images.shave(hr, shave)


def _check_pair(sr: Tensor, hr: Tensor) -> None:
    images.check_image(sr, "sr", strict=True)
    images.check_image(hr, "hr", strict=True)
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr is {tuple(sr.shape)} but hr is {tuple(hr.shape)}: compare equal sizes. If hr's "
            "sides are no multiples of the scale, cut it first: modcrop(hr, scale)."
        )


def _answer(values: Tensor) -> float | Tensor:
    return values.item() if values.ndim == 0 else values
