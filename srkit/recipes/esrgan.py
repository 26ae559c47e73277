"""How ESRGAN is trained, and its three changes to SRGAN, one at a time.

The paper (Wang et al., 2018): x4, pictures of DF2K, for the adversarial stage OST's too. First for
PSNR: L1, HR crops of 128, batch 16, Adam at 2e-4 halved every 2e5 iterations, 1e6 in the authors'
settings. From there against a discriminator: content before activation + 5e-3 relativistic
adversarial + 1e-2 L1, Adam at 1e-4, halved at 50k, 100k, 200k and 300k iterations, 400k in the
settings.

    srkit train esrgan --variant psnr         the first stage
    srkit train esrgan                        both
    srkit train esrgan --variant standard     with one change taken back
    srkit reproduce esrgan                    everything below, and the cards

Between the weights of "psnr" and "esrgan" `srkit.network_interpolation` goes from smooth to sharp;
between those and the ones of another seed lies nothing of use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from srkit.losses import L1, Content, content
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Objective, RelativisticAverage, Standard
from srkit.metrics import features
from srkit.models.esrgan import RRDBNet, VGGDiscriminator
from srkit.models.layers import RDB, RRDB
from srkit.models.srresnet import SRResNet
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Constant, Halving, Multistep, Warmup
from srkit.training.starts import hand_through, hush, with_factors

SCALE = 4

# Weights of the adversarial term and of L1 beside content of weight 1: the paper's lambda and eta,
# and those for the trunk that stands in for torchvision's, in units where features have an rms of
# 1. In a few hundred steps content alone finds halos and grids before it finds texture: so L1 holds
# the small network. The relativistic loss is a sum of two, both of which pull at SR; a standard one
# gets twice the weight (`times`), for what is to be compared is where they pull, not how hard.
WEIGHTS = {"torchvision": (5e-3, 1e-2), "oxford": (5e-3, 10.0), "random": (5e-3, 10.0)}

# The adversarial stage has its own length and crops: VGG-19 costs ten times the small network.
# start "picture": see `srkit.training.starts`; the first steps at a high rate would throw it away,
# so the small budgets warm up for a share of the first stage.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "trunk": "random",
        "network": {"channels": 8, "blocks": 1, "growth": 4}, "discriminator": {"channels": 4},
        "steps": 4, "batch": 2, "patch": 16, "rate": 2e-3, "warmup": 0.03, "start": "picture",
        "gan_steps": 2, "gan_patch": 16, "gan_rate": 2e-4,
        "from_scratch": True, "start_steps": 2, "start_blocks": 1,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14"), "lpips": True,
        "validate_every": 500, "trunk": "oxford",
        "network": {"channels": 16, "blocks": 4, "growth": 8}, "discriminator": {"channels": 16},
        "steps": 3000, "batch": 8, "patch": 24, "rate": 2e-3, "warmup": 0.03, "start": "picture",
        "gan_steps": 600, "gan_patch": 16, "gan_rate": 2e-4,
        "start_steps": 300, "start_blocks": 8,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford",
        "network": {"channels": 64, "blocks": 23, "growth": 32}, "discriminator": {"channels": 64},
        "steps": 30_000, "batch": 16, "patch": 32, "rate": 2e-4, "warmup": 0, "start": "random",
        "gan_steps": 15_000, "gan_patch": 32, "gan_rate": 1e-4,
        "start_steps": 2000, "start_blocks": 23,
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "torchvision",
        "network": {"channels": 64, "blocks": 23, "growth": 32}, "discriminator": {"channels": 64},
        "steps": 1_000_000, "batch": 16, "patch": 32, "rate": 2e-4, "warmup": 0, "start": "random",
        "gan_steps": 400_000, "gan_patch": 32, "gan_rate": 1e-4,
        "start_steps": 1_000_000, "start_blocks": 23,
    },
}  # fmt: skip

# xinntao/ESRGAN's README, of the PSNR network. The paper measures the other by PI, which we do not.
PAPER = {"psnr": {"Set5": {"psnr": 32.73}, "Set14": {"psnr": 28.99}, "BSD100": {"psnr": 27.85}}}


def rrdb(run: RecipeRun) -> RRDBNet:
    return RRDBNet(SCALE, **run.plan["network"])


def srresnet(run: RecipeRun) -> SRResNet:
    """SRGAN's generator, with batch norm; as wide as the RRDBs, with four times as many blocks."""
    width, blocks = run.plan["network"]["channels"], 4 * run.plan["network"]["blocks"]
    return SRResNet(SCALE, channels=width, blocks=blocks)


def psnr(run: RecipeRun, network: Callable[[RecipeRun], nn.Module]) -> nn.Module:
    """The first stage: L1, the rate halved after each fifth."""
    plan, model = run.plan, run.build(partial(network, run))
    if plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Warmup(Halving(plan["rate"], every=0.2), plan["warmup"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate)
    return model


@torch.no_grad()
def begin_as_enlargement(model: nn.Module) -> None:
    """The start "picture", for both networks."""
    if isinstance(model, RRDBNet):
        tail = (model.upconv1, model.upconv2, model.HRconv, model.conv_last)
        hand_through(model.conv_first, [model.trunk_conv], [(layer, 1) for layer in tail])
        return
    body, norm = model.body[-2:]
    hand_through(model.head[0], [body], with_factors(model.tail))
    hush(norm, quiet=0.01)  # whatever comes in, it goes out with variance 1 times the slope's
    last = model.tail[-1]
    last.weight.mul_(2)  # SRResNet's HR is in [-1, 1]
    last.bias.sub_(1)


def against_discriminator(
    run: RecipeRun, start: str, network: Callable[[RecipeRun], nn.Module], layer: str,
    objective: Objective, times: float = 1,
) -> nn.Module:  # fmt: skip
    """The second stage (Sec. 3.2 and 3.3), from the weights of the first, `start`."""
    plan = run.plan
    model = run.trained(start, network(run))
    discriminator = run.build(
        partial(VGGDiscriminator, SCALE * plan["gan_patch"], **plan["discriminator"])
    )
    adversarial, pixel = WEIGHTS[plan["trunk"]]
    judged = times * adversarial * Adversarial(discriminator, objective)
    loss = perceptual(run, layer) + judged + pixel * L1()
    run.fit(
        model,
        loss,
        run.crops(SCALE),
        rate=Multistep(plan["gan_rate"], at=(0.125, 0.25, 0.5, 0.75)),
        stage="gan",
        validate_every=plan["gan_steps"] // 8 or 1,
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def perceptual(run: RecipeRun, layer: str) -> Content:
    """ESRGAN's content loss: L1 at conv5_4 or, as before ESRGAN, after its ReLU."""
    trunk = run.plan["trunk"]
    if trunk == "random":
        return content("esrgan", "random")
    unit = 1.0 if trunk == "torchvision" else "rms"
    return Content(features.vgg19(trunk), {layer: 1.0}, criterion="l1", unit=unit)


def beginning(run: RecipeRun, start: float, scaling: float) -> nn.Module:
    """The first steps of a deep trunk: weights at `start` times He's, residuals times `scaling`.

    The paper has 0.1 and 0.2, for without them so deep a network does not train (Sec. 3.1).
    """
    deep = run.plan["network"] | {"blocks": run.plan["start_blocks"]}
    model = run.build(partial(RRDBNet, SCALE, **deep))
    for part in model.RRDB_trunk.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data *= start / 0.1
        elif isinstance(part, RDB | RRDB):
            part.register_forward_hook(partial(rescale, scaling))
    often = {"validate_every": run.plan["start_steps"] // 10 or 1}
    rate = Constant(run.plan["rate"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate, stage="start", **often)
    return model


def rescale(scaling: float, block: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """A forward hook: x + 0.2 f(x) -> x + scaling f(x)."""
    (x,) = inputs
    return x + scaling / 0.2 * (output - x)


second = partial(against_discriminator, start="psnr", network=rrdb)
standard = partial(second, objective=Standard(), times=2)
relativistic = partial(second, objective=RelativisticAverage())

VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "esrgan": partial(relativistic, layer="conv5_4"),
    "psnr": partial(psnr, network=rrdb),
    "psnr-bn": partial(psnr, network=srresnet),
    # the paper's ladder (its Fig. 8) down to SRGAN: one more change is taken back in each
    "standard": partial(standard, layer="conv5_4"),
    "standard-after": partial(standard, layer="relu5_4"),
    "standard-after-bn": partial(standard, layer="relu5_4", start="psnr-bn", network=srresnet),
    # features alone
    "after": partial(relativistic, layer="relu5_4"),
    **{
        f"start-{start:g}-scaling-{scaling:g}": partial(beginning, start=start, scaling=scaling)
        for start in (0.1, 0.3, 1)
        for scaling in (0.2, 0.5, 1)
    },
}

CLAIMS = (
    Claim("RRDBs without batch norm beat residual blocks with it", "psnr", "psnr-bn"),
    Claim("the adversarial stage costs PSNR", "esrgan", "psnr", sign=-1),
    Claim("the adversarial stage looks better", "esrgan", "psnr", "lpips", -1, "Set14"),
    Claim("a relativistic discriminator looks better", "esrgan", "standard", "lpips", -1, "Set14"),
    Claim("features before activation look better", "esrgan", "after", "lpips", -1, "Set14"),
)
