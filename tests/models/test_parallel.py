"""A network in PyTorch's DataParallel is taken for what it is, wherever a network is."""

from __future__ import annotations

import pytest
import torch
from small import SMALL, same
from torch import nn

from srkit.datasets.catalog import Pair
from srkit.datasets.patches import Patches
from srkit.image.io import write_image
from srkit.inference import receptive_field, upscale
from srkit.losses import L1
from srkit.metrics.evaluate import evaluate
from srkit.models.counting import count
from srkit.training.loop import fit
from srkit.training.schedules import Constant
from srkit.weights.load import load_checkpoint
from srkit.weights.save import save


@pytest.fixture
def model():
    torch.manual_seed(0)
    return next(c for c in SMALL if c.function.__name__ == "EDSR")().eval()


def test_it_enlarges_is_measured_counted_saved_and_trained(model, rng, tmp_path):
    lr, hr = torch.rand(3, 12, 13, generator=rng), torch.rand(3, 24, 26, generator=rng)
    wrapped = nn.DataParallel(model)
    assert torch.equal(upscale(wrapped, lr, tile=8), upscale(model, lr, tile=8))
    assert receptive_field(wrapped) == receptive_field(model)
    write_image(hr, tmp_path / "a.png")
    pair = [Pair("a", tmp_path / "a.png", None)]
    assert evaluate(wrapped, pair).means["psnr"] == evaluate(model, pair).means["psnr"]
    assert count(wrapped) == count(model)
    save(wrapped, tmp_path / "a.safetensors")
    assert same(load_checkpoint(tmp_path / "a.safetensors"), model)
    crops, before = Patches([(255 * hr).byte()], 2), model.state_dict()["head.0.weight"].clone()
    fit(wrapped, L1(), crops, steps=1, batch=1, patch=8, rate=Constant(0.01), device="cpu")
    assert not torch.equal(model.state_dict()["head.0.weight"], before)


def test_what_is_in_it_must_be_a_network():
    with pytest.raises(TypeError, match=r"Conv2d does not say .*srkit\.as_model"):
        upscale(nn.DataParallel(nn.Conv2d(3, 3, 3)), torch.rand(3, 8, 8))
