"""The pictures and the map of README and of the book's first page, and README's table.

    python tools/front.py

Everything is read from records and weights. Pictures go to book/pictures; the table takes the place
of what stands in README.md between its two marks. The photograph needs the weights "realsr" of
esrgan_x4 (SRKIT_HOME); without them it stays as it is.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from statistics import mean

import matplotlib
from matplotlib import pyplot as plt
from paper_map import svg
from PIL import Image, PngImagePlugin

import srkit
from srkit import ledger
from srkit.files import find
from srkit.image.degrade import make_lr
from srkit.models.zoo import ZOO, model_info, trained
from srkit.recipes import RECIPES, recipe
from srkit.reports.claims import CANNOT_TELL, NO, NOT_RUN, ONE_SEED, TELLS, YES
from srkit.viz import plots
from srkit.viz.figure import to_pil

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "book/pictures"
MARKS = "<!-- made by tools/front.py -->", "<!-- until here -->"
INK = "#787878"  # readable on white and on black
COLOURS = {YES: "#009e73", NO: "#d55e00", CANNOT_TELL: "#999999"}
LOSSES = {  # variants of SRGAN's recipe, and where their label stands beside the dots
    "mse": ("squared error", (-8, -4), "right"),
    "vgg54": ("VGG54", (-14, -4), "right"),
    "vgg22": ("VGG22", (10, -14), "left"),
    "gan": ("squared error\n+ discriminator", (14, 0), "left"),
    "srgan": ("VGG54\n+ discriminator", (0, -34), "center"),
}


def photograph() -> None:
    """A cat: bicubic, ESRGAN's network as RealSR's authors trained it, and the truth."""
    hr = srkit.samples()["chelsea"][:, 60:236, 110:366]
    lr = make_lr(hr, 4)
    network = srkit.create_model("esrgan_x4", weights="realsr")
    shown = (srkit.imresize(lr, 4), srkit.upscale(network, lr), hr)
    gap, width, height = 6, hr.shape[2], hr.shape[1]
    sheet = Image.new("RGBA", (3 * width + 2 * gap, height))
    for k, picture in enumerate(shown):
        sheet.paste(to_pil(picture.clamp(0, 1)), (k * (width + gap), 0))
    sheet.save(PICTURES / "cat.webp", quality=88, method=6)


def trade() -> None:
    """SRGAN's recorded runs, a dot a seed: what each loss costs in PSNR, and gains in LPIPS."""
    runs = ledger.records("srgan").budget("laptop")
    with chart("trade.png", "srgan") as axes:
        for k, (name, (label, offset, side)) in enumerate(LOSSES.items()):
            psnr, lpips = (runs.values(name, "Set14", metric) for metric in ("psnr", "lpips"))
            seeds = sorted(psnr.keys() & lpips.keys())
            x, y = [psnr[s] for s in seeds], [lpips[s] for s in seeds]
            axes.scatter(x, y, s=28, color=plots.COLOURS[k])
            axes.annotate(
                label, (mean(x), mean(y)), offset, textcoords="offset points", ha=side,
                va="center", color=plots.COLOURS[k], weight="bold",
            )  # fmt: skip
        axes.set(xlabel="PSNR, Set14 (dB): more is nearer", ylabel="LPIPS: less looks better")
        axes.margins(0.15, 0.15)


def account() -> None:
    """Every claim that several seeds answer, with its interval, in units of what runs can tell."""
    tested = [each for each in ledger.findings() if each.finding.interval]

    def size(each: ledger.Tested, value: float) -> float:
        return value * (each.claim.sign or 1) / TELLS[each.claim.metric]

    tested.sort(key=lambda each: size(each, each.finding.mean or 0.0))
    with chart("account.png", fingerprint(tested)) as axes:
        for verdict, colour in COLOURS.items():
            rows = [(k, t) for k, t in enumerate(tested) if t.finding.verdict == verdict]
            x = [k for k, _ in rows]
            y = [size(t, t.finding.mean or 0.0) for _, t in rows]
            half = [(t.finding.half or 0.0) / TELLS[t.claim.metric] for _, t in rows]
            axes.errorbar(x, y, half, fmt="o", markersize=4, color=colour, label=verdict, lw=1.2)
        axes.set_yscale("symlog", linthresh=2)
        axes.set_yticks([-10, -1, 0, 1, 10, 50], ["-10", "-1", "0", "1", "10", "50"])
        axes.axhline(0, color=INK, lw=0.8)
        axes.set(
            xticks=[],
            xlabel="the papers' claims, a line each",
            ylabel="ours / the smallest that such runs tell",
        )
        axes.text(0.03, 0.93, "as the paper says", transform=axes.transAxes, color=INK)
        axes.text(0.97, 0.05, "the other way", transform=axes.transAxes, color=INK, ha="right")
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9), frameon=False, labelcolor=INK)


def fingerprint(tested: list[ledger.Tested]) -> str:
    """A hash of the claims' answers and numbers: tells whether the picture is of these."""
    facts = [[t.paper, t.claim.says, t.finding.verdict, t.ours] for t in tested]
    return sha256(json.dumps(sorted(facts)).encode()).hexdigest()[:16]


class chart:
    """A chart on a transparent ground in grey ink; `made_of` is written into the file."""

    def __init__(self, name: str, made_of: str):
        self.path, self.made_of = PICTURES / name, made_of

    def __enter__(self) -> plt.Axes:
        ink = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK
        )
        self.look = matplotlib.rc_context({**ink, "font.size": 10, "savefig.transparent": True})
        self.look.__enter__()
        self.figure, axes = plt.subplots(figsize=(4.2, 3.2), dpi=200, layout="constrained")
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.figure.savefig(self.path)
            facts = PngImagePlugin.PngInfo()
            facts.add_text("made of", self.made_of)
            image = Image.open(self.path).quantize(64, Image.Quantize.FASTOCTREE)
            image.save(self.path, pnginfo=facts, optimize=True)
        plt.close(self.figure)
        self.look.__exit__(None, None, None)


def chapters() -> dict[int, Path]:
    """The notebooks of all chapters, by number."""
    found = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))
    return {int(page.name[:2]): page for page in found}


def map_of_papers() -> str:
    """Who took what from whom, as a drawing whose names lead to the chapters."""
    pages = chapters()
    return svg(
        {recipe(name).label: (k, pages[k].stem) for k, name in enumerate(RECIPES, 1) if k in pages}
    )


def table() -> str:
    """README's table, in Markdown: a line a paper, read from the records."""
    measured = ledger.weights()
    of_authors = [each for each in measured if each.paper != "bicubic"]
    authors: dict[str, list[ledger.Measured]] = {}
    for each in measured:
        authors.setdefault(each.paper, []).append(each)
    pages = chapters()
    book = ledger.claims()
    ours = [entry for entry in (*ZOO, *trained()) if "srkit" in entry.weights]

    def near(figures: list[ledger.Measured]) -> str:
        return f"{sum(not f.cause for f in figures)} of {len(figures)}" if figures else ""

    def line(title: str, runs: int, counts: dict[str, int], figures: str) -> str:
        open_ones = counts.get(ONE_SEED, 0) + counts.get(NOT_RUN, 0)
        cells = [runs, *(counts.get(a, 0) for a in (YES, NO, CANNOT_TELL)), open_ones]
        return f"| {title} | {' | '.join(str(c or '') for c in cells)} | {figures} |"

    lines = [
        f"The book has {len(pages)} chapters. The zoo has {len(ZOO)} networks (one a scale), and "
        f"{len(ours)} networks that were trained here ship with their weights. "
        f"{sum(b.runs for b in book.blocks)} recorded runs were asked about "
        f"{book.counts.total()} claims. The authors' weights reach {near(of_authors)} of their "
        "papers' figures within 0.01 dB.",
        "",
        "| paper | recorded runs | claims: yes | no | cannot tell | one seed, or not run "
        "| authors' figures reached within 0.01 dB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for number, block in enumerate(book.blocks, 1):
        page = pages.get(number)
        title = f"[{block.paper}](book/{page.name})" if page else block.paper
        counts = {}
        for each in block.tested:
            counts[each.finding.verdict] = counts.get(each.finding.verdict, 0) + 1
        figures = near(authors.pop(block.paper, []))
        lines.append(line(title, block.runs, counts, figures))
    for paper, figures in authors.items():
        lines.append(line(paper, 0, {}, near(figures)))
    whole = sum(block.runs for block in book.blocks)
    lines.append(line("all", whole, dict(book.counts), near(measured)))
    return "\n".join(lines)


def with_table(text: str) -> str:
    """README's text with the table of now between its marks."""
    before, rest = text.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text()))
    (PICTURES / "map.svg").write_text(map_of_papers())
    trade()
    account()
    if find(model_info("esrgan_x4").weights["realsr"].path):
        photograph()
    else:
        print("cat.webp stays: the weights 'realsr' of esrgan_x4 are not on this machine")


if __name__ == "__main__":
    main()
