"""Moves recorded runs of the first edition into the records of the second; every figure stays.

    python tools/move_records.py OLD_FOLDER data/runs

OLD_FOLDER: `data/runs` as it was, or run.json files of that edition in folders of their own. What a
run was asked for is written anew from its recipe, and checked, stage by stage, against what the old
record says of it: sizes, learning rate, clipping, validation. A record that disagrees stops it all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from srkit.recipes import RECIPES, recipe
from srkit.training.record import Record, StageResult, write_json

MEASURED = (
    "steps", "minutes", "cpu_minutes", "history", "loss", "precision", "compiled", "processes",
    "steps_per_second", "test", "image", "psnr", "ssim",
)  # fmt: skip
KEPT = (
    "recipe", "variant", "budget", "seed", "minutes_a_stage", "parameters", "protocol", "metrics",
    "minutes", "cpu_minutes", "peak_memory_mib", "peak_gpu_memory_mib", "machine", "code",
    "precision", "compiled", "builds_on", "baselines", "code_after_stops",
)  # fmt: skip


def moved(old: dict[str, Any]) -> Record:
    """The new record of an old one."""
    own = recipe(old["recipe"])
    budget, variant = old["budget"], old["variant"]
    named = old["plan"]["data"]
    data = None if named == own.budgets[budget].data else named
    stages = own.stages(variant, budget, data)
    loop = [stage for stage in old["stages"] if "rate" in stage]
    if loop and len(loop) != len(stages):
        raise ValueError(f"{variant}: {len(loop)} stages recorded, {len(stages)} in the recipe")
    for was, stage in zip(loop, stages, strict=False):
        said = {
            "batch": stage.batch, "patch": stage.patch, "rate": str(stage.rate),
            "steps": stage.steps, "clip": stage.clip, "validate_every": stage.validate_every,
        }  # fmt: skip
        if old["minutes_a_stage"] is not None:
            del said["steps"]
        for name, value in said.items():
            if was.get(name, None if name == "clip" else value) != value:
                raise ValueError(
                    f"{old['recipe']}, {variant}, {stage.name}: {name} was {was[name]}, is {value}"
                )
    kept = {name: old[name] for name in KEPT if name in old}
    kept |= {name: tuple(kept[name]) for name in ("builds_on", "code_after_stops") if name in kept}
    facts = old.get("data")
    return Record(
        **kept,
        plan=own.plan(variant, budget, data),
        paper={
            "metrics": own.published.get(variant, {}),
            "stages": own.plan(variant, "paper")["stages"],
        },
        stages=tuple(result(stage) for stage in old["stages"]),
        data=facts and {name: facts[name] for name in ("name", "pictures", "sha256")},
        scales={name: old[name] for name in ("x2", "x3", "x4") if name in old},
    )


def result(stage: dict[str, Any]) -> StageResult:
    """What a stage came to. The word for a discriminator was "critic"."""
    words = json.loads(json.dumps(stage).replace("critic", "discriminator"))
    kept = {name: words[name] for name in MEASURED if name in words}
    return StageResult(**kept | {"loss": tuple(kept.get("loss", ()))})


def old_records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By file name: lists of records, or single runs under the name of their recipe."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.rglob("run.json")):
        record = json.loads(path.read_text())
        found.setdefault(record["recipe"], []).append(record)
    for path in sorted(folder.glob("*.json")):
        if isinstance(records := json.loads(path.read_text()), list):
            found.setdefault(path.stem, []).extend(records)
    return found


def main(source: str, target: str) -> None:
    """Move all; records that TARGET has anew (same recipe, variant, budget, seed) are replaced."""
    for name, records in old_records(Path(source)).items():
        new = [moved(record) for record in records]
        path = Path(target) / f"{name}.json"
        if name in RECIPES:
            before = json.loads(path.read_text()) if path.exists() else []
            kept = {
                (r.variant, r.budget, r.seed): r
                for r in (Record.from_json(each, path) for each in before if "paper" in each)
            }
            kept |= {(r.variant, r.budget, r.seed): r for r in new}
            order = list(recipe(name).variants)
            new = [kept[k] for k in sorted(kept, key=lambda k: (order.index(k[0]), k))]
        write_json([record.to_json() for record in new], path)
        print(f"{path}: {len(new)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
