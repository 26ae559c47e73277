"""Print the oldest versions that pyproject.toml allows: python tools/oldest.py torch torchvision

As pip takes them: "torch==2.11.* torchvision==0.26.*".
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def oldest(name: str) -> str:
    """The lower bound of a dependency of srkit's, as a requirement of just that version."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for line in (*project["dependencies"], *(line for extra in extras for line in extra)):
        if found := re.fullmatch(rf"{re.escape(name)}(?:\[.*\])?>=([\d.]+).*", line):
            return f"{name}=={found[1]}.*"
    raise SystemExit(f"pyproject.toml has no lower bound for {name}")


if __name__ == "__main__":
    print(*map(oldest, sys.argv[1:]))
