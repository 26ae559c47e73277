"""What is refused before any work: numbers at their edges, and places where nothing can be put."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from srkit.checks import at_least, below, check_folder, check_free, check_place, finite
from srkit.image.target import check_target


@pytest.mark.parametrize("value", [1, 7, None])
def test_a_number_from_the_least_on_passes(value):
    at_least(1, steps=value)


@pytest.mark.parametrize("value", [0, -3, 1.5, True, "2"])
def test_less_or_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=rf"^steps={value!r}: expected a whole number from 1$"):
        at_least(1, steps=value)


def test_a_least_number_that_is_a_float_takes_floats():
    at_least(0.5, minutes=0.5, hours=1)
    with pytest.raises(ValueError, match=r"minutes=0\.49: expected a number from 0\.5"):
        at_least(0.5, minutes=0.49)
    with pytest.raises(ValueError, match=r"minutes=nan: expected a number from 0\.5"):
        at_least(0.5, minutes=float("nan"))


def test_finite_is_above_0_and_no_text():
    finite(rate=1e-9, minutes=5, clip=None)
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected a finite number above 0"):
            finite(rate=value)
    for value in ("1", True):
        with pytest.raises(ValueError, match=rf"rate={value!r}: expected a number above 0"):
            finite(rate=value)


def test_below_is_below():
    below(2, share=1.999, other=None)
    with pytest.raises(ValueError, match="share=2: expected a number below 2"):
        below(2, share=2)


def test_a_place_is_a_file_that_can_be_written(tmp_path, monkeypatch):
    """In folders that may be missing; with the bytes that are free, to the last one."""
    free = SimpleNamespace(free=2**20)
    monkeypatch.setattr("srkit.checks.shutil.disk_usage", lambda folder: free)
    check_place(tmp_path / "new" / "a.bin", 2**20)
    assert not (tmp_path / "new").exists()
    with pytest.raises(OSError, match=r"has 1\.0 MiB free, the sum takes 1\.5 at least"):
        check_place(tmp_path / "a.bin", 3 * 2**19, "the sum")
    with pytest.raises(OSError, match="MiB free"):
        check_place(tmp_path / "a.bin", 2**20 + 1)
    for check in (check_place, lambda path: check_target(path, 2, 2, bits=8, alpha=False)):
        with pytest.raises(ValueError, match="is a folder: name the file, as in"):
            check(tmp_path)
        with pytest.raises(ValueError, match="is not a plain file: choose another name"):
            check(Path(os.devnull))


def test_what_is_read_only_is_named(tmp_path, monkeypatch):
    """As root may write everywhere, the answer of the system is put in its place."""
    path = tmp_path / "a.bin"
    path.touch()
    monkeypatch.setattr("srkit.checks.os.access", lambda where, how: Path(where) != path)
    with pytest.raises(PermissionError, match=r"a\.bin is read-only: choose another name"):
        check_place(path)
    monkeypatch.setattr("srkit.checks.os.access", lambda where, how: False)
    with pytest.raises(PermissionError, match="is read-only for this user"):
        check_folder(tmp_path / "sub")
    with pytest.raises(ValueError, match="is a file, no folder"):
        check_folder(path / "sub")


def test_a_file_is_replaced_only_if_that_is_asked_for(tmp_path):
    path = tmp_path / "a.png"
    check_free(path, overwrite=False)
    path.touch()
    check_free(path, overwrite=True)
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        check_free(path, overwrite=False)
