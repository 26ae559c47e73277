"""How TTSR is trained, what each part of its texture transformer is worth, and how like a
reference must be.

The paper (Yang et al., 2020), x4: 11,871 pairs of 160x160 pictures of CUFED, input and reference,
each flipped and turned on its own; batch 9; Adam at 1e-4, a tenth of it for the texture extractor
(LTE), which starts as VGG-19. TTSR-rec: L1 for 200 epochs. TTSR: L1 for 2 epochs, then for 50
L1 + 1e-2 (perceptual + transferal) + 1e-3 adversarial, WGAN-GP with two steps of the discriminator
for one of the generator. Pictures there go from -1 to 1: their L1 is twice the one here.

    srkit train ttsr --variant rec      reconstruction only: the best PSNR
    srkit train ttsr                    and from there with all losses
    srkit reproduce ttsr                everything below, and the cards

Each is measured with references of five degrees of likeness, "BSD100 L1" to "BSD100 L4" and "LR",
the picture itself (`srkit.datasets.references`), and with real ones, "CUFED5/001 1" to "5" and
"self", where they are at hand.
Differs: all losses start from the weights of "rec", in the small budgets at a rate that is halved
after each fifth. References are made from the pictures, where the paper's are other photographs.
The small budgets' are turned with the crop: attention knows a patch in one position only, so seven
of eight that are turned show it nothing, and in minutes it would learn to do without. Their small
LTE starts from random filters of differences; it has no knowledge to keep, and learns at the whole
rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial

import torch
from torch import Tensor, nn

from srkit.datasets.references import LEVELS, References, groups
from srkit.files import find
from srkit.image.degrade import make_lr
from srkit.image.io import read_image
from srkit.image.tensors import modcrop, round_8bit
from srkit.losses import L1, Content, Sum, Transferal, content
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Wasserstein
from srkit.losses.perceptual import rms
from srkit.metrics import features
from srkit.metrics.lpips import lpips
from srkit.metrics.protocols import PROTOCOLS
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models.ttsr import LTE, TTSR, Discriminator, MainNet, PlainNet, enlarged
from srkit.recipes import PROTOCOL, RecipeRun, training_pictures
from srkit.reports.claims import Claim
from srkit.training.loop import adam, enlarge
from srkit.training.run import data_facts
from srkit.training.schedules import Constant, Halving, Warmup
from srkit.training.starts import hand_through

SCALE = 4
LTE_SHARE = 0.1  # of the learning rate, for an LTE that starts as VGG-19
EXAMPLES = 50  # crops of a test set

LIKENESS = tuple(f"BSD100 {level}" for level in LEVELS)
PHOTOGRAPHS = tuple(f"CUFED5/001 {which}" for which in (1, 2, 3, 4, 5, "self"))

# level: of the references that it learns from; "given" are a data set's own. lte: what the LTE
# starts from. start "picture": see `srkit.training.starts`. The second phase (`gan_`) has a length
# and crops of its own, for VGG-19 and the discriminator cost as much again. weights, beside L1 of
# weight 2: where Oxford's VGG-19 stands in for torchvision's, features are in units in which they
# have an rms of 1, and a perceptual weight of 0.1 pulls a third as hard at the weights of "rec" as
# L1. The small discriminator gets more to say than in proportion, and perceptual less: in so few
# steps the latter would draw its own grid, the poolings', over whatever is flat.
BUDGETS = {
    "smoke": {
        "data": "procedural", "level": "L1", "turned": False, "tests": (), "trunk": "random",
        "network": {"channels": 8, "blocks": (1, 1, 1, 1), "textures": (4, 4, 8)},
        "lte": "edges", "warmup": 0.03, "start": "picture", "discriminator": 2,
        "steps": 2, "batch": 2, "patch": 16, "rate": 1e-3, "halved_every": 0.2,
        "weights": {"perceptual": 1e-2, "transferal": 1e-2, "adversarial": 1e-3},
        "gan_steps": 2, "gan_patch": 16, "gan_rate": 1e-4, "gan_halved_every": 0.2,
        "discriminator_rate": 1e-4, "from_scratch": True,
    },
    "laptop": {
        "data": "BSDS400", "level": "L1", "turned": False,
        "tests": (*LIKENESS, "CUFED_train_pairs 1", "CUFED_train_pairs self", *PHOTOGRAPHS),
        "lpips": True, "validate_every": 300, "trunk": "oxford",
        "network": {"channels": 24, "blocks": (2, 2, 1, 1), "textures": (16, 32, 64)},
        "lte": "edges", "warmup": 0.03, "start": "picture", "discriminator": 8,
        "steps": 900, "batch": 4, "patch": 24, "rate": 1e-3, "halved_every": 0.2,
        "weights": {"perceptual": 0.03, "transferal": 10.0, "adversarial": 1e-2},
        "gan_steps": 400, "gan_patch": 16, "gan_rate": 4e-4, "gan_halved_every": 0.2,
        "discriminator_rate": 2e-4,
    },
    "gpu": {
        "data": "DIV2K_train", "level": "L1", "turned": True, "tests": (*LIKENESS, *PHOTOGRAPHS),
        "lpips": True, "validate_every": 2000, "trunk": "oxford", "network": {},
        "lte": "oxford", "warmup": 0, "start": "random", "discriminator": 32,
        "steps": 20_000, "batch": 9, "patch": 40, "rate": 1e-4, "halved_every": 0.5,
        "weights": {"perceptual": 0.1, "transferal": 0.1, "adversarial": 1e-3},
        "gan_steps": 8000, "gan_patch": 40, "gan_rate": 1e-4, "gan_halved_every": 1.0,
        "discriminator_rate": 1e-4,
    },
    "paper": {
        "data": "CUFED", "level": "given", "turned": True,
        "tests": tuple(f"CUFED5 {which}" for which in (1, 2, 3, 4, 5, "self")),
        "lpips": True, "validate_every": 13_190, "trunk": "torchvision",
        "network": {"channels": 64, "blocks": (16, 16, 8, 4)},
        "lte": "torchvision", "warmup": 0, "start": "random", "discriminator": 32,
        "steps": 263_800, "batch": 9, "patch": 40, "rate": 1e-4, "halved_every": 1.0,
        "weights": {"perceptual": 1e-2, "transferal": 1e-2, "adversarial": 1e-3},
        "gan_steps": 65_950, "gan_patch": 40, "gan_rate": 1e-4, "gan_halved_every": 1.0,
        "discriminator_rate": 1e-4,
    },
}  # fmt: skip

# Of the released weights with the reference _1 of each group, by the authors' answer in their
# tracker (issue 3); no border cut, and a Y of their own, (65.738 R + 129.057 G + 25.064 B) / 256.
PAPER = {
    "ttsr": {"CUFED5 1": {"psnr": 25.40, "ssim": 0.760}},
    "rec": {"CUFED5 1": {"psnr": 26.99, "ssim": 0.800}},
}


def network(run: RecipeRun, variant: str, wider: float = 1.0) -> TTSR:
    """wider: a factor of the plan's channels."""
    how = dict(run.plan["network"])
    how["channels"] = round(wider * how.get("channels", 64))
    return TTSR(SCALE, variant=variant, **how)


def reconstruct(
    run: RecipeRun,
    variant: str,
    *,
    keep_lte: bool = False,
    wider: float = 1.0,
    turned: bool | None = None,
) -> nn.Module:
    """The first phase: L1 alone.

    keep_lte: the LTE stays what it starts as. turned: in place of the plan's.
    """
    plan, model = run.plan, run.build(partial(network, run, variant, wider))
    if plan["start"] == "picture":
        begin_as_enlargement(model.MainNet)
    if variant != "base":
        if plan["lte"] == "edges":
            begin_by_edges(model.LTE)
        else:
            begin_as_vgg(model.LTE, plan["lte"])
        if keep_lte:
            model.LTE.requires_grad_(False)
    run.fit(
        model,
        2 * L1(),
        crops(run, plan["turned"] if turned is None else turned),
        rate=Warmup(Halving(plan["rate"], every=plan["halved_every"]), plan["warmup"]),
        forward=enlarge if variant == "base" else by_reference,
        optimizer=optimizer(run, model),
    )
    return model


def with_all_losses(run: RecipeRun, without: str | None = None) -> nn.Module:
    """The second phase (Sec. 3.3), from the weights of "rec"; `without`: one of the terms."""
    plan, model = run.plan, run.trained("rec", network(run, "full"))
    discriminator = partial(
        Discriminator, size=SCALE * plan["gan_patch"], width=plan["discriminator"]
    )
    terms = {
        "perceptual": perceptual(plan["trunk"]),
        "transferal": Transferal(model.LTE),
        "adversarial": Adversarial(
            run.build(discriminator),
            Wasserstein(discriminator_steps=2, span=2),
            rng=torch.Generator().manual_seed(run.seed),
        ),
    }
    weighed = [(plan["weights"][name], t) for name, t in terms.items() if name != without]
    run.fit(
        model,
        2 * L1() + Sum(weighed),
        crops(run, plan["turned"]),
        rate=Halving(plan["gan_rate"], every=plan["gan_halved_every"]),
        forward=by_reference if without == "transferal" else with_textures,
        optimizer=optimizer(run, model),
        discriminator_optimizer=partial(adam, betas=(0.0, 0.9)),
        discriminator_rate=Constant(plan["discriminator_rate"]),
        stage="gan",
        validate_every=plan["gan_steps"] // 4 or 1,
        from_scratch=plan.get("from_scratch", False),
    )
    return model


def by_reference(network: nn.Module, data: Mapping[str, Tensor]) -> tuple[Tensor, dict]:
    return network(data["lr"], data["ref"]), {}


def with_textures(network: nn.Module, data: Mapping[str, Tensor]) -> tuple[Tensor, dict]:
    """For the transferal loss, which compares SR's textures with those that were transferred."""
    sr, found = network(data["lr"], data["ref"], return_attention=True)
    return sr, {"transferred": (found.t1, found.t2, found.t3)}


def optimizer(run: RecipeRun, model: TTSR) -> torch.optim.Adam:
    """Adam, slower for an LTE that knows something."""
    parts = {"LTE": [], "MainNet": []}
    for name, parameter in model.named_parameters():
        parts[name.split(".")[0]].append(parameter)
    share = 1.0 if run.plan["lte"] == "edges" else LTE_SHARE
    groups = [{"params": parts["MainNet"]}, {"params": parts["LTE"], "share": share}]
    return torch.optim.Adam(groups, fused=True)


def perceptual(trunk: str) -> Content:
    return content("ttsr", trunk if trunk == "random" else features.vgg19(trunk))


def own_layers(lte: LTE) -> list[nn.Conv2d]:
    """Its convolutions but the first, which normalises the picture."""
    return [layer for layer in lte.modules() if isinstance(layer, nn.Conv2d)][1:]


@torch.no_grad()
def begin_by_edges(lte: LTE) -> None:
    """Filters of mean 0 and no bias, which answer to differences, of places or of colours.

    Features of other random ones say little but how bright a place is, and by that any patch
    resembles any other: S is 0.95 between unrelated pictures. By these it is 0.7.
    """
    for layer in own_layers(lte):
        layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)
        layer.bias.zero_()


@torch.no_grad()
def begin_as_vgg(lte: LTE, lineage: str) -> None:
    """VGG-19's first five convolutions.

    Oxford's features are in the hundreds; each layer is divided by its rms, which passes through
    ReLU and pooling and leaves the attention, of cosines, as it was.
    """
    vgg = features.vgg19(lineage)
    own = own_layers(lte)
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    units = rms(vgg, names) if lineage == "oxford" else dict.fromkeys(names, 1.0)
    lte.sub_mean.weight.copy_(torch.diag(1 / vgg.std.flatten()).view(3, 3, 1, 1))
    lte.sub_mean.bias.copy_(-(vgg.mean / vgg.std).flatten())
    before = 1.0
    for layer, name in zip(own, names, strict=True):
        layer.weight.copy_(vgg.body[name].weight * before / units[name])
        layer.bias.copy_(vgg.body[name].bias / units[name])
        before = units[name]


def begin_as_enlargement(net: MainNet | PlainNet) -> None:
    """Channels 0, 1, 2 carry the picture, from 0 to 2 instead of -1 to 1 because of the ReLUs."""
    last = net.merge_tail if isinstance(net, MainNet) else net
    ends = [last.conv_tail1, last.conv_tail2]
    if isinstance(net, MainNet):
        ends.insert(0, last.conv_merge)
    tail = [(net.conv12, 2), (net.conv23, 2), *((end, 1) for end in ends)]
    added = [
        layer
        for name, layer in net.named_children()
        if name.startswith("conv") and name.endswith(("_head", "_tail"))
    ]
    hand_through(net.SFE.conv_head, [net.SFE.conv_tail, *added], tail, lift=1.0)


def crops(run: RecipeRun, turned: bool) -> References:
    """The plan's pictures with references; their hash goes into the record."""
    level = run.plan["level"]
    found = references(run.plan["data"], level, turned)
    pictures = [found.patches.picture(k) for k in range(len(found.patches.hr))]
    how = {"references": level, "turned": turned}
    run.facts["data"] = data_facts(run.plan["data"], pictures, **how)
    return found


@cache
def references(data: str, level: str, turned: bool) -> References:
    if level != "given":
        return References(training_pictures(data), scale=SCALE, level=level, turned=turned)
    folder = find(f"ref_sr/{data}")
    if folder is None:
        raise FileNotFoundError(
            f"ref_sr/{data}, with pictures of the same names in input/ and ref/, is not under "
            "SRKIT_HOME: follow the links of https://github.com/researchmm/TTSR"
        )
    found = groups(folder)
    given = [g.references[0] for g in found]
    return References([g.hr for g in found], given, scale=SCALE, turned=turned)


@lru_cache(maxsize=1)
def examples(test: str, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """LR, HR and reference (3, H, W) of a test "SET LEVEL".

    LEVEL is one of LEVELS: crops of `size` LR pixels of the set's pictures, the same at every
    level. Or it is the number of the set's own reference, or "self": whole pictures of
    ref_sr/SET, SET/GROUP for one of its groups; none, where they are not at hand.
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


def answer(model: TTSR, lr: Tensor, ref: Tensor) -> Tensor:
    """SR (3, 4h, 4w) in 8 bits; the variant "base" does not look at the reference."""
    device = next(model.parameters()).device
    inputs = [lr] if model.variant == "base" else [lr, ref]
    with torch.inference_mode():
        return round_8bit(model(*(x[None].to(device) for x in inputs))[0].cpu())


def measure(run: RecipeRun, model: TTSR, test: str) -> dict[str, float]:
    """PSNR and SSIM, and LPIPS where the plan asks for it, over `examples`."""
    rule = PROTOCOLS[PROTOCOL]
    how = {"on": rule.on, "shave": rule.shave * SCALE}
    scores: dict[str, list[float]] = {}
    for lr, hr, ref in examples(test, run.plan["patch"]):
        sr = answer(model, lr, ref)
        row = {"psnr": psnr(sr, hr, **how), "ssim": ssim(sr, hr, **how)}
        if run.plan.get("lpips"):
            row["lpips"] = lpips(sr, hr)
        for name, value in row.items():
            scores.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def samples(run: RecipeRun) -> dict[str, Callable[[nn.Module], Tensor]]:
    """The first picture of each test: the same crop with references more and less like it."""
    firsts = {test: examples(test, run.plan["patch"])[:1] for test in run.plan["tests"]}
    return {
        test.replace("/", "-").replace(" ", "-"): partial(answer, lr=lr, ref=ref)
        for test, first in firsts.items()
        for lr, _, ref in first
    }


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "ttsr": with_all_losses,
    "rec": partial(reconstruct, variant="full"),
    # what each part is worth; "rec" is one step more, CSFI
    "base": partial(reconstruct, variant="base"),
    "hard": partial(reconstruct, variant="hard", keep_lte=True),
    "soft": partial(reconstruct, variant="soft", keep_lte=True),
    "lte": partial(reconstruct, variant="soft"),
    "lte-wide": partial(reconstruct, variant="soft", wider=1.5),  # C96: "rec"'s size and more
    # our control: the paper's references, each turned on its own
    "turned": partial(reconstruct, variant="full", turned=True),
    # what two of the losses are worth (its last figures)
    "no-transferal": partial(with_all_losses, without="transferal"),
    "no-adversarial": partial(with_all_losses, without="adversarial"),
}

LIKE, _, _, OTHER, ITSELF = LIKENESS
CLAIMS = (
    Claim("a more alike reference helps more", "rec", "rec", test=LIKE, against_test=OTHER),
    Claim(
        "an unlike reference is no worse than none",
        "rec", "rec", sign=0, test=OTHER, against_test=ITSELF,
    ),
    Claim("references turned on their own teach less in minutes", "rec", "turned", test=LIKE),
    Claim("textures found in a reference help", "hard", "base", test=LIKE),
    Claim("to weigh them by how well they match helps", "soft", "hard", test=LIKE),
    Claim("to learn what is compared helps", "lte", "soft", test=LIKE),
    Claim(
        "exchange between the scales helps (the paper's figure: CUFED5)",
        "rec", "lte", test=LIKE, paper=0.17,
    ),
    Claim("exchange between the scales is worth more than width", "rec", "lte-wide", test=LIKE),
    Claim("with a discriminator it looks better", "ttsr", "no-adversarial", "lpips", -1, LIKE),
    Claim("the transferal loss looks better", "ttsr", "no-transferal", "lpips", -1, LIKE),
)  # fmt: skip
