"""Calls as values: checked when written down, made when needed, compared and stored as JSON."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from srkit.calls import Build, Call, Given, as_json, as_text, completed


@dataclass(frozen=True)
class Rate:
    start: float
    end: float = 0.0


def pair(first, second=2, *, rate=None):
    return [first, second, rate]


def test_a_call_is_made_with_what_is_given_first():
    call = Call(pair, second=5)
    assert call(1) == [1, 5, None]
    assert Call(pair, first=1)() == [1, 2, None]
    assert Call(pair, first=Call(pair, first=0), second=1)() == [[0, 2, None], 1, None]


def test_a_misspelt_argument_is_refused_when_the_call_is_written():
    with pytest.raises(TypeError, match=r"pair: .*secnd.*; it takes first, second, rate"):
        Call(pair, secnd=1)
    with pytest.raises(TypeError, match="secnd"):
        Call(pair, second=1).but(secnd=2)


def test_equal_calls_are_equal_and_defaults_count():
    assert Call(pair, first=1, second=3) == Call(pair, second=3, first=1)
    assert Call(pair, first=1) == Call(pair, first=1, second=2)
    assert Call(pair, first=1) != Call(pair, first=1, second=3)
    assert Call(pair, first=1) != Call(Rate, start=1)
    assert Call(pair, first=Rate(1.0)) != Call(pair, first=Rate(1.0, 0.5))


def test_as_json_has_every_argument():
    assert as_json(Call(pair, rate=Rate(0.5), first=(1, "a"))) == {
        "call": f"{__name__}:pair",
        "first": [1, "a"],
        "second": 2,
        "rate": {"call": f"{__name__}:Rate", "start": 0.5, "end": 0.0},
    }
    assert as_json({"a": None, "b": [True, Given.SEED]}) == {
        "a": None, "b": [True, {"given": "the run's seed"}],
    }  # fmt: skip
    with pytest.raises(TypeError, match="cannot be written down: use a Call that makes it"):
        as_json(torch.zeros(1))


def test_paths_functions_and_what_is_given_are_written_by_name(tmp_path):
    call = Call(pair, first=tmp_path, second=pair, rate=Given.NETWORK)
    json = {"first": str(tmp_path), "second": f"{__name__}:pair", "rate": {"given": "the network"}}
    assert as_json(call) == {"call": f"{__name__}:pair"} | json
    assert as_text(Given.NETWORK) == "the network"
    assert {call: 1}[Call(pair, first=tmp_path, second=pair, rate=Given.NETWORK)] == 1


def test_as_text_is_what_a_reader_would_write():
    call = Call(pair, first=Call(Rate, start=1e-3), second=(1, 2), rate=Rate(0.5))
    assert (
        as_text(call) == "pair(first=Rate(start=0.001), second=(1, 2), rate=Rate(start=0.5, end=0))"
    )
    assert as_text({"a": 0.25}) == "{a: 0.25}"


def test_equal_calls_within_a_build_are_one_object():
    build = Build()
    shared = Call(nn.Linear, in_features=2, out_features=2)
    one, two = build.value((shared, Call(nn.Linear, out_features=2, in_features=2)))
    assert one is two
    assert Build().value(shared) is not one


def test_what_is_built_depends_on_the_seed_and_not_on_what_came_before():
    layer, other = (Call(nn.Linear, in_features=2, out_features=n) for n in (2, 3))
    alone = Build(seed=4).value(layer).weight
    build = Build(seed=4)
    build.value(other)
    assert torch.equal(build.value(layer).weight, alone)
    assert not torch.equal(Build(seed=5).value(layer).weight, alone)


def test_what_a_training_gives_is_put_in_and_missing_otherwise():
    call = Call(pair, first=Given.NETWORK, second=Given.SEED)
    net = nn.Linear(1, 1)
    assert Build(given={Given.NETWORK: net, Given.SEED: 3})(call) == [net, 3, None]
    with pytest.raises(ValueError, match="the network is known in a training only"):
        call()


def test_a_stored_call_gets_the_defaults_of_arguments_that_came_later():
    stored = as_json([Call(nn.Linear, in_features=1, out_features=2)])
    del stored[0]["bias"]
    assert completed(stored) == as_json([Call(nn.Linear, in_features=1, out_features=2)])
    stored[0]["bias"] = False
    assert completed(stored)[0]["bias"] is False
    unknown = {"call": "nowhere:Nothing", "a": 1}
    assert completed(unknown) == unknown
