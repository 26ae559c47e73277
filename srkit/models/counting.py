"""What a network costs: parameters, multiply-adds, activations.

Counted as in the NTIRE and AIM efficiency challenges: only convolutions (also transposed ones) and
linear layers count; a multiply and its add are one; biases, activation functions, pooling, resizing
and products of maps are left out; activations are the elements that convolutions give.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.cards import card
from srkit.models.network import Network, check_network

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


@dataclass(frozen=True)
class Count:
    """What a network costs for one LR picture of `lr_size` (h, w)."""

    lr_size: tuple[int, int]
    parameters: int
    macs: int  # multiply-adds
    activations: int  # elements that convolutions and linear layers give
    convs: int  # calls of such layers in one forward pass

    def __str__(self) -> str:
        h, w = self.lr_size
        return (
            f"{self.parameters:,} parameters; for an LR picture of {h}x{w}: "
            f"{self.macs / 1e9:.3f} G multiply-adds, {self.activations / 1e6:.3f} M activations, "
            f"{self.convs} convolutions"
        )

    def _repr_html_(self) -> str:
        return card(
            f"Cost of one LR picture of {self.lr_size[0]}x{self.lr_size[1]}",
            {
                "parameters": f"{self.parameters:,}",
                "multiply-adds": f"{self.macs / 1e9:.3f} G",
                "activations": f"{self.activations / 1e6:.3f} M",
                "convolutions": self.convs,
            },
        )


def count(model: Network, lr_size: tuple[int, int] = (256, 256)) -> Count:
    """Cost of `model(lr)` for one RGB picture of `lr_size` (h, w).

    Runs a copy whose convolutions note their sizes and answer with zeros, so only the cheap layers
    take time. (PyTorch's meta device would do as well, after seconds of imports.)

    Raises TypeError for what is no `Network` (see `srkit.as_model`), and what the network raises
    for a picture of that size.
    """
    model = check_network(model)
    macs = activations = convs = 0

    def note(layer: Layer, x: Tensor) -> Tensor:
        nonlocal macs, activations, convs
        y = x.new_zeros(_output_shape(layer, x))
        # each weight is used once a position: of the output, or, transposed, of the input
        if isinstance(layer, nn.Linear):
            positions = math.prod(y.shape[:-1])
        else:
            grid = x if isinstance(layer, nn.ConvTranspose2d) else y
            positions = grid.shape[0] * math.prod(grid.shape[2:])
        macs += positions * layer.weight.numel()
        activations += y.numel()
        convs += 1
        return y

    ghost = deepcopy(model)
    for layer in ghost.modules():
        if isinstance(layer, Layer):
            vars(layer)["forward"] = partial(note, layer)  # found before the method of its class
    with torch.no_grad():
        ghost(next(model.parameters(), torch.empty(0, device="cpu")).new_zeros(1, 3, *lr_size))
    parameters = sum(p.numel() for p in model.parameters())
    height, width = lr_size
    return Count((height, width), parameters, macs, activations, convs)


def _output_shape(layer: Layer, x: Tensor) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return (*x.shape[:-1], layer.out_features)
    x, kernel = x[:, :1], layer.weight[:1, :1]  # one channel is enough to learn height and width
    like = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if isinstance(layer, nn.ConvTranspose2d):
        y = F.conv_transpose2d(x, kernel, output_padding=layer.output_padding, **like)
    else:
        y = F.conv2d(x, kernel, **like)
    return (len(y), layer.out_channels, *y.shape[2:])
