"""SRCNN, VDSR and LapSRN: networks of Y, and the authors' weights."""

from __future__ import annotations

import pytest
import torch

from srkit.datasets.catalog import pairs
from srkit.image.resize import imresize
from srkit.metrics.evaluate import evaluate
from srkit.models.counting import count
from srkit.models.lapsrn import LapSRN
from srkit.models.srcnn import SRCNN
from srkit.models.vdsr import VDSR
from srkit.weights.load import create_model, load_checkpoint


def test_vdsr_without_its_last_layer_is_bicubic(rng):
    model, lr = VDSR(3, depth=4), torch.rand(1, 3, 6, 7, generator=rng)
    torch.nn.init.zeros_(model.convs[-1].weight)
    with torch.no_grad():
        assert torch.allclose(model(lr), imresize(lr, 3), atol=1e-6)


def test_lapsrn_gives_every_level(rng):
    model, y = LapSRN(8, channels=8, depth=2), torch.rand(1, 1, 5, 6, generator=rng)
    assert [tuple(x.shape[2:]) for x in model.pyramid(y)] == [(10, 12), (20, 24), (40, 48)]
    assert torch.equal(model.luma(y), model.pyramid(y)[-1])


def test_costs_are_those_of_the_tables():
    """Multiply-adds for a picture of 1280x720."""
    for model, macs in ((SRCNN(2), 52.7), (VDSR(2), 612.6)):
        per_pixel = count(model, lr_size=(16, 16)).macs / 32**2
        assert per_pixel * 1280 * 720 / 1e9 == pytest.approx(macs, abs=0.05)
    assert sum(p.numel() for p in SRCNN(kernels=(9, 1, 5)).parameters()) == 8_129


@pytest.mark.parametrize(
    ("name", "psnr"),
    # The whole of Set5 gives 37.532, 33.671, 31.349 (VDSR) and 31.523; VDSR's paper prints 37.53,
    # 33.66, 31.35, LapSRN's 31.54.
    [("vdsr_x4", 27.284), ("lapsrn_x4", 27.196)],
)
def test_authors_weights_on_butterfly(assets, official, name, psnr):
    model = official(name)

    @torch.inference_mode()
    def network(y):
        return model.luma(y[None])[0]

    chosen = pairs("Set5", 4, root=assets("benchmarks/Set5"))
    butterfly = [pair for pair in chosen if pair.name == "butterfly"]
    scores = evaluate(network, butterfly, protocol="yplane", scale=4)
    assert scores.means["psnr"] == pytest.approx(psnr, abs=0.002)


def test_vdsr_has_one_set_of_weights_for_every_scale(assets):
    path = assets("weights/VDSR/VDSR_Official.safetensors")
    assert load_checkpoint(path).name == "vdsr_x2"
    three, four = (create_model("vdsr", scale=scale, weights=path) for scale in (3, 4))
    for name, tensor in three.state_dict().items():
        assert torch.equal(tensor, four.state_dict()[name])


def test_refusals():
    with pytest.raises(ValueError, match="scale 3: LapSRN doubles, it is for 2, 4 and 8"):
        LapSRN(3)
