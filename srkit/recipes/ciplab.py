"""How the x16 network of CIPLab is trained: one generator, and what each loss makes of it.

The paper (Jo et al., 2020): 1500 pictures of DIV8K; Adam at 1e-5; Huber alone for 50,000 steps of 3
crops, then for 60,000 of 2 all losses. The rest by the authors' code, which takes 75,000 steps of 2
each: HR crops of 384, flipped and turned; Huber + 1e-3 LPIPS + matching of the discriminator's maps
+ 1e-3 adversarial, hinge, of a U-Net discriminator that learns with CutMix; gradients of both
networks clipped to a norm of 0.1.

    srkit train ciplab --variant pretrained    Huber alone: the best PSNR
    srkit train ciplab                         all losses: the best LPIPS
    srkit train ciplab --variant adv-vgg       VGG-19 in LPIPS' place, no matching
    srkit reproduce ciplab                     everything below, and the cards

Training with LPIPS of AlexNet makes that metric partial. The LPIPS of SqueezeNet, which none of
them has seen, stands beside it.
Differs: higher rates, for 1e-5 gets nowhere in so short a time. The last weights are kept, theirs
were those of the best LPIPS; one batch serves generator and discriminator, in this order, where
theirs has two and the discriminator first; LR is in 8 bits. The discriminator of "adv-vgg", of
which nothing is known, is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from srkit.datasets import catalog
from srkit.image.tensors import round_8bit
from srkit.inference import upscale
from srkit.losses import LPIPS, Huber, Matching, Term, UNetAdversarial, content
from srkit.metrics import features
from srkit.metrics.evaluate import load_pair
from srkit.metrics.lpips import lpips
from srkit.metrics.protocols import PROTOCOLS
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models.ciplab import RRDBNetx4x4, UNetDiscriminator
from srkit.recipes import PROTOCOL, RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Constant, Halving, Warmup
from srkit.training.starts import hand_through

SCALE = 16
ADVERSARIAL, MATCHING = 1e-3, 1.0  # weights beside Huber
PERCEPTUAL = {"LPIPS": 1e-3, "VGG": 5e-3}  # with this VGG pulls as hard at the network as LPIPS
CLIP = 0.1

# The second stage (`gan_`) has a length and a batch of its own. trunk: the VGG-19 of "adv-vgg",
# "random" for a smoke test without any trunk. start "picture": see `srkit.training.starts`.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "trunk": "random",
        "network": {"channels": 4, "blocks": 1, "growth": 2}, "discriminator": (4, 8),
        "steps": 2, "batch": 2, "patch": 4, "rate": 1e-3, "halved_every": 0.2,
        "warmup": 0.03, "start": "picture", "gan_steps": 2, "gan_batch": 2, "gan_rate": 1e-4,
        "from_scratch": True,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set14", "BSD100"), "validate_every": 500, "trunk": "oxford",
        "network": {"channels": 16, "blocks": 3, "growth": 8}, "discriminator": (16, 32, 48, 64),
        "steps": 3000, "batch": 4, "patch": 8, "rate": 1e-3, "halved_every": 0.2,
        "warmup": 0.03, "start": "picture", "gan_steps": 600, "gan_batch": 2, "gan_rate": 1e-4,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set14", "BSD100"), "validate_every": 2500,
        "trunk": "oxford", "network": {}, "discriminator": (64, 128, 192, 256, 320, 384),
        "steps": 15_000, "batch": 3, "patch": 24, "rate": 1e-4, "halved_every": 0.2,
        "warmup": 0, "start": "random", "gan_steps": 8000, "gan_batch": 2, "gan_rate": 5e-5,
    },
    "paper": {
        "data": "DIV8K", "tests": ("Set14", "BSD100"), "validate_every": 1000,
        "trunk": "torchvision", "network": {"channels": 64, "blocks": 23, "growth": 32},
        "discriminator": (64, 128, 192, 256, 320, 384),
        "steps": 50_000, "batch": 3, "patch": 24, "rate": 1e-5, "halved_every": 1.0,
        "warmup": 0, "start": "random", "gan_steps": 60_000, "gan_batch": 2, "gan_rate": 1e-5,
    },
}  # fmt: skip


PAPER: dict[str, dict] = {}  # its tables are not at hand


def network(run: RecipeRun) -> RRDBNetx4x4:
    return RRDBNetx4x4(SCALE, **run.plan["network"])


def pretrained(run: RecipeRun) -> nn.Module:
    """The first stage: Huber alone."""
    plan, model = run.plan, run.build(partial(network, run))
    if plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Warmup(Halving(plan["rate"], every=plan["halved_every"]), plan["warmup"])
    run.fit(model, Huber(0.01), run.crops(SCALE), rate=rate, clip=CLIP)
    return model


def fine_tuned(
    run: RecipeRun, perceptual: str = "LPIPS", matching: bool = True, cutmix: str | None = "code"
) -> nn.Module:
    """The second stage, from the weights of the first."""
    plan, model = run.plan, run.trained("pretrained", network(run))
    discriminator = run.build(partial(UNetDiscriminator, plan["discriminator"]))
    rng = torch.Generator().manual_seed(run.seed)
    adversarial = UNetAdversarial(discriminator, cutmix=cutmix, rng=rng)
    seen = PERCEPTUAL[perceptual] * seen_by(perceptual, plan["trunk"])
    loss = Huber(0.01) + seen + ADVERSARIAL * adversarial
    if matching:
        loss = loss + MATCHING * Matching(discriminator)
    run.fit(
        model,
        loss,
        run.crops(SCALE),
        rate=Constant(plan["gan_rate"]),
        clip=CLIP,
        stage="gan",
        validate_every=plan["gan_steps"] // 5 or 1,
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def seen_by(kind: str, trunk: str) -> Term:
    """LPIPS of AlexNet, or L1 of VGG-19's features before activation, as ESRGAN has it."""
    if trunk == "random":
        return content("esrgan", "random")
    if kind == "LPIPS":
        return LPIPS("alex")
    return content("esrgan", features.vgg19(trunk), unit="rms")


def begin_as_enlargement(model: RRDBNetx4x4) -> None:
    """Channels 0, 1, 2 carry the picture through both stages."""
    ups = [model.upconv1, model.upconv2, model.HRconv, model.upconv3, model.upconv4, model.HRconv2]
    tail = [(layer, 1) for layer in (*ups, model.conv_last)]
    hand_through(model.conv_first, [model.trunk_conv, model.trunk_conv2], tail)


def measure(run: RecipeRun, model: nn.Module, test: str) -> dict[str, float]:
    """PSNR and SSIM, LPIPS of AlexNet, and that of SqueezeNet."""
    rule = PROTOCOLS[PROTOCOL]
    how = {"on": rule.on, "shave": rule.shave * SCALE}
    rows = []
    for pair in catalog.pairs(test, SCALE):
        lr, hr = load_pair(pair, SCALE)
        sr = round_8bit(upscale(model, lr))
        rows.append(
            {
                "psnr": psnr(sr, hr, **how),
                "ssim": ssim(sr, hr, **how),
                "lpips": lpips(sr, hr),
                "lpips-squeeze": lpips(sr, hr, "squeeze"),
            }
        )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "ciplab": fine_tuned,
    "pretrained": pretrained,
    "adv-vgg": partial(fine_tuned, perceptual="VGG", matching=False),
    "no-matching": partial(fine_tuned, matching=False),
    "cutmix-mask": partial(fine_tuned, cutmix="mask"),
    "no-cutmix": partial(fine_tuned, cutmix=None),
}

SEEN, UNSEEN, TEST = "lpips", "lpips-squeeze", "BSD100"
CLAIMS = (
    Claim("the full loss costs PSNR", "ciplab", "pretrained", "psnr", -1, TEST),
    Claim("the full loss looks better to its own trunk", "ciplab", "pretrained", SEEN, -1, TEST),
    Claim("the full loss looks better to another trunk", "ciplab", "pretrained", UNSEEN, -1, TEST),
    Claim(
        "VGG-19 and a discriminator look better than Huber",
        "adv-vgg",
        "pretrained",
        UNSEEN,
        -1,
        TEST,
    ),
    Claim("LPIPS and matching look better than VGG-19", "ciplab", "adv-vgg", UNSEEN, -1, TEST),
    Claim("LPIPS alone looks better than VGG-19", "no-matching", "adv-vgg", UNSEEN, -1, TEST),
    Claim(
        "matching the discriminator's maps looks better", "ciplab", "no-matching", UNSEEN, -1, TEST
    ),
)
