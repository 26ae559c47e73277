"""A paper's claims as statements about runs: this variant does better than that one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import stdtrit

# Differences that a run of minutes can show; between smaller ones chance decides. LPIPS of a run
# against a discriminator moves by as much from one look at it to the next; claims about it go by
# Set14's where they can, for Set5 is five pictures. CIPLab learns from AlexNet's, so its claims go
# by SqueezeNet's, too.
TELLS = {"psnr": 0.1, "lpips": 0.02, "lpips-squeeze": 0.02}


@dataclass(frozen=True)
class Claim:
    """`of` differs from `against`, two variants of a recipe, in what a test set says of them.

    against: may also be one of the `baselines` in the records of `of` ("bicubic"): what else made
    the same pictures large.
    against_test: what `against` is measured on, where it isn't `test`.
    sign: which way the paper has it: +1, the metric of `of` is higher, -1, it is lower, or 0, it is
    not lower. paper: by how much, where it has a figure; None where both variants' figures are
    in the recipe's PAPER, or nowhere.
    """

    says: str
    of: str
    against: str
    metric: str = "psnr"
    sign: int = 1
    test: str = "Set5"
    paper: float | None = None
    against_test: str | None = None

    def differences(self, records: Iterable[Mapping]) -> dict[int, float]:
        """{seed: of - against} of the seeds that both were run with, in their order."""
        ours: dict[int, float] = {}
        theirs: dict[int, float] = {}
        other = self.against_test or self.test
        for record in records:
            found = {record["variant"]: record["metrics"].get(other, {})}
            if record["variant"] == self.of:
                found |= record.get("baselines", {}).get(other, {})
                own = record["metrics"].get(self.test, {})
                if self.metric in own:
                    ours[record["seed"]] = own[self.metric]
            if self.metric in found.get(self.against, {}):
                theirs[record["seed"]] = found[self.against][self.metric]
        return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}

    def verdict(self, differences: Mapping[int, float]) -> str:
        """What the runs say: "yes", "no", "cannot tell" or "not run".

        Told apart are means of TELLS and more, the 95 % interval of which, by Student's t, leaves
        out 0. One seed has no interval, so the verdict says how many there were.
        """
        if not differences:
            return "not run"
        found = differences.values()
        count, middle = len(found), mean(found)
        half = 0.0
        if count > 1:
            half = stdtrit(count - 1, 0.975) * stdev(found) / count**0.5
        told_apart = abs(middle) >= max(TELLS[self.metric], half)
        if self.sign == 0:
            word = "no" if told_apart and middle < 0 else "yes"
        elif told_apart:
            word = "yes" if middle * self.sign > 0 else "no"
        else:
            word = "cannot tell"
        return f"{word} ({count} seed{'s' if count > 1 else ''})"
