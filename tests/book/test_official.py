"""The stored figures behind the page of measured weights are of the zoo's files."""

import json

import pytest

from srkit.files import data_path
from srkit.models.zoo import ZOO, model_info

OFFICIAL = json.loads(data_path("runs/official.json").read_text())
ROWS, OTHERS = OFFICIAL["rows"], OFFICIAL["others"]["rows"]
PUBLISHED = json.loads(data_path("published.json").read_text())


def test_rows_are_of_the_files_that_the_zoo_names():
    """Other weights under the same name would need another run."""
    for row in ROWS:
        if row["sha256"] is not None:
            assert row["sha256"] == model_info(row["model"]).weights["official"].sha256, row


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.name)
def test_the_zoo_promises_what_was_measured(entry):
    measured = {
        row["data"]: row["psnr"]
        for row in ROWS
        if (row["model"], row["setup"]) == (entry.name, "classic")
    }
    promised = entry.weights["official"].psnr if "official" in entry.weights else {}
    for data in measured.keys() & promised.keys():
        assert abs(measured[data] - promised[data]) < 0.0051, (data, measured[data])


def test_networks_of_others_are_the_zoo_s_and_no_author_s():
    """Another file under the same name would need another run; the page shows who trained it."""
    kinds = {(e.name, kind) for e in ZOO for kind in e.weights if kind not in ("official", "srkit")}
    assert {(row["model"], row["weights"]) for row in OTHERS} == kinds
    for row in OTHERS:
        weights = model_info(row["model"]).weights[row["weights"]]
        assert row["sha256"] == weights.sha256, row
        assert "trained" in weights.origin


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: f"{row['model']}-{row['weights']}")
def test_the_zoo_promises_of_others_what_was_measured(row):
    weights = model_info(row["model"]).weights[row["weights"]]
    if row["data"] in weights.psnr:
        assert abs(row["psnr"] - weights.psnr[row["data"]]) < 0.0051
    if row["data"] in weights.lpips:
        assert row["lpips"] == pytest.approx(weights.lpips[row["data"]], abs=0.0006)


def test_every_published_figure_stands_once_and_has_a_source():
    places = [(p["model"], p["scale"], p["data"]) for p in PUBLISHED]
    assert len(set(places)) == len(places)
    assert all(p["source"] and isinstance(p["second_hand"], bool) for p in PUBLISHED)
