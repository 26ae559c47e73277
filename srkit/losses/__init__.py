"""Losses: one idea, one file. Each takes pictures in [0, 1] and gives a scalar.

0.01 * L1() + content("esrgan") is a loss too. `srkit.losses.terms` shows how to add one's own.
"""

from srkit.losses.adversarial import (
    Adversarial,
    ClassAdversarial,
    FeatureAdversarial,
    gradient_penalty,
)
from srkit.losses.balance import (
    DynamicWeightAverage,
    GradientBalance,
    Ramp,
    RunningMean,
    Uncertainty,
)
from srkit.losses.contrastive import Contrastive
from srkit.losses.objectives import (
    Hinge,
    LeastSquares,
    RelativisticAverage,
    Standard,
    Wasserstein,
)
from srkit.losses.perceptual import LPIPS, Content, Transferal, content
from srkit.losses.pixel import L1, MSE, Charbonnier, Huber, TotalVariation
from srkit.losses.terms import FeatureTerm, Sum, Term
from srkit.losses.texture import Style, gram, style
from srkit.losses.unet import Matching, UNetAdversarial

__all__ = [
    "L1",
    "LPIPS",
    "MSE",
    "Adversarial",
    "Charbonnier",
    "ClassAdversarial",
    "Content",
    "Contrastive",
    "DynamicWeightAverage",
    "FeatureAdversarial",
    "FeatureTerm",
    "GradientBalance",
    "Hinge",
    "Huber",
    "LeastSquares",
    "Matching",
    "Ramp",
    "RelativisticAverage",
    "RunningMean",
    "Standard",
    "Style",
    "Sum",
    "Term",
    "TotalVariation",
    "Transferal",
    "UNetAdversarial",
    "Uncertainty",
    "Wasserstein",
    "content",
    "gradient_penalty",
    "gram",
    "style",
]
