"""One ONNX file that holds two networks: every mixture of theirs is PyTorch's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

import srkit
from srkit.models.esrgan import RRDBNet
from srkit.weights.export import export_between


def network(seed, half=True, **more):
    torch.manual_seed(seed)
    net = RRDBNet(4, **{"channels": 6, "blocks": 1, "growth": 4} | more).eval()
    return net.half().float() if half else net


@pytest.fixture(scope="module")
def between(tmp_path_factory):
    path = tmp_path_factory.mktemp("between") / "both.onnx"
    pair = network(0), network(1)
    assert export_between(*pair, path, provenance={"made": "by a test"}) < 1e-4
    return path, pair


def mixed(path, lr, alpha):
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {"lr": lr.numpy(), "alpha": np.array(alpha, np.float32)}
    return torch.from_numpy(session.run(["sr"], inputs)[0])


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9, 1.0])
def test_alpha_is_that_of_network_interpolation(between, alpha, rng):
    """At any size, and in between places that the export itself has compared."""
    path, pair = between
    lr = torch.rand(2, 3, 9, 14, generator=rng)
    with torch.no_grad():
        expected = srkit.network_interpolation(*pair, alpha)(lr)
    assert (mixed(path, lr, alpha) - expected).abs().max() < 1e-5


def test_the_two_ends_are_two_pictures(between, rng):
    lr = torch.rand(1, 3, 8, 8, generator=rng)
    assert (mixed(between[0], lr, 0.0) - mixed(between[0], lr, 1.0)).abs().max() > 0.01


def test_half_the_bytes_where_that_is_exact(between, tmp_path):
    """Weights of float16 are kept as such, others whole: neither loses a digit."""
    export_between(network(0, half=False), network(1, half=False), tmp_path / "whole.onnx")
    held = {
        path: {w.name: w.data_type for w in onnx.load(path).graph.initializer}
        for path in (between[0], tmp_path / "whole.onnx")
    }
    kind = onnx.TensorProto
    assert held[between[0]]["conv_first.weight.a.stored"] == kind.FLOAT16
    assert held[tmp_path / "whole.onnx"]["conv_first.weight.a"] == kind.FLOAT


def test_networks_that_do_not_match_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="are not of one architecture"):
        export_between(network(0), network(1, channels=8), tmp_path / "both.onnx")
    assert not list(tmp_path.iterdir())
