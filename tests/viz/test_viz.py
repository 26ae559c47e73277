"""Figures for notebooks: what they embed, what they refuse, and that they move in a browser."""

# ruff: noqa: F811, fixtures are both imported and asked for

import re

import matplotlib
import numpy as np
import pytest
import torch
from page import Page, browser, decode, hr, levels  # noqa: F401, fixtures
from PIL import Image

from srkit.losses import MSE, Contrastive
from srkit.losses.contrastive import RANDOM_TANH
from srkit.metrics.features import random_tanh
from srkit.metrics.psnr import psnr
from srkit.viz import maps, plots
from srkit.viz.compare import _context, compare, crops, gallery
from srkit.viz.figure import Figure, panel, pixels
from srkit.viz.source import show_source


def figures(hr):
    """One of each, small."""
    other = hr.flip(-1)
    return {
        "compare": compare(hr, alt="a", crop=(10, 5, 16), bicubic=other, captions={"HR": "∞ dB"}),
        "compare whole": compare(hr, alt="a", bicubic=other),
        "crops": crops(hr, (10, 5, 16), alt="a", bicubic=other, difference=True),
        "gallery": gallery({"a": hr, "b": other}, alt="a", captions={"a": "27 dB"}),
        "pixels": pixels(hr, alt="a", zoom=3, caption="<noise>"),
        "difference": maps.difference(hr, other, alt="a", signed=True),
        "map grid": maps.map_grid({"m": hr[0], "n": hr[1, ::2, ::2]}, alt="a"),
        "curves": plots.curves({"l": [(1, 2), (2, 1)]}, xlabel="x", ylabel="y", alt="a"),
        "bars": plots.bars({"MACs (G)": {"rlfn": 19.7, "imdn": 40.9}}, alt="a"),
        "plane": plots.plane({"p": (28, 0.3), "q": [(27, 0.2), (27.2, 0.1)]}, alt="a"),
        "scatter": plots.scatter({"g*": {"p": (1, 2)}}, xlabel="x", ylabel="y", alt="a", unit="s"),
        "dots": plots.dots({"p": [28, 28.2], "q": [27]}, xlabel="dB", alt="a", line=27.5),
        "matrix": plots.matrix([[0.5, float("nan")]], ["r"], ["a", "b"], label="w", alt="a"),
        "wishes": maps.wishes({"MSE": MSE()}, other, hr, alt="a"),
    }


def test_every_figure_is_whole_html_with_alt_text_and_a_still_and_never_changes(hr):
    for (name, figure), again in zip(figures(hr).items(), figures(hr).values(), strict=True):
        page = Page(figure._repr_html_())
        drawn = [attrs["aria-label"] for attrs in page.all("svg")]
        assert page.all("img") or drawn == ["a"], name
        assert not re.search("https?://(?!www.w3.org/)", figure.html), name  # nothing is fetched
        for attrs in page.all("img"):
            assert attrs["alt"].split(": ")[-1] == "a", name
            assert attrs["src"].startswith("data:image/"), name
        stills = [s for s in (figure._repr_png_(), figure._repr_jpeg_()) if s is not None]
        assert len(stills) == 1, name
        assert min(decode(stills[0]).size) > 30, name
        assert repr(figure) == "<Figure: a>"
        assert figure == again, f"{name}: a second run would change the notebook"


@pytest.mark.parametrize("alt", ["", "  \n", None])
def test_an_empty_alt_text_is_refused_with_words(hr, alt):
    for draw in (
        lambda: compare(hr, alt=alt, bicubic=hr),
        lambda: crops(hr, (0, 0, 8), alt=alt, bicubic=hr),
        lambda: pixels(hr, alt=alt),
        lambda: maps.difference(hr, hr, alt=alt),
        lambda: maps.map_grid({"m": hr[0]}, alt=alt),
        lambda: plots.curves({}, xlabel="x", ylabel="y", alt=alt),
        lambda: plots.bars({}, alt=alt),
        lambda: plots.plane({"p": (1, 2)}, alt=alt),
        lambda: maps.wishes({"MSE": MSE()}, hr, hr, alt=alt),
    ):
        with pytest.raises(ValueError, match="say in a sentence what the picture shows"):
            draw()


# ---------------------------------------------------------------------------- compare and crops


def test_compare_embeds_the_very_pixels_of_the_crop(hr, levels):
    page = Page(compare(hr, alt="a", crop=(10, 5, 16), bicubic=levels[:, ::-1]).html)
    bicubic, last = page.pictures()
    np.testing.assert_array_equal(bicubic, levels[5:21, ::-1][:, 10:26])
    np.testing.assert_array_equal(last, levels[5:21, 10:26])


def test_compare_starts_with_each_picture_on_its_own_half(hr):
    page = Page(compare(hr, alt="a", b=hr, c=hr).html)
    cuts = [re.search(r"inset\((.*?)\)", attrs["style"])[1] for attrs in page.all("img")]
    assert cuts == ["0 50% 0 0%", "0 0% 0 50%", "0 50% 0 50%"]  # left, right, nothing is left
    assert [attrs["aria-label"] for attrs in page.all("select")] == [
        "left picture",
        "right picture",
    ]
    assert page.all("figure")[0]["aria-label"] == "a"


def test_whole_pictures_are_jpeg_and_close(hr):
    smooth = torch.linspace(0, 1, 64).expand(3, 48, 64)
    page = Page(compare(smooth, alt="a", b=smooth).html)
    assert page.all("img")[0]["src"].startswith("data:image/jpeg")
    assert np.abs(page.pictures()[0] - 255 * smooth.permute(1, 2, 0).numpy()).max() < 4


def test_crops_show_whole_picture_crops_and_differences(hr, levels):
    figure = crops(hr, (10, 5, 16), alt="a", b=1 - hr, captions={"b": "3.00 dB"}, difference=True)
    _, b, last, difference = Page(figure.html).pictures()
    cut = levels[5:21, 10:26]
    np.testing.assert_array_equal(b, 255 - cut)
    np.testing.assert_array_equal(last, cut)
    expected = np.abs(255 - 2.0 * cut).mean(2)
    np.testing.assert_allclose(difference[..., 0], expected * 255 / expected.max(), atol=0.51)
    for words in ("b\n3.00 dB", f"mean {expected.mean():.2f}/255", f"white {expected.max():.0f}/"):
        assert words in figure.html


def test_a_gallery_shows_each_picture_twice_its_size_with_its_name_and_caption(hr):
    page = Page(gallery({"a": hr, "b <x>": hr.flip(-1)}, alt="noise", captions={"a": "27 dB"}).html)
    assert [image["width"] for image in page.all("img")] == [str(2 * hr.shape[-1])] * 2
    assert [image["alt"] for image in page.all("img")] == ["a\n27 dB: noise", "b <x>: noise"]
    with pytest.raises(ValueError, match="must have one size"):
        gallery({"a": hr, "b": hr[:, 1:]}, alt="a")
    with pytest.raises(ValueError, match=r"captions for \['c'\]"):
        gallery({"a": hr, "b": hr}, alt="a", captions={"c": ""})


def test_the_frame_of_a_crop_is_white_between_black_lines():
    """Two white lines, seen on light and on dark ground; at half the height at half the place."""
    grey = Image.new("RGB", (60, 40), (128, 128, 128))
    for height, ratio in ((40, 1), (20, 0.5)):
        framed = np.asarray(_context(grey, (20, 10, 16), height))[..., 0]
        assert framed.shape == (height, 60 * ratio)
        left, right, middle = int(20 * ratio), int(36 * ratio), int(18 * ratio)
        row = framed[middle]
        assert row[left - 3 : left + 3].tolist() == [128, 0, 255, 255, 0, 128]
        assert row[right - 2 : right + 4].tolist() == [128, 0, 255, 255, 0, 128]
        column = framed[:, int(28 * ratio)]
        top = int(10 * ratio)
        assert column[top - 3 : top + 3].tolist() == [128, 0, 255, 255, 0, 128]


def test_pictures_may_be_named_freely_and_hr_may_be_missing(hr):
    page = compare(alt="a", **{"L1 & <GAN>": hr, "old": hr})
    assert "<option selected>L1 &amp; &lt;GAN&gt;</option>" in page.html
    assert "HR" not in page.html.partition("<figcaption>")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bicubic": torch.zeros(3, 10, 15)}, r"one size.*bicubic 15 x 10, HR 60 x 40"),
        ({}, r"needs two pictures, got \['HR'\]"),
        ({"HR": torch.zeros(3, 40, 60)}, "give the picture another name"),
        ({"b": torch.zeros(3, 40, 60), "captions": {"c": "1"}}, r"captions for \['c'\].*'b', 'HR'"),
        ({"b": torch.zeros(3, 40, 60), "crop": (50, 0, 16)}, "left 50.*60 x 40"),
        ({"b": torch.zeros(3, 40, 60), "crop": (-1, 0, 16)}, "leaves the picture"),
        ({"b": torch.zeros(3, 40, 60), "crop": (0, -1, 16)}, "leaves the picture"),
        ({"b": torch.zeros(3, 40, 60), "crop": (0, 0, 0)}, "leaves the picture"),
        ({"b": torch.zeros(3, 40, 60), "crop": (45, 0, 16)}, "leaves the picture"),
        ({"b": torch.zeros(3, 40, 60), "crop": (0, 25, 16)}, "leaves the picture"),
        ({"b": torch.zeros(3, 40, 60), "crop": (0, 0)}, r"expected \(left, top, side\)"),
    ],
)
def test_compare_says_what_does_not_fit(hr, arguments, words):
    with pytest.raises(ValueError, match=words):
        compare(hr, alt="a", **arguments)


def test_a_crop_may_lie_at_any_border(hr):
    """One pixel, the whole height, both far corners."""
    for crop in ((0, 0, 1), (0, 0, 40), (20, 0, 40), (59, 39, 1), (44, 24, 16)):
        assert f"{crop[2]}" in compare(hr, alt="a", b=hr, crop=crop).html


def test_a_panel_has_a_line_for_each_row_of_a_label_and_a_gap_around_all(monkeypatch):
    """Two rows of pictures: 8 pixels between all, 18 for a line under each picture."""
    sheets = []
    monkeypatch.setattr("srkit.viz.figure.encode", lambda sheet, *_: sheets.append(sheet) or b"")
    red, blue = Image.new("RGB", (100, 30), "red"), Image.new("RGB", (60, 20), "blue")
    panel([[("a\nb", red), ("c", blue)], [("d", blue)]], "png")
    (sheet,) = sheets
    assert sheet.size == (8 + 100 + 8 + 60 + 8, 8 + (30 + 2 * 18 + 8) + (20 + 2 * 18 + 8))
    pixels = np.asarray(sheet).astype(int)
    for place, colour in (((8, 8), 0), ((8, 116), 2), ((82, 8), 2)):  # row and column
        assert pixels[place].tolist() == [255 * (c == colour) for c in range(3)]
        assert pixels[place[0] - 1, place[1]].tolist() == [255] * 3
        assert pixels[place[0], place[1] - 1].tolist() == [255] * 3
    dark = np.argwhere(pixels[:, :108].max(2) < 128)[:, 0]  # of letters
    assert 38 <= dark.min() < 56


def test_a_misspelt_keyword_is_not_swallowed(hr):
    with pytest.raises(TypeError) as caught:
        compare(hr, alt="a", b=hr, captoins={"b": "1 dB"})
    assert "(the picture called 'captoins')" in caught.value.__notes__


def test_the_slider_and_the_menus_move_the_cut_in_a_browser(browser, hr):
    figure = compare(hr, alt="a", crop=(10, 5, 16), b=hr, c=1 - hr)
    page = browser.new_page(viewport={"width": 320, "height": 400})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.set_content(f"<body style='color:rgb(1, 2, 3)'>{figure.html}{figure.html}")
    cuts = "all => all.map(e => getComputedStyle(e).clipPath)"
    first, second = (page.locator(".srkit-compare").nth(k) for k in (0, 1))

    first.locator("[type=range]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    left, right, hidden = first.locator("img").evaluate_all(cuts)
    assert (left, right) == ("inset(0px 40% 0px 0%)", "inset(0px 0% 0px 60%)")
    assert hidden == "inset(0px 40% 0px 60%)"
    assert second.locator("img").evaluate_all(cuts)[0] == "inset(0px 50% 0px 0%)"

    first.locator("select").nth(1).select_option("HR")
    assert first.locator("img").evaluate_all(cuts)[2] == "inset(0px 0% 0px 60%)"
    box = first.locator(".stage").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 5)
    assert abs(int(first.locator("[type=range]").input_value()) - 25) <= 3

    assert page.evaluate("document.documentElement.scrollWidth") <= 320  # fits a phone
    colour = first.locator("select").first.evaluate("e => getComputedStyle(e).color")
    assert colour == "rgb(1, 2, 3)"  # the page's own, light or dark
    assert not errors
    page.close()


# ------------------------------------------------------------------------------- maps and charts


def test_difference_prints_the_mean_and_scales_to_vmax(hr, monkeypatch):
    drawn = draw_nothing(monkeypatch, maps)
    maps.difference(hr * 0 + 0.5, hr * 0 + 0.48, alt="a", vmax=20)
    (axes, bar) = drawn[0].axes
    assert axes.get_title() == "mean 5.1/255"  # 0.02 * 255
    assert axes.images[0].get_clim() == (0, 20)
    assert bar.get_ylabel() == "|a - b|, in 1/255"
    with pytest.raises(ValueError, match="a is 60 x 40, b is 30 x 40"):
        maps.difference(hr, hr[..., ::2], alt="a")


def test_map_grid_scales_each_map_by_its_own_percentile_and_prints_raw_means(monkeypatch):
    drawn = draw_nothing(monkeypatch, maps)
    ramp = torch.arange(101.0).reshape(1, 101)
    maps.map_grid({"ramp": ramp, "large": 1000 * ramp}, alt="a", percentile=50)
    for axes, mean in zip(drawn[0].axes, ("50", "5e+04"), strict=False):
        assert axes.get_title().endswith(f"mean {mean}")
        np.testing.assert_allclose(axes.images[0].get_array(), ramp / 50)
    with pytest.raises(ValueError, match=r"'x' has shape \(3, 4, 5\), a map is \(H, W\)"):
        maps.map_grid({"x": torch.zeros(3, 4, 5)}, alt="a")


def test_maps_have_two_sides():
    with pytest.raises(ValueError, match="map_grid got no maps"):
        maps.map_grid({}, alt="a")
    with pytest.raises(ValueError, match=r"the map has shape \(1, 8, 8\), expected \(H, W\)"):
        maps.edge_overlap(torch.rand(1, 8, 8), torch.rand(3, 8, 8))


def test_edge_overlap_is_one_on_the_edges_and_not_elsewhere():
    picture = torch.zeros(3, 32, 32)
    picture[:, :, 16:] = 1.0  # one vertical edge; its central difference covers columns 15 and 16
    edges = torch.zeros(32, 32)
    edges[:, 15:17] = 7.0
    assert maps.edge_overlap(edges, picture) == pytest.approx(1)
    assert maps.edge_overlap(edges.reshape(16, 2, 16, 2).mean((1, 3)), picture) == pytest.approx(1)
    assert maps.edge_overlap(edges.T, picture) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="the map is constant"):
        maps.edge_overlap(torch.ones(4, 4), picture)
    with pytest.raises(ValueError, match="the picture is constant"):
        maps.edge_overlap(edges, torch.zeros(3, 32, 32))


def test_curves_draw_the_mean_of_seeds_their_band_and_the_marks(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    seeds = [[(1, 2.0), (2, 1.0)], [(1, 4.0), (2, 1.0)]]
    plots.curves({"cyclic": seeds}, marks={"cyclic": [1.5]}, xlabel="x", ylabel="y", alt="a")
    (axes,) = drawn[0].axes
    line, mark = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), [3, 1])
    assert line.get_label() == "cyclic (2 seeds)"
    assert list(mark.get_xdata()) == [1.5, 1.5]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1, 4)
    with pytest.raises(ValueError, match="'l' is no curve"):
        plots.curves({"l": [1, 2, 3]}, xlabel="x", ylabel="y", alt="a")
    with pytest.raises(ValueError, match=r"marks for \['m'\]"):
        plots.curves({"l": [(1, 2)]}, marks={"m": [1]}, xlabel="x", ylabel="y", alt="a")


def test_bars_want_the_same_names_in_every_panel():
    with pytest.raises(ValueError, match=r"'MACs' has bars \['b'\], the first panel has \['a'\]"):
        plots.bars({"params": {"a": 1}, "MACs": {"b": 1}}, alt="a")


def test_dots_draw_each_seed_and_a_stroke_at_the_mean(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    plots.dots({"p": [28.0, 28.2], "q": [27.0]}, xlabel="dB", alt="a", line=27.5)
    (axes,) = drawn[0].axes
    seeds, mean, alone, its_mean, line = axes.lines
    assert [list(seeds.get_xdata()), list(seeds.get_ydata())] == [[28.0, 28.2], [0, 0]]
    assert list(mean.get_xdata()) == pytest.approx([28.1, 28.1])
    assert list(alone.get_xdata()) == [27.0]
    assert list(its_mean.get_xdata()) == [27.0, 27.0]
    assert list(line.get_xdata()) == [27.5, 27.5]
    assert list(mean.get_ydata()) == [-0.3, 0.3]
    assert list(its_mean.get_ydata()) == [0.7, 1.3]
    assert axes.get_ylim() == (1.5, -0.5), "the first name is the uppermost row"
    with pytest.raises(ValueError, match=r"dots got no values for \['q'\]"):
        plots.dots({"p": [1], "q": []}, xlabel="dB", alt="a")


def test_matrix_writes_values_where_there_are_few_and_leaves_sources_out(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    values = [[0.25, float("nan")], [0.5, 1.0]]
    plots.matrix(values, ["r", "s"], ["a", "b"], label="gate", alt="a", centre=0.5)
    axes = drawn[0].axes[0]
    found = {(t.get_position()): t.get_text() for t in axes.texts}
    assert found == {(0, 0): "0.25", (0, 1): "0.50", (1, 1): "1.00"}
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0.0, 1.0)
    steps = np.linspace(0, 1, 21)[None]
    plots.matrix(steps, ["r"], list("abcdefghijklmnopqrstu"), label="w", alt="a")
    axes = drawn.pop().axes[0]
    light = matplotlib.colormaps["viridis"](steps)[0, :, :3] @ [0.3, 0.6, 0.1] >= 0.55
    assert [t.get_color() for t in axes.texts] == ["#111111" if x else "white" for x in light]
    plots.matrix(np.zeros((11, 11)), list("abcdefghijk"), list("abcdefghijk"), label="w", alt="a")
    assert not drawn[1].axes[0].texts, "121 values would not be read"
    with pytest.raises(ValueError, match=r"values of shape \(2, 2\): expected \(2, 1\)"):
        plots.matrix(values, ["r", "s"], ["a"], label="w", alt="a")


def test_plane_draws_the_mean_of_seeds_with_bars_and_joins_points_by_name(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    points = {"p": (28, 0.3), "q": [(27, 0.2), (27.4, 0.1)]}
    plots.plane(points, lines={"trade": ["p", "q"]}, ylabel="LPIPS, Set14", alt="a")
    (axes,) = drawn[0].axes
    (line,) = [line for line in axes.lines if line.get_label() == "trade"]
    np.testing.assert_allclose(line.get_xydata(), [(28, 0.3), (27.2, 0.15)])
    (bars,) = axes.containers  # of q alone: one run has none
    across, up = bars.lines[2]
    np.testing.assert_allclose(across.get_segments(), [[(27, 0.15), (27.4, 0.15)]])
    np.testing.assert_allclose(up.get_segments(), [[(27.2, 0.1), (27.2, 0.2)]])
    assert "LPIPS, Set14" in axes.get_ylabel()


def test_plane_writes_each_name_once_and_none_over_another(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    near = {f"a long name {k}": (27 + 0.01 * k, 0.2 + 0.001 * k) for k in range(4)}
    plots.plane(near | {"far": (30, 0.4), "farther": (24, 0.1)}, alt="a")
    texts = drawn[0].axes[0].texts
    assert sorted(text.get_text() for text in texts) == sorted([*near, "far", "farther"])
    boxes = [text.get_window_extent() for text in texts]
    overlaps = [a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k]]
    assert not any(overlaps)


def test_scatter_has_a_look_for_each_group_and_writes_only_the_names_asked_for(monkeypatch):
    drawn = draw_nothing(monkeypatch, plots)
    groups = {"ours": {"p": (0.01, 28), "q": (0.02, 29)}, "printed*": {"r": (2, 30)}}
    how = {"xlabel": "time", "ylabel": "dB", "alt": "a"}
    plots.scatter(groups, named=("p", "r"), lines={"best": ["p", "r"]}, unit="s", **how)
    (axes,) = drawn[0].axes
    line, *dots = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [(0.01, 28), (2, 30)])
    assert [tuple(dot.get_xydata()[0]) for dot in dots] == [(0.01, 28), (0.02, 29), (2, 30)]
    looks = [(dot.get_color(), dot.get_marker()) for dot in dots]
    assert looks[0] == looks[1] != looks[2]
    assert [dot.get_markerfacecolor() == "none" for dot in dots] == [False, False, True]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["best", "ours", "printed"]
    assert sorted(text.get_text() for text in axes.texts) == ["p", "r"]
    assert axes.xaxis.get_major_formatter()(0.02) == "20 ms"

    with pytest.raises(ValueError, match="scatter got no dots"):
        plots.scatter({}, **how)
    with pytest.raises(ValueError, match="a name in two groups"):
        plots.scatter({"g": {"p": (1, 2)}, "h": {"p": (1, 3)}}, **how)
    with pytest.raises(ValueError, match=r"lines through \['z'\], but the dots are \['p'\]"):
        plots.scatter({"g": {"p": (1, 2)}}, lines={"l": ["p", "z"]}, **how)


@pytest.mark.parametrize(
    ("points", "lines", "words"),
    [
        ({}, {}, "plane got no points"),
        ({"p": (1, 2, 3)}, {}, "'p' is no point"),
        ({"p": (1, 2)}, {"l": ["p", "z"]}, r"lines through \['z'\], but the points are \['p'\]"),
    ],
)
def test_plane_says_what_does_not_fit(points, lines, words):
    with pytest.raises(ValueError, match=words):
        plots.plane(points, lines=lines, alt="a")


def test_the_wish_of_mse_is_the_way_to_the_truth(hr, rng):
    """-d mean((sr - hr)^2) / d sr = 2 (hr - sr) / N, by hand."""
    sr = torch.rand(hr.shape, generator=rng)
    torch.testing.assert_close(maps.wish(MSE(), sr, hr), 2 * (hr - sr) / hr.numel())
    assert not sr.requires_grad


def test_wishes_prints_the_cosine_and_gives_each_loss_what_it_needs(hr, rng, monkeypatch):
    drawn = draw_nothing(monkeypatch, maps)
    sr, negative = torch.rand(2, *hr.shape, generator=rng)
    losses = {"MSE": MSE(), "away": MSE() + Contrastive(random_tanh(), RANDOM_TANH)}
    maps.wishes(losses, sr, hr, negative=negative[None], alt="a")
    mse, away, empty = drawn[0].axes
    assert mse.get_title() == "MSE\ntowards HR: 1.00"
    wanted = maps.wish(losses["away"], sr, hr, negative=negative[None])
    cosine = torch.corrcoef(torch.stack([wanted.flatten(), (hr - sr).flatten()]))[0, 1]
    assert float(away.get_title().split()[-1]) == pytest.approx(float(cosine), abs=0.05)
    assert not empty.images
    assert drawn[0].get_size_inches() == pytest.approx([2.4 * 3, 2.25 * 40 / 60 + 0.6])
    levels, asked = away.images[0].get_array(), wanted.mean(0)
    expected = (asked / asked.abs().quantile(0.99)).numpy()
    np.testing.assert_allclose(levels, expected, atol=1 / 12 + 1e-6)  # sixths
    with pytest.raises(ValueError, match=r"none of these losses needs \['negative'\]"):
        maps.wishes({"MSE": MSE()}, sr, hr, negative=negative[None], alt="a")
    with pytest.raises(ValueError, match="this loss needs negative="):
        maps.wishes(losses, sr, hr, alt="a")
    with pytest.raises(ValueError, match="wishes got no losses"):
        maps.wishes({}, sr, hr, alt="a")


def test_invert_finds_what_a_loss_sees_and_leaves_the_rest_as_noise(hr):
    """Squared error sees every pixel; that of the left half lets the right half be."""
    far = psnr(maps.invert(MSE(), hr, steps=1), hr, on="rgb", shave=0)
    found = maps.invert(MSE(), hr, steps=150)
    assert psnr(found, hr, on="rgb", shave=0) > 40 > 20 > far
    assert 0 <= found.min() <= found.max() <= 1
    middle = hr.shape[-1] // 2

    def left(sr, hr):
        return MSE()(sr[..., :middle], hr[..., :middle])

    half = maps.invert(left, hr, steps=150)
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(half[..., middle:], 0.5 + 0.1 * noise[..., middle:])
    assert psnr(half[..., :middle], hr[..., :middle], on="rgb", shave=0) > 40
    assert torch.equal(half, maps.invert(left, hr, steps=150))
    assert not torch.equal(half, maps.invert(left, hr, steps=150, seed=1))


def test_style_works_outside_a_notebook_and_charts_do_without_it():
    import matplotlib as mpl

    with mpl.rc_context():
        before = plots.bars({"q": {"a": 1, "b": 2}}, alt="a")
        plots.style()
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == plots.COLOURS[0]
        assert plots.bars({"q": {"a": 1, "b": 2}}, alt="a") == before


def draw_nothing(monkeypatch, module):
    """The matplotlib figures that a module would turn into pictures."""
    drawn = []

    def keep(figure, *, alt, caption):
        drawn.append(figure)
        return Figure("", b"", alt)

    monkeypatch.setattr(module, "chart", keep)
    return drawn


# ---------------------------------------------------------------------------------------- source


def test_show_source_shows_the_packages_own_lines():
    shown = show_source(Figure)
    assert shown.code.startswith("@dataclass(frozen=True, repr=False)\nclass Figure:")
    assert re.fullmatch(r"srkit/viz/figure\.py, line \d+", shown.where)
    page = shown._repr_html_()
    Page(page)
    text = re.sub(r"<.*?>", "", page)
    assert "class Figure:" in text
    assert shown.where in text
    assert shown.code in repr(shown)
    assert '<div class="highlight">' in page  # the class that themes colour


def test_show_source_without_docstrings_is_the_same_code():
    import ast

    shown = show_source(Figure, docstring=False)
    assert "Its text form" not in shown.code
    full = ast.parse(show_source(Figure).code)
    full.body[0].body.pop(0)
    assert ast.dump(ast.parse(shown.code)) == ast.dump(full)


def test_show_source_method_is_dedented_and_an_object_is_refused():
    assert show_source(Figure.__repr__).code.startswith("def __repr__(self)")
    with pytest.raises(TypeError, match=r"got Linear: show_source\(type\(model\)\)"):
        show_source(torch.nn.Linear(1, 1))
