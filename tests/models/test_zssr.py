"""ZSSR's network: the bicubic picture and what is added to it."""

from __future__ import annotations

import pytest
import torch

from srkit.image.resize import imresize
from srkit.models.zssr import ZSSR


@pytest.mark.parametrize("scale", [2, 3])
def test_without_weights_it_is_bicubic(scale, rng):
    model, lr = ZSSR(scale), torch.rand(1, 3, 9, 7, generator=rng)
    for layer in model.convs:
        torch.nn.init.zeros_(layer.weight)
    with torch.no_grad():
        assert torch.equal(model(lr), imresize(lr, scale, border="mirror"))


def test_it_refines_a_picture_of_any_size(rng):
    """Steps of the gradual scheme are not whole, nor equal on both axes."""
    model, lr = ZSSR(2, channels=16, depth=4), torch.rand(1, 3, 10, 8, generator=rng)
    assert model.refine(imresize(lr, size=(15, 16))).shape == (1, 3, 15, 16)
    assert torch.equal(model(lr), model.refine(imresize(lr, 2, border="mirror")))


def test_it_starts_near_the_bicubic_picture(rng):
    torch.manual_seed(0)
    model = ZSSR()
    for layer in model.convs:
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(
            (0.1 / (9 * layer.in_channels)) ** 0.5, rel=0.1
        )
    x = torch.rand(1, 3, 16, 16, generator=rng)
    with torch.no_grad():
        assert (model.refine(x) - x).abs().max() < 0.01
