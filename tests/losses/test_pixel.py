"""Pixel losses against their formulas in float64, and how they scale."""

import numpy as np
import pytest
import torch

from srkit.losses import L1, MSE, Charbonnier, Huber, TotalVariation

ALL = [L1(), MSE(), Charbonnier(), Charbonnier(1e-3), Huber(), Huber(0.1)]
ALL += [TotalVariation(p, reduction) for p in (0.5, 1, 1.25) for reduction in ("mean", "sum")]


@pytest.fixture
def pair(rng):
    return torch.rand(2, 2, 3, 6, 7, dtype=torch.float64, generator=rng)


def variation(x, p):
    x = x.numpy()
    dx, dy = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    return (dx**2 + dy**2) ** p  # (..., H - 1, W - 1)


def test_l1_mse_charbonnier_are_their_formulas(pair):
    sr, hr = pair
    d = (sr - hr).numpy()
    assert L1()(sr, hr).item() == pytest.approx(np.abs(d).mean(), rel=1e-12)
    assert MSE()(sr, hr).item() == pytest.approx((d**2).mean(), rel=1e-12)
    expected = np.sqrt(d**2 + 1e-12).mean()  # BasicSR's 1e-12 under the root
    assert Charbonnier()(sr, hr).item() == pytest.approx(expected, rel=1e-12)


def test_huber_is_its_formula_and_far_from_hr_delta_times_l1(pair):
    sr, hr = pair
    e, delta = np.abs((sr - hr).numpy()), 0.2
    expected = np.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean()
    assert (e < delta).any()
    assert (e > delta).any()
    assert Huber(delta)(sr, hr).item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(Huber(delta)(sr, hr), torch.nn.functional.huber_loss(sr, hr, delta=delta))
    ratio = Huber()(hr + 1, hr) / L1()(hr + 1, hr)
    assert ratio.item() == pytest.approx(0.01 * (1 - 0.005), rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 1, 1.25])
def test_total_variation_is_its_formula_of_sr_alone(p, pair):
    sr, hr = pair
    terms = variation(sr, p)
    assert terms.shape == (2, 3, 5, 6)
    assert TotalVariation(p)(sr, hr).item() == pytest.approx(terms.mean(), rel=1e-12)
    assert TotalVariation(p, "sum")(sr, hr).item() == pytest.approx(terms.sum(), rel=1e-12)
    assert torch.equal(TotalVariation(p)(sr, hr), TotalVariation(p)(sr, 1 - hr))


def test_total_variation_of_one_edge():
    """A step of 1/2 between columns: (1/4)^p at each of H - 1 rows of that column, three times."""
    sr = torch.zeros(1, 3, 5, 9)
    sr[..., 4:] = 0.5
    for p in (0.5, 1, 1.25):
        expected = 3 * 4 * 0.25**p
        assert TotalVariation(p, "sum")(sr, sr).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 1, 1.25])
def test_total_variation_scales_as_stated(p, pair):
    """With range^2p (2^2.5 = 5.66 from [0, 1] to [-1, 1]); sum with the batch, mean not at all."""
    sr, hr = pair
    mean, total = TotalVariation(p), TotalVariation(p, "sum")
    wide = 2 * sr - 1
    assert (mean(wide, hr) / mean(sr, hr)).item() == pytest.approx(4**p, rel=1e-9)
    twice = torch.cat([sr, sr]), torch.cat([hr, hr])
    assert (total(*twice) / total(sr, hr)).item() == pytest.approx(2, rel=1e-12)
    assert (mean(*twice) / mean(sr, hr)).item() == pytest.approx(1, rel=1e-12)

    ramp = torch.arange(9.0, dtype=torch.float64).expand(1, 3, 9, 9) / 16  # alike everywhere
    part = ramp[..., :5, :5]  # half as wide and high: a quarter of the steps
    assert (total(ramp, ramp) / total(part, part)).item() == pytest.approx(4, rel=1e-12)
    assert (mean(ramp, ramp) / mean(part, part)).item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 1, 1.25])
def test_total_variation_has_a_gradient_in_flat_places(p, rng):
    sr = torch.full((1, 3, 8, 8), 0.3)
    sr[..., :4] = torch.rand(1, 3, 8, 4, generator=rng)
    sr.requires_grad_()
    TotalVariation(p)(sr, sr.detach()).backward()
    assert sr.grad.isfinite().all()
    assert (sr.grad[..., 5:] == 0).all()
    assert sr.grad[..., :4].abs().min() > 0


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradcheck(loss, pair):
    sr, hr = pair[..., :4, :4]
    assert torch.autograd.gradcheck(lambda x: loss(x, hr), sr.clone().requires_grad_())


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_at_equality(loss, pair):
    """Zero with a finite gradient, where it compares; Charbonnier has its eps; TV its roughness."""
    hr = pair[1]
    sr = hr.clone().requires_grad_()
    value = loss(sr, hr)
    value.backward()
    assert sr.grad.isfinite().all()
    if isinstance(loss, Charbonnier):
        assert value.item() == pytest.approx(loss.eps, rel=1e-12)
    elif not isinstance(loss, TotalVariation):
        assert value == 0


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_batch_is_the_mean_of_its_pictures(loss, pair):
    sr, hr = pair
    alone = sum(loss(sr[i : i + 1], hr[i : i + 1]) for i in range(2))
    count = 1 if getattr(loss, "reduction", "mean") == "sum" else 2
    torch.testing.assert_close(loss(sr, hr), alone / count, rtol=1e-12, atol=0)


def test_formulas_say_what_is_computed():
    assert repr(Huber()) == "Huber: mean d²/2, beyond 0.01 0.01 (|d| - 0.005); d = sr - hr"
    assert repr(TotalVariation(0.5, "sum")) == "TV: sum (dx² + dy²)^0.5 of sr"
    assert repr(Charbonnier(1e-3)) == "Charbonnier: mean sqrt((sr - hr)² + 0.001²)"


def test_refusals_teach():
    with pytest.raises(ValueError, match=r"exponent 0\.4: 0\.5 is the least with a finite grad"):
        TotalVariation(0.4)
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        TotalVariation(reduction="max")
