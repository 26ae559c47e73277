"""Luma: Y, the channel that most papers measure, from RGB and back."""

from __future__ import annotations

from torch import Tensor

from srkit.image.tensors import check_floats


def to_y(rgb: Tensor, *, full: bool = False) -> Tensor:
    """Luma of ITU-R BT.601: (..., 3, H, W) RGB in [0, 1] -> (..., 1, H, W), not rounded.

    (16 + 65.481 R + 128.553 G + 24.966 B) / 255, in [16/255, 235/255]: MATLAB's rgb2ycbcr on
    doubles, the Y of the papers' tables. full: 0.299 R + 0.587 G + 0.114 B, in [0, 1], JPEG's.

    Raises TypeError for what is no float tensor, ValueError for another shape.
    """
    check_floats(rgb)
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(
            f"to_y: shape {tuple(rgb.shape)}, expected floats (..., 3, H, W): use as_image."
        )
    r, g, b = rgb.split(1, dim=-3)  # (..., 1, H, W) each
    if full:
        return 0.299 * r + 0.587 * g + 0.114 * b
    return (16 + 65.481 * r + 128.553 * g + 24.966 * b) / 255


def with_y(rgb: Tensor, y: Tensor) -> Tensor:
    """`rgb` (..., 3, H, W) with the luma `y` (..., 1, H, W) of `to_y`, Cb and Cr as they are.

    Equal steps in R, G and B change Y alone, by 219/255 of a step. Not clipped.
    """
    return rgb + (y - to_y(rgb)) * (255 / 219)
