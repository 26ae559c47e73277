"""How a low-resolution picture comes to be: blur, reduce, noise, JPEG.

    lr = jpeg(noise(reduce(blur(hr, k), 1/r), sigma), quality)

Nearly every paper of this book uses the reduction alone, MATLAB's bicubic. The other steps make
what cameras and the web make; a network trained without them has never seen their traces.
"""

from __future__ import annotations

import io
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.image.io import as_image
from srkit.image.resize import imresize
from srkit.image.tensors import check_floats, check_image, modcrop, round_8bit, to_8bit


def gaussian_kernel(sigma: float, *, sigma_y: float | None = None, angle: float = 0.0) -> Tensor:
    """A Gaussian blur kernel (k, k) of sum 1, k = 2 ceil(3 max(sigma)) + 1.

    `sigma` and `sigma_y` are in pixels along the kernel's own axes, which are turned by `angle`
    degrees.

    Raises ValueError when a sigma is not positive.
    """
    sigma_y = sigma if sigma_y is None else sigma_y
    if not (sigma > 0 and sigma_y > 0):
        raise ValueError(f"sigma {sigma}, {sigma_y}: a Gaussian needs a positive width in pixels")
    radius = math.ceil(3 * max(sigma, sigma_y))
    t = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    y, x = torch.meshgrid(t, t, indexing="ij")
    turn = math.radians(angle)
    u = x * math.cos(turn) + y * math.sin(turn)
    v = -x * math.sin(turn) + y * math.cos(turn)
    kernel = torch.exp(-0.5 * ((u / sigma) ** 2 + (v / sigma_y) ** 2))
    return (kernel / kernel.sum()).float()


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of a (3, H, W) or (B, 3, H, W) image under one (k, k) kernel, k odd.

    The border is the edge pixel repeated, the size stays.

    Raises ValueError for another kernel, and what `check_image` raises.
    """
    if kernel.dim() != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"the kernel is {tuple(kernel.shape)}: expected (k, k) with odd k")
    check_image(image)
    x = image.reshape(-1, 1, *image.shape[-2:])  # (B, 3, H, W) -> (3B, 1, H, W)
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    x = F.pad(x, (left, left, top, top), mode="replicate")
    return F.conv2d(x, kernel.flip(0, 1).to(x)[None, None]).view(image.shape)


def add_noise(image: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """The image with white Gaussian noise, clipped to [0, 1].

    sigma: the noise's standard deviation in grey levels of 255, as denoising papers give it.

    Raises TypeError for what is no float tensor.
    """
    check_floats(image)
    noise = torch.randn(image.shape, generator=generator, dtype=image.dtype, device="cpu")
    return (image + sigma / 255 * noise.to(image.device)).clamp(0, 1)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """A (3, H, W) image after JPEG at `quality` 1 to 95 (Pillow's scale, 4:2:0 colour).

    Raises ValueError for another quality, and what `check_image` raises.
    """
    from PIL import Image

    check_image(image, batch=False)
    if not 1 <= quality <= 95:
        raise ValueError(f"quality {quality}: JPEG's useful range is 1 to 95")
    pixels = to_8bit(image).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return as_image(Image.open(buffer)).to(image.device)


def make_lr(
    hr: Tensor,
    scale: int,
    *,
    kernel: Tensor | None = None,
    noise: float = 0.0,
    quality: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The low-resolution picture of `hr` (3, H, W): 8-bit values in [0, 1], (3, H // r, W // r).

    Cut to a multiple of the scale, blurred by `kernel`, reduced by MATLAB's bicubic, made noisy,
    JPEG-coded; a step that is not asked for is left out. With none of them the result is, bit for
    bit, what the benchmarks' published LR pictures are.

    Raises what `check_image`, `modcrop`, `blur` and `jpeg` raise.
    """
    check_image(hr)
    x = modcrop(hr, scale)
    if kernel is not None:
        x = blur(x, kernel)
    x = imresize(to_8bit(x), 1 / scale).float() / 255
    if noise:
        x = round_8bit(add_noise(x, noise, generator))
    return x if quality is None else jpeg(x, quality)
