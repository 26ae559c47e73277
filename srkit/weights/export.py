"""A network as a graph for other programs: torch.export's, and ONNX, checked before it is written.

ONNX needs `pip install srkit[onnx]`. A graph takes `lr` (batch, 3, height, width) float32 in
[0, 1], any batch and size, and gives `sr`, not clipped. An ONNX file that holds two networks takes
`alpha`, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx.experimental import _config as fx

from srkit import __version__, files
from srkit.models.network import Network, check_network
from srkit.weights.interpolate import network_interpolation

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 18  # that PyTorch's exporter writes
TOLERANCE = 1e-4  # largest difference between onnxruntime and PyTorch, for pictures in [0, 1]


def export_program(model: Network, *others: Tensor) -> ExportedProgram:
    """`model` as torch.export has it, for any batch and size; `torch.export.save` writes it.

    The program takes LR (B, 3, h, w) float32 on the CPU and gives what the network gives, not
    clipped: `program.module()(lr)`. The network itself stays as it is.

    others: an example of each further input, whose sizes are free too. SFTGAN's prior for the LR
        picture of 9 x 12 pixels that is exported with. Left out, it is as the network has it then,
        and no input: SFTGAN's prior is the background.

    Raises TypeError for what is no `Network`; RuntimeError, in one sentence, where torch.export
    cannot follow the network for pictures of any size (TTSR's attention).
    """
    model = deepcopy(check_network(model)).float().cpu().eval()
    dim, least = torch.export.Dim, model.min_size
    lr = {0: dim("batch"), 2: dim("height", min=least), 3: dim("width", min=least)}
    if others:  # a named size may not depend on another, and a further input's does
        lr = {0: dim.DYNAMIC, 2: dim.DYNAMIC(min=least), 3: dim.DYNAMIC(min=least)}
    more = (dict.fromkeys((0, *range(2, x.dim())), dim.DYNAMIC) for x in others)
    try:
        # as PyTorch's own ONNX exporter: a side of 1 somewhere inside is a side as any other
        with torch.no_grad(), fx.patch(backed_size_oblivious=True):  # pyright: ignore
            inputs = (_example(model), *others)
            return torch.export.export(model, inputs, dynamic_shapes=(lr, *more))
    except Exception as error:  # of many kinds, and long
        raise _refusal(model, error) from error


def export_onnx(
    model: Network,
    path: str | PathLike,
    *,
    opset: int | None = None,
    provenance: dict[str, str] | None = None,
) -> float:
    """Write `model` as .onnx, whole or not at all; return its largest difference to PyTorch.

    The file's metadata has name, scale and srkit's version, and what `provenance` adds. `opset`:
    ONNX's version of operators, PyTorch's choice if left out.

    Raises TypeError for what is no `Network` (see `srkit.as_model`); ValueError for networks with
    other inputs than the LR picture (TTSR, SFTGAN) and for an opset that cannot be had;
    RuntimeError where a package is missing, where torch.export cannot follow the network, or
    onnxruntime's pictures are not PyTorch's to 1e-4.
    """
    model = check_network(model)
    graph = _exported(model, opset, provenance or {}).SerializeToString()
    error = difference(graph, model)
    with files.write_whole(path) as file:
        file.write(graph)
    return error


def export_between(
    a: Network,
    b: Network,
    path: str | PathLike,
    *,
    opset: int | None = None,
    provenance: dict[str, str] | None = None,
) -> float:
    """Write two trainings of one network as one .onnx that mixes their weights as it is asked.

    Its second input `alpha`, a single float32 in [0, 1], makes the weights (1 - alpha) a + alpha b:
    `network_interpolation` (ESRGAN, section 3.4), at the speed of one network. Both ends are kept
    in float16 where that is exact (weights that `srkit` ships), else in float32. Returns the
    largest difference to PyTorch, at 0, at 1/2 and at 1.

    Raises what `network_interpolation` and `export_onnx` raise.
    """
    from onnx import TensorProto, helper, numpy_helper

    network_interpolation(a, b, 0.0)  # refuses what does not match
    graphs = [_exported(model, opset, provenance or {}) for model in (a, b)]
    ends = [{w.name: w for w in graph.graph.initializer} for graph in graphs]
    proto, graph = graphs[0], graphs[0].graph
    mixing, kept = [], []
    for name, first in ends[0].items():
        w0, w1 = (numpy_helper.to_array(w) for w in (first, ends[1][name]))
        if w0.dtype != np.float32 or np.array_equal(w0, w1):
            kept.append(first)
            continue
        half = all(np.array_equal(w, w.astype(np.float16)) for w in (w0, w1))
        for end, w in (("a", w0), ("b", w1)):
            stored = f"{name}.{end}.stored" if half else f"{name}.{end}"
            kept.append(numpy_helper.from_array(w.astype(np.float16) if half else w, stored))
            if half:
                wide = helper.make_node("Cast", [stored], [f"{name}.{end}"], to=TensorProto.FLOAT)
                mixing.append(wide)
        steps = (("Mul", f"{name}.a", "1-alpha"), ("Mul", f"{name}.b", "alpha"))
        for kind, end, share in steps:
            mixing.append(helper.make_node(kind, [end, share], [f"{end}.part"]))
        mixing.append(helper.make_node("Add", [f"{name}.a.part", f"{name}.b.part"], [name]))
    one = numpy_helper.from_array(np.array(1, np.float32), "one")
    mixing.insert(0, helper.make_node("Sub", ["one", "alpha"], ["1-alpha"]))
    nodes = [*mixing, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, one])
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("alpha", TensorProto.FLOAT, []))
    data, error = proto.SerializeToString(), 0.0
    for alpha in (0.0, 0.5, 1.0):
        model = network_interpolation(a, b, alpha)
        error = max(error, difference(data, model, {"alpha": np.array(alpha, np.float32)}))
    with files.write_whole(path) as file:
        file.write(data)
    return error


def _exported(model: Network, opset: int | None, provenance: Mapping[str, str]) -> ModelProto:
    """The network as a graph of ONNX, with what is to be known of it."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"ONNX needs a package that is not here ({error.name}): pip install 'srkit[onnx]'"
        ) from error
    _, *more = signature(model.forward).parameters.values()
    if others := [p.name for p in more if "Tensor" in str(p.annotation)]:
        raise ValueError(
            f"{model.name} cannot be exported: it reads more than the LR picture "
            f"({', '.join(others)}). srkit exports networks of one input."
        )
    if opset is not None and opset < OLDEST_OPSET:
        raise ValueError(f"opset {opset}: PyTorch writes {OLDEST_OPSET} and newer")
    model = deepcopy(model).float().cpu().eval()
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                model,
                (_example(model),),
                dynamo=True,
                input_names=["lr"],
                output_names=["sr"],
                dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
                opset_version=opset,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _refusal(model, error.__cause__ or error) from error
    assert program is not None  # as dynamo exports
    if opset not in (None, written := program.model.opset_imports[""]):
        raise ValueError(
            f"opset {opset}: {model.name} can be written with {written}, not with that"
        )
    facts = {"name": model.name, "scale": str(model.scale), "srkit": __version__}
    program.model.metadata_props.update(facts | dict(provenance))
    return program.model_proto


def _example(model: Network) -> Tensor:
    """What is exported with: sides that differ, and are none of the sizes inside."""
    return torch.zeros(2, 3, model.min_size + 8, model.min_size + 11, device="cpu")


def _refusal(model: Network, error: BaseException) -> RuntimeError:
    reason = str(error).strip().splitlines()[0]
    return RuntimeError(f"{model.name} cannot be exported for pictures of any size: {reason}")


def difference(
    graph: bytes, model: Network, inputs: Mapping[str, np.ndarray] = MappingProxyType({})
) -> float:
    """Largest difference between onnxruntime and PyTorch, over random pictures of two odd sizes.

    inputs: what the graph takes beside `lr`.

    Raises RuntimeError where it is above TOLERANCE (of the largest value, if that is above 1).
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    dice, side, largest = torch.Generator().manual_seed(0), max(model.min_size, 8) | 1, 0.0
    for size in ((1, 3, side, side + 6), (3, 3, side + 10, side + 4)):
        lr = torch.rand(size, generator=dice, device="cpu")
        with torch.no_grad():
            sr = model(lr)
        other = torch.from_numpy(session.run(["sr"], {"lr": lr.numpy(), **inputs})[0])
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
