"""What a chapter tells of itself at its top."""

from __future__ import annotations

from collections.abc import Iterable

from srkit.reports.card import where
from srkit.reports.summary import Table
from srkit.training.record import Record


def opening(read: int, smoke: int, *, laptop: float = 0, records: Iterable[Record] = ()) -> Table:
    """Minutes to read it, seconds and minutes to run it, and the hardware of its recorded runs.

    laptop: minutes that its own training takes with that budget. records: of the runs that it
    shows; their machine and their time are read from them.
    """
    rows = [["this chapter", ""], ["to read", f"{read} minutes"]]
    rows += [["to run, budget smoke", f"{smoke} seconds of one core"]]
    if laptop:
        rows += [["to run, budget laptop", f"{laptop:.0f} minutes of one core"]]
    if shown := list(records):
        minutes = sum(record.minutes for record in shown)
        rows += [["the recorded runs", f"{len(shown)}, in all {minutes:.0f} minutes"]]
        rows += [["they ran on", where(shown)]]
    return Table(rows)
