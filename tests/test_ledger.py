"""The ledger: claims decided by runs, and every line read from a record."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from toy import record

from srkit import ledger
from srkit.files import data_path
from srkit.recipes import RECIPES, recipe
from srkit.reports.claims import TELLS, Claim, Finding
from srkit.reports.records import Records


def runs(*scores):
    """Records of variants "a" and "b", (a's PSNR, b's) a seed."""
    return Records(
        record(seed, psnr, variant=variant)
        for seed, pair in enumerate(scores)
        for variant, psnr in zip("ab", pair, strict=True)
    )


@pytest.mark.parametrize(
    ("scores", "sign", "verdict"),
    [
        # one seed is never a yes or a no
        ([(30.5, 30.0)], 1, "one seed"),
        ([(30.5, 30.0)], -1, "one seed"),
        ([(29.5, 30.0)], 0, "one seed"),
        ([(30.5, 30.0), (30.4, 30.0), (30.6, 30.0)], 1, "yes"),
        ([(30.5, 30.0), (30.4, 30.0), (30.6, 30.0)], -1, "no"),
        ([(31.0, 30.0), (29.5, 30.0), (30.2, 30.0)], 1, "cannot tell"),
        ([(30.2, 30.0), (30.3, 30.0), (30.4, 30.0)], 1, "yes"),  # 0.05 ... 0.55
        ([(30.1, 30.0), (30.3, 30.0), (30.5, 30.0)], 1, "cannot tell"),  # -0.2 ... 0.8
        ([(30.05, 30.0), (30.05, 30.0), (30.05, 30.0)], 1, "cannot tell"),  # sure, but too small
        ([(32.0, 30.0), (32.5, 30.0)], 1, "cannot tell"),  # -0.93 ... 5.43
        # no worse: the whole interval lies above -0.1
        ([(30.0, 30.0), (30.02, 30.0), (29.98, 30.0)], 0, "yes"),  # -0.05 ... 0.05
        ([(30.5, 30.0), (30.1, 30.0), (30.3, 30.0)], 0, "cannot tell"),  # -0.2 ... 0.8
        ([(29.9, 30.0), (29.95, 30.0), (30.0, 30.0)], 0, "cannot tell"),  # -0.17 ... 0.07
        ([(29.5, 30.0), (29.4, 30.0), (29.6, 30.0)], 0, "no"),
        ([], 1, "not run"),
    ],
)
def test_a_claim_is_decided_by_size_and_by_spread(scores, sign, verdict):
    assert Claim("a beats b", "a", "b", sign=sign).tested(runs(*scores)).verdict == verdict


def test_a_finding_is_numbers():
    """Student's t: with three seeds the interval is 4.303 standard errors to each side."""
    finding = Claim("a beats b", "a", "b").tested(runs((30.2, 30.0), (30.3, 30.0), (30.4, 30.0)))
    assert finding.seeds == (0, 1, 2)
    assert finding.mean == pytest.approx(0.3)
    assert finding.half == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert finding.interval == pytest.approx((0.3 - finding.half, 0.3 + finding.half))
    one = Finding(finding.claim, {0: 0.5})
    assert (one.mean, one.half, one.interval) == (0.5, None, None)
    none = Finding(finding.claim, {})
    assert (none.mean, none.half, none.interval) == (None, None, None)


def test_only_seeds_that_both_variants_have_are_compared():
    claim = Claim("a beats b", "a", "b")
    records = runs((30.0, 29.0), (31.0, 29.0))
    assert claim.tested(records).differences == {0: 1.0, 1: 2.0}
    assert claim.tested(records[:3]).differences == {0: 1.0}
    assert claim.tested(Records([])).differences == {}


def with_scores(records, baselines=None, **scores):
    """The records with further metrics or baselines, a value each."""
    changed = []
    for k, each in enumerate(records):
        found = each.metrics | {test: {"psnr": values[k]} for test, values in scores.items()}
        changed.append(replace(each, metrics=found, baselines=(baselines or {}).get(k, {})))
    return Records(changed)


def test_a_claim_may_be_about_what_stands_in_the_record_itself():
    """Each record's own baseline, on the test of the claim; another variant's does not count."""
    psnrs = enumerate((28.0, 11.0, 28.5, 12.0))
    baselines = {
        k: {"Set5": {"bicubic": {"psnr": p}}, "Set14": {"rlfn": {"psnr": 1}}} for k, p in psnrs
    }
    records = with_scores(runs((30.0, 29.0), (31.0, 29.0)), baselines)
    claim = Claim("a beats bicubic", "a", "bicubic")
    assert claim.tested(records).differences == {0: 2.0, 1: 2.5}
    assert Claim("a beats rlfn", "a", "rlfn").tested(records).differences == {}
    assert Claim("a beats b", "a", "b").tested(records).differences == {0: 1.0, 1: 2.0}
    assert claim.tested(runs((30.0, 29.0))).differences == {}


def test_a_claim_may_compare_two_tests_of_one_variant():
    """TTSR's: references that are alike against others; a baseline is the other test's, too."""
    other = (29.5, 1.0, 30.75, 1.0)
    baselines = {k: {"Set14": {"bicubic": {"psnr": p - 1}}} for k, p in enumerate(other)}
    records = with_scores(runs((30.0, 29.0), (31.0, 29.0)), baselines, Set14=other)
    claim = Claim("Set5 is easier", "a", "a", test="Set5", against_test="Set14")
    assert claim.tested(records).differences == {0: 0.5, 1: 0.25}
    than = Claim("than b's", "a", "b", against_test="Set14")
    assert than.tested(records).differences == {0: 29.0, 1: 30.0}
    than = Claim("than bicubic's", "a", "bicubic", against_test="Set14")
    assert than.tested(records).differences == {0: 1.5, 1: 1.25}


@pytest.fixture
def book(monkeypatch):
    """`book(records, claim, ...)`: the lines of a ledger of these alone."""

    def lines(records, *claims):
        toy = SimpleNamespace(
            label="Toy", claims=claims, published={}, budgets=("smoke", "laptop", "gpu")
        )
        monkeypatch.setattr(ledger, "recipe", lambda name: toy)
        monkeypatch.setattr(ledger, "records", lambda name: records)
        return ledger.claims(["toy"]).lines

    return lines


def test_a_line_names_both_tests_and_the_number_of_seeds(book):
    records = with_scores(runs((30.0, 29.0), (31.0, 29.0)), Set14=(29.5, 1.0, 30.75, 1.0))
    (line,) = book(records, Claim("Set5 is easier", "a", "a", against_test="Set14"))
    assert line.claim == "Set5 is easier (a, Set5 - a, Set14, PSNR, dB)"
    assert line.cause == "cannot tell (2 seeds)"
    assert line.ours.startswith("+0.38 ± ")


def test_the_hardware_of_a_claim_is_that_of_the_seeds_it_was_tested_with(book):
    records = runs((30.0, 29.0), (31.0, 29.0), (32.0, 29.0))
    machines = [{"gpu": None, "threads": 1, "capability": c} for c in "AABBCC"]
    pairs = zip(records, machines, strict=True)
    records = Records(replace(each, machine=machine) for each, machine in pairs)
    (line,) = book(records[:5], Claim("a beats b", "a", "b"))
    assert line.cause == "cannot tell (2 seeds)"
    assert line.hardware == "1 thread(s), A; 1 thread(s), B"


def test_the_ledger_answers_claims_about_baselines(book):
    """The difference to what bicubic makes of the same pictures; a line a budget."""
    baselines = {"Set5": {"bicubic": {"psnr": 29.0}}}
    small = record(0, 34.0, variant="zssr", baselines=baselines)
    large = replace(small, budget="gpu", metrics={"Set5": {"psnr": 34.5}})
    better = Claim("told the blur beats bicubic", "zssr", "bicubic")
    other = Claim("of noise, too", "noisy", "bicubic")
    lines = book(Records([small, large]), better, other)
    claim = "told the blur beats bicubic (zssr - bicubic, Set5, PSNR, dB)"
    assert [(x.claim, x.theirs, x.ours, x.cause, x.budget) for x in lines[:2]] == [
        (claim, "higher", "+5.00", "one seed", "laptop"),
        (claim, "higher", "+5.50", "one seed", "gpu"),
    ]
    assert (lines[2].cause, lines[2].budget, lines[2].hardware) == ("not run", "", "")


@pytest.mark.parametrize("name", RECIPES)
def test_claims_are_about_variants_and_baselines_that_exist(name):
    own, texts = recipe(name), set()
    known = [*own.variants, *own.baselines]
    tests = own.budgets["laptop"].tests
    for claim in own.claims:
        assert claim.of in own.variants
        assert known.count(claim.against) == 1, claim.says
        other = claim.against_test or claim.test
        assert (claim.of, claim.test) != (claim.against, other)
        assert {claim.test, other} <= set(tests)
        assert claim.metric in TELLS
        texts.add(claim.says)
    assert len(texts) == len({line.claim for line in ledger.claims([name]).lines})


def test_every_verdict_of_yes_or_no_rests_on_several_seeds():
    """And its interval says so: all of it on one side, or above what such runs can tell."""
    for each in ledger.findings(RECIPES):
        if each.finding.verdict in ("yes", "no"):
            low, high = each.finding.interval
            sides = low >= 0 or high <= 0
            assert len(each.finding.seeds) > 1
            assert sides or (each.claim.sign == 0 and low > -TELLS[each.claim.metric])


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
    assert "steps 3,000 for 500,000" in line.cause


def test_a_paper_s_difference_is_taken_from_its_own_figures():
    line = next(x for x in ledger.claims(["enhancenet"]).lines if "costs PSNR (pat" in x.claim)
    assert line.theirs == "-3.18"
    assert line.cause.startswith("yes")


def test_a_ledger_is_shown_as_text_and_as_html():
    book = ledger.claims(["enhancenet"])
    assert str(book).splitlines()[0].split()[:2] == ["paper", "claim"]
    assert "<th>the paper&#x27;s</th>" in book._repr_html_()
    assert (book.rows[0][5], ledger.weights().rows[0][5]) == ("answer", "cause")
    assert len(book.rows) == len(book.lines) + 1
