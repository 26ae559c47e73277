"""Small networks of every class in the zoo: quick to build, and with arguments of their own."""

from __future__ import annotations

import torch

from srkit.calls import Call
from srkit.models.carn import CARN, PCARN
from srkit.models.ciplab import RRDBNetx4x4
from srkit.models.dbpn import DBPN
from srkit.models.edsr import EDSR
from srkit.models.enhancenet import EnhanceNet
from srkit.models.esrgan import RRDBNet
from srkit.models.idn import IDN
from srkit.models.imdn import IMDN
from srkit.models.lapsrn import LapSRN
from srkit.models.memnet import MemNet
from srkit.models.msrn import MSRN, MSRN2018
from srkit.models.rcan import RCAN
from srkit.models.rdn import RDN, IdealoRDN
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.models.sftgan import SFTGAN
from srkit.models.srcnn import SRCNN
from srkit.models.srfeat import SRFeat
from srkit.models.srresnet import MSRResNet, SRGANPort, SRResNet
from srkit.models.ttsr import TTSR
from srkit.models.vdsr import VDSR
from srkit.models.zssr import ZSSR

# fmt: off
SMALL = (  # one of each class, as the papers have them but for the size
    Call(RLFN, scale=4, channels=24, blocks=4, esa=8),
    Call(RFDN, scale=4, channels=24, blocks=4, attention="esa"),
    Call(IMDN, scale=2, channels=16, blocks=2),
    Call(EDSR, scale=2, channels=8, blocks=2),
    Call(MemNet, scale=4, channels=32, blocks=3, recursions=3),
    Call(DBPN, scale=4, channels=18, features=64, stages=3),
    Call(RDN, scale=2, channels=32, growth=16, blocks=4, layers=3),
    Call(IdealoRDN, scale=2, channels=16, growth=8, blocks=2, layers=2),
    Call(RCAN, scale=2, channels=16, groups=2, blocks=3, reduction=4),
    Call(MSRN, scale=2, channels=16, blocks=4),
    Call(MSRN2018, scale=2, channels=8, blocks=2),
    Call(SRResNet, scale=4, channels=32, blocks=6),
    Call(SRGANPort, scale=4, channels=16, blocks=2),
    Call(MSRResNet, scale=4, channels=32, blocks=6),
    Call(SRFeat, scale=4, channels=32, blocks=6),
    Call(RRDBNet, scale=4, channels=16, blocks=4, growth=8),
    Call(RRDBNetx4x4, scale=16, channels=16, blocks=3, growth=8),
    Call(SFTGAN, scale=4, channels=32, blocks=4, conditions=16, width=32, classes=5),
    Call(TTSR, scale=4, channels=24, blocks=(2, 2, 1, 1), textures=(16, 32, 64)),
    Call(IDN, scale=2, channels=32, keep=8, step=8, blocks=3),
    Call(CARN, scale=2, channels=24),
    Call(PCARN, scale=2, channels=24),
    Call(EnhanceNet, scale=4, channels=32, blocks=4),
    Call(ZSSR, scale=2, channels=32, depth=6),
    Call(SRCNN, scale=2),
    Call(VDSR, scale=2, channels=16, depth=5),
    Call(LapSRN, scale=2, channels=16, depth=3),
)

# With every switch that a constructor has, most of which no shape shows.
SWITCHED = (
    Call(RLFN, scale=2, channels=12, mid=8, blocks=2, esa=4, rgb_range=1.0),
    Call(RLFN, scale=3, channels=8, blocks=1, esa=4, block="RFDBR"),
    Call(RFDN, scale=3, channels=12, blocks=2, shortcut=False, rgb_range=1.0),
    Call(IMDN, scale=3, channels=16, blocks=2, rgb_range=255.0),
    Call(EDSR, scale=3, channels=8, blocks=2, res_scale=0.1, rgb_range=1.0),
    Call(MemNet, scale=3, channels=4, blocks=2, recursions=1, supervised=False, short_term=False),
    Call(MemNet, scale=3, channels=4, blocks=2, recursions=2, long_term=False, shared=False),
    Call(DBPN, scale=2, channels=4, features=8, stages=3, feedback=False, residual=True),
    Call(DBPN, scale=4, channels=4, features=8, stages=2, dense=False, colours=1, rounds=2),
    Call(DBPN, scale=8, channels=4, features=8, stages=2, last_only=True, checkpointing=True),
    Call(RDN, scale=3, channels=8, growth=4, blocks=2, layers=2, up=4, local_residual=False),
    Call(RDN, scale=4, channels=4, growth=4, blocks=2, layers=2, contiguous=False,
        global_fusion=False, rgb_range=1.0),
    Call(IdealoRDN, scale=3, channels=8, growth=4, blocks=1, layers=1),
    Call(RCAN, scale=3, channels=8, groups=2, blocks=1, reduction=2, long_skip=False),
    Call(RCAN, scale=4, channels=8, groups=2, blocks=1, reduction=2, short_skip=False,
        attention=False, rgb_range=1.0),
    Call(MSRN, scale=3, channels=4, blocks=2, wide=3, fusion=False, rgb_range=1.0),
    Call(MSRN2018, scale=3, channels=4, blocks=1),
    Call(SRResNet, scale=4, channels=8, blocks=1, channel_slopes=True, trunk_bias=False),
    Call(SRGANPort, scale=2, channels=8, blocks=1),
    Call(MSRResNet, scale=3, channels=8, blocks=1),
    Call(SRFeat, scale=4, channels=8, blocks=3, long_skips=False),
    Call(RRDBNet, scale=2, channels=8, blocks=1, growth=4, scaling=0.5, batch_norm=True),
    Call(RRDBNetx4x4, scale=16, channels=4, blocks=1, growth=2),
    Call(SFTGAN, scale=4, channels=8, blocks=1, conditions=4, width=8, classes=3, by="film"),
    Call(SFTGAN, scale=4, channels=8, blocks=1, conditions=4, width=8, retrained=True),
    Call(SFTGAN, scale=4, channels=8, blocks=1, by="concat"),
    Call(TTSR, scale=4, channels=8, blocks=(1, 2, 1, 1), textures=(4, 8, 8), even_borders=True),
    Call(TTSR, scale=4, channels=8, blocks=(1, 1, 1, 1), textures=(4, 8, 8), variant="hard"),
    Call(TTSR, scale=4, channels=8, blocks=(1, 1, 1, 1), textures=(4, 8, 8), variant="base"),
    Call(IDN, scale=3, channels=16, keep=4, step=4, blocks=1, groups=2, bicubic=False),
    Call(CARN, scale=3, heads=(2, 3, 4), channels=8, groups=2, mobile=True, local=False),
    Call(CARN, scale=4, channels=8, across=False),
    Call(PCARN, scale=3, heads=(2, 3, 4), channels=8, groups=2, mobile=True),
    Call(EnhanceNet, scale=8, channels=8, blocks=1, skip="tensorflow1"),
    Call(ZSSR, scale=3, channels=8, depth=3),
    Call(SRCNN, scale=3, kernels=(9, 1, 5)),
    Call(VDSR, scale=4, channels=8, depth=3),
    Call(LapSRN, scale=8, channels=8, depth=2),
)
# fmt: on


def same(a, b):
    """Whether two networks have the same tensors, bit for bit."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
