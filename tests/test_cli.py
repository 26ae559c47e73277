"""The srkit command: what it prints, its exit codes, its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import srkit
from srkit.cli import app
from srkit.datasets.patches import Unreadable
from srkit.files import Damaged, Unreachable, data_path
from srkit.image.io import read_image, write_image
from srkit.inference import FolderReport
from srkit.models.carn import CARN
from srkit.models.edsr import EDSR
from srkit.models.esrgan import RRDBNet, rename_keys
from srkit.recipes.run import folder_of
from srkit.weights import choose

SMOKE = ("--variant", "one-stage", "--budget", "smoke")


@pytest.fixture
def run():
    """run("info", "rlfn_x4") -> the result: exit_code, stdout, stderr."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    srkit.save(srkit.create_model("rlfn_tiny_x4"), path)
    return path


@pytest.fixture
def picture(tmp_path):
    write_image(srkit.samples()["chelsea"][:, 100:140, 100:150], tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_models_lists_names_figures_and_weights(run):
    shown = run("models", "rlfn*")
    head, *lines = shown.stdout.splitlines()
    assert head.split() == ["network", "Set5", "dB", "LPIPS", "params", "MACs", "here", "weights"]
    (line,) = [line for line in lines if line.startswith("rlfn_x4 ")]
    assert line.split()[1:8] == ["32.24", "m", "0.176", "544", "K", "29.8", "G"]
    assert line.endswith("official")
    (line,) = [line for line in lines if line.startswith("rlfn_tiny_x4 ")]
    assert line.split()[1:3] == ["31.42", "r"]
    assert line.split()[-2:] == ["yes", "srkit"]
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "m: measured here" in shown.stderr
    rows = json.loads(run("models", "imdn", "--json").stdout)
    assert [row["name"] for row in rows] == ["imdn_x2", "imdn_x3", "imdn_x4"]
    assert rows[2]["parameters"] == 715_176
    assert [row["figures"] for row in rows] == ["measured", "published", "measured"]


def test_models_helps_to_choose_by_filters(run):
    words = ("models", "--scale", 4, "--parameters", 100_000, "--trained", "--json")
    rows = json.loads(run(*words).stdout)
    assert rows[0]["name"] == "rlfn_tiny_x4"
    assert all(r["scale"] == 4 and r["parameters"] <= 100_000 and r["at_hand"] for r in rows)
    papers = json.loads(run("models", "--paper", "srgan", "--json").stdout)
    assert {row["paper"] for row in papers} == {"SRGAN"}
    refused = run("models", "--scale", 8, "--trained")
    assert refused.exit_code == 2
    assert "no network fits scale 8, trained here: without trained here there" in refused.stderr


def test_info_of_a_network(run):
    assert "543,740" in run("info", "rlfn", "--scale", 4).stdout
    assert json.loads(run("info", "rlfn_x4", "--json").stdout)["scale"] == 4


def test_info_says_who_trained_weights_that_are_not_the_authors(run):
    text = " ".join(run("info", "esrgan_x4").stdout.split())
    assert "'realsr': weights/ESRGAN/realsr_df2k_x4.safetensors (Apache-2.0) Set5 30.39 dB" in text
    assert "trained by RealSR's authors (Ji et al., CVPRW 2020), not by ESRGAN's" in text
    facts = json.loads(run("info", "srresnet8_x4", "--json").stdout)["weights"]["tutorial"]
    assert facts["licence"] == "none stated"
    assert facts["origin"].endswith("who trained it is unverified")


def test_info_of_nothing_names_the_doctor(run):
    refused = run("info")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "srkit: name a network or --recipe; `srkit doctor` tells about this machine\n"
    )


def test_doctor_is_exit_code_1_where_something_is_broken(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", "")
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    shown = run("doctor")
    assert shown.exit_code == 0, shown.stdout
    assert shown.stdout.splitlines()[-1] == "srkit can work here."
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path / "none"))
    shown = run("doctor")
    assert shown.exit_code == 1
    last = shown.stdout.splitlines()[-1]
    assert last == (
        f"BROKEN: SRKIT_HOME names {tmp_path / 'none'}, which is no folder: correct it or unset it"
    )
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["broken"] == [last.removeprefix("BROKEN: ")]
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_upscale_a_file(run, weights, picture, tmp_path):
    out = tmp_path / "big.png"
    result = run("upscale", weights, picture, out, "--device", "cpu", "--check-color")
    assert result.exit_code == 0
    assert "big.png: mean shift in grey levels of 255: R " in result.stdout
    expected = srkit.upscale(srkit.load_checkpoint(weights), read_image(picture))
    assert (read_image(out) - expected).abs().max() <= 0.51 / 255
    again = run("upscale", weights, picture, out)
    assert again.exit_code == 2
    assert again.stderr == f"srkit: {out} exists: --overwrite replaces it\n"


def test_upscale_without_a_name_takes_the_best_that_ships(run, picture, tmp_path):
    """And says which, and how to take another; --scale picks among the scales."""
    for scale, words in ((4, ()), (2, ("--scale", 2)), (16, ("--scale", 16))):
        found = choose.best(scale)
        out = tmp_path / f"x{scale}.png"
        result = run("upscale", picture, out, "--device", "cpu", *words)
        assert result.exit_code == 0, result.stderr
        said = result.stderr.splitlines()
        assert said[0] == (
            f"by {found.name}, the best for x{scale} that ships ({found.says}); another: srkit "
            f"upscale NAME {picture} ..., names: srkit models --scale {scale}"
        )
        expected = srkit.upscale(srkit.create_model(found.name, weights="srkit"), picture)
        assert read_image(out).shape == (3, 40 * scale, 50 * scale)
        assert torch.equal(read_image(out), srkit.round_8bit(expected.rgb))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.png", "b.png"), "no picture or folder nowhere.png"),
        (("rlfn_x4", "{picture}"), "rlfn_x4 is a network: srkit upscale rlfn_x4 PICTURE RESULT"),
        (("{picture}", "b.png", "--weights", "srkit"), "--weights srkit is of a network: name it"),
        (("{picture}", "b.png", "--scale", "3"), "no network that ships with srkit enlarges by 3"),
        (("{picture}", "b.png", "--scale", "0"), "no network that ships with srkit enlarges by 0"),
        (("{picture}", "{picture}"), "cat.png exists: --overwrite replaces it"),
    ],
)
def test_upscale_without_a_name_refuses_in_words(run, picture, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("upscale", *(word.format(picture=picture) for word in words))
    assert result.exit_code == 2
    assert said in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cat.png"]


def test_a_network_that_was_trained_here_goes_by_name_in_every_command(run, picture, tmp_path):
    """Its weights are taken without --weights."""
    out = tmp_path / "big.png"
    assert run("upscale", "esrgan/psnr", picture, out, "--device", "cpu").exit_code == 0
    expected = srkit.upscale(srkit.create_model("esrgan/psnr"), picture)
    assert torch.equal(read_image(out), srkit.round_8bit(expected.rgb))
    assert "Set5 30.35 dB, LPIPS 0.185" in run("info", "esrgan/psnr").stdout
    words = ("eval", "esrgan/psnr", "--data", picture.parent, "--limit", 1, "--json")
    assert json.loads(run(*words, "--device", "cpu").stdout)["rows"][0]["image"] == "big"
    fetched = run("fetch", "esrgan/psnr").stdout
    assert fetched.strip().endswith("weights/esrgan-laptop-psnr_x4.safetensors")
    refused = run("upscale", "esrgan/psnrr", picture, tmp_path / "c.png")
    assert refused.exit_code == 2
    assert "no model is named 'esrgan/psnrr'. Do you mean esrgan/psnr" in refused.stderr


def test_export_of_a_network_that_was_trained_here(run, tmp_path):
    pytest.importorskip("onnxscript")
    for name in ("srgan/mse", data_path("weights/srgan-laptop-mse_x4.safetensors")):
        out = tmp_path / f"{len(str(name))}.onnx"
        result = run("export", name, out)
        assert result.exit_code == 0, result.stderr
        assert "from PyTorch's pictures at most" in result.stdout


@pytest.mark.parametrize("command", ["upscale", "eval", "export"])
def test_with_a_file_of_weights_no_option_is_dropped(run, weights, picture, tmp_path, command):
    """The same file is the same network in every command; another scale or weights are refused."""
    more = {"upscale": (picture, tmp_path / "b.png"), "export": (tmp_path / "b.onnx",)}
    words = (command, weights, *more.get(command, ()))
    said = run(*words, "--scale", 2).stderr
    assert "tiny.safetensors holds weights for x4, not for x2" in said
    said = run(*words, "--weights", "srkit").stderr
    assert f"--weights srkit beside the file {weights}: the file has the weights" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cat.png", "tiny.safetensors"]


def test_a_file_for_three_scales_enlarges_by_the_one_that_is_asked_for(run, picture, tmp_path):
    srkit.save(CARN(scale=2, heads=(2, 3, 4), channels=8), path := tmp_path / "carn.safetensors")
    for scale in (2, 3, 4):
        out = tmp_path / f"x{scale}.png"
        result = run("upscale", path, picture, out, "--scale", scale, "--device", "cpu")
        assert result.exit_code == 0, result.stderr
        assert read_image(out).shape == (3, 40 * scale, 50 * scale)


def test_upscale_a_folder_with_a_bad_file(run, weights, picture, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    result = run("upscale", weights, tmp_path, tmp_path / "out", "--tile", 32, "--suffix", ".jpg")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 done, 0 skipped, 1 failed\n  bad.png: ")
    assert read_image(tmp_path / "out" / "cat.jpg").shape == (3, 160, 200)


def test_eval_prints_the_published_number_with_its_protocol(run, assets):
    root = assets("benchmarks/Set5")
    text = run("eval", "rlfn", "--scale", 4, "--weights", "official", "--root", root).stdout
    assert "protocol classic: Y of BT.601, not rounded" in text
    assert text.splitlines()[-1].split()[:5] == ["mean", "of", "5", "32.240", "0.8953"]


def test_eval_in_json(run, picture):
    words = ("eval", "bicubic", "--scale", 2, "--data", picture.parent, "--json")
    scores = json.loads(run(*words).stdout)
    assert scores["rows"][0]["image"] == "cat"
    assert scores["protocol"]["name"] == "classic"


def test_upscale_by_a_file_of_real_esrgan(run, picture, tmp_path):
    """x2plus folds pixels first, and has no name of its own in the zoo."""
    torch.manual_seed(0)
    net = RRDBNet(2, channels=6, blocks=1, growth=4).eval()
    path, out = tmp_path / "RealESRGAN_x2plus.pth", tmp_path / "big.png"
    torch.save({"params_ema": rename_keys(net.state_dict(), "basicsr")}, path)
    result = run("upscale", path, picture, out, "--device", "cpu")
    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert "RRDBNet(scale=2, channels=6, blocks=1, growth=4, " in result.stderr
    assert (read_image(out) - srkit.upscale(net, read_image(picture))).abs().max() <= 0.51 / 255


def test_fetch_and_upscale_by_weights_of_others(run, assets, picture, tmp_path):
    path = assets("weights/SRGAN/leftthomas_netG_epoch_4_100.pth")
    found = run("fetch", "srgan_port_x4", "--weights", "leftthomas")
    assert found.stdout == f"srgan_port_x4: {path}\n"
    refused = run("fetch", "srgan_port_x4")
    assert refused.exit_code == 2
    assert "srgan_port_x4 has no weights 'official', " in refused.stderr
    assert "It has: 'leftthomas'." in refused.stderr
    words = ("upscale", "srgan_port_x4", picture, tmp_path / "a.png", "--weights", "leftthomas")
    assert run(*words).exit_code == 0
    assert read_image(tmp_path / "a.png").shape == (3, 160, 200)


def test_fetch_finds_what_is_there(run, assets):
    folder = assets("benchmarks/Set5")
    result = run("fetch", "Set5", "rlfn_x4")
    assert result.stdout.splitlines()[0] == f"Set5: 5 pictures in {folder / 'HR'}"
    assert result.stdout.splitlines()[1].endswith("rlfn_x4.pth")


def test_convert(run, weights, tmp_path):
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    state = srkit.load_checkpoint(weights).state_dict()
    torch.save({"params": {f"module.{name}": t for name, t in state.items()}}, source)
    result = run("convert", source, target)
    assert (result.exit_code, result.stdout) == (0, f"{target}: rlfn_tiny_x4\n")
    ours = srkit.load_checkpoint(target).state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in state.items())
    again = run("convert", source, target)
    assert (again.exit_code, again.stderr) == (
        2,
        f"srkit: {target} exists: --overwrite replaces it\n",
    )
    assert run("convert", source, target, "--overwrite").exit_code == 0


def test_convert_of_what_fits_several_networks_says_so(run, tmp_path):
    torch.save(srkit.create_model("srcnn_x2").state_dict(), tmp_path / "srcnn.pth")
    torch.save(srkit.create_model("idn_x3").state_dict(), tmp_path / "a.pth")
    for words, name in (((), "idn_x2"), (("--name", "idn_x3"), "idn_x3")):
        result = run("convert", tmp_path / "a.pth", tmp_path / f"{name}.safetensors", *words)
        assert result.stdout == f"{tmp_path / name}.safetensors: {name}\n"
        assert ("srkit convert --name" in result.stderr) == (not words)
    wrong = run("convert", tmp_path / "srcnn.pth", tmp_path / "b.safetensors", "--name", "idn_x3")
    assert wrong.exit_code == 2
    assert "does not fit idn_x3. This file is for create_model('srcnn', scale=2)" in wrong.stderr
    assert not (tmp_path / "b.safetensors").exists()


def test_a_tilde_is_the_home_folder_in_every_command(run, weights, picture, tmp_path, monkeypatch):
    """As in --weights=~/a.pth, which a shell hands over as it stands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    picture.rename(tmp_path / "in" / "cat.png")
    for words in (
        ("upscale", "~/tiny.safetensors", "~/in/cat.png", "~/a.png"),
        ("upscale", "~/tiny.safetensors", "~/in", "~/out"),
        ("eval", "~/tiny.safetensors", "--data", "~/in"),
        ("explain-psnr", "~/in/cat.png", "~/in/cat.png", "--scale", 2),
        ("convert", "~/tiny.safetensors", "~/b.safetensors"),
    ):
        result = run(*words)
        assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "~").exists()
    made = ["a.png", "out/cat.png", "b.safetensors"]
    assert [(tmp_path / name).exists() for name in made] == [True] * 3
    assert (
        folder_of("~/runs", "rlfn", "smoke", "rlfn", 0) == tmp_path / "runs/rlfn/smoke/rlfn-seed0"
    )


def test_a_name_that_the_terminal_cannot_show_stops_nothing(weights, picture, tmp_path):
    odd = os.fsdecode(b"b\xff.png")
    (tmp_path / "in").mkdir()
    picture.rename(tmp_path / "in" / odd)
    done = subprocess.run(
        [sys.executable, "-m", "srkit", "upscale", weights, tmp_path / "in", tmp_path / "out",
         "--check-color"],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"b\\udcff.png: mean shift" in done.stdout
    assert (tmp_path / "out" / odd).exists()


def test_explain_psnr(run, picture, tmp_path):
    write_image((read_image(picture) + 10 / 255).clamp(0, 1), tmp_path / "other.png")
    words = ("explain-psnr", tmp_path / "other.png", picture, "--scale", 2)
    assert "classic" in run(*words).stdout
    rows = json.loads(run(*words, "--json").stdout)
    (plain,) = [r["psnr"] for r in rows if r["protocol"] == "rgb"]
    assert plain == pytest.approx(28.131, abs=0.01)  # 20 log10(255 / 10)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("info", "rlfm_x4"), "no model is named 'rlfm_x4'"),
        (("models", "nothing*"), "no network fits 'nothing*'"),
        (("eval", "bicubic", "--data", "Set6", "--scale", "4"), "unknown data set 'Set6'"),
        (("eval", "bicubic", "--protocol", "mine", "--scale", "4"), "protocol 'mine'"),
        (("fetch", "Set6"), "no model is named 'Set6'"),
        (("upscale", "rlfn_x4", "nowhere.png", "out.png"), "nowhere.png"),
        (("convert", "nowhere.pth", "out.safetensors"), "no file nowhere.pth"),
        (("export", "ddbpn_x4", "out.onnx"), "ddbpn_x4 has no weights 'official'"),
    ],
)
def test_refusals_are_one_sentence(run, words, sentence):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("srkit: ")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_wrong_usage_is_exit_code_2(run):
    assert run("upscale").exit_code == 2
    assert run("eval", "rlfn", "--no-such").exit_code == 2


class Away(OSError):
    """As urllib's, which is an OSError without a number."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("scale=0"), 2),
        (FileNotFoundError("no a.png"), 2),
        (FileExistsError("a.png exists"), 2),
        (NotADirectoryError("a is a file"), 2),
        (IsADirectoryError("a is a folder"), 2),
        (PermissionError("a is read-only"), 2),
        (Damaged("a.png is cut short"), 1),
        (Unreadable("a.png", "a.png is cut short"), 1),
        (Unreachable("no address", []), 1),
        (Away("no network"), 1),
        (OSError(28, "the disk is full"), 1),
        (FloatingPointError("the loss is NaN"), 1),
        (RuntimeError("out of memory"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_is_a_sentence_and_a_code(run, error, code, monkeypatch):
    """2: ask otherwise; 1: it was asked for rightly, and something failed; 130: stopped."""

    def fails(*_, **__):
        raise error

    monkeypatch.setattr("srkit.weights.choose.networks", fails)
    result = run("models")
    assert result.exit_code == code
    assert result.stderr == f"srkit: {'stopped' if code == 130 else error}\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ("upscale", "{0}", "{1}", "{long}"),
        ("upscale", "{0}", "{long}", "a.png"),
        ("convert", "{0}", "{long}"),
        ("runs", "{long}"),
    ],
)
def test_a_name_too_long_for_a_file_was_asked_for_wrongly(run, weights, picture, words):
    long = "n" * 300 + (".safetensors" if words[0] == "convert" else ".png")
    result = run(*(word.format(weights, picture, long=long) for word in words))
    assert result.exit_code == 2
    assert long in result.stderr


def test_too_little_memory_has_no_words_of_its_own(run, monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr("srkit.weights.choose.networks", fails)
    assert run("models").stderr == "srkit: there is not enough memory\n"


def test_what_is_damaged_failed_and_what_is_absent_was_asked_wrongly(
    run, weights, picture, tmp_path
):
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:-30])
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-30])
    big = tmp_path / "big.png"
    assert run("upscale", weights, tmp_path / "cut.png", big).exit_code == 1
    assert run("upscale", tmp_path / "cut.safetensors", picture, big).exit_code == 1
    assert run("upscale", weights, tmp_path / "none.png", big).exit_code == 2
    assert run("upscale", tmp_path / "none.safetensors", picture, big).exit_code == 2
    assert run("upscale", weights, picture, picture).exit_code == 2
    assert not big.exists()


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (("convert", "{weights}"), "srkit.weights.save.convert"),
        (("export", "{weights}"), "srkit.weights.export.export_onnx"),
        (("runs", "{runs}", "--plot"), "srkit.training.run.find_runs"),
    ],
)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("folder", "is a folder: name the file, as in"),
        ("file/a.x", "file is a file, no folder: choose another place."),
        ("closed/a.x", "closed is read-only for this user."),
    ],
)
def test_a_place_that_cannot_be_is_known_before_the_work(
    run, weights, tmp_path, monkeypatch, words, slow, place, said
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").touch()
    may = os.access  # the tests may run as a user who may write everywhere
    monkeypatch.setattr(
        "os.access", lambda path, mode: Path(path).name != "closed" and may(path, mode)
    )
    monkeypatch.setattr(slow, pytest.fail)
    words = [word.format(weights=weights, runs=tmp_path) for word in words]
    more = ["--overwrite"] if place == "folder" and words[0] != "runs" else []
    result = run(*words, tmp_path / place, *more)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_training_asks_for_its_place_first(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("srkit.training.stage.Stage.train", pytest.fail)
    result = run("train", "rlfn", *SMOKE, "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert f"{tmp_path / 'file'} is a file, no folder: choose another place." in result.stderr


def test_the_installed_command(tmp_path):
    """In a process of its own: exit code, stderr without traceback, warnings on one line."""
    words = [sys.executable, "-c", "from srkit.cli import main; main()", "info", "rlfm"]
    result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("srkit: no model is named 'rlfm'. Do you mean")
    assert result.stderr.count("\n") == 1


def test_train_prints_a_card_goes_on_and_refuses_a_used_folder(run, tmp_path):
    """Pictures of one's own; a second call finds the run finished."""
    mine = tmp_path / "mine"
    words = ("train", "rlfn", *SMOKE, "--out", tmp_path, "--data", mine)
    write_image(srkit.samples()["chelsea"][:, :50, :50], mine / "small.png")
    assert "crops of 16 px are larger than every LR picture" in run(*words).stderr
    write_image(srkit.samples()["chelsea"][:, :80, :90], mine / "small.png")
    first = run(*words)
    assert first.stdout.startswith("rlfn, one-stage: budget smoke, seeds 0")
    (pictures,) = [x.split() for x in first.stdout.splitlines() if "pictures" in x]
    assert pictures == ["pixel", "pictures", "DIV2K_train", str(mine)]
    record = tmp_path / "rlfn/smoke/one-stage-seed0/run.json"
    before = record.read_bytes()
    assert run(*words).stdout == first.stdout
    assert record.read_bytes() == before
    refused = run(*words, "--resume", "never")
    assert refused.exit_code == 2
    assert "holds a run already: resume auto goes on with it" in refused.stderr


def test_train_by_minutes_ends_when_they_are_up(run, tmp_path):
    minutes = 0.002
    assert run("train", "rlfn", *SMOKE, "--out", tmp_path, "--minutes", minutes).exit_code == 0
    (record,) = json.loads(run("runs", tmp_path, "--json").stdout)
    assert record["minutes_a_stage"] == minutes
    refused = run("runs", tmp_path, "--collect", tmp_path / "data").stderr
    assert "run.json is of other minutes, data or sizes than its budget's" in refused
    assert record["stages"][0]["minutes"] >= minutes
    assert record["stages"][0]["steps"] >= 1


def test_reproduce_runs_all_seeds_and_runs_lists_draws_and_gathers_them(run, tmp_path):
    out, data, plot = tmp_path / "runs", tmp_path / "data", tmp_path / "psnr.png"
    shown = run("reproduce", "rlfn", *SMOKE, "--seed", 0, "--seed", 1, "--out", out)
    assert shown.stdout.startswith("rlfn, one-stage: budget smoke, seeds 0, 1")
    refused = run("reproduce", "rlfn", *SMOKE, "--out", out, "--resume", "never")
    assert refused.exit_code == 2
    assert "one-stage-seed0 holds a run already: resume auto goes on with it" in refused.stderr
    listed = run("runs", out, "--collect", data)
    (line,) = listed.stdout.splitlines()[1:]
    assert line.split()[:4] == ["rlfn/smoke/one-stage", "procedural", "0,", "1"]
    assert [r["seed"] for r in json.loads((data / "runs/rlfn.json").read_text())] == [0, 1]
    unplotted = run("runs", out, "--plot", plot)
    assert "these runs were not validated" in unplotted.stderr  # smoke has no test set
    assert not plot.exists()
    assert "weights go with --collect DATA" in run("runs", out, "--weights", "rlfn").stderr
    assert "no run under" in run("runs", data).stderr


def test_info_of_a_recipe_prints_its_stages_beside_the_papers(run):
    """What a variant builds on comes first; each field has ours and the paper's."""
    lines = run("info", "--recipe", "rlfn", "--variant", "warm-start").stdout.splitlines()
    assert lines[0].startswith("RLFN, x4. Variants: rlfn, block-RFDB24")
    rows = [line.split() for line in lines[2:]]
    assert ["one-stage", "pixel", "steps", "1000", "1000000"] in rows
    assert ["one-stage", "pixel", "data", "BSDS400", "DIV2K_train"] in rows
    assert any(row[:5] == ["warm-start", "pixel", "again", "start", "After(variant=one-stage,"]
               for row in rows)  # fmt: skip
    plans = json.loads(run("info", "--recipe", "rlfn", "--json").stdout)
    assert list(plans) == ["one-stage", "warm-start", "rlfn"]
    assert plans["rlfn"]["stages"][0]["start"]["variant"] == "warm-start"
    refused = run("info", "--recipe", "rlfn", "--variant", "nothing")
    assert (refused.exit_code, refused.stderr[:34]) == (2, "srkit: RLFN has no variant 'nothin")


def test_reproduce_as_recorded_says_whether_the_figures_are_equal(run, tmp_path, monkeypatch):
    """Exit code 0 if they are, 1 if not; settings that the record has are refused."""
    from dataclasses import replace

    from srkit.reports.records import Records

    out = tmp_path / "runs"
    assert run("train", "rlfn", *SMOKE, "--out", out, "--precision", "float32").exit_code == 0
    from srkit.training.run import find_runs

    (record,) = find_runs(out)
    monkeypatch.setattr(Records, "of", classmethod(lambda cls, name: Records([record])))
    words = ("reproduce", "rlfn", *SMOKE, "--as-recorded")
    same = run(*words, "--out", tmp_path / "again")
    assert same.exit_code == 0
    assert same.stdout.startswith("rlfn/smoke/one-stage, seed 0: equal to the last digit")
    other = replace(record, metrics={}, machine=record.machine | {"capability": "OTHER"})
    monkeypatch.setattr(Records, "of", classmethod(lambda cls, name: Records([other])))
    assert (
        "different here: the machine's capability: OTHER then"
        in run(*words, "--out", tmp_path / "again").stdout
    )
    refused = run(*words, "--precision", "bfloat16", "--data", tmp_path)
    assert refused.exit_code == 2
    assert "takes these from the record: leave out --data, --precision" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "rlfn", "--devices", 0), "devices=0: expected a whole number from 1"),
        (("train", "rlfn", "--nodes", -1), "nodes=-1: expected a whole number from 1"),
        (("train", "rlfn", "--budget", "smoke", "--minutes", 0), "minutes=0.0: expected a finite"),
        (("train", "rlfn", "--budget", "smoke", "--seed", 10**20), "expected a number below"),
        (("train", "rlfn", "--budget", "smoke", "--data", ""), "data '' is no set of files: name"),
        (("train", "rlfn", "--budget", "smoke", "--data", " + "), "is no set of files: name a set"),
        (("eval", "bicubic", "--scale", 2, "--data", "."), "no picture in ."),
        (("eval", "bicubic", "--scale", 2, "--limit", 0), "limit=0: at least 1 picture; leave it"),
        (("eval", "bicubic", "--scale", 0), "scale=0: a whole number from 1"),
    ],
)
def test_a_wrong_number_or_word_is_one_sentence(run, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("out", "out is a folder: name the file, as in out/picture.png."),
        ("a.gif", "a.gif: the suffix must be one of .png,"),
        ("a", "a: the suffix must be one of .png,"),
        ("file/a.png", "file is a file, no folder: choose another place."),
        ("a.jpg", "a.jpg: JPEG has no transparency: write PNG, WebP or TIFF, or leave it out."),
    ],
)
def test_a_target_that_cannot_be_is_known_before_the_work(
    run, weights, target, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("srkit.inference._run", pytest.fail)
    Image.new("RGBA", (24, 24), (1, 2, 3, 99)).save("clear.png")
    result = run("upscale", weights, "clear.png", target)
    assert result.exit_code == 2
    assert said in result.stderr


def test_hidden_colours_are_no_shift(run, weights, tmp_path, monkeypatch):
    """What nobody sees may be anything: black under transparency, say."""
    pixels = np.full((24, 24, 4), 200, np.uint8)
    pixels[:12] = 0
    Image.fromarray(pixels).save(tmp_path / "half.png")
    even = torch.full((3, 96, 96), 200 / 255)
    monkeypatch.setattr("srkit.inference._run", lambda model, window, bf16: even)
    result = run("upscale", weights, tmp_path / "half.png", tmp_path / "o.png", "--check-color")
    assert "R -0.00, G -0.00, B -0.00" in result.stdout.replace("+", "-")


def test_a_folder_that_was_stopped_is_130_and_one_with_failures_1(
    run, weights, tmp_path, monkeypatch
):
    """What is done is told before."""
    (tmp_path / "in").mkdir()
    for report, code in (
        (FolderReport(interrupted=True), 130),
        (FolderReport(failed={tmp_path / "in/a.png": "no picture"}), 1),
        (FolderReport(), 0),
    ):
        monkeypatch.setattr(
            "srkit.inference.upscale_folder", lambda *_, report=report, **__: report
        )
        assert run("upscale", weights, tmp_path / "in", tmp_path / "out").exit_code == code


def test_ctrl_c_is_130_in_every_command(run, monkeypatch):
    def stopped(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("srkit.metrics.evaluate.evaluate", stopped)
    monkeypatch.setattr("srkit.recipes.train", stopped)
    for words in (("eval", "bicubic", "--scale", 2), ("train", "rlfn", "--budget", "smoke")):
        result = run(*words)
        assert (result.exit_code, result.stderr) == (130, "srkit: stopped\n")


def test_what_is_infinite_is_null_in_json(run, tmp_path):
    write_image(torch.rand(3, 64, 64), tmp_path / "a.png")
    words = ("explain-psnr", tmp_path / "a.png", tmp_path / "a.png", "--scale", 2, "--json")
    rows = json.loads(run(*words).stdout, parse_constant=pytest.fail)
    assert None in [value for row in rows for value in row.values()]


def test_degrade_writes_a_folder_and_prints_its_equation(run, picture, tmp_path):
    words = ("degrade", tmp_path, tmp_path / "lr", "--scale", 2, "--how", "real")
    done = run(*words)
    assert done.exit_code == 0
    assert done.stdout.startswith("x = hr\n")
    assert done.stdout.splitlines()[-1] == "1 pictures degraded"
    assert read_image(tmp_path / "lr" / "cat.png").shape == (3, 20, 25)
    refused = run(*words)
    assert refused.exit_code == 2
    assert "cat.png exists: --overwrite replaces it" in refused.stderr
    wrong = run("degrade", tmp_path, tmp_path / "x", "--scale", 2, "--how", "heavy")
    assert wrong.exit_code == 2
    assert "no degradation 'heavy': one of bicubic, blind, real" in wrong.stderr


def test_a_network_that_is_in_no_list_is_exported_from_its_file(run, tmp_path, monkeypatch):
    """Its header says how it was made; the zoo has no line of that size."""
    file = tmp_path / "own.safetensors"
    srkit.save(EDSR(scale=2, channels=8, blocks=1), file)
    given = {}
    monkeypatch.setattr(
        "srkit.weights.export.export_onnx", lambda *a, **how: given.update(how) or 0
    )
    result = run("export", file, tmp_path / "own.onnx")
    assert result.exit_code == 0, result.stderr
    assert given["provenance"]["source"] == "own.safetensors"


def test_the_version_is_the_packages():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"srkit {srkit.__version__}\n")


@pytest.mark.parametrize(
    ("typed", "words"), [("up", ["upscale"]), ("export --over", ["--overwrite"])]
)
def test_a_shell_completes_verbs_and_options(monkeypatch, typed, words):
    """As bash asks for it, once `srkit --install-completion` has told it how."""
    line = f"srkit {typed}"
    asked = {"_SRKIT_COMPLETE": "complete_bash", "COMP_WORDS": line}
    asked["COMP_CWORD"] = str(len(line.split()) - 1)
    command = [sys.executable, "-c", "from srkit.cli import main; main(prog_name='srkit')"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == words, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch", "--devices", 2), "there is no recipe 'nosuch': one of srgan"),
        (("rlfn", "--devices", 2, "--budget", "huge"), "RLFN has no budget 'huge': one of smoke"),
        (("rlfn", "--devices", 2, "--variant", "x"), "RLFN has no variant 'x': one of rlfn"),
        (("rlfn", "--nodes", 2, "--rendezvous", "here"), "--rendezvous here: expected HOST:PORT"),
        (("rlfn", "--nodes", 2, "--rendezvous", "a:70000"), "a:70000: expected HOST:PORT"),
        (("rlfn", "--nodes", 2, "--rendezvous", ":29400"), ":29400: expected HOST:PORT"),
        (("rlfn", "--nodes", 2, "--rendezvous", "no.such.invalid:1"), "known as no.such.invalid"),
    ],
)
@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_what_several_processes_would_refuse_is_refused_before_they_start(
    run, monkeypatch, command, words, said
):
    """They took twenty seconds to say so, each of them, and torchrun waited for a machine."""
    monkeypatch.setattr("os.execv", pytest.fail)
    result = run(command, *words)
    assert result.exit_code == 2
    assert said in result.stderr
