"""Pictures made by code: the same for the same seed, in range, and with natural statistics."""

import numpy as np
import pytest
import torch

from srkit.datasets import procedural
from srkit.datasets.procedural import dead_leaves, facades, gratings, pictures, text


@pytest.mark.parametrize("make", [dead_leaves, gratings, text, facades])
def test_each_kind_is_an_image_of_the_asked_size_that_its_seed_decides(make):
    image = make((40, 57), 3)
    assert image.shape == (3, 40, 57)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    assert torch.equal(image, make((40, 57), 3))
    assert not torch.equal(image, make((40, 57), 4))
    assert make(16).shape == (3, 16, 16)
    with pytest.raises(ValueError, match=r"size is \(40, 7\): expected at least 8"):
        make((40, 7))


def test_the_global_random_state_is_neither_used_nor_changed():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = dead_leaves(32, 1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(first, dead_leaves(32, 1))


def spectral_slope(image):
    """The exponent of power against frequency, from 4 cycles a picture to half of Nyquist's."""
    side = image.shape[-1]
    grey = image.double().mean(0)
    window = torch.hann_window(side, dtype=torch.float64)
    power = torch.fft.fft2((grey - grey.mean()) * window * window[:, None]).abs() ** 2
    frequency = torch.fft.fftfreq(side, 1 / side)
    ring = torch.hypot(frequency, frequency[:, None]).round().long().flatten()
    radial = torch.bincount(ring, power.flatten()) / torch.bincount(ring)
    band = np.arange(4, side // 4)
    return np.polyfit(np.log(band), np.log(radial[band].numpy()), 1)[0]


def test_the_power_spectrum_of_dead_leaves_falls_as_that_of_photographs():
    """Natural pictures: close to 1/f^2. The ruler itself is tried on noise first."""
    white = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert abs(spectral_slope(white)) < 0.1
    slopes = [spectral_slope(dead_leaves(256, seed)) for seed in range(8)]
    assert -2.5 < np.mean(slopes) < -1.9


def test_bigger_leaves_make_smoother_pictures():
    def variation(smallest):
        return torch.stack(
            [dead_leaves(128, s, smallest=smallest).diff().abs().mean() for s in range(3)]
        ).mean()

    assert variation(8) < variation(2) / 1.5


def test_colours_of_dead_leaves_go_together_as_natural_ones_do():
    """BSDS photographs: red and blue correlate at 0.84, the deviation is 0.20."""
    images = torch.stack([dead_leaves(128, seed) for seed in range(8)])
    correlation = torch.stack([torch.corrcoef(image.flatten(1))[0, 2] for image in images])
    assert 0.6 < correlation.mean() < 0.95
    assert 0.15 < images.std((1, 2, 3)).mean() < 0.25


def test_edges_are_smooth_because_they_were_drawn_at_twice_the_size():
    """A facade is drawn in a few flat colours; halving it adds the ones between."""
    assert len(facades(64, 0).flatten(1).T.unique(dim=0)) > 50


def test_a_mixture_takes_turns_and_begins_alike_whatever_its_length():
    few, many = pictures(3, 32, seed=7), pictures(7, 32, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    kinds = set(procedural.MIXTURE)
    assert kinds == {dead_leaves, gratings, text, facades}
    assert not torch.equal(many[0], many[2]), "two dead leaves of one mixture differ"
    assert not torch.equal(many[0], many[6])
