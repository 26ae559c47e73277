"""600 damaged files and odd numbers: taken as they were stored, or refused in words.

The same ones each time; `make fuzz` tries others, and many more.
"""

from __future__ import annotations

import re

import pytest
from fuzz import corpus
from fuzz.properties import PROPERTIES, check
from fuzz.targets import MEBIBYTES, SECONDS, SHARES, TARGETS, tried

from srkit.files import unpack
from srkit.image.io import read_picture
from srkit.weights.load import load_checkpoint

PAIRS = [(group, one) for group, found in PROPERTIES.items() for one in found]


def test_the_shares_are_600_inputs_and_no_target_is_left_out():
    assert sum(SHARES.values()) == 600
    assert SHARES.keys() == TARGETS.keys() | PROPERTIES.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files(target, tmp_path):
    said = {}
    for number in range(SHARES[target]):
        words, this, _ = tried(target, 0, number, tmp_path / str(number))
        said[f"{number} ({this.made})"] = words
    assert not {name: words for name, words in said.items() if words.startswith("fault")}
    assert "refused" in said.values()


WORDS = {
    "bomb in its pixels": "200 bytes are expected, and its packed data does not end there",
    "bomb of scans": "a JPEG of 1006 scans, and ten do; save it again",
    "bomb in its header": "bytes of pixels and its header promises 25600 blocks",
    "bomb in a strip": "437 bytes are expected, and its packed data does not end there",
    "bomb of strips": "it names the same blocks of rows again and again",
    "bomb": "expand to|would unpack to",
    "bomb of a number": "bytes, of which it holds .*; the others repeat them",
    "bomb in a header": "is broken .a header of 10485\\d+ bytes.: delete it",
}
BOMBS = [(target, bomb) for target, found in corpus.bombs().items() for bomb in found]


@pytest.mark.parametrize(("target", "bomb"), BOMBS, ids=[bomb.name for _, bomb in BOMBS])
def test_bombs_take_little_time_and_memory(target, bomb, tmp_path, monkeypatch):
    """Two hundred megabytes in two hundred kilobytes, a strip named 5,000 times, 1,000 scans."""
    path = tmp_path / f"a{bomb.suffix}"
    path.write_bytes(bomb.data)
    readers = {
        "picture": read_picture, "weights": load_checkpoint,
        "catalogue": lambda path: unpack(path, tmp_path / "out"),
    }  # fmt: skip
    monkeypatch.setitem(TARGETS, "bomb", lambda this: readers[target](path) and "taken")
    said, _, took = tried("bomb", 0, 0, tmp_path / "folder")
    if bomb.name in WORDS:
        assert re.match(f"fault: undocumented: (ValueError|Damaged): {path}", said)
        assert re.search(WORDS[bomb.name], said)
    else:  # in its text or profile, which the pixels do not need
        assert said == "taken"
    assert took["seconds"] < SECONDS
    assert took["MiB"] < MEBIBYTES


@pytest.mark.parametrize(("group", "one"), PAIRS, ids=[one[0].__name__ for _, one in PAIRS])
def test_what_holds_for_all_numbers(group, one):
    examples = SHARES[group] // len(PROPERTIES[group])
    assert 0 < check(one, examples) <= examples
