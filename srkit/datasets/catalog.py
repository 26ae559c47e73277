"""The catalog: public sets of pictures, what is in them, and how to get them.

CATALOG is the table of all sets. `pairs` and `pictures` look for a set in the folder that the
caller names, else under `files.home()`, and download it if asked to. `samples` returns pictures
that are always at hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path

from torch import Tensor

from srkit import files
from srkit.checks import expanded
from srkit.image.folder import inside, only_pictures
from srkit.image.io import read_image
from srkit.image.tensors import modcrop, to_8bit


@dataclass(frozen=True)
class Archive:
    """One archive on the net. `inside` is the glob of its HR pictures.

    The archives were not downloaded to make this table. The hashes are those that other projects
    publish: SHA-256 from TensorFlow Datasets (DIV2K), MD5 from torchSR (EDSR's benchmark) and
    deepinv.
    """

    urls: tuple[str, ...]
    inside: str
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A set of pictures. Its HR pictures lie in `folder`/HR under `files.home()`."""

    name: str
    what: str
    count: int
    folder: str
    archives: tuple[Archive, ...] = ()  # tried one after another
    how: str = ""  # how a person gets the set, if srkit cannot download it
    scales: tuple[int, ...] = (2, 3, 4)
    selfexsr: int | None = None  # r of the one folder image_SRF_r of SelfExSR with full-size HR
    leave_out: tuple[str, ...] = ()  # names of pictures that must not be trained on
    terms: str = "no licence stated; used for research"

    @property
    def verified(self) -> bool:
        """Whether a download can be checked, by its pixels or by the hash of every archive."""
        hashed = [bool(archive.sha256 or archive.md5) for archive in self.archives]
        return self.name in pixel_hashes() or (bool(hashed) and all(hashed))


@dataclass(frozen=True)
class Pair:
    """An HR picture and its published LR picture, or None: imresize(modcrop(hr, r), 1/r) then."""

    name: str
    hr: Path
    lr: Path | None


HUGGING_FACE = "https://huggingface.co/datasets/eugenesiow"
BERKELEY = "https://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"


def _hugging_face(name: str, md5: str | None = None) -> Archive:
    url = f"{HUGGING_FACE}/{name}/resolve/main/data/{name}_HR.tar.gz"
    return Archive((url,), f"{name}_HR/*", md5=md5)


def _edsr(inside: str) -> Archive:
    return Archive(
        ("https://cv.snu.ac.kr/research/EDSR/benchmark.tar",),
        f"benchmark/{inside}/HR/*",
        md5="4ace41d33c2384b97e6b320cd0afd6ba",
    )


def _bsds500(split: str) -> tuple[Archive, ...]:
    inside = f"BSDS500/data/images/{split}/*.jpg"
    return (
        Archive((f"{BERKELEY}/BSR/BSR_bsds500.tgz",), f"BSR/{inside}"),
        Archive(
            ("https://github.com/BIDS/BSDS500/archive/refs/heads/master.zip",),
            f"BSDS500-master/{inside}",
            md5="7bfe17302a219367694200a61ce8256c",
        ),
    )


def _div2k(split: str, sha256: str) -> Archive:
    sites = ("https://data.vision.ee.ethz.ch/cvl/DIV2K", f"{HUGGING_FACE}/Div2k/resolve/main/data")
    urls = tuple(f"{site}/DIV2K_{split}_HR.zip" for site in sites)
    return Archive(urls, f"DIV2K_{split}_HR/*", sha256)


CATALOG: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "Set5",
            "5 classic test pictures (Bevilacqua et al., BMVC 2012)",
            5,
            "benchmarks/Set5",
            (_hugging_face("Set5"), _edsr("Set5")),
        ),
        Dataset(
            "Set14",
            "14 classic test pictures (Zeyde et al., 2010); bridge has one channel",
            14,
            "benchmarks/Set14",
            (_hugging_face("Set14"), _edsr("Set14")),
        ),
        Dataset(
            "BSD100",
            "the 100 validation pictures of BSDS500 (Martin et al., ICCV 2001)",
            100,
            "benchmarks/BSD100",
            (_hugging_face("BSD100"), *_bsds500("val")),
        ),
        Dataset(
            "Urban100",
            "100 buildings full of repeated lines (Huang et al., CVPR 2015)",
            100,
            "benchmarks/Urban100",
            (_hugging_face("Urban100", "65d9d84a34b72c6f7ca1e26a12df1e4c"), _edsr("Urban100")),
            # SelfExSR's x2 files pair the half-size picture with the x4 LR: not the benchmark.
            selfexsr=4,
        ),
        Dataset(
            "Sun80",
            "80 landscapes and buildings for x8 (Sun and Hays, ICCP 2012)",
            80,
            "benchmarks/Sun80",
            how="take data/ of https://github.com/jbhuang0604/SelfExSR",
            scales=(8,),
            selfexsr=8,
        ),
        Dataset(
            "Manga109",
            "one page of each of 109 Japanese comics (Matsui et al., 2016)",
            109,
            "benchmarks/Manga109",
            how="apply at http://www.manga109.org/en/",
            terms="academic use only, no redistribution; credit the author of every page shown",
        ),
        Dataset(
            "DIV2K_valid",
            "100 sharp 2K photographs (Agustsson and Timofte, CVPRW 2017)",
            100,
            "benchmarks/DIV2K_valid",
            (_div2k("valid", "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),),
            terms="academic research only",
        ),
        Dataset(
            "DIV2K_train",
            "800 sharp 2K photographs, the usual training set since 2017",
            800,
            "train/DIV2K_train",
            (_div2k("train", "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),),
            terms="academic research only",
        ),
        Dataset(
            "BSDS400",
            "training and test pictures of BSDS500, one left out; JPEG (Arbelaez et al., 2011)",
            399,
            "train/BSDS400",
            _bsds500("t*"),
            leave_out=("302003",),  # Set5's woman is a reduced copy of it
        ),
        Dataset(
            "T91",
            "91 small pictures (Yang et al., 2010); t36 is t65",
            91,
            "train/T91",
            (
                Archive(
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
            100,
            "train/General100",
            how="take General-100 from http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html",
        ),
        Dataset(
            "CUFED5",
            "126 inputs (_0) with five references (_1 to _5) of falling likeness "
            "(Zhang et al., CVPR 2019)",
            756,
            "ref_sr/CUFED5",
            how="follow the links of https://github.com/researchmm/TTSR",
            scales=(4,),
        ),
    )
}

# Common file names of HR pictures and their LR pictures; {n} is the picture's name, {r} the scale.
LAYOUTS = (
    ("HR/{n}", "LR_bicubic/X{r}/{n}x{r}.png"),  # srkit's own, EDSR's benchmark
    ("{set}_HR/{n}", "{set}_LR_bicubic/X{r}/{n}x{r}.png"),  # DIV2K's
    ("GTmod12/{n}", "LRbicx{r}/{n}.png"),  # BasicSR's
    ("image_SRF_{r}/{n}_SRF_{r}_HR", "image_SRF_{r}/{n}_SRF_{r}_LR.png"),  # SelfExSR's
    ("{n}", ""),  # a plain folder of HR pictures
)


def entry(name: str) -> Dataset:
    """The catalog's entry for `name`, in capital or small letters. Raises ValueError if unknown."""
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
    """The HR pictures of a benchmark with their published LR pictures, ordered by name.

    root: the only folder to look in; None looks under `files.home()`.
    fetch: download the set if it is not found.
    An HR file may be larger than a multiple of the scale: modcrop(hr, scale) is the HR picture.

    Raises ValueError for an unknown name or an incomplete set; FileNotFoundError, with the places
    it looked in, for a set that is not found; RuntimeError for one that cannot be downloaded.
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
    """The HR pictures of a set, for training, without those that are part of a benchmark.

    root, fetch: as for `pairs`. Warns if the set is incomplete.

    Raises ValueError for an unknown name; FileNotFoundError for a set that is not found;
    RuntimeError for one that cannot be downloaded.
    """
    data = entry(name)
    folder, found = _locate(data, root, fetch, lambda folder: _hr_pictures(data, folder))
    if len(found) != data.count:
        warnings.warn(
            f"{folder} holds {len(found)} of the {data.count} pictures of {data.name}", stacklevel=2
        )
    return found


def verify(name: str, *, root: str | os.PathLike | None = None) -> list[str]:
    """Compare a set at hand with the published one: one sentence for each difference.

    For Set5, Set14 and BSD100 the pixels are on record, and each HR picture is compared after
    modcrop(hr, 12), the same for files that were cropped to multiples of 2, 3, 4, 6 or 12. For the
    other sets only the number of pictures is compared. root: as for `pairs`.

    Raises ValueError for an unknown name; FileNotFoundError for a set that is not found.
    """
    data = entry(name)
    _, found = _locate(data, root, False, lambda folder: _hr_pictures(data, folder))
    return _deviations(data, found)


def _locate(
    data: Dataset, root: str | os.PathLike | None, fetch: bool, look: Callable[[Path], list]
) -> tuple[Path, list]:
    """The first folder in which `look` finds pictures, and what it finds."""
    if root is None:
        candidates = [folder / data.folder for folder in files.home()]
    else:
        candidates = [expanded(root) / below for below in (data.folder, data.name, "")]
    for folder in candidates:
        if found := look(folder):
            return folder, found
    if fetch:
        folder = _fetch(data)
        return folder, look(folder)
    get = f"fetch=True, or `srkit fetch {data.name}`" if data.archives else data.how
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
        for path in only_pictures(folder.glob(f"{pattern}.*")):
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
    return [p for p in only_pictures(inside(folder)) if p.stem not in data.leave_out]


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
    """Download, unpack and check a set. Its HR pictures get into the cache all together or not."""
    if not data.archives:
        raise RuntimeError(f"{data.name} cannot be downloaded by srkit: {data.how} ({data.terms}).")
    target = files.cache_folder() / data.folder
    failures = []
    with files.locked(files.cache_folder() / data.name):
        if target.exists():  # another process was faster
            return target
        for archive in data.archives:
            try:
                _install(data, archive, target)
                return target
            except files.Unreachable as error:
                failures += error.failures
            except ValueError as error:
                failures.append(str(error))
    raise RuntimeError(
        f"Could not get {data.name}:" + "".join(f"\n  - {failure}" for failure in failures) + "\n"
        f"Put its pictures by hand into {target / 'HR'}, or name their folder with root=."
    )


def _install(data: Dataset, archive: Archive, target: Path) -> None:
    relative = "archives/" + archive.urls[0].partition("://")[2]
    path = files.fetch(archive.urls, relative, archive.sha256)
    if archive.md5:
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "md5").hexdigest()
        if seen != archive.md5:
            raise ValueError(f"{path} has the MD5 {seen}, expected {archive.md5}: delete it.")
    with files.temporary_folder(files.cache_folder()) as work:
        unpacked = files.unpack(path, work / "unpacked")
        ready = work / "ready"
        (ready / "HR").mkdir(parents=True)
        for picture in only_pictures(unpacked.glob(archive.inside)):
            shutil.move(picture, ready / "HR")
        if deviations := _deviations(data, _hr_pictures(data, ready)):
            raise ValueError(f"{path} is not {data.name}: {'; '.join(deviations)}.")
        shutil.rmtree(unpacked)  # a kill after the next line would leave it there for long
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(ready, target)


@cache
def pixel_hashes() -> dict[str, dict[str, str]]:
    """{set: {picture: its `pixel_hash`}} of the sets whose pixels are on record."""
    return json.loads(files.data_path("pixel_hashes.json").read_text())


def pixel_hash(image: Tensor) -> str:
    """The SHA-256 of the shape and the 8-bit pixels of modcrop(image, 12).

    image: (3, H, W) in [0, 1]. Raises ValueError for fewer than 12 pixels a side.
    """
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
        file = distribution("scikit-image").locate_file(f"skimage/data/{SAMPLES[name]}")
        return read_image(str(file))

    def __iter__(self) -> Iterator[str]:
        return iter(SAMPLES)

    def __len__(self) -> int:
        return len(SAMPLES)

    def __repr__(self) -> str:
        return f"<{len(self)} sample pictures: {', '.join(self)}>"

    def _repr_jpeg_(self) -> bytes:
        """What a notebook shows: all of them, small."""
        from srkit.image.sheet import contact_sheet

        file = BytesIO()
        contact_sheet(self).save(file, "JPEG", quality=85)
        return file.getvalue()


def samples() -> Mapping[str, Tensor]:
    """Photographs that are always at hand, {name: (3, H, W) float32 RGB in [0, 1]}.

    They lie in scikit-image's package; nothing is downloaded. Each is decoded when it is asked for.
    brick, grass and gravel are grey (three equal channels). motorcycle and motorcycle_right are a
    stereo pair. An unknown name raises a KeyError that lists the names.
    """
    return _Samples()
