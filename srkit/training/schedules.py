"""Learning rates, as functions of how much of a stage is done (0 at its start, 1 at its end).

Shares instead of steps, so that one schedule serves a budget of steps and one of minutes. A paper's
"halved every 2e5 of 1e6 iterations" is `Halving(2e-4, every=0.2)`.

All raise ValueError for a rate that is no finite number from 0 and for a share that is none,
TypeError for what is no schedule or no tuple of shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from srkit.checks import at_least, finite

Schedule = Callable[[float], float]


def _rate(**numbers: float) -> None:
    """Refuse what is no number from 0 that is finite."""
    for name, number in numbers.items():
        if number is None or number == math.inf:
            raise ValueError(f"{name}={number!r}: expected a finite number from 0")
        at_least(0.0, **{name: number})


def _share(most: float = 1, **shares: float) -> None:
    """Refuse what is no share of a stage; a number of steps, above all."""
    for name, share in shares.items():
        _rate(**{name: share})
        if share > most:
            raise ValueError(
                f"{name}={share!r}: a share of the stage is expected, from 0 to {most}; of steps "
                "it is their number divided by all steps"
            )


@dataclass(frozen=True)
class Constant:
    """`rate` throughout."""

    rate: float

    def __post_init__(self):
        _rate(rate=self.rate)

    def __call__(self, done: float) -> float:
        return self.rate


@dataclass(frozen=True)
class Halving:
    """`rate`, halved after each share `every`."""

    rate: float
    every: float

    def __post_init__(self):
        _rate(rate=self.rate)
        finite(every=self.every)
        _share(100, every=self.every)  # above 1: the stage ends before the first halving

    def __call__(self, done: float) -> float:
        # 1e-9: 3 * 0.1 is a little more than 0.3, and the halving there must not come a step late
        return self.rate * 0.5 ** int(done / self.every + 1e-9)


@dataclass(frozen=True)
class Multistep:
    """`rate`, times `factor` at each of the shares `at`."""

    rate: float
    at: tuple[float, ...]
    factor: float = 0.5

    def __post_init__(self):
        _rate(rate=self.rate, factor=self.factor)
        if not isinstance(self.at, Sequence):
            raise TypeError(f"at={self.at!r}: a tuple of shares is expected, as (0.5, 0.75)")
        for share in self.at:
            _share(at=share)

    def __call__(self, done: float) -> float:
        return self.rate * self.factor ** sum(done + 1e-9 >= share for share in self.at)


@dataclass(frozen=True)
class Cosine:
    """From `rate` to `floor` along half a cosine, `periods` times in a row (SGDR's restarts)."""

    rate: float
    floor: float = 0.0
    periods: int = 1

    def __post_init__(self):
        _rate(rate=self.rate, floor=self.floor)
        at_least(1, periods=self.periods)

    def __call__(self, done: float) -> float:
        phase = min(done, 1 - 1e-9) * self.periods % 1
        return self.floor + (self.rate - self.floor) * (1 + math.cos(math.pi * phase)) / 2


@dataclass(frozen=True)
class Warmup:
    """Linear from 0 over the first `share` (0: none), then as `then` says."""

    then: Schedule
    share: float = 0.02

    def __post_init__(self):
        _share(share=self.share)
        if not callable(self.then):
            raise TypeError(f"then={self.then!r}: a schedule is expected, as Constant(1e-3)")

    def __call__(self, done: float) -> float:
        warm = min(1.0, (done + 1e-9) / self.share) if self.share else 1.0
        return self.then(done) * warm
