"""What holds for every picture, size and setting: resizing, metrics, tiles.

Each property is a function of what hypothesis draws; `check` tries it. A failure tells the smallest
case that hypothesis finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import hypothesis
import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from test_inference import Plain
from torch import Tensor

from srkit import imresize, psnr, ssim
from srkit.image.resize import BORDERS, KERNELS
from srkit.inference import receptive_field, upscale
from srkit.metrics.protocols import CHANNELS

Property = tuple[Callable[..., None], dict[str, st.SearchStrategy]]
PROPERTIES: dict[str, list[Property]] = {"imresize": [], "metrics": [], "tiles": []}


def of(group: str, **drawn: st.SearchStrategy) -> Callable:
    """Add a function to the properties of a group."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        PROPERTIES[group].append((function, drawn))
        return function

    return add


def check(one: Property, examples: int, seed: int | None = None) -> int:
    """Try a property on so many examples, and return how many were tried.

    seed: None draws the same ones each time. Raises what the property raises.
    """
    function, drawn = one
    count = 0

    def counted(**values: Any) -> None:
        nonlocal count
        count += 1
        function(**values)

    counted.__name__ = counted.__qualname__ = function.__name__
    test = hypothesis.given(**drawn)(counted)
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    hypothesis.settings(
        max_examples=examples, database=None, deadline=None, derandomize=seed is None
    )(test)()
    return count


# ------------------------------------------------------------------ what is drawn

sides = st.integers(1, 24)
sizes = st.tuples(sides, sides)
seeds = st.integers(0, 2**32 - 1)
kernels, borders = st.sampled_from(list(KERNELS)), st.sampled_from(BORDERS)
floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
dtypes = st.one_of(st.just(torch.uint8), floats)


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Of [0, 1], or of 0 to 255 in uint8."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (256 * x).to(dtype) if dtype == torch.uint8 else x.to(dtype)


def in_words(error: Exception) -> None:
    """A refusal is a sentence."""
    assert type(error) in (ValueError, TypeError), repr(error)
    assert len(str(error)) > 20, repr(error)
    assert "\n" not in str(error)


# ------------------------------------------------------------------ imresize

scales = st.one_of(
    st.floats(0.02, 6), st.integers(1, 5), st.fractions(Fraction(1, 20), 5, max_denominator=50)
)
anything = st.one_of(
    st.none(), st.floats(), st.integers(-3, 10**12), st.text(max_size=3), st.booleans(),
    st.complex_numbers(), st.lists(st.integers(-1, 4), max_size=3),
)  # fmt: skip


@of("imresize", size=sizes, leading=st.sampled_from([(), (3,), (2, 1), (0,)]), dtype=dtypes,
    scale=scales, kernel=kernels, border=borders, antialias=st.booleans(), seed=seeds)  # fmt: skip
def shape_and_kind(size, leading, dtype, scale, kernel, border, antialias, seed):
    """The sides become ceil(scale * n), the dtype stays, and every value is finite."""
    x = noise(seed, *leading, *size, dtype=dtype)
    y = imresize(x, scale, kernel=kernel, border=border, antialias=antialias)
    assert y.shape == (*leading, *(math.ceil(scale * n) for n in size))
    assert y.dtype == dtype
    assert y.float().isfinite().all()


@of("imresize", size=sizes, to=sizes, dtype=dtypes, level=st.integers(0, 255), kernel=kernels,
    border=borders, antialias=st.booleans())  # fmt: skip
def a_constant_stays(size, to, dtype, level, kernel, border, antialias):
    x = torch.full(size, level, dtype=torch.float64)
    x = x.to(dtype) if dtype == torch.uint8 else (x / 255).to(dtype)
    y = imresize(x, size=to, kernel=kernel, border=border, antialias=antialias)
    near = 0 if dtype == torch.uint8 else 4 * torch.finfo(dtype).eps
    assert (y.double() - x.double()[0, 0]).abs().max() <= near


@of("imresize", size=sizes, to=sizes, kernel=kernels, border=borders, antialias=st.booleans(),
    a=st.floats(-3, 3), b=st.floats(-3, 3), seed=seeds)  # fmt: skip
def linear(size, to, kernel, border, antialias, a, b, seed):
    """Of floats: a sum of pictures becomes the sum of what they become."""
    x, y = noise(seed, 2, *size)

    def made(picture):
        return imresize(picture, size=to, kernel=kernel, border=border, antialias=antialias)

    assert (made(a * x + b * y) - (a * made(x) + b * made(y))).abs().max() < 1e-11


@of("imresize", size=sizes, to=sizes, kernel=st.sampled_from(["linear", "cubic", "lanczos2",
    "lanczos3"]), border=borders, antialias=st.booleans(), seed=seeds)  # fmt: skip
def flips_and_turns_commute(size, to, kernel, border, antialias, seed):
    """Not of the box, which belongs to one of two pixels where it ends between them."""
    x, how = noise(seed, *size), {"kernel": kernel, "border": border, "antialias": antialias}
    y = imresize(x, size=to, **how)
    for axes in ((0,), (1,), (0, 1)):
        assert (imresize(x.flip(axes), size=to, **how) - y.flip(axes)).abs().max() < 1e-9
    assert (imresize(x.T, size=to[::-1], **how) - y.T).abs().max() < 1e-9


@of("imresize", size=sizes, kernel=kernels, border=borders, dtype=dtypes, seed=seeds)
def the_scale_1_changes_nothing(size, kernel, border, dtype, seed):
    x = noise(seed, *size, dtype=dtype)
    y = imresize(x, 1, kernel=kernel, border=border)
    near = 0 if dtype == torch.uint8 else 4 * torch.finfo(dtype).eps
    assert (y.double() - x.double()).abs().max() <= near


@of("imresize", shape=st.lists(st.integers(0, 4), max_size=4), scale=anything, size=anything,
    kernel=st.sampled_from(["cubic", "box", "", "bicubic", None]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.int16, torch.bool]))  # fmt: skip
def any_setting_or_a_sentence(shape, scale, size, kernel, dtype):
    x = torch.zeros(shape, dtype=dtype)
    try:
        y = imresize(x, scale, size=size, kernel=kernel)
    except Exception as error:
        in_words(error)
    else:
        assert y.numel() <= 2**27
        assert y.shape[:-2] == x.shape[:-2]
        assert not y.any()


# ------------------------------------------------------------------ metrics

channels = st.sampled_from(list(CHANNELS))
large = st.tuples(st.integers(11, 30), st.integers(11, 30))


@of("metrics", size=sizes, on=channels, batch=st.integers(1, 3), seed=seeds)
def psnr_is_symmetric_and_of_each_picture(size, on, batch, seed):
    a, b = noise(seed, 2, batch, 3, *size)
    found = psnr(a, b, on=on, shave=0)
    assert torch.equal(found, psnr(b, a, on=on, shave=0))
    for k in range(batch):
        assert math.isclose(found[k], psnr(a[k], b[k], on=on, shave=0), rel_tol=1e-9)
    assert (found > 0).all()
    assert (psnr(a, a, on=on, shave=0) == math.inf).all()


@of("metrics", size=large, on=channels, dtype=st.sampled_from([torch.float32, torch.float64]),
    alike=st.floats(0, 1), seed=seeds)  # fmt: skip
def ssim_is_symmetric_and_at_most_1(size, on, dtype, alike, seed):
    a, b = noise(seed, 2, 3, *size)
    b = alike * a + (1 - alike) * b
    found = ssim(a, b, on=on, shave=0, dtype=dtype)
    near = 1e-12 if dtype == torch.float64 else 1e-5
    assert abs(found - ssim(b, a, on=on, shave=0, dtype=dtype)) <= near
    assert -1 - near <= found <= 1 + near
    assert ssim(a, a, on=on, shave=0, dtype=dtype) == 1


@of("metrics", size=large, on=channels, border=st.integers(0, 4), seed=seeds)
def a_border_is_what_is_cut(size, on, border, seed):
    a, b = noise(seed, 2, 3, *size)
    inner = (..., slice(border, size[0] - border), slice(border, size[1] - border))
    cut = psnr(a[inner], b[inner], on=on, shave=0)
    assert math.isclose(psnr(a, b, on=on, shave=border), cut, rel_tol=1e-12)


shapes = st.lists(st.integers(0, 13), max_size=4)


@of("metrics", a=shapes, b=shapes, level=st.sampled_from([0.5, 255.0, -0.1, math.nan, math.inf]),
    on=st.sampled_from(["y", "Y", ""]), border=st.integers(-1, 8), equal=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.uint8]))  # fmt: skip
def two_pictures_or_a_sentence(a, b, level, on, border, dtype, equal):
    ours = torch.full(a, level).to(dtype)
    theirs = ours.clone() if equal else torch.full(b, level).to(dtype)
    for metric in (psnr, ssim):
        try:
            found = metric(ours, theirs, on=on, shave=border)
        except Exception as error:
            in_words(error)
        else:
            expected = math.inf if metric is psnr else 1.0
            assert (torch.as_tensor(found) == expected).all()


# ------------------------------------------------------------------ tiles

network = Plain(scale=2, kernels=(3, 5, 3))
small = st.tuples(st.integers(1, 40), st.integers(1, 40))


@of("tiles", size=small, tile=st.integers(1, 45), more=st.one_of(st.none(), st.integers(0, 9)),
    self_ensemble=st.booleans(), seed=seeds)  # fmt: skip
def tiles_equal_the_whole(size, tile, more, self_ensemble, seed):
    """With the overlap that is measured, and with every larger one."""
    x = noise(seed, 3, *size, dtype=torch.float32)
    overlap = None if more is None else receptive_field(network) + more
    whole = upscale(network, x, self_ensemble=self_ensemble)
    tiled = upscale(network, x, tile=tile, overlap=overlap, self_ensemble=self_ensemble)
    assert whole.shape == (3, 2 * size[0], 2 * size[1])
    assert (tiled - whole).abs().max() <= 5e-6


@of("tiles", size=small, tile=st.integers(-2, 45), overlap=st.integers(-2, 9), seed=seeds,
    kind=st.sampled_from(["array", "array of 16 bits", "Pillow", "batch"]))  # fmt: skip
def the_kind_stays(size, tile, overlap, seed, kind):
    x = (256 * noise(seed, *size, 3)).numpy().astype(np.uint8)
    given = {
        "array": x, "array of 16 bits": x.astype(np.uint16) * 257, "Pillow": Image.fromarray(x),
        "batch": torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255,
    }[kind]  # fmt: skip
    try:
        made = upscale(network, given, tile=tile, overlap=overlap)
    except ValueError as error:
        in_words(error)
        assert tile < 1 or overlap < 0
        return
    assert tile > 0
    assert overlap >= 0
    assert type(made) is type(given)
    if kind == "Pillow":
        assert made.size == (2 * size[1], 2 * size[0])
    else:
        assert made.shape[(2 if kind == "batch" else 0) :][:2] == (2 * size[0], 2 * size[1])
