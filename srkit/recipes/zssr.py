"""How ZSSR learns to enlarge a picture: from that picture, and from nothing else.

    zssr("photo.jpg", 2).picture                      # reduced by bicubic, as far as one knows
    zssr(picture, 2, kernel=gaussian_kernel(1.6))     # by another blur, which one knows
    zssr(picture, 2, noise=3)                         # and noisy
    zssr(picture, 2, factors=GRADUAL)                 # in six steps, each learning from the last

The paper (Shocher, Cohen and Irani, 2018), by the authors' code: one father, a crop of 128x128, an
iteration; L1; Adam at 1e-3, a tenth of that whenever the error of reconstruction no longer falls,
the end at the third time or after 3000 iterations. Then the network enlarges the picture in 8
symmetries, each answer is corrected by back-projection, and the median of them once more.
Differs: the authors never turn the picture when they know the kernel; here it is turned if the
kernel looks the same from all sides. Each of the gradual steps has the same number of
back-projections.

    srkit train zssr                          Set5, blurred, and the network is told the kernel
    srkit train zssr --variant assumed        the same pictures, taken for bicubic ones
    srkit train zssr --variant ideal          bicubic ones
    srkit reproduce zssr                      everything below, and the cards

A run keeps the LR pictures that it made, and measures what bicubic interpolation and a network
trained for bicubic pictures make of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.calls import Build, Call
from srkit.checks import at_least
from srkit.datasets import catalog, procedural
from srkit.datasets.catalog import Pair
from srkit.datasets.internal import Internal, Shrinking
from srkit.devices import find_device
from srkit.files import read_json
from srkit.image.degrade import gaussian_kernel, make_lr
from srkit.image.io import ImageLike, as_image, read_image, write_image
from srkit.image.tensors import to_8bit
from srkit.metrics.evaluate import evaluate, load_pair
from srkit.models.network import Network
from srkit.models.zssr import ZSSR
from srkit.processes import launched
from srkit.recipes import base
from srkit.recipes.base import Recipe
from srkit.recipes.run import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.record import StageResult, data_facts, write_json
from srkit.training.stage import Random, Start
from srkit.weights.load import create_model

Factor = float | tuple[float, float]
GRADUAL: tuple[Factor, ...] = ((1, 1.5), (1.5, 1), 1.5, (1.5, 2), (2, 1.5), 2)  # to x2

RATE, LEAST = 1e-3, 9e-6
LOOK, CHECK, REST, POINTS = 50, 60, 256, 5  # iterations but for the last, see `learn`


@dataclass(frozen=True)
class Learned:
    """A picture (3, rh, rw) in [0, 1], the network that made it, and how it learned to.

    history: a row every 50 iterations. steps: iterations in all.
    """

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
    factors: the steps to `scale`, which is the last of them. They go without a kernel, because a
        kernel belongs to one factor.
    channels, depth: of the network. crop: the fathers' side.
    steps: iterations for each factor, at most.
    back_projections: None is the authors' number: 10, or 2 with a kernel, or none with noise.
    watch(network, row): called every 50 iterations with the latest row of the history.

    Raises ValueError for factors that do not fit, steps below 1, and a picture that is too small.
    """
    at_least(1, steps=steps)
    image, shrinking = as_image(picture), Shrinking(kernel, antialias, noise)
    pairs_of = [f if isinstance(f, tuple) else (f, f) for f in factors or [scale]]
    if pairs_of[-1] != (scale, scale):
        raise ValueError(f"the last of factors is {pairs_of[-1]}, and the scale is {scale}")
    if kernel is not None and len(pairs_of) > 1:
        raise ValueError("a kernel belongs to one scale: gradual factors do without")
    if back_projections is None:
        back_projections = 0 if noise else 10 if kernel is None else 2
    place = find_device(device)
    rng, history, done = torch.Generator().manual_seed(seed), [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ZSSR(scale, channels=channels, depth=depth)
    network.to(place).to(memory_format=network.memory_format)
    sources, turns = [image], shrinking.symmetric() and not noise
    warp = {"spread": 0.0, "shear": 0.0, "smallest": 0.75} if noise else {}
    for factor in pairs_of:
        pairs = Internal(sources, factor, shrinking, crop=crop, turns=turns, **warp)
        done += learn(network, pairs, image.to(place), rng, steps, history, watch)
        symmetries = 1 if not turns else 8 if factor[0] == factor[1] else 4
        bigger = enlarge(network, pairs, image.to(place), symmetries, back_projections)
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
    """Learn fathers from sons, until the whole `picture` is reconstructed no better.

    Returns the number of iterations; adds a row to `history` after each 50.
    """
    low = pairs.larger(pairs.smaller(picture), picture.shape[1:])[None]  # (1, 3, h, w)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    step, rate, errors, cut, loss_sum = 0, RATE, [], 0, 0.0
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
    """Whether the errors, one every 50 iterations, no longer fall.

    Of the slope m of a straight line through them: -1.5 m < its standard deviation. The variance of
    n residuals is their sum of squares / (n - 4), as in the numpy of the authors' time; newer ones
    divide by n - 2, and would cut the rate later.
    """
    n, y = len(errors), torch.tensor(errors, dtype=torch.float64, device="cpu")
    x = LOOK * (torch.arange(n, dtype=torch.float64, device="cpu") - (n - 1) / 2)
    slope = (x * y).sum() / (x * x).sum()
    residuals = y - y.mean() - slope * x
    deviation = (residuals.square().sum() / (n - 4) / (x * x).sum()).sqrt()
    return bool(-1.5 * slope < deviation)


@torch.inference_mode()
def enlarge(
    network: ZSSR, pairs: Internal, picture: Tensor, symmetries: int, back_projections: int
) -> Tensor:
    """The picture enlarged by the factor of `pairs`: the median over symmetries of the square.

    symmetries: so many of the 8. Back-projection replaces y by y + up(picture - down(y)): made
    small again, the result must be the picture.
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
    ordered, n = torch.stack(answers).sort(0).values, len(answers)
    return corrected(ordered[(n - 1) // 2 : n // 2 + 1].mean(0))  # an even number has two in midst


# ---------------------------------------------------------------------------------- the recipe

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Budget(base.Budget):
    """Sizes of ZSSR's training, which each picture of the tests has for itself.

    baselines: methods that are measured beside it. channels, depth, crop, steps: as for `zssr`.
    """

    baselines: tuple[str, ...] = ("bicubic", "rlfn_x2")
    channels: int = 64
    depth: int = 8
    crop: int = 128
    steps: int = 3000


BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), baselines=("bicubic",), channels=8, depth=3, crop=24, steps=50
    ),
    "laptop": Budget(
        data="each picture", tests=("Set5",), channels=32, depth=6, crop=64, steps=1000
    ),
    "gpu": Budget(data="each picture", tests=("Set5", "Set14")),
    "paper": Budget(data="each picture"),
}


@dataclass(frozen=True)
class Camera:
    """How pictures become small: blurred, reduced by bicubic, noisy.

    kernel: makes the blur's kernel; None for no blur. noise: its deviation, in 1/255.
    """

    kernel: Call | None = None
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PictureByPicture:
    """A stage in which each picture is made small, and enlarged by a network of its own.

    - name, data, scale, start: as of `srkit.training.stage.Stage`.
    - pictures: data sets of the catalogue, or "procedural", a facade drawn by code.
    - camera: how each picture is made small. told: what its network is told of that.
    - network: makes the network; its arguments are `zssr`'s.
    - factors, crop, steps, back_projections: as for `zssr`.
    - baselines: "bicubic", or networks of the zoo, measured on the same LR pictures.
    """

    name: str
    network: Call
    data: str
    pictures: tuple[str, ...]
    scale: int
    camera: Camera
    told: Camera
    crop: int
    steps: int
    factors: tuple[Factor, ...] | None = None
    back_projections: int | None = None
    baselines: tuple[str, ...] = ()
    start: Start = Random()

    def train(self, run: RecipeRun, before: Network | None) -> Network:
        """Enlarge all pictures, and add each to the record; one that is finished is not done again.

        Returns the network that all begin with: what it learns it forgets with the picture.
        """
        tests = {test: self.made_small(run, test) for test in self.pictures}
        lows = [load_pair(pair, self.scale)[0] for pairs in tests.values() for pair in pairs]
        run.data = data_facts(self.data, [to_8bit(low) for low in lows])
        for test, pairs in tests.items():
            run.results += [self.enlarged(run, test, pair) for pair in pairs]
            run.baselines[test] = {name: self.measured(name, pairs) for name in self.baselines}
        return Build(seed=run.seed)(self.network)

    def made_small(self, run: RecipeRun, test: str) -> list[Pair]:
        """The pictures of a test, with LR files that the camera makes in the run's folder."""
        if test == "procedural":
            path = run.folder / "procedural.png"
            write_image(procedural.facades(48), path)
            originals = [Pair("facades", path, None)]
        else:
            originals = catalog.pairs(test, self.scale)
        kernel = Build().value(self.camera.kernel)
        made = []
        for number, pair in enumerate(originals):
            rng = torch.Generator().manual_seed(number)
            hr, path = read_image(pair.hr), run.folder / "lr" / test / f"{pair.name}.png"
            noise = self.camera.noise
            write_image(make_lr(hr, self.scale, kernel=kernel, noise=noise, generator=rng), path)
            made.append(Pair(pair.name, pair.hr, path))
        return made

    def enlarged(self, run: RecipeRun, test: str, pair: Pair) -> StageResult:
        """What one picture came to; the picture itself goes to the run's folder."""
        path = run.folder / "pictures" / test / f"{pair.name}.json"
        if not path.exists():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            found = zssr(
                load_pair(pair, self.scale)[0], **self.network.arguments,
                kernel=Build().value(self.told.kernel), noise=self.told.noise,
                factors=self.factors, crop=self.crop, steps=self.steps,
                back_projections=self.back_projections, seed=run.seed, device=run.device,
            )  # fmt: skip
            result = {
                "test": test,
                "image": pair.name,
                **self.measured(lambda lr: found.picture, [pair]),
                "minutes": (time.perf_counter() - begin) / 60,
                "cpu_minutes": (time.process_time() - begin_cpu) / 60,
                "steps": found.steps,
                "history": found.history,
            }
            write_image(found.picture, path.with_suffix(".png"))
            write_json(result, path)
        return StageResult(**read_json(path, dict))

    def measured(
        self, method: str | Callable[[Tensor], Tensor], pairs: Sequence[Pair]
    ) -> dict[str, float]:
        """PSNR and SSIM of a method: a function, "bicubic", or a network of the zoo."""
        if isinstance(method, str) and method != "bicubic":
            method = create_model(method, weights="official")
        means = evaluate(method, pairs, scale=self.scale).means
        return {key: means[key] for key in ("psnr", "ssim")}


def check_settings(
    *, minutes: float | None, precision: str, compiled: bool, tensorboard: bool
) -> None:
    """Refuse what the training of one picture does not take.

    Raises ValueError for minutes, bfloat16, torch.compile, TensorBoard and several processes.
    """
    if minutes is not None:
        raise ValueError("ZSSR ends where a picture is learned, not after minutes: give none")
    if compiled or precision not in ("auto", "float32"):
        raise ValueError("ZSSR trains in float32, its small networks not compiled: give neither")
    if tensorboard:
        raise ValueError(
            "ZSSR keeps its histories, one a picture, in its record: leave out tensorboard"
        )
    if launched() > 1:
        raise ValueError("ZSSR trains a network a picture, in one process: give no devices")


def measure(run: RecipeRun, network: Network, test: str) -> dict[str, float]:
    """The means over the pictures of a test."""
    rows = [(row.psnr, row.ssim) for row in run.results if row.test == test]
    of_psnr, of_ssim = zip(*rows, strict=True)
    return {"psnr": mean(of_psnr), "ssim": mean(of_ssim)}


def samples(run: RecipeRun, scale: int) -> dict[str, Callable[[Network], Tensor]]:
    """None: the run keeps the pictures themselves, in `pictures`."""
    return {}


def internal(
    b: Budget,
    camera: Camera,
    told: Camera,
    factors: tuple[Factor, ...] | None = None,
    back_projections: int | None = None,
) -> list[PictureByPicture]:
    """Each picture made small by one camera, and enlarged by what its network is told."""
    stage = PictureByPicture(
        name="internal learning",
        network=Call(ZSSR, scale=SCALE, channels=b.channels, depth=b.depth),
        data=b.data, pictures=b.tests or (b.data,), scale=SCALE, camera=camera, told=told,
        crop=b.crop, steps=b.steps, factors=factors, back_projections=back_projections,
        baselines=b.baselines,
    )  # fmt: skip
    return [stage]


def motion_kernel(size: int) -> Tensor:
    """The blur (size, size) of a camera that moved along the diagonal."""
    return torch.eye(size, device="cpu") / size


BICUBIC = Camera()
ROUND = Camera(Call(gaussian_kernel, sigma=1.6))
MILD = Camera(Call(gaussian_kernel, sigma=0.8))
SLANTED = Camera(Call(gaussian_kernel, sigma=2.4, sigma_y=0.8, angle=30))
MOTION = Camera(Call(motion_kernel, size=9))
NOISY = Camera(noise=5.0)

RECIPE = Recipe(
    label="ZSSR",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "zssr": partial(internal, camera=ROUND, told=ROUND),
        "assumed": partial(internal, camera=ROUND, told=BICUBIC),
        "mild": partial(internal, camera=MILD, told=MILD),
        "mild-assumed": partial(internal, camera=MILD, told=BICUBIC),
        "slanted": partial(internal, camera=SLANTED, told=SLANTED),
        "slanted-assumed": partial(internal, camera=SLANTED, told=BICUBIC),
        "motion": partial(internal, camera=MOTION, told=MOTION),
        "motion-assumed": partial(internal, camera=MOTION, told=BICUBIC),
        "noisy": partial(internal, camera=NOISY, told=NOISY),
        "noisy-assumed": partial(internal, camera=NOISY, told=BICUBIC),
        "ideal": partial(internal, camera=BICUBIC, told=BICUBIC),
        "ideal-gradual": partial(internal, camera=BICUBIC, told=BICUBIC, factors=GRADUAL),
        "ideal-uncorrected": partial(internal, camera=BICUBIC, told=BICUBIC, back_projections=0),
    },
    # Of bicubic pictures. The paper's blurred ones have a random kernel each.
    published={"ideal": {"Set5": {"psnr": 37.37, "ssim": 0.957}}},
    # "rlfn_x2" is the authors', trained for what bicubic makes small, as the paper's EDSR was.
    claims=(
        Claim("told the blur, it beats itself taking the blur for bicubic", "zssr", "assumed"),
        Claim("told the blur, it beats bicubic", "zssr", "bicubic"),
        Claim("told the blur, it beats a network trained for bicubic", "zssr", "rlfn_x2"),
        Claim("told a slanted blur, it beats that network, too", "slanted", "rlfn_x2"),
        Claim("told of noise, it beats a network trained without noise", "noisy", "rlfn_x2"),
        Claim(
            "of bicubic pictures a network trained for them makes more", "ideal", "rlfn_x2", sign=-1
        ),
        Claim("gradual steps beat one step", "ideal-gradual", "ideal"),
    ),
    baselines=("bicubic", "rlfn_x2"),
    learns_from="the picture that it enlarges",
    check_settings=check_settings,
    measure=measure,
    samples=samples,
)
