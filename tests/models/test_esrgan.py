"""ESRGAN: the authors' answers under each of their naming schemes, sizes, first weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from oracle import fill_network, picture, relative_error
from torch import Tensor, nn

from srkit.models.esrgan import (
    LAYOUTS,
    RRDBNet,
    UNetDiscriminator,
    VGGDiscriminator,
    rename_keys,
    sized,
)
from srkit.models.layers import RDB, RRDB
from srkit.weights.load import load_weights


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def small(*, batch_norm: bool = False) -> RRDBNet:
    return RRDBNet(channels=4, blocks=2, growth=2, batch_norm=batch_norm)


class BasicSR(RRDBNet):
    """The network with BasicSR's names outside."""

    def state_dict(self) -> dict[str, Tensor]:
        return rename_keys(super().state_dict(), "basicsr")


@pytest.mark.parametrize(("tag", "network"), [("esrgan_rrdb", RRDBNet), ("basicsr_rrdb", BasicSR)])
def test_same_names_and_answer_as_the_authors_network(assets, tag, network):
    folder = assets(f"oracles/{tag}.npz").parent
    assert relative_error(network(), folder, tag) < 1e-5


def test_discriminator_answers_as_basicsr(assets):
    folder = assets("oracles/basicsr_vggdisc128.npz").parent
    spec = json.loads((folder / "basicsr_vggdisc128.json").read_text())
    discriminator = VGGDiscriminator(128).double().eval()
    assert fill_network(discriminator, spec) == set()
    with torch.no_grad():
        score = discriminator(picture((1, 3, 128, 128))).numpy()
    with np.load(folder / "basicsr_vggdisc128.npz") as wanted:
        assert np.abs(score / wanted["out_score"] - 1).max() < 1e-5


def test_later_discriminator_answers_as_basicsr(assets):
    """A pass in training mode takes the power iteration by which the oracle's sigmas were made."""
    folder = assets("oracles/basicsr_unetdiscsn.npz").parent
    spec = json.loads((folder / "basicsr_unetdiscsn.json").read_text())
    discriminator = UNetDiscriminator().double()
    assert parameters(discriminator) == spec["parameters"] == 4_376_897
    assert fill_network(discriminator, spec) == set()
    with np.load(folder / "basicsr_unetdiscsn.npz") as arrays, torch.no_grad():
        answer, wanted = (
            discriminator(torch.from_numpy(arrays["in_x"]).double()).numpy(),
            arrays["out_y"],
        )
    assert np.abs(answer - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("scale", [1, 2])
def test_smaller_scales_fold_pixels_first(scale, rng):
    """At odd sizes too: the padding's pixels are the edge's, and are cut off again."""
    network, fold = RRDBNet(scale, channels=4, blocks=1, growth=2), 4 // scale
    assert network.conv_first.in_channels == 3 * fold**2
    h, w = 5 + -5 % fold, 9 + -9 % fold
    lr = torch.rand(1, 3, h, w, generator=rng)
    lr[..., 5:, :] = lr[..., 4:5, :]
    lr[..., 9:] = lr[..., 8:9]
    with torch.no_grad():
        whole, cut = network(lr), network(lr[..., :5, :9])
    assert whole.shape == (1, 3, h * scale, w * scale)
    assert torch.equal(cut, whole[..., : 5 * scale, : 9 * scale])


@pytest.mark.parametrize(
    ("kwargs", "count"),
    [
        ({"blocks": 23}, 16_697_987),
        ({"blocks": 16}, 11_662_019),
        ({"blocks": 8}, 5_906_627),
        ({"channels": 24, "blocks": 3, "growth": 12}, 326_067),
        ({"channels": 32, "blocks": 2, "growth": 16}, 398_755),
    ],
)
def test_generators_have_the_published_sizes(kwargs, count):
    with torch.device("meta"):
        assert parameters(RRDBNet(**kwargs)) == count


@pytest.mark.parametrize(
    ("size", "channels", "count"),
    [(128, 64, 14_499_401), (256, 64, 21_055_049), (128, 16, 1_061_417)],
)
def test_discriminators_have_the_published_sizes(size, channels, count):
    with torch.device("meta"):
        assert parameters(VGGDiscriminator(size, channels=channels)) == count


def test_every_part_of_the_discriminator_learns():
    discriminator = VGGDiscriminator(32, channels=4)
    logits = discriminator(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 1)
    logits.sum().backward()
    assert all(p.grad is not None for p in discriminator.parameters())


def test_residuals_are_scaled_at_both_levels(rng):
    torch.manual_seed(0)
    x = torch.rand(1, 6, 5, 7, generator=rng)
    whole, half = RDB(6, 3, scaling=1.0), RDB(6, 3, scaling=0.5)
    half.load_state_dict(whole.state_dict())
    with torch.no_grad():
        assert torch.allclose(half(x), x + 0.5 * (whole(x) - x), atol=1e-6)
        block = RRDB(6, 3, scaling=0.5)
        inner = block.RDB3(block.RDB2(block.RDB1(x)))
        assert torch.equal(block(x), x + 0.5 * inner)
    for scaling, network in ((0.2, small()), (0.7, RRDBNet(channels=4, blocks=2, scaling=0.7))):
        blocks = [part for part in network.modules() if isinstance(part, RDB | RRDB)]
        assert len(blocks) == 8
        assert {part.scaling for part in blocks} == {scaling}


def test_block_weights_start_at_a_tenth_of_he():
    torch.manual_seed(0)
    network = RRDBNet(channels=32, blocks=1, growth=16)
    for rdb in network.RRDB_trunk[0].children():
        for layer in (rdb.conv1, rdb.conv2, rdb.conv3, rdb.conv4, rdb.conv5):
            he = (2 / layer.weight[0].numel()) ** 0.5
            assert layer.weight.std().item() == pytest.approx(0.1 * he, rel=0.05)
            assert not layer.bias.any()


def test_batch_norm_is_the_one_thing_that_changes():
    """Same convolutions under the same names; a norm with two parameters a channel behind each."""
    without, with_norm = small().state_dict(), small(batch_norm=True).state_dict()
    assert without.keys() <= with_norm.keys()
    assert {k.split(".norms.")[0] for k in with_norm.keys() - without.keys()} == {
        f"RRDB_trunk.{i}.RDB{j}" for i in range(len(small().RRDB_trunk)) for j in (1, 2, 3)
    }
    torch.manual_seed(0)
    model = small(batch_norm=True).train()
    rdb = model.RRDB_trunk[0].RDB1
    features = torch.randn(2, rdb.conv1.in_channels, 8, 8)
    added = (rdb(features) - features) / rdb.scaling
    assert added.mean((0, 2, 3)).abs().max() < 1e-5  # what a norm gives
    torch.testing.assert_close(
        added.var((0, 2, 3), correction=0), torch.ones(added.shape[1]), rtol=0.05, atol=0
    )


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_names_go_from_each_layout_to_each_and_back(source, target):
    state = rename_keys(small().state_dict(), source)
    there = rename_keys(state, target)
    back = rename_keys(there, source)
    assert list(back) == list(state)
    assert all(back[name] is state[name] for name in state)


def test_the_layouts_are_those_of_the_published_files():
    """702 tensors for 23 blocks; the last block and what follows it, under each name."""
    with torch.device("meta"):
        state = RRDBNet().state_dict()
    assert len(state) == 702
    old, basicsr = rename_keys(state, "old"), rename_keys(state, "basicsr")
    for a, b, c in (
        ("RRDB_trunk.22.RDB3.conv5", "model.1.sub.22.RDB3.conv5.0", "body.22.rdb3.conv5"),
        ("trunk_conv", "model.1.sub.23", "conv_body"),
        ("HRconv", "model.8", "conv_hr"),
    ):
        assert state[f"{a}.bias"] is old[f"{b}.bias"]
        assert state[f"{a}.bias"] is basicsr[f"{c}.bias"]


def test_weights_of_another_network_keep_their_names():
    state = nn.Linear(2, 2).state_dict()
    assert rename_keys(state) == state
    with pytest.raises(ValueError, match="layout 'new': choose one of esrgan, old, basicsr"):
        rename_keys(state, "new")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_size_and_scale_are_read_from_shapes(layout, scale):
    arguments = {"scale": scale, "channels": 5, "blocks": 3, "growth": 2}
    model = sized(rename_keys(RRDBNet(**arguments).state_dict(), layout))
    assert model is not None
    assert arguments.items() <= model.arguments.items()


@pytest.mark.parametrize(
    ("name", "shape"), [("conv_first", (4, 5, 3, 3)), ("RRDB_trunk.1.RDB2.conv3", (2, 9, 3, 3))]
)
def test_shapes_that_no_such_network_has_give_none(name, shape):
    state = small().state_dict() | {f"{name}.weight": torch.zeros(shape)}
    assert sized(state) is None
    assert sized(small(batch_norm=True).state_dict()) is None
    assert sized(nn.Conv2d(3, 4, 3).state_dict()) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_each_layout_are_read(tmp_path, layout):
    torch.manual_seed(0)
    one, other = small(), small()
    torch.save({"params": rename_keys(one.state_dict(), layout)}, tmp_path / "net.pth")
    load_weights(other, tmp_path / "net.pth")
    assert all(torch.equal(t, other.state_dict()[n]) for n, t in one.state_dict().items())


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match="scale 8: ESRGAN is for 4, and for 1 and 2"):
        RRDBNet(8)
    with pytest.raises(ValueError, match="multiples of 8, got 16x20: pad to 16x24"):
        UNetDiscriminator(channels=2)(torch.rand(1, 3, 16, 20))


def test_the_u_net_judges_each_pixel_by_its_surroundings(rng):
    """As large as the picture. What lies far off counts only by way of the bottom of the U."""
    torch.manual_seed(0)
    discriminator = UNetDiscriminator(channels=2).eval()
    image = torch.rand(2, 3, 48, 64, generator=rng)
    answer = discriminator(image)
    assert answer.shape == (2, 1, 48, 64)
    other = image.clone()
    other[:, :, 40:, 56:] = 0
    moved = (discriminator(other) - answer).abs()[:, 0]
    assert moved[:, 40:, 56:].max() > 0
    assert moved[:, 0, 0].max() == 0
    for size in (8, 96):
        with pytest.raises(ValueError, match=rf"size {size}: .*16, 32, 64"):
            VGGDiscriminator(size)
    with pytest.raises(ValueError, match="built for 32x32 pixels, got 64x64: crop"):
        VGGDiscriminator(32, channels=2)(torch.rand(2, 3, 64, 64))
