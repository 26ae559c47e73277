"""Controls that choose among precomputed pictures.

In a page they are HTML with a little JavaScript: no kernel, no network. In JupyterLab the same call
shows ipywidgets, which a program can read and move: see `Control.widget`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from numbers import Real
from typing import TYPE_CHECKING, Any

from srkit.image.io import ImageLike
from srkit.viz.figure import OWN_KEYS, Figure, check_alt, encode, img, panel, to_pil

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
.srkit-mixer {margin: 0 0 1rem; max-width: 100%; width: fit-content}
.srkit-mixer.srkit-wide {display: flex; flex-direction: column}
.srkit-mixer.srkit-wide > .controls {order: -1; margin: 0 0 .5em}
.srkit-mixer.srkit-wide > .stage > * {width: 100%}
.srkit-mixer > .stage {display: grid; align-items: start; justify-items: start}
.srkit-mixer > .stage > * {grid-area: 1 / 1; visibility: hidden; margin: 0; max-width: 100%;
  min-width: 0}
.srkit-mixer > .stage > .shown {visibility: visible}
.srkit-mixer > .stage > .missing {padding: .5em 1em; border: 1px dashed currentColor}
.srkit-mixer > .controls {display: grid; gap: .4em .8em; align-items: center; margin-top: .5em;
  grid-template-columns: auto minmax(8rem, 1fr) auto; color: inherit}
.srkit-mixer > .controls > label {display: contents}
.srkit-mixer > .controls input {width: 100%; min-width: 8rem; margin: 0}
.srkit-mixer > .controls :is(input, select):focus-visible {outline: 3px solid #0072b2;
  outline-offset: 2px}
.srkit-mixer > .controls output {font-weight: bold; white-space: nowrap}
.srkit-mixer > .controls select {grid-column: 2 / -1; justify-self: start; max-width: 100%;
  margin: 0; padding: .1em .3em; font: inherit; font-weight: bold; color: inherit;
  background: transparent; border: 1px solid currentColor; border-radius: 4px}
.srkit-mixer > .controls option {color: #000; background: #fff}
"""


@dataclass(frozen=True, repr=False)
class Control(Figure):
    """Pictures of which controls choose one.

    axes: {name: the texts of its values}. sliders: names of those that are sliders, not menus.
    states: the HTML of each combination, in the order of itertools.product. start: the first shown.
    """

    axes: Mapping[str, Sequence[str]]
    sliders: Sequence[str]
    states: Sequence[str]
    start: int

    def widget(self) -> ipywidgets.VBox:
        """The same as ipywidgets: the picture, and below it a slider or a menu for each axis.

        Its last child holds the controls, each with the chosen text as its `value`.
        """
        import ipywidgets as W

        picture, position, controls = W.HTML(), self.start, []
        for name, values in reversed(list(self.axes.items())):
            position, place = divmod(position, len(values))
            kind = W.SelectionSlider if name in self.sliders else W.Dropdown
            look = {"description_width": "auto"}
            layout = W.Layout(width="24rem", max_width="100%")
            control = kind(options=list(values), index=place, description=name, style=look,
                           layout=layout)  # fmt: skip
            controls.insert(0, control)

        def show(*_: object) -> None:
            state = 0
            for control, values in zip(controls, self.axes.values(), strict=True):
                state = state * len(values) + control.index
            picture.value = self.states[state]

        for control in controls:
            control.observe(show, "index")
        show()
        return W.VBox([picture, W.VBox(controls)])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The page's HTML and the still; with a kernel also the widget, which JupyterLab shows."""
        kind = "image/png" if self.still.startswith(b"\x89") else "image/jpeg"
        found: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html, kind: self.still}
        if "ipykernel.zmqshell" in sys.modules:
            view = "application/vnd.jupyter.widget-view+json"
            found[view] = {
                "version_major": 2, "version_minor": 0, "model_id": self.widget().model_id,
            }  # fmt: skip
        return found


def mixer(
    axes: Mapping[str, Sequence],
    pictures: Mapping[tuple, Figure | ImageLike],
    *,
    alt: str,
    zoom: int | None = None,
    missing: str = "not trained",
    wide: bool = False,
) -> Control:
    """A picture for each combination of values, chosen with a control for each axis.

    axes: {name: values}. The control is a slider, with the value beside it, if all values are
    numbers, else a menu.
    pictures: {a value of each axis, in their order: picture}. The first one is shown at first. A
    combination without a picture shows the text `missing`.
    zoom: shows images as PNG with nearest-neighbour pixels; None as JPEG in their own size.
    alt: what the series shows; the alt text of each image adds its combination.
    wide: as wide as the page, with the controls above, for states that are higher than a screen.

    Raises ValueError for an empty alt, no pictures, an axis that has no values or one value twice,
    or a key that is no combination of values; and what `as_image` raises.
    """
    numbers = [name for name, listed in axes.items() if all(map(_is_number, listed))]
    return _control(axes, pictures, alt, zoom, missing, sliders=numbers, wide=wide)


def stepper(
    values: Sequence[object],
    pictures: Sequence[Figure | ImageLike],
    label: str,
    *,
    alt: str,
    zoom: int | None = None,
) -> Control:
    """A slider that steps through pictures, one for each value of `label`.

    zoom: shows images as PNG with nearest-neighbour pixels; None as JPEG in their own size.
    alt: what the series shows; the alt text of each image adds its value.

    Raises ValueError for an empty alt, or unless there is one picture for each value; and what
    `as_image` raises.
    """
    if len(values) != len(pictures) or not pictures:
        raise ValueError(f"{len(values)} values for {len(pictures)} pictures: give one for each")
    keyed = {(value,): picture for value, picture in zip(values, pictures, strict=True)}
    return _control({label: values}, keyed, alt, zoom, "", sliders=[label])


def _control(
    axes: Mapping[str, Sequence],
    pictures: Mapping[tuple, Figure | ImageLike],
    alt: str,
    zoom: int | None,
    missing: str,
    *,
    sliders: Sequence[str],
    wide: bool = False,
) -> Control:
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

    drawn = [
        _html(pictures[state], f"{alt}; {title(state)}", zoom)
        if state in pictures
        else f'<p class="missing">{escape(title(state))}: {escape(missing)}</p>'
        for state in states
    ]
    stage = "".join(
        f'<div class="shown">{inner}</div>' if state == start else f"<div>{inner}</div>"
        for state, inner in zip(states, drawn, strict=True)
    )
    texts = {name: [_text(value) for value in listed] for name, listed in values.items()}
    rows = "".join(
        _row(name, texts[name], listed.index(value), slider=name in sliders)
        for (name, listed), value in zip(values.items(), start, strict=True)
    )
    html = (
        f"<style>{_CSS}</style>"
        f'<figure class="srkit-figure srkit-mixer{" srkit-wide" * wide}" role="group" '
        f'aria-label="{escape(alt)}" '
        f'oninput="{escape(_SHOW)}"><div class="stage">{stage}</div>'
        f'<div class="controls">{rows}</div></figure>'
    )
    still = _still(pictures[start], title(start), zoom)
    return Control(html, still, alt, texts, sliders, drawn, states.index(start))


def _row(name: str, texts: list[str], chosen: int, *, slider: bool) -> str:
    """A slider with its value beside it, or a menu. With a single value it is disabled."""
    more = f"data-values='{escape(json.dumps(texts))}' {OWN_KEYS} autocomplete=\"off\""
    more += " disabled" if len(texts) == 1 else ""
    if slider:
        control = (
            f'<input type="range" min="0" max="{len(texts) - 1}" value="{chosen}" '
            f'aria-valuetext="{escape(texts[chosen])}" {more}>'
            f"<output>{escape(texts[chosen])}</output>"
        )
    else:
        options = "".join(
            f'<option value="{k}"{" selected" if k == chosen else ""}>{escape(text)}</option>'
            for k, text in enumerate(texts)
        )
        control = f"<select {more}>{options}</select>"
    return f"<label><span>{escape(name)}</span>{control}</label>"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
