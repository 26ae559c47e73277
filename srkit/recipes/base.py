"""What a recipe is: a paper's training, written down as values.

    RECIPE = Recipe(label="RLFN", scale=4, budgets={...}, variants={"rlfn": rlfn, ...})
    RECIPE.stages("warm-start", "laptop")        # what would be trained; nothing is built
    RECIPE.stages("warm-start", "paper")         # and what the authors did

A variant is a function of a budget that gives its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from srkit.calls import Call, as_json, as_text
from srkit.datasets import catalog
from srkit.inference import upscale
from srkit.metrics.evaluate import evaluate, load_pair
from srkit.metrics.lpips import lpips, lpips_parts
from srkit.metrics.protocols import PROTOCOLS
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models.network import Network
from srkit.reports.claims import Claim
from srkit.training.record import Scores
from srkit.training.schedules import Schedule
from srkit.training.stage import After, Loss, Random, Stage, Start

if TYPE_CHECKING:
    from srkit.recipes.run import RecipeRun

PROTOCOL = "classic"
BUDGETS = ("smoke", "laptop", "overnight", "gpu", "paper")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much work a recipe does. Each recipe adds the sizes that its stages take.

    data: what it learns from, a name of the catalogue, or "procedural". tests: what the finished
    network is measured on; by the first of them it is validated while it trains; () measures
    nothing. lpips: measure LPIPS as well.
    """

    data: str
    tests: tuple[str, ...] = ("Set5", "Set14", "BSD100")
    lpips: bool = False


@dataclass(frozen=True, kw_only=True)
class LoopBudget(Budget):
    """Sizes of a stage of the training loop, by their names in `srkit.training.stage.Stage`."""

    steps: int
    batch: int
    patch: int
    rate: Schedule
    start: Start = Random()
    clip: float | None = None
    validate_every: int = 250

    def stage(self, name: str, network: Call, loss: Loss, *, scale: int | tuple[int, ...]) -> Stage:
        """The stage of these sizes. Other stages are made from it by `dataclasses.replace`."""
        return Stage(
            name=name, network=network, loss=loss, data=self.data, scale=scale, steps=self.steps,
            batch=self.batch, patch=self.patch, rate=self.rate, start=self.start, clip=self.clip,
            validate_every=self.validate_every,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TwoStageBudget(LoopBudget):
    """Sizes of a stage, and of a second one that goes on from its weights.

    The second one learns by features or a discriminator. It has steps and crops of its own, because
    VGG-19 costs many times a small network.
    """

    second_steps: int
    second_patch: int
    second_rate: Schedule
    from_scratch: bool = False

    def second(self, name: str, network: Call, loss: Loss, *, scale: int, after: str) -> Stage:
        """The second stage, from the weights of the variant `after`; validated five times."""
        return replace(
            self.stage(name, network, loss, scale=scale), start=After(after),
            steps=self.second_steps, patch=self.second_patch, rate=self.second_rate,
            from_scratch=self.from_scratch, validate_every=self.second_steps // 5 or 1,
        )  # fmt: skip


class Step(Protocol):
    """A stage of a variant: `srkit.training.stage.Stage`, or what a recipe has in its place."""

    @property
    def name(self) -> str: ...
    @property
    def data(self) -> str: ...
    @property
    def scale(self) -> int | tuple[int, ...]: ...
    @property
    def start(self) -> Start: ...
    @property
    def steps(self) -> int: ...
    def train(self, run: RecipeRun, before: Network | None) -> Network: ...


def measure(run: RecipeRun, model: Network, test: str) -> dict[str, float]:
    """PSNR and SSIM of one test set by the protocol "classic", and LPIPS if the budget asks."""
    net = "alex" if run.budget.lpips else None
    means = evaluate(model, test, protocol=PROTOCOL, lpips=net).means
    return {key: value for key, value in means.items() if key != "seconds"}


def look_first(tests: Sequence[str], scale: int | tuple[int, ...], *, lpips: bool) -> None:
    """Find the test sets of the catalogue, and LPIPS if it is measured.

    Raises FileNotFoundError, and ValueError for an incomplete set.
    """
    scales = scale if isinstance(scale, tuple) else (scale,)
    for test in (test for test in tests if test in catalog.CATALOG):
        for r in scales:
            catalog.pairs(test, r)
    if lpips:
        lpips_parts("alex", torch.device("cpu"))


def mean_scores(
    answers: Iterable[tuple[Tensor, Tensor]], scale: int, *, nets: Mapping[str, str]
) -> dict[str, float]:
    """The means of PSNR, SSIM and LPIPS over pairs (sr, hr), by the protocol "classic".

    nets: the trunks that LPIPS looks through, by the names of the metrics. Without pairs: {}.
    """
    rule = PROTOCOLS[PROTOCOL]
    on, shave = rule.on, rule.shave * scale
    rows = []
    for sr, hr in answers:
        row = {"psnr": psnr(sr, hr, on=on, shave=shave), "ssim": ssim(sr, hr, on=on, shave=shave)}
        rows.append(row | {name: lpips(sr, hr, net=net) for name, net in nets.items()})
    names = rows[0] if rows else ()
    return {name: sum(float(row[name]) for row in rows) / len(rows) for name in names}


def samples(run: RecipeRun, scale: int) -> dict[str, Callable[[Network], Tensor]]:
    """The first two pictures of the first test set, enlarged."""
    pairs = [pair for test in run.budget.tests[:1] for pair in catalog.pairs(test, scale)[:2]]
    lows = {pair.name: load_pair(pair, scale)[0] for pair in pairs}
    return {name: partial(upscale, image=low) for name, low in lows.items()}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A paper's training.

    - label: the paper's name for its network.
    - scale: what is enlarged by, and measured.
    - budgets: sizes for "smoke", "laptop", "gpu" and "paper"; the last says what the authors did.
      "overnight", behind "laptop", is for claims that minutes cannot tell; it may be missing.
    - variants: what can be trained, by name, as functions of a budget. The first is the paper's.
    - published: the paper's figures by variant, test set and metric.
    - claims: what the paper says of its parts, as comparisons of variants.
    - baselines: other methods that the records tell of, and claims may compare with.
    - learns_from: where it can be given no other pictures, what it learns from instead.
    - check_settings(minutes, precision, compiled, tensorboard): refuses what it cannot train with;
      None takes all that the training loop takes.
    - measure(run, network, test), samples(run, scale): what the finished network is put to.
    - look_first(tests, scale, lpips): finds what `measure` needs, before anything is trained.
    """

    label: str
    scale: int
    budgets: Mapping[str, Any]
    variants: Mapping[str, Callable[[Any], Sequence[Step]]]
    published: Mapping[str, Scores] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    baselines: tuple[str, ...] = ()
    learns_from: str | None = None
    check_settings: Callable[..., None] | None = None
    measure: Callable[[RecipeRun, Network, str], dict[str, float]] = measure
    look_first: Callable[..., None] = look_first
    samples: Callable[[RecipeRun, int], dict[str, Callable[[Network], Tensor]]] = samples

    def __post_init__(self):
        """Every stage of every variant is made once, so that a mistake shows at import."""
        expected = [each for each in BUDGETS if each != "overnight" or each in self.budgets]
        if list(self.budgets) != expected:
            raise ValueError(f"{self.label}: budgets {list(self.budgets)}, expected {expected}")
        for variant in (*self.variants, *self.published, *(claim.of for claim in self.claims)):
            for budget in self.budgets:
                self.stages(variant, budget)
        for claim in self.claims:
            if claim.against not in self.baselines:
                self.check(claim.against)

    @property
    def first(self) -> str:
        """The paper's own variant."""
        return next(iter(self.variants))

    def check(self, variant: str | None = None, budget: str | None = None) -> None:
        """Refuse a variant or a budget that this recipe has not.

        Raises ValueError with those that it has.
        """
        if variant is not None and variant not in self.variants:
            known = ", ".join(self.variants)
            raise ValueError(f"{self.label} has no variant {variant!r}: one of {known}")
        if budget is not None and budget not in self.budgets:
            known = ", ".join(self.budgets)
            raise ValueError(f"{self.label} has no budget {budget!r}: one of {known}")

    def stages(self, variant: str, budget: str, data: str | None = None) -> tuple[Step, ...]:
        """The stages of a variant. data: pictures to learn from in place of the budget's.

        Raises ValueError for an unknown variant or budget, and for data where a recipe takes none.
        """
        self.check(variant, budget)
        return tuple(self.variants[variant](self.budget(budget, data)))

    def budget(self, name: str, data: str | None = None) -> Any:
        """The sizes of a budget. data: see `stages`."""
        self.check(budget=name)
        if data is None:
            return self.budgets[name]
        if self.learns_from is not None:
            raise ValueError(f"{self.label} learns from {self.learns_from}: it takes no data")
        return replace(self.budgets[name], data=data)

    def plan(self, variant: str, budget: str, data: str | None = None) -> dict[str, Any]:
        """What a run is asked for, as JSON: its stages, and what it is measured on."""
        sizes = self.budget(budget, data)
        stages = [as_json(stage) for stage in self.stages(variant, budget, data)]
        return as_json({"tests": sizes.tests, "lpips": sizes.lpips, "stages": stages})

    def described(self, variant: str, budget: str) -> list[list[str]]:
        """Rows to print: what the stages of a variant do, ours beside the paper's.

        First come the stages of the variants that it builds on. A stage that only one side has is
        told as none of the other's; a field that is its default on both sides is left out.
        """
        rows = [["variant", "stage", "", budget, "paper"]]
        for each in self.chain(variant, budget):
            sides = [{s.name: s for s in self.stages(each, b)} for b in (budget, "paper")]
            for name in dict.fromkeys([*sides[0], *sides[1]]):
                found = [side[name] for side in sides if name in side]
                if len(found) == 1:
                    had = [
                        f"{side[name].steps:,} steps" if name in side else "none" for side in sides
                    ]
                    rows.append([each, name, "the stage", *had])
                    continue
                for f in fields(cast(Any, found[0]))[1:]:  # behind the name
                    values = [getattr(stage, f.name) for stage in found]
                    if any(value != f.default for value in values):
                        rows.append([each, name, f.name, *map(as_text, values)])
        return rows

    def chain(self, variant: str, budget: str) -> list[str]:
        """The variants that this one builds on, the first one first, and itself."""
        start = self.stages(variant, budget)[0].start
        before = self.chain(start.variant, budget) if isinstance(start, After) else []
        return [*before, variant]
