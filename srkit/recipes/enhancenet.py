"""How EnhanceNet is trained: one network, its losses one by one.

The paper (Sajjadi et al., 2017) enlarges by 4 and learns from 200,000 squares of MSCOCO, reduced to
256x256: HR crops of 128, Adam at 1e-4; batch and length are not given. Each variant is the same
network with another loss. Its letters are those of the terms: E squared error, P perceptual, A
adversarial, T texture.

    srkit train enhancenet --variant e        squared error: the best PSNR
    srkit train enhancenet                    PAT: the most natural pictures
    srkit train enhancenet --variant pat-4    texture in patches of 4x4 instead of 16x16
    srkit reproduce enhancenet                everything below, and the cards

Differs: all others start from the weights of E, as the adversarial ones do in the paper, because
losses of features are slow to teach what squared error teaches fast. In all budgets but "paper" E's
rate is halved after each fifth; in the small ones the others' too, because at a steady rate a
discriminator would send the network now here, now there. The paper's discriminator pauses when it
gets too good (`losses.adversarial.DiscriminatorGate`); here it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import nn

from srkit.calls import Call
from srkit.losses import MSE, Style, content
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.losses.perceptual import stand_in
from srkit.losses.texture import SETUPS
from srkit.metrics.features import Extractor, vgg19
from srkit.models.enhancenet import Discriminator, EnhanceNet
from srkit.recipes.base import Recipe, TwoStageBudget
from srkit.reports.claims import Claim
from srkit.training.schedules import Constant, Halving
from srkit.training.stage import Loss, Stage, loss_of

SCALE = 4

# Weights of the terms by loss; those of layers are the paper's, in srkit.losses. With the
# adversarial ones a discriminator that has learned nothing yet pulls at E's weights not a tenth as
# hard as features do, and a fifth as hard as squared error. With the paper's, ten times as large,
# it would lead all the way.
LOSSES = {
    "pat": {"perceptual": 1, "adversarial": 0.2, "texture": 1},
    "p": {"perceptual": 1},
    "ea": {"squared error": 1, "adversarial": 2e-3},
    "pa": {"perceptual": 1, "adversarial": 0.1},
}
# Of the supplement's Table 2.
PUBLISHED_LOSSES = {
    "pat": {"perceptual": 1, "adversarial": 2, "texture": 1},
    "p": {"perceptual": 1},
    "ea": {"squared error": 1, "adversarial": 1},
    "pa": {"perceptual": 1, "adversarial": 1},
}


@dataclass(frozen=True, kw_only=True)
class Budget(TwoStageBudget):
    """Sizes of EnhanceNet's stages.

    - channels, blocks: the network's. discriminator: the widths of the discriminator.
    - extractor: what the terms look through, VGG-19 or "random"; the authors' VGG-19 is Oxford's.
    - losses: weights of the terms by loss.
    """

    channels: int
    blocks: int
    discriminator: tuple[int, ...]
    extractor: Call | str
    losses: Mapping[str, Mapping[str, float]]


OXFORD = Call(vgg19, lineage="oxford")

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), channels=8, blocks=1, discriminator=(4, 8),
        extractor="random", losses=LOSSES,
        steps=4, batch=2, patch=16, rate=Halving(1e-3, every=0.2),
        second_steps=2, second_patch=16, second_rate=Halving(2e-4, every=0.2), from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400", tests=("Set5", "Set14"), lpips=True, validate_every=500,
        channels=32, blocks=4, discriminator=(16, 32, 64, 128), extractor=OXFORD, losses=LOSSES,
        steps=3000, batch=8, patch=24, rate=Halving(1e-3, every=0.2),
        second_steps=500, second_patch=16, second_rate=Halving(2e-4, every=0.2),
    ),
    "gpu": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        channels=64, blocks=10, discriminator=(32, 64, 128, 256, 512), extractor=OXFORD,
        losses=LOSSES, steps=100_000, batch=16, patch=32, rate=Halving(1e-4, every=0.2),
        second_steps=50_000, second_patch=32, second_rate=Constant(1e-4),
    ),
    "paper": Budget(
        data="MSCOCO", lpips=True, validate_every=5000,
        channels=64, blocks=10, discriminator=(32, 64, 128, 256, 512), extractor=OXFORD,
        losses=PUBLISHED_LOSSES, steps=500_000, batch=16, patch=32, rate=Constant(1e-4),
        second_steps=500_000, second_patch=32, second_rate=Constant(1e-4),
    ),
}  # fmt: skip


def enhancenet(b: Budget) -> Call:
    return Call(EnhanceNet, scale=SCALE, channels=b.channels, blocks=b.blocks)


def e(b: Budget) -> list[Stage]:
    """Squared error, from random weights."""
    return [b.stage("pixel", enhancenet(b), loss_of(MSE), scale=SCALE)]


def after_e(b: Budget, loss: str, patch: int | None = 16) -> list[Stage]:
    """From the weights of E, with one of the budget's losses.

    patch: of the texture term, in pixels of a layer's features; None for whole crops.
    """
    known = terms(b, patch)
    weighed = Loss(tuple((weight, known[name]) for name, weight in b.losses[loss].items()))
    return [b.second("second", enhancenet(b), weighed, scale=SCALE, after="e")]


def terms(b: Budget, patch: int | None) -> dict[str, Call]:
    """The terms that losses have weights of, by their names there."""
    discriminator = Call(Discriminator, size=SCALE * b.second_patch, channels=b.discriminator)
    return {
        "squared error": Call(MSE),
        "perceptual": Call(content, name="enhancenet", extractor=b.extractor),
        "adversarial": Call(Adversarial, discriminator=discriminator, objective=Standard()),
        "texture": Call(texture, extractor=b.extractor, patch=patch),
    }


def texture(extractor: Extractor | str, patch: int | None) -> Style:
    """The paper's texture loss, with patches of other sizes too; None for whole crops.

    The paper's Gram matrices grow with the patch. Here they are divided by their size, and the
    layers' weights multiplied by the size in the paper's 16x16 patches, squared: the same loss for
    these, and one that counts as much for any other patch.
    """
    extractor, weights, unit = stand_in(extractor, SETUPS["enhancenet"])
    for_patches = {}
    for name, weight in weights.items():
        convolution = cast(nn.Conv2d, extractor.body[name.replace("relu", "conv")])
        for_patches[name] = weight * (16 * 16 * convolution.out_channels) ** 2
    return Style(extractor, for_patches, patch=patch, normalise=True, unit=unit)


LOOKS = ("lpips", -1, "Set14")  # it looks better: a lower LPIPS of Set14

RECIPE = Recipe(
    label="EnhanceNet",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "pat": partial(after_e, loss="pat"),
        "e": e,
        "p": partial(after_e, loss="p"),
        "ea": partial(after_e, loss="ea"),
        "pa": partial(after_e, loss="pa"),
        "pat-4": partial(after_e, loss="pat", patch=4),
        "pat-8": partial(after_e, loss="pat", patch=8),
        "pat-whole": partial(after_e, loss="pat", patch=None),
    },
    # Second-hand: E from the README of AVC2-UESTC/Holistic-Super-Resolution-Review, PAT from the
    # table of NatSR (Soh et al., CVPR 2019).
    published={
        "e": {"Set5": {"psnr": 31.74}, "Set14": {"psnr": 28.42}, "BSD100": {"psnr": 27.50}},
        "pat": {"Set5": {"psnr": 28.56}, "Set14": {"psnr": 25.67}, "BSD100": {"psnr": 24.93}},
    },
    claims=(
        Claim("the full loss costs PSNR", "pat", "e", sign=-1),
        Claim("the full loss looks better", "pat", "e", *LOOKS),
        Claim("features alone already cost PSNR", "p", "e", sign=-1),
        Claim("features alone look better", "p", "e", *LOOKS),
        Claim("discriminator and texture add to features", "pat", "p", *LOOKS),
        Claim("the texture term adds to features and discriminator", "pat", "pa", *LOOKS),
        Claim("patches of 16 beat whole crops", "pat", "pat-whole", *LOOKS),
        Claim("patches of 16 beat patches of 4", "pat", "pat-4", *LOOKS),
    ),
)
