"""Tables: what a value looks like, and how columns are aligned."""

from srkit.viz.tables import Table, html, table

ROWS = {
    "bicubic": {"PSNR": 28.4321, "seeds": "", "parameters": 0},
    "rlfn": {"PSNR": [30.0, 30.2, 30.4], "seeds": "0, 1, 2", "parameters": 543_740},
}


def test_numbers_are_shown_by_their_kind():
    """Whole numbers with commas, others with digits, several as mean ± sample deviation."""
    assert table(ROWS).rows == [
        ["", "PSNR", "seeds", "parameters"],
        ["bicubic", "28.43", "", "0"],
        ["rlfn", "30.20 ± 0.20", "0, 1, 2", "543,740"],
    ]
    assert table({"a": {"x": 1.23456, "y": 1.23456}}, digits={"x": 3}).rows[1] == [
        "a",
        "1.235",
        "1.23",
    ]
    assert table({"a": {"x": [2.0]}, "b": {"y": None}}, head="name").rows == [
        ["name", "x", "y"], ["a", "2.00", ""], ["b", "", ""],
    ]  # fmt: skip


def test_a_page_keeps_a_spread_together_and_aligns_columns_of_numbers():
    page = html([["run", "dB", "what"], ["a", "28.87 ± 0.22", "3 seeds"], ["<b>", "-1.5", "1"]])
    assert '<td class="number">28.87\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.22</td>' in page
    assert '<th class="number">dB</th>' in page
    assert "<th>what</th>" in page, "not all of its cells are numbers"
    assert "<td>&lt;b&gt;</td>" in page, "the first column holds names"


def test_a_caption_is_printed_and_shown():
    found = Table([["", "x"], ["a", "1"]], "Two things")
    assert str(found).splitlines() == ["Two things", "   x", "a  1"]
    assert "<caption>Two things</caption>" in found._repr_html_()
