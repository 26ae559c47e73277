"""DBPN: the authors' answers, all published sizes, and what each part of the paper does."""

from __future__ import annotations

import pytest
import torch
from oracle import relative_error

from srkit.image.resize import imresize
from srkit.models.dbpn import DBPN, Unit

SS = {"channels": 18, "features": 64, "dense": False}
S = {"channels": 32, "features": 128, "dense": False}


def small(scale=2, **kwargs):
    torch.manual_seed(0)
    return DBPN(scale, **{"channels": 6, "features": 8, "stages": 3} | kwargs).eval()


@pytest.mark.parametrize(
    ("tag", "scale", "kwargs"),
    [
        ("dbpn_ss_x4", 4, SS | {"stages": 2}),
        ("dbpn_s_x4", 4, S | {"stages": 2}),
        ("ddbpn_x2", 2, {}),
        ("ddbpn_x4", 4, {}),
        ("ddbpn_x8", 8, {}),
        ("dbpnll_x4", 4, {"stages": 10}),
        ("dbpn_res_mr64_3_x4", 4, {"rounds": 3}),  # the authors add the bicubic picture outside
    ],
)
def test_same_names_and_answer_as_the_authors_network(assets, tag, scale, kwargs):
    folder = assets(f"oracles/{tag}.npz").parent
    assert relative_error(DBPN(scale, **kwargs), folder, tag) < 1e-5


@pytest.mark.parametrize(
    ("kwargs", "sizes"),
    [  # at x2, x4, x8; those of the zoo are checked there
        (S | {"stages": 4, "colours": 1}, (780_376, 1_382_488, 3_102_808)),
        (S | {"stages": 6, "colours": 1}, (1_223_204, 2_169_380, 4_872_740)),
        (S | {"stages": 6, "colours": 1, "dense": True}, (1_252_140, 2_198_316, 4_901_676)),
        ({"stages": 2, "dense": False}, (1_354_766, 2_386_958, 5_336_078)),
        ({"stages": 10}, (8_811_086, None, 34_026_062)),
        ({"rounds": 3}, (5_946_614, None, 23_198_966)),
    ],
    ids=["DBPN-M", "DBPN-L", "D-DBPN-L", "dbpns.py", "DBPN-LL", "DBPN-RES-MR64-3"],
)
def test_sizes_are_the_published_ones(kwargs, sizes):
    for scale, size in zip((2, 4, 8), sizes, strict=True):
        if size:
            assert sum(p.numel() for p in DBPN(scale, **kwargs).parameters()) == size


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_unit_goes_there_and_feeds_the_error_of_coming_back(scale, rng):
    """Without feedback the same layers run on what came back, not on the error."""
    up, down = (Unit(kind, 3, scale, 1, True) for kind in ("up", "down"))
    x = torch.rand(2, 3, 5, 4, generator=rng)
    with torch.no_grad():
        high = up(x)
        assert high.shape == (2, 3, 5 * scale, 4 * scale)
        assert down(high).shape == x.shape
        there = up.up_conv1(x)
        torch.testing.assert_close(high, there + up.up_conv3(up.up_conv2(there) - x))
        up.feedback = False
        torch.testing.assert_close(up(x), there + up.up_conv3(up.up_conv2(there)))
    sizes = [sum(p.numel() for p in Unit("up", 3, scale, 1, f).parameters()) for f in (True, False)]
    assert sizes[0] == sizes[1]


def test_a_chain_reads_the_newest_map_and_a_dense_network_all_but_the_first_features():
    """Widths of what the units and the output read, in maps."""
    chain, dense = small(stages=4, dense=False), small(stages=4)
    assert not any(name.startswith(("up4.conv.", "down3.conv.")) for name in chain.state_dict())
    assert dense.up4.conv.conv.in_channels == dense.down3.conv.conv.in_channels == 3 * 6
    assert not any(name.startswith(("up2.conv.", "down1.conv.")) for name in dense.state_dict())
    assert chain.output_conv.conv.in_channels == dense.output_conv.conv.in_channels == 4 * 6


@pytest.mark.parametrize("dense", [True, False])
def test_the_last_map_alone_is_the_newest(dense, rng):
    """The same answer as with weights of zero for all earlier maps."""
    every, last = small(dense=dense), small(dense=dense, last_only=True)
    torch.nn.init.zeros_(every.output_conv.conv.weight[:, 6:])
    weights = every.state_dict()
    weights["output_conv.conv.weight"] = weights["output_conv.conv.weight"][:, :6]
    last.load_state_dict(weights)
    lr = torch.rand(1, 3, 6, 5, generator=rng)
    with torch.no_grad():
        torch.testing.assert_close(last(lr), every(lr))


def test_the_residual_variant_adds_the_bicubic_picture(rng):
    kwargs = {"rounds": 2}
    bare, residual = small(4, **kwargs), small(4, residual=True, **kwargs)
    residual.load_state_dict(bare.state_dict())
    lr = torch.rand(1, 3, 6, 5, generator=rng)
    with torch.no_grad():
        torch.testing.assert_close(residual(lr) - bare(lr), imresize(lr, 4), atol=1e-5, rtol=0)


def test_checkpointing_keeps_less_and_learns_the_same(rng):
    lr, kept, gradients = torch.rand(1, 3, 6, 5, generator=rng), [], []
    for checkpointing in (False, True):
        model, sizes = small(4, checkpointing=checkpointing), {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t
        ):
            sr = model(lr)
        kept.append(sum(sizes.values()))
        sr.square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"scale": 3}, r"scale 3: DBPN is for 2, 4, 8"),
        ({"colours": 2}, r"colours=2: choose 3 \(RGB\) or 1 \(Y\)"),
        ({"rounds": 3, "last_only": True}, r"last_only reads one map, rounds=3 the last of each"),
    ],
)
def test_what_the_paper_has_not_is_refused_in_words(kwargs, words):
    with pytest.raises(ValueError, match=words):
        DBPN(**kwargs)
