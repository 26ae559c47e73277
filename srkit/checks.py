"""Numbers are checked where they enter, before any work: one sentence a refusal."""

from __future__ import annotations

import math


def at_least(smallest: float, **numbers: float | None) -> None:
    """Refuse a number below `smallest`, or one that is none. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    whole = isinstance(smallest, int)
    expected = f"a whole number from {smallest}" if whole else f"a number from {smallest:g}"
    for name, value in numbers.items():
        if value is None:
            continue
        kinds = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= smallest:
            raise ValueError(f"{name}={value!r}: expected {expected}")


def finite(**numbers: float | None) -> None:
    """Refuse what is not a positive, finite number. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r}: expected a number above 0")
        if not (0 < value < math.inf):
            raise ValueError(f"{name}={value!r}: expected a finite number above 0")


def below(limit: float, **numbers: float | None) -> None:
    """Refuse a number that is not below `limit`. None passes.

    Raises ValueError that names the argument, its value and what is expected.
    """
    for name, value in numbers.items():
        if value is not None and not value < limit:
            raise ValueError(f"{name}={value!r}: expected a number below {limit:g}")
