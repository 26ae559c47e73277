"""Recorded runs, and questions to them.

Filters give fewer records, questions give numbers:

    runs = Records.of("rlfn").budget("laptop")
    runs.mean("warm-start", "Set5", "psnr")      # over its seeds
    runs.values("warm-start", "Set5", "psnr")    # {0: 30.68, 1: 30.67, 2: 30.74}, by seed

A record has no weights: `srkit.recipes.recorded("rlfn", "warm-start")` gives the network of a run,
from `data/weights/rlfn-laptop-warm-start_x4.safetensors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import overload

from srkit.files import data_path, read_json
from srkit.training.record import Record


class Records(Sequence[Record]):
    """Some runs' records, in order."""

    def __init__(self, records: Iterable[Record]):
        self.records = tuple(records)

    @classmethod
    def of(cls, name: str) -> Records:
        """The shipped records of a recipe ("rlfn"), or of another program ("minutes").

        Raises FileNotFoundError where it ships none.
        """
        return cls.read(data_path(f"runs/{name}.json"))

    @classmethod
    def read(cls, path: str | Path) -> Records:
        """Those in a file of records.

        Raises Damaged, naming the file, and ValueError for one of another kind.
        """
        return cls(Record.from_json(each, path) for each in read_json(path, list))

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        found = self.records[index]
        return Records(found) if isinstance(found, tuple) else found

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return f"Records({', '.join(record.name for record in self)})"

    def budget(self, name: str) -> Records:
        """Those of one budget."""
        return Records(r for r in self if r.budget == name)

    def variant(self, *names: str) -> Records:
        """Those of some variants, in the order of the names."""
        return Records(r for name in names for r in self if r.variant == name)

    def seed(self, number: int) -> Records:
        """Those of one seed."""
        return Records(r for r in self if r.seed == number)

    def one(self, variant: str, seed: int = 0) -> Record:
        """The record of one variant and seed.

        Raises ValueError where there is none, or more than one.
        """
        found = self.variant(variant).seed(seed)
        if len(found) != 1:
            raise ValueError(f"{len(found)} records of {variant}, seed {seed}: expected one")
        return found[0]

    @property
    def variants(self) -> list[str]:
        """Their variants, each once, in order."""
        return list(dict.fromkeys(r.variant for r in self))

    def groups(self) -> dict[tuple[str, str], Records]:
        """Records by (variant, budget): the seeds of each run together."""
        keys = dict.fromkeys((r.variant, r.budget) for r in self)
        return {key: Records(r for r in self if (r.variant, r.budget) == key) for key in keys}

    def values(self, variant: str, test: str, metric: str) -> dict[int, float]:
        """A metric of a variant on a test set, by seed; only of those that have it.

        Raises ValueError for records of several budgets, data or minutes, which no one number
        stands for, and for two of one seed.
        """
        group = self.variant(variant)
        if any(r.kind != group[0].kind for r in group):
            raise ValueError(
                f"these records of {variant} differ in budget, data, sizes or minutes: choose one "
                "kind, as by .budget('laptop')"
            )
        scores = {r.seed: r.metrics.get(test, {}) for r in group}
        if len(scores) < len(group):
            raise ValueError(f"these records of {variant} have a seed twice: leave one out")
        return {seed: found[metric] for seed, found in sorted(scores.items()) if metric in found}

    def mean(self, variant: str, test: str, metric: str) -> float:
        """The mean of `values`.

        Raises ValueError where there are none.
        """
        values = self.values(variant, test, metric).values()
        if not values:
            raise ValueError(f"no record of {variant} has {metric} of {test}")
        return mean(values)

    def spread(self, variant: str, test: str, metric: str) -> float | None:
        """The sample standard deviation of `values`; None for fewer than two."""
        values = self.values(variant, test, metric).values()
        return stdev(values) if len(values) > 1 else None
