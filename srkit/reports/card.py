"""Reproduction cards: what a paper reports, what we got, the gap, and what we did otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev

from srkit.files import write_whole
from srkit.viz import tables

DIGITS = {"psnr": 2, "ssim": 4, "lpips": 3, "lpips-squeeze": 3}
UNITS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS (AlexNet)",
    "lpips-squeeze": "LPIPS (SqueezeNet)",
}
# Of a stage and of its paper's plan, in this order, as "16 of 64 crops a step".
SIZES = {"batch": "crops a step", "patch": "LR pixels a side of a crop"}


@dataclass(frozen=True)
class Card:
    """A table, its title, and lines below it. Prints as such, in a notebook as HTML."""

    title: str
    rows: list[list[str]]
    causes: list[str]

    def __str__(self) -> str:
        return "\n".join(filter(None, [self.title, tables.text(self.rows), *self.causes]))

    def _repr_html_(self) -> str:
        causes = "".join(f"<p>{escape(line)}</p>" for line in self.causes)
        return tables.html(self.rows, [self.title] if self.title else []) + causes


def card(records: Mapping | Iterable[Mapping]) -> Card:
    """The card of a run's record, or of one variant's records with several seeds.

    Every figure is read from the records; the paper's stand there as the recipe gave them.
    """
    group = [records] if isinstance(records, Mapping) else list(records)
    kinds = {(r["recipe"], r["variant"], r["budget"]) for r in group}
    if len(kinds) != 1:
        raise ValueError(
            "a card is for one variant with one budget; these records are of "
            + (", ".join(sorted("/".join(kind) for kind in kinds)) or "none")
        )
    first = group[0]
    rows = [["", "paper", "ours", "gap"]]
    published = first["paper"]["metrics"]
    for name, scores in first["metrics"].items():
        for metric in scores:
            ours = [record["metrics"][name][metric] for record in group]
            theirs = published.get(name, {}).get(metric)
            digits = DIGITS[metric]
            rows.append(
                [
                    f"{name}, {UNITS[metric]}",
                    "" if theirs is None else f"{theirs:.{digits}f}",
                    spread(ours, digits),
                    "" if theirs is None else f"{mean(ours) - theirs:+.{digits}f}",
                ]
            )
    seeds = ", ".join(str(record["seed"]) for record in group)
    title = f"{first['recipe']}, {first['variant']}: budget {first['budget']}, seeds {seeds}"
    return Card(title, rows, causes(*group))


def opening(read: int, smoke: int, *, laptop: float = 0, records: Iterable[Mapping] = ()) -> Card:
    """What a chapter tells at its top: minutes to read, seconds and minutes to run, and hardware.

    laptop: minutes that its own training takes with that budget. records: of the runs that it
    shows; their machine and their time are read from them.
    """
    rows = [["this chapter", ""], ["to read", f"{read} minutes"]]
    rows += [["to run, budget smoke", f"{smoke} seconds of one core"]]
    if laptop:
        rows += [["to run, budget laptop", f"{laptop:.0f} minutes of one core"]]
    if records := list(records):
        minutes = sum(record["minutes"] for record in records)
        rows += [["the recorded runs", f"{len(records)}, in all {minutes:.0f} minutes"]]
        rows += [["they ran on", where(*records)]]
    return Card("", rows, [])


def where(*records: Mapping) -> str:
    """What runs ran on, in words."""
    machines = (record["machine"] for record in records)
    found = {m["gpu"] or f"{m['threads']} thread(s), {m['capability']}" for m in machines}
    return "; ".join(sorted(found))


def spread(values: Sequence[float], digits: int) -> str:
    """The mean, and the sample standard deviation where there are several."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def otherwise(record: Mapping) -> str:
    """What was done otherwise than in the paper, by the record's last stage and the two plans."""
    plan, paper, stage = record["plan"], record["paper"]["plan"], record["stages"][-1]
    parts = []
    if plan["data"] != paper["data"]:
        parts += [f"trained on {plan['data']}, the paper on {paper['data']}"]
    if plan.get("generator") != paper.get("generator"):
        parts += [f"{plan['generator']} for {paper['generator']}"]
    prefix = counterpart(record)
    ours, theirs = (network_of(p, prefix) for p in (plan, paper))
    parts += [f"{ours[k]} of {theirs[k]} {k}" for k in ours if theirs.get(k, ours[k]) != ours[k]]
    full = None if prefix is None else paper.get(f"{prefix}steps")
    after = " after ".join(["", *record.get("builds_on", ())])
    if after or full != stage["steps"]:
        of = f" of {full:,}" if full and full != stage["steps"] else ""
        parts += [f"{stage['steps']:,}{of} steps{after}"]
    for key, what in SIZES.items():
        full = paper.get(f"{prefix or ''}{key}", paper.get(key))
        if key in stage and full not in (None, stage[key]):
            parts += [f"{stage[key]:,} of {full:,} {what}"]
    own, full = (p.get(f"{prefix or ''}rate") for p in (plan, paper))
    if own and full and own != full:
        parts += [f"learning rate {own:g} for {full:g}"]
    if plan.get("fall") != paper.get("fall"):
        parts += [f"the rate falls as a {plan['fall']}"]
    if "clip" in plan and stage["clip"] not in (None, paper.get("clip")):
        parts += [f"gradients clipped to a norm of {stage['clip']:g}"]
    if plan.get("start", "random") != paper.get("start", "random") and not after:
        parts += ["starts as an enlargement"]
    return "; ".join(parts) or "nothing that the plan tells"


def counterpart(record: Mapping) -> str | None:
    """The prefix that a plan's names have for the last stage, as "gan_" of "gan_steps".

    None for a stage that stands in no plan. Early records do not say; there the steps tell.
    """
    plan, stage = record["plan"], record["stages"][-1]
    if "plan" in stage:
        return stage["plan"]
    # "steps" comes first in a plan: a stage that builds on another has the last of equal ones
    named = [key for key in plan if key.endswith("steps") and plan[key] == stage["steps"]]
    return named[-1 if "builds_on" in record else 0].removesuffix("steps") if named else None


def network_of(plan: Mapping, prefix: str | None) -> Mapping:
    """A network's sizes: the plan's `ablation` for a stage "ablation_", else its `network`."""
    sizes = plan.get((prefix or "").removesuffix("_"), plan.get("network", {}))
    return {key: plan[key] for key in ("channels",) if key in plan} | sizes


def causes(*records: Mapping) -> list[str]:
    """What was done otherwise than in the paper, and what it was done with, by seeds of one run."""
    first = records[0]
    minutes = mean(record["minutes"] for record in records)
    peak = max(record["peak_memory_mib"] or 0 for record in records)
    return [
        f"{first['parameters']:,} parameters. Otherwise than the paper: {otherwise(first)}.",
        f"{minutes:.1f} minutes of training{' each' if records[1:] else ''} on {where(*records)}, "
        f"torch {first['machine']['torch']}{f', {peak:,} MiB at most' if peak else ''}. "
        f"Protocol {first['protocol']}.",
    ]


def validated(record: Mapping, metric: str = "psnr") -> list[tuple[int, float]]:
    """(step, value) of each validation of a run, its steps counted through all its stages."""
    points, before = [], 0
    for stage in record["stages"]:
        rows = (row for row in stage["history"] if metric in row)
        points += [(before + row["step"], row[metric]) for row in rows]
        before += stage["steps"]
    return points


def scores(
    records: Iterable[Mapping],
    variants: Iterable[str] | None = None,
    *,
    tests: Iterable[str] = ("Set5", "Set14"),
    metrics: Iterable[str] = ("psnr",),
) -> Card:
    """Variants of a recipe side by side: parameters, seeds, mean and deviation of each metric.

    variants: which, in which order (all, unless given); one without a record is left out.
    """
    groups: dict[str, list[Mapping]] = {}
    for record in records:
        groups.setdefault(record["variant"], []).append(record)
    columns = [(test, metric) for test in tests for metric in metrics]
    rows = [["", "parameters", "seeds", *(f"{test}, {UNITS[m]}" for test, m in columns)]]
    for variant in groups if variants is None else variants:
        if group := groups.get(variant):
            cells = [
                spread([record["metrics"][test][metric] for record in group], DIGITS[metric])
                for test, metric in columns
            ]
            rows.append([variant, f"{group[0]['parameters']:,}", str(len(group)), *cells])
    return Card("", rows, [])


def plot(records: Iterable[Mapping], path: Path) -> None:
    """PSNR over steps on what each run was validated with, as a PNG; a colour a variant."""
    from srkit.viz.plots import curves

    lines: dict[str, list] = {}
    for record in records:
        if points := validated(record):
            name = ", ".join(record[key] for key in ("recipe", "variant", "budget"))
            lines.setdefault(name, []).append(points)
    if not lines:
        raise ValueError("these runs were not validated: there is nothing to plot")
    figure = curves(lines, xlabel="step", ylabel="PSNR (dB)", alt="PSNR over steps, a line a run")
    with write_whole(path) as file:
        file.write(figure.still)


def summary(records: Iterable[Mapping]) -> str:
    """A line a variant, its seeds together: what `srkit runs` prints. Steps and minutes of one.

    Runs on other data, or of other minutes, have lines of their own.
    """
    groups: dict[tuple, list[Mapping]] = {}
    for record in records:
        name = "/".join(record[k] for k in ("recipe", "budget", "variant"))
        key = name, record["plan"]["data"], record.get("minutes_a_stage")
        groups.setdefault(key, []).append(record)
    rows = [["run", "data", "seeds", "steps", "minutes", "test", "PSNR", "LPIPS"]]
    for (name, data, _), group in groups.items():
        steps = round(mean(sum(stage["steps"] for stage in record["stages"]) for record in group))
        minutes = mean(record["minutes"] for record in group)
        seeds = ", ".join(str(seed) for seed in sorted(record["seed"] for record in group))
        test = next((test for record in group for test in record["metrics"]), "")
        cells = []
        for metric in ("psnr", "lpips"):
            found = [record["metrics"].get(test, {}).get(metric) for record in group]
            found = [value for value in found if value is not None]
            cells.append(spread(found, DIGITS[metric]) if found else "")
        rows.append([name, data, seeds, f"{steps:,}", f"{minutes:.1f}", test, *cells])
    return tables.text(rows)
