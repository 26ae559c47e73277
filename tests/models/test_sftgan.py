"""SFTGAN: the authors' answers, what the prior does and where, the discriminator, the segmentation
net."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from oracle import fill, fill_network, relative_error
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.counting import count
from srkit.models.sftgan import (
    CLASSES,
    DISCRIMINATOR_CLASSES,
    SFT,
    SFTGAN,
    Discriminator,
    OutdoorSceneSeg,
)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def small(**kwargs) -> SFTGAN:
    torch.manual_seed(0)
    return SFTGAN(channels=8, blocks=2, conditions=4, width=8, **kwargs)


def priors(lr: Tensor, rng: torch.Generator) -> Tensor:
    h, w = lr.shape[-2:]
    return torch.rand(len(lr), 8, 4 * h, 4 * w, generator=rng).softmax(1)


@pytest.mark.parametrize(("tag", "retrained"), [("sftgan_torch", False), ("sftgan", True)])
def test_same_names_and_answer_as_the_authors_network(assets, tag, retrained):
    folder = assets(f"oracles/{tag}.npz").parent
    prior = np.random.RandomState(1001).uniform(0, 1, (1, 8, 96, 80)).astype(np.float32)
    network = SFTGAN(retrained=retrained)
    forward = network.forward
    network.forward = lambda lr: forward(lr, torch.from_numpy(prior).to(lr))
    assert relative_error(network, folder, tag) < 1e-5


def test_segmentation_answers_as_the_authors_network(assets):
    folder = assets("oracles/sftgan_seg.npz").parent
    spec = json.loads((folder / "sftgan_seg.json").read_text())
    network = OutdoorSceneSeg().eval()
    assert parameters(network) == spec["parameters"] == 52_068_296
    assert fill_network(network, spec) == set()
    with np.load(folder / "sftgan_seg.npz") as arrays:
        bare, wanted = torch.from_numpy(arrays["in_x"]).double(), arrays["out_prob"]
    # the oracle feeds the bare network: undo in advance what ours does to a picture in [0, 1]
    picture = (bare + torch.tensor([103.939, 116.779, 123.68]).double().view(3, 1, 1)).flip(1) / 255
    with torch.no_grad():
        answer = network.double()(picture)[..., ::2, ::2].numpy()
    assert np.abs(answer - wanted).max() / wanted.max() < 1e-5


def authors_segmentation(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The authors' network on a BGR picture without its mean, layer by layer, and no padding but
    the layers' own. State: by their names."""

    def conv_norm(x: Tensor, name: str, norm: str, **how) -> Tensor:
        x = F.conv2d(x, state[f"{name}.weight"], **how)
        parts = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    for i, stride in ((0, 2), (3, 1), (6, 1)):
        how = {"stride": stride, "padding": 1}
        x = conv_norm(x, f"feature.{i}", f"feature.{i + 1}", **how).relu()
    x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
    for i in range(10, 43):
        at, stride = f"feature.{i}", 2 if i == 13 else 1
        dilation = 1 if i < 17 else 2 if i < 40 else 4
        how = {"stride": stride, "padding": dilation, "dilation": dilation}
        y = conv_norm(x, f"{at}.res.0", f"{at}.res.1").relu()
        y = conv_norm(y, f"{at}.res.3", f"{at}.res.4", **how).relu()
        y = conv_norm(y, f"{at}.res.6", f"{at}.res.7")
        if f"{at}.proj.0.weight" in state:
            x = conv_norm(x, f"{at}.proj.0", f"{at}.proj.1", stride=stride)
        x = (x + y).relu()
    x = conv_norm(x, "feature.43", "feature.44", padding=1).relu()
    x = F.conv2d(x, state["feature.47.weight"], state["feature.47.bias"])
    return F.conv_transpose2d(x, state["deconv.weight"], stride=8, padding=4, groups=8).softmax(1)


def test_segmentation_is_the_authors_on_any_size(rng):
    """Their maps have sides of 8 n: larger than the picture, or 1 or 2 pixels smaller."""
    network = OutdoorSceneSeg().eval()
    state = network.state_dict()
    for name, tensor in state.items():
        if not name.endswith("batches_tracked"):
            tensor.copy_(torch.from_numpy(fill(name, tuple(tensor.shape), salt=0, gain=1.0)))
    mean = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    for h, w in ((32, 24), (27, 44), (33, 18), (3, 9)):
        picture = torch.rand(1, 3, h, w, generator=rng)
        with torch.no_grad():
            theirs = authors_segmentation(state, 255 * picture.flip(1) - mean)[..., :h, :w]
            ours = network(picture)
            padded = F.pad(picture, (0, -w % 8, 0, -h % 8), mode="replicate")
            other = authors_segmentation(state, 255 * padded.flip(1) - mean)[..., :h, :w]
        rows, columns = theirs.shape[-2:]
        assert (ours[..., :rows, :columns] - theirs).abs().max() < 1e-5
        assert ours.shape == (1, 8, h, w)
        assert torch.equal(
            ours[..., rows:, :columns], theirs[..., -1:, :].expand(-1, -1, h - rows, -1)
        )
        if (h % 8, w % 8) != (0, 0):  # the test can fail: padding to multiples of 8 shows
            assert (other[..., :rows, :columns] - theirs).abs().max() > 1e-3


def test_parts_have_the_published_sizes():
    network = SFTGAN()
    assert parameters(network.sft_branch[16]) == 6_336
    assert parameters(network.sft_branch[0]) == 86_528
    assert parameters(network.CondNet) == 70_176
    assert sum(isinstance(m, SFT) for m in network.modules()) == 33
    assert parameters(SFTGAN(channels=32, blocks=6, conditions=16, width=32, classes=4)) == 176_723
    assert parameters(SFTGAN(channels=48, blocks=4, conditions=16, width=32, classes=4)) == 277_411
    assert parameters(Discriminator()) == 10_813_717


def test_the_prior_enters_as_in_the_ablation(rng):
    """By FiLM only how much there is of a class counts, not where; beside the picture it does."""
    lr = torch.rand(1, 3, 6, 8, generator=rng)
    prior = priors(lr, rng)
    with torch.no_grad():
        for by, moved in (("sft", True), ("film", False), ("concat", True)):
            network = small(by=by).eval()
            change = (network(lr, prior) - network(lr, prior.roll(16, -1))).abs().max()
            assert (change > 1e-5) == moved, by
    sft, film, concat = (small(by=by).state_dict() for by in ("sft", "film", "concat"))
    assert sft.keys() == film.keys()
    assert not [name for name in concat if "SFT" in name or "CondNet" in name]
    assert concat["conv0.weight"].shape == (8, 3 + 8, 3, 3)
    with pytest.raises(ValueError, match="by='add': the prior enters by 'sft', 'film' or 'concat'"):
        SFTGAN(by="add")


def test_the_concatenated_prior_is_on_the_grid_of_the_picture(rng):
    """A class at one SR pixel is a sixteenth of one at its LR pixel."""
    network, lr = small(by="concat").eval(), torch.rand(1, 3, 5, 6, generator=rng)
    seen = []
    network.conv0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prior = network.one_class(lr)
    prior[..., 4, 9] = torch.tensor([0.0, 1, 0, 0, 0, 0, 0, 0])
    network(lr, prior)
    assert torch.equal(seen[0][:, :3], lr)
    assert seen[0][0, 3:5, 1, 2].tolist() == [15 / 16, 1 / 16]
    assert seen[0][0, 4].sum() == 1 / 16


def test_multiply_adds_of_an_hd_picture():
    """163.9 G for 1280x720, from a sixteenth of it: all layers are local."""
    assert 16 * count(SFTGAN(), (45, 80)).macs / 1e9 == pytest.approx(163.9, abs=0.05)


@pytest.mark.parametrize("retrained", [False, True])
def test_scale_one_and_shift_zero_change_nothing(retrained, rng):
    layer = SFT(6, 4, retrained=retrained)
    for name, parameter in layer.named_parameters():
        nn.init.zeros_(parameter)
        if name == "SFT_scale_conv1.bias" and not retrained:
            nn.init.ones_(parameter)
    x = torch.randn(2, 6, 5, 7, generator=rng)
    assert torch.equal(layer(x, torch.randn(2, 4, 5, 7, generator=rng)), x)


@pytest.mark.parametrize("retrained", [False, True])
def test_an_untrained_layer_lets_the_features_through(retrained, rng):
    """Without a start near 1, 33 scales in a row would leave nothing of the picture."""
    layer = SFT(64, 32, retrained=retrained)
    x = torch.randn(1, 64, 9, 9, generator=rng)
    y = layer(x, torch.rand(1, 32, 9, 9, generator=rng))
    assert 0.8 < y.std() / x.std() < 1.2


@pytest.mark.parametrize("retrained", [False, True])
def test_the_prior_acts_where_it_is(retrained, rng):
    """Another prior right of column 24 changes nothing further left than the convolutions reach."""
    network = small(retrained=retrained).eval()
    lr = torch.rand(1, 3, 8, 48, generator=rng)
    one = network.one_class(lr, "plant")
    other = one.clone()
    other[..., 4 * 24 :] = network.one_class(lr, "building")[..., 4 * 24 :]
    with torch.no_grad():
        assert torch.equal(network.CondNet(one)[..., :24], network.CondNet(other)[..., :24])
        difference = (network(lr, one) - network(lr, other)).abs().amax((0, 1, 2))
    reach = 4 * 8  # LR pixels: 2 blocks of 2, 1 at the end, then up to 2.25 on the finer grids
    assert difference[: 4 * 24 - reach].max() == 0
    assert difference[4 * 24 :].min() > 0


def test_without_a_prior_all_is_background(rng):
    network, lr = small().eval(), torch.rand(2, 3, 5, 6, generator=rng)
    background = network.one_class(lr)
    assert background.shape == (2, 8, 20, 24)
    assert torch.equal(background.sum((0, 2, 3)), torch.tensor([960.0] + 7 * [0.0]))
    with torch.no_grad():
        assert torch.equal(network(lr), network(lr, background))
        assert not torch.equal(network(lr), network(lr, network.one_class(lr, "sky")))
        assert torch.equal(network.one_class(lr, 1), network.one_class(lr, "sky"))


def test_the_two_orders_hold_the_same_classes():
    assert sorted(CLASSES) == sorted(DISCRIMINATOR_CLASSES)
    assert CLASSES.index("plant") == 6
    assert DISCRIMINATOR_CLASSES.index("plant") == 2


def test_the_prior_learns(rng):
    """Gradients reach the maps themselves, so a segmentation network could be trained through."""
    network, lr = small(), torch.rand(1, 3, 6, 6, generator=rng)
    prior = priors(lr, rng).requires_grad_()
    network(lr, prior).square().mean().backward()
    assert (prior.grad.abs().amax((0, 2, 3)) > 0).all()


def test_what_does_not_fit_is_refused_in_words(rng):
    lr = torch.rand(1, 3, 6, 7, generator=rng)
    with pytest.raises(ValueError, match="scale 2: SFTGAN is a network for scale 4 only"):
        SFTGAN(2)
    with pytest.raises(ValueError, match=r"\(1, 8, 24, 28\).*got \(1, 8, 6, 7\).*Crop or resize"):
        small()(lr, priors(lr, rng)[..., ::4, ::4])
    with pytest.raises(ValueError, match=r"got \(1, 24, 28\).*one_hot"):
        small()(lr, torch.zeros(1, 24, 28))
    with pytest.raises(
        ValueError, match=r"no class 'tree': choose one of background, sky, .*plant"
    ):
        small().one_class(lr, "tree")
    with pytest.raises(
        ValueError, match=r"no class 'plant': choose one of background, .*grass, or"
    ):
        small(classes=4).one_class(lr, "plant")
    with pytest.raises(ValueError, match=r"size 90.*halves four times, use 16, 32"):
        Discriminator(size=90)
    with pytest.raises(ValueError, match="built for 32x32 pixels, got 48x32: crop"):
        Discriminator(size=32, width=4)(torch.rand(1, 3, 48, 32))


def test_discriminator_judges_picture_and_class(rng):
    discriminator = Discriminator(size=32, width=4)
    real, label = discriminator(torch.rand(3, 3, 32, 32, generator=rng))
    assert (real.shape, label.shape) == ((3, 1), (3, 8))
    (real.sum() + label.square().sum()).backward()
    assert all(p.grad.abs().sum() > 0 for n, p in discriminator.named_parameters() if "weight" in n)
    full = Discriminator().eval()
    assert full.feature(torch.rand(1, 3, 96, 96, generator=rng)).shape == (1, 512, 6, 6)


def test_segmentation_takes_any_size(rng):
    network = OutdoorSceneSeg().eval()
    with torch.no_grad():
        for h, w in ((1, 9), (2, 2), (44, 28)):
            maps = network(torch.rand(1, 3, h, w, generator=rng))
            assert maps.shape == (1, 8, h, w)
            assert (maps.sum(1) - 1).abs().max() < 1e-5
