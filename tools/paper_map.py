"""The map of the book's first page: who took what from whom. `tools/front.py` writes it.

A line a paper, in the order of the years, and an arc from each paper to what others took of it. The
words are those of the chapters, which say where each idea comes from.
"""

from __future__ import annotations

from html import escape

# What each paper took, and of whom. A paper without a chapter has only its place in time.
TAKEN: dict[str, tuple[tuple[str, str], ...]] = {
    "Irani": (),
    "Glasner": (),
    "Gatys": (),
    "VDSR": (),
    "DRCN": (),
    "SRDenseNet": (),
    "EDSR": (),
    "SRGAN": (),
    "EnhanceNet": (("Gatys", "texture, as correlations"),),
    "MemNet": (("VDSR", "add to bicubic"), ("DRCN", "recursion")),
    "DBPN": (("Irani", "go up, come back, correct"),),
    "IDN": (("VDSR", "add to bicubic"),),
    "RDN": (("SRDenseNet", "dense blocks"),),
    "RCAN": (("EDSR", "its block; adds a gate"),),
    "MSRN": (("EDSR", "its frame, with other blocks"),),
    "CARN": (("VDSR", "one network, three scales"),),
    "ZSSR": (("Glasner", "a picture repeats itself"),),
    "SFTGAN": (("SRGAN", "a judge, features as a loss"),),
    "SRFeat": (("SRGAN", "a judge; here two"),),
    "ESRGAN": (("SRGAN", "a judge"), ("RDN", "dense blocks")),
    "IMDN": (("IDN", "set channels aside"),),
    "SRNTT": (),
    "TTSR": (("SRNTT", "texture of a reference"),),
    "RFDN": (("IMDN", "set aside, by 1×1"),),
    "CIPLab": (("ESRGAN", "its network, twice in a row"),),
    "RLFN": (("RFDN", "its shape, without branches"),),
}
YEARS = {
    "Irani": 1991, "Glasner": 2009, "Gatys": 2016, "VDSR": 2016, "DRCN": 2016, "SRDenseNet": 2017,
    "EDSR": 2017, "SRGAN": 2017, "EnhanceNet": 2017, "MemNet": 2017, "DBPN": 2018, "IDN": 2018,
    "RDN": 2018, "RCAN": 2018, "MSRN": 2018, "CARN": 2018, "ZSSR": 2018, "SFTGAN": 2018,
    "SRFeat": 2018, "ESRGAN": 2018, "IMDN": 2019, "SRNTT": 2019, "TTSR": 2020, "RFDN": 2020,
    "CIPLab": 2020, "RLFN": 2022,
}  # fmt: skip
SHOWN = {  # where the name alone does not say it
    "CIPLab": "Extreme x16 (CIPLab)",
    "Irani": "Irani, Peleg: back-projection",
    "Glasner": "Glasner et al.: one picture",
    "Gatys": "Gatys, Ecker, Bethge: style",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#5f7fa8")
WIDTH, YEAR, DOT, TEXT = 400, 0, 128, 142  # columns of the drawing, in pixels
TALL, SHORT, GROUP = 40, 24, 10  # a line with what was taken; one without; before a new year


def places() -> dict[str, float]:
    """The height of each paper's dot, from above."""
    y, found, year = 0.0, {}, None
    for name, taken in TAKEN.items():
        y += GROUP * (YEARS[name] != year)
        year = YEARS[name]
        found[name] = y + 14
        y += TALL if taken else SHORT
    return found


def svg(pages: dict[str, tuple[int, str]]) -> str:
    """The map. pages: of each paper that has a chapter, its number and the page's name.

    Text has the page's colour, so that it can be read in the dark; a name leads to its chapter.
    """
    y = places()
    height = round(max(y.values()) + TALL)
    parts = [
        f'<svg class="srkit-map" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(in_words())}" '
        'font-family="inherit" font-size="14" fill="currentColor" '
        f'style="width:100%;max-width:{WIDTH * 1.3:.0f}px;height:auto;display:block;margin:auto">',
    ]
    sources = list(dict.fromkeys(source for taken in TAKEN.values() for source, _ in taken))
    colour = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(sources)}
    for name, taken in TAKEN.items():
        for source, what in taken:
            said = escape(f"{name} from {source}: {what}")
            reach = DOT - 8 - min(84, (y[name] - y[source]) * 0.22 + 10)
            parts.append(
                f'<path d="M{DOT - 5} {y[source]:.0f} C{reach:.0f} {y[source]:.0f} {reach:.0f} '
                f'{y[name]:.0f} {DOT - 7} {y[name]:.0f}" fill="none" stroke="{colour[source]}" '
                f'stroke-width="1.6"><title>{said}</title></path>'
                f'<path d="M{DOT - 12} {y[name] - 4:.0f} l7 4 l-7 4 z" fill="{colour[source]}"/>'
            )
    year = None
    for name, taken in TAKEN.items():
        at = y[name]
        if YEARS[name] != year:
            year = YEARS[name]
            parts.append(f'<text x="{YEAR}" y="{at + 5:.0f}" opacity=".75">{year}</text>')
        ink = colour.get(name, "currentColor")
        parts.append(f'<circle cx="{DOT}" cy="{at:.0f}" r="4.5" fill="{ink}"/>')
        shown = f'<text x="{TEXT}" y="{at + 5:.0f}"'
        if name in pages:
            number, page = pages[name]
            parts.append(
                f'<a href="{page}.html">{shown} font-weight="bold" font-size="15" '
                f'text-decoration="underline">{number} {escape(SHOWN.get(name, name))}</text></a>'
            )
        else:
            parts.append(f'{shown} opacity=".85">{escape(SHOWN.get(name, name))}</text>')
        if taken:
            said = "; ".join(f"{source}: {what}" for source, what in taken)
            parts.append(
                f'<text x="{TEXT}" y="{at + 21:.0f}" font-size="12.5">{escape(said)}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def in_words() -> str:
    """The map for whoever does not see it."""
    said = [
        f"{name} took from {source}: {what}" for name, taken in TAKEN.items()
        for source, what in taken
    ]  # fmt: skip
    return "Who took what from whom. " + ". ".join(said) + "."
