"""Taps: what they return is what flows, by the names there are, and nothing of them stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srkit.models.taps import taps
from srkit.models.ttsr import TTSR


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.conv(x))


class Net(nn.Module):
    """Two blocks, the second one called twice, and a head that gives a pair."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.ModuleList([Block(), Block()])
        self.head = nn.LSTM(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for i in (0, 1, 1):
            x = self.body[i](x)
        return self.head(x.mean(3).permute(2, 0, 1))[0]


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.fixture
def x(rng):
    return torch.randn(1, 4, 5, 6, generator=rng)


def test_a_tap_is_what_the_module_gives(x):
    net = Net()
    with taps(net, ["body.0", "body.0.conv"]) as seen:
        bare = net(x)
    assert list(seen) == ["body.0.conv", "body.0"]
    conv = nn.functional.conv2d(x, net.body[0].conv.weight, net.body[0].conv.bias, padding=1)
    assert (conv < 0).any()  # the in-place ReLU after it has not spoiled the copy
    assert torch.allclose(seen["body.0.conv"], conv, atol=1e-6)
    assert torch.allclose(seen["body.0"], x + conv.relu(), atol=1e-6)
    assert torch.equal(net(x), bare)


def test_a_star_stays_between_dots(x):
    net = Net()
    with taps(net, "body.*") as seen:
        net(x)
    assert set(seen) == {"body.0", "body.1", "body.1@2"}
    with taps(net, ["body.*.conv", "he?d"]) as seen:
        net(x)
    assert set(seen) == {"body.0.conv", "body.1.conv", "body.1.conv@2", "head"}


def test_calls_of_one_pass_are_numbered_and_the_next_pass_starts_anew(x):
    net = Net()
    with taps(net, "body.1") as seen:
        net(x)
        first, second = seen["body.1"], seen["body.1@2"]
        assert torch.allclose(net.body[1](first), second, atol=1e-6)
        net(2 * x)
    assert set(seen) == {"body.1", "body.1@2"}
    assert not torch.equal(seen["body.1"], first)


def test_pairs_are_kept_whole(x):
    with taps(Net(), "head") as seen, torch.no_grad():
        out = Net()(x)
        assert seen == {}  # another network's pass
    net = Net()
    with taps(net, "head") as seen:
        out = net(x)
    whole, (hidden, _cell) = seen["head"]
    assert torch.equal(whole, out)
    assert torch.allclose(hidden, out[-1:])


def test_gradients_flow_from_a_tap(x):
    net = Net()
    with taps(net, "body.0") as seen:
        net(x)
    seen["body.0"].square().sum().backward()
    assert net.body[0].conv.weight.grad.abs().sum() > 0
    assert net.body[1].conv.weight.grad is None


def test_no_hook_stays_not_even_after_an_error(x):
    net = Net()
    with taps(net, "body.*"):
        assert hooks(net) == 3
    assert hooks(net) == 0
    with pytest.raises(RuntimeError, match="channels"), taps(net, "body.*"):
        net(x[:, :2])
    assert hooks(net) == 0


def test_an_unknown_name_is_answered_with_those_there_are():
    net = Net()
    with pytest.raises(ValueError, match=r"Net is named 'bodi'\. There are: body, body\.\*, body"):
        taps(net, ["body.0", "bodi"]).__enter__()
    assert hooks(net) == 0
    with pytest.raises(ValueError, match=r"of Net is named 'body\.2'"), taps(net, "body.2"):
        pass


def test_a_network_of_the_package_is_looked_into(rng):
    """TTSR's extractor runs three times: for the picture, the blurred and the sharp reference."""
    network = TTSR(channels=8, blocks=(1, 1, 1, 1), textures=(4, 6, 8)).eval()
    with taps(network, ["LTE", "MainNet.RB1?", "MainNet.ex12"]) as seen, torch.no_grad():
        network(torch.rand(1, 3, 5, 6, generator=rng), torch.rand(1, 3, 16, 24, generator=rng))
    assert list(seen) == ["LTE", "LTE@2", "LTE@3", "MainNet.RB11", "MainNet.ex12"]
    assert [len(level) for level in (seen["LTE"], seen["MainNet.ex12"])] == [3, 2]
    assert seen["LTE@3"][2].shape == (1, 8, 4, 6)
