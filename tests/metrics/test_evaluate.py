"""evaluate: the measured rows of the authors' weights, and tables that say how they were made."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import srkit
from srkit.datasets.catalog import Pair
from srkit.image.degrade import make_lr
from srkit.image.io import read_image, write_image
from srkit.image.resize import imresize
from srkit.image.tensors import round_8bit
from srkit.metrics.evaluate import captions, evaluate
from srkit.metrics.protocols import PROTOCOLS
from srkit.models.network import Network
from srkit.models.zoo import ZOO

# Measured with the authors' networks and code on the published LR files, not with srkit.
SET5 = {
    "rlfn_x2": (38.067, 0.9607),
    "rlfn_x4": (32.240, 0.8953),
    "rlfn_s_x4": (32.241, 0.8954),
    "rlfn_ntire_x4": (32.098, 0.8939),
    "rfdn_aim_x4": (32.161, 0.8946),
    "imdn_x2": (37.997, 0.9605),
    "imdn_x4": (32.211, 0.8948),
}
BICUBIC = [
    ("Set5", 2, "classic", 33.679, 0.9304),
    ("Set5", 3, "classic", 30.406, 0.8690),
    ("Set5", 4, "classic", 28.432, 0.8113),
    ("Set5", 2, "classic_y8", 33.646, None),
    ("Set5", 3, "classic_y8", 30.388, None),
    ("Set5", 4, "classic_y8", 28.419, None),
    ("Set14", 2, "classic", 30.329, 0.8700),
    ("Set14", 3, "classic", 27.635, 0.7760),
    ("Set14", 4, "classic", 26.093, 0.7049),
    ("BSD100", 4, "classic", 25.963, 0.6682),
    ("Set5", 2, "yplane", 33.662, 0.9299),
    ("Set5", 3, "yplane", 30.394, 0.8682),
    ("Set5", 4, "yplane", 28.422, 0.8104),
]
PUBLISHED_SET14 = {2: (30.24, 0.8688), 3: (27.55, 0.7742), 4: (26.00, 0.7027)}


class Nearest(Network):
    scale, name = 2, "nearest"

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")


@pytest.fixture
def folder(tmp_path):
    for name, crop in (("chelsea", 97), ("coffee", 110)):
        write_image(srkit.samples()[name][:, :crop, :99], tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("name", SET5)
def test_official_weights_reach_the_measured_rows(assets, name):
    root = assets("benchmarks/Set5")
    scores = evaluate(srkit.create_model(name, weights="official"), "Set5", root=root)
    psnr, ssim = SET5[name]
    assert scores.means["psnr"] == pytest.approx(psnr, abs=0.0015)
    assert scores.means["ssim"] == pytest.approx(ssim, abs=0.00015)
    assert scores.lr == "files"


@pytest.mark.parametrize(("data", "scale", "protocol", "psnr", "ssim"), BICUBIC)
def test_bicubic_reaches_the_measured_rows(assets, data, scale, protocol, psnr, ssim):
    root = assets(f"benchmarks/{data}")
    means = evaluate("bicubic", data, scale=scale, protocol=protocol, root=root).means
    assert means["psnr"] == pytest.approx(psnr, abs=0.0015)
    assert ssim is None or means["ssim"] == pytest.approx(ssim, abs=0.00015)


@pytest.mark.parametrize("scale", PUBLISHED_SET14)
def test_yplane_is_the_protocol_of_the_published_bicubic_rows(assets, scale):
    """Its grey file counted as RGB would give 0.09 dB more."""
    root = assets("benchmarks/Set14")
    means = evaluate("bicubic", "Set14", scale=scale, protocol="yplane", root=root).means
    psnr, ssim = PUBLISHED_SET14[scale]
    assert means["psnr"] == pytest.approx(psnr, abs=0.01)
    assert means["ssim"] == pytest.approx(ssim, abs=0.001)


def test_protocols_against_the_formula(folder):
    """RGB with and without border, from the 8-bit pictures, by NumPy alone."""
    hr = read_image(folder / "chelsea.png")[:, :96, :98].numpy()
    lr = torch.tensor(hr[:, ::2, ::2].copy())
    write_image(lr, folder / "lr.png")
    pair = [Pair("chelsea", folder / "chelsea.png", folder / "lr.png")]
    sr = lr.numpy().repeat(2, 1).repeat(2, 2)
    for protocol, border in (("rgb", 0), ("ntire", 2)):
        inner = (slice(None), slice(border, 96 - border), slice(border, 98 - border))
        mse = ((sr[inner].astype(float) - hr[inner]) ** 2).mean()
        scores = evaluate(Nearest(), pair, protocol=protocol)
        assert scores.means["psnr"] == pytest.approx(-10 * np.log10(mse), abs=1e-5)


@pytest.mark.parametrize("grey", [False, True])
def test_yplane_reduces_the_rounded_plane_in_floats(folder, grey):
    """Of a colour picture Y, of a grey file its only channel; LR is never rounded."""
    hr = read_image(folder / "coffee.png")
    if grey:
        write_image(hr[:1].expand(3, -1, -1), folder / "coffee.png")
        Image.open(folder / "coffee.png").convert("L").save(folder / "coffee.png")
    hr = read_image(folder / "coffee.png")[:, :110, :98]
    plane = round_8bit(hr[:1] if grey else srkit.to_y(hr))
    sr = round_8bit(imresize(imresize(plane, 1 / 2), 2))
    mse = (sr - plane)[:, 2:-2, 2:-2].double().square().mean()
    scores = evaluate("bicubic", folder / "coffee.png", scale=2, protocol="yplane")
    assert scores.means["psnr"] == pytest.approx(-10 * mse.log10().item(), abs=1e-3)
    assert scores.lr == "made from HR by imresize in float"


def test_what_is_neither_a_network_nor_a_function_is_refused(folder):
    with pytest.raises(TypeError, match="a network or a function is expected, not a int"):
        evaluate(4, folder, scale=2)


def test_a_folder_without_lr_pictures(folder):
    """LR is made, and the table says so; a network and the same function score the same."""
    scores = evaluate(Nearest(), folder)
    assert [row["image"] for row in scores.rows] == ["chelsea", "coffee"]
    assert scores.lr.startswith("made from HR by imresize")
    function = evaluate(lambda lr: Nearest()(lr[None])[0], folder, scale=2)
    assert function.means["psnr"] == pytest.approx(scores.means["psnr"])
    assert scores.means["psnr"] < evaluate("bicubic", folder, scale=2).means["psnr"]
    assert evaluate(Nearest(), folder, limit=1).rows[0]["psnr"] == scores.rows[0]["psnr"]


def test_results_are_rounded_before_they_are_scored(folder):
    """0.4 grey levels beside the truth is the truth once saved."""
    small = {}

    def cheating(lr):
        return small["hr"] + 0.4 / 255 * (small["hr"] < 0.9)

    small["hr"] = read_image(folder / "chelsea.png")[:, :96, :98]
    pair = [Pair("chelsea", folder / "chelsea.png", None)]
    assert evaluate(cheating, pair, scale=2).means["psnr"] == float("inf")


def test_the_table_says_how_its_numbers_were_made(folder):
    scores = evaluate(srkit.create_model("rlfn_tiny_x4"), folder, limit=1)
    text = str(scores)
    assert text.startswith(f"rlfn_tiny_x4 on the first 1 of {folder}, x4, float32\n")
    assert f"protocol classic: {PROTOCOLS['classic'].text}" in text
    assert "87,816 parameters" in text
    header, row, mean = (line.split() for line in text.splitlines()[-3:])
    assert header == ["image", "psnr", "ssim", "seconds"]
    assert row[0] == "chelsea"
    assert mean[:3] == ["mean", "of", "1"]
    page = scores._repr_html_()
    assert PROTOCOLS["classic"].text in page
    assert page.count("<tr>") == 3
    record = json.loads(scores.to_json())
    assert record["means"]["psnr"] == scores.rows[0]["psnr"]
    assert record["protocol"]["name"] == "classic"
    assert record["counts"]["parameters"] == 87_816


@pytest.mark.parametrize(
    ("model", "wrong", "words"),
    [
        (Nearest(), {"limit": 0}, "limit=0: at least 1 picture; leave it out"),
        (Nearest(), {"precision": "float16"}, "choose auto, float32 or bfloat16"),
        (Nearest(), {"device": "gpu"}, "device 'gpu' is not on this machine: choose cpu"),
        ("bicubic", {"scale": 2, "device": "gpu"}, "device 'gpu' is not on this machine"),
        (Nearest(), {"lpips": "resnet"}, "net 'resnet' is unknown: one of alex, squeeze, vgg"),
        ("bicubic", {"scale": 2.5}, r"scale=2\.5: a whole number from 1"),
        (Nearest(), {"protocol": "y"}, "protocol 'y': choose one of classic, "),
        (Nearest(), {"protocol": "yplane"}, "enlarges one plane, nearest takes RGB"),
        (Nearest(), {"scale": 4}, "scale=4, but the network's is 2"),
        ("bicubic", {}, "bicubic has no scale of its own"),
        ("rlfn", {"scale": 4}, "networks by create_model"),
        (lambda lr: lr, {"scale": 2}, "is <lambda> a method for x2"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder, model, wrong, words):
    with pytest.raises(ValueError, match=words):
        evaluate(model, folder, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "y"},
        {"limit": 0},
        {"scale": 4},
        {"precision": "float16"},
        {"device": "gpu"},
        {"lpips": "resnet"},
    ],
)
def test_settings_are_checked_before_any_work(folder, wrong):
    class Working(Nearest):
        def forward(self, x):
            raise AssertionError("a picture was enlarged")

    with pytest.raises(ValueError):  # noqa: PT011
        evaluate(Working(), folder, **wrong)


def test_a_trunk_that_is_not_at_hand_is_told_before_any_work(folder, monkeypatch):
    def absent(*_):
        raise FileNotFoundError("alexnet of torchvision is not at hand")

    monkeypatch.setattr("srkit.metrics.evaluate.lpips_parts", absent)
    monkeypatch.setattr(Nearest, "forward", None)
    with pytest.raises(FileNotFoundError, match="alexnet"):
        evaluate(Nearest(), folder, lpips="alex")


def test_lpips_is_by_the_network_that_is_named(folder, assets):
    assets("backbones/lpips_alex.safetensors")
    assets("backbones/lpips_squeeze.safetensors")
    alex, squeeze = (
        evaluate(Nearest(), folder, limit=1, lpips=net).rows[0] for net in ("alex", "squeeze")
    )
    hr = read_image(folder / "chelsea.png")[:, :96, :98]
    sr = round_8bit(Nearest()(make_lr(hr, 2)[None])[0])
    assert alex["lpips"] == pytest.approx(srkit.lpips(sr, hr), abs=1e-6)
    assert squeeze["lpips-squeeze"] == pytest.approx(srkit.lpips(sr, hr, net="squeeze"), abs=1e-6)
    assert "lpips" not in squeeze


def test_network_function_and_lpips_compute_on_the_device(folder, monkeypatch):
    """Without a GPU here: what is asked of each, in their place."""
    asked = []

    def lpips_of(sr, hr, *, net):
        asked.append((sr.device, hr.device, net))
        return 0.0

    monkeypatch.setattr("srkit.metrics.evaluate.lpips_parts", lambda *wanted: asked.append(wanted))
    monkeypatch.setattr("srkit.metrics.evaluate.lpips_of", lpips_of)
    cpu = torch.device("cpu")
    scores = evaluate(Nearest(), folder, limit=1, lpips="vgg", device="cpu")
    assert asked == [("vgg", cpu), (cpu, cpu, "vgg")]
    assert json.loads(scores.to_json())["device"] == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_numbers_and_the_network_comes_back(folder):
    model = srkit.create_model("rlfn_tiny_x4")
    cpu, gpu = (evaluate(model, folder, device=device) for device in ("cpu", "cuda"))
    assert gpu.device == "cuda"
    assert gpu.means["psnr"] == pytest.approx(cpu.means["psnr"], abs=0.01)
    assert {p.device.type for p in model.parameters()} == {"cpu"}

    def method(lr):
        assert lr.is_cuda
        return Nearest()(lr[None])[0]

    evaluate(method, folder, scale=2, device="cuda")


def test_a_module_that_is_no_network_is_shown_the_way_in(folder):
    net = nn.Upsample(scale_factor=2, mode="nearest")
    with pytest.raises(TypeError, match=r"Upsample does not say .*srkit\.as_model\(net, scale=4\)"):
        evaluate(net, folder)
    scores = evaluate(srkit.as_model(net, scale=2), folder)
    assert scores.means["psnr"] == evaluate(Nearest(), folder).means["psnr"]
    assert str(scores).startswith(f"Upsample on {folder}, x2, float32\n")


def test_results_that_are_no_floats_are_refused(folder):
    with pytest.raises(
        TypeError, match=r"chelsea: the result of <lambda> is torch\.uint8, expected"
    ):
        evaluate(lambda lr: (255 * Nearest()(lr[None])[0]).byte(), folder, scale=2)


def test_the_table_names_the_precision_that_was_taken(folder, monkeypatch):
    monkeypatch.setattr("srkit.devices.has_bfloat16", lambda device: True)
    for asked, taken in (("auto", "bfloat16"), ("bfloat16", "bfloat16"), ("float32", "float32")):
        assert evaluate(Nearest(), folder, limit=1, precision=asked).precision == taken
    assert evaluate("bicubic", folder, scale=2, limit=1, precision="auto").precision == "float32"


def test_no_picture_is_no_table():
    with pytest.raises(ValueError, match="data is an empty list"):
        evaluate(Nearest(), [])


def test_unknown_data_is_refused_with_the_names():
    with pytest.raises(ValueError, match="unknown data set 'Set6': expected one of Set5"):
        evaluate(Nearest(), "Set6")


def test_a_folder_named_like_a_set_is_told_where_evaluate_was_called(tmp_path, monkeypatch):
    """The set is meant; the warning stands at the line that can be changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRKIT_HOME", raising=False)
    (tmp_path / "Manga109").mkdir()
    with (
        pytest.warns(UserWarning, match=r"write \./Manga109 for the folder") as told,
        pytest.raises(FileNotFoundError, match="Manga109"),
    ):
        evaluate(Nearest(), "Manga109")
    assert told[0].filename == __file__


def test_shipped_weights_reach_the_figure_of_their_line(assets):
    """Weights trained here: the float16 file in the package gives what its run recorded."""
    root = assets("benchmarks")
    shipped = [entry for entry in ZOO if "srkit" in entry.weights]
    assert shipped
    for entry in shipped:
        model = srkit.create_model(entry.name, weights="srkit")
        for data, psnr in entry.weights["srkit"].psnr.items():
            if data != "BSD100":  # Set5 and Set14 are enough, and quick
                found = evaluate(model, data, root=root / data).means["psnr"]
                assert found == pytest.approx(psnr, abs=0.006)


def test_captions_are_of_the_rounded_result_by_classic(rng, assets):
    assets("backbones/lpips_alex.safetensors")
    hr = torch.rand(3, 48, 48, generator=rng)
    sr = (hr + 0.05).clamp(0, 1)
    text = captions(hr, {"brighter": sr, "same": hr}, scale=4)
    value = srkit.psnr(round_8bit(sr), hr, on="y", shave=4)
    assert text["brighter"].startswith(f"{value:.2f} dB, SSIM 0.9")
    assert text["brighter"].endswith(f"LPIPS {srkit.lpips(round_8bit(sr), hr):.3f}")


def test_captions_do_without_lpips_where_its_network_is_not_at_hand(rng, monkeypatch):
    def absent(*_):
        raise FileNotFoundError

    monkeypatch.setattr("srkit.metrics.evaluate.lpips_of", absent)
    hr = torch.rand(3, 48, 48, generator=rng)
    assert captions(hr, {"a": hr * 0.5}, scale=2)["a"].count(",") == 1


@pytest.mark.parametrize("data", [5, {"a": 1}, ["a.png"], [None]])
def test_data_of_another_kind_is_told(data):
    with pytest.raises(TypeError, match=r"data is .*: a name, a folder, a picture, or a list of"):
        evaluate("bicubic", data, scale=2)


@pytest.mark.parametrize("limit", [1.5, "1"])
def test_a_limit_is_a_whole_number(limit):
    with pytest.raises(ValueError, match=f"limit={limit!r}: at least 1 picture; leave it out"):
        evaluate("bicubic", "Set5", scale=2, limit=limit)
