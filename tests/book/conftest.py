"""A Chromium page on the built book, or a skip that says what is missing (in CI: a failure)."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
# No name but this machine's leads anywhere: the browser itself refuses what a page asks of others.
REFUSED = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", REFUSED]


def need(there: object, message: str) -> None:
    if not there:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # a page asks for thirty files at once; the default is 5


@pytest.fixture(scope="session")
def site():
    """Address of the built book, served on localhost."""
    need((HTML / "index.html").exists(), "the book is not built: run `make book`")
    handler = functools.partial(Quiet, directory=str(HTML))
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    need(program, "no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def new_page(browser, **options):
    """A page that notes what goes wrong.

    `page.outside` are addresses on other machines, `page.failed` answers of 400 and above,
    `page.errors` what the console reports.
    """
    page = browser.new_context(**options).new_page()
    page.outside, page.failed, page.errors = [], [], []

    def asked(request):
        if not request.url.startswith(LOCAL):
            page.outside.append(request.url)

    page.on("request", asked)
    page.on("response", lambda r: page.failed.append(r.url) if r.status >= 400 else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    return page


@pytest.fixture
def open_page(browser):
    """`open_page(url, width=, theme=, until=)`: a new reader's page."""
    contexts = []

    def open_page(url: str, *, width=1280, theme="light", until="networkidle"):
        page = new_page(browser, viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(page.context)
        page.goto(url, wait_until=until)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def tab(browser):
    page = new_page(browser, has_touch=True)
    yield page
    page.context.close()


@pytest.fixture
def visit(tab):
    """`visit(url, width=)`: the session's one tab, on this page, light and on a screen."""

    def visit(url: str, *, width=1280):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme="light", media="screen")
        for noted in (tab.outside, tab.failed, tab.errors):
            noted.clear()
        tab.goto(url, wait_until="load")
        return tab

    return visit
