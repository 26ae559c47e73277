"""The ledger: what papers report and claim, and what recorded runs show of it.

Everything here is read: the papers' figures from `data/published.json` and the recipes, ours from
the records in `data/runs`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from statistics import mean

from srkit.files import data_path
from srkit.models.zoo import model_info
from srkit.recipes import RECIPES, recipe
from srkit.recipes.base import Recipe
from srkit.reports.card import DIGITS, UNITS, changes, machines, spread, where
from srkit.reports.claims import Claim, Finding
from srkit.reports.records import Records
from srkit.viz import tables

# The setup of `data/runs/official.json` that is each network's own paper's; the others: "classic".
MEASURED_AS = {
    "bicubic": "yplane",
    "vdsr": "yplane",
    "lapsrn": "yplane",
    "idn": "yplane",
    "enhancenet_pat": "lanczos",
    "carn": "truncated",
    "carn_m": "truncated",
}
# Set14 holds one grey picture. Scored as RGB through Y, whose levels span 219 of 255, it gains this
# much, and the mean over the fourteen a fourteenth of it.
GREY = 20 * math.log10(255 / 219) / 14


@dataclass(frozen=True)
class Line:
    """One claim: text in every field, as it is shown."""

    paper: str
    claim: str
    theirs: str
    ours: str
    gap: str
    cause: str
    budget: str
    hardware: str


@dataclass(frozen=True, repr=False)
class Ledger:
    """Lines of one kind. Prints as a table, in a notebook as HTML.

    cause: the head of that column, which for claims holds the answer.
    """

    lines: tuple[Line, ...]
    cause: str = "cause"

    @property
    def rows(self) -> list[list[str]]:
        heads = {"theirs": "the paper's", "cause": self.cause}
        head = [heads.get(field.name, field.name) for field in fields(Line)]
        return [head, *(list(astuple(line)) for line in self.lines)]

    def __str__(self) -> str:
        return tables.text(self.rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.html(self.rows)


def weights() -> Ledger:
    """The authors' weights in srkit's networks, measured as their papers did, beside the tables."""
    official = json.loads(data_path("runs/official.json").read_text())
    published = {
        (f"{p['model']}_x{p['scale']}", p["data"]): p
        for p in json.loads(data_path("published.json").read_text())
    }
    hardware, lines = machines([official["machine"]]), []
    for row in official["rows"]:
        name, paper = row["model"], published.get((row["model"], row["data"]))
        family, scale = name.rsplit("_x", 1)
        if paper is None or row["setup"] != MEASURED_AS.get(family, "classic"):
            continue
        gap = round(row["psnr"] - paper["psnr"], 2) + 0.0  # no minus zero
        mark = "'" if paper["second_hand"] else ""
        label = "bicubic" if family == "bicubic" else model_info(name).paper.label
        lines.append(
            Line(
                label,
                f"{family} x{scale}, {row['data']}, PSNR, dB",
                f"{paper['psnr']:.2f}{mark}",
                f"{row['psnr']:.2f}",
                f"{gap:+.2f}",
                gap_cause(row["data"], gap, paper["second_hand"]),
                "authors' weights" if row["sha256"] else "no weights",
                hardware,
            )
        )
    return Ledger(tuple(lines))


def gap_cause(data: str, gap: float, second_hand: bool) -> str:
    """Why authors' weights do not give their paper's PSNR; "" within a hundredth of a decibel."""
    if abs(gap) <= 0.01:
        return ""
    if data == "Set14" and abs(abs(gap) - GREY) < 0.02:
        return "Set14's grey picture, scored as grey by one side and as RGB by the other"
    return "not found" + ("; the paper's value is second-hand" if second_hand else "")


def trained(names: Iterable[str] = RECIPES) -> Ledger:
    """Networks trained here, beside their papers' figures; mean and spread over the seeds."""
    lines = []
    for name in names:
        for (variant, budget), group in records(name).groups().items():
            cause = "; ".join(dict.fromkeys(str(change) for change in changes(group[0])))
            for test, theirs in group[0].paper["metrics"].items():
                for metric, value in theirs.items():
                    if ours := list(group.values(variant, test, metric).values()):
                        digits = DIGITS[metric]
                        lines.append(
                            Line(
                                recipe(name).label,
                                f"{variant}, {test}, {UNITS[metric]}",
                                f"{value:.{digits}f}",
                                spread(ours, metric),
                                f"{mean(ours) - value:+.{digits}f}",
                                cause,
                                budget,
                                where(group),
                            )
                        )
    return Ledger(tuple(lines))


@dataclass(frozen=True)
class Tested:
    """A claim, and what recorded runs of one budget say of it.

    theirs: the difference in the paper, where it has figures. records: the runs of the claim's
    variant that count. budget: "" where it was not run.
    """

    paper: str
    claim: Claim
    finding: Finding
    theirs: float | None
    budget: str
    records: Records

    @property
    def line(self) -> Line:
        """As text."""
        claim, digits = self.claim, DIGITS[self.claim.metric]
        pair = f"{claim.of} - {claim.against}, {claim.test}"
        if claim.against_test:
            pair = f"{claim.of}, {claim.test} - {claim.against}, {claim.against_test}"
        direction = {1: "higher", -1: "lower", 0: "not lower"}[claim.sign]
        mean, half, count = self.finding.mean, self.finding.half, len(self.finding.seeds)
        ours = "" if mean is None else f"{mean:+.{digits}f}"
        return Line(
            self.paper,
            f"{claim.says} ({pair}, {UNITS[claim.metric]})",
            direction if self.theirs is None else f"{self.theirs:+.{digits}f}",
            ours if half is None else f"{ours} ± {half:.{digits}f}",
            "" if mean is None or self.theirs is None else f"{mean - self.theirs:+.{digits}f}",
            self.finding.verdict + (f" ({count} seeds)" if count > 1 else ""),
            self.budget,
            where(self.records),
        )


def findings(names: Iterable[str] = RECIPES) -> list[Tested]:
    """What the papers claim of their parts, put to recorded runs, in numbers.

    One for each budget that a claim was tested with; a claim that was not run has one, too.
    """
    found = []
    for name in names:
        own, runs = recipe(name), records(name)
        for claim in own.claims:
            theirs = claim.paper
            if theirs is None:
                theirs = _published(own, claim)
            by_budget = {budget: claim.tested(runs.budget(budget)) for budget in own.budgets}
            ran = {budget: f for budget, f in by_budget.items() if f.seeds}
            for budget, finding in (ran or {"": claim.tested(Records([]))}).items():
                group = runs.budget(budget).variant(claim.of)
                group = Records(r for r in group if r.seed in finding.seeds)
                found.append(Tested(own.label, claim, finding, theirs, budget, group))
    return found


def claims(names: Iterable[str] = RECIPES) -> Ledger:
    """The lines of `findings`: yes, no, or neither. ± is half of the mean's 95 % interval."""
    return Ledger(tuple(each.line for each in findings(names)), "answer")


def records(name: str) -> Records:
    """The recorded runs of a recipe; none if srkit ships none."""
    try:
        return Records.of(name)
    except FileNotFoundError:
        return Records([])


def _published(own: Recipe, claim: Claim) -> float | None:
    """The difference that a paper's own figures of two variants make."""
    values = [
        own.published.get(variant, {}).get(claim.test, {}).get(claim.metric)
        for variant in (claim.of, claim.against)
    ]
    of, against = values
    return None if of is None or against is None else of - against
