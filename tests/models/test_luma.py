"""Networks that work on Y: what becomes of an RGB picture, the same for all of them."""

import pytest
import torch

from srkit.image.colour import to_y
from srkit.image.resize import imresize
from srkit.models.dbpn import DBPN
from srkit.models.idn import IDN
from srkit.models.lapsrn import LapSRN
from srkit.models.layers import LumaNetwork
from srkit.models.memnet import MemNet
from srkit.models.msrn import MSRN2018
from srkit.models.srcnn import SRCNN
from srkit.models.vdsr import VDSR

NETWORKS = {
    "srcnn": lambda: SRCNN(3),
    "vdsr": lambda: VDSR(2, channels=4, depth=4),
    "lapsrn": lambda: LapSRN(4, channels=4, depth=2),
    "idn": lambda: IDN(2, channels=16, keep=4, step=4, blocks=2),
    "msrn2018": lambda: MSRN2018(3, channels=4, blocks=2),
    "memnet": lambda: MemNet(3, channels=4, blocks=2, recursions=2),
    "dbpn": lambda: DBPN(2, channels=4, features=4, stages=2, colours=1),
    "dbpn-res": lambda: DBPN(2, channels=4, features=4, stages=2, colours=1, residual=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_changes_y_and_leaves_the_colours_to_bicubic(name, rng):
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    lr = torch.rand(1, 3, 7, 5, generator=rng, dtype=torch.float64)
    up = imresize(lr, model.scale)
    with torch.no_grad():
        sr = model(lr)
        if isinstance(model, MemNet):
            y = model.luma(to_y(up))[-1]
        elif isinstance(model, DBPN):
            y = model.network(to_y(lr))
        else:
            assert isinstance(model, LumaNetwork)
            y = model.luma(to_y(lr))
    size = y.abs().max()
    assert (to_y(sr) - y).abs().max() < 1e-12 * size
    assert (y - to_y(up)).abs().max() > 1e-3  # there is a change to speak of
    for a, b in ((0, 1), (1, 2)):  # equal differences of channels are equal Cb and Cr
        assert ((sr[:, a] - sr[:, b]) - (up[:, a] - up[:, b])).abs().max() < 1e-12 * size


def test_a_network_of_y_without_luma_says_so(rng):
    class Nothing(LumaNetwork):
        name, scale = "nothing", 2

    with pytest.raises(NotImplementedError, match=r"Nothing has no luma\(y\)"):
        Nothing()(torch.rand(1, 3, 4, 4, generator=rng))
