"""Each line of the zoo: its size, its shapes, its gradients; and the authors' own answers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from inspect import signature
from warnings import catch_warnings

import pytest
import torch
from oracle import relative_error
from small import SMALL
from torch import nn

from srkit.metrics.evaluate import evaluate
from srkit.models.counting import count
from srkit.models.layers import CCA, he_init
from srkit.models.network import as_model
from srkit.models.zoo import ZOO, list_models, model_info, trained
from srkit.weights.load import create_model

PCARN = model_info("pcarn_m_x4").paper  # the weights are the authors', two trainings
each_model = pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.name)


def is_large(entry):
    """Many parameters, or much work a pixel: MemNet runs at HR size."""
    return entry.parameters > 2e6 or entry.scale > 8 or entry.family == "memnet"


# A small twin of each class: what does not depend on the size is tested on these.
FAMILIES = [
    replace(next(e for e in ZOO if e.network is call.function), scale=scale, kwargs=sizes)
    for call in SMALL
    for scale, sizes in [(call.arguments["scale"], dict(list(call.arguments.items())[1:]))]
]
each_family = pytest.mark.parametrize("entry", FAMILIES, ids=lambda entry: entry.network.__name__)
light_model = pytest.mark.parametrize(
    "entry",
    [*(e for e in ZOO if not is_large(e)), *FAMILIES],
    ids=lambda entry: f"{entry.name}{'-small' * (entry in FAMILIES)}",
)


RESIZES = {
    "DBPN", "EnhanceNet", "IDN", "LapSRN", "MemNet", "MSRN2018", "SRCNN", "TTSR", "VDSR", "ZSSR",
}  # fmt: skip


def resizes(entry):
    return entry.network.__name__ in RESIZES


def build(entry, **kwargs):
    torch.manual_seed(0)
    return replace(entry, kwargs=entry.kwargs | kwargs).build()


@each_model
def test_parameters_are_those_of_the_table(entry):
    assert sum(p.numel() for p in build(entry).parameters()) == entry.parameters


@each_model
def test_output_is_scale_times_the_input_at_odd_sizes(entry):
    model = build(entry)
    assert (model.name, model.scale) == (entry.name, entry.scale)
    assert model.tiling in ("exact", "approximate")
    with torch.no_grad():
        for h, w in (
            (7, 9) if is_large(entry) else (17, 22),
            (model.min_size, max(model.min_size, 5)),
        ):
            h, w = max(h, model.min_size), max(w, model.min_size)
            sr = model(torch.rand(2, 3, h, w))
            assert sr.shape == (2, 3, h * entry.scale, w * entry.scale)
            assert sr.isfinite().all()


@each_model
def test_every_parameter_learns(entry):
    """A layer left out of the forward pass, or cut off by a detached value, has no gradient."""
    model = build(entry)
    side = max(model.min_size, 6 if is_large(entry) else 16)
    model(torch.rand(1, 3, side, side + 1)).square().mean().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name  # a mean shift: frozen, yet counted by its authors
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@light_model
def test_memory_format_and_bfloat16_keep_the_answer(entry, rng):
    model, x = build(entry).eval(), torch.rand(1, 3, 16, 19, generator=rng)
    with torch.no_grad():
        sr = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        half = model.bfloat16()(x.bfloat16())
    assert (last - sr).abs().max() < 1e-5 * sr.abs().max()
    assert half.dtype == torch.bfloat16
    assert (half.float() - sr).abs().max() < 0.05 * sr.abs().max()  # 8 bits, through all layers


@light_model
def test_a_flat_picture_has_finite_gradients(entry):
    """IMDN's attention takes a standard deviation: sqrt has no finite slope at 0."""
    model = build(entry)
    model(torch.zeros(1, 3, 16, 16)).mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_contrast_attention_of_a_constant_channel_has_a_gradient():
    x = torch.full((1, 16, 4, 4), 0.5, requires_grad=True)
    CCA(16, reduction=4)(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(("slope", "times"), [(0.0, 1.0), (0.2, 1.0), (0.0, 0.1)])
def test_first_weights_of_he_et_al_keep_the_size_of_what_comes_through(slope, times):
    """The mean square behind a leaky ReLU is that before the layer, times `times` squared."""
    torch.manual_seed(0)
    parts = nn.Conv2d(64, 256, 3, padding=1), nn.Linear(64, 4096)
    norm = nn.BatchNorm2d(4)
    before = norm.weight.clone()
    he_init(nn.ModuleList([*parts, norm]), slope=slope, times=times)
    for part, shape in zip(parts, [(8, 64, 32, 32), (64, 64)], strict=True):
        through = nn.functional.leaky_relu(part(torch.randn(shape)), slope)
        if isinstance(part, nn.Conv2d):
            through = through[..., 1:-1, 1:-1]
        assert through.square().mean().item() == pytest.approx(times**2, rel=0.05)
        assert not part.bias.any()
    assert torch.equal(norm.weight, before)


@pytest.mark.parametrize(
    ("tag", "name"),
    [  # those of one paper are in its file
        ("rlfn_x4", "rlfn_x4"),
        ("rlfn_s_x4", "rlfn_s_x4"),
        ("rlfn_prune_x4", "rlfn_ntire_x4"),
        ("rfdn_x4", "rfdn_aim_x4"),
        ("imdn_x3", "imdn_x3"),
        ("imdn_x4", "imdn_x4"),
        ("edsr_baseline_x2", "edsr_baseline_x2"),
        ("edsr_baseline_x4", "edsr_baseline_x4"),
    ],
)
def test_same_names_and_answer_as_the_authors_network(assets, tag, name):
    folder = assets(f"oracles/{tag}.npz").parent
    top = json.loads((folder / f"{tag}.json").read_text())["input_range"][1]
    assert relative_error(build(model_info(name), rgb_range=top), folder, tag) < 1e-5


@pytest.mark.parametrize("name", ["rlfn_x4", "imdn_x2", "rfdn_aim_x4", "edsr_baseline_x2"])
def test_rgb_range_is_inside(name, monkeypatch):
    """[0, 1] in and out, whatever range the authors' weights want."""
    entry = model_info(name)
    monkeypatch.setattr(import_module(entry.network.__module__), "check_input", lambda *_, **__: 0)
    bare, ranged = build(entry, rgb_range=1.0).eval(), build(entry, rgb_range=255.0).eval()
    constants = {n: t for n, t in ranged.state_dict().items() if n.endswith("mean.bias")}
    bare.load_state_dict(ranged.state_dict() | constants)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert (ranged(x) - bare(x * 255) / 255).abs().max() < 1e-5 * ranged(x).abs().max()


@each_family
@pytest.mark.parametrize("side", [1, 7, 14, 15])
def test_a_small_picture_is_enlarged_or_refused_in_words(entry, side):
    """ESA pools 7x7 on half of the grid: below 15 pixels there is nothing to pool."""
    model, lr = build(entry).eval(), torch.rand(1, 3, side, 15)
    small = side < model.min_size
    assert not small or entry.family.startswith(("rlfn", "rfd"))
    words = rf"{entry.name} needs .* at least 15x15.* got {side}x15.*Pad .* srkit\.upscale"
    with torch.no_grad(), pytest.raises(ValueError, match=words) if small else nullcontext():
        sr = model(lr)
        assert sr.shape == (1, 3, side * entry.scale, 15 * entry.scale)
        assert sr.isfinite().all()


@each_family
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: 255 * x, r"values from .*, expected \[0, 1\]: divide it by 255"),
        (lambda x: 2 * x - 1, r"expected \[0, 1\]: if it is in \[-1, 1\], use \(x \+ 1\) / 2"),
        (lambda x: x / 0, "NaN or infinite"),
        (lambda x: (255 * x).byte(), r"float tensor .* got torch\.uint8"),
        (lambda x: x[:, :1], r"\(B, 3, h, w\).* got .* \(1, 1, 16, 17\)"),
        (lambda x: x[0], r"got .* \(3, 16, 17\).*srkit\.upscale"),
    ],
    ids=["0..255", "-1..1", "NaN", "uint8", "grey", "no batch"],
)
def test_what_is_no_picture_is_refused_in_words(entry, spoil, words):
    with pytest.raises(ValueError, match=f"^{entry.name}.*{words}"):
        build(entry)(spoil(torch.linspace(0, 1, 3 * 16 * 17).view(1, 3, 16, 17)))


def shallow(entry):
    """With one block: compiling takes a second for each dozen layers."""
    known = signature(entry.network).parameters
    return build(entry, **{name: 1 for name in ("groups", "blocks") if name in known})


@pytest.mark.parametrize(
    "entry", [e for e in FAMILIES if not resizes(e)], ids=lambda entry: entry.name
)
def test_a_compiled_network_gives_the_same_answer(entry):
    """One graph without breaks, in both memory layouts."""
    model = shallow(entry).eval()
    x = torch.rand(1, 3, max(model.min_size, 4), max(model.min_size, 5))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        sr = model(x)
        same = compiled(x)
        last = compiled(x.to(memory_format=torch.channels_last))
    assert (same - sr).abs().max() < 1e-5 * sr.abs().max()
    assert (last - sr).abs().max() < 1e-5 * sr.abs().max()


def test_a_compiled_network_that_resizes_gives_the_same_answer():
    """imresize makes its matrices outside of the graph, so there are two graphs."""
    model, x = build(model_info("srcnn_x2")).eval(), torch.rand(1, 3, 8, 9)
    with torch.no_grad(), catch_warnings(action="ignore"):
        assert (torch.compile(model, backend="aot_eager")(x) - model(x)).abs().max() < 1e-5


def test_a_network_compiled_to_machine_code_gives_the_same_answer():
    model, x = shallow(model_info("rlfn_tiny")).eval(), torch.rand(1, 3, 16, 17)
    with torch.no_grad():
        assert (torch.compile(model)(x) - model(x)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "macs", "activations", "convs"),
    [  # LR 256x256, measured on the authors' code: 10^9 multiply-adds, 10^6 activations
        ("imdn_x4", 46.519, 122.684, 46),
        ("rfdn_aim_x4", 27.034, 112.034, 64),
        ("rfdb48_x4", 36.09, 155.67, 94),
        ("rlfn_x4", 33.931, 126.490, 57),
        ("rlfn_s_x4", 29.121, 118.102, 57),
        ("rlfn_ntire_x4", 19.658, 80.045, 39),
        ("rfdbr48_x4", 28.844, 114.771, 69),
        ("rfdbr52_x4", 33.978, 126.813, 69),
    ],
)
def test_counts_are_the_published_ones(name, macs, activations, convs):
    entry = model_info(name)
    cost = count(build(entry))
    assert cost.parameters == entry.parameters
    assert cost.macs / 1e9 == pytest.approx(macs, abs=0.005)
    assert cost.activations / 1e6 == pytest.approx(activations, abs=0.005)
    assert cost.convs == convs
    assert f"{entry.parameters:,} parameters" in str(cost)


def test_counting_by_hand():
    """Groups, strides, transposition and linear layers, each against its own arithmetic."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3),  # 6 x 4x4 outputs of 9 products
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(6, 5, 2, stride=2),  # 6 x 4x4 inputs of 5x2x2 products
        nn.Linear(8, 7),  # 5x8 rows of 8x7 products
    )
    cost = count(as_model(net, scale=1), lr_size=(8, 8))
    assert cost.macs == 6 * 16 * 9 + 6 * 16 * 20 + 40 * 56
    assert cost.activations == 6 * 16 + 5 * 64 + 40 * 7
    assert cost.convs == 3
    assert net(torch.ones(1, 3, 8, 8)).abs().sum() > 0  # the network itself still computes


BY_OTHERS = [(e, kind) for e in ZOO for kind in e.weights if kind not in ("official", "srkit")]


@pytest.mark.parametrize(
    ("entry", "kind"), BY_OTHERS, ids=[f"{e.name}-{kind}" for e, kind in BY_OTHERS]
)
def test_what_others_trained_reaches_its_figures(assets, entry, kind):
    """PSNR to two decimals, LPIPS to three digits, as they are printed."""
    file = entry.weights[kind]
    root = assets("benchmarks/Set5")
    assets(file.path)
    assets("backbones/lpips_alex.safetensors")
    model = create_model(entry.name, weights=kind)
    scores = evaluate(model, "Set5", root=root, lpips="alex")
    assert scores.means["psnr"] == pytest.approx(file.psnr["Set5"], abs=0.0051)
    digits = 3 if file.lpips["Set5"] > 0.1 else 4
    assert round(scores.means["lpips"], digits) == file.lpips["Set5"]


def test_nobody_takes_what_others_trained_for_the_authors():
    for entry, kind in BY_OTHERS:
        file = entry.weights[kind]
        assert "trained" in file.origin
        assert file.sha256
        shown = " ".join(str(entry).split())
        assert f"{kind!r}: {file.path} ({file.licence}) {file.scores} {file.origin}" in shown
        assert "not by" in file.origin or "not trained by" in file.origin or entry.paper == PCARN
    assert "Set5 30.39 dB, LPIPS 0.0772" in str(model_info("esrgan_x4"))


def test_names_are_listed_by_pattern_and_by_family():
    assert list_models("rlfn") == ["rlfn_x2", "rlfn_x4"]
    assert set(list_models("imdn*")) == {"imdn_x2", "imdn_x3", "imdn_x4"}
    assert len(list_models()) == len(set(list_models())) == len(ZOO) + len(trained())


def test_a_model_is_found_by_whole_name_or_family_and_scale():
    assert model_info("rlfn_x4") is model_info("rlfn", scale=4) is model_info("rlfn_x4", scale=4)
    assert model_info("rlfn_tiny").scale == 4
    shown = str(model_info("rlfn_x4"))
    for fact in ("CVPRW 2022", "543,740", "Apache-2.0", "32.24 dB", "8c7edb57"):
        assert fact in shown
    assert "not known: unverified" in str(model_info("rlfn_s_x2"))


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        ("rlfm_x4", None, "no model is named 'rlfm_x4'. Do you mean .*rlfn_x4"),
        ("rlfn", None, "'rlfn' with no scale: choose rlfn_x2 or rlfn_x4"),
        ("rlfn", 3, "'rlfn' with scale=3: choose rlfn_x2 or rlfn_x4"),
        ("rlfn_x4", 2, "'rlfn_x4' with scale=2: choose rlfn_x2 or rlfn_x4"),
        ("qqq", None, "There are: rlfn, "),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(name, scale, words):
    with pytest.raises(ValueError, match=words):
        model_info(name, scale=scale)
