"""Block diagrams: a chain of boxes, with shortcuts above and side branches below."""

from __future__ import annotations

from collections.abc import Sequence

from srkit.viz.figure import Figure, chart, check_alt
from srkit.viz.plots import COLOURS, drawing

STEP, WIDTH, HEIGHT = 1.6, 0.9, 0.62  # from box to box; a box
PLUS = 0.22  # from a box to the sum after it
UNIT = 0.62  # inches for 1 of these


def flow(
    boxes: Sequence[str],
    *,
    alt: str,
    skips: Sequence[tuple[int, int]] = (),
    branches: Sequence[tuple[int, str, int]] = (),
    columns: int | None = None,
    caption: str = "",
) -> Figure:
    """A chart of boxes from left to right, joined by arrows.

    skips: (i, j) is a shortcut from before box i to a sum after box j.
    branches: (i, label, j) is a box below, with input from before box i and output to box j.
    columns: leaves room for this many boxes, so that the charts of a series have one size.

    Raises ValueError for an empty alt.
    """
    from matplotlib.patches import FancyBboxPatch

    check_alt(alt)
    columns = max(columns or 0, len(boxes))
    top = 0.6 + 0.28 * max((j - i for i, j in skips), default=-1)
    bottom = -1.6 if branches else -0.55
    span = (columns * STEP + 0.8, top + 0.25 - bottom)
    with drawing(1, 1, (span[0] * UNIT, span[1] * UNIT)) as (figure, (axes,)):
        figure.set_layout_engine("none")
        axes.set(xlim=(-1.4, span[0] - 1.4), ylim=(bottom, top + 0.25), position=(0, 0, 1, 1))
        axes.set_axis_off()

        def arrow(*points: tuple[float, float], colour: str = "0.3") -> None:
            axes.plot(*zip(*points[:-1], strict=True), color=colour, linewidth=1.3)
            line = {"arrowstyle": "-|>", "color": colour, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", points[-1], points[-2], arrowprops=line)

        def box(x: float, y: float, label: str, colour: str) -> None:
            corner = (x - WIDTH / 2, y - HEIGHT / 2)
            axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.1",
                                          facecolor=colour, edgecolor="0.3", zorder=3))  # fmt: skip
            axes.text(x, y, label, ha="center", va="center", fontsize=9, linespacing=1.1, zorder=4)

        sums = {j for _, j in skips}
        for i in range(len(boxes) + 1):  # the arrow to box i, and the one from the last box
            start = (i - 1) * STEP + WIDTH / 2
            stop = i * STEP - (WIDTH / 2 if i < len(boxes) else STEP / 2)
            arrow((start, 0), (stop, 0))
            if i - 1 in sums:
                axes.text(start + PLUS, 0, "+", ha="center", va="center", fontsize=8,
                          bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white",
                                "edgecolor": COLOURS[1]})  # fmt: skip
        for i, j in skips:
            left, right = i * STEP - WIDTH / 2 - 0.25, j * STEP + WIDTH / 2 + PLUS
            height = 0.6 + 0.28 * (j - i)
            arrow((left, 0), (left, height), (right, height), (right, 0.13), colour=COLOURS[1])
        for i, _, j in branches:
            left, y = i * STEP - WIDTH / 2 - 0.25, -0.95
            arrow((left, 0), (left, y), (i * STEP - WIDTH / 2, y), colour=COLOURS[0])
            column, bus = i * STEP, y - HEIGHT / 2 - 0.2
            end = j * STEP
            arrow((column, y), (column, bus), (end, bus), (end, -HEIGHT / 2), colour=COLOURS[0])
        for i, label, _ in branches:
            box(i * STEP, -0.95, label, "#d6e6f4")
        for i, label in enumerate(boxes):
            box(i * STEP, 0, label, "#f3f3f3")
        return chart(figure, alt=alt, caption=caption)
