"""What only the book's pages need: `from srkit import chapter`, then `chapter.verdicts(...)`."""

from srkit.chapter.diagram import Box, flow
from srkit.chapter.opening import begin, by_runs, by_test, footer, needs, verdicts
from srkit.chapter.results import blind_vote, enlarge, plane_of, scores, spots, train_here
from srkit.chapter.widgets import mixer, stepper

__all__ = [
    "Box", "begin", "blind_vote", "by_runs", "by_test", "enlarge", "flow", "footer", "mixer",
    "needs", "plane_of", "scores", "spots", "stepper", "train_here",
    "verdicts",
]  # fmt: skip
