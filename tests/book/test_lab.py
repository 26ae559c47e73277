"""A reader's way: a chapter opened in JupyterLab, Run All, a slider of ipywidgets moved."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

CHAPTER = Path(__file__).parents[2] / "book" / "15-rlfn.ipynb"
MINUTES = 5
# Cells out of view are not in the page otherwise, and news would cover it.
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.innerText)"


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab on a copy of the chapter, with settings of its own."""
    book = tmp_path / "root" / "book"
    book.mkdir(parents=True)
    notebook = nbformat.read(CHAPTER, as_version=4)
    for cell in notebook.cells:  # the stored run would look like a finished one
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, book / CHAPTER.name)
    for name, text in SETTINGS.items():
        path = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "SRKIT_BUDGET": "smoke",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'root'}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # a busy machine; the kernel ends with its server
            server.kill()
            server.wait()


@pytest.mark.skipif(not CHAPTER.exists(), reason="chapter 15 is not written")
def test_chapter_15_runs_in_jupyterlab(open_page, lab):
    page = open_page(f"{lab}/lab/tree/book/{CHAPTER.name}?reset", until="load")
    page.set_default_timeout(60_000)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
    page.locator('#jp-main-statusbar :text("| Idle")').wait_for()
    for _ in range(5):  # asked before the kernel's channel stands, Run All is lost without a word
        page.click('.lm-MenuBar-item:has-text("Run")')
        page.click('li[data-command="runmenu:run-all"]')
        page.wait_for_timeout(3000)
        if page.evaluate(f"{PROMPTS}.some(t => /\\[(\\*|\\d+)\\]/.test(t))"):
            break
    error = '[data-mime-type="application/vnd.jupyter.error"]'
    finished = f"{PROMPTS}.every(t => /^\\[\\d+\\]:$/.test(t.trim()))"
    page.wait_for_function(
        f"() => {finished} || document.querySelector('{error}')", timeout=MINUTES * 60_000
    )
    assert page.locator(error).all_inner_texts() == []
    assert page.locator(".jp-OutputArea-output img").count() > 0

    box = page.locator(".widget-vbox:has(.widget-slider)").first
    seen = [box.locator("img:visible, svg:visible").first.evaluate("e => e.outerHTML")]
    handle = box.locator(".noUi-handle").first
    handle.press("ArrowRight")
    page.wait_for_timeout(500)
    seen.append(box.locator("img:visible, svg:visible").first.evaluate("e => e.outerHTML"))
    handle.scroll_into_view_if_needed()
    place, track = handle.bounding_box(), box.locator(".noUi-base").first.bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + 1, place["y"] + place["height"] / 2, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    seen.append(box.locator("img:visible, svg:visible").first.evaluate("e => e.outerHTML"))
    assert seen[0] != seen[1], "the key changes nothing"
    assert seen[1] != seen[2], "the drag changes nothing"
    assert page.outside == []
