"""Sliders over precomputed pictures: they work with a kernel, and in a static page without one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from srkit.viz.figure import Figure, check_alt, encode, frame, img, to_pil

if TYPE_CHECKING:
    import ipywidgets


def stepper(
    values: Sequence[Any],
    pictures: Sequence[Any],
    label: str,
    *,
    alt: str,
    zoom: int | None = None,
) -> ipywidgets.VBox:
    """A slider that steps through pictures, one for each value of `label`.

    The slider is linked in the browser (jslink) to the index of a Stack, so no kernel is asked.
    pictures: `Figure` objects, or images of any kind that `as_image` takes. zoom: shows images as
    PNG with nearest-neighbour pixels; None shows them as JPEG in their own size.
    alt: what the series shows; each picture's own alt text adds its value.
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


def _step(picture: Any, title: str, alt: str, zoom: int | None) -> str:
    """One state: the value as a heading, as the slider itself knows only the index."""
    heading = f"<div><b>{escape(title)}</b></div>"
    if isinstance(picture, Figure):
        return heading + picture.html
    image = to_pil(picture)
    data = encode(image, "png" if zoom else "jpeg")
    width = image.width * (zoom or 1)
    return heading + frame(img(data, f"{alt}; {title}", width=width, smooth=zoom is None))
