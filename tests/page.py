"""What tests of figures share: a parser of their HTML, a picture, and a browser."""

import base64
import os
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image


class Page(HTMLParser):
    """The tags of a fragment, and whether every one that must be closed is."""

    VOID = {"img", "input", "br"}

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def pictures(self):
        return [np.array(decode(attrs["src"].partition(",")[2])) for attrs in self.all("img")]


def decode(data):
    data = base64.b64decode(data) if isinstance(data, str) else data
    return Image.open(BytesIO(data)).convert("RGB")


@pytest.fixture
def levels(rng):
    """8-bit noise, (40, 60, 3): the levels that a lossless picture must keep."""
    return torch.randint(0, 256, (40, 60, 3), generator=rng, dtype=torch.uint8).numpy()


@pytest.fixture
def hr(levels):
    return torch.from_numpy(levels).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def browser():
    """Chromium. Without it these tests skip, and fail where CI=true."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        message = "needs chromium on PATH"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
