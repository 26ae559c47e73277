"""The stored figures behind the last chapter are of the networks that it names."""

import json

from srkit.files import data_path, sha256
from srkit.models.zoo import model_info


def stored(name):
    return json.loads(data_path(f"runs/{name}.json").read_text())


def test_rows_are_of_the_files_that_are_shipped_or_that_the_zoo_names():
    """Other weights under the same name would need another measurement."""
    for row in stored("side_by_side")["rows"]:
        if row["weights"] == "srkit":
            now = sha256(data_path(f"weights/{row['network']}.safetensors"))
        elif row["weights"]:
            now = model_info(row["network"]).weights[row["weights"]].sha256
        else:
            now = None  # bicubic
        assert row["sha256"] == now, row["network"]


def test_both_records_measure_alike():
    """The chapter puts them on one plane: at x4 the authors', at x2 bicubic, are in both."""
    ours, theirs = stored("side_by_side"), stored("official")
    assert ours["protocol"] == theirs["protocols"]["classic"]
    assert ours["precision"] == theirs["precision"]
    known = {
        (row["model"], row["data"]): row["psnr"]
        for row in theirs["rows"]
        if row["setup"] == "classic"
    }
    both = [
        (row["metrics"][data]["psnr"], known[row["network"], data])
        for row in ours["rows"]
        for data in row["metrics"]
        if (row["network"], data) in known
    ]
    assert len(both) > 4
    assert all(abs(a - b) < 0.001 for a, b in both)


def test_times_are_found_by_the_number_of_parameters():
    rows = stored("latency_all")["rows"]
    assert len({row["parameters"] for row in rows}) == len(rows)
    for row in rows:
        assert 0 < row["ratio_spread"][0] <= row["ratio_to_rlfn"] <= row["ratio_spread"][1]
