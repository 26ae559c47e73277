"""Adversarial objectives: what generator and discriminator minimise, as functions of logits.

    objective = RelativisticAverage()
    objective.generator(fake, real)     # fake: logits of SR, real: logits of HR, any shape
    objective.discriminator(fake, real)

In the equations C(x) is the discriminator's logit of picture x, large if it takes x for HR. All are
means over the batch, and over places if a discriminator judges patches.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from srkit.processes import mean_over_processes


class Objective:
    """The base of all objectives: `generator(fake, real)` and `discriminator(fake, real)`.

    - formula: the generator's equation.
    - needs_real: whether `generator` looks at the logits of HR.
    - penalty: weight of `adversarial.gradient_penalty` in the discriminator's loss.
    - span: width of the range of pictures that this penalty is meant for.
    - discriminator_steps: the discriminator's steps for each step of the generator.
    """

    formula: str
    needs_real: bool = False
    penalty: float = 0.0
    span: float = 1.0
    discriminator_steps: int = 1

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Standard(Objective):
    """The first GAN's objective, non-saturating (Goodfellow et al., NeurIPS 2014); SRGAN's.

    generator: -log D(sr); discriminator: -log D(hr) - log(1 - D(sr)), where D = sigmoid(C). Both
    are computed from logits, log(1 - D) as log sigmoid(-C), and finite for all of them. SRGAN sums
    over the batch; the mean here lets one weight fit every batch size.
    """

    formula = "-log sigmoid(C(sr))"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -F.logsigmoid(fake).mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()


@dataclass(frozen=True)
class RelativisticAverage(Objective):
    """Whether HR looks more real than the average SR, and SR less real than the average HR.

    D(a, b) = sigmoid(C(a) - mean C(b)), the mean over the batch of all processes.
    discriminator: -log D(hr, sr) - log(1 - D(sr, hr)); generator: the same with hr and sr
    exchanged, so that it learns from HR too. ESRGAN, Sec. 3.2; Jolicoeur-Martineau, ICLR 2019.

    form: "paper" takes these sums; "code", what ESRGAN's authors run, takes half of them, and the
    discriminator gets no gradient through the means.

    Raises ValueError for another form.
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
        if real is None:
            raise ValueError("RelativisticAverage compares with HR: generator(fake, real)")
        return self._above(fake, real, *_means(fake, real))

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        means = _means(real, fake)
        if self.form == "code":
            means = [mean.detach() for mean in means]
        return self._above(real, fake, *means)

    def _above(self, up: Tensor, down: Tensor, mean_up: Tensor, mean_down: Tensor) -> Tensor:
        """Small if each of `up` is above the mean of `down`, and each of `down` below up's mean."""
        total = -F.logsigmoid(up - mean_down).mean() - F.logsigmoid(mean_up - down).mean()
        return total if self.form == "paper" else total / 2


def _means(*logits: Tensor) -> list[Tensor]:
    return [mean_over_processes(x.mean()) for x in logits]


@dataclass(frozen=True)
class Hinge(Objective):
    """The hinge: logits of HR should reach 1, those of SR -1, and no more is asked of them.

    discriminator: max(0, 1 - C(hr)) + max(0, 1 + C(sr)) (Lim and Ye, 2017). generator: CIPLab's
    max(0, 1 - C(sr)), which asks no more once C(sr) > 1; with `linear=True` Lim and Ye's -C(sr),
    which always asks for more.
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
    """Squared errors of the logits from 1 for HR and 0 for SR (Mao et al., ICCV 2017, Eq. 9).

    generator: (C(sr) - 1)² / 2; discriminator: ((C(hr) - 1)² + C(sr)²) / 2.
    """

    formula = "(C(sr) - 1)² / 2"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return (fake - 1).square().mean() / 2

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2


@dataclass(frozen=True)
class Wasserstein(Objective):
    """WGAN-GP (Gulrajani et al., NeurIPS 2017); such papers call the discriminator a critic.

    generator: -C(sr); discriminator: C(sr) - C(hr) + penalty * `adversarial.gradient_penalty`. The
    penalty is of each sample on its own, so the discriminator must have no batch norm.

    span: width of the range of pictures in the paper, see `gradient_penalty`. TTSR takes 2, for
    [-1, 1], and discriminator_steps=2.
    """

    penalty: float = 10.0
    span: float = 1.0
    discriminator_steps: int = 5
    formula = "-C(sr)"

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return fake.mean() - real.mean()
