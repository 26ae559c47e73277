"""Adversarial losses: a discriminator learns to tell HR from SR, the generator to pass SR as HR.

    adversarial = Adversarial(discriminator, RelativisticAverage())
    loss = 0.01 * L1() + content("esrgan") + 0.005 * adversarial   # the generator minimises this,
    adversarial.discriminator_loss(sr, hr)                         # the discriminator this, in turn

A discriminator gives logits, without a sigmoid: large if it takes a picture for HR. (WGAN papers
call it a critic.) It is a part of the loss, and is moved and saved with it, but it has an optimiser
of its own, over `adversarial.discriminator.parameters()`. In the generator's turn its weights get
no gradients. SR and HR pass it as two batches: in one, batch norm would mix them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from srkit.losses.objectives import Objective, Standard
from srkit.losses.terms import Features, FeatureTerm, Term
from srkit.metrics.features import Extractor
from srkit.processes import mean_over_processes, part


def gradient_penalty(
    discriminator: nn.Module,
    sr: Tensor,
    hr: Tensor,
    rng: torch.Generator | None = None,
    *,
    span: float = 1.0,
) -> Tensor:
    """mean (|grad C(x)| - 1)² at x = eps hr + (1 - eps) sr, with eps ~ U(0, 1) for each sample.

    span: width of the range of pictures in a paper, where it is not 1 as here. In a range twice as
    wide slopes are half as steep: `span=2` gives such a paper's penalty.
    rng: draws eps, with the same state in all processes: each takes its share of one draw.

    It is computed in float32 also under autocast, because it is differentiated twice.
    """
    i, n = part()
    eps = torch.rand(n * len(hr), *[1] * (hr.ndim - 1), generator=rng, device="cpu")[i::n].to(hr)
    x = (eps * hr + (1 - eps) * sr).detach().requires_grad_()
    with torch.autocast(hr.device.type, enabled=False):
        (slope,) = torch.autograd.grad(logits(discriminator, x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) / span - 1).square().mean()


@contextmanager
def frozen(discriminator: nn.Module) -> Iterator[None]:
    """Within it, pictures that pass the discriminator give gradients to themselves alone.

    The weights' gradients are neither computed nor left behind for the discriminator's own step.
    To do so it clears `requires_grad` for a while, which DistributedDataParallel heeds too. Batch
    norm's running means do take in what passes, as in the papers' code.
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
    """x in float32 at least: losses are not computed in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def logits(discriminator: nn.Module, x: Tensor) -> Tensor:
    """The logits that a discriminator with one output gives for x, in float32 at least.

    Raises TypeError if it gives anything else.
    """
    answer = discriminator(wide(x))
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"{type(discriminator).__name__} gives a {type(answer).__name__}, not one tensor of "
            "logits: ClassAdversarial is for a head of classes, UNetAdversarial for encoder and "
            "decoder"
        )
    return wide(answer)


class Adversarial(Term):
    """What the generator minimises against a discriminator, which is trained in turn.

    The base of all adversarial terms. Its value is the objective's `generator`; the training loop
    minimises `discriminator_loss` for the discriminator, `discriminator_steps` times a turn.

    - rng: a CPU generator for the random points of a gradient penalty; None takes torch's own. Its
      state belongs into a run's checkpoints.
    - gate: says when the discriminator skips a turn.

    Raises ValueError for a gradient penalty of a discriminator with batch norm; when called,
    TypeError for a discriminator that gives anything but one tensor of logits.
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
        if objective.penalty and any(isinstance(m, _BatchNorm) for m in discriminator.modules()):
            raise ValueError(
                f"{type(discriminator).__name__} has batch norm, which mixes the samples of a "
                "batch, but the gradient penalty is of each sample on its own: take a "
                "discriminator without batch norm, or penalty=0"
            )
        self.discriminator, self.objective = discriminator, objective
        self.rng, self.gate = rng, gate
        self.formula = objective.formula

    @property
    def discriminator_steps(self) -> int:
        return self.objective.discriminator_steps

    def value(self, sr: Tensor, hr: Tensor) -> Tensor:
        with frozen(self.discriminator):
            fake = logits(self.discriminator, sr)
            real = logits(self.discriminator, hr.detach()) if self.objective.needs_real else None
        return self.objective.generator(fake, real)

    def shown(self, image: Tensor) -> Tensor:
        """What the discriminator is shown of a picture in its own turn: the picture itself."""
        return image.detach()

    def judge(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of sr and of hr in the discriminator's turn: gradients reach it alone."""
        fake, real = (logits(self.discriminator, self.shown(x)) for x in (sr, hr))
        return fake, real

    def discriminator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the discriminator minimises."""
        sr, hr = self.shown(sr), self.shown(hr)
        fake, real = (logits(self.discriminator, x) for x in (sr, hr))
        loss = self.objective.discriminator(fake, real)
        if self.objective.penalty:
            slopes = gradient_penalty(
                self.discriminator, sr, hr, self.rng, span=self.objective.span
            )
            loss = loss + self.objective.penalty * slopes
        return loss


class FeatureAdversarial(FeatureTerm, Adversarial):
    """An adversarial term whose discriminator judges features, not pictures (SRFeat, Sec. 3.2).

    It is shown the features of `layer`, divided by `unit`. A discriminator of pictures can be
    fooled by noise without structure, which features ignore.

    The paper's unit, 12.75, suits VGG-19 of lineage "oxford"; `perceptual.rms` tells how large the
    features of others are. VGG's pooling rounds down here: 296 pixels give maps of 18x18, where the
    authors' TensorFlow gives 19x19.

    Raises ValueError for a layer that the extractor has not, and what `Adversarial` raises.
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
        super().__init__(discriminator, objective, rng=rng)
        self.look_through(extractor, [layer])
        self.layer, self.unit = layer, unit
        self.formula = f"{objective.formula}, of {layer}/{unit:g} of {self.trunk}"

    def compare(self, sr: Features, hr: Features) -> Tensor:
        return self.value(sr[self.layer] / self.unit, hr[self.layer] / self.unit)

    @torch.no_grad()
    def shown(self, image: Tensor) -> Tensor:
        return self.extractor(image, [self.layer])[self.layer] / self.unit


class ClassAdversarial(Adversarial):
    """The standard adversarial term, with a discriminator that also classifies pictures (SFTGAN).

    The discriminator has two heads: logits (B, 1), and class logits (B, classes), numbered as in
    `srkit.models.sftgan.DISCRIMINATOR_CLASSES`. The cross entropy of the second is added to the
    standard objective of the first, for sr in the generator's turn, for sr and hr in the
    discriminator's. Both weigh the same, as in the paper. (Odena et al., ICML 2017, call this an
    auxiliary classifier.)
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
    """Mean cross entropy of logits (B, classes) over samples whose category (B,) isn't 0.

    If all categories are 0, it is 0. The mean is over the batch of all processes, whose shares may
    have more or fewer samples that count.
    """
    total = F.cross_entropy(classes, category, ignore_index=0, reduction="sum")
    counted = mean_over_processes(category.count_nonzero().float())
    return total / counted.clamp(min=1 / part()[1])


class DiscriminatorGate(nn.Module):
    """EnhanceNet's rule: a discriminator that was right about the last batch skips a turn.

    It was right if it gave the truth a mean probability above `threshold` in both halves: mean
    sigmoid(real) and mean sigmoid(-fake). The paper states neither the number nor the measure.

    Raises ValueError for a threshold that is not between 0 and 1.
    """

    skip: Tensor

    def __init__(self, threshold: float):
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"threshold {threshold}: a probability between 0 and 1, like 0.8")
        self.threshold = threshold
        self.register_buffer("skip", torch.tensor(False))  # a resumed run needs it

    def opens(self, fake: Tensor, real: Tensor) -> bool:
        """Whether to train on the batch with these logits, which also decide on the next one."""
        skip = self.skip.item()
        worse = torch.minimum(real.detach().sigmoid().mean(), (-fake.detach()).sigmoid().mean())
        self.skip = worse > self.threshold
        return not skip
