"""The large budgets, proven on a processor: a step of each stage at its full crop, width and batch.

    python benchmarks/recipes.py [--budgets gpu paper] [--only rlfn ...] [--out FILE]

The stages of each recipe's first variant, and of those that it builds on, are those of that budget,
but a step or two long, on BSDS400 in place of pictures that may not be at hand (larger ones,
train/hires or drawn, where crops are larger), with Oxford's VGG-19 for torchvision's, made
references for given ones, and no test sets; in a process of its own, whose peak resident size is
taken, on one thread, by whose own time a step is told: other programs beside it hardly change that.
Budgets with one plan are run once. Rows that the file holds already are kept, if their plan is
still the recipe's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from srkit.calls import Call, as_json, completed
from srkit.datasets.procedural import dead_leaves
from srkit.files import find
from srkit.image.io import write_image
from srkit.recipes import RECIPES, recipe
from srkit.recipes.base import Recipe
from srkit.recipes.run import RecipeRun
from srkit.recipes.zssr import PictureByPicture
from srkit.training.record import machine, peak_memory, write_json
from srkit.training.run import find_runs
from srkit.training.stage import Stage

OUT = Path(__file__).parents[1] / "data/runs/budgets.json"
SIDE = 321  # pixels, of a BSDS400 picture
LIMIT = 900  # seconds; what takes longer is in the table as such
STAND_INS = {"torchvision": "oxford", "given": "L1"}
PICTURES = 20  # of those that a recipe draws itself


def at_hand(value: Any) -> Any:
    """A value of a plan with what is at hand in place of what must be fetched."""
    if isinstance(value, Call):
        return value.but(**{name: at_hand(each) for name, each in value.arguments.items()})
    if isinstance(value, tuple | list):
        return type(value)(map(at_hand, value))
    if isinstance(value, Mapping):
        return {name: at_hand(each) for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: at_hand(getattr(value, f.name)) for f in fields(value)})
    return STAND_INS.get(value, value) if isinstance(value, str) else value


def shortened(stage: Any, data: str | None = None) -> Any:
    """The stage, a step or two long, on what is at hand. data: pictures in place of its own."""
    stage = replace(at_hand(stage), steps=min(2, stage.steps))
    if isinstance(stage, PictureByPicture):
        return replace(stage, pictures=("Set5",))
    stage = replace(stage, from_scratch=True)
    if "side" in stage.crops.arguments:  # SFTGAN draws its own
        return replace(stage, crops=stage.crops.but(pictures=PICTURES), data="textures")
    return replace(stage, data=data or "BSDS400")


def short_recipe(own: Recipe, budget: str, data: str | None = None) -> Recipe:
    """The recipe with the variants that its first one is made of, all short."""
    sizes = own.budgets[budget]
    tests = ("Set5",) if own.label == "ZSSR" else ()
    stages = {
        variant: [shortened(stage, data) for stage in own.stages(variant, budget)]
        for variant in own.chain(own.first, budget)
    }
    variants = {variant: lambda b, s=each: s for variant, each in stages.items()}
    return replace(
        own, variants=variants, published={}, claims=(),
        budgets=dict.fromkeys(own.budgets, replace(sizes, tests=tests)),
    )  # fmt: skip


def plan_of(own: Recipe, budget: str) -> Any:
    """What a row stands for: the short stages of the whole chain."""
    short = short_recipe(own, budget)
    return [stage for v in short.variants for stage in short.plan(v, budget)["stages"]]


def large_pictures(folder: Path) -> Path:
    """Photographs of 1200 pixels and more, or drawings of 512."""
    if photographs := find("train/hires/GT"):
        return photographs
    for seed in range(4):
        write_image(dead_leaves(512, seed), folder / f"{seed}.png")
    return folder


def child(name: str, budget: str) -> None:
    """Run it here, and print the row."""
    torch.set_num_threads(1)
    own = recipe(name)
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as drawn:
        stages = [s for v in own.chain(own.first, budget) for s in own.stages(v, budget)]
        sides = [s.patch * max(as_tuple(s.scale)) for s in stages if isinstance(s, Stage)]
        data = str(large_pictures(Path(drawn))) if max(sides, default=0) > SIDE else None
        short = short_recipe(own, budget, data)
        RecipeRun(name, short, own.first, budget=budget, out=out, device="cpu").go()
        rows = [
            {
                "run": record.variant, "loss": (stage.loss or ["its own"])[0],
                "batch": asked.get("batch", 1), "patch": asked.get("patch"),
                "precision": stage.precision,
                "processor_seconds_a_step": 60 * stage.cpu_minutes / stage.steps,
            }
            for record in find_runs(out)
            for k, stage in enumerate(record.stages)
            for asked in [record.plan["stages"][min(k, len(record.plan["stages"]) - 1)]]
        ]  # fmt: skip
    print(json.dumps({"peak_memory_mib": peak_memory(), "stages": rows}))


def as_tuple(scale: int | tuple[int, ...]) -> tuple[int, ...]:
    """One scale or several, as several."""
    return scale if isinstance(scale, tuple) else (scale,)


def measure(name: str, budget: str) -> dict:
    """A row, from a process of its own."""
    command = [sys.executable, __file__, "--child", name, "--budgets", budget]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {LIMIT} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", nargs="+", choices=("gpu", "paper"), default=["gpu", "paper"])
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--child", choices=RECIPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.budgets[0])
        return
    rows = json.loads(arguments.out.read_text())["rows"] if arguments.out.exists() else {}
    for budget in arguments.budgets:
        for name in arguments.only:
            key, plan = f"{name}, {budget}", as_json(plan_of(recipe(name), budget))
            same = (row for k, row in rows.items() if k.startswith(f"{name}, "))
            row = next((r for r in same if "stages" in r and completed(r["plan"]) == plan), None)
            rows[key] = row or measure(name, budget) | {"plan": plan}
            table = {"machine": machine(torch.device("cpu")), "threads": 1, "rows": rows}
            write_json(table, arguments.out)
            told = {k: v for k, v in rows[key].items() if k not in ("stages", "plan")}
            print(key, told, flush=True)


if __name__ == "__main__":
    main()
