"""A recorded run trained again: are the figures equal, and if not, by how much and why?"""

from __future__ import annotations

from dataclasses import dataclass

from srkit.training.record import Record
from srkit.viz import tables


@dataclass(frozen=True, repr=False)
class Reproduction:
    """The recorded run, and the one that was trained again with the same settings."""

    recorded: Record
    again: Record

    @property
    def differences(self) -> dict[tuple[str, str], float]:
        """again - recorded, by test set and metric."""
        return {
            (test, metric): self.again.metrics[test][metric] - value
            for test, scores in self.recorded.metrics.items()
            for metric, value in scores.items()
        }

    @property
    def equal(self) -> bool:
        """Whether every figure is the recorded one, to the last digit."""
        return not any(self.differences.values())

    @property
    def reasons(self) -> list[str]:
        """What was different this time and can change figures."""
        pairs = [
            (f"the machine's {key}", self.recorded.machine.get(key), self.again.machine.get(key))
            for key in ("processor", "capability", "threads", "gpu", "torch")
        ]
        hashes = [(r.data or {}).get("sha256") for r in (self.recorded, self.again)]
        precisions = [
            ", ".join(dict.fromkeys(stage.precision for stage in r.stages))
            for r in (self.recorded, self.again)
        ]
        pairs += [
            ("the training pictures (hash)", *hashes),
            ("the precision", *precisions),
            ("srkit's code", self.recorded.code, self.again.code),
        ]
        return [f"{what}: {old} then, {new} now" for what, old, new in pairs if old != new]

    def __str__(self) -> str:
        verdict = "equal to the last digit" if self.equal else "not equal"
        rows = [["", "recorded", "now", "difference"]]
        for (test, metric), difference in self.differences.items():
            old, new = (r.metrics[test][metric] for r in (self.recorded, self.again))
            rows.append([f"{test}, {metric}", f"{old!r}", f"{new!r}", f"{difference:+.2e}"])
        why = [f"different here: {reason}" for reason in self.reasons]
        return "\n".join([f"{self.recorded.name}: {verdict}", tables.text(rows), *why])

    __repr__ = __str__
