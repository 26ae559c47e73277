"""Pixel losses: differences of two pictures, value by value, and the roughness of one.

All are means over batch, channels and pixels, so that the value depends on neither the batch nor
the picture's size. Some papers keep pictures in [-1, 1], where differences are twice as large as
here in [0, 1]: their L1 is twice, their MSE four times the value here.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from srkit.losses.terms import Term


class L1(Term):
    """mean |sr - hr|. It is least for the median of all pictures that hr could be."""

    label = "L1"
    formula = "mean |sr - hr|"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.l1_loss(sr, hr)


class MSE(Term):
    """mean (sr - hr)². It is least for the mean of all pictures that hr could be: a blurred one."""

    label = "MSE"
    formula = "mean (sr - hr)²"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.mse_loss(sr, hr)


class Charbonnier(Term):
    """mean sqrt((sr - hr)² + eps²): L1, but smooth at 0, where its value is eps.

    LapSRN (Lai et al., CVPR 2017) takes eps = 1e-3; the default, 1e-6, is BasicSR's.
    """

    label = "Charbonnier"

    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.formula = f"mean sqrt((sr - hr)² + {eps:g}²)"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return ((sr - hr).square() + self.eps**2).sqrt().mean()


class Huber(Term):
    """mean of d²/2 where |d| <= delta and of delta (|d| - delta/2) elsewhere, with d = sr - hr.

    For large differences it is about delta times L1, so its weight depends on delta. CIPLab (NTIRE
    2020) takes 0.01.
    """

    label = "Huber"

    def __init__(self, delta: float = 0.01):
        super().__init__()
        self.delta = delta
        self.formula = f"mean d²/2, beyond {delta:g} {delta:g} (|d| - {delta / 2:g}); d = sr - hr"

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.huber_loss(sr, hr, delta=self.delta)


class TotalVariation(Term):
    """The mean or sum of (dx² + dy²)^p over sr, p the `exponent`: how rough sr is. hr isn't used.

    dx and dy are the differences to the next pixel on the right and below, (H-1) x (W-1) a channel.

    - p = 0.5: total variation. Its gradient is as long at a weak edge as at a strong one.
    - p = 1: squared gradients.
    - p = 1.25: Mahendran and Vedaldi (CVPR 2015), whose beta = 2p = 2.5. Large edges cost even more
      than at p = 1.

    reduction: "mean", or "sum", which grows with the picture and the batch. SRGAN's weight of 2e-8
    (SRResNet-VGG22) is for the sum. In a range c times as wide the value is c^2p times as large:
    5.66 times in [-1, 1] at p = 1.25.

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
        flat = energy == 0  # where a root has no gradient, and autograd would give NaN
        rough = energy.masked_fill(flat, 1).pow(self.exponent).masked_fill(flat, 0)
        return rough.mean() if self.reduction == "mean" else rough.sum()
