"""PSNR without a hidden convention: the channel and the border have no default.

Of a table its protocol decides Y or RGB: see PROTOCOLS in `metrics/protocols.py`.
On one and the same picture they move PSNR by more than most papers do. Pictures are compared as
given; a result that will be a file is rounded first: `psnr(round_8bit(sr), hr, ...)`.

One picture (3, H, W) gives a float, a batch (B, 3, H, W) one value a picture, as a tensor (B,).
"""

from __future__ import annotations

from torch import Tensor

from srkit.metrics.protocols import CHANNELS, answer, inside


def psnr(sr: Tensor, hr: Tensor, *, on: str, shave: int) -> float | Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / MSE), in float64; inf for equal pictures.

    on: "rgb" (one MSE over the three channels) | "y" | "y_rounded" | "y_full" (see CHANNELS).
    shave: pixels cut from each side; the classic tables cut as many as the scale.

    Raises TypeError for what is no float tensor; ValueError for sizes that differ, values outside
    [0, 1], an unknown `on`, a border that leaves nothing.
    """
    a, b = (CHANNELS[on](x.double()) for x in inside(sr, hr, on, shave))  # (..., C, h, w)
    return answer(-10 * (a - b).square().mean(dim=(-3, -2, -1)).log10())
