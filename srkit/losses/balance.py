"""Balance: weights of a sum that change while it trains.

    loss = L1() + content("esrgan") + adversarial
    loss = loss.balanced(RunningMean(loss.terms))
    loss.balance.weights                # {"L1": 51.2, ...}: the factors of the last call

The loss becomes sum_k lambda_k w_k L_k, with L_k the value of term k, w_k its weight in the sum and
lambda_k the factor that a balance sets; for a term that the balance was not given it is 1. In
`eval()` the factors stay what they last were. A resumed run needs the balance's `state_dict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from srkit.processes import mean_over_processes


class Factors(nn.Module):
    """The base of all balances. A subclass's `update` returns the factors of its `labels`, (K,).

    Raises ValueError, when called, for a label that the sum has not.
    """

    formula: str
    factors: Tensor

    def __init__(self, labels: Iterable[str]):
        super().__init__()
        self.labels = tuple(labels)
        self.register_buffer("factors", torch.ones(len(self.labels)))

    @property
    def weights(self) -> dict[str, float]:
        """The factors at the last call, by label."""
        return dict(zip(self.labels, self.factors.tolist(), strict=True))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no update(parts, weights)")

    def forward(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The balanced loss, from values L_k and weights w_k by label."""
        if unknown := [label for label in self.labels if label not in parts]:
            raise ValueError(
                f"{type(self).__name__} weighs {', '.join(unknown)}, but the sum has the terms "
                f"{', '.join(parts)}"
            )
        factors = self.update(parts, weights) if self.training else self.factors
        self.factors = factors.detach()
        of = dict(zip(self.labels, factors, strict=True))
        weighed = (of.get(label, 1) * weights[label] * part for label, part in parts.items())
        return sum(weighed, torch.zeros(()))

    def values(self, parts: Mapping[str, Tensor]) -> Tensor:
        """L_k of the labels, (K,), for the batch of all processes, without their graph."""
        own = torch.stack([parts[label].detach().to(self.factors) for label in self.labels])
        return mean_over_processes(own)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.formula}"


class Uncertainty(Factors):
    """sum_k exp(-s_k) w_k L_k + s_k with learned s_k: weights by homoscedastic uncertainty.

    The s_k are parameters: give `loss.balance.parameters()` to the optimizer too. They come to rest
    where exp(-s_k) = 1 / (w_k L_k). Kendall et al., CVPR 2018.
    """

    formula = "sum_k exp(-s_k) w_k L_k + s_k"

    def __init__(self, labels: Iterable[str]):
        super().__init__(labels)
        self.s = nn.Parameter(torch.zeros(len(self.labels)))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        return torch.exp(-self.s)

    def forward(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        return super().forward(parts, weights) + self.s.sum()


class DynamicWeightAverage(Factors):
    """lambda_k = K softmax_k(r_k / T), r_k = L_k(t - 1) / L_k(t - 2): slow terms count more.

    L_k(t) is the mean over the t-th period of `every` calls (an epoch in the paper), K the number
    of terms. In the first two periods lambda is 1. Only for losses above 0. Liu et al., CVPR 2019.
    """

    means: Tensor  # (2, K), of the periods t - 2 and t - 1
    total: Tensor
    calls: Tensor

    def __init__(self, labels: Iterable[str], every: int = 1000, temperature: float = 2.0):
        super().__init__(labels)
        self.every, self.temperature = every, temperature
        self.formula = f"lambda = K softmax(r / {temperature:g}), r over {every} calls"
        self.register_buffer("means", torch.full((2, len(self.labels)), torch.nan))
        self.register_buffer("total", torch.zeros(len(self.labels)))
        self.register_buffer("calls", torch.tensor(0))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        # without asking whether a period is over: a GPU would have to be waited for in each call
        over = self.calls == self.every
        means = torch.stack([self.means[1], self.total / self.every])
        self.means.copy_(torch.where(over, means, self.means))
        self.total.masked_fill_(over, 0)
        self.calls.masked_fill_(over, 0)
        rate = self.means[1] / self.means[0]
        fresh = len(rate) * torch.softmax(rate / self.temperature, 0)
        factors = torch.where(over & ~self.means.isnan().any(), fresh, self.factors)
        self.total += self.values(parts)
        self.calls += 1
        return factors


class GradientBalance(Factors):
    """lambda = |grad_W rest| / (|grad_W L| + 1e-6) for one term L, clipped to [0, 1e4].

    W is a weight of the network's last layer, and rest the weighted sum of the other terms. With
    this factor the term's gradient at W is as long as that of the rest, times the term's own weight
    w. It takes two more backward passes, as far as W. Esser et al. (VQGAN), CVPR 2021.

    Raises ValueError, when called, if the losses do not depend on W or there is no other term.
    """

    def __init__(self, label: str, last: nn.Parameter):
        super().__init__([label])
        self.last = (last,)  # in a tuple: it belongs to the network, not to this module
        self.formula = f"lambda = |grad_W rest| / |grad_W {label}|, W the last layer"

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        if not torch.is_grad_enabled():
            return self.factors
        (label,) = self.labels
        if len(parts) == 1:
            raise ValueError(f"GradientBalance: {label} is alone, with nothing to balance it with")
        others = (weights[k] * part for k, part in parts.items() if k != label)
        rest = self.length(sum(others, torch.zeros(())))
        own = self.length(parts[label])
        return (rest / (own + 1e-6)).clamp(0, 1e4).to(self.factors).view(1)

    def length(self, loss: Tensor) -> Tensor:
        """The length of the loss's gradient at W."""
        (gradient,) = torch.autograd.grad(loss, self.last, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "GradientBalance: the losses do not depend on the weight it was given; that must "
                "be one of the network that made sr, `model.conv_last.weight` say"
            )
        return mean_over_processes(gradient).norm()


class RunningMean(Factors):
    """lambda_k = 1 / m_k, with m_k the running mean of |L_k|: terms count as their weights say.

    m <- decay m + (1 - decay) |L|, starting from the first |L|.
    """

    means: Tensor

    def __init__(self, labels: Iterable[str], decay: float = 0.99):
        super().__init__(labels)
        self.decay = decay
        self.formula = f"lambda = 1 / running mean of |L|, decay {decay:g}"
        self.register_buffer("means", torch.full((len(self.labels),), torch.nan))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        values = self.values(parts).abs()
        means = torch.where(self.means.isnan(), values, self.means)
        self.means.copy_(means.lerp(values, 1 - self.decay))
        return 1 / self.means.clamp_min(1e-12)


class Ramp(Factors):
    """lambda = min(t / steps, 1) for one term, t the number of calls before this one."""

    calls: Tensor

    def __init__(self, label: str, steps: int):
        super().__init__([label])
        self.steps = steps
        self.formula = f"lambda of {label} from 0 to 1 in {steps} calls"
        self.register_buffer("calls", torch.tensor(0))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        factors = (self.calls / self.steps).clamp(max=1).view(1)
        self.calls += 1
        return factors
