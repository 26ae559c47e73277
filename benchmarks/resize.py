"""imresize against torch's antialiased bicubic: python benchmarks/resize.py

One thread, float32 unless said. The two are run in turn; a figure is the median over rounds of the
CPU time, or of the ratio of the two CPU times, so that a busy machine disturbs both alike.
"""

import time
from statistics import median

import torch
import torch.nn.functional as F

from srkit import imresize

CASES = [  # what, shape, output size, largest ratio wanted
    ("510x510 to a third", (1, 3, 510, 510), (170, 170), 1.3),
    ("2040x1356 to a quarter", (1, 3, 2040, 1356), (510, 339), 2.5),
    ("510x339 fourfold", (1, 3, 510, 339), (2040, 1356), 2.0),
    ("16 patches 192x192 to a quarter", (16, 3, 192, 192), (48, 48), None),
]
ROUNDS = 25


def torchs(x, size):
    return F.interpolate(x, size, mode="bicubic", antialias=True)


def srkits(x, size):
    return imresize(x, size=size)


def backward(resize):
    return lambda x, size: resize(x.detach().requires_grad_(), size).sum().backward()


def uint8(resize):
    return lambda x, size: resize((x * 255).byte(), size)


RUNS = {
    "torch": torchs,
    "srkit": srkits,
    "torch + backward": backward(torchs),
    "srkit + backward": backward(srkits),
    "srkit uint8": uint8(srkits),
}


def milliseconds(run, *arguments) -> float:
    start = time.process_time()
    run(*arguments)
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':32}   torch    srkit  srkit/torch  wanted  with backward    uint8")
    for what, shape, size, wanted in CASES:
        x = torch.rand(shape)
        rounds = [
            {name: milliseconds(run, x, size) for name, run in RUNS.items()}
            for _ in range(ROUNDS + 1)
        ][1:]  # the first one builds the matrices

        torch_ms, srkit_ms = (median(r[name] for r in rounds) for name in ("torch", "srkit"))
        ratio = median(r["srkit"] / r["torch"] for r in rounds)
        trained = median(r["srkit + backward"] / r["torch + backward"] for r in rounds)
        exact = median(r["srkit uint8"] / r["torch"] for r in rounds)
        print(
            f"{what:32}{torch_ms:5.1f} ms {srkit_ms:5.1f} ms {ratio:12.2f} {wanted or '-':>7} "
            f"{trained:14.2f} {exact:8.2f}"
        )
    print("with backward: forward and backward, srkit/torch; uint8: bit-exact srkit/float32 torch")


if __name__ == "__main__":
    main()
