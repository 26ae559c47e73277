"""upscale: tiles equal the whole, memory that runs out, kinds kept, awkward pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from srkit import as_model
from srkit.image.io import Picture, read_image, read_picture, write_image, write_picture
from srkit.inference import receptive_field, tiling_error, upscale, upscale_folder
from srkit.models.edsr import EDSR
from srkit.models.half import HALF
from srkit.models.imdn import IMDN
from srkit.models.network import Network
from srkit.models.rlfn import RLFN
from srkit.models.vdsr import VDSR
from srkit.models.zoo import list_models
from srkit.weights.load import create_model


class Plain(Network):
    """Convolutions only: sees exactly `sum(kernel // 2)` pixels far."""

    name = "plain"

    def __init__(self, scale=2, kernels=(3, 5, 3)):
        super().__init__()
        torch.manual_seed(0)
        self.scale = scale
        widths = [3, *[8] * (len(kernels) - 1), 3 * scale**2]
        self.layers = nn.Sequential(
            *(
                nn.Conv2d(cin, cout, k, padding=k // 2)
                for cin, cout, k in zip(widths, widths[1:], kernels, strict=False)
            )
        )

    def forward(self, x):
        y = x
        for layer in self.layers[:-1]:
            y = F.relu(layer(y))
        return F.pixel_shuffle(self.layers[-1](y), self.scale) * 0.1 + 0.5


class Nearest(Network):
    """Repeats pixels: commutes with flips and turns, sees nothing but the pixel itself."""

    name = "nearest"

    def __init__(self, scale=2):
        super().__init__()
        self.scale, self.sizes = scale, []

    def forward(self, x):
        self.sizes.append(x.shape[-1])
        return F.interpolate(x, scale_factor=self.scale, mode="nearest")


class Poor(Nearest):
    """Runs out of memory above a number of pixels, as torch says it on the CPU."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def forward(self, x):
        if x.shape[-1] * x.shape[-2] > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return super().forward(x)


class Counted(Plain):
    """Counts its passes."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return super().forward(x)


class Pooled(Plain):
    """Adds the picture's mean: no overlap makes tiles exact, and no attribute says so."""

    name = "pooled"

    def forward(self, x):
        return super().forward(x) + 0.1 * x.mean((2, 3), keepdim=True).mean(1, keepdim=True)


DOORS = [
    lambda model, _: upscale(model, torch.rand(3, 8, 8)),
    lambda model, path: upscale_folder(model, path, path / "out"),
    lambda model, _: receptive_field(model),
    lambda model, _: tiling_error(model, torch.rand(3, 8, 8), tile=4, overlap=1),
]


@pytest.fixture
def picture(rng):
    return torch.rand(3, 45, 61, generator=rng)


@pytest.mark.parametrize(
    ("kernels", "reach"), [((1,), 0), ((3,), 1), ((3, 5, 3), 4), ((3,) * 5, 5), ((7, 9, 3), 8)]
)
def test_the_receptive_field_of_plain_convolutions_is_found(kernels, reach):
    model = Plain(kernels=kernels)
    for layer in model.layers:  # means over the window: every pixel of it counts
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    assert receptive_field(model) == reach


def test_what_random_weights_let_through_no_further_is_no_reach():
    """Nine 3x3 layers reach 9 pixels; with small weights the outermost change nothing."""
    assert 3 < receptive_field(Plain(kernels=(3,) * 9)) < 9


def test_global_pooling_and_grids_have_no_receptive_field():
    class Strided(Plain):
        def forward(self, x):
            half = F.avg_pool2d(x, 2, ceil_mode=True)
            return super().forward(F.interpolate(half, size=x.shape[-2:]))

    assert receptive_field(Pooled()) is None
    assert receptive_field(Strided()) is None
    assert receptive_field(IMDN(2)) is None


@pytest.mark.parametrize("tile", [3, 7, 16, 33, 45, 61, 500])
@pytest.mark.parametrize("scale", [2, 3])
def test_tiles_equal_the_whole(picture, tile, scale):
    model = Plain(scale)
    exact = {"precision": "float32"}
    whole = upscale(model, picture, **exact)
    assert whole.shape == (3, 45 * scale, 61 * scale)
    assert torch.allclose(whole, model(picture[None])[0].clamp(0, 1), atol=1e-6)
    assert (upscale(model, picture, tile=tile, **exact) - whole).abs().max() < 1e-5


def test_the_receptive_field_is_measured_once_a_network(rng):
    """Two calls in tiles measure once; other weights see otherwise, and are measured anew."""
    model = Counted(kernels=(3,) * 9)
    pictures = torch.rand(2, 3, 60, 60, generator=rng)
    tiles = {"tile": 30, "precision": "float32"}
    upscale(model, pictures[0], **tiles)
    once = model.passes
    assert once > 4  # the four tiles, and what was measured
    upscale(model, pictures[1], **tiles)
    assert model.passes == once + 4
    assert receptive_field(model) < 9
    for layer in model.layers:  # means over the window: every pixel of it counts
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    assert receptive_field(model) == 9


def test_vdsr_in_tiles_measures_once_over_two_pictures(rng):
    model, passes = VDSR(2, channels=4), []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    upscale(model, torch.rand(3, 60, 60, generator=rng), tile=40)
    measured = len(passes) - 4
    upscale(model, torch.rand(3, 60, 60, generator=rng), tile=40)
    assert len(passes) == measured + 8
    assert measured > 0


def test_too_small_an_overlap_shows(picture):
    """The test above can fail: without overlap the seams are there."""
    assert tiling_error(Plain(), picture, tile=16, overlap=0)[0] > 1
    assert tiling_error(Plain(), picture, tile=16, overlap=4)[0] < 255e-5


def test_the_error_of_tiles_is_in_grey_levels():
    """A mean over 3 x 3 of 0.9: 2 / 3 of it beside a border or a seam, 4 / 9 where two meet."""

    class Mean(Network):
        scale, name = 2, "mean"

        def forward(self, x):
            return F.interpolate(F.avg_pool2d(x, 3, 1, 1), scale_factor=2)

    largest, mean = tiling_error(Mean(), torch.full((3, 32, 32), 0.9), tile=16, overlap=0)
    whole, tiled = 30 * 3 + 2 * 2, 28 * 3 + 4 * 2  # pixels under the mean, along a row
    assert largest == pytest.approx(255 * 0.9 * 5 / 9, rel=1e-5)
    assert mean == pytest.approx(255 * 0.9 / 9 * (whole**2 - tiled**2) / 32**2, rel=1e-5)


def test_approximate_networks_say_so_once_with_the_difference(recwarn):
    picture, model = torch.linspace(0, 1, 90).expand(3, 50, 90), Pooled()
    for _ in range(2):
        upscale(model, picture, tile=32)
    (warning,) = [str(w.message) for w in recwarn]
    told = re.fullmatch(
        "pooled looks at the whole picture, so tiles are approximate: in its middle, tiles of 32 "
        "with overlap 32 change grey levels by (.*) of 255 on average, by (.*) at most",
        warning,
    )
    mean, largest = map(float, told.groups())
    assert 0 < mean < largest < 10


def test_memory_that_runs_out_halves_the_tile(rng):
    wide = torch.rand(3, 80, 200, generator=rng)
    with pytest.warns(UserWarning, match="memory ran out: went on with tiles of 50 pixels"):
        halved = upscale(Poor(75 * 75), wide)
    assert torch.equal(halved, upscale(Nearest(), wide))
    with pytest.raises(RuntimeError, match="out of memory with tiles of 25 pixels already"):
        upscale(Poor(100), wide, overlap=0)


def test_other_errors_are_not_taken_for_memory(picture):
    class Wrong(Nearest):
        def forward(self, x):
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        upscale(Wrong(), picture)


def test_self_ensemble_is_the_mean_over_eight_symmetries(picture):
    """Nothing for a network that commutes with them; makes any network commute."""
    nearest = upscale(Nearest(), picture)
    assert torch.allclose(upscale(Nearest(), picture, self_ensemble=True), nearest, atol=1e-6)
    model = Plain()
    turned = upscale(model, picture.rot90(1, (1, 2)), self_ensemble=True)
    straight = upscale(model, picture, self_ensemble=True)
    assert torch.allclose(turned.rot90(-1, (1, 2)), straight, atol=1e-6)
    assert not torch.allclose(upscale(model, picture), straight, atol=1e-4)


def test_the_kind_of_picture_is_kept(picture, tmp_path):
    model, reference = Nearest(), upscale(Nearest(), picture)
    pixels = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    write_image(picture, tmp_path / "a.png")

    array = upscale(model, pixels)
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.uint8
    assert array.shape == (90, 122, 3)
    assert np.array_equal(array[::2, ::2], pixels)
    image = upscale(model, Image.fromarray(pixels))
    assert isinstance(image, Image.Image)
    assert image.size == (122, 90)
    batch = upscale(model, torch.stack([picture, picture]))
    assert torch.equal(batch, torch.stack([reference, reference]))
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        from_path = upscale(model, path)
        assert isinstance(from_path, Picture)
        assert torch.equal(from_path.rgb, upscale(model, read_image(path)))


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA", "16-bit RGBA"])
def test_transparency_and_depth_come_back(mode, rng, tmp_path):
    """Of a path and, as far as Pillow has such pixels, of a Pillow image."""
    deep, clear = "16" in mode, "A" in mode
    bits = 16 if deep else 8
    values = torch.randint(1, 2**bits, (4, 6, 7), generator=rng) / (2**bits - 1)
    grey = mode in ("I;16", "LA")
    rgb = values[:1].expand(3, -1, -1) if grey else values[:3]
    made = Picture(rgb, alpha=values[3:] if clear else None, bits=bits, grey=grey)
    write_picture(made, tmp_path / "a.png")
    big = upscale(Nearest(), tmp_path / "a.png")
    assert (big.bits, big.grey, big.alpha is not None) == (bits, grey, clear)
    assert torch.allclose(big.rgb[:, ::2, ::2], made.rgb, atol=1e-6)
    if clear:
        assert big.alpha.shape == (1, 12, 14)
    write_picture(big, tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").bits == bits
    if mode != "16-bit RGBA":
        image = upscale(Nearest(), Image.open(tmp_path / "a.png"))
        assert image.mode == {"I;16": "I;16", "LA": "RGBA", "RGBA": "RGBA"}[mode]
        small = Image.open(tmp_path / "a.png")
        small, image = (small, image) if deep else (small.convert("RGB"), image.convert("RGB"))
        assert np.array_equal(np.array(image)[::2, ::2], np.array(small))


def test_float16_where_it_was_measured_to_stay_finite(rng):
    """Less than half a grey level of change, as the table says; what overflows is done again."""
    model = create_model("rlfn_tiny_x4", weights="srkit")
    x = torch.rand(3, 20, 21, generator=rng)
    whole = upscale(model, x, precision="float32")
    half = upscale(model, x, precision="float16")
    assert 0 < 255 * (half - whole).abs().max() < 1.5
    assert all(largest < 65504 / 8 for largest, _ in HALF.values())
    assert set(HALF) <= set(list_models())
    model.conv_1.weight.data *= 1e7
    with pytest.warns(UserWarning, match="not finite in float16: done again in float32"):
        upscale(model, x, precision="float16")


def test_a_picture_tells_and_shows_itself(rng):
    picture = Picture(torch.rand(3, 4, 5, generator=rng), bits=16, path=Path("a/photo.png"))
    assert repr(picture) == "<Picture 5 x 4, RGB, 16 bits, photo.png>"
    assert picture._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["rlfn_x4", Path("weights.pth")])
def test_a_name_is_no_network_and_the_way_to_one_is_told(picture, name):
    with pytest.raises(TypeError, match=rf"not '{name}': srkit.create_model\('{name}', weights="):
        upscale(name, picture)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (14, 40), (15, 15)])
def test_pictures_smaller_than_the_network_allows(size):
    """RLFN's attention fails below 15 pixels; upscale extends the edge and cuts the result."""
    sr = upscale(RLFN(4, channels=8, blocks=1, esa=4), torch.full((3, *size), 0.5))
    assert sr.shape == (3, 4 * size[0], 4 * size[1])


def test_one_pixel_has_the_right_colour():
    assert torch.allclose(upscale(Nearest(), torch.full((3, 1, 1), 0.25)), torch.tensor(0.25))


BYTES = torch.zeros(3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.full((3, 4, 4), 255.0), r"255.*\[0, 1\]"),
        (torch.rand(2, 4, 4), r"shape \(2, 4, 4\), expected \(3, H, W\)"),
    ],
)
def test_bad_input_is_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        upscale(Nearest(), bad)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tile": 0}, "tile=0"),
        ({"overlap": -1}, "overlap=-1"),
        ({"precision": "float8"}, "choose auto, float32 or bfloat16"),
        ({"precision": "float16"}, r"nearest stays finite in it was not measured .* choose auto"),
        ({"device": "gpu"}, "device 'gpu' is not on this machine: choose cpu"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not on this machine: choose cpu"),
    ],
)
def test_bad_arguments_are_refused(picture, wrong, words, tmp_path):
    """Before any work: no folder is made."""
    write_image(picture, tmp_path / "a.png")
    with pytest.raises(ValueError, match=words):
        upscale(Nearest(), picture, **wrong)
    with pytest.raises(ValueError, match=words):
        upscale_folder(Nearest(), tmp_path, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("image", [BYTES, BYTES[None], Picture(rgb=BYTES)])
def test_uint8_is_refused_in_the_words_of_check_image(image):
    with pytest.raises(TypeError, match=r"image is torch\.uint8, expected floats in \[0, 1\]"):
        upscale(Nearest(), image)


@pytest.mark.parametrize("take", DOORS)
def test_a_module_that_is_no_network_is_shown_the_way_in(take, tmp_path):
    with pytest.raises(TypeError, match=r"Identity does not say .*srkit\.as_model\(net, scale=4\)"):
        take(nn.Identity(), tmp_path)
    with pytest.raises(
        TypeError, match=r"a network is expected, not 'rlfn_x4': srkit\.create_model"
    ):
        take("rlfn_x4", tmp_path)


def test_a_network_must_say_its_scale(picture):
    class Nameless(Network):
        scale = 2

    with pytest.raises(TypeError, match="no attribute 'name': a Network sets it"):
        upscale(Nameless(), picture)


def test_a_wrapped_module_works_like_a_network(picture, tmp_path):
    """The same pictures as the bare module, whole and in tiles, in folders and in tables."""
    bare = Plain()
    net = as_model(nn.Sequential(bare), scale=2, name="mine")
    with torch.no_grad():
        whole = bare(picture[None])[0].clamp(0, 1)
    assert (upscale(net, picture, precision="float32") - whole).abs().max() < 1e-6
    assert (upscale(net, picture, tile=20, precision="float32") - whole).abs().max() < 1e-5
    assert receptive_field(net) == receptive_field(bare)
    assert tiling_error(net, picture, tile=20, overlap=4)[0] < 255e-5
    (tmp_path / "in").mkdir()
    write_image(picture, tmp_path / "in" / "a.png")
    assert len(upscale_folder(net, tmp_path / "in", tmp_path / "out").done) == 1


def test_a_wrapped_module_of_another_scale_is_refused(picture):
    with pytest.raises(ValueError, match=r"Sequential makes \(1, 3, 90, 122\).*is 4 its scale\?"):
        upscale(as_model(nn.Sequential(Plain()), scale=4), picture)


def test_the_network_comes_back_as_it_was(picture):
    model = Plain().train()
    model.layers[0].eval()  # a frozen part stays frozen
    upscale(model, picture, precision="bfloat16")
    assert model.training
    assert not model.layers[0].training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    sr = upscale(model, picture)
    (sr.mean() * model.layers[0].bias.sum()).backward()  # no inference tensor: usable in training


def test_bfloat16_is_near_float32(picture):
    low, full = (upscale(Plain(), picture, precision=p) for p in ("bfloat16", "float32"))
    assert 0 < (low - full).abs().max() < 0.01


def test_what_overflows_in_bfloat16_is_done_again_in_float32(picture):
    class Overflowing(Nearest):
        def forward(self, x):
            y = super().forward(x)
            return y * float("inf") if torch.is_autocast_enabled("cpu") else y

    with pytest.warns(UserWarning, match="not finite in bfloat16"):
        sr = upscale(Overflowing(), picture, precision="bfloat16")
    assert torch.equal(sr, upscale(Nearest(), picture))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:not finite in bfloat16")
def test_weights_that_give_nan_are_refused(picture, precision):
    model = Plain()
    nn.init.constant_(model.layers[0].weight, float("nan"))
    with pytest.raises(RuntimeError, match="not finite: check its weights"):
        upscale(model, picture, precision=precision)


def test_transparent_pixels_do_not_bleed():
    """A white disc on transparent black stays white to its edge, and keeps its alpha."""
    alpha = torch.zeros(1, 24, 24)
    alpha[:, 8:16, 8:16] = 1
    white = Picture(rgb=alpha.expand(3, -1, -1).clone(), alpha=alpha)
    big = upscale(Plain(kernels=(5,)), white)
    blurred = upscale(Plain(kernels=(5,)), torch.ones(3, 24, 24))
    assert big.alpha.shape == (1, 48, 48)
    assert big.alpha[0, 24, 24] == 1
    assert big.alpha[0, 4, 4] == 0
    inside = (slice(None), slice(16, 32), slice(16, 32))
    assert torch.allclose(big.rgb[inside], blurred[inside], atol=1e-6)


@pytest.fixture
def folder(tmp_path, picture):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.jpg", "d.png"):
        write_image(picture, source / name)
    (source / "c.png").write_bytes((source / "a.png").read_bytes()[:500])
    (source / "notes.txt").write_text("no picture")
    return source


def test_a_folder_with_a_bad_file(folder, tmp_path):
    report = upscale_folder(Nearest(), folder, tmp_path / "out")
    assert [path.name for path in report.done] == ["a.png", "b.jpg", "d.png"]
    assert [path.name for path in report.failed] == ["c.png"]
    assert str(report).startswith("3 done, 0 skipped, 1 failed\n  c.png: ")
    assert read_image(tmp_path / "out" / "b.jpg").shape == (3, 90, 122)
    again = upscale_folder(Nearest(), folder, tmp_path / "out")
    assert (len(again.done), len(again.skipped), len(again.failed)) == (0, 3, 1)
    assert len(upscale_folder(Nearest(), folder, tmp_path / "out", overwrite=True).done) == 3


def test_two_files_of_one_name_do_not_overwrite_each_other(folder, tmp_path, picture):
    write_image(picture, folder / "a.jpg")
    report = upscale_folder(Nearest(), folder, tmp_path / "out", suffix=".png")
    assert report.failed[folder / "a.png"] == "a.png is already made from a.jpg"


def test_folders_that_cannot_be_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="name another target folder"):
        upscale_folder(Nearest(), folder, folder)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        upscale_folder(Nearest(), tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file: name a folder"):
        upscale_folder(Nearest(), folder, tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="no picture in"):
        upscale_folder(Nearest(), tmp_path / "empty", tmp_path / "out")


def test_ctrl_c_leaves_whole_files_and_a_report(folder, tmp_path):
    class Interrupted(Nearest):
        def forward(self, x):
            if len(self.sizes) == 1:
                raise KeyboardInterrupt
            return super().forward(x)

    report = upscale_folder(Interrupted(), folder, tmp_path / "out")
    assert report.interrupted
    assert str(report).startswith("1 done, 0 skipped, 0 failed, interrupted\n")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", ".srkit.json"}


def test_depth_grey_profile_and_resolution_survive_a_folder(folder, tmp_path):
    deep = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    profile = bytes([0, 0, 0, 132]) + bytes(12) + b"GRAY".ljust(20, b"\0") + b"acsp" + bytes(92)
    grey = Image.fromarray((deep // 256).astype(np.uint8))
    grey.save(folder / "grey.png", icc_profile=profile, dpi=(300, 300))
    rgba = np.dstack([np.full((8, 8, 3), 200, np.uint8), np.eye(8, dtype=np.uint8) * 255])
    Image.fromarray(rgba).save(folder / "rgba.png")
    upscale_folder(Nearest(), folder, tmp_path / "out")

    big = read_picture(tmp_path / "out" / "deep.png")
    assert (big.bits, big.grey, tuple(big.rgb.shape)) == (16, True, (3, 128, 128))
    assert torch.equal(big.rgb[:, ::2, ::2], read_picture(folder / "deep.png").rgb)
    assert Image.open(tmp_path / "out" / "grey.png").mode == "L"
    assert Image.open(tmp_path / "out" / "grey.png").info["icc_profile"] == profile
    assert read_picture(tmp_path / "out" / "grey.png").dpi == pytest.approx((300, 300), rel=1e-4)
    assert Image.open(tmp_path / "out" / "rgba.png").mode == "RGBA"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"tile": 16.5}, r"tile=16\.5: at least 1 pixel, a whole number; leave it out"),
        ({"tile": float("nan")}, "tile=nan: at least 1 pixel, a whole number"),
        ({"tile": "16"}, "tile='16': at least 1 pixel, a whole number"),
        ({"tile": 16, "overlap": 0.5}, r"overlap=0\.5: not negative, a whole number"),
    ],
)
def test_a_tile_is_a_whole_number_of_pixels(how, words):
    with pytest.raises(ValueError, match=words):
        upscale(EDSR(scale=2, channels=4, blocks=1), torch.rand(3, 40, 40), **how)


def test_pictures_without_a_pixel_are_refused():
    network = EDSR(scale=2, channels=4, blocks=1)
    with pytest.raises(ValueError, match=r"\(0, 3, 8, 8\): there is no pixel in it"):
        upscale(network, torch.rand(0, 3, 8, 8))
    with pytest.raises(ValueError, match="the image has 0 x 5 pixels: there is none in it"):
        upscale(network, Image.new("RGB", (0, 5)))


def test_a_network_that_gives_more_than_a_picture_is_told():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match="the result of Pair is a tuple, expected a tensor"):
        upscale(as_model(Pair(), scale=1), torch.rand(3, 8, 8))
