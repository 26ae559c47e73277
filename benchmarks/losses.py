"""What terms cost on top of the trunk they look through: python benchmarks/losses.py

Content (conv5_4), style (16x16 patches) and contrastive loss on one VGG-19 (Oxford's, under
SRKIT_HOME), four crops of 96 px, one thread. All are run in turn, forward and backward to sr; CPU
ms are medians over the rounds, ratios medians of each round's own ratio.

- trunk: the same pictures through VGG-19 alone, sr forward and backward, hr and the negative
  forward. Goal: the sum of the three terms costs at most 1.15 times that.
- one by one: each term by itself, as without a shared look.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from srkit.losses import Contrastive, content, style
from srkit.losses.contrastive import VGG_DEEP
from srkit.metrics.features import vgg19

ROUNDS = 9


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    sr, hr, negative = torch.rand(3, 4, 3, 96, 96, generator=generator)
    sr.requires_grad_()
    phi = vgg19("oxford")
    contrastive = Contrastive(phi, VGG_DEEP)
    terms = (content("esrgan", extractor=phi), style("enhancenet", extractor=phi))
    loss = terms[0] + 0.1 * terms[1] + contrastive
    print(loss, end="\n\n")

    def trunk() -> None:
        with torch.no_grad():
            phi(hr, "conv5_4")
            phi(negative, "conv5_4")
        seen = phi(sr, "conv5_4")["conv5_4"]
        seen.backward(torch.ones_like(seen))

    def one_by_one() -> None:
        for term in terms:
            term(sr, hr).backward()
        contrastive(sr, hr, negative).backward()

    runs = {
        "trunk": trunk,
        "sum": lambda: loss(sr, hr, negative).backward(),
        "one by one": one_by_one,
    }
    for run in runs.values():
        run()
    rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]
    for name in runs:
        ratio = median(r[name] / r["trunk"] for r in rounds)
        print(f"{name:<11}{1e3 * median(r[name] for r in rounds):7.0f} CPU ms{ratio:7.2f}x trunk")


def seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
