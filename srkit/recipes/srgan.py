"""How SRGAN is trained, and what each loss makes of one and the same network.

The paper (Ledig et al., 2017) enlarges by 4 and learns from 350,000 pictures of ImageNet: HR crops
of 96, batch 16, Adam. First squared error at 1e-4, 1e6 updates. From there squared error of
VGG-19's features / 12.75 + 1e-3 adversarial, 1e5 updates at 1e-4 and 1e5 at 1e-5. Squared error is
of pictures in [-1, 1].

    srkit train srgan --variant mse           the start of all others
    srkit train srgan                         features after conv5_4, and a discriminator
    srkit train srgan --variant gan           squared error and a discriminator
    srkit reproduce srgan                     everything below, and the cards

All other variants but "srresnet" go on from the weights of "mse", on the same crops, with another
loss; "mse-on" keeps to squared error. The small budgets train MSRResNet, which is SRResNet without
batch norm and with a bilinear shortcut: in minutes the paper's network gets less far ("srresnet").
Differs: in all budgets but "paper" the rate of the first stage is halved after each fifth, which
short runs need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from srkit.calls import Call, Given
from srkit.losses import (
    L1,
    MSE,
    DynamicWeightAverage,
    GradientBalance,
    TotalVariation,
    Uncertainty,
    content,
    style,
)
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.metrics.features import vgg19
from srkit.models.srresnet import Discriminator, MSRResNet, SRResNet
from srkit.recipes.base import Recipe, TwoStageBudget
from srkit.reports.claims import Claim
from srkit.training.schedules import Constant, Halving, Multistep
from srkit.training.stage import Loss, Stage, loss_of

SCALE = 4

# Weights of the terms by loss, where features have an rms of 1. Beside MSE and vgg22 the
# adversarial term pulls about half as hard at the weights of "mse" as the rest of the loss (the
# length of its gradient is 2.7 for a young discriminator, that of MSE 0.0017, of vgg22 0.16).
# Beside vgg54, whose gradient of 8 is mostly the noise of single batches, it pulls a tenth as hard:
# with a third, texture turned into worms.
LOSSES = {
    "srgan": {"vgg54": 1, "adversarial": 0.3},
    "mse-on": {"MSE": 1},
    "l1": {"L1": 1},
    "vgg22": {"vgg22": 1},
    "vgg33": {"vgg33": 1},
    "vgg54": {"vgg54": 1},
    "gan": {"MSE": 1, "adversarial": 4e-4},
    "vgg22-gan": {"vgg22": 1, "adversarial": 0.03},
    "srgan-style": {"vgg54": 1, "adversarial": 0.3, "style": 4},
    "srgan-tv": {"vgg54": 1, "adversarial": 0.3, "TV": 200},
    "three": {"MSE": 1000, "vgg54": 0.1, "adversarial": 0.4},
    "three-gradient": {"MSE": 1000, "vgg54": 0.1, "adversarial": 0.5},
}
# Those of the paper. Its squared error is 4 times that of pictures in [0, 1]; its TV is a sum, ours
# a mean.
PUBLISHED_LOSSES = LOSSES | {
    "vgg22": {"vgg22": 1, "TV": 3e-3},
    "vgg54": {"vgg54": 1},
    "gan": {"MSE": 4, "adversarial": 1e-3},
    "vgg22-gan": {"vgg22": 1, "adversarial": 1e-3},
    "srgan": {"vgg54": 1, "adversarial": 1e-3},
}


@dataclass(frozen=True, kw_only=True)
class Budget(TwoStageBudget):
    """Sizes of SRGAN's stages.

    - generator, channels, blocks: the network. discriminator, hidden: the discriminator's channels,
      and the units of its dense layer.
    - extractor: what the terms look through, VGG-19 or "random". unit: what its features are
      divided by; "rms" makes losses of all layers alike in size.
    - losses: weights of the terms by loss.
    """

    generator: type[MSRResNet] | type[SRResNet]
    channels: int
    blocks: int
    discriminator: int
    hidden: int
    extractor: Call | str
    unit: float | str
    losses: Mapping[str, Mapping[str, float]]


OXFORD = Call(vgg19, lineage="oxford")

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), generator=MSRResNet, channels=8, blocks=1,
        discriminator=4, hidden=8, extractor="random", unit="rms", losses=LOSSES,
        steps=4, batch=2, patch=16, rate=Halving(1e-3, every=0.2),
        second_steps=2, second_patch=16, second_rate=Multistep(2e-4, at=(0.5,), factor=0.1),
        from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400", tests=("Set5", "Set14"), lpips=True, validate_every=500,
        generator=MSRResNet, channels=32, blocks=6, discriminator=16, hidden=64,
        extractor=OXFORD, unit="rms", losses=LOSSES,
        steps=2500, batch=8, patch=24, rate=Halving(1e-3, every=0.2),
        second_steps=500, second_patch=16, second_rate=Multistep(2e-4, at=(0.5,), factor=0.1),
    ),
    "gpu": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        generator=MSRResNet, channels=64, blocks=16, discriminator=64, hidden=1024,
        extractor=OXFORD, unit="rms", losses=LOSSES,
        steps=100_000, batch=16, patch=24, rate=Halving(2e-4, every=0.2),
        second_steps=40_000, second_patch=24, second_rate=Multistep(1e-4, at=(0.5,), factor=0.1),
    ),
    "paper": Budget(
        data="ImageNet", lpips=True, validate_every=5000,
        generator=SRResNet, channels=64, blocks=16, discriminator=64, hidden=1024,
        extractor=OXFORD, unit=12.75, losses=PUBLISHED_LOSSES,
        steps=1_000_000, batch=16, patch=24, rate=Constant(1e-4),
        second_steps=200_000, second_patch=24, second_rate=Multistep(1e-4, at=(0.5,), factor=0.1),
    ),
}  # fmt: skip

# Mean opinion scores in the paper: 26 people, grades of 1 to 5.
GRADES = {
    "mse": {"Set5": 3.37, "Set14": 2.98},
    "vgg22": {"Set5": 3.46, "Set14": 3.15},
    "gan": {"Set5": 3.77, "Set14": 3.43},
    "vgg22-gan": {"Set5": 3.78, "Set14": 3.57},
    "srgan": {"Set5": 3.58, "Set14": 3.72},
}


def generator(b: Budget) -> Call:
    return Call(b.generator, scale=SCALE, channels=b.channels, blocks=b.blocks)


def srresnet(b: Budget) -> Call:
    return Call(SRResNet, scale=SCALE, channels=b.channels, blocks=b.blocks)


def first(b: Budget, network) -> list[Stage]:
    """Squared error, from random weights."""
    return [b.stage("pixel", network(b), loss_of(MSE), scale=SCALE)]


def second(b: Budget, loss: str) -> list[Stage]:
    """From the weights of "mse", with one of the budget's losses."""
    known = terms(b)
    weighed = Loss(tuple((weight, known[name]) for name, weight in b.losses[loss].items()))
    return [b.second("second", generator(b), weighed, scale=SCALE, after="mse")]


def terms(b: Budget) -> dict[str, Call]:
    """The terms that losses have weights of, by their names there."""
    discriminator = Call(
        Discriminator, size=SCALE * b.second_patch, channels=b.discriminator, hidden=b.hidden
    )
    return {
        "MSE": Call(MSE),
        "L1": Call(L1),
        "TV": Call(TotalVariation),
        "vgg22": Call(content, name="srgan_vgg22", extractor=b.extractor, unit=b.unit),
        "vgg33": Call(content, name="srgan_vgg33", extractor=b.extractor, unit=b.unit),
        "vgg54": Call(content, name="srgan_vgg54", extractor=b.extractor, unit=b.unit),
        "style": Call(style, name="enhancenet", extractor=b.extractor),
        "adversarial": Call(Adversarial, discriminator=discriminator, objective=Standard()),
    }


def adaptive(b: Budget, loss: str, balance: Call, rate: float = 1.0) -> list[Stage]:
    """The same with a balance of the terms; its factors are in the history.

    rate: what the balance learns itself has so many times the network's rate.
    """
    (stage,) = second(b, loss)
    weighed = replace(stage.loss, balance=balance, balance_rate=rate)
    return [replace(stage, loss=weighed, validate_every=period(b))]


def period(b: Budget) -> int:
    """A twentieth of the second stage, in steps."""
    return b.second_steps // 20 or 1


def balanced_at_last_layer(labels: Sequence[str], network: nn.Module) -> GradientBalance:
    """Let the adversarial term pull at the last layer as hard as all others, times its weight."""
    *_, last = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    weight, *_ = last.parameters()
    return GradientBalance("adversarial", weight)


GRADIENT = Call(balanced_at_last_layer, network=Given.NETWORK)
LOOKS = ("lpips", -1, "Set14")  # it looks better: a lower LPIPS of Set14

RECIPE = Recipe(
    label="SRGAN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        **{loss: partial(second, loss=loss) for loss in LOSSES},
        "mse": partial(first, network=generator),
        "srresnet": partial(first, network=srresnet),
        "three-uncertainty": lambda b: adaptive(b, "three", Call(Uncertainty), rate=50.0),
        "three-average": lambda b: adaptive(
            b, "three", Call(DynamicWeightAverage, every=period(b))
        ),
        "three-gradient": lambda b: adaptive(b, "three-gradient", GRADIENT),
    },
    published={  # the paper's comparison of its losses, on two sets, and its final results
        "mse": {"Set5": {"psnr": 32.05}, "Set14": {"psnr": 28.49}, "BSD100": {"psnr": 27.58}},
        "vgg22": {"Set5": {"psnr": 30.51}, "Set14": {"psnr": 27.19}},
        "gan": {"Set5": {"psnr": 30.64}, "Set14": {"psnr": 26.92}},
        "vgg22-gan": {"Set5": {"psnr": 29.84}, "Set14": {"psnr": 26.44}},
        "srgan": {"Set5": {"psnr": 29.40}, "Set14": {"psnr": 26.02}, "BSD100": {"psnr": 25.16}},
    },
    claims=(
        Claim("the full loss costs PSNR", "srgan", "mse", sign=-1),
        Claim("the full loss looks better", "srgan", "mse", *LOOKS),
        Claim("features of VGG22 cost PSNR", "vgg22", "mse", sign=-1),
        Claim("a discriminator beside squared error costs PSNR", "gan", "mse", sign=-1),
        Claim("a discriminator beside squared error looks better", "gan", "mse", *LOOKS),
        Claim("VGG54 with a discriminator looks better than without", "srgan", "vgg54", *LOOKS),
        Claim("with a discriminator VGG54 beats VGG22", "srgan", "vgg22-gan", *LOOKS),
        Claim("it is the loss, not longer training", "srgan", "mse-on", *LOOKS),
    ),
)
