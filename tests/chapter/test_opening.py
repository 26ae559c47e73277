"""A chapter's first screen and its footer: verdicts come from records and tests."""

import pytest
import torch

from srkit import chapter, ledger
from srkit.chapter.opening import NOT_HERE
from srkit.reports.records import Records


def test_a_verdict_by_runs_is_the_ledgers():
    (tested,) = [
        each for each in ledger.findings(["rlfn"])
        if (each.claim.of, each.claim.against) == ("warm-start", "long")
        and each.budget == "laptop"
    ]  # fmt: skip
    verdict = chapter.by_runs("rlfn", "warm-start", "long", claim="Restarts help.")
    assert (verdict.claim, verdict.answer) == ("Restarts help.", tested.finding.verdict)
    assert tested.ours in verdict.number
    assert f"{len(tested.finding.seeds)} seeds" in verdict.number
    assert "warm-start against long" in verdict.how


def test_a_claim_that_is_not_there_or_not_alone_is_refused():
    with pytest.raises(ValueError, match="0 claims of rlfn compare rlfn with nothing"):
        chapter.by_runs("rlfn", "rlfn", "nothing")


def test_what_runs_could_have_seen_is_the_findings():
    tested = chapter.finding("rlfn", "warm-start", "long")
    text = str(chapter.could_see(tested))
    assert tested.ours in text
    assert f"{tested.finding.sees:.2f}" in text
    assert "seeds for 0.1" in text
    assert str(tested.finding.seeds_to_see(0.1)) in text.splitlines()[-1].split()
    none = chapter.finding("rlfn", "warm-start", "long", budget="gpu")
    assert (none.finding.seeds, none.budget) == ((), "gpu")
    verdict = chapter.by_runs("rlfn", "warm-start", "long", budget="gpu")
    assert (verdict.answer, verdict.number) == ("not run", "")
    assert "(gpu)" in str(chapter.could_see(tested, none))


def test_verdicts_print_and_show_claim_test_and_answer():
    table = chapter.verdicts(
        chapter.by_test("It is exact.", "bit for bit", True, "0 of 48 differ"),
        chapter.by_test("It is <fast>.", "timed", False, "1.0 ± 0.1 times"),
        chapter.by_test("It has data.", "Set5", None),
    )
    assert "It is exact." in str(table)
    assert "yes 0 of 48 differ" in str(table)
    page = table._repr_html_()
    assert "It is &lt;fast&gt;." in page
    assert [word in page for word in (">yes<", ">no<", f">{NOT_HERE}<")] == [True] * 3
    assert "1.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.1" in page, "a spread stays at its number"


def test_needs_says_what_is_missing_and_how_to_get_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    assert chapter.needs()
    assert capsys.readouterr().out == ""
    assert not chapter.needs("Set5", "vgg19", lpips=True, weights={"rlfn_x4": "official"})
    said = capsys.readouterr().out
    for words in (
        "Set5 (srkit fetch Set5)", "VGG-19 (put backbones/vgg19_oxford.npz under SRKIT_HOME)",
        "LPIPS (put",
        "rlfn_x4 with the weights 'official' (srkit fetch rlfn_x4 --weights official)",
    ):  # fmt: skip
        assert words in said
    (tmp_path / "benchmarks" / "Set5").mkdir(parents=True)
    assert chapter.needs("Set5")
    with pytest.raises(ValueError, match="unknown data set 'Set6'"):
        chapter.needs("Set6")
    with pytest.raises(ValueError, match="rlfn_x4 has no weights 'x': choose one of official"):
        chapter.needs(weights={"rlfn_x4": "x"})


def test_a_footer_counts_the_records():
    runs = Records.of("rlfn").budget("laptop")
    text = str(chapter.footer(20, 30, laptop=4, records=runs))
    assert f"{len(runs)}, in all {sum(r.minutes for r in runs):.0f} minutes" in text
    assert "4 minutes of one core" in text
    assert "1 minute of one core" in str(chapter.footer(20, 30, laptop=1))


def test_begin_computes_with_one_thread():
    before = torch.get_num_threads()
    chapter.begin()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
