"""The contrastive loss against its equation, with an extractor simple enough to compute by hand."""

import pytest
import torch
from torch import nn

from srkit.losses.contrastive import RANDOM_TANH, Contrastive
from srkit.metrics.features import random_tanh


class Doubling(nn.Module):
    """Features that are the picture itself and twice its square."""

    name, sha256, layers = "doubling", "0" * 64, ("same", "square")

    def forward(self, image, layers):
        found = {"same": image, "square": 2 * image**2}
        return {layer: found[layer] for layer in layers}


def test_it_is_the_equation(rng):
    """Two layers, weights 1/4 and 1: sum of weighted ratios of mean absolute differences."""
    sr, hr, negative = (torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=rng) for _ in "abc")
    value = Contrastive(Doubling(), {"same": 1 / 4, "square": 1.0})(sr, hr, negative)

    def d(a, b):
        return (a - b).abs().mean()

    expected = d(sr, hr) / (d(sr, negative) + 1e-7) / 4
    expected += d(2 * sr**2, 2 * hr**2) / (d(2 * sr**2, 2 * negative**2) + 1e-7)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def test_zero_at_the_ground_truth_and_finite_at_the_negative(rng):
    hr, negative = torch.rand(2, 1, 3, 8, 8, generator=rng)
    loss = Contrastive(Doubling(), {"same": 1.0})
    assert loss(hr, hr, negative) == 0
    assert torch.isfinite(loss(negative, hr, negative))


def test_only_the_result_gets_gradients(rng):
    sr, hr, negative = (torch.rand(1, 3, 8, 8, generator=rng).requires_grad_() for _ in "abc")
    extractor = random_tanh(8)
    Contrastive(extractor, RANDOM_TANH)(sr, hr, negative).backward()
    assert sr.grad.abs().sum() > 0
    assert hr.grad is None
    assert negative.grad is None
    assert all(p.grad is None for p in extractor.parameters())


def test_gradcheck(rng):
    sr, hr, negative = (torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=rng) for _ in "abc")
    loss = Contrastive(Doubling(), {"square": 1.0})
    assert torch.autograd.gradcheck(lambda x: loss(x, hr, negative), sr.requires_grad_())


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match=r"doubling has no layers \['relu9_1'\]; it has same, sq"):
        Contrastive(Doubling(), {"relu9_1": 1.0})
