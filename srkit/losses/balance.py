"""Balance: weights of a sum that change while it trains.

    loss = L1() + content("esrgan") + adversarial
    loss = loss.balanced(RunningMean(loss.terms))
    loss.balance.weights                # {"L1": 51.2, ...}: the factors of the last call

total = sum_k lambda_k w_k L_k, with L_k the value of term k and w_k its weight in the sum, as ever.
A balance sets the lambdas; a term that it was not given keeps lambda = 1. In `eval()` it counts
nothing and uses the lambdas it last had. Its `state_dict` is what a resumed run needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from srkit import processes


class Factors(nn.Module):
    """The frame: a subclass's `update` returns lambda_k of each of its `labels`, (K,).

    Raises ValueError for a label that the sum has not.
    """

    formula: str

    def __init__(self, labels: Iterable[str]):
        super().__init__()
        self.labels = tuple(labels)
        self.register_buffer("factors", torch.ones(len(self.labels)))

    @property
    def weights(self) -> dict[str, float]:
        """lambda_k at the last call, by label."""
        return dict(zip(self.labels, self.factors.tolist(), strict=True))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no update(parts, weights)")

    def forward(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        if unknown := [label for label in self.labels if label not in parts]:
            raise ValueError(
                f"{type(self).__name__} weighs {', '.join(unknown)}, but the sum has the terms "
                f"{', '.join(parts)}"
            )
        factors = self.update(parts, weights) if self.training else self.factors
        self.factors = factors.detach()
        of = dict(zip(self.labels, factors, strict=True))
        return sum(of.get(label, 1) * weights[label] * part for label, part in parts.items())

    def values(self, parts: Mapping[str, Tensor]) -> Tensor:
        """L_k of the labels, (K,), of the whole batch, without their graph."""
        own = torch.stack([parts[label].detach().to(self.factors) for label in self.labels])
        return processes.mean(own)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.formula}"


class Uncertainty(Factors):
    """sum_k exp(-s_k) w_k L_k + s_k, the s_k learned: homoscedastic uncertainty.

    Where the s_k come to rest, exp(-s_k) = 1 / (w_k L_k). They are parameters: give
    `loss.balance.parameters()` to the optimizer too. Kendall et al., CVPR 2018.
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
    """lambda_k = K softmax_k(r_k / T), r_k = L_k(t - 1) / L_k(t - 2), over all K terms.

    What falls slowest counts most. L_k(t) is the mean over the t-th period of `every` calls (an
    epoch in the paper); lambda = 1 in the first two. For losses that stay above 0. Liu et al., CVPR
    2019.
    """

    def __init__(self, labels: Iterable[str], every: int = 1000, temperature: float = 2.0):
        super().__init__(labels)
        self.every, self.temperature = every, temperature
        self.formula = f"lambda = K softmax(r / {temperature:g}), r over {every} calls"
        self.register_buffer("means", torch.full((2, len(self.labels)), torch.nan))  # t - 2, t - 1
        self.register_buffer("total", torch.zeros(len(self.labels)))
        self.register_buffer("calls", torch.tensor(0))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        factors = self.factors
        if self.calls == self.every:
            self.means.copy_(torch.stack([self.means[1], self.total / self.every]))
            self.total.zero_()
            self.calls.zero_()
            if not self.means.isnan().any():
                rate = self.means[1] / self.means[0]
                factors = len(rate) * torch.softmax(rate / self.temperature, 0)
        self.total += self.values(parts)
        self.calls += 1
        return factors


class GradientBalance(Factors):
    """lambda = |grad_W rest| / (|grad_W L| + 1e-6) for one term, clipped to [0, 1e4].

    At W, a weight of the network's last layer, the term then pulls as hard as all the others
    together (times its own weight w). The others are taken with their weights. Costs two more
    passes backward, down to W. Esser et al. (VQGAN), CVPR 2021.

    Raises ValueError where the losses do not depend on W, or there is no other term.
    """

    def __init__(self, label: str, last: nn.Parameter):
        super().__init__([label])
        self.last = (last,)  # the network's, not a part of this module
        self.formula = f"lambda = |grad_W rest| / |grad_W {label}|, W the last layer"

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        if not torch.is_grad_enabled():
            return self.factors
        (label,) = self.labels
        if len(parts) == 1:
            raise ValueError(f"GradientBalance: {label} is alone, with nothing to balance it with")
        rest = sum(weights[k] * part for k, part in parts.items() if k != label)
        others, own = (self.length(loss) for loss in (rest, parts[label]))
        return (others / (own + 1e-6)).clamp(0, 1e4).to(self.factors).view(1)

    def length(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self.last, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "GradientBalance: the losses do not depend on the weight it was given; that must "
                "be one of the network that made sr, `model.conv_last.weight` say"
            )
        return processes.mean(gradient).norm()


class RunningMean(Factors):
    """lambda_k = 1 / m_k, m_k the running mean of |L_k|: every term counts as its weight says.

    m <- decay m + (1 - decay) |L|, from the first on.
    """

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
    """lambda = t / steps, no more than 1: one term comes in slowly, from 0 at the first call."""

    def __init__(self, label: str, steps: int):
        super().__init__([label])
        self.steps = steps
        self.formula = f"lambda of {label} from 0 to 1 in {steps} calls"
        self.register_buffer("calls", torch.tensor(0))

    def update(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        factors = (self.calls / self.steps).clamp(max=1).view(1)
        self.calls += 1
        return factors
