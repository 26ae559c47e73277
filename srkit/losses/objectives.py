"""What a generator and a discriminator want, told by the discriminator's logits C, large where it
believes in HR.

    objective = RelativisticAverage()
    objective.generator(fake, real)     # fake: logits of SR, real: logits of HR, any shape
    objective.discriminator(fake, real)

Both are minimised, and are means over the batch (and over places, where a discriminator judges
patches).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from srkit import processes


class Objective:
    """`generator(fake, real)` and `discriminator(fake, real)`: what each of the two minimises."""

    formula: str  # the generator's, C(sr) a logit
    needs_real = False  # whether the generator's side looks at HR's logits
    penalty = 0.0  # weight of the gradient penalty in the discriminator's loss,
    span = 1.0  # for pictures of this range: both for `adversarial.gradient_penalty`
    discriminator_steps = 1  # steps of the discriminator for one of the generator

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Standard(Objective):
    """Goodfellow et al., NeurIPS 2014, with the generator's loss that doesn't saturate; SRGAN's.

    generator: -log D(sr); discriminator: -log D(hr) - log(1 - D(sr)), where D = sigmoid(C) and
    1 - sigmoid(z) = sigmoid(-z). The log is taken of logits, so it is finite for all of them. SRGAN
    writes the sum over the batch; the mean here lets a weight stand for every batch size.
    """

    formula = "-log sigmoid(C(sr))"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -F.logsigmoid(fake).mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()


@dataclass(frozen=True)
class RelativisticAverage(Objective):
    """Is HR more real than SR is on average, and SR less? (ESRGAN, Sec. 3.2; Jolicoeur-Martineau,
    ICLR 2019.)

    D(a, b) = sigmoid(C(a) - mean C(b)), the mean over the batch (that of all processes).
    discriminator: -log D(hr, sr) - log(1 - D(sr, hr)); generator: the same with hr and sr
    exchanged, so it learns from HR too. With one picture a batch the mean is that picture's logit.

    form: "paper", these sums; "code", what the authors run: half of them, and the discriminator
    gets no gradient through the means.
    """

    form: str = "paper"
    needs_real = True

    def __post_init__(self):
        if self.form not in ("paper", "code"):
            raise ValueError(f"form {self.form!r} is unknown: 'paper' (sums) or 'code' (halves)")

    @property
    def formula(self) -> str:
        sums = "-log sigmoid(C(sr) - mean C(hr)) - log sigmoid(mean C(sr) - C(hr))"
        return sums if self.form == "paper" else f"({sums}) / 2"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return self._above(fake, real, *_means(fake, real))

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        means = _means(real, fake)
        if self.form == "code":
            means = [mean.detach() for mean in means]
        return self._above(real, fake, *means)

    def _above(self, up: Tensor, down: Tensor, mean_up: Tensor, mean_down: Tensor) -> Tensor:
        """Small where each of `up` is above the mean of `down`, and each of `down` below up's."""
        total = -F.logsigmoid(up - mean_down).mean() - F.logsigmoid(mean_up - down).mean()
        return total if self.form == "paper" else total / 2


def _means(*logits: Tensor) -> list[Tensor]:
    return [processes.mean(x.mean()) for x in logits]


@dataclass(frozen=True)
class Hinge(Objective):
    """discriminator: max(0, 1 - C(hr)) + max(0, 1 + C(sr)) (Lim and Ye, 2017).

    generator: max(0, 1 - C(sr)), CIPLab's, which asks no more once C(sr) > 1. `linear=True`:
    -C(sr), Lim and Ye's own, which always asks for more.
    """

    linear: bool = False

    @property
    def formula(self) -> str:
        return "-C(sr)" if self.linear else "max(0, 1 - C(sr))"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean() if self.linear else F.relu(1 - fake).mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


@dataclass(frozen=True)
class LeastSquares(Objective):
    """generator: (C(sr) - 1)² / 2; discriminator: ((C(hr) - 1)² + C(sr)²) / 2 (Mao et al., ICCV
    2017, Eq. 9, with labels 0 and 1)."""

    formula = "(C(sr) - 1)² / 2"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return (fake - 1).square().mean() / 2

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2


@dataclass(frozen=True)
class Wasserstein(Objective):
    """generator: -C(sr); discriminator: C(sr) - C(hr) + penalty * `gradient_penalty` (Gulrajani et
    al., NeurIPS 2017). The discriminator must have no batch norm, because the penalty is each
    sample's own.

    span: width of the pictures' range in which slopes are taken, see `gradient_penalty`. TTSR has
    discriminator_steps=2 and, its pictures being in [-1, 1], span=2.
    """

    penalty: float = 10.0
    span: float = 1.0
    discriminator_steps: int = 5
    formula = "-C(sr)"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return fake.mean() - real.mean()
