"""srkit: image super-resolution, one paper at a time.

The names below are the public face. Each is loaded when it is first used, so that `import srkit`
costs little more than `import torch`.
"""

import ast
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# {"upscale": "srkit.inference", ..., "losses": "srkit", ...}: the imports of __init__.pyi, which
# tells editors and type checkers the same
_HOMES = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = ["__version__", *_HOMES]

try:
    __version__ = version("srkit")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'srkit' has no attribute {name!r}")
    if _HOMES[name] == "srkit":
        return import_module(f"srkit.{name}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
