"""What chapters ask of networks and records: pictures, scores, a training, a blind vote."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from srkit import recipes
from srkit.chapter.study import study
from srkit.datasets import catalog
from srkit.image.degrade import make_lr
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop
from srkit.inference import upscale
from srkit.metrics.evaluate import evaluate
from srkit.models.network import Network
from srkit.reports.card import UNITS
from srkit.reports.records import Records
from srkit.training.record import Record
from srkit.viz.figure import Figure
from srkit.viz.plots import dots, plane
from srkit.viz.tables import Table, table

Method = Network | Callable[[Tensor], Tensor]

# Squares of the sample pictures in which methods differ: (picture, left, top).
SPOTS = {
    "eye": ("chelsea", 128, 76),
    "whiskers": ("chelsea", 190, 150),
    "cup": ("coffee", 180, 200),
    "spoon": ("coffee", 300, 180),
    "collar": ("astronaut", 150, 100),
    "wall": ("brick", 100, 100),
}


def spots(side: int = 100) -> dict[str, Tensor]:
    """Squares (3, side, side) of the sample pictures with fur, metal, cloth and bricks."""
    found = catalog.samples()
    return {
        name: found[picture][:, top : top + side, left : left + side]
        for name, (picture, left, top) in SPOTS.items()
    }


def enlarge(methods: Mapping[str, Method], hr: Tensor, *, scale: int = 4) -> dict[str, Tensor]:
    """{"bicubic": ..., and each name: SR} of the LR picture that bicubic leaves of `hr`.

    hr: (3, H, W), cut to a multiple of the scale. Results are in [0, 1], in float32.
    """
    lr = make_lr(modcrop(hr, scale), scale)
    found = {"bicubic": imresize(lr, scale).clamp(0, 1)}
    for name, method in methods.items():
        found[name] = enlarged(method, lr).clamp(0, 1)
    return found


def enlarged(method: Method, lr: Tensor) -> Tensor:
    """The result of a network or a function on one LR picture (3, h, w)."""
    if isinstance(method, Network):
        return upscale(method, lr, precision="float32")
    return method(lr)


def scores(
    methods: Mapping[str, Method | str],
    test: str,
    *,
    scale: int = 4,
    lpips: bool = True,
    limit: int | None = None,
) -> dict[str, dict[str, float]]:
    """{name: {"psnr": ..., "ssim": ..., "lpips": ...}}, means over a test set, protocol classic.

    methods: networks, functions or "bicubic". limit: only so many pictures; under the budget
    "smoke" only the first. LPIPS is AlexNet's.

    Raises what `evaluate` raises.
    """
    limit = 1 if recipes.budget() == "smoke" else limit
    net, found = "alex" if lpips else None, {}
    for name, method in methods.items():
        of = None if isinstance(method, Network) else scale  # a network knows its own
        means = evaluate(method, test, scale=of, lpips=net, limit=limit).means
        found[name] = {metric: value for metric, value in means.items() if metric != "seconds"}
    return found


def train_here(recipe: str, variant: str, *, seed: int = 0, precision: str = "auto") -> Record:
    """Train with the budget of SRKIT_BUDGET; a finished run is read and not repeated.

    Under "smoke" the run is thrown away, else it is kept in `../runs`. precision: as of `train`;
    most recorded runs have float32.
    """
    budget = recipes.budget()
    if budget != "smoke":
        return recipes.train(
            recipe, variant, budget=budget, seed=seed, out="../runs", precision=precision
        )
    with tempfile.TemporaryDirectory() as folder:
        return recipes.train(recipe, variant, budget=budget, seed=seed, out=folder)


def ablation(
    recipe: str,
    variants: Mapping[str, str],
    *,
    alt: str,
    test: str = "Set5",
    metric: str = "psnr",
    budget: str = "laptop",
    caption: str = "",
) -> Figure:
    """Recorded variants of a recipe, a dot for each seed. variants: {variant: what to call it}.

    Raises ValueError for a variant without records.
    """
    values = {
        label: list(runs.values(variant, test, metric).values())
        for label, variant, runs in _recorded(recipe, variants, budget)
    }
    unit = "PSNR (dB)" if metric == "psnr" else UNITS[metric]
    return dots(values, xlabel=f"{unit}, {test}", alt=alt, caption=caption)


def runs_table(
    recipe: str,
    variants: Mapping[str, str],
    *,
    tests: Sequence[str] = ("Set5", "Set14", "BSD100"),
    metric: str = "psnr",
    budget: str = "laptop",
    caption: str = "",
) -> Table:
    """Recorded variants in a table: parameters, seeds, and the metric's mean ± deviation.

    variants: {variant: what to call it}. Raises ValueError for a variant without records.
    """
    rows = {}
    for label, variant, runs in _recorded(recipe, variants, budget):
        row: dict[str, int | list[float]] = {"parameters": runs[0].parameters, "seeds": len(runs)}
        for test in tests:
            row[test] = list(runs.values(variant, test, metric).values())
        rows[label] = row
    return table(rows, caption=caption, digits=2 if metric == "psnr" else 3)


def _recorded(
    recipe: str, variants: Mapping[str, str], budget: str
) -> Iterator[tuple[str, str, Records]]:
    """What to call each variant, the variant, and its records, of which there must be some."""
    for variant, label in variants.items():
        runs = Records.of(recipe).budget(budget).variant(variant)
        if not len(runs):
            raise ValueError(f"no record of {recipe}, {variant}, {budget}")
        yield label, variant, runs


def plane_of(
    records: Records,
    variants: Sequence[str],
    test: str,
    *,
    alt: str,
    lines: Mapping[str, Sequence[str]] | None = None,
    others: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Recorded variants in the plane of PSNR and LPIPS, each with its seeds.

    others: {name: (PSNR, LPIPS)} of what is no run, bicubic for example.

    Raises ValueError as `viz.plots.plane` does, and for a variant without records.
    """
    points: dict[str, Sequence] = dict(others or {})
    for variant in variants:
        psnr, lpips = (records.values(variant, test, metric) for metric in ("psnr", "lpips"))
        both = sorted(psnr.keys() & lpips.keys())
        if not both:
            raise ValueError(f"no record of {variant} has PSNR and LPIPS of {test}")
        points[variant] = [(psnr[seed], lpips[seed]) for seed in both]
    labels = {"xlabel": f"PSNR, {test} (dB)", "ylabel": f"LPIPS, {test}"}
    return plane(points, lines=lines, alt=alt, **labels)


def blind_vote(
    methods: Mapping[str, Method],
    *,
    name: str,
    question: str = "Which looks more like a photograph?",
) -> Figure:
    """Two methods on all `spots`, side by side and shuffled: the reader chooses.

    name: under which the browser keeps the answers, one for each study ("chapter-13").

    Raises ValueError unless there are two methods.
    """
    if len(methods) != 2:
        raise ValueError(f"a vote is between two methods, got {list(methods)}")
    pairs = {}
    for spot, hr in spots().items():
        found = enlarge(methods, hr)
        pairs[spot] = {method: found[method] for method in methods}
    return study(
        pairs, question=question, name=name, zoom=2, alt="details of photographs, enlarged"
    )
