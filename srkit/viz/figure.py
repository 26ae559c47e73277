"""`Figure`, the form in which every picture of this package is shown: HTML with alt text, and a
still for viewers that show no HTML (a PDF, a code host)."""

from __future__ import annotations

import base64
import io
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
    """A matplotlib figure as a PNG of at most 256 colours, which more than halves its bytes.

    Raises ValueError for an empty alt.
    """
    check_alt(alt)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    image = Image.open(file).convert("RGB")
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    data = encode(image, "png")
    return Figure(frame(img(data, alt, width=image.width, smooth=True), caption), data, alt)


def check_alt(alt: str) -> None:
    """Raise ValueError if the alt text is empty."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(
            f"alt={alt!r}: say in a sentence what the picture shows, for readers who cannot see it"
        )


def to_pil(picture: ImageLike) -> Image.Image:
    """An image as 8-bit RGB, clamped to [0, 1] and rounded half up."""
    return Image.fromarray(to_8bit(as_image(picture).detach().cpu()).permute(1, 2, 0).numpy())


def encode(image: Image.Image, kind: str) -> bytes:
    """The bytes of a PNG ("png"), or of a JPEG of quality 90 with all of its colours ("jpeg")."""
    file = io.BytesIO()
    options = {"quality": 90, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
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


def panel(rows: list[list[tuple[str, Image.Image]]], kind: str) -> bytes:
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
    return encode(sheet, kind)


def _text_width(font: ImageFont.FreeTypeFont, text: str) -> int:
    return max(round(font.getlength(line)) for line in text.split("\n"))


def _kind(data: bytes) -> str:
    return "jpeg" if data.startswith(b"\xff\xd8") else "png"
