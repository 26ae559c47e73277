"""SRFeat: sizes of generator and discriminators, the long skips, the authors' TensorFlow arrays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.models.srfeat import FeatureDiscriminator, ImageDiscriminator, SRFeat, from_tensorlayer


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_there_are_fifteen_long_skips_and_each_matters(rng):
    """Fifteen for sixteen blocks; at test time, without any one of them the picture is another."""
    with torch.device("meta"):
        assert len(SRFeat().skips) == 15
    torch.manual_seed(0)
    network, x = SRFeat(channels=8, blocks=4).eval(), torch.rand(1, 3, 7, 6, generator=rng)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        sr = network(x)
        for skip in network.skips:
            kept = skip.weight.clone()
            skip.weight.zero_()
            assert not torch.allclose(network(x), sr)
            skip.weight.copy_(kept)


def test_without_long_skips_it_is_the_network_with_silent_ones(rng):
    torch.manual_seed(0)
    whole = SRFeat(channels=8, blocks=3).eval()
    plain = SRFeat(channels=8, blocks=3, long_skips=False).eval()
    for skip in whole.skips:
        nn.init.zeros_(skip.weight)
    own = {name: w for name, w in whole.state_dict().items() if not name.startswith("skips.")}
    plain.load_state_dict(own)
    lr = torch.rand(1, 3, 7, 6, generator=rng)
    with torch.no_grad():
        assert torch.equal(whole(lr), plain(lr))


@pytest.mark.parametrize(
    ("kwargs", "count"),
    [
        ({}, 6_187_907),
        ({"channels": 32, "blocks": 6}, 199_139),
        ({"channels": 24, "blocks": 6}, 113_835),
    ],
)
def test_generators_have_the_size_of_the_authors_code(kwargs, count):
    with torch.device("meta"):
        assert parameters(SRFeat(**kwargs)) == count


@pytest.mark.parametrize(
    ("discriminator", "kwargs", "count"),
    [
        (ImageDiscriminator, {}, 193_959_105),
        (FeatureDiscriminator, {}, 7_081_473),
        (FeatureDiscriminator, {"size": None}, 9_711_105),
    ],
)
def test_discriminators_have_the_sizes_of_the_authors_code(discriminator, kwargs, count):
    with torch.device("meta"):
        assert parameters(discriminator(**kwargs)) == count


def test_every_part_of_the_discriminators_learns():
    """Sizes that halve to odd ones, as the paper's 19 does; without a size, a map of verdicts."""
    small = {"channels": 4, "hidden": 8}
    for discriminator, x, shape in (
        (ImageDiscriminator(38, **small), torch.rand(2, 3, 38, 38), (2, 1)),
        (FeatureDiscriminator(6, 19, **small), torch.rand(2, 6, 19, 19), (2, 1)),
        (FeatureDiscriminator(6, None, **small, stages=2), torch.rand(2, 6, 9, 11), (2, 1, 3, 3)),
    ):
        logits = discriminator(x)
        assert logits.shape == shape
        logits.sum().backward()
        assert all(p.grad is not None for p in discriminator.parameters())


def as_tensorlayer(network: SRFeat) -> list[Tensor]:
    """The list of arrays that the authors would save of `network`: TensorFlow's axes and order."""

    def kernel(layer: nn.Conv2d) -> Tensor:
        return layer.weight.detach().permute(2, 3, 1, 0)  # (kh, kw, in, out)

    def shuffled(x: Tensor) -> Tensor:
        """Last axis from pixel_shuffle's order to depth_to_space's, place by place."""
        channels = x.shape[-1] // 4
        order = [channel * 4 + place for place in range(4) for channel in range(channels)]
        return x.detach()[..., order]

    arrays = [kernel(network.conv_in), network.conv_in.bias.detach()]
    for block in network.blocks:
        for c, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
            scale = [bn.bias.detach(), bn.weight.detach()]
            arrays += [kernel(c), *scale, bn.running_mean, bn.running_var]
    arrays += [kernel(skip) for skip in network.skips]
    for up in (network.up1, network.up2):
        arrays += [shuffled(kernel(up)), shuffled(up.bias)]
    return [*arrays, kernel(network.conv_out), network.conv_out.bias.detach()]


def test_the_authors_arrays_make_the_same_network(rng):
    torch.manual_seed(0)
    network, copy = (SRFeat(channels=4, blocks=3).eval() for _ in range(2))
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    copy.load_state_dict(from_tensorlayer(as_tensorlayer(network)))
    x = torch.rand(1, 3, 5, 6, generator=rng)
    with torch.no_grad():
        assert torch.equal(copy(x), network(x))


def test_the_papers_file_has_183_arrays_of_6196099_numbers():
    with torch.device("meta"):
        arrays = as_tensorlayer(SRFeat())
    assert len(arrays) == 183
    assert sum(array.numel() for array in arrays) == 6_196_099


def test_depth_to_space_is_what_the_conversion_undoes(rng):
    """TensorFlow's depth_to_space by its definition, on a kernel with the authors' axes."""
    torch.manual_seed(0)
    arrays = as_tensorlayer(SRFeat(channels=3, blocks=1))
    tf_kernel, tf_bias = arrays[-6:-4]  # up1: before up2 and conv_out
    x = torch.rand(1, 3, 4, 5, generator=rng)
    y = F.conv2d(x, tf_kernel.permute(3, 2, 0, 1), tf_bias, padding=1)[0]  # (4C, h, w)
    wanted = torch.empty(3, 8, 10)
    for dy in (0, 1):
        for dx in (0, 1):
            place = 2 * dy + dx
            wanted[:, dy::2, dx::2] = y[3 * place : 3 * place + 3]
    state = from_tensorlayer(arrays)
    y = F.conv2d(x, state["up1.weight"], state["up1.bias"], padding=1)
    assert torch.allclose(F.pixel_shuffle(y, 2)[0], wanted, atol=1e-6)


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match="scale 2: SRFeat has 4 only"):
        SRFeat(2)
    with pytest.raises(ValueError, match=r"182 arrays are no SRFeat: the paper's has 183"):
        from_tensorlayer([torch.zeros(1)] * 182)
    discriminator = ImageDiscriminator(32, channels=2, hidden=4)
    with pytest.raises(ValueError, match="built for 32x32 pixels, got 40x32: crop"):
        discriminator(torch.rand(2, 3, 40, 32))
    with pytest.raises(ValueError, match=r"SRFeat's FeatureDiscriminator takes .*\(B, 6, h, w\)"):
        FeatureDiscriminator(6, None, channels=2)(torch.rand(1, 3, 19, 19))
