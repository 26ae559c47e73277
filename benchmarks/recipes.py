"""The large budgets, proven on a processor: a step of each stage at its full crop, width and batch.

    python benchmarks/recipes.py [--budgets gpu paper] [--only rlfn ...] [--out FILE]

Each recipe's first variant runs with the plan of that budget, but a step or two a stage, BSDS400
for pictures that may not be at hand (larger ones, train/hires or drawn, where crops are larger),
Oxford's VGG-19 for torchvision's, made references for given ones, and no test sets; in a process of
its own, whose peak resident size is taken, on one thread, by whose own time a step is told: other
programs beside it hardly change that. Budgets with one plan are run once.
Rows that the file holds already are kept, if their plan is still the recipe's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from srkit.datasets.procedural import dead_leaves
from srkit.files import find
from srkit.image.io import write_image
from srkit.recipes import RECIPES, recipe, train
from srkit.training.run import find_runs, machine, peak_memory, write_json

OUT = Path(__file__).parents[1] / "data/runs/budgets.json"
SIDE = 321  # pixels, of a BSDS400 picture
LIMIT = 900  # seconds; what takes longer is in the table as such


STAND_INS = {("trunk", "torchvision"): "oxford", ("lte", "torchvision"): "oxford",
             ("level", "given"): "L1"}  # fmt: skip


def shortened(plan: dict) -> dict:
    """The plan with a step or two a stage, on what is at hand."""
    short = {key: min(2, value) if key.endswith("steps") else value for key, value in plan.items()}
    short.pop("validate_every", None)  # there is nothing to validate on
    short |= {key: new for (key, old), new in STAND_INS.items() if plan.get(key) == old}
    if "pictures" in plan:  # how many, and their side: SFTGAN makes its own
        made = {"data": "textures", "pictures": (20, plan["pictures"][1])}
        return short | made | {"tests": (), "from_scratch": True}
    if plan["data"] == "each picture":  # ZSSR trains on the test's own
        return short | {"tests": ("Set5",)}
    return short | {"data": "BSDS400", "tests": (), "from_scratch": True}


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
    module = recipe(name)
    plan = module.BUDGETS[budget] = shortened(module.BUDGETS[budget])
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as drawn:
        if plan.get("patch", 0) * getattr(module, "SCALE", 1) > SIDE:
            plan["data"] = str(large_pictures(Path(drawn)))
        train(name, budget=budget, out=out, device="cpu")
        stages = [
            {
                "run": record["variant"], "loss": stage.get("loss", ["its own"])[0],
                "batch": stage.get("batch", 1), "patch": stage.get("patch"),
                "precision": stage.get("precision", "float32"),
                "processor_seconds_a_step": 60 * stage["cpu_minutes"] / stage["steps"],
            }
            for record in find_runs(Path(out))
            for stage in record["stages"]
        ]  # fmt: skip
    print(json.dumps({"peak_memory_mib": peak_memory(), "stages": stages}))


def measure(name: str, budget: str) -> dict:
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
            key = f"{name}, {budget}"
            plan = json.loads(json.dumps(shortened(recipe(name).BUDGETS[budget])))
            same = (row for k, row in rows.items() if k.startswith(f"{name}, "))
            row = next((r for r in same if "stages" in r and r.get("plan") == plan), None)
            rows[key] = row or measure(name, budget) | {"plan": plan}
            table = {"machine": machine(torch.device("cpu")), "threads": 1, "rows": rows}
            write_json(table, arguments.out)
            print(
                key, {k: v for k, v in rows[key].items() if k not in ("stages", "plan")}, flush=True
            )


if __name__ == "__main__":
    main()
