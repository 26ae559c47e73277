"""Network interpolation: the ends exactly, the middle by hand, misfits refused in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srkit import as_model, create_model
from srkit.weights.interpolate import network_interpolation
from srkit.weights.save import save


def pair(name: str = "rlfn_tiny_x4") -> list[nn.Module]:
    networks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks.append(create_model(name))
    return networks


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_ends_and_middle():
    a, b = pair()
    before = {n: t.clone() for n, t in a.state_dict().items()}
    assert same(network_interpolation(a, b, 0), a)
    assert same(network_interpolation(a, b, 1), b)
    mixed = network_interpolation(a, b, 0.8)
    for name, tensor in mixed.state_dict().items():
        assert torch.allclose(tensor, 0.2 * before[name] + 0.8 * b.state_dict()[name], atol=1e-7)
    assert (mixed.name, mixed.training) == (a.name, a.training)
    assert all(torch.equal(t, before[n]) for n, t in a.state_dict().items())


def test_a_linear_layer_interpolates_its_answers(rng):
    a, b = (as_model(nn.Conv2d(3, 4, 3), scale=1) for _ in range(2))
    x = torch.rand(1, 3, 6, 6, generator=rng)
    wanted = 0.7 * a(x) + 0.3 * b(x)
    assert (network_interpolation(a, b, 0.3)(x) - wanted).abs().max() < 1e-6


def test_files_and_networks_mix(tmp_path):
    a, b = pair()
    save(a, tmp_path / "a.safetensors")
    save(b, tmp_path / "b.safetensors")
    wanted = network_interpolation(a, b, 0.25)
    assert same(
        network_interpolation(tmp_path / "a.safetensors", tmp_path / "b.safetensors", 0.25), wanted
    )
    assert same(network_interpolation(str(tmp_path / "a.safetensors"), b, 0.25), wanted)


def test_counters_are_not_mixed():
    a, b = (as_model(nn.BatchNorm2d(3), scale=1) for _ in range(2))
    b.net.num_batches_tracked.fill_(7)
    b.net.running_mean.fill_(2.0)
    mixed = network_interpolation(a, b, 0.5).net
    assert mixed.num_batches_tracked == 0
    assert torch.equal(mixed.running_mean, torch.ones(3))


def test_what_does_not_match_is_refused_in_words():
    a, b = pair()
    rfdn = create_model("rfdn_x4")
    with pytest.raises(ValueError, match=r"rlfn_tiny_x4 and rfdn_x4 .* a RLFN, the other a RF"):
        network_interpolation(a, rfdn, 0.5)
    wide = create_model("rlfn_x4")
    with pytest.raises(ValueError, match=r"conv_1\.weight is \(\d+, 3, 3, 3\) and \(52, 3, 3, 3\)"):
        network_interpolation(a, wide, 0.5)
    b.rgb_range = 1.0
    with pytest.raises(
        ValueError, match=r"rgb_range is 255\.0 and 1\.0.*two trainings of the same"
    ):
        network_interpolation(a, b, 0.5)
    relu, tanh = (
        as_model(nn.Sequential(nn.Conv2d(3, 3, 1), act), scale=1) for act in (nn.ReLU(), nn.Tanh())
    )
    with pytest.raises(ValueError, match=r"net\.1 is ReLU and Tanh"):
        network_interpolation(relu, tanh, 0.5)
    with pytest.raises(TypeError, match=r"Conv2d does not say .*srkit\.as_model\(net, scale=4\)"):
        network_interpolation(a, nn.Conv2d(3, 3, 1), 0.5)
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"alpha {alpha}: choose from 0"):
            network_interpolation(a, a, alpha)
