"""What a recipe is: a paper's training, written down as values.

    RECIPE = Recipe("RLFN", budgets={"laptop": Budget(...), ...}, variants={"rlfn": rlfn, ...})
    RECIPE.stages("warm-start", "laptop")        # what would be trained; nothing is built
    RECIPE.stages("warm-start", "paper")         # and what the authors did

A variant is a function of a budget that gives its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from srkit.calls import as_json
from srkit.datasets import catalog
from srkit.inference import upscale
from srkit.metrics.evaluate import evaluate, load_pair
from srkit.models.network import Network
from srkit.reports.claims import Claim
from srkit.training.record import Scores
from srkit.training.stage import After, Start

if TYPE_CHECKING:
    from srkit.recipes.run import RecipeRun

PROTOCOL = "classic"
BUDGETS = ("smoke", "laptop", "gpu", "paper")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much work a recipe does. Each recipe adds the sizes that its stages take.

    data: what it learns from, a name of the catalogue, or "procedural". tests: what the finished
    network is measured on; by the first of them it is validated while it trains; () measures
    nothing. lpips: measure LPIPS as well.
    """

    data: str
    tests: tuple[str, ...]
    lpips: bool = False


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
    def train(self, run: RecipeRun, before: Network | None) -> Network: ...
    def rows(self) -> list[tuple[str, str]]: ...


def check_settings(
    *, minutes: float | None, precision: str, compiled: bool, tensorboard: bool
) -> None:
    """Refuse settings that no stage of the recipe can train with; the training loop takes all."""


def measure(run: RecipeRun, model: Network, test: str) -> dict[str, float]:
    """PSNR and SSIM of one test set by the protocol "classic", and LPIPS if the budget asks."""
    lpips = "alex" if run.budget.lpips else None
    means = evaluate(model, test, protocol=PROTOCOL, lpips=lpips).means
    return {key: value for key, value in means.items() if key != "seconds"}


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
    - variants: what can be trained, by name, as functions of a budget. The first is the paper's.
    - published: the paper's figures by variant, test set and metric.
    - claims: what the paper says of its parts, as comparisons of variants.
    - baselines: other methods that the records tell of, and claims may compare with.
    - learns_from: where it can be given no other pictures, what it learns from instead.
    - check_settings(minutes, precision, compiled, tensorboard): refuses what it cannot train with.
    - measure(run, network, test), samples(run, scale): what the finished network is put to.
    """

    label: str
    scale: int
    budgets: Mapping[str, Any]
    variants: Mapping[str, Callable[[Any], Sequence[Step]]]
    published: Mapping[str, Scores] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    baselines: tuple[str, ...] = ()
    learns_from: str | None = None
    check_settings: Callable[..., None] = check_settings
    measure: Callable[[RecipeRun, Network, str], dict[str, float]] = measure
    samples: Callable[[RecipeRun, int], dict[str, Callable[[Network], Tensor]]] = samples

    def __post_init__(self):
        """Every stage of every variant is made once, so that a mistake shows at import."""
        if tuple(self.budgets) != BUDGETS:
            raise ValueError(f"{self.label}: budgets {tuple(self.budgets)}, expected {BUDGETS}")
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
            raise ValueError(f"budget {budget!r}: one of {', '.join(self.budgets)}")

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

        First come the stages of the variants that it builds on. A field that neither side sets is
        left out.
        """
        rows = [["variant", "stage", "", budget, "paper"]]
        for each in self.chain(variant, budget):
            theirs = {stage.name: dict(stage.rows()) for stage in self.stages(each, "paper")}
            for stage in self.stages(each, budget):
                ours, paper = dict(stage.rows()), theirs.get(stage.name, {})
                for name in [*ours, *(n for n in paper if n not in ours)][1:]:
                    values = ours.get(name, "as usual"), paper.get(name, "as usual")
                    rows.append([each, stage.name, name, *values])
        return rows

    def chain(self, variant: str, budget: str) -> list[str]:
        """The variants that this one builds on, the first one first, and itself."""
        start = self.stages(variant, budget)[0].start
        before = self.chain(start.variant, budget) if isinstance(start, After) else []
        return [*before, variant]
