"""Controls that choose among precomputed pictures. They work in a static page, without a kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import product
from numbers import Real
from typing import TYPE_CHECKING

from srkit.image.io import ImageLike
from srkit.viz.figure import OWN_KEYS, Figure, check_alt, encode, frame, img, panel, to_pil

if TYPE_CHECKING:
    import ipywidgets

# The states are in the order of itertools.product: the positions of the controls are the digits of
# a state's number. The controls' `input` events bubble up to the figure.
_SHOW = """
let state = 0;
for (const e of this.querySelectorAll(':scope > .controls [data-values]')) {
  const values = JSON.parse(e.dataset.values), said = e.nextElementSibling;
  state = state * values.length + Number(e.value);
  if (said) {
    said.textContent = values[e.value];
    e.setAttribute('aria-valuetext', values[e.value]);
  }
}
[...this.querySelector(':scope > .stage').children].forEach(
  (e, k) => e.classList.toggle('shown', k == state));
"""

# All states lie on one another: the stage has room for the largest, and the page never jumps.
_CSS = """
.srkit-mixer {margin: 0 0 1rem; max-width: 100%}
.srkit-mixer > .stage {display: grid; align-items: start; justify-items: start}
.srkit-mixer > .stage > * {grid-area: 1 / 1; visibility: hidden; margin: 0; max-width: 100%}
.srkit-mixer > .stage > .shown {visibility: visible}
.srkit-mixer > .stage > .missing {padding: .5em 1em; border: 1px dashed currentColor}
.srkit-mixer > .controls {display: grid; gap: .3em .8em; align-items: center; margin-top: .5em;
  grid-template-columns: fit-content(45%) minmax(5em, 16em) auto; justify-content: start;
  color: inherit}
.srkit-mixer > .controls > label {display: contents}
.srkit-mixer > .controls input {width: 100%; margin: 0}
.srkit-mixer > .controls output {font-weight: bold; white-space: nowrap}
.srkit-mixer > .controls select {grid-column: 2 / -1; justify-self: start; max-width: 100%;
  margin: 0; padding: .1em .3em; font: inherit; font-weight: bold; color: inherit;
  background: transparent; border: 1px solid currentColor; border-radius: 4px}
.srkit-mixer > .controls option {color: #000; background: #fff}
"""


def mixer(
    axes: Mapping[str, Sequence],
    pictures: Mapping[tuple, Figure | ImageLike],
    *,
    alt: str,
    zoom: int | None = None,
    missing: str = "not trained",
) -> Figure:
    """A picture for each combination of values, chosen with a control for each axis.

    axes: {name: values}. The control is a slider, with the value beside it, if all values are
    numbers, else a menu.
    pictures: {a value of each axis, in their order: picture}. The first one is shown at first. A
    combination without a picture shows the text `missing`.
    zoom: shows images as PNG with nearest-neighbour pixels; None as JPEG in their own size.
    alt: what the series shows; the alt text of each image adds its combination.

    Raises ValueError for an empty alt, no pictures, an axis that has no values or one value twice,
    or a key that is no combination of values; and what `as_image` raises.
    """
    check_alt(alt)
    values = {name: list(listed) for name, listed in axes.items()}
    for name, listed in values.items():
        if not listed or len(set(listed)) < len(listed):
            raise ValueError(f"axis {name!r} has the values {listed}: give each value once")
    states = list(product(*values.values()))
    if unknown := [key for key in pictures if key not in states]:
        raise ValueError(
            f"pictures has the key {unknown[0]!r}, expected a tuple ({', '.join(values)}) of the "
            f"axes' values, such as {states[0]!r}"
        )
    if not pictures:
        raise ValueError("mixer got no pictures: give {(value of each axis, ...): picture}")
    start = next(iter(pictures))

    def title(state: tuple) -> str:
        return ", ".join(f"{name} = {_text(v)}" for name, v in zip(values, state, strict=True))

    stage = ""
    for state in states:
        if state in pictures:
            shown = "shown" if state == start else ""
            inner = _html(pictures[state], f"{alt}; {title(state)}", zoom)
            stage += f'<div class="{shown}">{inner}</div>'
        else:
            stage += f'<p class="missing">{escape(title(state))}: {escape(missing)}</p>'
    controls = "".join(
        _control(name, listed, listed.index(value))
        for (name, listed), value in zip(values.items(), start, strict=True)
    )
    html = (
        f"<style>{_CSS}</style>"
        f'<figure class="srkit-figure srkit-mixer" role="group" aria-label="{escape(alt)}" '
        f'oninput="{escape(_SHOW)}"><div class="stage">{stage}</div>'
        f'<div class="controls">{controls}</div></figure>'
    )
    return Figure(html, _still(pictures[start], title(start), zoom), alt)


def stepper(
    values: Sequence[object],
    pictures: Sequence[Figure | ImageLike],
    label: str,
    *,
    alt: str,
    zoom: int | None = None,
) -> ipywidgets.VBox:
    """A slider that steps through pictures, one for each value of `label`.

    The browser itself links the slider to the picture (ipywidgets' jslink), without a kernel.
    zoom: shows images as PNG with nearest-neighbour pixels; None as JPEG in their own size.
    alt: what the series shows; the alt text of each image adds its value.

    Raises ValueError for an empty alt, or unless there is one picture for each value; and what
    `as_image` raises.
    """
    import ipywidgets as W

    check_alt(alt)
    if len(values) != len(pictures) or not pictures:
        raise ValueError(f"{len(values)} values for {len(pictures)} pictures: give one for each")
    slider = W.IntSlider(
        0, 0, len(values) - 1, description=label, readout=False, style={"description_width": "auto"}
    )
    steps = [_step(p, f"{label} = {v}", alt, zoom) for v, p in zip(values, pictures, strict=True)]
    stack = W.Stack([W.HTML(step) for step in steps], selected_index=0)
    W.jslink((slider, "value"), (stack, "selected_index"))
    return W.VBox([slider, stack])


def _control(name: str, values: list, chosen: int) -> str:
    """A slider with its value beside it, or a menu. With a single value it is disabled."""
    texts = [_text(value) for value in values]
    more = f"data-values='{escape(json.dumps(texts))}' {OWN_KEYS} autocomplete=\"off\""
    more += " disabled" if len(values) == 1 else ""
    if all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        control = (
            f'<input type="range" min="0" max="{len(values) - 1}" value="{chosen}" '
            f'aria-valuetext="{texts[chosen]}" {more}><output>{texts[chosen]}</output>'
        )
    else:
        options = "".join(
            f'<option value="{k}"{" selected" if k == chosen else ""}>{escape(text)}</option>'
            for k, text in enumerate(texts)
        )
        control = f"<select {more}>{options}</select>"
    return f"<label><span>{escape(name)}</span>{control}</label>"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _step(picture: Figure | ImageLike, title: str, alt: str, zoom: int | None) -> str:
    """One step, with the value as its heading: the slider itself only knows the index."""
    inner = _html(picture, f"{alt}; {title}", zoom)
    heading = f"<div><b>{escape(title)}</b></div>"
    return heading + (inner if isinstance(picture, Figure) else frame(inner))


def _html(picture: Figure | ImageLike, alt: str, zoom: int | None) -> str:
    """The HTML of a `Figure`, or of an image as `zoom` says."""
    if isinstance(picture, Figure):
        return picture.html
    image = to_pil(picture)
    data = encode(image, "png" if zoom else "jpeg")
    return img(data, alt, width=image.width * (zoom or 1), smooth=zoom is None)


def _still(picture: Figure | ImageLike, title: str, zoom: int | None) -> bytes:
    """One picture, with its combination as its label, for a viewer without HTML."""
    if isinstance(picture, Figure):
        return picture.still
    return panel([[(title, to_pil(picture))]], "png" if zoom else "jpeg")
