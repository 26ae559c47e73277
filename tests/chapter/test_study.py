"""The study in the page: blind, fair, kept; what its answers say, in Python and in the browser."""

# ruff: noqa: F811, a fixture is both imported and asked for

import json
import re

import pytest
import torch
from page import Page, browser, decode  # noqa: F401, a fixture
from scipy.stats import binomtest

from srkit.chapter import study as module
from srkit.chapter.study import interval, read_study, study

METHODS = ("Alpha", "Beta")


def pictures(n, size=8):
    """Pictures whose levels tell pair and method: Alpha even, Beta odd."""
    grey = torch.arange(2 * n).view(n, 2, 1, 1, 1) / 255
    levels = grey.expand(n, 2, 3, size, size)
    return {f"pair-{k}": dict(zip(METHODS, levels[k], strict=True)) for k in range(n)}


def a_study(n, **how):
    return study(pictures(n), **{"question": "Which?", "name": "t", "alt": "grey", **how})


# ----------------------------------------------------------------------------------- the interval


@pytest.mark.parametrize(
    ("wins", "trials", "expected"),
    [  # rounded as tables of exact intervals have them
        (0, 10, (0, 0.3085)),
        (7, 10, (0.3475, 0.9333)),
        (10, 10, (0.6915, 1)),
        (0, 0, (0, 1)),
        (5, 20, (0.0866, 0.4910)),
    ],
)
def test_interval_is_clopper_pearson(wins, trials, expected):
    assert interval(wins, trials) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_interval_agrees_with_scipy(level):
    for wins, trials in [(1, 1), (3, 7), (9, 10), (50, 100), (999, 2000)]:
        exact = binomtest(wins, trials).proportion_ci(level, "exact")
        assert interval(wins, trials, level) == pytest.approx(tuple(exact), abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((3, 2), "3 wins of 2 trials"), ((-1, 2), "-1 wins"), ((1, 2, 95), "level=95: .* 0.95")],
)
def test_interval_refuses_what_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        interval(*arguments)


def test_the_browsers_interval_is_pythons(browser):
    page = browser.new_page()
    cases = [(w, n) for n in (1, 2, 5, 12, 40, 300) for w in {0, 1, n // 3, n - 1, n}]
    code = f"cases => {{ {module._INTERVAL}; return cases.map(([w, n]) => interval(w, n)) }}"
    for case, found in zip(cases, page.evaluate(code, cases), strict=True):
        assert found == pytest.approx(interval(*case), abs=1e-9), case
    page.close()


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alt": " "}, "say in a sentence what the picture shows"),
        ({"name": "a b"}, "name='a b': give letters, digits and dashes"),
        ({"alt": "Beta and the other"}, "alt or question name 'Beta'"),
        ({"question": "Is Alpha sharper?"}, "would not be blind"),
    ],
)
def test_study_refuses_what_would_spoil_it(change, words):
    with pytest.raises(ValueError, match=words):
        a_study(2, **change)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ({}, "study got no pairs"),
        ({"p": {"A": 8}}, r"between two methods, got 1 \(A\)"),
        ({"p": {"A": 8, "B": 8, "C": 8}}, r"got 3 \(A, B, C\): make one study for each two"),
        ({"p": {"A": 8, "B": 8}, "q": {"A": 8, "C": 8}}, r"'q' is of \['A', 'C'\]"),
        ({"p": {"A": 8, "B": 9}}, "must have one size"),
        ({"p": {"A": 8, "B": 8}, "q": {"A": 9, "B": 9}}, "must have one size"),
    ],
)
def test_study_wants_two_methods_of_one_size(pairs, words):
    named = {p: {m: torch.zeros(3, s, s) for m, s in two.items()} for p, two in pairs.items()}
    with pytest.raises(ValueError, match=words):
        study(named, question="Which?", name="t", alt="grey")


def test_the_figure_has_every_pixel_and_its_still_no_name():
    figure = a_study(2, zoom=3)
    assert figure == a_study(2, zoom=3), "a second run would change the notebook"
    (attrs,) = Page(figure.html).all("figure")
    asked = json.loads(attrs["data-study"])
    assert asked["width"] == 24
    levels = [
        decode(uri.partition(",")[2]).getpixel((0, 0))[0]
        for pair in asked["pairs"]
        for uri in pair["pictures"]
    ]
    assert levels == [0, 1, 2, 3]
    assert decode(figure._repr_png_()).size > (16, 8)
    assert not any(method in figure.alt + repr(figure) for method in METHODS)


# ------------------------------------------------------------------------------------ in a browser


class Reader:
    """One reader at one browser; sees which picture is which only by its level."""

    def __init__(self, browser, figure):
        self.context = browser.new_context(viewport={"width": 390, "height": 700})
        self.page, self.errors, self.html = self.context.new_page(), [], figure.html
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        # a page with an address: without one there is no localStorage
        self.page.route("http://study.test/*", lambda route: route.fulfill(
            content_type="text/html", body=f"<body>{self.html}"))  # fmt: skip
        self.load()

    def load(self):
        self.page.goto("http://study.test/")
        self.figure = self.page.locator(".srkit-study")

    def sides(self):
        """What stands left and right: (pair, method) each."""
        sources = self.figure.locator(".pair img").evaluate_all("all => all.map(i => i.src)")
        levels = [decode(source.partition(",")[2]).getpixel((0, 0))[0] for source in sources]
        return [(level // 2, METHODS[level % 2]) for level in levels]

    def choose(self, method):
        """By a click; returns the pair and the side on which the method was."""
        sides = self.sides()
        side = [m for _, m in sides].index(method)
        assert sides[0][0] == sides[1][0]
        self.figure.locator(".pair button").nth(side).click()
        return sides[0][0], side

    def download(self, folder):
        with self.page.expect_download() as caught:
            self.figure.get_by_role("button", name="Download answers").click()
        path = folder / caught.value.suggested_filename
        caught.value.save_as(path)
        return path


@pytest.fixture
def reader(browser):
    readers = []

    def start(figure):
        readers.append(Reader(browser, figure))
        return readers[-1]

    yield start
    for one in readers:
        assert one.errors == []
        one.context.close()


def test_a_study_is_answered_by_clicks_survives_a_reload_and_is_read(reader, tmp_path):
    one = reader(a_study(6, zoom=10))
    wanted = ["Alpha", "Beta", "Beta", "Beta", "Alpha", "Beta"]
    seen = []
    for number, method in enumerate(wanted, 1):
        assert f"Pair {number} of 6" in one.figure.inner_text()
        shown = one.figure.inner_text() + "".join(
            one.figure.locator("img").evaluate_all("all => all.map(i => i.alt)")
        )
        assert not any(name in shown for name in METHODS), "not blind"
        seen.append(one.choose(method))
        if number == 3:
            after = one.sides()
            one.load()
            assert one.sides() == after, "it goes on where it was"
    assert sorted(pair for pair, _ in seen) == [0, 1, 2, 3, 4, 5]
    left = [
        method if side == 0 else METHODS[method == "Alpha"]
        for method, (_, side) in zip(wanted, seen, strict=True)
    ]
    assert sorted(left) == ["Alpha"] * 3 + ["Beta"] * 3, "each method equally often on the left"

    text = one.figure.inner_text()
    assert "Alpha was chosen in 2 of 6 pairs, Beta in 4." in text
    low, high = interval(2, 6)
    assert f"Alpha: 33 %, 95 % interval {100 * low:.0f} % to {100 * high:.0f} %" in text
    assert "6 answers cannot tell which you prefer" in text

    path = one.download(tmp_path)
    answers = json.loads(path.read_text())
    assert path.name == f"t-{answers['reader']}.json"
    assert [(t["pair"], t["chosen"]) for t in answers["trials"]] == [
        (f"pair-{pair}", method) for (pair, _), method in zip(seen, wanted, strict=True)
    ]
    assert [t["left"] for t in answers["trials"]] == left
    result = read_study(path)
    assert (result.wins, result.trials, result.preference) == (2, 6, pytest.approx(1 / 3))
    assert result.interval == interval(2, 6)

    one.load()
    assert "Alpha was chosen in 2 of 6" in one.figure.inner_text()
    one.figure.get_by_role("button", name="Start again").click()
    assert "Pair 1 of 6" in one.figure.inner_text()
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_arrow_keys_choose_and_a_clear_preference_is_named(reader):
    one = reader(a_study(7, zoom=10))
    one.choose("Beta")
    for _ in range(6):
        side = [method for _, method in one.sides()].index("Beta")
        one.page.keyboard.press(("ArrowLeft", "ArrowRight")[side])
    text = one.figure.inner_text()
    assert "Alpha was chosen in 0 of 7 pairs, Beta in 7." in text
    assert "on such pictures you prefer Beta." in text


def test_orders_differ_between_readers_and_a_double_click_is_one_answer(reader):
    figure = a_study(12, zoom=10)
    orders = set()
    for _ in range(3):
        one = reader(figure)
        orders.add(str(one.sides()))
        one.figure.locator(".pair button").first.dblclick()
        assert "Pair 2 of 12" in one.figure.inner_text()
        orders.add(str(one.sides()))
    assert len(orders) > 2


def test_other_pairs_under_the_same_name_start_afresh(reader):
    one = reader(a_study(4, zoom=10))
    one.choose("Alpha")
    one.html = a_study(3, zoom=10).html
    one.load()
    assert "Pair 1 of 3" in one.figure.inner_text()


def test_without_a_store_the_study_runs_and_says_so(reader):
    one = reader(a_study(2, zoom=10))
    one.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})"
    )
    one.load()
    one.choose("Alpha")
    assert "This browser does not keep answers." in one.figure.inner_text()
    one.choose("Alpha")
    assert "Alpha was chosen in 2 of 2 pairs" in one.figure.inner_text()


# ------------------------------------------------------------------------------- reading the files


def answers(path, chosen, **changes):
    trials = [{"pair": p, "left": METHODS[0], "chosen": c} for p, c in chosen]
    whole = {"study": "t", "question": "Which?", "methods": METHODS, "reader": path.stem}
    path.write_text(json.dumps(whole | {"trials": trials} | changes))
    return path


def test_read_study_pools_readers_and_prints_pairs(tmp_path):
    a = answers(tmp_path / "a", [("cat", "Alpha"), ("cup", "Beta")])
    b = answers(tmp_path / "b", [("cup", "Alpha"), ("cat", "Alpha")])
    pooled = read_study([a, str(b)])
    assert (pooled.readers, pooled.wins, pooled.trials) == (2, 3, 4)
    assert pooled.pairs == {"cat": (2, 2), "cup": (1, 2)}
    low, high = interval(3, 4)
    last = str(pooled).splitlines()[-1]
    assert re.split(r"\s{2,}", last) == ["all", "3", "1", "75%", f"{low:.0%} to {high:.0%}"]
    assert "too few answers to tell" in str(pooled)
    assert '<td>cat</td><td class="number">2</td><td class="number">0</td>' in pooled._repr_html_()
    sure = read_study([answers(tmp_path / f"r{k}", [("cat", "Beta")]) for k in range(6)])
    assert "too few" not in str(sure)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": []}, "b holds no finished answers"),
        ({"methods": ["x", "y"]}, "b holds no finished answers"),
        ({"trials": [{"pair": "cat", "left": "Beta", "chosen": None}]}, "no finished answers"),
        ({"study": "other"}, "b is of study 'other', the first file of 't'"),
        ({"reader": "a"}, "2 files of 1 readers"),
    ],
)
def test_read_study_refuses_what_it_cannot_pool(tmp_path, changes, words):
    a = answers(tmp_path / "a", [("cat", "Alpha")])
    b = answers(tmp_path / "b", [("cat", "Alpha")], **changes)
    with pytest.raises(ValueError, match=words):
        read_study([a, b])


def test_read_study_refuses_other_files(tmp_path):
    (tmp_path / "x").write_text("[1]")
    with pytest.raises(ValueError, match="x holds no finished answers"):
        read_study(tmp_path / "x")
    with pytest.raises(ValueError, match="read_study got no files"):
        read_study([])
