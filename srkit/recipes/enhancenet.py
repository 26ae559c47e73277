"""How EnhanceNet is trained: one network, its losses one by one.

The paper (Sajjadi et al., 2017): 200,000 squares of MSCOCO, reduced to 256x256, x4, HR crops of
128, Adam at 1e-4; batch and length are not given. Each variant is the same network with another
loss: E squared error, P perceptual, A adversarial, T texture, and what their letters spell.

    srkit train enhancenet --variant e        squared error: the best PSNR
    srkit train enhancenet                    PAT: the most natural pictures
    srkit train enhancenet --variant pat-4    texture in patches of 4x4 instead of 16x16
    srkit reproduce enhancenet                everything below, and the cards

Differs: all others start from the weights of E, as the adversarial ones do in the paper, because
losses of features are slow to teach what squared error teaches fast; but for `paper`, E's rate is
halved after each fifth, and in the small budgets that of the others, too: at a steady one a
discriminator would send the network now here, now there. The paper's discriminator pauses when it
gets too good (`losses.adversarial.DiscriminatorGate`); here not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import MSE, Style, Sum, Term, content
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.losses.perceptual import stand_in
from srkit.losses.texture import SETUPS
from srkit.metrics import features
from srkit.models.enhancenet import Discriminator, EnhanceNet
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Halving

SCALE = 4

# E is trained for `steps`, what starts from it for `turn_steps`, on crops of its own: VGG-19 costs
# ten times the small network. The authors' VGG-19 is Oxford's.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "trunk": "random",
        "network": {"channels": 8, "blocks": 1}, "discriminator": (4, 8),
        "steps": 4, "batch": 2, "patch": 16, "rate": 1e-3,
        "turn_steps": 2, "turn_patch": 16, "turn_rate": 2e-4, "turn_halved_every": 0.2,
        "from_scratch": True,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14"), "lpips": True,
        "validate_every": 500, "trunk": "oxford",
        "network": {"channels": 32, "blocks": 4}, "discriminator": (16, 32, 64, 128),
        "steps": 3000, "batch": 8, "patch": 24, "rate": 1e-3,
        "turn_steps": 500, "turn_patch": 16, "turn_rate": 2e-4, "turn_halved_every": 0.2,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford",
        "network": {"channels": 64, "blocks": 10}, "discriminator": (32, 64, 128, 256, 512),
        "steps": 100_000, "batch": 16, "patch": 32, "rate": 1e-4,
        "turn_steps": 50_000, "turn_patch": 32, "turn_rate": 1e-4, "turn_halved_every": 1.0,
    },
    "paper": {
        "data": "MSCOCO", "tests": ("Set5", "Set14", "BSD100"), "lpips": True,
        "validate_every": 5000, "trunk": "oxford",
        "network": {"channels": 64, "blocks": 10}, "discriminator": (32, 64, 128, 256, 512),
        "steps": 500_000, "batch": 16, "patch": 32, "rate": 1e-4, "halved_every": 1.0,
        "turn_steps": 500_000, "turn_patch": 32, "turn_rate": 1e-4, "turn_halved_every": 1.0,
        "losses": {  # the supplement's Table 2
            "pat": {"perceptual": 1, "adversarial": 2, "texture": 1},
            "ea": {"squared error": 1, "adversarial": 1},
            "pa": {"perceptual": 1, "adversarial": 1},
        },
    },
}  # fmt: skip

# E by the paper; PAT by the table of NatSR (Soh et al., CVPR 2019).
PAPER = {
    "e": {"Set5": {"psnr": 31.74}, "Set14": {"psnr": 28.42}, "BSD100": {"psnr": 27.50}},
    "pat": {"Set5": {"psnr": 28.56}, "Set14": {"psnr": 25.67}, "BSD100": {"psnr": 24.93}},
}

# Weights of the terms; those of layers are the paper's, in srkit.losses. By the adversarial ones a
# discriminator that has learned nothing yet pulls at E's weights not a tenth as hard as features
# do, and a fifth as hard as squared error; at the paper's, ten times as large, it would lead all
# the way.
LOSSES: dict[str, dict[str, float]] = {
    "pat": {"perceptual": 1, "adversarial": 0.2, "texture": 1},
    "p": {"perceptual": 1},
    "ea": {"squared error": 1, "adversarial": 2e-3},
    "pa": {"perceptual": 1, "adversarial": 0.1},
}
PATCH = 16  # of texture, in pixels of a layer's features


def network(run: RecipeRun) -> EnhanceNet:
    return EnhanceNet(SCALE, **run.plan["network"])


def e(run: RecipeRun) -> nn.Module:
    """Squared error, from random weights."""
    model = run.build(partial(network, run))
    rate = Halving(run.plan["rate"], every=run.plan.get("halved_every", 0.2))
    run.fit(model, MSE(), run.crops(SCALE), rate=rate)
    return model


def turn(run: RecipeRun, loss: str, patch: int | None = PATCH) -> nn.Module:
    """From the weights of E to what another loss wants."""
    plan, model = run.plan, run.trained("e", network(run))
    weights = plan.get("losses", {}).get(loss, LOSSES[loss])
    run.fit(
        model,
        Sum([(weight, term(run, name, patch)) for name, weight in weights.items()]),
        run.crops(SCALE),
        rate=Halving(plan["turn_rate"], every=plan["turn_halved_every"]),
        stage="turn",
        validate_every=plan["turn_steps"] // 5 or 1,
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def term(run: RecipeRun, name: str, patch: int | None) -> Term:
    """A term of LOSSES, by its name there."""
    if name == "squared error":
        return MSE()
    if name == "adversarial":
        size, widths = SCALE * run.plan["turn_patch"], run.plan["discriminator"]
        return Adversarial(run.build(partial(Discriminator, size, widths)), Standard())
    trunk = run.plan["trunk"]
    extractor = trunk if trunk == "random" else features.vgg19(trunk)
    return content("enhancenet", extractor) if name == "perceptual" else texture(extractor, patch)


def texture(extractor: features.Extractor | str, patch: int | None) -> Style:
    """The paper's texture loss, with patches of other sizes too; None: whole crops.

    Its Gram matrices grow with the patch. Here they are divided by their size, and the weights
    multiplied by that of the paper's 16x16 patches, squared: the same loss there, and one that
    counts as much for any other patch.
    """
    extractor, weights, unit = stand_in(extractor, SETUPS["enhancenet"])
    sizes = {name: 16 * 16 * extractor.body[name.replace("relu", "conv")].out_channels
             for name in weights}  # fmt: skip
    weights = {name: weight * sizes[name] ** 2 for name, weight in weights.items()}
    return Style(extractor, weights, patch=patch, normalise=True, unit=unit)


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "pat": partial(turn, loss="pat"),
    "e": e,
    "p": partial(turn, loss="p"),
    "ea": partial(turn, loss="ea"),
    "pa": partial(turn, loss="pa"),
    "pat-4": partial(turn, loss="pat", patch=4),
    "pat-8": partial(turn, loss="pat", patch=8),
    "pat-whole": partial(turn, loss="pat", patch=None),
}

CLAIMS = (
    Claim("the full loss costs PSNR", "pat", "e", sign=-1),
    Claim("the full loss looks better", "pat", "e", "lpips", -1, "Set14"),
    Claim("features alone already cost PSNR", "p", "e", sign=-1),
    Claim("features alone look better", "p", "e", "lpips", -1, "Set14"),
    Claim("discriminator and texture add to features", "pat", "p", "lpips", -1, "Set14"),
    Claim("the texture term adds to features and discriminator", "pat", "pa", "lpips", -1, "Set14"),
    Claim("patches of 16 beat whole crops", "pat", "pat-whole", "lpips", -1, "Set14"),
    Claim("patches of 16 beat patches of 4", "pat", "pat-4", "lpips", -1, "Set14"),
)
