"""The ledger: what papers report and claim, and what recorded runs show of it.

Everything here is read: the papers' figures from `data/published.json` and the recipes, ours from
the records in `data/runs`.

    ledger.claims()               # all papers, a block each
    ledger.claims(["rlfn"])       # one paper
    ledger.findings(["rlfn"])     # the same in numbers
    ledger.weights()              # the authors' weights, measured
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from statistics import mean

from srkit.files import data_path
from srkit.models.zoo import model_info
from srkit.recipes import RECIPES, recipe
from srkit.recipes.base import Recipe
from srkit.reports.card import DIGITS, UNITS, Change, changes, spread
from srkit.reports.claims import CANNOT_TELL, NO, NOT_RUN, ONE_SEED, TELLS, YES, Claim, Finding
from srkit.reports.records import Records
from srkit.viz import tables
from srkit.viz.figure import OWN_KEYS
from srkit.viz.tables import Table

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

ANSWERS = (NO, YES, CANNOT_TELL, ONE_SEED, NOT_RUN)
RULE = (
    "Yes and no need several seeds: a mean difference of at least "
    f"{TELLS['psnr']:g} dB of PSNR, or {TELLS['lpips']:g} of LPIPS, and a 95 % interval of that "
    "mean without 0. “Not lower” is a yes if all of the interval lies above minus that "
    "difference. ± is half of the interval; what was run with one seed is no answer."
)


# ---- the authors' weights


@dataclass(frozen=True)
class Measured:
    """PSNR of the authors' weights on one test set, measured as their paper did.

    paper: its short name. model: with its scale ("rlfn_x4"). setup: how it was measured, a key of
    `setups` in `data/runs/official.json`. theirs: the paper's own value. second_hand: it was read
    in somebody else's table.
    """

    paper: str
    model: str
    data: str
    setup: str
    theirs: float
    ours: float
    second_hand: bool

    @property
    def gap(self) -> float:
        """Ours minus the paper's, in hundredths of a decibel."""
        return round(self.ours - self.theirs, 2) + 0.0  # no minus zero

    @property
    def cause(self) -> str:
        return gap_cause(self.data, self.gap, self.second_hand)


def weights() -> list[Measured]:
    """The authors' weights in srkit's networks, where the paper's value could be checked."""
    official = json.loads(data_path("runs/official.json").read_text())
    published = {
        (f"{p['model']}_x{p['scale']}", p["data"]): p
        for p in json.loads(data_path("published.json").read_text())
    }
    found = []
    for row in official["rows"]:
        name, paper = row["model"], published.get((row["model"], row["data"]))
        family = name.rsplit("_x", 1)[0]
        if paper is not None and row["setup"] == MEASURED_AS.get(family, "classic"):
            label = "bicubic" if family == "bicubic" else model_info(name).paper.label
            found.append(
                Measured(
                    label, name, row["data"], row["setup"],
                    paper["psnr"], row["psnr"], paper["second_hand"],
                )
            )  # fmt: skip
    return found


def gap_cause(data: str, gap: float, second_hand: bool) -> str:
    """Why authors' weights may not give their paper's PSNR; "" within a hundredth of a decibel.

    It sees the size of the gap alone, so it can only guess at a cause.
    """
    if abs(gap) <= 0.01:
        return ""
    if data == "Set14" and abs(abs(gap) - GREY) < 0.02:
        return (
            "perhaps Set14's grey picture, scored as grey by one side and as RGB by the other: "
            "the size fits"
        )
    return "not found" + ("; the paper's value is second-hand" if second_hand else "")


def agreement() -> Table:
    """A line a paper: how many figures the authors' weights reach, and the largest gap."""
    groups: dict[str, list[Measured]] = {}
    for each in weights():
        groups.setdefault(each.paper, []).append(each)
    rows = [["", "figures", "within 0.01 dB", "largest gap, dB", "its cause"]]
    for paper, group in groups.items():
        worst = max(group, key=lambda each: abs(each.gap))
        near = sum(not each.cause for each in group)
        rows.append([paper, str(len(group)), str(near), f"{worst.gap:+.2f}", worst.cause])
    return Table(rows)


# ---- the papers' claims


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
    def of_another_size(self) -> bool:
        """Whether several seeds put the paper's own difference outside their interval."""
        interval = self.finding.interval
        if interval is None or self.theirs is None:
            return False
        return not interval[0] <= self.theirs <= interval[1]

    @property
    def rank(self) -> tuple[int, bool]:
        """Its place in the ledger: no, then what surprises, yes, cannot tell, one seed, not run."""
        place = ANSWERS.index(self.finding.verdict)
        return (0 if self.of_another_size else place), self.finding.verdict != NO

    @property
    def compared(self) -> str:
        """The two variants, what both were measured on, and the metric."""
        claim = self.claim
        pair = f"{claim.of} − {claim.against}, {claim.test}"
        if claim.against_test:
            pair = f"{claim.of}, {claim.test} − {claim.against}, {claim.against_test}"
        return f"{pair}, {UNITS[claim.metric]}"

    @property
    def expected(self) -> str:
        """The paper's difference; only its direction where the paper has no figures."""
        if self.theirs is None:
            return {1: "higher", -1: "lower", 0: "not lower"}[self.claim.sign]
        return f"{self.theirs:+.{DIGITS[self.claim.metric]}f}"

    @property
    def ours(self) -> str:
        """The mean difference, ± half of its 95 % interval where there are several seeds."""
        mean, half, digits = self.finding.mean, self.finding.half, DIGITS[self.claim.metric]
        if mean is None:
            return ""
        return f"{mean:+.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


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


@dataclass(frozen=True)
class Reached:
    """A figure that the paper reports of a whole network, and ours, one of each seed."""

    variant: str
    test: str
    metric: str
    budget: str
    theirs: float
    ours: tuple[float, ...]

    @property
    def gap(self) -> float:
        return mean(self.ours) - self.theirs


def reached(name: str) -> list[Reached]:
    """What a recipe's recorded runs reach of the paper's own figures."""
    found = []
    for (variant, budget), group in records(name).groups().items():
        for test, theirs in group[0].paper["metrics"].items():
            for metric, value in theirs.items():
                if ours := tuple(group.values(variant, test, metric).values()):
                    found.append(Reached(variant, test, metric, budget, value, ours))
    return found


@dataclass(frozen=True)
class Block:
    """One paper in the ledger.

    runs: how many are recorded. cause: what they did otherwise than the paper, as the recipe's
    first recorded variant did it.
    """

    name: str
    paper: str
    runs: int
    cause: str
    tested: tuple[Tested, ...]
    reached: tuple[Reached, ...]

    @property
    def about(self) -> list[str]:
        """Why its figures are not the paper's, and where its runs are recorded; for all rows."""
        if not self.runs:
            return ["No recorded runs."]
        return [
            f"Otherwise than the paper, in {self.cause}.",
            f"{self.runs} recorded runs: data/runs/{self.name}.json has the seed, the minutes and "
            "the machine of each.",
        ]

    @property
    def claims(self) -> list[list[str]]:
        """The table of its claims, the head first."""
        head = ["answer", "claim", "compared", "the paper's", "ours", "seeds", "budget"]
        return [
            head,
            *(
                [
                    each.finding.verdict, each.claim.says, each.compared, each.expected,
                    each.ours, str(len(each.finding.seeds) or ""), each.budget,
                ]
                for each in self.tested
            ),
        ]  # fmt: skip

    @property
    def networks(self) -> list[list[str]]:
        """The table of its whole networks, the head first."""
        rows = [["variant", "measured", "the paper's", "ours", "gap", "seeds", "budget"]]
        for each in self.reached:
            digits = DIGITS[each.metric]
            rows.append(
                [
                    each.variant, f"{each.test}, {UNITS[each.metric]}", f"{each.theirs:.{digits}f}",
                    spread(each.ours, each.metric), f"{each.gap:+.{digits}f}", str(len(each.ours)),
                    each.budget,
                ]
            )  # fmt: skip
        return rows


@dataclass(frozen=True, repr=False)
class Ledger:
    """Papers' claims beside recorded runs, a block a paper. Prints as text.

    In a page it is HTML, and with several papers it has a filter that needs no kernel.
    """

    blocks: tuple[Block, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many claims have which answer."""
        return Counter(each.finding.verdict for block in self.blocks for each in block.tested)

    @property
    def summary(self) -> str:
        """ "108 claims: 3 no, 34 yes, ..."."""
        return f"{self.counts.total()} claims: {_counted(self.counts)}"

    def __str__(self) -> str:
        parts = [f"{self.summary}\n{RULE}"]
        for block in self.blocks:
            title = f"{block.paper}: {_counted(_answers(block))}"
            about = "\n".join([title, *block.about, tables.text(block.claims, left=True)])
            parts.append(about)
            if block.reached:
                parts.append(tables.text(block.networks, left=True))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        inner = "".join(map(_block, self.blocks))
        if len(self.blocks) > 1:
            inner = f"{self._overview}{self._filter}{inner}"
        return (
            f"<style>{tables.CSS}{_CSS}</style>"
            f'<div class="srkit-ledger" oninput="{escape(_SHOW)}">{inner}'
            f'<p class="about">{escape(RULE)}</p></div>'
        )

    @property
    def _overview(self) -> str:
        """A line a paper, and one for all."""
        answers = [answer for answer in ANSWERS if self.counts[answer]]
        head = "".join(f'<th class="number">{answer}</th>' for answer in answers)
        rows = [
            (f'<a href="#ledger-{b.name}">{escape(b.paper)}</a>', _answers(b)) for b in self.blocks
        ]
        body = "".join(
            f"<tr><td>{title}</td>"
            + "".join(f'<td class="number">{counts[a] or ""}</td>' for a in answers)
            + "</tr>"
            for title, counts in [("<b>all papers</b>", self.counts), *rows]
        )
        return (
            "<div class='srkit-scroll'><table class='srkit-table'>"
            f"<thead><tr><th>paper</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    @property
    def _filter(self) -> str:
        budgets = dict.fromkeys(t.budget for b in self.blocks for t in b.tested if t.budget)
        menus = {
            "paper": {block.name: block.paper for block in self.blocks},
            "answer": {answer: answer for answer in ANSWERS if self.counts[answer]},
            "budget": {budget: budget for budget in budgets},
        }
        shown = ""
        for name, options in menus.items():
            inner = "".join(
                f'<option value="{escape(value)}">{escape(text)}</option>'
                for value, text in {"": "all", **options}.items()
            )
            shown += (
                f'<label>{name} <select name="{name}" {OWN_KEYS} autocomplete="off">'
                f"{inner}</select></label>"
            )
        total = self.counts.total()
        said = f'<output aria-live="polite" data-all="{total}">{total} of {total} claims</output>'
        return f'<div class="filter" role="group" aria-label="Show only">{shown}{said}</div>'


def claims(names: Iterable[str] = RECIPES) -> Ledger:
    """The ledger of some recipes: a block a paper, with the claims that failed first."""
    blocks = []
    for name in names:
        tested = sorted(findings([name]), key=lambda each: each.rank)
        runs = records(name)
        variants = [variant for variant in recipe(name).variants if runs.variant(variant)]
        cause = ""
        if variants:
            first = dict.fromkeys(map(_in_words, changes(runs.variant(variants[0])[0])))
            cause = f"{variants[0]}: {', '.join(first)}"
        label = recipe(name).label
        blocks.append(Block(name, label, len(runs), cause, tuple(tested), tuple(reached(name))))
    return Ledger(tuple(blocks))


def records(name: str) -> Records:
    """The recorded runs of a recipe; none if srkit ships none."""
    try:
        return Records.of(name)
    except FileNotFoundError:
        return Records([])


def _in_words(change: Change) -> str:
    if change.ours is None:
        return f"without the stage “{change.stage}”"
    return str(change).removeprefix("network's ").replace("crops's", "crops'")


def _published(own: Recipe, claim: Claim) -> float | None:
    """The difference that a paper's own figures of two variants make."""
    values = [
        own.published.get(variant, {}).get(claim.test, {}).get(claim.metric)
        for variant in (claim.of, claim.against)
    ]
    of, against = values
    return None if of is None or against is None else of - against


# ---- as a page

_CSS = """
.srkit-ledger [hidden] {display: none !important}
.srkit-ledger h3 {margin: 1.1rem 0 .2rem; font-size: 1.2rem}
.srkit-ledger h3 small {font-weight: normal; font-size: .9rem; margin-left: .6em}
.srkit-ledger .about {margin: 0 0 .3rem; font-size: .85rem; line-height: 1.4}
.srkit-ledger .srkit-table {font-size: .9rem; line-height: 1.4; width: 100%}
.srkit-ledger .srkit-table :is(td, th) {padding-right: .5em}
.srkit-ledger .srkit-scroll {margin-bottom: .4rem}
.srkit-ledger .answer {font-weight: bold; white-space: nowrap; padding-left: .5em}
.srkit-ledger .says {min-width: min(16em, 42vw); width: 100%}
.srkit-ledger .says small {display: block; font-size: .8rem; line-height: 1.3; opacity: .85}
.srkit-ledger tr[data-answer="no"] .answer {box-shadow: inset 4px 0 #d55e00}
.srkit-ledger tr[data-answer="yes"] .answer {box-shadow: inset 4px 0 #009e73}
.srkit-ledger summary {cursor: pointer; font-size: .9rem}
.srkit-ledger .filter {display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: center;
  margin: 1rem 0; padding: .5em 0; border-block: 1px solid #8886}
.srkit-ledger select {font: inherit; color: inherit; background: transparent; padding: .1em .3em;
  border: 1px solid currentColor; border-radius: 4px}
.srkit-ledger option {color: #000; background: #fff}
.srkit-ledger select:focus-visible {outline: 3px solid #0072b2; outline-offset: 2px}
.srkit-ledger output {font-weight: bold}
@media print {.srkit-ledger .filter {display: none}}
"""
# The menus' `input` events bubble up to the ledger. Without a choice every row stays.
_SHOW = """
const [paper, answer, budget] = [...this.querySelectorAll('.filter select')].map(e => e.value);
const said = this.querySelector('output');
let shown = 0;
for (const block of this.querySelectorAll('section')) {
  let rows = 0;
  for (const row of block.querySelectorAll('[data-answer]')) {
    row.hidden = (answer && row.dataset.answer != answer) ||
      (budget && row.dataset.budget != budget);
    rows += !row.hidden;
  }
  block.hidden = (paper && block.id != 'ledger-' + paper) || !rows;
  shown += block.hidden ? 0 : rows;
}
said.textContent = shown + ' of ' + said.dataset.all + ' claims';
"""


def _answers(block: Block) -> Counter[str]:
    return Counter(each.finding.verdict for each in block.tested)


def _counted(counts: Counter[str]) -> str:
    """ "2 no, 1 yes", in the ledger's order."""
    return ", ".join(f"{counts[answer]} {answer}" for answer in ANSWERS if counts[answer])


def _block(block: Block) -> str:
    budgets = list(dict.fromkeys(each.budget for each in block.tested if each.budget))
    rows = "".join(_row(each, named=len(budgets) > 1) for each in block.tested)
    about = "<br>".join(map(escape, block.about))
    if len(budgets) == 1:  # a column of one word would make the claims narrow
        about += f" Budget: {budgets[0]}."
    folded = ""
    if block.reached:
        title = (
            f"Whole networks beside the paper’s ({len(block.reached)} figures; mean ± standard "
            "deviation over the seeds)"
        )
        table = tables.html(block.networks)
        folded = f"<details><summary>{title}</summary>{table}</details>"
    return (
        f'<section id="ledger-{block.name}"><h3>{escape(block.paper)} '
        f"<small>{_counted(_answers(block))}</small></h3>"
        f'<p class="about">{about}</p>'
        f"<div class='srkit-scroll'><table class='srkit-table'>{_HEAD}<tbody>{rows}</tbody></table>"
        f"</div>{folded}</section>"
    )


_HEAD = (
    '<thead><tr><th>answer</th><th>claim</th><th class="number">the paper’s</th>'
    '<th class="number">ours</th><th class="number">seeds</th></tr></thead>'
)


def _row(each: Tested, named: bool) -> str:
    """A claim; its budget in words where it is `named`, since others stand beside it."""
    verdict, budget = each.finding.verdict, each.budget
    compared = each.compared + (f", {budget}" if named and budget else "")
    size = ". The paper’s own difference lies outside our interval" if each.of_another_size else ""
    numbers = (each.expected, each.ours, str(len(each.finding.seeds) or ""))
    cells = "".join(
        f'<td class="number">{escape(text).replace(" ", chr(160))}</td>' for text in numbers
    )
    return (
        f'<tr data-answer="{verdict}" data-budget="{budget}"><td class="answer">{verdict}</td>'
        f'<td class="says">{escape(each.claim.says)}<small>{escape(compared + size)}</small>'
        f"</td>{cells}</tr>"
    )
