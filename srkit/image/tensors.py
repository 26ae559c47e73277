"""Images as tensors: what counts as one, rounding to the levels of a file, borders."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor


def to_pixels(x: Tensor, dtype: DTypeLike) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W, C) of a NumPy type, whole numbers rounded half up."""
    x = x.detach().movedim(0, -1).cpu()
    if np.issubdtype(dtype, np.integer):
        x = levels(x, np.iinfo(dtype).max)
    return np.ascontiguousarray(x.numpy().astype(dtype))


def check_floats(x: Tensor, what: str = "image") -> None:
    """Refuse what is no tensor of floats, uint8 above all, in the same words everywhere.

    Raises TypeError; `what` names the tensor in the message.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} is a {type(x).__name__}, expected a tensor: use as_image(x).")
    if not x.is_floating_point():
        raise TypeError(f"{what} is {x.dtype}, expected floats in [0, 1]: use x.float() / 255.")


def check_image(
    x: Tensor, what: str = "image", *, strict: bool = False, batch: bool = True
) -> None:
    """Refuse what is no float RGB image, (3, H, W) or, with batch, (B, 3, H, W), in about [0, 1].

    A network may overshoot: values in [-0.5, 1.5] pass unless `strict`, which wants [0, 1] itself.
    `what` names the image in the message.

    Raises TypeError for what is no float tensor, ValueError for another shape or other values.
    """
    check_floats(x, what)
    shape = tuple(x.shape)
    if x.ndim not in ((3, 4) if batch else (3,)) or shape[-3] != 3:
        if x.ndim == 4 and shape[1] == 3:
            hint = "pass one picture of the batch, x[0]"
        elif x.ndim == 3 and shape[-1] == 3:
            hint = "bring the channels first with x.permute(2, 0, 1)"
        elif x.ndim == 3 and shape[0] == 4:
            hint = "drop alpha with x[:3]"
        elif x.ndim == 3 and shape[0] == 1:
            hint = "repeat grey with x.expand(3, -1, -1)"
        else:
            hint = "three dimensions, with the RGB channels first"
        expected = "(3, H, W) or (B, 3, H, W)" if batch else "(3, H, W)"
        raise ValueError(f"{what} has shape {shape}, expected {expected}: {hint}.")
    if x.numel() == 0:
        raise ValueError(f"{what} has shape {shape}: there is no pixel in it.")
    low, high = (float(v) for v in x.detach().aminmax())  # NaN, if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int((~x.isfinite()).sum())
        raise ValueError(f"{what} has {count} values that are NaN or infinite, expected [0, 1].")
    slack = 0.0 if strict else 0.5
    if low < -slack or high > 1 + slack:
        if low >= 0 and high > 2:
            hint = "divide it by 255 (by 65535 if it has 16 bits)"
        elif -1 <= low < -slack and high <= 1:
            hint = "if it is in [-1, 1], use (x + 1) / 2"
        else:
            hint = "use x.clamp(0, 1) if that is overshoot"
        raise ValueError(
            f"{what} has values from {low:.4g} to {high:.4g}, expected [0, 1]: {hint}."
        )


def to_8bit(x: Tensor) -> Tensor:
    """Floats in [0, 1] -> uint8, clamped and rounded half up: the pixels that a file would hold.

    Raises TypeError for what is no float tensor.
    """
    return levels(x, 255).to(torch.uint8)


def round_8bit(x: Tensor) -> Tensor:
    """What is left after saving with 8 bits: clamped to [0, 1], rounded half up to k / 255.

    Raises TypeError for what is no float tensor.
    """
    return levels(x, 255) / 255


def levels(x: Tensor, peak: int) -> Tensor:
    """[0, 1] -> whole numbers 0 to peak, half up, as floats; at least float32, to hold them all.

    Raises TypeError for what is no float tensor.
    """
    check_floats(x)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x.clamp(0, 1).mul_(peak).add_(0.5).floor_()  # in place: one copy, not four


def shave(x: Tensor, border: int) -> Tensor:
    """(..., H, W) without `border` pixels on each side.

    Raises ValueError for a border that is negative or no whole number, and for one that leaves no
    pixel.
    """
    if not isinstance(border, int):
        raise ValueError(f"shave: a border of {border!r}, expected a whole number of pixels.")
    height, width = x.shape[-2:]
    if not 0 <= 2 * border < min(height, width):
        raise ValueError(
            f"shave: a border of {border} leaves nothing of {height} x {width} pixels, "
            "or is negative: use a smaller one, or a larger picture."
        )
    return x[..., border : height - border, border : width - border]


def modcrop(x: Tensor, scale: int) -> Tensor:
    """(..., H, W) cut at the bottom and the right so that `scale` divides both sides.

    Raises ValueError for a scale that is not between 1 and the shorter side.
    """
    height, width = x.shape[-2:]
    if not (isinstance(scale, int) and 1 <= scale <= min(height, width)):
        raise ValueError(
            f"modcrop: scale {scale!r}, expected 1 to {min(height, width)}, the short side."
        )
    return x[..., : height - height % scale, : width - width % scale]
