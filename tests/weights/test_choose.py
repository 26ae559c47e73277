"""Networks by name and by figures: those that ship, the best of them, filters, refusals."""

from __future__ import annotations

import json

import pytest
import torch
from small import same

import srkit
from srkit import files
from srkit.files import data_path
from srkit.metrics.evaluate import evaluate
from srkit.models import zoo
from srkit.models.zoo import ZOO, Entry, Paper, Weights, list_models, model_info, trained
from srkit.recipes import recorded
from srkit.reports.records import Records
from srkit.weights import choose
from srkit.weights.choose import best, networks
from srkit.weights.load import create_model, load_checkpoint

OURS = trained()


def test_every_file_of_a_network_that_ships_has_a_name_and_only_one():
    """Found by the headers; a file without a constructor holds discriminators."""
    shipped = {
        f"weights/{path.name}"
        for path in data_path("weights").iterdir()
        if "constructor" in zoo.read_header(path)["__metadata__"]
    }
    named = [e.weights["srkit"].path for e in (*ZOO, *OURS) if "srkit" in e.weights]
    assert len(named) == len(set(named)) > 50
    assert set(named) == shipped
    names = [e.name for e in (*ZOO, *OURS)]
    assert len(names) == len(set(names))
    assert set(names) == set(list_models())


@pytest.mark.parametrize("entry", OURS, ids=lambda e: e.name)
def test_a_network_that_ships_is_what_its_file_and_its_record_say(entry):
    """Built by name it is what load_checkpoint builds; its record exists, of the same size."""
    model = create_model(entry.family)
    read = load_checkpoint(data_path(entry.weights["srkit"].path))
    assert same(model, read)
    assert (model.name, model.scale) == (entry.name, entry.scale)
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    runs = Records.of(entry.run.partition("/")[0])
    (record,) = [r for r in runs if r.name == entry.run]
    assert record.plan["stages"][-1]["network"]["call"] == entry.constructor


def test_by_name_or_by_recipe_and_variant_it_is_the_same():
    assert same(create_model("esrgan/psnr"), recorded("esrgan", "psnr"))
    assert same(
        create_model("esrgan/psnr_x4", weights="srkit"), create_model("esrgan/psnr", scale=4)
    )
    assert model_info("esrgan/psnr").paper.label == "ESRGAN"
    assert list_models("rcan/*") == ["rcan/CA+LSC+SSC_x2", "rcan/rcan_x2"]


def test_figures_of_a_file_are_what_its_network_reaches(assets):
    """Set5, of one network a recipe; SRFeat's file is not of the recorded run, and says so."""
    root = assets("benchmarks/Set5")
    firsts = {e.paper: e for e in OURS if "Set5" in e.weights["srkit"].psnr}.values()
    assert len(firsts) >= 10
    for entry in firsts:
        found = evaluate(create_model(entry.name), "Set5", root=root).means["psnr"]
        assert found == pytest.approx(entry.weights["srkit"].psnr["Set5"], abs=0.01), entry.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("srgan", "no model is named 'srgan'; of that recipe there are, trained here: srgan/gan, "),
        ("esrgan/psnrr", "Do you mean esrgan/psnr"),
        ("esrgam", "Do you mean .*esrgan"),
        ("zzz", r"and \d+ that were trained here, named RECIPE/VARIANT \(srkit models --trained\)"),
    ],
)
def test_a_wrong_name_is_answered_with_what_ships(name, words):
    with pytest.raises(ValueError, match=words):
        create_model(name)


def test_weights_that_a_run_has_not_are_refused():
    with pytest.raises(ValueError, match=r"esrgan/psnr_x4 has no weights 'official'.* It has: 's"):
        create_model("esrgan/psnr", weights="official")


def test_a_damaged_file_that_ships_is_named(tmp_path, monkeypatch):
    """Networks of the zoo are found all the same."""
    (tmp_path / "cut.safetensors").write_bytes((99).to_bytes(8, "little") + b"{")
    monkeypatch.setattr(files, "find_data", lambda relative: tmp_path)
    zoo.trained.cache_clear()
    try:
        with pytest.raises(
            files.Damaged, match=r"cut.safetensors is damaged .*install srkit again"
        ):
            trained()
        assert model_info("rlfn_x4").scale == 4
    finally:
        zoo.trained.cache_clear()


def test_a_run_of_another_budget_or_by_the_clock_says_so_in_its_name(tmp_path, monkeypatch):
    model = create_model("rlfn_tiny_x4")
    said = {"recipe": "rlfn", "variant": "long", "seed": 0, "metrics": {"Set5": {"psnr": 30.0}}}
    for name, more in (
        ("a", {"budget": "overnight", "minutes_a_stage": None}),
        ("b", {"budget": "laptop", "minutes_a_stage": 15.0}),
        ("c", {"budget": "laptop"}),
    ):
        srkit.save(model, tmp_path / f"{name}.safetensors", provenance=said | more)
    monkeypatch.setattr(files, "find_data", lambda relative: tmp_path)
    zoo.trained.cache_clear()
    try:
        assert [e.name for e in trained()] == [
            "rlfn/long/overnight_x4", "rlfn/long/15-minutes_x4", "rlfn/long_x4",
        ]  # fmt: skip
        assert trained()[1].weights["srkit"].origin == (
            "trained here: srkit train rlfn --variant long --budget laptop --minutes 15 --seed 0"
        )
    finally:
        zoo.trained.cache_clear()


# ---- networks()


def test_all_networks_are_listed_with_each_kind_of_weights():
    found = networks()
    assert {c.name for c in found} == set(list_models())
    kinds = [(c.name, c.weights) for c in found]
    assert len(kinds) == len(set(kinds))
    assert {("esrgan_x4", "official"), ("esrgan_x4", "realsr"), ("rcan_x4", "")} <= set(kinds)


def test_they_are_sorted_by_scale_and_by_set5():
    found = networks()
    assert [c.scale for c in found] == sorted(c.scale for c in found)
    of_four = [c.psnr["Set5"] for c in found if c.scale == 4 and "Set5" in c.psnr]
    assert of_four == sorted(of_four, reverse=True)
    without = ["Set5" in c.psnr for c in found if c.scale == 4]
    assert without == sorted(without, reverse=True)


def test_each_figure_says_where_it_is_from():
    of = {(c.name, c.weights): c for c in networks()}
    stored = json.loads(data_path("runs/official.json").read_text())["rows"]
    (row,) = [
        r for r in stored
        if (r["model"], r["setup"], r["data"]) == ("rlfn_x4", "classic", "Set5")
    ]  # fmt: skip
    rlfn = of["rlfn_x4", "official"]
    assert (rlfn.figures, rlfn.psnr["Set5"]) == ("measured", row["psnr"])
    assert rlfn.lpips["Set5"] == row["lpips"]
    assert of["idn_x2", "official"].figures == "measured otherwise"
    assert of["msrn_x4", "official"].figures == "published"
    assert of["msrn_x4", "official"].psnr["Set5"] == 32.25
    assert of["esrgan/psnr_x4", "srkit"].figures == "recorded"
    assert of["rcan_x4", ""].figures == ""


def test_multiply_adds_are_stored_of_every_network_and_right():
    """`python benchmarks/costs.py` writes them; CARN's paper says 90.9 G, IMDN's 40.9 G."""
    missing = [c.name for c in networks() if c.macs is None]
    assert missing == [], "run benchmarks/costs.py"
    macs = {c.name: c.macs for c in networks()}
    assert macs["carn_x4"] == pytest.approx(90.9e9, rel=0.01)
    assert macs["imdn_x4"] == pytest.approx(40.9e9, rel=0.01)
    stored = json.loads(data_path("runs/costs.json").read_text())
    for name in ("rlfn_tiny_x4", "esrgan/psnr_x4", "idn/idn_x2"):
        counted = srkit.count(create_model(name), tuple(stored["lr"])).macs
        assert counted == stored["macs"][name]


def test_filters_leave_what_fits(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    assert {c.scale for c in networks(scale=2)} == {2}
    assert max(c.parameters for c in networks(parameters=300_000)) <= 300_000
    assert {c.paper for c in networks(paper="esrgan")} == {"ESRGAN"}
    assert {c.name for c in networks("imdn")} == {"imdn_x2", "imdn_x3", "imdn_x4"}
    assert all(c.ships and c.at_hand and c.weights == "srkit" for c in networks(trained=True))
    assert networks(at_hand=True) == networks(trained=True)  # nothing else is in these folders
    place = tmp_path / model_info("idn_x3").weights["official"].path
    place.parent.mkdir(parents=True)
    place.touch()
    assert {c.name for c in networks(at_hand=True)} - {c.name for c in networks(trained=True)} == {
        "idn_x3"
    }


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"pattern": "nothing*"}, r"no network fits 'nothing\*': without 'nothing\*' there are"),
        ({"scale": 7}, "no network fits scale 7: without scale 7 there are .*of x2, x3, x4, x8"),
        ({"scale": 3, "trained": True}, "no network fits scale 3, trained here: without trained"),
        ({"parameters": 5}, r"at most 5 parameters: .*from 57,281 parameters; `srkit models` l"),
        ({"paper": "ESRGAM"}, "no paper is called 'ESRGAM': one of CARN, CIPLab"),
        ({"scale": 0}, "scale=0: expected a whole number from 1"),
    ],
)
def test_what_fits_nothing_is_refused_with_what_there_is(asked, words):
    with pytest.raises(ValueError, match=words):
        networks(**asked)


def test_a_table_fits_eighty_columns():
    rows = choose.table(networks())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= 80
    assert all(len(line) <= 90 for line in choose.LEGEND)
    shown = choose.table(networks(scale=16, trained=True))
    assert shown[0][1] == "Set14 dB"  # no figure on Set5 at x16


# ---- the best one


@pytest.mark.parametrize("scale", [2, 4, 16])
def test_the_best_is_computed_from_the_figures(scale):
    test = "Set14" if scale == 16 else "Set5"
    others = [c.psnr[test] for c in networks(scale=scale, trained=True) if test in c.psnr]
    found = best(scale)
    assert found.psnr[test] == max(others)
    assert found.ships
    assert found.scale == scale


def test_a_better_network_that_ships_becomes_the_best(monkeypatch):
    """Nothing names today's best."""
    file = Weights(model_info("rlfn_tiny_x4").weights["srkit"].path, "", psnr={"Set5": 40.0})
    new = Entry("new", 4, "m:c", 1, Paper("New", "", "", 2026), weights={"srkit": file})
    monkeypatch.setattr(zoo, "ZOO", (*ZOO, new))
    assert best(4).name == "new_x4"
    assert best(4).says == "40.00 dB on Set5"


def test_a_scale_that_none_ships_for_is_refused():
    with pytest.raises(ValueError, match=r"enlarges by 3: they are of x2 and x4 and x16"):
        best(3)


def test_offline_the_refusal_names_what_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))

    def away(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", away)
    with pytest.raises(files.Unreachable) as refusal:
        create_model("rlfn_x4", weights="official")
    found = best(4)
    assert f"{found.name} ships with srkit and can be used at once ({found.says})" in str(
        refusal.value
    )
    assert f"srkit upscale {found.name} PICTURE RESULT" in str(refusal.value)
    with pytest.raises(files.Unreachable) as refusal:
        create_model("imdn_x3", weights="official")
    assert "at once" not in str(refusal.value)  # none ships for x3
    model = create_model(found.name, weights=found.weights)
    assert model(torch.rand(1, 3, 16, 16)).isfinite().all()
