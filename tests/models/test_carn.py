"""CARN and CARN-M: the authors' answers, the ablation's sizes, one file for three scales."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from oracle import fill

from srkit.datasets.catalog import pairs
from srkit.metrics.evaluate import evaluate
from srkit.models.carn import CARN, CascadingBlock, cascade
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


def test_refusals():
    with pytest.raises(ValueError, match=r"scale 8 of heads \(8,\): CARN has heads for 2, 3 and 4"):
        CARN(8)
    with pytest.raises(ValueError, match=r"scale 4 of heads \(2, 3\)"):
        CARN(4, heads=(2, 3))
    with pytest.raises(ValueError, match="scale 3: this network has up2, up4"):
        CARN(4, heads=(2, 4), channels=8)(torch.rand(1, 3, 8, 8), scale=3)
