"""The page that computes: a reader's picture in Chromium, compared with srkit.upscale.

Needs the program that `make vendor` puts into the book; without it what the page says is tested.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import srkit
from srkit.image.io import write_image
from srkit.recipes import recorded

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGE = "book/try.html"
DONE = ".srkit-try[data-state=done], .srkit-try[data-state=failed], .srkit-try[data-state=refused]"
WAIT = 240_000  # milliseconds
PIXELS = """async canvas => {
  const blob = await new Promise(done => canvas.toBlob(done)), reader = new FileReader();
  const read = new Promise(done => { reader.onload = () => done(reader.result); });
  reader.readAsDataURL(blob);
  return read;
}"""
NETWORKS = {
    "rlfn": lambda: srkit.load_checkpoint("data/weights/rlfn-minutes_x4.safetensors"),
    "esrgan": lambda: recorded("esrgan", "psnr"),
    "enhancenet": lambda: recorded("enhancenet", "pat"),
}


@pytest.fixture(scope="module")
def catalogue(site):
    return json.loads((HTML / "_static/models/models.json").read_text())


@pytest.fixture
def page(open_page, site, catalogue):
    if catalogue["engine"]["remote"]:
        pytest.skip("the book was built without ONNX Runtime Web: make vendor book")
    page = open_page(f"{site}/{PAGE}")
    page.set_default_timeout(WAIT)
    page.wait_for_selector(".srkit-try .cat")
    return page


@pytest.fixture
def photo(tmp_path):
    """211 x 149 pixels, more than a tile."""
    write_image(srkit.samples()["chelsea"][:, 20:169, 100:311], tmp_path / "photo.png")
    return tmp_path / "photo.png"


def give(page, file, network="rlfn"):
    """Choose a network, hand a file over, wait for the end; what the page says."""
    page.select_option(".srkit-try select", network)
    page.set_input_files(".srkit-try [type=file]", file)
    return ended(page)


def ended(page):
    page.wait_for_selector(DONE)
    return page.inner_text(".srkit-try .status")


def drawn(page):
    """The result in the page, (3, H, W) in grey levels."""
    url = page.eval_on_selector(".srkit-try .after", PIXELS)
    data = base64.b64decode(url.partition(",")[2])
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


def expected(model, picture, described):
    """What Python gives for the same tiles, in grey levels."""
    settings = {"tile": described["tile"], "overlap": described["overlap"], "precision": "float32"}
    return (255 * srkit.upscale(model, picture, **settings)).round()


def apart(page, model, picture, described):
    return (drawn(page) - expected(model, picture, described)).abs().max().item()


@pytest.fixture(scope="module")
def described(catalogue):
    return {network["id"]: network for network in catalogue["networks"]}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_page_gives_what_python_gives(page, photo, described, name):
    said = give(page, photo, name)
    assert said.startswith("211 x 149 became 844 x 596 in ")
    picture = srkit.read_image(photo)
    assert apart(page, NETWORKS[name](), picture, described[name]) <= 1
    assert page.outside == page.errors == page.failed == []


def test_the_slider_mixes_weights(page, photo, described):
    """Each place of the slider is `network_interpolation`, and the ends are two pictures."""
    give(page, photo, "esrgan")
    picture, ends = (
        srkit.read_image(photo),
        (recorded("esrgan", "psnr"), recorded("esrgan", "esrgan")),
    )
    for alpha in (0.5, 1.0):
        page.eval_on_selector(
            ".srkit-try .alpha input",
            "(e, alpha) => { e.value = alpha; e.dispatchEvent(new Event('input')); }",
            alpha,
        )
        page.wait_for_function(
            f"document.querySelector('.srkit-try .after-name').textContent.endsWith('{alpha:.2f}')"
        )
        model = srkit.network_interpolation(*ends, alpha)
        assert apart(page, model, picture, described["esrgan"]) <= 1
    assert apart(page, ends[0], picture, described["esrgan"]) > 10


def test_dragging_stops_what_is_no_longer_asked_for(page, photo):
    """Twenty moves of the slider: the last one is what is shown, and it comes once."""
    give(page, photo, "esrgan")
    page.evaluate(
        """() => {
          const slide = document.querySelector('.srkit-try .alpha input');
          window.told = [];
          const name = document.querySelector('.srkit-try .after-name');
          new MutationObserver(() => told.push(name.textContent)).observe(name, {childList: true});
          for (let k = 1; k <= 20; k++) {
            slide.value = k / 20;
            slide.dispatchEvent(new Event('input'));
          }
        }"""
    )
    page.wait_for_function("told.length > 0")
    page.wait_for_timeout(500)
    assert page.evaluate("told") == ["ESRGAN, small, from PSNR to GAN, alpha 1.00"]


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (5, 200)])
def test_the_thinnest_pictures(page, tmp_path, described, size, rng):
    write_image(torch.rand(3, *size, generator=rng), tmp_path / "strip.png")
    assert "became" in give(page, tmp_path / "strip.png")
    picture = srkit.read_image(tmp_path / "strip.png")
    assert apart(page, NETWORKS["rlfn"](), picture, described["rlfn"]) <= 1


def test_a_jpeg_and_its_orientation(page, photo, tmp_path):
    """Decoders of JPEG differ by a few levels, so it is not compared to one."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    Image.open(photo).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    assert give(page, tmp_path / "photo.jpg").startswith("149 x 211 became 596 x 844")
    model = NETWORKS["rlfn"]()
    other = 255 * srkit.upscale(model, srkit.read_image(tmp_path / "photo.jpg"))
    assert (drawn(page) - other).abs().mean() < 2


def test_what_is_transparent_lies_on_white(page, tmp_path, described, rng):
    rgba = (255 * torch.rand(30, 40, 4, generator=rng)).byte()
    rgba[..., 3] = rgba[..., 3] // 128 * 255  # there or not
    Image.fromarray(rgba.numpy()).save(tmp_path / "clear.png")
    assert give(page, tmp_path / "clear.png").endswith("What is transparent lies on white.")
    white = torch.where(rgba[..., 3:] == 0, 255, rgba[..., :3]).permute(2, 0, 1) / 255
    assert apart(page, NETWORKS["rlfn"](), white, described["rlfn"]) <= 1


def test_what_cannot_be_enlarged_is_refused_in_a_sentence(page, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    assert give(page, tmp_path / "notes.png") == (
        "notes.png is no picture that this browser reads: convert it to PNG or JPEG."
    )
    Image.new("RGB", (2001, 1000)).save(tmp_path / "wide.png")
    assert give(page, tmp_path / "wide.png").startswith(
        "wide.png has 2001 x 1000 pixels, and 2 million are the most here: crop it"
    )


def test_cancel_ends_at_once_and_the_page_goes_on(page, photo, tmp_path):
    Image.new("RGB", (1400, 1400), (90, 120, 60)).save(tmp_path / "field.png")
    page.set_input_files(".srkit-try [type=file]", tmp_path / "field.png")
    page.wait_for_function("document.querySelector('.srkit-try progress').value > 0")
    page.click(".srkit-try .cancel")
    assert page.inner_text(".srkit-try .status") == "Cancelled."
    assert page.is_hidden(".srkit-try progress")
    assert give(page, photo).startswith("211 x 149 became")


def test_a_picture_is_dropped_and_saved(page, photo):
    data = base64.b64encode(photo.read_bytes()).decode()
    handed = page.evaluate_handle(
        """data => {
          const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
          const dropped = new DataTransfer();
          dropped.items.add(new File([bytes], 'photo.png', {type: 'image/png'}));
          return dropped;
        }""",
        data,
    )
    page.dispatch_event(".srkit-try .drop", "drop", {"dataTransfer": handed})
    assert ended(page).startswith("211 x 149 became")
    with page.expect_download() as waiting:
        page.click(".srkit-try .save")
    saved = waiting.value
    assert saved.suggested_filename == "photo_x4.png"
    assert torch.equal((255 * srkit.read_image(saved.path())).round().byte(), drawn(page))


def test_memory_is_given_back(page, photo):
    """After ten pictures the browser holds hardly more than after two."""

    def held():
        family = [
            p for child in psutil.Process().children() for p in child.children(recursive=True)
        ]
        return sum(p.memory_info().rss for p in family) / 2**20

    for count in range(10):
        give(page, photo, ("rlfn", "esrgan", "enhancenet")[count % 3])
        if count == 2:
            early = held()
    assert held() - early < 150


def test_without_the_program_the_page_says_so_and_asks_nobody(open_page, site, catalogue):
    """Only the reader's click may ask another machine."""
    page = open_page("about:blank")
    engine = catalogue["engine"] | {"remote": True, "base": "https://cdn.example/ort/"}
    told = json.dumps(catalogue | {"engine": engine})
    page.route("**/models.json", lambda route: route.fulfill(body=told))
    page.goto(f"{site}/{PAGE}")
    page.wait_for_selector(".srkit-try .load")
    text = " ".join(page.inner_text(".srkit-try").split())
    assert "(ONNX Runtime Web, 14 MB) is not a part of this copy of the book; make vendor" in text
    assert "Load it from cdn.example" in text
    assert page.outside == []
    page.click(".srkit-try .load")
    page.click(".srkit-try .cat")
    page.wait_for_selector(".srkit-try[data-state=failed]")
    assert page.outside
    assert all(url.startswith("https://cdn.example/ort/") for url in page.outside)
    assert page.inner_text(".srkit-try .status").startswith("This browser could not do it: ")


def test_a_program_with_another_hash_is_not_run(page, photo):
    """The bytes are checked where they are used, not only where they were fetched."""
    page.context.route(
        "**/ort.wasm.min.js",
        lambda route: route.fulfill(body="throw 'it ran'", content_type="text/javascript"),
    )
    said = give(page, photo)
    assert said.startswith("This browser could not do it: ")
    assert "it ran" not in said


def test_the_networks_are_small(catalogue):
    sizes = [(HTML / "_static/models" / n["file"]).stat().st_size for n in catalogue["networks"]]
    assert len(sizes) == 3
    assert max(sizes) <= 1_200_000
