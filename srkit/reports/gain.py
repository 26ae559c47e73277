"""What a fine-tuning gained on held-out pictures, and whether chance explains it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy.special import stdtrit

from srkit.reports.claims import CANNOT_TELL, NO, NOT_RUN, TELLS, YES
from srkit.training.finetune import VAL
from srkit.training.record import Record


@dataclass(frozen=True)
class Gain:
    """PSNR (dB) of each picture before a fine-tuning and after it.

    kept_step: whose weights were kept; 0: the start's, since none beat them.
    """

    before: dict[str, float]
    after: dict[str, float]
    kept_step: int | None

    @property
    def differences(self) -> list[float]:
        return [self.after[name] - self.before[name] for name in self.before]

    @property
    def mean(self) -> float | None:
        """The mean difference in dB; None where nothing was measured."""
        return mean(self.differences) if self.differences else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over pictures, by Student's t; None for fewer than two."""
        count, centre = len(self.differences), self.mean
        if count < 2 or centre is None:
            return None
        half = float(stdtrit(count - 1, 0.975)) * stdev(self.differences) / count**0.5
        return centre - half, centre + half

    @property
    def verdict(self) -> str:
        """ "yes", "no", "cannot tell" or "not run".

        Yes needs a mean of TELLS["psnr"] or more and an interval above 0. No is the start kept, or
        an interval that ends below TELLS["psnr"].
        """
        if self.mean is None:
            return NOT_RUN
        if self.kept_step == 0:
            return NO
        if self.interval is None:
            return CANNOT_TELL
        low, high = self.interval
        if self.mean >= TELLS["psnr"] and low > 0:
            return YES
        return NO if high < TELLS["psnr"] else CANNOT_TELL

    def __str__(self) -> str:
        if self.mean is None:
            return "nothing was measured: give pictures to measure on, val=FOLDER"
        count, won = len(self.differences), sum(d > 0 for d in self.differences)
        first, last = mean(self.before.values()), mean(self.after.values())
        said = f"PSNR on {count} held-out pictures: {first:.2f} dB before, {last:.2f} after"
        if self.kept_step == 0:
            return (
                f"{said}. It does not help: no validation beat the start, whose weights were kept"
            )
        spread = (
            ""
            if self.interval is None
            else " (95 % interval {:+.2f} to {:+.2f})".format(*self.interval)
        )
        said += f", {self.mean:+.2f}{spread}, better in {won}"
        ends = {
            YES: "It helps",
            NO: "It does not help",
            CANNOT_TELL: "These pictures cannot tell whether it helps",
        }
        return f"{said}. {ends[self.verdict]}"


def gain(record: Record) -> Gain:
    """What a fine-tuning gained, by its record.

    Raises ValueError for a record of something else.
    """
    if record.recipe != "finetune":
        raise ValueError(f"{record.name} is no fine-tuning: card(record) tells of a recipe's run")
    return Gain(record.pictures.get("start", {}), record.pictures.get("end", {}), record.kept_step)


def report(record: Record, folder: Path) -> str:
    """What `srkit finetune` prints: bicubic's scores, the start's and the result's; the verdict."""
    lines = []
    rows = {**record.baselines.get(VAL, {}), "fine-tuned": record.metrics.get(VAL, {})}
    for name in ("bicubic", "start", "fine-tuned"):
        if row := rows.get(name):
            lines.append(f"{name:<12}{row['psnr']:8.3f} dB   SSIM {row['ssim']:.4f}")
    kept = "" if not record.kept_step else f"; the weights are those of step {record.kept_step:,}"
    lines.append(f"{gain(record)}{kept}.")
    lines.append(
        f"{folder / 'model.safetensors'} after {record.stages[0].steps:,} steps, "
        f"{record.minutes:.1f} minutes"
    )
    return "\n".join(lines)
