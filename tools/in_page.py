"""What runs inside a page: networks as ONNX files, and the program that runs them.

An extension of the book's build. When the pages are written it puts _static/models/ beside them:
the networks of NETWORKS, models.json with all that site/try.js has to know of them, and a picture
to begin with. A file that was exported before, from the same weights by the same code, is taken
again from _build/models.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

import srkit
from srkit.files import data_path
from srkit.image.degrade import make_lr
from srkit.image.io import write_image
from srkit.inference import APPROXIMATE_OVERLAP, receptive_field
from srkit.models.network import Network
from srkit.recipes import recorded
from srkit.weights import export

ROOT = Path(__file__).parents[1]
LARGEST = 1.2e6  # bytes of a network: what a reader on a slow line waits for
TILE = 192  # LR pixels a side: a step of the progress bar, about half a second

# ONNX Runtime Web (MIT licence): its version, and the SHA-384 of the files that a page takes of it.
ENGINE = "onnxruntime-web@1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/{ENGINE}/dist/"
HASHES = {
    "ort.wasm.min.js": "Bw6URI+Gvoadw0do7/QrSHUC9D1vCYYK5OSqChFyhyV5mzPL4oe2rOAFljAnS8Sq",
    "ort-wasm-simd-threaded.mjs": (
        "XcXA/MtAf0WpB8e023xQH9CM7RIjiugakT7x99DIwpFf7k56BIFFcAPerIF7FDad"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM"
    ),
}
VENDOR = ROOT / "site/vendor"  # `make vendor` puts them there
MEGABYTES = 14  # of them together


@dataclass(frozen=True)
class InPage:
    """One network of the page. `ends`: one network, or two that a slider mixes."""

    id: str
    label: str
    about: str
    ends: Callable[[], tuple[Network, ...]]


def _minutes() -> tuple[Network]:
    return (srkit.load_checkpoint(data_path("weights/rlfn-minutes_x4.safetensors")),)


def _recorded(recipe: str, *variants: str) -> Callable[[], tuple[Network, ...]]:
    return lambda: tuple(recorded(recipe, variant) for variant in variants)


NETWORKS = (
    InPage(
        "rlfn",
        "RLFN, small, for PSNR",
        "88 thousand parameters, trained here for a quarter of an hour on two cores: sharp edges, "
        "and no texture that was not there (chapter 15).",
        _minutes,
    ),
    InPage(
        "esrgan",
        "ESRGAN, small, from PSNR to GAN",
        "Two trainings of one network, and the slider mixes their weights (chapter 13). To the "
        "right it invents.",
        _recorded("esrgan", "psnr", "esrgan"),
    ),
    InPage(
        "enhancenet",
        "EnhanceNet, small, with textures",
        "Trained here for minutes to match the statistics of textures and to deceive a "
        "discriminator (chapter 2).",
        _recorded("enhancenet", "pat"),
    ),
)


def write_models(folder: Path, cache: Path) -> None:
    """Write all that a page fetches from _static/models into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    described = []
    for network in NETWORKS:
        ends = network.ends()
        made, kept = _exported(network.id, ends, cache)
        if made.stat().st_size > LARGEST:
            raise ValueError(f"{made} has {made.stat().st_size:,} bytes, at most {LARGEST:,.0f}")
        shutil.copyfile(made, folder / f"{network.id}.onnx")
        described.append(
            {"id": network.id, "label": network.label, "about": network.about}
            | {"file": f"{network.id}.onnx", "alpha": len(ends) == 2, "tile": TILE}
            | json.loads(kept.read_text())
        )
    local = all((VENDOR / name).is_file() for name in HASHES)
    engine = {
        "remote": not local,
        "base": "vendor/" if local else CDN,
        "size": MEGABYTES,
        "hashes": {name: f"sha384-{digest}" for name, digest in HASHES.items()},
    }
    told = json.dumps({"engine": engine, "networks": described}, indent=1)
    (folder / "models.json").write_text(told)
    write_image(make_lr(srkit.samples()["chelsea"][:, :300, :448], 4), folder / "cat.png")


def _exported(name: str, ends: tuple[Network, ...], cache: Path) -> tuple[Path, Path]:
    """The network's ONNX file and, as JSON, how it is to be cut into tiles; made once."""
    digest = sha256(Path(export.__file__).read_bytes() + torch.__version__.encode())
    for end in ends:
        for key, tensor in end.state_dict().items():
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    made = cache / f"{name}-{digest.hexdigest()[:16]}.onnx"
    kept = made.with_suffix(".json")
    if not (made.exists() and kept.exists()):
        if len(ends) == 1:
            export.export_onnx(ends[0], made)
        else:
            export.export_between(*ends, made)
        reach = [receptive_field(end) for end in ends]
        overlap = APPROXIMATE_OVERLAP if None in reach else max(reach)
        tiling = {"scale": ends[0].scale, "overlap": overlap, "least": ends[0].min_size}
        kept.write_text(json.dumps(tiling))
    return made, kept


def after_the_pages(app, exception):
    if exception is None and app.builder.name == "html":
        outside = Path(app.outdir)
        write_models(outside / "_static/models", outside.parent / "models")


def only_where_it_runs(app, pagename, templatename, context, doctree):
    """The program and its looks are loaded by pages that have the widget."""
    if 'class="srkit-try"' in context.get("body", ""):
        app.add_js_file("try.js")
        app.add_css_file("try.css")


def setup(app):
    app.connect("build-finished", after_the_pages)
    app.connect("html-page-context", only_where_it_runs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
