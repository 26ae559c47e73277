"""RDN: the answers of the EDSR authors' port, files of another port, and the ablation's parts."""

from __future__ import annotations

import pytest
import torch
from oracle import relative_error

from srkit.datasets.catalog import pairs
from srkit.metrics.evaluate import evaluate
from srkit.models.rdn import RDB, RDN, IdealoRDN
from srkit.weights.load import create_model

A = {"growth": 32, "blocks": 20, "layers": 6}


def small(scale=2, **kwargs):
    torch.manual_seed(0)
    return RDN(scale, **{"channels": 6, "growth": 4, "blocks": 3, "layers": 2} | kwargs).eval()


@pytest.mark.parametrize(
    ("tag", "scale", "kwargs"),
    [
        ("rdn_a_x2", 2, A | {"up": 32}),  # the port's upsampler has G channels, the paper's G0
        ("rdn_a_x4", 4, A | {"up": 32}),
        ("rdn_b_x2", 2, {}),
        ("rdn_b_x4", 4, {}),
    ],
)
def test_same_names_and_answer_as_the_port(assets, tag, scale, kwargs):
    folder = assets(f"oracles/{tag}.npz").parent
    assert relative_error(RDN(scale, **kwargs), folder, tag) < 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_file_of_the_other_port_gives_the_same_answer_at_our_range(scale, rng):
    """yjn870's names, and biases for [0, 1]."""
    theirs, lr = small(scale, rgb_range=1.0), torch.rand(1, 3, 6, 5, generator=rng)
    ports = {
        "SFENet": "sfe",
        "RDBs.": "rdbs.",
        ".convs.": ".layers.",
        ".conv.0.": ".conv.",
        "LFF": "lff",
        "GFF": "gff",
        f"UPNet.{4 if scale == 4 else 2}": "output",
        "UPNet": "upscale",
    }
    state = {}
    for name, tensor in theirs.state_dict().items():
        for ours, port in ports.items():
            name = name.replace(ours, port)
        state[name] = tensor
    assert {"rdbs.2.layers.1.conv.weight", "rdbs.0.lff.bias", "output.bias"} <= state.keys()
    model = small(scale)
    model.load_state_dict(RDN.from_authors(state, scale))
    with torch.no_grad():
        torch.testing.assert_close(model(lr), theirs(lr), atol=1e-5, rtol=1e-5)


def test_other_files_are_left_as_they_are():
    state = small().state_dict()
    assert RDN.from_authors(state, 2) is state


def test_a_dense_block_keeps_all_it_made_and_adds_its_input(rng):
    """Each convolution's first columns belong to the input, its last to the newest map."""
    block, x = RDB(3, 2, 2, True, True), torch.rand(1, 3, 6, 5, generator=rng)
    first, second = (layer.conv for layer in block.convs)
    assert (first[0].in_channels, second[0].in_channels, block.LFF.in_channels) == (3, 5, 7)
    with torch.no_grad():
        a = first(x)
        b = second(torch.cat([x, a], 1))
        torch.testing.assert_close(block(x), x + block.LFF(torch.cat([x, a, b], 1)))
        block.local_residual = False
        torch.testing.assert_close(block(x), block.LFF(torch.cat([x, a, b], 1)))


def test_without_contiguous_memory_a_block_is_a_chain(rng):
    block, x = RDB(3, 2, 2, False, True), torch.rand(1, 3, 6, 5, generator=rng)
    with torch.no_grad():
        chain = block.convs[1](block.convs[0](x))
        torch.testing.assert_close(block(x), x + block.LFF(chain))


def test_global_fusion_reads_all_blocks_and_adds_the_first_features(rng):
    lr = torch.rand(1, 3, 6, 5, generator=rng)
    whole, last = small(), small(global_fusion=False)
    assert (whole.GFF[0].in_channels, last.GFF[0].in_channels) == (3 * 6, 6)
    for model in (whole, last):
        with torch.no_grad():
            for parameter in model.GFF.parameters():
                parameter.zero_()
            wanted = model.UPNet(model.SFENet1(lr * 255)) / 255  # F_-1, before the second conv
            torch.testing.assert_close(model(lr), wanted)


@pytest.mark.parametrize("part", ["contiguous", "local_residual", "global_fusion"])
def test_each_corner_of_the_ablation_learns_everywhere(part):
    model = small(**{part: False})
    model(torch.rand(1, 3, 6, 6)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_idealo_s_network_repeats_pixels(rng):
    """The last convolution sees maps whose pixels stand r times in a row and in a column."""
    model = IdealoRDN(3, channels=4, growth=4, blocks=1, layers=1).eval()
    seen = []
    model.UPNet[-1].register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    with torch.no_grad():
        model(torch.rand(1, 3, 4, 5, generator=rng))
    assert seen[0].shape == (1, 27, 12, 15)
    assert torch.equal(
        seen[0], seen[0][..., ::3, ::3].repeat_interleave(3, 2).repeat_interleave(3, 3)
    )


def test_idealo_s_names_become_ours():
    model = IdealoRDN(channels=4, growth=4, blocks=2, layers=2)
    theirs = {
        "RDBs.1.convs.0.conv.0.weight": "F_2_1/kernel",
        "RDBs.1.LFF.bias": "LFF_2/bias",
        "GFF.0.weight": "GFF_1/kernel",
        "SFENet1.weight": "F_m1/kernel",
        "SFENet2.bias": "F_0/bias",
        "UPNet.0.weight": "UPN1/kernel",
        "UPNet.6.bias": "SR/bias",
    }
    state = {theirs[n]: t for n, t in model.state_dict().items() if n in theirs}
    back = IdealoRDN.from_authors(state, 2)
    assert back.keys() == theirs.keys()
    assert all(back[name] is state[other] for name, other in theirs.items())


def test_idealo_s_weights_on_the_four_pictures_they_were_measured_on(assets):
    """35.57 dB and LPIPS 0.0541 were measured without baby, by another program."""
    assets("weights/RDN/rdn_small_idealo_x2.safetensors")
    assets("backbones/lpips_alex.safetensors")
    four = [p for p in pairs("Set5", 2, root=assets("benchmarks/Set5")) if p.name != "baby"]
    scores = evaluate(create_model("rdn_small_x2", weights="idealo"), four, lpips="alex")
    assert scores.means["psnr"] == pytest.approx(35.57, abs=0.02)
    assert scores.means["lpips"] == pytest.approx(0.0541, abs=0.0001)


def test_a_scale_that_cannot_be_is_refused_in_words():
    with pytest.raises(ValueError, match=r"scale 5: .*2, 3, 4"):
        RDN(5)
