"""Where a short training begins: no paper's idea, but a way to spend few minutes well.

A network without a shortcut for the picture must first learn to hand it through, which takes a
small one a thousand steps. With three of its channels told to, it starts as an enlargement by
repeated pixels, and every step goes into what is missing there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def hand_through(
    head: nn.Conv2d, body: nn.Conv2d, tail: Iterable[tuple[nn.Conv2d, int]], *, quiet: float = 0.1
) -> None:
    """Channels 0, 1, 2 carry red, green, blue from `head` to the end.

    head: the convolution that reads the picture. body: the last of what is added to head's result.
    tail: the convolutions behind that sum, each with the factor of the pixel shuffle behind it (1
    where there is none). Weights of body and tail that carry nothing are made `quiet` times what
    they were, so that a random body does not drown the picture.
    """
    _carry(head, 1)
    body.weight.mul_(quiet)
    body.bias.zero_()
    for conv, factor in tail:
        conv.weight.mul_(quiet)
        conv.bias.zero_()
        _carry(conv, factor**2)


def _carry(conv: nn.Conv2d, copies: int) -> None:
    """Output c * copies + k is input c, for three channels; a pixel shuffle spreads the copies."""
    row, column = (side // 2 for side in conv.kernel_size)
    for c in range(3):
        outputs = slice(c * copies, (c + 1) * copies)
        conv.weight[outputs, :3] = 0
        conv.weight[outputs, c, row, column] = 1
        conv.bias[outputs] = 0
