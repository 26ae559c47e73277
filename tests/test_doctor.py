"""`srkit doctor`: what it finds, what it calls broken, and the sentence that helps."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from srkit import doctor, files
from srkit.models.zoo import ZOO, model_info


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Empty folders: nothing is broken in them."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


def test_a_machine_without_anything_is_told_how_to_get_it(home):
    report = doctor.examine()
    assert report.broken == []
    sets, weights = report.facts["data sets"], report.facts["weights"]
    assert sets["Set5"] == "missing: srkit fetch Set5"
    assert sets["Manga109"] == "missing: apply at http://www.manga109.org/en/"
    assert weights["of others"].startswith("0 of ")
    assert {"rlfn_x4", "esrgan_x4", "pcarn_m_x2 --weights l1"} <= set(weights["srkit fetch"])
    assert "esrgan_x4 --weights realsr" in weights["by hand"]
    assert weights["VGG-19"] == "missing: the first use fetches it"
    assert str(report).splitlines()[-1] == "srkit can work here."


def test_each_file_of_weights_is_counted_once(home):
    places = {f.path for e in ZOO for kind, f in e.weights.items() if kind != "srkit"}
    of = doctor.examine().facts["weights"]["of others"]
    assert of == f"0 of {len(places)} are here"


def test_versions_and_machine(home):
    facts = doctor.examine().facts
    assert facts["versions"]["torch"] == metadata.version("torch")
    assert facts["versions"]["torchvision"] == metadata.version("torchvision")
    assert facts["versions"]["extra onnx"]
    assert facts["machine"]["threads"] == f"{torch.get_num_threads()} of {os.cpu_count()}"
    assert facts["machine"]["torch uses"] == torch.backends.cpu.get_cpu_capability()
    assert facts["machine"]["cpu enlarges"] == "yes"


def test_what_is_here_is_found_and_by_request_compared(home, assets):
    entry = model_info("idn_x2")
    file = entry.weights["official"]
    (home / file.path).parent.mkdir(parents=True)
    (home / file.path).write_bytes(b"something else")
    (home / "benchmarks").mkdir()
    (home / "benchmarks/Set5").symlink_to(assets("benchmarks/Set5"))
    quick = doctor.examine()
    assert quick.broken == []
    assert quick.facts["data sets"]["Set5"].startswith("5 of 5 pictures in ")
    assert quick.facts["weights"]["of others"].startswith("1 of ")
    report = doctor.examine(hashes=True)
    assert report.facts["data sets"]["Set5"].endswith("pixels verified")
    (sentence,) = report.broken
    assert (
        f"idn_x2.caffemodel has the SHA-256 {files.sha256(home / file.path)}, "
        in sentence.replace("IDN", "idn")
    )
    assert f"expected {file.sha256}: remove it, then srkit fetch idn_x2 --weights off" in sentence


def test_an_incomplete_set_is_told(home):
    from srkit import samples
    from srkit.image.io import write_image

    write_image(samples()["coffee"][:, :24, :24], home / "benchmarks/Set5/HR/coffee.png")
    said = doctor.examine().facts["data sets"]["Set5"]
    assert said.startswith("1 of 5 pictures in ")
    assert said.endswith("incomplete: figures on it are no benchmark's")


def test_the_cache_with_its_locks_and_what_broke_off(home, tmp_path):
    cache = tmp_path / "cache"
    (cache / "locks").mkdir(parents=True)
    (cache / "locks/left.lock").touch()
    (cache / "weights").mkdir()
    (cache / "weights/big.pth.part").write_bytes(bytes(2**20))
    with FileLock(cache / "locks/held.lock"):
        folders = doctor.examine().facts["folders"]
    assert folders["cache"] == str(cache)
    assert folders["locks"] == "1 held by a process at work, 1 left over, which do no harm"
    assert folders["size"].startswith("1 MiB in 3 files; ")
    assert folders["broken off"] == ["weights/big.pth.part", "srkit fetch goes on with them"]


def test_a_cache_that_cannot_be_written_is_broken(home, tmp_path, monkeypatch):
    may = os.access  # the tests may run as a user who may write everywhere
    monkeypatch.setattr("os.access", lambda p, mode: Path(p) != tmp_path and may(p, mode))
    (sentence,) = doctor.examine().broken
    assert sentence == (
        f"the cache {tmp_path / 'cache'} cannot be written: set SRKIT_CACHE to a folder of yours"
    )


def test_packages_that_are_missing_or_old_are_broken_and_an_extra_is_not(home, monkeypatch):
    asked = [
        "torch>=99", "safetensors>=0.5", "nowhere>=1",
        "nothing>=2; extra == 'onnx'", "numpy>=1; extra == 'onnx'",
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    report = doctor.examine()
    (sentence,) = report.broken
    assert sentence == (
        f"packages are missing or too old: torch>=99 (here: {metadata.version('torch')}), "
        "nowhere>=1 (here: none); pip install ."
    )
    assert report.facts["versions"]["extra onnx"] == (
        "lacks nothing>=2 (here: none): pip install 'srkit[onnx]'"
    )


def test_a_damaged_file_that_ships_and_a_network_that_does_not_work_are_broken(home, monkeypatch):
    def damaged():
        raise files.Damaged("a.safetensors is damaged: install srkit again.")

    def fails(*_, **__):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(doctor, "trained", damaged)
    monkeypatch.setattr(doctor, "upscale", fails)
    broken = doctor.examine().broken
    assert "a.safetensors is damaged: install srkit again." in broken
    assert any(
        b.endswith("does not enlarge a grey picture on cpu: no kernel image") for b in broken
    )


def test_whether_pages_have_their_engine(home, tmp_path, monkeypatch):
    monkeypatch.setattr("srkit.__file__", str(tmp_path / "srkit/__init__.py"))
    assert doctor.examine().facts["book"] == {"pages": "not here: this is the package alone"}
    (tmp_path / "_toc.yml").touch()
    engine = doctor.examine().facts["book"]["engine of pages"]
    assert engine == "not vendored, from a CDN: make vendor"
    (tmp_path / "site/vendor").mkdir(parents=True)
    (tmp_path / "site/vendor/ort-wasm-simd-threaded.wasm").touch()
    assert doctor.examine().facts["book"]["engine of pages"] == "vendored"


def test_lines_of_the_report_fit_eighty_columns(home):
    lines = str(doctor.examine()).splitlines()
    long = [line for line in lines if len(line) > 80 and len(line.split()) > 2]
    assert long == []
