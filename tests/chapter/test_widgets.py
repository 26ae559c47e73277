"""Sliders and menus over pictures: every state is there, and they work without a kernel."""

# ruff: noqa: F811, fixtures are both imported and asked for

import json
import sys

import numpy as np
import pytest
from page import Page, browser, hr, levels  # noqa: F401, fixtures

from srkit.chapter.widgets import mixer, stepper
from srkit.viz import plots
from srkit.viz.compare import compare
from srkit.viz.figure import pixels


def test_a_stepper_has_a_slider_over_any_values(hr, levels):
    chart = plots.bars({"q": {"a": 1}}, alt="a chart")
    page = Page(stepper(["few", 1.5], [hr, chart], "sigma", alt="blurred noise", zoom=2).html)
    (slider,) = page.all("input")
    assert (slider["max"], slider["value"], slider["aria-valuetext"]) == ("1", "0", "few")
    (image,) = page.all("img")
    assert image["alt"] == "blurred noise; sigma = few"
    np.testing.assert_array_equal(page.pictures()[0], levels)
    assert [svg["aria-label"] for svg in page.all("svg")] == ["a chart"]
    with pytest.raises(ValueError, match="2 values for 1 pictures"):
        stepper([1, 2], [hr], "sigma", alt="a")


def test_in_jupyterlab_the_same_call_gives_widgets(hr, monkeypatch):
    """What a kernel sends: the page's HTML for a static page, and a view of the live widget."""
    import ipywidgets

    axes = {"strength": [0, 0.5, 1], "kind": ["blur", "noise"]}
    keys = [(s, k) for s in axes["strength"] for k in axes["kind"]][:-1]
    control = mixer(axes, dict.fromkeys(keys, hr), alt="noise", missing="no run")
    view = "application/vnd.jupyter.widget-view+json"
    assert control._repr_mimebundle_().keys() == {"text/plain", "text/html", "image/jpeg"}
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", sys)
    bundle = control._repr_mimebundle_()
    assert bundle["text/html"] == control.html
    assert bundle[view]["model_id"]

    box = control.widget()
    picture, controls = box.children
    strength, kind = controls.children
    assert isinstance(strength, ipywidgets.SelectionSlider)
    assert isinstance(kind, ipywidgets.Dropdown)
    assert (strength.value, kind.value) == ("0", "blur")
    assert "noise; strength = 0, kind = blur" in picture.value
    strength.value = "0.5"
    kind.value = "noise"
    assert "noise; strength = 0.5, kind = noise" in picture.value
    strength.value = "1"
    assert "strength = 1, kind = noise: no run" in picture.value


def test_a_wide_mixer_is_of_the_class_that_gets_the_page_s_width(hr):
    for wide in (False, True):
        html = mixer({"crop": ["eye"]}, {("eye",): hr}, alt="an eye", wide=wide).html
        assert ('class="srkit-figure srkit-mixer srkit-wide"' in html) == wide


def test_mixer_has_a_state_for_every_combination_and_says_what_is_missing(hr, levels):
    axes = {"loss": ["L1", "VGG <54>"], "weight": [0.001, 1]}
    pictures = {("VGG <54>", 1): hr, ("L1", 0.001): 1 - hr, ("L1", 1): hr.flip(-1)}
    figure = mixer(axes, pictures, alt="noise", zoom=2, missing="no run")
    page = Page(figure.html)
    assert [attrs["alt"] for attrs in page.all("img")] == [
        "noise; loss = L1, weight = 0.001",
        "noise; loss = L1, weight = 1",
        "noise; loss = VGG <54>, weight = 1",
    ]
    for shown, expected in zip(
        page.pictures(), (255 - levels, levels[:, ::-1], levels), strict=True
    ):
        np.testing.assert_array_equal(shown, expected)
    assert "loss = VGG &lt;54&gt;, weight = 0.001: no run" in figure.html
    (slider,) = page.all("input")
    assert (slider["max"], slider["value"], slider["aria-valuetext"]) == ("1", "1", "1")
    assert json.loads(slider["data-values"]) == ["0.001", "1"]
    assert '<option value="1" selected>VGG &lt;54&gt;</option>' in figure.html
    shown = [attrs for tag, attrs in page.tags if attrs.get("class") == "shown"]
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("axes", "keys", "words"),
    [
        ({"n": [1, 2]}, [1], r"key 1, expected a tuple \(n\).*such as \(1,\)"),
        ({"n": [1, 2], "m": ["a"]}, [(1, "b")], r"key \(1, 'b'\), expected a tuple \(n, m\)"),
        ({"n": [1, 1]}, [(1,)], "axis 'n' has the values .* each value once"),
        ({"n": []}, [], "axis 'n' has the values"),
        ({"n": [1]}, [], "mixer got no pictures"),
    ],
)
def test_mixer_says_what_does_not_fit(hr, axes, keys, words):
    with pytest.raises(ValueError, match=words):
        mixer(axes, dict.fromkeys(keys, hr), alt="a")


def test_a_mixer_follows_keys_and_menu_in_a_browser_and_leaves_its_neighbour(browser, hr):
    axes = {"strength": [0, 0.5, 1], "kind": ["blur", "noise"], "seed": [7]}
    pictures = {(0, "blur", 7): hr, (0.5, "blur", 7): 1 - hr, (0.5, "noise", 7): hr.flip(-1)}
    inner = compare(hr, alt="inside", b=hr)
    figure = mixer(axes, pictures | {(1, "noise", 7): inner}, alt="a", zoom=3)
    page = browser.new_page(viewport={"width": 320, "height": 700})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.set_content(f"<body style='color:rgb(1, 2, 3)'>{figure.html}{figure.html}")
    first, second = (page.locator(".srkit-mixer").nth(k) for k in (0, 1))
    seen = "e => [...e.querySelectorAll('.shown img')].map(i => i.alt).join()"

    assert first.evaluate(seen) == "a; strength = 0, kind = blur, seed = 7"
    size = first.locator(".stage").first.bounding_box()
    slider = first.locator(".controls input").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert first.evaluate(seen) == "a; strength = 0.5, kind = blur, seed = 7"
    assert first.locator("output").first.inner_text() == "0.5"
    assert slider.get_attribute("aria-valuetext") == "0.5"
    first.locator(".controls select").select_option("noise")
    assert first.evaluate(seen) == "a; strength = 0.5, kind = noise, seed = 7"
    slider.focus()
    page.keyboard.press("Home")
    assert first.evaluate(seen) == ""
    assert first.locator(".shown").inner_text() == (
        "strength = 0, kind = noise, seed = 7: not trained"
    )
    page.keyboard.press("End")  # the comparison inside has controls of its own
    first.locator(".shown input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert first.locator(".shown input[type=range]").input_value() == "51"
    assert first.locator("output").first.inner_text() == "1"
    assert first.locator(".stage").first.bounding_box()["height"] == size["height"]  # nothing jumps
    assert first.locator(".controls input[disabled]").count() == 1  # seed: nothing to choose
    assert second.evaluate(seen) == "a; strength = 0, kind = blur, seed = 7"
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert not errors
    page.close()


def test_a_mixer_takes_figures_and_never_changes(hr):
    figure, again = (mixer({"n": [1]}, {(1,): pixels(hr, alt="a")}, alt="a") for _ in range(2))
    assert [attrs["alt"] for attrs in Page(figure.html).all("img")] == ["a"]
    assert figure.still == pixels(hr, alt="a").still
    assert figure == again, "a second run would change the notebook"


@pytest.mark.parametrize("alt", ["", "  \n", None])
def test_an_empty_alt_text_is_refused_with_words(hr, alt):
    for draw in (
        lambda: stepper([1], [hr], "s", alt=alt),
        lambda: mixer({"s": [1]}, {(1,): hr}, alt=alt),
    ):
        with pytest.raises(ValueError, match="say in a sentence what the picture shows"):
            draw()
