"""From a name or a file to a network with weights.

srkit's own files (`srkit.save`) say in their header how the network was made, and it is built from
that alone. Files of other people are recognised by their tensors (names and shapes), never by their
file names, and never run: `.pth` is read with PyTorch's restricted unpickler, the files of Caffe,
TensorFlow, NumPy and ncnn by `srkit.weights.foreign`. Where authors name tensors otherwise than
srkit, the paper's file has the map: `from_authors` of its network.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkit import files
from srkit.models.esrgan import sized
from srkit.models.network import Network, Wrapped
from srkit.models.zoo import ZOO, Entry, model_info
from srkit.weights import foreign

# Keys under which trainers put weights, the first one found is taken. BasicSR writes params, and
# their average over the steps of training as params_ema.
WRAPPERS = ("params_ema", "params", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def create_model(
    name: str, *, scale: int | None = None, weights: str | PathLike | None = None
) -> Network:
    """The network `name` ("rlfn_x4", or "rlfn" with scale=4), in eval mode, on the CPU.

    `weights`: None leaves PyTorch's random ones; "official" takes the authors' file, from
    SRKIT_HOME, the cache, or the network, verified; "srkit" the one trained here; another kind that
    `model_info(name)` lists takes that of others ("realsr" of esrgan_x4); or a path.

    Raises ValueError for a name or weights that are not there and for a file that does not fit.
    """
    entry = model_info(name, scale=scale)
    model = entry.build()
    if weights is not None:
        load_weights(model, file_of(entry, weights))
    return model.eval()


def load_checkpoint(path: str | PathLike) -> Network:
    """The network that a file of weights is for, with these weights, in eval mode, on the CPU.

    A file of srkit's is built as its header says, with the name and the scale that the network had
    when it was saved. Any other is taken for the network of the zoo that has its tensors, by the
    names of srkit or of the authors, or for an RRDBNet of any size and scale (Real-ESRGAN's are).
    Shapes do not show everything (a skip, an activation, the scale in some networks): unless the
    file is one that the zoo knows by its hash, a warning says what was assumed.
    `create_model(name, weights=path)` takes it for another.

    Raises ValueError for a file that is broken or fits no network, for a header that names
    something else than a network of srkit or does not fit its tensors, and for weights of a class
    of your own (`load_weights` reads them).
    """
    state, header = read(path)
    if "own_class" in header:
        raise ValueError(
            f"{path} holds weights of a class of your own, {header['own_class']}: build your "
            "network and use srkit.weights.load.load_weights(model, path)."
        )
    ours = "constructor" in header
    return (_rebuilt(path, state, header) if ours else _recognised(path, state)).eval()


def load_weights(model: nn.Module, path: str | PathLike) -> None:
    """Fill `model` from a file, srkit's or the authors'; every tensor must fit.

    Values are converted to the model's dtype. Raises ValueError, naming the network that the file
    is for, where it is known; the model is then left as it was.
    """
    state, header = read(path)
    model = model.net if isinstance(model, Wrapped) else model
    expected, own = shapes(model.state_dict()), state
    if isinstance(model, Network):
        own = _translated(state, model)
    if shapes(own) != expected:
        name = model.name if isinstance(model, Network) else type(model).__name__
        hint = difference(shapes(own), expected)
        if "constructor" in header:
            hint = f"It was saved from {_call(header)}: {hint}"
        elif ways := [f"create_model({e.family!r}, scale={e.scale})" for e in _fits(state)]:
            hint = f"This file is for {' or '.join(ways)}."
        elif other := sized(state):
            hint = f"This file is for {_made(other)}, which load_checkpoint(path) builds. {hint}"
        raise ValueError(f"{path} does not fit {name}. {hint}")
    model.load_state_dict(own)


def file_of(entry: Entry, weights: str | PathLike) -> Path:
    """The file that `weights` of `create_model` means: a kind that `entry` has, or a path.

    Raises ValueError for weights that the network has not; Unreachable, with what is known of their
    origin, for those that cannot be had.
    """
    if file := entry.weights.get(str(weights)):
        if weights == "srkit":
            return files.data_path(file.path)
        try:
            return files.fetch([file.url] if file.url else [], file.path, file.sha256)
        except files.Unreachable as error:
            about = f"\nOf the file: {file.origin}." if file.origin else ""
            raise files.Unreachable(f"{error}{about}", error.failures) from error
    if Path(weights).is_file():
        return Path(weights)
    kinds = " or ".join(map(repr, entry.weights)) or "none"
    others = [e.name for e in ZOO if e.paper == entry.paper and weights in e.weights]
    hint = f" Of the same paper, {', '.join(others)} has them." if others else ""
    raise ValueError(
        f"{entry.name} has no weights {str(weights)!r}, and no file is named so. "
        f"It has: {kinds}.{hint}"
    )


def build(
    network: Callable[..., Network], arguments: Any, scale: int, state: dict[str, Tensor]
) -> Network:
    """`network(**arguments)`, set to `scale`, with random weights, if it has tensors as in `state`.

    Raises ValueError, which says what is in the way: the constructor, or how the tensors differ. A
    scale that is not the constructor's must be one that the same tensors serve (CARN, MemNet).
    """
    try:
        model = network(**arguments)
        made = [model] if model.scale == scale else [model, network(**arguments | {"scale": scale})]
    except Exception as error:  # a constructor may fail at a strange value in any way
        raise ValueError(f"It cannot be built ({type(error).__name__}: {error}).") from error
    for one in made:
        if shapes(state) != (expected := shapes(one.state_dict())):
            raise ValueError(difference(shapes(state), expected))
    model.scale = scale
    return model


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    """The shapes of tensors, by their names."""
    return {name: tensor.shape for name, tensor in state.items()}


def difference(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> str:
    """In words, how the tensors of a file differ from those that a network expects."""
    for name, size in found.items():
        if name in expected and expected[name] != size:
            return f"{name} is {tuple(size)} in the file, {tuple(expected[name])} in the network."
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    parts = [
        f"{len(names)} tensors {what} ({', '.join(sorted(names)[:3])}{', ...' * (len(names) > 3)})"
        for names, what in ((missing, "are missing"), (extra, "are not in the network"))
        if names
    ]
    return " and ".join(parts) + "."


def _rebuilt(path: str | PathLike, state: dict[str, Tensor], header: Mapping[str, str]) -> Network:
    """The network that the header of srkit's own file describes, with the file's tensors."""
    try:
        name, scale = header["name"], int(header["scale"])
        network, arguments = _network(header["constructor"]), json.loads(header["arguments"])
    except (KeyError, ValueError) as error:
        raise _refused(path, header, f"This cannot be read: {error!r}.") from error
    if network is None:
        raise _refused(path, header, "srkit has no such network.")
    try:
        model = build(network, arguments, scale, state)
    except ValueError as error:
        raise _refused(path, header, str(error)) from error
    model.name = name
    model.load_state_dict(state)
    return model


def _network(constructor: str) -> Callable[..., Network] | None:
    """The class that a header names: only networks that srkit defines are found, and imported."""
    parts = re.fullmatch(r"(srkit\.models\.\w+):(\w+)", constructor)
    if parts is None:
        return None
    try:
        found = vars(import_module(parts[1])).get(parts[2])
    except ModuleNotFoundError:
        return None
    own = isinstance(found, type) and issubclass(found, Network) and found.__module__ == parts[1]
    return found if own else None


def _refused(path: str | PathLike, header: Mapping[str, str], why: str) -> ValueError:
    return ValueError(
        f"{path} is refused: its header says {_call(header)}, scale {header.get('scale')}. {why} "
        "srkit.weights.load.load_weights(model, path) reads its tensors into a network that you "
        "build."
    )


def _call(header: Mapping[str, str]) -> str:
    return f"{header['constructor']}({header.get('arguments', '')})"


def _recognised(path: str | PathLike, state: dict[str, Tensor]) -> Network:
    """The network of the zoo that has the tensors of a file which does not say what it is.

    Where several have them, it is the one whose weights have the file's hash, or else the first.
    """
    fits = _fits(state)
    seen = files.sha256(path)
    known = [e for e in fits if seen in (file.sha256 for file in e.weights.values())]
    model = (known or fits)[0].build() if fits else sized(state)
    if model is None:
        found, values = shapes(state), sum(tensor.numel() for tensor in state.values())
        # building all of the zoo to compare would take seconds
        alike = [e for e in ZOO if 0.1 < e.parameters / max(1, values) < 10] or ZOO
        nearest = max(alike, key=lambda e: len(found.items() & _signature(e).items()))
        raise ValueError(
            f"{path} fits no network of srkit. The nearest is {nearest.name}: "
            f"{difference(found, _signature(nearest))}"
        )
    if not known:
        others = f" (as would be {', '.join(e.name for e in fits[1:])})" if fits[1:] else ""
        warnings.warn(
            f"{path} does not say how its network was made. By the names and shapes of its tensors "
            f"it is taken for {model.name}{others}, {_made(model)}. "
            "create_model(name, weights=path) takes it for another, as does srkit convert --name.",
            stacklevel=3,
        )
    model.load_state_dict(_translated(state, model))
    return model


def _made(model: Network) -> str:
    """The call that makes such a network, in full."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in model.arguments.items())
    return f"{type(model).__module__}:{type(model).__qualname__}({arguments})"


@cache
def _signature(entry: Entry) -> dict[str, torch.Size]:
    with torch.random.fork_rng(devices=[]):  # looking takes no random numbers from the caller
        return shapes(entry.build().state_dict())


def _fits(state: dict[str, Tensor]) -> list[Entry]:
    """The lines of the zoo that `state` has the names and shapes of, ours or the authors'."""
    found = []
    for entry in ZOO:
        for own in (state, entry.network.from_authors(state, entry.scale)):
            # a network is built to compare only where the count fits; buffers add little to it
            values = sum(tensor.numel() for tensor in own.values())
            near = entry.parameters <= values <= 1.05 * entry.parameters + 64
            if near and shapes(own) == _signature(entry):
                found.append(entry)
                break
    return found


def _translated(state: dict[str, Tensor], model: Network) -> dict[str, Tensor]:
    """`state` as it is where it fits, else the authors' tensors by the network's names."""
    if shapes(state) == shapes(model.state_dict()):
        return state
    return model.from_authors(state, model.scale)


def read(path: str | PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, what trainers wrap around them taken off, and its header.

    The header is that of a .safetensors file; other files have none.

    Raises FileNotFoundError, and ValueError for a file that is broken, would run code, or holds no
    tensors or values that are not finite.
    """
    path = Path(path)
    content, header = _content(path)
    while isinstance(content, dict) and (
        keys := [key for key in WRAPPERS if isinstance(content.get(key), dict)]
    ):
        if others := " and ".join(keys[1:]):
            warnings.warn(
                f"{path} holds weights under {keys[0]} and {others}: {keys[0]} is taken.",
                stacklevel=2,
            )
        content = content[keys[0]]
    state = _tensors(path, content)
    if header.keys() & {"constructor", "own_class"}:
        return state, header
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    # batch norms of PyTorch before 0.4.1 do not count their batches; new ones start at 0
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | state, header


def _content(path: Path) -> tuple[object, dict[str, str]]:
    """What is in a file, read by the reader for its format, and its header, if it has one."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}. For a network by its name use create_model, "
            "for a list of names list_models."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".caffemodel":
        return foreign.read_caffemodel(path), {}
    if path.suffix == ".npz":
        return foreign.read_npz(path), {}
    if foreign.is_ncnn(path):
        return foreign.read_ncnn(path), {}
    if path.suffix == ".t7":
        raise ValueError(
            f"{path} is a file of Torch7, which srkit does not read. Open it where Torch7 or a "
            "reader of its files is, and save its tensors by the names and shapes of "
            "create_model(name).state_dict(), with torch.save or as .safetensors."
        )
    return (foreign.read_tensorflow if foreign.is_tensorflow(path) else _read_pickle)(path), {}


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    """`content`, if it is tensors by name with finite values."""
    state = content if isinstance(content, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"dict with {', '.join(map(str, state))}" if state else type(content).__name__
        raise ValueError(
            f"{path} holds no tensors by name, at its top or under {', '.join(WRAPPERS)}; "
            f"there is a {found}."
        )
    for name, tensor in state.items():
        check_finite(tensor, name, f"of {path} is damaged")
    return state


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise _unreadable(path) from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file shows as any of half a dozen kinds
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} is refused: to load it would run {wanted[1]}, and weights are tensors "
                "only. If you trust the file, open it where it was made and save "
                "`network.state_dict()` alone."
            ) from error
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ValueError:
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"version https://git-lfs"):
        return ValueError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull`.")
    if head.startswith(b"<"):
        return ValueError(f"{path} is a web page, not weights: look at what the address gave.")
    what = "broken, cut off, or not a file of weights" if head else "empty"
    return ValueError(f"{path} is {what}: fetch it again.")


def check_finite(tensor: Tensor, name: str, what: str) -> None:
    """Raises ValueError, "`name` `what`: ...", if a value of `tensor` is NaN or infinite."""
    if not tensor.isfinite().all():
        raise ValueError(f"{name} {what}: it holds NaN or infinite values.")
