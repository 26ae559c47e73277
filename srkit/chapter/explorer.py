"""Two pictures side by side: point at the one, and see what answers in the other.

This is how hard attention is looked at: of each patch of a picture, the patch of the reference that
it found, and how alike the two are.
"""

from __future__ import annotations

import json
from html import escape

from PIL import Image, ImageDraw
from torch import Tensor

from srkit.image.io import ImageLike
from srkit.viz.figure import OWN_KEYS, Figure, check_alt, encode, img, panel, to_pil

# The program of the figure. A place is [row, column], in cells; a patch is the 3x3 cells around it.
_PROGRAM = """
(() => {
const root = document.currentScript.parentElement, found = JSON.parse(root.dataset.found);
const sides = [...root.querySelectorAll('.side')], pad = root.querySelector('.stage');
const [rows, columns] = found.sizes[0], say = root.querySelector('output');
let place = found.start;

function mark(side, [row, column], [rows, columns]) {
  const box = side.querySelector('.box').style, lens = side.querySelector('.lens').style;
  box.left = (column - 1) / columns * 100 + '%';
  box.top = (row - 1) / rows * 100 + '%';
  box.width = 300 / columns + '%';
  box.height = 300 / rows + '%';
  lens.backgroundImage = `url(${side.querySelector('img').src})`;
  lens.backgroundSize = `${columns / 3 * 100}% ${rows / 3 * 100}%`;
  lens.backgroundPosition =
    `${(column - 1) / (columns - 3) * 100}% ${(row - 1) / (rows - 3) * 100}%`;
}

function show(row, column) {
  const inside = (x, n) => Math.max(0, Math.min(n - 1, x));
  place = [inside(row, rows), inside(column, columns)];
  const at = place[0] * columns + place[1], size = found.sizes[1];
  const answer = [Math.floor(found.index[at] / size[1]), found.index[at] % size[1]];
  mark(sides[0], place, found.sizes[0]);
  mark(sides[1], answer, size);
  say.textContent = `Row ${place[0] + 1}, column ${place[1] + 1} is answered by row `
    + `${answer[0] + 1}, column ${answer[1] + 1}; likeness ${found.likeness[at].toFixed(2)}`;
}

function point(event) {
  const area = pad.getBoundingClientRect();
  show(Math.floor((event.clientY - area.top) / area.height * rows),
    Math.floor((event.clientX - area.left) / area.width * columns));
}

pad.addEventListener('pointerdown', point);
pad.addEventListener('pointermove', event => { if (event.buttons) point(event); });
pad.addEventListener('keydown', event => {
  const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  const by = step[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  show(place[0] + by[0], place[1] + by[1]);
});
show(...place);
})();
"""

_CSS = """
.srkit-explorer {margin: 0 0 1rem; max-width: 100%}
.srkit-explorer .sides {display: flex; gap: 8px 16px}
@media (max-width: 600px) {.srkit-explorer .sides {flex-wrap: wrap}}
.srkit-explorer .side {flex: 0 1 auto; min-width: 0}
.srkit-explorer .stage {position: relative; overflow: hidden}
.srkit-explorer .stage img {display: block}
.srkit-explorer .stage[tabindex] {cursor: crosshair; touch-action: pan-y; user-select: none}
.srkit-explorer .stage:focus-visible {outline: 3px solid #0072b2; outline-offset: 2px}
.srkit-explorer .box {position: absolute; box-sizing: border-box; border: 2px solid #fff;
  outline: 2px solid #d55e00; pointer-events: none}
.srkit-explorer .under {display: flex; gap: 8px; align-items: center; margin-top: 6px}
.srkit-explorer .lens {flex: none; width: 96px; height: 96px; background-repeat: no-repeat;
  image-rendering: pixelated}
.srkit-explorer output {display: block; margin-top: .4em; font-weight: bold; color: inherit}
"""


def explorer(
    picture: ImageLike,
    reference: ImageLike,
    index: Tensor,
    likeness: Tensor,
    *,
    alt: str,
    names: tuple[str, str] = ("picture", "reference"),
    cell: int = 4,
    zoom: int = 2,
    start: tuple[int, int] | None = None,
) -> Figure:
    """Point at `picture`, by mouse, touch or arrow keys, and see what answers in `reference`.

    picture, reference: images whose sides are multiples of `cell`, (h, w) and (h', w') cells.
    index: (h, w), the number of the cell of the reference that answers, counted row by row.
    likeness: (h, w), how alike the two patches are. Both patches, 3x3 cells, stand enlarged below.
    names: what the two are called. zoom: how many times as large they are shown.
    start: (row, column) of the cell that is shown first; None is the middle.

    It needs no kernel. Raises ValueError for an empty alt, sizes that do not fit, and an index
    outside the reference; and what `as_image` raises.
    """
    check_alt(alt)
    pictures = [to_pil(picture), to_pil(reference)]
    sizes = [(p.height // cell, p.width // cell) for p in pictures]
    h, w = sizes[0]
    if any(n % cell for p in pictures for n in p.size) or min(sum(sizes, ())) < 4:
        raise ValueError(f"sides must be multiples of cell={cell}, 4 cells or more: got {sizes}")
    if index.shape != (h, w) or likeness.shape != (h, w):
        raise ValueError(
            f"index {tuple(index.shape)} and likeness {tuple(likeness.shape)}: expected {(h, w)}"
        )
    if not 0 <= int(index.min()) <= int(index.max()) < sizes[1][0] * sizes[1][1]:
        raise ValueError(f"index has {int(index.max())}: the reference has {sizes[1]} cells")
    start = start or (h // 2, w // 2)
    answer = divmod(int(index[start]), sizes[1][1])
    found = {
        "sizes": sizes,
        "start": start,
        "index": index.flatten().tolist(),
        "likeness": [round(float(x), 2) for x in likeness.flatten()],
    }
    pad = f'role="application" tabindex="0" {OWN_KEYS} aria-label="{escape(names[0])}: '
    pad += 'click, or move by the arrow keys"'
    sides = ""
    for name, image, more in zip(names, pictures, (pad, ""), strict=True):
        shown = img(encode(image, "jpeg"), f"{name}: {alt}", width=image.width * zoom, smooth=True)
        sides += (
            f'<div class="side"><div class="stage" {more}>{shown}<div class="box"></div></div>'
            f'<div class="under"><div class="lens"></div><span>{escape(name)}</span></div></div>'
        )
    html = (
        f"<style>{_CSS}</style>"
        f'<figure class="srkit-figure srkit-explorer" role="group" aria-label="{escape(alt)}" '
        f'data-found="{escape(json.dumps(found))}"><div class="sides">{sides}</div>'
        '<output aria-live="polite">Where scripts may run, point at the first picture.</output>'
        f"<script>{_PROGRAM}</script></figure>"
    )
    marked = [_marked(p, at, cell) for p, at in zip(pictures, (start, answer), strict=True)]
    return Figure(html, panel([list(zip(names, marked, strict=True))], "jpeg"), alt)


def _marked(image: Image.Image, place: tuple[int, int], cell: int) -> Image.Image:
    """The picture with a frame around the patch of a cell."""
    copy = image.copy()
    top, left = ((n - 1) * cell for n in place)
    ImageDraw.Draw(copy).rectangle((left, top, left + 3 * cell, top + 3 * cell), outline="red")
    return copy
