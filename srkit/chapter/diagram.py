"""Diagrams of blocks and of whole networks, in one style: boxes, sums, shortcuts, branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srkit.viz.figure import INK, Figure, chart, check_alt
from srkit.viz.plots import COLOURS, drawing

# What a box does, and its colour.
KINDS = {
    "layer": "0.5",  # a convolution, an activation
    "block": COLOURS[0],
    "norm": COLOURS[3],
    "attention": COLOURS[4],
    "up": COLOURS[2],
    "judge": COLOURS[1],  # a discriminator or a loss
}
STEP, WIDTH, HEIGHT = 1.6, 1.06, 0.66  # from box to box; a box
PLUS = 0.2  # from a box to the sum after it
UNIT = 0.6  # inches for 1 of these


@dataclass(frozen=True)
class Box:
    """One box of a diagram.

    label: what stands in it. kind: one of KINDS, its colour. times: how many of it follow one
    another. note: what stands below it, for example the size of the maps that leave it.
    """

    label: str
    kind: str = "layer"
    times: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: choose one of {', '.join(KINDS)}")
        if self.times < 1:
            raise ValueError(f"times={self.times}: expected 1 or more")


def flow(
    boxes: Sequence[str | Box],
    *,
    alt: str,
    skips: Sequence[tuple[int, int]] = (),
    branches: Sequence[tuple[int, str | Box, int]] = (),
    joint: str = "+",
    columns: int | None = None,
    caption: str = "",
) -> Figure:
    """Boxes from left to right, joined by arrows; a string is a box of the kind "layer".

    skips: (i, j) is a shortcut from before box i to the joint after box j.
    branches: (i, box, j) is a box below, with input from before box i and output to box j.
    joint: what happens where a shortcut ends: "+", "×", or "c" for concatenation.
    columns: leaves room for this many boxes, so that the charts of a series have one size.

    Raises ValueError for an empty alt, or a shortcut or branch that names no box.
    """
    from matplotlib.patches import FancyBboxPatch

    check_alt(alt)
    row = [Box(box) if isinstance(box, str) else box for box in boxes]
    below = [(i, Box(box) if isinstance(box, str) else box, j) for i, box, j in branches]
    for i, j in [*skips, *((i, j) for i, _, j in below)]:
        if not (0 <= i < len(row) and 0 <= j < len(row)):
            raise ValueError(
                f"({i}, {j}) joins boxes that are not there: they are 0..{len(row) - 1}"
            )
    columns = max(columns or 0, len(row))
    repeated = any(box.times > 1 for box in row)
    lowest = -0.5 - 0.32 * any(box.note for box in row)
    lengths = sorted({j - i for i, j in skips})  # a longer shortcut runs above a shorter one
    above = {length: 0.7 + 0.3 * (rank + repeated) for rank, length in enumerate(lengths)}
    top = max(0.45 + 0.3 * repeated, *above.values(), 0)
    bottom = -1.75 if below else lowest
    span = (columns * STEP + 1.15, top + 0.2 - bottom)
    with drawing(1, 1, (span[0] * UNIT, span[1] * UNIT)) as (figure, (axes,)):
        figure.set_layout_engine("none")
        axes.set(xlim=(-1.45, span[0] - 1.45), ylim=(bottom, top + 0.2), position=(0, 0, 1, 1))
        axes.set_axis_off()

        def arrow(*points: tuple[float, float], colour: str = INK) -> None:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2)
            line = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", points[-1], points[-2], arrowprops=line)

        def text(x: float, y: float, label: str, size: float, weight: str = "normal") -> None:
            axes.text(x, y, label, ha="center", va="center", fontsize=size, fontweight=weight,
                      linespacing=1.05, zorder=5)  # fmt: skip

        def draw(x: float, y: float, box: Box) -> None:
            colour = KINDS[box.kind]
            for k in reversed(range(min(box.times, 3))):  # a stack, where there are several
                corner = (x - WIDTH / 2 + 0.07 * k, y - HEIGHT / 2 + 0.07 * k)
                shape = FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.1",
                                       facecolor=(*_rgb(colour), 0.0 if k else 0.22),
                                       edgecolor=colour,
                                       linewidth=1.4, zorder=3)  # fmt: skip
                axes.add_patch(shape)
            text(x, y, box.label, 9.5)
            if box.times > 1:
                text(x, y + HEIGHT / 2 + 0.33, f"× {box.times}", 9.5, "bold")
            if box.note:
                text(x, y - HEIGHT / 2 - 0.22, box.note, 8.5)

        sums = {j for _, j in skips}
        for i in range(len(row) + 1):  # the arrow to box i, and the one from the last box
            start = (i - 1) * STEP + WIDTH / 2
            stop = i * STEP - (WIDTH / 2 if i < len(row) else 0.4)
            if i - 1 in sums:
                axes.plot((start, start + PLUS - 0.13), (0, 0), color=INK, linewidth=1.2)
                arrow((start + PLUS + 0.13, 0), (stop, 0))
                axes.plot(start + PLUS, 0, "o", markersize=11, markerfacecolor="none",
                          markeredgecolor=COLOURS[1], markeredgewidth=1.3)  # fmt: skip
                text(start + PLUS, 0, joint, 9)
            else:
                arrow((start, 0), (stop, 0))
        for i, j in skips:
            left, right = i * STEP - WIDTH / 2 - 0.24, j * STEP + WIDTH / 2 + PLUS
            height = above[j - i]
            arrow((left, 0), (left, height), (right, height), (right, 0.14), colour=COLOURS[1])
        for i, box, j in below:
            left, y = i * STEP - WIDTH / 2 - 0.24, -1.0
            arrow((left, 0), (left, y), (i * STEP - WIDTH / 2, y), colour=COLOURS[0])
            column, bus, end = i * STEP, y - HEIGHT / 2 - 0.2, j * STEP
            arrow((column, y - HEIGHT / 2), (column, bus), (end, bus), (end, -HEIGHT / 2),
                  colour=COLOURS[0])  # fmt: skip
            draw(i * STEP, y, box)
        for i, box in enumerate(row):
            draw(i * STEP, 0, box)
        return chart(figure, alt=alt, caption=caption)


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)
