"""srkit's SSIM against scikit-image's, on the same Y planes: python benchmarks/ssim.py

One thread. All are run in turn: CPU ms are medians over the rounds, ratios medians of each round's
own ratio. srkit's time includes its checks and the conversion to Y; scikit-image is given Y. Goal:
srkit's float32 at least 1.7 times as fast as scikit-image's float64, and within 1e-6 of it.
"""

import time
from statistics import median

import torch
from skimage.metrics import structural_similarity

from srkit import ssim, to_y

SIZES = [(504, 504), (1356, 2040)]  # H, W
ROUNDS = 15


def main() -> None:
    torch.set_num_threads(1)
    for height, width in SIZES:
        generator = torch.Generator().manual_seed(0)
        hr = torch.rand(3, height, width, generator=generator)
        sr = (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
        runs = {}
        for dtype in (torch.float64, torch.float32):
            y = [to_y(x.double())[0].to(dtype).numpy() for x in (sr, hr)]
            runs[f"scikit-image {dtype}"] = lambda y=y: structural_similarity(
                *y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            runs[f"srkit {dtype}"] = lambda dtype=dtype, sr=sr, hr=hr: ssim(
                sr, hr, on="y", shave=0, dtype=dtype
            )
        values = {name: float(run()) for name, run in runs.items()}
        rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]

        reference, *others = runs
        print(f"{height}x{width:<22} CPU ms   faster than {reference}   difference")
        for name in (reference, *others):
            ratio = median(r[reference] / r[name] for r in rounds)
            milliseconds = 1e3 * median(r[name] for r in rounds)
            difference = values[name] - values[reference]
            print(f"  {name:<26}{milliseconds:6.1f}{ratio:14.2f}x{difference:34.0e}")


def seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
