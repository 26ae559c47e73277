"""ONNX files: PyTorch's pictures at any size, in another runtime; nothing is written that differs.

Exporting takes seconds, so a few networks stand for all: those with the parts that a graph of free
size is most likely to get wrong. Every export compares itself with PyTorch before it writes.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from packaging.version import Version
from small import SMALL
from torch import nn
from typer.testing import CliRunner

import srkit
from srkit.calls import Call, name_of
from srkit.cli import app
from srkit.files import sha256
from srkit.image import resize
from srkit.models.dbpn import DBPN
from srkit.models.lapsrn import LapSRN
from srkit.models.memnet import MemNet
from srkit.models.network import Network
from srkit.models.sftgan import SFTGAN
from srkit.models.ttsr import TTSR
from srkit.models.zoo import ZOO, model_info
from srkit.weights import export
from srkit.weights.load import create_model, load_checkpoint
from srkit.weights.save import save


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """RLFN-tiny, whose attention resizes a map to the picture's size, by the command."""
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    save(create_model("rlfn_tiny_x4"), folder / "tiny.safetensors")
    words = ["export", str(folder / "tiny.safetensors"), str(folder / "tiny.onnx")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return folder / "tiny.onnx", result.stdout


def answer(path, lr):
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["sr"], {"lr": lr.numpy()})[0]


def test_the_commands_file_gives_pytorchs_pictures_at_any_size(exported, rng):
    path, text = exported
    model = load_checkpoint(path.with_name("tiny.safetensors"))
    for size in ((1, 3, 15, 15), (2, 3, 17, 40), (5, 3, 64, 23)):
        lr = torch.rand(size, generator=rng)
        with torch.no_grad():
            assert np.abs(answer(path, lr) - model(lr).numpy()).max() < 1e-4
    assert text.startswith(f"{path}: rlfn_tiny_x4, ")
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.onnx", "tiny.safetensors"]


def test_the_file_says_what_it_is(exported):
    path, _ = exported
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["name"] == "rlfn_tiny_x4"
    assert facts["scale"] == "4"
    assert facts["srkit"] == srkit.__version__
    assert facts["source"] == "tiny.safetensors"
    assert facts["sha256"] == sha256(path.with_name("tiny.safetensors"))


def test_an_existing_file_is_kept_unless_told_otherwise(exported):
    path, _ = exported
    result = CliRunner().invoke(app, ["export", "rlfn_tiny_x4", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"srkit: {path} exists: --overwrite replaces it\n"


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("imdn_x4", {"blocks": 1}),  # statistics of the whole picture
        ("idn_x3", {"channels": 32, "keep": 8, "step": 8, "blocks": 1}),  # Y, bicubic, transposed
        ("msrresnet_x3", {"channels": 8, "blocks": 1}),  # bilinear, pixel shuffle
    ],
)
def test_the_parts_of_other_networks(tmp_path, name, smaller, rng):
    entry = model_info(name)
    torch.manual_seed(0)
    model = replace(entry, kwargs=entry.kwargs | smaller).build().train()
    assert export.export_onnx(model, tmp_path / "a.onnx") < 1e-4
    assert model.training  # it is a copy that is exported
    lr = torch.rand(3, 3, 33, 18, generator=rng)
    with torch.no_grad():
        expected = model.eval()(lr).numpy()
    assert np.abs(answer(tmp_path / "a.onnx", lr) - expected).max() < 1e-4


def test_exporting_leaves_nothing_behind_in_imresize(tmp_path):
    """LapSRN enlarges Y and the picture by it. All sizes afterwards are the formula's numbers."""
    resize._blocks.cache_clear()
    model = LapSRN(4, channels=4, depth=1)
    export.export_onnx(model, tmp_path / "a.onnx")
    sizes = [(model.min_size + 8, model.min_size + 11), (9, 15), (19, 13), (5, 5)]
    after = [resize.imresize(torch.ones(1, 3, *size), 4) for size in sizes]
    for x in after:  # numbers, not what an export traces with
        assert type(x) is torch.Tensor
        assert (x - 1).abs().max() < 1e-6


class Halved(Network):
    """Makes its own LR, by a matrix for one size only."""

    name, scale = "halved", 1

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return resize.imresize(resize.imresize(lr, size=(6, 6)), 2)


def test_no_matrix_of_an_export_is_kept():
    resize._blocks.cache_clear()
    with torch.no_grad():
        torch.export.export(Halved(), (torch.zeros(1, 3, 12, 12),))
    assert resize._blocks.cache_info().currsize == 0
    assert (resize.imresize(torch.ones(1, 3, 12, 12), size=(6, 6)) - 1).abs().max() < 1e-6


def test_a_wrapped_module_is_exported(tmp_path, rng):
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    with pytest.raises(TypeError, match=r"Sequential does not say .*srkit\.as_model"):
        export.export_onnx(net, tmp_path / "a.onnx")
    export.export_onnx(srkit.as_model(net, scale=2, name="mine"), tmp_path / "a.onnx")
    lr = torch.rand(2, 3, 17, 9, generator=rng)
    with torch.no_grad():
        assert np.abs(answer(tmp_path / "a.onnx", lr) - net(lr).numpy()).max() < 1e-4
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert (facts["name"], facts["scale"]) == ("mine", "2")


class Choosy(nn.Module):
    """What it does depends on the values, which no graph has."""

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return lr if lr.mean() > 0.5 else 1 - lr


def test_what_cannot_be_a_graph_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(RuntimeError, match=r"^Choosy cannot be exported for .* any size: ") as told:
        export.export_onnx(srkit.as_model(Choosy(), scale=1), tmp_path / "a.onnx")
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_with_other_weights_is_refused(exported):
    torch.manual_seed(1)
    other = create_model("rlfn_tiny_x4")
    with pytest.raises(RuntimeError, match=r"rlfn_tiny_x4 was not exported: .* allowed are 1e-04"):
        export.difference(exported[0].read_bytes(), other)


class Noise(Network):
    """No runtime gives the same picture twice."""

    name, scale = "noise", 1

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return lr + torch.rand_like(lr)


def test_nothing_is_written_that_differs_from_pytorch(tmp_path):
    with pytest.raises(RuntimeError, match=r"noise was not exported: for \(1, 3, 9, 15\) onnxrun"):
        export.export_onnx(Noise(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "other"), [("ttsr_x4", "ref"), ("sftgan_x4", "prior")])
def test_networks_of_two_inputs_are_refused(tmp_path, name, other):
    with pytest.raises(ValueError, match=rf"{name} .* reads more than the LR picture \({other}\)"):
        export.export_onnx(create_model(name), tmp_path / "a.onnx")


def test_refusals_in_words(tmp_path, monkeypatch):
    model = create_model("srcnn_x2")
    with pytest.raises(ValueError, match="opset 11: PyTorch writes 18 and newer"):
        export.export_onnx(model, tmp_path / "a.onnx", opset=11)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"\(onnxruntime\): pip install 'srkit\[onnx\]'"):
        export.export_onnx(model, tmp_path / "a.onnx")


# One of each class. TTSR's attention reads matrices made for one size; without it ("base") it is
# convolutions.
CONVOLUTIONS = [call for call in SMALL if call.function is not TTSR]
CONVOLUTIONS.append(Call(TTSR, channels=4, blocks=(1, 1, 1, 1), variant="base"))


@pytest.mark.parametrize("call", CONVOLUTIONS, ids=lambda call: call.function.__name__)
def test_torch_export_takes_pictures_of_any_size(call, rng):
    """The graph gives the network's own pictures, at its smallest size too."""
    few = {"blocks": 1, "depth": 1, "groups": 1, "layers": 1, "recursions": 1}
    if call.function not in (TTSR, DBPN, MemNet):
        call = call.but(**{k: n for k, n in few.items() if k in call.arguments})
    torch.manual_seed(0)
    model = call().train()
    try:
        program = export.export_program(model).module()
    except RuntimeError as error:
        refused = "cannot be exported for pictures of any size" in str(error)
        if not refused or Version(torch.__version__) >= Version("2.14"):
            raise
        pytest.skip(f"torch {torch.__version__} finds sizes that ESA's strides do not take")
    assert model.training
    model.eval()
    least = model.min_size
    for size in ((1, 3, least, least + 6), (3, 3, least + 13, least + 4)):
        lr = torch.rand(size, generator=rng)
        with torch.no_grad():
            sr = model(lr)
            assert (program(lr) - sr).abs().max() < 1e-4 * max(1, sr.abs().max())
            assert program(lr).shape == (size[0], 3, *(model.scale * n for n in size[2:]))


def test_all_networks_of_the_zoo_are_in_that_table():
    assert {entry.constructor for entry in ZOO} == {name_of(c.function) for c in CONVOLUTIONS}


def test_further_inputs_are_free_too(rng):
    model = SFTGAN(4, channels=8, blocks=1, conditions=4, width=8).eval()
    program = export.export_program(model, torch.rand(2, 8, 36, 48)).module()
    lr, prior = torch.rand(1, 3, 7, 5, generator=rng), torch.rand(1, 8, 28, 20, generator=rng)
    with torch.no_grad():
        assert (program(lr, prior) - model(lr, prior)).abs().max() < 1e-5
        assert (program(lr, 1 - prior) - model(lr, prior)).abs().max() > 1e-5


def test_torch_export_refuses_in_one_sentence():
    with pytest.raises(RuntimeError, match=r"^ttsr cannot be exported for .* any size: .*imresize"):
        export.export_program(TTSR(4, channels=4, blocks=(1, 1, 1, 1), textures=(4, 8, 8)))
    with pytest.raises(RuntimeError, match=r"^Choosy cannot be exported for .* any size: ") as told:
        export.export_program(srkit.as_model(Choosy(), scale=1))
    assert "\n" not in str(told.value)
    with pytest.raises(TypeError, match=r"Sequential does not say .*srkit\.as_model"):
        export.export_program(nn.Sequential())


def test_resizing_after_torch_export_gives_numbers():
    """In one process, in any order: an export leaves nothing in imresize's memory."""
    resize._blocks.cache_clear()
    before = resize.imresize(torch.ones(1, 3, 12, 15), 4)
    export.export_program(LapSRN(4, channels=4, depth=1))
    for size in ((9, 12), (12, 15), (36, 48)):
        for scale in (4, 1 / 4):
            after = resize.imresize(torch.ones(1, 3, *size), scale)
            assert type(after) is torch.Tensor
            assert (after - 1).abs().max() < 1e-6
    assert torch.equal(resize.imresize(torch.ones(1, 3, 12, 15), 4), before)
