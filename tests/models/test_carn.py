"""CARN and CARN-M: the authors' answers, the ablation's sizes, one file for three scales."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from oracle import fill

from srkit.datasets.catalog import pairs
from srkit.metrics.evaluate import evaluate
from srkit.models.carn import CARN, PCARN, CascadingBlock, cascade
from srkit.models.counting import count
from srkit.weights.load import create_model, load_checkpoint

HEADS = (2, 3, 4)
MOBILE = {"groups": 4, "mobile": True}


@pytest.mark.parametrize(("tag", "kwargs"), [("carn", {}), ("carn_m", MOBILE)])
def test_three_heads_answer_as_the_authors_network(assets, tag, kwargs):
    folder = assets(f"oracles/{tag}.npz").parent
    spec = json.loads((folder / f"{tag}.json").read_text())
    model = CARN(heads=HEADS, **kwargs).double()
    state = model.state_dict()
    kept = spec["kept"]
    assert {n: list(t.shape) for n, t in state.items() if n not in kept} == spec["tensors"]
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        values = kept[name] if name in kept else fill(name, shape, spec["salt"], spec["gain"])
        tensor.copy_(torch.as_tensor(np.array(values)).reshape(shape))
    with np.load(folder / f"{tag}.npz") as arrays, torch.no_grad():
        lr = torch.from_numpy(arrays["in_lr"]).double()
        for scale in HEADS:
            wanted = arrays[f"out_x{scale}"]
            error = np.abs(model(lr, scale=scale).numpy() - wanted).max()
            assert error < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("kwargs", "parameters"),
    [
        ({}, 1_591_963),
        (MOBILE, 414_811),
        ({"local": False}, 1_480_795),
        ({"across": False}, 1_554_907),
        ({"local": False, "across": False}, 1_443_739),
        ({"channels": 32}, 399_707),
    ],
)
def test_three_heads_have_the_papers_sizes(kwargs, parameters):
    model = CARN(heads=HEADS, **kwargs)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("scale", "kwargs", "macs"),
    [
        (2, {}, 222.8),
        (3, {}, 118.8),
        (4, {}, 90.9),
        (2, MOBILE, 91.2),
        (3, MOBILE, 46.1),
        (4, MOBILE, 32.5),
    ],
)
def test_multiply_adds_are_the_papers(scale, kwargs, macs):
    """For 1280x720. Only the head in use counts, and a shared block three times."""
    cost = count(CARN(scale, heads=HEADS, **kwargs), lr_size=(16, 16))
    assert cost.macs / 16**2 * (1280 * 720 / scale**2) / 1e9 == pytest.approx(macs, abs=0.05)


def test_a_fuse_sees_the_blocks_outputs_not_the_fused_ones():
    blocks = [lambda x, k=k: x + k for k in (1, 10, 100)]
    fuses = [lambda x: x.sum(1, keepdim=True)] * 3
    x = torch.ones(1, 1, 1, 1)
    # b1 = 2, o1 = 3; b2 = 13, o2 = 16; b3 = 116, o3 = 1 + 2 + 13 + 116
    assert cascade(x, blocks, fuses).item() == 132


def test_the_mobile_block_is_shared():
    block = CascadingBlock(16, groups=4, mobile=True, cascading=True)
    calls = []
    block.b1.register_forward_hook(lambda *_: calls.append(1))
    block(torch.rand(1, 16, 5, 5))
    assert len(calls) == 3


def test_one_file_serves_three_scales(assets):
    path = assets("weights/CARN/carn_m.pth")
    whole = torch.load(path, weights_only=True, map_location="cpu")
    three = CARN(heads=HEADS, **MOBILE)
    three.load_state_dict(whole)
    lr = torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for scale in HEADS:
            one = create_model("carn_m", scale=scale, weights=path)
            assert torch.equal(one(lr), three.eval()(lr, scale=scale))
    assert load_checkpoint(path).name == "carn_m_x2"


@pytest.mark.parametrize(
    ("name", "image", "psnr"),
    [
        ("carn_m_x2", "butterfly", 34.60),
        ("carn_m_x3", "butterfly", 30.54),
        ("carn_m_x4", "butterfly", 27.99),
        ("carn_x2", "butterfly", 35.03),
    ],
)
def test_authors_weights_reach_the_measured_psnr(assets, official, name, image, psnr):
    """Output rounded to 8 bits; the authors' script truncates, which costs up to 0.17 dB."""
    model = official(name)
    chosen = pairs("Set5", model.scale, root=assets("benchmarks/Set5"))
    scores = evaluate(model, [pair for pair in chosen if pair.name == image])
    assert scores.means["psnr"] == pytest.approx(psnr, abs=0.006)


def pcarn_file(model: PCARN) -> dict[str, torch.Tensor]:
    """As the authors' files have it: their names, and the shared block three times."""
    state = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in (
            (".body.0.", ".conv1."),
            (".body.2.", ".conv2."),
            (".body.4.", ".pw."),
        ):
            if ".b1." in name:
                name = name.replace(ours, theirs)
        for block in ("b1", "b2", "b3") if ".b1." in name else ("",):
            state[name.replace(".b1.", f".{block}.")] = tensor.clone()
    return state


def test_pcarn_has_no_relu_after_fusions_and_adds_the_entry(rng):
    torch.manual_seed(0)
    model, f = PCARN(channels=8, **MOBILE), torch.randn(1, 8, 5, 6, generator=rng)
    assert not any(isinstance(layer, torch.nn.ReLU) for layer in (model.c1, model.b2.c3))
    with torch.no_grad():
        for fusion in (model.c1, model.c2, model.c3):
            fusion.weight.zero_()
            fusion.bias.fill_(-0.5)
        torch.testing.assert_close(model.trunk(f), f - 0.5)


def test_pcarn_s_file_becomes_ours_for_each_scale():
    model = PCARN(heads=HEADS, channels=8, **MOBILE)
    file = pcarn_file(model)
    assert {"b2.b3.conv2.bias", "b1.b1.pw.weight", "b3.c2.weight"} < file.keys()
    for scale in HEADS:
        one = PCARN(scale, channels=8, **MOBILE)
        one.load_state_dict(PCARN.from_authors(file, scale))
        assert torch.equal(one.exit.weight, model.exit.weight)
        assert torch.equal(one.b2.b1.body[4].weight, model.b2.b1.body[4].weight)
    file["b2.b3.conv2.bias"] += 1
    with pytest.raises(ValueError, match=r"b2\.b3\.conv2\.bias should be equal to that of b2\.b1"):
        PCARN.from_authors(file, 4)


def test_neither_network_takes_the_other_s_file(assets):
    """They have the same sizes, and other answers."""
    carn, pcarn = assets("weights/CARN/carn_m.pth"), assets("weights/PCARN/PCARN-M.pth")
    with pytest.raises(ValueError, match=r"does not fit carn_m_x4\. .*create_model\('pcarn_m', "):
        create_model("carn_m_x4", weights=pcarn)
    with pytest.raises(ValueError, match=r"does not fit pcarn_m_x4\. .*create_model\('carn_m', "):
        create_model("pcarn_m_x4", weights=carn)


def test_refusals():
    with pytest.raises(ValueError, match=r"scale 8 of heads \(8,\): CARN has heads for 2, 3 and 4"):
        CARN(8)
    with pytest.raises(ValueError, match=r"scale 4 of heads \(2, 3\)"):
        CARN(4, heads=(2, 3))
    with pytest.raises(ValueError, match="scale 3: this network has up2, up4"):
        CARN(4, heads=(2, 4), channels=8)(torch.rand(1, 3, 8, 8), scale=3)
