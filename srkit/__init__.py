"""srkit: image super-resolution, one paper at a time.

The names below are the public face. Each is loaded when it is first used, so that `import srkit`
costs little more than `import torch`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_HOMES = {
    "Picture": "image.io",
    "as_model": "models.network",
    "card": "reports.card",
    "compare": "viz.compare",
    "count": "models.counting",
    "create_model": "weights.load",
    "evaluate": "metrics.evaluate",
    "explain_psnr": "metrics.explain",
    "feature_difference": "metrics.features",
    "finetune": "training.finetune",
    "imresize": "image.resize",
    "list_models": "models.zoo",
    "load_checkpoint": "weights.load",
    "lpips": "metrics.lpips",
    "mixer": "chapter.widgets",
    "model_info": "models.zoo",
    "modcrop": "image.tensors",
    "network_interpolation": "weights.interpolate",
    "networks": "weights.choose",
    "psnr": "metrics.psnr",
    "read_image": "image.io",
    "read_study": "chapter.study",
    "round_8bit": "image.tensors",
    "samples": "datasets.catalog",
    "save": "weights.save",
    "shave": "image.tensors",
    "show_source": "viz.source",
    "ssim": "metrics.ssim",
    "stepper": "chapter.widgets",
    "study": "chapter.study",
    "style": "viz.plots",
    "taps": "models.taps",
    "to_y": "image.colour",
    "train": "recipes",
    "upscale": "inference",
    "write_image": "image.io",
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
