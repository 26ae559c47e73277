"""`Figure`, the form in which every picture of this package is shown: HTML with alt text, and a
still for viewers that show no HTML (a PDF, a code host)."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from srkit.image.io import ImageLike, as_image
from srkit.image.tensors import to_8bit

if TYPE_CHECKING:
    import matplotlib.figure

# Undoes what the book's theme does to pictures in dark mode: they are measurements, not decoration.
PLAIN = "margin:0;padding:0;border-radius:0;background:none;filter:none"

INK = "#1a1b1c"  # of text and lines in charts: on a page the colour of its text

OWN_KEYS = 'data-lm-suppress-shortcuts="true"'  # otherwise JupyterLab takes the arrow keys


@dataclass(frozen=True, repr=False)
class Figure:
    """A picture for a notebook. Printed, it is its alt text."""

    html: str
    still: bytes  # PNG or JPEG
    alt: str

    def __repr__(self) -> str:
        return f"<Figure: {self.alt}>"

    def _repr_html_(self) -> str:
        return self.html

    def _repr_png_(self) -> bytes | None:
        return self.still if _kind(self.still) == "png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.still if _kind(self.still) == "jpeg" else None


def pixels(picture: ImageLike, *, alt: str, zoom: int = 1, caption: str = "") -> Figure:
    """An image as a PNG, which keeps every pixel; after `style()` other images become JPEGs.

    zoom: how many times as large it is shown, with nearest-neighbour pixels.
    Raises ValueError for an empty alt, and what `as_image` raises.
    """
    check_alt(alt)
    image = to_pil(picture)
    data = encode(image, "png")
    return Figure(frame(img(data, alt, width=image.width * zoom), caption), data, alt)


def chart(figure: matplotlib.figure.Figure, *, alt: str, caption: str = "") -> Figure:
    """A matplotlib figure as a drawing (SVG) that takes its ink from the page, light or dark.

    What is drawn in the colour INK gets the colour of the page's text; the ground is transparent.
    On a narrow screen it shrinks to 9/10 of its size, then scrolls: labels stay readable.
    Its still is a PNG of at most 256 colours on white.

    Raises ValueError for an empty alt.
    """
    import matplotlib as mpl

    check_alt(alt)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    still = encode(_few_colours(Image.open(file).convert("RGB")), "png")
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "srkit"}):
        figure.savefig(text, format="svg", transparent=True, dpi=144, metadata={"Date": None})
    width = round(96 * figure.get_size_inches()[0])
    return Figure(frame(_drawing(text.getvalue(), alt, width), caption), still, alt)


def _drawing(svg: str, alt: str, width: int) -> str:
    """matplotlib's SVG as an element of a page, `width` CSS pixels wide where there is room."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # two drawings on a page would share these
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # would hold for the whole page
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    svg = svg.replace(INK, "currentColor").replace(" \n", " ")
    # A hidden clip path cuts everything away, so clips stay visible in states that are not shown.
    svg = svg.replace("<clipPath ", '<clipPath style="visibility:visible" ')
    svg = re.sub(r"data:image/png;base64,([^\"]+)", _smaller, svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    look = f"display:block;width:100%;min-width:{round(0.9 * width)}px;max-width:{width}px"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box and box[0]} role="img" aria-label="{escape(alt)}" '
        f'style="{look};height:auto;color:inherit;stroke-linejoin:round">'
    )
    return f'<div style="overflow-x:auto">{head}{svg[svg.index(">") + 1 :]}</div>'


def _smaller(found: re.Match[str]) -> str:
    """A picture within a drawing, in 256 colours unless it lets the ground through."""
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    if image.convert("RGBA").getchannel("A").getextrema() == (255, 255):
        image = _few_colours(image.convert("RGB"))
    return data_uri(encode(image, "png"))


def _few_colours(image: Image.Image) -> Image.Image:
    return image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def check_alt(alt: str) -> None:
    """Raise ValueError if the alt text is empty."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(
            f"alt={alt!r}: say in a sentence what the picture shows, for readers who cannot see it"
        )


def to_pil(picture: ImageLike) -> Image.Image:
    """An image as 8-bit RGB, clamped to [0, 1] and rounded half up."""
    return Image.fromarray(to_8bit(as_image(picture).detach().cpu()).permute(1, 2, 0).numpy())


def encode(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    """The bytes of a PNG ("png"), or of a JPEG of that quality with all of its colours ("jpeg")."""
    file = io.BytesIO()
    options = {"quality": quality, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
    image.save(file, kind, **options)
    return file.getvalue()


def img(data: bytes, alt: str, *, width: int, css: str = "", smooth: bool = False) -> str:
    """An `<img>` that contains its data, `width` CSS pixels wide if the page has the room.

    css: its size and position in place of that. smooth: False shows each pixel as a square.
    """
    look = f"{PLAIN};{css or 'max-width:100%;height:auto'}"
    if not smooth:
        look += ";image-rendering:pixelated"
    return (
        f'<img class="dark-light" src="{data_uri(data)}" alt="{escape(alt)}" '
        f'width="{width}" style="{look}">'
    )


def data_uri(data: bytes) -> str:
    """A PNG or JPEG as a URL that contains its data."""
    return f"data:image/{_kind(data)};base64,{base64.b64encode(data).decode()}"


def frame(inner: str, caption: str = "") -> str:
    """A `<figure>`, with a caption in the colour of the page's text."""
    if caption:
        inner += f'<figcaption style="color:inherit">{escape(caption)}</figcaption>'
    return f'<figure class="srkit-figure" style="margin:0 0 1rem">{inner}</figure>'


def panel(rows: list[list[tuple[str, Image.Image]]], kind: str, quality: int = 90) -> bytes:
    """Labelled pictures in rows on white, as one picture file of a kind that `encode` takes."""
    import matplotlib

    # Pillow's own font has no signs for labels such as "16×16" or "σ = 2"
    dejavu = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    font, gap, line = ImageFont.truetype(dejavu, 12), 8, 18
    lines = max(label.count("\n") + 1 for row in rows for label, _ in row)
    heights = [max(image.height for _, image in row) + lines * line + gap for row in rows]
    widths = [
        [max(image.width, _text_width(font, label)) + gap for label, image in row] for row in rows
    ]
    sheet = Image.new("RGB", (max(map(sum, widths)) + gap, sum(heights) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    y = gap
    for row, row_widths, height in zip(rows, widths, heights, strict=True):
        x = gap
        for (label, image), width in zip(row, row_widths, strict=True):
            sheet.paste(image, (x, y))
            draw.text((x, y + height - gap - lines * line), label, "black", font)
            x += width
        y += height
    return encode(sheet, kind, quality)


def _text_width(font: ImageFont.FreeTypeFont, text: str) -> int:
    return max(round(font.getlength(line)) for line in text.split("\n"))


def _kind(data: bytes) -> str:
    return "jpeg" if data.startswith(b"\xff\xd8") else "png"
