"""Pixel losses: what two pictures differ in, value by value, and the roughness of one.

All are means over batch, channels and pixels, so that neither the batch nor the picture's size
changes the value. For pictures in [-1, 1], as some papers keep them, differences are twice as large
as here in [0, 1]: L1 counts twice, MSE four times.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from srkit.losses.terms import Term


class L1(Term):
    """mean |sr - hr|. Its best guess is the median of all that the picture could be."""

    label = "L1"
    formula = "mean |sr - hr|"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.l1_loss(sr, hr)


class MSE(Term):
    """mean (sr - hr)². Its best guess is the mean of all that the picture could be: blurred."""

    label = "MSE"
    formula = "mean (sr - hr)²"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.mse_loss(sr, hr)


class Charbonnier(Term):
    """mean sqrt((sr - hr)² + eps²): L1, smooth at 0, where it is eps instead of 0.

    LapSRN (Lai et al., CVPR 2017) takes eps = 1e-3; BasicSR, whose default is kept, 1e-6.
    """

    label = "Charbonnier"

    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.formula = f"mean sqrt((sr - hr)² + {eps:g}²)"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return ((sr - hr).square() + self.eps**2).sqrt().mean()


class Huber(Term):
    """mean of d²/2 where |d| <= delta, of delta (|d| - delta/2) beyond; d = sr - hr.

    Far from hr it is delta times L1: weights are tied to delta. CIPLab (NTIRE 2020) takes 0.01.
    """

    label = "Huber"

    def __init__(self, delta: float = 0.01):
        super().__init__()
        self.delta = delta
        self.formula = f"mean d²/2, beyond {delta:g} {delta:g} (|d| - {delta / 2:g}); d = sr - hr"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.huber_loss(sr, hr, delta=self.delta)


class TotalVariation(Term):
    """mean or sum of (dx² + dy²)^p over sr: how rough it is, whatever hr.

    dx, dy: differences to the right and downwards where both exist, (H-1) x (W-1) a channel.

    - p = 0.5: total variation. Its gradient has one length at every edge; in flat places it is 0.
    - p = 1: squared gradients.
    - p = 1.25: Mahendran and Vedaldi (CVPR 2015) with beta = 2p = 2.5. Smooth at 0; large edges
      cost more than they do at p = 1.

    The mean depends on neither size nor batch, the sum grows with both. A range c times as wide
    gives c^2p times the value, 5.66 from [0, 1] to [-1, 1] at p = 1.25. SRGAN's weight of 2e-8
    (SRResNet-VGG22) is for a sum.

    Raises ValueError for p < 0.5, which has no finite gradient, and for another reduction.
    """

    label = "TV"

    def __init__(self, exponent: float = 1.25, reduction: str = "mean"):
        super().__init__()
        if exponent < 0.5:
            raise ValueError(f"exponent {exponent:g}: 0.5 is the least with a finite gradient")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction {reduction!r} is unknown: 'mean' or 'sum'")
        self.exponent, self.reduction = exponent, reduction
        self.formula = f"{reduction} (dx² + dy²)^{exponent:g} of sr"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        here = sr[..., :-1, :-1]
        energy = (sr[..., :-1, 1:] - here).square() + (sr[..., 1:, :-1] - here).square()
        flat = energy == 0  # a root has no gradient there: what autograd would make of it is NaN
        rough = energy.masked_fill(flat, 1).pow(self.exponent).masked_fill(flat, 0)
        return getattr(rough, self.reduction)()
