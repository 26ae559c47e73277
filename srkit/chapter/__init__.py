"""What only the book's pages need: `from srkit import chapter`, then `chapter.verdicts(...)`."""

from srkit.chapter.diagram import Box, flow
from srkit.chapter.explorer import explorer
from srkit.chapter.opening import (
    begin,
    by_runs,
    by_test,
    could_see,
    finding,
    footer,
    needs,
    verdicts,
)
from srkit.chapter.results import (
    ablation,
    blind_vote,
    enlarge,
    plane_of,
    runs_table,
    scores,
    spots,
    train_here,
)
from srkit.chapter.widgets import mixer, stepper

__all__ = [
    "Box", "ablation", "begin", "blind_vote", "by_runs", "by_test", "could_see", "enlarge",
    "explorer", "finding", "flow", "footer", "mixer", "needs", "plane_of", "runs_table", "scores",
    "spots", "stepper", "train_here", "verdicts",
]  # fmt: skip
