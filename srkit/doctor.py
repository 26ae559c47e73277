"""What is on this machine, what is missing and how to get it, and what is broken.

print(examine())              # as `srkit doctor` does
examine().broken              # a sentence for each thing that keeps srkit from working
"""

from __future__ import annotations

import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch

import srkit
from srkit import files
from srkit.datasets import catalog
from srkit.devices import CPU, best_device, device_name, devices, free_memory, has_bfloat16
from srkit.inference import upscale
from srkit.models.zoo import ZOO, Weights, trained
from srkit.training.record import machine
from srkit.weights.choose import best
from srkit.weights.load import create_model

# What srkit's speed depends on, of all that torch knows of a processor.
FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_tile", "sve", "bf16", "i8mm")
# Frozen networks that losses and LPIPS look through: the files that hold each, and who gets it.
EXTRACTORS = {
    "LPIPS (alex)": ("alexnet_torchvision.safetensors", "lpips_alex.safetensors"),
    "LPIPS (squeeze)": ("squeezenet1_1_torchvision.safetensors", "lpips_squeeze.safetensors"),
    "LPIPS (vgg)": ("vgg16_torchvision.safetensors",),
    "VGG-19": ("vgg19_torchvision.safetensors", "vgg19_oxford.npz"),
}
FIRST_USE = "the first use fetches it"


@dataclass(frozen=True)
class Report:
    """facts: by section, what was found by its name. broken: a sentence for each fault."""

    facts: dict[str, dict[str, Any]]
    broken: list[str]

    def __str__(self) -> str:
        lines = []
        for section, facts in self.facts.items():
            lines += ["", section]
            for name, found in facts.items():
                shown = ", ".join(map(str, found)) if isinstance(found, list) else str(found)
                lines += wrap(
                    shown, 80, initial_indent=f"  {name:<18}", subsequent_indent=20 * " ",
                    break_long_words=False, break_on_hyphens=False,
                ) or [f"  {name}"]  # fmt: skip
        said = [f"BROKEN: {sentence}" for sentence in self.broken]
        return "\n".join([*lines[1:], "", *(said or ["srkit can work here."])])


def examine(*, hashes: bool = False) -> Report:
    """Look at versions, processor, devices, folders, data sets and weights, and enlarge a picture.

    hashes: compute the SHA-256 of every file of weights and compare the pixels of every data set;
    without it a file that is there counts as found.
    """
    broken: list[str] = []
    facts = {
        "versions": _versions(broken),
        "machine": _machine(broken),
        "folders": _folders(broken),
        "data sets": _data_sets(hashes, broken),
        "weights": _weights(hashes, broken),
        "book": _book(),
    }
    return Report(facts, broken)


def _versions(broken: list[str]) -> dict[str, Any]:
    """Of srkit, Python and torch, and of what an extra asks for; compared with what srkit needs."""
    from packaging.requirements import Requirement

    found = {"srkit": srkit.__version__, "python": platform.python_version()}
    try:
        asked = [Requirement(line) for line in metadata.requires("srkit") or ()]
    except metadata.PackageNotFoundError:
        return found | {"torch": torch.__version__, "packages": "srkit is not installed"}
    extras = metadata.metadata("srkit").get_all("Provides-Extra") or []
    for extra in ("", *extras):
        lacking = []
        for each in asked:
            if each.marker and not each.marker.evaluate({"extra": extra}):
                continue
            if extra and not each.marker:
                continue
            try:
                version = metadata.version(each.name)
            except metadata.PackageNotFoundError:
                version = ""
            if each.name in ("torch", "torchvision"):
                found[each.name] = version
            if not version or not each.specifier.contains(version, prereleases=True):
                lacking.append(f"{each.name}{each.specifier} (here: {version or 'none'})")
        if extra:
            get = f"lacks {', '.join(lacking)}: pip install 'srkit[{extra}]'"
            found[f"extra {extra}"] = get if lacking else "complete"
        elif lacking:
            broken.append(f"packages are missing or too old: {', '.join(lacking)}; pip install .")
    return found


def _machine(broken: list[str]) -> dict[str, Any]:
    """Processor and accelerators, with what srkit uses of them; whether each enlarges a picture."""
    known = machine(best_device())
    # the oldest supported torch has no such function
    can = getattr(torch.cpu, "get_capabilities", dict)()
    found = {
        "processor": known["processor"],
        "torch uses": known["capability"],
        "has": [name for name in FEATURES if can.get(name)] or "none that srkit asks for",
        "threads": f"{known['threads']} of {os.cpu_count()}",
        "bfloat16": "in hardware" if has_bfloat16(CPU) else "not in hardware: float32 is faster",
    }
    for name in devices()[1:]:
        device = torch.device(name)
        free = free_memory(device)
        room = "" if free is None else f", {free / 2**30:.1f} GiB free"
        kind = "bfloat16" if has_bfloat16(device) else "float32"
        found[name] = f"{device_name(device)}, {kind}{room}"
    if len(found) == 5:
        found["accelerator"] = "none: the processor computes"
    chosen = best(4)
    picture = torch.full((3, 24, 24), 0.5, device="cpu")
    for name in devices():
        try:
            model = create_model(chosen.name, weights=chosen.weights)
            result = upscale(model, picture, device=name)
            works = result.shape == (3, 96, 96) and bool(result.isfinite().all())
        except Exception as error:  # whatever it is, it is what the reader must know
            works, result = False, error
        found[f"{name} enlarges"] = "yes" if works else "no"
        if not works:
            broken.append(f"{chosen.name} does not enlarge a grey picture on {name}: {result}")
    return found


def _folders(broken: list[str]) -> dict[str, Any]:
    """Where files are looked for, and the cache: size, room, locks, what broke off."""
    *named, cache = files.home()
    found: dict[str, Any] = {"SRKIT_HOME": [str(folder) for folder in named] or "not set"}
    for folder in named:
        if not folder.is_dir():
            broken.append(f"SRKIT_HOME names {folder}, which is no folder: correct it or unset it")
    found["cache"] = str(cache)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        broken.append(f"the cache {cache} cannot be written: set SRKIT_CACHE to a folder of yours")
        return found | {"writable": "no"}
    inside = [path for path in cache.rglob("*") if path.is_file()] if cache.is_dir() else []
    size = sum(path.stat().st_size for path in inside)
    free = shutil.disk_usage(there).free
    found["size"] = f"{size / 2**20:.0f} MiB in {len(inside)} files; {free / 2**30:.1f} GiB free"
    if free < 2**28:
        broken.append(f"{there} has {free / 2**20:.0f} MiB free: make room, or set SRKIT_CACHE")
    held = [path for path in inside if path.suffix == ".lock" and _is_held(path)]
    left = sum(path.suffix == ".lock" for path in inside) - len(held)
    found["locks"] = f"{len(held)} held by a process at work, {left} left over, which do no harm"
    if parts := [str(path.relative_to(cache)) for path in inside if path.suffix == ".part"]:
        found["broken off"] = [*parts, "srkit fetch goes on with them"]
    return found


def _is_held(path: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _data_sets(hashes: bool, broken: list[str]) -> dict[str, str]:
    """Of each set of the catalogue where it is, or how it is got."""
    found = {}
    for name, data in catalog.CATALOG.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pictures = catalog.pictures(name)
        except FileNotFoundError:
            found[name] = (
                f"missing: srkit fetch {name}" if data.archives else f"missing: {data.how}"
            )
            continue
        where = Path(os.path.commonpath(pictures)) if pictures[1:] else pictures[0].parent
        seen = f"{len(pictures)} of {data.count} pictures in {where}"
        if len(pictures) != data.count:
            seen += ", incomplete: figures on it are no benchmark's"
        elif hashes:
            differences = catalog.verify(name)
            known = name in catalog.pixel_hashes()
            seen += ", pixels verified" if known and not differences else ""
            broken += [f"{name} in {where}: {sentence}" for sentence in differences]
        found[name] = seen
    return found


def _weights(hashes: bool, broken: list[str]) -> dict[str, Any]:
    """Of what ships, of the authors' and others' files, and of the extractors: here or missing."""
    try:
        ours = [e.name for e in (*ZOO, *trained()) if "srkit" in e.weights]
        shipped = f"{len(ours)} networks: srkit models --trained"
    except files.Damaged as error:
        broken.append(str(error))
        shipped = "damaged"
    found: dict[str, Any] = {"shipped": shipped}
    here, fetched, by_hand = [], [], []
    for name, kind, file in _of_others():
        path = files.find(file.path)
        if path is None:
            word = name if kind == "official" else f"{name} --weights {kind}"
            (fetched if file.url else by_hand).append(word)
            continue
        here.append(name)
        if hashes and file.sha256 and (seen := files.sha256(path)) != file.sha256:
            broken.append(
                f"{path} has the SHA-256 {seen}, expected {file.sha256}: remove it, then "
                f"srkit fetch {name} --weights {kind}"
            )
    of = len(here) + len(fetched) + len(by_hand)
    found["of others"] = f"{len(here)} of {of} are here" + ", SHA-256 compared" * hashes
    for word in fetched:
        found.setdefault("srkit fetch", []).append(word)
    if by_hand:
        found["by hand"] = [*by_hand, "srkit info NAME says where from"]
    for name, places in EXTRACTORS.items():
        path = next(filter(None, (files.find(f"backbones/{place}") for place in places)), None)
        found[name] = str(path or f"missing: {FIRST_USE}")
    return found


def _of_others() -> Iterator[tuple[str, str, Weights]]:
    """Files of weights that do not ship, each once, with the first network that it is for."""
    seen = set()
    for entry in ZOO:
        for kind, file in entry.weights.items():
            if kind != "srkit" and file.path not in seen:
                seen.add(file.path)
                yield entry.name, kind, file


def _book() -> dict[str, str]:
    """Whether the pages' own program is here; only in a copy of the repository."""
    root = Path(srkit.__file__).resolve().parents[1]
    if not (root / "_toc.yml").is_file():
        return {"pages": "not here: this is the package alone"}
    engine = any((root / "site/vendor").glob("ort*.wasm"))
    built = (root / "_build/html/index.html").is_file()
    return {
        "engine of pages": "vendored" if engine else "not vendored, from a CDN: make vendor",
        "pages": "built in _build/html" if built else "not built: make book",
    }
