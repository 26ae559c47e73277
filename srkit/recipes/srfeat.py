"""How SRFeat is trained, and what comes of judging it by features.

The paper (Park et al., 2018), by the authors' code, enlarges by 4 and learns from 136,000 crops of
DIV2K, 296 HR pixels wide: batch 9, Adam. First squared error, 21 passes at 1e-4, a tenth of it from
the 18th. Then squared error of VGG-19's features after conv5_4 / 12.75, + 1e-3 adversarial of
pictures, + 1e-3 adversarial of those features: 5 passes, the rate divided by ten at the third and
again at the fifth. In this stage batch norm keeps the statistics, scales and shifts of the first:
only convolutions learn.

    srkit train srfeat --variant mse          the start of all others
    srkit train srfeat                        features, and two discriminators
    srkit train srfeat --variant image        one discriminator, of pictures: as SRGAN
    srkit reproduce srfeat                    everything below, and the cards

"perceptual" has no discriminator; "three-phases" goes on from it, instead of from "mse". In
"places" the discriminator of features judges each place, the authors' alternative; in "lower" it
looks at a layer before that of content.
Differs: values outside [0, 1] are not clipped before VGG-19, which would leave them no gradient;
generators step before discriminators; Adam's epsilon is 1e-8 (theirs 1e-10); there are no crops of
pictures at half their size. In all budgets but "paper" the first stage's rate is halved after each
fifth; the small ones start as an enlargement (`srkit.training.enlargement`) and warm up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from srkit.calls import Call
from srkit.losses import MSE, Adversarial, Content, FeatureAdversarial
from srkit.losses.objectives import Standard
from srkit.losses.perceptual import rms
from srkit.metrics.features import Extractor, random_tanh, vgg19
from srkit.models.srfeat import FeatureDiscriminator, ImageDiscriminator, SRFeat
from srkit.recipes.base import Recipe, TwoStageBudget
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, hush
from srkit.training.loop import Batch, enlarge
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.stage import Loss, Prepared, Stage, loss_of

SCALE = 4


@dataclass(frozen=True, kw_only=True)
class Budget(TwoStageBudget):
    """Sizes of SRFeat's stages.

    - channels, blocks: the network's. discriminator, hidden: the channels of both discriminators,
      and the units of their dense layers. halvings: how often they halve pictures, and features.
    - extractor: what content and discriminators look through. layer: what both look at; lower: what
      the discriminator of "lower" looks at. unit: what features are divided by, "rms" for their own
      size.
    - adversarial: the weight of each discriminator beside content of weight 1.
    """

    channels: int
    blocks: int
    discriminator: int
    hidden: int
    halvings: tuple[int, int]
    extractor: Call
    layer: str
    lower: str
    unit: float | str
    adversarial: float


def begin_as_enlargement(model: SRFeat) -> None:
    """Let the network start as an enlargement by repeated pixels: see `srkit.training.enlargement`.

    The picture is lifted on its way, because inside it has values in [-1, 1].
    """
    norms = [block.get_submodule("bn2") for block in model.blocks]
    hush(*norms, quiet=0.01)  # what comes out of a batch norm has the variance that its slope gives
    tail = [(model.up1, 2), (model.up2, 2), (model.conv_out, 1)]
    hand_through(model.conv_in, model.skips, tail, lift=1.0)


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
OXFORD = Call(vgg19, lineage="oxford")
DROPS = (0.4, 0.8)  # the third pass of five, and the fifth

# Adversarial weights: with 1 a young discriminator pulls a fifth as hard at the weights of "mse" as
# content of rms 1, and more as it learns; two of them soon led a small network away from its
# pictures. So does a high second_rate: behind batch norms that stand still weights are small, and a
# step is large for them.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), channels=8, blocks=2, discriminator=4, hidden=8,
        halvings=(4, 2), extractor=Call(random_tanh), layer="conv2", lower="act1", unit="rms",
        adversarial=1.0, steps=4, batch=2, patch=16, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        start=ENLARGEMENT, second_steps=2, second_patch=16,
        second_rate=Multistep(2e-4, at=DROPS, factor=0.1), from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400", tests=("Set5", "Set14"), lpips=True, validate_every=500,
        channels=32, blocks=6, discriminator=16, hidden=64, halvings=(4, 2),
        extractor=OXFORD, layer="relu4_4", lower="relu3_4", unit="rms", adversarial=0.1,
        steps=1500, batch=8, patch=24, rate=Warmup(Halving(2e-3, every=0.2), 0.03),
        start=ENLARGEMENT, second_steps=250, second_patch=16,
        second_rate=Multistep(8e-5, at=DROPS, factor=0.1),
    ),
    "gpu": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        channels=128, blocks=16, discriminator=64, hidden=1024, halvings=(4, 4),
        extractor=OXFORD, layer="relu5_4", lower="relu3_4", unit="rms", adversarial=1.0,
        steps=50_000, batch=9, patch=24, rate=Halving(1e-4, every=0.2),
        second_steps=20_000, second_patch=32, second_rate=Multistep(1e-4, at=DROPS, factor=0.1),
    ),
    "paper": Budget(
        data="DIV2K_train", lpips=True, validate_every=5000,
        channels=128, blocks=16, discriminator=64, hidden=1024, halvings=(4, 4),
        extractor=OXFORD, layer="relu5_4", lower="relu3_4", unit=12.75, adversarial=1e-3,
        steps=317_000, batch=9, patch=74, rate=Multistep(1e-4, at=(17 / 21,), factor=0.1),
        second_steps=75_500, second_patch=74, second_rate=Multistep(1e-4, at=DROPS, factor=0.1),
    ),
}  # fmt: skip


def mse(b: Budget, long_skips: bool = True) -> list[Stage]:
    """Squared error, from the budget's start."""
    network = srfeat(b).but(long_skips=long_skips)
    return [b.stage("pixel", network, loss_of(MSE), scale=SCALE)]


def second(
    b: Budget, discriminators: Sequence[Callable[[Budget], Call]] = (), after: str = "mse"
) -> list[Stage]:
    """From the weights of `after`, with content and discriminators; batch norm stays as it is."""
    content = Call(Content, extractor=b.extractor, weights={b.layer: 1.0}, unit=b.unit)
    judged = tuple((b.adversarial, discriminator(b)) for discriminator in discriminators)
    loss = Loss(((1.0, content), *judged))
    stage = b.second("second", srfeat(b), loss, scale=SCALE, after=after)
    return [replace(stage, freeze=Call(freeze_batch_norm), forward=Call(enlarge_as_tested))]


def srfeat(b: Budget) -> Call:
    return Call(SRFeat, scale=SCALE, channels=b.channels, blocks=b.blocks)


def of_pictures(b: Budget) -> Call:
    """The adversarial term whose discriminator judges pictures, as SRGAN's does."""
    size, (halvings, _) = SCALE * b.second_patch, b.halvings
    discriminator = Call(
        ImageDiscriminator, size=size, channels=b.discriminator, stages=halvings, hidden=b.hidden
    )
    return Call(Adversarial, discriminator=discriminator, objective=Standard())


def of_features(b: Budget, lower: bool = False, each_place: bool = False) -> Call:
    """The adversarial term whose discriminator judges features.

    lower: of a layer before that of content. each_place: each place on its own.
    """
    layer, (_, halvings) = b.lower if lower else b.layer, b.halvings
    discriminator = Call(
        judge_of, extractor=b.extractor, layer=layer, picture=SCALE * b.second_patch,
        each_place=each_place, channels=b.discriminator, stages=halvings, hidden=b.hidden,
    )  # fmt: skip
    measured = Call(size_of, extractor=b.extractor, layer=layer)
    return Call(
        FeatureAdversarial, discriminator=discriminator, objective=Standard(),
        extractor=b.extractor, layer=layer, unit=measured if b.unit == "rms" else b.unit,
    )  # fmt: skip


def judge_of(
    extractor: Extractor,
    layer: str,
    picture: int,
    each_place: bool,
    channels: int,
    stages: int,
    hidden: int,
) -> FeatureDiscriminator:
    """The discriminator for a layer's features, of the size that they have in the crops.

    picture: side of the crops in HR pixels.
    """
    with torch.no_grad():
        seen = extractor(torch.zeros(3, picture, picture, device="cpu"), layer)[layer]  # (C, h, w)
    size = None if each_place else seen.shape[1]
    return FeatureDiscriminator(
        seen.shape[0], size, channels=channels, stages=stages, hidden=hidden
    )


def size_of(extractor: Extractor, layer: str) -> float:
    """The root mean square of a layer's features: see `srkit.losses.perceptual.rms`."""
    return rms(extractor, [layer])[layer]


def freeze_batch_norm(network: nn.Module) -> None:
    for layer in batch_norms(network):
        layer.requires_grad_(False)


def enlarge_as_tested(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """`enlarge` with the batch norm's own statistics, which stay as they are."""
    for layer in batch_norms(network):
        layer.eval()
    return enlarge(network, batch)


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


of_places, of_lower = partial(of_features, each_place=True), partial(of_features, lower=True)

LOOKS = ("lpips", -1, "Set14")  # it looks better: a lower LPIPS of Set14
BOTH = (of_pictures, of_features)

RECIPE = Recipe(
    label="SRFeat",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "srfeat": partial(second, discriminators=BOTH),
        "mse": mse,
        "mse-no-skips": partial(mse, long_skips=False),
        "perceptual": second,
        "image": partial(second, discriminators=(of_pictures,)),
        "feature": partial(second, discriminators=(of_features,)),
        "places": partial(second, discriminators=(of_pictures, of_places)),
        "lower": partial(second, discriminators=(of_pictures, of_lower)),
        "three-phases": partial(second, discriminators=BOTH, after="perceptual"),
    },
    # SRFeat_M by a review that quotes it; SRFeat_IF, the same network in the end, by its first
    # author.
    published={
        "srfeat": {"Set5": {"psnr": 30.03}, "Set14": {"psnr": 26.73}},
        "mse": {
            "Set5": {"psnr": 32.27, "ssim": 0.8938},
            "Set14": {"psnr": 28.71, "ssim": 0.7835},
            "BSD100": {"psnr": 27.64, "ssim": 0.7378},
        },
    },
    claims=(
        Claim("long skips help, with squared error alone", "mse", "mse-no-skips"),
        Claim("the full loss costs PSNR", "srfeat", "mse", sign=-1),
        Claim("the full loss looks better", "srfeat", "mse", *LOOKS),
        Claim("a second discriminator, of features, costs less PSNR", "srfeat", "image"),
        Claim("a second discriminator, of features, looks better", "srfeat", "image", *LOOKS),
        Claim(
            "a discriminator of each place does as well", "srfeat", "places", "lpips", 0, "Set14"
        ),
    ),
)
