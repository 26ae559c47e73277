"""What stands beside the package: make's targets, the weekly workflow, the addresses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def tool(name):
    spec = spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look for their module
    spec.loader.exec_module(module)
    return module


# ---- the weekly workflow


def commands():
    """Each `run` of the workflow, once for each value of its matrix."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text())
    for job in workflow["jobs"].values():
        ((name, values),) = ((k, v) for k, v in job["strategy"]["matrix"].items())
        for step in job["steps"]:
            for value in values if "run" in step else ():
                yield step["run"].replace(f"${{{{ matrix.{name} }}}}", value)


def test_the_workflow_calls_what_make_offers_and_nothing_else():
    """A person without GitHub can run each of its checks by the same word."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    offered = set(re.findall(r"^make ([a-z-]+) ", listed, re.MULTILINE))
    asked = set(commands())
    assert asked == {
        "make test-oldest", "make test-newest", "make links", "make addresses", "make audit"
    }  # fmt: skip
    assert {words.removeprefix("make ") for words in asked} <= offered


def test_the_workflow_comes_once_a_week():
    workflow = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text())
    (when,) = workflow[True]["schedule"]  # YAML 1.1 reads `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", when["cron"])


@pytest.mark.parametrize(
    ("which", "said"), [("oldest", "torch==2.11.* torchvision==0.26.*"), ("newest", "--upgrade")]
)
def test_another_torch_goes_into_an_environment_of_its_own(which, said):
    """What would be done, as make prints it: nothing is installed here."""
    words = ["make", "-n", f"test-{which}"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (install,) = {line for line in told.splitlines() if "install" in line and "-e .[" in line
                  and not line.startswith("make")}  # fmt: skip
    assert f".venv-{which}/bin/python" in install
    assert said in install
    assert f".venv-{which}/bin/python -m pytest tests --ignore=tests/book" in told
    assert f".venv-{which}/bin/python -m pytest book --nbval-lax" in told


def test_the_oldest_is_the_lower_bound():
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [line for line in bounds if line.startswith("torch>=")]
    assert tool("oldest").oldest("torch") == torch.split(",")[0].replace(">=", "==") + ".*"
    with pytest.raises(SystemExit, match=r"pyproject\.toml has no lower bound for tensorflow"):
        tool("oldest").oldest("tensorflow")


# ---- addresses


class Site(BaseHTTPRequestHandler):
    """/file has bytes, /page is a web page, /empty has nothing; there is nothing else."""

    def do_GET(self):
        body = {"/file": b"bytes", "/page": b"<html>", "/empty": b""}.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "binary/x")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/file", ""),
        ("/page", "a web page in place of a file"),
        ("/empty", "no bytes"),
        ("/gone", "HTTP Error 404: Not Found"),
    ],
)
def test_what_is_wrong_with_an_address(site, path, said):
    assert tool("addresses").wrong_with(site + path) == said


def test_a_file_is_lost_when_no_address_of_it_answers(site):
    asked = {
        "whole": [f"{site}/file"],
        "moved": [f"{site}/gone", f"{site}/file"],
        "lost": [f"{site}/gone", f"{site}/page"],
    }
    found = {name: (gone, len(lines)) for name, gone, lines in tool("addresses").lost(asked)}
    assert found == {"moved": (False, 1), "lost": (True, 2)}


def test_the_command_names_what_is_lost(site, monkeypatch, capsys):
    addresses = tool("addresses")
    asked = {"Set5": [f"{site}/file"], "w.pth": [f"{site}/gone"]}
    monkeypatch.setattr(addresses, "addresses", lambda: asked)
    with pytest.raises(SystemExit) as ended:
        addresses.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "w.pth: no address answers",
        f"  {site}/gone: HTTP Error 404: Not Found",
        "2 files asked for, 1 without an address that answers",
    ]


def test_every_address_of_weights_and_data_sets_is_asked():
    from srkit.datasets.catalog import CATALOG
    from srkit.models.zoo import ZOO

    asked = {url for urls in tool("addresses").addresses().values() for url in urls}
    assert {w.url for e in ZOO for w in e.weights.values()} - {""} <= asked
    assert {u for d in CATALOG.values() for a in d.archives for u in a.urls} <= asked
    assert all(url.startswith("https://") for url in asked)


# ---- mutants


def test_a_mutant_is_one_changed_place(tmp_path):
    """Operators, edges and numbers; not what stands in a text, a name or a comment."""
    path = tmp_path / "a.py"
    path.write_text(
        '''"""1 + 1 < 2"""\nwise = long_1 <= (2 + b)  # é 3 < 4\nend = not_ and "5"\n'''
    )
    data, made = path.read_bytes(), []
    for mutant in tool("mutants").mutants(path):
        text = data[: mutant.start] + mutant.new.encode() + data[mutant.end :]
        made.append(text.decode().splitlines()[mutant.line - 1])
    assert sorted(made) == [
        'end = not_ or "5"',
        "wise = long_1 < (2 + b)  # é 3 < 4",
        "wise = long_1 <= (2 - b)  # é 3 < 4",
        "wise = long_1 <= (3 + b)  # é 3 < 4",
    ]


def test_annotations_and_the_text_of_errors_are_left_alone(tmp_path):
    """But not what a command reads from an annotation, nor the condition of an error."""
    path = tmp_path / "a.py"
    path.write_text(
        "def f(a: Literal[2], b: Annotated[int, Option(min=3)] = 4) -> Tuple[5]:\n"
        "    if a < b:\n"
        '        raise ValueError(f"{a + 6}")\n'
        '    warnings.warn(f"{a - 7}", stacklevel=8)\n'
        '    return f"{a * b}"\n'
    )
    changed = {mutant.old for mutant in tool("mutants").mutants(path)}
    assert changed == {"3", "4", "<", "8", "*"}


def test_the_tests_of_a_module_come_first():
    found = tool("mutants").tests_for(ROOT / "srkit/image/resize.py")
    names = [path.relative_to(ROOT / "tests").as_posix() for path in found]
    assert names[0] == "image/test_resize.py"
    assert names.index("image/test_io.py") < names.index("test_inference.py")
    assert len(names) == len(set(names))


TOY = {
    "srkit/__init__.py": "",
    "srkit/half.py": """
LIMIT = 8

def half(n):
    if n < LIMIT:
        return n // 2
    return None

def told(n):
    return 3 - n

def unseen(n):
    return 5 - n
""",
    "tests/test_half.py": """
import subprocess, sys
from srkit.half import LIMIT, half

def test_half():
    assert half(5) == 2

def test_limit():
    assert LIMIT == 8

def test_in_a_process_of_its_own(tmp_path):
    code = "from srkit.half import told; assert told(2) == 1"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0

def test_that_fails():
    assert False
""",
}


def test_a_mutant_is_caught_by_the_tests_that_reach_its_line(tmp_path):
    """Also by one that starts a process; not by one that fails anyway. What survives is named."""
    for name, text in TOY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/mutants.py", tmp_path / "tools")
    code = "import mutants; mutants.WARM = (); mutants.main()"  # torch is not needed here
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    how = {"cwd": tmp_path / "tools", "env": environment, "capture_output": True, "text": True}
    found = subprocess.run([sys.executable, "-c", code], **how)
    assert sorted(found.stdout.splitlines()) == [
        "8 mutants of 8 places: 62.5% caught, 3 survived",
        "survived: srkit/half.py:13: - to + in: return 5 - n",
        "survived: srkit/half.py:13: 5 to 6 in: return 5 - n",
        "survived: srkit/half.py:5: < to <= in: if n < LIMIT:",
        "tests/test_half.py::test_that_fails fails without a mutant: it is not asked",
    ], found.stderr
    assert "caught by tests/test_half.py::test_in_a_process_of_its_own" in found.stderr


# ---- what SECURITY.md says


def test_a_command_without_a_network_opens_no_connection(tmp_path):
    """`srkit models` and `srkit info` are imported and run with sockets taken away."""
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "socket.getaddrinfo = refuse\n"
        "from srkit.cli import app\n"
        "app(['info', 'rlfn_x4'], standalone_mode=False)\n"
        "app(['models', 'rlfn*'], standalone_mode=False)\n"
    )
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "rlfn_x4" in result.stdout
