"""Why two PSNRs of one picture differ: its value under every convention in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srkit.checks import at_least
from srkit.image.io import ImageLike, as_image
from srkit.image.tensors import round_8bit
from srkit.metrics.protocols import CHANNELS, PROTOCOLS
from srkit.metrics.psnr import psnr
from srkit.viz import tables

VALUES = {
    "as given": lambda x: x,
    "rounded": round_8bit,
    "truncated": lambda x: (x.double() * 255 + 1e-4).floor() / 255,  # 1e-4: k/255 stays k
}


# The protocol that a channel and a border (in multiples of the scale) of rounded values belong to.
PROTOCOL_OF = {(p.on, float(p.shave)): p.name for p in PROTOCOLS.values() if not p.plane}


@dataclass(frozen=True)
class Explanation:
    """PSNR of one pair under every convention; prints as a table.

    rows: dicts of on, shave, values ("as given" | "rounded" | "truncated" to 8 bits), psnr (dB) and
    protocol (its name in `srkit.evaluate`, or None).
    """

    rows: list[dict[str, Any]]

    def _cells(self) -> list[list[str]]:
        """One line for each channel and border, one column for each treatment of the values."""
        lines: dict[tuple, list[str]] = {}
        for row in self.rows:
            key = (row["on"], row["shave"])
            lines.setdefault(key, [row["on"], str(row["shave"])]).append(f"{row['psnr']:.3f}")
        names = {(r["on"], r["shave"]): r["protocol"] for r in self.rows if r["protocol"]}
        heading = ["on", "shave", *VALUES, "protocol (rounded)"]
        return [heading] + [[*line, names.get(key, "")] for key, line in lines.items()]

    def __str__(self) -> str:
        return tables.text(self._cells())

    def _repr_html_(self) -> str:
        return tables.html(self._cells())


def explain_psnr(a: ImageLike, b: ImageLike, *, scale: int) -> Explanation:
    """PSNR of the result `a` against the reference `b` under every convention in use.

    a, b: paths, PIL pictures, arrays or tensors. The channel is one of CHANNELS, the border 0,
    `scale` or `scale + 6`, the result's values are as given, or rounded or truncated to 8 bits.

    Raises what `as_image` and `psnr` raise, ValueError for a scale below 1.
    """
    at_least(1, scale=scale)
    a, b = as_image(a), as_image(b)
    rows = [
        {
            "on": on,
            "shave": border,
            "values": values,
            "psnr": psnr(convert(a), b, on=on, shave=border),
            "protocol": PROTOCOL_OF.get((on, border / scale)) if values == "rounded" else None,
        }
        for on in CHANNELS
        for border in (0, scale, scale + 6)
        for values, convert in VALUES.items()
    ]
    return Explanation(rows)
