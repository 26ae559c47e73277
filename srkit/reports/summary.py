"""Many runs at once: side by side, in a list, in a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from srkit.files import write_whole
from srkit.reports.card import UNITS, spread
from srkit.reports.records import Records
from srkit.training.record import Record
from srkit.viz.tables import Table


def side_by_side(
    records: Records,
    variants: Sequence[str] = (),
    *,
    tests: Sequence[str] = ("Set5", "Set14"),
    metrics: Sequence[str] = ("psnr",),
) -> Table:
    """Variants of a recipe: parameters, seeds, mean and deviation of each metric.

    variants: which, in which order (all, unless given); one without a record is left out.
    """
    columns = [(test, metric) for test in tests for metric in metrics]
    rows = [["", "parameters", "seeds", *(f"{test}, {UNITS[m]}" for test, m in columns)]]
    for variant in variants or records.variants:
        if group := records.variant(variant):
            values = [list(group.values(variant, *column).values()) for column in columns]
            cells = [spread(v, metric) for v, (_, metric) in zip(values, columns, strict=True)]
            rows.append([variant, f"{group[0].parameters:,}", str(len(group)), *cells])
    return Table(rows)


def summary(records: Iterable[Record]) -> Table:
    """A line a variant, its seeds together: what `srkit runs` prints.

    Steps and minutes are means per run.

    Runs with another plan (other data, say), or of other minutes, have lines of their own.
    """
    groups: dict[tuple, list[Record]] = {}
    for r in records:
        groups.setdefault(r.kind, []).append(r)
    rows = [["run", "data", "seeds", "steps", "minutes", "test", "PSNR", "LPIPS"]]
    for (recipe, budget, variant, *_), each in groups.items():
        group, name = Records(each), f"{recipe}/{budget}/{variant}"
        steps = round(mean(sum(stage.steps for stage in r.stages) for r in group))
        minutes = mean(r.minutes for r in group)
        seeds = ", ".join(str(seed) for seed in sorted(r.seed for r in group))
        test = next((test for r in group for test in r.metrics), "")
        scores = [r.metrics.get(test, {}) for r in group]  # of a copied run, too
        values = [[s[m] for s in scores if m in s] for m in ("psnr", "lpips")]
        cells = [spread(v, m) if v else "" for v, m in zip(values, ("psnr", "lpips"), strict=True)]
        data = ", ".join(dict.fromkeys(stage["data"] for stage in group[0].plan.get("stages", ())))
        rows.append([name, data, seeds, f"{steps:,}", f"{minutes:.1f}", test, *cells])
    return Table(rows)


def plot(records: Iterable[Record], path: Path) -> None:
    """Write a PNG of validation PSNR over steps; one colour a variant.

    Raises ValueError where no run was validated.
    """
    from srkit.viz.plots import curves

    lines: dict[str, list] = {}
    for record in records:
        if points := record.curve():
            name = ", ".join((record.recipe, record.variant, record.budget))
            lines.setdefault(name, []).append(points)
    if not lines:
        raise ValueError("these runs were not validated: there is nothing to plot")
    figure = curves(lines, xlabel="step", ylabel="PSNR (dB)", alt="PSNR over steps, a line a run")
    with write_whole(path) as file:
        file.write(figure.still)
