"""MSRN: the authors' answers, the order of its two fusions, and the network of the paper."""

from __future__ import annotations

import pytest
import torch
from oracle import relative_error

from srkit.image.colour import to_y
from srkit.models.msrn import MSRB, MSRN, MSRN2018


@pytest.mark.parametrize("scale", [2, 4])
def test_same_names_and_answer_as_the_authors_network(assets, scale):
    tag = f"msrn_x{scale}"
    folder = assets(f"oracles/{tag}.npz").parent
    assert relative_error(MSRN(scale), folder, tag) < 1e-5


def test_a_block_has_the_published_size_most_of_it_5x5():
    block = MSRB(64)
    sizes = {name: sum(p.numel() for p in m.parameters()) for name, m in block.named_children()}
    assert sum(sizes.values()) == 713_152
    assert sizes["conv_5_1"] + sizes["conv_5_2"] == 512_192
    assert MSRB(64, wide=3).conv_5_2.kernel_size == (3, 3)


def test_the_2019_fusion_ends_with_the_first_features_that_of_2018_begins_with_them(rng):
    """The 1x1 convolution passes one group of channels; the others are silent."""
    lr = torch.rand(1, 3, 6, 5, generator=rng)
    new, old = MSRN(2, channels=4, blocks=2), MSRN2018(2, channels=4, blocks=2)
    with torch.no_grad():
        for layer, first in ((new.tail[0], 8), (old.bottle, 0)):
            layer.weight.zero_()
            layer.weight[:, first : first + 4, 0, 0] = torch.eye(4)
            layer.bias.zero_()
        f0 = new.head(new.sub_mean(lr * 255))
        wanted = new.add_mean(new.tail[1:](f0)) / 255
        torch.testing.assert_close(new(lr), wanted)
        y = to_y(lr)
        shuffled = torch.nn.functional.pixel_shuffle(old.conv(old.conv_input(y)), 2)
        torch.testing.assert_close(old.luma(y), old.conv_output(shuffled))


def test_without_fusion_the_last_block_alone_is_read():
    model = MSRN(2, channels=4, blocks=2, fusion=False)
    assert model.tail[0].in_channels == 4
    assert model(torch.rand(1, 3, 6, 5)).shape == (1, 3, 12, 10)


@pytest.mark.parametrize("network", [MSRN, MSRN2018])
def test_a_scale_that_cannot_be_is_refused_in_words(network):
    with pytest.raises(ValueError, match=r"scale 5: .*2, 3, 4"):
        network(5)
