"""Which network to take: all that there are, with the figures that are known of each.

srkit.networks(scale=4, parameters=500_000, at_hand=True)   # the best of them first
best(4)                                                     # the best that ships with srkit
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

from srkit.checks import at_least
from srkit.files import data_path, find, find_data, read_json
from srkit.models import zoo
from srkit.models.zoo import BENCHMARKS, Entry

# Where figures come from, and the letter that stands behind them in a table.
MEASURED = "measured"  # these very weights, by srkit, protocol "classic"
OTHERWISE = "measured otherwise"  # these very weights, by srkit, as their paper measures
RECORDED = "recorded"  # of the run that made the weights, protocol "classic"
PUBLISHED = "published"  # of the paper; srkit has not seen the file
LETTERS = {MEASURED: "m", OTHERWISE: "o", RECORDED: "r", PUBLISHED: "p", "": ""}
LEGEND = (
    "m: measured here, Y, border of `scale` pixels cut; o: measured here as the paper does;",
    "r: the record of its training here; p: published, not verified. MACs: for a result of",
    "1280x720. here: the weights are on this machine.",
)


@dataclass(frozen=True)
class Choice:
    """A network with one kind of its weights, or with none, and what is known of it.

    - name, weights: what `create_model` takes; weights is "" where there are none.
    - scale: what it enlarges by. paper: its label ("RLFN"). parameters: how many.
    - macs: multiply-adds for a result of 1280x720 pixels; None where they were not counted.
    - psnr: dB by test set, of Y. lpips: by test set, AlexNet's. figures: where both come from,
      "measured", "measured otherwise", "recorded" or "published"; "" where there are none.
    - at_hand: whether a file of the weights is on this machine; its hash is not computed.
    - ships: whether they come with srkit.
    """

    name: str
    weights: str
    scale: int
    paper: str
    parameters: int
    macs: int | None
    psnr: dict[str, float]
    lpips: dict[str, float]
    figures: str
    at_hand: bool
    ships: bool

    @property
    def says(self) -> str:
        """The figure that tells most, in words: "31.42 dB on Set5"; "" where there is none."""
        return next((f"{self.psnr[t]:.2f} dB on {t}" for t in BENCHMARKS if t in self.psnr), "")


def networks(
    pattern: str = "*",
    *,
    scale: int | None = None,
    parameters: int | None = None,
    at_hand: bool = False,
    trained: bool = False,
    paper: str | None = None,
) -> list[Choice]:
    """All networks that fit, by scale, the highest PSNR on Set5 first.

    A network with several kinds of weights is there several times; those without figures come
    last.

    pattern: a shell pattern ("rlfn*", "*_x2", "esrgan/*") or a family ("rlfn").
    scale: only of this factor. parameters: at most so many. at_hand: only with weights that are on
    this machine. trained: only the networks that srkit ships with weights. paper: only of this
    paper ("ESRGAN"), in capital or small letters.

    Raises ValueError, with what there is, where nothing fits.
    """
    at_least(1, scale=scale, parameters=parameters)
    every = [choice for entry in _entries() for choice in _choices(entry)]
    papers = sorted({each.paper for each in every}, key=str.lower)
    if paper is not None and paper.lower() not in map(str.lower, papers):
        raise ValueError(f"no paper is called {paper!r}: one of {', '.join(papers)}")
    families = {entry.name: entry.family for entry in _entries()}
    limits: dict[str, Callable[[Choice], bool]] = {}
    if pattern != "*":
        limits[repr(pattern)] = lambda c: fnmatch(c.name, pattern) or families[c.name] == pattern
    if paper is not None:
        limits[f"paper {paper}"] = lambda c: c.paper.lower() == paper.lower()
    if scale is not None:
        limits[f"scale {scale}"] = lambda c: c.scale == scale
    if parameters is not None:
        limits[f"at most {parameters:,} parameters"] = lambda c: c.parameters <= parameters
    if trained:
        limits["trained here"] = lambda c: c.ships
    if at_hand:
        limits["weights on this machine"] = lambda c: c.at_hand
    found, said = every, []
    for words, fits in limits.items():
        said.append(words)
        before, found = found, [choice for choice in found if fits(choice)]
        if not found:
            scales = ", ".join(f"x{s}" for s in sorted({c.scale for c in before}))
            least = min(c.parameters for c in before)
            raise ValueError(
                f"no network fits {', '.join(said)}: without {words} there are {len(before)}, of "
                f"{scales}, from {least:,} parameters; `srkit models` lists all"
            )
    return sorted(found, key=_rank)


def best(scale: int) -> Choice:
    """The network that ships with srkit and has the highest PSNR at a scale.

    On Set5, or, where none has a figure of that (x16), on the next benchmark.

    Raises ValueError, with the scales that there are, where none ships.
    """
    ours = [choice for entry in _entries() for choice in _choices(entry) if choice.ships]
    for test in BENCHMARKS:
        if known := [c for c in ours if c.scale == scale and test in c.psnr]:
            return max(known, key=lambda choice: choice.psnr[test])
    scales = " and ".join(f"x{s}" for s in sorted({choice.scale for choice in ours}))
    raise ValueError(
        f"no network that ships with srkit enlarges by {scale}: they are of {scales}. "
        f"`srkit models --scale {scale}` lists those whose weights can be fetched."
    )


def at_once(scale: int) -> str:
    """In a sentence: the network that ships and can be used without any network; or ""."""
    try:
        found = best(scale)
    except ValueError:
        return ""
    return (
        f"{found.name} ships with srkit and can be used at once ({found.says}): "
        f"srkit upscale {found.name} PICTURE RESULT, "
        f"or create_model({found.name!r}, weights={found.weights!r})."
    )


def table(choices: list[Choice]) -> list[list[str]]:
    """Rows to print, the head first: name, PSNR, LPIPS, parameters, MACs, weights, at hand.

    PSNR and LPIPS are those of Set5, or, where none of them has any, of the next benchmark.
    """
    test = next((t for t in BENCHMARKS if any(t in each.psnr for each in choices)), BENCHMARKS[0])
    rows = [["network", f"{test} dB", "LPIPS", "params", "MACs", "here", "weights"]]
    for each in choices:
        psnr, lpips = each.psnr.get(test), each.lpips.get(test)
        rows.append([
            each.name,
            "" if psnr is None else f"{psnr:.2f} {LETTERS[each.figures]}",
            "" if lpips is None else f"{lpips:.3f}",
            _short(each.parameters),
            "" if each.macs is None else _short(each.macs),
            "yes" if each.at_hand else "",
            each.weights or "none",
        ])  # fmt: skip
    widest = max(len(row[-1]) for row in rows)
    return [[*row[:-1], row[-1].ljust(widest)] for row in rows]


def _short(number: int) -> str:
    """ "544 K", "33.9 G": three digits and a letter."""
    units = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3))
    letter, size = next(unit for unit in units if number >= 0.9995 * unit[1] or unit[0] == "K")
    return f"{number / size:.3g} {letter}"


def _rank(choice: Choice) -> tuple[int, float, bool, int, str]:
    """By scale, the best on Set5 first; then those with weights, then the small ones."""
    psnr = choice.psnr.get("Set5", 0.0)
    return choice.scale, -psnr, not choice.weights, choice.parameters, choice.name


def _entries() -> tuple[Entry, ...]:
    return (*zoo.ZOO, *zoo.trained())


def _choices(entry: Entry) -> Iterator[Choice]:
    """An entry with each kind of its weights; with none, if it has none."""
    measured, macs = _measured(), _macs().get(entry.name)
    for kind in entry.weights or ("",):
        psnr, lpips, figures, here = {}, {}, "", False
        if kind:
            file = entry.weights[kind]
            psnr, lpips = file.psnr, file.lpips
            figures = (RECORDED if kind == "srkit" else PUBLISHED) if psnr else ""
            if (entry.name, kind) in measured:
                psnr, lpips, figures = measured[entry.name, kind]
            here = (find_data if kind == "srkit" else find)(file.path) is not None
        yield Choice(
            entry.name, kind, entry.scale, entry.paper.label, entry.parameters,
            None if macs is None else round(macs * 1280 * 720 / entry.scale**2), psnr, lpips,
            figures, here, kind == "srkit",
        )  # fmt: skip


@cache
def _measured() -> dict[tuple[str, str], tuple[dict[str, float], dict[str, float], str]]:
    """PSNR, LPIPS, and how they were measured, by the network's name and the kind of weights."""
    stored = read_json(data_path("runs/official.json"), dict)
    rows = [row | {"weights": "official"} for row in stored["rows"]]
    rows += [row | {"setup": "classic"} for row in stored["others"]["rows"]]
    found = {}
    for setup in sorted({row["setup"] for row in rows}, key=lambda s: s != "classic"):
        taken = frozenset(found)
        for row in rows:
            key = row["model"], row["weights"]
            if row["setup"] == setup and key not in taken:
                how = MEASURED if setup == "classic" else OTHERWISE
                psnr, lpips, _ = found.setdefault(key, ({}, {}, how))
                psnr[row["data"]] = row["psnr"]
                if "lpips" in row:
                    lpips[row["data"]] = row["lpips"]
    return found


@cache
def _macs() -> dict[str, float]:
    """Multiply-adds for each pixel of LR, by the network's name."""
    stored = read_json(data_path("runs/costs.json"), dict)
    height, width = stored["lr"]
    return {name: macs / (height * width) for name, macs in stored["macs"].items()}
