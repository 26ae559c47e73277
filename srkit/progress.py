"""Progress bars: a line in a terminal, a bar in a notebook, and nothing where nobody watches.

That is a log file, a notebook that is run to be stored or tested (nbconvert, nbclient, nbval), and
whatever was asked to be quiet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_asked: ContextVar[bool | None] = ContextVar("progress", default=None)


@contextmanager
def progress_bars(progress: bool | None) -> Iterator[None]:
    """Within it, bars are shown or not as `progress` says; None changes nothing."""
    before = _asked.set(_asked.get() if progress is None else progress)
    try:
        yield
    finally:
        _asked.reset(before)


def bar(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    bytes_: bool = False,
    progress: bool | None = None,
) -> tqdm:
    """tqdm's bar over `items`, or to be moved by hand; it goes when it is done.

    desc, unit, total, initial: tqdm's. bytes_: count in kB, MB ... progress: True or False shows it
    or not; None shows it in a terminal and in a notebook that somebody works in.
    """
    from tqdm.auto import tqdm

    progress = _asked.get() if progress is None else progress
    shown = watched() if progress is None else progress
    return tqdm(
        items, desc=desc, unit=unit, total=total, initial=initial, unit_scale=bytes_,
        leave=False, disable=not shown,
    )  # fmt: skip


def watched() -> bool:
    """Whether stderr is a terminal, or this a notebook whose front end could answer a question.

    Programs that run notebooks from first cell to last tell the kernel that nobody can.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))
