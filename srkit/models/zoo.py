"""The table of what exists: each network at each scale, its paper, and where its weights are.

A new network is a file beside this one, and its lines in ZOO. The networks of recorded runs have no
lines: their files in data/weights say in their headers what they are, and `trained()` reads them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, cast

from srkit import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from srkit.models.network import Network


@dataclass(frozen=True)
class Paper:
    label: str
    title: str
    venue: str
    year: int


@dataclass(frozen=True)
class Weights:
    """One file of weights. An entry has them by kind: "official", "srkit", or a name of their own.

    `path` is relative: to srkit's own data/ for "srkit", trained here; for all others to the
    folders of SRKIT_HOME and the cache, fetched from `url` if need be. "official" is the file of
    the paper's authors. `origin` says in words who trained the others and where they come from.
    The addresses may move; `sha256` decides what is accepted, and without one the file is used with
    a warning. `psnr` is what the network must reach: dB by the protocol "classic" (Y, border of
    `scale` pixels shaved, 8-bit output), on LR pictures made by MATLAB's bicubic; `lpips` is its
    LPIPS (AlexNet) there.
    """

    path: str
    licence: str
    url: str = ""
    sha256: str | None = None
    psnr: dict[str, float] = field(default_factory=dict)
    lpips: dict[str, float] = field(default_factory=dict)
    origin: str = ""

    @property
    def scores(self) -> str:
        """PSNR and LPIPS in words, a data set after the other."""
        lpips = {name: f", LPIPS {value:.3g}" for name, value in self.lpips.items()}
        return ", ".join(f"{n} {psnr:.2f} dB{lpips.get(n, '')}" for n, psnr in self.psnr.items())


@dataclass(frozen=True, eq=False)
class Entry:
    """One network at one scale; `build()` makes it, with random weights.

    run: of a network that was trained here, the run ("esrgan/laptop/psnr, seed 0"); its family is
    named by the recipe and the variant ("esrgan/psnr").
    """

    family: str
    scale: int
    constructor: str  # "module:class"; a string, so that reading the table imports no network
    parameters: int
    paper: Paper
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Weights] = field(default_factory=dict)
    run: str = ""

    @property
    def name(self) -> str:
        return f"{self.family}_x{self.scale}"

    @property
    def usual_weights(self) -> str:
        """What the command takes unless told: "official", or "srkit" where there are only those."""
        return "srkit" if "srkit" in self.weights and "official" not in self.weights else "official"

    @property
    def network(self) -> type[Network]:
        module, cls = self.constructor.split(":")
        return getattr(import_module(module), cls)

    def build(self) -> Network:
        model = cast("Callable[..., Network]", self.network)(scale=self.scale, **self.kwargs)
        model.name = self.name
        return model

    def _repr_html_(self) -> str:
        from srkit.cards import card

        title, *facts = str(self).split("\n")
        return card(title, {"about": "\n".join(fact.strip() for fact in facts)})

    def __str__(self) -> str:
        arguments = "".join(f", {key}={value!r}" for key, value in self.kwargs.items())
        lines = [
            f"{self.name}: {self.paper.label}, {self.paper.venue} {self.paper.year}",
            f"  paper       {self.paper.title}",
            f"  network     {self.constructor}(scale={self.scale}{arguments})",
            f"  parameters  {self.parameters:,}",
        ]
        for kind, w in self.weights.items():
            lines.append(f"  weights     {kind!r}: {w.path} ({w.licence}) {w.scores}".rstrip())
            notes = wrap(w.origin, 86)
            if kind != "srkit":
                notes.append(f"sha256 {w.sha256 or 'not known: unverified'}")
            lines += [f"              {note}" for note in notes]
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

MEMNET_PAPER = Paper(
    "MemNet", "MemNet: A Persistent Memory Network for Image Restoration", "ICCV", 2017
)
DBPN_PAPER = Paper("DBPN", "Deep Back-Projection Networks for Super-Resolution", "CVPR", 2018)
DBPN_RES_PAPER = Paper(
    "DBPN-RES", "Deep Back-Projection Networks for Single Image Super-Resolution", "arXiv", 2019
)
RDN_PAPER = Paper("RDN", "Residual Dense Network for Image Super-Resolution", "CVPR", 2018)
RCAN_PAPER = Paper(
    "RCAN",
    "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
    "ECCV",
    2018,
)
MSRN_PAPER = Paper("MSRN", "Multi-scale Residual Network for Image Super-Resolution", "ECCV", 2018)
SRGAN_PAPER = Paper(
    "SRGAN",
    "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
    "CVPR",
    2017,
)
SRFEAT_PAPER = Paper(
    "SRFeat", "SRFeat: Single Image Super-Resolution with Feature Discrimination", "ECCV", 2018
)
ESRGAN_PAPER = Paper(
    "ESRGAN", "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", "ECCVW", 2018
)
CIPLAB_PAPER = Paper(
    "CIPLab", "Investigating Loss Functions for Extreme Super-Resolution", "CVPRW", 2020
)
SFTGAN_PAPER = Paper(
    "SFTGAN",
    "Recovering Realistic Texture in Image Super-resolution by Deep Spatial Feature Transform",
    "CVPR",
    2018,
)
TTSR_PAPER = Paper(
    "TTSR", "Learning Texture Transformer Network for Image Super-Resolution", "CVPR", 2020
)
IDN_PAPER = Paper(
    "IDN",
    "Fast and Accurate Single Image Super-Resolution via Information Distillation Network",
    "CVPR",
    2018,
)
PCARN_PAPER = Paper(
    "PCARN",
    "Efficient Deep Neural Network for Photo-realistic Image Super-Resolution",
    "arXiv",
    2019,
)
CARN_PAPER = Paper(
    "CARN",
    "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network",
    "ECCV",
    2018,
)
ENHANCENET_PAPER = Paper(
    "EnhanceNet",
    "EnhanceNet: Single Image Super-Resolution Through Automated Texture Synthesis",
    "ICCV",
    2017,
)
ZSSR_PAPER = Paper(
    "ZSSR", '"Zero-Shot" Super-Resolution using Deep Internal Learning', "CVPR", 2018
)
SRCNN_PAPER = Paper(
    "SRCNN", "Image Super-Resolution Using Deep Convolutional Networks", "TPAMI", 2016
)
VDSR_PAPER = Paper(
    "VDSR",
    "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
    "CVPR",
    2016,
)
LAPSRN_PAPER = Paper(
    "LapSRN",
    "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
    "CVPR",
    2017,
)

RLFN, RFDN = "srkit.models.rlfn:RLFN", "srkit.models.rfdn:RFDN"
IMDN, EDSR = "srkit.models.imdn:IMDN", "srkit.models.edsr:EDSR"
MEMNET, DBPN = "srkit.models.memnet:MemNet", "srkit.models.dbpn:DBPN"
RDN, RCAN = "srkit.models.rdn:RDN", "srkit.models.rcan:RCAN"
MSRN, MSRN2018 = "srkit.models.msrn:MSRN", "srkit.models.msrn:MSRN2018"
SRRESNET, MSRRESNET = "srkit.models.srresnet:SRResNet", "srkit.models.srresnet:MSRResNet"
SRGAN_PORT, IDEALO_RDN = "srkit.models.srresnet:SRGANPort", "srkit.models.rdn:IdealoRDN"
ESRGAN, SRFEAT = "srkit.models.esrgan:RRDBNet", "srkit.models.srfeat:SRFeat"
CIPLAB = "srkit.models.ciplab:RRDBNetx4x4"
SFTGAN, TTSR = "srkit.models.sftgan:SFTGAN", "srkit.models.ttsr:TTSR"
IDN, CARN, PCARN = "srkit.models.idn:IDN", "srkit.models.carn:CARN", "srkit.models.carn:PCARN"
ENHANCENET, ZSSR = "srkit.models.enhancenet:EnhanceNet", "srkit.models.zssr:ZSSR"
SRCNN, VDSR = "srkit.models.srcnn:SRCNN", "srkit.models.vdsr:VDSR"
LAPSRN = "srkit.models.lapsrn:LapSRN"

GITHUB = "https://raw.githubusercontent.com"
RLFN_URL = f"{GITHUB}/bytedance/RLFN/bccfde91bf8b2de80789ec033a029e6f2a932330/model_zoo"
RFDN_URL = f"{GITHUB}/njulj/RFDN/7cf4e25b6633e81fd7e26891aeee2baca4f8f927/trained_model"
IMDN_URL = f"{GITHUB}/Zheng222/IMDN/8f158e6a5ac9db6e5857d9159fd4a6c4214da574/checkpoints"
IDN_URL = f"{GITHUB}/Zheng222/IDN-Caffe/master/test/caffemodel"
CARN_URL = f"{GITHUB}/nmhkahn/CARN-pytorch/40d3514f81cccd680d846cd5ab07af35f2c8e0e2/checkpoint"
PCARN_URL = "https://github.com/nmhkahn/PCARN-pytorch/raw/dde2b7c/checkpoints"
ENHANCENET_URL = (
    f"{GITHUB}/msmsajjadi/EnhanceNet-Code/6b2dcb21b01780ea14b5c26693b83893a8fffae1/weights"
)
EDSR_URL = "https://cv.snu.ac.kr/research/EDSR/models"
MSRN_URL = f"{GITHUB}/MIVRC/MSRN-PyTorch/a0e038de7eb42e21d2e88c38e6490b61a02c566e/MSRN/Test/model"


def rlfn_weights(name: str, sha256: str | None, psnr: dict[str, float]) -> dict[str, Weights]:
    file = Weights(f"weights/RLFN/{name}", "Apache-2.0", f"{RLFN_URL}/{name}", sha256, psnr)
    return {"official": file}


def imdn_weights(name: str, sha256: str | None, psnr: dict[str, float]) -> dict[str, Weights]:
    file = Weights(f"weights/IMDN/{name}", "none stated", f"{IMDN_URL}/{name}", sha256, psnr)
    return {"official": file}


def edsr_weights(name: str) -> dict[str, Weights]:
    return {"official": Weights(f"weights/EDSR/{name}", "MIT", f"{EDSR_URL}/{name}")}


def msrn_weights(name: str, psnr: dict[str, float]) -> dict[str, Weights]:
    return {"official": Weights(f"weights/MSRN/{name}", "MIT", f"{MSRN_URL}/{name}", psnr=psnr)}


DBPN_S = {"channels": 32, "features": 128, "stages": 2, "dense": False, "colours": 1}
RDN_A = {"growth": 32, "blocks": 20, "layers": 6}

ESRGAN_URL = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.1"
ESRGAN_FILE = "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth"


def idn_weights(name: str, sha256: str, psnr: dict[str, float]) -> dict[str, Weights]:
    file = Weights(f"weights/IDN/{name}", "none stated", f"{IDN_URL}/{name}", sha256, psnr)
    return {"official": file}


def carn_m_weights(psnr: dict[str, float]) -> dict[str, Weights]:
    """One file for the three scales."""
    sha256 = "d48a759a84509351facb6b7c6d5bd6edec98b98519b8c464ee4ab44d2ba964ff"
    file = Weights("weights/CARN/carn_m.pth", "MIT", f"{CARN_URL}/carn_m.pth", sha256, psnr)
    return {"official": file}


def pcarn_m_weights(l1: tuple[float, float], gan: tuple[float, float]) -> dict[str, Weights]:
    """Two trainings, each one file for the three scales. l1, gan: PSNR and LPIPS on Set5."""
    known = (
        ("l1", "PCARN-M-L1.pth", l1, "trained by PCARN's authors, by L1",
            "50a018566eb28fbf966e0e4d43b513fa90b7242932afd9dddbc0be69d9df6ec9"),
        ("gan", "PCARN-M.pth", gan, "trained by PCARN's authors, against a discriminator",
            "a7e328d6c87991ec81540d6b0b15723714443d0c276bec0e864aae441ef16a24"),
    )  # fmt: skip
    return {
        kind: Weights(
            f"weights/PCARN/{file}", "MIT", f"{PCARN_URL}/{file}", sha256,
            {"Set5": psnr}, {"Set5": lpips}, origin,
        )
        for kind, file, (psnr, lpips), origin, sha256 in known
    }  # fmt: skip


# Trained by others than the papers' authors; the kind of the weights says where they come from.
REALSR_WEIGHTS = Weights(
    "weights/ESRGAN/realsr_df2k_x4.safetensors", "Apache-2.0",
    sha256="390a3c44163eec6e5a9d3aa387e01774c276209837d9e72277fb1bc4bcdbffd7",
    psnr={"Set5": 30.39}, lpips={"Set5": 0.0772},
    origin="trained by RealSR's authors (Ji et al., CVPRW 2020), not by ESRGAN's, for photographs: "
    "estimated kernels and noise. Weights rounded to float16 by ncnn; no address has this very "
    "file. nihui/realsr-ncnn-vulkan releases them as models-DF2K/x4.param and x4.bin, which srkit "
    "reads: weights='x4.param' (that both hold the same is unverified)",
)  # fmt: skip
SRRESNET8_WEIGHTS = Weights(
    "weights/SRGAN/srresnet8_x4.safetensors", "none stated",
    sha256="127c0660f18ef800e8b08bb143e6f6fea1b2aba6a026785e5a0a0f4786140207",
    psnr={"Set5": 31.88}, lpips={"Set5": 0.180},
    origin="not trained by the paper's authors: as in PyTorch's ONNX tutorial, by way of "
    "SRResNet_4x of WolframRhodium/Super-Resolution-Zoo@041842f (MXNet); who trained it is "
    "unverified",
)  # fmt: skip
IDEALO_WEIGHTS = Weights(
    "weights/RDN/rdn_small_idealo_x2.safetensors", "Apache-2.0",
    sha256="c2cdd7726e3356326dc1e6891931f27ab41d79b7b93a3ca464c738183cc1230c",
    psnr={"Set5": 36.01}, lpips={"Set5": 0.0604},
    origin="trained by idealo (idealo/image-super-resolution, RDN psnr-small), not by the paper's "
    "authors; by way of npm's @upscalerjs/esrgan-legacy 1.0.0, which rounds them to 8 bits",
)  # fmt: skip


def leftthomas_weights(
    name: str, sha256: str, psnr: dict[str, float], lpips: dict[str, float]
) -> dict[str, Weights]:
    origin = (
        f"trained by leftthomas (leftthomas/SRGAN, epochs/{name} in its history; which commit is "
        "unverified), not by the paper's authors"
    )
    path = f"weights/SRGAN/leftthomas_{name}"
    return {"leftthomas": Weights(path, "MIT", "", sha256, psnr, lpips, origin)}


# Converted from the authors' MATLAB files; there is no address for them.
VDSR_WEIGHTS = {"official": Weights(
    "weights/VDSR/VDSR_Official.safetensors", "none stated",
    sha256="6bf8d6a17c28fbeb07c5379b45d0f862931630b47770769fae528cc0d111b195",
)}  # fmt: skip
LAPSRN_WEIGHTS = {"official": Weights(
    "weights/LapSRN/LapSRN_x4.safetensors", "none stated",
    sha256="c9b985337fa02798e07814280aa13c78572e69837ec3dbad801484948f3eddc0",
    psnr={"Set5": 31.53},
)}  # fmt: skip
CARN_M = {"groups": 4, "mobile": True}

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
    Entry("rlfn_tiny", 4, RLFN, 87_816, RLFN_PAPER, {"channels": 24, "blocks": 4, "esa": 8},
        {"srkit": Weights("weights/rlfn-minutes_x4.safetensors", "Apache-2.0",
            psnr={"Set5": 31.42, "Set14": 28.10, "BSD100": 27.29})}),

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

    Entry("imdn", 2, IMDN, 694_404, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x2.pth", "740b39653592bd3f49955a21cd9e16f2d37f2c413368cc09327601b8fbe42ce1",
        {"Set5": 38.00, "Set14": 33.63, "BSD100": 32.19})),
    Entry("imdn", 3, IMDN, 703_059, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x3.pth", None, {"Set5": 34.36, "Set14": 30.32, "BSD100": 29.09})),
    Entry("imdn", 4, IMDN, 715_176, IMDN_PAPER, weights=imdn_weights(
        "IMDN_x4.pth", "e660c38221147217a136debeb99eb304d62d9c0f73ac421ed66281b619719714",
        {"Set5": 32.21, "Set14": 28.59, "BSD100": 27.56})),

    Entry("edsr_baseline", 2, EDSR, 1_369_883, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x2-1bc95232.pt")),
    Entry("edsr_baseline", 3, EDSR, 1_554_523, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x3-abf2a44e.pt")),
    Entry("edsr_baseline", 4, EDSR, 1_517_595, EDSR_PAPER,
        weights=edsr_weights("edsr_baseline_x4-6b446fab.pt")),

    # One set of weights serves MemNet at every scale.
    Entry("memnet", 2, MEMNET, 695_497, MEMNET_PAPER),
    Entry("memnet", 3, MEMNET, 695_497, MEMNET_PAPER),
    Entry("memnet", 4, MEMNET, 695_497, MEMNET_PAPER),

    Entry("dbpn_s", 2, DBPN, 337_548, DBPN_PAPER, DBPN_S),
    Entry("dbpn_s", 4, DBPN, 595_596, DBPN_PAPER, DBPN_S),
    Entry("dbpn_s", 8, DBPN, 1_332_876, DBPN_PAPER, DBPN_S),
    Entry("ddbpn", 2, DBPN, 5_953_526, DBPN_PAPER),
    Entry("ddbpn", 4, DBPN, 10_426_358, DBPN_PAPER),
    Entry("ddbpn", 8, DBPN, 23_205_878, DBPN_PAPER),
    Entry("dbpnll", 4, DBPN, 15_348_302, DBPN_PAPER, {"stages": 10}),
    Entry("dbpn_res", 4, DBPN, 10_419_446, DBPN_RES_PAPER, {"rounds": 3, "residual": True}),

    Entry("rdn", 2, RDN, 22_123_395, RDN_PAPER),
    Entry("rdn", 3, RDN, 22_308_035, RDN_PAPER),
    Entry("rdn", 4, RDN, 22_271_107, RDN_PAPER),
    Entry("rdn_a", 2, RDN, 5_616_515, RDN_PAPER, RDN_A),
    Entry("rdn_a", 3, RDN, 5_801_155, RDN_PAPER, RDN_A),
    Entry("rdn_a", 4, RDN, 5_764_227, RDN_PAPER, RDN_A),

    Entry("rdn_small", 2, IDEALO_RDN, 2_619_635, RDN_PAPER, weights={"idealo": IDEALO_WEIGHTS}),

    Entry("rcan", 2, RCAN, 15_444_667, RCAN_PAPER),
    Entry("rcan", 3, RCAN, 15_629_307, RCAN_PAPER),
    Entry("rcan", 4, RCAN, 15_592_379, RCAN_PAPER),
    Entry("rcan", 8, RCAN, 15_740_091, RCAN_PAPER),

    # msrn is the authors' re-training of 2019, msrn2018 (Y) the paper's network.
    Entry("msrn", 2, MSRN, 5_930_331, MSRN_PAPER, weights=msrn_weights(
        "MSRN_x2.pt", {"Set5": 38.07, "Set14": 33.68, "BSD100": 32.22})),
    Entry("msrn", 3, MSRN, 6_114_971, MSRN_PAPER, weights=msrn_weights(
        "MSRN_x3.pt", {"Set5": 34.48, "Set14": 30.40, "BSD100": 29.13})),
    Entry("msrn", 4, MSRN, 6_078_043, MSRN_PAPER, weights=msrn_weights(
        "MSRN_x4.pt", {"Set5": 32.25, "Set14": 28.63, "BSD100": 27.61})),
    Entry("msrn", 8, MSRN, 6_225_755, MSRN_PAPER, weights=msrn_weights(
        "MSRN_x8.pt", {"Set5": 26.95, "Set14": 24.87, "BSD100": 24.77})),
    Entry("msrn2018", 2, MSRN2018, 5_891_073, MSRN_PAPER),
    Entry("msrn2018", 3, MSRN2018, 6_075_713, MSRN_PAPER),
    Entry("msrn2018", 4, MSRN2018, 6_334_209, MSRN_PAPER),
    Entry("msrn2018", 8, MSRN2018, 8_106_753, MSRN_PAPER),

    Entry("srresnet", 4, SRRESNET, 1_549_462, SRGAN_PAPER),
    Entry("srresnet8", 4, SRRESNET, 956_163, SRGAN_PAPER,
        {"blocks": 8, "channel_slopes": True, "trunk_bias": False},
        {"tutorial": SRRESNET8_WEIGHTS}),
    Entry("srgan_port", 2, SRGAN_PORT, 586_379, SRGAN_PAPER, weights=leftthomas_weights(
        "netG_epoch_2_100.pth", "a7ddfb8d2109ea7360ca7a6913c3acbb7128deef16c2868476e2bb1e2cf9ec3b",
        {"Set5": 35.48}, {"Set5": 0.0385})),
    Entry("srgan_port", 4, SRGAN_PORT, 734_092, SRGAN_PAPER, weights=leftthomas_weights(
        "netG_epoch_4_100.pth", "f4c381640826a48d2440583e4920c6bb4041804f4e285c3c6d585f03961fe87c",
        {"Set5": 30.66}, {"Set5": 0.136})),
    # BasicSR's variant without batch norm.
    Entry("msrresnet", 2, MSRRESNET, 1_369_859, SRGAN_PAPER),
    Entry("msrresnet", 3, MSRRESNET, 1_554_499, SRGAN_PAPER),
    Entry("msrresnet", 4, MSRRESNET, 1_517_571, SRGAN_PAPER),

    Entry("srfeat", 4, SRFEAT, 6_187_907, SRFEAT_PAPER),

    Entry("esrgan", 4, ESRGAN, 16_697_987, ESRGAN_PAPER, weights={"official": Weights(
        f"weights/ESRGAN/{ESRGAN_FILE}", "Apache-2.0", f"{ESRGAN_URL}/{ESRGAN_FILE}",
        "ff704c30ff560305e48ed1f4db895e525ab6bc81a46fafe80c0094a271c806d9"),
        "realsr": REALSR_WEIGHTS}),

    Entry("ciplab", 16, CIPLAB, 33_392_451, CIPLAB_PAPER),

    # Without a prior all is background; without a reference the picture is its own.
    Entry("sftgan", 4, SFTGAN, 1_612_195, SFTGAN_PAPER),
    Entry("sftgan_retrained", 4, SFTGAN, 1_833_763, SFTGAN_PAPER, {"retrained": True}),

    Entry("ttsr", 4, TTSR, 6_729_615, TTSR_PAPER),

    Entry("idn", 2, IDN, 552_769, IDN_PAPER, weights=idn_weights(
        "IDN_x2.caffemodel", "eed047c60c2af108140e14a1ebcd78701c5645837c35c740419ab3533db26b99",
        {"Set5": 37.84})),
    Entry("idn", 3, IDN, 552_769, IDN_PAPER, weights=idn_weights(
        "IDN_x3.caffemodel", "ef94a2760f3975876021b6be884f27c491e445937934be0339d5711cf1afa1af",
        {"Set5": 34.12})),
    Entry("idn", 4, IDN, 552_769, IDN_PAPER, weights=idn_weights(
        "IDN_x4.caffemodel", "1be49ba811d6d3f2fd61bbaa345e4a5a70746bb24f723b734dc8af9c817b96c2",
        {"Set5": 31.82})),

    # One head each; the paper's network of three heads is CARN(scale, heads=(2, 3, 4)).
    Entry("carn", 2, CARN, 964_187, CARN_PAPER, weights={"official": Weights(
        "weights/CARN/CARN_x2.safetensors", "MIT",
        sha256="08a776ed67c178bfae7edfd686f5d71d4139e20afb12f0dca6bda292b12151ad",
        psnr={"Set5": 37.89})}),
    Entry("carn", 3, CARN, 1_148_827, CARN_PAPER),
    Entry("carn", 4, CARN, 1_111_899, CARN_PAPER),
    Entry("carn_m", 2, CARN, 257_051, CARN_PAPER, CARN_M, carn_m_weights({"Set5": 37.68})),
    Entry("carn_m", 3, CARN, 303_451, CARN_PAPER, CARN_M, carn_m_weights({"Set5": 34.06})),
    Entry("carn_m", 4, CARN, 294_171, CARN_PAPER, CARN_M, carn_m_weights({"Set5": 31.88})),

    Entry("pcarn_m", 2, PCARN, 257_051, PCARN_PAPER, CARN_M,
        pcarn_m_weights((37.70, 0.0562), (35.13, 0.0226))),
    Entry("pcarn_m", 3, PCARN, 303_451, PCARN_PAPER, CARN_M,
        pcarn_m_weights((34.08, 0.126), (32.17, 0.0548))),
    Entry("pcarn_m", 4, PCARN, 294_171, PCARN_PAPER, CARN_M,
        pcarn_m_weights((31.90, 0.178), (29.47, 0.0818))),

    # enhancenet_pat is the network of the authors' weights: their bicubic, all losses.
    Entry("enhancenet_pat", 4, ENHANCENET, 852_867, ENHANCENET_PAPER, {"skip": "tensorflow1"},
        {"official": Weights(
            "weights/EnhanceNet/weights", "CC BY-NC-ND 4.0", ENHANCENET_URL,
            "4250b3dc5e69c5bd625e90543fd588ce2fff88510f874f9e9394c48c44b96434",
            {"Set5": 28.86})}),
    Entry("enhancenet", 2, ENHANCENET, 815_939, ENHANCENET_PAPER),
    Entry("enhancenet", 4, ENHANCENET, 852_867, ENHANCENET_PAPER),
    Entry("enhancenet", 8, ENHANCENET, 889_795, ENHANCENET_PAPER),

    # Trained anew for each picture; any scale.
    Entry("zssr", 2, ZSSR, 224_640, ZSSR_PAPER),
    Entry("zssr", 3, ZSSR, 224_640, ZSSR_PAPER),
    Entry("zssr", 4, ZSSR, 224_640, ZSSR_PAPER),

    # Yardsticks: the rows that most tables share. One set of weights serves VDSR at every scale.
    Entry("srcnn", 2, SRCNN, 57_281, SRCNN_PAPER),
    Entry("srcnn", 3, SRCNN, 57_281, SRCNN_PAPER),
    Entry("srcnn", 4, SRCNN, 57_281, SRCNN_PAPER),
    Entry("vdsr", 2, VDSR, 665_921, VDSR_PAPER, weights=VDSR_WEIGHTS),
    Entry("vdsr", 3, VDSR, 665_921, VDSR_PAPER, weights=VDSR_WEIGHTS),
    Entry("vdsr", 4, VDSR, 665_921, VDSR_PAPER, weights=VDSR_WEIGHTS),
    Entry("lapsrn", 2, LAPSRN, 407_441, LAPSRN_PAPER),
    Entry("lapsrn", 4, LAPSRN, 814_242, LAPSRN_PAPER, weights=LAPSRN_WEIGHTS),
    Entry("lapsrn", 8, LAPSRN, 1_221_043, LAPSRN_PAPER),
)
# fmt: on


BENCHMARKS = ("Set5", "Set14", "BSD100", "Urban100")  # whose figures tables compare
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms: no parameters


@cache
def trained() -> tuple[Entry, ...]:
    """The networks of recorded runs that srkit ships, each with its weights "srkit".

    They are named by recipe and variant, "esrgan/psnr"; of another budget than laptop, or trained
    by the clock, that follows: "rlfn/one-stage/overnight". Figures are those of the file itself.

    Raises `srkit.files.Damaged` for a shipped file that is cut or altered.
    """
    papers = {e.paper.label.lower(): e.paper for e in ZOO}
    listed = {file.path for e in ZOO for file in e.weights.values()}
    folder = files.find_data("weights")
    found = []
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        if (place := f"weights/{path.name}") in listed:
            continue
        tensors = read_header(path)
        said = tensors.pop("__metadata__", {})
        if "constructor" not in said:  # discriminators
            continue
        of = json.loads(said["provenance"])
        kwargs = json.loads(said["arguments"])
        scale = int(said["scale"])
        del kwargs["scale"]
        minutes = of.get("minutes_a_stage")  # the first files do not have it
        size = of["budget"] if minutes is None else f"{minutes:g}-minutes"
        name = f"{of['recipe']}/{of['variant']}" + f"/{size}" * (size != "laptop")
        run = f"{of['recipe']}/{of['budget']}/{of['variant']}, seed {of['seed']}"
        scores = {test: of["metrics"][test] for test in BENCHMARKS if test in of["metrics"]}
        clock = "" if minutes is None else f" --minutes {minutes:g}"
        weights = Weights(
            place,
            "Apache-2.0",
            psnr={test: values["psnr"] for test, values in scores.items()},
            lpips={test: values["lpips"] for test, values in scores.items() if "lpips" in values},
            origin=f"trained here: srkit train {of['recipe']} --variant {of['variant']} "
            f"--budget {of['budget']}{clock} --seed {of['seed']}",
        )
        parameters = sum(
            math.prod(tensor["shape"])
            for tensor_name, tensor in tensors.items()
            if tensor_name.rpartition(".")[2] not in BUFFERS
        )
        found.append(
            Entry(
                name, scale, said["constructor"], parameters, papers[of["recipe"]], kwargs,
                {"srkit": weights}, run,
            )
        )  # fmt: skip
    return tuple(found)


def read_header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file: its tensors' types and shapes, and "__metadata__".

    Raises `srkit.files.Damaged`, naming the file, for one that is cut or altered.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError("it is shorter than its header")
            return dict(json.loads(file.read(size)))
    except (ValueError, TypeError) as error:
        raise files.Damaged(f"{path} is damaged ({error}): install srkit again.") from error


def list_models(pattern: str = "*") -> list[str]:
    """Names that fit a shell pattern ("rlfn*", "*_x2", "esrgan/*"), or of one family ("rlfn").

    First those of the zoo, then the networks that were trained here.
    """
    every = (*ZOO, *trained())
    return [e.name for e in every if fnmatch(e.name, pattern) or e.family == pattern]


def model_info(name: str, *, scale: int | None = None) -> Entry:
    """What is known of a network: by its whole name ("rlfn_x4"), or by family and scale.

    A network that was trained here goes by recipe and variant: "esrgan/psnr".

    Raises ValueError, with the names that come close, where there is none or more than one.
    """
    every = ZOO
    if not any(name in (e.name, e.family) for e in ZOO):
        every = (*ZOO, *trained())
    found = [e for e in every if name in (e.name, e.family) and scale in (None, e.scale)]
    if len(found) == 1:
        return found[0]
    if family := next((e.family for e in every if name in (e.name, e.family)), None):
        given = "no scale" if scale is None else f"scale={scale}"
        raise ValueError(f"{name!r} with {given}: choose {' or '.join(list_models(family))}.")
    families = list(dict.fromkeys(e.family for e in ZOO))
    ours = list(dict.fromkeys(e.family for e in trained()))
    if of_recipe := [family for family in ours if family.startswith(f"{name}/")]:
        raise ValueError(
            f"no model is named {name!r}; of that recipe there are, trained here: "
            f"{', '.join(of_recipe)}."
        )
    close = get_close_matches(name, [*families, *ours, *list_models()], n=4)
    hint = f"Do you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
        f"no model is named {name!r}. {hint}There are: {', '.join(families)}; and {len(ours)} that "
        "were trained here, named RECIPE/VARIANT (srkit models --trained)."
    )
