"""Block diagrams: what is given is drawn."""

from io import BytesIO

import pytest
from PIL import Image

from srkit.chapter.diagram import flow


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
