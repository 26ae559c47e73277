"""The ledger: what papers report and claim, and what recorded runs show of it.

Everything here is read: the papers' figures from `data/published.json` and the recipes, ours from
the records in `data/runs`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from statistics import mean

from srkit.files import data_path
from srkit.models.zoo import model_info
from srkit.recipes import RECIPES, recipe
from srkit.reports.card import DIGITS, UNITS, otherwise, spread, where
from srkit.training.run import read_runs
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
NAMES = {
    "srgan": "SRGAN", "enhancenet": "EnhanceNet", "memnet": "MemNet", "dbpn": "DBPN", "idn": "IDN",
    "rdn": "RDN", "rcan": "RCAN", "msrn": "MSRN", "carn": "CARN", "zssr": "ZSSR",
    "sftgan": "SFTGAN", "srfeat": "SRFeat", "esrgan": "ESRGAN", "ttsr": "TTSR", "rlfn": "RLFN",
    "ciplab": "CIPLab",
}  # fmt: skip


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


@dataclass(frozen=True)
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

    def _repr_html_(self) -> str:
        return tables.html(self.rows)


def weights() -> Ledger:
    """The authors' weights in srkit's networks, measured as their papers did, beside the tables."""
    official = read_runs("official")
    published = {
        (f"{p['model']}_x{p['scale']}", p["data"]): p
        for p in json.loads(data_path("published.json").read_text())
    }
    hardware, lines = where(official), []
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
        groups: dict[tuple[str, str], list[dict]] = {}
        for record in records(name):
            groups.setdefault((record["variant"], record["budget"]), []).append(record)
        for (variant, budget), group in groups.items():
            published = group[0]["paper"]["metrics"]
            for test, theirs in published.items():
                for metric, value in theirs.items():
                    ours = [r["metrics"][test][metric] for r in group if test in r["metrics"]]
                    if ours:
                        digits = DIGITS[metric]
                        lines.append(
                            Line(
                                NAMES[name],
                                f"{variant}, {test}, {UNITS[metric]}",
                                f"{value:.{digits}f}",
                                spread(ours, digits),
                                f"{mean(ours) - value:+.{digits}f}",
                                otherwise(group[0]),
                                budget,
                                where(*group),
                            )
                        )
    return Ledger(tuple(lines))


def claims(names: Iterable[str] = RECIPES) -> Ledger:
    """What the papers claim of their parts, tested on recorded runs: a yes, a no, or neither.

    A line for each budget that a claim was tested with; one that was not run has a line, too.
    """
    lines = []
    for name in names:
        module, runs = recipe(name), records(name)
        groups = [[r for r in runs if r["budget"] == b] for b in module.BUDGETS]
        for claim in getattr(module, "CLAIMS", ()):
            digits, theirs = DIGITS[claim.metric], claim.paper
            if theirs is None:
                theirs = _published(module.PAPER, claim.of, claim.against, claim.test, claim.metric)
            direction = {1: "higher", -1: "lower", 0: "not lower"}[claim.sign]
            pair = f"{claim.of} - {claim.against}, {claim.test}"
            if claim.against_test:
                pair = f"{claim.of}, {claim.test} - {claim.against}, {claim.against_test}"
            says = f"{claim.says} ({pair}, "
            tested = [(group, d) for group in groups if (d := claim.differences(group))]
            for group, found in tested or [([], {})]:
                ran = [r for r in group if r["variant"] == claim.of and r["seed"] in found]
                known = theirs is not None and found
                gap = f"{mean(found.values()) - theirs:+.{digits}f}" if known else ""
                lines.append(
                    Line(
                        NAMES[name],
                        f"{says}{UNITS[claim.metric]})",
                        direction if theirs is None else f"{theirs:+.{digits}f}",
                        _signed(list(found.values()), digits),
                        gap,
                        claim.verdict(found),
                        ran[0]["budget"] if ran else "",
                        where(*ran),
                    )
                )
    return Ledger(tuple(lines), "answer")


def records(name: str) -> list[dict]:
    """The recorded runs of a recipe; none if srkit ships none."""
    try:
        return read_runs(name)
    except FileNotFoundError:
        return []


def _published(paper: dict, of: str, against: str, test: str, metric: str) -> float | None:
    """The difference that a paper's own figures of two variants make."""
    values = [paper.get(variant, {}).get(test, {}).get(metric) for variant in (of, against)]
    return None if None in values else values[0] - values[1]


def _signed(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    text = spread(values, digits)
    return text if text.startswith("-") else f"+{text}"
