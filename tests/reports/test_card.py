"""Reproduction cards: the paper's figures, ours with their spread, the gap, and its causes."""

import pytest

from srkit.reports.card import card, causes, opening, otherwise, plot, scores, summary, validated


def record(seed=0, psnr=30.0, **changed):
    plan = {"data": "BSDS400", "steps": 3000, "batch": 16, "patch": 24}
    return {
        "recipe": "rlfn", "variant": "long", "budget": "laptop", "seed": seed, "plan": plan,
        "parameters": 87_816, "minutes": 4.25, "peak_memory_mib": 1200, "protocol": "classic",
        "machine": {"gpu": None, "threads": 1, "capability": "AVX2", "torch": "2.14.1"},
        "metrics": {"Set5": {"psnr": psnr, "ssim": 0.85}, "Set14": {"psnr": psnr - 3}},
        "paper": {
            "metrics": {"Set5": {"psnr": 32.24}},
            "plan": {"data": "DIV2K_train", "steps": 1_000_000, "batch": 64, "patch": 24},
        },
        "stages": [{"steps": 3000, "batch": 16, "patch": 24, "history": [
            {"step": 1500, "psnr": 29.0}, {"step": 3000, "psnr": psnr},
        ]}],
    } | changed  # fmt: skip


def test_one_run_has_no_spread_and_a_gap_where_the_paper_has_a_figure():
    rows = card(record()).rows
    assert rows[1] == ["Set5, PSNR, dB", "32.24", "30.00", "-2.24"]
    assert rows[2] == ["Set5, SSIM", "", "0.8500", ""]
    assert rows[3] == ["Set14, PSNR, dB", "", "27.00", ""]


def test_several_seeds_give_mean_and_sample_deviation():
    shown = card([record(0, 30.0), record(1, 30.4)])
    assert shown.rows[1] == ["Set5, PSNR, dB", "32.24", "30.20 ± 0.28", "-2.04"]
    assert "seeds 0, 1" in shown.title


def test_a_card_of_several_seeds_names_each_machine_and_the_mean_time():
    other = {"gpu": None, "threads": 1, "capability": "AVX512", "torch": "2.14.1"}
    group = [record(0), record(1), record(2, minutes=1.0, peak_memory_mib=1300, machine=other)]
    assert card(group).causes[1] == (
        "3.2 minutes of training each on 1 thread(s), AVX2; 1 thread(s), AVX512, torch 2.14.1, "
        "1,300 MiB at most. Protocol classic."
    )


def test_the_causes_are_what_the_plan_did_otherwise():
    first, second = causes(record())
    assert "trained on BSDS400, the paper on DIV2K_train" in first
    assert "3,000 of 1,000,000 steps; 16 of 64 crops a step" in first
    assert "LR pixels" not in first  # the same in both
    assert "4.2 minutes of training on 1 thread(s), AVX2" in second


def test_a_later_stage_is_compared_with_its_own_sizes_in_the_plans():
    """Those with its prefix; a stage of another length than the plan's has no counterpart."""
    plan = {"data": "D", "network": {"channels": 32, "blocks": 6}, "generator": "msrresnet",
            "steps": 3000, "batch": 8, "patch": 24, "gan_steps": 600, "gan_patch": 16}  # fmt: skip
    paper = {"data": "D", "network": {"channels": 64, "blocks": 6}, "generator": "srresnet",
             "steps": 10_000, "batch": 16, "patch": 24, "gan_steps": 4000,
             "gan_patch": 32}  # fmt: skip
    stage = {"steps": 600, "batch": 8, "patch": 16}
    how = {"plan": plan, "paper": {"metrics": {}, "plan": paper}}
    assert otherwise(record(**how, stages=[stage], builds_on=["psnr"])) == (
        "msrresnet for srresnet; 32 of 64 channels; 600 of 4,000 steps after psnr; "
        "8 of 16 crops a step; 16 of 32 LR pixels a side of a crop"
    )
    twice = otherwise(record(**how, stages=[{"steps": 6000, "batch": 8, "patch": 24}]))
    assert twice.endswith("32 of 64 channels; 6,000 steps; 8 of 16 crops a step")
    same = {"plan": paper, "paper": {"metrics": {}, "plan": paper}}
    first = {"steps": 10_000, "batch": 16, "patch": 24}
    assert otherwise(record(**same, stages=[first])) == "nothing that the plan tells"


def test_a_card_tells_of_another_rate_and_of_a_start_that_is_not_the_papers():
    plan = {"data": "D", "steps": 9, "rate": 2e-3, "start": "picture", "gan_rate": 1e-4}
    paper = {"data": "D", "steps": 9, "rate": 1e-4, "gan_rate": 1e-4, "gan_steps": 9}
    how = {"plan": plan, "paper": {"metrics": {}, "plan": paper}}
    first = otherwise(record(**how, stages=[{"steps": 9, "plan": ""}]))
    assert first == "learning rate 0.002 for 0.0001; starts as an enlargement"
    second = record(**how, stages=[{"steps": 9, "plan": "gan_"}], builds_on=["psnr"])
    assert otherwise(second) == "9 steps after psnr"


def test_a_card_tells_of_gradients_that_were_clipped_and_of_another_fall_of_the_rate():
    paper = {"data": "D", "steps": 9}
    how = {"plan": paper | {"clip": 0.1, "fall": "cosine"}, "paper": {"metrics": {}, "plan": paper}}
    stage = {"steps": 9, "plan": ""}
    falls = "the rate falls as a cosine"
    said = otherwise(record(**how, stages=[stage | {"clip": 0.1}]))
    assert said == f"{falls}; gradients clipped to a norm of 0.1"
    assert otherwise(record(**how, stages=[stage | {"clip": None}])) == falls  # a control


def test_a_stage_says_which_sizes_of_the_plans_are_its_own():
    """Also where another's steps are as many: a corner of a cube has a network of its own."""
    plan = {"data": "D", "network": {"blocks": 4}, "ablation": {"blocks": 6}, "batch": 8,
            "patch": 24, "steps": 100, "ablation_steps": 100}  # fmt: skip
    paper = plan | {"network": {"blocks": 20}, "ablation": {"blocks": 24},
                    "steps": 9000, "ablation_steps": 500}  # fmt: skip
    how = {"plan": plan, "paper": {"metrics": {}, "plan": paper}}
    stage = {"steps": 100, "batch": 8, "patch": 24}

    def said(prefix):
        return otherwise(record(**how, stages=[stage | {"plan": prefix}]))

    assert said("") == "4 of 20 blocks; 100 of 9,000 steps"
    assert said("ablation_") == "6 of 24 blocks; 100 of 500 steps"
    assert said(None) == "4 of 20 blocks; 100 steps"  # it stands in no plan


def test_a_card_is_shown_as_text_and_as_html():
    shown = card(record())
    assert "Set5, PSNR, dB   32.24   30.00  -2.24" in str(shown)
    assert "<td>-2.24</td>" in shown._repr_html_()


def test_records_of_two_variants_are_no_card():
    with pytest.raises(ValueError, match=r"one variant with one budget.*rlfn/cyclic/laptop"):
        card([record(), record(variant="cyclic")])


def test_a_summary_has_a_line_a_variant_with_the_spread_of_its_seeds():
    """Runs on other data, or of other minutes, are not its seeds."""
    other = record(variant="cyclic", metrics={})
    short, mine = record(0, 25.0, minutes_a_stage=1), record(0, 26.0, plan={"data": "mine"})
    runs = [record(1, 30.4), other, record(0, 30.0, minutes=5.25), short, mine]
    lines = [line.split() for line in summary(runs).splitlines()[1:]]
    assert lines == [
        ["rlfn/laptop/long", "BSDS400", "0,", "1", "3,000", "4.8", "Set5", "30.20", "±", "0.28"],
        ["rlfn/laptop/cyclic", "BSDS400", "0", "3,000", "4.2"],  # measured on nothing
        ["rlfn/laptop/long", "BSDS400", "0", "3,000", "4.2", "Set5", "25.00"],
        ["rlfn/laptop/long", "mine", "0", "3,000", "4.2", "Set5", "26.00"],
    ]


def test_a_plot_is_a_png_and_needs_something_to_plot(tmp_path):
    plot([record(0), record(1)], tmp_path / "runs.png")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="not validated"):
        plot([record(stages=[{"steps": 5, "history": [{"step": 5}]}])], tmp_path / "none.png")


def test_an_opening_tells_times_and_hardware():
    told = opening(25, 30, laptop=12.4, records=[record(), record(minutes=1.75)])
    assert told.rows[1:] == [
        ["to read", "25 minutes"],
        ["to run, budget smoke", "30 seconds of one core"],
        ["to run, budget laptop", "12 minutes of one core"],
        ["the recorded runs", "2, in all 6 minutes"],
        ["they ran on", "1 thread(s), AVX2"],
    ]
    assert "<caption>" not in told._repr_html_()
    assert len(opening(5, 9).rows) == 3


def test_variants_stand_side_by_side_in_the_order_asked_for():
    runs = [record(0, 30.0), record(1, 30.2), record(0, 29.0, variant="short")]
    told = scores(runs, ["short", "absent", "long"], tests=["Set5"])
    assert told.rows == [
        ["", "parameters", "seeds", "Set5, PSNR, dB"],
        ["short", "87,816", "1", "29.00"],
        ["long", "87,816", "2", "30.10 ± 0.14"],
    ]
    assert [row[0] for row in scores(runs).rows[1:]] == ["long", "short"]


def test_validations_are_counted_through_the_stages():
    stage = {"steps": 1500, "history": [{"step": 10, "loss": 1.0}, {"step": 1500, "psnr": 29.0}]}
    assert validated(record(stages=[stage, stage])) == [(1500, 29.0), (3000, 29.0)]
    assert validated(record(), "lpips") == []
