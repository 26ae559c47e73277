"""The table of what exists: each network at each scale, its paper, and where its weights are.

A new network is a file beside this one, and its lines in ZOO.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Paper:
    label: str
    title: str
    venue: str
    year: int


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    `path` is relative: to the folders of SRKIT_HOME and the cache ("official": the authors' file,
    fetched from `url` if need be), or to srkit's own data/ ("srkit": trained here). The addresses
    are the authors' and may move; `sha256` decides what is accepted, and without one the file is
    used with a warning. `psnr` is what the network must reach: dB by the protocol "classic" (Y,
    border of `scale` pixels shaved, 8-bit output), on LR pictures made by MATLAB's bicubic.
    """

    path: str
    licence: str
    url: str = ""
    sha256: str | None = None
    psnr: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Entry:
    """One network at one scale; `build()` makes it, with random weights."""

    family: str
    scale: int
    constructor: str  # "module:class"; a string, so that reading the table imports no network
    parameters: int
    paper: Paper
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Weights] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.family}_x{self.scale}"

    def build(self) -> nn.Module:
        module, cls = self.constructor.split(":")
        model = getattr(import_module(module), cls)(self.scale, **self.kwargs)
        model.name = self.name
        return model

    def __str__(self) -> str:
        arguments = "".join(f", {key}={value!r}" for key, value in self.kwargs.items())
        lines = [
            f"{self.name}: {self.paper.label}, {self.paper.venue} {self.paper.year}",
            f"  paper       {self.paper.title}",
            f"  network     {self.constructor}(scale={self.scale}{arguments})",
            f"  parameters  {self.parameters:,}",
        ]
        for kind, w in self.weights.items():
            scores = ", ".join(f"{name} {psnr:.2f} dB" for name, psnr in w.psnr.items())
            lines.append(f"  weights     {kind!r}: {w.path} ({w.licence}) {scores}".rstrip())
            if kind == "official":
                lines.append(f"              sha256 {w.sha256 or 'not known: unverified'}")
        return "\n".join(lines if self.weights else [*lines, "  weights     none"])


RLFN_PAPER = Paper(
    "RLFN", "Residual Local Feature Network for Efficient Super-Resolution", "CVPRW", 2022
)
RFDN_PAPER = Paper(
    "RFDN",
    "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
    "ECCVW",
    2020,
)
IMDN_PAPER = Paper(
    "IMDN",
    "Lightweight Image Super-Resolution with Information Multi-distillation Network",
    "ACM MM",
    2019,
)
EDSR_PAPER = Paper(
    "EDSR",
    "Enhanced Deep Residual Networks for Single Image Super-Resolution",
    "CVPRW",
    2017,
)

RLFN, RFDN = "srkit.models.rlfn:RLFN", "srkit.models.rfdn:RFDN"
IMDN, EDSR = "srkit.models.imdn:IMDN", "srkit.models.edsr:EDSR"

GITHUB = "https://raw.githubusercontent.com"
RLFN_URL = f"{GITHUB}/bytedance/RLFN/bccfde91bf8b2de80789ec033a029e6f2a932330/model_zoo"
RFDN_URL = f"{GITHUB}/njulj/RFDN/7cf4e25b6633e81fd7e26891aeee2baca4f8f927/trained_model"
IMDN_URL = f"{GITHUB}/Zheng222/IMDN/8f158e6a5ac9db6e5857d9159fd4a6c4214da574/checkpoints"
EDSR_URL = "https://cv.snu.ac.kr/research/EDSR/models"


def rlfn_weights(name: str, sha256: str | None, psnr: dict[str, float]) -> dict[str, Weights]:
    file = Weights(f"weights/RLFN/{name}", "Apache-2.0", f"{RLFN_URL}/{name}", sha256, psnr)
    return {"official": file}


def imdn_weights(name: str, sha256: str | None, psnr: dict[str, float]) -> dict[str, Weights]:
    file = Weights(f"weights/IMDN/{name}", "none stated", f"{IMDN_URL}/{name}", sha256, psnr)
    return {"official": file}


def edsr_weights(name: str) -> dict[str, Weights]:
    return {"official": Weights(f"weights/EDSR/{name}", "MIT", f"{EDSR_URL}/{name}")}


# fmt: off
ZOO: tuple[Entry, ...] = (
    Entry("rlfn", 2, RLFN, 526_856, RLFN_PAPER, weights=rlfn_weights(
        "rlfn_x2.pth", "eafe5d5feeb122022453595c06d79160facdc157ae88deb02a44c50f5eba2d41",
        {"Set5": 38.07, "Set14": 33.73, "BSD100": 32.24})),
    Entry("rlfn", 4, RLFN, 543_740, RLFN_PAPER, weights=rlfn_weights(
        "rlfn_x4.pth", "8c7edb57dfc89048bafba29d591d4c27d4099964b4a9e22df23d6dc257a637c0",
        {"Set5": 32.24, "Set14": 28.62, "BSD100": 27.61})),
    Entry("rlfn_s", 2, RLFN, 454_620, RLFN_PAPER, {"channels": 48}, rlfn_weights(
        "rlfn_s_x2.pth", None, {"Set5": 38.05, "Set14": 33.63})),
    Entry("rlfn_s", 4, RLFN, 470_208, RLFN_PAPER, {"channels": 48}, rlfn_weights(
        "rlfn_s_x4.pth", "f769c5a88433786b2db0c2b24da6ca6c92a24c62344b9354a390f8a74388e89d",
        {"Set5": 32.24, "Set14": 28.63, "BSD100": 27.58})),
    Entry("rlfn_ntire", 4, RLFN, 317_218, RLFN_PAPER, {"channels": 46, "mid": 48, "blocks": 4},
        rlfn_weights(
        "rlfn_ntire_x4.pth", "3c9be7b9d7a4bece9b68c83a56a1ffb38010f76413d5f215be6b4be842e18fb2",
        {"Set5": 32.10, "Set14": 28.60})),
    Entry("rlfn_tiny", 4, RLFN, 87_816, RLFN_PAPER, {"channels": 24, "blocks": 4, "esa": 8}),

    # From RFDN's block to RLFN's, one change at a time (RLFN's ablation): rfdb48, rfdbr48,
    # rfdbr52, rlfn.
    Entry("rfdb48", 4, RFDN, 581_952, RFDN_PAPER, {"attention": "esa"}),
    Entry("rfdbr48", 4, RLFN, 470_736, RLFN_PAPER, {"channels": 48, "esa": 12, "block": "RFDBR"}),
    Entry("rfdbr52", 4, RLFN, 571_580, RLFN_PAPER, {"block": "RFDBR"}),

    Entry("rfdn", 2, RFDN, 534_036, RFDN_PAPER),
    Entry("rfdn", 3, RFDN, 540_531, RFDN_PAPER),
    Entry("rfdn", 4, RFDN, 549_624, RFDN_PAPER),
    Entry("rfdn_l", 2, RFDN, 625_962, RFDN_PAPER, {"channels": 52}),
    Entry("rfdn_l", 3, RFDN, 632_997, RFDN_PAPER, {"channels": 52}),
    Entry("rfdn_l", 4, RFDN, 642_846, RFDN_PAPER, {"channels": 52}),
    Entry("rfdn_aim", 4, RFDN, 433_448, RFDN_PAPER,
        {"channels": 50, "blocks": 4, "attention": "esa", "shortcut": False},
        {"official": Weights(
            "weights/RFDN/RFDN_AIM.pth", "MIT", f"{RFDN_URL}/RFDN_AIM.pth",
            "11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c",
            {"Set5": 32.16, "Set14": 28.65, "BSD100": 27.61})}),
    Entry("rfdn_tiny", 4, RFDN, 106_560, RFDN_PAPER,
        {"channels": 24, "blocks": 4, "attention": "esa"}),

    Entry("imdn", 2, IMDN, 694_404, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x2.pth", "740b39653592bd3f49955a21cd9e16f2d37f2c413368cc09327601b8fbe42ce1",
        {"Set5": 38.00, "Set14": 33.63, "BSD100": 32.19})),
    Entry("imdn", 3, IMDN, 703_059, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x3.pth", None, {"Set5": 34.36, "Set14": 30.32, "BSD100": 29.09})),
    Entry("imdn", 4, IMDN, 715_176, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x4.pth", "e660c38221147217a136debeb99eb304d62d9c0f73ac421ed66281b619719714",
        {"Set5": 32.21, "Set14": 28.59, "BSD100": 27.56})),

    Entry("edsr_baseline", 2, EDSR, 1_369_859, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x2-1bc95232.pt")),
    Entry("edsr_baseline", 3, EDSR, 1_554_499, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x3-abf2a44e.pt")),
    Entry("edsr_baseline", 4, EDSR, 1_517_571, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x4-6b446fab.pt")),
)
# fmt: on


def list_models(pattern: str = "*") -> list[str]:
    """Names ("rlfn_x4") that fit a shell pattern ("rlfn*", "*_x2"), or of one family ("rlfn")."""
    return [e.name for e in ZOO if fnmatch(e.name, pattern) or e.family == pattern]


def model_info(name: str, *, scale: int | None = None) -> Entry:
    """The line of the table: by its whole name ("rlfn_x4"), or by family and scale ("rlfn", 4).

    Raises ValueError, with the names that come close, where there is none or more than one.
    """
    found = [e for e in ZOO if name in (e.name, e.family) and scale in (None, e.scale)]
    if len(found) == 1:
        return found[0]
    families = list(dict.fromkeys(e.family for e in ZOO))
    if family := next((e.family for e in ZOO if name in (e.name, e.family)), None):
        given = "no scale" if scale is None else f"scale={scale}"
        raise ValueError(f"{name!r} with {given}: choose {' or '.join(list_models(family))}.")
    close = get_close_matches(name, families + list_models(), n=4)
    hint = f"Do you mean {' or '.join(close)}? " if close else ""
    raise ValueError(f"no model is named {name!r}. {hint}There are: {', '.join(families)}.")
