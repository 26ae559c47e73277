"""What a notebook shows of an object that is no picture: a small table with a title."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def card(title: str, facts: Mapping[str, object]) -> str:
    """A table as HTML: `title`, then a row a fact. What is None or empty is left out.

    It takes its colours from the page, light or dark.
    """
    left = "text-align:left;vertical-align:top"
    rows = "".join(
        f'<tr><th scope="row" style="{left}">{escape(name)}</th>'
        f'<td style="{left};white-space:pre-line">{escape(str(fact))}</td></tr>'
        for name, fact in facts.items()
        if fact not in (None, "")
    )
    return (
        f'<table style="color:inherit"><caption style="{left};color:inherit">'
        f"<b>{escape(title)}</b></caption>{rows}</table>"
    )
