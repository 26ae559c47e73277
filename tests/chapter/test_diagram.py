"""Block diagrams: what is given is drawn."""

from io import BytesIO

import pytest
from PIL import Image

from srkit.chapter.diagram import Box, flow


def test_flow_draws_every_box_and_refuses_silence():
    """A diagram holds what it was given: boxes, sums and branches change the picture."""
    plain = flow(["3×3", "1×1"], alt="two boxes")
    skipped = flow(["3×3", "1×1"], skips=[(0, 1)], alt="two boxes and a shortcut")
    branched = flow(["3×3", "1×1"], branches=[(0, "1×1", 1)], alt="two boxes and a branch")
    assert len({plain.still, skipped.still, branched.still}) == 3
    wide = [Image.open(BytesIO(flow(["a"], columns=n, alt="a").still)).width for n in (1, 4)]
    assert wide[0] < wide[1]
    with pytest.raises(ValueError, match="say in a sentence"):
        flow(["3×3"], alt="")


def test_a_network_shows_kinds_repetitions_and_sizes():
    boxes = [Box("3×3", note="64 × h × w"), Box("RRDB", "block", 23), "3×3", Box("×2", "up")]
    drawn = flow(boxes, skips=[(1, 2), (0, 3)], alt="a network").html
    for text in ("RRDB", "× 23", "64 × h × w"):
        assert text in drawn
    assert "RRDB" not in flow(["3×3"], alt="a").html
    assert drawn.count("currentColor") > 10, "the ink is the page's"


def test_what_cannot_be_drawn_is_refused_with_words():
    with pytest.raises(ValueError, match="kind='magic': choose one of layer, block"):
        Box("a", "magic")
    with pytest.raises(ValueError, match="times=0: expected 1 or more"):
        Box("a", times=0)
    with pytest.raises(ValueError, match=r"\(0, 2\) joins boxes that are not there: they are 0..1"):
        flow(["a", "b"], skips=[(0, 2)], alt="a")
