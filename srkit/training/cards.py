"""Reproduction cards: what a paper reports, what we got, the gap, and what we did otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev

from srkit import tables
from srkit.files import write_whole

DIGITS = {"psnr": 2, "ssim": 4, "lpips": 3, "lpips-squeeze": 3}
UNITS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS (AlexNet)",
    "lpips-squeeze": "LPIPS (SqueezeNet)",
}
# Read from a plan and its paper's, in this order, as "500 of 1,000,000 steps".
SIZES = {"steps": "steps", "batch": "crops a step", "patch": "LR pixels a side of a crop"}


@dataclass(frozen=True)
class Card:
    """The card of one variant, over all seeds that it was run with. Prints as a table."""

    title: str
    rows: list[list[str]]
    causes: list[str]

    def __str__(self) -> str:
        return "\n".join([self.title, tables.text(self.rows), *self.causes])

    def _repr_html_(self) -> str:
        causes = "".join(f"<p>{escape(line)}</p>" for line in self.causes)
        return tables.html(self.rows, [self.title]) + causes


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
    return Card(title, rows, causes(first))


def spread(values: Sequence[float], digits: int) -> str:
    """The mean, and the sample standard deviation where there are several."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def causes(record: Mapping) -> list[str]:
    """What was done otherwise than in the paper, and what it was done with."""
    plan, paper = record["plan"], record["paper"]["plan"]
    parts = [
        f"{plan[key]:,} of {paper[key]:,} {what}"
        for key, what in SIZES.items()
        if plan.get(key) != paper.get(key) and key in plan and key in paper
    ]
    if plan["data"] != paper["data"]:
        parts.insert(0, f"trained on {plan['data']}, the paper on {paper['data']}")
    machine = record["machine"]
    device = machine["gpu"] or f"{machine['threads']} thread(s), {machine['capability']}"
    return [
        f"{record['parameters']:,} parameters. Otherwise than the paper: "
        + ("; ".join(parts) or "nothing that the plan tells")
        + ".",
        f"{record['minutes']:.1f} minutes of training on {device}, torch {machine['torch']}, "
        f"{record['peak_memory_mib']:,} MiB at most. Protocol {record['protocol']}.",
    ]


def plot(records: Iterable[Mapping], path: Path) -> None:
    """PSNR over steps on what each run was validated with, as a PNG; a colour a variant."""
    from srkit.viz.plots import curves

    lines: dict[str, list] = {}
    for record in records:
        points, before = [], 0
        for stage in record["stages"]:
            rows = (row for row in stage["history"] if "psnr" in row)
            points += [(before + row["step"], row["psnr"]) for row in rows]
            before += stage["steps"]
        if points:
            lines.setdefault(f"{record['recipe']}, {record['variant']}", []).append(points)
    if not lines:
        raise ValueError("these runs were not validated: there is nothing to plot")
    figure = curves(lines, xlabel="step", ylabel="PSNR (dB)", alt="PSNR over steps, a line a run")
    with write_whole(path) as file:
        file.write(figure.still)


def summary(records: Iterable[Mapping]) -> str:
    """A line a run: what `srkit runs` prints."""
    rows = [["run", "seed", "steps", "minutes", "test", "PSNR", "LPIPS"]]
    for record in records:
        steps = sum(stage["steps"] for stage in record["stages"])
        line = ["/".join(record[k] for k in ("recipe", "budget", "variant")), str(record["seed"])]
        line += [f"{steps:,}", f"{record['minutes']:.1f}"]
        name, scores = next(iter(record["metrics"].items()), ("", {}))
        line += [name] + [
            f"{scores[metric]:.{DIGITS[metric]}f}" if metric in scores else ""
            for metric in ("psnr", "lpips")
        ]
        rows.append(line)
    return tables.text(rows)
