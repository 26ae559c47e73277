"""Learning rates, as functions of how much of a stage is done (0 at its start, 1 at its end).

Shares instead of steps, so that one schedule serves a budget of steps and one of minutes. A paper's
"halved every 2e5 of 1e6 iterations" is `Halving(2e-4, every=0.2)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """`rate` throughout."""

    rate: float

    def __call__(self, done: float) -> float:
        return self.rate


@dataclass(frozen=True)
class Halving:
    """`rate`, halved after each share `every`."""

    rate: float
    every: float

    def __call__(self, done: float) -> float:
        # 1e-9: 3 * 0.1 is a little more than 0.3, and the halving there must not come a step late
        return self.rate * 0.5 ** int(done / self.every + 1e-9)


@dataclass(frozen=True)
class Multistep:
    """`rate`, times `factor` at each of the shares `at`."""

    rate: float
    at: tuple[float, ...]
    factor: float = 0.5

    def __call__(self, done: float) -> float:
        return self.rate * self.factor ** sum(done + 1e-9 >= share for share in self.at)


@dataclass(frozen=True)
class Cosine:
    """From `rate` to `floor` along half a cosine, `periods` times in a row (SGDR's restarts)."""

    rate: float
    floor: float = 0.0
    periods: int = 1

    def __call__(self, done: float) -> float:
        phase = min(done, 1 - 1e-9) * self.periods % 1
        return self.floor + (self.rate - self.floor) * (1 + math.cos(math.pi * phase)) / 2


@dataclass(frozen=True)
class Warmup:
    """Linear from 0 over the first `share` (0: none), then as `then` says."""

    then: Schedule
    share: float = 0.02

    def __call__(self, done: float) -> float:
        warm = min(1.0, (done + 1e-9) / self.share) if self.share else 1.0
        return self.then(done) * warm
