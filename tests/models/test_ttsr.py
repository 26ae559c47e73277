"""TTSR: the answers of the authors; attention and transfer by their definitions; references."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import fill_network, picture
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from srkit.models.ttsr import (
    LTE,
    TTSR,
    VARIANTS,
    Discriminator,
    MainNet,
    hard_attention,
    soft_attention,
    stitch,
    transfer,
)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def small(**kwargs) -> TTSR:
    torch.manual_seed(0)
    return TTSR(channels=8, blocks=(1, 1, 1, 1), textures=(4, 6, 8), **kwargs).eval()


def oracle(folder: Path, tag: str, network: nn.Module) -> dict[str, np.ndarray]:
    """Fill the network by the oracles' rule; their stored arrays."""
    spec = json.loads((folder / f"{tag}.json").read_text())
    for name, tensor in network.double().eval().state_dict().items():
        if name in spec["kept"]:  # ours stand in the network already
            assert np.allclose(tensor.flatten(), spec["kept"][name], rtol=1e-6)
    unused = fill_network(network, spec)
    assert all(name.startswith("LTE_copy") for name in unused)
    with np.load(folder / f"{tag}.npz") as arrays:
        return dict(arrays)


def error(answer: Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(answer.detach().numpy() - wanted).max() / np.abs(wanted).max())


def repeated(x: Tensor, n: int) -> Tensor:
    return x.repeat_interleave(n, -1).repeat_interleave(n, -2)


def dense(q: Tensor, k: Tensor) -> Tensor:
    """The definition: cosine of every patch of K with every patch of Q, (B, h'w', hw)."""
    q, k = (F.normalize(F.unfold(x, 3, padding=1), dim=1) for x in (q, k))
    return k.mT @ q


def test_lte_answers_as_the_authors(assets):
    lte = LTE()
    arrays = oracle(assets("oracles/ttsr_lte.npz").parent, "ttsr_lte", lte)
    lv1, lv2, lv3 = lte(torch.from_numpy(arrays["in_x"]).double())
    assert error(lv1[:, ::4], arrays["out_lv1"]) < 1e-5
    assert error(lv2[:, ::2], arrays["out_lv2"]) < 1e-5
    assert error(lv3, arrays["out_lv3"]) < 1e-5


def test_search_and_transfer_answer_as_the_authors(assets):
    with np.load(assets("oracles/ttsr_search.npz")) as arrays:
        a = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    q, k = a["in_lrsr_lv3"], a["in_refsr_lv3"]
    index = hard_attention(q, k)
    assert torch.equal(index.flatten(1), a["out_index"].long())
    assert error(soft_attention(q, k, index), a["out_S"].numpy()) < 1e-5
    for level, s in ((1, 4), (2, 2), (3, 1)):
        texture = transfer(a[f"in_ref_lv{level}"], index, s)
        assert error(texture, a[f"out_T_lv{level}"].numpy()) < 1e-5


def test_main_network_answers_as_the_authors(assets):
    network = MainNet(64, (16, 16, 8, 4), (64, 128, 256))
    arrays = oracle(assets("oracles/ttsr_mainnet.npz").parent, "ttsr_mainnet", network)
    x, s = (torch.from_numpy(arrays[name]).double() for name in ("in_x", "in_S"))
    shapes = ((1, 256, 24, 20), (1, 128, 48, 40), (1, 64, 96, 80))
    textures = (picture(shape, salt, 0, 1) for salt, shape in enumerate(shapes, 2))
    with torch.no_grad():
        assert error(network(x, s, *textures), arrays["out_y"]) < 1e-5


def test_whole_network_answers_as_the_authors(assets):
    network = TTSR()
    arrays = oracle(assets("oracles/ttsr.npz").parent, "ttsr", network)
    lr, ref = (torch.from_numpy(arrays[name]).double() for name in ("in_lr", "in_ref"))
    sources = (repeated(lr, 4), ref, repeated(ref[..., ::4, ::4], 4))  # stand-ins for bicubic
    with torch.no_grad():
        found = network.attend(*((x + 1) / 2 for x in sources))
        sr = network.MainNet(lr, *found[1:])
    assert np.array_equal(found.hard.flatten(1), arrays["out_index"])
    assert error(found.soft, arrays["out_S"]) < 1e-5
    assert error(found.t3[:, ::8, ::2, ::2], arrays["out_T_lv3"]) < 1e-5
    assert error(found.t2[:, ::8, ::4, ::4], arrays["out_T_lv2"]) < 1e-5
    assert error(found.t1[:, ::8, ::4, ::8], arrays["out_T_lv1"]) < 1e-5
    assert error(sr, arrays["out_sr"]) < 1e-5


def test_discriminator_answers_as_the_authors(assets):
    discriminator = Discriminator()
    arrays = oracle(assets("oracles/ttsr_disc160.npz").parent, "ttsr_disc160", discriminator)
    with torch.no_grad():
        score = discriminator((picture((1, 3, 160, 160), 0, -1, 1) + 1) / 2)
    assert error(score, arrays["out_score"]) < 1e-5
    assert parameters(discriminator) == 17_821_473


def test_parts_have_the_published_sizes():
    network = TTSR()
    assert parameters(network.MainNet) == 6_174_275
    assert parameters(network.LTE) == 555_340
    assert len(network.state_dict()) == 316
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"LTE.sub_mean.weight", "LTE.sub_mean.bias"}


@pytest.mark.parametrize(("channels", "count"), [(64, 4_379_151), (80, 6_504_383), (96, 9_097_327)])
def test_the_ablation_without_integration_has_the_papers_sizes(channels, count):
    """9.10 M for 96 channels: more than the whole network, and no better."""
    assert parameters(TTSR(channels=channels, variant="soft")) == count


def test_the_ablation_adds_one_step_at_a_time(rng):
    """Base sees no reference; hard attention takes textures as they are, soft weighs them."""
    lr, ref = torch.rand(1, 3, 6, 7, generator=rng), torch.rand(1, 3, 24, 28, generator=rng)
    networks = {v: small(variant=v) for v in VARIANTS}
    plain = networks["soft"].state_dict()
    networks["hard"].load_state_dict(plain)
    base = networks["base"].state_dict()
    assert plain.keys() - base.keys() == {
        name for name in plain if name.startswith(("LTE.", "MainNet.conv22_head."))
    }
    networks["base"].load_state_dict({name: plain[name] for name in base})
    with torch.no_grad():
        soft, found = networks["soft"](lr, ref, return_attention=True)
        hard, same = networks["hard"](lr, ref, return_attention=True)
        assert torch.equal(found.soft, same.soft)
        found = found._replace(soft=torch.ones_like(found.soft))
        wanted = (networks["soft"].MainNet(2 * lr - 1, *found[1:]) + 1) / 2
        torch.testing.assert_close(hard, wanted)
        assert (soft - hard).abs().max() > 1e-6
        silent = [torch.zeros_like(t) for t in found[1:]]
        wanted = (networks["soft"].MainNet(2 * lr - 1, *silent) + 1) / 2
        torch.testing.assert_close(networks["base"](lr), wanted)
    with pytest.raises(ValueError, match="'base' takes no reference"):
        networks["base"](lr, ref)
    with pytest.raises(ValueError, match="variant 'all': choose one of base, hard, soft, full"):
        TTSR(variant="all")


@pytest.mark.parametrize("variant", VARIANTS[:-1])
def test_every_parameter_of_the_ablation_learns(variant, rng):
    """But what only makes the index, which has no gradient: soft attention is its way to learn."""
    network = small(variant=variant)
    network(torch.rand(1, 3, 8, 8, generator=rng)).square().mean().backward()
    frozen = ("LTE.sub_mean", "LTE.slice3") if variant == "hard" else "LTE.sub_mean"
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name


@pytest.mark.parametrize("limit", [1, 3000, 2**26])
def test_search_in_bands_is_the_dense_search(limit, rng):
    """One row at a time, some, all at once; neither side a multiple of the band."""
    q, k = (torch.rand(2, 5, *size, generator=rng).double() for size in ((7, 6), (11, 9)))
    value, wanted = dense(q, k).max(1)
    index = hard_attention(q, k, limit=limit)
    assert torch.equal(index.flatten(1), wanted)
    assert (soft_attention(q, k, index).flatten(1) - value).abs().max() < 1e-12


def test_search_holds_no_more_than_its_limit(rng):
    class Largest(TorchFunctionMode):
        numel = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.numel = max(self.numel, result.numel())
            return result

    q, k = torch.rand(1, 2, 30, 40, generator=rng), torch.rand(1, 2, 50, 60, generator=rng)
    with Largest() as largest:
        hard_attention(q, k, limit=100_000)
    assert 50_000 < largest.numel <= 100_000  # the dense matrix has 3,600,000


def test_relevance_has_the_gradient_of_the_maximum(rng):
    """What autograd makes of the dense maximum, without its matrix."""
    q, k = (torch.randn(1, 4, 5, 6, generator=rng).double().requires_grad_() for _ in "qk")
    wanted = torch.autograd.grad(dense(q, k).max(1).values.square().sum(), (q, k))
    s = soft_attention(q, k, hard_attention(q, k))
    for one, other in zip(torch.autograd.grad(s.square().sum(), (q, k)), wanted, strict=True):
        assert (one - other).abs().max() < 1e-12


def test_bfloat16_features_are_compared_in_float32(rng):
    q = torch.rand(1, 64, 12, 12, generator=rng).bfloat16()
    k = torch.rand(1, 64, 12, 12, generator=rng).bfloat16()
    wanted = hard_attention(q.double(), k.double())
    assert torch.equal(hard_attention(q, k), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(hard_attention(q.float(), k.float()), wanted)


def test_a_picture_that_is_its_own_reference_gets_its_own_features(rng):
    """Exactly inside; at borders 6, in corners 4 of the nine patches are there."""
    lv1, lv3 = torch.rand(1, 3, 28, 24, generator=rng), torch.rand(1, 16, 7, 6, generator=rng)
    index = hard_attention(lv3, lv3)
    assert torch.equal(index.flatten(), torch.arange(42))
    assert (soft_attention(lv3, lv3, index) - 1).abs().max() < 1e-6
    texture = transfer(lv1, index, 4)
    inside = (..., slice(4, -4), slice(4, -4))
    assert (texture[inside] - lv1[inside]).abs().max() < 5e-7
    assert (texture[..., :4, 4:-4] - lv1[..., :4, 4:-4] * 6 / 9).abs().max() < 5e-7
    assert (texture[..., :4, :4] - lv1[..., :4, :4] * 4 / 9).abs().max() < 5e-7
    assert (transfer(lv1, index, 4, even_borders=True) - lv1).abs().max() < 5e-7


def test_a_moved_reference_moves_the_matches(rng):
    k = torch.rand(1, 16, 9, 10, generator=rng)
    q = k[:, :, 1:7, 2:8]
    inside = (0, slice(1, -1), slice(1, -1))
    index = hard_attention(q, k)[inside]
    rows, columns = torch.meshgrid(torch.arange(2, 6), torch.arange(3, 7), indexing="ij")
    assert torch.equal(index, rows * 10 + columns)
    assert torch.equal(hard_attention(q, k.roll((2, 1), (2, 3)))[inside], index + 21)


def test_zero_features_match_nothing():
    """Black borders of a stitched reference: relevance 0, finite gradients."""
    q, k = torch.rand(1, 4, 5, 5), torch.zeros(1, 4, 6, 6)
    k[..., 4:, 4:] = 1
    k.requires_grad_()
    index = hard_attention(q, k)
    assert (index != 0).all()
    assert soft_attention(q, k * 0, index).abs().max() == 0
    assert not hard_attention(q, k * 0).any()
    soft_attention(q, k, index).sum().backward()
    assert k.grad.isfinite().all()


def test_a_reference_of_any_size_is_searched(rng):
    network, lr = small(), torch.rand(2, 3, 6, 7, generator=rng)
    ref = torch.rand(2, 3, 35, 50, generator=rng)
    with torch.no_grad():
        sr, found = network(lr, ref, return_attention=True)
        assert torch.equal(network(lr, ref), sr)
        assert torch.equal(network(lr, ref[..., :32, :48]), sr)
        assert not torch.equal(network(lr), sr)
    assert sr.shape == (2, 3, 24, 28)
    assert sr.amin() >= 0
    assert sr.amax() <= 1
    assert found.hard.shape == (2, 6, 7)
    assert found.hard.max() < 8 * 12
    assert found.soft.shape == (2, 1, 6, 7)
    assert [t.shape[1:] for t in found[2:]] == [(8, 6, 7), (6, 12, 14), (4, 24, 28)]


def test_the_reference_is_worth_something(rng):
    """With the sharp picture as reference, most patches find themselves by their blurred twins."""
    sharp = F.interpolate(torch.rand(1, 3, 20, 20, generator=rng), size=(64, 64), mode="bilinear")
    lr = F.avg_pool2d(sharp, 4)
    with torch.no_grad():
        _, found = small()(lr, sharp, return_attention=True)
    hits = found.hard.flatten() == torch.arange(16 * 16)
    assert hits.float().mean() > 0.5


def test_stitched_references_lie_side_by_side(rng):
    one, two = torch.rand(1, 3, 9, 10, generator=rng), torch.rand(1, 3, 6, 8, generator=rng)
    whole = stitch([one, two])
    assert whole.shape == (1, 3, 12, 20)
    assert torch.equal(whole[..., :9, :10], one)
    assert torch.equal(whole[..., :6, 12:], two)
    assert whole.sum() == pytest.approx(float(one.sum() + two.sum()))


def test_what_does_not_fit_is_refused_in_words(rng):
    network, lr = small(), torch.rand(2, 3, 6, 6, generator=rng)
    with pytest.raises(ValueError, match="scale 2: TTSR is a network for scale 4 only"):
        TTSR(2)
    with pytest.raises(ValueError, match=r"2 pictures and 1 references.*stitch"):
        network(lr, torch.rand(1, 3, 24, 24))
    with pytest.raises(ValueError, match=r"ttsr's reference needs .* at least 4x4.* got 3x24"):
        network(lr, torch.rand(2, 3, 3, 24))
    with pytest.raises(ValueError, match=r"ttsr's reference takes .*got torch.float32 \(3, 24"):
        network(lr, torch.rand(3, 24, 24))
    with pytest.raises(ValueError, match=r"size 100.*halves five times, use 32, 64"):
        Discriminator(size=100)
    with pytest.raises(ValueError, match="built for 32x32 pixels, got 64x32: crop"):
        Discriminator(size=32, width=2)(torch.rand(1, 3, 64, 32))
