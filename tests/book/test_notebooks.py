"""The committed chapters: complete runs, small enough, readable everywhere."""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from execute import complaints, tidy  # noqa: E402

CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_committed_chapter_is_a_complete_tidy_run(path):
    notebook = nbformat.read(path, as_version=4)
    assert complaints(notebook) == []
    assert tidy(nbformat.read(path, as_version=4)) == notebook, "run tools/execute.py"


# Decimals, thousands, numbers with a unit or alone in a table's cell: how a measurement looks.
MEASURED = re.compile(
    r"\d+[.,]\d+|\d+ ?(?:dB|%|per cent|[GM]iB|minutes?|seconds?|ms|times)\b|(?<=\| )\d+(?= +\|)"
)
QUOTED = re.compile(r"```(?:bash|python).*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", re.DOTALL)
# Numbers that are definitions: of an equation, a paper's own setting, a unit, a budget.
DEFINED = {
    "00-foundations": {"0.5", "0.75", "6 dB"},
    "01-losses-srgan": {"3 dB", "3.01", "1.5", "0.1"},
    "06-rdn": {"1.6", "1,500", "1,024"},
    "12-srfeat": {"16"},
    "13-esrgan": {"0.2"},
    "losses": {"12.75", "0.2", "0.02", "1", "2"},
}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_measured_number_is_typed_into_prose(path):
    """Figures are printed by cells, which compute them or read a run's record."""
    texts = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    found = {number for text in texts for number in MEASURED.findall(QUOTED.sub("", text))}
    assert found <= DEFINED.get(path.stem, set()), "print it from a record, or define it"


def test_a_typed_number_is_found():
    text = "SRGAN gains 2.65 dB in `x = 1.5` and $2.5$, 30 times"
    assert MEASURED.findall(QUOTED.sub("", text)) == ["2.65", "30 times"]
    assert MEASURED.findall("| SRGAN | 29 |") == ["29"]


def notebook_with(*outputs, metadata=None, count=1):
    """One cell with these outputs."""
    cell = nbformat.v4.new_code_cell(
        "1", metadata=metadata or {}, execution_count=count, outputs=list(outputs)
    )
    return nbformat.v4.new_notebook(cells=[cell])


def shows(mime, data):
    return nbformat.v4.new_output("display_data", {mime: data})


ALT = {"mystnb": {"image": {"alt": "a line that falls"}}}
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
BAR = nbformat.v4.new_output("stream", name="stderr", text="50%|#####     |")


@pytest.mark.parametrize(
    ("notebook", "words"),
    [
        (notebook_with(count=2), "execution counts [2]"),
        (notebook_with(shows("image/png", "AA==")), "picture without alt text"),
        (notebook_with(shows("text/html", "<img src='x'>")), "picture without alt="),
        (notebook_with(shows("text/plain", "'/home/ann/x.png'")), "one machine: /home/ann/x.png"),
        (notebook_with(shows("text/plain", "<a.B object at 0x7f1c>")), "address in memory: <a.B"),
        (notebook_with(ERROR), "stored error ValueError: no"),
        (notebook_with(BAR), "progress bar: 50%"),
        (notebook_with(shows("text/plain", "x" * 2_500_000)), "the limit is 2,500,000"),
    ],
)
def test_what_may_not_be_committed_is_named(notebook, words):
    found = complaints(notebook)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    "notebook",
    [
        notebook_with(shows("image/png", "AA=="), metadata=ALT),
        notebook_with(ERROR, metadata={"tags": ["raises-exception"]}),
        notebook_with(shows("text/plain", "32.24/0.8952 at https://a.org/b/c, 1/4/9 and and/or")),
        notebook_with(
            shows("text/html", "<p><img alt='x' src='data:image/png;base64,A+/b/c/'></p>")
        ),
    ],
)
def test_what_may_be_committed_is_let_through(notebook):
    assert complaints(notebook) == []


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_two_runs_differ_in_nothing_after_tidying():
    """Widgets, whose ids are random, and time stamps go; the HTML beside a widget stays."""

    def run(model, time):
        shown = shows("text/html", "<p>a slider</p>")
        shown.data[WIDGET] = {"model_id": model}
        notebook = notebook_with(shown, metadata={"execution": {"shell.execute_reply": time}})
        notebook.cells[0].id = "same"
        state = {"state": {model: {"model_name": "IntSliderModel"}}}
        notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
        return tidy(notebook)

    one = run("ab" * 16, "9:00")
    assert one == run("cd" * 16, "9:01")
    assert one.cells[0].outputs[0].data == {"text/html": "<p>a slider</p>"}
    assert "widgets" not in one.metadata


def test_a_widget_alone_is_refused():
    """A page could not show it, and tidying would leave nothing of it."""
    alone = notebook_with(shows(WIDGET, {"model_id": "ab" * 16}))
    assert "widget without HTML" in complaints(tidy(alone))[0]


def test_the_source_that_a_chapter_shows_is_the_package_s_own():
    """A stored page must not go on showing code that has changed since."""

    shown = 0
    for path in CHAPTERS:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                text = output.get("data", {}).get("text/plain", "")
                where = re.match(r"# (srkit/[\w/]+)\.py, line \d+\n", text)
                if where:
                    source = inspect.getsource(import_module(where[1].replace("/", ".")))
                    lines = {line.strip() for line in source.splitlines()}
                    assert {line.strip() for line in text.splitlines()[1:]} <= lines, where[0]
                    shown += 1
    assert shown
