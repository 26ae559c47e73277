"""Records answer what chapters and the ledger ask."""

import hashlib
import json

import pytest
from toy import record

from srkit.files import data_path
from srkit.recipes import RECIPES
from srkit.reports.records import Records
from srkit.training.record import Record, StageResult

RUNS = Records(
    [record(0, 30.0), record(2, 30.6), record(1, 30.3), record(0, 29.0, variant="short")]
)


def test_values_are_by_seed_and_have_a_mean_and_a_spread():
    assert RUNS.values("long", "Set5", "psnr") == {0: 30.0, 1: 30.3, 2: 30.6}
    assert RUNS.mean("long", "Set5", "psnr") == pytest.approx(30.3)
    assert RUNS.spread("long", "Set5", "psnr") == pytest.approx(0.3)
    assert RUNS.spread("short", "Set5", "psnr") is None
    assert RUNS.values("long", "Set5", "lpips") == {}
    with pytest.raises(ValueError, match="no record of long has lpips of Set5"):
        RUNS.mean("long", "Set5", "lpips")


@pytest.mark.parametrize(
    "other",
    [
        record(1, budget="gpu"),
        record(1, minutes_a_stage=5.0),
        record(1, plan={"stages": [{"name": "a", "data": "DIV2K", "steps": 1}]}),
        record(1, recipe="rcan"),
    ],
    ids=["budget", "minutes", "data", "recipe"],
)
def test_no_number_stands_for_runs_of_several_kinds(other):
    """They were averaged, and of two with one seed the later one was taken."""
    runs = Records([record(0), other])
    for ask in (runs.values, runs.mean, runs.spread):
        with pytest.raises(ValueError, match=r"records of long differ in .*choose one kind"):
            ask("long", "Set5", "psnr")
    with pytest.raises(ValueError, match="records of long have a seed twice: leave one out"):
        Records([record(0), record(0, 40.0)]).mean("long", "Set5", "psnr")


def spoilt(*path, value=None):
    """The record in JSON with another value at a path; None takes it out."""
    found = json.loads(json.dumps(record().to_json()))
    found["plan"]["stages"] = [{"name": "a", "data": "DIV2K", "steps": 1}]
    *before, last = path
    inner = found
    for key in before:
        inner = inner[key]
    inner.pop(last) if value is None else inner.__setitem__(last, value)
    return found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (spoilt("plan", "stages", value="x"), "Record.plan: stages is 'x', expected list"),
        (spoilt("plan", "stages", value=["a"]), r"Record.plan: stages is \['a'\], expected list"),
        (spoilt("plan", "stages", 0, "data"), "a stage of Record.plan: data is missing"),
        (spoilt("plan", "stages", 0, "data", value=5), "Record.plan: data is 5, expected str"),
        (
            spoilt("plan", "stages", 0, "steps", value="9"),
            "plan: steps is '9', expected int",
        ),
        (spoilt("paper", "metrics", value={"Set5": 3}), "Record.paper: metrics is .*expected dict"),
        (spoilt("machine", "torch"), "Record.machine: torch is missing"),
        (spoilt("machine", "gpu", value=[]), r"Record.machine: gpu is \[\], expected str"),
        (spoilt("minutes", value=10**400), "Record.minutes is 1000.*, which is no float"),
    ],
)
def test_what_lists_and_cards_ask_of_a_record_is_asked_when_it_is_read(found, words):
    """They ended in a KeyError, for all runs of a folder, and without the file's name."""
    with pytest.raises(ValueError, match=rf"^a\.json: .*{words}"):
        Record.from_json(found, "a.json")


def test_what_is_no_number_is_no_point_of_a_curve():
    history = [{"step": 1, "psnr": None}, {"step": 2, "psnr": "x"}, {"step": 3, "psnr": 30.0}]
    run = record(stages=(StageResult(steps=3, minutes=1.0, history=history),))
    assert run.curve() == [(3, 30.0)]


def test_they_are_chosen_by_variant_budget_and_seed():
    assert RUNS.variants == ["long", "short"]
    assert [r.seed for r in RUNS.variant("short", "long")] == [0, 0, 2, 1]
    assert len(RUNS.budget("gpu")) == 0
    assert repr(RUNS.variant("short")) == f"Records({RUNS.one('short').name})"
    assert RUNS.one("long", 2).metrics["Set5"]["psnr"] == 30.6
    with pytest.raises(ValueError, match="0 records of long, seed 7: expected one"):
        RUNS.one("long", 7)
    assert {key: len(group) for key, group in RUNS.groups().items()} == {
        ("long", "laptop"): 3, ("short", "laptop"): 1,
    }  # fmt: skip


def test_a_file_that_holds_no_records_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"x\.json is damaged: it holds a dict, expected a list"):
        Records.read(path)


@pytest.mark.parametrize("text", ["[", "[" * 100_000, b"\xff[]", "9" * 5000])
def test_a_damaged_file_of_records_is_named(tmp_path, text):
    """A hundred thousand brackets ended in a RecursionError."""
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"x\.json is damaged \(.*: remove it, or make it again"):
        Records.read(path)


@pytest.mark.parametrize("name", RECIPES)
def test_the_shipped_records_read_and_write_the_same(name):
    path = data_path(f"runs/{name}.json")
    assert [r.to_json() for r in Records.of(name)] == json.loads(path.read_text())


# Hashes of the code that added seeds and ran RLFN anew, and that added seeds and variants.
LATER = (
    "8901f4dea5f4", "deeb59c58f34", "50cd248883a2", "da5431ad9c1c", "faf0ee162238", "8931d57778b7",
    "89d45d9a3493",
)  # fmt: skip
# Runs of the first edition: how many there are of each recipe, and the first digits of a SHA-256
# over the variant, seed, metrics and histories of all. Giving records their present form, and
# adding seeds, changed no figure. Left out are RLFN's restarted schedules, run anew with other
# crops.
AGAIN = (
    "rlfn", "warm-start", "last-L1", "last-vgg-deep", "last-vgg-shallow", "edsr-warm-start",
    "edsr-last-L1", "edsr-last-random-tanh",
)  # fmt: skip
FIRST_EDITION = {
    "carn": (19, "f17f028721535b61"),
    "ciplab": (12, "f7194d3169fd456a"),
    "dbpn": (16, "8a3263ab283a8978"),
    "enhancenet": (14, "5fae261e75630ca1"),
    "esrgan": (24, "7bdc44b59c413f1c"),
    "idn": (15, "47d39bce382f0238"),
    "memnet": (14, "d06b32aa120c0354"),
    "minutes": (2, "935d027d35552de6"),
    "msrn": (18, "e4eaf45eaf0ea400"),
    "rcan": (22, "213918ac2f501c42"),
    "rdn": (15, "3465dcc28b7c42ce"),
    "rlfn": (23, "9b343faa5a764a63"),
    "sftgan": (19, "8e54edeeeebeca20"),
    "srfeat": (19, "1710f91bd5d52267"),
    "srgan": (28, "7f8613779cbe8cff"),
    "ttsr": (16, "d2e75e5ed8a87622"),
    "zssr": (19, "f40e9706785a4809"),
}


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_no_figure_of_the_first_edition_has_changed(name):
    count, digest = FIRST_EDITION[name]
    lines = {
        (r.variant, r.budget, r.seed, r.minutes_a_stage): json.dumps(
            [r.variant, r.seed, r.metrics, [s.history for s in r.stages]], sort_keys=True
        )
        for r in Records.of(name)
        if name != "rlfn"
        or not r.variant.startswith(("rlfn", "last", "warm", "edsr-last", "edsr-w"))
        if r.code not in LATER
    }
    assert len(lines) == count
    assert hashlib.sha256("\n".join(sorted(lines.values())).encode()).hexdigest()[:16] == digest
