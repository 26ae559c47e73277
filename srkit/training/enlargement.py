"""Where a short training begins: no part of the papers here, but a way to spend few minutes well.

A network without a shortcut for the picture must first learn to hand it through, which takes a
small one a thousand steps. With three of its channels told to, it starts as an enlargement by
repeated pixels, and every step goes into what is missing there. Convolutions that start as the
identity are Dirac initialisation (Zagoruyko and Komodakis, 2017), repeated pixels before a shuffle
are ICNR (Aitken et al., 2017).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def hand_through(
    head: nn.Module,
    added: Iterable[nn.Module],
    tail: Iterable[tuple[nn.Module, int]],
    *,
    quiet: float = 0.1,
    lift: float = 0.0,
) -> None:
    """Let channels 0, 1, 2 carry red, green and blue from `head` to the end of the network.

    head: the convolution that reads the picture. added: the last layers of what is added to it on
    its way. tail: the convolutions on its way, each with the factor of the pixel shuffle behind it
    (1 where there is none). Weights of both that carry nothing are made `quiet` times what they
    were, so that a random trunk does not drown the picture. lift: what head adds to a picture with
    negative values, lest an activation cut them off, and the last convolution takes away.

    Raises TypeError for a head or a tail that is no convolution with a bias.
    """
    *before, (last, factor) = tail
    hush(*added, *(conv for conv, _ in before), last, quiet=quiet)
    carry(head, lift=lift)
    for conv, r in before:
        carry(conv, r**2, others=1.0)
    carry(last, factor**2, others=1.0, lift=0.0 - lift)


def with_factors(layers: nn.Module) -> list[tuple[nn.Module, int]]:
    """The convolutions in `layers`, each with the factor of the pixel shuffle behind it, or 1."""
    found: list[tuple[nn.Module, int]] = []
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            found.append((layer, 1))
        elif isinstance(layer, nn.PixelShuffle):
            found[-1] = found[-1][0], layer.upscale_factor
    return found


@torch.no_grad()
def hush(*layers: nn.Module, quiet: float = 0.1) -> None:
    """Multiply weights of convolutions, or slopes of batch norms, by `quiet`; set biases to 0."""
    for layer in layers:
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.mul_(quiet)


@torch.no_grad()
def carry(
    conv: nn.Module,
    copies: int = 1,
    *,
    channels: int = 3,
    others: float = 0.0,
    lift: float = 0.0,
) -> None:
    """Make output c * copies + k equal to input c, plus `lift`; a pixel shuffle spreads the copies.

    A convolution of stride r takes the mean of r x r pixels, a transposed one repeats each so
    often. Beside the picture these outputs get `others` times what they got of other inputs.

    Raises TypeError for what is no convolution with a bias.
    """
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or conv.bias is None:
        raise TypeError(f"{conv} carries no picture: expected a convolution with a bias")
    side, first = conv.stride[0], int(conv.padding[0])
    weight, size = conv.weight, 1 / side**2
    if isinstance(conv, nn.ConvTranspose2d):
        weight, size = weight.transpose(0, 1), 1.0  # (out, in, kh, kw), as a convolution's
    window = slice(first, first + side)
    for c in range(channels):
        outputs = slice(c * copies, (c + 1) * copies)
        weight[outputs, :channels] = 0
        weight[outputs, channels:] *= others
        weight[outputs, c % weight.shape[1], window, window] = size  # of its group, if in groups
    conv.bias[: channels * copies] = lift
