"""How SRGAN is trained, and what each loss makes of one and the same network.

The paper (Ledig et al., 2017): 350,000 pictures of ImageNet, x4, HR crops of 96, batch 16, Adam.
First squared error at 1e-4, 1e6 updates; from there squared error of VGG-19's features / 12.75 +
1e-3 adversarial, 1e5 updates at 1e-4 and 1e5 at 1e-5. Squared error is of pictures in [-1, 1].

    srkit train srgan --variant mse           the start of all others
    srkit train srgan                         features after conv5_4, and a discriminator
    srkit train srgan --variant gan           squared error and a discriminator
    srkit reproduce srgan                     everything below, and the cards

Every other variant goes on from the weights of "mse", on the same crops, with another loss;
"mse-on" keeps to squared error. The small budgets train MSRResNet, which is SRResNet without batch
norm and with a bilinear shortcut: in minutes the paper's network gets less far ("srresnet").
Differs: but for `paper`, the rate of the first stage is halved after each fifth; short runs need
that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import (
    L1,
    MSE,
    DynamicWeightAverage,
    GradientBalance,
    Sum,
    Term,
    TotalVariation,
    Uncertainty,
    content,
    style,
)
from srkit.losses.adversarial import Adversarial
from srkit.losses.balance import Factors
from srkit.losses.objectives import Standard
from srkit.metrics import features
from srkit.models.srresnet import Discriminator, MSRResNet, SRResNet
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.loop import adam
from srkit.training.schedules import Halving, Multistep

SCALE = 4

# "mse" is trained for `steps`, what starts from it for `turn_steps`, on crops of its own: VGG-19
# costs six times the small network. unit: what features are divided by; "rms" makes losses of all
# layers alike in size.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "trunk": "random", "unit": "rms",
        "generator": "msrresnet", "network": {"channels": 8, "blocks": 1},
        "discriminator": {"channels": 4, "hidden": 8},
        "steps": 4, "batch": 2, "patch": 16, "rate": 1e-3,
        "turn_steps": 2, "turn_patch": 16, "turn_rate": 2e-4, "from_scratch": True,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14"), "lpips": True,
        "validate_every": 500, "trunk": "oxford", "unit": "rms",
        "generator": "msrresnet", "network": {"channels": 32, "blocks": 6},
        "discriminator": {"channels": 16, "hidden": 64},
        "steps": 2500, "batch": 8, "patch": 24, "rate": 1e-3,
        "turn_steps": 500, "turn_patch": 16, "turn_rate": 2e-4,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford", "unit": "rms",
        "generator": "msrresnet", "network": {"channels": 64, "blocks": 16},
        "discriminator": {"channels": 64, "hidden": 1024},
        "steps": 100_000, "batch": 16, "patch": 24, "rate": 2e-4,
        "turn_steps": 40_000, "turn_patch": 24, "turn_rate": 1e-4,
    },
    "paper": {
        "data": "ImageNet", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford", "unit": 12.75,
        "generator": "srresnet", "network": {"channels": 64, "blocks": 16},
        "discriminator": {"channels": 64, "hidden": 1024},
        "steps": 1_000_000, "batch": 16, "patch": 24, "rate": 1e-4, "halved_every": 1.0,
        "turn_steps": 200_000, "turn_patch": 24, "turn_rate": 1e-4,
        # of the loss as published: squared error 4 times that of [0, 1], TV from sum to mean
        "losses": {
            "vgg22": {"vgg22": 1, "TV": 3e-3}, "vgg54": {"vgg54": 1},
            "gan": {"MSE": 4, "adversarial": 1e-3},
            "vgg22-gan": {"vgg22": 1, "adversarial": 1e-3},
            "srgan": {"vgg54": 1, "adversarial": 1e-3},
        },
    },
}  # fmt: skip

# The paper's comparison of its losses, on two sets, and its final results.
PAPER = {
    "mse": {"Set5": {"psnr": 32.05}, "Set14": {"psnr": 28.49}, "BSD100": {"psnr": 27.58}},
    "vgg22": {"Set5": {"psnr": 30.51}, "Set14": {"psnr": 27.19}},
    "gan": {"Set5": {"psnr": 30.64}, "Set14": {"psnr": 26.92}},
    "vgg22-gan": {"Set5": {"psnr": 29.84}, "Set14": {"psnr": 26.44}},
    "srgan": {"Set5": {"psnr": 29.40}, "Set14": {"psnr": 26.02}, "BSD100": {"psnr": 25.16}},
}

# Mean opinion scores there: 26 people, grades of 1 to 5.
GRADES = {
    "mse": {"Set5": 3.37, "Set14": 2.98},
    "vgg22": {"Set5": 3.46, "Set14": 3.15},
    "gan": {"Set5": 3.77, "Set14": 3.43},
    "vgg22-gan": {"Set5": 3.78, "Set14": 3.57},
    "srgan": {"Set5": 3.58, "Set14": 3.72},
}

# Weights of the terms, where features have an rms of 1. Beside MSE and vgg22 the adversarial term
# pulls about half as hard at the weights of "mse" as the rest of the loss (its gradient is 2.7 long
# for a young discriminator, that of MSE 0.0017, of vgg22 0.16). Beside vgg54, whose gradient of 8
# is mostly the noise of single batches, a tenth as hard: with a third, texture turned into worms.
LOSSES: dict[str, dict[str, float]] = {
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


def network(run: RecipeRun) -> nn.Module:
    make = {"msrresnet": MSRResNet, "srresnet": SRResNet}[run.plan["generator"]]
    return make(SCALE, **run.plan["network"])


def srresnet(run: RecipeRun) -> SRResNet:
    return SRResNet(SCALE, **run.plan["network"])


def first(run: RecipeRun, make: Callable[[RecipeRun], nn.Module]) -> nn.Module:
    """Squared error, from random weights."""
    model = run.build(partial(make, run))
    rate = Halving(run.plan["rate"], every=run.plan.get("halved_every", 0.2))
    run.fit(model, MSE(), run.crops(SCALE), rate=rate)
    return model


def turn(run: RecipeRun, loss: str) -> nn.Module:
    """From the weights of "mse" to what another loss wants."""
    model = run.trained("mse", network(run))
    second(run, model, total(run, loss))
    return model


def second(run: RecipeRun, model: nn.Module, loss: Sum, **how) -> None:
    """The rate is a tenth in the second half, as in the paper."""
    plan = run.plan
    run.fit(
        model,
        loss,
        run.crops(SCALE),
        rate=Multistep(plan["turn_rate"], at=(0.5,), factor=0.1),
        stage="turn",
        from_scratch=plan.get("from_scratch", False),
        **{"validate_every": plan["turn_steps"] // 5 or 1} | how,
    )


def total(run: RecipeRun, loss: str) -> Sum:
    """A loss of LOSSES, or as the plan has it."""
    weights = run.plan.get("losses", {}).get(loss, LOSSES[loss])
    return Sum([(weight, term(run, name)) for name, weight in weights.items()])


def term(run: RecipeRun, name: str) -> Term:
    """A term of LOSSES, by its name there."""
    plan = run.plan
    if name == "adversarial":
        size = SCALE * plan["turn_patch"]
        discriminator = run.build(partial(Discriminator, size, **plan["discriminator"]))
        return Adversarial(discriminator, Standard())
    if name in ("MSE", "L1", "TV"):
        return {"MSE": MSE, "L1": L1, "TV": TotalVariation}[name]()
    extractor = plan["trunk"] if plan["trunk"] == "random" else features.vgg19(plan["trunk"])
    if name == "style":
        return style("enhancenet", extractor)
    return content(f"srgan_{name}", extractor, unit=plan["unit"])


def adaptive(run: RecipeRun, loss: str, make: Callable[..., Factors]) -> nn.Module:
    """The same with a balance of the terms; its factors are in the history."""
    model, terms = run.trained("mse", network(run)), total(run, loss)
    balance = make(run, list(terms.terms), model)
    optimizer = adam(model)
    if learned := list(balance.parameters()):
        optimizer.add_param_group({"params": learned, "share": 50})
    every = run.plan["turn_steps"] // 20 or 1
    balanced = terms.balanced(balance)
    second(run, model, balanced, optimizer=optimizer, validate_every=every)
    return model


def uncertainty(run: RecipeRun, labels: list[str], model: nn.Module) -> Uncertainty:
    return Uncertainty(labels)


def average(run: RecipeRun, labels: list[str], model: nn.Module) -> DynamicWeightAverage:
    return DynamicWeightAverage(labels, every=run.plan["turn_steps"] // 20 or 1)


def gradient(run: RecipeRun, labels: list[str], model: nn.Module) -> GradientBalance:
    """Its term then pulls at the last layer as hard as the others together, times its weight."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
    return GradientBalance("adversarial", last.weight)


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    **{loss: partial(turn, loss=loss) for loss in LOSSES},
    "mse": partial(first, make=network),
    "srresnet": partial(first, make=srresnet),
    "three-uncertainty": partial(adaptive, loss="three", make=uncertainty),
    "three-average": partial(adaptive, loss="three", make=average),
    "three-gradient": partial(adaptive, loss="three-gradient", make=gradient),
}

CLAIMS = (
    Claim("the full loss costs PSNR", "srgan", "mse", sign=-1),
    Claim("the full loss looks better", "srgan", "mse", "lpips", -1, "Set14"),
    Claim("features of VGG22 cost PSNR", "vgg22", "mse", sign=-1),
    Claim("a discriminator beside squared error costs PSNR", "gan", "mse", sign=-1),
    Claim("a discriminator beside squared error looks better", "gan", "mse", "lpips", -1, "Set14"),
    Claim(
        "VGG54 with a discriminator looks better than without",
        "srgan",
        "vgg54",
        "lpips",
        -1,
        "Set14",
    ),
    Claim("with a discriminator VGG54 beats VGG22", "srgan", "vgg22-gan", "lpips", -1, "Set14"),
    Claim("it is the loss, not longer training", "srgan", "mse-on", "lpips", -1, "Set14"),
)
