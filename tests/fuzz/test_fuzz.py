"""600 damaged files and odd numbers: taken as they were stored, or refused in words.

The same ones each time; `make fuzz` tries others, and many more.
"""

from __future__ import annotations

import pytest
from fuzz.properties import PROPERTIES, check
from fuzz.targets import SHARES, TARGETS, tried

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


@pytest.mark.parametrize(("group", "one"), PAIRS, ids=[one[0].__name__ for _, one in PAIRS])
def test_what_holds_for_all_numbers(group, one):
    examples = SHARES[group] // len(PROPERTIES[group])
    assert 0 < check(one, examples) <= examples
