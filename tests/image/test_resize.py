"""imresize gives the published low-resolution files to the bit, and MATLAB's formula on floats."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from srkit import imresize
from srkit.image.resize import _blocks, _enlarged

KERNELS = ["box", "linear", "cubic", "lanczos2", "lanczos3"]
BORDERS = ["clamp", "mirror"]


# --- the published files ---------------------------------------------------------------------


def read(path) -> torch.Tensor:
    """The file's own samples, uint8 (C, H, W); one channel where the file has one."""
    return torch.from_numpy(np.atleast_3d(np.asarray(Image.open(path))).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "folder", "border", "count"),
    [
        ("Set5", "LR_bicubic", "clamp", 5),
        ("Set5", "LR_bicubic_mirror", "mirror", 5),
        ("Set14", "LR_bicubic", "clamp", 14),
        ("BSD100", "LR_bicubic", "clamp", 100),
    ],
)
def test_published_lr_files_to_the_bit(assets, name, folder, border, count, scale):
    root = assets(f"benchmarks/{name}")
    files = sorted((root / folder / f"X{scale}").glob("*.png"))
    assert len(files) == count
    wrong = {}
    for path in files:
        (hr_path,) = (root / "HR").glob(path.stem.removesuffix(f"x{scale}") + ".*")
        hr, lr = read(hr_path), read(path)
        height, width = (n // scale * scale for n in hr.shape[1:])
        ours = imresize(hr[:, :height, :width], 1 / scale, border=border)
        assert ours.shape == lr.shape
        if not torch.equal(ours, lr):
            wrong[path.name] = int((ours != lr).sum())
    assert wrong == {}


# --- MATLAB's formula, one pixel at a time ---------------------------------------------------


def weight(kernel: str, x: float) -> float:
    """The kernels by their textbook formulas (Keys's cubic with a = -1/2, Lanczos's by sines)."""
    distance = abs(x)
    if kernel == "box":
        return float(-0.5 <= x < 0.5)
    if kernel == "linear":
        return max(0.0, 1 - distance)
    if kernel == "cubic":
        a = -0.5
        if distance <= 1:
            return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0
    lobes = int(kernel[-1])
    if x == 0:
        return 1.0
    if distance >= lobes:
        return 0.0
    angle = math.pi * x
    return lobes * math.sin(angle) * math.sin(angle / lobes) / angle**2


def outside(i: int, n: int, border: str) -> int:
    """The pixel that stands for pixel i of a line of n."""
    if border == "clamp":
        return min(max(i, 0), n - 1)
    while not 0 <= i < n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


def resize_line(line, n_out, scale, kernel, border, antialias):
    shrink = min(scale, 1) if antialias else 1
    reach = math.ceil(3 / shrink) + 1
    result = []
    for k in range(n_out):
        centre = (k + 0.5) / scale - 0.5
        near = range(math.floor(centre) - reach, math.ceil(centre) + reach + 1)
        weights = [weight(kernel, (centre - i) * shrink) for i in near]
        pixels = [line[outside(i, len(line), border)] for i in near]
        total = sum(w * p for w, p in zip(weights, pixels, strict=True))
        result.append(total / sum(weights))
    return result


def slow_imresize(rows, size, scales, order, kernel, border, antialias, to_8bit=False):
    for axis in order:
        if axis == 0:
            rows = zip(*rows, strict=True)
        rows = [resize_line(r, size[axis], scales[axis], kernel, border, antialias) for r in rows]
        if to_8bit:
            rows = [[min(max(math.floor(v + 0.5), 0), 255) for v in row] for row in rows]
        if axis == 0:
            rows = list(zip(*rows, strict=True))
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [1 / 3, 0.37, 1 / 16, 1.0, 1.7, 4.0])
def test_floats_match_the_formula(rng, scale, kernel, border, antialias):
    x = torch.rand(9, 7, generator=rng, dtype=torch.float64)
    size = [math.ceil(scale * n) for n in x.shape]
    expected = slow_imresize(x.tolist(), size, [scale] * 2, (0, 1), kernel, border, antialias)
    y = imresize(x, scale, kernel=kernel, border=border, antialias=antialias)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    ("size", "order"), [((5, 4), (1, 0)), ((4, 6), (0, 1)), ((20, 3), (1, 0)), ((3, 20), (0, 1))]
)
def test_uint8_rounds_after_each_axis_smallest_scale_first(rng, size, order, border):
    """On a square picture, where the order follows from the size; the other order differs."""
    x = torch.randint(0, 256, (11, 11), generator=rng, dtype=torch.uint8)
    scales = [n / 11 for n in size]
    rule = ("cubic", border, True, True)
    expected = slow_imresize(x.tolist(), size, scales, order, *rule)
    other = slow_imresize(x.tolist(), size, scales, order[::-1], *rule)
    y = imresize(x, size=size, border=border)
    assert y.dtype == torch.uint8
    assert torch.equal(y.double(), expected)
    assert not torch.equal(expected, other)


def test_interior_is_torchs_antialiased_bicubic(rng):
    """An independent implementation agrees away from the border, also across block seams."""
    x = torch.rand(1, 2, 300, 240, generator=rng, dtype=torch.float64)
    for size, edge in [((100, 80), 3), ((1200, 960), 12), ((170, 111), 3)]:
        theirs = F.interpolate(x, size, mode="bicubic", antialias=True)
        difference = (imresize(x, size=size) - theirs)[..., edge:-edge, edge:-edge]
        assert difference.abs().max() < 1e-12


# --- rounding, shapes, sizes -----------------------------------------------------------------


def test_halves_round_up(rng):
    """The mean of six pixels is a half or not by whole numbers; sixths are not exact in binary."""
    x = torch.randint(0, 256, (1000, 1, 6), generator=rng, dtype=torch.uint8)
    y = imresize(x, size=(1, 1), kernel="box").flatten()
    assert torch.equal(y.long(), (x.long().sum(-1).flatten() + 3) // 6)


def test_uint8_is_clipped_not_wrapped():
    step = torch.tensor([[0] * 8 + [255] * 8] * 4, dtype=torch.uint8)
    y = imresize(step, 4.0)
    overshoot = imresize(step.float(), 4.0)
    assert overshoot.amin() < -1
    assert overshoot.amax() > 256
    assert y[:, :28].amax() < 10
    assert y[:, 36:].amin() > 245


@pytest.mark.parametrize("scale", [1 / 3, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_leading_dimensions_are_a_batch(rng, dtype, scale):
    x = (torch.rand(2, 5, 3, 13, 40, generator=rng) * 255).to(dtype)
    y = imresize(x, scale)
    alone = torch.stack([torch.stack([imresize(p, scale) for p in row]) for row in x[:, :, 1]])
    torch.testing.assert_close(y[:, :, 1], alone, rtol=0, atol=1e-4)
    assert imresize(x[:0], scale).shape == (0, *y.shape[1:])


@pytest.mark.parametrize("layout", ["channels_last", "strided"])
def test_memory_layout_does_not_matter(rng, layout):
    x = torch.rand(2, 3, 50, 37, generator=rng)
    view = x.to(memory_format=torch.channels_last)
    if layout == "strided":
        view = torch.stack([x, -x], -1)[..., 0]
    torch.testing.assert_close(imresize(view, 0.4), imresize(x, 0.4))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("scale", [1 / 16, 0.3, 2.5, 16])
def test_a_constant_picture_stays_constant(scale, border, kernel):
    x = torch.full((3, 21, 33), 0.7)
    y = imresize(x, scale, border=border, kernel=kernel)
    assert y.shape == (3, math.ceil(21 * scale), math.ceil(33 * scale))
    torch.testing.assert_close(y, torch.full_like(y, 0.7))
    assert (imresize((x * 100).byte(), scale, border=border, kernel=kernel) == 70).all()


def test_size_and_scale_rules(rng):
    x = torch.rand(3, 10, 12, generator=rng)
    assert imresize(x, 1 / 4).shape == (3, 3, 3)  # ceil(2.5), ceil(3)
    assert torch.equal(imresize(x, 1 / 2), imresize(x, size=(5, 6)))
    assert torch.equal(imresize(x, 1), x)
    line = torch.rand(1, 50, generator=rng)
    assert imresize(line, 1.1).shape == (2, 56)  # 1.1 * 50 is above 55 in binary
    assert imresize(line, Fraction("1.1")).shape == (2, 55)
    # 10 / 3 pixels become 4; a scale keeps its grid, a size stretches the picture over 4 pixels
    assert not torch.allclose(imresize(x, 1 / 3), imresize(x, size=(4, 4)))


def test_antialias_off_reads_only_the_nearest_pixels(rng):
    x = torch.rand(40, 40, generator=rng)
    assert torch.equal(imresize(x, 1 / 5, kernel="box", antialias=False), x[2::5, 2::5])
    assert torch.equal(imresize(x, 2.0, antialias=False), imresize(x, 2.0))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_what_an_export_records_is_the_same_enlargement(scale, border, rng):
    for size in ((2, 3, 7, 12), (1, 1, 1, 2), (5, 4)):
        x = torch.rand(size, generator=rng, dtype=torch.float64)
        expected = imresize(x, scale, border=border)
        torch.testing.assert_close(_enlarged(x, scale, border), expected, rtol=0, atol=1e-12)


# --- as a part of a program ------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.4, 3])
@pytest.mark.parametrize("border", BORDERS)
def test_gradient(rng, scale, border):
    x = torch.rand(2, 7, 9, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale, border=border), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept_and_half_precision_computed_in_float32(rng, dtype):
    x = torch.rand(3, 32, 32, generator=rng).to(dtype)
    y = imresize(x, 1 / 4)
    assert y.dtype == dtype
    assert torch.equal(y, imresize(x.to(torch.promote_types(dtype, torch.float32)), 0.25).to(dtype))


def test_autocast_does_not_touch_it(rng):
    x = torch.rand(3, 32, 32, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = imresize(x, 1 / 4)
    assert torch.equal(y, imresize(x, 1 / 4))


def test_matrices_first_made_in_inference_mode_can_be_trained_through():
    _blocks.cache_clear()
    with torch.inference_mode():
        imresize(torch.rand(31, 31), 0.5)
    x = torch.rand(31, 31, requires_grad=True)
    imresize(x, 0.5).sum().backward()
    assert x.grad.sum() == pytest.approx(16 * 16, rel=1e-5)


def test_matrices_of_a_large_picture_are_small():
    for n_out, scale in [(2500, 1 / 4), (40000, 4.0)]:
        rule = (10000, n_out, scale, "cubic", "clamp", True, torch.float32, torch.device("cpu"))
        assert sum(m.numel() for _, _, m in _blocks(*rule)) < 50 * max(10000, n_out)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu(rng):
    x = torch.rand(2, 3, 127, 95, generator=rng)
    for scale in (1 / 3, 2.5):
        y = imresize(x.cuda(), scale)
        assert y.is_cuda
        torch.testing.assert_close(y.cpu(), imresize(x, scale), rtol=0, atol=1e-5)
        x8 = (x * 255).byte()
        assert torch.equal(imresize(x8.cuda(), scale).cpu(), imresize(x8, scale))


# --- refusals --------------------------------------------------------------------------------

PICTURE = torch.zeros(3, 8, 8)


@pytest.mark.parametrize(
    ("x", "kwargs", "error", "words"),
    [
        (PICTURE.numpy(), {"scale": 2}, TypeError, r"tensor, got ndarray.*srkit\.read_image"),
        (PICTURE.bool(), {"scale": 2}, TypeError, r"uint8 or floating.*got torch\.bool"),
        (PICTURE.long(), {"scale": 2}, TypeError, r"got torch\.int64.*x\.float\(\) converts"),
        (PICTURE[0, 0], {"scale": 2}, ValueError, r"takes \(\.\.\., H, W\).*shape \(8,\)"),
        (PICTURE[:, :0], {"scale": 2}, ValueError, r"at least one pixel.*\(3, 0, 8\)"),
        (PICTURE, {}, ValueError, r"either scale .* or size .*got neither"),
        (PICTURE, {"scale": 2, "size": (4, 4)}, ValueError, r"either scale .* or size .*got both"),
        (PICTURE, {"scale": 0}, ValueError, r"one positive number.*got 0;"),
        (PICTURE, {"scale": -0.5}, ValueError, r"one positive number.*got -0\.5;"),
        (PICTURE, {"scale": math.nan}, ValueError, r"one positive number.*got nan;"),
        (PICTURE, {"scale": math.inf}, ValueError, r"one positive number.*got inf;"),
        (PICTURE, {"scale": (2, 3)}, ValueError, r"got \(2, 3\); for two different.*size=\(H, W\)"),
        (PICTURE, {"size": (0, 4)}, ValueError, r"two positive whole numbers, got \(0, 4\)"),
        (PICTURE, {"size": (4.0, 4)}, ValueError, r"two positive whole numbers, got \(4\.0, 4\)"),
        (PICTURE, {"size": (3, 4, 4)}, ValueError, r"must be \(H, W\).*got \(3, 4, 4\)"),
        (PICTURE, {"scale": 2, "kernel": "bicubic"}, ValueError, r"one of box.*cubic.*'bicubic'"),
        (PICTURE, {"scale": 2, "border": "reflect"}, ValueError, r"clamp, mirror, got 'reflect'"),
    ],
)
def test_refusals_say_what_to_do(x, kwargs, error, words):
    with pytest.raises(error, match=words):
        imresize(x, **kwargs)


@pytest.mark.parametrize(
    ("kernel", "width"), [("box", 1), ("linear", 2), ("cubic", 4), ("lanczos2", 4), ("lanczos3", 6)]
)
@pytest.mark.parametrize("scale", [4, 1, 1 / 2])
def test_the_limit_counts_the_weights_of_a_side(kernel, width, scale, monkeypatch):
    """A pixel is made of as many as the kernel is wide, and 2; of more where it shrinks."""
    side, taps = 8, int(width / min(scale, 1)) + 2
    weights = int(side * scale) * taps
    monkeypatch.setattr("srkit.image.resize.MOST_WEIGHTS", weights)
    assert imresize(torch.rand(3, side, side), scale, kernel=kernel).shape[-1] == side * scale
    monkeypatch.setattr("srkit.image.resize.MOST_WEIGHTS", weights - 1)
    with pytest.raises(ValueError, match=rf"would become {int(side * scale)}, each made of {taps}"):
        imresize(torch.rand(3, side, side), scale, kernel=kernel)
