"""What a chapter shows first and last: its verdicts, and what its recorded runs cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape

import torch

from srkit import files, ledger
from srkit.datasets import catalog
from srkit.ledger import Tested
from srkit.models.zoo import model_info
from srkit.reports.card import UNITS, where
from srkit.reports.claims import NO, TELLS, YES, Finding
from srkit.reports.records import Records
from srkit.training.record import Record
from srkit.viz import tables
from srkit.viz.plots import style
from srkit.viz.tables import Table

NOT_HERE = "not tried here"  # what it needs is not on this machine
COLOURS = {YES: "#009e73", NO: "#d55e00"}  # all other answers are grey
_CSS = (
    ".srkit-verdicts td {padding-top: .4em; padding-bottom: .4em} "
    ".srkit-verdicts td:last-child {min-width: 9em} "
    ".srkit-verdicts .answer {display: inline-block; padding: 0 .6em; border-radius: 1em; "
    "color: #fff; font-weight: bold; white-space: nowrap} "
)


def begin() -> None:
    """Give figures srkit's look, and compute with one thread, as the stored runs did."""
    style()
    torch.set_num_threads(1)


def needs(*sets: str, lpips: bool = False, weights: dict[str, str] | None = None) -> bool:
    """Whether all of it is on this machine; says in one line what is missing, and how to get it.

    sets: names of the catalog ("Set5"), or "vgg19" for the trunk that content losses look through.
    lpips: AlexNet's LPIPS. weights: {zoo entry: kind of weights}, {"esrgan_x4": "realsr"}.

    Raises ValueError for a name that the catalog or the zoo does not have.
    """
    # what it is called, where it lies, how to get it
    wanted = [(s, catalog.entry(s).folder, f"srkit fetch {s}") for s in sets if s != "vgg19"]
    for name, kind in (weights or {}).items():
        known = model_info(name).weights
        if kind not in known:
            raise ValueError(f"{name} has no weights {kind!r}: choose one of {', '.join(known)}")
        get = f"srkit fetch {name} --weights {kind}"
        wanted.append((f"{name} with the weights {kind!r}", known[kind].path, get))
    trunks = {"VGG-19": "backbones/vgg19_oxford.npz"} if "vgg19" in sets else {}
    trunks |= {"LPIPS": "backbones/lpips_alex.safetensors"} if lpips else {}
    wanted += [(name, path, f"put {path} under SRKIT_HOME") for name, path in trunks.items()]
    missing = [f"{name} ({get})" for name, path, get in wanted if files.find(path) is None]
    if missing:
        print(f"Left out, for this is not on this machine: {', '.join(missing)}.")
    return not missing


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper and what came out. number: the evidence, with its interval and seeds."""

    claim: str
    how: str
    answer: str
    number: str = ""


def by_runs(
    recipe: str,
    of: str,
    against: str,
    *,
    metric: str = "",
    budget: str = "laptop",
    claim: str = "",
    how: str = "",
) -> Verdict:
    """The verdict on a recipe's claim, from its recorded runs with one budget.

    of, against: the two variants that the claim compares. metric: tells apart two claims on the
    same pair. claim, how: other words than the recipe's, and than the names of the two variants.

    Raises ValueError unless just one claim is meant.
    """
    tested = finding(recipe, of, against, metric=metric, budget=budget)
    other, seeds = UNITS[tested.claim.metric], len(tested.finding.seeds)
    name, unit = ("PSNR", "dB") if tested.claim.metric == "psnr" else (other, other)
    number = f"{tested.ours} {unit}, {seeds} seed{'s' if seeds > 1 else ''}" if seeds else ""
    how = how or f"{of} against {against}, {name}, {tested.claim.test}"
    return Verdict(claim or tested.claim.says, how, tested.finding.verdict, number)


def finding(
    recipe: str, of: str, against: str, *, metric: str = "", budget: str = "laptop"
) -> Tested:
    """What recorded runs say of the recipe's claim on two variants, in numbers.

    Without such runs the claim is there, with no seeds.

    Raises ValueError unless just one claim is meant.
    """
    of_the_pair = [
        each for each in ledger.findings([recipe])
        if (each.claim.of, each.claim.against) == (of, against)
        and metric in ("", each.claim.metric)
    ]  # fmt: skip
    if len(claims := {each.claim for each in of_the_pair}) != 1:
        raise ValueError(
            f"{len(claims)} claims of {recipe} compare {of} with {against}: expected 1"
        )
    for each in of_the_pair:
        if each.budget == budget:
            return each
    none = Finding(of_the_pair[0].claim, {})
    return replace(of_the_pair[0], finding=none, budget=budget, records=Records([]))


def could_see(*claims: Tested) -> Table:
    """What the runs behind claims could have seen, and how many seeds it takes to see more.

    A row for each claim: our mean difference; the smallest that these runs could have told from
    none; how many seeds of such runs tell a difference of TELLS, the smallest that we count; where
    the paper's figures are known, its difference, and the seeds that tell one of that size
    (`Finding.seeds_to_see`). Claims may be of several budgets, but of one metric.
    """
    least = TELLS[claims[0].claim.metric]
    of_papers, budgets = any(each.theirs for each in claims), {each.budget for each in claims}
    head = ["claim", "ours", "seeds", "could see", f"seeds for {least:g}"]
    rows = [head + ["the paper's", "seeds for that"] * of_papers]
    for each in claims:
        found, says = each.finding, each.claim.says
        row = [f"{says} ({each.budget})" if len(budgets) > 1 else says, each.ours]
        row += [str(len(found.seeds)), "" if found.sees is None else f"{found.sees:.2f}"]
        row.append(str(found.seeds_to_see(least) or ""))
        if of_papers:
            theirs = each.theirs
            if theirs is None:
                row += ["", ""]
            elif abs(theirs) < least:
                row += [each.expected, "too small to count"]
            else:
                row += [each.expected, str(found.seeds_to_see(theirs) or "")]
        rows.append(row)
    return Table(rows)


def by_test(claim: str, how: str, holds: bool | None, number: str = "") -> Verdict:
    """The verdict on what needs no training: an exact test that holds, or does not.

    holds: None where what the test needs is not on this machine.
    """
    answer = NOT_HERE if holds is None else YES if holds else NO
    return Verdict(claim, how, answer, number)


@dataclass(frozen=True, repr=False)
class Verdicts:
    """A chapter's claims in a table. Prints as text, in a notebook as HTML."""

    rows: tuple[Verdict, ...]

    def __str__(self) -> str:
        body = [[v.claim, v.how, f"{v.answer} {v.number}".strip()] for v in self.rows]
        return tables.text([["claim", "how it is tested here", "what came out"], *body], left=True)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        body = ""
        for v in self.rows:
            colour = COLOURS.get(v.answer, "#6b7280")
            answer = f'<span class="answer" style="background:{colour}">{escape(v.answer)}</span>'
            parts = tables.unbroken(v.number).split(", ")
            number = ", ".join(f'<span class="srkit-whole">{part}</span>' for part in parts)
            body += f"<tr><td>{tables.unbroken(v.claim)}</td><td>{tables.unbroken(v.how)}</td>"
            body += f"<td>{answer} {number if v.number else ''}</td></tr>"
        return (
            f"<style>{tables.CSS}{_CSS}</style><div class='srkit-scroll'>"
            "<table class='srkit-table srkit-verdicts'><thead><tr><th>claim</th>"
            "<th>how it is tested here</th><th>what came out</th></tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )


def verdicts(*rows: Verdict) -> Verdicts:
    """The table of verdicts, the second thing on a chapter's first screen."""
    return Verdicts(rows)


def footer(read: int, smoke: int, *, laptop: float = 0, records: Iterable[Record] = ()) -> Table:
    """The last table of a chapter: minutes to read and to run it, and what its runs ran on.

    smoke: seconds of one core that the chapter takes with that budget. laptop: minutes that its own
    training takes with that one. records: of the runs that it shows.
    """
    rows = [["this chapter", ""], ["to read", f"{read} minutes"]]
    rows += [["to run, budget smoke", f"{smoke} seconds of one core"]]
    if laptop:
        s = "s" * (round(laptop) != 1)
        rows += [["to run, budget laptop", f"{laptop:.0f} minute{s} of one core"]]
    if shown := list(records):
        minutes = sum(record.minutes for record in shown)
        rows += [["the recorded runs", f"{len(shown)}, in all {minutes:.0f} minutes"]]
        rows += [["they ran on", where(shown)]]
    return Table(rows)
