"""How SFTGAN is trained, and whether it helps to be told what is where.

The paper (Wang, Yu, Dong and Loy, 2018), by the authors' later code: x4, pictures of outdoor
scenes, one class each, HR crops of 96, batch 16. First a network without SFT, for PSNR and then as
SRGAN; SFT goes in; Adam at 1e-4, 5e-4 for what is new, the rest held still for 20,000 of 600,000
steps; content at conv5_4 + 5e-3 (adversarial + class). Rates halved at 50k, 100k, 150k, 200k.
Differs: the pictures are made by code (`srkit.datasets.priors`), for the authors' set has no home
that stays, and so small that the class alone tells what a texture was; SFT goes in before the
adversarial stage, with L1, so that each variant has a twin for PSNR.

    srkit train sftgan --variant trunk        the network that is not told
    srkit train sftgan --variant sft          told by modulation, L1
    srkit train sftgan                        and against a discriminator that names the class
    srkit reproduce sftgan                    everything below, and the cards

Measured on pictures of other seeds: told right, told wrong (one texture for another), not told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from srkit.datasets.priors import TEXTURES, Priors, one_hot, textures
from srkit.image.resize import imresize
from srkit.image.tensors import round_8bit
from srkit.losses import L1, ClassAdversarial, content
from srkit.metrics import features
from srkit.metrics.lpips import lpips
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models.sftgan import SFT, SFTGAN, Discriminator
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.run import data_facts
from srkit.training.schedules import Constant, Halving, Multistep, Warmup
from srkit.training.starts import hand_through

SCALE = 4
LEARNS_FROM = "textures made with their maps"
TESTS = ("told right", "told wrong", "not told")

# "trunk" takes `steps`; what it is told is learned in `frozen_steps`, by the new layers alone, and
# `told_steps`, by all; then come `gan_steps`. pictures: how many, and of how many pixels a side.
# start "picture": see `srkit.training.starts`. How long the paper's trunk trained is not known.
BUDGETS = {
    "smoke": {
        "data": "textures", "pictures": (4, 64), "tests": (), "trunk": "random",
        "warmup": 0.03, "start": "picture",
        "network": {"channels": 8, "blocks": 1, "conditions": 4, "width": 8},
        "discriminator": {"width": 4}, "steps": 4, "batch": 2, "patch": 16, "rate": 1e-3,
        "frozen_steps": 1, "told_steps": 2, "told_rate": 5e-4,
        "gan_steps": 2, "gan_rate": 2e-4, "gan_at": (0.5,), "from_scratch": True,
    },
    "laptop": {
        "data": "textures", "pictures": (200, 128), "tests": TESTS, "lpips": True,
        "trunk": "oxford", "warmup": 0.03, "start": "picture",
        "network": {"channels": 32, "blocks": 4, "conditions": 16, "width": 32},
        "discriminator": {"width": 16}, "steps": 2500, "batch": 8, "patch": 16, "rate": 1e-3,
        "frozen_steps": 100, "told_steps": 2400, "told_rate": 5e-4,
        "gan_steps": 300, "gan_rate": 2e-4, "gan_at": (1 / 12, 1 / 6, 1 / 4, 1 / 3),
    },
    "gpu": {
        "data": "textures", "pictures": (1000, 128), "tests": TESTS, "lpips": True,
        "validate_every": 1000, "trunk": "oxford", "warmup": 0, "start": "random",
        "network": {}, "discriminator": {},
        "steps": 20_000, "batch": 16, "patch": 24, "rate": 1e-4,
        "frozen_steps": 1000, "told_steps": 20_000, "told_rate": 5e-5,
        "gan_steps": 10_000, "gan_rate": 1e-4, "gan_at": (1 / 12, 1 / 6, 1 / 4, 1 / 3),
    },
    "paper": {
        "data": "OutdoorScene", "pictures": (10_324, 96), "tests": TESTS, "lpips": True,
        "validate_every": 5000, "trunk": "torchvision", "warmup": 0, "start": "random",
        "network": {"channels": 64, "blocks": 16, "conditions": 32, "width": 128}, "discriminator":
        {}, "steps": 1_000_000, "batch": 16, "patch": 24, "rate": 1e-4, "frozen_steps": 20_000,
        "told_steps": 0, "told_rate": 1e-4, "gan_steps": 580_000, "gan_rate": 1e-4, "gan_at": (3 /
        58, 8 / 58, 13 / 58, 18 / 58),
    },
}  # fmt: skip

PAPER: dict[str, dict] = {}  # user studies, no figures

# Of the adversarial term and of L1 beside content of weight 1: the paper's, and those for a trunk
# whose features have an rms of 1: with those a young discriminator pulls a quarter as hard as
# content.
WEIGHTS = {"torchvision": (5e-3, 0.0), "oxford": (0.15, 1.0), "random": (0.15, 1.0)}


def network(run: RecipeRun, by: str) -> SFTGAN:
    """by: as SFTGAN's, or "none", whose channels for a prior are dead: 0 in and 0 weights."""
    how = run.plan["network"] | {"classes": len(TEXTURES)}
    model = SFTGAN(SCALE, **how, by="concat" if by == "none" else by)
    if by == "none":
        model.conv0.weight.data[:, 3:] = 0
    return model


def trunk(run: RecipeRun) -> nn.Module:
    """The first stage: L1, the rate halved after each fifth."""
    model = run.build(partial(network, run, "none"))
    if run.plan["start"] == "picture":
        tail = [(layer, 1) for layer in model.HR_branch if isinstance(layer, nn.Conv2d)]
        hand_through(model.conv0, [model.sft_branch[-1]], tail)
    rate = Warmup(Halving(run.plan["rate"], every=0.2), run.plan["warmup"])
    run.fit(model, L1(), crops(run), rate=rate, forward=partial(enlarge, by="none"))
    return model


def told(run: RecipeRun, by: str) -> nn.Module:
    """The second: what it is told goes in (Sec. 3.2), and it learns to make use of it."""
    plan, model = run.plan, run.build(partial(network, run, by))
    insert(model, run.trained("trunk", network(run, "none")))
    new = added(model)
    rates = {"frozen": Constant(plan["told_rate"]), "told": Halving(plan["told_rate"], every=0.2)}
    for stage, rate in rates.items():
        steps = plan[f"{stage}_steps"]
        if not new:  # no less training for those who have nothing to learn first
            steps = 0 if stage == "frozen" else steps + plan["frozen_steps"]
        if steps == 0:
            continue
        model.requires_grad_(stage == "told")
        for p in new:
            p.requires_grad_(True)
        how = {"steps": steps} if not new else {"stage": stage}
        forward, adam = partial(enlarge, by=by), optimizer(model)
        run.fit(model, L1(), crops(run), rate=rate, forward=forward, optimizer=adam, **how)
    return model


@torch.no_grad()
def insert(model: SFTGAN, trunk: SFTGAN) -> None:
    """The trunk's weights; SFT layers nearly gamma = 1, beta = 0, so that they change little."""
    state = trunk.state_dict()
    state["conv0.weight"] = state["conv0.weight"][:, : model.conv0.in_channels]
    model.load_state_dict(state, strict=False)
    for layer in model.modules():
        if isinstance(layer, SFT):
            layer.SFT_scale_conv1.weight.mul_(0.1)
            layer.SFT_shift_conv1.weight.mul_(0.1)
            layer.SFT_shift_conv1.bias.zero_()


def optimizer(model: nn.Module) -> torch.optim.Adam:
    """Adam, five times as fast for what was put in as for the trunk."""
    new = added(model)
    known = set(new)  # in the model's order, by which a checkpoint knows them
    old = [p for p in model.parameters() if p.requires_grad and p not in known]
    groups = [{"params": old}, {"params": new, "share": 5}]
    return torch.optim.Adam([g for g in groups if g["params"]], fused=True)


def added(model: nn.Module) -> list[nn.Parameter]:
    """What modulation adds to the trunk."""
    return [p for name, p in model.named_parameters() if "SFT_" in name or "CondNet" in name]


def against_discriminator(run: RecipeRun, by: str, start: str) -> nn.Module:
    """The third (Sec. 3.3): content, and a discriminator that also says which texture it sees."""
    plan, size = run.plan, SCALE * run.plan["patch"]
    model = run.trained(start, network(run, by))
    judge = partial(Discriminator, size=size, classes=len(TEXTURES), **plan["discriminator"])
    adversarial, pixel = WEIGHTS[plan["trunk"]]
    extractor = plan["trunk"] if plan["trunk"] == "random" else features.vgg19(plan["trunk"])
    loss = content("sftgan", extractor) + adversarial * ClassAdversarial(run.build(judge))
    run.fit(
        model,
        loss + pixel * L1() if pixel else loss,
        crops(run),
        rate=Multistep(plan["gan_rate"], at=plan["gan_at"]),
        stage="gan",
        forward=partial(enlarge, by=by, category=True),
        optimizer=optimizer(model),
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def enlarge(network: nn.Module, data: dict, by: str, category: bool = False) -> tuple[Tensor, dict]:
    """A batch of `Priors` -> sr, and the class for a discriminator that asks."""
    prior = torch.zeros_like(data["prior"]) if by == "none" else data["prior"]
    return network(data["lr"], prior), {"category": data["category"]} if category else {}


def crops(run: RecipeRun) -> Priors:
    """Crops with their maps; the pictures' hash goes into the record."""
    if run.plan["data"] != "textures":
        raise ValueError(
            f"data {run.plan['data']!r}: that set has no home that stays, and none is read here; "
            "the other budgets train on textures, with maps to tell the network"
        )
    pictures, labels = made(*run.plan["pictures"], seed=0)
    run.facts["data"] = data_facts(run.plan["data"], pictures)
    return Priors(pictures, labels, classes=len(TEXTURES), scale=SCALE)


@cache
def made(count: int, size: int, seed: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Pictures and labels."""
    pictures, labels = zip(*(textures(size, (seed, k)) for k in range(count)), strict=True)
    return pictures, labels


def held_out(test: str) -> tuple[Tensor, Tensor, Tensor]:
    """Twelve pictures that none was trained on: LR, HR, and what the network is told."""
    pictures, labels = (torch.stack(each) for each in made(12, 128, seed=1))
    if test == "not told":
        labels = torch.zeros_like(labels)
    elif test == "told wrong":  # the texture after the next; plain stays plain
        labels = torch.where(labels > 0, (labels + 1) % 4 + 1, 0)
    lr = imresize(pictures, 1 / SCALE) / 255
    return lr, pictures / 255, one_hot(labels, len(TEXTURES))


@torch.inference_mode()
def measure(run: RecipeRun, model: nn.Module, test: str) -> dict[str, float]:
    """PSNR and SSIM of Y, LPIPS of RGB: the means over the held-out pictures."""
    device = next(model.parameters()).device
    lr, hr, prior = (x.to(device) for x in held_out(test))
    sr = round_8bit(model(lr, prior))
    found = {
        "psnr": psnr(sr, hr, on="y", shave=SCALE),
        "ssim": ssim(sr, hr, on="y", shave=SCALE),
    }
    if run.plan.get("lpips"):
        found["lpips"] = lpips(sr, hr)
    return {name: values.mean().item() for name, values in found.items()}


def samples(run: RecipeRun) -> dict[str, Callable[[nn.Module], Tensor]]:
    """The first held-out picture, told each way."""

    def sample(model: nn.Module, test: str) -> Tensor:
        lr, _, prior = (x[:1].to(next(model.parameters()).device) for x in held_out(test))
        with torch.inference_mode():
            return model(lr, prior)[0].cpu()

    return {test.replace(" ", "-"): partial(sample, test=test) for test in run.plan["tests"]}


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "sftgan": partial(against_discriminator, by="sft", start="sft"),
    "trunk": trunk,
    **{by: partial(told, by=by) for by in ("sft", "concat", "film", "none")},
    **{
        f"{by}-gan": partial(against_discriminator, by=by, start=by)
        for by in ("concat", "film", "none")
    },
}

RIGHT, WRONG, _ = TESTS
CLAIMS = (
    Claim("told what is where it looks better", "sftgan", "none-gan", "lpips", -1, RIGHT),
    Claim("told wrong it draws something else", "sftgan", "none-gan", "lpips", 1, WRONG),
    Claim(
        "told right it looks better than told wrong",
        "sftgan", "sftgan", "lpips", -1, RIGHT, against_test=WRONG,
    ),
    Claim("modulation looks better than more channels", "sftgan", "concat-gan", "lpips", -1, RIGHT),
    Claim("a map looks better than its mean", "sftgan", "film-gan", "lpips", -1, RIGHT),
    Claim("with L1 alone, too, it helps to be told", "sft", "none", test=RIGHT),
    Claim("with L1 alone modulation is no worse", "sft", "concat", sign=0, test=RIGHT),
    Claim("features and discriminator look better than L1", "sftgan", "sft", "lpips", -1, RIGHT),
)  # fmt: skip
