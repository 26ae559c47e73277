"""Degradations: each step against a formula, and the whole against the published LR pictures."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from srkit.image.degrade import add_noise, blur, gaussian_kernel, jpeg, make_lr
from srkit.image.io import read_image


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
