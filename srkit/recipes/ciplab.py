"""How CIPLab's network for x16 is trained: one generator, and what each loss makes of it.

The paper (Jo et al., 2020): 1500 pictures of DIV8K; Adam at 1e-5; Huber alone for 50,000 steps of 3
crops, then all losses for 60,000 of 2. The rest is by the authors' code, which takes 75,000 steps
of 2 crops for each: HR crops of 384, flipped and turned; Huber + 1e-3 LPIPS + matching of the
discriminator's maps + 1e-3 adversarial, a hinge loss of a U-Net discriminator that learns with
CutMix; gradients of both networks clipped to a norm of 0.1.
Differs: in all budgets but "paper" the rates are higher, because 1e-5 gets nowhere in so short a
time. The last weights are kept; the authors kept those of the best LPIPS. One batch serves the
generator and then the discriminator; theirs are two, and the discriminator comes first. LR is in 8
bits. Nothing is known of the discriminator of "adv-vgg": here it is the same.

    srkit train ciplab --variant pretrained    Huber alone: the best PSNR
    srkit train ciplab                         all losses: the best LPIPS
    srkit train ciplab --variant adv-vgg       VGG-19 in the place of LPIPS, no matching
    srkit reproduce ciplab                     everything below, and the cards

A network that learns from the LPIPS of AlexNet has an advantage in that metric. So the LPIPS of
SqueezeNet, which no variant learns from, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from srkit.calls import Call, Given
from srkit.datasets import catalog
from srkit.image.tensors import round_8bit
from srkit.inference import upscale
from srkit.losses import LPIPS, Huber, Matching, UNetAdversarial, content
from srkit.metrics.evaluate import load_pair
from srkit.metrics.features import vgg19
from srkit.metrics.lpips import lpips_parts
from srkit.models.ciplab import RRDBNetx4x4, UNetDiscriminator
from srkit.models.network import Network
from srkit.recipes import base
from srkit.recipes.base import LoopBudget, Recipe, mean_scores
from srkit.recipes.run import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through
from srkit.training.schedules import Constant, Halving, Schedule, Warmup
from srkit.training.stage import After, Loss, Prepared, Stage, loss_of, random_numbers

SCALE = 16
TESTS = ("Set14", "BSD100")


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of CIPLab's stages.

    The stage with all losses has a length and a batch of its own. channels, blocks, growth: of
    `RRDBNetx4x4`. discriminator: its widths. alexnet, vgg: the two perceptual losses; a smoke test
    needs neither trunk.
    """

    clip: float | None = 0.1
    adversarial_steps: int
    adversarial_batch: int
    adversarial_rate: Schedule
    from_scratch: bool = False
    channels: int = 64
    blocks: int = 23
    growth: int = 32
    discriminator: tuple[int, ...] = (64, 128, 192, 256, 320, 384)
    alexnet: Call = Call(LPIPS, net="alex")
    vgg: Call


def begin_as_enlargement(network: RRDBNetx4x4) -> None:
    """Let channels 0, 1, 2 carry the picture through both: see `srkit.training.enlargement`."""
    first = (network.upconv1, network.upconv2, network.HRconv)
    second = (network.upconv3, network.upconv4, network.HRconv2, network.conv_last)
    tail = [(layer, 1) for layer in (*first, *second)]
    hand_through(network.conv_first, [network.trunk_conv, network.trunk_conv2], tail)


def seen_by_vgg(lineage: str) -> Call:
    """L1 of VGG-19's features before activation, as ESRGAN has it, in units of their rms."""
    return Call(content, name="esrgan", extractor=Call(vgg19, lineage=lineage), unit="rms")


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
NO_TRUNK = Call(content, name="esrgan", extractor="random")

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), channels=4, blocks=1, growth=2, discriminator=(4, 8),
        alexnet=NO_TRUNK, vgg=NO_TRUNK, start=ENLARGEMENT,
        steps=2, batch=2, patch=4, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        adversarial_steps=2, adversarial_batch=2, adversarial_rate=Constant(1e-4),
        from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400", tests=TESTS, lpips=True, channels=16, blocks=3, growth=8,
        discriminator=(16, 32, 48, 64), vgg=seen_by_vgg("oxford"), start=ENLARGEMENT,
        steps=3000, batch=4, patch=8, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        validate_every=500,
        adversarial_steps=600, adversarial_batch=2, adversarial_rate=Constant(1e-4),
    ),
    "gpu": Budget(
        data="DIV2K_train", tests=TESTS, lpips=True, vgg=seen_by_vgg("oxford"),
        steps=15_000, batch=3, patch=24, rate=Halving(1e-4, every=0.2), validate_every=2500,
        adversarial_steps=8000, adversarial_batch=2, adversarial_rate=Constant(5e-5),
    ),
    "paper": Budget(
        data="DIV8K", tests=TESTS, lpips=True, vgg=seen_by_vgg("torchvision"),
        steps=50_000, batch=3, patch=24, rate=Constant(1e-5), validate_every=1000,
        adversarial_steps=60_000, adversarial_batch=2, adversarial_rate=Constant(1e-5),
    ),
}  # fmt: skip


def by_lpips(b: Budget) -> tuple[float, Call]:
    """LPIPS of AlexNet, with the authors' weight."""
    return 1e-3, b.alexnet


def by_vgg(b: Budget) -> tuple[float, Call]:
    """Features of VGG-19; with this weight they pull as hard at the network as LPIPS does."""
    return 5e-3, b.vgg


def pretrained(b: Budget) -> list[Stage]:
    """Huber alone."""
    network = Call(RRDBNetx4x4, scale=SCALE, channels=b.channels, blocks=b.blocks, growth=b.growth)
    return [b.stage("pretraining", network, loss_of(Huber, delta=0.01), scale=SCALE)]


def fine_tuned(
    b: Budget,
    perceptual: Callable[[Budget], tuple[float, Call]] = by_lpips,
    matching: bool = True,
    cutmix: str | None = "code",
) -> list[Stage]:
    """All losses, from the weights that Huber alone gave."""
    (first,) = pretrained(b)
    judge = Call(UNetDiscriminator, channels=b.discriminator)
    adversarial = Call(
        UNetAdversarial, discriminator=judge, cutmix=cutmix,
        rng=Call(random_numbers, seed=Given.SEED),
    )  # fmt: skip
    terms = [*first.loss.terms, perceptual(b), (1e-3, adversarial)]
    if matching:
        terms.append((1.0, Call(Matching, discriminator=judge)))
    stage = replace(
        first, name="fine-tuning", loss=Loss(tuple(terms)), start=After("pretrained"),
        steps=b.adversarial_steps, batch=b.adversarial_batch, rate=b.adversarial_rate,
        validate_every=b.adversarial_steps // 5 or 1, from_scratch=b.from_scratch,
    )  # fmt: skip
    return [stage]


def measure(run: RecipeRun, network: Network, test: str) -> dict[str, float]:
    """The means of PSNR, SSIM, LPIPS of AlexNet, and that of SqueezeNet."""
    pairs = (load_pair(pair, SCALE) for pair in catalog.pairs(test, SCALE))
    answers = ((round_8bit(upscale(network, lr)), hr) for lr, hr in pairs)
    return mean_scores(answers, SCALE, nets={"lpips": "alex", "lpips-squeeze": "squeeze"})


def look_first(tests: Sequence[str], scale: int | tuple[int, ...], *, lpips: bool) -> None:
    """Find the test sets, and the trunks of both LPIPS: both are always measured."""
    base.look_first(tests, scale, lpips=bool(tests))
    for net in ("squeeze",) if tests else ():
        lpips_parts(net, torch.device("cpu"))


COSTS = ("psnr", -1, "BSD100")
SEEN = ("lpips", -1, "BSD100")  # it looks better to the trunk that "ciplab" learns from
UNSEEN = ("lpips-squeeze", -1, "BSD100")  # it looks better to a trunk that no variant learns from

RECIPE = Recipe(
    label="CIPLab",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "ciplab": fine_tuned,
        "pretrained": pretrained,
        "adv-vgg": partial(fine_tuned, perceptual=by_vgg, matching=False),
        "no-matching": partial(fine_tuned, matching=False),
        "cutmix-mask": partial(fine_tuned, cutmix="mask"),
        "no-cutmix": partial(fine_tuned, cutmix=None),
    },
    published={},  # the paper's tables are not at hand
    claims=(
        Claim("all losses cost PSNR", "ciplab", "pretrained", *COSTS),
        Claim("all losses look better to their own trunk", "ciplab", "pretrained", *SEEN),
        Claim("all losses look better to another trunk", "ciplab", "pretrained", *UNSEEN),
        Claim(
            "VGG-19 and a discriminator look better than Huber", "adv-vgg", "pretrained", *UNSEEN
        ),
        Claim("LPIPS and matching look better than VGG-19", "ciplab", "adv-vgg", *UNSEEN),
        Claim("LPIPS alone looks better than VGG-19", "no-matching", "adv-vgg", *UNSEEN),
        Claim("matching the discriminator's maps looks better", "ciplab", "no-matching", *UNSEEN),
    ),
    measure=measure,
    look_first=look_first,
)
