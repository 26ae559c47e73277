"""Checkpoints: whole or not at all, and a training that was stopped ends as if it had not been."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from toy import (
    KILL_AT,
    KINDS,
    SEED,
    STEPS,
    Crops,
    Discriminator,
    Enlarger,
    assert_same,
    ended,
    noise,
    steps_of,
    train,
)

from srkit import files
from srkit.datasets.patches import Patches
from srkit.losses import L1, MSE, Content, FeatureAdversarial
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.metrics.features import random_tanh
from srkit.training import checkpoints
from srkit.training.loop import adam, enlarge_y, fit
from srkit.training.schedules import Constant


@pytest.fixture(scope="module")
def undisturbed():
    """What each kind of training learns when nothing happens to it."""
    return {kind: train(kind) for kind in KINDS}


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {"step": 7, "weights": torch.arange(5.0), "rows": [{"loss": 0.5}], "none": None}
    path = checkpoints.save(tmp_path, 7, state)
    again = checkpoints.load_latest(tmp_path)
    assert torch.equal(again.pop("weights"), state["weights"])
    assert again == {"step": 7, "rows": [{"loss": 0.5}], "none": None}
    assert [path] == list(tmp_path.iterdir())


def test_only_the_newest_stay(tmp_path):
    for step in (900, 1000, 99, 10_000_000):
        checkpoints.save(tmp_path, step, {"step": step}, keep=2)
    assert steps_of(tmp_path) == [1000, 10_000_000]


def test_an_empty_or_missing_folder_holds_none(tmp_path):
    assert checkpoints.load_latest(tmp_path) is None
    assert checkpoints.load_latest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("harm", ["cut in half", "a byte flipped", "emptied"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path, harm):
    checkpoints.save(tmp_path, 1, {"step": 1})
    path = checkpoints.save(tmp_path, 2, {"step": 2, "weights": torch.zeros(1000)})
    data = bytearray(path.read_bytes())
    if harm == "cut in half":
        data = data[: len(data) // 2]
    elif harm == "a byte flipped":
        data[len(data) // 2] ^= 1  # inside the weights: torch alone would not notice
    else:
        data = b""
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="checkpoint-00000002.pt is cut off or altered"):
        assert checkpoints.load_latest(tmp_path) == {"step": 1}


@pytest.mark.parametrize("data", [b"no checkpoint", None], ids=["no file of torch", "a tensor"])
def test_a_whole_file_that_cannot_be_read_does_not_begin_the_training_anew(tmp_path, data):
    """Of another version of PyTorch, perhaps; torch's own errors are of a dozen kinds."""
    if data is None:
        torch.save(torch.zeros(1), tmp_path / "x")
        data = (tmp_path / "x").read_bytes()
    path = tmp_path / "checkpoint-00000001.pt"
    path.write_bytes(data + hashlib.sha256(data).digest())
    with pytest.raises(ValueError, match=r"checkpoint-00000001\.pt cannot be read by this version"):
        checkpoints.load_latest(tmp_path)


def test_the_trunk_that_terms_share_is_in_no_checkpoint(tmp_path):
    """Each term knows it by a name of its own; it never changes, and VGG-19 has 80 MB."""
    discriminator = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    trunk = random_tanh(8)
    loss = Content(trunk, {"conv2": 1.0}) + FeatureAdversarial(
        discriminator, Standard(), trunk, "conv2"
    )
    how = {"batch": 2, "patch": 8, "steps": 1, "rate": Constant(1e-3), "device": "cpu"}
    fit(Enlarger(), loss, Crops(), folder=tmp_path, from_scratch=True, **how)
    kept = checkpoints.load_latest(tmp_path)["loss"].keys()
    assert kept == {f"terms.feature adversarial.discriminator.2.{n}" for n in ("weight", "bias")}


# a training that is stopped, and called again


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed was 0, now it is 1"),
        ({"batch": 1}, "batch was 2, now it is 1"),
        ({"patch": 6}, "patch was 8, now it is 6"),
        ({"clip": 0.5}, "clip was None, now it is 0.5"),
        ({"ema": 0.9}, "ema was None, now it is 0.9"),
        (
            {"rate": Constant(2e-3)},
            r"rate was Constant\(rate=0.001\), now it is Con",
        ),
        ({"loss": MSE()}, r"loss was L1: .*, now it is MSE"),
        ({"optimizer": torch.optim.SGD}, "optimizer was Adam, now it is SGD"),
        (
            {"optimizer": partial(torch.optim.Adam, betas=(0.5, 0.9))},
            r"settings of the optimizer was .*betas=\(0\.9, 0\.999\).*now .*betas=\(0\.5, 0\.9\)",
        ),
        (
            {"optimizer": partial(torch.optim.Adam, weight_decay=0.1)},
            r"settings of the optimizer was .*weight_decay=0,.*now .*weight_decay=0\.1",
        ),
        ({"forward": enlarge_y}, "forward was enlarge, now it is enlarge_y"),
        ({"crops": Patches(noise(seed=6), 2)}, r"pixels \(a hash of some\) was .*, now it is"),
        ({"model": Enlarger(0.5)}, r"network was Enlarger\(.*0\.0}\), now it is Enlarger\(.*0\.5}"),
    ],
)
def test_a_training_that_was_begun_otherwise_is_not_gone_on_with(tmp_path, change, words):
    """A changed seed was ignored, an average dropped, and a run of other crops taken over.

    So were other momenta, a network whose skips no shape shows, and other pictures of the number.
    """
    how = {"batch": 2, "patch": 8, "rate": Constant(1e-3), "device": "cpu", "folder": tmp_path}
    fit(Enlarger(), L1(), Crops(), steps=1, **how)
    changed = dict(change)
    model, crops = changed.pop("model", Enlarger()), changed.pop("crops", Crops())
    if make := changed.pop("optimizer", None):
        changed["optimizer"] = make(model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match=rf"was begun otherwise: {words}.*take another folder"):
        fit(model, changed.pop("loss", L1()), crops, steps=2, **how | changed)
    history = fit(Enlarger(), L1(), Crops(), steps=2, **how)
    assert history[-1]["step"] == 2, "more steps are the same training"


def test_a_discriminator_s_optimizer_is_a_setting_too(tmp_path):
    how = {"batch": 2, "patch": 8, "rate": Constant(1e-3), "device": "cpu", "folder": tmp_path}
    how |= {"from_scratch": True}

    def loss():
        return L1() + 0.1 * Adversarial(Discriminator(), Standard())

    fit(Enlarger(), loss(), Crops(), steps=1, **how)
    how["discriminator_optimizer"] = lambda net: adam(net, betas=(0.5, 0.9))
    with pytest.raises(ValueError, match=r"of the discriminators' optimizers was .*0\.5, 0\.9"):
        fit(Enlarger(), loss(), Crops(), steps=2, **how)


def test_a_checkpoint_of_an_edition_that_wrote_down_less_is_gone_on_with(tmp_path, monkeypatch):
    how = {"batch": 2, "patch": 8, "rate": Constant(1e-3), "device": "cpu", "folder": tmp_path}
    fit(Enlarger(), L1(), Crops(), steps=1, **how)
    saved = checkpoints.load_latest(tmp_path)
    saved["identity"] = {"seed": 0, "batch": 2}
    checkpoints.save(tmp_path, 1, saved)
    assert fit(Enlarger(), L1(), Crops(), steps=2, **how)[-1]["step"] == 2
    checkpoints.save(tmp_path, 9, saved)
    with pytest.raises(ValueError, match="batch was 2, now it is 4"):
        fit(Enlarger(), L1(), Crops(), steps=9, **how | {"batch": 4})


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_exception_at_any_step(kind, undisturbed, tmp_path):
    """Pictures that cannot be read, say: here at a step that differs from run to run."""

    def fail():
        raise OSError("no such picture")

    with pytest.raises(OSError, match="no such picture"):
        train(kind, tmp_path, Crops({KILL_AT: fail}))
    assert steps_of(tmp_path)[-1] == (KILL_AT - 1) // 3 * 3
    assert_same(train(kind, tmp_path), undisturbed[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_after_ctrl_c_the_step_at_hand_is_kept(kind, undisturbed, tmp_path):
    crops = Crops({KILL_AT: lambda: signal.raise_signal(signal.SIGINT)})
    with pytest.raises(KeyboardInterrupt):
        train(kind, tmp_path, crops)
    assert steps_of(tmp_path)[-1] == KILL_AT
    assert_same(train(kind, tmp_path), undisturbed[kind])


@pytest.fixture
def in_a_terminal():
    """Ctrl-C interrupts; a shell that starts tests in the background has it ignored instead."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_a_terminal")
def test_a_second_ctrl_c_ends_at_once_and_handlers_are_put_back(tmp_path, undisturbed):
    def twice():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train("pixel", tmp_path, Crops({8: twice}))
    assert steps_of(tmp_path) == [3, 6]  # not 8: nothing was written on the way out
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert_same(train("pixel", tmp_path), undisturbed["pixel"])


def test_a_request_during_the_last_look_is_heard(tmp_path):
    """Or the next stage would begin."""

    def validate(model):
        signal.raise_signal(signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        train("pixel", tmp_path, validate=validate, validate_every=1000)
    assert steps_of(tmp_path)[-1] == STEPS


def test_after_a_full_disk_the_checkpoint_before_it_is_whole(tmp_path, undisturbed, monkeypatch):
    synced = [0]

    def full(descriptor):
        synced[0] += 1
        if synced[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"the disk is full: .* free, too few for this file"):
        train("gan", tmp_path)
    monkeypatch.undo()
    assert steps_of(tmp_path) == [3, 6]
    assert len(list(tmp_path.iterdir())) == 2  # no half of a third
    assert_same(train("gan", tmp_path), undisturbed["gan"])


def test_after_a_damaged_checkpoint(tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        train("gan", tmp_path, Crops({11: lambda: signal.raise_signal(signal.SIGINT)}))
    newest = checkpoints.found(tmp_path)[-1]
    os.truncate(newest, newest.stat().st_size // 2)
    with pytest.warns(UserWarning, match="checkpoint-00000011.pt is cut off"):
        again = train("gan", tmp_path)
    assert_same(again, undisturbed["gan"])


def test_what_is_done_is_not_done_again(tmp_path, undisturbed):
    first = train("balanced", tmp_path)
    crops = Crops()
    assert_same(train("balanced", tmp_path, crops), first)
    assert crops.asked == 0


def test_what_was_learned_by_other_means_is_the_same(undisturbed):
    """That the oracle itself is no accident: a second undisturbed training gives its weights."""
    assert_same(train("penalty"), undisturbed["penalty"])


# a process that is ended from outside


def start(*arguments: object) -> subprocess.Popen:
    program = Path(__file__).parents[1] / "toy.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_for_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    patience = time.monotonic() + 120
    while not steps_of(folder):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_sigterm_is_a_request(tmp_path, undisturbed):
    """What a cluster sends before the time is up: 143, and nothing of the work is lost."""
    process = start("gan", tmp_path, "delay=0.2")
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 128 + signal.SIGTERM
    assert 3 <= steps_of(tmp_path)[-1] < STEPS
    assert_same(train("gan", tmp_path), undisturbed["gan"])


def test_sigkill_at_any_moment(tmp_path, undisturbed):
    process = start("gan", tmp_path, "delay=0.01", f"hang={STEPS - 1}")
    wait_for_checkpoint(process, tmp_path)
    time.sleep(random.Random(SEED).uniform(0, 0.3))
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert_same(train("gan", tmp_path), undisturbed["gan"])


def test_sigkill_while_a_checkpoint_is_written(tmp_path, undisturbed):
    assert ended(start("pixel", tmp_path, "die_while_writing=3")) == -signal.SIGKILL
    assert steps_of(tmp_path) == [3, 6]
    assert_same(train("pixel", tmp_path), undisturbed["pixel"])
