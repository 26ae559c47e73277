"""Reproduction cards: the paper's figures beside ours, and what was done otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean, stdev
from typing import Any

from srkit.reports.records import Records
from srkit.training.record import Record
from srkit.viz import tables

DIGITS = {"psnr": 2, "ssim": 4, "lpips": 3, "lpips-squeeze": 3}
UNITS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS (AlexNet)",
    "lpips-squeeze": "LPIPS (SqueezeNet)",
}
# Fields of a stage that say how it was watched or seeded, not what was trained.
WATCHING = ("name", "validate_every", "series", "from_scratch")
IN_WORDS = {
    "data": "pictures",
    "patch": "LR pixels a side of a crop",
    "batch": "crops a step",
    "rate": "learning rate",
    "clip": "largest gradient norm",
    "ema": "average of the weights",
}


@dataclass(frozen=True)
class Change:
    """One field of one stage that is not as in the paper.

    paper, ours: the two values as JSON; None where that side has no such stage or argument.
    """

    stage: str
    field: str
    paper: Any
    ours: Any

    def __str__(self) -> str:
        """In a few words: both values where they are short, else what is another one."""
        field = IN_WORDS.get(self.field, self.field)
        if field == "the stage":
            return f"without the stage {self.stage}" if self.ours is None else f"{self.stage} added"
        if isinstance(self.paper, dict | list) or isinstance(self.ours, dict | list):
            return f"another {field}"
        return f"{field} {in_short(self.ours)} for {in_short(self.paper)}"


@dataclass(frozen=True, repr=False)
class Card:
    """One variant with one budget beside its paper. Prints as tables, in a notebook as HTML.

    records: its seeds. changes: what was done otherwise than in the paper.
    """

    records: Records
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        first = self.records[0]
        seeds = ", ".join(str(record.seed) for record in self.records)
        return f"{first.recipe}, {first.variant}: budget {first.budget}, seeds {seeds}"

    @property
    def figures(self) -> list[list[str]]:
        """Each metric of each test set: the paper's, ours, and the gap."""
        first, rows = self.records[0], [["", "paper", "ours", "gap"]]
        for test, scores in first.metrics.items():
            for metric in scores:
                ours = list(self.records.values(first.variant, test, metric).values())
                theirs, gap = first.paper.get("metrics", {}).get(test, {}).get(metric), ""
                if theirs is not None:
                    gap = f"{mean(ours) - theirs:+.{DIGITS.get(metric, 3)}f}"
                    theirs = f"{theirs:.{DIGITS.get(metric, 3)}f}"
                rows.append(
                    [
                        f"{test}, {UNITS.get(metric, metric)}",
                        theirs or "",
                        spread(ours, metric),
                        gap,
                    ]
                )
        return rows

    @property
    def otherwise(self) -> list[list[str]]:
        """What was done otherwise: a row for each field of a stage that differs."""
        rows = [["stage", "", "paper", "ours"]]
        for change in self.changes:
            values = in_short(change.paper), in_short(change.ours)
            rows.append([change.stage, IN_WORDS.get(change.field, change.field), *values])
        return rows

    @property
    def facts(self) -> list[str]:
        """What the network and its training cost, and what they ran on."""
        first = self.records[0]
        minutes = mean(record.minutes for record in self.records)
        peak = max(record.peak_memory_mib or 0 for record in self.records)
        after = f" after {', '.join(first.builds_on)}" if first.builds_on else ""
        return [
            f"{first.parameters:,} parameters.",
            f"{minutes:.1f} minutes of training{' each' if self.records[1:] else ''}{after} on "
            f"{where(self.records)}, torch {first.machine['torch']}"
            f"{f', {peak:,} MiB at most' if peak else ''}. Protocol {first.protocol}.",
        ]

    def __str__(self) -> str:
        parts = [self.title, tables.text(self.figures)]
        if self.changes:
            parts += ["Otherwise than the paper:", tables.text(self.otherwise)]
        return "\n".join([*parts, *self.facts])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        changed = tables.html(self.otherwise, ["Otherwise than the paper"]) if self.changes else ""
        facts = "".join(f"<p>{escape(line)}</p>" for line in self.facts)
        return tables.html(self.figures, [self.title]) + changed + facts


def card(records: Record | Iterable[Record]) -> Card:
    """The card of a run, or of one variant's runs with several seeds.

    Every figure is read from the records; the paper's too, for the recipe wrote them there.

    Raises ValueError for records that are not of one variant, budget, data and minutes.
    """
    group = Records([records] if isinstance(records, Record) else records)
    kinds = {(r.recipe, r.variant, r.budget) for r in group}
    if len(kinds) != 1:
        raise ValueError(
            "a card is for one variant with one budget; these records are of "
            + (", ".join(sorted("/".join(kind) for kind in kinds)) or "none")
        )
    if any(r.kind != group[0].kind for r in group):
        raise ValueError(
            f"these records of {group[0].recipe}/{group[0].variant} differ in data, sizes or "
            "minutes: make a card of each kind"
        )
    return Card(group, changes(group[0]))


def changes(record: Record) -> tuple[Change, ...]:
    """What a run did otherwise than the paper: its stages and the paper's of the same names,
    field by field."""
    theirs = {stage["name"]: stage for stage in record.paper.get("stages", ())}
    found: list[Change] = []
    for ours in record.plan.get("stages", ()):
        name = ours["name"]
        paper = theirs.pop(name, None)
        if paper is None:
            found.append(Change(name, "the stage", None, ours["steps"]))
            continue
        for field in (f for f in ours if f not in WATCHING):
            found += [
                Change(name, *each) for each in _differing(field, paper.get(field), ours[field])
            ]
    found += [Change(name, "the stage", stage["steps"], None) for name, stage in theirs.items()]
    return tuple(found)


def _differing(field: str, paper: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    """The arguments that differ, where both sides call the same function; else the whole value.

    Of a loss: the terms, each with its weight, where both sides have the same ones.
    """
    if paper == ours:
        return []
    calls = [value.get("call") if isinstance(value, dict) else None for value in (paper, ours)]
    if calls[0] is None or calls[0] != calls[1]:
        return [(field, paper, ours)]
    if "terms" not in ours:
        of = IN_WORDS.get(field, field)
        of += "'" if of.endswith("s") else "'s"
        names = [name for name in ours if name != "call"]
        parts = (_differing(f"{of} {name}", paper.get(name), ours[name]) for name in names)
        return [change for part in parts for change in part]
    terms = [[term["call"].split(":")[-1] for _, term in side["terms"]] for side in (paper, ours)]
    if terms[0] != terms[1]:
        return [(field, paper, ours)]
    found = []
    for name, (old, theirs), (new, term) in zip(
        terms[0], paper["terms"], ours["terms"], strict=True
    ):
        found += _differing(f"weight of {name}", old, new) + _differing(name, theirs, term)
    return found


def in_short(value: Any) -> str:
    """A JSON value of a plan as a reader would write it."""
    if isinstance(value, dict) and "call" in value:
        name = value["call"].split(":")[-1]
        if name == "Loss":
            terms = ((w, in_short(term)) for w, term in value["terms"])
            return " + ".join(term if w == 1 else f"{in_short(w)} {term}" for w, term in terms)
        if name == "Share":
            return f"({value['share']:g} of the first term)"
        inside = (f"{k}={in_short(v)}" for k, v in value.items() if k != "call" and v is not None)
        return f"{name}({', '.join(inside)})" if len(value) > 1 else name
    if isinstance(value, dict):
        return ", ".join(f"{in_short(v)} {k}" for k, v in value.items())
    if isinstance(value, list):
        return f"({', '.join(map(in_short, value))})"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def where(records: Iterable[Record]) -> str:
    """What runs ran on, in words."""
    return machines(record.machine for record in records)


def machines(facts: Iterable[Mapping[str, Any]]) -> str:
    """The GPU, or threads and capability of the processor, of each kind of machine."""
    found = {m["gpu"] or f"{m['threads']} thread(s), {m['capability']}" for m in facts}
    return "; ".join(sorted(found))


def spread(values: Sequence[float], metric: str) -> str:
    """The mean, and the sample standard deviation where there are several."""
    digits = DIGITS.get(metric, 3)
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"
