"""What an editor and a type checker see of `srkit.`, though its names are loaded when used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

import srkit

ROOT = Path(__file__).parents[1]
MODULES = [name for name, home in srkit._HOMES.items() if home == "srkit"]


def script(code: str) -> jedi.Script:
    return jedi.Script(f"import srkit\n{code}", project=jedi.Project(ROOT))


def test_all_names_are_completed():
    found = {name.name for name in script("srkit.").complete()}
    assert set(srkit.__all__) - found == set()
    assert "upscale_folder" in {name.name for name in script("srkit.up").complete()}
    assert {"L1", "Charbonnier", "content"} <= {n.name for n in script("srkit.losses.").complete()}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("upscale_file", {"model", "source", "tile"}, "enlarged by `model.scale`"),
        ("create_model", {"name", "scale", "weights"}, "in eval mode"),
        ("imresize", {"x", "scale", "kernel"}, "as MATLAB's imresize does"),
        ("losses.L1", set(), "|sr - hr|"),
    ],
)
def test_a_call_shows_its_arguments_and_what_it_does(name, arguments, words):
    code = f"srkit.{name}("
    (signature, *_) = script(code).get_signatures()
    assert arguments <= {parameter.name for parameter in signature.params}
    assert words in signature.docstring()


def test_a_running_notebook_completes_the_same():
    found = jedi.Interpreter("srkit.losses.", [{"srkit": srkit}]).complete()
    assert "Charbonnier" in {name.name for name in found}
    found = jedi.Interpreter("srkit.up", [{"srkit": srkit}]).complete()
    assert {"upscale", "upscale_file", "upscale_folder"} <= {name.name for name in found}


def test_the_type_checker_knows_all_names_and_their_types(tmp_path):
    pytest.importorskip("pyright", reason="pyright is not installed")
    file = tmp_path / "use.py"
    lines = ["import srkit", *(f"srkit.{name}" for name in srkit.__all__)]
    lines += ["reveal_type(srkit.create_model('rlfn_x4'))", "reveal_type(srkit.losses.L1)"]
    file.write_text("\n".join([*lines, "srkit.upscale(3)", "srkit.upscaled"]))
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    command = ["-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", "."]
    run = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    said = json.loads(run.stdout)["generalDiagnostics"]
    types = [d["message"] for d in said if d["severity"] == "information"]
    assert types == ['Type of "srkit.create_model(\'rlfn_x4\')" is "Network"',
                     'Type of "srkit.losses.L1" is "type[L1]"']  # fmt: skip
    wrong = [d["range"]["start"]["line"] - len(lines) for d in said if d["severity"] == "error"]
    assert set(wrong) == {0, 1}, said  # the last two lines, and none of the names
