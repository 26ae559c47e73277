"""Toy pictures, so simple that the best possible answer can be computed.

Bars are EnhanceNet's example of many HR pictures with the same LR picture (Sajjadi et al., ICCV
2017, Fig. 3). Each cell of 2x2 pixels is black or holds a white bar of 1x2 pixels. Reduced by two,
a cell with a bar is grey, whichever way the bar lies.

    lr = bars_lr(8)                   # the LR pictures tell only which cells hold a bar
    hr = bars(lr)                     # HR pictures that have these LR pictures
    other = bars(lr, seed=1)          # and others that have them, too

Fences are rows of pixels, in cells of 8, with a bright picket of 2 pixels at one place in each.
Reduced by eight, a row keeps the brightness and loses the place.

    every = fences(lr, 4)             # all four fences with the same LR row
"""

from __future__ import annotations

import torch
from torch import Tensor

# The places of a bar in its cell: above, left, below, right. (4, 2, 2)
BARS = torch.tensor(
    [[[1, 1], [0, 0]], [[1, 0], [1, 0]], [[0, 0], [1, 1]], [[0, 1], [0, 1]]], device="cpu"
).float()


def bars_lr(count: int, cells: int = 12, *, density: float = 0.5, seed: int = 0) -> Tensor:
    """Random LR pictures (count, 3, cells, cells): 1/2 with probability `density`, else 0.

    Raises ValueError for a density outside [0, 1].
    """
    if not 0 <= density <= 1:
        raise ValueError(f"density {density}: the share of cells that hold a bar, 0 to 1")
    rng = torch.Generator().manual_seed(seed)
    there = torch.rand(count, 1, cells, cells, generator=rng, device="cpu") < density
    return (0.5 * there).expand(-1, 3, -1, -1).contiguous()


def bars(lr: Tensor, *, positions: int = 2, seed: int = 0) -> Tensor:
    """Random HR pictures (B, 3, 2h, 2w), one for each LR picture (B, 3, h, w) of `bars_lr`.

    Every bar lies in one of the first `positions` ways of BARS, 2 or 4, all equally likely. In
    cells with a bar the mean of all these pictures has an MSE of 1/8 (two ways) or 1/4 (four), and
    any single one of them twice that. No answer has a lower squared error than the mean, so that
    a guess costs 10 log10(2) = 3.01 dB.

    Raises ValueError for other positions, and for LR pictures with other values than 0 and 1/2.
    """
    if positions not in (2, 4):
        raise ValueError(f"positions {positions}: 2 (above, left) or 4 (below and right, too)")
    if not ((lr == 0) | (lr == 0.5)).all():
        raise ValueError("lr has values other than 0 (no bar) and 1/2 (a bar): see bars_lr")
    b, _, h, w = lr.shape
    rng = torch.Generator().manual_seed(seed)
    which = torch.randint(positions, (b, h, w), generator=rng, device="cpu")
    cells = BARS[which]  # (B, h, w, 2, 2)
    cells = cells * (lr[:, 0, :, :, None, None] > 0)
    hr = cells.permute(0, 1, 3, 2, 4).reshape(b, 1, 2 * h, 2 * w)  # cells to pixels
    return hr.expand(-1, 3, -1, -1).contiguous()


def fences(lr: Tensor, positions: int = 4) -> Tensor:
    """All HR rows (B, positions, 8w) of the LR rows (B, w): the mean of each cell is lr's value.

    A cell is lr - 0.1 and its picket lr + 0.3. The picket lies at the same one of 1, 2 or 4 places
    in every cell. With four places, equally likely, the MSE is 0.03 for the mean of all rows, 0.06
    for any single one and 0.04 for their median, which has no pickets. With two places it is 0.02
    for the mean, 0.04 for a single one, and between these for a median.

    Raises ValueError for another number of positions.
    """
    if positions not in (1, 2, 4):
        raise ValueError(f"positions {positions}: 1, 2 or 4, at equal distances in a cell of 8")
    number = torch.arange(positions, device="cpu")[:, None]
    at = torch.arange(8, device="cpu") - 8 // positions * number
    cell = 0.4 * (at % 8 < 2) - 0.1  # (positions, 8), of mean 0
    return (lr[:, None, :, None] + cell[:, None]).flatten(2)  # (B, positions, w, 8) -> (.., 8w)
