"""The ledger: claims decided by runs, and every line read from a record."""

import json

import pytest

from srkit import ledger
from srkit.files import data_path
from srkit.recipes import RECIPES, recipe
from srkit.reports.claims import TELLS, Claim


def runs(*scores):
    """Records of variants "a" and "b", (a's PSNR, b's) a seed."""
    return [
        {"variant": variant, "seed": seed, "metrics": {"Set5": {"psnr": psnr}}}
        for seed, pair in enumerate(scores)
        for variant, psnr in zip("ab", pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("scores", "sign", "verdict"),
    [
        ([(30.5, 30.0)], 1, "yes (1 seed)"),
        ([(30.5, 30.0)], -1, "no (1 seed)"),
        ([(30.5, 30.0)], 0, "yes (1 seed)"),
        ([(29.5, 30.0)], 0, "no (1 seed)"),
        ([(30.05, 30.0)], 1, "cannot tell (1 seed)"),
        ([(30.05, 30.0)], 0, "yes (1 seed)"),
        ([(30.5, 30.0), (30.4, 30.0), (30.6, 30.0)], 1, "yes (3 seeds)"),
        ([(31.0, 30.0), (29.5, 30.0), (30.2, 30.0)], 1, "cannot tell (3 seeds)"),
        ([(30.2, 30.0), (30.3, 30.0), (30.4, 30.0)], 1, "yes (3 seeds)"),  # 0.05 ... 0.55
        ([(30.1, 30.0), (30.3, 30.0), (30.5, 30.0)], 1, "cannot tell (3 seeds)"),  # -0.2 ... 0.8
        ([(32.0, 30.0), (32.5, 30.0)], 1, "cannot tell (2 seeds)"),  # -0.93 ... 5.43
        ([], 1, "not run"),
    ],
)
def test_a_claim_is_decided_by_size_and_by_spread(scores, sign, verdict):
    claim = Claim("a beats b", "a", "b", sign=sign)
    assert claim.verdict(claim.differences(runs(*scores))) == verdict


def test_only_seeds_that_both_variants_have_are_compared():
    claim = Claim("a beats b", "a", "b")
    records = runs((30.0, 29.0), (31.0, 29.0))
    assert claim.differences(records) == {0: 1.0, 1: 2.0}
    assert claim.differences(records[:3]) == {0: 1.0}
    assert claim.differences([]) == {}


def test_a_claim_may_be_about_what_stands_in_the_record_itself():
    """Each record's own baseline, on the test of the claim; another variant's does not count."""
    records = runs((30.0, 29.0), (31.0, 29.0))
    for record, psnr in zip(records, (28.0, 11.0, 28.5, 12.0), strict=True):
        record["baselines"] = {"Set5": {"bicubic": {"psnr": psnr}}, "Set14": {"rlfn": {"psnr": 1}}}
    claim = Claim("a beats bicubic", "a", "bicubic")
    assert claim.differences(records) == {0: 2.0, 1: 2.5}
    assert claim.verdict(claim.differences(records)) == "cannot tell (2 seeds)"
    assert Claim("a beats rlfn", "a", "rlfn").differences(records) == {}
    assert Claim("a beats b", "a", "b").differences(records) == {0: 1.0, 1: 2.0}
    assert claim.differences(runs((30.0, 29.0))) == {}


def test_a_claim_may_compare_two_tests_of_one_variant(monkeypatch):
    """TTSR's: references that are alike against others; a baseline is the other test's, too."""
    records = runs((30.0, 29.0), (31.0, 29.0))
    for record, psnr in zip(records, (29.5, 1.0, 30.75, 1.0), strict=True):
        record |= {"budget": "laptop", "machine": {"gpu": None, "threads": 1, "capability": ""}}
        record["metrics"]["Set14"] = {"psnr": psnr}
        record["baselines"] = {"Set14": {"bicubic": {"psnr": psnr - 1}}}
    claim = Claim("Set5 is easier", "a", "a", test="Set5", against_test="Set14")
    assert claim.differences(records) == {0: 0.5, 1: 0.25}
    assert Claim("than b's", "a", "b", against_test="Set14").differences(records) == {
        0: 29.0,
        1: 30.0,
    }
    than = Claim("than bicubic's", "a", "bicubic", against_test="Set14")
    assert than.differences(records) == {0: 1.5, 1: 1.25}
    monkeypatch.setattr(ledger, "read_runs", lambda name: records)
    monkeypatch.setattr(ledger.recipe("ttsr"), "CLAIMS", (claim,))
    (line,) = ledger.claims(["ttsr"]).lines
    assert line.claim == "Set5 is easier (a, Set5 - a, Set14, PSNR, dB)"
    assert line.cause == "cannot tell (2 seeds)"


def test_the_hardware_of_a_claim_is_that_of_the_seeds_it_was_tested_with(monkeypatch):
    records = runs((30.0, 29.0), (31.0, 29.0), (32.0, 29.0))
    for record, capability in zip(records, ("A", "A", "B", "B", "C", "C"), strict=True):
        machine = {"gpu": None, "threads": 1, "capability": capability}
        record |= {"budget": "laptop", "machine": machine}
    monkeypatch.setattr(ledger, "read_runs", lambda name: records[:5])
    monkeypatch.setattr(ledger.recipe("ttsr"), "CLAIMS", (Claim("a beats b", "a", "b"),))
    (line,) = ledger.claims(["ttsr"]).lines
    assert line.cause == "cannot tell (2 seeds)"
    assert line.hardware == "1 thread(s), A; 1 thread(s), B"


@pytest.mark.parametrize("name", RECIPES)
def test_claims_are_about_variants_and_baselines_that_exist(name):
    module, texts = recipe(name), set()
    laptop = module.BUDGETS["laptop"]
    known = [*module.VARIANTS, *laptop.get("baselines", ())]
    for claim in getattr(module, "CLAIMS", ()):
        assert claim.of in module.VARIANTS
        assert known.count(claim.against) == 1, claim.says
        other = claim.against_test or claim.test
        assert (claim.of, claim.test) != (claim.against, other)
        assert {claim.test, other} <= set(laptop["tests"])
        assert claim.metric in TELLS
        texts.add(claim.says)
    assert len(texts) == len({line.claim for line in ledger.claims([name]).lines})


def test_the_authors_weights_stand_beside_their_tables():
    book = ledger.weights()
    line = next(x for x in book.lines if x.claim == "rlfn x4, Set5, PSNR, dB")
    assert (line.paper, line.theirs, line.ours, line.gap) == ("RLFN", "32.24'", "32.24", "+0.00")
    assert line.budget == "authors' weights"
    gaps = [x for x in book.lines if abs(float(x.gap)) > 0.01]
    assert all(x.cause for x in gaps)
    assert ledger.gap_cause("Set14", 0.09, False).startswith("Set14's grey picture")
    assert ledger.gap_cause("Set5", 0.3, True) == "not found; the paper's value is second-hand"


def test_trained_lines_are_the_records():
    records = json.loads(data_path("runs/enhancenet.json").read_text())
    ours = [r["metrics"]["Set5"]["psnr"] for r in records if r["variant"] == "e"]
    line = next(x for x in ledger.trained(["enhancenet"]).lines if x.claim.startswith("e, Set5"))
    assert line.ours.startswith(f"{sum(ours) / len(ours):.2f}")
    assert line.theirs == "31.74"
    assert "of 500,000 steps" in line.cause


def test_a_paper_s_difference_is_taken_from_its_own_figures():
    line = next(x for x in ledger.claims(["enhancenet"]).lines if "costs PSNR (pat" in x.claim)
    assert line.theirs == "-3.18"
    assert line.cause.startswith("yes")


def test_the_ledger_answers_claims_about_baselines(monkeypatch):
    """ZSSR's, from a record: the difference to what bicubic makes of the same pictures."""
    record = {
        "variant": "zssr", "seed": 0, "budget": "laptop",
        "machine": {"gpu": None, "threads": 1, "capability": "AVX2"},
        "metrics": {"Set5": {"psnr": 34.0}}, "baselines": {"Set5": {"bicubic": {"psnr": 29.0}}},
    }  # fmt: skip
    larger = record | {"budget": "gpu", "metrics": {"Set5": {"psnr": 34.5}}}
    monkeypatch.setattr(ledger, "read_runs", lambda name: [record, larger])
    lines = ledger.claims(["zssr"]).lines
    found = [line for line in lines if line.cause != "not run"]
    claim = "told the blur beats bicubic (zssr - bicubic, Set5, PSNR, dB)"
    assert [(x.claim, x.theirs, x.ours, x.cause, x.budget) for x in found] == [
        (claim, "higher", "+5.00", "yes (1 seed)", "laptop"),
        (claim, "higher", "+5.50", "yes (1 seed)", "gpu"),
    ]
    assert all(line.budget == line.hardware == "" for line in lines if line not in found)


def test_a_ledger_is_shown_as_text_and_as_html():
    book = ledger.claims(["enhancenet"])
    assert str(book).splitlines()[0].split()[:2] == ["paper", "claim"]
    assert "<th>the paper&#x27;s</th>" in book._repr_html_()
    assert (book.rows[0][5], ledger.weights().rows[0][5]) == ("answer", "cause")
    assert len(book.rows) == len(book.lines) + 1
