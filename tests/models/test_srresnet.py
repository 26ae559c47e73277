"""SRResNet, MSRResNet and SRGAN's discriminator: sizes, the paper's facts, BasicSR's own answer."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from oracle import relative_error
from torch import nn
from torch.nn import functional as F

from srkit.models.srresnet import Discriminator, MSRResNet, SRGANPort, SRResNet


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_msrresnet_answers_as_basicsr(assets):
    folder = assets("oracles/msrresnet_x4.npz").parent
    assert relative_error(MSRResNet(4), folder, "msrresnet_x4") < 1e-5


def before_batch_norm(network: nn.Module) -> list[nn.Conv2d]:
    return [a for a, b in pairwise(network.modules()) if isinstance(b, nn.BatchNorm2d)]


def test_batch_norm_cancels_the_biases_before_it(rng):
    """Why it doesn't matter that the paper is silent on them."""
    torch.manual_seed(0)
    network, x = SRResNet(channels=8, blocks=2).train(), torch.rand(2, 3, 9, 7, generator=rng)
    with torch.no_grad():
        sr = network(x)
        for layer in before_batch_norm(network):
            layer.bias += 3
        assert (network(x) - sr).abs().max() < 1e-4
    paper = SRResNet()
    idle = sum(layer.bias.numel() for layer in before_batch_norm(paper))
    assert (parameters(paper), parameters(paper) - idle) == (1_549_462, 1_547_350)


def test_srresnet_makes_minus_one_to_one_inside():
    """A last convolution of zeros is the middle of [-1, 1]: grey 0.5 outside."""
    network = SRResNet(2, channels=4, blocks=1)
    nn.init.zeros_(network.tail[-1].weight)
    nn.init.constant_(network.tail[-1].bias, 0.5)
    assert network(torch.rand(1, 3, 5, 6)).detach().unique().tolist() == [0.75]


def test_slopes_and_biases_are_as_many_as_asked_for():
    plain, other = (
        SRResNet(channels=8, blocks=2),
        SRResNet(channels=8, blocks=2, channel_slopes=True, trunk_bias=False),
    )
    slopes = [m for m in plain.modules() if isinstance(m, nn.PReLU)]
    assert [m.num_parameters for m in other.modules() if isinstance(m, nn.PReLU)] == [8] * 5
    assert len(slopes) == 5
    assert all(layer.bias is None for layer in before_batch_norm(other))
    assert len(before_batch_norm(other)) == 5
    assert parameters(other) == parameters(plain) + 5 * 7 - 5 * 8


def test_the_port_ends_in_prelu_and_tanh(rng):
    torch.manual_seed(0)
    port, lr = SRGANPort(channels=8, blocks=2).eval(), torch.rand(1, 3, 6, 5, generator=rng)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in port.modules()) == 2 * 2
    assert isinstance(port.body[-1], nn.PReLU)
    with torch.no_grad():
        port.tail[-2].bias += 100
        assert port(lr).unique().tolist() == [1.0]  # (tanh(y) + 1) / 2
        port.tail[-2].bias -= 200
        assert port(lr).unique().tolist() == [0.0]


@pytest.mark.parametrize(("scale", "last"), [(2, "tail.3"), (4, "tail.6")])
def test_the_port_s_names_become_ours(scale, last):
    """Two blocks: block1 is the head, block4 ends the trunk, block5 the network."""
    ours = {
        "block1.0.weight": "head.0.weight",
        "block1.1.weight": "head.1.weight",
        "block2.conv1.bias": "body.0.body.0.bias",
        "block2.bn1.running_mean": "body.0.body.1.running_mean",
        "block3.prelu.weight": "body.1.body.2.weight",
        "block3.conv2.weight": "body.1.body.3.weight",
        "block3.bn2.num_batches_tracked": "body.1.body.4.num_batches_tracked",
        "block4.0.weight": "body.2.weight",
        "block4.1.weight": "body.3.weight",
        "block5.0.conv.weight": "tail.0.weight",
        "block5.0.prelu.weight": "tail.2.weight",
        f"block5.{scale // 2}.bias": f"{last}.bias",
    }
    state = SRGANPort(scale, channels=4, blocks=2).state_dict()
    back = SRGANPort.from_authors({theirs: state[name] for theirs, name in ours.items()}, scale)
    assert list(back) == list(ours.values())
    assert all(back[name] is state[name] for name in back)
    assert SRGANPort.from_authors(state, scale) is state


def test_msrresnet_starts_near_the_bilinear_picture(rng):
    torch.manual_seed(0)
    x = torch.rand(1, 3, 12, 12, generator=rng)
    for scale in (2, 3, 4):
        base = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        with torch.no_grad():
            assert (MSRResNet(scale)(x) - base).abs().max() < 0.01


@pytest.mark.parametrize(
    ("kwargs", "count"),
    [
        ({"size": 96}, 23_565_505),
        ({"size": 128}, 38_245_569),
        ({"size": 96, "channels": 12, "hidden": 64}, 387_285),
    ],
)
def test_discriminator_has_the_size_of_the_paper(kwargs, count):
    with torch.device("meta"):
        assert parameters(Discriminator(**kwargs)) == count


def test_every_part_of_the_discriminator_learns():
    discriminator = Discriminator(36, channels=4, hidden=8)  # 36 is halved to 18, 9, 5, 3
    logits = discriminator(torch.rand(2, 3, 36, 36))
    assert logits.shape == (2, 1)
    logits.sum().backward()
    assert all(p.grad is not None for p in discriminator.parameters())


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match=r"scale 3: SRResNet doubles, so 2, 4 .* or 8"):
        SRResNet(3)
    with pytest.raises(ValueError, match="scale 8: MSRResNet has 2, 3 and 4"):
        MSRResNet(8)
    discriminator = Discriminator(32, channels=2, hidden=4)
    with pytest.raises(ValueError, match="built for 32x32 pixels, got 32x48: crop"):
        discriminator(torch.rand(1, 3, 32, 48))
