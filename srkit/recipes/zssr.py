"""How ZSSR learns to enlarge a picture: from that picture, and from nothing else.

    zssr("photo.jpg", 2).picture                      # reduced by bicubic, as far as one knows
    zssr(picture, 2, kernel=gaussian_kernel(1.6))     # by another blur, which one knows
    zssr(picture, 2, noise=3)                         # and noisy
    zssr(picture, 2, factors=GRADUAL)                 # in six steps, each learning from the last

The paper (Shocher, Cohen and Irani, 2018), by the authors' code: one father of 128x128 an
iteration, L1, Adam at 1e-3, a tenth whenever the error of reconstruction is level, the end at the
third time or after 3000 iterations. Then the picture in 8 symmetries, each corrected by back-
projection, and the median of them corrected again.
Differs: with a kernel that looks the same from all sides the picture is turned all the same; theirs
is never turned then. Back-projections are as many in each of the gradual steps.

    srkit train zssr                          Set5, blurred, the kernel told
    srkit train zssr --variant assumed        the same pictures, taken for bicubic ones
    srkit train zssr --variant ideal          bicubic ones
    srkit reproduce zssr                      everything below, and the cards

Each run has its LR pictures, and what bicubic and a network trained for bicubic make of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.datasets import catalog, procedural
from srkit.datasets.catalog import Pair
from srkit.datasets.internal import Internal, Shrinking
from srkit.image.degrade import gaussian_kernel, make_lr
from srkit.image.io import ImageLike, as_image, read_image, write_image
from srkit.image.tensors import to_8bit
from srkit.metrics.evaluate import evaluate
from srkit.models.zssr import ZSSR
from srkit.processes import launched
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.run import data_facts, write_json
from srkit.weights.load import create_model

Factor = float | tuple[float, float]
GRADUAL: tuple[Factor, ...] = ((1, 1.5), (1.5, 1), 1.5, (1.5, 2), (2, 1.5), 2)  # to x2

RATE, LEAST = 1e-3, 9e-6
LOOK, CHECK, REST, POINTS = 50, 60, 256, 5  # iterations but for the last, see `learn`


@dataclass(frozen=True)
class Learned:
    """A picture (3, rh, rw) in [0, 1], the network that made it, and how that came to be."""

    picture: Tensor
    network: ZSSR
    history: list[dict]
    steps: int


def zssr(
    picture: ImageLike,
    scale: int = 2,
    *,
    kernel: Tensor | None = None,
    antialias: bool = True,
    noise: float = 0.0,
    factors: Sequence[Factor] | None = None,
    channels: int = 64,
    depth: int = 8,
    crop: int = 128,
    steps: int = 3000,
    back_projections: int | None = None,
    seed: int = 0,
    device: str | None = None,
    watch: Callable[[ZSSR, dict], None] | None = None,
) -> Learned:
    """Enlarge any one picture by a network that learns from it: a minute of a GPU.

    kernel, antialias, noise: how the picture became small, see `Shrinking`.
    factors: the way to `scale`, its last; not with a kernel, which is that of `scale` alone.
    steps: iterations for each factor, at most. crop: the fathers' side.
    back_projections: None is the authors': 10, with a kernel 2, with noise none.
    watch(network, row): called every 50 iterations with the latest row of the history.
    """
    image, shrinking = as_image(picture), Shrinking(kernel, antialias, noise)
    pairs_of = [f if isinstance(f, tuple) else (f, f) for f in factors or [scale]]
    if pairs_of[-1] != (scale, scale):
        raise ValueError(f"the last of factors is {pairs_of[-1]}, and the scale is {scale}")
    if kernel is not None and len(pairs_of) > 1:
        raise ValueError("a kernel belongs to one scale: gradual factors do without")
    if back_projections is None:
        back_projections = 0 if noise else 10 if kernel is None else 2
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rng, history, done = torch.Generator().manual_seed(seed), [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ZSSR(scale, channels=channels, depth=depth)
    network.to(device, memory_format=network.memory_format)
    sources, turns = [image], shrinking.symmetric() and not noise
    warp = {"spread": 0.0, "shear": 0.0, "smallest": 0.75} if noise else {}
    for factor in pairs_of:
        pairs = Internal(sources, factor, shrinking, crop=crop, turns=turns, **warp)
        done += learn(network, pairs, image.to(device), rng, steps, history, watch)
        symmetries = 1 if not turns else 8 if factor[0] == factor[1] else 4
        bigger = enlarge(network, pairs, image.to(device), symmetries, back_projections)
        sources.append(bigger.cpu())
    return Learned(sources[-1], network, history, done)


def learn(
    network: ZSSR,
    pairs: Internal,
    picture: Tensor,
    rng: torch.Generator,
    steps: int,
    history: list[dict],
    watch: Callable[[ZSSR, dict], None] | None = None,
) -> int:
    """Fathers from sons, until the whole `picture` is not reconstructed any better.

    Returns the iterations it took; adds a row to `history` after each 50.
    """
    low = pairs.larger(pairs.smaller(picture), picture.shape[1:])[None]  # (1, 3, h, w)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    rate, errors, cut, loss_sum = RATE, [], 0, 0.0
    for step in range(1, steps + 1):
        father = pairs.father(rng)
        start = pairs.larger(pairs.son(father, rng))
        start, father = (x[None].to(picture.device) for x in (start, father))
        loss = F.l1_loss(network.refine(start), father)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach()

        if step % LOOK == 0:
            with torch.inference_mode():
                errors.append(F.mse_loss(network.refine(low)[0], picture).item())
            row = {"step": step, "factor": [float(f) for f in pairs.factor], "rate": rate}
            row |= {"loss": float(loss_sum) / LOOK, "reconstruction": errors[-1]}
            history.append(row)
            loss_sum = 0.0
            if watch:
                watch(network, row)
        if step % CHECK == 0 and step - cut > REST and level(errors[-POINTS:]):
            rate, cut = rate / 10, step
            optimizer.param_groups[0]["lr"] = rate
            if rate < LEAST:
                break
    return step


def level(errors: Sequence[float]) -> bool:
    """Whether the errors, one every 50 iterations, no longer fall: slope m of their line fit,
    -1.5 m < its standard deviation.

    With n points the variance of the residuals is their sum of squares / (n - 4), as numpy took it
    when the authors wrote; later ones divide by n - 2, and cut later.
    """
    n, y = len(errors), torch.tensor(errors, dtype=torch.float64)
    x = LOOK * (torch.arange(n, dtype=torch.float64) - (n - 1) / 2)
    slope = (x * y).sum() / (x * x).sum()
    residuals = y - y.mean() - slope * x
    deviation = (residuals.square().sum() / (n - 4) / (x * x).sum()).sqrt()
    return bool(-1.5 * slope < deviation)


@torch.inference_mode()
def enlarge(
    network: ZSSR, pairs: Internal, picture: Tensor, symmetries: int, back_projections: int
) -> Tensor:
    """The picture by the factor of `pairs`: the median over the first symmetries of the square.

    Back-projection y + up(picture - down(y)): what is made small again must be the picture.
    """

    def corrected(y: Tensor) -> Tensor:
        for _ in range(back_projections):
            missing = picture - pairs.shrinking(y, picture.shape[1:])
            y = (y + pairs.larger(missing)).clamp(0, 1)
        return y

    up = pairs.larger(picture)
    answers = []
    for k in range(symmetries):  # its bits: rows and columns flipped, then exchanged
        flips = [axis for bit, axis in ((1, -2), (2, -1)) if k & bit]
        x = up.flip(flips)
        y = network.refine((x.mT if k & 4 else x)[None])[0]
        answers.append(corrected((y.mT if k & 4 else y).flip(flips).clamp(0, 1)))
    answers, n = torch.stack(answers).sort(0).values, len(answers)
    return corrected(answers[(n - 1) // 2 : n // 2 + 1].mean(0))  # an even number has two in midst


# ---------------------------------------------------------------------------------- the recipe

SCALE = 2
LEARNS_FROM = "the picture that it enlarges"

# Every picture of the tests has a network of its own. baselines: what stands beside them.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "baselines": ("bicubic",),
        "network": {"channels": 8, "depth": 3}, "crop": 24, "steps": 50,
    },
    "laptop": {
        "data": "each picture", "tests": ("Set5",), "baselines": ("bicubic", "rlfn_x2"),
        "network": {"channels": 32, "depth": 6}, "crop": 64, "steps": 1000,
    },
    "gpu": {
        "data": "each picture", "tests": ("Set5", "Set14"), "baselines": ("bicubic", "rlfn_x2"),
        "network": {"channels": 64, "depth": 8}, "crop": 128, "steps": 3000,
    },
    "paper": {
        "data": "each picture", "tests": ("Set5", "Set14", "BSD100"),
        "baselines": ("bicubic", "rlfn_x2"),
        "network": {"channels": 64, "depth": 8}, "crop": 128, "steps": 3000,
    },
}  # fmt: skip

# Of bicubic pictures. The paper's blurred ones have a random kernel each.
PAPER = {"ideal": {"Set5": {"psnr": 37.37, "ssim": 0.957}}}

ROUND = gaussian_kernel(1.6)
MILD = gaussian_kernel(0.8)
SLANTED = gaussian_kernel(2.4, sigma_y=0.8, angle=30)
MOTION = torch.eye(9) / 9  # the camera moved along the diagonal
NOISE = 5.0  # in 1/255


def internal(
    run: RecipeRun, kernel: Tensor | None = None, noise: float = 0.0, told: dict | None = None
) -> nn.Module:
    """Each picture made small by kernel and noise (in 1/255), and enlarged by what is `told`.

    A stage a picture; one that is finished isn't done again. Returns the network that all begin
    with: what it learns it forgets with the picture.
    """
    plan = run.plan
    if run.common["minutes"] is not None:
        raise ValueError("ZSSR ends where a picture is learned, not after minutes: give none")
    if run.common["compiled"] or run.common["precision"] not in ("auto", "float32"):
        raise ValueError("ZSSR trains in float32, its small networks not compiled: give neither")
    if run.tensorboard:
        raise ValueError(
            "ZSSR keeps its histories, one a picture, in its record: leave out tensorboard"
        )
    if launched() > 1:
        raise ValueError("ZSSR trains a network a picture, in one process: give no devices")
    tests = {test: degraded(run, test, kernel, noise) for test in plan["tests"] or (plan["data"],)}
    learned = [to_8bit(read_image(pair.lr)) for pairs in tests.values() for pair in pairs]
    run.facts["data"] = data_facts(plan["data"], learned)
    baselines = run.facts["baselines"] = {}
    for test, pairs in tests.items():
        for pair in pairs:
            path = run.folder / "pictures" / test / f"{pair.name}.json"
            if not path.exists():
                begin, begin_cpu = time.perf_counter(), time.process_time()
                found = zssr(
                    pair.lr, SCALE, **plan["network"], crop=plan["crop"], steps=plan["steps"],
                    seed=run.seed, device=run.device, **(told or {}),
                )  # fmt: skip
                spent = {
                    "minutes": (time.perf_counter() - begin) / 60,
                    "cpu_minutes": (time.process_time() - begin_cpu) / 60,
                }
                write_image(found.picture, path.with_suffix(".png"))
                scores = score(lambda lr, found=found: found.picture, [pair])
                stage = {"test": test, "image": pair.name, **scores, **spent}
                stage |= {"steps": found.steps, "history": found.history}
                write_json(stage, path)
            run.stages.append(json.loads(path.read_text()))
        for name in plan["baselines"]:
            method = name if name == "bicubic" else create_model(name, weights="official")
            baselines.setdefault(test, {})[name] = score(method, pairs)
    return run.build(lambda: ZSSR(SCALE, **plan["network"]))


def degraded(run: RecipeRun, test: str, kernel: Tensor | None, noise: float) -> list[Pair]:
    """The pictures of a test with LR files, in the run's folder, made as asked."""
    if test == "procedural":
        path = run.folder / "procedural.png"
        write_image(procedural.facades(48), path)
        originals = [Pair("facades", path, None)]
    else:
        originals = catalog.pairs(test, SCALE)
    made = []
    for number, pair in enumerate(originals):
        rng = torch.Generator().manual_seed(number)
        lr = make_lr(read_image(pair.hr), SCALE, kernel=kernel, noise=noise, generator=rng)
        path = run.folder / "lr" / test / f"{pair.name}.png"
        write_image(lr, path)
        made.append(Pair(pair.name, pair.hr, path))
    return made


def score(method: nn.Module | str | Callable[[Tensor], Tensor], pairs: list[Pair]) -> dict:
    means = evaluate(method, pairs, scale=SCALE).means
    return {key: means[key] for key in ("psnr", "ssim")}


def measure(run: RecipeRun, model: nn.Module, test: str) -> dict[str, float]:
    """The means over the pictures of a test."""
    rows = [stage for stage in run.stages if stage["test"] == test]
    return {key: mean(row[key] for row in rows) for key in ("psnr", "ssim")}


def samples(run: RecipeRun) -> dict[str, Callable[[nn.Module], Tensor]]:
    """None beside the pictures themselves, which the run keeps in `pictures`."""
    return {}


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "zssr": partial(internal, kernel=ROUND, told={"kernel": ROUND}),
    "assumed": partial(internal, kernel=ROUND),
    "mild": partial(internal, kernel=MILD, told={"kernel": MILD}),
    "mild-assumed": partial(internal, kernel=MILD),
    "slanted": partial(internal, kernel=SLANTED, told={"kernel": SLANTED}),
    "slanted-assumed": partial(internal, kernel=SLANTED),
    "motion": partial(internal, kernel=MOTION, told={"kernel": MOTION}),
    "motion-assumed": partial(internal, kernel=MOTION),
    "noisy": partial(internal, noise=NOISE, told={"noise": NOISE}),
    "noisy-assumed": partial(internal, noise=NOISE),
    "ideal": internal,
    "ideal-gradual": partial(internal, told={"factors": GRADUAL}),
    "ideal-uncorrected": partial(internal, told={"back_projections": 0}),
}

# "rlfn_x2" is the authors', trained on what bicubic made small, as the paper's EDSR was.
CLAIMS = (
    Claim("told the blur beats taking it for bicubic", "zssr", "assumed"),
    Claim("told the blur beats bicubic", "zssr", "bicubic"),
    Claim("told the blur beats a network trained for bicubic", "zssr", "rlfn_x2"),
    Claim("told a slanted blur it beats that network, too", "slanted", "rlfn_x2"),
    Claim("told of noise it beats a network trained without", "noisy", "rlfn_x2"),
    Claim("of bicubic pictures a network trained for them makes more", "ideal", "rlfn_x2", sign=-1),
    Claim("gradual steps beat one", "ideal-gradual", "ideal"),
)
