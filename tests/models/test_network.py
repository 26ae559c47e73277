"""What srkit asks of a network, and a module of one's own that gets it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srkit import as_model
from srkit.models.counting import count
from srkit.models.network import Network, check_network
from srkit.models.rlfn import RLFN


class Double(Network):
    def __init__(self, width: int, *, bias: bool = True):
        super().__init__()
        self.name, self.scale = "double", 2
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=bias),
            nn.Conv2d(width, 12, 3, padding=1, bias=bias),
            nn.PixelShuffle(2),
        )

    def forward(self, lr: Tensor) -> Tensor:
        return self.layers(lr)


def test_a_network_remembers_how_it_was_made():
    assert Double(8).arguments == {"width": 8, "bias": True}
    assert Double(width=4, bias=False).arguments == {"width": 4, "bias": False}

    class Wide(Double):
        def __init__(self):
            super().__init__(64)

    class Same(Double):
        pass

    class Bare(Network):
        name, scale = "bare", 1

    assert Wide().arguments == Bare().arguments == {}
    assert Same(8).arguments == {"width": 8, "bias": True}


def test_a_wrapped_module_says_what_it_was_told(rng):
    net = Double(8).layers
    model = as_model(net, scale=2, name="mine", tiling="approximate", min_size=4)
    assert (model.name, model.scale, model.tiling, model.min_size) == ("mine", 2, "approximate", 4)
    assert as_model(net, scale=2).name == "Sequential"
    assert check_network(model) is model
    lr = torch.rand(1, 3, 5, 6, generator=rng)
    assert torch.equal(model(lr), net(lr))
    own = Double(8)
    assert as_model(own, scale=2) is own


@pytest.mark.parametrize(
    ("net", "scale", "error", "words"),
    [
        (nn.Identity(), 0, ValueError, "scale 0, expected a whole number from 1"),
        (nn.Identity(), 2.0, ValueError, r"scale 2\.0, expected a whole number from 1"),
        (torch.relu, 2, TypeError, "is no torch.nn.Module"),
        (Double(4), 3, ValueError, "double enlarges by 2, not by 3"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(net, scale, error, words):
    with pytest.raises(error, match=words):
        as_model(net, scale=scale)


def test_a_wrapped_module_costs_what_the_network_in_it_costs():
    net = RLFN(4, channels=8, blocks=1, esa=4)
    own, wrapped = count(net, (16, 16)), count(as_model(nn.Sequential(net), scale=4), (16, 16))
    assert own == wrapped
    assert own.macs > 0
    with pytest.raises(
        TypeError, match=r"Sequential does not say .*srkit\.as_model\(net, scale=4\)"
    ):
        count(nn.Sequential(net))
