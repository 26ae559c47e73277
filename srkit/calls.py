"""A call as a value: a class or function with keyword arguments, called when its result is needed.

    make = Call(RLFN, scale=4, channels=24)
    make()                       # the network
    print(make)                  # RLFN(scale=4, channels=24)
    make == Call(RLFN, channels=24, scale=4)
    as_json(make)                # {"call": "srkit.models.rlfn:RLFN", "scale": 4, ...}

What a training is made of (networks, losses, optimisers, data) is written down in such values, so
that it can be printed, compared and stored before anything is built.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from inspect import Parameter, Signature, signature
from os import PathLike
from typing import Any

import torch


class Given(Enum):
    """An argument that only a running training knows; `Build` puts it in."""

    NETWORK = "the network"
    SEED = "the run's seed"


class Call:
    """`function` with keyword arguments, checked against its signature at once.

    Arguments may be calls themselves; they are made first. Positional arguments that are given when
    it is called come before the keyword arguments, as with `functools.partial`.

    Raises TypeError for an argument that the function does not take.
    """

    def __init__(self, function: Callable[..., Any], /, **arguments: Any):
        try:
            _signature(function).bind_partial(**arguments)
        except TypeError as error:
            takes = ", ".join(_signature(function).parameters) or "nothing"
            raise TypeError(f"{function.__qualname__}: {error}; it takes {takes}") from None
        self.function, self.arguments = function, arguments

    def __call__(self, *given: Any) -> Any:
        return Build()(self, *given)

    def but(self, **changed: Any) -> Call:
        """The same call with some arguments changed or added."""
        return Call(self.function, **(self.arguments | changed))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and as_json(self) == as_json(other)

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={as_text(value)}" for name, value in self.arguments.items())
        return f"{self.function.__qualname__}({inside})"


class Build:
    """Makes what calls describe; equal calls give one and the same object.

    seed: torch's generator starts from it before each call, so that what is made does not depend on
    what was made before it. None leaves the generator alone. given: values for `Given` arguments.
    """

    def __init__(self, *, seed: int | None = None, given: Mapping[Given, Any] | None = None):
        self.seed, self.given = seed, dict(given or {})
        self.made: dict[str, Any] = {}

    def __call__(self, call: Call, *given: Any) -> Any:
        """The result of the call, with `given` as its first, positional arguments."""
        arguments = {name: self.value(value) for name, value in call.arguments.items()}
        if self.seed is not None:
            torch.manual_seed(self.seed)
        return call.function(*given, **arguments)

    def value(self, value: Any) -> Any:
        """`value` with all calls in it made and all `Given` arguments put in.

        Raises ValueError for a `Given` argument that is not in `given`.
        """
        if isinstance(value, Call):
            key = json.dumps(as_json(value))
            if key not in self.made:
                self.made[key] = self(value)
            return self.made[key]
        if isinstance(value, Given):
            if value not in self.given:
                raise ValueError(f"{value.value} is known in a training only")
            return self.given[value]
        if isinstance(value, tuple | list):
            return type(value)(map(self.value, value))
        return value


def as_json(value: Any) -> Any:
    """A value as JSON has it; calls and dataclasses with all their arguments, defaults too.

    Raises TypeError for what has no such form.
    """
    if isinstance(value, Call):
        bound = _signature(value.function).bind_partial(**value.arguments)
        bound.apply_defaults()
        left_out = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        kinds = _signature(value.function).parameters
        arguments = {n: v for n, v in bound.arguments.items() if kinds[n].kind not in left_out}
        return {"call": name_of(value.function)} | {n: as_json(v) for n, v in arguments.items()}
    if isinstance(value, Given):
        return {"given": value.value}
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: as_json(getattr(value, f.name)) for f in fields(value)}
        return {"call": name_of(type(value))} | own
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PathLike):
        return str(value)
    if callable(value):
        return name_of(value)
    raise TypeError(f"{value!r} cannot be written down: use a Call that makes it")


def completed(value: Any) -> Any:
    """A stored call, as `as_json` gave it, with today's defaults for arguments that it lacks.

    A class may get one more argument after a plan was stored; the plan then still equals today's.
    Only modules that are imported already are looked at.
    """
    if isinstance(value, list):
        return [completed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: completed(item) for key, item in value.items()}
    module, _, name = str(value.get("call", "")).partition(":")
    function = getattr(sys.modules.get(module), name, None)
    if not callable(function):
        return found
    return _defaults(function) | found


@cache
def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Default arguments as JSON has them; without those that cannot be written down."""
    found = {}
    for each in _signature(function).parameters.values():
        if each.default is not Parameter.empty:
            # a program that documents functions puts texts in the place of defaults
            with suppress(TypeError):
                found[each.name] = as_json(each.default)
    return found


def as_text(value: Any) -> str:
    """A value in one line, as a reader would write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Given):
        return value.value
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {as_text(item)}' for key, item in value.items())}}}"
    if is_dataclass(value) and type(value).__str__ is object.__str__:
        inside = ", ".join(f"{f.name}={as_text(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({inside})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(as_text, value))})"
    return value.__qualname__ if callable(value) and not isinstance(value, Call) else str(value)


def name_of(function: Callable[..., Any]) -> str:
    """ "module:name", by which a class or function is found again."""
    return f"{function.__module__}:{function.__qualname__}"


@cache
def _signature(function: Callable[..., Any]) -> Signature:
    return signature(function)
