"""upscale_file: the same file as by tensors, in a bounded number of bytes for each result pixel."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from srkit import inference
from srkit.image.io import Picture, read_picture, write_image, write_picture
from srkit.image.resize import imresize
from srkit.inference import color_shift, upscale, upscale_file, upscale_folder
from srkit.models.network import Network


class Nearest(Network):
    """Repeats pixels, so that tiles of any size give exactly what the whole picture gives."""

    name = "nearest"

    def __init__(self, scale=3):
        super().__init__()
        self.scale, self.sizes = scale, []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        return F.interpolate(x, scale_factor=self.scale, mode="nearest")


def picture(channels, bits, size=(23, 37)):
    """Noise in the levels of a file; with alpha, a part of it is hidden."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 2**bits, (channels, *size)).astype(np.float32))
    x = x / (2**bits - 1)
    clear, grey = channels in (2, 4), channels < 3
    if clear:
        x[-1, :9] = 0
    rgb = x[:1].expand(3, -1, -1) if grey else x[:3]
    return Picture(rgb, x[-1:] if clear else None, bits, grey)


@pytest.mark.parametrize("tile", [1, 2, 7, 16, 36, 500, None])
@pytest.mark.parametrize(
    ("channels", "bits", "suffix"),
    [
        (1, 8, "png"), (2, 8, "png"), (3, 8, "png"), (4, 8, "png"), (3, 8, "tif"), (3, 8, "bmp"),
        (3, 8, "jpg"), (4, 8, "webp"), (1, 8, "webp"), (1, 16, "png"), (2, 16, "png"),
        (3, 16, "png"), (4, 16, "png"), (1, 16, "tif"), (2, 16, "tif"), (4, 16, "tif"),
    ],
)  # fmt: skip
def test_the_file_is_the_one_that_tensors_give(channels, bits, suffix, tile, tmp_path):
    small, model = picture(channels, bits), Nearest()
    write_picture(upscale(model, small), tmp_path / f"a.{suffix}")
    upscale_file(model, small, tmp_path / f"b.{suffix}", tile=tile)
    a, b = (read_picture(tmp_path / f"{name}.{suffix}") for name in "ab")
    assert (a.bits, a.grey, a.alpha is None) == (b.bits, b.grey, b.alpha is None)
    assert torch.equal(a.rgb, b.rgb)
    if a.alpha is not None:  # by another order of sums
        assert (a.alpha - b.alpha).abs().max() < 1.01 / (2**bits - 1)


def test_a_file_in_is_a_picture_in(tmp_path):
    write_image(torch.rand(3, 9, 8), tmp_path / "a.png")
    assert upscale_file(Nearest(), str(tmp_path / "a.png"), tmp_path / "b.png") is None
    upscale_file(Nearest(), read_picture(tmp_path / "a.png"), tmp_path / "c.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize("overlap", [0, 3, 8])
@pytest.mark.parametrize("tile", [1, 5, 16, 44, 60, 100])
@pytest.mark.parametrize("length", [1, 2, 17, 61, 100])
def test_windows_cover_the_picture_each_with_its_overlap(length, tile, overlap):
    """All as long as the others, and no longer than a tile and its overlap."""
    windows = inference._windows(length, tile, overlap)
    sides = {stop - start for *_, start, stop in windows}
    assert len(sides) == 1
    assert sides.pop() <= tile + 2 * overlap
    assert (windows[0][0], windows[-1][1]) == (0, length)
    for low, high, start, stop in windows:
        assert low - start >= overlap or start == 0
        assert stop - high >= overlap or stop == length
    assert all(before[1] == after[0] for before, after in pairwise(windows))


def test_large_results_are_made_in_tiles_and_others_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "WHOLE", 9 * 40 * 40)
    monkeypatch.setattr(inference, "TILE", 32)
    for take in (
        lambda model, x, **how: upscale(model, x, **how),
        lambda model, x, **how: upscale_file(model, Picture(x), tmp_path / "a.png", **how),
    ):
        for size, how, tiles in (
            ((40, 40), {}, 1), ((41, 40), {}, 4), ((10, 161), {}, 6), ((41, 40), {"tile": 41}, 1)
        ):  # fmt: skip
            model = Nearest()
            take(model, torch.rand(3, *size), precision="float32", **how)
            assert len([s for s in model.sizes if max(s) <= max(size)]) >= tiles
            assert (size in model.sizes) == (tiles == 1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_colour_shift_in_strips_is_that_of_the_whole(channels, tmp_path):
    small = picture(channels, 8, size=(150, 31))
    shift = upscale_file(Nearest(), small, tmp_path / "a.png", check_color=True)
    big = read_picture(tmp_path / "a.png").rgb
    change = 255 * (imresize(big, size=(150, 31)) - small.rgb).double()
    weight = torch.ones(1, 150, 31) if small.alpha is None else small.alpha
    whole = (change * weight).sum((1, 2)) / weight.sum()
    assert shift is not None
    assert shift == pytest.approx(whole.tolist(), abs=1e-4)
    assert shift == pytest.approx(color_shift(small.rgb, big, small.alpha), abs=1e-4)
    assert max(map(abs, shift)) > 1e-3


def test_a_colour_shift_of_what_is_no_enlargement_is_refused():
    with pytest.raises(
        ValueError, match=r"sr has \(8, 9\) pixels and lr \(4, 4\), expected a whole"
    ):
        color_shift(torch.rand(3, 4, 4), torch.rand(3, 8, 9))


def test_a_folder_tells_the_shift_of_each_picture(tmp_path):
    for name in "ab":
        write_image(torch.rand(3, 8, 8), tmp_path / "in" / f"{name}.png")
    report = upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out", check_color=True)
    assert {path.name: len(shift) for path, shift in report.shifts.items()} == {
        "a.png": 3, "b.png": 3
    }  # fmt: skip


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_stops_in_a_tile_leaves_the_old_file_and_no_other(error, tmp_path):
    class Stops(Nearest):
        def forward(self, x):
            if len(self.sizes) == 2:
                raise error("in the third tile")
            return super().forward(x)

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(error):
        upscale_file(Stops(), picture(3, 8), tmp_path / "a.png", tile=8, overlap=0)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]


@pytest.mark.parametrize(("bits", "suffix"), [(8, "png"), (16, "png"), (16, "tif")])
def test_what_stops_in_the_encoder_leaves_no_file(bits, suffix, tmp_path, monkeypatch):
    """Ctrl-C when the bytes are on their way."""

    def stopped(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        upscale_file(Nearest(), picture(3, bits), tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_16_bit_png_of_many_strips(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (150, 9, 3)).astype(np.uint16)
    rgb = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 65535
    write_image(rgb, tmp_path / "a.png", bits=16)
    assert torch.equal(read_picture(tmp_path / "a.png").rgb, rgb)
    high = np.array(Image.open(tmp_path / "a.png"))  # Pillow keeps the high bytes
    assert np.array_equal(high, pixels // 256)


MEASURE = """
import ctypes, json, sys
import torch
import srkit
from srkit.image.io import Picture, write_picture
from srkit.inference import upscale_file
from srkit.models.rlfn import RLFN

def peak():
    # Peak resident bytes since the last call, which gives back what is free and sets a new mark.
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
folder, cases = sys.argv[1], json.loads(sys.argv[2])
measured = []
for scale, bits, channels, suffix, tile in cases:
    model = srkit.as_model(torch.nn.Upsample(scale_factor=scale), scale=scale)
    if tile:
        model = RLFN(scale, channels=16, blocks=1, esa=4)
    for result in (64, 2800):  # the first finds what the process itself comes to need
        n = result // scale
        x = torch.linspace(0, 1, n).expand(4, n, n)
        picture = Picture(x[:3], x[3:] if channels == 4 else None, bits)
        write_picture(picture, f"{folder}/in.png")
        peak()
        before = peak()
        upscale_file(model, f"{folder}/in.png", f"{folder}/out.{suffix}", tile=tile,
                     check_color=True, precision="float32")
        spent = (peak() - before) / result**2
    measured.append(spent)
print(json.dumps(measured))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peaks are Linux's to tell")
def test_the_peak_for_each_pixel_of_the_result(tmp_path):
    """Under 15 bytes, reading, checking and writing included; whole, the network alone takes more.

    (scale, bits, channels, suffix, tile): tile 192 is a real network in tiles, 1000 whole.
    """
    cases = [
        (4, 8, 3, "png", None), (4, 8, 3, "jpg", None), (2, 8, 4, "png", None),
        (2, 16, 4, "png", None), (2, 16, 4, "tif", None), (4, 8, 3, "png", 192),
        (4, 8, 3, "png", 1000),
    ]  # fmt: skip
    words = [sys.executable, "-W", "ignore", "-c", MEASURE, tmp_path, json.dumps(cases)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    *bounded, whole = json.loads(done.stdout)
    assert all(3 < spent < 15 for spent in bounded), bounded
    assert whole > 20
