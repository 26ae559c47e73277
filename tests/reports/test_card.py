"""Reproduction cards: the paper's figures, ours with their spread, the gap, and what differs."""

from dataclasses import replace

import pytest
from toy import record

from srkit.calls import Call, as_json
from srkit.losses import L1, MSE
from srkit.models.edsr import EDSR
from srkit.models.rlfn import RLFN
from srkit.recipes import RECIPES
from srkit.reports.card import card, changes, spread
from srkit.reports.records import Records
from srkit.reports.summary import plot, side_by_side, summary
from srkit.training.enlargement import hush
from srkit.training.record import Record, StageResult
from srkit.training.schedules import Constant, Halving
from srkit.training.stage import Prepared, Stage, loss_of

OURS = Stage(
    name="pixel", network=Call(RLFN, scale=4, channels=24), loss=loss_of(L1), data="BSDS400",
    scale=4, steps=3000, batch=16, patch=24, rate=Halving(1e-3, 0.2),
)  # fmt: skip
PAPER = replace(
    OURS, network=Call(RLFN, scale=4), data="DIV2K_train", steps=1_000_000, batch=64
)  # fmt: skip


def told(*pairs):
    """What is found to differ between (ours, the paper's) stages: (stage, field, paper, ours)."""
    ours, paper = ([as_json(stage) for stage in side if stage] for side in zip(*pairs, strict=True))
    run = record(plan={"stages": ours}, paper={"metrics": {}, "stages": paper})
    return [(c.stage, c.field, c.paper, c.ours) for c in changes(run)]


def test_one_run_has_no_spread_and_a_gap_where_the_paper_has_a_figure():
    rows = card(record()).figures
    assert rows[1] == ["Set5, PSNR, dB", "32.24", "30.00", "-2.24"]
    assert rows[2] == ["Set5, SSIM", "", "0.8500", ""]
    assert rows[3] == ["Set14, PSNR, dB", "", "27.00", ""]


def test_a_figure_has_as_many_digits_as_it_deserves():
    """Hundredths of a decibel; SSIM to four, LPIPS to three."""
    digits = {"psnr": "28.12 ± 0.00", "ssim": "28.1235 ± 0.0000", "lpips": "28.123 ± 0.000",
              "lpips-squeeze": "28.123 ± 0.000"}  # fmt: skip
    assert {metric: spread([28.12346, 28.12346], metric) for metric in digits} == digits
    assert spread([28.12346], "psnr") == "28.12"


def test_several_seeds_give_mean_and_sample_deviation():
    shown = card([record(0, 30.0), record(1, 30.4)])
    assert shown.figures[1] == ["Set5, PSNR, dB", "32.24", "30.20 ± 0.28", "-2.04"]
    assert "seeds 0, 1" in shown.title


def test_a_card_of_several_seeds_names_each_machine_and_the_mean_time():
    other = {"gpu": None, "threads": 1, "capability": "AVX512", "torch": "2.14.1"}
    group = [record(0), record(1), record(2, minutes=1.0, peak_memory_mib=1300, machine=other)]
    assert card(group).facts == [
        "87,816 parameters.",
        "3.2 minutes of training each on 1 thread(s), AVX2; 1 thread(s), AVX512, torch 2.14.1, "
        "1,300 MiB at most. Protocol classic.",
    ]


def test_what_differs_is_the_difference_of_two_stages_field_by_field():
    assert told((OURS, PAPER)) == [
        ("pixel", "network's channels", 52, 24),
        ("pixel", "data", "DIV2K_train", "BSDS400"),
        ("pixel", "steps", 1_000_000, 3000),
        ("pixel", "batch", 64, 16),
    ]
    assert told((PAPER, PAPER)) == []


def test_rates_losses_starts_and_constants_differ_as_a_whole():
    same = {"loss": loss_of(MSE), "clip": 0.1, "start": Prepared(Call(hush))}
    ours = replace(PAPER, rate=Constant(1e-4), **same)
    fields = {field: mine for _, field, _, mine in told((ours, PAPER))}
    assert fields["rate"] == {"call": "srkit.training.schedules:Constant", "rate": 1e-4}
    assert fields["clip"] == 0.1
    assert fields.keys() == {"loss", "clip", "start", "rate"}
    other = told((replace(PAPER, network=Call(EDSR, scale=4)), PAPER))
    assert [field for _, field, _, _ in other] == ["network"]


def test_how_a_stage_was_watched_is_no_difference():
    assert told((replace(PAPER, validate_every=7, series=3, from_scratch=True), PAPER)) == []


def test_stages_are_compared_with_those_of_the_same_name():
    second = replace(PAPER, name="adversarial", steps=400)
    assert told((replace(second, steps=40), PAPER), (PAPER, second)) == [
        ("adversarial", "steps", 400, 40)
    ]
    assert told((OURS, None), (None, second))[0] == ("pixel", "the stage", None, 3000)
    assert told((PAPER, PAPER), (None, second)) == [("adversarial", "the stage", 400, None)]


def test_a_card_is_shown_as_text_and_as_html():
    stages = {"stages": [as_json(OURS)]}
    paper = {"metrics": {"Set5": {"psnr": 32.24}}, "stages": [as_json(PAPER)]}
    shown = card(record(plan=stages, paper=paper))
    assert "Set5, PSNR, dB   32.24   30.00  -2.24" in str(shown)
    assert "1,000,000" in str(shown)
    assert '<td class="number">-2.24</td>' in shown._repr_html_()
    assert "<td>crops a step</td>" in shown._repr_html_()


@pytest.mark.parametrize(
    "other", [{"variant": "cyclic"}, {"minutes_a_stage": 5.0}, {"plan": {"stages": [], "x": 1}}]
)
def test_records_of_two_kinds_are_no_card(other):
    with pytest.raises(ValueError, match=r"one variant with one budget|make a card of each kind"):
        card([record(), record(**other)])
    with pytest.raises(ValueError, match="these records are of none"):
        card([])


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_record_has_a_card(name):
    """Figures are the records', differences are of the plans."""
    for (variant, _), group in Records.of(name).groups().items():
        shown = card(group)
        assert str(shown)
        assert shown._repr_html_()
        for change in shown.changes:
            assert change.paper != change.ours, (variant, change)


def test_a_summary_has_a_line_a_variant_with_the_spread_of_its_seeds():
    """Runs on other data, or of other minutes, are not its seeds."""
    plan = {"stages": [as_json(OURS)]}
    mine = {"stages": [as_json(replace(OURS, data="mine"))]}
    other = record(variant="cyclic", metrics={}, plan=plan)
    short = record(0, 25.0, minutes_a_stage=1, plan=plan)
    runs = [record(1, 30.4, plan=plan), other, record(0, 30.0, minutes=5.25, plan=plan), short]
    runs.append(record(0, 26.0, plan=mine))
    lines = [line.split() for line in str(summary(runs)).splitlines()[1:]]
    assert lines == [
        ["rlfn/laptop/long", "BSDS400", "0,", "1", "3,000", "4.8", "Set5", "30.20", "±", "0.28"],
        ["rlfn/laptop/cyclic", "BSDS400", "0", "3,000", "4.2"],  # measured on nothing
        ["rlfn/laptop/long", "BSDS400", "0", "3,000", "4.2", "Set5", "25.00"],
        ["rlfn/laptop/long", "mine", "0", "3,000", "4.2", "Set5", "26.00"],
    ]


def test_a_plot_is_a_png_and_needs_something_to_plot(tmp_path):
    plot([record(0), record(1)], tmp_path / "runs.png")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    blind = record(stages=(StageResult(steps=5, minutes=1.0, history=[{"step": 5}]),))
    with pytest.raises(ValueError, match="not validated"):
        plot([blind], tmp_path / "none.png")


def test_variants_stand_side_by_side_in_the_order_asked_for():
    runs = Records([record(0, 30.0), record(1, 30.2), record(0, 29.0, variant="short")])
    assert side_by_side(runs, ["short", "absent", "long"], tests=["Set5"]).rows == [
        ["", "parameters", "seeds", "Set5, PSNR, dB"],
        ["short", "87,816", "1", "29.00"],
        ["long", "87,816", "2", "30.10 ± 0.14"],
    ]
    assert [row[0] for row in side_by_side(runs).rows[1:]] == ["long", "short"]


def test_validations_are_counted_through_the_stages():
    history = [{"step": 10, "loss": 1.0}, {"step": 1500, "psnr": 29.0}]
    stage = StageResult(steps=1500, minutes=1.0, history=history)
    run = record(stages=(stage, stage))
    assert run.curve() == [(1500, 29.0), (3000, 29.0)]
    assert run.curve("lpips") == []


def test_a_metric_that_srkit_does_not_know_has_its_own_name():
    text = str(card(record(metrics={"Set5": {"psnr": 30.0, "fid": 12.0}})))
    assert "Set5, fid" in text
    assert "12.000" in text


def test_a_copied_run_does_not_hide_the_list():
    text = str(summary([record(0, 30.0), record(0, 31.0)]))
    assert "0, 0" in text
    assert "30.50 ± 0.71" in text
    with pytest.raises(ValueError, match="have a seed twice"):
        str(card([record(0, 30.0), record(0, 31.0)]))


def test_a_run_of_no_recipe_has_neither_plan_nor_paper_and_still_a_card():
    own = Record.from_json(record(plan={}, paper={}).to_json())
    assert "Set5, PSNR, dB" in str(card(own))
    assert "rlfn/laptop/long" in str(summary([own]))
