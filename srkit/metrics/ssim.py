"""SSIM as the super-resolution tables have it, with the channel and the border named."""

from __future__ import annotations

from math import exp

import torch
from torch import Tensor

from srkit.metrics.protocols import CHANNELS, answer, inside

TAPS, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # SSIM's window and constants


WINDOW = [exp(-((i - TAPS // 2) ** 2) / (2 * SIGMA**2)) for i in range(TAPS)]
WINDOW = [weight / sum(WINDOW) for weight in WINDOW]

STRIP = 2**16  # pixels at a time, so that SSIM's maps stay in the processor's cache


def ssim(
    sr: Tensor, hr: Tensor, *, on: str, shave: int, dtype: torch.dtype = torch.float64
) -> float | Tensor:
    """Structural similarity (Wang et al., TIP 2004), as the super-resolution tables have it.

    Gaussian window of 11 taps, sigma 1.5, only where it fits whole; K1 = 0.01, K2 = 0.03;
    variances of the population; no reduction in size beforehand. With on="rgb" the mean of three.
    scikit-image calls this gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    dtype: torch.float64, or torch.float32: about twice as fast, equal to 1e-5.

    Raises what `psnr` raises, and ValueError when less than 11 pixels are left.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype {dtype}: SSIM takes torch.float64 or torch.float32.")
    sr, hr = inside(sr, hr, on, shave)
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
    return answer(total.mean(dim=-1) / (rows * columns))


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
