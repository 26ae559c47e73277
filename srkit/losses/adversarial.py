"""Adversarial losses: a discriminator learns to tell HR from SR, the generator to be taken for HR.

    adversarial = Adversarial(discriminator, RelativisticAverage())
    loss = 0.01 * L1() + content("esrgan") + 0.005 * adversarial   # the generator minimises this
    adversarial.discriminator_loss(sr, hr)                                # the discriminator this,
    in its turn

A discriminator gives logits, large where it believes in HR; no sigmoid. As a part of the loss it
moves and is saved with it, but has an optimiser of its own, over
`adversarial.discriminator.parameters()`. In the generator's turn it gets no gradients, and none are
computed for it. SR and HR pass it as two batches, never as one, where batch norm would let each
know of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit import processes
from srkit.losses.objectives import Objective, Standard
from srkit.losses.terms import Features, FeatureTerm, Term
from srkit.metrics.features import Extractor


def gradient_penalty(
    discriminator: nn.Module,
    sr: Tensor,
    hr: Tensor,
    rng: torch.Generator | None = None,
    *,
    span: float = 1.0,
) -> Tensor:
    """mean (|grad C(x)| - 1)² at x = eps hr + (1 - eps) sr, with eps ~ U(0, 1) for each sample.

    Pictures here span 1. Where a paper's span 2, slopes are half as steep there: `span=2` gives
    its penalty. In float32 also under autocast, for it is differentiated twice. Of several
    processes each has its share of one draw, as of the crops (`rng` then is alike in all).
    """
    i, n = processes.part()
    eps = torch.rand(n * len(hr), *[1] * (hr.ndim - 1), generator=rng)[i::n].to(hr)
    x = (eps * hr + (1 - eps) * sr).detach().requires_grad_()
    with torch.autocast(hr.device.type, enabled=False):
        (slope,) = torch.autograd.grad(logits(discriminator, x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) / span - 1).square().mean()


@contextmanager
def frozen(discriminator: nn.Module) -> Iterator[None]:
    """What passes the discriminator within is differentiated by the picture alone.

    Its weights' gradients are then neither computed nor left behind for its own step. The flags
    of the parameters are set and put back: what a wrapper such as DistributedDataParallel heeds.
    Batch norm's running means do take in what passes, as in the papers' code.
    """
    trained = [p for p in discriminator.parameters() if p.requires_grad]
    try:
        for p in trained:
            p.requires_grad_(False)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def wide(x: Tensor) -> Tensor:
    """At least float32: losses are not taken in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def logits(discriminator: nn.Module, x: Tensor) -> Tensor:
    """What a discriminator with one answer says of x."""
    answer = discriminator(wide(x))
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"{type(discriminator).__name__} gives a {type(answer).__name__}, not one tensor of "
            "logits: ClassAdversarial is for a head of classes, UNetAdversarial for encoder and "
            "decoder"
        )
    return wide(answer)


class Adversarial(Term):
    """The objective's generator side; `discriminator_loss(sr, hr)` is the other.

    rng: a CPU generator that draws the points of a gradient penalty; None is torch's own. Its state
    belongs into a run's checkpoints. gate: says when the discriminator skips its turn.
    """

    label = "adversarial"

    def __init__(
        self,
        discriminator: nn.Module,
        objective: Objective,
        *,
        rng: torch.Generator | None = None,
        gate: DiscriminatorGate | None = None,
    ):
        super().__init__()
        self.discriminator, self.objective, self.rng, self.gate = (
            discriminator,
            objective,
            rng,
            gate,
        )
        self.discriminator_steps, self.formula = objective.discriminator_steps, objective.formula

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        with frozen(self.discriminator):
            fake = logits(self.discriminator, sr)
            real = logits(self.discriminator, hr.detach()) if self.objective.needs_real else None
        return self.objective.generator(fake, real)

    def judge(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of sr and of hr, from which gradients reach the discriminator and not the
        generator."""
        return logits(self.discriminator, sr.detach()), logits(self.discriminator, hr.detach())

    def discriminator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the discriminator minimises."""
        loss = self.objective.discriminator(*self.judge(sr, hr))
        if self.objective.penalty:
            slopes = gradient_penalty(
                self.discriminator, sr, hr, self.rng, span=self.objective.span
            )
            loss = loss + self.objective.penalty * slopes
        return loss


class FeatureAdversarial(FeatureTerm):
    """The discriminator judges what an extractor sees: features of `layer`, divided by `unit`
    (SRFeat, Sec. 3.2).

    A discriminator of pictures can be fooled by noise that is no structure; features are structure.
    In a sum the extractor is shared with the content term. The paper's unit, 12.75, suits VGG-19 of
    lineage "oxford" (`perceptual.rms` tells how large another's features are). VGG's pooling rounds
    down here: 296 pixels give maps of 18x18, where the authors' TensorFlow has 19x19.
    """

    label = "feature adversarial"

    def __init__(
        self,
        discriminator: nn.Module,
        objective: Objective,
        extractor: Extractor,
        layer: str = "relu5_4",
        *,
        unit: float = 12.75,
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        self.look_through(extractor, [layer])
        self.layer, self.unit = layer, unit
        self.of_features = Adversarial(discriminator, objective, rng=rng)
        self.discriminator_steps = objective.discriminator_steps
        self.formula = f"{objective.formula}, of {layer}/{unit:g} of {self.trunk}"

    @property
    def discriminator(self) -> nn.Module:
        return self.of_features.discriminator

    def compare(self, sr: Features, hr: Features) -> Tensor:
        return self.of_features.value(sr[self.layer] / self.unit, hr[self.layer] / self.unit)

    def discriminator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the discriminator minimises."""
        with torch.no_grad():
            seen = [self.extractor(x, self.layer)[self.layer] / self.unit for x in (sr, hr)]
        return self.of_features.discriminator_loss(*seen)


class ClassAdversarial(Adversarial):
    """The discriminator also says what a picture shows, generator and discriminator both help it
    (SFTGAN).

    A discriminator with two heads gives logits (B, 1) and class logits (B, classes), numbered as
    `srkit.models.sftgan.DISCRIMINATOR_CLASSES`. To the standard objective on the first comes the
    cross entropy of the second: of sr for the generator, of sr and of hr for the discriminator.
    Both have one weight in the paper, as here. (Auxiliary classifier: Odena et al., ICML 2017.)
    """

    needs = {"category": "(B,) int64, what each picture shows; 0, the background, isn't asked for"}

    def __init__(self, discriminator: nn.Module):
        super().__init__(discriminator, Standard())
        self.formula += " + cross entropy of the class"

    def value(self, sr: Tensor, hr: Tensor, category: Tensor) -> Tensor:
        with frozen(self.discriminator):
            fake, shown = map(wide, self.discriminator(wide(sr)))
        return self.objective.generator(fake) + class_loss(shown, category)

    def discriminator_loss(self, sr: Tensor, hr: Tensor, category: Tensor) -> Tensor:
        """What the discriminator minimises."""
        (fake, shown), (real, seen) = (
            map(wide, self.discriminator(wide(x.detach()))) for x in (sr, hr)
        )
        classes = class_loss(shown, category) + class_loss(seen, category)
        return self.objective.discriminator(fake, real) + classes


def class_loss(classes: Tensor, category: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, classes) where category (B,) isn't 0; of none it is 0.

    Of several processes each has a share of the batch, with more or fewer that count.
    """
    total = F.cross_entropy(classes, category, ignore_index=0, reduction="sum")
    counted = processes.mean(category.count_nonzero().float())
    return total / counted.clamp(min=1 / processes.part()[1])


class DiscriminatorGate(nn.Module):
    """EnhanceNet's rule: a discriminator that was right about the last batch, all of it, skips a
    step.

    Right: it gave the truth a mean probability above `threshold` in both halves, mean sigmoid(real)
    and mean sigmoid(-fake). The paper states neither the number nor the measure.
    """

    def __init__(self, threshold: float):
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"threshold {threshold}: a probability between 0 and 1, like 0.8")
        self.threshold = threshold
        self.register_buffer("skip", torch.tensor(False))  # a resumed run needs it

    def opens(self, fake: Tensor, real: Tensor) -> bool:
        """Whether to train on the batch of these logits; it decides about the next one."""
        skip = self.skip.item()
        worse = torch.minimum(real.detach().sigmoid().mean(), (-fake.detach()).sigmoid().mean())
        self.skip = worse > self.threshold
        return not skip
