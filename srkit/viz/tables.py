"""Small tables of strings, as text for a terminal or HTML for a page; the first row is the head."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# By default notebooks and the book's theme draw cells without lines or gaps.
_CSS = (
    ".srkit-table {border-collapse: collapse; margin: 0 0 1rem} "
    ".srkit-table caption {caption-side: top; text-align: left; color: inherit} "
    ".srkit-table :is(td, th) {padding: .15em .7em .15em 0; vertical-align: top; "
    "text-align: left; border-bottom: 1px solid #8886}"
)


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


def html(rows: Sequence[Sequence[str]], caption: Sequence[str] = ()) -> str:
    """The rows as a <table>; each string of `caption` is a line of its caption."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    head, *body = rows
    title = f"<caption>{'<br>'.join(map(escape, caption))}</caption>" if caption else ""
    lines = "".join(line("td", cells) for cells in body)
    return (
        f"<style>{_CSS}</style><table class='srkit-table'>{title}"
        f"<thead>{line('th', head)}</thead><tbody>{lines}</tbody></table>"
    )
