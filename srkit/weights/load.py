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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkit import files
from srkit.checks import expanded
from srkit.models.esrgan import sized
from srkit.models.network import Network, Wrapped
from srkit.models.zoo import ZOO, Entry, model_info
from srkit.weights import foreign
from srkit.weights.choose import at_once
from srkit.weights.formats import format_of

# Under what trainers put the weights of the network that makes pictures; the first one found is
# taken. BasicSR writes params, and their average over the steps of training as params_ema. The
# endings _state_dict, _weights and _params, and capitals, make no difference.
WRAPPERS = (
    "params_ema", "net_g_ema", "generator_ema", "g_ema", "model_ema", "ema", "shadow",
    "params", "state_dict", "model", "net_g", "netg", "generator", "gen", "g", "network", "net",
    "weights",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
EXPANDED = 2**28  # bytes that tensors may have, of which a file holds fewer and repeats them
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def create_model(
    name: str, *, scale: int | None = None, weights: str | PathLike | None = None
) -> Network:
    """The network `name` ("rlfn_x4", or "rlfn" with scale=4), in eval mode, on the CPU.

    A name of recipe and variant ("esrgan/psnr") is the network of a run that srkit ships, with that
    run's weights; `srkit.networks(trained=True)` lists them with their figures.

    `weights`: None leaves PyTorch's random ones (of a shipped run: its own); "official" takes the
    authors' file, from SRKIT_HOME, the cache, or the network, verified; "srkit" the one trained
    here; another kind that `model_info(name)` lists takes that of others ("realsr" of esrgan_x4);
    or a path.

    Raises ValueError for a name or weights that are not there and for a file that does not fit.
    """
    entry = model_info(name, scale=scale)
    model = entry.build()
    if weights is None and entry.run:
        weights = "srkit"
    if weights is not None:
        load_weights(model, file_of(entry, weights))
    return model.eval()


def load_checkpoint(path: str | PathLike, *, scale: int | None = None) -> Network:
    """The network that a file of weights is for, with these weights, in eval mode, on the CPU.

    A file of srkit's is built as its header says, with the name and the scale that the network had
    when it was saved. Any other is taken for the network of the zoo that has its tensors, by the
    names of srkit or of the authors, or for an RRDBNet of any size and scale (Real-ESRGAN's are).
    Shapes do not show everything (a skip, an activation, the scale in some networks): unless the
    file is one that the zoo knows by its hash, a warning says what was assumed.
    `create_model(name, weights=path)` takes it for another.

    scale: the one that is meant, where a file serves several (CARN's, MemNet's); None takes the one
    it was saved with, or the smallest.

    Raises ValueError for a file that is broken, fits no network or has not that scale, for a header
    that names something else than a network of srkit or does not fit its tensors, and for weights
    of a class of your own (`load_weights` reads them).
    """
    state, header = read(path)
    if "own_class" in header:
        raise ValueError(
            f"{path} holds weights of a class of your own, {header['own_class']}: build your "
            "network and use srkit.weights.load.load_weights(model, path)."
        )
    recognised = "constructor" not in header
    model = _recognised(path, state, scale) if recognised else _rebuilt(path, state, header, scale)
    model.loaded = Path(path).name
    return model.eval()


def load_weights(model: nn.Module, path: str | PathLike) -> None:
    """Fill `model` from a file, srkit's or the authors'; every tensor must fit.

    Values are converted to the model's dtype. Raises ValueError, naming the network that the file
    is for, where it is known; the model is then left as it was.
    """
    state, header = read(path)
    given, model = model, model.net if isinstance(model, Wrapped) else model
    expected, own = shapes(model.state_dict()), state
    if isinstance(model, Network):
        own = _translated(state, model)
    if shapes(own) != expected:
        name = model.name if isinstance(model, Network) else type(model).__name__
        hint = difference(shapes(own), expected)
        if "constructor" in header:
            hint = f"It was saved from {_call(header)}: {hint}"
        elif ways := [
            f"create_model({e.family!r}, scale={e.scale})"
            for view, _ in _views(state)
            for e in _fits(view)
        ]:
            hint = f"This file is for {' or '.join(ways)}."
        elif other := next(filter(None, (sized(view) for view, _ in _views(state))), None):
            hint = f"This file is for {_made(other)}, which load_checkpoint(path) builds. {hint}"
        raise ValueError(f"{path} does not fit {name}. {hint}")
    model.load_state_dict(own)
    if isinstance(given, Network):
        given.loaded = Path(path).name


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
            if instead := at_once(entry.scale):
                about += f"\n{instead}"
            raise files.Unreachable(f"{error}{about}", error.failures) from error
    if (path := expanded(weights)).is_file():
        return path
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


def _rebuilt(
    path: str | PathLike, state: dict[str, Tensor], header: Mapping[str, str], asked: int | None
) -> Network:
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
    if asked not in (None, scale):
        try:
            model = build(network, arguments, asked, state)
        except ValueError as error:
            raise ValueError(
                f"{path} holds weights for x{scale}, not for x{asked}: {_call(header)} at that "
                "scale has other tensors."
            ) from error
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


def _recognised(path: str | PathLike, state: dict[str, Tensor], scale: int | None) -> Network:
    """The network of the zoo that has the tensors of a file which does not say what it is.

    Where several have them, it is the one whose weights have the file's hash, or else the first.
    scale: the one that is meant, where the same tensors serve several.
    """
    tried = ((view, taken, _fits(view), sized(view)) for view, taken in _views(state))
    found = next(
        ((v, taken, fits, other) for v, taken, fits, other in tried if fits or other), None
    )
    if found is None:
        raise ValueError(f"{path} fits no network of srkit. {_nearest(state)}")
    view, taken, fits, other = found
    seen = files.sha256(path)
    scales = {e.scale for e in fits} | ({other.scale} if other else set())
    if scale not in {None, *scales}:
        has = " and ".join(f"x{one}" for one in sorted(scales))
        raise ValueError(f"{path} holds weights for {has}, not for x{scale}.")
    fits = [e for e in fits if scale in (None, e.scale)]
    known = [e for e in fits if seen in (file.sha256 for file in e.weights.values())]
    model = (known or fits)[0].build() if fits else other
    assert model is not None  # of the scale that is asked for there is a line of the zoo, or other
    if not known:
        others = f" (as would be {', '.join(e.name for e in fits[1:])})" if fits[1:] else ""
        left = len(state) - len(view)
        part = f" Of its tensors, {left} that do not begin with {taken} are left out." * bool(left)
        warnings.warn(
            f"{path} does not say how its network was made. By the names and shapes of its tensors "
            f"it is taken for {model.name}{others}, {_made(model)}.{part} "
            "create_model(name, weights=path) takes it for another, as does srkit convert --name.",
            stacklevel=3,
        )
    model.load_state_dict(_translated(view, model))
    return model


def _nearest(state: dict[str, Tensor]) -> str:
    """In words, the network that most tensors of a file are of, and how the others differ."""
    values = sum(tensor.numel() for tensor in state.values())
    # building all of the zoo to compare would take seconds
    alike = [e for e in ZOO if 0.1 < e.parameters / max(1, values) < 10]
    alike = alike or sorted(ZOO, key=lambda e: abs(e.parameters - values))[:8]
    best = max(
        ((len(shapes(view).items() & _signature(e).items()), -k, e, view)
         for k, e in enumerate(alike) for view, _ in _views(state)),
        key=lambda found: found[:2],
    )  # fmt: skip
    *_, entry, view = best
    return f"The nearest is {entry.name}: {difference(shapes(view), _signature(entry))}"


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


def _views(state: dict[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], str]]:
    """`state`, and what it may be instead, each with the beginning of the names that was taken off.

    First what is left when all names begin with the same part ("generator.conv.weight"); then each
    of several networks in one file ("generator.conv.weight" beside "discriminator.conv.weight").
    """
    yield state, ""
    taken = ""
    while len(firsts := _parts(state)) == 1 and (first := next(iter(firsts))):
        state, taken = firsts[first], f"{taken}{first}."
        yield state, taken
    whole = sum(tensor.numel() for tensor in state.values())
    for first, part in firsts.items():
        if first and sum(tensor.numel() for tensor in part.values()) > 0.05 * whole:
            yield part, f"{taken}{first}."


def _parts(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by what their names begin with, and "": those whose names have one part."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        parts.setdefault(first if rest else "", {})[rest or name] = tensor
    return parts


def _translated(state: dict[str, Tensor], model: Network) -> dict[str, Tensor]:
    """`state` as it is where it fits, else the authors' tensors by the network's names.

    Where neither fits, but a part of the file does (`_views`), it is that part.
    """
    expected = shapes(model.state_dict())
    for view, _ in _views(state):
        for own in (view, model.from_authors(view, model.scale)):
            if shapes(own) == expected:
                return own
    return model.from_authors(state, model.scale)


def read(path: str | PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, what trainers wrap around them taken off, and its header.

    The header is that of a .safetensors file; other files have none.

    Raises FileNotFoundError, PermissionError, `srkit.files.Damaged` (a ValueError) for a file that
    is broken, and ValueError for one that would run code, or holds no tensors or values that are
    not finite.
    """
    path = expanded(path)
    content, header = _content(path)
    state = _tensors(path, _unwrapped(path, content))
    if header.keys() & {"constructor", "own_class"}:
        return state, header
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    # batch norms of PyTorch before 0.4.1 do not count their batches; new ones start at 0
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    counts = {f"{norm}num_batches_tracked": torch.tensor(0, device="cpu") for norm in norms}
    return counts | state, header


def _content(path: Path) -> tuple[object, dict[str, str]]:
    """What is in a file, read by the reader for its format, and its header, if it has one."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}. For a network by its name use create_model, "
            "for a list of names list_models."
        )
    try:
        kind = format_of(path)
    except PermissionError:
        raise PermissionError(
            f"{path} may not be read by this user: allow it (chmod u+r), or copy the file."
        ) from None
    if kind == "safetensors":
        return _read_safetensors(path)
    readers = {
        "pytorch": _read_pickle, "npz": foreign.read_npz, "caffe": foreign.read_caffemodel,
        "tensorflow": foreign.read_tensorflow, "ncnn": foreign.read_ncnn,
    }  # fmt: skip
    return readers[kind](path), {}


def _unwrapped(path: Path, content: object) -> object:
    """What trainers wrap around tensors by name taken off: dictionaries in dictionaries."""
    outer = []
    while isinstance(content, dict) and not any(isinstance(v, Tensor) for v in content.values()):
        if any(content is one for one in outer):
            raise ValueError(f"{path} holds no tensors by name: a dictionary in it holds itself.")
        outer.append(content)
        inner = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, dict)}
        known = {_plain_key(key): key for key in reversed(inner)}
        keys = [known[key] for key in WRAPPERS if key in known]
        keys = keys or [key for key, value in inner.items() if _has_tensors(value)]
        keys = keys or [key for key, value in inner.items() if value] * (len(inner) == 1)
        if not keys:
            break
        first, *others = keys
        if others and _plain_key(first) not in WRAPPERS:
            raise ValueError(
                f"{path} holds tensors under {_listed(keys)}: save the ones you want by "
                "themselves, torch.save(torch.load(path)[key], 'weights.pth')."
            )
        if others := [key for key in others if _has_tensors(content[key])]:
            warnings.warn(
                f"{path} holds weights under {first} and {' and '.join(others)}: {first} is taken.",
                stacklevel=3,
            )
        content = content[first]
    return content


def _plain_key(key: str) -> str:
    """A wrapper's key without capitals and endings: "G_state_dict" is "g"."""
    return re.sub(r"_(state_dict|weights|params)$", "", key.lower())


def _has_tensors(content: dict) -> bool:
    return any(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _listed(names: Iterable[object]) -> str:
    """The first five names; a crafted file may have millions, or names that are no text."""
    shown = [str(name)[:80] if isinstance(name, str) else f"a {type(name).__name__}"
             for name in islice(names, 6)]  # fmt: skip
    return ", ".join(shown[:5]) + ", ..." * (len(shown) > 5)


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    """`content`, if it is tensors by name, each of a kind that networks have, with finite values.

    Numbers, texts and None beside them (an epoch, a version) are left out.
    """
    state = content if isinstance(content, dict) else {}
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    others = {k: v for k, v in state.items() if k not in tensors}
    odd = [k for k, v in others.items() if not isinstance(v, int | float | str | None)]
    if not tensors or odd:
        found = f"dict with {_listed(odd or state)}" if state else type(content).__name__
        raise ValueError(
            f"{path} holds no tensors by name alone, at its top or where trainers put them "
            f"(params, state_dict, generator, ...); there is a {found}."
        )
    for name, tensor in tensors.items():
        _check_tensor(tensor, name, f"of {path}")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    held = sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())
    if size > max(held, EXPANDED):  # one number may stand for a tensor of any shape
        raise ValueError(
            f"{path} is refused: its tensors have {size:,} bytes, of which it holds {held:,}; the "
            "others repeat them. Save tensor.clone() of each where it was made."
        )
    for name, tensor in tensors.items():
        try:
            check_finite(tensor, name, f"of {path} is damaged")
        except ValueError as error:
            raise files.Damaged(str(error)) from None
    return tensors


def _check_tensor(tensor: Tensor, name: str, what: str) -> None:
    """Refuse a tensor that no network's weights are, before anything is computed with it."""
    instead = "save it as a plain tensor of float32, float16 or bfloat16 where it was made."
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise ValueError(f"{name} {what} is a {kind} tensor: {instead}")
    if tensor.is_quantized or tensor.device.type == "meta":
        kind = "quantised" if tensor.is_quantized else "without values, on the device meta"
        raise ValueError(f"{name} {what} is {kind}: {instead}")
    counts = tensor.dtype == torch.int64 and name.endswith("num_batches_tracked")
    if tensor.dtype not in FLOATS and not counts:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{name} {what} is of the type {kind}: {instead}")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:  # the sides of a tensor and its type may be anything in a crafted header
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(path) from error


def _read_pickle(path: Path) -> object:
    try:
        with path.open("rb") as file:  # by a path, PyTorch goes by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file shows as any of half a dozen kinds
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} is refused: to load it would run {wanted[1]}, and weights are tensors "
                "only. If you trust the file, open it where it was made and save "
                "`network.state_dict()` alone."
            ) from error
        raise _unreadable(path) from error


def _unreadable(path: Path) -> files.Damaged:
    return files.Damaged(f"{path} is broken, cut off, or not a file of weights: fetch it again.")


def check_finite(tensor: Tensor, name: str, what: str) -> None:
    """Raises ValueError, "`name` `what`: ...", if a value of `tensor` is NaN or infinite.

    Values of float64 must be finite in float32, in which networks compute.
    """
    if not tensor.float().isfinite().all():
        raise ValueError(f"{name} {what}: it holds NaN or infinite values.")
