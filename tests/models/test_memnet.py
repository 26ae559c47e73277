"""MemNet: published sizes, the wiring of a port, and what each part of the paper does."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from oracle import fill
from torch import nn

from srkit.models.counting import count
from srkit.models.memnet import MemNet


def small(scale=2, **kwargs):
    torch.manual_seed(0)
    return MemNet(scale, channels=8, blocks=3, recursions=2, **kwargs).eval()


@pytest.mark.parametrize(
    ("kwargs", "kernels", "whole"),
    [
        ({}, 676_992, 695_497),
        ({"supervised": False}, 676_992, 694_851),
        ({"blocks": 4}, 435_328, 447_175),
        ({"blocks": 10, "recursions": 10}, 1_373_312, 1_422_029),
        ({"channels": 32, "blocks": 4, "recursions": 4}, None, 105_319),
    ],
)
def test_sizes_are_the_published_ones(kwargs, kernels, whole):
    """The paper's 677K counts the kernels alone; the rest follows from the authors' Caffe net."""
    model = MemNet(**kwargs)
    assert sum(p.numel() for p in model.parameters()) == whole
    if kernels:
        assert sum(p.numel() for p in model.parameters() if p.dim() == 4) == kernels


@pytest.mark.parametrize(("m", "depth"), [(4, 54), (6, 80)])
def test_depth_is_that_of_the_name(m, depth):
    """M6R6 runs 80 convolutions (80C64), although far fewer are stored."""
    model = MemNet(2, channels=2, blocks=m, recursions=6, supervised=False)
    assert count(model, (2, 2)).convs == depth


def port_name(name: str) -> str:
    for ours, theirs in (
        (r"^head_bn", "feature_extractor.bn"),
        (r"^head\b", "feature_extractor.conv"),
        (r"^out_bn\.0", "reconstructor.bn"),
        (r"^out\b", "reconstructor.conv"),
        (r"\.gate_bn", ".gate_unit.bn"),
        (r"\.gate\b", ".gate_unit.conv"),
        (r"\.(conv|bn)_a\.(\d+)", r".recursive_unit.\2.relu_conv1.\1"),
        (r"\.(conv|bn)_b\.(\d+)", r".recursive_unit.\2.relu_conv2.\1"),
        (r"^blocks", "dense_memory"),
    ):
        name = re.sub(ours, theirs, name)
    return name


def test_same_answer_as_a_port(assets):
    """Vandermode's port: one picture, no sharing, no biases, and gates that read H before B."""
    folder = assets("oracles/memnet_port.npz").parent
    spec = json.loads((folder / "memnet_port.json").read_text())
    model = MemNet(2, supervised=False, shared=False).double().eval()
    used = {}
    for name, tensor in model.state_dict().items():
        theirs, shape = port_name(name), tuple(tensor.shape)
        if theirs not in spec["tensors"]:
            assert name.endswith("num_batches_tracked") or theirs.endswith("conv.bias"), name
            tensor.zero_()
            continue
        used[theirs] = list(shape)
        values = torch.from_numpy(fill(theirs, shape, spec["salt"], spec["gain"]))
        if "gate" in theirs:
            axis = 1 if tensor.dim() == 4 else 0
            short, long = values.split([6 * 64, shape[axis] - 6 * 64], axis)
            values = torch.cat([long, short], axis)
        tensor.copy_(values)
    assert used == spec["tensors"]
    with np.load(folder / "memnet_port.npz") as arrays, torch.no_grad():
        answer = model.luma(torch.from_numpy(arrays["in_x"]).double())[-1].numpy()
        wanted = arrays["out_y"]
    assert np.abs(answer - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_the_answer_is_the_learned_sum_of_all_pictures(rng):
    model, y = small(), torch.rand(2, 1, 9, 8, generator=rng)
    with torch.no_grad():
        *pictures, answer = model.luma(y)
        assert len(pictures) == 3
        torch.testing.assert_close(answer, torch.stack(pictures).mean(0))  # as it starts
        model.ensemble.copy_(torch.tensor([0.0, 1.0, 0.0]))
        torch.testing.assert_close(model.luma(y)[-1], pictures[1])
    assert len(small(supervised=False).luma(y)) == 1


def test_one_set_of_weights_serves_all_scales(rng):
    """What the network does at x2 it does, to the same enlarged picture, at x4."""
    two, four = small(2), small(4)
    four.load_state_dict(two.state_dict())
    y = torch.rand(1, 1, 8, 8, generator=rng)
    with torch.no_grad():
        torch.testing.assert_close(two.luma(y)[-1], four.luma(y)[-1])
        assert four(torch.rand(1, 3, 3, 2)).shape == (1, 3, 12, 8)


def test_recursions_share_kernels_and_keep_their_own_statistics():
    model = small().train()
    model(torch.rand(2, 3, 6, 6))
    block = model.blocks[0]
    assert len(block.conv_a) == 1
    means = [bn.running_mean for bn in block.bn_a]
    assert len(means) == 2
    assert (means[0] - means[1]).abs().max() > 1e-4


def test_the_ablations_cut_what_gates_read():
    """NL forgets the earlier blocks, NS the recursions but the last; the depth stays."""
    widths = {
        name: [block.gate.in_channels // 8 for block in small(**kwargs).blocks]
        for name, kwargs in {
            "full": {},
            "NL": {"long_term": False},
            "NS": {"short_term": False},
        }.items()
    }
    assert widths == {"full": [3, 4, 5], "NL": [2, 2, 2], "NS": [2, 3, 4]}


@pytest.mark.parametrize("kwargs", [{"long_term": False}, {"short_term": False}])
def test_the_ablated_networks_still_learn_everywhere(kwargs):
    model = small(**kwargs).train()
    model(torch.rand(1, 3, 6, 6)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_start_as_in_the_paper():
    """He's normal kernels, no biases."""
    layer = MemNet().blocks[0].conv_a[0]
    assert isinstance(layer, nn.Conv2d)
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("scale", [1, 1.5, 0])
def test_a_scale_that_cannot_be_is_refused_in_words(scale):
    with pytest.raises(ValueError, match=rf"scale {scale}: .*whole number from 2"):
        MemNet(scale)
