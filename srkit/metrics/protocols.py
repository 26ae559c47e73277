"""Decides whether a number is of Y or of RGB, which border is left out, and how values are rounded.

CHANNELS has what two pictures can be compared on. PROTOCOLS has the rules of the papers' tables;
`srkit.evaluate` takes one of them, and prints it with every table. Nothing else decides there on
the channel of a number: networks that enlarge Y alone (`srkit.models.layers.LumaNetwork`) give RGB
like all others, and are measured like them.

The channel and the border alone move PSNR by tenths of a decibel, so they have no defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from srkit.devices import with_float64
from srkit.image import tensors
from srkit.image.colour import to_y
from srkit.image.tensors import check_image, round_8bit

# What is compared: a function of the RGB picture.
CHANNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rgb": lambda x: x,
    "y": to_y,  # BT.601, studio range, not rounded: what MATLAB's rgb2ycbcr gives a double
    "y_rounded": lambda x: round_8bit(to_y(x)),  # what it gives a uint8
    "y_full": lambda x: to_y(x, full=True),  # JPEG's and OpenCV's Y
}


def inside(sr: Tensor, hr: Tensor, on: str, shave: int) -> tuple[Tensor, Tensor]:
    """Both pictures without the border, once everything is checked, where float64 is computed.

    Raises ValueError for an unknown `on`, what `check_pair` and `shave` raise.
    """
    if on not in CHANNELS:
        raise ValueError(f"on={on!r} is unknown: one of {', '.join(CHANNELS)}.")
    check_pair(sr, hr)
    a, b = (with_float64(tensors.shave(x, shave)) for x in (sr, hr))
    return a, b


def check_pair(sr: Tensor, hr: Tensor) -> None:
    """Refuse two pictures that cannot be compared.

    Raises TypeError for what is no float tensor; ValueError for values outside [0, 1], for what is
    no RGB picture, and for sizes that differ.
    """
    check_image(sr, "sr", strict=True)
    check_image(hr, "hr", strict=True)
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr is {tuple(sr.shape)} but hr is {tuple(hr.shape)}: compare equal sizes. If hr's "
            "sides are no multiples of the scale, cut it first: modcrop(hr, scale)."
        )


def answer(values: Tensor) -> float | Tensor:
    """A float for one picture, a tensor (B,) for a batch."""
    return values.item() if values.ndim == 0 else values


@dataclass(frozen=True)
class Protocol:
    """How a number is made."""

    name: str
    on: str  # the channel that PSNR and SSIM compare, one of CHANNELS
    shave: int  # the border that is left out, in multiples of the scale
    text: str
    plane: bool = False  # the method sees the float Y plane instead of the 8-bit RGB picture


_RGB = "8-bit RGB in and out (rounded, grey files as three equal channels)"

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("classic", "y", 1, f"Y of BT.601, not rounded; border of `scale` cut; {_RGB}"),
        Protocol(
            "classic_y8", "y_rounded", 1, f"Y rounded to 8 bits; border of `scale` cut; {_RGB}"
        ),
        Protocol("ntire", "rgb", 1, f"RGB; border of `scale` cut; {_RGB}"),
        Protocol("rgb", "rgb", 0, f"RGB; no border cut; {_RGB}"),
        # The tables up to about 2016 (SRCNN, VDSR), and the bicubic row of most tables since.
        Protocol(
            "yplane",
            "rgb",
            1,
            "8-bit Y of HR, reduced in float without rounding; the method enlarges that plane; "
            "rounded to 8 bits; border of `scale` cut; grey files as they are",
            plane=True,
        ),
    )
}
