"""A run of a recipe's variant: its stages one after another, and what they build on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from srkit.checks import check_folder, expanded, finite
from srkit.models.network import Network
from srkit.recipes.base import PROTOCOL, Recipe
from srkit.training.record import Record, Scores
from srkit.training.run import Run
from srkit.training.stage import Stage


class RecipeRun(Run):
    """One variant of a recipe, trained with one budget and seed, in OUT/NAME/BUDGET/VARIANT-seedN.

    Everything that was asked for wrongly is refused here, before any work.
    """

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        variant: str,
        *,
        budget: str,
        data: str | None = None,
        seed: int = 0,
        out: str | Path = "runs",
        minutes: float | None = None,
        precision: str = "auto",
        compiled: bool = False,
        device: str | None = None,
        tensorboard: bool = False,
    ):
        finite(minutes=minutes)
        if recipe.check_settings is not None:
            recipe.check_settings(
                minutes=minutes, precision=precision, compiled=compiled, tensorboard=tensorboard
            )
        self.name, self.recipe, self.variant, self.out = name, recipe, variant, out
        data = None if data is None else "+".join(p.strip().rstrip("/") for p in data.split("+"))
        self.budget = recipe.budget(budget, data)
        self.stages = recipe.stages(variant, budget, data)
        self.how: dict[str, Any] = {
            "budget": budget, "data": data, "seed": seed, "out": out, "minutes": minutes,
            "precision": precision, "compiled": compiled, "device": device,
            "tensorboard": tensorboard,
        }  # fmt: skip
        super().__init__(
            folder_of(out, name, budget, variant, seed),
            {
                "recipe": name, "variant": variant, "budget": budget,
                "plan": recipe.plan(variant, budget, data),
            },
            seed=seed, minutes=minutes, precision=precision, compiled=compiled, device=device,
            tensorboard=tensorboard, validate=self.validated if self.budget.tests else None,
        )  # fmt: skip
        self.scales: Scores = {}
        self.baselines: dict[str, Scores] = {}

    def go(self) -> Record:
        """Train the whole variant; or read the record of what was done before."""
        if self.finished:
            self.tidy()
            return self.record()
        self.look_first()
        with self.alone():
            return self.record() if self.finished else self._train()

    def look_first(self) -> None:
        """Find all that the run will need, before it trains: test sets, LPIPS, extractors, a place.

        Raises FileNotFoundError for what is not at hand, with how to get it; PermissionError where
        the run's folder cannot be written.
        """
        check_folder(self.folder)
        self.recipe.look_first(self.budget.tests, self.stages[-1].scale, lpips=self.budget.lpips)
        for stage in self.stages:
            if isinstance(stage, Stage):
                stage.look_first()

    def _train(self) -> Record:
        model = None
        for stage in self.stages:
            model = stage.train(self, model)
        assert model is not None  # a variant has stages
        scale = self.stages[-1].scale
        if isinstance(scale, tuple):  # one network at several scales; the last one stays set
            for model.scale in scale if self.budget.tests else ():
                self.scales[f"x{model.scale}"] = self.validated(model)
        theirs = [*self.recipe.plan(self.variant, "paper")["stages"]]
        return self.finish(
            model,
            measure=lambda m: {test: self.measured(m, test) for test in self.budget.tests},
            samples=self.recipe.samples(self, model.scale),
            protocol=PROTOCOL,
            paper={"metrics": self.recipe.published.get(self.variant, {}), "stages": theirs},
            scales=self.scales,
            baselines=self.baselines,
        )

    def weights_of(self, variant: str) -> Path:
        """The weights of another variant with the same seed; it is trained now if need be."""
        other = RecipeRun(self.name, self.recipe, variant, **self.how)
        other.go()
        if not other.weights.is_file():
            raise FileNotFoundError(
                f"{other.folder} is finished, and its {other.weights.name} is gone: put it back, "
                "or remove the folder, and it is trained again"
            )
        self.builds_on.append(variant)
        return other.weights

    def measured(self, model: Network, test: str) -> dict[str, float]:
        """What the recipe measures of one test set."""
        return self.recipe.measure(self, model, test)

    def validated(self, model: Network) -> dict[str, float]:
        """What is measured now and then while it trains: the first of the budget's tests."""
        return self.measured(model, self.budget.tests[0])


def folder_of(out: str | PathLike, name: str, budget: str, variant: str, seed: int) -> Path:
    """Where a run goes."""
    return expanded(out) / name / budget / f"{variant}-seed{seed}"
