"""Pictures made by code: the same for the same seed, in range, and with natural statistics."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from srkit.datasets import procedural
from srkit.datasets.priors import textures
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


# Grey levels of the four quarters of 40 x 48 pixels.
DRAWN = [
    (dead_leaves, 0, [114.3, 119.0, 94.3, 122.2]),
    (dead_leaves, 1, [101.4, 95.1, 100.2, 93.8]),
    (dead_leaves, 2, [124.7, 177.6, 147.0, 195.5]),
    (facades, 0, [132.5, 133.1, 96.9, 101.8]),
    (facades, 1, [145.1, 68.6, 138.9, 70.8]),
    (facades, 2, [150.7, 149.3, 151.8, 151.3]),
    (gratings, 0, [130.8, 130.7, 82.6, 90.5]),
    (gratings, 1, [66.4, 84.9, 108.7, 108.4]),
    (gratings, 2, [131.1, 129.3, 115.0, 126.4]),
    (text, 0, [131.4, 130.0, 146.2, 136.7]),
    (text, 1, [79.8, 87.9, 82.3, 86.2]),
    (text, 2, [92.4, 98.5, 85.8, 94.0]),
]


@pytest.mark.parametrize(("make", "seed", "levels"), DRAWN)
def test_a_seed_draws_what_recorded_runs_learned_from(make, seed, levels):
    """Their pictures are drawn anew, not stored: a law of sizes or colours must not shift."""
    found = 255 * F.adaptive_avg_pool2d(make((40, 48), seed), 2).mean(0).flatten()
    tolerance = 2 if make is text else 0.3  # letters come from Pillow's font
    assert found.tolist() == pytest.approx(levels, abs=tolerance)


@pytest.mark.parametrize(
    ("seed", "levels", "areas", "spread"),
    [
        (0, [135.3, 136.4, 121.7, 140.3], [933, 0, 310, 677, 0], 24.63),
        (1, [127.1, 124.7, 127.3, 117.6], [214, 460, 1246, 0, 0], 27.89),
        (2, [141.7, 140.1, 125.9, 139.5], [0, 0, 657, 885, 378], 30.31),
    ],
)
def test_textures_too(seed, levels, areas, spread):
    """Three regions; how many pixels each class has; the levels of the quarters."""
    picture, labels = textures((40, 48), seed)
    assert torch.bincount(labels.flatten().long(), minlength=5).tolist() == areas
    found = F.adaptive_avg_pool2d(picture.float(), 2).mean(0).flatten()
    assert found.tolist() == pytest.approx(levels, abs=0.3)
    assert picture.float().std().item() == pytest.approx(spread, abs=0.1)
