"""Every network computes what it computed when it was compared with its authors' arrays.

Those are research data, and seldom at hand; three numbers of each small network always are.
"""

import math
from zlib import crc32

import pytest
import torch
from small import SMALL, SWITCHED
from torch import Tensor

from srkit.calls import Call
from srkit.models import ciplab, enhancenet, esrgan, sftgan, srfeat, srresnet, ttsr
from srkit.models.ttsr import TTSR

CALLS = [*SMALL, *SWITCHED]
JUDGES = [  # and the side of the picture that they judge
    (Call(srresnet.Discriminator, size=32, channels=4, hidden=8), 32),
    (Call(enhancenet.Discriminator, size=32, channels=(4, 8, 8)), 32),
    (Call(esrgan.VGGDiscriminator, size=32, channels=4), 32),
    (Call(ciplab.UNetDiscriminator, channels=(4, 6, 8)), 32),
    (Call(sftgan.Discriminator, size=32, width=4, classes=3), 32),
    (Call(srfeat.ImageDiscriminator, size=32, channels=4, stages=2, hidden=8), 32),
    (Call(srfeat.ImageDiscriminator, size=None, channels=4, stages=2, hidden=8), 40),
    (Call(ttsr.Discriminator, size=32), 32),
]
# Of each answer: the mean, the deviation, and how much of a wave is in it.
ANSWERS = [
    (0.042538, 0.68067, 0.095764),  # RLFN
    (-0.12578, 0.66855, -0.013161),  # RFDN
    (-0.18172, 0.51279, -0.065253),  # IMDN
    (-0.032423, 0.45863, 0.24277),  # EDSR
    (-0.10601, 0.21726, -0.0017817),  # MemNet
    (0.022095, 0.14779, 0.008595),  # DBPN
    (0.43858, 1.1661, 0.044431),  # RDN
    (0.10116, 0.30724, 0.025354),  # IdealoRDN
    (-0.10773, 0.88374, 0.58437),  # RCAN
    (0.063335, 1.0222, 0.28828),  # MSRN
    (-0.23368, 0.47235, -0.043203),  # MSRN2018
    (0.56102, 1.4913, 0.92279),  # SRResNet
    (0.4637, 0.26515, -0.098916),  # SRGANPort
    (0.7588, 0.65288, -0.040164),  # MSRResNet
    (0.96169, 0.67884, 0.26695),  # SRFeat
    (0.71922, 0.86211, 0.018074),  # RRDBNet
    (-0.30227, 0.41948, -0.0017282),  # RRDBNetx4x4
    (-0.23857, 0.15791, -0.00048747),  # SFTGAN
    (0.7549, 0.3218, 0.053068),  # TTSR
    (0.53912, 0.67225, 0.00086039),  # IDN
    (0.035607, 0.12226, 0.057746),  # CARN
    (0.068385, 0.29114, -0.0086322),  # PCARN
    (0.53058, 0.26894, 0.020545),  # EnhanceNet
    (0.46097, 0.24002, -0.0088787),  # ZSSR
    (0.12725, 0.22731, -0.019158),  # SRCNN
    (0.61979, 0.23926, -0.0042753),  # VDSR
    (0.058778, 0.38231, -0.012525),  # LapSRN
    (0.088832, 0.58332, 0.19338),  # RLFN
    (0.020424, 0.95112, -0.33474),  # RLFN
    (-0.080215, 0.52319, -0.15299),  # RFDN
    (-0.11979, 0.53189, 0.042019),  # IMDN
    (-0.23738, 0.49102, -0.21738),  # EDSR
    (0.56601, 0.23947, 0.0078611),  # MemNet
    (-0.05917, 0.21526, 0.0081972),  # MemNet
    (0.52408, 0.37221, -0.010638),  # DBPN
    (-0.18883, 0.24667, -0.0025425),  # DBPN
    (0.074162, 0.091487, -0.002338),  # DBPN
    (-0.023972, 0.6782, -0.26171),  # RDN
    (-0.22696, 0.77101, -0.08063),  # RDN
    (0.27059, 0.27763, -0.052214),  # IdealoRDN
    (-0.047808, 0.59819, -0.044236),  # RCAN
    (-0.24544, 0.64085, 0.048241),  # RCAN
    (-0.30632, 0.74109, 0.49038),  # MSRN
    (-0.1605, 0.49741, 0.012852),  # MSRN2018
    (0.47979, 0.31774, 0.037658),  # SRResNet
    (0.50762, 0.23281, 0.10556),  # SRGANPort
    (0.40284, 0.32177, -0.046455),  # MSRResNet
    (0.45826, 0.16924, 0.073548),  # SRFeat
    (-0.53161, 1.0788, 0.0088668),  # RRDBNet
    (-0.053894, 0.17668, 0.0029573),  # RRDBNetx4x4
    (-0.063162, 0.20963, 0.017995),  # SFTGAN
    (-0.086402, 0.31391, -0.019434),  # SFTGAN
    (0.0053846, 0.26279, 0.01696),  # SFTGAN
    (0.50939, 0.25282, 0.045123),  # TTSR
    (0.627, 0.27127, -0.1892),  # TTSR
    (0.59302, 0.25007, -0.28459),  # TTSR
    (0.075981, 0.60837, 0.0088377),  # IDN
    (0.012333, 0.26023, 0.0041904),  # CARN
    (0.031101, 0.045883, 0.0019443),  # CARN
    (-0.063357, 0.25835, -0.072213),  # PCARN
    (0.43627, 0.25521, 0.0096546),  # EnhanceNet
    (0.56652, 0.25647, -0.012728),  # ZSSR
    (0.62424, 0.26839, 0.0075439),  # SRCNN
    (0.18826, 0.25444, 0.0001976),  # VDSR
    (-0.062991, 0.2816, 0.0074523),  # LapSRN
]


def drawn(name, tensor):
    """A tensor by its name alone: kernels keep the size of what they are given, the rest is near
    0, or near 1 where it multiplies."""
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(crc32(name.encode())))
    if tensor.ndim > 1:
        return noise / math.sqrt(tensor[0].numel())
    around = name.endswith(("running_var", "weight"))
    return around + 0.1 * (noise.abs() if name.endswith("running_var") else noise)


def filled(call):
    torch.manual_seed(0)
    model = call().eval()
    state = model.state_dict()
    floats = {
        name: drawn(name, t) for name, t in state.items()
        if t.is_floating_point() and not name.endswith(("_u", "_v"))  # of a spectral norm
    }  # fmt: skip
    model.load_state_dict(state | floats)
    return model


def told(answer):
    parts = answer if isinstance(answer, tuple) else (answer,)
    x = torch.cat([part.flatten().double() for part in parts if isinstance(part, Tensor)])
    wave = torch.sin(1.7 * torch.arange(len(x), dtype=torch.float64))
    return x.mean().item(), x.std().item(), (x * wave).sum().item() / len(x) ** 0.5


def answer(call):
    model, rng = filled(call), torch.Generator().manual_seed(1)
    lr, ref = torch.rand(1, 3, 16, 17, generator=rng), torch.rand(1, 3, 64, 68, generator=rng)
    given = (lr, ref) if isinstance(model, TTSR) and model.variant != "base" else (lr,)
    with torch.inference_mode():
        return told(model(*given))


def verdict(call, side):
    picture = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return told(filled(call)(picture))


@pytest.mark.parametrize(("call", "numbers"), [*zip(CALLS, ANSWERS, strict=True)], ids=str)
def test_the_answer_is_the_one_it_was(call, numbers):
    assert answer(call) == pytest.approx(numbers, rel=1e-3, abs=1e-3 * numbers[1])


VERDICTS = [
    (0.034542, 0.0046532, -0.0022309),  # srresnet Discriminator
    (-0.036885, 0.010391, 0.013074),  # enhancenet Discriminator
    (0.14029, 0.0087712, -0.013084),  # esrgan VGGDiscriminator
    (0.057472, 0.024914, -0.0044623),  # ciplab UNetDiscriminator
    (0.032548, 0.10898, 0.073094),  # sftgan Discriminator
    (-0.062899, 0.019113, 0.027356),  # srfeat ImageDiscriminator
    (0.15277, 0.082309, 0.016542),  # srfeat ImageDiscriminator
    (-0.057959, 0.0032829, 0.0065531),  # ttsr Discriminator
]


@pytest.mark.parametrize(
    ("call", "side", "numbers"),
    [(*judge, numbers) for judge, numbers in zip(JUDGES, VERDICTS, strict=True)],
    ids=lambda value: str(value) if isinstance(value, Call) else "",
)
def test_the_verdict_is_the_one_it_was(call, side, numbers):
    assert verdict(call, side) == pytest.approx(numbers, rel=1e-3, abs=1e-3 * numbers[1])
