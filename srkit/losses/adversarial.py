"""Adversarial losses: a critic learns to tell HR from SR, the generator to be taken for HR.

    adversarial = Adversarial(critic, RelativisticAverage())
    loss = 0.01 * L1() + content("esrgan") + 0.005 * adversarial   # the generator minimises this
    adversarial.critic_loss(sr, hr)                                # the critic this, in its turn

A critic gives logits, large where it believes in HR; no sigmoid. As a part of the loss it moves and
is saved with it, but has an optimiser of its own, over `adversarial.critic.parameters()`. In the
generator's turn it gets no gradients, and none are computed for it. SR and HR pass it as two
batches, never as one, where batch norm would let each know of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit import processes
from srkit.features import Extractor
from srkit.losses.objectives import Objective, Standard
from srkit.losses.terms import Features, FeatureTerm, Term


def gradient_penalty(
    critic: nn.Module,
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
        (slope,) = torch.autograd.grad(logits(critic, x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) / span - 1).square().mean()


@contextmanager
def frozen(critic: nn.Module) -> Iterator[None]:
    """What passes the critic within is differentiated by the picture alone.

    Its weights' gradients are then neither computed nor left behind for its own step. The flags
    of the parameters are set and put back: what a wrapper such as DistributedDataParallel heeds.
    Batch norm's running means do take in what passes, as in the papers' code.
    """
    trained = [p for p in critic.parameters() if p.requires_grad]
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


def logits(critic: nn.Module, x: Tensor) -> Tensor:
    """What a critic with one answer says of x."""
    answer = critic(wide(x))
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"{type(critic).__name__} gives a {type(answer).__name__}, not one tensor of logits: "
            "ClassAdversarial is for a head of classes, UNetAdversarial for encoder and decoder"
        )
    return wide(answer)


class Adversarial(Term):
    """The objective's generator side; `critic_loss(sr, hr)` is the other.

    rng: a CPU generator that draws the points of a gradient penalty; None is torch's own. Its state
    belongs into a run's checkpoints. gate: says when the critic skips its turn.
    """

    label = "adversarial"

    def __init__(
        self,
        critic: nn.Module,
        objective: Objective,
        *,
        rng: torch.Generator | None = None,
        gate: CriticGate | None = None,
    ):
        super().__init__()
        self.critic, self.objective, self.rng, self.gate = critic, objective, rng, gate
        self.critic_steps, self.formula = objective.critic_steps, objective.formula

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        with frozen(self.critic):
            fake = logits(self.critic, sr)
            real = logits(self.critic, hr.detach()) if self.objective.needs_real else None
        return self.objective.generator(fake, real)

    def judge(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of sr and of hr, from which gradients reach the critic and not the generator."""
        return logits(self.critic, sr.detach()), logits(self.critic, hr.detach())

    def critic_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the critic minimises."""
        loss = self.objective.critic(*self.judge(sr, hr))
        if self.objective.penalty:
            slopes = gradient_penalty(self.critic, sr, hr, self.rng, span=self.objective.span)
            loss = loss + self.objective.penalty * slopes
        return loss


class FeatureAdversarial(FeatureTerm):
    """The critic judges what an extractor sees: features of `layer`, divided by `unit` (SRFeat,
    Sec. 3.2).

    A critic of pictures can be fooled by noise that is no structure; features are structure. In a
    sum the extractor is shared with the content term. The paper's unit, 12.75, suits VGG-19 of
    lineage "oxford" (`perceptual.rms` tells how large another's features are). VGG's pooling rounds
    down here: 296 pixels give maps of 18x18, where the authors' TensorFlow has 19x19.
    """

    label = "feature adversarial"

    def __init__(
        self,
        critic: nn.Module,
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
        self.of_features = Adversarial(critic, objective, rng=rng)
        self.critic_steps = objective.critic_steps
        self.formula = f"{objective.formula}, of {layer}/{unit:g} of {self.trunk}"

    @property
    def critic(self) -> nn.Module:
        return self.of_features.critic

    def compare(self, sr: Features, hr: Features) -> Tensor:
        return self.of_features.value(sr[self.layer] / self.unit, hr[self.layer] / self.unit)

    def critic_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the critic minimises."""
        with torch.no_grad():
            seen = [self.extractor(x, self.layer)[self.layer] / self.unit for x in (sr, hr)]
        return self.of_features.critic_loss(*seen)


class ClassAdversarial(Adversarial):
    """The critic also says what a picture shows, generator and critic both help it (SFTGAN).

    A critic with two heads gives logits (B, 1) and class logits (B, classes), numbered as
    `srkit.models.sftgan.CRITIC_CLASSES`. To the standard objective on the first comes the cross
    entropy of the second: of sr for the generator, of sr and of hr for the critic. Both have one
    weight in the paper, as here. (Auxiliary classifier: Odena et al., ICML 2017.)
    """

    needs = {"category": "(B,) int64, what each picture shows; 0, the background, isn't asked for"}

    def __init__(self, critic: nn.Module):
        super().__init__(critic, Standard())
        self.formula += " + cross entropy of the class"

    def value(self, sr: Tensor, hr: Tensor, category: Tensor) -> Tensor:
        with frozen(self.critic):
            fake, shown = map(wide, self.critic(wide(sr)))
        return self.objective.generator(fake) + class_loss(shown, category)

    def critic_loss(self, sr: Tensor, hr: Tensor, category: Tensor) -> Tensor:
        """What the critic minimises."""
        (fake, shown), (real, seen) = (map(wide, self.critic(wide(x.detach()))) for x in (sr, hr))
        classes = class_loss(shown, category) + class_loss(seen, category)
        return self.objective.critic(fake, real) + classes


def class_loss(classes: Tensor, category: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, classes) where category (B,) isn't 0; of none it is 0.

    Of several processes each has a share of the batch, with more or fewer that count.
    """
    total = F.cross_entropy(classes, category, ignore_index=0, reduction="sum")
    counted = processes.mean(category.count_nonzero().float())
    return total / counted.clamp(min=1 / processes.part()[1])


class CriticGate(nn.Module):
    """EnhanceNet's rule: a critic that was right about the last batch, all of it, skips a step.

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
