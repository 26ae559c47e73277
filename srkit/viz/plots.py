"""The look of all figures, and the charts that chapters draw."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice, pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from srkit.viz.figure import INK, Figure, chart, check_alt

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# Okabe and Ito's palette, which colour-blind readers can tell apart, less its yellow (too light).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)

LOOK = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.figsize": (6.4, 3.6),
    "figure.facecolor": "white",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.axisbelow": True,
    "grid.color": "0.5",
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def style() -> None:
    """Give all matplotlib figures srkit's look; in a notebook, show them as JPEG of quality 85.

    srkit's own charts have this look without it. `viz.figure.pixels` shows a picture without loss.
    """
    import matplotlib as mpl

    mpl.rcParams.update(_look())
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})


def curves(
    histories: Mapping[str, Sequence],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    marks: Mapping[str, Iterable[float]] | None = None,
    log_y: bool = False,
    caption: str = "",
) -> Figure:
    """A chart with one line for each name.

    histories: {name: [(x, y), ...]}, or {name: a list of such lists}, one for each seed, all at the
    same x: then their mean is drawn, in a band from the lowest to the highest.
    marks: {name: x of dotted vertical lines in its colour}, for example of warm restarts.

    Raises ValueError for an empty alt, values that are no curve, or marks of an unknown name.
    """
    check_alt(alt)
    if unknown := set(marks or {}) - set(histories):
        raise ValueError(f"marks for {sorted(unknown)}, but the curves are {list(histories)}")
    with drawing(1, 1, LOOK["figure.figsize"]) as (figure, (axes,)):
        for (name, history), colour in zip(histories.items(), cycle(COLOURS), strict=False):
            x, y = _runs(name, history)  # (n), (seeds, n)
            label = name if len(y) == 1 else f"{name} ({len(y)} seeds)"
            axes.plot(x, y.mean(0), color=colour, label=label)
            if len(y) > 1:
                axes.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
            for mark in (marks or {}).get(name, ()):
                axes.axvline(mark, color=colour, linestyle=":", linewidth=1)
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log_y else "linear")
        axes.grid()
        axes.legend()
        return chart(figure, alt=alt, caption=caption)


def bars(quantities: Mapping[str, Mapping[str, float]], *, alt: str, caption: str = "") -> Figure:
    """A panel of horizontal bars for each quantity, with one bar and its value for each name.

    quantities: {"parameters (K)": {"rfdn": 433, "rlfn": 317}, "MACs (G)": {...}}, the same names
    in each.

    Raises ValueError for an empty alt, or names that differ.
    """
    check_alt(alt)
    names = list(next(iter(quantities.values()), {}))
    for quantity, values in quantities.items():
        if list(values) != names:
            raise ValueError(f"{quantity!r} has bars {list(values)}, the first panel has {names}")
    size = (max(4.8, 2.6 * len(quantities)), 0.9 + 0.32 * len(names))
    with drawing(1, len(quantities), size) as (figure, panels):
        for axes, (quantity, values) in zip(panels, quantities.items(), strict=True):
            colours = list(islice(cycle(COLOURS), len(names)))
            drawn = axes.barh(names, list(values.values()), color=colours)
            axes.bar_label(drawn, fmt="{:.4g}", padding=3)
            axes.set_title(quantity)
            axes.margins(x=0.3)
            axes.invert_yaxis()
            axes.tick_params(length=0, labelleft=axes is panels[0], labelbottom=False)
        return chart(figure, alt=alt, caption=caption)


def dots(
    values: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    alt: str,
    line: float | None = None,
    caption: str = "",
) -> Figure:
    """A row of dots for each name, one dot for each seed, and a stroke at their mean.

    values: {name: [value of each seed]}; the first name is the uppermost row.
    line: where a dotted vertical line is drawn, at bicubic for example.

    Raises ValueError for an empty alt, or a name without values.
    """
    check_alt(alt)
    empty = [name for name, found in values.items() if not len(found)]
    if empty or not values:
        raise ValueError(f"dots got no values for {empty}: give each name a value of every seed")
    with drawing(1, 1, (6.4, 0.9 + 0.36 * len(values))) as (figure, (axes,)):
        for row, (found, colour) in enumerate(zip(values.values(), cycle(COLOURS), strict=False)):
            axes.plot(found, [row] * len(found), "o", color=colour, markersize=6, alpha=0.6)
            axes.plot([float(np.mean(found))] * 2, [row - 0.3, row + 0.3], color=colour)
        if line is not None:
            axes.axvline(line, color=INK, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(values)), list(values))
        axes.set(xlabel=xlabel, ylim=(len(values) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        return chart(figure, alt=alt, caption=caption)


def matrix(
    values: Sequence[Sequence[float]] | np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    alt: str,
    centre: float | None = None,
    digits: int = 2,
    caption: str = "",
) -> Figure:
    """Numbers as coloured squares, with their values where there are at most 120 of them.

    values: (rows, columns); NaN leaves a square empty, where a block has no such source.
    label: what the colours mean. centre: the value of a colour scale that goes both ways from it
    (0.5 for gates); None: a scale from the smallest to the largest value.

    Raises ValueError for an empty alt, or values of another shape than the names'.
    """
    check_alt(alt)
    found = np.asarray(values, float)
    if found.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix got values of shape {found.shape}: expected {(len(rows), len(columns))}, "
            "a row for each name in rows and a column for each in columns"
        )
    low, high = float(np.nanmin(found)), float(np.nanmax(found))
    if centre is not None:
        reach = max(high - centre, centre - low) or 1.0
        low, high = centre - reach, centre + reach
    size = (min(9.0, 2.2 + 0.55 * len(columns)), 1.1 + min(0.42, 6 / len(rows)) * len(rows))
    with drawing(1, 1, size) as (figure, (axes,)):
        colours = "viridis" if centre is None else "PuOr"
        shown = axes.imshow(found, cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(len(columns)), list(columns), rotation=45, ha="right")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for (row, column), value in np.ndenumerate(found) if found.size <= 120 else ():
            if not np.isnan(value):
                red, green, blue, _ = shown.cmap(shown.norm(value))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.55
                axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center",
                          fontsize="small", color="white" if dark else "#111111")  # fmt: skip
        figure.colorbar(shown, ax=axes, label=label)
        return chart(figure, alt=alt, caption=caption)


def plane(
    points: Mapping[str, tuple[float, float] | Sequence[tuple[float, float]]],
    *,
    alt: str,
    lines: Mapping[str, Sequence[str]] | None = None,
    xlabel: str = "PSNR (dB)",
    ylabel: str = "LPIPS",
    caption: str = "",
) -> Figure:
    """Methods in the plane of distortion (PSNR, across) and perception (LPIPS, up).

    Farther right is nearer to HR, farther down looks more like it. No method can be good at both
    without limit (Blau and Michaeli, CVPR 2018).
    points: {name: (PSNR, LPIPS)}, or {name: several such pairs}, one for each seed: then their mean
    is drawn, with bars from the lowest to the highest. All are of one test set; name it in xlabel
    and ylabel.
    lines: {label: names of the points to join, in this order}.

    Raises ValueError for an empty alt, no points, points that are no pairs, or unknown names.
    """
    check_alt(alt)
    if not points:
        raise ValueError("plane got no points: give {'rlfn': (psnr, lpips), ...}")
    lines = lines or {}
    if unknown := {name for joined in lines.values() for name in joined} - set(points):
        raise ValueError(f"lines through {sorted(unknown)}, but the points are {list(points)}")
    seeds = {name: np.atleast_2d(np.array(values, float)) for name, values in points.items()}
    for name, values in seeds.items():
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError(f"{name!r} is no point: give (psnr, lpips), or a list of such pairs")
    means = {name: values.mean(0) for name, values in seeds.items()}
    with drawing(1, 1, (6.4, 4.4)) as (figure, (axes,)):
        for label, joined in lines.items():
            axes.plot(*np.transpose([means[name] for name in joined]), label=label, zorder=1)
        for name, values in seeds.items():
            x, y = means[name]
            axes.plot(x, y, "o", color=INK, markersize=5)
            if len(values) > 1:
                dx, dy = np.abs([values.min(0), values.max(0)] - means[name]).T[:, :, None]
                axes.errorbar(x, y, dy, dx, color=INK, linewidth=1.2, capsize=2)
        axes.set(xlabel=f"{xlabel}, nearer to HR \N{RIGHTWARDS ARROW}",
                 ylabel=f"\N{LEFTWARDS ARROW} looks more like HR, {ylabel}")  # fmt: skip
        axes.grid()
        axes.margins(0.12)
        if lines:
            axes.legend()
        _name(figure, axes, means)
        return chart(figure, alt=alt, caption=caption)


def scatter(
    groups: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    named: Container[str] | None = None,
    lines: Mapping[str, Sequence[str]] | None = None,
    unit: str | None = None,
    caption: str = "",
) -> Figure:
    """Named dots at (x, y), in groups that differ in colour and shape; a legend tells which.

    groups: {label: {name: (x, y)}}, each name once. A label that ends with "*" has hollow dots.
    named: the names that are written beside their dots; None writes all.
    lines: {label: names of the dots to join, in this order}.
    unit: makes x logarithmic, with ticks such as "20 ms" for the unit "s", or "5 G" for "".

    Raises ValueError for an empty alt, no dots, a name that two groups have, or lines through
    names that are not there.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    check_alt(alt)
    points = {name: xy for group in groups.values() for name, xy in group.items()}
    if not points:
        raise ValueError("scatter got no dots: give {'ours': {'rlfn': (x, y), ...}, ...}")
    if len(points) < sum(map(len, groups.values())):
        raise ValueError("scatter got a name in two groups: give each dot a name of its own")
    lines = lines or {}
    if unknown := {name for joined in lines.values() for name in joined} - set(points):
        raise ValueError(f"lines through {sorted(unknown)}, but the dots are {list(points)}")
    with drawing(1, 1, (7.4, 5.4)) as (figure, (axes,)):
        for label, joined in lines.items():
            axes.plot(
                *np.transpose([points[n] for n in joined]), label=label, color="0.6", zorder=1
            )
        for (label, group), colour, shape in zip(
            groups.items(), cycle(COLOURS), cycle("osD^v"), strict=False
        ):
            inside = "none" if label.endswith("*") else colour
            for k, (x, y) in enumerate(group.values()):
                axes.plot(x, y, shape, color=colour, markersize=5.5, markerfacecolor=inside,
                          label=label.removesuffix("*") if k == 0 else None)  # fmt: skip
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if unit is not None:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(EngFormatter(unit))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid()
        axes.margins(0.1)
        axes.legend(fontsize="small")
        written = {
            n: np.array(xy, float) for n, xy in points.items() if named is None or n in named
        }
        _name(figure, axes, written, list(points.values()))
        return chart(figure, alt=alt, caption=caption)


@contextmanager
def drawing(
    rows: int, columns: int, size: tuple[float, float]
) -> Iterator[tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]]:
    """A matplotlib figure and its axes, in the look of this package.

    It is not one of pyplot's, which would show it a second time in a notebook.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_look()):
        figure = Canvas(figsize=size)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _look() -> dict[Any, Any]:
    """The settings of `style()`, by their names in matplotlib."""
    from cycler import cycler

    return {**LOOK, "axes.prop_cycle": cycler(color=COLOURS)}


def _name(
    figure: matplotlib.figure.Figure,
    axes: matplotlib.axes.Axes,
    points: Mapping[str, np.ndarray],
    apart: Sequence = (),
) -> None:
    """Write each point's name beside it, at the one of 12 places where it covers least.

    apart: points (x, y) that names keep away from, so that none seems to be another's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    FigureCanvasAgg(figure).draw()  # this lays it out; sizes are unknown before
    drawn = [np.asarray(line.get_xydata()) for line in axes.lines]
    drawn = [np.linspace(a, b, 40) for xy in drawn for a, b in pairwise(xy)]
    dots = axes.transData.transform(np.concatenate([*drawn, list(points.values())]))
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in dots]
    for x, y in axes.transData.transform(apart) if len(apart) else ():
        taken.append(Bbox.from_bounds(x - 9, y - 9, 18, 18))
    names = [legend.get_window_extent()] if (legend := axes.get_legend()) else []
    for name, (x, y) in points.items():
        places = []
        for dx, dy in product((7, -7, 0), (4, -4, 16, -16)):
            text = axes.annotate(
                name, (x, y), (dx, dy), textcoords="offset points", fontsize="small",
                ha={7: "left", -7: "right", 0: "center"}[dx], va="bottom" if dy > 0 else "top",
            )  # fmt: skip
            box = text.get_window_extent()
            outside = not (axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max))
            covers = sum(map(box.overlaps, taken)) + 99 * (outside + sum(map(box.overlaps, names)))
            covers += 0.5 * (abs(dy) > 4)  # near its own point
            places.append((covers, len(places), text, box))
        *others, best = sorted(places, reverse=True)
        for _, _, text, _ in others:
            text.remove()
        names.append(best[3])


def _runs(name: str, history: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """[(x, y), ...], or several such lists, as x (n) and y (seeds, n)."""
    with suppress(ValueError):  # of lists whose lengths differ
        runs = np.array(history, float)
        runs = runs[None] if runs.ndim == 2 else runs
        if runs.ndim == 3 and runs.shape[2] == 2 and (runs[:, :, 0] == runs[0, :, 0]).all():
            return runs[0, :, 0], runs[:, :, 1]
    raise ValueError(
        f"{name!r} is no curve: give [(x, y), ...], or a list of such lists at the same x"
    )
