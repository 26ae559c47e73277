"""How SRFeat is trained, and what it is to be judged by features.

The paper (Park et al., 2018), by the authors' code: x4, 136,000 crops of DIV2K, HR 296, batch 9,
Adam. First squared error, 21 passes at 1e-4, a tenth from the 18th; then squared error of VGG-19's
features after conv5_4 / 12.75 + 1e-3 adversarial, of pictures + 1e-3 adversarial, of those
features; 5 passes, the rate a tenth from the third and again in the fifth. There batch norm keeps
the statistics, scales and shifts of the first stage: only convolutions learn.

    srkit train srfeat --variant mse          the start of all others
    srkit train srfeat                        features, and two discriminators
    srkit train srfeat --variant image        one discriminator, of pictures: as SRGAN
    srkit reproduce srfeat                    everything below, and the cards

"perceptual" has no discriminator; "three-phases" goes on from it, instead of from "mse".
The discriminator of features of "places" judges each place, as the authors' other one; that of
"lower" looks at a layer before content's. Differs: values outside [0, 1] are not clipped before
VGG-19, which would leave them no gradient. Generators step before discriminators, Adam's epsilon is
1e-8 (theirs 1e-10), no crops of pictures at half their size. But for `paper`, the first stage's
rate is halved after each fifth; the small budgets start "picture", see `srkit.training.starts`, and
warm up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from srkit.losses import MSE, Adversarial, Content, FeatureAdversarial, Sum
from srkit.losses.objectives import Standard
from srkit.losses.perceptual import rms
from srkit.metrics import features
from srkit.models.srfeat import FeatureDiscriminator, ImageDiscriminator, SRFeat
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.loop import enlarge
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.starts import hand_through, hush

SCALE = 4

# "mse" takes `steps`; what goes on from it `turn_steps`, on crops of its own. layer: what content
# and discriminator look at; unit: what its features are divided by, "rms" makes that their size.
# adversarial: weight of each discriminator beside content of weight 1. With 1 a young discriminator
# pulls a fifth as hard at the weights of "mse" as content of rms 1, and grows: two of them soon led
# a small network away from its pictures. So does a high turn_rate, for behind batch norms that
# stand still weights are small, and a step is large for them.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "trunk": "random", "layer": "conv2", "unit": "rms",
        "network": {"channels": 8, "blocks": 2}, "discriminators": {"channels": 4, "hidden": 8},
        "stages": (4, 2), "steps": 4, "batch": 2, "patch": 16, "rate": 1e-3,
        "turn_steps": 2, "turn_patch": 16, "turn_rate": 2e-4, "adversarial": 1.0,
        "from_scratch": True,
        "warmup": 0.03, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14"), "lpips": True,
        "validate_every": 500, "trunk": "oxford", "layer": "relu4_4", "unit": "rms",
        "network": {"channels": 32, "blocks": 6}, "discriminators": {"channels": 16, "hidden": 64},
        "stages": (4, 2), "steps": 1500, "batch": 8, "patch": 24, "rate": 2e-3,
        "turn_steps": 250, "turn_patch": 16, "turn_rate": 8e-5, "adversarial": 0.1,
        "warmup": 0.03, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford", "layer": "relu5_4", "unit": "rms",
        "network": {}, "discriminators": {}, "stages": (4, 4), "steps": 50_000, "batch": 9, "patch":
        24, "rate": 1e-4, "turn_steps": 20_000, "turn_patch": 32, "turn_rate": 1e-4, "adversarial":
        1.0, "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford", "layer": "relu5_4", "unit": 12.75,
        "network": {"channels": 128, "blocks": 16}, "discriminators": {}, "stages": (4, 4),
        "steps": 317_000, "batch": 9, "patch": 74,
        "rate": 1e-4, "drop_at": 17 / 21, "turn_steps": 75_500, "turn_patch": 74, "turn_rate": 1e-4,
        "adversarial": 1e-3,
        "warmup": 0, "start": "random",
    },
}  # fmt: skip

# SRFeat_M by a review that quotes it; SRFeat_IF, the same network in the end, by its first author.
PAPER = {
    "srfeat": {"Set5": {"psnr": 30.03}, "Set14": {"psnr": 26.73}},
    "mse": {
        "Set5": {"psnr": 32.27, "ssim": 0.8938},
        "Set14": {"psnr": 28.71, "ssim": 0.7835},
        "BSD100": {"psnr": 27.64, "ssim": 0.7378},
    },
}


LOWER = {"oxford": "relu3_4", "random": "act1"}  # what the discriminator "lower" looks at, by trunk


def network(run: RecipeRun, long_skips: bool = True) -> SRFeat:
    return SRFeat(SCALE, **run.plan["network"], long_skips=long_skips)


def mse(run: RecipeRun, long_skips: bool = True) -> nn.Module:
    """Squared error, from random weights."""
    model = run.build(partial(network, run, long_skips))
    rate = Halving(run.plan["rate"], every=0.2)
    if "drop_at" in run.plan:
        rate = Multistep(run.plan["rate"], at=(run.plan["drop_at"],), factor=0.1)
    if run.plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Warmup(rate, run.plan["warmup"])
    run.fit(model, MSE(), run.crops(SCALE), rate=rate)
    return model


def begin_as_enlargement(model: SRFeat) -> None:
    """The start "picture"; lifted, for inside its values are in [-1, 1]."""
    norms = [block.bn2 for block in model.blocks]
    hush(*norms, quiet=0.01)  # whatever comes in, it goes out with variance 1 times the slope's
    tail = [(model.up1, 2), (model.up2, 2), (model.conv_out, 1)]
    hand_through(model.conv_in, model.skips, tail, lift=1.0)


def turn(run: RecipeRun, discriminators: tuple[str, ...], start: str = "mse") -> nn.Module:
    """From trained weights to what features and discriminators want; batch norm stays as it is."""
    plan, model = run.plan, run.trained(start, network(run))
    for layer in batch_norms(model):
        layer.requires_grad_(False)
    run.fit(
        model,
        total(run, discriminators),
        run.crops(SCALE),
        rate=Multistep(plan["turn_rate"], at=(0.4, 0.8), factor=0.1),
        stage="turn",
        forward=enlarge_as_tested,
        validate_every=plan["turn_steps"] // 5 or 1,
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def total(run: RecipeRun, discriminators: tuple[str, ...]) -> Sum:
    """Content, and discriminators: of the "image", and of features, "feature", "places" or
    "lower"."""
    plan, size = run.plan, SCALE * run.plan["turn_patch"]
    known = plan["trunk"] != "random"
    extractor = features.vgg19(plan["trunk"]) if known else features.random_tanh()
    image_stages, stages = plan["stages"]

    def unit(layer: str) -> float:
        return rms(extractor, [layer])[layer] if plan["unit"] == "rms" else plan["unit"]

    loss = 1.0 * Content(extractor, {plan["layer"]: 1.0}, unit=unit(plan["layer"]))
    for name in discriminators:
        if name == "image":
            make = partial(ImageDiscriminator, size, stages=image_stages, **plan["discriminators"])
            term = Adversarial(run.build(make), Standard())
        else:
            layer = LOWER[plan["trunk"]] if name == "lower" else plan["layer"]
            channels, side, _ = extractor(torch.zeros(3, size, size), layer)[layer].shape
            side = None if name == "places" else side
            make = partial(
                FeatureDiscriminator, channels, side, stages=stages, **plan["discriminators"]
            )
            judge = run.build(make)
            term = FeatureAdversarial(judge, Standard(), extractor, layer, unit=unit(layer))
        loss = loss + plan["adversarial"] * term
    return loss


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


def enlarge_as_tested(network: nn.Module, data: dict) -> tuple[Tensor, dict]:
    """`enlarge` with the batch norm's own statistics, which stay as they are."""
    for layer in batch_norms(network):
        layer.eval()
    return enlarge(network, data)


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "srfeat": partial(turn, discriminators=("image", "feature")),
    "mse": mse,
    "mse-no-skips": partial(mse, long_skips=False),
    "perceptual": partial(turn, discriminators=()),
    "image": partial(turn, discriminators=("image",)),
    "feature": partial(turn, discriminators=("feature",)),
    "places": partial(turn, discriminators=("image", "places")),
    "lower": partial(turn, discriminators=("image", "lower")),
    "three-phases": partial(turn, discriminators=("image", "feature"), start="perceptual"),
}

CLAIMS = (
    Claim("long skips help, with squared error alone", "mse", "mse-no-skips"),
    Claim("the full loss costs PSNR", "srfeat", "mse", sign=-1),
    Claim("the full loss looks better", "srfeat", "mse", "lpips", -1, "Set14"),
    Claim("a second discriminator, of features, costs less PSNR", "srfeat", "image"),
    Claim(
        "a second discriminator, of features, looks better", "srfeat", "image", "lpips", -1, "Set14"
    ),
    Claim("a discriminator of each place does as well", "srfeat", "places", "lpips", 0, "Set14"),
)
