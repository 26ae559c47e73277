"""How ESRGAN is trained, and its three changes to SRGAN, one at a time.

The paper (Wang et al., 2018) enlarges by 4 and trains in two stages. The first is for PSNR, on
DF2K: L1, HR crops of 128, batch 16, Adam at 2e-4, halved every 2e5 iterations of the 1e6 in the
authors' settings. The second is against a discriminator, on DF2K and OST: content before activation
+ 5e-3 relativistic adversarial + 1e-2 L1, Adam at 1e-4, halved at 50k, 100k, 200k and 300k
iterations of the 400k in the settings.
Differs: the budget "paper" has the pictures of DIV2K alone.

    srkit train esrgan --variant psnr         the first stage
    srkit train esrgan                        both
    srkit train esrgan --variant standard     with one change taken back
    srkit reproduce esrgan                    everything below, and the cards

Between the weights of "psnr" and "esrgan" `srkit.network_interpolation` goes from smooth to sharp.
Between "psnr" and an "esrgan" of another seed it passes through nothing of use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from srkit.calls import Call
from srkit.losses import L1, Content
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Objective, RelativisticAverage, Standard
from srkit.metrics.features import random_tanh, vgg19
from srkit.models.esrgan import RRDBNet, VGGDiscriminator
from srkit.models.srresnet import SRResNet
from srkit.recipes.base import Recipe, TwoStageBudget
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, hush, with_factors
from srkit.training.schedules import Constant, Halving, Multistep, Schedule, Warmup
from srkit.training.stage import Loss, Prepared, Stage, loss_of

SCALE = 4


@dataclass(frozen=True, kw_only=True)
class Budget(TwoStageBudget):
    """Sizes of ESRGAN's stages.

    - channels, blocks, growth: RRDBNet's. discriminator: the channels of the discriminator.
    - extractor, unit: what content looks through, and what its features are divided by.
    - before, after: the layer that content compares, before its activation and after it.
    - adversarial, l1: weights beside content of weight 1, lambda and eta of the paper.
    - start_steps, start_blocks, start_rate: of the variants "start-...", whose trunk is deep.
    """

    channels: int
    blocks: int
    growth: int
    discriminator: int
    extractor: Call
    unit: float | str
    before: str
    after: str
    adversarial: float
    l1: float
    start_steps: int
    start_blocks: int
    start_rate: Schedule


@torch.no_grad()
def begin_as_enlargement(model: RRDBNet | SRResNet) -> None:
    """Let the network start as an enlargement: see `srkit.training.enlargement`."""
    if isinstance(model, RRDBNet):
        tail = (model.upconv1, model.upconv2, model.HRconv, model.conv_last)
        hand_through(model.conv_first, [model.trunk_conv], [(layer, 1) for layer in tail])
        return
    last_conv, norm = model.body[-2:]
    hand_through(model.head[0], [last_conv], with_factors(model.tail))
    hush(norm, quiet=0.01)  # what comes out of a batch norm has the variance that its slope gives
    weight, bias = model.tail[-1].parameters()
    weight.mul_(2)  # SRResNet makes HR in [-1, 1]
    bias.sub_(1)


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
HALVED_AT = (0.125, 0.25, 0.5, 0.75)  # the paper's 50k, 100k, 200k and 300k of 400k

# After ENLARGEMENT the first steps at so high a rate would throw it away: hence the warm-up.
# The weights of the losses go with the extractor: features divided by their rms are smaller than
# torchvision's. In a few hundred steps content alone finds halos and grids before it finds texture,
# and L1 holds the small network back from them. The random extractor has no activation at its end.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), channels=8, blocks=1, growth=4, discriminator=4,
        steps=4, batch=2, patch=16, rate=Warmup(Halving(2e-3, every=0.2), 0.03), start=ENLARGEMENT,
        second_steps=2, second_patch=16, second_rate=Multistep(2e-4, at=HALVED_AT),
        extractor=Call(random_tanh), unit="rms", before="conv2", after="conv2",
        adversarial=5e-3, l1=10.0, start_steps=2, start_blocks=1, start_rate=Constant(2e-3),
        from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400", tests=("Set5", "Set14"), lpips=True, validate_every=500,
        channels=16, blocks=4, growth=8, discriminator=16,
        steps=3000, batch=8, patch=24, rate=Warmup(Halving(2e-3, every=0.2), 0.03),
        start=ENLARGEMENT,
        second_steps=600, second_patch=16, second_rate=Multistep(2e-4, at=HALVED_AT),
        extractor=Call(vgg19, lineage="oxford"), unit="rms", before="conv5_4", after="relu5_4",
        adversarial=5e-3, l1=10.0, start_steps=300, start_blocks=8, start_rate=Constant(2e-3),
    ),
    "gpu": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        channels=64, blocks=23, growth=32, discriminator=64,
        steps=30_000, batch=16, patch=32, rate=Halving(2e-4, every=0.2),
        second_steps=15_000, second_patch=32, second_rate=Multistep(1e-4, at=HALVED_AT),
        extractor=Call(vgg19, lineage="oxford"), unit="rms", before="conv5_4", after="relu5_4",
        adversarial=5e-3, l1=10.0, start_steps=2000, start_blocks=23, start_rate=Constant(2e-4),
    ),
    "paper": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        channels=64, blocks=23, growth=32, discriminator=64,
        steps=1_000_000, batch=16, patch=32, rate=Halving(2e-4, every=0.2),
        second_steps=400_000, second_patch=32, second_rate=Multistep(1e-4, at=HALVED_AT),
        extractor=Call(vgg19, lineage="torchvision"), unit=1.0, before="conv5_4", after="relu5_4",
        adversarial=5e-3, l1=1e-2,
        start_steps=1_000_000, start_blocks=23, start_rate=Constant(2e-4),
    ),
}  # fmt: skip


def rrdb(b: Budget) -> Call:
    return Call(RRDBNet, scale=SCALE, channels=b.channels, blocks=b.blocks, growth=b.growth)


def rrdb_bn(b: Budget) -> Call:
    """The same RRDBs with batch norm behind each convolution: one thing changed."""
    return rrdb(b).but(batch_norm=True)


def srresnet(b: Budget) -> Call:
    """SRGAN's generator, with batch norm; as wide as the RRDBs, with four times as many blocks."""
    return Call(SRResNet, scale=SCALE, channels=b.channels, blocks=4 * b.blocks)


def psnr(b: Budget, network) -> list[Stage]:
    """The first stage: L1, from the budget's start."""
    return [b.stage("pixel", network(b), loss_of(L1), scale=SCALE)]


def against_discriminator(
    b: Budget, network, start: str, objective: Objective, times: float, activated: bool
) -> list[Stage]:
    """The second stage (Sec. 3.2 and 3.3), from the weights of the first, `start`.

    activated: whether content compares features after their activation. times: of the adversarial
    weight. A relativistic objective is a sum of two, both of which pull at SR; the standard one
    gets twice the weight, because where they pull shall be compared, not how hard.
    """
    content = Call(
        Content, extractor=b.extractor, weights={b.after if activated else b.before: 1.0},
        criterion="l1", unit=b.unit,
    )  # fmt: skip
    size = SCALE * b.second_patch
    discriminator = Call(VGGDiscriminator, size=size, channels=b.discriminator)
    adversarial = Call(Adversarial, discriminator=discriminator, objective=objective)
    loss = Loss(((1.0, content), (times * b.adversarial, adversarial), (b.l1, Call(L1))))
    stage = b.second("adversarial", network(b), loss, scale=SCALE, after=start)
    return [replace(stage, validate_every=b.second_steps // 8 or 1)]


def beginning(b: Budget, start: float, scaling: float) -> list[Stage]:
    """The first steps of a deep trunk: weights from `start` times He's, residuals times `scaling`.

    The paper has 0.1 and 0.2: without them so deep a network does not train (Sec. 3.1).
    """
    (stage,) = psnr(b, rrdb)
    return [
        replace(
            stage, name="start", network=rrdb(b).but(blocks=b.start_blocks, scaling=scaling),
            start=Prepared(Call(start_trunk_at, start=start)), steps=b.start_steps,
            rate=b.start_rate, validate_every=b.start_steps // 10 or 1,
        )
    ]  # fmt: skip


@torch.no_grad()
def start_trunk_at(model: RRDBNet, *, start: float) -> None:
    """Let the trunk's weights begin at `start` times He's instead of a tenth."""
    for layer in model.RRDB_trunk.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(start / 0.1)


standard = partial(against_discriminator, objective=Standard(), times=2)
relativistic = partial(against_discriminator, objective=RelativisticAverage(), times=1)

LOOKS = ("lpips", -1, "Set14")  # it looks better: a lower LPIPS of Set14

RECIPE = Recipe(
    label="ESRGAN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "esrgan": partial(relativistic, network=rrdb, start="psnr", activated=False),
        "psnr": partial(psnr, network=rrdb),
        "psnr-bn": partial(psnr, network=srresnet),
        "psnr-rrdb-bn": partial(psnr, network=rrdb_bn),
        "rrdb-bn": partial(relativistic, network=rrdb_bn, start="psnr-rrdb-bn", activated=False),
        # the paper's ladder (its Fig. 8) down to SRGAN: one more change is taken back in each
        "standard": partial(standard, network=rrdb, start="psnr", activated=False),
        "standard-after": partial(standard, network=rrdb, start="psnr", activated=True),
        "standard-after-bn": partial(standard, network=srresnet, start="psnr-bn", activated=True),
        # features alone
        "after": partial(relativistic, network=rrdb, start="psnr", activated=True),
        **{
            f"start-{start:g}-scaling-{scaling:g}": partial(beginning, start=start, scaling=scaling)
            for start in (0.1, 0.3, 1)
            for scaling in (0.2, 0.5, 1)
        },
    },
    # The README of xinntao/ESRGAN, of the network trained for PSNR. Of the other the paper has PI,
    # which is not measured here.
    published={
        "psnr": {"Set5": {"psnr": 32.73}, "Set14": {"psnr": 28.99}, "BSD100": {"psnr": 27.85}}
    },
    claims=(
        Claim("RRDBs beat SRGAN's residual blocks, which are smaller", "psnr", "psnr-bn"),
        Claim("RRDBs have a higher PSNR without batch norm", "psnr", "psnr-rrdb-bn"),
        Claim("RRDBs without batch norm look better", "esrgan", "rrdb-bn", *LOOKS),
        Claim("the adversarial stage costs PSNR", "esrgan", "psnr", sign=-1),
        Claim("the adversarial stage looks better", "esrgan", "psnr", *LOOKS),
        Claim("a relativistic discriminator looks better", "esrgan", "standard", *LOOKS),
        Claim("features before activation look better", "esrgan", "after", *LOOKS),
    ),
)
