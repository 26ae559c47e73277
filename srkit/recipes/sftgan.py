"""How SFTGAN is trained, and whether it helps to be told what is where.

The paper (Wang, Yu, Dong and Loy, 2018), by the authors' later code: x4, pictures of outdoor
scenes, one class each, HR crops of 96, batch 16. A network without SFT is trained for PSNR, then as
SRGAN is. SFT goes in, and all losses follow: content at conv5_4 + 5e-3 (adversarial + class). Adam
at 1e-4, and at 5e-4 for what is new; for 20,000 of 600,000 steps nothing else learns. Rates are
halved at 50k, 100k, 150k and 200k.
Differs: the pictures are made by code (`srkit.datasets.priors`), because the authors' set has no
home that stays. Of what a texture was, the small picture keeps a little and the class tells the
rest: a network told nothing beats the mean of all kinds, and one told right beats both by far. SFT
learns with L1 first, and against the discriminator after that, so that each variant has a twin for
PSNR.

    srkit train sftgan --variant trunk        the network that is told nothing
    srkit train sftgan --variant sft          told by modulation, L1
    srkit train sftgan                        and against a discriminator that names the class
    srkit reproduce sftgan                    everything below, and the cards

Each network is measured on pictures of other seeds, told right, told wrong (one texture for
another), and told nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from srkit.calls import Call
from srkit.datasets.priors import TEXTURES, Priors, one_hot, textures
from srkit.image.resize import imresize
from srkit.image.tensors import round_8bit
from srkit.losses import L1, ClassAdversarial, content
from srkit.metrics.features import vgg19
from srkit.metrics.lpips import lpips
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models.network import Network
from srkit.models.sftgan import SFT, SFTGAN, Discriminator
from srkit.recipes.base import LoopBudget, Recipe
from srkit.recipes.run import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through
from srkit.training.loop import Batch
from srkit.training.schedules import Constant, Halving, Multistep, Schedule, Warmup
from srkit.training.stage import After, Continued, Loss, Prepared, Stage, loss_of

SCALE = 4
TESTS = ("told right", "told wrong", "not told")


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of SFTGAN's stages.

    - pictures, side: how many pictures there are to learn from, and of how many pixels a side.
    - steps, rate, start: of the trunk.
    - frozen_steps, frozen_rate: where the new layers learn alone.
    - told_steps, told_rate: where all learn, with L1, to make use of what they are told. 0 steps:
      there is no such stage, and the new layers learn by all losses at once, as the authors' do.
    - trunk: what the content loss looks through. Beside its weight of 1 stand those of the
      adversarial term and of L1, 0 for none.
    - classes and the rest: of `SFTGAN`; discriminator: its width.
    """

    pictures: int
    side: int
    frozen_steps: int
    frozen_rate: Schedule
    told_steps: int
    told_rate: Schedule
    adversarial_steps: int
    adversarial_rate: Schedule
    trunk: Call | str
    adversarial_weight: float
    pixel_weight: float
    from_scratch: bool = False
    channels: int = 64
    blocks: int = 16
    conditions: int = 32
    width: int = 128
    classes: int = len(TEXTURES)
    discriminator: int = 64


def begin_as_enlargement(network: SFTGAN) -> None:
    """Let channels 0, 1, 2 carry the picture: see `srkit.training.enlargement`."""
    tail = [(layer, 1) for layer in network.HR_branch if isinstance(layer, nn.Conv2d)]
    hand_through(network.conv0, [network.sft_branch[-1]], tail)


ENLARGEMENT = Prepared(Call(begin_as_enlargement))

# How long the paper's trunk trained is not known. With the paper's weights and a trunk whose
# features have an rms of 1, a young discriminator pulls a quarter as hard as content.
BUDGETS = {
    "smoke": Budget(
        data="textures", pictures=4, side=64, tests=(), start=ENLARGEMENT,
        channels=8, blocks=1, conditions=4, width=8, discriminator=4,
        steps=4, batch=2, patch=16, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        frozen_steps=1, frozen_rate=Constant(5e-4),
        told_steps=2, told_rate=Halving(5e-4, every=0.2),
        adversarial_steps=2, adversarial_rate=Multistep(2e-4, at=(0.5,)),
        trunk="random", adversarial_weight=0.15, pixel_weight=1.0, from_scratch=True,
    ),
    "laptop": Budget(
        data="textures", pictures=200, side=128, tests=TESTS, lpips=True, start=ENLARGEMENT,
        channels=32, blocks=4, conditions=16, width=32, discriminator=16,
        steps=2500, batch=8, patch=16, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        frozen_steps=100, frozen_rate=Constant(5e-4),
        told_steps=2400, told_rate=Halving(5e-4, every=0.2),
        adversarial_steps=300, adversarial_rate=Multistep(2e-4, at=(1 / 12, 1 / 6, 1 / 4, 1 / 3)),
        trunk=Call(vgg19, lineage="oxford"), adversarial_weight=0.15, pixel_weight=1.0,
    ),
    "gpu": Budget(
        data="textures", pictures=1000, side=128, tests=TESTS, lpips=True,
        steps=20_000, batch=16, patch=24, rate=Halving(1e-4, every=0.2), validate_every=1000,
        frozen_steps=1000, frozen_rate=Constant(5e-5),
        told_steps=20_000, told_rate=Halving(5e-5, every=0.2),
        adversarial_steps=10_000,
        adversarial_rate=Multistep(1e-4, at=(1 / 12, 1 / 6, 1 / 4, 1 / 3)),
        trunk=Call(vgg19, lineage="oxford"), adversarial_weight=0.15, pixel_weight=1.0,
    ),
    "paper": Budget(
        data="OutdoorScene", pictures=10_324, side=96, tests=TESTS, lpips=True,
        steps=1_000_000, batch=16, patch=24, rate=Halving(1e-4, every=0.2), validate_every=5000,
        frozen_steps=20_000, frozen_rate=Constant(1e-4), told_steps=0, told_rate=Constant(1e-4),
        adversarial_steps=580_000,
        adversarial_rate=Multistep(1e-4, at=(3 / 58, 8 / 58, 13 / 58, 18 / 58)),
        trunk=Call(vgg19, lineage="torchvision"), adversarial_weight=5e-3, pixel_weight=0.0,
        classes=8,
    ),
}  # fmt: skip


def network(b: Budget, by: str | None) -> Call:
    """by: how the prior enters, as in `SFTGAN`; None for a network that is told nothing."""
    if by is None:
        return Call(untold, channels=b.channels, blocks=b.blocks, classes=b.classes)
    return Call(
        SFTGAN, scale=SCALE, channels=b.channels, blocks=b.blocks, conditions=b.conditions,
        width=b.width, classes=b.classes, by=by,
    )  # fmt: skip


def untold(channels: int, blocks: int, classes: int) -> SFTGAN:
    """The network whose prior enters as channels, with weights of 0 for it. It is given 0, too."""
    made = SFTGAN(SCALE, channels=channels, blocks=blocks, classes=classes, by="concat")
    made.conv0.weight.data[:, 3:] = 0
    return made


def pixel(b: Budget, by: str | None) -> Stage:
    """L1, from the budget's start."""
    return replace(
        b.stage("trunk", network(b, by), loss_of(L1), scale=SCALE),
        crops=Call(priors, pictures=b.pictures, side=b.side),
        forward=Call(enlarge, told=by is not None),
    )


def trunk(b: Budget) -> list[Stage]:
    """The network that is told nothing."""
    return [pixel(b, None)]


def after_trunk(b: Budget, by: str | None) -> Stage:
    """From the trunk's weights, with what is new in it (Sec. 3.2)."""
    stage = replace(
        pixel(b, by), name="told", start=After("trunk", insert=Call(insert)),
        optimizer=Call(adam_by_parts, new=5.0),
    )  # fmt: skip
    return stage if b.told_steps else with_all_losses(b, stage)


def told(b: Budget, by: str) -> list[Stage]:
    """New layers go into the trunk and learn alone; then all learn."""
    frozen = replace(
        after_trunk(b, by), name="frozen", steps=b.frozen_steps, rate=b.frozen_rate,
        freeze=Call(only_new_learns),
    )  # fmt: skip
    if b.told_steps == 0:
        return [frozen]
    all_learn = replace(
        frozen, name="told", steps=b.told_steps, rate=b.told_rate, start=Continued(),
        freeze=Call(everything_learns), series=1,
    )  # fmt: skip
    return [frozen, all_learn]


def told_at_once(b: Budget, by: str | None) -> list[Stage]:
    """As many steps for those that have no new layers, which could learn alone."""
    return [replace(after_trunk(b, by), steps=b.frozen_steps + b.told_steps, rate=b.told_rate)]


def against_discriminator(b: Budget, by: str | None, after: str) -> list[Stage]:
    """Content, and a discriminator that also says which texture it sees (Sec. 3.3)."""
    stage = replace(
        after_trunk(b, by), name="adversarial", steps=b.adversarial_steps, rate=b.adversarial_rate,
        start=After(after),
    )  # fmt: skip
    return [with_all_losses(b, stage)]


def with_all_losses(b: Budget, stage: Stage) -> Stage:
    """The stage with content, the adversarial loss of picture and class, and perhaps L1."""
    judge = Call(Discriminator, size=SCALE * b.patch, width=b.discriminator, classes=b.classes)
    terms = [
        (1.0, Call(content, name="sftgan", extractor=b.trunk)),
        (b.adversarial_weight, Call(ClassAdversarial, discriminator=judge)),
        (b.pixel_weight, Call(L1)),
    ]
    loss = Loss(tuple((weight, term) for weight, term in terms if weight))
    forward = stage.forward.but(category=True)
    return replace(stage, loss=loss, forward=forward, from_scratch=b.from_scratch)


@torch.no_grad()
def insert(network: SFTGAN, trunk: SFTGAN) -> None:
    """Put the trunk's weights in; SFT begins near gamma = 1, beta = 0, and changes little."""
    state = trunk.state_dict()
    state["conv0.weight"] = state["conv0.weight"][:, : network.conv0.in_channels]
    network.load_state_dict(state, strict=False)
    for layer in network.modules():
        if isinstance(layer, SFT):
            layer.SFT_scale_conv1.weight.mul_(0.1)
            weight, bias = layer.SFT_shift_conv1.parameters()
            weight.mul_(0.1)
            bias.zero_()


def added(network: nn.Module) -> list[nn.Parameter]:
    """What modulation adds to the trunk."""
    return [p for name, p in network.named_parameters() if "SFT_" in name or "CondNet" in name]


def only_new_learns(network: SFTGAN) -> None:
    """Keep the trunk as it is."""
    network.requires_grad_(False)
    for parameter in added(network):
        parameter.requires_grad_(True)


def everything_learns(network: SFTGAN) -> None:
    """Let the trunk learn again."""
    network.requires_grad_(True)


def adam_by_parts(network: SFTGAN, new: float) -> torch.optim.Adam:
    """Adam; what was put in learns at `new` times the rate of the trunk."""
    put_in = added(network)
    known = set(put_in)  # in the network's order, by which a checkpoint knows them
    old = [p for p in network.parameters() if p.requires_grad and p not in known]
    groups = [{"params": old}, {"params": put_in, "share": new}]
    return torch.optim.Adam([group for group in groups if group["params"]], fused=True)


def enlarge(
    network: nn.Module, batch: Batch, *, told: bool, category: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward of a network with a prior: 0 unless it is told.

    category: give the loss the class, for a discriminator that asks.
    """
    prior = batch["prior"] if told else torch.zeros_like(batch["prior"])
    return network(batch["lr"], prior), {"category": batch["category"]} if category else {}


def priors(data: str, scale: int, device: str | None, *, pictures: int, side: int) -> Priors:
    """Crops of pictures made by code, with their maps; held in the CPU's memory.

    Raises ValueError for data other than "textures".
    """
    if data != "textures":
        raise ValueError(
            f"data {data!r}: that set has no home that stays, and none is read here; "
            "the other budgets train on textures, with maps to tell the network"
        )
    made, labels = textured(pictures, side, seed=0)
    return Priors(made, labels, classes=len(TEXTURES), scale=scale)


@cache
def textured(count: int, size: int, seed: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Pictures, uint8 (3, size, size), and their labels (size, size)."""
    pictures, labels = zip(*(textures(size, (seed, k)) for k in range(count)), strict=True)
    return pictures, labels


def held_out(test: str) -> tuple[Tensor, Tensor, Tensor]:
    """Twelve pictures that no network was trained on: LR, HR, and what the network is told."""
    pictures, labels = (torch.stack(each) for each in textured(12, 128, seed=1))
    if test == "not told":
        labels = torch.zeros_like(labels)
    elif test == "told wrong":  # the texture after the next; plain stays plain
        labels = torch.where(labels > 0, (labels + 1) % 4 + 1, 0)
    lr = imresize(pictures, 1 / SCALE) / 255
    return lr, pictures / 255, one_hot(labels, len(TEXTURES))


@torch.inference_mode()
def measure(run: RecipeRun, network: Network, test: str) -> dict[str, float]:
    """PSNR and SSIM of Y, LPIPS of RGB if the budget asks: means over the held-out pictures."""
    device = next(network.parameters()).device
    lr, hr, prior = (x.to(device) for x in held_out(test))
    sr = round_8bit(network(lr, prior))
    found = {
        "psnr": psnr(sr, hr, on="y", shave=SCALE),
        "ssim": ssim(sr, hr, on="y", shave=SCALE),
    }
    if run.budget.lpips:
        found["lpips"] = lpips(sr, hr)
    each = {name: torch.as_tensor(values, device="cpu") for name, values in found.items()}
    return {name: values.mean().item() for name, values in each.items()}


def samples(run: RecipeRun, scale: int) -> dict[str, Callable[[Network], Tensor]]:
    """The first held-out picture, told each way."""

    def sample(network: Network, test: str) -> Tensor:
        lr, _, prior = (x[:1].to(next(network.parameters()).device) for x in held_out(test))
        with torch.inference_mode():
            return network(lr, prior)[0].cpu()

    return {test.replace(" ", "-"): partial(sample, test=test) for test in run.budget.tests}


RIGHT, WRONG, _ = TESTS
LOOKS = ("lpips", -1, RIGHT)  # it looks better: a lower LPIPS where it is told right

RECIPE = Recipe(
    label="SFTGAN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "sftgan": partial(against_discriminator, by="sft", after="sft"),
        "trunk": trunk,
        "sft": partial(told, by="sft"),
        "concat": partial(told_at_once, by="concat"),
        "film": partial(told, by="film"),
        "none": partial(told_at_once, by=None),
        "concat-gan": partial(against_discriminator, by="concat", after="concat"),
        "film-gan": partial(against_discriminator, by="film", after="film"),
        "none-gan": partial(against_discriminator, by=None, after="none"),
    },
    published={},  # user studies, no figures
    claims=(
        Claim("told what is where, it looks better", "sftgan", "none-gan", *LOOKS),
        Claim("told wrong, it draws something else", "sftgan", "none-gan", "lpips", 1, WRONG),
        Claim(
            "told right, it looks better than told wrong", "sftgan", "sftgan", *LOOKS,
            against_test=WRONG,
        ),
        Claim("modulation looks better than more channels", "sftgan", "concat-gan", *LOOKS),
        Claim("a map looks better than its mean", "sftgan", "film-gan", *LOOKS),
        Claim("being told helps with L1 alone, too", "sft", "none", test=RIGHT),
        Claim("with L1 alone modulation is no worse", "sft", "concat", sign=0, test=RIGHT),
        Claim("features and discriminator look better than L1", "sftgan", "sft", *LOOKS),
    ),
    learns_from="textures made with their maps",
    measure=measure,
    samples=samples,
)  # fmt: skip
