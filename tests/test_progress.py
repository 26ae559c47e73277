"""Bars: a line for whoever watches, in a terminal and in a notebook; nothing in what is stored."""

from __future__ import annotations

from pathlib import Path
from queue import Empty

import pytest
import torch
from toy import Enlarger, noise

import srkit
from srkit.datasets.patches import Patches
from srkit.inference import upscale
from srkit.losses import L1
from srkit.progress import bar, progress_bars, watched
from srkit.training.loop import fit
from srkit.training.schedules import Constant

TESTS = Path(__file__).parent


def learn(**how):
    how = {"steps": 4, "batch": 1, "patch": 8, "device": "cpu", "validate_every": 2} | how
    fit(
        Enlarger(), L1(), Patches(noise(), 2), rate=Constant(0.01), **how,
        validate=lambda model: {"psnr": 31.25},
    )  # fmt: skip


def test_a_log_file_has_no_bars(capfd):
    assert not watched()
    learn()
    upscale(Enlarger(), torch.rand(3, 40, 40), tile=20, overlap=2)
    assert capfd.readouterr().err == ""


def test_a_training_is_one_line_with_loss_and_decibels(capfd):
    learn(progress=True)
    said = capfd.readouterr().err
    assert "toy" in said
    assert "4/4" in said
    assert "psnr=31.25" in said
    assert "loss=0." in said
    assert "\n" not in said.strip()


def test_tiles_and_pictures_are_counted_where_there_are_several(capfd, tmp_path):
    model, lr = Enlarger(), torch.rand(3, 40, 40)
    upscale(model, lr, tile=20, overlap=2, progress=True)
    assert "0/4" in capfd.readouterr().err
    upscale(model, lr, progress=True)
    assert capfd.readouterr().err == ""
    srkit.write_image(lr, tmp_path / "a.png")
    srkit.evaluate(model, tmp_path / "a.png", progress=True)
    assert "toy on" in capfd.readouterr().err
    srkit.upscale_folder(model, tmp_path, tmp_path / "out", tile=20, overlap=2, progress=True)
    said = capfd.readouterr().err
    assert "0/1" in said
    assert "tile" not in said


@pytest.mark.parametrize(
    ("outer", "own", "shown"), [(False, None, 0), (True, False, 0), (True, None, 1)]
)
def test_who_is_nearer_decides(capfd, outer, own, shown):
    with progress_bars(outer):
        assert list(bar([7], desc="seven", unit="number", progress=own)) == [7]
    assert bool(capfd.readouterr().err) == bool(shown)


CELL = """
import sys; sys.path.insert(0, {tests!r})
from test_progress import learn
learn()
"""


def outputs(allow_stdin: bool) -> list[str]:
    """The kinds of what a cell sends, in a front end that can be asked something, or not."""
    manager = pytest.importorskip("jupyter_client.manager", reason="JupyterLab is not installed")
    kernel, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=120)
    kinds = []
    try:
        asked = client.execute(CELL.format(tests=str(TESTS)), allow_stdin=allow_stdin)
        while True:
            message = client.get_iopub_msg(timeout=200)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            assert kind != "error", content
            if kind == "display_data":
                kinds += list(content["data"])
            elif kind == "stream":
                kinds.append(content["text"])
            if content.get("execution_state") == "idle":
                return kinds
    except Empty:
        pytest.fail("the kernel did not answer in time")
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def test_a_notebook_at_work_has_a_bar_and_a_stored_one_has_none():
    """nbconvert, nbclient and nbval do not let a kernel ask; JupyterLab does."""
    pytest.importorskip("ipywidgets", reason="ipywidgets are not installed: a notebook has no bars")
    assert "application/vnd.jupyter.widget-view+json" in outputs(allow_stdin=True)
    assert outputs(allow_stdin=False) == []
