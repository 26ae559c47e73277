"""Balances against their formulas, over several steps, and resumed from a state_dict."""

import math

import pytest
import torch
from torch import nn

from srkit.losses import (
    L1,
    MSE,
    DynamicWeightAverage,
    GradientBalance,
    Ramp,
    RunningMean,
    TotalVariation,
    Uncertainty,
)

LABELS = ("a", "b")
WEIGHTS = {"a": 2.0, "b": 0.5}


def values(a, b):
    return {"a": torch.tensor(float(a)), "b": torch.tensor(float(b))}


STREAM = [values(4, 1), values(2, 1), values(3, 0.5), values(1, 0.25), values(0.5, 0.2)]


def run(balance, stream=STREAM):
    """Total and lambdas after each call."""
    found = []
    for parts in stream:
        found.append((balance(parts, WEIGHTS).item(), balance.weights))
    return found


def weighed(parts, a, b):
    return a * 2 * parts["a"].item() + b * 0.5 * parts["b"].item()


# ------------------------------------------------------------------ formulas


def test_uncertainty_is_its_formula_and_learns():
    """sum exp(-s) w L + s; at rest exp(-s) = 1 / (w L)."""
    balance = Uncertainty(LABELS)
    assert balance(values(4, 1), WEIGHTS).item() == pytest.approx(8 + 0.5)
    with torch.no_grad():
        balance.s.copy_(torch.tensor([0.3, -1.0]))
    total = balance(values(4, 1), WEIGHTS)
    expected = math.exp(-0.3) * 8 + 0.3 + math.exp(1) * 0.5 - 1
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert balance.weights == pytest.approx({"a": math.exp(-0.3), "b": math.exp(1)}, rel=1e-6)
    total.backward()
    torch.testing.assert_close(
        balance.s.grad, torch.tensor([1 - math.exp(-0.3) * 8, 1 - math.exp(1) * 0.5])
    )
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        balance(values(4, 1), WEIGHTS).backward()
        optimizer.step()
    assert balance.weights == pytest.approx({"a": 1 / 8, "b": 2}, rel=1e-3)


def test_dynamic_weight_average_is_its_formula():
    """K softmax(L(t-1) / L(t-2) / T), 1 in the first two steps."""
    found = run(DynamicWeightAverage(LABELS, every=1))
    for _, lambdas in found[:2]:
        assert lambdas == {"a": 1, "b": 1}
    assert found[0][0] == pytest.approx(weighed(STREAM[0], 1, 1))
    for t in (2, 3, 4):
        ratio = [STREAM[t - 1][k].item() / STREAM[t - 2][k].item() for k in LABELS]
        exponentials = [math.exp(r / 2) for r in ratio]
        expected = [2 * e / sum(exponentials) for e in exponentials]
        assert list(found[t][1].values()) == pytest.approx(expected, rel=1e-6)
        assert found[t][0] == pytest.approx(weighed(STREAM[t], *expected), rel=1e-6)
        assert sum(found[t][1].values()) == pytest.approx(2)


def test_dynamic_weight_average_over_periods():
    """Means of two calls: (3, 1), then (2, 0.375); the fifth call is the first of the third."""
    found = run(DynamicWeightAverage(LABELS, every=2, temperature=1.0))
    assert [lambdas for _, lambdas in found[:4]] == [{"a": 1, "b": 1}] * 4
    exponentials = [math.exp(2 / 3), math.exp(0.375)]
    expected = [2 * e / sum(exponentials) for e in exponentials]
    assert list(found[4][1].values()) == pytest.approx(expected, rel=1e-6)


def test_running_mean_is_its_formula():
    """A weight then says what share a term has, whatever its unit; signs do not matter."""
    found = run(RunningMean(LABELS, decay=0.75))
    means = [STREAM[0][k].item() for k in LABELS]
    for parts, (total, lambdas) in zip(STREAM, found, strict=True):
        means = [0.75 * m + 0.25 * parts[k].item() for m, k in zip(means, LABELS, strict=True)]
        assert list(lambdas.values()) == pytest.approx([1 / m for m in means], rel=1e-6)
        assert total == pytest.approx(weighed(parts, *lambdas.values()), rel=1e-6)
    assert found[0][0] == pytest.approx(2 + 0.5)
    constant = RunningMean(LABELS)
    assert run(constant, [values(-1000, 0.001)] * 3)[2][0] == pytest.approx(-2 + 0.5)
    moved = run(RunningMean(LABELS), [values(1, 1), values(2, 1)])[1][1]  # by a hundredth
    assert list(moved.values()) == pytest.approx([1 / 1.01, 1])


def test_ramp_comes_in_from_zero():
    found = run(Ramp("b", steps=4))
    assert [lambdas for _, lambdas in found] == [{"b": t / 4} for t in range(5)]
    for t, (total, _) in enumerate(found):
        assert total == pytest.approx(weighed(STREAM[t], 1, t / 4))
    assert run(Ramp("b", steps=4), STREAM * 2)[-1][1] == {"b": 1}


def test_gradient_balance_is_its_formula(rng):
    """With sr = W x, gradients at W are known: lambda = |sum of the others'| / |own|."""
    weight = nn.Parameter(torch.tensor([[2.0, -1.0]], dtype=torch.float64))
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    sr = weight @ x
    parts = {"pix": sr.sum(), "other": (sr**2).sum(), "adv": -10 * sr.sum()}
    weights = {"pix": 1.0, "other": 0.25, "adv": 0.5}
    balance = GradientBalance("adv", weight)
    total = balance(parts, weights)
    length = 5  # of x; sr = 2, so d other / d W = 2 sr x = 4 x
    expected = (1 + 0.25 * 4) * length / (10 * length + 1e-6)
    assert balance.weights["adv"] == pytest.approx(expected, rel=1e-5)
    assert total.item() == pytest.approx(2 + 0.25 * 4 + 0.5 * expected * -20, rel=1e-5)
    (gradient,) = torch.autograd.grad(total, weight)  # lambda is a number there, not a function
    slope = 1 + 0.25 * 4 - 0.5 * balance.weights["adv"] * 10
    torch.testing.assert_close(gradient, slope * x[None], rtol=1e-5, atol=1e-9)
    assert list(balance.parameters()) == []  # W stays the network's alone


def test_gradient_balance_is_clipped():
    weight = nn.Parameter(torch.ones(1))
    balance = GradientBalance("adv", weight)
    balance({"pix": weight.sum(), "adv": 0 * weight.sum()}, {"pix": 1.0, "adv": 1.0})
    assert balance.weights == {"adv": 1e4}
    balance({"pix": 0 * weight.sum(), "adv": weight.sum()}, {"pix": 1.0, "adv": 1.0})
    assert balance.weights == {"adv": 0}


# ------------------------------------------------------------------ in a sum


def test_a_sum_is_weighed_by_it(rng):
    net = nn.Conv2d(3, 3, 1)
    lr, hr = torch.rand(2, 2, 3, 8, 8, generator=rng)
    loss = 2 * L1() + 0.5 * MSE() + 0.1 * TotalVariation()
    plain = loss(net(lr), hr).item()
    for balance in (
        Uncertainty(loss.terms),
        DynamicWeightAverage(loss.terms),
        GradientBalance("TV", net.weight),
        RunningMean(loss.terms),
        Ramp("TV", 100),
    ):
        balanced = loss.balanced(balance)
        sr = net(lr)
        parts = balanced.parts(sr, hr)
        total = balanced.combine(parts)
        w, factors = balanced.weights, balance.weights
        expected = sum(factors.get(k, 1) * w[k] * part.item() for k, part in parts.items())
        assert total.item() == pytest.approx(expected, rel=1e-5)
        net.zero_grad()
        total.backward()
        assert net.weight.grad.abs().sum() > 0
        assert repr(balanced).endswith(f"weighed by {balance}")
    assert loss(net(lr), hr).item() == plain  # the sum itself is as it was
    assert Uncertainty(loss.terms).s.shape == (3,)


def test_only_what_is_named_is_weighed():
    balance = RunningMean(["b"])
    assert balance(values(4, 10), WEIGHTS).item() == pytest.approx(8 + 0.5)


BALANCES = {
    "uncertainty": lambda: Uncertainty(LABELS),
    "average": lambda: DynamicWeightAverage(LABELS, every=2),
    "mean": lambda: RunningMean(LABELS),
    "ramp": lambda: Ramp("a", 7),
}


@pytest.mark.parametrize("make", BALANCES.values(), ids=BALANCES)
def test_a_resumed_run_is_the_same(make):
    whole, first, second = make(), make(), make()
    expected = run(whole, STREAM * 2)
    run(first, STREAM[:3])
    second.load_state_dict(first.state_dict())
    assert second.weights == first.weights
    assert run(second, (STREAM * 2)[3:]) == expected[3:]


@pytest.mark.parametrize("make", BALANCES.values(), ids=BALANCES)
def test_evaluation_counts_nothing(make):
    balance = make()
    run(balance, STREAM[:3])
    before = {key: tensor.clone() for key, tensor in balance.state_dict().items()}
    balance.eval()
    with torch.no_grad():
        run(balance)
    after = balance.state_dict()
    for key in before:
        torch.testing.assert_close(before[key], after[key], rtol=0, atol=0, equal_nan=True)


def test_gradient_balance_without_a_graph_keeps_its_lambda():
    weight = nn.Parameter(torch.ones(1))
    balance = GradientBalance("adv", weight)
    balance({"pix": 3 * weight.sum(), "adv": weight.sum()}, {"pix": 1.0, "adv": 1.0})
    resumed = GradientBalance("adv", weight)
    resumed.load_state_dict(balance.state_dict())
    with torch.no_grad():
        total = resumed({"pix": weight.sum(), "adv": weight.sum()}, {"pix": 1.0, "adv": 1.0})
    assert total.item() == pytest.approx(4)


def test_refusals_teach():
    with pytest.raises(ValueError, match=r"Ramp weighs adv, but the sum has the terms a, b"):
        Ramp("adv", 10)(values(1, 1), WEIGHTS)
    weight, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    parts = {"pix": weight.sum(), "adv": weight.sum()}
    with pytest.raises(ValueError, match=r"do not depend on the weight.*model\.conv_last\.weight"):
        GradientBalance("adv", other)(parts, {"pix": 1.0, "adv": 1.0})
    with pytest.raises(ValueError, match=r"adv is alone, with nothing to balance it with"):
        GradientBalance("adv", weight)({"adv": weight.sum()}, {"adv": 1.0})
