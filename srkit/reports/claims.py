"""A paper's claims as statements about runs: this variant does better than that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import stdtrit

from srkit.reports.records import Records

# Differences that a run of minutes can show; between smaller ones chance decides. LPIPS of an
# adversarial run varies as much from one validation to the next. So claims about it use Set14
# where they can: Set5 is five pictures. CIPLab learns from AlexNet's LPIPS, so its claims use
# SqueezeNet's as well.
TELLS = {"psnr": 0.1, "lpips": 0.02, "lpips-squeeze": 0.02}

YES, NO, CANNOT_TELL, ONE_SEED, NOT_RUN = "yes", "no", "cannot tell", "one seed", "not run"


@dataclass(frozen=True)
class Claim:
    """`of` differs from `against`, two variants of a recipe, in what a test set says of them.

    against: may also be one of the recipe's baselines ("bicubic").
    against_test: what `against` is measured on, where it isn't `test`.
    sign: which way the paper has it: +1, the metric of `of` is higher, -1, it is lower, or 0, it is
    not lower. paper: the paper's difference, if it states one; None: taken from the recipe's
    `published`, if both figures are there.
    """

    says: str
    of: str
    against: str
    metric: str = "psnr"
    sign: int = 1
    test: str = "Set5"
    paper: float | None = None
    against_test: str | None = None

    def tested(self, records: Records) -> Finding:
        """What runs of one budget say of it. Only seeds that both sides were run with count."""
        other = self.against_test or self.test
        ours = records.values(self.of, self.test, self.metric)
        theirs = records.values(self.against, other, self.metric)
        for record in records.variant(self.of):
            if self.metric in (found := record.baselines.get(other, {}).get(self.against, {})):
                theirs[record.seed] = found[self.metric]
        both = sorted(ours.keys() & theirs.keys())
        return Finding(self, {seed: ours[seed] - theirs[seed] for seed in both})


@dataclass(frozen=True)
class Finding:
    """What runs say of a claim, in numbers. differences: of - against, by seed."""

    claim: Claim
    differences: Mapping[int, float]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.differences)

    @property
    def mean(self) -> float | None:
        """The mean difference; None without runs."""
        return mean(self.differences.values()) if self.differences else None

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the mean, by Student's t; None for fewer than two seeds."""
        count = len(self.differences)
        if count < 2:
            return None
        return float(stdtrit(count - 1, 0.975)) * stdev(self.differences.values()) / count**0.5

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean difference; None for fewer than two seeds."""
        if self.mean is None or self.half is None:
            return None
        return self.mean - self.half, self.mean + self.half

    @property
    def sees(self) -> float | None:
        """The smallest mean difference that these runs could have told from none.

        It is half of the interval, and at least TELLS; None for fewer than two seeds.
        """
        return None if self.half is None else max(self.half, TELLS[self.claim.metric])

    def seeds_to_see(self, difference: float) -> int | None:
        """How many seeds would tell a mean difference, if they vary as these do.

        It is the least n for which the 95 % interval is narrower than the difference: Student's t
        with n - 1 degrees of freedom, times the deviation of these differences, divided by the root
        of n. None for fewer than two seeds here, and for a difference below TELLS, which we count
        as none however many seeds there are.
        """
        if len(self.differences) < 2 or abs(difference) < TELLS[self.claim.metric]:
            return None
        deviation, count = stdev(self.differences.values()), 2
        while float(stdtrit(count - 1, 0.975)) * deviation / count**0.5 > abs(difference):
            count += 1
        return count

    @property
    def verdict(self) -> str:
        """ "yes", "no", "cannot tell", "one seed" or "not run".

        Yes and no need a mean difference of TELLS or more, and an interval without 0. For "not
        lower" (sign 0), yes needs the whole interval above minus TELLS.
        """
        if self.mean is None:
            return NOT_RUN
        if self.interval is None:
            return ONE_SEED
        (low, high), tells = self.interval, TELLS[self.claim.metric]
        told_apart = abs(self.mean) >= tells and not low < 0 < high
        if self.claim.sign == 0:
            return NO if told_apart and self.mean < 0 else YES if low > -tells else CANNOT_TELL
        if not told_apart:
            return CANNOT_TELL
        return YES if self.mean * self.claim.sign > 0 else NO
