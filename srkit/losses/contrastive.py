"""Contrastive loss: features of sr near those of hr, and far from those of a blurred picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from srkit.losses.terms import Features, FeatureTerm, feature_mean
from srkit.metrics.features import Extractor
from srkit.processes import mean_over_processes

# Weights by layer. CSD and AECR-Net: five layers of VGG-19, the deepest counts most.
VGG_DEEP = {
    "relu1_1": 1 / 32,
    "relu2_1": 1 / 16,
    "relu3_1": 1 / 8,
    "relu4_1": 1 / 4,
    "relu5_1": 1.0,
}
VGG_SHALLOW = {"relu1_1": 1.0}
RANDOM_TANH = {"conv2": 1.0}


class Contrastive(FeatureTerm):
    """sum_j lambda_j d(phi_j(sr), phi_j(hr)) / (d(phi_j(sr), phi_j(negative)) + 1e-7).

    d is the mean absolute difference, phi_j the extractor's layer j (RLFN, Eq. 8). The negative is
    the bicubic enlargement of the low-resolution picture. Only `sr` gets gradients. The value is
    small when sr is much nearer to hr than to the negative.

    The form is AECR-Net's (Wu et al., CVPR 2021), which uses VGG-19; RLFN uses
    `features.random_tanh()`.

    Raises ValueError for a layer that the extractor has not.
    """

    label = "contrastive"
    needs = {"negative": "the picture to keep away from: the LR one, enlarged by bicubic"}

    def __init__(self, extractor: Extractor, weights: Mapping[str, float]):
        super().__init__()
        self.look_through(extractor, weights)
        self.weights = dict(weights)
        layers = ", ".join(f"{weight:g} {layer}" for layer, weight in self.weights.items())
        self.formula = f"sum |sr - hr| / |sr - negative|, at {layers} of {self.trunk}"

    def compare(self, sr: Features, hr: Features, negative: Features) -> Tensor:
        total = torch.zeros(())
        for layer, weight in self.weights.items():
            near = mean_over_processes(feature_mean((sr[layer] - hr[layer]).abs()))
            far = mean_over_processes(feature_mean((sr[layer] - negative[layer]).abs()))
            total = total + weight * near / (far + 1e-7)
        return total
