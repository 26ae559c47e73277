"""IDN: what is set aside, where the residual lies, and the authors' Caffe weights."""

from __future__ import annotations

import re

import pytest
import torch

from srkit.image.resize import imresize
from srkit.metrics.evaluate import evaluate
from srkit.models.counting import count
from srkit.models.idn import IDN, DBlock, EnhancementUnit


def test_channels_are_kept_from_the_front_and_join_behind_the_input(rng):
    unit = EnhancementUnit(64, keep=16, step=16, groups=4)
    torch.nn.init.zeros_(unit.conv6.weight)
    torch.nn.init.zeros_(unit.conv6.bias)
    x, seen = torch.rand(1, 64, 6, 5, generator=rng), {}
    unit.conv3.register_forward_hook(lambda *call: seen.update(p=call[2]))
    y = unit(x)
    assert torch.equal(y[:, :64], x)
    assert torch.equal(y[:, 64:], torch.nn.functional.leaky_relu(seen["p"][:, :16], 0.05))
    assert unit.conv2.weight.shape == (32, 12, 3, 3)
    assert unit.conv5.weight.shape == (48, 16, 3, 3)
    assert unit.conv4.weight.shape == (64, 48, 3, 3)  # the other 48 go on


def test_nothing_kept_is_a_plain_residual_block(rng):
    unit = EnhancementUnit(64, keep=0, step=16, groups=4)
    assert unit(torch.rand(1, 64, 6, 5, generator=rng)).shape == (1, 64, 6, 5)
    assert DBlock(64, 0, 16, 4).down.weight.shape == (64, 64, 1, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_residual_begins_at_row_and_column_scale_minus_one(scale):
    """The transposed convolution gives r(n-1)+1 pixels; shifted by one it would blur every edge."""
    model = IDN(scale, channels=16, keep=4, step=4, blocks=1)
    torch.nn.init.zeros_(model.upsample.weight)
    torch.nn.init.ones_(model.upsample.bias)
    y = torch.full((1, 1, 5, 7), 0.5)
    with torch.no_grad():
        difference = model.luma(y) - imresize(y, scale)
    expected = torch.zeros(1, 1, 5 * scale, 7 * scale)
    expected[..., scale - 1 :, scale - 1 :] = 1
    assert torch.allclose(difference, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_the_bicubic_picture_y_is_what_was_added_to_it(scale, rng):
    """Before row and column scale-1, where the transposed convolution begins, that is repeated."""
    model = IDN(scale, channels=16, keep=4, step=4, blocks=1)
    bare = IDN(scale, channels=16, keep=4, step=4, blocks=1, bicubic=False)
    bare.load_state_dict(model.state_dict())
    y, first = torch.rand(1, 1, 5, 7, generator=rng), scale - 1
    with torch.no_grad():
        added, alone = model.luma(y) - imresize(y, scale), bare.luma(y)
    inside = alone[..., first:, first:]
    torch.testing.assert_close(inside, added[..., first:, first:], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        alone[..., first:, :first], inside[..., :1].expand(-1, -1, -1, first)
    )
    torch.testing.assert_close(
        alone[..., :first, :], alone[..., first:scale, :].expand(-1, -1, first, -1)
    )


@pytest.mark.parametrize(("scale", "macs"), [(2, 126.96), (3, 56.34), (4, 31.74)])
def test_multiply_adds_for_1280x720(scale, macs):
    cost = count(IDN(scale), lr_size=(16, 16))
    pixels = (720 // scale) * (1280 // scale)
    assert cost.macs / 16**2 * pixels / 1e9 == pytest.approx(macs, abs=0.01)


@pytest.mark.parametrize(("scale", "psnr"), [(2, 37.830), (3, 34.114), (4, 31.810)])
def test_authors_weights_reach_the_papers_set5(assets, official, scale, psnr):
    """By the paper's protocol: the float Y plane. The paper prints 37.83, 34.11, 31.82."""
    model = official("idn", scale)

    @torch.inference_mode()
    def idn(y):
        return model.luma(y[None])[0]

    root = assets("benchmarks/Set5")
    scores = evaluate(idn, "Set5", protocol="yplane", scale=scale, root=root)
    assert scores.means["psnr"] == pytest.approx(psnr, abs=0.0015)


def test_refusals():
    with pytest.raises(ValueError, match="scale 8: IDN is for 2, 3 and 4"):
        IDN(8)
    with pytest.raises(ValueError, match=r"idn takes a float tensor \(B, 1, h, w\)"):
        IDN(2).luma(torch.rand(1, 3, 8, 8))


def test_the_authors_count_units_from_3_and_the_rest_of_blocks_from_1():
    """conv3_1 ... conv6_6 and down1 ... down4 are four blocks; conv1, conv2, upsample stay."""
    model = IDN(2, channels=32, keep=8, step=8)
    theirs = {}
    for name, tensor in model.state_dict().items():
        found = re.fullmatch(r"blocks\.(\d)\.(?:enhance\.conv(.+)|down(.+))", name)
        if found:
            k = int(found[1])
            name = f"conv{k + 3}_{found[2]}" if found[2] else f"down{k + 1}{found[3]}"
        theirs[name] = tensor
    assert {"conv3_1.weight", "conv6_6.bias", "down1.weight", "down4.bias"} <= theirs.keys()
    ours = IDN.from_authors(theirs, 2)
    assert ours.keys() == model.state_dict().keys()
    assert all(ours[name] is theirs_ for name, theirs_ in zip(ours, theirs.values(), strict=True))
