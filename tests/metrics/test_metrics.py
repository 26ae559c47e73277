"""PSNR, SSIM and LPIPS against formulas written out, scikit-image, the lpips package and papers."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity

from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop, round_8bit
from srkit.metrics.evaluate import captions
from srkit.metrics.explain import explain_psnr
from srkit.metrics.features import feature_difference, random_tanh
from srkit.metrics.lpips import lpips, lpips_distance, lpips_network, lpips_parts
from srkit.metrics.protocols import CHANNELS, PROTOCOLS
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim

SET5 = ("baby", "bird", "butterfly", "head", "woman")


def photo(name="chelsea"):
    return torch.from_numpy(getattr(data, name)()).permute(2, 0, 1) / 255


def degraded(image, noise=0.03, seed=0):
    """Blurred a little, noisy a little: what a result looks like to a metric."""
    small = torch.nn.functional.avg_pool2d(image, 2, ceil_mode=True)
    large = small.repeat_interleave(2, -2).repeat_interleave(2, -1)
    large = large[..., : image.shape[-2], : image.shape[-1]]
    noisy = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * noise
    return (large + noisy).clamp(0, 1)


def channels(image, on):
    """float64 NumPy (C, H, W) of a picture on 0..255, by BT.601 and JPEG as they are printed."""
    r, g, b = image.double().numpy() * 255
    studio = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    return {
        "rgb": np.stack([r, g, b]),
        "y": studio[None],
        "y_rounded": np.floor(studio + 0.5)[None],
        "y_full": (0.299 * r + 0.587 * g + 0.114 * b)[None],
    }[on]


def scikit_ssim(sr, hr, on, shave):
    inside = slice(shave, -shave or None)
    a, b = (channels(x, on)[:, inside, inside] for x in (sr, hr))
    return structural_similarity(
        a,
        b,
        channel_axis=0,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


# ------------------------------------------------------------------ PSNR


@pytest.mark.parametrize("on", CHANNELS)
@pytest.mark.parametrize("shave", [0, 4])
def test_psnr_is_its_formula(on, shave):
    hr = photo()
    sr = degraded(hr)
    inside = slice(shave, -shave or None)
    difference = (channels(sr, on) - channels(hr, on))[:, inside, inside]
    expected = 10 * np.log10(255**2 / np.mean(difference**2))
    assert psnr(sr, hr, on=on, shave=shave) == pytest.approx(expected, abs=1e-6)


def test_psnr_of_a_grey_step():
    """0.1 everywhere: 20 dB on RGB; studio Y spans 219 of 255 levels, 20 log10(255 / 219) more."""
    hr = torch.full((3, 16, 16), 0.5)
    assert psnr(hr + 0.1, hr, on="rgb", shave=0) == pytest.approx(20, abs=1e-5)
    assert psnr(hr + 0.1, hr, on="y_full", shave=2) == pytest.approx(20, abs=1e-5)
    expected = 20 + 20 * np.log10(255 / 219)
    assert psnr(hr + 0.1, hr, on="y", shave=2) == pytest.approx(expected, abs=1e-5)


def test_psnr_of_equal_pictures_is_infinite():
    assert psnr(photo(), photo(), on="y", shave=4) == float("inf")


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("on", ["rgb", "y"])
def test_a_batch_is_a_loop(metric, on):
    hr = torch.stack([photo()[:, :60, :80], photo()[:, 100:160, 200:280]])
    sr = degraded(hr)
    batch = metric(sr, hr, on=on, shave=3)
    assert batch.shape == (2,)
    assert batch.dtype == torch.float64
    loop = [metric(a, b, on=on, shave=3) for a, b in zip(sr, hr, strict=True)]
    assert batch.tolist() == pytest.approx(loop, abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_the_inputs_are_left_alone(metric):
    hr = photo()
    sr = degraded(hr)
    before = sr.clone(), hr.clone()
    metric(sr, hr, on="y_rounded", shave=4)
    assert torch.equal(sr, before[0])
    assert torch.equal(hr, before[1])


# ------------------------------------------------------------------ SSIM


@pytest.mark.parametrize("on", ["rgb", "y", "y_rounded"])
@pytest.mark.parametrize("name", ["chelsea", "astronaut", "coffee"])
def test_ssim_is_scikit_images(name, on):
    hr = photo(name)
    sr = degraded(hr)
    expected = scikit_ssim(sr, hr, on, shave=4)
    assert ssim(sr, hr, on=on, shave=4) == pytest.approx(expected, abs=1e-9)
    single = ssim(sr, hr, on=on, shave=4, dtype=torch.float32)
    # A Y on the edge between two levels may round the other way in float32.
    assert single == pytest.approx(expected, abs=1e-5 if on == "y_rounded" else 1e-6)


@pytest.mark.parametrize("height", [11, 30, 31, 32, 51])
def test_ssim_strips_have_no_seams(height, monkeypatch):
    """Strips of 20 rows: one window alone, one strip, one and a row, two and two rows."""
    monkeypatch.setattr("srkit.metrics.ssim.STRIP", 20 * 27)
    hr = photo()[:, :height, :37]
    sr = degraded(hr)
    expected = scikit_ssim(sr, hr, "y", shave=0)
    assert ssim(sr, hr, on="y", shave=0) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_one_window_by_hand(rng):
    """11x11 pixels are one window: the formula of the paper, in NumPy."""
    sr, hr = torch.rand(2, 3, 11, 11, generator=rng)
    g = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(g, g) / g.sum() ** 2
    a, b = channels(sr, "y")[0], channels(hr, "y")[0]
    mean_a, mean_b = (w * a).sum(), (w * b).sum()
    var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
    cov = (w * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert ssim(sr, hr, on="y", shave=0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", [0.02, 0.5, 0.97])
def test_ssim_float32_holds_on_flat_pictures(level, rng):
    """Where E[x²] - E[x]² loses most digits: almost constant, dark, grey and bright."""
    hr = (level + 0.002 * torch.randn(3, 120, 120, generator=rng)).clamp(0, 1)
    sr = (level + 0.002 * torch.randn(3, 120, 120, generator=rng)).clamp(0, 1)
    double, single = (
        ssim(sr, hr, on="y", shave=0, dtype=d) for d in (torch.float64, torch.float32)
    )
    assert single == pytest.approx(double, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ssim_of_equal_pictures_is_one(dtype):
    assert ssim(photo(), photo(), on="rgb", shave=0, dtype=dtype) == 1


def test_ssim_is_differentiable(rng):
    """The derivative along a random direction is the central difference."""
    sr, hr, step = torch.rand(3, 1, 3, 13, 12, generator=rng, dtype=torch.float64)
    sr, step = 0.1 + 0.8 * sr, 1e-5 * (step - 0.5)
    up, down = (ssim(sr + sign * step, hr, on="y", shave=0) for sign in (1, -1))
    sr.requires_grad_()
    (gradient,) = torch.autograd.grad(ssim(sr, hr, on="y", shave=0).sum(), sr)
    assert (gradient * step).sum().item() == pytest.approx((up - down).item() / 2, rel=1e-6)


# ------------------------------------------------------------------ the published numbers


def bicubic_x4(assets, name):
    """LR file, enlarged and rounded, and the HR it belongs to."""
    folder = assets("benchmarks/Set5")
    lr = read_image(folder / f"LR_bicubic/X4/{name}x4.png")
    sr = round_8bit(imresize(lr, 4))
    return sr, read_image(folder / f"HR/{name}.png")[:, : sr.shape[1], : sr.shape[2]]


def test_bicubic_x4_on_set5_is_the_known_row(assets):
    """Deep-model protocol, 28.432 dB / 0.8113; with Y rounded to 8 bits 28.419 dB."""
    pairs = [bicubic_x4(assets, name) for name in SET5]

    def mean(metric, **how):
        return np.mean([metric(*pair, shave=4, **how) for pair in pairs])

    assert mean(psnr, on="y") == pytest.approx(28.432, abs=6e-4)
    assert mean(psnr, on="y_rounded") == pytest.approx(28.419, abs=6e-4)
    assert mean(ssim, on="y") == pytest.approx(0.8113, abs=6e-5)
    assert mean(ssim, on="y", dtype=torch.float32) == pytest.approx(mean(ssim, on="y"), abs=1e-6)


def test_what_each_convention_costs_rlfn_on_set5(assets):
    """RLFN x4, 32.2396 dB under the classic protocol: the differences measured independently."""
    from srkit import create_model

    assets("weights/RLFN/rlfn_x4.pth")
    model = create_model("rlfn_x4", weights="official").eval()
    tables = []
    for name in SET5:
        lr = read_image(assets(f"benchmarks/Set5/LR_bicubic/X4/{name}x4.png"))
        with torch.no_grad():
            sr = model(lr[None])[0].clamp(0, 1)
        hr = read_image(assets(f"benchmarks/Set5/HR/{name}.png"))
        tables.append(explain_psnr(sr, hr[:, : sr.shape[1], : sr.shape[2]], scale=4).rows)

    def mean(on, shave, values):
        chosen = {"on": on, "shave": shave, "values": values}
        return np.mean([r["psnr"] for rows in tables for r in rows if chosen.items() <= r.items()])

    classic = mean("y", 4, "rounded")
    assert classic == pytest.approx(32.2396, abs=1e-3)
    for cost, convention in {
        -0.022: ("y_rounded", 4, "rounded"),
        +0.003: ("y", 4, "as given"),
        -0.029: ("y", 4, "truncated"),
        -0.120: ("y", 0, "rounded"),
        -1.32: ("y_full", 4, "rounded"),
        -1.92: ("rgb", 4, "rounded"),
    }.items():
        assert mean(*convention) - classic == pytest.approx(cost, abs=6e-3), convention


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_conventions_have_no_default(metric):
    with pytest.raises(TypeError, match="'on' and 'shave'"):
        metric(photo(), photo())


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_refusals_teach(metric):
    hr = photo()
    with pytest.raises(ValueError, match=r"on='Y' is unknown: one of rgb, y, y_rounded, y_full"):
        metric(hr, hr, on="Y", shave=4)
    with pytest.raises(ValueError, match=r"\(3, 300, 448\).*\(3, 300, 451\).*modcrop\(hr, scale\)"):
        metric(hr[..., :448], hr, on="y", shave=4)
    with pytest.raises(ValueError, match=r"sr has values.*expected \[0, 1\]: divide it by 255"):
        metric(hr * 255, hr, on="y", shave=4)
    with pytest.raises(ValueError, match=r"hr has values.*expected \[0, 1\]: divide it by 255"):
        metric(hr, hr * 255, on="y", shave=4)
    with pytest.raises(ValueError, match="border of 150 leaves nothing"):
        metric(hr, hr, on="y", shave=150)


@pytest.mark.parametrize(
    "compare",
    [
        lambda sr, hr: psnr(sr, hr, on="y", shave=4),
        lambda sr, hr: ssim(sr, hr, on="rgb", shave=4),
        lpips,
        lambda sr, hr: explain_psnr(sr, hr, scale=4),
        lambda sr, hr: feature_difference(random_tanh(4), sr, hr, "conv1"),
        lambda sr, hr: captions(hr, {"a": sr}, scale=4),
    ],
)
def test_uint8_is_refused_in_the_words_of_check_image(compare):
    hr = photo()
    with pytest.raises(
        TypeError, match=r"is torch\.uint8, expected floats in \[0, 1\]: use x\.float"
    ):
        compare((255 * hr).byte(), hr)


def test_ssim_refuses_less_than_a_window():
    small = photo()[:, :18, :40]
    with pytest.raises(ValueError, match=r"11x11, but 10x32 pixels are left after shave=4"):
        ssim(small, small, on="y", shave=4)
    with pytest.raises(ValueError, match=r"torch\.float16"):
        ssim(photo(), photo(), on="y", shave=4, dtype=torch.float16)


# ------------------------------------------------------------------ LPIPS


@pytest.fixture
def trunks(assets):
    assets("backbones/lpips_alex.safetensors")
    assets("backbones/lpips_squeeze.safetensors")


@pytest.mark.parametrize(("name", "value"), [("I03", 0.7237), ("I06", 0.0508), ("I08", 0.0520)])
def test_lpips_alex_gives_the_official_values(name, value, trunks, assets):
    folder = assets("calibration/lpips")
    sr, hr = (read_image(folder / f"{name}_{kind}.png") for kind in ("dist", "ref"))
    assert lpips(sr, hr) == pytest.approx(value, abs=2e-4)
    assert lpips(hr, hr) == 0


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_the_packages(net, trunks):
    """The authors' package with our trunk's weights, fed [-1, 1]."""
    import lpips as package

    theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    extractor, _ = lpips_parts(net, torch.device("cpu"))
    with torch.no_grad():
        for mine, other in zip(extractor.body.parameters(), theirs.net.parameters(), strict=True):
            other.copy_(mine)
    hr = photo()[None, :, :120, :150]
    sr = degraded(hr)
    assert lpips(sr, hr, net=net).item() == pytest.approx(
        theirs(2 * sr - 1, 2 * hr - 1).item(), abs=1e-6
    )


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_lpips_is_the_packages_with_any_trunk(monkeypatch, tmp_path):
    """SqueezeNet as torchvision would draw it, so that no file of weights is needed."""
    import lpips as package
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    state = squeezenet1_1().state_dict()
    monkeypatch.delenv("SRKIT_HOME", raising=False)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)
    extractor, heads = lpips_network("squeeze")
    theirs = package.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    with torch.no_grad():
        for mine, other in zip(extractor.body.parameters(), theirs.net.parameters(), strict=True):
            other.copy_(mine)
    hr = photo()[None, :, :120, :150]
    sr = degraded(hr)
    found = lpips_distance(extractor(sr, heads), extractor(hr, heads), heads)
    assert found.item() == pytest.approx(theirs(2 * sr - 1, 2 * hr - 1).item(), abs=1e-6)
    assert found.item() > 1e-3


def test_lpips_of_a_batch_is_a_loop_and_has_gradients(trunks):
    """Also where a region is black and features have no length."""
    hr = torch.stack([photo()[:, :64, :64], photo()[:, 100:164, 200:264]])
    hr[:, :, :40] = 0
    sr = degraded(hr)
    sr[:, :, :40] = 0
    sr.requires_grad_()
    batch = lpips(sr, hr)
    loop = [lpips(a, b) for a, b in zip(sr.detach(), hr, strict=True)]
    assert batch.tolist() == pytest.approx(loop, abs=1e-6)
    batch.sum().backward()
    assert sr.grad.isfinite().all()
    assert sr.grad.abs().amax(dim=(1, 2, 3)).min() > 0


def test_lpips_refusals_teach():
    hr = photo()
    with pytest.raises(ValueError, match=r"sr has values.*expected \[0, 1\]: divide it by 255"):
        lpips(hr * 255, hr)
    with pytest.raises(ValueError, match=r"sr has values.*if it is in \[-1, 1\]"):
        lpips(2 * hr - 1, hr)
    with pytest.raises(ValueError, match="alex, squeeze, vgg"):
        lpips(hr, hr, net="resnet")
    with pytest.raises(ValueError, match="modcrop"):
        lpips(hr[..., :448], hr)


# ------------------------------------------------------------------ explain_psnr


def test_explain_psnr_holds_every_convention():
    hr = photo()
    sr = degraded(hr)
    rows = explain_psnr(sr, hr, scale=2).rows
    assert len({(r["on"], r["shave"], r["values"]) for r in rows}) == len(rows) == 4 * 3 * 3
    for row in rows:
        values = {
            "as given": sr,
            "rounded": torch.floor(sr.double() * 255 + 0.5) / 255,
            "truncated": torch.floor(sr.double() * 255) / 255,
        }[row["values"]]
        assert row["psnr"] == pytest.approx(
            psnr(values, hr, on=row["on"], shave=row["shave"]), abs=1e-3
        )


def test_explain_psnr_of_8bit_files_has_equal_columns(tmp_path):
    """A file's values are whole levels: nothing to round, and truncation must not lose one."""
    from PIL import Image

    hr = photo()[:, :64, :64]
    sr = degraded(hr)
    paths = []
    for name, image in {"sr": sr, "hr": hr}.items():
        paths.append(tmp_path / f"{name}.png")
        levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(paths[-1])
    rows = explain_psnr(*paths, scale=3).rows
    for i in range(0, len(rows), 3):
        assert len({round(row["psnr"], 5) for row in rows[i : i + 3]}) == 1


def test_explain_psnr_prints_a_table_with_the_protocols():
    hr = photo()
    table = explain_psnr(degraded(hr), hr, scale=4)
    named = {r["protocol"]: (r["on"], r["shave"] / 4) for r in table.rows if r["protocol"]}
    assert named == {p.name: (p.on, p.shave) for p in PROTOCOLS.values() if not p.plane}
    lines = str(table).splitlines()
    assert len(lines) == 1 + 12
    classic = psnr(round_8bit(degraded(hr)), hr, on="y", shave=4)
    row = next(line for line in lines if line.endswith("classic"))
    assert row.split()[:2] == ["y", "4"]
    assert row.split()[3] == f"{classic:.3f}"
    assert table._repr_html_().count("<tr>") == 13


def test_explain_psnr_refuses_sizes_that_differ():
    with pytest.raises(ValueError, match=r"modcrop\(hr, scale\)"):
        explain_psnr(photo()[..., :448], photo(), scale=4)
    with pytest.raises(ValueError, match="scale=0: expected a whole number from 1"):
        explain_psnr(photo(), photo(), scale=0)


def test_borders_and_scales_are_whole_numbers():
    with pytest.raises(ValueError, match=r"shave: a border of 1\.5, expected a whole number"):
        psnr(photo(), photo(), on="y", shave=1.5)
    for scale in (2.5, "2"):
        with pytest.raises(ValueError, match=f"scale={scale!r}: expected a whole number from 1"):
            explain_psnr(photo(), photo(), scale=scale)
    with pytest.raises(ValueError, match=r"modcrop: scale 2\.0, expected 1 to"):
        modcrop(photo(), 2.0)
