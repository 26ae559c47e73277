"""Several versions of one picture side by side: a slider, a row of crops, a gallery."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from PIL import Image, ImageDraw
from torch import Tensor

from srkit.image.io import ImageLike, as_image
from srkit.image.tensors import round_8bit
from srkit.viz.figure import OWN_KEYS, Figure, check_alt, encode, frame, img, panel, to_pil

# Two menus and a range hold the state; their `input` events bubble up to the figure. The pictures
# lie on one another. The left one is cut off to the right of `at` per cent, the right one to the
# left of it, every other one on both sides, which hides it.
_SHOW = """
const all = s => [...this.querySelectorAll(s)], at = all('[type=range]')[0].value;
const [l, r] = all('select').map(s => s.selectedIndex);
all('img').forEach((e, k) =>
  e.style.clipPath = `inset(0 ${k == r ? 0 : 100 - at}% 0 ${k == l ? 0 : at}%)`);
all('.bar')[0].style.left = at + '%';
all('[type=checkbox]').forEach(box => all('img').forEach(e =>
  e.style.imageRendering = box.checked ? 'auto' : 'pixelated'));
"""

_CSS = """
.srkit-compare {margin: 0 0 1rem; max-width: 100%}
.srkit-compare .stage {position: relative; overflow: hidden}
.srkit-compare .stage img {position: absolute; inset: 0; width: 100%; height: 100%; max-width: none}
.srkit-compare [type=range] {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;
  opacity: 0; cursor: ew-resize}
.srkit-compare .bar {position: absolute; inset: 0 auto; width: 3px; margin-left: -1.5px;
  background: #fff; box-shadow: 0 0 0 1px #000; pointer-events: none}
.srkit-compare .bar::after {content: '\\25C2\\25B8'; position: absolute; top: 50%; left: 50%;
  transform: translate(-50%, -50%); padding: 0 .35em; border-radius: 1em; font: 16px/1.6 sans-serif;
  white-space: nowrap; color: #000; background: #fff; border: 1px solid #000}
.srkit-compare [type=range]:focus-visible + .bar::after {outline: 3px solid #0072b2}
.srkit-compare figcaption {display: flex; justify-content: space-between; gap: .3em 1em;
  flex-wrap: wrap; color: inherit; margin: .3em 0 0}
.srkit-compare figcaption label {font-size: .9em; white-space: nowrap; margin: 0}
.srkit-compare :is(select, [type=checkbox]):focus-visible {outline: 3px solid #0072b2}
.srkit-compare select {max-width: 48%; margin: 0; font: inherit; font-size: .9em; color: inherit;
  background: transparent; border: 1px solid currentColor; border-radius: 4px; padding: .1em .3em}
@media (max-width: 600px) {.srkit-compare select {max-width: 100%}}
.srkit-compare option {color: #000; background: #fff}
"""


def compare(
    hr: ImageLike | None = None,
    *,
    alt: str,
    crop: tuple[int, int, int] | None = None,
    zoom: int | None = None,
    captions: dict[str, str] | None = None,
    wide: bool = False,
    **pictures: ImageLike,
) -> Figure:
    """A slider between two pictures, moved by mouse, touch or arrow keys. It needs no kernel.

    hr, pictures: two or more images of one size, named "HR" and as the keywords; hr may be None.
    `**{"RLFN, L1": sr}` allows any name. Two menus choose the left and the right one.
    crop: (left, top, side) in pixels: shows this square only, enlarged by `zoom`.
    zoom: magnification, by pixels as squares, or smooth: a switch below chooses. None shows a crop
    at twice its size or more, and a whole picture in its own size, as a JPEG.
    wide: as wide as the page, beyond the column of the text: the first picture of a chapter.
    captions: what to add to a name, e.g. {"rlfn": "32.24 dB"}.

    Raises ValueError for an empty alt, fewer than two pictures, sizes that differ, a crop outside
    the picture or a caption without picture; and what `as_image` raises.
    """
    check_alt(alt)
    named = _aligned(hr, pictures)
    labels = _labels(named, captions, " · ")
    kind = "jpeg" if crop is None and zoom is None else "png"
    if crop is not None:
        named = {name: _cut(image, crop) for name, image in named.items()}
        zoom = zoom or max(2, math.ceil(240 / crop[2]))
    shown = [(labels[name], to_pil(image)) for name, image in named.items()]
    width, height = shown[0][1].size
    zoom = zoom or 1

    images = "".join(
        img(
            encode(picture, kind),
            f"{label}: {alt}",
            width=width,
            css=f"clip-path:inset(0 {0 if k == 1 else 50}% 0 {0 if k == 0 else 50}%)",
            smooth=kind == "jpeg",
        )
        for k, (label, picture) in enumerate(shown)
    )
    checked = " checked" if kind == "jpeg" else ""
    switch = f'<label><input type="checkbox" {OWN_KEYS}{checked}> smooth</label>'
    below = [
        _menu("left", labels, 0),
        switch if zoom > 1 or wide else "",
        _menu("right", labels, 1),
    ]
    look = ("srkit-compare srkit-wide", "100%") if wide else ("srkit-compare", f"{width * zoom}px")
    html = (
        f"<style>{_CSS}</style>"
        f'<figure class="{look[0]}" role="group" aria-label="{escape(alt)}" '
        f'style="width:{look[1]}" oninput="{escape(_SHOW)}">'
        f'<div class="stage" style="aspect-ratio:{width}/{height}">{images}'
        f'<input type="range" min="0" max="100" value="50" {OWN_KEYS} '
        'aria-label="share of the left picture">'
        '<div class="bar" style="left:50%"></div></div>'
        f"<figcaption>{''.join(below)}</figcaption></figure>"
    )
    if kind == "png":
        size, method = (width * zoom, height * zoom), Image.Resampling.NEAREST
    else:  # half a page wide is enough for the still
        ratio = min(1, 480 / width)
        size, method = (round(width * ratio), round(height * ratio)), Image.Resampling.LANCZOS
    row = [(label, picture.resize(size, method)) for label, picture in shown]
    return Figure(html, panel([row], kind), alt)


def crops(
    hr: ImageLike | None,
    crop: tuple[int, int, int],
    *,
    alt: str,
    zoom: int | None = None,
    captions: dict[str, str] | None = None,
    difference: bool = False,
    **pictures: ImageLike,
) -> Figure:
    """The whole picture with the crop framed, then that crop of every picture, enlarged.

    hr, pictures, captions: as for `compare`. crop: (left, top, side) in pixels.
    zoom: nearest-neighbour magnification of the crops; None makes the row as wide as a page.
    difference: adds a row of |picture - hr|, the mean over RGB, on one grey scale; a label says
    which difference is white.

    Raises ValueError as `compare` does.
    """
    check_alt(alt)
    named = _aligned(hr, pictures)
    labels = _labels(named, captions, "\n")
    cut = {name: _cut(image, crop) for name, image in named.items()}
    last = list(cut)[-1]
    whole = to_pil(named[last])
    if zoom is None:  # the largest with which the row fits on a page
        zoom = max(1, int(700 / (whole.width / whole.height + len(cut)) / crop[2]))
    side = zoom * crop[2]
    context = _context(whole, crop, side)

    # A cell is (label, picture to embed or None, the picture in the size that is shown).
    rows: list[list[tuple[str, Image.Image | None, Image.Image]]]
    rows = [[("the whole picture", context, context)]]
    rows[0] += [_zoomed(labels[name], image, side) for name, image in cut.items()]
    if difference:
        maps = {name: (cut[name] - cut[last]).abs().mean(0) for name in cut if name != last}
        white = max([1 / 255, *(float(m.max()) for m in maps.values())])
        key = f"|picture - {last}|:\nblack 0, white {255 * white:.0f}/255"
        rows.append([(key, None, Image.new("RGB", context.size, "white"))])
        rows[1] += [
            _zoomed(f"mean {255 * float(m.mean()):.2f}/255", (m / white).expand(3, -1, -1), side)
            for m in maps.values()
        ]

    cells = ""
    for column, (label, picture, shown) in (cell for row in rows for cell in enumerate(row, 1)):
        cells += f'<div style="grid-column:{column};min-width:0">'
        if picture is not None:
            smooth = picture is context
            data = encode(picture, "jpeg" if smooth else "png")
            cells += img(data, f"{label}: {alt}", width=shown.width, smooth=smooth)
        cells += f'<div style="white-space:pre-line;font-size:.85em">{escape(label)}</div></div>'
    columns = f"{context.width}fr repeat({len(cut)}, {side}fr)"
    width = context.width + len(cut) * (side + 8)
    grid = f"display:grid;gap:8px;grid-template-columns:{columns};max-width:{width}px"
    still = panel([[(label, shown) for label, _, shown in row] for row in rows], "jpeg")
    return Figure(frame(f'<div style="{grid}">{cells}</div>'), still, alt)


def gallery(
    pictures: Mapping[str, ImageLike],
    *,
    alt: str,
    captions: Mapping[str, str] | None = None,
    zoom: int = 2,
) -> Figure:
    """Many versions of one small picture, as many in a row as there is room for.

    pictures: {name: image}, of one size. Each is shown as squares of `zoom` pixels, as a JPEG, with
    its name below. captions: {name: what to add on a second line}.

    Raises ValueError for an empty alt, fewer than two pictures, sizes that differ or a caption
    without picture; and what `as_image` raises.
    """
    check_alt(alt)
    named = _aligned(None, dict(pictures))
    labels = _labels(named, dict(captions or {}), "\n")
    shown = [(labels[name], to_pil(image)) for name, image in named.items()]
    width = shown[0][1].width * zoom
    cells = "".join(
        f"<div>{img(encode(picture, 'jpeg'), f'{label}: {alt}', width=width)}"
        '<div style="white-space:pre-line;font-size:.85em;line-height:1.35">'
        f"{escape(label)}</div></div>"
        for label, picture in shown
    )
    columns = f"repeat(auto-fill,minmax(min({width}px,100%),1fr))"
    grid = f'<div style="display:grid;gap:8px 12px;grid-template-columns:{columns}">{cells}</div>'
    plain = [(name, picture) for name, (_, picture) in zip(named, shown, strict=True)]
    rows = [plain[k : k + 6] for k in range(0, len(plain), 6)]
    return Figure(frame(grid), panel(rows, "jpeg", quality=70), alt)


def _aligned(hr: ImageLike | None, pictures: dict[str, ImageLike]) -> dict[str, Tensor]:
    """{name: (3, H, W) rounded to 8 bits}, HR last. Raises ValueError for sizes that differ."""
    if "HR" in pictures:
        raise ValueError("HR is the name of the first argument: give the picture another name")
    given = pictures | ({} if hr is None else {"HR": hr})
    if len(given) < 2:
        raise ValueError(f"a comparison needs two pictures, got {list(given)}: add bicubic=up")
    named = {}
    for name, image in given.items():
        try:
            named[name] = round_8bit(as_image(image).detach().cpu())
        except Exception as error:
            error.add_note(f"(the picture called {name!r})")
            raise
    sizes = {name: tuple(image.shape[-2:]) for name, image in named.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {w} x {h}" for name, (h, w) in sizes.items())
        raise ValueError(f"the pictures must have one size (width x height), got {listed}")
    return named


def _labels(
    named: dict[str, Tensor], captions: dict[str, str] | None, joint: str
) -> dict[str, str]:
    """What is written at each picture: its name and, if it has one, its caption."""
    captions = captions or {}
    if unknown := set(captions) - set(named):
        raise ValueError(f"captions for {sorted(unknown)}, but the pictures are {list(named)}")
    return {name: f"{name}{joint}{captions[name]}" if name in captions else name for name in named}


def _menu(side: str, labels: dict[str, str], chosen: int) -> str:
    options = "".join(
        f"<option{' selected' if k == chosen else ''}>{escape(label)}</option>"
        for k, label in enumerate(labels.values())
    )
    return f'<select {OWN_KEYS} aria-label="{side} picture">{options}</select>'


def _cut(image: Tensor, crop: tuple[int, int, int]) -> Tensor:
    if len(crop) != 3:
        raise ValueError(f"crop={crop}, expected (left, top, side) in pixels")
    left, top, side = crop
    height, width = image.shape[-2:]
    if min(left, top) < 0 or side < 1 or left + side > width or top + side > height:
        raise ValueError(
            f"crop (left {left}, top {top}, side {side}) leaves the picture, "
            f"which is {width} x {height} (width x height)"
        )
    return image[:, top : top + side, left : left + side]


def _zoomed(label: str, image: Tensor, side: int) -> tuple[str, Image.Image, Image.Image]:
    picture = to_pil(image)
    return label, picture, picture.resize((side, side), Image.Resampling.NEAREST)


def _context(picture: Image.Image, crop: tuple[int, int, int], height: int) -> Image.Image:
    """The picture, `height` pixels high, with a white frame between black lines at the crop."""
    ratio = height / picture.height
    small = picture.resize((round(picture.width * ratio), height), Image.Resampling.LANCZOS)
    left, top, side = (round(value * ratio) for value in crop)
    draw = ImageDraw.Draw(small)
    for grow, colour in ((2, "black"), (1, "white"), (0, "white"), (-1, "black")):
        draw.rectangle(
            (left - grow, top - grow, left + side + grow, top + side + grow), outline=colour
        )
    return small
