"""Gram matrices by hand, patches cut by loops, EnhanceNet's loss on the real trunk."""

import numpy as np
import pytest
import torch
from torch import nn

from srkit.image.io import read_image
from srkit.losses import Content, Style, content, gram, style
from srkit.metrics.features import vgg19


class Squares(nn.Module):
    """Features without negative values, computed by hand: the picture and its square."""

    name, sha256, layers = "squares", "0" * 64, ("same", "square")

    def forward(self, image, layers):
        found = {"same": 1 * image, "square": image**2}
        return {layer: found[layer] for layer in layers}


def grams(features, patch):
    """Float64, one patch and one pair of channels at a time."""
    found = []
    for picture in features.double().numpy():
        _, h, w = picture.shape
        for top in range(0, h - patch + 1, patch):
            for left in range(0, w - patch + 1, patch):
                f = picture[:, top : top + patch, left : left + patch]
                found.append([[(a * b).sum() for b in f] for a in f])
    return np.array(found)


def test_gram_by_hand():
    """Channels (1, 2, 3, 4) and (0, 1, 0, -1): products 30, -2, 2."""
    f = torch.tensor([[[1.0, 2], [3, 4]], [[0, 1], [0, -1]]])[None]
    expected = torch.tensor([[30.0, -2], [-2, 2]])
    assert torch.equal(gram(f), expected[None, None])
    assert torch.equal(gram(f, normalise=True), expected[None, None] / (2 * 2 * 2))
    patches = gram(f, patch=1)  # of single pixels, row by row
    assert patches.shape == (1, 4, 2, 2)
    assert torch.equal(patches[0, 1], torch.tensor([[4.0, 2], [2, 1]]))
    assert torch.equal(patches.sum(1, keepdim=True), gram(f))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_are_cut_from_the_top_left(layout, rng):
    f = torch.rand(2, 3, 9, 14, generator=rng).to(memory_format=layout)
    found = gram(f, patch=4)
    assert found.shape == (2, 2 * 3, 3, 3)
    np.testing.assert_allclose(found.flatten(0, 1), grams(f, 4), rtol=1e-6)


def test_gram_knows_no_places_but_patches_do(rng):
    f = torch.rand(1, 4, 8, 8, dtype=torch.float64, generator=rng)
    moved = f.roll((4, 4), (2, 3))
    torch.testing.assert_close(gram(moved), gram(f))
    assert not torch.allclose(gram(moved, patch=4), gram(f, patch=4))


def test_gram_grows_with_the_picture_unless_normalised(rng):
    f = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=rng)
    tiled = f.repeat(1, 1, 2, 3)
    torch.testing.assert_close(gram(tiled), 6 * gram(f))
    torch.testing.assert_close(gram(tiled, normalise=True), gram(f, normalise=True))


@pytest.mark.parametrize("patch", [None, 4])
@pytest.mark.parametrize("normalise", [False, True])
def test_style_is_its_formula(patch, normalise, rng):
    """Mean-one features of each picture, un-normalised or normalised Gram, mean squared."""
    sr, hr = torch.rand(2, 2, 3, 8, 8, dtype=torch.float64, generator=rng)
    loss = Style(Squares(), {"same": 0.5, "square": 2.0}, patch=patch, normalise=normalise)
    expected = 0
    for weight, power in ((0.5, 1), (2.0, 2)):
        a, b = (x**power / (x**power).mean((1, 2, 3), keepdim=True) for x in (sr, hr))
        d = grams(a, patch or 8) - grams(b, patch or 8)
        if normalise:
            d = d / (3 * (patch or 8) ** 2)
        expected += weight * (d**2).mean()
    assert loss(sr, hr).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unit", [2.0, "mean"])
def test_gradcheck_zero_at_equality_and_batches(unit, rng):
    sr, hr = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, generator=rng)
    loss = Style(Squares(), {"square": 1.0}, patch=2, unit=unit)
    assert torch.autograd.gradcheck(lambda x: loss(x, hr), sr.clone().requires_grad_())
    same = hr.clone().requires_grad_()
    value = loss(same, hr)
    value.backward()
    assert value == 0
    assert same.grad.isfinite().all()
    alone = [loss(sr[i : i + 1], hr[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(sr, hr), sum(alone) / 2, rtol=1e-12, atol=0)


def test_a_number_as_unit_divides_the_gram_by_its_square(rng):
    sr, hr = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64, generator=rng)
    one, three = (Style(Squares(), {"same": 1.0}, patch=2, unit=unit) for unit in (1.0, 3.0))
    torch.testing.assert_close(one(sr, hr), 81 * three(sr, hr))


def test_it_prints_what_it_compares():
    assert repr(Style(Squares(), {"square": 3e-7})) == (
        "style: mean difference² of FᵀF of 16x16 patches, at 3e-07 square/mean "
        "of squares (sha256 00000000)"
    )
    whole = Style(Squares(), {"same": 1.0}, patch=None, normalise=True, unit=1.0)
    assert whole.formula == "mean difference² of FᵀF/size, at same of squares (sha256 00000000)"


def test_refusals_teach(rng):
    small = torch.rand(1, 3, 12, 20, generator=rng)
    with pytest.raises(ValueError, match=r"features of 12x20 pixels hold no patch of 16x16"):
        Style(Squares(), {"same": 1.0})(small, small)
    with pytest.raises(ValueError, match=r"no texture loss 'gatys': one of enhancenet"):
        style("gatys")


def test_the_random_extractor_is_named(rng):
    loss = style("enhancenet", extractor="random")
    assert loss.label == "style (random)"
    sr, hr = torch.rand(2, 1, 3, 32, 32, generator=rng)
    assert loss(sr, hr) > 0
    assert loss.patch == 16


# ------------------------------------------------------------------ the real trunk


@pytest.fixture(scope="module")
def oxford(assets):
    assets("backbones/vgg19_oxford.npz")
    return vgg19("oxford")


def test_enhancenets_loss_in_float64(oxford, assets):
    """Layers after their ReLU, 3e-7, 1e-6, 1e-6; 8x8, 4x4 and 2x2 patches of a 128 px crop."""
    butterfly = read_image(assets("benchmarks/Set5/HR/butterfly.png"))
    hr = butterfly[None, :, :128, :128]
    sr = (hr + 0.05 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    loss = style("enhancenet", extractor=oxford)
    assert loss.weights == {"relu1_1": 3e-7, "relu2_1": 1e-6, "relu3_1": 1e-6}
    expected = 0
    for (layer, weight), count in zip(loss.weights.items(), (64, 16, 4), strict=True):
        matrices = []
        for x in (sr, hr):
            f = oxford(x, layer)[layer].double()
            assert f.min() >= 0
            patches = (f / f.mean()).unfold(2, 16, 16).unfold(3, 16, 16)  # (1, C, h, w, 16, 16)
            assert patches.shape[2] * patches.shape[3] == count
            matrices.append(torch.einsum("bchwij,bdhwij->bhwcd", patches, patches))
        expected += weight * (matrices[0] - matrices[1]).square().mean().item()
    assert loss(sr, hr).item() == pytest.approx(expected, rel=1e-4)


def test_mean_of_one_absorbs_the_trunks_scale(oxford, assets):
    """The same features 50 times as large: the same content and texture loss."""

    class Larger(nn.Module):
        name, sha256, layers = "larger", "1" * 64, oxford.layers

        def forward(self, image, layers):
            return {layer: 50 * f for layer, f in oxford(image, layers).items()}

    hr = read_image(assets("benchmarks/Set5/HR/head.png"))[None, :, :64, :64]
    sr = hr.flip(3)
    for make in (content, style):
        own, larger = (make("enhancenet", extractor=phi)(sr, hr) for phi in (oxford, Larger()))
        assert own.item() == pytest.approx(larger.item(), rel=1e-4)


def test_content_and_style_pass_the_trunk_once(oxford, monkeypatch, rng):
    passes, forward = [], type(oxford).forward

    def counted(self, image, layers):
        passes.append(tuple(layers))
        return forward(self, image, layers)

    monkeypatch.setattr(type(oxford), "forward", counted)
    sr, hr = torch.rand(2, 1, 3, 64, 64, generator=rng)
    loss = content("enhancenet", extractor=oxford) + style("enhancenet", extractor=oxford)
    parts = loss.parts(sr, hr)
    assert passes == [("pool2", "pool5", "relu1_1", "relu2_1", "relu3_1")] * 2
    assert isinstance(loss.terms["content"], Content)
    for label in parts:
        torch.testing.assert_close(parts[label], loss.terms[label](sr, hr), rtol=1e-5, atol=0)


def test_grams_of_the_real_trunk_stay_float32_under_autocast(oxford, rng):
    """Their entries pass 65504, the end of float16; bfloat16 would keep two digits."""
    sr, hr = torch.rand(2, 1, 3, 64, 64, generator=rng)
    loss = style("enhancenet", extractor=oxford)
    outside = loss(sr, hr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(sr, hr)
        net_output = loss(sr.bfloat16(), hr)
    assert inside.dtype == net_output.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert gram(oxford(hr, "relu2_1")["relu2_1"]).max() > 65504
