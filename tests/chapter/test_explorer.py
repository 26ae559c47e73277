"""Pointing at a picture shows what answers in the other, by mouse, touch and keys."""

# ruff: noqa: F811, fixtures are both imported and asked for

import json

import pytest
import torch
from page import Page, browser, hr, levels  # noqa: F401, fixtures

from srkit.chapter import explorer

INDEX = torch.arange(150).view(10, 15).flip(0, 1)  # the reference is the picture, upside down


def drawn(hr, **options):
    likeness = torch.linspace(0, 1, 150).view(10, 15)
    return explorer(hr, hr.flip(1, 2), INDEX, likeness, alt="noise", zoom=2, **options)


def test_it_holds_both_pictures_and_every_answer(hr):
    page = Page(drawn(hr, names=("LR", "a <reference>")).html)
    assert [image["alt"] for image in page.all("img")] == ["LR: noise", "a <reference>: noise"]
    assert [image["width"] for image in page.all("img")] == ["120", "120"]
    (figure,) = page.all("figure")
    assert figure["aria-label"] == "noise"
    found = json.loads(figure["data-found"])
    assert found["sizes"] == [[10, 15], [10, 15]]
    assert found["index"] == INDEX.flatten().tolist()
    assert found["likeness"][-1] == 1
    (pad,) = [attrs for attrs in page.all("div") if "tabindex" in attrs]
    assert pad["aria-label"].startswith("LR: ")
    assert pad["role"] == "application"


def test_mouse_touch_and_keys_move_the_frames(browser, hr):
    context = browser.new_context(viewport={"width": 320, "height": 700}, has_touch=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.set_content(f"<body>{drawn(hr).html}{drawn(hr, start=(0, 0)).html}")
    figure, other = (page.locator(".srkit-explorer").nth(k) for k in (0, 1))
    pad, said = figure.locator(".stage").first, figure.locator("output")
    boxes = "e => [...e.querySelectorAll('.box')].map(b => [b.style.left, b.style.top]).join()"
    assert said.inner_text().startswith("Row 6, column 8 is answered by row 5, column 8; ")

    box, before = pad.bounding_box(), figure.evaluate(boxes)
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    assert said.inner_text() == "Row 1, column 1 is answered by row 10, column 15; likeness 0.00"
    assert figure.evaluate(boxes) != before
    page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    assert said.inner_text() == "Row 10, column 15 is answered by row 1, column 1; likeness 1.00"
    pad.focus()
    page.keyboard.press("ArrowRight")  # the edge holds
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert said.inner_text().startswith("Row 9, column 14 is answered by row 2, column 2; ")
    assert said.get_attribute("aria-live") == "polite"
    assert other.locator("output").inner_text().startswith("Row 1, column 1 "), (
        "its neighbour stays"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert not errors
    context.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alt": " "}, "say in a sentence what the picture shows"),
        ({"cell": 7}, "sides must be multiples of cell=7"),
        ({"cell": 20}, "4 cells or more"),
        ({"index": INDEX[:5]}, r"index \(5, 15\).*expected \(10, 15\)"),
        ({"index": INDEX + 1}, r"index has 150: the reference has \(10, 15\) cells"),
    ],
)
def test_what_does_not_fit_is_refused_with_words(hr, options, words):
    given = {"index": INDEX, "likeness": torch.ones(10, 15), "alt": "noise"} | options
    with pytest.raises(ValueError, match=words):
        explorer(hr, hr, **given)


def test_a_second_run_changes_nothing(hr):
    assert drawn(hr) == drawn(hr)
    assert drawn(hr).still.startswith(b"\xff\xd8")
