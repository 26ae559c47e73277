"""srkit: image super-resolution, one paper at a time.

The names below are the public face. Each is loaded when it is first used, so that `import srkit`
costs little more than `import torch`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_HOMES = {
    "Picture": "images",
    "card": "training.cards",
    "compare": "viz.compare",
    "count": "models.counting",
    "create_model": "weights",
    "evaluate": "evaluation",
    "explain_psnr": "metrics",
    "feature_difference": "features",
    "imresize": "resize",
    "list_models": "models.zoo",
    "load_checkpoint": "weights",
    "lpips": "metrics",
    "mixer": "viz.widgets",
    "model_info": "models.zoo",
    "modcrop": "images",
    "network_interpolation": "interpolate",
    "psnr": "metrics",
    "read_image": "images",
    "read_study": "viz.study",
    "round_8bit": "images",
    "samples": "datasets.catalog",
    "shave": "images",
    "show_source": "viz.source",
    "ssim": "metrics",
    "stepper": "viz.widgets",
    "study": "viz.study",
    "style": "viz.plots",
    "taps": "hooks",
    "to_y": "images",
    "train": "recipes",
    "upscale": "inference",
    "write_image": "images",
}

__all__ = ["__version__", *_HOMES]

try:
    __version__ = version("srkit")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'srkit' has no attribute {name!r}")
    value = getattr(import_module(f"srkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
