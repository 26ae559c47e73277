"""Where a short training begins: a network told to hand the picture through does so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srkit.models.edsr import EDSR
from srkit.models.esrgan import RRDBNet
from srkit.models.rlfn import RLFN
from srkit.training.starts import hand_through


def rlfn():
    model = RLFN(4, channels=8, blocks=1, esa=4)
    return model, model.conv_1, model.conv_2, [(model.upsampler[0], 4)]


def edsr():
    model = EDSR(4, channels=8, blocks=1)
    ups, last = model.tail
    tail = [*((layer, 2) for layer in ups if isinstance(layer, nn.Conv2d)), (last, 1)]
    return model, model.head[0], model.body[-1], tail


def esrgan():
    model = RRDBNet(4, channels=8, blocks=1, growth=4)
    tail = (model.upconv1, model.upconv2, model.HRconv, model.conv_last)
    return model, model.conv_first, model.trunk_conv, [(layer, 1) for layer in tail]


@pytest.mark.parametrize("make", [rlfn, edsr, esrgan])
def test_with_all_else_silent_the_network_repeats_pixels(make, rng):
    model, head, body, tail = make()
    hand_through(head, body, tail, quiet=0.0)
    lr = torch.rand(1, 3, 16, 16, generator=rng)
    repeated = F.interpolate(lr, scale_factor=4)
    torch.testing.assert_close(model.eval()(lr), repeated, rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", [rlfn, edsr, esrgan])
def test_quiet_random_weights_leave_the_picture_recognisable_and_train(make, rng):
    torch.manual_seed(0)
    model, head, body, tail = make()
    hand_through(head, body, tail)
    lr = torch.rand(1, 3, 16, 16, generator=rng)
    error = (model(lr) - F.interpolate(lr, scale_factor=4)).square().mean()
    assert error < 0.01  # 20 dB
    error.backward()
    assert all(p.grad is not None and p.grad.any() for p in body.parameters())
