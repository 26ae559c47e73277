"""srkit.upscale against the plain forward pass: eager, float32, contiguous, one thread, 640x360 LR.

    python benchmarks/inference.py [rounds]

CPU seconds of one process, cases in turn, medians and ratios to the plain forward pass. The layout
that wins here is each network's `memory_format`. bfloat16 is measured where the processor has it.
"""

import statistics
import sys
import time

import torch

import srkit
from srkit.devices import has_bfloat16
from srkit.inference import upscale

NETWORKS = ("rlfn_x4", "imdn_x4", "rfdn_aim_x4", "edsr_baseline_x4")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main(rounds: int = 3) -> None:
    torch.set_num_threads(1)
    bf16 = has_bfloat16(torch.device("cpu"))
    print(f"torch {torch.__version__}, bfloat16 {'' if bf16 else 'not '}in hardware\n")
    picture = torch.rand(3, 360, 640, generator=torch.Generator().manual_seed(0))
    for name in NETWORKS:
        model = srkit.create_model(name)
        default = type(model).memory_format

        def plain(model=model) -> None:
            with torch.no_grad():
                model(picture[None])

        cases = {"plain forward": plain}
        for precision in ("float32", "bfloat16")[: 1 + bf16]:
            for layout in LAYOUTS:

                def case(model=model, precision=precision, layout=layout) -> None:
                    model.memory_format = LAYOUTS[layout]
                    upscale(model, picture, precision=precision)

                cases[f"upscale {precision} {layout}"] = case
        times = {label: [] for label in cases}
        for _ in range(rounds):
            for label, case in cases.items():
                start = time.process_time()
                case()
                times[label].append(time.process_time() - start)
        base = statistics.median(times["plain forward"])
        layout = next(label for label, value in LAYOUTS.items() if value == default)
        print(f"{name} (its memory_format: {layout})")
        for label, values in times.items():
            median = statistics.median(values)
            print(f"  {label:<32}{median:7.2f} s  {base / median:5.2f}x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
