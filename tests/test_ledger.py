"""The ledger: claims decided by runs, and every line read from a record."""

# ruff: noqa: F811, fixtures are both imported and asked for

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from page import Page, browser  # noqa: F401, a fixture
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


def test_a_tenth_of_a_decibel_and_two_hundredths_of_lpips_count():
    """Below them chance decides between runs of minutes; at them a difference counts."""
    assert TELLS == {"psnr": 0.1, "lpips": 0.02, "lpips-squeeze": 0.02}
    for metric, least in TELLS.items():
        finding = Finding(Claim("a", "a", "b", metric=metric), {0: 0.0, 1: 2 * least})
        assert finding.seeds_to_see(least) is not None
        assert finding.seeds_to_see(0.999 * least) is None


def test_a_finding_knows_what_it_could_have_seen_and_what_it_takes_to_see_more():
    finding = Finding(Claim("a beats b", "a", "b"), {0: 0.0, 1: 0.1, 2: 0.2})  # deviation 0.1
    assert finding.sees == finding.half == pytest.approx(0.2484, abs=1e-4)
    # t of 6 - 1 and of 7 - 1 degrees of freedom: 2.571, 2.447
    assert finding.seeds_to_see(2.571 * 0.1 / 6**0.5 + 1e-4) == 6
    assert finding.seeds_to_see(-(2.571 * 0.1 / 6**0.5) + 1e-4) == 7
    assert finding.seeds_to_see(5.0) == 2
    assert finding.seeds_to_see(TELLS["psnr"] / 2) is None, "too small to count"
    sure = Finding(finding.claim, {0: 0.01, 1: 0.01, 2: 0.01})
    assert sure.sees == TELLS["psnr"], "no difference below this one counts"
    assert Finding(finding.claim, {0: 0.5}).sees is None
    assert Finding(finding.claim, {0: 0.5}).seeds_to_see(0.2) is None


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
    """`book(records, claim, ...)`: the ledger of a paper with these alone."""

    def made(records, *claims):
        variants = dict.fromkeys(record.variant for record in records)
        toy = SimpleNamespace(
            label="Toy",
            claims=claims,
            published={},
            budgets=("smoke", "laptop", "gpu"),
            variants=variants,
        )
        monkeypatch.setattr(ledger, "recipe", lambda name: toy)
        monkeypatch.setattr(ledger, "records", lambda name: records)
        return ledger.claims(["toy"])

    return made


def test_a_row_names_both_tests_and_the_number_of_seeds(book):
    records = with_scores(runs((30.0, 29.0), (31.0, 29.0)), Set14=(29.5, 1.0, 30.75, 1.0))
    (block,) = book(records, Claim("Set5 is easier", "a", "a", against_test="Set14")).blocks
    head, row = block.claims
    assert dict(zip(head, row, strict=True)) == {
        "answer": "cannot tell",
        "claim": "Set5 is easier",
        "compared": "a, Set5 − a, Set14, PSNR, dB",
        "the paper's": "higher",
        "ours": "+0.38 ± 1.59",
        "seeds": "2",
        "budget": "laptop",
    }


def test_only_the_runs_that_a_claim_was_tested_with_are_its_records(book):
    records = runs((30.0, 29.0), (31.0, 29.0), (32.0, 29.0))[:5]
    (block,) = book(records, Claim("a beats b", "a", "b")).blocks
    assert [record.seed for record in block.tested[0].records] == [0, 1]


def test_the_ledger_answers_claims_about_baselines(book):
    """The difference to what bicubic makes of the same pictures; a row a budget."""
    baselines = {"Set5": {"bicubic": {"psnr": 29.0}}}
    small = record(0, 34.0, variant="zssr", baselines=baselines)
    large = replace(small, budget="gpu", metrics={"Set5": {"psnr": 34.5}})
    better = Claim("told the blur beats bicubic", "zssr", "bicubic")
    other = Claim("of noise, too", "noisy", "bicubic")
    (block,) = book(Records([small, large]), better, other).blocks
    assert [(t.finding.verdict, t.ours, t.budget) for t in block.tested] == [
        ("one seed", "+5.00", "laptop"),
        ("one seed", "+5.50", "gpu"),
        ("not run", "", ""),
    ]
    assert block.tested[0].compared == "zssr − bicubic, Set5, PSNR, dB"


def test_what_failed_stands_first_then_what_surprises(book):
    """Then yes, cannot tell, one seed and not run; a paper's figure that our interval leaves out
    surprises, whatever the answer."""
    records = runs((30.5, 30.0), (30.4, 30.0), (30.6, 30.0))
    records = with_scores(records, Set14=(30, 30, 30.05, 30, 30.1, 30))
    claims = [
        Claim("not run", "c", "b"),
        Claim("cannot tell", "a", "b", test="Set14"),
        Claim("yes", "a", "b"),
        Claim("yes, as large", "a", "b", paper=0.6),
        Claim("yes, not as large", "a", "b", paper=3.0),
        Claim("no", "a", "b", sign=-1),
    ]
    found = book(records, *claims)
    (block,) = found.blocks
    assert [each.claim.says for each in block.tested] == [
        "no", "yes, not as large", "yes", "yes, as large", "cannot tell", "not run",
    ]  # fmt: skip
    assert found.summary == "6 claims: 1 no, 3 yes, 1 cannot tell, 1 not run"
    html = found._repr_html_()
    assert html.count("own difference lies outside our interval") == 1


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
    assert len(texts) == len({each.claim.says for each in ledger.findings([name])})


def test_every_verdict_of_yes_or_no_rests_on_several_seeds():
    """And its interval says so: all of it on one side, or above what such runs can tell."""
    for each in ledger.findings(RECIPES):
        if each.finding.verdict in ("yes", "no"):
            low, high = each.finding.interval
            sides = low >= 0 or high <= 0
            assert len(each.finding.seeds) > 1
            assert sides or (each.claim.sign == 0 and low > -TELLS[each.claim.metric])


def test_the_authors_weights_stand_beside_their_tables():
    book = {(each.model, each.data): each for each in ledger.weights()}
    row = book["rlfn_x4", "Set5"]
    assert (row.paper, row.theirs, round(row.ours, 2), row.gap) == ("RLFN", 32.24, 32.24, 0)
    assert row.second_hand
    assert all(each.cause for each in book.values() if abs(each.gap) > 0.01)
    guess = ledger.gap_cause("Set14", 0.09, False)
    assert guess.startswith("perhaps Set14's grey picture")
    assert guess.endswith("the size fits")
    assert ledger.gap_cause("Set5", 0.3, True) == "not found; the paper's value is second-hand"


def test_a_paper_s_agreement_is_its_figures_and_the_largest_gap():
    _, *rows = ledger.agreement().rows
    figures = [each for each in ledger.weights() if each.paper == "CARN"]
    row = next(row for row in rows if row[0] == "CARN")
    near = sum(abs(each.gap) <= 0.01 for each in figures)
    worst = max((each.gap for each in figures), key=abs)
    assert row == ["CARN", str(len(figures)), str(near), f"{worst:+.2f}", "not found"]


def test_whole_networks_are_the_records():
    records = json.loads(data_path("runs/enhancenet.json").read_text())
    ours = [r["metrics"]["Set5"]["psnr"] for r in records if r["variant"] == "e"]
    found = next(
        each for each in ledger.reached("enhancenet") if (each.variant, each.test) == ("e", "Set5")
    )
    assert found.ours == tuple(ours)
    assert found.theirs == 31.74
    assert found.gap == pytest.approx(sum(ours) / len(ours) - 31.74)


def test_a_paper_s_difference_is_taken_from_its_own_figures():
    found = ledger.findings(["enhancenet"])
    tested = next(each for each in found if each.claim.says == "the full loss costs PSNR")
    assert tested.expected == "-3.18"
    assert tested.finding.verdict == "yes"


def test_the_cause_of_all_gaps_stands_once_a_paper():
    book = ledger.claims(["enhancenet"])
    (block,) = book.blocks
    assert "pat: channels 32 for 64" in block.cause
    assert "steps 500 for 500,000" in block.cause
    for shown in (str(book), book._repr_html_()):
        assert shown.count("steps 500 for 500,000") == 1
        assert shown.count("data/runs/enhancenet.json") == 1
        assert "AVX" not in shown  # the machine stands in the record


@pytest.fixture(scope="module")
def whole():
    return ledger.claims()


def test_every_claim_stands_once_as_text_and_as_html(whole):
    html = whole._repr_html_()
    page = Page(html)
    findings = ledger.findings()
    rows = [tag["data-answer"] for tag in page.all("tr") if "data-answer" in tag]
    assert sorted(rows) == sorted(each.finding.verdict for each in findings)
    assert whole.counts.total() == len(findings)
    assert [tag["id"] for tag in page.all("section")] == [f"ledger-{name}" for name in RECIPES]
    links = [tag["href"] for tag in page.all("a")]
    assert links == [f"#ledger-{name}" for name in RECIPES]
    text = str(whole)
    assert text.startswith(whole.summary)
    for each in findings:
        assert each.claim.says in text
        assert f'<td class="number">{each.ours.replace(" ", chr(160))}</td>' in html


def test_one_paper_alone_has_no_filter():
    page = Page(ledger.claims(["rlfn"])._repr_html_())
    assert page.all("select") == []
    assert len(page.all("section")) == 1


def test_the_filter_works_without_a_kernel(whole, browser):
    """By the keyboard alone: a paper, an answer, a budget; and all of them again."""
    page = browser.new_page()
    page.set_content(whole._repr_html_())
    assert page.locator(".filter select").count() == 3
    all_rows = whole.counts.total()

    def shown():
        rows = page.locator("tr[data-answer]:visible")
        papers = page.locator("section:visible h3").all_inner_texts()
        assert page.locator("output").inner_text() == f"{rows.count()} of {all_rows} claims"
        return rows.count(), [paper.split()[0] for paper in papers]

    page.locator("select[name=paper]").focus()
    page.keyboard.type("MSRN")
    (msrn,) = ledger.claims(["msrn"]).blocks
    assert shown() == (len(msrn.tested), ["MSRN"])
    page.keyboard.press("Home")
    assert shown()[0] == all_rows
    page.keyboard.press("Tab")
    page.keyboard.type("no")
    failed = [block for block in whole.blocks if block.tested[0].finding.verdict == "no"]
    assert shown() == (whole.counts["no"], [block.paper for block in failed])
    page.keyboard.press("Home")
    page.locator("select[name=budget]").select_option("laptop")
    ran = [each for block in whole.blocks for each in block.tested if each.budget == "laptop"]
    assert shown()[0] == len(ran)
    page.close()
