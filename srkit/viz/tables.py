"""Tables of text and numbers: aligned columns in a terminal, HTML in a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean, stdev

# Words and numbers never break. A table that is wider than the page scrolls; its first column
# stays. By default notebooks and the book's theme draw cells without lines or gaps.
CSS = (
    ".srkit-scroll {overflow-x: auto; margin: 0 0 1rem; max-width: 100%} "
    ".srkit-table {border-collapse: collapse; margin: 0; width: auto; display: table} "
    ".srkit-table caption {caption-side: top; text-align: left; color: inherit} "
    ".srkit-table :is(td, th) {padding: .15em .8em .15em 0; vertical-align: top; "
    "text-align: left; border-bottom: 1px solid #8886; overflow-wrap: normal; "
    "word-break: normal; hyphens: none} "
    ".srkit-whole {white-space: nowrap} "
    ".srkit-table .number {text-align: right; white-space: nowrap; "
    "font-variant-numeric: tabular-nums} "
    ".srkit-table :is(td, th):first-child {position: sticky; left: 0; "
    "background: var(--pst-color-background, var(--jp-layout-color0, Canvas))}"
)
# A number with its sign, unit and spread; "-" and "" stand for a missing one.
_NUMBER = re.compile(r"[-+−±]?(?:inf|nan|∞|[\d.,]+)'?(\s*±\s*[\d.,]+)?( ?(%|dB|K|M|G|s|ms|px))?|-|")


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text, the first one the head. Prints as a table, in a notebook as HTML."""

    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __str__(self) -> str:
        return "\n".join([*([self.caption] if self.caption else []), text(self.rows)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html(self.rows, [self.caption] if self.caption else ())


Cell = str | int | float | Sequence[float] | None


def table(
    rows: Mapping[str, Mapping[str, Cell]],
    *,
    caption: str = "",
    digits: int | Mapping[str, int] = 2,
    head: str = "",
) -> Table:
    """{name of a row: {column: value}} as a table; a row need not have every column.

    A whole number gets commas, another one `digits` decimals (for all, or by column), several
    numbers become their mean ± their sample standard deviation, None an empty cell.
    head: what stands above the names.
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))

    def cell(column: str, value: Cell) -> str:
        places = digits if isinstance(digits, int) else digits.get(column, 2)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, int):
            return f"{value:,}"
        if isinstance(value, float):
            return f"{value:.{places}f}"
        shown = f"{mean(value):.{places}f}"
        return shown if len(value) == 1 else f"{shown} ± {stdev(value):.{places}f}"

    body = [[name, *(cell(c, row.get(c)) for c in columns)] for name, row in rows.items()]
    return Table([[head, *columns], *body], caption)


def text(rows: Sequence[Sequence[str]], *, left: bool = False) -> str:
    """The rows as lines of aligned columns.

    The first column is aligned to the left, the others to the right, or with `left` to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i and not left else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def unbroken(cell: str) -> str:
    """A cell's text as HTML in which no spread, name with a hyphen or name=(value) is broken."""
    whole = re.sub(
        r"\S*(?:\w-\w|=\()\S*",
        lambda found: f'<span class="srkit-whole">{found[0]}</span>',
        escape(cell),
    )
    return whole.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def html(rows: Sequence[Sequence[str]], caption: Sequence[str] = ()) -> str:
    """The rows as a <table>; each string of `caption` is a line of its caption.

    A column of numbers is aligned to the right, and a spread stays beside its number.
    """
    head, *body = rows
    numeric = [
        bool(body) and k > 0 and all(_NUMBER.fullmatch(row[k]) for row in body)
        for k in range(len(head))
    ]

    def line(tag: str, cells: Sequence[str]) -> str:
        inside = ""
        for cell, number in zip(cells, numeric, strict=True):
            look = ' class="number"' if number else ""
            inside += f"<{tag}{look}>{unbroken(cell)}</{tag}>"
        return f"<tr>{inside}</tr>"

    title = f"<caption>{'<br>'.join(map(escape, caption))}</caption>" if caption else ""
    lines = "".join(line("td", cells) for cells in body)
    return (
        f"<style>{CSS}</style><div class='srkit-scroll'><table class='srkit-table'>{title}"
        f"<thead>{line('th', head)}</thead><tbody>{lines}</tbody></table></div>"
    )
