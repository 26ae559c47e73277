"""The x16 network and its U-Net discriminator: the authors' answers, sizes, what the discriminator
gives."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from oracle import fill_network, picture, relative_error
from torch import nn

from srkit.models.ciplab import RRDBNetx4x4, UNetDiscriminator


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_generator_has_the_names_and_the_answer_of_the_authors(assets):
    folder = assets("oracles/ciplab_rrdb16.npz").parent
    assert relative_error(RRDBNetx4x4(), folder, "ciplab_rrdb16") < 1e-5


def test_discriminator_answers_as_the_authors_without_their_idle_layers(assets):
    """Both logit maps, and each of the twelve feature maps by its channels' means."""
    folder = assets("oracles/ciplab_unetd.npz").parent
    spec = json.loads((folder / "ciplab_unetd.json").read_text())
    discriminator = UNetDiscriminator().double().eval()
    idle = fill_network(discriminator, spec)
    assert {name.split(".")[1] for name in idle} == {"conv2", "conv_sc", "bn2"}
    learned = [shape for name, shape in spec["tensors"].items() if "running" not in name]
    assert sum(map(math.prod, learned)) == 12_823_810

    with torch.no_grad():
        verdict = discriminator(picture((1, 3, 128, 128)))
    answers = {"enc": verdict.encoder, "dec": verdict.decoder}
    names = [f"{half}{k}" for half in "ed" for k in range(1, 7)]
    for name, maps in zip(names, verdict.maps, strict=True):
        answers[f"{name}_mean"] = maps.mean((0, 2, 3))
        answers[f"{name}_absmean"] = maps.abs().mean((0, 2, 3))
    with np.load(folder / "ciplab_unetd.npz") as wanted:
        assert {f"out_{name}" for name in answers} == set(wanted.files)
        for name, answer in answers.items():
            right = wanted[f"out_{name}"]
            assert np.abs(answer.numpy() - right).max() < 1e-5 * np.abs(right).max(), name


@pytest.mark.parametrize(
    ("kwargs", "count"),
    [
        ({}, 33_392_451),
        ({"channels": 16, "blocks": 3, "growth": 8}, 289_875),
        ({"channels": 24, "blocks": 2, "growth": 12}, 448_203),
    ],
)
def test_generators_have_the_published_sizes(kwargs, count):
    with torch.device("meta"):
        assert parameters(RRDBNetx4x4(**kwargs)) == count


@pytest.mark.parametrize(
    ("channels", "count"),
    [
        ((64, 128, 192, 256, 320, 384), 6_681_538),
        ((16, 32, 48, 64), 114_194),
        ((16, 32, 48, 64, 80), 234_450),
    ],
)
def test_discriminators_have_the_published_sizes_and_all_learns(channels, count):
    discriminator, n = UNetDiscriminator(channels), len(channels)
    assert parameters(discriminator) == count
    h, w = 2**n, 2 ** (n + 1)
    verdict = discriminator(torch.rand(2, 3, h, w))
    assert verdict.encoder.shape == (2, 1, 1, 2)
    assert verdict.decoder.shape == (2, 1, h, w)
    sizes = [m.shape[1:] for m in verdict.maps]
    assert sizes[:n] == [(c, h >> k, w >> k) for k, c in enumerate(channels, 1)]
    decoder = (*reversed(channels[:-1]), channels[0] // 2)
    assert sizes[n:] == [(c, h >> n - k, w >> n - k) for k, c in enumerate(decoder, 1)]
    (verdict.encoder.sum() + verdict.decoder.sum()).backward()
    assert all(p.grad is not None for p in discriminator.parameters())


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match="scale 4: this network has 16 only"):
        RRDBNetx4x4(4)
    with pytest.raises(ValueError, match=r"sides .* multiples of 4, got 8x10: pad to 8x12"):
        UNetDiscriminator((2, 4))(torch.rand(1, 3, 8, 10))
