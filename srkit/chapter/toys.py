"""Toy pictures: worlds so small that the best possible answer can be computed.

Bars: EnhanceNet's example of many pictures behind one LR picture (Sajjadi et al., ICCV 2017, Fig.
3). Each cell of 2x2 pixels is black or holds a white bar of 1x2 pixels, and reducing by two makes a
bar grey, whichever way it lies.

    lr = bars_lr(8)                   # which cells hold a bar: all that the small picture tells
    hr = bars(lr)                     # one of the pictures that have it
    other = bars(lr, seed=1)          # and another

Fences: one row of pixels, cells of 8, a bright picket of 2 at one place in each. Reducing by eight
leaves the brightness and not the place.

    every = fences(lr, 4)             # all four fences behind an LR row
"""

from __future__ import annotations

import torch
from torch import Tensor

# Where a bar can lie in its cell: above, left, below, right. (4, 2, 2)
BARS = torch.tensor(
    [[[1, 1], [0, 0]], [[1, 0], [1, 0]], [[0, 0], [1, 1]], [[0, 1], [0, 1]]]
).float()


def bars_lr(count: int, cells: int = 12, *, density: float = 0.5, seed: int = 0) -> Tensor:
    """LR pictures (count, 3, cells, cells): 1/2 with probability `density`, else 0.

    Raises ValueError for a density outside [0, 1].
    """
    if not 0 <= density <= 1:
        raise ValueError(f"density {density}: the share of cells that hold a bar, 0 to 1")
    rng = torch.Generator().manual_seed(seed)
    there = torch.rand(count, 1, cells, cells, generator=rng) < density
    return (0.5 * there).expand(-1, 3, -1, -1).contiguous()


def bars(lr: Tensor, *, positions: int = 2, seed: int = 0) -> Tensor:
    """An HR picture (B, 3, 2h, 2w) for each of `bars_lr`'s (B, 3, h, w), drawn at random.

    Every bar lies in one of the first `positions` ways of BARS, 2 or 4, all equally likely. The
    mean of all these pictures has an MSE of 1/8 (two ways) or 1/4 (four) in cells with a bar, any
    one of them twice as much: with squared error nothing is better than the mean, and to guess
    costs 10 log10(2) = 3.01 dB.

    Raises ValueError for other positions, and for LR pictures with other values than 0 and 1/2.
    """
    if positions not in (2, 4):
        raise ValueError(f"positions {positions}: 2 (above, left) or 4 (below and right, too)")
    if not ((lr == 0) | (lr == 0.5)).all():
        raise ValueError("lr has values other than 0 (no bar) and 1/2 (a bar): see bars_lr")
    b, _, h, w = lr.shape
    rng = torch.Generator().manual_seed(seed)
    cells = BARS[torch.randint(positions, (b, h, w), generator=rng)]  # (B, h, w, 2, 2)
    cells = cells * (lr[:, 0, :, :, None, None] > 0)
    hr = cells.permute(0, 1, 3, 2, 4).reshape(b, 1, 2 * h, 2 * w)  # rows of cells to rows of pixels
    return hr.expand(-1, 3, -1, -1).contiguous()


def fences(lr: Tensor, positions: int = 4) -> Tensor:
    """All HR rows (B, positions, 8w) that have the LR rows (B, w): each cell's mean is lr's value.

    A cell is lr - 0.1, its picket lr + 0.3; the picket lies in all cells alike, at one of 1, 2 or 4
    places. With four of them, equally likely, the MSE is 0.03 for their mean, 0.06 for any one of
    them and 0.04 for their median, which has no pickets; with two it is 0.02 and 0.04, and for any
    median between the two.

    Raises ValueError for another number of positions.
    """
    if positions not in (1, 2, 4):
        raise ValueError(f"positions {positions}: 1, 2 or 4, at equal distances in a cell of 8")
    at = torch.arange(8) - 8 // positions * torch.arange(positions)[:, None]
    cell = 0.4 * (at % 8 < 2) - 0.1  # (positions, 8), of mean 0
    return (lr[:, None, :, None] + cell[:, None]).flatten(2)  # (B, positions, w, 8) -> last two one
