"""A stand-in for a GPU, on a machine that has none: tensors of "cuda" that have all but numbers.

torch's FakeTensorMode knows of each tensor the shape, the type and the device, and refuses to mix
devices, as a GPU does. `StandIn` adds what it leaves open, `gpu` what torch wants a real GPU for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._pytree import tree_leaves

from srkit import devices

CUDA = torch.device("cuda", 0)
A_NUMBER = 0.25
ValueNeeded = DataDependentOutputException  # a value is asked for: here the stand-in ends


class StandIn(FakeTensorMode):
    """FakeTensorMode with three more rules.

    - number: what a tensor on the GPU says that is asked for its value (a flag: True). None refuses
      with `ValueNeeded`, also to copy it to the CPU: it shows where the CPU would wait for the GPU.
      Tensors on the CPU say `A_NUMBER`.
    - A generator of random numbers must be on the device that it fills.
    - float64=False refuses float64 on the device, as Apple's MPS does.
    """

    def __init__(self, number: float | None = None, float64: bool = True):
        super().__init__()
        self.number, self.float64, self.depth = number, float64, 0

    def __deepcopy__(self, memo: dict) -> StandIn:
        """Itself: the copy of a tensor, as for an average of weights, is on the same GPU."""
        return self

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._pin_memory.default:  # without numbers there are no pages
            return args[0]
        if func is torch.ops.aten._local_scalar_dense.default and args[0].constant is None:
            number = A_NUMBER if args[0].device.type == "cpu" else self.number
            if number is not None:
                return {torch.bool: bool, torch.int64: int}.get(args[0].dtype, float)(number)
        if func is torch.ops.aten._to_copy.default and self.number is None and not self.depth:
            there = torch.device(kwargs.get("device") or args[0].device)
            if there.type == "cpu" != args[0].device.type:
                raise ValueNeeded(func)
        self.depth += 1
        try:
            made = super().dispatch(func, types, args, kwargs)
        finally:
            self.depth -= 1
        filled_by = kwargs.get("generator")
        for x in tree_leaves(made) if not self.depth else ():  # not what an operator is made of
            if isinstance(x, Tensor):
                if filled_by is not None and filled_by.device.type != x.device.type:
                    raise RuntimeError(f"{x.device} is filled by a generator on {filled_by.device}")
                if x.dtype == torch.float64 and x.device.type != "cpu" and not self.float64:
                    raise RuntimeError(f"{func}: this device has no float64")
        return made


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: object = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    **more: object,
) -> None:
    """torch.autograd.backward of one loss, see `_gradients`."""
    (loss,) = [tensors] if isinstance(tensors, Tensor) else tensors
    _gradients(loss, create_graph, ())


def grad(
    outputs: Tensor,
    inputs: Tensor | Sequence[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """torch.autograd.grad, see `_gradients`."""
    wanted = [inputs] if isinstance(inputs, Tensor) else [*inputs]
    found = _gradients(outputs, create_graph, wanted)
    assert allow_unused or None not in found
    return tuple(found)


def _gradients(loss: Tensor, create_graph: bool, wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """Walk the graph that autograd recorded, from the loss to the leaves, calling its own nodes.

    torch's engine does the same, but asks a real GPU for its streams first. As there, a gradient
    takes the shape and the type of what it belongs to, and must be on its device. Without `wanted`
    the leaves get a `grad`.
    """
    ends = {}  # (node, number of its output): whose gradient arrives there
    for x in wanted:
        node = x.grad_fn or torch.autograd.graph.get_gradient_edge(x).node
        ends[node, x.output_nr] = x
    waiting, nodes = defaultdict(int), [loss.grad_fn]
    for node in nodes:  # grows: every node once
        for after, _ in node.next_functions:
            if after is not None:
                if not waiting[after]:
                    nodes.append(after)
                waiting[after] += 1
    arrived: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    arrived[loss.grad_fn][loss.output_nr] = torch.ones_like(loss)
    ready, found = [loss.grad_fn], {}
    with torch.set_grad_enabled(create_graph):
        while ready:
            node = ready.pop()
            got = arrived.pop(node, {})
            found |= {place: got.get(place[1]) for place in ends if place[0] is node}
            leaf = hasattr(node, "variable")
            given: Any = ()
            if got and not (leaf and wanted):
                given = node(*(got.get(k) for k in range(len(node._input_metadata))))
            given = given if isinstance(given, tuple) else (given,)
            for k, (after, place) in enumerate(node.next_functions):
                if after is None:
                    continue
                if k < len(given) and given[k] is not None:
                    of, value = after._input_metadata[place], given[k]
                    assert value.device == of.device, f"{node.name()}: {value.device}, {of.device}"
                    value = value.sum_to_size(of.shape).to(of.dtype)
                    before = arrived[after].get(place)
                    arrived[after][place] = value if before is None else before + value
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)
    return [found.get((node, number)) for node, number in ends]


def move(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """In place of nn.Module._apply, which cannot exchange such tensors: to(device), to(dtype)."""
    for child in module.children():
        move(child, fn)
    for held in (module._parameters, module._buffers):
        for name, old in held.items():
            if old is None:
                continue
            with torch.no_grad():
                new = fn(old)
            if (new.device, new.dtype) != (old.device, old.dtype):
                learned = isinstance(old, nn.Parameter)
                held[name] = nn.Parameter(new, old.requires_grad) if learned else new
    return module


@contextmanager
def gpu(number: float | None = None, *, float64: bool = True) -> Iterator[None]:
    """Within it there is a GPU with bfloat16. All is made on it that is not told another device.

    Arguments are those of `StandIn`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "backward", backward)
        patch.setattr(torch.autograd, "grad", grad)
        patch.setattr(nn.Module, "_apply", move)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        if not float64:
            patch.setattr(devices, "NO_FLOAT64", ("cuda",))
        with StandIn(number, float64), torch.device("cuda"):
            yield
