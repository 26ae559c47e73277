"""The few parts that several papers share. Everything else stands in the file of its paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.image.colour import to_y, with_y
from srkit.image.resize import imresize
from srkit.image.tensors import check_image
from srkit.models.network import Network

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB mean of DIV2K's 800 training pictures (EDSR)


def conv(cin: int, cout: int, kernel: int = 3, *, bias: bool = True) -> nn.Conv2d:
    """A convolution of stride 1 that keeps height and width (zero padding)."""
    return nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=bias)


def he_init(module: nn.Module, *, slope: float = 0.0, times: float = 1.0) -> None:
    """First weights as He et al. (ICCV 2015) have them, normal of variance 2 / inputs; biases 0.

    Of all convolutions and linear layers in `module`. slope: of the leaky ReLUs behind them, which
    divides the variance by 1 + slope². times: a factor of the weights, for residual blocks.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, slope)
            layer.weight.data *= times
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_input(x: Tensor, name: str, *, channels: int = 3, min_size: int = 1) -> None:
    """Refuse what is not a (B, 3 or 1, h, w) float batch in about [0, 1], `min_size` on each side.

    Values are looked at on the CPU alone: a GPU would stand still until the CPU knows them, and a
    graph that is being recorded (torch.compile, torch.export) would break. `srkit.upscale` looks
    before.
    """
    _check_shape(x, name, channels)
    if min(x.shape[-2:]) < min_size:
        raise ValueError(
            f"{name} needs pictures of at least {min_size}x{min_size} pixels, got "
            f"{x.shape[-2]}x{x.shape[-1]}. Pad the picture, or call srkit.upscale, which does."
        )
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        check_image(x.expand(-1, 3, -1, -1), f"{name}'s input")


def check_judged(
    x: Tensor, name: str, *, channels: int = 3, size: int | None = None, multiple: int = 1
) -> None:
    """Refuse what a discriminator cannot judge: other shapes, or sides that do not fit.

    Sides must be `size` pixels, or multiples of `multiple`; values may be any.

    Raises ValueError that names the size and what is expected.
    """
    _check_shape(x, name, channels)
    h, w = x.shape[-2:]
    if size and (h, w) != (size, size):
        raise ValueError(
            f"{name} was built for {size}x{size} pixels, got {h}x{w}: crop, or build it with "
            "another size."
        )
    if h % multiple or w % multiple:
        raise ValueError(
            f"{name} needs sides that are multiples of {multiple}, got {h}x{w}: pad to "
            f"{h + -h % multiple}x{w + -w % multiple}, or crop."
        )


def _check_shape(x: Tensor, name: str, channels: int) -> None:
    if x.dim() != 4 or x.shape[1] != channels or not x.is_floating_point():
        raise ValueError(
            f"{name} takes a float tensor (B, {channels}, h, w) in [0, 1], got {x.dtype} "
            f"{tuple(x.shape)}. For one picture use srkit.upscale(model, picture)."
        )


class MeanShift(nn.Module):
    """y = x + sign * rgb_range * mean, kept as the 1x1 convolution of EDSR's checkpoints.

    EDSR (Lim et al., CVPRW 2017) and the networks built on its code subtract the mean of DIV2K
    first and add it last. Weight and bias are counted among the parameters, as their authors do,
    and never trained: the authors' optimisers could move them, so files may hold other values.
    """

    def __init__(self, rgb_range: float, sign: int):
        super().__init__()
        bias = sign * rgb_range * torch.tensor(DIV2K_MEAN)
        self.weight = nn.Parameter(torch.eye(3).view(3, 3, 1, 1), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class Upsampler(nn.Sequential):
    """Sub-pixel upsampling by r: r = 2^n in n steps of two, r = 3 in one.

    A step is a 3x3 convolution to s^2 C channels and a pixel shuffle (Shi et al., CVPR 2016).
    """

    def __init__(self, scale: int, channels: int):
        if scale not in (2, 3, 4, 8, 16):
            raise ValueError(f"scale {scale}: sub-pixel upsampling knows 2, 3, 4, 8 and 16")
        steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
        parts = [(conv(channels, s * s * channels), nn.PixelShuffle(s)) for s in steps]
        super().__init__(*(layer for step in parts for layer in step))


class ESA(nn.Module):
    """Enhanced spatial attention: x * sigmoid(mask), the mask made on a small grid.

    A 1x1 convolution to `mid` channels, a stride-2 convolution and a 7x7 pooling of stride 3 (both
    without padding) shrink the map about sixfold; convolutions there see far; the result is resized
    to x, joined by a shortcut, and brought back to `channels`. From RFANet (Liu et al., CVPR 2020);
    RFDN keeps it, RLFN (`slim=True`) leaves one convolution on the small grid, without activation.

    Smallest input 15x15. What a pixel becomes depends on the whole picture (the grid's offset and
    the resize ratio), so tiles never give exactly what the whole picture gives.
    """

    MIN_SIZE = 15

    def __init__(self, channels: int, mid: int, *, slim: bool = False):
        super().__init__()
        self.slim = slim
        self.conv1 = conv(channels, mid, 1)
        self.conv_f = conv(mid, mid, 1)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride=2)
        self.conv3 = conv(mid, mid)
        if not slim:
            self.conv_max = conv(mid, mid)
            self.conv3_ = conv(mid, mid)
        self.conv4 = conv(mid, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(x)  # (B, C, h, w) -> (B, E, h, w)
        m = F.max_pool2d(self.conv2(a), 7, stride=3)  # (B, E, about h/6, about w/6)
        if self.slim:
            m = self.conv3(m)
        else:
            m = self.conv3_(F.relu(self.conv3(F.relu(self.conv_max(m)))))
        m = F.interpolate(m, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(m + self.conv_f(a)))  # (B, C, h, w)


class CCA(nn.Module):
    """Contrast-aware channel attention: x * sigmoid(W2 relu(W1 (std + mean))), over the picture.

    The standard deviation (population, over h and w) follows texture, where a plain mean does not.
    From IMDN (Hui et al., ACM MM 2019), kept by the paper's RFDN. It sees the whole picture, so
    tiles never give exactly what the whole picture gives.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        mid = channels // reduction
        self.conv_du = nn.Sequential(
            conv(channels, mid, 1), nn.ReLU(), conv(mid, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # (B, C, h, w) -> (B, C, 1, 1)
        var = (x - mean).square().mean((2, 3), keepdim=True)  # an eighth faster in all than x.var
        std = var.clamp_min(torch.finfo(x.dtype).tiny).sqrt()  # sqrt'(0) is infinite
        return x * self.conv_du(std + mean)


class RDB(nn.Module):
    """ESRGAN's residual dense block: x + scaling * f(x). In f a convolution reads all maps so far.

    Four convolutions add G channels each to the C there are; the fifth brings C + 4G back to C.
    batch_norm: one after each convolution, as in SRGAN. The paper takes them out.
    """

    def __init__(
        self, channels: int, growth: int, scaling: float = 0.2, *, batch_norm: bool = False
    ):
        super().__init__()
        self.scaling = scaling
        self.conv1 = conv(channels, growth)
        self.conv2 = conv(channels + growth, growth)
        self.conv3 = conv(channels + 2 * growth, growth)
        self.conv4 = conv(channels + 3 * growth, growth)
        self.conv5 = conv(channels + 4 * growth, channels)
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.norms = nn.ModuleList(norm(c) for c in (growth, growth, growth, growth, channels))

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.conv1, self.conv2, self.conv3, self.conv4)
        maps = x  # (B, C, h, w)
        for layer, norm in zip(layers, self.norms, strict=False):
            new = F.leaky_relu(norm(layer(maps)), 0.2)
            maps = torch.cat((maps, new), 1)  # (B, C + kG, h, w), k = 1..4
        return x + self.scaling * self.norms[4](self.conv5(maps))  # -> (B, C, h, w)


class RRDB(nn.Module):
    """Residual in residual dense block: x + scaling * three RDBs in a row (ESRGAN, Sec. 3.1)."""

    def __init__(
        self, channels: int, growth: int, scaling: float = 0.2, *, batch_norm: bool = False
    ):
        super().__init__()
        self.scaling = scaling
        self.RDB1 = RDB(channels, growth, scaling, batch_norm=batch_norm)
        self.RDB2 = RDB(channels, growth, scaling, batch_norm=batch_norm)
        self.RDB3 = RDB(channels, growth, scaling, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scaling * self.RDB3(self.RDB2(self.RDB1(x)))


class LumaNetwork(Network):
    """A network that works on Y: its `luma` is the paper's network.

    RGB goes through `to_y` and `with_y`: Y is enlarged by `luma`, Cb and Cr by bicubic.
    """

    def luma(self, y: Tensor) -> Tensor:
        """Y of BT.601 (B, 1, h, w), in [16/255, 235/255] -> (B, 1, rh, rw)."""
        raise NotImplementedError(f"{type(self).__name__} has no luma(y)")

    def forward(self, lr: Tensor) -> Tensor:
        check_input(lr, self.name)
        up = imresize(lr, self.scale)  # (B, 3, h, w) -> (B, 3, rh, rw)
        return with_y(up, self.luma(to_y(lr)))


def discriminator_body(cin: int, widths: Sequence[int], *, norm: bool) -> nn.Sequential:
    """For each width two 3x3 convolutions with LeakyReLU 0.2, the second of stride 2 (SRGAN).

    norm: batch norm after all convolutions but the first.
    """
    layers = []
    for width in widths:
        for stride in (1, 2):
            layers.append(nn.Conv2d(cin, width, 3, stride, padding=1))
            if norm and len(layers) > 1:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2))
            cin = width
    return nn.Sequential(*layers)
