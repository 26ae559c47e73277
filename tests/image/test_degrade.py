"""Degradations: each step against a formula, and the whole against the published LR pictures."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from srkit.calls import as_json
from srkit.image.degrade import (
    PRESETS,
    Blur,
    Chain,
    Degradation,
    Gaussian,
    Jpeg,
    KernelFile,
    Maybe,
    Motion,
    Noise,
    NoiseFrom,
    OneOf,
    Poisson,
    Resize,
    Shrink,
    Shuffled,
    Sinc,
    add_noise,
    bicubic,
    blind,
    blur,
    degrade_folder,
    gaussian_kernel,
    generator_of,
    jpeg,
    make_lr,
    preset,
    real,
)
from srkit.image.io import read_image, write_image
from srkit.image.tensors import round_8bit


@pytest.fixture
def picture(rng):
    return torch.rand(3, 36, 44, generator=rng)


def test_the_gaussian_has_unit_sum_and_the_widths_asked_for():
    kernel = gaussian_kernel(2.0, sigma_y=1.0).double()
    radius = kernel.shape[0] // 2
    t = torch.arange(-radius, radius + 1, dtype=torch.float64)
    assert math.isclose(kernel.sum(), 1, rel_tol=1e-6)
    assert abs((kernel.sum(0) * t**2).sum().sqrt() - 2.0) < 0.03  # cut at three sigma
    assert abs((kernel.sum(1) * t**2).sum().sqrt() - 1.0) < 0.01


def test_a_quarter_turn_swaps_the_widths():
    turned = gaussian_kernel(2.0, sigma_y=1.0, angle=90)
    torch.testing.assert_close(turned, gaussian_kernel(2.0, sigma_y=1.0).T, atol=1e-7, rtol=0)


def test_blur_is_a_convolution_with_the_edge_repeated(picture, rng):
    """Against scipy: convolution (not correlation), mode "nearest"."""
    kernel = torch.rand(5, 3, generator=rng)
    expected = np.stack(
        [ndimage.convolve(c, kernel.numpy(), mode="nearest") for c in picture.numpy()]
    )
    torch.testing.assert_close(blur(picture, kernel), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_noise_has_the_deviation_in_levels_of_255(rng):
    grey = torch.full((3, 200, 200), 0.5)
    noisy = add_noise(grey, 10, rng)
    assert abs((noisy - grey).std() * 255 - 10) < 0.1


def test_jpeg_loses_more_at_lower_quality_and_keeps_the_size(picture):
    errors = [(jpeg(picture, quality) - picture).abs().mean() for quality in (95, 50, 5)]
    assert errors == sorted(errors)
    assert jpeg(picture, 50).shape == picture.shape


def test_make_lr_alone_is_the_published_lr_picture(assets):
    folder = assets("benchmarks/Set5")
    for scale in (2, 3, 4):
        lr = make_lr(read_image(folder / "HR/butterfly.png"), scale)
        published = read_image(folder / f"LR_bicubic/X{scale}/butterflyx{scale}.png")
        assert torch.equal(lr, published)


def test_each_step_changes_the_picture(picture):
    plain = make_lr(picture, 2)
    assert plain.shape == (3, 18, 22)
    for step in ({"kernel": gaussian_kernel(1.5)}, {"noise": 5.0}, {"quality": 30}):
        assert not torch.equal(make_lr(picture, 2, **step), plain)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: blur(x, gaussian_kernel(1.0)),
        lambda x: add_noise(x, 5.0),
        lambda x: jpeg(x, 50),
        lambda x: make_lr(x, 2),
    ],
)
def test_uint8_is_refused_in_the_words_of_check_image(call, picture):
    with pytest.raises(
        TypeError, match=r"image is torch\.uint8, expected floats in \[0, 1\]: use x"
    ):
        call((255 * picture).byte())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: gaussian_kernel(0), "positive width"),
        (lambda p: blur(p, torch.ones(4, 4)), r"kernel is \(4, 4\)"),
        (lambda p: jpeg(p, 100), "quality 100"),
        (lambda p: make_lr(p * 255, 2), "expected"),
    ],
)
def test_refusals_teach(call, words, picture):
    with pytest.raises(ValueError, match=words):
        call(picture)


# ------------------------------------------------------------------ degradations as values


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def every_step(tmp_path):
    """A degradation with each kind of step and of kernel in it."""
    np.save(tmp_path / "kernel.npy", np.ones((3, 5)))
    noise = 0.5 + 0.005 * torch.randn(3, 64, 64, generator=seeded())
    write_image(noise, tmp_path / "plain" / "wall.png")
    kernels = (
        Gaussian((0.5, 2)), Gaussian(2, (0.5, 3), (0, 180), shape=(0.5, 2), side=(7, 21)),
        Gaussian(1, plateau=True), Motion((2, 9)), Sinc((1, math.pi)),
        KernelFile(str(tmp_path / "kernel.npy")),
    )  # fmt: skip
    return Degradation(2, (
        Shuffled((Blur(OneOf((1,) * 6, kernels)), Resize((0.5, 1.5), ("box", "linear")),
                  Noise((0, 9), grey=0.5)), ordered=(0, 1)),
        Maybe(0.5, Chain((Poisson((100, 500), (0, 2), 0.5), Jpeg((30, 95))))),
        Shrink(("cubic", "lanczos3")),
        NoiseFrom(str(tmp_path / "plain"), patch=8),
    ))  # fmt: skip


def test_bicubic_is_make_lr_bit_for_bit(picture):
    for scale in (2, 3, 4):
        assert torch.equal(bicubic(scale)(picture), make_lr(picture, scale))


@pytest.mark.parametrize("name", [*PRESETS, "every step"])
def test_the_same_seed_gives_the_same_picture_in_8_bits_of_lrs_size(name, picture, tmp_path):
    degrade = every_step(tmp_path) if name == "every step" else preset(name, 2)
    pictures = [degrade(picture, seeded(seed)) for seed in range(12)]
    for seed, lr in enumerate(pictures):
        assert lr.shape == (3, 18, 22)
        assert torch.equal(lr, degrade(picture, seeded(seed)))
        assert torch.equal(lr, round_8bit(lr))
    assert len({lr.numpy().tobytes() for lr in pictures}) == (1 if name == "bicubic" else 12)


def test_of_a_batch_each_picture_draws_for_itself(picture):
    lr = real(2)(torch.stack([picture, picture]), seeded())
    assert lr.shape == (2, 3, 18, 22)
    assert torch.equal(lr[0], real(2)(picture, seeded()))
    assert not torch.equal(lr[0], lr[1])


@pytest.mark.parametrize("side", [5, 9, 21])
def test_blur_by_either_way_is_the_convolution(side, picture):
    """Small kernels are summed, large ones go through the Fourier transform."""
    step = Blur(Gaussian(1.5, 3.0, 30, side=side))
    expected = blur(picture, step.kernel.make(None))
    torch.testing.assert_close(step.apply(picture, None, (1, 1)), expected, atol=2e-6, rtol=0)


def test_kernels_have_the_shape_that_they_say():
    t = torch.arange(-10, 11, dtype=torch.float64)
    flat, sharp = (Gaussian(2, plateau=p, side=21).make().double() for p in (True, False))
    assert math.isclose(flat.sum(), 1, rel_tol=1e-6)
    assert flat[10, 9] / flat[10, 10] == pytest.approx(1 / (1 + 0.25))
    assert sharp[10, 9] / sharp[10, 10] == pytest.approx(math.exp(-1 / 8))
    line = Motion(7, 90).make().double()
    assert line.sum() == pytest.approx(1)
    assert (line.sum(1) > 1e-3).sum() == 9  # seven pixels and a share at both ends
    assert torch.equal(line.sum(0) > 1e-3, torch.arange(len(line)) == len(line) // 2)
    ring = Sinc(math.pi / 3, 21).make().double()
    assert ring.min() < 0 < ring.max()
    gain = (ring.sum(0) * torch.cos(2.5 * t)).sum()
    assert abs(gain) < 0.05, "a low-pass lets nothing above its cutoff pass"


def test_a_kernel_from_a_file_is_that_kernel(tmp_path):
    kernel = gaussian_kernel(1.0)
    np.save(tmp_path / "k.npy", 5 * kernel.numpy())
    found = KernelFile(str(tmp_path / "k.npy")).make()
    torch.testing.assert_close(found, kernel, atol=1e-7, rtol=0)
    write_image((kernel / kernel.max()).expand(3, -1, -1), tmp_path / "k.png")
    found = KernelFile(str(tmp_path / "k.png")).make()
    torch.testing.assert_close(found, kernel, atol=1e-3, rtol=0)


def test_noise_has_the_statistics_of_its_equation():
    grey = torch.full((3, 200, 200), 0.5)
    normal = Noise(10).apply(grey, seeded(), (1, 1)) - grey
    assert abs(normal.std() * 255 - 10) < 0.2
    same = Noise(10, grey=1.0).apply(grey, seeded(), (1, 1))
    assert torch.equal(same[0], same[1])
    light = Poisson(100).apply(grey, seeded(), (1, 1)) - grey
    assert light.var() == pytest.approx(0.5 / 100, rel=0.05)  # mean / photons
    assert abs(light.mean()) < 1e-3


def test_noise_from_pictures_is_theirs_and_leaves_edges_alone(tmp_path):
    """A wall with noise of deviation 3 beside a checkerboard: only the wall gives patches."""
    wall = 0.5 + 3 / 255 * torch.randn(3, 64, 64, generator=seeded())
    board = (torch.arange(64) // 4 % 2).float().expand(3, 64, -1)
    write_image(torch.cat([wall, board], -1), tmp_path / "wall.png")
    step = NoiseFrom(str(tmp_path), patch=16)
    assert len(step._patches()) == 16
    noise = step.apply(torch.full((3, 40, 50), 0.5), seeded(), (1, 1)) - 0.5
    assert noise.std() * 255 == pytest.approx(3, rel=0.1)
    with pytest.raises(ValueError, match=r"no square of 16 pixels in .* is as smooth as most=0\.1"):
        NoiseFrom(str(tmp_path), patch=16, most=0.1)


def test_it_prints_as_its_equation():
    degrade = Degradation(4, (Blur(Gaussian((0.2, 3))), Shrink(), Noise(5), Jpeg((30, 95))))
    assert str(degrade).splitlines() == [
        "x = hr",
        "x = x * k, k Gaussian, sigma in [0.2, 3]",
        "x = x resized to LR's size, cubic, 8 bits",
        "x = x + n, n ~ N(0, (sigma/255)²), sigma 5",
        "x = JPEG(x), quality in [30, 95]",
        "lr = x, of 1/4 the sides",
    ]
    assert "(80%) x = x * k, k an ideal low-pass" in str(real(4))
    assert "in any order (numbers 2, 3 in that order)" in str(blind(4))


def test_it_can_be_written_down_and_compared(tmp_path):
    for make in (real, blind, lambda scale: every_step(tmp_path)):
        assert json.dumps(as_json(make(2))) == json.dumps(as_json(make(2)))
    assert real(2) == real(2) != real(4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gaussian(0), "sigma=0: expected a number above 0, or a range"),
        (lambda: Gaussian((3, 1)), r"sigma=\(3, 1\): expected a number, or a range \(low, high\)"),
        (lambda: Gaussian(float("nan")), "sigma=nan: expected a number, or a range"),
        (lambda: Gaussian("2"), "sigma='2': expected a number, or a range"),
        (lambda: Gaussian(1, side=8), "side=8: a kernel has odd sides"),
        (lambda: Motion(-1), "length=-1: expected a number above 0"),
        (lambda: Sinc(4), "cutoff=4: pi radians a pixel is the most"),
        (lambda: Noise(-1), "sigma=-1: expected a number from 0"),
        (lambda: Noise(1, grey=2), "grey=2: expected a probability, 0 to 1"),
        (lambda: Poisson(0), "photons=0: expected a number above 0"),
        (lambda: Jpeg(96), "quality=96: expected a number below 96"),
        (lambda: Jpeg(0), "quality=0: expected a whole number from 1"),
        (lambda: Resize(1, "nearest"), "kernel='nearest': one of box, linear, cubic"),
        (lambda: Maybe(1.5, Jpeg(5)), "chance=1.5: expected a probability"),
        (lambda: OneOf((1,), ()), "1 chances for 0 to choose"),
        (lambda: Shuffled((Jpeg(5),), ordered=(1,)), "ordered=.1,.: the steps have the numbers 0"),
        (lambda: Degradation(0, (Shrink(),)), "scale=0: expected a whole number from 1"),
        (lambda: Degradation(4, ()), "a degradation without steps"),
        (lambda: preset("heavy", 4), "no degradation 'heavy': one of bicubic, blind, real"),
        (
            lambda: Degradation(2, (Shrink(), Resize(0.5)))(torch.rand(3, 8, 8)),
            r"the steps end at \(2, 2\), LR is \(4, 4\)",
        ),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_is_no_step_or_no_kernel_file_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"4 is no step: Blur\(\.\.\.\)"):
        Degradation(2, (4,))
    with pytest.raises(FileNotFoundError, match="there is no kernel file"):
        KernelFile(str(tmp_path / "none.npy"))
    (tmp_path / "bad.npy").write_bytes(b"no numbers")
    with pytest.raises(ValueError, match="is no NumPy array of numbers"):
        KernelFile(str(tmp_path / "bad.npy"))
    np.save(tmp_path / "even.npy", np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"even\.npy is \(4, 4\): expected \(k, k\) with odd k"):
        KernelFile(str(tmp_path / "even.npy"))
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="is no blur kernel"):
        KernelFile(str(tmp_path / "zero.npy"))


# ------------------------------------------------------------------ a folder of them


def test_a_folder_is_degraded_file_by_file(tmp_path, picture):
    for name in ("a.png", "b.jpg"):
        write_image(picture, tmp_path / "hr" / name)
    (tmp_path / "hr" / "broken.png").write_bytes(b"no picture")
    write_image(torch.rand(3, 1, 1), tmp_path / "hr" / "dot.png")
    report = degrade_folder(real(2), tmp_path / "hr", tmp_path / "lr", seed=3)
    assert sorted(p.name for p in report.done.values()) == ["a.png", "b.png"]
    assert sorted(p.name for p in report.left_out) == ["broken.png", "dot.png"]
    expected = real(2)(read_image(tmp_path / "hr/a.png"), generator_of(3, "a.png"))
    assert torch.equal(read_image(tmp_path / "lr/a.png"), expected)
    (tmp_path / "hr" / "b.jpg").unlink()
    again = degrade_folder(real(2), tmp_path / "hr", tmp_path / "again", seed=3)
    assert torch.equal(read_image(again.done[tmp_path / "hr/a.png"]), expected)


def test_a_folder_is_refused_before_a_file_is_written(tmp_path, picture):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for name in ("a.png", "b.png"):
        write_image(picture, hr / name)
    write_image(picture, lr / "b.png")
    with pytest.raises(FileExistsError, match=r"b\.png exists: --overwrite replaces it"):
        degrade_folder(bicubic(2), hr, lr)
    with pytest.raises(ValueError, match="write the LR ones to another folder"):
        degrade_folder(bicubic(2), hr, hr)
    write_image(picture, hr / "b.bmp")
    with pytest.raises(ValueError, match="two pictures named b: rename one"):
        degrade_folder(bicubic(2), hr, tmp_path / "new")
    assert sorted(p.name for p in lr.iterdir()) == ["b.png"]
    assert not (tmp_path / "new").exists()
