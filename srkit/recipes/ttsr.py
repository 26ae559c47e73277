"""How TTSR is trained, what each part of its texture transformer is worth, and how alike a
reference must be.

The paper (Yang et al., 2020), x4: 11,871 pairs of 160x160 pictures of CUFED, input and reference,
each flipped and turned on its own; batch 9; Adam at 1e-4, and at a tenth of it for the texture
extractor (LTE), which starts as VGG-19. TTSR-rec: L1 for 200 epochs. TTSR: L1 for 2 epochs, then
for 50 L1 + 1e-2 (perceptual + transferal) + 1e-3 adversarial, by WGAN-GP with two steps of the
discriminator for each of the generator. Pictures there go from -1 to 1: their L1 is twice the one
here.
Differs: the other budgets start all losses from the weights of "rec", the small ones at a rate that
is halved after each fifth. References are made from the pictures, where the paper's are other
photographs. In the small budgets they are turned with the crop: attention matches patches in one
position only, so of references that are turned on their own seven in eight show it nothing, and in
minutes it would learn to do without. Their small LTE starts from random filters of differences; it
knows nothing that it should keep, and learns at the whole rate.

    srkit train ttsr --variant rec      L1 alone: the best PSNR
    srkit train ttsr                    and from there with all losses
    srkit reproduce ttsr                everything below, and the cards

Each network is measured with references of five degrees of likeness, "BSD100 L1" to "BSD100 L4" and
"LR", the enlarged picture itself (`srkit.datasets.references`). Where real ones are at hand, it is
measured with those too: "CUFED5/001 1" to "5" and "self".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import torch
from torch import Tensor, nn

from srkit.calls import Call, Given
from srkit.datasets.pictures import training_pictures
from srkit.datasets.references import LEVELS, References, groups
from srkit.files import find
from srkit.image.degrade import make_lr
from srkit.image.io import read_image
from srkit.image.tensors import modcrop, round_8bit
from srkit.losses import L1, Adversarial, Transferal, Wasserstein, content
from srkit.losses.perceptual import rms
from srkit.metrics.features import vgg19
from srkit.models.network import Network
from srkit.models.ttsr import LTE, TTSR, Discriminator, MainNet, PlainNet, enlarged
from srkit.recipes import base
from srkit.recipes.base import LoopBudget, Recipe, mean_scores
from srkit.recipes.run import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through
from srkit.training.loop import Batch, adam, enlarge
from srkit.training.schedules import Constant, Halving, Schedule, Warmup
from srkit.training.stage import After, Continued, Loss, Prepared, Stage, loss_of, random_numbers

SCALE = 4
EXAMPLES = 50  # crops of a test set

LIKENESS = tuple(f"BSD100 {level}" for level in LEVELS)
PHOTOGRAPHS = tuple(f"CUFED5/001 {which}" for which in (1, 2, 3, 4, 5, "self"))


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of TTSR's stages.

    - level: how alike the references are that it learns from; "given" are the data set's own.
    - turned: each reference is flipped and turned on its own, not with its crop.
    - patch: also the side of the crops that it is measured on.
    - lte_share: the LTE's share of the learning rate.
    - warm_up_steps: L1 alone before all losses; None begins with the weights of "rec".
    - trunk: what the perceptual loss looks through. The three weights stand beside L1 of weight 2.
    - discriminator: its width.

    The stage with all losses has a length and crops of its own, because VGG-19 and the
    discriminator cost as much again.
    """

    level: str
    turned: bool
    lte_share: float
    warm_up_steps: int | None = None
    adversarial_steps: int
    adversarial_patch: int
    adversarial_rate: Schedule
    discriminator: int
    discriminator_rate: float
    trunk: Call | str
    perceptual_weight: float
    transferal_weight: float
    adversarial_weight: float
    from_scratch: bool = False
    channels: int = 64
    blocks: tuple[int, int, int, int] = (16, 16, 8, 4)
    textures: tuple[int, int, int] = (64, 128, 256)


def prepare(network: TTSR, *, enlargement: bool, vgg: str | None) -> None:
    """Set what the network begins as.

    enlargement: MainNet repeats pixels, see `srkit.training.enlargement`. vgg: the training of
    VGG-19 that the LTE starts from; None keeps its random filters, as filters of differences.
    """
    if enlargement:
        begin_as_enlargement(network.MainNet)
    if network.variant != "base":  # which has no LTE
        begin_by_edges(network.LTE) if vgg is None else begin_as_vgg(network.LTE, vgg)


SMALL = Prepared(Call(prepare, enlargement=True, vgg=None))

# Where Oxford's VGG-19 stands in for torchvision's, features are in units in which they have an rms
# of 1, and a perceptual weight of 0.1 pulls a third as hard at the weights of "rec" as L1. In the
# laptop's few steps the discriminator gets more weight than in proportion, and the perceptual loss
# less, which would draw the grid of its poolings over whatever is flat.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), level="L1", turned=False, start=SMALL, lte_share=1.0,
        channels=8, blocks=(1, 1, 1, 1), textures=(4, 4, 8),
        steps=2, batch=2, patch=16, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        adversarial_steps=2, adversarial_patch=16, adversarial_rate=Halving(1e-4, every=0.2),
        discriminator=2, discriminator_rate=1e-4, trunk="random", perceptual_weight=1e-2,
        transferal_weight=1e-2, adversarial_weight=1e-3, from_scratch=True,
    ),
    "laptop": Budget(
        data="BSDS400",
        tests=(*LIKENESS, "CUFED_train_pairs 1", "CUFED_train_pairs self", *PHOTOGRAPHS),
        lpips=True, level="L1", turned=False, start=SMALL, lte_share=1.0,
        channels=24, blocks=(2, 2, 1, 1), textures=(16, 32, 64),
        steps=900, batch=4, patch=24, rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        validate_every=300,
        adversarial_steps=400, adversarial_patch=16, adversarial_rate=Halving(4e-4, every=0.2),
        discriminator=8, discriminator_rate=2e-4, trunk=Call(vgg19, lineage="oxford"),
        perceptual_weight=0.03, transferal_weight=10.0, adversarial_weight=1e-2,
    ),
    "gpu": Budget(
        data="DIV2K_train", tests=(*LIKENESS, *PHOTOGRAPHS), lpips=True, level="L1", turned=True,
        start=Prepared(Call(prepare, enlargement=False, vgg="oxford")), lte_share=0.1,
        steps=20_000, batch=9, patch=40, rate=Halving(1e-4, every=0.5), validate_every=2000,
        adversarial_steps=8000, adversarial_patch=40, adversarial_rate=Constant(1e-4),
        discriminator=32, discriminator_rate=1e-4, trunk=Call(vgg19, lineage="oxford"),
        perceptual_weight=0.1, transferal_weight=0.1, adversarial_weight=1e-3,
    ),
    "paper": Budget(  # an epoch has 1319 steps
        data="CUFED", tests=tuple(f"CUFED5 {which}" for which in (1, 2, 3, 4, 5, "self")),
        lpips=True, level="given", turned=True,
        start=Prepared(Call(prepare, enlargement=False, vgg="torchvision")), lte_share=0.1,
        steps=263_800, batch=9, patch=40, rate=Constant(1e-4), validate_every=13_190,
        warm_up_steps=2638,
        adversarial_steps=65_950, adversarial_patch=40, adversarial_rate=Constant(1e-4),
        discriminator=32, discriminator_rate=1e-4, trunk=Call(vgg19, lineage="torchvision"),
        perceptual_weight=1e-2, transferal_weight=1e-2, adversarial_weight=1e-3,
    ),
}  # fmt: skip


def reconstruct(
    b: Budget,
    variant: str,
    *,
    lte_learns: bool = True,
    wider: float = 1.0,
    turned: bool | None = None,
) -> list[Stage]:
    """L1 alone.

    variant: of `TTSR`. wider: a factor of the channels. turned: in place of the budget's.
    """
    network = Call(
        TTSR, scale=SCALE, variant=variant, channels=round(wider * b.channels), blocks=b.blocks,
        textures=b.textures,
    )  # fmt: skip
    turned = b.turned if turned is None else turned
    stage = replace(
        b.stage("reconstruction", network, loss_of(L1, 2.0), scale=SCALE),
        crops=Call(references, level=b.level, turned=turned),
        optimizer=Call(adam_by_parts, lte=b.lte_share),
        forward=Call(enlarge if variant == "base" else by_reference),
        freeze=None if lte_learns else Call(keep_lte),
    )
    return [stage]


def with_all_losses(b: Budget, without: str | None = None) -> list[Stage]:
    """All losses (Sec. 3.3), or all but one of the terms, from a network trained by L1."""
    (first,) = reconstruct(b, "full")
    judge = Call(Discriminator, size=SCALE * b.adversarial_patch, width=b.discriminator)
    terms = {
        "perceptual": (b.perceptual_weight, Call(content, name="ttsr", extractor=b.trunk)),
        "transferal": (b.transferal_weight, Call(transferal, network=Given.NETWORK)),
        "adversarial": (
            b.adversarial_weight,
            Call(
                Adversarial, discriminator=judge, rng=Call(random_numbers, seed=Given.SEED),
                objective=Wasserstein(discriminator_steps=2, span=2),
            ),
        ),
    }  # fmt: skip
    loss = Loss(((2.0, Call(L1)), *(term for name, term in terms.items() if name != without)))
    stage = replace(
        first, name="adversarial", loss=loss, steps=b.adversarial_steps, patch=b.adversarial_patch,
        rate=b.adversarial_rate, start=After("rec"),
        forward=Call(by_reference if without == "transferal" else with_textures),
        discriminator_optimizer=Call(adam, betas=(0.0, 0.9)),
        discriminator_rate=Constant(b.discriminator_rate),
        validate_every=b.adversarial_steps // 4 or 1, from_scratch=b.from_scratch,
    )  # fmt: skip
    if b.warm_up_steps is None:
        return [stage]
    warm_up = replace(first, name="warm-up", steps=b.warm_up_steps)
    return [warm_up, replace(stage, start=Continued(), series=1)]


def by_reference(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward of a network that gets a reference."""
    return network(batch["lr"], batch["ref"]), {}


def with_textures(network: nn.Module, batch: Batch) -> tuple[Tensor, dict]:
    """The forward for the transferal loss, which also gets the textures that were transferred."""
    sr, found = network(batch["lr"], batch["ref"], return_attention=True)
    return sr, {"transferred": (found.t1, found.t2, found.t3)}


def adam_by_parts(network: TTSR, lte: float) -> torch.optim.Adam:
    """Adam; the LTE learns at the share `lte` of the learning rate."""
    parts: dict[str, list[nn.Parameter]] = {"MainNet": [], "LTE": []}
    for name, parameter in network.named_parameters():
        parts[name.split(".")[0]].append(parameter)
    groups = [{"params": parts["MainNet"]}, {"params": parts["LTE"], "share": lte}]
    return torch.optim.Adam(groups, fused=True)


def keep_lte(network: TTSR) -> None:
    """Let the LTE stay what it begins as."""
    network.LTE.requires_grad_(False)


def transferal(network: TTSR) -> Transferal:
    """The transferal loss of the LTE that is being trained."""
    return Transferal(network.LTE)


def own_layers(lte: LTE) -> list[nn.Conv2d]:
    """The LTE's convolutions but the first one, which normalises the picture."""
    return [layer for layer in lte.modules() if isinstance(layer, nn.Conv2d)][1:]


@torch.no_grad()
def begin_by_edges(lte: LTE) -> None:
    """Make the filters' means and the biases 0, so that they answer to differences alone.

    Features of other random filters say little but how bright a place is, and by that any patch
    resembles any other: S is 0.95 between unrelated pictures. By these it is 0.7.
    """
    for layer in own_layers(lte):
        weight, bias = layer.parameters()
        weight -= weight.mean((1, 2, 3), keepdim=True)
        bias.zero_()


@torch.no_grad()
def begin_as_vgg(lte: LTE, lineage: str) -> None:
    """Copy the first five convolutions of VGG-19.

    Oxford's features are in the hundreds. Each layer is divided by its rms; that passes through
    ReLU and pooling, and leaves the attention as it was, because it is made of cosines.
    """
    vgg = vgg19(lineage)
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    units = rms(vgg, names) if lineage == "oxford" else dict.fromkeys(names, 1.0)
    weight, bias = lte.sub_mean.parameters()
    weight.copy_(torch.diag(1 / vgg.std.flatten()).view(3, 3, 1, 1))
    bias.copy_(-(vgg.mean / vgg.std).flatten())
    before = 1.0
    for layer, name in zip(own_layers(lte), names, strict=True):
        (weight, bias), (theirs, shift) = layer.parameters(), vgg.body[name].parameters()
        weight.copy_(theirs * before / units[name])
        bias.copy_(shift / units[name])
        before = units[name]


def begin_as_enlargement(net: MainNet | PlainNet) -> None:
    """Let channels 0, 1, 2 carry the picture, from 0 to 2, not -1 to 1, because of the ReLUs."""
    last = net.merge_tail if isinstance(net, MainNet) else net
    ends = [last.conv_tail1, last.conv_tail2]
    if isinstance(net, MainNet):
        ends.insert(0, net.merge_tail.conv_merge)
    tail = [(net.conv12, 2), (net.conv23, 2), *((end, 1) for end in ends)]
    added = [
        layer
        for name, layer in net.named_children()
        if name.startswith("conv") and name.endswith(("_head", "_tail"))
    ]
    hand_through(net.SFE.conv_head, [net.SFE.conv_tail, *added], tail, lift=1.0)


@cache
def references(
    data: str, scale: int, device: str | None, *, level: str, turned: bool
) -> References:
    """Crops of the pictures that `data` means, with references; held in the CPU's memory.

    Raises FileNotFoundError for level "given" where the pictures are not at hand.
    """
    if level != "given":
        return References(training_pictures(data), scale=scale, level=level, turned=turned)
    folder = find(f"ref_sr/{data}")
    if folder is None:
        raise FileNotFoundError(
            f"ref_sr/{data}, with pictures of the same names in input/ and ref/, is not under "
            "SRKIT_HOME: follow the links of https://github.com/researchmm/TTSR"
        )
    found = groups(folder)
    given = [g.references[0] for g in found]
    return References([g.hr for g in found], given, scale=scale, turned=turned)


@lru_cache(maxsize=1)
def examples(test: str, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """LR, HR and reference (3, H, W) of a test "SET LEVEL".

    LEVEL is one of LEVELS: crops of `size` LR pixels of the set's pictures, the same at every
    level. Or it is the number of the set's own reference, or "self": whole pictures of ref_sr/SET,
    or SET/GROUP for one of its groups; none where they are not at hand.
    """
    name, level = test.split()
    if level in LEVELS:
        rng = torch.Generator().manual_seed(0)
        made = References(training_pictures(name), scale=SCALE, level=level, turned=False)
        data = made.batch(EXAMPLES, size, rng)
        return list(zip(data["lr"], data["hr"], data["ref"], strict=True))
    name, _, only = name.partition("/")
    folder = find(f"ref_sr/{name}")
    found = []
    for group in groups(folder) if folder else ():
        if only in ("", group.name):
            hr = modcrop(read_image(group.hr), SCALE)
            lr = make_lr(hr, SCALE)
            ref = enlarged(lr) if level == "self" else read_image(group.references[int(level) - 1])
            found.append((lr, hr, ref))
    return found


def look_first(tests: Sequence[str], scale: int | tuple[int, ...], *, lpips: bool) -> None:
    """Find the pictures of the tests "SET LEVEL", and LPIPS if it is measured."""
    for name, level in (test.split() for test in tests):
        if level in LEVELS:
            training_pictures(name)
    base.look_first((), scale, lpips=lpips)


def answer(network: Network, lr: Tensor, ref: Tensor) -> Tensor:
    """SR (3, 4h, 4w) in 8 bits; the variant "base" does not look at the reference."""
    device = next(network.parameters()).device
    inputs = [lr] if network.arguments["variant"] == "base" else [lr, ref]
    with torch.inference_mode():
        return round_8bit(network(*(x[None].to(device) for x in inputs))[0].cpu())


def measure(run: RecipeRun, network: Network, test: str) -> dict[str, float]:
    """The means of PSNR, SSIM and, if the budget asks, LPIPS over `examples`."""
    found = examples(test, run.budget.patch)
    answers = ((answer(network, lr, ref), hr) for lr, hr, ref in found)
    return mean_scores(answers, SCALE, nets={"lpips": "alex"} if run.budget.lpips else {})


def samples(run: RecipeRun, scale: int) -> dict[str, Callable[[Network], Tensor]]:
    """The first picture of each test: the same crop with references more and less like it."""
    firsts = {test: examples(test, run.budget.patch)[:1] for test in run.budget.tests}
    return {
        test.replace("/", "-").replace(" ", "-"): partial(answer, lr=lr, ref=ref)
        for test, first in firsts.items()
        for lr, _, ref in first
    }


LIKE, _, _, OTHER, ITSELF = LIKENESS
LOOKS = ("lpips", -1, LIKE)  # it looks better: a lower LPIPS with an alike reference

RECIPE = Recipe(
    label="TTSR",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "ttsr": with_all_losses,
        "rec": partial(reconstruct, variant="full"),
        # what each part is worth; "rec" is one step more, CSFI
        "base": partial(reconstruct, variant="base"),
        "hard": partial(reconstruct, variant="hard", lte_learns=False),
        "soft": partial(reconstruct, variant="soft", lte_learns=False),
        "lte": partial(reconstruct, variant="soft"),
        "lte-wide": partial(reconstruct, variant="soft", wider=1.5),  # C96: "rec"'s size and more
        # our control: the paper's references, each turned on its own
        "turned": partial(reconstruct, variant="full", turned=True),
        # what two of the losses are worth (the paper's last figures)
        "no-transferal": partial(with_all_losses, without="transferal"),
        "no-adversarial": partial(with_all_losses, without="adversarial"),
    },
    # The released weights with each group's reference _1, by the authors' answer in their tracker
    # (issue 3); no border cut, and a Y of their own, (65.738 R + 129.057 G + 25.064 B) / 256.
    published={
        "ttsr": {"CUFED5 1": {"psnr": 25.40, "ssim": 0.760}},
        "rec": {"CUFED5 1": {"psnr": 26.99, "ssim": 0.800}},
    },
    claims=(
        Claim("a more alike reference helps more", "rec", "rec", test=LIKE, against_test=OTHER),
        Claim(
            "an unlike reference is no worse than none", "rec", "rec", sign=0, test=OTHER,
            against_test=ITSELF,
        ),
        Claim("in minutes, references turned on their own teach less", "rec", "turned", test=LIKE),
        Claim("textures found in a reference help", "hard", "base", test=LIKE),
        Claim("weighing textures by how well they match helps", "soft", "hard", test=LIKE),
        Claim("an LTE that learns helps", "lte", "soft", test=LIKE),
        Claim(
            "exchange between the scales helps (the paper's figure: CUFED5)", "rec", "lte",
            test=LIKE, paper=0.17,
        ),
        Claim("exchange between the scales is worth more than width", "rec", "lte-wide", test=LIKE),
        Claim("with a discriminator it looks better", "ttsr", "no-adversarial", *LOOKS),
        Claim("with the transferal loss it looks better", "ttsr", "no-transferal", *LOOKS),
    ),
    measure=measure,
    look_first=look_first,
    samples=samples,
)  # fmt: skip
