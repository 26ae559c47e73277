"""Perceptual losses against formulas in float64, the lpips package, and the published trunks."""

import urllib.error
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from srkit.image.io import read_image
from srkit.losses import LPIPS, Content, Transferal, content
from srkit.losses.perceptual import SETUPS, rms
from srkit.metrics import features
from srkit.metrics.features import random_tanh, vgg19
from srkit.metrics.lpips import lpips


class Doubling(nn.Module):
    """Features simple enough to compute by hand: twice the picture, and its square."""

    name, sha256, layers = "doubling", "0123456789" * 6, ("twice", "square")

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))

    def forward(self, image, layers):
        found = {"twice": 2 * image, "square": image**2}
        return {layer: found[layer] for layer in layers}


@pytest.fixture
def pair(rng):
    return torch.rand(2, 2, 3, 6, 7, dtype=torch.float64, generator=rng)


@pytest.fixture(scope="module")
def oxford(assets):
    assets("backbones/vgg19_oxford.npz")
    return vgg19("oxford")


@pytest.fixture
def photos(assets):
    """A batch (2, 3, 64, 64) and a rougher one."""
    names = ("butterfly", "head")
    folder = assets("benchmarks/Set5/HR")
    hr = torch.stack([read_image(folder / f"{name}.png")[:, 60:124, 60:124] for name in names])
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    return hr + 0.05 * noise, hr


# ------------------------------------------------------------------ the content loss


@pytest.mark.parametrize("unit", [1.0, 12.75])
@pytest.mark.parametrize("criterion", ["l1", "mse"])
def test_content_is_its_formula(criterion, unit, pair):
    sr, hr = (x.numpy() for x in pair)
    weights = {"twice": 0.25, "square": 3.0}
    expected = 0
    for weight, d in ((0.25, 2 * (sr - hr)), (3.0, sr**2 - hr**2)):
        d = d / unit
        expected += weight * (np.abs(d) if criterion == "l1" else d**2).mean()
    loss = Content(Doubling(), weights, criterion=criterion, unit=unit)
    assert loss(*pair).item() == pytest.approx(expected, rel=1e-12)


def test_srgans_factor_is_162_on_the_loss(pair):
    plain, rescaled = (Content(Doubling(), {"square": 1.0}, unit=unit) for unit in (1.0, 12.75))
    assert (plain(*pair) / rescaled(*pair)).item() == pytest.approx(162.5625, rel=1e-12)


def test_mean_of_one_is_taken_per_picture_over_all_channels(pair):
    sr, hr = (x.numpy() ** 2 for x in pair)
    a, b = (x / x.mean(axis=(1, 2, 3), keepdims=True) for x in (sr, hr))
    loss = Content(Doubling(), {"square": 1.0}, unit="mean")
    assert loss(*pair).item() == pytest.approx(((a - b) ** 2).mean(), rel=1e-12)
    brighter = torch.stack([0.25 * pair[0][0], 0.5 * pair[0][1]])  # each picture by its own factor
    assert loss(brighter, pair[1]).item() == pytest.approx(loss(*pair).item(), rel=1e-9)


def test_rms_units_make_trunks_comparable(pair):
    """Features a thousand times as large give the same loss."""

    class Large(Doubling):
        def forward(self, image, layers):
            return {k: 1000 * v for k, v in super().forward(image, layers).items()}

    small, large = (
        Content(phi, {"twice": 1.0, "square": 0.5}, criterion="l1", unit="rms")
        for phi in (Doubling(), Large())
    )
    assert large(*pair).item() == pytest.approx(small(*pair).item(), rel=1e-6)
    units = rms(Doubling(), ["twice", "square"])
    assert units["twice"] / 2 == pytest.approx(np.hypot(0.5, 0.25), rel=0.02)  # its mean, deviation
    assert rms(Doubling(), ["twice", "square"]) == units


@pytest.mark.parametrize("unit", [12.75, "mean", "rms"])
@pytest.mark.parametrize("criterion", ["l1", "mse"])
def test_gradcheck_zero_at_equality_and_batches(criterion, unit, pair):
    loss = Content(Doubling(), {"square": 1.0}, criterion=criterion, unit=unit)
    sr, hr = pair
    small, target = sr[..., :4, :4].clone(), hr[..., :4, :4]
    assert torch.autograd.gradcheck(lambda x: loss(x, target), small.requires_grad_())
    same = hr.clone().requires_grad_()
    value = loss(same, hr)
    value.backward()
    assert value == 0
    assert same.grad.isfinite().all()
    alone = [loss(sr[i : i + 1], hr[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(sr, hr), sum(alone) / 2, rtol=1e-12, atol=0)


def test_a_black_picture_has_a_mean_and_a_gradient():
    black = torch.zeros(1, 3, 8, 8, requires_grad=True)
    value = Content(Doubling(), {"twice": 1.0}, unit="mean")(black, torch.rand(1, 3, 8, 8))
    value.backward()
    assert value.isfinite()
    assert black.grad.isfinite().all()


def test_it_prints_layers_weights_units_and_trunk():
    assert repr(Content(Doubling(), {"twice": 0.5, "square": 1}, criterion="l1", unit=12.75)) == (
        "content: mean |sr - hr| at 0.5 twice/12.75, square/12.75 of doubling (sha256 01234567)"
    )
    by_mean = Content(Doubling(), {"square": 1}, unit="mean")
    assert by_mean.formula == "mean (sr - hr)² at square/mean of doubling (sha256 01234567)"
    plain = Content(Doubling(), {"square": 1})
    assert plain.formula == "mean (sr - hr)² at square of doubling (sha256 01234567)"


def test_content_refusals_teach():
    with pytest.raises(ValueError, match=r"criterion 'l3' is unknown: one of l1, mse"):
        Content(Doubling(), {"twice": 1.0}, criterion="l3")
    with pytest.raises(ValueError, match=r"unit 'std' is unknown: a number, 'mean' or 'rms'"):
        Content(Doubling(), {"twice": 1.0}, unit="std")
    with pytest.raises(ValueError, match=r"doubling has no layers \['conv5_4'\]"):
        content("esrgan", Doubling())
    with pytest.raises(ValueError, match=r"no content loss 'vgg': one of srgan_vgg22.*ttsr"):
        content("vgg")
    with pytest.raises(ValueError, match=r"extractor 'vgg16': an Extractor such as .* or None"):
        content("esrgan", "vgg16")


# ------------------------------------------------------------------ the papers' sets


def random_vgg19(lineage):
    """VGG-19's layers under that lineage's name, thinner and never trained."""
    layers, weights, channels = {}, {}, 3
    generator = torch.Generator().manual_seed(0)
    for block, depth in enumerate((2, 2, 4, 4, 4), 1):
        for i in range(1, depth + 1):
            name = f"conv{block}_{i}"
            layers[name] = nn.Conv2d(channels, 8, 3, padding=1, device="meta")
            weights[f"{name}.weight"] = torch.randn(8, channels, 3, 3, generator=generator) / 4
            weights[f"{name}.bias"] = torch.zeros(8)
            layers[f"relu{block}_{i}"], channels = nn.ReLU(), 8
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return features.Extractor(
        layers, weights, name=f"vgg19-{lineage}", sha256="0" * 64, mean=[0.5] * 3, std=[0.25] * 3
    )


PAPERS = {  # trunk and formula: (layer, weight, unit), how they are compared
    "srgan_vgg22": ("oxford", [("relu2_2", 1, 12.75)], "mse"),
    "srgan_vgg33": ("torchvision", [("relu3_3", 1, 1)], "mse"),
    "srgan_vgg54": ("oxford", [("relu5_4", 1, 12.75)], "mse"),
    "enhancenet": ("oxford", [("pool2", 0.2, "mean"), ("pool5", 0.02, "mean")], "mse"),
    "sftgan": ("torchvision", [("conv5_4", 1, 1)], "l1"),
    "srfeat": ("oxford", [("relu5_4", 1, 12.75)], "mse"),
    "esrgan": ("torchvision", [("conv5_4", 1, 1)], "l1"),
    "ttsr": ("torchvision", [("relu5_1", 1, 1)], "mse"),
}


@pytest.mark.parametrize("name", SETUPS)
def test_each_set_is_its_papers(name, monkeypatch, rng):
    """With the paper's own trunk by default, and the value of its equation in float64."""
    lineage, layers, criterion = PAPERS[name]
    monkeypatch.setattr("srkit.losses.perceptual.vgg19", random_vgg19)
    loss = content(name)
    assert f"of vgg19-{lineage} (sha256 00000000)" in repr(loss)
    sr, hr = torch.rand(2, 2, 3, 64, 64, generator=rng)
    expected, phi = 0, random_vgg19(lineage)
    for layer, weight, unit in layers:
        a, b = (phi(x, layer)[layer].double().numpy() for x in (sr, hr))
        if unit == "mean":
            a, b = (x / x.mean(axis=(1, 2, 3), keepdims=True) for x in (a, b))
        else:
            a, b = a / unit, b / unit
        expected += weight * (np.abs(a - b) if criterion == "l1" else (a - b) ** 2).mean()
    assert loss(sr, hr).item() == pytest.approx(expected, rel=1e-4)


def test_another_trunk_counts_in_its_own_rms_and_says_so():
    other = random_vgg19("oxford")
    units = rms(other, ["conv5_4"])
    assert content("esrgan", extractor=other).units == units
    assert f"conv5_4/{units['conv5_4']:.4g} of vgg19-oxford" in repr(content("esrgan", other))
    assert content("esrgan", extractor=other, unit=1.0).units == {"conv5_4": 1.0}
    assert content("esrgan", extractor=random_vgg19("torchvision")).units == {"conv5_4": 1.0}
    assert content("enhancenet", extractor=random_vgg19("torchvision")).units is None  # a mean


@pytest.mark.parametrize("name", SETUPS)
def test_the_random_extractor_is_named(name, rng):
    loss = content(name, extractor="random")
    assert loss.label == "content (random)"
    assert "conv2/" in repr(loss)
    assert "of random-tanh-64-seed0 (sha256 " in repr(loss)
    sr, hr = torch.rand(2, 1, 3, 8, 8, generator=rng)
    assert loss(sr, hr) > loss(hr, hr) == 0


def test_without_a_trunk_the_error_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(url, *args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.delenv("SRKIT_HOME", raising=False)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    for name in SETUPS:
        with pytest.raises(FileNotFoundError, match=r"not at hand.*random_tanh\(\) needs no file"):
            content(name)


# ------------------------------------------------------------------ the real trunk


def test_srgans_factor_belongs_to_this_trunk(oxford, photos):
    """The paper's reason for 1/12.75: VGG54 is then of the order of the MSE, in [-1, 1]."""
    sr, hr = photos
    ratio = content("srgan_vgg54", oxford)(sr, hr) / (4 * (sr - hr).square().mean())
    assert 1 < ratio < 30


def test_a_fixed_picture_measures_as_photographs_do(oxford, assets):
    """Up to conv5_4 the unit of a layer is within a factor 1.5 of the rms on natural pictures."""
    layers = ["conv1_1", "relu2_2", "relu3_3", "conv4_4", "conv5_4"]
    folder = assets("benchmarks/Set5/HR")
    pictures = [read_image(path)[:, :128, :128] for path in sorted(folder.glob("*.png"))]
    assert len(pictures) == 5
    with torch.no_grad():
        seen = oxford(torch.stack(pictures), layers)
    for layer, unit in rms(oxford, layers).items():
        assert 1 / 1.5 < unit / seen[layer].square().mean().sqrt() < 1.5, layer


def test_oxfords_conv5_4_is_the_esrgan_loss_in_float64(oxford, photos):
    sr, hr = photos
    a, b = (oxford(x, "conv5_4")["conv5_4"].double() for x in (sr, hr))
    unit = rms(oxford, ["conv5_4"])["conv5_4"]
    expected = (a - b).abs().mean().item() / unit
    assert content("esrgan", extractor=oxford)(sr, hr).item() == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------ TTSR's transferal loss


class Textures(nn.Module):
    """Stands for the LTE: a picture's texture at 1, 1/2 and 1/4."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, x):
        return tuple(self.scale * nn.functional.avg_pool2d(x, n) ** 2 for n in (1, 2, 4))


def test_transferal_is_the_mean_over_levels(rng):
    lte = Textures()
    sr, hr, ref = torch.rand(3, 2, 3, 8, 8, dtype=torch.float64, generator=rng)
    transferred = lte(ref)
    loss = Transferal(lte)
    levels = [
        np.mean((a.detach().numpy() - t.detach().numpy()) ** 2)
        for a, t in zip(lte(sr), transferred, strict=True)
    ]
    assert loss(sr, hr, transferred).item() == pytest.approx(np.mean(levels), rel=1e-12)
    assert loss(sr, hr, transferred=lte(sr)) == 0
    assert "transferred" in repr(Transferal.needs)


def test_transferal_teaches_the_lte_through_t_but_not_through_sr(rng):
    lte = Textures()
    loss = Transferal(lte)
    sr, hr, ref = torch.rand(3, 1, 3, 8, 8, dtype=torch.float64, generator=rng)
    sr.requires_grad_()
    loss(sr, hr, [t.detach() for t in lte(ref)]).backward()
    assert sr.grad.abs().sum() > 0
    assert lte.scale.grad is None
    loss(sr, hr, lte(ref)).backward()
    assert lte.scale.grad != 0
    assert lte.scale.requires_grad
    assert list(loss.parameters()) == []  # the network's own, once
    with torch.no_grad():
        before = loss(sr, hr, lte(ref))
        lte.scale *= 2  # always the LTE as it is now
        assert loss(sr, hr, lte(ref)).item() == pytest.approx(4 * before.item(), rel=1e-9)


def test_transferal_takes_what_ttsr_returns(rng):
    from srkit.models.ttsr import TTSR

    model = TTSR(channels=8, blocks=(1, 1, 1, 1), textures=(4, 8, 8))
    lr, hr = torch.rand(1, 3, 6, 6, generator=rng), torch.rand(1, 3, 24, 24, generator=rng)
    sr, a = model(lr, hr, return_attention=True)
    value = Transferal(model.LTE)(sr, hr, (a.t1, a.t2, a.t3))
    value.backward()
    assert value > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Transferal(model.LTE)(sr.bfloat16(), hr, (a.t1, a.t2, a.t3))
    assert inside.dtype == torch.float32


# ------------------------------------------------------------------ LPIPS


@pytest.fixture
def heads_and_trunks(assets):
    assets("backbones/lpips_alex.safetensors")
    assets("backbones/lpips_squeeze.safetensors")


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_the_metric_and_the_packages_also_out_of_range(net, heads_and_trunks, photos):
    import lpips as package

    sr, hr = photos
    loss = LPIPS(net)
    inside = sr.clamp(0, 1)
    torch.testing.assert_close(loss(inside, hr), lpips(inside, hr, net=net).mean())

    theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    with torch.no_grad():
        parameters = zip(loss.extractor.body.parameters(), theirs.net.parameters(), strict=True)
        for mine, other in parameters:
            other.copy_(mine)
        wide = 3 * sr - 1
        assert wide.min() < 0
        assert wide.max() > 1
        expected = theirs(2 * wide - 1, 2 * hr - 1).mean()
    assert loss(wide, hr).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_has_finite_gradients_at_equality_and_on_constant_pictures(net, heads_and_trunks):
    loss = LPIPS(net)
    flat = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, 64, 64)
    for target in (flat, flat.flip(0)):
        sr = flat.clone().requires_grad_()
        value = loss(sr, target)
        value.backward()
        assert value.isfinite()
        assert sr.grad.isfinite().all()
    assert loss(flat, flat) == 0


def test_lpips_of_a_batch_is_a_mean_and_it_shares_its_trunk(heads_and_trunks, photos, monkeypatch):
    sr, hr = photos
    loss = LPIPS()
    alone = [loss(sr[i : i + 1], hr[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(sr, hr), sum(alone) / 2)
    passes, forward = [], features.Extractor.forward

    def counted(self, *arguments):
        passes.append(self.name)
        return forward(self, *arguments)

    monkeypatch.setattr(features.Extractor, "forward", counted)
    (loss + Content(features.alexnet(), {"relu5": 1.0}))(sr, hr)
    assert passes == ["alexnet-torchvision"] * 2
    assert "of alexnet-torchvision (sha256 " in repr(loss)


def test_moving_the_loss_leaves_the_metric_where_it_is(heads_and_trunks, photos):
    """Its trunk is its own: a cached one would go to the loss's device with it."""
    loss = LPIPS().to("meta")
    assert {p.device.type for p in loss.parameters()} == {"meta"}
    assert lpips(photos[1], photos[1]).tolist() == [0, 0]


def test_lpips_refuses_an_unknown_net():
    with pytest.raises(ValueError, match="alex, squeeze, vgg"):
        LPIPS("resnet")


def test_a_random_extractor_may_be_named_by_hand():
    phi = random_tanh(8)
    assert Content(phi, {"conv2": 1.0}).label == "content (random)"


def test_the_picture_that_units_are_measured_on_is_noise_whose_spectrum_falls():
    """Power 1/f² has the same energy in each octave: of 64 / 2, 64 / 4, ... cycles of 128 pixels.

    White noise would have four times as much in an octave as in the one below it.
    """
    seen = []

    class Watched(nn.Identity):
        def forward(self, x):
            seen.append(x[0, 0])
            return x

    watch = {"same": Watched()}
    same = features.Extractor(watch, {}, name="", sha256="", mean=[0] * 3, std=[1] * 3)
    found = rms(same, ["same"])
    (grey,) = seen
    assert found["same"] == pytest.approx(grey.square().mean().sqrt().item())
    assert 0 <= grey.min() < grey.max() <= 1
    assert grey.mean() == pytest.approx(0.5, abs=0.01)
    assert grey.std() == pytest.approx(0.25, abs=0.01)
    cycles = torch.fft.fftfreq(128, 1 / 128)
    radius = torch.hypot(cycles[:, None], cycles)
    power = torch.fft.fft2(grey - grey.mean()).abs().square()
    octaves = [power[(radius >= low) & (radius < 2 * low)].sum() for low in (4, 8, 16, 32)]
    for low, high in pairwise(octaves):
        assert 0.6 < high / low < 1.4
