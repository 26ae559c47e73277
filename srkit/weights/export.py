"""ONNX: a network as one file for other runtimes, checked against PyTorch before it is written.

Needs `pip install srkit[onnx]`. The graph takes `lr` (batch, 3, height, width) float32 in [0, 1],
any batch and size, and gives `sr`, not clipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from os import PathLike
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit import __version__, files
from srkit.image.resize import imresize

OLDEST_OPSET = 18  # that PyTorch's exporter writes
TOLERANCE = 1e-4  # largest difference between onnxruntime and PyTorch, for pictures in [0, 1]


def export_onnx(
    model: nn.Module,
    path: str | PathLike,
    *,
    opset: int | None = None,
    provenance: dict[str, str] | None = None,
) -> float:
    """Write `model` as .onnx, whole or not at all; return its largest difference to PyTorch.

    The file's metadata has name, scale and srkit's version, and what `provenance` adds. `opset`:
    ONNX's version of operators, PyTorch's choice if left out.
    Raises ValueError for networks with other inputs than the LR picture (TTSR, SFTGAN) and for an
    opset that cannot be had, RuntimeError where a package is missing or onnxruntime's pictures are
    not PyTorch's to 1e-4.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"ONNX needs a package that is not here ({error.name}): pip install 'srkit[onnx]'"
        ) from error
    parameters = signature(model.forward).parameters.values()
    _, *others = [p.name for p in parameters if "Tensor" in str(p.annotation)]
    if others:
        raise ValueError(
            f"{model.name} cannot be exported: it reads more than the LR picture "
            f"({', '.join(others)}). srkit exports networks of one input."
        )
    if opset is not None and opset < OLDEST_OPSET:
        raise ValueError(f"opset {opset}: PyTorch writes {OLDEST_OPSET} and newer")
    model = deepcopy(model).float().cpu().eval()
    example = torch.zeros(2, 3, model.min_size + 8, model.min_size + 11)
    # imresize makes a matrix for each size, and here sizes are free
    module = sys.modules[type(model).__module__]
    resize = mock.patch.object(module, "imresize", enlarger(model.scale), create=True)
    with resize, torch.no_grad():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
            opset_version=opset,
            verbose=False,
        )
    if opset not in (None, written := program.model.opset_imports[""]):
        raise ValueError(
            f"opset {opset}: {model.name} can be written with {written}, not with that"
        )
    facts = {"name": model.name, "scale": str(model.scale), "srkit": __version__}
    program.model.metadata_props.update(facts | (provenance or {}))
    graph = program.model_proto.SerializeToString()
    error = difference(graph, model)
    with files.write_whole(path) as file:
        file.write(graph)
    return error


def difference(graph: bytes, model: nn.Module) -> float:
    """Largest difference between onnxruntime and PyTorch, over random pictures of two odd sizes.

    Raises RuntimeError where it is above TOLERANCE (of the largest value, if that is above 1).
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    dice, side, largest = torch.Generator().manual_seed(0), max(model.min_size, 8) | 1, 0.0
    for size in ((1, 3, side, side + 6), (3, 3, side + 10, side + 4)):
        lr = torch.rand(size, generator=dice)
        with torch.no_grad():
            sr = model(lr)
        other = torch.from_numpy(session.run(["sr"], {"lr": lr.numpy()})[0])
        if other.shape != sr.shape:
            raise RuntimeError(
                f"{model.name} was not exported: for {tuple(size)} onnxruntime gives "
                f"{tuple(other.shape)}, PyTorch {tuple(sr.shape)}."
            )
        error = float((other - sr).abs().max())
        if not error <= TOLERANCE * max(1.0, float(sr.abs().max())):
            raise RuntimeError(
                f"{model.name} was not exported: for {tuple(size)} onnxruntime differs from "
                f"PyTorch by {error:.1e}, allowed are {TOLERANCE:.0e}."
            )
        largest = max(largest, error)
    return largest


def enlarger(scale: int) -> Callable[..., Tensor]:
    """`imresize` for bicubic enlargement of (B, C, h, w) by this whole number, of any size.

    Each pixel becomes scale x scale, and each of these places reads the 5x5 pixels around by fixed
    weights: a convolution to scale^2 channels and a pixel shuffle.
    """
    # where the middle of five pixels goes to, and what is read there: (scale, 5)
    taps = imresize(torch.eye(5, dtype=torch.float64), size=(5 * scale, 5))[2 * scale : 3 * scale]
    kernels = torch.einsum("iy,jx->ijyx", taps, taps).reshape(-1, 1, 5, 5)  # (scale^2, 1, 5, 5)

    def enlarge(x: Tensor, _: int, *, border: str = "clamp") -> Tensor:
        b, c, h, w = x.shape
        planes = x.reshape(b * c, 1, h, w)
        for axis, n in ((2, h), (3, w)):
            at = torch.arange(-2, n + 2)
            if border == "mirror":  # 1 0 | 0 1 ... n-1 | n-1 n-2
                at = torch.where(at < 0, -1 - at, torch.where(at < n, at, 2 * n - 1 - at))
            planes = planes.index_select(axis, at.clamp(0, n - 1))
        planes = F.pixel_shuffle(F.conv2d(planes, kernels.to(x)), scale)  # (BC, 1, rh, rw)
        return planes.reshape(b, c, scale * h, scale * w)

    return enlarge
