"""Where a short training begins: a network told to hand the picture through does so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srkit.image.resize import imresize
from srkit.models.carn import CARN
from srkit.models.dbpn import DBPN
from srkit.models.edsr import EDSR
from srkit.models.esrgan import RRDBNet
from srkit.models.idn import IDN
from srkit.models.memnet import MemNet
from srkit.models.msrn import MSRN
from srkit.models.rcan import RCAN
from srkit.models.rdn import RDN
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.models.srfeat import SRFeat
from srkit.recipes import carn, dbpn, idn, memnet, msrn, rcan, rdn, srfeat
from srkit.training.enlargement import carry, hand_through, with_factors


def rlfn():
    model = RLFN(4, channels=8, blocks=1, esa=4)
    return model, model.conv_1, model.conv_2, with_factors(model.upsampler)


def rfdn():
    model = RFDN(4, channels=12, blocks=1)
    return model, model.fea_conv, model.LR_conv, with_factors(model.upsampler)


def edsr():
    model = EDSR(4, channels=8, blocks=1)
    return model, model.head[0], model.body[-1], with_factors(model.tail)


def esrgan():
    model = RRDBNet(4, channels=8, blocks=1, growth=4)
    tail = (model.upconv1, model.upconv2, model.HRconv, model.conv_last)
    return model, model.conv_first, model.trunk_conv, [(layer, 1) for layer in tail]


@pytest.mark.parametrize("make", [rlfn, rfdn, edsr, esrgan])
def test_with_all_else_silent_the_network_repeats_pixels(make, rng):
    model, head, body, tail = make()
    hand_through(head, [body], tail, quiet=0.0)
    lr = torch.rand(1, 3, 16, 16, generator=rng)
    repeated = F.interpolate(lr, scale_factor=4)
    torch.testing.assert_close(model.eval()(lr), repeated, rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", [rlfn, rfdn, edsr, esrgan])
def test_quiet_random_weights_leave_the_picture_recognisable_and_train(make, rng):
    torch.manual_seed(0)
    model, head, body, tail = make()
    hand_through(head, [body], tail)
    lr = torch.rand(1, 3, 16, 16, generator=rng)
    error = (model(lr) - F.interpolate(lr, scale_factor=4)).square().mean()
    assert error < 0.01  # 20 dB
    error.backward()
    assert all(p.grad is not None and p.grad.any() for p in body.parameters())


@pytest.mark.parametrize("factor", [2, 4])
def test_a_strided_convolution_takes_means_and_a_transposed_one_repeats(factor, rng):
    x = torch.rand(1, 3, 8, 8, generator=rng)
    down, up = nn.Conv2d(3, 5, 8, factor, 2), nn.ConvTranspose2d(3, 5, 8, factor, 2)
    carry(down)
    carry(up)
    means = F.avg_pool2d(F.pad(x, (0, 4, 0, 4)), factor)  # its window begins where the stride does
    repeated = F.interpolate(x, scale_factor=factor)
    found = down(x)[:, :3], up(x)[:, :3, : 8 * factor, : 8 * factor]
    size = found[0].shape[-1]
    torch.testing.assert_close(found[0], means[..., :size, :size])
    torch.testing.assert_close(found[1][..., : repeated.shape[-1]], repeated)


CARN_S = {"heads": (2, 3, 4), "channels": 16}
DBPN_S = {"channels": 8, "features": 16, "stages": 2}
IDN_S = {"channels": 16, "keep": 4, "step": 4, "blocks": 2}
NOTHING = {"contiguous": False, "local_residual": False, "global_fusion": False}
STARTS = {
    "msrn": (msrn, lambda: MSRN(2, channels=8, blocks=2)),
    "msrn, no fusion": (msrn, lambda: MSRN(2, channels=8, blocks=2, fusion=False)),
    "carn": (carn, lambda: CARN(3, **CARN_S)),
    "carn, no cascades": (carn, lambda: CARN(2, **CARN_S, local=False, across=False)),
    "carn-m": (carn, lambda: CARN(4, **CARN_S, mobile=True, groups=4)),
    "dbpn": (dbpn, lambda: DBPN(4, **DBPN_S)),
    "dbpn, last map": (dbpn, lambda: DBPN(4, **DBPN_S, last_only=True)),
    "dbpn, plain": (dbpn, lambda: DBPN(4, **DBPN_S, dense=False, colours=1)),
    "idn": (idn, lambda: IDN(2, **IDN_S)),
    "idn, no bicubic": (idn, lambda: IDN(2, **IDN_S, bicubic=False)),
    "rcan": (rcan, lambda: RCAN(2, channels=32, groups=2, blocks=2, reduction=4)),
    "rdn": (rdn, lambda: RDN(3, channels=8, growth=4, blocks=3, layers=2)),
    "rdn, no parts": (rdn, lambda: RDN(2, channels=8, growth=4, blocks=3, layers=2, **NOTHING)),
    "srfeat": (srfeat, lambda: SRFeat(4, channels=8, blocks=2)),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_network_of_a_paper_starts_as_an_enlargement_and_all_of_it_learns(name):
    torch.manual_seed(0)
    recipe, make = STARTS[name]
    model = make()
    lr = F.interpolate(torch.rand(1, 3, 4, 4), scale_factor=4, mode="bilinear")  # as smooth ones
    repeated = F.interpolate(lr, scale_factor=model.scale)
    before = (model(lr) - repeated).square().mean()
    recipe.begin_as_enlargement(model)
    error = (model(lr) - repeated).square().mean()
    assert error < min(0.015 if name.startswith("carn") else 0.003, before / 3)  # 25 dB
    error.backward()
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    still = [name for name, p in learned if p.grad is None or not p.grad.any()]
    assert not [name for name in still if not name.startswith("upsample.")]  # CARN's other heads


def test_memnet_starts_as_bicubic_in_training_too():
    """Batch norm undoes what comes before it, so it is the layer behind it that is quiet."""
    torch.manual_seed(0)
    model = MemNet(3, channels=8, blocks=2, recursions=2)
    lr = torch.rand(2, 3, 8, 8)
    bicubic = imresize(lr, 3)
    before = (model(lr) - bicubic).square().mean()
    memnet.begin_as_bicubic(model)
    assert (model(lr) - bicubic).square().mean() < 5e-4 < 1e-2 < before
