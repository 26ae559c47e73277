"""RCAN: the authors' answers, the gates, and the parts of the ablation."""

from __future__ import annotations

import pytest
import torch
from oracle import relative_error

from srkit.models.rcan import RCAN, ChannelAttention


def small(**kwargs):
    torch.manual_seed(0)
    return RCAN(2, **{"channels": 8, "groups": 2, "blocks": 2, "reduction": 4} | kwargs).eval()


@pytest.mark.parametrize("scale", [2, 4])
def test_same_names_and_answer_as_the_authors_network(assets, scale):
    tag = f"rcan_x{scale}"
    folder = assets(f"oracles/{tag}.npz").parent
    assert relative_error(RCAN(scale), folder, tag) < 1e-5


def test_gates_weigh_whole_channels_by_their_mean(rng):
    layer, x = ChannelAttention(8, 4), torch.rand(2, 8, 5, 7, generator=rng)
    seen = []
    layer.conv_du.register_forward_hook(lambda *call: seen.append(call[-1]))
    with torch.no_grad():
        y = layer(x)
        shuffled = layer(x.flip(3))  # same mean, same gates
    gates = seen[0]
    assert gates.shape == (2, 8, 1, 1)
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(y, gates * x)
    torch.testing.assert_close(shuffled, y.flip(3))


def test_all_attention_together_is_less_than_a_hundredth():
    """200 blocks of 64 -> 4 -> 64: 116,000 of 15.6 million."""
    sizes = [sum(p.numel() for p in RCAN(4, attention=a).parameters()) for a in (True, False)]
    assert sizes[0] - sizes[1] == 116_000
    assert sizes[0] == 15_592_379


@pytest.mark.parametrize("long_skip", [True, False])
@pytest.mark.parametrize("short_skip", [True, False])
def test_the_skips_go_around_the_trunk_and_around_each_group(short_skip, long_skip, rng):
    """With all convolutions of the trunk but the last at zero, only the skips carry the picture."""
    model, lr = small(short_skip=short_skip, long_skip=long_skip), torch.rand(1, 3, 6, 5)
    with torch.no_grad():
        for group in model.body[:-1]:
            for parameter in group.parameters():
                parameter.zero_()
        f0 = model.head(model.sub_mean(lr * 255))
        trunk = model.body[-1](f0 if short_skip else torch.zeros_like(f0))
        wanted = model.add_mean(model.tail(trunk + f0 if long_skip else trunk)) / 255
        torch.testing.assert_close(model(lr), wanted)


def test_means_come_from_the_file_and_are_never_trained():
    """The authors' optimiser could move them, so a file may hold others than DIV2K's."""
    model = small()
    state = model.state_dict()
    state["add_mean.bias"] = torch.tensor([1.0, 2.0, 3.0])
    model.load_state_dict(state)
    assert model.add_mean.bias.tolist() == [1, 2, 3]
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"{end}_mean.{part}" for end in ("sub", "add") for part in ("weight", "bias")}
    model(torch.rand(1, 3, 4, 4)).sum().backward()
    assert model.add_mean.bias.grad is None
    assert model.tail[-1].bias.grad is not None


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"scale": 5}, "scale 5: .*2, 3, 4"),
        ({"channels": 8}, "reduction=16: choose 1 to 8"),
        ({"reduction": 0}, "reduction=0: choose 1 to 64"),
    ],
)
def test_what_cannot_be_is_refused_in_words(kwargs, words):
    with pytest.raises(ValueError, match=words):
        RCAN(**kwargs)
