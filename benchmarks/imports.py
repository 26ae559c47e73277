"""What `import srkit` costs beside `import torch`: a ratio of CPU times, goal at most 1.2.

    python benchmarks/imports.py [rounds]

Fresh interpreters, the two cases in turn, after one round that warms the file cache.
"""

import resource
import statistics
import subprocess
import sys

CASES = ("import torch", "import torch, srkit")


def seconds(code: str) -> float:
    """CPU seconds, user and system, of a fresh interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: int = 7) -> None:
    times = [[seconds(code) for code in CASES] for _ in range(rounds + 1)][1:]
    for code, column in zip(CASES, zip(*times, strict=True), strict=True):
        print(f"{code:<22}{statistics.median(column):6.2f} CPU s")
    print(f"ratio {statistics.median(b / a for a, b in times):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
