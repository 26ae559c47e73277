"""imresize: MATLAB's picture resizing, bit-exact on uint8 and differentiable on floats.

The low-resolution pictures of the classic benchmarks were made by MATLAB's `imresize`, and no other
bicubic gives them: torch's drops the pixels outside the picture, and none rounds to 8 bits between
the two axes. At the border MATLAB repeats the last pixel (`border="clamp"`: the pictures that the
classic tables use) or, in newer versions, mirrors the picture ("mirror").

Along one axis, output pixel k = 1, 2, ... looks at the input position (pixels counted from 1)

    u = k / s + (1 - 1 / s) / 2        s = scale

and is the mean of the input pixels i weighted by kernel((u - i) * min(s, 1)): when shrinking, the
kernel is widened by 1/s (antialiasing); when enlarging, it keeps its width. The cubic kernel is
Keys's, a = -1/2 (Cubic convolution interpolation, 1981, Eq. 15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.devices import check_memory, keep_tensors, with_float64


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


# name: (function of the distance in pixels, width of its support)
KERNELS = {
    "box": (lambda x: ((x >= -0.5) & (x < 0.5)).astype(float), 1),
    "linear": (lambda x: np.maximum(1 - np.abs(x), 0), 2),
    "cubic": (_cubic, 4),
    "lanczos2": (lambda x: np.sinc(x) * np.sinc(x / 2) * (np.abs(x) < 2), 4),
    "lanczos3": (lambda x: np.sinc(x) * np.sinc(x / 3) * (np.abs(x) < 3), 6),
}
BORDERS = ("clamp", "mirror")

# Output pixels computed by one matrix product. Few make the matrices mostly non-zero, many make the
# products efficient; of 16, 32, 64 and 128, 32 was the fastest on the whole from 1/4 to x4.
BLOCK = 32
MOST_WEIGHTS = 2**27  # of one axis: a gibibyte of float64


def _weights(
    n: int, n_out: int, scale: float, kernel: str, border: str, antialias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which input pixels each output pixel reads, counted from 0, and with which weights.

    Both are (n_out, taps). Near the border a pixel may be named several times.
    """
    function, width = KERNELS[kernel]
    shrink = min(scale, 1.0) if antialias else 1.0
    width /= shrink
    u = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(u - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = function((u[:, None] - taps) * shrink)
    weights /= weights.sum(1, keepdims=True)
    taps = taps.astype(np.int64) - 1  # counted from 0
    if border == "clamp":
        taps = taps.clip(0, n - 1)
    else:  # 2 1 0 | 0 1 2 ... n-1 | n-1 n-2
        taps %= 2 * n
        taps = np.minimum(taps, 2 * n - 1 - taps)
    return taps, weights


@keep_tensors(64)
@torch.inference_mode(False)  # or the cached tensors could never take part in a backward pass
def _blocks(
    n: int,
    n_out: int,
    scale: float,
    kernel: str,
    border: str,
    antialias: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> list[tuple[int, int, Tensor]]:
    """The matrix (n_out, n) of one axis, cut into blocks of rows without their zero columns.

    Block (lo, hi, weights) maps the inputs [lo, hi) to the next BLOCK outputs. The whole matrix
    of a large picture would be almost all zeros.
    """
    taps, weights = _weights(n, n_out, scale, kernel, border, antialias)
    blocks = []
    for first in range(0, n_out, BLOCK):
        columns, values = taps[first : first + BLOCK], weights[first : first + BLOCK]
        lo, hi = int(columns.min()), int(columns.max()) + 1
        block = np.zeros((len(columns), hi - lo))
        rows = np.arange(len(columns))[:, None]
        np.add.at(block, (rows, columns - lo), values)  # taps folded onto one pixel add up
        blocks.append((lo, hi, torch.from_numpy(block).to(dtype).to(device)))
    return blocks


def _enlarged(x: Tensor, scale: int, border: str) -> Tensor:
    """`imresize(x, scale, border=border)` without matrices, which are made for one size only.

    Each pixel becomes scale x scale, and each of these places reads the 5x5 pixels around by fixed
    weights: a convolution to scale^2 channels and a pixel shuffle. Slower than matrices on a CPU;
    a graph that is being exported takes pictures of any size by it.
    """
    taps, weights = _weights(5, 5 * scale, scale, "cubic", "clamp", True)
    middle = slice(2 * scale, 3 * scale)  # where the middle of five pixels goes to
    rows = np.zeros((scale, 5))
    np.add.at(rows, (np.arange(scale)[:, None], taps[middle]), weights[middle])
    kernels = np.einsum("iy,jx->ijyx", rows, rows).reshape(-1, 1, 5, 5)  # (scale^2, 1, 5, 5)
    *leading, h, w = x.shape
    planes = x.reshape(-1, 1, h, w)
    for axis, n in ((2, h), (3, w)):
        at = torch.arange(-2, n + 2, device=x.device)
        if border == "mirror":  # 1 0 | 0 1 ... n-1 | n-1 n-2
            at = torch.where(at < 0, -1 - at, torch.where(at < n, at, 2 * n - 1 - at))
        planes = planes.index_select(axis, at.clamp(0, n - 1))
    planes = F.pixel_shuffle(F.conv2d(planes, torch.from_numpy(kernels).to(x)), scale)
    return planes.reshape(*leading, scale * h, scale * w)


def imresize(
    x: Tensor,
    scale: float | None = None,
    *,
    size: Sequence[int] | None = None,
    kernel: str = "cubic",
    border: str = "clamp",
    antialias: bool = True,
) -> Tensor:
    """Resize (..., H, W) as MATLAB's imresize does.

    `uint8` in, `uint8` out: rounded (half up) and clipped after each axis, the axis with the
    smaller scale first, rows when equal. Computed in float64, so that every rounding is certain.
    Floating point in, the same dtype out: neither rounded nor clipped, differentiable; float16
    and bfloat16 are computed in float32, also under autocast. A NaN or infinite pixel spoils the
    outputs of its neighbourhood, up to `BLOCK` of them further than the kernel reaches.

    scale: any positive number; a side n becomes ceil(scale * n). A `fractions.Fraction` makes that
        product exact (1.1 * 50 is above 55 in binary, so a float gives 56 pixels, as in MATLAB).
    size: (H, W) of the result, instead of a scale; each axis then has the scale size / n.
    kernel: "cubic", "linear", "box", "lanczos2", "lanczos3".
    border: "clamp" repeats the edge pixel (the LR files of Set5, Set14, BSD100 and Urban100 that
        most papers use); "mirror" reflects the picture, edge pixel twice (IMDN's LR files).
    antialias: widen the kernel when shrinking.

    torch.export records bicubic enlargement of floats by a whole number for pictures of any size.

    Raises TypeError for other dtypes, ValueError for a shape, number or name that makes no sense,
    and for a scale so large or so small that the kernel's weights alone would fill the memory;
    MemoryError for a result that does not fit into it.
    """
    if not isinstance(x, Tensor) or not (x.is_floating_point() or x.dtype == torch.uint8):
        raise TypeError(
            f"imresize takes a uint8 or floating-point tensor, got "
            f"{x.dtype if isinstance(x, Tensor) else type(x).__name__}. "
            "srkit.read_image and srkit.image.io.as_image make one; x.float() converts."
        )
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(
            f"imresize takes (..., H, W) with at least one pixel, got the shape {tuple(x.shape)}"
        )
    for name, value, known in (("kernel", kernel, KERNELS), ("border", border, BORDERS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if (scale is None) == (size is None):
        raise ValueError(
            "imresize needs either scale (imresize(x, 1 / 4)) or size (imresize(x, size=(H, W))), "
            f"got {'neither' if scale is None else 'both'}"
        )
    floats = x.is_floating_point()
    exporting = torch.compiler.is_exporting()
    if exporting and floats and kernel == "cubic" and isinstance(scale, int) and scale >= 1:
        return _enlarged(x, scale, border)
    sides = x.shape[-2:]
    if exporting and not all(type(n) is int for n in sides):
        raise ValueError(
            f"of pictures of any size, torch.export records imresize only as bicubic enlargement "
            f"of floats by a whole number, not scale={scale}, size={size}, kernel={kernel!r}: "
            "give the export fixed sizes"
        )
    if size is None:
        if not (isinstance(scale, Real) and 0 < scale < math.inf):
            raise ValueError(
                f"scale must be one positive number (1/4 shrinks fourfold), got {scale!r}; "
                "for two different scales give size=(H, W)"
            )
        out = [math.ceil(scale * n) for n in sides]
        scales = [float(scale)] * 2
    else:
        if not (
            isinstance(size, Sequence)
            and len(size) == 2
            and all(isinstance(k, Integral) and k > 0 for k in size)
        ):
            raise ValueError(f"size must be (H, W), two positive whole numbers, got {size!r}")
        out = list(size)
        scales = [k / n for k, n in zip(size, sides, strict=True)]

    for n, n_out, r in zip(sides, out, scales, strict=True):
        taps = math.ceil(KERNELS[kernel][1] / (min(r, 1.0) if antialias else 1.0)) + 2
        if n_out * taps > MOST_WEIGHTS:
            raise ValueError(
                f"a side of {n} pixels would become {n_out}, each made of {taps} others: more "
                f"than memory holds. The scale is {r:g}; did you mean its inverse?"
            )
    if x.device.type == "cpu":
        check_memory(x.numel() // math.prod(sides) * math.prod(out) * x.element_size())
    work = torch.promote_types(x.dtype, torch.float32) if floats else torch.float64
    y = (x if floats else with_float64(x)).to(work)
    with torch.autocast(x.device.type, enabled=False):
        for axis in sorted((0, 1), key=lambda axis: scales[axis]):
            blocks = _blocks(
                sides[axis], out[axis], scales[axis], kernel, border, antialias, work, y.device
            )
            if axis == 0:
                y = torch.cat([m @ y[..., lo:hi, :] for lo, hi, m in blocks], -2)
            else:
                y = torch.cat([y[..., lo:hi] @ m.mT for lo, hi, m in blocks], -1)
            if not floats:  # the 1e-9 keeps a half a half when its sum was rounded down
                y = y.add_(0.5 + 1e-9).floor_().clamp_(0, 255)
    return y.to(x.device, x.dtype)
