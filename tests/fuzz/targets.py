"""What damaged files are given to, and what counts as a fault.

A target draws one input from a generator, gives it to srkit, and checks what comes back. Faults:

- undocumented: an exception of another kind than documented, or one that does not name its file.
- silent: a picture or a tensor that is not the one that was stored, without a word, where the
  format has a checksum or says how much there should be.
- partial: half a file is left, or one that nobody asked for.
- hang: more than 5 seconds of processor time. memory: more than the target's bound.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from fuzz import corpus
from fuzz.corpus import ALL, Sample
from fuzz.mutate import mutated, resealed
from PIL import Image
from test_folders import Nearest
from torch import Tensor
from toy import train
from typer.testing import CliRunner

from srkit import files
from srkit.cli import app
from srkit.datasets import catalog
from srkit.datasets.catalog import Archive, Dataset
from srkit.files import Damaged
from srkit.image.io import Picture, read_picture, write_picture
from srkit.inference import upscale_folder
from srkit.reports.records import Records
from srkit.training import checkpoints
from srkit.training.record import forget_peaks, peak_memory
from srkit.training.run import find_runs
from srkit.weights.load import load_checkpoint, read

SECONDS = 5.0  # of processor time for one input
MEBIBYTES = 512  # that one input may take
LARGEST = 2**21  # pixels: Pillow's own limit would let every damaged header ask for gigabytes


class Fault(Exception):
    """kind: "undocumented", "silent", "partial", "hang", "memory"."""

    def __init__(self, kind: str, words: str):
        super().__init__(f"{kind}: {words}")
        self.kind = kind


class Hang(BaseException):
    """The processor time is spent. No `except Exception` keeps it."""


@dataclass
class Try:
    """One input: what it is drawn from, the folder it lies in, and how it was made."""

    rng: Random
    folder: Path
    made: str = ""

    def __call__(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


def tried(target: str, seed: int, number: int, folder: Path) -> tuple[str, Try, dict[str, float]]:
    """Run one input in a new folder: "taken", "refused" or "fault: ..."; what it was; what it took.

    The folder stays where there is a fault, and is removed where there is none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    this = Try(Random(f"{target} {seed} {number}"), folder)
    corpus.pictures(), corpus.weights(), corpus.bombs()  # made before anything is measured
    forget_peaks()
    before, began = _held(), time.process_time()
    try:
        with _limited(), warnings.catch_warnings(), _small_pictures():
            warnings.simplefilter("ignore")
            said = TARGETS[target](this)
    except Hang:
        said = f"fault: hang: more than {SECONDS} s"
    except Fault as fault:
        said = f"fault: {fault}"
    except Exception as error:
        said = f"fault: undocumented: {type(error).__name__}: {error}"
    took = {"seconds": time.process_time() - began, "MiB": (peak_memory() or 0) - before}
    if not said.startswith("fault") and took["MiB"] > MEBIBYTES:
        said = f"fault: memory: {took['MiB']:.0f} MiB"
    if not said.startswith("fault"):
        shutil.rmtree(folder)
    return said, this, took


def _held() -> float:
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 / 2**20 if status.exists() else 0.0


@contextmanager
def _limited() -> Iterator[None]:
    """Stops what takes more than SECONDS of processor time."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _small_pictures() -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, LARGEST // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def expect(whether: bool, kind: str, words: str) -> None:
    if not whether:
        raise Fault(kind, words)


def refused(error: Exception, path: Path, *kinds: type[Exception]) -> str:
    """That the refusal is of a documented kind, one sentence, and names the file."""
    words = f"{type(error).__name__}: {error}"
    expect(type(error) in (kinds or (ValueError, Damaged)), "undocumented", words)
    expect(path.name in str(error), "undocumented", f"does not name {path.name}: {words}")
    expect("\n" not in str(error), "undocumented", f"more than a line: {words}")
    return "refused"


def _drawn(this: Try, target: str, samples: list[Sample]) -> Sample:
    """One of the whole files, or one of the bombs."""
    return this.rng.choice(corpus.bombs()[target] if this.rng.random() < 0.05 else samples)


# ------------------------------------------------------------------ pictures


def _picture(this: Try) -> tuple[Sample, bytes, tuple[str, ...], Path]:
    samples = corpus.pictures()
    sample = _drawn(this, "picture", samples)
    if sample.sealed == ALL and this.rng.random() < 0.15:
        data, how = resealed(sample.data, this.rng)
        if data == sample.data:
            data, how = mutated(data, this.rng)
    else:
        data, how = mutated(sample.data, this.rng, [other.data for other in samples])
    suffix = this.rng.choice((sample.suffix, sample.suffix, ".png", ".jpg", ".tif", ".webp"))
    this.made = f"{sample.name}{suffix}, {', '.join(how)}"
    return sample, data, how, this(f"a{suffix}", data)


def whole(sample: Sample) -> Picture:
    """The picture as it was stored."""
    if sample.name not in _WHOLE:
        path = Path(files.cache_folder()) / f"whole{sample.suffix}"
        path.write_bytes(sample.data)
        _WHOLE[sample.name] = read_picture(path)
    return _WHOLE[sample.name]


_WHOLE: dict[str, Picture] = {}


def equal(a: Picture, b: Picture) -> bool:
    def same(x: Tensor | None, y: Tensor | None) -> bool:
        return (x is None) == (y is None) and (x is None or torch.equal(x, y))

    return same(a.rgb, b.rgb) and same(a.alpha, b.alpha) and (a.bits, a.grey) == (b.bits, b.grey)


def picture(this: Try) -> str:
    """A picture file: `read_picture`, and `write_picture` of what is taken."""
    sample, data, how, path = _picture(this)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read_picture(path)
        except Exception as error:
            return refused(error, path)
    lost = [str(w.message) for w in caught if w.category is UserWarning]
    odd = [f"{w.category.__name__}: {w.message}" for w in caught if w.category is not UserWarning]
    expect(not odd, "undocumented", f"warns: {odd}")
    expect(len(lost) < 2 and all(path.name in words for words in lost), "undocumented", f"{lost}")
    rgb, alpha = found.rgb, found.alpha
    sound = rgb.ndim == 3 and len(rgb) == 3 and rgb.numel() and rgb.dtype == torch.float32
    expect(bool(sound), "silent", f"{rgb.dtype} {tuple(rgb.shape)}")
    for plane in (rgb, alpha) if alpha is not None else (rgb,):
        low, high = plane.aminmax()
        expect(bool(low >= 0 and high <= 1), "silent", f"values from {low} to {high}")
    expect(alpha is None or alpha.shape == (1, *rgb.shape[1:]), "silent", "alpha of another size")
    if "joined" not in how and (how == ("cut",) or sample.shows(data)):
        _as_stored(found, sample, how, lost)
    if this.rng.random() < 0.2:
        _written(found, this)
    return "taken"


def _as_stored(found: Picture, sample: Sample, how: tuple[str, ...], lost: list[str]) -> None:
    """Damage that shows gives the picture that was stored; what it lost beside it was said."""
    right = whole(sample)
    if not lost:
        expect(equal(found, right), "silent", "not the picture that was stored, and no word of it")
    elif how != ("chunks other rows",) and "EXIF" not in lost[0]:  # that turns the picture
        same = found.rgb.shape == right.rgb.shape and torch.equal(found.rgb, right.rgb)
        expect(same, "silent", f"other pixels than were stored, and only: {lost}")


def _written(found: Picture, this: Try) -> None:
    """What was taken can be written, with all that was kept of it, and comes back."""
    suffix = this.rng.choice(("png", "tif"))
    path = this.folder / f"again.{suffix}"
    write_picture(found, path)
    again = read_picture(path)
    level = 1 / (2**found.bits - 1)
    fine = again.rgb.shape == found.rgb.shape and (again.rgb - found.rgb).abs().max() <= level
    expect(bool(fine), "silent", f"{path.name} is not what was written")


# ------------------------------------------------------------------ weights


def _weights(this: Try) -> tuple[Sample, bytes, tuple[str, ...], Path]:
    samples = corpus.weights()
    sample = _drawn(this, "weights", samples)
    data, how = mutated(sample.data, this.rng, [other.data for other in samples])
    suffixes = (sample.suffix, sample.suffix, ".pth", ".safetensors", ".npz", ".caffemodel", ".x")
    suffix = sample.suffix if sample.beside else this.rng.choice(suffixes)
    this.made = f"{sample.name} as {suffix}, {', '.join(how)}"
    for beside, content in sample.beside.items():
        this(f"w{beside}", content)
    return sample, data, how, this(f"w{suffix}", data)


def tensors(sample: Sample) -> dict[str, Tensor]:
    if sample.name not in _TENSORS:
        path = Path(files.cache_folder()) / f"whole{sample.suffix}"
        path.write_bytes(sample.data)
        _TENSORS[sample.name] = read(path)[0]
    return _TENSORS[sample.name]


_TENSORS: dict[str, dict[str, Tensor]] = {}


def _check_tensors(found: dict[str, Tensor], sample: Sample, data: bytes, how: tuple) -> None:
    for name, tensor in found.items():
        expect(bool(tensor.float().isfinite().all()), "silent", f"{name} is not finite")
    if "joined" not in how and sample.shows(data):
        right = tensors(sample)
        fine = found.keys() == right.keys()
        fine = fine and all(torch.equal(found[name], tensor) for name, tensor in right.items())
        expect(fine, "silent", "other tensors than were stored")


def weights(this: Try) -> str:
    """A file of weights: `read`, and `load_checkpoint`."""
    sample, data, how, path = _weights(this)
    try:
        found, _ = read(path)
    except Exception as error:
        return refused(error, path)
    _check_tensors(found, sample, data, how)
    try:
        model = load_checkpoint(path)
    except Exception as error:
        return refused(error, path)
    _check_tensors(model.state_dict(), sample, b"", ("joined",))
    return "taken"


def convert(this: Try) -> str:
    """The command `srkit convert`: a whole file and 0, or a sentence, no file, and 1 or 2."""
    *_, path = _weights(this)
    before = sorted(this.folder.iterdir())
    target = this.folder / "out.safetensors"
    result = CliRunner().invoke(app, ["convert", str(path), str(target)])
    odd = result.exception
    words = f"{type(odd).__name__}: {odd}"
    expect(odd is None or isinstance(odd, SystemExit), "undocumented", words)
    left = sorted(this.folder.iterdir())
    if result.exit_code == 0:
        expect(left == sorted([*before, target]), "partial", f"left: {left}")
        load_checkpoint(target)
        return "taken"
    expect(result.exit_code in (1, 2), "undocumented", f"exit code {result.exit_code}")
    *_, last = result.stderr.strip().splitlines() or [""]
    expect(last.startswith("srkit: ") and path.name in last, "undocumented", result.stderr)
    expect(left == before, "partial", f"left: {left}")
    return "refused"


# ------------------------------------------------------------------ folders


def folder(this: Try) -> str:
    """A folder job with damaged pictures: the good ones are made, each bad one is named."""
    source, target = this.folder / "in", this.folder / "out"
    source.mkdir()
    good = this.rng.sample(corpus.pictures(), 2)
    for number, sample in enumerate(good):
        (source / f"good{number}{sample.suffix}").write_bytes(sample.data)
    bad = []
    for number in range(this.rng.randrange(1, 4)):
        *_, path = _picture(this)
        bad.append(path.rename(source / f"bad{number}{path.suffix}"))
    if this.rng.random() < 0.3:  # what is there of an earlier job may be damaged as well
        target.mkdir()
        (target / ".srkit.json").write_bytes(mutated(SIGNED, this.rng)[0])
        (target / f"good0{good[0].suffix}").write_bytes(mutated(good[0].data, this.rng)[0])
    before = {path.name for path in target.iterdir()} if target.is_dir() else set()
    again = bool(before) and this.rng.random() < 0.5
    try:
        report = upscale_folder(Nearest(), source, target, overwrite=again, suffix=".png")
    except Exception as error:
        expect(bool(before), "undocumented", f"{type(error).__name__}: {error}")
        return refused(error, target)
    told = {path.name for path in [*report.done, *report.skipped, *report.failed]}
    expect(told >= {path.name for path in bad}, "undocumented", f"of {bad} told of {told}")
    for number, sample in enumerate(good):
        path = source / f"good{number}{sample.suffix}"
        made = report.done.get(path)
        expect(made is not None or bool(before), "silent", f"{path.name}: {report.failed}")
        if made is not None:
            fine = _doubled(whole(sample), read_picture(made))
            expect(fine, "silent", f"{made.name} is not {path.name} enlarged")
    left = {path.name for path in target.iterdir()} - before
    asked = {path.name for path in report.done.values()} | {".srkit.json"}
    expect(left <= asked, "partial", f"left: {left - asked}")
    return "refused" if report.failed else "taken"


def _doubled(small: Picture, big: Picture) -> bool:
    """Whether every pixel that can be seen stands there twice by twice."""
    doubled = small.rgb.repeat_interleave(2, 1).repeat_interleave(2, 2)
    difference = (big.rgb - doubled).abs().amax(0, keepdim=True)
    if small.alpha is not None:  # colours that nobody sees are filled in from around them
        difference *= small.alpha.repeat_interleave(2, 1).repeat_interleave(2, 2) > 0
    return bool(difference.max() <= 1 / 255)


SIGNED = b"""{
 "network": "nearest", "scale": 2, "weights": "e3b0c44298fc1c14", "self_ensemble": false
}
"""


# ------------------------------------------------------------------ records


ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    [1],
    {},
    {"a": 1},
    [[]],
    [None],
    10**30,
)


def _changed(value: Any, rng: Random) -> Any:
    """JSON with one part taken out, renamed or replaced by another kind of thing."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        copy = value.copy()
        how = rng.random()
        if how < 0.1:
            del copy[key]
        elif how < 0.15 and isinstance(copy, dict):
            copy[f"{key}s"] = copy.pop(key)
        else:
            copy[key] = _changed(copy[key], rng)
        return copy
    return rng.choice(ODD)


def records(this: Try) -> str:
    """A file of records, or the record of a run among others: used, or refused by name."""
    found = corpus.records()
    if this.rng.random() < 0.6:
        changed = _changed(found, this.rng)
        data, this.made = corpus.as_file(changed), "a part changed"
        if this.rng.random() < 0.1:
            data, changed = this.rng.choice((b"[", b'{"a":')) * 100_000, None
            this.made = "nested a hundred thousand times"
    else:
        changed = None
        data, how = mutated(corpus.as_file(found), this.rng, [b"[]", b"\xef\xbb\xbf", b"\0"])
        this.made = ", ".join(how)
    path = this("records.json", data)
    one = json.dumps(changed[0]).encode() if isinstance(changed, list) and changed else data
    for name, content in (("a", json.dumps(found[0]).encode()), ("b", one)):
        (this.folder / name).mkdir()
        (this.folder / name / "run.json").write_bytes(content)
    runs = find_runs(this.folder)
    expect(len(runs) in (1, 2), "silent", f"{len(runs)} runs found")
    try:
        read = Records.read(path)
    except Exception as error:
        return refused(error, path)
    for each in [*read, *runs]:
        use(Records([each]))
    return "taken"


def use(read: Records) -> None:
    """What pages and commands do with records that were read."""
    for each in read:
        each.to_json(), each.curve(), str(each.name)
        for test in each.metrics:
            read.values(each.variant, test, "psnr")
            read.spread(each.variant, test, "psnr")
    assert read.groups()


# ------------------------------------------------------------------ checkpoints


def checkpoint(this: Try) -> str:
    """The checkpoints of a training that was stopped: it goes on, and ends as if undisturbed."""
    stored = corpus.checkpoints()
    older, newest = stored
    if this.rng.random() < 0.5:
        return _crafted(this, stored[newest])
    for name, data in stored.items():
        this(name, data)
    for name in this.rng.choice(([newest], [newest], [older], [older, newest])):
        data, how = mutated(stored[name], this.rng, list(stored.values()))
        this.made += f"{name}: {', '.join(how)}; "
        this(name, data)
    learned = train("pixel", this.folder)
    for name, tensor in corpus.trained().items():
        expect(torch.equal(learned[name], tensor), "silent", f"{name} differs")
    left = {path.name for path in this.folder.iterdir()}
    expect(all(name.startswith("checkpoint-") for name in left), "partial", f"left: {left}")
    return "taken"


def _crafted(this: Try, stored: bytes) -> str:
    """Damaged and sealed again: nothing in it is run, and it is passed over or read."""
    import hashlib

    data, how = mutated(stored[: -checkpoints.DIGEST], this.rng)
    this.made = f"sealed again: {', '.join(how)}"
    path = this("checkpoint-00000001.pt", data + hashlib.sha256(data).digest())
    try:
        found = checkpoints.load_latest(this.folder)
    except Exception as error:
        return refused(error, path)
    expect(isinstance(found, dict), "silent", f"a {type(found).__name__}")
    return "taken"


# ------------------------------------------------------------------ catalogue


def catalogue(this: Try) -> str:
    """A set's archive: unpacked, counted and put in place all together, or refused."""
    samples = corpus.archives()
    sample = _drawn(this, "catalogue", samples)
    data, how = mutated(sample.data, this.rng, [other.data for other in samples])
    this.made = f"{sample.name}, {', '.join(how)}"
    path = this(f"set{sample.suffix}", data)
    cache, out = this.folder / "cache", this.folder / "unpacked"
    toy = Dataset(
        "Toy", "three pictures", 3, "benchmarks/Toy", (Archive((path.as_uri(),), "Toy_HR/*"),)
    )
    try:
        files.unpack(path, out)
    except Exception as error:
        said = refused(error, path)
        expect(not out.exists(), "partial", "the folder of what could not be unpacked")
    else:
        said = "taken"
        if sample.shows(data) and "joined" not in how:
            _as_packed(out)
    with _cached(cache), _entry(toy):
        try:
            found = catalog.pictures("Toy", fetch=True)
        except RuntimeError as error:
            expect("Could not get Toy" in str(error), "undocumented", str(error))
            found = []
    if found:
        expect(len(found) == 3, "silent", f"{len(found)} pictures of a set of 3")
    left = {p.name for p in this.folder.iterdir()} | {p.name for p in cache.iterdir()}
    asked = {path.name, "cache", "unpacked", "archives", "benchmarks", "locks"}
    expect(left <= asked, "partial", f"left: {left - asked}")
    return said


def _as_packed(out: Path) -> None:
    right = next(s for s in corpus.pictures() if s.name == "png kind 2, 8 bits").data
    for path in out.rglob("*"):
        fine = path.is_dir() or path.read_bytes() in (right, b"three pictures")
        expect(fine, "silent", f"{path.name} is not what was packed")


@contextmanager
def _cached(folder: Path) -> Iterator[None]:
    import os

    before = {name: os.environ.get(name) for name in ("SRKIT_CACHE", "SRKIT_HOME")}
    os.environ["SRKIT_CACHE"] = str(folder)
    os.environ.pop("SRKIT_HOME", None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _entry(data: Dataset) -> Iterator[None]:
    catalog.CATALOG[data.name] = data
    try:
        yield
    finally:
        del catalog.CATALOG[data.name]


# How many of 600 inputs each target gets; the others are properties of numbers, see
# `fuzz.test_properties`.
TARGETS: dict[str, Callable[[Try], str]] = {
    "picture": picture, "weights": weights, "convert": convert, "folder": folder,
    "records": records, "checkpoint": checkpoint, "catalogue": catalogue,
}  # fmt: skip
SHARES = {
    "picture": 200, "weights": 120, "convert": 30, "folder": 20, "records": 60, "checkpoint": 20,
    "catalogue": 40, "imresize": 54, "metrics": 32, "tiles": 24,
}  # fmt: skip


def shared(total: int) -> dict[str, int]:
    """How many of `total` inputs each target gets; at least one."""
    return {name: max(1, math.ceil(total * share / 600)) for name, share in SHARES.items()}
