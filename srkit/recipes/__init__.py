"""Recipes: one paper, one file; how it is trained, in up to five budgets, as values.

A module has one `RECIPE` (`srkit.recipes.base`). Budgets: smoke (seconds, any machine, no files),
laptop (1 to 15 minutes of a processor), overnight (half an hour to three hours of one core, for
claims that minutes cannot tell; not every recipe has it), gpu (minutes to an hour of one GPU) and
paper, which says what the authors did.

    srkit.train("rlfn", budget="smoke")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from srkit.calls import Build, Given, completed
from srkit.checks import at_least, below, expanded
from srkit.files import data_path, locked
from srkit.losses.terms import Sum
from srkit.models.network import Network
from srkit.models.zoo import trained
from srkit.progress import progress_bars
from srkit.recipes.base import BUDGETS, Recipe
from srkit.recipes.run import RecipeRun, folder_of
from srkit.reports.records import Records
from srkit.reports.reproduction import Reproduction
from srkit.training.record import Record, read_record, write_json
from srkit.training.run import files_named, has_learned
from srkit.training.stage import Stage
from srkit.weights.load import load_checkpoint
from srkit.weights.save import save, save_tensors

RECIPES = (
    "srgan", "enhancenet", "memnet", "dbpn", "idn", "rdn", "rcan", "msrn", "carn", "zssr",
    "sftgan", "srfeat", "esrgan", "ttsr", "rlfn", "ciplab",
)  # fmt: skip
DEFAULT_BUDGET = "laptop"


def budget() -> str:
    """The budget that SRKIT_BUDGET names: smoke (default), laptop, overnight or gpu.

    Chapters ask here, so that one switch decides for all of them. Raises ValueError for any other.
    """
    chosen = os.environ.get("SRKIT_BUDGET", "smoke")
    if chosen not in (known := BUDGETS[:-1]):  # not the paper's
        raise ValueError(f"SRKIT_BUDGET={chosen}: expected one of {', '.join(known)}")
    return chosen


def recipe(name: str) -> Recipe:
    """The recipe of a paper, by its short name: "rlfn".

    Raises ValueError for an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: one of {', '.join(RECIPES)}")
    return import_module(f"srkit.recipes.{name}").RECIPE


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
    progress: bool | None = None,
) -> Record:
    """Train a variant of a recipe and return its record.

    The run goes to OUT/NAME/BUDGET/VARIANT-seedN. What is finished there is not done again, what
    was stopped goes on; runs that it builds on (a PSNR stage before an adversarial one) come first.

    variant: by default the first one, which is the paper's own.
    data: pictures to learn from in place of the budget's: a name of the catalogue, a folder, or
    several joined by "+". More than memory holds are laid out in a file of srkit's cache.
    minutes: of each stage, in place of its steps. compiled: by torch.compile. tensorboard: log for
    it as well. resume: "auto", or "never", which refuses a folder that holds a run. progress: False
    shows no bars; None shows them in a terminal and in a notebook at work. What is interrupted
    (Ctrl-C, a notebook's stop) is kept, and goes on when it is asked for again.

    Raises ValueError for settings that do not fit, FileNotFoundError for missing pictures, and
    FloatingPointError when the loss is no longer finite.
    """
    found = recipe(name)
    variant = variant or found.first
    found.check(variant, budget)
    at_least(0, seed=seed)
    below(2**32 // 1000, seed=seed)  # a stage's crops have the seed 1000 seed + series
    _check_resume(resume, [folder_of(out, name, budget, variant, seed)])
    run = RecipeRun(
        name, found, variant, budget=budget, data=None if data is None else str(data), seed=seed,
        out=Path(out), minutes=minutes, precision=precision, compiled=compiled, device=device,
        tensorboard=tensorboard,
    )  # fmt: skip
    with progress_bars(progress):
        return run.go()


def reproduce(
    name: str,
    *,
    variants: Iterable[str] = (),
    seeds: Iterable[int] = (0,),
    budget: str = DEFAULT_BUDGET,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike = "runs",
    minutes: float | None = None,
    precision: str = "auto",
    compiled: bool = False,
    device: str | None = None,
    tensorboard: bool = False,
    resume: str = "auto",
) -> list[Records]:
    """Train variants of a recipe (all, unless named) with each seed; the records of each variant.

    The other arguments are those of `train`. resume="never" looks at all folders before the first
    training, since one may build on another.
    """
    chosen, seeds = list(variants) or list(recipe(name).variants), list(seeds)
    for variant in chosen:
        recipe(name).check(variant, budget)
    _check_resume(resume, [folder_of(out, name, budget, v, seed) for v in chosen for seed in seeds])
    return [
        Records(
            train(
                name, v, budget=budget, data=data, seed=seed, out=out, minutes=minutes,
                precision=precision, compiled=compiled, device=device, tensorboard=tensorboard,
            )
            for seed in seeds
        )
        for v in chosen
    ]  # fmt: skip


def reproduce_recorded(
    name: str,
    variant: str | None = None,
    *,
    budget: str = DEFAULT_BUDGET,
    seed: int = 0,
    out: str | os.PathLike = "runs",
) -> Reproduction:
    """Train a run that srkit ships the record of, as the record says, and compare the figures.

    As recorded are precision, processor threads, plan and pictures (by hash). Where the figures are
    not equal to the last digit, the result says by how much, and what is different here.

    Raises ValueError where there is no such record, or its plan is not the recipe's any more.
    """
    found = recipe(name)
    variant = variant or found.first
    record = Records.of(name).budget(budget).one(variant, seed)
    if not follows_plan(record):
        raise ValueError(f"{record.name} followed another plan than the recipe has now")
    if record.minutes_a_stage is not None:
        raise ValueError(f"{record.name} was trained by the clock: that cannot be repeated exactly")
    threads = torch.get_num_threads()
    precisions = {stage.precision for stage in record.stages}
    try:
        torch.set_num_threads(record.machine["threads"])
        again = train(
            name, variant, budget=budget, seed=seed, out=out, compiled=record.compiled,
            precision=precisions.pop() if len(precisions) == 1 else record.precision,
            device=None if record.machine["gpu"] else "cpu",
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    return Reproduction(record, again)


def _check_resume(resume: str, folders: Iterable[Path]) -> None:
    if resume not in ("auto", "never"):
        raise ValueError(f"resume {resume!r}: auto or never")
    for folder in folders if resume == "never" else ():
        if has_learned(folder):
            raise ValueError(f"{folder} holds a run already: resume auto goes on with it")


def recorded(name: str, variant: str, *, budget: str = "laptop") -> Network:
    """The network of a recorded run that srkit ships, as the chapters show it (seed 0, float16).

    By name it is `srkit.create_model("esrgan/psnr")`. Its record is
    `Records.of(name).budget(budget).one(variant)`. The file's header says how the network is built,
    which run made it, and its scores. Of a few it is the same run once more, on another machine,
    for discriminators to go along (`recorded_loss`): those scores differ a little from the
    record's.

    Raises FileNotFoundError for a run whose weights are not shipped: train it, `srkit.train`.
    """
    return load_checkpoint(_shipped(_weights_file(name, variant, budget), name, variant, budget))


def recorded_loss(name: str, variant: str, *, budget: str = "laptop") -> Sum:
    """The loss of a recorded run's last stage, with the discriminators that it ended with (seed 0).

        judge = recorded_loss("ciplab", "ciplab").terms["adversarial"].discriminator

    Weights that a run measured when it began (`srkit.training.stage.Share`) are 0 here.

    Raises FileNotFoundError for a run whose discriminators are not shipped, and for an extractor
    that the loss looks through and that is not at hand.
    """
    path = _shipped(_weights_file(name, variant, budget, "discriminators"), name, variant, budget)
    *_, stage = recipe(name).stages(variant, budget)
    if not isinstance(stage, Stage):
        raise ValueError(f"{name}, {variant}: its last stage has no loss of terms")
    loss = stage.loss.made(Build(seed=0, given={Given.SEED: 0}), _not_measured)
    tensors = load_file(path)
    if tensors.keys() != loss.discriminators().keys():
        raise ValueError(f"{path} is not of the loss that {name}, {variant} has now")
    loss.load_state_dict(loss.state_dict() | tensors)
    return loss.requires_grad_(False).eval()


def _not_measured(loss: Sum, crops: int) -> dict[str, Tensor]:
    """In place of the first values of a training's terms; the second makes a share of it 0."""
    return {"first": torch.tensor(0.0, device="cpu"), "other": torch.tensor(1.0, device="cpu")}


def collect(
    out: str | os.PathLike, data: str | os.PathLike, *, weights: Sequence[str] = ()
) -> list[Path]:
    """Gather finished runs under `out` into srkit's own data folder; return what was written.

    DATA/runs/NAME.json gets their records, beside those that it holds, in the order of the recipe's
    variants. It loses recorded runs whose plan is not the budget's any more. weights: variants
    whose network of seed 0 goes along in float16, as `recorded` reads it; and its discriminators,
    as `recorded_loss` reads them.

    Raises ValueError for a run that was not the budget's own (minutes, other data), for two of one
    variant, budget and seed, and for weights of a variant without a finished run of seed 0.
    """
    found: dict[str, dict[tuple, tuple[Record, Path]]] = {}
    for path in files_named(out, "run.json"):
        record = read_record(path)
        if record.minutes_a_stage is not None or not follows_plan(record):
            raise ValueError(
                f"{path} is of other minutes, data or sizes than its budget's: "
                "such a run does not stand for the budget, keep it in a folder of its own"
            )
        key, same = (
            (record.variant, record.budget, record.seed),
            found.setdefault(record.recipe, {}),
        )
        if key in same:
            raise ValueError(f"{path} and {same[key][1]} are both {record.name}: move one away")
        same[key] = record, path.parent
    missing = set(weights) - {v for runs in found.values() for v, _, seed in runs if seed == 0}
    if missing:
        raise ValueError(f"no finished run of {', '.join(sorted(missing))}, seed 0, under {out}")
    written = []
    for name, runs in found.items():
        target, order = expanded(data) / f"runs/{name}.json", list(recipe(name).variants)
        with locked(target):  # of two that gather at once, each adds to what the other wrote
            before = Records.read(target) if target.exists() else Records([])
            records = {(r.variant, r.budget, r.seed): r for r in before if follows_plan(r)}
            records |= {key: record for key, (record, _) in runs.items()}
            kept = [records[k] for k in sorted(records, key=lambda k: (order.index(k[0]), k))]
            write_json([record.to_json() for record in kept], target)
        written.append(target)
        for (variant, budget, seed), (record, folder) in runs.items():
            if variant in weights and seed == 0:
                written.append(expanded(data) / _weights_file(name, variant, budget))
                keep_weights(record, folder / "model.safetensors", written[-1])
                if (judges := folder / "discriminators.safetensors").exists():
                    written.append(
                        expanded(data) / _weights_file(name, variant, budget, "discriminators")
                    )
                    how = {"provenance": _said(record), "dtype": torch.float16}
                    save_tensors(load_file(judges), written[-1], **how)
    return written


def keep_weights(record: Record, model: Path, path: Path) -> None:
    """Write a run's network in float16; the file's header says what run it was."""
    save(load_checkpoint(model), path, provenance=_said(record), dtype=torch.float16)


def _said(record: Record) -> dict[str, Any]:
    """What a file of weights tells of the run that made it."""
    said = ("recipe", "variant", "budget", "minutes_a_stage", "seed", "code", "metrics")
    return {name: getattr(record, name) for name in said}


def follows_plan(record: Record) -> bool:
    """Whether a run had the plan that its recipe has for that budget now, field by field.

    An argument that a class got after the run counts as its default.
    """
    found = recipe(record.recipe)
    known = record.variant in found.variants and record.budget in found.budgets
    return known and completed(record.plan) == found.plan(record.variant, record.budget)


def _weights_file(name: str, variant: str, budget: str, part: str | None = None) -> str:
    part = part or f"x{recipe(name).scale}"
    return f"weights/{name}-{budget}-{variant}_{part}.safetensors"


def _shipped(file: str, name: str, variant: str, budget: str) -> Path:
    try:
        return data_path(file)
    except FileNotFoundError:
        ours = ", ".join(e.family for e in trained() if e.family.startswith(f"{name}/")) or "none"
        raise FileNotFoundError(
            f"srkit ships no {file}: "
            f"srkit train {name} --variant {variant} --budget {budget} makes its like. "
            f"Of that recipe it ships: {ours}."
        ) from None
