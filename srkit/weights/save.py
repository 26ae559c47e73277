"""From a network to a file of weights, which says in its header how the network was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkit import __version__, files
from srkit.checks import expanded
from srkit.models.network import Network, Wrapped, check_network
from srkit.models.zoo import ZOO
from srkit.weights.load import build, check_finite, create_model, load_checkpoint, read


def save(
    model: Network,
    path: str | PathLike,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a network as `.safetensors`, whole or not at all; `load_checkpoint` builds it again.

    The header has, in this order: format, name, scale, the constructor
    ("srkit.models.rlfn:RLFN") and its arguments as JSON, and `provenance` as JSON, what is to be
    known of how the weights came to be. Of a network of your own (`as_model`, or a subclass of
    `Network` outside srkit) it has `own_class` instead: build it yourself, and `load_weights` reads
    the file. The same network gives the same bytes.
    dtype: floating-point tensors are converted to it; torch.float16 halves the file.

    Raises ValueError for another suffix, for values that are not finite (in `dtype`), and for a
    network that its constructor does not make any more; TypeError for what is no `Network` and for
    arguments or provenance that JSON cannot hold. Nothing is written then.
    """
    model = check_network(model)
    state = _stored(_net(model).state_dict(), path, dtype)
    header = {"name": model.name, "scale": str(model.scale)} | _made_by(model, state)
    _write(state, path, header, provenance)


def check_savable(model: Network) -> None:
    """Refuse what `save` would refuse, before a training is spent on it.

    Raises what `save` raises.
    """
    state = _net(check_network(model)).state_dict()
    for name, tensor in state.items():
        check_finite(tensor, name, "cannot be saved")
    _made_by(model, state)


def save_tensors(
    tensors: Mapping[str, Tensor],
    path: str | PathLike,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write tensors that are no network, such as those of discriminators, as `save` does.

    The header has `provenance` alone. Raises what `save` raises.
    """
    _write(_stored(tensors, path, dtype), path, {}, provenance)


def convert(source: str | PathLike, target: str | PathLike, *, name: str | None = None) -> Path:
    """Write the weights of a file that `load_checkpoint` reads as srkit's own; return `target`.

    `name` ("idn_x3") says which network, where the file does not. The header's provenance tells
    the file they come from (`origin`), the paper, the version of srkit, and what was translated.

    Raises ValueError for a file that fits no network, or not the one that is named.
    """
    model = create_model(name, weights=Path(source)) if name else load_checkpoint(source)
    state, header = read(source)
    same = state.keys() & model.state_dict().keys()
    entries = [e for e in ZOO if e.constructor == _constructor(type(model))]
    paper = next((e for e in entries if e.name == model.name), entries[0]).paper
    provenance = origin(source) | {
        "paper": f"{paper.title}, {paper.venue} {paper.year}",
        "srkit": __version__,
        "translated": f"{len(same)} of {len(state)} tensors have the same name there and here",
    }
    if "provenance" in header:
        provenance["the source's provenance"] = header["provenance"]
    save(model, target, provenance=provenance)
    return expanded(target)


def origin(path: str | PathLike) -> dict[str, str]:
    """What is to be known of a file of weights: name, SHA-256, and what the zoo knows of it.

    That is the licence, and who trained it where it was not the paper's authors. Of the two files
    of ncnn it is the one with the numbers.
    """
    path = expanded(path)
    path = path.with_suffix(".bin") if path.suffix == ".param" else path
    seen = files.sha256(path)
    known = [file for e in ZOO for file in e.weights.values() if file.sha256 == seen]
    facts = {"source": path.name, "sha256": seen, "licence": "not known"}
    if known:
        facts["licence"] = known[0].licence
    if known and known[0].origin:
        facts["origin"] = known[0].origin
    return facts


def _net(model: Network) -> nn.Module:
    """What the tensors are of: of a wrapped module, the module."""
    return model.net if isinstance(model, Wrapped) else model


def _stored(
    tensors: Mapping[str, Tensor], path: str | PathLike, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The tensors as they will lie in the file; refuses what cannot be stored."""
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: weights are saved as .safetensors, choose such a name.")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype {dtype}: weights are saved as floating-point numbers")
    state = {}
    for name, tensor in tensors.items():
        kind = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        # a copy: safetensors refuses tensors that share memory
        state[name] = tensor.to("cpu", kind, copy=True, memory_format=torch.contiguous_format)
        check_finite(state[name], name, "cannot be saved" + (f" as {dtype}" if dtype else ""))
    return state


def _write(
    state: dict[str, Tensor],
    path: str | PathLike,
    header: Mapping[str, str],
    provenance: Mapping[str, Any] | None,
) -> None:
    said = {"provenance": json.dumps(_plain(provenance or {}, "provenance"))}
    data = _serialised(state, {"format": "pt"} | dict(header) | said)
    with files.write_whole(path) as file:
        file.write(data)


def _made_by(model: Network, state: dict[str, Tensor]) -> dict[str, str]:
    """The part of the header that says how the network was made."""
    if isinstance(model, Wrapped):
        return {"own_class": _constructor(type(model.net))}
    made = _constructor(type(model))
    if not made.startswith("srkit.models."):
        return {"own_class": made}
    arguments = {
        name: _plain(value, f"{made}'s argument {name}") for name, value in model.arguments.items()
    }
    try:
        with torch.random.fork_rng(devices=[]):  # saving takes no random numbers from the caller
            build(type(model), arguments, model.scale, state)
    except ValueError as error:
        raise ValueError(
            f"{model.name} cannot be saved: it was changed since {made} made it with {arguments}, "
            f"scale {model.scale}. {error} Make it a class of your own, a subclass of Network."
        ) from error
    return {"constructor": made, "arguments": json.dumps(arguments)}


def _constructor(network: type) -> str:
    return f"{network.__module__}:{network.__qualname__}"


def _plain(value: object, what: str) -> Any:
    """`value` as JSON has it, tuples as lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, what) for key, item in value.items()}
    raise TypeError(
        f"{what} cannot be saved: {value!r} is none of what JSON holds, numbers, texts, None, and "
        "lists and dictionaries of them"
    )


def _serialised(state: dict[str, Tensor], header: dict[str, str]) -> bytes:
    """The bytes of a .safetensors file. safetensors' own writer puts the header in random order."""
    from safetensors.torch import save as to_bytes

    data = to_bytes(state)
    start = 8 + int.from_bytes(data[:8], "little")
    text = json.dumps({"__metadata__": header} | json.loads(data[8:start]), separators=(",", ":"))
    text = text.encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[start:]
