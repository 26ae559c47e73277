"""Recipes: one paper, one file; how it is trained, in four budgets.

A recipe is a module with

- BUDGETS: a plan for each budget: smoke (seconds, any machine, no files), laptop (1 to 15 minutes
  of a processor), gpu (minutes to an hour of one GPU) and paper, which says what the authors did;
- VARIANTS: what can be trained, by name: functions of a `RecipeRun` that build a network, train it
  stage by stage, and return it. The first is the paper's own;
- PAPER: the published figures, by variant, to stand beside ours;
- LEARNS_FROM, if it cannot be given other pictures: what it learns from instead.

A plan has `data` and `tests` (names of the catalogue; "procedural" and () need no files), `steps`,
`batch`, `patch`, and whatever else the recipe reads from it.

    srkit.train("rlfn", budget="smoke")
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from srkit.datasets import catalog, procedural
from srkit.datasets.patches import Patches
from srkit.files import cache as cache_folder
from srkit.files import data_path
from srkit.image.tensors import to_8bit
from srkit.inference import upscale
from srkit.metrics.evaluate import evaluate, load_pair
from srkit.reports.card import Card, card
from srkit.training.run import Run, data_facts, write_json
from srkit.weights.load import load_checkpoint, save_weights

RECIPES = (
    "srgan", "enhancenet", "memnet", "dbpn", "idn", "rdn", "rcan", "msrn", "carn", "zssr",
    "sftgan", "srfeat", "esrgan", "ttsr", "rlfn", "ciplab",
)  # fmt: skip
DEFAULT_BUDGET = "laptop"
PROTOCOL = "classic"
SIZES = ("steps", "batch", "patch")  # of a stage


def budget() -> str:
    """The budget that the environment variable SRKIT_BUDGET names: smoke (default), laptop or gpu.

    smoke takes seconds on any machine, laptop 1 to 15 minutes of a processor, gpu minutes to an
    hour of one GPU. Chapters ask here, so that one switch decides for all of them.
    """
    chosen = os.environ.get("SRKIT_BUDGET", "smoke")
    if chosen not in ("smoke", "laptop", "gpu"):
        raise ValueError(f"SRKIT_BUDGET={chosen}: expected smoke, laptop or gpu")
    return chosen


def recipe(name: str) -> ModuleType:
    """The module of a recipe."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: one of {', '.join(RECIPES)}")
    return import_module(f"srkit.recipes.{name}")


def train(
    name: str,
    variant: str | None = None,
    *,
    budget: str = DEFAULT_BUDGET,
    data: str | os.PathLike | None = None,
    seed: int = 0,
    out: str | os.PathLike = "runs",
    minutes: float | None = None,
    precision: str = "auto",
    compiled: bool = False,
    device: str | None = None,
    tensorboard: bool = False,
    resume: str = "auto",
) -> dict:
    """Train a variant of a recipe (its first, unless named) and return its record.

    It goes to OUT/NAME/BUDGET/VARIANT-seedN. What is finished there is not done again, what was
    stopped goes on; runs that it builds on (a PSNR stage before an adversarial one) come first.
    data: pictures to learn from in place of the budget's, a name of the catalogue or a folder, or
    several joined by "+"; more than memory holds are laid out in a file of srkit's cache.
    `minutes` replaces each stage's number of steps. compiled: by torch.compile. tensorboard: log
    for it, too. resume: "auto", or "never", which refuses a folder that holds something.
    """
    variant = variant or next(iter(recipe(name).VARIANTS))
    _check_resume(resume, [_folder(out, name, budget, variant, seed)])
    return RecipeRun(
        name, variant, budget=budget, data=data, seed=seed, out=out, minutes=minutes,
        precision=precision, compiled=compiled, device=device, tensorboard=tensorboard,
    ).go()  # fmt: skip


def reproduce(
    name: str,
    *,
    variants: Iterable[str] = (),
    seeds: Iterable[int] = (0,),
    budget: str = DEFAULT_BUDGET,
    out: str | os.PathLike = "runs",
    resume: str = "auto",
    **how,
) -> list[Card]:
    """Train variants (all, unless named) with each seed; a card each. `how` is `train`'s.

    resume "never" looks at all folders before the first training: one may build on another.
    """
    chosen, seeds = list(variants) or list(recipe(name).VARIANTS), list(seeds)
    _check_resume(resume, [_folder(out, name, budget, v, seed) for v in chosen for seed in seeds])
    how |= {"budget": budget, "out": out}
    return [card([train(name, v, seed=seed, **how) for seed in seeds]) for v in chosen]


def _folder(out: str | os.PathLike, name: str, budget: str, variant: str, seed: int) -> Path:
    return Path(out) / name / budget / f"{variant}-seed{seed}"


def _check_resume(resume: str, folders: Iterable[Path]) -> None:
    if resume not in ("auto", "never"):
        raise ValueError(f"resume {resume!r}: auto or never")
    for folder in folders if resume == "never" else ():
        if (folder / "asked.json").exists():
            raise ValueError(f"{folder} holds a run already: resume auto goes on with it")


def recorded(name: str, variant: str, *, budget: str = "laptop") -> nn.Module:
    """The network of a recorded run that srkit ships, as the chapters show it (seed 0, float16).

    Its record is `srkit.training.run.read_runs(name)`'s; its file's header names the run. Raises
    FileNotFoundError for a run whose weights are not shipped: train it, `srkit.train`.
    """
    try:
        path = data_path(_weights_file(name, variant, budget))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"srkit ships no weights of {name}, {variant}, {budget}: "
            f"srkit train {name} --variant {variant} --budget {budget} makes them"
        ) from None
    return load_checkpoint(path)


def collect(
    out: str | os.PathLike, data: str | os.PathLike, *, weights: Iterable[str] = ()
) -> list[Path]:
    """Gather finished runs under `out` for srkit's own data folder; returns what was written.

    DATA/runs/NAME.json gets their records, in the order of the recipe's variants and beside those
    of other runs that it holds; of these it loses what another plan was followed in than the
    budget's is now. weights: variants whose network of seed 0 goes along in float16, as `recorded`
    reads it. Raises ValueError for a run with minutes, data or a plan of its own.
    """
    found: dict[str, dict[tuple, tuple[dict, Path]]] = {}
    for path in Path(out).rglob("run.json"):
        record = json.loads(path.read_text())
        if record["minutes_a_stage"] is not None or not follows_plan(record):
            raise ValueError(
                f"{path} is of other minutes, data or sizes than its budget's: "
                "such a run does not stand for the budget, keep it in a folder of its own"
            )
        key = (record["variant"], record["budget"], record["seed"])
        found.setdefault(record["recipe"], {})[key] = record, path.parent
    missing = set(weights) - {v for runs in found.values() for v, _, seed in runs if seed == 0}
    if missing:
        raise ValueError(f"no finished run of {', '.join(sorted(missing))}, seed 0, under {out}")
    written = []
    for name, runs in found.items():
        target, order = Path(data) / f"runs/{name}.json", list(recipe(name).VARIANTS)
        before = json.loads(target.read_text()) if target.exists() else []
        kept = filter(follows_plan, before)
        records = {(r["variant"], r["budget"], r["seed"]): r for r in kept}
        records |= {key: record for key, (record, _) in runs.items()}
        write_json(
            [records[k] for k in sorted(records, key=lambda k: (order.index(k[0]), k))], target
        )
        written.append(target)
        for (variant, budget, seed), (record, folder) in runs.items():
            if variant in weights and seed == 0:
                written.append(Path(data) / _weights_file(name, variant, budget))
                keep_weights(record, folder, written[-1])
    return written


def keep_weights(record: Mapping, folder: Path, path: Path) -> None:
    """The network of a run in `folder`, in float16; the file's header says what run it was."""
    said = ("recipe", "variant", "budget", "minutes_a_stage", "seed", "code", "metrics")
    provenance = {key: record[key] for key in said}
    model = load_checkpoint(folder / "model.safetensors")
    save_weights(model, path, provenance=provenance, dtype=torch.float16)


def follows_plan(record: Mapping) -> bool:
    """Whether a run had the plan that its recipe has for that budget now."""
    plan = recipe(record["recipe"]).BUDGETS[record["budget"]]
    return record["plan"] == json.loads(json.dumps(plan))


def _weights_file(name: str, variant: str, budget: str) -> str:
    return f"weights/{name}-{budget}-{variant}_x{recipe(name).SCALE}.safetensors"


class RecipeRun(Run):
    """A run of a recipe's variant: what its function gets to work with."""

    def __init__(
        self,
        name: str,
        variant: str | None,
        *,
        budget: str,
        data: str | os.PathLike | None = None,
        seed: int = 0,
        out: str | os.PathLike = "runs",
        minutes: float | None = None,
        precision: str = "auto",
        compiled: bool = False,
        device: str | None = None,
        tensorboard: bool = False,
    ):
        self.recipe = recipe(name)
        variants, budgets = self.recipe.VARIANTS, self.recipe.BUDGETS
        variant = variant or next(iter(variants))
        if variant not in variants:
            raise ValueError(f"{name} has no variant {variant!r}: one of {', '.join(variants)}")
        if budget not in budgets:
            raise ValueError(f"budget {budget!r}: one of {', '.join(budgets)}")
        self.plan = budgets[budget]
        if data is not None:
            if own := getattr(self.recipe, "LEARNS_FROM", None):
                raise ValueError(f"{name} learns from {own}: it takes no data")
            self.plan = self.plan | {"data": str(data)}
        self.common = {"minutes": minutes, "precision": precision, "compiled": compiled}
        self.again = {"budget": budget, "data": data, "seed": seed, "out": out, "device": device,
                      "tensorboard": tensorboard, **self.common}  # fmt: skip
        super().__init__(
            _folder(out, name, budget, variant, seed),
            seed=seed,
            device=device,
            tensorboard=tensorboard,
            recipe=name,
            variant=variant,
            budget=budget,
            plan=self.plan,
            minutes_a_stage=minutes,
            **({} if precision == "auto" else {"precision": precision}),
            **({"compiled": True} if compiled else {}),
        )

    def go(self) -> dict:
        """The whole variant, or the record of what was done before."""
        if self.finished:
            return self.record()
        model = self.recipe.VARIANTS[self.asked["variant"]](self)
        published = getattr(self.recipe, "PAPER", {}).get(self.asked["variant"], {})
        return self.finish(
            model,
            measure=lambda m: {test: self.measure(m, test) for test in self.plan["tests"]},
            samples=self.samples(model.scale),
            protocol=PROTOCOL,
            paper={"metrics": published, "plan": self.recipe.BUDGETS["paper"]},
        )

    def trained(self, variant: str, model: nn.Module) -> nn.Module:
        """`model` with the weights of another variant of the same seed; trained now if need be."""
        other = RecipeRun(self.asked["recipe"], variant, **self.again)
        other.go()
        self.facts.setdefault("builds_on", []).append(variant)
        return other.load(model)

    def crops(self, scale: int | tuple[int, ...]) -> Patches:
        """Crops of the plan's pictures, made once a process; their hash goes into the record."""
        name = self.plan["data"]
        files = () if name == "procedural" else training_pictures(name)
        files = tuple((path, path.stat().st_mtime_ns) for path in files)
        found = _crops(name, files, scale, self.device)
        if "data" not in self.facts:
            self.facts["data"] = data_facts(name, [found.picture(k) for k in range(len(found.hr))])
        return found

    def fit(self, model: nn.Module, loss, crops, *, stage: str = "", **how) -> None:
        """A stage; steps, batch, patch, how often to validate, and where to clip gradients, if at
        all, are the plan's, unless given.

        stage: "gan" takes the plan's `gan_steps` before its `steps`, and the others alike. The
        record has that prefix, so that a card compares the stage with the paper's own.
        """
        prefix = f"{stage}_" if stage else ""
        named = {key: self.plan.get(f"{prefix}{key}", self.plan[key]) for key in SIZES}
        counterpart = None if "steps" in how else prefix
        how = named | how
        if self.common["minutes"] is not None:
            how.pop("steps")
        how.setdefault("validate", self.validate if self.plan["tests"] else None)
        how.setdefault("validate_every", self.plan.get("validate_every", 250))
        if "clip" in self.plan:
            how.setdefault("clip", self.plan["clip"])
        super().fit(model, loss, crops, **self.common, **how)
        self.stages[-1]["plan"] = counterpart

    def measure(self, model: nn.Module, test: str) -> dict[str, float]:
        """PSNR and SSIM, and LPIPS where the plan asks for it, of one test set.

        A recipe whose network takes more than an LR picture has a function `measure` of its own.
        """
        own = getattr(self.recipe, "measure", None)
        if own is not None:
            return own(self, model, test)
        lpips = self.plan.get("lpips", False)
        means = evaluate(model, test, protocol=PROTOCOL, lpips=lpips).means
        return {key: value for key, value in means.items() if key != "seconds"}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """What is measured now and then while it trains: the first of the plan's tests."""
        return self.measure(model, self.plan["tests"][0])

    def validate_at(self, model: nn.Module, scales: Iterable[int]) -> None:
        """One network at several scales: the record tells of each; the last one stays set."""
        for scale in scales if self.plan["tests"] else ():
            model.scale = scale
            self.facts[f"x{scale}"] = self.validate(model)

    def samples(self, scale: int) -> dict[str, Callable[[nn.Module], Tensor]]:
        """Pictures to look at: the first two of the first test set; a recipe may have its own."""
        own = getattr(self.recipe, "samples", None)
        if own is not None:
            return own(self)
        pairs = [pair for test in self.plan["tests"][:1] for pair in catalog.pairs(test, scale)[:2]]
        lows = {pair.name: load_pair(pair, scale)[0] for pair in pairs}
        return {name: partial(upscale, image=low) for name, low in lows.items()}


def training_pictures(name: str) -> list[Tensor] | list[Path]:
    """For `Patches`: a name of the catalogue, a folder, or "procedural" (needs no file at all).

    Names and folders may be joined by "+", as in "BSDS400+General100".
    """
    if name == "procedural":
        return [to_8bit(image) for image in procedural.pictures(8, 128, seed=0)]
    if Path(name).is_dir():
        return catalog.in_folder(name)
    if "+" in name:
        return [path for part in name.split("+") for path in training_pictures(part)]
    return catalog.pictures(name)


@lru_cache(maxsize=4)
def _crops(
    name: str,
    files: tuple[tuple[Path, int], ...],
    scale: int | tuple[int, ...],
    device: str | None,
) -> Patches:
    """On the GPU that trains, if they fit there; else in memory; else in a file.

    files: all pictures with the times they were last changed at, so that changed ones are read.
    """
    pictures = [path for path, _ in files] or training_pictures(name)
    with suppress(MemoryError):
        if device != "cpu" and torch.cuda.is_available():
            own = os.environ.get("LOCAL_RANK")  # of several processes each has a GPU
            own = torch.device(f"cuda:{own}" if own else device or "cuda")
            return Patches(pictures, scale, device=own)
    with suppress(MemoryError):
        return Patches(pictures, scale)
    store = cache_folder() / "crops" / f"{Path(name).name} x{scale}.pixels"
    return Patches(pictures, scale, store=store)
