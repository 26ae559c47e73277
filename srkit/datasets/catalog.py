"""The catalog: which public pictures exist, what they are, and how to come by them.

CATALOG is the one table. `pairs` and `pictures` look for a set in a folder that the caller names or
under `files.home()`, and download it when asked to. `samples` needs neither network nor folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from srkit import files
from srkit.image.io import FORMATS, read_image
from srkit.image.tensors import modcrop, to_8bit


@dataclass(frozen=True)
class Source:
    """One archive on the net: its addresses, the glob of its HR pictures, its recorded hash.

    None of the archives was downloaded for this table. The hashes are the ones that others keep:
    SHA-256 of TensorFlow Datasets (DIV2K), MD5 of torchSR (EDSR's benchmark) and deepinv.
    """

    urls: tuple[str, ...]
    inside: str
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A set of pictures. `folder` is its place under `files.home()`, with HR pictures in HR/."""

    name: str
    what: str
    terms: str
    count: int
    folder: str
    sources: tuple[Source, ...] = ()
    how: str = ""  # where to ask, when no archive can be fetched
    scales: tuple[int, ...] = (2, 3, 4)
    selfexsr: int | None = None  # the only image_SRF_ folder of SelfExSR whose HR is the full one
    leave_out: tuple[str, ...] = ()  # stems of pictures that must not be trained on

    @property
    def verified(self) -> bool:
        """Whether what comes from the net can be checked: by pixels, or by each archive's hash."""
        return self.name in pixel_hashes() or (
            bool(self.sources) and all(source.sha256 or source.md5 for source in self.sources)
        )


@dataclass(frozen=True)
class Pair:
    """HR picture and its published LR twin; without one the LR is imresize(modcrop(hr, r), 1/r)."""

    name: str
    hr: Path
    lr: Path | None


HUGGING_FACE = "https://huggingface.co/datasets/eugenesiow"
BERKELEY = "https://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"
RESEARCH = "no licence stated; used for research"


def _hugging_face(name: str, md5: str | None = None) -> Source:
    url = f"{HUGGING_FACE}/{name}/resolve/main/data/{name}_HR.tar.gz"
    return Source((url,), f"{name}_HR/*", md5=md5)


def _edsr(inside: str) -> Source:
    return Source(
        ("https://cv.snu.ac.kr/research/EDSR/benchmark.tar",),
        f"benchmark/{inside}/HR/*",
        md5="4ace41d33c2384b97e6b320cd0afd6ba",
    )


def _bsds500(split: str) -> tuple[Source, ...]:
    inside = f"BSDS500/data/images/{split}/*.jpg"
    return (
        Source((f"{BERKELEY}/BSR/BSR_bsds500.tgz",), f"BSR/{inside}"),
        Source(
            ("https://github.com/BIDS/BSDS500/archive/refs/heads/master.zip",),
            f"BSDS500-master/{inside}",
            md5="7bfe17302a219367694200a61ce8256c",
        ),
    )


def _div2k(split: str, sha256: str) -> Source:
    sites = (
        "https://data.vision.ee.ethz.ch/cvl/DIV2K",
        f"{HUGGING_FACE}/Div2k/resolve/main/data",
    )
    urls = tuple(f"{site}/DIV2K_{split}_HR.zip" for site in sites)
    return Source(urls, f"DIV2K_{split}_HR/*", sha256)


CATALOG: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "Set5",
            "5 classic test pictures (Bevilacqua et al., BMVC 2012)",
            RESEARCH,
            5,
            "benchmarks/Set5",
            (_hugging_face("Set5"), _edsr("Set5")),
        ),
        Dataset(
            "Set14",
            "14 classic test pictures (Zeyde et al., 2010); bridge has one channel",
            RESEARCH,
            14,
            "benchmarks/Set14",
            (_hugging_face("Set14"), _edsr("Set14")),
        ),
        Dataset(
            "BSD100",
            "the 100 validation pictures of BSDS500 (Martin et al., ICCV 2001)",
            RESEARCH,
            100,
            "benchmarks/BSD100",
            (_hugging_face("BSD100"), *_bsds500("val")),
        ),
        Dataset(
            "Urban100",
            "100 buildings full of repeated lines (Huang et al., CVPR 2015)",
            RESEARCH,
            100,
            "benchmarks/Urban100",
            (
                _hugging_face("Urban100", md5="65d9d84a34b72c6f7ca1e26a12df1e4c"),
                _edsr("Urban100"),
            ),
            # SelfExSR's x2 files pair the half-size picture with the x4 LR: not the benchmark.
            selfexsr=4,
        ),
        Dataset(
            "Sun80",
            "80 landscapes and buildings for x8 (Sun and Hays, ICCP 2012)",
            RESEARCH,
            80,
            "benchmarks/Sun80",
            how="take data/ of https://github.com/jbhuang0604/SelfExSR",
            scales=(8,),
            selfexsr=8,
        ),
        Dataset(
            "Manga109",
            "one page of each of 109 Japanese comics (Matsui et al., 2016)",
            "academic use only, no redistribution; credit the author of every page shown",
            109,
            "benchmarks/Manga109",
            how="apply at http://www.manga109.org/en/",
        ),
        Dataset(
            "DIV2K_valid",
            "100 sharp 2K photographs (Agustsson and Timofte, CVPRW 2017)",
            "academic research only",
            100,
            "benchmarks/DIV2K_valid",
            (_div2k("valid", "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),),
        ),
        Dataset(
            "DIV2K_train",
            "800 sharp 2K photographs, the usual training set since 2017",
            "academic research only",
            800,
            "train/DIV2K_train",
            (_div2k("train", "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),),
        ),
        Dataset(
            "BSDS400",
            "training and test pictures of BSDS500, one left out; JPEG (Arbelaez et al., 2011)",
            RESEARCH,
            399,
            "train/BSDS400",
            _bsds500("t*"),
            leave_out=("302003",),  # Set5's woman is a reduced copy of it
        ),
        Dataset(
            "T91",
            "91 small pictures (Yang et al., 2010); t36 is t65",
            RESEARCH,
            91,
            "train/T91",
            (
                Source(
                    (
                        "https://raw.githubusercontent.com/isaaccorley/pytorch-enhance/master"
                        "/datasets/T91.zip",
                    ),
                    "**/t*.png",
                ),
            ),
        ),
        Dataset(
            "General100",
            "100 uncompressed pictures with clear edges (Dong et al., ECCV 2016)",
            RESEARCH,
            100,
            "train/General100",
            how="take General-100 from http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html",
        ),
        Dataset(
            "CUFED5",
            "126 inputs (_0) with five references (_1 to _5) of falling likeness "
            "(Zhang et al., CVPR 2019)",
            RESEARCH,
            756,
            "ref_sr/CUFED5",
            how="follow the links of https://github.com/researchmm/TTSR",
            scales=(4,),
        ),
    )
}

# How HR pictures and their LR twins are commonly named: {n} is the picture, {r} the scale.
LAYOUTS = (
    ("HR/{n}", "LR_bicubic/X{r}/{n}x{r}.png"),  # srkit's, EDSR's benchmark
    ("{set}_HR/{n}", "{set}_LR_bicubic/X{r}/{n}x{r}.png"),  # DIV2K's
    ("GTmod12/{n}", "LRbicx{r}/{n}.png"),  # BasicSR's
    ("image_SRF_{r}/{n}_SRF_{r}_HR", "image_SRF_{r}/{n}_SRF_{r}_LR.png"),  # SelfExSR's
    ("{n}", ""),  # a plain folder of HR pictures
)


def entry(name: str) -> Dataset:
    """The catalog's line for `name`, capital letters or not."""
    found = {known.lower(): known for known in CATALOG}.get(name.lower())
    if found is None:
        raise ValueError(
            f"unknown data set {name!r}: expected one of {', '.join(CATALOG)}; "
            "to train, a folder of pictures does, too."
        )
    return CATALOG[found]


def pairs(
    name: str, scale: int, *, root: str | os.PathLike | None = None, fetch: bool = False
) -> list[Pair]:
    """HR pictures of a benchmark with their published LR twins, ordered by name.

    They are looked for in `root` (and only there when it is given), else under `files.home()`; with
    fetch=True a set that is not there is downloaded. HR pictures may be larger than a multiple of
    the scale: modcrop(hr, scale) is the HR of that scale.

    Raises FileNotFoundError that says where it looked, ValueError when the set is incomplete.
    """
    data = entry(name)
    folder, found = _locate(data, root, fetch, lambda folder: _in_layout(data, folder, scale))
    if len(found) != data.count:
        raise ValueError(
            f"{folder} holds {len(found)} HR pictures of {data.name} x{scale}, expected "
            f"{data.count}: a mean over them could not be compared with any table."
        )
    without = [pair.name for pair in found if pair.lr is None]
    if 0 < len(without) < len(found):
        raise ValueError(
            f"{folder} lacks the x{scale} LR picture of {', '.join(without)}: add them, or remove "
            "the other LR pictures to have all of them made from the HR ones."
        )
    return found


def pictures(
    name: str, *, root: str | os.PathLike | None = None, fetch: bool = False
) -> list[Path]:
    """All HR pictures of a set, for training; those known to leak into a benchmark are left out.

    Looks where `pairs` looks. Warns when the set is incomplete.
    """
    data = entry(name)
    folder, found = _locate(data, root, fetch, lambda folder: _hr_pictures(data, folder))
    if len(found) != data.count:
        warnings.warn(
            f"{folder} holds {len(found)} of the {data.count} pictures of {data.name}", stacklevel=2
        )
    return found


def in_folder(folder: str | os.PathLike) -> list[Path]:
    """All pictures under any folder, to train on."""
    found = _only_pictures(Path(folder).rglob("*"))
    if not found:
        raise FileNotFoundError(f"no picture under {folder}: of {', '.join(FORMATS)}")
    return found


def verify(name: str, *, root: str | os.PathLike | None = None) -> list[str]:
    """What differs from the published set, a sentence each; empty when nothing does.

    Where the pixels of the set are on record (Set5, Set14, BSD100), every HR picture is compared
    after modcrop(hr, 12), which no usual cropping (to multiples of 2, 3, 4, 6 or 12) changes.
    Otherwise only the number of pictures is.
    """
    data = entry(name)
    _, found = _locate(data, root, False, lambda folder: _hr_pictures(data, folder))
    return _deviations(data, found)


def _locate(
    data: Dataset, root: str | os.PathLike | None, fetch: bool, look: Callable[[Path], list]
) -> tuple[Path, list]:
    """The first folder where `look` finds anything, and what it finds."""
    if root is None:
        candidates = [folder / data.folder for folder in files.home()]
    else:
        candidates = [Path(root) / below for below in (data.folder, data.name, "")]
    for folder in candidates:
        if found := look(folder):
            return folder, found
    if fetch:
        folder = _fetch(data)
        return folder, look(folder)
    get = f"fetch=True, or `srkit fetch {data.name}`" if data.sources else data.how
    raise FileNotFoundError(
        f"{data.name} is not here: looked in {', '.join(map(str, candidates))}.\n"
        f"To get it: (1) {get} ({data.terms}); (2) name a folder of its HR pictures with root=; "
        f"(3) set SRKIT_HOME to a folder that holds {data.folder}/HR."
    )


def _in_layout(data: Dataset, folder: Path, scale: int) -> list[Pair]:
    for hr, lr in LAYOUTS:
        selfexsr = hr.startswith("image_SRF")
        hr_scale = data.selfexsr if selfexsr and data.selfexsr else scale
        pattern = hr.format(n="*", set=data.name, r=hr_scale)
        found = []
        for path in _only_pictures(folder.glob(f"{pattern}.*")):
            name = path.stem.removesuffix(Path(pattern).name.removeprefix("*"))
            twin = folder / lr.format(n=name, set=data.name, r=scale)
            paired = twin.is_file() and hr_scale == scale
            found.append(Pair(name, path, twin if paired else None))
        if found:
            return sorted(found, key=lambda pair: pair.name)
    return []


def _hr_pictures(data: Dataset, folder: Path) -> list[Path]:
    for scale in data.scales:
        if found := _in_layout(data, folder, scale):
            return [pair.hr for pair in found if pair.name not in data.leave_out]
    return [p for p in _only_pictures(folder.rglob("*")) if p.stem not in data.leave_out]


def _only_pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in FORMATS)


def _deviations(data: Dataset, found: list[Path]) -> list[str]:
    told = []
    if len(found) != data.count:
        told.append(f"{len(found)} pictures, expected {data.count}")
    if published := pixel_hashes().get(data.name):
        seen = {path: pixel_hash(read_image(path)) for path in found}
        for path, value in seen.items():
            if value not in published.values():
                told.append(f"{path.name} has the pixels of no picture of {data.name}")
        for name, value in published.items():
            if value not in seen.values():
                told.append(f"no picture has the pixels of {name}")
    return told


def _fetch(data: Dataset) -> Path:
    """Download, unpack and check a set; its HR pictures appear in the cache whole or not at all."""
    if not data.sources:
        raise RuntimeError(f"{data.name} cannot be downloaded by srkit: {data.how} ({data.terms}).")
    target = files.cache() / data.folder
    failures = []
    for source in data.sources:
        try:
            _install(data, source, target)
            return target
        except files.Unreachable as error:
            failures += error.failures
        except ValueError as error:
            failures.append(str(error))
    raise RuntimeError(
        f"Could not get {data.name}:" + "".join(f"\n  - {failure}" for failure in failures) + "\n"
        f"Put its pictures by hand into {target / 'HR'}, or name their folder with root=."
    )


def _install(data: Dataset, source: Source, target: Path) -> None:
    import pooch

    relative = "archives/" + source.urls[0].partition("://")[2]
    archive = files.fetch(source.urls, relative, source.sha256)
    if source.md5 and (seen := pooch.file_hash(archive, "md5")) != source.md5:
        raise ValueError(f"{archive} has the MD5 {seen}, expected {source.md5}: delete it.")
    with tempfile.TemporaryDirectory(dir=files.cache()) as work:
        unpacked = files.unpack(archive, Path(work) / "unpacked")
        ready = Path(work) / "ready"
        (ready / "HR").mkdir(parents=True)
        for picture in _only_pictures(unpacked.glob(source.inside)):
            shutil.move(picture, ready / "HR")
        if deviations := _deviations(data, _hr_pictures(data, ready)):
            raise ValueError(f"{archive} is not {data.name}: {'; '.join(deviations)}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(ready, target)


@cache
def pixel_hashes() -> dict[str, dict[str, str]]:
    """{set: {picture: `pixel_hash` of it}} for the sets whose pixels are on record."""
    return json.loads(files.data_path("pixel_hashes.json").read_text())


def pixel_hash(image: Tensor) -> str:
    """SHA-256 over shape and 8-bit RGB pixels of modcrop(image, 12); image (3, H, W) in [0, 1]."""
    image = modcrop(image, 12)
    pixels = to_8bit(image).permute(1, 2, 0).contiguous()  # (H, W, 3)
    shape = "x".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + pixels.numpy().tobytes()).hexdigest()


SAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "retina": "retina.jpg",
    "brick": "brick.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "motorcycle": "motorcycle_left.png",  # a stereo pair of one scene: picture and reference
    "motorcycle_right": "motorcycle_right.png",
}


class _Samples(Mapping[str, Tensor]):
    def __getitem__(self, name: str) -> Tensor:
        if name not in SAMPLES:
            raise KeyError(f"no sample {name!r}: expected one of {', '.join(SAMPLES)}")
        package = Path(importlib.util.find_spec("skimage").origin).parent
        return read_image(package / "data" / SAMPLES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(SAMPLES)

    def __len__(self) -> int:
        return len(SAMPLES)


def samples() -> Mapping[str, Tensor]:
    """{name: (3, H, W) float picture in [0, 1]}: the pictures inside scikit-image's wheel.

    Each is decoded when it is asked for, and nothing is ever downloaded. brick, grass and gravel
    are grey: three equal channels.
    """
    return _Samples()
